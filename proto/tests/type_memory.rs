//! What a type says that it takes is never less than what it takes, and not absurdly more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bpfgate_proto::value::{Display, Encoding, EnumValue, Field, Kind, Plan, Summed, Type};

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn held(change: impl Fn(usize) -> usize) {
    let _ = HELD.try_with(|held| held.set(change(held.get())));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(|bytes| bytes.wrapping_add(layout.size()));
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        held(|bytes| bytes.wrapping_sub(layout.size()));
        // SAFETY: the caller vouches that it came from here with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn unsigned(size: u32) -> Type {
    let kind =
        Kind::Integer { encoding: Encoding::Unsigned, big_endian: false, display: Display::Plain };
    Type { name: format!("__u{}", size * 8), size, kind }
}

fn record(fields: Vec<(String, Type)>) -> Type {
    let mut at = 0;
    let field = |(name, ty): (String, Type)| {
        let bit_offset = at * 8;
        at += ty.size;
        Field { name, ty, bit_offset, bit_size: 0 }
    };
    let fields = fields.into_iter().map(field).collect();
    Type { name: "struct s".into(), size: at, kind: Kind::Record { is_union: false, fields } }
}

fn array(element: Type, length: u32) -> Type {
    let size = element.size * length;
    let kind = Kind::Array { element: Box::new(element), length, display: Display::Plain };
    Type { name: String::new(), size, kind }
}

fn enumeration(values: u64) -> Type {
    let values = (0..values)
        .map(|value| EnumValue { name: format!("SOME_RATHER_LONG_NAME_{value}"), value })
        .collect();
    Type { name: "enum e".into(), size: 4, kind: Kind::Enum { signed: false, values } }
}

fn wide(fields: usize, ty: &Type) -> Type {
    record((0..fields).map(|n| (format!("field_{n}"), ty.clone())).collect())
}

#[test]
fn a_type_takes_no_more_than_it_says() {
    let mixed = || record(vec![("a".into(), unsigned(4)), ("b".into(), unsigned(8))]);
    let deep = (0..20).fold(mixed(), |ty, n| record(vec![(format!("{n}").repeat(100), ty)]));
    for (name, make) in [
        ("one number", Box::new(|| unsigned(8)) as Box<dyn Fn() -> Type>),
        ("many fields", Box::new(|| wide(60_000, &unsigned(4)))),
        ("many numbers", Box::new(|| array(unsigned(8), 60_000))),
        ("many records", Box::new(move || array(mixed(), 60_000))),
        ("long paths", Box::new(move || array(deep.clone(), 1000))),
        ("many names", Box::new(|| wide(50, &enumeration(1000)))),
        ("control characters", Box::new(|| record(vec![("\n".repeat(10_000), unsigned(4))]))),
        ("a text", Box::new(|| array(unsigned(1), 3))),
    ] {
        let before = HELD.get();
        let ty = make();
        let said = ty.memory();
        let plan = Plan::compile(&ty).unwrap();
        plan.leaves();
        let mut text = Vec::new();
        plan.write_json(&vec![0; ty.size as usize], &mut text).unwrap();
        drop(text);
        let takes = HELD.get().wrapping_sub(before) as u64;
        assert!(takes <= said, "{name}: {takes} of {said}");
        assert!(said <= 4 * takes + 4096, "{name}: {takes} of {said}");

        let before = HELD.get();
        let summed = Summed::ways(&ty, 2).find_map(|summed| {
            let wide = summed.ty.as_ref().map(Plan::compile).transpose().ok()?;
            Some((summed, wide))
        });
        let (summed, wide) = summed.unwrap();
        let said = summed.memory();
        if let Some(wide) = &wide {
            wide.leaves();
            let mut text = Vec::new();
            wide.write_json(&vec![0; wide.size()], &mut text).unwrap();
        }
        let takes = HELD.get().wrapping_sub(before) as u64;
        assert!(takes <= said, "the sum of {name}: {takes} of {said}");
        assert!(said <= 4 * takes + 4096, "the sum of {name}: {takes} of {said}");
    }
}
