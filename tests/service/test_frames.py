# SPDX-License-Identifier: Apache-2.0
"""Frames, sizes and text: what a client may send, and the close codes for what it may not."""
import asyncio
import hashlib
import json
import re

import aiohttp
import pytest
import websockets
from harness import masked_head, wait_for

SQL = """
    create schema app;
    create function app.size(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object(
            'bytes', octet_length(event.raw_body), 'md5', md5(event.raw_body)))
    $$;
    create function app.big(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(to_jsonb(repeat('x', (event.body ->> 'n')::integer)))
    $$;
"""
FRAME = 32768
MESSAGE = 131072
SETTINGS = {"routes": "app", "close_timeout_ms": 500, "max_frame_bytes": FRAME,
            "max_message_bytes": MESSAGE}


@pytest.fixture
def client(shared):
    client = shared.connect()
    yield client
    client.drop()


def message_of(size, filler="x"):
    head, tail = b'{"action":"size","pad":"', b'"}'
    return head + filler.encode() * (size - len(head) - len(tail)) + tail


def parts_of(data, size=FRAME):
    return [data[at:at + size] for at in range(0, len(data), size)]


def assert_closed(shared, client, code, reason=None):
    assert client.wait_closed()[0] == code
    row = shared.database.wait_inactive(client.id)
    assert row["disconnect_code"] == code
    if reason is not None:
        assert (client.protocol.close_reason, row["disconnect_reason"]) == (reason, reason)


def test_a_message_of_128_kb_in_frames_of_32_kb_is_whole(client):
    data = message_of(MESSAGE)
    client.send_parts(parts_of(data))
    answer = client.recv_json()
    assert answer["bytes"] == MESSAGE
    assert answer["md5"] == hashlib.md5(data).hexdigest()


def test_one_byte_more_than_128_kb_is_closed_with_1009(shared, client):
    with pytest.raises(OSError):
        client.send_parts(parts_of(message_of(MESSAGE + 1)))
        raise OSError  # usually everything fits into the buffers
    assert_closed(shared, client, 1009)


def test_a_frame_of_32_kb_is_taken_and_one_byte_more_is_closed_with_1009(shared, client):
    assert client.ask(message_of(FRAME).decode())["bytes"] == FRAME
    client.send_bytes(masked_head(0x81, FRAME + 1) + b"x" * (FRAME + 1))
    assert_closed(shared, client, 1009)


def test_without_settings_a_message_of_a_mebibyte_is_taken_in_one_frame(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app")
    client = server.connect()
    data = message_of(1 << 20)
    client.send(data.decode())
    assert client.recv_json() == {"bytes": 1 << 20, "md5": hashlib.md5(data).hexdigest()}
    client.send_bytes(masked_head(0x81, (1 << 20) + 1))
    client.send_bytes(b"x" * 1000)
    assert client.wait_closed() == (1009, "Max frame length of 1048576 has been exceeded.")


def test_the_announcement_of_a_huge_frame_is_enough_to_be_closed(shared, client):
    client.send_bytes(masked_head(0x81, 1 << 40) + b"x")
    assert_closed(shared, client, 1009)


def test_a_message_in_tiny_fragments_with_pings_between_is_whole(client):
    data = message_of(300)
    for number, byte in enumerate(data):
        final = number == len(data) - 1
        client.send_bytes(masked_head((0x80 if final else 0) | (0 if number else 1), 1)
                          + bytes([byte]))
        if number == 150:
            assert client.ping(b"between") == b"between"
    assert client.recv_json()["bytes"] == 300


def test_many_small_messages_in_one_segment_are_all_answered(client):
    data = message_of(60)
    client.send_bytes((masked_head(0x81, 60) + data) * 500)
    assert [client.recv_json()["bytes"] for _ in range(500)] == [60] * 500


def test_a_binary_message_is_closed_with_1003(shared, client):
    client.protocol.send_binary(b"\x00\x01")
    client._flush()
    assert_closed(shared, client, 1003, "Binary is not supported")


@pytest.mark.parametrize("text", [b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"\xc0\x80",
                                  b"\xf4\x90\x80\x80"],
                         ids=["ff", "cut", "surrogate", "overlong", "too high"])
def test_invalid_utf8_is_closed_with_1007(shared, client, text):
    client.send_bytes(masked_head(0x81, len(text)) + text)
    assert_closed(shared, client, 1007)


def test_a_character_may_be_cut_by_frames(client):
    data = message_of(100, "x").replace(b"xx", "\u00e9".encode(), 1)
    at = data.index(b"\xc3") + 1
    client.send_parts([data[:at], data[at:]])
    assert client.recv_json()["bytes"] == 100


@pytest.mark.parametrize("data", [
    masked_head(0xc1, 1) + b"x",        # RSV1 without extension
    masked_head(0x83, 1) + b"x",        # reserved opcode
    masked_head(0x09, 0),               # fragmented ping
    masked_head(0x80, 1) + b"x",        # continuation of nothing
    masked_head(0x89, 126) + b"x" * 126,  # long ping
], ids=["rsv1", "opcode", "fragmented ping", "continuation", "long ping"])
def test_a_breach_of_the_protocol_ends_the_connection(shared, client, data):
    client.send_bytes(data)
    assert client.wait_closed()[0] == 1002
    assert shared.database.wait_inactive(client.id)["disconnect_code"] == 1002


def test_a_frame_that_is_not_masked_ends_the_connection(client):
    """RFC 6455, section 5.1."""
    client.send_bytes(bytes([0x81, 1]) + b"x")
    assert client.wait_closed(1)[0] == 1002


@pytest.mark.parametrize("payload", [b"", b"x", b"p" * 125], ids=["empty", "one", "125"])
def test_a_ping_is_answered_with_its_payload(client, payload):
    assert client.ping(payload) == payload


def test_unsolicited_pongs_are_ignored(client):
    client.protocol.send_pong(b"unasked")
    client._flush()
    assert client.ping(b"x") == b"x"


def test_a_nul_character_is_answered_with_an_error_frame(client):
    client.send('{"action":"size","pad":"\x00"}')
    frame = client.recv()
    assert re.fullmatch(r'\{"message": "Bad request body", "connectionId":"%s",'
                        r' "requestId":"[^"]{16}"\}' % re.escape(client.id), frame), frame
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"


@pytest.mark.parametrize("depth", [50, 1000, 15000])
def test_deep_nesting_is_survived(client, depth):
    client.send('{"action":"size","x":' + "[" * depth + "]" * depth + "}")
    answer = client.recv_json()
    assert "bytes" in answer or answer["type"] == "error"
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"


@pytest.mark.parametrize("value", [r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', "1e999999999",
                                   "-0", "1" * 5000, r'"\u00e9\ud83d\ude00"'])
def test_json_that_the_database_may_not_hold_is_survived(client, value):
    client.send('{"action":"size","x":' + value + "}")
    answer = client.recv_json()
    assert "bytes" in answer or answer["type"] == "error"
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"


def test_a_large_reply_arrives_whole(client):
    assert client.ask({"action": "big", "n": 500000}) == "x" * 500000


def test_long_messages_are_cut_into_frames_when_asked_to(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app", output_frame_bytes=1000)
    client = server.connect()
    for n, frames in ((998, 1), (999, 2), (1998, 2), (1999, 3), (300000, 301)):
        assert client.ask({"action": "big", "n": n}) == "x" * n
        assert client.frames[-1] == frames
    client.send({"action": "big", "n": 2000000})
    client.protocol.send_ping(b"between")
    client._flush()
    assert client.recv_json() == "x" * 2000000
    assert client.close(1000, "done") == (1000, "done")


def test_a_client_that_does_not_read_is_closed_and_nobody_else_notices(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app", max_queue_bytes=100000,
                          close_timeout_ms=200)
    slow, other = server.connect(), server.connect()
    payload = json.dumps("y" * 50000)

    def flooded():
        database.execute("select switchboard.send_to_connection(%s, %s)", slow.id, payload)
        return not database.row(slow.id)["is_active"]
    wait_for(flooded, "the slow one is given up", 40)
    row = database.row(slow.id)
    assert row["disconnect_code"] == 1008
    assert other.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert server.metrics()["switchboard_slow_closed_total"] == 1


def test_the_usual_client_libraries_get_along_with_it(shared):
    async def with_websockets():
        async with websockets.connect(shared.url("email=lib@example.com")) as socket:
            welcome = json.loads(await socket.recv())
            await socket.send('{"type":"heartbeat"}')
            answer = json.loads(await socket.recv())
            await (await socket.ping())
        return welcome["type"], answer["type"], socket.close_code

    async def with_aiohttp():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(shared.url().replace("ws:", "http:"),
                                          compress=15) as socket:
                welcome = await socket.receive_json()
                await socket.send_json({"type": "heartbeat"})
                answer = await socket.receive_json()
                await socket.close(code=1000)
        return welcome["type"], answer["type"], socket.close_code
    expected = ("connection-established", "heartbeat-response", 1000)
    assert asyncio.run(with_websockets()) == expected
    assert asyncio.run(with_aiohttp()) == expected
