//! HTTP authentication, both sides: Digest (RFC 7616, RFC 2617) and Basic (RFC 7617).
//!
//! The server sends a [`Challenge`] with a nonce of its [`NonceKey`], reads the device's [`Authorization`], and asks
//! [`DigestAuthorization::verify`] with the password or a stored hash of it. The client reads the challenges with
//! [`Challenge::parse_all`], picks one with [`strongest`], and writes headers with a [`Client`].
//!
//! Only `qop="auth"` and, where the policy allows it, the form of RFC 2069 without `qop` are supported: `auth-int` hashes the
//! body, which devices get wrong, and adds nothing where TLS is used (SEC-02).

mod authorization;
mod challenge;
mod client;
mod nonce;
mod parameters;

use std::{fmt, str::FromStr};

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    authorization::{
        Authorization, BasicAuthorization, DigestAuthorization, Policy, Protection, Refusal,
        Secret, basic_authorization,
    },
    challenge::{Challenge, basic_challenge, strongest},
    client::Client,
    nonce::{NonceKey, NonceState},
    parameters::InvalidHeader,
};

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// `MD5`
    Md5,
    /// `MD5-sess`
    Md5Sess,
    /// `SHA-256`
    Sha256,
    /// `SHA-256-sess`
    Sha256Sess,
}

/// The name is of no algorithm that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no digest algorithm that is supported")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// The name in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    /// Whether the hash of the password is hashed again with nonce and cnonce.
    pub fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess)
    }

    /// What can be stored in place of a password: the hash of `username:realm:password` in hexadecimal digits. The same for
    /// an algorithm and its session variant.
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        self.hash(&[username, realm, password])
    }

    /// The hash of the pieces, joined by colons, in lower-case hexadecimal digits.
    fn hash(self, pieces: &[&str]) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hash_with::<Md5>(pieces),
            Self::Sha256 | Self::Sha256Sess => hash_with::<Sha256>(pieces),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
            .ok_or(UnknownAlgorithm)
    }
}

fn hash_with<H: Digest>(pieces: &[&str]) -> String {
    let mut hash = H::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(piece.as_bytes());
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| {
        char::from_digit(u32::from(nibble), 16).expect("invariant: a nibble is below 16")
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The `response` of RFC 7616 §3.4.1 from a hashed password. `auth` is nonce count and cnonce of `qop=auth`; without it the
/// form of RFC 2069 is computed.
fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    auth: Option<(&str, &str)>,
    session_cnonce: &str,
    method: &str,
    uri: &str,
) -> String {
    let session_ha1;
    let ha1 = if algorithm.is_session() {
        session_ha1 = algorithm.hash(&[ha1, nonce, session_cnonce]);
        &session_ha1
    } else {
        ha1
    };
    let ha2 = algorithm.hash(&[method, uri]);
    match auth {
        Some((nonce_count, cnonce)) => {
            algorithm.hash(&[ha1, nonce, nonce_count, cnonce, "auth", &ha2])
        }
        None => algorithm.hash(&[ha1, nonce, &ha2]),
    }
}

/// A quoted-string of RFC 9110.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        // A header has no room for control characters; who puts one in gets a question mark out.
        quoted.push(if character.is_control() {
            '?'
        } else {
            character
        });
    }
    quoted.push('"');
    quoted
}
