//! From a report to the ledger: which reading set follows, if any. Pure.

use crate::reading::{MeterReading, Readings};
use platen_datamodel::{meter::Meter, time};
use platen_proto::{
    metering::v1::Quality,
    report::v1::{Report, report::Body},
    store::v1::{LedgerHead, MeterValue, ReadingSet},
};
use platen_store::{copies, ledger};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The value is below its predecessor: a reset, a roll-over, another board, another device (MET-06, MET-07).
pub const BACKWARDS: &str = "BACKWARDS";
/// The value has risen faster than an engine can print (MET-05, MET-09).
pub const IMPLAUSIBLE: &str = "IMPLAUSIBLE";
/// The value is back at or above what it was before it had gone backwards: the low values between were probably wrong, and counting from them
/// would bill pages twice.
pub const RETURNED: &str = "RETURNED";
/// The value is below its predecessor, and was read before it: its Inform was refused, and reached the log all the same behind a newer one. Values that
/// come next are compared with the predecessor.
pub const LATE: &str = "LATE";
/// The meter comes from another parameter than before (MET-07: a new epoch).
pub const SOURCE_CHANGED: &str = "SOURCE_CHANGED";
/// Meters of one report contradict each other (MET-11).
pub const INCONSISTENT: &str = "INCONSISTENT";
/// The device itself does not vouch for the value.
pub const REPORTED: &str = "REPORTED";

/// A clock further off than this is not believed (MET-15), µs.
const CLOCK_TOLERANCE_US: i64 = 300_000_000;
/// Steps per minute that no engine exceeds: 1.2 times 300, the fastest cut-sheet presses (MET-05).
const MOST_PER_MINUTE: u128 = 360;
/// How often the last set is written again only because its values were seen again, µs.
const SEEN_INTERVAL_US: i64 = 3_600_000_000;
/// After this long even unchanged values make a new set, µs.
const CHECKPOINT_US: i64 = 86_400_000_000;
/// Meters that a head remembers; those not reported for the longest time go first. A device has some 24 per imaging service.
const MOST_METERS: usize = 2_048;

/// What follows from a report.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing is written: the record has been folded in already, or its values are known. The same values change nothing until
    /// `quiet_until_us` either.
    Nothing {
        /// Microseconds since 1970.
        quiet_until_us: i64,
    },
    /// The last set holds until this report: it is written again with its `until_us`, which the head's `last` has.
    Seen {
        /// The head from here on.
        head: LedgerHead,
        /// As above.
        quiet_until_us: i64,
    },
    /// A set follows, which is the head's `last`.
    Append {
        /// The head from here on.
        head: LedgerHead,
        /// As above.
        quiet_until_us: i64,
    },
}

/// Folds a report's readings into a device's ledger. `version` is that of the report's record; the same record again gives
/// [`Decision::Nothing`] or the same bytes, whatever was lost in between.
///
/// Each part of a report of several parts is a reading set of its own.
#[must_use]
pub fn fold(
    head: Option<&LedgerHead>,
    report: &Report,
    readings: &Readings,
    version: u64,
) -> Decision {
    let now_us = report.time_us;
    let Some((head, last)) = head.and_then(|head| Some((head, head.last.as_ref()?))) else {
        return append(&LedgerHead::default(), report, readings, version);
    };
    if version <= head.position {
        return Decision::Nothing {
            quiet_until_us: now_us,
        };
    }
    if is_copy(head, report, readings) {
        return Decision::Nothing {
            quiet_until_us: now_us,
        };
    }
    let unchanged = readings
        .values
        .iter()
        .all(|reading| known(head, &reading.source).is_some_and(|known| is_same(reading, known)));
    let checkpoint_us =
        (last.receive_time_us + CHECKPOINT_US).min(next_month_us(last.receive_time_us));
    if !unchanged || now_us >= checkpoint_us {
        return append(head, report, readings, version);
    }
    // Only a report that has every value of the last set tells that the set still holds.
    let covers = last.values.iter().all(|value| {
        readings
            .values
            .iter()
            .any(|reading| reading.source == value.source)
    });
    let seen_us = last.until_us.max(last.receive_time_us) + SEEN_INTERVAL_US;
    if !covers {
        return Decision::Nothing {
            quiet_until_us: checkpoint_us,
        };
    }
    if now_us < seen_us {
        return Decision::Nothing {
            quiet_until_us: seen_us.min(checkpoint_us),
        };
    }
    let mut head = LedgerHead {
        position: version,
        ..head.clone()
    };
    if let Some(last) = &mut head.last {
        last.until_us = now_us;
    }
    for value in &mut head.values {
        if readings
            .values
            .iter()
            .any(|reading| reading.source == value.source)
        {
            value.time_us = value.time_us.max(now_us);
        }
    }
    Decision::Seen {
        head,
        quiet_until_us: (now_us + SEEN_INTERVAL_US).min(checkpoint_us),
    }
}

fn append(head: &LedgerHead, report: &Report, readings: &Readings, version: u64) -> Decision {
    // The chain's receive times never fall, even where the clocks of two edges differ: its years are read one after the other.
    let receive_time_us = report.time_us.max(
        head.last
            .as_ref()
            .map_or(i64::MIN, |last| last.receive_time_us),
    );
    let inconsistent = inconsistent(&readings.values);
    let current_time = current_time(report);
    let is_late = current_time.is_some_and(|current_time| {
        time::was_said_before(
            (current_time, report.time_us),
            (&head.current_time, head.heard_us),
        )
    });
    let values: Vec<MeterValue> = readings
        .values
        .iter()
        .map(|reading| {
            let mut flags = flags(head, reading, receive_time_us, is_late);
            if inconsistent.contains(&(reading.instance, reading.meter)) {
                flags.push(INCONSISTENT);
            }
            let quality = match reading.quality {
                Quality::Actual | Quality::Unspecified | Quality::Stale if flags == [LATE] => {
                    Quality::Stale
                }
                Quality::Actual | Quality::Unspecified if flags.is_empty() => Quality::Actual,
                Quality::Stale | Quality::Estimated if flags.is_empty() => {
                    flags.push(REPORTED);
                    reading.quality
                }
                Quality::Suspect => {
                    flags.push(REPORTED);
                    Quality::Suspect
                }
                _ => Quality::Suspect,
            };
            MeterValue {
                meter: reading.meter.name().to_owned(),
                source: reading.source.clone(),
                value: reading.value,
                quality: quality.into(),
                flags: flags.into_iter().map(str::to_owned).collect(),
                time_us: 0,
                peak: 0,
            }
        })
        .collect();

    let mut set = ReadingSet {
        sequence: head.sequence + 1,
        position: version,
        session: report.session.clone(),
        ordinal: report.ordinal,
        receive_time_us,
        device_time: readings.device_time.clone(),
        reading_time_us: reading_time(&readings.device_time, receive_time_us),
        values,
        previous_hash: head.hash.clone(),
        hash: Default::default(),
        until_us: receive_time_us,
    };
    set.hash = ledger::hash(&report.tenant, &report.device, &set)
        .to_vec()
        .into();
    let quiet_until_us = (receive_time_us + SEEN_INTERVAL_US).min(next_month_us(receive_time_us));
    let newest = current_time.filter(|_| !is_late);
    let head = LedgerHead {
        sequence: set.sequence,
        hash: set.hash.clone(),
        values: remember(head, &set),
        last: Some(set),
        position: version,
        current_time: newest.unwrap_or(&head.current_time).to_owned(),
        heard_us: newest.map_or(head.heard_us, |_| report.time_us),
        earlier: current_time.map_or_else(
            || head.earlier.clone(),
            |current_time| {
                copies::remember(&head.earlier, &inform_hash(current_time, readings)).into()
            },
        ),
    };
    Decision::Append {
        head,
        quiet_until_us,
    }
}

/// CurrentTime, if the report is an Inform.
fn current_time(report: &Report) -> Option<&str> {
    match report.body.as_ref()? {
        Body::Inform(inform) => Some(&inform.current_time),
        _ => None,
    }
}

/// Whether this is one of the last Informs again, behind newer ones: an edge that stood still had it, and its device has long sent it elsewhere.
fn is_copy(head: &LedgerHead, report: &Report, readings: &Readings) -> bool {
    let Some(current_time) = current_time(report) else {
        return false;
    };
    // Hashed only where it matters: values that are not below what is known are no copy's, or change nothing.
    let is_below = |reading: &MeterReading| {
        known(head, &reading.source).is_some_and(|known| reading.value < known.value)
    };
    readings.values.iter().any(is_below)
        && copies::tells_time(time::parse(current_time), report.time_us)
        && copies::is_known(&head.earlier, &inform_hash(current_time, readings))
}

/// What an Inform has in common with its copies.
fn inform_hash(current_time: &str, readings: &Readings) -> [u8; 32] {
    Sha256::new()
        .chain_update(readings.fingerprint())
        .chain_update(current_time)
        .finalize()
        .into()
}

/// Why a value does not simply continue what is known of its meter.
fn flags(
    head: &LedgerHead,
    reading: &MeterReading,
    now_us: i64,
    is_late: bool,
) -> Vec<&'static str> {
    let Some(known) = known(head, &reading.source) else {
        let moved = head.values.iter().any(|known| {
            Meter::from_path(&known.source) == Some((reading.meter, reading.instance))
        });
        return if moved {
            vec![SOURCE_CHANGED]
        } else {
            Vec::new()
        };
    };
    let mut flags = Vec::new();
    if reading.value < known.value {
        flags.push(if is_late { LATE } else { BACKWARDS });
    } else {
        let elapsed_us = u128::from(
            now_us
                .saturating_sub(known.time_us)
                .max(60_000_000)
                .unsigned_abs(),
        );
        if u128::from(reading.value - known.value) * 60_000_000 > MOST_PER_MINUTE * elapsed_us {
            flags.push(IMPLAUSIBLE);
        }
        if known.value < known.peak && reading.value >= known.peak {
            flags.push(RETURNED);
        }
    }
    flags
}

/// Meters of one imaging service that contradict each other: a part above the whole (MET-11).
fn inconsistent(values: &[MeterReading]) -> Vec<(u32, Meter)> {
    let mut services: BTreeMap<u32, BTreeMap<Meter, u64>> = BTreeMap::new();
    for reading in values {
        services
            .entry(reading.instance)
            .or_default()
            .insert(reading.meter, reading.value);
    }
    let mut found = Vec::new();
    for (instance, meters) in services {
        let Some(&total) = meters.get(&Meter::Total) else {
            continue;
        };
        let most = u128::from(total) + (u128::from(total) / 1_000).max(10);
        for parts in [
            &[Meter::Mono, Meter::Color, Meter::Highlight][..],
            &[Meter::Sheets],
            &[Meter::TwoSided],
        ] {
            let sum: u128 = parts
                .iter()
                .filter_map(|part| meters.get(part))
                .map(|&value| u128::from(value))
                .sum();
            if sum > most {
                found.extend(
                    parts
                        .iter()
                        .chain([&Meter::Total])
                        .map(|&meter| (instance, meter)),
                );
            }
        }
    }
    found
}

/// The head's memory after a set: its values, and those of other meters as they were.
fn remember(head: &LedgerHead, set: &ReadingSet) -> Vec<MeterValue> {
    let mut values: BTreeMap<&str, MeterValue> = head
        .values
        .iter()
        .map(|value| (value.source.as_str(), value.clone()))
        .collect();
    let continues = |value: &&MeterValue| !value.flags.iter().any(|flag| flag == LATE);
    for value in set.values.iter().filter(continues) {
        let peak = values
            .get(value.source.as_str())
            .map_or(0, |known| known.peak)
            .max(value.value);
        values.insert(
            &value.source,
            MeterValue {
                time_us: set.receive_time_us,
                peak,
                ..value.clone()
            },
        );
    }
    let mut values: Vec<MeterValue> = values.into_values().collect();
    if values.len() > MOST_METERS {
        values.sort_by(|a, b| {
            b.time_us
                .cmp(&a.time_us)
                .then_with(|| a.source.cmp(&b.source))
        });
        values.truncate(MOST_METERS);
        values.sort_by(|a, b| a.source.cmp(&b.source));
    }
    values
}

fn known<'h>(head: &'h LedgerHead, source: &str) -> Option<&'h MeterValue> {
    head.values
        .binary_search_by(|value| value.source.as_str().cmp(source))
        .ok()
        .map(|at| &head.values[at])
}

fn is_same(reading: &MeterReading, known: &MeterValue) -> bool {
    let doubted = |quality: Quality| {
        matches!(
            quality,
            Quality::Stale | Quality::Estimated | Quality::Suspect
        )
    };
    let was = if known.flags.iter().any(|flag| flag == REPORTED) {
        known.quality()
    } else {
        Quality::Actual
    };
    let is = if doubted(reading.quality) {
        reading.quality
    } else {
        Quality::Actual
    };
    reading.value == known.value && (is == was)
}

/// The device's time if its clock agrees with ours within five minutes, else ours (MET-15).
fn reading_time(device_time: &str, receive_time_us: i64) -> i64 {
    match time::parse(device_time).map(|seconds| seconds.saturating_mul(1_000_000)) {
        Some(device_us)
            if (device_us.saturating_sub(receive_time_us)).abs() <= CLOCK_TOLERANCE_US =>
        {
            device_us
        }
        _ => receive_time_us,
    }
}

/// Calendar year (UTC) of a time; the ledger's rows are kept by it.
#[must_use]
pub(crate) fn year(time_us: i64) -> u64 {
    u64::try_from(date(time_us).year()).unwrap_or(0)
}

/// The first moment of the month after that of `time_us`, UTC.
fn next_month_us(time_us: i64) -> i64 {
    let month = date(time_us).first_of_month();
    let next = month
        .checked_add(jiff::Span::new().months(1))
        .and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC));
    next.map_or(i64::MAX, |next| next.timestamp().as_microsecond())
}

fn date(time_us: i64) -> jiff::civil::Date {
    let time = jiff::Timestamp::from_microsecond(time_us).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC).date()
}

#[cfg(test)]
mod tests;
