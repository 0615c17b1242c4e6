//! Every operation that the API takes, through the real edge: what the device is asked, what it answers, and the shape in which that is shown.

use crate::{
    life::{OUI, SESSIONS, ask, finished, is_over, without_empty_lists},
    printer::Printer,
    server::{Home, Server},
};
use platen_cwmp::{
    event_code::EventCode,
    fault::{FaultCode, FaultStruct},
    rpc::{
        self, AcsRequest, AnyQueuedTransfer, Attributes, CpeRequest, CpeResponse,
        DeleteObjectResponse, DuStateChangeComplete, Event, GetAllQueuedTransfersResponse,
        GetParameterAttributesResponse, GetParameterNamesResponse, GetRpcMethodsResponse,
        Notification, ParameterInfo, Raw, ScheduleDownload, SetAttributes, Status, TransferState,
        TransferStatus,
    },
};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A registered printer that has called once.
async fn installed(server: &Server) -> Printer {
    let credentials = server.register(OUI, "LaserPro-9", "SN1").await;
    let peer = server.peer("default", Some(credentials)).await;
    let mut printer = Printer::new(OUI, "LaserPro-9", "SN1", peer);
    printer.call(&[EventCode::Boot]).await.unwrap();
    printer
}

/// Calls until the printer is asked for something of a kind; that.
async fn asked<T>(printer: &mut Printer, kind: impl Fn(&AcsRequest) -> Option<T>) -> T {
    for _ in 0..SESSIONS {
        printer.call(&[EventCode::Periodic]).await.unwrap();
        if let Some(found) = printer.asked.iter().find_map(&kind) {
            return found;
        }
    }
    panic!("not asked in {SESSIONS} sessions: {:#?}", printer.asked)
}

/// What a result says.
fn said(operation: &Value) -> Value {
    match &operation["result"] {
        Value::Null => json!({}),
        result => without_empty_lists(result),
    }
}

/// The device will report the end of a transfer.
fn pending() -> TransferStatus {
    TransferStatus {
        status: Status::Pending,
        ..TransferStatus::default()
    }
}

/// One operation whose answer is its end: what is asked of Platen, what of the device, the device's answer, the result.
struct Case {
    operation: Value,
    request: AcsRequest,
    answer: CpeResponse,
    result: Value,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let version = "Device.DeviceInfo.SoftwareVersion";
    vec![
        Case {
            operation: json!({"getParameterNames": {"path": "Device.Users.", "nextLevel": true}}),
            request: AcsRequest::GetParameterNames(rpc::GetParameterNames {
                path: "Device.Users.".into(),
                next_level: true,
            }),
            answer: CpeResponse::GetParameterNames(GetParameterNamesResponse {
                parameters: vec![ParameterInfo {
                    name: "Device.Users.User.".into(),
                    writable: true,
                }],
            }),
            result: json!({"names": [{"path": "Device.Users.User.", "writable": true}]}),
        },
        Case {
            operation: json!({"getParameterAttributes": {"paths": [version]}}),
            request: AcsRequest::GetParameterAttributes(rpc::GetParameterAttributes {
                names: vec![version.into()],
            }),
            answer: CpeResponse::GetParameterAttributes(GetParameterAttributesResponse {
                parameters: vec![Attributes {
                    name: version.into(),
                    notification: Notification::Active,
                    access_list: vec!["Subscriber".into()],
                }],
            }),
            result: json!({"attributes": [{"path": version, "notification": 2, "accessList": ["Subscriber"], "changeAccessList": false}]}),
        },
        Case {
            operation: json!({"setParameterAttributes": {"attributes": [{"path": version, "notification": 1}]}}),
            request: AcsRequest::SetParameterAttributes(rpc::SetParameterAttributes {
                parameters: vec![SetAttributes {
                    name: version.into(),
                    notification_change: true,
                    notification: Notification::Passive,
                    access_list_change: false,
                    access_list: Vec::new(),
                }],
            }),
            answer: CpeResponse::SetParameterAttributes,
            result: json!({}),
        },
        Case {
            operation: json!({"deleteObject": {"path": "Device.Users.User.2.", "parameterKey": "k"}}),
            request: AcsRequest::DeleteObject(rpc::DeleteObject {
                object_name: "Device.Users.User.2.".into(),
                parameter_key: "k".into(),
            }),
            answer: CpeResponse::DeleteObject(DeleteObjectResponse {
                status: Status::Pending,
            }),
            result: json!({"status": 1}),
        },
        Case {
            operation: json!({"scheduleInform": {"delaySeconds": 60}}),
            request: AcsRequest::ScheduleInform(rpc::ScheduleInform {
                delay_seconds: 60,
                command_key: OWN_KEY.into(),
            }),
            answer: CpeResponse::ScheduleInform,
            result: json!({}),
        },
        Case {
            operation: json!({"getQueuedTransfers": {}}),
            request: AcsRequest::GetAllQueuedTransfers,
            answer: CpeResponse::GetAllQueuedTransfers(GetAllQueuedTransfersResponse {
                transfers: vec![AnyQueuedTransfer {
                    command_key: "k7".into(),
                    state: TransferState::InProgress,
                    is_download: true,
                    file_type: "1 Firmware Upgrade Image".into(),
                    file_size: 42,
                    target_file_name: "a.bin".into(),
                }],
            }),
            result: json!({"transfers": [{"commandKey": "k7", "state": 2, "isDownload": true, "fileType": "1 Firmware Upgrade Image",
                "fileSize": "42", "targetFileName": "a.bin"}]}),
        },
        Case {
            operation: json!({"getRpcMethods": {}}),
            request: AcsRequest::GetRpcMethods,
            answer: CpeResponse::GetRpcMethods(GetRpcMethodsResponse {
                methods: vec!["GetRPCMethods".into(), "X_EX_Foo".into()],
            }),
            result: json!({"methods": ["GetRPCMethods", "X_EX_Foo"]}),
        },
        Case {
            operation: json!({"raw": {"method": "X_EX_Foo", "argumentsXml": "<Bar>1</Bar>"}}),
            request: AcsRequest::Raw(Raw {
                method: "X_EX_Foo".into(),
                arguments_xml: "<Bar>1</Bar>".into(),
            }),
            answer: CpeResponse::Raw(Raw {
                method: "X_EX_Foo".into(),
                arguments_xml: "<Baz>2</Baz>".into(),
            }),
            result: json!({"rawXml": "<Baz>2</Baz>"}),
        },
        Case {
            operation: json!({"download": {"fileType": "3 Vendor Configuration File", "url": "http://192.0.2.1/c.xml", "targetFileName": "c.xml"}}),
            request: AcsRequest::Download(rpc::Download {
                command_key: OWN_KEY.into(),
                file_type: "3 Vendor Configuration File".into(),
                url: "http://192.0.2.1/c.xml".into(),
                target_file_name: "c.xml".into(),
                ..rpc::Download::default()
            }),
            answer: CpeResponse::Download(TransferStatus {
                status: Status::Applied,
                ..TransferStatus::default()
            }),
            result: json!({"status": 0}),
        },
        Case {
            operation: json!({"factoryReset": {}}),
            request: AcsRequest::FactoryReset,
            answer: CpeResponse::FactoryReset,
            result: json!({}),
        },
    ]
}

/// Stands for the id of the operation itself.
const OWN_KEY: &str = "the operation's id";

/// The request, with the id of its operation where its key stands.
fn with_key(mut request: AcsRequest, id: &str) -> AcsRequest {
    match &mut request {
        AcsRequest::ScheduleInform(rpc::ScheduleInform { command_key, .. })
        | AcsRequest::Download(rpc::Download { command_key, .. }) => id.clone_into(command_key),
        _ => {}
    }
    request
}

fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn an_answer_is_the_end_of_most_operations() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    let cases = cases();
    let mut names = Vec::new();
    let mut requests = Vec::new();
    for case in &cases {
        let name = ask(&server, printer.path(), case.operation.clone()).await;
        requests.push(with_key(case.request.clone(), id_of(&name)));
        names.push(name);
        printer.answers(case.answer.clone());
    }

    printer.forget_asked();
    printer.call(&[EventCode::Periodic]).await.unwrap();

    assert_eq!(
        printer.asked, requests,
        "one session, in the order in which they were asked for"
    );
    for (case, name) in cases.iter().zip(names) {
        let operation = finished(&server, &name).await;
        assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
        assert_eq!(said(&operation), case.result, "{operation}");
    }
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_fault() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    let name = ask(&server, printer.path(), json!({"getQueuedTransfers": {}})).await;

    printer.call(&[EventCode::Periodic]).await.unwrap();

    let operation = finished(&server, &name).await;
    assert_eq!(operation["state"], "FAILED", "{operation}");
    assert_eq!(operation["error"]["code"], "CWMP_FAULT");
    assert_eq!(operation["error"]["cwmpFault"]["code"], 9000);
    assert!(server.terminate().await.success());
}

/// A device refuses a read as a whole for one path that it misses: the others are read all the same, and what it misses is named.
#[tokio::test]
async fn a_read_of_what_is_partly_missing_brings_the_rest() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    let paths: Vec<String> = (0..32)
        .map(|n| format!("Device.X_00D09E_Part.P{n:02}"))
        .collect();
    // So many that the device refuses far more in a row than a session bears of any other fault.
    let (missing, there) = paths.split_at(20);
    for path in there {
        let value = ("1".to_owned(), rpc::ValueType::String);
        printer.parameters.insert(path.clone(), value);
    }
    let read = json!({"getParameterValues": {"paths": paths}});
    let name = ask(&server, printer.path(), read).await;

    printer.forget_asked();
    let mut sessions = 0;
    let operation = loop {
        printer.call(&[EventCode::Periodic]).await.unwrap();
        sessions += 1;
        let operation = server.get(&format!("{name}?wait=1s")).await;
        if is_over(&operation) || sessions == SESSIONS {
            break operation;
        }
    };

    assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    let result = said(&operation);
    let found: Vec<&str> = result["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["path"].as_str().unwrap())
        .collect();
    assert_eq!(found, there);
    assert_eq!(result["absentPaths"], json!(missing));
    // The whole and every part of it that holds something missing, which is halved; and the other halves.
    assert_eq!(printer.asked.len(), 43, "in {sessions} sessions");
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn an_upload_ends_with_its_file_here() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    printer.answers(CpeResponse::Upload(pending()));
    let body = json!({"upload": {"fileType": "2 Vendor Log File"}});
    let name = ask(&server, printer.path(), body).await;
    let upload = asked(&mut printer, |request| match request {
        AcsRequest::Upload(upload) => Some(upload.clone()),
        _ => None,
    })
    .await;
    assert_eq!(
        (&*upload.command_key, &*upload.file_type),
        (id_of(&name), "2 Vendor Log File")
    );

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.put(&upload.url).body("the log").send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    printer
        .end_transfer("Upload", &upload.command_key, None)
        .await
        .unwrap();

    let operation = finished(&server, &name).await;
    assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    let result = &operation["result"];
    assert_eq!(result["status"], 1, "{operation}");
    assert!(result["completeTime"].is_string(), "{operation}");
    assert_eq!(operation["request"]["upload"]["url"], "", "it is a secret");
    let url = format!("http://{}/v1/{name}:content", server.address("api"));
    let content = http.get(url).bearer_auth(server.token()).send().await;
    assert_eq!(content.unwrap().bytes().await.unwrap(), "the log");
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_transfer_is_cancelled_by_its_key() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    printer.answers(CpeResponse::Download(pending()));
    let body = json!({"download": {"fileType": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/f", "delaySeconds": 3_600}});
    let download = ask(&server, printer.path(), body).await;
    printer.call(&[EventCode::Periodic]).await.unwrap();

    printer.answers(CpeResponse::CancelTransfer);
    let body = json!({"cancelTransfer": {"operation": download}});
    let cancel = ask(&server, printer.path(), body).await;
    let key = asked(&mut printer, |request| match request {
        AcsRequest::CancelTransfer(cancel) => Some(cancel.command_key.clone()),
        _ => None,
    })
    .await;

    assert_eq!(key, id_of(&download));
    assert_eq!(finished(&server, &cancel).await["state"], "SUCCEEDED");
    let download = finished(&server, &download).await;
    assert_eq!(download["state"], "CANCELLED", "{download}");
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn deployment_units_end_one_by_one() {
    const KEEP: &str = "00112233-4455-6677-8899-aabbccddeeff";
    const GONE: &str = "ffeeddcc-bbaa-9988-7766-554433221100";
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    let operations = json!([
        {"install": {"url": "http://192.0.2.1/app.pkg", "uuid": KEEP, "executionEnvRef": "Device.SoftwareModules.ExecEnv.1"}},
        {"update": {"uuid": KEEP, "version": "1.0", "url": "http://192.0.2.1/app2.pkg"}},
        {"uninstall": {"uuid": GONE}},
    ]);
    for (fault, state, code) in [
        (None, "SUCCEEDED", Value::Null),
        (
            Some(FaultStruct::new(FaultCode::UNKNOWN_DEPLOYMENT_UNIT)),
            "FAILED",
            json!("CWMP_FAULT"),
        ),
    ] {
        printer.answers(CpeResponse::ChangeDuState);
        let body = json!({"changeDuState": {"operations": operations}});
        let name = ask(&server, printer.path(), body).await;
        printer.forget_asked();
        let change = asked(&mut printer, |request| match request {
            AcsRequest::ChangeDuState(change) => Some(change.clone()),
            _ => None,
        })
        .await;
        assert_eq!(change.command_key, id_of(&name));
        let [
            rpc::Operation::Install(install),
            rpc::Operation::Update(update),
            rpc::Operation::Uninstall(uninstall),
        ] = &change.operations[..]
        else {
            panic!("{change:?}")
        };
        assert_eq!(
            install.execution_env_ref,
            "Device.SoftwareModules.ExecEnv.1"
        );
        assert_eq!((&*update.uuid, &*update.version), (KEEP, "1.0"));
        assert_eq!(uninstall.uuid, GONE);
        assert_eq!(server.get(&name).await["state"], "RUNNING");

        let unit = |uuid: &str, version: &str, state: &str, fault: Option<FaultStruct>| {
            rpc::OperationResult {
                uuid: uuid.into(),
                version: version.into(),
                current_state: state.into(),
                resolved: true,
                fault,
                ..rpc::OperationResult::default()
            }
        };
        let gone = if fault.is_some() {
            "Failed"
        } else {
            "UnInstalled"
        };
        let complete = DuStateChangeComplete {
            results: vec![
                unit(KEEP, "1.0", "Installed", None),
                unit(KEEP, "2.0", "Installed", None),
                unit(GONE, "", gone, fault),
            ],
            command_key: change.command_key.clone(),
        };
        let inform = printer.inform(vec![
            Event::new(EventCode::DuStateChangeComplete),
            Event::method("ChangeDUState", change.command_key.clone()),
        ]);
        let requests = vec![CpeRequest::DuStateChangeComplete(complete)];
        printer.report(inform, requests).await.unwrap();

        let operation = finished(&server, &name).await;
        assert_eq!(operation["state"], state, "{operation}");
        assert_eq!(operation["error"]["code"], code, "{operation}");
        let units = operation["result"]["operations"].as_array().unwrap();
        assert_eq!(units.len(), 3, "{operation}");
        assert_eq!(
            (
                &units[1]["uuid"],
                &units[1]["version"],
                &units[1]["currentState"]
            ),
            (&json!(KEEP), &json!("2.0"), &json!("Installed"))
        );
        assert_eq!(units[2]["currentState"], gone, "{operation}");
    }
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_scheduled_artifact_is_in_force_when_its_version_is_reported() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printer = installed(&server).await;
    let bytes = b"new firmware".to_vec();
    let artifact = json!({"name": "tenants/default/artifacts/laserpro-1.5", "version": "1.5", "compatibility": {"models": ["LaserPro 9"]}});
    server.post("tenants/default/artifacts", artifact).await;
    server
        .upload(
            "tenants/default/artifacts/laserpro-1.5:content",
            bytes.clone(),
        )
        .await;
    printer.answers(CpeResponse::ScheduleDownload);
    let body = json!({"scheduleDownload": {"artifact": "laserpro-1.5", "timeWindows": [
        {"windowStart": 60, "windowEnd": 3_600, "windowMode": "1 At Any Time", "userMessage": "", "maxRetries": -1},
        {"windowStart": 7_200, "windowEnd": 10_800, "windowMode": "3 When Idle", "maxRetries": 2}]}});
    let name = ask(&server, printer.path(), body).await;

    let schedule: ScheduleDownload = asked(&mut printer, |request| match request {
        AcsRequest::ScheduleDownload(schedule) => Some(schedule.clone()),
        _ => None,
    })
    .await;
    let window = |start, end, mode: &str, retries| rpc::TimeWindow {
        window_start: start,
        window_end: end,
        window_mode: mode.into(),
        user_message: String::new(),
        max_retries: retries,
    };
    let windows = [
        window(60, 3_600, "1 At Any Time", -1),
        window(7_200, 10_800, "3 When Idle", 2),
    ];
    assert_eq!(schedule.time_windows, windows);
    assert_eq!(schedule.file_type, "1 Firmware Upgrade Image");
    assert_eq!(schedule.file_size, 12);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let file = http.get(&schedule.url).send().await.unwrap();
    assert_eq!(file.status(), StatusCode::OK);
    assert_eq!(file.bytes().await.unwrap(), bytes);
    assert_eq!(server.get(&name).await["state"], "RUNNING");

    printer
        .end_transfer("ScheduleDownload", &schedule.command_key, Some("1.5"))
        .await
        .unwrap();

    let operation = finished(&server, &name).await;
    assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    assert_eq!(operation["result"]["softwareVersion"], "1.5", "{operation}");
    printer.forget_asked();
    printer.call(&[EventCode::Periodic]).await.unwrap();
    assert_eq!(printer.asked, [], "it is offered once");
    assert!(server.terminate().await.success());
}
