# SPDX-License-Identifier: Apache-2.0
"""Gateway, function, database and @connections together: what only shows when all are real.

The tests of the profiles run in this topology too: ./dev lambda, or
pytest tests/service/test_profile_chat.py --topology lambda.
"""
import json
import threading
import time
import urllib.parse

import events
import psycopg2
import pytest
from harness import token, wait_for
from topology import Database

JWT = "a-secret-of-at-least-32-bytes-for-hs256!"


def join(server, room, user):
    """A client in a room of the profile chat, behind its welcome."""
    query = urllib.parse.urlencode({"userId": user, "roomId": room, "token": "valid_1"})
    client = server.connect(query, welcome=False)
    client.id = client.recv_json()["data"]["connectionId"]
    return client


def start_chat(start, database, **settings):
    return start(database, profile="chat", demo_tokens="on", jwt_secret=JWT, **settings)


def say(client, text):
    client.send({"type": "chat", "message": text})


def heard(client, seconds=15):
    """What was said in the room."""
    frame = client.recv_json(seconds)
    assert frame["type"] == "chat", frame
    return frame["data"]["message"]


# ---- signatures ----

def test_at_connections_takes_nothing_that_is_not_signed_by_the_function(database, start):
    server = start(database)
    client = server.connect()
    assert server.unsigned(client.id).status == 403
    client.assert_silent()
    server.function.wait_idle()
    wrong = server.function.environment
    wrong["AWS_SECRET_ACCESS_KEY"] = "not-the-secret"
    for sandbox in server.function.alive():
        sandbox.shut_down()
    client.send({"type": "heartbeat"})
    server.function.wait_idle()
    server.wait_line("sender.forbidden", "status=403", "hint=")
    client.assert_silent()


def test_without_credentials_nothing_arrives(database, start):
    server = start(database)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        server.function.environment[name] = ""
    client = server.connect(welcome=False)
    server.function.wait_idle()
    client.assert_silent()
    assert database.active() == 1  # not to be let in by @connections does not mean that it is gone


# ---- a connection between its acceptance and its opening ----

def test_a_gateway_that_opens_a_connection_late_loses_no_greeting(database, start):
    server = start(database)
    server.function.start_sandbox()
    server.function.wait_idle()
    server.function.answer_delay = 0.4
    client = server.connect()
    server.function.answer_delay = 0
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert database.row(client.id)["is_active"]


def test_what_others_say_before_it_is_open_arrives_too(database, start):
    server = start(database)
    server.function.start_sandbox()
    server.function.start_sandbox()
    server.function.wait_idle()
    server.function.answer_delay = 0.6
    clients = []
    thread = threading.Thread(target=lambda: clients.append(server.connect(welcome=False)))
    thread.start()
    wait_for(lambda: database.active() == 1, "the row is there")
    server.function.answer_delay = 0
    database.execute("select switchboard.publish_to_all('{\"n\": 1}')")
    thread.join()
    frames = [clients[0].recv_json() for _ in range(2)]
    assert {"n": 1} in frames and "connection-established" in [frame.get("type") for frame in frames]
    assert database.active() == 1


# ---- nothing that was committed is lost ----

def published(database):
    return database.value("select count(*) from switchboard.websocket_messages"
                          " where payload like '%%important%%'")


def claims(database):
    return database.value("select count(*) from switchboard.websocket_claims")


def kill_between_commit_and_post(server, road, sender):
    """The message is in the database and in nobody's hands."""
    server.function.wait_idle()
    road.shut()
    say(sender, "important")
    wait_for(lambda: road.refused and published(server.database), "it is committed and on its way")
    busy, = [sandbox for sandbox in server.function.alive() if sandbox.current]
    busy.kill()
    road.open()


def by_a_command(server, _):
    server.invoke({"op": "deliver"})


def by_the_schedule(server, _):
    server.invoke(events.schedule())


def by_the_next_message(_, client):
    client.send({"type": "ping"})


@pytest.mark.parametrize("go_on", [by_a_command, by_the_schedule, by_the_next_message])
def test_an_invocation_that_dies_between_commit_and_post_loses_nothing(database, start, road, go_on):
    server = start_chat(start, database, road=road, timeout=2, sandboxes=3)
    ann, bob, late = join(server, "r", "ann"), join(server, "r", "bob"), join(server, "r", "late")
    kill_between_commit_and_post(server, road, ann)
    assert ann.recv_json()["message"] == "Internal server error"  # of the gateway
    # Nobody may have it before the dead one's time is over.
    deadline = time.monotonic() + 15
    while not bob.messages and time.monotonic() < deadline:
        go_on(server, late)
        bob.ping()
    assert heard(bob) == "important"
    frames = [late.recv_json()]
    while frames[-1]["type"] == "pong":
        frames.append(late.recv_json())
    assert frames[-1]["data"]["message"] == "important"
    assert heard(ann) == "important"
    wait_for(lambda: claims(database) == 0, "all claims are finished")
    # And everything goes on as if nothing had been.
    say(bob, "next")
    assert heard(ann) == heard(bob) == "next"


def test_at_connections_that_is_away_for_a_while_loses_nothing(database, start, road):
    """Here the invocation gives up by itself, and what it has claimed is free at once."""
    server = start_chat(start, database, road=road, timeout=3, sandboxes=2, sender_timeout_ms=300)
    ann, bob = join(server, "r", "ann"), join(server, "r", "bob")
    server.function.wait_idle()
    road.shut()
    say(ann, "important")
    wait_for(lambda: road.refused and published(database), "it is on its way")
    server.function.wait_idle()
    road.open()
    assert server.invoke({"op": "deliver"}).json() == {"delivered": 2}
    assert heard(ann) == heard(bob) == "important"
    ann.assert_silent()
    bob.assert_silent()


def test_the_database_that_goes_away_is_said_and_nothing_stays_behind(own_cluster, start):
    server = start(Database(own_cluster, own_cluster.create_database().name), timeout=3)
    client = server.connect()
    server.function.wait_idle()
    own_cluster.stop("immediate")
    try:
        client.send({"type": "heartbeat"})
        assert client.recv_json()["message"] == "Internal server error"
        assert server.refused().status == 503
    finally:
        own_cluster.start()
    wait_for(lambda: client.ask({"type": "heartbeat"})["type"] == "heartbeat-response",
             "it is answered again")


# ---- many at once ----

def talk_at_once(server, count, rounds):
    """Everybody says something at the same time; everybody hears everything, once."""
    clients = [join(server, "r", f"u{number}") for number in range(count)]
    for number in range(rounds):
        for client in clients:
            say(client, f"{client.id} {number}")
    expected = sorted(f"{client.id} {number}" for client in clients for number in range(rounds))
    for client in clients:
        assert sorted(heard(client) for _ in expected) == expected
    for client in clients:
        client.assert_silent()
        client.close()
    for client in clients:
        server.database.wait_inactive(client.id)


def test_many_sandboxes_deliver_everything_once(database, start):
    server = start_chat(start, database, sandboxes=6)
    talk_at_once(server, 6, 4)
    assert len(server.function.sandboxes) > 1
    wait_for(lambda: claims(database) == 0, "all claims are finished")


def test_through_pgbouncer_in_transaction_mode(database, start, pooler):
    """Six sandboxes share two sessions of PostgreSQL: a statement that was prepared, a setting that
    stays or a notification that goes elsewhere would be seen."""
    server = start_chat(start, database, sandboxes=6, pooler=pooler)
    talk_at_once(server, 6, 4)
    assert len(server.function.sandboxes) > 2
    assert pooler.sessions(database) == 2
    assert server.invoke(events.schedule()).function_error is None
    assert "prepared statement" not in server.log()


def test_a_session_of_pgbouncer_keeps_no_setting(database, start, pooler):
    server = start(database, pooler=pooler)
    client = server.connect()
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    server.function.wait_idle()
    session = psycopg2.connect(pooler.url(database))
    try:
        with session.cursor() as cursor:
            cursor.execute("select current_setting('statement_timeout'),"
                           " coalesce(current_setting('switchboard.max_deliveries', true), ''),"
                           " (select count(*) from pg_prepared_statements),"
                           " (select count(*) from pg_listening_channels())")
            assert cursor.fetchone() == ("0", "", 0, 0)
    finally:
        session.close()


# ---- who may connect ----

def bearer(**claims):
    return {"headers": [("Authorization", "Bearer " + token(JWT, **claims))]}


def test_the_authorizer_lets_in_whom_the_token_names(database, start):
    server = start(database, jwt_secret=JWT, auth="required", authorizer=True)
    client = server.connect(**bearer(userId="ann", username="Ann", email="Ann@example.com"))
    row = database.row(client.id)
    assert (row["user_id"], row["user_name"]) == ("ann", "Ann")
    client = server.connect("token=" + token(JWT, userId="bob"))
    assert database.row(client.id)["user_id"] == "bob"
    kinds = [json.loads(invocation.event).get("type") for invocation in server.function.invocations]
    assert kinds.count("REQUEST") == 2


@pytest.mark.parametrize("options", [
    {}, {"headers": [("Authorization", "Bearer x")]}, bearer(userId="u", exp=1),
    {"headers": [("Authorization", "Bearer " + token("another-secret-of-at-least-32-bytes!!!"))]}],
    ids=["none", "garbage", "expired", "forged"])
def test_the_authorizer_lets_nobody_else_in(database, start, options):
    server = start(database, jwt_secret=JWT, auth="required", authorizer=True)
    answer = server.refused(**options)
    assert (answer.status, answer.json()["message"]) == (401, "Unauthorized")
    assert len(server.function.invocations) == 1 and database.active() == 0
    assert server.function.alive(), "the authorizer's error is an answer, and no end"


def test_without_an_authorizer_the_function_looks_at_the_token_itself(database, start):
    server = start(database, jwt_secret=JWT, auth="required", authorizer=False)
    client = server.connect(**bearer(userId="ann"))
    assert database.row(client.id)["user_id"] == "ann"
    assert server.refused().status == 401


def test_a_subprotocol_that_carries_the_token_is_accepted(database, start):
    server = start(database, jwt_secret=JWT, auth="required", authorizer=False)
    client = server.connect(subprotocols=["bearer", token(JWT, userId="ann")])
    assert client.answer.header("sec-websocket-protocol") == "bearer"
    assert database.row(client.id)["user_id"] == "ann"


# ---- direct invocations and the schedule ----

def test_commands_reach_clients(database, start):
    server = start(database)
    ann, bob = server.connect(), server.connect()
    database.execute("select switchboard.identify(%s, user_id => 'ann')", ann.id)
    database.execute("select switchboard.subscribe(%s, 'news')", bob.id)
    assert server.invoke({"op": "send", "userId": "ann", "message": {"n": 1}}).json() == \
        {"reached": 1}
    assert ann.recv_json() == {"n": 1}
    assert server.invoke({"op": "send", "connectionId": bob.id, "message": [2]}).json() == \
        {"delivered": True}
    assert bob.recv_json() == [2]
    assert server.invoke({"op": "publish", "topic": "news", "message": 3}).json() == \
        {"published": True}
    assert bob.recv_json() == 3
    ann.send({"type": "subscribe-email-verification", "email": "ann@example.com"})
    ann.recv_json()
    answer = server.invoke({"op": "verify-email", "email": "ann@example.com"}).json()
    assert answer == {"email": "ann@example.com", "delivered": True}
    assert ann.recv_json()["type"] == "email-verified"
    ann.assert_silent()
    bob.assert_silent()


def test_the_schedule_delivers_what_an_application_published(database, start):
    server = start(database)
    client = server.connect()
    server.function.wait_idle()  # the invocation that let it in would deliver, too
    database.function = None  # nobody runs behind the commit
    database.execute("select switchboard.publish_to_all('{\"n\": 1}')")
    server.function.wait_idle()
    client.assert_silent()
    answer = server.invoke(events.schedule()).json()
    assert answer["delivered"] == 1
    assert client.recv_json() == {"n": 1}


def test_a_connection_that_is_too_old_is_swept(database, start):
    server = start(database)
    client = server.connect()
    database.execute("update switchboard.websocket_connections"
                     "   set expires_at = now() - interval '1 minute'")
    assert server.invoke(events.schedule()).json()["expired"] == 1
    assert not database.row(client.id)["is_active"]


def test_typing_goes_to_the_others_in_a_function_too(database, start):
    """Through the log, as between nodes; tests/service has the rest of it."""
    server = start_chat(start, database)
    ann, bob = join(server, "r", "ann"), join(server, "r", "bob")
    ann.send({"type": "typing_indicator", "isTyping": True})
    assert bob.recv_json()["type"] == "typing_indicator"
    ann.assert_silent()


def test_a_client_that_leaves_is_told_to_sql(database, start):
    server = start(database)
    client = server.connect()
    assert client.close(1001, "bye")[0] == 1001
    row = database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1001, "bye")
