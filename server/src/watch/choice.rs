//! A watch's selectors, as far as they concern one map.

use std::borrow::Cow;
use std::ops::Range;

use bpfgate_proto::name::MapName;
use bpfgate_proto::value::Matcher;

use super::layout::Layout;
use super::message::Label;
use super::request::{CpuMode, LabelMatcher, Selector, Terms};
use super::source::covers;
use super::version::{Subject, Version};
use crate::host_names::{self, HostName, Names};

/// Which series of one map a watch takes, and which labels it wants names for.
pub(super) struct Choice {
    rules: Vec<Rule>,
    /// Labels to show by name, and where their names are among those that are looked for.
    names: Vec<(usize, usize)>,
    /// Which way of reading keys that is, where two keys may read the same.
    reading: Option<usize>,
    /// The map's name in small letters.
    map: String,
}

/// Labels of more bytes contain nothing.
const LONGEST: usize = 256 << 10;

struct Rule {
    /// Index among the watch's selectors.
    selector: usize,
    /// What it has to be, condition by condition.
    tests: Box<[Test]>,
    /// Which series of a key it takes, ascending.
    slots: Box<[Range<usize>]>,
}

/// A condition as it is in one map.
struct Test {
    /// Among its selector's.
    condition: usize,
    /// The label, and what takes it by its type; `None` where a key has no such label.
    label: Option<(usize, Matcher)>,
}

/// Room to work in, used for one key after another.
#[derive(Default)]
pub(super) struct Scratch {
    slots: Vec<Range<usize>>,
    text: String,
}

/// A label's text among those of a key.
pub(super) struct Text {
    label: usize,
    at: Range<usize>,
}

impl Scratch {
    /// The slots that were taken of the last key, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().flat_map(Clone::clone)
    }

    pub(super) fn take_slots(&mut self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.slots)
    }

    pub(super) fn give_slots(&mut self, slots: Vec<Range<usize>>) {
        self.slots = slots;
    }
}

impl Choice {
    /// What one takes at most.
    pub(super) fn cost(terms: &Terms, map: &MapName, layout: &Layout) -> usize {
        let matching = terms.selectors.iter().filter(|it| it.map.matches(map));
        let rule = |it: &Selector| {
            let numbers = if it.fields.is_empty() { 1 } else { layout.numbers() };
            let on_cpu = it.labels.iter().any(|matcher| matcher.label == "cpu");
            let slots = if on_cpu { layout.slots(layout.mode(terms.cpu)) } else { numbers };
            // The list doubles as it grows.
            let tests = it.labels.iter().map(LabelMatcher::cost).sum::<usize>();
            size_of::<Rule>() + 2 * slots * size_of::<Range<usize>>() + tests
        };
        matching.map(rule).sum()
    }

    /// `None` if the selectors take nothing of this map.
    pub(super) fn of(terms: &Terms, map: &MapName, layout: &Layout, host: &Names) -> Option<Self> {
        let mode = layout.mode(terms.cpu);
        let matching = terms.selectors.iter().enumerate().filter(|(_, it)| it.map.matches(map));
        let rule = |(selector, it): (usize, &Selector)| {
            let on_key = it.labels.iter().enumerate().filter(|(_, it)| !is_cpu(mode, it));
            let tests = on_key.map(|(condition, matcher)| {
                let label = layout.label(&matcher.label).map(|label| {
                    let numbers = |name: &str| number(terms, layout, host, label, name);
                    let leaf = layout.label_leaf(label);
                    (label, leaf.matcher_of_some(&matcher.condition, &numbers))
                });
                Test { condition, label }
            });
            Rule { selector, tests: tests.collect(), slots: slots(it, layout, mode) }
        };
        let rules: Vec<Rule> = matching.map(rule).filter(|rule| !rule.slots.is_empty()).collect();
        (!rules.is_empty()).then_some(Self {
            rules,
            names: Vec::new(),
            reading: None,
            map: map.as_str().to_lowercase(),
        })
    }

    /// What it takes.
    pub(super) fn bytes(&self, terms: &Terms) -> usize {
        let rule = |it: &Rule| {
            let tests = terms.selectors[it.selector].labels.iter().map(LabelMatcher::cost);
            size_of::<Rule>() + size_of_val(&*it.slots) + tests.sum::<usize>()
        };
        self.rules.iter().map(rule).sum()
    }

    /// Where the names that [`names()`] listed are among those that are looked for, and which
    /// reading of keys that is.
    pub(super) fn named(
        mut self,
        names: &[(usize, HostName)],
        places: &[usize],
        reading: Option<usize>,
    ) -> Self {
        let labels = names.iter().map(|(label, _)| *label);
        self.names = labels.zip(places.iter().copied()).collect();
        self.reading = reading;
        self
    }

    /// Whether a version has what is shown: all names, and who reads the same.
    pub(super) fn is_known_to(&self, version: &Version, mode: CpuMode) -> bool {
        version.has(mode, self.names.iter().map(|(_, place)| *place), self.reading)
    }

    /// Whether a key's labels are those of another key too, so that its bytes have to tell.
    pub(super) fn is_twin(&self, version: &Version, subject: Subject<'_>) -> bool {
        let twin = |reading: usize| version.readings[reading].all_twins || subject.is_twin(reading);
        self.reading.is_some_and(twin)
    }

    /// How much there is to do for a key.
    pub(super) fn work(&self) -> usize {
        1 + self.rules.iter().map(|rule| rule.tests.len()).sum::<usize>()
    }

    /// Finds the slots that are taken of a key, and how many they are.
    pub(super) fn slots(
        &self,
        terms: &Terms,
        layout: &Layout,
        looked_for: &[(usize, HostName)],
        subject: Subject<'_>,
        scratch: &mut Scratch,
    ) -> usize {
        let Scratch { slots, text } = scratch;
        slots.clear();
        let mut rules = 0;
        for Rule { selector, tests, slots: taken } in &self.rules {
            let labels = &terms.selectors[*selector].labels;
            let mut met = tests.iter().map(|Test { condition, label }| {
                let matcher = &labels[*condition];
                let condition = &matcher.condition;
                let Some((label, typed)) = label else { return condition.takes(&[""]) };
                let taken = typed.matches(subject.key);
                if condition.is_order() || condition.outcome(true) == taken {
                    return taken;
                }
                let name = self.name(layout, looked_for, subject, *label);
                text.clear();
                // One that is too long to be meant is no text at all.
                if layout.label_bytes(*label, subject.key) <= matcher.longest() {
                    layout.append_label(*label, subject.key, text);
                }
                match name {
                    Some(name) => condition.takes(&[&**text, &*name]),
                    None => condition.takes(&[&**text]),
                }
            });
            if met.all(|met| met) {
                slots.extend_from_slice(taken);
                rules += 1;
            }
        }
        if rules > 1 {
            slots.sort_unstable_by_key(|run| run.start);
            slots.dedup_by(|next, run| {
                let joins = next.start <= run.end;
                if joins {
                    run.end = run.end.max(next.end);
                }
                joins
            });
        }
        if !terms.contains.is_empty() && rules > 0 {
            self.filter(terms, layout, looked_for, subject, scratch);
        }
        scratch.slots.iter().map(ExactSizeIterator::len).sum()
    }

    /// Leaves those slots whose map, key or field contains what it has to.
    fn filter(
        &self,
        terms: &Terms,
        layout: &Layout,
        looked_for: &[(usize, HostName)],
        subject: Subject<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { slots, text } = scratch;
        let mode = layout.mode(terms.cpu);
        let runs = std::mem::take(slots);
        // Longer labels are not told.
        if self.labels_bytes(layout, subject) > LONGEST {
            return;
        }
        text.clear();
        let mut labels = String::new();
        let parts = self.labels(layout, looked_for, subject, &mut labels);
        for part in &parts {
            let name = layout.label_name(part.label);
            if name != "key" {
                text.extend([name, "="]);
            }
            text.extend([&labels[part.at.clone()], " "]);
        }
        let text = text.to_lowercase();
        let map = self.map.as_str();
        let contains = |slot: usize| {
            let (number, cpu) = layout.slot(mode, slot);
            let cpu = cpu.map(|cpu| format!("cpu={cpu} ")).unwrap_or_default();
            format!("{map} {text}{cpu}{}", number.path.to_lowercase()).contains(&terms.contains)
        };
        for slot in runs.into_iter().flatten().filter(|slot| contains(*slot)) {
            match slots.last_mut() {
                Some(run) if run.end == slot => run.end += 1,
                _ => slots.push(slot..slot + 1),
            }
        }
    }

    fn name<'a>(
        &self,
        layout: &Layout,
        looked_for: &[(usize, HostName)],
        subject: Subject<'a>,
        label: usize,
    ) -> Option<Cow<'a, str>> {
        let (_, place) = self.names.iter().find(|(named, _)| *named == label)?;
        let (_, what) = looked_for.get(*place)?;
        if what.is_kept() {
            return subject.name(*place).map(|name| Cow::Borrowed(&**name));
        }
        let (bytes, number) = layout.label_number(subject.key, label);
        host_names::derive(*what, bytes, number)
    }

    /// What a key's labels take at most, with their names.
    pub(super) fn labels_bytes(&self, layout: &Layout, subject: Subject<'_>) -> usize {
        let kept = self.names.iter().filter_map(|(_, place)| subject.name(*place));
        let texts = layout.label_names(CpuMode::Sum).into_iter().enumerate();
        let texts = texts.map(|(at, name)| name.len() + layout.label_bytes(at, subject.key));
        kept.map(|name| name.len()).sum::<usize>() + texts.sum::<usize>()
    }

    /// The same, with its bytes where these have to tell.
    pub(super) fn announced_bytes(
        &self,
        layout: &Layout,
        version: &Version,
        subject: Subject<'_>,
    ) -> usize {
        let twin = self.is_twin(version, subject);
        let raw = if twin { layout.raw_name().len() + 4 + 2 * subject.key.len() } else { 0 };
        self.labels_bytes(layout, subject) + raw
    }

    /// A key's labels as this watch shows them.
    pub(super) fn labels(
        &self,
        layout: &Layout,
        looked_for: &[(usize, HostName)],
        subject: Subject<'_>,
        texts: &mut String,
    ) -> Vec<Text> {
        let text = |label: usize| {
            let from = texts.len();
            match self.name(layout, looked_for, subject, label) {
                Some(name) => texts.push_str(&name),
                None => layout.append_label(label, subject.key, texts),
            }
            Text { label, at: from..texts.len() }
        };
        (0..layout.labels()).map(text).collect()
    }
}

impl Text {
    /// The text, of all.
    pub(super) fn of<'a>(&self, texts: &'a str) -> &'a str {
        &texts[self.at.clone()]
    }

    /// A key's labels with their names, and what tells a slot from others of its key.
    pub(super) fn shown<'a>(
        layout: &'a Layout,
        labels: &[Self],
        texts: &'a str,
        raw: Option<&'a str>,
        cpu: Option<&'a str>,
    ) -> Vec<Label<'a>> {
        let label = |text: &Self| Label {
            name: layout.label_name(text.label),
            value: &texts[text.at.clone()],
        };
        let raw = raw.map(|value| Label { name: layout.raw_name(), value });
        let cpu = cpu.map(|value| Label { name: "cpu", value });
        labels.iter().map(label).chain(raw).chain(cpu).collect()
    }
}

/// A key's bytes as a label says them.
pub(super) fn raw_text(key: &[u8]) -> String {
    let mut text = String::with_capacity(4 + 2 * key.len());
    text.push_str("hex:");
    for byte in key {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
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

/// The number of a label's name on the agent's host: as the watch asks for it, or as the map's maker
/// declared, shown so or not. Users and cgroups by what was looked up last.
pub(super) fn number(
    terms: &Terms,
    layout: &Layout,
    host: &Names,
    label: usize,
    name: &str,
) -> Option<u64> {
    let of = |names: &[(usize, HostName)]| {
        let named = names.iter().find(|(it, _)| *it == label);
        named.and_then(|(_, what)| host.known_number(*what, name))
    };
    of(&names(terms, layout)).or_else(|| of(layout.declared()))
}

/// With a series for each CPU the label "cpu" is the slot's, not the key's.
fn is_cpu(mode: CpuMode, matcher: &LabelMatcher) -> bool {
    mode == CpuMode::Each && matcher.label == "cpu"
}

fn slots(selector: &Selector, layout: &Layout, mode: CpuMode) -> Box<[Range<usize>]> {
    let field = |path: &str| {
        selector.fields.is_empty() || selector.fields.iter().any(|field| covers(field, path))
    };
    let on_cpu = |cpu: usize| {
        let cpu = cpu.to_string();
        selector.labels.iter().filter(|it| is_cpu(mode, it)).all(|it| it.condition.takes(&[&cpu]))
    };
    let copies = layout.slots(mode) / layout.numbers();
    let copies: Vec<bool> = (0..copies).map(on_cpu).collect();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for number in 0..layout.numbers() {
        if !field(&layout.slot(mode, number * copies.len()).0.path) {
            continue;
        }
        for copy in (0..copies.len()).filter(|copy| copies[*copy]) {
            let slot = number * copies.len() + copy;
            match runs.last_mut() {
                Some(run) if run.end == slot => run.end += 1,
                _ => runs.push(slot..slot + 1),
            }
        }
    }
    runs.into()
}
