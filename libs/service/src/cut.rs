//! Ending a response stream from outside its handler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

/// A gRPC response body that ends with a status of ours as soon as a future says so: a stream whose caller lost its
/// rights, whose deadline passed, whose server drains. The handler's stream is dropped then.
///
/// The cut is made between two messages, so that the reader sees the status and not a torn message; a message that
/// stalls half-sent is torn after a second. An error of `inner` becomes the final status as well.
pub struct CutBody {
    inner: tonic::body::Body,
    cut: Option<Pin<Box<dyn Future<Output = Status> + Send>>>,
    fired: Option<Fired>,
    framing: Framing,
    ended: bool,
}

struct Fired {
    status: Status,
    patience: Pin<Box<tokio::time::Sleep>>,
}

const PATIENCE: Duration = Duration::from_secs(1);

impl CutBody {
    /// Wraps `inner`; `cut` is polled while the body is read and may never resolve.
    pub fn new<B>(inner: B, cut: impl Future<Output = Status> + Send + 'static) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError>,
    {
        Self {
            inner: tonic::body::Body::new(inner),
            cut: Some(Box::pin(cut)),
            fired: None,
            framing: Framing::default(),
            ended: false,
        }
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        self.inner = tonic::body::Body::empty();
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Only a status whose metadata is no header fails, and its code alone never does.
            let _ = Status::new(status.code(), "").add_header(&mut trailers);
        }
        Frame::trailers(trailers)
    }
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(cut) = &mut this.cut
            && let Poll::Ready(status) = cut.as_mut().poll(cx)
        {
            this.cut = None;
            this.fired = Some(Fired { status, patience: Box::pin(tokio::time::sleep(PATIENCE)) });
        }
        if let Some(fired) = &mut this.fired
            && (this.framing.between_messages() || fired.patience.poll_unpin(cx).is_ready())
        {
            let status = fired.status.clone();
            return Poll::Ready(Some(Ok(this.end(&status))));
        }
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => this.framing.feed(data),
                None => this.ended = true,
            },
            // A stream that broke off says why in its trailers; a reset would leave the reader to guess.
            Some(Err(status)) => {
                let status = status.clone();
                return Poll::Ready(Some(Ok(this.end(&status))));
            }
            None => this.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

/// Follows gRPC's length-prefixed framing (one flag byte, four of length, the message) through arbitrary chunks.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    header: [u8; 5],
    header_read: usize,
    message_left: usize,
}

impl Framing {
    pub(crate) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.message_left > 0 {
                let step = self.message_left.min(data.len());
                self.message_left -= step;
                data = &data[step..];
                continue;
            }
            let step = (5 - self.header_read).min(data.len());
            self.header[self.header_read..self.header_read + step].copy_from_slice(&data[..step]);
            self.header_read += step;
            data = &data[step..];
            if self.header_read == 5 {
                self.header_read = 0;
                self.message_left = self.announced();
            }
        }
    }

    /// Nothing of a message is owed.
    pub(crate) fn between_messages(&self) -> bool {
        self.header_read == 0 && self.message_left == 0
    }

    /// Bytes of the current message that have not come yet.
    pub(crate) fn message_left(&self) -> usize {
        self.message_left
    }

    fn announced(&self) -> usize {
        let [_, a, b, c, d] = self.header;
        usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::{StreamExt, wrappers::ReceiverStream};

    type Chunks = mpsc::Sender<&'static [u8]>;

    fn body() -> (Chunks, oneshot::Sender<()>, CutBody) {
        let (chunks, received) = mpsc::channel(8);
        let (fire, fired) = oneshot::channel::<()>();
        let frames = ReceiverStream::new(received)
            .map(|chunk: &'static [u8]| Ok::<_, Status>(Frame::data(Bytes::from_static(chunk))));
        let cut = async move {
            let _ = fired.await;
            Status::unauthenticated("revoked")
        };
        (chunks, fire, CutBody::new(StreamBody::new(frames), cut))
    }

    async fn code(body: &mut CutBody) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(frame.trailers_ref()?.get("grpc-status")?.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_cut_waits_for_the_end_of_the_message() {
        let (chunks, fire, mut body) = body();
        chunks.send(&[0, 0, 0, 0, 3, 1]).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        fire.send(()).unwrap();
        chunks.send(&[2, 3]).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(code(&mut body).await.as_deref(), Some("16"));
        assert!(body.frame().await.is_none());
        assert!(chunks.is_closed(), "the handler's stream is dropped");
    }

    #[tokio::test]
    async fn a_message_that_stalls_is_torn() {
        let (chunks, fire, mut body) = body();
        chunks.send(&[0, 0, 0]).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        fire.send(()).unwrap();
        assert_eq!(code(&mut body).await.as_deref(), Some("16"));
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_not_cut() {
        let (chunks, fire, mut body) = body();
        chunks.send(&[0, 0, 0, 0, 0]).await.unwrap();
        drop(chunks);
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(body.frame().await.is_none());
        let _ = fire.send(());
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn framing_is_followed_through_any_chunks() {
        let wire = [0, 0, 0, 0, 2, 7, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9];
        for size in 1..wire.len() {
            let mut framing = Framing::default();
            wire.chunks(size).for_each(|chunk| framing.feed(chunk));
            assert!(framing.between_messages(), "chunks of {size}");
            framing.feed(&wire[..6]);
            assert_eq!(framing.message_left(), 1);
        }
    }
}
