//! Any header is read or refused, and nothing that was not made with the secret passes.

use platen_cwmp::{
    digest::{
        Algorithm, Authorization, Challenge, Client, NonceKey, NonceState, Policy, Refusal, Secret,
    },
    identity::Identity,
};

/// Not to be found in the data: no input can prove that it knows it.
const PASSWORD: &str = "a password that no fuzzer is told";

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let algorithms = [Algorithm::Md5, Algorithm::Sha256];

    if let Ok(Authorization::Digest(digest)) = Authorization::parse(&text) {
        let policy = Policy {
            realm: &digest.realm,
            algorithms: &algorithms,
            legacy: true,
        };
        let refusal = digest
            .verify(Secret::Password(PASSWORD), "POST", &digest.uri, &policy)
            .expect_err("nobody knows the password");
        assert_eq!(refusal, Refusal::Response);
        assert_eq!(
            NonceKey::new([1; 32]).check(&digest.nonce, 0, u64::MAX, b""),
            NonceState::Forged
        );
    }
    for challenge in Challenge::parse_all(&text).unwrap_or_default() {
        if challenge.to_header().len() > 2048 || challenge.realm.contains(char::is_control) {
            continue;
        }
        let read = Challenge::parse_all(&challenge.to_header()).expect("what we write can be read");
        let [again] = read.try_into().expect("one was written");
        if !challenge.to_header().contains('?') {
            assert_eq!(again, challenge);
        }
        let header = Client::new("user", PASSWORD, again.clone()).authorize("POST", "/", "cnonce");
        let Ok(Authorization::Digest(digest)) = Authorization::parse(&header) else {
            panic!("not Digest: {header}")
        };
        let policy = Policy {
            realm: &again.realm,
            algorithms: &algorithms,
            legacy: true,
        };
        assert_eq!(
            digest.verify(Secret::Password(PASSWORD), "POST", "/", &policy),
            Ok(())
        );
    }
    if let Ok(identity) = Identity::parse(&text) {
        assert_eq!(Identity::parse(&identity.to_string()), Ok(identity));
    }
}
