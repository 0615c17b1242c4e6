//! Who made a printer: by enterprise number, else by words (MAP-01, MAP-02).

use crate::mib;
use crate::snmp::Walk;

/// The maker of the engine, which decides where its private objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    /// HP.
    Hp,
    /// Xerox.
    Xerox,
    /// Fuji Xerox and FUJIFILM.
    Fujifilm,
    /// Ricoh with Aficio, NRG, Lanier, Savin, Gestetner.
    Ricoh,
    /// Lexmark.
    Lexmark,
    /// Lexmark engines that Dell sold.
    Dell,
    /// Samsung.
    Samsung,
    /// Epson.
    Epson,
    /// Kyocera with UTAX, Triumph-Adler, Copystar.
    Kyocera,
    /// Canon.
    Canon,
    /// OKI.
    Oki,
    /// Sharp.
    Sharp,
    /// Brother.
    Brother,
    /// Konica Minolta with Develop.
    KonicaMinolta,
    /// Toshiba TEC.
    Toshiba,
    /// Panasonic.
    Panasonic,
    /// Pantum.
    Pantum,
    /// Zebra.
    Zebra,
    /// Océ.
    Oce,
}

struct Maker {
    vendor: Vendor,
    manufacturer: &'static str,
    /// Enterprise numbers in sysObjectID.
    enterprises: &'static [u32],
    /// Words at the start of a description, in lower case; they are no part of the model's name. Longer before shorter.
    words: &'static [&'static str],
    /// An OUI of the maker, for printers that do not tell a hardware address.
    oui: Option<&'static str>,
}

const fn maker(
    vendor: Vendor,
    manufacturer: &'static str,
    enterprises: &'static [u32],
    words: &'static [&'static str],
    oui: Option<&'static str>,
) -> Maker {
    Maker {
        vendor,
        manufacturer,
        enterprises,
        words,
        oui,
    }
}

const MAKERS: &[Maker] = &[
    maker(
        Vendor::Hp,
        "HP",
        &[11, 29_999, 26_696],
        &["hewlett-packard", "hewlett packard", "hp"],
        Some("3CD92B"),
    ),
    maker(
        Vendor::Fujifilm,
        "FUJIFILM",
        &[297],
        &["fujifilm", "fuji xerox"],
        Some("080037"),
    ),
    maker(Vendor::Xerox, "Xerox", &[253], &["xerox"], Some("0000AA")),
    maker(
        Vendor::Ricoh,
        "Ricoh",
        &[367],
        &["ricoh", "nrg", "lanier", "savin", "gestetner"],
        Some("002673"),
    ),
    maker(
        Vendor::Lexmark,
        "Lexmark",
        &[641],
        &["lexmark"],
        Some("002000"),
    ),
    maker(Vendor::Dell, "Dell", &[674], &["dell"], Some("0021B7")),
    maker(
        Vendor::Samsung,
        "Samsung",
        &[236],
        &["samsung"],
        Some("001599"),
    ),
    maker(
        Vendor::Epson,
        "Epson",
        &[1248],
        &["seiko epson", "epson"],
        Some("000048"),
    ),
    maker(
        Vendor::Kyocera,
        "Kyocera",
        &[1347],
        &[
            "kyocera document solutions",
            "kyocera",
            "ta_utax",
            "triumph-adler",
            "utax",
            "copystar",
        ],
        Some("00C0EE"),
    ),
    maker(Vendor::Canon, "Canon", &[1602], &["canon"], Some("000085")),
    maker(
        Vendor::Oki,
        "OKI",
        &[2001],
        &["oki data corp", "oki"],
        Some("008087"),
    ),
    maker(Vendor::Sharp, "Sharp", &[2385], &["sharp"], Some("08001F")),
    maker(
        Vendor::Brother,
        "Brother",
        &[2435],
        &["brother"],
        Some("008077"),
    ),
    maker(
        Vendor::KonicaMinolta,
        "Konica Minolta",
        &[18_334],
        &["konica minolta", "develop"],
        Some("00206B"),
    ),
    maker(
        Vendor::Toshiba,
        "Toshiba TEC",
        &[1129, 186],
        &["toshiba tec", "toshiba"],
        None,
    ),
    maker(Vendor::Panasonic, "Panasonic", &[258], &["panasonic"], None),
    maker(Vendor::Pantum, "Pantum", &[40_093], &["pantum"], None),
    maker(
        Vendor::Zebra,
        "Zebra",
        &[10_642, 683],
        &["zebra technologies", "zebra"],
        Some("00074D"),
    ),
    maker(Vendor::Oce, "Océ", &[1552], &["océ", "oce"], None),
];

/// Badges under which others sell the engines of the makers above.
const BRANDS: &[(&str, &str)] = &[
    ("ta_utax", "UTAX"),
    ("utax", "UTAX"),
    ("triumph-adler", "Triumph-Adler"),
    ("copystar", "Copystar"),
    ("savin", "Savin"),
    ("lanier", "Lanier"),
    ("gestetner", "Gestetner"),
    ("nrg", "NRG"),
    ("aficio", "Aficio"),
    ("develop", "Develop"),
    ("fuji xerox", "Fuji Xerox"),
];

impl Vendor {
    /// The maker as the enterprise number tells, else as a text's first words do.
    #[must_use]
    pub fn recognise(walk: &Walk) -> Option<Self> {
        enterprise(walk)
            .and_then(|number| {
                MAKERS
                    .iter()
                    .find(|maker| maker.enterprises.contains(&number))
            })
            .or_else(|| descriptions(walk).iter().find_map(|text| by_words(text)))
            .map(|maker| maker.vendor)
    }

    /// The name of the maker.
    #[must_use]
    pub fn manufacturer(self) -> &'static str {
        self.maker().manufacturer
    }

    /// An OUI that the IEEE assigned to the maker.
    #[must_use]
    pub fn oui(self) -> Option<&'static str> {
        self.maker().oui
    }

    fn maker(self) -> &'static Maker {
        MAKERS
            .iter()
            .find(|maker| maker.vendor == self)
            .expect("invariant: the table holds every variant, as a test shows")
    }
}

/// The enterprise number in sysObjectID.
#[must_use]
pub fn enterprise(walk: &Walk) -> Option<u32> {
    walk.at(mib::SYS_OBJECT_ID)?
        .as_oid()?
        .arcs()
        .strip_prefix(mib::ENTERPRISES)?
        .first()
        .copied()
}

/// The badge, where it differs from the maker.
#[must_use]
pub fn brand(walk: &Walk) -> Option<&'static str> {
    let text = walk.text_at(mib::SYS_DESCR)?.to_lowercase();
    BRANDS
        .iter()
        .find(|(word, _)| {
            text.split([' ', ',', ';', '/']).any(|part| part == *word) || text.starts_with(word)
        })
        .map(|&(_, name)| name)
}

/// The text without the maker's name before it.
#[must_use]
pub fn without_vendor(text: &str) -> &str {
    let lower = text.to_lowercase();
    // Lower case may have another length in other alphabets; makers' names here do not.
    let prefix = MAKERS
        .iter()
        .flat_map(|maker| maker.words)
        .find(|word| lower.starts_with(*word) && starts_new_word(&lower[word.len()..]));
    let rest = prefix
        .and_then(|word| text.get(word.len()..))
        .unwrap_or(text);
    rest.trim_start_matches([' ', '-', '_', ','])
}

fn starts_new_word(rest: &str) -> bool {
    rest.chars()
        .next()
        .is_none_or(|next| !next.is_alphanumeric())
}

fn by_words(text: &str) -> Option<&'static Maker> {
    let lower = text.to_lowercase();
    MAKERS.iter().find(|maker| {
        maker
            .words
            .iter()
            .any(|word| lower.strip_prefix(word).is_some_and(starts_new_word))
    })
}

/// Texts that may begin with the maker's name, the best first.
fn descriptions(walk: &Walk) -> Vec<String> {
    let ieee1284 = crate::identity::ieee1284(walk).and_then(|id| id.manufacturer);
    let described = walk.text_at(&[mib::HR_DEVICE, &[3, 1]].concat());
    let named = walk.text_at(&[mib::GENERAL, &[16, 1]].concat());
    [ieee1284, described, named, walk.text_at(mib::SYS_DESCR)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{Oid, Value};

    fn walk(description: &str, object: Option<&str>) -> Walk {
        let mut walk = Walk::default();
        walk.insert(Oid::new(mib::SYS_DESCR), Value::from(description));
        if let Some(object) = object {
            walk.insert(
                Oid::new(mib::SYS_OBJECT_ID),
                Value::Oid(object.parse().unwrap()),
            );
        }
        walk
    }

    #[test]
    fn makers_are_recognised_by_number_before_words() {
        let cases = [
            (
                "Brother NC-8300h, Firmware Ver.1.14",
                Some("1.3.6.1.4.1.2435.2.3.9.1"),
                Some(Vendor::Brother),
            ),
            (
                "Dell S5830dn version NH62",
                Some("1.3.6.1.4.1.674.10898.2"),
                Some(Vendor::Dell),
            ),
            (
                "TA_UTAX Printing System",
                Some("1.3.6.1.4.1.1347.41"),
                Some(Vendor::Kyocera),
            ),
            (
                "FUJIFILM Apeos C7580",
                Some("1.3.6.1.4.1.297.1.11.93.2"),
                Some(Vendor::Fujifilm),
            ),
            (
                "KONICA MINOLTA bizhub C250i",
                None,
                Some(Vendor::KonicaMinolta),
            ),
            (
                "Canon iR-ADV C5235 /P",
                Some("1.3.6.1.4.1.8072.3.2.10"),
                Some(Vendor::Canon),
            ),
            ("hpux box", None, None),
            ("Linux router", Some("1.3.6.1.4.1.8072.3.2.10"), None),
        ];
        for (description, object, expect) in cases {
            assert_eq!(
                Vendor::recognise(&walk(description, object)),
                expect,
                "{description}"
            );
        }
    }

    #[test]
    fn badges_are_kept_beside_the_maker() {
        assert_eq!(brand(&walk("TA_UTAX Printing System", None)), Some("UTAX"));
        assert_eq!(
            brand(&walk("LANIER MP C3002 1.20 / LANIER Network Printer", None)),
            Some("Lanier")
        );
        assert_eq!(
            brand(&walk("RICOH Aficio MP 201 1.04", None)),
            Some("Aficio")
        );
        assert_eq!(
            brand(&walk("KYOCERA Document Solutions Printing System", None)),
            None
        );
    }

    #[test]
    fn the_maker_is_no_part_of_the_model() {
        let cases = [
            ("HP LaserJet MFP M130nw", "LaserJet MFP M130nw"),
            ("Hewlett-Packard LaserJet", "LaserJet"),
            ("KONICA MINOLTA bizhub C250i", "bizhub C250i"),
            ("EPSON WF-C5790BA", "WF-C5790BA"),
            ("HPLaser", "HPLaser"),
            ("CS 4053ci", "CS 4053ci"),
        ];
        for (text, expect) in cases {
            assert_eq!(without_vendor(text), expect);
        }
    }

    #[test]
    fn every_vendor_is_in_the_table_once() {
        for maker in MAKERS {
            assert_eq!(maker.vendor.manufacturer(), maker.manufacturer);
            if let Some(oui) = maker.oui {
                assert!(
                    oui.len() == 6
                        && oui
                            .bytes()
                            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_lowercase())
                );
            }
        }
    }
}
