# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: each is a scenario that is measured in rounds, ours and the references in
turn, so that what the machine does meanwhile meets all of them alike.

A scenario is a context manager whose value is a function: called once for each round, it returns
the figures of that round by name.  ROWS says what is made of them.
"""
import contextlib
import pathlib
import subprocess
import time

import lab
import peers

ECHO = '{"m": {n}, "n": {c}, "action": "echo"}'  # as jsonb is printed
ECHO_ANYBODY = '{"m": 1, "n": 1, "action": "echo"}'
SHOUT = '{"n": {n}, "action": "shout"}'
SENT = '{"n":{n},"action":"shout"}'
PUBLISH = '{"c": {c}, "n": {n}, "action": "publish"}'
SUBSCRIBE = '{"action": "subscribe"}'
SUBSCRIBED = '{"subscribed": true}'
CARECONNECT = "/dev?email=ann@example.com&type=email-verification"
PLAIN_ROW = """
insert into bench.connections (
    connection_id, user_email, subscription_type, connection_type, api_gateway_endpoint, node_id,
    stage, source_ip, user_agent, expires_at)
values (encode(sha256((random()::text || :client_id)::bytea), 'base64'), 'ann@example.com',
        'email-verification', 'local', 'http://127.0.0.1:8081/dev', 'bench', 'dev', '127.0.0.1',
        'bench/1', now() + interval '2 hours');
"""
PUBLISHED_ROW = """
insert into bench.published (kind, target, payload)
values ('topic', 'bench', '{"c": 1, "n": 1, "action": "publish"}');
"""
ROUTE_CALL = """
select event_index, kind, target, payload, except_connection
  from switchboard.handle_message('{bench}', 'echo', 'abcdefghijklmnopqr==', 'abcdefghijklmno=',
       'abcdefghijklmnopqr==', 'dev', '127.0.0.1', 'bench/1', 1700000000000,
       '{"m": 17, "n": 3, "action": "echo"}', null);
"""
SQL_PUBLISH = """
\\set n :n + 1
select switchboard.publish('bench', jsonb_build_object('c', :client_id::integer, 'n', :n::integer));
"""
SQL_INSERT = """
\\set n :n + 1
insert into bench.published (kind, target, payload)
values ('topic', 'bench', jsonb_build_object('c', :client_id::integer, 'n', :n::integer)::text);
"""
MOCK = """{
  "integrations": {
    "echo": {
      "type": "mock",
      "requestTemplates": {"$default": "{\\"statusCode\\": 200}"},
      "responses": {"$default": {"responseTemplates": {"$default": "$input.body"}}}
    }
  },
  "routes": {
    "echo": {"integration": "echo", "routeResponse": true},
    "$default": {"integration": "echo", "routeResponse": true}
  }
}
"""


@contextlib.contextmanager
def mock_gateway(bench):
    """The gateway alone: every message is answered by a mock route."""
    path = pathlib.Path(bench.directory) / "mock.json"
    path.write_text(MOCK)
    with bench.serve(None, api=path, development="on") as server:
        yield server


@contextlib.contextmanager
def database_and_server(bench, **settings):
    database = bench.database()
    try:
        with bench.serve(database, **settings) as server:
            yield database, server
    finally:
        bench.drop(database)


# ---- connecting ----

STORM = 5000  # clients


def storm(port, path, **options):
    return lab.load("storm", port=port, path=path, connections=STORM, outstanding=256, **options)


@contextlib.contextmanager
def storms(bench, seconds, path, settings, options):
    with database_and_server(bench, **settings) as (database, server), \
            lab.reference(None, "reference_storm", database=database.owner_url) as bare_port:
        def one_round():
            figures = storm(server.port, path, **options)
            bench.settle(database)
            bare = storm(bare_port, path)
            plain = bench.pgbench(database, PLAIN_ROW, 8, seconds)
            return {"ours": figures["per_second"], "pgbench": plain["tps"],
                    "bare": bare["per_second"], "p50_ms": figures["p50_ms"],
                    "p99_ms": figures["p99_ms"], "bare_p99_ms": bare["p99_ms"]}
        yield one_round


def storm_with_route(bench, seconds):
    """5,000 clients, 256 handshakes at a time, careconnect's $connect and its greeting included."""
    return storms(bench, seconds, CARECONNECT, {"profile": "careconnect"},
                  {"greeting": '{"type": "connection-established"'})


def storm_without_route(bench, seconds):
    return storms(bench, seconds, "/dev", {}, {})


# ---- echo ----

def echo(port, connections, in_flight, seconds, path="/dev", text=ECHO, **options):
    return lab.load("echo", port=port, path=path, connections=connections, in_flight=in_flight,
                    seconds=seconds, warmup=0.5, send=text, **options)["per_second"]


@contextlib.contextmanager
def echo_mock(bench, seconds, in_flight):
    with mock_gateway(bench) as server, lab.reference("echo") as bare, peers.Nchan() as nchan, \
            peers.NodeWs() as node:
        def one_round():
            return {"ours": echo(server.port, 1000, in_flight, seconds),
                    "epoll": echo(bare, 1000, in_flight, seconds),
                    "nchan": echo(nchan.port, 1000, in_flight, seconds, path="/pubsub/own{c}"),
                    "node_ws": echo(node.port, 1000, in_flight, seconds, path=node.echo_path())}
        yield one_round


@contextlib.contextmanager
def echo_among_idle(bench, seconds, idle):
    with mock_gateway(bench) as server:
        def one_round():
            return {"ours": echo(server.port, 10, 1, seconds, idle=idle, timeout=60),
                    "none_idle": echo(server.port, 10, 1, seconds)}
        yield one_round


# ---- SQL ----

@contextlib.contextmanager
def echo_sql(bench, seconds):
    with database_and_server(bench) as (database, server), \
            bench.serve(database, message_batch_rows=1, node_name="alone") as alone:
        def one_round():
            return {"ours": echo(server.port, 1000, 1, seconds),
                    "alone": echo(alone.port, 1000, 1, seconds),
                    "pgbench": bench.pgbench(database, ROUTE_CALL, 8, seconds)["tps"]}
        yield one_round


def publish_run(port, seconds):
    return lab.load("publish", port=port, path="/dev", publishers=64, in_flight=4, topics=1,
                    topic_size=10, seconds=seconds, warmup=0.5, send=PUBLISH, reply=PUBLISH,
                    expect=PUBLISH, subscriber_setup=SUBSCRIBE, subscriber_setup_reply=SUBSCRIBED,
                    timeout=60)


@contextlib.contextmanager
def publish_client(bench, seconds):
    with database_and_server(bench) as (database, server):
        def one_round():
            figures = publish_run(server.port, seconds)
            bench.settle(database)
            plain = bench.pgbench(database, PUBLISHED_ROW, 8, seconds)["tps"]
            database.execute("truncate bench.published")
            return {"ours": figures["per_second"], "pgbench": plain,
                    "p50_ms": figures["p50_us"] / 1000, "deliveries": figures["deliveries"]}
        yield one_round


@contextlib.contextmanager
def publish_sql(bench, seconds):
    with database_and_server(bench) as (database, server):
        def one_round():
            listener = lab.Waiting("listen", port=server.port, path="/dev", connections=1,
                                   setup=SUBSCRIBE, setup_reply=SUBSCRIBED, timeout=60,
                                   expect='{"c": {c}, "n": {n}}')
            try:
                ours = bench.pgbench(database, SQL_PUBLISH, 32, seconds, n=0)
                listener.expect(ours["count"])
            finally:
                listener.close()
            plain = bench.pgbench(database, SQL_INSERT, 32, seconds, n=0)
            database.execute("truncate bench.published")
            return {"ours": ours["tps"], "pgbench": plain["tps"]}
        yield one_round


# ---- fan-out ----

@contextlib.contextmanager
def fan_out(bench, seconds, subscribers, outstanding):
    def run(port, send=SHOUT, expect=SHOUT, **options):
        return lab.load("fanout", port=port, connections=subscribers, outstanding=outstanding,
                        seconds=seconds, warmup=0.5, send=send, expect=expect, timeout=60,
                        **options)["deliveries_per_second"]

    with database_and_server(bench) as (database, server), mock_gateway(bench) as alone, \
            lab.reference("fanout") as bare, peers.Nchan() as nchan:
        def one_round():
            ours = run(server.port, path="/dev", setup=SUBSCRIBE, setup_reply=SUBSCRIBED,
                       publish_path="/dev")
            bench.settle(database)
            return {"ours": ours,
                    "send": run(alone.port, path="/dev", publish="http", publish_path="/dev/@send",
                                send='{"to":"all","message":%s}' % SENT, expect=SENT,
                                publish_connections=outstanding, unordered=1),
                    "epoll": run(bare, path="/sub", publish_path="/pub"),
                    # One POST at a time on a connection: as many connections as are outstanding.
                    "nchan": run(nchan.port, path=nchan.subscribe_path(), publish="http",
                                 publish_path=nchan.publish_path(),
                                 publish_connections=outstanding, unordered=1)}
        yield one_round


# ---- latency, memory ----

@contextlib.contextmanager
def latency(bench, seconds):
    count = int(seconds * 150)
    with database_and_server(bench) as (database, server):
        def one_round():
            ours = lab.run_json("latency", "publish", database=database.owner_url,
                                port=server.port, path="/dev", topic="bench", setup=SUBSCRIBE,
                                setup_reply=SUBSCRIBED, count=count)
            notify = lab.run_json("latency", "notify", database=database.owner_url, count=count)
            return {"ours": ours["p50_us"], "notify": notify["p50_us"],
                    "ours_p99": ours["p99_us"], "notify_p99": notify["p99_us"]}
        yield one_round


def growth(pids, port, connections, quiet, **options):
    """KB of memory that a connection costs: what all processes grow by, divided."""
    lab.load("storm", port=port, connections=200, outstanding=50, **options)
    quiet()
    before = lab.resident_kb(pids)
    waiting = lab.Waiting("idle", port=port, connections=connections, timeout=120, **options)
    try:
        quiet()
        return (lab.resident_kb(pids) - before) / connections
    finally:
        waiting.close()


@contextlib.contextmanager
def memory(bench, _seconds, connections):
    """Each round starts anew: what a process has once taken it keeps for the next connections."""
    def ours():
        with database_and_server(bench) as (_, server):
            pid = server.process.pid
            return growth([pid], server.port, connections, lambda: lab.wait_quiet(pid), path="/dev",
                          setup=SUBSCRIBE, setup_reply=SUBSCRIBED)

    def of_peer(peer_class, path):
        with peer_class() as peer:
            return growth(peer.pids, peer.port, connections, lambda: time.sleep(2), path=path)

    def one_round():
        return {"ours": ours(), "nchan": of_peer(peers.Nchan, "/sub/bench"),
                "node_ws": of_peer(peers.NodeWs, "/sub")}
    yield one_round


# ---- functions, the sender ----

@contextlib.contextmanager
def one_function(bench, seconds):
    """What one message takes to the function and back."""
    path = pathlib.Path(bench.directory) / "function.json"
    with peers.LambdaFunctions() as node, peers.ServerlessOffline(in_process=False) as offline:
        peers.gateway_file(node.url, path)
        with bench.serve(None, api=path, development="on") as server:
            def one_round():
                return {"ours": echo(server.port, 1, 1, seconds),
                        "offline": echo(offline.port, 1, 1, seconds, path="/", timeout=120)}
            yield one_round


@contextlib.contextmanager
def functions(bench, seconds):
    """As it comes, serverless-offline has a thread for every function call, and mixes up the answers
    of clients that ask at the same time: there, an answer may come to another client."""
    path = pathlib.Path(bench.directory) / "functions.json"
    bare_path = pathlib.Path(bench.directory) / "bare.json"
    with peers.LambdaFunctions() as node, peers.ServerlessOffline() as in_process, \
            peers.ServerlessOffline(in_process=False) as offline, lab.reference("invoke") as invoke:
        peers.gateway_file(node.url, path)
        peers.gateway_file(f"http://127.0.0.1:{invoke}/2015-03-31/functions/app/invocations",
                           bare_path)
        with bench.serve(None, api=path) as server, bench.serve(None, api=bare_path) as bare:
            def one_round():
                return {"ours": echo(server.port, 100, 1, seconds),
                        "offline": echo(offline.port, 100, 1, seconds, path="/", mixed=1,
                                        text=ECHO_ANYBODY),
                        "in_process": echo(in_process.port, 100, 1, seconds, path="/"),
                        "gateway_alone": echo(bare.port, 100, 1, seconds)}
            yield one_round


@contextlib.contextmanager
def sender(_bench, seconds):
    count = int(seconds * 10000)
    with lab.reference("sink") as sink:
        def one_round():
            return {"ours": lab.run_json("post", "sender", port=sink, count=count,
                                         parallel=64)["per_second"],
                    "curl": lab.run_json("post", "curl", port=sink, count=count,
                                         parallel=64)["per_second"]}
        yield one_round


# ---- much data, cleanup, many nodes ----

def old_connections(database, count):
    """Rows that disconnected long ago, for the cleanup to find."""
    database.execute(
        "insert into switchboard.websocket_connections (connection_id, connection_type, stage,"
        " source_ip, user_agent, connected_at, last_activity_at, expires_at, is_active,"
        " disconnected_at, disconnect_code)"
        " select md5(random()::text || i), 'local', 'dev', '127.0.0.1', 'bench/1', t, t, t, false,"
        " t, 1000 from generate_series(1, %s) as i,"
        " lateral (select now() - interval '10 days' - i * interval '10 milliseconds' as t) as x",
        count)


def fill(database, connections, messages):
    old_connections(database, connections)
    database.execute("update switchboard.websocket_log_state set last_seq = %s", messages)
    database.execute(
        "insert into switchboard.websocket_messages (seq, kind, target, payload, created_at)"
        " select i, 'topic', 'bench', '{\"n\": ' || i || '}', now() from"
        " generate_series(1, %s) as i", messages)
    database.execute("vacuum analyze")


@contextlib.contextmanager
def much_data(bench, _seconds):
    """Nothing cleans up during the run: the rows are as old as they look."""
    with contextlib.ExitStack() as stack:
        empty = bench.database()
        full = bench.database()
        stack.callback(bench.drop, empty)
        stack.callback(bench.drop, full)
        fill(full, 5000000, 10000000)
        servers = [stack.enter_context(bench.serve(database, cleanup_interval_s=86400))
                   for database in (full, empty)]

        def one_round():
            figures = []
            for database, server in zip((full, empty), servers):
                figures.append(storm(server.port, "/dev")["per_second"])
                bench.settle(database)
            return {"ours": figures[0], "empty": figures[1]}
        yield one_round


@contextlib.contextmanager
def cleanup(bench, seconds):
    with database_and_server(bench, cleanup_interval_s=86400) as (database, server):
        def connect_p99():
            return lab.load("storm", port=server.port, path="/dev", connections=500,
                            outstanding=32, repeat_seconds=2 * seconds)["p99_ms"]

        def one_round():
            old_connections(database, 1000000)
            database.execute("select switchboard.add_partition((current_date - 100)::date)")
            idle = connect_p99()
            with subprocess.Popen([str(lab.BUILD / "switchboard"), "cleanup"],
                                  env=lab.harness.environment(database.gateway_url, {}),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                busy = connect_p99()
                is_overlapped = process.poll() is None
                process.wait(300)
            left = database.value("select count(*) from switchboard.websocket_connections"
                                  " where disconnected_at < now() - interval '8 days'")
            assert left == 0, f"the cleanup left {left} rows"
            return {"ours": busy, "idle": idle, "cleanup_outlasted": int(is_overlapped)}
        yield one_round


@contextlib.contextmanager
def many_nodes(bench, seconds):
    """500 messages a second; every node has a listener and has to bring all of them to it."""
    def run(database, servers):
        listeners = [lab.Waiting("listen", port=server.port, path="/dev", connections=1,
                                 setup=SUBSCRIBE, setup_reply=SUBSCRIBED, timeout=60,
                                 expect='{"c": {c}, "n": {n}}') for server in servers]
        try:
            before = [lab.cpu_seconds(server.process.pid) for server in servers]
            count = bench.pgbench(database, "\\sleep 2 ms\n" + SQL_PUBLISH, 1, seconds, n=0)["count"]
            for listener in listeners:
                listener.expect(count)
            after = [lab.cpu_seconds(server.process.pid) for server in servers]
        finally:
            for listener in listeners:
                listener.close()
        spent = sum(after) - sum(before)
        return spent / len(servers) / count * 1e6

    with contextlib.ExitStack() as stack:
        single, crowd = bench.database(), bench.database()
        stack.callback(bench.drop, single)
        stack.callback(bench.drop, crowd)
        alone = [stack.enter_context(bench.serve(single, node_name="n0"))]
        ten = [stack.enter_context(bench.serve(crowd, node_name=f"n{i}")) for i in range(10)]

        def one_round():
            return {"ours": run(crowd, ten), "one_node": run(single, alone)}
        yield one_round


# ---- the table ----

def row(name, what, unit, scenario, targets, **options):
    return {"name": name, "what": what, "unit": unit, "scenario": scenario, "targets": targets,
            "options": options}


# A target is (the figure, of which, at least or at most, what, how the reference is called).
ROWS = [
    row("storm-route", "durable registrations, 5,000 clients at once, `$connect` route included",
        "connections/s", storm_with_route,
        [("ours", "pgbench", ">=", 1.5, "pgbench, single-row insert, 8 clients"),
         ("p99_ms", "bare_p99_ms", "<=", 2, "p99 of a bare epoll + libpq server")]),
    row("storm", "the same without a `$connect` route", "connections/s", storm_without_route,
        [("ours", "pgbench", ">=", 2, "pgbench, single-row insert, 8 clients"),
         ("p99_ms", "bare_p99_ms", "<=", 2, "p99 of a bare epoll + libpq server")]),
    row("echo-1", "echo through a mock route, 1,000 connections, 1 in flight", "messages/s",
        echo_mock, [("ours", "epoll", ">=", 0.7, "minimal epoll echo")], in_flight=1),
    row("echo-16", "the same, 16 in flight", "messages/s", echo_mock,
        [("ours", "epoll", ">=", 0.25, "minimal epoll echo"),
         ("ours", "nchan", ">=", 4, "nchan"), ("ours", "node_ws", ">=", 5, "Node ws")],
        in_flight=16),
    row("echo-idle-10k", "echo by 10 connections while 10,000 are idle", "messages/s",
        echo_among_idle, [("ours", "none_idle", ">=", 0.8, "none idle")], idle=10000),
    row("echo-idle-many", "echo by 10 connections while {many} are idle", "messages/s",
        echo_among_idle, [("ours", "none_idle", ">=", 0.8, "none idle")], idle="many"),
    row("echo-sql", "message, SQL route, reply; 1,000 connections", "messages/s", echo_sql,
        [("ours", "pgbench", ">=", 0.5, "pgbench calling the same function, 8 clients"),
         ("alone", "pgbench", ">=", 0.5, "the same, each message a transaction of its own")]),
    row("publish-client", "durable publish by clients to a topic of 10", "publishes/s",
        publish_client,
        [("ours", "pgbench", ">=", 1, "pgbench, insert of the same row, 8 clients")]),
    row("publish-sql", "durable publish from SQL, 32 sessions, all of it delivered",
        "publishes/s", publish_sql,
        [("ours", "pgbench", ">=", 0.8, "pgbench, insert of the same row, 32 clients")]),
    row("fan-out-1000", "fan-out 1 to 1,000 from a SQL route, one at a time", "deliveries/s", fan_out,
        [("ours", "epoll", ">=", 0.8, "minimal epoll fan-out"),
         ("send", "epoll", ">=", 0.8, "the same, ours by `@send` without a database")], subscribers=1000, outstanding=1),
    row("fan-out-1000-4", "fan-out 1 to 1,000, 4 outstanding", "deliveries/s", fan_out,
        [("ours", "epoll", ">=", 0.8, "minimal epoll fan-out"), ("ours", "nchan", ">=", 2, "nchan")],
        subscribers=1000, outstanding=4),
    row("fan-out-10000", "fan-out 1 to 10,000, one at a time", "deliveries/s", fan_out,
        [("ours", "epoll", ">=", 0.8, "minimal epoll fan-out"),
         ("send", "epoll", ">=", 0.8, "the same, ours by `@send` without a database")], subscribers=10000, outstanding=1),
    row("fan-out-10000-4", "fan-out 1 to 10,000, 4 outstanding", "deliveries/s", fan_out,
        [("ours", "epoll", ">=", 0.8, "minimal epoll fan-out"), ("ours", "nchan", ">=", 2, "nchan")],
        subscribers=10000, outstanding=4),
    row("latency", "publish in SQL to reception, idle server, median", "us", latency,
        [("ours", "notify", "<=", 2, "insert and `pg_notify` to a listener in C"),
         ("ours_p99", "notify_p99", "<=", 3, "p99 of the same")]),
    row("memory-10k", "memory of an idle connection with a subscription, 10,000 of them", "KB",
        memory, [("ours", None, "<=", 3, "KB"), ("ours", "nchan", "<=", 1, "nchan"),
                 ("ours", "node_ws", "<=", 1, "Node ws")], connections=10000),
    row("memory-many", "the same with {many}", "KB", memory,
        [("ours", None, "<=", 3, "KB"), ("ours", "nchan", "<=", 1, "nchan"),
         ("ours", "node_ws", "<=", 1, "Node ws")], connections="many"),
    row("function", "event, gateway, Lambda function in Node, reply; one client", "events/s",
        one_function, [("ours", "offline", ">=", 10, "serverless-offline, same handler")]),
    row("functions", "the same, 100 clients", "events/s",
        functions, [("ours", "offline", ">=", 10, "serverless-offline, same handler"),
                    ("ours", "in_process", ">=", 10, "serverless-offline --useInProcess"),
                    ("gateway_alone", "in_process", ">=", 10,
                     "the same, our function being one that takes no time")]),
    row("sender", "signed POSTs to `@connections`, 64 in flight", "posts/s", sender,
        [("ours", "curl", ">=", 0.8, "libcurl multi, a bare loop, not signed")]),
    row("much-data", "registrations with 5 million rows and 10 million messages in the log",
        "connections/s", much_data, [("ours", "empty", ">=", 0.9, "empty tables")]),
    row("cleanup", "p99 of connecting while 1 million rows are cleaned up and a partition dropped",
        "ms", cleanup, [("ours", "idle", "<=", 2, "nothing cleaned up")]),
    row("nodes", "processor time of a node per message, 10 nodes on one log", "us", many_nodes,
        [("ours", "one_node", "<=", 1.5, "1 node")]),
]
