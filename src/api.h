/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - the API description (gateway.json): routes, integrations, authorizers, stage variables.
 *
 * Read once at start; docs/gateway.schema.json describes the file.  Names of members are those of
 * API Gateway, in camel case.
 */
#pragma once

#include "mapping.h"
#include "rate_limit.h"
#include "selection.h"
#include "template.h"

enum api_integration_type {
    API_SQL,        /* the route function in PostgreSQL */
    API_MOCK,       /* answers by its templates alone */
    API_HTTP_PROXY, /* the message as it is, the answer as it is */
    API_HTTP,       /* both through templates */
    API_LAMBDA      /* an event to a function's invoke URL: AWS_PROXY */
};

/* As in the description: "http_proxy". */
const char *api_integration_type_name(enum api_integration_type type);

enum api_passthrough { API_WHEN_NO_MATCH, API_WHEN_NO_TEMPLATES, API_NEVER };

/* Templates by key; "$default" is the one when no other matches. */
struct api_templates {
    size_t count;
    char **keys;
    struct template **templates;
    struct selection *selection; /* NULL: there is no expression */
};

struct api_response { /* of mock and http, for routes with a response */
    char *key;        /* "$default", a status code, or /regular expression/ on it */
    void *regex;      /* api_pattern.c's; NULL unless it is one */
    struct api_templates templates;
};

struct api_integration {
    char *name;
    enum api_integration_type type;
    char *url;    /* http, http_proxy, lambda; may have {name} in its path, for path parameters */
    char *method; /* http, http_proxy: "POST" unless given; "ANY" is POST */
    int64_t timeout_ms; /* 50 ... 29000 */
    struct mapping *request_parameters;
    struct api_templates request_templates;
    enum api_passthrough passthrough;
    size_t response_count;
    struct api_response *responses;
    int mock_status; /* what the request template of a mock always says; 0: that depends */
};

struct api_authorizer {
    char *name;
    char *url; /* a function's invoke URL */
    int64_t timeout_ms;
    size_t identity_count;
    char **identity_sources; /* as event_source_get takes them */
};

struct api_route {
    char *key;
    const struct api_integration *integration; /* NULL: accepted and dropped */
    const struct api_authorizer *authorizer;   /* $connect only; NULL: none */
    bool has_response;                         /* two-way; never of $connect or $disconnect */
    bool needs_api_key;                        /* $connect only */
    struct rate rate;                          /* throttle of the route; burst 0: none */
    struct rate_bucket bucket;
};

struct api {
    char *route_selection_expression;   /* NULL: the setting's */
    struct json *document;              /* owns stage_variables */
    const struct json *stage_variables; /* object of texts, or NULL when there are none */
    char *stage_variables_text;         /* the same as JSON text, or NULL */
    size_t api_key_count;
    char **api_keys;
    size_t route_count;
    struct api_route *routes;
    size_t integration_count;
    struct api_integration *integrations;
    size_t authorizer_count;
    struct api_authorizer *authorizers;
};

/* INVALID names the file, the member and what is wrong with it: "gateway.json:
 * routes.ping.throttle:
 * ..."; UNAVAILABLE: the file cannot be read.  Errors of api_parse begin with the member. */
enum status api_load(const char *file, struct api **out, struct error *err) MUST_USE;
enum status api_parse(const char *text, size_t len, struct api **out, struct error *err) MUST_USE;
void api_free(struct api *api); /* NULL is allowed */

/* The route of exactly that key, or NULL. */
struct api_route *api_route(struct api *api, const char *key);
/* True when a route runs in PostgreSQL: without one no database is needed. */
bool api_uses_sql(const struct api *api);

/* The template that applies, or NULL: the key of the expression, else "$default".  Without an
 * expression: fallback_key when it is not NULL and there is one, else the only template there is,
 * else "$default". */
const struct template *api_template(const struct api_templates *templates, const char *body,
                                    size_t body_len, const struct selection_answer *answer,
                                    const char *fallback_key);
/* The response for a status of the integration: an equal key, the first matching expression, else
 * "$default"; NULL when there is none. */
enum { API_STATUS_BYTES = 16 };
/* A status in decimal, as templates' and responses' keys have it; without printf, for every
 * message. */
void api_status_text(int status, char out[API_STATUS_BYTES]);
/* What the output of a mock's request template says: {"statusCode":200}.  False: it does not. */
bool api_mock_status(const char *text, size_t len, int *status) MUST_USE;
const struct api_response *api_response(const struct api_integration *integration, int status);
