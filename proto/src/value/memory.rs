//! How much memory a type takes with all that is compiled of it, without compiling anything.

use super::compile::is_char;
use super::leaf::Leaf;
use super::plan::{Plan, Step};
use super::schema::{Display, EnumValue, Field, Kind, Type};
use super::script;
use super::wire::MAX_NODES;

/// What an allocation takes beside its bytes.
const ALLOCATION: u64 = 16;

/// What one part adds, in bytes where nothing else is said.
#[derive(Default)]
struct Weight {
    ty: u64,
    plan: u64,
    /// A count.
    leaves: u64,
    leaf_bytes: u64,
    /// Of one leaf.
    longest: u64,
}

impl Type {
    /// Bytes that the type takes at most, with a plan of it and all that the plan makes when it is
    /// first needed.
    pub fn memory(&self) -> u64 {
        let Weight { ty, plan, leaves, leaf_bytes, longest } = weigh(self, 0);
        let most = MAX_NODES as u64;
        let leaf_bytes =
            if leaves > most { leaf_bytes.min(most.saturating_mul(longest)) } else { leaf_bytes };
        let own = (size_of::<Self>() + size_of::<Plan>()) as u64
            + least::<Step>()
            + least::<Leaf>()
            + 2 * script::act_bytes();
        [own, ty, plan, leaf_bytes].into_iter().fold(0, u64::saturating_add)
    }
}

/// A list has room for so much when its first element comes.
fn least<T>() -> u64 {
    4 * size_of::<T>() as u64 + ALLOCATION
}

/// An element of a list that doubles when it is full.
fn grown<T>() -> u64 {
    2 * size_of::<T>() as u64
}

fn text(bytes: usize) -> u64 {
    bytes as u64 + ALLOCATION
}

/// As JSON has it.
fn escaped(name: &str) -> usize {
    let length = |byte: u8| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    name.bytes().map(length).sum()
}

/// What belongs to a part whose leaves' paths start with so many bytes.
fn weigh(ty: &Type, path: u64) -> Weight {
    // Its step, and its act with the text before it; of a record two pieces of text.
    let step = grown::<Step>() + 2 * script::act_bytes();
    let leaf = grown::<Leaf>() + path + ALLOCATION;
    let scalar = |ty, plan| Weight { ty, plan, leaves: 1, leaf_bytes: leaf, longest: leaf };
    let name = text(ty.name.len());
    match &ty.kind {
        Kind::Integer { .. } | Kind::Float | Kind::Pointer | Kind::Opaque { .. } => {
            scalar(name, step)
        }
        Kind::Enum { signed: _, values } => {
            let names: u64 = values.iter().map(|value| text(value.name.len())).sum();
            let count = values.len() as u64;
            let in_type = names + grown::<EnumValue>() * count + least::<EnumValue>();
            // In order of declaration and by number.
            scalar(name + in_type, step + names + 48 * count + 4 * ALLOCATION)
        }
        Kind::Array { element, length, display } => {
            let plain = *display == Display::Plain && !is_char(element);
            let digits = u64::from(length.checked_ilog10().unwrap_or(0)) + 3;
            let each = weigh(element, path + digits);
            let times = if plain { u64::from(*length) } else { 1 };
            Weight {
                ty: name + size_of::<Type>() as u64 + ALLOCATION + each.ty,
                plan: step + each.plan,
                leaves: each.leaves.saturating_mul(times),
                leaf_bytes: each.leaf_bytes.saturating_mul(times),
                longest: each.longest,
            }
        }
        Kind::Record { is_union: _, fields } => {
            let mut all = Weight { ty: name + least::<Field>(), plan: step, ..Weight::default() };
            for Field { name, ty, .. } in fields {
                let part = weigh(ty, path + name.len() as u64 + 1);
                all.ty += grown::<Field>() + text(name.len()) + part.ty;
                // Its name, the name in quotes, and that in the text before it.
                let quoted = escaped(name) + 3;
                all.plan += text(name.len()) + text(quoted) + text(quoted + 32) + part.plan;
                all.leaves = all.leaves.saturating_add(part.leaves);
                all.leaf_bytes = all.leaf_bytes.saturating_add(part.leaf_bytes);
                all.longest = all.longest.max(part.longest);
            }
            all
        }
    }
}
