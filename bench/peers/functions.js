/* SPDX-License-Identifier: Apache-2.0 */
/*
 * functions.js - handler.js behind Lambda's Invoke call, and nothing that costs time besides: no
 * request ids, no deadlines, no logging, and of HTTP only what the gateway sends: with node:http an
 * event takes half as long again.
 *
 *   node functions.js PORT
 *
 *   POST /2015-03-31/functions/NAME/invocations     the body is the event, the answer the result
 */
'use strict';

const net = require('node:net');
const { handler } = require('./handler.js');

const INVOKE = /^POST \/2015-03-31\/functions\/[^/ ]+\/invocations HTTP\/1\.1\r\n/;
const LENGTH = /\r\ncontent-length: *([0-9]+)/i;

function answer(socket, status, text, failed) {
  socket.write(`HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${Buffer.byteLength(text)}\r\n` +
    `${failed ? 'X-Amz-Function-Error: Unhandled\r\n' : ''}\r\n${text}`);
}

async function invoke(text, socket) {
  try {
    answer(socket, '200 OK', JSON.stringify((await handler(JSON.parse(text))) ?? null), false);
  } catch (error) {
    answer(socket, '200 OK', JSON.stringify({ errorMessage: String(error) }), true);
  }
}

/* Answers the first request in the bytes; its length, 0 while it has not come whole.  Events are with the
 * function one at a time on a connection, as in Lambda's API. */
function serve(bytes, socket) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) {
    return 0;
  }
  const head = bytes.latin1Slice(0, end);
  const length = Number((LENGTH.exec(head) ?? [0, 0])[1]);
  const total = end + 4 + length;
  if (bytes.length < total) {
    return 0;
  }
  if (INVOKE.test(`${head}\r\n`)) {
    invoke(bytes.utf8Slice(end + 4, total) || '{}', socket);
  } else {
    answer(socket, '404 Not Found', '{"Type":"User","Message":"Function not found"}', false);
  }
  return total;
}

const server = net.createServer({ noDelay: true }, (socket) => {
  let kept = null; // nearly every event comes in one piece
  socket.on('data', (part) => {
    const bytes = kept ? Buffer.concat([kept, part]) : part;
    const used = serve(bytes, socket);
    kept = used < bytes.length ? bytes.subarray(used) : null;
  });
  socket.on('error', () => socket.destroy());
});
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 65535 });
