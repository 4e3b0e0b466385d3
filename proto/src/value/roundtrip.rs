//! Decoding and encoding undo each other, for types and bytes that nobody thought of.

use super::plan::Plan;
use super::samples::{
    array, array_shown, bitfield, boolean, character, enumeration, everything, float, pointer,
    record, shown, signed, structure, union, unsigned,
};
use super::schema::{ByteOrder, Display, Kind, Type};
use super::{Summed, json_to_value, value_to_json};

/// `SplitMix64`: the same cases in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        // Small numbers, zeros and ones are where the special cases are.
        let style = self.below(4);
        let mut byte = || match style {
            0 => self.below(256),
            1 => self.below(2),
            2 => self.below(2) * 255,
            _ => self.below(2) * self.below(128),
        };
        (0..count).map(|_| u8::try_from(byte()).unwrap()).collect()
    }

    fn ty(&mut self, depth: u32) -> Type {
        let size = [1, 2, 4, 8, 16][usize::try_from(self.below(5)).unwrap()];
        let few = u32::try_from(self.below(4)).unwrap();
        match self.below(if depth == 0 { 11 } else { 15 }) {
            0 => unsigned(size),
            1 => signed(size),
            2 => signed(1 + u32::try_from(self.below(16)).unwrap()),
            3 => boolean(),
            4 => character(),
            5 => array(character(), few * 5),
            6 => float(if few < 2 { 4 } else { 8 }),
            7 => enumeration(size.min(8), few < 2, &[("ZERO", 0), ("ONE", 1), ("LAST", -1)]),
            8 => pointer(),
            9 => shown(4, few < 2, if few == 0 { Display::Ipv4 } else { Display::Hex }),
            10 => array_shown(unsigned(1), 16, Display::Ipv6),
            11 => array(self.ty(depth - 1), few),
            12 => bitfields(self),
            13 => {
                let members = (0..=few).map(|_| self.ty(depth - 1)).collect::<Vec<_>>();
                let names = ["a", "b", "c", "d"].into_iter();
                union(names.zip(members).collect())
            }
            _ => {
                let members = (0..=few).map(|_| self.ty(depth - 1)).collect::<Vec<_>>();
                let names = ["a", "b", "c", "d"].into_iter();
                structure(names.zip(members).collect())
            }
        }
    }
}

fn bitfields(dice: &mut Dice) -> Type {
    let mut at = 0;
    let mut fields = Vec::new();
    for name in ["w", "x", "y", "z"] {
        let bits = 1 + u32::try_from(dice.below(16)).unwrap();
        let ty = if bits % 2 == 0 { signed(4) } else { unsigned(8) };
        fields.push(bitfield(name, ty, at, bits));
        at += bits + u32::try_from(dice.below(3)).unwrap();
    }
    record("struct bits", 16, false, fields)
}

/// Bytes that some value of the type has: padding is zero, and what has two notations has the
/// one that is shown.
fn settle(plan: &Plan, bytes: &[u8]) -> Option<Vec<u8>> {
    plan.encode(&plan.decode(bytes).unwrap()).ok()
}

#[test]
fn what_is_decoded_encodes_to_the_same_bytes() {
    let mut dice = Dice(7);
    let (mut whole, mut settled_differently) = (0, 0);
    for _ in 0..3000 {
        let ty = dice.ty(3);
        let order = if dice.below(4) == 0 { ByteOrder::Big } else { ByteOrder::Little };
        let plan = Plan::compile_for(&ty, order).unwrap();
        let bytes = dice.bytes(plan.size());
        let mut text = b"before".to_vec();
        plan.write_json(&bytes, &mut text).unwrap();
        let same = serde_json::to_vec(&plan.decode(&bytes).unwrap()).unwrap();
        assert_eq!(text, [b"before", &same[..]].concat(), "{ty:?}");
        // Text in one member of a union may contradict what another makes of the bytes.
        let Some(settled) = settle(&plan, &bytes) else {
            assert!(format!("{ty:?}").contains("is_union: true"), "{ty:?}");
            continue;
        };
        whole += 1;
        settled_differently += u32::from(settled != bytes);

        let json = plan.decode(&settled).unwrap();
        assert_eq!(json, plan.decode(&bytes).unwrap(), "{ty:?}");
        assert_eq!(plan.encode(&json).unwrap(), settled, "{ty:?}");
        let shown = plan.show(&settled);
        assert_eq!(plan.parse(&shown).unwrap(), settled, "{shown} {ty:?}");
        let value = plan.decode_protobuf(&settled).unwrap();
        assert_eq!(value, json_to_value(json));
        let (bounds, length) = (plan.protobuf_bounds(), value.as_bytes().len());
        let within = bounds.least..=bounds.most;
        assert!(within.contains(&(length as u64)), "{length} not in {within:?}: {ty:?}");
        for (most, fits) in [(length, true), (length - 1, false)] {
            let mut out = Vec::new();
            assert_eq!(plan.write_protobuf(&settled, &mut out, most), Ok(fits), "{ty:?}");
            assert!(out.len() <= most);
        }
        assert_eq!(plan.encode(&value_to_json(&value)).unwrap(), settled);
    }
    assert!(whole > 2700 && settled_differently < 2000, "{whole} {settled_differently}");
}

#[test]
fn numbers_keep_every_bit() {
    let mut dice = Dice(11);
    for _ in 0..2000 {
        let size = 1 + u32::try_from(dice.below(16)).unwrap();
        let ty = match dice.below(3) {
            0 => unsigned(size),
            1 => shown(size, true, Display::Hex),
            _ => signed(size),
        };
        let plan = Plan::compile(&array(ty, 3)).unwrap();
        let bytes = dice.bytes(plan.size());
        assert_eq!(settle(&plan, &bytes), Some(bytes));
    }
}

#[test]
fn one_of_everything_round_trips() {
    let ty = everything();
    assert_eq!(Type::try_from(crate::v1::Type::from(ty.clone())).unwrap(), ty);
    let plan = Plan::compile(&ty).unwrap();
    let zero = vec![0; plan.size()];
    assert_eq!(settle(&plan, &zero), Some(zero.clone()));
    let example = plan.example();
    assert!(example.starts_with(r#"{"small":1,"number":1,"large":1,"#), "{example}");
    // Every leaf can be set through JSON to what it reads.
    for leaf in plan.leaves() {
        let text = leaf.text(&zero);
        assert!(!leaf.path().is_empty() && (leaf.read(&zero) == 0), "{} {text}", leaf.path());
    }
}

#[test]
fn any_bytes_decode_and_any_text_is_answered() {
    let mut dice = Dice(3);
    let texts = ["", "0", "-1", "x", "{}", "[]", "\"\"", "null", "hex:", "hex:00", "1.1.1.1", "::"];
    for _ in 0..500 {
        let ty = dice.ty(3);
        let plan = Plan::compile(&ty).unwrap();
        let bytes = dice.bytes(plan.size());
        assert!(plan.decode(&bytes).is_ok());
        sum(&ty, &bytes);
        for text in texts {
            if let Err(error) = plan.parse(text) {
                assert!(error.to_string().len() < 1200, "{error}");
            }
        }
        for length in [0, 1, plan.size() + 1] {
            if length != plan.size() {
                assert!(plan.decode(&dice.bytes(length)).is_err());
                assert!(plan.show(&dice.bytes(length)).starts_with("hex:"));
            }
        }
    }
}

/// Changes one number of the type to what it should not be.
fn spoil(ty: &mut Type, dice: &mut Dice) {
    let odd = u32::try_from([0, 1, 3, 7, 8, 9, 40, 1000][usize::try_from(dice.below(8)).unwrap()]);
    let odd = odd.unwrap();
    match &mut ty.kind {
        Kind::Record { fields, .. } if !fields.is_empty() && dice.below(4) > 0 => {
            let at = usize::try_from(dice.roll()).unwrap() % fields.len();
            match dice.below(4) {
                0 => fields[at].bit_offset = odd,
                1 => fields[at].bit_size = odd,
                2 => fields[at].name.clear(),
                _ => spoil(&mut fields[at].ty, dice),
            }
        }
        Kind::Array { element, length, .. } => match dice.below(2) {
            0 => *length = odd,
            _ => spoil(element, dice),
        },
        _ => ty.size = odd,
    }
}

#[test]
fn contradictory_types_are_refused_or_harmless() {
    let mut dice = Dice(13);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..4000 {
        let mut ty = dice.ty(3);
        for _ in 0..=dice.below(3) {
            spoil(&mut ty, &mut dice);
        }
        let Ok(plan) = Plan::compile(&ty) else {
            refused += 1;
            continue;
        };
        taken += 1;
        let bytes = dice.bytes(plan.size());
        let json = plan.decode(&bytes).unwrap();
        let _ = plan.encode(&json);
        let _ = plan.parse(&plan.show(&bytes));
        let _ = plan.parse(&plan.example());
        sum(&ty, &bytes);
        let end = plan.leaves().iter().map(|leaf| leaf.text(&bytes).len()).sum::<usize>();
        assert!(end < 1 << 20);
    }
    assert!(refused > 1000 && taken > 500, "{refused} {taken}");
}

/// Any type's values can be put together.
fn sum(ty: &Type, bytes: &[u8]) {
    let summed = Summed::ways(ty, 2)
        .find(|summed| summed.ty.as_ref().is_none_or(|ty| Plan::compile(ty).is_ok()))
        .expect("the last way is for all types");
    let mut sum = vec![0; summed.sums.size()];
    summed.sums.add(&[bytes, bytes].concat(), bytes.len(), &mut sum).unwrap();
    assert_eq!(summed.ty.as_ref().unwrap_or(ty).size as usize, sum.len());
}

#[test]
fn examples_are_right() {
    let mut dice = Dice(5);
    let mut tried = 0;
    for _ in 0..1000 {
        let ty = dice.ty(2);
        let plan = Plan::compile(&ty).unwrap();
        let example = plan.example();
        if example.contains('…') || matches!(ty.kind, Kind::Opaque { .. }) {
            continue;
        }
        tried += 1;
        plan.parse(&example).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
    assert!(tried > 500);
}
