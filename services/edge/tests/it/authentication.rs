//! Who may open a session, and as whom.

use crate::{bed::Bed, wire::Device};
use platen_cwmp::{
    cpe,
    digest::{Challenge, Client, NonceKey},
    event_code::EventCode,
    soap::Version,
};
use platen_edge::{Config, config::Enrolment};
use platen_proto::{
    operation::v1::{Reboot, operation_request::Action},
    topic::Kind,
};
use std::time::{SystemTime, UNIX_EPOCH};

fn inform(device: &Device) -> Vec<u8> {
    let opening = cpe::Opening {
        inform: device.inform(&[EventCode::Periodic]),
        version: Version::V1_4,
        session_timeout: None,
    };
    cpe::Session::open(opening).unwrap().1
}

#[tokio::test]
async fn the_right_password_opens_and_the_wrong_one_does_not() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;

    let mut good = Device::connect(bed.address, "1", "secret").await;
    assert_eq!(good.open(&[EventCode::Periodic]).await.1.status, 200);

    // An unknown name and a wrong password look the same.
    let mut answers = Vec::new();
    for (serial, password) in [("1", "wrong"), ("2", "secret")] {
        let mut device = Device::connect(bed.address, serial, password).await;
        let reply = device.open(&[EventCode::Periodic]).await.1;
        let names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
        answers.push((reply.status, names, reply.body));
    }
    assert_eq!(answers[0].0, 401);
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn nonces_are_ours_fresh_and_used_once_per_count() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let inform = inform(&device);
    let first = device.post_plain(&[], &inform).await.unwrap();
    assert_eq!(first.status, 401);
    device.challenged(&first);

    let used = device.authorization().unwrap();
    assert_eq!(
        device
            .post_plain(&[("Authorization", &used)], &inform)
            .await
            .unwrap()
            .status,
        200
    );
    let mut thief = Device::connect(bed.address, "1", "").await;
    let again = thief
        .post_plain(&[("Authorization", &used)], &inform)
        .await
        .unwrap();
    assert_eq!(again.status, 401, "a recorded request is worth nothing");
    assert!(
        again
            .header("www-authenticate")
            .unwrap()
            .contains("stale=true")
    );
    let repeated = device
        .post_plain(&[("Authorization", &used)], &inform)
        .await
        .unwrap();
    assert_eq!(
        repeated.status, 200,
        "within its session the device may repeat itself"
    );
    device = Device::connect(bed.address, "1", "secret").await;
    device.challenged(&first);
    device.authorization().unwrap();
    let counted = device.authorization().unwrap();
    assert_eq!(
        device
            .post_plain(&[("Authorization", &counted)], &inform)
            .await
            .unwrap()
            .status,
        200,
        "the next count is good"
    );

    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let ours = NonceKey::new(bed.keys.derive(&[b"edge nonce"]));
    for (nonce, stale) in [
        (ours.issue(now - 3_600, 1, b"default"), true),
        (ours.issue(now, 1, b"other"), false),
        (NonceKey::new([1; 32]).issue(now, 1, b"default"), false),
        ("made up".to_owned(), false),
    ] {
        let challenge = Challenge::new(
            "platen",
            nonce.as_str(),
            platen_cwmp::digest::Algorithm::Md5,
        );
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.digest = Some(Client::new(&device.username, &device.password, challenge));
        let authorization = device.authorization().unwrap();
        let reply = device
            .post_plain(&[("Authorization", &authorization)], &inform)
            .await
            .unwrap();
        assert_eq!(reply.status, 401);
        assert_eq!(
            reply
                .header("www-authenticate")
                .unwrap()
                .contains("stale=true"),
            stale,
            "{nonce}"
        );
    }
}

#[tokio::test]
async fn a_retired_device_gets_403() {
    let bed = Bed::start(Config::default()).await;
    bed.register_as(
        "1",
        "secret",
        |credential| credential.retired = true,
        |row| row.retired = true,
    )
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;

    assert_eq!(device.open(&[EventCode::Periodic]).await.1.status, 403);
    assert_eq!(bed.count_reports().await, 0);
}

#[tokio::test]
async fn strangers_are_refused_or_quarantined() {
    let closed = Bed::start(Config::default()).await;
    let mut stranger = Device::connect(closed.address, "9", "whatever").await;
    assert_eq!(stranger.open(&[EventCode::Bootstrap]).await.1.status, 401);

    let open = Bed::start(Config {
        enrolment: Enrolment::Quarantine,
        ..Config::default()
    })
    .await;
    open.register("1", "secret").await;
    open.enqueue("9", "op", Action::Reboot(Reboot::default()), |_| {})
        .await;
    let mut stranger = Device::connect(open.address, "9", "whatever").await;
    let (_, reply) = stranger.open(&[EventCode::Bootstrap]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        stranger.post_plain(&[], b"").await.unwrap().status,
        204,
        "and never an RPC"
    );
    let report = &open.reports(Kind::Inform, 1).await[0];
    assert_eq!(
        (report.device.as_str(), report.deciding),
        ("00D09E-Test-9", false)
    );
    assert_eq!(report.quarantine_reason, "not registered");

    // Who could authenticate must.
    let mut known = Device::connect(open.address, "1", "wrong").await;
    let inform = inform(&known);
    assert_eq!(known.post_plain(&[], &inform).await.unwrap().status, 401);
    assert_eq!(known.open(&[EventCode::Periodic]).await.1.status, 401);
}

#[tokio::test]
async fn a_proxy_presents_what_it_may() {
    let bed = Bed::start(Config::default()).await;
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
    bed.register("V9", "own").await;
    for (serial, reason) in [
        ("V1", ""),
        ("X1", "presented by 00D09E-Test-P, which may not present it"),
        (
            "V9",
            "presented by 00D09E-Test-P, but it has credentials of its own",
        ),
    ] {
        let mut reports = bed.follow().await;
        let mut device = Device::connect(bed.address, serial, "secret").await;
        device.username = "00D09E-Test-P".into();
        let (_, reply) = device.open(&[EventCode::Boot]).await;
        assert_eq!(reply.status, 200, "{serial}");
        let record = reports.next(1).await.unwrap().remove(0);
        let report = record.report().unwrap();
        assert_eq!(
            (report.via.as_str(), report.quarantine_reason.as_str()),
            ("00D09E-Test-P", reason),
            "{serial}"
        );
        assert_eq!(report.device, format!("00D09E-Test-{serial}"));
    }
}

#[tokio::test]
async fn a_claim_to_be_somebody_else_leaves_their_session_alone() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "one").await;
    bed.register_as("2", "two", |credential| credential.may_proxy = true, |_| {})
        .await;
    let mut victim = Device::connect(bed.address, "1", "one").await;
    victim.open(&[EventCode::Periodic]).await;

    let mut liar = Device::connect(bed.address, "1", "two").await;
    liar.username = "00D09E-Test-2".into();
    assert_eq!(liar.open(&[EventCode::Periodic]).await.1.status, 200);
    assert_eq!(liar.post_plain(&[], b"").await.unwrap().status, 204);

    let request = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:GetRPCMethods/></s:Body></s:Envelope>";
    assert_eq!(
        victim.post_plain(&[], request).await.unwrap().status,
        200,
        "the session is still there"
    );
}

#[tokio::test]
async fn a_stranger_takes_no_device_away_from_its_proxy() {
    let bed = Bed::start(Config {
        enrolment: Enrolment::Quarantine,
        ..Config::default()
    })
    .await;
    bed.register_as(
        "P",
        "secret",
        |credential| credential.may_proxy = true,
        |_| {},
    )
    .await;
    let mut presented = Device::connect(bed.address, "V1", "secret").await;
    presented.username = "00D09E-Test-P".into();
    let inform = inform(&presented);
    // It asks for the challenge itself: strangers are welcome.
    presented.digest = Some(challenge(&bed).await);
    let authorization = presented.authorization().unwrap();
    let opened = presented
        .post_plain(&[("Authorization", &authorization)], &inform)
        .await
        .unwrap();
    assert_eq!(opened.status, 200);

    // Before inventory has seen the device: the stranger is let in, beside the device's own session.
    let mut stranger = Device::connect(bed.address, "V1", "whatever").await;
    assert_eq!(stranger.post_plain(&[], &inform).await.unwrap().status, 200);
    assert_eq!(stranger.post_plain(&[], b"").await.unwrap().status, 204);
    let request = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:GetRPCMethods/></s:Body></s:Envelope>";
    assert_eq!(
        presented.post_plain(&[], request).await.unwrap().status,
        200,
        "the proxy's session is still there"
    );

    // From then on whoever speaks for it must say who they are.
    let observed = platen_proto::store::v1::Observed {
        tenant: "default".into(),
        device: "00D09E-Test-V1".into(),
        proxied_by: "00D09E-Test-P".into(),
        ..Default::default()
    };
    let row = platen_store::rows::write::<platen_store::tables::ObservedDevices>(
        ("default", "00D09E-Test-V1"),
        &observed,
        1,
    );
    bed.store.write(vec![row]).await.unwrap();
    let mut stranger = Device::connect(bed.address, "V1", "whatever").await;
    assert_eq!(stranger.post_plain(&[], &inform).await.unwrap().status, 401);
}

/// A digest of the proxy `P`, upon a challenge that a wrong password has brought.
async fn challenge(bed: &Bed) -> platen_cwmp::digest::Client {
    let mut wrong = Device::connect(bed.address, "P", "secret").await;
    let inform = inform(&wrong);
    let reply = wrong.post_plain(&[], &inform).await.unwrap();
    assert_eq!(reply.status, 401);
    wrong.challenged(&reply);
    wrong.digest.take().unwrap()
}

#[tokio::test]
async fn a_stolen_cookie_is_worth_nothing_to_others() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "one").await;
    bed.register("2", "two").await;
    let mut victim = Device::connect(bed.address, "1", "one").await;
    victim.open(&[EventCode::Periodic]).await;
    let mut thief = Device::connect(bed.address, "2", "two").await;
    let challenge = thief.post_plain(&[], &inform(&victim)).await.unwrap();
    thief.challenged(&challenge);
    let authorization = thief.authorization().unwrap();
    thief.cookie = victim.cookie.clone();

    let stolen = thief
        .post_plain(&[("Authorization", &authorization)], b"")
        .await
        .unwrap();

    assert_eq!(stolen.status, 401);
    let own = victim.authorization().unwrap();
    let reply = victim
        .post_plain(&[("Authorization", &own)], b"")
        .await
        .unwrap();
    assert_eq!(reply.status, 204, "the owner's session went on");
    assert!(
        bed.metrics
            .text()
            .unwrap()
            .contains("platen_auth_attempt_total{outcome=\"foreign_cookie\"} 1")
    );
}

#[tokio::test]
async fn failures_are_limited() {
    let mut config = Config::default();
    config.limits.failures_per_user = 2;
    let bed = Bed::start(config).await;
    bed.register("1", "secret").await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut device = Device::connect(bed.address, "1", "wrong").await;
        statuses.push(device.open(&[EventCode::Periodic]).await.1.status);
    }
    assert_eq!(statuses, [401, 401, 503]);
    // Another name is not concerned.
    bed.register("2", "two").await;
    assert_eq!(
        Device::connect(bed.address, "2", "two")
            .await
            .open(&[EventCode::Periodic])
            .await
            .1
            .status,
        200
    );
}

#[tokio::test]
async fn a_password_that_was_changed_counts_at_once() {
    use platen_store::{table::Expect, tables::Credentials};
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "old").await;
    assert_eq!(
        Device::connect(bed.address, "1", "old")
            .await
            .open(&[EventCode::Periodic])
            .await
            .1
            .status,
        200
    );

    let id = "00D09E-Test-1";
    let mut row = bed
        .store
        .get_edited::<Credentials>(("default", id))
        .await
        .unwrap()
        .unwrap()
        .value;
    row.password_sealed = bed
        .keys
        .seal(&format!("credential/default/{id}"), b"new")
        .into();
    bed.store
        .compare_and_set::<Credentials>(("default", id), Expect::Any, Some(&row))
        .await
        .unwrap();

    assert_eq!(
        Device::connect(bed.address, "1", "new")
            .await
            .open(&[EventCode::Periodic])
            .await
            .1
            .status,
        200
    );
    assert_eq!(
        Device::connect(bed.address, "1", "old")
            .await
            .open(&[EventCode::Periodic])
            .await
            .1
            .status,
        401
    );
}

#[tokio::test]
async fn an_empty_post_with_the_headers_of_an_envelope_asks_for_the_challenge() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;

    // As libcurl does: the challenge first, the Inform once it can be authorized.
    let probe = device
        .post_plain(&[("Content-Type", "text/xml; charset=utf-8")], b"")
        .await
        .unwrap();
    assert_eq!(probe.status, 401);
    device.challenged(&probe);
    assert_eq!(device.open(&[EventCode::Periodic]).await.1.status, 200);

    let mut silent = Device::connect(bed.address, "1", "secret").await;
    assert_eq!(silent.post_plain(&[], b"").await.unwrap().status, 204);
}
