//! Bodies in other encodings than UTF-8 (SES-19).

use std::borrow::Cow;

use super::{Repair, Repairs};

/// Makes text of an HTTP body.
///
/// The encoding is the one that a byte order mark shows, else the `charset` of the content type, else the one of the XML
/// declaration, else UTF-8. Known are UTF-8, UTF-16, ISO-8859-1, ISO-8859-15 and windows-1252. Bytes that are no text in it,
/// and all that are not ASCII in an encoding that is not known, become U+FFFD, which is reported as [`Repair::Charset`].
pub fn decode_body<'a>(body: &'a [u8], content_type: Option<&str>) -> (Cow<'a, str>, Repairs) {
    let by_mark = [
        (&b"\xEF\xBB\xBF"[..], Charset::Utf8),
        (
            b"\xFF\xFE",
            Charset::Utf16 {
                little_endian: true,
            },
        ),
        (
            b"\xFE\xFF",
            Charset::Utf16 {
                little_endian: false,
            },
        ),
        // An XML declaration in UTF-16 without a mark.
        (
            b"<\0?\0",
            Charset::Utf16 {
                little_endian: true,
            },
        ),
        (
            b"\0<\0?",
            Charset::Utf16 {
                little_endian: false,
            },
        ),
    ]
    .into_iter()
    .find_map(|(start, charset)| body.starts_with(start).then_some(charset));
    let charset = by_mark
        .or_else(|| charset_parameter(content_type?).and_then(Charset::named))
        .or_else(|| declared_encoding(body).and_then(Charset::named))
        .unwrap_or(Charset::Utf8);

    let (text, lossless) = match charset {
        Charset::Utf8 => match str::from_utf8(body) {
            Ok(text) => (Cow::Borrowed(text), true),
            // The XML declaration may know better than the server that guessed the content type.
            Err(_) => match declared_encoding(body).and_then(Charset::named) {
                Some(Charset::SingleByte(upper)) => {
                    (Cow::Owned(decode_single_bytes(body, upper)), true)
                }
                Some(Charset::Utf8 | Charset::Utf16 { .. } | Charset::Unknown) | None => {
                    (String::from_utf8_lossy(body), false)
                }
            },
        },
        Charset::Utf16 { little_endian } => {
            let (text, lossless) = decode_utf16(body, little_endian);
            (Cow::Owned(text), lossless)
        }
        Charset::SingleByte(upper) => (Cow::Owned(decode_single_bytes(body, upper)), true),
        Charset::Unknown => (
            Cow::Owned(
                body.iter()
                    .map(|byte| {
                        if byte.is_ascii() {
                            char::from(*byte)
                        } else {
                            '\u{fffd}'
                        }
                    })
                    .collect(),
            ),
            body.is_ascii(),
        ),
    };
    let repairs = if lossless {
        Repairs::NONE
    } else {
        Repairs::from_iter([Repair::Charset])
    };
    (text, repairs)
}

#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Utf16 {
        little_endian: bool,
    },
    /// One byte per character; the function gives those from 0x80 on.
    SingleByte(fn(u8) -> char),
    Unknown,
}

impl Charset {
    /// The charset of that name; `None` for an empty name.
    fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.as_str() {
            "" => return None,
            "utf-8" | "utf8" | "us-ascii" | "ascii" => Self::Utf8,
            "utf-16" | "utf-16be" => Self::Utf16 {
                little_endian: false,
            },
            "utf-16le" => Self::Utf16 {
                little_endian: true,
            },
            "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin1" => Self::SingleByte(char::from),
            "iso-8859-15" | "iso8859-15" | "iso_8859-15" | "latin9" => Self::SingleByte(latin_9),
            "windows-1252" | "cp1252" => Self::SingleByte(windows_1252),
            _ => Self::Unknown,
        })
    }
}

/// The `charset` parameter of a content type.
fn charset_parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// The `encoding` of an XML declaration.
fn declared_encoding(body: &[u8]) -> Option<&str> {
    let start = body.get(..body.len().min(256))?;
    let declaration = start.get(find(start, b"<?xml")?..)?;
    let declaration = declaration.get(..find(declaration, b"?>")?)?;
    let value = declaration.get(find(declaration, b"encoding")? + "encoding".len()..)?;
    let value = str::from_utf8(value)
        .ok()?
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    let quote = value
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    value.get(1..)?.split(quote).next()
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

fn decode_single_bytes(body: &[u8], upper: fn(u8) -> char) -> String {
    body.iter()
        .map(|byte| {
            if byte.is_ascii() {
                char::from(*byte)
            } else {
                upper(*byte)
            }
        })
        .collect()
}

fn decode_utf16(body: &[u8], little_endian: bool) -> (String, bool) {
    let body = body
        .strip_prefix(b"\xFF\xFE")
        .or_else(|| body.strip_prefix(b"\xFE\xFF"))
        .unwrap_or(body);
    let units = body.chunks_exact(2).map(|pair| {
        let pair = [pair[0], pair[1]];
        if little_endian {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        }
    });
    let mut lossless = body.len().is_multiple_of(2);
    let text = char::decode_utf16(units)
        .map(|character| {
            character.unwrap_or_else(|_| {
                lossless = false;
                char::REPLACEMENT_CHARACTER
            })
        })
        .collect();
    (text, lossless)
}

fn latin_9(byte: u8) -> char {
    match byte {
        0xA4 => '€',
        0xA6 => 'Š',
        0xA8 => 'š',
        0xB4 => 'Ž',
        0xB8 => 'ž',
        0xBC => 'Œ',
        0xBD => 'œ',
        0xBE => 'Ÿ',
        _ => char::from(byte),
    }
}

fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    byte.checked_sub(0x80)
        .and_then(|index| FROM_80.get(usize::from(index)))
        .copied()
        .unwrap_or_else(|| char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_then_content_type_then_declaration_decide() {
        let utf16 = |text: &str, little_endian: bool| -> Vec<u8> {
            let bytes = |unit: u16| {
                if little_endian {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            };
            text.encode_utf16().flat_map(bytes).collect()
        };
        let declared =
            |encoding: &str| format!("<?xml version='1.0' encoding='{encoding}'?>").into_bytes();
        let with = |mut start: Vec<u8>, rest: &[u8]| {
            start.extend_from_slice(rest);
            start
        };
        // What the text ends in, and whether all of it was readable.
        let cases: Vec<(Vec<u8>, Option<&str>, &str, bool)> = vec![
            (b"caf\xC3\xA9".to_vec(), None, "café", true),
            (
                b"caf\xC3\xA9".to_vec(),
                Some("text/xml; charset=\"utf-8\""),
                "café",
                true,
            ),
            (
                b"caf\xE9".to_vec(),
                Some("text/xml; Charset=ISO-8859-1"),
                "café",
                true,
            ),
            (b"caf\xE9".to_vec(), Some("text/xml"), "caf\u{fffd}", false),
            (
                b"caf\xE9".to_vec(),
                Some("text/xml; charset="),
                "caf\u{fffd}",
                false,
            ),
            (
                b"caf\xE9".to_vec(),
                Some("text/xml; encoding=latin1"),
                "caf\u{fffd}",
                false,
            ),
            (
                b"\xA4 \x80".to_vec(),
                Some("text/xml;charset=iso-8859-15"),
                "€ \u{80}",
                true,
            ),
            (
                b"\xA4 \x80".to_vec(),
                Some("text/xml;charset=windows-1252"),
                "¤ €",
                true,
            ),
            (
                b"a\xE9".to_vec(),
                Some("text/xml;charset=gb2312"),
                "a\u{fffd}",
                false,
            ),
            (
                b"plain".to_vec(),
                Some("text/xml;charset=gb2312"),
                "plain",
                true,
            ),
            (with(declared("ISO-8859-1"), b"caf\xE9"), None, "café", true),
            (
                with(declared("iso-8859-1"), b"caf\xE9"),
                Some("text/xml; charset=utf-8"),
                "café",
                true,
            ),
            (
                with(declared("ISO-8859-1"), b"caf\xC3\xA9"),
                Some("text/xml; charset=utf-8"),
                "café",
                true,
            ),
            (
                with(declared("utf-8"), b"caf\xE9"),
                None,
                "caf\u{fffd}",
                false,
            ),
            (
                with(b"\xEF\xBB\xBF".to_vec(), b"caf\xC3\xA9"),
                Some("text/xml; charset=latin1"),
                "café",
                true,
            ),
            (
                with(b"\xFF\xFE".to_vec(), &utf16("café 😀", true)),
                Some("text/xml; charset=utf-8"),
                "café 😀",
                true,
            ),
            (
                with(b"\xFE\xFF".to_vec(), &utf16("café 😀", false)),
                None,
                "café 😀",
                true,
            ),
            (utf16("<?xml?>é", true), None, "é", true),
            (utf16("<?xml?>é", false), None, "é", true),
            (
                utf16("é", true),
                Some("text/xml; charset=UTF-16LE"),
                "é",
                true,
            ),
            (b"\xFF\xFEa".to_vec(), None, "", false),
            (b"\xFF\xFE\x00\xD8".to_vec(), None, "\u{fffd}", false),
            (b"".to_vec(), None, "", true),
        ];
        for (body, content_type, end, lossless) in cases {
            let (text, repairs) = decode_body(&body, content_type);
            assert!(
                text.ends_with(end),
                "{body:?} as {content_type:?} became {text:?}"
            );
            assert_eq!(repairs.is_empty(), lossless, "{body:?} as {content_type:?}");
        }
    }

    #[test]
    fn utf_8_is_not_copied() {
        assert!(matches!(
            decode_body("é".as_bytes(), None),
            (Cow::Borrowed("é"), _)
        ));
    }
}
