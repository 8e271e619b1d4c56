/* SPDX-License-Identifier: Apache-2.0 */
/*
 * functions.js - handler.js behind Lambda's Invoke call, and nothing that costs time besides: no
 * request ids, no deadlines, no logging.
 *
 *   node functions.js PORT
 *
 *   POST /2015-03-31/functions/NAME/invocations     the body is the event, the answer the result
 */
'use strict';

const http = require('node:http');
const { handler } = require('./handler.js');

const INVOKE = /^\/2015-03-31\/functions\/[^/]+\/invocations$/;

function answer(response, status, text, failed) {
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
  if (failed) {
    headers['X-Amz-Function-Error'] = 'Unhandled';
  }
  response.writeHead(status, headers);
  response.end(text);
}

async function invoke(text, response) {
  try {
    answer(response, 200, JSON.stringify((await handler(JSON.parse(text))) ?? null), false);
  } catch (error) {
    answer(response, 200, JSON.stringify({ errorMessage: String(error) }), true);
  }
}

const server = http.createServer((request, response) => {
  if (request.method !== 'POST' || !INVOKE.test(request.url)) {
    answer(response, 404, '{"Type":"User","Message":"Function not found"}', false);
    return;
  }
  let first = null; // nearly every event comes in one piece
  let parts = null;
  request.on('data', (part) => {
    if (first === null) {
      first = part;
    } else {
      parts = parts ?? [first];
      parts.push(part);
    }
  });
  request.on('end', () => {
    invoke((parts ? Buffer.concat(parts) : first ?? '{}').toString(), response);
  });
});
// The gateway keeps its connections; one that is closed while it sends would cost an event.
server.keepAliveTimeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 65535 });
