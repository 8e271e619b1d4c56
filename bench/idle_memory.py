#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of an idle connection, and how fast a crowd connects.

    ./dev build release && bench/idle_memory.py [connections] [storm]

Starts a private PostgreSQL and the release binary, opens `connections` (10,000) idle clients and
divides the growth of the process's memory by them; then `storm` (2,000) clients connect at the same
time.  Every client has its row before it counts.  Needs an open-file limit above twice the number.
"""
import asyncio
import base64
import os
import pathlib
import resource
import socket
import statistics
import struct
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("SWITCHBOARD_BINARY", str(ROOT / "build" / "release" / "switchboard"))
sys.path.insert(0, str(ROOT / "tests" / "service"))

import harness  # noqa: E402

AT_A_TIME = 500
PER_ADDRESS = 1000  # connections from one source address: finding a free port gets slow


def memory_kb(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise SystemExit(f"no {name} in /proc/{pid}/status")


class Client(asyncio.Protocol):
    """Keeps its transport and waits for the 101 and the welcome."""

    def __init__(self):
        self.data = b""
        self.welcomed = asyncio.get_running_loop().create_future()
        self.began = time.perf_counter()
        self.upgraded = None
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write((f"GET /dev?email=idle@example.com HTTP/1.1\r\nHost: localhost\r\n"
                         f"User-Agent: idle-memory/1\r\nUpgrade: websocket\r\n"
                         f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                         f"Sec-WebSocket-Version: 13\r\n\r\n").encode())

    def data_received(self, data):
        self.data += data
        if self.upgraded is None and b"\r\n\r\n" in self.data:
            if not self.data.startswith(b"HTTP/1.1 101 "):
                raise SystemExit(f"refused: {self.data!r}")
            self.upgraded = time.perf_counter()
        if b"connection-established" in self.data and not self.welcomed.done():
            self.welcomed.set_result(True)
            self.data = b""

    def connection_lost(self, error):
        if not self.welcomed.done():
            self.welcomed.set_exception(error or ConnectionError("closed by the server"))


async def open_one(port, number):
    loop = asyncio.get_running_loop()
    source = f"127.0.1.{1 + number // PER_ADDRESS % 250}"
    began = time.perf_counter()
    _, client = await loop.create_connection(Client, "127.0.0.1", port, local_addr=(source, 0))
    client.began = began
    await client.welcomed
    return client


async def open_many(port, count, at_a_time):
    gate = asyncio.Semaphore(at_a_time)

    async def one(number):
        async with gate:
            return await open_one(port, number)
    return await asyncio.gather(*[one(number) for number in range(count)])


def close_all(clients):
    """With a reset: a socket in TIME_WAIT would keep its port for a minute."""
    for client in clients:
        client.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()


async def wait_all_gone(database):
    """On another thread: asyncio has to go on closing."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: harness.wait_for(
        lambda: database.live() == 0, "nobody is live", 60))


async def measure_memory(server, database, count):
    # One round first: what is allocated once and kept does not belong to a connection.
    close_all(await open_many(server.port, min(count, 200), 50))
    await wait_all_gone(database)
    pid = server.process.pid
    before = memory_kb(pid, "VmRSS")
    began = time.perf_counter()
    clients = await open_many(server.port, count, AT_A_TIME)
    seconds = time.perf_counter() - began
    assert database.live() == count
    await asyncio.sleep(3)  # the touches and heartbeats of a quiet moment
    after = memory_kb(pid, "VmRSS")
    close_all(clients)
    await wait_all_gone(database)
    return before, after, seconds


async def measure_storm(server, database, count):
    began = time.perf_counter()
    clients = await open_many(server.port, count, count)
    seconds = time.perf_counter() - began
    assert database.live() == count
    waits = sorted((client.upgraded - client.began) * 1000 for client in clients)
    began = time.perf_counter()
    close_all(clients)
    await wait_all_gone(database)
    return seconds, statistics.median(waits), waits[-1], time.perf_counter() - began


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    storm = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cluster = harness.Cluster()
    try:
        cluster.prepare()
        database = cluster.create_database()
        with tempfile.TemporaryDirectory() as directory:
            server = harness.Server(database, directory, log_level="info")
            server.start()
            try:
                before, after, seconds = asyncio.run(measure_memory(server, database, count))
                storms = [asyncio.run(measure_storm(server, database, storm)) for _ in range(3)]
            finally:
                server.destroy()
    finally:
        cluster.remove()
    took, median, longest, gone = sorted(storms)[1]
    print("| what | figure |")
    print("|---|---|")
    print(f"| process without clients | {before / 1024:.1f} MB |")
    print(f"| with {count:,} idle connections | {after / 1024:.1f} MB |")
    print(f"| per idle connection | {(after - before) / count:.2f} KB |")
    print(f"| {count:,} connections, {AT_A_TIME} at a time | {count / seconds:,.0f}/s |")
    print(f"| {storm:,} at once, all registered | {took * 1000:.0f} ms, {storm / took:,.0f}/s |")
    print(f"| handshake in that storm, median / longest | {median:.0f} / {longest:.0f} ms |")
    print(f"| all gone from live_connections after they vanished | {gone * 1000:.0f} ms |")


if __name__ == "__main__":
    main()
