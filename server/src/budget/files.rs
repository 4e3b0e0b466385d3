//! Descriptors: all that the process may have, and limits that fit them.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::core::Limits;

/// Sockets to listen on, the runtime's own, procfs and the like, which are open for moments.
const OWN: u64 = 128;
/// The pipes of a parsing process, and what its start takes.
const LOAD: u64 = 16;
/// What a process may have where nothing limits it.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit of descriptors to the hard one; how many there may be.
pub(super) fn raise_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum.unwrap_or(UNLIMITED))
}

/// Lowers, all in the same proportion, what would not fit; says what became of each.
pub(super) fn fit(limits: &mut Limits, files: u64) -> Option<String> {
    let own = (OWN + LOAD * u64::from(limits.max_loads)).min(files / 2);
    let there = files - own;
    let Limits {
        max_connections,
        max_maps,
        max_programs,
        max_links,
        max_foreign_maps,
        max_event_watchers,
        max_perf_buffers,
        ..
    } = limits;
    let mut rows = [
        ("max_connections", max_connections, 1),
        ("max_maps", max_maps, 1),
        ("max_programs", max_programs, 1),
        // A perf link has its event beside it.
        ("max_links", max_links, 2),
        ("max_foreign_maps", max_foreign_maps, 1),
        // A ring's reader waits on one of its own.
        ("max_event_watchers", max_event_watchers, 1),
        ("max_perf_buffers", max_perf_buffers, 2),
    ];
    let wanted: u64 = rows.iter().map(|(_, limit, each)| u64::from(**limit) * each).sum();
    if wanted <= there {
        return None;
    }
    let lowered: Vec<_> = rows
        .iter_mut()
        .map(|(name, limit, _)| {
            let before = **limit;
            let fits = u128::from(before) * u128::from(there) / u128::from(wanted);
            **limit = u32::try_from(fits).unwrap_or(before).max(before.min(1));
            format!("{name} is {limit} instead of {before}")
        })
        .collect();
    Some(format!("this process may have {files} descriptors: {}", lowered.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(limits: &Limits) -> u64 {
        let Limits { max_connections, max_maps, max_programs, .. } = limits;
        let Limits { max_foreign_maps, max_event_watchers, .. } = limits;
        let one = [max_connections, max_maps, max_programs, max_foreign_maps, max_event_watchers];
        let two = [&limits.max_links, &limits.max_perf_buffers];
        one.into_iter().chain(two).chain(two).map(|limit| u64::from(*limit)).sum()
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut limits = Limits::default();
        assert_eq!(fit(&mut limits, 20_000), None);
        assert_eq!(limits.max_maps, Limits::default().max_maps);
    }

    #[test]
    fn what_does_not_fit_is_lowered_by_name() {
        for files in [20, 256, 1024, 4096, 16_384] {
            let mut limits = Limits { max_links: 5000, ..Limits::default() };
            let said = fit(&mut limits, files).unwrap();
            assert!(sum(&limits) <= files.max(32), "{files}: {said}");
            let Limits { max_maps, max_connections, .. } = limits;
            assert!(max_maps >= 1 && max_connections >= 1, "{said}");
            assert!(said.contains(&format!("{files} descriptors")), "{said}");
            assert!(said.contains(&format!("max_maps is {max_maps} instead of 4096")), "{said}");
            for name in ["max_connections", "max_programs", "max_links", "max_perf_buffers"] {
                assert!(said.contains(name), "{said}");
            }
        }
    }

    #[test]
    fn nobody_is_left_without() {
        let mut limits = Limits::default();
        fit(&mut limits, 1024).unwrap();
        assert!(limits.max_connections > 100 && limits.max_maps > 100, "{limits:?}");
        assert!(limits.max_links > 20 && limits.max_perf_buffers > 20, "{limits:?}");
        let mut none = Limits { max_links: 0, ..Limits::default() };
        fit(&mut none, 1024).unwrap();
        assert_eq!(none.max_links, 0);
    }
}
