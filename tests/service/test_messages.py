# SPDX-License-Identifier: Apache-2.0
"""The sender: sendMessage, broadcastToUser and typed messages, from SQL, HTTP and the command line."""
import itertools
import json
import re
import time

import pytest
from harness import wait_for

users = (f"user/{n} \u00e4" for n in itertools.count())


def encode(name):
    return "".join(f"%{byte:02X}" for byte in name.encode())


@pytest.fixture
def client(shared):
    return shared.connect()


@pytest.fixture
def user(shared):
    """A name and three open connections of that user."""
    name = next(users)
    clients = [shared.connect() for _ in range(3)]
    for client in clients:
        shared.database.execute("select switchboard.identify(%s, user_id => %s)", client.id, name)
    return name, clients


# ---- the ways to send ----

def send_by_sql(shared, connection_id, text):
    return shared.database.value("select switchboard.send_message(%s, %s)", connection_id, text)


def send_by_http(shared, connection_id, text):
    answer = shared.http("POST", f"/dev/@connections/{connection_id}", text.encode())
    assert answer.status in (200, 410), answer
    return answer.status == 200


def send_by_command(shared, connection_id, text):
    done = shared.command("send", connection_id, text, "--json")
    assert done.returncode in (0, 1), done
    said = json.loads(done.stdout)
    assert said == {"connectionId": connection_id, "reached": 1 - done.returncode}
    return done.returncode == 0


def broadcast_by_sql(shared, name, text):
    return shared.database.value("select switchboard.broadcast_to_user(%s, %s)", name, text)


def broadcast_by_http(shared, name, text):
    answer = shared.http("POST", f"/users/{encode(name)}", text.encode())
    assert answer.status == 200 and answer.header("content-type") == "application/json", answer
    assert list(answer.json()) == ["reached"]
    return answer.json()["reached"]


def broadcast_by_command(shared, name, text):
    done = shared.command("send", "--user", name, text, "--json")
    said = json.loads(done.stdout)
    assert said["userId"] == name and done.returncode == (said["reached"] == 0)
    return said["reached"]


WAYS = ["sql", "http", "command line"]
senders = pytest.mark.parametrize("send", [send_by_sql, send_by_http, send_by_command], ids=WAYS)
broadcasters = pytest.mark.parametrize(
    "broadcast", [broadcast_by_sql, broadcast_by_http, broadcast_by_command], ids=WAYS)


# ---- sendMessage ----

@senders
def test_a_message_to_an_open_connection_is_true_and_arrives(shared, client, send):
    other = shared.connect()
    assert send(shared, client.id, '{"n": 1}') is True
    assert client.recv() == '{"n": 1}'
    other.assert_silent()


@senders
def test_a_message_to_one_that_is_gone_is_false_and_its_row_inactive(shared, client, send):
    client.drop(reset=True)
    shared.database.wait_inactive(client.id)
    began = time.monotonic()
    assert send(shared, client.id, '{"n": 1}') is False
    assert time.monotonic() - began < 5
    assert not shared.database.value("select switchboard.is_live(%s)", client.id)


@senders
def test_sending_to_one_that_vanishes_waits_for_nobody(shared, client, send):
    stays = shared.connect()
    client.drop(reset=True)
    # True or false, as the node has noticed it or not; what follows is the same.
    assert send(shared, client.id, '{"n": 1}') in (True, False)
    assert send(shared, stays.id, '{"n": 2}') is True
    assert stays.recv_json() == {"n": 2}
    shared.database.wait_inactive(client.id)
    assert send(shared, client.id, '{"n": 3}') is False


# ---- broadcastToUser ----

@broadcasters
def test_a_broadcast_counts_and_reaches_every_connection_of_the_user(shared, user, broadcast):
    name, clients = user
    other = shared.connect()
    assert broadcast(shared, name, '{"n": 1}') == 3
    for client in clients:
        assert client.recv_json() == {"n": 1}
        client.assert_silent()
    other.assert_silent()
    assert broadcast(shared, "nobody", '{"n": 2}') == 0


@broadcasters
@pytest.mark.parametrize("leave", ["closes", "fails"])
def test_one_connection_that_goes_does_not_stop_the_rest(shared, user, broadcast, leave):
    name, (first, going, last) = user
    if leave == "closes":
        going.protocol.send_close(1000, "")
        going._flush()
    else:
        going.drop(reset=True)
    assert broadcast(shared, name, '{"n": 1}') in (2, 3)
    assert [first.recv_json(), last.recv_json()] == [{"n": 1}, {"n": 1}]
    shared.database.wait_inactive(going.id)
    assert broadcast(shared, name, '{"n": 2}') == 2
    assert [first.recv_json(), last.recv_json()] == [{"n": 2}, {"n": 2}]


# ---- HTTP ----

def test_a_topic_is_published_to_over_http(shared, client):
    other = shared.connect()
    shared.database.execute("select switchboard.subscribe(%s, %s)", client.id, "room:a/b c%")
    answer = shared.http("POST", "/topics/room:a%2Fb%20c%25", b' {"n": [1]} ')
    assert (answer.status, answer.json()) == (200, {"published": True})
    assert client.recv_json() == {"n": [1]}
    other.assert_silent()


def test_the_name_in_the_path_is_decoded_once(shared, client):
    shared.database.execute("select switchboard.identify(%s, user_id => 'a%%2Fb+c')", client.id)
    assert broadcast_by_http(shared, "a/b+c", "1") == 0
    assert shared.http("POST", "/users/a%252Fb+c", b"2").json() == {"reached": 1}
    assert client.recv_json() == 2


@pytest.mark.parametrize("path", ["/users/ann", "/topics/news"])
def test_what_is_no_message_is_refused(shared, client, path):
    shared.database.execute("select switchboard.identify(%s, user_id => 'ann')", client.id)
    shared.database.execute("select switchboard.subscribe(%s, 'news')", client.id)
    for body in (b"", b"no json", b'{"a":1', b"{} {}", b'"\xff"', b'"\\u0000"', b"{\x00}"):
        answer = shared.http("POST", path, body)
        assert answer.status == 400 and "JSON" in answer.json()["message"], body
    assert shared.http("POST", path, b"1" * 1048577).status == 413
    for method in ("GET", "PUT", "DELETE"):
        answer = shared.http(method, path)
        assert (answer.status, answer.header("allow")) == (405, "POST")
    kind = path.split("/")[1]
    assert shared.http("POST", f"/{kind}/", b"{}").status == 400
    assert shared.http("POST", f"/{kind}/%FF", b"{}").status == 400
    assert shared.http("POST", f"/{kind}/%00", b"{}").status == 404
    assert shared.http("POST", f"/{kind}", b"{}").status == 404
    assert shared.http("POST", f"{path}/more", b"{}").status == 404
    assert shared.http("POST", path, b'"only this"').status == 200
    assert client.recv_json() == "only this"  # everything before it would be in front
    client.assert_silent()


def test_the_largest_message_is_taken(shared, client):
    shared.database.execute("select switchboard.subscribe(%s, 'large')", client.id)
    body = json.dumps("x" * (131072 - 2))
    assert len(body) == 131072
    assert shared.http("POST", "/topics/large", body.encode()).status == 200
    assert client.recv() == body


def test_without_a_database_it_is_503(own_cluster, start_server):
    server = start_server(own_cluster.create_database())
    own_cluster.stop("immediate")
    try:
        wait_for(lambda: server.http("GET", "/ready").status == 503, "it has noticed")
        for path in ("/users/ann", "/topics/news"):
            answer = server.http("POST", path, b"{}")
            assert answer.status == 503 and "message" in answer.json()
    finally:
        own_cluster.start()


# ---- typed messages ----

# name, SQL, flags and text of the command, type and payload
TYPED = [
    ("chat_response", "create_chat_response('m1', 'Hi \"you\"', true)",
     ["--chat-response", "m1", 'Hi "you"'],
     {"messageId": "m1", "content": 'Hi "you"', "isComplete": True}),
    ("chat_response", "create_chat_response('m1', 'Hi', false)",
     ["--chat-response=m1", "--partial", "Hi"],
     {"messageId": "m1", "content": "Hi", "isComplete": False}),
    ("typing_indicator", "create_typing_indicator(true)", ["--typing", "on"], {"isTyping": True}),
    ("typing_indicator", "create_typing_indicator(false)", ["--typing", "off"],
     {"isTyping": False}),
    ("error", "create_error('NO', 'Not now', false)", ["--error", "NO", "Not now"],
     {"code": "NO", "message": "Not now", "retryable": False}),
    ("error", "create_error('RATE_LIMIT_EXCEEDED', 'Slow down', true, 7)",
     ["--error", "RATE_LIMIT_EXCEEDED", "Slow down", "--retryable", "--retry-after", "7"],
     {"code": "RATE_LIMIT_EXCEEDED", "message": "Slow down", "retryable": True, "retryAfter": 7}),
    ("system", "create_system('Hello\n\u00e4')", ["--system", "Hello\n\u00e4"],
     {"message": "Hello\n\u00e4", "level": "info"}),
    ("system", "create_system('Hello', 'warning')", ["--system", "Hello", "--level", "warning"],
     {"message": "Hello", "level": "warning"}),
    ("system", "create_system('Hello', 'error')", ["--level=error", "--system", "Hello"],
     {"message": "Hello", "level": "error"}),
]
IDS = [f"{name}-{number}" for number, (name, *_) in enumerate(TYPED)]


def assert_typed(text, name, payload):
    """Exactly these members, and the time is now."""
    message = json.loads(text)
    stamp = message.pop("timestamp")
    assert type(stamp) is int and abs(stamp - time.time() * 1000) < 30000
    assert message == {"type": name, "payload": payload}
    return stamp


@pytest.mark.parametrize("name, sql, flags, payload", TYPED, ids=IDS)
def test_a_typed_message_from_the_command_line(shared, client, name, sql, flags, payload):
    done = shared.command("send", client.id, *flags)
    assert (done.returncode, done.stdout) == (0, "sent: 1 connection\n"), done.stderr
    text = client.recv()
    stamp = assert_typed(text, name, payload)
    # The node passes the bytes on as messages.c wrote them.
    assert text == json.dumps({"type": name, "payload": payload, "timestamp": stamp},
                              separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("name, sql, flags, payload", TYPED, ids=IDS)
def test_a_typed_message_from_sql(shared, client, name, sql, flags, payload):
    assert shared.database.value(
        f"select switchboard.send_message(%s, switchboard.{sql})", client.id) is True
    assert_typed(client.recv(), name, payload)


@pytest.mark.parametrize("name, sql, flags, payload", TYPED, ids=IDS)
def test_a_typed_message_over_http(shared, user, name, sql, flags, payload):
    stamp = int(time.time() * 1000)
    text = json.dumps({"type": name, "payload": payload, "timestamp": stamp})
    assert send_by_http(shared, user[1][0].id, text) is True
    assert user[1][0].recv() == text
    assert broadcast_by_http(shared, user[0], text) == 3
    for client in user[1]:
        assert assert_typed(client.recv(), name, payload) == stamp


def test_what_was_retrieved_comes_with_the_answer(shared, client):
    chunks = [{"documentName": "a.pdf", "pageNumber": 3, "text": "..."}]
    shared.database.execute("select switchboard.send_message(%s, switchboard.create_chat_response("
                            "'m1', 'Hi', true, %s))", client.id, json.dumps(chunks))
    assert_typed(client.recv(), "chat_response", {
        "messageId": "m1", "content": "Hi", "isComplete": True, "retrievedChunks": chunks})


def test_a_typed_message_goes_to_users_topics_and_all(shared, user):
    name, clients = user
    for client in clients:
        shared.database.execute("select switchboard.subscribe(%s, 'typed')", client.id)
    for target in (("--user", name), ("--topic", "typed"), ("--all",)):
        done = shared.command("send", *target, "--system", "Hello")
        assert done.returncode == 0, done.stderr
        for client in clients:
            assert_typed(client.recv(), "system", {"message": "Hello", "level": "info"})


@pytest.mark.parametrize("arguments, part", [
    (["send", "id", "--system", "x", "--level", "fatal"], "info, warning or error"),
    (["send", "id", "x", "--level", "info"], "belongs to --system"),
    (["send", "id", "x", "--retryable"], "belong to --error"),
    (["send", "id", "x", "--retry-after", "1"], "belong to --error"),
    (["send", "id", "--error", "C", "x", "--retry-after", "soon"], "takes seconds"),
    (["send", "id", "--error", "C", "x", "--retry-after=-1"], "takes seconds"),
    (["send", "id", "x", "--partial"], "belongs to --chat-response"),
    (["send", "id", "--typing", "maybe"], "on or off"),
    (["send", "id", "--system", "--typing", "on"], "one type"),
    (["send", "id", "--system"], "send takes one of"),
    (["send", "id", "x", "--error"], "--error needs a value"),
    (["publish", "t", "{}", "--system"], "only send")])
def test_wrong_flags_are_not_understood(shared, arguments, part):
    done = shared.command(*arguments)
    assert done.returncode == 2 and part in done.stderr, done


def test_the_help_names_the_types(shared):
    text = shared.command("help").stdout
    for flag in ("--system", "--level", "--error", "--typing", "--chat-response"):
        assert re.search(rf"^  {flag}\b|\[{flag}\b", text, re.MULTILINE), flag
