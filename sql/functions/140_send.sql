-- SPDX-License-Identifier: Apache-2.0
-- 140_send.sql - the requests to @send: many receivers, batches, and keys that keep repeats from being sent.
-- Repeatable: applied again whenever this file changes.

create or replace function switchboard.send_one(message jsonb, refused jsonb)
returns jsonb
language plpgsql
as $$
declare
    target constant jsonb := message -> 'to';
    payload constant jsonb := message -> 'message';
    results jsonb := '[]';
    receiver text;
begin
    if target = '"all"' then
        perform switchboard.publish_to_all(payload);
        return '{"published": true}';
    elsif target ? 'topic' then
        perform switchboard.publish(target ->> 'topic', payload);
        return '{"published": true}';
    elsif target ? 'user' then
        return pg_catalog.jsonb_build_object(
            'reached', switchboard.send_to_user(target ->> 'user', payload));
    end if;
    for receiver in select pg_catalog.jsonb_array_elements_text(target -> 'connections') loop
        results := results || pg_catalog.jsonb_build_object(
            'connectionId', receiver,
            'status', case
                          when refused ? receiver then (refused ->> receiver)::integer
                          when switchboard.send_to_connection(receiver, payload) then 200
                          else 410
                      end);
    end loop;
    return pg_catalog.jsonb_build_object('results', results);
end;
$$;
comment on function switchboard.send_one(jsonb, jsonb) is
    'Internal: sends {"to", "message"}; returns what is answered.';

create or replace function switchboard.send_all(request jsonb, refused jsonb)
returns jsonb
language plpgsql
as $$
declare
    results jsonb := '[]';
    message jsonb;
begin
    if not request ? 'messages' then
        return switchboard.send_one(request, refused);
    end if;
    for message in select pg_catalog.jsonb_array_elements(request -> 'messages') loop
        results := results || switchboard.send_one(message, refused);
    end loop;
    return pg_catalog.jsonb_build_object('results', results);
end;
$$;
comment on function switchboard.send_all(jsonb, jsonb) is
    'Internal: sends one message or a batch; returns what is answered.';

create or replace function switchboard.send_request(
    request jsonb, refused jsonb default '{}', idempotency_key text default null)
returns table (status integer, answer jsonb)
language plpgsql security definer
set search_path = ''
as $$
declare
    fingerprint bytea;
    earlier record;
    is_mine boolean;
begin
    status := 200;
    if idempotency_key is null then
        answer := switchboard.send_all(send_request.request, send_request.refused);
        return next;
        return;
    end if;
    fingerprint := pg_catalog.sha256(pg_catalog.convert_to(send_request.request::text, 'UTF8'));
    -- Whoever comes second waits here for the first one to commit, or takes its place.
    insert into switchboard.websocket_idempotency as i (key, request)
    values (send_request.idempotency_key, fingerprint)
        on conflict (key) do update
           set request = excluded.request,
               answer = null,
               created_at = pg_catalog.now()
         where i.created_at <= pg_catalog.now() - interval '24 hours';
    is_mine := found;
    if not is_mine then
        select i.request, i.answer
          into earlier
          from switchboard.websocket_idempotency as i
         where i.key = send_request.idempotency_key;
        status := case when earlier.request = fingerprint then 200 else 422 end;
        answer := case when status = 200 then earlier.answer end;
        return next;
        return;
    end if;
    answer := switchboard.send_all(send_request.request, send_request.refused);
    update switchboard.websocket_idempotency as i
       set answer = send_request.answer
     where i.key = send_request.idempotency_key;
    return next;
end;
$$;
comment on function switchboard.send_request(jsonb, jsonb, text) is
    'Sends what a request to @send asks for, all of it when this transaction commits or nothing.  refused: connections that are not to be tried, with their status.  The same request with the same key within 24 hours is answered again and not sent; another one is status 422.';

create or replace function switchboard.forget_idempotency_keys(batch integer)
returns integer
language plpgsql
as $$
declare
    forgotten integer;
begin
    delete from switchboard.websocket_idempotency as i
     where i.key = any (array(select old.key
                                from switchboard.websocket_idempotency as old
                               where old.created_at < pg_catalog.now() - interval '25 hours'
                               order by old.created_at
                               limit forget_idempotency_keys.batch
                                 for update skip locked));
    get diagnostics forgotten = row_count;
    return forgotten;
end;
$$;
comment on function switchboard.forget_idempotency_keys(integer) is
    'Internal: deletes up to so many keys that are over, an hour late so that nobody waits for a row that goes.';

revoke all on all functions in schema switchboard from public;
