//! Meters that go on: what a reading means after the one before it (MET-05, MET-06, MET-13).
//!
//! A printer's counters wrap, fall when a board is swapped, and step back a little when power fails. Who bills them needs numbers that never
//! fall within one epoch.

use std::collections::BTreeMap;

use crate::meter::Meter;

/// What is kept of a printer's meters between two polls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Continuity {
    /// Counts the baselines; 0 until the first reading, 1 from then on.
    pub epoch: u32,
    /// Of each meter the last raw value and what was added to it for roll-overs.
    pub meters: BTreeMap<Meter, Last>,
}

/// A meter's last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// As the printer told it.
    pub raw: u64,
    /// What roll-overs add up to.
    pub offset: u64,
}

/// What a poll makes of the meters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What to keep for the next poll.
    pub next: Continuity,
    /// The values to report, which never fall within an epoch.
    pub values: BTreeMap<Meter, u64>,
    /// What the values are worth.
    pub quality: Quality,
    /// Why an epoch begins with this reading; `None` when it goes on.
    pub new_epoch: Option<Reason>,
}

/// What values are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// As read.
    Actual,
    /// Something does not fit; not to be billed unseen.
    Suspect,
}

impl Quality {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Actual => "Actual",
            Self::Suspect => "Suspect",
        }
    }
}

/// Why an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is the first.
    Initial,
    /// A lifetime counter fell.
    BoardReplaced,
    /// Only counters fell that can be reset.
    CounterReset,
}

impl Reason {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "Initial",
            Self::BoardReplaced => "BoardReplaced",
            Self::CounterReset => "CounterReset",
        }
    }
}

/// Some printers write their counters to flash in steps of this size and lose what is above when power fails.
const FLASH_STEP: u64 = 10;

/// Where counters wrap: 32-bit ones, 31-bit ones, and those of seven and six decimal digits.
const MODULI: [u64; 4] = [1 << 32, 1 << 31, 10_000_000, 1_000_000];

/// Sides per minute of the fastest printers that offices have; a rate above it, with a fifth of tolerance, is no printing.
const MAX_SPEED: u64 = 150;

/// Says what `raw`, read `elapsed` seconds after what `last` keeps, means. `restarted` when the printer's uptime fell in between.
#[must_use]
pub fn follow(
    last: &Continuity,
    raw: &BTreeMap<Meter, u64>,
    elapsed: u64,
    restarted: bool,
) -> Reading {
    if last.epoch == 0 {
        return begin(1, raw, Reason::Initial);
    }
    let most = most_in(elapsed);
    let mut next = last.clone();
    let mut values = BTreeMap::new();
    let mut quality = Quality::Actual;
    let mut fallen = Vec::new();
    for (&meter, &raw) in raw {
        let Some(known) = last.meters.get(&meter) else {
            next.meters.insert(meter, Last { raw, offset: 0 });
            values.insert(meter, raw);
            continue;
        };
        let held = match step(known.raw, raw, most, restarted) {
            Step::On => Last { raw, ..*known },
            Step::TooFar => {
                quality = Quality::Suspect;
                Last { raw, ..*known }
            }
            Step::Hold => {
                quality = Quality::Suspect;
                *known
            }
            Step::Wrapped(modulus) => Last {
                raw,
                offset: known.offset.saturating_add(modulus),
            },
            Step::Fell => {
                fallen.push(meter);
                continue;
            }
        };
        next.meters.insert(meter, held);
        values.insert(meter, held.raw.saturating_add(held.offset));
    }
    if fallen.is_empty() {
        return Reading {
            next,
            values,
            quality,
            new_epoch: None,
        };
    }
    let engine_fell = fallen
        .iter()
        .any(|meter| matches!(meter, Meter::Total | Meter::EngineCycles));
    let reason = if engine_fell {
        Reason::BoardReplaced
    } else {
        Reason::CounterReset
    };
    begin(last.epoch.saturating_add(1), raw, reason)
}

fn begin(epoch: u32, raw: &BTreeMap<Meter, u64>, reason: Reason) -> Reading {
    Reading {
        next: Continuity {
            epoch,
            meters: raw
                .iter()
                .map(|(&meter, &raw)| (meter, Last { raw, offset: 0 }))
                .collect(),
        },
        values: raw.clone(),
        quality: Quality::Actual,
        new_epoch: Some(reason),
    }
}

enum Step {
    /// On as printing goes.
    On,
    /// On, but faster than any printer.
    TooFar,
    /// Back by less than a step of the flash after a restart: the higher value holds until it is passed.
    Hold,
    /// Through the end of the counter, which counts up to this modulus.
    Wrapped(u64),
    /// Back for good.
    Fell,
}

fn step(before: u64, raw: u64, most: u64, restarted: bool) -> Step {
    if let Some(on) = raw.checked_sub(before) {
        return if on <= most { Step::On } else { Step::TooFar };
    }
    if restarted && before - raw <= FLASH_STEP {
        return Step::Hold;
    }
    let wrapped = MODULI.iter().copied().find(|&modulus| {
        // Nine tenths, without leaving the range of the type.
        before < modulus && before > modulus / 10 * 9 && raw + (modulus - before) <= most
    });
    wrapped.map_or(Step::Fell, Step::Wrapped)
}

/// The most sides that a printer makes in so many seconds; never less than an hour's, since printers count in arrears.
fn most_in(elapsed: u64) -> u64 {
    let minutes = elapsed.div_ceil(60).max(60);
    minutes.saturating_mul(MAX_SPEED).saturating_mul(12) / 10
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;

    fn total(value: u64) -> BTreeMap<Meter, u64> {
        BTreeMap::from([(Meter::Total, value)])
    }

    fn after(before: u64, value: u64, restarted: bool) -> Reading {
        let first = follow(&Continuity::default(), &total(before), 0, false);
        assert_eq!(first.new_epoch, Some(Reason::Initial));
        follow(&first.next, &total(value), HOUR, restarted)
    }

    #[test]
    fn counters_go_on_wrap_hold_or_begin_anew() {
        let wrap = 1_u64 << 32;
        let cases = [
            // before, then, restarted → reported, quality, new epoch
            (100, 150, false, 150, Quality::Actual, None),
            (100, 100, false, 100, Quality::Actual, None),
            (wrap - 10, 15, false, wrap + 15, Quality::Actual, None),
            (
                (1 << 31) - 10,
                15,
                false,
                (1 << 31) + 15,
                Quality::Actual,
                None,
            ),
            (999_990, 15, false, 1_000_015, Quality::Actual, None),
            (100, 95, true, 100, Quality::Suspect, None),
            (
                100,
                95,
                false,
                95,
                Quality::Actual,
                Some(Reason::BoardReplaced),
            ),
            (
                100,
                0,
                true,
                0,
                Quality::Actual,
                Some(Reason::BoardReplaced),
            ),
            (
                wrap - 10,
                2_000_000,
                false,
                2_000_000,
                Quality::Actual,
                Some(Reason::BoardReplaced),
            ),
            (100, 500_000, false, 500_000, Quality::Suspect, None),
        ];
        for (before, then, restarted, value, quality, new_epoch) in cases {
            let reading = after(before, then, restarted);
            assert_eq!(
                (
                    reading.values[&Meter::Total],
                    reading.quality,
                    reading.new_epoch
                ),
                (value, quality, new_epoch),
                "{before} → {then}"
            );
            assert_eq!(reading.next.epoch, if new_epoch.is_some() { 2 } else { 1 });
        }
    }

    #[test]
    fn a_held_value_goes_on_once_it_is_passed() {
        let held = after(100, 95, true);
        let on = follow(&held.next, &total(103), HOUR, false);
        assert_eq!(
            (on.values[&Meter::Total], on.quality),
            (103, Quality::Actual)
        );
    }

    #[test]
    fn a_roll_over_is_remembered() {
        let wrapped = after((1 << 32) - 10, 15, false);
        let on = follow(&wrapped.next, &total(20), HOUR, false);
        assert_eq!(on.values[&Meter::Total], (1 << 32) + 20);
    }

    #[test]
    fn a_meter_that_is_missing_once_is_not_forgotten() {
        let first = follow(
            &Continuity::default(),
            &BTreeMap::from([(Meter::Total, 5), (Meter::Scan, 7)]),
            0,
            false,
        );
        let second = follow(&first.next, &total(6), HOUR, false);
        assert_eq!(second.values, total(6));
        let third = follow(
            &second.next,
            &BTreeMap::from([(Meter::Total, 6), (Meter::Scan, 3)]),
            HOUR,
            false,
        );
        assert_eq!(third.new_epoch, Some(Reason::CounterReset));
    }

    proptest! {
        /// Within an epoch no reported value ever falls, whatever the printer says.
        #[test]
        fn values_never_fall_within_an_epoch(raws in proptest::collection::vec((0_u64..5_000_000_000, any::<bool>(), 0_u64..100_000), 1..40)) {
            let mut state = Continuity::default();
            let mut last = 0;
            for (raw, restarted, elapsed) in raws {
                let reading = follow(&state, &total(raw), elapsed, restarted);
                let value = reading.values[&Meter::Total];
                prop_assert!(reading.new_epoch.is_some() || value >= last, "{} after {}", value, last);
                prop_assert_eq!(reading.next.epoch, state.epoch + u32::from(reading.new_epoch.is_some()));
                last = value;
                state = reading.next;
            }
        }
    }
}
