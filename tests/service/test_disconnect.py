# SPDX-License-Identifier: Apache-2.0
"""How connections end, and what their rows say afterwards."""
import datetime
import os
import signal
import time

import pytest
from harness import Client, call, wait_for


def ended(server, client):
    row = server.database.wait_inactive(client.id)
    now = server.database.value("select now()")
    assert now - datetime.timedelta(seconds=60) < row["disconnected_at"] <= now
    assert server.database.value("select count(*) from switchboard.websocket_subscriptions"
                                 " where connection_id = %s", client.id) == 0
    return row["disconnect_code"], row["disconnect_reason"]


@pytest.mark.parametrize("code, reason", [
    (1000, ""), (1000, "probe-complete"), (1001, ""), (1012, ""), (1014, "bad gateway"),
    (3999, "x" * 123), (4000, "\u00e9\u4e16")])
def test_the_clients_code_and_reason_are_kept_and_echoed(shared, code, reason):
    client = shared.connect()
    assert client.close(code, reason) == (code, reason)
    assert ended(shared, client) == (code, reason)


def test_a_close_frame_without_a_code_is_1005(shared):
    client = shared.connect()
    client.protocol.send_close()
    client._flush()
    client.wait_closed()
    assert ended(shared, client) == (1005, "Client-side close frame status not set")


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
def test_a_transport_that_goes_without_a_close_frame_is_1006(shared, reset):
    client = shared.connect()
    client.drop(reset=reset)
    assert ended(shared, client) == (1006, "Connection closed abnormally")


def test_subscriptions_end_with_the_connection(shared):
    client = shared.connect()
    assert shared.database.value("select switchboard.subscribe(%s, 'news')", client.id) is True
    client.close()
    ended(shared, client)
    assert shared.database.value("select switchboard.subscribe(%s, 'news')", client.id) is False


def test_a_hundred_clients_that_go_at_once_are_all_deregistered(shared):
    before = shared.database.active()
    clients = [shared.connect() for _ in range(100)]
    for number, client in enumerate(clients):
        if number % 2:
            client.drop(reset=True)
        else:
            client.protocol.send_close(1000, "together")
            client._flush()
    wait_for(lambda: shared.database.active() == before, "all rows are inactive")
    codes = shared.database.execute(
        "select disconnect_code as code, count(*) from switchboard.websocket_connections"
        " where connection_id = any(%s) group by 1 order by 1", [c.id for c in clients])
    assert codes == [{"code": 1000, "count": 50}, {"code": 1006, "count": 50}]


def test_an_idle_client_is_closed_as_going_away(database, start_server):
    server = start_server(database, idle_timeout_ms=400)
    began = time.monotonic()
    client = server.connect()
    assert client.wait_closed() == (1001, "Going away")
    assert 0.35 <= time.monotonic() - began < 5
    assert ended(server, client) == (1001, "Going away")


def test_messages_pings_and_pushes_keep_a_connection_alive(database, start_server):
    server = start_server(database, idle_timeout_ms=600)
    talking, pinging, listening = (server.connect() for _ in range(3))
    until = time.monotonic() + 1.8
    while time.monotonic() < until:
        assert talking.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
        assert pinging.ping() == b"hello"
        database.execute("select switchboard.send_to_connection(%s, '1')", listening.id)
        assert listening.recv_json() == 1
    assert [c.wait_closed() for c in (talking, pinging, listening)] == [(1001, "Going away")] * 3


def test_the_longest_life_of_a_connection_ends_it_however_busy(database, start_server):
    server = start_server(database, max_connection_ms=700)
    client = server.connect()
    began = time.monotonic()
    while client.protocol.close_rcvd is None:
        assert time.monotonic() - began < 10, "still open"
        client._pump(time.monotonic() + 0.05)
        if client.protocol.close_rcvd is None:
            client.send({"type": "heartbeat"})
    assert time.monotonic() - began > 0.6
    assert client.wait_closed() == (1001, "Going away")
    assert ended(server, client) == (1001, "Going away")


def test_a_client_that_does_not_answer_our_close_frame_is_cut_off(database, start_server):
    server = start_server(database, close_timeout_ms=200)
    deaf = server.connect()
    database.execute("select switchboard.close_connection(%s, 4000, 'Bye')", deaf.id)
    assert ended(server, deaf) == (4000, "Bye")  # it never read the close frame
    assert server.metrics()["switchboard_open_connections"] == 0


def test_close_connection_from_sql_closes_when_it_commits(shared):
    client = shared.connect()
    session = shared.database.connect()
    assert call(session, "select switchboard.close_connection(%s, 4002, 'Kicked')", client.id)
    client.assert_silent()
    session.commit()
    assert client.wait_closed() == (4002, "Kicked")
    assert ended(shared, client) == (4002, "Kicked")
    assert shared.database.value("select switchboard.close_connection(%s)", client.id) is False


def test_a_locked_row_waits_and_the_others_go_on(shared):
    locked, others = shared.connect(), [shared.connect() for _ in range(5)]
    session = shared.database.connect()
    call(session, "select 1 from switchboard.websocket_connections where connection_id = %s"
                  " for update", locked.id)
    locked.close(4010, "was locked")
    for other in others:
        other.close(4011, "was free")
    for other in others:
        assert ended(shared, other) == (4011, "was free")
    late = shared.connect()
    assert late.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    late.close()
    assert shared.database.row(locked.id)["is_active"]
    session.rollback()
    assert ended(shared, locked) == (4010, "was locked")


# ---- the process ends ----

def test_a_clean_stop_closes_every_client_and_leaves_no_active_row(database, start_server):
    server = start_server(database)
    clients = [server.connect() for _ in range(20)]
    server.process.send_signal(signal.SIGTERM)
    closed = {client.wait_closed() for client in clients}
    assert closed <= {(1012, "Service restart"), (1001, "Going away")} and len(closed) == 1
    server.wait_end()
    assert database.active() == 0 and database.live() == 0
    assert database.execute(
        "select distinct disconnect_code, disconnect_reason"
        "  from switchboard.websocket_connections") == [
            dict(zip(("disconnect_code", "disconnect_reason"), closed.pop()))]
    assert database.value("select count(*) from switchboard.websocket_nodes"
                          " where expires_at > now()") == 0


def test_a_stop_does_not_wait_for_a_client_that_does_not_answer(database, start_server):
    server = start_server(database, close_timeout_ms=300)
    for _ in range(3):
        server.connect()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 8
    assert database.active() == 0


def test_a_stop_lets_a_running_route_finish(database, start_server):
    database.execute("""
        create schema app;
        create table app.done (at timestamptz);
        create function app.wait(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(5);
            insert into app.done values (now());
            return query select * from switchboard.reply('"done"');
        end $$""")
    server = start_server(database, routes="app", close_timeout_ms=300)
    holder = database.connect()
    call(holder, "select pg_advisory_lock(5)")
    client = server.connect()
    client.send({"action": "wait"})
    database.wait_blocked()
    server.process.send_signal(signal.SIGTERM)
    server.wait_line("serve.stopping")
    call(holder, "select pg_advisory_unlock(5)")
    server.wait_end()
    assert database.value("select count(*) from app.done") == 1
    assert database.active() == 0
    client.drop()


def test_sigint_stops_it_as_well(database, start_server):
    server = start_server(database)
    client = server.connect()
    server.process.send_signal(signal.SIGINT)
    client.wait_closed()
    server.wait_end()
    assert database.active() == 0


def test_a_killed_process_leaves_nothing_active_once_it_is_back(database, start_server):
    server = start_server(database, node_name="the-node")
    clients = [server.connect(f"email=c{n}@example.com") for n in range(30)]
    first = {node["node_id"] for node in database.execute(
        "select node_id from switchboard.websocket_nodes")}
    server.kill()
    assert database.active() == 30
    server.start()  # returns when /ready says yes
    assert database.active() == 0 and database.live() == 0
    assert database.execute(
        "select distinct disconnect_code as code, disconnect_reason as reason, node_id"
        "  from switchboard.websocket_connections") == [
            {"code": 1006, "reason": "Node lease expired", "node_id": first.pop()}]
    assert database.value("select count(*) from switchboard.websocket_connections") == 30
    again = server.connect()
    assert database.active() == database.live() == 1
    assert again.ping() == b"hello"
    for client in clients:
        assert client.wait_closed()[0] == 1006


def test_a_node_that_does_not_come_back_leaves_its_connections_to_its_lease(
        database, start_server):
    lost = start_server(database, node_name="lost", lease_ms=1000)
    client = lost.connect()
    survivor = start_server(database, node_name="survivor")
    other = survivor.connect()
    assert database.live() == 2
    lost.kill()
    wait_for(lambda: database.live() == 1, "the lost node's connection is not shown as live")
    assert database.row(client.id)["is_active"]  # nobody has cleaned up yet
    assert database.value("select switchboard.send_to_connection(%s, '1')", client.id) is False
    done = survivor.command("cleanup")
    assert done.returncode == 0, done.stderr
    row = database.row(client.id)
    assert (row["is_active"], row["disconnect_code"], row["disconnect_reason"]) == \
        (False, 1006, "Node lease expired")
    assert database.row(other.id)["is_active"] and other.ping() == b"hello"


def test_another_node_cleans_up_after_a_lost_one(database, start_server):
    lost = start_server(database, node_name="lost", lease_ms=500)
    client = lost.connect()
    survivor = start_server(database, node_name="survivor", cleanup_interval_s=1)
    lost.kill()
    row = database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1006, "Node lease expired")
    assert survivor.metrics()["switchboard_cleanup_orphaned_total"] == 1


def test_a_node_that_was_stopped_for_longer_than_its_lease_takes_its_connections_back(
        database, start_server):
    paused = start_server(database, lease_ms=600)
    client = paused.connect()
    database.execute("select switchboard.subscribe(%s, 'kept')", client.id)
    database.execute("select switchboard.publish('kept', '1')")
    assert client.recv_json() == 1
    other = start_server(database, cleanup_interval_s=1)
    os.kill(paused.process.pid, signal.SIGSTOP)
    try:
        row = database.wait_inactive(client.id)
        assert row["disconnect_reason"] == "Node lease expired"
    finally:
        os.kill(paused.process.pid, signal.SIGCONT)
    wait_for(lambda: database.row(client.id)["is_active"], "the row is active again")
    wait_for(lambda: database.live() == 1, "it is live again")
    wait_for(lambda: database.value("select count(*) from switchboard.websocket_subscriptions"
                                    " where topic = 'kept'") == 1, "its subscription is back")
    database.execute("select switchboard.publish('kept', '2')")
    assert client.recv_json() == 2
    assert other.metrics()["switchboard_ready"] == 1


def test_a_connection_made_while_another_is_closing_is_not_touched(shared):
    for _ in range(10):
        first = shared.connect()
        first.drop(reset=True)
        second = Client(shared.url())
        second.id = second.recv_json()["sessionId"]
        shared.database.wait_inactive(first.id)
        assert shared.database.row(second.id)["is_active"]
        second.close()
