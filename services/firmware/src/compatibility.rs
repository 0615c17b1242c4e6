//! Whether an artifact fits a device.

use platen_proto::{firmware::v1::Artifact, store::v1::Observed};

/// The TR-069 file type of firmware.
pub(crate) const FIRMWARE: &str = "1 Firmware Upgrade Image";

/// What is known of an artifact and a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The device may have it.
    Fits,
    /// The device runs it already.
    Runs,
    /// The device must not have it: why.
    Unfit(String),
    /// The artifact is restricted by something that the device has not said yet.
    Unknown,
}

/// The version that a device reports once it runs the artifact; empty: nothing it reports tells (a configuration file, say).
pub(crate) fn promised_version(artifact: &Artifact) -> &str {
    // Devices and people spell the words differently; the number counts (XFER-01).
    let is_firmware =
        artifact.file_type.is_empty() || artifact.file_type.trim_start().starts_with("1 ");
    if is_firmware { &artifact.version } else { "" }
}

/// Compares what an artifact demands with what a device has said of itself. `observed`: `None` if it was never seen.
pub(crate) fn fit(artifact: &Artifact, observed: Option<&Observed>) -> Fit {
    let device = Observed::default();
    let device = observed.unwrap_or(&device);
    let demands = artifact.compatibility.clone().unwrap_or_default();
    let mut is_unknown = false;
    for (what, allowed, has) in [
        (
            "manufacturer",
            &demands.manufacturers,
            &[&device.manufacturer][..],
        ),
        (
            "model",
            &demands.models,
            &[&device.model_name, &device.product_class],
        ),
        (
            "hardware version",
            &demands.hardware_versions,
            &[&device.hardware_version],
        ),
        (
            "software version",
            &demands.from_versions,
            &[&device.software_version],
        ),
    ] {
        let mut has = has.iter().filter(|has| !has.is_empty()).peekable();
        if allowed.is_empty() {
            continue;
        }
        let Some(first) = has.peek().map(|first| first.as_str()) else {
            is_unknown = true;
            continue;
        };
        // The version that it already has is no reason to refuse it the same one.
        let runs =
            what == "software version" && !first.is_empty() && first == promised_version(artifact);
        if !runs && !has.any(|has| allowed.iter().any(|allowed| same(allowed, has))) {
            return Fit::Unfit(format!(
                "the artifact is for {what} {}, and the device has {first}",
                allowed.join(", ")
            ));
        }
    }
    if is_unknown {
        Fit::Unknown
    } else if !device.software_version.is_empty()
        && device.software_version == promised_version(artifact)
    {
        Fit::Runs
    } else {
        Fit::Fits
    }
}

/// Names are compared without regard to case and to space around them: devices write theirs in several ways.
fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::firmware::v1::Compatibility;

    fn artifact(compatibility: Compatibility) -> Artifact {
        Artifact {
            version: "2".into(),
            compatibility: Some(compatibility),
            ..Artifact::default()
        }
    }

    fn device() -> Observed {
        Observed {
            manufacturer: "Example".into(),
            model_name: "LaserPro 9".into(),
            product_class: "LaserPro".into(),
            hardware_version: "B".into(),
            software_version: "1".into(),
            ..Observed::default()
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_demand_must_be_met() {
        let any = Compatibility::default;
        for (what, demands, fits) in [
            ("nothing", any(), true),
            (
                "the manufacturer",
                Compatibility {
                    manufacturers: list(&["Other", "EXAMPLE "]),
                    ..any()
                },
                true,
            ),
            (
                "another manufacturer",
                Compatibility {
                    manufacturers: list(&["Other"]),
                    ..any()
                },
                false,
            ),
            (
                "the model name",
                Compatibility {
                    models: list(&["LaserPro 9"]),
                    ..any()
                },
                true,
            ),
            (
                "the product class",
                Compatibility {
                    models: list(&["laserpro"]),
                    ..any()
                },
                true,
            ),
            (
                "another model",
                Compatibility {
                    models: list(&["LaserPro 8"]),
                    ..any()
                },
                false,
            ),
            (
                "another hardware version",
                Compatibility {
                    hardware_versions: list(&["A"]),
                    ..any()
                },
                false,
            ),
            (
                "the version to start from",
                Compatibility {
                    from_versions: list(&["0.9", "1"]),
                    ..any()
                },
                true,
            ),
            (
                "another version to start from",
                Compatibility {
                    from_versions: list(&["1.1"]),
                    ..any()
                },
                false,
            ),
        ] {
            let found = fit(&artifact(demands), Some(&device()));
            assert_eq!(found == Fit::Fits, fits, "{what}: {found:?}");
            assert_eq!(matches!(found, Fit::Unfit(_)), !fits, "{what}: {found:?}");
        }
    }

    #[test]
    fn a_device_that_runs_it_needs_no_transfer() {
        let device = Observed {
            software_version: "2".into(),
            ..device()
        };
        let demands = Compatibility {
            from_versions: list(&["1"]),
            ..Compatibility::default()
        };

        assert_eq!(fit(&artifact(demands), Some(&device)), Fit::Runs);
        let configuration = Artifact {
            file_type: "3 Vendor Configuration File".into(),
            ..artifact(Compatibility::default())
        };
        assert_eq!(
            fit(&configuration, Some(&device)),
            Fit::Fits,
            "a version says nothing about a configuration"
        );
    }

    #[test]
    fn what_the_device_has_not_said_decides_nothing_yet() {
        let demands = Compatibility {
            manufacturers: list(&["Example"]),
            ..Compatibility::default()
        };

        assert_eq!(fit(&artifact(demands.clone()), None), Fit::Unknown);
        assert_eq!(fit(&artifact(Compatibility::default()), None), Fit::Fits);
        let stranger = Observed {
            model_name: "LaserPro 8".into(),
            ..Observed::default()
        };
        let both = Compatibility {
            models: list(&["LaserPro 9"]),
            ..demands
        };
        assert!(
            matches!(fit(&artifact(both), Some(&stranger)), Fit::Unfit(_)),
            "one demand that is not met is enough"
        );
    }
}
