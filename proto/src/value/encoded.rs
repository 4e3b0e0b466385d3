//! `google.protobuf.Value` as the bytes that it is on the wire.
//!
//! A tree of such values takes many times its bytes: four bytes on the wire can be a hundred in
//! memory. So the generated messages hold the bytes (`build.rs` says so), a value is written
//! straight into them, and a tree is made only of a value that somebody looks into.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, skip_field};
use serde_json::{Map, Number, Value as Json};

use super::form::Form as _;
use super::pb::{EXACT, float_to_json};
use super::protobuf::{Protobuf, field};

/// Deepest value that is looked into: as deep as protobuf's decoders go.
const MAX_DEPTH: usize = 100;
/// What a node of a JSON tree takes at most, with the room that lists and maps grow by.
const NODE_BYTES: u64 = 192;

/// A `google.protobuf.Value`, encoded.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct EncodedValue(Bytes);

/// Bytes that are no `google.protobuf.Value`, or one too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no google.protobuf.Value of at most {MAX_DEPTH} levels")]
pub struct MalformedValue;

impl EncodedValue {
    /// Takes over bytes that [`Plan::write_protobuf`](super::Plan::write_protobuf) wrote.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A list of values.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        let mut out = Vec::new();
        let mut form = Protobuf::new(&mut out, usize::MAX);
        let mut list = form.list(0);
        for value in values {
            form.item(&mut list, |form| form.raw(&value.0));
        }
        form.end_list(list);
        Self(out.into())
    }

    /// The values of a list, if it is one.
    pub fn items(&self) -> Option<Vec<Self>> {
        let list = match last_field(&self.0).ok()?? {
            (field::LIST, Field::Bytes(list)) => self.0.slice_ref(list),
            _ => return None,
        };
        let mut items = Vec::new();
        let mut rest = &list[..];
        while let Some((number, value)) = next_field(&mut rest).ok()? {
            if let (field::ITEM, Field::Bytes(item)) = (number, value) {
                items.push(Self(list.slice_ref(item)));
            }
        }
        Some(items)
    }

    /// The encoding of a JSON tree. An integer that a double cannot carry becomes a string.
    pub fn from_json(json: &Json) -> Self {
        let mut out = Vec::new();
        write(json, &mut Protobuf::new(&mut out, usize::MAX));
        Self(out.into())
    }

    /// The JSON tree of it. A whole number is an integer; NaN and the infinities, which JSON
    /// lacks, are the strings of proto3 JSON.
    pub fn to_json(&self) -> Result<Json, MalformedValue> {
        read(&self.0, MAX_DEPTH)
    }

    /// Bytes of memory that [`to_json`](Self::to_json) takes at most.
    pub fn tree_bytes(&self) -> u64 {
        nodes(&self.0, MAX_DEPTH) * NODE_BYTES + self.0.len() as u64
    }
}

impl fmt::Debug for EncodedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_json() {
            Ok(json) => write!(f, "{json}"),
            Err(MalformedValue) => write!(f, "{:?}", self.0),
        }
    }
}

impl prost::Message for EncodedValue {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut more = BytesMut::from(std::mem::take(&mut self.0));
        encode_key(tag, wire_type, &mut more);
        match wire_type {
            WireType::LengthDelimited => {
                let mut content = Bytes::new();
                prost::encoding::bytes::merge(wire_type, &mut content, buf, ctx)?;
                encode_varint(content.len() as u64, &mut more);
                more.put(content);
            }
            WireType::Varint => {
                let mut number = 0;
                prost::encoding::uint64::merge(wire_type, &mut number, buf, ctx)?;
                encode_varint(number, &mut more);
            }
            WireType::SixtyFourBit => {
                let mut number = 0;
                prost::encoding::fixed64::merge(wire_type, &mut number, buf, ctx)?;
                more.put_u64_le(number);
            }
            // No field of a Value is one of these.
            WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
                return skip_field(wire_type, tag, buf, ctx);
            }
        }
        self.0 = more.freeze();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

fn write(json: &Json, form: &mut Protobuf<'_>) {
    match json {
        Json::Null => form.null(),
        Json::Bool(truth) => form.truth(*truth),
        Json::Number(number) => match (exact(number), number.as_f64()) {
            (true, Some(double)) => form.number(double),
            _ => form.text(&number.to_string()),
        },
        Json::String(text) => form.text(text),
        Json::Array(items) => {
            let mut list = form.list(items.len());
            for item in items {
                form.item(&mut list, |form| write(item, form));
            }
            form.end_list(list);
        }
        Json::Object(fields) => {
            let mut record = form.record(fields.len());
            for (name, value) in fields {
                form.named(&mut record, name, |form| write(value, form));
            }
            form.end_record(record);
        }
    }
}

fn exact(number: &Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        (Some(whole), _) => whole <= EXACT,
        (None, Some(negative)) => negative.unsigned_abs() <= EXACT,
        (None, None) => true,
    }
}

/// A field's content on the wire.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Field<'a>)>, MalformedValue> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (number, kind) = prost::encoding::decode_key(rest).map_err(|_| MalformedValue)?;
    let varint =
        |rest: &mut &'a [u8]| prost::encoding::decode_varint(rest).map_err(|_| MalformedValue);
    let content = match kind {
        WireType::Varint => Field::Varint(varint(rest)?),
        WireType::SixtyFourBit => {
            let (bytes, behind) = rest.split_first_chunk().ok_or(MalformedValue)?;
            *rest = behind;
            Field::Double(f64::from_le_bytes(*bytes))
        }
        WireType::LengthDelimited => {
            let length = usize::try_from(varint(rest)?).map_err(|_| MalformedValue)?;
            let (bytes, behind) = rest.split_at_checked(length).ok_or(MalformedValue)?;
            *rest = behind;
            Field::Bytes(bytes)
        }
        WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
            return Err(MalformedValue);
        }
    };
    Ok(Some((number, content)))
}

/// Of the kinds that a Value can be the last one counts.
fn last_field(mut bytes: &[u8]) -> Result<Option<(u32, Field<'_>)>, MalformedValue> {
    let mut last = None;
    while let Some(field) = next_field(&mut bytes)? {
        last = Some(field);
    }
    Ok(last)
}

fn read(bytes: &[u8], depth: usize) -> Result<Json, MalformedValue> {
    let depth = depth.checked_sub(1).ok_or(MalformedValue)?;
    Ok(match last_field(bytes)? {
        None | Some((field::NULL, Field::Varint(_))) => Json::Null,
        Some((field::BOOL, Field::Varint(truth))) => Json::Bool(truth != 0),
        Some((field::NUMBER, Field::Double(number))) => float_to_json(number),
        Some((field::STRING, Field::Bytes(bytes))) => Json::String(text(bytes)?),
        Some((field::LIST, Field::Bytes(mut list))) => {
            let mut items = Vec::new();
            while let Some((number, item)) = next_field(&mut list)? {
                if let (field::ITEM, Field::Bytes(item)) = (number, item) {
                    items.push(read(item, depth)?);
                }
            }
            Json::Array(items)
        }
        Some((field::STRUCT, Field::Bytes(mut record))) => {
            let mut fields = Map::new();
            while let Some((number, entry)) = next_field(&mut record)? {
                if let (field::ENTRY, Field::Bytes(entry)) = (number, entry) {
                    let (name, value) = read_entry(entry, depth)?;
                    fields.insert(name, value);
                }
            }
            Json::Object(fields)
        }
        Some(_) => return Err(MalformedValue),
    })
}

/// How many values there are, as far as they can be read.
fn nodes(bytes: &[u8], depth: usize) -> u64 {
    let Some(depth) = depth.checked_sub(1) else { return 1 };
    let (list, mut content) = match last_field(bytes) {
        Ok(Some((field::LIST, Field::Bytes(content)))) => (true, content),
        Ok(Some((field::STRUCT, Field::Bytes(content)))) => (false, content),
        _ => return 1,
    };
    let mut count = 1;
    while let Ok(Some((_, part))) = next_field(&mut content) {
        let Field::Bytes(part) = part else { continue };
        count += if list { nodes(part, depth) } else { entry_nodes(part, depth) };
    }
    count
}

fn entry_nodes(mut entry: &[u8], depth: usize) -> u64 {
    let mut count = 1;
    while let Ok(Some((number, content))) = next_field(&mut entry) {
        if let (field::ENTRY_VALUE, Field::Bytes(value)) = (number, content) {
            count += nodes(value, depth);
        }
    }
    count
}

fn read_entry(mut entry: &[u8], depth: usize) -> Result<(String, Json), MalformedValue> {
    let (mut name, mut value) = (String::new(), Json::Null);
    while let Some((number, content)) = next_field(&mut entry)? {
        match (number, content) {
            (field::ENTRY_NAME, Field::Bytes(bytes)) => name = text(bytes)?,
            (field::ENTRY_VALUE, Field::Bytes(bytes)) => value = read(bytes, depth)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn text(bytes: &[u8]) -> Result<String, MalformedValue> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| MalformedValue)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::json;

    use super::*;

    /// What prost makes of our bytes, and of a value that it encoded itself.
    fn through_prost(value: &EncodedValue) -> EncodedValue {
        let tree = prost_types::Value::decode(&value.0[..]).unwrap();
        EncodedValue::decode(&tree.encode_to_vec()[..]).unwrap()
    }

    #[test]
    fn protobufs_own_types_read_and_write_the_same() {
        let long = "x".repeat(20_000);
        for json in [
            json!(null),
            json!(true),
            json!(-3),
            json!(0.5),
            json!("é"),
            json!([]),
            json!({}),
            json!([1, [2, [3, "four", {"five": [null]}]], long]),
            json!({"a": {"b": [], "c": {long.clone(): long}}, "list": vec![1; 300]}),
        ] {
            let value = EncodedValue::from_json(&json);
            assert_eq!(value.to_json().unwrap(), json);
            assert_eq!(through_prost(&value).to_json().unwrap(), json);
            let merged = EncodedValue::decode(&value.0[..]).unwrap();
            assert_eq!(
                (merged.encode_to_vec(), value.encoded_len()),
                (value.0.to_vec(), value.0.len())
            );
            assert!(json.to_string().len() as u64 <= value.tree_bytes());
        }
    }

    #[test]
    fn lists_are_taken_apart_and_put_together() {
        let json = json!([1, "two", [3]]);
        let items = EncodedValue::from_json(&json).items().unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(EncodedValue::list(items).to_json().unwrap(), json);
        assert!(EncodedValue::from_json(&json!({"a": 1})).items().is_none());
        assert!(EncodedValue::default().items().is_none());
    }

    #[test]
    fn what_is_no_value_is_an_error_and_not_a_panic() {
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(EncodedValue::from_json(&deep).to_json(), Err(MalformedValue));
        for bytes in [&b"\x1a\x05ab"[..], b"\x1a\x01\xff", b"\x0d\0\0\0\0", b"\xff\xff", b"\x3a\0"]
        {
            let value = EncodedValue::from_bytes(Bytes::from_static(bytes));
            assert_eq!(value.to_json(), Err(MalformedValue), "{bytes:?}");
            assert!(!format!("{value:?}").is_empty());
        }
        assert_eq!(EncodedValue::default().to_json(), Ok(Json::Null));
    }
}
