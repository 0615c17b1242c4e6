//! Ids of what is derived from a record: the same cause has the same id, however often it is delivered.

use sha2::{Digest, Sha256};

/// The id of what `cause` leads to: 32 hexadecimal digits, which also fit a CommandKey.
pub(crate) fn id(cause: &[&str]) -> String {
    hash(cause)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A short hash of texts, for sets whose members are few.
pub(crate) fn short(parts: &[&str]) -> u64 {
    let hash = hash(parts);
    u64::from_be_bytes(
        hash[..8]
            .try_into()
            .expect("invariant: a SHA-256 has 32 bytes"),
    )
}

/// Each part counts with its length, so that parts cut differently differ.
pub(crate) fn hash(parts: &[&str]) -> [u8; 32] {
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
