/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authorizer.h - what a REQUEST authorizer decided.
 *
 *   {"principalId":"u","policyDocument":{"Version":"2012-10-17","Statement":[{"Action":
 *    "execute-api:Invoke","Effect":"Allow","Resource":"arn:..."}]},"context":{"k":"v","n":1}}
 */
#pragma once

#include "buf.h"

enum authorizer_verdict {
    AUTHORIZER_ALLOW,
    AUTHORIZER_DENY,         /* a statement says so: 403 */
    AUTHORIZER_NOT_ALLOWED,  /* no statement allows this resource: 403 */
    AUTHORIZER_UNAUTHORIZED, /* it raised "Unauthorized": 401 */
    AUTHORIZER_ERROR,        /* it raised something else: 500 "Internal server error" */
    AUTHORIZER_BROKEN        /* the answer has the wrong shape: 500 with an empty message */
};

struct authorizer_decision {
    enum authorizer_verdict verdict;
    char *context;              /* JSON object text for requestContext.authorizer; of ALLOW only */
    char *usage_identifier_key; /* or NULL */
};

/* is_error: as in lambda_response.h.  method_arn: what has to be allowed.  Wildcards in resources
 * and actions are * and ?, as IAM has them; Deny wins over Allow.  More than 8 KB: BROKEN. */
void authorizer_decide(const char *text, size_t len, bool is_error, const char *method_arn,
                       struct authorizer_decision *out);
void authorizer_decision_done(struct authorizer_decision *decision);
/* The HTTP status and the text of "message" for a handshake that is refused. */
int authorizer_status(enum authorizer_verdict verdict);
const char *authorizer_message(enum authorizer_verdict verdict);
