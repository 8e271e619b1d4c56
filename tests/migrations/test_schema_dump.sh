#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# sql/schema.sql is what the migrations make; `./dev dump` renews it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if ! "$here/dump.sh" | diff -u "$here/../../sql/schema.sql" -; then
    echo "sql/schema.sql is out of date: ./dev dump renews it" >&2
    exit 1
fi
