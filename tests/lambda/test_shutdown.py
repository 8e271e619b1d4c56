# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, whatever the process is at: it ends at once, with status 0, and has freed everything (the
sanitizers look).  Lambda sends it when it takes a sandbox away; in the middle of an invocation it does
so after a time-out."""
import base64
import contextlib
import json
import signal
import socket
import time

import events
import psycopg2
import pytest
from harness import wait_for
from runtime_api import Half

SLOW = """
    create schema app;
    create function app.{}(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select d.* from pg_sleep(30), switchboard.reply('1') as d $$;
"""
STOP_SECONDS = 5  # all of what is under way takes longer


def ends_well(function):
    sandbox = function.alive()[0]
    began = time.monotonic()
    sandbox.thaw()
    sandbox.process.send_signal(signal.SIGTERM)
    assert sandbox.process.wait(20) == 0, sandbox.log()[-4000:]
    assert time.monotonic() - began < STOP_SECONDS, sandbox.log()[-4000:]
    assert "event=lambda.stopping" in sandbox.log()


@contextlib.contextmanager
def superuser(database):
    session = psycopg2.connect(database.cluster.url(database.cluster.superuser, database.name))
    with contextlib.closing(session), session.cursor() as cursor:
        yield cursor


def wait_for_session(database, condition, what):
    """The function's session is in this state."""
    with superuser(database) as cursor:
        def is_so():
            cursor.execute("select count(*) from pg_stat_activity where " + condition +
                           " and datname = current_database() and usename = 'switchboard_gateway'")
            count = cursor.fetchone()[0]
            cursor.connection.rollback()
            return count
        wait_for(is_so, what)


@contextlib.contextmanager
def locked(database, *tables):
    """Every statement that needs one of the tables waits."""
    with superuser(database) as cursor:
        for table in tables:
            cursor.execute(f"lock table switchboard.{table} in access exclusive mode")
        yield


class Hung(events.Connections):
    """@connections that does not answer before the end of the test."""

    def answer(self, request):
        super().answer(request)
        self._stop.wait(60)
        return events.Raw(200)


@pytest.fixture
def hung():
    hung = Hung()
    yield hung
    hung.close()


@pytest.fixture
def deaf():
    """A port where nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# ---- without an invocation ----

def test_before_the_database_has_answered(database, make_function, deaf):
    url = f"postgresql://switchboard_gateway@127.0.0.1:{deaf}/x"
    function = make_function(database, database_url=url)
    sandbox = function.start_sandbox()
    wait_for(lambda: "ESTABLISHED" in connections_of(sandbox, deaf), "it connects")
    ends_well(function)


def connections_of(sandbox, port):
    """The states of its TCP connections to this port."""
    with open(f"/proc/{sandbox.process.pid}/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return ["ESTABLISHED" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]


def test_while_it_waits_for_an_event(database, function):
    function.start_sandbox()
    function.wait_idle()
    ends_well(function)


def test_while_it_waits_for_an_event_and_the_database_is_away(own_cluster, make_function):
    function = make_function(own_cluster.create_database(), freezes=False)
    function.start_sandbox()
    function.wait_idle()
    own_cluster.stop()
    try:
        wait_for(lambda: "event=database.away" in function.log(), "it has noticed")
        ends_well(function)
    finally:
        own_cluster.start()


# ---- in the middle of one ----

def test_when_an_event_waits_for_the_database(own_cluster, make_function):
    function = make_function(own_cluster.create_database())
    function.start_sandbox()
    function.wait_idle()
    own_cluster.stop()
    try:
        invocation = function.begin(events.message({"message": 1}))
        wait_for(lambda: "event=database.away" in function.log(), "it has noticed")
        assert invocation.outcome is None
        ends_well(function)
    finally:
        own_cluster.start()


@pytest.mark.parametrize("route", ["$connect", "slow", "$disconnect"])
def test_while_a_route_runs(database, make_function, route):
    database.execute(SLOW.format(f'"{route}"'))
    function = make_function(database, routes="app")
    if route == "$connect":
        event = events.connect()
    else:
        assert function.invoke(events.connect()).json() == {"statusCode": 200}
        event = events.disconnect() if route == "$disconnect" else \
            events.message("{}", route_key=route)
    function.begin(event)
    wait_for_session(database, "wait_event = 'PgSleep'", "the route runs")
    ends_well(function)


def test_while_a_reply_is_on_its_way(database, make_function, hung):
    function = make_function(database, AWS_WEBSOCKET_API_GATEWAY_ENDPOINT=hung.endpoint)
    assert function.invoke(events.connect()).json() == {"statusCode": 200}
    function.begin(events.message({"message": 1}))
    hung.wait()
    ends_well(function)


GREETS = """
    create schema app;
    create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('{"type":"welcome"}') $$;
"""


def test_while_a_greeting_is_on_its_way(database, make_function, hung):
    database.execute(GREETS)
    function = make_function(database, routes="app",
                             AWS_WEBSOCKET_API_GATEWAY_ENDPOINT=hung.endpoint)
    invocation = function.begin(events.connect())
    hung.wait()
    assert invocation.outcome[0] == "response"
    ends_well(function)


def test_while_what_was_published_is_on_its_way(database, make_function, hung):
    function = make_function(database, AWS_WEBSOCKET_API_GATEWAY_ENDPOINT=hung.endpoint)
    for number in range(3):
        name = f"c{number}="
        assert function.invoke(events.connect(name)).json() == {"statusCode": 200}
        database.execute("select switchboard.subscribe(%s, 't')", name)
    function.begin({"op": "publish", "topic": "t", "message": 1})
    hung.wait("c0=")
    hung.wait("c2=")
    ends_well(function)


@pytest.mark.parametrize("event", [
    events.schedule(), {"op": "deliver"}, events.queue({"op": "deliver"}, {"op": "deliver"}),
    events.topic({"op": "cleanup"}), events.message({"message": 1}), events.connect("c2="),
    events.disconnect(),
], ids=["schedule", "command", "queue", "topic", "message", "connect", "disconnect"])
def test_while_the_database_takes_its_time(database, make_function, event):
    function = make_function(database)
    assert function.invoke(events.connect()).json() == {"statusCode": 200}
    function.wait_idle()
    with locked(database, "websocket_connections", "websocket_remote_state"):
        function.begin(event)
        wait_for_session(database, "wait_event_type = 'Lock'", "it waits")
        ends_well(function)


def test_while_lambda_takes_the_answer(database, make_function):
    function = make_function(database)
    function.start_sandbox()
    function.wait_idle()
    invocation = function.begin(events.message({"message": 1}),
                                posts=[Half(202, '{"status":"OK"}')])
    wait_for(lambda: invocation.posts, "the answer was posted")
    ends_well(function)


def token_of_nobody():
    """One whose key is not there."""
    parts = ({"alg": "RS256", "kid": "nobody's"}, {"sub": "u1", "exp": 2 ** 31})
    return ".".join([base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                     for part in parts] + ["c2ln"])


@pytest.mark.parametrize("kind", ["authorizer", "connect", "message"])
def test_while_keys_are_fetched(database, make_function, deaf, kind):
    token = token_of_nobody()
    event = {"authorizer": events.authorizer(headers={"Authorization": f"Bearer {token}"}),
             "connect": events.connect(query={"token": token}),
             "message": events.message({"action": "auth", "token": token})}[kind]
    function = make_function(database, auth="required",
                             jwt_jwks_url=f"http://127.0.0.1:{deaf}/keys")
    invocation = function.begin(event)
    wait_for_session(database, "state = 'idle' and query like '%profile_settings%'",
                     "the token is next")
    assert invocation.outcome is None
    ends_well(function)
