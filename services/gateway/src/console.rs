//! The console's files, embedded when the gateway was built.

use axum::Router;
use axum::body::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

struct File {
    /// From the root: `/index.html`.
    path: &'static str,
    /// Of the content.
    etag: &'static str,
    bytes: &'static [u8],
}

/// Sorted by path.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// The console talks to its own origin and runs nothing that it did not bring along.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers GET and HEAD: a file by its path, and the page for every path that could be a place inside the page.
pub(crate) fn routes() -> Router {
    Router::new().fallback(|method: Method, uri: Uri, headers: HeaderMap| async move {
        answer(&method, &uri, &headers)
    })
}

fn answer(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let Some(file) = find(uri.path()) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
    };
    let unchanged = headers.get_all(IF_NONE_MATCH).iter().any(|tags| {
        tags.to_str()
            .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.etag))
    });
    let mut response = Response::new(match *method == Method::HEAD || unchanged {
        true => Body::empty(),
        false => Body::from(file.bytes),
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if !unchanged {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(file.bytes.len()));
        let mime = mime_guess::from_path(file.path).first_or_octet_stream();
        let mime = match (mime.type_().as_str(), mime.subtype().as_str()) {
            ("text", _) | (_, "javascript" | "json") => format!("{mime}; charset=utf-8"),
            _ => mime.to_string(),
        };
        headers.extend(HeaderValue::try_from(mime).ok().map(|mime| (CONTENT_TYPE, mime)));
    }
    headers.insert(ETAG, HeaderValue::from_static(file.etag));
    // Names under assets carry a hash of their content; the rest is asked for again, and its tag saves the transfer.
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static(match file.path.starts_with("/assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        }),
    );
    protect(headers);
    response
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn find(path: &str) -> Option<&'static File> {
    let exact = |path: &str| FILES.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &FILES[at]);
    exact(path).or_else(|| {
        let mut segments = path.split('/').skip(1);
        let of_the_mesh =
            segments.next().is_some_and(|first| first.starts_with("crater.") || first.starts_with("grpc."));
        let a_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
        if of_the_mesh || a_file || path.starts_with("/assets/") { None } else { exact("/index.html") }
    })
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    protect(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Response<Body> {
        answer(&Method::GET, &path.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn a_place_in_the_page_is_the_page_and_a_missing_file_is_missing() {
        for page in ["/", "/index.html", "/jobs", "/jobs/lab/train-1"] {
            let response = get(page);
            assert_eq!(response.status(), StatusCode::OK, "{page}");
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
            assert!(response.headers().contains_key("content-security-policy"));
        }
        for absent in [
            "/no.js",
            "/assets/no",
            "/crater.job.v1.JobService/GetJob",
            "/../Cargo.toml",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(get(absent).status(), StatusCode::NOT_FOUND, "{absent}");
        }
    }

    #[test]
    fn a_known_tag_saves_the_transfer() {
        let tag = get("/").headers()[ETAG].clone();
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, tag)]);
        let response = answer(&Method::GET, &Uri::from_static("/"), &headers);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn nothing_is_posted_here() {
        let response = answer(&Method::POST, &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
