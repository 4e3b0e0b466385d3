//! What the allocator keeps of memory that was freed.

/// Sets the allocator up for a process that takes large pieces for moments. To be called first.
pub fn configure() {
    /// Left alone, glibc raises this each time that a larger piece is freed, up to 32 MiB, and keeps
    /// what is smaller.
    #[cfg(target_env = "gnu")]
    const MAPPED_FROM: libc::c_int = 256 << 10;
    /// Each arena keeps free memory of its own.
    #[cfg(target_env = "gnu")]
    const ARENAS: libc::c_int = 4;
    #[cfg(target_env = "gnu")]
    // SAFETY: these change how memory is taken from now on, and no other thread is there yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives free pages back to the kernel, from all threads' arenas: left alone, glibc keeps what lies
/// below anything that is in use.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time; it touches what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
