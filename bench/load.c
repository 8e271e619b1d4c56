/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - the load generator of the benchmarks: its command line.
 *
 *     load MODE --option value ...
 *
 * One thread, epoll, no library.  It checks every byte that it gets: a frame that is wrong, missing
 * or too much is a failed run, with a message on stderr and exit status 1 (2 after a wrong command
 * line).  The result is one JSON object on one line of stdout.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mode {
    STORM = 1,
    ECHO = 2,
    FANOUT = 4,
    PUBLISH = 8,
    LISTEN = 16,
    IDLE = 32,
    TIMED = ECHO | FANOUT | PUBLISH,
    OPENING = TIMED | LISTEN | IDLE,
    ALL = OPENING | STORM
};

struct mode_entry {
    const char *name;
    enum mode mode;
    void (*run)(struct load *load);
    const char *help;
};

static const struct mode_entry modes[] = {
    {"storm", STORM, load_storm, "open connections as fast as they go"},
    {"echo", ECHO, load_echo, "every connection keeps messages under way and checks the answers"},
    {"fanout", FANOUT, load_fanout, "publish to all connections"},
    {"publish", PUBLISH, load_publish, "publishers and the subscribers of topics"},
    {"listen", LISTEN, load_listen, "wait for what others publish; \"expect M\" on stdin"},
    {"idle", IDLE, load_idle, "only stay connected until stdin ends"},
};

enum kind { TEXT, COUNT, FLAG, SECONDS, HEADER, PUBLISH_HEADER };

struct option_entry {
    const char *name;
    enum kind kind;
    unsigned modes;
    size_t offset;
    const char *help;
};

#define AT(member) offsetof(struct options, member)

static const struct option_entry entries[] = {
    {"--host", TEXT, ALL, AT(host), "numeric IPv4 address (127.0.0.1)"},
    {"--port", TEXT, ALL, AT(ports), "port, or several with commas: connections take turns"},
    {"--path", TEXT, ALL, AT(path), "path and query of the handshake (/dev); may have {c}"},
    {"--header", HEADER, ALL, 0, "a header of the handshake, \"Name: value\"; up to 8 times"},
    {"--greeting", TEXT, ALL, AT(greeting), "prefix of a frame that the server sends first"},
    {"--setup", TEXT, ALL, AT(setup), "sent by each connection after that; may have {c}"},
    {"--setup-reply", TEXT, ALL, AT(setup_reply),
     "prefix of the answer; may have {c}; empty: none"},
    {"--allow", TEXT, ALL, AT(allow), "prefix of frames that are ignored"},
    {"--connections", COUNT, ALL & ~(unsigned)PUBLISH, AT(connections), "(1)"},
    {"--opening", COUNT, OPENING, AT(opening), "handshakes under way while opening (128)"},
    {"--first-number", COUNT, ALL, AT(first_number), "{c} of the first connection (0)"},
    {"--pad", COUNT, ALL, AT(pad), "how many x {pad} is (0)"},
    {"--timeout", SECONDS, ALL, AT(timeout), "for every single frame (20)"},
    {"--seconds", SECONDS, TIMED, AT(seconds), "measured time (5)"},
    {"--warmup", SECONDS, TIMED, AT(warmup), "time before (1)"},
    {"--repeat-seconds", SECONDS, STORM, AT(repeat_seconds),
     "go on that long, the oldest connections making room"},
    {"--outstanding", COUNT, STORM | FANOUT, AT(outstanding),
     "handshakes (256) or messages (1) under way"},
    {"--in-flight", COUNT, ECHO | PUBLISH, AT(in_flight), "messages under way of each (1)"},
    {"--mixed", COUNT, ECHO, AT(mixed), "1: an answer may come to another connection (0)"},
    {"--idle", COUNT, ECHO, AT(idle), "connections besides that do nothing (0)"},
    {"--send", TEXT, TIMED, AT(send), "text with {n} and {c}"},
    {"--expect", TEXT, TIMED | LISTEN, AT(expect), "what comes of it (the same)"},
    {"--publish", TEXT, FANOUT, AT(publish), "ws or http (ws)"},
    {"--publish-path", TEXT, FANOUT, AT(publish_path), "of the publisher (--path)"},
    {"--publish-port", TEXT, FANOUT, AT(publish_ports), "of the publisher (--port)"},
    {"--publish-header", PUBLISH_HEADER, FANOUT, 0, "of each POST; up to 8 times"},
    {"--publish-setup", TEXT, FANOUT, AT(publish_setup), "sent first by the publisher"},
    {"--publish-setup-reply", TEXT, FANOUT, AT(publish_setup_reply), "prefix of the answer"},
    {"--publish-reply", TEXT, FANOUT, AT(publish_reply), "what the publisher gets back"},
    {"--publish-connections", COUNT, FANOUT, AT(publish_connections), "publishers (1)"},
    {"--publisher-hears", FLAG, FANOUT, AT(publisher_hears), "1: it gets the message too"},
    {"--unordered", FLAG, FANOUT, AT(is_unordered), "1: any order among those under way"},
    {"--publishers", COUNT, PUBLISH, AT(publishers), "(1); {c} is their number"},
    {"--topics", COUNT, PUBLISH | LISTEN, AT(topics), "(1); {t}: connection modulo topics"},
    {"--topic-size", COUNT, PUBLISH, AT(topic_size), "subscribers of each topic (10)"},
    {"--reply", TEXT, PUBLISH, AT(reply), "acknowledgement; empty: the first delivery is it"},
    {"--subscriber-path", TEXT, PUBLISH, AT(subscriber_path), "(--path); may have {t}"},
    {"--subscriber-port", TEXT, PUBLISH, AT(subscriber_ports), "(--port)"},
    {"--subscriber-setup", TEXT, PUBLISH, AT(subscriber_setup), "as --setup, of subscribers"},
    {"--subscriber-setup-reply", TEXT, PUBLISH, AT(subscriber_setup_reply), ""},
};

enum { MODES = sizeof modes / sizeof *modes, ENTRIES = sizeof entries / sizeof *entries };

void load_settle(struct load *load)
{
    peers_run_for(load->peers, 100 * NS_PER_MS);
}

double load_seconds_since(const struct load *load, uint64_t begin_ns)
{
    return (double)(peers_now_ns(load->peers) - begin_ns) / (double)NS_PER_SECOND;
}

uint64_t load_ns(double seconds)
{
    return (uint64_t)(seconds * (double)NS_PER_SECOND);
}

void load_print_result(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    putchar('{');
    vprintf(fmt, args);
    puts("}");
    va_end(args);
    fflush(stdout);
}

static void print_help(void)
{
    puts("load MODE --option value ...\n\nmodes:");
    for (size_t i = 0; i < MODES; i++)
        printf("  %-8s %s\n", modes[i].name, modes[i].help);
    puts("\noptions:");
    for (size_t i = 0; i < ENTRIES; i++) {
        printf("  %-25s", entries[i].name);
        for (size_t j = 0; entries[i].modes != ALL && j < MODES; j++)
            if (entries[i].modes & modes[j].mode)
                printf("%s ", modes[j].name);
        printf("%s%s\n", entries[i].modes == ALL ? "" : "- ", entries[i].help);
    }
}

static size_t read_count(const char *name, const char *value)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (end == value || *end || *value == '-' || errno || number > UINT32_MAX)
        load_usage("%s: \"%s\" is no count", name, value);
    return number;
}

static double read_seconds(const char *name, const char *value)
{
    char *end;
    double number = strtod(value, &end);

    if (end == value || *end || !(number >= 0 && number < 1e6))
        load_usage("%s: \"%s\" is no time in seconds", name, value);
    return number;
}

static void add_header(const char **headers, size_t *count, const char *value)
{
    if (*count == HEADERS)
        load_usage("more than %d headers", HEADERS);
    headers[(*count)++] = value;
}

static void set_option(struct options *options, const struct option_entry *entry, const char *value)
{
    char *at = (char *)options + entry->offset;

    switch (entry->kind) {
    case TEXT:
        memcpy(at, &value, sizeof value);
        break;
    case COUNT:
        *(size_t *)(void *)at = read_count(entry->name, value);
        break;
    case FLAG:
        *(bool *)(void *)at = read_count(entry->name, value) != 0;
        break;
    case SECONDS:
        *(double *)(void *)at = read_seconds(entry->name, value);
        break;
    case HEADER:
        add_header(options->header, &options->headers, value);
        break;
    case PUBLISH_HEADER:
        add_header(options->publish_header, &options->publish_headers, value);
        break;
    }
}

static const struct mode_entry *find_mode(const char *name)
{
    for (size_t i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    load_usage("\"%s\" is no mode", name);
}

static const struct option_entry *find_option(const char *name, const struct mode_entry *mode)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        if (strcmp(entries[i].name, name) != 0)
            continue;
        if (!(entries[i].modes & mode->mode))
            load_usage("%s is no option of the mode %s", name, mode->name);
        return &entries[i];
    }
    load_usage("\"%s\" is no option", name);
}

static void check(const struct options *options, const struct mode_entry *mode)
{
    if (!options->ports)
        load_usage("--port is missing");
    if ((mode->mode & TIMED) && !options->send)
        load_usage("--send is missing");
    if (mode->mode == LISTEN && !options->expect)
        load_usage("--expect is missing");
    if (!options->connections || !options->outstanding || !options->in_flight ||
        !options->opening || !options->publish_connections || !options->publishers ||
        !options->topics || !options->topic_size)
        load_usage("a count is 0 that cannot be");
    if (options->timeout <= 0 || ((mode->mode & TIMED) && options->seconds <= 0))
        load_usage("a time is 0 that cannot be");
}

/* All that a mode may have open at once. */
static size_t connections_of(const struct options *options, const struct mode_entry *mode)
{
    if (mode->mode == PUBLISH)
        return options->publishers + options->topics * options->topic_size;
    return options->connections + options->idle + options->publish_connections;
}

static const struct options defaults = {.host = "127.0.0.1",
                                        .path = "/dev",
                                        .greeting = "",
                                        .setup = "",
                                        .setup_reply = "",
                                        .allow = "",
                                        .connections = 1,
                                        .opening = 128,
                                        .seconds = 5,
                                        .warmup = 1,
                                        .timeout = 20,
                                        .outstanding = 1,
                                        .in_flight = 1,
                                        .publish = "ws",
                                        .publish_connections = 1,
                                        .publishers = 1,
                                        .topics = 1,
                                        .topic_size = 10,
                                        .reply = ""};

static void read_command_line(struct options *options, const struct mode_entry *mode, char **words)
{
    *options = defaults;
    if (mode->mode == STORM)
        options->outstanding = 256;
    for (; *words; words += 2) {
        const struct option_entry *entry = find_option(words[0], mode);
        if (!words[1])
            load_usage("%s has no value", words[0]);
        set_option(options, entry, words[1]);
    }
    check(options, mode);
}

int main(int argc, char **argv)
{
    struct options options;
    struct load load = {.options = &options};
    const struct mode_entry *mode;

    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        print_help();
        return argc < 2 ? EXIT_USAGE : 0;
    }
    mode = find_mode(argv[1]);
    read_command_line(&options, mode, argv + 2);
    load.peers = peers_create(load_ns(options.timeout), connections_of(&options, mode));
    mode->run(&load);
    return 0;
}
