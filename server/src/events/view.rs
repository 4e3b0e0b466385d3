//! What one watcher wants of the records: their type, and which of them.

use std::time::SystemTime;

use bpfgate_proto::value::{Condition, Leaf, Matcher, Plan, Type};

use super::batch::Batch;
use crate::core::{Clock, Error, Map};

/// Takes records in which a field is as wanted.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Path of the field.
    pub field: String,
    /// What it has to be.
    pub condition: Condition,
}

/// What one watcher wants of the records.
#[derive(Debug)]
pub struct View {
    record_type: Option<Type>,
    clock: Option<(Clock, Leaf)>,
    plan: Option<Plan>,
    matchers: Vec<Matcher>,
}

impl View {
    /// Filters that one watcher may have.
    pub const MAX_FILTERS: usize = 16;
    /// Values, prefixes and networks in all of them.
    pub const MAX_VALUES: usize = 1024;

    /// The view of a map's records as a type of that name, or as the map says if it is empty.
    pub fn of(map: &Map, type_name: &str, filters: &[Filter]) -> Result<Self, Error> {
        let records = &map.about().records;
        let (record_type, clock) = match type_name {
            "" => (records.own.as_deref().cloned(), records.clock.clone()),
            name => {
                let (ty, clock) = map.named_record_type(name)?;
                (Some(ty), clock)
            }
        };
        // A type too large to be taken apart is bytes.
        let plan = record_type.as_ref().and_then(|ty| Plan::compile(ty).ok());
        if filters.len() > Self::MAX_FILTERS {
            let problem = format!("{} filters, at most {}", filters.len(), Self::MAX_FILTERS);
            return Err(Error::Invalid { field: "filters", problem });
        }
        let listed: usize = filters.iter().map(|filter| filter.condition.count()).sum();
        if listed > Self::MAX_VALUES {
            let problem = format!("{listed} values, at most {}", Self::MAX_VALUES);
            return Err(Error::Invalid { field: "filters", problem });
        }
        let matcher = |filter: &Filter| {
            let plan = plan.as_ref().ok_or_else(|| no_type(map))?;
            plan.matcher(&filter.field, &filter.condition)
                .map_err(|error| Error::Invalid { field: "filters", problem: error.to_string() })
        };
        let matchers = filters.iter().map(matcher).collect::<Result<_, _>>()?;
        let leaf = |clock: Clock| {
            let mut leaves = plan.as_ref()?.leaves().iter();
            let leaf = leaves.find(|leaf| leaf.path() == clock.field && leaf.is_number())?;
            Some((clock, leaf.clone()))
        };
        let clock = clock.and_then(leaf);
        Ok(Self { record_type, clock, plan, matchers })
    }

    /// Which field of a record says when it was written.
    pub fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref().map(|(clock, _)| clock)
    }

    /// When the last record of a batch was written, if it says so.
    pub fn last_written(&self, batch: &Batch) -> Option<SystemTime> {
        let ((clock, leaf), plan) = self.clock.as_ref().zip(self.plan.as_ref())?;
        let record = batch.iter().last()?.get(..plan.size())?;
        Some(batch.read_at.time_of(clock.source, leaf.read(record)))
    }

    /// What the records are.
    pub fn record_type(&self) -> Option<&Type> {
        self.record_type.as_ref()
    }

    /// Turns them into values; an error for records without a type.
    pub fn require_plan(&self, map: &Map) -> Result<&Plan, Error> {
        self.plan.as_ref().ok_or_else(|| no_type(map))
    }

    /// Turns them into values; `None` for records without a type.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Every record is wanted.
    pub fn takes_all(&self) -> bool {
        self.matchers.is_empty()
    }

    /// This record is wanted.
    pub fn takes(&self, record: &[u8]) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(record))
    }
}

fn no_type(map: &Map) -> Error {
    Error::NoRecordType { map: map.text().to_owned(), known: map.known_record_types() }
}
