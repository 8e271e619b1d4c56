/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extensions.h - what a client offers in Sec-WebSocket-Extensions (RFC 6455, section 9.1).
 */
#pragma once

#include "base.h"

struct http_head;

/* Whether one of the offers is permessage-deflate (RFC 7692) as we can take it, which is answered
 * without parameters: what we send is never compressed, and any window and context of the client's
 * is understood.  So an offer that asks something of the server, or is broken, is not for us. */
bool extensions_offer_deflate(const struct http_head *head) MUST_USE;
