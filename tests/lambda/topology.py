# SPDX-License-Identifier: Apache-2.0
"""The whole of AWS on one machine, behind the interface of harness.Server.

    clients - our gateway (--api, --aws-strict, no database) - Lambda (runtime_api.py)
            - `bootstrap` - PostgreSQL (through PgBouncer when asked for)
            - signed POSTs to the gateway's @connections

What a test publishes in SQL is delivered as on AWS: by the schedule, which runs here right after each
transaction of the test that may have published, instead of every minute.  What a route publishes has
to arrive without that.
"""
import contextlib
import json
import re
import socket
import subprocess
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import harness
import psycopg2
import psycopg2.extensions
from harness import Answer, as_server_user, wait_for
from runtime_api import Function, Lambda

KEY, SECRET, TOKEN = "ASIAWHOLETOPOLOGY", "the-secret/of+the-function", "a/session+token=="
PUBLISHES = re.compile(r"\b(publish\w*|send_\w+|broadcast_\w+|notify_\w+|close_\w+|post_\w+|"
                       r"disconnect_\w+)\s*\(")

# What is about `switchboard serve` itself, and has no counterpart in a function.
NOT_IN_A_FUNCTION = {
    "test_what_is_no_message_is_refused": "answers of the node's HTTP server to bad requests",
    "test_without_a_database_it_is_503": "answers of the node's HTTP server",
    "test_a_bad_request_to_verify_is_answered_400": "answers of the node's HTTP server",
    "test_only_post_verifies": "answers of the node's HTTP server",
    "test_typing_is_shown_to_the_others_and_never_stored":
        "what is for others goes through the log, as between nodes",
}


class Database(harness.Database):
    """One whose transactions are followed by the schedule; functions is set by the topology."""

    function = None

    def connect(self, autocommit=False):
        connection = psycopg2.connect(self.owner_url, connection_factory=Session)
        connection.autocommit = autocommit
        connection.database = self
        self._connections.append(connection)
        return connection

    def execute(self, statement, *values):
        rows = super().execute(statement, *values)
        if PUBLISHES.search(statement):
            self.run_schedule()
        return rows

    def run_schedule(self):
        if self.function:
            result = self.function.invoke({"op": "deliver"})
            assert not result.function_error, result


class Session(psycopg2.extensions.connection):
    def commit(self):
        super().commit()
        self.database.run_schedule()


class Pooler:
    """PgBouncer in transaction mode with fewer connections to PostgreSQL than there are sandboxes, so
    that what one leaves in a session meets the others."""

    def __init__(self, cluster, size=2):
        self.cluster = cluster
        self.directory = cluster.home / "pooler"
        self.directory.mkdir(mode=0o777)
        self.directory.chmod(0o777)
        (self.directory / "users").write_text('"switchboard_gateway" ""\n')
        (self.directory / "pgbouncer.ini").write_text(f"""
[databases]
* = host={cluster.home}
[pgbouncer]
listen_addr =
unix_socket_dir = {self.directory}
listen_port = 6432
auth_type = trust
auth_file = {self.directory}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
server_lifetime = 3600
logfile = {self.directory}/log
""")
        self.process = subprocess.Popen(
            as_server_user(["/usr/sbin/pgbouncer", "-q", str(self.directory / "pgbouncer.ini")]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.directory)
        wait_for(lambda: (self.directory / ".s.PGSQL.6432").exists(), "PgBouncer listens")

    def url(self, database):
        host = urllib.parse.quote(str(self.directory), safe="")
        return f"postgresql://switchboard_gateway@/{database.name}?host={host}&port=6432"

    def sessions(self, database):
        return database.value("select count(*) from pg_stat_activity"
                              " where usename = 'switchboard_gateway'"
                              " and datname = current_database()")

    def close(self):
        self.process.terminate()
        self.process.wait()


class Road:
    """A TCP road from the function to the gateway's @connections that can be closed: what comes then
    is taken, and goes nowhere."""

    def __init__(self):
        self.port_behind = None
        self.is_closed = False
        self.refused = 0  # connections that came while it was closed
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self):
        """From now on nothing arrives, on open connections neither."""
        self.is_closed = True

    def open(self):
        self.is_closed = False
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._sockets = []

    def close(self):
        self.open()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(here)
            if self.is_closed:
                self.refused += 1
                continue
            try:
                there = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                here.close()  # the gateway has ended
                continue
            self._sockets.append(there)
            for source, target in ((here, there), (there, here)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.is_closed:
                    self.refused += 1
                    while source.recv(65536):
                        pass
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def routes_of_terraform():
    """The routes of each profile, as the Terraform code makes them."""
    text = (harness.ROOT / "terraform" / "locals.tf").read_text()
    found = re.findall(r'^    (\w+) = \{\n\s+route_selection_expression = "([^"]+)"\n'
                       r'\s+custom_routes\s+= (\[[^\]]*\])', text, re.MULTILINE)
    assert len(found) == 4, found
    return {name: (selection, json.loads(keys)) for name, selection, keys in found}


class Topology(harness.Server):
    """Settings are the function's.  Besides: pooler (Pooler or None), road (Road or None),
    authorizer, sandboxes, timeout (of the function), gateway (settings of the gateway)."""

    def __init__(self, database, directory, pooler=None, road=None, authorizer=None, sandboxes=4,
                 timeout=10, gateway=(), **settings):
        super().__init__(database, directory, aws_strict="on", management_access_key_id=KEY,
                         management_secret_access_key=SECRET, api_id="abc1234567",
                         **dict(gateway))
        self.own = {"profile": "careconnect", "log_level": "debug", **settings}
        self.authorizer = authorizer
        if authorizer is None:
            self.authorizer = self.own["profile"] == "chatbot" and self.own.get("auth") != "off"
        self.pooler = pooler
        self.road = road
        self.service = Lambda()
        self.function = self.service.add(Function(self.directory, {}, "app", sandboxes, timeout))
        self.function_database_url = pooler.url(database) if pooler else database.gateway_url

    @property
    def database_url(self):
        return None  # of the gateway

    # -- life --

    def start(self, wait=True):
        path = self.directory / "gateway.json"
        path.write_text(json.dumps(self.describe()))
        self.settings["api"] = path
        super().start(wait)
        port = self.port
        if self.road:
            self.road.port_behind, port = port, self.road.port
        self.endpoint = f"http://127.0.0.1:{port}/{self.settings['stage']}"
        self.function.environment.update(self.environment())
        self.database.function = self.function
        return self

    def environment(self):
        return {
            "AWS_WEBSOCKET_API_GATEWAY_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN,
            "SWITCHBOARD_DATABASE_URL": self.function_database_url,
            "SWITCHBOARD_API_ID": self.settings["api_id"],
            "SWITCHBOARD_STAGE": self.settings["stage"],
            "AWS_LAMBDA_LOG_FORMAT": "Text",
            **{f"SWITCHBOARD_{name.upper()}": str(value) for name, value in self.own.items()},
        }

    def describe(self):
        """The API as Terraform makes it for the profile, with a route key for each of the own
        routes."""
        selection, keys = routes_of_terraform()[self.own["profile"]]
        own = self.database.execute(
            "select distinct p.proname from pg_proc as p"
            "  join pg_namespace as n on n.oid = p.pronamespace"
            "  join pg_type as t on t.oid = p.proargtypes[0]"
            " where n.nspname = any(%s) and t.typname = 'event' and p.pronargs = 1"
            "   and p.proname !~ '^[$]' and p.proname <> 'respond'",
            self.own.get("routes", "").split(","))
        keys = sorted({*keys, *(row["proname"] for row in own)})
        connect = {"integration": "app"}
        if self.authorizer:
            connect["authorizer"] = "tokens"
        return {"routeSelectionExpression": selection,
                "integrations": {"app": {"type": "lambda", "url": self.service.url("app")}},
                **({"authorizers": {"tokens": {"url": self.service.url("app"),
                                               "identitySources": []}}} if self.authorizer else {}),
                "routes": {"$connect": connect, "$disconnect": "app", "$default": "app",
                           **{key: "app" for key in keys}}}

    def destroy(self):
        """Whatever state the test left it in."""
        self.database.function = None
        try:
            super().destroy()
        finally:
            self.service.close()

    # -- what it says --

    def log(self):
        return super().log() + self.function.log()

    # -- talking to it --

    def invoke(self, event, **options):
        return self.function.invoke(event, **options)

    def http(self, method, path, body=None, headers=None, port=None):
        """The gateway's; what a node answers from SQL is an invocation here."""
        kind, _, rest = path[1:].partition("/")
        if f"/{self.settings['stage']}/@connections/" in path:
            return self.management(method, path, body)
        if method == "POST" and kind in ("users", "topics", "email-verifications"):
            return self._command(kind, rest, json.loads(body))
        return super().http(method, path, body, headers, port)

    def _command(self, kind, name, body):
        name = urllib.parse.unquote(name)
        event = {"users": {"op": "send", "userId": name, "message": body},
                 "topics": {"op": "publish", "topic": name, "message": body},
                 "email-verifications": {"op": "verify-email", **(body if kind[0] == "e" else {})},
                 }[kind]
        result = self.invoke(event)
        assert not result.function_error, result
        return Answer(200, [("content-type", "application/json")], result.payload)

    def management(self, method, path, body=None):
        """As an SDK asks it."""
        path = urllib.parse.quote(path, safe="/@%")
        request = botocore.awsrequest.AWSRequest(
            method=method, url=f"http://127.0.0.1:{self.port}{path}", data=body or b"")
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(KEY, SECRET, TOKEN),
                                "execute-api", "us-east-1").add_auth(request)
        return super().http(method, path, body, dict(request.headers.items()), self.port)

    def command(self, *arguments, **settings):
        """The program on a machine that reaches gateway and database."""
        settings = {**self.settings, "port": self.port, "admin_port": self.admin_port, **settings}
        done = harness.run_command(self.database.gateway_url, *arguments, **settings)
        self.database.run_schedule()
        return done

    @staticmethod
    def seen_as(code, reason):
        """DELETE of @connections has no code: this is what API Gateway makes of all of them, and
        tells the function in DISCONNECT."""
        return 1000, "Connection Closed Normally"

    def unsigned(self, connection_id, body=b"x"):
        return super().http("POST", f"/{self.settings['stage']}/@connections/{connection_id}", body,
                            port=self.port)


Server = Topology  # where tests/service/conftest.py looks for it
