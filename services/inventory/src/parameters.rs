//! What a report says of parameters, and how it changes what is known of them. Pure.

use platen_cwmp::rpc::is_secret;
use platen_fleet::{
    device::timestamp,
    parameters::{CHUNKS, chunk},
};
use platen_proto::{
    device::v1::{CwmpFault, Parameter, ParameterFault, parameter::State},
    event::v1::Inform,
    operation::v1::{ParameterValue, operation_request::Action},
    report::v1::{CommandDone, Report, command_done::Outcome, report::Body},
    store::v1::ParameterChunk,
};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of one of a device's 16 rows. A device that names more parameters than fit is not believed; what was known stays.
const MAX_CHUNK: usize = 1 << 20;

/// The device has no such parameter (TR-069 A.5: invalid parameter name).
const INVALID_NAME: i32 = 9005;

/// What a report says of parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes<'r> {
    time_us: i64,
    source: &'static str,
    /// The device has forgotten everything: what is not among the changes goes.
    forgotten: bool,
    changes: Vec<(&'r str, Change<'r>)>,
    /// The report tells of everything below these objects, and of these parameters: what it does not name is absent.
    complete: Vec<&'r str>,
    /// Objects that were deleted: what is below them goes.
    deleted: Vec<&'r str>,
}

#[derive(Debug, Clone, PartialEq)]
enum Change<'r> {
    Read {
        value: &'r str,
        of_type: &'r str,
    },
    Named {
        writable: bool,
    },
    Set {
        value: &'r str,
        of_type: &'r str,
        later: bool,
    },
    Refused(CwmpFault),
}

impl<'r> Changes<'r> {
    /// What a report says of parameters; `None`: nothing. `forgotten`: it is the Inform of a device that has started from scratch.
    #[must_use]
    pub fn of(report: &'r Report, forgotten: bool) -> Option<Self> {
        let mut changes = match report.body.as_ref()? {
            Body::Inform(inform) => Self::of_inform(inform),
            Body::CommandDone(done) => {
                Self::of_answer(done, report.part == 0 && report.last, report.last)?
            }
            Body::TransferComplete(_) | Body::DeviceRequest(_) | Body::Woken(_) => return None,
        };
        changes.time_us = report.time_us;
        changes.forgotten = forgotten;
        // A path that no device may have (TR-069 declares string(256)) is no parameter.
        changes
            .changes
            .retain(|(path, _)| !path.is_empty() && path.len() <= 256 && !path.ends_with('.'));
        let nothing = changes.changes.is_empty()
            && changes.complete.is_empty()
            && changes.deleted.is_empty()
            && !forgotten;
        (!nothing).then_some(changes)
    }

    fn new(source: &'static str) -> Self {
        Self {
            time_us: 0,
            source,
            forgotten: false,
            changes: Vec::new(),
            complete: Vec::new(),
            deleted: Vec::new(),
        }
    }

    fn of_inform(inform: &'r Inform) -> Self {
        Self {
            changes: inform.parameters.iter().map(read).collect(),
            ..Self::new("INFORM")
        }
    }

    fn of_answer(done: &'r CommandDone, whole: bool, last: bool) -> Option<Self> {
        let asked = done
            .request
            .as_ref()
            .and_then(|request| request.action.as_ref());
        match (done.outcome.as_ref()?, asked) {
            (Outcome::Result(result), Some(Action::SetParameterValues(set))) => {
                let later = result.status == Some(1);
                let set = set.values.iter().map(|value| {
                    (
                        value.path.as_str(),
                        Change::Set {
                            value: &value.value,
                            of_type: &value.r#type,
                            later,
                        },
                    )
                });
                Some(Self {
                    changes: set.collect(),
                    ..Self::new("SET_PARAMETER_VALUES")
                })
            }
            (Outcome::Fault(fault), Some(Action::SetParameterValues(_))) => {
                let refused = fault
                    .parameter_faults
                    .iter()
                    .map(|of| (of.path.as_str(), Change::Refused(fault_of(of))));
                Some(Self {
                    changes: refused.collect(),
                    ..Self::new("SET_PARAMETER_VALUES")
                })
            }
            (Outcome::Result(_), Some(Action::DeleteObject(deleted))) => Some(Self {
                deleted: vec![&deleted.path],
                ..Self::new("DELETE_OBJECT")
            }),
            (Outcome::Result(result), asked)
                if !result.values.is_empty()
                    || matches!(asked, Some(Action::GetParameterValues(_))) =>
            {
                let complete = match asked {
                    // Parameters named one by one are answered in one record or none; objects are complete with the last one.
                    Some(Action::GetParameterValues(get)) if last => get
                        .paths
                        .iter()
                        .map(String::as_str)
                        .filter(|path| path.ends_with('.') || whole)
                        .collect(),
                    _ => Vec::new(),
                };
                Some(Self {
                    changes: result.values.iter().map(read).collect(),
                    complete,
                    ..Self::new("GET_PARAMETER_VALUES")
                })
            }
            (Outcome::Result(result), asked) if !result.names.is_empty() => {
                let complete = match asked {
                    Some(Action::GetParameterNames(get)) if last && !get.next_level => {
                        vec![get.path.as_str()]
                    }
                    _ => Vec::new(),
                };
                let names = result.names.iter().map(|name| {
                    (
                        name.path.as_str(),
                        Change::Named {
                            writable: name.writable,
                        },
                    )
                });
                Some(Self {
                    changes: names.collect(),
                    complete,
                    ..Self::new("GET_PARAMETER_NAMES")
                })
            }
            (Outcome::Fault(fault), Some(Action::GetParameterValues(get))) => {
                match get.paths.as_slice() {
                    // Of several names the device does not say which it does not have.
                    [path] if !path.ends_with('.') => Some(Self {
                        changes: vec![(path, Change::Refused(fault.clone()))],
                        ..Self::new("GET_PARAMETER_VALUES")
                    }),
                    [path] if fault.code == INVALID_NAME => Some(Self {
                        complete: vec![path],
                        ..Self::new("GET_PARAMETER_VALUES")
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The rows that these changes may touch.
    #[must_use]
    pub fn chunks(&self) -> BTreeSet<u64> {
        let whole_device = self.forgotten
            || !self.deleted.is_empty()
            || self
                .complete
                .iter()
                .any(|path| path.is_empty() || path.ends_with('.'));
        if whole_device {
            return (0..CHUNKS).collect();
        }
        self.changes
            .iter()
            .map(|(path, _)| *path)
            .chain(self.complete.iter().copied())
            .map(chunk)
            .collect()
    }

    /// Folds the changes into row `number`; `None`: it stays as it is. A row that has folded in `version` already stays.
    #[must_use]
    pub fn fold(
        &self,
        row: Option<&ParameterChunk>,
        number: u64,
        version: u64,
    ) -> Option<ParameterChunk> {
        if row.is_some_and(|row| version <= row.position) {
            return None;
        }
        let before: BTreeMap<&str, &Parameter> = row
            .iter()
            .flat_map(|row| &row.parameters)
            .map(|parameter| (parameter.path.as_str(), parameter))
            .collect();
        let mut after: BTreeMap<&str, Parameter> = BTreeMap::new();
        if !self.forgotten {
            let kept = before
                .iter()
                .filter(|(path, _)| !self.deleted.iter().any(|object| path.starts_with(object)));
            after.extend(kept.map(|(path, parameter)| (*path, (*parameter).clone())));
        }
        let mut size: usize = after.values().map(Message::encoded_len).sum();
        for (path, change) in self
            .changes
            .iter()
            .filter(|(path, _)| chunk(path) == number)
        {
            let known = after.get(path);
            let next = self.changed(path, known, change);
            let grown = size - known.map_or(0, Message::encoded_len) + next.encoded_len();
            if grown > MAX_CHUNK {
                tracing::debug!(path, "a device has more parameters than are kept");
                continue;
            }
            size = grown;
            after.insert(path, next);
        }
        for (path, parameter) in &mut after {
            let asked = self.complete.iter().any(|asked| {
                asked == path
                    || ((asked.is_empty() || asked.ends_with('.')) && path.starts_with(asked))
            });
            // All parts of one answer carry one time.
            let told = parameter.read_time == timestamp(self.time_us);
            if asked && !told {
                parameter.state = State::Absent.into();
                parameter.source = self.source.to_owned();
                parameter.read_time = timestamp(self.time_us);
                parameter.pending_value = None;
            }
        }
        let unchanged = after.len() == before.len()
            && after
                .iter()
                .all(|(path, parameter)| before.get(path) == Some(&parameter));
        (!unchanged).then(|| ParameterChunk {
            parameters: after.into_values().collect(),
            position: version,
        })
    }

    fn changed(&self, path: &str, known: Option<&Parameter>, change: &Change<'_>) -> Parameter {
        let mut next = known.cloned().unwrap_or_else(|| Parameter {
            path: path.to_owned(),
            ..Parameter::default()
        });
        let value_of = |value: &str| {
            if is_secret(path) {
                String::new()
            } else {
                value.to_owned()
            }
        };
        let set_type = |next: &mut Parameter, of_type: &str| {
            if !of_type.is_empty() {
                of_type.clone_into(&mut next.r#type);
            }
        };
        match change {
            Change::Read { value, of_type } => {
                next.value = value_of(value);
                set_type(&mut next, of_type);
                next.fault = None;
                if next
                    .pending_value
                    .as_ref()
                    .is_none_or(|pending| *pending == next.value)
                {
                    next.pending_value = None;
                    next.state = State::Known.into();
                }
                // An Inform repeats its parameters: the same value again changes nothing.
                if self.source == "INFORM" && known.is_some_and(|known| same_value(known, &next)) {
                    next.source = known.map(|known| known.source.clone()).unwrap_or_default();
                    return next;
                }
            }
            Change::Named { writable } => {
                next.writable = *writable;
                if matches!(next.state(), State::Unspecified | State::Absent) {
                    next.state = State::NeverRead.into();
                    next.source = self.source.to_owned();
                }
                next.read_time = timestamp(self.time_us);
                return next;
            }
            Change::Set {
                value,
                of_type,
                later: false,
            } => {
                next.value = value_of(value);
                set_type(&mut next, of_type);
                next.writable = true;
                next.pending_value = None;
                next.fault = None;
                next.state = State::Known.into();
            }
            Change::Set {
                value,
                of_type,
                later: true,
            } => {
                set_type(&mut next, of_type);
                next.writable = true;
                next.pending_value = Some(value_of(value));
                next.fault = None;
                next.state = State::Pending.into();
            }
            Change::Refused(fault) => {
                next.state = if fault.code == INVALID_NAME {
                    State::Absent
                } else {
                    State::Faulted
                }
                .into();
                next.fault = Some(fault.clone());
                next.pending_value = None;
            }
        }
        self.source.clone_into(&mut next.source);
        next.read_time = timestamp(self.time_us);
        next
    }
}

fn same_value(known: &Parameter, next: &Parameter) -> bool {
    (
        &known.value,
        &known.r#type,
        known.state,
        &known.pending_value,
        &known.fault,
    ) == (
        &next.value,
        &next.r#type,
        next.state,
        &next.pending_value,
        &next.fault,
    )
}

fn read(value: &ParameterValue) -> (&str, Change<'_>) {
    (
        &value.path,
        Change::Read {
            value: &value.value,
            of_type: &value.r#type,
        },
    )
}

fn fault_of(of: &ParameterFault) -> CwmpFault {
    CwmpFault {
        code: of.code,
        string: of.string.clone(),
        parameter_faults: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::operation::v1::{
        DeleteObject, GetParameterNames, GetParameterValues, OperationRequest, OperationResult,
        ParameterName, SetParameterValues,
    };
    use proptest::prelude::*;

    const PATH: &str = "Device.Users.User.1.Name";
    const OTHER: &str = "Device.Users.User.1.Enable";

    fn values(values: &[(&str, &str)]) -> Vec<ParameterValue> {
        values
            .iter()
            .map(|(path, value)| ParameterValue {
                path: (*path).into(),
                value: (*value).into(),
                r#type: "xsd:string".into(),
            })
            .collect()
    }

    fn answer(time_us: i64, action: Action, outcome: Outcome) -> Report {
        let request = Some(OperationRequest {
            action: Some(action),
            ..OperationRequest::default()
        });
        let done = CommandDone {
            request,
            outcome: Some(outcome),
            ..CommandDone::default()
        };
        Report {
            time_us,
            last: true,
            body: Some(Body::CommandDone(done)),
            ..Report::default()
        }
    }

    fn get(time_us: i64, paths: &[&str], found: &[(&str, &str)]) -> Report {
        let action = Action::GetParameterValues(GetParameterValues {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        answer(
            time_us,
            action,
            Outcome::Result(OperationResult {
                values: values(found),
                ..OperationResult::default()
            }),
        )
    }

    fn set(time_us: i64, path: &str, value: &str, outcome: Outcome) -> Report {
        let action = Action::SetParameterValues(SetParameterValues {
            values: values(&[(path, value)]),
            ..SetParameterValues::default()
        });
        answer(time_us, action, outcome)
    }

    fn status(status: i32) -> Outcome {
        Outcome::Result(OperationResult {
            status: Some(status),
            ..OperationResult::default()
        })
    }

    fn inform(time_us: i64, found: &[(&str, &str)]) -> Report {
        let inform = Inform {
            parameters: values(found),
            ..Inform::default()
        };
        Report {
            time_us,
            last: true,
            body: Some(Body::Inform(inform)),
            ..Report::default()
        }
    }

    /// All rows of a device.
    #[derive(Default, Clone, PartialEq, Debug)]
    struct Known(BTreeMap<u64, ParameterChunk>, u64);

    impl Known {
        /// How many rows changed.
        fn fold(&mut self, report: &Report, forgotten: bool) -> usize {
            self.1 += 1;
            let Some(changes) = Changes::of(report, forgotten) else {
                return 0;
            };
            let mut changed = 0;
            for number in changes.chunks() {
                if let Some(row) = changes.fold(self.0.get(&number), number, self.1) {
                    self.0.insert(number, row);
                    changed += 1;
                }
            }
            changed
        }

        fn of(&self, path: &str) -> Option<&Parameter> {
            self.0
                .values()
                .flat_map(|row| &row.parameters)
                .find(|parameter| parameter.path == path)
        }

        fn state(&self, path: &str) -> (State, &str, Option<&str>) {
            let parameter = self
                .of(path)
                .unwrap_or_else(|| panic!("{path} is not known"));
            (
                parameter.state(),
                &parameter.value,
                parameter.pending_value.as_deref(),
            )
        }
    }

    #[test]
    fn an_inform_writes_what_has_changed_and_no_more() {
        let mut known = Known::default();
        assert_eq!(
            known.fold(
                &inform(1, &[(PATH, "a"), ("Device.DeviceInfo.UpTime", "5")]),
                false
            ),
            2
        );
        assert_eq!(
            known.fold(
                &inform(2, &[(PATH, "a"), ("Device.DeviceInfo.UpTime", "6")]),
                false
            ),
            1
        );
        assert_eq!(known.of(PATH).unwrap().read_time, timestamp(1));
        assert_eq!(
            known.of("Device.DeviceInfo.UpTime").unwrap().read_time,
            timestamp(2)
        );
        assert_eq!(known.fold(&inform(3, &[]), false), 0);
    }

    #[test]
    fn a_set_is_known_at_once_or_pending_until_it_is_read() {
        let mut known = Known::default();
        known.fold(&inform(1, &[(PATH, "a")]), false);
        known.fold(&set(2, PATH, "b", status(0)), false);
        assert_eq!(known.state(PATH), (State::Known, "b", None));
        known.fold(&set(3, PATH, "c", status(1)), false);
        assert_eq!(known.state(PATH), (State::Pending, "b", Some("c")));
        known.fold(&get(4, &[PATH], &[(PATH, "b")]), false);
        assert_eq!(known.state(PATH), (State::Pending, "b", Some("c")));
        known.fold(&inform(5, &[(PATH, "c")]), false);
        assert_eq!(known.state(PATH), (State::Known, "c", None));
    }

    #[test]
    fn a_refused_parameter_says_why() {
        let mut known = Known::default();
        let fault = |code| CwmpFault {
            code,
            string: "no".into(),
            parameter_faults: vec![ParameterFault {
                path: PATH.into(),
                code,
                string: "no".into(),
            }],
        };
        known.fold(&set(1, PATH, "b", Outcome::Fault(fault(9007))), false);
        assert_eq!(known.of(PATH).unwrap().fault.as_ref().unwrap().code, 9007);
        assert_eq!(known.state(PATH).0, State::Faulted);
        known.fold(&inform(2, &[(PATH, "a")]), false);
        assert_eq!(
            (known.state(PATH), known.of(PATH).unwrap().fault.as_ref()),
            ((State::Known, "a", None), None)
        );

        let action = |paths: &[&str]| {
            Action::GetParameterValues(GetParameterValues {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            })
        };
        known.fold(
            &answer(3, action(&[PATH, OTHER]), Outcome::Fault(fault(9005))),
            false,
        );
        assert_eq!(
            known.state(PATH).0,
            State::Known,
            "of two names nobody knows which"
        );
        known.fold(
            &answer(4, action(&[PATH]), Outcome::Fault(fault(9005))),
            false,
        );
        assert_eq!(known.state(PATH).0, State::Absent);
    }

    #[test]
    fn what_a_complete_answer_does_not_name_is_absent() {
        let mut known = Known::default();
        known.fold(
            &inform(
                1,
                &[
                    (PATH, "a"),
                    ("Device.Users.User.2.Name", "b"),
                    ("Device.DeviceInfo.UpTime", "5"),
                ],
            ),
            false,
        );
        known.fold(
            &get(2, &["Device.Users."], &[(PATH, "a"), (OTHER, "1")]),
            false,
        );
        assert_eq!(known.state(PATH), (State::Known, "a", None));
        assert_eq!(known.state(OTHER), (State::Known, "1", None));
        assert_eq!(known.state("Device.Users.User.2.Name").0, State::Absent);
        assert_eq!(known.state("Device.DeviceInfo.UpTime").0, State::Known);
    }

    #[test]
    fn an_answer_in_parts_is_complete_with_the_last() {
        let mut known = Known::default();
        known.fold(
            &inform(
                1,
                &[(PATH, "a"), (OTHER, "1"), ("Device.Users.User.2.Name", "b")],
            ),
            false,
        );
        let first = Report {
            last: false,
            ..get(2, &["Device.Users."], &[(PATH, "a")])
        };
        known.fold(&first, false);
        assert_eq!(known.state(OTHER).0, State::Known);
        let second = Report {
            part: 1,
            ..get(2, &["Device.Users."], &[(OTHER, "1")])
        };
        known.fold(&second, false);
        assert_eq!(
            (known.state(PATH).0, known.state(OTHER).0),
            (State::Known, State::Known)
        );
        assert_eq!(known.state("Device.Users.User.2.Name").0, State::Absent);
    }

    #[test]
    fn names_are_known_without_values() {
        let mut known = Known::default();
        known.fold(&inform(1, &[(PATH, "a")]), false);
        let names = |names: &[(&str, bool)]| {
            let names = names
                .iter()
                .map(|(path, writable)| ParameterName {
                    path: (*path).into(),
                    writable: *writable,
                })
                .collect();
            let action = Action::GetParameterNames(GetParameterNames {
                path: "Device.Users.".into(),
                next_level: false,
            });
            answer(
                2,
                action,
                Outcome::Result(OperationResult {
                    names,
                    ..OperationResult::default()
                }),
            )
        };
        known.fold(
            &names(&[("Device.Users.", false), (PATH, true), (OTHER, false)]),
            false,
        );
        assert_eq!(
            (known.state(PATH), known.of(PATH).unwrap().writable),
            ((State::Known, "a", None), true)
        );
        assert_eq!(known.state(OTHER).0, State::NeverRead);
        assert_eq!(known.of("Device.Users."), None);
    }

    #[test]
    fn what_is_below_a_deleted_object_goes() {
        let mut known = Known::default();
        known.fold(
            &inform(1, &[(PATH, "a"), ("Device.Users.User.10.Name", "b")]),
            false,
        );
        let action = Action::DeleteObject(DeleteObject {
            path: "Device.Users.User.1.".into(),
            ..DeleteObject::default()
        });
        known.fold(&answer(2, action, status(0)), false);
        assert_eq!(known.of(PATH), None);
        assert_eq!(known.state("Device.Users.User.10.Name").0, State::Known);
    }

    #[test]
    fn a_device_that_starts_from_scratch_has_forgotten() {
        let mut known = Known::default();
        known.fold(&inform(1, &[(PATH, "a"), (OTHER, "1")]), false);
        known.fold(&inform(2, &[("Device.DeviceInfo.UpTime", "5")]), true);
        assert_eq!((known.of(PATH), known.of(OTHER)), (None, None));
        assert_eq!(known.state("Device.DeviceInfo.UpTime").0, State::Known);
    }

    #[test]
    fn secrets_are_not_kept() {
        let mut known = Known::default();
        let path = "Device.ManagementServer.ConnectionRequestPassword";
        known.fold(&set(1, path, "s3cret", status(0)), false);
        known.fold(&set(2, path, "s3cret", status(1)), false);
        known.fold(
            &inform(
                3,
                &[("Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "s3cret")],
            ),
            false,
        );
        assert!(!format!("{known:?}").contains("s3cret"));
        assert_eq!(known.state(path).0, State::Pending);
    }

    #[test]
    fn a_record_that_was_folded_in_is_skipped() {
        let mut known = Known::default();
        known.fold(&inform(1, &[(PATH, "a")]), false);
        known.fold(&inform(2, &[(PATH, "b")]), false);
        let after = known.clone();
        known.1 = 0;
        assert_eq!(known.fold(&inform(1, &[(PATH, "a")]), false), 0);
        assert_eq!(known.0, after.0);
    }

    #[test]
    fn a_row_has_bounds() {
        let mut known = Known::default();
        let big = "x".repeat(200_000);
        let long = format!("Device.{}", "y".repeat(300));
        known.fold(&inform(1, &[(&long, "1")]), false);
        for number in 0..10 {
            known.fold(
                &inform(1, &[(&format!("Device.Users.User.1.X{number}"), &big)]),
                false,
            );
        }
        let sizes: Vec<usize> = known.0.values().map(Message::encoded_len).collect();
        assert!(
            sizes.iter().all(|&size| size <= MAX_CHUNK + 16),
            "{sizes:?}"
        );
        assert!(
            known.of("Device.Users.User.1.X4").is_some()
                && known.of("Device.Users.User.1.X5").is_none()
        );
    }

    proptest! {
        /// Whatever is told in whatever order, and told again from whatever point: what was told last is known.
        #[test]
        fn what_was_told_last_is_known(
            told in proptest::collection::vec((0..3_usize, proptest::collection::btree_map("[a-c]", "[xyz]", 0..4)), 1..20),
            again in 0..20_usize,
        ) {
            let reports: Vec<Report> = (1_i64..)
                .zip(&told)
                .map(|(time_us, (kind, values))| {
                    let paths: Vec<String> = values.keys().map(|name| format!("Device.{name}.{name}")).collect();
                    let found: Vec<(&str, &str)> = paths.iter().map(String::as_str).zip(values.values().map(String::as_str)).collect();
                    match kind {
                        0 => inform(time_us, &found),
                        1 => get(time_us, &["Device."], &found),
                        _ => set(time_us, "Device.a.a", "s", status(0)),
                    }
                })
                .collect();
            let mut known = Known::default();
            let mut expect: BTreeMap<String, Option<String>> = BTreeMap::new();
            for (report, (kind, values)) in reports.iter().zip(&told) {
                known.fold(report, false);
                if *kind == 1 {
                    expect.values_mut().for_each(|value| *value = None);
                }
                if *kind == 2 {
                    expect.insert("Device.a.a".to_owned(), Some("s".to_owned()));
                } else {
                    expect.extend(values.iter().map(|(name, value)| (format!("Device.{name}.{name}"), Some(value.clone()))));
                }
            }
            for (path, value) in &expect {
                match value {
                    Some(value) => prop_assert_eq!(known.state(path), (State::Known, value.as_str(), None)),
                    None => prop_assert_eq!(known.state(path).0, State::Absent),
                }
            }

            let before = known.0.clone();
            known.1 = again.min(reports.len()) as u64;
            for report in reports.iter().skip(again) {
                // Rows that are behind their last record catch up; none goes back.
                known.fold(report, false);
            }
            prop_assert_eq!(known.0, before);
        }
    }
}
