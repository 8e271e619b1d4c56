/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_lambda_response.c - any bytes as a function's answer: what is taken from it may go into a
 * frame and into the head of a handshake.
 *
 * The first byte says whether the call failed.
 */
#include "json.h"
#include "lambda_response.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lambda_response response;
    bool is_proxy;

    if (size == 0)
        return 0;
    lambda_response_parse((const char *)data + 1, size - 1, data[0] & 1, &response);
    is_proxy = response.kind == LAMBDA_RESPONSE_PROXY;
    require(!(data[0] & 1) || response.kind == LAMBDA_RESPONSE_ERROR);
    require(is_proxy == (response.status >= 200 && response.status <= 599));
    require(is_proxy || (!response.body && !response.subprotocol));
    require(!response.error_message || response.kind == LAMBDA_RESPONSE_ERROR);
    require(response.body ? utf8_is_valid(response.body, response.body_len)
                          : response.body_len == 0);
    require(!response.subprotocol ||
            (response.subprotocol[0] && !strpbrk(response.subprotocol, " \t\r\n,:;\"")));
    lambda_response_done(&response);
    return 0;
}
