# SPDX-License-Identifier: Apache-2.0
"""Routes of a user's own schema, in front of the careconnect profile."""
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import ID, PASSWORD, REQUEST_ID, Server, call, token, wait_for

SETTINGS = {"routes": "app, app2", "integration_timeout_ms": 5000}
SQL = """
    create schema app;
    create schema app2;
    create schema bare;
    create table app.seen (id bigint generated always as identity, body text);
    create function app.echo(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply(event.body) $$;
    create function app.event(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply(to_jsonb(event)) $$;
    create function app.write(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        insert into seen (body) values (event.raw_body);
        return query select * from reply('{"written": true}');
    end $$;
    create function app.fail(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        insert into app.seen (body) values ('rolled back');
        raise exception 'the route has failed' using errcode = 'P0042';
    end $$;
    create function app.cast_it(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(to_jsonb((event.body ->> 'number')::integer))
    $$;
    create function app.refuse(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin raise exception 'Not today' using errcode = 'SB422'; end $$;
    create function app.wait(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        perform pg_advisory_xact_lock((event.body ->> 'key')::bigint);
        return query select * from switchboard.reply(event.body);
    end $$;
    create function app.nothing(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select null::text, null, null, null where false $$;
    create function app.many(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select d.* from generate_series(1, 3) as n,
               switchboard.reply(jsonb_build_object('n', n)) as d order by n
    $$;
    create function app.all(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.to_all(event.body, event.connection_id)
    $$;
    create function app.topic(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.to_topic(event.body ->> 'topic', event.body) $$;
    create function app.other(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.to_connection(event.body ->> 'to', event.body) $$;
    create function app.goodbye(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply('"bye"')
        union all
        select * from switchboard.to_close(event.connection_id, 4001, 'Enough')
    $$;
    create function app.shadowed(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('"first"') $$;
    create function app2.shadowed(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('"second"') $$;
    create function app2.only_second(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('"second"') $$;
    create function app.helper(event switchboard.event, more text)
    returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('"never"') $$;
    create function app.no_route(event switchboard.event) returns jsonb
    language sql as $$ select '"never"'::jsonb $$;
    create function app."with space/and""quote"(event switchboard.event)
    returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply('"quoted"') $$;
    create function bare.fail(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$ begin raise exception 'nobody handles this'; end $$;
    create function bare.echo(event switchboard.event) returns setof switchboard.delivery
    language sql as $$ select * from switchboard.reply(event.body) $$;
    create function bare.slow(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin perform pg_sleep(60); return query select * from switchboard.reply('"late"'); end $$;
"""
HEARTBEAT = {"type": "heartbeat"}


@pytest.fixture
def client(shared):
    client = shared.connect()
    yield client
    client.drop()


@pytest.fixture(scope="module")
def bare(module_server, shared_database, tmp_path_factory):
    """A profile without $default and $error; the timeout is short."""
    server = Server(shared_database, tmp_path_factory.mktemp("bare"), profile="bare",
                    integration_timeout_ms=300)
    server.start()
    yield server
    server.destroy()


def bare_client(bare):
    client = bare.connect(welcome=False)
    wait_for(lambda: bare.metrics()["switchboard_open_connections"] > 0, "it is open")
    return client


# ---- which function ----

def test_a_route_of_the_schema_answers(client):
    assert client.ask({"action": "echo", "n": 1}) == {"action": "echo", "n": 1}


def test_without_a_route_of_that_name_the_default_of_the_profile_answers(client):
    assert client.ask({"action": "unheard-of", **HEARTBEAT})["type"] == "heartbeat-response"
    assert client.ask(HEARTBEAT)["type"] == "heartbeat-response"


def test_the_first_schema_of_the_list_wins(client):
    assert client.ask({"action": "shadowed"}) == "first"
    assert client.ask({"action": "only_second"}) == "second"


def test_a_route_key_may_be_any_name(client):
    assert client.ask({"action": 'with space/and"quote'}) == "quoted"


@pytest.mark.parametrize("action", [
    "helper", "no_route", "Echo", "echo ", " echo", "app.echo", "seen", "$connect", "$disconnect",
    "$error", "echo(switchboard.event)", "x" * 64, "x" * 30000, 7, True, None, ["echo"],
    {"echo": 1}, "'; drop table app.seen; --"], ids=lambda action: str(action)[:20])
def test_what_is_no_route_goes_to_the_default(client, action):
    assert client.ask({"action": action, **HEARTBEAT})["type"] == "heartbeat-response"


def test_without_route_and_default_the_client_gets_the_forbidden_frame(bare):
    client = bare_client(bare)
    for text in ('{"action":"unheard-of"}', "not JSON", "{}"):
        client.send(text)
        frame = client.recv()
        match = re.fullmatch(
            r'\{"message": "Forbidden", "connectionId":"([^"]+)", "requestId":"([^"]+)"\}', frame)
        assert match, frame
        assert ID.match(match[1]) and REQUEST_ID.match(match[2])
        assert bare.database.row(match[1])["is_active"]
    assert client.ask({"action": "echo"}) == {"action": "echo"}
    client.close()


# ---- the event ----

def test_the_event_says_everything_about_the_message(shared):
    client = shared.connect("email=Eve@Example.com", source="127.0.0.7",
                            headers=[("User-Agent", "probe")])
    text = '{"action": "event",  "deep": [1, {"x": null}]}'
    client.send(text)
    event = client.recv_json()
    assert event["connection_id"] == client.id
    assert event["raw_body"] == text and event["body"] == json.loads(text)
    assert (event["event_type"], event["route_key"], event["stage"]) == ("MESSAGE", "event", "dev")
    assert (event["source_ip"], event["user_agent"]) == ("127.0.0.7", "probe")
    assert event["user_email"] == "eve@example.com"
    assert event["metadata"] == {} and event["token"] is None
    assert REQUEST_ID.match(event["request_id"])
    assert ID.match(event["message_id"]) and event["message_id"] != client.id
    assert event["message_id"][-8:] == client.id[-8:]
    assert event["query"] is None and event["headers"] is None
    second = client.ask({"action": "event"})
    assert second["request_id"] != event["request_id"]
    assert second["message_id"] != event["message_id"]
    assert second["connected_at"] == event["connected_at"]
    client.close()


def test_a_route_runs_with_its_schema_in_the_search_path(shared, client):
    assert client.ask({"action": "write", "x": "search"}) == {"written": True}
    assert shared.database.value("select count(*) from app.seen where body like '%%search%%'") == 1


# ---- deliveries ----

def test_a_route_may_return_nothing_or_several_rows(client):
    client.send({"action": "nothing"})
    client.send({"action": "many"})
    assert [client.recv_json()["n"] for _ in range(3)] == [1, 2, 3]
    client.assert_silent()


def test_deliveries_reach_one_connection_a_topic_and_all_but_one(shared, client):
    others = [shared.connect() for _ in range(2)]
    client.send({"action": "other", "to": others[0].id})
    assert others[0].recv_json()["action"] == "other"
    shared.database.execute("select switchboard.subscribe(%s, 'routes:t')", others[1].id)
    shared.database.execute("select switchboard.publish('routes:t', '1')")
    assert others[1].recv_json() == 1
    client.send({"action": "topic", "topic": "routes:t"})
    assert others[1].recv_json()["action"] == "topic"
    client.send({"action": "all"})
    for other in others:
        assert other.recv_json()["action"] == "all"
    client.assert_silent()
    others[0].assert_silent()
    for other in others:
        other.close()


def test_a_delivery_to_nobody_is_dropped(client):
    client.send({"action": "other", "to": "AAAAAAAAAAAAAAAAAA=="})
    client.send({"action": "topic", "topic": "nobody"})
    assert client.ask({"action": "echo"}) == {"action": "echo"}


def test_to_close_closes_behind_the_reply(shared, client):
    assert client.ask({"action": "goodbye"}) == "bye"
    assert client.wait_closed() == (4001, "Enough")
    row = shared.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (4001, "Enough")


# ---- errors ----

def test_an_error_becomes_the_typed_message_and_one_line_for_the_operator(shared, client):
    before = len(shared.lines("route.error"))
    answer = client.ask({"action": "fail"})
    assert answer["type"] == "error" and answer["message"] == "Internal server error"
    lines = shared.lines("route.error")[before:]
    assert len(lines) == 1
    assert "sqlstate=P0042" in lines[0] and re.search(r'route="?fail"?', lines[0])
    assert re.search(r"request=[A-Za-z0-9_-]{15}=( |$)", lines[0])
    assert "the route has failed" in lines[0] and "function=app.fail" in lines[0]
    assert shared.database.value("select count(*) from app.seen where body = 'rolled back'") == 0
    assert client.ask({"action": "echo"}) == {"action": "echo"}


def test_an_error_with_a_status_keeps_its_message(client):
    answer = client.ask({"action": "refuse"})
    assert answer["type"] == "error" and answer["message"] == "Not today"


def test_without_an_error_function_the_client_gets_the_gateways_frame(bare):
    client = bare_client(bare)
    before = len(bare.lines("route.error"))
    client.send({"action": "fail"})
    frame = client.recv()
    match = re.fullmatch(r'\{"message": "Internal server error", "connectionId":"([^"]+)",'
                         r' "requestId":"([^"]+)"\}', frame)
    assert match, frame
    lines = bare.lines("route.error")[before:]
    assert len(lines) == 1 and f"request={match[2]}" in lines[0]
    client.close()


def test_a_route_that_takes_too_long_times_out_with_a_frame(bare):
    client = bare_client(bare)
    client.send({"action": "slow"})
    frame = client.recv()
    assert re.fullmatch(r'\{"message": "Endpoint request timed out", "connectionId":"[^"]+",'
                        r' "requestId":"[^"]+"\}', frame), frame
    assert client.ask({"action": "echo"}) == {"action": "echo"}
    assert bare.metrics()["switchboard_route_timeouts_total"] >= 1
    client.close()


# ---- changes while clients are connected ----

def make(database, name, value):
    database.execute(
        f"create or replace function app.{name}(event switchboard.event)"
        " returns setof switchboard.delivery language sql as"
        f" $$ select * from switchboard.reply('\"{value}\"') $$")


def test_new_replaced_and_dropped_functions_count_from_the_next_message_on(shared, client):
    assert client.ask({"action": "changing", **HEARTBEAT})["type"] == "heartbeat-response"
    make(shared.database, "changing", "one")
    assert [client.ask({"action": "changing"}) for _ in range(20)] == ["one"] * 20
    make(shared.database, "changing", "two")
    assert [client.ask({"action": "changing"}) for _ in range(20)] == ["two"] * 20
    shared.database.execute("drop function app.changing(switchboard.event)")
    assert client.ask({"action": "changing", **HEARTBEAT})["type"] == "heartbeat-response"
    make(shared.database, "changing", "three")
    assert client.ask({"action": "changing"}) == "three"
    shared.database.execute("drop function app.changing(switchboard.event)")


# ---- order and isolation ----

def test_replies_come_in_the_order_of_200_pipelined_messages(client):
    for n in range(200):
        client.send({"action": "echo", "n": n})
    assert [client.recv_json()["n"] for _ in range(200)] == list(range(200))


def test_a_slow_route_of_one_client_holds_up_nobody_else(shared, client):
    holder = shared.database.connect()
    call(holder, "select pg_advisory_lock(1)")
    client.send({"action": "wait", "key": 1})
    shared.database.wait_blocked()
    others = [shared.connect() for _ in range(10)]
    for other in others:
        for n in range(3):
            assert other.ask({"action": "echo", "n": n})["n"] == n
        other.close()
    client.assert_silent()
    call(holder, "select pg_advisory_unlock(1)")
    assert client.recv_json() == {"action": "wait", "key": 1}
    holder.close()


def test_messages_behind_a_slow_one_wait_for_it(shared, client):
    holder = shared.database.connect()
    call(holder, "select pg_advisory_lock(2)")
    client.send({"action": "wait", "key": 2})
    client.send({"action": "echo", "n": 1})
    client.assert_silent()
    call(holder, "select pg_advisory_unlock(2)")
    assert client.recv_json()["action"] == "wait"
    assert client.recv_json() == {"action": "echo", "n": 1}
    holder.close()


def test_a_client_that_leaves_while_its_route_runs_is_deregistered_after_it(shared):
    client = shared.connect()
    holder = shared.database.connect()
    call(holder, "select pg_advisory_lock(3)")
    client.send({"action": "wait", "key": 3})
    shared.database.wait_blocked()
    client.close(1000, "leaving")
    assert shared.database.row(client.id)["is_active"]
    call(holder, "select pg_advisory_unlock(3)")
    assert shared.database.wait_inactive(client.id)["disconnect_reason"] == "leaving"
    holder.close()


# ---- $connect and $disconnect ----

CONNECT = """
    create schema door;
    create table door.gone (connection_id text, code integer, reason text, user_id text,
                            event_type text);
    create function door."$connect"(event switchboard.event)
    returns setof switchboard.delivery language plpgsql as $$
    begin
        case event.query ->> 'token'
            when 'bad' then
                raise exception '{"error":"Invalid authentication token"}' using errcode = 'SB401';
            when 'barred' then raise exception 'not here' using errcode = 'SB403';
            when 'teapot' then raise exception 'short and stout' using errcode = 'SB418';
            when 'broken' then raise exception 'broken' using errcode = 'P0001';
            else null;
        end case;
        return query select * from switchboard.accept(
            user_id => event.query ->> 'user', user_name => 'Somebody',
            metadata => jsonb_build_object('seat', 7),
            subprotocol => nullif(event.headers ->> 'Sec-WebSocket-Protocol', ''),
            ttl_seconds => 60);
        return query select * from switchboard.reply(to_jsonb(event));
    end $$;
    create function door."$disconnect"(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        insert into door.gone values (event.connection_id, event.disconnect_code,
                                      event.disconnect_reason, event.user_id, event.event_type);
        select null::text, null::text, null::text, null::text where false;
    $$;
"""


@pytest.fixture
def door(database, start_server):
    database.execute(CONNECT)
    return start_server(database, routes="door")


def test_connect_refuses_with_its_status_and_text(door):
    answer = door.refused("token=bad")
    assert (answer.status, answer.body) == (401, b'{"error":"Invalid authentication token"}')
    assert REQUEST_ID.match(answer.header("x-amz-apigw-id"))
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    answer = door.refused("token=teapot")
    assert (answer.status, answer.body) == (418, b"short and stout")
    answer = door.refused("token=barred")
    assert (answer.status, answer.body) == (403, b"not here")
    assert door.database.value("select count(*) from switchboard.websocket_connections") == 0


def test_a_connect_that_fails_gives_502_and_one_line(door):
    answer = door.refused("token=broken")
    assert answer.status == 502
    match = re.fullmatch(rb'\{"message": "Internal server error", "connectionId":"([^"]+)",'
                         rb' "requestId":"([^"]+)"\}', answer.body)
    assert match and answer.header("x-amz-apigw-id") == match[2].decode()
    line = door.wait_line("route.error", f"request={match[2].decode()}")
    assert "sqlstate=P0001" in line and r'function="door.\"$connect\""' in line
    assert len(door.lines("route.error")) == 1
    good = door.connect("user=u1", welcome=False)
    assert good.recv_json()["event_type"] == "CONNECT"
    assert door.database.active() == 1


def test_connect_decides_about_the_row_and_the_subprotocol(door):
    client = door.connect("user=u1&user=u2&x=a%2Bb+c", welcome=False, subprotocols=["v2"],
                          headers=[("Cookie", "a=b")])
    assert client.answer.header("sec-websocket-protocol") == "v2"
    event = client.recv_json()
    assert event["query"] == {"user": "u2", "x": "a+b c"}
    assert event["headers"]["Cookie"] == "a=b" and "Upgrade" not in event["headers"]
    assert event["route_key"] == "$connect" and event["body"] is None
    row = door.database.row(event["connection_id"])
    assert (row["user_id"], row["user_name"], row["metadata"]) == ("u2", "Somebody", {"seat": 7})
    assert (row["expires_at"] - row["connected_at"]).total_seconds() == pytest.approx(60, abs=2)
    door.database.execute("""select switchboard.send_to_user('u2', '"hello u2"')""")
    assert client.recv_json() == "hello u2"


def test_disconnect_runs_once_with_code_reason_and_user(door):
    client = door.connect("user=u3", welcome=False)
    connection_id = client.recv_json()["connection_id"]
    client.close(4321, "probe-complete")
    gone = wait_for(lambda: door.database.execute("select * from door.gone"), "$disconnect ran")
    assert gone == [{"connection_id": connection_id, "code": 4321, "reason": "probe-complete",
                     "user_id": "u3", "event_type": "DISCONNECT"}]
    door.refused("token=bad")
    door.stop()
    assert door.database.value("select count(*) from door.gone") == 1


def test_many_connects_at_once_are_told_apart(door):
    def attempt(n):
        if n % 3 == 0:
            return door.refused("token=bad").status
        if n % 3 == 1:
            return door.refused("token=broken").status
        return door.connect(f"user=n{n}", welcome=False).recv_json()["query"]["user"]
    with ThreadPoolExecutor(30) as pool:
        results = list(pool.map(attempt, range(90)))
    assert results == [401 if n % 3 == 0 else 502 if n % 3 == 1 else f"n{n}" for n in range(90)]
    assert door.database.active() == 30
    assert door.database.value("select count(*) from switchboard.websocket_connections") == 30


# ---- other settings ----

def test_the_route_selection_expression_is_a_setting(database, start_server):
    database.execute("""
        create schema app;
        create function app."chat/join"(event switchboard.event)
        returns setof switchboard.delivery language sql as $$
            select * from switchboard.reply('"joined"') $$""")
    server = start_server(database, routes="app", route_selection_expression=(
        "${request.body.service}/${request.body.action}"))
    client = server.connect()
    assert client.ask({"service": "chat", "action": "join"}) == "joined"
    assert client.ask({"service": "chat", **HEARTBEAT})["type"] == "heartbeat-response"


def test_the_log_has_no_bodies_and_no_secrets(database, start_server):
    database.execute(SQL)
    secret = "jwt-key-that-nobody-may-see-0123456789"
    server = start_server(database, routes="app", jwt_secret=secret, log_level="debug")
    good, bad = token(secret, userId="u1", marker="m"), token("x" * 40, userId="u1")
    client = server.connect("email=query.marker%40example.com")
    client.ask({"type": "heartbeat", "text": "body-marker-1"})
    client.ask({"action": "cast_it", "number": "body-marker-2"})
    client.ask({"type": "authenticate", "token": good})
    client.send("body-marker-3 \x00 nul")
    client.recv()
    client.send("body-marker-4 no JSON")
    client.recv()
    client.ask({"action": "fail", "text": "body-marker-5"})
    database.execute("select switchboard.publish_to_all(%s)", json.dumps("body-marker-6"))
    assert client.recv_json() == "body-marker-6"
    client.ask({"type": "authenticate", "token": bad})
    client.wait_closed()
    server.http("POST", "/email-verifications", '{"email":"verify.marker@example.com"}')
    server.http("POST", f"/dev/@connections/{client.id}", "body-marker-7")
    server.stop()
    log = server.log() + (server.directory / "output").read_text()
    assert "route.error" in log
    for marker in (secret, PASSWORD, good, bad, good.rsplit(".", maxsplit=1)[-1], "body-marker",
                   "query.marker", "verify.marker"):
        found = [line for line in log.splitlines() if marker in line]
        assert found == [], marker
