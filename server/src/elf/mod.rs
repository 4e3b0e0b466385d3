//! elf.
