//! Recordings of real printers, mapped. What is expected is computed here from the recordings, by other means than the mapping's.
//!
//! The recordings are not part of the project. They are looked for in `$PLATEN_TEST_DATA/snmp`, by default in `../shared/data/snmp` beside
//! the project; where they are absent, the tests say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use platen_datamodel::identity::NoIdentity;
use platen_datamodel::meter::Meter;
use platen_datamodel::printer::{Context, Printer, map};
use platen_datamodel::vendor::Vendor;
use platen_proxy::agent::Agent;
use platen_proxy::config::DiscoverConfig;
use platen_proxy::recording;

const NOW: i64 = 1_795_421_045;

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests are configured by the environment and say what they skip"
)]
fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var("PLATEN_TEST_DATA").map_or(beside, PathBuf::from);
    let folder = data.join("snmp");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recordings at {}", folder.display());
    None
}

fn printer(folder: &Path, file: &str) -> Result<Printer, NoIdentity> {
    let walk = recording::read_file(&folder.join(file)).unwrap().walk;
    map(
        &walk,
        &Context {
            now: NOW,
            meters: None,
        },
    )
}

/// The recording as texts by identifier, read without the project's reader.
fn raw(folder: &Path, file: &str) -> BTreeMap<String, String> {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    if file.ends_with(".json") {
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
        return entries
            .iter()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                (
                    text("oid").trim_start_matches('.').to_owned(),
                    text("value"),
                )
            })
            .collect();
    }
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, '|');
            Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
        })
        .collect()
}

/// The rows (second index) of a table of the Printer MIB that have the column, for device 1.
fn rows(raw: &BTreeMap<String, String>, column: &str) -> Vec<u32> {
    let prefix = format!("1.3.6.1.2.1.43.{column}.1.");
    raw.keys()
        .filter_map(|oid| oid.strip_prefix(&prefix)?.parse().ok())
        .collect()
}

fn number(raw: &BTreeMap<String, String>, oid: &str) -> Option<i64> {
    raw.get(oid)?.parse().ok()
}

/// File, maker, model, serial number, OUI, product class, firmware.
type Expected = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const PRINTERS: &[Expected] = &[
    ("librenms_brother.snmprec", "Brother", "MFC-L2710DW series", "000A5J431816", "3C2AF4", "MFC-L2710DW series", "1.14"),
    ("librenms_canonprinter_tm.snmprec", "Canon", "TM-5300", "74BFC0DA4A3D", "74BFC0", "TM-5300", "01.21"),
    ("librenms_dell-laser_s5830dn.snmprec", "Dell", "S5830dn", "7XQ1R92-132-13", "0021B7", "S5830dn", "NH62.YS.N636"),
    ("librenms_epson.snmprec", "Epson", "WF-C5790BA", "X3B8022793", "9CAED3", "WF-C5790BA", ""),
    ("librenms_fujifilmprinter_c7580.snmprec", "FUJIFILM", "Apeos C7580", "TC101642170085", "1C7D22", "Apeos C7580", ""),
    ("librenms_jetdirect_m130nw.snmprec", "HP", "LaserJet MFP M130nw", "VNCRC48198", "14CB19", "LaserJet MFP M129-M134", "20201023"),
    ("librenms_jetdirect_m880.snmprec", "HP", "Color LaserJet flow MFP M880", "10E7C662708E", "10E7C6", "Color LaserJet flow MFP M880", ""),
    ("librenms_konica_c250i.snmprec", "Konica Minolta", "bizhub C250i", "AA2M021115700", "00206B", "bizhub C250i", "1.102"),
    ("librenms_okilan_9450g.snmprec", "OKI", "MC873", "002536D1A65E", "002536", "MC873", "07.87"),
    ("librenms_ricoh_mpc2503.snmprec", "Ricoh", "MP C2503", "E216R220016", "583879", "MP C2503", "1.35"),
    ("librenms_samsungprinter_m4080fx.snmprec", "Samsung", "M408x Series", "8425191DEB52", "842519", "M408x Series", "V11.01.03.04_02-27-2017"),
    ("librenms_sharp.snmprec", "Sharp", "MX-3570N", "6509415X00", "243184", "MX-3570N", ""),
    ("librenms_utax.snmprec", "Kyocera", "P-4532DN", "R9L0309954", "0017C8", "P-4532DN", "2TP_S000.003.402"),
    ("librenms_xerox.snmprec", "Xerox", "AltaLink C8045", ADDED_SERIAL, "0000AA", "AltaLink C8045", "100.002.057.09608"),
    ("printmaster_brother.json", "Brother", "HL-L8260CDW series", "U64641E7J134163", "F8DA0C", "HL-L8260CDW series", "Y"),
    ("printmaster_epson_cw.json", "Epson", "CW-C6500Au", "X7F4008528", "50579C", "CW-C6500Au", ""),
    ("printmaster_kyocera_cs4053.json", "Kyocera", "CS 4053ci", "RH28Y00024", "0017C8", "CS 4053ci", "2V8_S000.002.801"),
];

/// The recording of the Xerox tells neither serial number nor hardware address; tests of what else it tells add the first.
const ADDED_SERIAL: &str = "XRX0000001";

fn printer_with_serial(folder: &Path, file: &str) -> Printer {
    let mut walk = recording::read_file(&folder.join(file)).unwrap().walk;
    if file == "librenms_xerox.snmprec" {
        walk.insert(
            "1.3.6.1.2.1.43.5.1.1.17.1".parse().unwrap(),
            ADDED_SERIAL.into(),
        );
    }
    map(
        &walk,
        &Context {
            now: NOW,
            meters: None,
        },
    )
    .unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn value<'p>(printer: &'p Printer, path: &str) -> &'p str {
    let path = format!("Device.Services.MFPService.1.{path}");
    printer
        .tree
        .value(&path)
        .unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn printers_are_identified() {
    let Some(folder) = folder() else { return };
    for &(file, manufacturer, model, serial, oui, product_class, firmware) in PRINTERS {
        let found = printer_with_serial(&folder, file).identity;
        let got = (
            &*found.manufacturer,
            &*found.model_name,
            &*found.serial_number,
            &*found.product_class,
            &*found.software_version,
        );
        assert_eq!(
            got,
            (manufacturer, model, serial, product_class, firmware),
            "{file}"
        );
        assert_eq!(found.oui, oui, "{file}");
    }
}

#[test]
fn what_cannot_be_told_from_others_is_no_device() {
    let Some(folder) = folder() else { return };
    assert_eq!(
        printer(&folder, "librenms_xerox.snmprec").unwrap_err(),
        NoIdentity::NoSerialNumber
    );
}

#[test]
fn a_description_alone_tells_the_maker_and_is_no_device() {
    let Some(folder) = folder() else { return };
    let cases = [
        ("librenms_ident_canonprinter_ir-adv.snmprec", Vendor::Canon),
        ("librenms_ident_kyocera.snmprec", Vendor::Kyocera),
        ("librenms_ident_lexmarkprinter.snmprec", Vendor::Lexmark),
        ("librenms_ident_ricoh_aficio.snmprec", Vendor::Ricoh),
        ("librenms_ident_xerox_workcentre.snmprec", Vendor::Xerox),
    ];
    for (file, vendor) in cases {
        let walk = recording::read_file(&folder.join(file)).unwrap().walk;
        assert_eq!(Vendor::recognise(&walk), Some(vendor), "{file}");
        let refusal = printer(&folder, file).err();
        let expected = (vendor != Vendor::Kyocera).then_some(NoIdentity::NotAPrinter);
        assert_eq!(refusal, expected, "{file}");
    }
}

/// A maker's own serial number of a printer tells that it is one.
#[test]
fn a_serial_number_of_the_makers_makes_a_printer() {
    let Some(folder) = folder() else { return };
    let found = printer(&folder, "librenms_ident_kyocera.snmprec")
        .unwrap()
        .identity;
    let got = (
        &*found.oui,
        &*found.product_class,
        &*found.serial_number,
        &*found.software_version,
    );
    assert_eq!(
        got,
        ("00C0EE", "FS-1028MFP", "QUV9600664", "2H9_2F00.002.002")
    );
}

/// What the level of a supply means, by the words of the rules.
fn expected_level(file: &str, max: i64, level: i64, unit: Option<i64>) -> (&'static str, i64) {
    match level {
        -3 => ("SomeRemaining", -1),
        -2 => ("Unknown", -1),
        -1 => ("Unrestricted", -1),
        -100 => ("Exact", 0),
        level if max > 0 => (
            "Exact",
            if level > max {
                100
            } else {
                ((100 * level) / max).max(i64::from(level > 0))
            },
        ),
        level if unit == Some(19) || file.contains("sharp") => {
            ("Exact", if level <= 100 { level } else { -1 })
        }
        _ => ("Exact", -1),
    }
}

#[test]
fn every_supply_keeps_its_level_and_capacity() {
    let Some(folder) = folder() else { return };
    let mut count = 0;
    for &(file, ..) in PRINTERS {
        let (raw, printer) = (raw(&folder, file), printer_with_serial(&folder, file));
        let rows = rows(&raw, "11.1.1.8");
        assert_eq!(
            value(&printer, "SupplyNumberOfEntries"),
            rows.len().to_string(),
            "{file}"
        );
        for row in rows {
            let cell =
                |column: u32| number(&raw, &format!("1.3.6.1.2.1.43.11.1.1.{column}.1.{row}"));
            let (max, level) = (cell(8).unwrap(), cell(9).unwrap());
            let (qualifier, percent) = expected_level(file, max, level, cell(7));
            let supply = |name: &str| value(&printer, &format!("Supply.{row}.{name}")).to_owned();
            let got = (
                supply("MaxCapacity"),
                supply("CurrentLevel"),
                supply("LevelQualifier"),
                supply("LevelPercent"),
            );
            assert_eq!(
                got,
                (
                    max.to_string(),
                    level.to_string(),
                    qualifier.to_owned(),
                    percent.to_string()
                ),
                "{file} row {row}"
            );
            assert!(!supply("Description").is_empty(), "{file} row {row}");
            count += 1;
        }
    }
    assert!(count >= 100, "{count} supplies");
}

#[test]
fn every_tray_keeps_its_level_and_capacity() {
    let Some(folder) = folder() else { return };
    let mut count = 0;
    for &(file, ..) in PRINTERS {
        let (raw, printer) = (raw(&folder, file), printer_with_serial(&folder, file));
        let rows = rows(&raw, "8.2.1.9");
        assert_eq!(
            value(&printer, "InputTrayNumberOfEntries"),
            rows.len().to_string(),
            "{file}"
        );
        for row in rows {
            let cell = |column: u32| {
                number(&raw, &format!("1.3.6.1.2.1.43.8.2.1.{column}.1.{row}")).unwrap()
            };
            let (max, level) = (cell(9), cell(10));
            let (qualifier, percent) = expected_level("", max, level, None);
            let tray = |name: &str| value(&printer, &format!("InputTray.{row}.{name}")).to_owned();
            let got = (
                tray("MaxCapacity"),
                tray("CurrentLevel"),
                tray("LevelQualifier"),
                tray("LevelPercent"),
            );
            assert_eq!(
                got,
                (
                    max.to_string(),
                    level.to_string(),
                    qualifier.to_owned(),
                    percent.to_string()
                ),
                "{file} row {row}"
            );
            assert!(!tray("Name").is_empty(), "{file} row {row}");
            count += 1;
        }
    }
    assert!(count >= 40, "{count} trays");
}

#[test]
fn every_life_count_is_kept_and_is_the_total_unless_the_vendor_bills_otherwise() {
    let Some(folder) = folder() else { return };
    for &(file, ..) in PRINTERS {
        let (raw, printer) = (raw(&folder, file), printer_with_serial(&folder, file));
        let Some(life) = number(&raw, "1.3.6.1.2.1.43.10.2.1.4.1.1") else {
            continue;
        };
        assert_eq!(
            value(&printer, "Marker.1.LifeCount"),
            life.to_string(),
            "{file}"
        );
        assert_eq!(
            value(&printer, "Counters.Total.EngineCycles"),
            life.to_string(),
            "{file}"
        );
        let vendor_bills = ["kyocera", "konica", "sharp"]
            .iter()
            .any(|name| file.contains(name));
        if !vendor_bills {
            assert_eq!(
                value(&printer, "Counters.Total.TotalImpressions"),
                life.to_string(),
                "{file}"
            );
        }
    }
}

#[test]
fn billable_meters_are_the_vendors() {
    use Meter::{
        Color, EngineCycles, FaxPrinted, Jams, Mono, Scan, ScanAdf, Total, TwoSidedSheets,
    };
    let Some(folder) = folder() else { return };
    let cases: [(&str, &[(Meter, u64)]); 6] = [
        (
            "printmaster_kyocera_cs4053.json",
            &[
                (Total, 76_064),
                (Mono, 36_347),
                (Color, 39_717),
                (EngineCycles, 76_498),
                (Scan, 230_478),
                (FaxPrinted, 2_493),
            ],
        ),
        (
            "librenms_sharp.snmprec",
            &[
                (Total, 121_104),
                (Mono, 91_164),
                (Color, 29_940),
                (Scan, 13_534),
                (ScanAdf, 12_441),
                (TwoSidedSheets, 41_020),
            ],
        ),
        (
            "librenms_konica_c250i.snmprec",
            &[
                (Total, 33_803),
                (Mono, 26_548),
                (Color, 7_255),
                (EngineCycles, 33_810),
                (TwoSidedSheets, 7_357),
            ],
        ),
        (
            "librenms_jetdirect_m130nw.snmprec",
            &[
                (Total, 15_232),
                (Mono, 15_232),
                (Jams, 12),
                (TwoSidedSheets, 0),
            ],
        ),
        ("printmaster_epson_cw.json", &[(Total, 7_389)]),
        ("librenms_ricoh_mpc2503.snmprec", &[(Total, 580_249)]),
    ];
    for (file, meters) in cases {
        let printer = printer(&folder, file).unwrap();
        for &(meter, expect) in meters {
            assert_eq!(
                printer.counters.meters.get(&meter),
                Some(&expect),
                "{file} {meter}"
            );
            assert_eq!(
                printer.tree.value(&meter.path(1)),
                Some(&*expect.to_string()),
                "{file} {meter}"
            );
        }
    }
}

#[test]
fn services_have_their_own_counts() {
    let Some(folder) = folder() else { return };
    let sharp = printer(&folder, "librenms_sharp.snmprec").unwrap();
    let services: Vec<_> = sharp
        .counters
        .services
        .iter()
        .map(|count| (count.service, count.total))
        .collect();
    assert_eq!(
        services,
        [
            ("Print", Some(82_214)),
            ("Copy", Some(38_804)),
            ("Other", Some(86))
        ]
    );
    let kyocera = printer(&folder, "printmaster_kyocera_cs4053.json").unwrap();
    let services: Vec<_> = kyocera
        .counters
        .services
        .iter()
        .map(|count| (count.service, count.total))
        .collect();
    assert_eq!(
        services,
        [
            ("Print", Some(40_600)),
            ("Copy", Some(32_971)),
            ("FaxIn", Some(2_493))
        ]
    );
}

#[test]
fn odd_rows_are_understood() {
    let Some(folder) = folder() else { return };
    let cases = [
        ("librenms_brother.snmprec", "ServicePart.2.Type", "Drum"),
        (
            "librenms_canonprinter_tm.snmprec",
            "Supply.6.Class",
            "Receptacle",
        ),
        (
            "librenms_canonprinter_tm.snmprec",
            "Supply.6.LevelPercent",
            "90",
        ),
        (
            "librenms_canonprinter_tm.snmprec",
            "Supply.1.ColorName",
            "MatteBlack",
        ),
        (
            "librenms_canonprinter_tm.snmprec",
            "InputTray.2.LevelQualifier",
            "SomeRemaining",
        ),
        (
            "librenms_dell-laser_s5830dn.snmprec",
            "ServicePart.4.Type",
            "FeedRoller",
        ),
        (
            "librenms_dell-laser_s5830dn.snmprec",
            "ServicePart.4.LifePercent",
            "89",
        ),
        (
            "librenms_fujifilmprinter_c7580.snmprec",
            "Supply.31.LevelPercent",
            "90",
        ),
        (
            "librenms_jetdirect_m880.snmprec",
            "Supply.13.LevelQualifier",
            "SomeRemaining",
        ),
        (
            "librenms_jetdirect_m880.snmprec",
            "InputTray.5.Name",
            "Tray 4",
        ),
        (
            "librenms_konica_c250i.snmprec",
            "Supply.13.Class",
            "Receptacle",
        ),
        (
            "librenms_konica_c250i.snmprec",
            "DetectedErrorList",
            "ServiceRequested",
        ),
        (
            "librenms_konica_c250i.snmprec",
            "Alerts.ServiceRequired",
            "1",
        ),
        (
            "librenms_konica_c250i.snmprec",
            "Alerts.HighestSeverity",
            "Critical",
        ),
        (
            "librenms_okilan_9450g.snmprec",
            "Supply.5.Description",
            "Black Image Drum Unit",
        ),
        (
            "librenms_okilan_9450g.snmprec",
            "Supply.5.LevelPercent",
            "94",
        ),
        (
            "librenms_ricoh_mpc2503.snmprec",
            "Supply.1.Description",
            "黑色碳粉",
        ),
        (
            "librenms_ricoh_mpc2503.snmprec",
            "Supply.1.ColorName",
            "Black",
        ),
        (
            "librenms_ricoh_mpc2503.snmprec",
            "Supply.4.ColorName",
            "Magenta",
        ),
        (
            "librenms_samsungprinter_m4080fx.snmprec",
            "ServicePart.2.Type",
            "Fuser",
        ),
        (
            "librenms_samsungprinter_m4080fx.snmprec",
            "Supply.2.LevelPercent",
            "74",
        ),
        (
            "librenms_samsungprinter_m4080fx.snmprec",
            "DetectedErrorList",
            "LowPaper",
        ),
        ("librenms_sharp.snmprec", "DetectedErrorList", "LowToner"),
        ("librenms_xerox.snmprec", "Supply.10.State", "NearFull"),
        (
            "librenms_xerox.snmprec",
            "Supply.10.PartNumber",
            "008R13061",
        ),
        ("librenms_xerox.snmprec", "Supply.10.SerialNumber", ""),
        (
            "librenms_xerox.snmprec",
            "Supply.1.SerialNumber",
            "48178080E0000481",
        ),
        ("librenms_utax.snmprec", "Asset.BrandName", "UTAX"),
        (
            "printmaster_kyocera_cs4053.json",
            "Supply.2.ColorName",
            "Magenta",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "Supply.2.LevelPercent",
            "32",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "InputTray.3.LevelPercent",
            "30",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "InputTray.3.Status",
            "Active",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "InputTray.3.MediaFeedDimension",
            "279400",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "InputTray.3.MediaXFeedDimension",
            "215900",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "InputTray.3.MediaSizeName",
            "na_letter_8.5x11in",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "Capabilities.MaxSpeedMono",
            "40",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "Capabilities.DuplexSupported",
            "1",
        ),
        // A power-up and a fuser that warms up: one notice, one warning.
        (
            "printmaster_kyocera_cs4053.json",
            "Alerts.CurrentNumberOfEntries",
            "1",
        ),
        (
            "printmaster_kyocera_cs4053.json",
            "Alerts.HighestSeverity",
            "Warning",
        ),
        // "Sleep" is no alert.
        (
            "printmaster_brother.json",
            "Alerts.CurrentNumberOfEntries",
            "0",
        ),
        ("printmaster_brother.json", "Alerts.HighestSeverity", "None"),
        (
            "printmaster_brother.json",
            "InputTray.1.MediaFeedDimension",
            "279400",
        ),
        // Three inks almost empty; "Idle" is no alert.
        (
            "printmaster_epson_cw.json",
            "Alerts.CurrentNumberOfEntries",
            "3",
        ),
        (
            "printmaster_epson_cw.json",
            "Alerts.Current.1.Severity",
            "Warning",
        ),
        (
            "printmaster_epson_cw.json",
            "Alerts.Current.1.Code",
            "MarkerInkAlmostEmpty",
        ),
        (
            "printmaster_epson_cw.json",
            "Alerts.Current.3.Subunit",
            "Device.Services.MFPService.1.Supply.4",
        ),
        ("printmaster_epson_cw.json", "Supply.5.Class", "Receptacle"),
        ("printmaster_epson_cw.json", "Supply.2.State", "VeryLow"),
    ];
    for (file, path, expect) in cases {
        assert_eq!(
            value(&printer_with_serial(&folder, file), path),
            expect,
            "{file} {path}"
        );
    }
}

/// What the parameters of every recording have in common.
#[test]
fn every_tree_keeps_the_rules_of_the_model() {
    let Some(folder) = folder() else { return };
    for &(file, ..) in PRINTERS {
        let printer = printer_with_serial(&folder, file);
        for (path, parameter) in printer.tree.iter() {
            assert!(
                path.parse::<platen_datamodel::path::Path>().is_ok(),
                "{file} {path}"
            );
            assert!(
                parameter.kind.admits(&parameter.value),
                "{file} {path}: {:?} is no {:?}",
                parameter.value,
                parameter.kind
            );
            assert!(
                !parameter.value.chars().any(char::is_control),
                "{file} {path}"
            );
            if let Some(table) = path.strip_suffix("NumberOfEntries") {
                let prefix = format!("{table}.");
                let rows: std::collections::BTreeSet<&str> = printer
                    .tree
                    .iter()
                    .filter_map(|(path, _)| path.strip_prefix(&prefix)?.split('.').next())
                    .collect();
                assert_eq!(parameter.value, rows.len().to_string(), "{file} {path}");
            }
        }
    }
}

/// A recording, one of whose entries is garbage, is read; the entry is named.
#[test]
fn damaged_entries_are_named() {
    let Some(folder) = folder() else { return };
    let damaged = recording::read_file(&folder.join("librenms_okilan_9450g.snmprec"))
        .unwrap()
        .damaged;
    assert_eq!(
        damaged
            .iter()
            .map(|damaged| damaged.number)
            .collect::<Vec<_>>(),
        [23]
    );
}

/// What the proxy asks a printer for is all that the mapping needs: over the wire comes what the recording alone gives.
#[tokio::test]
async fn over_the_wire_comes_what_the_recording_holds() {
    let Some(folder) = folder() else { return };
    for &(file, ..) in PRINTERS {
        let walk = recording::read_file(&folder.join(file)).unwrap().walk;
        let direct = map(
            &walk,
            &Context {
                now: NOW,
                meters: None,
            },
        );
        let agent = Agent::start(([127, 0, 0, 1], 0).into(), walk.into_objects(), "public")
            .await
            .unwrap();
        let range: DiscoverConfig = toml::from_str(&format!(
            "range = \"{}\"\nport = {}",
            agent.addr().ip(),
            agent.addr().port()
        ))
        .unwrap();

        let found = platen_proxy::discover::look(&range, NOW)
            .await
            .pop()
            .unwrap_or_else(|| panic!("{file} is not found"));

        match (direct, found.printer) {
            (Err(direct), Err(found)) => assert_eq!(found, direct, "{file}"),
            (Ok(direct), Ok(found)) => {
                assert_eq!(found.identity, direct.identity, "{file}");
                // The uptime goes on while the printer is asked.
                let goes_on =
                    |path: &str| path.ends_with(".UpTime") || path.ends_with(".RaisedTime");
                let told = |printer: &Printer| -> BTreeMap<String, String> {
                    printer
                        .tree
                        .iter()
                        .filter(|(path, _)| !goes_on(path))
                        .map(|(path, parameter)| (path.to_owned(), parameter.value.clone()))
                        .collect()
                };
                let (direct, found) = (told(&direct), told(&found));
                for (path, value) in &direct {
                    assert_eq!(found.get(path), Some(value), "{file} {path}");
                }
                assert_eq!(found.len(), direct.len(), "{file}");
            }
            (direct, found) => panic!(
                "{file}: {:?} and {:?}",
                direct.map(|printer| printer.identity),
                found.map(|printer| printer.identity)
            ),
        }
        agent.stop().await;
    }
}
