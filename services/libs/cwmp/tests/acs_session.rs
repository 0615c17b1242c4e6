//! The server's side alone: what it accepts, what it refuses, and where it stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use platen_cwmp::{
    acs::{
        Again, Answer, CallError, Limits, Post, ReplyError, Said, Session, Step, Turn, Violation,
        ViolationKind,
    },
    fault::{Fault, FaultCode},
    rpc::*,
    soap::{AcsMessage, CpeMessage, Envelope, Header, Namespace, Repair, Unwritable, Version},
};

fn post(body: &str) -> Post {
    Post::read(body.as_bytes(), None).unwrap()
}

fn xml(id: Option<&str>, message: CpeMessage) -> String {
    let header = Header {
        id: id.map(str::to_owned),
        ..Header::default()
    };
    Envelope {
        namespace: Namespace::default(),
        header,
        message,
    }
    .to_xml()
    .unwrap()
}

fn inform() -> String {
    xml(
        Some("i"),
        CpeMessage::Request(CpeRequest::Inform(Inform::default())),
    )
}

fn request(id: &str, request: CpeRequest) -> String {
    xml(Some(id), CpeMessage::Request(request))
}

fn response(id: Option<&str>, response: CpeResponse) -> String {
    xml(id, CpeMessage::Response(response))
}

fn fault(id: Option<&str>, code: FaultCode) -> String {
    xml(id, CpeMessage::Fault(Fault::new(code)))
}

fn reboot(key: &str) -> AcsRequest {
    AcsRequest::Reboot(Reboot {
        command_key: key.to_owned(),
    })
}

fn read(body: &[u8]) -> Envelope<AcsMessage> {
    let received = Envelope::read_from_acs(std::str::from_utf8(body).unwrap()).unwrap();
    received.as_written().unwrap()
}

/// A session after Inform and InformResponse.
fn listening(limits: Limits) -> Session {
    let mut session = Session::new("s", limits);
    assert_eq!(
        session.receive(post(&inform())).unwrap().turn(),
        Turn::Reply
    );
    session.reply(Answer::Usual).unwrap();
    session
}

/// A session in our turn.
fn ours() -> Session {
    let mut session = listening(Limits::default());
    assert_eq!(session.receive(post("")).unwrap(), Step::Nothing);
    session
}

/// A session that has called for a reboot.
fn calling() -> Session {
    let mut session = ours();
    session.call("t", &reboot("k")).unwrap();
    session
}

fn said(step: Step) -> Said {
    match step {
        Step::Report(report) => report.said,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_post_that_breaks_the_protocol_ends_the_session() {
    let violation = |kind, abandoned: Option<&str>| Violation {
        kind,
        abandoned: abandoned.map(str::to_owned),
    };
    let new = || Session::new("s", Limits::default());
    let listening = || listening(Limits::default());
    let ended = || {
        let mut session = ours();
        session.end();
        session
    };
    let method = |method: &str| method.to_owned();
    let reboot_response = response(Some("s-1"), CpeResponse::Reboot);
    let get_methods = request("2", CpeRequest::GetRpcMethods);
    let other_inform = request(
        "other",
        CpeRequest::Inform(Inform {
            retry_count: 1,
            ..Inform::default()
        }),
    );
    let factory_reset_response = response(Some("s-1"), CpeResponse::FactoryReset);

    let cases: Vec<(&str, Session, &str, Violation)> = vec![
        (
            "empty first",
            new(),
            "",
            violation(ViolationKind::NoInform, None),
        ),
        (
            "request first",
            new(),
            &get_methods,
            violation(ViolationKind::NoInform, None),
        ),
        (
            "response first",
            new(),
            &reboot_response,
            violation(ViolationKind::NoInform, None),
        ),
        (
            "second Inform",
            listening(),
            &other_inform,
            violation(ViolationKind::SecondInform, None),
        ),
        (
            "Inform for an answer",
            calling(),
            &other_inform,
            violation(ViolationKind::SecondInform, Some("t")),
        ),
        (
            "answer to nothing",
            listening(),
            &reboot_response,
            violation(
                ViolationKind::UnexpectedResponse {
                    method: method("Reboot"),
                },
                None,
            ),
        ),
        (
            "answer to something else",
            calling(),
            &factory_reset_response,
            violation(
                ViolationKind::WrongResponse {
                    expected: method("Reboot"),
                    got: method("FactoryReset"),
                },
                Some("t"),
            ),
        ),
        (
            "request for an answer",
            calling(),
            &get_methods,
            violation(
                ViolationKind::RequestInsteadOfAnswer {
                    method: method("GetRPCMethods"),
                },
                Some("t"),
            ),
        ),
        (
            "after the end",
            ended(),
            "",
            violation(ViolationKind::Ended, None),
        ),
        (
            "an Inform after the end",
            ended(),
            &other_inform,
            violation(ViolationKind::Ended, None),
        ),
        (
            "before our answer",
            ours(),
            "",
            violation(ViolationKind::Ended, None),
        ),
    ];
    for (name, mut session, body, expected) in cases {
        assert_eq!(session.receive(post(body)).unwrap_err(), expected, "{name}");
        assert!(session.is_ended(), "{name}");
        assert_eq!(
            session.receive(post("")).unwrap_err().kind,
            ViolationKind::Ended,
            "{name}"
        );
        assert_eq!(
            session.call("x", &reboot("k")).unwrap_err(),
            CallError::NotOurTurn,
            "{name}"
        );
    }
}

#[test]
fn an_answer_is_known_by_its_method_when_its_id_is_wrong() {
    for (id, repaired) in [
        (Some("s-1"), false),
        (Some("stale"), true),
        (Some(""), true),
        (None, true),
    ] {
        let mut session = calling();
        let Step::Report(report) = session
            .receive(post(&response(id, CpeResponse::Reboot)))
            .unwrap()
        else {
            panic!("no report")
        };
        assert_eq!(
            report.said,
            Said::Response {
                tag: "t".to_owned(),
                response: CpeResponse::Reboot
            }
        );
        assert_eq!(
            report.repairs.contains(Repair::ResponseId),
            repaired,
            "{id:?}"
        );
        assert_eq!(report.ordinal, 1);
    }
}

#[test]
fn a_fault_is_an_answer() {
    let mut session = calling();
    let step = session
        .receive(post(&fault(Some("s-1"), FaultCode::INVALID_ARGUMENTS)))
        .unwrap();
    assert_eq!(step.turn(), Turn::Ours);
    assert_eq!(
        said(step),
        Said::Fault {
            tag: "t".to_owned(),
            fault: Fault::new(FaultCode::INVALID_ARGUMENTS)
        }
    );
    assert!(session.call("t2", &reboot("k2")).is_ok());
}

#[test]
fn a_fault_to_nothing_is_passed_over() {
    let mut session = listening(Limits::default());
    let body = fault(None, FaultCode::INTERNAL_ERROR);

    let step = session.receive(post(&body)).unwrap();
    assert_eq!(step.turn(), Turn::NoContent);
    assert_eq!(
        said(step),
        Said::StrayFault(Fault::new(FaultCode::INTERNAL_ERROR))
    );
    assert_eq!(
        session.receive(post(&body)).unwrap(),
        Step::Repeated(Again::NoContent)
    );
    assert_eq!(session.receive(post("")).unwrap(), Step::Nothing);
}

#[test]
fn an_empty_post_for_an_answer_leaves_the_outcome_open() {
    // The call was the answer to a response, so the empty POST cannot be a repetition.
    let mut session = calling();
    session
        .receive(post(&response(Some("s-1"), CpeResponse::Reboot)))
        .unwrap();
    session.call("second", &reboot("k2")).unwrap();

    let step = session.receive(post("")).unwrap();
    assert_eq!(step.turn(), Turn::Ours);
    assert_eq!(
        said(step),
        Said::NoAnswer {
            tag: "second".to_owned()
        }
    );
}

#[test]
fn a_device_without_ids_gets_the_same_again_once() {
    let mut session = calling();
    let answer = response(None, CpeResponse::Reboot);
    session.receive(post(&answer)).unwrap();
    let second = session.call("second", &reboot("k2")).unwrap();

    // An equal answer may be the old one, repeated, or that to the second call: once it is taken for the old one.
    assert_eq!(
        session.receive(post(&answer)).unwrap(),
        Step::Repeated(Again::Envelope(second))
    );
    assert_eq!(
        said(session.receive(post(&answer)).unwrap()),
        Said::Response {
            tag: "second".to_owned(),
            response: CpeResponse::Reboot
        }
    );
}

#[test]
fn an_answer_too_large_to_keep_cannot_be_repeated() {
    let mut session = ours();
    let parameters = vec![ParameterValue::string("Device.A", "x".repeat(65 << 10))];
    let large = AcsRequest::SetParameterValues(SetParameterValues {
        parameters,
        parameter_key: String::new(),
    });
    session.call("t", &large).unwrap();

    let violation = session.receive(post("")).unwrap_err();
    assert_eq!(
        violation,
        Violation {
            kind: ViolationKind::AnswerNotKept,
            abandoned: Some("t".to_owned())
        }
    );
}

#[test]
fn each_request_of_the_device_has_its_own_answer() {
    let du =
        CpeRequest::AutonomousDuStateChangeComplete(AutonomousDuStateChangeComplete::default());
    let cases = [
        (
            CpeRequest::TransferComplete(TransferComplete::default()),
            AcsResponse::TransferComplete,
        ),
        (
            CpeRequest::AutonomousTransferComplete(AutonomousTransferComplete::default()),
            AcsResponse::AutonomousTransferComplete,
        ),
        (
            CpeRequest::RequestDownload(RequestDownload::default()),
            AcsResponse::RequestDownload,
        ),
        (
            CpeRequest::DuStateChangeComplete(DuStateChangeComplete::default()),
            AcsResponse::DuStateChangeComplete,
        ),
        (du, AcsResponse::AutonomousDuStateChangeComplete),
    ];
    let mut session = listening(Limits::default());
    for (id, (said, expected)) in cases.into_iter().enumerate() {
        let id = format!("<{id}>");
        session.receive(post(&request(&id, said))).unwrap();
        let answer = read(&session.reply(Answer::Usual).unwrap());
        assert_eq!(answer.header.id, Some(id));
        assert_eq!(answer.message, AcsMessage::Response(expected));
    }
}

#[test]
fn methods_that_are_not_offered_are_refused_with_8000() {
    let raw = CpeRequest::Raw(Raw {
        method: "X_00D09E_Foo".to_owned(),
        arguments_xml: "<A/>".to_owned(),
    });
    let mut session = listening(Limits::default());
    for unknown in [raw, CpeRequest::Kicked(Kicked::default())] {
        let step = session
            .receive(post(&request("7", unknown.clone())))
            .unwrap();
        assert_eq!(said(step), Said::Request(unknown));
        let answer = read(&session.reply(Answer::Usual).unwrap());
        assert_eq!(answer.header.id.as_deref(), Some("7"));
        assert_eq!(
            answer.message,
            AcsMessage::Fault(Fault::new(FaultCode::ACS_METHOD_NOT_SUPPORTED))
        );
    }
    assert_eq!(session.receive(post("")).unwrap(), Step::Nothing);
}

#[test]
fn the_methods_offered_are_those_of_the_version() {
    let methods = |namespace: &str| {
        let inform = inform().replace("urn:dslforum-org:cwmp-1-0", namespace);
        let mut session = Session::new("s", Limits::default());
        session.receive(post(&inform)).unwrap();
        session.reply(Answer::Usual).unwrap();
        session
            .receive(post(&request("2", CpeRequest::GetRpcMethods)))
            .unwrap();
        let answer = read(&session.reply(Answer::Usual).unwrap());
        assert_eq!(answer.namespace.to_string(), namespace);
        match answer.message {
            AcsMessage::Response(AcsResponse::GetRpcMethods(response)) => {
                response.methods.join(" ")
            }
            other => panic!("{other:?}"),
        }
    };
    let first = "Inform GetRPCMethods TransferComplete RequestDownload";
    assert_eq!(methods("urn:dslforum-org:cwmp-1-0"), first);
    assert_eq!(
        methods("urn:dslforum-org:cwmp-1-1"),
        format!("{first} AutonomousTransferComplete")
    );
    assert_eq!(
        methods("urn:dslforum-org:cwmp-1-2"),
        format!(
            "{first} AutonomousTransferComplete DUStateChangeComplete AutonomousDUStateChangeComplete"
        )
    );
}

#[test]
fn versions_are_negotiated_by_header_or_namespace() {
    let supported = |versions: &[Version]| Header {
        supported_versions: Some(versions.to_vec()),
        ..Header::default()
    };
    let timeout = Header {
        session_timeout: Some(60),
        ..Header::default()
    };
    let cases = [
        ("1-0", Header::default(), Version::V1_0, None),
        ("1-1", Header::default(), Version::V1_1, None),
        ("1-2", Header::default(), Version::V1_2, None),
        ("1-2", timeout, Version::V1_3, None),
        ("1-4", Header::default(), Version::V1_4, None),
        ("1-9", Header::default(), Version::V1_4, None),
        (
            "1-2",
            supported(&Version::ALL),
            Version::V1_4,
            Some(Version::V1_4),
        ),
        (
            "1-2",
            supported(&[Version::V1_0, Version::V1_2]),
            Version::V1_2,
            Some(Version::V1_2),
        ),
        ("1-2", supported(&[]), Version::V1_2, None),
    ];
    for (namespace, header, version, use_version) in cases {
        let namespace = Namespace::from_urn(&format!("urn:dslforum-org:cwmp-{namespace}")).unwrap();
        let message = CpeMessage::Request(CpeRequest::Inform(Inform::default()));
        let body = Envelope {
            namespace,
            header: header.clone(),
            message,
        }
        .to_xml()
        .unwrap();
        let mut session = Session::new("s", Limits::default());
        session.receive(post(&body)).unwrap();
        let answer = read(&session.reply(Answer::Usual).unwrap());

        assert_eq!(answer.namespace, namespace, "{header:?}");
        assert_eq!(answer.header.use_version, use_version, "{header:?}");
        assert_eq!(session.version(), version, "{header:?}");
        assert_eq!(
            session.session_timeout(),
            header.session_timeout,
            "{header:?}"
        );
    }
}

#[test]
fn a_session_timeout_is_kept_within_bounds() {
    for (asked, expected) in [
        (0, None),
        (1, Some(30)),
        (60, Some(60)),
        (u32::MAX, Some(3600)),
    ] {
        let header = Header {
            session_timeout: Some(asked),
            ..Header::default()
        };
        let message = CpeMessage::Request(CpeRequest::Inform(Inform::default()));
        let body = Envelope {
            namespace: Namespace::default(),
            header,
            message,
        }
        .to_xml()
        .unwrap();
        let mut session = Session::new("s", Limits::default());
        session.receive(post(&body)).unwrap();
        assert_eq!(session.session_timeout(), expected, "{asked}");
    }
}

#[test]
fn an_inform_can_be_asked_for_again_or_refused() {
    let mut session = Session::new("s", Limits::default());
    session.receive(post(&inform())).unwrap();
    session
        .reply(Answer::Fault(Fault::new(FaultCode::ACS_RETRY_REQUEST)))
        .unwrap();
    // The same body again is what was asked for.
    let step = session.receive(post(&inform())).unwrap();
    assert!(matches!(said(step), Said::Inform(_)));

    let refusal = read(
        &session
            .reply(Answer::Fault(Fault::new(FaultCode::ACS_REQUEST_DENIED)))
            .unwrap(),
    );
    assert_eq!(
        refusal.message,
        AcsMessage::Fault(Fault::new(FaultCode::ACS_REQUEST_DENIED))
    );
    assert!(session.is_ended());
}

#[test]
fn a_request_that_is_to_be_sent_again_is_no_repetition() {
    let body = request(
        "2",
        CpeRequest::TransferComplete(TransferComplete::default()),
    );
    let mut session = listening(Limits::default());
    session.receive(post(&body)).unwrap();
    session
        .reply(Answer::Fault(Fault::new(FaultCode::ACS_RETRY_REQUEST)))
        .unwrap();

    assert_eq!(session.receive(post(&body)).unwrap().turn(), Turn::Reply);
    let answer = session.reply(Answer::Usual).unwrap();
    assert_eq!(
        session.receive(post(&body)).unwrap(),
        Step::Repeated(Again::Envelope(answer))
    );
}

#[test]
fn a_reply_that_cannot_be_given_leaves_the_request_open() {
    let mut session = listening(Limits::default());
    assert_eq!(
        session.reply(Answer::Usual).unwrap_err(),
        ReplyError::NotDue
    );
    session
        .receive(post(&request("2", CpeRequest::Kicked(Kicked::default()))))
        .unwrap();

    let wrong = session
        .reply(Answer::Response(AcsResponse::TransferComplete))
        .unwrap_err();
    let expected = ReplyError::WrongResponse {
        expected: "Kicked".to_owned(),
        got: "TransferComplete".to_owned(),
    };
    assert_eq!(wrong, expected);
    let kicked = |next_url: &str| {
        Answer::Response(AcsResponse::Kicked(KickedResponse {
            next_url: next_url.to_owned(),
        }))
    };
    assert!(matches!(
        session.reply(kicked("\u{1}")),
        Err(ReplyError::Unwritable(Unwritable::Character { .. }))
    ));
    assert!(session.reply(kicked("http://x/")).is_ok());
}

#[test]
fn a_call_that_cannot_be_written_leaves_our_turn() {
    let mut session = ours();
    let error = session.call("t", &reboot(&"k".repeat(33))).unwrap_err();
    assert!(matches!(
        error,
        CallError::Unwritable(Unwritable::TooLong { limit: 32, .. })
    ));
    assert_eq!(session.outstanding(), None);

    session.call("t", &reboot("k")).unwrap();
    assert_eq!(session.outstanding(), Some("t"));
    assert_eq!(
        session.call("u", &reboot("k")).unwrap_err(),
        CallError::NotOurTurn
    );
}

#[test]
fn ids_are_unique_in_a_session_and_begin_with_its_prefix() {
    let mut session = Session::new("a1-<&", Limits::default());
    session.receive(post(&inform())).unwrap();
    session.reply(Answer::Usual).unwrap();
    session.receive(post("")).unwrap();
    let mut ids = Vec::new();
    for key in 0..3 {
        let id = read(&session.call("t", &reboot(&key.to_string())).unwrap())
            .header
            .id;
        session
            .receive(post(&response(id.as_deref(), CpeResponse::Reboot)))
            .unwrap();
        ids.push(id.unwrap());
    }
    assert_eq!(ids, ["a1-1", "a1-2", "a1-3"]);
}

#[test]
fn our_requests_are_limited() {
    let limits = Limits {
        requests: 4,
        identical_calls: 2,
        consecutive_faults: 2,
        replays: 2,
    };
    let answer = |session: &mut Session, id: &str| {
        session
            .receive(post(&response(Some(id), CpeResponse::Reboot)))
            .unwrap();
    };
    let start = || {
        let mut session = listening(limits);
        session.receive(post("")).unwrap();
        session
    };
    let limit = |what, limit| CallError::Limit { what, limit };

    // The Inform and three calls are four requests.
    let mut session = start();
    for n in 1..=3 {
        session.call("t", &reboot(&n.to_string())).unwrap();
        answer(&mut session, &format!("s-{n}"));
    }
    assert_eq!(
        session.call("t", &reboot("4")).unwrap_err(),
        limit("requests", 4)
    );

    let mut session = start();
    for n in 1..=2 {
        session.call("t", &reboot("same")).unwrap();
        answer(&mut session, &format!("s-{n}"));
    }
    assert_eq!(
        session.call("t", &reboot("same")).unwrap_err(),
        limit("identical calls", 2)
    );
    assert!(session.call("t", &reboot("other")).is_ok());

    let mut session = start();
    for n in 1..=2 {
        session.call("t", &reboot(&n.to_string())).unwrap();
        session
            .receive(post(&fault(
                Some(&format!("s-{n}")),
                FaultCode::INTERNAL_ERROR,
            )))
            .unwrap();
    }
    assert_eq!(
        session.call("t", &reboot("3")).unwrap_err(),
        limit("consecutive faults", 2)
    );
    session.end();
    assert!(session.is_ended());
}

#[test]
fn requests_and_repetitions_of_the_device_are_limited() {
    let limits = Limits {
        requests: 3,
        replays: 2,
        ..Limits::default()
    };
    let mut session = listening(limits);
    for n in 0..2 {
        session
            .receive(post(&request(&n.to_string(), CpeRequest::GetRpcMethods)))
            .unwrap();
        session.reply(Answer::Usual).unwrap();
    }
    let violation = session
        .receive(post(&request("3", CpeRequest::GetRpcMethods)))
        .unwrap_err();
    assert_eq!(violation.kind, ViolationKind::Limit { what: "requests" });

    let mut session = listening(limits);
    for _ in 0..2 {
        assert_eq!(
            session.receive(post(&inform())).unwrap().turn(),
            Turn::Repeat
        );
    }
    let violation = session.receive(post(&inform())).unwrap_err();
    assert_eq!(
        violation.kind,
        ViolationKind::Limit {
            what: "repetitions"
        }
    );
    assert!(session.is_ended());
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut session = ours();
    let parameters = vec![ParameterValue::string(
        "Device.ManagementServer.Password",
        "s3cret",
    )];
    session
        .call(
            "t",
            &AcsRequest::SetParameterValues(SetParameterValues {
                parameters,
                parameter_key: String::new(),
            }),
        )
        .unwrap();
    assert!(!format!("{session:?}").contains("s3cret"));
}
