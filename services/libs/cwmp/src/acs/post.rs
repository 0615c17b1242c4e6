//! A device's POST as it comes in.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[cfg(doc)]
use super::Session;
use crate::{
    date_time::Meaning,
    fault::{Fault, FaultCode},
    rpc::{CpeRequest, Inform},
    soap::{self, CpeMessage, Envelope, Malformed, Received, Repair, Repairs, Version},
};

/// A device's POST, read and not yet judged.
#[derive(Debug, Clone)]
pub struct Post {
    pub(super) fingerprint: Fingerprint,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Empty,
    Message(Box<Received<CpeMessage>>),
}

impl Post {
    /// Reads the body of a POST, decompressed, in whatever charset it is. Emptiness is a matter of bytes alone (SES-11).
    ///
    /// # Errors
    ///
    /// [`Malformed`]: to be answered with 400.
    pub fn read(body: &[u8], content_type: Option<&str>) -> Result<Self, Malformed> {
        let fingerprint = Fingerprint::of(body);
        if body
            .iter()
            .all(|byte| byte.is_ascii_whitespace() || *byte == 0)
        {
            return Ok(Self {
                fingerprint,
                content: Content::Empty,
            });
        }
        let (text, repairs) = soap::decode_body(body, content_type);
        let mut received = Envelope::read_from_cpe(&text)?;
        received.repairs = received.repairs.union(repairs);
        Ok(Self {
            fingerprint,
            content: Content::Message(Box::new(received)),
        })
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    /// What it took to read it.
    pub fn repairs(&self) -> Repairs {
        match &self.content {
            Content::Message(received) => received.repairs,
            Content::Empty => Repairs::NONE,
        }
    }

    /// What a strict server holds against it (the mode S of requirements).
    pub fn objection(&self) -> Option<Objection> {
        let Content::Message(received) = &self.content else {
            return None;
        };
        let is_of_form = received.repairs.iter().any(Repair::is_of_form)
            || !received.envelope.namespace.is_published();
        if is_of_form {
            return Some(Objection::Form);
        }
        let inform = self.inform()?;
        let versions = received.envelope.header.supported_versions.as_deref();
        if versions.is_some_and(<[Version]>::is_empty) {
            return Some(Objection::Version);
        }
        let oui = inform.device_id.oui.as_bytes();
        let is_right = received.repairs.is_empty()
            && !inform.events.is_empty()
            && inform.current_time.meaning() != Meaning::Unreadable
            && oui.len() == 6
            && oui
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
        (!is_right).then_some(Objection::Arguments)
    }

    /// The Inform, if it is one. An Inform opens a new session, whatever came before (SES-56), unless
    /// [`Session::is_repeat`] says that it is the same one again.
    pub fn inform(&self) -> Option<&Inform> {
        match &self.content {
            Content::Message(received) => match &received.envelope.message {
                CpeMessage::Request(CpeRequest::Inform(inform)) => Some(inform),
                CpeMessage::Request(_) | CpeMessage::Response(_) | CpeMessage::Fault(_) => None,
            },
            Content::Empty => None,
        }
    }
}

/// What a strict server holds against a message that a tolerant one takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// It is not of the form that SOAP and CWMP prescribe: to be answered with 400.
    Form,
    /// It is an Inform whose arguments are not what the standard asks for: to be answered with fault 8003.
    Arguments,
    /// It is an Inform of a device with which there is no version in common: to be answered with fault 8006 (VER-07).
    Version,
}

impl Objection {
    /// The fault that tells an Inform's sender; none: 400 does.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Form => None,
            Self::Arguments => Some(Fault::with_text(
                FaultCode::ACS_INVALID_ARGUMENTS,
                "the Inform is not as the standard asks for",
            )),
            Self::Version => Some(Fault::new(FaultCode::ACS_VERSION_INCOMPATIBLE)),
        }
    }
}

/// Hash of a body: equal bodies are the same POST again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint(u64, u64);

impl Fingerprint {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let word = |at: usize| {
            hash.iter()
                .skip(at)
                .take(8)
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Self(word(0), word(8))
    }
}
