-- SPDX-License-Identifier: Apache-2.0
-- chatbot.sql - the profile chatbot: authenticated users talk to respond(), in typed messages.
-- Repeatable: applied again whenever this file changes.
-- What answers is yours: a function respond(event switchboard.event) returns setof text in a schema that
-- stands in front of this one (setting routes).

create schema if not exists chatbot;
comment on schema chatbot is
    'Profile: authenticated, typed messages.  The action member of a message says what it is.';

create or replace function chatbot."$settings"()
returns jsonb
language sql immutable
begin atomic
    select jsonb_build_object('route_selection_expression', '$request.body.action',
                              'connection_ttl_seconds', 600,
                              'renew_ttl', true,
                              'ping_interval_ms', 60000,
                              'message_retention_days', 30,
                              'auth', 'required',
                              'shared_transactions', true,
                              'rate_limit_connection', '5/s:20',
                              'rate_limit_user', '10/s:40');
end;
comment on function chatbot."$settings"() is
    'What this profile asks of the service.';

-- ---- connections ----

create or replace function chatbot.audit(
    action text, event switchboard.event, details jsonb default '{}')
returns switchboard.delivery
language sql stable
begin atomic
    select switchboard.audit(action, details || jsonb_build_object('userId', event.user_id,
                                                                   'connectionId', event.connection_id,
                                                                   'requestId', event.request_id,
                                                                   'sourceIp', event.source_ip));
end;
comment on function chatbot.audit(text, switchboard.event, jsonb) is
    'Who did what; never what was said.';

create or replace function chatbot."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    -- The authorizer passes lists on as JSON text.
    roles constant jsonb := coalesce(switchboard.parse_json(event.claims ->> 'roles'), '[]');
begin
    if event.user_id is null then
        raise exception '{"message":"Unauthorized"}' using errcode = 'SB401';
    end if;
    return next switchboard.accept(metadata => jsonb_build_object(
                    'sessionId', event.claims -> 'sessionId', 'roles', roles));
    return next chatbot.audit('connect', event,
                              jsonb_build_object('sessionId', event.claims -> 'sessionId'));
end;
$$;
comment on function chatbot."$connect"(switchboard.event) is
    'The claims of the token say who it is; without a user nobody gets in.';

create or replace function chatbot."$disconnect"(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select *
      from chatbot.audit('disconnect', event,
                         jsonb_build_object('code', event.disconnect_code,
                                            'reason', event.disconnect_reason));
end;
comment on function chatbot."$disconnect"(switchboard.event) is
    'For the audit.';

-- ---- sessions ----

create or replace function chatbot.session_of(event switchboard.event)
returns text
language sql immutable
begin atomic
    select coalesce(nullif(left(event.body #>> '{data,sessionId}', 200), ''),
                    event.metadata ->> 'sessionId', event.connection_id);
end;
comment on function chatbot.session_of(switchboard.event) is
    'The session of a message: the one it names, else the one of the token, else its connection.';

create or replace function chatbot.session_history(
    event switchboard.event, max_rows integer default 100)
returns table (message jsonb)
language plpgsql stable
as $$
declare
    topic constant text := 'session:' || chatbot.session_of(event);
    of_user constant jsonb := jsonb_build_object('userId', event.user_id);
begin
    -- What was published a moment ago may not be in the log yet.  Only what this user said and was
    -- told: who guesses the name of a session learns nothing.
    return query
    select h.message
      from (select o.payload::jsonb as message, true as is_new, o.id as position
              from (select n.kind, n.target, n.payload, n.id
                      from switchboard.websocket_outbox as n
                     order by n.id desc
                     limit 1000) as o
             where o.kind = 'topic'
               and o.target = topic
               and o.payload::jsonb @> of_user
            union all
            select l.payload, false, l.seq
              from switchboard.topic_history(topic, null, max_rows, of_user) as l
             order by is_new desc, position desc
             limit max_rows) as h
     order by h.is_new, h.position;
end;
$$;
comment on function chatbot.session_history(switchboard.event, integer) is
    'The typed messages of the session of this message, oldest first, without the message itself: chat_message is what the user said, chat_response what was answered.';

create or replace function chatbot.respond(event switchboard.event)
returns setof text
language plpgsql
as $$
declare
    question constant text := event.body #>> '{data,message}';
    said constant text[] := array(
        select h.message #>> '{payload,content}'
          from chatbot.session_history(event) with ordinality as h (message, position)
         where h.message ->> 'type' = 'chat_message'
         order by h.position);
begin
    return next format('You said: "%s".', question);
    if cardinality(said) = 0 then
        return next 'That is the first message of this session.';
    else
        return next format('Before that you said, in %s message%s: %s.', cardinality(said),
                           case when cardinality(said) > 1 then 's' else '' end,
                           (select string_agg(format('"%s"', s.content), ', ' order by s.position)
                              from unnest(said) with ordinality as s (content, position)
                             where s.position > cardinality(said) - 5));
    end if;
end;
$$;
comment on function chatbot.respond(switchboard.event) is
    'The answer in one or more parts: from the history of the session.  Yours, in a schema in front, replaces it.';

create or replace function chatbot.answer(event switchboard.event)
returns setof text
language plpgsql
as $$
declare
    responder constant regprocedure := switchboard.find_function(
        coalesce(nullif(current_setting('switchboard.routes', true), '')::text[], '{}')
        || array['chatbot'],
        'respond', 'switchboard.event', 'SETOF text');
begin
    return query execute format('select r.part from %s($1) as r (part) where r.part is not null',
                                responder::regproc)
    using event;
end;
$$;
comment on function chatbot.answer(switchboard.event) is
    'What the first respond() says that the schemas in front have.';

-- ---- routes ----

create or replace function chatbot.store(event switchboard.event, message jsonb)
returns void
language plpgsql
as $$
begin
    perform switchboard.publish(
        'session:' || chatbot.session_of(event),
        message || jsonb_build_object('userId', event.user_id, 'connectionId', event.connection_id));
end;
$$;
comment on function chatbot.store(switchboard.event, jsonb) is
    'Adds a message to the history of the session: the log of a topic that nobody subscribes to.';

create or replace function chatbot.chat_message(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    question constant jsonb := event.body #> '{data,message}';
    message_id constant text := coalesce(event.message_id, gen_random_uuid()::text);
    parts text[];
begin
    if event.user_id is null then
        return next switchboard.reply(switchboard.create_error(
            'UNAUTHORIZED', 'Authentication is required. Please reconnect.', true));
        return;
    end if;
    if jsonb_typeof(question) is distinct from 'string'
       or btrim(question #>> '{}', E' \t\r\n') = '' then
        return next switchboard.reply(switchboard.create_error(
            'INVALID_MESSAGE', 'Message content is required and must be a string.', false));
        return;
    end if;
    return next chatbot.audit('chat_message', event, jsonb_build_object(
                    'sessionId', chatbot.session_of(event), 'messageId', message_id,
                    'characters', length(question #>> '{}')));
    return next switchboard.reply(switchboard.create_typing_indicator(true));
    -- The client sees the typing while the answer is being made.
    return next switchboard.then_run('answer');
end;
$$;
comment on function chatbot.chat_message(switchboard.event) is
    'chat_message: typing_indicator true at once; "$then:answer" does the rest.';

create or replace function chatbot."$then:answer"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    message_id constant text := coalesce(event.message_id, gen_random_uuid()::text);
    parts constant text[] := array(select a.part from chatbot.answer(event) as a (part));
begin
    perform chatbot.store(event, switchboard.typed_message('chat_message', jsonb_build_object(
                'messageId', message_id, 'content', event.body #> '{data,message}')));
    for n in 1 .. cardinality(parts) loop
        return next switchboard.reply(switchboard.create_chat_response(
                        message_id, parts[n], n = cardinality(parts)));
    end loop;
    -- No part: whoever answers later also ends the typing, with send_message().
    if cardinality(parts) > 0 then
        perform chatbot.store(event, switchboard.create_chat_response(
                    message_id, array_to_string(parts, ' '), true));
        return next switchboard.reply(switchboard.create_typing_indicator(false));
    end if;
end;
$$;
comment on function chatbot."$then:answer"(switchboard.event) is
    'What respond() says as chat_response, typing_indicator false; both sides go into the history of the session.';

create or replace function chatbot."$default"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    action constant text := left(event.body ->> 'action', 200);
begin
    return next chatbot.audit('invalid_action', event, jsonb_build_object('invalidAction', action));
    return next switchboard.reply(switchboard.create_error(
        'INVALID_ACTION',
        case when event.body is null then 'Invalid JSON format.'
             when action is null then 'An action is required.'
             else format('Unknown action: %s', action)
        end, false));
end;
$$;
comment on function chatbot."$default"(switchboard.event) is
    'What is no message of this profile.';

create or replace function chatbot."$error"(event switchboard.event, code text, message text)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    if code = 'SB429' then
        return next chatbot.audit('rate_limited', event);
        return next switchboard.reply(switchboard.create_error(
            'RATE_LIMIT_EXCEEDED',
            format('Rate limit exceeded. Try again in %s seconds.', ceil(message::numeric)), true,
            ceil(message::numeric)::integer));
    else
        return next switchboard.reply(switchboard.create_error(
            case when code like 'SB4%' then 'INVALID_MESSAGE' else 'INTERNAL_ERROR' end, message,
            code not like 'SB4%'));
        if event.route_key = '$then:answer' then
            return next switchboard.reply(switchboard.create_typing_indicator(false));
        end if;
    end if;
end;
$$;
comment on function chatbot."$error"(switchboard.event, text, text) is
    'A message whose route failed, or (SB429) came too fast: message is how many seconds to wait.';

revoke all on schema chatbot from public;
revoke all on all functions in schema chatbot from public;
