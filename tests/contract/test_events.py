# SPDX-License-Identifier: Apache-2.0
"""Section 1: the events that a Lambda proxy integration gets."""
import datetime
import re
import time

import pytest
from functions import Raw
from gateway import describe
from harness import ID, REQUEST_ID, Client, read_answer

IDENTITY = ["userAgent", "sourceIp"]
CONTEXT = ["routeKey", "authorizer", "eventType", "extendedRequestId", "requestTime",
           "messageDirection", "stage", "connectedAt", "requestTimeEpoch", "identity", "requestId",
           "domainName", "connectionId", "apiId"]
MESSAGE_CONTEXT = CONTEXT[:2] + ["messageId"] + CONTEXT[2:]
DISCONNECT_CONTEXT = (["routeKey", "disconnectStatusCode", "authorizer"] + CONTEXT[2:6]
                      + ["disconnectReason"] + CONTEXT[6:])
AGENT = [("User-Agent", "my-client")]


def without(names, *left_out):
    return [name for name in names if name not in left_out]


def with_authorizer(functions, **more):
    """An API whose authorizer lets everybody in as user-1 of tenant t1."""
    functions["authorizer"] = lambda event: {
        "principalId": "user-1", "policyDocument": {"Version": "2012-10-17", "Statement": [
            {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}]},
        "context": {"tenant": "t1", "numberValue": 7, "booleanValue": True, "empty": ""}}
    return describe(functions, {"$connect": {"integration": "app", "authorizer": "tokens"}},
                    authorizers={"tokens": {"url": functions.url("authorizer")}}, **more)


def run_once(gateway, functions, query=""):
    """CONNECT, MESSAGE and DISCONNECT of one connection."""
    client = gateway.open(query, headers=AGENT)
    client.send('{"action":"hello","data":1}')
    functions.wait("MESSAGE")
    client.close(1000, "done")
    return [functions.wait_one(kind, "app") for kind in ("CONNECT", "MESSAGE", "DISCONNECT")]


def nulls(value):
    if isinstance(value, dict):
        return [name for key in value for name in ([key] if value[key] is None
                                                   else nulls(value[key]))]
    return [None] if value is None else []


# ---- 1.1 to 1.3: the members and their order ----

def test_1_1_connect_has_these_members_in_this_order(start, functions):
    event, _, _ = run_once(start(), functions, "context=query+value")
    assert list(event) == ["headers", "multiValueHeaders", "queryStringParameters",
                           "multiValueQueryStringParameters", "requestContext", "isBase64Encoded"]
    assert list(event["requestContext"]) == without(CONTEXT, "authorizer")
    assert list(event["requestContext"]["identity"]) == IDENTITY


def test_1_1_connect_with_everything(start, functions):
    gateway = start(with_authorizer(functions, stageVariables={"phase": "initial"}))
    event, _, _ = run_once(gateway, functions, "context=query")
    assert list(event) == ["headers", "multiValueHeaders", "queryStringParameters",
                           "multiValueQueryStringParameters", "stageVariables", "requestContext",
                           "isBase64Encoded"]
    assert list(event["requestContext"]) == CONTEXT


def test_1_2_message_has_these_members_in_this_order(start, functions):
    _, event, _ = run_once(start(), functions, "context=query")
    assert list(event) == ["requestContext", "body", "isBase64Encoded"]
    assert list(event["requestContext"]) == without(MESSAGE_CONTEXT, "authorizer")
    assert event["requestContext"]["routeKey"] == "$default"


def test_1_2_message_with_everything(start, functions):
    gateway = start(with_authorizer(functions, stageVariables={"phase": "initial"}))
    _, event, _ = run_once(gateway, functions)
    assert list(event) == ["stageVariables", "requestContext", "body", "isBase64Encoded"]
    assert list(event["requestContext"]) == MESSAGE_CONTEXT


def test_1_3_disconnect_has_these_members_in_this_order(start, functions):
    _, _, event = run_once(start(), functions, "context=query")
    assert list(event) == ["headers", "multiValueHeaders", "requestContext", "isBase64Encoded"]
    assert list(event["requestContext"]) == without(DISCONNECT_CONTEXT, "authorizer")


def test_1_3_disconnect_with_everything(start, functions):
    gateway = start(with_authorizer(functions, stageVariables={"phase": "initial"}))
    _, _, event = run_once(gateway, functions)
    assert sorted(event) == ["headers", "isBase64Encoded", "multiValueHeaders", "requestContext",
                             "stageVariables"]
    assert list(event["requestContext"]) == DISCONNECT_CONTEXT


def test_1_3_disconnect_has_exactly_four_synthetic_headers(start, functions):
    connect, _, event = run_once(start(), functions)
    host = connect["headers"]["Host"]
    assert list(event["headers"].items()) == [
        ("Host", host), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", "")]
    assert list(event["multiValueHeaders"].items()) == [
        ("Host", [host]), ("x-api-key", [""]), ("X-Forwarded-For", [""]), ("x-restapi", [""])]


# ---- 1.4: the field matrix ----

def test_1_4_headers_are_the_clients_and_four_more(gateway, functions):
    client = gateway.open(headers=[("Origin", "https://app.example"), ("Cookie", "a=b"),
                                   ("X-Custom", "v"), *AGENT])
    headers = functions.wait_one("CONNECT")["headers"]
    assert headers["Origin"] == "https://app.example"
    assert (headers["Cookie"], headers["X-Custom"]) == ("a=b", "v")
    assert headers["User-Agent"] == "my-client"
    assert headers["Sec-WebSocket-Version"] == "13" and len(headers["Sec-WebSocket-Key"]) == 24
    assert re.match(r"^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$", headers["X-Amzn-Trace-Id"])
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Port"] == str(gateway.port)
    assert headers["X-Forwarded-Proto"] == "http"
    client.close()


def test_1_4_multi_value_headers_say_the_same(gateway, functions):
    gateway.open().close()
    event = functions.wait_one("CONNECT")
    assert event["multiValueHeaders"] == {key: [value] for key, value in event["headers"].items()}


def test_1_4_connection_upgrade_and_content_length_are_removed(gateway, functions):
    gateway.open().close()
    names = {name.lower() for name in functions.wait_one("CONNECT")["headers"]}
    assert not names & {"connection", "upgrade", "content-length"}


def test_1_4_header_names_keep_the_clients_spelling(gateway, functions):
    gateway.open(headers=[("X-MiXeD-Header", "1"), ("x-lower", "2"), ("aUtHoRiZaTiOn", "t")])
    headers = functions.wait_one("CONNECT")["headers"]
    assert [headers[name] for name in ("X-MiXeD-Header", "x-lower", "aUtHoRiZaTiOn")] \
        == ["1", "2", "t"]


def test_1_4_header_names_are_sorted_without_regard_to_case(gateway, functions):
    gateway.open(headers=[("zebra", "1"), ("Apple", "2"), ("mango", "3")]).close()
    names = list(functions.wait_one("CONNECT")["headers"])
    assert names == sorted(names, key=str.lower) and "Apple" in names


def test_1_4_repeated_headers_last_value_wins_and_multi_keeps_the_order(gateway, functions):
    gateway.open(headers=[("X-Repeat", "first"), ("X-Repeat", "second")]).close()
    event = functions.wait_one("CONNECT")
    assert event["headers"]["X-Repeat"] == "second"
    assert event["multiValueHeaders"]["X-Repeat"] == ["first", "second"]


def test_1_4_offered_subprotocols_and_extensions_are_kept(gateway, functions):
    gateway.open(subprotocols=["one", "two"],
                 headers=[("Sec-WebSocket-Extensions", "permessage-deflate")]).close()
    headers = functions.wait_one("CONNECT")["headers"]
    assert headers["Sec-WebSocket-Protocol"] == "one, two"
    assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate"


def test_1_4_no_query_no_query_members(gateway, functions):
    gateway.open().close()
    event = functions.wait_one("CONNECT")
    assert "queryStringParameters" not in event
    assert "multiValueQueryStringParameters" not in event


def test_1_4_repeated_query_last_value_wins_and_multi_keeps_the_order(gateway, functions):
    gateway.open("context=query+value&repeat=first&repeat=second").close()
    event = functions.wait_one("CONNECT")
    assert event["queryStringParameters"] == {"context": "query value", "repeat": "second"}
    assert event["multiValueQueryStringParameters"] \
        == {"context": ["query value"], "repeat": ["first", "second"]}


@pytest.mark.parametrize("sent, seen", [
    ("a%2Bb+space", "a+b space"), ("caf%C3%A9", "caf\u00e9"), ("100%25", "100%"), ("", ""),
    ("%22%5C%0A", '"\\\n'), ("a%3Db%26c", "a=b&c")])
def test_1_4_query_values_are_decoded_once_and_plus_is_a_space(gateway, functions, sent, seen):
    gateway.open(f"v={sent}").close()
    assert functions.wait_one("CONNECT")["queryStringParameters"] == {"v": seen}


def test_1_4_stage_variables_only_when_there_are_any(start, functions):
    assert all("stageVariables" not in event for event in run_once(start(), functions))


def test_1_4_stage_variables_are_in_all_three_events_in_front_of_the_context(start, functions):
    events = run_once(start(describe(functions, stageVariables={"phase": "initial", "n": "2"})),
                      functions)
    for event in events:
        assert event["stageVariables"] == {"phase": "initial", "n": "2"}
        names = list(event)
        assert names.index("stageVariables") + 1 == names.index("requestContext")


def test_1_4_authorizer_is_a_map_of_texts_and_connect_alone_has_the_latency(start, functions):
    connect, message, disconnect = run_once(start(with_authorizer(functions)), functions)
    seen = {"principalId": "user-1", "tenant": "t1", "numberValue": "7", "booleanValue": "true",
            "empty": ""}
    latency = connect["requestContext"]["authorizer"].pop("integrationLatency")
    assert isinstance(latency, int) and 0 <= latency < 15000
    for event in (connect, message, disconnect):
        assert event["requestContext"]["authorizer"] == seen


def test_1_4_no_authorizer_member_without_an_authorizer(gateway, functions):
    assert all("authorizer" not in event["requestContext"]
               for event in run_once(gateway, functions))


def test_1_4_message_id_only_in_messages(gateway, functions):
    connect, message, disconnect = run_once(gateway, functions)
    assert "messageId" in message["requestContext"]
    assert all("messageId" not in event["requestContext"] for event in (connect, disconnect))


def test_1_4_disconnect_code_and_reason_only_in_disconnects(gateway, functions):
    connect, message, disconnect = run_once(gateway, functions)
    assert disconnect["requestContext"]["disconnectStatusCode"] == 1000
    assert disconnect["requestContext"]["disconnectReason"] == "done"
    for event in (connect, message):
        assert not {"disconnectStatusCode", "disconnectReason"} & set(event["requestContext"])


@pytest.mark.parametrize("body", [
    '{"action":"x", "data":1 }', "plain text", "[1,2]", "7", "\u00e4\u20ac\U0001f600",
    'quote " backslash \\ tab \t', "\u0000\u001f\u007f", "line\nbreak\r\n", "{broken"])
def test_1_4_body_is_the_text_as_it_came(gateway, functions, body):
    gateway.open().send(body)
    event = functions.wait_one("MESSAGE")
    assert event["body"] == body and event["isBase64Encoded"] is False


def test_1_4_an_empty_message_has_an_empty_body(gateway, functions):
    gateway.open().send("")
    assert functions.wait_one("MESSAGE")["body"] == ""


def test_1_4_no_body_in_connect_and_disconnect(gateway, functions):
    connect, _, disconnect = run_once(gateway, functions)
    assert "body" not in connect and "body" not in disconnect


def test_1_4_is_base64_encoded_is_false_everywhere(gateway, functions):
    assert [event["isBase64Encoded"] for event in run_once(gateway, functions)] == [False] * 3


def test_1_4_no_members_of_rest_events(gateway, functions):
    for event in run_once(gateway, functions, "a=b"):
        assert not {"resource", "path", "httpMethod", "pathParameters", "version"} & set(event)


def test_1_4_no_nulls_in_any_event(start, functions):
    gateway = start(with_authorizer(functions, stageVariables={"phase": "initial"}))
    for event in run_once(gateway, functions, "a=b") + functions.events(name="authorizer"):
        assert nulls(event) == []


def test_1_4_request_id_and_extended_request_id_are_the_same(gateway, functions):
    events = run_once(gateway, functions)
    ids = [event["requestContext"]["requestId"] for event in events]
    assert [event["requestContext"]["extendedRequestId"] for event in events] == ids
    assert len(set(ids)) == 3


def test_1_4_direction_event_types_and_route_keys(gateway, functions):
    contexts = [event["requestContext"] for event in run_once(gateway, functions)]
    assert [context["messageDirection"] for context in contexts] == ["IN"] * 3
    assert [context["eventType"] for context in contexts] == ["CONNECT", "MESSAGE", "DISCONNECT"]
    assert [context["routeKey"] for context in contexts] == ["$connect", "$default", "$disconnect"]


def test_1_4_times(gateway, functions):
    before = int(time.time() * 1000) - 5
    contexts = [event["requestContext"] for event in run_once(gateway, functions)]
    after = int(time.time() * 1000) + 5
    for context in contexts:
        epoch = context["requestTimeEpoch"]
        assert before <= context["connectedAt"] <= epoch <= after
        moment = datetime.datetime.fromtimestamp(epoch // 1000, datetime.timezone.utc)
        assert context["requestTime"] == moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
    assert len({context["connectedAt"] for context in contexts}) == 1
    assert contexts[0]["requestTimeEpoch"] - contexts[0]["connectedAt"] <= 1000


def test_1_4_identity_is_the_handshakes_in_every_event(gateway, functions):
    for event in run_once(gateway, functions):
        assert event["requestContext"]["identity"] \
            == {"userAgent": "my-client", "sourceIp": "127.0.0.1"}


def test_1_4_no_user_agent_member_when_the_client_sent_none(gateway, functions):
    client = Client(gateway.url(), handshake=False)  # its own request has no User-Agent
    client.finish_handshake()
    client.close()
    for kind in ("CONNECT", "DISCONNECT"):
        identity = functions.wait_one(kind)["requestContext"]["identity"]
        assert identity == {"sourceIp": "127.0.0.1"}


def test_1_4_domain_name_is_the_host_of_the_handshake(gateway, functions):
    for event in run_once(gateway, functions):
        assert event["requestContext"]["domainName"] == f"127.0.0.1:{gateway.port}"


def test_1_4_domain_name_stage_and_api_id_can_be_set(start, functions):
    gateway = start(domain_name="chat.example.com", api_id="abc1234567", stage="prod")
    for event in run_once(gateway, functions):
        context = event["requestContext"]
        assert context["domainName"] == "chat.example.com"
        assert (context["apiId"], context["stage"]) == ("abc1234567", "prod")


# ---- 1.5: identifiers ----

def test_1_5_identifier_formats(gateway, functions):
    events = run_once(gateway, functions)
    for event in events:
        assert ID.match(event["requestContext"]["connectionId"])
        assert REQUEST_ID.match(event["requestContext"]["requestId"])
    assert len({event["requestContext"]["connectionId"] for event in events}) == 1
    assert ID.match(events[1]["requestContext"]["messageId"])


def test_1_5_message_ids_are_unique_and_end_like_the_connections(gateway, functions):
    client = gateway.open()
    for _ in range(5):
        client.send("hello")
    ids = [event["requestContext"]["messageId"] for event in functions.wait("MESSAGE", 5)]
    assert len(set(ids)) == 5 and client.id not in ids
    assert {message_id[-10:] for message_id in ids} == {client.id[-10:]}


def test_1_5_a_connection_id_is_minted_even_for_a_refused_connect(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 403}
    gateway.refused()
    assert ID.match(functions.wait_one("CONNECT")["requestContext"]["connectionId"])


def test_1_5_every_connection_has_an_id_of_its_own(gateway):
    assert len({gateway.open().id for _ in range(5)}) == 5


# ---- 1.6: how a connection ended ----

def ended(functions):
    context = functions.wait_one("DISCONNECT")["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


@pytest.mark.parametrize("code, reason", [(1000, "probe-complete"), (1001, ""), (3000, "mine"),
                                          (4999, "\u00e9t\u00e9"), (1000, "")])
def test_1_6_the_clients_code_and_reason_verbatim(gateway, functions, code, reason):
    gateway.open().close(code, reason)
    assert ended(functions) == (code, reason)


def test_1_6_a_close_frame_without_a_code_is_1005(gateway, functions):
    client = gateway.open()
    client.send_bytes(b"\x88\x80\0\0\0\0")
    client.wait_closed()
    assert ended(functions) == (1005, "Client-side close frame status not set")


def test_1_6_idle_time_out_is_1001_going_away(start, functions):
    client = start(idle_timeout_ms=300).open()
    assert client.wait_closed() == (1001, "Going away")
    assert ended(functions) == (1001, "Going away")


def test_1_6_lifetime_is_1001_going_away(start, functions):
    client = start(max_connection_ms=300).open()
    assert client.wait_closed() == (1001, "Going away")
    assert ended(functions) == (1001, "Going away")


def test_1_6_delete_is_1000_connection_closed_normally(gateway, functions):
    client = gateway.open()
    assert gateway.management("DELETE", client.id).status == 204
    assert client.wait_closed() == (1000, "Connection Closed Normally")
    assert ended(functions) == (1000, "Connection Closed Normally")


def test_1_6_a_binary_frame_is_1003(gateway, functions):
    client = gateway.open()
    client.protocol.send_binary(b"\0\1")
    client._flush()
    assert client.wait_closed() == (1003, "Binary is not supported")
    assert ended(functions) == (1003, "Binary is not supported")


def test_1_6_a_frame_that_is_too_large_is_1009(gateway, functions):
    client = gateway.open()
    client.send("x" * 32769)
    assert client.wait_closed()[0] == 1009
    assert ended(functions)[0] == 1009


def test_1_6_a_dropped_transport_is_1006(gateway, functions):
    gateway.open().drop()
    assert ended(functions)[0] == 1006


# ---- the Invoke call itself (execution log, section 5.1) ----

def test_5_1_the_invoke_call_has_api_gateways_headers(start, functions):
    run_once(start(api_id="abc1234567"), functions)
    for request in functions.requests:
        assert request.method == "POST"
        assert request.header("User-Agent") == "AmazonAPIGateway_abc1234567"
        assert request.header("x-amzn-apigateway-api-id") == "abc1234567"
        assert request.header("X-Amzn-Trace-Id").startswith("Root=1-")
        assert request.header("Content-Type").startswith("application/json")
        assert request.header("Accept") == "application/json"
        assert request.header("Expect") is None and request.header("Content-Length")


def test_5_1_calls_share_kept_alive_connections(gateway, functions):
    client = gateway.open()
    for number in range(1, 9):
        client.send("hello")
        functions.wait("MESSAGE", number)
    assert len({request.peer for request in functions.requests}) <= 2


def test_5_1_a_plain_get_calls_nothing(gateway, functions):
    with gateway.raw(b"GET /dev HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert read_answer(connection).status in (403, 426)
    assert functions.events() == []


def test_5_1_an_answer_of_another_kind_is_a_fault(gateway, functions):
    functions["app"] = lambda _: Raw(200, "<html>not a function</html>")
    assert gateway.refused().status == 502
