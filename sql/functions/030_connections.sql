-- SPDX-License-Identifier: Apache-2.0
-- 030_connections.sql - acting on connections from routes and applications: sending, subscribing, closing.
-- Repeatable: applied again whenever this file changes.
--
-- What is called once for each connection or message has enable_seqscan off, as have the functions of
-- that kind elsewhere: PostgreSQL keeps their plans, and one that was made while the table was small
-- would read all of it, for each, when it has grown, until the table is analyzed again.

create or replace view switchboard.live_connections as
select c.connection_id, c.user_id, c.user_email, c.user_name, c.subscription_type, c.connection_type,
       c.api_gateway_endpoint, c.node_id, c.stage, c.source_ip, c.user_agent, c.claims, c.metadata,
       c.connected_at, c.last_activity_at, c.expires_at
  from switchboard.websocket_connections as c
 where c.is_active
   and c.expires_at > statement_timestamp()
   and (c.node_id is null
        or exists (select
                     from switchboard.websocket_nodes as n
                    where n.node_id = c.node_id
                      and n.expires_at > statement_timestamp()));
comment on view switchboard.live_connections is
    'Who is connected: active, not expired, and held by a node whose lease is valid (or by API Gateway).';

create or replace function switchboard.active_connection_count()
returns bigint
language sql stable security definer
set search_path = ''
as $$
    select count(*) from switchboard.live_connections;
$$;
comment on function switchboard.active_connection_count() is
    'How many connections are live.';

create or replace function switchboard.is_live(connection_id text)
returns boolean
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    return exists (select
                     from switchboard.live_connections as c
                    where c.connection_id = is_live.connection_id);
end;
$$;
comment on function switchboard.is_live(text) is
    'Whether this connection is live.';

create or replace function switchboard.post_to_connection(connection_id text, payload text)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    if not exists (select
                     from switchboard.live_connections as c
                    where c.connection_id = post_to_connection.connection_id) then
        return false;
    end if;
    perform switchboard.outbox_add('connection', post_to_connection.connection_id,
                                   post_to_connection.payload);
    return true;
end;
$$;
comment on function switchboard.post_to_connection(text, text) is
    'Publishes raw text to one connection; false when it is not live.';

create or replace function switchboard.send_to_connection(connection_id text, payload jsonb)
returns boolean
language plpgsql security definer
set search_path = ''
as $$
begin
    return switchboard.post_to_connection(send_to_connection.connection_id,
                                          send_to_connection.payload::text);
end;
$$;
comment on function switchboard.send_to_connection(text, jsonb) is
    'Publishes to one connection; false when it is not live.';

create or replace function switchboard.send_to_user(user_id text, payload jsonb)
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    reached integer;
begin
    select count(*)
      into reached
      from switchboard.live_connections as c
     where c.user_id = send_to_user.user_id;
    -- Also when there is none: one that is being registered right now gets it.
    perform switchboard.outbox_add('user', send_to_user.user_id, send_to_user.payload::text);
    return reached;
end;
$$;
comment on function switchboard.send_to_user(text, jsonb) is
    'Publishes to every connection of a user; returns how many are live now.';

create or replace function switchboard.subscribe(connection_id text, topic text)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    -- The lock (compatible with touching) keeps the connection from being deregistered before this
    -- commits, which would leave the subscription behind.  While "$connect" runs there is no row yet.
    if pg_catalog.current_setting('switchboard.is_registering', true) is distinct from 'on' then
        perform
           from switchboard.websocket_connections as c
          where c.connection_id = subscribe.connection_id
            and c.is_active
            for key share;
        if not found then
            return false;
        end if;
    end if;
    insert into switchboard.websocket_subscriptions (topic, connection_id)
    values (subscribe.topic, subscribe.connection_id)
        on conflict do nothing;
    if not found then
        return false;
    end if;
    perform switchboard.outbox_add('subscribe', subscribe.connection_id, subscribe.topic);
    return true;
end;
$$;
comment on function switchboard.subscribe(text, text) is
    'Subscribes a connection to a topic: it gets what is published after this commits.  False: it was subscribed already, or is not active.';

create or replace function switchboard.unsubscribe(connection_id text, topic text)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    delete from switchboard.websocket_subscriptions as s
     where s.topic = unsubscribe.topic
       and s.connection_id = unsubscribe.connection_id;
    if not found then
        return false;
    end if;
    perform switchboard.outbox_add('unsubscribe', unsubscribe.connection_id, unsubscribe.topic);
    return true;
end;
$$;
comment on function switchboard.unsubscribe(text, text) is
    'Ends a subscription; false when there was none.';

create or replace function switchboard.close_connection(
    connection_id text, code integer default 1000, reason text default 'Connection Closed Normally')
returns boolean
language plpgsql security definer
set search_path = ''
as $$
begin
    if close_connection.code is null or close_connection.code not between 1000 and 4999 then
        raise exception 'not a close code: %', close_connection.code
            using errcode = 'invalid_parameter_value';
    end if;
    return switchboard.is_live(close_connection.connection_id)
       and switchboard.outbox_add(
               'close', close_connection.connection_id,
               pg_catalog.jsonb_build_object('code', close_connection.code,
                                             'reason', close_connection.reason)::text) is not null;
end;
$$;
comment on function switchboard.close_connection(text, integer, text) is
    'Closes a live connection when this transaction commits; false when it is not live.  The node that holds it deregisters it.';

create or replace function switchboard.set_metadata(connection_id text, changes jsonb)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
    update switchboard.websocket_connections as c
       set metadata = c.metadata || set_metadata.changes
     where c.connection_id = set_metadata.connection_id
       and c.is_active;
    return found;
end;
$$;
comment on function switchboard.set_metadata(text, jsonb) is
    'Merges an object into the metadata of a connection; false when it is not active.';

create or replace function switchboard.identify(
    connection_id text,
    user_id text default null,
    user_email text default null,
    user_name text default null,
    claims jsonb default null,
    subscription_type text default null,
    metadata jsonb default null)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    old_user_id text;
begin
    select c.user_id
      into old_user_id
      from switchboard.websocket_connections as c
     where c.connection_id = identify.connection_id
       and c.is_active
       for no key update;
    if not found then
        return false;
    end if;
    update switchboard.websocket_connections as c
       set user_id = coalesce(identify.user_id, c.user_id),
           user_email = coalesce(lower(btrim(identify.user_email)), c.user_email),
           user_name = coalesce(identify.user_name, c.user_name),
           claims = coalesce(identify.claims, c.claims),
           subscription_type = coalesce(identify.subscription_type, c.subscription_type),
           metadata = coalesce(identify.metadata, c.metadata)
     where c.connection_id = identify.connection_id;
    if identify.user_id is null or identify.user_id is not distinct from old_user_id then
        return true;
    end if;
    if old_user_id is not null then
        perform switchboard.outbox_add('unsubscribe', identify.connection_id, 'user:' || old_user_id);
    end if;
    perform switchboard.outbox_add('subscribe', identify.connection_id, 'user:' || identify.user_id);
    return true;
end;
$$;
comment on function switchboard.identify(text, text, text, text, jsonb, text, jsonb) is
    'Says who a connection is; null keeps what is there.  From then on it gets what is sent to that user.  False when it is not active.';

create or replace function switchboard.leave_topics(connection_id text, user_id text)
returns void
language plpgsql
set enable_seqscan = off
as $$
begin
    with gone as (
        delete from switchboard.websocket_subscriptions as s
         where s.connection_id = leave_topics.connection_id
        returning s.topic
    )
    insert into switchboard.websocket_outbox (kind, target, payload)
    select 'unsubscribe', leave_topics.connection_id, left_topics.topic
      from (select g.topic from gone as g
             union all
            select 'user:' || leave_topics.user_id where leave_topics.user_id is not null
           ) as left_topics;
    if found then
        perform switchboard.note_published();
    end if;
end;
$$;
comment on function switchboard.leave_topics(text, text) is
    'Internal: ends every subscription of a connection whose socket stays open.';

create or replace function switchboard.subscribe_email_verification(connection_id text, email text)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    connection record;
begin
    -- A connection that was deregistered by a verification and is still open comes back; deregistering
    -- it after its socket has closed moves expires_at, so it does not come back then.
    select c.is_active, c.user_id
      into connection
      from switchboard.websocket_connections as c
     where c.connection_id = subscribe_email_verification.connection_id
       and (c.is_active
            or (c.disconnect_reason = 'Email verified' and c.expires_at > pg_catalog.now()))
       for no key update;
    if not found then
        return false;
    end if;
    update switchboard.websocket_connections as c
       set user_email = lower(btrim(subscribe_email_verification.email)),
           subscription_type = 'email-verification',
           is_active = true,
           disconnected_at = null,
           disconnect_code = null,
           disconnect_reason = null
     where c.connection_id = subscribe_email_verification.connection_id;
    if not connection.is_active and connection.user_id is not null then
        perform switchboard.outbox_add('subscribe', subscribe_email_verification.connection_id,
                                       'user:' || connection.user_id);
    end if;
    return true;
end;
$$;
comment on function switchboard.subscribe_email_verification(text, text) is
    'The connection waits for the verification of this address (again, if it got one before).  False when it is not open.';

create or replace function switchboard.notify_email_verified(email text)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
    address constant text := lower(btrim(email));
    connection record;
begin
    loop
        select c.connection_id, c.user_id
          into connection
          from switchboard.live_connections as c
         where c.user_email = address
           and c.subscription_type = 'email-verification'
         order by c.connected_at desc, c.connection_id
         limit 1;
        if not found then
            return false;
        end if;
        -- Whoever else picked it is waited for here; lost means: pick again.
        update switchboard.websocket_connections as c
           set is_active = false,
               disconnected_at = pg_catalog.now(),
               disconnect_code = 1000,
               disconnect_reason = 'Email verified'
         where c.connection_id = connection.connection_id
           and c.is_active
           and c.subscription_type = 'email-verification'
           and c.user_email = address;
        exit when found;
    end loop;
    perform switchboard.outbox_add(
        'connection', connection.connection_id,
        pg_catalog.jsonb_build_object(
            'type', 'email-verified', 'email', address, 'verified', true,
            'message', 'Your email has been verified successfully!',
            'timestamp', switchboard.now_ms())::text);
    perform switchboard.leave_topics(connection.connection_id, connection.user_id);
    return true;
end;
$$;
comment on function switchboard.notify_email_verified(text) is
    'Tells the newest connection that waits for this address, and deregisters it, when this transaction commits.  False when nobody waits.';

revoke all on all functions in schema switchboard from public;
