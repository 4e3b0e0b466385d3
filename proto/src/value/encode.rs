//! Values to bytes.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::address::{HEX, parse_address, parse_hex};
use super::error::{EncodeError, Problem, shorten, some_of};
use super::leaf::{push_index, push_name};
use super::number::{Range, Whole, describe};
use super::plan::{Plan, Shape, Step, fields};
use super::scalar::{Load, Meaning, Names, Scalar};

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
                let (name, known) = (shorten(name), some_of(names()));
                Err(self.error(Problem::UnknownField { name, known }))
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

/// The scalar's bytes, and which of their bits are its own.
fn scalar_bytes(scalar: &Scalar, json: &Json) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let bits = scalar.load.bits();
    let number = match &scalar.meaning {
        Meaning::Unsigned | Meaning::Pointer => integer(json, bits, Range::Unsigned)?,
        Meaning::Signed => integer(json, bits, Range::Signed)?,
        Meaning::HexNumber => integer(json, bits, Range::Both)?,
        Meaning::Bool => match json {
            Json::Bool(truth) => (*truth).into(),
            Json::String(text) if text == "true" => 1,
            Json::String(text) if text == "false" => 0,
            _ => whole(json, "true or false")?.bits(bits, Range::Unsigned)?,
        },
        Meaning::Char => match json {
            Json::String(text) if text.len() == 1 => text.as_bytes()[0].into(),
            _ => whole(json, "one character or its number")?.bits(bits, Range::Both)?,
        },
        Meaning::Enum(names) => named(names, json, bits)?,
        Meaning::Float => float(json, bits)?,
        Meaning::Text => return text_bytes(json, scalar.load.bytes()),
        Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Mac | Meaning::Opaque => {
            let (what, numeric) = match scalar.meaning {
                Meaning::Ipv4 => ("an IPv4 address such as \"10.0.0.1\"", true),
                Meaning::Ipv6 => ("an IPv6 address such as \"fe80::1\"", true),
                Meaning::Mac => ("an Ethernet address such as \"02:00:00:00:00:01\"", true),
                _ => ("\"hex:\" with two digits for each byte", false),
            };
            match whole(json, what) {
                Ok(whole) if numeric && bits > 0 => whole.bits(bits, Range::Unsigned)?,
                _ => return Err(expected(what, json)),
            }
        }
    };
    let (bytes, span) = scalar.load.place(number);
    let (own, _) = scalar.load.place(u128::MAX);
    Ok((bytes[..span].to_vec(), own[..span].to_vec()))
}

fn expected(what: &str, json: &Json) -> Problem {
    Problem::Expected { expected: what.to_owned(), got: describe(json) }
}

fn whole(json: &Json, what: &str) -> Result<Whole, Problem> {
    Whole::from_json(json).ok_or_else(|| expected(what, json))
}

fn integer(json: &Json, bits: u32, range: Range) -> Result<u128, Problem> {
    let what = match json {
        Json::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            "an integer this large as a string"
        }
        _ => "an integer",
    };
    whole(json, what)?.bits(bits, range)
}

fn named(names: &Names, json: &Json, bits: u32) -> Result<u128, Problem> {
    let range = if names.signed { Range::Signed } else { Range::Unsigned };
    if let Json::String(name) = json
        && let Some(number) = names.number(name)
    {
        let number = if names.signed {
            let number = number.cast_signed();
            Whole { negative: number < 0, magnitude: number.unsigned_abs().into() }
        } else {
            Whole { negative: false, magnitude: number.into() }
        };
        return number.bits(bits, range);
    }
    match (Whole::from_json(json), json) {
        (Some(number), _) => number.bits(bits, range),
        (None, Json::String(name)) => {
            Err(Problem::UnknownName { name: shorten(name), known: some_of(names.names()) })
        }
        (None, _) => Err(expected("a name of the enum or a number", json)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn float(json: &Json, bits: u32) -> Result<u128, Problem> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| expected("a number, \"NaN\" or \"Infinity\"", json))?;
    if bits == 64 {
        return Ok(number.to_bits().into());
    }
    let single = number as f32;
    if single.is_infinite() && number.is_finite() {
        return Err(Problem::OutOfRange {
            value: number.to_string(),
            min: format!("{:e}", f32::MIN),
            max: format!("{:e}", f32::MAX),
        });
    }
    Ok(single.to_bits().into())
}

fn text_bytes(json: &Json, max: usize) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let text = match json {
        Json::String(text) if !text.contains('\0') => text,
        _ => return Err(expected("text without NULs", json)),
    };
    if text.len() > max {
        return Err(Problem::TextTooLong { got: text.len(), max });
    }
    let mut bytes = text.clone().into_bytes();
    bytes.resize(max, 0);
    Ok((bytes, vec![0xff; max]))
}
