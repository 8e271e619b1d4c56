# SPDX-License-Identifier: Apache-2.0
"""The management API (@connections) as API Gateway has it: numbers are those of docs/compatibility.md.

Raw sockets where bytes count, boto3 and the AWS SDK for JavaScript where clients do.
"""
import datetime
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import types

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import psycopg2
import pytest
from databases import *  # noqa: F401,F403
from harness import SECONDS, Client, Gone, call, read_answer, wait_for

KEY, SECRET = "AKIDCONTRACT", "a-secret/of+the-tests"
SETTINGS = {"aws_strict": "on", "management_access_key_id": KEY,
            "management_secret_access_key": SECRET}
JS = pathlib.Path(__file__).parents[1] / "js"

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{15}=")
TRACE_ID = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}")
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
UNKNOWN_ID = "AAAAAAAAAAAAAAAAAA=="

PORTS = pytest.mark.parametrize("port", ["port", "admin_port"], ids=["websocket", "admin"])
METHODS = pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])


@pytest.fixture
def client(shared):
    client = shared.connect()
    yield client
    client.drop()


@pytest.fixture
def gone(shared):
    """The id of a connection that has ended."""
    client = shared.connect()
    client.close()
    shared.database.wait_inactive(client.id)
    return client.id


def path_of(connection_id, stage="dev"):
    return f"/{stage}/%40connections/{connection_id.replace('=', '%3D')}"


def sign(method, url, body=b"", key=KEY, secret=SECRET, how=botocore.auth.SigV4Auth, token=None,
         service="execute-api", region="us-east-1", headers=None):
    """A request with the headers that botocore adds."""
    request = botocore.awsrequest.AWSRequest(method=method, url=url, data=body,
                                             headers=headers or {})
    how(botocore.credentials.Credentials(key, secret, token), service, region).add_auth(request)
    return request


def ask(server, method, path, body=b"", port="port", headers=None, **signing):
    """A signed request; key None: unsigned."""
    number = getattr(server, port)
    headers = dict(headers or {})
    if signing.get("key", KEY):
        headers.update(sign(method, f"http://127.0.0.1:{number}{path}", body, **signing)
                       .headers.items())
    return server.http(method, path, body or None, headers, port=number)


def raw_answer(server, method, path, body=b"", port="port"):
    """Status line, headers as they were sent, body."""
    number = getattr(server, port)
    request = sign(method, f"http://127.0.0.1:{number}{path}", body)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{number}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", number), timeout=SECONDS) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in headers)
        while len(rest) < int(headers.get("Content-Length", 0)):
            rest += connection.recv(65536)
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)  # it stays open and there is nothing behind the answer
    return status, headers, rest


def assert_ids(headers, has_trace):
    assert UUID.fullmatch(headers["x-amzn-RequestId"])
    assert REQUEST_ID.fullmatch(headers["x-amz-apigw-id"])
    assert DATE.fullmatch(headers["Date"])
    assert headers["Connection"].lower() == "keep-alive"
    assert ("X-Amzn-Trace-Id" in headers) == has_trace
    if has_trace:
        assert TRACE_ID.fullmatch(headers["X-Amzn-Trace-Id"])


def boto(server, port="port", key=KEY, secret=SECRET, stage="/dev", **settings):
    return boto3.session.Session().client(
        "apigatewaymanagementapi", region_name="us-east-1", aws_access_key_id=key,
        aws_secret_access_key=secret,
        endpoint_url=f"http://127.0.0.1:{getattr(server, port)}{stage}",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, **settings))


def failure(function, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        function(**arguments)
    return caught.value


@pytest.fixture(scope="session")
def sdk():
    """Runs steps with the AWS SDK for JavaScript."""
    assert (JS / "node_modules").is_dir(), "run ./dev install (or npm ci in tests/js)"

    def run(server, *steps, key=KEY, secret=SECRET, port="port", url=None):
        asked = {"endpoint": f"http://127.0.0.1:{getattr(server, port)}/dev", "accessKeyId": key,
                 "secretAccessKey": secret, "url": url, "steps": steps}
        done = subprocess.run(["node", str(JS / "management.mjs")], input=json.dumps(asked),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60, env={**os.environ, "AWS_REGION": "us-east-1"})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return run


# ---- 7.1 requests ----

@PORTS
def test_7_1_post_answers_200_with_an_empty_body(shared, client, port):
    status, headers, body = raw_answer(shared, "POST", path_of(client.id), b"hello", port)
    assert status == "HTTP/1.1 200 OK"
    assert (headers["Content-Length"], body) == ("0", b"")
    assert headers["Content-Type"] == "application/json"
    assert_ids(headers, has_trace=True)
    assert set(headers) == {"Date", "Content-Type", "Content-Length", "Connection",
                            "x-amzn-RequestId", "x-amz-apigw-id", "X-Amzn-Trace-Id"}
    assert client.recv() == "hello"


@PORTS
def test_7_1_get_answers_200_with_json(shared, client, port):
    status, headers, body = raw_answer(shared, "GET", path_of(client.id), port=port)
    assert status == "HTTP/1.1 200 OK"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == "application/json"
    assert_ids(headers, has_trace=True)
    assert set(headers) == {"Date", "Content-Type", "Content-Length", "Connection",
                            "x-amzn-RequestId", "x-amz-apigw-id", "X-Amzn-Trace-Id"}
    assert json.loads(body)["identity"]["sourceIp"] == "127.0.0.1"


@PORTS
def test_7_1_delete_answers_204_without_a_length(shared, client, port):
    status, headers, body = raw_answer(shared, "DELETE", path_of(client.id), port=port)
    assert status == "HTTP/1.1 204 No Content"
    assert "Content-Length" not in headers and body == b""
    assert headers["Content-Type"] == "application/json"
    assert_ids(headers, has_trace=True)
    assert client.wait_closed() == (1000, "Connection Closed Normally")


@PORTS
@pytest.mark.parametrize("form", [
    "/dev/@connections/{id}", "/dev/%40connections/{id}", "/dev/@connections/{encoded}",
    "/dev/%40connections/{encoded}", "/dev/%40connections/{lower}",
    "/%64ev/%40%63onnections/{encoded}"])
def test_7_1_the_path_may_be_raw_or_encoded(shared, client, port, form):
    path = form.format(id=client.id, encoded=client.id.replace("=", "%3D"),
                       lower=client.id.replace("=", "%3d"))
    assert ask(shared, "POST", path, b"x", port).status == 200
    assert client.recv() == "x"


@PORTS
def test_7_1_the_path_is_decoded_exactly_once(shared, client, port):
    answer = ask(shared, "GET", f"/dev/@connections/{client.id.replace('=', '%253D')}", port=port)
    assert answer.status == 400
    assert answer.json() == {"message":
                             f"Invalid connectionId: {client.id.replace('=', '%3D')}"}
    assert ask(shared, "GET", f"/dev/%2540connections/{client.id}", port="admin_port").status == 404


def test_7_1_the_target_may_be_a_whole_url(shared, client):
    url = f"http://127.0.0.1:{shared.port}{path_of(client.id)}"
    headers = sign("POST", url, b"x").headers
    with shared.raw() as connection:
        connection.sendall((f"POST {url} HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\n"
                            + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
                            + "Content-Length: 1\r\n\r\nx").encode())
        assert read_answer(connection).status == 200
    assert client.recv() == "x"


def test_7_1_no_header_is_needed_beside_the_signature(shared, client):
    with shared.raw() as connection:
        headers = sign("DELETE", f"http://127.0.0.1:{shared.port}{path_of(client.id)}").headers
        connection.sendall((f"DELETE {path_of(client.id)} HTTP/1.1\r\n"
                            f"Host: 127.0.0.1:{shared.port}\r\n"
                            + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
                            + "\r\n").encode())
        assert read_answer(connection).status == 204


def test_7_1_a_connection_is_used_for_many_requests(shared, client):
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=SECONDS)
    for number in range(3):
        body = str(number).encode()
        headers = sign("POST", f"http://127.0.0.1:{shared.port}{path_of(client.id)}", body).headers
        connection.request("POST", path_of(client.id), body, dict(headers.items()))
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        port_before = connection.sock.getsockname()
        assert number == 0 or port_before == seen
        seen = port_before
    connection.close()
    assert [client.recv() for _ in range(3)] == ["0", "1", "2"]


def test_7_1_a_request_may_come_byte_by_byte(shared, client):
    headers = sign("POST", f"http://127.0.0.1:{shared.port}{path_of(client.id)}", b"x").headers
    request = (f"POST {path_of(client.id)} HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\n"
               + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
               + "Content-Length: 1\r\n\r\nx").encode()
    with shared.raw() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(request)):
            connection.sendall(request[n:n + 1])
        assert read_answer(connection).status == 200
    assert client.recv() == "x"


def test_7_1_half_a_request_line_costs_no_processor_time(shared):
    """What is not yet clear stays in the socket: the loop must not spin on it."""
    def used():
        with open(f"/proc/{shared.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    with shared.raw(b"POST /dev/%40conn") as half, shared.raw(b"GET /dev/%40conn") as closed:
        closed.shutdown(socket.SHUT_WR)
        assert closed.recv(1) == b""
        before = used()
        with pytest.raises(TimeoutError):
            half.settimeout(1)
            half.recv(1)
        assert used() - before < 0.5


def test_7_1_half_a_request_line_is_408_in_the_end(start_server, database):
    server = start_server(database, handshake_timeout_ms=100)
    with server.raw(b"POST /dev/%40conn") as half:
        assert read_answer(half).status == 408


def test_7_1_a_handshake_on_a_connection_of_the_api_has_to_come_anew(shared, client):
    """A proxy that keeps connections may send one there; hanging up makes it ask again."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=SECONDS)
    headers = sign("GET", f"http://127.0.0.1:{shared.port}{path_of(client.id)}").headers
    connection.request("GET", path_of(client.id), headers=dict(headers.items()))
    assert connection.getresponse().read()
    connection.request("GET", "/dev", headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics", "/connections", "/users/ann",
                                  "/topics/t", "/email-verifications"])
def test_7_1_nothing_else_of_the_admin_port_is_on_the_websocket_port(shared, path):
    assert shared.http("GET", path, port=shared.port).status == 426
    assert shared.http("POST", path, b"{}", port=shared.port).status == 426


# ---- 7.2 bodies ----

@PORTS
def test_7_2_get_is_printed_byte_for_byte(shared, port):
    client = shared.connect(headers=[("User-Agent", 'agent "x"')], source="127.0.0.5")
    body = ask(shared, "GET", path_of(client.id), port=port).body.decode()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        '{\n  "identity" : {\n    "sourceIp" : "127.0.0.5",\n'
        r'    "userAgent" : "agent \\"x\\""' '\n  },\n'
        f'  "connectedAt" : "{stamp}",\n  "lastActiveAt" : "{stamp}"\n}}', body), body


def test_7_2_the_user_agent_may_be_null(shared):
    with shared.raw(b"GET /dev HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n") as bare:
        data = b""
        while not (found := re.search(rb'"sessionId": ?"([^"]+)"', data)):
            data += bare.recv(65536)
        body = ask(shared, "GET", path_of(found[1].decode())).body.decode()
    assert '    "userAgent" : null\n' in body


# ---- 7.3 what a POST does ----

@PORTS
def test_7_3_any_bytes_become_a_text_message(shared, client, port):
    for sent, got in [(b"\x00\xff\xfe\x80n", "\x00\ufffd\ufffd\ufffdn"), (b"", ""),
                      ("w\u00f6rld".encode(), "w\u00f6rld"), (b"\xed\xa0\x80", "\ufffd" * 3)]:
        assert ask(shared, "POST", path_of(client.id), sent, port).status == 200
        assert client.recv() == got


def test_7_3_the_connection_closes_normally_and_disconnect_runs(shared, client):
    assert ask(shared, "DELETE", path_of(client.id)).status == 204
    assert client.wait_closed() == (1000, "Connection Closed Normally")
    row = shared.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == \
        (1000, "Connection Closed Normally")


# ---- 7.4 errors, in the order in which they are checked ----

@PORTS
def test_7_4_row_1_a_body_that_is_too_large_is_a_bare_413(shared, client, port):
    status, headers, body = raw_answer(shared, "POST", path_of(client.id), b"x" * 131073, port)
    assert status.startswith("HTTP/1.1 413 ") and body == b""
    assert set(headers) == {"Date", "Content-Length", "Connection"}
    assert headers["Content-Length"] == "0"
    assert ask(shared, "POST", path_of(client.id), b"x" * 131072, port).status == 200
    assert client.recv() == "x" * 131072


def test_7_4_row_1_comes_before_row_2(shared):
    assert ask(shared, "POST", path_of("x", "prod"), b"x" * 131073, key=None).status == 413


@PORTS
@METHODS
def test_7_4_row_2_an_unknown_stage_is_403_forbidden(shared, client, port, method):
    status, headers, body = raw_answer(shared, method, path_of(client.id, "prod"), port=port)
    assert status == "HTTP/1.1 403 Forbidden"
    assert body == b'{"message":"Forbidden"}' and headers["Content-Length"] == "23"
    assert headers["x-amzn-ErrorType"] == "ForbiddenException"
    assert headers["Content-Type"] == "application/json"
    assert_ids(headers, has_trace=False)


def test_7_4_row_2_a_path_without_the_stage_is_403_forbidden(shared, client):
    answer = ask(shared, "POST", path_of(client.id)[4:], b"x")
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')


@PORTS
@pytest.mark.parametrize("path", ["/dev/@connections", "/dev/@connections/a/b", "/dev/@send/x",
                                  "/dev/@connections/%zz"])
def test_7_4_row_2_another_path_is_403_forbidden(shared, port, path):
    answer = ask(shared, "POST", path, b"x", port)
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')
    assert answer.header("x-amzn-ErrorType") == "ForbiddenException"


def test_7_4_row_2_comes_before_row_3(shared):
    assert ask(shared, "POST", path_of("nonsense", "prod"), b"x", key=None).status == 403


@PORTS
@METHODS
def test_7_4_row_3_an_id_that_cannot_be_one_is_400(shared, client, port, method):
    changed = ("B" if client.id[0] != "B" else "C") + client.id[1:]
    for bad in ("nonsense", "0000000000000000", client.id[:-2], client.id + "x", changed, "a b",
                "x" * 300):
        path = "/dev/%40connections/" + bad.replace(" ", "%20").replace("=", "%3D")
        status, headers, body = raw_answer(shared, method, path, port=port)
        assert status == "HTTP/1.1 400 Bad Request"
        assert body.decode() == '{"message":"Invalid connectionId: %s"}' % bad
        assert headers["x-amzn-ErrorType"] == "BadRequestException"
        assert_ids(headers, has_trace=False)


@PORTS
def test_7_4_row_3_comes_before_row_4(shared, port):
    assert ask(shared, "POST", path_of("nonsense"), b"x", port, key=None).status == 400


@PORTS
@METHODS
def test_7_4_row_4_an_unsigned_request_is_403(shared, client, port, method):
    answer = ask(shared, method, path_of(client.id), port=port, key=None)
    assert (answer.status, answer.body) == (403, b'{"message":"Missing Authentication Token"}')
    assert answer.header("x-amzn-ErrorType") == "MissingAuthenticationTokenException"
    assert_ids(dict(answer.headers), has_trace=False)
    client.assert_silent()


@PORTS
def test_7_4_row_4_comes_before_row_7(shared, gone, port):
    assert ask(shared, "POST", path_of(gone), b"x", port, key=None).status == 403


@PORTS
def test_7_4_row_5_a_wrong_signature_is_403(shared, client, port):
    answer = ask(shared, "POST", path_of(client.id), b"x", port, secret="another")
    assert answer.status == 403
    assert answer.header("x-amzn-ErrorType") == "InvalidSignatureException"
    assert answer.json()["message"].startswith(
        "The request signature we calculated does not match the signature you provided.")
    assert_ids(dict(answer.headers), has_trace=False)
    client.assert_silent()


def test_7_4_row_5_a_body_that_was_changed_is_403(shared, client):
    headers = sign("POST", f"http://127.0.0.1:{shared.port}{path_of(client.id)}", b"mine").headers
    answer = shared.http("POST", path_of(client.id), b"evil", dict(headers.items()), shared.port)
    assert answer.header("x-amzn-ErrorType") == "InvalidSignatureException"
    client.assert_silent()


@pytest.mark.parametrize("minutes, status", [(-4, 200), (4, 200), (-6, 403), (6, 403)])
def test_7_4_row_5_a_signature_expires_after_five_minutes(shared, client, monkeypatch, minutes,
                                                          status):
    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return datetime.datetime.utcnow() + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "datetime", types.SimpleNamespace(datetime=Clock))
    answer = ask(shared, "POST", path_of(client.id), b"x")
    assert answer.status == status
    if status == 403:
        assert answer.header("x-amzn-ErrorType") == "InvalidSignatureException"
        assert answer.json()["message"].startswith(
            "Signature expired: " if minutes < 0 else "Signature not yet current: ")


def test_7_4_row_5_another_key_service_or_half_a_header_is_403(shared, client):
    answer = ask(shared, "POST", path_of(client.id), b"x", key="AKIDOTHER")
    assert answer.status == 403
    assert answer.header("x-amzn-ErrorType") == "UnrecognizedClientException"
    answer = ask(shared, "POST", path_of(client.id), b"x", service="s3")
    assert answer.header("x-amzn-ErrorType") == "InvalidSignatureException"
    answer = ask(shared, "POST", path_of(client.id), b"x", key=None,
                 headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})
    assert answer.status == 403
    assert answer.header("x-amzn-ErrorType") == "IncompleteSignatureException"
    answer = ask(shared, "POST", path_of(client.id), b"x", key=None,
                 headers={"Authorization": "Bearer x"})
    assert answer.header("x-amzn-ErrorType") == "IncompleteSignatureException"
    client.assert_silent()


def test_7_4_row_5_the_region_is_the_signers(shared, client):
    assert ask(shared, "GET", path_of(client.id), region="ap-southeast-2").status == 200


def test_7_4_row_5_a_session_token_is_signed_like_any_header(shared, client):
    assert ask(shared, "GET", path_of(client.id), token="a/token+of==").status == 200


def test_7_4_row_5_a_presigned_url_is_good(shared, client):
    request = sign("GET", f"http://127.0.0.1:{shared.port}{path_of(client.id)}",
                   how=botocore.auth.SigV4QueryAuth)
    path = request.url.split(str(shared.port), 1)[1]
    assert shared.http("GET", path, port=shared.port).status == 200
    assert shared.http("DELETE", path, port=shared.port).status == 403


@pytest.mark.parametrize("port", ["port", "admin_port"])
def test_7_4_row_6_a_method_that_is_not_allowed_is_403_with_a_capital_m(start_server, database,
                                                                       port):
    server = start_server(database, **SETTINGS, management_allow="POST,GET", api_id="abc1234567")
    client = server.connect()
    answer = ask(server, "DELETE", path_of(client.id), port=port, region="eu-west-1")
    assert answer.status == 403
    assert answer.header("x-amzn-ErrorType") == "AccessDeniedException"
    assert list(answer.json()) == ["Message"]
    assert answer.json()["Message"] == (
        f"User: arn:aws:iam::000000000000:user/{KEY} is not authorized to perform: "
        "execute-api:ManageConnections on resource: arn:aws:execute-api:eu-west-1:********0000:"
        "abc1234567/dev/DELETE/@connections/{connectionId} because no identity-based policy "
        "allows the execute-api:ManageConnections action")
    assert_ids(dict(answer.headers), has_trace=False)
    # Before row 7, after row 4.
    assert ask(server, "DELETE", path_of(UNKNOWN_ID), port=port, key=None).status in (400, 403)
    assert ask(server, "POST", path_of(client.id), b"x", port).status == 200
    assert client.recv() == "x"


@PORTS
@METHODS
def test_7_4_row_7_a_connection_that_has_gone_is_410_with_an_empty_body(shared, gone, port, method):
    status, headers, body = raw_answer(shared, method, path_of(gone), port=port)
    assert status == "HTTP/1.1 410 Gone"
    assert (headers["Content-Length"], body) == ("0", b"")
    assert headers["Content-Type"] == "application/json"
    assert headers["x-amzn-ErrorType"] == "GoneException"
    assert_ids(headers, has_trace=True)


def test_7_4_row_8_a_client_that_does_not_read_is_429(start_server, database):
    server = start_server(database, **SETTINGS, max_queue_bytes=1024)
    client = server.connect()
    answer = ask(server, "POST", path_of(client.id), b"x" * 2000)
    assert answer.status == 429
    assert answer.header("x-amzn-ErrorType") == "LimitExceededException"
    assert UUID.fullmatch(answer.header("x-amzn-RequestId"))


def test_7_4_row_8_past_the_rate_of_the_account_it_is_429(start_server, database):
    server = start_server(database, **SETTINGS, rate_limit_account="1/h:3")
    client = server.connect()
    assert ask(server, "POST", path_of(client.id), b"x", key=None).status == 403  # costs nothing
    assert ask(server, "POST", path_of(client.id), b"x").status == 200
    assert ask(server, "GET", path_of(client.id)).status == 200
    for method in ("POST", "GET", "DELETE"):
        answer = ask(server, method, path_of(client.id))
        assert answer.status == 429
        assert answer.header("x-amzn-ErrorType") == "LimitExceededException"
    assert ask(server, "POST", "/dev/@send", b'{"to":"all","message":1}').status == 429
    assert client.recv() == "x"
    assert server.metrics()["switchboard_throttled_total"] == 4


# ---- without a key ----

def other_address():
    """An address of this machine that is not its loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.mark.parametrize("development, port, status", [
    ("off", "admin_port", 200), ("off", "port", 403), ("on", "port", 200)])
@pytest.mark.parametrize("signing", [{"key": None}, {"key": "any", "secret": "thing"}],
                         ids=["unsigned", "signed with anything"])
def test_without_a_key_this_machine_is_trusted_where_that_was_asked_for(
        start_server, database, development, port, status, signing):
    server = start_server(database, development=development)
    client = server.connect()
    answer = ask(server, "POST", path_of(client.id), b"x", port, **signing)
    assert answer.status == status
    if status == 403:
        assert answer.header("x-amzn-ErrorType") == (
            "UnrecognizedClientException" if signing["key"]
            else "MissingAuthenticationTokenException")
        client.assert_silent()
    else:
        assert client.recv() == "x"


def test_without_a_key_another_machine_is_refused(start_server, database):
    address = other_address()
    if not address:
        pytest.skip("this machine has no address but its loopback")
    server = start_server(database, development="on", listen_address="0.0.0.0",
                          admin_address="0.0.0.0")
    client = server.connect()
    for port in (server.port, server.admin_port):
        connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
        connection.request("POST", path_of(client.id), b"x")
        response = connection.getresponse()
        assert response.status == 403
        assert response.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
        connection.close()
    client.assert_silent()
    assert "DEVELOPMENT IS ON" in server.wait_line("serve.development")


def test_a_server_on_loopback_does_not_warn_of_development(start_server, database):
    server = start_server(database, development="on")
    assert server.lines("serve.development") == []


def test_a_word_that_is_no_method_is_refused_at_the_start(start_server, database):
    server = start_server(database, wait=False, management_allow="POST,PUT")
    with pytest.raises(AssertionError):
        server.wait_end()
    assert 'PUT' in server.log()


# ---- 12: the checklist ----

def waiting_session(database):
    """The name of the session that waits for an advisory lock; only a superuser sees that."""
    cluster = database.cluster
    session = psycopg2.connect(cluster.url(cluster.superuser, database.name))
    try:
        return call(session, "select application_name from pg_stat_activity"
                             " where wait_event = 'advisory'")
    finally:
        session.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same node", "another node"])
def test_12_12_a_post_during_connect_is_410(start_server, database, elsewhere):
    # Nothing that $connect writes is visible before it ends, but for its session's name.
    database.execute("""
        create schema app;
        create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$
        begin
            perform set_config('application_name', event.connection_id, false);
            perform pg_advisory_xact_lock(7412);
        end $$""")
    server = start_server(database, **SETTINGS, routes="app")
    poster = start_server(database, **SETTINGS) if elsewhere else server
    holder = database.connect()
    call(holder, "select pg_advisory_lock(7412)")
    client = Client(server.url(), handshake=False)
    database.wait_blocked()
    connection_id = waiting_session(database)
    for method in ("POST", "GET", "DELETE"):
        answer = ask(poster, method, path_of(connection_id))
        assert (answer.status, answer.header("x-amzn-ErrorType")) == (410, "GoneException")
    call(holder, "select pg_advisory_unlock(7412)")
    client.finish_handshake()
    assert ask(poster, "POST", path_of(connection_id), b"now").status == 200
    assert client.recv() == "now"
    client.drop()


def last_active(server, connection_id, port="port"):
    answer = ask(server, "GET", path_of(connection_id), port=port)
    assert answer.status == 200, answer
    return answer.json()["lastActiveAt"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same node", "another node"])
def test_12_12_last_active_moves_with_messages_and_posts_and_not_with_gets(
        start_server, database, elsewhere):
    here = start_server(database, **SETTINGS, touch_interval_ms=10)
    there = start_server(database, **SETTINGS) if elsewhere else here
    client = here.connect()
    wait_for(lambda: ask(there, "GET", path_of(client.id)).status == 200, "the row is there")
    first = last_active(there, client.id)
    assert last_active(there, client.id) == first  # a GET is no activity
    client.ask({"type": "heartbeat"})
    wait_for(lambda: last_active(there, client.id) > first, "a message moved it")
    client.assert_silent()
    for poster in (here, there):
        before = wait_stable(there, client.id)
        wait_for(lambda: ask(poster, "POST", path_of(client.id), b"x").status == 200
                 and last_active(there, client.id) > before, "a POST moved it")


def wait_stable(server, connection_id):
    """lastActiveAt once nothing is on its way any more."""
    seen = []

    def is_stable():
        seen.append(last_active(server, connection_id))
        return len(seen) > 20 and len(set(seen[-20:])) == 1
    wait_for(is_stable, "lastActiveAt stands still")
    return seen[-1]


# ---- boto3 ----

@PORTS
def test_boto3_posts_gets_and_deletes(shared, client, port):
    api = boto(shared, port)
    api.post_to_connection(ConnectionId=client.id, Data=b"from boto3")
    assert client.recv() == "from boto3"
    found = api.get_connection(ConnectionId=client.id)
    assert found["Identity"]["SourceIp"] == "127.0.0.1"
    assert found["LastActiveAt"] >= found["ConnectedAt"]
    assert UUID.fullmatch(found["ResponseMetadata"]["RequestId"])
    assert api.delete_connection(ConnectionId=client.id)["ResponseMetadata"]["HTTPStatusCode"] \
        == 204
    assert client.wait_closed() == (1000, "Connection Closed Normally")


def test_boto3_gone_exception(shared, gone):
    api = boto(shared)
    for function, more in ((api.post_to_connection, {"Data": b"x"}), (api.get_connection, {}),
                           (api.delete_connection, {})):
        with pytest.raises(api.exceptions.GoneException) as caught:
            function(ConnectionId=gone, **more)
        assert caught.value.response["Error"] == {"Message": "", "Code": "GoneException"}


def test_boto3_forbidden_exceptions(shared, client):
    error = failure(boto(shared, stage="").post_to_connection, ConnectionId=client.id, Data=b"x")
    assert error.response["Error"] == {"Message": "Forbidden", "Code": "ForbiddenException"}
    assert type(error).__name__ == "ForbiddenException"
    error = failure(boto(shared, secret="other").get_connection, ConnectionId=client.id)
    assert error.response["Error"]["Code"] == "InvalidSignatureException"
    error = failure(boto(shared, key="OTHER").get_connection, ConnectionId=client.id)
    assert error.response["Error"]["Code"] == "UnrecognizedClientException"


def test_boto3_a_body_that_is_too_large_is_error_413(shared, client):
    """Not PayloadTooLargeException: the answer has no type, on API Gateway either."""
    error = failure(boto(shared, parameter_validation=False).post_to_connection,
                    ConnectionId=client.id, Data=b"x" * 131073)
    assert error.response["Error"]["Code"] == "413"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_boto3_bad_request(shared):
    error = failure(boto(shared).post_to_connection, ConnectionId="nonsense", Data=b"x")
    assert error.response["Error"] == {"Message": "Invalid connectionId: nonsense",
                                       "Code": "BadRequestException"}


def test_boto3_limit_exceeded_exception(start_server, database):
    server = start_server(database, **SETTINGS, max_queue_bytes=1024)
    client = server.connect()
    api = boto(server)
    with pytest.raises(api.exceptions.LimitExceededException):
        api.post_to_connection(ConnectionId=client.id, Data=b"x" * 2000)


# ---- the AWS SDK for JavaScript ----

@PORTS
def test_javascript_posts_gets_and_deletes(shared, sdk, port):
    post, get, delete, seen = sdk(shared, ["post", "self", "from JavaScript"], ["get", "self"],
                                  ["delete", "self"], port=port, url=shared.url())
    assert post["status"] == 200 and UUID.fullmatch(post["requestId"])
    assert get["status"] == 200 and get["Identity"]["SourceIp"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", get["LastActiveAt"])
    assert delete["status"] == 204
    assert seen["messages"] == [["from JavaScript", False]]
    assert seen["closed"] == {"code": 1000, "reason": "Connection Closed Normally"}


def test_javascript_exceptions_come_out_typed(shared, sdk, gone, client):
    large, gone_error, bad = sdk(shared, ["post", client.id, "x" * 131073], ["post", gone, "x"],
                                 ["get", "nonsense"])
    assert gone_error["error"]["name"] == "GoneException"
    assert gone_error["error"]["isA"] == ["GoneException"]
    assert gone_error["error"]["status"] == 410
    # The bare 413 has no type; the SDK falls back to the status.
    assert large["error"]["status"] == 413
    assert large["error"]["isA"] == []
    assert bad["error"]["name"] == "BadRequestException"
    assert bad["error"]["message"] == "Invalid connectionId: nonsense"
    wrong, = sdk(shared, ["get", client.id], secret="other")
    assert wrong["error"]["name"] == "InvalidSignatureException"
    assert wrong["error"]["status"] == 403


def test_javascript_forbidden_and_limit_exceeded_come_out_typed(start_server, database, sdk):
    server = start_server(database, **SETTINGS, stage="prod", max_queue_bytes=1024)
    client = server.connect()
    forbidden, = sdk(server, ["get", client.id])  # its endpoint ends in /dev
    assert forbidden["error"]["isA"] == ["ForbiddenException"]
    assert forbidden["error"]["message"] == "Forbidden"
    server = start_server(database, **SETTINGS, max_queue_bytes=1024)
    client = server.connect()
    limited, = sdk(server, ["post", client.id, "x" * 2000])
    assert limited["error"]["isA"] == ["LimitExceededException"]
    assert limited["error"]["status"] == 429
    with pytest.raises(Gone):
        client.recv()


# ---- our own commands ----

def test_the_command_signs_what_it_posts(start_server, database):
    server = start_server(database, **SETTINGS)
    client = server.connect()
    posts = server.metrics()["switchboard_posts_total"]
    done = server.command("send", client.id, "hello")
    assert done.returncode == 0, done.stderr
    assert client.recv() == "hello"
    assert server.metrics()["switchboard_posts_total"] == posts + 1  # and not through the log
