-- SPDX-License-Identifier: Apache-2.0
-- 0002_publishing.sql - what is published: the outbox, the log, and where the log stands.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create table switchboard.websocket_outbox (
    -- In front of id, because defaults are evaluated in this order: a transaction has its number
    -- before it gets an id.  The sequencer relies on it, see sequence_messages().
    xid xid8 not null default pg_catalog.pg_current_xact_id(),
    id bigint not null generated always as identity,
    kind text not null,
    target text,
    payload text not null,
    except_connection text,
    sender text,
    created_at timestamptz not null default now(),
    constraint websocket_outbox_pkey primary key (id),
    constraint websocket_outbox_kind_check check (
        kind in ('connection', 'user', 'topic', 'all', 'subscribe', 'unsubscribe', 'close')),
    constraint websocket_outbox_target_check check (target is not null or kind = 'all')
-- Rows live for milliseconds: vacuum by number, never by share.
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 1000
);
comment on table switchboard.websocket_outbox is
    'Published, not yet ordered.  Written by publish() and its kin; the sequencer moves rows to websocket_messages.';
comment on column switchboard.websocket_outbox.kind is
    'connection, user, topic, all: a payload for sockets.  subscribe, unsubscribe: target is a connection id, payload a topic.  close: target is a connection id, payload {"code","reason"}.';

create table switchboard.websocket_messages (
    seq bigint not null,
    kind text not null,
    target text,
    payload text not null,
    except_connection text,
    sender text,
    created_at timestamptz not null,
    -- What came after seq n?  Backwards: what was the last?
    constraint websocket_messages_pkey primary key (seq, created_at)
) partition by range (created_at);
comment on table switchboard.websocket_messages is
    'The log: published messages in the order in which every node sees them.  seq has no gaps; created_at is when the row was sequenced and never goes back.  A partition per UTC day, so retention is a drop.';

create table switchboard.websocket_log_state (
    id boolean not null default true,
    last_seq bigint not null default 0,
    last_at timestamptz not null default now(),
    outbox_floor bigint not null default 0,
    mark_id bigint not null default 0,
    mark_xid xid8 not null default '0',
    constraint websocket_log_state_pkey primary key (id),
    constraint websocket_log_state_one_row_check check (id)
) with (fillfactor = 10);
comment on table switchboard.websocket_log_state is
    'One row: a lower bound of where the log ends (exact while the log is empty), and the outbox id up to which everything is settled.  Written once in a thousand messages, so that old snapshots do not pile up versions of it.';
insert into switchboard.websocket_log_state default values;
