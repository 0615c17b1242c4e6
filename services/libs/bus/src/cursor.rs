//! Positions as text: the cursor that customers get with events and give back to resume.
//!
//! base64url without padding, of: the format's version, and for each position the topic's tag, the partition and the offset, all as
//! variable-length integers (seven bits a byte, the lowest first).

use crate::log::Positions;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use platen_proto::topic::Topic;
use prost::encoding::{decode_varint, encode_varint};
use std::collections::BTreeMap;

/// A text is not a cursor that this log gave. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor cannot be read")]
pub struct BadPositions;

const VERSION: u64 = 1;

/// Longest cursor that is looked at: 1024 positions fit.
const MAX_LENGTH: usize = 32 << 10;

impl Positions {
    /// As opaque text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * 8);
        encode_varint(VERSION, &mut bytes);
        for ((topic, partition), offset) in &self.0 {
            encode_varint(tag(*topic), &mut bytes);
            encode_varint(u64::from(*partition), &mut bytes);
            encode_varint(*offset, &mut bytes);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Self::encode`] made.
    ///
    /// # Errors
    ///
    /// [`BadPositions`] for anything else.
    pub fn decode(text: &str) -> Result<Self, BadPositions> {
        if text.len() > MAX_LENGTH {
            return Err(BadPositions);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadPositions)?;
        let mut rest = bytes.as_slice();
        let mut number = || -> Result<Option<u64>, BadPositions> {
            if rest.is_empty() {
                Ok(None)
            } else {
                decode_varint(&mut rest).map(Some).map_err(|_| BadPositions)
            }
        };
        if number()? != Some(VERSION) {
            return Err(BadPositions);
        }
        let mut positions = BTreeMap::new();
        while let Some(tag) = number()? {
            let topic = topic(tag).ok_or(BadPositions)?;
            let partition = number()?
                .and_then(|n| u32::try_from(n).ok())
                .ok_or(BadPositions)?;
            let offset = number()?.ok_or(BadPositions)?;
            if positions.insert((topic, partition), offset).is_some() {
                return Err(BadPositions);
            }
        }
        Ok(Self(positions))
    }
}

/// Number of a topic in cursors: for ever.
const fn tag(topic: Topic) -> u64 {
    match topic {
        Topic::Reports => 1,
        Topic::Changes => 2,
        Topic::Readings => 3,
        Topic::Wake => 4,
        Topic::Devices => 5,
    }
}

fn topic(number: u64) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| tag(*topic) == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_stays_readable() {
        // Customers keep cursors: a change here breaks their streams.
        let positions = Positions(BTreeMap::from([
            ((Topic::Changes, 0), 300),
            ((Topic::Readings, 7), 1),
        ]));
        assert_eq!(positions.encode(), "AQIArAIDBwE");
        assert_eq!(Positions::decode("AQIArAIDBwE"), Ok(positions));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for bad in [
            "",
            "!",
            "AQ=",
            "Ag",
            "AQI",
            "AQIA",
            "AQkAAA",
            "AQIA____________",
            "AQIAAQIAAQ",
            &"A".repeat(40_000),
        ] {
            assert_eq!(Positions::decode(bad), Err(BadPositions), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(positions in prop::collection::btree_map((prop::sample::select(Topic::ALL.to_vec()), any::<u32>()), any::<u64>(), 0..20)) {
            let positions = Positions(positions);
            prop_assert_eq!(Positions::decode(&positions.encode()), Ok(positions));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[A-Za-z0-9_-]{0,64}|\\PC{0,40}") {
            if let Ok(positions) = Positions::decode(&text) {
                prop_assert_eq!(Positions::decode(&positions.encode()), Ok(positions));
            }
        }
    }
}
