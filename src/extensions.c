/* SPDX-License-Identifier: Apache-2.0 */
#include "extensions.h"

#include <string.h>

#include "http_head.h"

static struct slice trim(struct slice s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* What is in front of the separator, without blanks; *rest goes on behind it.  Separators in a
 * quoted string count too: a parameter that we know has none in its value. */
static struct slice take_until(struct slice *rest, char separator)
{
    const char *end = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    struct slice taken = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
    size_t used = taken.len + (end ? 1 : 0);

    rest->data += used;
    rest->len -= used;
    return trim(taken);
}

/* 8 to 15, perhaps in quotes. */
static bool is_window(struct slice value)
{
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"') {
        value.data++;
        value.len -= 2;
    }
    return slice_is(value, "8") || slice_is(value, "9") ||
           (value.len == 2 && value.data[0] == '1' && value.data[1] >= '0' && value.data[1] <= '5');
}

/* The parameters that a client may give about itself, each once. */
static bool is_acceptable(struct slice parameters)
{
    bool has_takeover = false;
    bool has_window = false;

    while (parameters.len) {
        struct slice value = take_until(&parameters, ';');
        bool has_value = value.len && memchr(value.data, '=', value.len);
        struct slice name = take_until(&value, '=');

        if (slice_is_nocase(name, "client_no_context_takeover") && !has_value && !has_takeover)
            has_takeover = true;
        else if (slice_is_nocase(name, "client_max_window_bits") && !has_window &&
                 (!has_value || is_window(trim(value))))
            has_window = true;
        else
            return false;
    }
    return true;
}

static bool has_deflate(struct slice offers)
{
    while (offers.len) {
        struct slice offer = take_until(&offers, ',');
        bool has_end = offer.len && offer.data[offer.len - 1] == ';'; /* and nothing behind it */
        struct slice name = take_until(&offer, ';');

        if (slice_is_nocase(name, "permessage-deflate") && !has_end && is_acceptable(offer))
            return true;
    }
    return false;
}

bool extensions_offer_deflate(const struct http_head *head)
{
    for (size_t i = 0; i < head->header_count; i++)
        if (slice_is_nocase(head->headers[i].name, "Sec-WebSocket-Extensions") &&
            has_deflate(head->headers[i].value))
            return true;
    return false;
}
