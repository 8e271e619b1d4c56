-- SPDX-License-Identifier: Apache-2.0
-- 0001_connections.sql - who is connected: nodes, connections, subscriptions, and the types routes use.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create schema if not exists switchboard;
comment on schema switchboard is
    'Switchboard: WebSocket connections, subscriptions, published messages, and the functions around them.';

-- The two groups that grants name.  A role that may not create roles leaves it to an administrator:
-- sql/zz_grants.sql grants to those that exist.  Roles belong to the cluster, so another database
-- may be creating them at this moment.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['switchboard_service', 'switchboard_app'] loop
        begin
            if not exists (select from pg_catalog.pg_roles as r where r.rolname = wanted) then
                execute pg_catalog.format('create role %I nologin', wanted);
            end if;
        exception
            when duplicate_object or unique_violation then
                null;
            when insufficient_privilege then
                raise warning 'role % is missing and may not be created here', wanted;
        end;
    end loop;
end;
$$;

-- The migrator makes the same table before the first file; repeated so that this file runs alone.
create table if not exists switchboard.schema_migrations (
    name text primary key,
    version integer,
    checksum text not null,
    applied_at timestamptz not null default now()
);
comment on table switchboard.schema_migrations is
    'What the migrator has applied: a file name, its number (null: a repeatable file) and its SHA-256.';

create type switchboard.event as (
    connection_id text,
    request_id text,
    message_id text,
    event_type text,
    route_key text,
    body jsonb,
    raw_body text,
    query jsonb,
    headers jsonb,
    token jsonb,
    user_id text,
    user_email text,
    user_name text,
    claims jsonb,
    subscription_type text,
    metadata jsonb,
    stage text,
    source_ip text,
    user_agent text,
    connected_at timestamptz,
    disconnect_code integer,
    disconnect_reason text
);
comment on type switchboard.event is
    'What a route function gets: one CONNECT, MESSAGE or DISCONNECT of a connection.';

create type switchboard.delivery as (
    kind text,
    target text,
    payload text,
    except_connection text
);
comment on type switchboard.delivery is
    'What a route function returns rows of: a payload with an address, made by reply(), to_user() and so on.';

create type switchboard.event_result as (
    event_index integer,
    kind text,
    target text,
    payload text,
    except_connection text
);
comment on type switchboard.event_result is
    'What the service reads: deliveries and verdicts, with the position of the event in its batch.';

create table switchboard.websocket_nodes (
    node_id text not null,
    node_name text not null,
    endpoint text,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint websocket_nodes_pkey primary key (node_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table switchboard.websocket_nodes is
    'One row per gateway process.  expires_at is the lease that covers all its connections.';

create table switchboard.websocket_connections (
    connection_id text not null,
    user_id text,
    user_email text,
    user_name text,
    subscription_type text,
    connection_type text not null,
    api_gateway_endpoint text,
    node_id text,
    stage text,
    source_ip text,
    user_agent text,
    claims jsonb,
    metadata jsonb not null default '{}',
    connected_at timestamptz not null default now(),
    last_activity_at timestamptz not null default now(),
    expires_at timestamptz not null,
    is_active boolean not null default true,
    disconnected_at timestamptz,
    disconnect_code integer,
    disconnect_reason text,
    constraint websocket_connections_pkey primary key (connection_id),
    constraint websocket_connections_type_check check (connection_type in ('aws', 'local'))
-- Room on each page: touching and identifying stay HOT.
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
comment on table switchboard.websocket_connections is
    'Every WebSocket connection, the closed ones too until the cleanup deletes them.  No index on last_activity_at: touching must stay a HOT update.';

-- Which connections does this user have?
create index websocket_connections_user_idx on switchboard.websocket_connections (user_id)
 where is_active and user_id is not null;
-- Who waits for the verification of this address?
create index websocket_connections_email_idx on switchboard.websocket_connections (user_email)
 where is_active and user_email is not null;
-- Which nodes have active connections, and which of those are past their time?
create index websocket_connections_node_idx on switchboard.websocket_connections (node_id, expires_at)
 where is_active;
-- Which closed ones are old enough to delete?
create index websocket_connections_disconnected_idx
    on switchboard.websocket_connections (disconnected_at)
 where not is_active;

create table switchboard.websocket_subscriptions (
    topic text not null,
    connection_id text not null,
    subscribed_at timestamptz not null default now(),
    constraint websocket_subscriptions_pkey primary key (topic, connection_id)
);
comment on table switchboard.websocket_subscriptions is
    'Which connection wants which topic.  No foreign key: closing a connection deletes its rows in bulk.';
-- What has this connection subscribed to?
create index websocket_subscriptions_connection_idx
    on switchboard.websocket_subscriptions (connection_id);
