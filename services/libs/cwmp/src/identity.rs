//! Who a device is: OUI, product class and serial number, and the one string that names it (TR-069 §3.4.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rpc::DeviceIdStruct;

/// Most characters of a product class or a serial number.
const MAX_CHARACTERS: usize = 64;

/// A device's identity.
///
/// Its text form is `OUI-ProductClass-SerialNumber`, or `OUI-SerialNumber` where the product class is empty. Within the parts
/// every byte of the UTF-8 form outside `[A-Za-z0-9_]` is written as `%XX` (SEC-07), so two identities never have one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Identity {
    oui: String,
    product_class: String,
    serial_number: String,
}

/// What is wrong with an identity. The device's or the caller's fault; trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// The OUI is not six hexadecimal digits.
    #[error("the OUI is not six hexadecimal digits")]
    Oui,
    /// There is no serial number.
    #[error("there is no serial number")]
    NoSerialNumber,
    /// Product class or serial number is longer than 64 characters.
    #[error("product class or serial number is longer than {MAX_CHARACTERS} characters")]
    TooLong,
    /// The text does not have the parts of an identity.
    #[error("not of the form OUI-ProductClass-SerialNumber or OUI-SerialNumber")]
    Form,
    /// A part has a character that should be percent-encoded, or a percent sign without two hexadecimal digits of UTF-8.
    #[error("wrong percent-encoding")]
    Encoding,
}

impl Identity {
    /// Makes an identity of its parts. The OUI becomes upper case; the others are taken as they are.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] if a part is out of bounds.
    pub fn new(
        oui: &str,
        product_class: impl Into<String>,
        serial_number: impl Into<String>,
    ) -> Result<Self, InvalidIdentity> {
        let (product_class, serial_number) = (product_class.into(), serial_number.into());
        if oui.len() != 6 || !oui.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidIdentity::Oui);
        }
        if serial_number.is_empty() {
            return Err(InvalidIdentity::NoSerialNumber);
        }
        if [&product_class, &serial_number]
            .into_iter()
            .any(|part| part.chars().count() > MAX_CHARACTERS)
        {
            return Err(InvalidIdentity::TooLong);
        }
        Ok(Self {
            oui: oui.to_ascii_uppercase(),
            product_class,
            serial_number,
        })
    }

    /// The identity that a device claims in its Inform.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] if a part is out of bounds.
    pub fn of(device: &DeviceIdStruct) -> Result<Self, InvalidIdentity> {
        Self::new(
            device.oui.trim(),
            device.product_class.as_str(),
            device.serial_number.as_str(),
        )
    }

    /// Reads the text form. Percent-encoding is undone once, its digits may be of either case, and it may be there without
    /// need.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] if the text is none or a part is out of bounds.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentity> {
        let parts: Vec<&str> = text.splitn(4, '-').collect();
        match parts.as_slice() {
            [oui, serial_number] => Self::new(oui, "", decode(serial_number)?),
            // An empty product class has no place in the text, else one identity had two.
            [_, "", _] => Err(InvalidIdentity::Form),
            [oui, product_class, serial_number] => {
                Self::new(oui, decode(product_class)?, decode(serial_number)?)
            }
            _ => Err(InvalidIdentity::Form),
        }
    }

    /// Six upper-case hexadecimal digits.
    pub fn oui(&self) -> &str {
        &self.oui
    }

    /// At most 64 characters; may be empty.
    pub fn product_class(&self) -> &str {
        &self.product_class
    }

    /// 1 to 64 characters.
    pub fn serial_number(&self) -> &str {
        &self.serial_number
    }
}

/// The text form.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.oui)?;
        if !self.product_class.is_empty() {
            f.write_str("-")?;
            encode(&self.product_class, f)?;
        }
        f.write_str("-")?;
        encode(&self.serial_number, f)
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

impl TryFrom<String> for Identity {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        Self::parse(text)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn encode(part: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in part.bytes() {
        if is_plain(byte) {
            fmt::Write::write_char(f, char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn decode(part: &str) -> Result<String, InvalidIdentity> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(InvalidIdentity::Encoding);
                };
                u8::try_from(high * 16 + low).map_err(|_| InvalidIdentity::Encoding)?
            }
            byte if is_plain(byte) => byte,
            _ => return Err(InvalidIdentity::Encoding),
        });
    }
    String::from_utf8(bytes).map_err(|_| InvalidIdentity::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(oui: &str, product_class: &str, serial_number: &str) -> Identity {
        Identity::new(oui, product_class, serial_number).unwrap()
    }

    #[test]
    fn the_text_form_is_that_of_the_standard() {
        let cases = [
            (
                identity("00D09E", "LaserPro-9", "SN1"),
                "00D09E-LaserPro%2D9-SN1",
            ),
            (
                identity("00d09e", "Router-X 1", "A/B-7"),
                "00D09E-Router%2DX%201-A%2FB%2D7",
            ),
            (identity("00D09E", "Ä.1", "1"), "00D09E-%C3%84%2E1-1"),
            (identity("00D09E", "", "SN_1"), "00D09E-SN_1"),
            (identity("00D09E", "a%2Db", "1"), "00D09E-a%252Db-1"),
        ];
        for (identity, text) in cases {
            assert_eq!(identity.to_string(), text);
            assert_eq!(Identity::parse(text), Ok(identity));
        }
    }

    #[test]
    fn encoding_is_undone_once_and_in_either_case() {
        let expected = identity("00D09E", "Router-X 1", "A/B-7");
        assert_eq!(
            Identity::parse("00d09e-Router%2dX%201-A%2fB%2D7"),
            Ok(expected.clone())
        );
        assert_eq!(
            Identity::parse("00D09E-%52outer%2DX%201-A%2FB%2D7"),
            Ok(expected.clone())
        );
        assert_ne!(
            Identity::parse("00D09E-Router%252DX%25201-A%252FB%252D7"),
            Ok(expected)
        );
    }

    #[test]
    fn what_names_no_device_is_refused() {
        let cases = [
            ("", InvalidIdentity::Form),
            ("00D09E", InvalidIdentity::Form),
            ("00D09E-", InvalidIdentity::NoSerialNumber),
            ("00D09E-PC-", InvalidIdentity::NoSerialNumber),
            ("00D09E--SN1", InvalidIdentity::Form),
            ("00D09E-a-b-c", InvalidIdentity::Form),
            ("00D09-a-b", InvalidIdentity::Oui),
            ("00D09G-a-b", InvalidIdentity::Oui),
            ("00D09é-a-b", InvalidIdentity::Oui),
            ("00D09E-a b-c", InvalidIdentity::Encoding),
            ("00D09E-a%2-c", InvalidIdentity::Encoding),
            ("00D09E-a%+1-c", InvalidIdentity::Encoding),
            ("00D09E-a%é-c", InvalidIdentity::Encoding),
            ("00D09E-%FF-c", InvalidIdentity::Encoding),
        ];
        for (text, expected) in cases {
            assert_eq!(Identity::parse(text), Err(expected), "{text}");
        }
        assert!(Identity::new("00D09E", "é".repeat(64), "1").is_ok());
        assert_eq!(
            Identity::new("00D09E", "é".repeat(65), "1"),
            Err(InvalidIdentity::TooLong)
        );
        assert_eq!(
            Identity::new("00D09E", "", "1".repeat(65)),
            Err(InvalidIdentity::TooLong)
        );
    }

    #[test]
    fn a_device_is_who_it_says_in_its_inform() {
        let device = DeviceIdStruct {
            manufacturer: "Example".to_owned(),
            oui: " 3c9066 ".to_owned(),
            product_class: String::new(),
            serial_number: "SN 1".to_owned(),
        };
        assert_eq!(Identity::of(&device), Ok(identity("3C9066", "", "SN 1")));
        assert_eq!(
            Identity::of(&DeviceIdStruct::default()),
            Err(InvalidIdentity::Oui)
        );
    }

    /// Parts out of few characters, so that different identities come close to each other.
    fn parts() -> impl Strategy<Value = Identity> {
        (
            "[0-9A-Fa-f]{6}",
            "[aA1%2D\\-_é ]{0,4}",
            "[aA1%2D\\-_é ]{1,4}",
        )
            .prop_map(|(oui, product_class, serial_number)| {
                identity(&oui, &product_class, &serial_number)
            })
    }

    proptest! {
        #[test]
        fn every_identity_is_read_back(oui in "[0-9A-Fa-f]{6}", product_class in "\\PC{0,64}", serial_number in "\\PC{1,64}") {
            let identity = identity(&oui, &product_class, &serial_number);
            prop_assert_eq!(Identity::parse(&identity.to_string()), Ok(identity.clone()));
            let json = serde_json::to_string(&identity).unwrap();
            prop_assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity);
        }

        #[test]
        fn different_identities_have_different_texts(one in parts(), other in parts()) {
            let other = Identity { oui: one.oui.clone(), ..other };
            prop_assert_eq!(one == other, one.to_string() == other.to_string());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-F%\\-a é]{0,20}") {
            if let Ok(identity) = Identity::parse(&text) {
                prop_assert_eq!(Identity::parse(&identity.to_string()), Ok(identity));
            }
        }
    }
}
