//! What a device is, as far as the Inform at hand says it: folded into what is stored, since the service that stores it may be behind.

use platen_proto::{
    event::v1::Inform, operation::v1::ParameterValue, report::v1::Report, store::v1::Observed,
};

/// The version of the software among values that a device gave, whichever root its data model has.
pub(crate) fn software_version(values: &[ParameterValue]) -> Option<&str> {
    below_root(values, "DeviceInfo.SoftwareVersion").filter(|version| !version.is_empty())
}

/// `stored`, with what the report says of what artifacts are restricted by.
pub(crate) fn observed(stored: Option<Observed>, report: &Report, inform: &Inform) -> Observed {
    let mut observed = stored.unwrap_or_default();
    observed.product_class.clone_from(&report.product_class);
    for (field, path) in [
        (&mut observed.manufacturer, "DeviceInfo.Manufacturer"),
        (&mut observed.model_name, "DeviceInfo.ModelName"),
        (&mut observed.hardware_version, "DeviceInfo.HardwareVersion"),
        (&mut observed.software_version, "DeviceInfo.SoftwareVersion"),
    ] {
        if let Some(value) = below_root(&inform.parameters, path) {
            value.clone_into(field);
        }
    }
    observed
}

fn below_root<'a>(values: &'a [ParameterValue], path: &str) -> Option<&'a str> {
    let found = values.iter().find(|value| {
        let below = ["Device.", "InternetGatewayDevice."]
            .into_iter()
            .find_map(|root| value.path.strip_prefix(root));
        below == Some(path)
    });
    found.map(|value| value.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_below_either_root() {
        let value = |path: &str| ParameterValue {
            path: path.into(),
            value: "2".into(),
            ..ParameterValue::default()
        };
        for (path, expected) in [
            ("Device.DeviceInfo.SoftwareVersion", Some("2")),
            (
                "InternetGatewayDevice.DeviceInfo.SoftwareVersion",
                Some("2"),
            ),
            ("Device.DeviceInfo.SoftwareVersionDate", None),
            ("X_Vendor.DeviceInfo.SoftwareVersion", None),
        ] {
            assert_eq!(software_version(&[value(path)]), expected, "{path}");
        }
    }

    #[test]
    fn the_inform_at_hand_counts_and_the_rest_stays() {
        let stored = Observed {
            manufacturer: "Example".into(),
            software_version: "1".into(),
            ..Observed::default()
        };
        let version = ParameterValue {
            path: "Device.DeviceInfo.SoftwareVersion".into(),
            value: "2".into(),
            ..ParameterValue::default()
        };
        let inform = Inform {
            parameters: vec![version],
            ..Inform::default()
        };

        let observed = observed(
            Some(stored),
            &Report {
                product_class: "P".into(),
                ..Report::default()
            },
            &inform,
        );

        let found = [
            observed.manufacturer.as_str(),
            &observed.software_version,
            &observed.product_class,
        ];
        assert_eq!(found, ["Example", "2", "P"]);
    }
}
