//! The objects that printers are asked for, and tables read out of a walk.

use std::collections::BTreeSet;

use crate::snmp::{Oid, Value, Walk};
use crate::text::decode;

/// The system group of MIB-II.
pub const SYSTEM: &[u32] = &[1, 3, 6, 1, 2, 1, 1];
/// sysDescr.
pub const SYS_DESCR: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 1, 0];
/// sysObjectID.
pub const SYS_OBJECT_ID: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 2, 0];
/// sysUpTime.
pub const SYS_UP_TIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
/// sysContact.
pub const SYS_CONTACT: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 4, 0];
/// sysName.
pub const SYS_NAME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 5, 0];
/// sysLocation.
pub const SYS_LOCATION: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 6, 0];
/// ifType and ifPhysAddress.
pub const IF_TYPE: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1, 3];
/// See [`IF_TYPE`].
pub const IF_PHYS_ADDRESS: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1, 6];
/// hrSystemUptime.
pub const HR_UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 1, 1, 0];
/// hrSystemDate.
pub const HR_DATE: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 1, 2, 0];
/// hrMemorySize, in kilobytes.
pub const HR_MEMORY: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 2, 2, 0];
/// hrStorageTable's entry.
pub const HR_STORAGE: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 2, 3, 1];
/// hrDeviceTable's entry.
pub const HR_DEVICE: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 2, 1];
/// hrPrinterTable's entry.
pub const HR_PRINTER: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 5, 1];
/// The hrDeviceType of printers.
pub const HR_DEVICE_PRINTER: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 1, 5];
/// The Printer MIB.
pub const PRINTER: &[u32] = &[1, 3, 6, 1, 2, 1, 43];
/// prtGeneralTable's entry.
pub const GENERAL: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1];
/// prtCoverTable's entry.
pub const COVER: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 6, 1, 1];
/// prtLocalizationTable's entry.
pub const LOCALIZATION: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 7, 1, 1];
/// prtInputTable's entry.
pub const INPUT: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 8, 2, 1];
/// prtOutputTable's entry.
pub const OUTPUT: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 9, 2, 1];
/// prtMarkerTable's entry.
pub const MARKER: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 10, 2, 1];
/// prtMarkerSuppliesTable's entry.
pub const SUPPLIES: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 11, 1, 1];
/// prtMarkerColorantTable's entry.
pub const COLORANT: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 12, 1, 1];
/// prtMediaPathTable's entry.
pub const MEDIA_PATH: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 13, 4, 1];
/// prtChannelTable's entry.
pub const CHANNEL: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 14, 1, 1];
/// prtInterpreterTable's entry.
pub const INTERPRETER: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 15, 1, 1];
/// prtConsoleDisplayBufferTable's entry.
pub const CONSOLE: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 16, 5, 1];
/// prtAlertTable's entry.
pub const ALERT: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 18, 1, 1];
/// ppmPrinterTable's entry of the Port Monitor MIB (PWG 5107.1).
pub const PORT_MONITOR: &[u32] = &[1, 3, 6, 1, 4, 1, 2699, 1, 2, 1, 2, 1, 1];
/// What vendors keep for themselves.
pub const ENTERPRISES: &[u32] = &[1, 3, 6, 1, 4, 1];

impl Walk {
    /// The value at these arcs.
    #[must_use]
    pub fn at(&self, arcs: &[u32]) -> Option<&Value> {
        self.get(&Oid::new(arcs))
    }

    /// The text at these arcs, repaired; `None` when it is absent or empty.
    #[must_use]
    pub fn text_at(&self, arcs: &[u32]) -> Option<String> {
        non_empty(decode(self.at(arcs)?.as_octets()?, None))
    }

    /// The number at these arcs.
    #[must_use]
    pub fn number_at(&self, arcs: &[u32]) -> Option<i64> {
        self.at(arcs)?.as_i64()
    }

    /// The count at these arcs.
    #[must_use]
    pub fn count_at(&self, arcs: &[u32]) -> Option<u64> {
        self.at(arcs)?.as_count()
    }

    /// A cell of a table: `entry.column.index`.
    pub(crate) fn cell(&self, entry: &[u32], column: u32, index: &[u32]) -> Option<&Value> {
        self.at(&[entry, &[column], index].concat())
    }

    /// The row numbers of a table of the Printer MIB for one printer, in order (MAP-11).
    pub(crate) fn rows(&self, entry: &[u32], device: u32) -> BTreeSet<u32> {
        let entry = Oid::new(entry);
        self.below(&entry)
            .filter_map(|(arcs, _)| match *arcs {
                [_, of, row] if of == device && (1..=65_535).contains(&row) => Some(row),
                _ => None,
            })
            .collect()
    }
}

/// One row of a Printer-MIB table, read column by column.
#[derive(Clone, Copy)]
pub(crate) struct Row<'w> {
    pub(crate) walk: &'w Walk,
    pub(crate) entry: &'static [u32],
    pub(crate) device: u32,
    pub(crate) row: u32,
    pub(crate) charset: Option<i64>,
}

impl Row<'_> {
    pub(crate) fn number(&self, column: u32) -> Option<i64> {
        self.walk
            .cell(self.entry, column, &[self.device, self.row])?
            .as_i64()
    }

    pub(crate) fn count(&self, column: u32) -> Option<u64> {
        self.walk
            .cell(self.entry, column, &[self.device, self.row])?
            .as_count()
    }

    /// The text of a column, repaired; `None` when it is absent or empty.
    pub(crate) fn text(&self, column: u32) -> Option<String> {
        let octets = self
            .walk
            .cell(self.entry, column, &[self.device, self.row])?
            .as_octets()?;
        non_empty(decode(octets, self.charset))
    }

    pub(crate) fn oid(&self, column: u32) -> Oid {
        Oid::new(&[self.entry, &[column, self.device, self.row]].concat())
    }

    /// Whether the printer has the column at all.
    pub(crate) fn has(&self, column: u32) -> bool {
        self.walk.get(&self.oid(column)).is_some()
    }
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
