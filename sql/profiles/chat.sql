-- SPDX-License-Identifier: Apache-2.0
-- chat.sql - the profile chat: rooms, private messages, history.
-- Repeatable: applied again whenever this file changes.
-- A room is the topic room:<id>; which one a connection is in is in its metadata, {"roomId"}.  Functions
-- that are not routes have another signature than routes, so that a client cannot name them.

create schema if not exists chat;
comment on schema chat is
    'Profile: rooms, private messages, history.  The type member of a message says what it is.';

-- The room that everybody is in who asked for no other.
insert into switchboard.websocket_rooms (room_id) values ('general') on conflict do nothing;

create or replace function chat."$settings"()
returns jsonb
language sql immutable
begin atomic
    select jsonb_build_object('route_selection_expression', '$request.body.type',
                              'connection_ttl_seconds', 86400,
                              'message_retention_days', 30,
                              'auth', 'optional',
                              'shared_transactions', true);
end;
comment on function chat."$settings"() is
    'What this profile asks of the service.  In production say auth=required, so that users are who they say they are.';

-- ---- what clients get ----

create or replace function chat.frame(type text, data jsonb)
returns jsonb
language sql stable
begin atomic
    select jsonb_build_object('type', type,
                              'data', data || jsonb_build_object('timestamp', switchboard.now_s()));
end;
comment on function chat.frame(text, jsonb) is
    'The shape of everything that this profile sends.';

create or replace function chat.error_reply(message text)
returns switchboard.delivery
language sql stable
begin atomic
    select switchboard.reply(chat.frame('error', jsonb_build_object('message', message)));
end;
comment on function chat.error_reply(text) is
    'The error message of this profile.';

create or replace function chat.sender_name(event switchboard.event)
returns text
language sql immutable
begin atomic
    select coalesce(event.user_name, event.user_id);
end;
comment on function chat.sender_name(switchboard.event) is
    'The name of the user, else the id.';

-- ---- rooms ----

create or replace function chat.room_of(event switchboard.event)
returns text
language sql immutable
begin atomic
    select coalesce(event.metadata ->> 'roomId', 'general');
end;
comment on function chat.room_of(switchboard.event) is
    'The room that the connection is in.';

create or replace function chat.room_id(value jsonb)
returns text
language sql immutable
begin atomic
    select nullif(btrim(left(value #>> '{}', 200)), '')
     where jsonb_typeof(value) in ('string', 'number');
end;
comment on function chat.room_id(jsonb) is
    'A room as a client names it; null when it names none.';

-- Functions that read tables have text bodies: nothing depends on the tables, so migrations stay free.
create or replace function chat.is_in_room(connection_id text, room_id text)
returns boolean
language plpgsql stable
set enable_seqscan = off -- its plan is cached when there are few subscriptions
as $$
begin
    return exists (select
                     from switchboard.websocket_subscriptions as s
                    where s.topic = 'room:' || is_in_room.room_id
                      and s.connection_id = is_in_room.connection_id);
end;
$$;
comment on function chat.is_in_room(text, text) is
    'Whether a connection gets what is said in a room.';

create or replace function chat.enter_room(connection_id text, user_id text, room_id text)
returns void
language plpgsql
as $$
begin
    insert into switchboard.websocket_rooms (room_id, created_by)
    values (enter_room.room_id, enter_room.user_id)
        on conflict do nothing;
    perform switchboard.subscribe(enter_room.connection_id, 'room:' || enter_room.room_id);
end;
$$;
comment on function chat.enter_room(text, text, text) is
    'From its commit on the connection gets what is said in the room, which is made when it is new.';

create or replace function chat.membership_frame(type text, event switchboard.event, room_id text)
returns jsonb
language sql stable
begin atomic
    select chat.frame(type, jsonb_build_object('userId', event.user_id,
                                               'username', chat.sender_name(event),
                                               'roomId', room_id));
end;
comment on function chat.membership_frame(text, switchboard.event, text) is
    'user_joined and user_left.';

create or replace function chat.change_room(event switchboard.event, room_id text)
returns void
language plpgsql
as $$
declare
    old_room constant text := chat.room_of(event);
begin
    if old_room = room_id then
        return; -- leaving and entering again could miss what is said in between
    end if;
    perform switchboard.unsubscribe(event.connection_id, 'room:' || old_room);
    perform chat.enter_room(event.connection_id, event.user_id, room_id);
    perform switchboard.set_metadata(event.connection_id, jsonb_build_object('roomId', room_id));
end;
$$;
comment on function chat.change_room(switchboard.event, text) is
    'Takes the connection from its room to another.';

-- ---- connections ----

create or replace function chat."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    -- The gateway turned a good token into claims.  In the demo mode they name nobody.
    is_verified constant boolean := event.claims is not null and not event.claims ? 'demo';
    user_id constant text := coalesce(
        event.user_id,
        case when not is_verified then nullif(btrim(event.query ->> 'userId'), '') end,
        'anonymous');
    user_name constant text := coalesce(
        event.user_name,
        case when not is_verified then nullif(btrim(event.query ->> 'username'), '') end);
    room_id constant text := coalesce(chat.room_id(event.query -> 'roomId'), 'general');
begin
    if event.claims is null and event.query ->> 'token' <> '' then
        raise exception '{"error":"Invalid authentication token"}' using errcode = 'SB401';
    end if;
    perform chat.enter_room(event.connection_id, user_id, room_id);
    return next switchboard.accept(user_id => user_id, user_name => user_name,
                                   metadata => jsonb_build_object('roomId', room_id));
    return next switchboard.reply(chat.frame('welcome', jsonb_build_object(
               'connectionId', event.connection_id,
               'userId', user_id,
               'roomId', room_id,
               'message', format('Welcome to room %s!', room_id))));
end;
$$;
comment on function chat."$connect"(switchboard.event) is
    'Takes userId, username and roomId from the query (a token''s claims win), refuses a bad token, greets.';

create or replace function chat."$disconnect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return; -- the subscriptions are gone already, and nobody is told
end;
$$;
comment on function chat."$disconnect"(switchboard.event) is
    'Leaving is quiet: user_left says that somebody changes rooms.';

-- ---- routes ----

create or replace function chat.chat(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    message constant text := event.body ->> 'message';
    room_id constant text := coalesce(chat.room_id(event.body -> 'roomId'), chat.room_of(event));
begin
    if coalesce(btrim(message, E' \t\r\n'), '') = '' then
        return next chat.error_reply('Message cannot be empty');
    elsif not chat.is_in_room(event.connection_id, room_id) then
        return next chat.error_reply('Not in room ' || room_id);
    else
        perform switchboard.publish('room:' || room_id, chat.frame('chat', jsonb_build_object(
            'messageId', coalesce(event.message_id, gen_random_uuid()::text),
            'roomId', room_id,
            'senderId', event.user_id,
            'senderName', chat.sender_name(event),
            'message', message)));
    end if;
end;
$$;
comment on function chat.chat(switchboard.event) is
    'chat: published to the room, the sender too; the log is the history.';

create or replace function chat.join_room(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    old_room constant text := chat.room_of(event);
    room_id constant text := chat.room_id(event.body -> 'roomId');
begin
    if room_id is null then
        return next chat.error_reply('Room ID required');
        return;
    end if;
    perform chat.change_room(event, room_id);
    if room_id <> old_room then
        perform switchboard.publish('room:' || old_room,
                                    chat.membership_frame('user_left', event, old_room));
    end if;
    perform switchboard.publish('room:' || room_id,
                                chat.membership_frame('user_joined', event, room_id));
end;
$$;
comment on function chat.join_room(switchboard.event) is
    'join_room: user_left to the old room, user_joined to the new one, the joining connection too.';

create or replace function chat.leave_room(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    old_room constant text := chat.room_of(event);
begin
    perform chat.change_room(event, 'general');
    perform switchboard.publish('room:' || old_room,
                                chat.membership_frame('user_left', event, old_room),
                                event.connection_id);
    return;
end;
$$;
comment on function chat.leave_room(switchboard.event) is
    'leave_room: user_left to those who stay, and back to general.';

create or replace function chat.private_message(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
set enable_seqscan = off
as $$
declare
    message constant text := event.body ->> 'message';
    target constant text := event.body ->> 'targetUserId';
begin
    if coalesce(target, '') = '' then
        return next chat.error_reply('Target user ID required');
    elsif coalesce(btrim(message, E' \t\r\n'), '') = '' then
        return next chat.error_reply('Message cannot be empty');
    elsif not exists (select from switchboard.live_connections as c where c.user_id = target) then
        return next chat.error_reply('Target user not found or offline');
    else
        perform switchboard.send_to_user(target, chat.frame('private_message', jsonb_build_object(
            'senderId', event.user_id,
            'senderName', chat.sender_name(event),
            'message', message)));
    end if;
end;
$$;
comment on function chat.private_message(switchboard.event) is
    'private_message: published to every connection of the target user.';

create or replace function chat.rooms(own_room text)
returns table (room_id text, active_users bigint)
language sql stable
as $$
    -- Who said no name counts for one each.
    select r.room_id,
           count(distinct case when c.user_id = 'anonymous' then '*' || c.connection_id
                               else '=' || c.user_id
                          end) as active_users
      from switchboard.websocket_rooms as r
      left join switchboard.websocket_subscriptions as s on s.topic = 'room:' || r.room_id
      left join switchboard.live_connections as c on c.connection_id = s.connection_id
     group by r.room_id
    having count(c.connection_id) > 0
        or r.created_by is null
        or r.room_id = own_room
     order by active_users desc, r.room_id
     limit 1000;
$$;
comment on function chat.rooms(text) is
    'Rooms that somebody is in, and those that an application made; the fullest first.';

create or replace function chat.room_list(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return next switchboard.reply(chat.frame('room_list', jsonb_build_object('rooms', (
        select coalesce(jsonb_agg(jsonb_build_object('roomId', r.room_id, 'activeUsers', r.active_users)
                                  order by r.active_users desc, r.room_id), '[]')
          from chat.rooms(chat.room_of(event)) as r))));
end;
$$;
comment on function chat.room_list(switchboard.event) is
    'room_list: the rooms and how many users are in them.';

create or replace function chat.typing_indicator(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select *
      from switchboard.to_topic(
               'room:' || chat.room_of(event),
               chat.frame('typing_indicator', jsonb_build_object(
                   'userId', event.user_id,
                   'username', chat.sender_name(event),
                   'roomId', chat.room_of(event),
                   'isTyping', coalesce(event.body -> 'isTyping' = 'true', false))),
               event.connection_id);
end;
comment on function chat.typing_indicator(switchboard.event) is
    'typing_indicator: to the others in the room, never stored.';

create or replace function chat.ping(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select * from switchboard.reply(chat.frame('pong', '{}'));
end;
comment on function chat.ping(switchboard.event) is
    'ping: answered.';

create or replace function chat.whole_number(value jsonb)
returns bigint
language sql immutable
begin atomic
    select case when jsonb_typeof(value) = 'number' and value::text ~ '^[0-9]{1,18}$'
                then value::text::bigint
           end;
end;
comment on function chat.whole_number(jsonb) is
    'A number that a client sent; null when it is none.';

create or replace function chat.history(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    room_id constant text := coalesce(chat.room_id(event.body -> 'roomId'), chat.room_of(event));
    max_rows constant integer :=
        least(greatest(coalesce(chat.whole_number(event.body -> 'limit'), 50), 1), 100);
    messages jsonb;
begin
    if not chat.is_in_room(event.connection_id, room_id) then
        return next chat.error_reply('Not in room ' || room_id);
        return;
    end if;
    -- One more than is shown, to know whether there is more.
    select coalesce(jsonb_agg(h.payload -> 'data' || jsonb_build_object('seq', h.seq)
                              order by h.seq desc), '[]')
      into messages
      from switchboard.topic_history('room:' || room_id, chat.whole_number(event.body -> 'before'),
                                     max_rows + 1, '{"type": "chat"}') as h;
    return next switchboard.reply(chat.frame('history', jsonb_build_object(
               'roomId', room_id,
               'messages', case when jsonb_array_length(messages) > max_rows
                                then messages - max_rows
                                else messages
                           end,
               'hasMore', jsonb_array_length(messages) > max_rows)));
end;
$$;
comment on function chat.history(switchboard.event) is
    'history: what was said in a room that one is in, newest first; before is the seq of the oldest message seen.';

create or replace function chat."$default"(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select *
      from chat.error_reply(case when event.body is null
                                 then 'Invalid JSON format'
                                 else 'Unknown message type: '
                                      || coalesce(left(event.body ->> 'type', 200), 'null')
                            end);
end;
comment on function chat."$default"(switchboard.event) is
    'What is no message of this profile.';

create or replace function chat."$error"(event switchboard.event, code text, message text)
returns setof switchboard.delivery
language sql stable
begin atomic
    select *
      from switchboard.reply(chat.frame('error',
               case when code = 'SB429'
                    then jsonb_build_object('message', 'Rate limit exceeded',
                                            'retryAfter', ceil(message::numeric)::integer)
                    else jsonb_build_object('message', message)
               end));
end;
comment on function chat."$error"(switchboard.event, text, text) is
    'A message whose route failed.  SB429: the client sends too fast, message is how many seconds to wait.';

revoke all on schema chat from public;
revoke all on all functions in schema chat from public;
