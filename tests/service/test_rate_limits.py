# SPDX-License-Identifier: Apache-2.0
"""Rate limits: per connection, per user, per route, and the stage's throttle."""
import re
import time

import pytest
from harness import token, wait_for

SECRET = "a secret that is long enough for HS256"
SQL = """
create schema app;
create function app."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return next switchboard.accept(user_id => event.query ->> 'user');
    return next switchboard.reply(jsonb_build_object('type', 'connection-established',
                                                     'sessionId', event.connection_id));
end;
$$;
create function app.echo(event switchboard.event)
returns switchboard.delivery
language sql
begin atomic
    select switchboard.reply(jsonb_build_object('echo', event.body -> 'n'));
end;
create function app.costly(event switchboard.event)
returns switchboard.delivery
language sql
begin atomic
    select switchboard.reply(jsonb_build_object('costly', event.body -> 'n'));
end;
create table app.seen (code text, message text);
create function app."$error"(event switchboard.event, code text, message text)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    insert into app.seen values (code, message);
    if code = 'SB429' then
        return next switchboard.reply(switchboard.create_error(
                   'RATE_LIMIT_EXCEEDED', 'Slow down', true, message::integer));
    end if;
end;
$$;
"""
LIMITED = {"code": "RATE_LIMIT_EXCEEDED", "message": "Slow down", "retryable": True}
FRAME = re.compile(r'\{"message": "Too Many Requests", "connectionId":"[^"]{20}",'
                   r' "requestId":"[^"]{16}"\}')


@pytest.fixture
def start(database, start_server):
    database.execute(SQL)

    def run(**settings):
        return start_server(database, **{"routes": "app", "rate_limit_stage": "off", **settings})
    return run


def is_limited(message):
    if message.get("type") != "error":
        return False
    payload = dict(message["payload"])
    assert payload.pop("retryAfter") >= 1
    assert payload == LIMITED
    return True


def send_all(client, count, action="echo"):
    """How many of so many at once were handled; the others were answered with the typed error."""
    for n in range(count):
        client.send({"action": action, "n": n})
    answers = [client.recv_json() for _ in range(count)]
    handled = [answer for answer in answers if not is_limited(answer)]
    assert [answer["echo" if action == "echo" else action] for answer in handled] == \
        sorted(answer["echo" if action == "echo" else action] for answer in handled)
    return len(handled)


def test_a_connection_has_a_bucket_of_its_own(start):
    server = start(rate_limit_connection="1/m:5")
    first, second = server.connect(), server.connect()
    assert send_all(first, 12) == 5
    assert send_all(second, 3) == 3
    assert send_all(first, 2) == 0
    assert server.metrics()["switchboard_throttled_total"] == 9
    rows = server.database.execute("select distinct code, message from app.seen")
    assert {row["code"] for row in rows} == {"SB429"}
    assert all(55 <= int(row["message"]) <= 60 for row in rows)


def test_tokens_come_back(start):
    server = start(rate_limit_connection="20/s:2")
    client = server.connect()
    assert send_all(client, 4) == 2
    wait_for(lambda: not is_limited(client.ask({"action": "echo", "n": 1})), "there is a token", 3)


def test_connections_of_a_user_share_one(start):
    server = start(rate_limit_user="1/m:6")
    mine = [server.connect("user=u1") for _ in range(2)]
    other = server.connect("user=u2")
    nobody = server.connect()
    for client in (*mine, other):  # the node knows who they are when this arrives
        server.database.execute("select switchboard.send_to_connection(%s, '{}')", client.id)
        assert client.recv_json() == {}
    assert send_all(mine[0], 4) == 4
    assert send_all(mine[1], 4) == 2
    assert send_all(mine[0], 1) == 0
    assert send_all(other, 4) == 4
    assert send_all(nobody, 10) == 10
    server.connect("user=u1")
    assert send_all(mine[1], 1) == 0


def test_a_route_has_one_for_everybody(start):
    server = start(rate_limit_routes="costly=1/m:3,other=1/m")
    first, second = server.connect(), server.connect()
    assert send_all(first, 2, "costly") == 2
    assert send_all(second, 2, "costly") == 1
    assert send_all(first, 20) == 20


def test_without_an_error_function_it_is_the_gateways_frame(start):
    server = start(rate_limit_connection="1/m:1")
    server.database.execute('drop function app."$error"; drop function careconnect."$error"')
    client = server.connect()
    assert client.ask({"action": "echo", "n": 1}) == {"echo": 1}
    client.send({"action": "echo", "n": 2})
    assert FRAME.fullmatch(client.recv())


def test_the_throttle_of_the_stage(start):
    server = start(rate_limit_stage="1/m:6")
    clients = [server.connect() for _ in range(3)]
    for n, client in enumerate(clients):
        assert client.ask({"action": "echo", "n": n}) == {"echo": n}
    clients[0].send({"action": "echo", "n": 4})
    frame = clients[0].recv()
    assert FRAME.fullmatch(frame) and clients[0].id in frame
    answer = server.refused()
    assert answer.status == 429
    assert FRAME.fullmatch(answer.body.decode())
    assert answer.header("x-amz-apigw-id") in answer.body.decode()
    assert server.database.value("select count(*) from switchboard.websocket_connections") == 3
    assert server.database.value("select count(*) from app.seen") == 0
    metrics = server.metrics()
    assert metrics["switchboard_throttled_total"] == 2
    assert metrics["switchboard_connects_refused_total"] == 1
    assert metrics["switchboard_pending_handshakes"] == 0


def test_rates_of_a_schema_and_the_operators_word(start):
    server = start(lease_ms=600)
    client = server.connect()
    assert send_all(client, 30) == 30
    server.database.execute("""
        create function app."$settings"() returns jsonb language sql immutable
        begin atomic
            select '{"rate_limit_connection": "1/m:4", "rate_limit_stage": "1/m:1"}'::jsonb;
        end""")
    server.wait_line("node.settings", "1/m:4")  # with the next heartbeat
    assert send_all(client, 10) == 4  # and the stage's stays off, as the operator said
    server.database.execute('drop function app."$settings"()')
    wait_for(lambda: len(server.lines("node.settings")) == 3, "the settings are gone")
    assert send_all(client, 10) == 10


def test_rates_of_a_schema_that_are_wrong_change_nothing(start):
    server = start(lease_ms=600, rate_limit_connection="1/m:4")
    server.database.execute("""
        create function app."$settings"() returns jsonb language sql immutable
        begin atomic
            select '{"rate_limit_user": "a lot"}'::jsonb;
        end""")
    server.wait_line("gateway.settings_refused", "rate_limit_user")
    assert send_all(server.connect(), 10) == 4


def test_a_rate_that_is_wrong_is_refused_at_the_start(start):
    server = start(rate_limit_connection="off")
    done = server.command("serve", rate_limit_connection="fast", port=0, admin_port=0)
    assert done.returncode != 0
    assert "rate_limit_connection" in done.stdout + done.stderr


def test_the_chatbots_error_says_after_how_many_seconds(database, start_server):
    server = start_server(database, profile="chatbot", jwt_secret=SECRET)
    client = server.connect(f"token={token(SECRET, userId='u1', username='Ann', sessionId='s1')}",
                            welcome=False)
    for _ in range(30):
        client.send({"action": "nonsense"})
    deadline = time.monotonic() + 15
    while True:
        assert time.monotonic() < deadline
        message = client.recv_json()
        assert message["type"] == "error", message
        if message["payload"]["code"] == "RATE_LIMIT_EXCEEDED":
            break
    assert message["payload"]["retryable"] is True
    assert message["payload"]["retryAfter"] >= 1
