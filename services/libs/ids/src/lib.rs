//! Names of things: tenants, devices, commands. Checked when made, cheap to clone, and nothing else.
#![warn(missing_docs)]

use std::{fmt, sync::Arc};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {allowed}, but is {value:?}")]
pub struct InvalidId {
    what: &'static str,
    allowed: &'static str,
    value: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks and wraps ", $what, ".\n\n# Errors\n\n[`InvalidId`] unless it is ", $allowed, ".")]
            pub fn new(value: impl AsRef<str>) -> Result<Self, InvalidId> {
                let value = value.as_ref();
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.into()))
                } else {
                    Err(InvalidId { what: $what, allowed: $allowed, value: value.chars().take(200).collect() })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A tenant: the isolation boundary, in every key, event and credential.
    TenantId,
    "a tenant",
    "1 to 63 characters of a-z, 0-9 and '-'",
    |s| (1..=63).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

id!(
    /// A device's canonical id: `OUI-ProductClass-SerialNumber`, each part percent-encoded as TR-069 says.
    /// Made by `platen_cwmp::identity`; here only its bounds are known.
    DeviceId,
    "a device id",
    "1 to 512 characters of A-Z, a-z, 0-9, '_', '-', '.' and '%'",
    |s| (1..=512).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'%'))
);

id!(
    /// A command or operation: random where an API call made it, a hash of its cause where a consumer did.
    CommandId,
    "a command id",
    "1 to 64 characters of A-Z, a-z, 0-9 and '-'",
    |s| (1..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
);

/// Number of shards; for ever.
pub const SHARDS: u16 = 256;

/// The shard of a device, or of anything else that has a name within a tenant: a stable hash, the same in every process and release.
///
/// FNV-1a (64 bit) over tenant, a zero byte and the name, folded to 8 bits.
#[must_use]
pub fn shard(tenant: &str, name: &str) -> u8 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in tenant.bytes().chain([0]).chain(name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash.to_be_bytes()
        .into_iter()
        .fold(0, |folded, byte| folded ^ byte)
}

/// The key of a record about a device: `tenant/device`.
#[must_use]
pub fn device_key(tenant: &TenantId, device: &DeviceId) -> String {
    format!("{tenant}/{device}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_lower_case_labels() {
        for good in ["default", "a", "acme-2"] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Acme", "a/b", "a b", &"x".repeat(64)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_never_move() {
        // These values are in stored keys: a change here loses data.
        for (tenant, name, expected) in [
            ("default", "00D09E-LaserPro%2D9-SN1", 234),
            ("default", "", 38),
            ("acme", "50579C-WF-X1", 10),
        ] {
            assert_eq!(shard(tenant, name), expected, "{tenant}/{name}");
        }
    }

    #[test]
    fn shards_are_even() {
        let mut counts = [0u32; 256];
        for n in 0..25_600 {
            counts[usize::from(shard("default", &format!("00D09E-Model-SN{n:06}")))] += 1;
        }
        assert!(counts.iter().all(|&c| (50..170).contains(&c)), "{counts:?}");
    }
}
