//! Whom a service calls.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tower::Layer;

use crate::{CALL_DEADLINE, Error, InProcess};

/// Connects when first used and again whenever the connection broke; a call while nobody listens answers UNAVAILABLE.
/// It passes the current trace on. Generated clients take it as it is: `UserServiceClient::new(channel)`.
pub type Channel = crater_telemetry::Traced<tonic::transport::Channel>;

/// Whom a service calls: an `http://host:port` or `https://host:port` address or a place inside this process.
#[derive(Clone, Debug)]
pub enum Target {
    Uri(Uri),
    InProcess(InProcess),
}

impl Target {
    /// A channel to this target whose calls wait at most [`CALL_DEADLINE`] for their answer, or for the first sign of a
    /// response stream; the stream itself has no deadline. Opens nothing yet.
    pub fn channel(&self) -> Result<Channel, Error> {
        self.channel_trusting(None)
    }

    /// As [`Target::channel`]; over https it trusts the certificates of the PEM file `roots` in place of this machine's.
    pub fn channel_trusting(&self, roots: Option<&Path>) -> Result<Channel, Error> {
        let channel = match self {
            Self::Uri(uri) if uri.scheme() == Some(&Scheme::HTTPS) => {
                secure(uri, crate::tls::connector(roots)?)?
            }
            Self::Uri(uri) => endpoint(uri.clone()).connect_lazy(),
            Self::InProcess(place) => {
                let place = place.clone();
                let dial = tower::service_fn(move |_: Uri| {
                    let place = place.clone();
                    async move { place.dial().await.map(TokioIo::new) }
                });
                endpoint(Uri::from_static("http://in-process")).connect_with_connector_lazy(dial)
            }
        };
        Ok(crater_telemetry::ClientTrace.layer(channel))
    }
}

fn secure(uri: &Uri, connector: TlsConnector) -> Result<tonic::transport::Channel, Error> {
    let refused = |why: &str| Error::Target { target: uri.to_string(), why: why.to_owned() };
    let host = uri.host().ok_or_else(|| refused("it has no host"))?.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| refused("its host is no name or address"))?;
    let port = uri.port_u16().unwrap_or(443);
    let dial = tower::service_fn(move |_: Uri| {
        let (connector, host, name) = (connector.clone(), host.clone(), name.clone());
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    // tonic wants to do TLS by itself for an https address, once any crate of the build turns that on: it is given the
    // address as a plain one, and the true one as what requests name
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    let address = Uri::from_parts(parts).map_err(|error| refused(&error.to_string()))?;
    Ok(endpoint(address).origin(uri.clone()).connect_with_connector_lazy(dial))
}

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(Duration::from_secs(3))
        .timeout(CALL_DEADLINE)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(16 << 10)
        .tcp_nodelay(true)
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: String| Error::Target { target: text.to_owned(), why };
        let uri: Uri = text.parse().map_err(|error| refused(format!("{error}")))?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self::Uri(uri)),
            _ => Err(refused("must be http://host:port or https://host:port".to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uri(uri) => serializer.collect_str(uri),
            Self::InProcess(place) => serializer.collect_str(&format_args!("in-process:{}", place.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_can_never_be_dialled_is_refused_at_once() {
        for good in ["http://127.0.0.1:1", "http://[::1]:1", "https://crater.example.org"] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:1", "localhost", "ftp://a:1", "http://", "/path", "http:///x"] {
            let error = bad.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }
}
