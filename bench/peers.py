#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peers of the benchmark: programs that people would pick instead of Switchboard.

    bench/peers.py install    installs what is missing: from Debian, and from npm into bench/peers

Each peer is a class: `with Nchan() as peer:` has it running on a free loopback port, with all of
its files in a temporary folder that is gone afterwards.  `peer.port` takes clients, `peer.pids` are
all of its processes and `peer.memory_kb()` is their memory; `echo_path()`, `subscribe_path()` and
`publish_request()` say how it is spoken to.
"""
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOME = pathlib.Path(__file__).resolve().parent / "peers"
MODULES = HOME / "node_modules"
SWITCHBOARD = pathlib.Path(os.environ.get("SWITCHBOARD_BINARY")
                           or ROOT / "build" / "release" / "switchboard")

FILES = 400000  # open files of a process: a proxy needs two for a client, and there are 50,000
CAP_SYS_RESOURCE = 24
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))  # until a peer has to answer
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
PUSHPIN_BUFFER = 65536
NCHAN_BUFFER = 64  # messages of a channel that wait; more than publishers have in flight

PACKAGES = ["nginx-light", "libnginx-mod-nchan", "pushpin", "python3-websockets"]
NODE_PACKAGES = ["nodejs", "npm"]
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


# ---- installing ----

def installed_version(package):
    """Of a Debian package, or None; names that others only mention have no "ii"."""
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}", package],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout[2:].strip() if done.stdout.startswith("ii") else None


@contextlib.contextmanager
def no_services(as_root):
    """Says no to services that packages would start, for as long as the installation takes.

    A policy that is there already is somebody's decision and stays; in containers it says no, too.
    """
    if POLICY.exists():
        yield
        return
    subprocess.run([*as_root, "sh", "-c",
                    f"printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}"],
                   check=True)
    try:
        yield
    finally:
        subprocess.run([*as_root, "rm", "-f", str(POLICY)], check=True)


def install_packages(packages):
    missing = [package for package in packages if installed_version(package) is None]
    if not missing:
        return
    print("installing", *missing, file=sys.stderr)
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2"]
    with no_services(as_root):
        subprocess.run([*apt, "update"], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        subprocess.run([*apt, "install", "--yes", "--no-install-recommends",
                        "-o", "Dpkg::Use-Pty=0", *missing],
                       check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def install_modules():
    """`npm ci` takes half a minute: only when the lock is newer than what it made."""
    made, lock = MODULES / ".package-lock.json", HOME / "package-lock.json"
    if made.exists() and made.stat().st_mtime >= lock.stat().st_mtime:
        return
    print("npm ci in bench/peers", file=sys.stderr)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HOME,
                   check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    made.touch()


def install():
    """What is missing; leaves no service running."""
    install_packages(PACKAGES)
    if not (shutil.which("node") and shutil.which("npm")):
        install_packages(NODE_PACKAGES)
    install_modules()


def module_version(name):
    return json.loads((MODULES / name / "package.json").read_text())["version"]


def node_version():
    return subprocess.run(["node", "--version"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip().lstrip("v")


# ---- ports, processes, memory ----

_given = set()


def free_port():
    """Not one of those that connections get: crowds of clients take them all, while we start."""
    first, _ = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for _ in range(1000):
        port = random.randrange(10000, max(first, 20000))
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")


def wait_for(condition, what, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        pause.wait(0.02)


def files_limit():
    """Open files that a process of ours may have: clients that a peer can take.

    Root may raise the hard limit, unless the machine is a container that took the capability away.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    status = pathlib.Path("/proc/self/status").read_text()
    may_raise = int(re.search(r"CapEff:\s*(\w+)", status)[1], 16) >> CAP_SYS_RESOURCE & 1
    at_most = int(pathlib.Path("/proc/sys/fs/nr_open").read_text())
    return min(FILES, at_most) if may_raise or hard == resource.RLIM_INFINITY else min(FILES, hard)


def raise_limits():
    """Runs in the child."""
    limit = files_limit()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (limit, hard if hard == resource.RLIM_INFINITY else max(limit, hard)))


def session_pids(session):
    """All processes of a session.  By parent, those whose parent has died would be missed."""
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # Behind the name, which is in parentheses: state, parent, group, session.
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    pids.append(int(entry))
    return sorted(pids)


def memory_kb(pids, what="Pss"):
    """Sum over processes; pages that they share count once in Pss, and once each in Rss."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(rf"^{what}:\s+(\d+) kB",
                              pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            total += int(found[1]) if found else 0
    return total


def ask(port, request, seconds=2.0):
    """The first line that answers a request, or "" when nothing does."""
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline().decode("latin-1")
    return ""


def upgrade_request(path):
    return (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n").encode()


def post_request(path, body, kind="application/octet-stream"):
    """A whole request, for connections that are kept open."""
    body = body.encode() if isinstance(body, str) else body
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


# ---- what all peers have ----

class Peer:
    """A program under test: start() returns once it really answers."""

    name = "?"
    echoes = False
    publishes = False
    ordered = True  # answers come in the order of the messages that one client has in flight
    publish_closes = False  # a connection takes one publish; otherwise many, several in flight
    max_message = 1 << 20  # bytes that clients may send, at least

    def __init__(self):
        self.home = None
        self.port = None
        self.publish_port = None
        self._leaders = []

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="peer-", dir="/tmp"))
        try:
            self._launch()
            wait_for(self._answers_or_died, f"{self.name} answers")
        except BaseException as error:
            log = self.log()
            self.stop()
            if isinstance(error, (AssertionError, OSError, subprocess.SubprocessError)):
                raise RuntimeError(f"{self.name} does not start: {error}\n{log}") from error
            raise
        return self

    def stop(self):
        """Politely, and then everything that is left of the sessions."""
        leaders, self._leaders = self._leaders, []
        for leader in reversed(leaders):
            with contextlib.suppress(ProcessLookupError):
                leader.terminate()
        deadline = time.monotonic() + 5
        for leader in reversed(leaders):
            with contextlib.suppress(subprocess.TimeoutExpired):
                leader.wait(max(0.1, deadline - time.monotonic()))
            for pid in session_pids(leader.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            leader.wait()
        if self.home:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home = None

    @property
    def pids(self):
        """All of its processes, its backend's included."""
        return [pid for leader in self._leaders for pid in session_pids(leader.pid)]

    @property
    def backend_pids(self):
        """Those of `pids` that are the application behind it and not the peer itself."""
        return []

    def memory_kb(self, what="Pss"):
        return memory_kb(self.pids, what)

    @property
    def version(self):
        raise NotImplementedError

    def log(self):
        """The ends of all logs, for messages."""
        if not self.home:
            return ""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                         for path in sorted(self.home.rglob("*.log")))

    def echo_path(self, number=0):  # pylint: disable=unused-argument
        """The path of a client that gets its own messages back; one number for each client."""
        return None

    def subscribe_path(self, channel="bench"):  # pylint: disable=unused-argument
        return None

    def publish_path(self, channel="bench"):  # pylint: disable=unused-argument
        return None

    def publish_body(self, message, channel="bench"):  # pylint: disable=unused-argument
        """What is posted to have the message published."""
        return message

    def publish_request(self, message, channel="bench"):
        """Bytes for `publish_port`; the connection stays open for the next, mostly."""
        return post_request(self.publish_path(channel), self.publish_body(message, channel),
                            "text/plain")

    def _launch(self):
        raise NotImplementedError

    def _answers(self):
        return " 101 " in ask(self.port, upgrade_request(self.echo_path()))

    def _answers_or_died(self):
        for leader in self._leaders:
            if leader.poll() is not None:
                raise AssertionError(f"{leader.args[0]} exited with {leader.returncode}")
        return self._answers()

    def _run(self, name, command, **options):
        """In a session of its own: that is how its processes are found again."""
        with open(self.home / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=raise_limits,
                **{"cwd": self.home, **options})
        self._leaders.append(process)
        return process

    def _fill(self, template, target, **values):
        """A configuration file from its template; every @what@ has to be known."""
        text = re.sub(r"(?m)^#.*\n", "", template.read_text())
        text = re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)
        target.write_text(text)
        return target


# ---- nginx with nchan ----

class Nchan(Peer):
    """nginx with nchan, one worker.

    /pubsub/<channel> is a WebSocket that publishes and subscribes: an echo for who is alone there.
    Publishers get 201 with subscribers and 202 without.
    """

    name = "nchan"
    echoes = True
    publishes = True

    @property
    def version(self):
        return (f"nchan {installed_version('libnginx-mod-nchan')}, "
                f"nginx {installed_version('nginx')}")

    def echo_path(self, number=0):
        return f"/pubsub/own{number}"

    def subscribe_path(self, channel="bench"):
        return f"/sub/{channel}"

    def publish_path(self, channel="bench"):
        return f"/pub/{channel}"

    def _launch(self):
        self.port = self.publish_port = free_port()
        config = self._fill(HOME / "nginx.conf.in", self.home / "nginx.conf", home=self.home,
                            port=self.port, files=files_limit(), module=NCHAN_MODULE,
                            buffer=NCHAN_BUFFER)
        # -e: the log that it opens before it has read the configuration.
        self._run("nginx", ["nginx", "-e", self.home / "error.log", "-p", self.home, "-c", config])


# ---- node with ws ----

class NodeWs(Peer):
    """One node process with `ws`, compression off: what one would write oneself."""

    name = "node-ws"
    echoes = True
    publishes = True

    @property
    def version(self):
        return f"ws {module_version('ws')}, node {node_version()}"

    def echo_path(self, number=0):
        return "/echo"

    def subscribe_path(self, channel="bench"):
        return "/sub"

    def publish_path(self, channel="bench"):
        """Of both: a WebSocket whose messages are published, and a POST."""
        return "/pub"

    def _launch(self):
        self.port = self.publish_port = free_port()
        self._run("node", ["node", HOME / "ws-server.js", self.port],
                  env={**os.environ, "NODE_ENV": "production"})


# ---- Pushpin ----

class Pushpin(Peer):
    """Pushpin, all of its processes, with WebSocket-over-HTTP to a small backend.

    The backend subscribes clients of /sub/<channel> while they connect and is not asked about what
    is published; on /echo it is asked about each message.

    It closes a connection after each publish over HTTP.  `push_port` is the faster way in: ZeroMQ's
    PULL, which is sent push_greeting() once and push_frame() for each message, and says nothing.
    """

    name = "pushpin"
    echoes = True
    publishes = True
    publish_closes = True

    def __init__(self, buffer=PUSHPIN_BUFFER):
        """The buffer of a client, in bytes: bounds a message, and what is in flight to a client.

        What does not fit is lost without a word.  The package has 8192.
        """
        super().__init__()
        self.buffer = buffer
        self.max_message = buffer - 64
        self.push_port = None

    @property
    def version(self):
        return (f"pushpin {installed_version('pushpin')}, condure {installed_version('condure')}, "
                f"zurl {installed_version('zurl')}")

    @property
    def backend_pids(self):
        return session_pids(self._leaders[0].pid) if self._leaders else []

    def echo_path(self, number=0):
        return "/echo"

    def subscribe_path(self, channel="bench"):
        return f"/sub/{channel}"

    def publish_path(self, channel="bench"):
        return "/publish/"

    def publish_body(self, message, channel="bench"):
        return json.dumps({"items": [{"channel": channel,
                                      "formats": {"ws-message": {"content": message}}}]},
                          ensure_ascii=False)

    @staticmethod
    def push_greeting():
        """ZMTP 3.0 without security, as a PUSH socket.

        It answers with 64 bytes and a command, of which the second byte is the length of the rest.
        Messages have to wait for that: those that come along with the greeting are lost.
        """
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
        return (b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
                + bytes([4, len(ready)]) + ready)

    @staticmethod
    def push_frame(message, channel="bench"):
        """One message: J is for JSON, of a single item here."""
        body = b"J" + json.dumps({"channel": channel,
                                  "formats": {"ws-message": {"content": message}}},
                                 ensure_ascii=False).encode()
        size = bytes([0, len(body)]) if len(body) < 256 else b"\x02" + len(body).to_bytes(8, "big")
        return size + body

    def _launch(self):
        backend = free_port()
        self.port, self.publish_port, self.push_port = free_port(), free_port(), free_port()
        for folder in ("run", "log"):
            (self.home / folder).mkdir()
        (self.home / "routes").write_text(f"* 127.0.0.1:{backend},over_http\n")
        config = self._fill(HOME / "pushpin.conf.in", self.home / "pushpin.conf", home=self.home,
                            port=self.port, publish=self.publish_port, push=self.push_port,
                            buffer=self.buffer)
        self._run("backend", ["node", HOME / "grip-backend.js", backend])
        self._run("pushpin", ["pushpin", f"--config={config}"])

    def _answers(self):
        return super()._answers() and " 200 " in ask(
            self.publish_port, self.publish_request("ready", "nobody"))


# ---- functions, and gateways in front of them ----

class LambdaFunctions(Peer):
    """peers/handler.js behind Lambda's Invoke call: what Switchboard's lambda integration calls."""

    name = "functions"

    @property
    def version(self):
        return f"node {node_version()}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/2015-03-31/functions/app/invocations"

    def _launch(self):
        self.port = free_port()
        self._run("functions", ["node", HOME / "functions.js", self.port],
                  env={**os.environ, "NODE_ENV": "production"})

    def _answers(self):
        return " 200 " in ask(self.port, post_request(
            "/2015-03-31/functions/app/invocations", '{"body":"ready"}'))


def gateway_file(url, target):
    """The API description that has Switchboard answer every message with a function at that URL."""
    text = (ROOT / "bench" / "gateway-lambda.json.in").read_text()
    pathlib.Path(target).write_text(text.replace("@url@", url))
    return pathlib.Path(target)


class SwitchboardLambda(Peer):
    """Switchboard in front of functions that run already, without a database."""

    name = "switchboard"
    echoes = True
    ordered = False  # events of a connection are with the function at the same time

    def __init__(self, functions, **settings):
        super().__init__()
        self.functions = functions
        self.settings = settings

    @property
    def version(self):
        return subprocess.run([SWITCHBOARD, "version"], check=True, stdout=subprocess.PIPE,
                              text=True).stdout.strip()

    def echo_path(self, number=0):
        return "/dev"

    def _launch(self):
        self.ports_file = self.home / "ports"
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("PG", "SWITCHBOARD_", "DATABASE_"))}
        environment.update(SWITCHBOARD_PORT="0", SWITCHBOARD_ADMIN_PORT="0",
                           SWITCHBOARD_STAGE="dev", SWITCHBOARD_PORTS_FILE=str(self.ports_file),
                           SWITCHBOARD_API=str(gateway_file(self.functions.url,
                                                            self.home / "gateway.json")))
        environment.update({f"SWITCHBOARD_{name.upper()}": str(value)
                            for name, value in self.settings.items()})
        self._run("switchboard", [SWITCHBOARD, "serve"], env=environment)

    def _answers(self):
        if not self.ports_file.exists():
            return False
        self.port = json.loads(self.ports_file.read_text())["port"]
        return super()._answers()


class ServerlessOffline(Peer):
    """serverless-offline, version 3 of the framework: the later ones want an account.

    Its route response sends the answer of $default to the client as it is.  With `in_process`,
    functions run in its own process, by far the faster way; otherwise, as it does by default, each
    runs in worker threads, one for every message in flight.
    """

    name = "serverless-offline"
    echoes = True

    def __init__(self, in_process=True):
        super().__init__()
        self.in_process = in_process
        self.ordered = in_process  # a thread for each message in flight: whoever is done first

    @property
    def version(self):
        return (f"serverless-offline {module_version('serverless-offline')}, "
                f"serverless {module_version('serverless')}, node {node_version()}")

    def echo_path(self, number=0):
        return "/"

    def _launch(self):
        self.port = free_port()
        # Nothing of the user's, nothing from the network, and no account at AWS.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("AWS_", "SLS_", "SERVERLESS_"))}
        environment.update(
            HOME=str(self.home), CI="1", NODE_ENV="production", SLS_TELEMETRY_DISABLED="1",
            SLS_TRACKING_DISABLED="1", SLS_NOTIFICATIONS_MODE="off", SLS_DISABLE_AUTO_UPDATE="1",
            SLS_LOG_LEVEL="warning",  # otherwise it writes a line for every invocation
            AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true")
        command = ["node", MODULES / "serverless" / "bin" / "serverless.js", "offline", "start",
                   "--host", "127.0.0.1", "--httpPort", free_port(), "--lambdaPort", free_port(),
                   "--websocketPort", self.port]
        if self.in_process:
            command.append("--useInProcess")
        self._run("serverless", command, cwd=HOME, env=environment)


# ---- the command line ----

def main():
    # With an exception, so that an installation that is killed takes its policy away again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("killed"))
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command == "install":
        install()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
