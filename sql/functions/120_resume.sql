-- SPDX-License-Identifier: Apache-2.0
-- 120_resume.sql - reading the log by topic: history, and what a client missed.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.oldest_seq()
returns bigint
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    return coalesce(
               (select m.seq from switchboard.websocket_messages as m order by m.seq limit 1),
               (select e.last_seq + 1 from switchboard.log_end() as e));
end;
$$;
comment on function switchboard.oldest_seq() is
    'The first seq of the log that is still kept; while it is empty, the next one.';

create or replace function switchboard.topic_history(
    topic text, before_seq bigint default null, max_rows integer default 50,
    matching jsonb default '{}')
returns table (seq bigint, payload jsonb, created_at timestamptz)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off -- its plan is cached when the log is small
as $$
begin
    return query
    select m.seq, m.payload::jsonb, m.created_at
      from switchboard.websocket_messages as m
     where m.kind = 'topic'
       and m.sender is null
       and m.target = topic_history.topic
       and m.seq < coalesce(topic_history.before_seq, 9223372036854775807)
       and m.payload::jsonb @> topic_history.matching
     order by m.seq desc
     limit topic_history.max_rows;
end;
$$;
comment on function switchboard.topic_history(text, bigint, integer, jsonb) is
    'What was published to a topic, newest first, before that seq; only payloads that contain matching.';

create or replace function switchboard.read_topics(
    connection_id text, topics jsonb, after_seq bigint, upto_seq bigint, max_rows integer)
returns table (seq bigint, topic text, payload text)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select r.seq, r.target, r.payload
      from pg_catalog.jsonb_each_text(read_topics.topics) as t (topic, seq)
     cross join lateral (
            select m.seq, m.target, m.payload
              from switchboard.websocket_messages as m
             where m.kind = 'topic'
               and m.sender is null
               and m.target = t.topic
               and m.seq > greatest(t.seq::bigint, read_topics.after_seq)
               and m.seq <= read_topics.upto_seq
               and m.except_connection is distinct from read_topics.connection_id
             order by m.seq
             limit read_topics.max_rows) as r
     order by r.seq
     limit read_topics.max_rows;
end;
$$;
comment on function switchboard.read_topics(text, jsonb, bigint, bigint, integer) is
    'A page of what was published to {"topic": seq, ...} after those numbers, after after_seq and up to upto_seq, in order.  Fewer than max_rows rows: that was all.';

create or replace function switchboard.is_resume_request(topics jsonb)
returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
    if pg_catalog.jsonb_typeof(topics) is distinct from 'object' then
        return false;
    end if;
    -- Whole numbers of at most 18 digits, which fit in a bigint; {} asks for seq from now on.
    return (select count(*) <= 100
                   and coalesce(pg_catalog.bool_and(pg_catalog.jsonb_typeof(t.value) = 'number'
                                                    and t.value::text ~ '^[0-9]{1,18}$'), true)
              from pg_catalog.jsonb_each(topics) as t);
end;
$$;
comment on function switchboard.is_resume_request(jsonb) is
    'Internal: whether this is an object of at most 100 topics and the seq that the client has seen of each.';

create or replace function switchboard.resume_topics(connection_id text, topics jsonb)
returns setof switchboard.delivery
language plpgsql
set enable_seqscan = off
as $$
declare
    oldest constant bigint := switchboard.oldest_seq();
    newest constant bigint := (select e.last_seq from switchboard.log_end() as e);
    request record;
    granted jsonb := '{}';
begin
    if not switchboard.is_resume_request(resume_topics.topics) then
        return next switchboard.reply(switchboard.create_error(
            'INVALID_MESSAGE', 'resume needs an object of at most 100 topics and the seq seen of each', false));
        return;
    end if;
    for request in
        select t.topic, t.seq::bigint as seq,
               exists (select
                         from switchboard.websocket_subscriptions as s
                        where s.topic = t.topic
                          and s.connection_id = resume_topics.connection_id) as is_subscribed
          from pg_catalog.jsonb_each_text(resume_topics.topics) as t (topic, seq)
         order by t.topic
    loop
        if not request.is_subscribed then
            return next switchboard.reply(switchboard.create_system(
                'Not subscribed to ' || request.topic, 'error'));
            continue;
        end if;
        if request.seq < oldest - 1 then
            return next switchboard.reply(switchboard.create_system(
                pg_catalog.format('Messages before seq %s are no longer kept', oldest), 'warning'));
        end if;
        -- A number from the future (of another database, say) means everything from now on.
        granted := granted || pg_catalog.jsonb_build_object(request.topic, least(request.seq, newest));
    end loop;
    return next row ('resume', null, pg_catalog.jsonb_build_object('topics', granted)::text,
                     null)::switchboard.delivery;
end;
$$;
comment on function switchboard.resume_topics(text, jsonb) is
    'Internal: answers and the row of kind resume, by which the gateway replays the topics and numbers what this connection gets from then on.';

create or replace function switchboard.resume(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return query
    select r.kind, r.target, r.payload, r.except_connection
      from switchboard.resume_topics(event.connection_id, coalesce(event.body -> 'topics', '{}')) as r;
end;
$$;
comment on function switchboard.resume(switchboard.event) is
    'The route resume, where no schema has one of its own: {"topics": {"room:general": 1234}} replays what came after and goes on with seq in every frame.';

create or replace function switchboard.resume_connects(
    events switchboard.event[], results switchboard.event_result[])
returns setof switchboard.event_result
language plpgsql
as $$
begin
    return query
    select (e.position - 1)::integer, r.kind, r.target, r.payload, r.except_connection
      from pg_catalog.unnest(resume_connects.events) with ordinality
           as e (connection_id, request_id, message_id, event_type, route_key, body, raw_body, query,
                 headers, token, user_id, user_email, user_name, claims, subscription_type, metadata,
                 stage, source_ip, user_agent, connected_at, disconnect_code, disconnect_reason,
                 position)
     cross join lateral switchboard.resume_topics(
            e.connection_id, switchboard.parse_json(e.query ->> 'resume')) as r
     where e.query ? 'resume'
       and not exists (select
                         from pg_catalog.unnest(resume_connects.results) as v
                        where v.event_index = e.position - 1
                          and v.kind in ('refuse', 'error'))
     order by e.position;
end;
$$;
comment on function switchboard.resume_connects(switchboard.event[], switchboard.event_result[]) is
    'Internal: ?resume= of the handshakes of a batch that were accepted.';

revoke all on all functions in schema switchboard from public;
