//! Whether the process lives, and whether it is ready for work, and if not, why.

use crate::metrics::Metrics;
use axum::{Router, http::StatusCode, http::header, response::IntoResponse, routing::get};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Readiness of a process: ready when no part of it says why it is not. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    /// Ready, until a part says otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `part` is not ready, for that reason.
    pub fn unready(&self, part: &'static str, reason: impl Into<String>) {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, reason.into());
    }

    /// `part` is ready.
    pub fn ready(&self, part: &'static str) {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(part);
    }

    /// Why the process is not ready, by part; empty: it is.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Serves `/livez` (200 while the process answers at all), `/readyz` (200, or 503 with one line per reason) and `/metrics`.
    pub fn routes(&self, metrics: Metrics) -> Router {
        let health = self.clone();
        Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route(
                "/readyz",
                get(move || {
                    let reasons = health.reasons();
                    async move { readiness(&reasons) }
                }),
            )
            .route(
                "/metrics",
                get(move || {
                    let text = metrics.text();
                    async move {
                        match text {
                            Ok(text) => {
                                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
                                    .into_response()
                            }
                            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
                                .into_response(),
                        }
                    }
                }),
            )
    }
}

fn readiness(reasons: &BTreeMap<&'static str, String>) -> (StatusCode, String) {
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines = reasons
        .iter()
        .map(|(part, reason)| format!("{part}: {reason}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn fetch(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let health = Health::new();
        let router = health.routes(Metrics::new("test").unwrap());
        assert_eq!(
            fetch(&router, "/readyz").await,
            (StatusCode::OK, "ready\n".to_owned())
        );

        health.unready("edge", "draining");
        health.unready("log", "nearly full");

        let expected = (
            StatusCode::SERVICE_UNAVAILABLE,
            "edge: draining\nlog: nearly full\n".to_owned(),
        );
        assert_eq!(fetch(&router, "/readyz").await, expected);
        assert_eq!(fetch(&router, "/livez").await.0, StatusCode::OK);
        assert!(
            fetch(&router, "/metrics")
                .await
                .1
                .contains("platen_build_info")
        );

        health.ready("edge");
        health.ready("log");
        assert_eq!(fetch(&router, "/readyz").await.0, StatusCode::OK);
    }
}
