/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4.h - AWS Signature Version 4: signing requests, and checking signed ones.
 *
 * The canonical request covers the method, path, query, the headers that the signer names and the
 * body.  The body always counts: UNSIGNED-PAYLOAD is not accepted, because whoever may change the
 * body of a request on its way could send anything to anybody.
 */
#pragma once

#include "base.h"

struct buf;

struct sigv4_header {
    const char *name; /* in any case */
    const char *value;
};

/* As it is on the wire. */
struct sigv4_request {
    const char *method;
    const char *path;  /* still percent-encoded */
    const char *query; /* without '?', still percent-encoded; NULL: none */
    const struct sigv4_header *headers;
    size_t header_count;
    const void *body;
    size_t body_len;
};

struct sigv4_credentials {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL or "": none; for signing only */
};

enum {
    SIGV4_DATE_BYTES = 17, /* 20261121T053200Z */
    SIGV4_AUTHORIZATION_BYTES = 512
};

/* What is added to a request that was signed. */
struct sigv4_signature {
    char date[SIGV4_DATE_BYTES]; /* X-Amz-Date */
    char authorization[SIGV4_AUTHORIZATION_BYTES];
    const char *session_token; /* X-Amz-Security-Token, or NULL; borrowed from the credentials */
};

/* Signs the headers of the request (which has to have Host), X-Amz-Date and the token.  INVALID
 * when the key's id, region and headers together are too long. */
enum status sigv4_sign(const struct sigv4_request *request,
                       const struct sigv4_credentials *credentials, const char *region,
                       const char *service, int64_t now_s, struct sigv4_signature *out) MUST_USE;

enum { SIGV4_REGION_BYTES = 64 };

/* For many requests: keeps the key of the day, which costs as much as the rest of a signature.
 * Credentials and service are borrowed. */
struct sigv4_signer;
struct sigv4_signer *sigv4_signer_create(const struct sigv4_credentials *credentials,
                                         const char *service) MUST_USE;
void sigv4_signer_free(struct sigv4_signer *signer); /* NULL is allowed */
enum status sigv4_signer_sign(struct sigv4_signer *signer, const struct sigv4_request *request,
                              const char *region, int64_t now_s,
                              struct sigv4_signature *out) MUST_USE;

/* For a URL instead of headers: adds to query the request's own and behind it, after '&', what
 * signs the request and all of its headers (Host has to be there) until expires_s later, the
 * signature last.  INVALID when that does not fit, or expires_s is not from 1 s to a week. */
struct sigv4_presigning {
    const char *region;
    const char *service;
    int64_t now_s;
    int64_t expires_s;
};
enum status sigv4_presign(const struct sigv4_request *request,
                          const struct sigv4_credentials *credentials,
                          const struct sigv4_presigning *how, struct buf *query) MUST_USE;

enum sigv4_result {
    SIGV4_GOOD,
    SIGV4_MISSING,     /* not signed at all */
    SIGV4_INCOMPLETE,  /* the signature is not all there */
    SIGV4_UNKNOWN_KEY, /* signed with another key */
    SIGV4_WRONG        /* it does not match, is too old, or from the future */
};

/* True when there is a signature of whatever quality, in a header or in the query. */
bool sigv4_is_signed(const struct sigv4_request *request);

/* The region of the signature's scope, or "" when there is none that could be one. */
void sigv4_region(const struct sigv4_request *request, char out[SIGV4_REGION_BYTES]);

/* Checks a signature in the Authorization header, or in the query ("presigned").  The region is
 * whatever the scope says.  The path counts as signed both as it was sent and percent-encoded once
 * more, which is what the SDKs do.  The text of err is for the client. */
enum sigv4_result sigv4_verify(const struct sigv4_request *request,
                               const struct sigv4_credentials *credentials, const char *service,
                               int64_t now_s, struct error *err) MUST_USE;
