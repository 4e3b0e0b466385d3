//! The agent: the only process that calls bpf(2).
//!
//! Imports go one way: `agent -> budget, listen, layer, rpc -> policy, events -> core -> watch,
//! broker -> elf, sys`, and `core, elf -> btf`. At the bottom lie `ledger`,
//! on it `work`, and `host_names`.

#![deny(unsafe_code)]

pub mod agent;
pub mod broker;
pub mod btf;
pub mod budget;
pub mod config;
pub mod core;
pub mod elf;
pub mod events;
mod give_back;
pub mod host_names;
pub mod layer;
pub mod ledger;
pub mod listen;
pub mod policy;
pub mod rpc;
pub mod sys;
pub mod watch;
pub mod work;
