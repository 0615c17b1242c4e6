//! Whatever a device and a server do to a session, in whatever order, it keeps its promises.
//!
//! Each line of the data is a step: its first byte says which, the rest is an argument.

use platen_cwmp::{
    acs::{self, Answer, Limits, Post, Step, Turn},
    cpe::{self, Next, Opening},
    fault::{Fault, FaultCode},
    rpc::{AcsRequest, CpeRequest, Inform, Reboot},
    soap::{CpeMessage, Envelope, Header, Namespace, Version},
};

pub(crate) fn check(data: &[u8]) {
    let mut server = acs::Session::new(
        "f",
        Limits {
            requests: 20,
            ..Limits::default()
        },
    );
    let mut device = cpe::Session::open(opening())
        .expect("nothing in it is unwritable")
        .0;
    let mut ordinal = 0;
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let (step, argument) = line.split_first().unwrap_or((&b' ', &[]));
        let ended = server.is_ended();
        match step {
            b'i' => post(&mut server, &inform(argument), &mut ordinal),
            b'e' => post(&mut server, b"", &mut ordinal),
            b'p' => post(&mut server, argument, &mut ordinal),
            b'r' => drop(server.reply(Answer::Usual)),
            b'8' => drop(server.reply(Answer::Fault(Fault::new(FaultCode::ACS_RETRY_REQUEST)))),
            b'c' => {
                let command_key = String::from_utf8_lossy(argument).into_owned();
                if let Ok(body) = server.call("tag", &AcsRequest::Reboot(Reboot { command_key })) {
                    assert_eq!(server.outstanding(), Some("tag"));
                    let _ = device.receive(200, &body, None);
                }
            }
            b's' => {
                let stored = serde_json::to_string(&server).expect("a session can be stored");
                server = serde_json::from_str(&stored).expect("what was stored can be loaded");
            }
            b'x' => server.end(),
            b'd' => {
                match device.receive(if argument.is_empty() { 204 } else { 200 }, argument, None) {
                    Ok(step) => match step.next {
                        Next::Post(body) => {
                            assert_eq!(body, device.last_post());
                            post(&mut server, &body, &mut ordinal);
                        }
                        Next::Serve(_) => {
                            let fault = Fault::new(FaultCode::METHOD_NOT_SUPPORTED);
                            let answer = device
                                .respond(Err(fault))
                                .expect("a fault is always an answer");
                            post(&mut server, &answer, &mut ordinal);
                        }
                        Next::Done => assert!(device.is_ended()),
                    },
                    Err(_) => assert!(device.is_ended()),
                }
            }
            _ => {}
        }
        assert!(!ended || server.is_ended(), "what has ended stays so");
    }
}

fn post(server: &mut acs::Session, body: &[u8], ordinal: &mut u32) {
    let Ok(post) = Post::read(body, None) else {
        return;
    };
    let is_repeat = server.is_repeat(&post);
    match server.receive(post) {
        Ok(step) => {
            assert_eq!(is_repeat, step.turn() == Turn::Repeat);
            if let Step::Report(report) = step {
                assert_eq!(report.ordinal, *ordinal);
                *ordinal += 1;
            }
            assert!(!server.is_ended());
        }
        Err(_) => assert!(server.is_ended()),
    }
    assert_eq!(server.reports(), *ordinal);
}

fn opening() -> Opening {
    Opening {
        inform: Inform::default(),
        version: Version::V1_4,
        session_timeout: None,
    }
}

fn inform(id: &[u8]) -> Vec<u8> {
    let message = CpeMessage::Request(CpeRequest::Inform(Inform::default()));
    let header = Header::with_id(String::from_utf8_lossy(id));
    let envelope = Envelope {
        namespace: Namespace::default(),
        header,
        message,
    };
    envelope.to_xml().unwrap_or_default().into_bytes()
}
