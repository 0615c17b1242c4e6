//! The whole life of a printer: registered, installed, provisioned, asked, updated, metered, retired.

use crate::{
    printer::Printer,
    server::{Home, Server, eventually},
};
use platen_cwmp::{
    event_code::EventCode,
    rpc::{AcsRequest, ValueType},
};
use platen_swarm::session::Broken;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

pub(crate) const OUI: &str = "00D09E";

/// More sessions than any decision takes.
pub(crate) const SESSIONS: usize = 500;

const MANAGEMENT: &str = "Device.ManagementServer.";
const TOTAL: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";

#[tokio::test]
async fn a_printer_is_managed_from_registration_to_retirement() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let credentials = server.register(OUI, "LaserPro-9", "SN1").await;
    let mut printer = Printer::new(
        OUI,
        "LaserPro-9",
        "SN1",
        server.peer("default", Some(credentials)).await,
    );
    assert_eq!(server.get(&printer.path()).await["state"], "EXPECTED");

    is_provisioned_when_it_is_installed(&server, &mut printer).await;
    does_what_it_is_asked(&server, &mut printer).await;
    takes_firmware(&server, &mut printer).await;
    is_metered(&server, &mut printer).await;
    is_refused_once_retired(&server, &mut printer).await;

    assert!(server.terminate().await.success());
}

/// A profile is in force at the end of the very session in which the printer reports BOOTSTRAP.
async fn is_provisioned_when_it_is_installed(server: &Server, printer: &mut Printer) {
    let interval = format!("{MANAGEMENT}PeriodicInformInterval");
    let profile = json!({
        "name": "tenants/default/profiles/hourly",
        "displayName": "hourly",
        "selector": "device.manufacturer == \"Example\"",
        "settings": [{"path": interval, "value": "3600"}],
    });
    server.post("tenants/default/profiles", profile).await;

    printer
        .call(&[EventCode::Bootstrap, EventCode::Boot])
        .await
        .unwrap();

    assert_eq!(printer.value(&interval), "3600", "{:#?}", printer.asked);
    assert_eq!(
        printer.value(&format!("{MANAGEMENT}ConnectionRequestUsername")),
        printer.id()
    );
    assert!(
        printer
            .value(&format!("{MANAGEMENT}ConnectionRequestPassword"))
            .len()
            >= 16
    );
    let path = printer.path();
    let device = eventually("the device is ACTIVE", async || {
        let device = server.get(&path).await;
        (device["state"] == "ACTIVE").then_some(device)
    })
    .await;
    assert_eq!(device["modelName"], "LaserPro 9");
    assert_eq!(device["softwareVersion"], "1.4");
    assert_eq!(device["rootDataModel"], "Device:2");
    assert_eq!(device["lastEvents"], json!(["0 BOOTSTRAP", "1 BOOT"]));
    assert_eq!(device["online"], true);

    // What it has, it is not given again.
    printer.forget_asked();
    printer.call(&[EventCode::Periodic]).await.unwrap();
    assert_eq!(printer.asked, []);
}

/// Operations of people reach the printer in its next session, with their results.
async fn does_what_it_is_asked(server: &Server, printer: &mut Printer) {
    let asked = |body: Value| ask(server, printer.path(), body);
    let get = asked(json!({"getParameterValues": {"paths": ["Device.DeviceInfo.", "Device.ManagementServer.ParameterKey"]}})).await;
    let set = asked(json!({"setParameterValues": {
        "values": [{"path": format!("{MANAGEMENT}PeriodicInformInterval"), "value": "1800", "type": "xsd:unsignedInt"}],
        "parameterKey": "key-1",
    }}))
    .await;
    let wrong = asked(
        json!({"setParameterValues": {"values": [{"path": "Device.Nonsense", "value": "1"}]}}),
    )
    .await;
    let add = asked(json!({"addObject": {"path": "Device.Users.User."}})).await;
    let reboot = asked(json!({"reboot": {}})).await;
    let (status, _) = server
        .call(Method::DELETE, "tenants/default/profiles/hourly", None)
        .await;
    assert!(status.is_success(), "{status}");

    printer.call(&[EventCode::Periodic]).await.unwrap();

    let get = finished(server, &get).await;
    assert_eq!(get["state"], "SUCCEEDED", "{get}");
    let values = get["result"]["values"].as_array().unwrap();
    let expect =
        json!({"path": "Device.DeviceInfo.ModelName", "value": "LaserPro 9", "type": "xsd:string"});
    assert!(values.contains(&expect), "{get}");
    assert_eq!(values.len(), 5, "{get}");

    let set = finished(server, &set).await;
    assert_eq!(
        (&set["state"], &set["result"]["status"]),
        (&json!("SUCCEEDED"), &json!(0)),
        "{set}"
    );
    assert_eq!(
        printer.value(&format!("{MANAGEMENT}PeriodicInformInterval")),
        "1800"
    );

    let wrong = finished(server, &wrong).await;
    assert_eq!(
        (&wrong["state"], &wrong["error"]["code"]),
        (&json!("FAILED"), &json!("CWMP_FAULT")),
        "{wrong}"
    );
    let fault = &wrong["error"]["cwmpFault"];
    assert_eq!(fault["code"], 9003, "{wrong}");
    assert_eq!(
        fault["parameterFaults"][0]["path"], "Device.Nonsense",
        "{wrong}"
    );
    assert_eq!(fault["parameterFaults"][0]["code"], 9005, "{wrong}");

    let add = finished(server, &add).await;
    assert_eq!(
        (&add["state"], &add["result"]["instanceNumber"]),
        (&json!("SUCCEEDED"), &json!(2)),
        "{add}"
    );

    let reboot = finished(server, &reboot).await;
    assert_eq!(reboot["state"], "SUCCEEDED", "{reboot}");
    let times = printer
        .asked
        .iter()
        .filter(|request| matches!(request, AcsRequest::Reboot(_)))
        .count();
    assert_eq!(times, 1);
}

/// Firmware: offered once, fetched by its link, in force when the printer reports its version.
async fn takes_firmware(server: &Server, printer: &mut Printer) {
    let bytes: Vec<u8> = (0..200_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let artifact = json!({
        "name": "tenants/default/artifacts/laserpro-1.5",
        "version": "1.5",
        "targetFileName": "laserpro.bin",
        "compatibility": {"models": ["LaserPro 9"], "fromVersions": ["1.4"]},
    });
    assert_eq!(
        server.post("tenants/default/artifacts", artifact).await["state"],
        "EMPTY"
    );
    let artifact = server
        .upload(
            "tenants/default/artifacts/laserpro-1.5:content",
            bytes.clone(),
        )
        .await;
    assert_eq!(
        (&artifact["state"], &artifact["sizeBytes"]),
        (&json!("READY"), &json!("200000")),
        "{artifact}"
    );
    let operation = ask(
        server,
        printer.path(),
        json!({"download": {"artifact": "laserpro-1.5"}}),
    )
    .await;

    let download = loop_until_offered(printer).await;

    assert_eq!(download.file_type, "1 Firmware Upgrade Image");
    assert_eq!(download.file_size, 200_000);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let part = http
        .get(&download.url)
        .header(header::RANGE, "bytes=1000-1999")
        .send()
        .await
        .unwrap();
    assert_eq!(
        part.status(),
        StatusCode::PARTIAL_CONTENT,
        "{}",
        download.url
    );
    assert_eq!(part.bytes().await.unwrap(), bytes[1000..2000]);
    let whole = http.get(&download.url).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let forged = download
        .url
        .replacen("/files/default/", "/files/default/A", 1);
    assert!(
        http.get(forged)
            .send()
            .await
            .unwrap()
            .status()
            .is_client_error()
    );

    printer.finish(&download, "1.5").await.unwrap();

    let operation = finished(server, &operation).await;
    assert_eq!(
        (&operation["state"], &operation["result"]["softwareVersion"]),
        (&json!("SUCCEEDED"), &json!("1.5")),
        "{operation}"
    );
    printer.forget_asked();
    printer.call(&[EventCode::Periodic]).await.unwrap();
    assert_eq!(printer.downloads().count(), 0, "it is offered once");
}

/// The firmware service decides upon a notice: the offer is there in one of the next sessions.
async fn loop_until_offered(printer: &mut Printer) -> platen_cwmp::rpc::Download {
    for _ in 0..200 {
        printer.call(&[EventCode::Periodic]).await.unwrap();
        if let Some(download) = printer.downloads().next() {
            return download.clone();
        }
        tokio::task::yield_now().await;
    }
    panic!("no download was offered in 200 sessions")
}

/// Counters become readings, in order, and the ledger proves it.
async fn is_metered(server: &Server, printer: &mut Printer) {
    for total in ["81234", "81240"] {
        printer.set(TOTAL, total, ValueType::UnsignedLong);
        printer.call(&[EventCode::Periodic]).await.unwrap();
    }
    let path = format!("{}/readings?meter=TOTAL", printer.path());
    let readings = eventually("two readings", async || {
        let readings = server.get(&path).await;
        (readings["readings"].as_array().unwrap().len() == 2).then_some(readings)
    })
    .await;
    let newest = &readings["readings"][0];
    assert_eq!(
        (&newest["value"], &newest["unit"], &newest["quality"]),
        (&json!("81240"), &json!("IMPRESSIONS"), &json!("ACTUAL")),
        "{newest}"
    );
    assert_eq!(newest["source"], TOTAL);
    assert_eq!(readings["readings"][1]["value"], "81234");
    let verified = server
        .get(&format!("{}/readings:verify", printer.path()))
        .await;
    assert_eq!(verified["intact"], true, "{verified}");
}

async fn is_refused_once_retired(server: &Server, printer: &mut Printer) {
    let retired = server
        .post(&format!("{}:retire", printer.path()), json!({}))
        .await;
    assert_eq!(retired["state"], "RETIRED");
    // The edge may remember who the printer was for a moment.
    for _ in 0..1_000 {
        if printer.call(&[EventCode::Periodic]).await == Err(Broken::Status(403)) {
            return;
        }
    }
    panic!("a retired printer is still served")
}

/// Creates an operation; its name.
pub(crate) async fn ask(server: &Server, path: String, mut body: Value) -> String {
    // The printer calls by itself: nothing listens behind its connection request URL.
    body["wake"] = json!(false);
    let operation = server.post(&format!("{path}/operations"), body).await;
    assert_eq!(operation["state"], "QUEUED", "{operation}");
    operation["name"].as_str().unwrap().to_owned()
}

/// The operation once it has ended.
pub(crate) async fn finished(server: &Server, name: &str) -> Value {
    eventually("the end of the operation", async || {
        let operation = server.get(&format!("{name}?wait=20s")).await;
        is_over(&operation).then_some(operation)
    })
    .await
}

pub(crate) fn is_over(operation: &Value) -> bool {
    ["SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED"].contains(&operation["state"].as_str().unwrap())
}

/// An object without its empty lists, which the API writes out.
pub(crate) fn without_empty_lists(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| *value != &json!([]))
            .map(|(name, value)| (name.clone(), without_empty_lists(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_empty_lists).collect(),
        other => other.clone(),
    }
}
