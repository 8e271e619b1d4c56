-- SPDX-License-Identifier: Apache-2.0
-- Deregistering, touching, cleaning up.  Locked rows need two sessions: see the service tests.
begin;
\ir lib/helpers.sql
select plan(55);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
delete from switchboard.websocket_subscriptions;
select from pg_temp.node('test-node');
select count(*) from unnest(array['a', 'b', 'c', 'd']) as id, pg_temp.connect(id);
select switchboard.identify('a', user_id => 'ann');
select switchboard.subscribe('a', 'news');
select count(*) from pg_temp.published();

-- ---- without a route ----
select is_empty(
    $$ select * from switchboard.deregister_connections('{careconnect}', '{a,unknown,b}', '{1001,1000,1006}',
                                                        '{"Going away","",NULL}', '{r1,r2,r3}') $$,
    'nothing to say without a $disconnect route');
select results_eq(
    $$ select connection_id, is_active, disconnected_at = now(), disconnect_code, disconnect_reason
         from switchboard.websocket_connections where connection_id in ('a', 'b', 'unknown') order by 1 $$,
    $$ values ('a', false, true, 1001, 'Going away'), ('b', false, true, 1006, null) $$,
    'each with its own code and reason');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'a' $$, 'subscriptions are gone');
select from pg_temp.disconnect('a', 1000, 'again');
select is((select disconnect_code from pg_temp.connection('a')), 1001, 'the first reason stays');
select is_empty('select from pg_temp.published()', 'nothing to publish: the socket is gone');
select is_empty($$ select * from switchboard.deregister_connections('{careconnect}', '{}', '{}', '{}', '{}') $$, 'none at all');
select set_eq('select connection_id from switchboard.live_connections', array['c', 'd'], 'the others are live');
-- A connection that a verified address has deregistered, whose socket then closes.
select from pg_temp.connect('verified', '{"email": "v@x.org", "type": "email-verification"}');
select switchboard.notify_email_verified('v@x.org');
select from pg_temp.disconnect('verified', 1001, 'closed');
select results_eq($$ select disconnect_code, disconnect_reason, expires_at <= now() from pg_temp.connection('verified') $$,
    $$ values (1000, 'Email verified', true) $$, 'keeps that reason and cannot come back');
select count(*) from pg_temp.published();

-- ---- with a route ----
create schema app;
create table app.seen (connection_id text, event switchboard.event);
create function app."$disconnect"(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into seen values (event.connection_id, event);
    perform publish('left', to_jsonb(event.connection_id));
    if event.disconnect_reason = 'fail' then
        raise exception 'it failed';
    end if;
    return next to_all(to_jsonb('left: ' || event.connection_id));
end;
$$;
select count(*) from unnest(array['e', 'f', 'g']) as id, pg_temp.connect(id);
select switchboard.identify('e', user_id => 'eve', user_name => 'Eve', claims => '{"c": 1}', metadata => '{"m": 1}');
select count(*) from pg_temp.published();
select set_eq(
    $$ select event_index, kind, target, payload
         from switchboard.deregister_connections('{missing,app}', '{e,unknown,f,g}', '{1000,1000,1001,4000}',
                                                 '{bye,x,fail,""}', '{r1,r2,r3,r4}') $$,
    $$ values (0, 'all', null::text, '"left: e"'), (2, 'error', 'P0001', 'it failed'), (3, 'all', null, '"left: g"'),
              (-1, 'published', null, null) $$,
    'deliveries and errors, by position; unknown ones are passed over');
select set_eq('select connection_id from app.seen', array['e', 'g'], 'what failed is undone, nothing ran twice');
select is((select is_active from pg_temp.connection('f')), false, 'though that connection is deregistered all the same');
select results_eq('select target, payload from pg_temp.published()',
    $$ values ('left', '"e"'), ('left', '"g"') $$, 'what the routes published');
select results_eq(
    $$ select (event).event_type, (event).route_key, (event).request_id, (event).user_id, (event).user_name,
              (event).claims, (event).metadata, (event).stage, (event).source_ip, (event).disconnect_code,
              (event).disconnect_reason, extract(epoch from (event).connected_at) * 1000
         from app.seen where connection_id = 'e' $$,
    $$ values ('DISCONNECT', '$disconnect', 'r1', 'eve', 'Eve', '{"c": 1}'::jsonb, '{"m": 1}'::jsonb, 'dev',
               '203.0.113.7', 1000, 'bye', 1790295166108.0) $$,
    'the event that a route sees');
delete from app.seen;
select set_eq($$ select kind from pg_temp.disconnect('verified', 1001, 'later', '{app}') $$, array['all', 'published'],
    'the route runs for one that was deregistered before, too');
select is((select (event).disconnect_code from app.seen), 1001, 'with the code of the socket');

-- ---- touching ----
update switchboard.websocket_connections set last_activity_at = '2026-01-01 00:00:00+00' where connection_id in ('a', 'c', 'd');
select is(switchboard.touch_connections('{a,c,c,d,unknown}',
        array[extract(epoch from timestamptz '2026-02-01 00:00:00+00') * 1000,
              extract(epoch from timestamptz '2026-02-01 00:00:00+00') * 1000,
              extract(epoch from timestamptz '2026-03-01 00:00:00+00') * 1000,
              extract(epoch from timestamptz '2025-01-01 00:00:00+00') * 1000, 0]::bigint[]), 2,
    'active ones are touched');
select is((select last_activity_at from pg_temp.connection('c')), '2026-03-01 00:00:00+00', 'to the latest of two');
select is((select last_activity_at from pg_temp.connection('d')), '2026-01-01 00:00:00+00', 'never back');
select is((select last_activity_at from pg_temp.connection('a')), '2026-01-01 00:00:00+00', 'closed ones are not');
select is(switchboard.touch_connections('{}', '{}'), 0, 'none to touch');
-- Renewing: activity at the hour, ten minutes of life.
update switchboard.websocket_connections set expires_at = to_timestamp(3600 + 550) where connection_id = 'c';
update switchboard.websocket_connections set expires_at = to_timestamp(3600 + 539) where connection_id = 'd';
select is(switchboard.touch_connections('{c,d}', '{3600000,3600000}', null), 2, 'touched without renewing');
select is(switchboard.touch_connections('{c,d}', '{3600000,3600000}', 0), 2, '0 is the same');
select results_eq($$ select connection_id, expires_at from switchboard.websocket_connections where connection_id in ('c', 'd') order by 1 $$,
    $$ values ('c', to_timestamp(4150)), ('d', to_timestamp(4139)) $$, 'leaves the end where it is');
select is(switchboard.touch_connections('{a,c,d}', '{3600000,3600000,3600000}', 600000), 2, 'touched with renewing');
select results_eq($$ select connection_id, expires_at from switchboard.websocket_connections where connection_id in ('c', 'd') order by 1 $$,
    $$ values ('c', to_timestamp(4150)), ('d', to_timestamp(4200)) $$, 'moves the end when it is worth a tenth');
update switchboard.websocket_connections set expires_at = now() + interval '2 hours' where connection_id in ('c', 'd');

-- ---- cleanup: expired ----
select results_eq('select * from switchboard.cleanup_connections(100, 7)', $$ values (0, 0, 0) $$, 'nothing to clean up');
update switchboard.websocket_connections set expires_at = now() - n * interval '1 s'
  from (values ('c', 1), ('d', 2)) as v (id, n) where connection_id = id;
select switchboard.subscribe('c', 'news');
insert into switchboard.websocket_connections (connection_id, connection_type, expires_at)
values ('aws', 'aws', now() - interval '1 h');
select count(*) from pg_temp.published();
select is((select expired from switchboard.cleanup_connections(1, 7)), 1, 'a bounded batch');
select is((select expired from switchboard.cleanup_connections(100, 7)), 2, 'the rest');
select results_eq(
    $$ select connection_id, disconnect_code, disconnect_reason, disconnected_at = now()
         from switchboard.websocket_connections where connection_id in ('aws', 'c', 'd') and not is_active order by 1 $$,
    $$ values ('aws', 1001, 'Connection expired', true), ('c', 1001, 'Connection expired', true),
              ('d', 1001, 'Connection expired', true) $$, 'expired ones are deactivated');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'c' $$, 'and unsubscribed');
select set_eq('select kind, target, payload::jsonb from pg_temp.published()',
    $$ values ('close', 'c', '{"code": 1001, "reason": "Going away"}'::jsonb),
              ('close', 'd', '{"code": 1001, "reason": "Going away"}'::jsonb) $$,
    'their node closes the sockets; API Gateway has its own clock');

-- ---- cleanup: nodes ----
select count(*) from unnest(array['h', 'i', 'j']) as id, pg_temp.connect(id);
update switchboard.websocket_connections set node_id = 'gone' where connection_id = 'j';
select switchboard.subscribe('h', 'news');
select is(switchboard.cleanup_nodes(100), 1, 'a node that is gone: its connection is an orphan');
select is(switchboard.cleanup_nodes(100), 0, 'those of a living node are left alone');
update switchboard.websocket_nodes set expires_at = now() where node_id = 'test-node';
select is(switchboard.cleanup_nodes(1), 1, 'a lease that is over, a bounded batch');
select is((select orphaned from switchboard.cleanup_connections(100, 7)), 1, 'the cleanup job does it too');
select results_eq(
    $$ select connection_id, is_active, disconnect_code, disconnect_reason
         from switchboard.websocket_connections where connection_id in ('h', 'i', 'j') order by 1 $$,
    $$ values ('h', false, 1006, 'Node lease expired'), ('i', false, 1006, 'Node lease expired'),
              ('j', false, 1006, 'Node lease expired') $$, 'deactivated as 1006');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'h' $$, 'and unsubscribed');

-- ---- cleanup: old ----
update switchboard.websocket_connections set disconnected_at = now() - interval '8 days' where connection_id in ('h', 'i');
update switchboard.websocket_connections set disconnected_at = now() - interval '6 days' where connection_id = 'j';
insert into switchboard.websocket_subscriptions (topic, connection_id) values ('left behind', 'h');
select is((select deleted from switchboard.cleanup_connections(1, 7)), 1, 'old ones are deleted, a bounded batch');
select is((select deleted from switchboard.cleanup_connections(100, 7)), 1, 'the rest');
select is_empty($$ select from switchboard.websocket_connections where connection_id in ('h', 'i') $$, 'they are gone');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'h' $$, 'with what was left behind');
select isnt_empty($$ select from pg_temp.connection('j') $$, 'younger ones stay');
select is((select deleted from switchboard.cleanup_connections(100, 5)), 1, 'until the retention says otherwise');
select isnt_empty($$ select from switchboard.websocket_nodes where node_id = 'test-node' $$, 'a dead node keeps its row for an hour');
update switchboard.websocket_nodes set expires_at = now() - interval '2 hours' where node_id = 'test-node';
select from switchboard.cleanup_connections(100, 7);
select is_empty($$ select from switchboard.websocket_nodes where node_id = 'test-node' $$, 'and then goes');

-- ---- a node comes back within its time ----
select from pg_temp.node('test-node');
select from pg_temp.connect('k');
update switchboard.websocket_nodes set expires_at = now() where node_id = 'test-node';
select is(switchboard.cleanup_nodes(100), 1, 'taken for dead');
select is((select lease_was_lost from switchboard.heartbeat_node('test-node', 'test-node', null, 60000)), true,
    'the node learns it');
select is(switchboard.restore_connections('test-node', null, 60000, '[{"connectionId": "k", "topics": []}]'), 1,
    'says what it holds');
select is(switchboard.is_live('k'), true, 'and its connection is live again');

-- ---- many nodes ----
insert into switchboard.websocket_connections (connection_id, connection_type, node_id, expires_at)
select 'many-' || n, 'local', 'node-' || n % 10, now() + interval '1 h' from generate_series(1, 100) as n;
select set_eq('select node_id from switchboard.connection_nodes() where not is_alive',
    $$ select 'node-' || n from generate_series(0, 9) as n $$, 'the nodes that connections name');
select results_eq('select node_id from switchboard.connection_nodes() where is_alive', $$ values ('test-node') $$,
    'and which of them lives');
select is(switchboard.cleanup_nodes(55), 55, 'a batch over several dead nodes');
select is(switchboard.cleanup_nodes(55), 45, 'and the rest');
select is(switchboard.active_connection_count(), 1::bigint, 'one is left');
delete from switchboard.websocket_connections;
select results_eq('select * from switchboard.cleanup_connections(100, 7)', $$ values (0, 0, 0) $$, 'an empty table');

select * from finish();
rollback;
