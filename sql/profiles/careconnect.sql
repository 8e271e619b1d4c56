-- SPDX-License-Identifier: Apache-2.0
-- careconnect.sql - the profile careconnect: one backend behind $connect, $disconnect and $default.
-- Repeatable: applied again whenever this file changes.
-- Only "$connect", "$default" and "$error" can be reached as routes: the rest have another signature.

create schema if not exists careconnect;
comment on schema careconnect is
    'Profile: e-mail verification, authentication, updates, notifications.  The type member of a message says what it is.';

-- No throttle: its API Gateway stage has one (100 requests/s, burst 500), and whoever wants it here
-- sets rate_limit_stage.
create or replace function careconnect."$settings"()
returns jsonb
language sql immutable
begin atomic
    select jsonb_build_object('route_selection_expression', '$request.body.action',
                              'connection_ttl_seconds', 7200,
                              'message_retention_days', 30,
                              'auth', 'off',
                              'shared_transactions', true,
                              'connect_headers', false);
end;
comment on function careconnect."$settings"() is
    'What this profile asks of the service.';

create or replace function careconnect."$connect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    wanted constant text := nullif(event.query ->> 'type', '');
begin
    if wanted not in ('email-verification', 'authenticated', 'notifications') then
        raise exception '%', jsonb_build_object('message', 'Unknown subscription type')
            using errcode = 'SB400';
    end if;
    return next switchboard.accept(user_email => nullif(btrim(event.query ->> 'email'), ''),
                              subscription_type => wanted);
    return next switchboard.reply(jsonb_build_object(
               'type', 'connection-established',
               'message', 'Connected to CareConnect real-time service',
               'sessionId', event.connection_id));
end;
$$;
comment on function careconnect."$connect"(switchboard.event) is
    'Takes email and type from the query, refuses an unknown type, greets.';

create or replace function careconnect.error_reply(message text)
returns switchboard.delivery
language sql stable
begin atomic
    select switchboard.reply(jsonb_build_object('type', 'error', 'message', message,
                                                'timestamp', switchboard.now_ms()));
end;
comment on function careconnect.error_reply(text) is
    'The error message of this profile.';

create or replace function careconnect.handle_heartbeat(event switchboard.event, message jsonb)
returns switchboard.delivery
language sql stable
begin atomic
    select switchboard.reply(jsonb_build_object('type', 'heartbeat-response',
                                                'timestamp', switchboard.now_ms()));
end;
comment on function careconnect.handle_heartbeat(switchboard.event, jsonb) is
    'heartbeat: answered.';

create or replace function careconnect.handle_subscribe_email_verification(
    event switchboard.event, message jsonb)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    email constant text := message ->> 'email';
begin
    if coalesce(btrim(email), '') = '' then
        return next careconnect.error_reply('Email is required for email verification subscription');
        return;
    end if;
    perform switchboard.subscribe_email_verification(event.connection_id, email);
    return next switchboard.reply(jsonb_build_object(
               'type', 'email-verification-subscription-confirmed',
               'email', email,
               'message', 'Subscribed to email verification notifications',
               'timestamp', switchboard.now_ms()));
end;
$$;
comment on function careconnect.handle_subscribe_email_verification(switchboard.event, jsonb) is
    'subscribe-email-verification: the connection waits for the verification of an address.';

create or replace function careconnect.handle_authenticate(event switchboard.event, message jsonb)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    token constant jsonb := event.token; -- its claims; null when missing or not valid
    user_id constant text := coalesce(token ->> 'userId', token ->> 'sub');
    user_email constant text := coalesce(token ->> 'email', token ->> 'userEmail');
begin
    if coalesce(user_id, '') = '' then
        return next switchboard.reply(jsonb_build_object('type', 'authentication-failed',
                                                    'message', 'Invalid or missing token'));
        return next switchboard.to_close(event.connection_id, 1008, 'Authentication failed');
        return;
    end if;
    perform switchboard.identify(
        event.connection_id, user_id, user_email, coalesce(token ->> 'username', token ->> 'name'), token,
        -- Who waits for a verification goes on waiting.
        case when event.subscription_type is distinct from 'email-verification'
             then 'authenticated'
        end);
    return next switchboard.reply(jsonb_build_object(
               'type', 'authentication-success',
               'userId', user_id,
               'userEmail', user_email,
               'userRole', coalesce(token ->> 'role', token ->> 'userRole')));
end;
$$;
comment on function careconnect.handle_authenticate(switchboard.event, jsonb) is
    'authenticate: the gateway has verified the token; its claims say who the connection is.';

create or replace function careconnect.wanted_updates(message jsonb)
returns text[]
language sql immutable
as $$
    select coalesce(array_agg(t.name order by t.position), array['all'])
      from (select u.value #>> '{}' as name, min(u.position) as position
              from jsonb_array_elements(case when jsonb_typeof(message -> 'updateTypes') = 'array'
                                             then message -> 'updateTypes'
                                             else '[]'
                                        end) with ordinality as u (value, position)
             where jsonb_typeof(u.value) = 'string'
               and u.value #>> '{}' <> ''
             group by 1) as t;
$$;
comment on function careconnect.wanted_updates(jsonb) is
    'The names in updateTypes, each once; {all} when there are none.';

create or replace function careconnect.handle_subscribe_to_updates(
    event switchboard.event, message jsonb)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    wanted constant text[] := careconnect.wanted_updates(message);
begin
    if event.user_id is null then
        return next careconnect.error_reply('User not authenticated');
        return;
    end if;
    if cardinality(wanted) > 100 then
        return next careconnect.error_reply('Too many update types');
        return;
    end if;
    perform switchboard.unsubscribe(event.connection_id, 'updates:' || u.name)
       from jsonb_array_elements_text(coalesce(event.metadata -> 'updateTypes', '[]')) as u (name)
      where u.name <> all (wanted);
    perform switchboard.subscribe(event.connection_id, 'updates:' || u.name)
       from unnest(wanted) as u (name);
    perform switchboard.set_metadata(event.connection_id, jsonb_build_object('updateTypes', wanted));
    return next switchboard.reply(jsonb_build_object('type', 'subscription-confirmed',
                                                'userId', event.user_id,
                                                'subscribedTo', wanted,
                                                'timestamp', switchboard.now_ms()));
end;
$$;
comment on function careconnect.handle_subscribe_to_updates(switchboard.event, jsonb) is
    'subscribe-to-updates: the topics updates:<type>; what was wanted before and is not now ends.';

create or replace function careconnect.handle_ai_chat_notification(
    event switchboard.event, message jsonb)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    if event.user_id is null then
        return next careconnect.error_reply('User not authenticated');
    elsif coalesce(message ->> 'targetUserId', '') = '' then
        return next careconnect.error_reply('Target user ID is required');
    elsif message ->> 'message' is null then
        return next careconnect.error_reply('Message is required');
    else
        perform switchboard.send_to_user(message ->> 'targetUserId', jsonb_build_object(
            'type', 'ai-chat-response',
            'fromUserId', event.user_id,
            'fromUserName', coalesce(event.user_name, event.user_email, event.user_id),
            'conversationId', message -> 'conversationId',
            'message', message -> 'message',
            'timestamp', switchboard.now_ms()));
    end if;
end;
$$;
comment on function careconnect.handle_ai_chat_notification(switchboard.event, jsonb) is
    'ai-chat-notification: published to every connection of the target user.';

create or replace function careconnect.handle_medication_reminder(
    event switchboard.event, message jsonb)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    if event.user_id is null then
        return next careconnect.error_reply('User not authenticated');
    elsif coalesce(message ->> 'patientId', '') = '' then
        return next careconnect.error_reply('Patient ID is required');
    elsif coalesce(message ->> 'medicationName', '') = '' then
        return next careconnect.error_reply('Medication name is required');
    else
        perform switchboard.send_to_user(message ->> 'patientId', jsonb_build_object(
            'type', 'medication-reminder',
            'medicationName', message -> 'medicationName',
            'reminderTime', message -> 'reminderTime',
            'message', 'Time to take your ' || (message ->> 'medicationName'),
            'timestamp', switchboard.now_ms()));
    end if;
end;
$$;
comment on function careconnect.handle_medication_reminder(switchboard.event, jsonb) is
    'medication-reminder: published to every connection of the patient.';

create or replace function careconnect."$default"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
declare
    message constant jsonb := event.body;
begin
    if message is null then
        return next careconnect.error_reply('Invalid JSON format');
        return;
    end if;
    case message ->> 'type'
        when 'heartbeat' then
            return next careconnect.handle_heartbeat(event, message);
        when 'subscribe-email-verification' then
            return query select * from careconnect.handle_subscribe_email_verification(event, message);
        when 'authenticate' then
            return query select * from careconnect.handle_authenticate(event, message);
        when 'subscribe-to-updates' then
            return query select * from careconnect.handle_subscribe_to_updates(event, message);
        when 'ai-chat-notification' then
            return query select * from careconnect.handle_ai_chat_notification(event, message);
        when 'medication-reminder' then
            return query select * from careconnect.handle_medication_reminder(event, message);
        else
            return next careconnect.error_reply('Unknown message type: '
                                           || coalesce(left(message ->> 'type', 200), 'null'));
    end case;
end;
$$;
comment on function careconnect."$default"(switchboard.event) is
    'Every message of this profile: dispatches on its type.';

create or replace function careconnect."$error"(event switchboard.event, code text, message text)
returns setof switchboard.delivery
language sql stable
begin atomic
    select * from careconnect.error_reply(message);
end;
comment on function careconnect."$error"(switchboard.event, text, text) is
    'A message whose route failed gets the error message of this profile.';

revoke all on schema careconnect from public;
revoke all on all functions in schema careconnect from public;
