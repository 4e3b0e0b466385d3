use serde_json::{Value as Json, json};

use super::super::plan::Plan;
use super::super::samples::{
    array, array_shown, big_endian, bitfield, boolean, character, enumeration, everything, float,
    pointer, record, shown, signed, structure, union, unsigned,
};
use super::*;

/// The sum of values that lie back to back, as JSON.
fn sum(ty: &Type, each: &[&[u8]]) -> Json {
    let summed = Summed::ways(ty, each.len()).next().unwrap();
    let plan = Plan::compile(summed.ty.as_ref().unwrap_or(ty)).unwrap();
    assert_eq!(plan.size(), summed.sums.size());
    let mut sum = vec![0xaa; plan.size()];
    summed.sums.add(&each.concat(), ty.size as usize, &mut sum).unwrap();
    plan.decode(&sum).unwrap()
}

#[test]
fn narrow_numbers_are_added_at_64_bits() {
    let ty = structure(vec![
        ("packets", unsigned(4)),
        ("drops", unsigned(2)),
        ("errs", unsigned(1)),
        ("diff", signed(4)),
        ("port", big_endian(2)),
        ("hex", shown(4, false, Display::Hex)),
    ]);
    let mut one = [0xff; 20];
    one[12..14].copy_from_slice(&[1, 0]);
    let expected = json!({
        "packets": "12884901885", "drops": "196605", "errs": "765", "diff": "-3",
        "port": "768", "hex": "0x2fffffffd",
    });
    assert_eq!(ty.size, 20);
    assert_eq!(sum(&ty, &[&one, &one, &one]), expected);
    assert_eq!(
        sum(&array(unsigned(1), 3), &[&[1, 2, 255], &[1, 2, 255]]),
        json!(["2", "4", "510"])
    );
    assert_eq!(sum(&signed(12), &[&[0xff; 12], &[0xff; 12]]), json!("-2"));
    let pairs = array(structure(vec![("a", unsigned(1)), ("b", signed(1))]), 2);
    let expected = json!([{"a": "2", "b": "-2"}, {"a": "4", "b": "6"}]);
    assert_eq!(sum(&pairs, &[&[1, 255, 2, 3], &[1, 255, 2, 3]]), expected);
}

#[test]
fn what_is_wide_enough_keeps_its_bytes() {
    let inner = structure(vec![("a", unsigned(8)), ("b", array(signed(8), 3))]);
    let one = structure(vec![("i", inner), ("h", unsigned(16)), ("end", array(unsigned(1), 0))]);
    for ty in [unsigned(8), signed(16), array(unsigned(8), 4), one, big_endian(8)] {
        let summed = Summed::ways(&ty, 2).next().unwrap();
        assert!(summed.ty.is_none() && summed.adds, "{ty:?}");
        let mut sum = vec![0; ty.size as usize];
        summed.sums.add(&vec![0x11; 2 * sum.len()], sum.len(), &mut sum).unwrap();
        assert_eq!(sum, vec![0x22; sum.len()], "{ty:?}");
        assert_eq!(ty.first_outgrown(), None);
    }
}

#[test]
fn what_has_no_sum_is_listed_under_its_name() {
    let ty = structure(vec![
        ("n", unsigned(4)),
        ("comm", array(character(), 4)),
        ("up", boolean()),
        ("", union(vec![("word", unsigned(2)), ("halves", array(unsigned(1), 2))])),
        ("u", union(vec![("x", unsigned(4)), ("y", float(4))])),
        ("one", union(vec![("z", unsigned(4))])),
    ]);
    let value = |n: u8| {
        let bytes = [n, 0, 0, 0, b'a', n, 0, 0, n & 1, 0, n, 1, n, 0, 0, 0, n, 0, 0, 0];
        assert_eq!(bytes.len(), ty.size as usize);
        bytes
    };
    let tiny = |n: u8| f32::from_bits(n.into()).to_string().parse::<f64>().unwrap();
    let expected = json!({
        "n": "5", "comm": ["a\u{2}", "a\u{3}"], "up": [false, true],
        "word": [258, 259], "halves": [[2, 1], [3, 1]],
        "u": [{"x": 2, "y": tiny(2)}, {"x": 3, "y": tiny(3)}], "one": {"z": "5"},
    });
    assert_eq!(sum(&ty, &[&value(2), &value(3)]), expected);
    for ty in [
        float(8),
        pointer(),
        array(character(), 8),
        enumeration(4, false, &[("A", 1)]),
        array_shown(unsigned(1), 6, Display::Mac),
    ] {
        let summed = Summed::ways(&ty, 2).next().unwrap();
        let expected = Some(super::array(ty.clone(), 2));
        assert_eq!((summed.ty, summed.adds), (expected, false), "{ty:?}");
        assert_eq!(ty.first_outgrown().unwrap().0, "");
    }
    assert_eq!(sum(&character(), &[b"a", &[255]]), json!(["a", "hex:ff"]));
}

#[test]
fn bitfields_get_bytes_of_their_own() {
    let fields = vec![
        bitfield("a", unsigned(1), 0, 3),
        bitfield("b", signed(4), 3, 4),
        bitfield("c", boolean(), 7, 1),
        bitfield("d", enumeration(4, true, &[("NO", -1)]), 8, 2),
    ];
    let ty = record("struct b", 4, false, fields);
    let one = [0b1111_1111, 0b11, 0, 0];
    let expected = json!({"a": "14", "b": "-2", "c": [true, true], "d": ["NO", "NO"]});
    assert_eq!(sum(&ty, &[&one, &one]), expected);
    assert_eq!(ty.first_outgrown(), Some(("a".to_owned(), "a bitfield")));
}

#[test]
fn bytes_without_a_meaning_are_words_or_a_list() {
    for (size, wide, adds) in [(1, Some(8), true), (4, Some(8), true), (8, None, true)] {
        let summed = Summed::of_bytes(size, 2);
        assert_eq!(summed.ty.map(|ty| ty.size), wide, "{size}");
        assert_eq!(summed.adds, adds);
    }
    let words: Vec<u8> = [1_u64, 2, 3, 4].iter().flat_map(|n| n.to_ne_bytes()).collect();
    let mut sum = [0; 16];
    Summed::of_bytes(16, 2).sums.add(&words, 16, &mut sum).unwrap();
    assert_eq!(sum[..], [4_u64, 6].map(u64::to_ne_bytes).concat());
    let summed = Summed::of_bytes(3, 2);
    assert_eq!((summed.ty.unwrap().size, summed.adds), (6, false));
    assert!(summed.sums.add(&[0; 16], 2, &mut [0; 6]).is_err());
    assert!(summed.sums.add(&[0; 16], 8, &mut [0; 5]).is_err());
}

#[test]
fn one_of_everything_has_a_sum() {
    let ty = everything();
    let summed = Summed::ways(&ty, 3).next().unwrap();
    let plan = Plan::compile(summed.ty.as_ref().unwrap()).unwrap();
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(ty.size as usize * 3).collect();
    let mut sum = vec![0; plan.size()];
    summed.sums.add(&bytes, ty.size as usize, &mut sum).unwrap();
    let one = Plan::compile(&ty).unwrap();
    for leaf in one.leaves().iter().filter(|leaf| leaf.is_number()) {
        let total = bytes.chunks(ty.size as usize).map(|value| leaf.read(value));
        let total = total.fold(0, u64::wrapping_add);
        if let Some(same) = plan.leaves().iter().find(|other| other.path() == leaf.path()) {
            assert_eq!(same.read(&sum), total, "{}", leaf.path());
        }
    }
    let said = ty.first_outgrown().unwrap();
    assert_eq!(said, ("small".to_owned(), "an integer of less than 64 bits"));
}

#[test]
fn a_type_that_would_be_too_large_is_listed_whole() {
    let ty = array(structure(vec![("n", unsigned(4)), ("f", float(4))]), 4000);
    let fits = |summed: &Summed| Plan::compile(summed.ty.as_ref().unwrap()).is_ok();
    let ways: Vec<_> = Summed::ways(&ty, 1024).map(|summed| fits(&summed)).collect();
    assert_eq!(ways, [false, false, true]);
}
