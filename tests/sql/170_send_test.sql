-- SPDX-License-Identifier: Apache-2.0
-- @send: receivers, batches, keys.  What needs two sessions is in the contract tests.
begin;
\ir lib/helpers.sql
select plan(27);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
delete from switchboard.websocket_outbox;
delete from switchboard.websocket_idempotency;
select from pg_temp.node('test-node');
insert into switchboard.websocket_connections (connection_id, connection_type, node_id, user_id, expires_at)
values ('c1', 'local', 'test-node', 'ann', now() + interval '1 h'),
       ('c2', 'local', 'test-node', 'ann', now() + interval '1 h'),
       ('c3', 'local', 'test-node', 'bob', now() + interval '1 h');

create function pg_temp.send(request jsonb, key text default null, refused jsonb default '{}')
returns text language sql as $$
    select status || ' ' || coalesce(answer::text, '-') from switchboard.send_request(request, refused, key);
$$;
create function pg_temp.outbox() returns table (sent text) language sql as $$
    with gone as (delete from switchboard.websocket_outbox returning id, kind, target, payload)
    select concat_ws(' ', kind, target, payload) from gone order by id;
$$;

-- ---- receivers ----
select is(pg_temp.send('{"to": {"connections": ["c1", "c9", "c3"]}, "message": {"n": 1}}'),
    '200 {"results": [{"status": 200, "connectionId": "c1"}, {"status": 410, "connectionId": "c9"}, '
    || '{"status": 200, "connectionId": "c3"}]}', 'connections: each with its status, in order');
select results_eq('select * from pg_temp.outbox()',
    $$ values ('connection c1 {"n": 1}'), ('connection c3 {"n": 1}') $$, 'and those that are there get it');
select is(pg_temp.send('{"to": {"connections": ["c1", "c2"]}, "message": 1}', refused => '{"c1": 429}'),
    '200 {"results": [{"status": 429, "connectionId": "c1"}, {"status": 200, "connectionId": "c2"}]}',
    'what was refused is not tried');
select results_eq('select * from pg_temp.outbox()', $$ values ('connection c2 1') $$, 'and not sent');
select is(pg_temp.send('{"to": {"connections": []}, "message": 1}'), '200 {"results": []}', 'nobody is nobody');
select is(pg_temp.send('{"to": {"user": "ann"}, "message": "x"}'), '200 {"reached": 2}', 'a user');
select results_eq('select * from pg_temp.outbox()', $$ values ('user ann "x"') $$, 'gets one row');
select is(pg_temp.send('{"to": {"topic": "t"}, "message": null}'), '200 {"published": true}', 'a topic');
select results_eq('select * from pg_temp.outbox()', $$ values ('topic t null') $$, 'null is a message');
select is(pg_temp.send('{"to": "all", "message": [1.00000000000000000001]}'), '200 {"published": true}', 'all');
select results_eq('select * from pg_temp.outbox()', $$ values ('all [1.00000000000000000001]') $$,
    'numbers stay as exact as they were');

-- ---- batches ----
select is(pg_temp.send('{"messages": [{"to": "all", "message": 1}, {"to": {"user": "bob"}, "message": 2},
                                      {"to": {"connections": ["c2"]}, "message": 3}]}'),
    '200 {"results": [{"published": true}, {"reached": 1}, {"results": [{"status": 200, "connectionId": "c2"}]}]}',
    'a batch has a result for each message, in order');
select results_eq('select * from pg_temp.outbox()', $$ values ('all 1'), ('user bob 2'), ('connection c2 3') $$,
    'and is sent in order');

-- ---- keys ----
select is(pg_temp.send('{"to": {"user": "ann"}, "message": "k"}', 'key'), '200 {"reached": 2}', 'a key is new once');
delete from switchboard.websocket_connections where connection_id = 'c1';
select is(pg_temp.send('{"message": "k", "to": {"user": "ann"}}', 'key'), '200 {"reached": 2}',
    'the same again gets the same answer, whatever has changed since, in whatever order its members are');
select results_eq('select * from pg_temp.outbox()', $$ values ('user ann "k"') $$, 'and is sent once');
select is(pg_temp.send('{"to": {"user": "ann"}, "message": "other"}', 'key'), '422 -', 'another request is refused');
select is_empty('select * from pg_temp.outbox()', 'and not sent');
savepoint failing;
select throws_ok($$ select pg_temp.send('{"to": {"topic": null}, "message": 1}', 'failing') $$, '23514', null,
    'what cannot be sent fails');
select is((select count(*) from switchboard.websocket_idempotency where key = 'failing'), 0::bigint,
    'and leaves no key behind');
update switchboard.websocket_idempotency set created_at = now() - interval '24 hours';
select is(pg_temp.send('{"to": {"user": "ann"}, "message": "other"}', 'key'), '200 {"reached": 1}',
    'after a day the key is new');
select results_eq('select * from pg_temp.outbox()', $$ values ('user ann "other"') $$, 'and the request is sent');

-- ---- cleanup ----
insert into switchboard.websocket_idempotency (key, request, created_at)
select 'old' || n, '', now() - interval '26 hours' from generate_series(1, 5) as n;
select is((select deleted from switchboard.cleanup_connections(3, 7)), 3, 'the cleanup deletes keys, a batch at a time');
select is((select deleted from switchboard.cleanup_connections(3, 7)), 2, 'and says how many, so that it is called again');
select results_eq('select key from switchboard.websocket_idempotency', $$ values ('key') $$, 'those that count stay');

-- ---- who may ----
select ok(has_function_privilege('switchboard_service', 'switchboard.send_request(jsonb, jsonb, text)', 'execute'),
    'the service may send');
select ok(not has_function_privilege('switchboard_app', 'switchboard.send_request(jsonb, jsonb, text)', 'execute'),
    'applications have publish() and its like');
select * from finish();
rollback;
