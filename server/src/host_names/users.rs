//! Users' numbers to names, by /etc/passwd. Users of other name services stay numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use super::Source;

/// What is read of the file.
const MOST: u64 = 4 << 20;
/// Users that are known.
const MOST_USERS: usize = 65_536;

/// The users that there are.
#[derive(Default)]
pub(super) struct Users(HashMap<u64, Arc<str>>);

impl Source for Users {
    fn read() -> Self {
        let mut text = Vec::new();
        let read =
            File::open("/etc/passwd").and_then(|file| file.take(MOST).read_to_end(&mut text));
        if read.is_err() { Self::default() } else { parse(&String::from_utf8_lossy(&text)) }
    }

    fn get(&self, uid: u64) -> Option<Arc<str>> {
        self.0.get(&uid).cloned()
    }
}

/// Lines of NAME:PASSWORD:UID:…. The first of several with one number counts, as in libc.
fn parse(text: &str) -> Users {
    let mut users = HashMap::new();
    for line in text.lines().take(MOST_USERS) {
        let mut words = line.split(':');
        let (name, uid) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        if let (false, Ok(uid)) = (name.is_empty(), uid.parse()) {
            users.entry(uid).or_insert_with(|| name.into());
        }
    }
    Users(users)
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
    }
}
