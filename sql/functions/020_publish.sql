-- SPDX-License-Identifier: Apache-2.0
-- 020_publish.sql - publishing: rows for the outbox, in any transaction, and the waking of the nodes.
-- Repeatable: applied again whenever this file changes.
--
-- The setting switchboard.wake, local to the transaction, says who wakes the nodes:
--   ''          nobody yet                     'queued'     the trigger at commit
--   'event'     a gateway runs this: nobody    'published'  the same, and the gateway has to be told
--   'woken'     the trigger has done it
--
-- publish() and wake_nodes() run in every transaction that publishes, so they are as short as they can
-- be, and without a SET clause: that alone would be a fifth of it.  For this every function and
-- operator in them is qualified, whatever the caller's search_path.

create or replace function switchboard.wake_nodes()
returns trigger
language plpgsql
as $$
declare
    ignored text;
begin
    if pg_catalog.current_setting('switchboard.wake', true) operator(pg_catalog.=) 'queued' then
        ignored := pg_catalog.set_config('switchboard.wake', 'woken', true);
        -- NOTIFY takes a lock of the whole cluster until the commit is on disk.  So only one of those
        -- that commit at the same time (10 ms) does it; a node that wakes looks again a little
        -- later, which covers the rest.  Never waits: who does not get the lock goes on.
        if pg_catalog.pg_try_advisory_xact_lock(
               1398223682,
               ((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 100)::bigint
                operator(pg_catalog.%) 2147483647)::integer)
        then
            perform pg_catalog.pg_notify('switchboard', '');
        end if;
    end if;
    return null;
end;
$$;
comment on function switchboard.wake_nodes() is
    'Runs just before the commit of a transaction that published: wakes the nodes unless another commit is doing so.';

-- Deferred, so that the lock and the notification belong to the moment of the commit and not to a
-- long transaction that published early.  Without a WHEN: for that an expression would be compiled in
-- every transaction.
do $$
begin
    if exists (select
                 from pg_catalog.pg_trigger as t
                where t.tgrelid = 'switchboard.websocket_outbox'::pg_catalog.regclass
                  and t.tgname = 'websocket_outbox_wake'
                  and t.tgqual is not null) then
        drop trigger websocket_outbox_wake on switchboard.websocket_outbox; -- of an earlier version
    end if;
    if not exists (select
                     from pg_catalog.pg_trigger as t
                    where t.tgrelid = 'switchboard.websocket_outbox'::pg_catalog.regclass
                      and t.tgname = 'websocket_outbox_wake') then
        create constraint trigger websocket_outbox_wake
            after insert on switchboard.websocket_outbox
            deferrable initially deferred
            for each row
            execute function switchboard.wake_nodes();
    end if;
end;
$$;

create or replace function switchboard.note_published()
returns text
language plpgsql
as $$
declare
    state constant text := pg_catalog.current_setting('switchboard.wake', true);
begin
    return case state
               when 'event' then pg_catalog.set_config('switchboard.wake', 'published', true)
               when 'published' then state
               when 'queued' then state
               else pg_catalog.set_config('switchboard.wake', 'queued', true)
           end;
end;
$$;
comment on function switchboard.note_published() is
    'Internal: to be called after rows went into the outbox, see switchboard.wake.';

create or replace function switchboard.begin_event()
returns text
language plpgsql
as $$
declare
    before constant text := coalesce(pg_catalog.current_setting('switchboard.wake', true), '');
    ignored constant text := pg_catalog.set_config('switchboard.wake', 'event', true);
begin
    return before;
end;
$$;
comment on function switchboard.begin_event() is
    'Internal: a gateway runs what follows.  Returns what end_event() needs; an exception ends it too.';

create or replace function switchboard.end_event(before text)
returns boolean
language plpgsql
as $$
declare
    has_published constant boolean := pg_catalog.current_setting('switchboard.wake') = 'published';
    ignored constant text := pg_catalog.set_config('switchboard.wake', end_event.before, true);
begin
    return has_published;
end;
$$;
comment on function switchboard.end_event(text) is
    'Internal: true when something was published since begin_event().';

create or replace function switchboard.outbox_add(
    kind text, target text, payload text, except_connection text default null)
returns bigint
language plpgsql
as $$
declare
    new_id bigint;
    ignored text;
begin
    insert into switchboard.websocket_outbox (kind, target, payload, except_connection)
    values (outbox_add.kind, outbox_add.target, outbox_add.payload, outbox_add.except_connection)
    returning id into new_id;
    ignored := switchboard.note_published();
    return new_id;
end;
$$;
comment on function switchboard.outbox_add(text, text, text, text) is
    'Internal: one row for the outbox.  Only for functions that pin their search_path.';

create or replace function switchboard.publish(topic text, payload jsonb)
returns bigint
language plpgsql security definer
as $$
declare
    state constant text := pg_catalog.current_setting('switchboard.wake', true);
    ignored text;
    new_id bigint;
begin
    insert into switchboard.websocket_outbox (kind, target, payload)
    values ('topic', publish.topic, publish.payload::text)
    returning id into new_id;
    -- note_published(), without the call
    if state operator(pg_catalog.=) 'event' then
        ignored := pg_catalog.set_config('switchboard.wake', 'published', true);
    elsif state is null
          or state operator(pg_catalog.<>) 'queued' and state operator(pg_catalog.<>) 'published' then
        ignored := pg_catalog.set_config('switchboard.wake', 'queued', true);
    end if;
    return new_id;
end;
$$;
comment on function switchboard.publish(text, jsonb) is
    'Publishes to a topic when this transaction commits: durable, ordered.  Returns the id in the outbox.';

create or replace function switchboard.publish(topic text, payload jsonb, except_connection text)
returns bigint
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.outbox_add('topic', publish.topic, publish.payload::text,
                                  publish.except_connection);
end;
$$;
comment on function switchboard.publish(text, jsonb, text) is
    'The same, but for one connection.';

create or replace function switchboard.publish_to_all(payload jsonb)
returns bigint
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.outbox_add('all', null, publish_to_all.payload::text);
end;
$$;
comment on function switchboard.publish_to_all(jsonb) is
    'Publishes to every connection when this transaction commits.  Returns the id in the outbox.';

revoke all on all functions in schema switchboard from public;
