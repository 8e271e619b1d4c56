/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grip-backend.js - the backend that Pushpin asks over HTTP (GRIP, WebSocket-over-HTTP).
 *
 *   node grip-backend.js PORT
 *
 *   /sub/CHANNEL    accepts the client and subscribes it to the channel
 *   /echo           accepts it and sends every message back
 *
 * Events look like chunks: "TYPE[ hex length]\r\n[content\r\n]".  Pushpin puts several into one
 * request when they arrive while it waits for an answer.
 */
'use strict';

const http = require('node:http');

const EVENTS = {
  'Content-Type': 'application/websocket-events',
  'Sec-WebSocket-Extensions': 'grip; message-prefix=""',
};
const CONTROL = Buffer.from('c:');

function eventOf(type, content) {
  return Buffer.concat([
    Buffer.from(`${type} ${content.length.toString(16)}\r\n`), content, Buffer.from('\r\n')]);
}

function* eventsIn(body) {
  let at = 0;
  while (at < body.length) {
    const end = body.indexOf('\r\n', at);
    const [type, length] = body.toString('latin1', at, end).split(' ');
    at = end + 2;
    if (length === undefined) {
      yield { type };
    } else {
      const size = parseInt(length, 16);
      yield { type, content: body.subarray(at, at + size) };
      at += size + 2;
    }
  }
}

function reply(event, channel) {
  switch (event.type) {
    case 'OPEN':
      return channel === null
        ? [Buffer.from('OPEN\r\n')]
        : [Buffer.from('OPEN\r\n'), eventOf('TEXT', Buffer.concat([CONTROL, Buffer.from(
          JSON.stringify({ type: 'subscribe', channel }))]))];
    case 'TEXT':
    case 'BINARY':
      return channel === null ? [eventOf(event.type, event.content)] : [];
    case 'PING':
      return [Buffer.from('PONG\r\n')];
    case 'CLOSE':
      return [event.content ? eventOf('CLOSE', event.content) : Buffer.from('CLOSE\r\n')];
    default:
      return []; // DISCONNECT and what is new
  }
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => { parts.push(part); });
  request.on('end', () => {
    const channel = /^\/sub\/([^/?]+)/.exec(request.url)?.[1] ?? null;
    const answer = [];
    let opens = false;
    for (const event of eventsIn(Buffer.concat(parts))) {
      opens = opens || event.type === 'OPEN';
      answer.push(...reply(event, channel));
    }
    const body = Buffer.concat(answer);
    const headers = { 'Content-Type': EVENTS['Content-Type'], 'Content-Length': body.length };
    if (opens) {
      // Without the prefix set to nothing, Pushpin would take "m:" off the messages it relays.
      headers['Sec-WebSocket-Extensions'] = EVENTS['Sec-WebSocket-Extensions'];
    }
    response.writeHead(200, headers);
    response.end(body);
  });
});
server.keepAliveTimeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 65535 });
