-- SPDX-License-Identifier: Apache-2.0
-- 010_deliveries.sql - what routes return: rows of switchboard.delivery.  Ephemeral: sent, never stored.
-- Repeatable: applied again whenever this file changes.
-- Plain expressions without a SET clause, so that the planner inlines them: a route says
-- "return next switchboard.reply(...)" in PL/pgSQL, or "select * from switchboard.reply(...)" in SQL.

create or replace function switchboard.now_ms()
returns bigint
language sql stable parallel safe
begin atomic
    select floor(extract(epoch from statement_timestamp()) * 1000)::bigint;
end;
comment on function switchboard.now_ms() is
    'Unix time in milliseconds, of the statement that is running.';

create or replace function switchboard.now_s()
returns bigint
language sql stable parallel safe
begin atomic
    select floor(extract(epoch from statement_timestamp()))::bigint;
end;
comment on function switchboard.now_s() is
    'Unix time in seconds, of the statement that is running.';

create or replace function switchboard.parse_json(document text)
returns jsonb
language plpgsql immutable parallel safe
set search_path = ''
as $$
begin
    return document::jsonb;
exception
    -- 22: not JSON, \u0000, half a surrogate pair, a number past numeric.  54: too long, too deep.
    when data_exception or program_limit_exceeded or statement_too_complex then
        return null;
end;
$$;
comment on function switchboard.parse_json(text) is
    'The text as jsonb, or null when it is not JSON that PostgreSQL can hold.';

create or replace function switchboard.reply(payload jsonb)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('reply', null, payload::text, null)::switchboard.delivery;
end;
comment on function switchboard.reply(jsonb) is
    'A delivery to the connection that the event came from.';

create or replace function switchboard.to_connection(connection_id text, payload jsonb)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('connection', connection_id, payload::text, null)::switchboard.delivery;
end;
comment on function switchboard.to_connection(text, jsonb) is
    'A delivery to one connection.';

create or replace function switchboard.to_user(user_id text, payload jsonb)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('user', user_id, payload::text, null)::switchboard.delivery;
end;
comment on function switchboard.to_user(text, jsonb) is
    'A delivery to every connection of a user.';

create or replace function switchboard.to_topic(
    topic text, payload jsonb, except_connection text default null)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('topic', topic, payload::text, except_connection)::switchboard.delivery;
end;
comment on function switchboard.to_topic(text, jsonb, text) is
    'A delivery to every connection subscribed to a topic, but for one if you say so.';

create or replace function switchboard.to_all(payload jsonb, except_connection text default null)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('all', null, payload::text, except_connection)::switchboard.delivery;
end;
comment on function switchboard.to_all(jsonb, text) is
    'A delivery to every connection, but for one if you say so.';

create or replace function switchboard.to_close(connection_id text, code integer, reason text)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    select row ('close', connection_id,
                jsonb_build_object('code', code, 'reason', reason)::text, null)::switchboard.delivery;
end;
comment on function switchboard.to_close(text, integer, text) is
    'Closes a connection with a close frame, after what was sent to it before.';

create or replace function switchboard.then_run(step text)
returns switchboard.delivery
language sql immutable parallel safe
begin atomic
    select row ('then', '$then:' || step, null, null)::switchboard.delivery;
end;
comment on function switchboard.then_run(text) is
    'In a route: what it returned goes out at once, and then the route "$then:<step>" of the same schemas runs for the same message, in a transaction of its own.';

create or replace function switchboard.accept(
    user_id text default null,
    user_email text default null,
    user_name text default null,
    subscription_type text default null,
    metadata jsonb default null,
    subprotocol text default null,
    ttl_seconds integer default null)
returns switchboard.delivery
language sql stable parallel safe
begin atomic
    -- concat_ws() leaves nulls out: half of what an object with all members costs, here and who reads it.
    select row ('accept', null,
                '{' || concat_ws(',', '"user_id":' || to_json(user_id)::text,
                                      '"user_email":' || to_json(user_email)::text,
                                      '"user_name":' || to_json(user_name)::text,
                                      '"subscription_type":' || to_json(subscription_type)::text,
                                      '"metadata":' || metadata::text,
                                      '"subprotocol":' || to_json(subprotocol)::text,
                                      '"ttl_seconds":' || ttl_seconds::text) || '}',
                null)::switchboard.delivery;
end;
comment on function switchboard.accept(text, text, text, text, jsonb, text, integer) is
    'Only from "$connect": the attributes of the connection that is being registered.  Null: the default.';

revoke all on all functions in schema switchboard from public;
