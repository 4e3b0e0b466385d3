//! Users' numbers to names, by /etc/passwd. Users of other name services stay numbers.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use super::Source;

/// What is read of the file.
const MOST: u64 = 4 << 20;
/// Users that are known.
const MOST_USERS: usize = 65_536;

const FILE: &str = "/etc/passwd";

/// The users that there are.
#[derive(Default)]
pub(super) struct Users {
    names: HashMap<u64, Arc<str>>,
    numbers: HashMap<Arc<str>, u64>,
    /// What the file was when it was read.
    file: Option<Stamp>,
}

/// Tells a file from what took its place, or from itself once somebody wrote.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let modified = (about.mtime(), about.mtime_nsec());
        Self { inode: about.ino(), bytes: about.size(), modified }
    }
}

impl Source for Users {
    fn read() -> Self {
        let mut text = Vec::new();
        let read = File::open(FILE).and_then(|file| {
            let stamp = Stamp::of(&file.metadata()?);
            file.take(MOST).read_to_end(&mut text)?;
            Ok(stamp)
        });
        match read {
            Ok(stamp) => Self { file: Some(stamp), ..parse(&String::from_utf8_lossy(&text)) },
            Err(_) => Self::default(),
        }
    }

    fn get(&self, uid: u64) -> Option<Arc<str>> {
        self.names.get(&uid).cloned()
    }

    fn holds(&self, _: u64, _: &str) -> bool {
        self.file == fs::metadata(FILE).ok().as_ref().map(Stamp::of)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }
}

/// Lines of NAME:PASSWORD:UID:…. The first of several with one number counts, as in libc.
fn parse(text: &str) -> Users {
    let mut users = Users::default();
    for line in text.lines().take(MOST_USERS) {
        let mut words = line.split(':');
        let (name, uid) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        if let (false, Ok(uid)) = (name.is_empty(), uid.parse()) {
            let name: Arc<str> = name.into();
            users.names.entry(uid).or_insert_with(|| name.clone());
            users.numbers.entry(name).or_insert(uid);
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_number_counts() {
        let users = parse("root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\n\nodd\n:x:7:\nalice:x:1000:1");
        let name = |uid| users.get(uid).map(|name| name.to_string());
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(name(1000).as_deref(), Some("alice"));
        assert_eq!(name(7), None);
        assert_eq!((users.number("toor"), users.number("alice")), (Some(0), Some(1000)));
        assert_eq!(users.number("bob"), None);
    }
}
