# SPDX-License-Identifier: Apache-2.0
"""Every row of the careconnect profile's table."""
import time

import pytest
from harness import token, wait_for

SECRET = "a-secret-of-at-least-32-bytes-for-hs256!"
SETTINGS = {"jwt_secret": SECRET}
NOT_AUTHENTICATED = "User not authenticated"


def without_time(message, slack_ms=10000):
    """Checks the timestamp (integer Unix milliseconds) and leaves it out."""
    stamp = message.pop("timestamp")
    assert isinstance(stamp, int) and abs(stamp - time.time() * 1000) < slack_ms
    return message


def authenticated(server, user="u1", query="", **claims):
    client = server.connect(query)
    answer = client.ask({"type": "authenticate", "token": token(SECRET, userId=user, **claims)})
    assert answer["type"] == "authentication-success", answer
    return client


def test_the_welcome_names_the_connection(shared):
    client = shared.connect(welcome=False)
    welcome = client.recv_json()
    row = shared.database.row(welcome["sessionId"])
    assert row["is_active"]
    assert welcome == {"type": "connection-established",
                       "message": "Connected to CareConnect real-time service",
                       "sessionId": row["connection_id"]}
    client.close()


def test_subscribing_for_an_address_is_confirmed_as_it_was_written(shared):
    client = shared.connect()
    answer = client.ask({"type": "subscribe-email-verification", "email": "Ann@Example.com"})
    assert without_time(answer) == {
        "type": "email-verification-subscription-confirmed", "email": "Ann@Example.com",
        "message": "Subscribed to email verification notifications"}
    row = shared.database.row(client.id)
    assert row["user_email"] == "ann@example.com"
    assert row["subscription_type"] == "email-verification"
    client.close()


@pytest.mark.parametrize("message", [
    {}, {"email": ""}, {"email": None}, {"email": "   "}], ids=str)
def test_subscribing_without_an_address_is_an_error(shared, message):
    client = shared.connect()
    answer = client.ask({"type": "subscribe-email-verification", **message})
    assert without_time(answer) == {
        "type": "error", "message": "Email is required for email verification subscription"}
    client.close()


def test_a_good_token_authenticates_and_is_written_to_the_row(shared):
    client = shared.connect()
    answer = client.ask({"type": "authenticate", "token": token(
        SECRET, userId="u-auth", email="Carer@Example.com", role="CAREGIVER", username="Cara")})
    answer.pop("timestamp", None)
    assert answer == {"type": "authentication-success", "userId": "u-auth",
                      "userEmail": "Carer@Example.com", "userRole": "CAREGIVER"} \
        or answer == {"type": "authentication-success", "userId": "u-auth",
                      "userEmail": "carer@example.com", "userRole": "CAREGIVER"}
    row = shared.database.row(client.id)
    assert (row["user_id"], row["user_email"], row["user_name"], row["subscription_type"]) == \
        ("u-auth", "carer@example.com", "Cara", "authenticated")
    assert row["claims"]["role"] == "CAREGIVER"
    client.close()


@pytest.mark.parametrize("bad", [
    None, "", "not-a-token", token("another-secret-of-at-least-32-bytes!!!", userId="u1"),
    token(SECRET, userId="u1", exp=int(time.time()) - 3600)],
    ids=["none", "empty", "garbage", "wrong key", "expired"])
def test_a_bad_token_fails_and_the_connection_is_closed(shared, bad):
    client = shared.connect()
    message = {"type": "authenticate"}
    if bad is not None:
        message["token"] = bad
    answer = client.ask(message)
    answer.pop("timestamp", None)
    assert answer == {"type": "authentication-failed", "message": "Invalid or missing token"}
    assert client.wait_closed() == shared.seen_as(1008, "Authentication failed")
    row = shared.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == \
        shared.seen_as(1008, "Authentication failed")
    assert row["user_id"] is None


def test_updates_need_authentication(shared):
    client = shared.connect()
    answer = client.ask({"type": "subscribe-to-updates", "updateTypes": ["vitals"]})
    assert without_time(answer) == {"type": "error", "message": NOT_AUTHENTICATED}
    client.close()


def test_subscribing_to_updates_names_them_and_what_is_published_arrives(shared):
    client = authenticated(shared, "u-updates")
    answer = client.ask({"type": "subscribe-to-updates", "updateTypes": ["vitals", "mood"]})
    assert without_time(answer) == {"type": "subscription-confirmed", "userId": "u-updates",
                                    "subscribedTo": ["vitals", "mood"]}
    shared.database.execute("""select switchboard.publish('updates:sleep', '{"n": 1}'),
                                      switchboard.publish('updates:mood', '{"n": 2}')""")
    assert client.recv_json() == {"n": 2}
    client.close()


@pytest.mark.parametrize("message", [{}, {"updateTypes": []}, {"updateTypes": None}], ids=str)
def test_subscribing_to_no_update_in_particular_is_subscribing_to_all(shared, message):
    client = authenticated(shared, "u-all")
    answer = client.ask({"type": "subscribe-to-updates", **message})
    assert without_time(answer) == {"type": "subscription-confirmed", "userId": "u-all",
                                    "subscribedTo": ["all"]}
    shared.database.execute("""select switchboard.publish('updates:all', '{"n": 3}')""")
    assert client.recv_json() == {"n": 3}
    client.close()


def test_a_heartbeat_is_answered(shared):
    client = shared.connect()
    assert without_time(client.ask({"type": "heartbeat"})) == {"type": "heartbeat-response"}
    client.close()


def test_an_ai_chat_notification_reaches_every_connection_of_its_target(shared):
    sender = authenticated(shared, "u-from", username="Frida")
    targets = [authenticated(shared, "u-target") for _ in range(2)]
    other = authenticated(shared, "u-other")
    sender.send({"type": "ai-chat-notification", "targetUserId": "u-target",
                 "message": "How are you?", "conversationId": "c-1"})
    for target in targets:
        assert without_time(target.recv_json()) == {
            "type": "ai-chat-response", "fromUserId": "u-from", "fromUserName": "Frida",
            "conversationId": "c-1", "message": "How are you?"}
    other.assert_silent()
    for client in [sender, other, *targets]:
        client.close()


def test_a_medication_reminder_reaches_the_patient(shared):
    sender = authenticated(shared, "u-nurse")
    patient = authenticated(shared, "u-patient")
    sender.send({"type": "medication-reminder", "patientId": "u-patient",
                 "medicationName": "Aspirin", "reminderTime": "08:00"})
    assert without_time(patient.recv_json()) == {
        "type": "medication-reminder", "medicationName": "Aspirin", "reminderTime": "08:00",
        "message": "Time to take your Aspirin"}
    sender.close()
    patient.close()


@pytest.mark.parametrize("message", [
    {"type": "ai-chat-notification", "targetUserId": "u9", "message": "x", "conversationId": "c"},
    {"type": "medication-reminder", "patientId": "u9", "medicationName": "x",
     "reminderTime": "y"}], ids=lambda message: message["type"])
def test_messages_to_others_need_authentication(shared, message):
    client = shared.connect()
    assert without_time(client.ask(message)) == {"type": "error", "message": NOT_AUTHENTICATED}
    client.close()


@pytest.mark.parametrize("message", [
    {"type": "ai-chat-notification", "message": "x"},
    {"type": "medication-reminder", "medicationName": "x"}], ids=lambda message: message["type"])
def test_a_message_to_nobody_is_an_error(shared, message):
    client = authenticated(shared, "u-lonely")
    answer = without_time(client.ask(message))
    assert answer["type"] == "error" and answer["message"]
    client.close()


def test_an_unknown_type_is_an_error_that_names_it(shared):
    client = shared.connect()
    assert without_time(client.ask({"type": "dance"})) == {
        "type": "error", "message": "Unknown message type: dance"}
    client.close()


@pytest.mark.parametrize("text", [
    "hello", "", "{", '{"type":"heartbeat"} x', "[1,", "\ufeff{}", "nul", '{"a":"\\u0000"}'],
    ids=["word", "empty", "brace", "trailing", "bracket", "bom", "nul", "u0000"])
def test_what_is_not_json_is_an_error(shared, text):
    client = shared.connect()
    client.send(text)
    assert without_time(client.recv_json()) == {"type": "error", "message": "Invalid JSON format"}
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    client.close()


@pytest.mark.parametrize("text", [
    "{}", "[]", "7", '"text"', "null", '{"type":7}', '{"type":null}', '{"type":{"a":1}}',
    '[{"type":"heartbeat"}]', '{"type":""}'])
def test_json_without_a_usable_type_is_an_error(shared, text):
    client = shared.connect()
    client.send(text)
    assert without_time(client.recv_json())["type"] == "error"
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    client.close()


@pytest.mark.parametrize("action", [
    "$connect", "$disconnect", "$error", "$default", "heartbeat", "handle_message",
    "subscribe_email_verification", "authenticate"])
def test_an_action_names_no_function_of_the_profile(shared, action):
    client = shared.connect()
    answer = client.ask({"action": action, "type": "heartbeat"})
    assert answer["type"] == "heartbeat-response"
    assert shared.database.row(client.id)["is_active"]
    client.close()


def test_every_message_moves_the_last_activity(shared):
    client = shared.connect()
    connected = shared.database.row(client.id)["last_activity_at"]
    client.ask({"type": "heartbeat"})
    wait_for(lambda: shared.database.row(client.id)["last_activity_at"] > connected,
             "last_activity_at moved")
    client.close()
