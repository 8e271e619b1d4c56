#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Run once by the postgres image, on an empty data directory: the same roles as ./dev makes, with
# passwords.
set -eu

psql --no-psqlrc --quiet --username="$POSTGRES_USER" --dbname=postgres --set=ON_ERROR_STOP=1 \
    --set=owner_password="$OWNER_PASSWORD" --set=gateway_password="$GATEWAY_PASSWORD" \
    --file=/roles.sql
