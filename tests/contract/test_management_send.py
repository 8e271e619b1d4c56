# SPDX-License-Identifier: Apache-2.0
"""@send: what the management API of API Gateway lacks.  docs/management-api.md describes it."""
import json
import threading

import pytest
from databases import *  # noqa: F401,F403
from harness import SECONDS, call, wait_for
from test_management_api import KEY, SECRET, UNKNOWN_ID, ask

SETTINGS = {"aws_strict": "on", "management_access_key_id": KEY,
            "management_secret_access_key": SECRET}
PORTS = pytest.mark.parametrize("port", ["port", "admin_port"], ids=["websocket", "admin"])
SEND = "/dev/@send"


def send(server, request, port="port", path=SEND, **more):
    return ask(server, "POST", path, json.dumps(request).encode(), port, **more)


@pytest.fixture
def clients(shared):
    clients = [shared.connect() for _ in range(3)]
    wait_for(lambda: all(shared.database.row(client.id) for client in clients), "rows are there")
    yield clients
    for client in clients:
        client.drop()


def identify(server, client, user):
    assert server.database.value("select switchboard.identify(%s, user_id => %s)", client.id, user)


# ---- receivers ----

@PORTS
@pytest.mark.parametrize("path", [SEND, "/dev/%40send"])
def test_many_connections_each_with_its_status(shared, clients, port, path):
    changed = ("B" if clients[0].id[0] != "B" else "C") + clients[0].id[1:]
    gone = shared.connect()
    gone.close()
    shared.database.wait_inactive(gone.id)
    ids = [clients[0].id, changed, "nonsense", gone.id, clients[1].id]
    answer = send(shared, {"to": {"connections": ids}, "message": {"n": 1}}, port, path)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-amzn-RequestId")
    assert answer.json() == {"results": [
        {"connectionId": id, "status": status}
        for id, status in zip(ids, (200, 400, 400, 410, 200))]}
    assert clients[0].recv_json() == clients[1].recv_json() == {"n": 1}
    clients[2].assert_silent()


@PORTS
def test_a_user(shared, clients, port):
    for client in clients[:2]:
        identify(shared, client, f"ann-{port}")
    answer = send(shared, {"to": {"user": f"ann-{port}"}, "message": "hello"}, port)
    assert (answer.status, answer.json()) == (200, {"reached": 2})
    assert clients[0].recv_json() == clients[1].recv_json() == "hello"
    clients[2].assert_silent()
    assert send(shared, {"to": {"user": "nobody"}, "message": 1}, port).json() == {"reached": 0}


def test_a_topic_and_all(shared, clients):
    assert shared.database.value("select switchboard.subscribe(%s, 'news')", clients[0].id)
    answer = send(shared, {"to": {"topic": "news"}, "message": [1, 2.50]})
    assert (answer.status, answer.json()) == (200, {"published": True})
    answer = send(shared, {"to": "all", "message": None})
    assert (answer.status, answer.json()) == (200, {"published": True})
    assert clients[0].recv() == "[1, 2.5]"
    assert [client.recv() for client in clients] == ["null"] * 3


def test_a_batch_of_different_messages(shared, clients):
    identify(shared, clients[0], "bob")
    answer = send(shared, {"messages": [
        {"to": {"user": "bob"}, "message": 1},
        {"to": {"connections": [clients[1].id, UNKNOWN_ID]}, "message": 2},
        {"to": "all", "message": 3}]})
    assert answer.status == 200
    assert answer.json() == {"results": [
        {"reached": 1},
        {"results": [{"connectionId": clients[1].id, "status": 200},
                     {"connectionId": UNKNOWN_ID,
                      "status": send_status(shared, UNKNOWN_ID)}]},
        {"published": True}]}
    assert [clients[0].recv(), clients[0].recv()] == ["1", "3"]
    assert [clients[1].recv(), clients[1].recv()] == ["2", "3"]


def send_status(server, connection_id):
    return ask(server, "POST", f"/dev/@connections/{connection_id}", b"x").status


def test_a_client_that_does_not_read_is_429(start_server, database):
    server = start_server(database, **SETTINGS, max_queue_bytes=1024)
    client = server.connect()
    wait_for(lambda: database.row(client.id), "the row is there")
    answer = send(server, {"to": {"connections": [client.id]}, "message": "x" * 2000})
    assert answer.json() == {"results": [{"connectionId": client.id, "status": 429}]}
    client.assert_silent()  # and it is not closed for it
    answer = send(server, {"to": {"connections": [client.id]}, "message": "x"})
    assert answer.json()["results"][0]["status"] == 200
    assert client.recv_json() == "x"


def test_another_node_holds_the_connection(start_server, database):
    here, there = (start_server(database, **SETTINGS) for _ in range(2))
    client = here.connect()
    wait_for(lambda: database.row(client.id), "the row is there")
    answer = send(there, {"to": {"connections": [client.id]}, "message": {"from": "there"}})
    assert answer.json() == {"results": [{"connectionId": client.id, "status": 200}]}
    assert client.recv_json() == {"from": "there"}


# ---- what is wrong ----

@pytest.mark.parametrize("request_, text", [
    ([], "the request must be a JSON object"),
    ({}, 'to must be "all" or an object'),
    ({"to": "everybody", "message": 1}, 'to must be "all" or an object'),
    ({"to": {"user": "a", "topic": "b"}, "message": 1}, 'to must be "all" or an object'),
    ({"to": {"room": "a"}, "message": 1}, 'to must be "all" or an object'),
    ({"to": {"user": ""}, "message": 1}, "to.user must be a text that is not empty"),
    ({"to": {"topic": 7}, "message": 1}, "to.topic must be a text that is not empty"),
    ({"to": {"connections": "x"}, "message": 1}, "to.connections must be an array"),
    ({"to": {"connections": [1]}, "message": 1}, "to.connections must be an array"),
    ({"to": {"connections": ["x"] * 1001}, "message": 1}, "at most 1000 connections"),
    ({"to": "all"}, "there is no member message"),
    ({"to": "all", "message": 1, "extra": 1}, "a member that means nothing here"),
    ({"messages": []}, "messages must be an array of 1 to 100 messages"),
    ({"messages": [{"to": "all", "message": 1}] * 101}, "messages must be an array of 1 to 100"),
    ({"messages": [{"to": "all", "message": 1}], "to": "all"}, "beside messages"),
    ({"messages": [{"to": "all", "message": 1}, 7]}, "messages[1]: a message must be an object"),
    ({"messages": [{"to": "all", "message": 1, "idempotencyKey": "k"}]}, "messages[0]: there is a"),
    ({"to": "all", "message": 1, "idempotencyKey": ""}, "an idempotency key has 1 to 255 bytes"),
    ({"to": "all", "message": 1, "idempotencyKey": 1}, "an idempotency key has 1 to 255 bytes"),
    ({"to": "all", "message": 1, "idempotencyKey": "k" * 256}, "an idempotency key has 1 to 255"),
])
def test_a_wrong_request_is_400_and_says_why(shared, clients, request_, text):
    answer = send(shared, request_)
    assert answer.status == 400
    assert answer.header("x-amzn-ErrorType") == "BadRequestException"
    assert text in answer.json()["message"]
    clients[0].assert_silent()


def test_what_is_not_json_is_400(shared):
    answer = ask(shared, "POST", SEND, b"{")
    assert (answer.status, answer.json()) == (400, {"message": "The body must be JSON"})


def test_nothing_of_a_batch_is_sent_when_one_message_is_wrong(shared, clients):
    answer = send(shared, {"messages": [{"to": "all", "message": 1}, {"to": "nobody"}]})
    assert answer.status == 400
    clients[0].assert_silent()


def test_a_message_is_no_larger_than_a_message_may_be_and_a_batch_is(shared, clients):
    answer = send(shared, {"to": "all", "message": "x" * 131073})
    assert answer.status == 413
    assert answer.header("x-amzn-ErrorType") == "PayloadTooLargeException"
    ids = {"connections": [clients[0].id]}
    answer = send(shared, {"messages": [{"to": ids, "message": "x" * 100000}] * 5})
    assert answer.status == 200
    assert [len(clients[0].recv()) for _ in range(5)] == [100002] * 5
    assert send(shared, {"to": "all", "message": "x" * 1048576}).status == 413


@PORTS
def test_it_is_guarded_as_connections_are(shared, clients, port):
    request = {"to": "all", "message": 1}
    assert send(shared, request, port, key=None).header("x-amzn-ErrorType") == \
        "MissingAuthenticationTokenException"
    assert send(shared, request, port, secret="other").header("x-amzn-ErrorType") == \
        "InvalidSignatureException"
    assert send(shared, request, port, "/prod/@send").header("x-amzn-ErrorType") == \
        "ForbiddenException"
    answer = ask(shared, "GET", SEND, port=port)
    assert (answer.status, answer.header("allow")) == (405, "POST")
    clients[0].assert_silent()


def test_it_is_denied_where_posts_are_not_allowed(start_server, database):
    server = start_server(database, **SETTINGS, management_allow="GET")
    answer = send(server, {"to": "all", "message": 1})
    assert (answer.status, answer.header("x-amzn-ErrorType")) == (403, "AccessDeniedException")


# ---- keys ----

@pytest.mark.parametrize("in_header", [True, False], ids=["header", "member"])
def test_the_same_request_with_the_same_key_is_sent_once(shared, clients, in_header):
    key = f"once-{in_header}"
    request = {"to": {"connections": [clients[0].id]}, "message": key}
    headers = {"Idempotency-Key": key} if in_header else None
    if not in_header:
        request["idempotencyKey"] = key
    first = send(shared, request, headers=headers)
    again = send(shared, request, headers=headers, port="admin_port")
    assert first.status == again.status == 200
    assert first.body == again.body
    assert clients[0].recv_json() == key
    clients[0].assert_silent()
    # Also when what was reached has gone since.
    clients[0].close()
    shared.database.wait_inactive(clients[0].id)
    assert send(shared, request, headers=headers).body == first.body


def test_another_request_with_the_same_key_is_422(shared, clients):
    headers = {"Idempotency-Key": "twice"}
    assert send(shared, {"to": "all", "message": 1}, headers=headers).status == 200
    answer = send(shared, {"to": "all", "message": 2}, headers=headers)
    assert answer.status == 422
    assert answer.header("x-amzn-ErrorType") == "IdempotencyKeyException"
    assert clients[0].recv() == "1"
    clients[0].assert_silent()


def test_two_different_keys_are_400(shared):
    answer = send(shared, {"to": "all", "message": 1, "idempotencyKey": "a"},
                  headers={"Idempotency-Key": "b"})
    assert answer.status == 400
    assert "differ" in answer.json()["message"]


def test_a_key_outlives_the_server(start_server, database):
    server = start_server(database, **SETTINGS)
    request = {"to": {"user": "ann"}, "message": 1, "idempotencyKey": "durable"}
    first = send(server, request)
    server.kill()
    server.start()
    client = server.connect()
    identify(server, client, "ann")
    assert send(server, request).body == first.body == b'{"reached": 0}'
    client.assert_silent()


def test_of_two_at_the_same_time_one_is_sent_and_both_get_its_answer(start_server, database):
    nodes = [start_server(database, **SETTINGS) for _ in range(2)]
    client = nodes[0].connect()
    wait_for(lambda: database.row(client.id), "the row is there")
    # The first one waits in the middle of its transaction: its connection's row is held.
    database.execute("""
        create function switchboard.hold() returns trigger language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(9);
            return new;
        end $$;
        create trigger hold before insert on switchboard.websocket_outbox
           for each row execute function switchboard.hold();""")
    holder = database.connect()
    call(holder, "select pg_advisory_lock(9)")
    request = {"to": {"connections": [client.id]}, "message": "m", "idempotencyKey": "race"}
    answers = []
    threads = [threading.Thread(target=lambda node=node: answers.append(send(node, request)))
               for node in nodes]
    threads[0].start()
    database.wait_blocked()
    threads[1].start()
    wait_for(lambda: database.value(
        "select count(*) from pg_locks where locktype = 'transactionid' and not granted"),
        "the second one waits for the first")
    assert answers == []
    call(holder, "select pg_advisory_unlock(9)")
    for thread in threads:
        thread.join(SECONDS)
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    assert client.recv_json() == "m"
    client.assert_silent()
    assert database.value("select count(*) from switchboard.websocket_messages") == 1
