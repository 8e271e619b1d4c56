#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the peers of the benchmark: whatever is measured has to be right first.

    bench/check_peers.py    installs, starts each peer, checks echo and publish, says how fast

Every message has to arrive byte for byte, with many in flight, and in order where the peer keeps
one; a peer that is stopped leaves no process and no file.
"""
import asyncio
import contextlib
import os
import re
import signal
import sys
import time

import websockets

from peers import (SWITCHBOARD, LambdaFunctions, Nchan, NodeWs, Pushpin, ServerlessOffline,
                   SwitchboardLambda, install, memory_kb)

IN_FLIGHT = 16
ODD_TEXT = "grüße \u2028 \U0001f4ec \"quoted\" \\ m:c: " + "x" * 300


def open_client(peer, path):
    return websockets.connect(f"ws://127.0.0.1:{peer.port}{path}", compression=None,
                              ping_interval=None, max_queue=None, open_timeout=30)


async def receive(client, expected, what):
    for number, message in enumerate(expected):
        got = await asyncio.wait_for(client.recv(), 20)
        assert got == message, f"{what} {number}: {got!r} instead of {message!r}"


async def expect_silence(client, what):
    with contextlib.suppress(asyncio.TimeoutError):
        raise AssertionError(f"{what}: {await asyncio.wait_for(client.recv(), 0.3)!r} on top")


async def check_echo(peer, seconds):
    """Byte for byte, many in flight, in order; then as fast as one client asks."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(peer, peer.echo_path(number)))
                   for number in range(4)]
        for number, client in enumerate(clients):
            for text in (ODD_TEXT, "x", '{"action":"none"}', "y" * min(20000, peer.max_message)):
                await client.send(text)
                await receive(client, [text], f"{peer.name} echo")
            expected = [f"{number} {count} {ODD_TEXT}" for count in range(IN_FLIGHT)]
            for text in expected:
                await client.send(text)
            if peer.ordered:
                await receive(client, expected, f"{peer.name} echo in flight")
            else:
                got = await gather_messages(client, len(expected))
                assert sorted(got) == sorted(expected), f"{peer.name} echo in flight: {got!r}"
            await expect_silence(client, f"{peer.name} echo")

        done = 0
        deadline = time.perf_counter() + seconds

        async def run(client):
            nonlocal done
            for _ in range(IN_FLIGHT):
                await client.send("m" * 64)
            while time.perf_counter() < deadline:
                assert await client.recv() == "m" * 64
                await client.send("m" * 64)
                done += 1
        began = time.perf_counter()
        await asyncio.gather(*[run(client) for client in clients])
        return done / (time.perf_counter() - began)


class Publisher:
    """A connection to the publish port, kept open unless the peer closes it."""

    def __init__(self, peer):
        self.peer = peer
        self.reader = self.writer = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        if self.writer:
            self.writer.close()

    async def send(self, *messages):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1",
                                                                     self.peer.publish_port)
        self.writer.write(b"".join(self.peer.publish_request(message) for message in messages))

    async def answer(self):
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
        assert re.match(r"HTTP/1\.[01] 20[0-9] ", head), head
        await self.reader.readexactly(int(re.search(r"(?i)\r\ncontent-length: *(\d+)", head)[1]))
        closes = "connection: close" in head.lower()
        assert closes == self.peer.publish_closes, head
        if closes:
            self.writer.close()
            self.writer = None


async def gather_messages(client, count):
    return [await asyncio.wait_for(client.recv(), 20) for _ in range(count)]


async def check_push(peer, clients):
    """Pushpin's other way in: everything arrives, in order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.push_port)
    expected = [f"pushed {number} {ODD_TEXT}" for number in range(IN_FLIGHT)]
    writer.write(peer.push_greeting())
    head = await asyncio.wait_for(reader.readexactly(66), 20)
    await reader.readexactly(head[65])
    writer.write(b"".join(map(peer.push_frame, expected)))
    for client in clients:
        await receive(client, expected, f"{peer.name} push")
    rounds, window = 200, 64
    began = time.perf_counter()
    for _ in range(rounds):
        writer.write(peer.push_frame("m" * 64) * window)
        for client in clients:
            await receive(client, ["m" * 64] * window, f"{peer.name} push")
    seconds = time.perf_counter() - began
    writer.close()
    return rounds * window / seconds


async def check_publish(peer, seconds):
    """One after the other, many in flight from one and from many publishers, all to everybody."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(peer, peer.subscribe_path()))
                   for _ in range(4)]
        publishers = [await stack.enter_async_context(Publisher(peer)) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(0.5)  # a subscription may come after the handshake

        for text in (ODD_TEXT, "y" * 20000):
            await publishers[0].send(text)
            await publishers[0].answer()
            for client in clients:
                await receive(client, [text], f"{peer.name} publish")

        for attempt in range(20):
            # As each has its connection, any order is right, but it has to be everybody's.
            expected = [f"{attempt} {number} {ODD_TEXT}" for number in range(IN_FLIGHT)]
            for publisher, text in zip(publishers, expected):
                await publisher.send(text)
            for publisher in publishers:
                await publisher.answer()
            orders = [await gather_messages(client, len(expected)) for client in clients]
            assert sorted(orders[0]) == sorted(expected), f"{peer.name} in flight: {orders[0]!r}"
            assert all(order == orders[0] for order in orders), f"{peer.name}: {orders!r}"

        if not peer.publish_closes:
            expected = [f"pipelined {number} {ODD_TEXT}" for number in range(IN_FLIGHT)]
            await publishers[0].send(*expected)
            for _ in expected:
                await publishers[0].answer()
            for client in clients:
                await receive(client, expected, f"{peer.name} pipelined")
        for client in clients:
            await expect_silence(client, f"{peer.name} publish")
        found = f"publish {await publish_speed(clients, publishers[:4], seconds):,.0f}/s to 4"
        if hasattr(peer, "push_port"):
            found += f", push {await check_push(peer, clients):,.0f}/s"
        return found


async def publish_speed(clients, publishers, seconds):
    """Each publisher has one message in flight; everything has to arrive."""
    sent = 0
    got = [0] * len(clients)
    deadline = time.perf_counter() + seconds

    async def publish(publisher):
        nonlocal sent
        while time.perf_counter() < deadline:
            await publisher.send("m" * 64)
            await publisher.answer()
            sent += 1

    async def count(number):
        async for message in clients[number]:
            assert message == "m" * 64
            got[number] += 1
    began = time.perf_counter()
    counters = [asyncio.ensure_future(count(number)) for number in range(len(clients))]
    try:
        await asyncio.gather(*[publish(publisher) for publisher in publishers])
        late = time.perf_counter() + 10
        while got != [sent] * len(clients) and time.perf_counter() < late:
            await asyncio.sleep(0.001)
        assert got == [sent] * len(clients), f"{sent} published, {got} received"
        return sent / (time.perf_counter() - began)
    finally:
        for counter in counters:
            counter.cancel()
        await asyncio.gather(*counters, return_exceptions=True)


def check_one(peer, seconds):
    began = time.monotonic()
    with peer:
        took = time.monotonic() - began
        found = [f"{peer.name:19s} {peer.version}; ready in {took:.1f} s"]
        try:
            if peer.echoes:
                found.append(f"echo {asyncio.run(check_echo(peer, seconds)):,.0f}/s")
            if peer.publishes:
                found.append(asyncio.run(check_publish(peer, seconds)))
        except Exception as error:
            raise RuntimeError(f"{peer.name}: {error!r}\n{peer.log()}") from error
        pids = peer.pids
        found.append(f"{len(pids)} processes, {memory_kb(pids) / 1024:.0f} MB")
        home = peer.home
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert not left and not home.exists(), f"{peer.name} leaves {left} or {home}"
    return "; ".join(found)


def check(seconds=2.0):
    install()
    failed = 0
    with LambdaFunctions() as functions:
        peers = [Nchan(), NodeWs(), Pushpin(), ServerlessOffline()]
        if SWITCHBOARD.exists():
            peers.append(SwitchboardLambda(functions))
        for peer in peers:
            try:
                print(check_one(peer, seconds), flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"{peer.name:19s} FAILED: {error}", flush=True)
                failed += 1
        print(f"{functions.name:19s} {functions.version}; {functions.memory_kb() / 1024:.0f} MB")
    return failed


# ---- the command line ----

def main():
    # With an exception, so that a check that is killed stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("killed"))
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    sys.exit(1 if check() else 0)


if __name__ == "__main__":
    main()
