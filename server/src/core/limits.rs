//! What the agent grants at most. Every size, count, queue and wait has its limit here, by the
//! name that the configuration uses.

use std::time::Duration;

use bpfgate_proto::name::MapName;
use serde::Deserialize;

use super::NoRoom;
use super::footprint::worst_bytes;
use crate::broker::MapRequest;
use crate::ledger::SeatLimits;

/// What the agent grants at most.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of an uploaded object.
    pub max_object_bytes: u64,
    /// Seconds that an upload may take.
    pub upload_seconds: u64,
    /// Bytes of address space that parsing an object may take.
    pub parse_memory_bytes: u64,
    /// Seconds of CPU that parsing an object may take; twice that on the clock.
    pub parse_seconds: u64,
    /// Uploads and loads at once. One that hangs in the kernel keeps its place.
    pub max_loads: u32,
    /// Seconds that a load may take, on the clock, once all of the object is there.
    pub load_seconds: u64,
    /// Loaded objects.
    pub max_objects: u32,
    /// Owned maps.
    pub max_maps: u32,
    /// Programs of all objects together.
    pub max_programs: u32,
    /// Maps of others, by id or pin, that requests have open at once.
    pub max_foreign_maps: u32,
    /// Pins of one map.
    pub max_pins: u32,
    /// Patterns, types or declarations of counters in one request.
    pub max_patterns: u32,
    /// Attached programs.
    pub max_links: u32,
    /// Bytes of the agent's own memory that callers may make it take; 0 for the smaller of 1 GiB
    /// and a quarter of the memory cgroup's limit, or 512 MiB where there is none.
    pub max_memory_bytes: u64,
    /// Bytes of the kernel's memory that all maps and programs together may need at their worst; 0
    /// for what the memory cgroup's limit leaves, or half of the host's memory where there is none.
    pub max_kernel_bytes: u64,
    /// Bytes that one map may need at its worst.
    pub max_map_bytes: u64,
    /// Bytes of one array that are read through memory that the kernel shares; a larger array is
    /// read by system calls.
    pub max_mapped_bytes: u64,
    /// Streams open at once, all callers together. Of these, of `max_requests` and of
    /// `max_connections` one caller may have half, and a sixteenth is kept for root.
    pub max_streams: u32,
    /// Requests under way at once, all callers together.
    pub max_requests: u32,
    /// Connections open at once.
    pub max_connections: u32,
    /// Threads for long work; 0 for four times as many as there are CPUs.
    pub max_workers: u32,
    /// Watches open at once.
    pub max_watchers: u32,
    /// Series in one watch.
    pub max_series: u32,
    /// Series of all watched maps together. What they take is charged to who watches them.
    pub max_watched_series: u32,
    /// Series of maps that nobody watches any more, longest ago forgotten first: since when their
    /// keys count is kept for who watches again.
    pub max_remembered_series: u32,
    /// Keys that went away, remembered for each map until its slowest watch was told; a watch that
    /// needs an older one is told the whole map again.
    pub max_remembered_removals: u32,
    /// Maps that are read for watches at a time; 0 for as many as there are CPUs.
    pub max_sweeps: u32,
    /// Watchers of events at once.
    pub max_event_watchers: u32,
    /// Bytes of events that may wait for a watcher that does not ask for more or less.
    pub event_queue_bytes: u64,
    /// Bytes of events that may wait for a watcher at most.
    pub max_event_queue_bytes: u64,
    /// Bytes of events that may wait for all watchers together.
    pub max_event_memory_bytes: u64,
    /// Perf buffers open at once: a watched map has one on each CPU.
    pub max_perf_buffers: u32,
    /// Bytes of the perf buffer that each CPU gets for a map that is watched.
    pub perf_buffer_bytes: u64,
    /// Bytes of one message, either way.
    pub max_message_bytes: u64,
    /// Seconds that the kernel's statistics of programs stay on behind the last request for them.
    pub program_stats_seconds: u64,
    /// Seconds in which a new connection must say its first words: HTTP/2's preface.
    pub preface_seconds: u64,
    /// Seconds from the head of a request to its end, where it has one message.
    pub request_seconds: u64,
    /// Seconds from the end of a request until its one answer is there, and then until the client
    /// has taken it.
    pub answer_seconds: u64,
    /// Seconds without a sign of life before a connection is asked for one.
    pub keepalive_seconds: u64,
    /// Seconds that a stream may wait for a client that does not read.
    pub stall_seconds: u64,
    /// Seconds that open requests get when the agent stops.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object_bytes: 64 << 20,
            upload_seconds: 60,
            parse_memory_bytes: 1 << 30,
            parse_seconds: 10,
            max_loads: 4,
            load_seconds: 60,
            max_objects: 256,
            max_maps: 4096,
            max_programs: 4096,
            max_foreign_maps: 1024,
            max_pins: 64,
            max_patterns: 256,
            max_links: 1024,
            max_memory_bytes: 0,
            max_kernel_bytes: 0,
            max_map_bytes: 4 << 30,
            max_mapped_bytes: 1 << 30,
            max_streams: 4096,
            max_requests: 4096,
            max_connections: 4096,
            max_workers: 0,
            max_watchers: 4096,
            max_series: 100_000,
            max_watched_series: 4_000_000,
            max_remembered_series: 250_000,
            max_remembered_removals: 1_000_000,
            max_sweeps: 0,
            max_event_watchers: 1024,
            event_queue_bytes: 4 << 20,
            max_event_queue_bytes: 64 << 20,
            max_event_memory_bytes: 256 << 20,
            max_perf_buffers: 1024,
            perf_buffer_bytes: 256 << 10,
            max_message_bytes: 16 << 20,
            program_stats_seconds: 30,
            preface_seconds: 10,
            request_seconds: 30,
            answer_seconds: 60,
            keepalive_seconds: 60,
            stall_seconds: 60,
            drain_seconds: 5,
        }
    }
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
