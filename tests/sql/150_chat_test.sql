-- SPDX-License-Identifier: Apache-2.0
-- The profile chat: every row of its table.
begin;
\ir lib/helpers.sql
select plan(81);
delete from switchboard.websocket_nodes;
delete from switchboard.websocket_connections;
delete from switchboard.websocket_subscriptions;
delete from switchboard.websocket_rooms where room_id <> 'general';
select from pg_temp.node('test-node');

-- {"type", "data"} without the time, which has to be about now in seconds.
create function pg_temp.frame(payload text) returns jsonb language sql as $$
    select case when (payload::jsonb #>> '{data,timestamp}')::bigint
                     between extract(epoch from now()) - 2 and extract(epoch from clock_timestamp()) + 1
                then payload::jsonb #- '{data,timestamp}'
                else jsonb_build_object('wrong timestamp in', payload)
           end;
$$;
create function pg_temp.join(id text, query jsonb default null, authorizer jsonb default null)
returns table (kind text, target text, payload text)
language sql as $$
    select c.kind, c.target, c.payload from pg_temp.connect(id, query, '{chat}', authorizer) as c;
$$;
-- The gateway selects by type.
create function pg_temp.says(id text, body text)
returns table (kind text, frame jsonb)
language sql as $$
    select m.kind, pg_temp.frame(m.payload)
      from pg_temp.message(id, body, null, '{chat}', coalesce(switchboard.parse_json(body) ->> 'type', '$default')) as m;
$$;
create function pg_temp.error(id text, body text) returns text language sql as $$
    select s.frame #>> '{data,message}' from pg_temp.says(id, body) as s
     where s.kind = 'reply' and s.frame = jsonb_build_object('type', 'error', 'data', jsonb_build_object('message', s.frame #>> '{data,message}'));
$$;
-- What was published: kind, target, and the frame or (for memberships) the topic.
create function pg_temp.news() returns table (kind text, target text, news jsonb, but_for text) language sql as $$
    select p.kind, p.target, case when p.kind in ('subscribe', 'unsubscribe') then to_jsonb(p.payload) else pg_temp.frame(p.payload) end,
           p.except_connection
      from pg_temp.published() as p;
$$;

-- ---- $connect ----
select results_eq($$ select kind, case when kind = 'reply' then pg_temp.frame(payload) end
                       from pg_temp.join('a', '{"userId": "u1", "username": "Ann", "roomId": "general", "token": "valid_1"}', '{"demo": "true"}')
                      where kind <> 'published' $$,
    $$ values ('accept', null::jsonb),
              ('reply', '{"type": "welcome", "data": {"connectionId": "a", "userId": "u1", "roomId": "general", "message": "Welcome to room general!"}}') $$,
    'a client is greeted');
select results_eq($$ select user_id, user_name, metadata from pg_temp.connection('a') $$,
    $$ values ('u1', 'Ann', '{"roomId": "general"}'::jsonb) $$, 'and known by what it said');
select set_eq('select kind, target, news #>> ''{}'' from pg_temp.news()',
    $$ values ('subscribe', 'a', 'room:general'), ('subscribe', 'a', 'user:u1') $$, 'it gets what is said in the room, and to the user');
select results_eq($$ select pg_temp.frame(payload) from pg_temp.join('n') where kind = 'reply' $$,
    $$ values ('{"type": "welcome", "data": {"connectionId": "n", "userId": "anonymous", "roomId": "general", "message": "Welcome to room general!"}}'::jsonb) $$,
    'all parameters are optional');
select results_eq($$ select user_id, user_name, metadata from pg_temp.connection('n') $$,
    $$ values ('anonymous', null::text, '{"roomId": "general"}'::jsonb) $$, 'and have defaults');
select results_eq($$ select kind, target, payload from pg_temp.join('x', '{"userId": "u1", "token": "bad"}') $$,
    $$ values ('refuse', '401', '{"error":"Invalid authentication token"}') $$, 'a bad token is refused with 401');
select is_empty($$ select from pg_temp.connection('x') $$, 'and not registered');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'x' $$, 'nor in a room');
select results_eq($$ select kind from pg_temp.join('x', '{"token": ""}') where kind <> 'published' $$, $$ values ('accept'), ('reply') $$, 'an empty token is none');
select results_eq($$ select kind from pg_temp.join('j', '{"userId": "mallory", "username": "Mallory", "token": "t"}', '{"sub": "u9", "name": "Nina"}') where kind <> 'published' $$,
    $$ values ('accept'), ('reply') $$, 'a good token');
select results_eq($$ select user_id, user_name from pg_temp.connection('j') $$, $$ values ('u9', 'Nina') $$, 'says who it is, whatever the query says');
select from pg_temp.join('k', '{"userId": "mallory", "token": "t"}', '{"scope": "x"}');
select is((select user_id from pg_temp.connection('k')), 'anonymous', 'also when it names nobody');
select from pg_temp.join('b', '{"userId": "u2", "roomId": " dev "}');
select is((select metadata from pg_temp.connection('b')), '{"roomId": "dev"}'::jsonb, 'another room');
select results_eq($$ select created_by, metadata from switchboard.websocket_rooms where room_id = 'dev' $$, $$ values ('u2', '{}'::jsonb) $$, 'which is made');
select from switchboard.deregister_connections('{}', '{n,x,j,k}', '{1000,1000,1000,1000}', '{1,2,3,4}', '{1,2,3,4}');
select count(*) from pg_temp.published();

-- ---- chat ----
select results_eq($$ select kind from pg_temp.says('a', '{"type": "chat", "message": "Hi"}') $$, $$ values ('published') $$, 'chat is published');
select results_eq('select kind, target, news, but_for from pg_temp.news()',
    $$ values ('topic', 'room:general', '{"type": "chat", "data": {"messageId": "message", "roomId": "general", "senderId": "u1", "senderName": "Ann", "message": "Hi"}}'::jsonb, null::text) $$,
    'to everyone in the room, the sender too');
select is_empty($$ select from pg_temp.says('b', '{"type": "chat", "message": "  Ho ", "roomId": "dev"}') where kind <> 'published' $$, 'the room may be named');
select results_eq('select target, news -> ''data'' from pg_temp.news()',
    $$ values ('room:dev', '{"messageId": "message", "roomId": "dev", "senderId": "u2", "senderName": "u2", "message": "  Ho "}'::jsonb) $$,
    'who has no name goes by the id');
select is(pg_temp.error('a', body), 'Message cannot be empty', 'blank: ' || body)
  from unnest(array['{"type": "chat"}', '{"type": "chat", "message": ""}', '{"type": "chat", "message": " \n\t "}', '{"type": "chat", "message": null}']) as body;
select is(pg_temp.error('a', '{"type": "chat", "message": "Hi", "roomId": "dev"}'), 'Not in room dev', 'one speaks where one is');
select is_empty('select from pg_temp.news()', 'errors publish nothing');

-- ---- join_room, leave_room ----
select results_eq($$ select kind from pg_temp.says('a', '{"type": "join_room", "roomId": "dev"}') $$, $$ values ('published') $$, 'join_room');
select results_eq('select kind, target, news from pg_temp.news()',
    $$ values ('unsubscribe', 'a', '"room:general"'::jsonb), ('subscribe', 'a', '"room:dev"'),
              ('topic', 'room:general', '{"type": "user_left", "data": {"userId": "u1", "username": "Ann", "roomId": "general"}}'),
              ('topic', 'room:dev', '{"type": "user_joined", "data": {"userId": "u1", "username": "Ann", "roomId": "dev"}}') $$,
    'leaves the old room and joins the new one');
select is((select metadata from pg_temp.connection('a')), '{"roomId": "dev"}'::jsonb, 'the connection is there now');
select is_empty($$ select from pg_temp.says('a', '{"type": "chat", "message": "Hi"}') where kind <> 'published' $$, 'and speaks');
select results_eq('select target from pg_temp.news()', $$ values ('room:dev') $$, 'there');
select is_empty($$ select from pg_temp.says('a', '{"type": "join_room", "roomId": "dev"}') where kind <> 'published' $$, 'the same room again');
select results_eq('select target, news ->> ''type'' from pg_temp.news()', $$ values ('room:dev', 'user_joined') $$, 'is not left');
select is(pg_temp.error('a', body), 'Room ID required', 'no room: ' || body)
  from unnest(array['{"type": "join_room"}', '{"type": "join_room", "roomId": ""}', '{"type": "join_room", "roomId": " "}',
                    '{"type": "join_room", "roomId": null}', '{"type": "join_room", "roomId": ["dev"]}']) as body;
select is((select metadata from pg_temp.connection('a')), '{"roomId": "dev"}'::jsonb, 'stays where it is');
select results_eq($$ select kind from pg_temp.says('a', '{"type": "leave_room"}') $$, $$ values ('published') $$, 'leave_room');
select results_eq('select kind, target, news, but_for from pg_temp.news()',
    $$ values ('unsubscribe', 'a', '"room:dev"'::jsonb, null), ('subscribe', 'a', '"room:general"', null),
              ('topic', 'room:dev', '{"type": "user_left", "data": {"userId": "u1", "username": "Ann", "roomId": "dev"}}', 'a') $$,
    'leaves the room, back to general');
select is((select metadata from pg_temp.connection('a')), '{"roomId": "general"}'::jsonb, 'the connection is there now');
select is_empty($$ select from pg_temp.says('a', '{"type": "leave_room"}') where kind <> 'published' $$, 'leaving general');
select results_eq('select kind, target, news ->> ''type'', but_for from pg_temp.news()', $$ values ('topic', 'room:general', 'user_left', 'a') $$,
    'is told to the others, and one is back in it');

-- ---- private_message ----
select from pg_temp.join('b2', '{"userId": "u2"}');
select count(*) from pg_temp.published();
select results_eq($$ select kind from pg_temp.says('a', '{"type": "private_message", "targetUserId": "u2", "message": "psst"}') $$,
    $$ values ('published') $$, 'private_message');
select results_eq('select kind, target, news from pg_temp.news()',
    $$ values ('user', 'u2', '{"type": "private_message", "data": {"senderId": "u1", "senderName": "Ann", "message": "psst"}}'::jsonb) $$,
    'to every connection of the target');
select is(pg_temp.error('a', '{"type": "private_message", "targetUserId": "u7", "message": "psst"}'), 'Target user not found or offline', 'offline');
select is(pg_temp.error('a', '{"type": "private_message", "message": "psst"}'), 'Target user ID required', 'to nobody');
select is(pg_temp.error('a', '{"type": "private_message", "targetUserId": "u2", "message": " "}'), 'Message cannot be empty', 'nothing to say');
select is_empty('select from pg_temp.news()', 'errors publish nothing');

-- ---- room_list ----
insert into switchboard.websocket_rooms (room_id) values ('support');
insert into switchboard.websocket_rooms (room_id, created_by) values ('left', 'u1');
select from pg_temp.join('c1');
select from pg_temp.join('c2');
select from pg_temp.join('b3', '{"userId": "u2"}');
select switchboard.subscribe('gone', 'room:dev');
select results_eq($$ select kind, frame from pg_temp.says('a', '{"type": "room_list"}') $$,
    $$ values ('reply', '{"type": "room_list", "data": {"rooms": [{"roomId": "general", "activeUsers": 4}, {"roomId": "dev", "activeUsers": 1},
                                                                    {"roomId": "support", "activeUsers": 0}]}}'::jsonb) $$,
    'rooms with the users in them: each user once, everyone who is anonymous');

-- ---- typing_indicator ----
select results_eq($$ select m.kind, m.target, pg_temp.frame(m.payload), m.except_connection
                       from pg_temp.message('a', '{"type": "typing_indicator", "isTyping": true}', null, '{chat}', 'typing_indicator') as m $$,
    $$ values ('topic', 'room:general', '{"type": "typing_indicator", "data": {"userId": "u1", "username": "Ann", "roomId": "general", "isTyping": true}}'::jsonb, 'a') $$,
    'typing_indicator: to the others in the room, not published');
select is((select frame #> '{data,isTyping}' from pg_temp.says('a', body)), 'false', body)
  from unnest(array['{"type": "typing_indicator", "isTyping": false}', '{"type": "typing_indicator"}', '{"type": "typing_indicator", "isTyping": "yes"}']) as body;

-- ---- ping, unknown, not JSON ----
select results_eq($$ select * from pg_temp.says('a', '{"type": "ping"}') $$, $$ values ('reply', '{"type": "pong", "data": {}}'::jsonb) $$, 'ping');
select is(pg_temp.error('a', body), message, body)
  from (values ('{"type": "dance"}', 'Unknown message type: dance'),
               ('{}', 'Unknown message type: null'),
               ('[1]', 'Unknown message type: null'),
               ('{"type": "$connect"}', 'Unknown message type: $connect'),
               ('{"type": "enter_room"}', 'Unknown message type: enter_room'),
               ('{"type": "frame"}', 'Unknown message type: frame'),
               ('{"type": "room_of"}', 'Unknown message type: room_of'),
               ('not json', 'Invalid JSON format'),
               ('', 'Invalid JSON format')) as v (body, message);
select results_eq(format('select e.kind, pg_temp.frame(e.payload) from switchboard.handle_error(%L, %L, %L, null, null, null, null, null, 0, %L, null, %L, %L) as e',
                         '{chat}', 'chat', 'a', '{}', code, message),
    format('values (%L, %L::jsonb)', 'reply', answer), code)
  from (values ('SB429', '1.2', '{"type": "error", "data": {"message": "Rate limit exceeded", "retryAfter": 2}}'),
               ('XX000', 'secret', '{"type": "error", "data": {"message": "Internal server error"}}')) as v (code, message, answer);

-- ---- history ----
select from pg_temp.says('a', '{"type": "join_room", "roomId": "history"}');
select last_seq as seq from switchboard.log_end() \gset
select count(*) from generate_series(1, 5) as n,
       pg_temp.says('a', jsonb_build_object('type', 'chat', 'message', 'm' || n)::text);
select from pg_temp.says('a', '{"type": "typing_indicator", "isTyping": true}');
select from pg_temp.says('a', '{"type": "chat", "message": "m6"}');
select count(*) from pg_temp.published();
create function pg_temp.history(id text, options jsonb default '{}') returns jsonb language sql as $$
    select s.frame -> 'data' from pg_temp.says(id, (options || '{"type": "history"}')::text) as s where s.frame ->> 'type' = 'history';
$$;
create function pg_temp.texts(data jsonb) returns text language sql as $$
    select (select coalesce(string_agg(m ->> 'message', ' ' order by n), '') from jsonb_array_elements(data -> 'messages') with ordinality as e (m, n))
           || case when data -> 'hasMore' = 'true' then ' ...' else '' end;
$$;
select is(pg_temp.texts(pg_temp.history('a')), 'm6 m5 m4 m3 m2 m1', 'history is newest first, and only what was said');
select is(pg_temp.history('a') ->> 'roomId', 'history', 'of the room one is in');
select is((pg_temp.history('a') #> '{messages,0}') - 'seq' - 'timestamp',
    '{"messageId": "message", "roomId": "history", "senderId": "u1", "senderName": "Ann", "message": "m6"}'::jsonb, 'as it was sent');
select ok((pg_temp.history('a') #>> '{messages,0,seq}')::bigint > :seq and (pg_temp.history('a') #> '{messages,0}') ? 'timestamp', 'with its seq and time');
select is(pg_temp.texts(pg_temp.history('a', '{"limit": 2}')), 'm6 m5 ...', 'a page');
select is(pg_temp.texts(pg_temp.history('a', jsonb_build_object('limit', 2, 'before', pg_temp.history('a', '{"limit": 2}') #> '{messages,1,seq}'))),
    'm4 m3 ...', 'the next page');
select is(pg_temp.texts(pg_temp.history('a', jsonb_build_object('limit', 4, 'before', pg_temp.history('a', '{"limit": 2}') #> '{messages,1,seq}'))),
    'm4 m3 m2 m1', 'the last page has no more');
select is(pg_temp.texts(pg_temp.history('a', '{"before": 1}')), '', 'before the first there is none');
select is(pg_temp.texts(pg_temp.history('a', options)), answer, 'options are bounded: ' || options::text)
  from (values ('{"limit": 0}'::jsonb, 'm6 ...'), ('{"limit": -3}', 'm6 m5 m4 m3 m2 m1'), ('{"limit": 1e9}', 'm6 m5 m4 m3 m2 m1'),
               ('{"limit": "x", "before": "y"}', 'm6 m5 m4 m3 m2 m1')) as v (options, answer);
select is(pg_temp.error('b', '{"type": "history", "roomId": "history"}'), 'Not in room history', 'not of a room that one is not in');
select is(pg_temp.texts(pg_temp.history('b')), 'Hi   Ho ', 'each room has its own');

-- ---- $disconnect ----
select is_empty($$ select * from pg_temp.disconnect('a', routes => '{chat}') $$, 'leaving is quiet');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'a' $$, 'and leaves the room');

select * from finish();
rollback;
