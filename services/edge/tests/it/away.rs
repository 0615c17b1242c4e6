//! What goes on while the store or the log is away, and comes back by itself.

use crate::{
    bed::{Bed, Ports, until},
    wire::{Device, Reply, Wire},
};
use bytes::Bytes;
use platen_bus::{
    NewRecord,
    watched::{self, Call},
};
use platen_cwmp::event_code::EventCode;
use platen_edge::Config;
use platen_proto::{
    operation::v1::{Reboot, operation_request::Action},
    topic::{Kind, Topic},
};
use platen_store::Error;
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    There,
    Refuses,
    Hangs,
}

/// Switches tables, or a log, off and on.
#[derive(Debug, Default)]
struct Switch(AtomicU8);

impl Switch {
    fn turn(&self, state: State) {
        self.0.store(state as u8, Ordering::SeqCst);
    }

    async fn pass<E>(&self, error: impl FnOnce(String) -> E) -> Result<(), E> {
        match self.0.load(Ordering::SeqCst) {
            state if state == State::Refuses as u8 => Err(error("switched off".into())),
            state if state == State::Hangs as u8 => pending().await,
            _ => Ok(()),
        }
    }
}

impl watched::Watch for Switch {
    async fn before(&self, call: Call<'_>) -> Result<(), platen_bus::Error> {
        match call {
            // Members and followers that are there go on.
            Call::Commit | Call::Next => Ok(()),
            Call::Append(_) | Call::Other => self.pass(platen_bus::Error::Unavailable).await,
        }
    }
}

impl platen_store::watched::Watch for Switch {
    async fn before(&self, _: platen_store::watched::Call<'_>) -> Result<(), Error> {
        self.pass(Error::Unavailable).await
    }
}

/// Tells when the edge waits for changes of devices: whatever it reads from then on is believed.
#[derive(Debug, Default)]
struct Follows(Notify);

impl watched::Watch for Follows {
    async fn before(&self, call: Call<'_>) -> Result<(), platen_bus::Error> {
        if matches!(call, Call::Next) {
            self.0.notify_one();
        }
        Ok(())
    }
}

/// An edge whose store can be switched off, and which looks credentials up anew whenever it can.
async fn bed() -> (Bed, Arc<Switch>) {
    let mut config = Config::default();
    config.auth.cache = Duration::ZERO;
    let state = Arc::new(Switch::default());
    let follows = Arc::new(Follows::default());
    let (given, told) = (Arc::clone(&state), Arc::clone(&follows));
    let bed = Bed::start_with(config, |ports| Ports {
        tables: platen_store::watched::Watched::new(ports.tables, given),
        log: watched::Watched::new(ports.log, told),
        ..ports
    })
    .await;
    follows.0.notified().await;
    (bed, state)
}

fn is_ready(bed: &Bed) -> bool {
    bed.health.reasons().is_empty()
}

/// One whole session without anything to do: the answers to Inform and empty POST.
async fn session(bed: &Bed, serial: &str, username: Option<&str>) -> (Reply, Option<Reply>) {
    let mut device = Device::connect(bed.address, serial, "secret").await;
    if let Some(username) = username {
        device.username = username.to_owned();
    }
    let (_, opened) = device.open(&[EventCode::Periodic]).await;
    let ended = match opened.status {
        200 => device.post_plain(&[], b"").await,
        _ => None,
    };
    (opened, ended)
}

#[tokio::test]
async fn devices_that_are_remembered_can_report_while_the_store_is_away() {
    for away in [State::Refuses, State::Hangs] {
        let (bed, state) = bed().await;
        bed.register("1", "secret").await;
        bed.register("2", "secret").await;
        assert_eq!(session(&bed, "1", None).await.0.status, 200);
        bed.enqueue("1", "op", Action::Reboot(Reboot::default()), |_| {})
            .await;

        state.turn(away);
        let begun = Instant::now();
        let (opened, ended) = session(&bed, "1", None).await;
        let (refused, _) = session(&bed, "2", None).await;

        assert_eq!(opened.status, 200, "{away:?}");
        assert_eq!(ended.unwrap().status, 204, "no command can be read");
        assert_eq!(refused.status, 503, "nobody knows this one");
        assert!(refused.header("retry-after").is_some());
        assert!(begun.elapsed() < Duration::from_secs(15), "in time");
        assert_eq!(bed.reports(Kind::Inform, 2).await.len(), 2);
        assert!(is_ready(&bed), "it has something to do");

        state.turn(State::There);
        // It is noticed by itself.
        until(async || session(&bed, "2", None).await.0.status == 200).await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.open(&[EventCode::Periodic]).await;
        let reply = device.post_plain(&[], b"").await.unwrap();
        assert!(reply.text().contains("Reboot"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_wrong_while_the_store_is_away() {
    let (bed, state) = bed().await;
    bed.register("1", "secret").await;
    assert_eq!(session(&bed, "1", None).await.0.status, 200);
    state.turn(State::Refuses);

    let mut guesser = Device::connect(bed.address, "1", "guess").await;
    let (_, reply) = guesser.open(&[EventCode::Periodic]).await;

    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_device_that_was_changed_is_not_let_in_by_what_was_remembered() {
    let (bed, state) = bed().await;
    bed.register("1", "secret").await;
    assert_eq!(session(&bed, "1", None).await.0.status, 200);
    state.turn(State::Refuses);
    assert_eq!(session(&bed, "1", None).await.0.status, 200);

    let changed = || NewRecord {
        topic: Topic::Devices,
        shard: platen_ids::shard("default", "00D09E-Test-1"),
        key: "default/00D09E-Test-1".into(),
        kind: Kind::Device,
        id: crate::bed::rand_name(),
        time_us: 1,
        payload: Bytes::new(),
    };
    bed.log.append(vec![changed()]).await.unwrap();

    until(async || session(&bed, "1", None).await.0.status == 503).await;
}

#[tokio::test]
async fn a_proxys_device_is_remembered_too() {
    let (bed, state) = bed().await;
    bed.register_as(
        "P",
        "secret",
        |credential| {
            credential.may_proxy = true;
            credential.allowed_devices = vec!["00D09E-Test-V*".into()];
        },
        |_| {},
    )
    .await;
    let proxy = Some("00D09E-Test-P");
    assert_eq!(session(&bed, "V1", proxy).await.0.status, 200);
    assert_eq!(
        session(&bed, "X1", proxy).await.0.status,
        200,
        "in quarantine"
    );

    state.turn(State::Refuses);

    assert_eq!(session(&bed, "V1", proxy).await.0.status, 200);
    assert_eq!(session(&bed, "V2", proxy).await.0.status, 503);
    assert_eq!(session(&bed, "X1", proxy).await.0.status, 503);
    let vias: Vec<String> = bed
        .reports(Kind::Inform, 3)
        .await
        .into_iter()
        .map(|report| report.quarantine_reason)
        .collect();
    assert_eq!((vias[0].as_str(), vias[2].as_str()), ("", ""));
}

#[tokio::test]
async fn an_edge_that_has_never_seen_the_store_is_not_ready() {
    let state = Arc::new(Switch::default());
    state.turn(State::Refuses);
    let given = Arc::clone(&state);
    let bed = Bed::start_with(Config::default(), |ports| Ports {
        tables: platen_store::watched::Watched::new(ports.tables, given),
        ..ports
    })
    .await;
    bed.register("1", "secret").await;
    let mut wire = Wire::connect(bed.address).await;
    let reply = wire.request("POST", "/cwmp/default", &[], b"<x/>").await;
    assert_eq!(reply.unwrap().status, 503);
    assert!(!is_ready(&bed));

    state.turn(State::There);

    until(async || session(&bed, "1", None).await.0.status == 200).await;
    assert!(is_ready(&bed));
}

#[tokio::test]
async fn without_the_log_no_session_is_opened_and_no_report_acknowledged() {
    for away in [State::Refuses, State::Hangs] {
        let state = Arc::new(Switch::default());
        let given = Arc::clone(&state);
        let bed = Bed::start_with(Config::default(), |ports| Ports {
            log: watched::Watched::new(ports.log, given),
            ..ports
        })
        .await;
        bed.register("1", "secret").await;
        bed.register("2", "secret").await;
        let mut open = Device::connect(bed.address, "1", "secret").await;
        open.open(&[EventCode::Periodic]).await;
        let mut idle = Device::connect(bed.address, "2", "secret").await;
        idle.open(&[EventCode::Periodic]).await;

        state.turn(away);

        // Once it is noticed, whoever calls is refused before anything is read or asked.
        let begun = Instant::now();
        until(async || !is_ready(&bed)).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{away:?}");
        let mut wire = Wire::connect(bed.address).await;
        let refused = wire
            .request("POST", "/cwmp/default", &[], b"anything")
            .await
            .unwrap();
        assert_eq!(refused.status, 503, "{away:?}");
        assert!(refused.header("retry-after").is_some());
        // A session that has nothing to report ends as ever; one that has is cut, and gone.
        assert_eq!(idle.post_plain(&[], b"").await.unwrap().status, 204);
        let transfer = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:TransferComplete><CommandKey>k</CommandKey></c:TransferComplete></s:Body></s:Envelope>";
        assert_eq!(open.post_plain(&[], transfer).await, None, "{away:?}");

        state.turn(State::There);
        until(async || session(&bed, "2", None).await.0.status == 200).await;
        open.wire = Wire::connect(bed.address).await;
        assert_eq!(open.post_plain(&[], transfer).await.unwrap().status, 400);
    }
}
