//! The server's side of a session (TR-069 §3.7.2).
//!
//! ```text
//!                  Inform                   InformResponse
//! AwaitingInform ──────────▶ (answer due) ─────────────────────┐
//!                                                              ▼
//!                  ┌──────── request of the device ──────── Listening ◀──┐
//!                  ▼                                           │         │
//!             (answer due) ─────────── its answer ─────────────┼─────────┘
//!                                                              │ empty POST
//!                          end: 204                            ▼
//!      Ended ◀──────────────────────────────────────────── (our turn) ◀──┐
//!                                                              │         │ response, fault,
//!                                                              │ call    │ or empty POST
//!                                                              ▼         │
//!                                                           Calling ─────┘
//! ```
//!
//! The states in parentheses last from [`receive`](Session::receive) to the answer to the same POST. Between two POSTs a session
//! awaits its Inform, listens, has called, or has ended, and is plain data that can be stored anywhere. A POST is one call:
//! whatever [`Violation`] comes of it leaves the session ended.

mod answer;
mod post;
mod step;

use std::mem;

use serde::{Deserialize, Serialize};

use self::{
    answer::usual_answer,
    post::{Content, Fingerprint},
};
pub use self::{
    answer::{Answer, CallError, ReplyError},
    post::{Objection, Post},
    step::{Again, Report, Said, Step, Turn, Violation, ViolationKind},
};
use crate::{
    fault::FaultCode,
    rpc::{AcsRequest, CpeRequest},
    soap::{self, CpeMessage, Envelope, Header, Namespace, Received, Repair, Repairs, Version},
};

/// Answers above this many bytes are not kept for a POST that is repeated.
const MAX_KEPT: usize = 64 << 10;

/// Bounds of a session (SES-62).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests of both sides together.
    pub requests: u32,
    /// Equal requests of ours in succession.
    pub identical_calls: u32,
    /// Faults of the device in succession.
    pub consecutive_faults: u32,
    /// POSTs that were repeated because our answer was lost.
    pub replays: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 1024,
            identical_calls: 8,
            consecutive_faults: 8,
            replays: 16,
        }
    }
}

/// A session, seen from the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    limits: Limits,
    id_prefix: String,
    state: State,
    namespace: Namespace,
    version: Version,
    use_version: Option<Version>,
    session_timeout: Option<u32>,
    reports: u32,
    device_requests: u32,
    calls: u32,
    identical_calls: Option<(Fingerprint, u32)>,
    consecutive_faults: u32,
    replays: u32,
    last: Option<Exchange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    AwaitingInform,
    /// The device's request waits for its answer.
    AnswerDue {
        id: Option<String>,
        method: String,
    },
    Listening,
    OurTurn,
    Calling {
        id: String,
        method: String,
        tag: String,
    },
    Ended,
}

/// The last POST and what it was answered with.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Exchange {
    post: Fingerprint,
    answer: Kept,
    replayed: bool,
}

#[derive(Clone, Serialize, Deserialize)]
enum Kept {
    /// Not answered yet, or too large to keep.
    Nothing,
    NoContent,
    Envelope(String),
}

/// Without the envelope, which may hold passwords.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::NoContent => f.write_str("NoContent"),
            Self::Envelope(xml) => write!(f, "Envelope({} bytes)", xml.len()),
        }
    }
}

impl Session {
    /// A session that awaits its Inform. `id_prefix` begins every `cwmp:ID` of ours and should be different in every session;
    /// at most 32 characters of it are used.
    pub fn new(id_prefix: &str, limits: Limits) -> Self {
        Self {
            limits,
            id_prefix: id_prefix
                .chars()
                .filter(|c| c.is_ascii_alphanumeric())
                .take(32)
                .collect(),
            state: State::AwaitingInform,
            namespace: Namespace::default(),
            version: Version::V1_0,
            use_version: None,
            session_timeout: None,
            reports: 0,
            device_requests: 0,
            calls: 0,
            identical_calls: None,
            consecutive_faults: 0,
            replays: 0,
            last: None,
        }
    }

    /// The version that both sides speak, known from the Inform on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The namespace that the device uses, and so do we.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Seconds that the device asks us to wait for its next POST, within 30 to 3600 (VER-14).
    pub fn session_timeout(&self) -> Option<u32> {
        self.session_timeout
            .filter(|seconds| *seconds > 0)
            .map(|seconds| seconds.clamp(30, 3600))
    }

    /// How many reports there have been.
    pub fn reports(&self) -> u32 {
        self.reports
    }

    /// The caller's name for the call that awaits its answer.
    pub fn outstanding(&self) -> Option<&str> {
        match &self.state {
            State::Calling { tag, .. } => Some(tag),
            State::AwaitingInform
            | State::AnswerDue { .. }
            | State::Listening
            | State::OurTurn
            | State::Ended => None,
        }
    }

    /// Whether the session has ended.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the device repeats its previous POST because it has not seen our answer (SES-60).
    ///
    /// Equal bodies are not always the same POST: devices that do not return our ID answer two equal calls alike. So, where
    /// the ID does not tell, an equal body is a repetition once, and the next one counts. An empty POST is a repetition only
    /// if our call had been the answer to one, and once as well.
    pub fn is_repeat(&self, post: &Post) -> bool {
        let Some(last) = self
            .last
            .as_ref()
            .filter(|last| last.post == post.fingerprint)
        else {
            return false;
        };
        match (&self.state, &post.content) {
            (State::Listening, Content::Message(_)) => true,
            (State::Calling { .. }, Content::Empty) => !last.replayed,
            (
                State::Calling {
                    id: outstanding, ..
                },
                Content::Message(received),
            ) => match received.envelope.header.id.as_deref() {
                Some(id) if id == outstanding => false,
                Some(id) if self.is_our_id(id) => true,
                _ => !last.replayed,
            },
            (
                State::AwaitingInform | State::AnswerDue { .. } | State::OurTurn | State::Ended,
                _,
            )
            | (State::Listening, Content::Empty) => false,
        }
    }

    /// Takes a POST.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the session has ended.
    pub fn receive(&mut self, post: Post) -> Result<Step, Violation> {
        let abandoned = self.outstanding().map(str::to_owned);
        // Whoever returns early from `judge` ends up here: a violation leaves the session ended.
        self.judge(post).map_err(|kind| {
            self.state = State::Ended;
            Violation { kind, abandoned }
        })
    }

    fn judge(&mut self, post: Post) -> Result<Step, ViolationKind> {
        if self.is_repeat(&post) {
            return self.replay().map(Step::Repeated);
        }
        let state = mem::replace(&mut self.state, State::Ended);
        self.last = Some(Exchange {
            post: post.fingerprint,
            answer: Kept::Nothing,
            replayed: false,
        });

        let Received {
            envelope:
                Envelope {
                    namespace,
                    header,
                    message,
                },
            mut repairs,
        } = match post.content {
            Content::Message(received) => *received,
            Content::Empty => {
                return match state {
                    State::AwaitingInform => Err(ViolationKind::NoInform),
                    State::Listening => {
                        self.state = State::OurTurn;
                        Ok(Step::Nothing)
                    }
                    State::Calling { tag, .. } => {
                        self.state = State::OurTurn;
                        Ok(self.report(Said::NoAnswer { tag }, Repairs::NONE))
                    }
                    State::AnswerDue { .. } | State::OurTurn | State::Ended => {
                        Err(ViolationKind::Ended)
                    }
                };
            }
        };

        match (state, message) {
            (State::AwaitingInform, CpeMessage::Request(CpeRequest::Inform(inform))) => {
                self.count_device_request()?;
                self.negotiate(namespace, &header);
                self.state = State::AnswerDue {
                    id: header.id,
                    method: "Inform".to_owned(),
                };
                Ok(self.report(Said::Inform(Box::new(inform)), repairs))
            }
            (State::AwaitingInform, _) => Err(ViolationKind::NoInform),

            (
                State::Listening | State::Calling { .. },
                CpeMessage::Request(CpeRequest::Inform(_)),
            ) => Err(ViolationKind::SecondInform),
            (State::Listening, CpeMessage::Request(request)) => {
                self.count_device_request()?;
                self.state = State::AnswerDue {
                    id: header.id,
                    method: request.method().to_owned(),
                };
                Ok(self.report(Said::Request(request), repairs))
            }
            (State::Listening, CpeMessage::Fault(fault)) => {
                self.count_device_request()?;
                self.state = State::Listening;
                self.keep(Kept::NoContent);
                Ok(self.report(Said::StrayFault(fault), repairs))
            }
            (State::Listening, CpeMessage::Response(response)) => {
                Err(ViolationKind::UnexpectedResponse {
                    method: response.method().to_owned(),
                })
            }

            (State::Calling { method, .. }, CpeMessage::Response(response))
                if response.method() != method =>
            {
                Err(ViolationKind::WrongResponse {
                    expected: method,
                    got: response.method().to_owned(),
                })
            }
            (State::Calling { id, tag, .. }, CpeMessage::Response(response)) => {
                if header.id.as_deref() != Some(&id) {
                    repairs.insert(Repair::ResponseId);
                }
                self.consecutive_faults = 0;
                self.state = State::OurTurn;
                Ok(self.report(Said::Response { tag, response }, repairs))
            }
            (State::Calling { id, tag, .. }, CpeMessage::Fault(fault)) => {
                if header.id.as_deref() != Some(&id) {
                    repairs.insert(Repair::ResponseId);
                }
                // A read that is refused for one of its paths is asked for in parts, each of which may be refused (RPC-36).
                let is_narrowed = [
                    FaultCode::INVALID_PARAMETER_NAME,
                    FaultCode::RESOURCES_EXCEEDED,
                ];
                if !is_narrowed.contains(&fault.code) {
                    self.consecutive_faults += 1;
                }
                self.state = State::OurTurn;
                Ok(self.report(Said::Fault { tag, fault }, repairs))
            }
            (State::Calling { .. }, CpeMessage::Request(request)) => {
                Err(ViolationKind::RequestInsteadOfAnswer {
                    method: request.method().to_owned(),
                })
            }

            (State::AnswerDue { .. } | State::OurTurn | State::Ended, _) => {
                Err(ViolationKind::Ended)
            }
        }
    }

    /// Answers the device's request: the body of a 200.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]: the session is as it was.
    pub fn reply(&mut self, answer: Answer) -> Result<Vec<u8>, ReplyError> {
        let State::AnswerDue { id, method } = &self.state else {
            return Err(ReplyError::NotDue);
        };
        let is_inform = method == "Inform";
        let answer = match answer {
            Answer::Usual => usual_answer(method, self.version),
            Answer::Response(response) if response.method() != method => {
                return Err(ReplyError::WrongResponse {
                    expected: method.clone(),
                    got: response.method().to_owned(),
                });
            }
            Answer::Response(response) => Ok(response),
            Answer::Fault(fault) => Err(fault),
        };
        let header = Header {
            id: id.clone(),
            use_version: self.use_version.filter(|_| is_inform && answer.is_ok()),
            ..Header::default()
        };
        let xml = soap::write(self.namespace, &header, |writer| match &answer {
            Ok(response) => response.write(writer),
            Err(fault) => fault.write(writer),
        })?;

        match answer {
            Err(fault) if fault.code == FaultCode::ACS_RETRY_REQUEST => {
                self.state = if is_inform {
                    State::AwaitingInform
                } else {
                    State::Listening
                };
                // The same message again is what was asked for, and no repetition.
                self.last = None;
            }
            Err(_) if is_inform => self.state = State::Ended,
            Ok(_) | Err(_) => {
                self.state = State::Listening;
                self.keep(Kept::Envelope(xml.clone()));
            }
        }
        Ok(xml.into_bytes())
    }

    /// Asks the device for something: the body of a 200. The answer comes as a [`Report`] with `tag`.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the session is as it was.
    pub fn call(
        &mut self,
        tag: impl Into<String>,
        request: &AcsRequest,
    ) -> Result<Vec<u8>, CallError> {
        if self.state != State::OurTurn {
            return Err(CallError::NotOurTurn);
        }
        self.check_limit(
            "requests",
            self.calls.saturating_add(self.device_requests),
            self.limits.requests,
        )?;
        self.check_limit(
            "consecutive faults",
            self.consecutive_faults,
            self.limits.consecutive_faults,
        )?;

        // The fingerprint is taken of the request under one ID, so that equal requests have equal ones.
        let anonymous = soap::write(self.namespace, &Header::default(), |writer| {
            request.write(writer)
        })?;
        let fingerprint = Fingerprint::of(anonymous.as_bytes());
        let identical = match self.identical_calls {
            Some((last, count)) if last == fingerprint => count,
            _ => 0,
        };
        self.check_limit("identical calls", identical, self.limits.identical_calls)?;

        let id = format!("{}-{}", self.id_prefix, self.calls + 1);
        let xml = soap::write(self.namespace, &Header::with_id(id.clone()), |writer| {
            request.write(writer)
        })?;
        self.calls += 1;
        self.identical_calls = Some((fingerprint, identical + 1));
        self.state = State::Calling {
            id,
            method: request.method().to_owned(),
            tag: tag.into(),
        };
        self.keep(Kept::Envelope(xml.clone()));
        Ok(xml.into_bytes())
    }

    /// Ends the session; in our turn the device is to be told by 204.
    pub fn end(&mut self) {
        self.state = State::Ended;
        self.last = None;
    }

    fn report(&mut self, said: Said, repairs: Repairs) -> Step {
        let ordinal = self.reports;
        self.reports += 1;
        Step::Report(Report {
            ordinal,
            said,
            repairs,
        })
    }

    fn count_device_request(&mut self) -> Result<(), ViolationKind> {
        self.device_requests += 1;
        if self.device_requests.saturating_add(self.calls) > self.limits.requests {
            return Err(ViolationKind::Limit { what: "requests" });
        }
        Ok(())
    }

    fn check_limit(&self, what: &'static str, count: u32, limit: u32) -> Result<(), CallError> {
        if count >= limit {
            Err(CallError::Limit { what, limit })
        } else {
            Ok(())
        }
    }

    /// Settles version and namespace from the Inform's envelope (VER-01 to VER-07).
    fn negotiate(&mut self, namespace: Namespace, header: &Header) {
        self.namespace = namespace;
        self.session_timeout = header.session_timeout;
        // We speak all versions that can be in the list, so the highest of it is the highest common one.
        self.use_version = header
            .supported_versions
            .as_ref()
            .and_then(|versions| versions.iter().max().copied());
        let by_namespace = namespace.version();
        // 1.2 and 1.3 share a namespace; the header came with 1.3.
        let is_1_3 = by_namespace == Version::V1_2 && header.session_timeout.is_some();
        self.version =
            self.use_version
                .unwrap_or(if is_1_3 { Version::V1_3 } else { by_namespace });
    }

    /// Whether the ID is one that we have used in this session.
    fn is_our_id(&self, id: &str) -> bool {
        id.strip_prefix(&self.id_prefix)
            .and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok())
            .is_some_and(|number| (1..=self.calls).contains(&number))
    }

    fn replay(&mut self) -> Result<Again, ViolationKind> {
        self.replays += 1;
        if self.replays > self.limits.replays {
            return Err(ViolationKind::Limit {
                what: "repetitions",
            });
        }
        let last = self.last.as_mut().ok_or(ViolationKind::AnswerNotKept)?;
        last.replayed = true;
        match &last.answer {
            Kept::Envelope(xml) => Ok(Again::Envelope(xml.clone().into_bytes())),
            Kept::NoContent => Ok(Again::NoContent),
            Kept::Nothing => Err(ViolationKind::AnswerNotKept),
        }
    }

    fn keep(&mut self, answer: Kept) {
        let too_large = matches!(&answer, Kept::Envelope(xml) if xml.len() > MAX_KEPT);
        if let Some(last) = &mut self.last {
            last.answer = if too_large { Kept::Nothing } else { answer };
        }
    }
}
