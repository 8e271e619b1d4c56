# SPDX-License-Identifier: Apache-2.0
"""Messages that wait together share a transaction, where the schema of their routes allows it; what
they share is the commit and nothing else.

One database connection, and a message that holds it: whatever comes meanwhile goes out as one group.
"""
import json

import pytest
from harness import wait_for

SQL = """
    create schema app;
    create table app.seen (id bigint generated always as identity, body jsonb);
    create function app."$settings"() returns jsonb language sql as
        $$ select '{"shared_transactions": true}'::jsonb $$;
    create function app.hold(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        perform pg_advisory_xact_lock(1);
        return next switchboard.reply('"held"');
    end $$;
    create function app.write(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        insert into seen (body) values (event.body);
        return next reply(jsonb_build_object('n', event.body -> 'n',
                                             'xid', pg_current_xact_id()::text));
    end $$;
    create function app.fail(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        insert into seen (body) values (event.body);
        if event.body ? 'fail' then
            raise exception 'Not this one' using errcode = 'SB422';
        end if;
        return next reply(jsonb_build_object('n', event.body -> 'n'));
    end $$;
    create function app."$error"(event switchboard.event, code text, message text)
    returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object('n', event.body -> 'n', 'code', code))
    $$;
    create function app.lock(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        if event.body ? 'key' then
            perform pg_advisory_xact_lock((event.body ->> 'key')::bigint);
        end if;
        return next reply(jsonb_build_object('n', event.body -> 'n'));
    end $$;
    create function app.steps(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        return next reply(jsonb_build_object('n', event.body -> 'n', 'step', 1));
        return next then_run('two');
    end $$;
    create function app."$then:two"(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object('n', event.body -> 'n', 'step', 2))
    $$;
    create function app.listen(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        perform subscribe(event.connection_id, 'news');
        perform send_to_connection(event.connection_id, '"listening"');
    end $$;
    create function app.tell(event switchboard.event) returns setof switchboard.delivery
    language plpgsql as $$
    begin
        perform publish('news', event.body -> 'n');
        return next reply(event.body -> 'n');
    end $$;
    create schema strict;
    create function strict.own(event switchboard.event) returns setof switchboard.delivery
    language sql as $$
        select * from switchboard.reply(jsonb_build_object('n', event.body -> 'n',
                                                           'xid', pg_current_xact_id()::text))
    $$;
"""
SETTINGS = {"routes": "app, strict", "profile": "broadcast", "database_pool_size": 1}
MANY = 12


@pytest.fixture
def start(database, start_server):
    database.execute(SQL)
    return lambda **settings: start_server(database, **{**SETTINGS, **settings})


def ask(client, action, **members):
    client.send(json.dumps({"action": action, **members}))


def warm_up(client, *actions):
    """A route goes in company once it has been seen to be fast."""
    for action in actions:
        ask(client, action, n=-1)
        client.recv_json()


class Held:
    """Holds the server's only database connection while the block runs."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        self.session = database.connect()
        self.holder = server.connect(welcome=False)

    def __enter__(self):
        with self.session.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(1)")
        ask(self.holder, "hold")
        self.database.wait_blocked()
        return self

    def wait_received(self, count):
        """The server has read so many messages (the one that holds included)."""
        wait_for(lambda: self.server.metrics()["switchboard_events_in_flight"] == count + 1,
                 f"{count} messages wait")

    def __exit__(self, *_):
        self.session.rollback()
        assert self.holder.recv_json() == "held"


def clients_of(server, count=MANY):
    return [server.connect(welcome=False) for _ in range(count)]


def run_together(server, database, clients, messages):
    """Everybody's messages go out as one group; what each gets in answer."""
    with Held(server, database) as held:
        for client, (action, members) in zip(clients, messages):
            ask(client, action, **members)
        held.wait_received(len(messages))
    return [client.recv_json() for client, _ in zip(clients, messages)]


def test_messages_that_wait_together_share_a_transaction(start, database):
    server = start()
    clients = clients_of(server)
    warm_up(clients[0], "write")
    answers = run_together(server, database, clients,
                           [("write", {"n": n}) for n in range(MANY)])
    assert [answer["n"] for answer in answers] == list(range(MANY))
    assert len({answer["xid"] for answer in answers}) == 1
    metrics = server.metrics()
    assert metrics["switchboard_message_batches_total"] == 1
    assert metrics["switchboard_message_batches_failed_total"] == 0
    assert database.value("select count(*) from app.seen") == MANY + 1


def test_a_message_that_waits_for_nobody_has_a_transaction_of_its_own(start):
    server = start()
    client = server.connect(welcome=False)
    xids = set()
    for n in range(5):
        ask(client, "write", n=n)
        xids.add(client.recv_json()["xid"])
    assert len(xids) == 5
    assert server.metrics()["switchboard_message_batches_total"] == 0


def test_a_schema_that_does_not_say_so_shares_nothing(start, database):
    server = start()
    clients = clients_of(server)
    warm_up(clients[0], "own", "write")
    messages = [("own" if n % 2 else "write", {"n": n}) for n in range(MANY)]
    answers = run_together(server, database, clients, messages)
    assert [answer["n"] for answer in answers] == list(range(MANY))
    assert len({answer["xid"] for answer in answers[1::2]}) == MANY // 2


def test_with_message_batch_rows_1_none_does(start, database):
    server = start(message_batch_rows=1)
    clients = clients_of(server)
    warm_up(clients[0], "write")
    answers = run_together(server, database, clients,
                           [("write", {"n": n}) for n in range(MANY)])
    assert len({answer["xid"] for answer in answers}) == MANY


def test_a_group_has_at_most_message_batch_rows(start, database):
    server = start(message_batch_rows=5)
    clients = clients_of(server)
    warm_up(clients[0], "write")
    answers = run_together(server, database, clients,
                           [("write", {"n": n}) for n in range(MANY)])
    xids = [answer["xid"] for answer in answers]
    assert max(xids.count(xid) for xid in xids) == 5


def test_an_error_of_one_costs_the_others_nothing(start, database):
    server = start()
    clients = clients_of(server)
    warm_up(clients[0], "fail")
    messages = [("fail", {"n": n, "fail": True} if n in (3, 7) else {"n": n}) for n in range(MANY)]
    answers = run_together(server, database, clients, messages)
    assert answers == [{"n": n, "code": "SB422"} if n in (3, 7) else {"n": n}
                       for n in range(MANY)]
    written = database.execute("select body ->> 'n' as n from app.seen where body ->> 'n' <> '-1'")
    assert sorted(int(row["n"]) for row in written) == [n for n in range(MANY) if n not in (3, 7)]
    assert server.metrics()["switchboard_message_batches_failed_total"] == 1


def test_a_connection_s_messages_are_answered_in_order(start, database):
    server = start()
    client = server.connect(welcome=False)
    warm_up(client, "write", "fail", "steps")
    client.recv_json()  # the second step
    actions = ["write", "fail", "nobody", "write", "fail", "write", "write", "fail"]
    with Held(server, database) as held:
        for n, action in enumerate(actions):
            ask(client, action, n=n, message=f"echo {n}")
        held.wait_received(len(actions))
    for n, action in enumerate(actions):
        answer = client.recv_json()
        if action == "nobody":  # broadcast's $default
            assert answer["message"] == f"echo {n}"
        else:
            assert answer["n"] == n


def test_nobody_waits_for_a_lock_in_company(start, database):
    server = start()
    clients = clients_of(server)
    warm_up(clients[0], "lock")
    session = database.connect()
    with session.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(2)")
    with Held(server, database) as held:
        for n, client in enumerate(clients):
            ask(client, "lock", n=n, **({"key": 2} if n == MANY - 1 else {}))
        held.wait_received(MANY)
    # The last one has the lock to wait for; the others are answered while it does.
    assert [client.recv_json()["n"] for client in clients[:-1]] == list(range(MANY - 1))
    session.rollback()
    assert clients[-1].recv_json() == {"n": MANY - 1}
    assert server.metrics()["switchboard_message_batches_failed_total"] == 1


def test_a_route_that_goes_on_does_so_on_its_own(start, database):
    server = start()
    clients = clients_of(server, 4)
    warm_up(clients[0], "steps")
    clients[0].recv_json()
    answers = run_together(server, database, clients, [("steps", {"n": n}) for n in range(4)])
    assert answers == [{"n": n, "step": 1} for n in range(4)]
    assert [client.recv_json() for client in clients] == [{"n": n, "step": 2} for n in range(4)]
    assert server.metrics()["switchboard_message_batches_total"] == 1


def test_what_they_publish_reaches_everybody_once_and_in_order(start, database):
    server = start()
    clients = clients_of(server)
    listener = server.connect(welcome=False)
    ask(listener, "listen")
    assert listener.recv_json() == "listening"
    warm_up(clients[0], "tell")
    assert listener.recv_json() == -1
    answers = run_together(server, database, clients, [("tell", {"n": n}) for n in range(MANY)])
    assert answers == list(range(MANY))
    assert [listener.recv_json() for _ in range(MANY)] == list(range(MANY))
