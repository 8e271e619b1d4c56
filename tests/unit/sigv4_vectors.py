#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/unit/sigv4_vectors.h: requests as botocore (Debian's python3-botocore) signs them.

    /usr/bin/python3 tests/unit/sigv4_vectors.py >tests/unit/sigv4_vectors.h

The time stands still, so the output only changes when this file or botocore does.
"""
import datetime
import json
import types
import urllib.parse

import botocore
import botocore.auth
import botocore.session
import botocore.signers
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 11, 21, 5, 32, 0)
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW


class Once(botocore.auth.SigV4Auth):
    """Signs the path as it is sent, as signers that were made for S3 do."""

    def _normalize_url_path(self, path):
        return path


CASES = [
    # name, how, method, URL, body, token, further headers, region
    ("post_encoded", botocore.auth.SigV4Auth, "POST",
     "http://127.0.0.1:8080/dev/%40connections/abc%3D%3D", b"hello", None, {}, "us-east-1"),
    ("post_raw", botocore.auth.SigV4Auth, "POST",
     "http://127.0.0.1:8080/dev/@connections/abc==", b"hello", None, {}, "us-east-1"),
    ("encoded_signed_as_sent", Once, "GET",
     "https://example.com/dev/%40connections/abc%3D%3D", b"", None, {}, "eu-central-1"),
    ("raw_signed_as_sent", Once, "DELETE",
     "https://example.com/dev/@connections/abc==", b"", None, {}, "eu-central-1"),
    ("session_token", botocore.auth.SigV4Auth, "GET",
     "http://localhost:8081/dev/%40connections/gbgEXa8pzQAYKEi_gA%3D%3D", b"",
     "token/with+signs==", {}, "us-east-1"),
    ("bytes", botocore.auth.SigV4Auth, "POST",
     "http://127.0.0.1:8080/dev/%40connections/abc%3D%3D", bytes(range(1, 256)), None, {},
     "us-east-1"),
    ("headers", botocore.auth.SigV4Auth, "POST",
     "http://127.0.0.1:8080/dev/%40send", b'{"to":"all","message":1}', None,
     {"Content-Type": "application/json", "X-Amz-Meta": "  a   b  "}, "us-east-1"),
    ("query", botocore.auth.SigV4Auth, "GET",
     "http://127.0.0.1:8080/dev/%40connections/abc%3D%3D?b=2&a-x=1&a=%40z&a=1&empty=", b"", None,
     {}, "us-east-1"),
    ("presigned", botocore.auth.SigV4QueryAuth, "GET",
     "http://127.0.0.1:8080/dev/%40connections/abc%3D%3D", b"", None, {}, "us-east-1"),
]

TOKENS = [
    # host, port, user, session token, region
    ("db.cluster-abc.eu-central-1.rds.amazonaws.com", 5432, "switchboard_gateway", None,
     "eu-central-1"),
    ("proxy.us-east-1.rds.amazonaws.com", 6543, "an o'user@x/+", "IQoJ/b3+Jp==", "us-east-1"),
]


def database_token(host, port, user, token, region):
    client = botocore.session.Session().create_client(
        "rds", region_name=region, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        aws_session_token=token)
    return botocore.signers.generate_db_auth_token(client, host, port, user)


def sign(how, method, url, body, token, headers, region):
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    how(Credentials(KEY, SECRET, token), "execute-api", region).add_auth(request)
    return request


def text(value):
    return "NULL" if value is None else json.dumps(value)


def octets(data):
    return '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'


def wrap(line):
    return f"     {line},"


def main():
    botocore.auth.datetime = types.SimpleNamespace(datetime=Clock)
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by sigv4_vectors.py with botocore " + botocore.__version__ + ". */")
    print("#pragma once\n")
    print('#include "sigv4.h"\n')
    print(f'#define VECTOR_KEY "{KEY}"')
    print(f'#define VECTOR_SECRET "{SECRET}"')
    seconds = int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp())
    print(f"\nenum {{ VECTOR_NOW = {seconds}, VECTOR_HEADERS = 6 }};\n")
    print("/* clang-format off */")
    print("static const struct vector {\n"
          "    const char *name;\n    const char *method;\n    const char *path;\n"
          "    const char *query;\n    const char *region;\n    const char *body;\n"
          "    size_t body_len;\n    struct sigv4_header headers[VECTOR_HEADERS];\n"
          "} vectors[] = {")
    for name, how, method, url, body, token, headers, region in CASES:
        request = sign(how, method, url, body, token, headers, region)
        sent = urllib.parse.urlsplit(request.url)
        pairs = [("Host", sent.netloc)] + [(key, str(value)) for key, value in
                                           request.headers.items()]
        print(f"    {{{text(name)},")
        print(wrap(text(method)))
        print(wrap(text(sent.path)))
        print(wrap(text(sent.query or None)))
        print(wrap(text(region)))
        print(wrap(octets(body)))
        print(wrap(len(body)))
        print("     {" + ",\n      ".join(f"{{{text(k)}, {text(v)}}}" for k, v in pairs) + "}},")
    print("};\n")
    print("/* Tokens of RDS. */\nstatic const struct token_vector {\n"
          "    const char *host;\n    const char *port;\n    const char *user;\n"
          "    const char *session_token;\n    const char *region;\n    const char *token;\n"
          "} token_vectors[] = {")
    for host, port, user, token, region in TOKENS:
        print(f"    {{{text(host)},")
        for value in (str(port), user, token, region):
            print(wrap(text(value)))
        print(f"     {text(database_token(host, port, user, token, region))}}},")
    print("};\n/* clang-format on */")


main()
