# SPDX-License-Identifier: Apache-2.0
"""Routes that return too much or never end: their own event fails, nobody else waits."""
import re
import time

import pytest

SQL = """
create schema app;
create function app.many(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    perform switchboard.publish('news', '{"rolled": "back"}');
    return query
    select d.*
      from generate_series(1, (event.body ->> 'rows')::integer) as n
     cross join lateral switchboard.reply(jsonb_build_object('n', n)) as d;
end;
$$;
create function app.loop(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    loop
        perform 1;
    end loop;
end;
$$;
create function app.endless(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    loop
        return next switchboard.reply('{"again": true}');
    end loop;
end;
$$;
create function app.quick(event switchboard.event)
returns switchboard.delivery
language sql
begin atomic
    select switchboard.reply(event.body);
end;
"""
SETTINGS = {"routes": "app", "rate_limit_stage": "off", "integration_timeout_ms": 2000}


@pytest.fixture
def server(database, start_server):
    database.execute(SQL)
    return start_server(database, **SETTINGS)


def slowest_quick_answer(clients, seconds):
    """The longest that any of them waited for an answer in that time."""
    slowest = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            began = time.monotonic()
            assert client.ask({"action": "quick", "n": 1}) == {"action": "quick", "n": 1}
            slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_a_route_that_goes_on_for_ever_is_stopped_after_100_steps(server):
    server.database.execute("""
        create sequence app.steps;
        grant usage on sequence app.steps to public;
        create function app."$then:again"(event switchboard.event)
        returns setof switchboard.delivery language plpgsql as $$
        begin
            return next switchboard.reply(to_jsonb(nextval('app.steps')));
            return next switchboard.then_run('again');
        end $$;
        create function app.again(event switchboard.event)
        returns switchboard.delivery language sql as $$ select switchboard.then_run('again') $$""")
    client = server.connect()
    client.send({"action": "again"})
    assert [client.recv_json() for _ in range(100)] == list(range(1, 101))
    assert client.ask({"action": "quick", "n": 1}) == {"action": "quick", "n": 1}
    client.close()


def test_as_many_rows_as_allowed(server):
    client = server.connect()
    client.send({"action": "many", "rows": 10000})
    assert [client.recv_json()["n"] for _ in range(10000)] == list(range(1, 10001))


def test_one_more_is_an_error_and_all_is_undone(server):
    client = server.connect()
    answer = client.ask({"action": "many", "rows": 10001})
    assert answer["type"] == "error" and answer["message"] == "Internal server error"
    line = server.wait_line("route.error")
    assert "function=app.many" in line and "sqlstate=54000" in line and "10001 rows" in line
    assert re.search(r"request=[A-Za-z0-9_-]{15}=( |$)", line)
    client.assert_silent()
    assert server.database.value(
        "select count(*) from switchboard.websocket_outbox where target = 'news'") == 0
    assert server.database.value(
        "select count(*) from switchboard.websocket_messages where target = 'news'") == 0


def test_the_setting(database, start_server):
    database.execute(SQL)
    server = start_server(database, **SETTINGS, max_deliveries=3)
    client = server.connect()
    client.send({"action": "many", "rows": 3})
    assert [client.recv_json()["n"] for _ in range(3)] == [1, 2, 3]
    assert client.ask({"action": "many", "rows": 4})["type"] == "error"


def test_100000_rows_do_not_hold_up_the_others(server):
    bad = server.connect()
    good = [server.connect() for _ in range(4)]
    for _ in range(5):
        bad.send({"action": "many", "rows": 100000})
    assert slowest_quick_answer(good, 2) < 0.5
    for _ in range(5):
        assert bad.recv_json()["type"] == "error"
    assert server.metrics()["switchboard_route_errors_total"] == 5
    assert server.metrics()["switchboard_slow_turns_total"] <= 2


@pytest.mark.parametrize("action", ["loop", "endless"])
def test_a_route_that_never_ends_does_not_hold_up_the_others(server, action):
    bad = server.connect()
    good = [server.connect() for _ in range(4)]
    bad.send({"action": action})
    assert slowest_quick_answer(good, 1.5) < 0.5
    frame = bad.recv_json(20)
    assert frame["message"] == "Endpoint request timed out"
    line = server.wait_line("route.error", f"function=app.{action}")
    assert "sqlstate=57014" in line and f"request={frame['requestId']}" in line
    assert bad.ask({"action": "quick"}) == {"action": "quick"}
    assert server.metrics()["switchboard_route_timeouts_total"] == 1


def test_a_client_that_calls_it_again_and_again_waits_alone(server):
    bad = server.connect()
    good = server.connect()
    for _ in range(20):
        bad.send({"action": "loop"})
    assert slowest_quick_answer([good], 4) < 0.5
    bad.drop()


def test_settings_that_never_end_cost_neither_the_lease_nor_the_log(database, start_server):
    database.execute(SQL)
    server = start_server(database, **SETTINGS, lease_ms=900)
    client = server.connect()
    database.execute("""
        create function app."$settings"() returns jsonb language plpgsql as $$
        begin loop perform 1; end loop; end; $$""")
    server.wait_line("node.settings_failed", "sqlstate=57014")
    assert slowest_quick_answer([client], 1) < 0.5
    assert server.lines("node.lease_lost") == []
    database.execute("""
        create or replace function app."$settings"() returns jsonb language plpgsql as $$
        begin return '{"ping_interval_ms": 77000}'; end; $$""")
    server.wait_line("node.settings", "77000")
