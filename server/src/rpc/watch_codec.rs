//! WatchCounters with messages that are frames already.
//!
//! tonic's generated service encodes every message for every stream. A thousand watches of the same
//! counters are told the same, so their frames are made once, go to the socket as they are, and are
//! paid for until it took them. This takes WatchCounters out of the generated service's hands. All
//! else passes through.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use futures_util::Stream as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tower::Service;

use super::watch::{self, Frames};
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
            let mut grpc = Grpc::new(WatchCodec).max_decoding_message_size(most);
            let frames = Arc::default();
            let watch = Watch { shared, frames: Arc::clone(&frames) };
            let response = grpc.server_streaming(watch, request).await;
            let frames = frames.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(match frames {
                Some(frames) => response.map(|_| Body::new(Framed { frames, over: false })),
                None => response,
            })
        })
    }
}

/// Starts a watch and leaves its frames here: tonic is given a stream of nothing.
struct Watch {
    shared: Arc<Shared>,
    frames: Arc<Mutex<Option<Frames>>>,
}

impl ServerStreamingService<pb::WatchCountersRequest> for Watch {
    type Response = ();
    type ResponseStream = tokio_stream::Empty<Result<(), Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::WatchCountersRequest>) -> Self::Future {
        let (call, request) = open(request);
        let (shared, place) = (self.shared.clone(), self.frames.clone());
        Box::pin(async move {
            let frames = watch::start(&shared, &call, request).await?;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(frames);
            Ok(tonic::Response::new(tokio_stream::empty()))
        })
    }
}

/// An answer's body of frames, with the status behind them.
struct Framed {
    frames: Frames,
    over: bool,
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let status = match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
            Some(Ok(frames)) => return Poll::Ready(Some(Ok(Frame::data(frames)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.over = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// Requests in protobuf; no responses.
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = ();
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
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
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
