//! Maps without keys: queues, stacks and bloom filters.

use super::entries::retrying;
use super::{Error, Map, Operation, kind};
use crate::sys::UpdateFlags;

impl Map {
    /// Adds a value. In a full queue or stack `replace_oldest` makes room.
    pub fn push(&self, value: &[u8], replace_oldest: bool) -> Result<(), Error> {
        self.check_operation(Operation::Push)?;
        self.check_one_value(value)?;
        if replace_oldest && self.is_filter() {
            let problem = "a bloom filter forgets nothing and is never full".to_owned();
            return Err(Error::Invalid { field: "replace_oldest", problem });
        }
        let flags = if replace_oldest { UpdateFlags::EXIST } else { UpdateFlags::ANY };
        retrying(|| self.sys().push(value, flags))
            .map_err(|source| self.entry_error("push a value to", &[], source))
    }

    /// Takes the next value out.
    pub fn pop(&self) -> Result<Vec<u8>, Error> {
        self.require_writable()?;
        self.require(self.capabilities().pop, "pop")?;
        let mut value = vec![0; self.sys().value_len()];
        retrying(|| self.sys().pop(&mut value))
            .map_err(|source| self.queue_error("pop a value from", source))?;
        Ok(value)
    }

    /// The next value, which stays; a bloom filter is asked for `wanted`, and answers that
    /// unless it certainly never saw it.
    pub fn peek(&self, wanted: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        self.require(self.capabilities().peek, "peek")?;
        let wrong = |problem: &str| Error::Invalid { field: "value", problem: problem.to_owned() };
        let mut value = match wanted {
            Some(wanted) if self.is_filter() => {
                self.check_one_value(wanted)?;
                wanted.to_vec()
            }
            Some(_) => return Err(wrong("a queue or stack gives its next value: leave it out")),
            None if self.is_filter() => {
                return Err(wrong("is missing: a bloom filter is asked for a value"));
            }
            None => vec![0; self.sys().value_len()],
        };
        retrying(|| self.sys().peek(&mut value))
            .map_err(|source| self.queue_error("peek at", source))?;
        Ok(value)
    }

    fn is_filter(&self) -> bool {
        kind::is_filter(self.sys().info().map_type)
    }

    fn queue_error(&self, attempt: &'static str, source: std::io::Error) -> Error {
        let map = self.text().to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) if self.is_filter() => Error::NotInFilter { map },
            Some(libc::ENOENT) => Error::Empty { map },
            _ => self.entry_error(attempt, &[], source),
        }
    }

    fn check_one_value(&self, value: &[u8]) -> Result<(), Error> {
        let want = self.sys().value_len();
        if value.len() == want {
            return Ok(());
        }
        Err(self.bad_length("value", value.len(), want.to_string()))
    }
}
