# SPDX-License-Identifier: Apache-2.0
"""The database goes away, restarts and crashes.  These tests have a PostgreSQL of their own."""
import json
import re
import threading
import time

import psycopg2
import pytest
from harness import Refused, call, wait_for

ERROR_FRAME = (r'\{"message": "Internal server error", "connectionId":"[^"]+",'
               r' "requestId":"[^"]+"\}')


@pytest.fixture
def down(own_cluster):
    """A database of the cluster that the test may stop; it runs again afterwards."""
    database = own_cluster.create_database()
    yield database
    database.close()
    try:
        database.value("select 1")
    except psycopg2.Error:
        own_cluster.start()
    own_cluster.drop_database(database)


def is_ready(server):
    return server.http("GET", "/ready").status == 200


def admin_port(server):
    """Before the ports file is there, the log has the ports."""
    line = server.wait_line("serve.start")
    server.port = int(re.search(r" port=(\d+)", line)[1])
    server.admin_port = int(re.search(r"admin_port=(\d+)", line)[1])


def test_a_database_that_is_away_at_the_start_is_waited_for(own_cluster, down, start_server):
    own_cluster.stop()
    server = start_server(down, wait=False, database_wait_ms=300)
    admin_port(server)
    assert server.http("GET", "/live").status == 200
    not_ready = server.http("GET", "/ready")
    assert not_ready.status == 503
    assert not_ready.json()["ready"] is False and not_ready.json()["reason"]
    assert server.refused().status == 503
    began = time.monotonic()
    while time.monotonic() < began + 2:  # several attempts to connect, one warning
        assert server.http("GET", "/ready").status == 503
    assert len(server.lines("database.away")) == 1
    assert [line for line in server.log().splitlines()
            if "level=warn" in line or "level=error" in line] == server.lines("database.away")
    own_cluster.start()
    server.wait_ready()
    assert server.connect().ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert len(server.lines("database.away")) == 1
    assert down.active() == 1


def test_a_database_that_goes_away_is_survived(own_cluster, down, start_server):
    server = start_server(down, database_wait_ms=300)
    client, closer = server.connect(), server.connect()
    own_cluster.stop("immediate")
    down.close()
    wait_for(lambda: not is_ready(server), "/ready says no")
    client.send({"type": "heartbeat"})
    assert re.fullmatch(ERROR_FRAME, client.recv())
    answer = server.refused()
    assert answer.status == 503
    assert server.http("GET", "/live").status == 200
    assert server.http("POST", "/email-verifications", '{"email":"a@b.c"}').status == 503
    assert server.http("GET", "/connections").status == 503
    assert server.http("POST", f"/dev/@connections/{client.id}", b"hello").status == 200
    assert client.recv() == "hello"
    closer.close(4000, "while away")
    assert client.ping() == b"hello"
    assert server.metrics()["switchboard_ready"] == 0
    own_cluster.start()
    wait_for(lambda: is_ready(server), "/ready says yes again")
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    row = down.wait_inactive(closer.id)  # kept until the database took it
    assert (row["disconnect_code"], row["disconnect_reason"]) == (4000, "while away")
    assert down.row(client.id)["is_active"]
    newcomer = server.connect()
    assert down.row(newcomer.id)["is_active"]
    assert len(server.lines("database.away")) == 1
    assert down.active() == 2


def test_a_handshake_waits_for_a_database_that_comes_back_in_time(
        own_cluster, down, start_server):
    server = start_server(down, database_wait_ms=20000)
    own_cluster.stop("fast")
    down.close()
    wait_for(lambda: not is_ready(server), "/ready says no")
    result = {}

    def connect():
        try:
            result["client"] = server.connect(seconds=25)
        except Refused as refusal:
            result["refused"] = refusal.answer
    thread = threading.Thread(target=connect)
    thread.start()
    wait_for(lambda: server.metrics()["switchboard_pending_handshakes"] == 1, "it is held")
    own_cluster.start()
    thread.join(30)
    assert "client" in result, result
    assert result["client"].ping() == b"hello"
    assert down.row(result["client"].id)["is_active"]


def test_a_stop_while_the_database_is_away_ends(own_cluster, down, start_server):
    server = start_server(down, node_name="away", shutdown_timeout_ms=1000, close_timeout_ms=200)
    client = server.connect()
    own_cluster.stop("immediate")
    down.close()
    wait_for(lambda: not is_ready(server), "/ready says no")
    server.stop(15)
    assert client.wait_closed()[0] in (1012, 1001)
    own_cluster.start()
    server.start()
    assert down.active() == 0


class Publisher(threading.Thread):
    """Publishes numbers until told to stop, and tries again after a failure.

    `sure` are those whose commit was acknowledged; of the others nobody knows.
    """

    def __init__(self, database, number):
        super().__init__(daemon=True)
        self.database, self.number = database, number
        self.sure, self.unsure = [], []
        self.is_stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            self._publish()
        except Exception as failure:  # noqa: BLE001 - shown by the test
            self.failure = failure

    def _publish(self):
        connection, n = None, 0
        while not self.is_stopping.is_set():
            value = [self.number, n]
            try:
                if connection is None:
                    connection = psycopg2.connect(self.database.owner_url)
                call(connection, "select switchboard.publish('t', %s)", json.dumps(value))
                connection.commit()
                self.sure.append(tuple(value))
                n += 1
            except psycopg2.Error:
                if connection is not None:
                    self.unsure.append(tuple(value))
                    n += 1
                    connection.close()
                connection = None
                self.is_stopping.wait(0.02)
        if connection is not None:
            connection.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_under_load_loses_nothing(own_cluster, down, start_server, mode):
    server = start_server(down)
    clients = [server.connect() for _ in range(50)]
    for client in clients:
        down.execute("select switchboard.subscribe(%s, 't')", client.id)
    publishers = [Publisher(down, number) for number in range(4)]
    for publisher in publishers:
        publisher.start()
    wait_for(lambda: sum(len(p.sure) for p in publishers) >= 400, "400 were published")
    down.close()
    own_cluster.restart(mode)
    before = {p: len(p.sure) for p in publishers}
    wait_for(lambda: all(len(p.sure) >= before[p] + 50 for p in publishers),
             "each has published again", 30)
    for publisher in publishers:
        publisher.is_stopping.set()
    for publisher in publishers:
        publisher.join(15)
        assert publisher.failure is None and not publisher.is_alive()
    wait_for(lambda: is_ready(server), "/ready says yes again")
    down.execute("select switchboard.publish('t', '\"end\"')")
    sure = {value for p in publishers for value in p.sure}
    unsure = {value for p in publishers for value in p.unsure}
    first = None
    for client in clients:
        seen = []
        while (message := client.recv_json(20)) != "end":
            seen.append(tuple(message))
        assert len(seen) == len(set(seen)), "delivered twice"
        assert sure <= set(seen), f"lost: {sorted(sure - set(seen))[:10]}"
        assert set(seen) <= sure | unsure
        first = first or seen
        assert seen == first, "the order differs"
        client.assert_silent()
    rows = [row["seq"] for row in down.execute(
        "select seq from switchboard.websocket_messages order by seq")]
    assert rows == list(range(1, len(rows) + 1))
    # Every socket is the one it was, and its row is active.
    for client in clients:
        assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert down.live() == 50
    assert down.value("select count(*) from switchboard.websocket_connections"
                      " where is_active and connection_id = any(%s)",
                      [client.id for client in clients]) == 50


def test_a_lease_that_ran_out_during_the_outage_is_repaired(own_cluster, down, start_server):
    server = start_server(down, lease_ms=500)
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        down.execute("select switchboard.subscribe(%s, 't')", client.id)
    down.execute("select switchboard.publish('t', '1')")
    assert [client.recv_json() for client in clients] == [1] * 5
    own_cluster.stop("fast")
    down.close()
    began = time.monotonic()
    while time.monotonic() < began + 0.8:
        assert server.http("GET", "/live").status == 200
    own_cluster.start()
    down.command("cleanup")  # perhaps it takes them for dead before the node is back
    wait_for(lambda: is_ready(server), "/ready says yes again")
    wait_for(lambda: down.live() == 5, "all five are live again")
    down.execute("select switchboard.publish('t', '2')")
    assert [client.recv_json() for client in clients] == [2] * 5


def test_rows_that_an_outage_lost_come_back(down, start_server):
    """As after a fail-over to a replica that lagged: the rows are not there any more."""
    server = start_server(down, lease_ms=900)
    clients = [server.connect() for _ in range(5)]
    down.execute("select switchboard.subscribe(%s, 't')", clients[0].id)
    down.execute("select switchboard.publish('t', '1')")
    assert clients[0].recv_json() == 1
    down.execute("delete from switchboard.websocket_connections")
    down.execute("delete from switchboard.websocket_subscriptions")
    down.execute("delete from switchboard.websocket_nodes")
    down.cluster.admin("select pg_terminate_backend(pid) from pg_stat_activity"
                       f" where usename = 'switchboard_gateway' and datname = '{down.name}'")
    wait_for(lambda: down.live() == 5, "all five are registered again")
    wait_for(lambda: down.value("select count(*) from switchboard.websocket_subscriptions"
                                " where topic = 't'") == 1, "the subscription as well")
    for client in clients:
        assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"


def test_single_database_connections_that_break_are_replaced(down, start_server):
    server = start_server(down, database_pool_size=2)
    client = server.connect()
    for _ in range(10):
        down.cluster.admin("select pg_terminate_backend(pid) from pg_stat_activity"
                           f" where usename = 'switchboard_gateway' and datname = '{down.name}'"
                           " order by random() limit 1")
        wait_for(lambda: server.metrics()["switchboard_database_connected"] == 4,
                 "all database connections are there", 20)
        answer = client.ask({"type": "heartbeat"})
        assert answer.get("type") == "heartbeat-response" or \
            answer["message"] == "Internal server error"
    wait_for(lambda: client.ask({"type": "heartbeat"}).get("type") == "heartbeat-response",
             "it answers again")
    newcomer = server.connect()
    down.execute("select switchboard.publish_to_all('\"all\"')")
    assert newcomer.recv_json() == "all"
    wait_for(lambda: client.recv_json() == "all", "the first one has it too")
