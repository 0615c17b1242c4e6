//! The process's key: seals secrets, derives secrets, signs tokens.
//!
//! One file of 64 hexadecimal digits (32 bytes), outside the data. Whoever has it can read what it sealed; whoever loses it loses that.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hmac, rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// First byte of what [`Keys::seal`] makes: tells AES-256-GCM with a random nonce from what may come later.
const SEALED_V1: u8 = 1;

/// Bytes of the authenticator in a token: 128 bits.
const TOKEN_MAC: usize = 16;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or made.
    #[error("key file {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others than its owner may read the file.
    #[error("key file {path} may be read by others (mode {mode:04o}): chmod 600 it, and think about who has read it", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("key file {path} must hold 64 hexadecimal digits", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers")]
    Random,
}

/// What to do if there is no key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfAbsent {
    /// Make one with a random key, mode 0600.
    Create,
    /// Refuse: [`Error::Io`] with `NotFound`.
    Fail,
}

/// The key and what is derived from it.
pub struct Keys {
    derive: hmac::Key,
    sign: hmac::Key,
    seal: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Reads the key file, or makes it.
    ///
    /// # Errors
    ///
    /// Every variant of [`enum@Error`].
    pub fn load(path: &Path, if_absent: IfAbsent) -> Result<Self, Error> {
        match read(path) {
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && if_absent == IfAbsent::Create =>
            {
                create(path)?;
                read(path)
            }
            read => read,
        }
    }

    /// Keys from 32 bytes: for tests and programs that keep the key elsewhere.
    #[must_use]
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, key);
        let sub = |purpose: &[u8]| hmac::sign(&master, purpose);
        let seal = UnboundKey::new(&AES_256_GCM, sub(b"platen seal v1").as_ref())
            .expect("invariant: HMAC-SHA-256 is as long as an AES-256 key");
        Self {
            derive: hmac::Key::new(hmac::HMAC_SHA256, sub(b"platen derive v1").as_ref()),
            sign: hmac::Key::new(hmac::HMAC_SHA256, sub(b"platen sign v1").as_ref()),
            seal: LessSafeKey::new(seal),
        }
    }

    /// Seals a secret: nobody reads or changes it without the key, nor passes it off under another `aad` (where it is stored).
    ///
    /// # Panics
    ///
    /// If the operating system gives no random numbers.
    #[must_use]
    pub fn seal(&self, aad: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("invariant: the operating system gives random numbers");
        let mut text = plaintext.to_vec();
        let tag = self
            .seal
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad.as_bytes()),
                &mut text,
            )
            .expect("invariant: secrets are far below the cipher's limit of 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len() + tag.as_ref().len());
        sealed.push(SEALED_V1);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`Self::seal`] made under the same `aad`. `None`: it was made with another key or under another `aad`, or changed.
    #[must_use]
    pub fn open(&self, aad: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        if version != SEALED_V1 {
            return None;
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let length = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad.as_bytes()),
                &mut text,
            )
            .ok()?
            .len();
        text.truncate(length);
        Some(text)
    }

    /// A secret that only this key yields for this label: the same in every process that has the key. Labels of different parts differ, however
    /// the parts are cut.
    #[must_use]
    pub fn derive(&self, label: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.derive);
        for part in label {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context
            .sign()
            .as_ref()
            .try_into()
            .expect("invariant: HMAC-SHA-256 has 32 bytes")
    }

    /// A token that carries `payload` in the clear and proves that it was made here for this purpose: URL-safe base64.
    #[must_use]
    pub fn sign(&self, purpose: &str, payload: &[u8]) -> String {
        let mut token = payload.to_vec();
        token.extend_from_slice(&self.mac(purpose, payload)[..TOKEN_MAC]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The payload of a token that [`Self::sign`] made for the same purpose.
    #[must_use]
    pub fn verify(&self, purpose: &str, token: &str) -> Option<Vec<u8>> {
        let mut token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let mac = token.split_off(token.len().checked_sub(TOKEN_MAC)?);
        constant_time::verify_slices_are_equal(&self.mac(purpose, &token)[..TOKEN_MAC], &mac)
            .ok()?;
        Some(token)
    }

    fn mac(&self, purpose: &str, payload: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.sign);
        context.update(&(purpose.len() as u64).to_be_bytes());
        context.update(purpose.as_bytes());
        context.update(payload);
        context
            .sign()
            .as_ref()
            .try_into()
            .expect("invariant: HMAC-SHA-256 has 32 bytes")
    }
}

fn read(path: &Path) -> Result<Keys, Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = fs::read(path).map_err(io)?;
    let key = unhex(text.trim_ascii()).ok_or_else(|| Error::Malformed {
        path: path.to_owned(),
    })?;
    Ok(Keys::from_bytes(&key))
}

/// Makes the file in one step: a crash leaves none or a whole one, and of two processes that start at once one makes it.
fn create(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| Error::Random)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(io)?;
    let written = file
        .write_all(hex(&key).as_bytes())
        .and_then(|()| file.sync_all());
    let linked = match written.and_then(|()| fs::hard_link(&draft, path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&draft).map_err(io)?;
    linked.map_err(io)
}

fn hex(key: &[u8; 32]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(65);
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 2 * key.len() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platen.key");
        assert!(matches!(
            Keys::load(&path, IfAbsent::Fail),
            Err(Error::Io { .. })
        ));

        let made = Keys::load(&path, IfAbsent::Create).unwrap();
        let again = Keys::load(&path, IfAbsent::Create).unwrap();

        assert_eq!(made.derive(&[b"x"]), again.derive(&[b"x"]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no draft is left"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platen.key");
        Keys::load(&path, IfAbsent::Create).unwrap();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        assert!(matches!(
            Keys::load(&path, IfAbsent::Create),
            Err(Error::Exposed { mode: 0o640, .. })
        ));
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platen.key");
        for content in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(
                matches!(
                    Keys::load(&path, IfAbsent::Create),
                    Err(Error::Malformed { .. })
                ),
                "{content:?}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn derived_secrets_never_change() {
        // Devices hold passwords that were derived: a change here locks them out.
        let keys = Keys::from_bytes(&[7; 32]);
        assert_eq!(
            URL_SAFE_NO_PAD.encode(keys.derive(&[
                b"connection-request",
                b"default",
                b"00D09E-X-1"
            ])),
            "d0IsD96jZIRWFOklZpaJjONldUNV8jfrwyr1ynE1EdU"
        );
        assert_ne!(keys.derive(&[b"ab", b"c"]), keys.derive(&[b"a", b"bc"]));
        assert_ne!(
            keys.derive(&[b"a"]),
            Keys::from_bytes(&[8; 32]).derive(&[b"a"])
        );
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_only_unchanged_and_in_its_place(text: Vec<u8>, flip in 0usize..1000, bit in 0u8..8) {
            let keys = Keys::from_bytes(&[1; 32]);
            let sealed = keys.seal("credential/a/b", &text);
            prop_assert_eq!(keys.open("credential/a/b", &sealed), Some(text));
            prop_assert_eq!(keys.open("credential/a/c", &sealed), None);
            prop_assert_eq!(Keys::from_bytes(&[2; 32]).open("credential/a/b", &sealed), None);
            let mut changed = sealed;
            let at = flip % changed.len();
            changed[at] ^= 1 << bit;
            prop_assert_eq!(keys.open("credential/a/b", &changed), None);
        }

        #[test]
        fn tokens_hold_for_their_purpose_only(payload: Vec<u8>, flip in 0usize..1000) {
            let keys = Keys::from_bytes(&[1; 32]);
            let token = keys.sign("file", &payload);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(keys.verify("file", &token), Some(payload));
            prop_assert_eq!(keys.verify("page", &token), None);
            let mut changed = token.into_bytes();
            let at = flip % changed.len();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(keys.verify("file", std::str::from_utf8(&changed).unwrap()), None);
        }

        #[test]
        fn nothing_foreign_opens(bytes: Vec<u8>, text: String) {
            let keys = Keys::from_bytes(&[1; 32]);
            prop_assert_eq!(keys.open("a", &bytes), None);
            prop_assert_eq!(keys.verify("file", &text), None);
        }
    }
}
