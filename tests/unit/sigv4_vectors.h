/* SPDX-License-Identifier: Apache-2.0 */
/* Made by sigv4_vectors.py with botocore 1.29.27. */
#pragma once

#include "sigv4.h"

#define VECTOR_KEY "AKIDEXAMPLE"
#define VECTOR_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

enum { VECTOR_NOW = 1795239120, VECTOR_HEADERS = 6 };

/* clang-format off */
static const struct vector {
    const char *name;
    const char *method;
    const char *path;
    const char *query;
    const char *region;
    const char *body;
    size_t body_len;
    struct sigv4_header headers[VECTOR_HEADERS];
} vectors[] = {
    {"post_encoded",
     "POST",
     "/dev/%40connections/abc%3D%3D",
     NULL,
     "us-east-1",
     "\150\145\154\154\157",
     5,
     {{"Host", "127.0.0.1:8080"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=eb0db26e805f490e296a1eb8b005431e0914d86d44955e47d1b2c99fe6de09f9"}}},
    {"post_raw",
     "POST",
     "/dev/@connections/abc==",
     NULL,
     "us-east-1",
     "\150\145\154\154\157",
     5,
     {{"Host", "127.0.0.1:8080"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=2a7d48352d5e9ce431b30b35697d1e46d56f60594c6f59783d2aeb9cd50ca1cb"}}},
    {"encoded_signed_as_sent",
     "GET",
     "/dev/%40connections/abc%3D%3D",
     NULL,
     "eu-central-1",
     "",
     0,
     {{"Host", "example.com"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-central-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=75ba9c713788e86997f4b7493c15f346800154e3101c3a41ec8aadad930c7ee9"}}},
    {"raw_signed_as_sent",
     "DELETE",
     "/dev/@connections/abc==",
     NULL,
     "eu-central-1",
     "",
     0,
     {{"Host", "example.com"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-central-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=6f8da8726db9d570f8ac0723396c0b9b8eeb11b93bd22bee15ac58d69b28fe9f"}}},
    {"session_token",
     "GET",
     "/dev/%40connections/gbgEXa8pzQAYKEi_gA%3D%3D",
     NULL,
     "us-east-1",
     "",
     0,
     {{"Host", "localhost:8081"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"X-Amz-Security-Token", "token/with+signs=="},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=c82c5e689d0f46d7bba8670a870607043f5b938b6c236352b2f38a76852e5b8f"}}},
    {"bytes",
     "POST",
     "/dev/%40connections/abc%3D%3D",
     NULL,
     "us-east-1",
     "\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037\040\041\042\043\044\045\046\047\050\051\052\053\054\055\056\057\060\061\062\063\064\065\066\067\070\071\072\073\074\075\076\077\100\101\102\103\104\105\106\107\110\111\112\113\114\115\116\117\120\121\122\123\124\125\126\127\130\131\132\133\134\135\136\137\140\141\142\143\144\145\146\147\150\151\152\153\154\155\156\157\160\161\162\163\164\165\166\167\170\171\172\173\174\175\176\177\200\201\202\203\204\205\206\207\210\211\212\213\214\215\216\217\220\221\222\223\224\225\226\227\230\231\232\233\234\235\236\237\240\241\242\243\244\245\246\247\250\251\252\253\254\255\256\257\260\261\262\263\264\265\266\267\270\271\272\273\274\275\276\277\300\301\302\303\304\305\306\307\310\311\312\313\314\315\316\317\320\321\322\323\324\325\326\327\330\331\332\333\334\335\336\337\340\341\342\343\344\345\346\347\350\351\352\353\354\355\356\357\360\361\362\363\364\365\366\367\370\371\372\373\374\375\376\377",
     255,
     {{"Host", "127.0.0.1:8080"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=1ecf36d4fe60bd7c7200e6b089acd35ea78bce86ea082a4891762bb89d9cee34"}}},
    {"headers",
     "POST",
     "/dev/%40send",
     NULL,
     "us-east-1",
     "\173\042\164\157\042\072\042\141\154\154\042\054\042\155\145\163\163\141\147\145\042\072\061\175",
     24,
     {{"Host", "127.0.0.1:8080"},
      {"Content-Type", "application/json"},
      {"X-Amz-Meta", "  a   b  "},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-meta, Signature=c7bb3230e1f7d12aa8d9d1f961b61294074965a2b3ac7e738c1bb59f4645ea62"}}},
    {"query",
     "GET",
     "/dev/%40connections/abc%3D%3D",
     "b=2&a-x=1&a=%40z&a=1&empty=",
     "us-east-1",
     "",
     0,
     {{"Host", "127.0.0.1:8080"},
      {"X-Amz-Date", "20261121T053200Z"},
      {"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=5f23df715fc6d88f08050e95e1d52af3bb2ed52a454ac25d65bc61688357ea03"}}},
    {"presigned",
     "GET",
     "/dev/%40connections/abc%3D%3D",
     "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Fus-east-1%2Fexecute-api%2Faws4_request&X-Amz-Date=20261121T053200Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=44026184a94472eb455b461fb93ab380e1c3f5d00275a9510277378e5fa471ff",
     "us-east-1",
     "",
     0,
     {{"Host", "127.0.0.1:8080"}}},
};

/* Tokens of RDS. */
static const struct token_vector {
    const char *host;
    const char *port;
    const char *user;
    const char *session_token;
    const char *region;
    const char *token;
} token_vectors[] = {
    {"db.cluster-abc.eu-central-1.rds.amazonaws.com",
     "5432",
     "switchboard_gateway",
     NULL,
     "eu-central-1",
     "db.cluster-abc.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=switchboard_gateway&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Feu-central-1%2Frds-db%2Faws4_request&X-Amz-Date=20261121T053200Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=3ea89a98df3cdb80ab60756e4de3caab58836787e4ed78856bd8f812b571eaa1"},
    {"proxy.us-east-1.rds.amazonaws.com",
     "6543",
     "an o'user@x/+",
     "IQoJ/b3+Jp==",
     "us-east-1",
     "proxy.us-east-1.rds.amazonaws.com:6543/?Action=connect&DBUser=an%20o%27user%40x%2F%2B&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Fus-east-1%2Frds-db%2Faws4_request&X-Amz-Date=20261121T053200Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJ%2Fb3%2BJp%3D%3D&X-Amz-Signature=3cc9b330ab45e19b0b66ad31157f29a2609f76a6e9c7769cff25f94271f89a88"},
};
/* clang-format on */
