//! What the author of a program noted on its types, for counters:
//! `__attribute__((btf_decl_tag("bpfgate:counter=By")))`. See docs/counters.md.

use super::records::{Clock, ClockSource};
use crate::btf::{self, Library};
use crate::host_names::HostName;
use crate::watch::{CounterKind, CounterSpec};

/// What the tags of a value's type say that its numbers count.
pub(super) fn counters(btf: &Library<'_>, value_type_id: u32) -> Vec<CounterSpec> {
    let spec = |tag: btf::Tag| {
        let (kind, unit) = tag.text.split_once('=').unwrap_or((&tag.text, ""));
        let kind = match kind {
            "counter" => CounterKind::Monotonic,
            "gauge" => CounterKind::Gauge,
            "histogram" => CounterKind::Histogram,
            _ => return None,
        };
        Some(CounterSpec { field: tag.path, kind, unit: unit.to_owned() })
    };
    tags(btf, value_type_id).filter_map(spec).collect()
}

/// What the tags of a key's type say that its numbers stand for on this host, by label.
pub(super) fn host_names(btf: &Library<'_>, key_type_id: u32) -> Vec<(String, HostName)> {
    tags(btf, key_type_id)
        .filter_map(|tag| Some((label(&tag.path), host_name(&tag.text)?)))
        .collect()
}

/// Which field of a record its author says has the time at which it was written.
pub(super) fn clock(btf: &Library<'_>, type_id: u32) -> Option<Clock> {
    tags(btf, type_id).find_map(|tag| {
        let source = match tag.text.strip_prefix("clock=")? {
            "monotonic" => ClockSource::Monotonic,
            "boottime" => ClockSource::Boottime,
            "realtime" => ClockSource::Realtime,
            _ => return None,
        };
        Some(Clock { field: tag.path, source })
    })
}

/// The label of a field of the key: a key that is one number has no path.
pub(super) fn label(path: &str) -> String {
    if path.is_empty() { "key".to_owned() } else { path.to_owned() }
}

/// By the word in a tag.
pub(super) fn host_name(word: &str) -> Option<HostName> {
    Some(match word {
        "ifindex" => HostName::Interface,
        "cgroup" => HostName::Cgroup,
        "user" => HostName::User,
        "syscall" => HostName::Syscall,
        "protocol" => HostName::Protocol,
        "ip" => HostName::Address,
        _ => return None,
    })
}

/// Tags on types and fields.
fn tags(btf: &Library<'_>, type_id: u32) -> impl Iterator<Item = btf::Tag> {
    // BTF that cannot be read has been reported with the schema.
    btf.tags(type_id).unwrap_or_default().into_iter()
}
