-- SPDX-License-Identifier: Apache-2.0
-- Typed messages, their senders, audit rows.
begin;
\ir lib/helpers.sql
select plan(25);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');

select is(pg_temp.body(switchboard.create_chat_response('m1', 'Hello', true)::text),
    '{"type": "chat_response", "payload": {"messageId": "m1", "content": "Hello", "isComplete": true}}'::jsonb,
    'chat_response');
select is(pg_temp.body(switchboard.create_chat_response(
        'm1', 'Hel', false, '[{"documentName": "a.pdf", "pageNumber": 3, "text": "..."}]')::text),
    '{"type": "chat_response", "payload": {"messageId": "m1", "content": "Hel", "isComplete": false,
      "retrievedChunks": [{"documentName": "a.pdf", "pageNumber": 3, "text": "..."}]}}'::jsonb,
    'chat_response with what was retrieved');
select is(pg_temp.body(switchboard.create_typing_indicator(typing)::text),
    jsonb_build_object('type', 'typing_indicator', 'payload', jsonb_build_object('isTyping', typing)), 'typing_indicator ' || typing)
  from unnest(array[true, false]) as typing;
select is(pg_temp.body(switchboard.create_error('RATE_LIMIT_EXCEEDED', 'Slow down', true, 7)::text),
    '{"type": "error", "payload": {"code": "RATE_LIMIT_EXCEEDED", "message": "Slow down", "retryable": true, "retryAfter": 7}}'::jsonb,
    'error with retryAfter');
select is(pg_temp.body(switchboard.create_error('INVALID_ACTION', 'No', false)::text),
    '{"type": "error", "payload": {"code": "INVALID_ACTION", "message": "No", "retryable": false}}'::jsonb, 'error without');
select is(pg_temp.body(switchboard.create_system('Hello')::text),
    '{"type": "system", "payload": {"message": "Hello", "level": "info"}}'::jsonb, 'system');
select is(switchboard.create_system('Hello', level) #>> '{payload,level}', level, 'system ' || level)
  from unnest(array['info', 'warning', 'error']) as level;
select throws_ok($$ select switchboard.create_system('Hello', 'fatal') $$, '22023', 'not a level: fatal', 'no other level');
select throws_ok($$ select switchboard.create_system('Hello', null) $$, '22023', null, 'and not none');
select ok(pg_temp.is_now(message::text), message ->> 'type' || ' has the time in milliseconds')
  from unnest(array[switchboard.create_chat_response('m', 'c', true), switchboard.create_typing_indicator(true),
                    switchboard.create_error('c', 'm', true), switchboard.create_system('m')]) as message;

-- ---- senders ----
select from pg_temp.connect('a', null, '{}', '{"userId": "u1"}');
select from pg_temp.connect('b', null, '{}', '{"userId": "u1"}');
select count(*) from pg_temp.published();
select is(switchboard.send_message('a', '{"n": 1}'), true, 'send_message() to a live connection');
select is(switchboard.send_message('gone', '{"n": 1}'), false, 'to one that is gone');
select is(switchboard.broadcast_to_user('u1', '{"n": 2}'), 2, 'broadcast_to_user() counts connections');
select is(switchboard.broadcast_to_user('nobody', '{"n": 3}'), 0, 'of nobody there are none');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('connection', 'a', '{"n": 1}'), ('user', 'u1', '{"n": 2}'), ('user', 'nobody', '{"n": 3}') $$, 'they are published');
select isnt(switchboard.publish('t', '{"n": 4}', 'a'), null, 'publishing to all of a topic but one');
select results_eq('select kind, target, payload, except_connection from pg_temp.published()',
    $$ values ('topic', 't', '{"n": 4}', 'a') $$, 'names that one in the log');

-- ---- audit ----
select results_eq($$ select kind, target, payload::jsonb, except_connection from switchboard.audit('login', '{"userId": "u1"}') $$,
    $$ values ('audit', null::text, '{"action": "login", "userId": "u1"}'::jsonb, null::text) $$, 'an audit row');
select results_eq($$ select payload::jsonb from switchboard.audit('login') $$, $$ values ('{"action": "login"}'::jsonb) $$, 'without details');

select * from finish();
rollback;
