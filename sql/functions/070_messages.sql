-- SPDX-License-Identifier: Apache-2.0
-- 070_messages.sql - one message of a connection, one statement.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.message_event(
    route_key text, connection_id text, request_id text, message_id text, stage text, source_ip text,
    user_agent text, connected_at_ms bigint, body text, token jsonb)
returns switchboard.event
language plpgsql
set enable_seqscan = off -- see 030_connections.sql
as $$
declare
    event switchboard.event;
begin
    select c.user_id, c.user_email, c.user_name, c.claims, c.subscription_type, c.metadata
      into event.user_id, event.user_email, event.user_name, event.claims, event.subscription_type,
           event.metadata
      from switchboard.websocket_connections as c
     where c.connection_id = message_event.connection_id;
    event.connection_id := message_event.connection_id;
    event.request_id := message_event.request_id;
    event.message_id := message_event.message_id;
    event.event_type := 'MESSAGE';
    event.route_key := message_event.route_key;
    event.raw_body := message_event.body;
    event.token := message_event.token;
    event.stage := message_event.stage;
    event.source_ip := message_event.source_ip;
    event.user_agent := message_event.user_agent;
    event.connected_at :=
        timestamptz 'epoch' + message_event.connected_at_ms * interval '1 millisecond';
    event.body := switchboard.parse_json(message_event.body);
    return event;
end;
$$;
comment on function switchboard.message_event(text, text, text, text, text, text, text, bigint, text, jsonb) is
    'Internal: a MESSAGE event, with what the row of its connection says.';

create or replace function switchboard.handle_message(
    routes text[], route_key text, connection_id text, request_id text, message_id text, stage text,
    source_ip text, user_agent text, connected_at_ms bigint, body text, token jsonb)
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
as $$
declare
    route constant text[] :=
        switchboard.find_message_route(handle_message.routes, handle_message.route_key);
    event switchboard.event;
    before text;
    ignored text;
    returned bigint;
    -- Set by the service for its sessions.
    most constant bigint :=
        coalesce(nullif(pg_catalog.current_setting('switchboard.max_deliveries', true), ''), '10000');
begin
    if route is null then
        return next row (0, 'forbidden', null, null, null)::switchboard.event_result;
        return;
    end if;
    event := switchboard.message_event(
        handle_message.route_key, handle_message.connection_id, handle_message.request_id,
        handle_message.message_id, handle_message.stage, handle_message.source_ip,
        handle_message.user_agent, handle_message.connected_at_ms, handle_message.body,
        handle_message.token);
    before := switchboard.begin_event();
    ignored := pg_catalog.set_config('search_path', switchboard.route_search_path(route[1]), true);
    ignored := pg_catalog.set_config('switchboard.routes', handle_message.routes::text, true);
    return query execute pg_catalog.format(
        'select 0, d.kind, d.target, d.payload, d.except_connection from %I.%I($1) as d where d.kind is not null',
        route[1], route[2])
    using event;
    get diagnostics returned = row_count;
    if returned > most then
        raise exception 'the route returned % rows, more than max_deliveries (%)', returned, most
            using errcode = 'program_limit_exceeded';
    end if;
    if switchboard.end_event(before) then
        return next row (0, 'published', null, null, null)::switchboard.event_result;
    end if;
end;
$$;
comment on function switchboard.handle_message(text[], text, text, text, text, text, text, text, bigint, text, jsonb) is
    'Runs the route of one message and returns its deliveries; published when it published; forbidden when no route matches.  Exceptions of the route come through.';

-- Planned once: with plans of its own for each call, planning is most of what it takes.
create or replace function switchboard.message_events(
    route_keys text[], connection_ids text[], request_ids text[], message_ids text[], stage text,
    source_ips text[], user_agents text[], connected_at_ms bigint[], bodies text[], parsed jsonb[],
    tokens jsonb[])
returns switchboard.event[]
language plpgsql stable
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return array(
        select row (m.connection_id, m.request_id, m.message_id, 'MESSAGE', m.route_key, m.body,
                    m.raw_body, null, null, m.token, c.user_id, c.user_email, c.user_name, c.claims,
                    c.subscription_type, c.metadata, message_events.stage, m.source_ip, m.user_agent,
                    timestamptz 'epoch' + m.connected_at * interval '1 millisecond',
                    null, null)::switchboard.event
          from unnest(message_events.route_keys, message_events.connection_ids,
                      message_events.request_ids, message_events.message_ids,
                      message_events.source_ips, message_events.user_agents,
                      message_events.connected_at_ms, message_events.bodies, message_events.parsed,
                      message_events.tokens) with ordinality
               as m (route_key, connection_id, request_id, message_id, source_ip, user_agent,
                     connected_at, raw_body, body, token, position)
          -- Not joined but looked up, each by its key.
          left join lateral (select f.user_id, f.user_email, f.user_name, f.claims,
                                    f.subscription_type, f.metadata
                               from switchboard.websocket_connections as f
                              where f.connection_id = m.connection_id
                             offset 0) as c on true
         order by m.position);
end;
$$;
comment on function switchboard.message_events(text[], text[], text[], text[], text, text[], text[], bigint[], text[], jsonb[], jsonb[]) is
    'Internal: MESSAGE events, as message_event() makes one, in the order of the arrays.';

create or replace function switchboard.parse_bodies(bodies text[])
returns jsonb[]
language plpgsql stable
as $$
begin
    return bodies::jsonb[];
exception
    when others then -- one of them is not JSON
        return array(select switchboard.parse_json(b.body)
                       from pg_catalog.unnest(bodies) with ordinality as b (body, position)
                      order by b.position);
end;
$$;
comment on function switchboard.parse_bodies(text[]) is
    'Internal: parse_json() for many.';

-- What messages in one transaction share is its commit and nothing else.  So here is no handler for
-- exceptions: when one fails, all is undone, and the caller runs each in a transaction of its own.
-- A message whose route may not be in company ends the batch: from there on all are "alone", so that
-- none overtakes it.
create or replace function switchboard.handle_messages(
    routes text[], shared_schemas text[], stage text, route_keys text[], connection_ids text[],
    request_ids text[], message_ids text[], source_ips text[], user_agents text[],
    connected_at_ms bigint[], bodies text[], tokens jsonb[])
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
as $$
declare
    events constant switchboard.event[] := switchboard.message_events(
        route_keys, connection_ids, request_ids, message_ids, stage, source_ips, user_agents,
        connected_at_ms, bodies, switchboard.parse_bodies(bodies), tokens);
    before constant text := switchboard.begin_event();
    count constant integer := pg_catalog.cardinality(route_keys);
    -- Waiting for somebody's lock is not for company.
    patience constant text := pg_catalog.set_config('lock_timeout', '50ms', true);
    ignored text := pg_catalog.set_config('switchboard.routes', routes::text, true);
    returned bigint;
    most constant bigint :=
        coalesce(nullif(pg_catalog.current_setting('switchboard.max_deliveries', true), ''), '10000');
    key text;
    route text[];
    next_route text[] := switchboard.find_message_route(routes, route_keys[1]);
    first integer := 1;
begin
    for n in 1 .. count loop
        key := route_keys[n];
        route := next_route;
        if route is null then
            return next row (n - 1, 'forbidden', null, null, null)::switchboard.event_result;
        elsif route[1] <> all (shared_schemas) then
            -- The target says who is to blame.
            return next row (n - 1, 'alone', key, null, null)::switchboard.event_result;
            return query
            select i - 1, 'alone', null::text, null::text, null::text
              from pg_catalog.generate_series(n + 1, count) as i;
            exit;
        end if;
        if n < count and route_keys[n + 1] <> key then
            next_route := switchboard.find_message_route(routes, route_keys[n + 1]);
        end if;
        if n = count or next_route is distinct from route then
            if route is not null then
                ignored := pg_catalog.set_config(
                    'search_path', switchboard.route_search_path(route[1]), true);
                return query execute pg_catalog.format(
                    'select $2 + i - 2, d.kind, d.target, d.payload, d.except_connection'
                    '  from pg_catalog.generate_subscripts($1, 1) as i, %I.%I($1[i]) as d'
                    ' where d.kind is not null', route[1], route[2])
                using events[first:n], first;
                get diagnostics returned = row_count;
                ignored := pg_catalog.set_config('search_path', '', true); -- for find_route()
                if returned > most then
                    raise exception 'the routes returned % rows, more than max_deliveries (%)', returned, most
                        using errcode = 'program_limit_exceeded';
                end if;
            end if;
            first := n + 1;
        end if;
    end loop;
    if switchboard.end_event(before) then
        return next row (-1, 'published', null, null, null)::switchboard.event_result;
    end if;
end;
$$;
comment on function switchboard.handle_messages(text[], text[], text, text[], text[], text[], text[], text[], text[], bigint[], text[], jsonb[]) is
    'handle_message() for many messages in one transaction, those of routes in shared_schemas; alone for the others, which the caller runs one by one.  Exceptions of a route come through and undo all.';

create or replace function switchboard.handle_error(
    routes text[], route_key text, connection_id text, request_id text, message_id text, stage text,
    source_ip text, user_agent text, connected_at_ms bigint, body text, token jsonb,
    sqlstate text, message text)
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
as $$
declare
    route constant text[] :=
        switchboard.find_message_route(handle_error.routes, handle_error.route_key);
    -- The schema that owns the route comes first.
    schema_name constant text :=
        switchboard.find_route(route[1:1] || handle_error.routes, '$error',
                               'switchboard.event, text, text');
    event switchboard.event;
    before text;
begin
    if schema_name is null then
        return next row (0, 'unhandled', null, null, null)::switchboard.event_result;
        return;
    end if;
    event := switchboard.message_event(
        handle_error.route_key, handle_error.connection_id, handle_error.request_id,
        handle_error.message_id, handle_error.stage, handle_error.source_ip, handle_error.user_agent,
        handle_error.connected_at_ms, handle_error.body, handle_error.token);
    before := switchboard.begin_event();
    perform pg_catalog.set_config('search_path', switchboard.route_search_path(schema_name), true);
    return query execute pg_catalog.format(
        'select 0, d.kind, d.target, d.payload, d.except_connection from %I."$error"($1, $2, $3) as d where d.kind is not null',
        schema_name)
    using event, handle_error.sqlstate,
          case when handle_error.sqlstate ~ '^SB[45][0-9][0-9]$'
               then handle_error.message
               else 'Internal server error' -- what went wrong inside is not the client's business
          end;
    if switchboard.end_event(before) then
        return next row (0, 'published', null, null, null)::switchboard.event_result;
    end if;
end;
$$;
comment on function switchboard.handle_error(text[], text, text, text, text, text, text, text, bigint, text, jsonb, text, text) is
    'After handle_message failed: runs "$error"(event, code, message) of the schema that owns the route, or of the first that has one; unhandled when none has.';

revoke all on all functions in schema switchboard from public;
