//! `Authorization`: what the client answers, and whether it proves anything.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Algorithm,
    parameters::{self, Credentials, InvalidHeader},
    response,
};

/// An `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Digest.
    Digest(DigestAuthorization),
    /// Basic.
    Basic(BasicAuthorization),
}

/// A Digest response. The texts are those of the header, without quotes and escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAuthorization {
    /// Who the client says it is.
    pub username: String,
    /// The realm that it was asked for.
    pub realm: String,
    /// The nonce that it was given.
    pub nonce: String,
    /// The target that it asks for, absolute or not.
    pub uri: String,
    /// The algorithm, MD5 if it names none.
    pub algorithm: Algorithm,
    /// The protection with what belongs to it.
    pub protection: Protection,
    /// What it was asked to send back.
    pub opaque: Option<String>,
    /// The cnonce, which session algorithms need without `qop` as well.
    cnonce: Option<String>,
    response: String,
}

/// Without the response, from which a weak password could be guessed.
impl fmt::Debug for DigestAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestAuthorization")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("nonce", &self.nonce)
            .field("uri", &self.uri)
            .field("algorithm", &self.algorithm)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// How a Digest response is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// RFC 2069: without `qop`, open to chosen nonces.
    Legacy,
    /// `qop=auth`
    Auth {
        /// Nonce count as sent, hexadecimal digits.
        nonce_count: String,
        /// The client's nonce.
        cnonce: String,
    },
}

/// What the server knows of the password.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password itself.
    Password(&'a str),
    /// [`Algorithm::ha1`] of user name, realm and password, in lower-case digits, under the algorithm that is allowed.
    Ha1(&'a str),
}

/// Without the secret.
impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Ha1(_) => "Ha1",
        })
    }
}

/// What the server accepts.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The realm of its challenges.
    pub realm: &'a str,
    /// The algorithms of its challenges; each stands for its session variant as well.
    pub algorithms: &'a [Algorithm],
    /// Whether the form of RFC 2069, without `qop`, is good enough.
    pub legacy: bool,
}

/// Why a Digest response proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is for another realm.
    #[error("another realm")]
    Realm,
    /// Its algorithm is not allowed.
    #[error("an algorithm that is not allowed")]
    Algorithm,
    /// It has no `qop`, which the policy asks for.
    #[error("no qop")]
    Legacy,
    /// It is for another path than that of the request.
    #[error("another path")]
    Uri,
    /// The password is wrong.
    #[error("wrong password")]
    Response,
}

impl Authorization {
    /// Reads the header's value.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`]: the client is to be challenged again, or refused.
    pub fn parse(header: &str) -> Result<Self, InvalidHeader> {
        let mut schemes = parameters::parse(header)?;
        let credentials = schemes.pop().ok_or(InvalidHeader::Syntax)?;
        if !schemes.is_empty() {
            return Err(InvalidHeader::Syntax);
        }
        if credentials.scheme.eq_ignore_ascii_case("Digest") {
            DigestAuthorization::from_credentials(credentials).map(Self::Digest)
        } else if credentials.scheme.eq_ignore_ascii_case("Basic") {
            BasicAuthorization::decode(credentials.token.unwrap_or_default()).map(Self::Basic)
        } else {
            Err(InvalidHeader::Unsupported("the scheme"))
        }
    }
}

impl DigestAuthorization {
    fn from_credentials(mut credentials: Credentials<'_>) -> Result<Self, InvalidHeader> {
        if credentials
            .take("userhash")
            .is_some_and(|userhash| userhash.eq_ignore_ascii_case("true"))
        {
            return Err(InvalidHeader::Unsupported("userhash"));
        }
        let mut required =
            |name: &'static str| credentials.take(name).ok_or(InvalidHeader::Missing(name));
        let username = required("username")?;
        let realm = required("realm")?;
        let nonce = required("nonce")?;
        let uri = required("uri")?;
        let response = required("response")?;
        let algorithm = match credentials
            .take("algorithm")
            .filter(|name| !name.is_empty())
        {
            None => Algorithm::Md5,
            Some(name) => name
                .parse()
                .map_err(|_| InvalidHeader::Unsupported("the algorithm"))?,
        };
        let cnonce = credentials.take("cnonce");
        let protection = match credentials.take("qop").filter(|qop| !qop.is_empty()) {
            None => Protection::Legacy,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nonce_count = credentials.take("nc").ok_or(InvalidHeader::Missing("nc"))?;
                if !(1..=8).contains(&nonce_count.len())
                    || !nonce_count.bytes().all(|byte| byte.is_ascii_hexdigit())
                {
                    return Err(InvalidHeader::Value("nc"));
                }
                let cnonce = cnonce.clone().ok_or(InvalidHeader::Missing("cnonce"))?;
                Protection::Auth {
                    nonce_count,
                    cnonce,
                }
            }
            Some(_) => return Err(InvalidHeader::Unsupported("the qop")),
        };
        if algorithm.is_session() && cnonce.is_none() {
            return Err(InvalidHeader::Missing("cnonce"));
        }
        let opaque = credentials.take("opaque");
        Ok(Self {
            username,
            realm,
            nonce,
            uri,
            algorithm,
            protection,
            opaque,
            cnonce,
            response,
        })
    }

    /// How often the client says it has used the nonce; `None` without `qop`. See [`NonceKey`](super::NonceKey) on replay.
    pub fn nonce_count(&self) -> Option<u32> {
        match &self.protection {
            Protection::Legacy => None,
            Protection::Auth { nonce_count, .. } => u32::from_str_radix(nonce_count, 16).ok(),
        }
    }

    /// Whether the client knows the secret. The nonce is to be judged by [`NonceKey::check`](super::NonceKey::check) before,
    /// and the user name to be looked up by the caller. `target` is that of the request line; its path must be that of the
    /// header, while the query may be missing there (QRK-22).
    ///
    /// # Errors
    ///
    /// [`Refusal`]; comparing the response takes the same time wherever it differs.
    pub fn verify(
        &self,
        secret: Secret<'_>,
        method: &str,
        target: &str,
        policy: &Policy<'_>,
    ) -> Result<(), Refusal> {
        if self.realm != policy.realm {
            return Err(Refusal::Realm);
        }
        let base = match self.algorithm {
            Algorithm::Md5 | Algorithm::Md5Sess => Algorithm::Md5,
            Algorithm::Sha256 | Algorithm::Sha256Sess => Algorithm::Sha256,
        };
        if !policy.algorithms.contains(&self.algorithm) && !policy.algorithms.contains(&base) {
            return Err(Refusal::Algorithm);
        }
        let auth = match &self.protection {
            Protection::Legacy if !policy.legacy => return Err(Refusal::Legacy),
            Protection::Legacy => None,
            Protection::Auth {
                nonce_count,
                cnonce,
            } => Some((nonce_count.as_str(), cnonce.as_str())),
        };
        if path(&self.uri) != path(target) {
            return Err(Refusal::Uri);
        }
        let computed;
        let ha1 = match secret {
            Secret::Ha1(ha1) => ha1,
            Secret::Password(password) => {
                computed = self.algorithm.ha1(&self.username, &self.realm, password);
                &computed
            }
        };
        let session_cnonce = self.cnonce.as_deref().unwrap_or_default();
        let expected = response(
            self.algorithm,
            ha1,
            &self.nonce,
            auth,
            session_cnonce,
            method,
            &self.uri,
        );
        let given = self.response.to_ascii_lowercase();
        if bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
            Ok(())
        } else {
            Err(Refusal::Response)
        }
    }
}

/// The path of a request target: without scheme and host, query and fragment.
fn path(target: &str) -> &str {
    let target = target.trim();
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => rest
            .find(['/', '?'])
            .and_then(|at| rest.get(at..))
            .unwrap_or_default(),
        _ => target,
    };
    match path.split(['?', '#']).next().unwrap_or_default() {
        "" => "/",
        path => path,
    }
}

/// User name and password of Basic.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuthorization {
    /// Who the client says it is.
    pub username: String,
    password: String,
}

/// Without the password.
impl fmt::Debug for BasicAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuthorization")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl BasicAuthorization {
    fn decode(token: &str) -> Result<Self, InvalidHeader> {
        let bytes = BASE64_STANDARD
            .decode(token)
            .map_err(|_| InvalidHeader::Value("the base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| InvalidHeader::Value("the base64"))?;
        let (username, password) = text
            .split_once(':')
            .ok_or(InvalidHeader::Value("the base64"))?;
        Ok(Self {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Whether neither user name nor password is given: some devices send this before they are asked, and it is no failed
    /// attempt (SEC-06).
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.password.is_empty()
    }

    /// Whether this is the password; takes the same time wherever it differs, and in whatever length.
    pub fn verify(&self, password: &str) -> bool {
        let (given, expected) = (Sha256::digest(&self.password), Sha256::digest(password));
        given.as_slice().ct_eq(expected.as_slice()).into()
    }
}

/// The value of an `Authorization` header for Basic. The user name must not have a colon.
pub fn basic_authorization(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{username}:{password}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(header: &str) -> DigestAuthorization {
        match Authorization::parse(header).unwrap() {
            Authorization::Digest(digest) => digest,
            Authorization::Basic(_) => panic!("not Basic"),
        }
    }

    const RFC_2617: &str = r#"Digest username="Mufasa", realm="testrealm@host.com",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001,
        cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;

    #[test]
    fn verifies_the_examples_of_the_standards() {
        let rfc_7616 = |algorithm: &str, response: &str| {
            format!(
                r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm},
                nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
                cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}",
                opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
            )
        };
        let cases = [
            (RFC_2617.to_owned(), "testrealm@host.com", "Circle Of Life"),
            (
                rfc_7616("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
                "http-auth@example.org",
                "Circle of Life",
            ),
            (
                rfc_7616(
                    "SHA-256",
                    "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
                ),
                "http-auth@example.org",
                "Circle of Life",
            ),
        ];
        for (header, realm, password) in cases {
            let header = header.replace('\n', "");
            let policy = Policy {
                realm,
                algorithms: &[Algorithm::Md5, Algorithm::Sha256],
                legacy: false,
            };
            let authorization = digest(&header);
            let verify = |secret| authorization.verify(secret, "GET", "/dir/index.html", &policy);

            assert_eq!(verify(Secret::Password(password)), Ok(()), "{header}");
            let ha1 = authorization.algorithm.ha1("Mufasa", realm, password);
            assert_eq!(verify(Secret::Ha1(&ha1)), Ok(()), "{header}");
            assert_eq!(
                verify(Secret::Password("circle of life")),
                Err(Refusal::Response)
            );
        }
    }

    #[test]
    fn verifies_a_device_with_an_encoded_name() {
        let header = |protection: &str, response: &str| {
            format!(
                r#"Digest username="00D09E-Router%2DX%201-A%2FB%2D7", realm="acs", nonce="0a1b2c3d4e5f60718293a4b5c6d7e8f9",
                uri="/cwmp?t=1"{protection}, response="{response}""#
            )
            .replace('\n', "")
        };
        let policy = Policy {
            realm: "acs",
            algorithms: &[Algorithm::Md5],
            legacy: true,
        };
        let auth = digest(&header(
            r#", qop="auth", nc=00000001, cnonce="deadbeef""#,
            "ebeb4623556f710cfd00d067c2b65219",
        ));
        let legacy = digest(&header("", "bf4bfcdab2665da741200f1c18c3d677"));

        assert_eq!(
            Algorithm::Md5.ha1(&auth.username, "acs", "s3cret"),
            "03b74586a2a12796dd7582cf36343c47"
        );
        assert_eq!(
            auth.verify(Secret::Password("s3cret"), "POST", "/cwmp?t=1", &policy),
            Ok(())
        );
        assert_eq!(auth.nonce_count(), Some(1));
        assert_eq!(
            legacy.verify(Secret::Password("s3cret"), "POST", "/cwmp?t=1", &policy),
            Ok(())
        );
        assert_eq!(legacy.nonce_count(), None);
    }

    #[test]
    fn refuses_what_the_policy_does_not_allow() {
        let good = Policy {
            realm: "testrealm@host.com",
            algorithms: &[Algorithm::Md5],
            legacy: false,
        };
        let header = RFC_2617.replace('\n', "");
        let password = Secret::Password("Circle Of Life");
        let check = |header: &str, method: &str, target: &str, policy: &Policy<'_>| {
            digest(header).verify(password, method, target, policy)
        };

        assert_eq!(check(&header, "GET", "/dir/index.html", &good), Ok(()));
        assert_eq!(
            check(
                &header,
                "GET",
                "/dir/index.html",
                &Policy {
                    realm: "acs",
                    ..good
                }
            ),
            Err(Refusal::Realm)
        );
        let sha = Policy {
            algorithms: &[Algorithm::Sha256],
            ..good
        };
        assert_eq!(
            check(&header, "GET", "/dir/index.html", &sha),
            Err(Refusal::Algorithm)
        );
        assert_eq!(
            check(&header, "GET", "/dir/other.html", &good),
            Err(Refusal::Uri)
        );
        assert_eq!(
            check(&header, "POST", "/dir/index.html", &good),
            Err(Refusal::Response)
        );
        let legacy = header.replace("qop=auth, ", "");
        assert_eq!(
            check(&legacy, "GET", "/dir/index.html", &good),
            Err(Refusal::Legacy)
        );
        let other_nonce = header.replace("dcd98b", "dcd98c");
        assert_eq!(
            check(&other_nonce, "GET", "/dir/index.html", &good),
            Err(Refusal::Response)
        );
        let other_count = header.replace("00000001", "00000002");
        assert_eq!(
            check(&other_count, "GET", "/dir/index.html", &good),
            Err(Refusal::Response)
        );
        let cut = header.replace("6629fae49393a05397450978507c4ef1", "6629fae4");
        assert_eq!(
            check(&cut, "GET", "/dir/index.html", &good),
            Err(Refusal::Response)
        );
        let upper = header.replace(
            "6629fae49393a05397450978507c4ef1",
            "6629FAE49393A05397450978507C4EF1",
        );
        assert_eq!(check(&upper, "GET", "/dir/index.html", &good), Ok(()));
    }

    #[test]
    fn the_path_counts_and_neither_host_nor_query() {
        let cases = [
            ("/cwmp", "/cwmp", true),
            ("/cwmp", "/cwmp?t=1", true),
            ("/cwmp?t=2", "/cwmp?t=1", true),
            ("http://acs.example:7547/cwmp", "/cwmp?t=1", true),
            ("http://acs.example", "/", true),
            ("http://acs.example?x", "/", true),
            ("", "/", true),
            ("/cwmp", "/cwmp/", false),
            ("/CWMP", "/cwmp", false),
            ("/cwmp/a", "/cwmp/b", false),
            ("/redirect?to=http://x/cwmp", "/cwmp", false),
        ];
        for (given, target, expected) in cases {
            assert_eq!(
                path(given) == path(target),
                expected,
                "{given} for {target}"
            );
        }
    }

    #[test]
    fn refuses_headers_that_lack_something() {
        let cases = [
            ("", InvalidHeader::Syntax),
            ("Bearer abc", InvalidHeader::Unsupported("the scheme")),
            ("Digest", InvalidHeader::Missing("username")),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/""#,
                InvalidHeader::Missing("response"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", qop=auth-int"#,
                InvalidHeader::Unsupported("the qop"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", qop=auth, cnonce="c""#,
                InvalidHeader::Missing("nc"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", qop=auth, cnonce="c", nc=+1"#,
                InvalidHeader::Value("nc"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", algorithm=MD5-sess"#,
                InvalidHeader::Missing("cnonce"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", algorithm=SHA-1"#,
                InvalidHeader::Unsupported("the algorithm"),
            ),
            (
                r#"Digest username="u", realm="r", nonce="n", uri="/", response="x", userhash=true"#,
                InvalidHeader::Unsupported("userhash"),
            ),
            ("Basic !", InvalidHeader::Syntax),
            ("Basic abc", InvalidHeader::Value("the base64")),
            ("Basic dXNlcg==", InvalidHeader::Value("the base64")),
            ("Basic x=1, Basic y=2", InvalidHeader::Syntax),
        ];
        for (header, expected) in cases {
            assert_eq!(
                Authorization::parse(header).unwrap_err(),
                expected,
                "{header}"
            );
        }
    }

    #[test]
    fn basic_tells_user_and_password() {
        let read = |header: &str| match Authorization::parse(header).unwrap() {
            Authorization::Basic(basic) => basic,
            Authorization::Digest(_) => panic!("not Digest"),
        };

        let basic = read(&basic_authorization("00D09E-A%2DB-1", "p:ä ss"));
        assert_eq!(basic.username, "00D09E-A%2DB-1");
        assert!(basic.verify("p:ä ss"));
        assert!(!basic.verify("p:ä s"));
        assert!(!basic.is_empty());
        assert!(!format!("{basic:?}").contains("p:"));
        assert!(read("basic Og==").is_empty());
    }
}
