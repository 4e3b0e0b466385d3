//! What the bytes of maps mean, compiled once for all maps of an object that have the same types.

use std::collections::HashMap;
use std::sync::Arc;

use bpfgate_proto::value::{Plan, Schema, SchemaSource, Type};

use super::Error;
use super::kind::is_trie;
use super::together::Together;
use crate::btf::{BtfError, Library};
use crate::ledger::{Account, Charge, Exhausted};
use crate::sys;

/// What the bytes of a map mean, ready to be used.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    pub schema: Option<Arc<Schema>>,
    pub key: Option<Arc<Plan>>,
    pub value: Option<Arc<Plan>>,
    /// Of a per-CPU map, once it is there.
    pub together: Option<Together>,
    /// What this takes, for as long as anybody has it.
    pub charges: Vec<Arc<Charge>>,
}

impl Meaning {
    /// Of a layout that was declared. It fits the map, or was refused before.
    pub(super) fn declared(
        schema: Schema,
        map_type: u32,
        account: &Account,
    ) -> Result<Self, Exhausted> {
        let sides = || [&schema.key, &schema.value].into_iter().flatten();
        let charge = account.charge(sides().map(Type::memory).fold(0, u64::saturating_add))?;
        let plan = |ty: &Option<Type>| ty.as_ref().and_then(|ty| Plan::compile(ty).ok());
        let (key, value) = (plan(&schema.key).map(Arc::new), plan(&schema.value).map(Arc::new));
        let key = prefix_plan(schema.key.as_ref(), map_type).or(key);
        let (schema, charges) = (Some(Arc::new(schema)), vec![Arc::new(charge)]);
        Ok(Self { schema, key, value, together: None, charges })
    }

    /// With what the values of all CPUs are together, if the map has one for each.
    pub(super) fn with_sums(self, map: &sys::Map, account: &Account) -> Result<Self, Exhausted> {
        let Some(cpus) = map.cpus() else { return Ok(self) };
        let size = map.info().value_size as usize;
        // As the map has it: one that does not fit is dropped.
        let fits = self.value.as_ref().is_some_and(|plan| plan.size() == size);
        let value = self.schema.as_ref().and_then(|schema| schema.value.as_ref());
        let together = Together::of(value.filter(|_| fits), size, cpus, account)?;
        Ok(Self { together: Some(together), ..self })
    }

    /// With prefixes for keys, where a map of that type has such.
    fn for_type(self, map_type: u32) -> Self {
        let key = self.schema.as_ref().and_then(|schema| schema.key.as_ref());
        let key = prefix_plan(key, map_type).or(self.key);
        Self { key, ..self }
    }

    /// The same, for another map of these types.
    fn shared(&self) -> Self {
        let Self { schema, key, value, together: _, charges } = self;
        let (schema, key, value) = (schema.clone(), key.clone(), value.clone());
        Self { schema, key, value, together: None, charges: charges.clone() }
    }

    /// By the BTF that somebody else's map was made with; nothing if that cannot be read.
    pub(super) fn of_btf(blob: &[u8], map: &sys::Map, account: &Account) -> Result<Self, Error> {
        let ids = (map.info().btf_key_type_id, map.info().btf_value_type_id);
        let _blob = account.charge(blob.len() as u64)?;
        match Schemas::new(blob, account) {
            Ok(mut schemas) => Ok(schemas.of(ids, map)?),
            Err(error) => {
                warn(map, &error);
                Ok(Self::default())
            }
        }
    }
}

/// How to read keys that are prefixes.
fn prefix_plan(key: Option<&Type>, map_type: u32) -> Option<Arc<Plan>> {
    key.filter(|_| is_trie(map_type)).and_then(Plan::prefix).map(Arc::new)
}

/// Compiles what the BTF of one object says of its maps.
pub(super) struct Schemas<'a> {
    library: Library<'a>,
    account: &'a Account,
    parts: HashMap<(u32, u32), Part>,
    pairs: HashMap<[(u32, u32); 2], Meaning>,
    records: HashMap<u32, Option<Record>>,
}

/// A type of records, and what it takes.
pub(super) type Record = (Arc<Type>, Arc<Charge>);

/// One type for keys or values of one size.
#[derive(Clone)]
struct Part {
    ty: Arc<Type>,
    plan: Arc<Plan>,
    charge: Arc<Charge>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(blob: &'a [u8], account: &'a Account) -> Result<Self, BtfError> {
        let library = Library::parse(blob)?;
        let (parts, pairs, records) = Default::default();
        Ok(Self { library, account, parts, pairs, records })
    }

    pub(super) fn library(&self) -> &Library<'a> {
        &self.library
    }

    /// What the bytes of a map mean, by the type ids of key and value; nothing if that cannot be
    /// read.
    pub(super) fn of(&mut self, ids: (u32, u32), map: &sys::Map) -> Result<Meaning, Exhausted> {
        let (key_id, value_id) = ids;
        let info = map.info();
        let pair = [(key_id, info.key_size), (value_id, info.value_size)];
        if ids == (0, 0) {
            return Ok(Meaning::default());
        }
        if let Some(known) = self.pairs.get(&pair) {
            return Ok(known.shared().for_type(info.map_type));
        }
        let meaning = match self.pair(pair) {
            Ok(meaning) => meaning,
            Err(BtfError::Memory(exhausted)) => return Err(exhausted),
            Err(error) => {
                warn(map, &error);
                Meaning::default()
            }
        };
        self.pairs.insert(pair, meaning.shared());
        Ok(meaning.for_type(info.map_type))
    }

    /// A type by its id alone, unless the API cannot carry it.
    pub(super) fn record(&mut self, id: u32) -> Result<Option<Record>, Exhausted> {
        if id == 0 {
            return Ok(None);
        }
        if let Some(known) = self.records.get(&id) {
            return Ok(known.clone());
        }
        let found = match self.library.type_of(id, self.account) {
            Ok(found) => found.map(|(ty, charge)| (Arc::new(ty), Arc::new(charge))),
            Err(BtfError::Memory(exhausted)) => return Err(exhausted),
            Err(_) => None,
        };
        self.records.insert(id, found.clone());
        Ok(found)
    }

    fn pair(&mut self, [key, value]: [(u32, u32); 2]) -> Result<Meaning, BtfError> {
        let (key, value) = (self.part(key)?, self.part(value)?);
        // The types once more, which a pair has for itself.
        let sides = || [&key, &value].into_iter().flatten();
        let bytes = sides().map(|part| part.ty.memory()).fold(0, u64::saturating_add);
        let own = self.account.charge(bytes).map_err(BtfError::Memory)?;
        let charges = sides().map(|part| part.charge.clone()).chain([Arc::new(own)]).collect();
        let ty = |part: &Option<Part>| part.as_ref().map(|part| Type::clone(&part.ty));
        let schema = Schema { key: ty(&key), value: ty(&value), source: SchemaSource::Btf };
        let plan = |part: Option<Part>| part.map(|part| part.plan);
        let (key, value) = (plan(key), plan(value));
        Ok(Meaning { schema: Some(Arc::new(schema)), key, value, together: None, charges })
    }

    fn part(&mut self, (id, size): (u32, u32)) -> Result<Option<Part>, BtfError> {
        if id == 0 {
            return Ok(None);
        }
        if let Some(known) = self.parts.get(&(id, size)) {
            return Ok(Some(known.clone()));
        }
        let (ty, plan, charge) = self.library.compile(id, size, self.account)?;
        let part = Part { ty: Arc::new(ty), plan: Arc::new(plan), charge: Arc::new(charge) };
        self.parts.insert((id, size), part.clone());
        Ok(Some(part))
    }
}

fn warn(map: &sys::Map, error: &BtfError) {
    tracing::warn!(id = map.info().id, %error, "a map's BTF cannot be used");
}
