//! What `make test` and `make demo` set up, in mount namespaces that lack it.

use std::process::Command;

use bpfgate_tests::{Output, run};

const MOUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/mounts.sh");

/// Runs a script in a mount namespace of its own, with `$mounts` to call.
fn alone(script: &str) -> Output {
    let mut command = Command::new("unshare");
    run(command.args(["--mount", "sh", "-euc", script]).env("mounts", MOUNTS)).ok()
}

#[test]
fn file_systems_that_are_missing_are_mounted_once_and_with_a_reason() {
    let without_any = "umount -a -t bpf,tracefs,debugfs,cgroup2";
    let without_cgroups = format!("{without_any}; umount -R /sys/fs/cgroup 2>/dev/null || true");
    let hidden = format!(
        "{without_cgroups}; mount -t bpf bpf /sys/fs/bpf; mount -t tmpfs tmpfs /sys/fs/bpf"
    );
    for hide in [without_any, &without_cgroups, &hidden] {
        let said = alone(&format!(
            "{hide}; $mounts; echo again; $mounts; echo there:
            stat -f -c %T /sys/fs/bpf /sys/kernel/tracing
            awk '$3 == \"cgroup2\" {{ print $2 }}' /proc/self/mounts | xargs stat -f -c %T"
        ));
        assert_eq!(said.stderr, "", "{hide}");
        let (first, rest) = said.stdout.split_once("again\n").expect("both runs");
        assert_eq!(rest, "there:\nbpf_fs\ntracefs\ncgroup2fs\n", "{hide}");
        for (kind, reason) in [
            ("bpf on /sys/fs/bpf", "pins programs and maps"),
            ("tracefs on /sys/kernel/tracing", "lists tracepoints"),
            ("cgroup2 on /sys/fs/cgroup", "groups of processes"),
        ] {
            let line = first.lines().find(|line| line.contains(kind));
            assert!(line.is_some_and(|line| line.contains(reason)), "{kind}: {first}");
        }
        assert_eq!(first.lines().count(), 3, "{first}");
    }
}

#[test]
fn a_file_system_that_cannot_be_mounted_is_told_and_stops_nothing() {
    // Without the directory there is no place for it.
    let said =
        alone("umount -a -t bpf,tracefs,debugfs,cgroup2; mount -t tmpfs tmpfs /sys/fs; $mounts");
    assert!(said.stderr.contains("could not mount bpf; what needs it will say so"), "{said:?}");
    assert!(said.stdout.contains("Mounting tracefs on /sys/kernel/tracing"), "{said:?}");
}
