//! What a report says of meters.

use platen_datamodel::{
    meter::{Meter, NO_DATA},
    path::Path,
    time,
};
use platen_proto::{
    metering::v1::Quality,
    operation::v1::ParameterValue,
    report::v1::{Report, command_done::Outcome, report::Body},
};
use sha2::{Digest, Sha256};

/// All meters of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    /// When the device read them, as it sent it: the read time of the counters, else the Inform's CurrentTime; empty: it sent none.
    pub device_time: String,
    /// In order of their paths, one per path; never empty.
    pub values: Vec<MeterReading>,
}

/// One meter as reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterReading {
    /// Which.
    pub meter: Meter,
    /// Number of the imaging service.
    pub instance: u32,
    /// Path of the parameter, as sent.
    pub source: String,
    /// The value.
    pub value: u64,
    /// What the device says of it: ACTUAL unless it says otherwise.
    pub quality: Quality,
}

impl Readings {
    /// The meters of a report; `None` if it carries none, or if the device is in quarantine: what nobody vouches for is not metered.
    ///
    /// A value that says "no data", or that is not a number, is absent, not zero (MET-13). Of a parameter that comes twice the last counts.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        if !report.quarantine_reason.is_empty() {
            return None;
        }
        let (parameters, current_time) = match report.body.as_ref()? {
            Body::Inform(inform) => (&inform.parameters, inform.current_time.as_str()),
            Body::CommandDone(done) => match done.outcome.as_ref()? {
                Outcome::Result(result) => (&result.values, ""),
                Outcome::Fault(_) | Outcome::Failed(_) => return None,
            },
            Body::TransferComplete(_) | Body::DeviceRequest(_) | Body::Woken(_) => return None,
        };
        Self::collect(parameters, current_time)
    }

    /// Equal for equal meters, values and qualities; and for nothing else.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hasher = Sha256::new();
        for reading in &self.values {
            hasher.update((reading.source.len() as u64).to_be_bytes());
            hasher.update(&reading.source);
            hasher.update(reading.value.to_be_bytes());
            hasher.update(i32::from(reading.quality).to_be_bytes());
        }
        let hash = hasher.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        short
    }

    fn collect(parameters: &[ParameterValue], current_time: &str) -> Option<Self> {
        let mut values: Vec<MeterReading> = Vec::new();
        // Most reports carry no meter: nothing is allocated for them.
        for parameter in parameters {
            let Some((meter, instance)) = Meter::from_path(&parameter.path) else {
                continue;
            };
            let Some(value) = parameter
                .value
                .trim()
                .parse()
                .ok()
                .filter(|&value| value != NO_DATA)
            else {
                continue;
            };
            values.push(MeterReading {
                meter,
                instance,
                source: parameter.path.clone(),
                value,
                quality: Quality::Actual,
            });
        }
        if values.is_empty() {
            return None;
        }
        // Stable: of equal paths the last one sent stays last, and is the one that counts.
        values.sort_by(|a, b| a.source.cmp(&b.source));
        values.reverse();
        values.dedup_by(|later, earlier| later.source == earlier.source);
        values.reverse();

        let mut device_time = current_time;
        for parameter in parameters {
            let Some((instance, name)) = of_counters(&parameter.path) else {
                continue;
            };
            match name {
                "ReadTime" if parameter.value != time::UNKNOWN => device_time = &parameter.value,
                "Quality" => {
                    let quality = match parameter.value.as_str() {
                        "Stale" => Quality::Stale,
                        "Suspect" => Quality::Suspect,
                        "Estimated" => Quality::Estimated,
                        _ => Quality::Actual,
                    };
                    for value in values.iter_mut().filter(|value| value.instance == instance) {
                        value.quality = quality;
                    }
                }
                _ => {}
            }
        }
        Some(Self {
            device_time: device_time.to_owned(),
            values,
        })
    }
}

/// Instance and name of a parameter that stands directly below an imaging service's `Counters.`.
fn of_counters(path: &str) -> Option<(u32, &'static str)> {
    let name = ["ReadTime", "Quality"]
        .into_iter()
        .find(|name| path.ends_with(name))?;
    let canonical = path.parse::<Path>().ok()?.canonical();
    let rest = canonical
        .as_str()
        .strip_prefix(platen_datamodel::path::SERVICES)?;
    let (instance, rest) = rest.split_once('.')?;
    (rest.strip_prefix("Counters.") == Some(name)).then_some((instance.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::{
        event::v1::Inform, operation::v1::OperationResult, report::v1::CommandDone,
    };

    fn parameters(values: &[(&str, &str)]) -> Vec<ParameterValue> {
        values
            .iter()
            .map(|(path, value)| ParameterValue {
                path: (*path).into(),
                value: (*value).into(),
                r#type: String::new(),
            })
            .collect()
    }

    fn inform(values: &[(&str, &str)]) -> Report {
        let inform = Inform {
            current_time: "2026-11-23T08:00:00Z".into(),
            parameters: parameters(values),
            ..Inform::default()
        };
        Report {
            body: Some(Body::Inform(inform)),
            ..Report::default()
        }
    }

    const TOTAL: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";

    #[test]
    fn meters_are_found_among_other_parameters() {
        let found = Readings::of(&inform(&[
            ("Device.DeviceInfo.SoftwareVersion", "1.4"),
            (
                "Device.Services.MFPService.2.Counters.Scan.TotalImages",
                "7",
            ),
            (TOTAL, " 81234 "),
            (
                "Device.Services.MFPService.1.Counters.Fax.SentPages",
                "18446744073709551615",
            ),
            (
                "Device.Services.MFPService.1.Counters.Total.Jams",
                "unknown",
            ),
            (
                "Device.Services.MFPService.1.Counters.Total.TotalSheets",
                "-1",
            ),
        ]))
        .unwrap();
        let values: Vec<_> = found
            .values
            .iter()
            .map(|value| (value.meter.name(), value.instance, value.value))
            .collect();
        assert_eq!(values, [("TOTAL", 1, 81_234), ("SCAN", 2, 7)]);
        assert_eq!(found.device_time, "2026-11-23T08:00:00Z");
    }

    #[test]
    fn of_a_parameter_sent_twice_the_last_counts() {
        let found = Readings::of(&inform(&[(TOTAL, "1"), (TOTAL, "3"), (TOTAL, "2")])).unwrap();
        assert_eq!(
            found
                .values
                .iter()
                .map(|value| value.value)
                .collect::<Vec<_>>(),
            [2]
        );
    }

    #[test]
    fn the_device_says_when_and_how_well_it_read() {
        let found = Readings::of(&inform(&[
            (
                "Device.Services.X_00D09E_MFPService.1.Counters.Quality",
                "Stale",
            ),
            ("Device.Services.MFPService.2.Counters.Quality", "Actual"),
            (
                "Device.Services.MFPService.1.Counters.ReadTime",
                "2026-11-23T07:55:00Z",
            ),
            (
                "Device.Services.MFPService.2.Counters.ReadTime",
                time::UNKNOWN,
            ),
            (TOTAL, "5"),
            (
                "Device.Services.MFPService.2.Counters.Total.TotalImpressions",
                "6",
            ),
        ]))
        .unwrap();
        assert_eq!(found.device_time, "2026-11-23T07:55:00Z");
        assert_eq!(
            found
                .values
                .iter()
                .map(|value| value.quality)
                .collect::<Vec<_>>(),
            [Quality::Stale, Quality::Actual]
        );
    }

    #[test]
    fn what_carries_no_meter_is_no_reading() {
        let done = |outcome| Report {
            body: Some(Body::CommandDone(CommandDone {
                outcome,
                ..CommandDone::default()
            })),
            ..Report::default()
        };
        let values = parameters(&[(TOTAL, "9")]);
        let read = Readings::of(&done(Some(Outcome::Result(OperationResult {
            values,
            ..OperationResult::default()
        }))))
        .unwrap();
        assert_eq!((read.device_time.as_str(), read.values[0].value), ("", 9));

        assert_eq!(
            Readings::of(&done(Some(Outcome::Failed("no answer".into())))),
            None
        );
        assert_eq!(Readings::of(&done(None)), None);
        assert_eq!(
            Readings::of(&inform(&[("Device.DeviceInfo.UpTime", "9")])),
            None
        );
        assert_eq!(Readings::of(&Report::default()), None);
        let stranger = Report {
            quarantine_reason: "unknown device".into(),
            ..inform(&[(TOTAL, "9")])
        };
        assert_eq!(Readings::of(&stranger), None);
    }
}
