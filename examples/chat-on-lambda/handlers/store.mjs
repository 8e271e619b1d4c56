// SPDX-License-Identifier: Apache-2.0
// The connections, in a file.  On AWS this module is a DynamoDB table; what it exports is the same.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

const file = process.env.CONNECTIONS_FILE ?? '/tmp/connections.json';

function read() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') {
      return {};
    }
    throw error;
  }
}

function write(names) {
  writeFileSync(`${file}.new`, JSON.stringify(names, null, 2));
  renameSync(`${file}.new`, file);
}

// Nothing is awaited between reading and writing: functions of one process do not mix here.

export async function addConnection(connectionId, name) {
  write({ ...read(), [connectionId]: name });
}

export async function removeConnection(connectionId) {
  const { [connectionId]: _, ...others } = read();
  write(others);
}

export async function listConnections() {
  return Object.entries(read()).map(([connectionId, name]) => ({ connectionId, name }));
}
