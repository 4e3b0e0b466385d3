//! What the agent grants at most. Every size, count, queue and wait has its limit here, by the
//! name that the configuration uses.

use std::time::Duration;

use bpfgate_proto::name::MapName;
use serde::Deserialize;

use super::NoRoom;
use super::footprint::worst_bytes;
use crate::broker::MapRequest;
use crate::ledger::SeatLimits;

/// A setting as people are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// As the configuration calls it.
    pub name: &'static str,
    /// What it bounds, a sentence or two with line ends.
    pub about: &'static str,
    /// What it is if nobody says otherwise.
    pub default: u64,
}

/// The limits once, for the type, its defaults and its description.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty = $default:expr,)+) => {
        /// What the agent grants at most.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $number,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Every limit, in this file's order.
            pub fn describe() -> Vec<Described> {
                let Self { $($name,)+ } = Self::default();
                vec![$(Described {
                    name: stringify!($name),
                    about: concat!($($doc, "\n",)+),
                    default: $name.into(),
                },)+]
            }
        }
    };
}

limits! {
    /// Bytes of an uploaded object.
    max_object_bytes: u64 = 64 << 20,
    /// Seconds that an upload may take.
    upload_seconds: u64 = 60,
    /// Bytes of address space that parsing an object may take.
    parse_memory_bytes: u64 = 1 << 30,
    /// Seconds of CPU that parsing an object may take; twice that on the clock.
    parse_seconds: u64 = 10,
    /// Uploads and loads at once. One that hangs in the kernel keeps its place.
    max_loads: u32 = 4,
    /// Seconds that a load may take, on the clock, once all of the object is there.
    load_seconds: u64 = 60,
    /// Loaded objects.
    max_objects: u32 = 256,
    /// Owned maps.
    max_maps: u32 = 4096,
    /// Programs of all objects together.
    max_programs: u32 = 4096,
    /// Maps of others, by id or pin, that requests have open at once.
    max_foreign_maps: u32 = 1024,
    /// Pins of one map.
    max_pins: u32 = 64,
    /// Patterns, types or declarations of counters in one request.
    max_patterns: u32 = 256,
    /// Attached programs.
    max_links: u32 = 1024,
    /// Bytes of the agent's own memory that callers may make it take; 0 for the smaller of 1 GiB
    /// and a quarter of the memory cgroup's limit, or 512 MiB where there is none.
    max_memory_bytes: u64 = 0,
    /// Bytes of the kernel's memory that all maps and programs together may need at their worst; 0
    /// for what the memory cgroup's limit leaves, or half of the host's memory where there is none.
    max_kernel_bytes: u64 = 0,
    /// Bytes that one map may need at its worst.
    max_map_bytes: u64 = 4 << 30,
    /// Bytes of one array that are read through memory that the kernel shares; a larger array is
    /// read by system calls.
    max_mapped_bytes: u64 = 1 << 30,
    /// Streams open at once, all callers together. Of these, of `max_requests` and of
    /// `max_connections` one caller may have half, and a sixteenth is kept for root.
    max_streams: u32 = 4096,
    /// Requests under way at once, all callers together.
    max_requests: u32 = 4096,
    /// Connections open at once.
    max_connections: u32 = 4096,
    /// Threads for long work; 0 for four times as many as there are CPUs.
    max_workers: u32 = 0,
    /// Watches open at once.
    max_watchers: u32 = 4096,
    /// Series in one watch.
    max_series: u32 = 100_000,
    /// Series of all watched maps together. What they take is charged to who watches them.
    max_watched_series: u32 = 4_000_000,
    /// Series of maps that nobody watches any more, longest ago forgotten first: since when their
    /// keys count is kept for who watches again.
    max_remembered_series: u32 = 250_000,
    /// Keys that went away, remembered for each map until its slowest watch was told; a watch that
    /// needs an older one is told the whole map again.
    max_remembered_removals: u32 = 1_000_000,
    /// Maps that are read for watches at a time; 0 for as many as there are CPUs.
    max_sweeps: u32 = 0,
    /// Watchers of events at once.
    max_event_watchers: u32 = 1024,
    /// Bytes of events that may wait for a watcher that does not ask for more or less.
    event_queue_bytes: u64 = 4 << 20,
    /// Bytes of events that may wait for a watcher at most.
    max_event_queue_bytes: u64 = 64 << 20,
    /// Bytes of events that may wait for all watchers together.
    max_event_memory_bytes: u64 = 256 << 20,
    /// Perf buffers open at once: a watched map has one on each CPU.
    max_perf_buffers: u32 = 1024,
    /// Bytes of the perf buffer that each CPU gets for a map that is watched.
    perf_buffer_bytes: u64 = 256 << 10,
    /// Bytes of one message, either way.
    max_message_bytes: u64 = 16 << 20,
    /// Seconds that the kernel's statistics of programs stay on behind the last request for them.
    program_stats_seconds: u64 = 30,
    /// Seconds in which a new connection must say its first words: HTTP/2's preface.
    preface_seconds: u64 = 10,
    /// Seconds from the head of a request to its end, where it has one message.
    request_seconds: u64 = 30,
    /// Seconds from the end of a request until its one answer is there, and then until the client
    /// has taken it.
    answer_seconds: u64 = 60,
    /// Seconds without a sign of life before a connection is asked for one.
    keepalive_seconds: u64 = 60,
    /// Seconds that a stream may wait for a client that does not read.
    stall_seconds: u64 = 60,
    /// Seconds that open requests get when the agent stops.
    drain_seconds: u64 = 5,
}

impl Limits {
    /// Connections, requests and streams at once.
    pub fn seats(&self) -> SeatLimits {
        let Self { max_connections, max_requests, max_streams, .. } = *self;
        SeatLimits { connections: max_connections, requests: max_requests, streams: max_streams }
    }

    /// Threads for long work.
    pub fn workers(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.max_workers == 0 { 4 * cpus() } else { self.max_workers as usize }
    }

    /// How long a request of one message may take to come.
    pub fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }

    /// How long an answer may take, and how long the client may take to read it.
    pub fn answer_time(&self) -> Duration {
        Duration::from_secs(self.answer_seconds)
    }

    /// How long an upload may take.
    pub fn upload_time(&self) -> Duration {
        Duration::from_secs(self.upload_seconds)
    }

    /// How long a load may take.
    pub fn load_time(&self) -> Duration {
        Duration::from_secs(self.load_seconds)
    }

    /// How long a stream may wait for a client that does not read.
    pub fn stall_time(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }

    /// Bytes of events that may wait for a watcher that does not ask for more or less.
    pub fn event_queue(&self) -> u64 {
        self.event_queue_bytes.min(self.max_event_queue_bytes)
    }

    /// Refuses a map that could need too much, before the kernel is asked: a map that allocates
    /// as it fills fails late, and takes the agent with it. Gives how much that is.
    pub(super) fn check_map(&self, name: &MapName, map: &MapRequest) -> Result<u64, NoRoom> {
        let (asked, limit) = (worst_bytes(map), self.max_map_bytes);
        if asked > limit {
            return Err(NoRoom::MapTooLarge { map: name.to_string(), asked, limit });
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_charged_at_its_worst() {
        let small = MapRequest {
            map_type: 1,
            key_size: 4,
            value_size: 8,
            max_entries: 1000,
            ..MapRequest::default()
        };
        let name = "m".parse().unwrap();
        Limits::default().check_map(&name, &small).unwrap();
        let array = MapRequest { map_type: 2, value_size: 1 << 30, max_entries: 8, ..small };
        let said = Limits::default().check_map(&name, &array).unwrap_err().to_string();
        assert!(said.contains("map m could") && said.contains("max_map_bytes"), "{said}");
    }
}
