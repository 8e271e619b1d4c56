-- SPDX-License-Identifier: Apache-2.0
-- 080_deregister.sql - deregistering and touching connections, many at a time.  Neither waits for a row
-- that another transaction has locked.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.run_disconnects(
    routes text[], ids text[], codes integer[], reasons text[], request_ids text[])
returns switchboard.event_result[]
language plpgsql
as $$
declare
    schema_name constant text := switchboard.find_route(run_disconnects.routes, '$disconnect');
    events switchboard.event[];
    indexes integer[];
begin
    if schema_name is null then
        return '{}';
    end if;
    select pg_catalog.array_agg(
               row (c.connection_id, w.request_id, null, 'DISCONNECT', '$disconnect', null, null, null,
                    null, null, c.user_id, c.user_email, c.user_name, c.claims, c.subscription_type,
                    c.metadata, c.stage, c.source_ip, c.user_agent, c.connected_at, w.code,
                    w.reason)::switchboard.event order by w.position),
           pg_catalog.array_agg(w.position - 1 order by w.position)
      into events, indexes
      from rows from (pg_catalog.unnest(run_disconnects.ids), pg_catalog.unnest(run_disconnects.codes),
                      pg_catalog.unnest(run_disconnects.reasons),
                      pg_catalog.unnest(run_disconnects.request_ids)) with ordinality
           as w (connection_id, code, reason, request_id, position)
      join switchboard.websocket_connections as c on c.connection_id = w.connection_id;
    if events is null then
        return '{}';
    end if;
    return switchboard.run_batch(schema_name, '$disconnect', events, indexes);
end;
$$;
comment on function switchboard.run_disconnects(text[], text[], integer[], text[], text[]) is
    'Internal: runs "$disconnect" for connections that were deregistered; a null id is passed over.';

create or replace function switchboard.deregister_connections(
    routes text[], ids text[], codes integer[], reasons text[], request_ids text[])
returns setof switchboard.event_result
language plpgsql security definer
set search_path = ''
as $$
declare
    mine text[];
    results switchboard.event_result[];
begin
    -- The lock also keeps subscribe() away until this commits.
    mine := array(select c.connection_id
                    from switchboard.websocket_connections as c
                   where c.connection_id = any (deregister_connections.ids)
                     for update skip locked);
    update switchboard.websocket_connections as c
       set is_active = false,
           disconnected_at = pg_catalog.now(),
           disconnect_code = w.code,
           disconnect_reason = w.reason
      from rows from (pg_catalog.unnest(deregister_connections.ids),
                      pg_catalog.unnest(deregister_connections.codes),
                      pg_catalog.unnest(deregister_connections.reasons)) as w (connection_id, code, reason)
     where c.connection_id = w.connection_id
       and c.connection_id = any (mine)
       and c.is_active;
    -- Those that a verified address had deregistered before: now the socket is gone too, and they
    -- do not come back, see subscribe_email_verification().
    update switchboard.websocket_connections as c
       set expires_at = pg_catalog.now()
     where c.connection_id = any (mine)
       and c.disconnect_reason = 'Email verified'
       and c.expires_at > pg_catalog.now();
    delete from switchboard.websocket_subscriptions as s
     where s.connection_id = any (mine);
    results := switchboard.run_disconnects(
        deregister_connections.routes,
        array(select case when w.connection_id = any (mine) then w.connection_id end
                from pg_catalog.unnest(deregister_connections.ids) with ordinality
                     as w (connection_id, position)
               order by w.position),
        deregister_connections.codes, deregister_connections.reasons,
        deregister_connections.request_ids);
    return query
    select (w.position - 1)::integer, 'locked', w.connection_id, null::text, null::text
      from pg_catalog.unnest(deregister_connections.ids) with ordinality as w (connection_id, position)
      join switchboard.websocket_connections as c on c.connection_id = w.connection_id
     where w.connection_id <> all (mine);
    return query
    select r.* from pg_catalog.unnest(results) as r;
end;
$$;
comment on function switchboard.deregister_connections(text[], text[], integer[], text[], text[]) is
    'Deactivates connections, ends their subscriptions and runs "$disconnect".  locked: somebody holds the row, try again; unknown ids are passed over.';

create or replace function switchboard.touch_connections(
    ids text[], at_ms bigint[], renew_ttl_ms bigint)
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    ttl constant interval := nullif(renew_ttl_ms, 0) * interval '1 millisecond';
    touched integer;
begin
    with free as (
        select c.connection_id
          from switchboard.websocket_connections as c
         where c.connection_id = any (touch_connections.ids)
           and c.is_active
           for no key update skip locked
    )
    update switchboard.websocket_connections as c
       set last_activity_at = greatest(c.last_activity_at, w.at),
           -- It is in an index: moved in steps of a tenth, so that most updates stay HOT.
           expires_at = case when c.expires_at < w.at + ttl * 0.9
                             then w.at + ttl
                             else c.expires_at
                        end
      from free as f
      join (select u.connection_id,
                   max(timestamptz 'epoch' + u.at_ms * interval '1 millisecond') as at
              from rows from (pg_catalog.unnest(touch_connections.ids),
                              pg_catalog.unnest(touch_connections.at_ms)) as u (connection_id, at_ms)
             group by u.connection_id) as w on w.connection_id = f.connection_id
     where c.connection_id = f.connection_id;
    get diagnostics touched = row_count;
    return touched;
end;
$$;
comment on function switchboard.touch_connections(text[], bigint[], bigint) is
    'Moves the last activity of connections forward, and their end to renew_ttl_ms after it (null or 0: not); passes over those that are locked or closed.';

create or replace function switchboard.touch_connections(ids text[], at_ms bigint[])
returns integer
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.touch_connections(touch_connections.ids, touch_connections.at_ms, null);
end;
$$;
comment on function switchboard.touch_connections(text[], bigint[]) is
    'The same without moving the end of connections.';

revoke all on all functions in schema switchboard from public;
