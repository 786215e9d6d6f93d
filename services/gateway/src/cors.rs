//! Which pages may call from a browser.

use std::time::Duration;

use crater_service::Error;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// What a gRPC-Web client sends beyond what every page may send.
const ALLOWED: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];

/// Where a call that failed before its body says so.
const EXPOSED: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// Lets the pages of exactly these origins call; with none, no page of another origin.
pub(crate) fn layer(origins: &[String]) -> Result<CorsLayer, Error> {
    let origins = origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>, _>>()?;
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers(ALLOWED)
        .expose_headers(EXPOSED)
        .max_age(Duration::from_secs(3600)))
}

/// Browsers compare origins as text, so what can never match is refused.
fn parse(origin: &str) -> Result<HeaderValue, Error> {
    let refused = |why| Error::Setting { key: "allowed_origins", why: format!("{origin:?}: {why}") };
    let uri: Uri = origin.parse().map_err(|_| refused("it is no origin"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refused("it must be scheme://host[:port]"));
    };
    if !matches!(scheme, "http" | "https")
        || authority.host().is_empty()
        || authority.as_str().contains(['*', '@'])
    {
        return Err(refused("it must be http:// or https:// and one host"));
    }
    if format!("{scheme}://{authority}") != origin {
        return Err(refused("it must end after the host or the port"));
    }
    HeaderValue::from_str(origin).map_err(|_| refused("it is no header value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_origins_are_taken() {
        assert!(parse("http://localhost:5173").is_ok());
        assert!(parse("https://crater.example.org").is_ok());
        for refused in [
            "*",
            "null",
            "",
            "localhost:5173",
            "http://a/",
            "http://a/b",
            "ftp://a",
            "http://*.a",
            "http://u@a",
        ] {
            assert!(parse(refused).is_err(), "{refused}");
        }
    }
}
