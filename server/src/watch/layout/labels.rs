//! What a map's key says as labels.
//!
//! Without a schema a key is the label "key", a decimal index in an array and "hex:…" elsewhere, as
//! is one of more fields than anyone would tell apart.

use bpfgate_proto::value::{Leaf, Plan};

use super::{compile, is_padding, word};
use crate::host_names::HostName;
use crate::watch::source::{CounterSource, KeyLife, covered};

/// A key of more fields than this is one label: every series tells all of them.
const LABELS_MAX: usize = 64;

/// How to read a map's keys.
pub(super) struct Labels {
    /// By name; without the padding.
    named: Vec<(Box<str>, Leaf)>,
    /// The bytes are a `u32` and nothing says how to show it.
    index: bool,
    /// What was declared of them, by label.
    declared: Vec<(usize, HostName)>,
}

impl Labels {
    pub(super) fn of(source: &dyn CounterSource) -> Self {
        let size = source.key_size();
        let plan = source.schema().and_then(|schema| compile(schema.key.as_ref(), size));
        let index = plan.is_none() && source.key_life() == KeyLife::Fixed && size == 4;
        let plan = plan.filter(|plan| plan.leaves().len() <= LABELS_MAX);
        let plan = plan.unwrap_or_else(|| Plan::opaque(size));
        let name = |leaf: &Leaf| match leaf.path() {
            _ if is_padding(leaf, &plan) => None,
            "" => Some("key".into()),
            // The name is taken by what tells a per-CPU map's series apart.
            "cpu" if source.cpus().is_some() => Some("key.cpu".into()),
            path => Some(path.into()),
        };
        let named = plan.leaves().iter().filter_map(|leaf| Some((name(leaf)?, leaf.clone())));
        let mut labels = Self { named: named.collect(), index, declared: Vec::new() };
        let mut declared = Vec::new();
        for (at, label) in labels.names().enumerate() {
            let mut said = source.host_names().iter();
            let what = said.find(|(name, _)| covered(name, label) == Some(label));
            declared.extend(what.map(|(_, what)| (at, *what)));
        }
        labels.declared = declared;
        labels
    }

    /// None at all, for a map whose entries are one series.
    pub(super) fn none() -> Self {
        Self { named: Vec::new(), index: false, declared: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.named.len()
    }

    pub(super) fn name(&self, at: usize) -> &str {
        &self.named[at].0
    }

    /// Appends a label's text.
    pub(super) fn append(&self, at: usize, key: &[u8], out: &mut String) {
        if self.index {
            out.push_str(&word(key).to_string());
        } else {
            self.named[at].1.append_text(key, out);
        }
    }

    /// What that has at most, in bytes.
    pub(super) fn bytes(&self, at: usize, key: &[u8]) -> usize {
        /// A `u32` in digits.
        const INDEX: usize = 10;
        if self.index { INDEX } else { self.named[at].1.text_bytes(key) }
    }

    /// The labels of each key.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| &**name)
    }

    /// Where a label stands among those of each key.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.names().position(|label| label == name)
    }

    /// A label's bytes in a key, and the number they are.
    pub(super) fn number<'a>(&self, key: &'a [u8], at: usize) -> (&'a [u8], u64) {
        let (_, leaf) = &self.named[at];
        (leaf.bytes(key), leaf.read(key))
    }

    pub(super) fn declared(&self) -> &[(usize, HostName)] {
        &self.declared
    }
}
