//! The hub over maps that a test makes up, in tokio's paused time.

mod conditions;
mod conflation;
mod fake;
mod first;
mod fold;
mod layout;
mod lifecycle;
mod limits;
mod memory;
mod model;
mod protocol;
mod said;
mod sharing;
mod twins;
