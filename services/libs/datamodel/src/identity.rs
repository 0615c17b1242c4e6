//! Who a printer is: OUI, product class and serial number, where they come from, and what is not believed (MAP-03 to MAP-07).

use crate::mib;
use crate::snmp::{Oid, Walk};
use crate::text::{clean, cut};
use crate::vendor::{self, Vendor};

/// The identity under which a printer is presented, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Six upper-case hexadecimal digits.
    pub oui: String,
    /// The model as part of the identity: `[A-Za-z0-9 ._-]`, at most 64 characters.
    pub product_class: String,
    /// The serial number, or the hardware address in its place.
    pub serial_number: String,
    /// How much the serial number is worth.
    pub serial_source: SerialSource,
    /// The maker's name.
    pub manufacturer: String,
    /// The model as people call it.
    pub model_name: String,
    /// The version of the main controller's firmware; empty if not told.
    pub software_version: String,
    /// Versions of other parts, as `name version` texts.
    pub additional_versions: Vec<String>,
}

/// Where a serial number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SerialSource {
    /// prtGeneralSerialNumber.
    PrinterMib,
    /// An object of the vendor's.
    VendorMib,
    /// The text of sysDescr.
    SystemDescription,
    /// The hardware address.
    MacAddress,
}

impl SerialSource {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrinterMib => "PrinterMIB",
            Self::VendorMib => "VendorMIB",
            Self::SystemDescription => "SystemDescription",
            Self::MacAddress => "MACAddress",
        }
    }
}

/// Why a walk is not presented as a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// Neither the Printer MIB, nor a device of type printer, nor a maker's serial number of one: some other thing that speaks SNMP.
    #[error("not a printer: neither Printer MIB nor hrDevicePrinter")]
    NotAPrinter,
    /// A printer that tells neither a usable serial number nor a hardware address (MAP-05).
    #[error("printer without serial number and hardware address")]
    NoSerialNumber,
    /// A printer whose maker cannot be told, neither by a hardware address nor by its texts (MAP-03).
    #[error("printer without hardware address, of an unknown maker")]
    NoManufacturer,
    /// A printer that tells no name of its model (MAP-04).
    #[error("printer without a model name")]
    NoModel,
}

/// The parts of an IEEE 1284 device id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ieee1284 {
    /// The whole text.
    pub text: String,
    /// `MFG` or `MANUFACTURER`.
    pub manufacturer: Option<String>,
    /// `MDL` or `MODEL`.
    pub model: Option<String>,
}

/// Finds out who the printer behind a walk is.
///
/// # Errors
///
/// See [`NoIdentity`].
pub fn identify(walk: &Walk) -> Result<Identity, NoIdentity> {
    if !is_printer(walk) {
        return Err(NoIdentity::NotAPrinter);
    }
    let vendor = Vendor::recognise(walk);
    let (serial_number, serial_source) =
        serial_number(walk, vendor).ok_or(NoIdentity::NoSerialNumber)?;
    let oui = mac_address(walk)
        .map(|mac| hex(&mac[..3]))
        .or_else(|| vendor.and_then(Vendor::oui).map(str::to_owned))
        .ok_or(NoIdentity::NoManufacturer)?;
    let model_name = model_name(walk).ok_or(NoIdentity::NoModel)?;
    let product_class = ieee1284(walk)
        .and_then(|id| id.model)
        .and_then(|model| product_class(&model))
        .or_else(|| product_class(&model_name))
        .ok_or(NoIdentity::NoModel)?;
    let mut versions = firmware(walk, vendor).into_iter();
    Ok(Identity {
        oui,
        product_class,
        serial_number,
        serial_source,
        manufacturer: vendor.map_or_else(String::new, |vendor| vendor.manufacturer().to_owned()),
        model_name,
        software_version: versions.next().unwrap_or_default(),
        additional_versions: versions.collect(),
    })
}

/// Whether anything says that this is a printer: the Printer MIB, a device of that type, or the object in which its maker keeps the serial
/// numbers of printers.
#[must_use]
pub fn is_printer(walk: &Walk) -> bool {
    let printer_mib = Oid::new(mib::PRINTER);
    walk.below(&printer_mib).next().is_some()
        || !printer_devices(walk).is_empty()
        || vendor_serials(Vendor::recognise(walk))
            .iter()
            .any(|below| walk.text_at(&[mib::ENTERPRISES, below].concat()).is_some())
}

/// The hrDeviceIndex of each print engine (MAP-10); of a printer that has no hrDeviceTable those that its tables use, at last 1.
#[must_use]
pub fn engines(walk: &Walk) -> Vec<u32> {
    let mut devices = printer_devices(walk);
    if devices.is_empty() {
        for entry in [mib::GENERAL, mib::MARKER, mib::SUPPLIES, mib::INPUT] {
            let entry = Oid::new(entry);
            devices.extend(
                walk.below(&entry)
                    .filter_map(|(arcs, _)| arcs.get(1).copied()),
            );
        }
        devices.sort_unstable();
        devices.dedup();
    }
    if devices.is_empty() { vec![1] } else { devices }
}

fn printer_devices(walk: &Walk) -> Vec<u32> {
    let types = Oid::new(&[mib::HR_DEVICE, &[2]].concat());
    walk.below(&types)
        .filter(|(_, value)| {
            value
                .as_oid()
                .is_some_and(|oid| oid.arcs() == mib::HR_DEVICE_PRINTER)
        })
        .filter_map(|(arcs, _)| arcs.first().copied())
        .collect()
}

/// The first hardware address that is the network card's own: of an Ethernet interface, else of a wireless one; neither zero, nor a group's,
/// nor locally administered (MAP-03).
#[must_use]
pub fn mac_address(walk: &Walk) -> Option<[u8; 6]> {
    /// ethernetCsmacd, and the older number for 802.3 that some printers still use.
    const ETHERNET: [i64; 2] = [6, 7];
    const WIRELESS: [i64; 1] = [71];
    let types = Oid::new(mib::IF_TYPE);
    let of_types = |wanted: &[i64]| {
        walk.below(&types)
            .filter(|(_, value)| {
                value
                    .as_i64()
                    .is_some_and(|number| wanted.contains(&number))
            })
            .find_map(|(interface, _)| {
                let (&first, rest) = interface.split_first()?;
                let octets = walk.cell(mib::IF_PHYS_ADDRESS, first, rest)?.as_octets()?;
                let mac: [u8; 6] = octets.try_into().ok()?;
                (mac != [0; 6] && mac[0] & 0b11 == 0).then_some(mac)
            })
    };
    of_types(&ETHERNET).or_else(|| of_types(&WIRELESS))
}

/// The device id that the port monitor, or an object of HP's that others serve too, tells.
#[must_use]
pub fn ieee1284(walk: &Walk) -> Option<Ieee1284> {
    const HP_DEVICE_ID: &[u32] = &[1, 3, 6, 1, 4, 1, 11, 2, 3, 9, 1, 1, 7, 0];
    const XEROX_DEVICE_ID: &[u32] = &[1, 3, 6, 1, 4, 1, 253, 8, 51, 1, 2, 1, 20, 1];
    let text = walk
        .text_at(&[mib::PORT_MONITOR, &[3, 1]].concat())
        .or_else(|| walk.text_at(HP_DEVICE_ID))
        .or_else(|| walk.text_at(XEROX_DEVICE_ID))?;
    let value = |keys: [&str; 2]| {
        text.split(';').find_map(|pair| {
            let (key, value) = pair.split_once(':')?;
            let known = keys
                .iter()
                .any(|wanted| key.trim().eq_ignore_ascii_case(wanted));
            (known && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    Some(Ieee1284 {
        manufacturer: value(["MFG", "MANUFACTURER"]),
        model: value(["MDL", "MODEL"]),
        text,
    })
}

/// The first serial number that is worth its name (MAP-05).
fn serial_number(walk: &Walk, vendor: Option<Vendor>) -> Option<(String, SerialSource)> {
    let device = engines(walk).first().copied().unwrap_or(1);
    let told = walk
        .text_at(&[mib::GENERAL, &[17, device]].concat())
        .and_then(|text| usable_serial(&text));
    if let Some(serial) = told {
        return Some((serial, SerialSource::PrinterMib));
    }
    let private = vendor_serials(vendor)
        .iter()
        .find_map(|below| walk.text_at(&[mib::ENTERPRISES, below].concat()))
        .and_then(|text| usable_serial(&text));
    if let Some(serial) = private {
        return Some((serial, SerialSource::VendorMib));
    }
    let described = walk
        .text_at(mib::SYS_DESCR)
        .and_then(|text| serial_in_description(&text));
    if let Some(serial) = described {
        return Some((serial, SerialSource::SystemDescription));
    }
    let mac = mac_address(walk)?;
    Some((hex(&mac), SerialSource::MacAddress))
}

/// Below the enterprises' arc.
fn vendor_serials(vendor: Option<Vendor>) -> &'static [&'static [u32]] {
    match vendor {
        Some(Vendor::Hp) => &[&[11, 2, 3, 9, 4, 2, 1, 1, 3, 3, 0]],
        Some(Vendor::Xerox) => &[&[253, 8, 53, 3, 2, 1, 3, 1]],
        Some(Vendor::Ricoh) => &[&[367, 3, 2, 1, 2, 1, 4, 0]],
        Some(Vendor::Samsung) => &[&[236, 11, 5, 1, 1, 1, 4, 0]],
        Some(Vendor::Epson) => &[&[1248, 1, 2, 2, 1, 1, 1, 5, 1]],
        Some(Vendor::Kyocera) => &[&[1347, 43, 5, 1, 1, 28, 1]],
        Some(Vendor::Canon) => &[&[1602, 1, 2, 1, 8, 1, 3, 1, 1], &[1602, 1, 2, 1, 4, 0]],
        Some(Vendor::Oki) => &[&[2001, 1, 1, 1, 1, 11, 1, 10, 45, 0]],
        Some(Vendor::Brother) => &[&[2435, 2, 3, 9, 4, 2, 1, 5, 5, 1, 0]],
        _ => &[],
    }
}

/// Cleans a serial number; `None` for placeholders: too short, one character repeated, "unknown".
#[must_use]
pub fn usable_serial(text: &str) -> Option<String> {
    let serial: String = clean(text).chars().filter(char::is_ascii_graphic).collect();
    let serial = cut(&serial, 64);
    let placeholder = |character: char| matches!(character, 'X' | 'x' | '0' | '-' | '?' | '*');
    let usable = serial.len() >= 4
        && !serial.chars().all(placeholder)
        && !serial.eq_ignore_ascii_case("unknown");
    usable.then(|| serial.to_owned())
}

fn serial_in_description(text: &str) -> Option<String> {
    ["SN:", "S/N:", "S/N "].iter().find_map(|mark| {
        let (_, rest) = text.split_once(mark)?;
        usable_serial(rest.trim_start().split([',', ';', ' ']).next()?)
    })
}

/// The model as people call it: hrDeviceDescr, else the device id, else the printer's name, else sysDescr. Names that say nothing are passed
/// over.
fn model_name(walk: &Walk) -> Option<String> {
    let device = engines(walk).first().copied().unwrap_or(1);
    let described = walk.text_at(&[mib::HR_DEVICE, &[3, device]].concat());
    let named = walk.text_at(&[mib::GENERAL, &[16, device]].concat());
    let candidates = [
        described.map(|text| without_versions(&text)),
        ieee1284(walk).and_then(|id| id.model),
        vendor_model(walk),
        named,
        walk.text_at(mib::SYS_DESCR)
            .and_then(|text| model_in_description(&text)),
    ];
    candidates
        .into_iter()
        .flatten()
        .map(|text| clean(vendor::without_vendor(&text)))
        .find(|name| !name.is_empty() && !name.starts_with("Generic "))
}

/// Models that vendors tell in objects of their own.
fn vendor_model(walk: &Walk) -> Option<String> {
    let below: &[u32] = match Vendor::recognise(walk)? {
        Vendor::Ricoh => &[367, 3, 2, 1, 1, 1, 1, 0],
        Vendor::Kyocera => &[1347, 43, 5, 1, 1, 1, 1],
        Vendor::Canon => &[1602, 1, 1, 1, 1, 0],
        Vendor::KonicaMinolta => &[18_334, 1, 1, 1, 1, 6, 2, 1, 0],
        _ => return None,
    };
    walk.text_at(&[mib::ENTERPRISES, below].concat())
}

/// Lexmark's engines append serial number and firmware: "Dell S5830dn 7XQ1R92 LW62.DN4.P636".
fn without_versions(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [model @ .., _, version] if model.len() >= 2 && version.matches('.').count() == 2 => {
            model.join(" ")
        }
        _ => text.to_owned(),
    }
}

/// What sysDescr says before it turns to versions and options.
fn model_in_description(text: &str) -> Option<String> {
    // A print server of OKI's in front of the printer, and HP's list of properties.
    if let Some((_, attached)) = text.split_once("Attached to ") {
        return attached.split(' ').next().map(str::to_owned);
    }
    if let Some((_, product)) = text.split_once(",PID:") {
        return product.split(',').next().map(str::to_owned);
    }
    let head = [";", ",", " / ", " /P", " version ", " Rev."]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .map_or(text, |end| &text[..end]);
    let is_version = |word: &str| {
        word.contains('.')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let head = match head.trim().rsplit_once(' ') {
        Some((before, last)) if is_version(last) => before,
        _ => head,
    };
    let says_nothing = ["Printing System", "ETHERNET MULTI-ENVIRONMENT", "Built-in"]
        .iter()
        .any(|phrase| head.contains(phrase));
    (!says_nothing && !head.trim().is_empty()).then(|| head.trim().to_owned())
}

/// A model name in the characters of a product class.
fn product_class(model: &str) -> Option<String> {
    let allowed = |character: char| {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-') {
            character
        } else {
            ' '
        }
    };
    let spaced: String = vendor::without_vendor(model).chars().map(allowed).collect();
    let name = clean(&spaced);
    let name = cut(&name, 64).trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Versions of the firmware, the main controller's first (MAP-07).
fn firmware(walk: &Walk, vendor: Option<Vendor>) -> Vec<String> {
    let description = walk.text_at(mib::SYS_DESCR).unwrap_or_default();
    let private = vendor_firmware(vendor)
        .iter()
        .find_map(|below| walk.text_at(&[mib::ENTERPRISES, below].concat()))
        .map(|text| {
            text.trim_start_matches("Firmware ")
                .trim_start_matches("Ver.")
                .to_owned()
        });
    let mut versions: Vec<String> = private.into_iter().collect();
    match vendor {
        Some(Vendor::Xerox | Vendor::Fujifilm) => {
            // "Xerox AltaLink C8045; SS 100.002.057.09608, NC 100.002.09608, UI …": the first is the controller's.
            let parts = description
                .split_once(';')
                .map(|(_, parts)| parts)
                .unwrap_or_default();
            for part in parts.split(',') {
                let Some((name, version)) = part.trim().split_once(' ') else {
                    continue;
                };
                if version.bytes().any(|byte| byte.is_ascii_digit()) {
                    versions.push(if versions.is_empty() {
                        version.to_owned()
                    } else {
                        format!("{name} {version}")
                    });
                }
            }
        }
        Some(Vendor::KonicaMinolta) => {
            let names = Oid::new(&[mib::ENTERPRISES, &[18_334, 1, 1, 1, 5, 5, 1, 1, 2]].concat());
            for (row, name) in walk.below(&names) {
                let version = walk
                    .text_at(&[mib::ENTERPRISES, &[18_334, 1, 1, 1, 5, 5, 1, 1, 3], row].concat());
                if let (Some(name), Some(version)) = (name.as_octets(), version) {
                    versions.push(format!("{} {version}", crate::text::decode(name, None)));
                }
            }
        }
        _ if versions.is_empty() => versions.extend(version_in_description(&description)),
        _ => {}
    }
    versions
        .iter_mut()
        .for_each(|version| *version = cut(version, 64).to_owned());
    versions
}

/// Below the enterprises' arc.
fn vendor_firmware(vendor: Option<Vendor>) -> &'static [&'static [u32]] {
    match vendor {
        Some(Vendor::Hp) => &[
            &[11, 2, 3, 9, 4, 2, 1, 1, 3, 6, 0],
            &[11, 2, 3, 9, 4, 2, 1, 1, 3, 5, 0],
        ],
        Some(Vendor::Ricoh) => &[&[367, 3, 2, 1, 1, 1, 2, 0]],
        Some(Vendor::Dell) => &[&[674, 10_898, 100, 1, 1, 1, 0]],
        Some(Vendor::Kyocera) => &[&[1347, 43, 5, 4, 1, 5, 1, 1]],
        Some(Vendor::Canon) => &[&[1602, 1, 1, 1, 4, 0]],
        Some(Vendor::Brother) => &[&[2435, 2, 3, 9, 4, 2, 1, 5, 5, 17, 0]],
        Some(Vendor::KonicaMinolta) => &[&[18_334, 1, 1, 1, 1, 6, 1, 0]],
        _ => &[],
    }
}

/// A version after one of the words that vendors put before it.
fn version_in_description(text: &str) -> Option<String> {
    let attached = text.split_once("Attached to ").map(|(_, printer)| printer);
    let text = attached.unwrap_or(text);
    ["Firmware Ver.", " version ", "Rev.", "; V"]
        .iter()
        .find_map(|mark| {
            let (_, rest) = text.split_once(mark)?;
            let version = rest.split([' ', ',', ';', ':']).next()?.trim();
            (!version.is_empty()).then(|| {
                if *mark == "; V" {
                    format!("V{version}")
                } else {
                    version.to_owned()
                }
            })
        })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::Value;

    fn walk(objects: &[(&str, Value)]) -> Walk {
        objects
            .iter()
            .map(|(oid, value)| (oid.parse().unwrap(), value.clone()))
            .collect()
    }

    fn text(text: &str) -> Value {
        Value::from(text)
    }

    /// A printer of Kyocera's; tests take away or add what they are about.
    fn printer() -> Walk {
        walk(&[
            (
                "1.3.6.1.2.1.1.1.0",
                text("KYOCERA Document Solutions Printing System"),
            ),
            (
                "1.3.6.1.2.1.1.2.0",
                Value::Oid("1.3.6.1.4.1.1347.41".parse().unwrap()),
            ),
            ("1.3.6.1.2.1.2.2.1.3.1", Value::Integer(6)),
            (
                "1.3.6.1.2.1.2.2.1.6.1",
                Value::Octets(vec![0x00, 0x17, 0xc8, 0x65, 0xe2, 0xb9]),
            ),
            (
                "1.3.6.1.2.1.25.3.2.1.2.1",
                Value::Oid(Oid::new(mib::HR_DEVICE_PRINTER)),
            ),
            ("1.3.6.1.2.1.25.3.2.1.3.1", text("CS 4053ci")),
            ("1.3.6.1.2.1.43.5.1.1.17.1", text("RH28Y00024")),
            ("1.3.6.1.4.1.1347.43.5.1.1.28.1", text("PRIVATE123")),
            ("1.3.6.1.4.1.1347.43.5.4.1.5.1.1", text("2V8_S000.002.801")),
        ])
    }

    fn without(walk: &mut Walk, oid: &str) {
        walk.remove_subtree(&oid.parse().unwrap());
    }

    #[test]
    fn a_printer_is_identified() {
        assert_eq!(
            identify(&printer()),
            Ok(Identity {
                oui: "0017C8".to_owned(),
                product_class: "CS 4053ci".to_owned(),
                serial_number: "RH28Y00024".to_owned(),
                serial_source: SerialSource::PrinterMib,
                manufacturer: "Kyocera".to_owned(),
                model_name: "CS 4053ci".to_owned(),
                software_version: "2V8_S000.002.801".to_owned(),
                additional_versions: vec![],
            })
        );
    }

    #[test]
    fn the_serial_falls_back_to_the_vendor_then_the_description_then_the_hardware_address() {
        let serial = |walk: &Walk| {
            identify(walk).map(|identity| (identity.serial_number, identity.serial_source))
        };
        let mut walk = printer();
        walk.insert(
            "1.3.6.1.2.1.43.5.1.1.17.1".parse().unwrap(),
            text("XXXXXXXX"),
        );
        assert_eq!(
            serial(&walk),
            Ok(("PRIVATE123".to_owned(), SerialSource::VendorMib))
        );

        without(&mut walk, "1.3.6.1.4.1.1347.43.5.1.1.28");
        walk.insert(
            "1.3.6.1.2.1.1.1.0".parse().unwrap(),
            text("Printer,SN:VNC123,FN:1"),
        );
        assert_eq!(
            serial(&walk),
            Ok(("VNC123".to_owned(), SerialSource::SystemDescription))
        );

        walk.insert("1.3.6.1.2.1.1.1.0".parse().unwrap(), text("Printer"));
        assert_eq!(
            serial(&walk),
            Ok(("0017C865E2B9".to_owned(), SerialSource::MacAddress))
        );

        without(&mut walk, "1.3.6.1.2.1.2");
        assert_eq!(serial(&walk), Err(NoIdentity::NoSerialNumber));
    }

    #[test]
    fn placeholders_are_no_serial_numbers() {
        for placeholder in [
            "",
            "   ",
            "XXXXXXXXXX",
            "0000000000",
            "unknown",
            "UNKNOWN",
            "AB1",
            "x0x0",
            "----",
        ] {
            assert_eq!(usable_serial(placeholder), None, "{placeholder:?}");
        }
        assert_eq!(
            usable_serial(" AA2M021115700\0 "),
            Some("AA2M021115700".to_owned())
        );
    }

    #[test]
    fn only_a_cards_own_address_gives_the_oui() {
        let mac = |interfaces: &[(i32, [u8; 6])]| {
            let mut walk = Walk::default();
            for (index, (kind, address)) in (1..).zip(interfaces) {
                walk.insert(
                    Oid::new(&[mib::IF_TYPE, &[index]].concat()),
                    Value::Integer(*kind),
                );
                walk.insert(
                    Oid::new(&[mib::IF_PHYS_ADDRESS, &[index]].concat()),
                    Value::Octets(address.to_vec()),
                );
            }
            mac_address(&walk)
        };
        let (own, local, wireless) = (
            [0x3c, 0x2a, 0xf4, 1, 2, 3],
            [0xc2, 0xb5, 0xd7, 1, 2, 3],
            [0x00, 0x80, 0x77, 1, 2, 3],
        );
        assert_eq!(mac(&[(24, own)]), None);
        assert_eq!(mac(&[(6, [0; 6]), (6, local), (6, own)]), Some(own));
        assert_eq!(mac(&[(71, wireless), (6, own)]), Some(own));
        assert_eq!(mac(&[(71, wireless), (6, local)]), Some(wireless));
        assert_eq!(mac(&[(7, own)]), Some(own));
    }

    #[test]
    fn without_an_address_the_maker_gives_the_oui() {
        let mut walk = printer();
        without(&mut walk, "1.3.6.1.2.1.2");
        assert_eq!(identify(&walk).unwrap().oui, "00C0EE");

        without(&mut walk, "1.3.6.1.2.1.1");
        assert_eq!(identify(&walk), Err(NoIdentity::NoManufacturer));
    }

    #[test]
    fn what_is_no_printer_has_no_identity() {
        let router = walk(&[("1.3.6.1.2.1.1.1.0", text("Linux router"))]);
        assert_eq!(identify(&router), Err(NoIdentity::NotAPrinter));
    }

    #[test]
    fn models_are_found_in_descriptions() {
        let cases = [
            (
                "RICOH MP C2503 1.35 / RICOH Network Printer C model",
                Some("RICOH MP C2503"),
            ),
            (
                "Xerox WorkCentre 6605DN; Network 90.66, Controller 2",
                Some("Xerox WorkCentre 6605DN"),
            ),
            (
                "Lexmark T640 version NS.NP.N219 kernel 2.6.6 All-N-1",
                Some("Lexmark T640"),
            ),
            ("Canon iR-ADV C5235 /P", Some("Canon iR-ADV C5235")),
            (
                "OKI OkiLAN 9450g Rev.00.69 PrintServer: Attached to MC873 Rev.07.87 : C",
                Some("MC873"),
            ),
            (
                "HP ETHERNET MULTI-ENVIRONMENT,SN:X,PID:HP LaserJet MFP M130nw",
                Some("HP LaserJet MFP M130nw"),
            ),
            ("KYOCERA Document Solutions Printing System", None),
            ("", None),
        ];
        for (description, expect) in cases {
            assert_eq!(
                model_in_description(description).as_deref(),
                expect,
                "{description}"
            );
        }
        assert_eq!(
            without_versions("Dell S5830dn 7XQ1R92 LW62.DN4.P636"),
            "Dell S5830dn"
        );
        assert_eq!(
            product_class("HP LaserJet (Pro) / M452"),
            Some("LaserJet Pro M452".to_owned())
        );
    }

    #[test]
    fn versions_are_found_in_descriptions() {
        let cases = [
            (
                "Brother NC-8300h, Firmware Ver.1.14  (14.11.06),MID 8C5",
                Some("1.14"),
            ),
            (
                "Dell S5830dn version NH62.YS.N636 kernel 3.0.0",
                Some("NH62.YS.N636"),
            ),
            (
                "Samsung M4080FX; V11.01.03.04_02-27-2017;Engine V1.00.06",
                Some("V11.01.03.04_02-27-2017"),
            ),
            (
                "OKI OkiLAN Rev.00.69: Attached to MC873 Rev.07.87 : C",
                Some("07.87"),
            ),
            ("SHARP MX-3570N", None),
        ];
        for (description, expect) in cases {
            assert_eq!(
                version_in_description(description).as_deref(),
                expect,
                "{description}"
            );
        }
    }

    #[test]
    fn a_type_without_an_interface_is_none() {
        let walk: Walk = [
            (Oid::new(mib::IF_TYPE), Value::Integer(6)),
            (
                Oid::new(mib::IF_PHYS_ADDRESS),
                Value::Octets(vec![0x00, 0x17, 0xc8, 1, 2, 3]),
            ),
        ]
        .into_iter()
        .collect();

        assert_eq!(mac_address(&walk), None);
    }
}
