#!/usr/bin/env node
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run-functions.mjs - serves Lambda's Invoke call for Node handlers, several functions in one
 * process.
 *
 *   node run-functions.mjs [--port 9001] [--timeout 29] FOLDER | NAME=FILE[#EXPORT] | NAME=URL ...
 *
 *   POST /2015-03-31/functions/NAME/invocations     the body is the event, the answer the result
 *
 * A folder gives every .mjs, .js and .cjs file in it that exports `handler` under its name.  What a
 * handler throws is answered as Lambda does it: status 200 and X-Amz-Function-Error.  Invocations
 * run concurrently, but here they share one process: what a module keeps in its variables is seen
 * by all of them.
 *
 * A URL, such as http://127.0.0.1:9002, is Lambda's runtime interface emulator in a container.  It
 * takes one event at a time, so events wait here for their turn; NAME=URL given twice is two
 * containers of one function.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const MAX_BYTES = 6 * 1024 * 1024; // of an event and of a result, as Lambda has it
const INVOKE = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '9001' },
    timeout: { type: 'string', default: '29' }, // seconds
  },
});
const timeoutMs = Number(options.timeout) * 1000;

// ---- containers ----

class Containers {
  #idle = [];
  #waiting = [];

  constructor(url) {
    this.add(url);
  }

  add(url) {
    const next = this.#waiting.shift();
    if (next) {
      next(url);
    } else {
      this.#idle.push(url);
    }
  }

  #take() {
    return this.#idle.length > 0
      ? Promise.resolve(this.#idle.shift())
      : new Promise((resolve) => { this.#waiting.push(resolve); });
  }

  // A container is taken until it has answered, however long that takes: it is busy until then.
  async invoke(text) {
    const url = await this.#take();
    try {
      const answer = await fetch(url, { method: 'POST', body: text });
      return { status: answer.status, body: await answer.text() };
    } finally {
      this.add(url);
    }
  }
}

// ---- finding the handlers ----

async function load(name, file, exported = 'handler') {
  const module = await import(pathToFileURL(path.resolve(file)));
  const handler = module[exported] ?? module.default?.[exported];
  return typeof handler === 'function' ? [[name, handler]] : [];
}

async function loadFolder(folder) {
  const files = readdirSync(folder).filter((file) => /\.[mc]?js$/.test(file)).sort();
  return (await Promise.all(files.map(
    (file) => load(path.parse(file).name, path.join(folder, file))))).flat();
}

async function loadArgument(argument) {
  const named = /^([^=]+)=([^#]+)(?:#(.+))?$/.exec(argument);
  if (named && /^https?:/.test(named[2])) {
    return [[named[1], new URL('/2015-03-31/functions/function/invocations', named[2])]];
  }
  if (!named) {
    return statSync(argument).isDirectory()
      ? loadFolder(argument)
      : load(path.parse(argument).name, argument);
  }
  const found = await load(named[1], named[2], named[3]);
  if (found.length === 0) {
    throw new Error(`${named[2]} does not export ${named[3] ?? 'handler'}`);
  }
  return found;
}

const handlers = new Map();
for (const [name, handler] of (await Promise.all(positionals.map(loadArgument))).flat()) {
  if (!(handler instanceof URL)) {
    handlers.set(name, handler);
  } else if (handlers.get(name) instanceof Containers) {
    handlers.get(name).add(handler);
  } else {
    handlers.set(name, new Containers(handler));
  }
}

// ---- running one ----

function contextOf(name, requestId, deadline) {
  return {
    awsRequestId: requestId,
    callbackWaitsForEmptyEventLoop: true,
    functionName: name,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:us-east-1:123456789012:function:${name}`,
    logGroupName: `/aws/lambda/${name}`,
    logStreamName: `local/[$LATEST]${randomBytes(16).toString('hex')}`,
    memoryLimitInMB: '128',
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

class TimedOut extends Error {}

// Handlers return a promise or call back; whatever else they return does not count as an answer.
function call(handler, event, context) {
  return new Promise((resolve, reject) => {
    const done = (error, result) => (error ? reject(error) : resolve(result));
    const returned = handler(event, context, done);
    if (typeof returned?.then === 'function') {
      returned.then(resolve, reject);
    } else if (handler.length < 3) {
      resolve(returned);
    }
  });
}

async function withDeadline(promise, requestId) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut(
      `${new Date().toISOString()} ${requestId} Task timed out after ${
        (timeoutMs / 1000).toFixed(2)} seconds`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function describeError(error) {
  if (error instanceof TimedOut) {
    return { errorMessage: error.message };
  }
  if (error instanceof Error) {
    return {
      errorType: error.name,
      errorMessage: error.message,
      trace: (error.stack ?? '').split('\n'),
    };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

async function invoke(name, event, requestId) {
  try {
    const context = contextOf(name, requestId, Date.now() + timeoutMs);
    const result = await withDeadline(
      (async () => call(handlers.get(name), event, context))(), requestId);
    return { headers: {}, result: result ?? null };
  } catch (error) {
    console.error(`${name} ${requestId}`, error);
    return { headers: { 'X-Amz-Function-Error': 'Unhandled' }, result: describeError(error) };
  }
}

// ---- HTTP ----

async function readBody(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size <= MAX_BYTES) {
      parts.push(part); // the rest is read and forgotten: the answer must find its way back
    }
  }
  return size > MAX_BYTES ? null : Buffer.concat(parts).toString('utf8');
}

function send(response, status, headers, value) {
  sendText(response, status, headers, value === undefined ? '' : JSON.stringify(value));
}

function sendText(response, status, headers, body) {
  response.writeHead(status, {
    'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers,
  });
  response.end(body);
}

function refuse(response, status, type, message) {
  send(response, status, { 'x-amzn-ErrorType': type }, { Type: 'User', Message: message });
}

function parse(text) {
  try {
    return { event: text ? JSON.parse(text) : {} };
  } catch (error) {
    return { error };
  }
}

async function serve(request, response) {
  const text = await readBody(request);
  const name = decodeURIComponent(INVOKE.exec(request.url.split('?')[0])?.[1] ?? '');
  const requestId = randomUUID();
  const type = request.headers['x-amz-invocation-type'] ?? 'RequestResponse';

  if (request.method !== 'POST' || !handlers.has(name)) {
    refuse(response, 404, 'ResourceNotFoundException', `Function not found: ${name}`);
    return;
  }
  if (text === null) {
    refuse(response, 413, 'RequestTooLargeException', `${MAX_BYTES} bytes are allowed`);
    return;
  }
  const { event, error } = parse(text);
  if (error) {
    refuse(response, 400, 'InvalidRequestContentException',
      `Could not parse request body into json: ${error.message}`);
    return;
  }
  if (handlers.get(name) instanceof Containers) {
    const { status, body } = await handlers.get(name).invoke(text);
    sendText(response, status, { 'x-amzn-RequestId': requestId }, body);
    return;
  }
  if (type === 'DryRun') {
    send(response, 204, {});
    return;
  }
  if (type === 'Event') {
    send(response, 202, { 'x-amzn-RequestId': requestId });
    await invoke(name, event, requestId);
    return;
  }
  const { headers, result } = await invoke(name, event, requestId);
  send(response, 200, {
    'x-amzn-RequestId': requestId, 'X-Amz-Executed-Version': '$LATEST', ...headers,
  }, result);
}

const server = http.createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
// The gateway keeps its connections; one that is closed while it sends would cost an event.
server.keepAliveTimeout = 0;

server.listen(Number(options.port), options.address, () => {
  const { address, port } = server.address();
  console.log(`Functions   http://${address}:${port}/2015-03-31/functions/{${
    [...handlers.keys()].join(',')}}/invocations`);
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => process.exit(0));
}
