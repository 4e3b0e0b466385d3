//! Starts a parsing process for each file, feeds it, and never trusts or waits for it too much.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time;
use tracing::debug;

use super::plan::{ObjectPlan, ParseRequest};
use super::{ElfError, child, validate};
use crate::ledger::{Account, Charge};

/// The first argument that makes the agent's binary run [`child_main`](super::child_main).
pub const CHILD_ARGUMENT: &str = "__parse-object";
/// How much of a dying child's words is kept.
const STDERR_MAX: u64 = 4096;

/// What one file may cost.
#[derive(Debug, Clone)]
pub struct ParseLimits {
    /// Address space in bytes. The kernel's own BTF has to fit where a file needs it.
    pub memory: u64,
    /// Processor time, in whole seconds.
    pub cpu: Duration,
    /// Time on the wall.
    pub wall: Duration,
    /// Bytes in the plan.
    pub answer: u64,
    /// Files parsed at once; the others wait.
    pub concurrent: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            cpu: Duration::from_secs(10),
            wall: Duration::from_secs(20),
            answer: 256 << 20,
            concurrent: 2,
        }
    }
}

/// Parses object files, each in a process of its own. A clone shares the limits.
#[derive(Debug, Clone)]
pub struct Parser {
    program: PathBuf,
    limits: ParseLimits,
    slots: Arc<Semaphore>,
}

impl Parser {
    /// Runs this process's own binary, whose `main` must know [`CHILD_ARGUMENT`].
    pub fn new(limits: ParseLimits) -> Self {
        Self::with_program(PathBuf::from("/proc/self/exe"), limits)
    }

    /// Runs another binary whose `main` knows [`CHILD_ARGUMENT`].
    pub fn with_program(program: PathBuf, limits: ParseLimits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.concurrent));
        Self { program, limits, slots }
    }

    /// The plan of what the file asks for, and what was charged for it. Dropping the future kills
    /// the process.
    pub async fn parse(
        &self,
        request: ParseRequest,
        account: &Account,
    ) -> Result<(ObjectPlan, Charge), ElfError> {
        let _slot = self.slots.acquire().await.expect("nobody closes the semaphore");
        let mut child = self.spawn().map_err(ElfError::Spawn)?;
        let head = child::request_head(&request.globals, &request.elf).map_err(ElfError::Spawn)?;
        let mut charge = account.empty();
        let exchange = self.exchange(&mut child, &head, &request.elf, &mut charge);
        let Ok(ended) = time::timeout(self.limits.wall, exchange).await else {
            child.kill().await.map_err(ElfError::Spawn)?;
            return Err(ElfError::TooSlow { limit: self.limits.wall });
        };
        Ok((self.judge(ended?)?, charge))
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg(CHILD_ARGUMENT)
            .arg(self.limits.memory.to_string())
            .arg(self.limits.cpu.as_secs().max(1).to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn()
    }

    async fn exchange(
        &self,
        child: &mut Child,
        head: &[u8],
        elf: &[u8],
        charge: &mut Charge,
    ) -> Result<Ended, ElfError> {
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let feed = async move {
            // A child that died early tells why by its exit status.
            if stdin.write_all(head).await.is_ok() {
                let _ = stdin.write_all(elf).await;
            }
        };
        let ((), answer, words) = tokio::join!(
            feed,
            read_charged(stdout, self.limits.answer, charge),
            read_at_most(stderr, STDERR_MAX),
        );
        let words = String::from_utf8_lossy(&words.map_err(ElfError::Spawn)?).into_owned();
        let answer = answer?;
        // Its pipes are closed by now, so a child that had more to say ends too.
        Ok(Ended { status: child.wait().await.map_err(ElfError::Spawn)?, answer, words })
    }

    fn judge(&self, ended: Ended) -> Result<ObjectPlan, ElfError> {
        let Ended { status, answer, words } = ended;
        if status.success() {
            let answer: Result<ObjectPlan, ElfError> =
                postcard::from_bytes(&answer).map_err(|_| ElfError::Crashed)?;
            return match answer {
                Ok(plan) => validate::plan(plan),
                Err(error) => Err(validate::error(error)),
            };
        }
        debug!(%status, %words, "the parsing process died");
        if status.code() == Some(child::UNUSABLE.into()) {
            return Err(ElfError::Spawn(io::Error::other(words)));
        }
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(ElfError::TooSlow { limit: self.limits.cpu });
        }
        if words.contains("memory allocation of") {
            return Err(ElfError::TooLarge { limit: self.limits.memory });
        }
        Err(ElfError::Crashed)
    }
}

/// What is left of a child.
struct Ended {
    status: ExitStatus,
    answer: Vec<u8>,
    words: String,
}

async fn read_at_most(from: impl AsyncRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Charges for the bytes before there is room for them, and once more for what they will become.
async fn read_charged(
    mut from: impl AsyncRead + Unpin,
    most: u64,
    charge: &mut Charge,
) -> Result<Vec<u8>, ElfError> {
    const PIECE: usize = 256 << 10;
    let mut bytes = Vec::new();
    loop {
        let left = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(bytes.len());
        if bytes.len() == bytes.capacity() {
            let more = bytes.len().max(PIECE);
            charge.grow(2 * more as u64).map_err(ElfError::Memory)?;
            bytes.reserve_exact(more);
        }
        let room = left.min(bytes.capacity() - bytes.len());
        let mut part = (&mut from).take(room as u64);
        if part.read_buf(&mut bytes).await.map_err(ElfError::Spawn)? == 0 {
            return Ok(bytes);
        }
    }
}
