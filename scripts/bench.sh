#!/usr/bin/env bash
# Runs the benchmarks of the performance contract; they print a table and write bench/report.json
# into the target directory.
#   scripts/bench.sh [ARGUMENTS FOR cargo bench]
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

step "Building with optimisation: some minutes the first time"
cargo build "${locked[@]}" --release --workspace --bins
cargo "${run_as_root[@]}" bench "${locked[@]}" -p bpfgate-tests --bench '*' "$@"
