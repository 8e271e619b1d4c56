# SPDX-License-Identifier: Apache-2.0
"""What a function says to the database, who it lets in, and what somebody gets who was away."""
import json
import socket
import struct
import threading

import events
import pytest
from harness import wait_for


# ---- the database's side of the wire ----

class Tap:
    """A TCP way to the cluster's socket that keeps what clients say."""

    def __init__(self, cluster):
        self.path = str(cluster.home / ".s.PGSQL.5432")
        self.said = []  # one for each session
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database):
        return (f"postgresql://switchboard_gateway@127.0.0.1:{self.port}/{database.name}"
                "?sslmode=disable&gssencmode=disable")

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(self.path)
            said = bytearray()
            self.said.append(said)
            threading.Thread(target=self._carry, args=(here, there, said), daemon=True).start()
            threading.Thread(target=self._carry, args=(there, here, None), daemon=True).start()

    @staticmethod
    def _carry(source, target, said):
        try:
            while data := source.recv(65536):
                if said is not None:
                    said += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def sessions(self):
        """Of each session its startup options, and its messages: (type, body)."""
        for said in self.said:
            data, at = bytes(said), 0
            size, version = struct.unpack_from("!II", data)
            assert version == 196608, "the protocol's version 3"
            options = dict(zip(*[iter(data[8:size].decode().rstrip("\0").split("\0"))] * 2))
            messages, at = [], size
            while at < len(data):
                size = struct.unpack_from("!I", data, at + 1)[0]
                messages.append((chr(data[at]), data[at + 5:at + 1 + size]))
                at += 1 + size
            yield options, messages


@pytest.fixture
def tap(cluster):
    tap = Tap(cluster)
    yield tap
    tap.close()


def transactions(messages):
    """The statements between one Sync and the next."""
    found, current = [], []
    for kind, body in messages:
        if kind == "P":
            name, text, _ = body.split(b"\0", 2)
            assert name == b"", "a prepared statement of that name would be another client's"
            current.append(text.decode())
        elif kind == "S":
            found.append(current)
            current = []
    return found


def test_a_pooler_may_be_in_front_of_the_database(database, make_function, tap):
    """Nothing in a session counts for the next transaction, which may be in another one: no names, no
    SET, no LISTEN, no options at the start; what a statement needs comes right before it."""
    function = make_function(database, database_url=tap.url(database),
                             rate_limit_connection="1000/s:1000")
    assert function.invoke(events.connect()).json() == {"statusCode": 200}
    assert function.invoke(events.message({"message": 1})).json() == {"statusCode": 200}
    assert "published" in function.invoke(
        {"op": "publish", "topic": "t", "message": 1}).json()
    assert "expired" in function.invoke(events.schedule()).json()
    assert function.invoke(events.disconnect()).json() == {"statusCode": 200}
    function.wait_idle()
    (options, messages), = tap.sessions()
    assert set(options) <= {"user", "database", "application_name", "client_encoding"}
    assert {kind for kind, _ in messages} <= set("PBDESX"), "extended protocol, nothing else"
    statements = transactions(messages)
    assert len(statements) > 8
    for prelude, statement in statements:
        assert prelude.startswith("select set_config('statement_timeout', ")
        assert prelude.count("set_config(") == prelude.count(", true)"), "for the transaction only"
        assert statement.startswith("select ")


def test_statements_end_before_the_invocation(database, make_function, tap):
    function = make_function(database, database_url=tap.url(database))
    function.run(events.connect(), timeout=4)
    function.wait_idle()
    (_, messages), = tap.sessions()
    timeouts = [int(prelude.split("'")[3]) for prelude, _ in transactions(messages)]
    assert timeouts and max(timeouts) < 4000


# ---- who is let in ----

@pytest.mark.parametrize("authorizer, status", [
    ({"principalId": "u1", "sub": "u1"}, 200),
    (None, 401), ({}, 401), ({"integrationLatency": 12}, 401), ({"principalId": None}, 401),
    ("u1", 401),
])
def test_only_an_authorizer_that_has_spoken_stands_for_a_token(database, make_function, authorizer,
                                                               status):
    function = make_function(database, auth="required", jwt_secret="x" * 32)
    event = events.connect()
    event["requestContext"]["authorizer"] = authorizer
    assert function.invoke(event).json()["statusCode"] == status
    assert database.value("select count(*) from switchboard.websocket_connections") == \
        (1 if status == 200 else 0)


# ---- somebody who was away ----

ORDERS = """
    create schema app;
    create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select d.*
          from switchboard.subscribe(event.connection_id, 'order'),
               switchboard.reply('{"type":"welcome"}') as d
    $$;
"""


def publish(function, *numbers):
    for number in numbers:
        assert function.invoke({"op": "publish", "topic": "order",
                                "message": {"n": number}}).json() == {"published": True}


def frames(connections, name, count):
    return [json.loads(body) for body in connections.wait(name, count)]


def test_a_client_that_was_away_gets_what_it_missed(database, make_function, connections):
    database.execute(ORDERS)
    function = make_function(database, routes="app")
    first = events.connect("c1=", query={"resume": "{}"})
    assert function.invoke(first).json() == {"statusCode": 200}
    publish(function, 1)
    known = frames(connections, "c1=", 2)
    assert known[0] == {"type": "welcome"} and known[1]["n"] == 1
    assert function.invoke(events.disconnect("c1=")).json() == {"statusCode": 200}
    publish(function, 2, 3)
    again = events.connect("c2=", query={"resume": json.dumps({"order": known[1]["seq"]})})
    assert function.invoke(again).json() == {"statusCode": 200}
    publish(function, 4)
    got = frames(connections, "c2=", 4)
    assert got[0] == {"type": "welcome"}
    assert [frame["n"] for frame in got[1:]] == [2, 3, 4]
    assert [frame["seq"] for frame in got[1:]] == sorted({frame["seq"] for frame in got[1:]})
    function.wait_idle()
    assert len(connections.bodies("c2=")) == 4 and len(connections.bodies("c1=")) == 2


# ---- descriptors ----

def test_many_events_leave_no_connections_behind(database, make_function):
    """Lambda gives a process 1024 descriptors."""
    function = make_function(database, freezes=False)
    for _ in range(60):
        assert function.invoke({"op": "deliver"}).json() == {"delivered": 0}
    sandbox, = function.wait_idle()

    def descriptors():
        with open(f"/proc/{sandbox.process.pid}/net/tcp", encoding="ascii") as file:
            port = sandbox._listener.getsockname()[1]
            return sum(row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "01"
                       for row in file.readlines()[1:])
    wait_for(lambda: descriptors() <= 4, "an event, an extension, and one for answers", 3)


def test_a_batch_goes_on_behind_a_record_that_fails(database, make_function, connections):
    database.execute(ORDERS)
    function = make_function(database, routes="app")
    assert function.invoke(events.connect()).json() == {"statusCode": 200}
    records = [{"op": "publish", "topic": "order", "message": {"n": 1}}, "no JSON", {"op": "dance"},
               {"op": "send", "connectionId": "c1="},
               {"op": "publish", "topic": "order", "message": {"n": 2}}]
    result = function.invoke(events.queue(*records)).json()
    assert [item["itemIdentifier"] for item in result["batchItemFailures"]] == ["q1", "q2", "q3"]
    assert [frame.get("n") for frame in frames(connections, "c1=", 3)] == [None, 1, 2]
