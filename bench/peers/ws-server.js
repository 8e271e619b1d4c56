/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws-server.js - what one writes oneself with `ws`: an echo and a broadcast, in one process.
 *
 *   node ws-server.js PORT
 *
 *   /echo        sends every message back
 *   /sub         gets every message that was published
 *   /pub         publishes every message to all of /sub
 *   POST /pub    the same over HTTP; answers with how many it was sent to, after it was sent
 */
'use strict';

const http = require('node:http');
const { WebSocketServer } = require('ws');

const subscribers = new Set();

function publish(data, binary) {
  for (const client of subscribers) {
    client.send(data, { binary });
  }
}

const server = http.createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/pub') {
    response.writeHead(404).end();
    return;
  }
  const parts = [];
  request.on('data', (part) => { parts.push(part); });
  request.on('end', () => {
    publish(parts.length === 1 ? parts[0] : Buffer.concat(parts), false);
    response.end(String(subscribers.size));
  });
});
server.keepAliveTimeout = 0; // publishers keep their connections
server.headersTimeout = 0;
server.requestTimeout = 0;

const sockets = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false });
sockets.on('connection', (client, request) => {
  client.on('error', () => {}); // clients of a benchmark leave with a reset
  switch (request.url) {
    case '/echo':
      client.on('message', (data, binary) => { client.send(data, { binary }); });
      break;
    case '/sub':
      subscribers.add(client);
      client.on('close', () => { subscribers.delete(client); });
      break;
    case '/pub':
      client.on('message', publish);
      break;
    default:
      client.close(1008, 'no such path');
  }
});
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 65535 });
