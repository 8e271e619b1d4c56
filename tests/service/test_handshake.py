# SPDX-License-Identifier: Apache-2.0
"""The handshake: what is answered, and what is in the table when it is."""
import datetime
import json
import socket

import pytest
from harness import ID, REQUEST_ID, Client, Refused, call, read_answer, read_to_end, wait_for

UPGRADE = ("GET /{stage}{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
           "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           "Sec-WebSocket-Version: {version}\r\n\r\n")


def upgrade(stage="dev", query="", version="13"):
    return UPGRADE.format(stage=stage, query=query, version=version).encode()


def test_the_101_has_exactly_the_headers_of_api_gateway(shared):
    client = shared.connect()
    assert client.status_line == "HTTP/1.1 101 Switching Protocols"
    names = sorted(name.lower() for name, _ in client.answer.headers)
    assert names == ["connection", "date", "sec-websocket-accept", "upgrade"]
    assert client.answer.header("upgrade").lower() == "websocket"
    assert client.answer.header("connection").lower() == "upgrade"
    datetime.datetime.strptime(client.answer.header("date"), "%a, %d %b %Y %H:%M:%S GMT")
    client.close()


def test_the_accept_header_is_the_one_of_the_rfc(shared):
    with shared.raw(upgrade()) as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head


def test_no_extension_and_no_subprotocol_is_negotiated_by_itself(shared):
    client = shared.connect(
        subprotocols=["chat"], headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
    assert client.answer.header("sec-websocket-protocol") is None
    assert client.answer.header("sec-websocket-extensions") is None
    client.close()


def test_the_row_is_there_when_the_101_arrives(shared):
    before = shared.database.value("select clock_timestamp()")
    client = Client(shared.url("email=Ann.B%40Example.COM&type=email-verification"),
                    headers=[("User-Agent", "sentences/1.0 (tests)")], source="127.0.0.9")
    rows = shared.database.execute(
        "select * from switchboard.websocket_connections where source_ip = '127.0.0.9'")
    assert len(rows) == 1
    row = rows[0]
    after = shared.database.value("select clock_timestamp()")
    assert ID.match(row["connection_id"])
    assert client.recv_json()["sessionId"] == row["connection_id"]
    slack = datetime.timedelta(milliseconds=5)
    assert before - slack <= row["connected_at"] <= after
    assert row["connected_at"] <= row["last_activity_at"] + slack
    assert abs(row["expires_at"] - row["connected_at"] - datetime.timedelta(minutes=120)) \
        < datetime.timedelta(seconds=2)
    expected = {
        "user_id": None, "user_name": None, "user_email": "ann.b@example.com",
        "subscription_type": "email-verification", "connection_type": "local",
        "api_gateway_endpoint": f"http://127.0.0.1:{shared.admin_port}/dev", "stage": "dev",
        "user_agent": "sentences/1.0 (tests)", "metadata": {}, "is_active": True,
        "disconnected_at": None, "disconnect_code": None, "disconnect_reason": None,
    }
    assert {name: row[name] for name in expected} == expected
    nodes = shared.database.execute("select * from switchboard.websocket_nodes")
    assert [node["node_id"] for node in nodes] == [row["node_id"]]
    client.close()


@pytest.mark.parametrize("variable", ["AWS_WEBSOCKET_API_GATEWAY_ENDPOINT",
                                      "WEBSOCKET_API_ENDPOINT"])
def test_the_row_has_the_management_endpoint_of_the_environment(database, start_server, variable):
    server = start_server(database, **{variable: "https://abc.example.com/prod"})
    client = server.connect()
    assert database.row(client.id)["api_gateway_endpoint"] == "https://abc.example.com/prod"
    client.close()


def test_a_client_without_user_agent_has_none_in_its_row(shared):
    client = shared.connect()
    assert shared.database.row(client.id)["user_agent"] is None
    client.close()


def test_ids_are_never_the_same_twice(shared):
    clients = [shared.connect() for _ in range(50)]
    ids = {client.id for client in clients}
    assert len(ids) == 50 and all(ID.match(one) for one in ids)
    for client in clients:
        client.close()


def test_a_trailing_slash_behind_the_stage_is_accepted(shared):
    client = Client(shared.url(stage="dev/"))
    assert client.recv_json()["type"] == "connection-established"
    client.close()


@pytest.mark.parametrize("stage", ["prod", "dev/foo", "DEV", "de", "devx", ""])
def test_another_path_than_the_stage_is_forbidden(shared, stage):
    with pytest.raises(Refused) as refused:
        Client(shared.url(stage=stage))
    answer = refused.value.answer
    assert answer.status == 403
    assert answer.body == b'{"message":"Forbidden"}'
    assert answer.header("content-length") == str(len(answer.body))


def test_an_unknown_subscription_type_is_refused_with_400_and_not_registered(shared):
    before = shared.database.value("select count(*) from switchboard.websocket_connections")
    answer = shared.refused("email=ann@example.com&type=everything")
    assert answer.status == 400
    assert isinstance(json.loads(answer.body)["message"], str)
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert REQUEST_ID.match(answer.header("x-amz-apigw-id"))
    assert answer.header("x-amzn-requestid") is None
    after = shared.database.value("select count(*) from switchboard.websocket_connections")
    assert after == before


@pytest.mark.parametrize("kind", ["email-verification", "authenticated", "notifications"])
def test_the_three_subscription_types_are_accepted(shared, kind):
    client = shared.connect(f"type={kind}")
    assert shared.database.row(client.id)["subscription_type"] == kind
    client.close()


def test_a_plain_get_is_told_to_upgrade(shared):
    answer = shared.http("GET", "/dev", port=shared.port)
    assert answer.status == 426
    assert answer.header("upgrade") == "websocket"


def test_another_websocket_version_is_told_which_one_is_spoken(shared):
    with shared.raw(upgrade(version="8")) as connection:
        answer = read_answer(connection)
    assert answer.status == 426
    assert answer.header("sec-websocket-version") == "13"


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello\r\n\r\n",
    b"GET /dev\r\n\r\n",
    b"GET /dev HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /dev HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n\r\n",
    b"GET /dev HTTP/1.1\r\nHost: local\0host\r\n\r\n",
], ids=["tls", "no version", "blank before colon", "folded", "nul"])
def test_a_malformed_request_gets_400_and_the_connection_ends(shared, data):
    with shared.raw(data) as connection:
        assert read_answer(connection).status == 400
        assert read_to_end(connection) == b""


@pytest.mark.parametrize("key", [None, "short", "dGhlIHNhbXBsZSBub25jZQ=!"])
def test_an_upgrade_without_a_good_key_gets_400(shared, key):
    head = upgrade().decode().replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                                      f"Sec-WebSocket-Key: {key}\r\n" if key else "")
    with shared.raw(head.encode()) as connection:
        assert read_answer(connection).status == 400


def test_a_head_that_comes_byte_by_byte_is_read(shared):
    with shared.raw() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in upgrade():
            connection.sendall(bytes([byte]))
        assert connection.recv(12) == b"HTTP/1.1 101"


def test_a_message_sent_right_behind_the_head_is_answered(shared):
    text = b'{"type":"heartbeat"}'
    with shared.raw(upgrade() + bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text) as connection:
        data = b""
        while b"heartbeat-response" not in data:
            more = connection.recv(4096)
            assert more, data
            data += more
    assert data.index(b"connection-established") < data.index(b"heartbeat-response")


def test_a_head_that_is_too_large_gets_431(database, start_server):
    server = start_server(database, max_head_bytes=1024)
    head = upgrade().decode().replace("\r\n\r\n", "\r\nX-Pad: " + "x" * 2000 + "\r\n\r\n")
    with server.raw(head.encode()) as connection:
        assert read_answer(connection).status == 431
    assert server.connect().ping() == b"hello"


def test_a_head_that_never_ends_is_given_up(database, start_server):
    server = start_server(database, handshake_timeout_ms=300)
    with server.raw(upgrade()[:40]) as slow:
        quick = server.connect()
        data = read_to_end(slow)
        assert data == b"" or data.startswith(b"HTTP/1.1 408 ")
    assert quick.ping() == b"hello"


def test_past_max_connections_handshakes_get_503_until_one_has_gone(database, start_server):
    server = start_server(database, max_connections=3)
    clients = [server.connect() for _ in range(3)]
    assert server.refused().status == 503
    clients[0].close()

    def room():
        try:
            return server.connect()
        except Refused:
            return None
    assert wait_for(room, "there is room again").ping() == b"hello"
    assert server.metrics()["switchboard_open_connections"] == 3


def test_a_client_that_goes_before_the_answer_leaves_no_active_row(database, start_server):
    database.execute("""
        create schema app;
        create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(4711);
            return query select * from switchboard.accept(user_name => 'held');
        end $$""")
    server = start_server(database, routes="app")
    holder = database.connect()
    call(holder, "select pg_advisory_lock(4711)")
    client = Client(server.url(), handshake=False)
    database.wait_blocked()
    client.drop(reset=True)
    call(holder, "select pg_advisory_unlock(4711)")
    wait_for(lambda: database.value("select count(*) from switchboard.websocket_connections"
                                    " where user_name = 'held'"), "the row was written")
    wait_for(lambda: database.active() == 0, "the row is inactive")
