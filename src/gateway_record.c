/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_record.c - what the access log and the metrics get of an event that is over.
 */
#include "gateway_internal.h"

#include "access_log.h"
#include "cloudwatch.h"
#include "config.h"
#include "connections.h"

static const char *const event_types[] = {"CONNECT", "MESSAGE", "DISCONNECT"};

static const enum cloudwatch_kind kinds[] = {CLOUDWATCH_CONNECT, CLOUDWATCH_MESSAGE,
                                             CLOUDWATCH_DISCONNECT};

static bool is_http(const struct api_integration *integration)
{
    return integration && (integration->type == API_HTTP || integration->type == API_HTTP_PROXY);
}

/* The gateway spoke itself: nobody was asked, or the call came to nothing. */
static enum cloudwatch_outcome outcome_of_error(const struct gateway_record *record)
{
    if (record->latency_ms < 0)
        return CLOUDWATCH_REFUSED;
    return record->status == 502 ? CLOUDWATCH_INTEGRATION_FAILED : CLOUDWATCH_EXECUTION_FAILED;
}

static enum cloudwatch_outcome outcome_of(const struct gateway_record *record)
{
    if (record->error_message)
        return outcome_of_error(record);
    if (record->status >= 500)
        return is_http(record->integration) ? CLOUDWATCH_INTEGRATION_FAILED
                                            : CLOUDWATCH_EXECUTION_FAILED;
    if (record->kind == EVENT_CONNECT && record->status >= 300)
        return CLOUDWATCH_DENIED;
    if (record->kind == EVENT_MESSAGE && record->status == 429)
        return CLOUDWATCH_REFUSED;
    if (record->status >= 400 && is_http(record->integration))
        return CLOUDWATCH_INTEGRATION_FAILED;
    return CLOUDWATCH_OK;
}

static void write_line(const struct gateway *gateway, const struct connection *connection,
                       const struct gateway_record *record)
{
    const struct config *config = gateway->env.config;
    struct request_context line;

    request_context_init(&line);
    line.api_id = config->api_id;
    line.stage = config->stage;
    line.route_key = record->route_key;
    line.event_type = event_types[record->kind];
    line.connection_id = connection->id;
    line.message_id = record->message_id;
    line.request_id = record->request_id;
    line.domain_name = connection->domain_name;
    line.source_ip = connection->source_ip;
    line.user_agent = connection->user_agent;
    line.authorizer = connection->authorizer;
    line.connected_at_ms = connection->connected_at_ms;
    line.request_time_ms = record->time_ms;
    line.status = record->status;
    line.integration_latency_ms = record->latency_ms;
    line.error_message = record->error_message;
    line.error_response_type = record->error_type;
    if (record->kind == EVENT_DISCONNECT) {
        line.disconnect_code = connection->close_code;
        line.disconnect_reason = connection->close_reason;
    }
    if (record->authorizer_status) {
        line.authorizer_status = record->authorizer_status;
        line.authorizer_latency_ms = record->authorizer_latency_ms;
    }
    access_log_write(gateway->env.access_log, &line);
}

void gateway_record(const struct gateway *gateway, const struct connection *connection,
                    const struct gateway_record *record)
{
    const struct cloudwatch_event event = {
        .route = record->route_key,
        .kind = kinds[record->kind],
        .outcome = outcome_of(record),
        .is_two_way = record->is_response_sent,
        .latency_ms = record->latency_ms,
    };

    if (gateway->env.cloudwatch)
        cloudwatch_event(gateway->env.cloudwatch, &event);
    if (gateway->env.access_log)
        write_line(gateway, connection, record);
}
