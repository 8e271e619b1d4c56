-- SPDX-License-Identifier: Apache-2.0
-- 0005_remote.sql - delivering the log to connections whose sockets another gateway holds.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create table switchboard.websocket_remote_state (
    id boolean not null default true,
    next_seq bigint not null,
    next_at timestamptz not null,
    constraint websocket_remote_state_pkey primary key (id),
    constraint websocket_remote_state_one_row_check check (id)
-- Rewritten whenever claim_messages() finds something.
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table switchboard.websocket_remote_state is
    'One row: the first seq of the log that claim_messages() has not looked at, and a time that no later row is before.';
insert into switchboard.websocket_remote_state (next_seq, next_at)
select greatest(s.last_seq, coalesce((select max(m.seq) from switchboard.websocket_messages as m), 0)) + 1,
       s.last_at
  from switchboard.websocket_log_state as s;

create table switchboard.websocket_claims (
    seq bigint not null,
    connection_id text not null,
    created_at timestamptz not null,
    claimer text,
    claimed_until timestamptz,
    attempts integer not null default 0,
    constraint websocket_claims_pkey primary key (seq, connection_id),
    constraint websocket_claims_claimer_check check ((claimer is null) = (claimed_until is null))
-- Rows live as long as a delivery takes: vacuum by number, never by share.
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
comment on table switchboard.websocket_claims is
    'What the log still has to bring to connections without a node, a row for each of its receivers.  Who delivers it holds a claim with a deadline; claimer null: nobody does.';
comment on column switchboard.websocket_claims.created_at is
    'Of the row of the log: finds it in its partition, and never goes back while seq goes on.';
comment on column switchboard.websocket_claims.attempts is
    'Claims so far that were not given back; after too many of them nobody tries again.';

-- What is nobody at, in the order of the log?
create index websocket_claims_free_idx on switchboard.websocket_claims (created_at, seq, connection_id)
 where claimer is null;
-- Which claims are past their deadline?
create index websocket_claims_until_idx on switchboard.websocket_claims (claimed_until)
 where claimer is not null;
-- Is somebody delivering to this connection?
create index websocket_claims_connection_idx on switchboard.websocket_claims (connection_id);

-- Did this connection subscribe after seq n?
create index websocket_messages_subscribe_idx on switchboard.websocket_messages (target, seq)
 where kind = 'subscribe';

-- Which connections that no node holds are deregistered, and wait for a last message?
create index websocket_connections_verified_idx on switchboard.websocket_connections (expires_at)
 where not is_active
   and node_id is null
   and disconnect_reason = 'Email verified';

alter table switchboard.websocket_connections add column wants_seq boolean not null default false;
comment on column switchboard.websocket_connections.wants_seq is
    'Only where no node holds the socket: the client has asked for seq in what it is sent, see read_resume().';
