//! Events: lists from the store, streams from the log.

use crate::harness::{Harness, TENANT};
use http::Method;
use platen_proto::{
    event::v1::{
        Event, Inform, Quarantined, WatchEventsRequest, event,
        event_service_client::EventServiceClient,
    },
    operation::v1::ParameterValue,
    report::v1::{CommandDone, report::Body},
    store::v1::Observed,
    topic::{Kind, Topic},
};
use platen_store::{rows, tables::Events};
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

/// 2025-11-23T08:00:00Z
const TIME: i64 = 1_763_884_800_000_000;

fn inform(event: &str) -> Inform {
    let value = ParameterValue {
        path: "Device.DeviceInfo.SoftwareVersion".into(),
        value: "1.4".into(),
        r#type: "xsd:string".into(),
    };
    Inform {
        events: vec![event.into()],
        parameters: vec![value],
        command_keys: vec![String::new()],
        ..Inform::default()
    }
}

/// A stream that is read line by line.
struct Lines {
    response: reqwest::Response,
    buffer: String,
}

impl Lines {
    async fn open(api: &Harness, path: &str, accept: &str) -> Self {
        let response = api
            .request(Method::GET, path, &api.admin)
            .header("accept", accept)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            buffer: String::new(),
        }
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let line = line.to_owned();
                self.buffer = rest.to_owned();
                return line;
            }
            let chunk = self
                .response
                .chunk()
                .await
                .unwrap()
                .expect("the stream goes on");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.next().await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_carries_what_customers_see_of_their_tenant() {
    let api = Harness::start().await;
    api.post("/v1/tenants", json!({"name": "other"})).await;
    let mut lines = Lines::open(
        &api,
        "/v1/tenants/default/events:watch",
        "application/x-ndjson",
    )
    .await;
    assert_eq!(
        lines.response.headers()["content-type"],
        "application/x-ndjson"
    );

    let foreign = Event {
        id: "foreign".into(),
        kind: event::Kind::DeviceOnline.into(),
        ..Event::default()
    };
    api.append_to(
        "other",
        Topic::Changes,
        Kind::Event,
        "00D09E-9",
        "foreign",
        foreign.encode_to_vec(),
    )
    .await;
    api.report(
        Kind::Done,
        "00D09E-1",
        "s-1",
        TIME,
        Body::CommandDone(CommandDone::default()),
    )
    .await;
    api.report(
        Kind::Inform,
        "00D09E-1",
        "s-0",
        TIME,
        Body::Inform(inform("0 BOOTSTRAP")),
    )
    .await;

    let mut first = lines.event().await;
    assert!(!first["cursor"].as_str().unwrap().is_empty());
    first.as_object_mut().unwrap().remove("cursor");
    assert_eq!(
        first,
        json!({"id": "s-0", "time": "2025-11-23T08:00:00Z", "device": "tenants/default/devices/00D09E-1", "kind": "INFORM",
            "inform": {"events": ["0 BOOTSTRAP"], "parameters": [{"path": "Device.DeviceInfo.SoftwareVersion", "value": "1.4", "type": "xsd:string"}],
                "retryCount": 0, "currentTime": "", "commandKeys": [""]}})
    );
    let change = Event {
        id: "c".into(),
        kind: event::Kind::DeviceQuarantined.into(),
        device: "tenants/default/devices/00D09E-1".into(),
        data: Some(event::Data::Quarantined(Quarantined {
            reason: "clone".into(),
        })),
        ..Event::default()
    };
    api.append(
        Topic::Changes,
        Kind::Event,
        "00D09E-1",
        "c",
        change.encode_to_vec(),
    )
    .await;
    let second = lines.event().await;
    assert_eq!(
        (&second["kind"], &second["quarantined"]["reason"]),
        (&json!("DEVICE_QUARANTINED"), &json!("clone"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_without_gap_from_any_cursor() {
    let api = Harness::start().await;
    let mut lines = Lines::open(&api, "/v1/tenants/default/events:watch", "*/*").await;
    for n in 0..20 {
        let body = Body::Inform(inform("2 PERIODIC"));
        api.report(Kind::Inform, "00D09E-1", &format!("r{n}"), TIME + n, body)
            .await;
        if n % 3 == 0 {
            let event = Event {
                id: format!("e{n}"),
                kind: event::Kind::DeviceOnline.into(),
                ..Event::default()
            };
            api.append(
                Topic::Changes,
                Kind::Event,
                "00D09E-1",
                &format!("e{n}"),
                event.encode_to_vec(),
            )
            .await;
        }
    }
    let mut events = Vec::new();
    while events.len() < 27 {
        events.push(lines.event().await);
    }
    drop(lines);
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();

    for seen in [0, 1, 7, 26] {
        let cursor = events[seen]["cursor"].as_str().unwrap();
        let mut resumed = Lines::open(
            &api,
            &format!("/v1/tenants/default/events:watch?cursor={cursor}"),
            "*/*",
        )
        .await;
        api.report(
            Kind::Inform,
            "00D09E-1",
            &format!("last{seen}"),
            TIME,
            Body::Inform(inform("2 PERIODIC")),
        )
        .await;
        let mut rest = std::collections::BTreeSet::new();
        loop {
            let event = resumed.event().await;
            if id(&event) == format!("last{seen}") {
                break;
            }
            assert!(rest.insert(id(&event)), "twice");
        }
        let passed: std::collections::BTreeSet<String> = events[..=seen].iter().map(id).collect();
        let expected: std::collections::BTreeSet<String> = events
            .iter()
            .map(id)
            .filter(|id| !passed.contains(id))
            .collect();
        // Events of topics that were behind may come before `last`, whatever was appended since; nothing that was missed is missing.
        assert!(expected.is_subset(&rest), "{seen}: {expected:?} {rest:?}");
        assert!(rest.is_disjoint(&passed), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_choose_and_wrong_cursors_are_refused() {
    let api = Harness::start().await;
    let mut lines = Lines::open(
        &api,
        "/v1/tenants/default/events:watch?kinds=DEVICE_ONLINE",
        "*/*",
    )
    .await;
    api.report(
        Kind::Inform,
        "00D09E-1",
        "r",
        TIME,
        Body::Inform(inform("2 PERIODIC")),
    )
    .await;
    let event = Event {
        id: "e".into(),
        kind: event::Kind::DeviceOnline.into(),
        ..Event::default()
    };
    api.append(
        Topic::Changes,
        Kind::Event,
        "00D09E-1",
        "e",
        event.encode_to_vec(),
    )
    .await;
    assert_eq!(lines.event().await["id"], "e");

    let (status, problem) = api
        .get("/v1/tenants/default/events:watch?cursor=nonsense")
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("cursor"))
    );
    let (status, problem) = api
        .get("/v1/tenants/default/events:watch?kinds=NOTHING")
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("kinds"))
    );
    assert_eq!(api.get("/v1/tenants/absent/events:watch").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_server_sent_events() {
    let api = Harness::start().await;
    let mut lines = Lines::open(
        &api,
        "/v1/tenants/default/events:watch",
        "text/event-stream",
    )
    .await;
    assert_eq!(
        lines.response.headers()["content-type"],
        "text/event-stream"
    );
    assert_eq!(lines.next().await, ": connected");
    assert_eq!(lines.next().await, "");
    api.report(
        Kind::Inform,
        "00D09E-1",
        "r",
        TIME,
        Body::Inform(inform("2 PERIODIC")),
    )
    .await;

    let id = lines.next().await;
    assert_eq!(lines.next().await, "event: INFORM");
    let data: Value =
        serde_json::from_str(lines.next().await.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(id.strip_prefix("id: ").unwrap(), data["cursor"]);
    assert_eq!(lines.next().await, "");

    // A browser that comes back says where it was in a header, and asks for the URL with which it began.
    drop(lines);
    let body = Body::Inform(inform("1 BOOT"));
    api.report(Kind::Inform, "00D09E-1", "missed", TIME, body)
        .await;
    let response = api
        .request(Method::GET, "/v1/tenants/default/events:watch", &api.admin)
        .header("accept", "text/event-stream")
        .header("last-event-id", data["cursor"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let mut lines = Lines {
        response,
        buffer: String::new(),
    };
    for _ in 0..4 {
        lines.next().await;
    }
    let data: Value =
        serde_json::from_str(lines.next().await.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data["id"], "missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_the_same_events() {
    let api = Harness::start().await;
    let channel = Channel::from_shared(api.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = EventServiceClient::new(channel);
    let mut ask = tonic::Request::new(WatchEventsRequest {
        parent: "tenants/default".into(),
        ..WatchEventsRequest::default()
    });
    ask.metadata_mut().insert(
        "authorization",
        format!("Bearer {}", api.admin).parse().unwrap(),
    );
    let mut stream = client.watch_events(ask).await.unwrap().into_inner();
    api.report(
        Kind::Inform,
        "00D09E-1",
        "r",
        TIME,
        Body::Inform(inform("2 PERIODIC")),
    )
    .await;

    let event = stream.message().await.unwrap().unwrap();
    assert_eq!(
        (event.id.as_str(), event.kind()),
        ("r", event::Kind::Inform)
    );

    api.shutdown.cancel();
    assert_eq!(
        stream.message().await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_newest_first_over_the_months() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    api.observe(Observed {
        tenant: TENANT.into(),
        device: device.clone(),
        oui: "00D09E".into(),
        // 2025-09-15
        first_inform_us: 1_757_894_400_000_000,
        last_inform_us: TIME,
        position: 1,
        ..Observed::default()
    })
    .await;
    for (month, position) in [
        (202_509, 10),
        (202_509, 11),
        (202_511, 12),
        (202_511, 13),
        (202_511, 14),
    ] {
        let kind = if position % 2 == 0 {
            event::Kind::Inform
        } else {
            event::Kind::TransferComplete
        };
        let event = Event {
            id: format!("e{position}"),
            kind: kind.into(),
            time: Some(Timestamp {
                seconds: i64::try_from(position).unwrap(),
                nanos: 0,
            }),
            ..Event::default()
        };
        api.store
            .write(vec![rows::write::<Events>(
                (TENANT, &device, month, position),
                &event,
                position,
            )])
            .await
            .unwrap();
    }
    let path = format!("/v1/tenants/default/devices/{device}/events");
    for page_size in [1, 2, 3, 50] {
        let mut ids = Vec::new();
        let mut token = String::new();
        loop {
            let (status, page) = api
                .get(&format!("{path}?pageSize={page_size}&pageToken={token}"))
                .await;
            assert_eq!(status, 200, "{page}");
            ids.extend(
                page["events"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|event| event["id"].as_str().unwrap().to_owned()),
            );
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(ids, ["e14", "e13", "e12", "e11", "e10"], "{page_size}");
    }
    let (_, page) = api.get(&format!("{path}?kinds=TRANSFER_COMPLETE")).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
}
