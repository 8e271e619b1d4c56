# SPDX-License-Identifier: Apache-2.0
"""The Runtime API, row by row, against the real program: what is sent, what each answer makes it do,
and that nothing but the process's life depends on it."""
import contextlib
import json
import re
import time

import events
import psycopg2
import pytest
from functions import Raw
from harness import wait_for
from runtime_api import ERROR_TYPE, RUNTIME, Half, Shape

ROUTES = """
    create schema app;
    create function app.slow(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select d.* from pg_sleep(30), switchboard.reply('1') as d $$;
    create function app.broken(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply(to_jsonb(1 / (select 0))) $$;
"""
SESSIONS = ("select count(*) from pg_stat_activity where usename = 'switchboard_gateway'"
            " and datname = current_database()")
ECHO = {"message": "hello"}
ANSWER = {"type": "echo", "message": "hello"}


def echo(function, connections, **options):
    """Sends a message through the function and finds its answer at @connections."""
    count = len(connections.bodies())
    result, invocation = function.run(events.message(ECHO), **options)
    assert json.loads(connections.wait(count=count + 1)[-1]) == ANSWER
    return result, invocation


def opened(function, connection_id="c1="):
    result = function.invoke(events.connect(connection_id))
    assert result.json() == {"statusCode": 200}, result
    return function.wait_idle()[0]  # until then it would deliver what the test publishes next


def nexts(sandbox):
    return [request for request in sandbox.requests
            if request.path == f"{RUNTIME}/invocation/next"]


def wait_end(sandbox, status=1):
    assert sandbox.process.wait(20) == status, sandbox.log()
    wait_for(lambda: sandbox.is_dead, "its end was noticed")


# ---- what is sent ----

def test_an_event_is_answered_and_the_next_one_asked_for(function, connections):
    sandbox = opened(function)
    result, invocation = echo(function, connections)
    assert (result.json(), result.function_error) == ({"statusCode": 200}, None)
    response, = invocation.posts
    assert (response.method, response.path) == \
        ("POST", f"{RUNTIME}/invocation/{invocation.request_id}/response")
    assert response.header("Content-Type") == "application/json"
    assert response.header("Content-Length") == str(len(response.body))
    assert response.header("Transfer-Encoding") is None
    function.wait_idle()
    for request in nexts(sandbox):
        assert request.method == "GET" and request.body == b""
        assert re.match(r"^switchboard/\d+\.\d+", request.header("User-Agent"))
    assert len(nexts(sandbox)) == 3 and [sandbox] == function.sandboxes


@pytest.mark.parametrize("shape", [
    Shape(lower_case=True), Shape(chunked=True), Shape(pieces=50), Shape(chunked=True, pieces=9),
    Shape(pieces=8, pause=0.2), Shape(without=["Lambda-Runtime-Trace-Id"]),
    Shape(without=["Lambda-Runtime-Deadline-Ms"]),
    Shape(without=["Lambda-Runtime-Invoked-Function-Arn"]),
    Shape(headers=[("Lambda-Runtime-Client-Context", "{}"), ("Lambda-Runtime-Cognito-Identity", ""),
                   ("Lambda-Runtime-Aws-Tenant-Id", "t"), ("X-Of-Tomorrow", "y")])],
    ids=["lower case", "chunked", "split", "chunked and split", "slow", "no trace id",
         "no deadline", "no ARN", "more headers"])
def test_the_event_may_come_as_it_likes(function, connections, shape):
    sandbox = opened(function)
    echo(function, connections, shape=shape)
    echo(function, connections)
    function.wait_idle()
    assert len(nexts(sandbox)) == 4


def test_an_event_byte_by_byte(function, connections):
    opened(function)
    event = json.dumps(events.message(ECHO)).encode()
    echo(function, connections, shape=Shape(pieces=len(event)))


@pytest.mark.parametrize("shape", [Shape(), Shape(chunked=True)], ids=["length", "chunked"])
def test_an_event_of_6_mb(function, connections, shape):
    opened(function)
    event = events.message({**ECHO, "more": "x" * 6_100_000})
    assert function.invoke(event, shape=shape).json() == {"statusCode": 200}
    assert json.loads(connections.wait()[0]) == ANSWER
    echo(function, connections)


def test_a_proxy_of_the_environment_is_not_for_the_runtime_api(database, make_function,
                                                              connections):
    function = make_function(database, http_proxy="x", **{
        "HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
    function.environment["http_proxy"] = "http://127.0.0.1:1"
    del function.environment["SWITCHBOARD_HTTP_PROXY"]
    opened(function)


# ---- answers to GET next ----

@pytest.mark.parametrize("fault", [
    Raw(204), Raw(403, "{}"), Raw(500, "{}"), Raw(503), Raw(302, "", [("Location", "/elsewhere")]),
    Raw(None)], ids=lambda fault: str(fault.status))
def test_anything_but_200_to_next_ends_the_process_and_is_not_tried_again(function, fault):
    sandbox = opened(function)
    function.wait_idle()
    function.faults.append(fault)
    count = len(nexts(sandbox))
    result = function.invoke(events.message(ECHO))
    assert (result.function_error, result.json()["errorType"]) == ("Unhandled", "Runtime.ExitError")
    wait_end(sandbox)
    assert len(nexts(sandbox)) == count
    assert "event=lambda.exit" in sandbox.log()


def test_an_event_that_breaks_off_ends_the_process(function):
    sandbox = opened(function)
    function.wait_idle()
    function.faults.append(Half(200, json.dumps(events.message(ECHO)),
                                [("Lambda-Runtime-Aws-Request-Id", "r")]))
    result = function.invoke(events.message(ECHO))
    assert result.json()["errorType"] == "Runtime.ExitError"
    wait_end(sandbox)


def test_without_a_request_id_the_process_ends(function):
    sandbox = opened(function)
    result = function.invoke(events.message(ECHO),
                             shape=Shape(without=["Lambda-Runtime-Aws-Request-Id"]))
    assert result.json()["errorType"] == "Runtime.ExitError"
    wait_end(sandbox)


def test_after_it_ended_the_next_event_starts_another_process(function, connections):
    sandbox = opened(function)
    sandbox.kill()
    echo(function, connections)
    assert len(function.sandboxes) == 2


# ---- answers to POST response and error ----

def refused(status, kind="Whatever"):
    return Raw(status, json.dumps({"errorMessage": "scripted", "errorType": kind}))


GOES_ON = [(403, "InvalidStateTransition"), (410, "Gone"), (413, "RequestEntityTooLarge")]
ENDS = [(400, "InvalidRequestID"), (500, "ContainerError"), (None, "no answer at all")]


@pytest.mark.parametrize("status, kind", GOES_ON)
def test_these_answers_to_a_response_do_not_matter(function, connections, status, kind):
    sandbox = opened(function)
    _, invocation = echo(function, connections, posts=[refused(status, kind)])
    echo(function, connections)
    assert [sandbox] == function.alive()
    assert len(invocation.posts) == 1, "it is answered once, and no error behind it"


@pytest.mark.parametrize("status, kind", ENDS)
def test_these_answers_to_a_response_end_the_process(function, connections, status, kind):
    sandbox = opened(function)
    count = len(nexts(sandbox))  # with the one that brings the next event
    _, invocation = echo(function, connections, posts=[refused(status, kind)])
    wait_end(sandbox)
    # Asking for the next event would bring this one again, for ever.
    assert (len(nexts(sandbox)), len(invocation.posts), invocation.deliveries) == (count, 1, 1)


@pytest.mark.parametrize("status, kind", GOES_ON + ENDS)
def test_the_same_for_errors(function, connections, status, kind):
    sandbox = opened(function)
    function.run(b'{"what": "is this"}', posts=[refused(status, kind)])
    if (status, kind) in GOES_ON:
        echo(function, connections)
        assert [sandbox] == function.alive()
    else:
        wait_end(sandbox)


# ---- Lambda-Runtime-Invocation-Id ----

def test_the_invocation_id_comes_back_with_response_and_error(function, connections):
    opened(function)
    _, invocation = echo(function, connections)
    assert invocation.posts[0].header("Lambda-Runtime-Invocation-Id") == invocation.invocation_id
    _, invocation = function.run(b"{}")
    assert invocation.posts[0].path.endswith("/error")
    assert invocation.posts[0].header("Lambda-Runtime-Invocation-Id") == invocation.invocation_id


def test_where_there_is_none_none_is_sent(function, connections):
    opened(function)
    echo(function, connections)
    _, invocation = echo(function, connections, shape=Shape(invocation_id=False))
    assert invocation.posts[0].header("Lambda-Runtime-Invocation-Id") is None


# ---- start and end ----

def test_next_is_asked_for_when_the_database_is_away(own_cluster, make_function, connections):
    database = own_cluster.create_database()
    function = make_function(database, timeout=4)
    own_cluster.stop("immediate")
    try:
        began = time.monotonic()
        sandbox = function.start_sandbox()
        function.wait_idle()
        assert time.monotonic() - began < 8 and sandbox.init_error is None
        result = function.invoke(events.connect())  # in time
        assert (result.function_error, result.json()["statusCode"]) == (None, 503)
    finally:
        own_cluster.start()
    assert opened(function) is sandbox
    echo(function, connections)


@pytest.mark.parametrize("settings, part", [
    ({"max_frame_bytes": "many"}, "many"), ({"jwt_public_key_file": "/nowhere.pem"}, "nowhere"),
    ({"AWS_LAMBDA_MAX_CONCURRENCY": "10"}, "AWS_LAMBDA_MAX_CONCURRENCY")])
def test_wrong_settings_are_an_init_error(database, make_function, settings, part):
    function = make_function(database, **settings)
    sandbox = function.start_sandbox()
    assert sandbox.process.wait(20) not in (0, 99), sandbox.log()
    request, = [request for request in sandbox.requests if request.method == "POST"]
    assert request.path == f"{RUNTIME}/init/error" and nexts(sandbox) == []
    assert part in request.json()["errorMessage"] and request.json()["stackTrace"] == []
    kind = request.header("Lambda-Runtime-Function-Error-Type")
    assert kind == request.json()["errorType"] and ERROR_TYPE.fullmatch(kind)


def test_an_extension_is_registered_before_the_first_next(function):
    sandbox = function.start_sandbox()
    function.wait_idle()
    assert sandbox.requests[0].path == "/2020-01-01/extension/register"
    assert sandbox.requests[0].header("Lambda-Extension-Name")
    assert {request.path for request in sandbox.requests[1:]} == \
        {"/2020-01-01/extension/event/next", f"{RUNTIME}/invocation/next"}


def test_sigterm_ends_it_well_and_leaves_no_session_behind(database, function, connections):
    sandbox = opened(function)
    echo(function, connections)
    function.wait_idle()
    assert database.value(SESSIONS) == 1
    sandbox.shut_down()
    wait_for(lambda: database.value(SESSIONS) == 0, "the session is gone")


def test_one_process_has_one_session(database, function, connections):
    opened(function)
    for _ in range(5):
        echo(function, connections)
    function.invoke({"op": "deliver"})
    function.invoke(events.schedule())
    assert database.value(SESSIONS) == 1


# ---- frozen sandboxes ----

def end_sessions(database, which=""):
    """Of the functions; how many there were."""
    session = psycopg2.connect(database.cluster.url(database.cluster.superuser, database.name))
    with contextlib.closing(session), session.cursor() as cursor:
        cursor.execute("select count(pg_terminate_backend(pid)) from pg_stat_activity"
                       " where usename = 'switchboard_gateway' and datname = current_database() "
                       + which)
        return cursor.fetchone()[0]


def test_a_session_that_ended_while_it_was_frozen(database, function, connections):
    opened(function)
    for _ in range(3):
        function.wait_idle()
        assert end_sessions(database) == 1
        wait_for(lambda: database.value(SESSIONS) == 0, "the session has ended")
        result, _ = echo(function, connections)
        assert result.json() == {"statusCode": 200}
    assert len(connections.bodies()) == 3  # and none of them twice


def test_a_database_that_was_restarted_while_it_was_frozen(own_cluster, make_function, connections):
    function = make_function(own_cluster.create_database())
    opened(function)
    function.wait_idle()
    own_cluster.restart("immediate")
    result, _ = echo(function, connections)
    assert result.json() == {"statusCode": 200}


def test_a_session_that_ends_after_it_was_checked_is_no_disaster(database, make_function,
                                                                 connections):
    """It may have been run: then nothing is repeated, and the caller is told."""
    database.execute(ROUTES)
    function = make_function(database, routes="app")
    opened(function)
    invocation = function.begin(events.message({"action": "slow"}, route_key="slow"))
    wait_for(lambda: end_sessions(database, "and wait_event = 'PgSleep'"), "the route runs")
    assert function.finish(invocation).json()["statusCode"] == 500
    assert "Internal server error" in connections.wait()[0]
    echo(function, connections)


def test_the_connections_to_at_connections_may_die_meanwhile(function, connections):
    opened(function)
    echo(function, connections)
    function.wait_idle()
    connections.requests.clear()
    connections.answers.append(Raw(None))  # closes the kept connection instead of an answer
    echo(function, connections)


# ---- time ----

def test_the_answer_comes_before_lambda_ends_the_process(database, make_function, connections):
    database.execute(ROUTES)
    function = make_function(database, routes="app", timeout=3)
    sandbox = opened(function)
    result, invocation = function.run(events.message({"action": "slow"}, route_key="slow"))
    assert (invocation.outcome[0], result.json()) == ("response", {"statusCode": 504}), result
    assert "Endpoint request timed out" in connections.wait()[0]
    assert [sandbox] == function.alive()
    wait_for(lambda: not database.value("select count(*) from pg_stat_activity"
                                        " where wait_event = 'PgSleep'"), "the statement has ended")
    echo(function, connections)


def test_at_connections_that_hangs_does_not_outlive_the_invocation(database, make_function,
                                                                   connections):
    function = make_function(database, timeout=3)
    opened(function)
    connections.answers.extend([Raw(429)] * 1000)
    result, invocation = function.run(events.message(ECHO))
    assert invocation.outcome[0] == "response", result
    connections.answers.clear()
    echo(function, connections)


# ---- errors are values ----

def test_a_route_that_fails_is_a_response_of_500(database, make_function, connections):
    database.execute(ROUTES)
    function = make_function(database, routes="app")
    opened(function)
    broken = events.message({"action": "broken"}, route_key="broken")
    assert function.invoke(broken).json() == {"statusCode": 200}  # the profile's $error answers it
    assert json.loads(connections.wait()[0])["type"] == "error"
    connections.requests.clear()
    database.execute('drop function broadcast."$error"')
    result = function.invoke(broken)
    assert (result.function_error, result.json()) == (None, {"statusCode": 500})
    assert json.loads(connections.wait()[0])["message"] == "Internal server error"


@pytest.mark.parametrize("event", [
    b"", b"hello", b"[]", b"null", b"7", b"{", b"{}", b'{"a":', b"\xff\xfe", b'{"op":7}',
    b'{"requestContext":{"eventType":"MESSAGE"}}', b'{"requestContext":7}', b'{"Records":[]}',
    b'{"requestContext":{"eventType":"DANCE","connectionId":"x"}}', b"\0", b'{"a":"\\u0000"}',
    b"[" * 100000, b'{"Records":{}}', b'{"Records":[7]}'],
    ids=lambda event: repr(event[:30]))
def test_what_is_no_event_is_an_error_and_nothing_more(function, event):
    sandbox = function.start_sandbox()
    result, invocation = function.run(event)
    assert result.function_error == "Unhandled" and result.json()["errorType"] == \
        "Function.UnknownEvent", result
    request, = invocation.posts
    assert request.path.endswith("/error") and set(request.json()) == \
        {"errorMessage", "errorType", "stackTrace"}
    assert request.header("Lambda-Runtime-Function-Error-Type") == "Function.UnknownEvent"
    assert function.invoke({"op": "deliver"}).json() == {"delivered": 0}
    assert [sandbox] == function.alive()


@pytest.mark.parametrize("event", [
    {"version": "2.0", "requestContext": {"http": {"method": "GET"}}},
    {"httpMethod": "GET", "path": "/"}], ids=["function URL", "REST API"])
def test_an_http_api_is_told_that_it_is_wrong_here(function, event):
    result = function.invoke(event)
    assert (result.function_error, result.json()["statusCode"]) == (None, 400)


@pytest.mark.parametrize("event, part", [
    ({"op": "dance"}, "dance"), ({"op": "send", "message": 1}, "send"),
    ({"op": "send", "userId": "u"}, "message"), ({"op": "publish", "topic": "t"}, "message"),
    ({"op": "verify-email"}, "verify-email"), ({"op": "send", "userId": 7, "message": 1}, "send")],
    ids=str)
def test_a_command_that_makes_no_sense_is_an_error(function, event, part):
    result = function.invoke(event)
    assert (result.function_error, result.json()["errorType"]) == \
        ("Unhandled", "Function.BadRequest")
    assert part in result.json()["errorMessage"]


# ---- the kinds of events ----

def test_a_connection_comes_speaks_and_goes(database, function, connections):
    opened(function)
    row = database.row("c1=")
    assert row["is_active"] and row["node_id"] is None
    assert row["api_gateway_endpoint"] == connections.endpoint
    echo(function, connections)
    assert function.invoke(events.disconnect(code=1001, reason="bye")).json() == {"statusCode": 200}
    row = database.row("c1=")
    assert (row["is_active"], row["disconnect_code"], row["disconnect_reason"]) == \
        (False, 1001, "bye")


def test_without_the_variable_the_endpoint_is_in_the_event(database, make_function):
    function = make_function(database)
    del function.environment["AWS_WEBSOCKET_API_GATEWAY_ENDPOINT"]
    function.environment["AWS_REGION"] = "eu-west-3"
    opened(function)
    assert database.row("c1=")["api_gateway_endpoint"] == \
        "https://abc1234567.execute-api.eu-west-3.amazonaws.com/dev"


def test_an_event_may_have_nothing_but_its_kind_and_connection(database, function):
    for kind in ("CONNECT", "MESSAGE", "DISCONNECT"):
        result = function.invoke({"requestContext": {
            "eventType": kind, "connectionId": "c1=", "messageId": None, "requestId": None,
            "identity": None, "authorizer": None}, "headers": None, "body": None,
            "queryStringParameters": None})
        assert result.json() == {"statusCode": 200}, kind
    assert not database.row("c1=")["is_active"]


def test_a_greeting_follows_the_response_and_is_there_before_the_next_event(
        database, make_function, connections):
    function = make_function(database, profile="careconnect")
    result, invocation = function.run(events.connect())
    assert result.json() == {"statusCode": 200}
    function.wait_idle()
    assert [json.loads(body)["type"] for body in connections.bodies()] == \
        ["connection-established"]
    assert len(invocation.posts) == 1


def test_a_refused_connection_gets_nothing(database, make_function, connections):
    function = make_function(database, profile="chat", jwt_secret="s" * 32)
    result = function.invoke(events.connect(query={"token": "invalid"}))
    assert result.json()["statusCode"] == 401
    assert json.loads(result.json()["body"]) == {"error": "Invalid authentication token"}
    function.wait_idle()
    assert connections.requests == [] and database.active() == 0


def test_a_connection_that_is_gone_is_forgotten(database, function, connections):
    opened(function)
    connections.answers.append(Raw(410, '{"message":"Gone"}',
                                   [("x-amzn-ErrorType", "GoneException")]))
    assert function.invoke(events.message(ECHO)).json()["statusCode"] == 200
    function.wait_idle()
    row = database.row("c1=")
    assert (row["is_active"], row["disconnect_code"]) == (False, 1006)


def test_the_schedule_cleans_and_delivers(database, function, connections):
    opened(function)
    database.execute("update switchboard.websocket_connections"
                     "   set expires_at = now() - interval '1 hour' where connection_id = 'c1='")
    opened(function, "c2=")
    database.execute("select switchboard.publish_to_all('{\"n\": 1}')")
    for event in (events.schedule(), {**events.schedule(), "source": "aws.scheduler",
                                      "detail": "{}"}, {"op": "cleanup"}):
        result = function.invoke(event)
        assert result.function_error is None, result
        assert set(result.json()) == {"expired", "orphaned", "deleted", "partitionsCreated",
                                      "partitionsDropped", "delivered"}
    assert not database.row("c1=")["is_active"] and database.row("c2=")["is_active"]
    assert (connections.bodies("c2="), connections.bodies()) == (['{"n": 1}'], [])


def test_a_schedule_that_fails_is_an_error_so_that_it_is_tried_again(database, function):
    function.start_sandbox()
    database.execute("alter function switchboard.cleanup_connections rename to elsewhere")
    function.invoke_async(events.schedule()).join()
    assert (function.retries, len(function.invocations)) == (2, 3)
    assert all(json.loads(invocation.posts[0].body)["errorType"] == "Function.Failed"
               for invocation in function.invocations)


def test_a_queue_fails_record_by_record(function, connections):
    opened(function)
    result = function.invoke(events.queue(
        {"op": "send", "connectionId": "c1=", "message": 1}, "nonsense", {"op": "dance"},
        {"op": "send", "connectionId": "c1=", "message": 2}))
    assert result.json() == {"batchItemFailures": [{"itemIdentifier": "q1"},
                                                   {"itemIdentifier": "q2"}]}
    assert connections.wait(count=2) == ["1", "2"]


@pytest.mark.parametrize("wrap", [events.topic, events.bus])
def test_topics_and_buses_bring_commands(function, connections, wrap):
    opened(function)
    good = wrap({"op": "send", "connectionId": "c1=", "message": {"n": 1}})
    assert function.invoke(good).function_error is None
    assert [json.loads(body) for body in connections.wait()] == [{"n": 1}]
    assert function.invoke(wrap({"op": "dance"})).function_error == "Unhandled"


# ---- logs ----

def lines_of(sandbox):
    return [line for line in sandbox.log().splitlines() if line]


def test_logs_are_json_with_level_and_the_id_of_the_invocation(database, make_function,
                                                               connections):
    function = make_function(database, AWS_LAMBDA_LOG_FORMAT="JSON")
    sandbox = opened(function)
    _, invocation = function.run({"op": "dance"})
    function.wait_idle()
    lines = [json.loads(line) for line in lines_of(sandbox)]
    logs = [line for line in lines if "_aws" not in line]
    assert logs and all(line["level"] in ("DEBUG", "INFO", "WARN", "ERROR") for line in logs), logs
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    assert all(stamp.fullmatch(line["timestamp"]) for line in logs), logs
    assert any(line.get("requestId") == invocation.request_id for line in logs), logs


def test_metrics_are_one_line_for_each_invocation(function, connections):
    sandbox = opened(function)
    echo(function, connections)
    function.wait_idle()
    metrics = [json.loads(line) for line in lines_of(sandbox) if line.startswith("{")]
    assert [line["Route"] for line in metrics] == ["$connect", "$default"]
    assert [(line["Sent"], line["cold"]) for line in metrics] == [(0, True), (1, False)]
    for line in metrics:
        directive, = line["_aws"]["CloudWatchMetrics"]
        names = [metric["Name"] for metric in directive["Metrics"]]
        assert directive["Namespace"] and directive["Dimensions"] == [["Function", "Route"]]
        assert all(isinstance(line[name], int) for name in names) and "Duration" in names
        assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 60
        assert line["Function"] == "app"


def test_secrets_are_not_logged(database, make_function, connections):
    function = make_function(database, profile="careconnect", jwt_secret="k" * 40)
    sandbox = opened(function)
    function.invoke(events.message({"type": "authenticate", "token": "a.secret.token"}))
    function.wait_idle()
    for secret in (function.environment["AWS_SECRET_ACCESS_KEY"], "k" * 40, "a.secret.token",
                   function.environment["AWS_SESSION_TOKEN"], "p4ssw0rd"):
        assert secret not in sandbox.log()
