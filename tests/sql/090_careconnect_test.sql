-- SPDX-License-Identifier: Apache-2.0
-- The profile careconnect: every row of its table, to the letter.
begin;
\ir lib/helpers.sql
select plan(80);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');

-- What one message makes the gateway send to its sender, without the time; nothing is the empty set.
create function pg_temp.says(id text, body text, token jsonb default null)
returns setof jsonb
language sql as $$
    select pg_temp.body(m.payload) from pg_temp.message(id, body, token) as m where m.kind = 'reply';
$$;

-- ---- $connect ----
select results_eq(
    $$ select event_index, kind, payload::jsonb
         from pg_temp.connect('ann', '{"email": " Ann@Example.com", "type": "email-verification"}') $$,
    $$ values (0, 'accept', null::jsonb),
              (0, 'reply', '{"type": "connection-established",
                             "message": "Connected to CareConnect real-time service", "sessionId": "ann"}'::jsonb) $$,
    'a client is greeted');
select results_eq($$ select user_email, subscription_type, user_id, metadata from pg_temp.connection('ann') $$,
    $$ values ('ann@example.com', 'email-verification', null::text, '{}'::jsonb) $$, 'what it said is in the row');
select results_eq($$ select kind from pg_temp.connect('plain') $$, $$ values ('accept'), ('reply') $$, 'both parameters are optional');
select results_eq($$ select user_email, subscription_type from pg_temp.connection('plain') $$,
    $$ values (null::text, null::text) $$, 'and then unknown');
select results_eq($$ select kind from pg_temp.connect('x1', '{"type": "authenticated"}') $$, $$ values ('accept'), ('reply') $$, 'type authenticated');
select results_eq($$ select kind from pg_temp.connect('x2', '{"type": "notifications"}') $$, $$ values ('accept'), ('reply') $$, 'type notifications');
select results_eq($$ select kind from pg_temp.connect('x3', '{"type": "", "email": ""}') $$, $$ values ('accept'), ('reply') $$, 'empty is absent');
select is((select user_email from pg_temp.connection('x3')), null, 'an empty address is none');
select results_eq($$ select kind, target, payload from pg_temp.connect('x4', '{"type": "Notifications"}') $$,
    $$ values ('refuse', '400', '{"message": "Unknown subscription type"}') $$, 'an unknown type is refused with 400');
select is_empty($$ select from pg_temp.connection('x4') $$, 'and not registered');

-- ---- heartbeat ----
select results_eq($$ select pg_temp.says('plain', '{"type": "heartbeat"}') $$,
    $$ values ('{"type": "heartbeat-response"}'::jsonb) $$, 'heartbeat');
select ok((select pg_temp.is_now(payload) from pg_temp.message('plain', '{"type": "heartbeat"}')), 'with the time');

-- ---- subscribe-email-verification ----
select results_eq($$ select pg_temp.says('plain', '{"type": "subscribe-email-verification", "email": "Bob@Example.com"}') $$,
    $$ values ('{"type": "email-verification-subscription-confirmed", "email": "Bob@Example.com",
                 "message": "Subscribed to email verification notifications"}'::jsonb) $$,
    'the address comes back as it was written');
select ok((select pg_temp.is_now(payload)
             from pg_temp.message('plain', '{"type": "subscribe-email-verification", "email": "b@x.org"}')), 'with the time');
select results_eq($$ select user_email, subscription_type from pg_temp.connection('plain') $$,
    $$ values ('b@x.org', 'email-verification') $$, 'the last address counts, in lower case');
select results_eq(format('select pg_temp.says(''plain'', %L)', body),
    $$ values ('{"type": "error", "message": "Email is required for email verification subscription"}'::jsonb) $$,
    'no address: ' || body)
  from unnest(array['{"type": "subscribe-email-verification"}', '{"type": "subscribe-email-verification", "email": ""}',
                    '{"type": "subscribe-email-verification", "email": "  "}',
                    '{"type": "subscribe-email-verification", "email": null}']) as body;
select ok((select pg_temp.is_now(payload) from pg_temp.message('plain', '{"type": "subscribe-email-verification"}')),
    'errors have the time');
select is((select user_email from pg_temp.connection('plain')), 'b@x.org', 'and change nothing');
select count(*) from pg_temp.published();
select is(switchboard.notify_email_verified('B@X.org'), true, 'when the address is verified');
select results_eq('select kind, target, pg_temp.body(payload) from pg_temp.published()',
    $$ values ('connection', 'plain', '{"type": "email-verified", "email": "b@x.org", "verified": true,
                "message": "Your email has been verified successfully!"}'::jsonb) $$, 'the client is told');
select is((select is_active from pg_temp.connection('plain')), false, 'and deregistered');
select isnt_empty($$ select pg_temp.says('plain', '{"type": "subscribe-email-verification", "email": "b@x.org"}') $$,
    'the open socket may subscribe again');
select is(switchboard.notify_email_verified('b@x.org'), true, 'and is told again');
-- From a route: somebody else's message verifies the address.
create schema app;
create function app.verified(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select * from switchboard.reply(to_jsonb(switchboard.notify_email_verified(event.body ->> 'email'))) $$;
select isnt_empty($$ select pg_temp.says('plain', '{"type": "subscribe-email-verification", "email": "b@x.org"}') $$, 'once more');
select results_eq($$ select kind, payload from pg_temp.message('ann', '{"email": "b@x.org"}', null, '{app,careconnect}', 'verified') $$,
    $$ values ('reply', 'true'), ('published', null) $$, 'a route can verify an address');

-- ---- authenticate ----
select from pg_temp.connect('nurse', '{"type": "notifications"}');
select count(*) from pg_temp.published();
select results_eq($$ select kind, target, payload::jsonb from pg_temp.message('nurse', '{"type": "authenticate", "token": "bad"}') $$,
    $$ values ('reply', null, '{"type": "authentication-failed", "message": "Invalid or missing token"}'::jsonb),
              ('close', 'nurse', '{"code": 1008, "reason": "Authentication failed"}'::jsonb) $$,
    'a bad token: told and closed');
select results_eq($$ select kind from pg_temp.message('nurse', '{"type": "authenticate"}') $$, $$ values ('reply'), ('close') $$, 'no token');
select results_eq($$ select kind from pg_temp.message('nurse', '{"type": "authenticate"}', '{"role": "x"}') $$, $$ values ('reply'), ('close') $$,
    'a token that names nobody');
select is((select user_id from pg_temp.connection('nurse')), null, 'nobody is authenticated by that');
select results_eq(
    $$ select pg_temp.says('nurse', '{"type": "authenticate", "token": "good"}',
           '{"userId": "n1", "userEmail": "N1@Example.com", "userRole": "NURSE", "username": "Nora"}') $$,
    $$ values ('{"type": "authentication-success", "userId": "n1", "userEmail": "N1@Example.com", "userRole": "NURSE"}'::jsonb) $$,
    'a good token');
select results_eq($$ select user_id, user_email, user_name, subscription_type, claims ->> 'userRole' from pg_temp.connection('nurse') $$,
    $$ values ('n1', 'n1@example.com', 'Nora', 'authenticated', 'NURSE') $$, 'the connection has a user');
select results_eq('select kind, target, payload from pg_temp.published()', $$ values ('subscribe', 'nurse', 'user:n1') $$,
    'and gets what is sent to that user');
select from pg_temp.connect('patient');
select results_eq(
    $$ select pg_temp.says('patient', '{"type": "authenticate"}', '{"sub": "p1", "email": "p@x.org", "role": "PATIENT", "name": "Pat"}') $$,
    $$ values ('{"type": "authentication-success", "userId": "p1", "userEmail": "p@x.org", "userRole": "PATIENT"}'::jsonb) $$,
    'the other names of the claims');
select is((select user_name from pg_temp.connection('patient')), 'Pat', 'the name too');
select results_eq($$ select pg_temp.says('ann', '{"type": "authenticate"}', '{"sub": "a1"}') $$,
    $$ values ('{"type": "authentication-success", "userId": "a1", "userEmail": null, "userRole": null}'::jsonb) $$,
    'claims that are missing are null');
select results_eq($$ select subscription_type, user_email from pg_temp.connection('ann') $$,
    $$ values ('email-verification', 'ann@example.com') $$, 'who waits for a verification goes on waiting');

-- ---- subscribe-to-updates ----
select from pg_temp.connect('stranger');
select results_eq($$ select pg_temp.says('stranger', '{"type": "subscribe-to-updates", "updateTypes": ["a"]}') $$,
    $$ values ('{"type": "error", "message": "User not authenticated"}'::jsonb) $$, 'updates need a user');
select count(*) from pg_temp.published();
select results_eq($$ select pg_temp.says('nurse', '{"type": "subscribe-to-updates", "updateTypes": ["vitals", "mood", "vitals"]}') $$,
    $$ values ('{"type": "subscription-confirmed", "userId": "n1", "subscribedTo": ["vitals", "mood"]}'::jsonb) $$,
    'updates, each once');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('subscribe', 'nurse', 'updates:vitals'), ('subscribe', 'nurse', 'updates:mood') $$, 'are topics');
select is((select metadata from pg_temp.connection('nurse')), '{"updateTypes": ["vitals", "mood"]}'::jsonb, 'and in the metadata');
select results_eq($$ select pg_temp.says('nurse', '{"type": "subscribe-to-updates", "updateTypes": ["mood", "sleep"]}') $$,
    $$ values ('{"type": "subscription-confirmed", "userId": "n1", "subscribedTo": ["mood", "sleep"]}'::jsonb) $$, 'others later');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('unsubscribe', 'nurse', 'updates:vitals'), ('subscribe', 'nurse', 'updates:sleep') $$, 'replace the former');
select results_eq(format('select pg_temp.says(''patient'', %L)', body),
    $$ values ('{"type": "subscription-confirmed", "userId": "p1", "subscribedTo": ["all"]}'::jsonb) $$, 'all: ' || body)
  from unnest(array['{"type": "subscribe-to-updates"}', '{"type": "subscribe-to-updates", "updateTypes": []}',
                    '{"type": "subscribe-to-updates", "updateTypes": "x"}',
                    '{"type": "subscribe-to-updates", "updateTypes": [null, "", 5]}']) as body;
select is((select array_agg(topic) from switchboard.websocket_subscriptions where connection_id = 'patient'), array['updates:all'],
    'all is a topic of its own');
select results_eq(
    format('select pg_temp.says(''patient'', %L)',
           jsonb_build_object('type', 'subscribe-to-updates', 'updateTypes', (select jsonb_agg('t' || n) from generate_series(1, 101) as n))),
    $$ values ('{"type": "error", "message": "Too many update types"}'::jsonb) $$, 'not any number of them');

-- ---- ai-chat-notification ----
select count(*) from pg_temp.published();
select results_eq(
    $$ select kind from pg_temp.message('nurse', '{"type": "ai-chat-notification", "targetUserId": "p1", "message": "Hi", "conversationId": 7}') $$,
    $$ values ('published') $$, 'ai-chat-notification is published');
select payload as frame, target as frame_target, kind as frame_kind from pg_temp.published() \gset
select is(array[:'frame_kind', :'frame_target'], array['user', 'p1'], 'to the target user');
select is(pg_temp.body(:'frame'), '{"type": "ai-chat-response", "fromUserId": "n1", "fromUserName": "Nora", "conversationId": 7,
    "message": "Hi"}'::jsonb, 'word for word');
select ok(pg_temp.is_now(:'frame'), 'with the time');
select results_eq(format('select pg_temp.says(%L, %L)', id, body), format('values (jsonb_build_object(''type'', ''error'', ''message'', %L))', message), message)
  from (values ('stranger', '{"type": "ai-chat-notification", "targetUserId": "p1", "message": "Hi"}', 'User not authenticated'),
               ('nurse', '{"type": "ai-chat-notification", "message": "Hi"}', 'Target user ID is required'),
               ('nurse', '{"type": "ai-chat-notification", "targetUserId": "p1"}', 'Message is required'),
               ('stranger', '{"type": "medication-reminder", "patientId": "p1", "medicationName": "x"}', 'User not authenticated'),
               ('nurse', '{"type": "medication-reminder", "medicationName": "x"}', 'Patient ID is required'),
               ('nurse', '{"type": "medication-reminder", "patientId": "p1"}', 'Medication name is required')) as v (id, body, message);
select is_empty('select from pg_temp.published()', 'errors publish nothing');
select is_empty($$ select pg_temp.says('nurse', '{"type": "ai-chat-notification", "targetUserId": 99, "message": "Hi"}') $$,
    'a target that is a number, and offline: not an error');
select is((select target from pg_temp.published()), '99', 'is a user like any other');

-- ---- medication-reminder ----
select results_eq(
    $$ select kind from pg_temp.message('nurse', '{"type": "medication-reminder", "patientId": "p1", "medicationName": "Aspirin", "reminderTime": "08:00"}') $$,
    $$ values ('published') $$, 'medication-reminder is published');
select payload as frame, target as frame_target, kind as frame_kind from pg_temp.published() \gset
select is(array[:'frame_kind', :'frame_target'], array['user', 'p1'], 'to the patient');
select is(pg_temp.body(:'frame'), '{"type": "medication-reminder", "medicationName": "Aspirin", "reminderTime": "08:00",
    "message": "Time to take your Aspirin"}'::jsonb, 'word for word');
select ok(pg_temp.is_now(:'frame'), 'with the time');

-- ---- anything else ----
select results_eq(format('select pg_temp.says(''nurse'', %L)', body), format('values (jsonb_build_object(''type'', ''error'', ''message'', %L))', message), body)
  from (values ('{"type": "nonsense"}', 'Unknown message type: nonsense'),
               ('{}', 'Unknown message type: null'),
               ('[1]', 'Unknown message type: null'),
               ('5', 'Unknown message type: null'),
               ('null', 'Unknown message type: null'),
               ('{"type": 5}', 'Unknown message type: 5'),
               ('not json', 'Invalid JSON format'),
               ('', 'Invalid JSON format'),
               ('{"type": "heartbeat"', 'Invalid JSON format')) as v (body, message);
select ok((select pg_temp.is_now(payload) from pg_temp.message('nurse', 'not json')), 'with the time');

-- ---- $disconnect ----
select is_empty($$ select * from pg_temp.disconnect('nurse') $$, 'leaving is quiet');
select results_eq($$ select is_active, disconnect_code, user_id from pg_temp.connection('nurse') $$,
    $$ values (false, 1000, 'n1') $$, 'and only deactivates');

select * from finish();
rollback;
