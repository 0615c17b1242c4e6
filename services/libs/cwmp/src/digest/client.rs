//! The client's answers to one challenge.

use std::fmt;

use super::{Challenge, quote, response};

/// Answers a challenge, request after request.
#[derive(Clone)]
pub struct Client {
    username: String,
    password: String,
    challenge: Challenge,
    /// The cnonce of all requests under a session algorithm. By RFC 7616 §3.4.2 its `HA1` is made with that of the first
    /// request, while many peers take that of each; with one and the same for all of them both are right.
    session_cnonce: Option<String>,
    nonce_count: u32,
}

/// Without the password.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("username", &self.username)
            .field("challenge", &self.challenge)
            .field("nonce_count", &self.nonce_count)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Takes the credentials and the challenge to answer.
    pub fn new(
        username: impl Into<String>,
        password: impl Into<String>,
        challenge: Challenge,
    ) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            challenge,
            session_cnonce: None,
            nonce_count: 0,
        }
    }

    /// The value of the `Authorization` header of the next request. `uri` is the target as in the request line; `cnonce` is
    /// random, at least 64 bits of it, in characters that need no quoting.
    pub fn authorize(&mut self, method: &str, uri: &str, cnonce: &str) -> String {
        self.nonce_count = self.nonce_count.saturating_add(1);
        let challenge = &self.challenge;
        let cnonce = if challenge.algorithm.is_session() {
            self.session_cnonce.get_or_insert_with(|| cnonce.to_owned())
        } else {
            cnonce
        };
        let nonce_count = format!("{:08x}", self.nonce_count);
        let auth = challenge.auth.then_some((nonce_count.as_str(), cnonce));
        let ha1 = challenge
            .algorithm
            .ha1(&self.username, &challenge.realm, &self.password);
        let response = response(
            challenge.algorithm,
            &ha1,
            &challenge.nonce,
            auth,
            cnonce,
            method,
            uri,
        );

        let mut header = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, algorithm={}, response=\"{response}\"",
            quote(&self.username),
            quote(&challenge.realm),
            quote(&challenge.nonce),
            quote(uri),
            challenge.algorithm,
        );
        if let Some(opaque) = &challenge.opaque {
            header.push_str(", opaque=");
            header.push_str(&quote(opaque));
        }
        if challenge.auth {
            header.push_str(", qop=auth, nc=");
            header.push_str(&nonce_count);
        }
        if challenge.auth || challenge.algorithm.is_session() {
            header.push_str(", cnonce=");
            header.push_str(&quote(cnonce));
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::digest::{Algorithm, Authorization, Policy, Secret};

    const ALGORITHMS: [Algorithm; 4] = [
        Algorithm::Md5,
        Algorithm::Md5Sess,
        Algorithm::Sha256,
        Algorithm::Sha256Sess,
    ];

    proptest! {
        /// Quotes, backslashes, commas and whatever else a name can hold do not come between client and server.
        #[test]
        fn any_text_survives_the_headers(
            (username, password, realm) in ("\\PC{0,30}", "\\PC{0,30}", "\\PC{0,30}"),
            nonce in "[ -~]{1,30}",
            opaque in proptest::option::of("[ -~]{0,30}"),
            algorithm in select(ALGORITHMS.to_vec()),
            auth: bool,
        ) {
            let challenge = Challenge { opaque, auth, ..Challenge::new(realm.clone(), nonce, algorithm) };
            let [read] = Challenge::parse_all(&challenge.to_header()).unwrap().try_into().unwrap();
            prop_assert_eq!(&read, &challenge);

            let header = Client::new(username.clone(), password.clone(), read).authorize("POST", "/cwmp", "cnonce");
            let Ok(Authorization::Digest(digest)) = Authorization::parse(&header) else { panic!("{header}") };
            prop_assert_eq!(&digest.username, &username);
            prop_assert_eq!(&digest.opaque, &challenge.opaque);
            let policy = Policy { realm: &realm, algorithms: &[algorithm], legacy: true };
            prop_assert_eq!(digest.verify(Secret::Password(&password), "POST", "/cwmp", &policy), Ok(()));
            let other = format!("{password}x");
            prop_assert!(digest.verify(Secret::Password(&other), "POST", "/cwmp", &policy).is_err());
        }
    }

    #[test]
    fn answers_the_example_of_the_standard() {
        let challenge = Challenge {
            opaque: Some("5ccc069c403ebaf9f0171e9517f40e41".to_owned()),
            ..Challenge::new(
                "testrealm@host.com",
                "dcd98b7102dd2f0e8b11d0f600bfb0c093",
                Algorithm::Md5,
            )
        };
        let mut client = Client::new("Mufasa", "Circle Of Life", challenge);
        let header = client.authorize("GET", "/dir/index.html", "0a4f113b");
        assert!(
            header.contains(r#"response="6629fae49393a05397450978507c4ef1""#),
            "{header}"
        );
        assert!(header.contains("nc=00000001"), "{header}");
        assert!(
            client
                .authorize("GET", "/", "0a4f113c")
                .contains("nc=00000002")
        );
    }

    #[test]
    fn answers_a_connection_request_challenge() {
        let challenge = Challenge::new("cpe", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", Algorithm::Md5);
        let header = |auth| {
            Client::new(
                "cruser",
                "crpass",
                Challenge {
                    auth,
                    ..challenge.clone()
                },
            )
            .authorize("GET", "/cr/7f3a?x=1", "deadbeef")
        };
        assert!(header(true).contains("cdaa80f9f37228e42640d0dda3305fc7"));
        assert!(header(false).contains("06661c480bbab5f3a8ab0502dfe98d45"));
    }

    /// Client and server agree under every algorithm and protection, over several requests.
    #[test]
    fn the_server_believes_the_client() {
        for algorithm in ALGORITHMS {
            for auth in [true, false] {
                let challenge = Challenge {
                    auth,
                    ..Challenge::new("a \"b\"", "nonce", algorithm)
                };
                let mut client = Client::new("us\"er", "pass", challenge);
                for round in 1..=3 {
                    let header =
                        client.authorize("POST", "/cwmp/default?x=1", &format!("cnonce{round}"));
                    let Authorization::Digest(digest) = Authorization::parse(&header).unwrap()
                    else {
                        panic!("not Digest")
                    };
                    let policy = Policy {
                        realm: "a \"b\"",
                        algorithms: &[algorithm],
                        legacy: true,
                    };
                    let verify = |password| {
                        digest.verify(Secret::Password(password), "POST", "/cwmp/default", &policy)
                    };
                    assert_eq!(verify("pass"), Ok(()), "{header}");
                    assert!(verify("other").is_err(), "{header}");
                    assert_eq!(digest.nonce_count(), auth.then_some(round));
                }
            }
        }
    }
}
