#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks everything under terraform/: format, READMEs, validity, tests with mocked providers.  Needs no
# account.  TERRAFORM is the command (default: terraform); without one nothing is checked.
#
# It works on a copy under build/, so that no lock file of a test set-up ends up in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

terraform=${TERRAFORM:-terraform}
copy=$PWD/build/terraform
began=$SECONDS

if ! command -v "$terraform" >/dev/null; then
    echo "terraform: skipped, there is no command \"$terraform\" (set TERRAFORM)"
    exit 0
fi
unset TF_CLI_ARGS TF_DATA_DIR TF_WORKSPACE

# job NAME FOLDER COMMAND...: its output goes to a file, its name to `failed` when it fails.
job() {
    local name=$1 folder=$2 rc=0 log
    shift 2
    log=$copy/logs/${name//\//-}
    (cd "$copy/$folder" && "$@") >"$log" 2>&1 || rc=$?
    if [ "$rc" -eq 0 ]; then
        echo "ok - $name"
    else
        echo "not ok - $name"
        sed 's/^/    /' "$log"
        echo "$name" >>"$copy/logs/failed"
    fi
}

# The same in the background, as many at a time as there are processors.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge "$slots" ]; do
        wait -n || true
    done
    job "$@" &
}

# The stack gets the providers, everything else takes them from there.
init() {
    local from=()
    [ "$PWD" = "$copy" ] || from=(-plugin-dir="$copy/.terraform/providers")
    "$terraform" init -backend=false -input=false -no-color "${from[@]}"
}

validate() {
    init && "$terraform" validate -no-color
}

run_tests() {
    local out=$copy/logs/.out.$BASHPID rc=0
    "$terraform" test -no-color "$@" >"$out" 2>&1 || rc=$?
    cat "$out"
    # A folder without tests is a success to Terraform.
    if [ "$rc" -eq 0 ] && ! grep --quiet --extended-regexp '^Success! [1-9][0-9]* passed' "$out"; then
        echo "no test has run"
        rc=1
    fi
    return "$rc"
}

# A configuration of its own, with its tests beside it.
example() {
    validate && run_tests -test-directory=.
}

# A file of variables for the stack: the names are declared, and its tests pass.
profile() {
    local name=$1
    shift
    /usr/bin/python3 "$scripts/terraform_readmes.py" --variables variables.tf \
        "examples/$name/terraform.tfvars" &&
        run_tests -test-directory="examples/$name" -var-file="examples/$name/terraform.tfvars"
}

scripts=$PWD/scripts
slots=$(nproc)
rm -rf "$copy"
mkdir -p build
cp -R terraform "$copy"
find "$copy" \( -name .terraform -o -name .terraform.lock.hcl -o -name '*.tfstate*' \) \
    -prune -exec rm -rf {} +
mkdir "$copy/logs"

job format . "$terraform" fmt -check -diff -recursive
job READMEs . /usr/bin/python3 "$scripts/terraform_readmes.py"
if [ -z "${TERRAFORM:-}" ] && ! (cd "$copy" && init) >"$copy/logs/init" 2>&1 &&
    grep --quiet 'Failed to query available provider packages' "$copy/logs/init"; then
    echo "terraform: skipped the rest, the registry of providers is out of reach"
    exit "$([ -e "$copy/logs/failed" ] && echo 1 || echo 0)"
fi
job "validate ." . validate
# The stack is initialised now; the rest can run side by side.  Modules are validated where they are
# called: by the stack, and by an example.
for file in terraform/tests/*.tftest.hcl; do
    file=$(basename "$file")
    beside "tests/${file%.tftest.hcl}" . run_tests -filter="tests/$file"
done
for folder in terraform/examples/*/; do
    name=$(basename "$folder")
    if [ -e "$folder/main.tf" ]; then
        beside "examples/$name" "examples/$name" example
    else
        beside "examples/$name" . profile "$name"
    fi
done
wait

if [ -e "$copy/logs/failed" ]; then
    echo "terraform: failed: $(paste -s -d, "$copy/logs/failed") ($((SECONDS - began)) s)"
    exit 1
fi
runs=$(sed -n 's/^Success! \([0-9]*\) passed.*/\1/p' "$copy"/logs/* |
    awk '{ n += $1 } END { print n }')
echo "terraform: format, READMEs, configurations and $runs test runs are good ($((SECONDS - began)) s)"
