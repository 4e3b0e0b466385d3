#!/usr/bin/env bash
# Runs every test: units, integration, documentation, and end to end on the running kernel.
#   scripts/test.sh [ARGUMENTS FOR cargo test OR cargo nextest run]
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ "$builder" = root ] || step "The tests run as root (sudo): they load programs into the kernel"
arguments=("$@")
[ $# -gt 0 ] || arguments=(--workspace)

# The end-to-end tests start these as a user would.
cargo build "${locked[@]}" --workspace --bins

# One failure does not hide the next.
status=0
if cargo nextest --version >/dev/null 2>&1; then
    profile=default
    [ "${CI:-}" != true ] || profile=ci
    step "Tests"
    cargo "${run_as_root[@]}" nextest run "${locked[@]}" --profile "$profile" "${arguments[@]}" ||
        status=$?
    if [ $# -eq 0 ]; then
        step "Documentation tests"
        cargo "${run_as_root[@]}" test "${locked[@]}" --workspace --doc || status=$?
    fi
else
    step "Tests"
    cargo "${run_as_root[@]}" test "${locked[@]}" --no-fail-fast "${arguments[@]}" || status=$?
fi
exit "$status"
