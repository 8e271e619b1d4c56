// SPDX-License-Identifier: Apache-2.0
//
// Signs requests as the AWS SDK for JavaScript does: reads a JSON array from standard input,
//
//   [{"method", "path", "host", "body" (base64), "region", "date", "accessKeyId", "secretAccessKey", "sessionToken"?}]
//
// and writes the Authorization headers as a JSON array.
import { Sha256 } from "@aws-crypto/sha256-js";
import { HttpRequest } from "@smithy/protocol-http";
import { SignatureV4 } from "@smithy/signature-v4";

async function sign(asked) {
  const signer = new SignatureV4({
    service: "execute-api",
    region: asked.region,
    sha256: Sha256,
    applyChecksum: false, // it would add and sign a header of its own
    credentials: {
      accessKeyId: asked.accessKeyId,
      secretAccessKey: asked.secretAccessKey,
      sessionToken: asked.sessionToken ?? undefined,
    },
  });
  const request = new HttpRequest({
    method: asked.method,
    path: asked.path,
    headers: { host: asked.host },
    body: Buffer.from(asked.body, "base64"),
  });
  const signed = await signer.sign(request, { signingDate: new Date(asked.date) });
  return signed.headers.authorization;
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
console.log(JSON.stringify(await Promise.all(JSON.parse(input).map(sign))));
