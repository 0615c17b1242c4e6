//! The session cookie.

use http::{HeaderMap, HeaderValue, header};
use platen_sessions::{DeviceHash, Secret};
use sha2::{Digest, Sha256};

/// Name of the cookie. Short and plain: some devices keep few bytes.
const NAME: &str = "session";

/// Cookies that are looked at beside the last one.
const OTHERS: usize = 3;

/// Digits of a cookie's value: hash of the device and secret, 16 bytes each.
const DIGITS: usize = 64;

/// What a session cookie says: whose session it is, and the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) device: DeviceHash,
    pub(crate) secret: Secret,
}

/// Under which name the session cache knows a device's session. `via` is set for a session in which somebody else claims to be the device without being
/// trusted: such a session never takes the place of the device's own.
pub(crate) fn device_hash(tenant: &str, device: &str, via: Option<&str>) -> DeviceHash {
    let mut hash = Sha256::new();
    hash.update(tenant.as_bytes());
    hash.update([0]);
    hash.update(device.as_bytes());
    if let Some(via) = via {
        hash.update([0]);
        hash.update(via.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

/// The value of the `Set-Cookie` header (SES-31).
pub(crate) fn set_cookie(ticket: &Ticket, path: Option<&str>, tls: bool) -> Option<HeaderValue> {
    let mut text = format!("{NAME}={}{}", hex(&ticket.device), hex(&ticket.secret));
    if let Some(path) = path {
        text.push_str("; Path=");
        text.push_str(path);
    }
    text.push_str("; HttpOnly");
    if tls {
        text.push_str("; Secure");
    }
    HeaderValue::from_str(&text).ok()
}

/// The session cookie of a request; of several the last that can be one.
pub(crate) fn read(headers: &HeaderMap) -> Option<Ticket> {
    all(headers).next_back()
}

/// Some of those before it: the first, and then the last ones. A device may return old ones behind the one that counts (SES-32), more with each session.
pub(crate) fn others(headers: &HeaderMap) -> impl Iterator<Item = Ticket> {
    let mut rest = all(headers);
    rest.next_back();
    let first = rest.next();
    first.into_iter().chain(rest.rev()).take(OTHERS)
}

/// All that can be session cookies.
///
/// Devices separate cookies by semicolons or commas, quote values, send `$Version` and echo attributes back (SES-32).
fn all(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = Ticket> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([';', ',']))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.trim() == NAME)
        .filter_map(|(_, value)| ticket(value.trim().trim_matches('"')))
}

fn ticket(value: &str) -> Option<Ticket> {
    let digits = value.as_bytes();
    if digits.len() != DIGITS {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    let (device, secret) = bytes.split_first_chunk::<16>()?;
    Some(Ticket {
        device: *device,
        secret: secret.try_into().ok()?,
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(cookies: &[&str]) -> Option<Ticket> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn odd_cookie_headers_are_understood() {
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        let of = |digit: u8| {
            Some(Ticket {
                device: [digit; 16],
                secret: [digit; 16],
            })
        };
        for (cookies, expected) in [
            (vec![format!("session={one}")], of(0x11)),
            (vec![format!("a=b; session={one}; c=d")], of(0x11)),
            (vec![format!("a=b,session={one},c=d")], of(0x11)),
            (vec![format!("session=\"{one}\"")], of(0x11)),
            (
                vec![format!(
                    "$Version=1; session={one}; $Path=/; HttpOnly; Path=/"
                )],
                of(0x11),
            ),
            (
                vec![format!("session={one}"), format!("session={two}")],
                of(0x22),
            ),
            (vec![format!("session={one}; session=rubbish")], of(0x11)),
            (vec!["session=".to_owned()], None),
            (vec![format!("sessionx={one}")], None),
            (vec![format!("session={}", "g".repeat(64))], None),
            (vec![], None),
        ] {
            let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
            assert_eq!(read_all(&cookies), expected, "{cookies:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_comes_back(device: [u8; 16], secret: [u8; 16], tls: bool) {
            let ticket = Ticket { device, secret };
            let set = set_cookie(&ticket, Some("/"), tls).unwrap();
            let set = set.to_str().unwrap();
            prop_assert!(set.len() <= 120);
            prop_assert_eq!(set.ends_with("; Secure"), tls);
            let echoed = set.split(';').next().unwrap();
            prop_assert_eq!(read_all(&[echoed]), Some(ticket));
        }

        #[test]
        fn any_header_is_survived(cookie in "[ -~]{0,200}") {
            read_all(&[&cookie]);
        }
    }

    #[test]
    fn a_strangers_claim_has_a_place_of_its_own() {
        assert_ne!(
            device_hash("t", "d", None),
            device_hash("t", "d", Some("x"))
        );
        assert_ne!(device_hash("t", "d", None), device_hash("td", "", None));
    }
}
