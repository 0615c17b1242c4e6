//! Who may come in, and what they are told if not.

use crate::harness::Harness;
use http::Method;
use platen_northbound::Limits;
use platen_proto::{
    device::v1::{
        GetDeviceRequest, ListDevicesRequest, device_service_client::DeviceServiceClient,
    },
    tenant::v1::{ListTenantsRequest, tenant_service_client::TenantServiceClient},
};
use platen_store::{rows::EditedRow, table::Expect, tables::Tokens};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::{Code, Request, transport::Channel};
use tonic_types::StatusExt;

fn hash(token: &str) -> String {
    Sha256::digest(token)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_that_holds_nobody_learns_anything() {
    let api = Harness::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for authorization in [
        None,
        Some("Basic YTpi"),
        Some("Bearer"),
        Some("Bearer x"),
        Some("Bearer pt_unknown"),
        Some("pt_unknown"),
    ] {
        for path in [
            "/v1/tenants",
            "/v1/openapi.json",
            "/v1/nothing",
            "/",
            "/v1/tenants/default/artifacts/x:content",
        ] {
            let mut request = client.get(format!("{}{path}", api.url));
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{authorization:?} {path}");
            assert_eq!(
                response.headers()["content-type"],
                "application/problem+json"
            );
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"platen\""
            );
            let problem: Value = response.json().await.unwrap();
            assert_eq!(
                (&problem["code"], &problem["status"]),
                (&json!("UNAUTHENTICATED"), &json!(401))
            );
        }
    }

    let channel = Channel::from_shared(api.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let status = TenantServiceClient::new(channel)
        .list_tenants(ListTenantsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hashes_of_tokens_are_stored_and_expired_ones_do_not_hold() {
    let api = Harness::start().await;
    let (status, made) = api
        .post(
            "/v1/tenants/default/tokens",
            json!({"role": "VIEWER", "expireTime": "2100-01-01T00:00:00Z", "displayName": "x"}),
        )
        .await;
    assert_eq!(status, 200, "{made}");
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("pt_") && secret.len() == 46);
    let (_, listed) = api.get("/v1/tenants/default/tokens").await;
    assert!(
        !listed.to_string().contains(secret) && listed["tokens"].as_array().unwrap().len() == 2,
        "{listed}"
    );

    let key = hash(secret);
    let EditedRow { mut value, etag } =
        api.store.get_edited::<Tokens>(&key).await.unwrap().unwrap();
    assert!(!format!("{value:?}").contains(secret));
    value.expire_time_us = 1;
    api.store
        .compare_and_set::<Tokens>(&key, Expect::Etag(etag), Some(&value))
        .await
        .unwrap();

    assert_eq!(
        api.call_as(secret, Method::GET, "/v1/tenants/default", None)
            .await
            .0,
        401
    );
    let (status, problem) = api
        .post(
            "/v1/tenants/default/tokens",
            json!({"role": "VIEWER", "expireTime": "2000-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("token.expireTime"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_reach_as_far_as_they_should() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let (viewer, operator) = (
        api.token("default", "VIEWER").await,
        api.token("default", "OPERATOR").await,
    );
    let path = format!("/v1/tenants/default/devices/{device}");
    let body = || Some(json!({}));
    for (method, path, body, viewer_gets, operator_gets) in [
        (Method::GET, path.clone(), None, 200, 200),
        (
            Method::GET,
            "/v1/tenants/default/devices".into(),
            None,
            200,
            200,
        ),
        (
            Method::POST,
            "/v1/tenants/default/devices".into(),
            body(),
            403,
            400,
        ),
        (Method::POST, format!("{path}/operations"), body(), 403, 400),
        (
            Method::GET,
            "/v1/tenants/default/tokens".into(),
            None,
            403,
            200,
        ),
        (
            Method::POST,
            "/v1/tenants/default/tokens".into(),
            Some(json!({"role": "ADMIN"})),
            403,
            403,
        ),
        (
            Method::DELETE,
            "/v1/tenants/default/tokens/admin".into(),
            None,
            403,
            403,
        ),
        (Method::GET, "/v1/tenants".into(), None, 403, 403),
        (
            Method::PATCH,
            "/v1/tenants/default".into(),
            Some(json!({"connectionRequestAllow": ["10.0.0.0/8"]})),
            403,
            403,
        ),
        (
            Method::PUT,
            "/v1/tenants/default/artifacts/x:content".into(),
            body(),
            403,
            404,
        ),
    ] {
        assert_eq!(
            api.call_as(&viewer, method.clone(), &path, body.clone())
                .await
                .0,
            viewer_gets,
            "viewer {method} {path}"
        );
        assert_eq!(
            api.call_as(&operator, method.clone(), &path, body).await.0,
            operator_gets,
            "operator {method} {path}"
        );
    }
    let (_, problem) = api.call_as(&viewer, Method::GET, "/v1/tenants", None).await;
    assert_eq!(problem["code"], "PERMISSION_DENIED");
}

/// Every method with every kind of name of another tenant: 404, and nothing in the answer tells it from what does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_things_do_not_exist() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let (_, operation) = api
        .post(
            &format!("/v1/tenants/default/devices/{device}/operations"),
            json!({"reboot": {}}),
        )
        .await;
    let operation = operation["name"].as_str().unwrap();
    api.post(
        "/v1/tenants/default/profiles",
        json!({"name": "p", "selector": "true", "settings": [{"path": "Device.X", "value": "1"}]}),
    )
    .await;
    api.post(
        "/v1/tenants/default/artifacts",
        json!({"name": "a", "version": "1"}),
    )
    .await;
    api.post("/v1/tenants", json!({"name": "other"})).await;
    let stranger = api.token("other", "OPERATOR").await;

    let d = format!("tenants/default/devices/{device}");
    let mut tried = 0;
    for (method, path, body) in [
        (Method::GET, "tenants/default".to_owned(), None),
        (
            Method::POST,
            "tenants/default/devices".into(),
            Some(json!({"oui": "00D09E", "serialNumber": "1"})),
        ),
        (Method::GET, "tenants/default/devices".into(), None),
        (
            Method::GET,
            "tenants/default/devices:lookup?oui=00D09E&productClass=P&serialNumber=1".into(),
            None,
        ),
        (Method::GET, d.clone(), None),
        (Method::PATCH, d.clone(), Some(json!({"tags": ["x"]}))),
        (Method::DELETE, d.clone(), None),
        (Method::POST, format!("{d}:retire"), None),
        (Method::POST, format!("{d}:admit"), None),
        (Method::GET, format!("{d}/parameters"), None),
        (Method::GET, format!("{d}/events"), None),
        (Method::GET, format!("{d}/readings"), None),
        (Method::GET, format!("{d}/readings:verify"), None),
        (Method::GET, format!("{d}/operations"), None),
        (
            Method::POST,
            format!("{d}/operations"),
            Some(json!({"reboot": {}})),
        ),
        (Method::GET, operation.to_owned(), None),
        (Method::POST, format!("{operation}:cancel"), None),
        (Method::GET, format!("{operation}:content"), None),
        (Method::GET, "tenants/default/events:watch".into(), None),
        (Method::GET, "tenants/default/profiles".into(), None),
        (
            Method::POST,
            "tenants/default/profiles".into(),
            Some(json!({})),
        ),
        (Method::GET, "tenants/default/profiles/p".into(), None),
        (
            Method::PUT,
            "tenants/default/profiles/p".into(),
            Some(json!({})),
        ),
        (Method::DELETE, "tenants/default/profiles/p".into(), None),
        (Method::GET, "tenants/default/artifacts".into(), None),
        (
            Method::POST,
            "tenants/default/artifacts".into(),
            Some(json!({})),
        ),
        (Method::GET, "tenants/default/artifacts/a".into(), None),
        (
            Method::PUT,
            "tenants/default/artifacts/a:content".into(),
            Some(json!({})),
        ),
        (Method::DELETE, "tenants/default/artifacts/a".into(), None),
        (Method::GET, "tenants/default/tokens".into(), None),
        (
            Method::POST,
            "tenants/default/tokens".into(),
            Some(json!({"role": "VIEWER"})),
        ),
        (Method::DELETE, "tenants/default/tokens/admin".into(), None),
    ] {
        let (status, problem) = api
            .call_as(
                &stranger,
                method.clone(),
                &format!("/v1/{path}"),
                body.clone(),
            )
            .await;
        let absent = path.replacen("tenants/default", "tenants/absent", 1);
        let (absent_status, absent_problem) = api
            .call_as(&stranger, method.clone(), &format!("/v1/{absent}"), body)
            .await;
        assert_eq!(
            (status, absent_status),
            (404, 404),
            "{method} {path}: {problem}"
        );
        assert_eq!(
            problem
                .to_string()
                .replace("tenants/default", "tenants/absent"),
            absent_problem.to_string(),
            "{method} {path}"
        );
        tried += 1;
    }
    assert_eq!(tried, 32);
    // Nothing was changed.
    assert_eq!(api.get(&format!("/v1/{d}")).await.1["state"], "EXPECTED");
    // Not even an administrator finds a tenant that is not there.
    assert_eq!(api.get("/v1/tenants/absent/devices").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_rest_share_the_port_and_the_services() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let channel = Channel::from_shared(api.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut devices = DeviceServiceClient::new(channel.clone());

    let name = format!("tenants/default/devices/{device}");
    let got = devices
        .get_device(with_token(
            GetDeviceRequest { name: name.clone() },
            &api.admin,
        ))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (got.name.as_str(), got.product_class.as_str()),
        (name.as_str(), "P")
    );

    let absent = GetDeviceRequest {
        name: "tenants/default/devices/00D09E-2".into(),
    };
    let status = devices
        .get_device(with_token(absent, &api.admin))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let malformed = ListDevicesRequest {
        parent: "tenants/default".into(),
        filter: "device.state ==".into(),
        ..ListDevicesRequest::default()
    };
    let status = devices
        .list_devices(with_token(malformed, &api.admin))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status
            .get_error_details()
            .bad_request()
            .unwrap()
            .field_violations[0]
            .field,
        "filter"
    );

    let viewer = api.token("default", "VIEWER").await;
    let status = TenantServiceClient::new(channel.clone())
        .list_tenants(with_token(ListTenantsRequest::default(), &viewer))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);

    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let health = HealthClient::new(channel.clone())
        .check(with_token(HealthCheckRequest::default(), &api.admin))
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1);

    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = with_token(futures::stream::iter([ask]), &api.admin);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    assert!(
        services
            .service
            .iter()
            .any(|service| service.name == "platen.device.v1.DeviceService")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded() {
    let api = Harness::with(Limits {
        request_bytes: 10_000,
        ..Limits::default()
    })
    .await;

    let (status, problem) = api
        .post(
            "/v1/tenants/default/devices",
            json!({"account": "x".repeat(20_000)}),
        )
        .await;
    assert_eq!((status, &problem["code"]), (413, &json!("TOO_LARGE")));
    let response = api
        .request(Method::DELETE, "/v1/tenants", &api.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 405);
    assert!(
        response.headers()["allow"]
            .to_str()
            .unwrap()
            .contains("GET")
    );
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(405), &json!("METHOD_NOT_ALLOWED"))
    );
    let (status, problem) = api
        .post("/v1/tenants/default/devices", json!({"colour": "red"}))
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("device.colour"))
    );
    let response = api
        .request(Method::POST, "/v1/tenants/default/devices", &api.admin)
        .body("{\"oui\":")
        .send()
        .await
        .unwrap();
    let problem: Value = response.json().await.unwrap();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("line 1 column 7"),
        "{problem}"
    );
    assert_eq!(api.get("/v1/nothing").await.0, 404);
    assert_eq!(api.get("/").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_calls_too_often_is_told_when_to_come_back() {
    let api = Harness::with(Limits {
        calls_per_second: 1,
        burst: 50,
        ..Limits::default()
    })
    .await;
    let eager = api.token("default", "VIEWER").await;
    let mut last = None;
    for _ in 0..60 {
        let response = api
            .request(Method::GET, "/v1/tenants/default", &eager)
            .send()
            .await
            .unwrap();
        if response.status() == 429 {
            last = Some(response);
            break;
        }
    }
    let response = last.expect("a refusal");
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        response.json::<Value>().await.unwrap()["code"],
        "RATE_LIMITED"
    );
    // Others are not concerned.
    assert_eq!(api.get("/v1/tenants/default").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_refused_and_places_come_back() {
    let api = Harness::with(Limits {
        concurrent_waits: 1,
        ..Limits::default()
    })
    .await;
    let watch = api
        .request(Method::GET, "/v1/tenants/default/events:watch", &api.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(watch.status(), 200);

    let (status, problem) = api.get("/v1/tenants/default/events:watch").await;
    assert_eq!((status, &problem["code"]), (503, &json!("OVERLOADED")));
    assert_eq!(api.get("/v1/tenants/default").await.0, 200);

    drop(watch);
    // The place comes back once the server has seen the end of the connection, which no event tells.
    loop {
        let again = api
            .request(Method::GET, "/v1/tenants/default/events:watch", &api.admin)
            .send()
            .await
            .unwrap();
        if again.status() == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_token_ends_within_moments() {
    let api = Harness::start().await;
    let (_, made) = api
        .post(
            "/v1/tenants/default/tokens",
            json!({"name": "short", "role": "VIEWER"}),
        )
        .await;
    let secret = made["secret"].as_str().unwrap();
    // Not used before its deletion, so nothing remembers it.
    assert_eq!(
        api.delete("/v1/tenants/default/tokens/short").await,
        (200, json!({}))
    );

    assert_eq!(
        api.call_as(secret, Method::GET, "/v1/tenants/default", None)
            .await
            .0,
        401
    );
    assert_eq!(api.delete("/v1/tenants/default/tokens/short").await.0, 404);
    let (status, problem) = api.delete("/v1/tenants/default/tokens/admin").await;
    assert_eq!((status, &problem["code"]), (400, &json!("TOKEN_IN_USE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_when_told() {
    let mut api = Harness::start().await;
    let watch = api
        .request(Method::GET, "/v1/tenants/default/events:watch", &api.admin)
        .send()
        .await
        .unwrap();

    api.shutdown.cancel();

    let rest = watch.text().await.unwrap();
    assert!(rest.contains("SHUTTING_DOWN"), "{rest}");
    while let Some(ended) = api.running.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_changes_are_refused_and_reads_go_on() {
    let api = Harness::without_room().await;

    let (status, problem) = api.post("/v1/tenants", json!({"name": "more"})).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("STORAGE_FULL")),
        "{problem}"
    );
    let (status, problem) = api
        .post(
            "/v1/tenants/default/devices",
            json!({"oui": "00D09E", "serialNumber": "1"}),
        )
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("STORAGE_FULL")),
        "{problem}"
    );

    assert_eq!(api.get("/v1/tenants/default").await.0, 200);
    assert_eq!(
        api.get("/v1/tenants/default/devices").await.1["totalSize"],
        0
    );
}
