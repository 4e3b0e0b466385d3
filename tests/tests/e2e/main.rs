//! End to end on the real kernel: an agent as users start it, driven through the client and the
//! command line. One binary, because linking one for each file takes longer than the tests.

mod attachments;
mod bad_input;
mod batches;
mod bpftool;
mod cli;
mod creation;
mod entries;
mod errors;
mod events;
mod foreign_maps;
mod globals;
mod going_away;
mod harness;
mod hostile_objects;
mod iterate;
mod lifecycle;
mod links;
mod locks;
mod maps;
mod matrix;
mod objects;
mod packets;
mod pins;
mod program_stats;
mod python;
mod queues;
mod reconnect;
mod redirects;
mod references;
mod restore;
mod shared_maps;
mod sockets;
mod taking_out;
mod watch;
