# SPDX-License-Identifier: Apache-2.0
"""Section 2: what becomes of a function's result."""
import asyncio
import base64
import datetime
import json

import pytest
import websockets
from functions import THROTTLED, FunctionError, Raw
from gateway import TWO_WAY, describe, error_frame
from harness import SECONDS


def fails(message="boom", kind="Error"):
    def function(_):
        raise FunctionError(message, kind)
    return function


def messages_only(function):
    """Lets everybody in and out; the messages are the function's."""
    def app(event):
        is_message = event["requestContext"]["eventType"] == "MESSAGE"
        return function(event) if is_message else {"statusCode": 200}
    return app


@pytest.fixture
def two_way(start, functions):
    """Everything goes to "app" and its bodies to the client."""
    return start(describe(functions, {"$default": TWO_WAY}))


# ---- 2.1: $connect ----

@pytest.mark.parametrize("status", [200, 201, 204, 299, "200"])
def test_2_1_success_is_101(gateway, functions, status):
    functions["app"] = lambda _: {"statusCode": status, "body": "never shown"}
    client = gateway.open()
    assert client.status_line == "HTTP/1.1 101 Switching Protocols"
    client.assert_silent()


def test_2_1_the_handshake_is_held_until_the_function_has_answered(gateway, functions):
    hold = functions.hold({"statusCode": 200})
    functions["app"] = hold
    client = gateway.connect(welcome=False, handshake=False)
    functions.wait("CONNECT")
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    hold.release()
    client.finish_handshake()


def test_2_1_the_101_has_only_these_headers(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 200, "headers": {
        "X-Custom": "1", "Set-Cookie": "a=b", "Content-Type": "text/plain", "x-amzn-thing": "2"}}
    names = sorted(name.lower() for name, _ in gateway.open().answer.headers)
    assert names == ["connection", "date", "sec-websocket-accept", "upgrade"]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 501, 503])
def test_2_1_any_other_status_is_the_handshakes(gateway, functions, status):
    functions["app"] = lambda _: {"statusCode": status, "body": "no  {entry} \u00e4"}
    answer = gateway.refused()
    assert answer.status == status
    assert answer.body.decode() == "no  {entry} \u00e4"


def test_2_1_the_headers_of_a_refusal(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 403, "body": '{"a":1}',
                                  "headers": {"content-type": "application/json"}}
    answer = gateway.refused()
    assert sorted(name.lower() for name, _ in answer.headers) \
        == ["connection", "content-length", "content-type", "date", "x-amz-apigw-id"]
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header("content-length") == "7"
    assert answer.header("connection") == "keep-alive"
    assert answer.header("x-amz-apigw-id") \
        == functions.wait_one("CONNECT")["requestContext"]["requestId"]
    datetime.datetime.strptime(answer.header("date"), "%a, %d %b %Y %H:%M:%S GMT")


def test_2_1_a_refusal_without_a_body(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 401}
    answer = gateway.refused()
    assert (answer.status, answer.body) == (401, b"")


def test_2_1_a_refusal_with_an_encoded_body(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 403, "isBase64Encoded": True,
                                  "body": base64.b64encode(b"plain").decode()}
    assert gateway.refused().body == b"plain"


def test_2_1_stock_clients_see_the_status(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 401}
    with pytest.raises(websockets.InvalidStatusCode) as refusal:
        asyncio.run(stock_client(gateway))
    assert refusal.value.status_code == 401


async def stock_client(gateway, *messages, **options):
    """What the library's own client gets: the subprotocol and an answer to each message."""
    async with websockets.connect(gateway.url(), **options) as client:
        answers = []
        for message in messages:
            await client.send(message)
            answers.append(await asyncio.wait_for(client.recv(), SECONDS))
        return client.subprotocol, answers


def check_refused_by_gateway(gateway, functions, status, message):
    answer = gateway.refused()
    event = functions.wait_one("CONNECT")
    assert answer.status == status
    assert answer.body.decode() == error_frame(message, event)
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header("x-amz-apigw-id") == event["requestContext"]["requestId"]
    assert answer.header("x-amzn-errortype") is None
    assert answer.header("x-amzn-requestid") is None


@pytest.mark.parametrize("kind", ["Error", "TypeError", "Runtime.ExitError"])
def test_2_1_lambda_throws_is_502(gateway, functions, kind):
    functions["app"] = fails("boom", kind)
    check_refused_by_gateway(gateway, functions, 502, "Internal server error")


def test_2_1_what_the_function_says_about_its_error_stays_inside(gateway, functions):
    functions["app"] = fails("the password is 1234")
    assert b"1234" not in gateway.refused().body


@pytest.mark.parametrize("result", [
    {}, {"body": "x"}, {"statusCode": "many"}, {"statusCode": None}, {"statusCode": [200]},
    {"statusCode": 200.5}, [], "text", 7, True, {"statusCode": 200, "body": {"a": 1}}])
def test_2_1_malformed_is_502(gateway, functions, result):
    functions["app"] = lambda _: result
    check_refused_by_gateway(gateway, functions, 502, "Internal server error")


@pytest.mark.parametrize("text", ["", "{", "not json", '{"statusCode":200}}'])
def test_2_1_no_json_is_502(gateway, functions, text):
    functions["app"] = lambda _: Raw(200, text)
    check_refused_by_gateway(gateway, functions, 502, "Internal server error")


# The runtime interface emulator does not send X-Amz-Function-Error: what it answers looks like a
# result, with status 200.
EMULATOR = {
    "raised": '{"errorType":"Error","errorMessage":"failure","trace":["Error: failure"]}',
    "raised_in_python": '{"errorMessage": "x", "errorType": "KeyError", "stackTrace": []}',
    "timed_out": "Task timed out after 1.00 seconds",
    "exited": "",
}


@pytest.mark.parametrize("row", EMULATOR)
def test_2_1_what_the_emulator_says_of_an_error_is_502(gateway, functions, row):
    functions["app"] = lambda _: Raw(200, EMULATOR[row])
    check_refused_by_gateway(gateway, functions, 502, "Internal server error")


def test_2_1_a_time_out_is_504(start, functions):
    api = describe(functions)
    api["integrations"]["app"]["timeoutInMillis"] = 200
    functions["app"] = functions.hold()
    check_refused_by_gateway(start(api), functions, 504, "Endpoint request timed out")


def test_2_1_a_throttled_function_is_a_server_error(gateway, functions):
    functions["app"] = lambda _: THROTTLED
    answer = gateway.refused()
    assert answer.status >= 500
    assert json.loads(answer.body)["message"] == "Internal server error"


def test_2_1_no_function_to_be_reached_is_a_server_error(start, functions):
    api = describe(functions)
    functions.close()
    answer = start(api).refused()
    assert answer.status >= 500
    assert json.loads(answer.body)["message"] == "Internal server error"


def test_2_1_no_subprotocol_unless_the_function_says_so(gateway):
    client = gateway.open(subprotocols=["one", "two"])
    assert client.answer.header("sec-websocket-protocol") is None


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "sec-websocket-protocol"])
def test_2_1_the_functions_choice_of_a_subprotocol_is_echoed(gateway, functions, name):
    functions["app"] = lambda _: {"statusCode": 200, "headers": {name: "two"}}
    client = gateway.open(subprotocols=["one", "two"])
    assert client.answer.header("sec-websocket-protocol") == "two"
    assert client.protocol.subprotocol == "two"


def test_2_1_a_subprotocol_in_multi_value_headers_counts_too(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 200,
                                  "multiValueHeaders": {"Sec-WebSocket-Protocol": ["two"]}}
    client = gateway.open(subprotocols=["one", "two"])
    assert client.answer.header("sec-websocket-protocol") == "two"


def test_2_1_stock_clients_take_the_subprotocol(gateway, functions):
    def app(event):
        offered = event.get("headers", {}).get("Sec-WebSocket-Protocol", "").split(",")
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": offered[0].strip()}}
    functions["app"] = app
    assert asyncio.run(stock_client(gateway, subprotocols=["one", "two"])) == ("one", [])


def test_2_1_no_connect_route_accepts(start, functions):
    client = start(describe(functions, {"$connect": None})).open()
    client.send("hello")
    functions.wait_one("MESSAGE")
    assert functions.events("CONNECT") == []


# ---- 2.2: message routes ----

@pytest.mark.parametrize("status", [200, 301, 401, 501])
def test_2_2_one_way_shows_nothing_of_the_result(gateway, functions, status):
    functions["app"] = messages_only(lambda _: {"statusCode": status, "body": "unseen"})
    client = gateway.open()
    client.send("hello")
    functions.wait("MESSAGE")
    client.close()
    functions.wait("DISCONNECT")
    assert client.messages == []


def test_2_2_one_way_null_is_no_fault(gateway, functions):
    functions["app"] = messages_only(lambda _: None)
    client = gateway.open()
    client.send("hello")
    functions.wait("MESSAGE")
    client.close()
    functions.wait("DISCONNECT")
    assert client.messages == []


@pytest.mark.parametrize("status", [200, 301, 403, 500, 503])
def test_2_2_two_way_delivers_the_body_whatever_the_status(two_way, functions, status):
    functions["app"] = messages_only(lambda _: {"statusCode": status, "body": "an answer"})
    assert ask_text(two_way.open(), "hello") == "an answer"


def ask_text(client, text):
    client.send(text)
    return client.recv()


@pytest.mark.parametrize("body", [
    '{"message" : "spaced",  "n":1.0}', "\u00e4\u20ac\U0001f600", 'quote " \\ \t\n', "{broken",
    "\u0001\u001f", " leading and trailing "])
def test_2_2_the_body_is_sent_byte_for_byte(two_way, functions, body):
    functions["app"] = messages_only(lambda _: {"statusCode": 200, "body": body})
    assert ask_text(two_way.open(), "hello") == body


@pytest.mark.parametrize("body, sent", [
    ("a\u0000b", "a\ufffdb"), ("half \ud83d of a pair", "half \ufffd of a pair")])
def test_2_2_what_is_no_character_is_replaced(two_way, functions, body, sent):
    functions["app"] = messages_only(lambda _: {"statusCode": 200, "body": body})
    assert ask_text(two_way.open(), "hello") == sent


@pytest.mark.parametrize("result", [{"statusCode": 200, "body": ""}, {"statusCode": 200},
                                    {"statusCode": 200, "body": None}])
def test_2_2_two_way_without_a_body_sends_an_empty_message(two_way, functions, result):
    functions["app"] = messages_only(lambda _: result)
    assert ask_text(two_way.open(), "hello") == ""


def test_2_2_an_encoded_body_is_decoded_and_sent_as_text(two_way, functions):
    functions["app"] = messages_only(lambda _: {
        "statusCode": 200, "isBase64Encoded": True,
        "body": base64.b64encode("caf\u00e9".encode()).decode()})
    assert ask_text(two_way.open(), "hello") == "caf\u00e9"


def test_2_2_bytes_that_are_no_text_are_replaced(two_way, functions):
    functions["app"] = messages_only(lambda _: {
        "statusCode": 200, "isBase64Encoded": True,
        "body": base64.b64encode(b"a\xff\xfeb").decode()})
    assert ask_text(two_way.open(), "hello") == "a\ufffd\ufffdb"


def test_2_2_headers_of_an_answer_mean_nothing(two_way, functions):
    functions["app"] = messages_only(lambda _: {
        "statusCode": 200, "body": "x", "headers": {"Content-Type": "application/octet-stream"}})
    assert ask_text(two_way.open(), "hello") == "x"


def test_2_2_the_largest_body_arrives(two_way, functions):
    functions["app"] = messages_only(lambda _: {"statusCode": 200, "body": "x" * 131072})
    assert ask_text(two_way.open(), "hello") == "x" * 131072


def test_2_2_a_larger_body_closes_with_1009(two_way, functions):
    functions["app"] = messages_only(lambda _: {"statusCode": 200, "body": "x" * 131073})
    client = two_way.open()
    client.send("hello")
    assert client.wait_closed()[0] == 1009


def test_2_2_stock_clients_get_text(two_way, functions):
    functions["app"] = messages_only(lambda event: {"statusCode": 200, "body": event["body"]})
    text = "caf\u00e9 " * 5000
    assert asyncio.run(stock_client(two_way, text, "x")) == (None, [text, "x"])


# ---- 2.3: frames that the gateway makes; the socket stays open ----

def directions(functions):
    return [describe(functions), describe(functions, {"$default": TWO_WAY})]


@pytest.fixture(params=["one-way", "two-way"])
def either(request, start, functions):
    """Each of these tests on a route without and on one with a response."""
    return start(directions(functions)[request.param == "two-way"])


def check_fault(gateway, functions, message="Internal server error"):
    client = gateway.open()
    client.send("hello")
    frame = client.recv()
    event = functions.wait_one("MESSAGE")
    assert frame == error_frame(message, event)
    functions["app"] = lambda _: {"statusCode": 200, "body": "again"}
    client.send("hello")
    functions.wait("MESSAGE", 2)
    client.ping()


def test_2_3_lambda_throws_sends_a_frame(either, functions):
    functions["app"] = messages_only(fails())
    check_fault(either, functions)


@pytest.mark.parametrize("result", [{"statusCode": "many"}, {"statusCode": {}},
                                    {"statusCode": 200, "body": 7}])
def test_2_3_malformed_sends_a_frame(either, functions, result):
    functions["app"] = messages_only(lambda _: result)
    check_fault(either, functions)


def test_2_3_no_json_sends_a_frame(either, functions):
    functions["app"] = messages_only(lambda _: Raw(200, "<html>"))
    check_fault(either, functions)


@pytest.mark.parametrize("row", ["raised", "raised_in_python", "timed_out"])
def test_2_3_what_the_emulator_says_of_an_error_sends_a_frame(either, functions, row):
    functions["app"] = messages_only(lambda _: Raw(200, EMULATOR[row]))
    check_fault(either, functions)


def test_2_3_two_way_null_sends_a_frame(two_way, functions):
    functions["app"] = messages_only(lambda _: None)
    check_fault(two_way, functions)


def test_2_3_a_missing_function_sends_a_frame(either, functions):
    functions["app"] = messages_only(lambda _: Raw(
        404, '{"Type":"User","Message":"Function not found"}',
        [("x-amzn-ErrorType", "ResourceNotFoundException")]))
    check_fault(either, functions)


def test_2_3_a_throttled_function_sends_a_frame(either, functions):
    functions["app"] = messages_only(lambda _: THROTTLED)
    check_fault(either, functions)


def test_2_3_a_broken_connection_sends_a_frame(either, functions):
    functions["app"] = messages_only(lambda _: Raw(None))
    check_fault(either, functions)


@pytest.mark.parametrize("is_two_way", [False, True])
def test_2_3_a_time_out_sends_a_frame(start, functions, is_two_way):
    api = directions(functions)[is_two_way]
    api["integrations"]["app"]["timeoutInMillis"] = 200
    functions["app"] = messages_only(functions.hold())
    check_fault(start(api), functions, "Endpoint request timed out")


def test_2_3_no_route_sends_forbidden(start, functions):
    client = start(describe(functions, {"$default": None, "join": "app"})).open()
    client.send('{"action":"leave"}')
    frame = client.recv()
    assert frame.startswith('{"message": "Forbidden", "connectionId":"%s", "requestId":"'
                            % client.id)
    client.send('{"action":"join"}')
    functions.wait_one("MESSAGE")
    client.assert_silent()


# ---- 2.4: $disconnect ----

@pytest.mark.parametrize("result", ["throws", "malformed", "503", "gone"])
def test_2_4_the_result_of_disconnect_is_ignored(gateway, functions, result):
    answers = {"throws": fails(), "malformed": lambda _: "?", "503": lambda _: {"statusCode": 503},
               "gone": lambda _: Raw(None)}
    other = gateway.open()
    client = gateway.open()
    functions["app"] = answers[result]
    assert client.close(1000, "bye") == (1000, "bye")
    functions.wait_one("DISCONNECT")
    other.assert_silent()


def test_2_4_disconnect_is_not_tried_again(gateway, functions):
    first, second = gateway.open(), gateway.open()
    functions["app"] = fails()
    first.close()
    functions.wait("DISCONNECT")
    second.close()
    ids = [event["requestContext"]["connectionId"] for event in functions.wait("DISCONNECT", 2)]
    assert ids == [first.id, second.id]


def test_2_4_no_disconnect_for_a_refused_connect(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 403}
    gateway.refused()
    functions["app"] = lambda _: {"statusCode": 200}
    gateway.open().close()
    functions.wait("DISCONNECT")
    assert len(functions.events("DISCONNECT")) == 1


def test_2_4_no_disconnect_route_nothing_is_called(start, functions):
    gateway = start(describe(functions, {"$disconnect": None}))
    gateway.open().close()
    gateway.open().send("hello")
    functions.wait("MESSAGE")
    assert functions.events("DISCONNECT") == []
