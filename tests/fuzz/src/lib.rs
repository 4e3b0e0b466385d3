//! What has to hold for any input at all. The fuzzers in `fuzz/` call these with what they make
//! up; `tests/corpus.rs` with what they once found worth keeping.
//!
//! Each body panics where something does not hold.

#![forbid(unsafe_code)]

mod codec;
mod source;
mod wire;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bpfgate_proto::name::{MapGlob, MapName, MapRef, ObjectName, ProgramName};
use bpfgate_server::core::Position;

pub use codec::{codec, text};
pub use wire::{btf, schema};

/// Takes one input.
pub type Body = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const BODIES: [(&str, Body); 6] = [
    ("btf", btf),
    ("codec", codec),
    ("names", names),
    ("schema", schema),
    ("text", text),
    ("tokens", tokens),
];

/// What parses is written as it was read.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    same::<MapRef>(text);
    same::<MapName>(text);
    same::<ObjectName>(text);
    same::<ProgramName>(text);
    // A glob and a name to try it on.
    let (glob, name) = text.split_once('\n').unwrap_or((text, text));
    if let (Ok(glob), Ok(name)) = (glob.parse::<MapGlob>(), name.parse::<MapName>()) {
        let all: MapGlob =
            if name.object().is_some() { "*/*" } else { "*" }.parse().expect("a glob");
        assert!(all.matches(&name));
        if glob.matches(&name) && !glob.as_str().contains(['*', '?']) {
            assert_eq!(glob.as_str(), name.as_str());
        }
    }
}

fn same<T>(text: &str)
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(name) => {
            let again = name.to_string().parse::<T>();
            assert!(again.is_ok_and(|again| again == name), "{name:?}");
        }
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
    }
}

/// A resume token is read back as what it was, or not at all.
pub fn tokens(input: &[u8]) {
    let mut source = source::Source::new(input);
    let (cursor, key) = (usize::from(source.byte() % 17), usize::from(source.byte() % 17));
    let token = source.rest();
    let life = token.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let map = token.get(8..).and_then(<[u8]>::first_chunk);
    let map = map.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if let Some(position) = Position::parse(token, life, map, cursor, key) {
        let again = position.token(life);
        assert_eq!(Position::parse(&again, life, map, cursor, key).as_ref(), Some(&position));
        assert_eq!(Position::parse(token, life.wrapping_add(1), map, cursor, key), None);
        assert_eq!(Position::parse(token, life, map.wrapping_add(1), cursor, key), None);
    }
}
