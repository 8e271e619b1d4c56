/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Secrets Manager answers, and the secret in it: whatever it is, there is a password that is
 * not empty, or an error.
 */
#include <assert.h>
#include <string.h>

#include "secrets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_login(const char *value, size_t len)
{
    char *user = NULL;
    char *password = NULL;
    char *member = NULL;
    struct error err = {0};

    if (secret_read_login(value, len, &user, &password, &err) == OK)
        assert(password && *password);
    else
        assert(!user && !password && err.status == INVALID && err.text[0]);
    if (secret_read_member(value, len, "jwt_secret", &member, NULL) == OK)
        assert(member && *member);
    else
        assert(!member);
    secret_free(user);
    secret_free(password);
    secret_free(member);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct error err = {0};
    struct buf value;

    buf_init(&value, SECRET_VALUE_BYTES);
    if (secret_read_answer(text, size, 200, &value, &err) == OK)
        read_login(buf_str(&value), value.len);
    else
        assert(err.status != OK && err.text[0]);
    secret_done(&value);
    buf_init(&value, SECRET_VALUE_BYTES);
    assert(secret_read_answer(text, size, 400, &value, &err) != OK && value.len == 0);
    secret_done(&value);
    if (!memchr(text ? text : "", '\0', size)) /* a text, as secret_read_answer's is */
        read_login(text, size);
    return 0;
}
