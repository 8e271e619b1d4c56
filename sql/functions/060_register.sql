-- SPDX-License-Identifier: Apache-2.0
-- 060_register.sql - registering connections, many at a time.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.connect_events(events jsonb)
returns switchboard.event[]
language sql immutable
as $$
    select pg_catalog.array_agg(
               row (x.context ->> 'connectionId', x.context ->> 'requestId', null, 'CONNECT', '$connect',
                    null, null, x.event -> 'queryStringParameters', x.event -> 'headers', null,
                    coalesce(x.claims ->> 'userId', x.claims ->> 'sub'),
                    coalesce(x.claims ->> 'userEmail', x.claims ->> 'email'),
                    coalesce(x.claims ->> 'userName', x.claims ->> 'username', x.claims ->> 'name'),
                    x.claims, null, null,
                    x.context ->> 'stage', x.context #>> '{identity,sourceIp}',
                    x.context #>> '{identity,userAgent}',
                    timestamptz 'epoch'
                    + (x.context ->> 'connectedAt')::bigint * interval '1 millisecond',
                    null, null)::switchboard.event
               order by x.position)
      from (select e.event, e.position, e.event -> 'requestContext' as context,
                   e.event #> '{requestContext,authorizer}' as claims
              from pg_catalog.jsonb_array_elements(events) with ordinality as e (event, position)
           ) as x;
$$;
comment on function switchboard.connect_events(jsonb) is
    'Internal: API Gateway CONNECT events as an array of switchboard.event, in the same order.';

create or replace function switchboard.insert_events(
    node_id text, endpoint text, ttl_ms bigint, events switchboard.event[],
    results switchboard.event_result[], present text[])
returns switchboard.event_result[]
language plpgsql
set enable_nestloop = off -- the planner takes the arrays for small
set plan_cache_mode = force_generic_plan -- a plan for these very arrays costs half as much as the insert
as $$
declare
    accepted switchboard.event_result[];
begin
    with given as materialized (
        select e.*, a.accepted
          from pg_catalog.unnest(insert_events.events) with ordinality
               as e (connection_id, request_id, message_id, event_type, route_key, body, raw_body, query,
                     headers, token, user_id, user_email, user_name, claims, subscription_type, metadata,
                     stage, source_ip, user_agent, connected_at, disconnect_code, disconnect_reason,
                     position)
          left join (select distinct on (r.event_index)
                            r.event_index, r.kind, r.payload
                       from pg_catalog.unnest(insert_events.results) with ordinality
                            as r (event_index, kind, target, payload, except_connection, position)
                      where r.kind in ('accept', 'refuse', 'error')
                      -- The last accept() counts, a refusal more.
                      order by r.event_index, r.kind = 'accept', r.position desc) as v
            on v.event_index = e.position - 1
         cross join lateral (select case when v.kind = 'accept' then v.payload::jsonb end as accepted) as a
         where v.kind is null
            or v.kind = 'accept'
    ), inserted as (
        insert into switchboard.websocket_connections as c (
            connection_id, user_id, user_email, user_name, subscription_type, connection_type,
            api_gateway_endpoint, node_id, stage, source_ip, user_agent, claims, metadata, connected_at,
            expires_at)
        select g.connection_id,
               coalesce(g.accepted ->> 'user_id', g.user_id),
               lower(btrim(coalesce(g.accepted ->> 'user_email', g.user_email))),
               coalesce(g.accepted ->> 'user_name', g.user_name),
               g.accepted ->> 'subscription_type',
               case when insert_events.node_id is null then 'aws' else 'local' end,
               insert_events.endpoint, insert_events.node_id, g.stage, g.source_ip,
               g.user_agent, g.claims,
               coalesce(nullif(g.accepted -> 'metadata', 'null'), '{}'),
               coalesce(g.connected_at, pg_catalog.now()),
               pg_catalog.now()
               + coalesce((g.accepted ->> 'ttl_seconds')::bigint * 1000, insert_events.ttl_ms)
                 * interval '1 millisecond'
          from given as g
         where g.connection_id <> all (insert_events.present)
            or g.connection_id is null -- an error
        returning c.connection_id, c.user_id
    ), subscribed as (
        insert into switchboard.websocket_outbox (kind, target, payload)
        select 'subscribe', i.connection_id, 'user:' || i.user_id
          from inserted as i
         where i.user_id is not null
         union all
        -- No node knows since when this one gets what is for all: the log says it.
        select 'subscribe', i.connection_id, '*'
          from inserted as i
         where insert_events.node_id is null
        returning 1
    )
    select pg_catalog.array_agg(a.verdict)
      into accepted
      from (select row ((g.position - 1)::integer, 'accept', null,
                        case when g.accepted ->> 'subprotocol' is not null
                             then pg_catalog.jsonb_build_object('subprotocol', g.accepted -> 'subprotocol')::text
                        end, null)::switchboard.event_result as verdict
              from given as g
             union all
            select row (-1, 'published', null, null, null)::switchboard.event_result
             where exists (select from subscribed)) as a;
    return accepted;
end;
$$;
comment on function switchboard.insert_events(text, text, bigint, switchboard.event[], switchboard.event_result[], text[]) is
    'Internal: one insert for all events of a batch that were not refused and are not present.  Their accept rows, and published when it published.';

create or replace function switchboard.insert_connections(
    node_id text, endpoint text, ttl_ms bigint, events switchboard.event[],
    results switchboard.event_result[])
returns setof switchboard.event_result
language plpgsql
as $$
declare
    accepted switchboard.event_result[];
begin
    begin
        -- Not "on conflict", as in insert_handshakes().
        accepted := switchboard.insert_events(node_id, endpoint, ttl_ms, events, results, '{}');
    exception
        when unique_violation then
            accepted := switchboard.insert_events(
                node_id, endpoint, ttl_ms, events, results,
                array(select c.connection_id
                        from switchboard.websocket_connections as c
                       where c.connection_id = any (array(select e.connection_id
                                                            from pg_catalog.unnest(events) as e))));
    end;
    return query
    select a.* from pg_catalog.unnest(accepted) as a;
end;
$$;
comment on function switchboard.insert_connections(text, text, bigint, switchboard.event[], switchboard.event_result[]) is
    'Internal: insert_events(), which leaves those alone that are there already.';

create or replace function switchboard.register_events(
    schema_name text, node_id text, endpoint text, ttl_ms bigint, events switchboard.event[])
returns setof switchboard.event_result
language plpgsql
as $$
declare
    results switchboard.event_result[] := '{}';
begin
    if register_events.schema_name is not null and register_events.events is not null then
        perform pg_catalog.set_config('switchboard.is_registering', 'on', true);
        results := switchboard.run_batch(
            register_events.schema_name, '$connect', register_events.events,
            array(select i - 1 from pg_catalog.generate_subscripts(register_events.events, 1) as i));
        perform pg_catalog.set_config('switchboard.is_registering', 'off', true);
    end if;
    return query
    select i.*
      from switchboard.insert_connections(
               register_events.node_id, register_events.endpoint, register_events.ttl_ms,
               register_events.events, results) as i;
    return query
    select r.*
      from pg_catalog.unnest(results) as r
     where r.kind <> 'accept';
    -- Behind the welcome.
    if exists (select
                 from pg_catalog.unnest(register_events.events) as e
                where e.query ? 'resume') then
        return query
        select r.* from switchboard.resume_connects(register_events.events, results) as r;
    end if;
end;
$$;
comment on function switchboard.register_events(text, text, text, bigint, switchboard.event[]) is
    'Internal: runs "$connect" of that schema (null: there is none) for a batch and inserts those that it did not refuse.';

create or replace function switchboard.register_connections(
    routes text[], node_id text, endpoint text, ttl_ms bigint, events jsonb)
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
as $$
declare
    before constant text := switchboard.begin_event();
begin
    return query
    select r.*
      from switchboard.register_events(
               switchboard.find_route(register_connections.routes, '$connect'),
               register_connections.node_id, register_connections.endpoint,
               register_connections.ttl_ms,
               switchboard.connect_events(register_connections.events)) as r;
    perform switchboard.end_event(before); -- both parts say by themselves what they published
end;
$$;
comment on function switchboard.register_connections(text[], text, text, bigint, jsonb) is
    'Registers a batch of CONNECT events.  Per event accept, refuse or error, and its deliveries, in the end the answer to ?resume=; connections that are there already are left alone.';

create or replace function switchboard.handshake_events(
    stage text, connection_ids text[], request_ids text[], connected_at_ms bigint[],
    source_ips text[], user_agents text[], claims jsonb[], queries jsonb[], headers jsonb[])
returns switchboard.event[]
language sql immutable
as $$
    select pg_catalog.array_agg(
               row (h.connection_id, h.request_id, null, 'CONNECT', '$connect', null, null, h.query,
                    h.headers, null, coalesce(h.claims ->> 'userId', h.claims ->> 'sub'),
                    coalesce(h.claims ->> 'userEmail', h.claims ->> 'email'),
                    coalesce(h.claims ->> 'userName', h.claims ->> 'username', h.claims ->> 'name'),
                    h.claims, null, null, handshake_events.stage, h.source_ip, h.user_agent,
                    timestamptz 'epoch' + h.connected_at_ms * interval '1 millisecond',
                    null, null)::switchboard.event
               order by h.position)
      from unnest(connection_ids, request_ids, connected_at_ms, source_ips, user_agents, claims,
                  queries, headers) with ordinality
           as h (connection_id, request_id, connected_at_ms, source_ip, user_agent, claims, query,
                 headers, position);
$$;
comment on function switchboard.handshake_events(text, text[], text[], bigint[], text[], text[], jsonb[], jsonb[], jsonb[]) is
    'Internal: handshakes as an array of switchboard.event, in the same order.';

create or replace function switchboard.reads_headers(schema_name text)
returns boolean
language plpgsql stable
as $$
declare
    settings jsonb;
begin
    if schema_name is null then
        return false;
    end if;
    if pg_catalog.to_regprocedure(pg_catalog.format('%I."$settings"()', schema_name)) is not null then
        execute pg_catalog.format('select %I."$settings"()', schema_name) into settings;
    end if;
    return settings -> 'connect_headers' is distinct from 'false';
exception
    when others then -- a mistake in the settings is not the client's
        return true;
end;
$$;
comment on function switchboard.reads_headers(text) is
    'Internal: whether the "$connect" of this schema (null: there is none) is to get the headers; its "$settings" may say connect_headers: false.';

create or replace function switchboard.insert_handshakes(
    node_id text, endpoint text, ttl_ms bigint, stage text, connection_ids text[],
    connected_at_ms bigint[], source_ips text[], user_agents text[])
returns void
language plpgsql
as $$
begin
    -- Not "on conflict": that is a quarter of the insert, and ids are new but for one in a lifetime.
    insert into switchboard.websocket_connections as c (
        connection_id, connection_type, api_gateway_endpoint, node_id, stage, source_ip, user_agent,
        connected_at, expires_at)
    select h.connection_id, 'local', insert_handshakes.endpoint, insert_handshakes.node_id,
           insert_handshakes.stage, h.source_ip, h.user_agent,
           timestamptz 'epoch' + h.connected_at_ms * interval '1 millisecond',
           pg_catalog.now() + insert_handshakes.ttl_ms * interval '1 millisecond'
      from unnest(insert_handshakes.connection_ids, insert_handshakes.connected_at_ms,
                  insert_handshakes.source_ips, insert_handshakes.user_agents)
           as h (connection_id, connected_at_ms, source_ip, user_agent);
exception
    when unique_violation then
        perform switchboard.insert_connections(
                    node_id, endpoint, ttl_ms,
                    switchboard.handshake_events(stage, connection_ids, null, connected_at_ms,
                                                 source_ips, user_agents, null, null, null), '{}');
end;
$$;
comment on function switchboard.insert_handshakes(text, text, bigint, text, text[], bigint[], text[], text[]) is
    'Internal: the rows of handshakes without a route and without claims; those that are there already are left alone.';

create or replace function switchboard.register_connections(
    routes text[], node_id text, endpoint text, ttl_ms bigint, stage text, connection_ids text[],
    request_ids text[], connected_at_ms bigint[], source_ips text[], user_agents text[],
    claims jsonb[], queries text[], headers jsonb[])
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
set plan_cache_mode = force_generic_plan -- as in insert_connections()
as $$
declare
    schema_name constant text := switchboard.find_route(routes, '$connect');
    before text;
begin
    if not switchboard.reads_headers(schema_name) then
        return next row (-1, 'no_headers', null, null, null)::switchboard.event_result;
    elsif headers is null then
        return next row (-1, 'headers', null, null, null)::switchboard.event_result;
        return;
    end if;
    return next row (-1, 'accepted', null, null, null)::switchboard.event_result;
    if schema_name is null and pg_catalog.array_position(claims, null) = 1
       and pg_catalog.array_remove(claims, null) = '{}'
       and pg_catalog.array_to_string(queries, '') !~ 'resume' then
        perform switchboard.insert_handshakes(
                    node_id, endpoint, ttl_ms, stage, connection_ids, connected_at_ms, source_ips,
                    user_agents);
        return;
    end if;
    before := switchboard.begin_event();
    return query
    select r.*
      from switchboard.register_events(
               schema_name, register_connections.node_id, register_connections.endpoint,
               register_connections.ttl_ms,
               switchboard.handshake_events(
                   stage, connection_ids, request_ids, connected_at_ms, source_ips, user_agents,
                   claims, queries::jsonb[], headers)) as r
     where r.kind <> 'accept' or r.payload is not null;
    perform switchboard.end_event(before);
end;
$$;
comment on function switchboard.register_connections(text[], text, text, bigint, text, text[], text[], bigint[], text[], text[], jsonb[], text[], jsonb[]) is
    'The same for the handshakes of a node.  accepted: so is every event that has no verdict of its own; no_headers: nobody reads them, so they may be null; headers: somebody does, nothing was done, and they are wanted.';

create or replace function switchboard.restore_connections(
    node_id text, endpoint text, ttl_ms bigint, connections jsonb)
returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
    restored integer;
begin
    with given as (
        select g."connectionId" as connection_id, g.stage, g."sourceIp" as source_ip,
               g."userAgent" as user_agent,
               timestamptz 'epoch' + g."connectedAt" * interval '1 millisecond' as connected_at
          from pg_catalog.jsonb_to_recordset(restore_connections.connections)
               as g ("connectionId" text, stage text, "sourceIp" text, "userAgent" text,
                     "connectedAt" bigint)
         order by 1 -- two that restore the same rows do not deadlock
    ), added as (
        insert into switchboard.websocket_connections as c (
            connection_id, connection_type, api_gateway_endpoint, node_id, stage, source_ip, user_agent,
            connected_at, expires_at)
        select g.connection_id, 'local', restore_connections.endpoint, restore_connections.node_id,
               g.stage, g.source_ip, g.user_agent, coalesce(g.connected_at, pg_catalog.now()),
               pg_catalog.now() + restore_connections.ttl_ms * interval '1 millisecond'
          from given as g
            on conflict on constraint websocket_connections_pkey do nothing
        returning 1
    ), dead as (
        -- Not in the insert: it would wait for every row that somebody has locked.
        select c.connection_id
          from switchboard.websocket_connections as c
         where c.connection_id = any (array(select g.connection_id from given as g))
           and not c.is_active
           and c.disconnect_code = 1006
           and c.disconnect_reason = 'Node lease expired'
           for update skip locked
    ), revived as (
        update switchboard.websocket_connections as c
           set is_active = true,
               node_id = restore_connections.node_id,
               api_gateway_endpoint = restore_connections.endpoint,
               disconnected_at = null,
               disconnect_code = null,
               disconnect_reason = null
          from dead as d
         where c.connection_id = d.connection_id
        returning 1
    )
    select (select count(*) from added) + (select count(*) from revived) into restored;
    insert into switchboard.websocket_subscriptions (topic, connection_id)
    select t.topic, g.connection ->> 'connectionId'
      from pg_catalog.jsonb_array_elements(restore_connections.connections) as g (connection)
     cross join pg_catalog.jsonb_array_elements_text(g.connection -> 'topics') as t (topic)
      join switchboard.websocket_connections as c
        on c.connection_id = g.connection ->> 'connectionId'
       and c.is_active
     where t.topic not like 'user:%'
     order by 1, 2
        on conflict do nothing;
    return restored;
end;
$$;
comment on function switchboard.restore_connections(text, text, bigint, jsonb) is
    'After an outage a gateway says what it still holds: missing rows come back, and those that were taken for dead with its lease.  Returns how many.';

revoke all on all functions in schema switchboard from public;
