-- SPDX-License-Identifier: Apache-2.0
-- 040_nodes.sql - gateways: their leases, and the partitions of the log that they need.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.add_partition(day date)
returns boolean
language plpgsql
as $$
declare
    name constant text := 'websocket_messages_' || pg_catalog.to_char(add_partition.day, 'YYYYMMDD');
    starts constant timestamptz := add_partition.day::timestamp at time zone 'UTC';
    ends constant timestamptz := (add_partition.day + 1)::timestamp at time zone 'UTC';
begin
    if pg_catalog.to_regclass('switchboard.' || name) is not null then
        return false;
    end if;
    -- One at a time; whoever waited here may find it made.
    -- Asked of the table itself: to_regclass() would answer from what this session remembers.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('switchboard.partitions', 0));
    if exists (select
                 from pg_catalog.pg_class as c
                where c.relname = name
                  and c.relnamespace = 'switchboard'::regnamespace) then
        return false;
    end if;
    -- Attaching locks the log much less than "create table ... partition of".
    execute pg_catalog.format(
        'create table switchboard.%I (like switchboard.websocket_messages including defaults including constraints)',
        name);
    execute pg_catalog.format(
        'alter table switchboard.websocket_messages attach partition switchboard.%I for values from (%L) to (%L)',
        name, starts, ends);
    return true;
end;
$$;
comment on function switchboard.add_partition(date) is
    'Internal: makes the partition of a UTC day; false when it is there.';

create or replace function switchboard.maintain_partitions(days_ahead integer, retention_days integer)
returns table (created integer, dropped integer)
language plpgsql security definer
set search_path = ''
set lock_timeout = '200ms'
as $$
declare
    today constant date := (pg_catalog.clock_timestamp() at time zone 'UTC')::date;
    old record;
begin
    created := 0;
    dropped := 0;
    for ahead in 0 .. maintain_partitions.days_ahead loop
        if switchboard.add_partition(today + ahead) then
            created := created + 1;
        end if;
    end loop;
    -- The end of the log has to outlive its rows.
    perform switchboard.remember_log_end();
    for old in
        select p.relname as name
          from pg_catalog.pg_inherits as i
          join pg_catalog.pg_class as p on p.oid = i.inhrelid
         where i.inhparent = 'switchboard.websocket_messages'::pg_catalog.regclass
           and p.relname < 'websocket_messages_'
                           || pg_catalog.to_char(today - maintain_partitions.retention_days, 'YYYYMMDD')
         order by p.relname
    loop
        begin
            execute pg_catalog.format('drop table switchboard.%I', old.name);
            dropped := dropped + 1;
        exception
            -- Somebody reads the log: the next time will do, nobody is made to queue behind us.
            when lock_not_available then
                exit;
        end;
    end loop;
    return next;
end;
$$;
comment on function switchboard.maintain_partitions(integer, integer) is
    'Makes the partitions of the log for today and the days ahead, and drops those older than the retention.';

create or replace function switchboard.remember_log_end()
returns void
language plpgsql
as $$
begin
    -- Nobody sequences meanwhile; when somebody does, he notes the end himself soon enough.
    if not pg_catalog.pg_try_advisory_xact_lock(
               pg_catalog.hashtextextended('switchboard.sequencer', 0)) then
        return;
    end if;
    update switchboard.websocket_log_state as s
       set last_seq = e.last_seq,
           last_at = e.last_at
      from switchboard.log_end() as e
     where e.last_seq > s.last_seq;
    -- A safety net: nothing below the floor may exist, see sequence_messages().
    update switchboard.websocket_log_state as s
       set outbox_floor = 0,
           mark_id = 0,
           mark_xid = '0'
     where s.outbox_floor > 0
       and exists (select from switchboard.websocket_outbox as o where o.id <= s.outbox_floor);
end;
$$;
comment on function switchboard.remember_log_end() is
    'Internal: writes down where the log ends, for the day when its last partition is dropped.';

create or replace function switchboard.log_end()
returns table (last_seq bigint, last_at timestamptz)
language plpgsql stable
as $$
begin
    select s.last_seq, s.last_at
      into last_seq, last_at
      from switchboard.websocket_log_state as s;
    -- Only the partitions from the bound on are looked into.
    select m.seq, m.created_at
      into last_seq, last_at
      from (select w.seq, w.created_at
              from switchboard.websocket_messages as w
             where w.created_at >= last_at
             order by w.seq desc
             limit 1) as m
     where m.seq > last_seq
    union all
    select last_seq, last_at
     limit 1;
    return next;
end;
$$;
comment on function switchboard.log_end() is
    'Internal: seq and time of the last row of the log.';

create or replace function switchboard.register_node(
    node_id text, node_name text, endpoint text, lease_ms bigint)
returns table (last_seq bigint, last_at timestamptz, other_nodes integer)
language plpgsql security definer
set search_path = ''
as $$
begin
    -- The same node before it was started again.
    update switchboard.websocket_nodes as n
       set expires_at = pg_catalog.now()
     where n.node_name = register_node.node_name
       and n.node_id <> register_node.node_id
       and n.expires_at > pg_catalog.now();
    select h.other_nodes
      into other_nodes
      from switchboard.heartbeat_node(register_node.node_id, register_node.node_name,
                                      register_node.endpoint, register_node.lease_ms) as h;
    for ahead in 0 .. 2 loop
        perform switchboard.add_partition(
                    (pg_catalog.clock_timestamp() at time zone 'UTC')::date + ahead);
    end loop;
    select e.last_seq, e.last_at into last_seq, last_at from switchboard.log_end() as e;
    return next;
end;
$$;
comment on function switchboard.register_node(text, text, text, bigint) is
    'A gateway starts: ends the lease of its predecessor of the same name, takes one, and says where the log ends and how many other nodes live.';

create or replace function switchboard.heartbeat_node(
    node_id text, node_name text, endpoint text, lease_ms bigint)
returns table (lease_was_lost boolean, other_nodes integer)
language plpgsql security definer
set search_path = ''
as $$
declare
    leased_until constant timestamptz :=
        pg_catalog.now() + heartbeat_node.lease_ms * interval '1 millisecond';
begin
    select n.expires_at <= pg_catalog.now()
      into lease_was_lost
      from switchboard.websocket_nodes as n
     where n.node_id = heartbeat_node.node_id;
    lease_was_lost := coalesce(lease_was_lost, true);
    insert into switchboard.websocket_nodes as n (node_id, node_name, endpoint, expires_at)
    values (heartbeat_node.node_id, heartbeat_node.node_name, heartbeat_node.endpoint, leased_until)
        on conflict on constraint websocket_nodes_pkey do update
       set node_name = excluded.node_name,
           endpoint = excluded.endpoint,
           heartbeat_at = pg_catalog.now(),
           expires_at = excluded.expires_at;
    select count(*)
      into other_nodes
      from switchboard.websocket_nodes as n
     where n.node_id <> heartbeat_node.node_id
       and n.expires_at > pg_catalog.now();
    return next;
end;
$$;
comment on function switchboard.heartbeat_node(text, text, text, bigint) is
    'Renews the lease of a gateway.  lease_was_lost: it had run out, so its connections may have been taken for dead.';

create or replace function switchboard.leave_node(node_id text)
returns void
language plpgsql security definer
set search_path = ''
as $$
begin
    if exists (select
                 from switchboard.websocket_connections as c
                where c.node_id = leave_node.node_id
                  and c.is_active) then
        update switchboard.websocket_nodes as n
           set expires_at = pg_catalog.now()
         where n.node_id = leave_node.node_id;
    else
        delete from switchboard.websocket_nodes as n
         where n.node_id = leave_node.node_id;
    end if;
end;
$$;
comment on function switchboard.leave_node(text) is
    'A gateway stops: its lease ends; connections it could not deregister count as gone.';

revoke all on all functions in schema switchboard from public;
