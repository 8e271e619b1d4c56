# SPDX-License-Identifier: Apache-2.0
"""Section 3: which route a message goes to."""
import json

import pytest
from functions import Raw
from gateway import TWO_WAY, describe, error_message

ACTION = "$request.body.action"
BOTH = "${request.body.service}/${request.body.action}"


def select(start, functions, expression, message, *keys, **members):
    """The route that the message takes, among these and $default; it answers with its name."""
    functions["app"] = lambda event: {"statusCode": 200,
                                      "body": event["requestContext"]["routeKey"]}
    routes = {key: TWO_WAY for key in ("$default", *keys)}
    gateway = start(describe(functions, routes, routeSelectionExpression=expression, **members))
    client = gateway.open()
    client.send(message if isinstance(message, str) else json.dumps(message))
    return client.recv()


# Expression, message, the routes that there are beside $default, the one that is taken.
ROWS = {
    "the_key_that_is_named": (ACTION, {"action": "join"}, ["join"], "join"),
    "braces_mean_the_same": ("${request.body.action}", {"action": "join"}, ["join"], "join"),
    "missing_key_goes_to_default": (ACTION, {"other": 1}, ["join"], "$default"),
    "unknown_key_goes_to_default": (ACTION, {"action": "leave"}, ["join"], "$default"),
    "empty_key_goes_to_default": (ACTION, {"action": ""}, ["join"], "$default"),
    "compared_with_case": (ACTION, {"action": "Join"}, ["join"], "$default"),
    "compared_as_a_whole": (ACTION, {"action": "joi"}, ["join"], "$default"),
    "no_trimming": (ACTION, {"action": " join"}, ["join"], "$default"),
    "plain_text_goes_to_default": (ACTION, "plain text", ["join"], "$default"),
    "broken_json_goes_to_default": (ACTION, '{"action":"join"', ["join"], "$default"),
    "empty_message_goes_to_default": (ACTION, "", ["join"], "$default"),
    "array_goes_to_default": (ACTION, ["join"], ["join"], "$default"),
    "default_by_name": (ACTION, {"action": "$default"}, ["join"], "$default"),
    "connect_by_name_goes_to_default": (ACTION, {"action": "$connect"}, ["join"], "$default"),
    "disconnect_by_name_goes_to_default": (ACTION, {"action": "$disconnect"}, ["join"],
                                           "$default"),
    "two_variables_and_a_literal": (BOTH, {"service": "chat", "action": "join"}, ["chat/join"],
                                    "chat/join"),
    "a_missing_one_is_empty": ("${request.body.action}-${request.body.v}", {"action": "join"},
                               ["join-"], "join-"),
    "a_list_as_text": ("$request.body.a", {"a": ["x", "y"]}, ["[x, y]"], "[x, y]"),
    "a_deeper_path": ("$request.body.a.b", {"a": {"b": "deep"}}, ["deep"], "deep"),
    "an_element": ("$request.body.a[1]", {"a": ["x", "y"]}, ["y"], "y"),
    "a_number": (ACTION, {"action": 7}, ["7"], "7"),
    "true": (ACTION, {"action": True}, ["true"], "true"),
    "null": (ACTION, {"action": None}, ["null"], "null"),
    "escaped_letters_are_decoded": (ACTION, '{"action":"jo\\u0069n"}', ["join"], "join"),
    "escaped_dollar_is_a_literal": ("\\$default", {"action": "join"}, ["join"], "$default"),
    "static_text_names_the_route": ("join", {"action": "other"}, ["join"], "join"),
    "static_text_and_no_json_goes_to_default": ("join", "plain text", ["join"], "$default"),
    "evaluated_once": (ACTION, {"action": ACTION, "x": "join"}, ["join"], "$default"),
}


@pytest.mark.parametrize("row", ROWS)
def test_3_selection(start, functions, row):
    expression, message, keys, route = ROWS[row]
    assert select(start, functions, expression, message, *keys) == route


def test_3_the_default_expression_is_the_action(start, functions):
    api = describe(functions, {"join": "app"})
    del api["routeSelectionExpression"]
    client = start(api, route_selection_expression=ACTION).open()
    client.send('{"action":"join"}')
    assert functions.wait_one("MESSAGE")["requestContext"]["routeKey"] == "join"


@pytest.mark.parametrize("message", ['{"action":"leave"}', '{"other":1}', "plain text", "",
                                     '{"action":"$connect"}', '{"action":"$disconnect"}',
                                     '{"action":"$default"}'])
def test_3_no_match_and_no_default_is_forbidden_and_stays_open(start, functions, message):
    client = start(describe(functions, {"$default": None, "join": "app"})).open()
    client.send(message)
    assert error_message(client.recv()) == "Forbidden"
    client.send('{"action":"join"}')
    functions.wait_one("MESSAGE")


def test_3_only_the_action_of_a_connect_runs_connect(gateway, functions):
    client = gateway.open()
    client.send('{"action":"$connect"}')
    client.send('{"action":"$disconnect"}')
    functions.wait("MESSAGE", 2)
    assert len(functions.events("CONNECT")) == 1
    assert functions.events("DISCONNECT") == []


def test_3_connect_and_disconnect_run_whatever_the_expression_says(start, functions):
    gateway = start(describe(functions, routeSelectionExpression="static"))
    gateway.open().close()
    functions.wait_one("CONNECT")
    functions.wait_one("DISCONNECT")


def test_3_each_route_has_its_own_integration(start, functions, backend):
    backend.respond = lambda _: Raw(200, "from http")
    functions["other"] = lambda _: {"statusCode": 200, "body": "from other"}
    gateway = start(describe(
        functions,
        {"join": {"integration": "other", "routeResponse": True},
         "leave": {"integration": "http", "routeResponse": True}},
        {"other": {"type": "lambda", "url": functions.url("other")},
         "http": {"type": "http_proxy", "url": backend.origin + "/leave", "method": "POST"}}))
    client = gateway.open()
    for action, answer in (("join", "from other"), ("leave", "from http")):
        client.send({"action": action})
        assert client.recv() == answer


def test_3_a_route_without_an_integration_drops_the_message(start, functions):
    client = start(describe(functions, {"quiet": {}})).open()
    client.send('{"action":"quiet"}')
    client.assert_silent()
    client.send('{"action":"other"}')
    assert functions.wait_one("MESSAGE")["body"] == '{"action":"other"}'


def test_3_a_binary_frame_closes_with_1003_and_is_no_event(gateway, functions):
    client = gateway.open()
    client.protocol.send_binary(b'{"action":"join"}')
    client._flush()
    assert client.wait_closed() == (1003, "Binary is not supported")
    functions.wait_one("DISCONNECT")
    assert functions.events("MESSAGE") == []


def test_3_fragments_are_put_together_before_routing(start, functions):
    client = start(describe(functions, {"join": "app"})).open()
    client.send_parts([b'{"act', b'ion":"jo', b"", b'in","x":"\xc3', b'\xa4"}'])
    event = functions.wait_one("MESSAGE")
    assert event["requestContext"]["routeKey"] == "join"
    assert event["body"] == '{"action":"join","x":"\u00e4"}'


def test_3_the_largest_message_in_frames_of_32_kb(gateway, functions):
    gateway.open().send_parts([b"x" * 32768] * 4)
    assert functions.wait_one("MESSAGE")["body"] == "x" * 131072


def test_3_a_larger_message_closes_with_1009(gateway, functions):
    client = gateway.open()
    client.send_parts([b"x" * 32768] * 4 + [b"x"])
    assert client.wait_closed()[0] == 1009
    functions.wait_one("DISCONNECT")
    assert functions.events("MESSAGE") == []


def test_3_control_frames_are_not_routed(gateway, functions):
    client = gateway.open()
    assert client.ping(b'{"action":"join"}') == b'{"action":"join"}'
    client.send_bytes(b"\x8a\x80\0\0\0\0")  # a pong that nobody asked for
    client.ping()
    client.close()
    functions.wait_one("DISCONNECT")
    assert functions.events("MESSAGE") == []


@pytest.mark.parametrize("key", ["$other", "$connect2"])
def test_3_other_keys_that_begin_with_a_dollar_are_refused(start, functions, key):
    gateway = start(describe(functions, {key: "app"}), wait=False)
    assert gateway.process.wait(30) != 0
    gateway.process = None
    assert key in gateway.log() + (gateway.directory / "output").read_text()


def test_3_only_the_body_selects_a_route(start, functions):
    gateway = start(describe(functions, routeSelectionExpression="$request.header.action"),
                    wait=False)
    assert gateway.process.wait(30) != 0
    gateway.process = None
