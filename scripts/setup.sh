#!/usr/bin/env bash
# Finds what a target of the Makefile needs and this machine lacks, and installs it: Debian 12 and
# Ubuntu 24.04 through apt, saying what and why. Elsewhere it says what to install. With nothing
# missing it says nothing, asks no server and needs no rights.
#   scripts/setup.sh build|kernel-test|demo|check…
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

rustup_version=1.28.2
declare -A rustup_sha256=(
    [x86_64]=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
    [aarch64]=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c
)
rust_channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
cargo_deny_version=0.20.2

missing=() # packages, as Debian calls them
reasons=() # one each

# need PACKAGE REASON PROBE…: PACKAGE is missing if PROBE fails. The first reason stands.
need() {
    local package=$1 reason=$2
    shift 2
    if [[ " ${missing[*]} " != *" $package "* ]] && ! "$@" >/dev/null 2>&1; then
        missing+=("$package")
        reasons+=("$reason")
    fi
}

main() {
    local part
    for part in "$@"; do
        case $part in
        build) need_for_build ;;
        kernel-test) need_for_kernel_test ;;
        demo) need_for_demo ;;
        check) ;;
        *) die "setup: there is nothing called $part" ;;
        esac
    done
    install_missing
    ensure_rust

    for part in "$@"; do
        case $part in
        kernel-test)
            ensure_bpftool
            scripts/mounts.sh
            ensure_python
            ;;
        demo) scripts/mounts.sh ;;
        check)
            ensure_linters
            ensure_cargo_deny
            ;;
        esac
    done
}

# ---- What each part needs -----------------------------------------------------------------------

need_for_build() {
    need gcc "links the Rust programs" has cc
    need libc6-dev "what they are linked with" c_header stdlib.h
    need clang "compiles the built-in eBPF programs" has clang
    need libbpf-dev "headers of the eBPF programs" test -e /usr/include/bpf/bpf_helpers.h
    need linux-libc-dev "the kernel's own headers" test -e /usr/include/linux/bpf.h
    need ca-certificates "trusts the servers that crates come from" has_certificates
    if ! rust_is_there; then
        need curl "fetches the Rust installer" has curl
    fi
}

need_for_kernel_test() {
    need iproute2 "network namespaces and veth pairs" has ip
    need bpftool "a second opinion on every map" works_as_bpftool bpftool
    need python3-venv "a gRPC client in another language" python3 -c 'import venv, ensurepip'
}

need_for_demo() {
    need iproute2 "a network namespace for the demo" has ip
    need jq "reads the command line's JSON" has jq
    need util-linux "setpriv gives up every right" has setpriv
}

c_header() { echo "#include <$1>" | cc -xc -E -; }

has_certificates() {
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
        [ -n "${SSL_CERT_FILE:-}" ]
}

# Ubuntu's bpftool is a script that looks for one built with the running kernel.
works_as_bpftool() { "$1" version; }

# ---- Packages -----------------------------------------------------------------------------------

install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    local name i
    name=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)
    if ! has apt-get; then
        warn "missing on this $name; the names are Debian's:"
        list_missing >&2
        die "install them with your package manager, then run make again"
    fi

    step "Installing what is missing on this $name"
    list_missing
    apt_get update || warn "apt-get update failed; trying with the package lists that are here"
    local packages=()
    for i in "${!missing[@]}"; do
        mapfile -t -O "${#packages[@]}" packages < <(as_this_system_calls "${missing[i]}")
    done
    apt_get install -y --no-install-recommends "${packages[@]}" ||
        die "apt-get could not install ${packages[*]}"
}

# apt-get without questions, and without a word unless it fails.
apt_get() {
    local output
    output=$(as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 "$@" 2>&1 </dev/null) || {
        printf '%s\n' "$output" >&2
        return 1
    }
}

list_missing() {
    local i
    for i in "${!missing[@]}"; do
        printf '    %-16s %s\n' "${missing[i]}" "${reasons[i]}"
    done
}

# Whether apt can install it: Debian knows the names of packages it does not have.
has_package() { [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[!\(]* ]]; }

# A package's names here, one a line.
as_this_system_calls() {
    if [ "$1" != bpftool ] || has_package bpftool; then
        echo "$1"
        return
    fi
    # Ubuntu 24.04 ships bpftool with the tools of each kernel.
    echo linux-tools-common
    if has_package "linux-tools-$(uname -r)"; then
        echo "linux-tools-$(uname -r)"
    else
        echo linux-tools-generic
    fi
}

# Where the running kernel is none of Ubuntu's, its script finds nothing: use any that was installed.
ensure_bpftool() {
    local tool
    works_as_bpftool bpftool >/dev/null 2>&1 && return
    for tool in /usr/lib/linux-tools/*/bpftool /usr/lib/linux-tools-*/bpftool; do
        if works_as_bpftool "$tool" >/dev/null 2>&1; then
            as_builder mkdir -p "$target/tools/bin"
            as_builder ln -sf "$tool" "$target/tools/bin/bpftool"
            return
        fi
    done
    die "bpftool is installed but does not run on kernel $(uname -r)"
}

# ---- Rust ---------------------------------------------------------------------------------------

# Through rustup, or a cargo of the distribution's that is new enough.
rust_is_there() { has_rustup || cargo_is_new_enough; }

# Not by asking rustup: it would first install the toolchain, without a word.
has_rustup() { as_builder sh -c 'command -v rustup' >/dev/null; }

cargo_is_new_enough() {
    local version
    version=$(cargo --version 2>/dev/null | cut -d' ' -f2) && [ -n "$version" ] &&
        printf '%s\n' "$rust_channel" "$version" | sort --check=quiet --version-sort
}

ensure_rust() {
    if ! rust_is_there; then
        install_rustup
    fi
    if has_rustup; then
        ensure_toolchain
    fi
}

install_rustup() {
    if has apt-get && has_package rustup; then
        step "Installing the package rustup: it installs Rust $rust_channel, which compiles bpfgate"
        apt_get install -y --no-install-recommends rustup || die "apt-get could not install rustup"
        return
    fi

    local machine installer
    machine=$(uname -m)
    [ -n "${rustup_sha256[$machine]:-}" ] ||
        die "no Rust $rust_channel or newer here, and no installer for $machine: see https://rustup.rs"
    step "Installing rustup $rustup_version from rust-lang.org into $builder_home/.cargo:" \
        "it installs Rust $rust_channel, which compiles bpfgate"
    installer=$(mktemp -d)
    chmod 755 "$installer"
    curl --proto '=https' --tlsv1.2 -sSfL --retry 3 -o "$installer/rustup-init" \
        "https://static.rust-lang.org/rustup/archive/$rustup_version/$machine-unknown-linux-gnu/rustup-init" ||
        die "could not fetch the Rust installer; install Rust $rust_channel in another way and run make again"
    echo "${rustup_sha256[$machine]}  $installer/rustup-init" | sha256sum --check --quiet ||
        die "the Rust installer that arrived is not the one expected"
    chmod 755 "$installer/rustup-init"
    as_builder "$installer/rustup-init" -y -q --no-modify-path --profile minimal \
        --default-toolchain none >/dev/null
    rm -rf "$installer"
}

ensure_toolchain() {
    local have
    have=$(as_builder rustup toolchain list)
    if grep -q "^$rust_channel-" <<<"$have"; then
        have=$(as_builder rustup component list --toolchain "$rust_channel" --installed)
        grep -q '^clippy' <<<"$have" && grep -q '^rustfmt' <<<"$have" && return
    fi
    step "Installing Rust $rust_channel with its linter and formatter (rust-toolchain.toml)"
    as_builder rustup -q toolchain install "$rust_channel" --profile minimal \
        --component clippy --component rustfmt --no-self-update >/dev/null
}

# ---- For the kernel tests -----------------------------------------------------------------------

# A client in Python finds out by reflection what the agent offers.
ensure_python() {
    local venv=$target/venv
    [ -e tests/requirements.txt ] || return 0
    # A venv breaks when the Python that it was made with goes.
    cmp -s tests/requirements.txt "$venv/installed.txt" &&
        as_builder "$venv/bin/python" -c 'import grpc' >/dev/null 2>&1 && return
    step "Installing a Python gRPC client into $venv: a test calls the agent from another language"
    if as_builder python3 -m venv --clear "$venv" &&
        as_builder "$venv/bin/pip" -q --disable-pip-version-check install -r tests/requirements.txt; then
        as_builder cp tests/requirements.txt "$venv/installed.txt"
    else
        warn "could not install it: the test that needs it will say so"
    fi
}

# ---- For the checks -----------------------------------------------------------------------------

# rustup has brought them; a distribution's cargo may come without.
ensure_linters() {
    local tool
    for tool in clippy fmt; do
        cargo "$tool" --version >/dev/null 2>&1 || die "this cargo has no \`cargo $tool\`: install it too"
    done
}

ensure_cargo_deny() {
    cargo deny --version >/dev/null 2>&1 && return
    step "Building cargo-deny $cargo_deny_version into $target/tools: it checks licences and advisories"
    # It runs for a second: compiled without optimisation it is ready in half the time.
    CARGO_TARGET_DIR=$target/tools/build cargo install --quiet --locked --debug \
        --config profile.dev.debug=0 --root "$target/tools" --version "$cargo_deny_version" cargo-deny
    as_builder rm -rf "$target/tools/build"
}

main "$@"
