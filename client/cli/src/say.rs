//! What people are told besides the output: on standard error. Where that is closed nobody is
//! told, which is no reason to fail.

use std::io::{self, Write as _};

use crate::render::printable;

/// One line.
pub(crate) fn say(text: &str) {
    plain(&format!("bpfgate: {}\n", printable(text)));
}

/// Text as it is, line ends and all.
pub(crate) fn plain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
