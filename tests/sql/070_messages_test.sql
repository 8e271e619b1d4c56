-- SPDX-License-Identifier: Apache-2.0
-- Messages: finding the route, running it, and what happens to its errors.
begin;
\ir lib/helpers.sql
select plan(50);
delete from switchboard.websocket_nodes;
select from pg_temp.node('test-node');
select from pg_temp.connect('me', '{"email": "me@x.org", "type": "notifications"}');
select switchboard.identify('me', user_id => 'ann', user_name => 'Ann', claims => '{"role": "nurse"}');
select switchboard.set_metadata('me', '{"m": 1}');
select count(*) from pg_temp.published();

create schema app;
create table app.notes (note text);
create function app.echo(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply(to_jsonb(event)) $$;
create function app.single(event switchboard.event) returns switchboard.delivery
language sql as $$ select switchboard.reply('"one"') $$;
create function app.nothing(event switchboard.event) returns switchboard.delivery
language sql as $$ select null::switchboard.delivery where false $$;
create function app.note(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into notes values (event.body ->> 'note'); -- found by search_path
    perform publish('notes', event.body);
    return query select d.* from generate_series(1, 3) as n, to_topic('t' || n, to_jsonb(n)) as d;
end;
$$;
create function app.fails(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into notes values ('lost');
    raise exception 'the inside story';
end;
$$;
create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"connect"') $$;
create function app."$disconnect"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"disconnect"') $$;
create function app."$custom"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"custom"') $$;
create function app.helper(event switchboard.event) returns text language sql as $$ select 'secret' $$;
create function app."odd ""name"" ; drop"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"odd"') $$;
create function pg_temp.run(key text, body text default '{}', routes text[] default '{app}')
returns setof switchboard.event_result
language sql as $$ select * from pg_temp.message('me', body, null, routes, key) $$;

-- ---- which route ----
select results_eq($$ select event_index, kind, payload from pg_temp.run('single') $$, $$ values (0, 'reply', '"one"') $$,
    'a route is found by its key');
select results_eq($$ select kind from pg_temp.run('missing') $$, $$ values ('forbidden') $$,
    'no route and no $default');
select results_eq($$ select kind from pg_temp.run('single', '{}', '{}') $$, $$ values ('forbidden') $$, 'no schemas');
select is_empty($$ select * from pg_temp.run('nothing') $$, 'a route that returns null delivers nothing');
select results_eq($$ select payload from pg_temp.run('odd "name" ; drop') $$, $$ values ('"odd"') $$,
    'names are quoted');
select results_eq($$ select kind from pg_temp.run('SINGLE') $$, $$ values ('forbidden') $$, 'and keep their case');
select results_eq($$ select kind from pg_temp.run('') $$, $$ values ('forbidden') $$, 'an empty key');
select results_eq($$ select kind from pg_temp.run(null) $$, $$ values ('forbidden') $$, 'a null key');
select results_eq($$ select kind from pg_temp.run('single(switchboard.event)') $$, $$ values ('forbidden') $$,
    'a key is a name and nothing else');
select results_eq($$ select kind from pg_temp.run('helper') $$, $$ values ('forbidden') $$,
    'a function with another result cannot be called by clients');
select results_eq($$ select kind from pg_temp.run('$connect') $$, $$ values ('forbidden') $$, 'nor $connect');
select results_eq($$ select kind from pg_temp.run('$disconnect') $$, $$ values ('forbidden') $$, 'nor $disconnect');
select results_eq($$ select kind from pg_temp.run('$custom') $$, $$ values ('forbidden') $$, 'nor any other $ name');
select results_eq($$ select kind from pg_temp.run('$error', '{}', '{careconnect}') where kind = 'forbidden' $$,
    $$ select 'forbidden' where false $$, '$error is answered by $default');
select results_eq($$ select kind from pg_temp.run('handle_heartbeat', '{}', '{careconnect}') where payload like '%heartbeat-response%' $$,
    $$ select 'reply' where false $$, 'helpers of a profile are no routes');
do $$ begin
    execute format('create function app.%I(event switchboard.event) returns switchboard.delivery language sql as %L',
                   repeat('n', 63), 'select switchboard.reply(''"long"'')');
end $$;
select results_eq($$ select payload from pg_temp.run(repeat('n', 63)) $$, $$ values ('"long"') $$, 'a name of 63 bytes');
select results_eq($$ select kind from pg_temp.run(repeat('n', 64)) $$, $$ values ('forbidden') $$,
    'a longer one is not cut to fit');
select is((select payload::jsonb ->> 'type' from pg_temp.run('missing', '{"type": "heartbeat"}', '{app,careconnect}')),
    'heartbeat-response', '$default of a later schema takes the rest');
create function app."$default"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply(jsonb_build_object('default', event.route_key)) $$;
select is((select payload::jsonb from pg_temp.run('missing', '{}', '{careconnect,app}')) ->> 'type', 'error',
    'the first $default wins');
select is((select payload from pg_temp.run('single', '{}', '{careconnect,app}')), '"one"',
    'a route by name comes before any $default');
select is((select payload::jsonb ->> 'default' from pg_temp.run('$default')), '$default', '$default by name');
drop function app.single(switchboard.event);
select is((select payload::jsonb ->> 'default' from pg_temp.run('single')), 'single', 'a dropped route is noticed');
create function app.single(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"new"') $$;
select is((select payload from pg_temp.run('single')), '"new"', 'and a new one');
create or replace function app.single(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"changed"') $$;
select is((select payload from pg_temp.run('single')), '"changed"', 'and a changed one');

-- ---- what it gets ----
select payload::jsonb as event from pg_temp.message('me', '{"a": [1, "x"]}', '{"sub": "t"}', '{app}', 'echo') \gset
select is((:'event'::jsonb) - 'connected_at',
    '{"connection_id": "me", "request_id": "request", "message_id": "message", "event_type": "MESSAGE",
      "route_key": "echo", "body": {"a": [1, "x"]}, "raw_body": "{\"a\": [1, \"x\"]}", "query": null, "headers": null,
      "token": {"sub": "t"}, "user_id": "ann", "user_email": "me@x.org", "user_name": "Ann",
      "claims": {"role": "nurse"}, "subscription_type": "notifications", "metadata": {"m": 1}, "stage": "dev",
      "source_ip": "203.0.113.7", "user_agent": "tests", "disconnect_code": null, "disconnect_reason": null}'::jsonb,
    'the event that a route sees');
select is((:'event'::jsonb ->> 'connected_at')::timestamptz, timestamptz '2026-09-25 00:12:46.108+00',
    'with the time of the handshake');
select is((select payload::jsonb -> 'body' from pg_temp.run('echo', 'not json')), 'null', 'a body that is not JSON');
select is((select payload::jsonb ->> 'raw_body' from pg_temp.run('echo', 'not json')), 'not json', 'is there as text');
select is((select payload::jsonb -> 'body' from pg_temp.run('echo', '"\u0000"')), 'null', 'a body that jsonb cannot hold');
select is((select payload::jsonb -> 'body' from pg_temp.run('echo', '{"n": 1e999999}')), 'null', 'nor a huge number');
select is((select payload::jsonb ->> 'raw_body' from pg_temp.run('echo', '')), '', 'an empty body');
select is((select payload::jsonb -> 'user_id' from pg_temp.message('unknown', '{}', null, '{app}', 'echo')), 'null',
    'a connection without a row is nobody');

-- ---- what it does ----
select results_eq($$ select event_index, kind, target, payload from pg_temp.run('note', '{"note": "hello"}') $$,
    $$ values (0, 'topic', 't1', '1'), (0, 'topic', 't2', '2'), (0, 'topic', 't3', '3'), (0, 'published', null, null) $$,
    'deliveries in order, then that it published');
select results_eq('select note from app.notes', $$ values ('hello') $$, 'it writes');
select results_eq('select kind, target, payload::jsonb from pg_temp.published()',
    $$ values ('topic', 'notes', '{"note": "hello"}'::jsonb) $$, 'and publishes');
select throws_ok($$ select * from pg_temp.run('fails') $$, 'P0001', 'the inside story',
    'its errors come through to the service');
select is((select count(*) from app.notes), 1::bigint, 'and undo what it did');
select is(current_setting('search_path'), '"$user", public', 'the search_path is as before');
select isnt(current_setting('switchboard.wake'), 'event', 'the event is over');

-- ---- $error ----
create function pg_temp.error(code text, message text, routes text[], key text default 'fails')
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.handle_error(routes, key, 'me', 'request', 'message', 'dev', '::1', 'ua', 1, '{}', null,
                                    code, message);
$$;
select results_eq($$ select event_index, kind from pg_temp.error('P0001', 'inside', '{app}') $$, $$ values (0, 'unhandled') $$,
    'nobody has $error');
select is((select pg_temp.body(payload) from pg_temp.error('P0001', 'inside', '{app,careconnect}')),
    '{"type": "error", "message": "Internal server error"}'::jsonb, 'what went wrong inside stays inside');
select is((select pg_temp.body(payload) from pg_temp.error('SB403', 'not yours', '{app,careconnect}')),
    '{"type": "error", "message": "not yours"}'::jsonb, 'what SBnnn says is meant for the client');
select is((select pg_temp.body(payload) from pg_temp.error('SB777', 'not yours', '{app,careconnect}')),
    '{"type": "error", "message": "Internal server error"}'::jsonb, 'SB777 is no status');
create function app."$error"(event switchboard.event, code text, message text) returns setof switchboard.delivery
language plpgsql as $$
begin
    perform publish('errors', to_jsonb(event.connection_id));
    return next reply(jsonb_build_object('code', code, 'message', message, 'who', event.user_id));
end;
$$;
select is((select payload::jsonb from pg_temp.error('SB403', 'no', '{careconnect,app}') where kind = 'reply'),
    '{"code": "SB403", "message": "no", "who": "ann"}'::jsonb, 'the schema that owns the route comes first');
select is((select count(*) from pg_temp.error('SB403', 'no', '{careconnect,app}') where kind = 'published'), 1::bigint,
    'it may publish');
select is((select payload::jsonb ->> 'type' from pg_temp.error('SB403', 'no', '{careconnect,app}', '$default')), 'error',
    'the route of the profile, its $error');
drop function app."$default"(switchboard.event);
select is((select payload::jsonb ->> 'who' from pg_temp.error('SB403', 'no', '{app}', 'missing') where kind = 'reply'),
    'ann', 'no route, the first that has one');

-- ---- too many rows ----
create function app.many(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select r from generate_series(1, (event.body ->> 'n')::integer) as n, switchboard.reply(to_jsonb(n)) as r $$;
select is((select count(*) from pg_temp.message('me', '{"n": 10000}', null, '{app}', 'many')), 10000::bigint,
    'a route may return ten thousand rows');
select throws_ok($$ select * from pg_temp.message('me', '{"n": 10001}', null, '{app}', 'many') $$, '54000',
    'the route returned 10001 rows, more than max_deliveries (10000)', 'and not one more');
set local switchboard.max_deliveries = 2;
select throws_ok($$ select * from pg_temp.message('me', '{"n": 3}', null, '{app}', 'many') $$, '54000', null,
    'or what the service has set');

select * from finish();
rollback;
