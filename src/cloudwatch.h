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
/* route: as routeKey, or "POST /@connections/{connectionId}".  Past 300 different routes they count
 * as "$other". */
void cloudwatch_count(struct cloudwatch *cloudwatch, const char *route,
                      enum cloudwatch_metric metric);
void cloudwatch_latency(struct cloudwatch *cloudwatch, const char *route, int64_t latency_ms);
/* Prometheus text, behind what metrics_write has written. */
void cloudwatch_write(const struct cloudwatch *cloudwatch, struct buf *out);
