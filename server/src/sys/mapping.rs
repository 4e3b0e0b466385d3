//! Memory that is shared with the kernel. Nothing outside of `sys` sees its addresses.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a descriptor, until it is dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, not to a thread; who shares it orders its accesses.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps so many bytes, which must not be none, from so far on.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        len: usize,
        offset: u64,
        writable: bool,
    ) -> io::Result<Self> {
        let write = if writable { ProtFlags::WRITE } else { ProtFlags::empty() };
        let access = ProtFlags::READ | write;
        // SAFETY: a new mapping at a place of the kernel's choice, which no reference leads to.
        let start =
            unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, offset)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    /// The address of a byte. Panics if `len` bytes from there on are not all inside.
    pub(super) fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "{len} bytes at {offset} of {}", self.len);
        // SAFETY: within the mapping.
        unsafe { self.start.add(offset) }
    }

    /// Appends a copy of these bytes, which the kernel must not be writing. Panics if they are not
    /// all inside.
    pub(super) fn copy(&self, offset: usize, len: usize, out: &mut Vec<u8>) {
        let from = self.at(offset, len);
        out.reserve(len);
        // SAFETY: `from` is good for `len` bytes; so much room was reserved, in memory of our own
        // that cannot overlap; the bytes are initialized when the length says so.
        unsafe {
            std::ptr::copy_nonoverlapping(from.as_ptr(), out.as_mut_ptr().add(out.len()), len);
            out.set_len(out.len() + len);
        }
    }

    /// A copy of these few bytes, under the same terms.
    pub(super) fn part<const N: usize>(&self, offset: usize) -> [u8; N] {
        // SAFETY: `at` is good for N bytes, and bytes have no alignment.
        unsafe { self.at(offset, N).cast::<[u8; N]>().read() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own and no reference leads into it.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
