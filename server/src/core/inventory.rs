//! Lists of the whole host: what others made beside what the agent owns. May take a while.

use std::sync::Arc;

use bpfgate_proto::name::{MapName, ObjectName};

use super::listing::MapFilter;
use super::{Error, Program, Registry};
use crate::broker::{self, Holders, HostMap, HostPins, HostProgram};

/// Maps, programs and pins that one list has at most.
const MOST: usize = 65_536;

/// Who holds what on this host, and where it is pinned.
#[derive(Debug, Default)]
pub struct Whereabouts {
    /// Below the agent's bpffs.
    pub pins: HostPins,
    /// Processes with descriptors.
    pub holders: Holders,
}

impl Whereabouts {
    /// Why holders may be missing.
    pub fn hidden(&self) -> Option<String> {
        let processes = self.holders.hidden;
        (processes > 0).then(|| {
            format!(
                "the agent may not look into {processes} processes for want of CAP_SYS_PTRACE, \
                 so holders may be missing"
            )
        })
    }
}

impl Registry {
    /// Who holds what on this host, and where it is pinned.
    pub fn whereabouts(&self) -> Whereabouts {
        let pins = self.bpffs().root().map(|root| broker::pins(root, MOST));
        Whereabouts { pins: pins.unwrap_or_default(), holders: broker::holders() }
    }

    /// The host's maps that the agent does not own, and that fit, in order of id.
    pub fn others_maps(&self, filter: &MapFilter) -> Result<Vec<HostMap>, Error> {
        let mut maps = broker::maps(MOST)?;
        maps.retain(|map| filter.fits_other(map) && self.owned_by_id(map.info.id).is_none());
        Ok(maps)
    }

    /// The programs of an object, or of all.
    pub fn programs(&self, object: Option<&ObjectName>) -> Result<Vec<Arc<Program>>, Error> {
        let of = |objects: &[Arc<super::Object>]| {
            objects.iter().flat_map(|object| &object.programs).cloned().collect()
        };
        Ok(match object {
            Some(name) => of(&[self.object(name)?]),
            None => of(&self.objects(&super::Labels::new())),
        })
    }

    /// The host's programs that the agent does not own, in order of id.
    pub fn others_programs(&self) -> Result<Vec<HostProgram>, Error> {
        let mut programs = broker::programs(MOST)?;
        programs.retain(|program| self.program_by_id(program.info.id).is_none());
        Ok(programs)
    }
}

impl MapFilter {
    /// Whether a map that the agent does not own fits, by the kernel's name for it.
    fn fits_other(&self, map: &HostMap) -> bool {
        let Self { names, types, labels } = self;
        let name = map.info.name.to_text().parse::<MapName>();
        (types.is_empty() || types.contains(&map.info.map_type))
            && labels.is_empty()
            && (names.is_empty()
                || name.is_ok_and(|name| names.iter().any(|glob| glob.matches(&name))))
    }
}
