-- SPDX-License-Identifier: Apache-2.0
-- 150_remote.sql - connections whose sockets another gateway holds: who brings them what the log has.
-- Repeatable: applied again whenever this file changes.
--
-- Processes come and go here, and no one of them follows the log.  Whoever has time calls
-- claim_messages(), delivers, and calls finish_messages(); what he did not finish in time goes to the
-- next one.  So a message is delivered at least once, and once while nobody dies.  What one connection
-- gets keeps its order: while somebody delivers to it nobody else gets more for it, so whoever has
-- finished asks again, until there is nothing left.
--
-- websocket_claims is a queue between the log and them.  It is filled under the lock of the sequencer:
-- what was committed before the call is in the log, and in the queue, when the call looks.

create or replace view switchboard.remote_connections as
select c.connection_id, c.api_gateway_endpoint, c.wants_seq, c.connected_at
  from switchboard.websocket_connections as c
 where c.node_id is null
   and (c.is_active
        -- Deregistered by what it waited for, which is in the log; its socket is still open.
        or (c.disconnect_reason = 'Email verified' and c.expires_at > statement_timestamp()));
comment on view switchboard.remote_connections is
    'Connections that no node holds and that can be sent to.';

create or replace function switchboard.has_remote_connections()
returns boolean
language plpgsql stable
as $$
begin
    return exists (select
                     from switchboard.websocket_connections as c
                    where c.is_active
                      and c.node_id is null)
        or exists (select
                     from switchboard.websocket_connections as c
                    where not c.is_active
                      and c.node_id is null
                      and c.disconnect_reason = 'Email verified'
                      and c.expires_at > pg_catalog.statement_timestamp());
end;
$$;
comment on function switchboard.has_remote_connections() is
    'Internal: whether remote_connections has any row.';

create or replace function switchboard.has_messages_to_claim()
returns boolean
language plpgsql stable
as $$
begin
    return exists (select
                     from switchboard.websocket_outbox as o
                    where o.id > (select s.outbox_floor from switchboard.websocket_log_state as s))
        or (select e.last_seq from switchboard.log_end() as e)
           >= (select s.next_seq from switchboard.websocket_remote_state as s)
        or exists (select from switchboard.websocket_claims as q where q.claimer is null)
        or exists (select
                     from switchboard.websocket_claims as q
                    where q.claimer is not null
                      and q.claimed_until <= pg_catalog.clock_timestamp());
end;
$$;
comment on function switchboard.has_messages_to_claim() is
    'Internal: false when there is surely nothing to claim.  Waits for nobody.';

-- ---- from the log into the queue ----

create or replace function switchboard.queue_page(
    from_seq bigint, since timestamptz, messages integer, most bigint)
returns table (queued bigint, last_seq bigint, last_at timestamptz)
language plpgsql
as $$
begin
    with added as (
        insert into switchboard.websocket_claims (seq, connection_id, created_at)
        select m.seq, r.connection_id, m.created_at
          -- A subquery keeps the order of the index: the limit below ends the search.
          from (select w.seq, w.created_at, w.kind, w.target, w.except_connection,
                       case w.kind
                           when 'topic' then w.target
                           when 'user' then 'user:' || w.target
                           when 'all' then '*'
                       end as topic
                  from switchboard.websocket_messages as w
                 where w.seq >= queue_page.from_seq
                   and w.created_at >= queue_page.since
                 order by w.seq
                 limit queue_page.messages) as m
         cross join lateral (
                select c.connection_id
                  from switchboard.websocket_subscriptions as s
                  join switchboard.websocket_connections as c on c.connection_id = s.connection_id
                 where m.kind in ('topic', 'user')
                   and s.topic = m.topic
                   and c.is_active
                   and c.node_id is null
                 union
                select c.connection_id
                  from switchboard.websocket_connections as c
                 where m.topic like 'user:%'
                   and c.user_id = pg_catalog.substr(m.topic, 6)
                   and c.is_active
                   and c.node_id is null
                 union all
                select c.connection_id
                  from switchboard.websocket_connections as c
                 where m.kind = 'all'
                   and c.is_active
                   and c.node_id is null
                 union all
                select c.connection_id
                  from switchboard.remote_connections as c
                 where m.kind in ('connection', 'close')
                   and c.connection_id = m.target) as r
         where r.connection_id is distinct from m.except_connection
           -- Who subscribed behind it in the log came too late.  The offset keeps this from becoming
           -- a join, which would look into every partition.
           and not exists (select
                             from switchboard.websocket_messages as s
                            where s.kind = 'subscribe'
                              and s.target = r.connection_id
                              and s.payload = m.topic
                              and s.seq > m.seq
                              and s.created_at >= m.created_at
                           offset 0)
         order by m.seq
         limit queue_page.most
            on conflict on constraint websocket_claims_pkey do nothing
        returning websocket_claims.seq, websocket_claims.created_at
    )
    select count(*), max(a.seq), max(a.created_at) into queued, last_seq, last_at from added as a;
    if queued = queue_page.most then
        -- Full; the rest of the last one.
        perform switchboard.queue_page(last_seq, last_at, 1, null);
    else
        select max(m.seq), max(m.created_at)
          into last_seq, last_at
          from (select w.seq, w.created_at
                  from switchboard.websocket_messages as w
                 where w.seq >= queue_page.from_seq
                   and w.created_at >= queue_page.since
                 order by w.seq
                 limit queue_page.messages) as m;
    end if;
    return next;
end;
$$;
comment on function switchboard.queue_page(bigint, timestamptz, integer, bigint) is
    'Internal: queues what messages of the log have receivers, until there are as many as asked for; returns how far it came (null: no message).';

create or replace function switchboard.queue_log(most integer)
returns boolean
language plpgsql
as $$
declare
    state switchboard.websocket_remote_state;
    log_end record;
    page record;
    queued bigint := 0;
    is_for_somebody boolean := false;
begin
    -- The sequencer itself never waits for this lock; here what was published before has to be seen.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('switchboard.sequencer', 0));
    if switchboard.sequence_messages(10000) > 0
       and exists (select
                     from switchboard.websocket_nodes as n
                    where n.expires_at > pg_catalog.now()) then
        perform pg_catalog.pg_notify('switchboard', '');
    end if;
    select e.* into log_end from switchboard.log_end() as e;
    select s.* into state from switchboard.websocket_remote_state as s;
    if log_end.last_seq < state.next_seq then
        return false;
    end if;
    -- API Gateway ends a connection after two hours.
    state.next_at := greatest(state.next_at, pg_catalog.clock_timestamp() - interval '2 hours');
    for n in 1 .. case when switchboard.has_remote_connections() then 10 else 0 end loop
        select p.* into page
          from switchboard.queue_page(state.next_seq, state.next_at, 1000, queue_log.most - queued) as p;
        exit when page.last_seq is null; -- what is left is too old
        state.next_seq := page.last_seq + 1;
        state.next_at := page.last_at;
        queued := queued + page.queued;
        is_for_somebody := true;
        exit when state.next_seq > log_end.last_seq or queued >= queue_log.most;
    end loop;
    if not is_for_somebody then
        state.next_seq := log_end.last_seq + 1;
        state.next_at := log_end.last_at;
    end if;
    update switchboard.websocket_remote_state as s
       set next_seq = state.next_seq,
           next_at = state.next_at;
    return state.next_seq <= log_end.last_seq;
end;
$$;
comment on function switchboard.queue_log(integer) is
    'Internal: sequences, and queues what came to the log since the last time, or so much of it that there is enough to do; true: the log has more.';

-- ---- claims ----

create or replace function switchboard.end_claims(at timestamptz)
returns void
language plpgsql
as $$
declare
    given_up bigint;
begin
    with overdue as materialized (
        select q.seq, q.connection_id, q.attempts
          from switchboard.websocket_claims as q
         where q.claimer is not null
           and q.claimed_until <= end_claims.at
           for update skip locked
    ), deleted as (
        delete from switchboard.websocket_claims as q
         using overdue as o
         where q.seq = o.seq
           and q.connection_id = o.connection_id
           and o.attempts >= 20
        returning 1
    ), freed as (
        update switchboard.websocket_claims as q
           set claimer = null,
               claimed_until = null
          from overdue as o
         where q.seq = o.seq
           and q.connection_id = o.connection_id
           and o.attempts < 20
    )
    select count(*) into given_up from deleted;
    delete from switchboard.websocket_claims as q
     where q.claimer is null
       and q.created_at < end_claims.at - interval '2 hours';
    if given_up > 0 then
        raise warning '% messages were claimed 20 times and never finished: given up', given_up;
    end if;
end;
$$;
comment on function switchboard.end_claims(timestamptz) is
    'Internal: frees what was not finished in time, and gives up what is too old or has seen too many claims.';

-- Their results have grown, which "or replace" does not do.
drop function if exists switchboard.claim_messages(text, integer, bigint);
drop function if exists switchboard.claim_queued(text, integer, timestamptz);

create or replace function switchboard.claim_queued(claimer text, most integer, until timestamptz)
returns table (seq bigint, kind text, connection_id text, endpoint text, payload text, is_new boolean)
language plpgsql
as $$
declare
    seqs bigint[];
    ids text[];
begin
    loop
        select pg_catalog.array_agg(f.seq), pg_catalog.array_agg(f.connection_id)
          into seqs, ids
          from (select q.seq, q.connection_id
                  from switchboard.websocket_claims as q
                 where q.claimer is null
                   and not exists (select
                                     from switchboard.websocket_claims as o
                                    where o.connection_id = q.connection_id
                                      and o.claimer <> claim_queued.claimer)
                 order by q.created_at, q.seq, q.connection_id
                 limit claim_queued.most
                   for update skip locked) as f;
        exit when seqs is null;
        delete from switchboard.websocket_claims as q
         using rows from (pg_catalog.unnest(seqs), pg_catalog.unnest(ids)) as f (seq, connection_id)
         where q.seq = f.seq
           and q.connection_id = f.connection_id
           and not exists (select
                             from switchboard.remote_connections as c
                            where c.connection_id = f.connection_id);
        return query
        with claimed as (
            update switchboard.websocket_claims as q
               set claimer = claim_queued.claimer,
                   claimed_until = claim_queued.until,
                   attempts = q.attempts + 1
              from rows from (pg_catalog.unnest(seqs), pg_catalog.unnest(ids)) as f (seq, connection_id)
             where q.seq = f.seq
               and q.connection_id = f.connection_id
            returning q.seq, q.connection_id, q.created_at
        )
        select m.seq,
               case when m.kind = 'close' then 'close' else 'message' end,
               c.connection_id, c.api_gateway_endpoint,
               case when c.wants_seq and m.sender is null and m.kind in ('topic', 'user', 'all')
                    then switchboard.payload_with_seq(m.seq, m.payload)
                    else m.payload
               end,
               c.connected_at > pg_catalog.clock_timestamp() - interval '10 seconds'
          from claimed as k
          join switchboard.websocket_messages as m on m.seq = k.seq
                                                  and m.created_at = k.created_at
          join switchboard.remote_connections as c on c.connection_id = k.connection_id
         order by m.seq, c.connection_id;
        exit when found; -- else none of those could be sent to: the next ones
    end loop;
end;
$$;
comment on function switchboard.claim_queued(text, integer, timestamptz) is
    'Internal: claims what is first in the queue for connections to which nobody else delivers.';

create or replace function switchboard.claim_messages(claimer text, max_messages integer, lease_ms bigint)
returns table (seq bigint, kind text, connection_id text, endpoint text, payload text, is_new boolean)
language plpgsql security definer
set search_path = ''
set enable_seqscan = off -- its plans are cached when the tables are small
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    at timestamptz;
    has_more boolean;
begin
    if not switchboard.has_messages_to_claim() then
        return;
    end if;
    for n in 1 .. 10 loop
        has_more := switchboard.queue_log(greatest(claim_messages.max_messages, 1));
        at := pg_catalog.clock_timestamp(); -- it may have waited
        perform switchboard.end_claims(at);
        return query
        select q.seq, q.kind, q.connection_id, q.endpoint, q.payload, q.is_new
          from switchboard.claim_queued(claim_messages.claimer, claim_messages.max_messages,
                                        at + claim_messages.lease_ms * interval '1 millisecond') as q;
        -- All for connections that somebody is at?  Then there may be others behind.
        exit when found or not has_more;
    end loop;
end;
$$;
comment on function switchboard.claim_messages(text, integer, bigint) is
    'Up to so many deliveries to connections without a node, in the order of the log, for this process alone until lease_ms are over.  kind: message, or close with payload {"code","reason"}.  is_new: its gateway may not have opened it yet, so that it says of it what it says of one that is gone.  After finish_messages() it is to be called again.';

create or replace function switchboard.finish_messages(
    claimer text, seqs bigint[], connection_ids text[] default null)
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    finished integer;
begin
    if finish_messages.connection_ids is null then
        delete from switchboard.websocket_claims as q
         where q.seq = any (finish_messages.seqs)
           and q.claimer = finish_messages.claimer;
    else
        delete from switchboard.websocket_claims as q
         using rows from (pg_catalog.unnest(finish_messages.seqs),
                          pg_catalog.unnest(finish_messages.connection_ids))
               as f (seq, connection_id)
         where q.seq = f.seq
           and q.connection_id = f.connection_id
           and q.claimer = finish_messages.claimer;
    end if;
    get diagnostics finished = row_count;
    return finished;
end;
$$;
comment on function switchboard.finish_messages(text, bigint[], text[]) is
    'These are delivered: for all connections that this process had claimed them for, or pair by pair.  What somebody else has claimed meanwhile is his.';

create or replace function switchboard.release_messages(
    claimer text, seqs bigint[], connection_ids text[] default null)
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    released integer;
begin
    if release_messages.connection_ids is null then
        update switchboard.websocket_claims as q
           set claimer = null,
               claimed_until = null,
               attempts = q.attempts - 1
         where q.seq = any (release_messages.seqs)
           and q.claimer = release_messages.claimer;
    else
        update switchboard.websocket_claims as q
           set claimer = null,
               claimed_until = null,
               attempts = q.attempts - 1
          from rows from (pg_catalog.unnest(release_messages.seqs),
                          pg_catalog.unnest(release_messages.connection_ids))
               as f (seq, connection_id)
         where q.seq = f.seq
           and q.connection_id = f.connection_id
           and q.claimer = release_messages.claimer;
    end if;
    get diagnostics released = row_count;
    return released;
end;
$$;
comment on function switchboard.release_messages(text, bigint[], text[]) is
    'These could not be delivered for now: whoever claims next gets them.  For all connections that this process had claimed them for, or pair by pair.';

create or replace function switchboard.drop_claims(ids text[])
returns void
language plpgsql
as $$
begin
    -- Some may be finished at this moment.
    with lost as materialized (
        select q.seq, q.connection_id
          from switchboard.websocket_claims as q
         where q.connection_id = any (drop_claims.ids)
           for update skip locked
    )
    delete from switchboard.websocket_claims as q
     using lost as l
     where q.seq = l.seq
       and q.connection_id = l.connection_id;
end;
$$;
comment on function switchboard.drop_claims(text[]) is
    'Internal: what was queued for connections that are gone.';

create or replace function switchboard.forget_connections(
    ids text[], code integer default 1006, reason text default 'Gone')
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    mine constant text[] :=
        array(select c.connection_id
                from switchboard.websocket_connections as c
               where c.connection_id = any (forget_connections.ids)
                 and c.node_id is null
                 for update skip locked);
    forgotten integer;
begin
    forgotten := switchboard.deactivate(mine, forget_connections.code, forget_connections.reason);
    -- As in deregister_connections(): these do not come back.
    update switchboard.websocket_connections as c
       set expires_at = pg_catalog.now()
     where c.connection_id = any (mine)
       and c.disconnect_reason = 'Email verified'
       and c.expires_at > pg_catalog.now();
    perform switchboard.drop_claims(mine);
    return forgotten;
end;
$$;
comment on function switchboard.forget_connections(text[], integer, text) is
    'Their gateway does not know these connections any more: deactivates them without running "$disconnect".  Passes over rows that are locked: the next one to send to them finds out again.';

create or replace function switchboard.forget_claims(batch integer)
returns integer
language plpgsql
as $$
declare
    forgotten integer;
begin
    with lost as materialized (
        select q.seq, q.connection_id
          from switchboard.websocket_claims as q
         where (q.claimer is null or q.claimed_until <= pg_catalog.clock_timestamp())
           and (q.created_at < pg_catalog.clock_timestamp() - interval '2 hours'
                or not exists (select
                                 from switchboard.remote_connections as c
                                where c.connection_id = q.connection_id)
                or not exists (select
                                 from switchboard.websocket_messages as m
                                where m.seq = q.seq
                                  and m.created_at = q.created_at))
         limit forget_claims.batch
           for update skip locked
    )
    delete from switchboard.websocket_claims as q
     using lost as l
     where q.seq = l.seq
       and q.connection_id = l.connection_id;
    get diagnostics forgotten = row_count;
    return forgotten;
end;
$$;
comment on function switchboard.forget_claims(integer) is
    'Internal: deletes up to so many rows of the queue that are too old, or whose message or connection is gone.';

-- ---- what a client missed ----

create or replace function switchboard.payload_with_seq(seq bigint, payload text)
returns text
language sql immutable parallel safe
begin atomic
    select case
               when payload = '{}' then '{"seq":' || seq || '}'
               when payload like '{%' then '{"seq":' || seq || ',' || substr(payload, 2)
               else '{"seq":' || seq || ',"data":' || payload || '}'
           end;
end;
comment on function switchboard.payload_with_seq(bigint, text) is
    'Internal: a payload as clients get it that have asked for seq.';

create or replace function switchboard.read_resume(
    connection_id text, topics jsonb, max_rows integer, claimer text default null,
    lease_ms bigint default null)
returns table (seq bigint, payload text)
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    upto bigint;
    seqs bigint[];
    payloads text[];
begin
    update switchboard.websocket_connections as c
       set wants_seq = true
     where c.connection_id = read_resume.connection_id
       and not c.wants_seq;
    if read_resume.topics = '{}' then
        return;
    end if;
    -- What is in the log now comes from here, what comes later from the queue.
    perform switchboard.queue_log(10000);
    select e.last_seq into upto from switchboard.log_end() as e;
    select pg_catalog.array_agg(t.seq), pg_catalog.array_agg(t.payload)
      into seqs, payloads
      from switchboard.read_topics(read_resume.connection_id, read_resume.topics, 0, upto,
                                   read_resume.max_rows) as t;
    if read_resume.claimer is not null then
        perform switchboard.claim_replayed(
            read_resume.connection_id, read_resume.topics, seqs, read_resume.claimer,
            pg_catalog.clock_timestamp() + read_resume.lease_ms * interval '1 millisecond');
    end if;
    return query
    select f.seq, switchboard.payload_with_seq(f.seq, f.payload)
      from rows from (pg_catalog.unnest(seqs), pg_catalog.unnest(payloads)) as f (seq, payload)
     order by f.seq;
end;
$$;
comment on function switchboard.read_resume(text, jsonb, integer, text, bigint) is
    'For a row of kind resume where no node holds the socket: what was published to {"topic": seq, ...} after those numbers, with seq in it; from then on claim_messages() has seq too.  As many as max_rows: ask again, no number lower than the last seq.  With a claimer nobody else delivers the same meanwhile; he finishes them as if claimed.';

create or replace function switchboard.claim_replayed(
    connection_id text, topics jsonb, seqs bigint[], claimer text, until timestamptz)
returns void
language plpgsql
as $$
begin
    -- What the client has seen.
    delete from switchboard.websocket_claims as q
     using switchboard.websocket_messages as m
     where q.connection_id = claim_replayed.connection_id
       and q.claimer is null
       and m.seq = q.seq
       and m.created_at = q.created_at
       and m.kind = 'topic'
       and m.sender is null
       and m.seq <= (claim_replayed.topics ->> m.target)::bigint;
    -- What it is about to see.
    update switchboard.websocket_claims as q
       set claimer = claim_replayed.claimer,
           claimed_until = claim_replayed.until,
           attempts = q.attempts + 1
     where q.connection_id = claim_replayed.connection_id
       and q.claimer is null
       and q.seq = any (claim_replayed.seqs);
end;
$$;
comment on function switchboard.claim_replayed(text, jsonb, bigint[], text, timestamptz) is
    'Internal: takes what a replay brings out of the hands of claim_messages().';

-- ---- rate limits ----

create or replace function switchboard.take_message_tokens(
    connection_id text, route_key text, rates real[], bursts real[])
returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
    user_id text;
    keys text[];
    wait real;
begin
    if bursts[2] > 0 then
        select c.user_id
          into user_id
          from switchboard.websocket_connections as c
         where c.connection_id = take_message_tokens.connection_id;
    end if;
    keys := array['connection:' || connection_id, 'user:' || user_id, 'route:' || route_key];
    -- The narrowest first.  What was taken before one refuses is gone.
    for n in 1 .. 3 loop
        continue when keys[n] is null or coalesce(bursts[n], 0) = 0;
        wait := switchboard.take_tokens(keys[n], rates[n], bursts[n]);
        if wait > 0 then
            return ceil(wait);
        end if;
    end loop;
    return 0;
end;
$$;
comment on function switchboard.take_message_tokens(text, text, real[], real[]) is
    'One message takes a token from the buckets of its connection, user and route; burst 0 is no limit.  0, or the seconds until it may come again.';

revoke all on all functions in schema switchboard from public;
