//! Tenants, and the first start.

use crate::harness::Harness;
use platen_northbound::bootstrap;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_made_once_and_their_policy_edited() {
    let api = Harness::start().await;
    let (status, made) = api
        .post(
            "/v1/tenants",
            json!({"name": "tenants/acme", "displayName": "Acme"}),
        )
        .await;
    assert_eq!(
        (status, &made["enrolment"]),
        (200, &json!("ENROLMENT_UNSPECIFIED")),
        "{made}"
    );
    let (status, problem) = api.post("/v1/tenants", json!({"name": "acme"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("TENANT_EXISTS")));
    assert_eq!(
        api.post("/v1/tenants", json!({"name": "Acme!"})).await.1["violations"][0]["field"],
        "tenant.name"
    );

    let (status, changed) = api
        .patch(
            "/v1/tenants/acme",
            json!({"enrolment": "QUARANTINE", "etag": made["etag"]}),
        )
        .await;
    assert_eq!(
        (status, &changed["enrolment"], &changed["displayName"]),
        (200, &json!("QUARANTINE"), &json!("Acme"))
    );
    assert_eq!(
        api.patch(
            "/v1/tenants/acme",
            json!({"displayName": "x", "etag": made["etag"]})
        )
        .await
        .0,
        409
    );
    let (status, problem) = api
        .patch(
            "/v1/tenants/acme",
            json!({"connectionRequestAllow": ["everywhere"]}),
        )
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("tenant.connectionRequestAllow[0]"))
    );

    let (_, first) = api.get("/v1/tenants?pageSize=1").await;
    assert_eq!(first["tenants"][0]["name"], "tenants/acme");
    let (_, second) = api
        .get(&format!(
            "/v1/tenants?pageSize=1&pageToken={}",
            first["nextPageToken"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (&second["tenants"][0]["name"], &second["nextPageToken"]),
        (&json!("tenants/default"), &json!(""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_start_makes_an_administrator() {
    let api = Harness::start().await;

    assert!(
        !bootstrap(&api.store, |_| panic!("a second secret"))
            .await
            .unwrap()
    );

    // A start that could not keep the secret leaves the store as it was.
    let directory = tempfile::tempdir().unwrap();
    let database = platen_embedded::Database::open(
        directory.path().join("data"),
        platen_embedded::Options::default(),
    )
    .unwrap();
    let store = platen_store::Store::new(std::sync::Arc::new(
        platen_store::embedded::EmbeddedTables::new(&database),
    ));
    assert!(
        bootstrap(&store, |_| anyhow::bail!("disk full"))
            .await
            .is_err()
    );
    let mut kept = String::new();
    let keep = |token: &str| {
        token.clone_into(&mut kept);
        Ok(())
    };
    assert!(bootstrap(&store, keep).await.unwrap());
    assert!(kept.starts_with("pt_"));
}
