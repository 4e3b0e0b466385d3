//! The registry's maps as the watch engine sees them.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::name::MapName;
use bpfgate_proto::value::Schema;
use tokio::sync::watch::Receiver;

use super::iterate::{IterateRequest, Parts, Reader};
use super::{CpuMode, Error, Map, Registry, kind};
use crate::host_names::HostName;
use crate::ledger::Account;
use crate::watch::{CounterSource, CounterSpec, KeyLife, Sources, counter_faults};
use aya_obj::generated::bpf_map_type as types;

impl Sources for Registry {
    fn list(&self) -> Vec<Arc<dyn CounterSource>> {
        let watchable = |map: &Arc<Map>| {
            let name = map.name().filter(|_| map.capabilities().watch_counters)?.clone();
            let account = Some(self.no_callers_account());
            Some(Arc::new(Watched { name, map: map.clone(), account }) as Arc<dyn CounterSource>)
        };
        self.all_maps().iter().filter_map(watchable).collect()
    }

    fn changed(&self) -> Receiver<u64> {
        self.changes()
    }
}

/// Whether a map's numbers can be what was declared of them. What the caller declared, the first
/// `asked` ones, has to be so; what is wrong with the others is told, and they count for nothing.
pub(super) fn check_counters(map: &Arc<Map>, asked: usize) -> Result<Vec<String>, Error> {
    let Some(name) = map.name().filter(|_| !map.about().counters.is_empty()) else {
        return Ok(Vec::new());
    };
    let text = |what: &str| format!("map {name}: {what}");
    let refuse = |what: &str| Err(Error::Invalid { field: "counters", problem: text(what) });
    let watched = Watched { name: name.clone(), map: map.clone(), account: None };
    let faults = if map.capabilities().watch_counters {
        counter_faults(&watched)
    } else {
        let kind = kind::type_name(map.sys().info().map_type);
        Err(format!("a {kind} has no counters"))
    };
    match faults {
        Ok(faults) => match faults.first_key_value() {
            Some((at, fault)) if *at < asked => refuse(fault),
            _ => Ok(faults.values().map(|fault| text(fault)).collect()),
        },
        Err(why) if asked > 0 => refuse(&why),
        Err(_) => Ok(Vec::new()),
    }
}

impl Registry {
    /// A map of others as the watch engine sees it, by the kernel's id.
    pub fn guest(&self, map: Arc<Map>) -> Arc<dyn CounterSource> {
        let name = MapName::of_id(map.sys().info().id);
        Arc::new(Watched { name, map, account: Some(self.no_callers_account()) })
    }
}

/// A map and what a watch calls it.
struct Watched {
    name: MapName,
    map: Arc<Map>,
    /// Of the buffers of its sweeps.
    account: Option<Account>,
}

impl CounterSource for Watched {
    fn id(&self) -> u32 {
        self.map.sys().info().id
    }

    fn name(&self) -> &MapName {
        &self.name
    }

    fn schema(&self) -> Option<&Schema> {
        self.map.about().schema.as_deref()
    }

    fn key_size(&self) -> usize {
        self.map.sys().key_len()
    }

    fn value_size(&self) -> usize {
        self.map.value_size()
    }

    fn cpus(&self) -> Option<usize> {
        self.map.sys().cpus()
    }

    fn key_life(&self) -> KeyLife {
        let map_type = self.map.sys().info().map_type;
        let is = |kinds: [types; 2]| kinds.iter().any(|&kind| kind as u32 == map_type);
        if is([types::BPF_MAP_TYPE_ARRAY, types::BPF_MAP_TYPE_PERCPU_ARRAY]) {
            KeyLife::Fixed
        } else if is([types::BPF_MAP_TYPE_LRU_HASH, types::BPF_MAP_TYPE_LRU_PERCPU_HASH]) {
            KeyLife::Evictable
        } else {
            KeyLife::Deletable
        }
    }

    fn created_at(&self) -> SystemTime {
        self.map.created_at()
    }

    fn entries_max(&self) -> usize {
        self.map.sys().info().max_entries as usize
    }

    fn counters(&self) -> &[CounterSpec] {
        &self.map.about().counters
    }

    fn host_names(&self) -> &[(String, HostName)] {
        &self.map.about().host_names
    }

    fn is_part(&self) -> bool {
        self.map.object().is_some()
    }

    fn sweep(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<bool> {
        let request = IterateRequest {
            parts: Parts::Both,
            cpu: CpuMode::Each,
            limit: None,
            resume: None,
            batch: None,
            chunk: None,
            account: self.account.clone(),
        };
        let mut reader = Reader::new(self.map.clone(), request).map_err(io::Error::other)?;
        let (key_len, value_len) = (reader.key_stride(), reader.value_stride());
        while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
            let keys = chunk.keys.chunks_exact(key_len);
            for (key, value) in keys.zip(chunk.values.chunks_exact(value_len)) {
                visit(key, value);
            }
        }
        Ok(true)
    }
}
