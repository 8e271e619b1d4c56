// SPDX-License-Identifier: Apache-2.0
//
// The AWS SDK for JavaScript against the management API: reads one JSON object from standard input,
//
//   {"endpoint", "accessKeyId", "secretAccessKey", "sessionToken"?, "url"?, "steps": [["post", id, text], ["get", id], ["delete", id]]}
//
// and writes what came of each step as a JSON array.  url: a WebSocket that is opened first with
// ws, and whose id is "self"; its messages and its close are in the last element.
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  ForbiddenException,
  GetConnectionCommand,
  GoneException,
  LimitExceededException,
  PayloadTooLargeException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import WebSocket from "ws";

const TYPES = { ForbiddenException, GoneException, LimitExceededException, PayloadTooLargeException };
const COMMANDS = {
  post: (id, text) => new PostToConnectionCommand({ ConnectionId: id, Data: Buffer.from(text) }),
  get: (id) => new GetConnectionCommand({ ConnectionId: id }),
  delete: (id) => new DeleteConnectionCommand({ ConnectionId: id }),
};

function describe(error) {
  return {
    name: error.name,
    message: error.message,
    status: error.$metadata?.httpStatusCode,
    requestId: error.$metadata?.requestId,
    isA: Object.keys(TYPES).filter((name) => error instanceof TYPES[name]),
  };
}

async function run(client, [name, ...args]) {
  try {
    const { $metadata, ...answer } = await client.send(COMMANDS[name](...args));
    return { status: $metadata.httpStatusCode, requestId: $metadata.requestId, ...answer };
  } catch (error) {
    return { error: describe(error) };
  }
}

// careconnect's greeting says who one is.
function open(url) {
  const socket = new WebSocket(url);
  const seen = { messages: [] };
  const closed = new Promise((resolve) => {
    socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  const greeted = new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.once("message", (data) => {
      socket.on("message", (more, isBinary) => seen.messages.push([more.toString(), isBinary]));
      resolve(JSON.parse(data).sessionId);
    });
  });
  return { seen, closed, greeted };
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
const asked = JSON.parse(input);
const client = new ApiGatewayManagementApiClient({
  endpoint: asked.endpoint,
  region: "us-east-1",
  maxAttempts: 1,
  credentials: {
    accessKeyId: asked.accessKeyId,
    secretAccessKey: asked.secretAccessKey,
    sessionToken: asked.sessionToken,
  },
});
const socket = asked.url ? open(asked.url) : null;
const self = await socket?.greeted;
const results = [];
for (const [name, id, ...rest] of asked.steps) {
  results.push(await run(client, [name, id === "self" ? self : id, ...rest]));
}
if (socket) {
  results.push({ ...socket.seen, id: self, closed: await socket.closed });
}
console.log(JSON.stringify(results));
