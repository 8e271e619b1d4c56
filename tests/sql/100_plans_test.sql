-- SPDX-License-Identifier: Apache-2.0
-- The hot paths use their indexes: by plan for what people ask, and for the functions by counting, for
-- a copy of their queries would prove nothing.  In a transaction of its own, on tables with content.
begin;
\ir lib/helpers.sql
select plan(77);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select from pg_temp.node('test-node');
insert into switchboard.websocket_connections (
    connection_id, connection_type, node_id, user_id, user_email, subscription_type, expires_at, is_active, disconnected_at)
select 'p' || n, 'local', 'test-node', 'u' || n, 'e' || n || '@x.org', 'email-verification', now() + interval '1 h',
       n % 10 > 0, case when n % 10 = 0 then now() end
  from generate_series(1, 20000) as n;
insert into switchboard.websocket_subscriptions (topic, connection_id)
select 'topic-' || n % 100, 'p' || n from generate_series(1, 20000) as n;
insert into switchboard.websocket_outbox (kind, target, payload)
select 'topic', 't', n::text from generate_series(1, 20000) as n;
select switchboard.sequence_messages(20000);
insert into switchboard.websocket_outbox (kind, target, payload)
select 'topic', 't', n::text from generate_series(1, 20000) as n;
analyze switchboard.websocket_connections;
analyze switchboard.websocket_subscriptions;
analyze switchboard.websocket_outbox;
analyze switchboard.websocket_messages;
select last_seq as seq, last_at as at from switchboard.log_end() \gset

-- ---- plans ----
select ok(pg_temp.plan_scans(query) @> array[index]
          and not exists (select from unnest(pg_temp.plan_scans(query)) as s where s like '(seq scan on websocket_conn%'
                                                                              or s like '(seq scan on websocket_sub%'),
    index || ': ' || question)
  from (values
      ('websocket_connections_pkey', 'which connection is this?',
       'select * from switchboard.live_connections where connection_id = ''p7'''),
      ('websocket_connections_user_idx', 'which connections does this user have?',
       'select * from switchboard.live_connections where user_id = ''u7'''),
      ('websocket_connections_email_idx', 'who waits for this address?',
       'select * from switchboard.live_connections where user_email = ''e7@x.org'' and subscription_type = ''email-verification'' order by connected_at desc limit 1'),
      ('websocket_connections_node_idx', 'which nodes have connections?',
       'select node_id from switchboard.websocket_connections where is_active and node_id > ''a'' order by node_id limit 1'),
      ('websocket_connections_node_idx', 'which connections of this node are past their time?',
       'select connection_id from switchboard.websocket_connections where is_active and node_id = ''test-node'' and expires_at <= now() order by expires_at limit 10 for update skip locked'),
      ('websocket_connections_disconnected_idx', 'which closed ones are old?',
       'select connection_id from switchboard.websocket_connections where not is_active and disconnected_at < now() - interval ''7 days'' order by disconnected_at limit 10'),
      ('websocket_connections_pkey', 'the page of connections after this one',
       'select connection_id from switchboard.live_connections where connection_id > ''p7'' order by connection_id limit 10'),
      ('websocket_subscriptions_pkey', 'who has subscribed to this topic?',
       'select connection_id from switchboard.websocket_subscriptions where topic = ''topic-7'''),
      ('websocket_subscriptions_connection_idx', 'what has this connection subscribed to?',
       'select topic from switchboard.websocket_subscriptions where connection_id = ''p7'''),
      ('websocket_outbox_pkey', 'what is to be sequenced?',
       'select ctid from switchboard.websocket_outbox where id > 0 order by id limit 100')) as v (index, question, query);
set local enable_seqscan = off; -- as the function has it
select is(
    (select count(*) from unnest(pg_temp.plan_scans(format(
        'select * from switchboard.websocket_messages where seq > %s and created_at >= %L order by seq limit 10', :seq, :'at'))) as s
      where s like 'websocket_messages_%_pkey'),
    (select count(*) from pg_inherits where inhparent = 'switchboard.websocket_messages'::regclass)
    - (select count(*)
         from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'switchboard.websocket_messages'::regclass
          and c.relname < 'websocket_messages_' || to_char(timestamptz :'at' at time zone 'UTC', 'YYYYMMDD')),
    'reading the log: one index a partition, and only from the day of the cursor on');
select isnt_empty(format(
    'select from unnest(pg_temp.plan_scans(%L)) as s where s like ''websocket_messages_%%_target_seq_idx''',
    format('select * from switchboard.websocket_messages where kind = ''topic'' and sender is null and target = ''x'' and seq > %s order by seq limit 10', :seq - 5)),
    'what was published to this topic after that?');
set local enable_seqscan = on;

-- ---- functions ----
-- Rows that a statement fetched by scanning whole tables, in this transaction so far.
create function pg_temp.rows_scanned() returns bigint language sql as $$
    select sum(pg_stat_get_xact_tuples_returned(c.oid))
      from pg_class as c
     where c.relnamespace = 'switchboard'::regnamespace
       and c.relkind = 'r'
       and c.relname ~ '^websocket_(connections|subscriptions|outbox|messages|claims)';
$$;
create function pg_temp.index_scans(index regclass) returns bigint language sql as $$
    select pg_stat_get_xact_numscans(index);
$$;
-- Runs the query several times, so that plans get cached, and says whether any scanned a table.
create function pg_temp.scans(query text) returns bigint language plpgsql as $$
declare
    before bigint;
begin
    before := pg_temp.rows_scanned();
    for n in 1 .. 7 loop
        execute query;
    end loop;
    return pg_temp.rows_scanned() - before;
end;
$$;
select ok(pg_temp.scans('select count(*) from switchboard.websocket_connections where metadata is not null') >= 20000,
    'the counting counts');
select is(pg_temp.scans(query), 0::bigint, 'no table is scanned by ' || substring(query from 'switchboard\.\w+'))
  from unnest(array[
      $$ select * from switchboard.handle_message('{careconnect}', '$default', 'p7', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"type": "heartbeat"}', null) $$,
      $$ select switchboard.touch_connections('{p1,p2,p3}', '{1,2,3}') $$,
      $$ select switchboard.publish('t', '1') $$,
      $$ select switchboard.send_to_user('u7', '1') $$,
      $$ select switchboard.send_to_connection('p7', '1') $$,
      $$ select switchboard.is_live('p7') $$,
      $$ select switchboard.subscribe('p7', 'x' || random()) $$,
      $$ select switchboard.unsubscribe('p7', 'topic-7') $$,
      $$ select switchboard.identify('p7', user_id => 'u' || random()) $$,
      $$ select switchboard.set_metadata('p7', '{}') $$,
      $$ select switchboard.notify_email_verified('nobody@x.org') $$,
      $$ select switchboard.notify_email_verified('e11@x.org') $$,
      $$ select switchboard.subscribe_email_verification('p7', 'x@x.org') $$,
      $$ select * from switchboard.deregister_connections('{careconnect}', array['p1', 'p2'], '{1000,1000}', '{x,x}', '{r,r}') $$,
      $$ select * from pg_temp.connect('r' || random(), '{"email": "x@x.org"}') $$,
      $$ select switchboard.cleanup_nodes(100) $$,
      $$ select * from switchboard.cleanup_connections(100, 7) $$,
      $$ select * from switchboard.heartbeat_node('test-node', 'test-node', null, 60000) $$,
      $$ select switchboard.restore_connections('test-node', null, 1, '[{"connectionId": "p9", "topics": ["t"]}]') $$,
      $$ select switchboard.touch_connections('{p1,p2,p3}', '{1,2,3}', 600000) $$,
      $$ select switchboard.oldest_seq() $$,
      $$ select * from switchboard.topic_history('t', null, 10) $$,
      $$ select * from switchboard.read_topics('p7', '{"t": 1, "x": 1}', 0, 19999, 10) $$,
      $$ select * from switchboard.handle_message('{careconnect}', 'resume', 'p7', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"topics": {"t": 1}}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'chat', 'p7', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"message": "Hi", "roomId": "7"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'history', 'p7', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"roomId": "7"}', null) $$,
      $$ select switchboard.take_tokens('k', 1, 1) $$]) as query;
-- Rows fetched by ctid count as scanned: the sequencer touches what it moves and no more.
select pg_temp.rows_scanned() as before \gset
select switchboard.sequence_messages(10);
select ok(pg_temp.rows_scanned() - :before <= 10, 'the sequencer looks at the rows that it moves');
select pg_temp.rows_scanned() as before \gset
select count(*) from switchboard.follow_messages(:seq - 5, :'at', 10);
select ok(pg_temp.rows_scanned() - :before <= 10, 'so does the follower');

-- ---- connections that no node holds ----
select switchboard.claim_messages('plans', 100, 60000) from generate_series(1, 3);
select is((select count(*) from switchboard.websocket_outbox), 0::bigint, 'what is published is in the log before anybody claims');
insert into switchboard.websocket_connections (connection_id, connection_type, user_id, expires_at)
select 'w' || n, 'aws', 'w' || n, now() + interval '1 h' from generate_series(1, 2000) as n;
insert into switchboard.websocket_subscriptions (topic, connection_id)
select 'w', 'w' || n from generate_series(1, 2000) as n;
select switchboard.publish('w', to_jsonb(n)) from generate_series(1, 1000) as n;
select switchboard.sequence_messages(1000);
select pg_temp.rows_scanned() as before, pg_temp.index_scans('switchboard.websocket_subscriptions_pkey') as scans,
       next_seq as seq from switchboard.websocket_remote_state \gset
select is((select count(*) from switchboard.claim_messages('plans', 100, 60000)), 100::bigint, 'some are claimed');
select is(pg_temp.rows_scanned() - :before, 0::bigint, 'no table is scanned');
select is((select count(*) from switchboard.websocket_claims), 2000::bigint, 'of one message');
select is((select next_seq - :seq from switchboard.websocket_remote_state), 1::bigint, 'and the log is read no further');
select ok(pg_temp.index_scans('switchboard.websocket_subscriptions_pkey') - :scans <= 4, 'nor are receivers of the others looked for');
select is(pg_temp.scans(query), 0::bigint, 'no table is scanned by ' || substring(query from 'switchboard\.\w+'))
  from unnest(array[
      $$ select * from switchboard.claim_messages('others', 100, 60000) $$,
      $$ select switchboard.finish_messages('plans', array[1, 2, 3]) $$,
      $$ select switchboard.finish_messages('plans', array[1, 2, 3], '{w1,w2,w3}') $$,
      $$ select switchboard.release_messages('plans', array[1, 2, 3], '{w1,w2,w3}') $$,
      $$ select switchboard.forget_connections('{w1,w2,w3}') $$,
      $$ select * from switchboard.read_resume('w7', '{"w": 1}', 10, 'plans', 60000) $$,
      $$ select switchboard.take_message_tokens('w8', 'x', '{1,1,1}', '{1,1,1}') $$]) as query;

-- ---- plans from when there was nearly nothing ----
-- Until a table that has grown is analyzed again, PostgreSQL goes on with the plans that it has kept.
truncate switchboard.websocket_connections, switchboard.websocket_subscriptions;
insert into switchboard.websocket_connections (connection_id, connection_type, node_id, user_id, expires_at)
select 'g' || n, 'local', 'test-node', 'u' || n, now() + interval '1 h' from generate_series(1, 3) as n;
analyze switchboard.websocket_connections;
analyze switchboard.websocket_subscriptions;
create temporary table per_event as
select query from unnest(array[
      $$ select * from switchboard.handle_message('{careconnect}', '$default', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"type": "heartbeat"}', null) $$,
      $$ select * from switchboard.handle_messages('{careconnect}', '{careconnect}', 'dev', '{$default,$default}', '{g2,g3}', '{r,s}', '{m,n}', '{ip,ip}', '{ua,ua}', '{0,0}', array['{"type": "heartbeat"}', '{}'], array[null, null]::jsonb[]) $$,
      $$ select switchboard.touch_connections('{g1,g2,g3}', '{1,2,3}', 600000) $$,
      $$ select switchboard.is_live('g2') $$,
      $$ select switchboard.send_to_connection('g2', '1') $$,
      $$ select switchboard.send_to_user('u2', '1') $$,
      $$ select switchboard.subscribe('g2', 'x' || random()) $$,
      $$ select switchboard.unsubscribe('g2', 'x') $$,
      $$ select switchboard.identify('g2', user_id => 'u' || random()) $$,
      $$ select switchboard.set_metadata('g2', '{}') $$,
      $$ select switchboard.close_connection('g2') $$,
      $$ select switchboard.subscribe_email_verification('g2', 'x@x.org') $$,
      $$ select switchboard.notify_email_verified('nobody@x.org') $$,
      $$ select * from switchboard.handle_message('{chat}', 'join_room', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"roomId": "7"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'leave_room', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"roomId": "7"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'history', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"roomId": "7"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'chat', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"message": "Hi", "roomId": "7"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'private_message', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"message": "Hi", "targetUserId": "u3"}', null) $$,
      $$ select * from switchboard.handle_message('{chat}', 'resume', 'g2', 'r', 'm', 'dev', 'ip', 'ua', 0, '{"topics": {"t": 1}}', null) $$,
      $$ select * from switchboard.deregister_connections('{careconnect}', array['g1', 'x2'], '{1000,1000}', '{x,x}', '{r,r}') $$,
      $$ select switchboard.forget_connections('{w1,w2,w3}') $$,
      $$ select * from pg_temp.connect('r' || random(), '{"email": "x@x.org"}') $$]) as query;
select sum(pg_temp.scans(query)) as scans_for_their_plans from per_event \gset
insert into switchboard.websocket_connections (connection_id, connection_type, node_id, user_id, expires_at)
select 'h' || n, 'local', 'test-node', 'v' || n, now() + interval '1 h' from generate_series(1, 20000) as n;
insert into switchboard.websocket_subscriptions (topic, connection_id)
select 'topic-' || n % 100, 'h' || n from generate_series(1, 20000) as n;
select is(pg_temp.scans(query), 0::bigint, 'none of a table that has grown by ' || substring(query from 'switchboard\.\w+'))
  from per_event;
select * from finish();
rollback;
