//! The agent: the only process that calls bpf(2).
//!
//! Imports go one way: `rpc, layer -> policy, watch, core -> broker -> elf, sys`.

#![deny(unsafe_code)]

pub mod broker;
pub mod core;
pub mod elf;
pub mod layer;
pub mod policy;
pub mod rpc;
pub mod sys;
pub mod watch;
