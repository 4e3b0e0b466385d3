//! What a map's key says as labels.
//!
//! Without a schema a key is the label "key", a decimal index in an array and "hex:…" elsewhere, as
//! is one of more fields than anyone would tell apart.

use bpfgate_proto::value::{Display, Encoding, Kind, Leaf, Plan, Type};

use super::{compile, is_padding};
use crate::host_names::HostName;
use crate::watch::source::{CounterSource, KeyLife, covered};

/// A key of more fields than this is one label: every series tells all of them.
const LABELS_MAX: usize = 64;

/// How to read a map's keys.
pub(super) struct Labels {
    /// By name; without the padding.
    named: Vec<(Box<str>, Leaf)>,
    /// What was declared of them, by label.
    declared: Vec<(usize, HostName)>,
    /// Two keys may read the same.
    ambiguous: bool,
    /// What a key's bytes are told as, where they have to be: a name that no field has.
    raw: Box<str>,
}

/// A key's bytes, where its other labels are those of another key too.
const RAW: &str = "raw_key";

impl Labels {
    pub(super) fn of(source: &dyn CounterSource) -> Self {
        let size = source.key_size();
        let plan = source.schema().and_then(|schema| compile(schema.key.as_ref(), size));
        let index = plan.is_none() && source.key_life() == KeyLife::Fixed && size == 4;
        let plan = plan.filter(|plan| plan.leaves().len() <= LABELS_MAX);
        // Nothing says how to show an array's index.
        let plan = plan.or_else(|| index.then(index_plan).flatten());
        let plan = plan.unwrap_or_else(|| Plan::opaque(size));
        let name = |leaf: &Leaf| match leaf.path() {
            _ if is_padding(leaf, &plan) => None,
            "" => Some("key".into()),
            // The name is taken by what tells a per-CPU map's series apart.
            "cpu" if source.cpus().is_some() => Some("key.cpu".into()),
            path => Some(path.into()),
        };
        let named = plan.leaves().iter().filter_map(|leaf| Some((name(leaf)?, leaf.clone())));
        let named: Vec<(Box<str>, Leaf)> = named.collect();
        let mut told = vec![0; size];
        for (_, leaf) in &named {
            leaf.mark_told(&mut told);
        }
        let ambiguous = told.iter().any(|bits| *bits != u8::MAX);
        let raw = raw_name(|name| named.iter().any(|(known, _)| **known == *name));
        let mut labels = Self { named, declared: Vec::new(), ambiguous, raw };
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
        let (named, declared) = Default::default();
        Self { named, declared, ambiguous: false, raw: RAW.into() }
    }

    pub(super) fn count(&self) -> usize {
        self.named.len()
    }

    pub(super) fn name(&self, at: usize) -> &str {
        &self.named[at].0
    }

    /// Appends a label's text.
    pub(super) fn append(&self, at: usize, key: &[u8], out: &mut String) {
        self.named[at].1.append_text(key, out);
    }

    /// What that has at most, in bytes.
    pub(super) fn bytes(&self, at: usize, key: &[u8]) -> usize {
        self.named[at].1.text_bytes(key)
    }

    /// The labels of each key.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| &**name)
    }

    /// Where a label stands among those of each key.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.names().position(|label| label == name)
    }

    /// Where a label is in a key, and what it says there.
    pub(super) fn leaf(&self, at: usize) -> &Leaf {
        &self.named[at].1
    }

    /// A label's bytes in a key, and the number they are.
    pub(super) fn number<'a>(&self, key: &'a [u8], at: usize) -> (&'a [u8], u64) {
        let (_, leaf) = &self.named[at];
        (leaf.bytes(key), leaf.read(key))
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    pub(super) fn raw_name(&self) -> &str {
        &self.raw
    }

    pub(super) fn declared(&self) -> &[(usize, HostName)] {
        &self.declared
    }
}

fn index_plan() -> Option<Plan> {
    let encoding = Encoding::Unsigned;
    let kind = Kind::Integer {
        encoding,
        big_endian: cfg!(target_endian = "big"),
        display: Display::Plain,
    };
    Plan::compile(&Type { name: String::new(), size: 4, kind }).ok()
}

fn raw_name(is_taken: impl Fn(&str) -> bool) -> Box<str> {
    let others = (2..).map(|number: u32| format!("{RAW}_{number}"));
    let mut names = std::iter::once(RAW.to_owned()).chain(others);
    names.find(|name| !is_taken(name)).unwrap_or_default().into()
}
