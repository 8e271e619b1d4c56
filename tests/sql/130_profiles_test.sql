-- SPDX-License-Identifier: Apache-2.0
-- Settings of profiles, rate limits, and what the cleanup forgets.
begin;
\ir lib/helpers.sql
select plan(28);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
delete from switchboard.websocket_rate_limits;
select from pg_temp.node('test-node');

-- ---- settings ----
select is(switchboard.profile_settings(array[profile]) - 'rate_limit_connection' - 'rate_limit_user', settings::jsonb, profile)
  from (values
      ('careconnect', '{"route_selection_expression": "$request.body.action", "connection_ttl_seconds": 7200, "message_retention_days": 30,
                        "auth": "off", "shared_schemas": ["careconnect"]}'),
      ('broadcast', '{"route_selection_expression": "$request.body.action", "connection_ttl_seconds": 86400, "message_retention_days": 7, "auth": "off", "shared_schemas": ["broadcast"]}'),
      ('chat', '{"route_selection_expression": "$request.body.type", "connection_ttl_seconds": 86400, "message_retention_days": 30, "auth": "optional", "shared_schemas": ["chat"]}'),
      ('chatbot', '{"route_selection_expression": "$request.body.action", "connection_ttl_seconds": 600, "message_retention_days": 30,
                    "auth": "required", "renew_ttl": true, "ping_interval_ms": 60000, "shared_schemas": ["chatbot"]}')) as v (profile, settings);
select ok(switchboard.profile_settings('{chatbot}') ?& array['rate_limit_connection', 'rate_limit_user'], 'chatbot limits connections and users');
select is(switchboard.profile_settings('{}'), '{}', 'no schemas, no settings');
select is(switchboard.profile_settings('{missing}'), '{}', 'a schema that is not there has none');
create schema app;
select is(switchboard.profile_settings('{app,chat}'), switchboard.profile_settings('{chat}'), 'a schema without them is passed over');
create function app."$settings"() returns jsonb language sql as $$ select '{"auth": "required", "mine": 1}'::jsonb $$;
select is(switchboard.profile_settings('{app,chat}'), switchboard.profile_settings('{chat}') || '{"auth": "required", "mine": 1}', 'the schema in front wins');
select is(switchboard.profile_settings('{chat,app}'), switchboard.profile_settings('{chat}') || '{"mine": 1}', 'and the one behind adds');
create or replace function app."$settings"() returns jsonb language sql as $$ select '{"shared_transactions": true}'::jsonb $$;
select is(switchboard.profile_settings('{app,chat}') -> 'shared_schemas', '["app", "chat"]', 'who shares transactions is told of each schema');
select is(switchboard.profile_settings('{app}') -> 'shared_transactions', null, 'and only there');
create or replace function app."$settings"() returns jsonb language sql as $$ select '{"shared_transactions": "yes"}'::jsonb $$;
select is(switchboard.profile_settings('{app,chat}') -> 'shared_schemas', '["chat"]', 'nothing but true will do');
create or replace function app."$settings"() returns jsonb language sql as $$ select null::jsonb $$;
select is(switchboard.profile_settings('{app}'), '{}', 'null is none');
create or replace function app."$settings"() returns jsonb language sql as $$ select '[1]'::jsonb $$;
select is(switchboard.profile_settings('{app}'), '{}', 'what is no object is none');
create or replace function app."$settings"() returns jsonb language sql as $$ select to_jsonb(1 / 0) $$;
set local client_min_messages = error;
select is(switchboard.profile_settings('{app,chat}'), switchboard.profile_settings('{chat}'), 'a mistake in one costs only that one');
set local client_min_messages = warning;
drop function app."$settings"();
create function app."$settings"() returns text language sql as $$ select 'x' $$;
select is(switchboard.profile_settings('{app}'), '{}', 'a function that returns something else is none');
select results_eq($$ select kind from pg_temp.message('nobody', '{}', null, '{chat}', '$settings') $$, $$ values ('reply') $$, 'and no route: that was $default');

-- ---- token buckets ----
select results_eq($$ select switchboard.take_tokens('k', 0.001, 3) from generate_series(1, 3) $$,
    $$ values (0::real), (0), (0) $$, 'a bucket has as many tokens as its burst');
select ok(switchboard.take_tokens('k', 0.001, 3) between 990 and 1000, 'then one has to wait for the next');
select ok(switchboard.take_tokens('k', 0.001, 3) between 990 and 1000, 'and asking does not make it longer');
select is(switchboard.take_tokens('other', 0.001, 3), 0::real, 'every key has its own');
update switchboard.websocket_rate_limits set full_at = full_at - interval '1000 s' where key = 'k';
select is(switchboard.take_tokens('k', 0.001, 3), 0::real, 'after that time there is one');
select cmp_ok(switchboard.take_tokens('k', 0.001, 3), '>', 0::real, 'and no more');
update switchboard.websocket_rate_limits set full_at = full_at - interval '1 year' where key = 'k';
select results_eq($$ select switchboard.take_tokens('k', 0.001, 3) > 0 from generate_series(1, 4) $$,
    $$ values (false), (false), (false), (true) $$, 'a bucket does not fill past its burst');
select throws_ok($$ select switchboard.take_tokens('k', 1, 0) $$, '22023', null, 'a burst of none makes no sense');
update switchboard.websocket_rate_limits set full_at = now() - interval '1 s' where key = 'k';

-- ---- what the cleanup forgets ----
insert into switchboard.websocket_rooms (room_id, created_by, created_at)
values ('old', 'u1', now() - interval '2 days'), ('used', 'u1', now() - interval '2 days'), ('new', 'u1', now()),
       ('support', null, now() - interval '2 days');
select from pg_temp.connect('a');
select switchboard.subscribe('a', 'room:used');
select from switchboard.cleanup_connections(100, 7);
select set_eq('select key from switchboard.websocket_rate_limits', array['other'], 'full buckets');
select set_eq('select room_id from switchboard.websocket_rooms', array['general', 'new', 'support', 'used'], 'rooms of users that are empty');

select * from finish();
rollback;
