# SPDX-License-Identifier: Apache-2.0
"""The load generator notices everything that is wrong: a figure of a run with a wrong or missing
frame would be worth nothing.  The server here is one that makes mistakes on demand."""
import asyncio
import json
import pathlib
import subprocess
import sys
import threading

import pytest
from websockets.server import serve

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import lab  # noqa: E402


class Faulty:
    """Echoes; `fault` gets each reply and returns those to send instead."""

    def __init__(self):
        self.fault = lambda number, text: [text]
        self.loop = asyncio.new_event_loop()
        self.port = self.server = None
        self.started = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.started.wait(10)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.start())
        self.loop.run_forever()

    async def start(self):
        self.server = await serve(lambda socket: self.echo(socket), "127.0.0.1", 0, compression=None)
        self.port = self.server.sockets[0].getsockname()[1]
        self.started.set()

    async def close(self):
        self.server.close()
        await self.server.wait_closed()
        self.loop.stop()

    async def echo(self, socket):
        number = 0
        async for text in socket:
            number += 1
            for reply in self.fault(number, text):
                if reply is None:
                    await socket.close(1011)
                    return
                await socket.send(reply)

    def stop(self):
        if self.thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.close(), self.loop)
            self.thread.join(10)


@pytest.fixture
def faulty():
    server = Faulty()
    yield server
    server.stop()


def run(port, *words):
    return subprocess.run(
        [str(lab.BUILD / "load"), "echo", "--port", str(port), "--path", "/", "--connections", "2",
         "--in-flight", "4", "--seconds", "0.3", "--warmup", "0", "--timeout", "2",
         "--send", '{"m": {n}, "c": {c}}', *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=30, check=False)


def test_a_good_run_has_figures(faulty):
    done = run(faulty.port)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["messages"] > 0 and figures["per_second"] > 0


@pytest.mark.parametrize("fault", [
    lambda number, text: [text.replace("m", "M")] if number == 20 else [text],
    lambda number, text: [] if number == 20 else [text],
    lambda number, text: [text, text] if number == 20 else [text],
    lambda number, text: [text + " "] if number == 20 else [text],
    lambda number, text: [text.encode()] if number == 20 else [text],
    lambda number, text: [None] if number == 20 else [text],
], ids=["another byte", "a frame is missing", "a frame too many", "a byte too many", "binary",
        "closed"])
def test_a_wrong_or_missing_frame_is_a_failed_run(faulty, fault):
    faulty.fault = fault
    done = run(faulty.port)
    assert done.returncode == 1 and done.stderr.startswith("load: "), done
    assert not done.stdout


class Crossing:
    """Two connections, and each gets the other's answers."""

    def __init__(self, faulty, lost=None):
        self.sockets = []
        self.number = 0
        self.lost = lost
        faulty.echo = self.echo

    async def echo(self, socket):
        self.sockets.append(socket)
        mine = self.sockets.index(socket)
        async for text in socket:
            self.number += 1
            if self.number != self.lost:
                await self.sockets[(mine + 1) % len(self.sockets)].send(text)


SAME = ("--in-flight", "1", "--send", '{"m": 1}')


@pytest.mark.parametrize("lost, words, status", [
    (None, ("--mixed", "1"), 0), (None, ("--send", '{"c": {c}}'), 1), (20, ("--mixed", "1"), 1),
], ids=["it may", "it may not", "it may, and one is missing"])
def test_an_answer_to_another_connection(faulty, lost, words, status):
    Crossing(faulty, lost)
    done = run(faulty.port, *SAME, *words)
    assert done.returncode == status, done


def test_nobody_there_is_a_failed_run(faulty):
    port = faulty.port
    faulty.stop()
    assert run(port, "--host", "127.0.0.2").returncode == 1


def test_an_option_that_is_not_there_is_a_usage_error(faulty):
    assert run(faulty.port, "--nonsense", "1").returncode == 2
