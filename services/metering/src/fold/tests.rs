use super::*;
use platen_proto::{event::v1::Inform, operation::v1::ParameterValue, report::v1::report::Body};
use platen_store::ledger::verify;
use proptest::prelude::*;

/// 2026-11-23T08:00:00Z
const START_US: i64 = 1_795_420_800_000_000;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const COUNTERS: &str = "Device.Services.MFPService.1.Counters.Total.";

fn report(time_us: i64, values: &[(&str, u64)]) -> Report {
    let parameters = values
        .iter()
        .map(|(name, value)| ParameterValue {
            path: path(name),
            value: value.to_string(),
            r#type: String::new(),
        })
        .collect();
    let inform = Inform {
        current_time: time::format(time_us / 1_000_000),
        parameters,
        ..Inform::default()
    };
    Report {
        tenant: "default".into(),
        device: "00D09E-LaserPro-SN1".into(),
        session: format!("{time_us:032x}"),
        time_us,
        last: true,
        body: Some(Body::Inform(inform)),
        ..Report::default()
    }
}

fn path(name: &str) -> String {
    if name.starts_with("Device.") {
        name.to_owned()
    } else {
        format!("{COUNTERS}{name}")
    }
}

/// A device's ledger as the store has it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Ledger {
    head: Option<LedgerHead>,
    sets: BTreeMap<u64, ReadingSet>,
}

impl Ledger {
    fn fold(&mut self, report: &Report, version: u64) -> Decision {
        let readings = Readings::of(report).unwrap();
        let decision = fold(self.head.as_ref(), report, &readings, version);
        if let Decision::Seen { head, .. } | Decision::Append { head, .. } = &decision {
            let last = head.last.clone().unwrap();
            self.sets.insert(last.sequence, last);
            self.head = Some(head.clone());
        }
        decision
    }

    fn last(&self) -> &ReadingSet {
        self.sets.last_key_value().unwrap().1
    }

    fn flags(&self) -> Vec<(u64, Quality, Vec<String>)> {
        self.last()
            .values
            .iter()
            .map(|value| (value.value, value.quality(), value.flags.clone()))
            .collect()
    }
}

fn total(at_us: i64, value: u64) -> Report {
    report(at_us, &[("TotalImpressions", value)])
}

#[test]
fn a_value_follows_its_predecessor_or_is_flagged() {
    let total = "TotalImpressions";
    let elsewhere = "Device.Services.X_00D09E_MFPService.1.Counters.Total.TotalImpressions";
    for (what, second, minutes, expect) in [
        ("rises", vec![(total, 1_100)], 10, vec![]),
        (
            "stays, and another meter comes",
            vec![(total, 1_000), ("TotalSheets", 500)],
            10,
            vec![],
        ),
        ("falls", vec![(total, 999)], 10, vec![BACKWARDS]),
        ("becomes zero", vec![(total, 0)], 10, vec![BACKWARDS]),
        (
            "rises as fast as presses print",
            vec![(total, 4_600)],
            10,
            vec![],
        ),
        (
            "rises faster than presses print",
            vec![(total, 4_601)],
            10,
            vec![IMPLAUSIBLE],
        ),
        (
            "rises at once, within what a minute prints",
            vec![(total, 1_360)],
            0,
            vec![],
        ),
        (
            "comes from another parameter",
            vec![(elsewhere, 1_100)],
            10,
            vec![SOURCE_CHANGED],
        ),
        (
            "is below its parts",
            vec![
                (total, 1_100),
                ("MonochromeImpressions", 1_000),
                ("FullColorImpressions", 111),
            ],
            10,
            vec![INCONSISTENT],
        ),
        (
            "is below its parts by rounding",
            vec![
                (total, 1_100),
                ("MonochromeImpressions", 1_000),
                ("FullColorImpressions", 110),
            ],
            10,
            vec![],
        ),
        (
            "is below its sheets",
            vec![(total, 1_100), ("TotalSheets", 1_200)],
            10,
            vec![INCONSISTENT],
        ),
    ] {
        let mut ledger = Ledger::default();
        ledger.fold(&report(START_US, &[(total, 1_000)]), 1);
        ledger.fold(&report(START_US + minutes * MINUTE_US, &second), 2);

        let of_total = ledger
            .last()
            .values
            .iter()
            .find(|value| value.meter == "TOTAL")
            .unwrap();
        assert_eq!(of_total.flags, expect, "{what}");
        let quality = if expect.is_empty() {
            Quality::Actual
        } else {
            Quality::Suspect
        };
        assert_eq!(of_total.quality(), quality, "{what}");
        assert_eq!(
            verify("default", "00D09E-LaserPro-SN1", ledger.sets.values()),
            Ok(2),
            "{what}"
        );
    }
}

#[test]
fn a_value_that_comes_back_after_a_drop_is_not_counted_twice_in_silence() {
    let mut ledger = Ledger::default();
    for (hour, value, expect) in [
        (0, 1_000, (Quality::Actual, vec![])),
        (1, 3, (Quality::Suspect, vec![BACKWARDS])),
        (2, 20, (Quality::Actual, vec![])),
        (3, 1_010, (Quality::Suspect, vec![RETURNED])),
        (4, 1_020, (Quality::Actual, vec![])),
    ] {
        ledger.fold(
            &total(START_US + hour * HOUR_US, value),
            u64::try_from(hour).unwrap() + 1,
        );
        let (_, quality, flags) = ledger.flags().remove(0);
        assert_eq!(
            (
                quality,
                flags.iter().map(String::as_str).collect::<Vec<_>>()
            ),
            expect,
            "hour {hour}"
        );
    }
}

#[test]
fn what_the_device_does_not_vouch_for_is_not_actual() {
    let quality = "Device.Services.MFPService.1.Counters.Quality";
    for (said, expect) in [
        ("Stale", Quality::Stale),
        ("Estimated", Quality::Estimated),
        ("Suspect", Quality::Suspect),
        ("Actual", Quality::Actual),
    ] {
        let mut ledger = Ledger::default();
        let mut report = total(START_US, 5);
        let Some(Body::Inform(inform)) = &mut report.body else {
            unreachable!()
        };
        inform.parameters.push(ParameterValue {
            path: quality.into(),
            value: said.into(),
            r#type: String::new(),
        });
        ledger.fold(&report, 1);
        assert_eq!(ledger.flags()[0].1, expect);
        // The same again is no news; without the doubt it is.
        assert!(
            matches!(ledger.fold(&report, 2), Decision::Nothing { .. }),
            "{said}"
        );
        let vouched = matches!(
            ledger.fold(&total(START_US + 1, 5), 3),
            Decision::Append { .. }
        );
        assert_eq!(vouched, expect != Quality::Actual, "{said}");
    }
}

#[test]
fn unchanged_values_move_only_the_end_of_the_last_set() {
    let mut ledger = Ledger::default();
    ledger.fold(&total(START_US, 1_000), 1);
    let hash = ledger.last().hash.clone();
    for (minutes, expect_until) in [
        (59, 0),
        (60, 60),
        (61, 60),
        (119, 60),
        (120, 120),
        (1_439, 1_439),
    ] {
        let version = u64::try_from(minutes).unwrap() + 2;
        ledger.fold(&total(START_US + minutes * MINUTE_US, 1_000), version);
        assert_eq!(
            (ledger.last().sequence, ledger.last().until_us),
            (1, START_US + expect_until * MINUTE_US),
            "{minutes}"
        );
        assert_eq!(ledger.last().hash, hash);
    }

    ledger.fold(&total(START_US + 1_440 * MINUTE_US, 1_000), 5_000);

    assert_eq!(
        (ledger.sets.len(), ledger.last().until_us),
        (2, START_US + 1_440 * MINUTE_US),
        "a day is the most"
    );
    assert_eq!(
        verify("default", "00D09E-LaserPro-SN1", ledger.sets.values()),
        Ok(2)
    );
}

#[test]
fn a_month_begins_with_a_set_of_its_own() {
    // 2026-11-30T23:30:00Z
    let evening = START_US + (7 * 24 + 15) * HOUR_US + 30 * MINUTE_US;
    let mut ledger = Ledger::default();
    let Decision::Append { quiet_until_us, .. } = ledger.fold(&total(evening, 1_000), 1) else {
        panic!()
    };
    assert_eq!(quiet_until_us, evening + 30 * MINUTE_US);
    assert!(matches!(
        ledger.fold(&total(evening + 29 * MINUTE_US, 1_000), 2),
        Decision::Nothing { .. }
    ));
    assert!(matches!(
        ledger.fold(&total(evening + 30 * MINUTE_US, 1_000), 3),
        Decision::Append { .. }
    ));
}

#[test]
fn a_report_of_some_meters_does_not_vouch_for_the_others() {
    let mut ledger = Ledger::default();
    ledger.fold(
        &report(START_US, &[("TotalImpressions", 10), ("TotalSheets", 5)]),
        1,
    );

    let partial = ledger.fold(&total(START_US + 3 * HOUR_US, 10), 2);
    assert!(matches!(partial, Decision::Nothing { .. }));
    assert_eq!(ledger.last().until_us, START_US);

    // A full report tells of both.
    ledger.fold(
        &report(
            START_US + 4 * HOUR_US,
            &[("TotalImpressions", 10), ("TotalSheets", 5)],
        ),
        3,
    );
    assert_eq!(
        (ledger.sets.len(), ledger.last().until_us),
        (1, START_US + 4 * HOUR_US)
    );
    // The other meter is remembered over sets that do not have it.
    ledger.fold(&total(START_US + 5 * HOUR_US, 11), 4);
    ledger.fold(&report(START_US + 6 * HOUR_US, &[("TotalSheets", 4)]), 5);
    assert_eq!(ledger.flags()[0].2, [BACKWARDS]);
}

#[test]
fn a_straggler_is_kept_and_puts_nothing_in_doubt() {
    const SECOND_US: i64 = 1_000_000;
    let mut ledger = Ledger::default();
    ledger.fold(&total(START_US, 5), 1);
    ledger.fold(&total(START_US + 20 * SECOND_US, 7), 2);
    // Refused, and on the log all the same.
    ledger.fold(&total(START_US + 10 * SECOND_US, 6), 3);
    assert_eq!(ledger.flags()[0].2, [LATE]);
    assert_eq!(ledger.last().values[0].quality(), Quality::Stale);
    // A copy of what was taken.
    for copied in [total(START_US, 5), total(START_US + 10 * SECOND_US, 6)] {
        let woken = Report {
            time_us: START_US + 60 * SECOND_US,
            session: "f".repeat(32),
            ..copied
        };
        let decision = ledger.fold(&woken, 4);
        assert!(matches!(decision, Decision::Nothing { .. }), "{decision:?}");
    }
    ledger.fold(&total(START_US + 30 * SECOND_US, 7), 5);
    ledger.fold(&total(START_US + 40 * SECOND_US, 8), 6);
    assert_eq!(ledger.last().values[0].quality(), Quality::Actual);
    // A device that is reset, with a clock that tells so.
    ledger.fold(&total(START_US + 50 * SECOND_US, 1), 7);
    assert_eq!(ledger.flags()[0].2, [BACKWARDS]);
}

#[test]
fn rising_values_are_kept_whatever_the_clocks_say() {
    let mut ledger = Ledger::default();
    ledger.fold(&total(START_US + HOUR_US, 5), 1);
    // The clock that the device and the edge have in common is set back.
    ledger.fold(&total(START_US, 6), 2);
    assert_eq!((ledger.sets.len(), ledger.last().values[0].value), (2, 6));
    assert_eq!(ledger.last().values[0].quality(), Quality::Actual);
}

#[test]
fn a_clock_that_is_off_is_not_believed_but_recorded() {
    for (device_time, expect) in [
        ("2026-11-23T08:04:59Z", START_US + 299_000_000),
        ("2026-11-23T07:55:00Z", START_US - 300_000_000),
        ("2026-11-23T07:54:59Z", START_US),
        ("1970-01-01T00:00:07Z", START_US),
        ("yesterday", START_US),
        ("", START_US),
    ] {
        let mut ledger = Ledger::default();
        let mut report = total(START_US, 5);
        let Some(Body::Inform(inform)) = &mut report.body else {
            unreachable!()
        };
        inform.current_time = device_time.into();
        ledger.fold(&report, 1);
        assert_eq!(
            (
                ledger.last().reading_time_us,
                ledger.last().device_time.as_str()
            ),
            (expect, device_time)
        );
    }
}

#[test]
fn the_years_of_a_chain_never_go_back() {
    // 2026-12-31T23:59:59Z and two edges whose clocks differ by seconds.
    let end = START_US + (38 * 24 + 16) * HOUR_US - 1_000_000;
    let mut ledger = Ledger::default();
    ledger.fold(&total(end + 2_000_000, 5), 1);
    let mut next = total(end, 6);
    if let Some(Body::Inform(inform)) = &mut next.body {
        inform.current_time = time::format((end + 5_000_000) / 1_000_000);
    }
    ledger.fold(&next, 2);
    assert_eq!(
        ledger
            .sets
            .values()
            .map(|set| year(set.receive_time_us))
            .collect::<Vec<_>>(),
        [2027, 2027]
    );
    assert_eq!(year(end), 2026);
}

#[test]
fn the_memory_of_a_head_is_bounded() {
    let mut ledger = Ledger::default();
    for batch in 0..5_i64 {
        let paths: Vec<String> = (0..600)
            .map(|n| {
                format!(
                    "Device.Services.MFPService.{}.Counters.Total.TotalImpressions",
                    batch * 600 + n + 1
                )
            })
            .collect();
        let values: Vec<(&str, u64)> = paths.iter().map(|path| (path.as_str(), 5)).collect();
        ledger.fold(
            &report(START_US + batch * HOUR_US, &values),
            u64::try_from(batch).unwrap() + 1,
        );
    }
    let head = ledger.head.as_ref().unwrap();
    assert_eq!(head.values.len(), MOST_METERS);
    assert!(head.values.is_sorted_by(|a, b| a.source < b.source));
    assert!(
        head.values
            .iter()
            .filter(|value| value.time_us == START_US + 4 * HOUR_US)
            .count()
            == 600,
        "the latest stay"
    );
}

fn history() -> impl Strategy<Value = Vec<Report>> {
    let one = (
        prop_oneof![Just(0), 0..90_i64, Just(1_440), Just(43_200)],
        proptest::collection::btree_map(
            prop_oneof![
                Just("TotalImpressions"),
                Just("MonochromeImpressions"),
                Just("TotalSheets")
            ],
            prop_oneof![Just(1_000_u64), 990..1_010_u64, any::<u64>()],
            1..4,
        ),
    );
    proptest::collection::vec(one, 1..25).prop_map(|steps| {
        let mut now_us = START_US;
        steps
            .into_iter()
            .map(|(minutes, values)| {
                now_us += minutes * MINUTE_US;
                report(
                    now_us,
                    &values
                        .into_iter()
                        .filter(|(_, value)| *value != u64::MAX)
                        .collect::<Vec<_>>(),
                )
            })
            .filter(|report| Readings::of(report).is_some())
            .collect()
    })
}

proptest! {
    /// Whatever is delivered again, from whatever point, as often as it may: the same bytes, one intact chain, nothing lost.
    #[test]
    fn redelivery_changes_nothing(history in history(), replays in proptest::collection::vec((0..25_usize, 0..25_usize), 0..4)) {
        let mut once = Ledger::default();
        for (version, report) in (1_u64..).zip(&history) {
            once.fold(report, version);
        }
        let mut replayed = Ledger::default();
        let mut replays = replays.into_iter();
        for (version, report) in (1_u64..).zip(&history) {
            replayed.fold(report, version);
            if let Some((from, to)) = replays.next() {
                let passed = usize::try_from(version).unwrap();
                for (version, report) in (1_u64..).zip(&history[..to.min(passed)]).skip(from) {
                    replayed.fold(report, version);
                }
            }
        }
        prop_assert_eq!(&once, &replayed);
        prop_assert_eq!(verify("default", "00D09E-LaserPro-SN1", once.sets.values()), Ok(once.sets.len() as u64));
    }

    /// A crash between the writes: the set is there and the head is not.
    #[test]
    fn a_set_without_its_head_is_written_again_byte_by_byte(history in history()) {
        let mut ledger = Ledger::default();
        for (version, report) in (1_u64..).zip(&history) {
            let before = ledger.head.clone();
            ledger.fold(report, version);
            let after = ledger.clone();
            ledger.head = before;
            ledger.fold(report, version);
            prop_assert_eq!(&ledger, &after);
        }
    }

    /// Every reported value stands in the ledger: in a set of its own, or in one that says until when it held; what falls is flagged. But a copy, equal
    /// in all that the device said, stands where the first one does.
    #[test]
    fn no_value_is_lost_and_no_fall_goes_unmarked(history in history()) {
        let mut ledger = Ledger::default();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for (version, report) in (1_u64..).zip(&history) {
            let decision = ledger.fold(report, version);
            let is_copy = history.iter().take_while(|earlier| !std::ptr::eq(*earlier, report)).any(|earlier| earlier.body == report.body);
            if is_copy && matches!(decision, Decision::Nothing { .. }) {
                continue;
            }
            for reading in Readings::of(report).unwrap().values {
                let stored = ledger.sets.values().rev().find_map(|set| set.values.iter().find(|value| value.source == reading.source));
                let stored = stored.unwrap();
                prop_assert_eq!(stored.value, reading.value);
                if last.insert(reading.source, reading.value).is_some_and(|before| reading.value < before) {
                    let appended = matches!(decision, Decision::Append { .. });
                    prop_assert!(appended);
                    prop_assert!(stored.flags.iter().any(|flag| flag == BACKWARDS));
                    prop_assert_eq!(stored.quality(), Quality::Suspect);
                }
            }
        }
    }
}
