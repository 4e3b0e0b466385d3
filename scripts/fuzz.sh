#!/usr/bin/env bash
# Runs the fuzzers, each for some seconds (FUZZ_SECONDS, 10), beginning with its corpus in
# fuzz/corpus. What breaks one is kept in fuzz/artifacts and makes this fail.
#   scripts/fuzz.sh [FUZZER…]
# What they want to hold is in tests/fuzz; `make test` replays the corpora there.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${FUZZ_SECONDS:-10}
targets=("$@")
if [ $# -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

# What `cargo fuzz --sanitizer none` passes too, and a stable compiler takes: count which edges
# and comparisons an input reaches.
coverage="--cfg fuzzing -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
export CARGO_TARGET_DIR=$target/fuzz
machine=$(rustc -vV | sed -n 's/^host: //p')

step "Building the fuzzers: some minutes the first time"
RUSTFLAGS=$coverage cargo build "${locked[@]}" --release --manifest-path fuzz/Cargo.toml --target "$machine"

status=0
mkdir -p fuzz/artifacts
for name in "${targets[@]}"; do
    step "Fuzzing $name for $seconds s"
    # New finds go to the target directory; what is worth keeping is moved by hand.
    finds=$CARGO_TARGET_DIR/corpus/$name
    mkdir -p "$finds"
    "$CARGO_TARGET_DIR/$machine/release/$name" "$finds" "fuzz/corpus/$name" -close_fd_mask=0 \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$name-" || status=1
done
exit $status
