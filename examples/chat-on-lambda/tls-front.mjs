#!/usr/bin/env node
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls-front.mjs - ends TLS in front of the gateway, as API Gateway's own front does.
 *
 *   node tls-front.mjs --port 8443 --to 8080 --key KEY.pem --cert CERT.pem
 *
 * Bytes go through as they are: wss:// for clients, https:// for the SDK's @connections calls.
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { pipeline } from 'node:stream';
import tls from 'node:tls';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    address: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8443' },
    to: { type: 'string', default: '8080' },
    key: { type: 'string' },
    cert: { type: 'string' },
  },
});

const server = tls.createServer({
  key: readFileSync(options.key),
  cert: readFileSync(options.cert),
  ALPNProtocols: ['http/1.1'],
}, (client) => {
  const gateway = net.connect({ host: '127.0.0.1', port: Number(options.to), noDelay: true });
  const ignore = () => {}; // one side has gone: pipeline has ended the other

  client.setNoDelay(true);
  pipeline(client, gateway, ignore);
  pipeline(gateway, client, ignore);
});

server.on('tlsClientError', () => {}); // somebody who does not trust the certificate
server.listen(Number(options.port), options.address, () => {
  const { port } = server.address();
  console.log(`TLS         https://localhost:${port} in front of port ${options.to}`);
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => process.exit(0));
}
