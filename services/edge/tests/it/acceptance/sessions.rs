//! Sessions over connections and nodes: replay, replacement, theft, requests of the device, devices
//! behind a proxier.

use crate::{
    bed::{Bed, Ports, until},
    sessions::device_hash,
    wire::{Device, Reply, Wire},
};
use platen_bus::{
    Error,
    watched::{Call, Watch, Watched},
};
use platen_cwmp::{
    cpe,
    date_time::DateTime,
    event_code::EventCode,
    fault::FaultCode,
    rpc::{
        AcsRequest, AcsResponse, Argument, AutonomousTransferComplete, CpeRequest, CpeResponse,
        Event, GetParameterNamesResponse, GetParameterValuesResponse, Inform, Kicked,
        ParameterValue, RequestDownload, TransferComplete, TransferStatus,
    },
    soap::{AcsMessage, Envelope, Version},
};
use platen_edge::Config;
use platen_proto::{
    operation::v1::{
        AddObject, Download, GetParameterNames, GetParameterValues, operation_request::Action,
    },
    report::v1::{Report, command_done::Outcome, report::Body},
    topic::Kind,
};
use platen_sessions::Presence;
use std::{future::pending, mem::swap, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// A session is its cookie's, whichever connection and node a POST comes by (SES-06, SES-35).
#[tokio::test]
async fn at_08_tcp_per_post() {
    let bed = Bed::start(Config::default()).await;
    let other = bed.beside(Config::default(), |ports| ports).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "op", names("Device."), |_| {}).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, inform) = opening(device.inform(&[EventCode::Periodic]));
    let challenge = device.post_plain(&[], &inform).await.unwrap();
    device.challenged(&challenge);
    device.wire = Wire::connect(other).await;
    let authorization = device.authorization().unwrap();
    let mut reply = device
        .post_plain(&[("Authorization", &authorization)], &inform)
        .await
        .expect("an answer to the Inform");
    assert_opened(&reply);

    let mut asked = Vec::new();
    for node in [bed.address, other].into_iter().cycle() {
        let Some(post) = next_post(&mut session, &reply, &mut asked) else {
            break;
        };
        device.wire = Wire::connect(node).await;
        reply = device.post_plain(&[], &post).await.expect("an answer");
    }

    assert_eq!(reply.status, 204, "the session ends well");
    assert_eq!(asked.len(), 1, "the other node has asked: {asked:?}");
    let inform = bed.reports(Kind::Inform, 1).await.remove(0);
    let done = bed.reports(Kind::Done, 1).await.remove(0);
    assert_eq!(
        (done.session.as_str(), done.ordinal),
        (inform.session.as_str(), 1),
        "all of it is one session"
    );
}

/// Two devices whose POSTs a proxy sends by turns over one connection have a session each (SES-36).
#[tokio::test]
async fn at_09_proxy_mux() {
    let bed = Bed::start(Config::default()).await;
    let mut shared = Wire::connect(bed.address).await;
    let mut peers = Vec::new();
    for serial in ["1", "2"] {
        bed.register(serial, "secret").await;
        let object = names(&format!("Device.{serial}."));
        bed.enqueue(serial, &format!("op-{serial}"), object, |_| {})
            .await;
        let mut device = Device::connect(bed.address, serial, "secret").await;
        swap(&mut shared, &mut device.wire);
        let (session, reply) = device.open(&[EventCode::Periodic]).await;
        swap(&mut shared, &mut device.wire);
        assert_opened(&reply);
        peers.push((device, session, reply, Vec::new()));
    }
    assert_ne!(peers[0].0.cookie, peers[1].0.cookie, "distinct cookies");

    // The empty POST of each, then the answer of each.
    for _ in 0..2 {
        for (device, session, reply, asked) in &mut peers {
            let post = next_post(session, reply, asked).expect("the session goes on");
            swap(&mut shared, &mut device.wire);
            *reply = device.post_plain(&[], &post).await.expect("an answer");
            swap(&mut shared, &mut device.wire);
        }
    }

    for (device, _, reply, asked) in &peers {
        let serial = &device.identity.serial_number;
        assert_eq!(reply.status, 204, "the session of {serial} ends well");
        let [AcsRequest::GetParameterNames(get)] = asked.as_slice() else {
            panic!("{serial} was asked {asked:?}")
        };
        assert_eq!(get.path, format!("Device.{serial}."), "no crossing");
    }
    for report in bed.reports(Kind::Done, 2).await {
        assert_eq!(
            command_of(&report),
            format!("op-{}", report.serial_number),
            "no crossing on the log"
        );
    }
}

/// A new Inform replaces the session; the old one's late answer gets 400, no effect (SES-56, 57).
/// Provisioning ends what was asked: its claim is not of the session that now reports (SES-61).
#[tokio::test]
async fn at_14_inform_during_session() {
    for (returns_cookie, path) in [
        (false, "Device.DeviceInfo.UpTime"),
        (true, "Device.DeviceInfo.UpTime"),
        // An answer that looks like an Inform to whoever does not read it.
        (false, "Device.ManagementServer.PeriodicInformInterval"),
    ] {
        let case = format!("{path}, the new Inform has the old cookie: {returns_cookie}");
        let bed = Bed::start(Config::default()).await;
        bed.register("1", "secret").await;
        bed.enqueue("1", "op", values(path), |_| {}).await;
        let mut old = Device::connect(bed.address, "1", "secret").await;
        let (mut session, opened) = old.open(&[EventCode::Periodic]).await;
        let late = asked_once(&mut old, &mut session, &opened).await;

        let mut new = Device::connect(bed.address, "1", "secret").await;
        if returns_cookie {
            new.cookie.clone_from(&old.cookie);
        }
        let (mut session, opened) = new.open(&[EventCode::Periodic]).await;

        assert_opened(&opened);
        assert_ne!(new.cookie, old.cookie, "a session of its own; {case}");
        let reply = old.post_plain(&[], &late).await.expect("an answer");
        assert_eq!(reply.status, 400, "the old session is over; {case}");
        let asked = finish(&mut new, &mut session, opened).await;
        assert!(asked.is_empty(), "it is not asked again: {asked:?}; {case}");
        assert_eq!(
            bed.count_reports().await,
            2,
            "the late answer commits nothing; {case}"
        );
        let informs = bed.reports(Kind::Inform, 2).await;
        let claim = bed.store.claim_of("default", "op").await.unwrap();
        assert_eq!(
            claim.expect("a claim").holder,
            informs[0].session,
            "it was the older session's; {case}"
        );
        assert_ne!(informs[0].session, informs[1].session, "{case}");
    }
}

/// The device that lost our answer gets the same envelope again, on whichever node (SES-60).
#[tokio::test]
async fn at_15_lost_answer_replay() {
    for is_elsewhere in [false, true] {
        let bed = Bed::start(Config::default()).await;
        let other = bed.beside(Config::default(), |ports| ports).await;
        two_additions(&bed).await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.open(&[EventCode::Periodic]).await;
        let lost = device.post_plain(&[], b"").await.expect("an answer").text();
        assert!(
            lost.contains("<ObjectName>Device.A.</ObjectName>"),
            "{lost}"
        );

        device.wire = Wire::connect(if is_elsewhere { other } else { bed.address }).await;
        let again = device.post_plain(&[], b"").await.expect("an answer");

        assert_eq!(again.status, 200, "on another node: {is_elsewhere}");
        assert_eq!(again.text(), lost, "with its ID; elsewhere: {is_elsewhere}");
        assert_eq!(
            bed.store.claim_of("default", "second").await.unwrap(),
            None,
            "no second AddObject was sent; elsewhere: {is_elsewhere}"
        );
    }
}

/// The same where the connection goes while the answer is made: one AddObject (SES-06, SES-60).
#[tokio::test]
async fn at_15_lost_answer_replay_of_one_that_had_not_left() {
    let mut config = Config::default();
    // After BOOTSTRAP the answer waits for a decision: until we mark it.
    config.linger.long = Duration::from_secs(20);
    let bed = Bed::start(config).await;
    two_additions(&bed).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Bootstrap]).await;
    let report = bed.reports(Kind::Inform, 1).await.remove(0);
    let cookie = device.cookie.clone().expect("a cookie");
    let empty = format!(
        "POST /cwmp/default HTTP/1.1\r\nHost: acs\r\nContent-Length: 0\r\nCookie: {cookie}\r\n\r\n"
    );
    device.wire.write(empty.as_bytes()).await;
    let hash = device_hash(&report.device);
    until(async || bed.sessions.look(hash).await.unwrap() == Presence::Busy).await;

    device.wire = Wire::connect(bed.address).await;
    // Once a later connection is served, the edge has seen the end of the first one.
    let mut later = Wire::connect(bed.address).await;
    let reply = later.request("POST", "/cwmp/default", &[], b"").await;
    assert_eq!(reply.expect("an answer").status, 204, "no session");
    bed.marks
        .mark(&report.session, report.ordinal)
        .await
        .unwrap();
    let reply = device.post_plain(&[], b"").await;

    let text = reply.expect("an answer to the repeated POST").text();
    assert!(
        text.contains("<ObjectName>Device.A.</ObjectName>"),
        "{text}"
    );
    assert_eq!(
        bed.store.claim_of("default", "second").await.unwrap(),
        None,
        "no second AddObject was sent"
    );
}

/// What a thief sends with the owner's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theft {
    Nothing,
    OwnersAnswer,
    OwnInform,
    OwnersInform,
    /// Without credentials first, as every device does.
    OwnInformOnceAsked,
}

/// A cookie with another's credentials: 401 or 403, recorded; the owner's session goes on (SES-34).
#[tokio::test]
async fn at_16_cookie_theft() {
    for theft in [
        Theft::Nothing,
        Theft::OwnersAnswer,
        Theft::OwnInform,
        Theft::OwnersInform,
        Theft::OwnInformOnceAsked,
    ] {
        let bed = Bed::start(Config::default()).await;
        bed.register("1", "one").await;
        bed.register("2", "two").await;
        bed.enqueue("1", "op", names("Device."), |_| {}).await;
        let mut owner = Device::connect(bed.address, "1", "one").await;
        let (mut session, opened) = owner.open(&[EventCode::Periodic]).await;
        let answer = asked_once(&mut owner, &mut session, &opened).await;
        let mut thief = Device::connect(bed.address, "2", "two").await;
        let (_, own) = opening(thief.inform(&[EventCode::Periodic]));
        let (_, owners) = opening(owner.inform(&[EventCode::Periodic]));
        let challenge = thief.post_plain(&[], &own).await.unwrap();
        thief.challenged(&challenge);
        thief.cookie.clone_from(&owner.cookie);

        let body = match theft {
            Theft::Nothing => Vec::new(),
            Theft::OwnersAnswer => answer.clone(),
            Theft::OwnInform | Theft::OwnInformOnceAsked => own,
            Theft::OwnersInform => owners,
        };
        let stolen = if theft == Theft::OwnInformOnceAsked {
            thief.post(&body).await
        } else {
            let authorization = thief.authorization().unwrap();
            thief
                .post_plain(&[("Authorization", &authorization)], &body)
                .await
        };

        let stolen = stolen.expect("an answer");
        assert!(
            matches!(stolen.status, 401 | 403),
            "{theft:?} is refused, not answered with {}",
            stolen.status
        );
        assert_eq!(stolen.header("set-cookie"), None, "{theft:?} opens nothing");
        let metrics = bed.metrics.text().unwrap();
        assert!(
            metrics.contains("platen_auth_attempt_total{outcome=\"foreign_cookie\"}"),
            "{theft:?} is on record\n{metrics}"
        );
        let reply = owner.post_plain(&[], &answer).await.expect("an answer");
        assert_eq!(reply.status, 204, "the session outlives {theft:?}");
        let done = bed.reports(Kind::Done, 1).await.remove(0);
        assert_eq!(command_of(&done), "op", "the owner was heard; {theft:?}");
        assert_eq!(bed.count_reports().await, 2, "the thief was not; {theft:?}");
    }
}

/// The device reports before it is asked; then comes the server's work (SES-42, 43, RPC-125, 127).
/// That job K has succeeded is firmware's to say: by the report's key, and that it has no fault.
#[tokio::test]
async fn at_18_cpe_rpc_first() {
    let bed = Bed::start(hasty()).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "op", values("Device.DeviceInfo.UpTime"), |_| {})
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let mut inform = device.inform(&[EventCode::TransferComplete]);
    inform.events.push(Event::method("Download", "K"));
    let (mut session, post) = opening(inform);
    let opened = device.post(&post).await.expect("an answer to the Inform");
    assert_opened(&opened);

    let transfer = CpeRequest::TransferComplete(TransferComplete {
        command_key: "K".into(),
        fault: None,
        start_time: DateTime::from_text("2026-11-23T08:00:00Z"),
        complete_time: DateTime::from_text("2026-11-23T08:01:00Z"),
    });
    let reply = report(&mut device, &mut session, &opened, transfer).await;

    assert_eq!(
        read(&reply, "2"),
        AcsMessage::Response(AcsResponse::TransferComplete),
        "its answer, and no request of ours before the empty POST"
    );
    let asked = finish(&mut device, &mut session, reply).await;
    assert_eq!(asked.len(), 1, "the server's work follows: {asked:?}");
    let informed = bed.reports(Kind::Inform, 1).await.remove(0);
    let Some(Body::Inform(inform)) = &informed.body else {
        panic!("{informed:?}")
    };
    assert_eq!(inform.events, ["7 TRANSFER COMPLETE", "M Download"]);
    assert_eq!(inform.command_keys, ["", "K"], "each beside its event");
    let told = bed.reports(Kind::Transfer, 1).await.remove(0);
    let Some(Body::TransferComplete(transfer)) = &told.body else {
        panic!("{told:?}")
    };
    assert_eq!(
        (transfer.command_key.as_str(), &transfer.fault),
        ("K", &None),
        "job K, without a fault"
    );
    assert_eq!(
        transfer.complete_time.as_ref().map(|time| time.seconds),
        Some(1_795_420_860),
        "when it ended"
    );
    assert!(!transfer.autonomous, "it had been asked for");
    assert_eq!(told.ordinal, 1, "right after the Inform");
}

/// We never hold requests; one more empty POST after the end is told 204 as well (SES-47 to 49).
#[tokio::test]
async fn at_19_hold_requests() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (_, opened) = device.open(&[EventCode::Periodic]).await;
    assert_opened(&opened);
    assert!(!opened.text().contains("HoldRequests"), "never sent");

    for empty in ["the empty POST", "the one after 204"] {
        let reply = tokio::time::timeout(Duration::from_secs(10), device.post_plain(&[], b""))
            .await
            .expect("no hang");
        assert_eq!(reply.expect("an answer").status, 204, "{empty}");
    }

    let metrics = bed.metrics.text().unwrap();
    let finished: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("platen_cwmp_session_finished_total{"))
        .collect();
    assert_eq!(
        finished,
        ["platen_cwmp_session_finished_total{outcome=\"ok\"} 1"],
        "the session is closed once"
    );
}

/// NoMoreRequests and a header that need not be understood change nothing (SES-53, SES-54).
#[tokio::test]
async fn at_20_no_more_requests_and_an_unknown_header() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "op", names("Device."), |_| {}).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, inform) = opening(device.inform(&[EventCode::Periodic]));
    let headers = concat!(
        r#"<cwmp:NoMoreRequests soap-env:mustUnderstand="1">1</cwmp:NoMoreRequests>"#,
        r#"<x:Foo xmlns:x="urn:example:x" soap-env:mustUnderstand="0">bar</x:Foo>"#,
        "</soap-env:Header>"
    );
    let inform = String::from_utf8(inform)
        .unwrap()
        .replace("</soap-env:Header>", headers);
    assert!(inform.contains(headers), "{inform}");

    let reply = device.post(inform.as_bytes()).await.expect("an answer");

    assert_opened(&reply);
    let asked = finish(&mut device, &mut session, reply).await;
    assert_eq!(asked.len(), 1, "it is not the end of the session");
}

/// A method that nobody knows gets fault 8000 within 200, and the session goes on (SES-21, 70, 80).
#[tokio::test]
async fn at_25_unknown_rpc() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, opened) = device.open(&[EventCode::Periodic]).await;

    let reply = device.post_plain(&[], FOO.as_bytes()).await;

    let reply = reply.expect("an answer");
    assert_fault(&reply, "7", FaultCode::ACS_METHOD_NOT_SUPPORTED);
    let asked = finish(&mut device, &mut session, opened).await;
    assert!(asked.is_empty(), "204 at once: {asked:?}");
}

const FOO: &str = concat!(
    r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
    r#" xmlns:cwmp="urn:dslforum-org:cwmp-1-2"><soap-env:Header>"#,
    r#"<cwmp:ID soap-env:mustUnderstand="1">7</cwmp:ID></soap-env:Header>"#,
    "<soap-env:Body><cwmp:Foo/></soap-env:Body></soap-env:Envelope>"
);

/// Kicked, which is not built, gets fault 8000 and harms nobody (RPC-141). The other is always on.
#[tokio::test]
async fn at_26_kicked_with_feature_off() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.register("2", "secret").await;
    bed.enqueue("2", "op", names("Device."), |_| {}).await;
    let mut other = Device::connect(bed.address, "2", "secret").await;
    let (mut others, opened_before) = other.open(&[EventCode::Periodic]).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, opened) = device.open(&[EventCode::Kicked]).await;
    assert_opened(&opened);

    let kicked = CpeRequest::Kicked(Kicked {
        command: "browse".into(),
        referer: "http://www.example.com/".into(),
        argument: "a=b&c".into(),
        next: "http://www.example.com/next".into(),
    });
    let reply = report(&mut device, &mut session, &opened, kicked).await;

    assert_fault(&reply, "2", FaultCode::ACS_METHOD_NOT_SUPPORTED);
    let asked = finish(&mut device, &mut session, reply).await;
    assert!(asked.is_empty(), "its own session goes on: {asked:?}");
    let asked = finish(&mut other, &mut others, opened_before).await;
    assert_eq!(asked.len(), 1, "the other session is alive");
}

/// All M events of an Inform are kept (EVT-03). Provisioning ends their jobs by the report's keys.
#[tokio::test]
async fn at_48_many_m_events() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let mut inform = device.inform(&[EventCode::Boot]);
    inform.events.extend([
        Event::method("Reboot", "k1"),
        Event::method("Reboot", "k2"),
        Event::method("ScheduleInform", "k3"),
    ]);
    let (_, post) = opening(inform);

    let reply = device.post(&post).await.expect("an answer to the Inform");

    assert_opened(&reply);
    let report = bed.reports(Kind::Inform, 1).await.remove(0);
    let Some(Body::Inform(inform)) = &report.body else {
        panic!("{report:?}")
    };
    assert_eq!(
        inform.events,
        ["1 BOOT", "M Reboot", "M Reboot", "M ScheduleInform"],
        "none is lost"
    );
    assert_eq!(
        inform.command_keys,
        ["", "k1", "k2", "k3"],
        "three jobs can be told apart"
    );
}

/// A node that dies on its way to the log, or once the log has taken what it brought.
#[derive(Debug)]
struct Dies {
    has_taken: bool,
    dead: Notify,
}

impl Dies {
    async fn die_if(&self, is_time: bool) {
        if is_time {
            self.dead.notify_one();
            pending::<()>().await;
        }
    }
}

impl Watch for Dies {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let is_append = matches!(call, Call::Append(_));
        self.die_if(is_append && !self.has_taken).await;
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Duration) -> Result<(), Error> {
        let is_append = matches!(call, Call::Append(_));
        self.die_if(is_append && self.has_taken).await;
        Ok(())
    }
}

/// No event is lost with a node (EVT-05). Where the log had it already, inventory keeps one of the
/// two, since their reports agree in identity, time, events and parameters.
#[tokio::test]
async fn at_50_crash_safety() {
    for has_taken in [false, true] {
        let node = Arc::new(Dies {
            has_taken,
            dead: Notify::new(),
        });
        let given = Arc::clone(&node);
        let bed = Bed::start_with(Config::default(), |ports| Ports {
            log: Watched::new(ports.log, given),
            ..ports
        })
        .await;
        let other = bed.beside(Config::default(), |ports| ports).await;
        bed.register("1", "secret").await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let first = Inform {
            current_time: DateTime::from_text("2026-11-23T08:00:00Z"),
            ..device.inform(&[EventCode::ValueChange])
        };
        let retry = Inform {
            retry_count: 1,
            ..first.clone()
        };
        let (_, post) = opening(first);
        tokio::select! {
            reply = device.post(&post) => panic!("a dead node answered: {reply:?}"),
            () = node.dead.notified() => bed.task.abort(),
        }

        device.wire = Wire::connect(other).await;
        let (_, post) = opening(retry);
        let reply = device.post(&post).await.expect("an answer to the retry");

        assert_opened(&reply);
        let expected = if has_taken { 2 } else { 1 };
        assert_eq!(
            bed.count_reports().await,
            expected,
            "what was taken, and the retry; taken: {has_taken}"
        );
        let told: Vec<_> = bed
            .reports(Kind::Inform, expected)
            .await
            .into_iter()
            .map(|report| match report.body {
                Some(Body::Inform(inform)) => (report.device, report.session, inform),
                other => panic!("{other:?}"),
            })
            .collect();
        let (device, session, last) = told.last().unwrap();
        assert_eq!(device, "00D09E-Test-1");
        assert_eq!(last.events, ["4 VALUE CHANGE"]);
        assert_eq!(last.retry_count, 1, "the retry; taken: {has_taken}");
        for (of, earlier, first) in &told[..expected - 1] {
            assert_eq!(
                (of, &first.current_time, &first.events),
                (device, &last.current_time, &last.events),
                "one event, told twice"
            );
            assert_eq!(first.command_keys, last.command_keys);
            assert_eq!(first.parameters, last.parameters);
            assert_eq!(first.retry_count, 0, "the second tells that it is one");
            assert_ne!(earlier, session, "no redelivery, but another session");
        }
    }
}

/// On one connection each Inform is authenticated, and each DeviceId is a device (PXY-11, 16, 17).
/// Inventory shows the relation, by `via` or by the ProxierInfo that the report carries.
#[tokio::test]
async fn at_57_virtual_device() {
    let bed = Bed::start(Config::default()).await;
    bed.register_as(
        "P",
        "proxier",
        |credential| credential.may_proxy = true,
        |_| {},
    )
    .await;
    bed.register("V1", "own").await;
    let mut proxier = Device::connect(bed.address, "P", "proxier").await;
    let (_, opened) = proxier.open(&[EventCode::Periodic]).await;
    assert_opened(&opened);
    assert_eq!(proxier.post_plain(&[], b"").await.unwrap().status, 204);

    // With credentials of its own, and with those of its proxier.
    let printers = [
        ("V1", "00D09E-Test-V1", "own", ""),
        ("V2", "00D09E-Test-P", "proxier", "00D09E-Test-P"),
    ];
    for (serial, username, password, _) in printers {
        let mut printer = Device::connect(bed.address, serial, password).await;
        printer.username = username.to_owned();
        swap(&mut proxier.wire, &mut printer.wire);
        let mut inform = printer.inform(&[EventCode::Boot]);
        inform.parameters.extend(
            [
                ("ManufacturerOUI", "00D09E"),
                ("ProductClass", "Test"),
                ("SerialNumber", "P"),
            ]
            .map(|(name, value)| ParameterValue::string(format!("{PROXIER}{name}"), value)),
        );
        let (_, post) = opening(inform);
        let challenge = printer.post_plain(&[], &post).await.expect("an answer");
        assert_eq!(challenge.status, 401, "{serial} has to prove itself");
        printer.challenged(&challenge);
        let authorization = printer.authorization().unwrap();
        let reply = printer
            .post_plain(&[("Authorization", &authorization)], &post)
            .await
            .expect("an answer to the Inform");
        assert_opened(&reply);
        let reply = printer.post_plain(&[], b"").await.expect("an answer");
        assert_eq!(reply.status, 204, "{serial} has a session of its own");
        swap(&mut proxier.wire, &mut printer.wire);
    }

    let reports = bed.reports(Kind::Inform, 3).await;
    let devices: Vec<&str> = reports.iter().map(|r| r.device.as_str()).collect();
    assert_eq!(
        devices,
        ["00D09E-Test-P", "00D09E-Test-V1", "00D09E-Test-V2"],
        "three devices, none of which turned into another"
    );
    for (report, (serial, _, _, via)) in reports[1..].iter().zip(printers) {
        assert_eq!(
            (report.serial_number.as_str(), report.via.as_str()),
            (serial, via),
            "who it is, and by whose credentials"
        );
        assert_eq!(report.quarantine_reason, "", "{serial} is trusted");
        let Some(Body::Inform(inform)) = &report.body else {
            panic!("{report:?}")
        };
        let info: Vec<&str> = inform
            .parameters
            .iter()
            .filter(|parameter| parameter.path.starts_with(PROXIER))
            .map(|parameter| parameter.value.as_str())
            .collect();
        assert_eq!(info, ["00D09E", "Test", "P"], "whose device {serial} is");
    }
}

const PROXIER: &str = "Device.DeviceInfo.ProxierInfo.";

/// An empty POST in place of a response, after the one replay of SES-60, is an error (RPC-05).
/// Provisioning ends the job by the report, which is `failed` and `unanswered`.
#[tokio::test]
async fn at_60_empty_post_for_a_response() {
    for is_after_response in [true, false] {
        let case = format!("sent upon a response: {is_after_response}");
        let bed = Bed::start(Config::default()).await;
        bed.register("1", "secret").await;
        if is_after_response {
            let first = values("Device.DeviceInfo.UpTime");
            bed.enqueue("1", "before", first, |command| command.priority = 1)
                .await;
        }
        bed.enqueue("1", "op", names("Device."), |_| {}).await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let (mut session, mut reply) = device.open(&[EventCode::Periodic]).await;
        let mut asked = Vec::new();
        while !reply.text().contains("GetParameterNames") {
            let post = next_post(&mut session, &reply, &mut asked).expect("to be asked");
            reply = device.post_plain(&[], &post).await.expect("an answer");
        }

        let mut empty = device.post_plain(&[], b"").await.expect("an answer");
        if !is_after_response {
            assert_eq!(empty.text(), reply.text(), "one replay; {case}");
            empty = device.post_plain(&[], b"").await.expect("an answer");
        }

        assert_eq!(empty.status, 204, "nothing is left to ask; {case}");
        let count = 1 + usize::from(is_after_response);
        let done = bed.reports(Kind::Done, count).await.pop().unwrap();
        let Some(Body::CommandDone(done)) = &done.body else {
            panic!("{done:?}")
        };
        assert_eq!(done.command, "op", "{case}");
        assert!(
            done.unanswered && matches!(done.outcome, Some(Outcome::Failed(_))),
            "an error, and not known what was done: {done:?}; {case}"
        );
        assert_eq!(bed.count_reports().await, 1 + count, "told once; {case}");
        let (_, opened) = device.open(&[EventCode::Periodic]).await;
        assert_opened(&opened);
    }
}

/// AutonomousTransferComplete gets the answer of that name and is reported (RPC-130, RPC-131).
#[tokio::test]
async fn at_63_autonomous_transfer_complete() {
    let bed = Bed::start(hasty()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, opened) = device.open(&[EventCode::AutonomousTransferComplete]).await;
    assert_opened(&opened);

    let transfer = CpeRequest::AutonomousTransferComplete(AutonomousTransferComplete {
        announce_url: "http://files.example.com/".into(),
        transfer_url: "http://files.example.com/fw.bin?a=1&b=2".into(),
        is_download: true,
        file_type: "1 Firmware Upgrade Image".into(),
        file_size: 4_096,
        target_file_name: "fw.bin".into(),
        ..AutonomousTransferComplete::default()
    });
    let reply = report(&mut device, &mut session, &opened, transfer).await;

    assert_eq!(
        read(&reply, "2"),
        AcsMessage::Response(AcsResponse::AutonomousTransferComplete),
        "not TransferCompleteResponse"
    );
    let asked = finish(&mut device, &mut session, reply).await;
    assert!(asked.is_empty(), "then the session ends: {asked:?}");
    let told = bed.reports(Kind::Transfer, 1).await.remove(0);
    let Some(Body::TransferComplete(transfer)) = &told.body else {
        panic!("{told:?}")
    };
    assert!(transfer.autonomous && transfer.is_download, "{transfer:?}");
    assert_eq!(
        (transfer.transfer_url.as_str(), transfer.file_size),
        ("http://files.example.com/fw.bin?a=1&b=2", 4_096),
        "what was fetched"
    );
    assert_eq!(transfer.fault, None, "it succeeded");
}

/// RequestDownload is acknowledged and reported with its arguments (RPC-135). The policy is with
/// whoever reads the report: a Download follows if one is queued upon it, else 204 (RPC-137).
#[tokio::test]
async fn at_64_request_download_on() {
    for is_granted in [true, false] {
        let bed = Bed::start(Config::default()).await;
        bed.register("1", "secret").await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let (mut session, opened) = device.open(&[EventCode::RequestDownload]).await;
        assert_opened(&opened);

        let argument = |number| Argument {
            name: format!("Name{number}"),
            value: format!("a<{number}>&b"),
        };
        let wanted = CpeRequest::RequestDownload(RequestDownload {
            file_type: "1 Firmware Upgrade Image".into(),
            arguments: (1..=16).map(argument).collect(),
        });
        let reply = report(&mut device, &mut session, &opened, wanted).await;

        assert_eq!(
            read(&reply, "2"),
            AcsMessage::Response(AcsResponse::RequestDownload),
            "it is acknowledged"
        );
        let told = bed.reports(Kind::Request, 1).await.remove(0);
        let Some(Body::DeviceRequest(wanted)) = &told.body else {
            panic!("{told:?}")
        };
        assert_eq!(wanted.method, "RequestDownload");
        assert_eq!(
            wanted.arguments["FileType"], "1 Firmware Upgrade Image",
            "what a policy goes by"
        );
        for number in 1..=16 {
            assert_eq!(
                wanted.arguments[&format!("FileTypeArg.Name{number}")],
                format!("a<{number}>&b"),
                "argument {number}"
            );
        }
        if is_granted {
            let download = Action::Download(Download {
                file_type: "1 Firmware Upgrade Image".into(),
                url: "http://files.example.com/fw.bin".into(),
                command_key: "attempt".into(),
                ..Download::default()
            });
            bed.enqueue("1", "attempt", download, |_| {}).await;
        }
        let asked = finish(&mut device, &mut session, reply).await;
        let methods: Vec<&str> = asked.iter().map(AcsRequest::method).collect();
        let expected: &[&str] = if is_granted { &["Download"] } else { &[] };
        assert_eq!(methods, expected, "granted: {is_granted}");
    }
}

/// Two rows to be added, one after the other, and the device that shall have them.
async fn two_additions(bed: &Bed) {
    bed.register("1", "secret").await;
    for (id, path, priority) in [("first", "Device.A.", 1), ("second", "Device.B.", 0)] {
        let add = Action::AddObject(AddObject {
            path: path.to_owned(),
            ..AddObject::default()
        });
        bed.enqueue("1", id, add, |command| command.priority = priority)
            .await;
    }
}

fn names(path: &str) -> Action {
    Action::GetParameterNames(GetParameterNames {
        path: path.to_owned(),
        ..GetParameterNames::default()
    })
}

fn values(path: &str) -> Action {
    Action::GetParameterValues(GetParameterValues {
        paths: vec![path.to_owned()],
    })
}

/// Nobody decides here, so nothing is waited for after a transfer.
fn hasty() -> Config {
    let mut config = Config::default();
    config.linger.long = Duration::ZERO;
    config
}

/// A session with this Inform, and the Inform's bytes.
fn opening(inform: Inform) -> (cpe::Session, Vec<u8>) {
    let opening = cpe::Opening {
        inform,
        version: Version::V1_4,
        session_timeout: None,
    };
    cpe::Session::open(opening).unwrap()
}

/// What the device posts next; what it is asked is noted, and answered. `None`: it is the end.
fn next_post(
    session: &mut cpe::Session,
    reply: &Reply,
    asked: &mut Vec<AcsRequest>,
) -> Option<Vec<u8>> {
    let request = match Device::take(session, reply) {
        cpe::Next::Post(post) => return Some(post),
        cpe::Next::Serve(request) => request,
        cpe::Next::Done => return None,
    };
    let answer = match &request {
        AcsRequest::GetParameterNames(_) => {
            CpeResponse::GetParameterNames(GetParameterNamesResponse::default())
        }
        AcsRequest::GetParameterValues(get) => {
            let parameters = get
                .names
                .iter()
                .map(|name| ParameterValue::string(name, "600"))
                .collect();
            CpeResponse::GetParameterValues(GetParameterValuesResponse { parameters })
        }
        AcsRequest::Download(_) => CpeResponse::Download(TransferStatus::default()),
        other => panic!("{other:?}"),
    };
    asked.push(request);
    Some(session.respond(Ok(answer)).unwrap())
}

/// Follows a session to its end, and says what was asked in it.
async fn finish(
    device: &mut Device,
    session: &mut cpe::Session,
    mut reply: Reply,
) -> Vec<AcsRequest> {
    let mut asked = Vec::new();
    while let Some(post) = next_post(session, &reply, &mut asked) {
        reply = device.post_plain(&[], &post).await.expect("an answer");
    }
    asked
}

/// Brings a session to where something is outstanding, and returns the answer that is due.
async fn asked_once(device: &mut Device, session: &mut cpe::Session, opened: &Reply) -> Vec<u8> {
    let mut asked = Vec::new();
    let empty = next_post(session, opened, &mut asked).expect("the empty POST");
    let reply = device.post_plain(&[], &empty).await.expect("an answer");
    let answer = next_post(session, &reply, &mut asked).expect("a request");
    assert_eq!(asked.len(), 1, "one request is outstanding");
    answer
}

/// Sends a request of the device's own upon the answer to its Inform.
async fn report(
    device: &mut Device,
    session: &mut cpe::Session,
    opened: &Reply,
    request: CpeRequest,
) -> Reply {
    session.push(request);
    let post = next_post(session, opened, &mut Vec::new()).expect("the request");
    device.post_plain(&[], &post).await.expect("an answer")
}

/// What the server says: in an envelope that needs no tolerance, with the same ID and namespace.
fn read(reply: &Reply, id: &str) -> AcsMessage {
    let text = reply.text();
    assert_eq!(reply.status, 200, "{text}");
    let received = Envelope::read_from_acs(&text).expect("an envelope");
    let envelope = received.as_written().expect("that needs no repair");
    assert_eq!(envelope.header.id.as_deref(), Some(id), "the same ID");
    assert_eq!(
        envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-2",
        "the same namespace"
    );
    envelope.message
}

fn assert_opened(reply: &Reply) {
    let told = read(reply, "1");
    assert!(
        matches!(told, AcsMessage::Response(AcsResponse::Inform(_))),
        "an InformResponse, not {told:?}"
    );
}

fn assert_fault(reply: &Reply, id: &str, code: FaultCode) {
    let told = read(reply, id);
    assert!(
        matches!(&told, AcsMessage::Fault(fault) if fault.code == code),
        "fault {code}, not {told:?}"
    );
    let text = reply.text();
    // The prefix is the sender's choice.
    assert!(text.contains("Server</faultcode>"), "{text}");
    assert!(
        text.contains("<faultstring>CWMP fault</faultstring>"),
        "{text}"
    );
}

fn command_of(report: &Report) -> &str {
    match &report.body {
        Some(Body::CommandDone(done)) => &done.command,
        other => panic!("{other:?}"),
    }
}
