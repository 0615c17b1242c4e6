//! What the server can say, and why it may be unable to.

#[cfg(doc)]
use super::Limits;
use crate::{
    fault::{Fault, FaultCode},
    rpc::{AcsResponse, GetRpcMethodsResponse, InformResponse},
    soap::{Unwritable, Version},
};

/// The methods that a server built on this crate accepts (RPC-11), each with the version that brought it (RPC-12).
const METHODS: [(&str, Version); 7] = [
    ("Inform", Version::V1_0),
    ("GetRPCMethods", Version::V1_0),
    ("TransferComplete", Version::V1_0),
    ("RequestDownload", Version::V1_0),
    ("AutonomousTransferComplete", Version::V1_1),
    ("DUStateChangeComplete", Version::V1_2),
    ("AutonomousDUStateChangeComplete", Version::V1_2),
];

/// What to answer to the device's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What is usual: the method's plain acknowledgement, our methods to GetRPCMethods, and fault 8000 to Kicked and to
    /// methods that the standard does not have.
    Usual,
    /// This.
    Response(AcsResponse),
    /// A refusal. Fault 8005 makes the device send the same again in this session; any other to an Inform ends it.
    Fault(Fault),
}

/// An answer could not be given. The session is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// No request waits for an answer.
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

/// A call could not be made. The session is as it was: another call can be made, or the session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It is not our turn.
    #[error("it is not our turn to call")]
    NotOurTurn,
    /// One of the [`Limits`] is reached: the session should be ended, and the command fails.
    #[error("the session has had its {limit} {what}")]
    Limit {
        /// What there is enough of.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// The request cannot be written: the command fails.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// What to answer to a method if nothing special is to be said.
pub(super) fn usual_answer(method: &str, version: Version) -> Result<AcsResponse, Fault> {
    Ok(match method {
        "Inform" => AcsResponse::Inform(InformResponse::default()),
        "GetRPCMethods" => AcsResponse::GetRpcMethods(GetRpcMethodsResponse {
            methods: METHODS
                .iter()
                .filter(|(_, since)| *since <= version)
                .map(|(method, _)| (*method).to_owned())
                .collect(),
        }),
        "TransferComplete" => AcsResponse::TransferComplete,
        "AutonomousTransferComplete" => AcsResponse::AutonomousTransferComplete,
        "RequestDownload" => AcsResponse::RequestDownload,
        "DUStateChangeComplete" => AcsResponse::DuStateChangeComplete,
        "AutonomousDUStateChangeComplete" => AcsResponse::AutonomousDuStateChangeComplete,
        _ => return Err(Fault::new(FaultCode::ACS_METHOD_NOT_SUPPORTED)),
    })
}
