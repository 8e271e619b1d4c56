-- SPDX-License-Identifier: Apache-2.0
-- The profile chatbot: every row of its table.
begin;
\ir lib/helpers.sql
select plan(42);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');

create function pg_temp.says(id text, body text, routes text[] default '{chatbot}')
returns table (kind text, frame jsonb)
language plpgsql as $$
declare
    key text := coalesce(switchboard.parse_json(body) ->> 'action', '$default');
    m switchboard.event_result;
    step text;
begin
    while key is not null loop -- as the gateway does it
        step := null;
        for m in select * from pg_temp.message(id, body, null, routes, key) loop
            if m.kind = 'then' then
                step := m.target;
            else
                kind := m.kind;
                frame := pg_temp.body(m.payload);
                return next;
            end if;
        end loop;
        key := step;
    end loop;
end;
$$;
create function pg_temp.ask(message text, session text default 's1', id text default 'a', routes text[] default '{chatbot}')
returns text[]
language sql as $$
    select array_agg(s.frame #>> '{payload,content}')
      from pg_temp.says(id, jsonb_build_object('action', 'chat_message', 'data',
                                               jsonb_build_object('message', message, 'sessionId', session))::text, routes) as s
     where s.frame ->> 'type' = 'chat_response';
$$;
create function pg_temp.error(id text, body text) returns jsonb language sql as $$
    select s.frame -> 'payload' from pg_temp.says(id, body) as s where s.frame ->> 'type' = 'error';
$$;

-- ---- $connect ----
select results_eq($$ select kind, payload::jsonb from pg_temp.connect('a', '{"token": "t"}', '{chatbot}',
                        '{"userId": "u1", "username": "Ann", "roles": "[\"admin\"]", "sessionId": "s0", "exp": "1"}') where kind <> 'published' $$,
    $$ values ('accept', null::jsonb), ('audit', '{"action": "connect", "userId": "u1", "connectionId": "a", "requestId": "request-a", "sourceIp": "203.0.113.7", "sessionId": "s0"}') $$,
    'an authenticated client is registered, and that is for the audit');
select results_eq($$ select user_id, user_name, metadata, claims ->> 'roles' from pg_temp.connection('a') $$,
    $$ values ('u1', 'Ann', '{"sessionId": "s0", "roles": ["admin"]}'::jsonb, '["admin"]') $$, 'with what the authorizer passed on');
select results_eq($$ select kind, target, payload from pg_temp.connect('x', null, '{chatbot}') $$,
    $$ values ('refuse', '401', '{"message":"Unauthorized"}') $$, 'nobody else gets in');
select is_empty($$ select from pg_temp.connection('x') $$, 'and nobody else is registered');
select results_eq($$ select metadata from pg_temp.connect('y', null, '{chatbot}', '{"sub": "u1", "roles": "not json"}') as c, pg_temp.connection('y') limit 1 $$,
    $$ values ('{"sessionId": null, "roles": []}'::jsonb) $$, 'roles may be missing');

-- ---- chat_message ----
select count(*) from pg_temp.published();
select results_eq($$ select * from pg_temp.says('a', '{"action": "chat_message", "data": {"message": "Hello", "sessionId": "s1"}}') $$,
    $$ values ('audit', '{"action": "chat_message", "userId": "u1", "connectionId": "a", "requestId": "request", "sourceIp": "203.0.113.7",
                          "sessionId": "s1", "messageId": "message", "characters": 5}'::jsonb),
              ('reply', '{"type": "typing_indicator", "payload": {"isTyping": true}}'),
              ('reply', '{"type": "chat_response", "payload": {"messageId": "message", "content": "You said: \"Hello\".", "isComplete": false}}'),
              ('reply', '{"type": "chat_response", "payload": {"messageId": "message", "content": "That is the first message of this session.", "isComplete": true}}'),
              ('reply', '{"type": "typing_indicator", "payload": {"isTyping": false}}'),
              ('published', null) $$, 'typing, the answer in parts of which the last is complete, typing no more');
select ok((select bool_and(pg_temp.is_now(payload)) from pg_temp.message('y', '{"data": {"message": "x"}}', null, '{chatbot}', 'chat_message') where kind = 'reply'),
    'all with the time');
select results_eq($$ select kind, target, pg_temp.body(payload) from pg_temp.published() where target = 'session:s1' $$,
    $$ values ('topic', 'session:s1', '{"type": "chat_message", "payload": {"messageId": "message", "content": "Hello"}, "userId": "u1", "connectionId": "a"}'::jsonb),
              ('topic', 'session:s1', '{"type": "chat_response", "userId": "u1", "connectionId": "a",
                 "payload": {"messageId": "message", "content": "You said: \"Hello\". That is the first message of this session.", "isComplete": true}}') $$,
    'both are in the history of the session');
select is_empty($$ select from switchboard.websocket_subscriptions where topic like 'session:%' $$, 'to which nobody subscribes');

-- ---- respond() ----
select is((pg_temp.ask('Again'))[2], 'Before that you said, in 1 message: "Hello".', 'the answer comes from the history');
select is((pg_temp.ask('And again'))[2], 'Before that you said, in 2 messages: "Hello", "Again".', 'also when it is not in the log yet');
select count(*) from pg_temp.published();
select is((pg_temp.ask('More'))[2], 'Before that you said, in 3 messages: "Hello", "Again", "And again".', 'and when it is');
select is((pg_temp.ask('Hello', 's2'))[2], 'That is the first message of this session.', 'another session knows nothing of it');
select from pg_temp.connect('b', null, '{chatbot}', '{"userId": "u2", "sessionId": "s1"}');
select is((pg_temp.ask('Hello', 's1', 'b'))[2], 'That is the first message of this session.', 'nor does another user who names the session');
select is((pg_temp.ask('Hello', null, 'b'))[2], 'Before that you said, in 1 message: "Hello".', 'without a name it is the session of the token');
select from pg_temp.connect('c', null, '{chatbot}', '{"userId": "u1"}');
select is((pg_temp.ask('Hello', null, 'c'))[2], 'That is the first message of this session.', 'else that of the connection');
select is((select array_agg(message ->> 'type') from chatbot.session_history(
               (select row (null, null, null, null, null, '{"data": {"sessionId": "s2"}}', null, null, null, null, 'u1', null, null, null, null, null,
                            null, null, null, null, null, null)::switchboard.event), 1)),
    array['chat_response'], 'so many of the newest');
create schema app;
create function app.respond(event switchboard.event) returns setof text
language sql as $$ values ('one'), (null), ('two'), (event.user_id) $$;
select is(pg_temp.ask('Hello', 's1', 'a', '{app,chatbot}'), array['one', 'two', 'u1'], 'a respond() in a schema in front answers');
select is((pg_temp.ask('Hello', 's9', 'a', '{chatbot,app}'))[2], 'That is the first message of this session.', 'not one behind');
create or replace function app.respond(event switchboard.event) returns setof text language sql as $$ select 'x' where false $$;
select results_eq($$ select kind, frame #> '{payload,isTyping}' from pg_temp.says('a', '{"action": "chat_message", "data": {"message": "Hello"}}', '{app,chatbot}') $$,
    $$ values ('audit', null), ('reply', 'true'::jsonb), ('published', null) $$, 'one that answers later leaves the typing on');
create or replace function app.respond(event switchboard.event) returns setof text language sql as $$ select (1 / 0)::text $$;
select throws_ok($$ select pg_temp.ask('Hello', 's1', 'a', '{app,chatbot}') $$, '22012', null, 'one that fails fails the message');

-- ---- errors ----
select is(pg_temp.error('a', body), '{"code": "INVALID_MESSAGE", "message": "Message content is required and must be a string.", "retryable": false}'::jsonb, body)
  from unnest(array['{"action": "chat_message"}', '{"action": "chat_message", "data": {}}', '{"action": "chat_message", "data": {"message": ""}}',
                    '{"action": "chat_message", "data": {"message": "  "}}', '{"action": "chat_message", "data": {"message": 5}}',
                    '{"action": "chat_message", "data": {"message": null}}', '{"action": "chat_message", "data": "Hello"}']) as body;
select is(pg_temp.error('a', body), jsonb_build_object('code', 'INVALID_ACTION', 'message', message, 'retryable', false), body)
  from (values ('{"action": "dance"}', 'Unknown action: dance'), ('{"action": "respond"}', 'Unknown action: respond'),
               ('{"action": "$connect"}', 'Unknown action: $connect'), ('{}', 'An action is required.'), ('[]', 'An action is required.'),
               ('not json', 'Invalid JSON format.')) as v (body, message);
select is((select frame ->> 'invalidAction' from pg_temp.says('a', '{"action": "dance"}') where kind = 'audit'), 'dance', 'for the audit too');
select is(pg_temp.error('stranger', '{"action": "chat_message", "data": {"message": "Hello"}}'),
    '{"code": "UNAUTHORIZED", "message": "Authentication is required. Please reconnect.", "retryable": true}'::jsonb, 'who is nobody has to reconnect');
select results_eq(format('select e.kind, pg_temp.body(e.payload) -> %L from switchboard.handle_error(%L, %L, %L, null, null, null, null, null, 0, %L, null, %L, %L) as e where e.kind = %L',
                         'payload', '{chatbot}', 'chat_message', 'a', '{}', code, message, 'reply'),
    format('values (%L, %L::jsonb)', 'reply', answer), code)
  from (values ('SB429', '2.5', '{"code": "RATE_LIMIT_EXCEEDED", "message": "Rate limit exceeded. Try again in 3 seconds.", "retryable": true, "retryAfter": 3}'),
               ('SB422', 'Not today', '{"code": "INVALID_MESSAGE", "message": "Not today", "retryable": false}'),
               ('XX000', 'secret', '{"code": "INTERNAL_ERROR", "message": "Internal server error", "retryable": true}')) as v (code, message, answer);
select results_eq($$ select e.kind, e.payload::jsonb ->> 'action' from switchboard.handle_error('{chatbot}', 'chat_message', 'a', null, null, null, null, null, 0, '{}', null, 'SB429', '1') as e $$,
    $$ values ('audit', 'rate_limited'), ('reply', null) $$, 'who is too fast is for the audit');

select results_eq($$ select pg_temp.body(e.payload) ->> 'type' from switchboard.handle_error('{chatbot}', '$then:answer', 'a', null, null, null, null, null, 0, '{}', null, 'XX000', 'secret') as e $$,
    $$ values ('error'), ('typing_indicator') $$, 'an answer that fails ends the typing');

-- ---- $disconnect ----
select results_eq($$ select kind, payload::jsonb - 'requestId' - 'sourceIp' from pg_temp.disconnect('a', 1001, 'away', '{chatbot}') $$,
    $$ values ('audit', '{"action": "disconnect", "userId": "u1", "connectionId": "a", "code": 1001, "reason": "away"}'::jsonb) $$, 'leaving is for the audit');

select * from finish();
rollback;
