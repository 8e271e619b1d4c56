-- SPDX-License-Identifier: Apache-2.0
-- Publishing, waking, sequencing, following.  What needs two sessions is in the service tests.
begin;
\ir lib/helpers.sql
select plan(46);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_outbox;
select from pg_temp.node('test-node');
select last_seq as start from switchboard.log_end() \gset

-- ---- outbox ----
select isnt(switchboard.publish('news', '{"n": 1}'), null, 'publish() returns an id');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection, sender from switchboard.websocket_outbox $$,
    $$ values ('topic', 'news', '{"n": 1}'::jsonb, null::text, null::text) $$, 'publish() writes the outbox');
select isnt(switchboard.publish_to_all('2'), null, 'publish_to_all() too');
select throws_ok($$ select switchboard.publish(null, '1') $$, '23514', null, 'a topic has to be named');
select throws_ok($$ select switchboard.publish('news', null) $$, '23502', null, 'a payload has to be there');
savepoint undone;
select switchboard.publish('news', '"rolled back"');
rollback to savepoint undone;
select is((select count(*) from switchboard.websocket_outbox), 2::bigint, 'a rollback takes its message with it');

-- ---- sequencing ----
select is(switchboard.sequence_messages(1), 1::bigint, 'the sequencer moves at most so many rows');
select is(switchboard.sequence_messages(10), 1::bigint, 'the rest the next time');
select is(switchboard.sequence_messages(10), 0::bigint, 'and then there is nothing');
select is_empty('select from switchboard.websocket_outbox', 'the outbox is empty');
select results_eq(
    format('select seq - %s, kind, target, payload from switchboard.follow_messages(%1$s, ''2020-01-01'', 10)', :start),
    $$ values (1::bigint, 'topic', 'news', '{"n": 1}'), (2::bigint, 'all', null, '2') $$,
    'the log has them in order and without gaps');
select switchboard.publish('t', to_jsonb(n)) from generate_series(1, 5) as n;
select is((select count(*) from switchboard.follow_messages(:start, '2020-01-01', 3)), 3::bigint,
    'follow_messages() returns at most so many');
select is((select array_agg(seq - :start) from switchboard.follow_messages(:start + 3, '2020-01-01', 100)),
    array[4, 5, 6, 7]::bigint[], 'it sequences what is there and returns what comes after the cursor');
select is((select array_agg(payload) from switchboard.follow_messages(:start + 2, '2020-01-01', 100)),
    array['1', '2', '3', '4', '5'], 'in the order of one publisher');
select is_empty(format('select * from switchboard.follow_messages(%s, ''2020-01-01'', 10)', :start + 7),
    'nothing after the end');
select created_at as last_at from switchboard.websocket_messages where seq = :start + 7 \gset
select is((select count(*) from switchboard.follow_messages(:start + 6, :'last_at', 10)), 1::bigint,
    'since is inclusive: the time of the last row that was read loses none of the same moment');
select is_empty(
    $$ select seq from (select seq, created_at, lag(created_at) over (order by seq) as before
                          from switchboard.websocket_messages) as m
        where before > created_at $$,
    'the time of the log never goes back');
select is((select last_seq - :start from switchboard.log_end()), 7::bigint, 'log_end() is the last row');
select is((select last_seq - :start from switchboard.register_node('late', 'late', null, 60000)), 7::bigint,
    'a node that registers starts there');
select switchboard.leave_node('late');

-- The clock of this machine goes back: the log does not.
update switchboard.websocket_log_state set last_seq = :start + 7, last_at = now() + interval '2 hours';
select switchboard.publish('t', '"from the past"');
select is(switchboard.sequence_messages(10), 1::bigint, 'a clock that goes back stops nobody');
select ok((select created_at >= now() + interval '2 hours' from switchboard.websocket_messages where seq = :start + 8),
    'the row is not older than the one before');

-- A day without a partition.
update switchboard.websocket_log_state set last_seq = :start + 8, last_at = now() + interval '60 days';
select switchboard.publish('t', '"much later"');
select is(switchboard.sequence_messages(10), 1::bigint, 'the sequencer makes a missing partition itself');
select is((select payload from switchboard.follow_messages(:start + 8, now() + interval '59 days', 10)),
    '"much later"', 'and the row is there');

-- ---- the floor of the outbox ----
update switchboard.websocket_log_state
   set outbox_floor = 0, mark_xid = '0', mark_id = (select last_value from switchboard.websocket_outbox_id_seq);
select outbox_floor as floor_before, mark_id as mark_before from switchboard.websocket_log_state \gset
insert into switchboard.websocket_outbox (kind, target, payload)
select 'topic', 't', n::text from generate_series(1, 2500) as n;
select is(switchboard.sequence_messages(10000), 2500::bigint, 'a big batch');
select mark_id as mark from switchboard.websocket_log_state \gset
select is(:mark::bigint, (select last_value from switchboard.websocket_outbox_id_seq),
    'after a thousand the place is noted');
select is((select outbox_floor from switchboard.websocket_log_state), :mark_before::bigint,
    'the floor is the place noted before');
insert into switchboard.websocket_outbox (kind, target, payload)
select 'topic', 't', n::text from generate_series(1, 1500) as n;
select switchboard.sequence_messages(10000);
select is((select outbox_floor from switchboard.websocket_log_state), :mark_before::bigint,
    'the floor waits for the transactions of the time of the mark: this one is still running');
update switchboard.websocket_log_state set mark_xid = '3';
insert into switchboard.websocket_outbox (kind, target, payload)
select 'topic', 't', n::text from generate_series(1, 1500) as n;
select switchboard.sequence_messages(10000);
select is((select outbox_floor from switchboard.websocket_log_state), :mark::bigint,
    'when they are over the floor rises to the mark');
select switchboard.publish('t', '"above the floor"');
select is(switchboard.sequence_messages(10), 1::bigint, 'what is above the floor is found');
select is(
    (select array_agg(a.attname order by a.attnum)
       from pg_attribute as a
      where a.attrelid = 'switchboard.websocket_outbox'::regclass
        and a.attname in ('xid', 'id')),
    array['xid', 'id']::name[], 'a publisher has its transaction number before its id, which the floor needs');
update switchboard.websocket_log_state set outbox_floor = 1000000000000;
select switchboard.publish('t', '"below the floor"');
select switchboard.maintain_partitions(0, 100000);
select is(switchboard.sequence_messages(10), 1::bigint, 'a floor that is wrong is repaired');

-- ---- waking ----
select is(coalesce(current_setting('switchboard.wake', true), ''), 'queued',
    'a transaction that published wakes the nodes at its end');
select is((select count(*)
             from pg_trigger
            where tgrelid = 'switchboard.websocket_outbox'::regclass
              and tgname = 'websocket_outbox_wake'
              and tginitdeferred), 1::bigint, 'not before: the trigger is deferred');
select set_config('switchboard.wake', '', true);
select is(switchboard.begin_event(), '', 'inside an event');
select switchboard.publish('t', '1');
select is(current_setting('switchboard.wake'), 'published', 'publishing is noted');
select is(switchboard.end_event(''), true, 'and reported');
select is(switchboard.begin_event(), '', 'the state is as before');
select is(switchboard.end_event(''), false, 'an event that does not publish');

-- publish() has no search_path of its own: nobody can put anything in front of what it means.
create schema evil;
create table evil.seen (what text);
create function evil.equal(text, text) returns boolean language plpgsql as
    $$ begin insert into evil.seen values ('an operator'); return true; end $$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.equal);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.equal);
create function evil.current_setting(text, boolean) returns text language plpgsql as
    $$ begin insert into evil.seen values ('a function'); return 'event'; end $$;
create function evil.times(double precision, integer) returns double precision language plpgsql as
    $$ begin insert into evil.seen values ('an operator'); return 1; end $$;
create operator evil.* (leftarg = double precision, rightarg = integer, function = evil.times);
select set_config('switchboard.wake', '', true), set_config('search_path', 'evil, pg_catalog, public', true);
select switchboard.publish('t', '1');
set constraints all immediate;
set constraints all deferred;
reset search_path;
select is_empty('select * from evil.seen', 'publish() and the trigger mean what they say, whatever the search_path');
select is(current_setting('switchboard.wake'), 'woken', 'the trigger has woken the nodes');
select switchboard.publish('t', '1');
select is(current_setting('switchboard.wake'), 'queued', 'and does so for what is published after that');
select set_config('switchboard.wake', '', true);

-- ---- relaying ----
select count(*) from pg_temp.published();
select switchboard.relay_deliveries('test-node', '{topic,all,user,connection}', '{t,NULL,u,c}', '{1,2,3,4}',
                                    '{NULL,c,NULL,NULL}');
select results_eq(
    'select kind, target, payload, except_connection, sender from pg_temp.published()',
    $$ values ('topic', 't', '1', null, 'node:test-node'), ('all', null, '2', 'c', 'node:test-node'),
              ('user', 'u', '3', null, 'node:test-node'), ('connection', 'c', '4', null, 'node:test-node') $$,
    'relay_deliveries() keeps order and says who sent');
select lives_ok($$ select switchboard.relay_deliveries('n', '{}', '{}', '{}', '{}') $$, 'nothing to relay');
select throws_ok($$ select switchboard.relay_deliveries('n', '{reply}', '{x}', '{1}', '{NULL}') $$, '23514', null,
    'a reply is nothing for other nodes');

-- ---- synchronous at the end ----
set local synchronous_commit = off;
select is(switchboard.sequence_messages(10), 0::bigint, 'sequencing nothing');
select switchboard.publish('t', '1');
select switchboard.sequence_messages(10);
select is(current_setting('synchronous_commit'), 'on',
    'the sequencer commits synchronously, whatever the publishers did');

select * from finish();
rollback;
