-- SPDX-License-Identifier: Apache-2.0
-- What routes and applications do to connections.
begin;
\ir lib/helpers.sql
select plan(70);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
select from pg_temp.connect('a', '{"email": "Ann@Example.com", "type": "email-verification"}');
select from pg_temp.connect('b');
select from pg_temp.connect('expired');
update switchboard.websocket_connections set expires_at = now() where connection_id = 'expired';
select from pg_temp.connect('closed');
select from pg_temp.disconnect('closed');
select count(*) from pg_temp.published();

-- ---- who is live ----
select set_eq('select connection_id from switchboard.live_connections', array['a', 'b'],
    'live: active, not expired');
select is(switchboard.active_connection_count(), 2::bigint, 'active_connection_count()');
select is(switchboard.is_live('a'), true, 'is_live() of a live one');
select is(switchboard.is_live('closed'), false, 'of a closed one');
select is(switchboard.is_live('unknown'), false, 'of an unknown one');
select is(switchboard.is_live(null), false, 'of null');
insert into switchboard.websocket_connections (connection_id, connection_type, expires_at)
values ('on-aws', 'aws', now() + interval '1 h');
select is(switchboard.is_live('on-aws'), true, 'a connection that API Gateway holds needs no node');
select is((select array_agg(connection ->> 'connection_id') from switchboard.list_connections(2, null)),
    array['a', 'b'], 'list_connections() in order, at most so many');
select is((select array_agg(connection ->> 'connection_id') from switchboard.list_connections(10, 'a')),
    array['b', 'on-aws'], 'and from a place on');
select is((select connection ->> 'user_email' from switchboard.list_connections(1, null)), 'ann@example.com',
    'with what is known');

-- ---- sending ----
select is(switchboard.send_to_connection('a', '{"x": 1}'), true, 'send_to_connection() to a live one');
select is(switchboard.send_to_connection('closed', '{"x": 1}'), false, 'to a closed one');
select is(switchboard.send_to_connection('unknown', '{"x": 1}'), false, 'to an unknown one');
select is(switchboard.post_to_connection('a', 'not json'), true, 'post_to_connection() takes any text');
select is(switchboard.post_to_connection('expired', 'x'), false, 'but not to an expired one');
select is(switchboard.post_to_connection('a', ''), true, 'even none');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('connection', 'a', '{"x": 1}'), ('connection', 'a', 'not json'), ('connection', 'a', '') $$,
    'what was published of it');

-- ---- identifying ----
select is(switchboard.identify('a', user_id => 'ann', user_name => 'Ann', claims => '{"role": "nurse"}'), true,
    'identify()');
select results_eq(
    $$ select user_id, user_email, user_name, claims, subscription_type, metadata from pg_temp.connection('a') $$,
    $$ values ('ann', 'ann@example.com', 'Ann', '{"role": "nurse"}'::jsonb, 'email-verification', '{}'::jsonb) $$,
    'null keeps what is there');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('subscribe', 'a', 'user:ann') $$, 'from then on it gets what is sent to that user');
select is(switchboard.identify('a', user_id => 'ann', user_email => ' ANN@x.org '), true, 'the same user again');
select is((select user_email from pg_temp.connection('a')), 'ann@x.org', 'addresses are trimmed and lower case');
select is_empty('select from pg_temp.published()', 'nothing to tell the nodes');
select is(switchboard.identify('a', user_id => 'bob', metadata => '{"m": 1}', subscription_type => 'authenticated'),
    true, 'another user');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('unsubscribe', 'a', 'user:ann'), ('subscribe', 'a', 'user:bob') $$, 'the node is told');
select results_eq($$ select subscription_type, metadata from pg_temp.connection('a') $$,
    $$ values ('authenticated', '{"m": 1}'::jsonb) $$, 'type and metadata');
select is(switchboard.identify('closed', user_id => 'x'), false, 'a closed connection is nobody');
select is(switchboard.identify('unknown', user_id => 'x'), false, 'nor is an unknown one');

select switchboard.identify('b', user_id => 'bob');
select count(*) from pg_temp.published();
select is(switchboard.send_to_user('bob', '{"hi": 1}'), 2, 'send_to_user() counts live connections');
select is(switchboard.send_to_user('nobody', '{"hi": 1}'), 0, 'none');
select results_eq('select kind, target from pg_temp.published()',
    $$ values ('user', 'bob'), ('user', 'nobody') $$, 'published all the same: somebody may be on the way in');

select is(switchboard.set_metadata('b', '{"a": 1}'), true, 'set_metadata()');
select is(switchboard.set_metadata('b', '{"b": 2}'), true, 'merges');
select is((select metadata from pg_temp.connection('b')), '{"a": 1, "b": 2}'::jsonb, 'into what is there');
select is(switchboard.set_metadata('closed', '{"b": 2}'), false, 'not of a closed one');

-- ---- subscribing ----
select is(switchboard.subscribe('b', 'news'), true, 'subscribe()');
select is(switchboard.subscribe('b', 'news'), false, 'again: no change');
select is(switchboard.subscribe('closed', 'news'), false, 'a closed connection');
select is(switchboard.subscribe('unknown', 'news'), false, 'an unknown one');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('subscribe', 'b', 'news') $$, 'joining is in the log');
select is(switchboard.unsubscribe('b', 'news'), true, 'unsubscribe()');
select is(switchboard.unsubscribe('b', 'news'), false, 'again: no change');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('unsubscribe', 'b', 'news') $$, 'leaving too');

-- ---- closing ----
select is(switchboard.close_connection('b', 4000, 'out'), true, 'close_connection()');
select is(switchboard.close_connection('b'), true, 'with the defaults');
select is(switchboard.close_connection('closed'), false, 'a closed one');
select throws_ok($$ select switchboard.close_connection('b', 999) $$, '22023', null, 'no close code below 1000');
select throws_ok($$ select switchboard.close_connection('b', null) $$, '22023', null, 'nor none');
select results_eq('select kind, target, payload::jsonb from pg_temp.published()',
    $$ values ('close', 'b', '{"code": 4000, "reason": "out"}'::jsonb),
              ('close', 'b', '{"code": 1000, "reason": "Connection Closed Normally"}'::jsonb) $$,
    'the node is told');
select is((select is_active from pg_temp.connection('b')), true, 'the node deregisters it when the socket is closed');

-- ---- e-mail verification ----
select from pg_temp.connect('old', '{"email": "eve@example.com", "type": "email-verification"}');
update switchboard.websocket_connections set connected_at = now() - interval '1 min' where connection_id = 'old';
select from pg_temp.connect('new', '{"email": "eve@example.com", "type": "email-verification"}');
select from pg_temp.connect('other-type', '{"email": "eve@example.com", "type": "notifications"}');
update switchboard.websocket_connections set connected_at = now() + interval '1 min' where connection_id in ('new', 'other-type');
select switchboard.identify('new', user_id => 'eve');
select switchboard.subscribe('new', 'news');
select count(*) from pg_temp.published();
select is(switchboard.notify_email_verified(' EVE@example.com'), true, 'somebody waits for this address');
select row_to_json(p) as frame from (select kind, target, payload from switchboard.websocket_outbox order by id limit 1) as p \gset
select is(:'frame'::jsonb ->> 'target', 'new', 'the newest one gets it');
select is(pg_temp.body(:'frame'::jsonb ->> 'payload'),
    '{"type": "email-verified", "email": "eve@example.com", "verified": true,
      "message": "Your email has been verified successfully!"}'::jsonb, 'word for word');
select ok(pg_temp.is_now(:'frame'::jsonb ->> 'payload'), 'with the time');
select results_eq('select kind, target, payload from pg_temp.published() offset 1',
    $$ values ('unsubscribe', 'new', 'news'), ('unsubscribe', 'new', 'user:eve') $$, 'and leaves its topics');
select results_eq($$ select is_active, disconnect_code, disconnect_reason, disconnected_at is not null
                       from pg_temp.connection('new') $$,
    $$ values (false, 1000, 'Email verified', true) $$, 'it is deregistered');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'new' $$,
    'with its subscriptions');
select is(switchboard.notify_email_verified('eve@example.com'), true, 'the next call finds the older one');
select is((select target from pg_temp.published() limit 1), 'old', 'indeed');
select is(switchboard.notify_email_verified('eve@example.com'), false, 'then nobody waits');
select is(switchboard.notify_email_verified(null), false, 'nobody waits for null');
select is(switchboard.notify_email_verified(''), false, 'nor for nothing');
select is_empty('select from pg_temp.published()', 'nothing was published');

-- ---- and again ----
select is(switchboard.subscribe_email_verification('new', ' Eve@Example.com '), true,
    'the open connection waits again');
select results_eq($$ select is_active, user_email, disconnect_code, disconnected_at from pg_temp.connection('new') $$,
    $$ values (true, 'eve@example.com', null::integer, null::timestamptz) $$, 'it is active again');
select results_eq('select kind, target, payload from pg_temp.published()',
    $$ values ('subscribe', 'new', 'user:eve') $$, 'and gets what is sent to its user again');
select is(switchboard.notify_email_verified('eve@example.com'), true, 'and is told again');
select from pg_temp.disconnect('new', 1001, 'gone');
select is(switchboard.subscribe_email_verification('new', 'eve@example.com'), false,
    'but not when its socket has closed since');
select is(switchboard.subscribe_email_verification('closed', 'eve@example.com'), false, 'nor any closed connection');
select is(switchboard.subscribe_email_verification('unknown', 'eve@example.com'), false, 'nor an unknown one');

select * from finish();
rollback;
