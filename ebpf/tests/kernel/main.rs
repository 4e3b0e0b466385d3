//! The built-in programs on the real kernel. Needs root, bpftool and iproute2.
//!
//! Each test has a thread in a network and a mount namespace of its own (`sandbox`), where bpftool
//! loads the object and pins it. Frames that `cases` lists are written to a veth pair, or given to
//! a program by `BPF_PROG_TEST_RUN`; the maps are read by `bpftool map dump`, which also shows that
//! keys and values are typed.

mod bpftool;
mod cases;
mod exec_events;
mod frame;
mod if_counters;
mod proto_counters;
mod sandbox;
mod sys;
mod syscall_counters;
mod tiny_elf;
