# SPDX-License-Identifier: Apache-2.0
"""Keep-alive: the server's pings, what a pong is worth, and rows whose time activity renews."""
import threading
import time

import pytest
from harness import token, wait_for

SECRET = "a secret that is long enough for HS256"
SQL = """
create schema app;
create function app."$connect"(event switchboard.event)
returns setof switchboard.delivery
language sql
begin atomic
    select switchboard.reply(jsonb_build_object('type', 'connection-established',
                                                'sessionId', event.connection_id));
end;
create function app.echo(event switchboard.event)
returns switchboard.delivery
language sql
begin atomic
    select switchboard.reply(event.body);
end;
"""


def settings_of_the_schema(database, text):
    database.execute(SQL + f"""
create function app."$settings"()
returns jsonb
language sql immutable
begin atomic
    select '{text}'::jsonb;
end;""")


def read_for(client, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert client._pump(deadline), "the connection ended"


def expiry(database, client):
    return database.row(client.id)["expires_at"]


# ---- pings ----

def test_a_silent_client_is_pinged_at_the_interval(database, start_server):
    server = start_server(database, ping_interval_ms=200)
    client = server.connect()
    pings = client.pings
    read_for(client, 2)
    assert 6 <= len(pings) <= 11
    assert all(later - earlier > 0.15 for earlier, later in zip(pings, pings[1:]))


def test_nobody_is_pinged_by_default(server):
    client = server.connect()
    pings = client.pings
    read_for(client, 1)
    assert pings == []


def test_who_sends_is_not_pinged(database, start_server):
    server = start_server(database, ping_interval_ms=600)
    client = server.connect()
    pings = client.pings
    for _ in range(15):
        client.ask({"type": "heartbeat"})
        read_for(client, 0.1)
    assert pings == []
    read_for(client, 1.5)
    assert pings


def test_the_interval_of_the_schema(database, start_server):
    settings_of_the_schema(database, '{"ping_interval_ms": 300}')
    server = start_server(database, routes="app")
    client = server.connect()
    pings = client.pings
    wait_for(lambda: read_for(client, 0.2) or len(pings) >= 2, "two pings", 10)


def test_pongs_keep_a_client_and_silence_ends_it(database, start_server):
    server = start_server(database, ping_interval_ms=200, idle_timeout_ms=1000)
    answering, silent = server.connect(), server.connect()
    stop = threading.Event()

    def answer():
        while not stop.is_set():
            read_for(answering, 0.1)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        # It reads nothing: so it answers nothing.
        row = wait_for(lambda: (lambda r: r if not r["is_active"] else None)
                       (database.row(silent.id)), "the silent one is closed", 15)
        assert row["disconnect_code"] == 1001
    finally:
        stop.set()
        thread.join()
    assert database.row(answering.id)["is_active"]
    answering.ask({"type": "heartbeat"})


# ---- the time of a row ----

def test_the_ttl_of_the_schema_and_the_operators(database, start_server):
    settings_of_the_schema(database, '{"connection_ttl_seconds": 600}')
    for settings, seconds in (({}, 600), ({"connection_ttl_minutes": 3}, 180)):
        server = start_server(database, routes="app", **settings)
        client = server.connect()
        assert database.value("select extract(epoch from expires_at - connected_at)::integer"
                              "  from switchboard.websocket_connections"
                              " where connection_id = %s", client.id) == seconds
        server.stop()


def test_messages_renew_the_row_where_the_schema_says_so(database, start_server):
    settings_of_the_schema(database, '{"connection_ttl_seconds": 5, "renew_ttl": true}')
    server = start_server(database, routes="app", touch_interval_ms=50)
    client, silent = server.connect(), server.connect()
    before = expiry(database, client)

    def send_and_look():
        client.ask({"action": "echo"})
        return expiry(database, client) > before
    wait_for(send_and_look, "the row has more time")
    after = expiry(database, client)
    left = (after - database.row(client.id)["last_activity_at"]).total_seconds()
    assert 4 < left <= 5.001
    assert expiry(database, silent) < after


def test_without_that_messages_do_not(server):
    client = server.connect()
    before = expiry(server.database, client)
    active = server.database.row(client.id)["last_activity_at"]

    def send_and_look():
        client.ask({"type": "heartbeat"})
        return server.database.row(client.id)["last_activity_at"] > active
    wait_for(send_and_look, "it was touched")
    assert expiry(server.database, client) == before


def test_pongs_renew_it_too_and_who_does_not_answer_expires(database, start_server):
    settings_of_the_schema(database, '{"connection_ttl_seconds": 3, "renew_ttl": true,'
                                     ' "ping_interval_ms": 300}')
    server = start_server(database, routes="app", touch_interval_ms=50, cleanup_interval_s=1,
                          ping_interval_ms=300)
    answering, silent = server.connect(), server.connect()
    deadline = time.monotonic() + 25
    while database.row(silent.id)["is_active"]:
        assert time.monotonic() < deadline, "the silent one is still active"
        read_for(answering, 0.2)
    assert database.row(silent.id)["disconnect_reason"] == "Connection expired"
    assert silent.wait_closed()[0] == 1001
    assert database.row(answering.id)["is_active"]
    answering.ask({"action": "echo"})


@pytest.mark.parametrize("profile, seconds", [("careconnect", 7200), ("chatbot", 600)])
def test_the_profiles_own(database, start_server, profile, seconds):
    server = start_server(database, profile=profile, jwt_secret=SECRET)
    client = server.connect(f"token={token(SECRET, userId='u1', sessionId='s1')}", welcome=False)
    wait_for(lambda: database.live() == 1, "it is registered")
    assert database.value("select extract(epoch from expires_at - connected_at)::integer"
                          "  from switchboard.websocket_connections") == seconds
    client.drop()
