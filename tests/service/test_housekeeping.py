# SPDX-License-Identifier: Apache-2.0
"""Last activity, and the cleanup."""
import re
import subprocess
import time

from harness import BINARY, environment, wait_for

OLD = """
    insert into switchboard.websocket_connections (
        connection_id, connection_type, api_gateway_endpoint, stage, connected_at,
        last_activity_at, expires_at, is_active, disconnected_at, disconnect_code)
    select %s || n, 'aws', 'http://elsewhere/dev', 'dev', now() - interval '30 days',
           now() - interval '30 days', now() + %s::interval, %s,
           now() + %s::interval, null
      from generate_series(1, %s) as n
"""


def add_rows(database, name, count, expires="1 hour", disconnected=None):
    database.execute(OLD, name, expires, disconnected is None, disconnected, count)


def rows_of(database, name, condition="true"):
    return database.value("select count(*) from switchboard.websocket_connections"
                          f" where connection_id like %s and {condition}", name + "%")


def counts(output):
    """What it printed: expired=1 orphaned=2 deleted=3 ..."""
    found = re.findall(r"\b(expired|orphaned|deleted)=(\d+)", output)
    return {name: int(number) for name, number in found}


# ---- last activity ----

def test_activity_is_written_for_many_connections_in_few_transactions(database, start_server):
    server = start_server(database, touch_interval_ms=1000)
    clients = [server.connect() for _ in range(100)]
    mark = database.value("select date_trunc('milliseconds', clock_timestamp())")
    for client in clients:
        client.send({"type": "heartbeat"})
    for client in clients:
        assert client.recv_json()["type"] == "heartbeat-response"
    moved = ("select count(*) as rows, count(distinct xmin::text) as transactions"
             "  from switchboard.websocket_connections"
             " where last_activity_at >= %s")
    wait_for(lambda: database.execute(moved, mark)[0]["rows"] == 100, "all 100 were touched")
    assert database.execute(moved, mark)[0]["transactions"] <= 20


def test_a_busy_connection_is_written_at_most_once_in_the_interval(database, start_server):
    server = start_server(database, touch_interval_ms=1000)
    client = server.connect()
    began, asked = time.monotonic(), 0
    while time.monotonic() < began + 2.5:
        client.ask({"type": "heartbeat"})
        asked += 1
    touches = server.metrics()["switchboard_touches_total"]
    assert asked > 10
    assert 1 <= touches <= (time.monotonic() - began) / 1.0 + 2
    last = database.value("select extract(epoch from now() - last_activity_at)"
                          "  from switchboard.websocket_connections")
    assert float(last) < 2.5


def test_activity_is_monotonic_and_leaves_the_expiry_alone(database, start_server):
    server = start_server(database, touch_interval_ms=50)
    client = server.connect()
    expires = database.row(client.id)["expires_at"]
    seen = [database.row(client.id)["last_activity_at"]]
    for _ in range(3):
        client.ask({"type": "heartbeat"})
        wait_for(lambda: database.row(client.id)["last_activity_at"] > seen[-1], "it moved on")
        seen.append(database.row(client.id)["last_activity_at"])
    assert seen == sorted(seen)
    assert database.row(client.id)["expires_at"] == expires


# ---- cleanup ----

def test_cleanup_deactivates_expired_rows_and_deletes_old_ones_and_counts_them(database):
    add_rows(database, "expired", 25, expires="-1 second")
    add_rows(database, "valid", 5)
    add_rows(database, "old", 12, disconnected="-7 days -1 minute")
    add_rows(database, "recent", 7, disconnected="-6 days -23 hours")
    done = database.command("cleanup", cleanup_batch=10)
    assert done.returncode == 0, done.stderr
    assert counts(done.stdout) == {"expired": 25, "orphaned": 0, "deleted": 12}, done.stdout
    assert rows_of(database, "expired", "not is_active and disconnect_code = 1001"
                   " and disconnect_reason = 'Connection expired'") == 25
    assert rows_of(database, "valid", "is_active") == 5
    assert rows_of(database, "old") == 0
    assert rows_of(database, "recent") == 7
    again = database.command("cleanup")
    assert counts(again.stdout) == {"expired": 0, "orphaned": 0, "deleted": 0}, again.stdout


def test_the_retention_is_a_setting(database):
    add_rows(database, "three", 4, disconnected="-3 days")
    assert counts(database.command("cleanup").stdout)["deleted"] == 0
    assert counts(database.command("cleanup", inactive_retention_days=2).stdout)["deleted"] == 4


def test_cleanup_goes_on_in_bounded_transactions(database):
    add_rows(database, "many", 500, expires="-1 second")
    assert database.command("cleanup", cleanup_batch=50).returncode == 0
    largest = database.value("select max(n) from (select count(*) as n"
                             "  from switchboard.websocket_connections group by xmin::text) as t")
    assert largest == 50


def test_cleanup_leaves_locked_rows_alone_and_does_not_wait(database):
    add_rows(database, "locked", 3, expires="-1 second")
    session = database.connect()
    with session.cursor() as cursor:
        cursor.execute("select 1 from switchboard.websocket_connections"
                       " where connection_id = 'locked2' for update")
    done = database.command("cleanup", seconds=20)
    assert counts(done.stdout)["expired"] == 2
    session.rollback()
    assert counts(database.command("cleanup").stdout)["expired"] == 1


def test_a_client_whose_row_has_expired_is_closed(server):
    client = server.connect()
    server.database.execute("update switchboard.websocket_connections"
                            "   set expires_at = now() - interval '1 second'")
    assert server.database.live() == 0
    done = server.command("cleanup")
    assert counts(done.stdout)["expired"] == 1
    assert client.wait_closed() == (1001, "Going away")
    row = server.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1001, "Connection expired")


def test_the_server_cleans_up_by_itself_at_its_interval(database, start_server):
    server = start_server(database, cleanup_interval_s=1)

    def done():
        return [line for line in server.lines("cleanup.done") if " expired=3 " in line]

    for count, name in enumerate(("first", "second"), 1):
        add_rows(database, name, 3, expires="-1 second")
        wait_for(lambda: rows_of(database, name, "is_active") == 0, f"the {name} are inactive")
        # What is added before the end of a run goes with that one.
        wait_for(lambda: len(done()) == count, f"the run of the {name} is over")
    assert server.metrics()["switchboard_cleanup_expired_total"] == 6
    assert all("deleted=0" in line for line in done())


def test_clients_connect_while_many_rows_are_cleaned_up(database, start_server):
    server = start_server(database)
    add_rows(database, "crowd", 20000, expires="-1 second")
    cleanup = subprocess.Popen([BINARY, "cleanup"],
                               env=environment(database.gateway_url, {"cleanup_batch": 100}),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    during, slowest = 0, 0.0
    while cleanup.poll() is None:
        began = time.monotonic()
        server.connect().close()
        slowest = max(slowest, time.monotonic() - began)
        during += 1
    output, errors = cleanup.communicate()
    assert cleanup.returncode == 0, errors
    assert counts(output)["expired"] == 20000
    assert during >= 5 and slowest < 3, (during, slowest)
    assert rows_of(database, "crowd", "is_active") == 0
