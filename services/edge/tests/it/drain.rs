//! How the edge ends.

use crate::{
    bed::{Bed, Ports, until},
    wire::Device,
};
use platen_cwmp::event_code::EventCode;
use platen_edge::Config;
use platen_sessions::watched::{Watch, Watched};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Others have the same sessions.
#[derive(Debug)]
struct Shared;

impl Watch for Shared {
    fn is_shared(&self) -> bool {
        true
    }
}

fn shared(ports: Ports) -> Ports {
    Ports {
        sessions: Watched::new(ports.sessions, Arc::new(Shared)),
        ..ports
    }
}

#[tokio::test]
async fn open_sessions_finish_and_new_ones_are_refused() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.register("2", "secret").await;
    let mut inside = Device::connect(bed.address, "1", "secret").await;
    inside.open(&[EventCode::Periodic]).await;
    let mut outside = Device::connect(bed.address, "2", "secret").await;

    bed.stop.cancel();
    until(async || bed.health.reasons().contains_key("edge")).await;

    let refused = outside.open(&[EventCode::Periodic]).await.1;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert!(!bed.task.is_finished(), "a session is open");
    assert_eq!(inside.post_plain(&[], b"").await.unwrap().status, 204);
    bed.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_ends_with_its_time() {
    let bed = Bed::start(Config {
        drain: std::time::Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;

    bed.stop.cancel();

    bed.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_edge_beside_others_waits_for_connections_and_until_it_is_no_longer_called() {
    let drain = Duration::from_secs(6);
    let config = Config {
        drain,
        ..Config::default()
    };
    let bed = Bed::start_with(config, shared).await;
    bed.register("1", "secret").await;
    bed.register("2", "secret").await;
    bed.register("3", "secret").await;
    let mut gone = Device::connect(bed.address, "1", "secret").await;
    gone.open(&[EventCode::Periodic]).await;
    drop(gone);
    let mut inside = Device::connect(bed.address, "3", "secret").await;
    inside.open(&[EventCode::Periodic]).await;

    let begun = Instant::now();
    bed.stop.cancel();
    let refused = Device::connect(bed.address, "2", "secret")
        .await
        .open(&[EventCode::Periodic])
        .await
        .1;
    let last = inside.post_plain(&[], b"").await.unwrap();
    assert_eq!(
        (last.status, last.header("connection")),
        (204, Some("close")),
        "its next connection leads elsewhere"
    );
    bed.task.await.unwrap().unwrap();

    let took = begun.elapsed();
    assert_eq!(refused.status, 503, "whoever is led here is told so");
    assert!(took >= drain / 4, "{took:?}");
    assert!(took < drain, "{took:?}: the session goes on elsewhere");
}
