-- SPDX-License-Identifier: Apache-2.0
-- Leases of nodes, and the partitions of the log.
begin;
\ir lib/helpers.sql
select plan(26);
delete from switchboard.websocket_nodes;

select is((select other_nodes from switchboard.register_node('a', 'main', 'http://a', 60000)), 0,
    'the first node is alone');
select is((select last_seq from switchboard.register_node('a', 'main', 'http://a', 60000)),
    (select last_seq from switchboard.log_end()), 'register_node() says where the log ends');
select isnt((select last_at from switchboard.register_node('a', 'main', 'http://a', 60000)), null,
    'and since when, even when the log is empty');
select is((select other_nodes from switchboard.register_node('b', 'second', 'http://b', 60000)), 1,
    'a second node sees the first');
select is((select endpoint from switchboard.websocket_nodes where node_id = 'b'), 'http://b',
    'the endpoint is kept');
select is((select other_nodes from switchboard.register_node('a2', 'main', 'http://a', 60000)), 1,
    'a node that was started again does not count its predecessor');
select ok((select expires_at <= now() from switchboard.websocket_nodes where node_id = 'a'),
    'the lease of the predecessor has ended');
select ok((select expires_at > now() + interval '50 s' from switchboard.websocket_nodes where node_id = 'a2'),
    'its own runs');
select results_eq(
    $$ select lease_was_lost, other_nodes from switchboard.heartbeat_node('a2', 'main', 'http://a', 60000) $$,
    $$ values (false, 1) $$, 'a heartbeat in time');
update switchboard.websocket_nodes set expires_at = now() - interval '1 s' where node_id = 'a2';
select results_eq(
    $$ select lease_was_lost, other_nodes from switchboard.heartbeat_node('a2', 'main', 'http://a', 60000) $$,
    $$ values (true, 1) $$, 'a heartbeat too late');
select results_eq(
    $$ select lease_was_lost, other_nodes from switchboard.heartbeat_node('new', 'x', null, 60000) $$,
    $$ values (true, 2) $$, 'a heartbeat of a node whose row is gone brings it back');

-- ---- liveness ----
select from pg_temp.node('test-node');
select from pg_temp.connect('n1');
select is(switchboard.is_live('n1'), true, 'a connection of a living node is live');
update switchboard.websocket_nodes set expires_at = now() where node_id = 'test-node';
select is(switchboard.is_live('n1'), false, 'when the lease is over it is not');
select is((select is_active from pg_temp.connection('n1')), true, 'though its row is still active');
delete from switchboard.websocket_nodes where node_id = 'test-node';
select is(switchboard.is_live('n1'), false, 'nor when the node is gone');
select from pg_temp.node('test-node');
select switchboard.leave_node('test-node');
select ok((select expires_at <= now() from switchboard.websocket_nodes where node_id = 'test-node'),
    'a node that leaves with connections keeps its row and loses its lease');
select from pg_temp.disconnect('n1');
select switchboard.leave_node('test-node');
select is_empty($$ select from switchboard.websocket_nodes where node_id = 'test-node' $$,
    'a node that leaves without any is deleted');
select lives_ok($$ select switchboard.leave_node('never was') $$, 'leaving twice is no error');

-- ---- partitions ----
create function pg_temp.partition(days integer) returns regclass language sql as $$
    select to_regclass('switchboard.websocket_messages_'
                       || to_char((now() at time zone 'UTC')::date + days, 'YYYYMMDD'));
$$;
select isnt(pg_temp.partition(0), null, 'register_node() makes the partition of today');
select isnt(pg_temp.partition(1), null, 'and of tomorrow');
select count(*) as missing from generate_series(0, 9) as day where pg_temp.partition(day) is null \gset
select results_eq($$ select created, dropped from switchboard.maintain_partitions(9, 100000) $$,
    format('values (%s, 0)', :missing),
    'maintain_partitions() makes the missing days ahead');
select results_eq($$ select created, dropped from switchboard.maintain_partitions(9, 100000) $$,
    $$ values (0, 0) $$, 'and then has nothing to do');
select switchboard.add_partition((now() at time zone 'UTC')::date - 8);
select switchboard.add_partition((now() at time zone 'UTC')::date - 7);
insert into switchboard.websocket_messages (seq, kind, payload, created_at)
values (-1, 'all', 'old', now() - interval '8 days');
select results_eq($$ select created, dropped from switchboard.maintain_partitions(9, 7) $$,
    $$ values (0, 1) $$, 'what is older than the retention is dropped');
select is(pg_temp.partition(-8), null, 'the partition eight days back is gone');
select isnt(pg_temp.partition(-7), null, 'the one seven days back is not');

-- The end of the log outlives its rows.
select switchboard.publish('t', '1'), switchboard.publish('t', '2');
select count(*) from pg_temp.published();
select last_seq as before from switchboard.log_end() \gset
select switchboard.maintain_partitions(0, -100);
select is((select last_seq from switchboard.log_end()), :before::bigint,
    'seq goes on from where it was when every partition has been dropped');

select * from finish();
rollback;
