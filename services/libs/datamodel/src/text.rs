//! Texts of printers: character sets, control characters, and what vendors pack into descriptions (MAP-31, MAP-32).

/// Decodes octets: strict UTF-8, else the declared character set (an IANA MIBenum), else Latin-1. Control characters become spaces,
/// trailing and repeated blanks go; the result is fit for XML 1.0.
#[must_use]
pub fn decode(octets: &[u8], charset: Option<i64>) -> String {
    // HP puts a symbol set before texts of its own objects: 0x0115 is Roman-8.
    let (octets, charset) = match octets {
        [0x01, 0x15, text @ ..] => (text, Some(ROMAN_8)),
        _ => (octets, charset),
    };
    let octets = octets.split(|&octet| octet == 0).next().unwrap_or_default();
    let text = match (std::str::from_utf8(octets), charset) {
        (Ok(text), _) => text.to_owned(),
        (Err(_), Some(ROMAN_8)) => octets.iter().map(|&octet| roman_8(octet)).collect(),
        (Err(_), Some(LATIN_2)) => octets
            .iter()
            .map(|&octet| high(octet, &LATIN_2_HIGH))
            .collect(),
        (Err(_), Some(CYRILLIC)) => octets.iter().map(|&octet| cyrillic(octet)).collect(),
        (Err(_), Some(LATIN_5)) => octets.iter().map(|&octet| latin_5(octet)).collect(),
        (Err(_), _) => octets.iter().map(|&octet| char::from(octet)).collect(),
    };
    clean(&text)
}

/// Makes a text fit for XML and for people: no control characters, no blanks at the ends, none repeated.
#[must_use]
pub fn clean(text: &str) -> String {
    let allowed = |character: char| {
        if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') {
            ' '
        } else {
            character
        }
    };
    let spaced: String = text.chars().map(allowed).collect();
    spaced
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Cuts a text to at most `max` bytes, between characters.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A supply's description taken apart (MAP-32).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SupplyText {
    /// What people read.
    pub description: String,
    /// The number to order by; empty if not told.
    pub part_number: String,
    /// The serial of this very cartridge; empty if not told.
    pub serial_number: String,
}

/// Takes a supply's description apart.
#[must_use]
pub fn supply_text(text: &str) -> SupplyText {
    // Xerox: "Black Toner, PN 006R01509;SN48178080E0000481".
    if let Some((description, rest)) = text.split_once(", PN ") {
        let (part, serial) = rest.split_once(';').unwrap_or((rest, ""));
        return SupplyText {
            description: description.trim().to_owned(),
            part_number: known(part),
            serial_number: known(serial.trim().trim_start_matches("SN")),
        };
    }
    // Samsung: "Black Toner Cartridge S/N:CRUM-1234".
    if let Some((description, serial)) = text.split_once("S/N:") {
        let serial = serial.trim();
        return SupplyText {
            description: description.trim().to_owned(),
            part_number: String::new(),
            serial_number: if serial == "CRUM-" {
                String::new()
            } else {
                known(serial)
            },
        };
    }
    let description = text
        .strip_suffix("OKI DATA CORP")
        .unwrap_or(text)
        .trim()
        .to_owned();
    let part_number = hp_part(&description)
        .or_else(|| kyocera_part(&description))
        .unwrap_or_default();
    SupplyText {
        description,
        part_number,
        serial_number: String::new(),
    }
}

/// HP ends descriptions with "HP CF410A".
fn hp_part(description: &str) -> Option<String> {
    let (before, last) = description.rsplit_once(' ')?;
    (before.ends_with(" HP") && last.len() >= 5 && last.bytes().any(|byte| byte.is_ascii_digit()))
        .then(|| last.to_owned())
}

/// Kyocera's description of a toner is its number: TK-8527C, PK-3010S.
fn kyocera_part(description: &str) -> Option<String> {
    let (series, number) = description.split_once('-')?;
    let is_series = series.len() == 2
        && series.ends_with('K')
        && series.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_number = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_series && is_number).then(|| description.to_owned())
}

fn known(text: &str) -> String {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unknown") {
        String::new()
    } else {
        text.to_owned()
    }
}

/// Colour words in the languages of panels, longest and most special first.
const COLOR_WORDS: &[(&str, &str)] = &[
    ("matte black", "MatteBlack"),
    ("photo black", "PhotoBlack"),
    ("light cyan", "LightCyan"),
    ("light magenta", "LightMagenta"),
    ("black", "Black"),
    ("cyan", "Cyan"),
    ("magenta", "Magenta"),
    ("yellow", "Yellow"),
    ("schwarz", "Black"),
    ("noir", "Black"),
    ("negro", "Black"),
    ("nero", "Black"),
    ("gelb", "Yellow"),
    ("jaune", "Yellow"),
    ("amarillo", "Yellow"),
    ("giallo", "Yellow"),
    ("黑", "Black"),
    ("洋红", "Magenta"),
    ("洋紅", "Magenta"),
    ("品红", "Magenta"),
    ("青", "Cyan"),
    ("黄", "Yellow"),
    ("黃", "Yellow"),
];

/// The normalised colour that a text speaks of (MAP-18).
#[must_use]
pub fn color_name(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    COLOR_WORDS
        .iter()
        .find(|(word, _)| lower.contains(word))
        .map(|&(_, name)| name)
}

const LATIN_2: i64 = 5;
const CYRILLIC: i64 = 8;
const LATIN_5: i64 = 12;
const ROMAN_8: i64 = 2004;

/// 0xA0 to 0xFF of ISO 8859-2.
const LATIN_2_HIGH: [char; 96] = [
    '\u{a0}', 'Ą', '˘', 'Ł', '¤', 'Ľ', 'Ś', '§', '¨', 'Š', 'Ş', 'Ť', 'Ź', '\u{ad}', 'Ž', 'Ż', '°',
    'ą', '˛', 'ł', '´', 'ľ', 'ś', 'ˇ', '¸', 'š', 'ş', 'ť', 'ź', '˝', 'ž', 'ż', 'Ŕ', 'Á', 'Â', 'Ă',
    'Ä', 'Ĺ', 'Ć', 'Ç', 'Č', 'É', 'Ę', 'Ë', 'Ě', 'Í', 'Î', 'Ď', 'Đ', 'Ń', 'Ň', 'Ó', 'Ô', 'Ő', 'Ö',
    '×', 'Ř', 'Ů', 'Ú', 'Ű', 'Ü', 'Ý', 'Ţ', 'ß', 'ŕ', 'á', 'â', 'ă', 'ä', 'ĺ', 'ć', 'ç', 'č', 'é',
    'ę', 'ë', 'ě', 'í', 'î', 'ď', 'đ', 'ń', 'ň', 'ó', 'ô', 'ő', 'ö', '÷', 'ř', 'ů', 'ú', 'ű', 'ü',
    'ý', 'ţ', '˙',
];

/// 0xA0 to 0xFF of HP Roman-8.
const ROMAN_8_HIGH: [char; 96] = [
    '\u{a0}', 'À', 'Â', 'È', 'Ê', 'Ë', 'Î', 'Ï', '´', 'ˋ', 'ˆ', '¨', '˜', 'Ù', 'Û', '₤', '¯', 'Ý',
    'ý', '°', 'Ç', 'ç', 'Ñ', 'ñ', '¡', '¿', '¤', '£', '¥', '§', 'ƒ', '¢', 'â', 'ê', 'ô', 'û', 'á',
    'é', 'ó', 'ú', 'à', 'è', 'ò', 'ù', 'ä', 'ë', 'ö', 'ü', 'Å', 'î', 'Ø', 'Æ', 'å', 'í', 'ø', 'æ',
    'Ä', 'ì', 'Ö', 'Ü', 'É', 'ï', 'ß', 'Ô', 'Á', 'Ã', 'ã', 'Ð', 'ð', 'Í', 'Ì', 'Ó', 'Ò', 'Õ', 'õ',
    'Š', 'š', 'Ú', 'Ÿ', 'ÿ', 'Þ', 'þ', '·', 'µ', '¶', '¾', '—', '¼', '½', 'ª', 'º', '«', '■', '»',
    '±', '\u{a0}',
];

fn roman_8(octet: u8) -> char {
    high(octet, &ROMAN_8_HIGH)
}

fn high(octet: u8, table: &[char; 96]) -> char {
    octet
        .checked_sub(0xa0)
        .and_then(|position| table.get(usize::from(position)).copied())
        .unwrap_or_else(|| char::from(octet))
}

/// ISO 8859-5 holds the Cyrillic block in order, but for a few signs.
fn cyrillic(octet: u8) -> char {
    match octet {
        0xa0 | 0xad => char::from(octet),
        0xf0 => '№',
        0xfd => '§',
        0xa1.. => char::from_u32(u32::from(octet) - 0xa0 + 0x400).unwrap_or('\u{fffd}'),
        _ => char::from(octet),
    }
}

/// ISO 8859-9 is Latin-1 with six Turkish letters.
fn latin_5(octet: u8) -> char {
    match octet {
        0xd0 => 'Ğ',
        0xdd => 'İ',
        0xde => 'Ş',
        0xf0 => 'ğ',
        0xfd => 'ı',
        0xfe => 'ş',
        _ => char::from(octet),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_become_text_fit_for_xml() {
        let cases: [(&[u8], Option<i64>, &str); 11] = [
            (&[0xE9, 0xBB, 0x91, 0xE8, 0x89, 0xB2], Some(2004), "黑色"),
            (b"\x01\x15VNCRC48198", None, "VNCRC48198"),
            (b"\x01\x15\xceber", None, "öber"),
            (b"Stapler\n1  \0\0", None, "Stapler 1"),
            (b"Gr\xfcn", None, "Grün"),
            (b"Gr\xfcn", Some(4), "Grün"),
            (b"\xb3\xf3d\xbc", Some(5), "łódź"),
            (b"\xb1\xfe\xd0\xe2", Some(8), "Бўат"),
            (b"\xfeark\xfd", Some(12), "şarkı"),
            (b"a\0b", None, "a"),
            (b"", None, ""),
        ];
        for (octets, charset, expect) in cases {
            assert_eq!(decode(octets, charset), expect, "{octets:x?}");
        }
    }

    #[test]
    fn descriptions_of_supplies_are_taken_apart() {
        let cases = [
            (
                "Black Toner, PN 006R01509;SN48178080E0000481",
                "Black Toner",
                "006R01509",
                "48178080E0000481",
            ),
            (
                "Waste Toner Container, PN 008R13061;SNunknown",
                "Waste Toner Container",
                "008R13061",
                "",
            ),
            ("Fuser, PN unknown;SNunknown", "Fuser", "", ""),
            (
                "Black Toner Cartridge S/N:CRUM-17012345",
                "Black Toner Cartridge",
                "",
                "CRUM-17012345",
            ),
            (
                "Black Toner Cartridge S/N:CRUM-",
                "Black Toner Cartridge",
                "",
                "",
            ),
            ("Fuser S/N:", "Fuser", "", ""),
            (
                "Black Image Drum Unit OKI DATA CORP",
                "Black Image Drum Unit",
                "",
                "",
            ),
            (
                "Black Cartridge HP CF217A",
                "Black Cartridge HP CF217A",
                "CF217A",
                "",
            ),
            ("TK-8527C", "TK-8527C", "TK-8527C", ""),
            ("PK-3010S", "PK-3010S", "PK-3010S", ""),
            ("Waste Toner Box", "Waste Toner Box", "", ""),
        ];
        for (text, description, part_number, serial_number) in cases {
            let expect = SupplyText {
                description: description.to_owned(),
                part_number: part_number.to_owned(),
                serial_number: serial_number.to_owned(),
            };
            assert_eq!(supply_text(text), expect, "{text:?}");
        }
    }

    #[test]
    fn colours_are_found_in_texts() {
        let cases = [
            ("Toner (Cyan)", Some("Cyan")),
            ("CANON Matte Black Ink Tank", Some("MatteBlack")),
            ("黑色碳粉", Some("Black")),
            ("洋紅色碳粉", Some("Magenta")),
            ("青色碳粉", Some("Cyan")),
            ("Toner schwarz", Some("Black")),
            ("Fuser", None),
        ];
        for (text, expect) in cases {
            assert_eq!(color_name(text), expect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_become_clean_text(octets in proptest::collection::vec(any::<u8>(), 0..64), charset in proptest::option::of(0_i64..2100)) {
            let text = decode(&octets, charset);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(&clean(&text), &text);
            let _ = supply_text(&text);
        }
    }
}
