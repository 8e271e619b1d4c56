/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference_handshake.c - the handshake of RFC 6455, section 4.2, without any of the choices.
 */
#include "reference.h"

#include "http_head.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

enum { HEAD_BYTES_MOST = 8192, KEY_LEN = 24, ACCEPT_BYTES = 32 };

static const char key_header[] = "Sec-WebSocket-Key";
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

bool handshake_read(struct server_peer *peer, const char *data, size_t len, struct http_head *out)
{
    const struct http_header *key;
    enum status st = http_head_parse(data, len, out, NULL);

    if (st == UNAVAILABLE && len <= HEAD_BYTES_MOST)
        return false;
    key = st == OK ? http_head_find(out, key_header) : NULL;
    if (key && key->value.len == KEY_LEN)
        return true;
    server_close(peer);
    return false;
}

size_t handshake_answer(const struct http_head *head, char out[HANDSHAKE_ANSWER_BYTES])
{
    const struct http_header *key = http_head_find(head, key_header);
    unsigned char text[KEY_LEN + sizeof(guid) - 1];
    unsigned char hash[SHA_DIGEST_LENGTH];
    char accept[ACCEPT_BYTES];

    memcpy(text, key->value.data, KEY_LEN);
    memcpy(text + KEY_LEN, guid, sizeof(guid) - 1);
    SHA1(text, sizeof(text), hash);
    EVP_EncodeBlock((unsigned char *)accept, hash, sizeof(hash));
    return (size_t)snprintf(out, HANDSHAKE_ANSWER_BYTES,
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                            accept);
}
