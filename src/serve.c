/* SPDX-License-Identifier: Apache-2.0 */
#include "serve_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access_log.h"
#include "api.h"
#include "auth.h"
#include "backend.h"
#include "cloudwatch.h"
#include "connections.h"
#include "follower.h"
#include "gateway.h"
#include "http.h"
#include "http_client.h"
#include "integration.h"
#include "json.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "node.h"
#include "replay.h"
#include "store.h"
#include "websocket.h"

enum {
    STOP_TICK_MS = 20,
    INTEGRATION_ANSWER_BYTES = 10 * 1024 * 1024 /* API Gateway's limit of a payload */
};

/* ---- ready ---- */

static bool is_database_up(const struct store *store)
{
    return store_is_up(store, STORE_CONTROL) && store_is_up(store, STORE_FOLLOWER) &&
           store_is_up(store, STORE_EVENT);
}

static bool is_ready(void *ctx, const char **reason)
{
    const struct app *app = ctx;

    if (app->state > APP_SERVING)
        *reason = "stopping";
    else if (app->store && !is_database_up(app->store))
        *reason = "database is away";
    else if (app->state == APP_STARTING)
        *reason = "node is not registered";
    else
        return true;
    return false;
}

static void write_ports_file(const struct app *app)
{
    char temporary[4096];
    FILE *file;

    if (!*app->config.ports_file)
        return;
    snprintf(temporary, sizeof(temporary), "%s.tmp", app->config.ports_file);
    file = fopen(temporary, "we");
    if (!file) {
        log_warn("serve.ports_file_failed", "file=%s", log_quote(temporary));
        return;
    }
    fprintf(file, "{\"port\":%lld,\"adminPort\":%lld,\"pid\":%ld}\n", (long long)app->config.port,
            (long long)app->config.admin_port, (long)getpid());
    if (fclose(file) != 0 || rename(temporary, app->config.ports_file) != 0)
        log_warn("serve.ports_file_failed", "file=%s", log_quote(app->config.ports_file));
}

/* An address a person can paste: what listens everywhere is reached on loopback. */
static const char *reachable(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0 ? "127.0.0.1" : address;
}

static void print_addresses(struct app *app)
{
    const struct config *config = &app->config;
    const char *host = reachable(config->listen_address);
    const char *admin = reachable(config->admin_address);
    const char *query = app->store && strcmp(config->profile, "careconnect") == 0
                            ? "?email=ann@example.com&type=email-verification"
                            : "";

    if (app->is_printed)
        return;
    app->is_printed = true;
    printf("WebSocket   ws://%s:%lld/%s\n", host, (long long)config->port, config->stage);
    printf("Management  %s/@connections/{connectionId}\n", app->endpoint);
    printf("Admin       http://%s:%lld  (/ready /metrics /connections)\n", admin,
           (long long)config->admin_port);
    printf("Try it      wscat -c 'ws://%s:%lld/%s%s'\n", host, (long long)config->port,
           config->stage, query);
    fflush(stdout);
    write_ports_file(app);
}

static void begin_serving(struct app *app)
{
    app->state = APP_SERVING;
    app->metrics.ready = 1;
    gateway_set_accepting(app->gateway, true);
    print_addresses(app);
}

static void on_registered(void *ctx)
{
    struct app *app = ctx;

    if (app->state == APP_STARTING)
        begin_serving(app);
}

static void on_settings(void *ctx)
{
    struct app *app = ctx;

    gateway_apply_settings(app->gateway);
}

/* ---- the database's news ---- */

static void on_lane(void *ctx, enum store_lane lane, bool is_up)
{
    struct app *app = ctx;
    const char *reason;

    if (lane == STORE_FOLLOWER)
        node_database_is_up(app->node, is_up);
    app->metrics.ready = is_ready(app, &reason);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
    struct app *app = ctx;

    (void)channel;
    (void)payload;
    follower_wake(app->follower);
}

/* ---- stopping ---- */

static void on_left(void *ctx)
{
    struct app *app = ctx;

    app->state = APP_STOPPED;
    loop_stop(app->loop);
}

/* Whether the database has all, or cannot be told. */
static bool is_written(const struct app *app)
{
    return !app->store || backend_backlog(app->backend) == 0 ||
           !store_is_up(app->store, STORE_CONTROL);
}

static void end_lease(struct app *app)
{
    if (!app->store) {
        on_left(app);
        return;
    }
    app->state = APP_LEAVING;
    app->stop_deadline_ms = loop_now_ms(app->loop) + app->config.shutdown_timeout_ms;
    node_leave(app->node);
}

/* Clients get a close frame and time to answer it, then their $disconnects are written, then the
 * lease ends.  What is left at the deadline is the lease's business. */
static void on_stop_tick(void *ctx)
{
    struct app *app = ctx;
    bool is_late = loop_now_ms(app->loop) >= app->stop_deadline_ms;

    if (app->state == APP_CLOSING &&
        (is_late || (connections_count(app->connections) == 0 && is_written(app))))
        end_lease(app);
    else if (app->state == APP_LEAVING && is_late)
        on_left(app);
}

static void on_signal(void *ctx, int signum)
{
    struct app *app = ctx;

    if (app->state >= APP_CLOSING) {
        log_warn("serve.stop_at_once", "signal=%d", signum);
        app->state = APP_STOPPED;
        loop_stop(app->loop);
        return;
    }
    log_info("serve.stopping", "signal=%d connections=%zu", signum,
             connections_count(app->connections));
    app->state = APP_CLOSING;
    app->metrics.ready = 0;
    app->stop_deadline_ms = loop_now_ms(app->loop) + app->config.shutdown_timeout_ms;
    gateway_set_accepting(app->gateway, false);
    listener_stop(app->listener);
    gateway_close_all(app->gateway);
    app->stop_timer = loop_timer(app->loop, 0, STOP_TICK_MS, on_stop_tick, app);
}

/* After logrotate. */
static void on_hangup(void *ctx, int signum)
{
    struct app *app = ctx;

    (void)signum;
    if (app->access_log)
        access_log_reopen(app->access_log);
}

/* ---- starting ---- */

static void on_uptime(void *ctx)
{
    struct app *app = ctx;

    app->metrics.uptime_s = (uint64_t)(clock_mono_ms() - app->started_ms) / 1000;
    app->metrics.slow_turns = loop_slow_turns(app->loop);
}

/* The id is new in every life of a node; the name stays, so that the next life finds the rows of
 * the one before. */
static void mint_node_id(struct app *app)
{
    uint64_t random;

    (void)gethostname(app->host, sizeof(app->host) - 1);
    random_bytes(&random, sizeof(random));
    snprintf(app->node_id, sizeof(app->node_id), "%s-%016llx", app->host,
             (unsigned long long)random);
}

/* Needs the ports that were bound. */
static void name_node(struct app *app)
{
    const struct config *config = &app->config;

    if (*config->node_name)
        snprintf(app->node_name, sizeof(app->node_name), "%s", config->node_name);
    else
        snprintf(app->node_name, sizeof(app->node_name), "%s:%lld", app->host,
                 (long long)config->port);
    if (*config->public_endpoint)
        snprintf(app->endpoint, sizeof(app->endpoint), "%s", config->public_endpoint);
    else
        snprintf(app->endpoint, sizeof(app->endpoint), "http://%s:%lld/%s",
                 reachable(config->admin_address), (long long)config->admin_port, config->stage);
}

static void create_follower(struct app *app)
{
    struct replays_env replays = {
        .loop = app->loop,
        .config = &app->config,
        .store = app->store,
        .connections = app->connections,
        .metrics = &app->metrics,
    };
    struct follower_env follower = {
        .loop = app->loop,
        .config = &app->config,
        .store = app->store,
        .connections = app->connections,
        .metrics = &app->metrics,
        .node_id = app->node_id,
    };

    app->replays = replays_create(&replays);
    follower.replays = app->replays;
    app->follower = follower_create(&follower);
}

static bool is_sql_route(struct api *api, const char *key)
{
    const struct api_route *route = api ? api_route(api, key) : NULL;

    return !api || (route && route->integration && route->integration->type == API_SQL);
}

static void create_database_side(struct app *app)
{
    static const struct store_events events = {on_lane, on_notify};
    struct backend_env backend = {
        .loop = app->loop,
        .config = &app->config,
        .connections = app->connections,
        .settings = &app->settings,
        .metrics = &app->metrics,
        .node_id = app->node_id,
        .endpoint = app->endpoint,
        .skips_connect_route = !is_sql_route(app->api, "$connect"),
        .skips_disconnect_route = !is_sql_route(app->api, "$disconnect"),
    };
    struct node_env node = {
        .loop = app->loop,
        .config = &app->config,
        .metrics = &app->metrics,
        .node_id = app->node_id,
        .node_name = app->node_name,
        .endpoint = app->endpoint,
        .settings = &app->settings,
        .on_settings = on_settings,
        .on_registered = on_registered,
        .on_left = on_left,
        .ctx = app,
    };

    app->store = store_create(app->loop, &app->config, &app->metrics, &events, app);
    create_follower(app);
    backend.store = app->store;
    backend.follower = app->follower;
    backend.replays = app->replays;
    app->backend = backend_create(&backend);
    node.store = app->store;
    node.backend = app->backend;
    node.follower = app->follower;
    app->node = node_create(&node);
}

static enum status create_gateway_side(struct app *app, struct error *err)
{
    struct gateway_env gateway = {
        .loop = app->loop,
        .config = &app->config,
        .backend = app->backend,
        .api = app->api,
        .integrations = app->integrations,
        .access_log = app->access_log,
        .cloudwatch = app->cloudwatch,
        .auth = app->auth,
        .settings = &app->settings,
        .connections = app->connections,
        .replays = app->replays,
        .metrics = &app->metrics,
    };

    app->gateway = gateway_create(&gateway, err);
    if (!app->gateway)
        return err->status;
    app->websocket = websocket_create(app->loop, &app->config, app->gateway, &app->metrics, err);
    if (!app->websocket)
        return err->status;
    app->listener =
        listener_create(app->loop, &app->config, app->gateway, app->websocket, &app->metrics, err);
    return app->listener ? OK : err->status;
}

/* Requests to @connections are in the access log and the metrics like events. */
static void on_management(void *ctx, const struct http_management_record *record)
{
    struct app *app = ctx;
    const struct cloudwatch_event event = {
        .route = record->route_key,
        .kind = CLOUDWATCH_CONNECTION_API,
        .outcome = record->status < 400   ? CLOUDWATCH_OK
                   : record->status < 500 ? CLOUDWATCH_REFUSED
                                          : CLOUDWATCH_EXECUTION_FAILED,
        .latency_ms = -1,
    };
    struct request_context line;

    cloudwatch_event(app->cloudwatch, &event);
    if (!app->access_log)
        return;
    request_context_init(&line);
    line.api_id = app->config.api_id;
    line.stage = app->config.stage;
    line.domain_name = app->config.domain_name;
    line.event_type = "CONNECTION_API";
    line.route_key = record->route_key;
    line.connection_id = record->connection_id;
    line.request_id = record->request_id;
    line.extended_request_id = record->gateway_id;
    line.source_ip = record->source_ip;
    line.user_agent = record->user_agent;
    line.caller = record->caller;
    line.status = record->status;
    line.request_time_ms = record->request_time_ms;
    access_log_write(app->access_log, &line);
}

static void on_management_socket(void *ctx, int fd)
{
    struct app *app = ctx;

    http_adopt(app->http, fd);
}

static enum status create_admin_side(struct app *app, struct error *err)
{
    struct http_env http = {
        .loop = app->loop,
        .config = &app->config,
        .store = app->store,
        .connections = app->connections,
        .follower = app->follower,
        .gateway = app->gateway,
        .metrics = &app->metrics,
        .cloudwatch = app->cloudwatch,
        .on_management = on_management,
        .is_ready = is_ready,
        .ctx = app,
    };
    enum status status = http_create(&http, &app->http, err);

    if (status == OK)
        listener_on_management(app->listener, on_management_socket, app);
    return status;
}

static void create_integrations(struct app *app)
{
    const struct config *config = &app->config;
    struct integrations_env env = {
        .loop = app->loop,
        .api = app->api,
        .api_id = config->api_id,
        .source_arn = app->source_arn,
        .server_port = &config->port,
        .max_answer_bytes = INTEGRATION_ANSWER_BYTES,
    };

    snprintf(app->source_arn, sizeof(app->source_arn), "arn:aws:execute-api:%s:%s:%s/%s",
             config->aws_region, config->aws_account_id, config->api_id, config->stage);
    env.pool = app->pool = http_pool_create(app->loop);
    http_pool_trust(app->pool, config->tls_ca_file);
    app->integrations = integrations_create(&env);
}

static enum status start(struct app *app, struct error *err)
{
    enum status status = serve_prepare(app, err);

    if (status != OK)
        return status;
    mint_node_id(app);
    app->connections = connections_create((size_t)app->config.max_queue_bytes);
    if (app->api)
        create_integrations(app);
    if (serve_uses_database(app))
        create_database_side(app);
    status = create_gateway_side(app, err);
    if (status == OK)
        status = create_admin_side(app, err);
    if (status != OK)
        return status;
    app->config.port = listener_port(app->listener);
    app->config.admin_port = http_port(app->http);
    name_node(app); /* nothing has used the names yet: the loop has not turned */
    listener_start(app->listener);
    loop_on_signal(app->loop, SIGINT, on_signal, app);
    loop_on_signal(app->loop, SIGTERM, on_signal, app);
    loop_on_signal(app->loop, SIGHUP, on_hangup, app);
    app->uptime_timer = loop_timer(app->loop, 1000, 1000, on_uptime, app);
    if (!app->store)
        begin_serving(app);
    return OK;
}

static void close_connections_left(struct app *app)
{
    struct connection *next;

    for (struct connection *c = connections_first(app->connections); c; c = next) {
        next = connections_next(c);
        connection_free(app->connections, c);
    }
}

/* Closing the store answers every call that is open, to whoever made it, so its callers go after
 * it.  The backend answers held handshakes, so the listener goes after that. */
static void stop(struct app *app)
{
    loop_timer_stop(app->stop_timer);
    loop_timer_stop(app->uptime_timer);
    if (app->listener) {
        listener_stop(app->listener);
        listener_on_management(app->listener, NULL, NULL);
    }
    if (app->store)
        store_close(app->store);
    if (app->integrations)
        integrations_close(app->integrations);
    if (app->http)
        http_free(app->http);
    if (app->websocket)
        websocket_free(app->websocket);
    if (app->node)
        node_free(app->node);
    if (app->backend)
        backend_free(app->backend);
    if (app->follower)
        follower_free(app->follower);
    if (app->listener)
        listener_free(app->listener);
    if (app->gateway)
        gateway_free(app->gateway);
    if (app->store)
        store_free(app->store);
    if (app->replays)
        replays_free(app->replays);
    if (app->connections) {
        close_connections_left(app);
        connections_free(app->connections);
    }
    integrations_free(app->integrations);
    http_pool_free(app->pool);
    api_free(app->api);
    access_log_free(app->access_log);
    cloudwatch_free(app->cloudwatch);
    auth_free(app->auth);
    loop_free(app->loop); /* waits for what the thread pool does */
    if (app->has_http_client)
        http_client_done();
}

int cmd_serve(const struct config *config)
{
    struct app *app = mem_alloc(sizeof(*app));
    struct error err = {0};
    int code = 0;

    app->config = *config;
    app->started_ms = clock_mono_ms();
    signal(SIGPIPE, SIG_IGN);
    serve_raise_descriptor_limit(config);
    app->loop = loop_create();
    if (start(app, &err) == OK) {
        log_info("serve.start", "port=%lld admin_port=%lld profile=%s node=%s",
                 (long long)app->config.port, (long long)app->config.admin_port,
                 log_quote(config->profile), app->node_id);
        loop_run(app->loop);
        log_info("serve.stopped", "uptime_s=%llu", (unsigned long long)app->metrics.uptime_s);
    } else {
        log_error("serve.failed", "error=%s", log_quote(err.text));
        code = 1;
    }
    stop(app);
    free(app);
    return code;
}
