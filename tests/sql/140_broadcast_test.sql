-- SPDX-License-Identifier: Apache-2.0
-- The profile broadcast: every row of its table.
begin;
\ir lib/helpers.sql
select plan(20);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
create function pg_temp.says(body text, route_key text default '$default')
returns table (kind text, target text, payload jsonb, except_connection text)
language sql as $$
    select m.kind, m.target, m.payload::jsonb, m.except_connection
      from pg_temp.message('a', body, null, '{broadcast}', route_key) as m;
$$;
create function pg_temp.how_to() returns jsonb language sql as $$
    select '{"type": "echo", "message": "No message. To broadcast, send {\"action\": \"sendMessage\", \"message\": \"Hello!\"}"}'::jsonb;
$$;

select results_eq($$ select kind, payload from pg_temp.connect('a', null, '{broadcast}') $$, $$ values ('accept', null) $$,
    'a client is registered and not greeted');
select is((select is_active from pg_temp.connection('a')), true, 'it is in the table');
select results_eq($$ select * from pg_temp.says('{"action": "sendMessage", "message": "Hello!"}', 'sendMessage') $$,
    $$ values ('all', null, '{"type": "message", "from": "a", "message": "Hello!"}'::jsonb, null) $$,
    'sendMessage goes to every connection, the sender too');
select results_eq($$ select kind, payload -> 'message' from pg_temp.says('{"message": {"a": [1]}}', 'sendMessage') $$,
    $$ values ('all', '{"a": [1]}'::jsonb) $$, 'whatever the message is');
select results_eq($$ select * from pg_temp.says('{"message": "Echo this"}') $$,
    $$ values ('reply', null, '{"type": "echo", "message": "Echo this"}'::jsonb, null) $$, 'anything else is echoed');
select results_eq($$ select payload from pg_temp.says('{"message": 0}') $$, $$ values ('{"type": "echo", "message": 0}'::jsonb) $$, 'a number too');
select results_eq($$ select payload from pg_temp.says('{"action": "dance", "message": "Echo this"}', 'dance') $$,
    $$ values ('{"type": "echo", "message": "Echo this"}'::jsonb) $$, 'with an unknown action too');
select results_eq(format('select kind, payload from pg_temp.says(%L)', body), $$ values ('reply', pg_temp.how_to()) $$, 'how to broadcast: ' || body)
  from unnest(array['{}', '{"message": ""}', '{"message": null}', '[]', 'not json', '']) as body;
select results_eq(format('select kind, payload from pg_temp.says(%L, %L)', body, 'sendMessage'), $$ values ('reply', pg_temp.how_to()) $$,
    'nothing to broadcast: ' || body)
  from unnest(array['{"action": "sendMessage"}', '{"action": "sendMessage", "message": ""}']) as body;
select is_empty($$ select from pg_temp.says('{}', 'echo_reply') where kind <> 'reply' $$, 'a helper is no route');
select results_eq(format('select e.kind, e.payload::jsonb from switchboard.handle_error(%L, %L, %L, null, null, null, null, null, 0, %L, null, %L, %L) as e',
                         '{broadcast}', 'x', 'a', '{}', code, message),
    format('values (%L, %L::jsonb)', 'reply', answer), code)
  from (values ('SB429', '2', '{"type": "error", "message": "Too many messages", "retryAfter": 2}'),
               ('XX000', 'secret', '{"type": "error", "message": "Internal server error"}')) as v (code, message, answer);
select is_empty($$ select * from pg_temp.disconnect('a', routes => '{broadcast}') $$, 'leaving is quiet');
select is((select is_active from pg_temp.connection('a')), false, 'and deactivates');

select * from finish();
rollback;
