//! A real agent, started as a user would, and ended with a look at what it left.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use bpfgate_client::Client;

use crate::home::Home;
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
    /// Ended by SIGKILL: what it left in the file system is no fault of its own.
    killed: bool,
    home: Home,
}

/// How to start an [`Agent`].
#[derive(Debug, Default)]
pub struct Builder {
    netns: Option<Netns>,
    runtime_dir: Option<PathBuf>,
    bpffs: Option<PathBuf>,
    config: Option<String>,
    listen: Vec<String>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    before: Option<String>,
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
        &self.home.netns
    }

    /// Its runtime directory. Unless it was there before, the agent makes and removes it.
    pub fn runtime_dir(&self) -> &Path {
        &self.home.runtime_dir
    }

    /// A directory that is there as long as the agent: for a test's files.
    pub fn directory(&self) -> &Path {
        self.home.directory.path()
    }

    /// Its bpffs directory: where `pin:` references lead.
    pub fn bpffs(&self) -> &Path {
        &self.home.bpffs.path
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.socket()
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
        let mut command = self.home.netns.command(binaries::cli());
        command.env("BPFGATE_ENDPOINT", self.endpoint()).env_remove("CLICOLOR_FORCE");
        command
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap_or_default()
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

    /// Ends it without a chance to clean up, and checks that the kernel did.
    pub fn kill(mut self) {
        self.checkpoint();
        self.signal(rustix::process::Signal::KILL);
        self.wait(SOON).expect("an end");
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        let mut status = None;
        within(limit, || {
            status = process.try_wait().expect("a child's status");
            status.is_some()
        });
        if let Some(status) = status {
            self.process = None;
            self.killed = status.signal() == Some(libc::SIGKILL);
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
        self.home.bpffs.assert_empty();
        if !self.killed {
            self.home.assert_clean();
        }
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

    /// With a runtime directory of the test's own: one that is there already, or another agent's.
    #[must_use]
    pub fn runtime_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(path.into());
        self
    }

    /// With this directory for pins instead of one of its own.
    #[must_use]
    pub fn bpffs(mut self, path: impl Into<PathBuf>) -> Self {
        self.bpffs = Some(path.into());
        self
    }

    /// Also here, beside the socket in the runtime directory.
    #[must_use]
    pub fn listen(mut self, endpoint: impl Into<String>) -> Self {
        self.listen.push(endpoint.into());
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

    /// With a line of shell that its process runs before it: `ulimit -n 1024`.
    #[must_use]
    pub fn before(mut self, line: impl Into<String>) -> Self {
        self.before = Some(line.into());
        self
    }

    /// Starts it and waits until it serves.
    pub fn spawn(self) -> Agent {
        let (mut command, home) = self.prepare();
        let log = fs::File::create(home.log()).expect("a log file");
        command.stdout(log.try_clone().expect("a log file")).stderr(log);
        let process = command.stdin(Stdio::null()).spawn().expect("bpfgated starts");
        let pid = process.id();
        let mut agent = Agent {
            process: Some(process),
            pid,
            seen: Mutex::default(),
            baseline: Held::default(),
            killed: false,
            home,
        };
        agent.wait_until_it_serves();
        agent.baseline = agent.checkpoint();
        agent
    }

    /// Runs an agent that is expected to refuse to start.
    pub fn refuse(self) -> Output {
        let (mut command, home) = self.prepare();
        command.env("BPFGATE_LOG", "error");
        // One that starts after all would run for ever.
        let mut limited = Command::new("timeout");
        limited.arg("10").arg(command.get_program()).args(command.get_args());
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = run(&mut limited);
        home.bpffs.assert_empty();
        output
    }

    fn prepare(self) -> (Command, Home) {
        crate::require_root();
        let Self { netns, runtime_dir, bpffs, config, listen, mut flags, env, before } = self;
        let home = Home::new(netns, runtime_dir);
        let mut command = match before {
            None => home.netns.command(binaries::agent()),
            Some(line) => {
                let mut shell = home.netns.command("sh");
                shell.args(["-c", &format!("{line} && exec \"$@\""), "sh"]).arg(binaries::agent());
                shell
            }
        };
        command.arg("--runtime-dir").arg(&home.runtime_dir);
        command.arg("--bpffs").arg(bpffs.as_ref().unwrap_or(&home.bpffs.path));
        if let Some(toml) = config {
            let path = home.directory.path().join("bpfgated.toml");
            fs::write(&path, toml).expect("a configuration file");
            command.arg("--config").arg(path);
        }
        if !listen.is_empty() {
            let socket = format!("unix:{}", home.socket().display());
            flags.extend(listen.into_iter().chain([socket]).flat_map(|to| ["--listen".into(), to]));
        }
        command.args(flags).envs(env);
        (command, home)
    }
}

impl Agent {
    fn wait_until_it_serves(&mut self) {
        let socket = self.home.socket();
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
