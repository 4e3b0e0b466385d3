//! The HTTP/2 server: its bounds, outermost first, a reason each.

mod admission;

use std::time::Duration;

use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use crate::core::Limits;
use admission::AdmissionLayer;

/// Large enough that a whole-map read is never held up by a window's round trip.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A server with every bound that h2 has switched on: tonic leaves them off.
pub fn server(limits: &Limits) -> Server<Stack<AdmissionLayer, Identity>> {
    let keepalive = Duration::from_secs(limits.keepalive_seconds);
    Server::builder()
        // A client cannot make the agent hold streams that it has reset.
        .http2_max_pending_accept_reset_streams(Some(256))
        .http2_max_local_error_reset_streams(Some(1024))
        // One connection cannot take every stream there is.
        .max_concurrent_streams(Some(limits.max_streams.min(1024)))
        .http2_max_header_list_size(Some(16 << 10))
        // A peer that is gone without a word is found.
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
        // At the limit, fail at once; never queue.
        .layer(AdmissionLayer::new(limits.max_requests))
}
