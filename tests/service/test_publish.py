# SPDX-License-Identifier: Apache-2.0
"""Publishing: durable, in one order for everybody, when the transaction commits."""
import json
import subprocess
import threading
import time

import pytest
from harness import call, wait_for


def subscribe(server, client, topic):
    assert server.database.value("select switchboard.subscribe(%s, %s)", client.id, topic) is True


def publish(session, topic, payload):
    call(session, "select switchboard.publish(%s, %s)", topic, json.dumps(payload))


def log_of(database):
    return database.execute("select seq, kind, target, payload, created_at"
                            "  from switchboard.websocket_messages order by seq")


def assert_gapless(database):
    rows = log_of(database)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    stamps = [row["created_at"] for row in rows]
    assert stamps == sorted(stamps)
    assert database.value("select count(*) from switchboard.websocket_outbox") == 0
    return rows


def test_what_psql_publishes_arrives(server):
    client, other = server.connect(), server.connect()
    subscribe(server, client, "order:42")
    done = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", f"--dbname={server.database.owner_url}", "--command",
         """select switchboard.publish('order:42', '{"status":"paid"}')"""],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    began = time.monotonic()
    assert client.recv_json() == {"status": "paid"}
    assert time.monotonic() - began < 1
    other.assert_silent()


def test_a_user_all_and_one_connection_are_reached(server):
    ann = [server.connect() for _ in range(2)]
    bob = server.connect()
    for client in ann:
        server.database.execute("select switchboard.identify(%s, user_id => 'ann')", client.id)
    server.database.execute("select switchboard.identify(%s, user_id => 'bob')", bob.id)
    assert server.database.value("select switchboard.send_to_user('ann', '1')") == 2
    assert server.database.value("select switchboard.send_to_user('carl', '2')") == 0
    server.database.execute("select switchboard.publish_to_all('3')")
    assert server.database.value("select switchboard.send_to_connection(%s, '4')", bob.id) is True
    assert server.database.value(
        "select switchboard.send_to_connection('AAAAAAAAAAAAAAAAAA==', '5')") is False
    for client in ann:
        assert [client.recv_json() for _ in range(2)] == [1, 3]
    assert [bob.recv_json() for _ in range(2)] == [3, 4]
    server.database.execute("select switchboard.identify(%s, user_id => 'carl')", bob.id)
    server.database.execute("select switchboard.send_to_user('bob', '6')")
    server.database.execute("select switchboard.send_to_user('carl', '7')")
    assert bob.recv_json() == 7
    for client in [*ann, bob]:
        client.assert_silent()
    assert_gapless(server.database)


def test_who_unsubscribes_gets_nothing_published_after_it(server):
    client = server.connect()
    subscribe(server, client, "t")
    session = server.database.connect()
    publish(session, "t", 1)
    call(session, "select switchboard.unsubscribe(%s, 't')", client.id)
    publish(session, "t", 2)
    call(session, "select switchboard.subscribe(%s, 't')", client.id)
    publish(session, "t", 3)
    session.commit()
    assert [client.recv_json() for _ in range(2)] == [1, 3]
    assert server.database.value("select switchboard.unsubscribe(%s, 't')", client.id) is True
    assert server.database.value("select switchboard.unsubscribe(%s, 't')", client.id) is False
    publish(session, "t", 4)
    session.commit()
    server.database.execute("select switchboard.publish_to_all('5')")
    assert client.recv_json() == 5


def test_subscribing_twice_delivers_once(server):
    client = server.connect()
    subscribe(server, client, "t")
    assert server.database.value("select switchboard.subscribe(%s, 't')", client.id) is False
    server.database.execute("select switchboard.publish('t', '1')")
    assert client.recv_json() == 1
    client.assert_silent()


def test_the_order_is_that_of_the_commits(server):
    client = server.connect()
    subscribe(server, client, "t")
    early, late = server.database.connect(), server.database.connect()
    publish(early, "t", "began first")
    publish(late, "t", "committed first")
    late.commit()
    assert client.recv_json() == "committed first"
    client.assert_silent()
    early.commit()
    assert client.recv_json() == "began first"
    rows = assert_gapless(server.database)
    assert [json.loads(row["payload"]) for row in rows[-2:]] == ["committed first", "began first"]


def test_a_rollback_publishes_nothing_and_leaves_no_gap(server):
    client = server.connect()
    subscribe(server, client, "t")
    session = server.database.connect()
    publish(session, "t", 1)
    session.rollback()
    publish(session, "t", 2)
    with session.cursor() as cursor:
        cursor.execute("savepoint s")
        cursor.execute("select switchboard.publish('t', '3')")
        cursor.execute("rollback to savepoint s")
    publish(session, "t", 4)
    session.commit()
    assert [client.recv_json() for _ in range(2)] == [2, 4]
    client.assert_silent()
    assert_gapless(server.database)


def test_a_long_transaction_that_published_holds_up_nobody(server):
    client = server.connect()
    subscribe(server, client, "t")
    long, short = server.database.connect(), server.database.connect()
    publish(long, "t", "long")
    for n in range(50):
        publish(short, "t", n)
        short.commit()
        assert client.recv_json() == n
    client.assert_silent()
    long.commit()
    assert client.recv_json() == "long"
    assert_gapless(server.database)


def test_a_snapshot_held_open_elsewhere_holds_up_nobody(server):
    client = server.connect()
    subscribe(server, client, "t")
    reader = server.database.connect()
    reader.set_session(isolation_level="REPEATABLE READ")
    call(reader, "select txid_current()")
    for n in range(5):
        server.database.execute("select switchboard.publish('t', %s)", str(n))
        assert client.recv_json() == n


def test_two_clients_see_1000_messages_of_8_sessions_in_the_same_order(server):
    clients = [server.connect() for _ in range(2)]
    for client in clients:
        subscribe(server, client, "t")
    errors = []

    def publisher(number, session):
        try:
            for n in range(125):
                publish(session, "t", [number, n])
                session.commit()
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)
    threads = [threading.Thread(target=publisher, args=(number, server.database.connect()))
               for number in range(8)]
    for thread in threads:
        thread.start()
    seen = [[tuple(client.recv_json()) for _ in range(1000)] for client in clients]
    for thread in threads:
        thread.join()
    assert not errors
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == [(number, n) for number in range(8) for n in range(125)]
    for number in range(8):  # and each session in its own order
        assert [n for who, n in seen[0] if who == number] == list(range(125))
    rows = [row for row in assert_gapless(server.database) if row["kind"] == "topic"]
    assert [tuple(json.loads(row["payload"])) for row in rows] == seen[0]
    for client in clients:
        client.assert_silent()


def test_many_messages_of_one_transaction_arrive_in_their_order(server):
    client = server.connect()
    subscribe(server, client, "t")
    server.database.execute("select switchboard.publish('t', to_jsonb(n))"
                            "  from generate_series(1, 5000) as n")
    assert [client.recv_json() for _ in range(5000)] == list(range(1, 5001))
    assert_gapless(server.database)


def test_a_payload_arrives_as_it_was_published(server):
    client = server.connect()
    subscribe(server, client, "t")
    for payload in (None, True, 1.5, "\u00e9 \U0001f600 \" \\ \n", [], {}, {"a": [None]},
                    "x" * 100000):
        server.database.execute("select switchboard.publish('t', %s)", json.dumps(payload))
        assert client.recv_json() == payload


@pytest.mark.parametrize("topic", ["t", "room:a b", "\u00e9", "it's", "{a,b}", "*", "x" * 500])
def test_a_topic_may_be_any_text(server, topic):
    client, other = server.connect(), server.connect()
    subscribe(server, client, topic)
    server.database.execute("select switchboard.publish(%s, '1')", topic)
    assert client.recv_json() == 1
    other.assert_silent()


def test_a_route_that_publishes_reaches_subscribers_when_it_commits(database, start_server):
    database.execute("""
        create schema app;
        create function app.say(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$
        begin
            perform publish('t', event.body -> 'n');
            if event.body ->> 'fail' is not null then raise exception 'undone'; end if;
            return query select * from reply('"said"');
        end $$;
        create function app.join(event switchboard.event) returns setof switchboard.delivery
        language plpgsql as $$
        begin
            perform subscribe(event.connection_id, 't');
            perform publish('t', '"joined"');
            return;
        end $$""")
    server = start_server(database, routes="app", poll_interval_ms=60000)
    speaker, listener = server.connect(), server.connect()
    assert listener.ask({"action": "join"}) == "joined"
    for n in range(20):
        speaker.send({"action": "say", "n": n})
        assert listener.recv_json(5) == n  # not by polling
        assert speaker.recv_json() == "said"
    speaker.send({"action": "say", "n": -1, "fail": True})
    assert speaker.recv_json()["type"] == "error"
    speaker.ask({"action": "say", "n": 21})
    assert listener.recv_json(5) == 21
    assert_gapless(database)


def test_publishers_elsewhere_are_heard_without_polling(database, start_server):
    server = start_server(database, poll_interval_ms=60000)
    client = server.connect()
    subscribe(server, client, "t")
    for n in range(50):
        database.execute("select switchboard.publish('t', %s)", str(n))
        assert client.recv_json(5) == n


def test_a_node_starts_at_the_end_of_the_log(database, start_server):
    outbox = "select count(*) from switchboard.websocket_outbox"
    database.execute("select switchboard.publish_to_all('\"before\"')")
    server = start_server(database)
    wait_for(lambda: database.value(outbox) == 0, "the outbox was sequenced")
    client = server.connect()
    database.execute("select switchboard.publish_to_all('\"after\"')")
    assert client.recv_json() == "after"
    client.close()
    server.stop()
    server.start()
    again = server.connect()
    again.assert_silent()
    assert_gapless(database)


# ---- two nodes ----

@pytest.fixture
def nodes(database, start_server):
    database.execute("""
        create schema app;
        create function app.say(event switchboard.event) returns setof switchboard.delivery
        language sql as $$
            select switchboard.publish('t', event.body -> 'n');
            select * from switchboard.reply('"said"');
        $$;
        create function app.shout(event switchboard.event) returns setof switchboard.delivery
        language sql as $$ select * from switchboard.to_all(event.body -> 'n') $$;
        create function app.whisper(event switchboard.event) returns setof switchboard.delivery
        language sql as $$
            select * from switchboard.to_connection(event.body ->> 'to', event.body -> 'n')
            union all
            select * from switchboard.to_user('u', event.body -> 'n')
            union all
            select * from switchboard.to_topic('t', event.body -> 'n', event.body ->> 'to')
        $$""")
    nodes = [start_server(database, routes="app", lease_ms=1500) for _ in range(2)]
    others = "select count(*) from switchboard.websocket_nodes where expires_at > now()"
    wait_for(lambda: database.value(others) == 2, "both nodes are registered")
    return nodes


def wait_known(nodes):
    """Each node learns of the other with its next heartbeat."""
    first, second = (node.connect() for node in nodes)

    def crossed():
        first.send({"action": "shout", "n": "hello?"})
        first.recv_json()
        second.ping()
        heard = bool(second.messages)
        second.messages.clear()
        return heard
    wait_for(crossed, "an ephemeral delivery crosses nodes")
    # What else was shouted is in the log before this, and does not reach whoever comes next.
    nodes[0].database.execute("select switchboard.publish_to_all('\"known\"')")
    for client in (first, second):
        while client.recv_json() != "known":
            pass
    first.close()
    second.close()


def test_what_is_published_through_one_node_reaches_the_clients_of_the_other(nodes):
    a, b = (node.connect() for node in nodes)
    for node, client in zip(nodes, (a, b)):
        subscribe(node, client, "t")
    for n in range(30):
        speaker = a if n % 2 else b
        speaker.send({"action": "say", "n": n})
        got = [a.recv_json(), b.recv_json(), speaker.recv_json()]
        assert sorted(str(value) for value in got) == sorted([str(n), str(n), "said"])
    nodes[0].database.execute("select switchboard.publish('t', '\"psql\"')")
    assert (a.recv_json(), b.recv_json()) == ("psql", "psql")
    assert_gapless(nodes[0].database)


def test_ephemeral_deliveries_cross_nodes_once(nodes):
    wait_known(nodes)
    a, b, c = nodes[0].connect(), nodes[1].connect(), nodes[1].connect()
    nodes[0].database.execute("select switchboard.identify(%s, user_id => 'u')", b.id)
    subscribe(nodes[1], c, "t")
    nodes[0].database.execute("select switchboard.publish_to_all('\"ready\"')")
    assert [client.recv_json() for client in (a, b, c)] == ["ready"] * 3
    a.send({"action": "shout", "n": 1})
    assert [client.recv_json() for client in (a, b, c)] == [1, 1, 1]
    a.send({"action": "whisper", "n": 2, "to": c.id})
    assert c.recv_json() == 2  # by its id; the topic leaves it out
    assert b.recv_json() == 2  # by its user
    nodes[0].database.execute("select switchboard.publish_to_all('\"end\"')")
    assert [client.recv_json() for client in (a, b, c)] == ["end"] * 3


def test_a_connection_of_another_node_is_closed_from_sql_and_by_http(nodes):
    a, b = (node.connect() for node in nodes)
    assert nodes[0].database.value("select switchboard.close_connection(%s, 4005, 'Out')", b.id)
    assert b.wait_closed() == (4005, "Out")
    answer = nodes[1].http("DELETE", f"/dev/@connections/{a.id}")
    assert answer.status == 204
    assert a.wait_closed() == (1000, "Connection Closed Normally")
    for client in (a, b):
        nodes[0].database.wait_inactive(client.id)
