//! What an idle session costs, as the processes themselves count it: the same in both forms.

use crate::{
    life::{OUI, SESSIONS, ask, finished},
    printer::Printer,
    server::{Home, Server, eventually},
};
use platen_cwmp::{event_code::EventCode, rpc::ValueType};
use serde_json::json;
use std::collections::BTreeMap;

const COUNTER: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";

/// Idle sessions that are counted: many more than anything else costs that the test does.
const IDLE: u64 = 100;

/// What the test's other sessions may cost of each kind.
const OTHERS: u64 = IDLE / 2;

/// What was counted, by table, topic, or kind of call.
struct Counted {
    read: BTreeMap<String, u64>,
    written: BTreeMap<String, u64>,
    appended: BTreeMap<String, u64>,
    cache: BTreeMap<String, u64>,
}

impl Counted {
    async fn of(server: &Server) -> Self {
        Self {
            read: server.metric("platen_store_read_total", "table").await,
            written: server
                .metric("platen_store_row_written_total", "table")
                .await,
            appended: server
                .metric("platen_log_record_appended_total", "topic")
                .await,
            cache: server
                .metric("platen_session_cache_call_duration_seconds_count", "call")
                .await,
        }
    }
}

/// For each name how often per idle session, without those that come now and then.
fn per_session(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Vec<(String, u64)> {
    let more = after.iter().map(|(name, count)| {
        let more = count - before.get(name).copied().unwrap_or_default();
        (name.clone(), (more + OTHERS) / IDLE)
    });
    more.filter(|(_, times)| *times > 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_keeps_to_its_budget() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let credentials = server.register(OUI, "LaserPro-9", "SN1").await;
    let peer = server.peer("default", Some(credentials)).await;
    let mut printer = Printer::new(OUI, "LaserPro-9", "SN1", peer);
    let artifact = json!({"name": "tenants/default/artifacts/settings", "fileType": "3 Vendor Configuration File"});
    server.post("tenants/default/artifacts", artifact).await;
    server
        .upload("tenants/default/artifacts/settings:content", vec![7; 100])
        .await;
    printer.call(&[EventCode::Bootstrap]).await.unwrap();
    pass_all(&server, &mut printer, 1).await;

    let before = Counted::of(&server).await;
    for _ in 0..IDLE {
        printer.call(&[EventCode::Periodic]).await.unwrap();
    }
    pass_all(&server, &mut printer, 2).await;
    let after = Counted::of(&server).await;

    let once = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), 1))
            .collect::<Vec<_>>()
    };
    // The walk of the timers is no matter of sessions.
    let others = ["timers", "walked", "topics"];
    let topics = per_session(&before.appended, &after.appended);
    assert_eq!(topics, once(&["platen.reports.v1"]));
    let mut read = per_session(&before.read, &after.read);
    read.retain(|(table, _)| !others.contains(&&**table));
    assert_eq!(read, once(&["queue"]));
    // Informs that are handled together may share the device's row.
    let mut written = per_session(&before.written, &after.written);
    written.retain(|(table, times)| table != "observed" || *times > 1);
    assert_eq!(written, once(&["events"]));
    let cache = per_session(&before.cache, &after.cache);
    assert_eq!(cache, once(&["put", "remove", "take"]));
    assert!(server.terminate().await.success());
}

/// Waits until every service has passed all that the printer has reported: by asking each for something that it does after that.
async fn pass_all(server: &Server, printer: &mut Printer, pages: u64) {
    let path = printer.path();
    printer.set(COUNTER, &pages.to_string(), ValueType::UnsignedLong);
    let get = json!({"getParameterValues": {"paths": ["Device.DeviceInfo.SoftwareVersion"]}});
    let get = ask(server, path.clone(), get).await;
    let download = ask(
        server,
        path.clone(),
        json!({"download": {"artifact": "settings"}}),
    )
    .await;
    printer.forget_asked();
    for _ in 0..SESSIONS {
        printer.call(&[EventCode::Periodic]).await.unwrap();
        if printer.downloads().next().is_some() {
            break;
        }
    }
    let command_key = printer.downloads().next().unwrap().command_key.clone();
    printer
        .end_transfer("Download", &command_key, None)
        .await
        .unwrap();
    for name in [get, download] {
        let operation = finished(server, &name).await;
        assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    }
    eventually("the reading and the event", async || {
        let readings = server
            .get(&format!("{path}/readings?meter=TOTAL&pageSize=1"))
            .await;
        let read = readings["readings"][0]["value"] == json!(pages.to_string());
        // Of the session in which the download came to its end, the last one.
        let informs = server.informs(&path).await;
        let is_last = informs[0]["events"]
            .to_string()
            .contains("7 TRANSFER COMPLETE");
        (read && is_last).then_some(())
    })
    .await;
}
