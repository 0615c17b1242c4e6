//! `WWW-Authenticate`: the server's challenge (RFC 7616 §3.3).

use super::{
    Algorithm,
    parameters::{self, Credentials, InvalidHeader},
    quote,
};

/// A Digest challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The protection space; the same for ever, since hashed passwords depend on it (SEC-05).
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Whether `qop="auth"` is offered; without it the client answers in the form of RFC 2069.
    pub auth: bool,
    /// The credentials may be right, only the nonce is too old.
    pub stale: bool,
}

impl Challenge {
    /// The server's challenge with `qop="auth"`, which is all that every device reads (SEC-02).
    pub fn new(realm: impl Into<String>, nonce: impl Into<String>, algorithm: Algorithm) -> Self {
        Self {
            realm: realm.into(),
            nonce: nonce.into(),
            opaque: None,
            algorithm,
            auth: true,
            stale: false,
        }
    }

    /// The value of a `WWW-Authenticate` header. Several challenges go in headers of their own, the strongest first.
    pub fn to_header(&self) -> String {
        let mut header = format!("Digest realm={}", quote(&self.realm));
        if self.auth {
            header.push_str(", qop=\"auth\"");
        }
        header.push_str(", nonce=");
        header.push_str(&quote(&self.nonce));
        if let Some(opaque) = &self.opaque {
            header.push_str(", opaque=");
            header.push_str(&quote(opaque));
        }
        header.push_str(", algorithm=");
        header.push_str(self.algorithm.as_str());
        if self.stale {
            header.push_str(", stale=true");
        }
        header
    }

    /// Reads the Digest challenges of one `WWW-Authenticate` header, which may hold several schemes. Those that ask for an
    /// algorithm or a protection which is not supported are left out.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if the header does not follow the grammar.
    pub fn parse_all(header: &str) -> Result<Vec<Self>, InvalidHeader> {
        let schemes = parameters::parse(header)?;
        Ok(schemes
            .into_iter()
            .filter(|credentials| credentials.scheme.eq_ignore_ascii_case("Digest"))
            .filter_map(Self::from_credentials)
            .collect())
    }

    fn from_credentials(mut credentials: Credentials<'_>) -> Option<Self> {
        let auth = match credentials.take("qop") {
            None => false,
            Some(offered)
                if offered
                    .split(',')
                    .any(|qop| qop.trim().eq_ignore_ascii_case("auth")) =>
            {
                true
            }
            Some(offered) if offered.trim().is_empty() => false,
            Some(_) => return None,
        };
        let algorithm = match credentials.take("algorithm") {
            None => Algorithm::Md5,
            Some(name) => name.parse().ok()?,
        };
        Some(Self {
            realm: credentials.take("realm")?,
            nonce: credentials.take("nonce")?,
            opaque: credentials.take("opaque"),
            algorithm,
            auth,
            stale: credentials
                .take("stale")
                .is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// The strongest of the challenges whose algorithm is allowed: SHA-256 before MD5, `qop=auth` before none; of equals the
/// first.
pub fn strongest(challenges: Vec<Challenge>, allowed: &[Algorithm]) -> Option<Challenge> {
    let strength = |challenge: &Challenge| {
        let algorithm = match challenge.algorithm {
            Algorithm::Md5 | Algorithm::Md5Sess => 0,
            Algorithm::Sha256 | Algorithm::Sha256Sess => 1,
        };
        (algorithm, challenge.auth)
    };
    challenges
        .into_iter()
        .filter(|challenge| allowed.contains(&challenge.algorithm))
        .reduce(|best, other| {
            if strength(&other) > strength(&best) {
                other
            } else {
                best
            }
        })
}

/// The value of a `WWW-Authenticate` header that asks for Basic.
pub fn basic_challenge(realm: &str) -> String {
    format!("Basic realm={}, charset=\"UTF-8\"", quote(realm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_survives_the_header() {
        let cases = [
            Challenge::new("acs", "0a1b", Algorithm::Md5),
            Challenge {
                opaque: Some("o\"p\\a".to_owned()),
                stale: true,
                ..Challenge::new("a \"realm\", quoted", "n", Algorithm::Sha256Sess)
            },
            Challenge {
                auth: false,
                ..Challenge::new("", "n", Algorithm::Sha256)
            },
        ];
        for challenge in cases {
            let header = challenge.to_header();
            assert_eq!(
                Challenge::parse_all(&header).unwrap(),
                [challenge],
                "{header}"
            );
        }
    }

    #[test]
    fn writes_what_every_device_reads() {
        assert_eq!(
            Challenge::new("acs", "0a1b", Algorithm::Md5).to_header(),
            r#"Digest realm="acs", qop="auth", nonce="0a1b", algorithm=MD5"#
        );
        assert_eq!(
            basic_challenge("acs"),
            r#"Basic realm="acs", charset="UTF-8""#
        );
    }

    #[test]
    fn reads_the_challenges_of_devices() {
        let read = |header: &str| Challenge::parse_all(header).unwrap();

        // RFC 2069: neither qop nor algorithm.
        let [old] = read(r#"Digest realm="IGD", nonce="n""#).try_into().unwrap();
        assert!(!old.auth && old.algorithm == Algorithm::Md5 && !old.stale);
        // A list of protections, upper case, stale in quotes.
        let [list] = read(r#"DIGEST REALM="r", NONCE="n", QOP="auth-int, AUTH", STALE="TRUE""#)
            .try_into()
            .unwrap();
        assert!(list.auth && list.stale);
        // What is not supported is left out.
        for header in [
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA-512-256"#,
            r#"Digest realm="r""#,
            r#"Basic realm="r""#,
        ] {
            assert_eq!(read(header), [], "{header}");
        }
        assert!(Challenge::parse_all(r#"Digest realm="r"#).is_err());
    }

    #[test]
    fn picks_the_strongest_that_is_allowed() {
        let challenges = |algorithms: &[Algorithm]| -> Vec<Challenge> {
            algorithms
                .iter()
                .map(|algorithm| Challenge::new("r", algorithm.as_str(), *algorithm))
                .collect()
        };
        let all = [
            Algorithm::Md5,
            Algorithm::Md5Sess,
            Algorithm::Sha256Sess,
            Algorithm::Sha256,
        ];
        let pick = |allowed: &[Algorithm]| {
            strongest(challenges(&all), allowed).map(|picked| picked.algorithm)
        };

        assert_eq!(pick(&all), Some(Algorithm::Sha256Sess));
        assert_eq!(
            pick(&[Algorithm::Md5Sess, Algorithm::Md5]),
            Some(Algorithm::Md5)
        );
        assert_eq!(pick(&[]), None);

        let without_qop = Challenge {
            auth: false,
            ..Challenge::new("r", "old", Algorithm::Md5)
        };
        let with_qop = Challenge::new("r", "auth", Algorithm::Md5);
        assert_eq!(
            strongest(vec![without_qop, with_qop.clone()], &all),
            Some(with_qop)
        );
    }
}
