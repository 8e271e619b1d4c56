-- SPDX-License-Identifier: Apache-2.0
-- zz_grants.sql - who may execute what.  Nothing is granted on tables, and nothing to PUBLIC.
-- Repeatable: applied last, again whenever this file changes.  A role that does not exist is passed over.
-- A function that is dropped and made anew loses its grants: change this file with it.

do $$
declare
    -- Applications: publish, send, subscribe, identify.
    for_applications constant text[] := array[
        'active_connection_count()',
        'broadcast_to_user(text, jsonb)',
        'close_connection(text, integer, text)',
        'create_chat_response(text, text, boolean, jsonb)',
        'create_error(text, text, boolean, integer)',
        'create_system(text, text)',
        'create_typing_indicator(boolean)',
        'identify(text, text, text, text, jsonb, text, jsonb)',
        'is_live(text)',
        'notify_email_verified(text)',
        'now_ms()',
        'now_s()',
        'parse_json(text)',
        'post_to_connection(text, text)',
        'oldest_seq()',
        'publish(text, jsonb)',
        'publish(text, jsonb, text)',
        'publish_to_all(jsonb)',
        'send_message(text, jsonb)',
        'send_to_connection(text, jsonb)',
        'send_to_user(text, jsonb)',
        'set_metadata(text, jsonb)',
        'subscribe(text, text)',
        'subscribe_email_verification(text, text)',
        'take_tokens(text, real, real)',
        'topic_history(text, bigint, integer, jsonb)',
        'typed_message(text, jsonb)',
        'unsubscribe(text, text)',
        'accept(text, text, text, text, jsonb, text, integer)',
        'audit(text, jsonb)',
        'reply(jsonb)',
        'to_all(jsonb, text)',
        'then_run(text)',
        'to_close(text, integer, text)',
        'to_connection(text, jsonb)',
        'to_topic(text, jsonb, text)',
        'to_user(text, jsonb)'];
    -- The service: what the program calls, beside the above.
    for_service constant text[] := array[
        'claim_messages(text, integer, bigint)',
        'cleanup_connections(integer, integer)',
        'cleanup_nodes(integer)',
        'deregister_connections(text[], text[], integer[], text[], text[])',
        'finish_messages(text, bigint[], text[])',
        'follow_messages(bigint, timestamptz, integer)',
        'forget_connections(text[], integer, text)',
        'handle_error(text[], text, text, text, text, text, text, text, bigint, text, jsonb, text, text)',
        'handle_message(text[], text, text, text, text, text, text, text, bigint, text, jsonb)',
        'handle_messages(text[], text[], text, text[], text[], text[], text[], text[], text[], bigint[], text[], jsonb[])',
        'heartbeat_node(text, text, text, bigint)',
        'leave_node(text)',
        'list_connections(integer, text)',
        'maintain_partitions(integer, integer)',
        'profile_settings(text[])',
        'read_resume(text, jsonb, integer, text, bigint)',
        'read_topics(text, jsonb, bigint, bigint, integer)',
        'register_connections(text[], text, text, bigint, jsonb)',
        'register_connections(text[], text, text, bigint, text, text[], text[], bigint[], text[], text[], jsonb[], text[], jsonb[])',
        'register_node(text, text, text, bigint)',
        'relay_deliveries(text, text[], text[], text[], text[])',
        'release_messages(text, bigint[], text[])',
        'restore_connections(text, text, bigint, jsonb)',
        'route_table(text[])',
        'send_request(jsonb, jsonb, text)',
        'sequence_messages(integer)',
        'take_message_tokens(text, text, real[], real[])',
        'touch_connections(text[], bigint[])',
        'touch_connections(text[], bigint[], bigint)'];
    grantee text;
    signature text;
begin
    revoke all on schema switchboard from public;
    revoke all on all functions in schema switchboard from public;
    for grantee in
        select r.rolname
          from pg_catalog.pg_roles as r
         where r.rolname in ('switchboard_service', 'switchboard_app')
         order by r.rolname
    loop
        execute pg_catalog.format('revoke all on all functions in schema switchboard from %I', grantee);
        execute pg_catalog.format('grant usage on schema switchboard to %I', grantee);
        foreach signature in array for_applications
                || case when grantee = 'switchboard_service' then for_service else '{}' end
        loop
            execute pg_catalog.format('grant execute on function switchboard.%s to %I', signature, grantee);
        end loop;
    end loop;
end;
$$;
