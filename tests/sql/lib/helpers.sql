-- SPDX-License-Identifier: Apache-2.0
-- helpers.sql - what the tests share.  Everything is temporary and goes with the rollback.
set local client_min_messages = warning;

-- As the role that migrates, which routes run as; no superuser, usually.
select format('set local role %s', n.nspowner::regrole)
  from pg_namespace as n
 where n.nspname = 'switchboard'
\gexec

create function pg_temp.connect_event(id text, query jsonb default null, authorizer jsonb default null)
returns jsonb
language sql as $$
    select jsonb_strip_nulls(jsonb_build_object(
               'headers', jsonb_build_object('Host', 'ws.example.com'),
               'queryStringParameters', query,
               'requestContext', jsonb_build_object(
                   'connectionId', id, 'requestId', 'request-' || id, 'stage', 'dev',
                   'connectedAt', 1790295166108, 'authorizer', authorizer,
                   'identity', jsonb_build_object('sourceIp', '203.0.113.7', 'userAgent', 'tests'))));
$$;

-- Registers one connection and returns what the service would read.
create function pg_temp.connect(
    id text, query jsonb default null, routes text[] default '{careconnect}', authorizer jsonb default null)
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.register_connections(
               routes, 'test-node', 'http://127.0.0.1:8080', 7200000,
               jsonb_build_array(pg_temp.connect_event(id, query, authorizer)));
$$;

create function pg_temp.message(
    id text, body text, token jsonb default null, routes text[] default '{careconnect}',
    route_key text default '$default')
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.handle_message(routes, route_key, id, 'request', 'message', 'dev', '203.0.113.7',
                                      'tests', 1790295166108, body, token);
$$;

create function pg_temp.disconnect(
    id text, code integer default 1000, reason text default 'bye', routes text[] default '{careconnect}')
returns setof switchboard.event_result
language sql as $$
    select *
      from switchboard.deregister_connections(routes, array[id], array[code], array[reason],
                                              array['request']);
$$;

-- What has been published since the last call, in order.
create function pg_temp.published()
returns setof switchboard.websocket_messages
language plpgsql as $$
declare
    after_seq bigint := (select e.last_seq from switchboard.log_end() as e);
begin
    perform switchboard.sequence_messages(100000);
    return query
    select m.* from switchboard.websocket_messages as m where m.seq > after_seq order by m.seq;
end;
$$;

create function pg_temp.connection(id text)
returns setof switchboard.websocket_connections
language sql as $$
    select c.* from switchboard.websocket_connections as c where c.connection_id = id;
$$;

create function pg_temp.node(id text, lease_ms bigint default 3600000)
returns void
language sql as $$
    select from switchboard.register_node(id, id, 'http://127.0.0.1:8080', lease_ms);
$$;

-- A payload without its timestamp, and whether that was about now.
create function pg_temp.body(payload text)
returns jsonb
language sql as $$
    select payload::jsonb - 'timestamp';
$$;
create function pg_temp.is_now(payload text)
returns boolean
language sql as $$
    select (payload::jsonb ->> 'timestamp')::bigint
           between extract(epoch from now()) * 1000 - 1000
               and extract(epoch from clock_timestamp()) * 1000 + 1000;
$$;

-- The names of the indexes that a plan uses; '(seq scan on ...)' for a sequential scan.
create function pg_temp.plan_scans(query text)
returns text[]
language plpgsql as $$
declare
    plan jsonb;
begin
    execute 'explain (format json) ' || query into plan;
    return array(
        with recursive node (node) as (
            select plan -> 0 -> 'Plan'
            union all
            select child from node, jsonb_array_elements(node.node -> 'Plans') as child
        )
        select distinct coalesce(n.node ->> 'Index Name', '(seq scan on ' || (n.node ->> 'Relation Name') || ')')
          from node as n
         where n.node ? 'Index Name' or n.node ->> 'Node Type' = 'Seq Scan'
         order by 1);
end;
$$;
