-- SPDX-License-Identifier: Apache-2.0
-- 0003_rooms.sql - rooms, reading the log by topic, and rate limits for what keeps nothing in memory.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create table switchboard.websocket_rooms (
    room_id text not null,
    created_by text,
    created_at timestamptz not null default now(),
    metadata jsonb not null default '{}',
    constraint websocket_rooms_pkey primary key (room_id)
);
comment on table switchboard.websocket_rooms is
    'Rooms of the profile chat.  Who is in one: the subscriptions to the topic room:<room_id>.';
comment on column switchboard.websocket_rooms.created_by is
    'The user who entered it first; null: an application made it, and it stays when nobody is in it.';

-- What was published to this topic after (or before) seq n?  Relayed ephemeral messages have a sender
-- and are nobody's history.  On the parent, so that a partition gets it when it is attached.
create index websocket_messages_topic_idx on switchboard.websocket_messages (target, seq)
 where kind = 'topic' and sender is null;

-- Lost in a crash, and nobody minds: full buckets have no row.
create unlogged table switchboard.websocket_rate_limits (
    key text not null,
    full_at timestamptz not null,
    constraint websocket_rate_limits_pkey primary key (key)
-- Rewritten at every call: room for HOT on each page.
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table switchboard.websocket_rate_limits is
    'Token buckets for modes that keep nothing in memory, see take_tokens().';
comment on column switchboard.websocket_rate_limits.full_at is
    'When the bucket will be full again.  Past: the row means nothing and may go.';
