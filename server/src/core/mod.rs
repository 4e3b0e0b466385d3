//! What the agent owns and what can be done with it: objects, programs, maps, links. No tonic, no
//! protobuf.

mod annotations;
mod batch;
mod call_error;
mod capability;
mod described;
mod entries;
mod error;
mod finder;
mod footprint;
mod iterate;
mod kind;
mod limits;
mod loading;
mod map;
mod mapped;
mod object;
mod pins;
mod position;
mod probe;
mod program_stats;
mod queue;
mod records;
mod reference;
mod registry;
mod shape;
mod sources;
mod unfit;

pub use batch::{KeyList, Packed, Remover, Writer};
pub use call_error::CallError;
pub use capability::{Capabilities, Operation};
pub use entries::{CpuMode, Locking, UpdateMode};
pub use error::Error;
pub use finder::{Finder, Found};
pub use iterate::{BATCH_DEFAULT, BATCH_MAX, Chunk, Ended, IterateRequest, Parts, Reader};
pub use kind::{has_events, type_name};
pub use limits::Limits;
pub use loading::{LoadRequest, Source};
pub use map::{About, Identity, Labels, Map};
pub use object::{Link, Object, Program};
pub use pins::PinPath;
pub use position::Position;
pub use program_stats::{StatsLease, stats_sysctl};
pub use records::RecordTypes;
pub use reference::{HeldKey, ProgramId, Reference, Referent};
pub use registry::{CreateMap, MapFilter, Registry};
pub use unfit::ReferenceProblem;

pub use crate::broker::{MissingPrivilege, missing_privileges};
