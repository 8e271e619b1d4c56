/* SPDX-License-Identifier: Apache-2.0 */
#include "commands_internal.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend_serve.h"
#include "config.h"
#include "database_auth.h"
#include "http_client.h"
#include "json.h"
#include "lambda.h"
#include "log.h"
#include "migrate.h"
#include "profile.h"
#include "serve.h"

enum {
    CLEANUP_LIMIT = 1000000, /* batches; a cleanup that never ends is a bug, not work */
    PAGE_ROWS = 1000,
    HEALTH_TIMEOUT_MS = 5000,
    HEALTH_ANSWER_BYTES = 65536,
    USAGE_WIDTH = 32
};

struct command {
    const char *name;
    const char *usage; /* what may follow it */
    const char *help;
    int (*run)(const struct invocation *invocation);
    int arguments_least;
    int arguments_most;
    bool has_json;
    bool has_markdown;
    bool has_targets; /* --user, --topic, --all and the flags of typed messages */
    bool has_claims;  /* --claims, --ttl, --alg */
};

int fail_command(const struct error *err)
{
    fprintf(stderr, "switchboard: %s\n", err->text);
    return EXIT_FAILED;
}

void print(struct buf *out)
{
    fputs(buf_str(out), stdout);
    buf_done(out);
}

/* ---- without a database ---- */

static int run_serve(const struct invocation *invocation)
{
    return cmd_serve(invocation->config);
}

static int run_backend(const struct invocation *invocation)
{
    return cmd_backend(invocation->config);
}

static int run_config(const struct invocation *invocation)
{
    struct buf out;

    buf_init(&out, COMMAND_OUTPUT_BYTES);
    config_print(invocation->config,
                 invocation->is_markdown ? CONFIG_MARKDOWN
                 : invocation->is_json   ? CONFIG_JSON
                                         : CONFIG_TEXT,
                 &out);
    print(&out);
    return EXIT_OK;
}

static int run_version(const struct invocation *invocation)
{
    (void)invocation;
    puts("switchboard " SWITCHBOARD_VERSION);
    return EXIT_OK;
}

/* What listens everywhere is asked on loopback; an IPv6 address stands in brackets in a URL. */
void write_admin_url(const struct config *config, const char *path, struct buf *url)
{
    const char *address = config->admin_address;

    if (strcmp(address, "0.0.0.0") == 0)
        address = "127.0.0.1";
    else if (strcmp(address, "::") == 0)
        address = "::1";
    buf_addf(url, strchr(address, ':') ? "http://[%s]" : "http://%s", address);
    buf_addf(url, ":%" PRId64 "%s", config->admin_port, path);
}

static int run_health(const struct invocation *invocation)
{
    struct error err = {0};
    struct http_client_request request = {.is_local = true, .timeout_ms = HEALTH_TIMEOUT_MS};
    struct buf url, answer;
    long http_status = 0;
    enum status st;

    buf_init(&url, 1024);
    buf_init(&answer, HEALTH_ANSWER_BYTES);
    write_admin_url(invocation->config, "/ready", &url);
    request.url = buf_str(&url);
    st = http_client_setup(&err);
    if (st == OK) {
        st = http_client_request(&request, &answer, &http_status, &err);
        http_client_done();
    }
    buf_done(&url);
    if (st == OK)
        printf("%s\n", buf_str(&answer));
    buf_done(&answer);
    if (st != OK)
        return fail_command(&err);
    return http_status == 200 ? EXIT_OK : EXIT_FAILED;
}

/* ---- with a database ---- */

enum status open_database(const struct config *config, struct pg **out, struct error *err)
{
    return database_auth_open(config, out, err);
}

static int run_migrate(const struct invocation *invocation)
{
    bool is_status = invocation->arguments[0] != NULL;
    struct error err = {0};
    struct buf report;
    enum status st;

    if (is_status && strcmp(invocation->arguments[0], "status") != 0)
        return fail_usage("migrate takes \"status\" or nothing");
    buf_init(&report, COMMAND_OUTPUT_BYTES);
    if (is_status)
        st = migrate_status(invocation->config, invocation->is_json, &report, &err);
    else
        st = migrate_apply(invocation->config, &report, &err);
    print(&report); /* what was applied before a failure stays applied */
    return st == OK ? EXIT_OK : fail_command(&err);
}

struct cleanup_counts {
    int64_t expired, orphaned, deleted, created, dropped;
};

/* As long again as a batch took: whoever connects meanwhile has at least half of the database. */
static void leave_room(int64_t began_ms)
{
    (void)poll(NULL, 0, (int)(clock_mono_ms() - began_ms) + 1);
}

static enum status cleanup_rows(struct pg *pg, const struct config *config,
                                struct cleanup_counts *counts, struct error *err)
{
    char batch[24];
    char days[24];
    const char *params[] = {batch, days};

    snprintf(batch, sizeof(batch), "%" PRId64, config->cleanup_batch);
    snprintf(days, sizeof(days), "%" PRId64, config->inactive_retention_days);
    for (int i = 0; i < CLEANUP_LIMIT; i++) {
        struct rows *rows = NULL;
        int64_t began_ms = clock_mono_ms();
        int64_t before = counts->expired + counts->orphaned + counts->deleted;
        enum status st = pg_query(pg,
                                  "select expired, orphaned, deleted"
                                  " from switchboard.cleanup_connections($1::integer, $2::integer)",
                                  params, ARRAY_LEN(params), &rows, err);

        if (st != OK)
            return st;
        counts->expired += rows_int(rows, 0, 0);
        counts->orphaned += rows_int(rows, 0, 1);
        counts->deleted += rows_int(rows, 0, 2);
        pg_rows_free(rows);
        if (counts->expired + counts->orphaned + counts->deleted == before)
            return OK;
        if (counts->expired + counts->orphaned + counts->deleted - before >= config->cleanup_batch)
            leave_room(began_ms);
    }
    return fail(err, INTERNAL, "the cleanup does not come to an end");
}

static enum status maintain_partitions(struct pg *pg, const struct config *config,
                                       struct cleanup_counts *counts, struct error *err)
{
    char ahead[24];
    char days[24];
    const char *params[] = {ahead, days, config->routes, config->profile};
    struct rows *rows = NULL;
    enum status st;

    snprintf(ahead, sizeof(ahead), "%d", PARTITION_DAYS_AHEAD);
    snprintf(days, sizeof(days), "%" PRId64, config->message_retention_days);
    /* 0 is the profile's, as in profile.h. */
    st = pg_query(pg,
                  "select created, dropped"
                  "  from switchboard.maintain_partitions($1::integer, coalesce("
                  "           nullif($2::integer, 0),"
                  "           (switchboard.profile_settings("
                  "                regexp_split_to_array(btrim($3), '[[:space:],]+') || $4::text)"
                  "            ->> 'message_retention_days')::integer,"
                  "           30))",
                  params, ARRAY_LEN(params), &rows, err);
    if (st != OK)
        return st;
    counts->created = rows_int(rows, 0, 0);
    counts->dropped = rows_int(rows, 0, 1);
    pg_rows_free(rows);
    return OK;
}

static void print_counts(const struct cleanup_counts *counts, bool is_json)
{
    static const char text[] = "expired=%" PRId64 " orphaned=%" PRId64 " deleted=%" PRId64
                               " partitions_created=%" PRId64 " partitions_dropped=%" PRId64 "\n";
    struct buf out;

    if (!is_json) {
        printf(text, counts->expired, counts->orphaned, counts->deleted, counts->created,
               counts->dropped);
        return;
    }
    buf_init(&out, COMMAND_OUTPUT_BYTES);
    json_open(&out, NULL, '{');
    json_int(&out, "expired", counts->expired);
    json_int(&out, "orphaned", counts->orphaned);
    json_int(&out, "deleted", counts->deleted);
    json_int(&out, "partitions_created", counts->created);
    json_int(&out, "partitions_dropped", counts->dropped);
    json_close(&out, '}');
    buf_addc(&out, '\n');
    print(&out);
}

static int run_cleanup(const struct invocation *invocation)
{
    struct cleanup_counts counts = {0};
    struct error err = {0};
    struct pg *pg = NULL;
    enum status st;

    st = open_database(invocation->config, &pg, &err);
    if (st == OK)
        st = cleanup_rows(pg, invocation->config, &counts, &err);
    if (st == OK)
        st = maintain_partitions(pg, invocation->config, &counts, &err);
    pg_close(pg);
    if (st != OK)
        return fail_command(&err);
    print_counts(&counts, invocation->is_json);
    return EXIT_OK;
}

static void print_verified(const char *email, bool is_delivered, bool is_json)
{
    struct buf out;

    if (!is_json) {
        puts(is_delivered ? "delivered" : "nobody was waiting for this address");
        return;
    }
    buf_init(&out, COMMAND_OUTPUT_BYTES);
    json_open(&out, NULL, '{');
    json_str(&out, "email", email);
    json_bool(&out, "delivered", is_delivered);
    json_close(&out, '}');
    buf_addc(&out, '\n');
    print(&out);
}

static int run_verify_email(const struct invocation *invocation)
{
    const char *params[] = {invocation->arguments[0]};
    struct error err = {0};
    struct rows *rows = NULL;
    struct pg *pg = NULL;
    bool is_delivered;
    enum status st;

    st = open_database(invocation->config, &pg, &err);
    if (st == OK)
        st = pg_query(pg, "select switchboard.notify_email_verified($1)", params, ARRAY_LEN(params),
                      &rows, &err);
    pg_close(pg);
    if (st != OK)
        return fail_command(&err);
    is_delivered = rows_bool(rows, 0, 0);
    pg_rows_free(rows);
    print_verified(invocation->arguments[0], is_delivered, invocation->is_json);
    return EXIT_OK; /* nobody waiting is an answer, not a failure */
}

/* ---- connections ---- */

enum connection_column { JSON_TEXT, ID, USER_ID, EMAIL, KIND, SOURCE_IP, CONNECTED_AT };

static const char connections_sql[] =
    "select connection, connection->>'connection_id', connection->>'user_id',"
    " connection->>'user_email', connection->>'subscription_type', connection->>'source_ip',"
    " connection->>'connected_at'"
    " from switchboard.list_connections($1::integer, $2)";

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

static void print_page(const struct rows *rows, bool is_json, bool is_first)
{
    if (!is_json && is_first)
        printf("%-20s  %-20s  %-30s  %-20s  %-15s  %s\n", "connection", "user", "e-mail", "type",
               "address", "connected");
    for (size_t i = 0; i < rows_count(rows); i++) {
        if (is_json)
            printf("%s%s", is_first && i == 0 ? "[" : ",\n ", rows_text(rows, i, JSON_TEXT));
        else
            printf("%-20s  %-20s  %-30s  %-20s  %-15s  %s\n", rows_text(rows, i, ID),
                   or_dash(rows_text(rows, i, USER_ID)), or_dash(rows_text(rows, i, EMAIL)),
                   or_dash(rows_text(rows, i, KIND)), or_dash(rows_text(rows, i, SOURCE_IP)),
                   or_dash(rows_text(rows, i, CONNECTED_AT)));
    }
    if (is_json && is_first && rows_count(rows) == 0)
        putchar('[');
}

static enum status print_connections(struct pg *pg, bool is_json, struct error *err)
{
    char page[16];
    char *after = NULL;
    bool is_first = true;
    enum status st = OK;
    size_t count;

    snprintf(page, sizeof(page), "%d", PAGE_ROWS);
    do {
        const char *params[] = {page, after};
        struct rows *rows = NULL;

        st = pg_query(pg, connections_sql, params, ARRAY_LEN(params), &rows, err);
        if (st != OK)
            break;
        count = rows_count(rows);
        print_page(rows, is_json, is_first);
        is_first = false;
        free(after);
        after = count ? mem_strdup(rows_text(rows, count - 1, ID)) : NULL;
        pg_rows_free(rows);
    } while (count == PAGE_ROWS);
    free(after);
    if (st == OK && is_json)
        puts("]");
    return st;
}

static int run_connections(const struct invocation *invocation)
{
    struct error err = {0};
    struct pg *pg = NULL;
    enum status st;

    st = open_database(invocation->config, &pg, &err);
    if (st == OK)
        st = print_connections(pg, invocation->is_json, &err);
    pg_close(pg);
    return st == OK ? EXIT_OK : fail_command(&err);
}

/* ---- the table ---- */

static int run_help(const struct invocation *invocation);

static const struct command commands[] = {
    {.name = "serve",
     .usage = "",
     .help = "accepts WebSockets until SIGINT or SIGTERM",
     .run = run_serve},
    {.name = "backend",
     .usage = "",
     .help = "takes the events of somebody else's gateway over HTTP, until SIGINT or SIGTERM",
     .run = run_backend},
    {.name = "migrate",
     .usage = "[status [--json]]",
     .arguments_most = 1,
     .has_json = true,
     .help = "brings the database up to date, or says what is missing",
     .run = run_migrate},
    {.name = "cleanup",
     .usage = "[--json]",
     .has_json = true,
     .help = "deactivates expired connections, deletes old rows, once",
     .run = run_cleanup},
    {.name = "verify-email",
     .usage = "<address> [--json]",
     .arguments_least = 1,
     .arguments_most = 1,
     .has_json = true,
     .help = "tells who waits for that address; fails when nobody does",
     .run = run_verify_email},
    {.name = "connections",
     .usage = "[--json]",
     .has_json = true,
     .help = "lists the live connections of all nodes",
     .run = run_connections},
    {.name = "send",
     .usage = "<connection>|--user <id>|--topic <topic>|--all [<type>] <text> [--json]",
     .arguments_least = 1,
     .arguments_most = 2,
     .has_json = true,
     .has_targets = true,
     .help = "sends to a connection, a user, a topic or everybody; fails when nobody is there",
     .run = run_send},
    {.name = "publish",
     .usage = "<topic> <payload> [--json]",
     .arguments_least = 2,
     .arguments_most = 2,
     .has_json = true,
     .help = "publishes JSON to a topic",
     .run = run_publish},
    {.name = "broadcast",
     .usage = "<payload> [--json]",
     .arguments_least = 1,
     .arguments_most = 1,
     .has_json = true,
     .help = "publishes JSON to every connection",
     .run = run_broadcast},
    {.name = "routes",
     .usage = "[--json]",
     .has_json = true,
     .help = "lists what handles what, and from which schema",
     .run = run_routes},
    {.name = "api",
     .usage = "check [<file>] [--json]",
     .arguments_least = 1,
     .arguments_most = 2,
     .has_json = true,
     .help = "checks an API description (setting api) and shows it",
     .run = run_api},
    {.name = "token",
     .usage = "--claims <object> [--ttl <seconds>] [--alg HS256|HS384|HS512] [--json]",
     .has_json = true,
     .has_claims = true,
     .help = "makes a token for tests, signed with jwt_secret",
     .run = run_token},
    {.name = "config",
     .usage = "[--json|--markdown]",
     .has_json = true,
     .has_markdown = true,
     .help = "shows every setting and its value",
     .run = run_config},
    {.name = "health",
     .usage = "",
     .help = "asks the node on the admin port whether it is ready",
     .run = run_health},
    {.name = "version", .usage = "", .help = "prints the version", .run = run_version},
    {.name = "help", .usage = "", .help = "prints this", .run = run_help},
};

static void print_help(FILE *out)
{
    struct buf settings;

    fputs("Switchboard: WebSocket connections for PostgreSQL.\n\n"
          "usage: switchboard <command> [settings]\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        char usage[128];

        snprintf(usage, sizeof(usage), "%s %s", commands[i].name, commands[i].usage);
        fprintf(out, "  %-*s", USAGE_WIDTH, usage);
        if (strlen(usage) > USAGE_WIDTH) /* has a line of its own */
            fprintf(out, "\n  %*s", USAGE_WIDTH, "");
        fprintf(out, " %s\n", commands[i].help);
    }
    fputs("\nTypes of what send sends, otherwise the text as it is:\n"
          "  --system [--level info|warning|error]\n"
          "  --error <code> [--retryable] [--retry-after <seconds>]\n"
          "  --typing (the text is on or off)\n"
          "  --chat-response <message id> [--partial]\n",
          out);
    fputs("\nSettings, also as environment variables (--max-frame-bytes is "
          "SWITCHBOARD_MAX_FRAME_BYTES):\n",
          out);
    buf_init(&settings, COMMAND_OUTPUT_BYTES);
    config_print(NULL, CONFIG_HELP, &settings);
    fputs(buf_str(&settings), out);
    buf_done(&settings);
    fputs("\nExit codes: 0 done, 1 failed, 2 not understood.\n", out);
}

static int run_help(const struct invocation *invocation)
{
    (void)invocation;
    print_help(stdout);
    return EXIT_OK;
}

/* ---- command lines ---- */

int fail_usage(const char *text)
{
    fprintf(stderr, "switchboard: %s; try: switchboard help\n", text);
    return EXIT_USAGE;
}

/* Removes every occurrence of a flag that is not a setting. */
static bool take_flag(int *argc, char **argv, const char *flag)
{
    bool is_found = false;
    bool is_behind_end = false; /* of flags: "--" */
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], flag) == 0 && !is_behind_end)
            is_found = true;
        else
            argv[kept++] = argv[i];
        is_behind_end = is_behind_end || strcmp(argv[i], "--") == 0;
    }
    *argc = kept;
    return is_found;
}

/* Removes an option and its value, which is behind "=" or the next argument.  False when the value
 * is missing; *value stays NULL when the option is. */
static bool take_option(int *argc, char **argv, const char *option, const char **value)
{
    size_t len = strlen(option);
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (i < *argc)
                argv[kept++] = argv[i++];
        } else if (strncmp(argv[i], option, len) != 0 || (argv[i][len] && argv[i][len] != '=')) {
            argv[kept++] = argv[i];
        } else if (argv[i][len] == '=') {
            *value = argv[i] + len + 1;
        } else if (i + 1 < *argc) {
            *value = argv[++i];
        } else {
            return false;
        }
    }
    *argc = kept;
    return true;
}

/* What is no setting.  The option whose value is missing, or NULL. */
static const char *take_options(int *argc, char **argv, struct invocation *invocation)
{
    const struct {
        const char *name;
        const char **value;
    } options[] = {
        {"--user", &invocation->user},
        {"--topic", &invocation->topic},
        {"--claims", &invocation->claims},
        {"--ttl", &invocation->ttl},
        {"--alg", &invocation->alg},
        {"--level", &invocation->level},
        {"--error", &invocation->error_code},
        {"--retry-after", &invocation->retry_after},
        {"--chat-response", &invocation->response_id},
    };

    invocation->is_json = take_flag(argc, argv, "--json");
    invocation->is_markdown = take_flag(argc, argv, "--markdown");
    invocation->is_all = take_flag(argc, argv, "--all");
    invocation->is_system = take_flag(argc, argv, "--system");
    invocation->is_typing = take_flag(argc, argv, "--typing");
    invocation->is_retryable = take_flag(argc, argv, "--retryable");
    invocation->is_partial = take_flag(argc, argv, "--partial");
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (!take_option(argc, argv, options[i].name, options[i].value))
            return options[i].name;
    return NULL;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void set_up_log(const struct config *config)
{
    static const char *const levels[] = {
        [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(levels[i], config->log_level) == 0)
            log_setup((enum log_level)i,
                      strcmp(config->log_format, "json") == 0 ? LOG_JSON : LOG_LOGFMT);
}

static bool has_type(const struct invocation *invocation)
{
    return invocation->is_system || invocation->is_typing || invocation->is_retryable ||
           invocation->is_partial || invocation->level || invocation->error_code ||
           invocation->retry_after || invocation->response_id;
}

/* What is wrong with a command's arguments, or NULL. */
static const char *check_arguments(const struct command *command,
                                   const struct invocation *invocation, int count)
{
    bool has_target = invocation->user || invocation->topic || invocation->is_all;
    bool has_claims = invocation->claims || invocation->ttl || invocation->alg;

    if (count > command->arguments_most)
        return "too many arguments";
    if (count < command->arguments_least)
        return "an argument is missing";
    if (invocation->is_json && !command->has_json)
        return "this command has no --json";
    if (invocation->is_markdown && !command->has_markdown)
        return "this command has no --markdown";
    if (has_target && !command->has_targets)
        return "this command has no --user, --topic or --all";
    if (has_type(invocation) && !command->has_targets)
        return "only send has typed messages";
    if (has_claims && !command->has_claims)
        return "this command has no --claims, --ttl or --alg";
    return NULL;
}

static int run_command(const struct config *config, struct invocation *invocation, int argc,
                       char **argv)
{
    const struct command *command = argc > 0 ? find_command(argv[0]) : NULL;
    const char *wrong;
    char unknown[128];

    if (argc == 0)
        return fail_usage("a command is missing");
    if (!command) {
        snprintf(unknown, sizeof(unknown), "there is no command \"%.80s\"", argv[0]);
        return fail_usage(unknown);
    }
    invocation->config = config;
    for (int i = 1; i < argc && i <= COMMAND_MAX_ARGUMENTS; i++)
        invocation->arguments[i - 1] = argv[i];
    wrong = check_arguments(command, invocation, argc - 1);
    if (wrong)
        return fail_usage(wrong);
    set_up_log(config);
    return command->run(invocation);
}

/* These need no settings, so a wrong one is not in their way. */
static bool is_standalone(const struct command *command)
{
    return command && (command->run == run_help || command->run == run_version);
}

int commands_run(int argc, char **argv)
{
    struct invocation invocation = {0};
    struct config config = {0};
    struct error err = {0};
    const char *bare;
    int code;

    if (take_flag(&argc, argv, "--help") || take_flag(&argc, argv, "-h"))
        return run_help(&invocation);
    if (take_flag(&argc, argv, "--version"))
        return run_version(&invocation);
    bare = take_options(&argc, argv, &invocation);
    if (bare) {
        snprintf(err.text, sizeof(err.text), "%s needs a value", bare);
        return fail_usage(err.text);
    }
    if (argc == 0 && lambda_is_here())
        return commands_in_lambda();
    if (argc == 0) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (argc == 1 && is_standalone(find_command(argv[0])))
        return find_command(argv[0])->run(&invocation);
    if (config_load(&config, &argc, argv, &err) != OK)
        return fail_usage(err.text);
    code = run_command(&config, &invocation, argc, argv);
    config_done(&config);
    return code;
}
