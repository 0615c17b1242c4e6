//! How a device comes to its settings: a pure core, asked again after every answer of the device.
//!
//! [`next`] says what to send; [`Progress`] takes what came back. The two end by construction: a command that succeeds leaves fewer
//! unsettled settings, one that fails makes the next one smaller, and one of a single setting that fails leaves fewer unsettled
//! settings too, since the refused one is held back. What is held back becomes due by time alone, with growing pauses.

use crate::{
    settings::{Setting, Settings},
    value,
};
use platen_proto::{
    device::v1::CwmpFault,
    store::v1::{Desired, RefusedSetting},
};
use std::collections::{BTreeMap, BTreeSet};

/// Most settings of one SetParameterValues (RPC-28).
pub(crate) const MAX_VALUES: usize = 64;

/// Largest SetParameterValues, in bytes of XML, unless one setting alone is larger.
pub(crate) const MAX_BYTES: usize = 32 * 1024;

/// What a ParameterValueStruct costs beside path and value.
const OVERHEAD: usize = 128;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// What to do for a device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Send these in one command.
    Set {
        /// At least one; ordered by path.
        settings: Vec<&'a Setting>,
        /// Whether the plan goes on after it, as far as is known.
        more_follows: bool,
    },
    /// The device has what it shall have.
    Converged,
    /// It has not, and nothing may be sent before this time (µs).
    Blocked {
        /// When the first of the settings that are held back is due.
        until_us: i64,
    },
}

/// Decides what to send to a device that has come as far as `progress`. What is in flight counts as not there yet.
pub(crate) fn next<'a>(desired: &'a Settings, progress: &Progress, now_us: i64) -> Step<'a> {
    let (mut fresh, mut again, mut until_us) = (Vec::new(), Vec::new(), i64::MAX);
    for setting in desired
        .iter()
        .filter(|setting| !progress.confirmed.contains(&setting.id))
    {
        match progress.held.get(&setting.id) {
            Some(held) if held.retry_us > now_us => until_us = until_us.min(held.retry_us),
            Some(held) if held.fault.is_some() => again.push(setting),
            Some(_) | None => fresh.push(setting),
        }
    }
    let due = fresh.len() + again.len();
    // What was refused before goes by itself, so that it cannot take others down with it.
    let settings = if fresh.is_empty() {
        again.into_iter().take(1).collect()
    } else {
        batch(fresh, progress.batch)
    };
    if settings.is_empty() {
        return if until_us == i64::MAX {
            Step::Converged
        } else {
            Step::Blocked { until_us }
        };
    }
    // A refusal of several is followed by smaller ones.
    let more_follows = due > 1;
    Step::Set {
        settings,
        more_follows,
    }
}

/// The first of `settings` that fit into one command.
fn batch(settings: Vec<&Setting>, limit: usize) -> Vec<&Setting> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    for setting in settings.into_iter().take(limit.clamp(1, MAX_VALUES)) {
        // An escaped character takes at most six bytes; most are not escaped.
        let escaped: usize = setting
            .value
            .chars()
            .map(|c| {
                if matches!(c, '&' | '<' | '>' | '"' | '\'') {
                    6
                } else {
                    c.len_utf8()
                }
            })
            .sum();
        bytes += OVERHEAD + setting.path.len() + escaped;
        if bytes > MAX_BYTES && !batch.is_empty() {
            break;
        }
        batch.push(setting);
    }
    batch
}

/// How far a device has come: the part of its [`Desired`] row that the plan is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    confirmed: BTreeSet<u64>,
    pending: BTreeSet<u64>,
    held: BTreeMap<u64, RefusedSetting>,
    in_flight: BTreeSet<u64>,
    batch: usize,
}

impl Progress {
    /// As it stands in the row.
    pub(crate) fn of(row: &Desired) -> Self {
        Self {
            confirmed: row.confirmed.iter().copied().collect(),
            pending: row.pending.iter().copied().collect(),
            held: row
                .refused
                .iter()
                .map(|held| (held.setting, held.clone()))
                .collect(),
            in_flight: row.in_flight.iter().copied().collect(),
            batch: if row.batch == 0 {
                MAX_VALUES
            } else {
                usize::try_from(row.batch).unwrap_or(MAX_VALUES)
            },
        }
    }

    /// Puts it into the row, without what no longer matters to `desired` at `now_us`: so the row is bounded by the settings.
    pub(crate) fn store(mut self, desired: &Settings, now_us: i64, row: &mut Desired) {
        let known: BTreeSet<u64> = desired.iter().map(|setting| setting.id).collect();
        self.confirmed.retain(|id| known.contains(id));
        let confirmed = &self.confirmed;
        self.pending.retain(|id| confirmed.contains(id));
        self.held.retain(|id, held| {
            known.contains(id) && (!confirmed.contains(id) || held.retry_us + DAY > now_us)
        });
        row.confirmed = self.confirmed.into_iter().collect();
        row.pending = self.pending.into_iter().collect();
        row.refused = self.held.into_values().collect();
        row.in_flight = self.in_flight.into_iter().collect();
        row.batch = if self.batch >= MAX_VALUES {
            0
        } else {
            u32::try_from(self.batch).unwrap_or_default()
        };
    }

    /// Whether the device took a setting, and has not contradicted it since.
    pub(crate) fn has(&self, setting: &Setting) -> bool {
        self.confirmed.contains(&setting.id)
    }

    /// Which settings the command in flight brings.
    pub(crate) fn in_flight(&self) -> &BTreeSet<u64> {
        &self.in_flight
    }

    /// A command with these settings has been queued; none: nothing is in flight any more.
    pub(crate) fn sent<'a>(&mut self, settings: impl IntoIterator<Item = &'a Setting>) {
        self.in_flight = settings.into_iter().map(|setting| setting.id).collect();
    }

    /// When the next setting that is held back becomes due (µs); `i64::MAX`: none is.
    pub(crate) fn due_us(&self) -> i64 {
        let held = self
            .held
            .iter()
            .filter(|(id, _)| !self.confirmed.contains(id));
        held.map(|(_, held)| held.retry_us)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// The device has forgotten everything (`0 BOOTSTRAP`).
    pub(crate) fn forget(&mut self) {
        *self = Self::of(&Desired::default());
    }

    /// The device has started: what it took for later has effect, so what it reports of it counts (RPC-24).
    pub(crate) fn booted(&mut self) {
        self.pending.clear();
    }

    /// The device runs other software, which may take what the old one refused.
    pub(crate) fn forget_refusals(&mut self) {
        self.held.retain(|_, held| held.fault.is_none());
    }

    /// The device reports a value of a parameter. Returns whether that says something about a setting that was not known.
    ///
    /// A value that contradicts a setting which the device took makes it unsettled: at once for the first few times, so that a change by hand
    /// is corrected; then with growing pauses, so that a device that never keeps the value does not loop (EVT-13). Within one session it is corrected once.
    pub(crate) fn reported(
        &mut self,
        desired: &Settings,
        path: &str,
        kind: &str,
        reported: &str,
        session: &str,
        now_us: i64,
    ) -> bool {
        let Some(setting) = desired.get(path).filter(|setting| !setting.secret) else {
            return false;
        };
        let kind = if kind.is_empty() { &setting.kind } else { kind };
        if value::same(kind, &setting.value, reported) {
            self.pending.remove(&setting.id);
            return self.confirmed.insert(setting.id);
        }
        if self.pending.contains(&setting.id) || !self.confirmed.remove(&setting.id) {
            return false;
        }
        let before = self
            .held
            .remove(&setting.id)
            .filter(|held| held.fault.is_none() && held.retry_us + DAY > now_us);
        let tries = before.as_ref().map_or(0, |held| held.tries) + 1;
        let pause = match tries {
            0..=3 => 0,
            4 => HOUR,
            5 => 6 * HOUR,
            _ => DAY,
        };
        let corrected = before.is_some_and(|held| held.session == session);
        let pause = if corrected {
            pause.max(60 * SECOND)
        } else {
            pause
        };
        self.hold(setting, None, tries, now_us + pause, session);
        true
    }

    /// The device took the command in flight; `later`: it will have effect after a boot (Status 1).
    pub(crate) fn accepted(&mut self, later: bool) {
        for id in std::mem::take(&mut self.in_flight) {
            self.confirmed.insert(id);
            if later {
                self.pending.insert(id);
            }
            if self.held.get(&id).is_some_and(|held| held.fault.is_some()) {
                self.held.remove(&id);
            }
        }
        self.batch = (self.batch * 2).min(MAX_VALUES);
    }

    /// The device refused the command in flight, and so all of it (RPC-21). The settings that the fault names are held back; if it names none of them,
    /// the next command is half as large, until it is a single setting.
    pub(crate) fn refused(
        &mut self,
        desired: &Settings,
        fault: &CwmpFault,
        session: &str,
        now_us: i64,
    ) {
        let in_flight = std::mem::take(&mut self.in_flight);
        let settings: Vec<&Setting> = desired
            .iter()
            .filter(|setting| in_flight.contains(&setting.id))
            .collect();
        let named: Vec<(&Setting, CwmpFault)> = settings
            .iter()
            .filter_map(|setting| {
                let own = fault
                    .parameter_faults
                    .iter()
                    .find(|own| own.path == setting.path)?;
                Some((
                    *setting,
                    CwmpFault {
                        code: own.code,
                        string: own.string.clone(),
                        parameter_faults: Vec::new(),
                    },
                ))
            })
            .collect();
        if !named.is_empty() {
            for (setting, fault) in named {
                self.refuse(setting, fault, session, now_us);
            }
        } else if let [setting] = settings[..] {
            self.refuse(
                setting,
                CwmpFault {
                    parameter_faults: Vec::new(),
                    ..fault.clone()
                },
                session,
                now_us,
            );
        } else {
            self.batch = (settings.len() / 2).max(1);
        }
    }

    fn refuse(&mut self, setting: &Setting, fault: CwmpFault, session: &str, now_us: i64) {
        let before = self
            .held
            .get(&setting.id)
            .filter(|held| held.fault.is_some());
        let tries = before.map_or(0, |held| held.tries).saturating_add(1);
        let pause = match tries {
            0 | 1 => HOUR,
            2 => 6 * HOUR,
            3 => DAY,
            _ => 7 * DAY,
        };
        self.hold(setting, Some(fault), tries, now_us + pause, session);
    }

    fn hold(
        &mut self,
        setting: &Setting,
        fault: Option<CwmpFault>,
        tries: u32,
        retry_us: i64,
        session: &str,
    ) {
        let held = RefusedSetting {
            path: setting.path.clone(),
            value: if setting.secret {
                String::new()
            } else {
                setting.value.clone()
            },
            fault,
            retry_us,
            tries,
            setting: setting.id,
            session: session.to_owned(),
        };
        self.held.insert(setting.id, held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::device::v1::ParameterFault;
    use proptest::prelude::*;

    fn settings(paths: impl IntoIterator<Item = impl AsRef<str>>) -> Settings {
        Settings::merged(
            paths
                .into_iter()
                .map(|path| Setting::new(path.as_ref(), "1", "")),
        )
    }

    fn numbered(count: usize) -> Settings {
        settings((0..count).map(|n| format!("Device.P{n:04}")))
    }

    fn fresh() -> Progress {
        Progress::of(&Desired::default())
    }

    fn paths<'a>(step: &Step<'a>) -> Vec<&'a str> {
        match step {
            Step::Set { settings, .. } => settings
                .iter()
                .map(|setting| setting.path.as_str())
                .collect(),
            Step::Converged | Step::Blocked { .. } => Vec::new(),
        }
    }

    /// Sends the next command and hands the device's answer to the progress; `false`: there was nothing to send.
    fn exchange(
        desired: &Settings,
        progress: &mut Progress,
        now_us: i64,
        answer: impl Fn(&[&str]) -> Result<bool, CwmpFault>,
    ) -> bool {
        let step = next(desired, progress, now_us);
        let Step::Set { settings, .. } = &step else {
            return false;
        };
        progress.sent(settings.iter().copied());
        match answer(&paths(&step)) {
            Ok(later) => progress.accepted(later),
            Err(fault) => progress.refused(desired, &fault, "s", now_us),
        }
        true
    }

    fn fault(code: i32, named: &[&str]) -> CwmpFault {
        let parameter_faults = named
            .iter()
            .map(|path| ParameterFault {
                path: (*path).to_owned(),
                code: 9005,
                string: "no".into(),
            })
            .collect();
        CwmpFault {
            code,
            string: "refused".into(),
            parameter_faults,
        }
    }

    #[test]
    fn a_plan_is_cut_into_commands_of_64_values() {
        let desired = numbered(130);
        let mut progress = fresh();

        let mut sizes = Vec::new();
        loop {
            let step = next(&desired, &progress, 0);
            let Step::Set {
                settings,
                more_follows,
            } = &step
            else {
                break;
            };
            sizes.push((settings.len(), *more_follows));
            progress.sent(settings.iter().copied());
            progress.accepted(false);
        }

        // The last of several may be refused and then isolated, so that it too may be followed by others.
        assert_eq!(sizes, [(64, true), (64, true), (2, true)]);
        assert_eq!(next(&desired, &progress, 0), Step::Converged);
    }

    #[test]
    fn a_command_is_bounded_in_bytes() {
        let big = "<".repeat(3_000);
        let desired =
            Settings::merged((0..4).map(|n| Setting::new(&format!("Device.P{n}"), &big, "")));

        assert_eq!(paths(&next(&desired, &fresh(), 0)), ["Device.P0"]);
        let huge = Settings::merged([Setting::new("Device.P", &"x".repeat(100_000), "")]);
        assert_eq!(
            paths(&next(&huge, &fresh(), 0)),
            ["Device.P"],
            "what cannot be split goes alone"
        );
    }

    #[test]
    fn named_parameters_are_held_back_and_the_others_sent() {
        let desired = settings(["Device.A", "Device.B", "Device.C"]);
        let mut progress = fresh();

        exchange(&desired, &mut progress, 0, |_| {
            Err(fault(9003, &["Device.B"]))
        });

        assert_eq!(
            paths(&next(&desired, &progress, 0)),
            ["Device.A", "Device.C"]
        );
        exchange(&desired, &mut progress, 0, |_| Ok(false));
        assert_eq!(
            next(&desired, &progress, 0),
            Step::Blocked { until_us: HOUR }
        );
        assert_eq!(progress.due_us(), HOUR);
    }

    #[test]
    fn a_refused_setting_is_tried_again_alone_with_growing_pauses() {
        let desired = settings(["Device.A"]);
        let mut progress = fresh();
        let mut now_us = 0;

        for pause in [HOUR, 6 * HOUR, DAY, 7 * DAY, 7 * DAY] {
            assert!(exchange(&desired, &mut progress, now_us, |_| Err(fault(
                9007,
                &[]
            ))));
            assert_eq!(
                next(&desired, &progress, now_us + pause - 1),
                Step::Blocked {
                    until_us: now_us + pause
                }
            );
            now_us += pause;
        }

        progress.forget_refusals();
        assert_eq!(
            paths(&next(&desired, &progress, now_us)),
            ["Device.A"],
            "other software may take it at once"
        );
    }

    #[test]
    fn another_value_is_another_setting() {
        let mut progress = fresh();
        exchange(&settings(["Device.A"]), &mut progress, 0, |_| {
            Err(fault(9007, &[]))
        });

        let changed = Settings::merged([Setting::new("Device.A", "2", "")]);

        assert_eq!(paths(&next(&changed, &progress, 0)), ["Device.A"]);
    }

    #[test]
    fn what_the_device_has_already_is_not_sent() {
        let desired = settings(["Device.A", "Device.B"]);
        let mut progress = fresh();

        assert!(progress.reported(&desired, "Device.A", "xsd:boolean", "true", "s", 0));

        assert_eq!(paths(&next(&desired, &progress, 0)), ["Device.B"]);
    }

    #[test]
    fn a_contradiction_is_corrected_once_per_session_and_then_less_and_less_often() {
        let desired = settings(["Device.A"]);
        let mut progress = fresh();
        exchange(&desired, &mut progress, 0, |_| Ok(false));

        for session in ["1", "2", "3"] {
            assert!(progress.reported(&desired, "Device.A", "", "0", session, 0));
            assert!(
                exchange(&desired, &mut progress, 0, |_| Ok(false)),
                "session {session}"
            );
        }
        progress.reported(&desired, "Device.A", "", "0", "4", 0);
        assert_eq!(
            next(&desired, &progress, 0),
            Step::Blocked { until_us: HOUR }
        );

        let later = 3 * DAY;
        assert!(exchange(&desired, &mut progress, later, |_| Ok(false)));
        progress.reported(&desired, "Device.A", "", "0", "5", later);
        assert_eq!(
            paths(&next(&desired, &progress, later)),
            ["Device.A"],
            "what happens rarely is corrected at once"
        );
        exchange(&desired, &mut progress, later, |_| Ok(false));
        progress.reported(&desired, "Device.A", "", "0", "5", later);
        assert!(
            matches!(next(&desired, &progress, later), Step::Blocked { .. }),
            "not twice in one session"
        );
    }

    #[test]
    fn what_takes_effect_after_a_boot_is_not_contradicted_before_it() {
        let desired = settings(["Device.A"]);
        let mut progress = fresh();
        exchange(&desired, &mut progress, 0, |_| Ok(true));

        assert!(!progress.reported(&desired, "Device.A", "", "0", "1", 0));
        assert_eq!(next(&desired, &progress, 0), Step::Converged);

        progress.booted();
        assert!(progress.reported(&desired, "Device.A", "", "0", "2", 0));
        assert_eq!(paths(&next(&desired, &progress, 0)), ["Device.A"]);
    }

    #[test]
    fn secrets_are_never_compared() {
        let desired = settings(["Device.ManagementServer.ConnectionRequestPassword"]);
        let mut progress = fresh();
        exchange(&desired, &mut progress, 0, |_| Ok(false));

        assert!(!progress.reported(
            &desired,
            "Device.ManagementServer.ConnectionRequestPassword",
            "",
            "",
            "s",
            0
        ));
        assert_eq!(next(&desired, &progress, 0), Step::Converged);
    }

    #[test]
    fn the_row_keeps_what_the_plan_needs_and_nothing_of_settings_that_are_gone() {
        let desired = settings(["Device.A", "Device.B"]);
        let mut progress = fresh();
        exchange(&desired, &mut progress, 0, |_| {
            Err(fault(9003, &["Device.A"]))
        });
        exchange(&desired, &mut progress, 0, |_| Ok(true));

        let mut row = Desired::default();
        progress.clone().store(&desired, 0, &mut row);
        assert_eq!(Progress::of(&row), progress);

        progress.store(&settings(["Device.B"]), 0, &mut row);
        assert_eq!(
            (row.refused.len(), row.confirmed.len(), row.pending.len()),
            (0, 1, 1)
        );
    }

    /// A device that refuses some parameters, naming them or not, and any command above a size.
    #[derive(Debug, Clone)]
    struct Fussy {
        refuses: BTreeSet<usize>,
        names: bool,
        largest: usize,
    }

    fn fussy() -> impl Strategy<Value = (usize, Fussy)> {
        (0_usize..150).prop_flat_map(|count| {
            let refuses = proptest::collection::btree_set(0..count.max(1), 0..=count.min(12));
            (Just(count), refuses, any::<bool>(), 1_usize..80).prop_map(
                |(count, refuses, names, largest)| {
                    (
                        count,
                        Fussy {
                            refuses,
                            names,
                            largest,
                        },
                    )
                },
            )
        })
    }

    proptest! {
        #[test]
        fn every_plan_ends_with_all_that_the_device_takes((count, device) in fussy()) {
            let desired = numbered(count);
            let bad: BTreeSet<String> = device.refuses.iter().filter(|n| **n < count).map(|n| format!("Device.P{n:04}")).collect();
            let mut progress = fresh();
            let mut commands = 0;
            while exchange(&desired, &mut progress, 0, |paths| {
                let refused: Vec<&str> = paths.iter().copied().filter(|path| bad.contains(*path)).collect();
                if paths.len() > device.largest {
                    Err(fault(9004, &[]))
                } else if refused.is_empty() {
                    Ok(false)
                } else {
                    Err(fault(9003, if device.names { &refused } else { &[] }))
                }
            }) {
                commands += 1;
                prop_assert!(commands <= 4 * count + 16 * (bad.len() + 1), "{commands} commands for {count} settings");
            }
            let taken = desired.iter().filter(|setting| progress.confirmed.contains(&setting.id)).count();
            prop_assert_eq!(taken, count - bad.len());
            let expected = if bad.is_empty() { Step::Converged } else { Step::Blocked { until_us: HOUR } };
            prop_assert_eq!(next(&desired, &progress, 0), expected);
        }

        #[test]
        fn no_device_makes_a_session_endless(answers in proptest::collection::vec(0_u8..6, 400)) {
            // Whatever the device answers, and whatever it then claims about its values, within one session.
            let desired = numbered(20);
            let mut progress = fresh();
            let mut commands = 0;
            for answer in answers {
                let sent = exchange(&desired, &mut progress, 0, |paths| match answer {
                    0 => Ok(false),
                    1 => Ok(true),
                    2 => Err(fault(9003, &paths[..1])),
                    3 => Err(fault(9003, &["Device.Elsewhere"])),
                    4 => Err(fault(9002, &[])),
                    _ => Err(fault(0, paths)),
                });
                commands += usize::from(sent);
                for n in 0..20 {
                    progress.reported(&desired, &format!("Device.P{n:04}"), "", "0", "s", 0);
                }
            }
            prop_assert!(commands <= 20 * 2 * 8, "{commands} commands");
        }
    }
}
