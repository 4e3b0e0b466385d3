#!/usr/bin/env bash
# Installs the agent, the command line with its completions, and a systemd unit; or removes them.
#   scripts/install.sh [--remove]
# From the environment, as make takes them:
#   PREFIX   where to (/usr/local)      DESTDIR  in front of that, for packages: no group, no systemd
#   PROFILE  what to build (release)    BUILT    a directory with both binaries, instead of building
#   UNITDIR  where the unit goes (PREFIX/lib/systemd/system)
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

prefix=${PREFIX:-/usr/local}
destdir=${DESTDIR:-}
unit_dir=${UNITDIR:-$prefix/lib/systemd/system}
group=bpfgate

bin=$destdir$prefix/bin
share=$destdir$prefix/share
unit=$destdir$unit_dir/bpfgated.service
bash_completion=$share/bash-completion/completions/bpfgate
zsh_completion=$share/zsh/site-functions/_bpfgate
fish_completion=$share/fish/vendor_completions.d/bpfgate.fish

[[ $prefix == /* ]] || die "PREFIX has to begin with /: $prefix"

# run COMMAND…: as root where the files go to the running system.
run() {
    if [ -n "$destdir" ]; then "$@"; else as_root "$@"; fi
}

# Whether this system's systemd is to be told.
has_systemd() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

build() {
    built=${BUILT:-}
    if [ -z "$built" ]; then
        local profile=${PROFILE:-release}
        step "Building (profile $profile)"
        cargo build "${locked[@]}" --profile "$profile" -p bpfgate-server -p bpfgate-cli --bins
        built=$target/$profile
        [ "$profile" != dev ] || built=$target/debug
    fi
    [ -x "$built/bpfgated" ] && [ -x "$built/bpfgate" ] || die "no bpfgated and bpfgate in $built"
}

install_all() {
    build
    local made
    made=$(mktemp -d)
    # shellcheck disable=SC2064 # As it is now.
    trap "rm -rf '$made'" EXIT
    sed "s|@PREFIX@|$prefix|g" deploy/bpfgated.service >"$made/unit"
    local shell
    for shell in bash zsh fish; do
        "$built/bpfgate" completions "$shell" >"$made/$shell"
    done

    step "Installing into $destdir$prefix"
    # Beside the old one and then over it: a running agent keeps its file.
    run install -D -m 755 "$built/bpfgated" "$bin/bpfgated"
    run install -D -m 755 "$built/bpfgate" "$bin/bpfgate"
    run install -D -m 644 "$made/bash" "$bash_completion"
    run install -D -m 644 "$made/zsh" "$zsh_completion"
    run install -D -m 644 "$made/fish" "$fish_completion"
    run install -D -m 644 "$made/unit" "$unit"
    printf '    %s\n' "$bin/bpfgated" "$bin/bpfgate" "$bash_completion" "$zsh_completion" \
        "$fish_completion" "$unit"
    [ -z "$destdir" ] || return 0

    if ! getent group "$group" >/dev/null; then
        step "Making the group $group: its members may connect to the agent, which is as much as root"
        run groupadd --system "$group"
    fi
    if has_systemd; then
        run systemctl daemon-reload
        say "Start it with      systemctl enable --now bpfgated"
    else
        say "Start it with      bpfgated"
    fi
    say "Let somebody in    usermod -aG $group USER"
}

remove_all() {
    if has_systemd && [ -e "$unit" ]; then
        run systemctl disable --now bpfgated.service
    fi
    step "Removing from $destdir$prefix"
    run rm -f "$bin/bpfgated" "$bin/bpfgate" "$bash_completion" "$zsh_completion" \
        "$fish_completion" "$unit"
    if has_systemd; then
        run systemctl daemon-reload
    fi
    if [ -z "$destdir" ] && getent group "$group" >/dev/null; then
        say "The group $group stays, with its members: groupdel $group removes it"
    fi
}

case ${1:-} in
'') install_all ;;
--remove) remove_all ;;
*) die "install: there is nothing called $1" ;;
esac
