//! Pages of lists: how large, and where the next one begins.

use crate::refusal::Refusal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use platen_store::{
    Entity, Store,
    rows::EditedRow,
    table::{Part, Range},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// Bytes of the query's hash in a token.
const FINGERPRINT: usize = 8;

/// Size beyond which a page ends before it has the number of items that was asked for.
pub(crate) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The number of items asked for: `default` for 0, never more than `most`.
pub(crate) fn size(asked: i32, default: usize, most: usize) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err(Refusal::field("pageSize", "must not be negative")),
    }
}

/// A token for the next page of `query` (whatever distinguishes one list from another), which begins after `position`.
pub(crate) fn token(query: &[&str], position: &impl Serialize) -> Result<String, Refusal> {
    let mut token = fingerprint(query).to_vec();
    serde_json::to_writer(&mut token, position)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(token))
}

/// The position in a token of the same query. `None`: the first page.
pub(crate) fn position<T: DeserializeOwned>(
    query: &[&str],
    token: &str,
) -> Result<Option<T>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || {
        Refusal::field(
            "pageToken",
            "is not one that this list gave: filter, order and parent must stay the same from page to page",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let (found, position) = bytes.split_at_checked(FINGERPRINT).ok_or_else(bad)?;
    if found != fingerprint(query) {
        return Err(bad());
    }
    serde_json::from_slice(position)
        .map(Some)
        .map_err(|_| bad())
}

/// What a caller asks of a list whose rows are ordered by one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Whatever distinguishes this list from another.
    pub(crate) query: &'a [&'a str],
    /// As [`size`] has it: asked for, by default, at most.
    pub(crate) size: (i32, usize, usize),
    /// The token of the page before; empty: the first page.
    pub(crate) token: &'a str,
}

/// A page of the rows in the partition of `key`, and the token of the next one; empty: it is the last.
pub(crate) async fn edited<E: Entity>(
    store: &Store,
    key: E::Key<'_>,
    asked: Asked<'_>,
) -> Result<(Vec<EditedRow<E::Message>>, String), Refusal> {
    let after: Option<String> = position(asked.query, asked.token)?;
    let (wanted, default, most) = asked.size;
    let range = Range {
        from: after.map(|id| Part::Text(format!("{id}\0"))),
        limit: size(wanted, default, most)?,
        ..Range::default()
    };
    let page = store.scan_edited::<E>(key, range).await?;
    let next = match (page.next, page.rows.last()) {
        (Some(_), Some((key, _))) => token(asked.query, &text_key(key))?,
        _ => String::new(),
    };
    let rows = page.rows.into_iter().map(|(_, row)| row).collect();
    Ok((rows, next))
}

/// The text of a row's clustering key, where it is a single text.
fn text_key(key: &[Part]) -> &str {
    match key {
        [Part::Text(text)] => text,
        _ => "",
    }
}

fn fingerprint(query: &[&str]) -> [u8; FINGERPRINT] {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut fingerprint = [0; FINGERPRINT];
    fingerprint.copy_from_slice(&hash.finalize()[..FINGERPRINT]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_hold_for_their_query() {
        let made = token(&["devices", "tenants/a", "x"], &("key".to_owned(), 7_u64)).unwrap();

        assert_eq!(
            position(&["devices", "tenants/a", "x"], &made).unwrap(),
            Some(("key".to_owned(), 7_u64))
        );
        assert!(position::<(String, u64)>(&["devices", "tenants/b", "x"], &made).is_err());
        assert!(position::<u64>(&["devices", "tenants/a", "x"], &made).is_err());
        assert_eq!(position::<u64>(&["devices"], "").unwrap(), None);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size(0, 50, 1000).unwrap(), 50);
        assert_eq!(size(7, 50, 1000).unwrap(), 7);
        assert_eq!(size(5000, 50, 1000).unwrap(), 1000);
        assert!(size(-1, 50, 1000).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(text in "\\PC{0,40}") {
            let _ = position::<(String, u64)>(&["x"], &text);
        }
    }
}
