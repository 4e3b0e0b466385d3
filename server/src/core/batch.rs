//! Many entries of a map, in the order of the request.
//!
//! Work goes slice by slice, and a slice is one system call where the kernel has the batch. Whoever
//! runs it has its turn between two slices. Blocking: it belongs on the blocking pool.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::entries::{TRIES, is_contention, retrying};
use super::{Error, Locking, Map, Reference, Registry, UpdateMode};
use crate::sys::BatchRefused;

/// Entries of one slice: a larger batch gains nothing and holds the kernel longer.
const SLICE_MAX: usize = 4096;
/// Bytes of a slice as the kernel takes it, but never less than one entry: one value for all CPUs
/// takes many times its own bytes there.
const SLICE_BYTES: usize = 1 << 20;

/// The same of entries that stand for something else.
const POINTED_MAX: usize = 16;

/// A number of keys back to back.
#[derive(Debug, Clone)]
pub struct KeyList {
    bytes: Bytes,
    size: usize,
    count: usize,
}

/// A number of keys back to back, and as many values.
#[derive(Debug, Clone)]
pub struct Packed {
    keys: KeyList,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    /// For all CPUs one each, or one for each, `stride` bytes apart.
    Bytes { bytes: Bytes, stride: usize },
    /// What they stand for.
    References(std::vec::IntoIter<Reference>),
}

impl KeyList {
    /// Keys that are to be the map's. `field` is theirs in the proto file.
    pub fn new(map: &Map, field: &'static str, bytes: Bytes) -> Result<Self, Error> {
        map.check_keys_are_bytes()?;
        let size = map.sys().key_len();
        if size == 0 || !bytes.len().is_multiple_of(size) {
            let problem = format!("{} bytes are no whole number of keys of {size}", bytes.len());
            return Err(packed(map, field, problem));
        }
        Ok(Self { count: bytes.len() / size, size, bytes })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One of them. Panics if there are not so many.
    pub(super) fn get(&self, at: usize) -> &[u8] {
        nth(&self.bytes, self.size, at)
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.size)
    }
}

impl Packed {
    /// Entries that are to be the map's.
    pub fn new(map: &Map, count: u32, keys: Bytes, values: Bytes) -> Result<Self, Error> {
        map.check_values_are_bytes()?;
        let keys = KeyList::new(map, "entries.keys", keys)?;
        if keys.len() != count as usize {
            let (given, size) = (keys.bytes.len(), map.sys().key_len());
            let problem = format!("it is {count}, but {given} bytes are {} keys", keys.len());
            return Err(packed(map, "entries.count", format!("{problem} of {size}")));
        }
        let (one, each) = (map.value_size(), map.sys().value_len());
        let fits = |stride: &usize| Some(values.len()) == keys.len().checked_mul(*stride);
        let Some(stride) = [each, one].into_iter().find(fits) else {
            let (given, wanted) = (values.len(), map.value_lengths());
            let problem = format!("{given} bytes are not {count} values of {wanted}");
            return Err(packed(map, "entries.values", problem));
        };
        Ok(Self { keys, values: Values::Bytes { bytes: values, stride } })
    }

    /// Entries that are to stand for something else.
    pub fn pointing(map: &Map, keys: Bytes, references: Vec<Reference>) -> Result<Self, Error> {
        if map.value_kind().is_none() {
            let problem = "its values are plain bytes".to_owned();
            return Err(packed(map, "entries.references", problem));
        }
        let keys = KeyList::new(map, "entries.keys", keys)?;
        if keys.len() != references.len() {
            let problem = format!("{} do not go with {} keys", references.len(), keys.len());
            return Err(packed(map, "entries.references", problem));
        }
        Ok(Self { keys, values: Values::References(references.into_iter()) })
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn advance(&mut self, count: usize) {
        self.keys.bytes.advance(count * self.keys.size);
        self.keys.count -= count;
        match &mut self.values {
            Values::Bytes { bytes, stride } => bytes.advance(count * *stride),
            Values::References(references) => {
                if let Some(last) = count.checked_sub(1) {
                    references.nth(last);
                }
            }
        }
    }
}

fn packed(map: &Map, field: &'static str, problem: String) -> Error {
    Error::Packed { map: map.text().to_owned(), field, problem }
}

/// How far a slice came, and what stopped it.
struct Sliced {
    done: usize,
    refused: Option<io::Error>,
}

/// Writes entries, and stops at the first that the kernel does not take.
#[derive(Debug)]
pub struct Writer {
    registry: Arc<Registry>,
    map: Arc<Map>,
    mode: UpdateMode,
    locking: Locking,
    applied: u64,
}

impl Writer {
    /// Fails for a map that cannot be written. References are looked up in the registry.
    pub fn new(
        registry: Arc<Registry>,
        map: Arc<Map>,
        mode: UpdateMode,
        locking: Locking,
    ) -> Result<Self, Error> {
        map.require_writable()?;
        map.require(map.capabilities().update, "update")?;
        Ok(Self { registry, map, mode, locking, applied: 0 })
    }

    /// The map that is written.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Entries written so far.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Writes the first entries of those at hand and leaves the rest. [`Error::Partial`] counts all
    /// that were written since the beginning.
    pub fn write_slice(&mut self, entries: &mut Packed) -> Result<(), Error> {
        let Values::Bytes { bytes: values, stride } = &entries.values else {
            return self.point_slice(entries);
        };
        let map = &self.map;
        let (key_len, value_len) = (map.sys().key_len(), map.sys().value_len());
        let count = entries.len().min(SLICE_MAX).min((SLICE_BYTES / value_len.max(1)).max(1));
        // The kernel refuses no entries too, where it refuses any: that is about no key of ours.
        if count == 0 {
            return Ok(());
        }
        let keys = entries.keys.bytes.slice(..count * key_len);
        let values = &values[..count * stride];
        let spread;
        let values = if *stride == value_len {
            values
        } else {
            spread = map.spread(values);
            &spread
        };
        let Sliced { done, refused } =
            if self.mode == UpdateMode::Any && map.capabilities().batch_update {
                retrying_batch(count, |done| {
                    let (keys, values) = (&keys[done * key_len..], &values[done * value_len..]);
                    map.sys().update_batch(keys, values, map.locks(self.locking))
                })
            } else {
                // The kernel's batches refuse NOEXIST and EXIST.
                one_by_one(count, |at| {
                    let (key, value) = (nth(&keys, key_len, at), nth(values, value_len, at));
                    map.sys().update(key, value, map.update_flags(self.mode, self.locking))
                })
            };
        self.applied += done as u64;
        entries.advance(done);
        let Some(source) = refused else { return Ok(()) };
        let key = nth(&keys, key_len, done);
        Err(self.stopped(self.map.entry_error("update an entry of", key, source)))
    }

    /// The same for entries that stand for something else. Each can mean to walk procfs.
    fn point_slice(&mut self, entries: &mut Packed) -> Result<(), Error> {
        let Values::References(references) = &mut entries.values else { return Ok(()) };
        for reference in references.by_ref().take(POINTED_MAX) {
            let key = entries.keys.get(0);
            if let Err(error) = self.registry.point(&self.map, key, &reference, self.mode) {
                return Err(self.stopped(error));
            }
            self.applied += 1;
            entries.keys.bytes.advance(entries.keys.size);
            entries.keys.count -= 1;
        }
        Ok(())
    }

    /// An error that tells how far it came.
    pub fn stopped(&self, source: Error) -> Error {
        Error::Partial { applied: self.applied, done: "written", source: Box::new(source) }
    }
}

/// Removes entries by their keys.
#[derive(Debug)]
pub struct Remover {
    map: Arc<Map>,
    keys: KeyList,
    missing_ok: bool,
    /// Keys behind us.
    at: usize,
    applied: u64,
    found: Vec<u8>,
}

impl Remover {
    /// Fails for a map whose entries cannot be removed. Unless `missing_ok` the first key without
    /// an entry is an error.
    pub fn new(map: Arc<Map>, keys: KeyList, missing_ok: bool) -> Result<Self, Error> {
        map.require_writable()?;
        map.require(map.capabilities().delete, "delete")?;
        let found = vec![0; keys.len().div_ceil(8)];
        Ok(Self { map, keys, missing_ok, at: 0, applied: 0, found })
    }

    /// Entries removed so far, and a bit for each key: whether it had one.
    pub fn finish(self) -> (u64, Vec<u8>) {
        (self.applied, self.found)
    }

    /// Removes the next entries; whether that was all.
    pub fn remove_slice(&mut self) -> Result<bool, Error> {
        let map = &self.map;
        let key_len = map.sys().key_len();
        let count = (self.keys.len() - self.at).min(SLICE_MAX);
        // The kernel refuses no keys too, where it refuses any: that is about no key of ours.
        if count == 0 {
            return Ok(true);
        }
        let keys = &self.keys.bytes[self.at * key_len..][..count * key_len];
        let Sliced { done, refused } = if map.capabilities().batch_delete {
            retrying_batch(count, |done| map.sys().delete_batch(&keys[done * key_len..]))
        } else {
            one_by_one(count, |at| map.sys().delete(nth(keys, key_len, at)))
        };
        for index in self.at..self.at + done {
            self.found[index / 8] |= 1 << (index % 8);
        }
        self.at += done;
        self.applied += done as u64;
        match refused.map(|source| map.delete_error(nth(keys, key_len, done), source)) {
            None => {}
            Some(Error::NoKey { .. }) if self.missing_ok => self.at += 1,
            Some(source) => {
                let (applied, done) = (self.applied, "removed");
                return Err(Error::Partial { applied, done, source: Box::new(source) });
            }
        }
        Ok(self.at == self.keys.len())
    }
}

fn nth(packed: &[u8], size: usize, at: usize) -> &[u8] {
    &packed[at * size..(at + 1) * size]
}

/// `batch` is given how many entries are done, and does the rest.
fn retrying_batch(
    count: usize,
    mut batch: impl FnMut(usize) -> Result<(), BatchRefused>,
) -> Sliced {
    let (mut all, mut tries) = (0, 1);
    loop {
        let Err(BatchRefused { done, source }) = batch(all) else {
            return Sliced { done: count, refused: None };
        };
        all += done;
        tries = if done > 0 { 1 } else { tries + 1 };
        if !is_contention(&source) || tries > TRIES {
            return Sliced { done: all, refused: Some(source) };
        }
        std::thread::yield_now();
    }
}

fn one_by_one(count: usize, mut one: impl FnMut(usize) -> io::Result<()>) -> Sliced {
    for at in 0..count {
        if let Err(error) = retrying(|| one(at)) {
            return Sliced { done: at, refused: Some(error) };
        }
    }
    Sliced { done: count, refused: None }
}
