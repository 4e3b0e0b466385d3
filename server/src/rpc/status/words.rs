//! The kernel's answers in words. Its own texts are about files: "File exists" of a hook that is
//! taken helps nobody.

use std::io;

use crate::core::{MissingPrivilege, missing_privileges};
use crate::sys::ENOTSUPP;

/// What the kernel said, its name for it behind.
pub(super) fn of_kernel(error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error() else { return error.to_string() };
    let (name, words) = match errno {
        libc::EPERM => ("EPERM", "the kernel does not permit it"),
        libc::EACCES => ("EACCES", "the kernel does not permit it"),
        libc::EROFS => ("EROFS", "that file system can only be read"),
        libc::EEXIST => ("EEXIST", "there is one already"),
        libc::EBUSY => ("EBUSY", "it is in use by somebody else"),
        libc::EINVAL => ("EINVAL", "this kernel does not take it so"),
        libc::E2BIG => ("E2BIG", "it is more than the kernel takes"),
        libc::ENOENT => ("ENOENT", "it is not there"),
        libc::ENODEV => ("ENODEV", "there is no such device"),
        libc::ESRCH => ("ESRCH", "there is no such process or symbol"),
        libc::ENOMEM => ("ENOMEM", "the kernel has no memory for it"),
        libc::ENOSPC => ("ENOSPC", "there is no room for it"),
        libc::EMFILE => ("EMFILE", "the agent has all the descriptors that it may have"),
        libc::ENFILE => ("ENFILE", "the host has no descriptors left"),
        libc::EAGAIN => ("EAGAIN", "not now: try again"),
        libc::EOPNOTSUPP => ("EOPNOTSUPP", "this kernel, or what it is done to, cannot do that"),
        ENOTSUPP => ("ENOTSUPP", "this kernel, or what it is done to, cannot do that"),
        libc::ENOSYS => ("ENOSYS", "this kernel cannot do that"),
        _ => return error.to_string(),
    };
    format!("{words} ({name})")
}

/// What to do about a kernel that does not permit something to an agent without these.
pub(super) fn missing() -> Option<String> {
    let missing: Vec<_> = missing_privileges()
        .into_iter()
        .map(|MissingPrivilege { capability, .. }| capability)
        .filter(|capability| !capability.starts_with("CAP_SET"))
        .collect();
    (!missing.is_empty())
        .then(|| format!("the agent lacks {}: run it as root or give it that", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_words_and_its_name() {
        let said = |errno| of_kernel(&io::Error::from_raw_os_error(errno));
        assert_eq!(said(libc::EEXIST), "there is one already (EEXIST)");
        assert!(said(libc::EDOM).contains("os error"), "what has no words is not lost");
        assert_eq!(of_kernel(&io::Error::other("text")), "text");
    }
}
