//! Slots of maps of references in which nothing can be read: bpftool prints each with the kernel's
//! error.

use std::io;

use bpfgate_client::v1::{self, MapType};

use super::EntryWriter;

/// Where a dump is among the slots of a map.
pub(crate) struct Slots {
    /// As libc has it.
    error: &'static str,
    next: u32,
    end: u32,
}

impl Slots {
    /// Of maps whose slots bpftool shows, empty or not. It passes over the empty ones of maps of
    /// maps and of programs.
    pub(crate) fn of(map: &v1::Map) -> Option<Self> {
        let spec = map.spec.as_ref()?;
        let error = match spec.r#type() {
            MapType::Sockmap if spec.value_size < 8 => "No space left on device",
            MapType::Devmap | MapType::Cpumap | MapType::Sockmap | MapType::ReuseportSockarray => {
                "No such file or directory"
            }
            MapType::Xskmap => "Operation not supported",
            // ENOTSUPP, which libc does not know.
            MapType::CgroupArray | MapType::PerfEventArray => "Unknown error 524",
            _ => return None,
        };
        Some(Self { error, next: 0, end: spec.max_entries })
    }

    /// Prints the slots before this one, which can be read.
    pub(crate) fn until(&mut self, key: &[u8], writer: &mut EntryWriter<'_>) -> io::Result<()> {
        let slot = key.try_into().map_or(self.next, u32::from_ne_bytes);
        self.print(slot, writer)?;
        self.next = slot.saturating_add(1);
        Ok(())
    }

    /// Prints the rest of them, at most so many.
    pub(crate) fn unreadable(
        &mut self,
        writer: &mut EntryWriter<'_>,
        limit: Option<u64>,
    ) -> io::Result<()> {
        let most = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX);
        self.print(self.end.min(self.next.saturating_add(most)), writer)
    }

    fn print(&mut self, end: u32, writer: &mut EntryWriter<'_>) -> io::Result<()> {
        for slot in self.next..end {
            writer.unreadable(&slot.to_ne_bytes(), self.error)?;
        }
        self.next = self.next.max(end);
        Ok(())
    }
}
