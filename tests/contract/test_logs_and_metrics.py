# SPDX-License-Identifier: Apache-2.0
"""Section 9: access logs and metrics, with the names that CloudWatch has."""
import json
import re
import signal

import pytest
from functions import FunctionError, Raw
from gateway import TWO_WAY, describe
from harness import ID, REQUEST_ID, wait_for

UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
NAMES = ["apiId", "stage", "routeKey", "eventType", "connectionId", "messageId", "connectedAt",
         "requestId", "extendedRequestId", "requestTime", "requestTimeEpoch", "domainName",
         "status", "integrationLatency", "error.message", "error.responseType",
         "authorizer.principalId", "authorizer.tenant", "identity.sourceIp", "identity.userAgent",
         "identity.caller", "identity.user", "identity.userArn", "integration.status",
         "integration.integrationStatus", "integration.latency", "waf.status", "no.such.name"]
FORMAT = "{%s}" % ",".join(f'"{name}":"$context.{name}"' for name in NAMES)


class AccessLog:
    """The lines of a gateway's access log, as they come."""

    def __init__(self, path):
        self.path = path

    def settings(self, line_format=FORMAT):
        return {"access_log_file": self.path, "access_log_format": line_format}

    def text(self, lines=1):
        def enough():
            text = self.path.read_text() if self.path.exists() else ""
            return text if text.count("\n") >= lines else None
        return wait_for(enough, f"{lines} lines in the access log")

    def rows(self, count=1):
        return [json.loads(line) for line in self.text(count).splitlines()]


@pytest.fixture
def log(tmp_path):
    return AccessLog(tmp_path / "access.log")


def raises(_):
    raise FunctionError("boom")


def one_message(start, functions, log, function, route="app", **options):
    """The row of a message that this function answers."""
    def app(event):
        is_message = event["requestContext"]["eventType"] == "MESSAGE"
        return function(event) if is_message else {"statusCode": 200}
    functions["app"] = app
    gateway = start(describe(functions, {"$default": route}), **log.settings(), **options)
    gateway.open().send("hello")
    return log.rows(2)[1]


# ---- 9.2: access logs ----

def test_9_2_a_line_for_each_event(start, functions, log):
    gateway = start(**log.settings())
    client = gateway.open(headers=[("User-Agent", "my-client")])
    client.send("hello")
    functions.wait("MESSAGE")
    log.text(2)
    client.close()
    rows = log.rows(3)
    assert [row["eventType"] for row in rows] == ["CONNECT", "MESSAGE", "DISCONNECT"]
    assert [row["routeKey"] for row in rows] == ["$connect", "$default", "$disconnect"]
    assert [row["status"] for row in rows] == ["200", "200", "200"]
    for row, kind in zip(rows, ("CONNECT", "MESSAGE", "DISCONNECT")):
        context = functions.wait_one(kind)["requestContext"]
        for name in ("apiId", "stage", "connectionId", "requestId", "extendedRequestId",
                     "requestTime", "domainName"):
            assert row[name] == context[name], name
        for name in ("connectedAt", "requestTimeEpoch"):
            assert row[name] == str(context[name]), name
        assert row["messageId"] == context.get("messageId", "-")
        assert (row["identity.sourceIp"], row["identity.userAgent"]) == ("127.0.0.1", "my-client")


def test_9_2_latency_is_there_and_the_integration_family_is_not(start, functions, log):
    row = one_message(start, functions, log, lambda _: {"statusCode": 200})
    assert int(row["integrationLatency"]) >= 0
    for name in ("integration.status", "integration.integrationStatus", "integration.latency"):
        assert row[name] == "-"


def test_9_2_unset_and_unknown_variables_are_a_hyphen(start, functions, log):
    row = one_message(start, functions, log, lambda _: {"statusCode": 200})
    for name in ("error.message", "error.responseType", "authorizer.principalId",
                 "identity.caller", "waf.status", "no.such.name"):
        assert row[name] == "-", name


def test_9_2_a_function_error_is_502_integration_failure(start, functions, log):
    row = one_message(start, functions, log, raises)
    assert (row["status"], row["error.message"], row["error.responseType"]) \
        == ("502", "Internal server error", "INTEGRATION_FAILURE")


def test_9_2_a_503_of_the_function_is_no_error(start, functions, log):
    row = one_message(start, functions, log, lambda _: {"statusCode": 503, "body": "later"},
                      TWO_WAY)
    assert (row["status"], row["error.message"], row["error.responseType"]) == ("503", "-", "-")


def test_9_2_forbidden_is_403_access_denied(start, functions, log):
    gateway = start(describe(functions, {"$default": None}), **log.settings())
    client = gateway.open()
    client.send("hello")
    client.recv()
    row = log.rows(2)[1]
    assert (row["status"], row["error.message"], row["error.responseType"]) \
        == ("403", "Forbidden", "ACCESS_DENIED")


def test_9_2_a_time_out_is_504_integration_timeout(start, functions, log):
    api = describe(functions)
    api["routes"]["$connect"] = {}
    api["integrations"]["app"]["timeoutInMillis"] = 200
    functions["app"] = functions.hold()
    client = start(api, **log.settings()).open()
    client.send("hello")
    client.recv()
    row = [row for row in log.rows(2) if row["eventType"] == "MESSAGE"][0]
    assert (row["status"], row["error.message"], row["error.responseType"]) \
        == ("504", "Endpoint request timed out", "INTEGRATION_TIMEOUT")


def test_9_2_a_refused_connect_has_its_status(start, functions, log):
    functions["app"] = lambda _: {"statusCode": 403}
    start(**log.settings()).refused()
    row = log.rows()[0]
    assert (row["eventType"], row["status"], row["routeKey"]) == ("CONNECT", "403", "$connect")
    assert ID.match(row["connectionId"]) and REQUEST_ID.match(row["requestId"])


def test_9_2_what_the_authorizer_said(start, functions, log):
    functions["authorizer"] = lambda event: {
        "principalId": "u1", "context": {"tenant": "t1"}, "policyDocument": {"Statement": [
            {"Action": "*", "Effect": "Allow", "Resource": "*"}]}}
    gateway = start(describe(functions,
                             {"$connect": {"integration": "app", "authorizer": "tokens"}},
                             authorizers={"tokens": {"url": functions.url("authorizer")}}),
                    **log.settings())
    gateway.open()
    row = log.rows()[0]
    assert (row["authorizer.principalId"], row["authorizer.tenant"]) == ("u1", "t1")


def test_9_2_the_management_api_has_lines_of_its_own(start, functions, log):
    gateway = start(**log.settings())
    client = gateway.open()
    for method, status in (("POST", 200), ("GET", 200), ("DELETE", 204)):
        assert gateway.management(method, client.id, "x" if method == "POST" else None).status \
            == status
    client.wait_closed()
    functions.wait("DISCONNECT")
    assert gateway.management("POST", client.id, "x").status == 410
    rows = [row for row in log.rows(6) if row["eventType"] == "CONNECTION_API"]
    assert [(row["routeKey"], row["status"]) for row in rows] == [
        ("POST /@connections/{connectionId}", "200"), ("GET /@connections/{connectionId}", "200"),
        ("DELETE /@connections/{connectionId}", "204"),
        ("POST /@connections/{connectionId}", "410")]
    for row in rows:
        assert UUID.match(row["requestId"]) and row["connectedAt"] == "-"
        assert row["connectionId"] == client.id


def test_9_2_a_client_cannot_end_a_json_value(start, functions, log):
    gateway = start(**log.settings())
    gateway.open(headers=[("User-Agent", 'a","status":"999')])
    row = log.rows()[0]
    assert row["identity.userAgent"] == 'a","status":"999' and row["status"] == "200"


def test_9_2_the_common_log_format(start, functions, log):
    gateway = start(**log.settings(
        '$context.identity.sourceIp $context.identity.caller $context.identity.user'
        ' [$context.requestTime] "$context.eventType $context.routeKey $context.connectionId"'
        ' $context.status $context.requestId'))
    client = gateway.open()
    assert re.match(r'^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]'
                    r' "CONNECT \$connect %s" 200 [A-Za-z0-9_-]{15}=$' % re.escape(client.id),
                    log.text().splitlines()[0])


def test_9_2_the_csv_format(start, functions, log):
    gateway = start(**log.settings("$context.requestId,$context.eventType,$context.status"))
    gateway.open()
    context = functions.wait_one("CONNECT")["requestContext"]
    assert log.text().splitlines()[0] == f"{context['requestId']},CONNECT,200"


def test_the_access_log_is_opened_again_after_a_hangup(start, log):
    gateway = start(**log.settings("$context.eventType $context.connectionId"))
    first = gateway.open()
    log.text()
    rotated = log.path.rename(log.path.with_suffix(".1"))
    second = gateway.open()
    wait_for(lambda: second.id in rotated.read_text(), "a line where the file went")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(log.path.exists, "the file is there again")
    third = gateway.open()
    assert log.text() == f"CONNECT {third.id}\n"
    assert rotated.read_text() == f"CONNECT {first.id}\nCONNECT {second.id}\n"


def test_a_hangup_without_an_access_log_is_nothing(gateway):
    client = gateway.open()
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.management("POST", client.id, "still here").status == 200
    assert client.recv() == "still here"


# ---- 9.1: metrics ----

SAMPLE = re.compile(r'^(\w+)\{(.*)\} ([0-9.e+]+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """What /metrics says under CloudWatch's names."""

    def __init__(self, gateway):
        self.samples = {}
        for line in gateway.http("GET", "/metrics").body.decode().splitlines():
            found = SAMPLE.match(line)
            if found:
                labels = dict(LABEL.findall(found[2]))
                self.samples[found[1], labels.get("Route")] = float(found[3])
                self.labels = labels

    def get(self, name, route):
        return self.samples.get((name, route), 0)


def counted(gateway, route, **expected):
    """Waits until the route's metrics are these; what is not named is 0."""
    names = ("ConnectCount", "MessageCount", "IntegrationError", "ClientError", "ExecutionError")
    want = {name: expected.get(name, 0) for name in names}

    def have():
        metrics = Metrics(gateway)
        return {name: metrics.get(name, route) for name in names}
    wait_for(lambda: have() == want, f"{route} has {want}; it has {have()}")


def test_9_1_connect_counts_as_connect_and_message(gateway):
    gateway.open()
    counted(gateway, "$connect", ConnectCount=1, MessageCount=1)


def test_9_1_a_refused_connect_is_a_client_error_as_well(gateway, functions):
    functions["app"] = lambda _: {"statusCode": 403}
    gateway.refused()
    counted(gateway, "$connect", ConnectCount=1, MessageCount=1, ClientError=1)


def test_9_1_a_one_way_message_is_one(gateway, functions):
    gateway.open().send("hello")
    functions.wait("MESSAGE")
    counted(gateway, "$default", MessageCount=1)


def test_9_1_a_two_way_message_is_two(start, functions):
    gateway = start(describe(functions, {"$default": TWO_WAY}))
    functions["app"] = lambda _: {"statusCode": 200, "body": "x"}
    client = gateway.open()
    client.send("hello")
    client.recv()
    counted(gateway, "$default", MessageCount=2)


def test_9_1_a_post_is_one_under_its_own_route(gateway):
    client = gateway.open()
    gateway.management("POST", client.id, "hello")
    counted(gateway, "POST /@connections/{connectionId}", MessageCount=1)
    assert Metrics(gateway).get("IntegrationLatency_count",
                                "POST /@connections/{connectionId}") == 0


@pytest.mark.parametrize("route", ["app", None])
def test_9_1_disconnect_is_one_even_without_an_integration(start, functions, route):
    gateway = start(describe(functions, {"$disconnect": route}))
    gateway.open().close()
    counted(gateway, "$disconnect", MessageCount=1)


def test_9_1_an_unknown_route_is_a_client_error(start, functions):
    gateway = start(describe(functions, {"$default": None}))
    client = gateway.open()
    client.send("hello")
    client.recv()
    wait_for(lambda: sum(value for (name, _), value in Metrics(gateway).samples.items()
                         if name == "ClientError") == 1, "one ClientError")


def test_9_1_a_5xx_of_a_function_is_an_execution_error(start, functions):
    gateway = start(describe(functions, {"$default": TWO_WAY}))
    client = gateway.open()
    functions["app"] = lambda _: {"statusCode": 503, "body": "x"}
    client.send("hello")
    client.recv()
    counted(gateway, "$default", MessageCount=2, ExecutionError=1)


def test_9_1_an_error_of_an_integration_is_counted(start, functions):
    gateway = start(describe(functions))
    client = gateway.open()
    functions["app"] = raises
    client.send("hello")
    client.recv()
    wait_for(lambda: Metrics(gateway).get("IntegrationError", "$default")
             + Metrics(gateway).get("ExecutionError", "$default") == 1, "one error")


def test_9_1_a_5xx_of_a_backend_is_an_integration_error(start, functions, backend):
    gateway = start(describe(functions, {"$default": "relay"}, {
        "relay": {"type": "http_proxy", "url": backend.origin, "method": "POST"}}))
    backend.respond = lambda _: Raw(503)
    gateway.open().send("hello")
    counted(gateway, "$default", MessageCount=1, IntegrationError=1)


def test_9_1_latency_in_milliseconds(gateway, functions):
    client = gateway.open()
    for number in (1, 2, 3):
        client.send("hello")
        functions.wait("MESSAGE", number)
    wait_for(lambda: Metrics(gateway).get("IntegrationLatency_count", "$default") == 3,
             "three latencies")
    assert Metrics(gateway).get("IntegrationLatency_sum", "$default") < 3 * 15000


def test_9_1_the_dimensions(start, functions):
    gateway = start(api_id="abc1234567", stage="prod")
    gateway.open()
    counted(gateway, "$connect", ConnectCount=1, MessageCount=1)
    labels = Metrics(gateway).labels
    assert (labels["ApiId"], labels["Stage"]) == ("abc1234567", "prod")


@pytest.mark.parametrize("route", ["$connect", "$disconnect", "$default",
                                   "POST /@connections/{connectionId}"])
def test_9_1_error_metrics_publish_zeros(gateway, route):
    samples = Metrics(gateway).samples
    assert [samples[name, route] for name in ("IntegrationError", "ClientError", "ExecutionError")] \
        == [0, 0, 0]
