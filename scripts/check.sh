#!/usr/bin/env bash
# Everything that can be judged without running the code.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

step "Formatting"
cargo fmt --all --check
# The fuzzers are a workspace of their own, with a lock file that has to follow this one.
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo metadata "${locked[@]}" --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null

step "Lints"
cargo clippy "${locked[@]}" --workspace --all-targets -- -D warnings

step "Documentation"
export RUSTDOCFLAGS="-D warnings"
cargo doc "${locked[@]}" --workspace --no-deps --document-private-items --quiet

step "Shell scripts"
for script in scripts/*.sh .ci/run; do
    bash -n "$script"
done
if has shellcheck; then
    shellcheck -x scripts/*.sh .ci/run
fi

step "Licences, duplicates and sources of dependencies"
cargo deny --log-level error check --hide-inclusion-graph licenses bans sources

# The only check that asks somebody else's server each time, and the only one that a network
# without github.com has to do without.
step "Known vulnerabilities"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if timeout 120 cargo deny fetch db >"$log" 2>&1; then
    cargo deny --log-level error check --hide-inclusion-graph --disable-fetch advisories
else
    warn "NOT checked: the advisory database could not be fetched from github.com"
    grep -m 1 '^fatal' "$log" >&2 || true
fi
