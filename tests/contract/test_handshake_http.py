# SPDX-License-Identifier: Apache-2.0
"""8 of the contract: what a handshake is answered with; lines 1, 5 and 13 of its checklist."""
import datetime
import re

import pytest
from harness import ID, REQUEST_ID, read_answer, read_to_end
from strict import SQL as STRICT_SQL
from strict import STRICT, ids_in

SETTINGS = STRICT
SQL = STRICT_SQL
GET = ("GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n")
PAGE = (b"<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n"
        b"<center><h1>400 Bad Request</h1></center>\r\n</body>\r\n</html>\r\n")
DATE = r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"


def request(target="/dev", more=""):
    return GET.format(target=target, more=more).encode()


def answer_to(server, data):
    with server.raw(data) as connection:
        return read_answer(connection)


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        assert more, head
        head += more
    return head.decode()


def read_response(connection):
    """Head and body; the socket stays open."""
    head = read_head(connection)
    body = b""
    length = int(re.search(r"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(length - len(body))
    return head, body.decode()


# ---- line 1: the 101 ----

@pytest.mark.parametrize("options", [
    {}, {"subprotocols": ["chat", "v2"]},
    {"headers": [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]}],
    ids=["plain", "subprotocols", "extensions"])
def test_line_1_the_101_has_four_headers_whatever_is_offered(shared, options):
    client = shared.connect(**options)
    names = sorted(name.lower() for name, _ in client.answer.headers)
    assert names == ["connection", "date", "sec-websocket-accept", "upgrade"]
    assert client.answer.header("connection").lower() == "upgrade"
    assert client.answer.header("upgrade").lower() == "websocket"
    datetime.datetime.strptime(client.answer.header("date"), "%a, %d %b %Y %H:%M:%S GMT")
    client.close()


# ---- 8.1: the rejection, byte for byte ----

def test_8_1_a_rejection_of_the_gateway_byte_for_byte(database, start_server):
    database.execute(SQL)
    server = start_server(database, **STRICT, rate_limit_connects="1/h:1")
    server.connect()
    with server.raw(request()) as connection:
        head, body = read_response(connection)
    connection_id, request_id = ids_in(body, "Too Many Requests")
    assert ID.match(connection_id) and REQUEST_ID.match(request_id)
    assert re.fullmatch("HTTP/1.1 429 Too Many Requests\r\n"
                        f"date: {DATE}\r\n"
                        "content-type: application/json; charset=UTF-8\r\n"
                        f"content-length: {len(body)}\r\n"
                        "connection: keep-alive\r\n"
                        f"x-amz-apigw-id: {re.escape(request_id)}\r\n\r\n", head), head


# ---- 8.2: row by row ----

@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501, 503])
def test_8_2_a_status_of_the_integration_is_that_of_the_handshake_with_its_body(shared, status):
    answer = shared.refused(f"status={status}&body=verbatim+%7B%7D")
    assert (answer.status, answer.body) == (status, b"verbatim {}")
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header("content-length") == "11"
    assert REQUEST_ID.match(answer.header("x-amz-apigw-id"))
    for name in ("x-amzn-errortype", "x-amzn-requestid", "server"):
        assert answer.header(name) is None


@pytest.mark.parametrize("target", ["/prod", "/", "/DEV", "/devx", "/de", "/prod/dev",
                                    "/prod?stage=dev"])
def test_8_2_an_unknown_stage_is_403_forbidden(shared, target):
    answer = answer_to(shared, request(target))
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')
    assert answer.header("content-length") == "23"
    assert answer.header("x-amz-apigw-id") is None


def test_8_2_the_connect_rate_is_429(database, start_server):
    database.execute(SQL)
    server = start_server(database, **STRICT, rate_limit_connects="1/h:2")
    server.connect(), server.connect()
    # Behind the look-up of the stage, in front of everything that costs something.
    assert answer_to(server, request("/prod")).status == 403
    assert [server.refused().status for _ in range(3)] == [429] * 3
    assert database.value("select count(*) from switchboard.websocket_connections") == 2


@pytest.mark.parametrize("data", [
    request(more="Authorization: one\r\nauthorization: two\r\n"),
    request(more="Authorization: same\r\nAuthorization: same\r\n"),
    request(more="no colon\r\n"), request(more="Blank : before\r\n"),
    request(more="X: a\r\n folded\r\n"), request(more="X: a\x01b\r\n"),
    b"GET  /dev HTTP/1.1\r\n\r\n", b"GET /dev\r\n\r\n", b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00",
    request().replace(b"dGhlIHNh", b"!!!!"),
], ids=["two Authorization", "two alike", "no colon", "blank", "folded", "control", "two blanks",
        "no version", "nonsense", "TLS", "key"])
def test_8_2_what_is_malformed_gets_the_page_of_the_load_balancer(shared, data):
    with shared.raw(data) as connection:
        head = read_head(connection)
        body = read_to_end(connection)
    assert body == PAGE
    assert re.fullmatch("HTTP/1.1 400 Bad Request\r\n"
                        "server: awselb/2.0\r\n"
                        f"date: {DATE}\r\n"
                        "content-type: text/html\r\n"
                        "content-length: 122\r\n"
                        "connection: close\r\n\r\n", head), head


def test_8_2_outside_strict_mode_the_answer_is_our_own(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app")
    answer = answer_to(server, request(more="Authorization: one\r\nAuthorization: two\r\n"))
    assert (answer.status, answer.body) == (400, b'{"message":"Bad Request"}')
    assert answer.header("server") is None


@pytest.mark.parametrize("target", ["/dev/foo", "/dev/foo/", "/dev//", "/dev/foo?x=1"])
def test_8_2_a_path_behind_the_stage_is_403(shared, target):
    answer = answer_to(shared, request(target))
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')


@pytest.mark.parametrize("target", ["/dev/", "/dev/?x=1", "/dev?"])
def test_8_2_a_trailing_slash_is_fine(shared, target):
    with shared.raw(request(target)) as connection:
        assert read_head(connection).startswith("HTTP/1.1 101 ")


def test_8_2_a_plain_get_is_426(shared):
    answer = shared.http("GET", "/dev", port=shared.port)
    assert (answer.status, answer.body) == (426, b'{"message":"Upgrade Required"}')
    assert answer.header("upgrade") == "websocket"
    assert "upgrade" in answer.header("connection").lower()


@pytest.mark.parametrize("version", ["8", "12", "14", "13, 8", ""])
def test_8_2_another_version_of_the_protocol_is_426_and_says_which(shared, version):
    data = request().replace(b"Sec-WebSocket-Version: 13", f"Sec-WebSocket-Version: {version}".encode())
    answer = answer_to(shared, data)
    assert answer.status == 426
    assert answer.header("sec-websocket-version") == "13"


# ---- 8.2, below the table ----

@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_8_2_the_origin_is_not_looked_at(shared, origin):
    client = shared.connect(headers=[("Origin", origin)])
    assert client.answer.header("access-control-allow-origin") is None
    client.close()


# ---- 8.1: connection: keep-alive ----

def test_8_1_behind_a_rejection_the_same_socket_may_try_again(shared):
    with shared.raw() as connection:
        for target, status in (("/prod", 403), ("/dev?status=401&body=no", 401), ("/dev/x", 403)):
            connection.sendall(request(target))
            head, _ = read_response(connection)
            assert head.startswith(f"HTTP/1.1 {status} "), head
            assert "connection: keep-alive\r\n" in head
        connection.sendall(request("/dev"))
        assert read_head(connection).startswith("HTTP/1.1 101 ")


def test_8_1_requests_that_come_together_are_answered_one_by_one(shared):
    """A hundred in one segment; the last one is accepted, and its first frame is in it too."""
    with shared.raw(request("/prod") * 50 + request("/dev?status=401&body=no") * 50
                    + request("/dev") + b"\x89\x80\0\0\0\0") as connection:
        for status in ["403"] * 50 + ["401"] * 50:
            head, _ = read_response(connection)
            assert head.startswith(f"HTTP/1.1 {status} "), head
        assert read_head(connection).startswith("HTTP/1.1 101 ")
        assert connection.recv(1) == b"\x8a" or connection.recv(4096)


@pytest.mark.parametrize("data", [
    request("/prod", more="Connection: close\r\n"),
    request("/prod", more="Content-Length: 5\r\n") + b"hello",
    request("/prod", more="Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    b"POST /dev HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD /dev HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /dev HTTP/1.0\r\nHost: x\r\n\r\n",
], ids=["close", "body", "chunked", "POST", "HEAD", "HTTP/1.0"])
def test_8_1_the_socket_is_closed_when_what_follows_is_not_another_request(shared, data):
    with shared.raw(data) as connection:
        head = read_head(connection)
        assert re.search("connection: (upgrade, )?close\r\n", head), head
        read_to_end(connection)


def test_8_1_a_socket_that_asks_for_nothing_more_is_closed(shared):
    with shared.raw(request("/prod")) as connection:
        read_response(connection)
        assert read_to_end(connection) == b""


# ---- line 13: ids ----

def test_line_13_ids_of_a_rejection_have_the_lengths_of_api_gateways(database, start_server):
    database.execute(SQL)
    server = start_server(database, **STRICT, rate_limit_stage="1/h:1")
    client = server.connect()
    assert len(client.id) == 20 and client.id.endswith("==")
    seen = {ids_in(server.refused().body.decode(), "Too Many Requests") for _ in range(5)}
    assert len({connection for connection, _ in seen}) == 5
    assert all(len(request_id) == 16 and request_id.endswith("=") for _, request_id in seen)
