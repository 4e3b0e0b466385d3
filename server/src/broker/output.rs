//! Perf buffers: an event for each CPU, put into a map so that programs write to it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use super::Error;
use crate::sys::{self, PerfBuffer, ReadLimits, Records, Stopped, UpdateFlags};

/// A perf buffer for each CPU, in their places in a `perf_event_array` until this is dropped.
#[derive(Debug)]
pub struct Outputs {
    map: sys::Map,
    buffers: Vec<(u32, PerfBuffer)>,
}

impl Outputs {
    /// Opens a buffer of so many bytes on each CPU that is online and that the map has a place for,
    /// and puts them into the map.
    pub fn open(map: &sys::Map, bytes: usize) -> Result<Self, Error> {
        let name = || map.info().name.to_text();
        let failed = |source| Error::OpenOutputs { map: name(), source };
        let online = online_cpus().map_err(failed)?;
        let places = map.info().max_entries;
        let own = map.as_fd().try_clone_to_owned().and_then(sys::Map::new).map_err(failed)?;
        // From here on a failure takes out again what has been put in.
        let mut outputs = Self { map: own, buffers: Vec::new() };
        for cpu in online.into_iter().filter(|&cpu| cpu < places) {
            let buffer = PerfBuffer::new(cpu, bytes).map_err(failed)?;
            let event = buffer.as_fd().as_raw_fd().to_ne_bytes();
            map.update(&cpu.to_ne_bytes(), &event, UpdateFlags::ANY).map_err(failed)?;
            outputs.buffers.push((cpu, buffer));
        }
        Ok(outputs)
    }

    /// How many buffers there are.
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// The CPU that writes to a buffer.
    pub fn cpu(&self, at: usize) -> u32 {
        self.buffers[at].0
    }

    /// Takes records out of a buffer.
    pub fn read(
        &mut self,
        at: usize,
        out: &mut Records,
        limits: ReadLimits,
    ) -> io::Result<Stopped> {
        self.buffers[at].1.read(out, limits)
    }

    /// Records that were lost behind the last one of an empty buffer, and have not been told.
    pub fn lost(&mut self, at: usize) -> io::Result<u64> {
        self.buffers[at].1.lost()
    }

    /// What can be polled for records.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.buffers.iter().map(|(_, buffer)| buffer.as_fd())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for (cpu, _) in &self.buffers {
            // If the kernel does not, the entry goes with the map.
            let _ = self.map.delete(&cpu.to_ne_bytes());
        }
    }
}

fn online_cpus() -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    cpu_list(text.trim()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `0-3,8,10-11`
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::cpu_list;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0"), Some(vec![0]));
        assert_eq!(cpu_list("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(cpu_list(""), None);
    }
}
