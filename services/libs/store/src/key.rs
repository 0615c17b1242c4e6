//! Keys as bytes whose order is that of their parts.
//!
//! A number is eight bytes, big-endian. A text is its bytes with each zero byte followed by `FF`, and ends with `00 01`: so no text is a prefix
//! of another, and a shorter one goes first.

use crate::table::{Column, Part};

const END: [u8; 2] = [0, 1];
const ESCAPED_ZERO: [u8; 2] = [0, 0xff];

/// Appends the parts.
pub(crate) fn encode(parts: &[Part], to: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Number(number) => to.extend(number.to_be_bytes()),
            Part::Text(text) => {
                for byte in text.bytes() {
                    if byte == 0 {
                        to.extend(ESCAPED_ZERO);
                    } else {
                        to.push(byte);
                    }
                }
                to.extend(END);
            }
        }
    }
}

/// Reads parts of these columns. `None` unless the bytes are exactly what [`encode`] makes of some.
pub(crate) fn decode(columns: &[Column], mut bytes: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(columns.len());
    for column in columns {
        match column {
            Column::Number(_) => {
                let (number, rest) = bytes.split_first_chunk()?;
                parts.push(Part::Number(u64::from_be_bytes(*number)));
                bytes = rest;
            }
            Column::Text(_) => {
                let mut text = Vec::new();
                loop {
                    let zero = bytes.iter().position(|byte| *byte == 0)?;
                    text.extend_from_slice(&bytes[..zero]);
                    let (mark, rest) = bytes[zero..].split_first_chunk()?;
                    bytes = rest;
                    match *mark {
                        END => break,
                        ESCAPED_ZERO => text.push(0),
                        _ => return None,
                    }
                }
                parts.push(Part::Text(String::from_utf8(text).ok()?));
            }
        }
    }
    bytes.is_empty().then_some(parts)
}

/// The first key after all that begin with `prefix`; `None`: there is none.
pub(crate) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            any::<u64>().prop_map(Part::Number),
            text().prop_map(Part::Text)
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[\\x00\\x01a\u{ff}]{0,5}", any::<String>()]
    }

    fn columns(parts: &[Part]) -> Vec<Column> {
        let column = |part: &Part| match part {
            Part::Number(_) => Column::Number("n"),
            Part::Text(_) => Column::Text("t"),
        };
        parts.iter().map(column).collect()
    }

    fn encoded(parts: &[Part]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(parts, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(parts in prop::collection::vec(part(), 0..4)) {
            prop_assert_eq!(decode(&columns(&parts), &encoded(&parts)), Some(parts));
        }

        #[test]
        fn order_of_bytes_is_order_of_parts(a in (text(), any::<u64>(), text()), b in (text(), any::<u64>(), text())) {
            let bytes = |key: &(String, u64, String)| encoded(&[key.0.clone().into(), key.1.into(), key.2.clone().into()]);
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
        }

        #[test]
        fn arbitrary_bytes_decode_to_themselves_or_nothing(bytes in prop::collection::vec(0u8..3, 0..40)) {
            let columns = [Column::Text("a"), Column::Number("b")];
            if let Some(parts) = decode(&columns, &bytes) {
                prop_assert_eq!(encoded(&parts), bytes);
            }
        }

        #[test]
        fn after_is_above_all_with_the_prefix(prefix in prop::collection::vec(any::<u8>(), 0..5), rest in prop::collection::vec(any::<u8>(), 0..5)) {
            let key = [prefix.clone(), rest].concat();
            match after(&prefix) {
                Some(after) => prop_assert!(key < after && !after.starts_with(&prefix)),
                None => prop_assert!(prefix.iter().all(|byte| *byte == 0xff)),
            }
        }
    }
}
