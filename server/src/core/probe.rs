//! Asking the kernel which operations a map has, without touching what is in it.
//!
//! Reads are tried on the map itself, and so are commands that check who may before they do
//! anything. A write has no dry run: what a type has of those is learnt once, on a specimen that
//! the broker makes and nobody else sees.

use std::io;
use std::sync::OnceLock;

use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_STRUCT_OPS};
use tracing::debug;

use crate::broker::{self, Specimen};
use crate::sys::{self, ENOTSUPP, UpdateFlags};

/// A larger value is not copied just to see whether it can be.
const VALUE_BYTES: usize = 64 << 10;

/// What a type has, as far as that is the same for all maps of the type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one answer for each command")]
pub(super) struct TypeAnswers {
    /// `BPF_MAP_LOOKUP_ELEM`: with a key, or without one.
    pub lookup: bool,
    /// `BPF_MAP_UPDATE_ELEM`: with a key, or without one.
    pub update: bool,
    /// `BPF_MAP_DELETE_ELEM`.
    pub delete: bool,
    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: with a key, or without one.
    pub take: bool,
    /// `BPF_MAP_GET_NEXT_KEY`.
    pub next_key: bool,
}

/// What a type has. Asked once for each type; of one that the agent cannot make, the map at hand
/// tells what can be told without writing to it.
pub(super) fn type_answers(map: &sys::Map) -> TypeAnswers {
    const TYPES: usize = 64;
    static KNOWN: [OnceLock<TypeAnswers>; TYPES] = [const { OnceLock::new() }; TYPES];
    let map_type = map.info().map_type;
    let slot = KNOWN.get(map_type as usize);
    if let Some(known) = slot.and_then(OnceLock::get) {
        return *known;
    }
    match broker::specimen(map_type) {
        Ok(specimen) => {
            let answers = ask(&specimen);
            slot.map_or(answers, |slot| *slot.get_or_init(|| answers))
        }
        // Not kept: what is missing now may be there the next time.
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            debug!(map_type, %error, cause, "no map of this type to learn from");
            let lookup = lookup(map).unwrap_or(false);
            TypeAnswers { lookup, next_key: next_key(map), ..TypeAnswers::default() }
        }
    }
}

fn ask(specimen: &Specimen) -> TypeAnswers {
    let Specimen { map, key, value, .. } = specimen;
    let mut read = vec![0; map.value_len()];
    if map.key_len() == 0 {
        return TypeAnswers {
            update: has(map.push(value, UpdateFlags::ANY)),
            lookup: has(map.peek(&mut read)),
            take: has(map.pop(&mut read)),
            delete: false,
            next_key: false,
        };
    }
    let update = |flags| map.update(key, value, flags);
    let answers = TypeAnswers {
        update: has(update(UpdateFlags::ANY)),
        lookup: has(map.lookup(key, &mut read)),
        next_key: next_key(map),
        take: has(map.lookup_and_delete(key, &mut read, false)),
        delete: false,
    };
    // What was taken out just now has to be there again.
    let _ = update(UpdateFlags::ANY);
    TypeAnswers { delete: has(map.delete(key)), ..answers }
}

/// Whether this very map has lookups; `None` if its values are too large to try.
pub(super) fn lookup(map: &sys::Map) -> Option<bool> {
    if map.value_len() > VALUE_BYTES {
        return None;
    }
    let mut value = vec![0; map.value_len()];
    if map.key_len() == 0 {
        return Some(has(map.peek(&mut value)));
    }
    Some(has(map.lookup(&any_key(map), &mut value)))
}

/// Whether the map's values have a spin lock.
pub(super) fn lock(map: &sys::Map) -> bool {
    // Only BTF can tell the kernel of one.
    if map.info().btf_value_type_id == 0 || map.key_len() == 0 {
        return false;
    }
    let mut value = vec![0; map.value_len()];
    has(map.lookup_locked(&any_key(map), &mut value))
}

/// Whether the map can be frozen. The kernel looks for what forbids it (locks, timers and the like
/// in the values) before it looks whether the descriptor may write, and this one may not.
pub(super) fn freeze(map: &sys::Map) -> bool {
    if !freeze_can_be_asked() {
        // What forbids it the caller hears from the kernel.
        return map.info().map_type != BPF_MAP_TYPE_STRUCT_OPS as u32;
    }
    let Ok(reader) = broker::open_id(map.info().id) else { return false };
    refused_to_reader(&reader)
}

/// Before Linux 6.5 the kernel does not look at the descriptor at all: asking would be doing.
fn freeze_can_be_asked() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let specimen = broker::specimen(BPF_MAP_TYPE_ARRAY as u32);
        let reader = specimen.and_then(|specimen| broker::open_id(specimen.map.info().id));
        reader.is_ok_and(|reader| refused_to_reader(&reader))
    })
}

fn refused_to_reader(reader: &sys::Map) -> bool {
    let may_not = reader.access().is_ok_and(|access| !access.write);
    may_not && matches!(reader.freeze(), Err(error) if error.raw_os_error() == Some(libc::EPERM))
}

fn next_key(map: &sys::Map) -> bool {
    if map.key_len() == 0 {
        return false;
    }
    has(map.next_key(None, &mut vec![0; map.key_len()]).map(drop))
}

/// A key that can be asked for: also the number of a descriptor that no process has.
fn any_key(map: &sys::Map) -> Vec<u8> {
    let mut key = vec![0; map.key_len()];
    if super::kind::keys_are_descriptors(map.info().map_type) {
        key.copy_from_slice(&i32::MAX.to_ne_bytes());
    }
    key
}

/// Whether an answer is about the entry rather than about the operation.
fn has(answer: io::Result<()>) -> bool {
    let Err(error) = answer else { return true };
    // ENOSPC: of sockets, only maps with values of 8 bytes can be read.
    !matches!(
        error.raw_os_error(),
        Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL | libc::EPERM | libc::ENOSPC)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_whether_a_map_can_be_frozen_does_not_freeze_it() {
        let Specimen { map, key, value, .. } =
            broker::specimen(BPF_MAP_TYPE_ARRAY as u32).expect("an array");
        assert!(freeze(&map));
        map.update(&key, &value, UpdateFlags::ANY).expect("it can still be written");
        map.freeze().expect("it can be frozen indeed");
        let refused = map.update(&key, &value, UpdateFlags::ANY).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
