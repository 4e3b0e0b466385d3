//! Built-in programs.
