-- SPDX-License-Identifier: Apache-2.0
-- 0004_idempotency.sql - answers to sends that carry a key, so that a repeated one is not sent again.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create table switchboard.websocket_idempotency (
    key text not null,
    request bytea not null,
    answer jsonb,
    created_at timestamptz not null default now(),
    constraint websocket_idempotency_pkey primary key (key)
);
comment on table switchboard.websocket_idempotency is
    'Sends that carried an idempotency key, for a day: see send_request().';
comment on column switchboard.websocket_idempotency.request is
    'SHA-256 of the request.  Another request with the same key is refused.';
comment on column switchboard.websocket_idempotency.answer is
    'What was answered.  Null only inside the transaction that sends.';

-- Which keys are over?  For the cleanup.
create index websocket_idempotency_created_idx on switchboard.websocket_idempotency (created_at);
