// SPDX-License-Identifier: Apache-2.0
// $disconnect: best effort, so sendmessage.mjs cleans up too.
import { removeConnection } from './store.mjs';

export const handler = async (event) => {
  await removeConnection(event.requestContext.connectionId);
  return { statusCode: 200 };
};
