-- SPDX-License-Identifier: Apache-2.0
-- Messages that share a transaction, and the handshakes of a node.
begin;
\ir lib/helpers.sql
select plan(39);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
select from pg_temp.connect('ann', '{"email": "ann@x.org", "type": "notifications"}');
select switchboard.identify('ann', user_id => 'u-ann', user_name => 'Ann', claims => '{"role": "nurse"}');
select from pg_temp.connect('bob');
select count(*) from pg_temp.published();

create schema app;
create table app.notes (note text);
create function app.echo(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply(to_jsonb(event)) $$;
create function app.note(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into notes values (event.body ->> 'note'); -- found by search_path
    perform publish('notes', event.body);
    return next reply(event.body);
end;
$$;
create function app.fails(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into notes values ('lost');
    raise exception 'the inside story';
end;
$$;
create function app.many(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select r.* from generate_series(1, 3), switchboard.reply('1') as r $$;
create schema other;
create function other.mine(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply('"mine"') $$;

-- messages(keys, ids, bodies) with the rest made up.
create function pg_temp.messages(
    keys text[], ids text[], bodies text[], shared text[] default '{app}', routes text[] default '{app,other}',
    tokens jsonb[] default null)
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.handle_messages(
               routes, shared, 'dev', keys, ids,
               array(select 'r' || i from generate_subscripts(keys, 1) as i),
               array(select 'm' || i from generate_subscripts(keys, 1) as i),
               array_fill('203.0.113.7'::text, array[cardinality(keys)]),
               array_fill('tests'::text, array[cardinality(keys)]),
               array_fill(1790295166108, array[cardinality(keys)]), bodies,
               coalesce(tokens, array_fill(null::jsonb, array[cardinality(keys)])));
$$;

-- ---- they see what handle_message() shows ----
select is((select payload::jsonb from pg_temp.messages('{echo}', '{ann}', array['{"a": [1]}'])) - 'request_id' - 'message_id',
          (select payload::jsonb from pg_temp.message('ann', '{"a": [1]}', null, '{app}', 'echo')) - 'request_id' - 'message_id',
          'the event is the same as alone');
select is((select payload::jsonb from pg_temp.messages('{echo}', '{ann}', array['no json'], tokens => array['{"sub": "x"}'::jsonb]))
          - 'request_id' - 'message_id',
          (select payload::jsonb from pg_temp.message('ann', 'no json', '{"sub": "x"}', '{app}', 'echo')) - 'request_id' - 'message_id',
          'and when its body is not JSON, and with a token');
select results_eq(
    $$ select event_index, payload::jsonb ->> 'connection_id', payload::jsonb ->> 'user_id', payload::jsonb ->> 'raw_body',
              payload::jsonb -> 'body'
         from pg_temp.messages('{echo,echo,echo}', '{bob,ann,gone}', array['1', 'x', '{"c": 3}']) $$,
    $$ values (0, 'bob', null::text, '1', '1'::jsonb), (1, 'ann', 'u-ann', 'x', 'null'), (2, 'gone', null, '{"c": 3}', '{"c": 3}') $$,
    'each has its own, in order, whether its neighbours are JSON or not');
select results_eq(
    $$ select event_index, kind, payload from pg_temp.messages('{note,note}', '{ann,bob}', array['{"note": "a"}', '{"note": "b"}']) $$,
    $$ values (0, 'reply', '{"note": "a"}'), (1, 'reply', '{"note": "b"}'), (-1, 'published', null) $$,
    'published is said once');
select results_eq('select note from app.notes', $$ values ('a'), ('b') $$, 'both have written');
select results_eq('select payload from pg_temp.published()', $$ values ('{"note": "a"}'), ('{"note": "b"}') $$,
    'and published, in their order');

-- ---- which route ----
select results_eq(
    $$ select event_index, kind from pg_temp.messages('{echo,many,echo}', '{ann,ann,bob}', '{1,2,3}') $$,
    $$ values (0, 'reply'), (1, 'reply'), (1, 'reply'), (1, 'reply'), (2, 'reply') $$, 'different routes, in order');
select results_eq(
    $$ select event_index, kind from pg_temp.messages('{nobody,echo,nobody,nobody}', '{ann,ann,bob,bob}', '{1,2,3,4}') $$,
    $$ values (0, 'forbidden'), (1, 'reply'), (2, 'forbidden'), (3, 'forbidden') $$, 'no route: forbidden, and only that one');
select results_eq(
    $$ select event_index, kind, target from pg_temp.messages('{echo,mine,echo}', '{ann,bob,ann}', '{1,2,3}') $$,
    $$ values (0, 'reply', null), (1, 'alone', 'mine'), (2, 'alone', null) $$,
    'from the first on whose schema shares nothing all are to run alone');
select is_empty($$ select from pg_temp.messages('{echo}', '{ann}', '{1}', '{other}') where kind <> 'alone' $$,
    'nor does a schema that is not named');
select results_eq(
    $$ select kind, payload from pg_temp.messages('{mine}', '{ann}', '{1}', '{other}') $$,
    $$ values ('reply', '"mine"') $$, 'one that is named does');
create function app."$default"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply('"default"') $$;
select results_eq(
    $$ select event_index, payload from pg_temp.messages('{nobody,many,$connect}', '{ann,ann,bob}', '{1,2,3}') where event_index <> 1 $$,
    $$ values (0, '"default"'), (2, '"default"') $$, '$default takes the rest');
drop function app."$default"(switchboard.event);
select results_eq($$ select event_index, kind from pg_temp.messages('{resume}', '{ann}', '{1}') $$,
    $$ values (0, 'alone') $$, 'what is built in runs alone');

-- ---- errors ----
select throws_ok($$ select from pg_temp.messages('{note,fails}', '{ann,bob}', array['{"note": "c"}', '{}']) $$, 'P0001', 'the inside story',
    'an exception comes through');
select is_empty($$ select from app.notes where note = 'c' $$, 'and undoes all');
select is_empty('select from pg_temp.published()', 'nothing is published');
set local switchboard.max_deliveries = 5;
select throws_ok($$ select from pg_temp.messages('{many,many}', '{ann,bob}', '{1,2}') $$, '54000', null, 'too many deliveries, all together');
select lives_ok($$ select from pg_temp.messages('{many}', '{ann}', '{1}') $$, 'alone they are few enough');
reset switchboard.max_deliveries;
select results_eq('select bodies from (select switchboard.parse_bodies(array[''1'', ''{'', null, ''"\u0000"'']) as bodies) as x',
    $$ values (array['1', null, null, null]::jsonb[]) $$, 'parse_bodies: null for what PostgreSQL cannot hold');
select is(switchboard.message_events('{k}', '{ann}', '{r}', '{m}', 'dev', '{1.2.3.4}', '{ua}', '{1}', '{x}', array[null::jsonb], array[null::jsonb]),
          array[switchboard.message_event('k', 'ann', 'r', 'm', 'dev', '1.2.3.4', 'ua', 1, 'x', null)],
          'message_events is message_event for many');

-- ---- handshakes ----
create function pg_temp.handshakes(
    ids text[], routes text[] default '{careconnect}', queries text[] default null, headers jsonb[] default null,
    claims jsonb[] default null)
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.register_connections(
               routes, 'test-node', 'http://e', 60000, 'dev', ids,
               array(select 'request-' || i from unnest(ids) as i),
               array_fill(1790295166108, array[cardinality(ids)]),
               array_fill('203.0.113.7'::text, array[cardinality(ids)]),
               array_fill('tests'::text, array[cardinality(ids)]),
               coalesce(claims, array_fill(null::jsonb, array[cardinality(ids)])),
               coalesce(queries, array_fill(null::text, array[cardinality(ids)])), headers);
$$;
select results_eq($$ select event_index, kind from pg_temp.handshakes('{p1,p2}', '{}') $$,
    $$ values (-1, 'no_headers'), (-1, 'accepted') $$, 'without a route all are accepted, and no headers are wanted');
select from pg_temp.connect('json-1', null, '{}');
select is((select to_jsonb(c) - 'connection_id' - 'expires_at' - 'api_gateway_endpoint' from pg_temp.connection('p1') as c),
          (select to_jsonb(c) - 'connection_id' - 'expires_at' - 'api_gateway_endpoint' from pg_temp.connection('json-1') as c),
          'the row is the same as that of an event in JSON');
select is((select expires_at from pg_temp.connection('p2')), now() + interval '60 s', 'it lives for ttl_ms');
select results_eq($$ select event_index, kind from pg_temp.handshakes('{p1}', '{}') $$,
    $$ values (-1, 'no_headers'), (-1, 'accepted') $$, 'registering again is no error');
create schema heads;
create function heads."$connect"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply(to_jsonb(event) - 'connection_id' - 'request_id') $$;
select results_eq($$ select event_index, kind from pg_temp.handshakes('{c1}', '{heads}') $$,
    $$ values (-1, 'headers') $$, 'there is a route: it wants the headers');
select is_empty($$ select from pg_temp.connection('c1') $$, 'and nothing was done');
create function heads."$settings"() returns jsonb language sql as $$ select '{"connect_headers": false}'::jsonb $$;
select results_eq($$ select event_index, kind, payload::jsonb -> 'headers' from pg_temp.handshakes('{n0}', '{heads}') $$,
    $$ values (-1, 'no_headers', null::jsonb), (-1, 'accepted', null), (0, 'reply', 'null'::jsonb) $$, 'unless its schema says no');
create or replace function heads."$settings"() returns jsonb language sql as $$ select to_jsonb(1 / 0) $$;
select results_eq($$ select event_index, kind from pg_temp.handshakes('{c1}', '{heads}') $$,
    $$ values (-1, 'headers') $$, 'a mistake in there says nothing');
drop function heads."$settings"();
select is(switchboard.profile_settings('{careconnect}') -> 'connect_headers', null, 'it is no setting of the service');
select results_eq(
    $$ select event_index, kind, payload::jsonb ->> 'sessionId'
         from pg_temp.handshakes('{c1,c2,c3}', queries => array['{"email": "Ann@X.org"}', '{"type": "wrong"}', null],
                                 headers => array['{"Host": "h"}', '{}', '{}']::jsonb[]) $$,
    $$ values (-1, 'no_headers', null), (-1, 'accepted', null), (0, 'reply', 'c1'), (1, 'refuse', null), (2, 'reply', 'c3') $$,
    'the route runs for each; who is not named is accepted');
select results_eq($$ select connection_id, user_email from switchboard.websocket_connections where connection_id like 'c_' order by 1 $$,
    $$ values ('c1', 'ann@x.org'), ('c3', null) $$, 'who was refused has no row');
select results_eq(
    $$ select event_index, kind from pg_temp.handshakes('{u1,u2}', '{}', claims => array[null, '{"userId": "u-2", "email": "Two@x.org"}']::jsonb[]) $$,
    $$ values (-1, 'no_headers'), (-1, 'accepted'), (-1, 'published') $$, 'claims publish the subscription of the user');
select results_eq($$ select connection_id, user_id, user_email from switchboard.websocket_connections where connection_id in ('u1', 'u2') order by 1 $$,
    $$ values ('u1', null, null), ('u2', 'u-2', 'two@x.org') $$, 'and say who it is');
select results_eq('select kind, target, payload from pg_temp.published()', $$ values ('subscribe', 'u2', 'user:u-2') $$, 'the node is told');
select results_eq(
    $$ select event_index, kind from pg_temp.handshakes('{r1}', '{}', queries => array['{"resume": "{\"room:a\": 0}"}']) where kind not in ('no_headers', 'accepted', 'published') $$,
    $$ select event_index, kind from pg_temp.connect('r2', '{"resume": "{\"room:a\": 0}"}', '{}') where kind not in ('accept', 'published') $$,
    '?resume= is answered as in JSON');
select is((select payload::jsonb from pg_temp.handshakes('{h1}', '{heads}', array['{"q": "1"}'], array['{"Host": "ws.example.com"}'::jsonb],
                                                         array['{"userId": "x"}'::jsonb]) where kind = 'reply'),
          (select payload::jsonb from pg_temp.connect('h2', '{"q": "1"}', '{heads}', '{"userId": "x"}') where kind = 'reply'),
          'a route sees the same event as in JSON');
create function heads.sub_connect() returns void language sql as '';
create or replace function heads."$connect"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.accept(subprotocol => 'v2') $$;
select results_eq($$ select event_index, kind, payload::jsonb ->> 'subprotocol' from pg_temp.handshakes('{s1}', '{heads}', headers => array['{}'::jsonb]) $$,
    $$ values (-1, 'accepted', null), (0, 'accept', 'v2') $$, 'a subprotocol is a verdict of its own');
create or replace function heads."$connect"(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$ begin raise exception 'no'; end $$;
select results_eq($$ select event_index, kind, target from pg_temp.handshakes('{e1,e2}', '{heads}', headers => array['{}', '{}']::jsonb[]) $$,
    $$ values (-1, 'accepted', null), (0, 'error', 'P0001'), (1, 'error', 'P0001') $$, 'an error too');
select is_empty($$ select from switchboard.websocket_connections where connection_id in ('e1', 'e2') $$, 'and it leaves no row');

select * from finish();
rollback;
