//! Registers simulated devices through the API.

use crate::device;
use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// A server's API.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
    tenant: String,
}

impl Api {
    /// The API at `base`, for one tenant.
    ///
    /// # Errors
    ///
    /// HTTPS cannot be prepared on this machine.
    pub fn new(base: &str, token: &str, tenant: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
            tenant: tenant.to_owned(),
        })
    }

    /// Reads something of the tenant.
    ///
    /// # Errors
    ///
    /// No answer, or one that is not a success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = self.url(path);
        let response = self.http.get(&url).bearer_auth(&self.token).send().await?;
        let status = response.status();
        let body = response.text().await?;
        if !status.is_success() {
            bail!(
                "{url} answered {status}: {}",
                body.chars().take(300).collect::<String>()
            );
        }
        serde_json::from_str(&body).with_context(|| format!("{url} did not answer JSON"))
    }

    /// Makes something in the tenant.
    ///
    /// # Errors
    ///
    /// No answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(StatusCode, String)> {
        let response = self
            .http
            .post(self.url(path))
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await?;
        Ok((response.status(), response.text().await?))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/tenants/{}/{path}", self.base, self.tenant)
    }
}

/// Registers devices `0..count`, so many calls at a time; those that exist already stay. `done` hears of each.
///
/// # Errors
///
/// The first answer that is neither a success nor 409.
pub async fn register(
    api: &Api,
    count: usize,
    concurrency: usize,
    done: impl Fn(),
) -> anyhow::Result<()> {
    stream::iter(0..count)
        .map(|number| async move {
            let credentials = device::credentials(number);
            let body = json!({
                "oui": device::OUI,
                "productClass": device::PRODUCT_CLASS,
                "serialNumber": device::serial_number(number),
                "credentials": {"username": &*credentials.username, "password": &*credentials.password},
            });
            let (status, answer) = api.post("devices", &body).await?;
            if !status.is_success() && status != StatusCode::CONFLICT {
                bail!("device {number} was not registered: {status}: {}", answer.chars().take(300).collect::<String>());
            }
            Ok(())
        })
        .buffer_unordered(concurrency.max(1))
        .try_for_each(|()| {
            done();
            futures::future::ready(Ok(()))
        })
        .await
}
