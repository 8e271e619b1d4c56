-- SPDX-License-Identifier: Apache-2.0
-- Made by ./dev dump: the tables, types and views after all migrations; for reading and for
-- reviews.  Functions are in sql/functions and sql/profiles.
--
-- PostgreSQL database dump
--

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: broadcast; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA broadcast;

--
-- Name: SCHEMA broadcast; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA broadcast IS 'Profile: echo and broadcast.  The action member of a message says which.';

--
-- Name: careconnect; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA careconnect;

--
-- Name: SCHEMA careconnect; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA careconnect IS 'Profile: e-mail verification, authentication, updates, notifications.  The type member of a message says what it is.';

--
-- Name: chat; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA chat;

--
-- Name: SCHEMA chat; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA chat IS 'Profile: rooms, private messages, history.  The type member of a message says what it is.';

--
-- Name: chatbot; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA chatbot;

--
-- Name: SCHEMA chatbot; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA chatbot IS 'Profile: authenticated, typed messages.  The action member of a message says what it is.';

--
-- Name: switchboard; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA switchboard;

--
-- Name: SCHEMA switchboard; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA switchboard IS 'Switchboard: WebSocket connections, subscriptions, published messages, and the functions around them.';

--
-- Name: delivery; Type: TYPE; Schema: switchboard; Owner: -
--

CREATE TYPE switchboard.delivery AS (
	kind text,
	target text,
	payload text,
	except_connection text
);

--
-- Name: TYPE delivery; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TYPE switchboard.delivery IS 'What a route function returns rows of: a payload with an address, made by reply(), to_user() and so on.';

--
-- Name: event; Type: TYPE; Schema: switchboard; Owner: -
--

CREATE TYPE switchboard.event AS (
	connection_id text,
	request_id text,
	message_id text,
	event_type text,
	route_key text,
	body jsonb,
	raw_body text,
	query jsonb,
	headers jsonb,
	token jsonb,
	user_id text,
	user_email text,
	user_name text,
	claims jsonb,
	subscription_type text,
	metadata jsonb,
	stage text,
	source_ip text,
	user_agent text,
	connected_at timestamp with time zone,
	disconnect_code integer,
	disconnect_reason text
);

--
-- Name: TYPE event; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TYPE switchboard.event IS 'What a route function gets: one CONNECT, MESSAGE or DISCONNECT of a connection.';

--
-- Name: event_result; Type: TYPE; Schema: switchboard; Owner: -
--

CREATE TYPE switchboard.event_result AS (
	event_index integer,
	kind text,
	target text,
	payload text,
	except_connection text
);

--
-- Name: TYPE event_result; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TYPE switchboard.event_result IS 'What the service reads: deliveries and verdicts, with the position of the event in its batch.';

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: websocket_log_state; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_log_state (
    id boolean DEFAULT true NOT NULL,
    last_seq bigint DEFAULT 0 NOT NULL,
    last_at timestamp with time zone DEFAULT now() NOT NULL,
    outbox_floor bigint DEFAULT 0 NOT NULL,
    mark_id bigint DEFAULT 0 NOT NULL,
    mark_xid xid8 DEFAULT '0'::xid8 NOT NULL,
    CONSTRAINT websocket_log_state_one_row_check CHECK (id)
)
WITH (fillfactor='10');

--
-- Name: TABLE websocket_log_state; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_log_state IS 'One row: a lower bound of where the log ends (exact while the log is empty), and the outbox id up to which everything is settled.  Written once in a thousand messages, so that old snapshots do not pile up versions of it.';

--
-- Name: websocket_messages; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_messages (
    seq bigint NOT NULL,
    kind text NOT NULL,
    target text,
    payload text NOT NULL,
    except_connection text,
    sender text,
    created_at timestamp with time zone NOT NULL
)
PARTITION BY RANGE (created_at);

--
-- Name: TABLE websocket_messages; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_messages IS 'The log: published messages in the order in which every node sees them.  seq has no gaps; created_at is when the row was sequenced and never goes back.  A partition per UTC day, so retention is a drop.';

--
-- Name: websocket_connections; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_connections (
    connection_id text NOT NULL,
    user_id text,
    user_email text,
    user_name text,
    subscription_type text,
    connection_type text NOT NULL,
    api_gateway_endpoint text,
    node_id text,
    stage text,
    source_ip text,
    user_agent text,
    claims jsonb,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    connected_at timestamp with time zone DEFAULT now() NOT NULL,
    last_activity_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    disconnected_at timestamp with time zone,
    disconnect_code integer,
    disconnect_reason text,
    wants_seq boolean DEFAULT false NOT NULL,
    CONSTRAINT websocket_connections_type_check CHECK ((connection_type = ANY (ARRAY['aws'::text, 'local'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05');

--
-- Name: TABLE websocket_connections; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_connections IS 'Every WebSocket connection, the closed ones too until the cleanup deletes them.  No index on last_activity_at: touching must stay a HOT update.';

--
-- Name: COLUMN websocket_connections.wants_seq; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_connections.wants_seq IS 'Only where no node holds the socket: the client has asked for seq in what it is sent, see read_resume().';

--
-- Name: websocket_nodes; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_nodes (
    node_id text NOT NULL,
    node_name text NOT NULL,
    endpoint text,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='200');

--
-- Name: TABLE websocket_nodes; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_nodes IS 'One row per gateway process.  expires_at is the lease that covers all its connections.';

--
-- Name: live_connections; Type: VIEW; Schema: switchboard; Owner: -
--

CREATE VIEW switchboard.live_connections AS
 SELECT c.connection_id,
    c.user_id,
    c.user_email,
    c.user_name,
    c.subscription_type,
    c.connection_type,
    c.api_gateway_endpoint,
    c.node_id,
    c.stage,
    c.source_ip,
    c.user_agent,
    c.claims,
    c.metadata,
    c.connected_at,
    c.last_activity_at,
    c.expires_at
   FROM switchboard.websocket_connections c
  WHERE (c.is_active AND (c.expires_at > statement_timestamp()) AND ((c.node_id IS NULL) OR (EXISTS ( SELECT
           FROM switchboard.websocket_nodes n
          WHERE ((n.node_id = c.node_id) AND (n.expires_at > statement_timestamp()))))));

--
-- Name: VIEW live_connections; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON VIEW switchboard.live_connections IS 'Who is connected: active, not expired, and held by a node whose lease is valid (or by API Gateway).';

--
-- Name: remote_connections; Type: VIEW; Schema: switchboard; Owner: -
--

CREATE VIEW switchboard.remote_connections AS
 SELECT c.connection_id,
    c.api_gateway_endpoint,
    c.wants_seq,
    c.connected_at
   FROM switchboard.websocket_connections c
  WHERE ((c.node_id IS NULL) AND (c.is_active OR ((c.disconnect_reason = 'Email verified'::text) AND (c.expires_at > statement_timestamp()))));

--
-- Name: VIEW remote_connections; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON VIEW switchboard.remote_connections IS 'Connections that no node holds and that can be sent to.';

--
-- Name: schema_migrations; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.schema_migrations (
    name text NOT NULL,
    version integer,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

--
-- Name: TABLE schema_migrations; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.schema_migrations IS 'What the migrator has applied: a file name, its number (null: a repeatable file) and its SHA-256.';

--
-- Name: websocket_claims; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_claims (
    seq bigint NOT NULL,
    connection_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    claimer text,
    claimed_until timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    CONSTRAINT websocket_claims_claimer_check CHECK (((claimer IS NULL) = (claimed_until IS NULL)))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='10000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='10000', autovacuum_vacuum_cost_delay='0');

--
-- Name: TABLE websocket_claims; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_claims IS 'What the log still has to bring to connections without a node, a row for each of its receivers.  Who delivers it holds a claim with a deadline; claimer null: nobody does.';

--
-- Name: COLUMN websocket_claims.created_at; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_claims.created_at IS 'Of the row of the log: finds it in its partition, and never goes back while seq goes on.';

--
-- Name: COLUMN websocket_claims.attempts; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_claims.attempts IS 'Claims so far that were not given back; after too many of them nobody tries again.';

--
-- Name: websocket_idempotency; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_idempotency (
    key text NOT NULL,
    request bytea NOT NULL,
    answer jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

--
-- Name: TABLE websocket_idempotency; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_idempotency IS 'Sends that carried an idempotency key, for a day: see send_request().';

--
-- Name: COLUMN websocket_idempotency.request; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_idempotency.request IS 'SHA-256 of the request.  Another request with the same key is refused.';

--
-- Name: COLUMN websocket_idempotency.answer; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_idempotency.answer IS 'What was answered.  Null only inside the transaction that sends.';

--
-- Name: websocket_log_hint; Type: SEQUENCE; Schema: switchboard; Owner: -
--

CREATE SEQUENCE switchboard.websocket_log_hint
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: SEQUENCE websocket_log_hint; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON SEQUENCE switchboard.websocket_log_hint IS 'At least the last seq of the log: the sequencer raises it before it commits.  A follower that has a row with that seq has all there is, without looking.';

--
-- Name: websocket_outbox; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_outbox (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    id bigint NOT NULL,
    kind text NOT NULL,
    target text,
    payload text NOT NULL,
    except_connection text,
    sender text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT websocket_outbox_kind_check CHECK ((kind = ANY (ARRAY['connection'::text, 'user'::text, 'topic'::text, 'all'::text, 'subscribe'::text, 'unsubscribe'::text, 'close'::text]))),
    CONSTRAINT websocket_outbox_target_check CHECK (((target IS NOT NULL) OR (kind = 'all'::text)))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='10000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='10000', autovacuum_vacuum_cost_delay='0', toast.autovacuum_vacuum_scale_factor='0', toast.autovacuum_vacuum_threshold='1000');

--
-- Name: TABLE websocket_outbox; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_outbox IS 'Published, not yet ordered.  Written by publish() and its kin; the sequencer moves rows to websocket_messages.';

--
-- Name: COLUMN websocket_outbox.kind; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_outbox.kind IS 'connection, user, topic, all: a payload for sockets.  subscribe, unsubscribe: target is a connection id, payload a topic.  close: target is a connection id, payload {"code","reason"}.';

--
-- Name: websocket_outbox_id_seq; Type: SEQUENCE; Schema: switchboard; Owner: -
--

ALTER TABLE switchboard.websocket_outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME switchboard.websocket_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: websocket_rate_limits; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE UNLOGGED TABLE switchboard.websocket_rate_limits (
    key text NOT NULL,
    full_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

--
-- Name: TABLE websocket_rate_limits; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_rate_limits IS 'Token buckets for modes that keep nothing in memory, see take_tokens().';

--
-- Name: COLUMN websocket_rate_limits.full_at; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_rate_limits.full_at IS 'When the bucket will be full again.  Past: the row means nothing and may go.';

--
-- Name: websocket_remote_state; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_remote_state (
    id boolean DEFAULT true NOT NULL,
    next_seq bigint NOT NULL,
    next_at timestamp with time zone NOT NULL,
    CONSTRAINT websocket_remote_state_one_row_check CHECK (id)
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='200');

--
-- Name: TABLE websocket_remote_state; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_remote_state IS 'One row: the first seq of the log that claim_messages() has not looked at, and a time that no later row is before.';

--
-- Name: websocket_rooms; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_rooms (
    room_id text NOT NULL,
    created_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL
);

--
-- Name: TABLE websocket_rooms; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_rooms IS 'Rooms of the profile chat.  Who is in one: the subscriptions to the topic room:<room_id>.';

--
-- Name: COLUMN websocket_rooms.created_by; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON COLUMN switchboard.websocket_rooms.created_by IS 'The user who entered it first; null: an application made it, and it stays when nobody is in it.';

--
-- Name: websocket_subscriptions; Type: TABLE; Schema: switchboard; Owner: -
--

CREATE TABLE switchboard.websocket_subscriptions (
    topic text NOT NULL,
    connection_id text NOT NULL,
    subscribed_at timestamp with time zone DEFAULT now() NOT NULL
);

--
-- Name: TABLE websocket_subscriptions; Type: COMMENT; Schema: switchboard; Owner: -
--

COMMENT ON TABLE switchboard.websocket_subscriptions IS 'Which connection wants which topic.  No foreign key: closing a connection deletes its rows in bulk.';

--
-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

--
-- Name: websocket_claims websocket_claims_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_claims
    ADD CONSTRAINT websocket_claims_pkey PRIMARY KEY (seq, connection_id);

--
-- Name: websocket_connections websocket_connections_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_connections
    ADD CONSTRAINT websocket_connections_pkey PRIMARY KEY (connection_id);

--
-- Name: websocket_idempotency websocket_idempotency_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_idempotency
    ADD CONSTRAINT websocket_idempotency_pkey PRIMARY KEY (key);

--
-- Name: websocket_log_state websocket_log_state_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_log_state
    ADD CONSTRAINT websocket_log_state_pkey PRIMARY KEY (id);

--
-- Name: websocket_messages websocket_messages_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_messages
    ADD CONSTRAINT websocket_messages_pkey PRIMARY KEY (seq, created_at);

--
-- Name: websocket_nodes websocket_nodes_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_nodes
    ADD CONSTRAINT websocket_nodes_pkey PRIMARY KEY (node_id);

--
-- Name: websocket_outbox websocket_outbox_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_outbox
    ADD CONSTRAINT websocket_outbox_pkey PRIMARY KEY (id);

--
-- Name: websocket_rate_limits websocket_rate_limits_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_rate_limits
    ADD CONSTRAINT websocket_rate_limits_pkey PRIMARY KEY (key);

--
-- Name: websocket_remote_state websocket_remote_state_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_remote_state
    ADD CONSTRAINT websocket_remote_state_pkey PRIMARY KEY (id);

--
-- Name: websocket_rooms websocket_rooms_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_rooms
    ADD CONSTRAINT websocket_rooms_pkey PRIMARY KEY (room_id);

--
-- Name: websocket_subscriptions websocket_subscriptions_pkey; Type: CONSTRAINT; Schema: switchboard; Owner: -
--

ALTER TABLE ONLY switchboard.websocket_subscriptions
    ADD CONSTRAINT websocket_subscriptions_pkey PRIMARY KEY (topic, connection_id);

--
-- Name: websocket_claims_connection_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_claims_connection_idx ON switchboard.websocket_claims USING btree (connection_id);

--
-- Name: websocket_claims_free_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_claims_free_idx ON switchboard.websocket_claims USING btree (created_at, seq, connection_id) WHERE (claimer IS NULL);

--
-- Name: websocket_claims_until_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_claims_until_idx ON switchboard.websocket_claims USING btree (claimed_until) WHERE (claimer IS NOT NULL);

--
-- Name: websocket_connections_disconnected_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_connections_disconnected_idx ON switchboard.websocket_connections USING btree (disconnected_at) WHERE (NOT is_active);

--
-- Name: websocket_connections_email_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_connections_email_idx ON switchboard.websocket_connections USING btree (user_email) WHERE (is_active AND (user_email IS NOT NULL));

--
-- Name: websocket_connections_node_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_connections_node_idx ON switchboard.websocket_connections USING btree (node_id, expires_at) WHERE is_active;

--
-- Name: websocket_connections_user_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_connections_user_idx ON switchboard.websocket_connections USING btree (user_id) WHERE (is_active AND (user_id IS NOT NULL));

--
-- Name: websocket_connections_verified_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_connections_verified_idx ON switchboard.websocket_connections USING btree (expires_at) WHERE ((NOT is_active) AND (node_id IS NULL) AND (disconnect_reason = 'Email verified'::text));

--
-- Name: websocket_idempotency_created_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_idempotency_created_idx ON switchboard.websocket_idempotency USING btree (created_at);

--
-- Name: websocket_messages_subscribe_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_messages_subscribe_idx ON ONLY switchboard.websocket_messages USING btree (target, seq) WHERE (kind = 'subscribe'::text);

--
-- Name: websocket_messages_topic_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_messages_topic_idx ON ONLY switchboard.websocket_messages USING btree (target, seq) WHERE ((kind = 'topic'::text) AND (sender IS NULL));

--
-- Name: websocket_subscriptions_connection_idx; Type: INDEX; Schema: switchboard; Owner: -
--

CREATE INDEX websocket_subscriptions_connection_idx ON switchboard.websocket_subscriptions USING btree (connection_id);

--
-- Name: websocket_outbox websocket_outbox_wake; Type: TRIGGER; Schema: switchboard; Owner: -
--

CREATE CONSTRAINT TRIGGER websocket_outbox_wake AFTER INSERT ON switchboard.websocket_outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchboard.wake_nodes();

--
-- Name: SCHEMA switchboard; Type: ACL; Schema: -; Owner: -
--

GRANT USAGE ON SCHEMA switchboard TO switchboard_app;
GRANT USAGE ON SCHEMA switchboard TO switchboard_service;

--
-- PostgreSQL database dump complete
--

