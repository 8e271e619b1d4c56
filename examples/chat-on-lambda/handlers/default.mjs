// SPDX-License-Identifier: Apache-2.0
// $default: tells a client that said something else what there is, and what is known about it.
import {
  ApiGatewayManagementApiClient,
  GetConnectionCommand,
  PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';

export const handler = async (event) => {
  const { connectionId, domainName, stage } = event.requestContext;
  const client = new ApiGatewayManagementApiClient({
    endpoint: `https://${domainName}/${stage}`,
  });
  const about = await client.send(new GetConnectionCommand({ ConnectionId: connectionId }));

  await client.send(new PostToConnectionCommand({
    ConnectionId: connectionId,
    Data: JSON.stringify({
      type: 'help',
      usage: { action: 'sendmessage', data: 'hello' },
      you: { connectionId, connectedAt: about.ConnectedAt, sourceIp: about.Identity?.SourceIp },
    }),
  }));
  return { statusCode: 200 };
};
