# SPDX-License-Identifier: Apache-2.0
"""permessage-deflate: who gets it, what arrives, and how much of it may come out of a little."""
import asyncio
import hashlib
import json
import random
import time
import zlib

import aiohttp
import pytest
import websockets
from harness import masked_head, wait_for
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

LIMIT = 65536
SETTINGS = {"routes": "app", "compression": "on", "max_message_bytes": LIMIT,
            "max_frame_bytes": LIMIT, "close_timeout_ms": 500}
SQL = """
    create schema app;
    create function app.size(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object(
            'bytes', octet_length(event.raw_body), 'md5', md5(event.raw_body)))
    $$;
"""


def message_of(size, alphabet="x"):
    head, tail = '{"action":"size","pad":"', '"}'
    pad = random.Random(size).choices(alphabet, k=max(0, size - len(head) - len(tail)))
    return head + "".join(pad) + tail


def compress(data, level=9):
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def connect(server):
    return server.connect(extensions=[Deflate(client_max_window_bits=True)])


def assert_whole(client, text):
    client.send(text)
    answer = client.recv_json()
    assert (answer["bytes"], answer["md5"]) == (len(text), hashlib.md5(text.encode()).hexdigest())


@pytest.fixture
def client(shared):
    client = connect(shared)
    yield client
    client.drop()


def offer(server, *values):
    """What is answered to these offers: the value of the header, or None."""
    head = ("GET /dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            + "".join(f"Sec-WebSocket-Extensions: {value}\r\n" for value in values) + "\r\n")
    answer = b""
    with server.raw(head.encode()) as connection:
        while b"\r\n\r\n" not in answer:
            more = connection.recv(4096)
            assert more, answer
            answer += more
    lines = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols", answer
    found = [line.split(": ", 1)[1] for line in lines
             if line.lower().startswith("sec-websocket-extensions: ")]
    assert len(found) <= 1, lines
    return found[0] if found else None


def test_it_is_off_unless_the_operator_says_so(database, start_server):
    server = start_server(database)
    assert offer(server, "permessage-deflate") is None


def test_it_and_aws_strict_exclude_each_other(database):
    done = database.command("serve", compression="on", aws_strict="on", port=0, admin_port=0)
    assert done.returncode != 0
    assert "compression is not for aws_strict" in done.stderr


@pytest.mark.parametrize("offers", [
    ["permessage-deflate"],
    ["permessage-deflate; client_max_window_bits"],
    ["permessage-deflate; client_max_window_bits=9; client_no_context_takeover"],
    ["x-nobody, permessage-deflate; server_max_window_bits=10, permessage-deflate"],
    ["x-nobody", "permessage-deflate"],
], ids=["plain", "any window", "small window", "second choice", "two lines"])
def test_an_offer_that_asks_nothing_of_the_server_is_taken(shared, offers):
    assert offer(shared, *offers) == "permessage-deflate"


@pytest.mark.parametrize("offers", [
    [], ["x-nobody"], ["permessage-deflate; server_max_window_bits=10"],
    ["permessage-deflate; server_no_context_takeover"],
    ["permessage-deflate; client_max_window_bits=7"], ["permessage-deflate; what=ever"], [";;,="],
])
def test_any_other_offer_is_declined(shared, offers):
    assert offer(shared, *offers) is None


@pytest.mark.parametrize("alphabet", ["x", "ab", "".join(map(chr, range(35, 91)))],
                         ids=["one letter", "two letters", "noise"])
def test_messages_of_every_size_arrive_whole(client, alphabet):
    sizes = [*range(26, 150), *range(500, 530), *range(1010, 1040), *range(2040, 2060), 4096,
             16384, 30000, LIMIT - 1, LIMIT]
    for size in sizes:
        assert_whole(client, message_of(size, alphabet))


def test_a_window_smaller_than_ours_is_understood(shared):
    client = shared.connect(extensions=[Deflate(client_max_window_bits=9)])
    assert client.answer.header("sec-websocket-extensions") == "permessage-deflate"
    for size in (100, 5000, 50000):
        assert_whole(client, message_of(size, "abcdefgh"))
    client.close()


def test_the_context_of_earlier_messages_may_be_used(client):
    text = message_of(3000, "".join(map(chr, range(35, 91))))
    for _ in range(20):
        assert_whole(client, text)


def test_a_message_that_is_not_compressed_is_taken_too(client):
    text = message_of(1000).encode()
    client.send_bytes(masked_head(0x81, len(text)) + text)
    assert client.recv_json()["bytes"] == 1000
    assert_whole(client, message_of(2000))


def test_fragments_with_a_ping_between_are_one_message(client):
    text = message_of(20000, "abcdefgh").encode()
    data = compress(text)
    cuts = [0, 1, 2, 700, 701, len(data) - 1, len(data)]
    for number, (start, end) in enumerate(zip(cuts, cuts[1:])):
        first = 0x41 if number == 0 else 0x00
        client.send_bytes(masked_head(first | (0x80 if end == len(data) else 0), end - start)
                          + data[start:end])
        assert client.ping(b"between") == b"between"
    answer = client.recv_json()
    assert (answer["bytes"], answer["md5"]) == (20000, hashlib.md5(text).hexdigest())


def test_an_empty_message_is_a_message(client):
    client.send_bytes(masked_head(0xc1, 1) + b"\0")
    assert client.recv_json()["type"] == "error"
    assert_whole(client, message_of(500))


def test_many_messages_in_one_segment_are_all_answered(client):
    data = compress(message_of(300).encode())
    client.send_bytes((masked_head(0xc1, len(data)) + data) * 200)
    assert [client.recv_json()["bytes"] for _ in range(200)] == [300] * 200


def test_the_limit_is_of_what_comes_out(shared):
    client = connect(shared)
    client.send(message_of(LIMIT + 1))
    assert client.wait_closed() == (1009, f"Max message length of {LIMIT} has been exceeded.")
    row = shared.database.wait_inactive(client.id)
    assert row["disconnect_code"] == 1009


def test_a_bomb_is_defused_and_nobody_else_notices(shared):
    """A gigabyte in a megabyte, in one frame."""
    bomb = compress(b"x" * (1 << 30))
    other, client = shared.connect(), connect(shared)
    before = memory_of(shared)
    started = time.monotonic()
    try:
        client.send_bytes(masked_head(0xc1, len(bomb)) + bomb)
    except OSError:
        pass  # it was closed before it had sent everything
    for _ in range(20):
        assert other.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert client.wait_closed()[0] in (1009, 1006)
    assert shared.database.wait_inactive(client.id)["disconnect_code"] == 1009
    assert time.monotonic() - started < 10
    assert memory_of(shared) - before < 64 << 20
    other.close()


def memory_of(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def test_many_small_bombs_are_closed_one_by_one(shared):
    bomb = compress(b"x" * (LIMIT + 1))
    for _ in range(10):
        client = connect(shared)
        client.send_bytes(masked_head(0xc1, len(bomb)) + bomb)
        assert client.wait_closed()[0] == 1009


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\x07", b"\x4a\x4c\x4c\x04"], ids=["ff", "07", "cut"])
def test_what_cannot_be_inflated_ends_or_is_no_message(shared, data):
    client = connect(shared)
    client.send_bytes(masked_head(0xc1, len(data)) + data)
    client.send_bytes(masked_head(0x88, 2) + b"\x03\xe8")
    assert client.wait_closed()[0] in (1000, 1002, 1006, 1007)
    wait_for(lambda: not shared.database.row(client.id)["is_active"], "it is gone")
    assert shared.connect().ask({"type": "heartbeat"})["type"] == "heartbeat-response"


def test_invalid_utf8_inside_is_closed_with_1007(shared):
    client = connect(shared)
    data = compress(b"ok \xff")
    client.send_bytes(masked_head(0xc1, len(data)) + data)
    assert client.wait_closed()[0] == 1007


def test_a_binary_message_inside_is_closed_with_1003(shared):
    client = connect(shared)
    data = compress(b"\0\1\2")
    client.send_bytes(masked_head(0xc2, len(data)) + data)
    assert client.wait_closed() == (1003, "Binary is not supported")


def test_the_usual_client_libraries_get_along_with_it(shared):
    text = message_of(9000, "abc")

    async def with_websockets():
        async with websockets.connect(shared.url(), compression="deflate") as socket:
            await socket.recv()
            await socket.send(text)
            answer = json.loads(await socket.recv())
            assert [e.name for e in socket.extensions] == ["permessage-deflate"]
        return answer["md5"], socket.close_code

    async def with_aiohttp():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(shared.url().replace("ws:", "http:"),
                                          compress=15) as socket:
                await socket.receive_json()
                await socket.send_str(text)
                answer = await socket.receive_json()
                assert socket.compress
                await socket.close(code=1000)
        return answer["md5"], socket.close_code
    expected = (hashlib.md5(text.encode()).hexdigest(), 1000)
    assert asyncio.run(with_websockets()) == expected
    assert asyncio.run(with_aiohttp()) == expected
