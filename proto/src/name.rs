//! Map names, object names, references and globs. The only parsers of them.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest name of an object.
const OBJECT_MAX: usize = 63;
/// Longest name of a map that CreateMap makes: the kernel's `BPF_OBJ_NAME_LEN` less its NUL.
const CREATED_MAP_MAX: usize = 15;
/// Longest name of a map or program in an object: a C identifier as compilers keep it.
const MEMBER_MAX: usize = 127;

/// Why a name was refused. Says what was wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("{what} is empty; {rule}")]
    Empty {
        /// Which name.
        what: &'static str,
        /// What would be right.
        rule: &'static str,
    },
    /// Too many bytes.
    #[error("{what} {name:?} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// The name.
        name: String,
        /// Its length in bytes.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// A character that does not belong there.
    #[error("{what} {name:?} has a {bad:?}; {rule}")]
    BadCharacter {
        /// Which name.
        what: &'static str,
        /// The name.
        name: String,
        /// The offender.
        bad: char,
        /// What would be right.
        rule: &'static str,
    },
    /// Not one `/` in an `OBJECT/MEMBER` name.
    #[error("{what} {name:?} must be written OBJECT/{member}")]
    NotTwoParts {
        /// Which name.
        what: &'static str,
        /// The name.
        name: String,
        /// What the second part is.
        member: &'static str,
    },
    /// `id:` without a kernel id behind it.
    #[error("map id {0:?} is not a number from 1 to 4294967295")]
    BadId(String),
}

struct Rule {
    what: &'static str,
    advice: &'static str,
    max: usize,
    allowed: fn(usize, char) -> bool,
}

const OBJECT: Rule = Rule {
    what: "object name",
    advice: "use letters, digits, '_', '.' and '-', starting with a letter or digit",
    max: OBJECT_MAX,
    allowed: |at, c| c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '_' | '.' | '-')),
};
const CREATED_MAP: Rule = Rule {
    what: "map name",
    advice: "use letters, digits, '_' and '.'",
    max: CREATED_MAP_MAX,
    allowed: |_, c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'),
};
const MEMBER_MAP: Rule = Rule { max: MEMBER_MAX, ..CREATED_MAP };
const PROGRAM: Rule = Rule { what: "program name", max: MEMBER_MAX, ..CREATED_MAP };

impl Rule {
    fn check(&self, name: &str) -> Result<(), NameError> {
        let Self { what, advice: rule, max, allowed } = *self;
        if name.is_empty() {
            return Err(NameError::Empty { what, rule });
        }
        if let Some((_, bad)) = name.chars().enumerate().find(|&(at, c)| !allowed(at, c)) {
            return Err(NameError::BadCharacter { what, name: shorten(name), bad, rule });
        }
        if name.len() > max {
            return Err(NameError::TooLong { what, name: shorten(name), len: name.len(), max });
        }
        Ok(())
    }
}

/// Enough of a name to recognise it: an error must not carry a megabyte of its cause.
pub(crate) fn shorten(name: &str) -> String {
    const SHOWN: usize = 80;
    if name.chars().count() <= SHOWN {
        return name.to_owned();
    }
    name.chars().take(SHOWN).chain(['…']).collect()
}

/// Name of an object: 1 to 63 of `[A-Za-z0-9_.-]`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        OBJECT.check(name)?;
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a program: `OBJECT/PROGRAM`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramName {
    /// The object it belongs to.
    pub object: ObjectName,
    /// The C function's name.
    pub program: String,
}

impl ProgramName {
    /// The program of that function name in an object.
    pub fn new(object: &ObjectName, program: &str) -> Result<Self, NameError> {
        PROGRAM.check(program)?;
        Ok(Self { object: object.clone(), program: program.to_owned() })
    }
}

impl FromStr for ProgramName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let (object, program) = name.split_once('/').ok_or_else(|| NameError::NotTwoParts {
            what: PROGRAM.what,
            name: shorten(name),
            member: "PROGRAM",
        })?;
        Self::new(&object.parse()?, program)
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.object, self.program)
    }
}

/// Name of a map that the agent owns: `OBJECT/MAP`, or `MAP` for one made by CreateMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapName {
    text: String,
    /// Length of the object's name; 0 for a created map.
    object_len: usize,
}

impl MapName {
    /// The map of that name in an object.
    pub fn in_object(object: &ObjectName, map: &str) -> Result<Self, NameError> {
        MEMBER_MAP.check(map)?;
        Ok(Self { text: format!("{object}/{map}"), object_len: object.as_str().len() })
    }

    /// What a watch calls a map that the agent does not own, and that has no name: `id:7`.
    pub fn of_id(id: u32) -> Self {
        Self { text: format!("{ID}{id}"), object_len: 0 }
    }

    /// It is no name, but the kernel's id.
    pub fn is_id(&self) -> bool {
        self.text.starts_with(ID)
    }

    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The object's name; `None` for a created map.
    pub fn object(&self) -> Option<&str> {
        (self.object_len > 0).then(|| &self.text[..self.object_len])
    }

    /// The name within the object, or all of it for a created map.
    pub fn member(&self) -> &str {
        if self.object_len == 0 { &self.text } else { &self.text[self.object_len + 1..] }
    }
}

/// So that a map of names can be searched without a copy. Names compare and hash as their texts.
impl Borrow<str> for MapName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl Hash for MapName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl FromStr for MapName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if let Some((object, map)) = name.split_once('/') {
            return Self::in_object(&object.parse()?, map);
        }
        CREATED_MAP.check(name)?;
        Ok(Self { text: name.to_owned(), object_len: 0 })
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// In front of the kernel's id of a map. No name has a colon.
const ID: &str = "id:";

/// How a request names a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MapRef {
    /// A map that the agent owns.
    Name(MapName),
    /// The kernel's id.
    Id(u32),
    /// A pin below the agent's bpffs. The agent resolves it there without following links.
    Pin(String),
}

impl FromStr for MapRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(id) = text.strip_prefix(ID) {
            return match id.parse() {
                Ok(id) if id > 0 => Ok(Self::Id(id)),
                _ => Err(NameError::BadId(shorten(id))),
            };
        }
        if let Some(path) = text.strip_prefix("pin:") {
            if path.is_empty() {
                return Err(NameError::Empty { what: "pin path", rule: "write pin:PATH" });
            }
            return Ok(Self::Pin(path.to_owned()));
        }
        Ok(Self::Name(text.parse()?))
    }
}

impl fmt::Display for MapRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => write!(f, "id:{id}"),
            Self::Pin(path) => write!(f, "pin:{path}"),
        }
    }
}

/// A pattern for map names: `*` is any run without `/`, `?` any one character but `/`. Without
/// either it is a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MapGlob(String);

impl MapGlob {
    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name fits. An id is no name: it fits itself alone.
    pub fn matches(&self, name: &MapName) -> bool {
        if name.is_id() {
            return self.0 == name.as_str();
        }
        glob_matches(self.0.as_bytes(), name.as_str().as_bytes())
    }
}

impl FromStr for MapGlob {
    type Err = NameError;

    fn from_str(glob: &str) -> Result<Self, NameError> {
        const WHAT: &str = "map pattern";
        const RULE: &str = "use a map name in which '*' and '?' may stand for characters";
        if glob.is_empty() {
            return Err(NameError::Empty { what: WHAT, rule: RULE });
        }
        if glob.starts_with(ID) {
            let MapRef::Id(id) = glob.parse()? else { unreachable!("it starts as one") };
            return Ok(Self(MapName::of_id(id).to_string()));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.-/*?".contains(c);
        if let Some(bad) = glob.chars().find(|&c| !fits(c)) {
            return Err(NameError::BadCharacter {
                what: WHAT,
                name: shorten(glob),
                bad,
                rule: RULE,
            });
        }
        let max = OBJECT_MAX + 1 + MEMBER_MAX;
        if glob.len() > max {
            let len = glob.len();
            return Err(NameError::TooLong { what: WHAT, name: shorten(glob), len, max });
        }
        // What no map can ever be called would be waited for in vain.
        if !glob.contains(['*', '?']) {
            glob.parse::<MapName>()?;
        } else if let Some((object, map)) = glob.split_once('/')
            && (object.is_empty() || map.is_empty() || map.contains('/'))
        {
            let name = shorten(glob);
            return Err(NameError::NotTwoParts { what: WHAT, name, member: "MAP" });
        }
        Ok(Self(glob.to_owned()))
    }
}

impl fmt::Display for MapGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Backtracks to the last `*` only, so a hostile pattern costs at most pattern × name steps.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (glob.get(g), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((g, n));
                g += 1;
            }
            (Some(b'?'), Some(&c)) if c != b'/' => (g, n) = (g + 1, n + 1),
            (Some(p), Some(c)) if p == c && *p != b'?' => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, from)) if from < name.len() && name[from] != b'/' => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for text in ["stats", "proto-counters/by_proto", "a/.rodata", "x.y/z"] {
            assert_eq!(text.parse::<MapName>().unwrap().to_string(), text);
        }
        for text in ["m", "o/m", "id:7", "pin:a/b"] {
            assert_eq!(text.parse::<MapRef>().unwrap().to_string(), text);
        }
        let name: MapName = "o/m".parse().unwrap();
        assert_eq!((name.object(), name.member()), (Some("o"), "m"));
        let name: MapName = "m".parse().unwrap();
        assert_eq!((name.object(), name.member()), (None, "m"));
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        for (text, part) in [
            ("", "empty"),
            ("sixteen_letters_", "at most 15"),
            ("a b", "' '"),
            ("o/a/b", "'/'"),
            ("/m", "object name is empty"),
            ("o/", "map name is empty"),
            ("-o/m", "'-'"),
            ("né", "'é'"),
            ("a\0b", "'\\0'"),
            ("id:0", "1 to 4294967295"),
            ("id:x", "1 to 4294967295"),
            ("pin:", "pin path is empty"),
        ] {
            let said = text.parse::<MapRef>().unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
        let long = "x".repeat(1 << 20);
        assert!(long.parse::<MapRef>().unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn globs_stop_at_the_slash() {
        let fits = |glob: &str, name: &str| {
            glob.parse::<MapGlob>().unwrap().matches(&name.parse().unwrap())
        };
        assert!(fits("*", "stats"));
        assert!(!fits("*", "o/stats"));
        assert!(fits("o/*", "o/stats"));
        assert!(fits("*/st?ts", "o/stats"));
        assert!(fits("*a*/*s", "ab/xs"));
        assert!(!fits("o/?", "o/stats"));
        assert!(!fits("o?stats", "o/stats"));
    }

    #[test]
    fn patterns_that_no_name_can_fit_are_refused() {
        for (glob, part) in [
            ("", "empty"),
            ("[a]", "'['"),
            ("*/*/*", "OBJECT/MAP"),
            ("/*", "OBJECT/MAP"),
            ("o?/", "OBJECT/MAP"),
            ("o/a/b", "'/'"),
            ("sixteen_letters_", "at most 15"),
        ] {
            let said = glob.parse::<MapGlob>().unwrap_err().to_string();
            assert!(said.contains(part), "{glob:?}: {said}");
        }
    }
}
