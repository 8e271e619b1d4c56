-- SPDX-License-Identifier: Apache-2.0
-- 100_cleanup.sql - the cleanup job, in bounded batches that wait for nobody.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.connection_nodes()
returns table (node_id text, is_alive boolean)
language sql stable
as $$
    -- One probe of the index for each node, however many connections it has.
    with recursive holder (node_id) as (
        (select c.node_id
           from switchboard.websocket_connections as c
          where c.is_active
            and c.node_id is not null
          order by c.node_id
          limit 1)
        union all
        select (select c.node_id
                  from switchboard.websocket_connections as c
                 where c.is_active
                   and c.node_id > h.node_id
                 order by c.node_id
                 limit 1)
          from holder as h
         where h.node_id is not null
    )
    select h.node_id,
           exists (select
                     from switchboard.websocket_nodes as n
                    where n.node_id = h.node_id
                      and n.expires_at > pg_catalog.now())
      from holder as h
     where h.node_id is not null;
$$;
comment on function switchboard.connection_nodes() is
    'Internal: the nodes that active connections name, and whether their lease is valid.';

create or replace function switchboard.deactivate(
    ids text[], code integer, reason text)
returns integer
language plpgsql
as $$
declare
    changed integer;
begin
    update switchboard.websocket_connections as c
       set is_active = false,
           disconnected_at = pg_catalog.now(),
           disconnect_code = deactivate.code,
           disconnect_reason = deactivate.reason
     where c.connection_id = any (deactivate.ids)
       and c.is_active;
    get diagnostics changed = row_count;
    delete from switchboard.websocket_subscriptions as s
     where s.connection_id = any (deactivate.ids);
    return changed;
end;
$$;
comment on function switchboard.deactivate(text[], integer, text) is
    'Internal: deactivates connections that the caller has locked, and ends their subscriptions.';

create or replace function switchboard.cleanup_expired(batch integer)
returns integer
language plpgsql
as $$
declare
    holder record;
    ids text[];
    total integer := 0;
begin
    for holder in
        select n.node_id from switchboard.connection_nodes() as n where n.is_alive
        union all
        select null
    loop
        ids := array(select c.connection_id
                       from switchboard.websocket_connections as c
                      where c.is_active
                        and c.node_id = holder.node_id
                        and c.expires_at <= pg_catalog.now()
                      order by c.expires_at
                      limit cleanup_expired.batch - total
                        for update skip locked);
        if holder.node_id is null then -- held by API Gateway
            ids := array(select c.connection_id
                           from switchboard.websocket_connections as c
                          where c.is_active
                            and c.node_id is null
                            and c.expires_at <= pg_catalog.now()
                          order by c.expires_at
                          limit cleanup_expired.batch - total
                            for update skip locked);
        end if;
        continue when pg_catalog.cardinality(ids) = 0;
        insert into switchboard.websocket_outbox (kind, target, payload)
        select 'close', id, '{"code": 1001, "reason": "Going away"}'
          from pg_catalog.unnest(ids) as id
         where holder.node_id is not null;
        if found then
            perform switchboard.note_published();
        end if;
        total := total + switchboard.deactivate(ids, 1001, 'Connection expired');
        exit when total >= cleanup_expired.batch;
    end loop;
    return total;
end;
$$;
comment on function switchboard.cleanup_expired(integer) is
    'Internal: deactivates up to so many active connections that are past their time, and has their sockets closed.';

create or replace function switchboard.cleanup_nodes(batch integer)
returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
    holder record;
    total integer := 0;
begin
    for holder in select n.node_id from switchboard.connection_nodes() as n where not n.is_alive loop
        total := total + switchboard.deactivate(
            array(select c.connection_id
                    from switchboard.websocket_connections as c
                   where c.is_active
                     and c.node_id = holder.node_id
                   limit cleanup_nodes.batch - total
                     for update skip locked), 1006, 'Node lease expired');
        exit when total >= cleanup_nodes.batch;
    end loop;
    return total;
end;
$$;
comment on function switchboard.cleanup_nodes(integer) is
    'Deactivates up to so many connections of nodes whose lease is over; returns how many.';

create or replace function switchboard.cleanup_connections(batch integer, retention_days integer)
returns table (expired integer, orphaned integer, deleted integer)
language plpgsql security definer
set search_path = ''
as $$
declare
    ids text[];
begin
    expired := switchboard.cleanup_expired(cleanup_connections.batch);
    orphaned := switchboard.cleanup_nodes(cleanup_connections.batch);
    ids := array(select c.connection_id
                   from switchboard.websocket_connections as c
                  where not c.is_active
                    and c.disconnected_at
                        < pg_catalog.now() - cleanup_connections.retention_days * interval '1 day'
                  order by c.disconnected_at
                  limit cleanup_connections.batch
                    for update skip locked);
    delete from switchboard.websocket_subscriptions as s
     where s.connection_id = any (ids);
    delete from switchboard.websocket_connections as c
     where c.connection_id = any (ids);
    get diagnostics deleted = row_count;
    delete from switchboard.websocket_nodes as n
     where n.expires_at < pg_catalog.now() - interval '1 hour'
       and not exists (select
                         from switchboard.websocket_connections as c
                        where c.node_id = n.node_id
                          and c.is_active);
    perform switchboard.forget_claims(cleanup_connections.batch);
    perform switchboard.forget_rate_limits(cleanup_connections.batch);
    perform switchboard.forget_rooms(cleanup_connections.batch);
    deleted := deleted + switchboard.forget_idempotency_keys(cleanup_connections.batch);
    return next;
end;
$$;
comment on function switchboard.cleanup_connections(integer, integer) is
    'One bounded batch of each: expired connections deactivated, those of dead nodes deactivated, old inactive ones and keys of sends deleted.  Call again while any count equals the batch.';

create or replace function switchboard.list_connections(max_rows integer, after text)
returns table (connection jsonb)
language sql stable security definer
set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'connection_id', c.connection_id, 'user_id', c.user_id, 'user_email', c.user_email,
               'user_name', c.user_name, 'subscription_type', c.subscription_type,
               'connection_type', c.connection_type, 'node_id', c.node_id, 'stage', c.stage,
               'source_ip', c.source_ip, 'user_agent', c.user_agent, 'metadata', c.metadata,
               'connected_at', c.connected_at, 'last_activity_at', c.last_activity_at,
               'expires_at', c.expires_at)
      from switchboard.live_connections as c
     where c.connection_id > coalesce(after, '')
     order by c.connection_id
     limit max_rows;
$$;
comment on function switchboard.list_connections(integer, text) is
    'Live connections in the order of their ids, after the given one (null: from the beginning).';

revoke all on all functions in schema switchboard from public;
