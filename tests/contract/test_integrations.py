# SPDX-License-Identifier: Apache-2.0
"""Section 5: HTTP_PROXY, HTTP and MOCK integrations."""
import json
import urllib.parse

import pytest
from functions import Raw
from gateway import describe, error_frame, error_message
from harness import ID, REQUEST_ID

CONNECTION = {"integration.request.header.connectionId": "context.connectionId",
              "integration.request.header.eventType": "context.eventType"}


def relay(functions, backend, kind="http_proxy", two_way=False, routes=None, members=None, **more):
    """Messages go to the backend, the rest to the function."""
    route = {"integration": "relay", "routeResponse": two_way}
    integration = {"type": kind, "url": backend.origin + "/ws", "method": "POST", **more}
    return describe(functions, routes or {"$default": route}, {"relay": integration},
                    **(members or {}))


def all_relayed(functions, backend, **more):
    """All three kinds of events go to the backend."""
    return relay(functions, backend, routes={"$connect": "relay", "$default": "relay",
                                             "$disconnect": "relay"}, **more)


# ---- 5.1: what the backend receives ----

def test_5_1_connect_has_an_empty_body_and_the_clients_headers(start, functions, backend):
    start(all_relayed(functions, backend), api_id="abc1234567").open(
        "a=b", headers=[("Origin", "https://app.example"), ("X-Custom", "v"),
                        ("User-Agent", "my-client")])
    request = backend.wait_one()
    assert (request.method, request.path, request.body) == ("POST", "/ws", b"")
    assert request.header("Origin") == "https://app.example"
    assert request.header("X-Custom") == "v"
    assert request.header("Sec-WebSocket-Version") == "13"
    assert len(request.header("Sec-WebSocket-Key")) == 24
    assert request.header("X-Forwarded-For") == "127.0.0.1"
    assert request.header("X-Forwarded-Port") and request.header("X-Forwarded-Proto")
    assert request.header("X-Amzn-Trace-Id").startswith("Root=1-")
    assert request.all("User-Agent") == ["AmazonAPIGateway_abc1234567"]
    assert request.header("x-amzn-apigateway-api-id") == "abc1234567"


def test_5_1_connect_asks_the_backend_for_no_upgrade(start, functions, backend):
    start(all_relayed(functions, backend)).open(
        headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
    request = backend.wait_one()
    assert request.header("Upgrade") is None
    assert "upgrade" not in (request.header("Connection") or "").lower()
    assert request.header("Sec-WebSocket-Extensions") == "permessage-deflate"
    assert request.all("Host") == [urllib.parse.urlsplit(backend.origin).netloc]


def test_5_1_a_message_is_the_raw_text(start, functions, backend):
    client = start(relay(functions, backend), api_id="abc1234567").open(
        headers=[("X-Custom", "v"), ("Cookie", "a=b")])
    client.send('{"action": "x",  "t":"\u00e4"}')
    request = backend.wait_one()
    assert request.body.decode() == '{"action": "x",  "t":"\u00e4"}'
    assert (request.method, request.target) == ("POST", "/ws")
    assert request.header("User-Agent") == "AmazonAPIGateway_abc1234567"
    assert request.header("X-Amzn-Apigateway-Api-Id") == "abc1234567"
    assert request.header("X-Amzn-Trace-Id").startswith("Root=1-")
    assert request.header("Host") == urllib.parse.urlsplit(backend.origin).netloc


def test_5_1_a_message_has_nothing_of_the_handshake(start, functions, backend):
    client = start(relay(functions, backend)).open("token=t",
                                                   headers=[("X-Custom", "v"), ("Cookie", "a=b")])
    client.send("hello")
    request = backend.wait_one()
    for name in ("X-Custom", "Cookie", "Sec-WebSocket-Key", "Origin", "X-Forwarded-For"):
        assert request.header(name) is None
    assert request.query == ""


def test_5_1_nothing_identifies_the_connection_by_itself(start, functions, backend):
    gateway = start(relay(functions, backend))
    client = gateway.open()
    client.send("hello")
    request = backend.wait_one()
    everything = request.target + request.body.decode() + repr(request.headers)
    assert client.id not in everything and "$default" not in everything
    assert "dev" not in {value for _, value in request.headers}


def test_5_1_disconnect_is_a_call_without_a_body(start, functions, backend):
    gateway = start(all_relayed(functions, backend, requestParameters={
        **CONNECTION, "integration.request.header.code": "context.disconnectStatusCode",
        "integration.request.header.reason": "context.disconnectReason"}))
    gateway.open().close(3001, "enough")
    connect, disconnect = backend.wait(2)
    assert (connect.header("eventType"), disconnect.header("eventType")) == ("CONNECT",
                                                                             "DISCONNECT")
    assert disconnect.body == b""
    assert ID.match(disconnect.header("connectionId"))
    assert disconnect.header("connectionId") == connect.header("connectionId")
    assert (disconnect.header("code"), disconnect.header("reason")) == ("3001", "enough")
    assert connect.header("code") is None


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_5_1_the_method_is_the_integrations(start, functions, backend, method):
    client = start(relay(functions, backend, method=method)).open()
    client.send("hello")
    request = backend.wait_one()
    assert (request.method, request.body) == (method, b"hello")


def test_5_1_requests_share_kept_alive_connections(start, functions, backend):
    client = start(relay(functions, backend)).open()
    for number in range(1, 6):
        client.send("hello")
        backend.wait(number)
    assert len({request.peer for request in backend.requests}) <= 2


# ---- 5.2: request parameters ----

def test_5_2_mapped_headers(start, functions, backend):
    client = start(relay(functions, backend, members={"stageVariables": {"phase": "initial"}},
                         requestParameters={
        "integration.request.header.connectionId": "context.connectionId",
        "integration.request.header.stageName": "context.stage",
        "integration.request.header.apiId": "context.apiId",
        "integration.request.header.route": "context.routeKey",
        "integration.request.header.request": "context.requestId",
        "integration.request.header.ip": "context.identity.sourceIp",
        "integration.request.header.phase": "stageVariables.phase",
        "integration.request.header.literal": "'a literal'",
        "integration.request.header.action": "route.request.body.action",
        "integration.request.header.deep": "route.request.body.a.b[1]",
        "integration.request.header.missing": "route.request.body.nothing"})).open()
    client.send('{"action":"join","a":{"b":["x","y"]}}')
    request = backend.wait_one()
    assert request.header("connectionId") == client.id
    assert (request.header("stageName"), request.header("apiId")) == ("dev", "local")
    assert request.header("route") == "$default"
    assert REQUEST_ID.match(request.header("request"))
    assert request.header("ip") == "127.0.0.1"
    assert request.header("phase") == "initial"
    assert request.header("literal") == "a literal"
    assert (request.header("action"), request.header("deep")) == ("join", "y")
    assert request.header("missing") is None


def test_5_2_the_whole_body_as_a_parameter(start, functions, backend):
    client = start(relay(functions, backend, requestParameters={
        "integration.request.header.all": "route.request.body"})).open()
    client.send('{"a":1}')
    assert backend.wait_one().header("all") == '{"a":1}'


def test_5_2_values_of_the_handshake_for_connect(start, functions, backend):
    start(all_relayed(functions, backend, requestParameters={
        "integration.request.querystring.token": "route.request.querystring.token",
        "integration.request.querystring.all": "route.request.multivaluequerystring.tag",
        "integration.request.header.X-Seen": "route.request.header.X-Custom",
        "integration.request.header.X-All": "route.request.multivalueheader.X-Custom"})).open(
            "token=a%20b%26c&tag=1&tag=2", headers=[("X-Custom", "v"), ("X-Custom", "w")])
    request = backend.wait_one()
    assert urllib.parse.parse_qs(request.query) == {"token": ["a b&c"], "all": ["1,2"]}
    assert (request.header("X-Seen"), request.header("X-All")) == ("w", "v,w")


def test_5_2_the_handshake_is_not_there_for_messages(start, functions, backend):
    client = start(relay(functions, backend, requestParameters={
        "integration.request.querystring.token": "route.request.querystring.token",
        "integration.request.header.X-Seen": "route.request.header.X-Custom"})).open(
            "token=t", headers=[("X-Custom", "v")])
    client.send("hello")
    request = backend.wait_one()
    assert request.query == "" and request.header("X-Seen") is None


def test_5_2_path_and_query_parameters_are_encoded(start, functions, backend):
    client = start(relay(functions, backend, url=backend.origin + "/rooms/{room}/x?fixed=1",
                         requestParameters={
        "integration.request.path.room": "route.request.body.room",
        "integration.request.querystring.q": "route.request.body.q"})).open()
    client.send({"room": "a/b c", "q": "1&2=\u00e4"})
    request = backend.wait_one()
    assert request.path == "/rooms/a%2Fb%20c/x"
    assert urllib.parse.parse_qs(request.query) == {"fixed": ["1"], "q": ["1&2=\u00e4"]}


def test_5_2_a_mapped_header_wins_over_the_clients(start, functions, backend):
    start(all_relayed(functions, backend, requestParameters={
        "integration.request.header.Sec-WebSocket-Version": "'0'"})).open()
    assert backend.wait_one().all("Sec-WebSocket-Version") == ["0"]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\u0000b"])
def test_5_2_a_value_cannot_end_a_header(start, functions, backend, value):
    client = start(relay(functions, backend, requestParameters={
        "integration.request.header.value": "route.request.body.v"})).open()
    client.send({"v": value})
    request = backend.wait_one()
    assert request.header("X-Evil") is None and request.header("value") is None


def test_5_2_the_authorizers_context_can_be_mapped(start, functions, backend):
    functions["authorizer"] = lambda event: {
        "principalId": "u1", "context": {"tenant": "t1"}, "policyDocument": {
            "Statement": [{"Action": "*", "Effect": "Allow", "Resource": "*"}]}}
    client = start(relay(
        functions, backend, routes={"$connect": {"integration": "app", "authorizer": "tokens"},
                                    "$default": "relay"},
        members={"authorizers": {"tokens": {"url": functions.url("authorizer")}}},
        requestParameters={
            "integration.request.header.principal": "context.authorizer.principalId",
            "integration.request.header.tenant": "context.authorizer.tenant"})).open()
    client.send("hello")
    request = backend.wait_one()
    assert (request.header("principal"), request.header("tenant")) == ("u1", "t1")


@pytest.mark.parametrize("parameters", [
    {"integration.request.body.x": "context.connectionId"},
    {"integration.request.header.x": "context"},
    {"integration.request.header.x": "request.body.a"},
    {"integration.request.header.x": "literal without quotes"},
    {"integration.request.header.a b": "context.stage"},
    {"method.request.header.x": "context.stage"}])
def test_5_2_other_targets_and_sources_are_refused_at_start(start, functions, backend, parameters):
    gateway = start(relay(functions, backend, requestParameters=parameters), wait=False)
    assert gateway.process.wait(30) != 0
    gateway.process = None


# ---- 5.3: request templates ----

def templated(start, functions, backend, templates, message, query="", **more):
    """What the backend of an http integration gets for the message."""
    client = start(relay(functions, backend, "http", requestTemplates=templates,
                         members={"stageVariables": {"phase": "initial"}}, **more)).open(query)
    client.send(message if isinstance(message, str) else json.dumps(message))
    return client, backend.wait_one().body.decode()


RENDERED = {
    "static": ('{"a":1}', "x", '{"a":1}'),
    "body": ("<$input.body>", "plain text", "<plain text>"),
    "json": ("$input.json('$.a')", {"a": {"b": [1, "x"]}}, '{"b":[1,"x"]}'),
    "json_text_has_quotes": ("$input.json('$.a')", {"a": "x"}, '"x"'),
    "path": ("$input.path('$.a')", {"a": "x"}, "x"),
    "path_deeper": ("$input.path('$.a').b", {"a": {"b": 7}}, "7"),
    "stage_variable": ("$stageVariables.phase", "x", "initial"),
    "context": ("$context.routeKey $context.eventType $context.stage", "x", "$default MESSAGE dev"),
    "identity": ("$context.identity.sourceIp", "x", "127.0.0.1"),
    "escape": ("$util.escapeJavaScript($input.path('$.a'))", {"a": 'q"\\'}, 'q\\"\\\\'),
    "url_encode": ("$util.urlEncode($input.path('$.a'))", {"a": "x y&z"}, "x+y%26z"),
    "url_decode": ("$util.urlDecode('a%20b')", "x", "a b"),
    "base64": ("$util.base64Encode($input.body)", "hello", "aGVsbG8="),
    "base64_back": ("$util.base64Decode('aGVsbG8=')", "x", "hello"),
    "parse_json": ("$util.parseJson($input.path('$.a')).b", {"a": '{"b":"deep"}'}, "deep"),
    "set": ("#set($x = $input.path('$.a'))<$x>", {"a": 3}, "<3>"),
    "if": ("#if($input.path('$.a') == 1)one#else other#end", {"a": 1}, "one"),
    "foreach": ("#foreach($x in $input.path('$.a'))[$x]#end", {"a": [1, 2]}, "[1][2]"),
}


@pytest.mark.parametrize("row", RENDERED)
def test_5_3_templates(start, functions, backend, row):
    template, message, rendered = RENDERED[row]
    _, body = templated(start, functions, backend, {"$default": template}, message)
    assert body == rendered


def test_5_3_ids_in_templates(start, functions, backend):
    client, body = templated(start, functions, backend, {
        "$default": '{"id":"$context.connectionId","request":"$context.requestId"}'}, "x")
    assert json.loads(body)["id"] == client.id
    assert REQUEST_ID.match(json.loads(body)["request"])


def test_5_3_bare_context_renders_like_a_java_map(start, functions, backend):
    client, body = templated(start, functions, backend, {"$default": "$context"}, "x")
    assert body.startswith("{") and body.endswith("}")
    assert f"connectionId={client.id}" in body and ", " in body and "stage=dev" in body


def test_5_3_params_of_the_handshake(start, functions, backend):
    start(relay(functions, backend, "http", routes={"$connect": "relay"}, requestTemplates={
        "$default": "$input.params('token')/$input.params('X-Custom')"})).open(
            "token=t", headers=[("X-Custom", "v")])
    assert backend.wait_one().body == b"t/v"


def test_5_3_a_sole_template_applies_to_all_three_kinds(start, functions, backend):
    gateway = start(all_relayed(functions, backend, kind="http", requestTemplates={
        "application/json": "$context.eventType"}))
    client = gateway.open()
    client.send("hello")
    backend.wait(2)
    client.close()
    assert [request.body for request in backend.wait(3)] == [b"CONNECT", b"MESSAGE", b"DISCONNECT"]


@pytest.mark.parametrize("kind, body", [("a", "for a"), ("b", "for b"), ("c", "for all"),
                                        (None, "for all")])
def test_5_3_the_template_is_selected_by_the_message(start, functions, backend, kind, body):
    _, rendered = templated(start, functions, backend,
                            {"a": "for a", "b": "for b", "$default": "for all"}, {"kind": kind},
                            templateSelectionExpression="${request.body.kind}")
    assert rendered == body


@pytest.mark.parametrize("expression, body", [("200", "two hundred"), ("\\$default", "all")])
def test_5_3_a_static_selection(start, functions, backend, expression, body):
    _, rendered = templated(start, functions, backend, {"200": "two hundred", "$default": "all"},
                            "x", templateSelectionExpression=expression)
    assert rendered == body


BY_KIND = "${request.body.kind}"


@pytest.mark.parametrize("behavior, templates", [
    ("WHEN_NO_MATCH", {"a": "for a", "b": "for b"}), ("WHEN_NO_MATCH", {}),
    ("WHEN_NO_TEMPLATES", {})])
def test_5_3_passed_through(start, functions, backend, behavior, templates):
    _, body = templated(start, functions, backend, templates, {"kind": "c"},
                        templateSelectionExpression=BY_KIND, passthroughBehavior=behavior)
    assert body == '{"kind": "c"}'


@pytest.mark.parametrize("behavior, templates", [
    ("NEVER", {}), ("NEVER", {"a": "for a", "b": "for b"}),
    ("WHEN_NO_TEMPLATES", {"a": "for a", "b": "for b"})])
def test_5_3_not_passed_through(start, functions, backend, behavior, templates):
    client = start(relay(functions, backend, "http", requestTemplates=templates,
                         templateSelectionExpression=BY_KIND,
                         passthroughBehavior=behavior)).open()
    client.send('{"kind":"c"}')
    assert error_message(client.recv()) == "Internal server error"
    assert backend.requests == []


def test_5_3_mock_accepts_connects(start, functions):
    gateway = start(describe(functions, {"$connect": "mock"}, {
        "mock": {"type": "mock", "requestTemplates": {"$default": '{"statusCode":200}'}}}))
    gateway.open().send("hello")
    functions.wait_one("MESSAGE")
    assert functions.events("CONNECT") == []


def test_5_3_mock_refuses_connects(start, functions):
    gateway = start(describe(functions, {"$connect": "mock"}, {
        "mock": {"type": "mock", "requestTemplates": {"$default": '{"statusCode":403}'}}}))
    assert gateway.refused().status == 403


def test_5_3_mock_answers_by_its_templates(start, functions):
    gateway = start(describe(functions, {"echo": {"integration": "mock", "routeResponse": True}}, {
        "mock": {"type": "mock", "requestTemplates": {
                     "$default": '{"statusCode":$input.json(\'$.status\')}'},
                 "responses": {"200": {"responseTemplates": {"$default": "fine"}},
                               "/5\\d\\d/": {"responseTemplates": {"$default": "failed"}},
                               "$default": {"responseTemplates": {"$default": "other"}}}}}))
    client = gateway.open()
    for status, answer in ((200, "fine"), (503, "failed"), (404, "other")):
        client.send({"action": "echo", "status": status})
        assert client.recv() == answer


def test_5_3_mock_without_a_status_is_a_fault(start, functions):
    client = start(describe(functions, {"$default": "mock"}, {
        "mock": {"type": "mock", "requestTemplates": {"$default": "{}"}}})).open()
    client.send("hello")
    assert error_message(client.recv()) == "Internal server error"


# ---- 5.4: what becomes of the response ----

@pytest.mark.parametrize("kind", ["http_proxy", "http"])
@pytest.mark.parametrize("status", [200, 201, 204])
def test_5_4_connect_success(start, functions, backend, kind, status):
    backend.respond = lambda _: Raw(status, b"" if status == 204 else b"never shown")
    start(all_relayed(functions, backend, kind=kind)).open().assert_silent()


@pytest.mark.parametrize("status", [301, 400, 403, 404, 500, 503])
def test_5_4_connect_has_the_backends_status_and_body(start, functions, backend, status):
    backend.respond = lambda _: Raw(status, b"no entry", [("Location", "http://example.com/")])
    answer = start(all_relayed(functions, backend)).refused()
    assert (answer.status, answer.body) == (status, b"no entry")
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert len(backend.requests) == 1  # nor was it redirected


def test_5_4_one_way_drops_the_response(start, functions, backend):
    backend.respond = lambda _: Raw(503, b"dropped")
    client = start(relay(functions, backend)).open()
    client.send("hello")
    backend.wait_one()
    client.close()
    functions.wait("DISCONNECT")
    assert client.messages == []


@pytest.mark.parametrize("status", [200, 404, 503])
def test_5_4_proxy_two_way_sends_the_whole_body(start, functions, backend, status):
    backend.respond = lambda request: Raw(status, b'{"seen": ' + request.body + b" }")
    client = start(relay(functions, backend, two_way=True)).open()
    client.send("\u00e4")
    assert client.recv() == '{"seen": \u00e4 }'


def test_5_4_proxy_two_way_replaces_what_is_no_text(start, functions, backend):
    backend.respond = lambda _: Raw(200, b"a\xffb")
    client = start(relay(functions, backend, two_way=True)).open()
    client.send("hello")
    assert client.recv() == "a\ufffdb"


def failing(start, functions, backend, is_two_way, **more):
    client = start(relay(functions, backend, two_way=is_two_way,
                         routes={"$default": {"integration": "relay", "routeResponse": is_two_way},
                                 "ok": "app"}, **more)).open()
    client.send("hello")
    frame = client.recv()
    client.send('{"action":"ok"}')
    functions.wait_one("MESSAGE")
    return error_message(frame)


@pytest.mark.parametrize("is_two_way", [False, True])
def test_5_4_a_backend_that_breaks_off_sends_a_frame(start, functions, backend, is_two_way):
    backend.respond = lambda _: Raw(None)
    assert failing(start, functions, backend, is_two_way) == "Internal server error"


@pytest.mark.parametrize("is_two_way", [False, True])
def test_5_4_a_backend_that_is_not_there_sends_a_frame(start, functions, backend, is_two_way):
    backend.close()
    assert failing(start, functions, backend, is_two_way) == "Internal server error"


@pytest.mark.parametrize("is_two_way", [False, True])
def test_5_4_a_backend_that_takes_too_long_sends_a_frame(start, functions, backend, is_two_way):
    backend.respond = backend.hold(Raw(200))
    assert failing(start, functions, backend, is_two_way, timeoutInMillis=200) \
        == "Endpoint request timed out"


def test_5_4_connect_and_no_backend_is_a_server_error(start, functions, backend):
    api = all_relayed(functions, backend)
    backend.close()
    answer = start(api).refused()
    assert answer.status >= 500
    assert error_message(answer.body.decode()) == "Internal server error"


def test_5_4_connect_and_a_slow_backend_is_504(start, functions, backend):
    backend.respond = backend.hold(Raw(200))
    answer = start(all_relayed(functions, backend, timeoutInMillis=200)).refused()
    assert answer.status == 504
    assert error_message(answer.body.decode()) == "Endpoint request timed out"


def respond(start, functions, backend, responses, answer, message="hello"):
    """The frame that an http integration with these responses makes of the backend's answer."""
    backend.respond = lambda _: answer
    client = start(relay(functions, backend, "http", two_way=True, responses=responses)).open()
    client.send(message if isinstance(message, str) else json.dumps(message))
    return client.recv()


def fixed(text):
    return {"responseTemplates": {"$default": text}}


@pytest.mark.parametrize("status, frame", [(200, "exact"), (404, "client"), (503, "server"),
                                           (302, "other")])
def test_5_4_the_response_is_selected_by_the_status(start, functions, backend, status, frame):
    assert respond(start, functions, backend, {
        "200": fixed("exact"), "/4\\d\\d/": fixed("client"), "/5\\d{2}/": fixed("server"),
        "$default": fixed("other")}, Raw(status, b"x")) == frame


def test_5_4_no_template_passes_the_payload_unchanged(start, functions, backend):
    assert respond(start, functions, backend, {"$default": {}}, Raw(200, b'{"a" : 1}')) \
        == '{"a" : 1}'


def test_5_4_a_response_template_sees_the_answer(start, functions, backend):
    frame = respond(start, functions, backend,
                    {"$default": fixed('{"got":$input.json(\'$.a\'),"by":"$context.routeKey"}')},
                    Raw(200, b'{"a":[1,2]}'))
    assert frame == '{"got":[1,2],"by":"$default"}'


def test_5_4_the_template_is_selected_by_the_status_code(start, functions, backend):
    for status, frame in ((200, "fine"), (418, "all")):
        assert respond(start, functions, backend, {"$default": {
            "templateSelectionExpression": "${integration.response.statuscode}",
            "responseTemplates": {"200": "fine", "$default": "all"}}}, Raw(status)) == frame


def test_5_4_the_template_is_selected_by_a_header(start, functions, backend):
    assert respond(start, functions, backend, {"$default": {
        "templateSelectionExpression": "${integration.response.header.Content-Type}",
        "responseTemplates": {"text/x-special": "special", "$default": "all"}}},
        Raw(200, b"", [("content-type", "text/x-special")])) == "special"


def test_5_4_the_template_is_selected_by_the_message(start, functions, backend):
    assert respond(start, functions, backend, {"$default": {
        "templateSelectionExpression": "${request.body.kind}",
        "responseTemplates": {"a": "for a", "$default": "all"}}}, Raw(200), {"kind": "a"}) \
        == "for a"


def test_5_4_the_answers_body_selects_no_template(start, functions, backend):
    assert respond(start, functions, backend, {"$default": {
        "templateSelectionExpression": "$integration.response.body.errorMessage",
        "responseTemplates": {"boom": "boom", "$default": "all"}}},
        Raw(200, b'{"errorMessage":"boom"}')) == "all"


def test_5_4_without_an_expression_the_status_is_the_key(start, functions, backend):
    assert respond(start, functions, backend, {"$default": {
        "responseTemplates": {"200": "by status", "$default": "all"}}}, Raw(200)) == "by status"


def test_5_4_no_response_that_fits_is_a_fault(start, functions, backend):
    frame = respond(start, functions, backend, {"404": fixed("x")}, Raw(200, b"y"))
    assert error_message(frame) == "Internal server error"


def test_5_4_the_ids_of_a_fault_are_the_messages(start, functions, backend):
    backend.respond = lambda _: Raw(None)
    client = start(relay(functions, backend, requestParameters={
        **CONNECTION, "integration.request.header.request": "context.requestId"})).open()
    client.send("hello")
    frame = client.recv()
    request = backend.requests[0]
    assert frame == error_frame("Internal server error", {"requestContext": {
        "connectionId": request.header("connectionId"), "requestId": request.header("request")}})
