/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log.c - one line for each event, in the format of API Gateway's access logs.
 *
 * The format is taken apart once, into texts and names.  Lines are collected in one buffer, which
 * is written with one write(2) at the end of the turn; what a write leaves over stays in front of
 * the next one, so a line that a full disk has cut is continued, not spoilt.
 */
#include "access_log.h"

#include "json.h"
#include "log.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_FORMAT_BYTES = 3072, /* as API Gateway has it */
    MAX_VALUE_BYTES = 1024,
    SCRATCH_BYTES = 65536, /* a value before it is cut */
    PENDING_BYTES = 4 * 1024 * 1024,
    RETRY_MS = 250
};

enum style { STYLE_TEXT, STYLE_JSON, STYLE_XML };

/* A piece of the format: a text as it is, or the name behind "$context.". */
struct piece {
    const char *text; /* in access_log.format */
    size_t len;
    bool is_name;
};

struct access_log {
    struct loop *loop;
    char *format;
    struct piece *pieces;
    size_t piece_count;
    enum style style;

    char *file;
    int fd;
    bool is_regular; /* file: a write to it does not wait for anybody */
    struct buf pending;
    struct buf line;
    struct buf value;  /* of one name, */
    struct buf quoted; /* and as a JSON string */
    struct deferred flush;
    struct timer *retry;
    bool is_failing;  /* and that was logged */
    bool is_mid_line; /* the last write ended inside a line */
    uint64_t lost;    /* lines, while it is failing */
};

/* ---- the format ---- */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters, digits and '_' in parts that dots join: a dot that ends a sentence is text.  What an
 * authorizer added may have hyphens too; elsewhere "$context.stage-$context.apiId" has one
 * between two names. */
static size_t name_len(const char *text)
{
    const char *joints = strncmp(text, "authorizer.", 11) == 0 ? ".-" : ".";
    size_t len = 0;

    for (size_t i = 0; text[i]; i++) {
        if (is_letter_or_digit(text[i]) || text[i] == '_')
            len = i + 1;
        else if (i == 0 || text[i - 1] == '.' || !strchr(joints, text[i]))
            break;
    }
    return len;
}

static void add_piece(struct access_log *log, const char *text, size_t len, bool is_name)
{
    if (len)
        log->pieces[log->piece_count++] = (struct piece){text, len, is_name};
}

/* The one reference at text, which begins with '$'; NULL when it is none. */
static const char *parse_reference(struct access_log *log, const char *text)
{
    static const char prefix[] = "$context.";
    size_t len;

    if (strncmp(text, prefix, strlen(prefix)) != 0)
        return NULL;
    text += strlen(prefix);
    len = name_len(text);
    add_piece(log, text, len, true);
    return len ? text + len : NULL;
}

static enum status parse_pieces(struct access_log *log, struct error *err)
{
    const char *at = log->format;

    /* A name takes at least 10 bytes, and there may be a text in front of each and one at the end.
     */
    log->pieces = mem_alloc((2 * (strlen(at) / 10) + 1) * sizeof(*log->pieces));
    while (*at) {
        size_t len = strcspn(at, "$");
        const char *behind;

        add_piece(log, at, len, false);
        at += len;
        if (!*at)
            break;
        behind = parse_reference(log, at);
        if (!behind)
            return fail(err, INVALID, "access log format: \"%.40s\" is not $context.<name>", at);
        at = behind;
    }
    return OK;
}

static enum style style_of(const char *format)
{
    if (*format == '{')
        return STYLE_JSON;
    return *format == '<' ? STYLE_XML : STYLE_TEXT;
}

/* Without the white space around it: formats in YAML files end with a line feed. */
static enum status parse_format(struct access_log *log, const char *format, struct error *err)
{
    static const char blanks[] = " \t\r\n";
    size_t len;

    format += strspn(format, blanks);
    len = strlen(format);
    while (len && strchr(blanks, format[len - 1]))
        len--;
    if (len == 0)
        return fail(err, INVALID, "access log format: it is empty");
    if (len > MAX_FORMAT_BYTES)
        return fail(err, INVALID, "access log format: it has %zu bytes, at most %d are allowed",
                    len, MAX_FORMAT_BYTES);
    log->format = mem_strndup(format, len);
    if (strpbrk(log->format, "\r\n"))
        return fail(err, INVALID, "access log format: it has more than one line");
    log->style = style_of(log->format);
    return parse_pieces(log, err);
}

/* ---- values ---- */

/* What json_strn writes is quoted; the format has quotes of its own. */
static void add_json(struct access_log *log, const char *text, size_t len)
{
    buf_clear(&log->quoted);
    json_strn(&log->quoted, NULL, text, len);
    buf_add(&log->line, log->quoted.data + 1, log->quoted.len - 2);
}

/* C0, DEL, and the C1 controls, which are two bytes in UTF-8. */
static bool is_control(const char *text, size_t char_len)
{
    unsigned char first = (unsigned char)text[0];

    return (char_len == 1 && (first < 0x20 || first == 0x7f)) ||
           (char_len == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0);
}

/* One character, or one byte that is none (char_len 0). */
static void add_text_char(struct buf *out, const char *text, size_t char_len)
{
    if (char_len && !is_control(text, char_len) && *text != '"' && *text != '\\') {
        buf_add(out, text, char_len);
        return;
    }
    for (size_t i = 0; i < (char_len ? char_len : 1); i++)
        buf_addf(out, "\\x%02X", (unsigned)(unsigned char)text[i]);
}

/* XML 1.0 has no reference for a control character. */
static void add_xml_char(struct buf *out, const char *text, size_t char_len)
{
    if (char_len == 0)
        buf_adds(out, "\xEF\xBF\xBD"); /* U+FFFD */
    else if (is_control(text, char_len))
        buf_addc(out, ' ');
    else if (strchr("&<>\"'", *text))
        buf_addf(out, "&#%d;", *text);
    else
        buf_add(out, text, char_len);
}

static void add_escaped(struct access_log *log, const char *text, size_t len)
{
    if (log->style == STYLE_JSON) {
        add_json(log, text, len);
        return;
    }
    while (len) {
        size_t char_len = utf8_char_len(text, len);
        size_t step = char_len ? char_len : 1;

        if (log->style == STYLE_XML)
            add_xml_char(&log->line, text, char_len);
        else
            add_text_char(&log->line, text, char_len);
        text += step;
        len -= step;
    }
}

/* Not inside a character, when the text is UTF-8. */
static size_t cut_len(const char *text, size_t len)
{
    if (len <= MAX_VALUE_BYTES)
        return len;
    len = MAX_VALUE_BYTES;
    while (len > MAX_VALUE_BYTES - 4 && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    return len;
}

static void add_value(struct access_log *log, const char *name, size_t len,
                      const struct request_context *context)
{
    struct buf *value = &log->value;

    buf_clear(value);
    if (!request_context_get(context, name, len, value) || buf_full(value))
        buf_addc(&log->line, '-');
    else
        add_escaped(log, buf_str(value), cut_len(buf_str(value), value->len));
}

/* error.messageString is error.message with quotes of its own, for formats that have none there:
 * those must not be escaped. */
static void add_reference(struct access_log *log, const struct piece *name,
                          const struct request_context *context)
{
    static const char quoted[] = "error.messageString";
    static const char plain[] = "error.message";
    bool is_quoted = name->len == strlen(quoted) && memcmp(name->text, quoted, name->len) == 0;

    if (!is_quoted || !context->error_message) {
        add_value(log, name->text, name->len, context);
        return;
    }
    buf_addc(&log->line, '"');
    add_value(log, plain, strlen(plain), context);
    buf_addc(&log->line, '"');
}

/* ---- the file ---- */

static bool is_standard_output(const struct access_log *log)
{
    return strcmp(log->file, "-") == 0;
}

/* O_NONBLOCK for a named pipe: opening it must not wait for its reader. */
static int open_file(const char *file)
{
    return open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static void use_file(struct access_log *log, int fd)
{
    struct stat st;

    log->fd = fd;
    log->is_regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void note_failure(struct access_log *log, int error)
{
    if (log->is_failing)
        return;
    log->is_failing = true;
    log_warn("access_log.write_failed", "file=%s error=%s text=%s", log_quote(log->file),
             log_quote(strerror(error)), log_quote("trying again"));
}

static void note_success(struct access_log *log)
{
    if (!log->is_failing)
        return;
    log_info("access_log.resumed", "file=%s lost=%" PRIu64, log_quote(log->file), log->lost);
    log->is_failing = false;
    log->lost = 0;
}

/* How many of len bytes may be written without waiting for a reader: all to a file, what a pipe
 * that is writable takes at least, 0 when it is not. */
static size_t writable_bytes(const struct access_log *log, size_t len)
{
    struct pollfd ready = {.fd = log->fd, .events = POLLOUT};

    if (log->is_regular)
        return len;
    if (poll(&ready, 1, 0) != 1)
        return 0;
    return len < PIPE_BUF ? len : PIPE_BUF;
}

/* Writes bytes and says how many; *error is 0 or what left something over. */
static size_t write_bytes(const struct access_log *log, const char *bytes, size_t len, int *error)
{
    size_t done = 0;

    *error = 0;
    while (done < len && !*error) {
        size_t at_once = writable_bytes(log, len - done);
        ssize_t n = at_once ? write(log->fd, bytes + done, at_once) : -1;

        if (n > 0)
            done += (size_t)n;
        else if (!at_once || errno != EINTR)
            *error = at_once ? errno : EAGAIN;
    }
    return done;
}

static int write_pending(struct access_log *log)
{
    int error = 0;
    size_t done = write_bytes(log, log->pending.data, log->pending.len, &error);

    if (done)
        log->is_mid_line = log->pending.data[done - 1] != '\n';
    buf_drop_front(&log->pending, done);
    return error;
}

/* A reader that is slow for a moment is no failure; lines that are lost are. */
static void flush(void *ctx)
{
    struct access_log *log = ctx;
    int error = write_pending(log);

    if (!error) {
        note_success(log);
        return;
    }
    if (error != EAGAIN)
        note_failure(log, error);
    loop_timer_set(log->retry, RETRY_MS, 0);
}

/* ---- life ---- */

static void lose_line(struct access_log *log)
{
    log->lost++;
    note_failure(log, ENOBUFS);
}

void access_log_write(struct access_log *log, const struct request_context *context)
{
    buf_clear(&log->line);
    for (size_t i = 0; i < log->piece_count; i++) {
        const struct piece *piece = &log->pieces[i];

        if (piece->is_name)
            add_reference(log, piece, context);
        else
            buf_add(&log->line, piece->text, piece->len);
    }
    buf_addc(&log->line, '\n');
    if (log->line.len > log->pending.limit - log->pending.len)
        lose_line(log);
    else
        buf_add(&log->pending, log->line.data, log->line.len);
    if (!log->is_failing) /* or the timer tries again */
        loop_at_end_of_turn(log->loop, &log->flush);
}

/* The rest of a line whose beginning went to the old file. */
static void drop_cut_line(struct access_log *log)
{
    const char *end;

    if (!log->is_mid_line || !log->pending.len)
        return;
    end = memchr(log->pending.data, '\n', log->pending.len);
    buf_drop_front(&log->pending, end ? (size_t)(end - log->pending.data) + 1 : log->pending.len);
    log->is_mid_line = false;
    log->lost++;
}

void access_log_reopen(struct access_log *log)
{
    int fd;

    if (is_standard_output(log))
        return;
    fd = open_file(log->file);
    if (fd < 0) {
        log_warn("access_log.reopen_failed", "file=%s error=%s text=%s", log_quote(log->file),
                 log_quote(strerror(errno)), log_quote("keeping the old file"));
        return;
    }
    (void)write_pending(log); /* to the file that it was written for */
    drop_cut_line(log);
    close(log->fd);
    use_file(log, fd);
    loop_at_end_of_turn(log->loop, &log->flush);
    log_info("access_log.reopened", "file=%s", log_quote(log->file));
}

static void release(struct access_log *log)
{
    buf_done(&log->pending);
    buf_done(&log->line);
    buf_done(&log->value);
    buf_done(&log->quoted);
    free(log->pieces);
    free(log->format);
    free(log->file);
    free(log);
}

enum status access_log_create(struct loop *loop, const char *format, const char *file,
                              struct access_log **out, struct error *err)
{
    struct access_log *log = mem_alloc(sizeof(*log));
    enum status st = parse_format(log, format, err);
    int fd = STDOUT_FILENO;

    log->file = mem_strdup(file);
    if (!st && !is_standard_output(log)) {
        fd = open_file(file);
        if (fd < 0)
            st = fail(err, UNAVAILABLE, "cannot open \"%s\": %s", file, strerror(errno));
    }
    if (st) {
        release(log);
        return st;
    }
    use_file(log, fd);
    buf_init(&log->pending, PENDING_BYTES);
    buf_init(&log->line, PENDING_BYTES);
    buf_init(&log->value, SCRATCH_BYTES);
    buf_init(&log->quoted, SCRATCH_BYTES);
    log->loop = loop;
    log->flush = (struct deferred){.fn = flush, .ctx = log};
    log->retry = loop_timer(loop, RETRY_MS, 0, flush, log);
    *out = log;
    return OK;
}

void access_log_free(struct access_log *log)
{
    int error;

    if (!log)
        return;
    loop_undefer(log->loop, &log->flush);
    loop_timer_stop(log->retry);
    error = write_pending(log);
    if (error)
        log_warn("access_log.lost", "file=%s bytes=%zu error=%s", log_quote(log->file),
                 log->pending.len, log_quote(strerror(error)));
    if (!is_standard_output(log))
        close(log->fd);
    release(log);
}
