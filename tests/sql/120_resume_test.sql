-- SPDX-License-Identifier: Apache-2.0
-- History, and replaying what a client missed.
begin;
\ir lib/helpers.sql
select plan(46);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
select from pg_temp.connect('a');
select from pg_temp.connect('b');
select switchboard.subscribe('a', 'room:1');
select switchboard.subscribe('a', 'room:2');
select count(*) from pg_temp.published();

create function pg_temp.resume(id text, topics text)
returns table (kind text, payload jsonb)
language sql as $$
    select m.kind, pg_temp.body(m.payload)
      from pg_temp.message(id, '{"action": "resume", "topics": ' || topics || '}', null, '{careconnect}', 'resume') as m;
$$;

-- ---- the index ----
select is((select count(*)
             from pg_inherits as i
             join pg_index as x on x.indrelid = i.inhrelid
             join pg_inherits as c on c.inhrelid = x.indexrelid and c.inhparent = 'switchboard.websocket_messages_topic_idx'::regclass
            where i.inhparent = 'switchboard.websocket_messages'::regclass),
    (select count(*) from pg_inherits where inhparent = 'switchboard.websocket_messages'::regclass),
    'every partition has the index by topic');
select switchboard.add_partition('2199-12-31');
select isnt_empty($$ select from pg_index as x join pg_inherits as c on c.inhrelid = x.indexrelid
                      where x.indrelid = 'switchboard.websocket_messages_21991231'::regclass
                        and c.inhparent = 'switchboard.websocket_messages_topic_idx'::regclass $$, 'a new one too');

-- ---- reading by topic ----
select last_seq as seq0 from switchboard.log_end() \gset
select switchboard.publish('room:1', '{"n": 1}');
select switchboard.publish('room:2', '{"n": 2}');
select switchboard.publish('room:3', '{"n": 3}');
select switchboard.publish('room:1', '{"n": 4}', 'a');
select switchboard.publish('room:1', '{"n": 5, "type": "x"}');
select switchboard.send_to_user('room:1', '{"n": 6}');
select switchboard.relay_deliveries('other-node', '{topic}', '{room:1}', '{"{\"n\": 7}"}', '{null}');
select switchboard.publish('room:2', '{"n": 8}');
select switchboard.sequence_messages(1000);
select last_seq as seq1 from switchboard.log_end() \gset
select results_eq(format($$ select seq - %s, topic, payload from switchboard.read_topics('b', '{"room:1": %s, "room:2": %s}', 0, %s, 100) $$, :seq0, :seq0, :seq0, :seq1),
    $$ values (1::bigint, 'room:1', '{"n": 1}'), (2, 'room:2', '{"n": 2}'), (4, 'room:1', '{"n": 4}'),
              (5, 'room:1', '{"n": 5, "type": "x"}'), (8, 'room:2', '{"n": 8}') $$,
    'topics in one order; what was sent to a user, or was never stored, is not there');
select results_eq(format($$ select seq - %s from switchboard.read_topics('a', '{"room:1": %s}', 0, %s, 100) $$, :seq0, :seq0, :seq1),
    $$ values (1::bigint), (5) $$, 'nor what was for all but this connection');
select results_eq(format($$ select seq - %1$s from switchboard.read_topics('b', '{"room:1": %2$s, "room:2": %1$s}', 0, %3$s, 100) $$, :seq0, :seq0 + 4, :seq1),
    $$ values (2::bigint), (5), (8) $$, 'every topic from its own seq on');
select results_eq(format($$ select seq - %1$s from switchboard.read_topics('b', '{"room:1": %1$s, "room:2": %1$s}', 0, %2$s, 2) $$, :seq0, :seq1),
    $$ values (1::bigint), (2) $$, 'a page');
select results_eq(format($$ select seq - %1$s from switchboard.read_topics('b', '{"room:1": %1$s, "room:2": %1$s}', %3$s, %2$s, 2) $$, :seq0, :seq1, :seq0 + 2),
    $$ values (4::bigint), (5) $$, 'the next page');
select results_eq(format($$ select seq - %1$s from switchboard.read_topics('b', '{"room:1": %1$s, "room:2": %1$s}', 0, %2$s, 100) $$, :seq0, :seq0 + 4),
    $$ values (1::bigint), (2), (4) $$, 'and not past the end that is given');
select is_empty(format($$ select from switchboard.read_topics('b', '{}', 0, %s, 100) $$, :seq1), 'no topics, nothing');
select is_empty(format($$ select from switchboard.read_topics('b', '{"room:1": %s}', 0, %s, 100) $$, :seq1 + 1000, :seq1), 'a seq of the future, nothing');

-- ---- topic_history() ----
select results_eq(format($$ select seq - %s, payload from switchboard.topic_history('room:1') $$, :seq0),
    $$ values (5::bigint, '{"n": 5, "type": "x"}'::jsonb), (4, '{"n": 4}'), (1, '{"n": 1}') $$, 'history is newest first');
select results_eq(format($$ select seq - %s from switchboard.topic_history('room:1', null, 2) $$, :seq0), $$ values (5::bigint), (4) $$, 'so many');
select results_eq(format($$ select seq - %s from switchboard.topic_history('room:1', %s, 2) $$, :seq0, :seq0 + 4), $$ values (1::bigint) $$, 'before that one');
select results_eq(format($$ select seq - %s from switchboard.topic_history('room:1', null, 1, '{"n": 1}') $$, :seq0), $$ values (1::bigint) $$, 'of that content');
select is_empty($$ select from switchboard.topic_history('room:none') $$, 'of a topic without any');

-- ---- the route ----
select results_eq($$ select * from pg_temp.resume('a', '{"room:1": 5, "room:2": 7}') $$,
    $$ values ('resume', '{"topics": {"room:1": 5, "room:2": 7}}'::jsonb) $$, 'resume grants topics that one has');
select results_eq($$ select * from pg_temp.resume('a', '{}') $$, $$ values ('resume', '{"topics": {}}'::jsonb) $$, 'none: seq from now on');
select results_eq($$ select m.kind, m.payload::jsonb from pg_temp.message('a', '{"action": "resume"}', null, '{careconnect}', 'resume') as m $$,
    $$ values ('resume', '{"topics": {}}'::jsonb) $$, 'topics may be left out');
select results_eq($$ select * from pg_temp.resume('b', '{"room:1": 5}') $$,
    $$ values ('reply', '{"type": "system", "payload": {"message": "Not subscribed to room:1", "level": "error"}}'::jsonb),
              ('resume', '{"topics": {}}') $$, 'what one has not subscribed to is not granted');
select results_eq(format('select * from pg_temp.resume(%L, %L)', 'a', topics),
    $$ values ('reply', '{"type": "error", "payload": {"code": "INVALID_MESSAGE", "retryable": false,
                "message": "resume needs an object of at most 100 topics and the seq seen of each"}}'::jsonb) $$, 'not a request: ' || left(topics, 30))
  from unnest(array['[]', '7', '"room:1"', '{"room:1": "5"}', '{"room:1": -1}', '{"room:1": 1.5}', '{"room:1": 1e30}', '{"room:1": null}',
                    (select jsonb_object_agg('t' || n, n)::text from generate_series(1, 101) as n)]) as topics;
select results_eq($$ select kind from pg_temp.message('a', '{"type": "resume"}', null, '{chat}', 'resume') $$, $$ values ('resume') $$,
    'every profile has it');
create schema app;
create function app.resume(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply('"mine"') $$;
select results_eq($$ select kind, payload from pg_temp.message('a', '{}', null, '{app,careconnect}', 'resume') $$, $$ values ('reply', '"mine"') $$,
    'a schema may have its own');
select results_eq($$ select kind from pg_temp.message('a', '{}', null, '{app}', 'resume_topics') $$, $$ values ('forbidden') $$,
    'no other function of the schema switchboard is a route');

-- ---- when connecting ----
select results_eq($$ select kind, payload::jsonb ->> 'type' from pg_temp.connect('c', '{"resume": "{}"}') $$,
    $$ values ('accept', null), ('reply', 'connection-established'), ('resume', null) $$, 'resume in the query comes behind the greeting');
select results_eq($$ select kind, payload::jsonb ->> 'type' from pg_temp.connect('d', '{"resume": "no"}') $$,
    $$ values ('accept', null), ('reply', 'connection-established'), ('reply', 'error') $$, 'what is no request is answered with an error');
select results_eq($$ select kind from pg_temp.connect('e', '{"resume": "{}", "type": "none"}') $$, $$ values ('refuse') $$, 'not for one that is refused');
select results_eq($$ select payload::jsonb from pg_temp.connect('f', '{"resume": "{\"room:general\": 3}"}', '{chat}') where kind = 'resume' $$,
    $$ values ('{"topics": {"room:general": 3}}'::jsonb) $$, 'a topic that the route subscribes to is granted');
select results_eq($$ select event_index, kind, payload
                       from switchboard.register_connections('{}', 'test-node', 'http://x', 60000, jsonb_build_array(
                                pg_temp.connect_event('g1'), pg_temp.connect_event('g2', '{"resume": "{}"}'),
                                pg_temp.connect_event('g3', '{"x": "1"}'), pg_temp.connect_event('g4', '{"resume": "{}"}')))
                      where kind <> 'accept' $$,
    $$ values (1, 'resume', '{"topics": {}}'), (3, 'resume', '{"topics": {}}') $$, 'in a batch every one gets its own');

-- ---- older than what is kept ----
select switchboard.sequence_messages(1000);
select is(switchboard.oldest_seq(), 1::bigint, 'nothing has been dropped yet');
select is_empty($$ select from pg_temp.resume('a', '{"room:1": 0}') where kind = 'reply' $$, 'seq 0 is no gap then');
delete from switchboard.websocket_messages where seq <= :seq0 + 2;
select is(switchboard.oldest_seq(), :seq0::bigint + 3, 'after a drop the log begins later');
select results_eq(format($$ select * from pg_temp.resume('a', '{"room:1": %s, "room:2": %s}') $$, :seq0 + 1, :seq0 + 2),
    format($$ values ('reply', '{"type": "system", "payload": {"message": "Messages before seq %s are no longer kept", "level": "warning"}}'::jsonb),
                     ('resume', '{"topics": {"room:1": %s, "room:2": %s}}'::jsonb) $$, :seq0 + 3, :seq0 + 1, :seq0 + 2),
    'a gap is told, and what is there is replayed; up to the edge there is none');
delete from switchboard.websocket_messages;
update switchboard.websocket_log_state set last_seq = :seq1, last_at = now();
select is(switchboard.oldest_seq(), :seq1::bigint + 1, 'an empty log begins with the next message');
select results_eq(format($$ select kind from pg_temp.resume('a', '{"room:1": %s, "room:2": %s}') $$, :seq1 - 1, :seq1),
    $$ values ('reply'), ('resume') $$, 'and who has seen the last has no gap');

-- ---- across midnight ----
-- The log's clock never goes back: a log that ends two days ahead goes on in that day's partition.
update switchboard.websocket_log_state
   set last_at = ((now() at time zone 'UTC')::date + 41)::timestamp at time zone 'UTC' - interval '1 microsecond';
select switchboard.publish('room:1', '{"n": "before"}');
select switchboard.sequence_messages(10);
update switchboard.websocket_log_state set last_at = last_at + interval '1 microsecond', last_seq = last_seq + 1;
select switchboard.publish('room:1', '{"n": "after"}');
select switchboard.sequence_messages(10);
select results_eq(
    $$ select c.relname::text collate "default", m.payload from switchboard.websocket_messages as m join pg_class as c on c.oid = m.tableoid order by m.seq $$,
    $$ select 'websocket_messages_' || to_char((now() at time zone 'UTC')::date + d, 'YYYYMMDD'), format('{"n": "%s"}', n)
         from (values (40, 'before'), (41, 'after')) as v (d, n) $$, 'one day''s last message and the next day''s first lie in two partitions');
select results_eq($$ select payload from switchboard.topic_history('room:1') $$,
    $$ values ('{"n": "after"}'::jsonb), ('{"n": "before"}') $$, 'history reads over midnight');
select results_eq(format($$ select payload from switchboard.read_topics('b', '{"room:1": %s}', 0, %s, 10) $$, :seq1, :seq1 + 10),
    $$ values ('{"n": "before"}'), ('{"n": "after"}') $$, 'a replay too');

select results_eq($$ select payload::jsonb #>> '{topics,room:1}' from switchboard.resume_topics('a', '{"room:1": 123456789012345678}') where kind = 'resume' $$,
    $$ select last_seq::text from switchboard.log_end() $$, 'a seq from the future is the end of the log');

select * from finish();
rollback;
