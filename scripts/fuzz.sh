#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target for some seconds: fuzz.sh SECONDS.  What libFuzzer finds on the way is kept
# under build/fuzz/found; a crash is left there too, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}

fuzz() {
    local target=$1 name=${1##*/fuzz_} log folders
    log=build/fuzz/$name.log
    folders=("build/fuzz/found/$name")
    mkdir -p "${folders[0]}"
    [ ! -d "tests/fuzz/corpus/$name" ] || folders+=("tests/fuzz/corpus/$name")
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
        -artifact_prefix="build/fuzz/found/$name-" "${folders[@]}" >"$log" 2>&1; then
        echo "ok - $name: $(grep '^Done' "$log" || tail -n 1 "$log")"
    else
        cat "$log"
        echo "not ok - $name: see build/fuzz/found/$name-*"
        return 1
    fi
}

targets=()
for target in build/fuzz/fuzz_*; do
    [ ! -x "$target" ] || targets+=("$target")
done
if [ "${#targets[@]}" -eq 0 ]; then
    echo "there are no fuzz targets in build/fuzz" >&2
    exit 1
fi
# As many at a time as there are processors.
failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$(nproc)" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit "$failed"
