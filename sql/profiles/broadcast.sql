-- SPDX-License-Identifier: Apache-2.0
-- broadcast.sql - the profile broadcast: what one says all hear; anything else comes back as an echo.
-- Repeatable: applied again whenever this file changes.

create schema if not exists broadcast;
comment on schema broadcast is
    'Profile: echo and broadcast.  The action member of a message says which.';

create or replace function broadcast."$settings"()
returns jsonb
language sql immutable
begin atomic
    select jsonb_build_object('route_selection_expression', '$request.body.action',
                              'connection_ttl_seconds', 86400,
                              'message_retention_days', 7,
                              'auth', 'off',
                              'shared_transactions', true);
end;
comment on function broadcast."$settings"() is
    'What this profile asks of the service.';

create or replace function broadcast."$connect"(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select * from switchboard.accept();
end;
comment on function broadcast."$connect"(switchboard.event) is
    'Everybody may connect, and is not greeted.';

create or replace function broadcast."$disconnect"(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return; -- nobody is told
end;
$$;
comment on function broadcast."$disconnect"(switchboard.event) is
    'Leaving is quiet.';

create or replace function broadcast.echo_reply(message jsonb)
returns switchboard.delivery
language sql stable
begin atomic
    -- A JSON null is no message, and neither is an empty one.
    select switchboard.reply(jsonb_build_object(
               'type', 'echo',
               'message', coalesce(nullif(nullif(message, 'null'), '""'), to_jsonb(
                   'No message. To broadcast, send {"action": "sendMessage", "message": "Hello!"}'::text))));
end;
comment on function broadcast.echo_reply(jsonb) is
    'The message, back to its sender; when there is none, how to broadcast.';

create or replace function broadcast."sendMessage"(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select d.*
      from (select nullif(nullif(event.body -> 'message', 'null'), '""') as message) as m
     cross join lateral (select (case when m.message is null
                                      then broadcast.echo_reply(null)
                                      else switchboard.to_all(jsonb_build_object(
                                               'type', 'message', 'from', event.connection_id,
                                               'message', m.message))
                                 end).*) as d;
end;
comment on function broadcast."sendMessage"(switchboard.event) is
    'To every connection, the sender too.';

create or replace function broadcast."$default"(event switchboard.event)
returns setof switchboard.delivery
language sql stable
begin atomic
    select * from broadcast.echo_reply(event.body -> 'message');
end;
comment on function broadcast."$default"(switchboard.event) is
    'An echo of message.';

create or replace function broadcast."$error"(event switchboard.event, code text, message text)
returns setof switchboard.delivery
language sql stable
begin atomic
    select *
      from switchboard.reply(
               case when code = 'SB429'
                    then jsonb_build_object('type', 'error', 'message', 'Too many messages',
                                            'retryAfter', ceil(message::numeric)::integer)
                    else jsonb_build_object('type', 'error', 'message', message)
               end);
end;
comment on function broadcast."$error"(switchboard.event, text, text) is
    'A message whose route failed.  SB429: the client sends too fast, message is how many seconds to wait.';

revoke all on schema broadcast from public;
revoke all on all functions in schema broadcast from public;
