//! Supplies and service parts: rows of prtMarkerSuppliesTable, understood (MAP-18, MAP-23, MOD-07).

use crate::alert::AlertRow;
use crate::label::{CAPACITY_UNIT, SUPPLY_TYPE, label};
use crate::level::{self, Class, Level, Qualifier, State};
use crate::mib::{self, Row};
use crate::text::{SupplyText, color_name, supply_text};
use crate::tree::Object;
use crate::vendor::Vendor;

/// One supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supply {
    pub(crate) row: u32,
    text: SupplyText,
    marker: Option<i64>,
    class: Class,
    kind: Option<i64>,
    color: &'static str,
    unit: Option<i64>,
    max: i64,
    raw_level: i64,
    level: Level,
    state: State,
}

/// What else tells about supplies.
pub(crate) struct Hints<'a> {
    pub(crate) vendor: Option<Vendor>,
    pub(crate) alerts: &'a [AlertRow],
    pub(crate) low_toner: bool,
    pub(crate) no_toner: bool,
}

/// The supplies of one engine.
pub(crate) fn supplies<'w>(rows: impl Iterator<Item = Row<'w>>, hints: &Hints<'_>) -> Vec<Supply> {
    let mut supplies: Vec<Supply> = rows.map(|row| understand(row, hints)).collect();
    spread_toner_bits(&mut supplies, hints);
    supplies
}

fn understand(row: Row<'_>, hints: &Hints<'_>) -> Supply {
    let text = supply_text(&row.text(6).unwrap_or_default());
    let kind = row
        .number(5)
        .filter(|&kind| kind > 2)
        .or_else(|| type_of_text(&text.description))
        .or_else(|| row.number(5));
    let class = Class::of(row.number(4), kind);
    let (max, raw_level) = (row.number(8).unwrap_or(-2), row.number(9).unwrap_or(-2));
    let unit = row.number(7);
    // Sharp tells percents without a capacity (LVL-06).
    let unit_is_percent = unit == Some(PERCENT) || hints.vendor == Some(Vendor::Sharp);
    let level = level::understand(class, max, raw_level, unit_is_percent);
    let state = hints
        .alerts
        .iter()
        .filter(|alert| alert.group == SUPPLIES_GROUP && alert.group_index == i64::from(row.row))
        .filter_map(|alert| state_of_code(alert.code, class))
        .fold(level.state, worse);
    Supply {
        row: row.row,
        color: color(row, &text.description, kind),
        marker: row.number(2),
        text,
        class,
        kind,
        unit,
        max,
        raw_level,
        level,
        state,
    }
}

const PERCENT: i64 = 19;
const SUPPLIES_GROUP: i64 = 11;

/// The bits "low toner" and "no toner" do not say which toner. Where no supply explains them, they raise the lowest gauge to "low" at most,
/// and supplies without a gauge to what they say (LVL-09, LVL-14).
fn spread_toner_bits(supplies: &mut [Supply], hints: &Hints<'_>) {
    if !hints.low_toner && !hints.no_toner {
        return;
    }
    let is_ink = |supply: &Supply| {
        supply.class == Class::Consumed && matches!(supply.kind, Some(3 | 5 | 6 | 21))
    };
    let explained = supplies
        .iter()
        .any(|supply| is_ink(supply) && !matches!(supply.state, State::Ok | State::Unknown));
    if explained {
        return;
    }
    let without_gauge = |supply: &Supply| {
        matches!(
            supply.level.qualifier,
            Qualifier::SomeRemaining | Qualifier::Unknown
        )
    };
    let mut inks: Vec<&mut Supply> = supplies
        .iter_mut()
        .filter(|supply| is_ink(supply))
        .collect();
    match inks.as_mut_slice() {
        [only] if without_gauge(only) => {
            only.state = if hints.no_toner {
                State::Empty
            } else {
                State::Low
            }
        }
        _ => {
            if let Some(lowest) = inks
                .iter_mut()
                .filter(|supply| supply.level.percent >= 0)
                .min_by_key(|supply| supply.level.percent)
            {
                lowest.state = State::Low;
            } else {
                inks.iter_mut().for_each(|supply| supply.state = State::Low);
            }
        }
    }
}

/// What an alert code says about the supply it names.
fn state_of_code(code: i64, class: Class) -> Option<State> {
    Some(match code {
        10 | 12 | 1104..=1106 | 1111 | 1113 => State::Low,
        11 | 13 | 1101..=1103 | 1112 | 1114 => State::Empty,
        14 | 1107 | 1108 => State::NearFull,
        15 | 1109 | 1110 => State::Full,
        9 | 1115 => State::Missing,
        _ => return None,
    })
    .filter(|state| class != Class::Receptacle || !matches!(state, State::Low | State::Empty))
}

fn worse(a: State, b: State) -> State {
    const fn rank(state: State) -> u8 {
        match state {
            State::Ok => 0,
            State::Unknown => 1,
            State::Low | State::NearFull => 2,
            State::VeryLow => 3,
            State::Empty | State::Full => 4,
            State::Missing => 5,
        }
    }
    if rank(b) > rank(a) { b } else { a }
}

/// The type by words, for printers that tell none or "other".
fn type_of_text(text: &str) -> Option<i64> {
    let lower = text.to_lowercase();
    let has = |word: &str| lower.contains(word);
    if has("waste") && has("ink") || has("maintenance box") {
        return Some(8);
    }
    if has("waste") {
        return Some(4);
    }
    if has("roller") || has("cleaner") || has("kit") || has("belt") || has("transfer") {
        return None;
    }
    [
        ("toner", 3),
        ("ink", 6),
        ("drum", 9),
        ("developer", 10),
        ("fus", 15),
        ("staple", 32),
    ]
    .into_iter()
    .find(|(word, _)| lower.contains(word))
    .map(|(_, kind)| kind)
}

/// The colour by the colorant table, else by the description (MAP-18).
fn color(row: Row<'_>, description: &str, kind: Option<i64>) -> &'static str {
    let colorant = row
        .number(3)
        .and_then(|index| u32::try_from(index).ok())
        .filter(|&index| index > 0);
    let named = colorant.and_then(|index| {
        Row {
            entry: mib::COLORANT,
            row: index,
            ..row
        }
        .text(4)
    });
    let uncolored = matches!(kind, Some(1 | 4 | 8 | 11 | 15..=20 | 22..=34));
    named
        .and_then(|name| color_name(&name))
        .or_else(|| color_name(description))
        .unwrap_or(if uncolored { "None" } else { "Unknown" })
}

/// The kind of long-life part that a supply is, if it is one (MOD-07).
fn part_type(supply: &Supply) -> Option<&'static str> {
    let lower = supply.text.description.to_lowercase();
    let has = |word: &str| lower.contains(word);
    match supply.kind {
        Some(9) => Some("Drum"),
        Some(10) => Some("Developer"),
        Some(15) => Some("Fuser"),
        Some(18) => Some("CleanerUnit"),
        Some(20) => Some("TransferUnit"),
        Some(1) | None => {
            let kinds: [(bool, &str); 9] = [
                (has("cleaner"), "CleanerUnit"),
                (has("adf") && has("roll"), "ADFRoller"),
                (has("transfer") && has("roll"), "TransferRoller"),
                (
                    has("retard") || has("separation") || has(" pad"),
                    "SeparationPad",
                ),
                (has("roller"), "FeedRoller"),
                (has("kit"), "MaintenanceKit"),
                (has("filter"), "Filter"),
                (has("belt"), "TransferUnit"),
                (has("imaging unit"), "Drum"),
            ];
            kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
        }
        _ => None,
    }
}

/// Writes the supply, and the service part that it may be.
pub(crate) fn write(service: &mut Object<'_>, device: u32, supply: &Supply) {
    let marker_path = supply
        .marker
        .filter(|&marker| marker > 0)
        .map(|marker| format!("{}Marker.{marker}", service.prefix()))
        .unwrap_or_default();
    let supply_path = format!("{}Supply.{}", service.prefix(), supply.row);
    let unit = supply
        .unit
        .map_or_else(|| "Unknown".to_owned(), |unit| label(CAPACITY_UNIT, unit));

    let mut object = service.row("Supply", device, supply.row);
    object.text("Description", &*supply.text.description);
    object.text("Marker", marker_path);
    object.text("Class", supply.class.name());
    object.text(
        "Type",
        supply
            .kind
            .map_or_else(|| "Unknown".to_owned(), |kind| label(SUPPLY_TYPE, kind)),
    );
    object.text("ColorName", supply.color);
    object.text("Unit", &*unit);
    object.int("MaxCapacity", supply.max);
    object.int("CurrentLevel", supply.raw_level);
    object.text("LevelQualifier", supply.level.qualifier.name());
    object.int("LevelPercent", supply.level.percent.into());
    object.text("State", supply.state.name());
    object.text("PartNumber", &*supply.text.part_number);
    object.text("SerialNumber", &*supply.text.serial_number);

    if let Some(kind) = part_type(supply) {
        let mut part = service.row("ServicePart", device, supply.row);
        part.text("Name", &*supply.text.description);
        part.text("Type", kind);
        part.text("Supply", supply_path);
        part.text("ColorName", supply.color);
        part.text("LifeUnit", unit);
        part.int("LifeRated", supply.max);
        part.int("LifeRemaining", supply.raw_level);
        part.int("LifePercent", supply.level.percent.into());
        let state = match supply.state {
            State::Ok => "OK",
            State::Low | State::VeryLow | State::NearFull => "Warning",
            State::Empty | State::Full => "Over",
            State::Missing => "Missing",
            State::Unknown => "Unknown",
        };
        part.text("State", state);
    }
}

/// How many of the supplies are service parts.
pub(crate) fn part_count(supplies: &[Supply]) -> usize {
    supplies
        .iter()
        .filter(|supply| part_type(supply).is_some())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{Oid, Value, Walk};

    /// A table with (description, class, type, max, level) rows.
    fn table(rows: &[(&str, i32, i32, i32, i32)]) -> Walk {
        let mut walk = Walk::default();
        for (row, (description, class, kind, max, level)) in (1..).zip(rows) {
            let mut put = |column: u32, value: Value| {
                walk.insert(
                    Oid::new(&[mib::SUPPLIES, &[column, 1, row]].concat()),
                    value,
                )
            };
            put(6, Value::from(*description));
            put(8, Value::Integer(*max));
            put(9, Value::Integer(*level));
            if *class > 0 {
                put(4, Value::Integer(*class));
            }
            if *kind > 0 {
                put(5, Value::Integer(*kind));
            }
        }
        walk
    }

    fn read(walk: &Walk, hints: &Hints<'_>) -> Vec<Supply> {
        let rows = walk.rows(mib::SUPPLIES, 1).into_iter().map(|row| Row {
            walk,
            entry: mib::SUPPLIES,
            device: 1,
            row,
            charset: None,
        });
        supplies(rows, hints)
    }

    const NO_HINTS: Hints<'_> = Hints {
        vendor: None,
        alerts: &[],
        low_toner: false,
        no_toner: false,
    };

    #[test]
    fn parts_are_told_from_supplies() {
        let cases = [
            ("Drum Unit", 9, Some("Drum")),
            ("Roller Kit", 1, Some("FeedRoller")),
            ("Maintenance Kit", 1, Some("MaintenanceKit")),
            ("Imaging Unit", 9, Some("Drum")),
            ("Fuser", 15, Some("Fuser")),
            ("Transfer Roller", 1, Some("TransferRoller")),
            ("ADF Roller", 1, Some("ADFRoller")),
            ("Tray 1 Retard Roller Life", 1, Some("SeparationPad")),
            ("Belt Unit", 1, Some("TransferUnit")),
            ("Transfer Belt Cleaner", 0, Some("CleanerUnit")),
            ("Black Toner", 3, None),
            ("Black Toner", 0, None),
            ("Fuser", 0, Some("Fuser")),
            ("Stapler 1", 32, None),
        ];
        for (description, kind, expect) in cases {
            let walk = table(&[(description, 0, kind, 100, 50)]);
            assert_eq!(
                part_type(&read(&walk, &NO_HINTS)[0]),
                expect,
                "{description} {kind}"
            );
        }
    }

    #[test]
    fn a_box_without_type_is_known_by_its_name() {
        let walk = table(&[(
            "Waste Toner Container, PN 008R13061;SNunknown",
            0,
            0,
            100,
            5,
        )]);
        let supply = &read(&walk, &NO_HINTS)[0];
        assert_eq!(
            (supply.class, supply.state),
            (Class::Receptacle, State::NearFull)
        );
    }

    #[test]
    fn alerts_make_a_state_worse_never_better() {
        let alert = |code: i64| AlertRow {
            group: 11,
            group_index: 1,
            code,
            ..AlertRow::default()
        };
        let cases = [
            (100, 50, 1104, State::Low),
            (100, 50, 1101, State::Empty),
            (100, 0, 1104, State::Empty),
            (100, 50, 1115, State::Missing),
            (-2, -3, 12, State::Low),
            (100, 50, 8, State::Ok),
        ];
        for (max, level, code, expect) in cases {
            let walk = table(&[("Toner", 3, 3, max, level)]);
            let alerts = [alert(code)];
            let hints = Hints {
                alerts: &alerts,
                ..NO_HINTS
            };
            assert_eq!(read(&walk, &hints)[0].state, expect, "{level}/{max} {code}");
        }
    }

    #[test]
    fn bits_without_a_name_raise_the_lowest_gauge_to_low_at_most() {
        let low = Hints {
            low_toner: true,
            ..NO_HINTS
        };
        let none = Hints {
            no_toner: true,
            ..NO_HINTS
        };
        let states = |walk: &Walk, hints: &Hints<'_>| {
            read(walk, hints)
                .iter()
                .map(|supply| supply.state)
                .collect::<Vec<_>>()
        };

        let gauges = table(&[
            ("Cyan Toner", 3, 3, 100, 60),
            ("Magenta Toner", 3, 3, 100, 19),
        ]);
        assert_eq!(states(&gauges, &low), [State::Ok, State::Low]);
        assert_eq!(states(&gauges, &none), [State::Ok, State::Low]);

        let explained = table(&[
            ("Cyan Toner", 3, 3, 100, 60),
            ("Magenta Toner", 3, 3, 100, 2),
        ]);
        assert_eq!(states(&explained, &low), [State::Ok, State::VeryLow]);

        let no_gauge = table(&[("Black Toner", 3, 3, -2, -3), ("Drum", 3, 9, 100, 90)]);
        assert_eq!(states(&no_gauge, &low), [State::Low, State::Ok]);
        assert_eq!(states(&no_gauge, &none), [State::Empty, State::Ok]);
        assert_eq!(states(&no_gauge, &NO_HINTS), [State::Ok, State::Ok]);
    }

    #[test]
    fn colours_come_from_the_colorant_table_first() {
        let mut walk = table(&[
            ("TK-8527M", 3, 3, 15_000, 4_800),
            ("Waste Toner Box", 4, 4, -2, -3),
            ("Toner", 3, 3, 1, 1),
        ]);
        walk.insert(
            Oid::new(&[mib::SUPPLIES, &[3, 1, 1]].concat()),
            Value::Integer(2),
        );
        walk.insert(
            Oid::new(&[mib::COLORANT, &[4, 1, 2]].concat()),
            Value::from("magenta"),
        );
        let colors: Vec<_> = read(&walk, &NO_HINTS)
            .iter()
            .map(|supply| supply.color)
            .collect();
        assert_eq!(colors, ["Magenta", "None", "Unknown"]);
    }
}
