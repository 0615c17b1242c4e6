//! Sessions of a simulated device: the idle one, which is measured, and the one that does whatever the server asks.

use crate::{
    device,
    inform::{self, Template},
    peer::{Failure, Peer},
};
use bytes::Bytes;
use hyper::{StatusCode, header};
use jiff::Timestamp;
use platen_cwmp::{
    cpe::{self, Answered, Next},
    date_time::DateTime,
    event_code::EventCode,
    fault::{Fault, FaultCode},
    rpc::{AcsRequest, CpeRequest, CpeResponse, Inform, SetParameterValuesResponse, Status},
    soap::Version,
};
use std::time::{Duration, Instant};

/// Why a session did not end well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Broken {
    /// A POST has no answer.
    #[error("{0}")]
    Http(#[from] Failure),
    /// The server answered with another status than the session expects.
    #[error("status {0}")]
    Status(u16),
    /// The server's message does not fit.
    #[error("protocol")]
    Protocol,
    /// The server refused to open a session for now.
    #[error("busy (503)")]
    Busy,
}

/// A device between two sessions.
#[derive(Debug)]
pub struct Device {
    number: usize,
    serial_number: String,
    peer: Peer,
    sessions: u64,
}

/// How long the server took to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The Inform, challenge included.
    pub inform: Duration,
    /// The empty POST.
    pub end: Duration,
}

/// What is kept from one session to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// The connection; else each session opens one.
    pub keep_alive: bool,
    /// The server's challenge; else each session begins without credentials and is challenged.
    pub keep_challenge: bool,
    /// Idle sessions are left after the InformResponse, for the server to keep: what a live session weighs.
    pub leave_open: bool,
}

impl Device {
    /// Device `number`, with its way to the server.
    #[must_use]
    pub fn new(number: usize, peer: Peer) -> Self {
        Self {
            number,
            serial_number: device::serial_number(number),
            peer,
            sessions: 0,
        }
    }

    /// How many challenges the device has met.
    #[must_use]
    pub const fn challenges(&self) -> u64 {
        self.peer.challenges()
    }

    /// One idle session: Inform, InformResponse, empty POST, 204. `now`: what the device's clock says.
    ///
    /// # Errors
    ///
    /// [`Broken`], also if the server asks for anything: then the session was not idle.
    pub async fn idle(
        &mut self,
        template: &Template,
        now: &str,
        habits: Habits,
    ) -> Result<Timing, Broken> {
        self.begin(habits);
        self.sessions += 1;
        let body = template.fill(
            &self.serial_number,
            now,
            &format!("{}-{}", self.number, self.sessions),
        );

        let started = Instant::now();
        let answer = self.peer.post(body, true).await?;
        let inform = started.elapsed();
        match answer.status.as_u16() {
            200 if contains(&answer.body, b"InformResponse") => {}
            200 => return Err(Broken::Protocol),
            503 => return Err(Broken::Busy),
            status => return Err(Broken::Status(status)),
        }
        if habits.leave_open {
            let end = Duration::ZERO;
            return Ok(Timing { inform, end });
        }

        let started = Instant::now();
        let answer = self.peer.post(Bytes::new(), false).await?;
        let end = started.elapsed();
        match answer.status {
            StatusCode::NO_CONTENT => Ok(Timing { inform, end }),
            StatusCode::OK if answer.body.is_empty() => Ok(Timing { inform, end }),
            StatusCode::OK => Err(Broken::Protocol),
            status => Err(Broken::Status(status.as_u16())),
        }
    }

    /// The session of a device that was just installed: reports BOOTSTRAP, takes every value that it is given.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub async fn install(&mut self, habits: Habits) -> Result<(), Broken> {
        self.begin(habits);
        let events = [EventCode::Bootstrap, EventCode::Boot];
        let inform = inform::inform(
            device::device_id(self.number),
            &events,
            DateTime::at(Timestamp::now()),
        );
        let serve = |request| match request {
            AcsRequest::SetParameterValues(_) => Ok(CpeResponse::SetParameterValues(
                SetParameterValuesResponse {
                    status: Status::default(),
                },
            )),
            _ => Err(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)),
        };
        run(&mut self.peer, inform, Vec::new(), || (), serve).await
    }

    fn begin(&mut self, habits: Habits) {
        self.peer.forget_cookies();
        if !habits.keep_alive {
            self.peer.disconnect();
        }
        if !habits.keep_challenge {
            self.peer.forget_challenge();
        }
    }
}

/// Runs a whole session: sends the Inform and the device's own requests, and has `serve` answer what the server asks.
///
/// `acknowledged` is called once the server has the Inform.
///
/// # Errors
///
/// [`Broken`].
pub async fn run(
    peer: &mut Peer,
    inform: Inform,
    requests: Vec<CpeRequest>,
    mut acknowledged: impl FnMut(),
    mut serve: impl FnMut(AcsRequest) -> Result<CpeResponse, Fault>,
) -> Result<(), Broken> {
    let opening = cpe::Opening {
        inform,
        version: Version::V1_2,
        session_timeout: None,
    };
    let (mut session, mut post) = cpe::Session::open(opening).map_err(|_| Broken::Protocol)?;
    requests
        .into_iter()
        .for_each(|request| session.push(request));
    let mut first = true;
    loop {
        let answer = peer.post(post.into(), std::mem::take(&mut first)).await?;
        let status = answer.status.as_u16();
        if status == 503 {
            return Err(Broken::Busy);
        }
        let content_type = answer
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let step = session
            .receive(status, &answer.body, content_type)
            .map_err(|failure| match failure {
                cpe::Failure::Status(status) => Broken::Status(status),
                _ => Broken::Protocol,
            })?;
        if step.answered == Some(Answered::Inform) {
            acknowledged();
        }
        post = match step.next {
            Next::Post(post) => post,
            Next::Serve(request) => session
                .respond(serve(request))
                .map_err(|_| Broken::Protocol)?,
            Next::Done => return Ok(()),
        };
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
