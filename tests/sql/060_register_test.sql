-- SPDX-License-Identifier: Apache-2.0
-- Registering, with and without a $connect route; restoring after an outage.
begin;
\ir lib/helpers.sql
select plan(46);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
select count(*) from pg_temp.published();

-- ---- without a route ----
select results_eq(
    $$ select * from switchboard.register_connections('{}', 'test-node', 'http://e', 60000, jsonb_build_array(
           pg_temp.connect_event('plain-0'), pg_temp.connect_event('plain-1'))) $$,
    $$ values (0, 'accept', null::text, null::text, null::text), (1, 'accept', null, null, null) $$,
    'without a $connect route all are accepted');
select results_eq(
    $$ select connection_type, api_gateway_endpoint, node_id, stage, source_ip, user_agent, metadata,
              extract(epoch from connected_at) * 1000, last_activity_at = now(),
              expires_at = now() + interval '60 s', is_active, user_id
         from pg_temp.connection('plain-1') $$,
    $$ values ('local', 'http://e', 'test-node', 'dev', '203.0.113.7', 'tests', '{}'::jsonb,
               1790295166108.0, true, true, true, null::text) $$,
    'the row has what the event says');
select results_eq(
    $$ select kind from switchboard.register_connections('{}', 'test-node', 'other', 60000, jsonb_build_array(
           pg_temp.connect_event('plain-0'))) $$,
    $$ values ('accept') $$, 'registering again is no error');
select is((select api_gateway_endpoint from pg_temp.connection('plain-0')), 'http://e', 'and changes nothing');
select is_empty($$ select * from switchboard.register_connections('{}', 'test-node', 'e', 60000, '[]') $$,
    'nothing to register');
select is_empty($$ select * from switchboard.register_connections('{careconnect}', 'test-node', 'e', 60000, '[]') $$,
    'nothing to register with a route');
select from switchboard.register_connections('{}', null, 'https://aws', 60000,
                                             jsonb_build_array(pg_temp.connect_event('aws')));
select is((select connection_type from pg_temp.connection('aws')), 'aws', 'no node: API Gateway holds it');
select results_eq('select kind, target, payload from pg_temp.published()', $$ values ('subscribe', 'aws', '*') $$,
    'connections without a user publish nothing, but for the place in the log of one without a node');
select results_eq(
    $$ select event_index, kind from pg_temp.connect('auth', null, '{}',
           '{"userId": "u7", "email": "Seven@X.org", "username": "Seven"}') $$,
    $$ values (0, 'accept'), (-1, 'published') $$, 'with an authorizer');
select results_eq(
    $$ select user_id, user_email, user_name, claims ->> 'userId' from pg_temp.connection('auth') $$,
    $$ values ('u7', 'seven@x.org', 'Seven', 'u7') $$, 'its claims say who it is');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('subscribe', 'auth', 'user:u7') $$, 'and the node is told');
select from pg_temp.connect('sub', null, '{}', '{"sub": "s1"}');
select is((select user_id from pg_temp.connection('sub')), 's1', 'sub will do for a user id');
select count(*) from pg_temp.published();
select throws_ok(
    $$ select * from switchboard.register_connections('{}', 'n', 'e', 1, '[{"requestContext": {}}]') $$,
    '23502', null, 'an event without a connection id is an error');

-- ---- a route of our own ----
create schema app;
create table app.seen (connection_id text, event switchboard.event);
create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    insert into seen values (event.connection_id, event); -- found by search_path
    perform publish('connects', to_jsonb(event.connection_id));
    perform subscribe(event.connection_id, 'lobby');
    case event.query ->> 'do'
        when 'refuse' then raise exception 'no entry' using errcode = 'SB401';
        when 'teapot' then raise exception 'short and stout' using errcode = 'SB418';
        when 'odd' then raise exception 'not a status' using errcode = 'SB777';
        when 'fail' then perform 1 / (length(event.connection_id) - length(event.connection_id));
        when 'quiet' then return;
        when 'twice' then
            return next accept(user_id => 'first');
            return next accept(user_id => 'second', user_email => ' TWICE@x.org ', user_name => 'Two',
                               subscription_type => 'kind', metadata => '{"k": "v"}',
                               subprotocol => 'chat.v1', ttl_seconds => 5);
        else null;
    end case;
    return next reply('"welcome"');
    return next to_all('"somebody came"', event.connection_id);
end;
$$;
create function pg_temp.batch(variadic actions text[]) returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.register_connections('{app}', 'test-node', 'http://e', 60000, (
               select jsonb_agg(pg_temp.connect_event('c' || n || '-' || a.action,
                                                      jsonb_build_object('do', a.action)) order by n)
                 from unnest(actions) with ordinality as a (action, n)));
$$;
select set_eq(
    $$ select event_index, kind, target, payload, except_connection from pg_temp.batch('go', 'go') $$,
    $$ values (0, 'accept', null::text, null::text, null::text), (0, 'reply', null, '"welcome"', null),
              (0, 'all', null, '"somebody came"', 'c1-go'),
              (1, 'accept', null, null, null), (1, 'reply', null, '"welcome"', null),
              (1, 'all', null, '"somebody came"', 'c2-go'), (-1, 'published', null, null, null) $$,
    'a batch that goes well');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('topic', 'connects', '"c1-go"'), ('subscribe', 'c1-go', 'lobby'),
              ('topic', 'connects', '"c2-go"'), ('subscribe', 'c2-go', 'lobby') $$,
    'what the routes published');
delete from app.seen;
select set_eq(
    $$ select event_index, kind, target, payload
         from pg_temp.batch('refuse', 'fine', 'fail', 'teapot', 'odd')
        where kind in ('accept', 'refuse', 'error') $$,
    $$ values (0, 'refuse', '401', 'no entry'), (1, 'accept', null, null), (2, 'error', '22012', 'division by zero'),
              (3, 'refuse', '418', 'short and stout'), (4, 'error', 'SB777', 'not a status') $$,
    'an error in one touches only that one');
select set_eq('select connection_id from app.seen', array['c2-fine'],
    'what the others had written is undone, and nothing ran twice');
select set_eq($$ select connection_id from switchboard.websocket_connections where connection_id ~ '^c[1-5]-[^g]' $$,
    array['c2-fine'], 'only the accepted one has a row');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('topic', 'connects', '"c2-fine"'), ('subscribe', 'c2-fine', 'lobby') $$,
    'and only it has published');
select set_eq($$ select connection_id from switchboard.websocket_subscriptions where connection_id ~ '^c' $$,
    array['c1-go', 'c2-go', 'c2-fine'], 'subscribing in "$connect" works, before there is a row');
select results_eq($$ select kind, target, payload from pg_temp.batch('refuse') $$,
    $$ values ('refuse', '401', 'no entry') $$, 'a batch of one that is refused');
select is_empty('select from pg_temp.published()', 'publishes nothing');
select set_eq($$ select event_index, kind from pg_temp.batch('quiet') $$,
    $$ values (0, 'accept'), (-1, 'published') $$, 'a route that returns nothing accepts');
select set_eq($$ select event_index, kind, payload::jsonb from pg_temp.batch('twice') where kind <> 'all' $$,
    $$ values (0, 'accept', '{"subprotocol": "chat.v1"}'::jsonb), (0, 'reply', '"welcome"'), (-1, 'published', null) $$,
    'a subprotocol');
select results_eq(
    $$ select user_id, user_email, user_name, subscription_type, metadata, expires_at = now() + interval '5 s'
         from pg_temp.connection('c1-twice') $$,
    $$ values ('second', 'twice@x.org', 'Two', 'kind', '{"k": "v"}'::jsonb, true) $$,
    'the last accept() says what the row gets');
select is((select array_agg(payload) from pg_temp.published() where kind = 'subscribe' and payload like 'user:%'),
    array['user:second'], 'and whose messages it gets');
select results_eq(
    $$ select (event).event_type, (event).route_key, (event).connection_id, (event).request_id, (event).query,
              (event).headers, (event).stage, (event).source_ip, (event).user_agent, (event).body,
              extract(epoch from (event).connected_at) * 1000
         from app.seen where connection_id = 'c1-twice' $$,
    $$ values ('CONNECT', '$connect', 'c1-twice', 'request-c1-twice', '{"do": "twice"}'::jsonb,
               '{"Host": "ws.example.com"}'::jsonb, 'dev', '203.0.113.7', 'tests', null::jsonb, 1790295166108.0) $$,
    'the event that a route sees');
select is(current_setting('search_path'), '"$user", public', 'the search_path is as before');
select is(current_setting('switchboard.is_registering'), 'off', 'registering is over');
select isnt(current_setting('switchboard.wake'), 'event', 'so is the event');

-- The first schema that has the route wins; what is no route is passed over.
create schema other;
create function other."$connect"(event switchboard.event) returns text language sql as $$ select 'no' $$;
select is((select count(*) from pg_temp.connect('w1', null, '{other,careconnect}') where payload like '%CareConnect%'),
    1::bigint, 'a function with another result is no route');
select is((select count(*) from pg_temp.connect('w2', null, '{missing,other,app,careconnect}') where payload = '"welcome"'),
    1::bigint, 'the first schema wins, one that does not exist is passed over');

-- A big batch.
select is((select count(*)
             from switchboard.register_connections('{careconnect}', 'test-node', 'e', 60000, (
                      select jsonb_agg(pg_temp.connect_event('big-' || n)) from generate_series(1, 1000) as n))
            where kind = 'accept'), 1000::bigint, 'a thousand at once');
select is((select count(*) from switchboard.live_connections where connection_id like 'big-%'), 1000::bigint,
    'are all there');

-- A cancelled query is nobody's error: the whole call ends.
create or replace function app."$connect"(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$ begin raise exception 'cancelled' using errcode = '57014'; end; $$;
create function pg_temp.is_cancelled(query text) returns boolean language plpgsql as $$
begin
    execute query;
    return false;
exception
    when query_canceled then -- "others" does not catch it
        return true;
end;
$$;
select ok(pg_temp.is_cancelled($$ select * from pg_temp.batch('a', 'b') $$),
    'a cancelled batch ends as a whole');

-- ---- restoring ----
select count(*) from pg_temp.published();
select from pg_temp.node('test-node');
update switchboard.websocket_connections
   set is_active = false, disconnect_code = 1006, disconnect_reason = 'Node lease expired', disconnected_at = now(),
       user_id = 'keeps'
 where connection_id = 'plain-0';
select from pg_temp.disconnect('plain-1');
select is(switchboard.restore_connections('test-node', 'http://new', 60000, '[
    {"connectionId": "plain-0", "stage": "dev", "sourceIp": "::1", "userAgent": null, "connectedAt": 1000, "topics": ["t", "user:keeps"]},
    {"connectionId": "plain-1", "stage": "dev", "sourceIp": "::1", "userAgent": null, "connectedAt": 1000, "topics": ["t"]},
    {"connectionId": "aws", "stage": "dev", "sourceIp": "::1", "userAgent": "ua", "connectedAt": 1000, "topics": []},
    {"connectionId": "lost", "stage": "dev", "sourceIp": "::1", "userAgent": "ua", "connectedAt": 1000, "topics": ["t"]}]'),
    2, 'restored: the one taken for dead and the one that was missing');
select results_eq($$ select is_active, user_id, disconnect_code, api_gateway_endpoint from pg_temp.connection('plain-0') $$,
    $$ values (true, 'keeps', null::integer, 'http://new') $$, 'the one taken for dead is back');
select is((select is_active from pg_temp.connection('plain-1')), false, 'a closed one stays closed');
select is((select connection_type from pg_temp.connection('aws')), 'aws', 'an active one is left alone');
select results_eq($$ select is_active, node_id, source_ip, user_agent, extract(epoch from connected_at)
                       from pg_temp.connection('lost') $$,
    $$ values (true, 'test-node', '::1', 'ua', 1.0) $$, 'the missing one is there');
select set_eq($$ select topic, connection_id from switchboard.websocket_subscriptions where topic in ('t', 'user:keeps') $$,
    $$ values ('t', 'plain-0'), ('t', 'lost') $$, 'with their topics, but for those of users, which are no rows');
select is_empty('select from pg_temp.published()', 'the node knows all that already');
select is(switchboard.restore_connections('test-node', 'http://new', 60000, '[]'), 0, 'nothing to restore');
select is(switchboard.restore_connections('test-node', 'http://new', 60000,
    '[{"connectionId": "lost", "stage": "dev", "topics": ["t"]}]'), 0, 'twice is once');

-- ---- the table of routes ----
create function app.shout(event switchboard.event) returns switchboard.delivery
language sql as $$ select switchboard.reply('"!"') $$;
create function app.helper(event switchboard.event, more text) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"!"') $$;
create function app."$secret"(event switchboard.event) returns setof switchboard.delivery
language sql as $$ select switchboard.reply('"!"') $$;
select set_eq($$ select * from switchboard.route_table('{app,missing,careconnect}') $$,
    $$ values ('$connect', 'app', 'app."$connect"(switchboard.event)'), ('shout', 'app', 'app.shout(switchboard.event)'),
              ('$default', 'careconnect', 'careconnect."$default"(switchboard.event)'),
              ('$error', 'careconnect', 'careconnect."$error"(switchboard.event,text,text)'),
              ('resume', 'switchboard', 'switchboard.resume(switchboard.event)') $$,
    'route_table() says who handles what');
select set_eq($$ select route_key from switchboard.route_table('{}') $$, array['resume'], 'no schemas: only what is built in');

select * from finish();
rollback;
