//! A watch's selectors, as far as they concern one map.

use bpfgate_proto::name::MapName;

use super::layout::Layout;
use super::message::Label;
use super::request::{CpuMode, Selector, Terms};
use super::source::{HostName, covers};
use super::table::Entry;

/// Which series of one map a watch takes, and which labels it wants names for.
pub(super) struct Choice {
    rules: Vec<Rule>,
    /// A series for each CPU: the label "cpu" is the slot's, not the key's.
    each_cpu: bool,
    /// Labels to show by name, and where their names are in an entry.
    names: Vec<(usize, usize)>,
}

struct Rule {
    /// Index among the watch's selectors.
    selector: usize,
    /// Which series of a key it takes, ascending.
    slots: Box<[usize]>,
}

impl Choice {
    /// `None` if the selectors take nothing of this map.
    pub(super) fn of(terms: &Terms, map: &MapName, layout: &Layout) -> Option<Self> {
        let mode = layout.mode(terms.cpu);
        let matching = terms.selectors.iter().enumerate().filter(|(_, it)| it.map.matches(map));
        let rules: Vec<Rule> = matching
            .map(|(selector, it)| Rule { selector, slots: slots(it, layout, mode) })
            .filter(|rule| !rule.slots.is_empty())
            .collect();
        let names = Vec::new();
        (!rules.is_empty()).then_some(Self { rules, each_cpu: mode == CpuMode::Each, names })
    }

    /// Where the names that [`names`] listed are in an entry.
    pub(super) fn named(mut self, names: &[(usize, HostName)], places: &[usize]) -> Self {
        let labels = names.iter().map(|(label, _)| *label);
        self.names = labels.zip(places.iter().copied()).collect();
        self
    }

    /// Where they are, for all labels that are shown by name.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.names.iter().map(|(_, place)| *place)
    }

    /// The slots that are taken of a key, ascending.
    pub(super) fn slots(&self, terms: &Terms, entry: &Entry, slots: &mut Vec<usize>) {
        slots.clear();
        let mut rules = 0;
        for Rule { selector, slots: taken } in &self.rules {
            let mut matchers = terms.selectors[*selector].labels.iter();
            if matchers.all(|it| {
                (self.each_cpu && it.label == "cpu") || it.matches(self.values(entry, &it.label))
            }) {
                slots.extend_from_slice(taken);
                rules += 1;
            }
        }
        if rules > 1 {
            slots.sort_unstable();
            slots.dedup();
        }
    }

    /// What a label may be meant by: its number, and its name where it has one.
    fn values<'a>(&self, entry: &'a Entry, label: &str) -> impl Iterator<Item = &'a str> {
        let at = entry.labels.iter().position(|known| *known.name == *label);
        let value = at.map_or("", |at| &entry.labels[at].value);
        let name = at.and_then(|at| self.name(entry, at));
        [value].into_iter().chain(name.map(|name| &**name))
    }

    fn name<'a>(&self, entry: &'a Entry, label: usize) -> Option<&'a std::sync::Arc<str>> {
        let (_, place) = self.names.iter().find(|(named, _)| *named == label)?;
        entry.names.get(*place)?.as_ref()
    }

    /// An entry's labels as this watch shows them.
    pub(super) fn labels(&self, entry: &Entry) -> Vec<Label> {
        let shown = |(at, label): (usize, &Label)| match self.name(entry, at) {
            Some(name) => Label { name: label.name.clone(), value: name.clone() },
            None => label.clone(),
        };
        entry.labels.iter().enumerate().map(shown).collect()
    }
}

/// Labels that a watch shows by name: as it asks for, or as the map's maker declared.
pub(super) fn names(terms: &Terms, layout: &Layout) -> Vec<(usize, HostName)> {
    let asked = |(label, what): &(String, Option<HostName>)| Some((layout.label(label)?, *what));
    let asked: Vec<(usize, Option<HostName>)> = terms.resolve.iter().filter_map(asked).collect();
    let declared = layout.declared().iter().filter(|(label, _)| {
        terms.resolve_declared && !asked.iter().any(|(known, _)| known == label)
    });
    let asked = asked.iter().filter_map(|(label, what)| Some((*label, (*what)?)));
    asked.chain(declared.copied()).collect()
}

fn slots(selector: &Selector, layout: &Layout, mode: CpuMode) -> Box<[usize]> {
    let taken = |slot: &usize| {
        let (number, cpu) = layout.slot(mode, *slot);
        let field = selector.fields.is_empty()
            || selector.fields.iter().any(|field| covers(field, &number.path));
        let cpu = cpu.map(|cpu| cpu.to_string());
        let mut on_cpu = selector.labels.iter().filter(|matcher| matcher.label == "cpu");
        field && cpu.is_none_or(|cpu| on_cpu.all(|matcher| matcher.matches([&*cpu].into_iter())))
    };
    (0..layout.slots(mode)).filter(taken).collect()
}
