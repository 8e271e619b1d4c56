-- SPDX-License-Identifier: Apache-2.0
-- The constructors of deliveries, and the small helpers beside them.
begin;
\ir lib/helpers.sql
select plan(25);

select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.reply('{"a": 1}') $$,
    $$ values ('reply', null::text, '{"a": 1}'::jsonb, null::text) $$, 'reply()');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_connection('c', '[1]') $$,
    $$ values ('connection', 'c', '[1]'::jsonb, null::text) $$, 'to_connection()');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_user('u', '"x"') $$,
    $$ values ('user', 'u', '"x"'::jsonb, null::text) $$, 'to_user()');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_topic('t', '1') $$,
    $$ values ('topic', 't', '1'::jsonb, null::text) $$, 'to_topic()');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_topic('t', '1', 'me') $$,
    $$ values ('topic', 't', '1'::jsonb, 'me') $$, 'to_topic() but for one');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_all('1', 'me') $$,
    $$ values ('all', null::text, '1'::jsonb, 'me') $$, 'to_all() but for one');
select results_eq(
    $$ select kind, target, payload::jsonb, except_connection from switchboard.to_all('1') $$,
    $$ values ('all', null::text, '1'::jsonb, null::text) $$, 'to_all()');
select results_eq(
    $$ select kind, target, payload::jsonb from switchboard.to_close('c', 4000, 'a "reason"') $$,
    $$ values ('close', 'c', '{"code": 4000, "reason": "a \"reason\""}'::jsonb) $$, 'to_close()');
select results_eq(
    $$ select kind, jsonb_strip_nulls(payload::jsonb) from switchboard.accept() $$,
    $$ values ('accept', '{}'::jsonb) $$, 'accept() of nothing says nothing');
select is(
    (select payload::jsonb
       from switchboard.accept('u', 'e', 'n', 's', '{"m": 1}', 'proto', 60)),
    '{"user_id": "u", "user_email": "e", "user_name": "n", "subscription_type": "s",
      "metadata": {"m": 1}, "subprotocol": "proto", "ttl_seconds": 60}'::jsonb,
    'accept() carries everything');
select is((select d.kind from (select (switchboard.reply('1')).*) as d), 'reply',
    'constructors also work in a select list');
set local enable_seqscan = off;
select is(
    pg_temp.plan_scans('select from switchboard.websocket_connections where connection_id = ''x'''),
    array['websocket_connections_pkey'], 'the plan helper sees indexes');
set local enable_seqscan = on;

select is(switchboard.parse_json('{"a": [1, null]}'), '{"a": [1, null]}'::jsonb, 'parse_json() of JSON');
select is(switchboard.parse_json(' 5 '), '5'::jsonb, 'parse_json() of a scalar');
select is(switchboard.parse_json('null'), 'null'::jsonb, 'parse_json() of null is a JSON null');
select is(switchboard.parse_json(''), null, 'parse_json() of nothing');
select is(switchboard.parse_json('{"a":'), null, 'parse_json() of half an object');
select is(switchboard.parse_json('"\u0000"'), null, 'parse_json() of a NUL, which jsonb cannot hold');
select is(switchboard.parse_json('"\ud800"'), null, 'parse_json() of half a surrogate pair');
select is(switchboard.parse_json('1e999999'), null, 'parse_json() of a number past numeric');
select is(switchboard.parse_json(repeat('[', 20000)), null, 'parse_json() of something too deep');
select is(switchboard.parse_json(null), null, 'parse_json() of SQL null');

select is(to_jsonb(switchboard.then_run('answer')) - 'except_connection',
          '{"kind": "then", "target": "$then:answer", "payload": null}', 'then_run()');

select is(switchboard.now_ms() / 1000, switchboard.now_s(), 'now_ms() and now_s() agree');
select ok(abs(switchboard.now_s() - extract(epoch from clock_timestamp())) < 60, 'and mean now');

select * from finish();
rollback;
