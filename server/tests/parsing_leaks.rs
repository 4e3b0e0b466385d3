//! Whatever a file does to its parsing process, the agent keeps nothing of it: no descriptor, no
//! process. The tests here look at what this process holds, so they run one at a time.

#[path = "object_parsing/support.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfgate_server::elf::{ElfError, ParseLimits};
use rustix::io::FdFlags;
use tokio::sync::Mutex;

use self::support::{Harness, compile_object};

/// Longer than any answer may take here, on a busy machine and without optimisation.
const BOUND: Duration = Duration::from_secs(30);

static ALONE: Mutex<()> = Mutex::const_new(());

/// Numbers that are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Open descriptors and children of this process.
fn held() -> (usize, String) {
    let fds = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut children = String::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        children += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    (fds, children)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_files_get_an_answer() {
    let _alone = ALONE.lock().await;
    let object = compile_object("everything.c");
    let harness = Harness::new(ParseLimits::default());
    // The first child makes the runtime listen for signals, for good.
    harness.parse(object.clone()).await.expect("it parses");
    let before = held();
    let mut seeded = Seeded(0x5eed);
    let (mut sound, mut crashed) = (0, 0);
    for n in 0..2000 {
        let mut mutated = object.clone();
        for _ in 0..=seeded.below(8) {
            let at = seeded.below(mutated.len());
            mutated[at] = u8::try_from(seeded.below(256)).unwrap();
        }
        let start = Instant::now();
        match harness.parse(mutated).await {
            Ok(_) => sound += 1,
            Err(ElfError::Crashed) => crashed += 1,
            Err(ElfError::Spawn(source)) => panic!("mutation {n}: {source}"),
            Err(_) => {}
        }
        assert!(start.elapsed() < BOUND, "mutation {n} took {:?}", start.elapsed());
    }
    println!("{sound} of 2000 mutations are still objects, {crashed} broke the parser");
    assert_eq!(held(), before, "descriptors or children are left");
}

#[tokio::test]
async fn a_slow_parse_is_ended() {
    let _alone = ALONE.lock().await;
    let object = compile_object("everything.c");
    let limits = ParseLimits { wall: Duration::from_millis(1), ..Default::default() };
    let harness = Harness::new(limits);
    let mut before = None;
    for _ in 0..3 {
        let error = harness.parse(object.clone()).await.unwrap_err();
        assert!(matches!(error, ElfError::TooSlow { .. }), "{error}");
        assert_eq!(*before.get_or_insert_with(held), held());
    }
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_nothing() {
    let harness = Harness::new(ParseLimits::default());
    let _alone = ALONE.lock().await;
    let object = compile_object("everything.c");
    harness.parse(object.clone()).await.expect("it parses");
    let before = held();
    let parse = harness.parse(object);
    let left = tokio::time::timeout(Duration::from_millis(1), parse).await;
    assert!(left.is_err(), "a process cannot be that fast");
    // The runtime reaps the killed process when it hears of its end.
    for _ in 0..100 {
        if held() == before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(held(), before);
}

/// What the kernel says about this process's only child, once that has confined itself.
fn confined_child() -> Option<(String, PathBuf, usize)> {
    let (_, children) = held();
    let child = Path::new("/proc").join(children.trim());
    let status = fs::read_to_string(child.join("status")).ok()?;
    let limits = fs::read_to_string(child.join("limits")).ok()?;
    let network = fs::read_link(child.join("ns/net")).ok()?;
    let files = fs::read_dir(child.join("fd")).ok()?.count();
    status.contains("Seccomp:\t2").then_some((status + &limits, network, files))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_has_given_up_its_rights() {
    let _alone = ALONE.lock().await;
    let harness = Arc::new(Harness::new(ParseLimits::default()));
    // So large that there is time to look at the process while it reads.
    let mut object = compile_object("core.c");
    object.resize(64 << 20, 0);
    // Who starts an agent may have left it one.
    let left = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&left, FdFlags::empty()).unwrap();
    let mut seen = None;
    for _ in 0..10 {
        let parse = tokio::spawn({
            let (harness, object) = (Arc::clone(&harness), object.clone());
            async move { harness.parse(object).await }
        });
        while seen.is_none() && !parse.is_finished() {
            seen = confined_child();
        }
        parse.await.expect("no panic").expect("it parses");
    }
    let (seen, network, files) = seen.expect("the process was seen at work");
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "Groups:\t \n",
        "NoNewPrivs:\t1",
        "Max open files            8 ",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    assert!(files <= 4, "the standard streams and the kernel's types: {files}");
    if rustix::process::geteuid().is_root() {
        assert!(seen.contains("Uid:\t65533\t65533\t65533\t65533"), "{seen}");
        assert!(seen.contains("Gid:\t65533\t65533\t65533\t65533"), "{seen}");
        assert_ne!(network, fs::read_link("/proc/self/ns/net").unwrap());
    }
    for limit in ["Max address space", "Max core file size", "Max cpu time", "Max processes"] {
        let line = seen.lines().find(|line| line.starts_with(limit)).expect("a limit");
        assert!(!line.contains("unlimited"), "{line}");
    }
}
