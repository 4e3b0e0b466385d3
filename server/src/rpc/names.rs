//! Numbers in typed keys by the names that they have on this host, both ways.

use std::borrow::Cow;
use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{EncodedValue, Leaf, Plan, json_to_value};
use serde_json::Value as Json;
use tonic::Status;

use super::Shared;
use super::status::invalid;
use super::watch::resolution;
use crate::core::Map;
use crate::host_names::{HostName, Names, derive};

/// As many as a watch takes.
const MOST: usize = 64;
/// What a name can have, a cgroup's path among them.
pub(super) const NAME_BYTES: u64 = 4096 + 16;

/// Fields of a map's key that go by names.
#[derive(Clone)]
pub(super) struct KeyNames {
    /// By label: "key" for the whole of it.
    fields: Vec<(String, HostName)>,
    host: Arc<Names>,
}

impl KeyNames {
    /// Those that a request asks for, and with `declared` those that the map's maker declared.
    pub(super) fn of(
        shared: &Shared,
        map: &Map,
        resolve: Vec<pb::LabelResolution>,
        declared: bool,
    ) -> Result<Self, Status> {
        if resolve.len() > MOST {
            return Err(invalid("resolve", format!("are {}, at most {MOST}", resolve.len())));
        }
        let asked = resolve.into_iter().map(resolution).collect::<Result<Vec<_>, _>>()?;
        let declared = if declared { &map.about().host_names[..] } else { &[] };
        let unasked = |(label, _): &&(String, HostName)| !asked.iter().any(|(own, _)| own == label);
        let declared = declared.iter().filter(unasked).cloned().collect::<Vec<_>>();
        let asked = asked.into_iter().filter_map(|(label, what)| Some((label, what?)));
        Ok(Self { fields: asked.chain(declared).collect(), host: shared.hub.names().clone() })
    }

    /// Those by which a request may write its key: all that are known, if it is typed.
    pub(super) fn of_key(
        shared: &Shared,
        map: &Map,
        resolve: Vec<pb::LabelResolution>,
        typed: bool,
    ) -> Result<Option<Self>, Status> {
        typed.then(|| Self::of(shared, map, resolve, true)).transpose()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What they add to a typed key at most.
    pub(super) fn bytes(&self) -> u64 {
        self.fields.len() as u64 * NAME_BYTES
    }

    /// Puts numbers in the place of names. What is no name here stays, for the codec to refuse.
    /// Blocks.
    pub(super) fn numbers(&self, key: &mut Json) {
        for (label, what) in &self.fields {
            let Some(place) = place(key, label) else { continue };
            if let Json::String(text) = place
                && let Some(number) = self.host.number(*what, text)
            {
                *place = Json::String(number.to_string());
            }
        }
    }

    /// A key with names in the place of numbers. Blocks.
    pub(super) fn name(&self, plan: &Plan, bytes: &[u8]) -> EncodedValue {
        let mut key = plan.decode(bytes).expect("bytes were cut to the plan's size");
        for (label, what) in &self.fields {
            let path = if label == "key" { "" } else { label.as_str() };
            let named = |leaf: &&Leaf| leaf.path() == path || leaf.path() == label;
            let Some(leaf) = plan.leaves().iter().find(named) else { continue };
            let number = leaf.read(bytes);
            let derived = derive(*what, leaf.bytes(bytes), number).map(Cow::into_owned);
            let kept = || self.host.find(*what, number).map(|name| name.to_string());
            if let Some(name) = derived.or_else(kept)
                && let Some(place) = place(&mut key, label)
            {
                *place = Json::String(name);
            }
        }
        json_to_value(key)
    }
}

/// The part of a key that a label names.
fn place<'k>(key: &'k mut Json, label: &str) -> Option<&'k mut Json> {
    if label == "key" && key.get(label).is_none() {
        return (!key.is_object() && !key.is_array()).then_some(key);
    }
    let mut parts = label.split(['.', '[']).filter(|part| !part.is_empty());
    parts.try_fold(key, |at, part| match part.strip_suffix(']') {
        Some(index) => at.get_mut(index.parse::<usize>().ok()?),
        None => at.get_mut(part),
    })
}

/// A declaration as GetMap tells it.
pub(super) fn key_name((label, what): &(String, HostName)) -> pb::LabelResolution {
    use pb::label_resolution::How;
    let how = match what {
        HostName::Interface => How::IfindexName,
        HostName::Cgroup => How::CgroupPath,
        HostName::User => How::User,
        HostName::Syscall => How::Syscall,
        HostName::Protocol => How::Protocol,
        HostName::Address => How::Ip,
    };
    pb::LabelResolution { label: label.clone(), how: how.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_lead_to_their_parts() {
        let mut key = json!({"a": {"b": [1, {"c": 2}]}, "key": 3});
        for (label, part) in [("a.b[0]", json!(1)), ("a.b[1].c", json!(2)), ("key", json!(3))] {
            assert_eq!(place(&mut key, label), Some(&mut part.clone()), "{label}");
        }
        for label in ["b", "a.b[2]", "a.b[]", "a.c"] {
            assert_eq!(place(&mut key, label), None, "{label}");
        }
        assert_eq!(place(&mut json!("eth0"), "key"), Some(&mut json!("eth0")));
        assert_eq!(place(&mut json!({"a": 1}), "key"), None);
    }
}
