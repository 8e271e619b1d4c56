-- SPDX-License-Identifier: Apache-2.0
-- 110_messages_types.sql - typed messages {"type", "payload", "timestamp"}: their constructors and senders.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.typed_message(type text, payload jsonb)
returns jsonb
language sql stable parallel safe
begin atomic
    select jsonb_build_object('type', type, 'payload', payload, 'timestamp', switchboard.now_ms());
end;
comment on function switchboard.typed_message(text, jsonb) is
    'A message of any type in the shape of the four below.';

create or replace function switchboard.create_chat_response(
    message_id text, content text, is_complete boolean, retrieved_chunks jsonb default null)
returns jsonb
language sql stable parallel safe
begin atomic
    select switchboard.typed_message(
               'chat_response',
               jsonb_build_object('messageId', message_id, 'content', content, 'isComplete', is_complete)
               || case when retrieved_chunks is null
                       then '{}'
                       else jsonb_build_object('retrievedChunks', retrieved_chunks)
                  end);
end;
comment on function switchboard.create_chat_response(text, text, boolean, jsonb) is
    'chat_response: a part of an answer; retrieved_chunks is [{"documentName", "pageNumber", "text"}].';

create or replace function switchboard.create_typing_indicator(is_typing boolean)
returns jsonb
language sql stable parallel safe
begin atomic
    select switchboard.typed_message('typing_indicator', jsonb_build_object('isTyping', is_typing));
end;
comment on function switchboard.create_typing_indicator(boolean) is
    'typing_indicator: an answer is being written, or no longer.';

create or replace function switchboard.create_error(
    code text, message text, retryable boolean, retry_after integer default null)
returns jsonb
language sql stable parallel safe
begin atomic
    select switchboard.typed_message(
               'error',
               jsonb_build_object('code', code, 'message', message, 'retryable', retryable)
               || case when retry_after is null
                       then '{}'
                       else jsonb_build_object('retryAfter', retry_after)
                  end);
end;
comment on function switchboard.create_error(text, text, boolean, integer) is
    'error: retry_after in seconds, where it applies.';

create or replace function switchboard.create_system(message text, level text default 'info')
returns jsonb
language plpgsql stable parallel safe
set search_path = ''
as $$
begin
    if create_system.level is null or create_system.level not in ('info', 'warning', 'error') then
        raise exception 'not a level: %', create_system.level using errcode = 'invalid_parameter_value';
    end if;
    return switchboard.typed_message(
               'system', pg_catalog.jsonb_build_object('message', create_system.message,
                                                       'level', create_system.level));
end;
$$;
comment on function switchboard.create_system(text, text) is
    'system: level is info, warning or error.';

create or replace function switchboard.send_message(connection_id text, message jsonb)
returns boolean
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.send_to_connection(send_message.connection_id, send_message.message);
end;
$$;
comment on function switchboard.send_message(text, jsonb) is
    'sendMessage: the same as send_to_connection().  False when the connection is gone.';

create or replace function switchboard.broadcast_to_user(user_id text, message jsonb)
returns integer
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.send_to_user(broadcast_to_user.user_id, broadcast_to_user.message);
end;
$$;
comment on function switchboard.broadcast_to_user(text, jsonb) is
    'broadcastToUser: the same as send_to_user().  How many connections are reached.';

create or replace function switchboard.audit(action text, details jsonb default '{}')
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('audit', null, (coalesce(details, '{}') || jsonb_build_object('action', action))::text,
                null)::switchboard.delivery;
end;
comment on function switchboard.audit(text, jsonb) is
    'From a route: a line event=audit in the log of the service.  Sent to nobody.';

revoke all on all functions in schema switchboard from public;
