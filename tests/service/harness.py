# SPDX-License-Identifier: Apache-2.0
"""What the service tests are made of: a private PostgreSQL, the real program, real clients.

Nothing sleeps: wait_for() polls a condition until a deadline and says what did not happen.
"""
import base64
import contextlib
import getpass
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from websockets.client import ClientConnection
from websockets.frames import OP_CLOSE, OP_CONT, OP_PING, OP_PONG, OP_TEXT
from websockets.http11 import Response
from websockets.uri import parse_uri

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = (os.environ.get("SWITCHBOARD_BINARY") or os.environ.get("SWITCHBOARD_BIN")
          or str(ROOT / "build" / "dev" / "switchboard"))
PG_BIN = pathlib.Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
SECONDS = float(os.environ.get("SWITCHBOARD_TEST_SECONDS", "15"))  # the usual deadline
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")
PASSWORD = "p4ssw0rd-of-the-gateway"  # in the URL; the private cluster does not ask for it

ID = re.compile(r"^[A-Za-z0-9_-]{18}==$")
REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{15}=$")


def wait_for(condition, what, seconds=SECONDS):
    """Polls until the condition is true and returns its value."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        pause.wait(0.01)


# ---- PostgreSQL ----

def as_server_user(command):
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


class Cluster:
    """A PostgreSQL of our own: a unix socket in a temporary folder and nothing else."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.home, "postgres", "postgres")
        self.data = self.home / "data"
        self.superuser = "postgres" if os.geteuid() == 0 else getpass.getuser()
        self._run("initdb", "--pgdata", str(self.data), "--auth=trust", "--encoding=UTF8",
                  "--locale=C.UTF-8", f"--username={self.superuser}", "--no-sync")
        self._count = 0
        self.options = ""  # for the server, behind our own
        self.start()

    def _run(self, program, *arguments):
        command = as_server_user([str(PG_BIN / program), *arguments])
        done = subprocess.run(command, cwd=self.home, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{self._log()}"

    def _log(self):
        log = self.home / "postgres.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def start(self):
        # pg_ctl's own output must not be a pipe that the server keeps open.
        options = (f"-k {self.home} -c listen_addresses= -c max_connections=200"
                   " -c unix_socket_permissions=0777 -c jit=off -c shared_buffers=64MB"
                   + self.options)
        command = as_server_user([str(PG_BIN / "pg_ctl"), "start", "--silent", "--wait",
                                  "--timeout=60", "--pgdata", str(self.data), "--log",
                                  str(self.home / "postgres.log"), "--options", options])
        done = subprocess.run(command, cwd=self.home, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0, f"PostgreSQL does not start:\n{self._log()}"

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "--silent", "--wait", f"--mode={mode}", "--pgdata",
                  str(self.data))

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def remove(self):
        with contextlib.suppress(AssertionError):
            self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, user, database, password=None):
        user = f"{user}:{password}" if password else user
        return f"postgresql://{user}@/{database}?host={urllib.parse.quote(str(self.home), safe='')}"

    def admin(self, statement):
        connection = psycopg2.connect(self.url(self.superuser, "postgres"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def prepare(self):
        """Roles, and the migrated database that the others are copied from."""
        done = subprocess.run(
            ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1",
             f"--file={ROOT / 'scripts' / 'roles.sql'}",
             f"--dbname={self.url(self.superuser, 'postgres')}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        template = Database(self, "switchboard")
        migrated = template.command("migrate", owner=True)
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        template.close()

    def create_database(self, migrated=True):
        self._count += 1
        name = f"test_{self._count}"
        self.admin(f"create database {name} owner switchboard"
                   + (" template switchboard" if migrated else ""))
        return Database(self, name)

    def drop_database(self, database):
        database.close()
        self.admin(f"drop database {database.name} with (force)")


class Database:
    """One database; statements run as the owner of the schema, each in its own transaction."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self._connections = []
        self._main = None

    @property
    def owner_url(self):
        return self.cluster.url("switchboard", self.name)

    @property
    def gateway_url(self):
        return self.cluster.url("switchboard_gateway", self.name, PASSWORD)

    def connect(self, autocommit=False):
        """A session of its own; closed with the database."""
        connection = psycopg2.connect(self.owner_url)
        connection.autocommit = autocommit
        self._connections.append(connection)
        return connection

    def execute(self, statement, *values):
        if self._main is None or self._main.closed:
            self._main = self.connect(autocommit=True)
        with self._main.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(statement, values or None)
            return [dict(row) for row in cursor] if cursor.description else []

    def value(self, statement, *values):
        rows = self.execute(statement, *values)
        return next(iter(rows[0].values())) if rows else None

    def row(self, connection_id):
        rows = self.execute("select * from switchboard.websocket_connections"
                            " where connection_id = %s", connection_id)
        return rows[0] if rows else None

    def wait_inactive(self, connection_id):
        return wait_for(lambda: (lambda row: row if row and not row["is_active"] else None)
                        (self.row(connection_id)), f"{connection_id} is inactive")

    def wait_blocked(self):
        """A route waits for an advisory lock that the test holds."""
        wait_for(lambda: self.value(
            "select count(*) from pg_locks as l join pg_database as d on d.oid = l.database"
            " where l.locktype = 'advisory' and not l.granted and d.datname = current_database()"),
            "the route waits")

    def active(self):
        return self.value("select count(*) from switchboard.websocket_connections where is_active")

    def live(self):
        return self.value("select count(*) from switchboard.live_connections")

    def command(self, *arguments, owner=False, **settings):
        return run_command(self.owner_url if owner else self.gateway_url, *arguments, **settings)

    def close(self):
        for connection in self._connections:
            connection.close()
        self._connections = []
        self._main = None


def call(connection, statement, *values):
    """One statement in a session; the first column of its first row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchone()[0] if cursor.description else None


# ---- the program ----

def environment(database_url, settings):
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("SWITCHBOARD_", "PG", "DATABASE_URL", "AWS_", "WEBSOCKET_"))}
    env["ASAN_OPTIONS"] = "detect_leaks=1:exitcode=99"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:exitcode=99"
    if database_url:
        env["SWITCHBOARD_DATABASE_URL"] = database_url
    # In capitals: a variable of somebody else, as it stands.
    env.update({name if name.isupper() else f"SWITCHBOARD_{name.upper()}": str(value)
                for name, value in settings.items()})
    return env


def run_command(database_url, *arguments, seconds=60, **settings):
    done = subprocess.run([BINARY, *arguments], env=environment(database_url, settings),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=seconds)
    assert not SANITIZER.search(done.stderr), done.stderr
    return done


class Answer:
    """Of an HTTP request."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # list of (name, value) as sent
        self.body = body

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body!r}>"


class Server:
    """`switchboard serve` on ports of its own; database None: it has to do without."""

    COMMAND = "serve"

    def __init__(self, database, directory, **settings):
        self.database = database
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="node-", dir=directory))
        self.settings = {"port": 0, "admin_port": 0, "stage": "dev", "log_level": "debug",
                         "ports_file": self.directory / "ports.json", **settings}
        self.process = None
        self.port = self.admin_port = None
        self._clients = []

    @property
    def database_url(self):
        return self.database.gateway_url if self.database else None

    # -- life --

    def start(self, wait=True):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.settings["ports_file"])
        with open(self.directory / "log", "ab") as log, \
                open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [BINARY, self.COMMAND], env=environment(self.database_url, self.settings),
                stdin=subprocess.DEVNULL, stdout=output, stderr=log, cwd=self.directory)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=SECONDS):
        path = pathlib.Path(self.settings["ports_file"])
        wait_for(lambda: self._alive() and path.exists(), "the ports file is there", seconds)
        ports = json.loads(path.read_text())
        assert ports["pid"] == self.process.pid
        self.take_ports(ports)
        wait_for(lambda: self._alive() and self.http("GET", "/ready").status == 200,
                 "/ready answers 200", seconds)
        return self

    def take_ports(self, ports):
        self.port, self.admin_port = ports["port"], ports["adminPort"]

    def _alive(self):
        assert self.process.poll() is None, \
            f"the server ended with {self.process.returncode}:\n{self.log()[-8000:]}"
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, seconds=30):
        """Ends it as an operator does, and insists on a clean end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.wait_end(seconds)

    def wait_end(self, seconds=30):
        if self.process is None:
            return
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise AssertionError(f"it did not end in {seconds} s:\n{self.log()[-8000:]}")
        self.process = None
        self.assert_clean()
        assert code == 0, f"the server ended with {code}:\n{self.log()[-8000:]}"

    def assert_clean(self):
        log = self.log()
        found = SANITIZER.search(log)
        assert not found, log[max(0, found.start() - 2000):found.start() + 6000]

    def destroy(self):
        """Whatever state the test left it in."""
        for client in self._clients:
            client.drop()
        self._clients = []
        try:
            self.stop()
            self.assert_clean()
        finally:
            if self.process is not None:
                self.kill()

    # -- what it says --

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def lines(self, event):
        return [line for line in self.log().splitlines() if f"event={event} " in line + " "]

    def wait_line(self, event, *parts):
        def found():
            return [line for line in self.lines(event) if all(part in line for part in parts)]
        return wait_for(found, f"the log has event={event} with {parts}")[0]

    def metrics(self):
        return parse_metrics(self.http("GET", "/metrics").body.decode())

    # -- talking to it --

    def http(self, method, path, body=None, headers=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.admin_port,
                                                timeout=SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def url(self, query="", stage=None):
        stage = self.settings["stage"] if stage is None else stage
        return f"ws://127.0.0.1:{self.port}/{stage}" + (f"?{query}" if query else "")

    def connect(self, query="", welcome=True, **options):
        """An open client; welcome: takes careconnect's greeting, which knows the id."""
        client = Client(self.url(query), **options)
        self._clients.append(client)
        if welcome:
            greeting = client.recv_json()
            assert greeting["type"] == "connection-established", greeting
            client.id = greeting["sessionId"]
        return client

    def refused(self, query="", **options):
        with_answer = None
        try:
            self.connect(query, welcome=False, **options)
        except Refused as refusal:
            with_answer = refusal.answer
        assert with_answer, "the handshake was accepted"
        return with_answer

    @staticmethod
    def seen_as(code, reason):
        """What a client sees of a close with these, and its row has."""
        return code, reason

    def raw(self, data=b""):
        """A TCP connection to the WebSocket port."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        if data:
            connection.sendall(data)
        return connection

    def command(self, *arguments, **settings):
        """Another invocation of the program with this server's settings."""
        settings = {**self.settings, "port": self.port, "admin_port": self.admin_port, **settings}
        return run_command(self.database_url, *arguments, **settings)


def read_answer(connection):
    """An HTTP answer from a raw socket, up to its end."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())


def read_to_end(connection):
    data = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


METRIC = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^}"]|"(?:[^"\\]|\\.)*")*\})?'
                    r' (-?[0-9.e+]+|NaN|[+-]Inf)$')


def parse_metrics(text):
    """Prometheus text format 0.0.4: refuses what a scraper would refuse."""
    values, typed, helped = {}, {}, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge", "summary") and name not in typed, line
            typed[name] = kind
        else:
            match = METRIC.match(line)
            assert match, f"not a sample: {line!r}"
            family = re.sub("_(sum|count)$", "", match[1])
            family = family if typed.get(family) == "summary" else match[1]
            assert family in typed and family in helped, f"no TYPE or HELP: {line!r}"
            # The others have CloudWatch's names.
            if family.startswith("switchboard_"):
                assert (typed[family] == "counter") == family.endswith("_total"), line
            name = match[1] + (match[2] or "")
            assert name not in values, f"twice: {line!r}"
            values[name] = float(match[3])
    return values


# ---- clients ----

class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, answer):
        super().__init__(repr(answer))
        self.answer = answer


class Gone(Exception):
    """The connection ended while a message was awaited."""


class Client:
    """A WebSocket client on a blocking socket; the protocol is python3-websockets'.

    Small enough to see every frame, abort the transport, and send what no library would.
    """

    def __init__(self, url, headers=(), subprotocols=None, seconds=SECONDS, source=None,
                 handshake=True, extensions=None):
        uri = parse_uri(url)
        self.id = None
        self.socket = socket.create_connection(
            (uri.host, uri.port), timeout=seconds,
            source_address=(source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol = ClientConnection(uri, subprotocols=subprotocols, max_size=None,
                                         extensions=extensions)
        self.messages, self.pongs, self.pings, self._parts = [], [], [], []
        self.frames = []  # of how many each message was made
        self.answer = None
        request = self.protocol.connect()
        for name, value in headers:
            request.headers[name] = value
        self.protocol.send_request(request)
        self._flush()
        if handshake:
            self.finish_handshake(seconds)

    def finish_handshake(self, seconds=SECONDS):
        head = b""
        self.socket.settimeout(seconds)
        while b"\r\n\r\n" not in head:
            more = self.socket.recv(65536)
            if not more:
                self.socket.close()
                raise Refused(Answer(0, [], head))
            head += more
        end = head.index(b"\r\n\r\n") + 4
        lines = head[:end].decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
        self.answer = Answer(status, headers, b"")
        if status != 101:
            self.answer.body = self._read_body(head[end:])
            self.socket.close()
            raise Refused(self.answer)
        self.status_line = lines[0]
        self.protocol.receive_data(head)
        for event in self.protocol.events_received():
            assert not isinstance(event, Response) or self.protocol.handshake_exc is None, \
                self.protocol.handshake_exc
            if not isinstance(event, Response):
                self._take(event)

    def _read_body(self, body):
        length = self.answer.header("content-length")
        while length is None or len(body) < int(length):
            more = self.socket.recv(65536)
            if not more:
                break
            body += more
        return body

    # -- frames --

    def _flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.socket.sendall(data)

    def _take(self, frame):
        if frame.opcode in (OP_TEXT, OP_CONT):
            self._parts.append(frame.data)
            if frame.fin:
                self.messages.append(b"".join(self._parts).decode())
                self.frames.append(len(self._parts))
                self._parts = []
        elif frame.opcode == OP_PONG:
            self.pongs.append(frame.data)
        elif frame.opcode == OP_PING:
            self.pings.append(time.monotonic())  # the protocol has answered it
        else:
            assert frame.opcode == OP_CLOSE or not frame.data, f"unexpected {frame}"

    def _pump(self, deadline):
        """One read; False at the end of the stream."""
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(65536)
        except (socket.timeout, BlockingIOError):
            return True
        except ConnectionError:
            data = b""
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            self._take(event)
        with contextlib.suppress(OSError):
            self._flush()
        return bool(data)

    def send(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.protocol.send_text(text.encode())
        self._flush()

    def send_parts(self, parts):
        """One message in several frames."""
        for number, part in enumerate(parts):
            fin = number == len(parts) - 1
            if number == 0:
                self.protocol.send_text(part, fin)
            else:
                self.protocol.send_continuation(part, fin)
            self._flush()

    def send_bytes(self, data):
        """Bytes past the protocol."""
        self.socket.sendall(data)

    def recv(self, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while not self.messages:
            if time.monotonic() > deadline:
                raise AssertionError(f"no message in {seconds:g} s")
            if not self._pump(deadline) and not self.messages:
                raise Gone(f"{self.protocol.close_code} {self.protocol.close_reason}")
        return self.messages.pop(0)

    def recv_json(self, seconds=SECONDS):
        return json.loads(self.recv(seconds))

    def ask(self, message):
        self.send(message)
        return self.recv_json()

    def ping(self, data=b"hello"):
        count = len(self.pongs)
        self.protocol.send_ping(data)
        self._flush()
        deadline = time.monotonic() + SECONDS
        while len(self.pongs) == count:
            assert time.monotonic() < deadline, "no pong"
            if not self._pump(deadline):
                raise Gone(f"{self.protocol.close_code} {self.protocol.close_reason}")
        return self.pongs[-1]

    def assert_silent(self):
        """Nothing has been sent to it: whatever was is in front of the pong."""
        self.ping(os.urandom(8))
        assert self.messages == [], self.messages

    def wait_closed(self, seconds=SECONDS):
        """The close code and reason that the server sent; 1006 when it sent none."""
        deadline = time.monotonic() + seconds
        while self._pump(deadline):
            assert time.monotonic() < deadline, f"not closed in {seconds:g} s"
        self.socket.close()
        return self.protocol.close_code, self.protocol.close_reason

    def close(self, code=1000, reason=""):
        self.protocol.send_close(code, reason)
        self._flush()
        return self.wait_closed()

    def drop(self, reset=False):
        """The transport goes without a close frame."""
        if reset and self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def masked_head(first_byte, length):
    """The head of a masked frame of that length (mask 0)."""
    if length < 126:
        size = struct.pack("!B", 0x80 | length)
    elif length < 65536:
        size = struct.pack("!BH", 0x80 | 126, length)
    else:
        size = struct.pack("!BQ", 0x80 | 127, length)
    return bytes([first_byte]) + size + b"\0\0\0\0"


# ---- tokens ----

def token(secret, **claims):
    """A JWT (HS256)."""
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    text = head + b"." + part(json.dumps({"exp": int(time.time()) + 3600, **claims}).encode())
    signature = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return (text + b"." + part(signature)).decode()
