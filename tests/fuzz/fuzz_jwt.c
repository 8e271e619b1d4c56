/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens come from clients.  Nobody here has a key, so whatever is not signed with the secret below
 * must be refused; and the one that is signed (in the corpus) has to stay acceptable.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "buf.h"
#include "config.h"
#include "json.h"

enum { NOW = 1800000000, CLAIMS_BYTES = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct auth *create(void)
{
    char secret[] = "fuzz";
    char empty[] = "";
    struct config config = {.jwt_secret = secret,
                            .jwt_public_key_file = empty,
                            .jwt_issuer = empty,
                            .jwt_audience = empty,
                            .jwt_leeway_s = 30};
    struct auth *auth = NULL;

    if (auth_create(&config, &auth, NULL) != OK)
        abort();
    return auth;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct auth *auth = create();
    char *token = mem_strndup((const char *)data, size);
    struct buf claims;

    buf_init(&claims, CLAIMS_BYTES);
    if (auth_verify(auth, token, NOW, &claims, NULL) == OK) {
        struct json *json = NULL;

        assert(json_parse(claims.data, claims.len, &json, NULL) == OK);
        assert(json_type(json) == JSON_OBJECT);
        json_free(json);
    } else {
        assert(claims.len == 0);
    }
    buf_done(&claims);
    free(token);
    auth_free(auth);
    return 0;
}
