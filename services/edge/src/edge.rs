//! The edge: what its parts share, and which request goes where.

use crate::{
    admission::Admission,
    answer::{self, Answer, Hangup},
    auth::Authenticator,
    config::Config,
    exchange,
    files::Files,
    identity::Identities,
    instruments::Instruments,
    policy::Policies,
    sessions::Sessions,
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use platen_bus::Log;
use platen_runtime::listener::Connection;
use platen_sessions::DecidedMarks;
use platen_store::Store;
use std::{sync::Arc, time::Instant};

/// Everything that answering a request needs.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) marks: Arc<dyn DecidedMarks>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) identities: Identities,
    pub(crate) policies: Arc<Policies>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) files: Files,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Cwmp(&'a str),
    File { tenant: &'a str, token: &'a str },
    Nowhere,
}

impl Edge {
    /// Answers a request.
    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Result<Answer, Hangup> {
        let begun = Instant::now();
        let path = request.uri().path().to_owned();
        // Where there are other edges, the device's next request is to find one of them, not a connection that is just being closed (SES-63).
        let connection = (self.admission.is_draining() && self.sessions.are_shared())
            .then(|| request.extensions().get::<Connection>().cloned())
            .flatten();
        let mut answer = match route(&path, self.config.default_tenant.as_deref()) {
            Route::Cwmp(tenant) if request.method() == Method::POST => {
                let _at_hand = self.admission.post();
                self.post(tenant, request).await
            }
            Route::Cwmp(_) => Ok(not_allowed("POST")),
            Route::File { tenant, token } => match *request.method() {
                Method::GET | Method::HEAD => Ok(self.files.read(tenant, token, &request).await),
                Method::PUT | Method::POST => Ok(self.files.write(tenant, token, request).await),
                _ => Ok(not_allowed("GET, HEAD, PUT, POST")),
            },
            Route::Nowhere => Ok(answer::status(StatusCode::NOT_FOUND)),
        };
        if let Ok(answer) = &mut answer
            && connection.is_some_and(|connection| !exchange::is_companion(&connection))
        {
            answer::close(answer);
        }
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.instruments.request(status, begun.elapsed());
        answer
    }
}

fn route<'a>(path: &'a str, default_tenant: Option<&'a str>) -> Route<'a> {
    let mut pieces = path.trim_start_matches('/').split('/');
    match (
        pieces.next(),
        pieces.next(),
        pieces.next(),
        pieces.next(),
        pieces.next(),
    ) {
        (Some(""), None, ..) => default_tenant.map_or(Route::Nowhere, Route::Cwmp),
        // A slash at the end does no harm.
        (Some("cwmp"), Some(tenant), None | Some(""), None, None) if !tenant.is_empty() => {
            Route::Cwmp(tenant)
        }
        // The file's name is for the device alone.
        (Some("files"), Some(tenant), Some(token), _, None) => Route::File { tenant, token },
        _ => Route::Nowhere,
    }
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = answer::closing(StatusCode::METHOD_NOT_ALLOWED);
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        for (path, expected) in [
            ("/cwmp/acme", Route::Cwmp("acme")),
            ("/cwmp/acme/", Route::Cwmp("acme")),
            ("/cwmp/acme/x", Route::Nowhere),
            ("/cwmp/", Route::Nowhere),
            ("/cwmp", Route::Nowhere),
            ("/", Route::Cwmp("default")),
            (
                "/files/acme/token/fw.bin",
                Route::File {
                    tenant: "acme",
                    token: "token",
                },
            ),
            (
                "/files/acme/token",
                Route::File {
                    tenant: "acme",
                    token: "token",
                },
            ),
            ("/files/acme/token/a/b", Route::Nowhere),
            ("/files/acme", Route::Nowhere),
            ("/bulk/acme", Route::Nowhere),
        ] {
            assert_eq!(route(path, Some("default")), expected, "{path}");
        }
        assert_eq!(route("/", None), Route::Nowhere);
    }
}
