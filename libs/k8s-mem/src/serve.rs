//! The API server on a socket: plain HTTP/1.1, for `kubectl` on the same machine.
//!
//! There is no authentication, so only loopback is served, and nothing that comes by way of a web page: a request with
//! an `Origin`, or for a host that is not this machine by number or as `localhost`, is refused. Otherwise any page
//! open in a browser here could create Pods, which run as local processes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Body};

/// Accepts connections until told to stop; those that are open are then closed.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, peer)) if peer.ip().to_canonical().is_loopback() => stream,
            Ok((_, peer)) => {
                tracing::warn!(%peer, "a caller from another machine was turned away");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                // out of descriptors, most likely: yields so that others can close some
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (api, stop) = (api.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(api.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                },
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if !is_local(request.headers()) {
        let why =
            Full::new(Bytes::from_static(b"only clients on this machine are served, and no web pages\n"));
        let mut response = Response::new(why.boxed_unsync());
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    }
    Ok(api.handle(request).await)
}

fn is_local(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::ORIGIN) {
        return false;
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The text of a kubeconfig for a server at an address such as `127.0.0.1:6443`.
pub fn kubeconfig(address: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: crater\nclusters:\n- name: crater\n  cluster:\n    server: \
         http://{address}\ncontexts:\n- name: crater\n  context:\n    cluster: crater\n    user: crater\n    \
         namespace: default\nusers:\n- name: crater\n  user: {{}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_pages_and_other_hosts_are_refused() {
        let says = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            is_local(&headers)
        };
        assert!(says("127.0.0.1:6443", None) && says("localhost", None) && says("[::1]:80", None));
        assert!(!says("127.0.0.1:6443", Some("http://127.0.0.1:6443")));
        assert!(!says("evil.example:6443", None) && !says("10.0.0.1:6443", None) && !says("", None));
    }
}
