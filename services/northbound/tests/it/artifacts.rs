//! Artifacts: their bytes come over HTTP and gRPC, and are kept whole or not at all.

use crate::harness::Harness;
use bytes::Bytes;
use http::Method;
use platen_northbound::Limits;
use platen_proto::firmware::v1::{
    UploadArtifactRequest, artifact_service_client::ArtifactServiceClient,
    upload_artifact_request::Data,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tonic::{Code, transport::Channel};

const ARTIFACTS: &str = "/v1/tenants/default/artifacts";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Every file below a folder.
fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![below.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found
}

async fn put(api: &Harness, id: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
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

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_hashed_named_and_immutable() {
    let api = Harness::start().await;
    let (status, made) = api
        .post(
            ARTIFACTS,
            json!({"displayName": "LaserPro 9, 1.5", "version": "1.5"}),
        )
        .await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["name"], &made["state"]),
        (
            &json!("tenants/default/artifacts/laserpro-9-1-5"),
            &json!("EMPTY")
        )
    );
    assert_eq!(made["fileType"], "1 Firmware Upgrade Image");

    let (status, ready) = put(&api, "laserpro-9-1-5", "firmware").await;
    assert_eq!(status, 200, "{ready}");
    assert_eq!(
        (&ready["state"], &ready["sizeBytes"], &ready["sha256"]),
        (&json!("READY"), &json!("8"), &json!(hex(b"firmware")))
    );
    let path = api
        .files()
        .join("artifacts/default/laserpro-9-1-5")
        .join(hex(b"firmware"));
    assert_eq!(std::fs::read(&path).unwrap(), b"firmware");

    // The same again is fine, other bytes are not.
    assert_eq!(put(&api, "laserpro-9-1-5", "firmware").await.0, 200);
    let (status, problem) = put(&api, "laserpro-9-1-5", "other").await;
    assert_eq!((status, &problem["code"]), (400, &json!("ARTIFACT_READY")));
    assert_eq!(files(&api.files()), std::slice::from_ref(&path));

    let (status, problem) = api
        .call_as(
            &api.admin,
            Method::DELETE,
            &format!("{ARTIFACTS}/laserpro-9-1-5?etag=x"),
            None,
        )
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("ETAG_MISMATCH")));
    assert_eq!(
        api.delete(&format!("{ARTIFACTS}/laserpro-9-1-5")).await.0,
        200
    );
    assert!(!path.exists());
    assert_eq!(api.get(&format!("{ARTIFACTS}/laserpro-9-1-5")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_bytes_that_are_refused_nothing_is_kept() {
    let api = Harness::with(Limits {
        artifact_bytes: 1000,
        ..Limits::default()
    })
    .await;
    api.post(
        ARTIFACTS,
        json!({"name": "a", "version": "1", "sha256": hex(b"promised")}),
    )
    .await;

    let (status, problem) = put(&api, "a", "different").await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("CONTENT_MISMATCH"))
    );
    assert_eq!(put(&api, "a", "x".repeat(1001)).await.0, 413);
    let chunks = futures::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("x".repeat(500))));
    assert_eq!(
        put(&api, "a", reqwest::Body::wrap_stream(chunks)).await.0,
        413
    );
    assert_eq!(put(&api, "a", "").await.0, 400);
    assert_eq!(put(&api, "absent", "x").await.0, 404);
    assert_eq!(put(&api, "..%2Fa", "x").await.0, 404);
    assert_eq!(files(&api.files()), Vec::<PathBuf>::new());
    assert_eq!(api.get(&format!("{ARTIFACTS}/a")).await.1["state"], "EMPTY");

    assert_eq!(put(&api, "a", "promised").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_takes_bytes_as_a_stream() {
    let api = Harness::start().await;
    api.post(ARTIFACTS, json!({"name": "a", "version": "1"}))
        .await;
    let channel = Channel::from_shared(api.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = ArtifactServiceClient::new(channel);
    let message = |data: Data| UploadArtifactRequest { data: Some(data) };
    let ask = |messages: Vec<UploadArtifactRequest>| {
        let mut request = tonic::Request::new(futures::stream::iter(messages));
        request.metadata_mut().insert(
            "authorization",
            format!("Bearer {}", api.admin).parse().unwrap(),
        );
        request
    };
    let name = || message(Data::Name("tenants/default/artifacts/a".into()));
    let chunk = |bytes: &'static [u8]| message(Data::Chunk(Bytes::from_static(bytes)));

    for wrong in [
        vec![],
        vec![chunk(b"x")],
        vec![name(), name()],
        vec![name()],
    ] {
        assert_eq!(
            client.upload_artifact(ask(wrong)).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let ready = client
        .upload_artifact(ask(vec![name(), chunk(b"firm"), chunk(b"ware")]))
        .await
        .unwrap()
        .into_inner();

    assert_eq!((ready.sha256, ready.size_bytes), (hex(b"firmware"), 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_descriptions_name_the_field() {
    let api = Harness::start().await;
    for (body, field) in [
        (json!({"name": "a"}), "artifact.version"),
        (json!({"name": "A", "version": "1"}), "artifact.name"),
        (
            json!({"name": "a", "version": "1", "sha256": "x"}),
            "artifact.sha256",
        ),
        (
            json!({"name": "a", "version": "1", "targetFileName": "../x"}),
            "artifact.targetFileName",
        ),
        (
            json!({"name": "a", "version": "1", "compatibility": {"models": [""]}}),
            "artifact.compatibility.models",
        ),
    ] {
        let (status, problem) = api.post(ARTIFACTS, body).await;
        assert_eq!(
            (status, &problem["violations"][0]["field"]),
            (400, &json!(field)),
            "{problem}"
        );
    }
    api.post(ARTIFACTS, json!({"name": "a", "version": "1"}))
        .await;
    let (status, problem) = api
        .post(ARTIFACTS, json!({"name": "a", "version": "1"}))
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("ARTIFACT_EXISTS")));
}
