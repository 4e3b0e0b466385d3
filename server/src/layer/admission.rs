//! At most so many requests under way; the next fails at once.
//!
//! A slot is free again when the response's head is there. What lives longer, a stream, has a
//! permit of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::core::Error;

/// Makes [`Admission`].
#[derive(Debug, Clone)]
pub struct AdmissionLayer {
    slots: Arc<Semaphore>,
    limit: u32,
}

impl AdmissionLayer {
    /// Lets `limit` requests in.
    pub fn new(limit: u32) -> Self {
        Self { slots: Arc::new(Semaphore::new(limit as usize)), limit }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { inner, layer: self.clone() }
    }
}

/// At most so many requests under way.
#[derive(Debug, Clone)]
pub struct Admission<S> {
    inner: S,
    layer: AdmissionLayer,
}

impl<S> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Ok(permit) = self.layer.slots.clone().try_acquire_owned() else {
            let limit = self.layer.limit.into();
            let status = Status::from(Error::Limit { what: "requests at once", limit });
            return Admitted::Refused { response: Some(status.into_http()) };
        };
        Admitted::Let { response: self.inner.call(request), permit: Some(permit) }
    }
}

pin_project! {
    /// The answer to come: a service's own, or the refusal. Not boxed, as every request has one.
    #[project = AdmittedProjection]
    #[derive(Debug)]
    pub enum Admitted<F> {
        /// Under way in its slot.
        Let { #[pin] response: F, permit: Option<OwnedSemaphorePermit> },
        /// There was no slot.
        Refused { response: Option<Response<Body>> },
    }
}

impl<F, E> Future for Admitted<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            AdmittedProjection::Let { response, permit } => {
                let response = ready!(response.poll(cx));
                // Nobody may poll again to see the future dropped.
                drop(permit.take());
                Poll::Ready(response)
            }
            AdmittedProjection::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("polled again behind its end")))
            }
        }
    }
}
