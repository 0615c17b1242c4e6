//! Nonces that every server of a cluster can check without storing them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::hex;

/// Seconds that the clock of the server which issued a nonce may be ahead.
const MAX_AHEAD: u64 = 60;
/// Hexadecimal digits of a nonce: 8 bytes of time, 8 of randomness, 16 of authentication.
const LENGTH: usize = 64;

/// The key under which a cluster issues its nonces.
///
/// A nonce is the time, some randomness, and an HMAC-SHA-256 over both and over what the caller binds it to, for example the
/// listener or the peer's network. Being stateless it cannot tell whether a nonce count was used before: whoever needs that
/// remembers the highest [`nonce_count`](super::DigestAuthorization::nonce_count) per nonce for as long as the nonce lives.
/// Without that memory, a recorded request can be sent again within the lifetime and from within the binding; over TLS it
/// cannot be recorded.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

/// Without the key.
impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceState {
    /// Ours, and young enough.
    Fresh,
    /// Ours, but too old: to be challenged again with `stale=true`.
    Stale,
    /// Not ours, or bound to something else.
    Forged,
}

impl NonceKey {
    /// Takes a key of 32 random bytes, the same on every server.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Issues a nonce. `now` is in seconds since 1970; `random` keeps apart the nonces of one second.
    pub fn issue(&self, now: u64, random: u64, binding: &[u8]) -> String {
        let mut nonce = [0; 16];
        let (time, rest) = nonce.split_at_mut(8);
        time.copy_from_slice(&now.to_be_bytes());
        rest.copy_from_slice(&random.to_be_bytes());
        let mut text = hex(&nonce);
        text.push_str(&self.seal(&text, binding));
        text
    }

    /// Judges a nonce. `now` and `lifetime` are in seconds.
    pub fn check(&self, nonce: &str, now: u64, lifetime: u64, binding: &[u8]) -> NonceState {
        let Some((content, seal)) = nonce.split_at_checked(32).filter(|_| nonce.len() == LENGTH)
        else {
            return NonceState::Forged;
        };
        if !bool::from(
            self.seal(content, binding)
                .as_bytes()
                .ct_eq(seal.as_bytes()),
        ) {
            return NonceState::Forged;
        }
        let time = content
            .get(..16)
            .and_then(|time| u64::from_str_radix(time, 16).ok());
        match time {
            Some(time) if time > now.saturating_add(MAX_AHEAD) => NonceState::Stale,
            Some(time) if now.saturating_sub(time) <= lifetime => NonceState::Fresh,
            Some(_) => NonceState::Stale,
            None => NonceState::Forged,
        }
    }

    fn seal(&self, content: &str, binding: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("invariant: HMAC takes keys of any length");
        mac.update(content.as_bytes());
        mac.update(binding);
        let mut seal = hex(&mac.finalize().into_bytes());
        seal.truncate(32);
        seal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000;

    #[test]
    fn a_nonce_is_fresh_then_stale() {
        let key = NonceKey::new([7; 32]);
        let nonce = key.issue(NOW, 42, b"peer");
        let cases = [
            (NOW, NonceState::Fresh),
            (NOW + 300, NonceState::Fresh),
            (NOW + 301, NonceState::Stale),
            (NOW - MAX_AHEAD, NonceState::Fresh),
            (NOW - MAX_AHEAD - 1, NonceState::Stale),
            (u64::MAX, NonceState::Stale),
            (0, NonceState::Stale),
        ];
        for (now, expected) in cases {
            assert_eq!(key.check(&nonce, now, 300, b"peer"), expected, "at {now}");
        }
    }

    #[test]
    fn a_nonce_holds_for_its_key_and_its_binding_only() {
        let key = NonceKey::new([7; 32]);
        let nonce = key.issue(NOW, 42, b"peer");

        assert_eq!(key.check(&nonce, NOW, 300, b"other"), NonceState::Forged);
        assert_eq!(
            NonceKey::new([8; 32]).check(&nonce, NOW, 300, b"peer"),
            NonceState::Forged
        );
        assert_eq!(
            NonceKey::new([7; 32]).check(&nonce, NOW, 300, b"peer"),
            NonceState::Fresh
        );
    }

    #[test]
    fn every_changed_digit_is_noticed() {
        let key = NonceKey::new([7; 32]);
        let nonce = key.issue(NOW, 42, b"");
        for at in 0..nonce.len() {
            let mut changed = nonce.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                key.check(&changed, NOW, 300, b""),
                NonceState::Forged,
                "digit {at}"
            );
        }
    }

    #[test]
    fn what_is_no_nonce_is_forged() {
        let key = NonceKey::new([7; 32]);
        for nonce in [
            "",
            "0",
            &"é".repeat(32),
            &"0".repeat(64),
            &"0".repeat(65),
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        ] {
            assert_eq!(
                key.check(nonce, NOW, 300, b""),
                NonceState::Forged,
                "{nonce}"
            );
        }
    }

    #[test]
    fn nonces_of_one_second_differ() {
        let key = NonceKey::new([7; 32]);
        assert_ne!(key.issue(NOW, 1, b""), key.issue(NOW, 2, b""));
    }
}
