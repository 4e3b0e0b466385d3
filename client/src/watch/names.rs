//! Labels by the names that their numbers have on the agent's host.

use std::fmt;
use std::str::FromStr;

use bpfgate_proto::v1;
use bpfgate_proto::v1::label_resolution::How;

/// What a label's number stands for on the agent's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostName {
    /// An interface's index in the agent's network namespace: `eth0`.
    Interface,
    /// A cgroup's id: `/system.slice/sshd.service`.
    Cgroup,
    /// A user's number: `alice`.
    User,
    /// A system call's number on the agent's architecture: `openat`.
    Syscall,
    /// An IP protocol's number: `TCP`.
    Protocol,
    /// The 4 or 16 bytes of an address: `10.0.0.1`.
    Address,
}

/// How a watch shows one label. What has no name at the agent stays a number.
///
/// As text it is `LABEL=WHAT`, with the words of the tags in an object's source:
///
/// ```
/// use bpfgate_client::{HostName, LabelResolution};
///
/// let asked: LabelResolution = "uid=user".parse()?;
/// assert_eq!(asked, LabelResolution::name("uid", HostName::User));
/// assert_eq!("key=number".parse(), Ok(LabelResolution::number("key")));
/// # Ok::<_, bpfgate_client::LabelResolutionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelResolution {
    /// A field of the key, or `key` where it is a single value.
    pub label: String,
    /// `None` for the number itself, though the map's maker declared it to have a name.
    pub what: Option<HostName>,
}

/// Why the text of a [`LabelResolution`] was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelResolutionError {
    /// No `=`, or nothing before it.
    #[error("{0:?} must be written LABEL=WHAT, as in uid=user")]
    Shape(String),
    /// A word that names nothing.
    #[error("{what:?} is nothing that label {label:?} could stand for: {}", words())]
    What {
        /// The label.
        label: String,
        /// The word.
        what: String,
    },
}

/// A word for each.
const WORDS: [(&str, Option<HostName>); 7] = [
    ("ifindex", Some(HostName::Interface)),
    ("cgroup", Some(HostName::Cgroup)),
    ("user", Some(HostName::User)),
    ("syscall", Some(HostName::Syscall)),
    ("protocol", Some(HostName::Protocol)),
    ("ip", Some(HostName::Address)),
    ("number", None),
];

fn words() -> String {
    format!("one of {}", WORDS.map(|(word, _)| word).join(", "))
}

impl LabelResolution {
    /// The label by the names that its numbers have.
    pub fn name(label: impl Into<String>, what: HostName) -> Self {
        Self { label: label.into(), what: Some(what) }
    }

    /// The label's numbers, whatever was declared of them.
    pub fn number(label: impl Into<String>) -> Self {
        Self { label: label.into(), what: None }
    }

    /// What can stand behind the `=` of its text.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(word, _)| *word)
    }

    pub(crate) fn request(&self) -> v1::LabelResolution {
        let how = match self.what {
            None => How::Number,
            Some(HostName::Interface) => How::IfindexName,
            Some(HostName::Cgroup) => How::CgroupPath,
            Some(HostName::User) => How::User,
            Some(HostName::Syscall) => How::Syscall,
            Some(HostName::Protocol) => How::Protocol,
            Some(HostName::Address) => How::Ip,
        };
        v1::LabelResolution { label: self.label.clone(), how: how.into() }
    }
}

impl FromStr for LabelResolution {
    type Err = LabelResolutionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || LabelResolutionError::Shape(text.to_owned());
        let (label, what) = text.split_once('=').ok_or_else(shape)?;
        let (label, what) = (label.trim().to_owned(), what.trim());
        if label.is_empty() {
            return Err(shape());
        }
        let known = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(what));
        match known {
            Some((_, what)) => Ok(Self { label, what: *what }),
            None => Err(LabelResolutionError::What { label, what: what.to_owned() }),
        }
    }
}

/// As it is parsed.
impl fmt::Display for LabelResolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, what)| *what == self.what);
        write!(f, "{}={}", self.label, word.map_or("", |(word, _)| word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written_and_asked_for_as_such() {
        let mut asked = std::collections::BTreeSet::new();
        for word in LabelResolution::words() {
            let text = format!("peer.uid={word}");
            let one: LabelResolution = text.parse().unwrap();
            assert_eq!((one.to_string(), one.label.as_str()), (text, "peer.uid"));
            asked.insert(one.request().how);
        }
        assert_eq!(asked, (1..=7).collect());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, part) in [
            ("uid", "LABEL=WHAT"),
            ("=user", "LABEL=WHAT"),
            ("uid=", "one of ifindex, cgroup, user"),
            ("uid=usr", "label \"uid\""),
        ] {
            let said = text.parse::<LabelResolution>().unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }
}
