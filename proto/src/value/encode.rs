//! Values to bytes.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::address::{HEX, parse_address, parse_hex, parse_prefix};
use super::error::{EncodeError, Problem, candidates, shorten, some_of};
use super::input::scalar_bytes;
use super::leaf::{push_index, push_name};
use super::number::describe;
use super::plan::{Plan, Shape, Step, fields};
use super::scalar::{Load, Meaning, Scalar};

impl Plan {
    /// JSON to bytes; padding is zero. Takes what `decode` gives, and for every whole part also
    /// "hex:0a0b" with exactly its bytes. Integers may be numbers or strings, decimal or 0x; an
    /// address is taken for every integer, array or record of its size. A record needs all of its
    /// fields; a union one member, or several that agree.
    pub fn encode(&self, json: &Json) -> Result<Vec<u8>, EncodeError> {
        let mut encoder = Encoder {
            steps: &self.steps,
            bytes: vec![0; self.size],
            written: vec![0; self.size],
            path: String::new(),
        };
        encoder.part(0, 0, json)?;
        Ok(encoder.bytes)
    }
}

struct Encoder<'a> {
    steps: &'a [Step],
    bytes: Vec<u8>,
    /// Which bits have been written: the members of a union must agree on them.
    written: Vec<u8>,
    path: String,
}

impl Encoder<'_> {
    fn part(&mut self, at: usize, base: usize, json: &Json) -> Result<(), EncodeError> {
        let steps = self.steps;
        let step = &steps[at];
        let offset = base + step.offset;
        if self.bytes_as_text(step, offset, json)? {
            return Ok(());
        }
        match (&step.shape, json) {
            (Shape::Scalar(scalar), _) => {
                let (bytes, mask) = scalar_bytes(scalar, json).map_err(|why| self.error(why))?;
                self.put(offset, &bytes, &mask)
            }
            (Shape::Record { .. }, Json::Object(object)) => {
                self.check_names(at, object)?;
                self.members(at, base, object)
            }
            (Shape::Array { length, stride }, Json::Array(items)) => {
                if items.len() != *length {
                    let (got, expected) = (items.len(), *length);
                    return Err(self.error(Problem::Length { got, expected }));
                }
                for (index, item) in items.iter().enumerate() {
                    let before = push_index(&mut self.path, index);
                    self.part(at + 1, offset + index * stride, item)?;
                    self.path.truncate(before);
                }
                Ok(())
            }
            (Shape::Record { .. }, _) => {
                let names = some_of(fields(steps, at).map(|field| field.name.as_str()));
                Err(self.expected(format!("an object with {names}"), json))
            }
            (Shape::Array { length, .. }, _) => {
                Err(self.expected(format!("a list of {length}"), json))
            }
        }
    }

    /// Takes "hex:…" for whatever has bytes of its own, and addresses for what has their size.
    fn bytes_as_text(
        &mut self,
        step: &Step,
        offset: usize,
        json: &Json,
    ) -> Result<bool, EncodeError> {
        let Json::String(text) = json else { return Ok(false) };
        let takes_address = match &step.shape {
            Shape::Scalar(Scalar { load: Load::Bits { .. }, .. }) => return Ok(false),
            Shape::Scalar(Scalar { meaning, .. }) => match meaning {
                Meaning::Unsigned
                | Meaning::Signed
                | Meaning::HexNumber
                | Meaning::Ipv4
                | Meaning::Ipv6
                | Meaning::Mac
                | Meaning::Opaque => true,
                Meaning::Bool
                | Meaning::Char
                | Meaning::Enum(_)
                | Meaning::Float
                | Meaning::Pointer
                | Meaning::Prefix
                | Meaning::Text => false,
            },
            Shape::Record { .. } | Shape::Array { .. } => true,
        };
        let bytes = if let Some(digits) = text.strip_prefix(HEX) {
            let bytes = parse_hex(digits)
                .ok_or_else(|| self.error(Problem::BadHex { got: shorten(text) }))?;
            let (got, expected) = (bytes.len(), step.size);
            if got != expected {
                return Err(self.error(Problem::HexLength { got, expected }));
            }
            bytes
        } else if let Some(bytes) = parse_address(text, step.size).filter(|_| takes_address) {
            bytes
        } else if let (Shape::Scalar(Scalar { meaning: Meaning::Prefix, .. }), Some(bytes)) =
            (&step.shape, parse_prefix(text, step.size))
        {
            bytes
        } else {
            return Ok(false);
        };
        self.put(offset, &bytes, &vec![0xff; bytes.len()])?;
        Ok(true)
    }

    /// A misspelt field is named before the one that is missing for it.
    fn check_names(&self, at: usize, object: &Map<String, Json>) -> Result<(), EncodeError> {
        let names = || fields(self.steps, at).map(|field| field.name.as_str());
        if names().filter(|name| object.contains_key(*name)).count() == object.len() {
            return Ok(());
        }
        let known: HashSet<&str> = names().collect();
        match object.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => {
                let known: Vec<_> = names().collect();
                let known = candidates(name, known.into_iter());
                Err(self.error(Problem::UnknownField { name: shorten(name), known }))
            }
            None => Ok(()),
        }
    }

    /// Writes the fields of the record at that place.
    fn members(
        &mut self,
        at: usize,
        base: usize,
        object: &Map<String, Json>,
    ) -> Result<(), EncodeError> {
        let steps = self.steps;
        let Shape::Record { is_union, .. } = steps[at].shape else { return Ok(()) };
        let mut given = false;
        for field in children(steps, at) {
            let step = &steps[field];
            if is_union && !is_given(steps, field, object) {
                continue;
            }
            given = true;
            if let Shape::Record { anonymous: true, .. } = step.shape {
                self.members(field, base, object)?;
                continue;
            }
            let name = step.name.as_str();
            let before = push_name(&mut self.path, name);
            match object.get(name) {
                Some(json) => self.part(field, base, json)?,
                // There is nothing to say about no bytes.
                None if step.size == 0 => {}
                None => return Err(self.error(Problem::Missing)),
            }
            self.path.truncate(before);
        }
        if is_union && !given && steps[at].size > 0 {
            let members = some_of(fields(steps, at).map(|field| field.name.as_str()));
            return Err(self.error(Problem::NoMember { members }));
        }
        Ok(())
    }

    fn put(&mut self, offset: usize, bytes: &[u8], mask: &[u8]) -> Result<(), EncodeError> {
        let range = offset..offset + bytes.len();
        let places = self.bytes[range.clone()].iter_mut().zip(&mut self.written[range]);
        let mut agree = true;
        for ((place, written), (byte, mask)) in places.zip(bytes.iter().zip(mask)) {
            agree &= *written & mask & (*place ^ byte) == 0;
            *place = *place & !mask | byte & mask;
            *written |= mask;
        }
        if agree { Ok(()) } else { Err(self.error(Problem::Contradiction)) }
    }

    fn error(&self, problem: Problem) -> EncodeError {
        EncodeError::new(&self.path, problem)
    }

    fn expected(&self, expected: String, json: &Json) -> EncodeError {
        self.error(Problem::Expected { expected, got: describe(json) })
    }
}

/// Places of the direct parts of the one at that place.
fn children(steps: &[Step], at: usize) -> impl Iterator<Item = usize> {
    let mut next = at + 1;
    std::iter::from_fn(move || {
        let child = next;
        (child < steps[at].end).then(|| {
            next = steps[child].end;
            child
        })
    })
}

/// Whether the object has this member of a union, or any field of it if it is anonymous.
fn is_given(steps: &[Step], at: usize, object: &Map<String, Json>) -> bool {
    match steps[at].shape {
        Shape::Record { anonymous: true, .. } => {
            fields(steps, at).any(|field| object.contains_key(field.name.as_str()))
        }
        _ => object.contains_key(steps[at].name.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::{
        array, big_endian, bitfield, character, enumeration, float, record, shown, signed,
        structure, union, unsigned,
    };
    use super::super::schema::{ByteOrder, Display, Type};
    use super::*;

    fn encode(ty: &Type, json: &Json) -> Result<Vec<u8>, String> {
        let plan = Plan::compile_for(ty, ByteOrder::Little).unwrap();
        plan.encode(json).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_taken_for_whatever_has_their_size() {
        let v4 = vec![10, 0, 0, 1];
        for ty in [
            unsigned(4),
            signed(4),
            big_endian(4),
            shown(4, true, Display::Ipv4),
            array(unsigned(1), 4),
            record("struct in_addr", 4, false, vec![]),
        ] {
            assert_eq!(encode(&ty, &json!("10.0.0.1")), Ok(v4.clone()), "{ty:?}");
        }
        for ty in [
            unsigned(16),
            array(unsigned(1), 16),
            array(big_endian(4), 4),
            structure(vec![("a", unsigned(8)), ("b", unsigned(8))]),
        ] {
            assert_eq!(encode(&ty, &json!("fe80::1")).unwrap()[..2], [0xfe, 0x80], "{ty:?}");
        }
        let mac = encode(&array(unsigned(1), 6), &json!("02:00:00:00:00:01"));
        assert_eq!(mac, Ok(vec![2, 0, 0, 0, 0, 1]));
        assert_eq!(encode(&array(character(), 16), &json!("fe80::1")).unwrap()[..7], *b"fe80::1");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bits = record("struct b", 1, false, vec![bitfield("x", signed(1), 0, 3)]);
        let ty = structure(vec![
            ("rx", structure(vec![("bytes", unsigned(8)), ("ttl", unsigned(1))])),
            ("slots", array(unsigned(2), 2)),
            ("comm", array(character(), 4)),
            ("state", enumeration(4, false, &[("UP", 1), ("DOWN", 2)])),
            ("bits", bits),
            ("f", float(4)),
        ]);
        let good = json!({
            "rx": {"bytes": 1, "ttl": 2}, "slots": [1, 2], "comm": "a", "state": "UP",
            "bits": {"x": -4}, "f": 1.5,
        });
        assert!(encode(&ty, &good).is_ok());
        let cases = [
            ("/rx/ttl", json!(256), "rx.ttl: 256 is out of range, which is 0 to 255"),
            ("/rx/ttl", json!("-1"), "rx.ttl: -1 is out of range, which is 0 to 255"),
            ("/rx/ttl", json!(1.5), "rx.ttl: expected an integer, got 1.5"),
            (
                "/rx/bytes",
                json!(1e19),
                "rx.bytes: expected an integer this large as a string, got 1e+19",
            ),
            ("/rx/bytes", json!("x"), r#"rx.bytes: expected an integer, got "x""#),
            ("/rx/bytes", json!("10.0.0.1"), r#"rx.bytes: expected an integer, got "10.0.0.1""#),
            ("/rx/bytes", json!("hex:00"), "rx.bytes: hex: with 1 bytes where there must be 8"),
            (
                "/rx/bytes",
                json!("hex:0"),
                r#"rx.bytes: "hex:0" is not hex: with two hexadecimal digits for each byte"#,
            ),
            ("/rx", json!(null), "rx: expected an object with bytes, ttl, got null"),
            ("/rx", json!({"ttl": 1}), "rx.bytes: the field is missing"),
            (
                "/rx",
                json!({"byte": 1, "ttl": 1}),
                r#"rx: there is no field "byte"; there is bytes, ttl (did you mean bytes?)"#,
            ),
            ("/slots", json!([1]), "slots: 1 elements where there must be 2"),
            ("/slots", json!(1), "slots: expected a list of 2, got 1"),
            ("/slots/1", json!(65_536), "slots[1]: 65536 is out of range, which is 0 to 65535"),
            ("/comm", json!("abcde"), "comm: the text has 5 bytes, at most 4 fit"),
            ("/comm", json!("a\0"), r#"comm: expected text without NULs, got "a\0""#),
            (
                "/state",
                json!("AWAY"),
                r#"state: "AWAY" is not a name of the enum; there is UP, DOWN"#,
            ),
            ("/state", json!(-1), "state: -1 is out of range, which is 0 to 4294967295"),
            ("/bits/x", json!(4), "bits.x: 4 is out of range, which is -4 to 3"),
            ("/f", json!("x"), r#"f: expected a number, "NaN" or "Infinity", got "x""#),
            (
                "/f",
                json!(1e39),
                "f: 1000000000000000000000000000000000000000 is out of range, which is -3.4028235e38 to 3.4028235e38",
            ),
        ];
        for (at, json, said) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(at).unwrap() = json;
            assert_eq!(encode(&ty, &bad), Err(said.to_owned()));
        }
    }

    #[test]
    fn a_union_takes_one_member_or_several_that_agree() {
        let ip = union(vec![("v4", array(unsigned(1), 4)), ("v6", array(unsigned(1), 8))]);
        let ty = structure(vec![("family", unsigned(1)), ("", ip.clone()), ("ip", ip)]);
        let with = |json: Json| {
            let mut whole = json!({"family": 2, "v4": [1, 2, 3, 4]});
            whole["ip"] = json;
            encode(&ty, &whole)
        };
        let v4 = vec![2, 1, 2, 3, 4, 0, 0, 0, 0, 1, 0, 0, 7, 0, 0, 0, 0];
        assert_eq!(with(json!({"v4": [1, 0, 0, 7]})), Ok(v4.clone()));
        assert_eq!(with(json!({"v4": "1.0.0.7"})), Ok(v4.clone()));
        assert_eq!(with(json!("hex:0100000700000000")), Ok(v4.clone()));
        assert_eq!(with(json!({"v4": "1.0.0.7", "v6": [1, 0, 0, 7, 0, 0, 0, 0]})), Ok(v4));
        let both = with(json!({"v4": "1.0.0.7", "v6": [1, 0, 0, 8, 0, 0, 0, 0]}));
        let said = "ip.v6[3]: contradicts another member of its union; give only one of them";
        assert_eq!(both, Err(said.to_owned()));
        assert_eq!(with(json!({})), Err("ip: the union needs one of v4, v6".to_owned()));
        let without = encode(&ty, &json!({"family": 1, "ip": {"v4": "0.0.0.0"}}));
        assert_eq!(without, Err("the union needs one of v4, v6".to_owned()));
    }
}
