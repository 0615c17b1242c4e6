//! Trays, bins, markers, paths, covers, channels and interpreters of one engine.

use crate::label::{
    CAPACITY_UNIT, CHANNEL_TYPE, CHARACTER_SET, COVER_STATE, DELIVERY_ORIENTATION, INPUT_TYPE,
    INTERPRETER_FAMILY, MARK_TECHNOLOGY, MEDIA_PATH_TYPE, ORIENTATION, OUTPUT_TYPE, PRESENT_ON_OFF,
    SPEED_UNIT, STACKING_ORDER, SubunitState, closed, label,
};
use crate::level::{Qualifier, percent};
use crate::mib::{self, Row};
use crate::snmp::Walk;
use crate::tree::{Form, Object};

/// The engine whose tables are read.
#[derive(Clone, Copy)]
pub(crate) struct Engine<'w> {
    pub(crate) walk: &'w Walk,
    pub(crate) device: u32,
    pub(crate) charset: Option<i64>,
}

impl<'w> Engine<'w> {
    pub(crate) fn rows(self, entry: &'static [u32]) -> impl Iterator<Item = Row<'w>> {
        self.walk
            .rows(entry, self.device)
            .into_iter()
            .map(move |row| Row {
                walk: self.walk,
                entry,
                device: self.device,
                row,
                charset: self.charset,
            })
    }
}

/// Writes all subunits and the numbers of their rows.
pub(crate) fn write(service: &mut Object<'_>, engine: Engine<'_>) {
    type Writer = fn(&mut Object<'_>, Row<'_>);
    let tables: [(&str, &'static [u32], Writer); 8] = [
        ("Localization", mib::LOCALIZATION, localization),
        ("InputTray", mib::INPUT, input_tray),
        ("OutputTray", mib::OUTPUT, output_tray),
        ("Marker", mib::MARKER, marker),
        ("MediaPath", mib::MEDIA_PATH, media_path),
        ("Cover", mib::COVER, cover),
        ("Channel", mib::CHANNEL, channel),
        ("Interpreter", mib::INTERPRETER, interpreter),
    ];
    for (table, entry, write_row) in tables {
        let mut count = 0;
        for row in engine.rows(entry) {
            write_row(service, row);
            count += 1;
        }
        service.unsigned(&format!("{table}NumberOfEntries"), count);
    }
}

fn localization(service: &mut Object<'_>, row: Row<'_>) {
    let mut object = service.row("Localization", row.device, row.row);
    object.text("Language", row.text(2).unwrap_or_default());
    object.text("Country", row.text(3).unwrap_or_default());
    object.text(
        "CharacterSet",
        row.number(4)
            .map(|code| label(CHARACTER_SET, code))
            .unwrap_or_default(),
    );
}

fn input_tray(service: &mut Object<'_>, row: Row<'_>) {
    let (max, level) = (row.number(9).unwrap_or(-2), row.number(10).unwrap_or(-2));
    let name = [13, 18, 15].into_iter().find_map(|column| row.text(column));
    let (feed, cross_feed) = (dimension(row, 4, 6), dimension(row, 5, 7));

    let mut object = service.row("InputTray", row.device, row.row);
    object.text("Name", name.unwrap_or_else(|| format!("Tray {}", row.row)));
    object.text("Description", row.text(18).unwrap_or_default());
    object.text("Type", closed(INPUT_TYPE, row.number(2).unwrap_or(2)));
    object.text("CapacityUnit", unit(row.number(8)));
    object.int("MaxCapacity", max.max(-2));
    object.int("CurrentLevel", level.max(-3));
    object.text("LevelQualifier", Qualifier::of(level).name());
    object.int("LevelPercent", percent(max, level, false).into());
    state(&mut object, row, 11, true);
    object.int("MediaFeedDimension", feed);
    object.int("MediaXFeedDimension", cross_feed);
    object.text(
        "MediaSizeName",
        size_name(feed, cross_feed).unwrap_or_default(),
    );
    object.text("MediaName", row.text(12).unwrap_or_default());
    object.text("MediaType", row.text(21).unwrap_or_default());
    object.int("MediaWeight", row.number(20).unwrap_or(-2));
    let writable = [("Name", 13), ("MediaName", 12), ("MediaType", 21)];
    for (name, column) in writable.into_iter().filter(|&(_, column)| row.has(column)) {
        object.writable(name, row.oid(column), Form::Text(63));
    }
    if row.has(20) {
        object.writable(
            "MediaWeight",
            row.oid(20),
            Form::Number {
                min: -2,
                max: 10_000,
            },
        );
    }
}

fn output_tray(service: &mut Object<'_>, row: Row<'_>) {
    let remaining = row.number(5).unwrap_or(-2);
    let name = [7, 12, 9].into_iter().find_map(|column| row.text(column));

    let mut object = service.row("OutputTray", row.device, row.row);
    object.text("Name", name.unwrap_or_else(|| format!("Bin {}", row.row)));
    object.text("Description", row.text(12).unwrap_or_default());
    object.text("Type", closed(OUTPUT_TYPE, row.number(2).unwrap_or(2)));
    object.text("CapacityUnit", unit(row.number(3)));
    object.int("MaxCapacity", row.number(4).unwrap_or(-2).max(-2));
    object.int("RemainingCapacity", remaining.max(-3));
    object.text("LevelQualifier", Qualifier::of(remaining).name());
    state(&mut object, row, 6, false);
    object.text(
        "StackingOrder",
        closed(STACKING_ORDER, row.number(19).unwrap_or(2)),
    );
    object.text(
        "DeliveryOrientation",
        closed(DELIVERY_ORIENTATION, row.number(20).unwrap_or(2)),
    );
    object.text(
        "PageCollated",
        closed(PRESENT_ON_OFF, row.number(23).unwrap_or(5)),
    );
    object.text(
        "OffsetStacking",
        closed(PRESENT_ON_OFF, row.number(24).unwrap_or(5)),
    );
    if row.has(7) {
        object.writable("Name", row.oid(7), Form::Text(63));
    }
    let writable = [
        ("StackingOrder", 19, STACKING_ORDER),
        ("DeliveryOrientation", 20, DELIVERY_ORIENTATION),
        ("PageCollated", 23, PRESENT_ON_OFF),
        ("OffsetStacking", 24, PRESENT_ON_OFF),
    ];
    for (name, column, labels) in writable
        .into_iter()
        .filter(|&(_, column, _)| row.has(column))
    {
        object.writable(name, row.oid(column), Form::Label(labels));
    }
}

fn marker(service: &mut Object<'_>, row: Row<'_>) {
    let mut object = service.row("Marker", row.device, row.row);
    object.text(
        "Technology",
        row.number(2)
            .map(|code| label(MARK_TECHNOLOGY, code))
            .unwrap_or_default(),
    );
    object.text("CounterUnit", unit(row.number(3)));
    object.meter("LifeCount", row.count(4));
    object.unsigned_if_known("ProcessColorants", row.count(6));
    // Positions per 10 000 units, which agents that say micrometres give per inch nevertheless.
    object.unsigned_if_known("MaxFeedResolution", row.count(9));
    object.unsigned_if_known("MaxXFeedResolution", row.count(10));
    state(&mut object, row, 15, false);
}

fn media_path(service: &mut Object<'_>, row: Row<'_>) {
    let mut object = service.row("MediaPath", row.device, row.row);
    object.text("Type", closed(MEDIA_PATH_TYPE, row.number(9).unwrap_or(2)));
    object.int("MaxSpeed", row.number(4).unwrap_or(-2).max(-2));
    object.text(
        "SpeedUnit",
        row.number(2)
            .map(|code| label(SPEED_UNIT, code))
            .unwrap_or_default(),
    );
    state(&mut object, row, 11, false);
}

fn cover(service: &mut Object<'_>, row: Row<'_>) {
    let mut object = service.row("Cover", row.device, row.row);
    object.text("Description", row.text(2).unwrap_or_default());
    object.text("State", closed(COVER_STATE, row.number(3).unwrap_or(1)));
}

fn channel(service: &mut Object<'_>, row: Row<'_>) {
    const TAKES_DATA: i64 = 3;
    let interpreters = format!("{}Interpreter.", service.prefix());
    let mut object = service.row("Channel", row.device, row.row);
    object.text(
        "Type",
        row.number(2)
            .map(|code| label(CHANNEL_TYPE, code))
            .unwrap_or_default(),
    );
    object.boolean("Enable", row.number(6) == Some(TAKES_DATA));
    object.text(
        "DefaultInterpreter",
        reference(row, mib::INTERPRETER, row.number(5), &interpreters),
    );
    object.text("Information", row.text(9).unwrap_or_default());
    state(&mut object, row, 8, false);
    if row.has(5) {
        object.writable(
            "DefaultInterpreter",
            row.oid(5),
            Form::Row {
                table: interpreters,
            },
        );
    }
}

fn interpreter(service: &mut Object<'_>, row: Row<'_>) {
    let mut object = service.row("Interpreter", row.device, row.row);
    object.text(
        "Family",
        row.number(2)
            .map(|code| label(INTERPRETER_FAMILY, code))
            .unwrap_or_default(),
    );
    object.text("Level", row.text(3).unwrap_or_default());
    object.text("Version", row.text(6).unwrap_or_default());
    object.text(
        "DefaultOrientation",
        closed(ORIENTATION, row.number(7).unwrap_or(1)),
    );
    object.text(
        "DefaultCharSetIn",
        row.number(10)
            .map(|code| label(CHARACTER_SET, code))
            .unwrap_or_default(),
    );
    if row.has(7) {
        object.writable("DefaultOrientation", row.oid(7), Form::Label(ORIENTATION));
    }
    if row.has(10) {
        object.writable("DefaultCharSetIn", row.oid(10), Form::Label(CHARACTER_SET));
    }
}

/// The path of row `index` of a table; empty for 0 and for a row that is not there (MAP-17).
pub(crate) fn reference(
    from: Row<'_>,
    entry: &'static [u32],
    index: Option<i64>,
    table: &str,
) -> String {
    index
        .and_then(|index| u32::try_from(index).ok())
        .filter(|index| from.walk.rows(entry, from.device).contains(index))
        .map(|index| format!("{table}{index}"))
        .unwrap_or_default()
}

fn state(object: &mut Object<'_>, row: Row<'_>, column: u32, with_flags: bool) {
    let state = row.number(column).map(SubunitState::new);
    object.text(
        "Status",
        state.as_ref().map_or("Unknown", |state| state.status),
    );
    if with_flags {
        object.text(
            "StatusFlagList",
            state.map(|state| state.flags.join(",")).unwrap_or_default(),
        );
    }
}

fn unit(code: Option<i64>) -> String {
    code.map_or_else(|| "Unknown".to_owned(), |code| label(CAPACITY_UNIT, code))
}

/// The chosen dimension of the medium, else the declared one, in micrometres; negatives keep their meaning (MAP-20).
fn dimension(row: Row<'_>, declared: u32, chosen: u32) -> i64 {
    const TEN_THOUSANDTHS_OF_INCHES: i64 = 3;
    let value = row
        .number(chosen)
        .filter(|&value| value > 0)
        .or_else(|| row.number(declared))
        .unwrap_or(-2);
    match row.number(3) {
        _ if value < 0 => value.max(-2),
        Some(TEN_THOUSANDTHS_OF_INCHES) => {
            // 2.54 µm each; to ten micrometres, because sizes in metres come as the nearest ten thousandth.
            let micrometres = value.saturating_mul(254) / 100;
            (micrometres + 5) / 10 * 10
        }
        _ => value,
    }
}

/// Media by PWG 5101.1: the name, the short side and the long side in micrometres.
const SIZES: &[(&str, i64, i64)] = &[
    ("iso_a3_297x420mm", 297_000, 420_000),
    ("iso_a4_210x297mm", 210_000, 297_000),
    ("iso_a5_148x210mm", 148_000, 210_000),
    ("iso_a6_105x148mm", 105_000, 148_000),
    ("jis_b4_257x364mm", 257_000, 364_000),
    ("jis_b5_182x257mm", 182_000, 257_000),
    ("na_letter_8.5x11in", 215_900, 279_400),
    ("na_legal_8.5x14in", 215_900, 355_600),
    ("na_ledger_11x17in", 279_400, 431_800),
    ("na_executive_7.25x10.5in", 184_150, 266_700),
    ("na_invoice_5.5x8.5in", 139_700, 215_900),
    ("na_number-10_4.125x9.5in", 104_775, 241_300),
    ("iso_dl_110x220mm", 110_000, 220_000),
    ("iso_c5_162x229mm", 162_000, 229_000),
];

/// The name of a size, whichever side leads; printers round to half a millimetre.
fn size_name(feed: i64, cross_feed: i64) -> Option<&'static str> {
    const TOLERANCE: i64 = 500;
    let (short, long) = (feed.min(cross_feed), feed.max(cross_feed));
    SIZES
        .iter()
        .find(|(_, x, y)| (short - x).abs() <= TOLERANCE && (long - y).abs() <= TOLERANCE)
        .map(|&(name, ..)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{Oid, Value};
    use crate::tree::Tree;

    fn tray(unit: i32, feed: i32, cross_feed: i32) -> (i64, i64) {
        let mut walk = Walk::default();
        for (column, value) in [(3, unit), (4, -2), (6, feed), (7, cross_feed)] {
            walk.insert(
                Oid::new(&[mib::INPUT, &[column, 1, 1]].concat()),
                Value::Integer(value),
            );
        }
        let engine = Engine {
            walk: &walk,
            device: 1,
            charset: None,
        };
        let row = engine.rows(mib::INPUT).next().unwrap();
        (dimension(row, 4, 6), dimension(row, 5, 7))
    }

    #[test]
    fn dimensions_become_micrometres() {
        assert_eq!(tray(3, 110_000, 85_000), (279_400, 215_900));
        assert_eq!(tray(3, 165_354, 116_929), (420_000, 297_000));
        assert_eq!(tray(4, 279_400, 215_900), (279_400, 215_900));
        assert_eq!(tray(4, -2, 5_164), (-2, 5_164));
    }

    #[test]
    fn sizes_have_names_whichever_side_leads() {
        assert_eq!(size_name(279_400, 215_900), Some("na_letter_8.5x11in"));
        assert_eq!(size_name(210_000, 297_000), Some("iso_a4_210x297mm"));
        assert_eq!(size_name(209_900, 297_180), Some("iso_a4_210x297mm"));
        assert_eq!(size_name(-2, -2), None);
    }

    #[test]
    fn references_need_their_row() {
        let mut walk = Walk::default();
        for (entry, column, row, value) in [
            (mib::CHANNEL, 5, 1, 6),
            (mib::CHANNEL, 5, 2, 7),
            (mib::CHANNEL, 5, 3, 0),
            (mib::INTERPRETER, 2, 6, 3),
        ] {
            walk.insert(
                Oid::new(&[entry, &[column, 1, row]].concat()),
                Value::Integer(value),
            );
        }
        let mut tree = Tree::default();
        let engine = Engine {
            walk: &walk,
            device: 1,
            charset: None,
        };
        write(&mut tree.service(1), engine);
        let interpreter = |row: u32| {
            tree.value(&format!(
                "Device.Services.MFPService.1.Channel.{row}.DefaultInterpreter"
            ))
            .unwrap()
        };
        assert_eq!(interpreter(1), "Device.Services.MFPService.1.Interpreter.6");
        assert_eq!((interpreter(2), interpreter(3)), ("", ""));
    }
}
