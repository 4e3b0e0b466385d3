#!/usr/bin/env bash
# Runs the benchmarks of the performance contract; they print a table and write bench/report.json
# into the target directory.
#   scripts/bench.sh [ARGUMENTS FOR cargo bench] [-- GROUP…]
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

step "Building with optimisation: some minutes the first time"
cargo build "${locked[@]}" --release -p bpfgate-server -p bpfgate-cli
cargo "${run_as_root[@]}" bench "${locked[@]}" -p bpfgate-tests --bench bench "$@"
