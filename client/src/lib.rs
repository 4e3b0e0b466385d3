//! Client of the bpfgate agent: read, write and watch eBPF maps without a capability.
//!
//! ```no_run
//! use bpfgate_client::{Client, CpuMode, Layout};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("unix:/run/bpfgate/bpfgate.sock").await?;
//! let map = client.maps().get("proto-counters/by_proto").await?;
//!
//! // The map's schema turns text into bytes and back.
//! let layout = Layout::of(&map)?;
//! let value = client.maps().lookup(&map.name, layout.key.parse("17")?, CpuMode::Each).await?;
//! println!("UDP bytes: {}", layout.value.show(&value));
//! # Ok(())
//! # }
//! ```
//!
//! Keys and values are the kernel's bytes in the agent's byte order, or typed JSON that the agent
//! converts by the map's schema: see [`Datum`]; a [`TypedMap`] has keys and values of Rust types. What
//! stands for something else is named: see
//! [`v1::Reference`]. Whole maps come as [`Entries`] and go back as a [`Restore`], counters over
//! time come as a [`Watch`], records of event buffers as [`Events`]. The streams end with an error
//! if anything was cut off.
//!
//! Every [`Error`] says what was wrong and what to do. [`Error::Rpc`] carries the agent's reason,
//! the fields at fault and the verifier's log, already parsed.
//!
//! A [`Client`] is a handle: clone it freely, all clones share one connection, and a lost
//! connection is opened again by the next call.

#![forbid(unsafe_code)]
// Callers act on codes and reasons: each function names its own.
#![warn(clippy::missing_errors_doc)]

mod agent;
mod batch;
mod clear;
mod client;
mod condition;
mod connect;
mod counted;
mod counter_view;
mod datum;
mod endpoint;
mod entries;
mod error;
mod events;
mod group;
mod layout;
mod links;
mod maps;
mod new_map;
mod objects;
mod pieces;
mod queues;
mod restore;
mod rpc_error;
mod selector;
mod typed_map;
mod watch;

pub use bpfgate_proto::v1::{CounterOrder, CpuMode, EntryParts, UpdateMode};
pub use bpfgate_proto::{DEFAULT_ENDPOINT, map_type, name, reference, v1, value};
pub use tonic::Code;
pub use zerocopy;

pub use crate::agent::Agent;
pub use crate::batch::{Deleted, EntryBatch, FoundValues, Keys};
pub use crate::clear::Cleared;
pub use crate::client::{Client, Options};
pub use crate::condition::{WrittenConditionError, parse_condition};
pub use crate::connect::{ConnectError, ConnectProblem};
pub use crate::counter_view::{
    Bucket, Change, Counter, CounterKey, CounterValue, CounterView, Gone, Losses, MapProgress,
    SeriesId, Standing, Sweep, ViewError,
};
pub use crate::datum::{Datum, Operand};
pub use crate::endpoint::{Endpoint, EndpointError};
pub use crate::entries::{Chunk, Entries, IterateOptions};
pub use crate::error::Error;
pub use crate::events::{EventBatch, EventFilter, EventNews, EventOptions, Events, Record};
pub use crate::layout::{Layout, LayoutError};
pub use crate::links::Links;
pub use crate::maps::{MapFilter, Maps};
pub use crate::new_map::{NewMap, types};
pub use crate::objects::Objects;
pub use crate::restore::Restore;
pub use crate::rpc_error::{FieldViolation, PreconditionViolation, RpcError};
pub use crate::selector::{SelectorError, parse_selector};
pub use crate::typed_map::{
    FieldPlace, Fields, FieldsError, Plain, RecordTypeError, TypedEntries, TypedMap, TypedMapError,
    field_place,
};
pub use crate::watch::{
    HostName, Interruption, LabelResolution, LabelResolutionError, Reconnect, Watch, WatchEvent,
    WatchOptions,
};
