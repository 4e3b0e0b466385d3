//! A real agent, started as a user would, and ended with a look at what it left.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use bpfgate_client::Client;

use crate::leaks::Seen;
use crate::output::run;
use crate::{Held, Netns, Output, SOON, binaries, within};

/// The configuration's `drain_seconds`, and as much again for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running agent: in a network namespace, a runtime directory and a bpffs directory of its own.
///
/// When it is dropped it is asked to stop, and the test fails if it does not stop in time, ends
/// with an error, or leaves a map, program, link, BTF, pin, socket or file behind.
#[derive(Debug)]
pub struct Agent {
    process: Option<Child>,
    pid: u32,
    seen: Mutex<Seen>,
    baseline: Held,
    netns: Netns,
    bpffs: Bpffs,
    directory: tempfile::TempDir,
}

/// How to start an [`Agent`].
#[derive(Debug, Default)]
pub struct Builder {
    netns: Option<Netns>,
    directory: Option<tempfile::TempDir>,
    config: Option<String>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
}

impl Agent {
    /// Starts one with the default configuration.
    pub fn spawn() -> Self {
        Self::builder().spawn()
    }

    /// Starts one with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The network namespace that it runs in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its runtime directory. It makes and removes that itself.
    pub fn runtime_dir(&self) -> PathBuf {
        runtime_dir(&self.directory)
    }

    /// A directory that is there as long as the agent: for a test's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its bpffs directory: where `pin:` references lead.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs.path
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir().join("bpfgate.sock")
    }

    /// `unix:PATH`, for a client.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        self.checkpoint();
        let client = Client::connect(&self.endpoint()).await;
        client.unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.log()))
    }

    /// Runs `bpfgate ARGUMENTS` with the agent's endpoint.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        let output = run(self.cli_command().args(arguments));
        self.checkpoint();
        output
    }

    /// `bpfgate` with the agent's endpoint in the environment and no colours, in the agent's
    /// network namespace; for tests that want to set more.
    pub fn cli_command(&self) -> Command {
        let mut command = self.netns.command(binaries::cli());
        command.env("BPFGATE_ENDPOINT", self.endpoint()).env_remove("CLICOLOR_FORCE");
        command
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.directory)).unwrap_or_default()
    }

    /// What it holds now. All of it must be gone when it has ended: call this where a test has
    /// made something that the agent gives up again.
    pub fn checkpoint(&self) -> Held {
        let held = Held::by(self.pid);
        let held = held.unwrap_or_else(|e| panic!("the agent is gone ({e}):\n{}", self.log()));
        self.seen().add(&held);
        held
    }

    /// What it held when it was started, before any client came.
    pub fn baseline(&self) -> &Held {
        &self.baseline
    }

    /// Fails unless the agent holds only what it held at its start, in a moment at the latest;
    /// clients' connections and idle threads aside.
    pub fn assert_only_baseline(&self) {
        let mut held = self.checkpoint();
        let settled = within(SOON, || {
            held = self.checkpoint();
            held.is_only(&self.baseline)
        });
        assert!(settled, "the agent holds {held:#?}\nat its start it held {:#?}", self.baseline);
    }

    /// Fails unless every client's connection is gone too, in a moment at the latest.
    pub fn assert_no_connections(&self) {
        let settled = within(SOON, || self.checkpoint().sockets == self.baseline.sockets);
        let (now, then) = (self.checkpoint().sockets, self.baseline.sockets);
        assert!(settled, "the agent has {now} sockets, at its start it had {then}");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("a signal sent");
    }

    /// Asks it to stop, waits, and checks that it left nothing. What dropping it does as well,
    /// said aloud.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends it without a chance to clean up, and checks that the kernel did. What it left in the
    /// file system stays: the directory is returned for the next agent.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.checkpoint();
        self.signal(rustix::process::Signal::KILL);
        let mut process = self.process.take().expect("a running agent");
        process.wait().expect("its end");
        self.seen().assert_gone();
        self.bpffs.assert_empty();
        let empty = tempfile::tempdir().expect("a directory");
        std::mem::replace(&mut self.directory, empty)
    }

    /// Waits for its end by itself.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        let mut status = None;
        within(limit, || {
            status = process.try_wait().expect("a child's status");
            status.is_some()
        });
        if status.is_some() {
            self.process = None;
        }
        status
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) {
        if self.process.is_some() {
            self.checkpoint();
            self.signal(rustix::process::Signal::TERM);
            let status = self.wait(STOP_LIMIT);
            let status = status.unwrap_or_else(|| panic!("it does not stop:\n{}", self.log()));
            assert!(status.success(), "it ended with {status}:\n{}", self.log());
        }
        self.seen().assert_gone();
        self.bpffs.assert_empty();
        let left = self.runtime_dir();
        assert!(!left.exists(), "the agent left {}", left.display());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
            return;
        }
        eprintln!("the agent's log:\n{}", self.log());
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Builder {
    /// In this network namespace.
    #[must_use]
    pub fn netns(mut self, netns: Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// In the directory of an agent before it.
    #[must_use]
    pub fn directory(mut self, directory: tempfile::TempDir) -> Self {
        self.directory = Some(directory);
        self
    }

    /// With this configuration file, in TOML.
    #[must_use]
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it serves.
    pub fn spawn(self) -> Agent {
        let (mut command, parts) = self.prepare();
        let Parts { netns, directory, bpffs } = parts;
        let log = fs::File::create(log_file(&directory)).expect("a log file");
        command.stdout(log.try_clone().expect("a log file")).stderr(log);
        let process = command.stdin(Stdio::null()).spawn().expect("bpfgated starts");
        let pid = process.id();
        let mut agent = Agent {
            process: Some(process),
            pid,
            seen: Mutex::default(),
            baseline: Held::default(),
            netns,
            bpffs,
            directory,
        };
        agent.wait_until_it_serves();
        agent.baseline = agent.checkpoint();
        agent
    }

    /// Runs an agent that is expected to refuse to start.
    pub fn refuse(self) -> Output {
        let (mut command, parts) = self.prepare();
        command.env("BPFGATE_LOG", "error");
        // One that starts after all would run for ever.
        let mut limited = Command::new("timeout");
        limited.arg("10").arg(command.get_program()).args(command.get_args());
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = run(&mut limited);
        parts.bpffs.assert_empty();
        output
    }

    fn prepare(self) -> (Command, Parts) {
        crate::require_root();
        let Self { netns, directory, config, flags, env } = self;
        let netns = netns.unwrap_or_else(Netns::new);
        let directory = directory.unwrap_or_else(|| {
            let directory = tempfile::Builder::new().prefix("bpfgate-").tempdir();
            let directory = directory.expect("a temporary directory");
            // Clients without rights have to pass through.
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(directory.path(), open).expect("a mode");
            directory
        });
        let bpffs = Bpffs::new(netns.name());
        let mut command = netns.command(binaries::agent());
        command.arg("--runtime-dir").arg(runtime_dir(&directory));
        command.arg("--bpffs").arg(&bpffs.path);
        if let Some(toml) = config {
            let path = directory.path().join("bpfgated.toml");
            fs::write(&path, toml).expect("a configuration file");
            command.arg("--config").arg(path);
        }
        command.args(flags).envs(env);
        (command, Parts { netns, directory, bpffs })
    }
}

struct Parts {
    netns: Netns,
    directory: tempfile::TempDir,
    bpffs: Bpffs,
}

impl Agent {
    fn wait_until_it_serves(&mut self) {
        let socket = self.socket();
        let mut connected = false;
        within(SOON, || {
            connected = UnixStream::connect(&socket).and_then(greet).is_ok();
            connected || self.wait(Duration::ZERO).is_some()
        });
        assert!(connected, "the agent does not start:\n{}", self.log());
        // That connection is gone, and what else the start needed is there, when nothing changes.
        let mut last = Held::default();
        within(SOON, || {
            let before = std::mem::replace(&mut last, self.checkpoint());
            last == before
        });
    }
}

/// The least that an HTTP/2 server answers: whoever accepts is at work.
fn greet(mut stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    // An empty SETTINGS frame.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])?;
    stream.read_exact(&mut [0; 9])
}

/// A directory in the host's bpffs.
#[derive(Debug)]
struct Bpffs {
    path: PathBuf,
}

impl Bpffs {
    fn new(name: &str) -> Self {
        static MOUNT: std::sync::Once = std::sync::Once::new();
        let base = Path::new("/sys/fs/bpf");
        MOUNT.call_once(|| mount_bpffs(base));
        let path = base.join(name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("could not make {}: {e}", path.display()));
        Self { path }
    }

    fn assert_empty(&self) {
        let entries = fs::read_dir(&self.path).expect("a directory");
        let left: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(left.is_empty(), "pins were left in {}: {left:?}", self.path.display());
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Only after a failure is anything in it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn mount_bpffs(at: &Path) {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let mounted = || {
        let info = rustix::fs::statfs(at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        u64::try_from(info.f_type).is_ok_and(|magic| magic == BPF_FS_MAGIC)
    };
    if !mounted() {
        let done = run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(at));
        assert!(mounted(), "no bpffs at {}: {done:#?}", at.display());
    }
}

fn runtime_dir(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("run")
}

fn log_file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("bpfgated.log")
}
