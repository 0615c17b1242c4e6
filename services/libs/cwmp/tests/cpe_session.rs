//! The device's side alone: what it does with the habits of servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use platen_cwmp::{
    cpe::{Answered, Failure, Next, Opening, RespondError, Session, retry_wait},
    event_code::EventCode,
    fault::{Fault, FaultCode},
    rpc::*,
    soap::{AcsMessage, CpeMessage, Envelope, Header, Namespace, Version},
};

fn opening(version: Version) -> Opening {
    let inform = Inform {
        events: vec![Event::new(EventCode::Boot)],
        retry_count: 2,
        ..Inform::default()
    };
    Opening {
        inform,
        version,
        session_timeout: Some(60),
    }
}

fn open(version: Version) -> Session {
    Session::open(opening(version)).unwrap().0
}

fn xml(header: Header, message: AcsMessage) -> Vec<u8> {
    Envelope {
        namespace: Version::V1_4.namespace(),
        header,
        message,
    }
    .to_xml()
    .unwrap()
    .into_bytes()
}

fn inform_response(header: Header) -> Vec<u8> {
    xml(
        header,
        AcsMessage::Response(AcsResponse::Inform(InformResponse::default())),
    )
}

fn fault(code: FaultCode) -> Vec<u8> {
    xml(Header::with_id("1"), AcsMessage::Fault(Fault::new(code)))
}

fn read(body: &[u8]) -> Envelope<CpeMessage> {
    let received = Envelope::read_from_cpe(std::str::from_utf8(body).unwrap()).unwrap();
    received.as_written().unwrap()
}

fn posted(next: Next) -> Vec<u8> {
    match next {
        Next::Post(body) => body,
        other => panic!("{other:?}"),
    }
}

/// A session that has sent its empty POST.
fn waiting(header: Header) -> Session {
    let mut session = open(Version::V1_0);
    let step = session
        .receive(200, &inform_response(header), None)
        .unwrap();
    assert_eq!(step.answered, Some(Answered::Inform));
    assert_eq!(posted(step.next), b"");
    session
}

fn transfer_complete(key: &str) -> CpeRequest {
    CpeRequest::TransferComplete(TransferComplete {
        command_key: key.to_owned(),
        ..TransferComplete::default()
    })
}

#[test]
fn the_inform_says_what_the_version_can_say() {
    let header = |version| {
        let (_, body) = Session::open(opening(version)).unwrap();
        let envelope = read(&body);
        assert_eq!(envelope.namespace, version.namespace());
        assert_eq!(
            envelope.message,
            CpeMessage::Request(CpeRequest::Inform(opening(version).inform))
        );
        (
            envelope.header.session_timeout,
            envelope.header.supported_versions,
        )
    };
    assert_eq!(header(Version::V1_0), (None, None));
    assert_eq!(header(Version::V1_2), (None, None));
    assert_eq!(header(Version::V1_3), (Some(60), None));
    assert_eq!(
        header(Version::V1_4),
        (Some(60), Some(Version::ALL.to_vec()))
    );
}

#[test]
fn the_server_chooses_the_version() {
    for (chosen, expected) in [
        (Some(Version::V1_4), Version::V1_4),
        (Some(Version::V1_1), Version::V1_1),
        (None, Version::V1_3),
    ] {
        let mut session = open(Version::V1_4);
        session
            .receive(
                200,
                &inform_response(Header {
                    use_version: chosen,
                    ..Header::default()
                }),
                None,
            )
            .unwrap();
        assert_eq!(session.version(), expected, "{chosen:?}");
    }
}

#[test]
fn own_requests_go_before_the_empty_post() {
    let mut session = open(Version::V1_0);
    session.push(transfer_complete("a"));
    session.push(transfer_complete("b"));

    let step = session
        .receive(200, &inform_response(Header::default()), None)
        .unwrap();
    assert_eq!(
        read(&posted(step.next)).message,
        CpeMessage::Request(transfer_complete("a"))
    );

    let acknowledged = xml(
        Header::default(),
        AcsMessage::Response(AcsResponse::TransferComplete),
    );
    let step = session.receive(200, &acknowledged, None).unwrap();
    let answer = Ok(AcsResponse::TransferComplete);
    assert_eq!(
        step.answered,
        Some(Answered::Request {
            request: Box::new(transfer_complete("a")),
            answer
        })
    );
    assert_eq!(
        read(&posted(step.next)).message,
        CpeMessage::Request(transfer_complete("b"))
    );

    // A refusal counts as delivered.
    let step = session
        .receive(200, &fault(FaultCode::ACS_INTERNAL_ERROR), None)
        .unwrap();
    let answer = Err(Fault::new(FaultCode::ACS_INTERNAL_ERROR));
    assert_eq!(
        step.answered,
        Some(Answered::Request {
            request: Box::new(transfer_complete("b")),
            answer
        })
    );
    assert_eq!(posted(step.next), b"");
    assert_eq!(session.receive(204, b"", None).unwrap().next, Next::Done);
    assert!(session.is_ended());
}

#[test]
fn requests_are_served_and_answered_under_their_id() {
    let mut session = waiting(Header::default());
    let request = AcsRequest::Reboot(Reboot {
        command_key: "k".to_owned(),
    });
    let step = session
        .receive(
            200,
            &xml(Header::with_id("<7>"), AcsMessage::Request(request.clone())),
            None,
        )
        .unwrap();
    assert_eq!(step.next, Next::Serve(request));

    let wrong = session.respond(Ok(CpeResponse::FactoryReset)).unwrap_err();
    let expected = RespondError::WrongResponse {
        expected: "Reboot".to_owned(),
        got: "FactoryReset".to_owned(),
    };
    assert_eq!(wrong, expected);
    let answer = read(&session.respond(Ok(CpeResponse::Reboot)).unwrap());
    assert_eq!(answer.header.id.as_deref(), Some("<7>"));
    assert_eq!(answer.message, CpeMessage::Response(CpeResponse::Reboot));
    assert_eq!(
        session.respond(Ok(CpeResponse::Reboot)).unwrap_err(),
        RespondError::NotDue
    );
}

#[test]
fn unknown_methods_can_be_refused() {
    let mut session = waiting(Header::default());
    let raw = AcsRequest::Raw(Raw {
        method: "X_Foo".to_owned(),
        arguments_xml: String::new(),
    });
    session
        .receive(
            200,
            &xml(Header::with_id("1"), AcsMessage::Request(raw)),
            None,
        )
        .unwrap();

    let answer = read(
        &session
            .respond(Err(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)))
            .unwrap(),
    );
    assert_eq!(
        answer.message,
        CpeMessage::Fault(Fault::new(FaultCode::METHOD_NOT_SUPPORTED))
    );
}

#[test]
fn requests_held_back_are_sent_after_the_next_empty_answer() {
    let hold = Header {
        hold_requests: true,
        ..Header::default()
    };
    let mut session = open(Version::V1_0);
    session.push(transfer_complete("a"));
    let step = session
        .receive(200, &inform_response(hold.clone()), None)
        .unwrap();
    assert_eq!(
        posted(step.next),
        b"",
        "nothing may be sent while the server holds"
    );

    let step = session.receive(204, b"", None).unwrap();
    assert_eq!(
        read(&posted(step.next)).message,
        CpeMessage::Request(transfer_complete("a"))
    );

    // With nothing to send, the device says so once more, and the second 204 is the end.
    let mut session = waiting(hold);
    let step = session.receive(204, b"", None).unwrap();
    assert_eq!(posted(step.next), b"");
    assert_eq!(session.receive(204, b"", None).unwrap().next, Next::Done);
}

#[test]
fn requests_held_back_are_not_forgotten_over_those_of_the_server() {
    let mut session = open(Version::V1_0);
    session.push(transfer_complete("a"));
    let hold = Header {
        hold_requests: true,
        ..Header::default()
    };
    session.receive(200, &inform_response(hold), None).unwrap();

    let request = AcsMessage::Request(AcsRequest::FactoryReset);
    session
        .receive(200, &xml(Header::with_id("1"), request), None)
        .unwrap();
    session.respond(Ok(CpeResponse::FactoryReset)).unwrap();
    let step = session.receive(204, b"", None).unwrap();
    assert_eq!(
        read(&posted(step.next)).message,
        CpeMessage::Request(transfer_complete("a"))
    );
}

#[test]
fn a_request_under_way_is_not_lost_with_the_session() {
    let reporting = || {
        let mut session = open(Version::V1_0);
        session.push(transfer_complete("a"));
        session.push(transfer_complete("b"));
        session
            .receive(200, &inform_response(Header::default()), None)
            .unwrap();
        session
    };
    let expected = [transfer_complete("a"), transfer_complete("b")];
    let given_up = reporting();
    assert!(given_up.unanswered().eq(&expected));
    let mut failed = reporting();
    assert!(failed.receive(500, b"", None).is_err());
    assert!(failed.unanswered().eq(&expected));
    let mut answered = reporting();
    answered
        .receive(
            200,
            &xml(
                Header::default(),
                AcsMessage::Response(AcsResponse::TransferComplete),
            ),
            None,
        )
        .unwrap();
    assert!(answered.unanswered().eq(&expected[1..]));
}

#[test]
fn what_is_queued_too_late_is_for_another_session() {
    let mut session = waiting(Header::default());
    session.push(transfer_complete("late"));
    assert_eq!(session.receive(204, b"", None).unwrap().next, Next::Done);
    assert_eq!(
        session.unanswered().collect::<Vec<_>>(),
        [&transfer_complete("late")]
    );
}

#[test]
fn fault_8005_has_the_same_sent_again_but_not_for_ever() {
    let again = fault(FaultCode::ACS_RETRY_REQUEST);
    let mut session = open(Version::V1_0);
    for _ in 0..10 {
        let step = session.receive(200, &again, None).unwrap();
        assert_eq!(step.answered, None);
        let message = read(&posted(step.next)).message;
        assert_eq!(
            message,
            CpeMessage::Request(CpeRequest::Inform(opening(Version::V1_0).inform))
        );
    }
    assert!(matches!(
        session.receive(200, &again, None),
        Err(Failure::TooManyRetries)
    ));
    assert!(session.is_ended());

    let mut session = open(Version::V1_0);
    session.push(transfer_complete("a"));
    session
        .receive(200, &inform_response(Header::default()), None)
        .unwrap();
    let step = session.receive(200, &again, None).unwrap();
    assert_eq!(
        read(&posted(step.next)).message,
        CpeMessage::Request(transfer_complete("a"))
    );
}

#[test]
fn a_server_that_errs_fails_the_session() {
    let informing = || open(Version::V1_0);
    let waiting = || waiting(Header::default());
    let reboot = xml(
        Header::with_id("1"),
        AcsMessage::Request(AcsRequest::Reboot(Reboot::default())),
    );
    let response = inform_response(Header::default());
    let refused = fault(FaultCode::ACS_REQUEST_DENIED);
    type Is = fn(&Failure) -> bool;
    let cases: Vec<(Session, u16, &[u8], Is)> = vec![
        (informing(), 503, b"", |failure| {
            matches!(failure, Failure::Status(503))
        }),
        (informing(), 401, b"", |failure| {
            matches!(failure, Failure::Status(401))
        }),
        (informing(), 204, b"", |failure| {
            matches!(failure, Failure::OutOfTurn { .. })
        }),
        (informing(), 200, b"  \r\n", |failure| {
            matches!(failure, Failure::OutOfTurn { .. })
        }),
        (informing(), 200, b"<html/>", |failure| {
            matches!(failure, Failure::Malformed(_))
        }),
        (informing(), 200, &reboot, |failure| {
            matches!(failure, Failure::OutOfTurn { .. })
        }),
        (informing(), 200, &refused, |failure| {
            matches!(failure, Failure::Refused(_))
        }),
        (waiting(), 200, &response, |failure| {
            matches!(failure, Failure::OutOfTurn { .. })
        }),
        (waiting(), 200, &refused, |failure| {
            matches!(failure, Failure::OutOfTurn { .. })
        }),
        (waiting(), 500, b"", |failure| {
            matches!(failure, Failure::Status(500))
        }),
    ];
    for (mut session, status, body, is_expected) in cases {
        let failure = session.receive(status, body, None).unwrap_err();
        assert!(is_expected(&failure), "{failure:?}");
        assert!(session.is_ended());
        assert!(session.receive(204, b"", None).is_err());
    }
}

#[test]
fn an_envelope_of_another_namespace_is_read() {
    let mut session = open(Version::V1_4);
    let namespace = Namespace::from_urn("urn:dslforum-org:cwmp-1-0").unwrap();
    let message = AcsMessage::Response(AcsResponse::Inform(InformResponse::default()));
    let body = Envelope {
        namespace,
        header: Header::default(),
        message,
    }
    .to_xml()
    .unwrap();
    assert!(
        session
            .receive(200, body.as_bytes(), Some("text/xml"))
            .is_ok()
    );
}

#[test]
fn retries_wait_longer_and_longer() {
    let bounds = |retry, minimum, multiplier| {
        let wait = |random| retry_wait(retry, minimum, multiplier, random).as_secs_f64();
        (wait(0), wait(u32::MAX))
    };
    // The table of the standard, with its default interval and multiplier.
    let table = [
        5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0,
    ];
    for retry in 1..=10_u32 {
        let expected = (table[retry as usize - 1], table[retry as usize]);
        assert_eq!(bounds(retry, 5, 2000), expected, "retry {retry}");
    }
    assert_eq!(bounds(11, 5, 2000), bounds(10, 5, 2000));
    assert_eq!(bounds(u32::MAX, 5, 2000), bounds(10, 5, 2000));
    assert_eq!(bounds(0, 5, 2000), bounds(1, 5, 2000));
    assert_eq!(bounds(3, 30, 1000), (30.0, 30.0));
    assert_eq!(bounds(2, 10, 1500), (15.0, 22.5));
    let middle = retry_wait(1, 5, 2000, u32::MAX / 2);
    assert!(
        middle > Duration::from_secs(7) && middle < Duration::from_secs(8),
        "{middle:?}"
    );
    assert!(retry_wait(10, u32::MAX, u32::MAX, u32::MAX) > Duration::from_secs(1 << 40));
}
