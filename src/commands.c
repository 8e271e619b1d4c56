/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "buf.h"
#include "config.h"
#include "json.h"
#include "log.h"
#include "migrate.h"
#include "pg.h"
#include "serve.h"

enum {
    OUTPUT_BYTES = 64 * 1024 * 1024, /* connections prints page by page */
    CLEANUP_LIMIT = 1000000,         /* batches; a cleanup that never ends is a bug, not work */
    PARTITION_DAYS_AHEAD = 7,
    PAGE_ROWS = 1000,
    HEALTH_TIMEOUT_MS = 5000,
    HEALTH_ANSWER_BYTES = 65536,
    MAX_POSITIONALS = 1
};

/* A command line, taken apart. */
struct invocation {
    const struct config *config;
    const char *argument; /* what follows the command, or NULL */
    bool is_json;
    bool is_markdown;
};

struct command {
    const char *name;
    const char *usage; /* what may follow it */
    const char *help;
    int (*run)(const struct invocation *invocation);
    bool needs_argument;
    bool may_have_argument;
    bool has_json;
    bool has_markdown;
};

static int fail_command(const struct error *err)
{
    fprintf(stderr, "switchboard: %s\n", err->text);
    return EXIT_FAILED;
}

static void print(struct buf *out)
{
    fputs(buf_str(out), stdout);
    buf_done(out);
}

/* ---- without a database ---- */

static int run_serve(const struct invocation *invocation)
{
    return cmd_serve(invocation->config);
}

static int run_config(const struct invocation *invocation)
{
    struct buf out;

    buf_init(&out, OUTPUT_BYTES);
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
static void write_admin_url(const struct config *config, const char *path, struct buf *url)
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
    struct buf url, answer;
    long http_status = 0;
    enum status st;

    buf_init(&url, 1024);
    buf_init(&answer, HEALTH_ANSWER_BYTES);
    write_admin_url(invocation->config, "/ready", &url);
    st = admin_client_setup(&err);
    if (st == OK) {
        st = admin_client_request(buf_str(&url), NULL, HEALTH_TIMEOUT_MS, &answer, &http_status,
                                  &err);
        admin_client_done();
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

static enum status open_database(const struct config *config, struct pg **out, struct error *err)
{
    return pg_open(config->database_url, config->database_connect_timeout_ms, out, err);
}

static int run_migrate(const struct invocation *invocation)
{
    bool is_status = invocation->argument != NULL;
    struct error err = {0};
    struct buf report;
    enum status st;

    buf_init(&report, OUTPUT_BYTES);
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
    }
    return fail(err, INTERNAL, "the cleanup does not come to an end");
}

static enum status maintain_partitions(struct pg *pg, const struct config *config,
                                       struct cleanup_counts *counts, struct error *err)
{
    char ahead[24];
    char days[24];
    const char *params[] = {ahead, days};
    struct rows *rows = NULL;
    enum status st;

    snprintf(ahead, sizeof(ahead), "%d", PARTITION_DAYS_AHEAD);
    snprintf(days, sizeof(days), "%" PRId64, config->message_retention_days);
    st = pg_query(pg,
                  "select created, dropped"
                  " from switchboard.maintain_partitions($1::integer, $2::integer)",
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
    buf_init(&out, OUTPUT_BYTES);
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
    buf_init(&out, OUTPUT_BYTES);
    json_open(&out, NULL, '{');
    json_str(&out, "email", email);
    json_bool(&out, "delivered", is_delivered);
    json_close(&out, '}');
    buf_addc(&out, '\n');
    print(&out);
}

static int run_verify_email(const struct invocation *invocation)
{
    const char *params[] = {invocation->argument};
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
    print_verified(invocation->argument, is_delivered, invocation->is_json);
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
    {.name = "migrate",
     .usage = "[status [--json]]",
     .may_have_argument = true,
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
     .needs_argument = true,
     .has_json = true,
     .help = "tells who waits for that address; fails when nobody does",
     .run = run_verify_email},
    {.name = "connections",
     .usage = "[--json]",
     .has_json = true,
     .help = "lists the live connections of all nodes",
     .run = run_connections},
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
        char usage[64];

        snprintf(usage, sizeof(usage), "%s %s", commands[i].name, commands[i].usage);
        fprintf(out, "  %-32s %s\n", usage, commands[i].help);
    }
    fputs("\nSettings, also as environment variables (--max-frame-bytes is "
          "SWITCHBOARD_MAX_FRAME_BYTES):\n",
          out);
    buf_init(&settings, OUTPUT_BYTES);
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

static int fail_usage(const char *text)
{
    fprintf(stderr, "switchboard: %s; try: switchboard help\n", text);
    return EXIT_USAGE;
}

/* Removes every occurrence of a flag that is not a setting. */
static bool take_flag(int *argc, char **argv, const char *flag)
{
    bool is_found = false;
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], flag) == 0)
            is_found = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return is_found;
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

/* What is wrong with a command's arguments, or NULL. */
static const char *check_arguments(const struct command *command,
                                   const struct invocation *invocation, int count)
{
    bool takes_one = command->needs_argument || command->may_have_argument;

    if (count > (takes_one ? MAX_POSITIONALS : 0))
        return "too many arguments";
    if (command->needs_argument && !invocation->argument)
        return "an argument is missing";
    if (command->may_have_argument && invocation->argument &&
        strcmp(invocation->argument, "status") != 0)
        return "migrate takes \"status\" or nothing";
    if (invocation->is_json && !command->has_json)
        return "this command has no --json";
    if (invocation->is_markdown && !command->has_markdown)
        return "this command has no --markdown";
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
    invocation->argument = argc > 1 ? argv[1] : NULL;
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
    int code;

    if (take_flag(&argc, argv, "--help") || take_flag(&argc, argv, "-h"))
        return run_help(&invocation);
    if (take_flag(&argc, argv, "--version"))
        return run_version(&invocation);
    invocation.is_json = take_flag(&argc, argv, "--json");
    invocation.is_markdown = take_flag(&argc, argv, "--markdown");
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
