//! What the server asks a device for, and what becomes of it at the printer.

use platen_cwmp::fault::{Fault, FaultCode};
use platen_cwmp::rpc::*;
use platen_datamodel::snmp::Value;
use platen_proxy::agent::{Access, Agent};
use platen_proxy::proxy;

use crate::acs::TestAcs;
use crate::site::{LOCATION, SERVICE, Site, device, oid, printer};

/// Lets the server ask these in one session, and gives the answers.
async fn ask(agent: &Agent, requests: Vec<AcsRequest>) -> Vec<Result<CpeResponse, Fault>> {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let expected = requests.len();
    for request in requests {
        acs.want(&device("SN0001"), request);
    }
    proxy::run_once(&site.config(&acs, &[agent], ""))
        .await
        .unwrap();
    let answers = acs.answers_of(&device("SN0001"));
    assert_eq!(answers.len(), expected);
    answers
}

async fn writable_printer() -> Agent {
    printer("SN0001", Access::read("public").write("private")).await
}

fn set(parameters: &[(&str, &str)]) -> AcsRequest {
    AcsRequest::SetParameterValues(SetParameterValues {
        parameters: parameters
            .iter()
            .map(|(path, value)| ParameterValue::new(*path, *value, ValueType::Unknown))
            .collect(),
        parameter_key: "key-1".to_owned(),
    })
}

fn get(paths: &[&str]) -> AcsRequest {
    AcsRequest::GetParameterValues(GetParameterValues {
        names: paths.iter().map(|&path| path.to_owned()).collect(),
    })
}

fn values(answer: &Result<CpeResponse, Fault>) -> Vec<(String, String)> {
    match answer {
        Ok(CpeResponse::GetParameterValues(response)) => response
            .parameters
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.value.clone()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn code(answer: &Result<CpeResponse, Fault>) -> u32 {
    match answer {
        Err(fault) => fault.code.0,
        Ok(response) => panic!("{response:?}"),
    }
}

fn parameter_codes(answer: &Result<CpeResponse, Fault>) -> Vec<(String, u32)> {
    match answer {
        Err(fault) => fault
            .parameters
            .iter()
            .map(|fault| (fault.name.clone(), fault.code.0))
            .collect(),
        Ok(response) => panic!("{response:?}"),
    }
}

#[tokio::test]
async fn values_and_names_are_told() {
    let agent = writable_printer().await;
    let location = format!("{SERVICE}Asset.Location");
    let answers = ask(
        &agent,
        vec![
            get(&[&format!("{SERVICE}Supply.1."), &location]),
            get(&["Device.Nothing"]),
            AcsRequest::GetParameterNames(GetParameterNames {
                path: SERVICE.to_owned(),
                next_level: true,
            }),
            AcsRequest::GetParameterNames(GetParameterNames {
                path: location.clone(),
                next_level: true,
            }),
            AcsRequest::GetRpcMethods,
        ],
    )
    .await;

    let values = values(&answers[0]);
    assert!(
        values.contains(&(format!("{SERVICE}Supply.1.CurrentLevel"), "7500".to_owned())),
        "{values:?}"
    );
    assert!(values.contains(&(location, "floor 3".to_owned())));
    assert_eq!(code(&answers[1]), 9005);
    let Ok(CpeResponse::GetParameterNames(names)) = &answers[2] else {
        panic!("{:?}", answers[2])
    };
    let writable = |name: &str| {
        names
            .parameters
            .iter()
            .find(|info| info.name == format!("{SERVICE}{name}"))
            .map(|info| info.writable)
    };
    assert_eq!(
        (writable("Name"), writable("Status"), writable("Supply.")),
        (Some(true), Some(false), Some(false))
    );
    assert!(names.parameters.iter().all(|info| {
        !info
            .name
            .trim_start_matches(SERVICE)
            .trim_end_matches('.')
            .contains('.')
    }));
    assert_eq!(code(&answers[3]), 9003);
    let Ok(CpeResponse::GetRpcMethods(methods)) = &answers[4] else {
        panic!("{:?}", answers[4])
    };
    assert!(methods.methods.contains(&"Reboot".to_owned()));
}

#[tokio::test]
async fn a_value_that_is_set_stands_in_the_printer() {
    let agent = writable_printer().await;
    let (location, name) = (format!("{SERVICE}Asset.Location"), format!("{SERVICE}Name"));
    let answers = ask(
        &agent,
        vec![
            set(&[
                (&location, "floor 4"),
                (&name, "Printer two"),
                ("Device.DeviceInfo.ProvisioningCode", "code"),
            ]),
            get(&[
                &location,
                &name,
                "Device.DeviceInfo.ProvisioningCode",
                "Device.ManagementServer.ParameterKey",
            ]),
        ],
    )
    .await;

    assert_eq!(
        answers[0],
        Ok(CpeResponse::SetParameterValues(
            SetParameterValuesResponse {
                status: Status::Applied
            }
        ))
    );
    assert_eq!(agent.get(&oid(LOCATION)), Some(Value::from("floor 4")));
    assert_eq!(
        agent.get(&oid("1.3.6.1.2.1.43.5.1.1.16.1")),
        Some(Value::from("Printer two"))
    );
    let told: Vec<String> = values(&answers[1])
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(told, ["code", "key-1", "floor 4", "Printer two"]);
}

#[tokio::test]
async fn one_bad_value_leaves_all_as_they_are() {
    let agent = writable_printer().await;
    let (location, status) = (
        format!("{SERVICE}Asset.Location"),
        format!("{SERVICE}Status"),
    );
    let answers = ask(
        &agent,
        vec![
            set(&[
                (&location, "floor 4"),
                (&status, "Enabled"),
                ("Device.Nothing", "1"),
                ("Device.ManagementServer.PeriodicInformInterval", "soon"),
                ("Device.ManagementServer.CWMPRetryMinimumWaitInterval", "0"),
            ]),
            set(&[(&location, "floor 5"), (&location, "floor 6")]),
        ],
    )
    .await;

    assert_eq!(code(&answers[0]), FaultCode::INVALID_ARGUMENTS.0);
    assert_eq!(
        parameter_codes(&answers[0]),
        [
            (status, 9008),
            ("Device.Nothing".to_owned(), 9005),
            (
                "Device.ManagementServer.PeriodicInformInterval".to_owned(),
                9006
            ),
            (
                "Device.ManagementServer.CWMPRetryMinimumWaitInterval".to_owned(),
                9007
            ),
        ]
    );
    assert_eq!(parameter_codes(&answers[1]), [(location, 9003)]);
    assert_eq!(agent.get(&oid(LOCATION)), Some(Value::from("floor 3")));
}

/// The printer takes the first value and refuses the second; the first is put back.
#[tokio::test]
async fn what_the_printer_refuses_takes_back_what_it_took() {
    let agent = writable_printer().await;
    // The tray's media type is not among what this printer lets one write.
    agent.set(
        oid("1.3.6.1.2.1.43.8.2.1.21.1.1"),
        Value::from("stationery"),
    );
    let (location, media) = (
        format!("{SERVICE}Asset.Location"),
        format!("{SERVICE}InputTray.1.MediaType"),
    );

    let answers = ask(
        &agent,
        vec![
            set(&[(&location, "floor 4"), (&media, "envelope")]),
            get(&[&location]),
        ],
    )
    .await;

    assert_eq!(parameter_codes(&answers[0]), [(media, 9008)]);
    assert_eq!(agent.get(&oid(LOCATION)), Some(Value::from("floor 3")));
    assert_eq!(values(&answers[1])[0].1, "floor 3");
}

#[tokio::test]
async fn without_write_access_nothing_of_the_printer_is_writable() {
    let agent = printer("SN0001", Access::read("public").write("another")).await;
    let location = format!("{SERVICE}Asset.Location");

    let answers = ask(&agent, vec![set(&[(&location, "floor 4")])]).await;

    assert!(answers[0].is_err());
    assert_eq!(agent.get(&oid(LOCATION)), Some(Value::from("floor 3")));
}

#[tokio::test]
async fn what_is_not_offered_gets_its_fault() {
    let agent = printer("SN0001", Access::read("public")).await;
    let answers = ask(
        &agent,
        vec![
            AcsRequest::FactoryReset,
            AcsRequest::AddObject(AddObject {
                object_name: "Device.Users.User.".to_owned(),
                ..AddObject::default()
            }),
            AcsRequest::DeleteObject(DeleteObject {
                object_name: format!("{SERVICE}Supply.1."),
                ..DeleteObject::default()
            }),
            AcsRequest::Download(Download {
                file_type: "1 Firmware Upgrade Image".to_owned(),
                url: "http://127.0.0.1/f".to_owned(),
                ..Download::default()
            }),
            AcsRequest::Upload(Upload::default()),
            AcsRequest::ScheduleInform(ScheduleInform::default()),
            AcsRequest::Raw(Raw {
                method: "X_EX_Foo".to_owned(),
                arguments_xml: String::new(),
            }),
        ],
    )
    .await;

    let codes: Vec<u32> = answers.iter().map(code).collect();
    assert_eq!(codes, [9001, 9005, 9005, 9001, 9000, 9003, 9000]);
}

#[tokio::test]
async fn attributes_say_what_is_told_without_asking() {
    let agent = writable_printer().await;
    let (severity, level, operational) = (
        format!("{SERVICE}Alerts.HighestSeverity"),
        format!("{SERVICE}Supply.1.LevelPercent"),
        format!("{SERVICE}OperationalStatus"),
    );
    let attributes = |name: &str, notification| SetAttributes {
        name: name.to_owned(),
        notification_change: true,
        notification,
        ..SetAttributes::default()
    };
    let read = AcsRequest::GetParameterAttributes(GetParameterAttributes {
        names: vec![severity.clone(), level.clone(), operational.clone()],
    });
    let answers = ask(
        &agent,
        vec![
            read.clone(),
            AcsRequest::SetParameterAttributes(SetParameterAttributes {
                parameters: vec![
                    attributes(&level, Notification::Passive),
                    attributes(&operational, Notification::Off),
                ],
            }),
            read,
            AcsRequest::SetParameterAttributes(SetParameterAttributes {
                parameters: vec![attributes(&severity, Notification::Off)],
            }),
        ],
    )
    .await;

    let notifications = |answer: &Result<CpeResponse, Fault>| match answer {
        Ok(CpeResponse::GetParameterAttributes(response)) => response
            .parameters
            .iter()
            .map(|entry| entry.notification)
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    use Notification::{Active, Off, Passive};
    assert_eq!(notifications(&answers[0]), [Active, Active, Off]);
    assert_eq!(notifications(&answers[2]), [Active, Off, Passive]);
    assert_eq!(code(&answers[3]), 9009);
}
