//! What a device's POST means, and how it can break the protocol.

#[cfg(doc)]
use super::{Limits, Session};
use crate::{
    fault::Fault,
    rpc::{CpeRequest, CpeResponse, Inform},
    soap::Repairs,
};

/// What a POST means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The device said something.
    Report(Report),
    /// The device has nothing to say: an empty POST. It is our turn.
    Nothing,
    /// The device repeats its previous POST, since our answer was lost. Send it again, byte for byte (SES-60).
    Repeated(Again),
}

/// The answer to a POST that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// 200 with this envelope.
    Envelope(Vec<u8>),
    /// 204.
    NoContent,
}

/// Who is to act after a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The device awaits the answer to its request: [`Session::reply`].
    Reply,
    /// We may [`Session::call`] or [`Session::end`].
    Ours,
    /// Nothing to say: 204, and the session goes on.
    NoContent,
    /// Send the kept answer.
    Repeat,
}

impl Step {
    /// Who is to act.
    pub fn turn(&self) -> Turn {
        match self {
            Self::Report(report) => match report.said {
                Said::Inform(_) | Said::Request(_) => Turn::Reply,
                Said::Response { .. } | Said::Fault { .. } | Said::NoAnswer { .. } => Turn::Ours,
                Said::StrayFault(_) => Turn::NoContent,
            },
            Self::Nothing => Turn::Ours,
            Self::Repeated(_) => Turn::Repeat,
        }
    }
}

/// Something that the device said, to be published before it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its number in the session, from 0 and without gaps.
    pub ordinal: u32,
    /// What it said.
    pub said: Said,
    /// What had to be repaired to read it.
    pub repairs: Repairs,
}

/// What a device can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The session's first message.
    Inform(Box<Inform>),
    /// A request of its own; never an Inform.
    Request(CpeRequest),
    /// It did what we called for.
    Response {
        /// The caller's name for the call.
        tag: String,
        /// The result.
        response: CpeResponse,
    },
    /// It did not do what we called for.
    Fault {
        /// The caller's name for the call.
        tag: String,
        /// Why.
        fault: Fault,
    },
    /// It sent an empty POST in place of an answer: what became of the call is not known (RPC-05).
    NoAnswer {
        /// The caller's name for the call.
        tag: String,
    },
    /// A fault although we had called for nothing (SES-81).
    StrayFault(Fault),
}

/// The device broke the protocol. The session has ended; to be answered with 400, or, if the POST was empty and the session
/// had ended before, with 204 (SES-70).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Violation {
    /// How.
    pub kind: ViolationKind,
    /// The call that was under way; what became of it is not known (SES-61).
    pub abandoned: Option<String>,
}

/// How a device can break the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViolationKind {
    /// The first message is not an Inform (SES-40).
    #[error("the session does not begin with an Inform")]
    NoInform,
    /// An Inform within the session. The POST opens another one, with a [`Session::new`] of its own (SES-56).
    #[error("an Inform within a session")]
    SecondInform,
    /// An answer to nothing.
    #[error("a {method} response, although nothing was asked")]
    UnexpectedResponse {
        /// The method answered.
        method: String,
    },
    /// The answer to another method than the one called (RPC-05).
    #[error("a {got} response to {expected}")]
    WrongResponse {
        /// The method called.
        expected: String,
        /// The method answered.
        got: String,
    },
    /// A request in place of an answer.
    #[error("a {method} request in place of an answer")]
    RequestInsteadOfAnswer {
        /// The method requested.
        method: String,
    },
    /// More requests or repetitions than [`Limits`] allow.
    #[error("more {what} than allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
    },
    /// The POST is repeated, but its answer was too large to be kept, or was never given.
    #[error("a repeated POST whose answer is not kept")]
    AnswerNotKept,
    /// The session had ended.
    #[error("the session has ended")]
    Ended,
}
