//! The words both ends of bpfgate share.
//!
//! - [`v1`]: the generated messages, clients and servers of package `bpfgate.v1`
//! - [`codec`]: messages to bytes and back
//! - [`map_type`]: what all maps of a type have in common
//! - [`name`]: map names, references and globs, parsed once
//! - [`mod@reference`]: what entries stand for, and the text that people write for it
//! - [`value`]: what the bytes of keys and values mean

#![forbid(unsafe_code)]

pub mod codec;
pub mod map_type;
pub mod name;
pub mod reference;
pub mod value;

/// Package `bpfgate.v1`, generated from `bpfgate/v1/*.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the proto files carry the comments"
)]
pub mod v1 {
    tonic::include_proto!("bpfgate.v1");
}

/// The API's compiled descriptors, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `ErrorInfo.domain` of every error that the agent makes.
pub const ERROR_DOMAIN: &str = "bpfgate";

/// Where the agent listens and clients look unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:/run/bpfgate/bpfgate.sock";
