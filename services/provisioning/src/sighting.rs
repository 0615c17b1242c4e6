//! What a device is, as far as the Inform at hand says it: folded into what is stored, since the service that stores it may be behind.

use platen_proto::{event::v1::Inform, report::v1::Report, store::v1::Observed};

/// The root of a parameter's path (`Device.`), if it is one of the standard ones.
pub(crate) fn root(path: &str) -> Option<&'static str> {
    ["Device.", "InternetGatewayDevice."]
        .into_iter()
        .find(|root| path.starts_with(root))
}

/// The value of a parameter below the root, whichever root the device has.
pub(crate) fn below_root<'a>(inform: &'a Inform, path: &str) -> Option<&'a str> {
    let found = inform.parameters.iter().find(|parameter| {
        root(&parameter.path).is_some_and(|root| &parameter.path[root.len()..] == path)
    });
    found.map(|parameter| parameter.value.as_str())
}

/// Whether a parameter goes into the device as selectors see it.
pub(crate) fn describes_device(path: &str) -> bool {
    root(path).is_some_and(|root| {
        matches!(
            &path[root.len()..],
            "DeviceInfo.Manufacturer"
                | "DeviceInfo.ModelName"
                | "DeviceInfo.SoftwareVersion"
                | "DeviceInfo.HardwareVersion"
                | "RootDataModelVersion"
                | "DeviceSummary"
                | "ManagementServer.ConnectionRequestURL"
        )
    })
}

/// `stored`, with what the report says.
pub(crate) fn observed(stored: Option<Observed>, report: &Report, inform: &Inform) -> Observed {
    let mut observed = stored.unwrap_or_else(|| Observed {
        first_inform_us: report.time_us,
        ..Observed::default()
    });
    observed.tenant.clone_from(&report.tenant);
    observed.device.clone_from(&report.device);
    observed.oui.clone_from(&report.oui);
    observed.product_class.clone_from(&report.product_class);
    observed.serial_number.clone_from(&report.serial_number);
    observed
        .quarantine_reason
        .clone_from(&report.quarantine_reason);
    observed.last_inform_us = observed.last_inform_us.max(report.time_us);
    observed.proxied_by.clone_from(&report.via);
    if !report.manufacturer.is_empty() {
        observed.manufacturer.clone_from(&report.manufacturer);
    }
    let said = |field: &mut String, path| {
        if let Some(value) = below_root(inform, path) {
            value.clone_into(field);
        }
    };
    said(&mut observed.manufacturer, "DeviceInfo.Manufacturer");
    said(&mut observed.model_name, "DeviceInfo.ModelName");
    said(&mut observed.software_version, "DeviceInfo.SoftwareVersion");
    said(&mut observed.hardware_version, "DeviceInfo.HardwareVersion");
    said(
        &mut observed.connection_request_url,
        "ManagementServer.ConnectionRequestURL",
    );
    if observed.root_data_model.is_empty()
        && let Some(root) = inform
            .parameters
            .iter()
            .find_map(|parameter| root(&parameter.path))
    {
        let major = match (root, below_root(inform, "RootDataModelVersion")) {
            ("Device.", Some(version)) => version.split('.').next().unwrap_or_default(),
            _ => "1",
        };
        observed.root_data_model = format!("{}:{major}", root.trim_end_matches('.'));
    }
    observed
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::operation::v1::ParameterValue;

    fn inform(parameters: &[(&str, &str)]) -> Inform {
        Inform {
            parameters: parameters
                .iter()
                .map(|(path, value)| ParameterValue {
                    path: (*path).to_owned(),
                    value: (*value).to_owned(),
                    r#type: String::new(),
                })
                .collect(),
            ..Inform::default()
        }
    }

    #[test]
    fn the_inform_at_hand_counts_and_the_rest_stays() {
        let stored = Observed {
            manufacturer: "Example".into(),
            software_version: "1".into(),
            ..Observed::default()
        };
        let report = Report {
            tenant: "t".into(),
            device: "d".into(),
            via: "proxy".into(),
            time_us: 7,
            ..Report::default()
        };

        let observed = observed(
            Some(stored),
            &report,
            &inform(&[("InternetGatewayDevice.DeviceInfo.SoftwareVersion", "2")]),
        );

        assert_eq!(
            (
                observed.manufacturer.as_str(),
                observed.software_version.as_str()
            ),
            ("Example", "2")
        );
        assert_eq!(observed.proxied_by, "proxy");
        assert_eq!(observed.root_data_model, "InternetGatewayDevice:1");
    }

    #[test]
    fn the_root_data_model_is_known_from_the_first_inform() {
        for (parameters, expected) in [
            (&[("Device.RootDataModelVersion", "2.12")][..], "Device:2"),
            (&[("Device.DeviceSummary", "x")][..], "Device:1"),
            (&[("X_Vendor.A", "x")][..], ""),
        ] {
            assert_eq!(
                observed(None, &Report::default(), &inform(parameters)).root_data_model,
                expected
            );
        }
    }
}
