# SPDX-License-Identifier: Apache-2.0
"""What the sender puts on the wire, checked by other people's signers: botocore and the one of the
AWS SDK for JavaScript sign the request that arrived once more, and have to come to the same."""
import base64
import datetime
import http.server
import json
import os
import pathlib
import re
import subprocess
import threading

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import harness

JS = harness.ROOT / "tests" / "js"
PROBE = os.environ.get("SENDER_PROBE") or str(pathlib.Path(harness.BINARY).parent / "sender_probe")
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEB4aCXVzLWVhc3QtMSJ+/=" * 20
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/([a-z0-9-]+)/execute-api/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})")

IDS = ["R0oXAdfD0kwCH6w=", "gbgEXa8pzQAYKEi_gA==", "weird+/=%id~.", "plain", "a:b@c$d,e;f'(g)*!"]
PAYLOADS = [b"hello", b"", b"nul \0 and \xff\xfe", "\u00e4\u20ac\U0001f600".encode(), b"x" * 131072]

WHERE = pytest.mark.parametrize(("path", "token"), [
    ("/prod", TOKEN), ("/$default/", ""), ("", TOKEN), ("/base/path", "")])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.seen.append((self.command, self.path, self.headers, body))
        self.send_response_only(204 if self.command == "DELETE" else 200)
        if self.command == "POST":
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.lock = [], threading.Lock()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def probe(server, lines, path="/prod", token=TOKEN, settings=()):
    """Sends the lines; what the server saw."""
    variables = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
                 "AWS_SESSION_TOKEN": token, "AWS_REGION": "eu-central-1"}
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith(("AWS_", "SWITCHBOARD_"))}
    done = subprocess.run(
        [PROBE, *settings, f"http://127.0.0.1:{server.server_port}{path}"],
        input="".join(f"{line}\n" for line in lines), env={**clean, **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not harness.SANITIZER.search(done.stderr), done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"{line.split()[1]} sent" for line in lines)
    assert len(server.seen) == len(lines)
    return server.seen


def signed_parts(headers):
    found = AUTHORIZATION.fullmatch(headers["Authorization"])
    assert found, headers["Authorization"]
    day, region, names, signature = found.groups()
    assert headers["X-Amz-Date"].startswith(day)
    return region, names.split(";"), signature


def botocore_signature(method, path, headers, body):
    region, names, _ = signed_parts(headers)
    request = botocore.awsrequest.AWSRequest(
        method=method, url=f"http://{headers['Host']}{path}", data=body,
        headers={name: headers[name] for name in names})
    request.context["timestamp"] = headers["X-Amz-Date"]
    token = headers.get("X-Amz-Security-Token")
    signer = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(KEY, SECRET, token), "execute-api", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(text, request)


def javascript_signatures(seen):
    """The Authorization headers that @smithy/signature-v4 makes of the same requests."""
    assert (JS / "node_modules").is_dir(), "run ./dev install (or npm ci in tests/js)"
    asked = []
    for method, path, headers, body in seen:
        asked.append({
            "method": method, "path": path, "host": headers["Host"],
            "body": base64.b64encode(body).decode(), "region": signed_parts(headers)[0],
            "date": datetime.datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(
                tzinfo=datetime.timezone.utc).isoformat(),
            "accessKeyId": KEY, "secretAccessKey": SECRET,
            "sessionToken": headers.get("X-Amz-Security-Token")})
    done = subprocess.run(["node", str(JS / "signature.mjs")], input=json.dumps(asked), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def all_kinds():
    lines = [f"POST {connection_id} {b'hello'.hex()}" for connection_id in IDS]
    lines += [f"POST {connection_id}{number} {payload.hex()}"
              for number, (connection_id, payload) in enumerate(zip(IDS, PAYLOADS))]
    return lines + [f"DELETE {connection_id}deleted" for connection_id in IDS]


@WHERE
def test_botocore_signs_what_arrived_the_same(server, path, token):
    for method, wire, headers, body in probe(server, all_kinds(), path, token):
        assert headers.get("X-Amz-Security-Token", "") == token
        region, names, signature = signed_parts(headers)
        assert region == "eu-central-1"
        assert names == ["host", "x-amz-date"] + (["x-amz-security-token"] if token else [])
        assert botocore_signature(method, wire, headers, body) == signature, (method, wire)


@WHERE
def test_smithy_signs_what_arrived_the_same(server, path, token):
    seen = probe(server, all_kinds(), path, token)
    theirs = javascript_signatures(seen)
    ours = [headers["Authorization"] for _, _, headers, _ in seen]
    assert theirs == ours


def test_the_wire_has_the_form_of_the_sdks(server):
    (method, path, headers, body), = probe(server, [f"POST R0oXAdfD0kwCH6w= {b'hello'.hex()}"])
    assert (method, path, body) == ("POST", "/prod/@connections/R0oXAdfD0kwCH6w%3D", b"hello")
    assert sorted(name.lower() for name in headers) == [
        "authorization", "content-length", "host", "x-amz-date", "x-amz-security-token"]
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"


def test_payloads_arrive_as_they_are(server):
    lines = [f"POST same {payload.hex()}" for payload in PAYLOADS]
    assert [body for _, _, _, body in probe(server, lines)] == PAYLOADS
