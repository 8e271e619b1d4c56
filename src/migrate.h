/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate.h - migrations and SQL files, embedded in the binary.
 *
 * migrations/NNNN_name.sql run once, in order, one transaction each; sql/functions and sql/profiles
 * are applied again when their checksum changes.  Everything under one session advisory lock, so
 * two migrators at once do not collide.  The same bookkeeping as migrations/apply.sh.
 */
#pragma once

#include "base.h"

struct buf;
struct config;

/* Applies what is missing; report gets a line per file.  INVALID names a landed migration whose
 * text has changed, or one that the database has and this binary does not know. */
enum status migrate_apply(const struct config *config, struct buf *report,
                          struct error *err) MUST_USE;
/* A line per file: applied, pending or changed. */
enum status migrate_status(const struct config *config, bool json, struct buf *report,
                           struct error *err) MUST_USE;
