//! The HTTP surface: paths, queries, bodies and headers, turned into calls and back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use serde_json::{Value, json};

use super::log_endpoint::LogOptions;
use super::object;
use super::patch::Format;
use super::read::ListOptions;
use super::render::{Form, Renderer};
use super::selector::Selector;
use super::status::{ApiError, ApiResult};
use super::store::Key;
use super::types::{ResourceType, qualified};
use super::watch::WatchOptions;
use super::write::{DeleteOptions, WriteOptions};
use super::{Api, discovery, openapi};

/// The body of an answer: whole, or streamed for watches and logs.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Kubernetes takes requests of up to 3 MiB.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A request with its body read.
struct Call {
    method: Method,
    query: HashMap<String, String>,
    accept: String,
    content_type: String,
    user_agent: String,
    body: Bytes,
}

/// A resource path taken apart.
struct Target<'a> {
    group: &'a str,
    version: &'a str,
    namespace: &'a str,
    plural: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl Api {
    /// Answers a request.
    pub async fn handle<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.answer(request).await {
            Ok(response) => response,
            Err(error) => json_response(error.code, &error.to_json()),
        }
    }

    async fn answer<B>(self: Arc<Self>, request: Request<B>) -> ApiResult<Response<Body>>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !*self.serving.borrow() {
            return Err(ApiError::unavailable());
        }
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ApiError::too_large(BODY_LIMIT));
            }
            Err(error) => return Err(ApiError::bad_request(format!("reading the request body: {error}"))),
        };
        let text =
            |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let call = Call {
            method: parts.method,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            accept: text(header::ACCEPT),
            content_type: text(header::CONTENT_TYPE),
            user_agent: text(header::USER_AGENT),
            body,
        };
        let segments: Vec<&str> = parts.uri.path().split('/').filter(|s| !s.is_empty()).collect();
        if let Some(found) = self.general(&call, &segments)? {
            return Ok(found);
        }
        let target = parse_target(&segments).ok_or_else(ApiError::no_such_path)?;
        self.resource(&call, &target)
    }

    /// Health, version, discovery and schemas.
    fn general(&self, call: &Call, segments: &[&str]) -> ApiResult<Option<Response<Body>>> {
        if let ["healthz" | "livez" | "readyz", ..] = segments {
            return Ok(Some(text_response("ok")));
        }
        let types = || self.store().types();
        let found = match segments {
            ["version"] => Some(discovery::version()),
            ["api"] => Some(discovery::core_versions()),
            ["apis"] => Some(discovery::groups(&types())),
            ["api", "v1"] => discovery::resources(&types(), "", "v1"),
            ["apis", group] => Some(discovery::group(&types(), group).ok_or_else(ApiError::no_such_path)?),
            ["apis", group, version] => {
                Some(discovery::resources(&types(), group, version).ok_or_else(ApiError::no_such_path)?)
            }
            ["openapi", "v2"] => Some(openapi::v2(&types())),
            ["openapi", "v3"] => Some(openapi::v3_index(&types())),
            ["openapi", "v3", "api", "v1"] => openapi::v3(&types(), "", "v1"),
            ["openapi", "v3", "apis", group, version] => {
                Some(openapi::v3(&types(), group, version).ok_or_else(ApiError::no_such_path)?)
            }
            _ => None,
        };
        match found {
            Some(_) if call.method != Method::GET => Err(ApiError::method_not_allowed()),
            Some(found) => Ok(Some(json_response(200, &found))),
            None => Ok(None),
        }
    }

    fn resource(self: &Arc<Self>, call: &Call, target: &Target<'_>) -> ApiResult<Response<Body>> {
        let found = self.store().find_type(&qualified(target.group, target.plural));
        let ty = found.ok_or_else(ApiError::no_such_path)?;
        if !ty.versions.iter().any(|v| v == target.version)
            || (!ty.namespaced && !target.namespace.is_empty())
        {
            return Err(ApiError::no_such_path());
        }
        if ty.namespaced
            && target.namespace.is_empty()
            && (target.name.is_some() || call.method == Method::POST)
        {
            return Err(ApiError::bad_request(format!("{} are namespaced: name a namespace", ty.plural)));
        }
        let form = Form::accepted(&call.accept)?;
        let renderer = Renderer { ty: ty.clone(), version: target.version.to_owned(), form };
        match target.name {
            None => self.collection(call, target, renderer),
            Some(name) => {
                let key = Key::new(&ty.qualified, target.namespace, name);
                match target.subresource {
                    None => self.object(call, &key, &renderer, false),
                    Some("status") if ty.status => self.object(call, &key, &renderer, true),
                    Some(subresource) => self.subresource(call, &ty, &key, &renderer, subresource),
                }
            }
        }
    }

    fn collection(
        self: &Arc<Self>,
        call: &Call,
        target: &Target<'_>,
        renderer: Renderer,
    ) -> ApiResult<Response<Body>> {
        let ty = renderer.ty.clone();
        let now = self.clock.now();
        let selector = || Selector::parse(&ty, call.param("labelSelector"), call.param("fieldSelector"));
        match call.method {
            Method::GET if call.flag("watch") => {
                let options = WatchOptions {
                    selector: selector()?,
                    version: call.param("resourceVersion").to_owned(),
                    bookmarks: call.flag("allowWatchBookmarks"),
                    initial_events: call.query.get("sendInitialEvents").map(|v| v == "true"),
                    timeout: call.number("timeoutSeconds")?.map(Duration::from_secs),
                    // who watches whether the others bear it must not be struck itself
                    may_fail: !call.user_agent.starts_with("crater-audit"),
                };
                Ok(streamed("application/json", self.watch(renderer, target.namespace, options)?))
            }
            Method::GET => {
                let (objects, metadata) =
                    self.list(&ty, target.namespace, &call.list_options(selector()?)?)?;
                Ok(json_bytes(200, renderer.list(&objects, metadata, now)))
            }
            Method::POST => {
                let object = call.object()?;
                let options = call.write_options();
                let made = self.create(&ty, target.version, target.namespace, object, options)?;
                Ok(json_response(201, &renderer.one(&made, now)))
            }
            Method::DELETE => {
                let (objects, metadata) =
                    self.list(&ty, target.namespace, &call.list_options(selector()?)?)?;
                let options = call.delete_options()?;
                for object in &objects {
                    let key = Key::new(&ty.qualified, object::namespace(object), object::name(object));
                    match self.delete(&ty, &key, &options) {
                        Err(error) if error.code != 404 => return Err(error),
                        _ => {}
                    }
                }
                Ok(json_bytes(200, renderer.list(&objects, metadata, now)))
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn object(&self, call: &Call, key: &Key, renderer: &Renderer, status: bool) -> ApiResult<Response<Body>> {
        let (ty, version, now) = (&renderer.ty, &renderer.version, self.clock.now());
        match call.method {
            Method::GET => {
                let found = self.get(ty, key)?;
                Ok(json_response(200, &renderer.one(&found, now)))
            }
            Method::PUT => {
                let done = self.update(ty, version, key, call.object()?, status, call.write_options())?;
                Ok(json_response(200, &renderer.one(&done, now)))
            }
            Method::PATCH => {
                let format = Format::of(&call.content_type)?;
                let patch = call.parsed()?;
                if format == Format::Apply && call.param("fieldManager").is_empty() {
                    return Err(ApiError::bad_request(
                        "fieldManager: Required value: is required for apply patch",
                    ));
                }
                let (done, made) =
                    self.patch(ty, version, key, format, &patch, status, call.write_options())?;
                Ok(json_response(if made { 201 } else { 200 }, &renderer.one(&done, now)))
            }
            Method::DELETE if !status => {
                let left = self.delete(ty, key, &call.delete_options()?)?;
                if left["kind"] == "Status" {
                    return Ok(json_response(200, &left));
                }
                Ok(json_response(200, &renderer.one(&left, now)))
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn subresource(
        &self,
        call: &Call,
        ty: &ResourceType,
        key: &Key,
        renderer: &Renderer,
        subresource: &str,
    ) -> ApiResult<Response<Body>> {
        match (&*ty.qualified, subresource, &call.method) {
            ("pods", "log", &Method::GET) => {
                let pod = self.get(ty, key)?;
                Ok(streamed("text/plain", self.log(&pod, &call.log_options()?)?))
            }
            ("pods", "binding", &Method::POST) => {
                let bound = self.bind(ty, key, &call.object()?)?;
                Ok(json_response(201, &bound))
            }
            ("pods", "eviction", &Method::POST) => {
                let body = call.object()?;
                let options = body.get("deleteOptions").map(delete_options).unwrap_or_default();
                let evicted = self.evict(ty, key, &options)?;
                Ok(json_response(201, &evicted))
            }
            ("namespaces", "finalize", &Method::PUT) => {
                let found = self.get(ty, key)?;
                Ok(json_response(200, &renderer.one(&found, self.clock.now())))
            }
            ("pods", "log" | "binding" | "eviction", _) => Err(ApiError::method_not_allowed()),
            _ => Err(ApiError::no_such_path()),
        }
    }
}

impl Call {
    fn param(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    fn number(&self, name: &str) -> ApiResult<Option<u64>> {
        match self.param(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!(
                    "{name}: Invalid value: {text:?}: must be a number that is not negative"
                ))
            }),
        }
    }

    fn size(&self, name: &str) -> ApiResult<Option<usize>> {
        Ok(self.number(name)?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn list_options(&self, selector: Selector) -> ApiResult<ListOptions> {
        Ok(ListOptions {
            selector,
            limit: self.size("limit")?.unwrap_or(0),
            next: self.param("continue").to_owned(),
            version: self.param("resourceVersion").to_owned(),
            version_match: self.param("resourceVersionMatch").to_owned(),
        })
    }

    fn log_options(&self) -> ApiResult<LogOptions> {
        let since_time = match self.param("sinceTime") {
            "" => None,
            text => Some(text.parse().map_err(|e| ApiError::bad_request(format!("sinceTime: {e}")))?),
        };
        Ok(LogOptions {
            container: self.param("container").to_owned(),
            follow: self.flag("follow"),
            timestamps: self.flag("timestamps"),
            previous: self.flag("previous"),
            tail_lines: self.size("tailLines")?,
            since: self.number("sinceSeconds")?.map(Duration::from_secs),
            since_time,
            limit_bytes: self.size("limitBytes")?,
        })
    }

    fn write_options(&self) -> WriteOptions {
        WriteOptions {
            dry_run: self.param("dryRun") == "All",
            strict: self.param("fieldValidation") == "Strict",
        }
    }

    fn delete_options(&self) -> ApiResult<DeleteOptions> {
        let mut options = match self.body.is_empty() {
            true => DeleteOptions::default(),
            false => delete_options(&self.object()?),
        };
        if let Some(grace) = self.number("gracePeriodSeconds")? {
            options.grace = Some(i64::try_from(grace).unwrap_or(i64::MAX));
        }
        if let Some(policy) = self.query.get("propagationPolicy") {
            options.propagation = Some(policy.clone());
        }
        options.dry_run |= self.param("dryRun") == "All";
        Ok(options)
    }

    fn object(&self) -> ApiResult<Value> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        if !matches!(media, "" | "application/json" | "application/yaml") {
            let why = format!("the body of the request was in an unknown format: {media:?}");
            return Err(ApiError::unsupported_media_type(why));
        }
        let value = self.parsed()?;
        if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body is not an object")) }
    }

    fn parsed(&self) -> ApiResult<Value> {
        if self.content_type.contains("yaml") {
            return serde_yaml_ng::from_slice(&self.body)
                .map_err(|e| ApiError::bad_request(format!("reading the body as YAML: {e}")));
        }
        serde_json::from_slice(&self.body)
            .map_err(|e| ApiError::bad_request(format!("reading the body as JSON: {e}")))
    }
}

fn delete_options(body: &Value) -> DeleteOptions {
    let text = |path: &[&str]| object::at(body, path).and_then(Value::as_str).map(str::to_owned);
    let orphan = (body["orphanDependents"] == true).then(|| "Orphan".to_owned());
    DeleteOptions {
        grace: body["gracePeriodSeconds"].as_i64(),
        uid: text(&["preconditions", "uid"]),
        version: text(&["preconditions", "resourceVersion"]),
        propagation: text(&["propagationPolicy"]).or(orphan),
        dry_run: object::list(body, &["dryRun"]).contains(&json!("All")),
    }
}

fn parse_target<'a>(segments: &[&'a str]) -> Option<Target<'a>> {
    let (group, version, rest) = match segments {
        ["api", "v1", rest @ ..] => ("", "v1", rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // the subresources of namespaces themselves look like namespaced resources
        ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
        _ => return None,
    };
    Some(Target { group, version, namespace, plural, name, subresource })
}

fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn json_response(code: u16, value: &Value) -> Response<Body> {
    json_bytes(code, value.to_string().into_bytes())
}

fn json_bytes(code: u16, json: Vec<u8>) -> Response<Body> {
    response(code, "application/json", Full::new(Bytes::from(json)).boxed_unsync())
}

fn text_response(text: &'static str) -> Response<Body> {
    response(200, "text/plain", Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync())
}

fn streamed(
    content_type: &'static str,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = stream.map(|bytes| Ok(Frame::data(bytes)));
    response(200, content_type, StreamBody::new(frames).boxed_unsync())
}
