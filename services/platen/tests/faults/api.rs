//! The API, as its callers reach it: through a balancer, over a new connection each time.

use crate::eventually::within;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

/// How long a call that must succeed is made again and again.
const PATIENCE: Duration = Duration::from_secs(90);

/// A caller with the administrator's token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    base: String,
    token: String,
}

impl Api {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        let http = Client::builder()
            .timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build();
        Self {
            http: http.unwrap(),
            base: format!("http://{address}/v1/tenants/default"),
            token: token.to_owned(),
        }
    }

    /// One try. `None`: no answer, or none that can be read.
    pub(crate) async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(StatusCode, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}/{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status();
        Some((status, response.json().await.unwrap_or_default()))
    }

    /// Makes something: what is there already is as good. Refused calls are the test's fault, others are made again.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        within(&format!("POST {path}"), PATIENCE, async || {
            let (status, answer) = self.attempt(Method::POST, path, Some(&body)).await?;
            let is_fault = status.is_client_error()
                && status != StatusCode::CONFLICT
                && status != StatusCode::TOO_MANY_REQUESTS;
            assert!(!is_fault, "POST {path}: {status} {answer}");
            (status.is_success() || status == StatusCode::CONFLICT).then_some(answer)
        })
        .await
    }

    /// Reads something that is there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        within(&format!("GET {path}"), PATIENCE, async || {
            let (status, answer) = self.attempt(Method::GET, path, None).await?;
            assert!(!status.is_client_error(), "GET {path}: {status} {answer}");
            status.is_success().then_some(answer)
        })
        .await
    }

    /// Reads something that may not be there.
    pub(crate) async fn find(&self, path: &str) -> Option<Value> {
        within(&format!("GET {path}"), PATIENCE, async || {
            let (status, answer) = self.attempt(Method::GET, path, None).await?;
            match status {
                StatusCode::NOT_FOUND => Some(None),
                status if status.is_success() => Some(Some(answer)),
                _ => None,
            }
        })
        .await
    }

    /// All items of a list, page by page.
    pub(crate) async fn list(&self, path: &str, items: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{joint}pageToken={token}")).await;
            if let Value::Array(rows) = page[items].take() {
                found.extend(rows);
            }
            match page["nextPageToken"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return found,
            }
        }
    }

    /// Sends the bytes of an artifact.
    pub(crate) async fn upload(&self, path: &str, bytes: String) {
        within(&format!("PUT {path}"), PATIENCE, async || {
            let request = self
                .http
                .put(format!("{}/{path}", self.base))
                .bearer_auth(&self.token)
                .body(bytes.clone());
            let status = request.send().await.ok()?.status();
            assert!(!status.is_client_error(), "PUT {path}: {status}");
            status.is_success().then_some(())
        })
        .await;
    }
}

/// A device's path below the tenant: the percent sign of its id is itself encoded.
pub(crate) fn device_path(device: &str) -> String {
    format!("devices/{}", device.replace('%', "%25"))
}
