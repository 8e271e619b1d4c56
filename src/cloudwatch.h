/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cloudwatch.h - the metrics of API Gateway WebSocket APIs, under their names in CloudWatch.
 *
 * ConnectCount, MessageCount, IntegrationError, ClientError, ExecutionError (counters) and
 * IntegrationLatency (milliseconds; sum and count), each with the labels ApiId, Stage and Route.
 * Which event counts as what: API Gateway developer guide, "Monitoring WebSocket API execution".
 */
#pragma once

#include "buf.h"

struct cloudwatch;

enum cloudwatch_metric {
    CLOUDWATCH_CONNECT_COUNT,
    CLOUDWATCH_MESSAGE_COUNT,
    CLOUDWATCH_INTEGRATION_ERROR,
    CLOUDWATCH_CLIENT_ERROR,
    CLOUDWATCH_EXECUTION_ERROR,
    CLOUDWATCH_METRICS
};

struct cloudwatch *cloudwatch_create(const char *api_id, const char *stage) MUST_USE;
void cloudwatch_free(struct cloudwatch *cloudwatch); /* NULL is allowed */
/* Makes a route known: its metrics are there with 0 before the first event. */
void cloudwatch_add_route(struct cloudwatch *cloudwatch, const char *route);
/* route: as routeKey, or "POST /@connections/{connectionId}"; NULL, for what matched no route,
 * counts as "-".  Past 300 different routes they count as "$other". */
void cloudwatch_count(struct cloudwatch *cloudwatch, const char *route,
                      enum cloudwatch_metric metric);
void cloudwatch_latency(struct cloudwatch *cloudwatch, const char *route, int64_t latency_ms);
/* Prometheus text, behind what metrics_write has written. */
void cloudwatch_write(const struct cloudwatch *cloudwatch, struct buf *out);

/* ---- which event counts as what ---- */

enum cloudwatch_kind {
    CLOUDWATCH_CONNECT,
    CLOUDWATCH_MESSAGE,
    CLOUDWATCH_DISCONNECT,
    CLOUDWATCH_CONNECTION_API /* a request to @connections; route begins with its method */
};

enum cloudwatch_outcome {
    CLOUDWATCH_OK,
    /* By the gateway, before an integration was asked: no route, authorizer, API key, throttle, too
     * large; for @connections every answer from 400 to 499. */
    CLOUDWATCH_REFUSED,
    /* The integration answered $connect with a status that refuses, 300 to 499. */
    CLOUDWATCH_DENIED,
    /* The integration was called and failed: a function raised an error or its answer was
     * malformed; http and http_proxy answered 400 to 599 ($connect: 500 to 599). */
    CLOUDWATCH_INTEGRATION_FAILED,
    /* Calling it failed (it cannot be reached, is not there, took too long), or a function or route
     * answered with a status from 500 to 599. */
    CLOUDWATCH_EXECUTION_FAILED
};

struct cloudwatch_event {
    const char *route;
    enum cloudwatch_kind kind;
    enum cloudwatch_outcome outcome;
    bool is_two_way;    /* MESSAGE: the answer of the route went to the client */
    int64_t latency_ms; /* of the integration; -1: none was called */
};

/* Counts one event, once it is answered:
 *
 *   CONNECT         ConnectCount and MessageCount, unless it was REFUSED
 *   MESSAGE         MessageCount, twice when it is two-way: in and out
 *   DISCONNECT      MessageCount, with an integration or without
 *   CONNECTION_API  MessageCount for a POST that was delivered; never a latency
 *   any             REFUSED, DENIED: ClientError; INTEGRATION_FAILED: IntegrationError;
 *                   EXECUTION_FAILED: ExecutionError
 *
 * Frames that the gateway makes itself ("Forbidden" and so on) are not counted as messages. */
void cloudwatch_event(struct cloudwatch *cloudwatch, const struct cloudwatch_event *event);
