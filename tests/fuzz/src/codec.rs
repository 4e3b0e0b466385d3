//! Bytes to values and back.

use bpfgate_proto::value::{Plan, Summed, Type, json_to_value, value_to_json};

use crate::source::Source;

/// Larger types take longer without being different.
const SIZE_MAX: usize = 4096;

/// Any type, any bytes: all that decodes them agrees, and what encodes is the same again.
pub fn codec(input: &[u8]) {
    let mut source = Source::new(input);
    let order = source.order();
    let ty = source.ty(3);
    let Ok(plan) = Plan::compile_for(&ty, order) else { return };
    if plan.size() > SIZE_MAX {
        return;
    }
    let bytes = source.bytes(plan.size());
    check(&plan, &bytes);
    sum(&ty, &bytes);
}

/// What has to hold of any bytes of any type.
pub(crate) fn check(plan: &Plan, bytes: &[u8]) {
    let json = plan.decode(bytes).expect("bytes of the right length");
    let mut text = b"[".to_vec();
    plan.write_json(bytes, &mut text).expect("bytes of the right length");
    let same = serde_json::to_vec(&json).expect("a tree of JSON");
    assert_eq!(text[1..], same, "{}", String::from_utf8_lossy(&text));
    let value = plan.decode_protobuf(bytes).expect("bytes of the right length");
    assert_eq!(value, json_to_value(json.clone()));
    for leaf in plan.leaves().iter().take(256) {
        let (text, number) = (leaf.text(bytes), leaf.read(bytes));
        assert!(!leaf.is_number() || leaf.is_signed() || number == 0 || text != "0");
    }

    // Members of a union, and fields that overlap, may contradict each other.
    let Ok(settled) = plan.encode(&json) else { return };
    assert_eq!(plan.decode(&settled).expect("bytes of the right length"), json);
    assert_eq!(plan.encode(&json).as_ref(), Ok(&settled));
    assert_eq!(plan.encode(&value_to_json(&value)).as_ref(), Ok(&settled));
    let shown = plan.show(&settled);
    assert_eq!(plan.parse(&shown).as_ref(), Ok(&settled), "{shown}");
    assert!(!shown.contains('\n'));
}

/// The values of any type can be put together.
fn sum(ty: &Type, bytes: &[u8]) {
    let fits = |ty: &Type| Plan::compile(ty).is_ok();
    let mut ways = Summed::ways(ty, 2);
    let summed = ways.find(|summed| summed.ty.as_ref().is_none_or(fits)).expect("the last way");
    let mut sum = vec![0; summed.sums.size()];
    summed.sums.add(&[bytes, bytes].concat(), bytes.len(), &mut sum).expect("the right lengths");
}

/// Any text for any type: right bytes, or an error that stays short.
pub fn text(input: &[u8]) {
    let mut source = Source::new(input);
    let order = source.order();
    let ty = source.ty(2);
    let Ok(plan) = Plan::compile_for(&ty, order) else { return };
    if plan.size() > SIZE_MAX {
        return;
    }
    let Ok(text) = std::str::from_utf8(source.rest()) else { return };
    match plan.parse(text) {
        Ok(bytes) => {
            assert_eq!(bytes.len(), plan.size());
            check(&plan, &bytes);
        }
        Err(error) => assert!(error.to_string().len() < 4096, "{error}"),
    }
}
