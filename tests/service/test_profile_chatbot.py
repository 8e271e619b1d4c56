# SPDX-License-Identifier: Apache-2.0
"""Every row of the chatbot profile's table."""
import itertools
import time

import jwt
import pytest
from harness import wait_for

SECRET = "a-secret-of-at-least-32-bytes-for-hs256!"
SETTINGS = {"profile": "chatbot", "routes": "app", "jwt_secret": SECRET}
SQL = """
    create schema app;
    create function app.fail(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$ begin raise exception 'inside'; end $$;
"""
sessions = (f"s{n}" for n in itertools.count(1))
users = (f"user-{n}" for n in itertools.count(1))


def token_for(user, secret=SECRET, ttl=600, **claims):
    return jwt.encode({"userId": user, "username": "Ann", "roles": ["user", "admin"],
                       "sessionId": f"session-of-{user}", "exp": int(time.time()) + ttl, **claims},
                      secret, algorithm="HS256")


def connect(server, user=None, **claims):
    return server.connect(f"token={token_for(user or next(users), **claims)}", welcome=False)


def payload_of(frame, kind):
    """Checks {"type", "payload", "timestamp"} and the timestamp (integer Unix milliseconds)."""
    assert set(frame) == {"type", "payload", "timestamp"} and frame["type"] == kind, frame
    assert isinstance(frame["timestamp"], int), frame
    assert abs(frame["timestamp"] - time.time() * 1000) < 10000, frame
    return frame["payload"]


def ask(client, message, session):
    """The answer's parts; checks everything around them."""
    client.send({"action": "chat_message", "data": {"message": message, "sessionId": session}})
    assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": True}
    parts = []
    while not parts or not parts[-1]["isComplete"]:
        parts.append(payload_of(client.recv_json(), "chat_response"))
        assert set(parts[-1]) == {"messageId", "content", "isComplete"}
    assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": False}
    assert len({part["messageId"] for part in parts}) == 1 and parts[0]["messageId"]
    return [part["content"] for part in parts]


def error_of(client, message):
    client.send(message)
    return payload_of(client.recv_json(), "error")


# ---- connecting ----

def test_a_token_in_the_query_lets_in_and_says_who_it_is(shared):
    user = next(users)
    client = connect(shared, user)
    client.assert_silent()
    row = shared.database.execute(
        "select * from switchboard.websocket_connections where user_id = %s", user)[0]
    assert (row["user_name"], row["is_active"]) == ("Ann", True)
    assert row["metadata"] == {"sessionId": f"session-of-{user}", "roles": ["user", "admin"]}
    assert (row["expires_at"] - row["connected_at"]).total_seconds() == pytest.approx(600, abs=30)
    client.close()


def test_a_token_in_the_header_does_too(shared):
    user = next(users)
    client = shared.connect(welcome=False,
                            headers=[("Authorization", f"Bearer {token_for(user)}")])
    assert ask(client, "Hello", next(sessions))
    assert shared.database.value("select count(*) from switchboard.live_connections"
                                 " where user_id = %s", user) == 1
    client.close()


@pytest.mark.parametrize("query", [
    "", "token=", "token=garbage",
    f"token={token_for('u1', secret='another-secret-of-at-least-32-bytes!!!')}",
    f"token={token_for('u1', ttl=-600)}"],
    ids=["none", "empty", "garbage", "wrong key", "expired"])
def test_without_a_good_token_the_handshake_fails_with_401(shared, query):
    answer = shared.refused(query)
    assert answer.status == 401
    assert answer.json()["message"] == "Unauthorized"


RESPONDERS = """
    create schema mine;
    create function mine.respond(event switchboard.event) returns setof text language sql as
    $$ select case event.body #>> '{data,message}'
                  when 'slow' then (select 'done' from pg_advisory_xact_lock(7))
                  when 'broken' then (1 / (select 0))::text end $$;
    grant usage on schema mine to public;
"""


def test_the_client_sees_the_typing_while_the_answer_is_being_made(database, start_server):
    database.execute(RESPONDERS)
    server = start_server(database, profile="chatbot", routes="mine", jwt_secret=SECRET)
    client = connect(server)
    session = database.connect()
    with session, session.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(7)")  # respond() waits for it
        client.send({"action": "chat_message", "data": {"message": "slow", "sessionId": "s"}})
        assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": True}
        client.assert_silent()
    session.close()
    assert payload_of(client.recv_json(), "chat_response")["content"] == "done"
    assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": False}
    client.close()


def test_an_answer_that_fails_is_an_error_and_ends_the_typing(database, start_server):
    database.execute(RESPONDERS)
    server = start_server(database, profile="chatbot", routes="mine", jwt_secret=SECRET)
    client = connect(server)
    client.send({"action": "chat_message", "data": {"message": "broken", "sessionId": "s"}})
    assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": True}
    assert payload_of(client.recv_json(), "error")["code"] == "INTERNAL_ERROR"
    assert payload_of(client.recv_json(), "typing_indicator") == {"isTyping": False}
    line, = [line for line in server.log().splitlines() if "event=route.error" in line]
    assert "$then:answer" in line and "chatbot" in line and "sqlstate=22012" in line, line
    client.close()


def test_a_client_cannot_name_a_step(shared):
    client = connect(shared)
    assert error_of(client, {"action": "$then:answer", "data": {"message": "x"}}) == {
        "code": "INVALID_ACTION", "message": "Unknown action: $then:answer", "retryable": False}
    client.close()


# ---- chat_message ----

def test_a_message_is_answered_between_two_typing_indicators(shared):
    client = connect(shared)
    assert ask(client, "Hello", next(sessions)) == \
        ['You said: "Hello".', "That is the first message of this session."]
    client.close()


def test_the_answer_comes_from_the_history_of_the_session(shared):
    user, session = next(users), next(sessions)
    client = connect(shared, user)
    ask(client, "one", session)
    ask(client, "two", session)
    client.close()
    client = connect(shared, user)
    assert ask(client, "three", session)[-1] == \
        'Before that you said, in 2 messages: "one", "two".'
    assert ask(client, "three", next(sessions))[-1] == "That is the first message of this session."
    client.close()
    stranger = connect(shared)
    assert ask(stranger, "x", session)[-1] == "That is the first message of this session."
    stranger.close()


def test_a_function_of_the_user_answers_instead(database, start_server):
    database.execute("""
        create schema mine;
        create function mine.respond(event switchboard.event) returns setof text
        language sql as $$ values ('Hello '), (event.user_name), ('!') $$""")
    server = start_server(database, profile="chatbot", routes="mine", jwt_secret=SECRET)
    client = connect(server)
    assert ask(client, "Hi", "s") == ["Hello ", "Ann", "!"]
    # Replaced while the client stays connected: the next message runs the new one.
    database.execute("""
        create or replace function mine.respond(event switchboard.event) returns setof text
        language sql as $$ select upper(event.body #>> '{data,message}') $$""")
    assert ask(client, "Hi", "s") == ["HI"]
    client.close()


def test_an_application_can_answer_later(shared):
    user = next(users)
    client = connect(shared, user)
    ask(client, "Hello", next(sessions))
    assert shared.database.value(
        """select switchboard.broadcast_to_user(%s, switchboard.create_chat_response(
               'm1', 'Later', true, '[{"documentName": "a.pdf", "pageNumber": 3, "text": "x"}]'))""",
        user) == 1
    assert payload_of(client.recv_json(), "chat_response") == {
        "messageId": "m1", "content": "Later", "isComplete": True,
        "retrievedChunks": [{"documentName": "a.pdf", "pageNumber": 3, "text": "x"}]}
    client.close()


# ---- errors ----

@pytest.mark.parametrize("data", [{}, {"data": {}}, {"data": {"message": ""}},
                                  {"data": {"message": 5}}, {"data": {"message": None}},
                                  {"data": "Hello"}], ids=str)
def test_a_message_without_content_is_invalid(shared, data):
    client = connect(shared)
    assert error_of(client, {"action": "chat_message", **data}) == {
        "code": "INVALID_MESSAGE", "retryable": False,
        "message": "Message content is required and must be a string."}
    client.close()


@pytest.mark.parametrize("message, text", [
    ({"action": "dance"}, "Unknown action: dance"),
    ({"action": "respond"}, "Unknown action: respond"),
    ({"action": "$connect"}, "Unknown action: $connect"),
    ({}, "An action is required."),
    ("hello", "Invalid JSON format.")], ids=str)
def test_an_unknown_action_is_an_error_that_is_not_retryable(shared, message, text):
    client = connect(shared)
    assert error_of(client, message) == \
        {"code": "INVALID_ACTION", "message": text, "retryable": False}
    client.close()


def test_who_is_nobody_has_to_reconnect(database, start_server):
    """Without the gateway's authorizer, and with a $connect that lets anybody in."""
    database.execute("""
        create schema open_house;
        create function open_house."$connect"(event switchboard.event)
        returns setof switchboard.delivery
        language sql as $$ select * from switchboard.accept() $$""")
    server = start_server(database, profile="chatbot", routes="open_house", auth="off")
    client = server.connect(welcome=False)
    assert error_of(client, {"action": "chat_message", "data": {"message": "Hello"}}) == {
        "code": "UNAUTHORIZED", "retryable": True,
        "message": "Authentication is required. Please reconnect."}
    client.close()


def test_an_error_inside_is_retryable_and_tells_nothing(shared):
    client = connect(shared)
    assert error_of(client, {"action": "fail"}) == {
        "code": "INTERNAL_ERROR", "message": "Internal server error", "retryable": True}
    client.close()


def test_who_is_too_fast_is_told_when_to_come_back(database, start_server):
    server = start_server(database, profile="chatbot", jwt_secret=SECRET,
                          rate_limit_connection="1/s:2")
    client = connect(server)
    for _ in range(2):
        ask(client, "Hello", "s")
    error = error_of(client, {"action": "chat_message", "data": {"message": "Hello"}})
    wait = error.pop("retryAfter")
    assert isinstance(wait, int) and 1 <= wait <= 2
    assert error == {"code": "RATE_LIMIT_EXCEEDED", "retryable": True,
                     "message": f"Rate limit exceeded. Try again in {wait} seconds."}
    client.close()


# ---- keep-alive and audit ----

def test_activity_renews_the_life_of_a_connection(shared):
    user = next(users)
    client = connect(shared, user)
    shared.database.execute(
        "update switchboard.websocket_connections set expires_at = now() + interval '60 s'"
        " where user_id = %s", user)
    ask(client, "Hello", next(sessions))
    wait_for(lambda: shared.database.value(
        "select expires_at > now() + interval '500 s' from switchboard.websocket_connections"
        " where user_id = %s", user), "expires_at has moved")
    client.close()


def test_every_action_is_in_the_audit(shared):
    user = next(users)
    client = connect(shared, user)
    ask(client, "a secret that is nobody's business", next(sessions))
    error_of(client, {"action": "dance"})
    client.close()
    for action in ("connect", "chat_message", "invalid_action", "disconnect"):
        shared.wait_line("audit", f"action={action}", user)
    assert "nobody's business" not in shared.log()
