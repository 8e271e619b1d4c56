/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_access_log.c - any format with any values.
 *
 * The input is lines: the format, the User-Agent, the route key, what the authorizer added.  The
 * User-Agent has the rest of the input's bytes too, so line feeds can be in it.
 */
#include "access_log.h"
#include "json.h"
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

/* The line that a format makes, with its line feed; NULL when the format is refused. */
static char *line_of(const char *format, const struct request_context *context)
{
    int fd = memfd_create("access-log", MFD_CLOEXEC);
    struct loop *loop = loop_create();
    struct access_log *log = NULL;
    struct error err = {.text = ""};
    char *line = NULL;
    char file[64];
    enum status st;

    require(fd >= 0);
    snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
    st = access_log_create(loop, format, file, &log, &err);
    require(st == OK || (st == INVALID && err.text[0] != '\0'));
    if (!st) {
        off_t len;

        access_log_write(log, context);
        access_log_free(log);
        len = lseek(fd, 0, SEEK_END);
        require(len > 0);
        line = mem_alloc((size_t)len + 1);
        require(pread(fd, line, (size_t)len, 0) == len);
        require(strchr(line, '\n') == line + len - 1); /* one line, and no NUL in it */
    }
    loop_free(loop);
    close(fd);
    return line;
}

static size_t count_of(const char *line, char c)
{
    size_t count = 0;

    for (; *line; line++)
        count += *line == c;
    return count;
}

/* The client ends neither the quotes nor the line. */
static void check_text(const struct request_context *context)
{
    char *line = line_of("\"$context.identity.userAgent\" \"$context.routeKey\"", context);

    require(line && count_of(line, '"') == 4);
    for (const char *c = line; c[1]; c++)
        require((unsigned char)*c >= 0x20 && *c != 0x7f);
    require(utf8_is_valid(line, strlen(line)));
    free(line);
}

static void check_xml(const struct request_context *context)
{
    char *line = line_of("<e a=\"$context.identity.userAgent\">$context.routeKey</e>", context);

    require(line && count_of(line, '"') == 2 && count_of(line, '<') == 2);
    require(count_of(line, '>') == 2 && utf8_is_valid(line, strlen(line)));
    free(line);
}

static void check_json(const struct request_context *context)
{
    char *line = line_of("{\"a\":\"$context.identity.userAgent\",\"r\":\"$context.routeKey\","
                         "\"s\":$context.status}",
                         context);
    struct json *json = NULL;

    require(line && json_parse(line, strlen(line), &json, NULL) == OK);
    require(json_len(json) == 3 && json_number(json_get(json, "s")) == 200);
    json_free(json);
    free(line);
}

/* Ends the text at its first line feed and returns what stands behind. */
static char *next_line(char *text)
{
    char *end = strchr(text, '\n');

    if (!end)
        return text + strlen(text);
    *end = '\0';
    return end + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *format = mem_strndup((const char *)data, size);
    char *values = next_line(format);
    char *agent = mem_strdup(values);
    struct request_context context;
    char *authorizer;

    request_context_init(&context);
    context.user_agent = agent;
    context.status = 200;
    (void)next_line(values);
    values += strlen(values) + (strlen(values) < strlen(agent));
    context.route_key = values;
    authorizer = next_line(values);
    context.authorizer = utf8_is_valid(authorizer, strlen(authorizer)) ? authorizer : NULL;
    free(line_of(format, &context));
    check_text(&context);
    check_xml(&context);
    check_json(&context);
    free(agent);
    free(format);
    return 0;
}
