//! Bytes to values.

use serde_json::Value as Json;

use super::encoded::EncodedValue;
use super::error::LengthError;
use super::form::{Form, JsonTree};
use super::plan::{Plan, Shape, Step};
use super::protobuf::Protobuf;
use super::script::Script;

impl Plan {
    /// Bytes to JSON. Integers of more than 32 bits are strings, as in proto3 JSON. A union shows
    /// every member.
    pub fn decode(&self, bytes: &[u8]) -> Result<Json, LengthError> {
        self.check(bytes)?;
        Ok(part(&self.steps, 0, bytes, &mut JsonTree))
    }

    /// Bytes to what gRPC carries: the same as `decode`, without JSON in between.
    pub fn decode_protobuf(&self, bytes: &[u8]) -> Result<EncodedValue, LengthError> {
        let mut out = Vec::new();
        self.write_protobuf(bytes, &mut out, usize::MAX)?;
        Ok(EncodedValue::from_bytes(out.into()))
    }

    /// Appends the bytes of what gRPC carries, until `out` has `most` bytes. False if that was not
    /// enough; what was appended is then of no use.
    pub fn write_protobuf(
        &self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<bool, LengthError> {
        self.check(bytes)?;
        let mut form = Protobuf::new(out, most);
        part(&self.steps, 0, bytes, &mut form);
        Ok(!form.is_full())
    }

    /// The same of a list of several values.
    pub fn write_protobuf_list<'b>(
        &self,
        values: impl IntoIterator<Item = &'b [u8]>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<bool, LengthError> {
        let mut form = Protobuf::new(out, most);
        let mut list = form.list(0);
        for bytes in values {
            self.check(bytes)?;
            form.item(&mut list, |form| part(&self.steps, 0, bytes, form));
        }
        form.end_list(list);
        Ok(!form.is_full())
    }

    /// Appends as text the JSON that `decode` gives, to the byte what `serde_json` makes of it,
    /// without building it first: some nanoseconds a field, and no allocation but the text's.
    pub fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), LengthError> {
        self.check(bytes)?;
        self.script.get_or_init(|| Script::new(&self.steps)).write(&self.steps, bytes, out);
        Ok(())
    }

    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), LengthError> {
        if bytes.len() == self.size {
            Ok(())
        } else {
            Err(LengthError { expected: self.size, got: bytes.len() })
        }
    }
}

/// Builds the part at that place from bytes that start with the innermost array's element.
pub(super) fn part<F: Form>(steps: &[Step], at: usize, bytes: &[u8], form: &mut F) -> F::Value {
    let step = &steps[at];
    let own = bytes.get(step.offset..).unwrap_or_default();
    match &step.shape {
        Shape::Scalar(scalar) => scalar.render(own, form),
        Shape::Record { .. } => {
            let mut record = form.record(step.end - at - 1);
            fields(steps, at, bytes, form, &mut record);
            form.end_record(record)
        }
        Shape::Array { length, stride } => {
            let mut list = form.list(*length);
            for index in 0..*length {
                let element = own.get(index * stride..).unwrap_or_default();
                form.item(&mut list, |form| part(steps, at + 1, element, form));
            }
            form.end_list(list)
        }
    }
}

fn fields<F: Form>(steps: &[Step], at: usize, bytes: &[u8], form: &mut F, record: &mut F::Record) {
    let mut field = at + 1;
    while field < steps[at].end {
        let step = &steps[field];
        if let Shape::Record { anonymous: true, .. } = step.shape {
            fields(steps, field, bytes, form, record);
        } else {
            form.field(record, &step.name, |form| part(steps, field, bytes, form));
        }
        field = step.end;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::plan::Plan;
    use super::super::samples::{
        array, array_shown, big_endian, bitfield, boolean, character, enumeration, float, int,
        pointer, record, shown, signed, structure, union, unsigned,
    };
    use super::super::schema::{ByteOrder, Display, Encoding, Type};

    fn decode(ty: &Type, bytes: &[u8]) -> Json {
        Plan::compile_for(ty, ByteOrder::Little).unwrap().decode(bytes).unwrap()
    }

    #[test]
    fn scalars_are_what_they_are_in_proto3_json() {
        let colors = [("RED", -1), ("GREEN", 2)];
        let wide_boolean = int("_Bool", 9, Encoding::Bool);
        for (ty, bytes, json) in [
            (unsigned(1), &[255][..], json!(255)),
            (signed(1), &[255], json!(-1)),
            (signed(2), &[0, 128], json!(-32768)),
            (unsigned(4), &[255; 4], json!(u32::MAX)),
            (unsigned(5), &[255; 5], json!("1099511627775")),
            (unsigned(8), &[255; 8], json!("18446744073709551615")),
            (signed(8), &[255; 8], json!("-1")),
            (unsigned(16), &[255; 16], json!("340282366920938463463374607431768211455")),
            (signed(16), &[255; 16], json!("-1")),
            (
                signed(12),
                &[254, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
                json!("-2"),
            ),
            (big_endian(2), &[1, 187], json!(443)),
            (big_endian(8), &[0, 0, 0, 0, 0, 0, 0, 1], json!("1")),
            (boolean(), &[0], json!(false)),
            (boolean(), &[1], json!(true)),
            (boolean(), &[2], json!(2)),
            (wide_boolean, &[0, 0, 0, 0, 0, 0, 0, 0, 1], json!("18446744073709551616")),
            (character(), b"a", json!("a")),
            (character(), &[7], json!(7)),
            (array(character(), 4), b"ab\0\0", json!("ab")),
            (array(character(), 4), b"ab\0x", json!("ab")),
            (array(character(), 4), b"abcd", json!("abcd")),
            (array(character(), 2), "é".as_bytes(), json!("é")),
            (array(character(), 2), &[0xff, 0], json!("hex:ff00")),
            (array(character(), 4), b"hex:", json!("hex:6865783a")),
            (enumeration(4, true, &colors), &[255; 4], json!("RED")),
            (enumeration(4, true, &colors), &[254, 255, 255, 255], json!(-2)),
            (enumeration(1, false, &colors), &[2], json!("GREEN")),
            (enumeration(8, true, &colors), &[255; 8], json!("RED")),
            (enumeration(8, false, &colors), &[1, 0, 0, 0, 0, 0, 0, 0], json!("1")),
            (float(4), &0.1_f32.to_le_bytes(), json!(0.1)),
            (float(8), &0.1_f64.to_le_bytes(), json!(0.1)),
            (float(4), &f32::NAN.to_le_bytes(), json!("NaN")),
            (float(8), &f64::INFINITY.to_le_bytes(), json!("Infinity")),
            (float(8), &f64::NEG_INFINITY.to_le_bytes(), json!("-Infinity")),
            (pointer(), &[0, 0, 0, 0, 0, 128, 255, 255], json!("0xffff800000000000")),
            (pointer(), &[0; 8], json!("0x0")),
            (Type::opaque(2), &[0, 171], json!("hex:00ab")),
        ] {
            assert_eq!(decode(&ty, bytes), json, "{ty:?}");
        }
    }

    #[test]
    fn addresses_are_shown_only_where_the_type_says_so() {
        let bytes = [10, 0, 0, 1];
        assert_eq!(decode(&unsigned(4), &bytes), json!(0x0100_000a));
        assert_eq!(decode(&big_endian(4), &bytes), json!(0x0a00_0001));
        assert_eq!(decode(&shown(4, true, Display::Ipv4), &bytes), json!("10.0.0.1"));
        assert_eq!(decode(&shown(4, false, Display::Ipv4), &bytes), json!("10.0.0.1"));
        assert_eq!(decode(&array(unsigned(1), 4), &bytes), json!([10, 0, 0, 1]));
        assert_eq!(decode(&shown(4, true, Display::Hex), &bytes), json!("0xa000001"));
        assert_eq!(
            decode(&array_shown(unsigned(1), 4, Display::Hex), &bytes),
            json!("hex:0a000001")
        );
        let nameless = record("struct in_addr", 4, false, vec![]);
        let around = structure(vec![("a", unsigned(4)), ("", nameless)]);
        assert_eq!(decode(&around, &[1, 0, 0, 0, 10, 0, 0, 1]), json!({"a": 1}));
        let named = |name, size, field| record(name, size, false, vec![bitfield("s", field, 0, 0)]);
        assert_eq!(decode(&named("struct in_addr", 4, big_endian(4)), &bytes), json!("10.0.0.1"));
        assert_eq!(
            decode(&named("struct other", 4, big_endian(4)), &bytes),
            json!({"s": 167_772_161})
        );
        let mut six = [0; 16];
        (six[0], six[15]) = (0xfe, 1);
        let words = array(big_endian(4), 4);
        assert_eq!(decode(&named("struct in6_addr", 16, words), &six), json!("fe00::1"));
        assert_eq!(
            decode(&array_shown(unsigned(1), 6, Display::Mac), &[1, 2, 3, 4, 5, 6]),
            json!("01:02:03:04:05:06")
        );
    }

    #[test]
    fn anonymous_members_belong_to_their_parent() {
        let inner = union(vec![("word", unsigned(4)), ("bytes", array(unsigned(1), 4))]);
        let ty = structure(vec![
            ("z", unsigned(1)),
            ("", structure(vec![("a", unsigned(4)), ("", inner)])),
            ("named", structure(vec![("b", array(structure(vec![("c", signed(1))]), 2))])),
        ]);
        let bytes = [5, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 255, 1, 0, 0];
        let json = decode(&ty, &bytes);
        let expected =
            r#"{"z":5,"a":1,"word":67305985,"bytes":[1,2,3,4],"named":{"b":[{"c":-1},{"c":1}]}}"#;
        assert_eq!(json.to_string(), expected);
    }

    #[test]
    fn bitfields_keep_their_sign() {
        let ty = record(
            "struct b",
            4,
            false,
            vec![
                bitfield("a", unsigned(4), 0, 3),
                bitfield("b", signed(4), 3, 5),
                bitfield("c", signed(4), 8, 17),
                bitfield("d", boolean(), 25, 1),
                bitfield("e", enumeration(4, true, &[("NO", -1)]), 26, 2),
            ],
        );
        let number: u32 = 0b101 | 0b11110 << 3 | 0x1_ffff << 8 | 1 << 25 | 0b11 << 26;
        let expected = json!({"a": 5, "b": -2, "c": -1, "d": true, "e": "NO"});
        assert_eq!(decode(&ty, &number.to_le_bytes()), expected);
    }

    #[test]
    fn a_foreign_byte_order_is_read_as_it_was_written() {
        let bits = vec![bitfield("a", unsigned(2), 0, 4), bitfield("b", unsigned(2), 4, 12)];
        let ty = structure(vec![("n", unsigned(4)), ("bits", record("struct b", 2, false, bits))]);
        let plan = Plan::compile_for(&ty, ByteOrder::Big).unwrap();
        let json = plan.decode(&[0, 0, 1, 2, 0xa1, 0x23, 0, 0]).unwrap();
        assert_eq!(json, json!({"n": 258, "bits": {"a": 10, "b": 0x123}}));
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        let plan = Plan::compile(&unsigned(4)).unwrap();
        let said = plan.decode(&[0; 3]).unwrap_err().to_string();
        assert_eq!(said, "3 bytes where the type has 4");
        assert!(plan.decode_protobuf(&[0; 5]).is_err());
        assert!(plan.write_json(&[], &mut Vec::new()).is_err());
    }
}
