-- SPDX-License-Identifier: Apache-2.0
-- 090_log.sql - the sequencer (outbox to log) and the follower's reading of the log.
-- Repeatable: applied again whenever this file changes.
--
-- A row of the outbox becomes visible when its transaction commits, whatever its id: what commits late
-- is sequenced late, and nothing is ever waited for.  One sequencer at a time; its lock goes after
-- its commit is visible, so the next one sees where the log ends.

create or replace function switchboard.sequence_messages(max_rows integer)
returns bigint
language plpgsql security definer
set search_path = ''
set enable_seqscan = off -- its plans are cached when the tables are small
set jit = off -- where only a sequential scan will do, it counts as expensive now
set plan_cache_mode = force_generic_plan -- planning each time takes longer than all the rest
as $$
declare
    state switchboard.websocket_log_state;
    rows_found tid[];
    log_end record;
    moved record;
    at timestamptz;
begin
    if not pg_catalog.pg_try_advisory_xact_lock(
               pg_catalog.hashtextextended('switchboard.sequencer', 0)) then
        return 0;
    end if;
    select s.* into state from switchboard.websocket_log_state as s;
    rows_found := array(select o.ctid
                          from switchboard.websocket_outbox as o
                         where o.id > state.outbox_floor
                         order by o.id
                         limit sequence_messages.max_rows);
    if pg_catalog.cardinality(rows_found) = 0 then
        return 0;
    end if;
    select e.* into log_end from switchboard.log_end() as e;
    at := greatest(pg_catalog.clock_timestamp(), log_end.last_at);
    if pg_catalog.to_regclass('switchboard.websocket_messages_'
                              || pg_catalog.to_char(at at time zone 'UTC', 'YYYYMMDD')) is null then
        perform switchboard.add_partition((at at time zone 'UTC')::date);
    end if;
    with taken as (
        delete from switchboard.websocket_outbox as o
         where o.ctid = any (rows_found)
        returning o.id, o.kind, o.target, o.payload, o.except_connection, o.sender
    ), logged as (
        insert into switchboard.websocket_messages (
            seq, kind, target, payload, except_connection, sender, created_at)
        select log_end.last_seq + pg_catalog.row_number() over (order by t.id), t.kind, t.target, t.payload,
               t.except_connection, t.sender, at
          from taken as t
    )
    select count(*) as count, max(t.id) as last_id into moved from taken as t;
    perform pg_catalog.setval('switchboard.websocket_log_hint', log_end.last_seq + moved.count);
    perform switchboard.finish_sequencing(state, moved.last_id, log_end.last_seq + moved.count, at);
    return moved.count;
end;
$$;
comment on function switchboard.sequence_messages(integer) is
    'Moves up to so many rows from the outbox to the log and numbers them.  0 also when another session is at it.';

create or replace function switchboard.finish_sequencing(
    state switchboard.websocket_log_state, last_id bigint, last_seq bigint, last_at timestamptz)
returns void
language plpgsql
as $$
declare
    ignored text;
begin
    if finish_sequencing.last_id >= state.mark_id + 1000
       and pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) >= state.mark_xid then
        perform switchboard.raise_floor(
                    finish_sequencing.last_id, finish_sequencing.last_seq, finish_sequencing.last_at);
    end if;
    if pg_catalog.current_setting('synchronous_commit') = 'off' then
        -- The publishers may have committed asynchronously; with this commit they are on disk too.
        ignored := pg_catalog.set_config('synchronous_commit', 'on', true);
    end if;
    if (select count(*)
          from (select
                  from switchboard.websocket_nodes as n
                 where n.expires_at > pg_catalog.now()
                 limit 2) as alive) > 1 then
        perform pg_catalog.pg_notify('switchboard', '');
    end if;
end;
$$;
comment on function switchboard.finish_sequencing(switchboard.websocket_log_state, bigint, bigint, timestamptz) is
    'Internal: what the sequencer does when rows are in the log: the floor, durability, and the other nodes.';

-- Deleted rows that an old snapshot still needs stay in the index of the outbox, and every look at it
-- would walk over all of them.  So: every thousand messages note an id and the next transaction
-- number.  When all transactions below that number are over (settled_xid), the ids up to the noted one
-- are settled too, for a publisher has its transaction number before its id (the columns of the
-- outbox stand in that order); and the sequencer that calls this has moved all that it saw up to there.
create or replace function switchboard.raise_floor(last_id bigint, last_seq bigint, last_at timestamptz)
returns void
language plpgsql
as $$
begin
    update switchboard.websocket_log_state as s
       set outbox_floor = s.mark_id,
           mark_id = raise_floor.last_id,
           mark_xid = pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),
           last_seq = raise_floor.last_seq,
           last_at = raise_floor.last_at;
end;
$$;
comment on function switchboard.raise_floor(bigint, bigint, timestamptz) is
    'Internal: raises the outbox id below which nothing can come any more, and notes the end of the log.';

create or replace function switchboard.read_log(
    after_seq bigint, since timestamptz, max_rows integer)
returns setof switchboard.websocket_messages
language plpgsql stable
as $$
begin
    return query
    select m.*
      from switchboard.websocket_messages as m
     where m.seq > read_log.after_seq
       and m.created_at >= read_log.since
     order by m.seq
     limit read_log.max_rows;
end;
$$;
comment on function switchboard.read_log(bigint, timestamptz, integer) is
    'Internal: the log after a row with that seq and created_at.';

-- Who is at the end of the log, and sequences, knows what comes next: what he puts there.  So neither
-- the end nor what is behind it has to be looked for in the partitions.
create or replace function switchboard.follow_messages(
    after_seq bigint, since timestamptz, max_rows integer)
returns table (seq bigint, kind text, target text, payload text, except_connection text, sender text,
               created_at timestamptz)
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    state switchboard.websocket_log_state;
    rows_found tid[];
    last_id bigint;
    at timestamptz;
    moved bigint;
    ignored bigint;
begin
    -- The lock last: who has it sees what those before him have committed, the hint included.
    if pg_catalog.pg_sequence_last_value('switchboard.websocket_log_hint') is distinct from after_seq
       or not pg_catalog.pg_try_advisory_xact_lock(
                  pg_catalog.hashtextextended('switchboard.sequencer', 0))
       or pg_catalog.pg_sequence_last_value('switchboard.websocket_log_hint') <> after_seq then
        perform switchboard.sequence_messages(follow_messages.max_rows);
        return query
        select m.seq, m.kind, m.target, m.payload, m.except_connection, m.sender, m.created_at
          from switchboard.read_log(
                   follow_messages.after_seq, follow_messages.since, follow_messages.max_rows) as m;
        return;
    end if;
    select s.* into state from switchboard.websocket_log_state as s;
    select pg_catalog.array_agg(f.ctid), max(f.id)
      into rows_found, last_id
      from (select o.ctid, o.id
              from switchboard.websocket_outbox as o
             where o.id > state.outbox_floor
             order by o.id
             limit follow_messages.max_rows) as f;
    if last_id is null then
        return;
    end if;
    at := greatest(pg_catalog.clock_timestamp(), since);
    if (at at time zone 'UTC')::date > (since at time zone 'UTC')::date
       and pg_catalog.to_regclass('switchboard.websocket_messages_'
                                  || pg_catalog.to_char(at at time zone 'UTC', 'YYYYMMDD')) is null then
        perform switchboard.add_partition((at at time zone 'UTC')::date);
    end if;
    return query
    with taken as (
        delete from switchboard.websocket_outbox as o
         where o.ctid = any (rows_found)
        returning o.id, o.kind, o.target, o.payload, o.except_connection, o.sender
    ), logged as (
        insert into switchboard.websocket_messages as m (
            seq, kind, target, payload, except_connection, sender, created_at)
        select follow_messages.after_seq + pg_catalog.row_number() over (order by t.id), t.kind, t.target,
               t.payload, t.except_connection, t.sender, at
          from taken as t
        returning m.seq, m.kind, m.target, m.payload, m.except_connection, m.sender, m.created_at
    )
    select l.* from logged as l order by l.seq;
    get diagnostics moved = row_count;
    ignored := pg_catalog.setval('switchboard.websocket_log_hint', after_seq + moved);
    perform switchboard.finish_sequencing(state, last_id, after_seq + moved, at);
end;
$$;
comment on function switchboard.follow_messages(bigint, timestamptz, integer) is
    'Sequences what is in the outbox, then returns the log after after_seq.  since: created_at of that row, so that old partitions are not looked into.';

create or replace function switchboard.relay_deliveries(
    node_id text, kinds text[], targets text[], payloads text[], excepts text[])
returns void
language plpgsql security definer
set search_path = ''
as $$
declare
    before constant text := switchboard.begin_event(); -- the node that calls sequences right afterwards
begin
    insert into switchboard.websocket_outbox (kind, target, payload, except_connection, sender)
    select r.kind, r.target, r.payload, r.except_connection, 'node:' || relay_deliveries.node_id
      from rows from (pg_catalog.unnest(relay_deliveries.kinds),
                      pg_catalog.unnest(relay_deliveries.targets),
                      pg_catalog.unnest(relay_deliveries.payloads),
                      pg_catalog.unnest(relay_deliveries.excepts)) with ordinality
           as r (kind, target, payload, except_connection, position)
     order by r.position;
    perform switchboard.end_event(before);
end;
$$;
comment on function switchboard.relay_deliveries(text, text[], text[], text[], text[]) is
    'Ephemeral deliveries whose receivers may be on other nodes, by way of the log.';

revoke all on all functions in schema switchboard from public;
