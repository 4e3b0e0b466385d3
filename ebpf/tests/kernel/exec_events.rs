//! `exec-events`: a record for each program that starts, or a count of those that were lost.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::bpftool::Object;
use crate::sandbox::{self, Sandbox, command};
use crate::sys::{self, Ring};
use crate::tiny_elf;

const RING_BYTES: usize = 512 * 1024;
/// `struct exec_event`, and the header that the ring puts before it.
const RECORD_BYTES: usize = 552;
const HEADER_BYTES: usize = 8;

/// `struct exec_event`.
#[derive(Debug, PartialEq)]
struct Event {
    ts_ns: u64,
    pid: u32,
    ppid: u32,
    uid: u32,
    comm: String,
    filename: String,
    args: String,
}

impl Event {
    fn parse(record: &[u8]) -> Self {
        assert_eq!(record.len(), RECORD_BYTES);
        let word = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().expect("4 bytes"));
        let text = |bytes: &[u8]| {
            let text = CStr::from_bytes_until_nul(bytes).expect("a NUL");
            let rest = &bytes[text.count_bytes()..];
            assert!(rest.iter().all(|byte| *byte == 0), "what an older record left");
            text.to_str().expect("text").to_owned()
        };
        Self {
            ts_ns: u64::from_ne_bytes(record[..8].try_into().expect("8 bytes")),
            pid: word(8),
            ppid: word(12),
            uid: word(16),
            comm: text(&record[20..36]),
            filename: text(&record[36..292]),
            args: text(&record[292..548]),
        }
    }
}

fn attach(sandbox: &Sandbox) -> (Object, OwnedFd, Ring) {
    let object = sandbox.load("exec-events");
    let program = sys::open_pin(&object.program_path("record_exec")).expect("the program");
    let id = fs::read_to_string("/sys/kernel/tracing/events/sched/sched_process_exec/id");
    let id = id.expect("the tracepoint").trim().parse().expect("its id");
    let event = sys::attach_tracepoint(&program, id).expect("a perf event");
    let ring = sys::open_pin(&object.map_path("events")).expect("the ring");
    let ring = Ring::map(ring.as_fd(), RING_BYTES).expect("the ring's memory");
    (object, event, ring)
}

/// Starts a program and returns its pid, when it has ended.
fn start(program: &mut Command) -> u32 {
    let (pid, status) = tiny_elf::run(program).expect("a process");
    assert!(status.success(), "{status}");
    pid
}

/// The events of programs in that directory: others start programs too.
fn take(ring: &mut Ring, directory: &Path) -> Vec<Event> {
    let events = ring.take();
    let events = events.iter().map(|record| Event::parse(record));
    events.filter(|event| Path::new(&event.filename).starts_with(directory)).collect()
}

#[test]
fn each_start_is_a_record() {
    sandbox::run(|sandbox| {
        let (object, _event, mut ring) = attach(sandbox);
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .expect("let nobody in");
        let path = directory.path().join("a-name-longer-than-comm");
        tiny_elf::write_exit(&path);
        let nobody = 65534;
        let first = start(&mut Command::new(&path));
        let second = start(Command::new(&path).uid(nobody));
        let events = take(&mut ring, directory.path());
        let seen: Vec<_> = events.iter().map(|event| (event.pid, event.uid)).collect();
        assert_eq!(seen, [(first, 0), (second, nobody)]);
        assert!(events[0].ts_ns < events[1].ts_ns);
        for event in events {
            assert_eq!(event.ppid, std::process::id());
            assert_eq!(event.comm, "a-name-longer-t");
            assert_eq!(event.args, path.to_str().expect("text"));
            assert_eq!(Path::new(&event.filename), path);
        }
        assert_eq!(object.numbers("lost").len(), 0);
    });
}

#[test]
fn arguments_are_a_text() {
    sandbox::run(|sandbox| {
        let (_object, _event, mut ring) = attach(sandbox);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        tiny_elf::write_exit(&path);
        start(Command::new(&path).arg0("itself").args(["--flag", "two words", "", "end"]));
        start(Command::new(&path).arg0("a").arg("b".repeat(300)));
        // There is just room for this one, and not for the next.
        start(Command::new(&path).arg0("a").arg("b".repeat(253)));
        start(Command::new(&path).arg0("a").arg("b".repeat(254)));
        start(Command::new(&path).arg0("a").arg("é".repeat(200)));
        let events = take(&mut ring, directory.path());
        let seen: Vec<_> = events.into_iter().map(|event| event.args).collect();
        let longest = format!("a {}", "b".repeat(253));
        let whole = format!("a {}", "é".repeat(126));
        assert_eq!(seen, ["itself --flag two words  end", &longest, &longest, &longest, &whole]);
    });
}

#[test]
fn a_long_path_is_cut() {
    sandbox::run(|sandbox| {
        let (_object, _event, mut ring) = attach(sandbox);
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("d".repeat(200)).join("e".repeat(200));
        fs::create_dir_all(&deep).expect("a deep directory");
        let path = deep.join("program");
        tiny_elf::write_exit(&path);
        start(&mut Command::new(&path));
        let events = take(&mut ring, directory.path());
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].filename, path.to_str().expect("text")[..255]);
    });
}

#[test]
fn records_that_do_not_fit_are_counted() {
    sandbox::run(|sandbox| {
        let (object, _event, mut ring) = attach(sandbox);
        let directory = tempfile::tempdir().expect("a directory");
        let long = directory.path().join("a-name-longer-than-the-other");
        let short = directory.path().join("short");
        tiny_elf::write_exit(&long);
        tiny_elf::write_exit(&short);
        let room = RING_BYTES / (HEADER_BYTES + RECORD_BYTES);
        let starts = room + 50;
        for _ in 0..starts {
            start(&mut Command::new(&long));
        }
        let all = ring.take().len();
        let lost = usize::try_from(object.numbers("lost")[&0]).expect("a number");
        // Others start programs too: how many is not known, but none is neither kept nor lost.
        assert!((room - 1..=room).contains(&all), "{all}");
        assert!(lost >= 50 && all + lost >= starts, "{lost} lost of {starts}, {all} kept");

        // The ring's memory is written a second time: `Event::parse` looks for what was there.
        for _ in 0..10 {
            start(&mut Command::new(&short));
        }
        assert_eq!(take(&mut ring, &short).len(), 10);
    });
}

#[test]
fn the_record_is_in_btf() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("exec-events");
        let btf = object.btf_id("record_exec");
        let dump = command("bpftool", &format!("btf dump id {btf}"));
        let name = bpfgate_ebpf::find("exec-events").expect("it").records[0].record;
        assert!(dump.contains(&format!("STRUCT '{name}' size={RECORD_BYTES}")), "{dump}");
    });
}
