//! Every request's way in: a seat, an account, a clock.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::service::Routes;
use tower::Service as _;

use super::call::{Call, Entry};
use super::deadline::client_timeout;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::reserve::Reserve;
use super::table::{self, Row, Shape};
use super::weight::Weights;
use crate::core::{CallError, Error, Limits};
use crate::ledger::{Account, CallerKey, Ledger, SeatKind};
use crate::policy::Peer;

/// Headers, at most as many as `http2` lets in, and what a call takes beside its messages.
pub(super) const CALL_BYTES: u64 = 24 << 10;
/// What a client's stream may have sent without anybody having read it.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;

/// Every request's way in. A clone is the same one.
#[derive(Clone)]
pub struct Gate {
    routes: Routes,
    limits: Limits,
    reserve: Reserve,
}

/// The same for one connection.
#[derive(Clone)]
pub(super) struct Entrance {
    gate: Arc<Gate>,
    peer: Peer,
    caller: CallerKey,
    account: Account,
    /// The last call, for the task that it will run in.
    last: Arc<Mutex<Option<Arc<Call>>>>,
}

/// What an answer's body is.
pub(super) type AnswerBody = Outbound<tonic::body::Body>;

impl Gate {
    /// The way to these services.
    pub fn new(routes: Routes, limits: Limits, ledger: &Ledger) -> Self {
        // Built now rather than with the first request.
        Weights::get();
        Self { routes: routes.prepare(), limits, reserve: Reserve::new(ledger) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Entrance {
    pub(super) fn new(gate: Arc<Gate>, peer: Peer, account: Account) -> Self {
        Self { caller: peer.key(), gate, peer, account, last: Arc::default() }
    }

    pub(super) fn take_last(&self) -> Option<Arc<Call>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn admit(&self, row: &'static Row) -> Result<Arc<Call>, Error> {
        self.admit_to_share(row).or_else(|refused| {
            let reserve = &self.gate.reserve;
            let place = if row.always { reserve.place(self.caller) } else { None };
            let Some(place) = place else { return Err(refused) };
            let charge = reserve.account().charge(CALL_BYTES)?;
            let account = reserve.account().clone();
            Ok(Arc::new(Call::new(row, account, self.caller, charge, Entry::Reserve(place))))
        })
    }

    /// On the caller's own account.
    fn admit_to_share(&self, row: &'static Row) -> Result<Arc<Call>, Error> {
        let (kind, window) = match row.shape {
            Shape::Unary => (SeatKind::Request, 0),
            Shape::ServerStream => (SeatKind::Stream, 0),
            Shape::ClientStream | Shape::Both => (SeatKind::Stream, STREAM_WINDOW.into()),
        };
        let seat = Entry::Share(self.account.sit(kind)?);
        let charge = self.account.charge(CALL_BYTES + window)?;
        Ok(Arc::new(Call::new(row, self.account.clone(), self.caller, charge, seat)))
    }
}

impl<B> hyper::service::Service<Request<B>> for Entrance
where
    B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        let begun = Instant::now();
        let row = table::find(request.uri().path());
        let call = match self.admit(row) {
            Ok(call) => call,
            Err(refused) => {
                let account = self.gate.reserve.account().clone();
                let held = account.empty();
                let call = Call::new(row, account, self.caller, held, Entry::Refused);
                let response = Some(Status::from(refused).into_http());
                return Answer::Refused { response, call: Arc::new(call), gate: self.gate.clone() };
            }
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
        let timeout = client_timeout(request.headers());
        let most = self.gate.limits.max_message_bytes;
        let mut request = request.map(|body| {
            tonic::body::Body::new(Inbound::new(body, call.clone(), Weights::get(), most))
        });
        if request.body().is_end_stream() {
            call.set_whole();
        }
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(call.clone());
        let response = self.gate.routes.clone().call(request);
        let given_up = timeout.map(|timeout| begun + timeout);
        let clock = Clock { begun, given_up, sleep: None };
        Answer::Under { response, call, gate: self.gate.clone(), clock }
    }
}

type Serving = <Routes as tower::Service<Request<tonic::body::Body>>>::Future;

pin_project! {
    /// The answer to come: a service's own, or a refusal.
    #[project = AnswerProjection]
    pub(super) enum Answer {
        Under { #[pin] response: Serving, call: Arc<Call>, gate: Arc<Gate>, clock: Clock },
        Refused {
            response: Option<Response<tonic::body::Body>>,
            call: Arc<Call>,
            gate: Arc<Gate>,
        },
    }
}

/// Until when there must be an answer's head.
pub(super) struct Clock {
    begun: Instant,
    /// When the client does not wait any more.
    given_up: Option<Instant>,
    /// Made when something has to be waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// The next moment that matters, and what it then means.
    fn next(&self, call: &Call, limits: &Limits) -> (Option<Instant>, CallError) {
        let shape = call.row().shape;
        let ours = match (shape, call.whole()) {
            // The handler has the clock.
            (Shape::ClientStream | Shape::Both, _) => None,
            (_, None) => {
                let seconds = limits.request_seconds;
                Some((self.begun + limits.request_time(), CallError::SlowRequest { seconds }))
            }
            (_, Some(whole)) => {
                let seconds = limits.answer_seconds;
                Some((whole + limits.answer_time(), CallError::SlowAnswer { seconds }))
            }
        };
        match (ours, self.given_up) {
            (Some((ours, error)), given_up) if given_up.is_none_or(|it| ours < it) => {
                (Some(ours), error)
            }
            (_, given_up) => (given_up, CallError::GivenUp),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, call: &Call, limits: &Limits) -> Poll<CallError> {
        loop {
            let (Some(due), error) = self.next(call, limits) else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The request may have become whole meanwhile.
            if self.next(call, limits).0.is_some_and(|due| due <= Instant::now()) {
                return Poll::Ready(error);
            }
        }
    }
}

impl Future for Answer {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, call, gate) = match self.project() {
            AnswerProjection::Refused { response, call, gate } => {
                let response = response.take().expect("polled again behind its end");
                (response, call, gate)
            }
            AnswerProjection::Under { response, call, gate, clock } => {
                let response = match response.poll(cx) {
                    Poll::Ready(Ok(response)) => response,
                    Poll::Pending => match clock.poll(cx, call, &gate.limits) {
                        Poll::Ready(error) => Status::from(Error::from(error)).into_http(),
                        Poll::Pending => return Poll::Pending,
                    },
                };
                (response, call, gate)
            }
        };
        let outbound = |body| Outbound::new(body, call.clone(), &gate.limits);
        Poll::Ready(Ok(response.map(outbound)))
    }
}
