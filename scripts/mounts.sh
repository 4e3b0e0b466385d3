#!/usr/bin/env bash
# Mounts the file systems that the tests and the demo go through, where they are not mounted:
# says what and why, and nothing if they are there.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

main() {
    is_there bpf_fs /sys/fs/bpf ||
        mount_it bpf /sys/fs/bpf "pins programs and maps"
    # The agent looks in both places. Debian's debugfs has it, and mounts it at the first look.
    is_there tracefs /sys/kernel/tracing || is_there tracefs /sys/kernel/debug/tracing ||
        mount_it tracefs /sys/kernel/tracing "lists tracepoints"
    has_cgroup2 || mount_cgroup2
}

# is_there TYPE WHERE: by what answers at the path. findmnt would not do: asked for a type alone it
# exits with 0 whether there is one or not, and it lists what another mount hides.
is_there() { [ "$(stat -f -c %T "$2" 2>/dev/null)" = "$1" ]; }

has_cgroup2() {
    local where kind
    while read -r _ where kind _; do
        [ "$kind" != cgroup2 ] || ! is_there cgroup2fs "$where" || return 0
    done </proc/self/mounts
    return 1
}

# Where systemd has it: alone, or beside the hierarchies of cgroup v1.
mount_cgroup2() {
    local where=/sys/fs/cgroup
    if is_there tmpfs "$where"; then
        where=$where/unified
        as_root mkdir -p "$where" || true
    fi
    mount_it cgroup2 "$where" "has groups of processes to attach programs to"
}

mount_it() {
    local kind=$1 where=$2 reason=$3
    step "Mounting $kind on $where: it $reason"
    as_root mount -t "$kind" "$kind" "$where" ||
        warn "could not mount $kind; what needs it will say so"
}

main
