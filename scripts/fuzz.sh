#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target for some seconds: fuzz.sh SECONDS.  What libFuzzer finds on the way is kept
# under build/fuzz/found; a crash is left there too, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
failed=0
targets=(build/fuzz/fuzz_*)
for target in "${targets[@]}"; do
    [ -x "$target" ] || continue
    name=${target##*/fuzz_}
    found=build/fuzz/found/$name
    seeds=tests/fuzz/corpus/$name
    mkdir -p "$found"
    folders=("$found")
    [ ! -d "$seeds" ] || folders+=("$seeds")
    log=build/fuzz/$name.log
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
        -artifact_prefix="build/fuzz/found/$name-" "${folders[@]}" >"$log" 2>&1; then
        echo "ok - $name: $(grep '^Done' "$log" || tail -n 1 "$log")"
    else
        cat "$log"
        echo "not ok - $name: see build/fuzz/found/$name-*"
        failed=1
    fi
    ran=1
done
if [ -z "${ran:-}" ]; then
    echo "there are no fuzz targets in build/fuzz" >&2
    exit 1
fi
exit "$failed"
