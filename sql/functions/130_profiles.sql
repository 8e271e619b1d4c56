-- SPDX-License-Identifier: Apache-2.0
-- 130_profiles.sql - what a schema of routes asks of the service, and rate limits in the database.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.profile_settings(routes text[])
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
    candidate text;
    function_id regprocedure;
    part jsonb;
    merged jsonb := '{}';
    shared text[] := '{}';
begin
    foreach candidate in array profile_settings.routes loop
        function_id := pg_catalog.to_regprocedure(pg_catalog.format('%I."$settings"()', candidate));
        continue when pg_catalog.pg_get_function_result(function_id) is distinct from 'jsonb';
        begin
            execute pg_catalog.format('select %I."$settings"()', candidate) into part;
        exception
            -- A mistake in one schema must not cost a node its lease.
            when others then
                raise warning '%: %', function_id, sqlerrm;
                continue;
        end;
        if pg_catalog.jsonb_typeof(part) = 'object' then
            -- A schema says it of its own routes only.
            if part -> 'shared_transactions' = 'true' then
                shared := shared || candidate;
            end if;
            merged := part - 'shared_transactions' - 'connect_headers' || merged;
        end if;
    end loop;
    if shared <> '{}' then
        merged := merged || pg_catalog.jsonb_build_object('shared_schemas', shared);
    end if;
    return merged;
end;
$$;
comment on function switchboard.profile_settings(text[]) is
    'The settings that these schemas ask for with their "$settings"(); the first schema that names one wins.  shared_schemas: those that say shared_transactions.';

create or replace function switchboard.find_function(
    routes text[], name text, arguments text, result text)
returns regprocedure
language plpgsql stable
set search_path = ''
as $$
declare
    candidate text;
    function_id regprocedure;
begin
    foreach candidate in array find_function.routes loop
        function_id := pg_catalog.to_regprocedure(
            pg_catalog.format('%I.%I(%s)', candidate, find_function.name, find_function.arguments));
        if pg_catalog.pg_get_function_result(function_id) = find_function.result then
            return function_id;
        end if;
    end loop;
    return null;
end;
$$;
comment on function switchboard.find_function(text[], text, text, text) is
    'For profiles: the first of the schemas that has this function; null when none has.  It prints with its schema.';

-- A bucket is one instant: when it will be full again.  A token moves it 1/rate seconds on; there is
-- none left when it would move further than a whole bucket (burst/rate seconds) past now.
create or replace function switchboard.take_tokens(key text, rate real, burst real)
returns real
language plpgsql security definer
set search_path = ''
as $$
declare
    at constant timestamptz := pg_catalog.clock_timestamp();
    step constant interval := interval '1 second' / take_tokens.rate;
    bucket constant interval := step * take_tokens.burst;
    taken timestamptz;
begin
    if take_tokens.burst < 1 then
        raise exception 'a bucket holds at least one token' using errcode = 'invalid_parameter_value';
    end if;
    insert into switchboard.websocket_rate_limits as r (key, full_at)
    values (take_tokens.key, at + step)
        on conflict on constraint websocket_rate_limits_pkey do update
       set full_at = greatest(r.full_at, at) + step
     where greatest(r.full_at, at) + step <= at + bucket
    returning r.full_at into taken;
    if taken is not null then
        return 0;
    end if;
    return (select greatest(extract(epoch from r.full_at + step - bucket - at), 0.001)::real
              from switchboard.websocket_rate_limits as r
             where r.key = take_tokens.key);
end;
$$;
comment on function switchboard.take_tokens(text, real, real) is
    'Takes a token from the bucket of this key: rate tokens a second come in, burst is what it holds.  0: taken; else the seconds until there is one.';

create or replace function switchboard.forget_rate_limits(batch integer)
returns integer
language plpgsql
as $$
declare
    forgotten integer;
begin
    delete from switchboard.websocket_rate_limits as r
     where r.key = any (array(select f.key
                                from switchboard.websocket_rate_limits as f
                               where f.full_at < pg_catalog.now()
                               limit forget_rate_limits.batch
                                 for update skip locked));
    get diagnostics forgotten = row_count;
    return forgotten;
end;
$$;
comment on function switchboard.forget_rate_limits(integer) is
    'Internal: deletes up to so many buckets that are full.';

create or replace function switchboard.forget_rooms(batch integer)
returns integer
language plpgsql
as $$
declare
    forgotten integer;
begin
    delete from switchboard.websocket_rooms as r
     where r.room_id = any (array(select f.room_id
                                    from switchboard.websocket_rooms as f
                                   where f.created_by is not null
                                     and f.created_at < pg_catalog.now() - interval '1 day'
                                     and not exists (select
                                                       from switchboard.websocket_subscriptions as s
                                                      where s.topic = 'room:' || f.room_id)
                                   limit forget_rooms.batch
                                     for update skip locked));
    get diagnostics forgotten = row_count;
    return forgotten;
end;
$$;
comment on function switchboard.forget_rooms(integer) is
    'Internal: deletes up to so many rooms that users made and nobody is in; their history stays in the log.';

revoke all on all functions in schema switchboard from public;
