//! What guards every method: the caller's role, the places among the calls in work, deadlines, metrics and the audit.

use crate::{
    caller::{self, Caller, Role},
    config::Limits,
    refusal::Refusal,
};
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use platen_runtime::Metrics;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Methods that hold the line: they count among the waits, not among the calls.
const WAITING: [&str; 4] = [
    "/platen.event.v1.EventService/WatchEvents",
    "/platen.operation.v1.OperationService/GetOperation",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Longest time until a call is answered: a little more than the longest wait for an operation.
const LONGEST_CALL: Duration = Duration::from_secs(90);

/// The bytes of an artifact, however they come.
pub(crate) const UPLOAD: &str = "/platen.firmware.v1.ArtifactService/UploadArtifact";

/// Reading a file that a device brought has no RPC; this is its name in metrics and in the audit.
pub(crate) const READ_UPLOAD: &str = "/platen.operation.v1.OperationService/:content";

/// A place among the calls in work. A stream holds it as long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl Place {
    /// The place of a request, which ends with the request unless it is kept.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

/// What guards the methods.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    calls: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    requests: Counter<u64>,
    seconds: Histogram<f64>,
}

/// Every method, however it was reached: whether the caller may, and whether there is room.
pub(crate) async fn guarded(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let caller = request.extensions().get::<Caller>().cloned();
    let admitted = caller
        .as_ref()
        .ok_or(Refusal::Unauthenticated("no token"))
        .and_then(|caller| guard.admit(&path, caller));
    let place = match admitted {
        Ok(place) => place,
        Err(refusal) => {
            let status = Status::from(refusal);
            guard.ended(&path, caller.as_ref(), started, status.code());
            return status.into_http::<Body>();
        }
    };
    request.extensions_mut().insert(place.clone());
    let asked = request
        .headers()
        .get("grpc-timeout")
        .and_then(|value| patience(value.to_str().ok()?));
    // Until the answer begins; a stream may then go on. An upload has a deadline between its pieces.
    let longest = if path == UPLOAD {
        Duration::MAX
    } else {
        LONGEST_CALL
    };
    let patience = asked.unwrap_or(longest).min(longest);
    let response = match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded("the deadline of the call is over").into_http::<Body>(),
    };
    drop(place);
    let code =
        Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code());
    guard.ended(&path, caller.as_ref(), started, code);
    response
}

impl Guard {
    pub(crate) fn new(limits: &Limits, metrics: &Metrics) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(limits.concurrent_calls)),
            waits: Arc::new(Semaphore::new(limits.concurrent_waits)),
            requests: metrics.counter(
                "platen.api.request",
                "Calls of the API, by method and gRPC code",
            ),
            seconds: metrics.seconds(
                "platen.api.request.duration",
                "Time until a call of the API was answered",
            ),
        }
    }

    /// A place for a call, if the caller may call the method and there is room.
    fn admit(&self, path: &str, caller: &Caller) -> Result<Place, Refusal> {
        let needed = caller::needed(path)
            .ok_or_else(|| Refusal::Unimplemented(format!("there is no method {path}")))?;
        self.admit_as(needed, path, caller)
    }

    /// As [`Self::admit`], for what needs this role.
    pub(crate) fn admit_as(
        &self,
        needed: Role,
        path: &str,
        caller: &Caller,
    ) -> Result<Place, Refusal> {
        if caller.role < needed {
            return Err(Refusal::Forbidden(format!(
                "this needs the role {}",
                format!("{needed:?}").to_ascii_uppercase()
            )));
        }
        let places = if WAITING.contains(&path) {
            &self.waits
        } else {
            &self.calls
        };
        let permit = Arc::clone(places)
            .try_acquire_owned()
            .map_err(|_| Refusal::Unavailable {
                code: "OVERLOADED",
                message: "too many calls are in work: try again in a moment".to_owned(),
            })?;
        Ok(Place(Arc::new(permit)))
    }

    /// Counts a call, and records who changed something.
    pub(crate) fn ended(
        &self,
        path: &str,
        caller: Option<&Caller>,
        started: Instant,
        code: tonic::Code,
    ) {
        let role = if path == READ_UPLOAD {
            Some(Role::Operator)
        } else {
            caller::needed(path)
        };
        // Labels come from a closed set: what callers make up is one method.
        let method = role
            .map_or("unknown", |_| path.trim_start_matches('/'))
            .to_owned();
        let code_label = format!("{code:?}");
        self.requests.add(
            1,
            &[
                KeyValue::new("method", method.clone()),
                KeyValue::new("code", code_label),
            ],
        );
        self.seconds.record(
            started.elapsed().as_secs_f64(),
            &[KeyValue::new("method", method.clone())],
        );
        if let Some(caller) = caller.filter(|_| role > Some(Role::Viewer)) {
            tracing::info!(target: "platen::audit", user = %caller.user, tenant = %caller.tenant, %method, ?code, "call");
        }
    }
}

/// The time in a `grpc-timeout` header: digits and a unit.
fn patience(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_may_what_it_should_and_nothing_else() {
        let guard = Guard::new(&Limits::default(), &Metrics::new("test").unwrap());
        for (path, needed) in caller::POLICY {
            for role in [Role::Viewer, Role::Operator, Role::Admin] {
                let tenant = platen_ids::TenantId::new("t").unwrap();
                let caller = Caller {
                    tenant,
                    role,
                    user: "users/u".into(),
                    token: String::new(),
                };
                assert_eq!(
                    guard.admit(path, &caller).is_ok(),
                    role >= *needed,
                    "{role:?} {path}"
                );
                assert!(matches!(
                    guard.admit(&format!("{path}x"), &caller),
                    Err(Refusal::Unimplemented(_))
                ));
            }
        }
    }

    #[test]
    fn deadlines_are_read() {
        for (text, expected) in [
            ("20S", Some(Duration::from_secs(20))),
            ("5m", Some(Duration::from_millis(5))),
            ("1H", Some(Duration::from_secs(3600))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("1x", None),
            ("é", None),
        ] {
            assert_eq!(patience(text), expected, "{text}");
        }
    }
}
