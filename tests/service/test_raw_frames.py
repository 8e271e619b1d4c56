# SPDX-License-Identifier: Apache-2.0
"""The bytes on the wire: what is split, pipelined, blocked or broken, and the order of what is
answered."""
import json
import socket
import struct

import pytest
from harness import SECONDS, call, masked_head, wait_for

SQL = """
    create schema app;
    create function app.big(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(to_jsonb(repeat('x', (event.body ->> 'n')::integer)))
    $$;
    create function app.count(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply(event.body -> 'n') $$;
"""
SETTINGS = {"routes": "app", "max_pending_messages": 4}
HEAD = (b"GET /dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
BIG = 3_000_000  # more than what the kernel takes for a client that does not read


def masked(first, payload=b"", mask=b"\x11\x22\x33\x44"):
    head = masked_head(first, len(payload))[:-4]
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def text(message):
    return masked(0x81, json.dumps(message).encode())


def close_frame(code, reason=b""):
    return masked(0x88, struct.pack("!H", code) + reason)


class Raw:
    """A client that is nothing but bytes, and hardly has a receive buffer."""

    def __init__(self, server, behind_head=b""):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(SECONDS)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(HEAD + behind_head)
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            assert self.more()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 ")

    def more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self.bytes += data
        return bool(data)

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def need(self, size):
        while len(self.bytes) < size:
            assert self.more(), f"it ended in the middle: {self.bytes[:100]!r}"

    def frame(self):
        """First byte and payload; None at the end."""
        if not self.bytes and not self.more():
            return None
        self.need(2)
        size, at = self.bytes[1], 2
        if size == 126:
            at = 4
        elif size == 127:
            at = 10
        self.need(at)
        if at > 2:
            size = int.from_bytes(self.bytes[2:at], "big")
        self.need(at + size)
        first, payload = self.bytes[0], self.bytes[at:at + size]
        self.bytes = self.bytes[at + size:]
        return first, payload

    def frames(self):
        """All until the end."""
        frames = list(iter(self.frame, None))
        self.socket.close()
        return frames


@pytest.fixture
def raw(shared):
    client = Raw(shared)
    client.frame()  # the welcome
    yield client
    client.socket.close()


def closed_with(code, reason=b""):
    return 0x88, struct.pack("!H", code) + reason


def start_big(server, count=1):
    """A client that has been sent more than it takes."""
    client = Raw(server)
    client.frame()
    before = server.metrics()["switchboard_messages_out_total"]
    client.send(*[text({"action": "big", "n": BIG})] * count)
    wait_for(lambda: server.metrics()["switchboard_messages_out_total"] == before + count,
             "the answers are queued")
    return client


# ---- input ----

def test_frames_behind_the_head_are_read(shared):
    frames = b"".join(text({"action": "count", "n": n}) for n in range(20))
    client = Raw(shared, frames + masked(0x89, b"p") + close_frame(1000))
    answers = client.frames()
    assert json.loads(answers[0][1])["type"] == "connection-established"
    assert answers[-1] == closed_with(1000)


def test_bytes_that_come_one_by_one_are_a_message(raw):
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in text({"action": "count", "n": 7}) + masked(0x89, b"ping"):
        raw.send(bytes([byte]))
    assert sorted([raw.frame(), raw.frame()]) == [(0x81, b"7"), (0x8a, b"ping")]


def test_messages_that_came_while_it_was_paused_are_answered_in_order(raw):
    """In one segment, with a limit of four under way: most are read before they may be handled."""
    raw.send(*[text({"action": "count", "n": n}) for n in range(300)], masked(0x89, b"last"))
    frames = [raw.frame() for _ in range(301)]
    assert [payload for first, payload in frames if first == 0x8a] == [b"last"]
    numbers = [int(payload) for first, payload in frames if first == 0x81]
    assert numbers == list(range(300))


def test_a_close_frame_behind_messages_that_had_to_wait_counts(shared, raw):
    raw.send(*[text({"action": "count", "n": n}) for n in range(50)], close_frame(4001, b"done"))
    answers = raw.frames()
    assert answers[-1] == closed_with(4001, b"done")
    wait_for(lambda: shared.database.value(
        "select count(*) from switchboard.websocket_connections"
        " where disconnect_code = 4001 and disconnect_reason = 'done'") == 1, "it is deregistered")


# ---- close codes ----

@pytest.mark.parametrize("payload, answer", [
    (b"", b""), (b"\x03", b"\x03\xea"), (struct.pack("!H", 999), b"\x03\xea"),
    (struct.pack("!H", 1004), b"\x03\xea"), (struct.pack("!H", 1005), b"\x03\xea"),
    (struct.pack("!H", 1006), b"\x03\xea"), (struct.pack("!H", 1015), b"\x03\xea"),
    (struct.pack("!H", 2999), b"\x03\xea"), (struct.pack("!H", 5000), b"\x03\xea"),
    (struct.pack("!H", 1000) + b"\xff", b"\x03\xef"), (struct.pack("!H", 1014), b"\x03\xf6")])
def test_a_close_frame_is_answered_with_its_code_or_with_what_is_wrong(raw, payload, answer):
    raw.send(masked(0x88, payload))
    assert raw.frames() == [(0x88, answer)]


@pytest.mark.parametrize("breach, reason", [
    (b"\x81\x01x", b"Frame is not masked"), (masked(0xc1, b"x"), b"Reserved bit is set"),
    (masked(0x83), b"Unknown opcode"), (masked(0x80), b"Continuation of nothing"),
    (masked(0x01) + masked(0x81), b"Continuation expected"),
    (b"\x81\xfe\x00\x01mask", b"Invalid length")])
def test_a_breach_is_told_however_much_follows(raw, breach, reason):
    """What is not read resets the connection when it is closed, and the reset overtakes the close
    frame."""
    raw.send(text({"action": "count", "n": 1}), breach, b"x" * 300000)
    assert raw.frames()[-1] == closed_with(1002, reason)


def test_after_a_breach_the_socket_ends_although_the_client_stays(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app", close_timeout_ms=200)
    client = Raw(server)
    client.frame()
    client.send(b"\x81\x01x")
    assert client.frame()[0] == 0x88
    assert client.frame() is None  # it is told that nothing follows
    wait_for(lambda: server.metrics()["switchboard_open_connections"] == 0, "it is cut off")


# ---- output that does not go out ----

def test_of_many_pings_the_newest_is_answered_between_two_messages(shared):
    client = start_big(shared, 2)
    client.send(masked(0x89, b"a"), masked(0x89, b"b"), masked(0x89, b"c"))
    shared.metrics()  # whose request came later
    client.send(masked(0x89, b"newest"))
    shared.metrics()
    frames = [client.frame() for _ in range(3)]
    assert [(first, len(payload)) for first, payload in frames] == [
        (0x81, BIG + 2), (0x8a, 6), (0x81, BIG + 2)]
    assert frames[1][1] == b"newest"


def test_what_is_queued_goes_out_before_a_close_is_answered(shared):
    client = start_big(shared)
    client.send(close_frame(4002, b"enough"))
    shared.metrics()
    frames = client.frames()
    assert [len(payload) for _, payload in frames] == [BIG + 2, 8]
    assert frames[1] == closed_with(4002, b"enough")


def test_a_frame_that_was_begun_is_ended_before_a_slow_client_is_told(database, start_server):
    """The rest of its queue is dropped, but 1008 in the middle of a message would be its text."""
    database.execute(SQL)
    server = start_server(database, routes="app", max_queue_bytes=BIG + 1000)
    client = start_big(server)
    client.send(text({"action": "big", "n": BIG}))
    wait_for(lambda: server.metrics()["switchboard_slow_closed_total"] == 1, "it is given up")
    frames = client.frames()
    assert [first for first, _ in frames] == [0x81, 0x88]
    assert frames[1][1][:2] == struct.pack("!H", 1008)


def test_fragments_of_a_blocked_message_are_cut_right(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app", output_frame_bytes=32768)
    client = start_big(server, 1)
    client.send(masked(0x89, b"between"))
    server.metrics()
    frames = []
    while not frames or frames[-1][0] != 0x80:
        frames.append(client.frame())
    data = [payload for first, payload in frames if first in (0x00, 0x01, 0x80)]
    assert b"".join(data) == json.dumps("x" * BIG).encode()
    assert max(map(len, data)) == 32768
    assert [payload for first, payload in frames if first == 0x8a] == [b"between"]


def test_a_client_that_is_gone_while_output_is_blocked_is_1006(shared):
    client = start_big(shared)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    before = shared.metrics()["switchboard_open_connections"]
    client.socket.close()
    wait_for(lambda: shared.metrics()["switchboard_open_connections"] == before - 1, "it is gone")


def test_a_client_that_is_gone_while_it_was_paused_is_noticed_at_once(database, start_server):
    """Nothing is read from it then: the socket has to tell by itself."""
    database.execute("""
        create schema app;
        create function app.wait(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$ begin perform pg_advisory_xact_lock(1); end $$""")
    server = start_server(database, routes="app", max_pending_messages=4)
    client = Raw(server)
    client.frame()
    session = database.connect()
    call(session, "select pg_advisory_lock(1)")
    client.send(*[text({"action": "wait"})] * 10)
    database.wait_blocked()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    wait_for(lambda: server.metrics()["switchboard_open_connections"] == 0, "it is gone")
    call(session, "select pg_advisory_unlock(1)")
    wait_for(lambda: database.active() == 0, "it is deregistered")
    assert server.metrics()["switchboard_messages_in_total"] == 4
