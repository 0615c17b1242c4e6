//! The device's side of a session (TR-069 §3.7.1), and when to try again after one that failed.
//!
//! ```text
//!            Inform                 InformResponse
//! open ──────────────▶ Informing ──────────────────┬───────────────┐
//!                                                  │ own request   │ empty POST
//!                                                  ▼               ▼       request
//!                                              Reporting ──────▶ Waiting ───────────▶ (serving)
//!                                               ▲    │   none     │  ▲                  │
//!                                               └────┘   left     │  └──────────────────┘
//!                                                                 ▼ 204      answer
//!                                                               Ended
//! ```
//!
//! The caller posts what it is given and hands back what the server answered. When the connection breaks, it posts
//! [`last_post`](Session::last_post) again.

use std::{collections::VecDeque, mem, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, FaultCode},
    rpc::{AcsRequest, AcsResponse, CpeRequest, CpeResponse, Inform},
    soap::{self, AcsMessage, Envelope, Header, Malformed, Namespace, Unwritable, Version},
};

/// How often one request is sent again because the server asks for it (fault 8005).
const MAX_RETRIES: u32 = 10;

/// How a session is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The Inform, with time, events and retry count.
    pub inform: Inform,
    /// The highest version that the device speaks. From 1.4 on it offers all versions up to it.
    pub version: Version,
    /// Seconds that the device may need between two POSTs, if it wants the server to know; from CWMP 1.3 on.
    pub session_timeout: Option<u32>,
}

/// A session, seen from the device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    state: State,
    namespace: Namespace,
    version: Version,
    next_id: u64,
    queue: VecDeque<CpeRequest>,
    /// The server wants no requests for now; ended by its next empty answer.
    held: bool,
    /// The device has said, by an empty POST while nothing held it back, that it has no more requests.
    done: bool,
    last_post: Post,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// The Inform is sent.
    Informing {
        session_timeout: Option<u32>,
        inform: Box<Inform>,
        retries: u32,
    },
    /// A request of our own is sent.
    Reporting {
        request: CpeRequest,
        retries: u32,
    },
    /// An empty POST or an answer is sent.
    Waiting,
    /// The server's request is with the caller.
    Serving {
        id: Option<String>,
        method: String,
    },
    Ended,
}

#[derive(Clone, Serialize, Deserialize)]
struct Post(String);

/// Without the envelope, which may hold passwords.
impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Post({} bytes)", self.0.len())
    }
}

/// What the server's answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What has become of the device's own message.
    pub answered: Option<Answered>,
    /// What is to be done.
    pub next: Next,
}

/// The fate of a message of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The server has the Inform: its events are delivered and may be forgotten.
    Inform,
    /// The server has answered this request.
    Request {
        /// The request.
        request: Box<CpeRequest>,
        /// Its answer. After a fault the request counts as delivered, too (SES-91).
        answer: Result<AcsResponse, Fault>,
    },
}

/// What the device is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Post this; if it is empty, without content type.
    Post(Vec<u8>),
    /// Carry this out and [`Session::respond`].
    Serve(AcsRequest),
    /// Nothing: the session has ended well.
    Done,
}

/// The session has failed: to be tried again after [`retry_wait`], with the same events.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server's status is neither 200 nor 204.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The server's message cannot be read.
    #[error("the server's message cannot be read")]
    Malformed(#[from] Malformed),
    /// The server refused the Inform.
    #[error("the server refused the Inform: {0}")]
    Refused(Fault),
    /// The server's message does not fit.
    #[error("the server sent {got} while {awaited} was awaited")]
    OutOfTurn {
        /// What was awaited.
        awaited: &'static str,
        /// What came.
        got: String,
    },
    /// The server wants the same request again and again.
    #[error("the server asked {MAX_RETRIES} times for the same request")]
    TooManyRetries,
    /// A message of our own cannot be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// An answer could not be given. The session is as it was; a fault can be given instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// No request of the server waits for an answer.
    #[error("no request waits for an answer")]
    NotDue,
    /// The answer is to another method.
    #[error("the answer is to {got}, the request was {expected}")]
    WrongResponse {
        /// The method requested.
        expected: String,
        /// The method answered.
        got: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

impl Session {
    /// Opens a session; the bytes are the first POST.
    ///
    /// # Errors
    ///
    /// [`Unwritable`] if a text of the Inform cannot be carried.
    pub fn open(opening: Opening) -> Result<(Self, Vec<u8>), Unwritable> {
        let Opening {
            inform,
            version,
            session_timeout,
        } = opening;
        let mut session = Self {
            state: State::Ended,
            namespace: version.namespace(),
            version,
            next_id: 1,
            queue: VecDeque::new(),
            held: false,
            done: false,
            last_post: Post(String::new()),
        };
        let post = session.inform(inform, session_timeout, 0)?;
        Ok((session, post))
    }

    /// Queues a request of the device's own, to be sent after the Inform. One that is queued after the device has sent its
    /// empty POST is sent only if the server had held requests back; else it stays among the [`unanswered`](Self::unanswered).
    pub fn push(&mut self, request: CpeRequest) {
        self.queue.push_back(request);
    }

    /// The requests that the server has not answered, for another session: those queued, and before them the one that was
    /// under way when the session failed.
    pub fn unanswered(&self) -> impl Iterator<Item = &CpeRequest> {
        let under_way = match &self.state {
            State::Reporting { request, .. } => Some(request),
            State::Informing { .. } | State::Waiting | State::Serving { .. } | State::Ended => None,
        };
        under_way.into_iter().chain(&self.queue)
    }

    /// The version that both sides speak; until the server has answered the Inform, the device's highest.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The last POST, to be sent again if its answer was lost.
    pub fn last_post(&self) -> &[u8] {
        self.last_post.0.as_bytes()
    }

    /// Whether the session has ended, well or not.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes the server's answer to the last POST. Challenges and redirections are the caller's affair.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the session has ended.
    pub fn receive(
        &mut self,
        status: u16,
        body: &[u8],
        content_type: Option<&str>,
    ) -> Result<Step, Failure> {
        // Whoever returns early from `judge` leaves the session ended.
        let state = mem::replace(&mut self.state, State::Ended);
        let under_way = match &state {
            State::Reporting { request, .. } => Some(request.clone()),
            State::Informing { .. } | State::Waiting | State::Serving { .. } | State::Ended => None,
        };
        let step = self.judge(state, status, body, content_type);
        if step.is_err()
            && let Some(request) = under_way
        {
            self.queue.push_front(request);
        }
        step
    }

    fn judge(
        &mut self,
        state: State,
        status: u16,
        body: &[u8],
        content_type: Option<&str>,
    ) -> Result<Step, Failure> {
        if !matches!(status, 200 | 204) {
            return Err(Failure::Status(status));
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return self.receive_nothing(&state);
        }
        let (text, _) = soap::decode_body(body, content_type);
        let Envelope {
            header, message, ..
        } = Envelope::read_from_acs(&text)?.envelope;
        self.held = header.hold_requests;

        match (state, message) {
            (State::Informing { .. }, AcsMessage::Response(AcsResponse::Inform(_))) => {
                // Without the server's choice a device of 1.4 falls back to what its namespace says (VER-06).
                self.version = header
                    .use_version
                    .unwrap_or_else(|| self.version.min(Version::V1_3));
                let next = self.go_on()?;
                Ok(Step {
                    answered: Some(Answered::Inform),
                    next,
                })
            }
            (
                State::Informing {
                    session_timeout,
                    inform,
                    retries,
                },
                AcsMessage::Fault(fault),
            ) => {
                if fault.code != FaultCode::ACS_RETRY_REQUEST {
                    return Err(Failure::Refused(fault));
                }
                if retries == MAX_RETRIES {
                    return Err(Failure::TooManyRetries);
                }
                let post = self.inform(*inform, session_timeout, retries + 1)?;
                Ok(Step {
                    answered: None,
                    next: Next::Post(post),
                })
            }
            (State::Reporting { request, retries }, AcsMessage::Fault(fault))
                if fault.code == FaultCode::ACS_RETRY_REQUEST =>
            {
                if retries == MAX_RETRIES {
                    return Err(Failure::TooManyRetries);
                }
                let post = self.report(request, retries + 1)?;
                Ok(Step {
                    answered: None,
                    next: Next::Post(post),
                })
            }
            (State::Reporting { request, .. }, AcsMessage::Fault(fault)) => {
                let next = self.go_on()?;
                Ok(Step {
                    answered: Some(Answered::Request {
                        request: Box::new(request),
                        answer: Err(fault),
                    }),
                    next,
                })
            }
            (State::Reporting { request, .. }, AcsMessage::Response(response))
                if response.method() == request.method() =>
            {
                let next = self.go_on()?;
                Ok(Step {
                    answered: Some(Answered::Request {
                        request: Box::new(request),
                        answer: Ok(response),
                    }),
                    next,
                })
            }
            (State::Waiting, AcsMessage::Request(request)) => {
                self.state = State::Serving {
                    id: header.id,
                    method: request.method().to_owned(),
                };
                Ok(Step {
                    answered: None,
                    next: Next::Serve(request),
                })
            }
            (state, message) => Err(Failure::OutOfTurn {
                awaited: state.awaited(),
                got: describe(&message),
            }),
        }
    }

    /// Answers the server's request; the bytes are to be posted. A method that the device does not have is answered with
    /// fault 9000.
    ///
    /// # Errors
    ///
    /// [`RespondError`]: the session is as it was.
    pub fn respond(&mut self, answer: Result<CpeResponse, Fault>) -> Result<Vec<u8>, RespondError> {
        let State::Serving { id, method } = &self.state else {
            return Err(RespondError::NotDue);
        };
        if let Ok(response) = &answer
            && response.method() != method
        {
            return Err(RespondError::WrongResponse {
                expected: method.clone(),
                got: response.method().to_owned(),
            });
        }
        let header = Header {
            id: id.clone(),
            ..Header::default()
        };
        let xml = soap::write(self.namespace, &header, |writer| match &answer {
            Ok(response) => response.write(writer),
            Err(fault) => fault.write(writer),
        })?;
        self.state = State::Waiting;
        Ok(self.post(xml))
    }

    /// An answer without envelope.
    fn receive_nothing(&mut self, state: &State) -> Result<Step, Failure> {
        match state {
            State::Waiting => {
                self.held = false;
                // If requests were held back it is not the end: the device reports them, or says that it has none (SES-48).
                let next = if self.done { Next::Done } else { self.go_on()? };
                Ok(Step {
                    answered: None,
                    next,
                })
            }
            State::Informing { .. }
            | State::Reporting { .. }
            | State::Serving { .. }
            | State::Ended => Err(Failure::OutOfTurn {
                awaited: state.awaited(),
                got: "nothing".to_owned(),
            }),
        }
    }

    /// Sends the next request, or the empty POST.
    fn go_on(&mut self) -> Result<Next, Unwritable> {
        if !self.held
            && let Some(request) = self.queue.front().cloned()
        {
            let post = self.report(request, 0)?;
            self.queue.pop_front();
            return Ok(Next::Post(post));
        }
        self.done = !self.held;
        self.state = State::Waiting;
        Ok(Next::Post(self.post(String::new())))
    }

    fn inform(
        &mut self,
        inform: Inform,
        session_timeout: Option<u32>,
        retries: u32,
    ) -> Result<Vec<u8>, Unwritable> {
        let header = Header {
            session_timeout: session_timeout.filter(|_| self.version >= Version::V1_3),
            supported_versions: (self.version >= Version::V1_4).then(|| Version::ALL.to_vec()),
            ..self.header()
        };
        let request = CpeRequest::Inform(inform);
        let xml = soap::write(self.namespace, &header, |writer| request.write(writer))?;
        if let CpeRequest::Inform(inform) = request {
            self.state = State::Informing {
                session_timeout,
                inform: Box::new(inform),
                retries,
            };
        }
        Ok(self.post(xml))
    }

    fn report(&mut self, request: CpeRequest, retries: u32) -> Result<Vec<u8>, Unwritable> {
        let header = self.header();
        let xml = soap::write(self.namespace, &header, |writer| request.write(writer))?;
        self.state = State::Reporting { request, retries };
        Ok(self.post(xml))
    }

    /// A header with the next ID.
    fn header(&mut self) -> Header {
        let id = self.next_id;
        self.next_id += 1;
        Header::with_id(id.to_string())
    }

    fn post(&mut self, xml: String) -> Vec<u8> {
        self.last_post = Post(xml);
        self.last_post.0.clone().into_bytes()
    }
}

impl State {
    fn awaited(&self) -> &'static str {
        match self {
            Self::Informing { .. } => "an InformResponse",
            Self::Reporting { .. } => "the answer to a request",
            Self::Waiting => "a request or nothing",
            Self::Serving { .. } => "the device's own answer",
            Self::Ended => "nothing any more",
        }
    }
}

fn describe(message: &AcsMessage) -> String {
    match message {
        AcsMessage::Request(request) => format!("a {} request", request.method()),
        AcsMessage::Response(response) => format!("a {} response", response.method()),
        AcsMessage::Fault(fault) => format!("fault {}", fault.code),
    }
}

/// Returns how long to wait before session retry number `retry`, counted from 1.
///
/// Between `m·(k/1000)^(n−1)` and `m·(k/1000)^n` seconds, where `m` is `minimum_wait` in seconds (by default 5), `k` is
/// `multiplier` (by default 2000) and `n` is `retry`, but at most 10 (TR-069 §3.2.1.1, SES-66). `random` decides where in
/// between: 0 is the lower bound, `u32::MAX` the upper one.
pub fn retry_wait(retry: u32, minimum_wait: u32, multiplier: u32, random: u32) -> Duration {
    let exponent = i32::try_from(retry.clamp(1, 10)).unwrap_or(10);
    let factor = f64::from(multiplier.max(1000)) / 1000.0;
    let lower = f64::from(minimum_wait) * factor.powi(exponent - 1);
    let upper = lower * factor;
    let seconds = lower + (upper - lower) * (f64::from(random) / f64::from(u32::MAX));
    // The largest arguments give more seconds than a year has, but far less than a `Duration` holds.
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
