//! What holds for every call whatever its handler does: it is admitted or shed, its request is not too large, it ends by
//! its deadline, a panic is an answer, and open streams end when the server drains.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use crate::cut::Framing;
use crate::descriptors::StreamingMethods;
use crate::{CutBody, Limits, Shutdown};

/// The `domain` of every `google.rpc.ErrorInfo` that Crater sends.
const ERROR_DOMAIN: &str = "crater.dev";

/// When a caller that was shed or cut off may come again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct GuardLayer {
    shared: Arc<Shared>,
}

struct Shared {
    service: &'static str,
    streaming: StreamingMethods,
    limits: Limits,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl GuardLayer {
    pub(crate) fn new(
        service: &'static str,
        streaming: StreamingMethods,
        limits: &Limits,
        shutdown: Shutdown,
    ) -> Self {
        let calls = Arc::new(Semaphore::new(limits.calls));
        let streams = Arc::new(Semaphore::new(limits.streams));
        let limits = limits.clone();
        Self { shared: Arc::new(Shared { service, streaming, limits, calls, streams, shutdown }) }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, shared: self.shared.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<tonic::codegen::StdError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        let streaming = shared.streaming.contains(request.uri().path());
        let permit = match shared.admit(streaming) {
            Ok(permit) => permit,
            Err(status) => return refuse(status),
        };
        let asked = grpc_timeout(request.headers());
        let deadline = match (streaming, asked) {
            (true, asked) => asked,
            (false, asked) => Some(asked.unwrap_or(Duration::MAX).min(shared.limits.deadline)),
        };
        let deadline = deadline.map(|after| (Instant::now() + after, after));

        let limit = shared.limits.request_bytes;
        let broken = Arc::new(OnceLock::new());
        let request =
            request.map(|body| tonic::body::Body::new(LimitedBody::new(body, limit, Arc::clone(&broken))));
        // Handlers may panic before they return their future, too.
        let call = match std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(call) => call,
            Err(panic) => return refuse(panicked(shared.service, &*panic)),
        };
        Box::pin(async move {
            let call = AssertUnwindSafe(call).catch_unwind();
            let outcome = match deadline {
                Some((at, _)) => tokio::time::timeout_at(at, call).await,
                None => Ok(call.await),
            };
            let response = match outcome {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(panic)) => return Ok(panicked(shared.service, &*panic).into_http()),
                Err(_) => return Ok(too_late(deadline).into_http()),
            };
            // A proxy cannot tell a body that broke off from a backend that did.
            if let Some(status) = broken.get() {
                return Ok(status.clone().into_http());
            }
            if let Some(status) = unreadable(response.headers()) {
                return Ok(status.into_http());
            }
            Ok(response.map(|body| {
                let cut = async move {
                    let _held_until_the_body_is_dropped = permit;
                    let late = async {
                        match deadline {
                            Some((at, _)) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    let drained = async {
                        match streaming {
                            true => shared.shutdown.cancelled().await,
                            false => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = late => too_late(deadline),
                        () = drained => shared.shutting_down(),
                    }
                };
                tonic::body::Body::new(CutBody::new(body, cut))
            }))
        })
    }
}

impl Shared {
    fn shutting_down(&self) -> Status {
        let mut details = error_info("SHUTTING_DOWN", []);
        details.set_retry_info(Some(RETRY));
        let message = format!("the {} service is shutting down", self.service);
        Status::with_error_details(Code::Unavailable, message, details)
    }

    fn admit(&self, streaming: bool) -> Result<OwnedSemaphorePermit, Status> {
        let (semaphore, most, what) = match streaming {
            true => (&self.streams, self.limits.streams, "streams"),
            false => (&self.calls, self.limits.calls, "calls"),
        };
        Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
            let message =
                format!("the {} service is at its limit of {most} {what} at one time", self.service);
            let mut details = error_info("OVERLOADED", [("limit", most.to_string())]);
            details.set_retry_info(Some(RETRY));
            Status::with_error_details(Code::Unavailable, message, details)
        })
    }
}

fn refuse<E>(status: Status) -> Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, E>> + Send>>
where
    E: Send + 'static,
{
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// tonic answers INTERNAL to a message that is no Protobuf or is nested too deeply. That is the caller's fault, and its
/// text is the only mark by which it can be told from a fault of ours.
fn unreadable(headers: &HeaderMap) -> Option<Status> {
    if headers.get("grpc-status")?.as_bytes() != b"13" {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let why = status.message().strip_prefix("failed to decode Protobuf message: ")?;
    let message = format!("the request cannot be read: {why}");
    Some(Status::with_error_details(Code::InvalidArgument, message, error_info("REQUEST_MALFORMED", [])))
}

fn too_late(deadline: Option<(Instant, Duration)>) -> Status {
    let after = deadline.map(|(_, after)| after).unwrap_or_default();
    let message = format!("the call did not end within {after:?}");
    Status::with_error_details(Code::DeadlineExceeded, message, error_info("DEADLINE_EXCEEDED", []))
}

fn panicked(service: &str, panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(service, panic = text, "a handler panicked");
    Status::with_error_details(
        Code::Internal,
        "the service met an error of its own",
        error_info("INTERNAL", []),
    )
}

pub(crate) fn error_info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata)
}

/// `grpc-timeout` as the gRPC protocol writes it: up to eight digits and a unit. One that cannot be read is as absent.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// A request body that ends in RESOURCE_EXHAUSTED as soon as it announces or sends more than its limit. It leaves in
/// `broken` why it broke off, that or another reason.
struct LimitedBody<B> {
    inner: B,
    framing: Framing,
    received: usize,
    limit: usize,
    broken: Arc<OnceLock<Status>>,
}

impl<B> LimitedBody<B> {
    fn new(inner: B, limit: usize, broken: Arc<OnceLock<Status>>) -> Self {
        Self { inner, framing: Framing::default(), received: 0, limit, broken }
    }

    fn break_off<T>(&self, status: Status) -> Poll<Option<Result<T, tonic::codegen::StdError>>> {
        // Only the first reason counts.
        let _ = self.broken.set(status.clone());
        Poll::Ready(Some(Err(status.into())))
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    // The size and the end that the inner body tells of are left out: where gRPC-Web is translated they are those of the
    // encoded body, not of what comes out of it.
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.framing.feed(data);
            self.received = self.received.saturating_add(data.len());
            const PREFIX: usize = 5;
            let most = self.limit.saturating_add(PREFIX);
            if self.received.saturating_add(self.framing.message_left()) > most {
                let limit = self.limit;
                let message = format!("the request is larger than {limit} bytes");
                let details = error_info("REQUEST_TOO_LARGE", [("limit_bytes", limit.to_string())]);
                let status = Status::with_error_details(Code::ResourceExhausted, message, details);
                return self.break_off(status);
            }
        }
        match frame {
            Some(Err(error)) => {
                let error: tonic::codegen::StdError = error.into();
                let why = match error.downcast_ref::<Status>() {
                    Some(status) => status.message().to_owned(),
                    None => error.to_string(),
                };
                let message = format!("the request's body cannot be read: {why}");
                let details = error_info("REQUEST_MALFORMED", []);
                self.break_off(Status::with_error_details(Code::InvalidArgument, message, details))
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        grpc_timeout(&headers)
    }

    #[test]
    fn a_timeout_is_read_as_the_protocol_writes_it() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for refused in ["", "S", "1", "+1S", "-1S", "1 S", "999999999S", "1x", "１S"] {
            let refused = http::HeaderValue::from_bytes(refused.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), refused)]);
            assert_eq!(grpc_timeout(&headers), None, "{headers:?}");
        }
    }
}
