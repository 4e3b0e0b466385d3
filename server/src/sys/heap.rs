//! What the allocator keeps of memory that was freed.

/// Gives free pages back to the kernel, from all threads' arenas: left alone, glibc keeps what lies
/// below anything that is in use.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time; it touches what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
