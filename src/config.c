/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - every setting, from one table.
 *
 * To add a setting: a member of struct config, a row here; nothing else.
 */
#include "config.h"

#include "buf.h"
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_TEXT,
    KIND_SECRET, /* text that is never printed */
    KIND_WORD,   /* letters, digits, '-' and '_'; at least one, at most 128 */
    KIND_CHOICE, /* one of the words in `choices`, which are separated by blanks */
    KIND_INTEGER /* min ... max */
};

enum { MAX_ALIASES = 2 };

struct setting {
    const char *name; /* as in struct config */
    enum kind kind;
    size_t offset;
    const char *fallback; /* what it is when nobody sets it */
    const char *aws;      /* what it is then with aws_strict: API Gateway's; NULL: the same */
    int64_t min;
    int64_t max;
    const char *choices;
    const char *aliases[MAX_ALIASES]; /* environment variables of others; the first one wins */
    const char *help;
};

/* clang-format off */
#define TEXT(member, fallback, ...) \
    {#member, KIND_TEXT, offsetof(struct config, member), fallback, NULL, 0, 0, NULL, {0}, __VA_ARGS__}
#define ALIASED(member, kind, first, second, help) \
    {#member, kind, offsetof(struct config, member), "", NULL, 0, 0, NULL, {first, second}, help}
#define SECRET(member, help) \
    {#member, KIND_SECRET, offsetof(struct config, member), "", NULL, 0, 0, NULL, {0}, help}
#define WORD(member, fallback, help) \
    {#member, KIND_WORD, offsetof(struct config, member), fallback, NULL, 0, 0, NULL, {0}, help}
#define CHOICE(member, fallback, choices, help) \
    {#member, KIND_CHOICE, offsetof(struct config, member), fallback, NULL, 0, 0, choices, {0}, help}
#define INTEGER(member, fallback, min, max, help) \
    {#member, KIND_INTEGER, offsetof(struct config, member), fallback, NULL, min, max, NULL, {0}, help}

/* Those for which API Gateway has a value. */
#define AWS_TEXT(member, fallback, aws, ...) \
    {#member, KIND_TEXT, offsetof(struct config, member), fallback, aws, 0, 0, NULL, {0}, __VA_ARGS__}
#define AWS_CHOICE(member, fallback, aws, choices, help) \
    {#member, KIND_CHOICE, offsetof(struct config, member), fallback, aws, 0, 0, choices, {0}, help}
#define AWS_INTEGER(member, fallback, aws, min, max, help) \
    {#member, KIND_INTEGER, offsetof(struct config, member), fallback, aws, min, max, NULL, {0}, help}

enum { MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000, MEBIBYTE = 1048576 };

static const struct setting settings[] = {
    CHOICE(aws_strict, "off", "on off", "whether settings that nobody gives have API Gateway's values, and oddities of it are copied"),
    TEXT(listen_address, "127.0.0.1", "address that accepts WebSockets"),
    INTEGER(port, "8080", 0, 65535, "port that accepts WebSockets; 0 takes any free one"),
    WORD(stage, "dev", "first part of the path: ws://host:port/<stage>"),
    TEXT(admin_address, "127.0.0.1", "address of the admin port"),
    INTEGER(admin_port, "8081", 0, 65535, "port for health, metrics and @connections; 0 takes any free one"),
    ALIASED(public_endpoint, KIND_TEXT, "AWS_WEBSOCKET_API_GATEWAY_ENDPOINT", "WEBSOCKET_API_ENDPOINT",
            "management endpoint written to every connection's row; empty: the admin port's"),
    TEXT(management_access_key_id, "", "access key that signs requests to @connections; empty: unsigned ones, from this machine only"),
    SECRET(management_secret_access_key, "its secret"),
    TEXT(management_allow, "POST,GET,DELETE", "methods of @connections that are allowed"),
    CHOICE(development, "off", "on off", "whether the WebSocket port takes unsigned requests to @connections from this machine"),
    TEXT(domain_name, "", "requestContext.domainName of events; empty: the Host of the handshake"),
    WORD(api_id, "local", "requestContext.apiId of events"),
    {"aws_region", KIND_WORD, offsetof(struct config, aws_region), "us-east-1", NULL, 0, 0, NULL,
     {"AWS_REGION", NULL}, "region in ARNs of events and in our signatures"},
    WORD(aws_account_id, "123456789012", "account in ARNs of events"),
    TEXT(node_name, "", "name of this process in the database; empty: <hostname>:<port>"),
    TEXT(ports_file, "", "file that gets the ports and the process id once serving; empty: none"),

    TEXT(backend_address, "127.0.0.1", "address that takes the events of somebody else's gateway (switchboard backend)"),
    INTEGER(backend_port, "8082", 0, 65535, "port that takes them; 0 takes any free one"),
    SECRET(backend_secret, "what the header x-switchboard-secret has to say there; empty: whoever reaches the port may send events"),

    ALIASED(aws_access_key_id, KIND_TEXT, "AWS_ACCESS_KEY_ID", NULL,
            "credentials that sign requests to API Gateway's @connections; from here alone, not from a container's or machine's role; empty: unsigned"),
    ALIASED(aws_secret_access_key, KIND_SECRET, "AWS_SECRET_ACCESS_KEY", NULL, "their secret"),
    ALIASED(aws_session_token, KIND_SECRET, "AWS_SESSION_TOKEN", NULL, "their session token; empty: none"),
    INTEGER(sender_parallel, "64", 1, 1024, "connections that messages are posted to at a time"),
    INTEGER(sender_timeout_ms, "3000", 50, MINUTE_MS, "for one try to post a message"),
    ALIASED(secrets_endpoint, KIND_TEXT, "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL",
            "URL of AWS Secrets Manager; empty: the region's"),

    ALIASED(database_url, KIND_SECRET, "DATABASE_URL", NULL,
            "PostgreSQL connection string; empty: the variables PGHOST, PGUSER, ..."),
    CHOICE(database_auth, "password", "password iam secret", "where its password comes from: itself, an IAM token for each connection (TLS required), or database_secret_arn"),
    TEXT(database_secret_arn, "", "secret in AWS Secrets Manager for database_auth=secret: JSON with username and password, or a password alone"),
    INTEGER(database_pool_size, "4", 1, 64, "database connections that run message events"),
    INTEGER(database_connect_timeout_ms, "5000", 100, 10 * MINUTE_MS, "for one attempt to connect"),
    INTEGER(database_wait_ms, "5000", 0, 29000, "how long a handshake waits for a database that is away"),
    AWS_INTEGER(integration_timeout_ms, "29000", "29000", 50, 29000, "for a route function to answer"),
    INTEGER(batch_rows, "256", 1, 10000, "connections that one database call registers at most"),
    INTEGER(message_batch_rows, "64", 1, 10000, "messages that share a transaction at most, where the schema of their routes says shared_transactions; 1: none does"),

    WORD(profile, "careconnect", "the routes that ship with the program: schema of that name"),
    TEXT(routes, "", "schemas whose routes go in front of the profile's, separated by commas"),
    TEXT(route_selection_expression, "", "such as $request.body.action; empty: the profile's own"),
    TEXT(api, "", "API description, a gateway.json; empty: every route is SQL"),

    INTEGER(connection_ttl_minutes, "0", 0, 525600, "after which a connection's row expires; 0: the profile's, or 120"),
    INTEGER(max_connections, "100000", 1, 10000000, "open connections; past it handshakes get 503"),
    INTEGER(max_pending_handshakes, "20000", 1, 1000000, "handshakes under way at a time"),
    INTEGER(handshake_timeout_ms, "10000", 10, 10 * MINUTE_MS, "to receive the head of a request"),
    AWS_INTEGER(max_head_bytes, "16384", "10240", 256, MEBIBYTE, "size of the head of a request"),
    AWS_INTEGER(max_url_bytes, "8192", "4096", 16, MEBIBYTE, "size of the path and query of a request"),
    AWS_INTEGER(max_message_bytes, "1048576", "131072", 1, 64 * MEBIBYTE, "size of a message from a client; of what a compressed one becomes"),
    AWS_INTEGER(max_frame_bytes, "1048576", "32768", 1, 64 * MEBIBYTE, "size of a frame from a client, as it is sent"),
    AWS_INTEGER(output_frame_bytes, "0", "512", 0, 64 * MEBIBYTE, "longer messages to clients are cut into frames of that size; 0: never"),
    AWS_CHOICE(compression, "off", "off", "on off", "whether clients may compress messages (permessage-deflate); not with aws_strict"),
    INTEGER(max_queue_bytes, "4194304", 1024, 1024 * MEBIBYTE, "unsent output of a connection; past it the client is closed with 1008"),
    INTEGER(max_pending_messages, "64", 1, 100000, "messages of a connection that wait for their route"),
    AWS_INTEGER(idle_timeout_ms, "600000", "600000", 50, DAY_MS, "without a message or ping, after which a connection is closed"),
    CHOICE(ping_resets_idle, "on", "on off", "whether a client's ping or pong counts there as a message does (on AWS: unknown)"),
    AWS_INTEGER(max_connection_ms, "7200000", "7200000", 50, 30 * (int64_t)DAY_MS, "age at which a connection is closed"),
    AWS_INTEGER(ping_interval_ms, "0", "0", 0, DAY_MS, "after which a client that was not heard of is pinged; 0: the profile's, or never (with aws_strict: never)"),
    INTEGER(close_timeout_ms, "5000", 10, 10 * MINUTE_MS, "for a client to answer a close frame"),
    INTEGER(touch_interval_ms, "1000", 10, HOUR_MS, "between two writes of a connection's last activity"),

    INTEGER(poll_interval_ms, "1000", 10, HOUR_MS, "between two looks at the log when nobody notifies"),
    INTEGER(lease_ms, "30000", 300, HOUR_MS, "after which a node that was not heard of counts as dead"),
    INTEGER(cleanup_interval_s, "900", 0, 86400, "between two runs of the cleanup; 0: never"),
    INTEGER(cleanup_batch, "250", 1, 100000, "rows that the cleanup handles in one transaction"),
    INTEGER(inactive_retention_days, "7", 0, 36500, "inactive connections are deleted after that"),
    INTEGER(message_retention_days, "0", 0, 36500, "messages of the log are deleted after that; 0: the profile's, or 30"),

    TEXT(rate_limit_connection, "", "messages of one connection, such as 10/s:20 (rate and burst); empty: the profile's; off: none"),
    TEXT(rate_limit_user, "", "the same for all connections of a user together"),
    TEXT(rate_limit_routes, "", "the same for single routes: chat=100/s:200,typing=50/s"),
    TEXT(rate_limit_stage, "", "the same for all handshakes and messages together, on this node"),
    AWS_TEXT(rate_limit_account, "", "10000/s:5000", "the same with requests of the management API, in front of the stage's; empty: none"),
    AWS_TEXT(rate_limit_connects, "", "500/s:500", "the same for handshakes alone; empty: none"),
    INTEGER(throttle_close_after, "0", 0, 1000000, "throttled messages in a row after which a connection is closed with 1008; 0: never (on AWS: unknown)"),
    INTEGER(max_deliveries, "10000", 1, 1000000, "rows that a route may return"),

    SECRET(jwt_secret, "key of HS256, HS384 and HS512 tokens; empty: such tokens are refused"),
    TEXT(jwt_secret_arn, "", "secret in AWS Secrets Manager that is read once, at start, for jwt_secret"),
    TEXT(jwt_public_key_file, "", "PEM file for RS256 and ES256 tokens; empty: such tokens are refused"),
    TEXT(jwt_issuer, "", "the iss that tokens must have; empty: any"),
    TEXT(jwt_audience, "", "the aud that tokens must have; empty: any"),
    INTEGER(jwt_leeway_s, "30", 0, 3600, "by which clocks may differ when a token expires"),
    TEXT(jwt_jwks_file, "", "file with a JSON Web Key Set for RS256 and ES256 tokens; read again when it changes"),
    TEXT(jwt_jwks_url, "", "URL of such a set, http or https; fetched again for a key id that is not known"),
    INTEGER(jwt_jwks_cache_s, "300", 1, 604800, "for which a fetched set is used without asking again"),
    CHOICE(auth, "", "off optional required", "token of a handshake; empty: the profile's own"),
    CHOICE(token_expiry_closes, "on", "on off", "whether a connection is closed when its token expires"),
    CHOICE(demo_tokens, "off", "on off", "whether tokens that begin with valid_ are good, unchecked; never in production"),

    TEXT(tls_ca_file, "", "PEM file with the roots that https servers are trusted by; empty: the system's"),

    CHOICE(log_level, "info", "debug info warn error", "what is logged"),
    CHOICE(log_format, "logfmt", "logfmt json", "how it is logged"),
    TEXT(access_log_file, "", "file that gets a line for every event; -: standard output; empty: none"),
    TEXT(access_log_format,
         "{\"requestId\":\"$context.requestId\",\"ip\":\"$context.identity.sourceIp\","
         "\"requestTime\":\"$context.requestTime\",\"eventType\":\"$context.eventType\","
         "\"routeKey\":\"$context.routeKey\",\"status\":\"$context.status\","
         "\"connectionId\":\"$context.connectionId\","
         "\"integrationLatency\":\"$context.integrationLatency\"}",
         "of such a line, with API Gateway's $context.<name>"),
    INTEGER(shutdown_timeout_ms, "10000", 0, 10 * MINUTE_MS, "to close connections and write what is left"),
};
/* clang-format on */

/* ---- where a value lives ---- */

static char **text_of(const struct config *config, const struct setting *setting)
{
    return (char **)(void *)((uintptr_t)config + setting->offset);
}

static int64_t *integer_of(const struct config *config, const struct setting *setting)
{
    return (int64_t *)(void *)((uintptr_t)config + setting->offset);
}

/* "SWITCHBOARD_MAX_FRAME_BYTES" or "--max-frame-bytes" */
enum { NAME_BYTES = 64 };

static void environment_name(const struct setting *setting, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "SWITCHBOARD_%s", setting->name);
    for (char *p = out; *p; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
}

static void flag_name(const struct setting *setting, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "--%s", setting->name);
    for (char *p = out; *p; p++) {
        if (*p == '_')
            *p = '-';
    }
}

/* ---- values ---- */

static enum status set_integer(struct config *config, const struct setting *setting,
                               const char *source, const char *value, struct error *err)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(value, &end, 10);
    /* strtoll would skip blanks in front. */
    if (errno || end == value || *end || strspn(value, "-0123456789") != strlen(value) ||
        n < setting->min || n > setting->max)
        return fail(err, INVALID, "%s: \"%.100s\" is not an integer from %" PRId64 " to %" PRId64,
                    source, value, setting->min, setting->max);
    *integer_of(config, setting) = n;
    return OK;
}

static bool is_word(const char *value)
{
    size_t len = strlen(value);

    return len > 0 && len <= 128 &&
           strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);

    while (*choices) {
        size_t word_len = strcspn(choices, " ");

        if (len == word_len && memcmp(choices, value, len) == 0)
            return true;
        choices += word_len;
        choices += strspn(choices, " ");
    }
    return false;
}

static enum status set_value(struct config *config, const struct setting *setting,
                             const char *source, const char *value, struct error *err)
{
    char **text;

    if (setting->kind == KIND_INTEGER)
        return set_integer(config, setting, source, value, err);
    if (setting->kind == KIND_WORD && !is_word(value))
        return fail(err, INVALID,
                    "%s: \"%.100s\" is not 1 to 128 letters, digits, hyphens and underscores",
                    source, value);
    if (setting->kind == KIND_CHOICE && strcmp(value, setting->fallback) != 0 &&
        !is_choice(setting->choices, value))
        return fail(err, INVALID, "%s: \"%.100s\" is none of: %s", source, value, setting->choices);
    text = text_of(config, setting);
    free(*text);
    *text = mem_strdup(value);
    return OK;
}

/* ---- defaults ---- */

/* What is being loaded, and which settings somebody gave. */
struct loading {
    struct config config;
    bool is_given[ARRAY_LEN(settings)];
};

static void set_default(struct config *config, const struct setting *setting, const char *value)
{
    struct error err;

    if (set_value(config, setting, "default", value, &err)) {
        fprintf(stderr, "switchboard: %s: %s\n", setting->name, err.text);
        abort(); /* a wrong row in the table above */
    }
}

static void set_defaults(struct config *config)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        set_default(config, &settings[i], settings[i].fallback);
}

/* Only when everything is read is it known who is strict. */
static enum status apply_strictness(struct loading *loading, struct error *err)
{
    if (!config_is_on(loading->config.aws_strict))
        return OK;
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        if (settings[i].aws && !loading->is_given[i])
            set_default(&loading->config, &settings[i], settings[i].aws);
    if (config_is_on(loading->config.compression))
        return fail(err, INVALID, "compression is not for aws_strict");
    return OK;
}

static enum status set_given(struct loading *loading, const struct setting *setting,
                             const char *source, const char *value, struct error *err)
{
    loading->is_given[setting - settings] = true;
    return set_value(&loading->config, setting, source, value, err);
}

/* ---- environment ---- */

/* An empty variable counts as not set: that is what compose files make of a missing one. */
static enum status set_from_variable(struct loading *loading, const struct setting *setting,
                                     const char *variable, struct error *err)
{
    const char *value = getenv(variable);

    if (!value || !*value)
        return OK;
    return set_given(loading, setting, variable, value, err);
}

static enum status load_environment(struct loading *loading, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char name[NAME_BYTES];

        for (size_t a = MAX_ALIASES; a-- > 0;) {
            const char *alias = settings[i].aliases[a];

            if (alias && set_from_variable(loading, &settings[i], alias, err))
                return err ? err->status : INVALID;
        }
        environment_name(&settings[i], name);
        if (set_from_variable(loading, &settings[i], name, err))
            return err ? err->status : INVALID;
    }
    return OK;
}

/* ---- flags ---- */

static const struct setting *find_flag(const char *flag, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char name[NAME_BYTES];

        flag_name(&settings[i], name);
        if (strlen(name) == len && memcmp(name, flag, len) == 0)
            return &settings[i];
    }
    return NULL;
}

/* Of on and off: its flag may stand alone, and then means on. */
static bool is_switch(const struct setting *setting)
{
    return setting->kind == KIND_CHOICE && strcmp(setting->choices, "on off") == 0;
}

/* argv[*i] is a flag; moves *i on when the value is the next argument. */
static enum status load_flag(struct loading *loading, int argc, char **argv, int *i,
                             struct error *err)
{
    const char *flag = argv[*i];
    size_t len = strcspn(flag, "=");
    const struct setting *setting = find_flag(flag, len);
    char name[NAME_BYTES];

    if (!setting) /* without the value: it may be a mistyped secret */
        return fail(err, INVALID, "unknown flag %.*s", (int)(len < 100 ? len : 100), flag);
    flag_name(setting, name);
    if (flag[len] == '=')
        return set_given(loading, setting, name, flag + len + 1, err);
    if (is_switch(setting) && (*i + 1 >= argc || !is_choice(setting->choices, argv[*i + 1])))
        return set_given(loading, setting, name, "on", err);
    if (*i + 1 >= argc)
        return fail(err, INVALID, "%s needs a value", name);
    return set_given(loading, setting, name, argv[++*i], err);
}

static enum status load_flags(struct loading *loading, int *argc, char **argv, struct error *err)
{
    int kept = 0;
    bool is_behind_end = false; /* of flags: "--" */

    for (int i = 0; i < *argc; i++) {
        if (is_behind_end || strncmp(argv[i], "--", 2) != 0) {
            argv[kept++] = argv[i];
        } else if (argv[i][2] == '\0') {
            is_behind_end = true;
        } else {
            enum status st = load_flag(loading, *argc, argv, &i, err);

            if (st)
                return st;
        }
    }
    *argc = kept;
    return OK;
}

enum status config_load(struct config *config, int *argc, char **argv, struct error *err)
{
    struct loading loading = {0};
    enum status st;

    set_defaults(&loading.config);
    st = load_environment(&loading, err);
    if (!st)
        st = load_flags(&loading, argc, argv, err);
    if (!st)
        st = apply_strictness(&loading, err);
    if (st)
        config_done(&loading.config);
    else
        *config = loading.config;
    return st;
}

bool config_is_on(const char *value)
{
    return strcmp(value, "on") == 0;
}

void config_done(struct config *config)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (settings[i].kind != KIND_INTEGER)
            free(*text_of(config, &settings[i]));
    }
    *config = (struct config){0};
}

/* ---- printing ---- */

/* A text's value as it may be shown; integers have none. */
static const char *shown_text(const struct config *config, const struct setting *setting)
{
    const char *text = *text_of(config, setting);

    return setting->kind == KIND_SECRET && *text ? "****" : text;
}

static void print_text(const struct config *config, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        buf_addf(out, "%-28s ", settings[i].name);
        if (settings[i].kind == KIND_INTEGER)
            buf_addf(out, "%" PRId64 "\n", *integer_of(config, &settings[i]));
        else
            buf_addf(out, "%s\n", shown_text(config, &settings[i]));
    }
}

static void print_json(const struct config *config, struct buf *out)
{
    json_open(out, NULL, '{');
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (settings[i].kind == KIND_INTEGER)
            json_int(out, settings[i].name, *integer_of(config, &settings[i]));
        else
            json_str(out, settings[i].name, shown_text(config, &settings[i]));
    }
    json_close(out, '}');
    buf_addc(out, '\n');
}

/* What a setting may be, in words: "0 to 65535", "debug, info, warn or error"; nothing for texts.
 */
static void add_allowed(struct buf *out, const struct setting *setting)
{
    if (setting->kind == KIND_INTEGER) {
        buf_addf(out, "%" PRId64 " to %" PRId64, setting->min, setting->max);
        return;
    }
    for (const char *p = setting->choices; p && *p; p++) {
        if (*p != ' ')
            buf_addc(out, *p);
        else
            buf_adds(out, strchr(p + 1, ' ') ? ", " : " or ");
    }
}

static void print_markdown(struct buf *out)
{
    buf_adds(out, "| flag | environment | default | AWS | allowed | what it is |\n"
                  "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const struct setting *setting = &settings[i];
        char name[NAME_BYTES];

        flag_name(setting, name);
        buf_addf(out, "| `%s` | ", name);
        environment_name(setting, name);
        buf_addf(out, "`%s`", name);
        for (size_t a = 0; a < MAX_ALIASES; a++) {
            if (setting->aliases[a])
                buf_addf(out, ", `%s`", setting->aliases[a]);
        }
        buf_addf(out, *setting->fallback ? " | `%s` |" : " |%s |", setting->fallback);
        buf_addf(out, setting->aws ? " `%s` | " : " | ", setting->aws ? setting->aws : "");
        add_allowed(out, setting);
        buf_addf(out, "%s| %s |\n", out->data[out->len - 1] == ' ' ? "" : " ", setting->help);
    }
}

static void print_help(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const struct setting *setting = &settings[i];
        char name[NAME_BYTES];
        bool has_notes = setting->choices || *setting->fallback || setting->aws;

        flag_name(setting, name);
        buf_addf(out, "  %-32s %s", name, setting->help);
        if (has_notes) {
            buf_adds(out, " (");
            add_allowed(out, setting);
            if (setting->kind == KIND_INTEGER || setting->kind == KIND_CHOICE)
                buf_adds(out, "; ");
            buf_addf(out, "default %s", *setting->fallback ? setting->fallback : "empty");
            if (setting->aws && strcmp(setting->aws, setting->fallback) != 0)
                buf_addf(out, ", AWS's %s", setting->aws);
            buf_addc(out, ')');
        }
        buf_addc(out, '\n');
    }
}

void config_print(const struct config *config, enum config_output output, struct buf *out)
{
    switch (output) {
    case CONFIG_TEXT:
        print_text(config, out);
        break;
    case CONFIG_JSON:
        print_json(config, out);
        break;
    case CONFIG_MARKDOWN:
        print_markdown(out);
        break;
    case CONFIG_HELP:
        print_help(out);
        break;
    }
}
