//! What a parser needs to know of the host, learned before its process confines itself: from then
//! on it can open nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use super::ElfError;

/// Types of the running kernel.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The host, as far as objects depend on it.
pub(super) struct Host {
    /// Read only where an object needs it: it is several megabytes.
    vmlinux: io::Result<(File, usize)>,
    cpus: io::Result<String>,
    /// In bytes.
    pub(super) page_size: usize,
}

impl Host {
    /// What is missing is an error only for who asks for it.
    pub(super) fn learn() -> Self {
        let open = |path| {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, usize::try_from(size).map_err(io::Error::other)?))
        };
        Self {
            vmlinux: open(VMLINUX),
            cpus: fs::read_to_string(POSSIBLE_CPUS),
            page_size: rustix::param::page_size(),
        }
    }

    /// The kernel's own BTF.
    pub(super) fn vmlinux(&self) -> Result<Vec<u8>, ElfError> {
        let read = |(file, size): &(File, usize)| {
            let mut blob = vec![0; *size];
            file.read_exact_at(&mut blob, 0)?;
            Ok(blob)
        };
        self.vmlinux
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|open| read(open).map_err(|error: io::Error| error.to_string()))
            .map_err(|reason| ElfError::Kernel {
                reason: format!("cannot read the kernel's types in {VMLINUX}: {reason}"),
            })
    }

    /// Possible, not online: the kernel sizes its per-CPU tables by them.
    pub(super) fn possible_cpus(&self) -> Result<u32, ElfError> {
        let text = self.cpus.as_ref().map_err(|source| ElfError::Kernel {
            reason: format!("cannot read {POSSIBLE_CPUS}: {source}"),
        })?;
        last_cpu(text).map(|last| last + 1).ok_or_else(|| ElfError::Kernel {
            reason: format!("{POSSIBLE_CPUS} does not list CPUs: {:?}", text.trim()),
        })
    }
}

/// The highest number in a list such as `0-3` or `0,2-3`.
fn last_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(last_cpu("0\n"), Some(0));
        assert_eq!(last_cpu("0-15\n"), Some(15));
        assert_eq!(last_cpu("0-3,8-11\n"), Some(11));
        assert_eq!(last_cpu("\n"), None);
    }
}
