//! How the command ends: the exit code, and the one line that says why.

use std::io;
use std::process::ExitCode;

use bpfgate_client::{Code, ConnectProblem, Error, RpcError};

use crate::field;
use crate::render::printable;
use crate::say::{plain, say};

/// The exit code. Scripts rely on these: a number is never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Permission = 4,
    NoAgent = 5,
    BadValue = 6,
    Conflict = 7,
    Limit = 8,
    Unsupported = 9,
    /// As a shell has it of what a SIGINT ended.
    Interrupted = 130,
}

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; also a watch ended by ^C, or a reader that closed the pipe
  1  any other failure
  2  the command line is wrong
  3  no such map, key, object, program, link, interface or file
  4  not permitted
  5  no agent there, or it does not answer in time, or it went away
  6  the agent refused a value: wrong size, bad name, index out of range, verifier rejection
  7  in the way: the name or key is taken, the map is frozen or in use
  8  full, or a limit was reached
  9  this map or kernel cannot do that
  130  a dump or restore ended by ^C: whole lines were printed, and it says how much was done";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    fn of_code(code: Code) -> Self {
        match code {
            Code::Ok => Self::Success,
            Code::NotFound => Self::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Self::Permission,
            Code::Unavailable | Code::DeadlineExceeded => Self::NoAgent,
            Code::InvalidArgument | Code::OutOfRange => Self::BadValue,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Self::Conflict,
            Code::ResourceExhausted => Self::Limit,
            Code::Unimplemented => Self::Unsupported,
            Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => Self::Other,
        }
    }

    /// By the cause, where one code stands for several.
    fn of_refusal(error: &RpcError) -> Self {
        match error.reason.as_deref() {
            Some("HOST_LACKS") => Self::Unsupported,
            Some("MISSING_PRIVILEGE" | "KERNEL_PERMISSION" | "READ_ONLY") => Self::Permission,
            _ => Self::of_code(error.code),
        }
    }

    fn of_io(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::Permission,
            _ => Self::Other,
        }
    }
}

/// Why the command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line: what was wrong, then what to do.
    pub(crate) message: String,
    /// The verifier's or loader's log.
    pub(crate) log: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), log: None }
    }

    /// A file of the caller's that could not be read.
    pub(crate) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let exit = Exit::of_io(error.kind());
        Self::new(exit, format!("could not read {}: {error}", path.display()))
    }

    /// With more to do about it.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(hint);
        self
    }

    /// One that was told already.
    pub(crate) fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Says why, unless that was told, or whoever read the output has gone.
    pub(crate) fn tell(&self) {
        if self.message.is_empty() {
            return;
        }
        say(&self.message);
        for line in self.log.iter().flat_map(|log| log.trim_end().lines()) {
            plain(&format!("{}\n", printable(line)));
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Endpoint(_) => Exit::Usage,
            Error::Connect(error) if error.problem == ConnectProblem::PermissionDenied => {
                Exit::Permission
            }
            Error::Connect(_)
            | Error::NotAnAgent { .. }
            | Error::Lost { .. }
            | Error::TimedOut { .. }
            | Error::CutOff { .. } => Exit::NoAgent,
            Error::NotClearable { .. } => Exit::Unsupported,
            Error::Rpc(error) => Exit::of_refusal(error),
            _ => Exit::Other,
        };
        let mut message = match &error {
            Error::Rpc(error) => field::refusal(error),
            error => error.to_string(),
        };
        // Where the text does not already say it.
        if let Error::Connect(connect) = &error
            && connect.problem == ConnectProblem::Other
        {
            message = format!("{message}: {}", connect.source);
        }
        let log = match error {
            Error::Rpc(error) => error.verifier_log,
            _ => None,
        };
        Self { exit, message, log }
    }
}

/// Standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::told(Exit::Success);
        }
        Self::new(Exit::Other, format!("could not write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_exit_code_in_order() {
        let all = [
            Exit::Success,
            Exit::Other,
            Exit::Usage,
            Exit::NotFound,
            Exit::Permission,
            Exit::NoAgent,
            Exit::BadValue,
            Exit::Conflict,
            Exit::Limit,
            Exit::Unsupported,
            Exit::Interrupted,
        ];
        let listed: Vec<_> = HELP
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
            .collect();
        let codes: Vec<_> = all.iter().map(|&exit| (exit as u8).to_string()).collect();
        assert_eq!(listed, codes);
    }

    #[test]
    fn each_kind_of_trouble_has_its_code() {
        let of = |error: Error| Failure::from(error).exit;
        assert_eq!(of(Error::CutOff { rpc: "Iterate" }), Exit::NoAgent);
        assert_eq!(
            of("https://h:1".parse::<bpfgate_client::Endpoint>().unwrap_err().into()),
            Exit::Usage
        );
        assert_eq!(Exit::of_code(Code::OutOfRange), Exit::BadValue);
        assert_eq!(Exit::of_code(Code::ResourceExhausted), Exit::Limit);
        let left = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((left.exit, left.message.as_str()), (Exit::Success, ""));
        assert_eq!(Failure::from(io::Error::other("x")).exit, Exit::Other);
    }
}
