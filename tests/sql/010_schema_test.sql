-- SPDX-License-Identifier: Apache-2.0
-- Everything is commented; the service and applications may execute their API and nothing else.
begin;
\ir lib/helpers.sql
select plan(30);

select is_empty(
    $$ select p.oid::regprocedure
         from pg_proc as p
        where p.pronamespace in ('switchboard'::regnamespace, 'careconnect'::regnamespace, 'broadcast'::regnamespace,
                                 'chat'::regnamespace, 'chatbot'::regnamespace)
          and obj_description(p.oid, 'pg_proc') is null $$,
    'every function has a comment');
select is_empty(
    $$ select c.oid::regclass
         from pg_class as c
        where c.relnamespace = 'switchboard'::regnamespace
          and (c.relkind in ('p', 'v') or c.relkind = 'r' and not c.relispartition)
          and obj_description(c.oid, 'pg_class') is null $$,
    'every table and view has a comment');
select is_empty(
    $$ select t.oid::regtype
         from pg_type as t
         join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
        where t.typnamespace = 'switchboard'::regnamespace
          and coalesce(obj_description(t.oid, 'pg_type'), obj_description(c.oid, 'pg_class')) is null $$,
    'every type has a comment');
select is_empty(
    $$ select n.nspname
         from pg_namespace as n
        where n.nspname in ('switchboard', 'careconnect', 'broadcast', 'chat', 'chatbot')
          and obj_description(n.oid, 'pg_namespace') is null $$,
    'every schema has a comment');
select is_empty(
    $$ select p.oid::regprocedure
         from pg_proc as p
        where p.pronamespace = 'switchboard'::regnamespace
          and p.prosecdef
          and not coalesce(p.proconfig, '{}') @> array['search_path=""']
          -- Qualifies everything instead: see 040_publish_test.sql.
          and p.oid <> 'switchboard.publish(text, jsonb)'::regprocedure $$,
    'every security definer function pins its search_path');

-- ---- privileges ----
select is_empty(
    $$ select p.oid::regprocedure
         from pg_proc as p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        where p.pronamespace in ('switchboard'::regnamespace, 'careconnect'::regnamespace, 'broadcast'::regnamespace,
                                 'chat'::regnamespace, 'chatbot'::regnamespace)
          and a.grantee = 0 $$,
    'nothing may be executed by everybody');
select is_empty(
    $$ select c.oid::regclass, r.rolname
         from pg_class as c, pg_roles as r
        where c.relnamespace = 'switchboard'::regnamespace
          and c.relkind in ('r', 'p', 'v', 'S')
          and r.rolname in ('switchboard_service', 'switchboard_app')
          and has_table_privilege(r.oid, c.oid,
                                  'select, insert, update, delete, truncate, references, trigger') $$,
    'neither role may touch a table, view or sequence');
select is_empty(
    $$ select p.oid::regprocedure
         from pg_proc as p
        where p.pronamespace = 'switchboard'::regnamespace
          and obj_description(p.oid, 'pg_proc') like 'Internal%'
          and has_function_privilege('switchboard_service', p.oid, 'execute') $$,
    'internal functions are not granted');
select set_eq(
    $$ select p.proname::text
         from pg_proc as p
        where p.pronamespace = 'switchboard'::regnamespace
          and has_function_privilege('switchboard_service', p.oid, 'execute')
          and not has_function_privilege('switchboard_app', p.oid, 'execute') $$,
    array['claim_messages', 'cleanup_connections', 'cleanup_nodes', 'deregister_connections', 'finish_messages',
          'follow_messages', 'forget_connections', 'handle_error', 'handle_message', 'handle_messages', 'heartbeat_node', 'leave_node', 'list_connections',
          'maintain_partitions', 'profile_settings', 'read_resume', 'read_topics', 'register_connections', 'register_node',
          'relay_deliveries', 'release_messages', 'restore_connections', 'route_table', 'send_request', 'sequence_messages',
          'take_message_tokens', 'touch_connections'],
    'what only the service may execute');
select is(has_schema_privilege('switchboard_service', profile, 'usage'), false,
    profile || ': a profile is reached through the service only')
  from unnest(array['careconnect', 'broadcast', 'chat', 'chatbot']) as profile;
select is(has_schema_privilege('switchboard_app', 'switchboard', 'create'), false,
    'applications create nothing in the schema');

-- ---- as the service ----
set local role switchboard_service;
select lives_ok($$ select * from switchboard.register_node('s', 's', 'http://s', 60000) $$,
    'the service registers its node');
select lives_ok(
    $$ select * from switchboard.register_connections('{careconnect}', 's', 'http://s', 60000,
       '[{"requestContext": {"connectionId": "service-1", "stage": "dev", "connectedAt": 1}}]') $$,
    'the service registers a connection');
select lives_ok(
    $$ select * from switchboard.handle_message('{careconnect}', '$default', 'service-1', 'r', 'm', 'dev',
       '::1', 'ua', 1, '{"type": "authenticate"}', '{"sub": "ann"}') $$,
    'the service runs a route that writes');
select lives_ok($$ select * from switchboard.follow_messages(0, '2020-01-01', 10) $$,
    'the service sequences and reads the log');
select lives_ok($$ select switchboard.publish('t', '1') $$, 'the service publishes');
select lives_ok($$ select * from switchboard.maintain_partitions(5, 7) $$,
    'the service makes partitions, though it owns nothing');
select throws_ok($$ select * from switchboard.websocket_connections $$, '42501', null,
    'the service cannot read the connections table');
select throws_ok($$ delete from switchboard.websocket_messages $$, '42501', null,
    'the service cannot write the log');
select throws_ok($$ select * from switchboard.live_connections $$, '42501', null,
    'the views are not for the service');
select throws_ok($$ select switchboard.outbox_add('all', null, 'x') $$, '42501', null,
    'the service cannot call internal functions');
select throws_ok($$ select careconnect."$default"(null) $$, '42501', null,
    'the service cannot call routes past the dispatcher');

-- ---- as an application ----
set local role switchboard_app;
select is(switchboard.send_to_user('ann', '{"n": 1}'), 1, 'an application sends to a user');
select is(switchboard.notify_email_verified('nobody@example.com'), false,
    'an application notifies');
select throws_ok($$ select * from switchboard.follow_messages(0, '2020-01-01', 10) $$, '42501', null,
    'an application cannot read what others published');
select throws_ok($$ select * from switchboard.handle_message('{}', '', '', '', '', '', '', '', 0, '', null) $$,
    '42501', null, 'an application cannot impersonate a connection');
select throws_ok($$ insert into switchboard.websocket_outbox (kind, payload) values ('all', 'x') $$,
    '42501', null, 'an application cannot write the outbox past publish()');

select * from finish();
rollback;
