//! The maps that there were at some time, and how each is read.

use std::collections::HashMap;
use std::sync::Arc;

use bpfgate_proto::name::MapName;
use bpfgate_proto::value::nearest;

use super::choice::{names, number};
use super::error::WatchError;
use super::layout::{Layout, listed};
use super::request::{LabelMatcher, Terms};
use super::source::{CounterSource, covers};
use crate::host_names::Names;

/// The maps that there were at some time.
pub(super) struct Census {
    pub(super) generation: u64,
    pub(super) maps: HashMap<MapName, Arc<Known>>,
    /// Their names, by the kernel's ids.
    names: HashMap<u32, MapName>,
}

/// A map and how its bytes are read, or why it has nothing to count.
pub(super) struct Known {
    pub(super) source: Arc<dyn CounterSource>,
    pub(super) layout: Result<Arc<Layout>, String>,
}

impl Known {
    pub(super) fn of(source: Arc<dyn CounterSource>) -> Self {
        let layout = Layout::of(&*source).map(Arc::new);
        Self { source, layout }
    }
}

impl Census {
    pub(super) fn new(generation: u64, maps: HashMap<MapName, Arc<Known>>) -> Self {
        let names = maps.iter().map(|(name, known)| (known.source.id(), name.clone())).collect();
        Self { generation, maps, names }
    }

    /// What a map is called; `None` if it is no more.
    pub(super) fn name(&self, id: u32) -> Option<&MapName> {
        self.names.get(&id)
    }

    /// A selector that names a map, not a pattern, must find something in it if it is there.
    pub(super) fn check(&self, terms: &Terms, host: &Names) -> Result<(), WatchError> {
        for selector in terms.selectors.iter().filter(|selector| selector.names_one_map()) {
            let Some((map, known)) = self.maps.iter().find(|(map, _)| selector.map.matches(map))
            else {
                continue;
            };
            let layout = match &known.layout {
                Ok(layout) => layout,
                Err(why) => {
                    return Err(WatchError::NoCounters { map: map.clone(), why: why.clone() });
                }
            };
            let paths = layout.paths();
            let missing = |field: &&String| !paths.iter().any(|path| covers(field, path));
            if let Some(field) = selector.fields.iter().find(missing) {
                let has = listed(&paths) + &nearest(field, paths.iter().map(AsRef::as_ref));
                let (map, field) = (map.clone(), field.clone());
                return Err(WatchError::NoSuchField { map, field, has });
            }
            let labels = layout.label_names(terms.cpu);
            let known = |label: &str| labels.contains(&label);
            if let Some(matcher) = selector.labels.iter().find(|it| !known(&it.label)) {
                let has =
                    listed(&labels) + &nearest(&matcher.label, labels.iter().map(AsRef::as_ref));
                let (map, label) = (map.clone(), matcher.label.clone());
                return Err(WatchError::NoSuchLabel { map, label, has });
            }
            let shown = names(terms, layout);
            for LabelMatcher { label: name, condition } in &selector.labels {
                let label = layout.label(name);
                // A name that is shown may be one that the host comes to know.
                let label = label.filter(|label| !shown.iter().any(|(named, _)| named == label));
                let Some(label) = label else { continue };
                let numbers = |name: &str| number(terms, layout, host, label, name);
                if let Err(why) = layout.label_leaf(label).matcher(condition, &numbers) {
                    let (map, label, mut why) = (map.clone(), name.clone(), why.to_string());
                    if layout.declared().iter().any(|(it, _)| layout.label_name(*it) == label) {
                        why.push_str("; nor is it a name on the agent's host");
                    }
                    return Err(WatchError::BadCondition { map, label, why });
                }
            }
        }
        Ok(())
    }
}
