//! Commands: sent in the session at hand, in order, and once.

use crate::{
    bed::Bed,
    wire::{Device, Reply},
};
use platen_cwmp::{
    cpe,
    event_code::EventCode,
    fault::{Fault, FaultCode},
    rpc::{AcsRequest, CpeResponse, GetParameterValuesResponse, ParameterValue, TransferStatus},
};
use platen_edge::Config;
use platen_proto::{
    operation::v1::{
        Diagnostic, Download, GetParameterValues, Reboot, SetParameterValues,
        operation_request::Action,
    },
    report::v1::{CommandDone, command_done::Outcome, report::Body},
    store::v1::claim::By,
    topic::Kind,
};
use std::time::{Duration, Instant};

fn get(path: &str) -> Action {
    Action::GetParameterValues(GetParameterValues {
        paths: vec![path.to_owned()],
    })
}

/// Follows a session to its end, answering requests, and returns what was requested.
async fn follow(
    device: &mut Device,
    (mut session, mut reply): (cpe::Session, Reply),
    answer: impl Fn(&AcsRequest) -> Result<CpeResponse, Fault>,
) -> Vec<AcsRequest> {
    let mut requests = Vec::new();
    loop {
        let post = match Device::take(&mut session, &reply) {
            cpe::Next::Post(post) => post,
            cpe::Next::Serve(request) => {
                let post = session.respond(answer(&request)).unwrap();
                requests.push(request);
                post
            }
            cpe::Next::Done => return requests,
        };
        reply = device.post_plain(&[], &post).await.expect("an answer");
    }
}

fn done(reports: &[platen_proto::report::v1::Report]) -> Vec<CommandDone> {
    reports
        .iter()
        .map(|report| match &report.body {
            Some(Body::CommandDone(done)) => done.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn commands_go_out_in_order_and_their_answers_are_reported() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "second", get("B"), |command| {
        command.create_time_us = 2
    })
    .await;
    bed.enqueue("1", "first", get("A"), |command| command.create_time_us = 1)
        .await;
    bed.enqueue("1", "third", get("C"), |command| command.create_time_us = 3)
        .await;
    bed.enqueue("1", "urgent", get("U"), |command| command.priority = 5)
        .await;
    bed.enqueue("1", "expired", get("X"), |command| {
        command.expire_time_us = 1
    })
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Periodic]).await;

    let requests = follow(&mut device, opened, |request| match request {
        AcsRequest::GetParameterValues(get) if get.names == ["C"] => {
            Err(Fault::new(FaultCode::INVALID_PARAMETER_NAME))
        }
        AcsRequest::GetParameterValues(get) => Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse {
                parameters: vec![ParameterValue::string(&get.names[0], "v")],
            },
        )),
        other => panic!("{other:?}"),
    })
    .await;

    let names: Vec<String> = requests
        .iter()
        .map(|request| match request {
            AcsRequest::GetParameterValues(get) => get.names[0].clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["U", "A", "B", "C"]);
    let reports = bed.reports(Kind::Done, 4).await;
    assert_eq!(
        reports
            .iter()
            .map(|report| report.ordinal)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let done = done(&reports);
    assert_eq!(
        done.iter()
            .map(|done| done.command.as_str())
            .collect::<Vec<_>>(),
        ["urgent", "first", "second", "third"]
    );
    assert!(
        matches!(&done[1].outcome, Some(Outcome::Result(result)) if result.values[0].value == "v"),
        "{:?}",
        done[1]
    );
    assert!(
        matches!(&done[3].outcome, Some(Outcome::Fault(fault)) if fault.code == 9005),
        "{:?}",
        done[3]
    );
    assert_eq!(
        (done[0].owner.as_str(), done[0].method.as_str()),
        ("provisioning", "GetParameterValues")
    );
    assert!(matches!(
        done[0].request.as_ref().unwrap().action,
        Some(Action::GetParameterValues(_))
    ));
    let claim = bed
        .store
        .claim_of("default", "first")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (claim.by(), claim.holder),
        (By::Session, reports[0].session.clone())
    );
}

#[tokio::test]
async fn a_device_that_restarts_is_asked_nothing_more() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    for (n, refused) in [(1, false), (2, true)] {
        bed.enqueue(
            "1",
            &format!("restart{n}"),
            Action::Reboot(Reboot::default()),
            |command| {
                command.priority = 1;
            },
        )
        .await;
        bed.enqueue("1", &format!("read{n}"), get("A"), |_| {})
            .await;
        let serve = |request: &AcsRequest| match request {
            AcsRequest::Reboot(_) if refused => Err(Fault::new(FaultCode::REQUEST_DENIED)),
            AcsRequest::Reboot(_) => Ok(CpeResponse::Reboot),
            _ => Ok(CpeResponse::GetParameterValues(
                GetParameterValuesResponse::default(),
            )),
        };

        let mut device = Device::connect(bed.address, "1", "secret").await;
        let opened = device.open(&[EventCode::Periodic]).await;
        let requests = follow(&mut device, opened, serve).await;

        // A device that refuses does not restart.
        assert_eq!(requests.len(), if refused { 2 } else { 1 }, "{requests:?}");
        if !refused {
            let mut device = Device::connect(bed.address, "1", "secret").await;
            let opened = device.open(&[EventCode::Boot]).await;
            let requests = follow(&mut device, opened, serve).await;
            assert!(
                matches!(requests[..], [AcsRequest::GetParameterValues(_)]),
                "the rest follows in the next session: {requests:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_claimed_command_is_never_sent_again() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "op", Action::Reboot(Reboot::default()), |_| {})
        .await;
    // The device goes away with the request.
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;
    assert!(
        device
            .post_plain(&[], b"")
            .await
            .unwrap()
            .text()
            .contains("Reboot")
    );

    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Periodic]).await;
    let requests = follow(&mut device, opened, |_| Ok(CpeResponse::Reboot)).await;

    assert_eq!(requests, []);
}

#[tokio::test]
async fn of_two_sessions_one_gets_the_command() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    for round in 0..4 {
        let id = format!("op{round}");
        bed.enqueue(
            "1",
            &id,
            Action::Reboot(Reboot {
                command_key: id.clone(),
            }),
            |_| {},
        )
        .await;
        // Two edges, as far as the claim is concerned: the older session's POST is under way when the newer one begins.
        let mut first = Device::connect(bed.address, "1", "secret").await;
        let mut second = Device::connect(bed.address, "1", "secret").await;
        first.open(&[EventCode::Periodic]).await;
        let post = first.post_plain(&[], b"");
        let open = async {
            let opened = second.open(&[EventCode::Periodic]).await;
            assert_eq!(opened.1.status, 200);
            second.post_plain(&[], b"").await
        };
        let (of_first, of_second) = tokio::join!(post, open);
        let got = [of_first, of_second]
            .into_iter()
            .flatten()
            .filter(|reply| reply.text().contains(&id))
            .count();
        // None, if the older session was replaced between its claim and its answer: then its owner reads back what became of it.
        assert!(got <= 1, "round {round}");
        assert!(bed.store.claim_of("default", &id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_may_be_repeated_needs_no_claim() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let set = Action::SetParameterValues(SetParameterValues::default());
    bed.enqueue("1", "plan", set, |command| command.once = false)
        .await;
    for _ in 0..2 {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.open(&[EventCode::Periodic]).await;
        assert!(
            device
                .post_plain(&[], b"")
                .await
                .unwrap()
                .text()
                .contains("SetParameterValues")
        );
    }
    assert_eq!(bed.store.claim_of("default", "plan").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_rpc_fails_and_does_not_hold_up_the_rest() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    bed.enqueue(
        "1",
        "bad",
        Action::Diagnostic(Diagnostic::default()),
        |command| command.priority = 1,
    )
    .await;
    bed.enqueue("1", "good", get("A"), |_| {}).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Periodic]).await;

    let requests = follow(&mut device, opened, |_| {
        Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse::default(),
        ))
    })
    .await;

    assert_eq!(requests.len(), 1);
    let done = done(&bed.reports(Kind::Done, 2).await);
    assert!(
        matches!(&done[0].outcome, Some(Outcome::Failed(why)) if why.contains("several")),
        "{:?}",
        done[0]
    );
    assert!(!done[0].unanswered, "the device was not asked");
    assert_eq!(done[1].command, "good");
}

#[tokio::test]
async fn the_device_is_told_where_its_files_are_and_no_password_is_logged() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let download = Download {
        url: "/files/default/token/fw.bin".into(),
        password: "file secret".into(),
        command_key: "attempt".into(),
        ..Download::default()
    };
    bed.enqueue("1", "attempt", Action::Download(download), |command| {
        command.owner = "firmware".into()
    })
    .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Periodic]).await;

    let requests = follow(&mut device, opened, |_| {
        Ok(CpeResponse::Download(TransferStatus::default()))
    })
    .await;

    let AcsRequest::Download(download) = &requests[0] else {
        panic!("{requests:?}")
    };
    assert_eq!(
        download.url,
        format!("http://{}/files/default/token/fw.bin", bed.address)
    );
    assert_eq!(
        (download.password.as_str(), download.command_key.as_str()),
        ("file secret", "attempt")
    );
    let reports = bed.reports(Kind::Done, 1).await;
    assert!(!format!("{reports:?}").contains("file secret"));
    assert_eq!(done(&reports)[0].owner, "firmware");
}

#[tokio::test]
async fn a_decision_is_waited_for_once_in_vain() {
    let mut config = Config::default();
    config.linger.long = Duration::from_secs(30);
    let bed = Bed::start(config).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Bootstrap]).await;
    let session = bed.reports(Kind::Inform, 1).await[0].session.clone();

    // Decided while the device waits: its command comes in the same session.
    let decide = async {
        bed.enqueue("1", "decided", get("A"), |command| command.once = false)
            .await;
        bed.marks.mark(&session, 0).await.unwrap();
    };
    let begun = Instant::now();
    let (requests, ()) = tokio::join!(
        follow(&mut device, opened, |_| Ok(
            CpeResponse::GetParameterValues(GetParameterValuesResponse::default())
        )),
        decide
    );
    assert_eq!(requests.len(), 1);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "nobody waited for the rest of the time"
    );

    // Not decided: waited for a moment, and not again.
    let mut config = Config::default();
    config.linger.short = Duration::from_millis(100);
    let bed = Bed::start(config).await;
    bed.register("1", "secret").await;
    bed.enqueue("1", "one", get("A"), |command| command.more_follows = true)
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let opened = device.open(&[EventCode::Boot]).await;
    let begun = Instant::now();
    follow(&mut device, opened, |_| {
        Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse::default(),
        ))
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let text = bed.metrics.text().unwrap();
    assert!(
        text.contains("platen_cwmp_linger_total{outcome=\"vain\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("platen_cwmp_linger_total{outcome=\"skipped\"} 1"),
        "{text}"
    );
}
