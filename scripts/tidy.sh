#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# clang-tidy for one file: tidy.sh src/buf.c.  It takes seconds, so what passed is remembered by its
# content: the file's, every header's, the rules' and the flags'.
set -euo pipefail
cd "$(dirname "$0")/.."

file=$1
name=${file//\//_}
key=$(cat "$file" src/*.h .clang-tidy CMakeLists.txt CMakePresets.json | sha256sum | cut -c 1-32)
stamp=build/lint/$name.$key
mkdir -p build/lint
[ ! -e "$stamp" ] || exit 0
# Standard error counts the suppressed warnings of system headers: shown only on failure.
if ! clang-tidy-14 --quiet -p build/dev "$file" 2>"build/lint/$name.err"; then
    cat "build/lint/$name.err" >&2
    exit 1
fi
rm -f "build/lint/$name".*
: >"$stamp"
