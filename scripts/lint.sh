#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every check that needs no database.  Wants build/dev (compile_commands.json and the program).
# shellcheck disable=SC2317 # the checks are called through check()
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
check() {
    local name=$1 began=$SECONDS
    shift
    if "$@"; then
        echo "ok - $name ($((SECONDS - began)) s)"
    else
        echo "not ok - $name"
        failed=1
    fi
}

check_format() {
    clang-format-14 --dry-run -Werror src/*.[ch] tests/unit/*.[ch] tests/fuzz/*.c \
        bench/*.[ch] packaging/lambda/*.c
}

check_tidy() {
    mkdir -p build/lint
    printf '%s\0' src/*.c tests/unit/*.c bench/*.c |
        xargs -0 -n 1 -P 2 scripts/tidy.sh
}

check_cppcheck() {
    cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
        --inline-suppr --error-exitcode=1 -j 2 -D_GNU_SOURCE -I src \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches src bench
}

check_shell() {
    local scripts
    mapfile -t scripts < <(
        printf '%s
' dev .ci/run examples/chat-on-lambda/run
        find scripts docker migrations tests sql examples -name '*.sh' -not -path '*/node_modules/*'
        printf '%s
' packaging/debian/p{ostinst,rerm,ostrm}
    )
    shellcheck --external-sources "${scripts[@]}"
}

check format check_format
check layers /usr/bin/python3 scripts/check_layers.py
check shellcheck check_shell
check cppcheck check_cppcheck
check "README settings" /usr/bin/python3 scripts/readme_settings.py build/dev/switchboard
check clang-tidy check_tidy
exit "$failed"
