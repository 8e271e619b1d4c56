# SPDX-License-Identifier: Apache-2.0
"""seq and resume: what a client missed comes in order, then it is live, without gap or duplicate."""
import json
import random
import threading
import urllib.parse

import pytest
from harness import Gone, wait_for

SQL = """
create schema feed;
create function feed."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    perform switchboard.subscribe(event.connection_id, t.topic)
       from unnest(string_to_array(coalesce(event.query ->> 'topics', 'news'), ',')) as t (topic);
    return next switchboard.reply(jsonb_build_object('type', 'connection-established',
                                                     'sessionId', event.connection_id));
end;
$$;
create function feed.join(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    perform switchboard.subscribe(event.connection_id, event.body ->> 'topic');
    return next switchboard.reply(jsonb_build_object('joined', event.body ->> 'topic'));
end;
$$;
create function feed.whisper(event switchboard.event)
returns setof switchboard.delivery
language sql
begin atomic
    select switchboard.to_topic(event.body ->> 'topic', jsonb_build_object('whisper', 1));
end;
"""
SETTINGS = {"routes": "feed", "rate_limit_stage": "off"}


@pytest.fixture
def feed(database, start_server):
    database.execute(SQL)
    return start_server(database, **SETTINGS)


def publish(database, first, count, topic="news", padding=""):
    database.execute("select switchboard.publish(%s, jsonb_build_object('n', n, 'p', %s))"
                     "  from generate_series(%s, %s) as n order by n",
                     topic, padding, first, first + count - 1)


def wait_logged(database, count, topic="news"):
    """The log has them all, so that what is asked for next is not a race."""
    wait_for(lambda: database.value(
        "select count(*) from switchboard.websocket_messages where kind = 'topic'"
        " and target = %s", topic) >= count, f"{count} messages are in the log", 60)


def seqs(database, topic="news"):
    return {row["n"]: row["seq"] for row in database.execute(
        "select (payload::jsonb ->> 'n')::integer as n, seq from switchboard.websocket_messages"
        " where kind = 'topic' and target = %s", topic)}


def resume(client, **topics):
    client.send({"action": "resume", "topics": topics})


def connect_resuming(server, topics, query=""):
    text = urllib.parse.quote(json.dumps(topics))
    return server.connect(f"resume={text}" + (f"&{query}" if query else ""))


def take(client, count, seconds=30):
    return [client.recv_json(seconds) for _ in range(count)]


# ---- what clients see ----

def test_a_client_that_did_not_ask_sees_no_seq(feed):
    client = feed.connect()
    publish(feed.database, 1, 3)
    assert take(client, 3) == [{"n": n, "p": ""} for n in (1, 2, 3)]
    client.assert_silent()


def test_what_came_after_the_number_comes_in_order_and_then_live(feed):
    publish(feed.database, 1, 50)
    wait_logged(feed.database, 50)
    known = seqs(feed.database)
    client = feed.connect()
    resume(client, news=known[20])
    got = take(client, 30)
    assert [message["n"] for message in got] == list(range(21, 51))
    assert [message["seq"] for message in got] == [known[n] for n in range(21, 51)]
    assert all(next(iter(message)) == "seq" for message in got)
    publish(feed.database, 51, 5)
    live = take(client, 5)
    assert [message["n"] for message in live] == list(range(51, 56))
    assert [message["seq"] for message in live] == [seqs(feed.database)[n] for n in range(51, 56)]
    client.assert_silent()


def test_seq_from_now_on(feed):
    publish(feed.database, 1, 3)
    wait_logged(feed.database, 3)
    client = feed.connect()
    resume(client)
    client.assert_silent()
    client.ask({"action": "join", "topic": "other"})  # so resume has been answered
    publish(feed.database, 4, 1)
    assert client.recv_json() == {"seq": seqs(feed.database)[4], "n": 4, "p": ""}


def test_what_is_not_an_object_is_wrapped(feed):
    client = feed.connect()
    resume(client)
    client.ask({"action": "join", "topic": "other"})
    feed.database.execute("""select switchboard.publish('news', '"text"')""")
    message = client.recv_json()
    assert set(message) == {"seq", "data"} and message["data"] == "text"


def test_answers_and_ephemeral_deliveries_have_no_seq_and_are_not_replayed(feed):
    client = feed.connect()
    publish(feed.database, 1, 1)
    assert client.recv_json() == {"n": 1, "p": ""}  # its subscription has reached the node
    client.send({"action": "whisper", "topic": "news"})
    assert client.recv_json() == {"whisper": 1}
    resume(client, news=0)
    assert client.recv_json()["n"] == 1
    client.send({"action": "whisper", "topic": "news"})
    assert client.recv_json() == {"whisper": 1}
    client.assert_silent()


def test_several_topics_come_in_the_order_of_the_log(feed):
    for n in range(1, 31):
        publish(feed.database, n, 1, topic="a" if n % 3 else "b")
    wait_logged(feed.database, 20, "a")
    wait_logged(feed.database, 10, "b")
    known = {**seqs(feed.database, "a"), **seqs(feed.database, "b")}
    client = feed.connect("topics=a,b")
    resume(client, a=known[10], b=known[21])
    got = [message["n"] for message in take(client, 13 + 3)]
    assert got == [n for n in range(11, 31) if n % 3 or n > 21]
    client.assert_silent()


def test_a_topic_that_it_has_not_subscribed_to_is_refused(feed):
    publish(feed.database, 1, 3, topic="secret")
    wait_logged(feed.database, 3, "secret")
    client = feed.connect()
    resume(client, secret=0, news=0)
    answer = client.recv_json()
    assert answer["type"] == "system" and answer["payload"]["level"] == "error"
    assert "secret" in answer["payload"]["message"]
    publish(feed.database, 1, 1)
    assert client.recv_json()["n"] == 1
    client.assert_silent()


def test_a_request_that_makes_no_sense_is_answered(feed):
    client = feed.connect()
    for topics in ([], "news", {"news": "x"}, {"news": -1}, {"news": 1.5}):
        client.send({"action": "resume", "topics": topics})
        answer = client.recv_json()
        assert answer["type"] == "error", topics
    publish(feed.database, 1, 1)
    assert client.recv_json() == {"n": 1, "p": ""}


def test_a_number_from_the_future_means_from_now_on(feed):
    publish(feed.database, 1, 3)
    wait_logged(feed.database, 3)
    client = feed.connect()
    resume(client, news=10 ** 17)
    client.ask({"action": "join", "topic": "other"})
    publish(feed.database, 4, 2)
    assert [message["n"] for message in take(client, 2)] == [4, 5]


def test_asking_again_begins_anew(feed):
    publish(feed.database, 1, 10)
    wait_logged(feed.database, 10)
    known = seqs(feed.database)
    client = feed.connect()
    for after in (8, 0, 5):
        resume(client, news=known.get(after, 0))
        assert [message["n"] for message in take(client, 10 - after)] == list(range(after + 1, 11))
    client.assert_silent()


def test_selection_by_type(database, start_server):
    database.execute(SQL)
    server = start_server(database, **SETTINGS, route_selection_expression="$request.body.type")
    publish(database, 1, 2)
    wait_logged(database, 2)
    client = server.connect()
    client.send({"type": "resume", "topics": {"news": 0}})
    assert [message["n"] for message in take(client, 2)] == [1, 2]


# ---- at connect time ----

def test_resuming_while_connecting(feed):
    publish(feed.database, 1, 10)
    wait_logged(feed.database, 10)
    known = seqs(feed.database)
    client = connect_resuming(feed, {"news": known[4]})
    assert [message["n"] for message in take(client, 6)] == list(range(5, 11))
    publish(feed.database, 11, 1)
    assert client.recv_json()["seq"] == seqs(feed.database)[11]
    client.assert_silent()


def test_connecting_with_an_empty_object_asks_for_seq(feed):
    client = connect_resuming(feed, {})
    publish(feed.database, 1, 1)
    assert client.recv_json()["seq"] == seqs(feed.database)[1]


def test_connecting_with_a_topic_that_is_not_its_own(feed):
    client = connect_resuming(feed, {"secret": 0, "news": 0})
    answer = client.recv_json()
    assert answer["type"] == "system" and "secret" in answer["payload"]["message"]
    client.ask({"action": "join", "topic": "secret"})
    publish(feed.database, 1, 1, topic="secret")
    assert client.recv_json()["n"] == 1


def test_connecting_with_nonsense_is_answered_and_the_connection_is_usable(feed):
    client = feed.connect("resume=%5Bnonsense")
    assert client.recv_json()["type"] == "error"
    publish(feed.database, 1, 1)
    assert client.recv_json() == {"n": 1, "p": ""}


# ---- what is no longer there ----

def test_a_gap_older_than_retention_is_said(feed):
    publish(feed.database, 1, 20)
    wait_logged(feed.database, 20)
    known = seqs(feed.database)
    feed.database.execute("delete from switchboard.websocket_messages where seq < %s", known[11])
    client = feed.connect()
    resume(client, news=known[3])
    warning = client.recv_json()
    assert warning["type"] == "system"
    assert warning["payload"] == {
        "message": f"Messages before seq {known[11]} are no longer kept", "level": "warning"}
    assert [message["n"] for message in take(client, 10)] == list(range(11, 21))
    resume(client, news=known[11] - 1)  # the last one that is gone: nothing is missing
    assert [message["n"] for message in take(client, 10)] == list(range(11, 21))
    client.assert_silent()


# ---- more than a page, slow clients, the end of clients and databases ----

def test_more_than_the_queue_of_a_connection_can_hold(feed):
    publish(feed.database, 1, 3000, padding="x" * 2000)
    wait_logged(feed.database, 3000)
    client = feed.connect()
    resume(client, news=0)
    assert [message["n"] for message in take(client, 3000)] == list(range(1, 3001))
    publish(feed.database, 3001, 1)
    assert client.recv_json()["n"] == 3001
    assert feed.metrics()["switchboard_messages_replayed_total"] == 3000


def test_a_message_larger_than_a_page_may_be(feed):
    publish(feed.database, 1, 3, padding="y" * 400000)
    wait_logged(feed.database, 3)
    client = feed.connect()
    resume(client, news=0)
    assert [message["n"] for message in take(client, 3)] == [1, 2, 3]


def test_clients_that_vanish_in_the_middle(feed):
    publish(feed.database, 1, 2000, padding="x" * 2000)
    wait_logged(feed.database, 2000)
    for reset in (True, False):
        for client in [feed.connect() for _ in range(10)]:
            resume(client, news=0)
            client.recv_json()
            client.drop(reset)
    wait_for(lambda: feed.metrics()["switchboard_open_connections"] == 0, "all are gone")
    client = feed.connect()
    resume(client, news=0)
    assert len(take(client, 2000)) == 2000


def test_leaving_a_topic_ends_its_replay(feed):
    publish(feed.database, 1, 3000, padding="x" * 2000)
    wait_logged(feed.database, 3000)
    client = feed.connect("topics=news,other")
    resume(client, news=0, other=0)
    client.recv_json()
    feed.database.execute("select switchboard.unsubscribe(%s, 'news')", client.id)
    publish(feed.database, 1, 1, topic="other")
    last = 1
    while True:
        message = client.recv_json()
        if not message["p"]:
            break
        assert message["n"] == last + 1
        last = message["n"]
    assert last < 3000
    publish(feed.database, 2, 1, topic="other")
    publish(feed.database, 3001, 1)
    assert client.recv_json()["n"] == 2
    client.assert_silent()


def test_many_at_once(feed):
    publish(feed.database, 1, 300)
    wait_logged(feed.database, 300)
    clients = [connect_resuming(feed, {"news": 0}) for _ in range(60)]
    publish(feed.database, 301, 50)
    for client in clients:
        assert [message["n"] for message in take(client, 350)] == list(range(1, 351))


def test_a_database_that_is_away_meanwhile(own_cluster, start_server):
    database = own_cluster.create_database()
    database.execute(SQL)
    server = start_server(database, **SETTINGS, poll_interval_ms=100)
    publish(database, 1, 4000, padding="x" * 2000)
    wait_logged(database, 4000)
    client = server.connect()
    resume(client, news=0)
    assert [message["n"] for message in take(client, 10)] == list(range(1, 11))
    own_cluster.stop("immediate")
    wait_for(lambda: server.http("GET", "/ready").status == 503, "it has noticed")
    own_cluster.start()
    database.close()  # its sessions are gone
    assert [message["n"] for message in take(client, 3990, 60)] == list(range(11, 4001))
    publish(database, 4001, 1)
    assert client.recv_json(30)["n"] == 4001
    client.assert_silent()


# ---- without gap and without duplicate, under load ----

class Publishers:
    """Sessions that publish at the same time, in transactions of several messages, some rolled
    back."""

    def __init__(self, database, sessions, messages):
        self.database = database
        self.threads = [threading.Thread(target=self.run, args=(database.connect(), session,
                                                                messages))
                        for session in range(sessions)]

    def run(self, connection, session, messages):
        chance = random.Random(session)
        number = 0
        while number < messages:
            size = chance.randint(1, 7)
            with connection.cursor() as cursor:
                for n in range(number, number + size):
                    cursor.execute("select switchboard.publish('news', jsonb_build_object("
                                   "'session', %s::integer, 'n', %s::integer))", (session, n))
            if chance.random() < 0.15:
                connection.rollback()
                continue
            connection.commit()
            number += size

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()

    def are_busy(self):
        return any(thread.is_alive() for thread in self.threads)


def committed(database):
    return [row["seq"] for row in database.execute(
        "select seq from switchboard.websocket_messages where kind = 'topic' and target = 'news'"
        " order by seq")]


class Reader:
    """Takes messages, goes away in every way there is, and resumes where it was."""

    def __init__(self, servers, seed):
        self.servers = servers
        self.chance = random.Random(seed)
        self.last = 0
        self.seqs = []
        self.client = None
        self.visits = 0

    def come(self):
        server = self.chance.choice(self.servers)
        self.visits += 1
        if self.chance.random() < 0.5:
            self.client = connect_resuming(server, {"news": self.last})
            return
        self.client = server.connect()
        resume(self.client, news=self.last)

    def go(self):
        if self.chance.random() < 0.5:
            self.client.drop(reset=self.chance.random() < 0.5)
        else:
            self.client.close()
        self.client = None

    def read(self, count, seconds):
        for _ in range(count):
            message = self.client.recv_json(seconds)
            seq = message.get("seq")
            if seq is None:  # live, from before the resume was there
                continue
            assert seq > self.last, f"{seq} after {self.last}"
            self.last = seq
            self.seqs.append(seq)

    def run_while(self, publishers):
        while publishers.are_busy():
            self.come()
            try:
                self.read(self.chance.randint(1, 120), 2)
            except AssertionError as silence:
                if "no message" not in str(silence):
                    raise
            except Gone:
                pass
            self.go()

    def finish(self, end):
        self.come()
        while self.last < end:
            self.read(1, 20)
        self.client.assert_silent()


@pytest.mark.parametrize("nodes", [1, 2])
def test_nothing_is_missing_and_nothing_comes_twice(database, start_server, nodes):
    database.execute(SQL)
    servers = [start_server(database, **SETTINGS, poll_interval_ms=200) for _ in range(nodes)]
    readers = [Reader(servers, seed) for seed in range(3)]
    with Publishers(database, 4, 700) as publishers:
        threads = []
        failures = []

        def run(reader):
            try:
                reader.run_while(publishers)
            except BaseException as failure:  # pylint: disable=broad-except
                failures.append(failure)

        for reader in readers:
            threads.append(threading.Thread(target=run, args=(reader,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert not failures, failures
    wait_for(lambda: database.value("select count(*) from switchboard.websocket_outbox") == 0,
             "everything is in the log")
    expected = committed(database)
    assert len(expected) >= 4 * 700
    for reader in readers:
        reader.finish(expected[-1])
        assert reader.visits > 3
        assert reader.seqs == expected
