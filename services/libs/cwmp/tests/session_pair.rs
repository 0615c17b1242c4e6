//! Both peers in memory, over a network that loses and doubles what it carries.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use platen_cwmp::{
    acs::{self, Again, Answer, Limits, Post, Report, Said, Step, Turn, ViolationKind},
    cpe::{self, Answered, Next, Opening},
    date_time::DateTime,
    event_code::EventCode,
    rpc::*,
    soap::Version,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// What becomes of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// The POST does not arrive.
    PostLost,
    /// The POST arrives, the answer does not.
    AnswerLost,
    /// The POST arrives twice; the device sees the second answer.
    Doubled,
}

/// The server: a session, and what it wants from the device.
struct Server {
    session: acs::Session,
    wanted: std::vec::IntoIter<AcsRequest>,
    /// What the device said, as published.
    reports: Vec<Report>,
}

impl Server {
    fn new(wanted: Vec<AcsRequest>, limits: Limits) -> Self {
        Self {
            session: acs::Session::new("s1", limits),
            wanted: wanted.into_iter(),
            reports: Vec::new(),
        }
    }

    /// Status and body of the answer. The session is stored and loaded between two POSTs.
    fn post(&mut self, body: &[u8]) -> (u16, Vec<u8>) {
        let stored = serde_json::to_string(&self.session).unwrap();
        self.session = serde_json::from_str(&stored).unwrap();

        let post = Post::read(body, Some("text/xml")).unwrap();
        assert!(post.repairs().is_empty(), "{}", post.repairs());
        let is_empty = post.is_empty();
        let step = match self.session.receive(post) {
            Ok(step) => step,
            Err(violation) => {
                assert!(self.session.is_ended());
                return (
                    if is_empty && violation.kind == ViolationKind::Ended {
                        204
                    } else {
                        400
                    },
                    Vec::new(),
                );
            }
        };
        let turn = step.turn();
        match step {
            Step::Repeated(Again::Envelope(body)) => return (200, body),
            Step::Repeated(Again::NoContent) => return (204, Vec::new()),
            Step::Report(report) => self.reports.push(report),
            Step::Nothing => {}
        }
        match turn {
            Turn::Reply => (200, self.session.reply(Answer::Usual).unwrap()),
            Turn::NoContent | Turn::Repeat => (204, Vec::new()),
            Turn::Ours => match self.wanted.next() {
                Some(request) => {
                    let tag = format!("command {}", self.wanted.as_slice().len());
                    (200, self.session.call(tag, &request).unwrap())
                }
                None => {
                    self.session.end();
                    (204, Vec::new())
                }
            },
        }
    }
}

/// The device: what it was asked to do, and what of its own was answered.
#[derive(Default)]
struct Device {
    carried_out: Vec<AcsRequest>,
    answered: Vec<String>,
}

impl Device {
    /// Numbers tell apart the instances of each call, so that an answer cannot pass for that of another call.
    fn carry_out(&mut self, request: AcsRequest) -> CpeResponse {
        let instance_number = u32::try_from(self.carried_out.len()).unwrap() + 1;
        let response = match &request {
            AcsRequest::AddObject(_) => CpeResponse::AddObject(AddObjectResponse {
                instance_number,
                status: Status::Applied,
            }),
            AcsRequest::SetParameterAttributes(_) => CpeResponse::SetParameterAttributes,
            AcsRequest::Reboot(_) => CpeResponse::Reboot,
            other => panic!("{} is not asked for here", other.method()),
        };
        self.carried_out.push(request);
        response
    }

    /// Runs a session to its end. Fates beyond the list are good ones.
    fn run(
        &mut self,
        server: &mut Server,
        own: Vec<CpeRequest>,
        fates: &[Fate],
    ) -> Result<(), cpe::Failure> {
        let (mut session, mut body) = cpe::Session::open(opening()).unwrap();
        own.into_iter().for_each(|request| session.push(request));
        let mut fates = fates.iter().copied();
        loop {
            assert_eq!(session.last_post(), body);
            let (status, answer) = match fates.next().unwrap_or(Fate::Arrives) {
                Fate::Arrives => server.post(&body),
                Fate::PostLost => continue,
                Fate::AnswerLost => {
                    server.post(&body);
                    continue;
                }
                Fate::Doubled => {
                    server.post(&body);
                    server.post(&body)
                }
            };
            let stored = serde_json::to_string(&session).unwrap();
            session = serde_json::from_str(&stored).unwrap();
            let step = session.receive(status, &answer, Some("text/xml; charset=\"utf-8\""))?;
            match step.answered {
                Some(Answered::Inform) => self.answered.push("Inform".to_owned()),
                Some(Answered::Request { request, answer }) => {
                    assert_eq!(answer.unwrap().method(), request.method());
                    self.answered.push(request.method().to_owned());
                }
                None => {}
            }
            body = match step.next {
                Next::Post(body) => body,
                Next::Serve(request) => session.respond(Ok(self.carry_out(request))).unwrap(),
                Next::Done => return Ok(()),
            };
        }
    }
}

fn opening() -> Opening {
    let device_id = DeviceIdStruct {
        manufacturer: "Example".to_owned(),
        oui: "00D09E".to_owned(),
        product_class: "LaserPro-9".to_owned(),
        serial_number: "SN1".to_owned(),
    };
    let inform = Inform {
        device_id,
        events: vec![Event::new(EventCode::Periodic)],
        current_time: DateTime::from_text("2026-11-23T03:00:00Z"),
        parameters: vec![ParameterValue::string(
            "Device.DeviceInfo.SoftwareVersion",
            "1.4",
        )],
        ..Inform::default()
    };
    Opening {
        inform,
        version: Version::V1_4,
        session_timeout: None,
    }
}

fn add_object(key: &str) -> AcsRequest {
    AcsRequest::AddObject(AddObject {
        object_name: "Device.Users.User.".to_owned(),
        parameter_key: key.to_owned(),
    })
}

fn transfer_complete(key: &str) -> CpeRequest {
    CpeRequest::TransferComplete(TransferComplete {
        command_key: key.to_owned(),
        ..TransferComplete::default()
    })
}

#[test]
fn a_managed_session_is_five_exchanges() {
    let mut server = Server::new(vec![add_object("1"), add_object("2")], Limits::default());
    let mut device = Device::default();

    device
        .run(&mut server, vec![transfer_complete("k")], &[])
        .unwrap();

    assert_eq!(device.answered, ["Inform", "TransferComplete"]);
    assert_eq!(device.carried_out, [add_object("1"), add_object("2")]);
    let said: Vec<&Said> = server.reports.iter().map(|report| &report.said).collect();
    let [Said::Inform(inform), Said::Request(request), first, second] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!(**inform, opening().inform);
    assert_eq!(*request, transfer_complete("k"));
    for (said, (tag, instance_number)) in [first, second]
        .into_iter()
        .zip([("command 1", 1), ("command 0", 2)])
    {
        let response = CpeResponse::AddObject(AddObjectResponse {
            instance_number,
            status: Status::Applied,
        });
        assert_eq!(
            **said,
            Said::Response {
                tag: tag.to_owned(),
                response
            }
        );
    }
    assert_eq!(server.session.version(), Version::V1_4);
    assert!(server.session.is_ended());
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut server = Server::new(vec![add_object("1"), add_object("2")], Limits::default());
    let mut device = Device::default();

    // Inform, TransferComplete, empty POST and both answers: each needs a second try.
    let fates = [Fate::AnswerLost, Fate::Arrives].repeat(4);
    device
        .run(&mut server, vec![transfer_complete("k")], &fates)
        .unwrap();

    assert_eq!(device.carried_out, [add_object("1"), add_object("2")]);
    assert_eq!(server.reports.len(), 4);
}

#[test]
fn an_empty_post_that_comes_a_third_time_gives_the_call_up() {
    let mut server = Server::new(vec![add_object("1"), add_object("2")], Limits::default());
    let mut device = Device::default();

    device
        .run(
            &mut server,
            vec![],
            &[Fate::Arrives, Fate::AnswerLost, Fate::AnswerLost],
        )
        .unwrap();

    assert_eq!(device.carried_out, [add_object("2")]);
    assert_eq!(
        server.reports[1].said,
        Said::NoAnswer {
            tag: "command 1".to_owned()
        }
    );
    assert!(matches!(&server.reports[2].said, Said::Response { tag, .. } if tag == "command 0"));
}

#[test]
fn equal_answers_to_equal_calls_are_told_apart_by_their_ids() {
    let request = AcsRequest::SetParameterAttributes(SetParameterAttributes::default());
    let mut server = Server::new(
        vec![request.clone(), request.clone(), request.clone()],
        Limits::default(),
    );
    let mut device = Device::default();

    // Inform, empty POST and the first two answers; what follows the last answer ends the session.
    device
        .run(&mut server, vec![], &[Fate::Doubled; 4])
        .unwrap();

    assert_eq!(
        device.carried_out,
        [request.clone(), request.clone(), request]
    );
    assert_eq!(server.reports.len(), 4);
}

proptest! {
    /// Whatever the network does: nothing is carried out twice, nothing that the device reports is lost or doubled, no answer
    /// is taken for that of another call, and reports are numbered without gaps.
    #[test]
    fn loss_and_doubling_change_nothing_but_the_number_of_posts(
        calls in 0_usize..5,
        own in 0_usize..4,
        fates in vec(select(vec![Fate::Arrives, Fate::PostLost, Fate::AnswerLost, Fate::Doubled]), 0..24),
    ) {
        let wanted: Vec<AcsRequest> = (0..calls).map(|n| add_object(&n.to_string())).collect();
        let own: Vec<CpeRequest> = (0..own).map(|n| transfer_complete(&n.to_string())).collect();
        let limits = Limits { replays: 1000, ..Limits::default() };
        let mut server = Server::new(wanted.clone(), limits);
        let mut device = Device::default();

        let end = device.run(&mut server, own.clone(), &fates);

        for (index, report) in server.reports.iter().enumerate() {
            prop_assert_eq!(report.ordinal as usize, index);
        }
        let requests: Vec<&CpeRequest> = server.reports.iter().filter_map(|report| match &report.said {
            Said::Request(request) => Some(request),
            _ => None,
        }).collect();
        prop_assert_eq!(requests, own.iter().collect::<Vec<_>>());
        prop_assert_eq!(device.answered.len(), 1 + own.len());

        // The device carries out a subsequence of what was wanted: no call twice, none out of order.
        let mut rest = wanted.iter();
        for request in &device.carried_out {
            prop_assert!(rest.any(|wanted| wanted == request), "{:?}", device.carried_out);
        }
        // The n-th answer is that of the n-th call which was carried out, and the rest is known to be unknown.
        let mut answers = 0_u32;
        let mut unknown = 0;
        for report in &server.reports {
            match &report.said {
                Said::Response { response, .. } => {
                    answers += 1;
                    let expected = AddObjectResponse { instance_number: answers, status: Status::Applied };
                    prop_assert_eq!(response, &CpeResponse::AddObject(expected));
                }
                Said::NoAnswer { .. } => unknown += 1,
                _ => {}
            }
        }
        prop_assert_eq!(answers as usize, device.carried_out.len());
        prop_assert_eq!(answers as usize + unknown, calls);
        // The server may end before the device knows; then the device's last POST is refused, and it tries again later.
        prop_assert!(matches!(end, Ok(()) | Err(cpe::Failure::Status(400))), "{:?}", end);
        prop_assert!(server.session.is_ended());
    }
}
