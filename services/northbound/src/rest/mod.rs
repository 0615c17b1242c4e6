//! The REST form of the API, derived from the descriptors when the server starts: no handler is written by hand, so that gRPC and REST cannot
//! disagree. What HTTP has beyond (the bytes of artifacts) stands in [`crate::artifacts`].

mod binding;
mod call;
pub(crate) mod openapi;
pub(crate) mod problem;
mod routes;
mod template;

pub(crate) use template::decode;

use crate::refusal::Refusal;
use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions,
};
use routes::{Found, Route};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// How often an event stream that has nothing to say shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The gateway: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    routes: Arc<[Route]>,
    grpc: Router,
    max_body: usize,
    openapi: Bytes,
}

impl Gateway {
    /// A gateway to `grpc`, for the bindings in the descriptors; request bodies are at most `max_body` bytes.
    ///
    /// # Errors
    ///
    /// The descriptors are broken, which is a mistake in a `.proto` file.
    pub(crate) fn new(grpc: Router, max_body: usize) -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS)?;
        let routes = routes::routes(&pool)?;
        let openapi = Bytes::from(serde_json::to_vec(&openapi::document(&pool, &routes))?);
        Ok(Self {
            routes: routes.into(),
            grpc,
            max_body,
            openapi,
        })
    }

    /// Answers a request below `/v1/`.
    pub(crate) async fn handle(&self, request: Request) -> Response {
        self.answer(request)
            .await
            .unwrap_or_else(|status| problem::response(&status))
    }

    /// The OpenAPI document.
    pub(crate) fn openapi(&self) -> Response {
        json_response(self.openapi.clone())
    }

    fn unread(&self, error: &axum::Error) -> Refusal {
        if is_too_long(error) {
            Refusal::TooLarge(format!(
                "a request may have at most {} bytes",
                self.max_body
            ))
        } else {
            Refusal::field("", format!("the body broke off: {error}"))
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, Status> {
        let (route, bindings) =
            match routes::find(&self.routes, request.method(), request.uri().path()) {
                Found::Route(route, bindings) => (route, bindings),
                Found::OtherMethods(methods) => return Ok(method_not_allowed(&methods)),
                Found::Nothing => {
                    return Err(Refusal::NotFound(request.uri().path().to_owned()).into());
                }
            };
        let (parts, body) = request.into_parts();
        let reading = axum::body::to_bytes(body, self.max_body);
        let read = tokio::time::timeout(BODY_PATIENCE, reading).await;
        let body = read.map_err(|_| Status::deadline_exceeded("the body did not come in time"))?;
        let body = body.map_err(|error| self.unread(&error))?;
        let mut message = binding::request(route, bindings, parts.uri.query(), &body)
            .map_err(Refusal::Invalid)?;
        if route.rpc.is_server_streaming() {
            resume(&mut message, &parts.headers);
        }
        let timeout = parts.headers.get("grpc-timeout");
        let answer = call::call(
            self.grpc.clone(),
            &route.rpc,
            parts.extensions,
            timeout,
            &message.encode_to_vec(),
        )
        .await?;
        let output = route.rpc.output();
        if route.rpc.is_server_streaming() {
            let accept = parts
                .headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .unwrap_or_default();
            let messages = answer.stream().map(move |message| json(&output, &message?));
            Ok(if accept.contains("text/event-stream") {
                sse(messages)
            } else {
                ndjson(messages)
            })
        } else {
            let message = json(&output, &answer.only().await?)?;
            Ok(json_response(message.to_string()))
        }
    }
}

/// A browser that comes back repeats its first URL, and says in a header after which event it wants to go on: that counts.
fn resume(request: &mut DynamicMessage, headers: &HeaderMap) {
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty());
    let field = request.descriptor().get_field_by_name("cursor");
    if let (Some(last), Some(field)) = (last, field) {
        request.set_field(&field, prost_reflect::Value::String(last.to_owned()));
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    use std::error::Error;
    error
        .source()
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// 405, with the methods that there are.
pub(crate) fn method_not_allowed(methods: &[http::Method]) -> Response {
    let allowed = methods
        .iter()
        .map(http::Method::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    problem::method_not_allowed(&allowed)
}

/// A message as proto3 JSON: lowerCamelCase, 64-bit integers as text, fields with default values written out.
pub(crate) fn json(descriptor: &MessageDescriptor, encoded: &Bytes) -> Result<Value, Status> {
    let message = DynamicMessage::decode(descriptor.clone(), encoded.clone())
        .map_err(|error| Status::internal(format!("an answer cannot be decoded: {error}")))?;
    let options = SerializeOptions::new()
        .skip_default_fields(false)
        .stringify_64_bit_integers(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| Status::internal(format!("an answer cannot be written: {error}")))
}

/// 200 with a JSON document.
pub(crate) fn json_response(json: impl Into<Body>) -> Response {
    with_type(json.into(), "application/json")
}

fn with_type(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One JSON object per line. A failure is the last line: `{"error": problem}`.
fn ndjson(messages: impl Stream<Item = Result<Value, Status>> + Send + 'static) -> Response {
    let lines = messages.map(|message| {
        let line = message
            .unwrap_or_else(|status| serde_json::json!({"error": problem::document(&status)}));
        Ok::<_, std::convert::Infallible>(format!("{line}\n"))
    });
    with_type(Body::from_stream(lines), "application/x-ndjson")
}

/// Server-sent events: `id` is the cursor to resume with, `event` the kind; a comment every 15 seconds of silence. A failure is the last
/// event: `event: error`.
fn sse(messages: impl Stream<Item = Result<Value, Status>> + Send + 'static) -> Response {
    // A comment at once, so that a client behind a buffering proxy sees that it is connected.
    let events = stream::unfold(
        (Box::pin(messages), true),
        |(mut messages, first)| async move {
            let text = if first {
                ": connected\n\n".to_owned()
            } else {
                match tokio::time::timeout(HEARTBEAT, messages.next()).await {
                    Err(_) => ": alive\n\n".to_owned(),
                    Ok(Some(Ok(message))) => sse_event(&message),
                    Ok(Some(Err(status))) => {
                        format!("event: error\ndata: {}\n\n", problem::document(&status))
                    }
                    Ok(None) => return None,
                }
            };
            Some((Ok::<_, std::convert::Infallible>(text), (messages, false)))
        },
    );
    with_type(Body::from_stream(events), "text/event-stream")
}

fn sse_event(message: &Value) -> String {
    let text = |field: &str| {
        message
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    // JSON has no raw line break, so that one `data` line holds it.
    format!(
        "id: {}\nevent: {}\ndata: {message}\n\n",
        text("cursor"),
        text("kind")
    )
}
