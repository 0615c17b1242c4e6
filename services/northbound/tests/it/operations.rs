//! Operations: queued with everything that the edge needs, waited for, cancelled.

use crate::harness::{Harness, TENANT};
use platen_proto::{
    device::v1::{CwmpFault, ParameterFault},
    event::v1::{Event, event},
    operation::v1::{
        Operation, OperationError, OperationResult, ParameterValue, operation::State,
        operation_request::Action,
    },
    report::v1::FileGrant,
    store::v1::{Attempt, Claim, Progress, Transfers, claim::By},
    topic::{Kind, Topic},
};
use platen_store::{
    rows,
    tables::{OpenTransfers, Operations, ProgressOfOperations},
};
use prost::Message;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn id_of(operation: &Value) -> String {
    operation["name"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned()
}

async fn progress(api: &Harness, id: &str, progress: Progress) {
    api.store
        .write(vec![rows::write::<ProgressOfOperations>(
            (TENANT, id),
            &progress,
            1,
        )])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_queued_and_announced() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let mut notices = api
        .log
        .follow(&[Topic::Reports], platen_bus::From::Now)
        .await
        .unwrap();
    let body = json!({"getParameterValues": {"paths": ["Device.DeviceInfo."]}, "priority": 7});
    let (status, operation) = api
        .post(
            &format!("/v1/tenants/default/devices/{device}/operations"),
            body,
        )
        .await;
    assert_eq!(status, 200, "{operation}");

    let create_time = operation["createTime"].clone();
    assert_eq!(
        operation,
        json!({"name": operation["name"], "device": "tenants/default/devices/00D09E-P-1", "state": "QUEUED", "attempts": 0, "createdBy": "users/admin",
            "createTime": create_time, "request": {"getParameterValues": {"paths": ["Device.DeviceInfo."]}, "priority": 7, "requestId": ""}})
    );
    let queue = api.queue(&device).await;
    let command = &queue[0];
    assert_eq!(
        (command.id.as_str(), command.operation.as_str()),
        (id_of(&operation).as_str(), id_of(&operation).as_str())
    );
    assert_eq!(
        (
            command.owner.as_str(),
            command.once,
            command.wake,
            command.priority
        ),
        ("provisioning", true, true, 7)
    );
    assert_eq!(
        command.expire_time_us - command.create_time_us,
        7 * 86_400_000_000
    );

    let notice = loop {
        let records = notices.next(10).await.unwrap();
        if let Some(record) = records
            .iter()
            .find(|record| record.record.kind == Kind::Notice)
        {
            break record.notice().unwrap();
        }
    };
    assert_eq!(
        (notice.kind.as_str(), notice.device.as_str(), notice.id),
        ("OPERATION_CREATED", device.as_str(), id_of(&operation))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_priority_goes_first() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    api.post(&path, json!({"reboot": {}})).await;
    api.post(
        &path,
        json!({"getRpcMethods": {}, "priority": 1, "wake": false}),
    )
    .await;

    let queue = api.queue(&device).await;

    assert!(matches!(
        queue[0].request.as_ref().unwrap().action,
        Some(Action::GetRpcMethods(_))
    ));
    assert!(!queue[0].wake);
    let Some(Action::Reboot(reboot)) = &queue[1].request.as_ref().unwrap().action else {
        panic!("no reboot")
    };
    assert_eq!(reboot.command_key, queue[1].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_call_answers_when_the_operation_ends() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let body = json!({"setParameterValues": {"values": [{"path": "Device.X", "value": "1", "type": "xsd:int"}]}});
    let (_, operation) = api.post(&path, body).await;
    let id = id_of(&operation);

    let (_, unfinished) = api
        .get(&format!("/v1/tenants/default/operations/{id}?wait=0.05s"))
        .await;
    assert_eq!(unfinished["state"], "QUEUED");

    let began = Instant::now();
    let waiting_path = format!("/v1/tenants/default/operations/{id}?wait=60s");
    let waiting = api.get(&waiting_path);
    let ending = async {
        let fault = ParameterFault {
            path: "Device.X".into(),
            code: 9005,
            string: "Invalid parameter name".into(),
        };
        let error = OperationError {
            code: "CWMP_FAULT".into(),
            message: "Invalid arguments".into(),
            cwmp_fault: Some(CwmpFault {
                code: 9003,
                string: "Invalid arguments".into(),
                parameter_faults: vec![fault],
            }),
        };
        let row = Progress {
            state: State::Failed.into(),
            attempts: 1,
            start_time_us: 1_763_884_800_000_000,
            end_time_us: 1_763_884_801_000_000,
            error: Some(error),
            ..Progress::default()
        };
        progress(&api, &id, row).await;
        // Every unrelated end is passed over.
        for name in [
            "tenants/default/operations/other",
            operation["name"].as_str().unwrap(),
        ] {
            let event = Event {
                id: name.into(),
                kind: event::Kind::OperationDone.into(),
                data: Some(event::Data::Operation(Operation {
                    name: name.into(),
                    ..Operation::default()
                })),
                ..Event::default()
            };
            api.append(
                Topic::Changes,
                Kind::Event,
                &device,
                name,
                event.encode_to_vec(),
            )
            .await;
        }
    };
    let ((status, ended), ()) = futures::join!(waiting, ending);

    assert_eq!(status, 200);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(
        (&ended["state"], &ended["startTime"], &ended["endTime"]),
        (
            &json!("FAILED"),
            &json!("2025-11-23T08:00:00Z"),
            &json!("2025-11-23T08:00:01Z")
        )
    );
    assert_eq!(
        ended["error"],
        json!({"code": "CWMP_FAULT", "message": "Invalid arguments", "cwmpFault": {"code": 9003, "string": "Invalid arguments",
            "parameterFaults": [{"path": "Device.X", "code": 9005, "string": "Invalid parameter name"}]}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_have_the_documented_shape() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let (_, operation) = api
        .post(
            &path,
            json!({"getParameterValues": {"paths": ["Device.X"]}}),
        )
        .await;
    let value = ParameterValue {
        path: "Device.X".into(),
        value: "1".into(),
        r#type: "xsd:int".into(),
    };
    let result = OperationResult {
        values: vec![value],
        status: Some(0),
        ..OperationResult::default()
    };
    progress(
        &api,
        &id_of(&operation),
        Progress {
            state: State::Succeeded.into(),
            result: Some(result),
            ..Progress::default()
        },
    )
    .await;

    let (_, done) = api
        .get(&format!("/v1/{}", operation["name"].as_str().unwrap()))
        .await;

    assert_eq!(done["state"], "SUCCEEDED");
    assert_eq!(
        done["result"]["values"],
        json!([{"path": "Device.X", "value": "1", "type": "xsd:int"}])
    );
    assert_eq!(done["result"]["status"], 0);
    assert_eq!(done["result"].get("instanceNumber"), None);
    assert_eq!(done.get("error"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_queues_once() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let call = || async {
        api.post(&path, json!({"reboot": {}, "requestId": "r"}))
            .await
    };

    let answers = futures::future::join_all((0..8).map(|_| call())).await;

    let names: std::collections::BTreeSet<String> = answers
        .iter()
        .map(|(_, operation)| id_of(operation))
        .collect();
    assert_eq!(names.len(), 1);
    assert_eq!(api.queue(&device).await.len(), 1);
    assert_eq!(
        api.get(&path).await.1["operations"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (status, problem) = api
        .post(&path, json!({"factoryReset": {}, "requestId": "r"}))
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("REQUEST_ID_REUSED"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_no_session_has_taken_is_cancelled() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let (_, free) = api.post(&path, json!({"reboot": {}})).await;
    let (_, taken) = api.post(&path, json!({"reboot": {}})).await;
    let claim = Claim {
        by: By::Session.into(),
        holder: "s".into(),
        time_us: 1_763_884_800_000_000,
    };
    assert_eq!(
        api.store
            .claim(TENANT, &id_of(&taken), &claim)
            .await
            .unwrap(),
        None
    );

    let cancel = |operation: &Value| format!("/v1/{}:cancel", operation["name"].as_str().unwrap());
    let (status, cancelled) = api.post(&cancel(&free), json!({})).await;
    assert_eq!(
        (status, &cancelled["state"]),
        (200, &json!("CANCELLED")),
        "{cancelled}"
    );
    assert_eq!(
        api.store
            .claim_of(TENANT, &id_of(&free))
            .await
            .unwrap()
            .unwrap()
            .holder,
        "users/admin"
    );
    // Again is fine.
    assert_eq!(api.post(&cancel(&free), json!({})).await.0, 200);

    let (status, problem) = api.post(&cancel(&taken), json!({})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("OPERATION_TAKEN")));
    let (_, running) = api
        .get(&format!("/v1/{}", taken["name"].as_str().unwrap()))
        .await;
    assert_eq!(
        (
            &running["state"],
            &running["attempts"],
            &running["startTime"]
        ),
        (&json!("RUNNING"), &json!(1), &json!("2025-11-23T08:00:00Z"))
    );
    assert_eq!(
        api.post("/v1/tenants/default/operations/none:cancel", json!({}))
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_listed_newest_first() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    for _ in 0..5 {
        api.post(&path, json!({"reboot": {}})).await;
    }
    let mut times = Vec::new();
    let mut token = String::new();
    loop {
        let (_, page) = api
            .get(&format!("{path}?pageSize=2&pageToken={token}"))
            .await;
        times.extend(
            page["operations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|operation| operation["createTime"].as_str().unwrap().to_owned()),
        );
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        // One more while somebody leafs through does not come between.
        api.post(&path, json!({"reboot": {}})).await;
    }
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_results_is_shorter() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    for _ in 0..5 {
        let (_, operation) = api.post(&path, json!({"getRpcMethods": {}})).await;
        let result = OperationResult {
            raw_xml: Some("x".repeat(3 << 20)),
            ..OperationResult::default()
        };
        let row = Progress {
            state: State::Succeeded.into(),
            result: Some(result),
            ..Progress::default()
        };
        progress(&api, &id_of(&operation), row).await;
    }

    let (_, first) = api.get(&path).await;
    assert_eq!(first["operations"].as_array().unwrap().len(), 3);
    let (_, second) = api
        .get(&format!(
            "{path}?pageToken={}",
            first["nextPageToken"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (
            second["operations"].as_array().unwrap().len(),
            &second["nextPageToken"]
        ),
        (2, &json!(""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_without_a_url_come_to_platen() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let (_, operation) = api
        .post(&path, json!({"upload": {"fileType": "2 Vendor Log File"}}))
        .await;
    assert_eq!(
        operation["request"]["upload"]["url"], "",
        "the grant is the device's, not the reader's"
    );

    let queue = api.queue(&device).await;
    let Some(Action::Upload(upload)) = &queue[0].request.as_ref().unwrap().action else {
        panic!("no upload")
    };
    let parts: Vec<&str> = upload.url.split('/').collect();
    let ["", "files", TENANT, token, "upload"] = parts[..] else {
        panic!("{}", upload.url)
    };
    let grant = FileGrant::decode(&api.keys.verify("file", token).unwrap()[..]).unwrap();
    assert_eq!(
        (grant.object, grant.write, grant.tenant.as_str()),
        (format!("uploads/{}", queue[0].id), true, TENANT)
    );
    assert_eq!(upload.command_key, queue[0].id);

    let content = format!("/v1/{}:content", operation["name"].as_str().unwrap());
    let (status, problem) = api.get(&content).await;
    assert_eq!((status, &problem["code"]), (400, &json!("UPLOAD_MISSING")));
    std::fs::create_dir_all(api.files().join("uploads/default")).unwrap();
    std::fs::write(
        api.files().join("uploads/default").join(&queue[0].id),
        "<script>",
    )
    .unwrap();
    let response = api
        .request(http::Method::GET, &content, &api.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["content-type"]
        ),
        (200, &"application/octet-stream".parse().unwrap())
    );
    assert!(
        response.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    assert_eq!(response.text().await.unwrap(), "<script>");
    let viewer = api.token(TENANT, "VIEWER").await;
    assert_eq!(
        api.call_as(&viewer, http::Method::GET, &content, None)
            .await
            .0,
        403
    );
    assert_eq!(
        api.call_as(&api.admin, http::Method::PUT, &content, None)
            .await
            .0,
        405
    );
    let (_, reboot) = api.post(&path, json!({"reboot": {}})).await;
    assert_eq!(
        api.get(&format!("/v1/{}:content", reboot["name"].as_str().unwrap()))
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_of_artifacts_are_left_to_firmware() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    let download = json!({"download": {"artifact": "tenants/default/artifacts/fw"}});
    let (status, problem) = api.post(&path, download.clone()).await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("operation.download.artifact"))
    );
    api.post(
        "/v1/tenants/default/artifacts",
        json!({"name": "fw", "version": "2"}),
    )
    .await;
    let (status, problem) = api.post(&path, download.clone()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("ARTIFACT_EMPTY")));
    let put = api
        .request(
            http::Method::PUT,
            "/v1/tenants/default/artifacts/fw:content",
            &api.admin,
        )
        .body("bytes")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);

    let (status, operation) = api.post(&path, download).await;
    assert_eq!(
        (status, &operation["request"]["download"]["artifact"]),
        (200, &json!("fw")),
        "{operation}"
    );
    let window = json!({"windowStart": 60, "windowEnd": 3600, "windowMode": "3 When Idle"});
    let schedule = |artifact: &str| json!({"scheduleDownload": {"artifact": artifact, "timeWindows": [window]}});
    let (status, problem) = api.post(&path, schedule("none")).await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("operation.scheduleDownload.artifact"))
    );
    let (status, scheduled) = api.post(&path, schedule("fw")).await;
    assert_eq!(
        (
            status,
            &scheduled["request"]["scheduleDownload"]["artifact"]
        ),
        (200, &json!("fw")),
        "{scheduled}"
    );
    for operation in [&operation, &scheduled] {
        let stored = api
            .store
            .get::<Operations>((TENANT, &id_of(operation)))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.owner, "firmware");
    }
    assert!(api.queue(&device).await.is_empty());

    // Its transfer is known to the device under the attempt's id.
    let attempt = Attempt {
        id: "attempt-1".into(),
        operation: id_of(&operation),
        ..Attempt::default()
    };
    let row = Transfers {
        open: vec![attempt],
        position: 1,
    };
    api.store
        .write(vec![rows::write::<OpenTransfers>(
            (TENANT, &device),
            &row,
            1,
        )])
        .await
        .unwrap();
    let (status, cancel) = api
        .post(
            &path,
            json!({"cancelTransfer": {"operation": operation["name"]}}),
        )
        .await;
    assert_eq!(
        (status, &cancel["request"]["cancelTransfer"]["commandKey"]),
        (200, &json!("attempt-1")),
        "{cancel}"
    );
    let (status, _) = api
        .post(
            &path,
            json!({"cancelTransfer": {"operation": cancel["name"]}}),
        )
        .await;
    assert_eq!(status, 400, "a cancellation is no transfer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnostic_is_left_to_provisioning() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");

    let (status, operation) = api
        .post(
            &path,
            json!({"diagnostic": {"ipPing": {"host": "192.0.2.1", "numberOfRepetitions": 3}}}),
        )
        .await;

    assert_eq!(
        (status, &operation["state"]),
        (200, &json!("QUEUED")),
        "{operation}"
    );
    let stored = api
        .store
        .get::<Operations>((TENANT, &id_of(&operation)))
        .await
        .unwrap()
        .unwrap();
    assert!(stored.once && stored.owner == "provisioning");
    assert!(
        api.queue(&device).await.is_empty(),
        "it takes several commands"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused_before_it_is_queued() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("/v1/tenants/default/devices/{device}/operations");
    for (body, status, field) in [
        (json!({}), 400, json!("operation")),
        (
            json!({"addObject": {"path": "Device.Users.User"}}),
            400,
            json!("operation.addObject.path"),
        ),
        (
            json!({"reboot": {}, "factoryReset": {}}),
            400,
            json!("operation"),
        ),
        (
            json!({"reboot": {"hard": true}}),
            400,
            json!("operation.reboot.hard"),
        ),
    ] {
        let (got, problem) = api.post(&path, body.clone()).await;
        assert_eq!(got, status, "{body} {problem}");
        assert!(
            problem["violations"][0]["field"]
                .as_str()
                .unwrap()
                .starts_with(field.as_str().unwrap()),
            "{problem}"
        );
    }
    assert_eq!(
        api.post(
            "/v1/tenants/default/devices/00D09E-none/operations",
            json!({"reboot": {}})
        )
        .await
        .0,
        404
    );
    assert!(api.queue(&device).await.is_empty());
}
