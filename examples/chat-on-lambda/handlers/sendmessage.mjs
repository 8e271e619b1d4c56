// SPDX-License-Identifier: Apache-2.0
// sendmessage: {"action":"sendmessage","data":"hello"} goes to everybody, the sender included.
import {
  ApiGatewayManagementApiClient,
  GoneException,
  PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { listConnections, removeConnection } from './store.mjs';

export const handler = async (event) => {
  const { connectionId, domainName, stage } = event.requestContext;
  const client = new ApiGatewayManagementApiClient({
    endpoint: `https://${domainName}/${stage}`,
  });
  const connections = await listConnections();
  const sender = connections.find((connection) => connection.connectionId === connectionId);
  const message = JSON.stringify({
    type: 'message',
    from: sender?.name,
    data: JSON.parse(event.body).data,
  });

  await Promise.all(connections.map(async (connection) => {
    try {
      await client.send(new PostToConnectionCommand({
        ConnectionId: connection.connectionId,
        Data: message,
      }));
    } catch (error) {
      if (!(error instanceof GoneException)) {
        throw error;
      }
      await removeConnection(connection.connectionId);
    }
  }));
  return { statusCode: 200 };
};
