//! From the library's map definitions to map plans, with the defaults that libbpf would fill in.

use std::collections::HashMap;

use aya_obj::generated::bpf_map_type as map_type;
use aya_obj::maps::PinningType;
use aya_obj::{EbpfSectionKind, Map};

use super::ElfError;
use super::btf::Btf;
use super::host::Host;
use super::image::Malformed;
use super::plan::MapPlan;

/// The object's maps in order of name. An empty data section is none.
pub(super) fn plan(
    maps: &HashMap<String, Map>,
    btf: Option<&Btf>,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Vec<MapPlan>, ElfError> {
    let mut plans = Vec::with_capacity(maps.len());
    for (name, map) in maps.iter().filter(|(_, map)| !is_data(map) || !map.data().is_empty()) {
        let plan = plan_map(name, map, btf, host)?;
        if plan.pin_by_name {
            warnings.push(format!(
                "map {name} is not pinned by its name; share it by name with shared_maps"
            ));
        }
        plans.push(plan);
    }
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plans)
}

fn plan_map(name: &str, map: &Map, btf: Option<&Btf>, host: &Host) -> Result<MapPlan, ElfError> {
    let mut plan = shape(name, map);
    if let Some(inner) = map.inner() {
        plan.inner = Some(Box::new(shape(&format!("{name}.inner"), &inner)));
    }
    if plan.is_map_of_maps() && plan.inner.is_none() {
        return Err(Malformed(format!(
            "map {name} holds maps but does not say of what kind (`__array(values, …)`)"
        ))
        .into());
    }
    if is_data(map) {
        if let Some(btf) = btf {
            plan.btf_value_type_id = btf.find_section(name, plan.value_size)?.unwrap_or(0);
        }
        plan.initial = Some(map.data().to_vec());
        plan.read_only = map.section_kind() == EbpfSectionKind::Rodata;
    }
    plan.pin_by_name = map.pinning() == PinningType::ByName;
    set_defaults(&mut plan, host)?;
    if let Some(inner) = &mut plan.inner {
        set_defaults(inner, host)?;
    }
    Ok(plan)
}

fn shape(name: &str, map: &Map) -> MapPlan {
    let (btf_key_type_id, btf_value_type_id) = match map {
        Map::Btf(map) => (map.def.btf_key_type_id, map.def.btf_value_type_id),
        Map::Legacy(_) => (0, 0),
    };
    MapPlan {
        name: name.to_owned(),
        map_type: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
        map_extra: map.map_extra(),
        btf_key_type_id,
        btf_value_type_id,
        inner: None,
        initial: None,
        read_only: false,
        pin_by_name: false,
    }
}

fn is_data(map: &Map) -> bool {
    matches!(
        map.section_kind(),
        EbpfSectionKind::Data | EbpfSectionKind::Rodata | EbpfSectionKind::Bss
    )
}

/// What libbpf changes in a definition before the kernel sees it.
fn set_defaults(plan: &mut MapPlan, host: &Host) -> Result<(), ElfError> {
    const PERF_EVENT_ARRAY: u32 = map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY as u32;
    const RINGBUF: u32 = map_type::BPF_MAP_TYPE_RINGBUF as u32;
    const USER_RINGBUF: u32 = map_type::BPF_MAP_TYPE_USER_RINGBUF as u32;
    match plan.map_type {
        0 => return Err(Malformed(format!("map {} has no type", plan.name)).into()),
        PERF_EVENT_ARRAY if plan.max_entries == 0 => plan.max_entries = host.possible_cpus()?,
        RINGBUF | USER_RINGBUF => {
            // A declared type says what the records are; the map itself has no keys or values.
            (plan.key_size, plan.value_size) = (0, 0);
            plan.max_entries = round_ring(plan.max_entries, host.page_size);
        }
        _ => {}
    }
    Ok(())
}

/// The next size that the kernel takes: a power of two times the page size. Zero stays zero, and
/// what has no such size stays as it is: the kernel refuses both.
fn round_ring(bytes: u32, page: usize) -> u32 {
    let page = u32::try_from(page).unwrap_or(4096);
    if bytes == 0 {
        return 0;
    }
    let pages = bytes.div_ceil(page).checked_next_power_of_two();
    pages.and_then(|pages| pages.checked_mul(page)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_buffers_are_rounded_up_to_pages() {
        for (bytes, expected) in
            [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (12288, 16384), (u32::MAX, u32::MAX)]
        {
            assert_eq!(round_ring(bytes, 4096), expected, "{bytes}");
        }
    }
}
