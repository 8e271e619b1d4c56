// SPDX-License-Identifier: Apache-2.0
// $connect: who has a name may come in.
import { addConnection } from './store.mjs';

export const handler = async (event) => {
  const name = event.queryStringParameters?.name;
  if (!name) {
    return { statusCode: 400, body: 'Say who you are: ?name=...' };
  }
  await addConnection(event.requestContext.connectionId, name);
  return { statusCode: 200 };
};
