# SPDX-License-Identifier: Apache-2.0
"""`switchboard backend`: a gateway that knows nothing of SQL in front, HTTP in between."""
import contextlib
import http.server
import json
import signal
import socket
import threading
import time
import urllib.parse

import harness
import pytest
from harness import token, wait_for

STAGE = "dev"
SECRET = "the-gateway-and-nobody-else"
JWT_SECRET = "a-secret-of-at-least-32-bytes-for-hs256!"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
INVOKE = "/2015-03-31/functions/switchboard/invocations"

CONTEXT = {"apiId": "apiId", "connectedAt": "connectedAt", "connectionId": "connectionId",
           "domainName": "domainName", "eventType": "eventType", "messageId": "messageId",
           "requestId": "requestId", "routeKey": "routeKey", "stage": "stage",
           "sourceIp": "identity.sourceIp", "userAgent": "identity.userAgent",
           "disconnectStatusCode": "disconnectStatusCode", "disconnectReason": "disconnectReason"}
QUERY = ["email", "type", "token", "userId", "username", "resume", "status", "body", "protocol"]

ROUTES = ["echo", "slow", "tell", "fails"]  # of the schema app
SQL = """
    create schema app;
    create table app.ended (connection_id text, code integer, reason text);
    create function app."$connect"(event switchboard.event)
    returns setof switchboard.delivery language plpgsql as $$
    begin
        if event.query ? 'status' then
            raise exception '%', event.query ->> 'body' using errcode = 'SB' || (event.query ->> 'status');
        end if;
        if event.query ? 'protocol' then
            return next switchboard.accept(subprotocol => event.query ->> 'protocol');
        end if;
        return query select * from switchboard.reply(jsonb_build_object(
            'type', 'connection-established', 'sessionId', event.connection_id,
            'query', event.query, 'headers', event.headers));
    end $$;
    create function app."$disconnect"(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        insert into app.ended
        values (event.connection_id, event.disconnect_code, event.disconnect_reason);
        select null::text, null::text, null::text, null::text where false;
    $$;
    create function app.echo(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.reply(event.body -> 'n')
    $$;
    create function app.slow(event switchboard.event)
    returns setof switchboard.delivery language plpgsql as $$
    begin
        perform pg_advisory_xact_lock(4711);
        return query select * from switchboard.reply(event.body -> 'n');
    end $$;
    create function app.tell(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.to_connection(event.body ->> 'to', event.body -> 'n')
    $$;
    create function app.fails(event switchboard.event)
    returns setof switchboard.delivery language plpgsql as $$
    begin
        raise exception 'it broke';
    end $$;
"""


def mapping(secret=None):
    parameters = {f"integration.request.header.{name}": f"context.{source}"
                  for name, source in CONTEXT.items()}
    parameters.update({f"integration.request.querystring.{name}":
                       f"route.request.querystring.{name}" for name in QUERY})
    if secret:
        parameters["integration.request.header.x-switchboard-secret"] = f"'{secret}'"
    return parameters


class Backend(harness.Server):
    """`switchboard backend`."""

    COMMAND = "backend"

    def take_ports(self, ports):
        self.admin_port = self.port = ports["backendPort"]

    def post(self, path, body=None, **headers):
        return self.http("POST", path, body, headers)

    def event(self, event, path="/events", **headers):
        return self.post(path, json.dumps(event), **{"Content-Type": "application/json"}, **headers)


class Gateway(harness.Server):
    """`switchboard serve --api`, which has no database."""

    def __init__(self, directory, url, secret=None, kind="http_proxy", **settings):
        super().__init__(None, directory, aws_strict="on", stage=STAGE,
                         management_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                         management_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], **settings)
        integration = {"type": kind, "url": url}
        if kind == "http_proxy":
            integration["requestParameters"] = mapping(secret)
        path = self.directory / "gateway.json"
        path.write_text(json.dumps({
            "routeSelectionExpression": "$request.body.type",
            "integrations": {"backend": integration},
            "routes": {key: {"integration": "backend"}
                       for key in ("$connect", "$disconnect", "$default", *ROUTES)}}))
        self.settings["api"] = path


class Gone(http.server.BaseHTTPRequestHandler):
    """@connections that answers 410, or what it is told first."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        statuses = self.server.statuses
        status = statuses.pop(0) if statuses else 410
        self.server.seen.append((status, self.path, body.decode()))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def management():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gone)
    server.seen, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/{STAGE}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Topology:
    def __init__(self, gateway, backend, database):
        self.gateway, self.backend, self.database = gateway, backend, database

    def connect(self, query="", **options):
        return self.gateway.connect(query, **options)


@contextlib.contextmanager
def reserved_port():
    """A port that nobody else gets; a server with SO_REUSEADDR may still listen on it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def start_topology(tmp_path, request):
    """The gateway, then the backend, which has to know where the gateway is."""
    servers = []

    def start(database, gateway=None, path="/ws", **settings):
        with reserved_port() as port:
            front = Gateway(tmp_path, f"http://127.0.0.1:{port}{path}",
                            settings.get("backend_secret"), **(gateway or {}))
            servers.append(front)
            front.start()
            backend = Backend(database, tmp_path, backend_port=port, **{
                "poll_interval_ms": 3600000,
                "public_endpoint": f"http://127.0.0.1:{front.port}/{STAGE}", **KEYS, **settings})
            servers.append(backend)
            backend.start()
        return Topology(front, backend, database)

    yield start
    if getattr(request.node, "has_failed", False):
        for server in servers:
            print(f"---- the end of {server.directory / 'log'}")
            print(server.log()[-6000:])
    for server in servers:
        server.destroy()


@pytest.fixture
def topology(database, start_topology):
    return start_topology(database, jwt_secret=JWT_SECRET)


@pytest.fixture
def app(database, start_topology):
    """Our own routes."""
    database.execute(SQL)
    return start_topology(database, routes="app")


@pytest.fixture
def start_backend(database, tmp_path, management):
    """One without a gateway, whose connections are gone."""
    backends = []

    def start(database=database, **settings):
        backends.append(Backend(database, tmp_path, **{
            "backend_port": 0, "poll_interval_ms": 3600000, "public_endpoint": management.url,
            **settings}))
        return backends[-1].start()

    yield start
    for backend in backends:
        backend.destroy()


@pytest.fixture
def backend(start_backend):
    return start_backend()


# ---- HTTP_PROXY ----

def test_a_connection_from_its_first_frame_to_its_end(topology):
    client = topology.connect("userId=u1")
    row = topology.database.row(client.id)
    assert row["is_active"] and row["node_id"] is None and row["connection_type"] == "aws"
    assert row["api_gateway_endpoint"] == f"http://127.0.0.1:{topology.gateway.port}/{STAGE}"
    answer = client.ask({"type": "authenticate", "token": token(JWT_SECRET, userId="u-7")})
    assert answer["type"] == "authentication-success", answer
    assert topology.database.row(client.id)["user_id"] == "u-7"
    client.close(4001, "done")
    row = topology.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (4001, "done")


def test_an_address_that_sql_verifies_reaches_the_client(topology):
    client = topology.connect("type=email-verification&email=" +
                              urllib.parse.quote("ann+1@example.com"))
    assert topology.database.value(
        "select switchboard.notify_email_verified('Ann+1@example.com')") is True
    message = client.recv_json()
    assert (message["type"], message["email"]) == ("email-verified", "ann+1@example.com")
    row = topology.database.wait_inactive(client.id)
    assert row["disconnect_reason"] == "Email verified"


def test_what_is_published_reaches_each_client_in_order(app):
    clients = [app.connect() for _ in range(3)]
    for client in clients:
        app.database.execute("select switchboard.subscribe(%s, 'news')", client.id)
    for n in range(30):
        app.database.execute("select switchboard.publish('news', %s)", json.dumps(n))
    for client in clients:
        assert [client.recv_json() for _ in range(30)] == list(range(30))


def test_one_client_tells_another_through_the_log(app):
    ann, ben = app.connect(), app.connect()
    for n in range(10):
        ann.send({"type": "tell", "to": ben.id, "n": n})
        assert ben.recv_json() == n
    ann.assert_silent()


def test_the_route_sees_the_handshake(app):
    client = app.connect("userId=" + urllib.parse.quote("zoë & co"), welcome=False,
                         headers=[("X-Flavour", "vanilla"), ("Origin", "https://example.com")])
    greeting = client.recv_json()
    assert greeting["query"] == {"userId": "zoë & co"}
    headers = {name.lower(): value for name, value in greeting["headers"].items()}
    assert headers["x-flavour"] == "vanilla" and headers["origin"] == "https://example.com"
    assert headers["sec-websocket-version"] == "13"
    assert not {"connectionid", "eventtype", "x-switchboard-secret"} & set(headers)


def test_what_the_client_claims_to_be_is_overwritten_by_the_mapping(app):
    client = app.connect(headers=[("connectionId", "somebody-else"), ("eventType", "MESSAGE")])
    assert harness.ID.match(client.id)
    assert app.database.row("somebody-else") is None


def test_a_message_is_never_taken_for_an_event(app):
    client, victim = app.connect(), app.connect()
    answer = client.ask({"op": "send", "connectionId": victim.id, "message": "boo",
                         "requestContext": {"eventType": "DISCONNECT", "connectionId": victim.id}})
    assert answer["message"] == "Unknown message type: null"
    assert victim.ask({"type": "echo", "n": 1}) == 1
    assert app.database.row(victim.id)["is_active"]


def test_a_handshake_that_a_route_refuses(app):
    answer = app.gateway.refused("status=403&body=not+you")
    assert (answer.status, answer.body) == (403, b"not you")


def test_a_handshake_without_a_token_is_refused_where_one_is_required(database, start_topology):
    topology = start_topology(database, jwt_secret=JWT_SECRET, auth="required")
    answer = topology.gateway.refused()
    assert answer.status == 401
    assert json.loads(answer.body)["message"] == "Unauthorized"
    client = topology.connect("token=" + token(JWT_SECRET, userId="u-3"))
    assert topology.database.row(client.id)["user_id"] == "u-3"


def test_the_route_picks_the_subprotocol(app):
    client = app.connect("protocol=b", subprotocols=["a", "b"])
    assert client.answer.header("sec-websocket-protocol") == "b"


def test_a_route_that_fails_and_one_that_is_missing(app):
    client = app.connect()
    assert client.ask({"type": "fails"})["message"] == "Internal server error"
    assert client.ask({"type": "nobody-knows"})["message"] == "Unknown message type: nobody-knows"
    assert client.ask({"type": "echo", "n": "still here"}) == "still here"


def test_why_a_connection_ended_reaches_the_route(app):
    client = app.connect()
    client.close(3001, "tired")
    assert wait_for(lambda: app.database.execute("select * from app.ended"),
                    "$disconnect has run") == [
        {"connection_id": client.id, "code": 3001, "reason": "tired"}]


def test_a_connection_that_its_gateway_has_lost_is_forgotten(app):
    client = app.connect()
    app.gateway.kill()
    app.gateway.start(wait=False)
    path = app.gateway.settings["ports_file"]
    wait_for(path.exists, "the gateway is back")
    app.database.execute(
        "update switchboard.websocket_connections set api_gateway_endpoint = %s",
        f"http://127.0.0.1:{json.loads(path.read_text())['port']}/{STAGE}")
    app.gateway.wait_ready()
    app.database.value("select switchboard.send_to_connection(%s, '1')", client.id)
    row = app.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1006, "Gone")


def test_many_at_once(app):
    clients = [app.connect() for _ in range(20)]
    for n in range(10):
        for client in clients:
            client.send({"type": "echo", "n": n})
    for client in clients:  # the gateway calls side by side, as API Gateway does
        assert sorted(client.recv_json() for _ in range(10)) == list(range(10))


CONNECT = {"connectionId": "c1", "eventType": "CONNECT", "routeKey": "$connect"}


def test_a_greeting_waits_until_the_gateway_knows_the_connection(backend, management):
    management.statuses.extend([410, 410, 200])
    assert backend.post("/", **CONNECT).status == 200
    seen = wait_for(lambda: management.seen[2:] and management.seen, "the greeting was sent")
    assert [status for status, _, _ in seen] == [410, 410, 200]
    assert {path for _, path, _ in seen} == {f"/{STAGE}/@connections/c1"}
    assert json.loads(seen[2][2])["type"] == "connection-established"
    assert backend.database.row("c1")["is_active"]


def test_a_connection_that_never_came_to_be_is_forgotten(backend, management):
    assert backend.post("/", **CONNECT).status == 200
    row = backend.database.wait_inactive("c1")
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1006, "Gone")
    assert len(management.seen) > 1


def test_a_gateway_that_does_not_wait_for_the_answer(app, start_backend, management):
    """What it gave up is tried like any other, and found to be gone."""
    backend = start_backend(app.database, routes="app")
    lock = app.database.connect()
    harness.call(lock, "lock table app.ended in access exclusive mode")
    app.database.execute("""
        create or replace function app."$connect"(event switchboard.event)
        returns setof switchboard.delivery language plpgsql as $$
        begin
            perform count(*) from app.ended;
            return next switchboard.reply('1');
        end $$""")
    with socket.create_connection(("127.0.0.1", backend.port)) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in CONNECT.items())
        connection.sendall(f"GET / HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode())
        wait_for(lambda: app.database.value("select count(*) from pg_locks where not granted"),
                 "the route waits")
    lock.rollback()
    assert app.database.wait_inactive("c1")["disconnect_reason"] == "Gone"


# ---- mappings, secrets, methods ----

CALL = {"connectionId": "gbgEXa8pzQAYKEi_gA==", "eventType": "MESSAGE", "routeKey": "$default"}


@pytest.mark.parametrize("missing", ["connectionId", "eventType"])
def test_a_mapping_that_is_missing_is_named(backend, missing):
    headers = {name: value for name, value in CALL.items() if name != missing}
    if missing == "eventType":
        del headers["routeKey"]  # which would say it as well
    answer = backend.post("/", "{}", **headers)
    assert answer.status == 400
    assert answer.json()["message"] == (
        f"The header {missing} is missing: map integration.request.header.{missing}"
        f" to context.{missing}")
    backend.wait_line("events.refused", missing)


def test_names_of_headers_have_no_case(backend):
    answer = backend.post("/", "{}", **{name.upper(): value for name, value in CALL.items()})
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("type_, status", [("PING", 400), ("message", 400)])
def test_other_types_of_events_are_refused(backend, type_, status):
    assert backend.post("/", "", **{**CALL, "eventType": type_}).status == status


@pytest.mark.parametrize("method, status", [("POST", 200), ("PUT", 200), ("GET", 200),
                                            ("DELETE", 405), ("OPTIONS", 405)])
def test_methods(backend, method, status):
    answer = backend.http(method, "/any/path", None,
                          {**CALL, "eventType": "DISCONNECT", "routeKey": "$disconnect"})
    assert answer.status == status
    assert answer.header("upgrade") is None
    if status == 405:
        assert answer.header("allow") == "GET, POST, PUT"


def test_a_handshake_is_a_request_like_any_other(backend):
    answer = backend.http("GET", "/ws", None, {
        "connectionId": "c1", "eventType": "CONNECT", "routeKey": "$connect",
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions": "permessage-deflate"})
    assert answer.status == 200
    assert backend.database.row("c1")["is_active"]


def test_what_is_no_text_is_refused(backend):
    assert backend.post("/", b"\0", **CALL).status == 400
    assert backend.post("/", b"\xff\xfe", **CALL).status == 200


def test_a_body_that_is_too_large(start_backend):
    backend = start_backend(max_message_bytes=1024)
    assert backend.post("/", b"x" * 200000, **CALL).status == 413
    assert backend.post("/", b"x" * 1024, **CALL).status == 200


def test_only_who_knows_the_secret_may_call(database, start_topology):
    topology = start_topology(database, backend_secret=SECRET)
    backend = topology.backend
    client = topology.connect()
    for path, headers in (("/", CALL), ("/events", {}), (INVOKE, {}), ("/metrics", {})):
        for wrong in ({}, {"x-switchboard-secret": SECRET[:-1] + "x"},
                      {"x-switchboard-secret": SECRET + "x"}, {"x-switchboard-secret": ""}):
            answer = backend.post(path, "{}", **headers, **wrong)
            assert (answer.status, answer.json()) == (403, {"message": "Forbidden"})
    assert backend.http("GET", "/ready").status == 200
    assert backend.http("GET", "/live").status == 200
    answer = backend.http("GET", "/metrics", headers={"X-Switchboard-Secret": SECRET})
    assert answer.status == 200
    assert harness.parse_metrics(answer.body.decode())["switchboard_connects_accepted_total"] == 1
    assert SECRET not in backend.log()
    client.close()


def test_an_open_port_without_a_secret_is_warned_about(start_backend):
    assert start_backend(backend_address="0.0.0.0").lines("backend.no_secret")
    assert not start_backend(backend_address="0.0.0.0",
                             backend_secret=SECRET).lines("backend.no_secret")
    assert not start_backend().lines("backend.no_secret")


# ---- events as JSON ----

def event_of(kind, connection_id="json-1", **members):
    return {"requestContext": {"eventType": kind, "connectionId": connection_id,
                               "routeKey": {"CONNECT": "$connect", "DISCONNECT": "$disconnect",
                                            "MESSAGE": "$default"}[kind],
                               "stage": STAGE, "apiId": "abc", "identity": {}}, **members}


@pytest.mark.parametrize("path", ["/events", INVOKE])
def test_an_event_is_answered_as_a_function_answers_it(start_backend, path):
    backend = start_backend(public_endpoint="")
    answer = backend.event(event_of("CONNECT", headers={}), path)
    assert (answer.status, answer.json()) == (200, {"statusCode": 200})
    assert answer.header("content-type") == "application/json"
    row = backend.database.row("json-1")
    assert row["is_active"]
    assert row["api_gateway_endpoint"] == "https://abc.execute-api.us-east-1.amazonaws.com/dev"
    answer = backend.event(event_of("DISCONNECT"), path)
    assert answer.json() == {"statusCode": 200}
    assert not backend.database.row("json-1")["is_active"]


def test_what_is_no_event(backend):
    for body in ("", "no JSON", "[]", "{}", '{"Records":[]}', '{"op":"nobody"}'):
        answer = backend.post("/events", body)
        assert answer.status == 400 and answer.json()["message"], body
    assert backend.http("GET", "/events").header("allow") == "POST"


def test_an_authorizer(start_backend):
    backend = start_backend(jwt_secret=JWT_SECRET, auth="required")
    arn = "arn:aws:execute-api:us-east-1:123456789012:abc/dev/$connect"
    answer = backend.event({"type": "REQUEST", "methodArn": arn, "queryStringParameters": {
        "token": token(JWT_SECRET, sub="u-5")}}, INVOKE)
    policy = answer.json()
    assert policy["policyDocument"]["Statement"] == [
        {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": arn}]
    assert policy["principalId"] == "u-5"
    answer = backend.event({"type": "REQUEST", "methodArn": arn}, INVOKE)
    assert answer.header("x-amz-function-error") == "Unhandled"
    assert answer.json()["errorMessage"] == "Unauthorized"


def test_commands_and_the_schedule(topology):
    client = topology.connect("type=email-verification&email=eve@example.com")
    answer = topology.backend.event({"op": "verify-email", "email": "Eve@example.com"})
    assert answer.json() == {"email": "eve@example.com", "delivered": True}
    assert client.recv_json()["type"] == "email-verified"
    answer = topology.backend.event({"source": "aws.events", "detail-type": "Scheduled Event",
                                     "detail": {}})
    assert answer.status == 200 and "expired" in answer.json()


def test_the_lambda_integration_of_a_gateway_may_point_here(database, start_topology):
    topology = start_topology(database, {"kind": "lambda"}, path=INVOKE, jwt_secret=JWT_SECRET)
    client = topology.connect("userId=u9")
    assert client.ask({"type": "authenticate", "token": token(JWT_SECRET, userId="u-9")})[
        "type"] == "authentication-success"
    client.close(1000, "bye")
    assert topology.database.wait_inactive(client.id)["disconnect_reason"] == "bye"


def test_the_documented_description(database, tmp_path):
    text = (harness.ROOT / "docs" / "http-integration.md").read_text()
    path = tmp_path / "gateway.json"
    path.write_text(text.split("```json\n")[1].split("```")[0])
    checked = database.command("api", "check", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    documented = json.loads(path.read_text())["integrations"]["backend"]["requestParameters"]
    known = mapping()
    assert documented.items() <= known.items()
    assert {name for name in known if ".header." in name} <= set(documented)


# ---- life ----

def test_ready_and_events_without_the_database(own_cluster, start_backend):
    backend = start_backend(own_cluster.create_database(), database_wait_ms=300)
    own_cluster.stop("immediate")
    try:
        wait_for(lambda: backend.http("GET", "/ready").status == 503, "/ready says so")
        assert backend.http("GET", "/ready").json() == {"ready": False,
                                                        "reason": "database is away"}
        assert backend.http("GET", "/live").status == 200
        answer = backend.post("/", **CONNECT)
        assert answer.status == 503
        assert answer.json()["message"] == "Service Unavailable"
    finally:
        own_cluster.start()
    backend.wait_ready()
    assert backend.post("/", **CONNECT).status == 200


def test_what_is_under_way_is_finished_before_the_end(app):
    client = app.connect()
    lock = app.database.connect()
    harness.call(lock, "select pg_advisory_lock(4711)")
    client.send({"type": "slow", "n": 17})
    app.database.wait_blocked()
    app.backend.process.send_signal(signal.SIGTERM)
    app.backend.wait_line("backend.stopping")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", app.backend.port), timeout=1)
    harness.call(lock, "select pg_advisory_unlock(4711)")
    assert client.recv_json() == 17
    app.backend.wait_end()


def test_it_ends_in_time_while_a_route_hangs(database, start_topology):
    database.execute(SQL)
    app = start_topology(database, routes="app", shutdown_timeout_ms=500)
    client = app.connect()
    lock = database.connect()
    harness.call(lock, "select pg_advisory_lock(4711)")
    client.send({"type": "slow", "n": 17})
    database.wait_blocked()
    began = time.monotonic()
    app.backend.stop()
    assert time.monotonic() - began < 10
    assert app.backend.lines("backend.stopped_late")


def test_a_backend_that_dies_leaves_its_connections_to_the_next(database, start_topology):
    """Even what it has claimed: its last question may have been answered after its death."""
    database.execute(SQL)
    app = start_topology(database, routes="app", poll_interval_ms=100)
    client = app.connect()
    app.backend.kill()
    app.database.value("select switchboard.send_to_connection(%s, '\"meanwhile\"')", client.id)
    app.backend.start()
    assert client.recv_json(seconds=30) == "meanwhile"
    assert client.ask({"type": "echo", "n": 2}) == 2


def test_two_backends_deliver_side_by_side(app, start_backend):
    other = start_backend(app.database, routes="app", **KEYS)
    clients = [app.connect() for _ in range(4)]
    for n in range(40):
        for client in clients:
            app.database.execute("select switchboard.send_to_connection(%s, %s)", client.id,
                                 json.dumps(n))
    for client in clients:
        assert [client.recv_json() for _ in range(40)] == list(range(40))
    sent = [backend.metrics()["switchboard_sender_sent_total"]
            for backend in (app.backend, other)]
    assert sum(sent) == 164, sent
