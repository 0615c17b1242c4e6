//! A device's POST as it comes in.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[cfg(doc)]
use super::Session;
use crate::{
    rpc::{CpeRequest, Inform},
    soap::{self, CpeMessage, Envelope, Malformed, Received, Strictness},
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
    pub fn read(
        body: &[u8],
        content_type: Option<&str>,
        strictness: Strictness,
    ) -> Result<Self, Malformed> {
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
        if strictness == Strictness::Strict && !repairs.is_empty() {
            return Err(Malformed::Strict(repairs));
        }
        let mut received = Envelope::read_from_cpe(&text, strictness)?;
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
