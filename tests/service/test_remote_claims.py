# SPDX-License-Identifier: Apache-2.0
"""Many processes deliver the log to connections that no node holds: nothing is lost, nothing comes
twice while nobody dies, and what one connection gets keeps its order."""
import collections
import json
import random
import threading

import pytest
from harness import wait_for

CONNECTIONS = [f"r{n}" for n in range(12)]
CLAIM = ("select seq, kind, connection_id, endpoint, payload"
         "  from switchboard.claim_messages(%s, %s, %s)")
FINISH = "select switchboard.finish_messages(%s, %s, %s)"


@pytest.fixture
def remote(database):
    """A database with connections of users u0..u3, of which the even ones have subscribed."""
    for number, name in enumerate(CONNECTIONS):
        event = {"requestContext": {"connectionId": name, "stage": "dev", "connectedAt": 1,
                                    "authorizer": {"userId": f"u{number % 4}"}}}
        database.execute("select switchboard.register_connections('{}', null, 'https://x', 7200000,"
                         " %s)", json.dumps([event]))
        if number % 2 == 0:
            database.execute("select switchboard.subscribe(%s, 'even')", name)
    return database


class Publisher(threading.Thread):
    """Transactions of several messages to every kind of receiver, some rolled back."""

    SENDS = [
        ("select switchboard.send_to_connection(%s, %s)", CONNECTIONS[3], [CONNECTIONS[3]]),
        ("select switchboard.send_to_connection(%s, %s)", CONNECTIONS[4], [CONNECTIONS[4]]),
        ("select switchboard.send_to_user(%s, %s)", "u1", CONNECTIONS[1::4]),
        ("select switchboard.publish(%s, %s)", "even", CONNECTIONS[::2]),
        ("select switchboard.publish(%s, %s)", "nobody", []),
        ("select switchboard.publish_to_all(%s)", None, CONNECTIONS),
    ]

    def __init__(self, database, number, messages):
        super().__init__()
        self.session = database.connect()
        self.number = number
        self.messages = messages
        self.sent = {}  # what was committed: the receivers of each message

    def send(self, cursor, chance, n):
        statement, target, receivers = chance.choice(self.SENDS)
        payload = json.dumps({"publisher": self.number, "n": n})
        cursor.execute(statement, (target, payload) if target else (payload,))
        return {(self.number, n): receivers}

    def run(self):
        chance = random.Random(self.number)
        n = 0
        while n < self.messages:
            sent = {}
            with self.session.cursor() as cursor:
                for _ in range(chance.randint(1, 6)):
                    sent.update(self.send(cursor, chance, n))
                    n += 1
            if chance.random() < 0.1:
                self.session.rollback()
                continue
            self.session.commit()
            self.sent.update(sent)


class Record:
    """What all claimers have delivered, in the order in which they did."""

    def __init__(self):
        self.lock = threading.Lock()
        self.deliveries = collections.defaultdict(list)  # per connection: (seq, (publisher, n))

    def add(self, row):
        seq, kind, connection, endpoint, payload = row
        assert (kind, endpoint) == ("message", "https://x")
        body = json.loads(payload)
        with self.lock:
            self.deliveries[connection].append((seq, (body["publisher"], body["n"])))


class Claimer(threading.Thread):
    """Claims, delivers and finishes until there is nothing left and nobody publishes any more; now and
    then it dies between delivering and finishing, and another takes its place."""

    def __init__(self, database, name, record, dies=0.0):
        super().__init__()
        self.database = database
        self.session = database.connect(autocommit=True)
        self.claimer = name
        self.record = record
        self.dies = dies
        self.deaths = 0
        self.is_last_round = threading.Event()
        self.failure = None

    def deliver(self, cursor, rows, chance):
        if chance.random() < self.dies:
            for row in rows[:chance.randint(0, len(rows))]:
                self.record.add(row)
            self.deaths += 1
            self.claimer += "+"
            return
        for row in rows:
            self.record.add(row)
        if chance.random() < 0.5:
            cursor.execute(FINISH, (self.claimer, [row[0] for row in rows], None))
        else:
            cursor.execute(FINISH, (self.claimer, [row[0] for row in rows],
                                    [row[2] for row in rows]))

    def work(self):
        chance = random.Random(self.claimer)
        with self.session.cursor() as cursor:
            while True:
                is_last_round = self.is_last_round.is_set()
                cursor.execute(CLAIM, (self.claimer, chance.randint(1, 40),
                                       300 if self.dies else 60000))
                rows = cursor.fetchall()
                if rows:
                    self.deliver(cursor, rows, chance)
                elif is_last_round:
                    cursor.execute("select count(*) from switchboard.websocket_claims")
                    if cursor.fetchone()[0] == 0:
                        return

    def run(self):
        try:
            self.work()
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure


def run_all(database, dies):
    record = Record()
    publishers = [Publisher(database, number, 250) for number in range(3)]
    claimers = [Claimer(database, f"claimer-{number}", record, dies) for number in range(4)]
    for thread in publishers + claimers:
        thread.start()
    for publisher in publishers:
        publisher.join()
    for claimer in claimers:
        claimer.is_last_round.set()
    for claimer in claimers:
        claimer.join(60)
    assert not any(claimer.is_alive() for claimer in claimers)
    assert [claimer.failure for claimer in claimers if claimer.failure] == []
    expected = collections.defaultdict(set)
    for publisher in publishers:
        for message, receivers in publisher.sent.items():
            for receiver in receivers:
                expected[receiver].add(message)
    return record.deliveries, expected, sum(claimer.deaths for claimer in claimers)


def test_everything_comes_once_and_in_order(remote):
    deliveries, expected, _ = run_all(remote, 0.0)
    for connection in CONNECTIONS:
        messages = [message for _, message in deliveries[connection]]
        assert len(messages) == len(set(messages)), "twice"
        assert set(messages) == expected[connection]
        seqs = [seq for seq, _ in deliveries[connection]]
        assert seqs == sorted(seqs), "in the order of the log"


def test_what_the_dead_left_behind_is_delivered(remote):
    deliveries, expected, deaths = run_all(remote, 0.05)
    assert deaths > 0
    for connection in CONNECTIONS:
        assert {message for _, message in deliveries[connection]} == expected[connection]
        firsts = list(dict.fromkeys(seq for seq, _ in deliveries[connection]))
        assert firsts == sorted(firsts), "without repetitions it is in order"


def test_who_publishes_sees_it_though_somebody_else_is_sequencing(remote):
    sequencer = remote.connect()
    with sequencer.cursor() as cursor:
        cursor.execute("select switchboard.sequence_messages(100)")
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('switchboard.sequencer', 0))")
    remote.execute("select switchboard.send_to_connection('r0', '1')")
    rows = []

    def claim():
        with remote.connect(autocommit=True).cursor() as cursor:
            cursor.execute(CLAIM, ("me", 10, 60000))
            rows.extend(cursor.fetchall())

    thread = threading.Thread(target=claim)
    thread.start()
    remote.wait_blocked()
    sequencer.commit()
    thread.join()
    assert [(row[2], row[4]) for row in rows] == [("r0", "1")]


def test_who_has_nothing_to_claim_waits_for_nobody(remote):
    remote.execute("select switchboard.claim_messages('me', 10, 60000)")
    sequencer = remote.connect()
    with sequencer.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('switchboard.sequencer', 0))")
    assert remote.execute("set statement_timeout = '5s'") == []
    assert remote.execute(CLAIM, "me", 10, 60000) == []
    sequencer.rollback()


def test_a_lease_that_is_over_while_its_holder_goes_on(remote):
    remote.execute("select switchboard.send_to_connection('r0', '1')")
    seqs = [row["seq"] for row in remote.execute(CLAIM, "slow", 10, 1)]
    taken = wait_for(lambda: remote.execute(CLAIM, "next", 10, 60000), "its claim is over")
    assert [row["seq"] for row in taken] == seqs
    assert remote.execute(FINISH, "slow", seqs, None)[0]["finish_messages"] == 0
    assert remote.execute(FINISH, "next", seqs, None)[0]["finish_messages"] == 1
