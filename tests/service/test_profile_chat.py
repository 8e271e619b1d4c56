# SPDX-License-Identifier: Apache-2.0
"""Every row of the chat profile's table."""
import itertools
import time
import urllib.parse

import jwt
import pytest
from harness import ID, wait_for

SECRET = "a-secret-of-at-least-32-bytes-for-hs256!"
SETTINGS = {"profile": "chat", "demo_tokens": "on", "jwt_secret": SECRET}
names = (f"room-{n}" for n in itertools.count(1))


def data_of(frame, kind):
    """Checks {"type", "data"} and the timestamp (integer Unix seconds), which it leaves out."""
    assert set(frame) == {"type", "data"} and frame["type"] == kind, frame
    stamp = frame["data"].pop("timestamp")
    assert isinstance(stamp, int) and abs(stamp - time.time()) < 10, frame
    return frame["data"]


def join(server, room, user="u1", username=None, **more):
    """A client in a room, behind its welcome."""
    query = {"userId": user, "roomId": room, "token": "valid_1", **more}
    if username:
        query["username"] = username
    client = server.connect(urllib.parse.urlencode(query), welcome=False)
    client.id = data_of(client.recv_json(), "welcome")["connectionId"]
    # The node has to know that it is in the room before somebody else speaks.
    settle(client)
    return client


def settle(client):
    """After it has got something that was said in its room: it is subscribed."""
    client.send({"type": "chat", "message": "settle"})
    assert data_of(client.recv_json(), "chat")["message"] == "settle"


def group(server, room, *users):
    clients = []
    for user, username in users:
        clients.append(join(server, room, user, username))
    for number, client in enumerate(clients):
        for _ in clients[number + 1:]:
            assert data_of(client.recv_json(), "chat")["message"] == "settle"
    return clients


def close(*clients):
    for client in clients:
        client.close()


# ---- connecting ----

def test_the_welcome_names_connection_user_and_room(shared):
    client = shared.connect("userId=u1&username=Ann&roomId=general&token=valid_abc", welcome=False)
    welcome = data_of(client.recv_json(), "welcome")
    row = shared.database.row(welcome["connectionId"])
    assert ID.match(welcome["connectionId"]) and row["is_active"]
    assert welcome == {"connectionId": row["connection_id"], "userId": "u1", "roomId": "general",
                       "message": "Welcome to room general!"}
    assert (row["user_id"], row["user_name"], row["metadata"]) == \
        ("u1", "Ann", {"roomId": "general"})
    assert (row["expires_at"] - row["connected_at"]).total_seconds() == pytest.approx(86400, abs=60)
    client.close()


def test_all_parameters_are_optional(shared):
    client = shared.connect(welcome=False)
    welcome = data_of(client.recv_json(), "welcome")
    assert (welcome["userId"], welcome["roomId"]) == ("anonymous", "general")
    assert shared.database.row(welcome["connectionId"])["user_name"] is None
    client.close()


@pytest.mark.parametrize("token", ["invalid", "Valid_1", "a.b.c"])
def test_a_bad_token_is_refused_with_401(shared, token):
    answer = shared.refused(f"userId=u1&token={token}")
    assert answer.status == 401
    assert answer.json() == {"error": "Invalid authentication token"}


def test_a_token_of_production_says_who_it_is(shared):
    token = jwt.encode({"userId": "u-jwt", "username": "Jo", "exp": int(time.time()) + 600},
                       SECRET, algorithm="HS256")
    client = shared.connect(f"userId=mallory&username=Mallory&token={token}", welcome=False)
    welcome = data_of(client.recv_json(), "welcome")
    assert welcome["userId"] == "u-jwt"
    assert shared.database.row(welcome["connectionId"])["user_name"] == "Jo"
    client.close()


@pytest.mark.parametrize("claims, secret", [
    ({"exp": 1}, SECRET), ({}, SECRET + "x")], ids=["expired", "forged"])
def test_a_token_of_production_that_is_not_good_is_refused_with_this_profiles_body(
        shared, claims, secret):
    token = jwt.encode({"userId": "u1", "exp": int(time.time()) + 600, **claims}, secret,
                       algorithm="HS256")
    answer = shared.refused(f"userId=u1&token={token}")
    assert (answer.status, answer.json()) == (401, {"error": "Invalid authentication token"})


def test_a_shipped_route_is_replaced_while_clients_stay(database, start_server):
    """Every profile is SQL: the next message runs the new version."""
    server = start_server(database, profile="chat", jwt_secret=SECRET)
    client = server.connect("userId=u1", welcome=False)
    client.recv_json()
    assert client.ask({"type": "ping"})["type"] == "pong"
    database.execute("""
        create or replace function chat.ping(event switchboard.event)
        returns setof switchboard.delivery language sql as
        $$ select * from switchboard.reply('{"type":"pong","data":"new"}') $$""")
    assert client.ask({"type": "ping"}) == {"type": "pong", "data": "new"}
    client.close()


def test_without_the_demo_mode_a_demo_token_is_a_bad_one(database, start_server):
    server = start_server(database, profile="chat", jwt_secret=SECRET)
    answer = server.refused("userId=u1&token=valid_abc")
    assert (answer.status, answer.json()) == (401, {"error": "Invalid authentication token"})


# ---- chat ----

def test_a_message_reaches_everyone_in_the_room_and_the_sender(shared):
    room = next(names)
    ann, bob = group(shared, room, ("u1", "Ann"), ("u2", None))
    stranger = join(shared, next(names), "u3")
    ann.send({"type": "chat", "message": "Hi"})
    frames = [data_of(client.recv_json(), "chat") for client in (ann, bob)]
    assert frames[0] == frames[1]
    assert frames[0].pop("messageId")
    assert frames[0] == {"roomId": room, "senderId": "u1", "senderName": "Ann", "message": "Hi"}
    bob.send({"type": "chat", "message": "Ho", "roomId": room})
    frame = data_of(ann.recv_json(), "chat")
    assert (frame["senderId"], frame["senderName"], frame["message"]) == ("u2", "u2", "Ho")
    stranger.assert_silent()
    close(ann, bob, stranger)


@pytest.mark.parametrize("message", [{}, {"message": ""}, {"message": "  \n"}, {"message": None}],
                         ids=str)
def test_a_blank_message_is_an_error(shared, message):
    client = join(shared, next(names))
    answer = client.ask({"type": "chat", **message})
    assert data_of(answer, "error") == {"message": "Message cannot be empty"}
    client.close()


def test_one_speaks_only_where_one_is(shared):
    client = join(shared, next(names))
    answer = client.ask({"type": "chat", "message": "Hi", "roomId": "elsewhere"})
    assert data_of(answer, "error") == {"message": "Not in room elsewhere"}
    client.close()


# ---- rooms ----

def test_joining_a_room_leaves_the_old_one(shared):
    old, new = next(names), next(names)
    ann, stays = group(shared, old, ("u1", "Ann"), ("u2", None))
    there = join(shared, new, "u3")
    ann.send({"type": "join_room", "roomId": new})
    assert data_of(stays.recv_json(), "user_left") == \
        {"userId": "u1", "username": "Ann", "roomId": old}
    joined = {"userId": "u1", "username": "Ann", "roomId": new}
    assert data_of(there.recv_json(), "user_joined") == joined
    assert data_of(ann.recv_json(), "user_joined") == joined
    ann.send({"type": "chat", "message": "Hi"})
    assert data_of(there.recv_json(), "chat")["roomId"] == new
    stays.send({"type": "chat", "message": "gone?"})
    assert data_of(stays.recv_json(), "chat")["message"] == "gone?"
    assert data_of(ann.recv_json(), "chat")["message"] == "Hi"
    ann.assert_silent()
    close(ann, stays, there)


@pytest.mark.parametrize("message", [{}, {"roomId": ""}, {"roomId": None}], ids=str)
def test_joining_no_room_is_an_error(shared, message):
    client = join(shared, next(names))
    answer = client.ask({"type": "join_room", **message})
    assert data_of(answer, "error") == {"message": "Room ID required"}
    client.close()


def test_leaving_a_room_leads_back_to_general(shared):
    room = next(names)
    ann, stays = group(shared, room, ("u1", "Ann"), ("u2", None))
    ann.send({"type": "leave_room"})
    assert data_of(stays.recv_json(), "user_left") == \
        {"userId": "u1", "username": "Ann", "roomId": room}
    ann.send({"type": "chat", "message": "back"})
    frame = data_of(ann.recv_json(), "chat")
    assert (frame["roomId"], frame["message"]) == ("general", "back")
    stays.assert_silent()
    close(ann, stays)


def test_the_list_of_rooms_counts_their_users(shared):
    room = next(names)
    clients = group(shared, room, ("u1", None), ("u2", None), ("u2", None))
    answer = data_of(clients[0].ask({"type": "room_list"}), "room_list")
    assert set(answer) == {"rooms"}
    assert {"roomId": room, "activeUsers": 2} in answer["rooms"]
    assert "general" in [entry["roomId"] for entry in answer["rooms"]]
    close(*clients)


# ---- private messages ----

def test_a_private_message_reaches_every_connection_of_its_target(shared):
    ann = join(shared, next(names), "u-from", "Ann")
    targets = [join(shared, next(names), "u-to") for _ in range(2)]
    other = join(shared, next(names), "u-other")
    ann.send({"type": "private_message", "targetUserId": "u-to", "message": "psst"})
    for target in targets:
        assert data_of(target.recv_json(), "private_message") == \
            {"senderId": "u-from", "senderName": "Ann", "message": "psst"}
    ann.assert_silent()
    other.assert_silent()
    close(ann, other, *targets)


def test_a_private_message_to_somebody_offline_is_an_error(shared):
    client = join(shared, next(names))
    answer = client.ask({"type": "private_message", "targetUserId": "nobody", "message": "psst"})
    assert data_of(answer, "error") == {"message": "Target user not found or offline"}
    client.close()


# ---- typing, ping, anything else ----

def test_typing_is_shown_to_the_others_and_never_stored(shared):
    room = next(names)
    ann, bob = group(shared, room, ("u1", "Ann"), ("u2", None))
    for is_typing in (True, False):
        ann.send({"type": "typing_indicator", "isTyping": is_typing})
        assert data_of(bob.recv_json(), "typing_indicator") == \
            {"userId": "u1", "username": "Ann", "roomId": room, "isTyping": is_typing}
    ann.assert_silent()
    assert shared.database.value(
        "select count(*) from switchboard.websocket_messages"
        " where payload::text like '%%typing_indicator%%'") == 0
    close(ann, bob)


def test_a_ping_is_answered(shared):
    client = join(shared, next(names))
    assert data_of(client.ask({"type": "ping"}), "pong") == {}
    client.close()


@pytest.mark.parametrize("kind", ["dance", "$connect", "$disconnect", "frame", "enter_room"])
def test_an_unknown_type_is_an_error_that_names_it(shared, kind):
    client = join(shared, next(names))
    answer = client.ask({"type": kind})
    assert data_of(answer, "error") == {"message": f"Unknown message type: {kind}"}
    client.close()


@pytest.mark.parametrize("text", ["hello", "", "{", '{"type":"ping"} x'])
def test_what_is_not_json_is_an_error(shared, text):
    client = join(shared, next(names))
    client.send(text)
    assert data_of(client.recv_json(), "error") == {"message": "Invalid JSON format"}
    client.close()


# ---- history ----

def test_history_is_newest_first_and_paged(shared):
    room = next(names)
    ann = join(shared, room, "u1", "Ann")
    for number in range(1, 6):
        ann.send({"type": "chat", "message": f"m{number}"})
        assert data_of(ann.recv_json(), "chat")["message"] == f"m{number}"
    ann.send({"type": "typing_indicator", "isTyping": True})
    page = data_of(ann.ask({"type": "history", "limit": 4}), "history")
    assert [message["message"] for message in page["messages"]] == ["m5", "m4", "m3", "m2"]
    assert (page["roomId"], page["hasMore"]) == (room, True)
    newest = page["messages"][0]
    assert set(newest) == {"seq", "messageId", "roomId", "senderId", "senderName", "message",
                           "timestamp"}
    assert (newest["senderId"], newest["senderName"], newest["roomId"]) == ("u1", "Ann", room)
    page = data_of(ann.ask({"type": "history", "limit": 4,
                            "before": page["messages"][-1]["seq"]}), "history")
    assert [message["message"] for message in page["messages"]] == ["m1", "settle"]
    assert page["hasMore"] is False
    ann.close()


def test_history_is_there_for_those_who_come_later(shared):
    room = next(names)
    ann = join(shared, room)
    ann.send({"type": "chat", "message": "early"})
    ann.recv_json()
    ann.close()
    bob = join(shared, room, "u2")
    page = data_of(bob.ask({"type": "history", "roomId": room}), "history")
    assert "early" in [message["message"] for message in page["messages"]]
    bob.close()


def test_history_is_only_of_rooms_that_one_is_in(shared):
    client = join(shared, next(names))
    answer = client.ask({"type": "history", "roomId": "elsewhere"})
    assert data_of(answer, "error") == {"message": "Not in room elsewhere"}
    client.close()


# ---- the state in the database ----

def test_an_application_can_move_a_connection_into_a_topic(shared):
    client = join(shared, next(names))
    topic = f"room:{next(names)}"
    assert shared.database.value("select switchboard.subscribe(%s, %s)", client.id, topic)
    shared.database.execute("""select switchboard.publish(%s, '{"n": 1}')""", topic)
    assert client.recv_json() == {"n": 1}
    client.close()


def test_leaving_takes_a_connection_out_of_its_room(shared):
    room = next(names)
    ann, bob = group(shared, room, ("u1", None), ("u2", None))
    bob.close()
    shared.database.wait_inactive(bob.id)
    wait_for(lambda: shared.database.value(
        "select count(*) from switchboard.websocket_subscriptions where topic = %s",
        f"room:{room}") == 1, "only one is left")
    answer = data_of(ann.ask({"type": "room_list"}), "room_list")
    assert {"roomId": room, "activeUsers": 1} in answer["rooms"]
    ann.assert_silent()
    ann.close()


# ---- resuming ----

def test_a_client_that_comes_back_gets_what_it_missed_and_then_goes_on(shared):
    room = next(names)
    ann, bob = group(shared, room, ("u1", None), ("u2", None))
    answer = ann.ask({"type": "history", "limit": 1})
    seen = answer["data"]["messages"][0]["seq"]
    ann.close()
    for number in range(5):
        bob.send({"type": "chat", "message": f"missed {number}"})
        bob.recv_json()
    resume = urllib.parse.quote(f'{{"room:{room}": {seen}}}')
    ann = shared.connect(f"userId=u1&roomId={room}&resume={resume}", welcome=False)
    assert ann.recv_json()["type"] == "welcome"
    bob.send({"type": "chat", "message": "live"})
    frames = [ann.recv_json() for _ in range(6)]
    assert [frame["data"]["message"] for frame in frames] == \
        [f"missed {number}" for number in range(5)] + ["live"]
    numbers = [frame["seq"] for frame in frames]
    assert numbers == sorted(set(numbers)) and numbers[0] > seen
    assert "seq" not in bob.recv_json()
    close(ann, bob)
