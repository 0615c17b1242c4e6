//! What stands around a row's value in the embedded store.
//!
//! Eight bytes each, big-endian: when it expires (µs since 1970, 0 for never; the place that the database's compaction looks at), and its
//! version. Then one byte that says what it is, for an edited row its etag, and the value.

use bytes::{Buf, Bytes};

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Microseconds since 1970; 0: never.
    pub(crate) expires: u64,
    /// Version of the write that made it.
    pub(crate) version: u64,
    /// What is there.
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A derived or inserted row.
    Value(Bytes),
    /// Nothing: remembers the version of the deletion, so that an older write does not bring the row back.
    Deleted,
    /// A row that callers edit.
    Edited { etag: [u8; 8], value: Bytes },
}

const VALUE: u8 = 0;
const DELETED: u8 = 1;
const EDITED: u8 = 2;

impl Envelope {
    pub(crate) const fn is_live(&self, now_us: u64) -> bool {
        self.expires == 0 || self.expires > now_us
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, etag, value): (u8, &[u8], &[u8]) = match &self.content {
            Content::Value(value) => (VALUE, &[], value),
            Content::Deleted => (DELETED, &[], &[]),
            Content::Edited { etag, value } => (EDITED, etag, value),
        };
        let mut bytes = Vec::with_capacity(17 + etag.len() + value.len());
        bytes.extend(self.expires.to_be_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(etag);
        bytes.extend_from_slice(value);
        bytes
    }

    /// `None`: that is no row of ours.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let (expires, version, kind) = (
            bytes.try_get_u64().ok()?,
            bytes.try_get_u64().ok()?,
            bytes.try_get_u8().ok()?,
        );
        let content = match kind {
            VALUE => Content::Value(bytes),
            DELETED if bytes.is_empty() => Content::Deleted,
            EDITED => {
                let mut etag = [0; 8];
                bytes.try_copy_to_slice(&mut etag).ok()?;
                Content::Edited { etag, value: bytes }
            }
            _ => return None,
        };
        Some(Self {
            expires,
            version,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(expires: u64, version: u64, etag: Option<[u8; 8]>, value in prop::option::of(prop::collection::vec(any::<u8>(), 0..50))) {
            let content = match (etag, value) {
                (Some(etag), value) => Content::Edited { etag, value: value.unwrap_or_default().into() },
                (None, Some(value)) => Content::Value(value.into()),
                (None, None) => Content::Deleted,
            };
            let envelope = Envelope { expires, version, content };
            prop_assert_eq!(Envelope::decode(envelope.encode().into()), Some(envelope));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_round(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(envelope) = Envelope::decode(bytes.clone().into()) {
                prop_assert_eq!(envelope.encode(), bytes);
            }
        }
    }
}
