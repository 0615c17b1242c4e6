//! What an Inform makes of the device record. Pure.

use platen_cwmp::{date_time::DateTime, event_code::EventCode};
use platen_proto::{
    event::v1::Inform, operation::v1::ParameterValue, report::v1::Report, store::v1::Observed,
};
use platen_store::copies;
use sha2::{Digest, Sha256};

/// What follows from an Inform.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// It was folded in before: nothing follows.
    Known,
    /// A proxy presented a device that is not its own. What is known of the device stays.
    Refused {
        /// The record, with nothing but the attempt noted.
        observed: Box<Observed>,
        /// Why, if nobody was told yet.
        news: Option<String>,
    },
    /// A copy of an Inform that was folded in before newer ones: it was on its way when its device had no answer and sent it again. What is known
    /// stays; the record notes the session.
    Copy(Box<Observed>),
    /// The device was seen.
    Seen(Box<Seen>),
}

/// A device as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The record from here on.
    pub observed: Observed,
    /// It is another Inform than the one before, not that one repeated because our answer was lost: an event.
    pub is_event: bool,
    /// First seen, or first trusted.
    pub came: bool,
    /// Quarantined, and was not, or for another reason.
    pub quarantined: bool,
    /// Something changed that lists and filters show.
    pub row_changed: bool,
    /// What becomes of the parameters.
    pub parameters: ParameterFold,
}

/// What an Inform says of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterFold {
    /// The same as the one before.
    Nothing,
    /// Its parameters are folded into what is known.
    Merge,
    /// The device starts from scratch (BOOTSTRAP): what was known of it is history, which the events keep.
    Replace,
}

/// Folds an Inform into the record of its device. `version` is that of the report's record.
#[must_use]
pub fn fold(
    observed: Option<&Observed>,
    report: &Report,
    inform: &Inform,
    version: u64,
) -> Sighting {
    if observed.is_some_and(|observed| version <= observed.position) {
        return Sighting::Known;
    }
    let before = observed.cloned().unwrap_or_default();
    let trusted = before.first_inform_us > 0 && before.quarantine_reason.is_empty();
    if trusted
        && !report.quarantine_reason.is_empty()
        && !report.via.is_empty()
        && report.via != before.proxied_by
    {
        let refused = format!("{}: {}", report.via, report.quarantine_reason);
        let news = (refused != before.refused).then(|| report.quarantine_reason.clone());
        let observed = Box::new(Observed {
            refused,
            position: version,
            ..before
        });
        return Sighting::Refused { observed, news };
    }

    let parameters_hash = hash_parameters(&inform.parameters);
    let inform_hash = hash_inform(report, inform, &parameters_hash);
    let is_sane = || has_sane_clock(inform, report.time_us);
    // Whether the device is trusted is news, whatever it says.
    let is_as_before = report.quarantine_reason == before.quarantine_reason;
    let is_last = before.inform_hash == inform_hash.as_slice();
    let is_copy = !is_last && copies::is_known(&before.earlier_informs, &inform_hash);
    if report.part == 0 && is_as_before && is_copy && is_sane() {
        return Sighting::Copy(Box::new(Observed {
            repeated_session: report.session.clone(),
            position: version,
            ..before
        }));
    }

    let mut after = before.clone();
    after.tenant.clone_from(&report.tenant);
    after.device.clone_from(&report.device);
    after.oui.clone_from(&report.oui);
    after.product_class.clone_from(&report.product_class);
    after.serial_number.clone_from(&report.serial_number);
    after
        .quarantine_reason
        .clone_from(&report.quarantine_reason);
    after.proxied_by.clone_from(&report.via);
    after.session.clone_from(&report.session);
    after.peer.clone_from(&report.peer);
    after.cwmp_minor = report.cwmp_minor;
    after.position = version;
    if after.first_inform_us == 0 {
        after.first_inform_us = report.time_us;
    }
    // The clocks of edges differ a little; the time never goes back.
    after.last_inform_us = after.last_inform_us.max(report.time_us);
    if !report.manufacturer.is_empty() {
        after.manufacturer.clone_from(&report.manufacturer);
    }
    describe(&mut after, &inform.parameters);

    let (is_event, parameters) = if report.part == 0 {
        after.last_events.clone_from(&inform.events);
        let repeated = is_last && (inform.retry_count > 0 || is_sane());
        if !is_last {
            let earlier = copies::remember(&before.earlier_informs, &before.inform_hash);
            after.earlier_informs = earlier.into();
        }
        after.repeated_session = if repeated {
            report.session.clone()
        } else {
            String::new()
        };
        after.inform_hash = inform_hash.to_vec().into();
        let bootstrap = inform
            .events
            .iter()
            .any(|event| EventCode::parse(event) == EventCode::Bootstrap);
        // A repeated BOOTSTRAP must not wipe what was read since; what it carries is there already.
        let parameters = if bootstrap && !repeated {
            ParameterFold::Replace
        } else if before.parameters_hash == parameters_hash.as_slice() {
            ParameterFold::Nothing
        } else {
            ParameterFold::Merge
        };
        after.parameters_hash = parameters_hash.to_vec().into();
        (!repeated, parameters)
    } else {
        // A later part of an Inform: its events and identity came with the first.
        (
            before.repeated_session != report.session,
            ParameterFold::Merge,
        )
    };
    Sighting::Seen(Box::new(Seen {
        is_event,
        came: !trusted && after.quarantine_reason.is_empty(),
        quarantined: !after.quarantine_reason.is_empty()
            && after.quarantine_reason != before.quarantine_reason,
        row_changed: columns(&before) != columns(&after) || before.first_inform_us == 0,
        parameters,
        observed: after,
    }))
}

/// Takes from reported parameters what the device record shows.
pub fn describe(observed: &mut Observed, parameters: &[ParameterValue]) {
    let (mut version, mut summary, mut root) = (None, None, None);
    for parameter in parameters {
        let (of_root, name) = if let Some(name) = parameter.path.strip_prefix("Device.") {
            ("Device", name)
        } else if let Some(name) = parameter.path.strip_prefix("InternetGatewayDevice.") {
            ("InternetGatewayDevice", name)
        } else {
            continue;
        };
        root = root.or(Some(of_root));
        let value = parameter.value.as_str();
        match name {
            "DeviceInfo.Manufacturer" => value.clone_into(&mut observed.manufacturer),
            "DeviceInfo.ModelName" => value.clone_into(&mut observed.model_name),
            "DeviceInfo.SoftwareVersion" => value.clone_into(&mut observed.software_version),
            "DeviceInfo.HardwareVersion" => value.clone_into(&mut observed.hardware_version),
            "ManagementServer.ConnectionRequestURL" => {
                value.clone_into(&mut observed.connection_request_url)
            }
            "ManagementServer.PeriodicInformInterval" => {
                if let Ok(interval) = value.parse() {
                    observed.periodic_inform_interval = interval;
                }
            }
            "RootDataModelVersion" => version = Some(value),
            "DeviceSummary" => summary = Some(value),
            _ => {}
        }
    }
    // EVT-26: the version says it; before it existed, the summary was there.
    observed.root_data_model = match (root, version, summary) {
        (Some(root), Some(version), _) => {
            format!("{root}:{}", version.split('.').next().unwrap_or_default())
        }
        (Some(root), None, Some(_)) => format!("{root}:1"),
        (Some("Device"), None, None) if observed.root_data_model.is_empty() => {
            "Device:2".to_owned()
        }
        (Some(root), None, None) if observed.root_data_model.is_empty() => format!("{root}:1"),
        _ => return,
    };
}

/// What lists and filters show of the record; the time of the last Inform stands in the reports' headers.
#[must_use]
pub fn columns(observed: &Observed) -> impl PartialEq + '_ {
    (
        (
            &observed.oui,
            &observed.product_class,
            &observed.serial_number,
            &observed.quarantine_reason,
        ),
        (
            &observed.manufacturer,
            &observed.model_name,
            &observed.software_version,
            &observed.hardware_version,
        ),
        (
            &observed.root_data_model,
            &observed.proxied_by,
            observed.periodic_inform_interval,
        ),
    )
}

fn hash_parameters(parameters: &[ParameterValue]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for parameter in parameters {
        for text in [&parameter.path, &parameter.value, &parameter.r#type] {
            add(&mut hasher, text);
        }
    }
    hasher.finalize().into()
}

/// Identity, CurrentTime, events and parameters: what a repetition has in common with the Inform that it repeats.
fn hash_inform(report: &Report, inform: &Inform, parameters: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for text in [
        &report.oui,
        &report.product_class,
        &report.serial_number,
        &inform.current_time,
    ] {
        add(&mut hasher, text);
    }
    for list in [&inform.events, &inform.command_keys] {
        hasher.update((list.len() as u64).to_be_bytes());
        for text in list {
            add(&mut hasher, text);
        }
    }
    hasher.update(parameters);
    hasher.finalize().into()
}

fn add(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

fn has_sane_clock(inform: &Inform, now_us: i64) -> bool {
    let said = DateTime::from_text(inform.current_time.as_str()).time();
    copies::tells_time(said.map(|time| time.as_second()), now_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T08:00:00Z
    const START_US: i64 = 1_795_420_800_000_000;

    fn parameters(values: &[(&str, &str)]) -> Vec<ParameterValue> {
        values
            .iter()
            .map(|(path, value)| ParameterValue {
                path: (*path).into(),
                value: (*value).into(),
                r#type: "xsd:string".into(),
            })
            .collect()
    }

    fn inform(values: &[(&str, &str)]) -> Inform {
        Inform {
            events: vec!["2 PERIODIC".into()],
            parameters: parameters(values),
            current_time: "2026-11-23T08:00:00Z".into(),
            command_keys: vec![String::new()],
            ..Inform::default()
        }
    }

    fn report(time_us: i64) -> Report {
        Report {
            tenant: "default".into(),
            device: "00D09E-P-1".into(),
            oui: "00D09E".into(),
            product_class: "P".into(),
            serial_number: "1".into(),
            session: format!("{time_us:032x}"),
            time_us,
            last: true,
            ..Report::default()
        }
    }

    fn seen(observed: Option<&Observed>, report: &Report, inform: &Inform, version: u64) -> Seen {
        match fold(observed, report, inform, version) {
            Sighting::Seen(seen) => *seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_inform_makes_the_record() {
        let told = inform(&[
            ("Device.RootDataModelVersion", "2.15"),
            ("Device.DeviceInfo.SoftwareVersion", "1.4"),
            ("Device.DeviceInfo.HardwareVersion", "B"),
            (
                "Device.ManagementServer.ConnectionRequestURL",
                "http://192.0.2.1:7547/x",
            ),
            ("Device.ManagementServer.PeriodicInformInterval", "600"),
        ]);
        let report = Report {
            manufacturer: "Example".into(),
            via: "00D09E-Proxy-7".into(),
            ..report(START_US)
        };
        let Seen {
            observed,
            is_event,
            came,
            quarantined,
            row_changed,
            parameters,
        } = seen(None, &report, &told, 7);

        assert_eq!(
            (is_event, came, quarantined, row_changed, parameters),
            (true, true, false, true, ParameterFold::Merge)
        );
        assert_eq!(
            (
                observed.manufacturer.as_str(),
                observed.software_version.as_str()
            ),
            ("Example", "1.4")
        );
        assert_eq!(
            (
                observed.root_data_model.as_str(),
                observed.periodic_inform_interval
            ),
            ("Device:2", 600)
        );
        assert_eq!(observed.proxied_by, "00D09E-Proxy-7");
        assert_eq!(
            (
                observed.first_inform_us,
                observed.last_inform_us,
                observed.position
            ),
            (START_US, START_US, 7)
        );
        assert_eq!(fold(Some(&observed), &report, &told, 7), Sighting::Known);
        assert_eq!(fold(Some(&observed), &report, &told, 6), Sighting::Known);
    }

    #[test]
    fn a_repeated_inform_is_one_event() {
        let first = inform(&[("Device.DeviceInfo.UpTime", "5")]);
        let stuck = |time: &str, retry_count| Inform {
            current_time: time.into(),
            retry_count,
            ..first.clone()
        };
        for (what, before, again, is_event) in [
            (
                "retried",
                first.clone(),
                Inform {
                    retry_count: 1,
                    ..first.clone()
                },
                false,
            ),
            (
                "same time by a good clock",
                first.clone(),
                first.clone(),
                false,
            ),
            (
                "another time",
                first.clone(),
                stuck("2026-11-23T08:00:01Z", 1),
                true,
            ),
            (
                "a clock that stands still",
                stuck("1970-01-01T00:00:00Z", 0),
                stuck("1970-01-01T00:00:00Z", 0),
                true,
            ),
            (
                "a clock that stands still, retried",
                stuck("1970-01-01T00:00:00Z", 0),
                stuck("1970-01-01T00:00:00Z", 1),
                false,
            ),
            (
                "other parameters",
                first.clone(),
                inform(&[("Device.DeviceInfo.UpTime", "6")]),
                true,
            ),
            (
                "other events",
                first.clone(),
                Inform {
                    events: vec!["1 BOOT".into()],
                    ..first.clone()
                },
                true,
            ),
        ] {
            let before = seen(None, &report(START_US), &before, 1).observed;
            let again = seen(Some(&before), &report(START_US + 1_000_000), &again, 2);
            assert_eq!(again.is_event, is_event, "{what}");
            assert_eq!(
                again.observed.last_inform_us,
                START_US + 1_000_000,
                "{what}"
            );
            // Later parts follow their first.
            let part = Report {
                part: 1,
                ..report(START_US + 1_000_000)
            };
            assert_eq!(
                seen(Some(&again.observed), &part, &first, 3).is_event,
                is_event,
                "{what}"
            );
        }
    }

    #[test]
    fn a_copy_that_comes_behind_newer_informs_changes_nothing() {
        let at = |second: u64| Inform {
            current_time: format!("2026-11-23T08:00:{second:02}Z"),
            ..inform(&[("Device.DeviceInfo.SoftwareVersion", &second.to_string())])
        };
        let mut known = None;
        for second in 0..=5 {
            let time_us = START_US + second as i64 * 1_000_000;
            let next = seen(known.as_ref(), &report(time_us), &at(second), second + 1);
            assert!(next.is_event);
            known = Some(next.observed);
        }
        let known = known.unwrap();

        let woken = report(START_US + 40_000_000);
        for second in 1..5 {
            let Sighting::Copy(after) = fold(Some(&known), &woken, &at(second), 9) else {
                panic!("{second}");
            };
            let expected = Observed {
                repeated_session: woken.session.clone(),
                position: 9,
                ..known.clone()
            };
            assert_eq!(*after, expected);
        }
        // The last one is repeated as ever, one long ago is forgotten, and a clock that stands still tells nothing.
        assert!(!seen(Some(&known), &woken, &at(5), 9).is_event);
        assert!(seen(Some(&known), &woken, &at(0), 9).is_event);
        let days_off = report(START_US + 2 * 86_400_000_000);
        assert!(seen(Some(&known), &days_off, &at(3), 9).is_event);
    }

    #[test]
    fn unchanged_parameters_change_nothing() {
        let told = inform(&[("Device.DeviceInfo.UpTime", "5")]);
        let before = seen(None, &report(START_US), &told, 1).observed;
        let later = Inform {
            current_time: "2026-11-23T09:00:00Z".into(),
            ..told
        };
        let again = seen(Some(&before), &report(START_US + 3_600_000_000), &later, 2);
        assert_eq!(
            (
                again.parameters,
                again.row_changed,
                again.came,
                again.is_event
            ),
            (ParameterFold::Nothing, false, false, true)
        );
    }

    #[test]
    fn a_bootstrap_replaces_what_was_known_once() {
        let told = Inform {
            events: vec!["0 BOOTSTRAP".into(), "1 BOOT".into()],
            ..inform(&[])
        };
        let first = seen(None, &report(START_US), &told, 1);
        assert_eq!(first.parameters, ParameterFold::Replace);
        let again = seen(
            Some(&first.observed),
            &report(START_US + 1),
            &Inform {
                retry_count: 1,
                ..told
            },
            2,
        );
        assert_eq!(again.parameters, ParameterFold::Nothing);
    }

    #[test]
    fn a_stranger_is_quarantined_until_it_is_trusted() {
        let stranger = Report {
            quarantine_reason: "unknown device".into(),
            ..report(START_US)
        };
        let first = seen(None, &stranger, &inform(&[]), 1);
        assert_eq!(
            (first.came, first.quarantined, first.row_changed),
            (false, true, true)
        );
        let again = seen(
            Some(&first.observed),
            &stranger,
            &inform(&[("X_Vendor.X", "1")]),
            2,
        );
        assert_eq!(
            (again.came, again.quarantined, again.row_changed),
            (false, false, false)
        );
        let trusted = seen(
            Some(&again.observed),
            &report(START_US + 1),
            &inform(&[]),
            3,
        );
        assert_eq!(
            (trusted.came, trusted.quarantined, trusted.row_changed),
            (true, false, true)
        );
    }

    #[test]
    fn a_device_is_not_taken_over() {
        let own = seen(
            None,
            &report(START_US),
            &inform(&[("Device.DeviceInfo.SoftwareVersion", "1")]),
            1,
        )
        .observed;
        let thief = Report {
            via: "00D09E-Proxy-7".into(),
            quarantine_reason: "it has credentials of its own".into(),
            ..report(START_US + 1)
        };
        let told = inform(&[("Device.DeviceInfo.SoftwareVersion", "666")]);

        let Sighting::Refused { observed, news } = fold(Some(&own), &thief, &told, 2) else {
            panic!()
        };
        assert_eq!(news.as_deref(), Some("it has credentials of its own"));
        assert_eq!(
            Observed {
                refused: String::new(),
                position: own.position,
                ..*observed.clone()
            },
            own
        );

        let Sighting::Refused { news, .. } = fold(Some(&observed), &thief, &told, 3) else {
            panic!()
        };
        assert_eq!(news, None, "it is told once");
        // A clone with the device's own credentials is another matter: nobody knows which of the two is meant.
        let clone = Report {
            via: String::new(),
            ..thief
        };
        assert!(seen(Some(&own), &clone, &told, 2).quarantined);
    }

    #[test]
    fn the_root_data_model_is_found() {
        for (told, before, expect) in [
            (
                &[("Device.RootDataModelVersion", "2.15")][..],
                "",
                "Device:2",
            ),
            (
                &[("Device.DeviceSummary", "Device:1.0[](Baseline:1)")],
                "",
                "Device:1",
            ),
            (
                &[("InternetGatewayDevice.DeviceSummary", "x")],
                "",
                "InternetGatewayDevice:1",
            ),
            (
                &[("InternetGatewayDevice.DeviceInfo.UpTime", "5")],
                "",
                "InternetGatewayDevice:1",
            ),
            (&[("Device.DeviceInfo.UpTime", "5")], "", "Device:2"),
            (&[("Device.DeviceInfo.UpTime", "5")], "Device:1", "Device:1"),
            (&[("X_Vendor.A", "5")], "", ""),
        ] {
            let mut observed = Observed {
                root_data_model: before.into(),
                ..Observed::default()
            };
            describe(&mut observed, &parameters(told));
            assert_eq!(observed.root_data_model, expect, "{told:?}");
        }
    }
}
