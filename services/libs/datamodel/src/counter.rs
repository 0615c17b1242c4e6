//! Meters of a printer: the vendor's billable counters where they are known, else the engine's life count (MAP-21, and the objects that
//! vendors keep their meters in).

use std::collections::BTreeMap;

use crate::meter::Meter;
use crate::mib;
use crate::snmp::{Oid, Value, Walk};
use crate::text::decode;
use crate::vendor::Vendor;

/// The meters that one walk tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Values by meter; what is not here, the printer does not tell.
    pub meters: BTreeMap<Meter, u64>,
    /// Impressions by service.
    pub services: Vec<ServiceCount>,
    /// Every counter that the vendor names itself.
    pub vendor: Vec<VendorCount>,
    /// Where the values come from.
    pub sources: Vec<&'static str>,
}

/// Impressions of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCount {
    /// `Print`, `Copy`, `FaxIn`, `Other`.
    pub service: &'static str,
    /// All impressions.
    pub total: Option<u64>,
    /// Those in black.
    pub mono: Option<u64>,
    /// Those in colour.
    pub color: Option<u64>,
}

/// A counter of the vendor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorCount {
    /// The vendor's number.
    pub code: String,
    /// The vendor's label.
    pub name: String,
    /// Where it was read.
    pub oid: Oid,
    /// Its value.
    pub value: u64,
}

/// Reads the meters of the engine `device`.
#[must_use]
pub fn read(walk: &Walk, vendor: Option<Vendor>, device: u32) -> Counters {
    let mut counters = Counters::default();
    let private = Private { walk };
    match vendor {
        Some(Vendor::Hp) => private.hp(&mut counters),
        Some(Vendor::Kyocera) => private.kyocera(&mut counters),
        Some(Vendor::Ricoh) => private.ricoh(&mut counters),
        Some(Vendor::KonicaMinolta) => private.konica_minolta(&mut counters),
        Some(Vendor::Canon) => private.canon(&mut counters),
        Some(Vendor::Sharp) => private.sharp(&mut counters),
        Some(Vendor::Xerox) => private.xerox(&mut counters),
        Some(Vendor::Lexmark | Vendor::Dell) => private.lexmark(&mut counters),
        Some(Vendor::Epson) => private.epson(&mut counters),
        Some(Vendor::Brother) => private.brother(&mut counters),
        _ => {}
    }
    if !counters.meters.is_empty() || !counters.services.is_empty() {
        counters.sources.push("VendorPrivate");
    }
    if let Some(life) = life_count(walk, device) {
        counters.meters.insert(Meter::EngineCycles, life);
        counters.meters.entry(Meter::Total).or_insert(life);
        counters.sources.push("PrinterMIB");
    }
    derive_mono(&mut counters);
    counters
}

/// prtMarkerLifeCount of the first marker that counts sides or sheets; many that say "sheets" count sides, so the unit is not trusted, but a
/// length is no number of sides (MAP-21).
fn life_count(walk: &Walk, device: u32) -> Option<u64> {
    const LENGTHS: [i64; 4] = [3, 4, 16, 17];
    walk.rows(mib::MARKER, device).into_iter().find_map(|row| {
        let unit = walk
            .cell(mib::MARKER, 3, &[device, row])
            .and_then(Value::as_i64);
        if unit.is_some_and(|unit| LENGTHS.contains(&unit)) {
            return None;
        }
        walk.cell(mib::MARKER, 4, &[device, row])?.as_count()
    })
}

/// A printer that tells all and colour tells black, too (MET-12).
fn derive_mono(counters: &mut Counters) {
    let meters = &mut counters.meters;
    if let (None, Some(total), Some(color)) = (
        meters.get(&Meter::Mono),
        meters.get(&Meter::Total),
        meters.get(&Meter::Color),
    ) {
        let highlight = meters.get(&Meter::Highlight).copied().unwrap_or(0);
        if let Some(mono) = total
            .checked_sub(*color)
            .and_then(|rest| rest.checked_sub(highlight))
        {
            meters.insert(Meter::Mono, mono);
        }
    }
}

/// Reads below the enterprises' arc.
struct Private<'w> {
    walk: &'w Walk,
}

impl Private<'_> {
    fn count(&self, below: &[u32]) -> Option<u64> {
        self.walk.count_at(&[mib::ENTERPRISES, below].concat())
    }

    /// Takes a counter as the value of a meter.
    fn take(&self, counters: &mut Counters, meter: Meter, below: &[u32]) {
        if let Some(count) = self.count(below) {
            counters.meters.insert(meter, count);
        }
    }

    /// The sum of the counters that are there; `None` where none is.
    fn sum(&self, counts: &[&[u32]]) -> Option<u64> {
        counts
            .iter()
            .filter_map(|below| self.count(below))
            .fold(None, |sum: Option<u64>, count| {
                Some(sum.unwrap_or(0).saturating_add(count))
            })
    }

    fn take_sum(&self, counters: &mut Counters, meter: Meter, counts: &[&[u32]]) {
        if let Some(sum) = self.sum(counts) {
            counters.meters.insert(meter, sum);
        }
    }

    fn service(
        &self,
        counters: &mut Counters,
        service: &'static str,
        total: Option<u64>,
        mono: Option<u64>,
        color: Option<u64>,
    ) {
        let total = total.or_else(|| Some(mono? + color.unwrap_or(0)));
        if total.is_some() {
            counters.services.push(ServiceCount {
                service,
                total,
                mono,
                color,
            });
        }
    }

    /// Keeps all rows of a table of counters that has one of labels beside it.
    fn keep_table(&self, counters: &mut Counters, values: &[u32], names: &[u32]) {
        let values = Oid::new(&[mib::ENTERPRISES, values].concat());
        for (row, value) in self.walk.below(&values) {
            let Some(value) = value.as_count() else {
                continue;
            };
            let name = self
                .walk
                .at(&[mib::ENTERPRISES, names, row].concat())
                .and_then(Value::as_octets);
            let code: Vec<String> = row.iter().map(u32::to_string).collect();
            counters.vendor.push(VendorCount {
                code: code.join("."),
                name: name.map(|octets| decode(octets, None)).unwrap_or_default(),
                oid: values.join(row),
                value,
            });
        }
    }

    fn hp(&self, counters: &mut Counters) {
        const USAGE: [u32; 10] = [11, 2, 3, 9, 4, 2, 1, 4, 1, 2];
        const SCANNER: [u32; 10] = [11, 2, 3, 9, 4, 2, 1, 2, 2, 1];
        let usage = |counter: u32| [&USAGE[..], &[counter, 0]].concat();
        let scanner = |counter: u32| [&SCANNER[..], &[counter, 0]].concat();
        self.take(counters, Meter::Total, &usage(5));
        self.take(counters, Meter::Mono, &usage(6));
        self.take(counters, Meter::Color, &usage(7));
        self.take(counters, Meter::TwoSidedSheets, &usage(22));
        self.take(counters, Meter::Jams, &usage(34));
        let feeder = self.count(&scanner(20));
        let flatbed = self
            .count(&scanner(21))
            .or_else(|| self.count(&scanner(74)));
        counters
            .meters
            .extend(feeder.map(|count| (Meter::ScanAdf, count)));
        counters
            .meters
            .extend(flatbed.map(|count| (Meter::ScanFlatbed, count)));
        if let (Some(feeder), Some(flatbed)) = (feeder, flatbed) {
            counters
                .meters
                .insert(Meter::Scan, feeder.saturating_add(flatbed));
        }
    }

    fn kyocera(&self, counters: &mut Counters) {
        const PRINT: u32 = 1;
        const COPY: u32 = 2;
        const FAX: u32 = 4;
        let by_color = |function: u32, color: u32| [1347, 42, 3, 1, 2, 1, 1, function, color];
        let of = |color: u32| [PRINT, COPY, FAX].map(|function| by_color(function, color));
        let take_color = |counters: &mut Counters, meter: Meter, color: u32| {
            let counts = of(color);
            self.take_sum(
                counters,
                meter,
                &counts.each_ref().map(<[u32; 9]>::as_slice),
            );
        };
        self.take(counters, Meter::Total, &[1347, 43, 10, 1, 1, 12, 1, 1]);
        take_color(counters, Meter::Mono, 1);
        take_color(counters, Meter::Highlight, 2);
        take_color(counters, Meter::Color, 3);
        for (service, function) in [("Print", PRINT), ("Copy", COPY), ("FaxIn", FAX)] {
            let total = self.count(&[1347, 42, 3, 1, 1, 1, 1, function]);
            let (mono, color) = (
                self.count(&by_color(function, 1)),
                self.count(&by_color(function, 3)),
            );
            self.service(counters, service, total, mono, color);
        }
        self.take(counters, Meter::FaxPrinted, &[1347, 42, 3, 1, 1, 1, 1, FAX]);
        self.take(counters, Meter::ScanCopy, &[1347, 42, 3, 1, 3, 1, 1, COPY]);
        let scanners = Oid::new(&[mib::ENTERPRISES, &[1347, 46, 10, 1, 1, 5]].concat());
        let scans = self
            .walk
            .below(&scanners)
            .find_map(|(_, value)| value.as_count());
        counters
            .meters
            .extend(scans.map(|count| (Meter::Scan, count)));
    }

    fn ricoh(&self, counters: &mut Counters) {
        const TABLE: [u32; 7] = [367, 3, 2, 1, 2, 19, 5];
        let column = |column: u32| [&TABLE[..], &[1, column]].concat();
        let types = Oid::new(&[mib::ENTERPRISES, &column(2)].concat());
        let mut by_type: BTreeMap<i64, u64> = BTreeMap::new();
        for (row, kind) in self.walk.below(&types) {
            let value = self
                .walk
                .count_at(&[mib::ENTERPRISES, &column(9), row].concat());
            by_type.extend(kind.as_i64().zip(value));
        }
        let sum = |kinds: &[i64]| {
            kinds
                .iter()
                .filter_map(|kind| by_type.get(kind))
                .fold(None, |sum: Option<u64>, count| {
                    Some(sum.unwrap_or(0).saturating_add(*count))
                })
        };
        let total = sum(&[10]).or_else(|| self.count(&[367, 3, 2, 1, 2, 19, 1, 0]));
        let meters = [
            (Meter::Total, total),
            (Meter::Mono, sum(&[201, 301, 401])),
            (Meter::Color, sum(&[202, 203, 402, 403])),
            (Meter::LargeMono, sum(&[700])),
            (Meter::TwoSidedSheets, sum(&[701])),
            (Meter::Scan, sum(&[870, 871])),
            (Meter::FaxPrinted, sum(&[301])),
        ];
        counters.meters.extend(
            meters
                .into_iter()
                .filter_map(|(meter, count)| Some((meter, count?))),
        );
        for (service, mono, color) in [
            ("Print", sum(&[401]), sum(&[402, 403])),
            ("Copy", sum(&[201]), sum(&[202, 203])),
        ] {
            self.service(counters, service, None, mono, color);
        }
        self.keep_table(counters, &column(9), &column(5));
    }

    fn konica_minolta(&self, counters: &mut Counters) {
        const USE: [u32; 8] = [18_334, 1, 1, 1, 5, 7, 2, 2];
        let of = |color: u32, function: u32| [&USE[..], &[1, 5, color, function]].concat();
        let (mono_copy, mono_print, color_copy, color_print) =
            (of(1, 1), of(1, 2), of(2, 1), of(2, 2));
        let all: [&[u32]; 4] = [&mono_copy, &mono_print, &color_copy, &color_print];
        let total = self.count(&[18_334, 1, 1, 1, 5, 7, 2, 1, 1, 0]);
        let complete = all.iter().all(|below| self.count(below).is_some());
        let total = total.or_else(|| self.sum(&all).filter(|_| complete));
        counters
            .meters
            .extend(total.map(|count| (Meter::Total, count)));
        self.take_sum(counters, Meter::Mono, &all[..2]);
        self.take_sum(counters, Meter::Color, &all[2..]);
        self.take(
            counters,
            Meter::TwoSidedSheets,
            &[18_334, 1, 1, 1, 5, 7, 2, 1, 3, 0],
        );
        self.take(
            counters,
            Meter::Scan,
            &[18_334, 1, 1, 1, 5, 7, 2, 3, 1, 5, 1],
        );
        self.service(
            counters,
            "Print",
            None,
            self.count(&mono_print),
            self.count(&color_print),
        );
        self.service(
            counters,
            "Copy",
            None,
            self.count(&mono_copy),
            self.count(&color_copy),
        );
    }

    fn canon(&self, counters: &mut Counters) {
        const VALUES: [u32; 7] = [1602, 1, 11, 1, 3, 1, 4];
        let codes = [
            (Meter::Total, 101),
            (Meter::Color, 106),
            (Meter::Mono, 109),
            (Meter::LargeMono, 112),
            (Meter::LargeColor, 122),
            (Meter::Scan, 501),
        ];
        for (meter, code) in codes {
            self.take(counters, meter, &[&VALUES[..], &[code]].concat());
        }
        self.service(
            counters,
            "Print",
            self.count(&[&VALUES[..], &[301]].concat()),
            None,
            None,
        );
        self.keep_table(counters, &VALUES, &[1602, 1, 11, 2, 1, 1, 2]);
    }

    fn sharp(&self, counters: &mut Counters) {
        const VALUES: [u32; 7] = [2385, 1, 1, 19, 2, 1, 3];
        let at = |a: u32, b: u32, c: u32| [&VALUES[..], &[a, b, c]].concat();
        self.take(counters, Meter::Mono, &at(5, 4, 61));
        self.take(counters, Meter::Color, &at(5, 4, 63));
        let (two, single) = (at(5, 4, 64), at(5, 4, 80));
        self.take_sum(counters, Meter::Highlight, &[&two, &single]);
        let (mono, color) = (at(5, 4, 61), at(5, 4, 63));
        self.take_sum(counters, Meter::Total, &[&mono, &color, &two, &single]);
        self.take(counters, Meter::TwoSidedSheets, &at(1, 4, 75));
        self.take(counters, Meter::ScanAdf, &at(6, 4, 70));
        self.take(counters, Meter::Scan, &at(7, 4, 50));
        self.take(counters, Meter::ScanColor, &at(7, 4, 53));
        for (service, total, mono, color) in [
            ("Print", Some(at(1, 4, 60)), at(1, 4, 61), at(1, 4, 63)),
            ("Copy", Some(at(4, 4, 60)), at(4, 4, 61), at(4, 4, 63)),
            ("Other", None, at(5, 5, 61), at(5, 5, 63)),
        ] {
            let total = total.and_then(|below| self.count(&below));
            self.service(
                counters,
                service,
                total,
                self.count(&mono),
                self.count(&color),
            );
        }
        self.keep_table(counters, &VALUES, &[2385, 1, 1, 19, 2, 1, 4]);
    }

    fn xerox(&self, counters: &mut Counters) {
        const USAGE: [u32; 8] = [253, 8, 53, 13, 2, 1, 6, 1];
        self.take(counters, Meter::Total, &[&USAGE[..], &[20, 1]].concat());
        self.take(counters, Meter::Color, &[&USAGE[..], &[20, 33]].concat());
        self.take(counters, Meter::Mono, &[&USAGE[..], &[20, 34]].concat());
        let copies = |counter: u32| self.count(&[253, 8, 53, 13, 2, 1, 6, 11, 20, counter]);
        self.service(counters, "Copy", None, copies(3), copies(25));
        let scans: [&[u32]; 2] = [
            &[253, 8, 53, 13, 2, 1, 6, 10, 20, 11],
            &[253, 8, 53, 13, 2, 1, 6, 10, 20, 12],
        ];
        self.take_sum(counters, Meter::Scan, &scans);
    }

    /// The MPS MIB: rows of (type, value); the "safe" counts are of what was delivered.
    fn lexmark(&self, counters: &mut Counters) {
        const VALUES: [u32; 7] = [641, 6, 4, 2, 1, 1, 4];
        const TYPES: [u32; 7] = [641, 6, 4, 2, 1, 1, 2];
        let types = Oid::new(&[mib::ENTERPRISES, &TYPES].concat());
        for (row, kind) in self.walk.below(&types) {
            let Some(value) = self
                .walk
                .count_at(&[mib::ENTERPRISES, &VALUES, row].concat())
            else {
                continue;
            };
            let meter = match kind.as_i64() {
                Some(2) => Meter::Total,
                Some(3) => Meter::Mono,
                Some(4) => Meter::Color,
                _ => continue,
            };
            *counters.meters.entry(meter).or_insert(0) += value;
        }
        self.keep_table(counters, &VALUES, &TYPES);
    }

    fn epson(&self, counters: &mut Counters) {
        const USAGE: [u32; 7] = [1248, 1, 2, 2, 27, 1, 1];
        self.take(counters, Meter::Total, &[&USAGE[..], &[30, 1, 1]].concat());
        self.take(counters, Meter::Mono, &[&USAGE[..], &[3, 1, 1]].concat());
        self.take(counters, Meter::Color, &[&USAGE[..], &[4, 1, 1]].concat());
    }

    /// Records of id, 1, 4, and a value of four octets, ended by 255.
    fn brother(&self, counters: &mut Counters) {
        const COUNTERS: [u32; 11] = [2435, 2, 3, 9, 4, 2, 1, 5, 5, 10, 0];
        let octets = self
            .walk
            .at(&[mib::ENTERPRISES, &COUNTERS].concat())
            .and_then(Value::as_octets);
        let Some((records, _)) = octets.map(<[u8]>::as_chunks::<7>) else {
            return;
        };
        for record in records {
            let &[id, 1, 4, a, b, c, d] = record else {
                return;
            };
            let value = u64::from(u32::from_be_bytes([a, b, c, d]));
            let meter = match id {
                0x00 => Meter::Total,
                0x01 => Meter::Mono,
                0x02 => Meter::Color,
                0x06 => Meter::TwoSidedSheets,
                _ => continue,
            };
            counters.meters.insert(meter, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(counts: &[(&str, u32)]) -> Walk {
        counts
            .iter()
            .map(|(oid, count)| (oid.parse().unwrap(), Value::Counter32(*count)))
            .collect()
    }

    fn meters(vendor: Option<Vendor>, counts: &[(&str, u32)]) -> Vec<(Meter, u64)> {
        read(&walk(counts), vendor, 1).meters.into_iter().collect()
    }

    #[test]
    fn without_vendor_counters_the_life_count_is_the_total() {
        assert_eq!(
            meters(
                None,
                &[
                    ("1.3.6.1.2.1.43.10.2.1.3.1.1", 7),
                    ("1.3.6.1.2.1.43.10.2.1.4.1.1", 427)
                ]
            ),
            [(Meter::Total, 427), (Meter::EngineCycles, 427)]
        );
        // Ricoh and others say "sheets" (8) and count sides.
        assert_eq!(
            meters(
                Some(Vendor::Ricoh),
                &[
                    ("1.3.6.1.2.1.43.10.2.1.3.1.1", 8),
                    ("1.3.6.1.2.1.43.10.2.1.4.1.1", 580_249)
                ]
            ),
            [(Meter::Total, 580_249), (Meter::EngineCycles, 580_249)]
        );
    }

    #[test]
    fn a_length_is_no_number_of_sides() {
        assert_eq!(
            meters(
                None,
                &[
                    ("1.3.6.1.2.1.43.10.2.1.3.1.1", 17),
                    ("1.3.6.1.2.1.43.10.2.1.4.1.1", 427)
                ]
            ),
            []
        );
    }

    #[test]
    fn kyocera_bills_less_than_the_engine_counts() {
        let found = meters(
            Some(Vendor::Kyocera),
            &[
                ("1.3.6.1.2.1.43.10.2.1.4.1.1", 76_498),
                ("1.3.6.1.4.1.1347.43.10.1.1.12.1.1", 76_064),
                ("1.3.6.1.4.1.1347.42.3.1.1.1.1.4", 2_493),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.1.1", 14_730),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.1.3", 25_870),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.2.1", 19_124),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.2.3", 13_847),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.4.1", 2_493),
                ("1.3.6.1.4.1.1347.42.3.1.2.1.1.4.3", 0),
                ("1.3.6.1.4.1.1347.42.3.1.3.1.1.2", 10_500),
                ("1.3.6.1.4.1.1347.46.10.1.1.5.3", 230_478),
            ],
        );
        assert_eq!(
            found,
            [
                (Meter::Total, 76_064),
                (Meter::Mono, 36_347),
                (Meter::Color, 39_717),
                (Meter::EngineCycles, 76_498),
                (Meter::Scan, 230_478),
                (Meter::ScanCopy, 10_500),
                (Meter::FaxPrinted, 2_493),
            ]
        );
    }

    #[test]
    fn konica_minolta_is_summed_only_when_all_parts_are_there() {
        let parts = [
            ("1.3.6.1.4.1.18334.1.1.1.5.7.2.2.1.5.1.1", 3_672),
            ("1.3.6.1.4.1.18334.1.1.1.5.7.2.2.1.5.1.2", 22_876),
            ("1.3.6.1.4.1.18334.1.1.1.5.7.2.2.1.5.2.1", 544),
            ("1.3.6.1.4.1.18334.1.1.1.5.7.2.2.1.5.2.2", 6_711),
            ("1.3.6.1.2.1.43.10.2.1.4.1.1", 33_810),
        ];
        let total = |counts: &[(&str, u32)]| {
            read(&walk(counts), Some(Vendor::KonicaMinolta), 1).meters[&Meter::Total]
        };
        assert_eq!(total(&parts), 33_803);
        assert_eq!(total(&parts[1..]), 33_810);
    }

    #[test]
    fn black_is_what_is_not_colour() {
        assert_eq!(
            meters(
                Some(Vendor::Epson),
                &[
                    ("1.3.6.1.4.1.1248.1.2.2.27.1.1.30.1.1", 100),
                    ("1.3.6.1.4.1.1248.1.2.2.27.1.1.4.1.1", 30)
                ]
            ),
            [(Meter::Total, 100), (Meter::Mono, 70), (Meter::Color, 30)]
        );
    }

    #[test]
    fn brothers_records_are_read_until_their_end() {
        let oid = "1.3.6.1.4.1.2435.2.3.9.4.2.1.5.5.10.0".parse().unwrap();
        let octets = [
            0, 1, 4, 0, 0, 1, 0, 1, 1, 4, 0, 0, 0, 200, 2, 1, 4, 0, 0, 0, 56, 0xff,
        ];
        let walk: Walk = [(oid, Value::Octets(octets.to_vec()))]
            .into_iter()
            .collect();
        assert_eq!(
            read(&walk, Some(Vendor::Brother), 1)
                .meters
                .into_iter()
                .collect::<Vec<_>>(),
            [(Meter::Total, 256), (Meter::Mono, 200), (Meter::Color, 56)]
        );
    }
}
