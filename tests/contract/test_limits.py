# SPDX-License-Identifier: Apache-2.0
"""6 and 2.3 of the contract: sizes, rates and what happens past them; lines 5, 8 and 15 of its
checklist."""
import json

import pytest
from harness import masked_head, read_answer, wait_for
from strict import SQL as STRICT_SQL
from strict import STRICT, ids_in, message_of

SETTINGS = STRICT
SQL = STRICT_SQL
THROTTLED = "Too Many Requests"


@pytest.fixture
def client(shared):
    client = shared.connect()
    yield client
    client.drop()


@pytest.fixture
def start(database, start_server):
    database.execute(SQL)
    return lambda **settings: start_server(database, **{**STRICT, **settings})


# ---- 6 the table of quotas ----

@pytest.mark.parametrize("setting, value", [
    ("rate_limit_connects", "500/s:500"), ("rate_limit_account", "10000/s:5000"),
    ("max_message_bytes", 131072), ("max_frame_bytes", 32768), ("integration_timeout_ms", 29000),
    ("max_connection_ms", 7200000), ("idle_timeout_ms", 600000), ("max_url_bytes", 4096),
    ("max_head_bytes", 10240), ("compression", "off"), ("ping_interval_ms", 0)])
def test_6_with_aws_strict_the_value_is_that_of_api_gateway(shared, setting, value):
    assert json.loads(shared.command("config", "--json").stdout)[setting] == value


def test_6_new_connections_past_the_rate_get_429(start):
    server = start(rate_limit_connects="1/h:3")
    clients = [server.connect() for _ in range(3)]
    answer = server.refused()
    assert answer.status == 429
    assert ids_in(answer.body.decode(), THROTTLED)[1] == answer.header("x-amz-apigw-id")
    assert clients[0].ask({"action": "echo", "n": 1}) == 1  # messages are not connects
    assert server.database.value("select count(*) from app.ended") == 0


def test_6_the_account_is_throttled_over_handshakes_and_messages_together(start):
    server = start(rate_limit_account="1/h:4")
    first, second = server.connect(), server.connect()
    assert first.ask({"action": "echo", "n": 1}) == 1
    assert second.ask({"action": "echo", "n": 2}) == 2
    first.send({"action": "echo", "n": 3})
    assert ids_in(first.recv(), THROTTLED)[0] == first.id
    assert server.refused().status == 429


def test_6_the_stage_is_throttled_likewise(start):
    server = start(rate_limit_stage="1/h:2")
    client = server.connect()
    assert client.ask({"action": "echo", "n": 1}) == 1
    client.send({"action": "echo", "n": 2})
    assert ids_in(client.recv(), THROTTLED)[0] == client.id
    assert server.refused().status == 429


def test_6_a_route_has_a_rate_and_a_burst_of_its_own(start):
    server = start(rate_limit_routes="costly=1/h:2")
    first, second = server.connect(), server.connect()
    assert first.ask({"action": "costly", "n": 1}) == 1
    assert second.ask({"action": "costly", "n": 2}) == 2
    second.send({"action": "costly", "n": 3})
    assert ids_in(second.recv(), THROTTLED)[0] == second.id
    assert second.ask({"action": "echo", "n": 4}) == 4


def test_6_a_route_of_the_description_has_a_throttle(database, start_server, tmp_path):
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps({
        "integrations": {"sql": {"type": "sql"}},
        "routes": {"$connect": {"integration": "sql", "throttle": "1/h:2"},
                   "costly": {"integration": "sql", "throttle": "1/h:1"},
                   "$default": "sql"}}))
    database.execute(SQL)
    server = start_server(database, **STRICT, api=path)
    first, second = server.connect(), server.connect()
    assert server.refused().status == 429
    assert first.ask({"action": "costly", "n": 1}) == 1
    second.send({"action": "costly", "n": 2})
    assert ids_in(second.recv(), THROTTLED)[0] == second.id


def test_6_a_frame_of_32_kb_is_taken(client):
    assert client.ask(message_of(32768)) == 32768


def test_6_a_message_of_128_kb_in_frames_of_32_kb_is_taken(client):
    text = message_of(131072).encode()
    client.send_parts([text[at:at + 32768] for at in range(0, 131072, 32768)])
    assert client.recv_json() == 131072


def test_6_the_announcement_of_a_larger_frame_is_enough(client):
    client.send_bytes(masked_head(0x81, 32769))
    client.send_bytes(b"x")
    assert client.wait_closed() == (1009, "Max frame length of 32768 has been exceeded.")


def test_6_a_post_of_128_kb_is_delivered_and_one_byte_more_is_413(shared, client):
    path = f"/dev/@connections/{client.id}"
    assert shared.http("POST", path, b"x" * 131072).status == 200
    assert client.recv() == "x" * 131072
    assert shared.http("POST", path, b"x" * 131073).status == 413
    assert client.ask({"action": "echo", "n": 1}) == 1


@pytest.mark.parametrize("value", ["49", "29001"])
def test_6_an_integration_may_take_50_ms_to_29_s(database, value):
    done = database.command("config", integration_timeout_ms=value)
    assert done.returncode != 0 and "from 50 to 29000" in done.stderr


@pytest.mark.parametrize("value, is_good", [("a" * 128, True), ("A-z_9", True), ("a" * 129, False),
                                            ("a.b", False), ("a b", False)])
def test_6_a_stage_is_128_letters_digits_hyphens_and_underscores(database, value, is_good):
    assert (database.command("config", stage=value).returncode == 0) == is_good


def handshake(server, target, headers=""):
    head = (f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\n{headers}\r\n").encode()
    with server.raw(head) as connection:
        return read_answer(connection).status, len(head)


def test_6_a_url_of_4096_characters_is_taken_and_one_more_is_414(shared):
    base = "/dev?x="
    assert handshake(shared, base + "y" * (4096 - len(base)))[0] == 101
    assert handshake(shared, base + "y" * (4097 - len(base)))[0] == 414


def test_6_a_head_of_10240_bytes_is_taken_and_one_more_is_431(shared):
    size = handshake(shared, "/dev")[1] + len("X-Pad: \r\n")
    assert handshake(shared, "/dev", f"X-Pad: {'y' * (10240 - size)}\r\n") == (101, 10240)
    assert handshake(shared, "/dev", f"X-Pad: {'y' * (10241 - size)}\r\n") == (431, 10241)


def test_6_permessage_deflate_is_declined(shared):
    client = shared.connect(
        headers=[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=9")])
    assert client.answer.header("sec-websocket-extensions") is None
    client.close()


# ---- 2.3 the frame of a throttled message; line 5 ----

def test_2_3_a_throttled_message_gets_the_frame_and_the_socket_stays_open(start):
    server = start(rate_limit_routes="costly=1/h")
    client = server.connect()
    client.ask({"action": "costly", "n": 1})
    frames = []
    for _ in range(20):
        client.send({"action": "costly", "n": 2})
        frames.append(ids_in(client.recv(), THROTTLED))
    assert {connection for connection, _ in frames} == {client.id}
    assert len({request for _, request in frames}) == 20
    assert client.ask({"action": "echo", "n": 3}) == 3
    assert server.metrics()["switchboard_throttled_total"] == 20


def test_2_3_a_schema_cannot_put_its_own_error_in_place_of_the_frame(start, database):
    database.execute("""
        create function app."$error"(event switchboard.event, code text, message text)
        returns setof switchboard.delivery language sql
        as $$ select * from switchboard.reply('"its own"') $$""")
    server = start(rate_limit_connection="1/h:1")
    client = server.connect()
    assert client.ask({"action": "echo", "n": 1}) == 1
    client.send({"action": "echo", "n": 2})
    assert ids_in(client.recv(), THROTTLED)[0] == client.id


def test_2_3_one_accepted_message_starts_the_count_of_an_abuser_again(start):
    server = start(rate_limit_routes="costly=1/h", throttle_close_after=3)
    client = server.connect()
    client.ask({"action": "costly", "n": 1})
    for _ in range(4):
        for _ in range(2):
            client.send({"action": "costly", "n": 2})
            ids_in(client.recv(), THROTTLED)
        assert client.ask({"action": "echo", "n": 3}) == 3


def test_2_3_tokens_come_back(start):
    server = start(rate_limit_routes="costly=10/s:1")
    client = server.connect()

    def answer():
        client.send({"action": "costly", "n": 7})
        return client.recv()
    assert answer() == "7"
    wait_for(lambda: answer() == "7", "there is a token again", 5)


# ---- line 15: fragments ----

def test_line_15_a_reply_of_800_bytes_comes_in_more_than_one_frame(client):
    assert client.ask({"action": "big", "n": 798}) == "x" * 798
    assert client.frames[-1] > 1


@pytest.mark.parametrize("size", [1, 510, 511, 512, 1022, 1023, 70000, 131072])
def test_line_15_whatever_its_size_a_message_is_whole(client, size):
    assert client.ask({"action": "big", "n": size}) == "x" * size
    assert client.frames[-1] == (size + 2 + 511) // 512


def test_line_15_a_pong_may_come_between_the_fragments_of_a_message(client):
    for _ in range(5):
        client.send({"action": "big", "n": 100000})
        client.protocol.send_ping(b"between")
        client._flush()
    assert [client.recv_json() for _ in range(5)] == ["x" * 100000] * 5
    client.ping(b"last")  # of several pings at once, the last one may be all that is answered
    assert len(client.pongs) > 1


def test_line_15_a_client_message_in_fragments_is_one_message(client):
    text = message_of(1000).encode()
    client.send_parts([text[:1], text[1:2], b"", text[2:999], text[999:]])
    assert client.recv_json() == 1000
