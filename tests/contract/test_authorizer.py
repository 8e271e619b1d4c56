# SPDX-License-Identifier: Apache-2.0
"""Section 4: who may connect."""
import json
import re

import pytest
from functions import THROTTLED, FunctionError, Raw
from gateway import describe, error_frame
from harness import read_answer

HEADER = "route.request.header.Authorization"
EXPLICIT_DENY = ("User is not authorized to access this resource with an explicit deny in an"
                 " identity-based policy")
NOT_ALLOWED = ("User is not authorized to access this resource because no identity-based policy"
               " allows the execute-api:Invoke action")


def policy(effect, *resources, **more):
    return {"policyDocument": {"Version": "2012-10-17", "Statement": [
        {"Action": "execute-api:Invoke", "Effect": effect,
         "Resource": resources[0] if len(resources) == 1 else list(resources)}]}, **more}


def allow(event, principal="user-1", **context):
    """As most authorizers do it."""
    return {"principalId": principal, **policy("Allow", event["methodArn"], context=context)}


def authorized(functions, sources=(), **members):
    return describe(
        functions, {"$connect": {"integration": "app", "authorizer": "tokens"}},
        authorizers={"tokens": {"type": "request", "url": functions.url("authorizer"),
                                "identitySources": list(sources)}}, **members)


@pytest.fixture
def guarded(start, functions):
    """Every connect is asked about."""
    return start(authorized(functions))


def asked(functions):
    return functions.events(name="authorizer")


def check_refused(gateway, functions, status, message):
    answer = gateway.refused()
    event = asked(functions)[-1]
    assert answer.status == status
    assert answer.body.decode() == error_frame(message, event)
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header("x-amz-apigw-id") == event["requestContext"]["requestId"]
    assert answer.header("x-amzn-errortype") is None
    assert functions.events(name="app") == []


# ---- 4.1: the event ----

def test_4_1_the_event_has_these_members_in_this_order(guarded, functions):
    functions["authorizer"] = allow
    guarded.open("a=b")
    event = asked(functions)[0]
    assert list(event) == ["type", "methodArn", "headers", "multiValueHeaders",
                           "queryStringParameters", "multiValueQueryStringParameters",
                           "stageVariables", "requestContext"]
    assert event["type"] == "REQUEST"
    assert list(event["requestContext"]) == [
        "routeKey", "eventType", "extendedRequestId", "requestTime", "messageDirection", "stage",
        "connectedAt", "requestTimeEpoch", "identity", "requestId", "domainName", "connectionId",
        "apiId"]
    assert event["requestContext"]["routeKey"] == "$connect"
    assert event["requestContext"]["eventType"] == "CONNECT"


def test_4_1_the_method_arn_names_api_stage_and_connect(start, functions):
    functions["authorizer"] = allow
    start(authorized(functions), api_id="abc1234567", stage="prod").open()
    assert re.match(r"^arn:aws:execute-api:[a-z]{2}-[a-z]+-\d:\d{12}:abc1234567/prod/\$connect$",
                    asked(functions)[0]["methodArn"])


def test_4_1_headers_have_connection_upgrade_and_content_length(guarded, functions):
    functions["authorizer"] = allow
    guarded.open(headers=[("Authorization", "tok"), ("X-Repeat", "1"), ("X-Repeat", "2")])
    event = asked(functions)[0]
    headers = event["headers"]
    by_name = {name.lower(): value for name, value in headers.items()}
    assert by_name["connection"].lower() == "upgrade" and by_name["upgrade"] == "websocket"
    assert by_name["content-length"] == "0"
    assert headers["Authorization"] == "tok" and headers["X-Repeat"] == "2"
    assert event["multiValueHeaders"]["X-Repeat"] == ["1", "2"]
    assert {"X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto",
            "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Host"} <= set(headers)
    assert set(event["multiValueHeaders"]) == set(headers)


def test_4_1_without_query_and_stage_variables_the_maps_are_empty(guarded, functions):
    functions["authorizer"] = allow
    guarded.open()
    event = asked(functions)[0]
    assert (event["queryStringParameters"], event["multiValueQueryStringParameters"],
            event["stageVariables"]) == ({}, {}, {})


def test_4_1_query_and_stage_variables(start, functions):
    functions["authorizer"] = allow
    start(authorized(functions, stageVariables={"phase": "initial"})).open("a=1&a=2&b=x+y")
    event = asked(functions)[0]
    assert event["queryStringParameters"] == {"a": "2", "b": "x y"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["x y"]}
    assert event["stageVariables"] == {"phase": "initial"}


def test_4_1_the_connect_event_that_follows_has_the_same_ids(guarded, functions):
    functions["authorizer"] = allow
    guarded.open()
    before, after = asked(functions)[0], functions.events("CONNECT", "app")[0]
    for name in ("requestId", "extendedRequestId", "connectionId", "connectedAt", "domainName"):
        assert before["requestContext"][name] == after["requestContext"][name]
    assert before["headers"]["X-Amzn-Trace-Id"] == after["headers"]["X-Amzn-Trace-Id"]


def test_4_no_caching_once_for_each_connect_and_never_for_messages(guarded, functions):
    functions["authorizer"] = allow
    for number in (1, 2, 3):
        client = guarded.open(headers=[("Authorization", "the same")])
        client.send("hello")
        functions.wait("MESSAGE", number)
        client.close()
        functions.wait("DISCONNECT", number)
    assert len(asked(functions)) == 3


# ---- 4.2: identity sources ----

def header(value, name="Authorization"):
    return {"headers": [(name, value)]}


# Identity sources, query, options of the client: a missing or empty one is 401 without a call.
UNIDENTIFIED = {
    "missing_header": ([HEADER], "", {}),
    "empty_header": ([HEADER], "", header("")),
    "missing_query": (["route.request.querystring.tenant"], "", {}),
    "empty_query": (["route.request.querystring.tenant"], "tenant=", {}),
    "last_query_value_is_empty": (["route.request.querystring.tenant"], "tenant=one&tenant=", {}),
    "query_names_have_case": (["route.request.querystring.tenant"], "Tenant=one", {}),
    "one_of_two_missing": ([HEADER, "route.request.querystring.tenant"], "tenant=one", {}),
    "missing_stage_variable": (["stageVariables.nothing"], "", {}),
    "missing_context": (["context.nothing"], "", {}),
    "context_event_type": (["context.eventType"], "", {}),
    "context_message_direction": (["context.messageDirection"], "", {}),
}


@pytest.mark.parametrize("row", UNIDENTIFIED)
def test_4_2_without_identity_401_and_no_call(start, functions, row):
    sources, query, options = UNIDENTIFIED[row]
    functions["authorizer"] = allow
    gateway = start(authorized(functions, sources, stageVariables={"phase": "initial"}))
    answer = gateway.refused(query, **options)
    assert answer.status == 401
    assert re.match(r'^\{"message": "Unauthorized", "connectionId":"[A-Za-z0-9_-]{18}==",'
                    r' "requestId":"[A-Za-z0-9_-]{15}="\}$', answer.body.decode())
    assert answer.header("x-amz-apigw-id") == json.loads(answer.body)["requestId"]
    assert functions.events() == []


IDENTIFIED = {
    "header": ([HEADER], "", header("tok")),
    "header_in_any_case": ([HEADER], "", header("tok", "aUtHoRiZaTiOn")),
    "query": (["route.request.querystring.tenant"], "tenant=one", {}),
    "last_query_value": (["route.request.querystring.tenant"], "tenant=&tenant=two", {}),
    "stage_variable": (["stageVariables.phase"], "", {}),
    "context": (["context.connectionId", "context.connectedAt", "context.requestTimeEpoch"], "",
                {}),
    "several": ([HEADER, "route.request.querystring.tenant"], "tenant=one", header("tok")),
    "none": ([], "", {}),
}


@pytest.mark.parametrize("row", IDENTIFIED)
def test_4_2_with_identity_the_authorizer_is_asked(start, functions, row):
    sources, query, options = IDENTIFIED[row]
    functions["authorizer"] = allow
    gateway = start(authorized(functions, sources, stageVariables={"phase": "initial"}))
    gateway.open(query, **options)
    assert len(asked(functions)) == 1


@pytest.mark.parametrize("source", ["$request.header.Authorization", "$context.connectionId",
                                    "header.Authorization", "route.request.body.token",
                                    "route.request.header.", "route.request.header.a b"])
def test_4_2_other_syntax_is_refused_at_start(start, functions, source):
    gateway = start(authorized(functions, [source]), wait=False)
    assert gateway.process.wait(30) != 0
    gateway.process = None
    assert source in gateway.log() + (gateway.directory / "output").read_text()


def test_4_2_two_authorization_headers_are_a_bad_request(guarded, functions):
    functions["authorizer"] = allow
    request = ("GET /dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
               "Sec-WebSocket-Version: 13\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n")
    with guarded.raw(request.encode()) as connection:
        answer = read_answer(connection)
    assert answer.status == 400
    assert answer.body.startswith(b"<html>\r\n<head><title>400 Bad Request</title>")
    assert answer.header("connection") == "close"
    assert functions.events() == []


# ---- 4.3: the result ----

def test_4_3_allow_continues(guarded, functions):
    functions["authorizer"] = allow
    guarded.open()
    functions.wait_one("CONNECT", "app")


@pytest.mark.parametrize("resource", ["*", "arn:aws:execute-api:*", "{arn}", "{stage}/*"])
def test_4_3_allow_for_a_pattern_that_matches(guarded, functions, resource):
    functions["authorizer"] = lambda event: {"principalId": "u", **policy("Allow", resource.format(
        arn=event["methodArn"], stage=event["methodArn"].rsplit("/", 1)[0]))}
    guarded.open()


def test_4_3_deny_is_403(guarded, functions):
    functions["authorizer"] = lambda event: {"principalId": "u",
                                             **policy("Deny", event["methodArn"])}
    check_refused(guarded, functions, 403, EXPLICIT_DENY)


def test_4_3_deny_wins_over_allow(guarded, functions):
    functions["authorizer"] = lambda event: {"principalId": "u", "policyDocument": {
        "Version": "2012-10-17", "Statement": [
            {"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": event["methodArn"]},
            {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "*"}]}}
    check_refused(guarded, functions, 403, EXPLICIT_DENY)


@pytest.mark.parametrize("resource", [
    "arn:aws:execute-api:us-east-1:123456789012:other/dev/$connect", "{stage}/*/*", "{stage}/GET/*",
    "{stage}/$connect2", "{stage}"])
def test_4_3_allow_for_another_resource_is_403(guarded, functions, resource):
    functions["authorizer"] = lambda event: {"principalId": "u", **policy("Allow", resource.format(
        stage=event["methodArn"].rsplit("/", 1)[0]))}
    check_refused(guarded, functions, 403, NOT_ALLOWED)


def raises(message):
    def function(_):
        raise FunctionError(message)
    return function


def test_4_3_throws_unauthorized_is_401(guarded, functions):
    functions["authorizer"] = raises("Unauthorized")
    check_refused(guarded, functions, 401, "Unauthorized")


def test_4_3_unauthorized_from_the_emulator_is_401(guarded, functions):
    """The runtime interface emulator does not send X-Amz-Function-Error."""
    functions["authorizer"] = lambda _: Raw(
        200, '{"errorType":"Error","errorMessage":"Unauthorized","trace":[]}')
    check_refused(guarded, functions, 401, "Unauthorized")


@pytest.mark.parametrize("message", ["unauthorized", "Unauthorized!", "boom", ""])
def test_4_3_throws_anything_else_is_500(guarded, functions, message):
    functions["authorizer"] = raises(message)
    check_refused(guarded, functions, 500, "Internal server error")


def test_4_3_a_time_out_is_500(start, functions):
    api = authorized(functions)
    api["authorizers"]["tokens"]["timeoutInMillis"] = 200
    functions["authorizer"] = functions.hold()
    check_refused(start(api), functions, 500, "Internal server error")


@pytest.mark.parametrize("answer", [THROTTLED, Raw(404, "{}"), Raw(None)])
def test_4_3_not_invokable_is_500(guarded, functions, answer):
    functions["authorizer"] = lambda _: answer
    check_refused(guarded, functions, 500, "Internal server error")


def test_4_3_not_reachable_is_500(start, functions):
    api = authorized(functions)
    functions.close()
    answer = start(api).refused()
    assert answer.status == 500
    assert json.loads(answer.body)["message"] == "Internal server error"


WRONG_SHAPE = {
    "no_policy": lambda event: {"principalId": "u"},
    "simple_response": lambda event: {"isAuthorized": True},
    "null": lambda event: None,
    "text": lambda event: "Allow",
    "list": lambda event: [],
    "true": lambda event: True,
    "policy_is_text": lambda event: {"principalId": "u", "policyDocument": "Allow"},
    "policy_is_a_list": lambda event: {"principalId": "u", "policyDocument": []},
    "bad_effect": lambda event: {"principalId": "u", **policy("Permit", event["methodArn"])},
    "context_value_is_a_map": lambda event: allow(event, bad={"a": 1}),
    "context_value_is_a_list": lambda event: allow(event, bad=[1]),
    "context_is_text": lambda event: {**allow(event), "context": "x"},
    "context_is_a_list": lambda event: {**allow(event), "context": ["x"]},
    "principal_is_a_map": lambda event: allow(event, principal={"a": 1}),
    "larger_than_8_kb": lambda event: allow(event, big="x" * 9000),
}


@pytest.mark.parametrize("row", WRONG_SHAPE)
def test_4_3_wrong_shape_is_500_with_an_empty_message(guarded, functions, row):
    functions["authorizer"] = WRONG_SHAPE[row]
    check_refused(guarded, functions, 500, "")


def test_4_3_no_json_is_500(guarded, functions):
    functions["authorizer"] = lambda _: Raw(200, "<html>")
    check_refused(guarded, functions, 500, "")


@pytest.mark.parametrize("principal", ["missing", None])
def test_4_3_no_principal_is_allowed_and_the_key_omitted(guarded, functions, principal):
    def authorizer(event):
        result = allow(event, principal=principal, tenant="t1")
        if principal == "missing":
            del result["principalId"]
        return result
    functions["authorizer"] = authorizer
    guarded.open()
    seen = functions.wait_one("CONNECT", "app")["requestContext"]["authorizer"]
    assert seen.pop("integrationLatency") >= 0
    assert seen == {"tenant": "t1"}


def test_4_3_a_number_as_principal_becomes_text(guarded, functions):
    functions["authorizer"] = lambda event: allow(event, principal=7)
    guarded.open()
    seen = functions.wait_one("CONNECT", "app")["requestContext"]["authorizer"]
    assert seen["principalId"] == "7"


def test_4_3_a_context_value_that_is_null_is_dropped(guarded, functions):
    functions["authorizer"] = lambda event: allow(event, gone=None, kept="x")
    guarded.open()
    seen = functions.wait_one("CONNECT", "app")["requestContext"]["authorizer"]
    assert "gone" not in seen and seen["kept"] == "x"


def test_4_3_context_values_are_texts_in_all_later_events(guarded, functions):
    functions["authorizer"] = lambda event: allow(event, n=7, yes=True, no=False, empty="",
                                                  text='"\u00e4"', half=0.5)
    client = guarded.open()
    client.send("hello")
    functions.wait("MESSAGE")
    client.close()
    expected = {"principalId": "user-1", "n": "7", "yes": "true", "no": "false", "empty": "",
                "text": '"\u00e4"', "half": "0.5"}
    for kind in ("CONNECT", "MESSAGE", "DISCONNECT"):
        seen = functions.wait_one(kind, "app")["requestContext"]["authorizer"]
        seen.pop("integrationLatency", None)
        assert seen == expected


def test_4_3_without_a_context(guarded, functions):
    functions["authorizer"] = lambda event: {"principalId": "u",
                                             **policy("Allow", event["methodArn"])}
    guarded.open()
    seen = functions.wait_one("CONNECT", "app")["requestContext"]["authorizer"]
    assert list(seen) == ["principalId", "integrationLatency"]


def test_4_3_no_disconnect_after_a_refusal(guarded, functions):
    functions["authorizer"] = raises("Unauthorized")
    guarded.refused()
    functions["authorizer"] = allow
    guarded.open().close()
    functions.wait_one("DISCONNECT")


# ---- 4.4: API keys ----

@pytest.fixture
def keyed(start, functions):
    return start(describe(functions, {"$connect": {"integration": "app", "apiKeyRequired": True}},
                          apiKeys=["key-1", "key-2"]))


@pytest.mark.parametrize("headers", [[], [("x-api-key", "wrong")], [("x-api-key", "")],
                                     [("x-api-key", "key-")], [("x-api-key", "KEY-1")]])
def test_4_4_without_a_key_403_and_no_call(keyed, functions, headers):
    answer = keyed.refused(headers=headers)
    assert (answer.status, answer.json()["message"]) == (403, "Forbidden")
    assert functions.events() == []


@pytest.mark.parametrize("name, key", [("x-api-key", "key-1"), ("X-API-Key", "key-2")])
def test_4_4_with_a_key(keyed, functions, name, key):
    keyed.open(headers=[(name, key)])
    functions.wait_one("CONNECT")


def test_4_4_the_key_comes_before_the_authorizer(start, functions):
    api = authorized(functions, apiKeys=["key-1"])
    api["routes"]["$connect"]["apiKeyRequired"] = True
    functions["authorizer"] = allow
    gateway = start(api)
    assert gateway.refused().status == 403
    assert functions.events() == []
    gateway.open(headers=[("x-api-key", "key-1")])
