//! How the edge ends.

use crate::{
    bed::{Bed, until},
    wire::Device,
};
use platen_cwmp::event_code::EventCode;
use platen_edge::Config;

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
