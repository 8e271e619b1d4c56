# SPDX-License-Identifier: Apache-2.0
"""The log across midnight: partitions are there in time, old ones go, nobody notices.

The clock of the functions is replaced, in the database of the test, by one that can be set.
"""
import datetime
import json

import pytest
from harness import wait_for

FAKE_CLOCK = """
create schema fake;
create table fake.offsets (value interval not null);
insert into fake.offsets values ('0');
create function fake.clock() returns timestamptz language sql volatile security definer
return pg_catalog.clock_timestamp() + (select o.value from fake.offsets as o);
do $$
declare
    definition text;
    replaced integer := 0;
begin
    for definition in
        select pg_get_functiondef(p.oid)
          from pg_proc as p
         where p.pronamespace = 'switchboard'::regnamespace
           and p.prosrc like '%pg_catalog.clock_timestamp() at time zone%'
            or p.oid in ('switchboard.sequence_messages'::regproc,
                         'switchboard.follow_messages'::regproc)
    loop
        execute replace(definition, 'pg_catalog.clock_timestamp()', 'fake.clock()');
        replaced := replaced + 1;
    end loop;
    assert replaced >= 3;
end;
$$;
"""
SQL = """
create schema app;
create function app."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    perform switchboard.subscribe(event.connection_id, 'news');
    return next switchboard.reply(jsonb_build_object('type', 'connection-established',
                                                     'sessionId', event.connection_id));
end;
$$;
"""
RETENTION = 3
AHEAD = 7


@pytest.fixture
def clocked(database):
    database.execute(FAKE_CLOCK + SQL)
    return database


def set_clock(database, day, time):
    """Its hands stand at this time of this many days from today, and move."""
    database.execute(
        "update fake.offsets set value = (date_trunc('day', now() at time zone 'UTC')"
        " + %s * interval '1 day' + %s::interval) at time zone 'UTC' - clock_timestamp()",
        day, time)


def today(database):
    return database.value("select (fake.clock() at time zone 'UTC')::date")


def today_of(database):
    """By the real clock."""
    return database.value("select (now() at time zone 'UTC')::date")


def partitions(database):
    return {datetime.datetime.strptime(row["name"][-8:], "%Y%m%d").date()
            for row in database.execute(
                "select c.relname as name from pg_inherits as i join pg_class as c"
                "  on c.oid = i.inhrelid"
                " where i.inhparent = 'switchboard.websocket_messages'::regclass")}


def days(date, *offsets):
    return {date + datetime.timedelta(days=offset) for offset in offsets}


def maintain(database):
    rows = database.execute("select * from switchboard.maintain_partitions(%s, %s)",
                            AHEAD, RETENTION)
    return rows[0]["created"], rows[0]["dropped"]


def publish(database, first, count):
    database.execute("select switchboard.publish('news', jsonb_build_object('n', n))"
                     "  from generate_series(%s, %s) as n order by n", first, first + count - 1)


def by_day(database):
    return {row["day"]: row["count"] for row in database.execute(
        "select (created_at at time zone 'UTC')::date as day, count(*) as count"
        "  from switchboard.websocket_messages where kind = 'topic' group by 1")}


# ---- the job ----

def test_the_job_right_before_and_right_after_midnight(clocked):
    set_clock(clocked, 0, "23:59:50")
    date = today(clocked)
    for age in range(1, 7):
        clocked.execute("select switchboard.add_partition(%s)", date - datetime.timedelta(age))
    maintain(clocked)
    before = days(date, *range(-RETENTION, AHEAD + 1))
    assert partitions(clocked) == before
    assert maintain(clocked) == (0, 0)
    set_clock(clocked, 1, "00:00:00.5")
    assert today(clocked) == date + datetime.timedelta(1)
    assert maintain(clocked) == (1, 1)
    assert partitions(clocked) == days(date, *range(-RETENTION + 1, AHEAD + 2))
    assert maintain(clocked) == (0, 0)


def test_a_job_that_did_not_run_for_a_month(clocked):
    set_clock(clocked, 0, "12:00")
    maintain(clocked)
    set_clock(clocked, 30, "00:00:01")
    date = today(clocked)
    created, dropped = maintain(clocked)
    assert created == AHEAD + 1 and dropped >= AHEAD + 1
    assert partitions(clocked) == days(date, *range(0, AHEAD + 1))


def test_the_job_waits_for_nobody_and_does_it_the_next_time(clocked):
    set_clock(clocked, 0, "12:00")
    maintain(clocked)
    date = today(clocked)
    old = date - datetime.timedelta(RETENTION + 1)
    clocked.execute("select switchboard.add_partition(%s)", old)
    reader = clocked.connect()
    with reader.cursor() as cursor:
        cursor.execute("select count(*) from switchboard.websocket_messages")
    assert maintain(clocked) == (0, 0)  # the reader holds it
    assert old in partitions(clocked)
    reader.rollback()
    assert maintain(clocked) == (0, 1)
    assert old not in partitions(clocked)


def test_two_jobs_at_midnight_make_each_partition_once(clocked):
    set_clock(clocked, 0, "23:59:59")
    maintain(clocked)
    set_clock(clocked, 1, "00:00:01")
    first, second = clocked.connect(), clocked.connect(autocommit=True)
    with first.cursor() as one, second.cursor() as two:
        one.execute("select created from switchboard.maintain_partitions(%s, %s)",
                    (AHEAD, RETENTION))
        assert one.fetchone()[0] == 1
        two.execute("set statement_timeout = '100ms'")
        with pytest.raises(Exception, match="statement timeout|lock timeout"):
            two.execute("select created from switchboard.maintain_partitions(%s, %s)",
                        (AHEAD, RETENTION))
        first.commit()
        two.execute("set statement_timeout = 0")
        two.execute("select created from switchboard.maintain_partitions(%s, %s)",
                    (AHEAD, RETENTION))
        assert two.fetchone()[0] == 0


# ---- publishing meanwhile ----

def test_publishing_across_midnight_loses_nothing_and_keeps_the_order(clocked, start_server):
    set_clock(clocked, 0, "23:59:57")
    date = today(clocked)
    server = start_server(clocked, routes="app", cleanup_interval_s=1,
                          message_retention_days=RETENTION)
    wait_for(lambda: partitions(clocked) >= days(date, *range(0, AHEAD + 1)), "the job has run")
    client = server.connect()
    sent = 0
    while today(clocked) == date or sent % 100:
        publish(clocked, sent + 1, 20)
        sent += 20
        for n in range(sent - 19, sent + 1):
            assert client.recv_json() == {"n": n}
    publish(clocked, sent + 1, 20)
    assert [client.recv_json()["n"] for _ in range(20)] == list(range(sent + 1, sent + 21))
    counts = by_day(clocked)
    tomorrow = date + datetime.timedelta(1)
    assert set(counts) == {date, tomorrow} and sum(counts.values()) == sent + 20
    seqs = [row["seq"] for row in clocked.execute(
        "select seq from switchboard.websocket_messages order by created_at, seq")]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    wait_for(lambda: max(partitions(clocked)) == tomorrow + datetime.timedelta(AHEAD),
             "the job has made the partition of the new day's end")
    # A client that was away over midnight gets both days.
    late = server.connect()
    late.send({"action": "resume", "topics": {"news": seqs[0]}})
    # The first number is that of its own subscribing to the topic.
    assert [late.recv_json()["n"] for _ in range(sent + 20)] == list(range(1, sent + 21))


def test_a_day_without_a_partition_gets_one_with_its_first_message(clocked, start_server):
    set_clock(clocked, 0, "12:00")
    server = start_server(clocked, routes="app", cleanup_interval_s=0)
    client = server.connect()
    publish(clocked, 1, 2)
    assert [client.recv_json()["n"] for _ in range(2)] == [1, 2]
    set_clock(clocked, 20, "00:00")  # nobody has made this one ahead
    day = today(clocked)
    assert day not in partitions(clocked)
    publish(clocked, 3, 2)
    assert [client.recv_json()["n"] for _ in range(2)] == [3, 4]
    assert day in partitions(clocked) and by_day(clocked)[day] == 2


def test_dropping_a_day_leaves_followers_alone_and_says_the_gap(clocked, start_server):
    set_clock(clocked, 0, "12:00")
    server = start_server(clocked, routes="app", cleanup_interval_s=1, poll_interval_ms=100,
                          message_retention_days=1)
    client = server.connect()
    publish(clocked, 1, 5)
    assert [client.recv_json()["n"] for _ in range(5)] == list(range(1, 6))
    first_day = today(clocked)
    set_clock(clocked, 1, "00:00")
    publish(clocked, 6, 5)
    assert [client.recv_json()["n"] for _ in range(5)] == list(range(6, 11))
    set_clock(clocked, 2, "00:00")
    wait_for(lambda: first_day not in partitions(clocked), "the first day is dropped")
    publish(clocked, 11, 1)
    assert client.recv_json() == {"n": 11}
    oldest = clocked.value("select min(seq) from switchboard.websocket_messages")
    client.send(json.dumps({"action": "resume", "topics": {"news": 0}}))
    warning = client.recv_json()
    assert warning["payload"] == {"level": "warning",
                                  "message": f"Messages before seq {oldest} are no longer kept"}
    assert [client.recv_json()["n"] for _ in range(6)] == list(range(6, 12))


# ---- how long ----

def test_the_cleanup_command_keeps_as_long_as_the_profile_or_the_operator_says(database):
    date = today_of(database)
    for age in (1, 5, 29, 31):
        database.execute("select switchboard.add_partition(%s)", date - datetime.timedelta(age))

    def past(**settings):
        assert database.command("cleanup", **settings).returncode == 0
        return sorted((date - day).days for day in partitions(database) if day < date)
    assert past() == [1, 5, 29]
    database.execute(SQL + """
        create function app."$settings"() returns jsonb language sql immutable
        begin atomic
            select '{"message_retention_days": 10}'::jsonb;
        end""")
    assert past() == [1, 5, 29]
    assert past(routes=" app ,other") == [1, 5]
    assert past(routes="app", message_retention_days=2) == [1]


def test_a_server_keeps_as_long_as_the_schema_says(database, start_server):
    date = today_of(database)
    for age in (1, 3, 4, 5):
        database.execute("select switchboard.add_partition(%s)", date - datetime.timedelta(age))
    database.execute(SQL + """
        create function app."$settings"() returns jsonb language sql immutable
        begin atomic
            select '{"message_retention_days": 3}'::jsonb;
        end""")
    start_server(database, routes="app", cleanup_interval_s=1)
    wait_for(lambda: min(partitions(database)) == date - datetime.timedelta(3),
             "what is older than three days is dropped")
    assert days(date, -1, -3) <= partitions(database)
