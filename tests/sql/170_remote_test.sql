-- SPDX-License-Identifier: Apache-2.0
-- Connections whose sockets another gateway holds: registering, claims, replays, rate limits.
begin;
\ir lib/helpers.sql
select plan(108);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
select count(*) from pg_temp.published();
select count(*) from switchboard.claim_messages('tests', 100, 1000);

create function pg_temp.remote(id text, authorizer jsonb default null, query jsonb default null, routes text[] default '{}')
returns setof switchboard.event_result
language sql as $$
    select * from switchboard.register_connections(routes, null, 'https://x.example/dev', 7200000,
                                                   jsonb_build_array(pg_temp.connect_event(id, query, authorizer)));
$$;
create function pg_temp.claim(claimer text, most integer default 100, lease_ms bigint default 60000)
returns table (id text, payload text)
language sql as $$
    select c.connection_id, c.payload from switchboard.claim_messages(claimer, most, lease_ms) as c;
$$;
-- Claims, and finishes at once.
create function pg_temp.take(claimer text default 'taker')
returns table (id text, payload text)
language plpgsql as $$
begin
    return query
    with claimed as materialized (select * from switchboard.claim_messages(claimer, 1000, 60000)),
         done as materialized (select switchboard.finish_messages(claimer, array_agg(c.seq)) from claimed as c)
    select c.connection_id, c.payload from claimed as c, done order by c.seq, c.connection_id;
end;
$$;
create function pg_temp.next_seq() returns bigint language sql as $$ select next_seq from switchboard.websocket_remote_state $$;
create function pg_temp.queued() returns bigint language sql as $$ select count(*) from switchboard.websocket_claims $$;

-- ---- nobody is there ----
select switchboard.publish_to_all('"before"');
select switchboard.publish('news', '"before"');
select is_empty($$ select * from pg_temp.claim('a') $$, 'without connections there is nothing to claim');
select is(pg_temp.next_seq(), (select last_seq + 1 from switchboard.log_end()), 'but the log has been passed over');
select is(pg_temp.queued(), 0::bigint, 'and nothing was queued');
select switchboard.publish_to_all('"before too"');
select switchboard.sequence_messages(100);

-- ---- registering ----
select results_eq($$ select kind from pg_temp.remote('r1', '{"userId": "ann", "email": "ann@x.org"}') $$,
    $$ values ('accept'), ('published') $$, 'a connection without a node is registered');
select results_eq($$ select connection_type, api_gateway_endpoint, node_id, user_id, wants_seq from pg_temp.connection('r1') $$,
    $$ values ('aws', 'https://x.example/dev', null::text, 'ann', false) $$, 'with its endpoint');
select from pg_temp.remote('r2');
select from pg_temp.node('test-node');
select from pg_temp.connect('local', null, '{}', '{"userId": "ann"}');
select is(switchboard.is_live('r1'), true, 'it is live');
select results_eq($$ select connection_id from switchboard.live_connections order by 1 $$, $$ values ('local'), ('r1'), ('r2') $$,
    'and in the view');
select results_eq($$ select connection ->> 'connection_type' from switchboard.list_connections(10, 'r1') $$, $$ values ('aws') $$, 'and in the list');
select is(switchboard.cleanup_nodes(100), 0, 'no node has to live for it');
select set_eq('select node_id from switchboard.connection_nodes()', array['test-node'], 'it names none');
select results_eq('select * from switchboard.cleanup_connections(100, 7)', $$ values (0, 0, 0) $$, 'the cleanup leaves it alone');
select is_empty('select * from pg_temp.take()', 'what was published to all before it came is not for it');

-- ---- whose gateway may not know it yet ----
select switchboard.send_to_connection(c, '{"n": 0}') from unnest(array['r1', 'r2']) as c;
update switchboard.websocket_connections set connected_at = clock_timestamp() where connection_id = 'r1';
update switchboard.websocket_connections set connected_at = clock_timestamp() - interval '1 minute' where connection_id = 'r2';
select results_eq($$ select connection_id, is_new from switchboard.claim_messages('n', 100, 60000) order by connection_id $$,
    $$ values ('r1', true), ('r2', false) $$, 'those that came just now are new');
select switchboard.finish_messages('n', array(select seq from switchboard.websocket_claims));

-- ---- who gets what ----
select switchboard.send_to_connection('r1', '{"n": 1}');
select switchboard.send_to_user('ann', '{"n": 2}');
select switchboard.publish('user:ann', '{"n": 3}');
select switchboard.publish('news', '{"n": 4}');
select switchboard.publish_to_all('{"n": 5}');
select switchboard.send_to_connection('local', '{"n": 6}');
select switchboard.close_connection('r2', 4000, 'enough');
select results_eq($$ select kind, connection_id, endpoint, payload from switchboard.claim_messages('a', 100, 60000) order by seq, connection_id $$,
    $$ values ('message', 'r1', 'https://x.example/dev', '{"n": 1}'), ('message', 'r1', 'https://x.example/dev', '{"n": 2}'),
              ('message', 'r1', 'https://x.example/dev', '{"n": 3}'), ('message', 'r1', 'https://x.example/dev', '{"n": 5}'),
              ('message', 'r2', 'https://x.example/dev', '{"n": 5}'),
              ('close', 'r2', 'https://x.example/dev', '{"code": 4000, "reason": "enough"}') $$,
    'one''s own, its user''s, what is for all, and a close; in the order of the log');
select is(pg_temp.queued(), 6::bigint, 'a claim for each');
select is(switchboard.finish_messages('a', array(select seq from switchboard.websocket_claims)), 6, 'finished');
select is(pg_temp.queued(), 0::bigint, 'and no longer there');
select is_empty('select * from pg_temp.take()', 'nothing comes twice');
select switchboard.subscribe('r1', 'news');
select switchboard.publish('news', '{"n": 7}');
select switchboard.publish('news', '{"n": 8}', 'r1');
select switchboard.subscribe('r2', 'news');
select switchboard.publish('news', '{"n": 9}');
select switchboard.relay_deliveries('other', '{topic,connection,user,all}', '{news,r1,ann,null}', '{10,11,12,13}', '{r2,null,null,r1}');
select results_eq('select * from pg_temp.take()',
    $$ values ('r1', '{"n": 7}'), ('r1', '{"n": 9}'), ('r2', '{"n": 9}'), ('r1', '10'), ('r1', '11'), ('r1', '12'), ('r2', '13') $$,
    'subscribers get what comes behind their subscription, but who is excepted; what nodes relay is like the rest');
select switchboard.unsubscribe('r1', 'news');
select switchboard.publish('news', '{"n": 14}');
select switchboard.identify('r2', user_id => 'bob');
select switchboard.send_to_user('bob', '{"n": 15}');
select switchboard.subscribe('r2', 'user:cid');
select switchboard.send_to_user('cid', '{"n": 16}');
select results_eq('select * from pg_temp.take()', $$ values ('r2', '{"n": 14}'), ('r2', '{"n": 15}'), ('r2', '{"n": 16}') $$,
    'unsubscribing ends it; identifying and the topic of a user count');
select switchboard.send_to_user('dan', '{"n": 17}');
select switchboard.identify('r2', user_id => 'dan');
select switchboard.publish_to_all('{"n": 18}');
select from pg_temp.remote('r3', '{"userId": "dan"}');
select results_eq('select * from pg_temp.take()', $$ values ('r1', '{"n": 18}'), ('r2', '{"n": 18}') $$,
    'what stands in the log before one is somebody, or there, is not for one');
select switchboard.publish('nobody', '{"n": 19}');
select count(*) from pg_temp.claim('a');
select is(pg_temp.queued(), 0::bigint, 'a message without receivers needs no claim');

-- ---- several claimers ----
select switchboard.send_to_connection('r1', to_jsonb(n)) from generate_series(1, 5) as n;
select switchboard.send_to_connection('r2', to_jsonb(n)) from generate_series(6, 8) as n;
select results_eq($$ select * from pg_temp.claim('a', 2) $$, $$ values ('r1', '1'), ('r1', '2') $$, 'the first two');
select results_eq($$ select * from pg_temp.claim('b', 2) $$, $$ values ('r2', '6') $$,
    'another one looks behind what is for a connection that somebody is at');
select results_eq($$ select * from pg_temp.claim('a', 1) $$, $$ values ('r1', '3') $$, 'the same one gets more for it');
select is_empty($$ select * from pg_temp.claim('c') $$, 'a third finds nothing, but there is more');
select is(switchboard.finish_messages('b', array(select seq from switchboard.websocket_claims where claimer = 'a')), 0,
    'only one''s own are finished');
select is(switchboard.release_messages('b', array(select seq from switchboard.websocket_claims where claimer = 'a')), 0, 'or released');
select is(switchboard.finish_messages('b', array(select seq from switchboard.websocket_claims where claimer = 'b')), 1, 'one''s own are');
select results_eq($$ select * from pg_temp.claim('c', 2) $$, $$ values ('r2', '7'), ('r2', '8') $$, 'then the next are free for anybody');
select is(switchboard.release_messages('c', array(select seq from switchboard.websocket_claims where claimer = 'c')), 2, 'given back');
select is((select max(attempts) from switchboard.websocket_claims where connection_id = 'r2'), 0, 'that was no attempt');
select results_eq($$ select * from pg_temp.claim('d') $$, $$ values ('r2', '7'), ('r2', '8') $$, 'they are free at once');
select is(switchboard.finish_messages('a', array(select seq from switchboard.websocket_claims where claimer = 'a')), 3, 'the first has finished');
select results_eq($$ select * from pg_temp.claim('e', 2, 0) $$, $$ values ('r1', '4'), ('r1', '5') $$, 'somebody claims, and dies');
select results_eq($$ select * from pg_temp.claim('f', 2) $$, $$ values ('r1', '4'), ('r1', '5') $$, 'the next one takes over, in order');
select is((select array_agg(attempts) from switchboard.websocket_claims where claimer = 'f'), '{2,2}', 'the second attempt');
select is(switchboard.finish_messages('e', array(select seq from switchboard.websocket_claims)), 0, 'who comes back from the dead finishes nothing');
select is(switchboard.finish_messages('f', array(select seq from switchboard.websocket_claims)), 2, 'the other does');
select is(switchboard.finish_messages('d', array(select seq from switchboard.websocket_claims)), 2, 'and that one');

-- ---- pair by pair ----
select switchboard.publish_to_all('{"n": 20}');
select is((select count(*) from pg_temp.claim('a', 2)), 2::bigint, 'two of three');
select is(pg_temp.queued(), 3::bigint, 'the third receiver waits');
select is(switchboard.finish_messages('a', array_agg(seq), '{r1}'), 1, 'one is finished')
  from (select distinct seq from switchboard.websocket_claims) as q;
select is(switchboard.release_messages('a', array_agg(seq), '{r2}'), 1, 'one is given back')
  from (select distinct seq from switchboard.websocket_claims) as q;
select results_eq('select * from pg_temp.take()', $$ values ('r2', '{"n": 20}'), ('r3', '{"n": 20}') $$, 'what is left');

-- ---- pages ----
select switchboard.publish_to_all(to_jsonb(n)) from generate_series(1, 2500) as n;
select results_eq($$ select * from pg_temp.claim('a', 4) $$, $$ values ('r1', '1'), ('r2', '1'), ('r3', '1'), ('r1', '2') $$, 'the beginning of many');
select is(pg_temp.queued(), 6::bigint, 'no more is queued than is needed, but a message as a whole');
select is((select last_seq from switchboard.log_end()) - pg_temp.next_seq(), 2497::bigint, 'the rest is where it was, in the log');
select switchboard.release_messages('a', array(select seq from switchboard.websocket_claims));
create temporary table taken as
select n, t.* from generate_series(1, 9) as n, lateral (select * from pg_temp.take(case when n > 0 then 'a' end)) as t;
select is((select count(*) from taken), 7500::bigint, 'all of it comes');
select is((select count(distinct (id, payload)) from taken), 7500::bigint, 'everything once');
select is((select count(*) from (select payload::integer - lag(payload::integer) over (partition by id order by n, payload::integer) as step from taken) as s
            where step <> 1), 0::bigint, 'in order');
select switchboard.publish('nobody', '1') from generate_series(1, 3000);
select switchboard.send_to_connection('r1', '"behind"');
select results_eq('select * from pg_temp.take()', $$ values ('r1', '"behind"') $$, 'many messages for nobody are passed over in one call');
select is_empty('select from pg_temp.take()', 'that was all');

-- ---- too old, too often ----
select switchboard.send_to_connection('r1', '"old"');
select switchboard.send_to_connection('r2', '"often"');
select is((select count(*) from pg_temp.claim('a', 2, 0)), 2::bigint, 'claimed and not finished');
update switchboard.websocket_claims set created_at = created_at - interval '2 hours 1 second' where connection_id = 'r1';
update switchboard.websocket_claims set attempts = 20 where connection_id = 'r2';
set local client_min_messages = error;
select is_empty($$ select * from pg_temp.claim('b') $$, 'not tried again');
select count(*) from pg_temp.claim('b');
set local client_min_messages = warning;
select is(pg_temp.queued(), 0::bigint, 'and given up');
select switchboard.add_partition((now() at time zone 'UTC')::date - 1);
select switchboard.send_to_connection('r1', '"too old"');
select switchboard.send_to_connection('r1', '"young"');
select switchboard.sequence_messages(10);
update switchboard.websocket_messages set created_at = now() - interval '2 hours 1 second' where payload = '"too old"';
select results_eq('select * from pg_temp.take()', $$ values ('r1', '"young"') $$, 'what is too old is left in the log');

-- ---- connections go ----
select switchboard.publish_to_all('{"n": 21}');
select is((select count(*) from pg_temp.claim('a', 1)), 1::bigint, 'one is claimed, and three are queued');
select is(switchboard.forget_connections('{r3,local,unknown}'), 1, 'gone: what no node holds is forgotten');
select results_eq($$ select is_active, disconnect_code, disconnect_reason from pg_temp.connection('r3') $$,
    $$ values (false, 1006, 'Gone') $$, 'deactivated');
select is(switchboard.is_live('local'), true, 'another is left alone');
select is(switchboard.forget_connections('{r3}', 1001, 'again'), 0, 'once');
select is((select count(*) from switchboard.websocket_claims where connection_id = 'r3'), 0::bigint, 'and what was queued for it');
select from pg_temp.disconnect('r2', routes => '{}');
select is_empty($$ select * from pg_temp.claim('b') $$, 'to one that has disconnected nothing is sent');
select is((select count(*) from switchboard.websocket_claims where connection_id = 'r2'), 0::bigint, 'its message is dropped');
select switchboard.finish_messages('a', array(select seq from switchboard.websocket_claims));
insert into switchboard.websocket_claims (seq, connection_id, created_at)
values (1, 'r1', now() - interval '3 hours'), (2, 'gone', now()), (999999999, 'r1', now()), (pg_temp.next_seq() - 1, 'r1',
       (select created_at from switchboard.websocket_messages where seq = pg_temp.next_seq() - 1));
insert into switchboard.websocket_claims (seq, connection_id, created_at, claimer, claimed_until)
values (3, 'gone', now(), 'x', now() + interval '1 min'), (4, 'gone', now(), 'x', now() - interval '1 min');
select from switchboard.cleanup_connections(1, 7);
select is(pg_temp.queued(), 5::bigint, 'the cleanup deletes a bounded batch');
select from switchboard.cleanup_connections(100, 7);
select results_eq('select seq from switchboard.websocket_claims order by 1', $$ select unnest(array[3, pg_temp.next_seq() - 1]) $$,
    'what is too old, of messages and connections that are gone; not what somebody is at');
delete from switchboard.websocket_claims;
update switchboard.websocket_connections set expires_at = now() - interval '1 s' where connection_id = 'r1';
select results_eq('select * from switchboard.cleanup_connections(100, 7)', $$ values (1, 0, 0) $$, 'only its time ends it');
select results_eq($$ select is_active, disconnect_code from pg_temp.connection('r1') $$, $$ values (false, 1001) $$, 'deactivated');
select is(switchboard.has_remote_connections(), false, 'there is none any more');

-- ---- a verified address ----
select from pg_temp.remote('v1', null, '{"type": "email-verification", "email": "V@x.org"}', '{careconnect}');
select count(*) from pg_temp.take();
select is(switchboard.notify_email_verified('v@X.org'), true, 'somebody waits');
select is(switchboard.is_live('v1'), false, 'it is deregistered');
select results_eq($$ select id, payload::jsonb ->> 'type' from pg_temp.take() $$, $$ values ('v1', 'email-verified') $$,
    'and is told, though it is the only one');
select is(switchboard.subscribe_email_verification('v1', 'w@x.org'), true, 'it is open and may wait again');
select is(switchboard.notify_email_verified('w@x.org'), true, 'and is found');
select is(switchboard.forget_connections('{v1}'), 0, 'its socket is gone');
select is(switchboard.subscribe_email_verification('v1', 'v@x.org'), false, 'it does not come back then');
select is_empty('select from pg_temp.take()', 'and is not sent to');

-- ---- replays ----
select from pg_temp.remote('s1');
select switchboard.subscribe('s1', 'room:1');
select switchboard.subscribe('s1', 'room:2');
select count(*) from pg_temp.take();
select last_seq as seq0 from switchboard.log_end() \gset
select switchboard.publish('room:1', '{"n": 1}');
select switchboard.publish('room:2', '{}');
select switchboard.publish('room:1', '"text"');
select switchboard.publish('room:1', '[1]');
select results_eq('select payload from pg_temp.take()', $$ values ('{"n": 1}'), ('{}'), ('"text"'), ('[1]') $$, 'who did not ask gets no seq');
select results_eq(format($$ select seq - %1$s, payload from switchboard.read_resume('s1', '{"room:1": %1$s, "room:2": %1$s}', 10) $$, :seq0),
    format($$ values (1::bigint, '{"seq":%s,"n": 1}'), (2, '{"seq":%s}'), (3, '{"seq":%s,"data":"text"}'), (4, '{"seq":%s,"data":[1]}') $$,
           :seq0 + 1, :seq0 + 2, :seq0 + 3, :seq0 + 4), 'what was missed, in order and with seq');
select results_eq(format($$ select seq - %1$s from switchboard.read_resume('s1', '{"room:1": %2$s}', 1) $$, :seq0, :seq0 + 1), $$ values (3::bigint) $$,
    'one topic, from a number on, so many');
select switchboard.publish('room:1', '{"n": 5}');
select switchboard.send_to_connection('s1', '{"n": 6}');
select switchboard.relay_deliveries('other', '{topic}', '{room:1}', array['{"n":7}'], '{null}');
select switchboard.publish_to_all('{"n": 8}');
select results_eq('select payload from pg_temp.take()',
    format($$ values ('{"seq":%s,"n": 5}'), ('{"n": 6}'), ('{"n":7}'), ('{"seq":%s,"n": 8}') $$, :seq0 + 5, :seq0 + 8),
    'from then on there is seq in what was published');
select from pg_temp.remote('s2');
select is_empty($$ select from switchboard.read_resume('s2', '{}', 10) $$, 'no topics, nothing');
select is((select wants_seq from pg_temp.connection('s2')), true, 'but seq from now on');
select count(*) from pg_temp.take();
select last_seq as seq1 from switchboard.log_end() \gset
select switchboard.publish('room:1', '{"n": 9}');
select switchboard.publish('room:1', '{"n": 10}');
select switchboard.publish('room:2', '{"n": 11}');
select is((select count(*) from pg_temp.claim('z', 1)), 1::bigint, 'somebody is at the first of three');
select is((select count(*) from switchboard.read_resume('s1', jsonb_build_object('room:1', :seq1 + 1), 10, 'me', 60000)), 1::bigint,
    'the second is replayed, which was about to be delivered');
select results_eq(format('select seq - %s, claimer from switchboard.websocket_claims order by 1', :seq1),
    $$ values (1::bigint, 'z'), (2, 'me'), (3, null) $$, 'the replay has it; what somebody else is at stays his');
select is_empty($$ select from pg_temp.claim('other') $$, 'nobody overtakes the replay');
select is(switchboard.finish_messages('me', array[:seq1 + 2]::bigint[], '{s1}'), 1, 'it is finished like a claim');
select is(switchboard.release_messages('z', array[:seq1 + 1]::bigint[]), 1, 'the first is given back');
select is((select count(*) from switchboard.read_resume('s1', jsonb_build_object('room:1', :seq1 + 2), 10, 'me', 60000)), 0::bigint,
    'the client says that it has both');
select results_eq('select payload from pg_temp.take()', format($$ values ('{"seq":%s,"n": 11}') $$, :seq1 + 3), 'what it has seen is not sent again');

-- ---- rate limits ----
select is(switchboard.take_message_tokens('s1', 'chat', '{1,1,1}', '{0,0,0}'), 0, 'no limits');
select is_empty($$ select from switchboard.websocket_rate_limits where key ~ '(s1|chat)' $$, 'leave no trace');
select is(switchboard.take_message_tokens('s1', 'chat', '{1,1,0.1}', '{0,5,1}'), 0, 'a first message');
select set_eq($$ select key from switchboard.websocket_rate_limits where key ~ '(s1|chat|user)' $$, array['route:chat'], 'takes from the buckets that there are');
select is(switchboard.take_message_tokens('s1', 'chat', '{1,1,0.1}', '{0,5,1}'), 10, 'the route has no more for ten seconds');
select is(switchboard.take_message_tokens('s1', 'other', '{1,1,0.1}', '{0,5,1}'), 0, 'another one has');
select switchboard.identify('s1', user_id => 'eve');
select switchboard.identify('s2', user_id => 'eve');
select is(switchboard.take_message_tokens('s1', 'x', '{100,0.5,1}', '{1,1,0}'), 0, 'a user''s first');
select is(switchboard.take_message_tokens('s2', 'x', '{100,0.5,1}', '{1,1,0}'), 2, 'is the user''s only one, over whatever connection');
select is(switchboard.take_message_tokens('s2', 'x', '{100,0.5,1}', '{1,1,0}') between 1 and 2, true, 'a second at least');

-- ---- as the service ----
set local role switchboard_service;
select lives_ok($$ select * from switchboard.claim_messages('s', 10, 1000) $$, 'the service claims');
select lives_ok($$ select switchboard.finish_messages('s', '{1}') $$, 'finishes');
select lives_ok($$ select switchboard.release_messages('s', '{1}', '{x}') $$, 'gives back');
select lives_ok($$ select switchboard.forget_connections('{x}') $$, 'forgets');
select lives_ok($$ select * from switchboard.read_resume('s1', '{"room:1": 0}', 10) $$, 'replays');
select lives_ok($$ select switchboard.take_message_tokens('x', 'y', '{1,1,1}', '{1,1,1}') $$, 'limits');
set local role switchboard_app;
select throws_ok($$ select * from switchboard.claim_messages('s', 10, 1000) $$, '42501', null, 'an application does not');
reset role;
select * from finish();
rollback;
