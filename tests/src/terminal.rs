//! A terminal with a command on it, as a user sits at one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::{SOON, within};

/// Shows the cursor.
const SHOW_CURSOR: &str = "\x1b[?25h";
/// Hides it.
const HIDE_CURSOR: &str = "\x1b[?25l";
/// Turns to a full screen beside the shell's.
const FULL_SCREEN: &str = "\x1b[?1049h";
/// And back.
const SHELL_SCREEN: &str = "\x1b[?1049l";

/// A terminal with a command on it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    /// The user's side.
    keys: File,
    /// The command's side, held so that its settings can be seen when the command has ended.
    line: OwnedFd,
    settings: LocalModes,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// How a command on a terminal ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// All that it sent to the terminal.
    pub shown: String,
}

impl Terminal {
    /// Starts a command on a terminal of so many columns and rows, which is its controlling one:
    /// ^C is SIGINT. Its environment has a UTF-8 locale and a terminal with colours, unless the
    /// command says otherwise.
    ///
    /// # Panics
    /// Where there is none to be had.
    pub fn run(command: &Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).expect("a terminal");
        grantpt(&user).expect("a terminal of one's own");
        unlockpt(&user).expect("a terminal to open");
        let path = ptsname(&user, Vec::new()).expect("a terminal with a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = open(path.as_c_str(), flags, Mode::empty()).expect("the other side");
        let settings = tcgetattr(&line).expect("settings").local_modes;
        // The standard library starts no command in a session of its own.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        session.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env_remove("LC_ALL");
        session.env_remove("LC_CTYPE").env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let side = || line.try_clone().expect("a descriptor");
        session.stdin(side()).stdout(side()).stderr(side());
        resize(&line, columns, rows);
        let child = session.spawn().expect("setsid starts");
        let keys = File::from(user);
        let mut screen = keys.try_clone().expect("a descriptor");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error when nobody has the other side any more.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..count]);
            }
        });
        Self { child, keys, line, settings, shown, reader }
    }

    /// All that was sent so far.
    pub fn shown(&self) -> String {
        let bytes = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the text was sent behind what was there at `from`.
    ///
    /// # Panics
    /// If it does not come.
    pub fn until(&self, from: usize, text: &str) {
        let there = within(SOON, || self.shown().get(from..).is_some_and(|it| it.contains(text)));
        let shown = self.shown();
        assert!(there, "{text:?} does not come: {}", &shown[shown.len().saturating_sub(2000)..]);
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys are taken");
    }

    /// Makes it another size, as a user does who pulls at a window.
    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.line, columns, rows);
    }

    /// The command's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the command a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a signal sent");
    }

    /// Waits for the command's end, and checks that it leaves the terminal as it found it.
    ///
    /// # Panics
    /// If it does not end soon, or has changed the terminal.
    pub fn ended(self) -> Ended {
        let Self { mut child, keys, line, settings, shown, reader } = self;
        let mut status = None;
        let ended = within(SOON, || {
            status = child.try_wait().expect("a child's status");
            status.is_some()
        });
        if !ended {
            let _ = child.kill();
        }
        let left = tcgetattr(&line).expect("settings").local_modes;
        drop((keys, line));
        reader.join().expect("a reader");
        let bytes = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(ended, "it does not end: {shown}");
        assert_eq!(left, settings, "the terminal's settings are others");
        for (off, on) in [(HIDE_CURSOR, SHOW_CURSOR), (FULL_SCREEN, SHELL_SCREEN)] {
            assert!(shown.rfind(off) <= shown.rfind(on), "{off:?} is the last word: {shown:?}");
        }
        Ended { code: status.and_then(|status| status.code()), shown }
    }
}

fn resize(line: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(line, size).expect("a size");
}

/// A screen's text without what only the terminal obeys.
pub fn without_escapes(shown: &str) -> String {
    let mut text = String::new();
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            text.push(c);
        } else if rest.next() == Some('[') {
            // Up to the letter that says what it is.
            let _ = rest.by_ref().find(|c| matches!(c, '@'..='~'));
        }
    }
    text
}
