# SPDX-License-Identifier: Apache-2.0
"""Crowds: everybody is registered, everybody is deregistered."""
import asyncio
import base64
import os
import resource
import socket
import struct

import pytest
from harness import wait_for

CROWD = int(os.environ.get("SWITCHBOARD_TEST_CROWD", "2000"))


class Member:
    """A client as small as it can be: raw bytes over asyncio's streams."""

    def __init__(self, server):
        self.server = server
        self.reader = self.writer = None
        self.text = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write((f"GET /dev?type=notifications HTTP/1.1\r\nHost: localhost\r\n"
                           f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                           f"\r\n").encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self

    async def welcome(self):
        first, size = await self.reader.readexactly(2)
        assert first == 0x81 and size <= 126
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        text = await self.reader.readexactly(size)
        assert b"connection-established" in text
        return self

    async def heartbeat(self):
        text = b'{"type":"heartbeat"}'
        self.writer.write(bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text)
        first, size = await self.reader.readexactly(2)
        assert first == 0x81
        assert b"heartbeat-response" in await self.reader.readexactly(size)

    async def close(self):
        self.writer.write(bytes([0x88, 0x82]) + b"\0\0\0\0\x03\xe8")
        answer = await self.reader.readexactly(4)
        assert answer == b"\x88\x02\x03\xe8"
        assert await self.reader.read() == b""
        self.writer.close()

    def abort(self):
        """With a reset: a socket in TIME_WAIT would keep its port for a minute."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CROWD + 200:
        pytest.skip(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(coroutine, seconds=90):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def rows(database, condition="true"):
    return database.value(f"select count(*) from switchboard.websocket_connections"
                          f" where {condition}")


def test_2000_clients_at_once_are_all_registered_and_all_gone_after_they_closed(server):
    database = server.database

    async def everything():
        crowd = await asyncio.gather(*[Member(server).open() for _ in range(CROWD)])
        # Whoever has its 101 is in the table, at this moment.
        assert rows(database, "is_active") == CROWD
        assert database.live() == CROWD
        await asyncio.gather(*[member.welcome() for member in crowd])
        await asyncio.gather(*[member.heartbeat() for member in crowd])
        await asyncio.gather(*[member.close() for member in crowd])
    run(everything())
    wait_for(lambda: database.live() == 0, "nobody is live", 30)
    assert rows(database, "not is_active and disconnect_code = 1000") == CROWD
    assert server.metrics()["switchboard_register_batches_total"] < CROWD / 2
    wait_for(lambda: server.metrics()["switchboard_open_connections"] == 0, "the gauge is 0")


def test_2000_clients_that_vanish_are_all_deregistered(server):
    database = server.database

    async def everything():
        crowd = await asyncio.gather(*[Member(server).open() for _ in range(CROWD)])
        assert database.live() == CROWD
        for member in crowd:
            member.abort()
    run(everything())
    wait_for(lambda: database.live() == 0, "nobody is live", 30)
    assert rows(database, "not is_active and disconnect_code = 1006") == CROWD


def test_one_message_reaches_2000_clients(server):
    async def everything():
        crowd = await asyncio.gather(*[Member(server).open() for _ in range(CROWD)])
        await asyncio.gather(*[member.welcome() for member in crowd])
        server.database.execute("select switchboard.publish_to_all('\"to everybody\"')")
        texts = await asyncio.gather(*[member.reader.readexactly(16) for member in crowd])
        assert set(texts) == {b'\x81\x0e"to everybody"'}
        for member in crowd:
            member.abort()
    run(everything())
    wait_for(lambda: server.database.live() == 0, "nobody is live", 30)


def test_a_process_killed_under_load_leaves_nothing_active_once_it_is_back(database, start_server):
    server = start_server(database, node_name="killed")

    async def come_and_go(member):
        try:
            while True:
                await member.open()
                await member.welcome()
                await member.heartbeat()
                if os.urandom(1)[0] < 128:
                    await member.close()
                else:
                    member.abort()
        except (OSError, EOFError, asyncio.IncompleteReadError, AssertionError):
            pass  # killed

    async def everything():
        staying = await asyncio.gather(*[Member(server).open() for _ in range(CROWD // 4)])
        tasks = [asyncio.create_task(come_and_go(Member(server))) for _ in range(200)]
        seen = server.database.value("select count(*) from switchboard.websocket_connections")
        while rows(database) < seen + 500:
            await asyncio.sleep(0)
        server.kill()
        await asyncio.gather(*tasks)
        for member in staying:
            member.abort()
    run(everything())
    assert rows(database, "is_active") >= CROWD // 4
    server.start()
    assert rows(database, "is_active") == 0
    assert database.live() == 0
    lost = rows(database, "disconnect_code = 1006 and disconnect_reason = 'Node lease expired'")
    assert lost >= CROWD // 4
    client = server.connect()
    assert database.live() == 1 and client.ping() == b"hello"
