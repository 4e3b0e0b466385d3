//! What stands between a connection and the services, and holds every request to its price.
//!
//! A request passes these, outermost first:
//!
//! 1. [`http2`]: HTTP/2 with every bound that h2 has; a task for each call, which ends when nobody
//!    takes the answer.
//! 2. [`gate`]: a seat for the request, or its refusal; its memory is charged from here on. One clock
//!    for the request's body, the work and the head of the answer.
//! 3. `inbound`: the body, charged as it comes; a message is handed on when it is whole, and charged
//!    with what it takes when it is decoded (`weight`), before it is.
//! 4. the services (`crate::rpc`), which charge what they build before they build it, on the same
//!    [`Call`].
//! 5. `outbound`: the answer in pieces, each charged until the socket has taken it.
//!
//! [`table`] has a row for every RPC: what all of these go by.

mod call;
mod deadline;
mod gate;
mod http2;
mod inbound;
mod outbound;
mod reserve;
pub mod table;
mod weight;

pub use call::Call;
pub use gate::Gate;
pub use http2::{Http2, serve};
