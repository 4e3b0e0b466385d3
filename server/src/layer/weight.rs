//! What a message takes when it is decoded, told from its bytes and its descriptor before it is.
//!
//! Four bytes on the wire can be an element of two hundred in memory. The estimate is high rather
//! than low: room that lists grow by is counted, strings are counted whole.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Of an allocation beside its content, and of a list's element beside the element.
const ALLOCATION: u64 = 32;
/// What a list's element takes of the room that the list grows by.
const GROWTH: u64 = 2;
/// An encoded value beside its bytes: see `bpfgate_proto::value::EncodedValue`.
const ENCODED_VALUE: u64 = 128;
/// An entry of a map beside its key and value.
const MAP_ENTRY: u64 = 96;
/// As deep as protobuf's decoders go.
const MAX_DEPTH: u32 = 100;

/// The weights of all requests.
#[derive(Debug)]
pub(super) struct Weights {
    types: Vec<MessageType>,
    /// By the path of the RPC.
    requests: HashMap<String, usize>,
}

/// The weight of one RPC's request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoded {
    weights: &'static Weights,
    root: usize,
}

#[derive(Debug, Default)]
struct MessageType {
    /// Bytes of the struct itself.
    own: u64,
    fields: HashMap<u32, Field>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    repeated: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Text,
    /// Slices of the receive buffer.
    Bytes,
    Encoded,
    Message(usize),
    Entry(usize),
}

impl Weights {
    /// Of the API's requests, worked out once.
    pub(super) fn get() -> &'static Self {
        static WEIGHTS: OnceLock<Weights> = OnceLock::new();
        WEIGHTS.get_or_init(|| {
            let set = FileDescriptorSet::decode(bpfgate_proto::FILE_DESCRIPTOR_SET);
            Self::of_files(&set.expect("the build wrote it").file)
        })
    }

    pub(super) fn of(&'static self, path: &str) -> Option<Decoded> {
        let root = *self.requests.get(path)?;
        Some(Decoded { weights: self, root })
    }

    fn of_files(files: &[FileDescriptorProto]) -> Self {
        let mut messages = Vec::new();
        for file in files {
            let prefix = format!(".{}", file.package());
            for message in &file.message_type {
                collect(&prefix, message, &mut messages);
            }
        }
        let places: HashMap<&str, usize> =
            messages.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect();
        let types = messages.iter().map(|(_, message)| message_type(message, &places, &messages));
        let mut requests = HashMap::new();
        for file in files {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    requests.extend(places.get(method.input_type()).map(|at| (path, *at)));
                }
            }
        }
        Self { types: types.collect(), requests }
    }

    fn bytes(&self, ty: usize, mut message: &[u8], depth: u32) -> u64 {
        if depth > MAX_DEPTH {
            return 0;
        }
        let mut sum = 0;
        while let Some((number, content)) = next(&mut message) {
            let Some(Field { repeated, kind }) = self.types[ty].fields.get(&number) else {
                continue;
            };
            let times = if *repeated { GROWTH } else { 1 };
            sum += match (kind, content) {
                // Packed numbers are one byte each at least.
                (Kind::Number, Some(packed)) => packed.len() as u64 * 8 * times,
                (Kind::Number, None) => 8 * times,
                (Kind::Text, Some(text)) => text.len() as u64 + (ALLOCATION + 24) * times,
                (Kind::Bytes, Some(_)) => (ALLOCATION + 32) * times,
                (Kind::Encoded, Some(value)) => value.len() as u64 + ENCODED_VALUE * times,
                (Kind::Message(inner), Some(message)) => {
                    let own = self.types[*inner].own + ALLOCATION;
                    own * times + self.bytes(*inner, message, depth + 1)
                }
                (Kind::Entry(inner), Some(message)) => {
                    MAP_ENTRY * GROWTH + self.bytes(*inner, message, depth + 1)
                }
                (_, None) => 0,
            };
        }
        sum
    }
}

impl Decoded {
    /// Bytes of memory that such a message takes at most, slices of the message itself aside.
    pub(super) fn bytes(self, message: &[u8]) -> u64 {
        self.weights.types[self.root].own + self.weights.bytes(self.root, message, 0)
    }
}

type Messages<'a> = Vec<(String, &'a DescriptorProto)>;

fn collect<'a>(prefix: &str, message: &'a DescriptorProto, into: &mut Messages<'a>) {
    let name = format!("{prefix}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, into);
    }
    into.push((name, message));
}

fn message_type(
    message: &DescriptorProto,
    places: &HashMap<&str, usize>,
    messages: &Messages<'_>,
) -> MessageType {
    let mut ty = MessageType::default();
    for field in &message.field {
        let repeated = field.label() == Label::Repeated;
        let inner = || places.get(field.type_name()).copied();
        let kind = match field.r#type() {
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Message if field.type_name() == ".google.protobuf.Value" => Kind::Encoded,
            Type::Message => match inner() {
                Some(at) if is_entry(messages[at].1) => Kind::Entry(at),
                Some(at) => Kind::Message(at),
                None => continue,
            },
            _ => Kind::Number,
        };
        // Messages within messages are charged where they occur, as if each had its own box.
        ty.own += match kind {
            Kind::Number => 16,
            Kind::Text | Kind::Message(_) => 24,
            Kind::Bytes | Kind::Encoded => 40,
            Kind::Entry(_) => 64,
        };
        let number = u32::try_from(field.number()).unwrap_or_default();
        ty.fields.insert(number, Field { repeated, kind });
    }
    ty
}

fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
}

/// The next field's number, and its content if that has a length. Nothing behind a mistake: the
/// decoder will say what it was.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    if rest.is_empty() {
        return None;
    }
    let (number, kind) = decode_key(rest).ok()?;
    let skipped = match kind {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (content, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            return Some((number, Some(content)));
        }
        // The decoder skips groups of fields that it does not know, and keeps nothing of them.
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    *rest = rest.get(skipped..)?;
    Some((number, None))
}

#[cfg(test)]
mod tests {
    use bpfgate_proto::v1 as pb;
    use bpfgate_proto::value::json_to_value;
    use serde_json::json;

    use super::*;

    fn weight(method: &str, message: &impl prost::Message) -> u64 {
        let path = format!("/bpfgate.v1.{method}");
        Weights::get().of(&path).unwrap().bytes(&message.encode_to_vec())
    }

    #[test]
    fn what_is_many_times_its_bytes_weighs_what_it_takes() {
        let names = pb::ListMapsRequest { names: vec![String::new(); 1000], ..Default::default() };
        let bytes = weight("MapService/ListMaps", &names);
        assert!(bytes >= 1000 * 24 * 2, "{bytes}");

        let keys = vec![json_to_value(json!(null)); 1000];
        let batch = pb::LookupBatchRequest { typed_keys: keys, ..Default::default() };
        let bytes = weight("MapService/LookupBatch", &batch);
        assert!(bytes >= 1000 * 64, "{bytes}");

        let nested = |inner: pb::Type| pb::Type {
            kind: Some(pb::r#type::Kind::Array(Box::new(pb::ArrayType {
                element: Some(Box::new(inner)),
                ..Default::default()
            }))),
            ..Default::default()
        };
        let deep = (0..20).fold(pb::Type::default(), |inner, _| nested(inner));
        let schema = pb::Schema { value: Some(deep), ..Default::default() };
        let create = pb::CreateMapRequest { layout: Some(schema), ..Default::default() };
        let size = size_of::<pb::Type>() + size_of::<pb::ArrayType>();
        let bytes = weight("MapService/CreateMap", &create);
        assert!(bytes >= 20 * size as u64 / 2, "{bytes} beside {size}");
    }

    #[test]
    fn bytes_that_are_slices_weigh_little() {
        let raw = vec![7; 1 << 20];
        let lookup = pb::LookupRequest {
            map: "m".to_owned(),
            key: Some(pb::lookup_request::Key::RawKey(raw.into())),
            ..Default::default()
        };
        let bytes = weight("MapService/Lookup", &lookup);
        assert!((size_of::<pb::LookupRequest>() as u64 / 2..2000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn nonsense_weighs_something_and_ends() {
        let root = Weights::get().of("/bpfgate.v1.MapService/CreateMap").unwrap();
        for bytes in [&[0xff; 30][..], &[0x0a, 0xff, 0xff, 0xff, 0x7f], &[0x0b; 1000], &[]] {
            assert!(root.bytes(bytes) < 10_000);
        }
        assert!(Weights::get().of("/grpc.health.v1.Health/Check").is_none());
    }
}
