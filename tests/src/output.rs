//! A command that was run to its end.

use std::process::{Command, Stdio};

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Itself, after a check that it ended with 0.
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "it asserts")]
    pub fn ok(self) -> Self {
        assert!(self.success(), "the command failed: {self:#?}");
        self
    }

    /// The JSON that it printed.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON on stdout ({error}): {self:#?}"))
    }

    /// The one line on stderr of a command that failed with this exit code and printed nothing.
    pub fn refusal(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        let line = self.stderr.trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "not one line: {self:#?}");
        line
    }
}

/// Runs a command to its end, without anything on its stdin.
pub fn run(command: &mut Command) -> Output {
    let run = command.stdin(Stdio::null()).output();
    let run = run.unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    Output {
        code: run.status.code(),
        stdout: String::from_utf8_lossy(&run.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&run.stderr).into_owned(),
    }
}
