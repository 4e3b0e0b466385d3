//! `bpfgate map create`.

use bpfgate_client::v1;
use bpfgate_client::value::{Schema, SchemaSource, Type};

use crate::args::CreateArgs;
use crate::exit::{Exit, Failure};
use crate::values::pairs;

pub(super) fn request(args: CreateArgs) -> Result<v1::CreateMapRequest, Failure> {
    let key = args.key_type.map(|ty| ty.declare(args.key, "--key")).transpose()?;
    let value = args.value_type.map(|ty| ty.declare(args.value, "--value")).transpose()?;
    let (keyless, valueless) = without_halves(args.kind);
    let key_size = size(key.as_ref(), args.key, keyless, "--key")?;
    let value_size = size(value.as_ref(), args.value, valueless, "--value")?;
    let declared = key.is_some() || value.is_some();
    let schema = Schema { key, value, source: SchemaSource::Declared };
    Ok(v1::CreateMapRequest {
        name: args.name,
        spec: Some(v1::MapSpec {
            r#type: args.kind.into(),
            key_size,
            value_size,
            max_entries: args.max_entries,
            flags: args.flags,
            numa_node: args.numa_node,
            map_extra: args.map_extra,
            inner: args.inner.map(Box::new),
        }),
        layout: declared.then(|| schema.into()),
        counters: args.counter.map(|counter| counter.spec("")).into_iter().collect(),
        labels: pairs(args.labels),
        record_type: None,
    })
}

/// Whether maps of that type have no keys, and no values.
fn without_halves(kind: v1::MapType) -> (bool, bool) {
    use v1::MapType as T;
    let keyless = matches!(kind, T::Queue | T::Stack | T::BloomFilter);
    let neither = matches!(kind, T::Ringbuf | T::UserRingbuf | T::Arena);
    (keyless || neither, neither)
}

fn size(ty: Option<&Type>, given: Option<u32>, none: bool, flag: &str) -> Result<u32, Failure> {
    let size = ty.map(|ty| ty.size).or(given).or(none.then_some(0));
    size.ok_or_else(|| {
        let text = format!("how large is it? add {flag} BYTES or {flag}-type SCALAR");
        Failure::new(Exit::Usage, text)
    })
}
