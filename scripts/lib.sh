# shellcheck shell=bash
# shellcheck disable=SC2034 # Its variables are for those who source it.
#
# Sourced by the other scripts: where things are, who runs what, and how they speak.
#
# Cargo runs as the person who called (under `sudo make`, as whoever called sudo, so that target/
# stays theirs); what needs the kernel's trust runs as root.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}

builder=$(id -un)
if [ "$EUID" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$(stat -c %U "$root")" = "$SUDO_USER" ]; then
    builder=$SUDO_USER
fi
builder_home=$(getent passwd "$builder" | cut -d: -f6)
[ "$builder" != "$(id -un)" ] || builder_home=${HOME:-$builder_home}

# A login shell of Debian's has no sbin; a shell older than the Rust installation has no ~/.cargo/bin.
# What we build for ourselves (cargo-deny, say) is in target/tools.
export PATH="$target/tools/bin:$PATH:${CARGO_HOME:-$builder_home/.cargo}/bin:/usr/local/sbin:/usr/sbin:/sbin"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' plain=''
fi

say() { printf '%s\n' "$*"; }
step() { printf '%s\n' "$bold==>$plain $*"; }
warn() { printf '%s\n' "${red}warning:$plain $*" >&2; }
die() {
    printf '%s\n' "${red}error:$plain $*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: directly, or through sudo.
as_root() {
    if [ "$EUID" -eq 0 ]; then
        "$@"
    elif has sudo; then
        # sudo has a PATH of its own.
        sudo -- env "PATH=$PATH" "$@"
    else
        die "this needs root, and there is no sudo here: run it as root ($*)"
    fi
}

# as_builder COMMAND…: as whoever the checkout belongs to.
as_builder() {
    if [ "$builder" = "$(id -un)" ]; then
        command "$@"
    else
        local keep=("PATH=$PATH" "HOME=$builder_home") name
        for name in CI NO_COLOR TERM RUSTFLAGS RUSTDOCFLAGS CARGO_TARGET_DIR CARGO_TERM_COLOR \
            BPFGATE_WRITE_DOCS BPFGATE_TEST_SEED; do
            [ -z "${!name+x}" ] || keep+=("$name=${!name}")
        done
        sudo -u "$builder" -- env "${keep[@]}" "$@"
    fi
}

cargo() { as_builder cargo "$@"; }

# In CI the lock file is law.
locked=()
[ "${CI:-}" != true ] || locked=(--locked)

# What cargo starts (tests, benchmarks) runs as root, though cargo does not.
run_as_root=()
if [ "$builder" != root ]; then
    run_as_root=(--config "target.'cfg(all())'.runner = ['$root/scripts/as-root.sh']")
fi
