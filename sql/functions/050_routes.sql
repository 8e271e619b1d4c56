-- SPDX-License-Identifier: Apache-2.0
-- 050_routes.sql - finding and running route functions.
-- Repeatable: applied again whenever this file changes.
--
-- A route is a function named like the route key, with one argument of type switchboard.event, that
-- returns (a set of) switchboard.delivery.  Routes run with the rights of the owner of schema
-- switchboard: whoever may create functions in a schema that the service lists is trusted like him.

-- In the functions that run for every message, what can be an assignment is one: PL/pgSQL evaluates
-- it without starting the executor, which "perform" and "select into" do.

create or replace function switchboard.find_route(
    routes text[], route_key text, arguments text default 'switchboard.event')
returns text
language plpgsql stable
as $$
declare
    candidate text;
    function_id regprocedure;
begin
    foreach candidate in array find_route.routes loop
        function_id := pg_catalog.to_regprocedure(
            pg_catalog.format('%I.%I(%s)', candidate, find_route.route_key, find_route.arguments));
        -- Anything else is somebody's helper and not for clients to call.
        if pg_catalog.pg_get_function_result(function_id)
           in ('SETOF switchboard.delivery', 'switchboard.delivery') then
            return candidate;
        end if;
    end loop;
    return null;
end;
$$;
comment on function switchboard.find_route(text[], text, text) is
    'Internal: the first of the schemas that has this route; null when none has.  Only where search_path is empty.';

create or replace function switchboard.find_message_route(routes text[], route_key text)
returns text[]
language plpgsql stable
as $$
declare
    schema_name text;
begin
    -- No client gets at "$connect" or "$error" by naming it, and a long name is not cut to fit.
    -- The steps of then_run() come from routes: a message's key never begins with a dollar.
    if (find_message_route.route_key !~ '^\$' or find_message_route.route_key ~ '^\$then:')
       and pg_catalog.octet_length(find_message_route.route_key) between 1 and 63 then
        schema_name := switchboard.find_route(find_message_route.routes, find_message_route.route_key);
        if schema_name is not null then
            return array[schema_name, find_message_route.route_key];
        end if;
        if find_message_route.route_key = 'resume' then -- every profile has it, see switchboard.resume()
            return array['switchboard', 'resume'];
        end if;
    end if;
    schema_name := switchboard.find_route(find_message_route.routes, '$default');
    return case when schema_name is not null then array[schema_name, '$default'] end;
end;
$$;
comment on function switchboard.find_message_route(text[], text) is
    'Internal: schema and function of a message: the route named like its key, else the built-in resume, else "$default", else null.';

create or replace function switchboard.route_search_path(schema_name text)
returns text
language sql immutable
begin atomic
    select pg_catalog.format('%I, switchboard, public, pg_temp', schema_name);
end;
comment on function switchboard.route_search_path(text) is
    'Internal: the search_path that the routes of a schema run with.';

create or replace function switchboard.route_table(routes text[])
returns table (route_key text, schema_name text, function_name text)
language sql stable security definer
set search_path = ''
as $$
    select distinct on (p.proname)
           p.proname::text, n.nspname::text, p.oid::pg_catalog.regprocedure::text
      from pg_catalog.unnest(routes || array['switchboard']) with ordinality as r (name, priority)
      join pg_catalog.pg_namespace as n on n.nspname = r.name
      join pg_catalog.pg_proc as p on p.pronamespace = n.oid
     where p.prorettype = 'switchboard.delivery'::pg_catalog.regtype
       and p.prokind = 'f'
       and (p.proargtypes = ('switchboard.event'::regtype::oid)::text::oidvector
            and (p.proname !~ '^\$' or p.proname ~ '^\$then:'
                 or p.proname in ('$connect', '$disconnect', '$default'))
            -- Of the routes that are built in only this one can be reached.
            and (n.nspname <> 'switchboard' or p.proname = 'resume')
            or p.proname = '$error'
           and p.proargtypes = pg_catalog.concat_ws(' ', 'switchboard.event'::regtype::oid, 'text'::regtype::oid,
                                                     'text'::regtype::oid)::oidvector)
     order by p.proname, r.priority;
$$;
comment on function switchboard.route_table(text[]) is
    'Which function handles which route key, given these schemas in this order.';

create or replace function switchboard.verdict(code text, message text)
returns switchboard.event_result
language sql immutable
as $$
    select case when code ~ '^SB[45][0-9][0-9]$'
                then row (0, 'refuse', substr(code, 3), message, null)::switchboard.event_result
                else row (0, 'error', code, message, null)::switchboard.event_result
           end;
$$;
comment on function switchboard.verdict(text, text) is
    'Internal: what an exception in a route means: SBnnn refuses with that status, anything else is an error.';

create or replace function switchboard.run_batch(
    schema_name text, route_key text, events switchboard.event[], indexes integer[])
returns switchboard.event_result[]
language plpgsql
set search_path = ''
as $$
declare
    each constant text := pg_catalog.format(
        'select pg_catalog.array_agg(row ($2[i], d.kind, d.target, d.payload, d.except_connection)::switchboard.event_result)'
        '  from pg_catalog.generate_subscripts($1, 1) as i, %I.%I($1[i]) as d'
        ' where d.kind is not null', schema_name, route_key);
    results switchboard.event_result[];
    result switchboard.event_result;
    part switchboard.event_result[];
    code text;
    message text;
    is_done boolean := false;
    before constant text := switchboard.begin_event();
begin
    perform pg_catalog.set_config(
                'search_path', switchboard.route_search_path(run_batch.schema_name), true);
    if pg_catalog.cardinality(events) > 1 then
        -- All in one go; an exception undoes all of it, and then each gets its own chance.
        begin
            execute each into results using events, indexes;
            is_done := true;
        exception
            when others then
                results := null;
        end;
    end if;
    if not is_done then
        for n in 1 .. pg_catalog.cardinality(events) loop
            begin
                execute each into part using events[n:n], indexes[n:n];
                results := results || part;
            exception
                when others then -- not a cancelled query: that one ends the whole batch
                    get stacked diagnostics code = returned_sqlstate, message = message_text;
                    result := switchboard.verdict(code, message);
                    result.event_index := indexes[n];
                    results := results || result;
            end;
        end loop;
    end if;
    if switchboard.end_event(before) then
        results := results || row (-1, 'published', null, null, null)::switchboard.event_result;
    end if;
    return coalesce(results, '{}');
end;
$$;
comment on function switchboard.run_batch(text, text, switchboard.event[], integer[]) is
    'Internal: runs a route for many events, so that an exception of one touches only that one.  Deliveries and verdicts, each with the index of its event.';

revoke all on all functions in schema switchboard from public;
