//! A gRPC status as an HTTP answer: `application/problem+json` (RFC 9457).

use crate::refusal::TOO_LARGE;
use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The answer for a status that is not OK.
pub(crate) fn response(status: &Status) -> Response {
    let http = http_status(status);
    let mut response = with_document(http, &document(status));
    let headers = response.headers_mut();
    if http == StatusCode::UNAUTHORIZED {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"platen\""),
        );
    }
    if matches!(
        http,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        let after = status
            .get_error_details()
            .retry_info()
            .and_then(|info| info.retry_delay)
            .map_or(1, |delay| delay.as_secs().max(1));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
    response
}

/// The answer to a method of HTTP that a path does not have; `allowed` are those that it has.
pub(crate) fn method_not_allowed(allowed: &str) -> Response {
    let http = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = with_document(
        http,
        &problem(
            http,
            "METHOD_NOT_ALLOWED",
            &format!("only {allowed} here"),
            &[],
        ),
    );
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn with_document(http: StatusCode, document: &Value) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = http;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The problem document of a status.
pub(crate) fn document(status: &Status) -> Value {
    let http = http_status(status);
    let details = status.get_error_details();
    let code = details.error_info().map_or_else(
        || grpc_name(status.code()).to_owned(),
        |info| info.reason.clone(),
    );
    let violations: Vec<Value> = details
        .bad_request()
        .map(|bad| {
            bad.field_violations
                .iter()
                .map(|v| json!({"field": v.field, "description": v.description}))
                .collect()
        })
        .unwrap_or_default();
    problem(http, &code, status.message(), &violations)
}

fn problem(http: StatusCode, code: &str, detail: &str, violations: &[Value]) -> Value {
    json!({
        "type": format!("urn:platen:problem:{code}"),
        "title": http.canonical_reason().unwrap_or("Error"),
        "status": http.as_u16(),
        "detail": detail,
        "code": code,
        "violations": violations,
    })
}

fn http_status(status: &Status) -> StatusCode {
    match status.code() {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument
            if status
                .get_error_details()
                .error_info()
                .is_some_and(|info| info.reason == TOO_LARGE) =>
        {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn grpc_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;
    use std::time::Duration;

    #[test]
    fn every_refusal_has_its_status() {
        for (refusal, expected, code) in [
            (Refusal::field("oui", "bad"), 400, "INVALID_ARGUMENT"),
            (Refusal::NotFound("x".into()), 404, "NOT_FOUND"),
            (
                Refusal::Exists {
                    code: "DEVICE_EXISTS",
                    message: "x".into(),
                },
                409,
                "DEVICE_EXISTS",
            ),
            (Refusal::Changed("x".into()), 409, "ETAG_MISMATCH"),
            (
                Refusal::Precondition {
                    code: "DEVICE_RETIRED",
                    message: "x".into(),
                },
                400,
                "DEVICE_RETIRED",
            ),
            (Refusal::Unauthenticated("x"), 401, "UNAUTHENTICATED"),
            (Refusal::Forbidden("x".into()), 403, "PERMISSION_DENIED"),
            (
                Refusal::TooMany {
                    message: "x",
                    after: Duration::from_secs(3),
                },
                429,
                "RATE_LIMITED",
            ),
            (Refusal::Unimplemented("x".into()), 501, "UNIMPLEMENTED"),
            (
                Refusal::OutOfRange {
                    code: "CURSOR_TOO_OLD",
                    message: "x".into(),
                },
                400,
                "CURSOR_TOO_OLD",
            ),
            (Refusal::TooLarge("x".into()), 413, "TOO_LARGE"),
            (
                Refusal::Unavailable {
                    code: "STORAGE_FULL",
                    message: "x".into(),
                },
                503,
                "STORAGE_FULL",
            ),
            (Refusal::Internal("x".into()), 500, "INTERNAL"),
        ] {
            let response = response(&refusal.into());
            assert_eq!(response.status().as_u16(), expected, "{code}");
        }
        let document = document(&Refusal::field("oui", "bad").into());
        assert_eq!(
            document,
            json!({"type": "urn:platen:problem:INVALID_ARGUMENT", "title": "Bad Request", "status": 400, "detail": "oui: bad",
                   "code": "INVALID_ARGUMENT", "violations": [{"field": "oui", "description": "bad"}]})
        );
    }

    #[test]
    fn refusals_say_when_to_come_back() {
        let response = response(
            &Refusal::TooMany {
                message: "x",
                after: Duration::from_secs(3),
            }
            .into(),
        );

        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
