/* SPDX-License-Identifier: Apache-2.0 */
#include "request_line.h"

#include <string.h>
#include <strings.h>

#include "http_head.h"

enum {
    SEGMENTS = 2,        /* /{stage}/@connections, or without the stage */
    MAX_NAME_BYTES = 64, /* "@connections" with every character percent-encoded is shorter */
    MAX_METHOD_BYTES = 16
};

static enum request_path look_at_segment(struct slice segment)
{
    char name[MAX_NAME_BYTES];

    if (segment.len >= sizeof(name) || url_decode(segment, false, name) < 0)
        return REQUEST_PATH_OTHER;
    if (strcmp(name, "@connections") == 0)
        return REQUEST_PATH_CONNECTIONS;
    return strcmp(name, "@send") == 0 ? REQUEST_PATH_SEND : REQUEST_PATH_OTHER;
}

/* How many letters the method has; -1 when it is none. */
static int method_len(const char *data, size_t len)
{
    int n = 0;

    while ((size_t)n < len && data[n] >= 'A' && data[n] <= 'Z')
        n++;
    return n > MAX_METHOD_BYTES || ((size_t)n < len && (n == 0 || data[n] != ' ')) ? -1 : n;
}

static size_t until(const char *data, size_t len, const char *stops)
{
    size_t n = 0;

    while (n < len && !strchr(stops, data[n]))
        n++;
    return n;
}

/* Cuts "http://host" off.  MANAGEMENT: a path is there, which decides; UNDECIDED: not yet. */
static enum request_line skip_authority(struct slice *target)
{
    static const char separator[] = "://";
    size_t scheme, authority;

    if (target->len == 0)
        return REQUEST_LINE_UNDECIDED;
    if (target->data[0] == '/')
        return REQUEST_LINE_MANAGEMENT;
    scheme = until(target->data, target->len, ":/? \r\n");
    if (target->len - scheme < strlen(separator))
        return scheme == target->len || target->data[scheme] == ':' ? REQUEST_LINE_UNDECIDED
                                                                    : REQUEST_LINE_HANDSHAKE;
    if (memcmp(target->data + scheme, separator, strlen(separator)) != 0)
        return REQUEST_LINE_HANDSHAKE;
    target->data += scheme + strlen(separator);
    target->len -= scheme + strlen(separator);
    authority = until(target->data, target->len, "/? \r\n");
    target->data += authority;
    target->len -= authority;
    if (target->len == 0)
        return REQUEST_LINE_UNDECIDED;
    return target->data[0] == '/' ? REQUEST_LINE_MANAGEMENT : REQUEST_LINE_HANDSHAKE;
}

/* What a path is for by its first segments, each with something behind it. */
static enum request_line look_at_path(struct slice path)
{
    for (int i = 0; i < SEGMENTS && path.len && path.data[0] == '/'; i++) {
        size_t len = until(path.data + 1, path.len - 1, "/? \r\n");

        if (len == path.len - 1)
            return REQUEST_LINE_UNDECIDED;
        if (look_at_segment((struct slice){path.data + 1, len}) != REQUEST_PATH_OTHER)
            return REQUEST_LINE_MANAGEMENT;
        path.data += len + 1;
        path.len -= len + 1;
    }
    return REQUEST_LINE_HANDSHAKE;
}

enum request_line request_line_look(const char *data, size_t len)
{
    int method = method_len(data, len);
    enum request_line answer;
    struct slice target;

    if (method < 0)
        return REQUEST_LINE_HANDSHAKE;
    if ((size_t)method == len)
        return REQUEST_LINE_UNDECIDED;
    target = (struct slice){data + method + 1, len - (size_t)method - 1};
    answer = skip_authority(&target);
    return answer == REQUEST_LINE_MANAGEMENT ? look_at_path(target) : answer;
}

enum request_path request_path_look(const char *path)
{
    enum request_path found = REQUEST_PATH_OTHER;

    for (int i = 0; i < SEGMENTS && *path == '/' && found == REQUEST_PATH_OTHER; i++) {
        size_t len = strcspn(path + 1, "/");

        found = look_at_segment((struct slice){path + 1, len});
        path += len + 1;
    }
    return found;
}
