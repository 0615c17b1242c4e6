//! Ids of what is derived from a record: the same cause has the same id, however often it is delivered.

use sha2::{Digest, Sha256};

/// The id of what `cause` leads to: 32 hexadecimal digits, as every derived id has.
pub(crate) fn id(cause: &[&str]) -> String {
    hash(cause)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Each part counts with its length, so that parts cut differently differ.
fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_between_parts_counts() {
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
        assert_eq!(id(&["ab", "c"]).len(), 32);
        assert_eq!(id(&["ab", "c"]), id(&["ab", "c"]));
    }
}
