//! What is true of all maps of a type, by the type's number in linux/bpf.h.

use crate::v1::MapType;

/// The type of that number; `None` for one that the API does not know.
pub(crate) fn from_kernel(map_type: u32) -> Option<MapType> {
    MapType::try_from(i32::try_from(map_type).ok()?).ok()
}

/// Whether keys are `u32` numbers below `max_entries`, whatever was declared: the kernel takes
/// nothing else.
pub fn is_indexed(map_type: u32) -> bool {
    matches!(
        from_kernel(map_type),
        Some(
            MapType::Array
                | MapType::PercpuArray
                | MapType::ProgArray
                | MapType::PerfEventArray
                | MapType::CgroupArray
                | MapType::ArrayOfMaps
                | MapType::Devmap
                | MapType::Sockmap
                | MapType::Cpumap
                | MapType::Xskmap
                | MapType::ReuseportSockarray
        )
    )
}
