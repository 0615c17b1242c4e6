//! How sessions go on, are repeated, are replaced, and end.

use crate::{
    bed::{Bed, Ports, until},
    wire::{Device, Wire},
};
use platen_bus::{
    Error,
    watched::{Call, Watch, Watched},
};
use platen_cwmp::{cpe, event_code::EventCode};
use platen_edge::Config;
use platen_proto::{
    operation::v1::{GetParameterNames, operation_request::Action},
    report::v1::report::Body,
    topic::Kind,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[tokio::test]
async fn an_inform_is_on_the_log_before_it_is_answered() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;

    let (mut session, reply) = device.open(&[EventCode::Bootstrap, EventCode::Boot]).await;

    assert_eq!(bed.count_reports().await, 1);
    let report = &bed.reports(Kind::Inform, 1).await[0];
    let Some(Body::Inform(inform)) = &report.body else {
        panic!("{report:?}")
    };
    assert_eq!(inform.events, ["0 BOOTSTRAP", "1 BOOT"]);
    assert_eq!(inform.parameters[0].value, "1.4");
    assert_eq!(
        (
            report.device.as_str(),
            report.manufacturer.as_str(),
            report.ordinal,
            report.last,
            report.deciding
        ),
        ("00D09E-Test-1", "Example", 0, true, true)
    );
    assert_eq!(
        (
            report.cwmp_minor,
            report.peer.as_str(),
            report.session.len()
        ),
        (4, "127.0.0.1", 32)
    );
    // SES-31: short, no attributes that a device could stumble over.
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.len() <= 120 && cookie.ends_with("; HttpOnly"),
        "{cookie}"
    );
    assert!(matches!(Device::take(&mut session, &reply), cpe::Next::Post(post) if post.is_empty()));
}

#[tokio::test]
async fn a_session_goes_on_over_other_connections() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;

    device.wire = Wire::connect(bed.address).await;

    assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
}

#[tokio::test]
async fn a_device_without_cookies_is_known_by_its_connection() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue(
        "1",
        "op",
        Action::GetParameterNames(GetParameterNames::default()),
        |_| {},
    )
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.keeps_cookies = false;
    device.open(&[EventCode::Periodic]).await;
    let reply = device.post_plain(&[], b"").await.unwrap();
    assert!(
        reply.text().contains("GetParameterNames"),
        "{} {}",
        reply.status,
        reply.text()
    );

    // Somebody behind the same connection who knows cookies ends that.
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.keeps_cookies = false;
    device.open(&[EventCode::Periodic]).await;
    let foreign = format!("session={}", "0".repeat(64));
    device
        .post_plain(&[("Cookie", &foreign)], b"")
        .await
        .unwrap();
    assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
    assert_eq!(
        device.post_plain(&[], b"<x/>").await.unwrap().status,
        400,
        "no session"
    );
}

#[tokio::test]
async fn a_device_that_shares_a_connection_with_another_ends_nothing() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "one").await;
    bed.register("2", "two").await;
    let names = Action::GetParameterNames(GetParameterNames::default());
    bed.enqueue("1", "op", names, |_| {}).await;
    let mut first = Device::connect(bed.address, "1", "one").await;
    first.open(&[EventCode::Periodic]).await;
    // A reverse proxy sends the other device's Inform over the connection on which this one has begun its session.
    let mut second = Device::connect(bed.address, "2", "two").await;
    std::mem::swap(&mut first.wire, &mut second.wire);

    let (_, reply) = second.open(&[EventCode::Periodic]).await;

    assert_eq!(reply.status, 200);
    let reply = first.post_plain(&[], b"").await.unwrap();
    assert!(reply.text().contains("GetParameterNames"), "{reply:?}");
    assert_eq!(second.post_plain(&[], b"").await.unwrap().status, 204);
}

#[tokio::test]
async fn a_repeated_post_gets_the_stored_answer() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue(
        "1",
        "op",
        Action::GetParameterNames(GetParameterNames::default()),
        |_| {},
    )
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;
    let first = device.post_plain(&[], b"").await.unwrap();
    assert!(first.text().contains("GetParameterNames"));

    device.wire = Wire::connect(bed.address).await;
    let second = device.post_plain(&[], b"").await.unwrap();

    assert_eq!(second.body, first.body);
    assert_eq!(bed.count_reports().await, 1, "the Inform alone");
}

#[tokio::test]
async fn a_busy_session_makes_its_repetition_wait() {
    // The edge lingers after BOOTSTRAP until a decision is marked, so the first POST keeps the session busy for as long as we like.
    let mut config = Config::default();
    config.linger.long = std::time::Duration::from_secs(20);
    let bed = Bed::start(config).await;
    bed.register("1", "secret").await;
    bed.enqueue(
        "1",
        "op",
        Action::GetParameterNames(GetParameterNames::default()),
        |_| {},
    )
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Bootstrap]).await;
    let report = &bed.reports(Kind::Inform, 1).await[0];
    let mut second = Device::connect(bed.address, "1", "secret").await;
    second.cookie.clone_from(&device.cookie);

    let first = device.post_plain(&[], b"");
    let repeated = second.post_plain(&[], b"");
    let decided = async {
        // Marked once one of the two has taken the session.
        let hash = device_hash(&report.device);
        until(async || bed.sessions.look(hash).await.unwrap() == platen_sessions::Presence::Busy)
            .await;
        bed.marks.mark(&report.session, 0).await.unwrap();
    };
    let (first, repeated, ()) = tokio::join!(first, repeated, decided);

    let (first, repeated) = (first.unwrap(), repeated.unwrap());
    assert!(
        first.text().contains("GetParameterNames"),
        "{}",
        first.status
    );
    assert_eq!(repeated.body, first.body);
    assert_eq!(bed.count_reports().await, 1);
}

/// Under which name the session cache knows a device of the tenant `default`.
pub(crate) fn device_hash(device: &str) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest([b"default\0", device.as_bytes()].concat());
    hash[..16].try_into().unwrap()
}

#[tokio::test]
async fn a_new_inform_replaces_the_session() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut old = Device::connect(bed.address, "1", "secret").await;
    old.open(&[EventCode::Periodic]).await;

    let mut new = Device::connect(bed.address, "1", "secret").await;
    let (_, opened) = new.open(&[EventCode::Boot]).await;

    assert_eq!(opened.status, 200);
    let late = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:GetRPCMethods/></s:Body></s:Envelope>";
    assert_eq!(
        old.post_plain(&[], late).await.unwrap().status,
        400,
        "the late POST of the older session"
    );
    assert_eq!(new.post_plain(&[], late).await.unwrap().status, 200);

    // Within its own session, with its cookie, a device may begin again, too.
    let (_, again) = new.open(&[EventCode::Boot]).await;
    assert_eq!(again.status, 200);
    assert_eq!(new.post_plain(&[], b"").await.unwrap().status, 204);
}

/// A log that refuses appends once it has taken `left` of them.
#[derive(Debug)]
struct Failing {
    left: AtomicUsize,
}

impl Watch for Failing {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let Call::Append(_) = call else { return Ok(()) };
        let taken = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if taken.is_err() {
            return Err(Error::Unavailable("as the test wants it".into()));
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_the_log_refuses_is_not_acknowledged() {
    let failing = |left| {
        move |ports: Ports| Ports {
            log: Watched::new(
                ports.log,
                Arc::new(Failing {
                    left: AtomicUsize::new(left),
                }),
            ),
            ..ports
        }
    };

    let bed = Bed::start_with(Config::default(), failing(0)).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (_, reply) = device.open(&[EventCode::Periodic]).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);

    let bed = Bed::start_with(Config::default(), failing(1)).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    assert_eq!(
        device.open(&[EventCode::TransferComplete]).await.1.status,
        200
    );
    let transfer = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:TransferComplete><CommandKey>k</CommandKey></c:TransferComplete></s:Body></s:Envelope>";
    assert_eq!(
        device.post_plain(&[], transfer).await,
        None,
        "closed without an answer"
    );
    device.wire = Wire::connect(bed.address).await;
    assert_eq!(
        device.post_plain(&[], transfer).await.unwrap().status,
        400,
        "and the session is gone"
    );
}
