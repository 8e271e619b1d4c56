# SPDX-License-Identifier: Apache-2.0
"""An address is verified: the newest client that waits for it is told, exactly once."""
import json
import threading
import time

import pytest
from harness import call

SETTINGS = {"routes": "app"}
SQL = """
    create schema app;
    create function app.verify(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object(
            'told', switchboard.notify_email_verified(event.body ->> 'email')))
    $$;
"""
SUBSCRIBE = "type=email-verification&email="


def by_sql(server, address):
    return server.database.value("select switchboard.notify_email_verified(%s)", address)


def by_http(server, address):
    answer = server.http("POST", "/email-verifications", json.dumps({"email": address}))
    assert answer.status == 200, answer
    assert answer.json()["email"] == address
    return answer.json()["delivered"]


def by_route(server, address):
    client = server.connect()
    answer = client.ask({"action": "verify", "email": address})
    client.close()
    return answer["told"]


WAYS = pytest.mark.parametrize("verify", [by_sql, by_http, by_route])


def assert_verified(client, address):
    message = client.recv_json()
    stamp = message.pop("timestamp")
    assert abs(stamp - time.time() * 1000) < 10000
    assert message == {"type": "email-verified", "email": address, "verified": True,
                       "message": "Your email has been verified successfully!"}


def assert_deregistered(server, client):
    row = server.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1000, "Email verified")
    assert row["disconnected_at"] is not None


@WAYS
def test_the_listener_is_told_and_deregistered_and_its_socket_stays_open(shared, verify):
    address = f"{verify.__name__}@example.com"
    client = shared.connect(SUBSCRIBE + address)
    assert verify(shared, address) is True
    assert_verified(client, address)
    assert_deregistered(shared, client)
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert verify(shared, address) is False
    client.assert_silent()
    client.close()


def test_the_command_tells_the_listener_and_says_whether_there_was_one(shared):
    client = shared.connect(SUBSCRIBE + "cli@example.com")
    told = shared.command("verify-email", "cli@example.com")
    assert (told.returncode, told.stdout) == (0, "delivered\n"), told.stderr
    assert_verified(client, "cli@example.com")
    assert_deregistered(shared, client)
    nobody = shared.command("verify-email", "cli@example.com")
    assert (nobody.returncode, nobody.stdout) == (0, "nobody was waiting for this address\n")
    answer = shared.command("verify-email", "cli@example.com", "--json").stdout
    assert json.loads(answer) == {"email": "cli@example.com", "delivered": False}
    client.assert_silent()
    client.close()


@WAYS
def test_without_a_listener_the_caller_is_told_and_nothing_fails(shared, verify):
    assert verify(shared, "nobody@example.com") is False


def test_it_is_told_when_the_transaction_commits(shared):
    client = shared.connect(SUBSCRIBE + "commit@example.com")
    session = shared.database.connect()
    assert call(session, "select switchboard.notify_email_verified('commit@example.com')") is True
    client.assert_silent()
    assert shared.database.row(client.id)["is_active"]
    session.commit()
    assert_verified(client, "commit@example.com")
    client.close()


def test_a_rollback_tells_nobody_and_leaves_the_subscription(shared):
    client = shared.connect(SUBSCRIBE + "rollback@example.com")
    session = shared.database.connect()
    assert call(session, "select switchboard.notify_email_verified('rollback@example.com')")
    session.rollback()
    assert shared.database.row(client.id)["is_active"]
    assert by_sql(shared, "rollback@example.com") is True
    assert_verified(client, "rollback@example.com")
    client.assert_silent()
    client.close()


@pytest.mark.parametrize("written, verified", [
    ("Upper@Example.COM", "upper@example.com"), ("lower@example.com", "LOWER@EXAMPLE.COM"),
    ("blank@example.com", "  blank@example.com ")])
def test_addresses_are_compared_in_lower_case(shared, written, verified):
    client = shared.connect()
    client.ask({"type": "subscribe-email-verification", "email": written})
    assert by_sql(shared, verified) is True
    assert_verified(client, written.lower())
    client.close()


def test_the_newest_of_two_is_told_and_then_the_older_one(shared):
    older = shared.connect(SUBSCRIBE + "two@example.com")
    newer = shared.connect(SUBSCRIBE + "two@example.com")
    assert by_sql(shared, "two@example.com") is True
    assert_verified(newer, "two@example.com")
    older.assert_silent()
    assert by_sql(shared, "two@example.com") is True
    assert_verified(older, "two@example.com")
    assert by_sql(shared, "two@example.com") is False
    newer.assert_silent()
    older.close()
    newer.close()


def test_the_newest_that_is_still_there_is_told(shared):
    older = shared.connect(SUBSCRIBE + "gone@example.com")
    newer = shared.connect(SUBSCRIBE + "gone@example.com")
    newer.close()
    shared.database.wait_inactive(newer.id)
    assert by_sql(shared, "gone@example.com") is True
    assert_verified(older, "gone@example.com")
    older.close()


def test_verified_before_anybody_subscribed_is_told_to_nobody_later(shared):
    assert by_sql(shared, "early@example.com") is False
    client = shared.connect(SUBSCRIBE + "early@example.com")
    client.assert_silent()
    assert by_sql(shared, "early@example.com") is True
    assert_verified(client, "early@example.com")
    client.close()


def test_who_subscribes_again_is_told_again(shared):
    client = shared.connect(SUBSCRIBE + "again@example.com")
    assert by_sql(shared, "again@example.com") is True
    assert_verified(client, "again@example.com")
    assert_deregistered(shared, client)
    client.ask({"type": "subscribe-email-verification", "email": "again@example.com"})
    assert shared.database.row(client.id)["is_active"]
    assert by_sql(shared, "again@example.com") is True
    assert_verified(client, "again@example.com")
    client.close()
    row = shared.database.wait_inactive(client.id)
    assert row["disconnect_code"] == 1000


def test_who_subscribes_for_another_address_no_longer_gets_the_first(shared):
    client = shared.connect(SUBSCRIBE + "first@example.com")
    client.ask({"type": "subscribe-email-verification", "email": "second@example.com"})
    assert by_sql(shared, "first@example.com") is False
    assert by_sql(shared, "second@example.com") is True
    assert_verified(client, "second@example.com")
    client.close()


def test_an_address_without_the_subscription_type_is_no_listener(shared):
    client = shared.connect("email=plain@example.com&type=notifications")
    assert by_sql(shared, "plain@example.com") is False
    client.assert_silent()
    client.close()


def test_two_callers_at_once_reach_two_listeners_once_each(shared):
    clients = [shared.connect(SUBSCRIBE + "race@example.com") for _ in range(2)]
    sessions = [shared.database.connect() for _ in range(4)]
    told = []

    def verify(session):
        told.append(call(session, "select switchboard.notify_email_verified('race@example.com')"))
        session.commit()
    threads = [threading.Thread(target=verify, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False, False, True, True]
    for client in clients:
        assert_verified(client, "race@example.com")
        client.assert_silent()
        client.close()


@pytest.mark.parametrize("body", ["", "hello", "{}", '{"email":7}', '{"email":""}', "[]"])
def test_a_bad_request_to_verify_is_answered_400(shared, body):
    answer = shared.http("POST", "/email-verifications", body)
    assert answer.status == 400
    assert answer.json()


def test_only_post_verifies(shared):
    assert shared.http("GET", "/email-verifications").status == 405
