# SPDX-License-Identifier: Apache-2.0
"""Section 11: order and delivery."""
import threading

import pytest
from functions import Raw
from gateway import TWO_WAY, describe
from harness import SECONDS, Refused, masked_head, wait_for


def is_message(event):
    return event["requestContext"]["eventType"] == "MESSAGE"


def test_11_no_message_before_connect_is_answered(gateway, functions):
    hold = functions.hold({"statusCode": 200})
    functions["app"] = hold
    client = gateway.connect(welcome=False, handshake=False)
    client.send_bytes(masked_head(0x81, 5) + b"early")
    functions.wait("CONNECT")
    assert gateway.http("GET", "/ready").status == 200  # it had the time to do it
    assert functions.events("MESSAGE") == []
    functions["app"] = lambda _: {"statusCode": 200}
    hold.release()
    client.finish_handshake()
    client.send("later")
    wait_for(lambda: "later" in [event["body"] for event in functions.events("MESSAGE")],
             "the message after the handshake")


def test_11_early_frames_of_a_refused_connect_go_nowhere(gateway, functions):
    hold = functions.hold({"statusCode": 403})
    functions["app"] = hold
    client = gateway.connect(welcome=False, handshake=False)
    client.send_bytes(masked_head(0x81, 5) + b"early")
    functions.wait("CONNECT")
    hold.release()
    with pytest.raises(Refused) as refusal:
        client.finish_handshake()
    assert refusal.value.answer.status == 403
    assert functions.events("MESSAGE") == []


def test_11_a_handler_may_wait_for_a_later_message(start, functions):
    second = threading.Event()

    def app(event):
        if is_message(event) and event["body"] == "first":
            assert second.wait(SECONDS)
        elif is_message(event):
            second.set()
        return {"statusCode": 200, "body": event.get("body", "")}

    functions["app"] = app
    client = start(describe(functions, {"$default": TWO_WAY})).open()
    client.send("first")
    client.send("second")
    assert sorted([client.recv(), client.recv()]) == ["first", "second"]


def test_11_messages_of_a_connection_run_concurrently(gateway, functions):
    client = gateway.open()
    hold = functions.hold({"statusCode": 200})
    functions["app"] = hold
    for number in range(20):
        client.send(f"message {number}")
    functions.wait("MESSAGE", 20)
    assert functions.most_running == 20
    hold.release()
    bodies = [event["body"] for event in functions.events("MESSAGE")]
    assert sorted(bodies) == sorted(f"message {number}" for number in range(20))


def test_11_a_slow_function_holds_up_no_other_connection(gateway, functions):
    slow, quick = gateway.open(), gateway.open()
    functions["app"] = functions.hold({"statusCode": 200})
    slow.send("slow")
    functions.wait("MESSAGE", 1)
    functions["app"] = lambda _: {"statusCode": 200}
    for number in range(2, 7):
        quick.send("quick")
        functions.wait("MESSAGE", number)
    quick.ping()


def test_11_many_more_messages_than_may_be_in_flight_all_arrive_once(gateway, functions):
    client = gateway.open()
    for number in range(300):
        client.send(str(number))
    bodies = [event["body"] for event in functions.wait("MESSAGE", 300)]
    assert sorted(bodies, key=int) == [str(number) for number in range(300)]


def test_11_disconnect_once_for_every_accepted_connection(gateway, functions):
    clients = [gateway.open() for _ in range(9)]
    for number, client in enumerate(clients):
        (client.close, client.drop, lambda c=client: c.drop(reset=True))[number % 3]()
    events = functions.wait("DISCONNECT", 9)
    assert sorted(event["requestContext"]["connectionId"] for event in events) \
        == sorted(client.id for client in clients)
    gateway.stop()
    assert len(functions.events("DISCONNECT")) == 9


def test_11_disconnect_comes_while_a_message_is_still_running(gateway, functions):
    client = gateway.open()
    functions["app"] = functions.hold({"statusCode": 200, "body": "too late"})
    client.send("slow")
    functions.wait("MESSAGE")
    functions["app"] = lambda _: {"statusCode": 200}
    client.close()
    functions.wait_one("DISCONNECT")


def test_11_an_answer_for_a_connection_that_is_gone_is_dropped(start, functions):
    gateway = start(describe(functions, {"$default": TWO_WAY}))
    client, other = gateway.open(), gateway.open()
    hold = functions.hold({"statusCode": 200, "body": "too late"})
    functions["app"] = hold
    client.send("slow")
    functions.wait("MESSAGE")
    functions["app"] = lambda _: {"statusCode": 200, "body": "in time"}
    client.drop()
    functions.wait_one("DISCONNECT")
    hold.release()
    other.send("hello")
    assert other.recv() == "in time"


def test_11_a_client_that_leaves_while_connect_is_held(gateway, functions):
    hold = functions.hold({"statusCode": 200})
    functions["app"] = hold
    client = gateway.connect(welcome=False, handshake=False)
    functions.wait("CONNECT")
    client.drop()
    functions["app"] = lambda _: {"statusCode": 200}
    hold.release()
    other = gateway.open()
    other.close()
    connection = other.id
    wait_for(lambda: connection in [event["requestContext"]["connectionId"]
                                    for event in functions.events("DISCONNECT")],
             "the other connection's DISCONNECT")


def test_11_posting_from_within_connect_is_410(gateway, functions):
    statuses = []

    def app(event):
        context = event["requestContext"]
        if context["eventType"] != "MESSAGE":
            statuses.append(gateway.management("POST", context["connectionId"], "hello").status)
        return {"statusCode": 200}

    functions["app"] = app
    client = gateway.open()
    assert statuses == [410]
    assert gateway.management("POST", client.id, "hello").status == 200
    assert client.recv() == "hello"


def test_11_posting_from_within_disconnect_is_410(gateway, functions):
    statuses = []

    def app(event):
        context = event["requestContext"]
        if context["eventType"] == "DISCONNECT":
            statuses.append(gateway.management("POST", context["connectionId"], "hello").status)
        return {"statusCode": 200}

    functions["app"] = app
    gateway.open().close()
    wait_for(lambda: statuses, "the answer inside $disconnect")
    assert statuses == [410]


def test_11_posts_one_after_the_other_arrive_in_order(gateway):
    client = gateway.open()
    for number in range(50):
        assert gateway.management("POST", client.id, str(number)).status == 200
    assert [client.recv() for _ in range(50)] == [str(number) for number in range(50)]


def test_11_a_handler_posts_to_its_own_connection(gateway, functions):
    def app(event):
        if is_message(event):
            connection = event["requestContext"]["connectionId"]
            assert gateway.management("POST", connection, "you said " + event["body"]).status == 200
        return {"statusCode": 200}

    functions["app"] = app
    client = gateway.open()
    client.send("hello")
    assert client.recv() == "you said hello"
    client.assert_silent()


def test_11_a_message_is_handed_over_at_most_once(gateway, functions):
    """The second request goes over a connection that was used before: the function reads it and
    breaks off without a word.  It may have done its work, so it must not be asked again."""
    client = gateway.open()
    client.send("first")
    functions.wait("MESSAGE")
    functions["app"] = lambda _: Raw(None)
    client.send("second")
    assert client.recv().startswith('{"message": "Internal server error"')
    functions["app"] = lambda _: {"statusCode": 200}
    client.send("third")
    bodies = [event["body"] for event in functions.wait("MESSAGE", 3)]
    assert bodies == ["first", "second", "third"]


def test_11_nothing_is_replayed_and_a_reconnect_has_a_new_id(gateway, functions):
    client = gateway.open()
    client.drop()
    functions.wait("DISCONNECT")
    assert gateway.management("POST", client.id, "lost").status == 410
    again = gateway.open()
    assert again.id != client.id
    again.assert_silent()


def test_11_stopping_the_gateway_disconnects_everybody(gateway, functions):
    clients = [gateway.open() for _ in range(5)]
    gateway.stop()
    events = functions.wait("DISCONNECT", 5)
    assert {event["requestContext"]["connectionId"] for event in events} \
        == {client.id for client in clients}
