/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda_response.h - what a function behind a Lambda proxy integration answered.
 *
 *   {"statusCode":200,"headers":{},"multiValueHeaders":{},"body":"...","isBase64Encoded":false}
 */
#pragma once

#include "buf.h"

enum lambda_response_kind {
    LAMBDA_RESPONSE_NONE,      /* null, or nothing: no answer, and no fault on a one-way route */
    LAMBDA_RESPONSE_PROXY,     /* the shape above */
    LAMBDA_RESPONSE_MALFORMED, /* anything else, statusCode missing or no integer included */
    LAMBDA_RESPONSE_ERROR      /* {"errorMessage":...,"errorType":...} of a function that raised */
};

struct lambda_response {
    enum lambda_response_kind kind;
    int status;
    char *body; /* decoded; NULL: none */
    size_t body_len;
    char *subprotocol;   /* header Sec-WebSocket-Protocol, any case; NULL: none */
    char *error_message; /* of LAMBDA_RESPONSE_ERROR; NULL: none */
};

/* is_error: the call said that the function failed (X-Amz-Function-Error). A statusCode may also be
 * digits in a text, as API Gateway takes it. */
void lambda_response_parse(const char *text, size_t len, bool is_error,
                           struct lambda_response *out);
void lambda_response_done(struct lambda_response *response);
