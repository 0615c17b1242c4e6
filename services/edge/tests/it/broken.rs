//! Store, cache and log that fail at the worst moment.

use crate::{
    bed::{Bed, Ports},
    wire::{Device, Wire},
};
use platen_cwmp::{
    cpe,
    event_code::EventCode,
    rpc::{CpeResponse, GetParameterValuesResponse, ParameterValue, ValueType},
};
use platen_edge::Config;
use platen_proto::{
    operation::v1::{
        ChangeDuState, DuOperation, GetParameterValues, ParameterValue as Value, Reboot,
        SetParameterValues,
        du_operation::{Install, Operation},
        operation_request::Action,
    },
    report::v1::{command_done::Outcome, report::Body},
    store::v1::{Claim, claim::By},
    topic::Kind,
};
use platen_sessions::watched as cache;
use platen_store::{
    Error,
    rows::Entity,
    table::Table,
    tables::Claims,
    watched::{self, Call, Watch, Watched},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What becomes of an insertion of a claim whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// It counts all the same.
    AfterInsertion,
    /// It never came to be.
    BeforeInsertion,
    /// It never came to be, and nobody can say so.
    AndUnreadable,
}

/// Answers to claims get lost.
#[derive(Debug)]
struct LosesClaims {
    lost: Lost,
    asked: Arc<AtomicUsize>,
}

impl Watch for LosesClaims {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let of_claims = |table: &&'static Table| table.name == Claims::TABLE.name;
        match call.kind {
            watched::Kind::Read if call.tables.iter().any(of_claims) => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if self.lost == Lost::AndUnreadable {
                    return Err(unavailable());
                }
            }
            watched::Kind::Insert if self.lost != Lost::AfterInsertion => return Err(unavailable()),
            _ => {}
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Duration) -> Result<(), Error> {
        match call.kind {
            watched::Kind::Insert => Err(unavailable()),
            _ => Ok(()),
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable("the answer was lost".into())
}

fn reboot(id: &str) -> Action {
    Action::Reboot(Reboot {
        command_key: id.to_owned(),
    })
}

/// A bed whose claims get lost in this way, and how often it was asked whose a claim is.
async fn losing(lost: Lost) -> (Bed, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let bed = Bed::start_with(Config::default(), |ports| Ports {
        tables: Watched::new(
            ports.tables,
            Arc::new(LosesClaims {
                lost,
                asked: counter,
            }),
        ),
        ..ports
    })
    .await;
    bed.register("1", "secret").await;
    (bed, asked)
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_asked_for_and_nothing_is_sent_unless_it_is_ours() {
    for (lost, theirs, is_sent) in [
        (Lost::AfterInsertion, false, true),
        (Lost::AfterInsertion, true, false),
        (Lost::BeforeInsertion, false, false),
        (Lost::AndUnreadable, false, false),
    ] {
        let (bed, asked) = losing(lost).await;
        if theirs {
            let claim = Claim {
                by: By::Session.into(),
                holder: "another session".into(),
                time_us: 1,
            };
            bed.store.claim("default", "op", &claim).await.unwrap();
        }
        bed.enqueue("1", "op", reboot("op"), |_| {}).await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.open(&[EventCode::Periodic]).await;

        let reply = device.post_plain(&[], b"").await.unwrap();

        let case = format!("{lost:?}, theirs: {theirs}");
        assert_eq!(reply.text().contains("Reboot"), is_sent, "{case}");
        assert_eq!(reply.status, if is_sent { 200 } else { 204 }, "{case}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{case}");
        // The next session does not send it either, whoever has it.
        if is_sent {
            let mut device = Device::connect(bed.address, "1", "secret").await;
            device.open(&[EventCode::Periodic]).await;
            assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
        }
    }
}

/// A session cache that can be switched off.
#[derive(Debug, Default)]
struct Switched {
    away: AtomicBool,
    /// What is put back arrives, though nobody hears of it.
    arrives: AtomicBool,
    /// What is put back does not arrive.
    loses: AtomicBool,
}

impl cache::Watch for Switched {
    fn before(&self, call: cache::Call) -> Result<(), platen_sessions::Error> {
        let lost = |what: &str| Err(platen_sessions::Error(what.to_owned()));
        if call == cache::Call::PutBack && self.arrives.load(Ordering::SeqCst) {
            Ok(())
        } else if call == cache::Call::PutBack && self.loses.load(Ordering::SeqCst) {
            lost("the request was lost")
        } else if self.away.load(Ordering::SeqCst) {
            lost("switched off")
        } else {
            Ok(())
        }
    }

    fn after(&self, call: cache::Call, _: Duration) -> Result<(), platen_sessions::Error> {
        if call == cache::Call::PutBack && self.arrives.load(Ordering::SeqCst) {
            return Err(platen_sessions::Error("the answer was lost".into()));
        }
        Ok(())
    }
}

async fn switched() -> (Bed, Arc<Switched>) {
    let cache = Arc::new(Switched::default());
    let given = Arc::clone(&cache);
    let bed = Bed::start_with(Config::default(), |ports| Ports {
        sessions: cache::Watched::new(ports.sessions, given),
        ..ports
    })
    .await;
    bed.register("1", "secret").await;
    (bed, cache)
}

#[tokio::test]
async fn with_the_cache_away_sessions_live_in_the_edges_own_memory() {
    for (first, then) in [(true, true), (true, false)] {
        let (bed, cache) = switched().await;
        bed.enqueue("1", "op", reboot("op"), |_| {}).await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        cache.away.store(first, Ordering::SeqCst);
        let late = call(&mut device).await;
        cache.away.store(then, Ordering::SeqCst);

        let reply = device.post_plain(&[], &late).await.unwrap();

        assert_eq!(reply.status, 204, "away: {first}, then {then}");
        assert_eq!(bed.reports(Kind::Done, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn an_answer_to_a_session_in_a_cache_that_is_away_can_be_sent_again() {
    let (bed, cache) = switched().await;
    // The answer has a name in it that looks like what opens a session.
    let path = "Device.ManagementServer.PeriodicInformInterval";
    let read = GetParameterValues {
        paths: vec![path.into()],
    };
    bed.enqueue("1", "op", Action::GetParameterValues(read), |_| {})
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let value = ParameterValue::new(path, "600", ValueType::UnsignedInt);
    let answer = GetParameterValuesResponse {
        parameters: vec![value],
    };
    let late = answered(&mut device, CpeResponse::GetParameterValues(answer)).await;

    cache.away.store(true, Ordering::SeqCst);
    assert!(device.post_plain(&[], &late).await.is_none(), "no answer");
    device.wire = Wire::connect(bed.address).await;
    assert_eq!(
        device.post_plain(&[], b"").await.unwrap().status,
        204,
        "who has nothing to say is done"
    );

    cache.away.store(false, Ordering::SeqCst);
    assert_eq!(device.post_plain(&[], &late).await.unwrap().status, 204);
    assert_eq!(bed.reports(Kind::Done, 1).await.len(), 1);
}

#[tokio::test]
async fn a_session_that_could_not_be_put_back_goes_on() {
    let (bed, cache) = switched().await;
    bed.enqueue("1", "op", reboot("op"), |_| {}).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    // The cache has it as busy, and stays so.
    cache.loses.store(true, Ordering::SeqCst);
    let late = call(&mut device).await;
    cache.loses.store(false, Ordering::SeqCst);

    let reply = device.post_plain(&[], &late).await.expect("an answer");

    assert_eq!(reply.status, 204);
    assert_eq!(bed.reports(Kind::Done, 1).await.len(), 1);
}

/// Opens a session, gets the command that is queued, and returns the answer to it.
async fn call(device: &mut Device) -> Vec<u8> {
    answered(device, CpeResponse::Reboot).await
}

/// The same, with this answer.
async fn answered(device: &mut Device, answer: CpeResponse) -> Vec<u8> {
    let (mut session, _) = device.open_until_asked().await;
    session.respond(Ok(answer)).unwrap()
}

#[tokio::test]
async fn an_older_copy_of_a_session_never_comes_back() {
    let (bed, cache) = switched().await;
    let mut first = Device::connect(bed.address, "1", "secret").await;
    bed.enqueue("1", "op", reboot("op"), |_| {}).await;
    // The edge does not hear that the session was put back, and keeps a copy.
    cache.arrives.store(true, Ordering::SeqCst);
    let late = call(&mut first).await;
    cache.arrives.store(false, Ordering::SeqCst);

    let mut second = Device::connect(bed.address, "1", "secret").await;
    second.open(&[EventCode::Periodic]).await;
    let reply = first.post_plain(&[], &late).await.unwrap();

    assert_eq!(
        reply.status, 400,
        "the newer session is the device's only one"
    );
    assert_eq!(second.post_plain(&[], b"").await.unwrap().status, 204);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_its_command() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "op", reboot("op"), |_| {}).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;
    assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 200);

    let reply = device.post_plain(&[], b"<no envelope").await.unwrap();

    assert_eq!(reply.status, 400);
    let done = bed.reports(Kind::Done, 1).await;
    assert!(
        matches!(&done[0].body, Some(Body::CommandDone(done)) if done.command == "op" && done.unanswered && matches!(&done.outcome, Some(Outcome::Failed(why)) if why.contains("cannot be read"))),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_large_answer_is_reported_in_parts_and_whole() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let all = GetParameterValues {
        paths: vec!["Device.".into()],
    };
    bed.enqueue("1", "read", Action::GetParameterValues(all), |command| {
        command.once = false
    })
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, _) = device.open_until_asked().await;
    // Five megabytes: many small values, and some that nearly fill a part or do not fit into one.
    let told: Vec<(String, String)> = (0..20_000)
        .map(|n| (format!("Device.Small.{n}"), "x".repeat(n % 200)))
        .chain(
            [200 << 10, 300 << 10, 512 << 10, 400 << 10]
                .map(|bytes| (format!("Device.Large.{bytes}"), "y".repeat(bytes))),
        )
        .collect();
    let parameters = told
        .iter()
        .map(|(path, value)| ParameterValue::string(path, value))
        .collect();
    let post = session
        .respond(Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse { parameters },
        )))
        .unwrap();
    assert!(post.len() > 5 << 20, "{}", post.len());

    let reply = device.post_plain(&[], &post).await.unwrap();

    assert_eq!(reply.status, 204);
    let mut found = Vec::new();
    let mut parts = 0;
    // As many as there are: the last one says so.
    for count in 1.. {
        let reports = bed.reports(Kind::Done, count).await;
        let Some(end) = reports.iter().position(|report| report.last) else {
            continue;
        };
        for (index, report) in reports.into_iter().take(end + 1).enumerate() {
            assert_eq!(usize::try_from(report.part).unwrap(), index);
            let Some(Body::CommandDone(done)) = report.body else {
                panic!("no CommandDone")
            };
            let Some(Outcome::Result(result)) = done.outcome else {
                panic!("{:?}", done.outcome)
            };
            assert_eq!(done.command, "read");
            let bytes: usize = result
                .values
                .iter()
                .map(|value| value.value.len() + value.path.len())
                .sum();
            assert!(
                bytes <= 256 << 10 || result.values.len() == 1,
                "part {index} has {bytes} bytes"
            );
            found.extend(
                result
                    .values
                    .into_iter()
                    .map(|value| (value.path, value.value)),
            );
            parts = index + 1;
        }
        break;
    }
    assert!(parts > 10, "{parts}");
    assert!(found == told, "what was told is what was reported");
}

#[tokio::test]
async fn a_value_beyond_what_a_record_holds_fails_its_command_and_says_why() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let all = GetParameterValues {
        paths: vec!["Device.".into()],
    };
    bed.enqueue("1", "read", Action::GetParameterValues(all), |_| {})
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, _) = device.open_until_asked().await;
    let parameters = vec![ParameterValue::string("Device.Huge", "x".repeat(600 << 10))];
    let post = session
        .respond(Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse { parameters },
        )))
        .unwrap();

    assert_eq!(device.post_plain(&[], &post).await.unwrap().status, 204);

    let done = bed.reports(Kind::Done, 1).await;
    assert!(
        matches!(&done[0].body, Some(Body::CommandDone(done)) if matches!(&done.outcome, Some(Outcome::Failed(why)) if why.contains("524288"))),
        "a value of 600 KiB is not half a result"
    );
}

#[tokio::test]
async fn no_secret_reaches_the_log_with_an_answer() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let value = |path: &str, value: &str| Value {
        path: path.into(),
        value: value.into(),
        r#type: "xsd:string".into(),
    };
    let set = SetParameterValues {
        values: vec![
            value(
                "Device.ManagementServer.ConnectionRequestPassword",
                "hush-1",
            ),
            value("Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "hush-2"),
            value("Device.WiFi.AccessPoint.1.Security.PreSharedKey", "hush-3"),
            value("Device.DeviceInfo.FriendlyName", "seen"),
        ],
        ..SetParameterValues::default()
    };
    let install = DuOperation {
        operation: Some(Operation::Install(Install {
            url: "http://example.com/a".into(),
            password: "hush-4".into(),
            ..Install::default()
        })),
    };
    let change = ChangeDuState {
        operations: vec![install],
        command_key: "k".into(),
    };
    bed.enqueue("1", "a", Action::SetParameterValues(set), |command| {
        command.priority = 1
    })
    .await;
    bed.enqueue("1", "b", Action::ChangeDuState(change), |_| {})
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, mut reply) = device.open(&[EventCode::Periodic]).await;
    let mut sent = String::new();
    loop {
        sent.push_str(&reply.text());
        let post = match Device::take(&mut session, &reply) {
            cpe::Next::Post(post) => post,
            cpe::Next::Serve(platen_cwmp::rpc::AcsRequest::SetParameterValues(_)) => session
                .respond(Ok(CpeResponse::SetParameterValues(
                    platen_cwmp::rpc::SetParameterValuesResponse::default(),
                )))
                .unwrap(),
            cpe::Next::Serve(_) => session.respond(Ok(CpeResponse::ChangeDuState)).unwrap(),
            cpe::Next::Done => break,
        };
        reply = device.post_plain(&[], &post).await.unwrap();
    }

    for secret in ["hush-1", "hush-2", "hush-3", "hush-4"] {
        assert!(sent.contains(secret), "the device gets {secret}");
    }
    let reports = format!("{:?}", bed.reports(Kind::Done, 2).await);
    assert!(!reports.contains("hush"), "{reports}");
    assert!(reports.contains("seen"), "{reports}");
}
