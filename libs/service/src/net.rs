//! Where a server listens: a socket or a place inside this process, and the connections that come from there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use crate::{Error, Shutdown};

/// Where a server listens.
#[derive(Debug)]
pub enum Bind {
    /// A TCP address; port 0 takes a free one ([`crate::Running::local_addr`] tells which).
    Tcp(SocketAddr),
    /// A listener that is already bound.
    Listener(TcpListener),
    /// A place inside this process.
    InProcess(InProcess),
}

/// A place inside this process where one server at a time listens and any number of clients dial. Clones are the same
/// place, and outlive the server: a client that holds one reaches the next server to listen there.
#[derive(Clone, Debug)]
pub struct InProcess {
    name: Arc<str>,
    listener: Arc<Mutex<Option<mpsc::Sender<DuplexStream>>>>,
}

/// Bytes in flight per direction of an in-process connection.
const PIPE: usize = 256 << 10;
/// In-process connections that wait to be accepted.
const BACKLOG: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(10);

impl InProcess {
    /// `name` is what errors and log lines call the place.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), listener: Arc::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection to whoever listens here now; `ConnectionRefused` while nobody does.
    pub async fn dial(&self) -> io::Result<DuplexStream> {
        let refused =
            || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody serves {}", self.name));
        let listener = self.slot().clone().ok_or_else(refused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        listener.send(theirs).await.map_err(|_| refused())?;
        Ok(ours)
    }

    fn listen(&self) -> Result<mpsc::Receiver<DuplexStream>, Error> {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|listener| !listener.is_closed()) {
            return Err(Error::AlreadyServed { name: self.name.to_string() });
        }
        let (sender, receiver) = mpsc::channel(BACKLOG);
        *slot = Some(sender);
        Ok(receiver)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<DuplexStream>>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bound [`Bind`].
pub(crate) enum Listening {
    Tcp(TcpListener, Option<TlsAcceptor>),
    InProcess(mpsc::Receiver<DuplexStream>),
}

impl Listening {
    pub(crate) async fn bind(bind: Bind, tls: Option<TlsAcceptor>) -> Result<Self, Error> {
        Ok(match bind {
            Bind::Tcp(addr) => {
                let listener =
                    TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
                Self::Tcp(listener, tls)
            }
            Bind::Listener(listener) => Self::Tcp(listener, tls),
            Bind::InProcess(place) => Self::InProcess(place.listen()?),
        })
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().ok(),
            Self::InProcess(_) => None,
        }
    }

    /// Accepts until the receiver of `accepted` is gone; then nobody listens any more. Connections break off as soon as
    /// `kill` is cancelled.
    pub(crate) async fn accept(mut self, accepted: mpsc::Sender<io::Result<Io>>, kill: Shutdown) {
        loop {
            let stream = tokio::select! {
                biased;
                () = accepted.closed() => return,
                stream = self.next() => stream,
            };
            let (stream, tls) = match stream {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(error) => {
                    // Out of descriptors, most likely: the rest of the process needs time to free some.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = accepted.clone().reserve_owned().await else { return };
            let kill = kill.clone();
            // A handshake takes as long as its peer likes: others do not wait for it.
            tokio::spawn(async move {
                let peer = stream.peer();
                let stream = match (stream, tls) {
                    (Stream::Tcp(stream), Some(tls)) => {
                        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                            Ok(Err(error)) => return tracing::debug!(?peer, %error, "TLS handshake"),
                            Err(_) => return tracing::debug!(?peer, "TLS handshake took too long"),
                        }
                    }
                    (stream, _) => stream,
                };
                place.send(Ok(Io { stream, peer, killed: Box::pin(kill.cancelled_owned()) }));
            });
        }
    }

    async fn next(&mut self) -> io::Result<Option<(Stream, Option<TlsAcceptor>)>> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Some((Stream::Tcp(stream), tls.clone())))
            }
            Self::InProcess(dialled) => {
                Ok(dialled.recv().await.map(|stream| (Stream::InProcess(stream), None)))
            }
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    InProcess(DuplexStream),
}

impl Stream {
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Self::InProcess(_) => None,
        }
    }
}

/// An accepted connection that breaks off when its server runs out of patience.
pub(crate) struct Io {
    stream: Stream,
    peer: Option<SocketAddr>,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Who connected, as a request extension. In-process peers have no address.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer)
    }
}

impl Io {
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.killed.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server stopped")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.alive(cx) {
            return Poll::Ready(Err(error));
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::InProcess(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::InProcess(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::InProcess(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::InProcess(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::InProcess(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::InProcess(stream) => stream.is_write_vectored(),
        }
    }
}
