#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# On the schema of the previous commit that changed migrations/: the files of that commit are applied
# with its apply.sh, then today's with the program; the result is what an empty database gets.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The newest commit whose migrations are not today's; extracted into $scratch/previous.
find_previous() {
    local commit
    for commit in $(git -C "$repository" log --format=%H -- migrations 2>/dev/null); do
        rm -rf "$scratch/previous"
        mkdir "$scratch/previous"
        # A commit may have had no sql/ yet.
        git -C "$repository" archive "$commit" migrations |
            tar -x -C "$scratch/previous" || continue
        git -C "$repository" archive "$commit" sql 2>/dev/null |
            tar -x -C "$scratch/previous" 2>/dev/null || true
        if [ "$(cd "$scratch/previous/migrations" && cat [0-9]*.sql)" != \
            "$(cd "$repository/migrations" && cat [0-9]*.sql)" ]; then
            [ -e "$scratch/previous/migrations/apply.sh" ] ||
                cp "$repository/migrations/apply.sh" "$scratch/previous/migrations/"
            echo "$commit"
            return 0
        fi
    done
    return 1
}

if ! commit=$(find_previous); then
    echo "# there is no earlier commit with other migrations"
    exit 0
fi
echo "# from $commit"
new_database upgraded
apply_files upgraded "$scratch/previous" >"$scratch/previous.log" || {
    cat "$scratch/previous.log"
    fail "the migrations of $commit do not apply"
}
migrate upgraded
new_database fresh
migrate fresh >/dev/null
same_dump fresh upgraded "the upgraded schema differs from a fresh one"
