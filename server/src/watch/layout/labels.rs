//! What a map's key says as labels.
//!
//! Without a schema a key is the label "key", a decimal index in an array and "hex:…" elsewhere, as
//! is one of more fields than anyone would tell apart.

use std::sync::Arc;

use bpfgate_proto::value::{Leaf, Plan};

use super::{compile, is_padding, word};
use crate::watch::message::Label;
use crate::watch::source::{CounterSource, HostName, KeyLife, covered};

/// A key of more fields than this is one label: the labels of every series are kept.
const LABELS_MAX: usize = 64;

/// How to read a map's keys.
pub(super) struct Labels {
    plan: Plan,
    /// Name of each leaf; `None` for padding.
    names: Vec<Option<Arc<str>>>,
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
        let names = plan.leaves().iter().map(name).collect();
        let mut declared = Vec::new();
        let mut labels = Self { plan, names, index, declared: Vec::new() };
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
        let plan = Plan::opaque(0);
        let names = plan.leaves().iter().map(|_| None).collect();
        Self { plan, names, index: false, declared: Vec::new() }
    }

    /// What tells this key's series from others.
    pub(super) fn text(&self, key: &[u8]) -> Box<[Label]> {
        let text = |leaf: &Leaf| if self.index { word(key).to_string() } else { leaf.text(key) };
        let label = |(name, leaf)| Label { name: Arc::clone(name), value: text(leaf).into() };
        self.named().map(label).collect()
    }

    /// The labels of each key.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.named().map(|(name, _)| &**name)
    }

    /// Where a label stands among those of each key.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.named().position(|(label, _)| **label == *name)
    }

    /// A label's bytes in a key, and the number they are.
    pub(super) fn number<'a>(&self, key: &'a [u8], at: usize) -> (&'a [u8], u64) {
        let Some((_, leaf)) = self.named().nth(at) else { return (&[], 0) };
        (leaf.bytes(key), leaf.read(key))
    }

    pub(super) fn declared(&self) -> &[(usize, HostName)] {
        &self.declared
    }

    fn named(&self) -> impl Iterator<Item = (&Arc<str>, &Leaf)> {
        let named = self.names.iter().zip(self.plan.leaves());
        named.filter_map(|(name, leaf)| Some((name.as_ref()?, leaf)))
    }
}
