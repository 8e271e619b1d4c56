/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handler.js - the function that serverless-offline and functions.js run: one handler, so that what
 * differs is the gateway in front of it.  It answers with the message; $connect and $disconnect
 * have none and are accepted.
 */
'use strict';

exports.handler = async (event) => ({ statusCode: 200, body: event.body });
