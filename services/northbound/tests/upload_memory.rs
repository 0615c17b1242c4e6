//! How much memory an upload takes. A program of its own, since the most memory that a process has had is measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "it/harness.rs"]
#[expect(dead_code, reason = "this program uses little of it")]
mod harness;

use bytes::Bytes;
use harness::Harness;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ARTIFACTS: &str = "/v1/tenants/default/artifacts";

async fn put(api: &Harness, id: &str, body: reqwest::Body) -> (u16, Value) {
    let response = api
        .request(
            Method::PUT,
            &format!("{ARTIFACTS}/{id}:content"),
            &api.admin,
        )
        .body(body)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_passes_through_little_memory() {
    let api = Harness::start().await;
    let size = 200 * 1024 * 1024;
    api.post(ARTIFACTS, json!({"name": "warm", "version": "1"}))
        .await;
    assert_eq!(
        put(&api, "warm", vec![1_u8; 20 * 1024 * 1024].into())
            .await
            .0,
        200
    );
    api.post(ARTIFACTS, json!({"name": "big", "version": "1"}))
        .await;
    let chunk = Bytes::from(vec![7_u8; 64 * 1024]);
    let mut hash = Sha256::new();
    for _ in 0..size / chunk.len() {
        hash.update(&chunk);
    }
    let before = peak();

    let chunks = futures::stream::iter(
        (0..size / chunk.len()).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
    );
    let (status, ready) = put(&api, "big", reqwest::Body::wrap_stream(chunks)).await;

    assert_eq!(
        (status, &ready["sizeBytes"]),
        (200, &json!(size.to_string()))
    );
    assert_eq!(
        ready["sha256"],
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    let grown = peak().saturating_sub(before);
    assert!(
        grown < 100 * 1024 * 1024,
        "{grown} bytes more for an upload of {size}"
    );
}
