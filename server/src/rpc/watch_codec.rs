//! WatchCounters with messages that are bytes already.
//!
//! tonic's generated service encodes every message for every stream. A thousand watches of the same
//! counters are told the same, so their messages are encoded once, and this takes WatchCounters out
//! of the generated service's hands. All else passes through.

use std::sync::Arc;
use std::task::{Context, Poll};

use bpfgate_proto::v1 as pb;
use bytes::{BufMut as _, Bytes};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tower::Service;

use super::watch::{self, Messages};
use super::{Shared, open};

const PATH: &str = "/bpfgate.v1.MapService/WatchCounters";

/// MapService, with WatchCounters answered here.
#[derive(Clone)]
pub(super) struct WithWatch<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
    /// Bytes of one message, either way.
    pub(super) most: usize,
}

impl<S: NamedService> NamedService for WithWatch<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for WithWatch<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Into<BoxFuture<'static, Result<Response<Body>, S::Error>>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.inner.call(request).into();
        }
        let (shared, most) = (self.shared.clone(), self.most);
        Box::pin(async move {
            let mut grpc = Grpc::new(WatchCodec)
                .max_decoding_message_size(most)
                .max_encoding_message_size(most);
            Ok(grpc.server_streaming(Watch(shared), request).await)
        })
    }
}

struct Watch(Arc<Shared>);

impl ServerStreamingService<pb::WatchCountersRequest> for Watch {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = std::future::Ready<Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::WatchCountersRequest>) -> Self::Future {
        let (call, request) = open(request);
        let stream = watch::start(&self.0, &call, request);
        std::future::ready(stream.map(tonic::Response::new))
    }
}

/// Requests in protobuf; responses that are protobuf's bytes.
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Bytes;
    type Decode = pb::WatchCountersRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for WatchCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for WatchCodec {
    type Item = pb::WatchCountersRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        bpfgate_proto::codec::decode(buffer).map(Some)
    }
}
