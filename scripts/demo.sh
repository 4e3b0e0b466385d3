#!/usr/bin/env bash
# The whole path, in view: a program counts packets in the kernel, and a user without any rights
# reads and watches the counts through the agent. Ends with 0 only if every number is the one sent
# and nothing is left behind.
#
# Runs in a network namespace of its own, with a loopback of its own: nobody else's packets are in
# the counts, and the host's network is not touched.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

UDP=17
ICMP=1
TCP=6

main() {
    step "Building"
    # Unoptimised: nothing here takes long enough to make up for the compiler's time.
    cargo build "${locked[@]}" -p bpfgate-server -p bpfgate-cli -p bpfgate-tests --bins
    as_root unshare --net -- "$root/scripts/demo.sh" --inside "$target/debug"
}

# ---- In the namespace, as root -------------------------------------------------------------------

inside() {
    local binaries=$1
    started=$SECONDS
    # Where nobody can reach it: home directories are often closed to others.
    work=$(mktemp -d /tmp/bpfgate-demo.XXXXXX)
    agent=''
    traffic=()
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    chmod 755 "$work"
    install -d "$work/bin"
    install "$binaries"/{bpfgated,bpfgate,bpfgate-traffic} "$work/bin/"
    export PATH=$work/bin:$PATH
    export BPFGATE_ENDPOINT=unix:$work/run/bpfgate.sock
    exec 3>&1
    ip link set lo up

    say "${bold}bpfgate: packets counted in the kernel, read by a user without rights$plain"
    start_the_agent
    load_and_attach
    give_up_every_right
    look_send_look
    dump
    watch
    leave_nothing_behind

    say
    say "$green$bold✔$plain $counted_packets UDP packets with $counted_bytes bytes sent, as many counted;" \
        "nothing left behind; $((SECONDS - started)) seconds."
}

start_the_agent() {
    title "Start the agent, the one process with rights"
    local group
    group=$(id -gn nobody)
    show "bpfgated --runtime-dir $work/run --socket-group $group &"
    bpfgated --runtime-dir "$work/run" --socket-group "$group" >"$work/agent.log" 2>&1 &
    agent=$!
    local deadline=$((SECONDS + 15))
    until bpfgate agent show >/dev/null 2>&1; do
        kill -0 "$agent" 2>/dev/null || die "the agent ended: $(tail -n 3 "$work/agent.log")"
        [ "$SECONDS" -lt "$deadline" ] || die "the agent does not answer"
        sleep 0.1
    done
    say "listening on a socket with mode $(stat -c '%A, owner %U, group %G' "$work/run/bpfgate.sock")"
}

load_and_attach() {
    title "Load proto-counters and attach it to the loopback interface"
    run bpfgate object load demo --builtin proto-counters
    local object program
    object=$(bpfgate -o json object show demo)
    program=$(jq -r '.programs[0].name' <<<"$object")
    run bpfgate link attach "$program" --socket lo
    # To look for them when it is over.
    program_ids=$(jq -c '[.programs[].id]' <<<"$object")
    map_ids=$(bpfgate -o json map list 'demo/*' | jq -c '[.[].id]')
    [ "$(jq -cn "\$program_ids + \$map_ids | length" --argjson program_ids "$program_ids" \
        --argjson map_ids "$map_ids")" -eq 3 ] || die "expected one program and two maps"
}

give_up_every_right() {
    title "From here on: nobody, with no capability, who may not call bpf(2)"
    show "setpriv --reuid nobody --regid $(id -gn nobody) --clear-groups --bounding-set -all …"
    as_nobody sh -c 'id; grep CapBnd /proc/self/status'
    show bpfgate-traffic bpf-attempt
    as_nobody bpfgate-traffic bpf-attempt || die "bpf(2) was not refused"
    pass "the kernel refuses, with EPERM"
    as_nobody_run bpfgate agent whoami
}

look_send_look() {
    title "Look up the counts for UDP, protocol $UDP, send packets, and look again"
    as_nobody_run bpfgate map lookup demo/stats $UDP
    local before sent4 sent6 after
    before=$(counts $UDP)

    sent4=$(send udp --count 250 --payload 64)
    sent6=$(send udp --to ::1 --count 50 --payload 1200)
    send tcp --bytes 100000 >/dev/null
    send ping --count 10 >"$work/ping.json"
    say "On the link: 250 × (14 Ethernet + 20 IPv4 + 8 UDP + 64) and 50 × (14 + 40 IPv6 + 8 + 1,200) bytes"

    as_nobody_run bpfgate map lookup demo/stats $UDP
    after=$(counts $UDP)
    counted_packets=0 counted_bytes=0
    expect "$before" "$after" "$(printf '%s\n%s\n' "$sent4" "$sent6" | sum)" "UDP"
    expect '{"packets":0,"bytes":0}' "$(counts $ICMP)" "$(sum <"$work/ping.json")" \
        "ICMP, requests and replies"
}

dump() {
    title "Dump the whole map: what is not zero"
    show "bpfgate map dump demo/by_proto | awk 'NR == 1 || \$2 > 0'"
    as_nobody bpfgate map dump demo/by_proto >"$work/dump"
    awk 'NR == 1 || $2 > 0' "$work/dump"
    local tcp
    tcp=$(counts $TCP | jq .bytes)
    [ "$tcp" -gt 100000 ] || die "only $tcp bytes of TCP were counted"
    [ "$(wc -l <"$work/dump")" -eq 257 ] || die "the dump does not have 256 entries"
    pass "256 entries read, TCP's among them with more than the 100,000 bytes it carried"
}

watch() {
    title "Watch the counts live while packets flow"
    local before sender
    before=$(counts $UDP)
    waves >"$work/udp.json" &
    traffic+=($!)
    for _ in 1 2 3 4 5; do
        bpfgate-traffic tcp --bytes 20000
        bpfgate-traffic ping --count 5
        sleep 0.9
    done >/dev/null &
    traffic+=($!)
    as_nobody_run bpfgate watch counters demo/stats --interval 500ms --duration 6s
    for sender in "${traffic[@]}"; do
        wait "$sender" || die "the traffic ended early"
    done
    traffic=()
    expect "$before" "$(counts $UDP)" "$(sum <"$work/udp.json")" "UDP during the watch"

    local watched
    watched=$(as_nobody bpfgate -o jsonl watch counters demo/stats --once |
        jq -nc --arg key $UDP '[inputs | select(.labels.key == $key) | {(.field): (.value | tonumber)}] | add')
    [ "$watched" = "$(counts $UDP)" ] || die "a watch says $watched where a lookup says $(counts $UDP)"
}

# UDP that swells and ebbs, some 700 milliseconds at each pace; a report for each.
waves() {
    local pause
    for pause in 40 20 10 5 10 20 40; do
        bpfgate-traffic udp --count $((700 / pause)) --payload 200 --every-ms "$pause"
    done
}

leave_nothing_behind() {
    title "Unload the program, stop the agent, look for what is left"
    run bpfgate object unload demo
    show "kill -TERM \$agent"
    kill -TERM "$agent"
    local status=0
    wait "$agent" || status=$?
    agent=''
    [ "$status" -eq 0 ] || die "the agent ended with $status: $(tail -n 3 "$work/agent.log")"
    [ ! -e "$work/run/bpfgate.sock" ] || die "the socket is still there"

    # The kernel frees in its own time, some of it after an RCU grace period.
    local left deadline=$((SECONDS + 5))
    while left=$(loaded_still) || die "could not ask the kernel what is left"; [ -n "$left" ]; do
        [ "$SECONDS" -lt "$deadline" ] || die "still in the kernel: $left"
        sleep 0.1
    done
    rm -rf "$work"
    [ ! -e "$work" ] || die "$work is still there"
    pass "no program, no map, no socket, no file"
}

# What of the demo's the kernel still has.
loaded_still() {
    bpfgate-traffic bpf-ids | jq -r --argjson programs "$program_ids" --argjson maps "$map_ids" '
        (.programs - (.programs - $programs) | map("program \(.)")) +
        (.maps - (.maps - $maps) | map("map \(.)")) | join(", ")'
}

# However we end.
clean_up() {
    local status=$?
    trap '' INT TERM HUP
    [ ${#traffic[@]} -eq 0 ] || kill "${traffic[@]}" 2>/dev/null || true
    if [ -n "$agent" ]; then
        kill -TERM "$agent" 2>/dev/null || true
        timeout 15 tail --pid="$agent" -f /dev/null || kill -KILL "$agent" 2>/dev/null || true
        if [ "$status" -ne 0 ] && [ "$status" -lt 128 ] && [ -s "$work/agent.log" ]; then
            say "The agent's last words:" >&2
            tail -n 20 "$work/agent.log" >&2
        fi
    fi
    rm -rf "$work"
    if [ "$status" -ne 0 ]; then
        say >&2
        say "${red}✘$plain The demo did not get to its end. What it had loaded is unloaded." >&2
    fi
    exit "$status"
}

# ---- Counting ------------------------------------------------------------------------------------

# send WHAT…: traffic; the report of it is all that goes to stdout.
send() {
    show "bpfgate-traffic $*" >&3
    bpfgate-traffic "$@"
}

# Packets and bytes of several reports together.
sum() { jq -sc '{packets: (map(.packets) | add), bytes: (map(.bytes) | add)}'; }

# counts PROTOCOL: packets and bytes so far, as numbers, read by nobody.
counts() {
    as_nobody bpfgate -o json map lookup demo/stats "$1" |
        jq -c '.value | map_values(tonumber)'
}

# expect BEFORE AFTER SENT WHAT: that the difference is what was sent, to the byte.
expect() {
    local packets bytes sent_packets sent_bytes
    read -r packets bytes sent_packets sent_bytes < <(
        jq -rn --argjson before "$1" --argjson after "$2" --argjson sent "$3" '
            "\($after.packets - $before.packets) \($after.bytes - $before.bytes) " +
            "\($sent.packets) \($sent.bytes)"'
    )
    [ "$packets $bytes" = "$sent_packets $sent_bytes" ] ||
        die "$4: sent $sent_packets packets with $sent_bytes bytes, counted $packets with $bytes"
    pass "$4: sent $sent_packets packets with $sent_bytes bytes, counted $packets with $bytes"
    if [[ $4 == UDP* ]]; then
        counted_packets=$((counted_packets + packets))
        counted_bytes=$((counted_bytes + bytes))
    fi
}

# ---- Showing -------------------------------------------------------------------------------------

number=0
title() {
    number=$((number + 1))
    say
    say "$bold$number  $*$plain"
}

show() { say "$dim\$ $*$plain"; }
pass() { say "$green✓$plain $*"; }

run() {
    show "$*"
    "$@"
}

as_nobody() {
    setpriv --reuid nobody --regid "$(id -gn nobody)" --clear-groups --no-new-privs \
        --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@"
}

as_nobody_run() {
    show "$*"
    as_nobody "$@"
}

if [ "${1:-}" = --inside ]; then
    inside "$2"
else
    main
fi
