//! Diagnostics: what is set so that a device begins one, and what its results say.

use crate::value;
use platen_proto::operation::v1::{
    Diagnostic, DiagnosticResult, IpPing, OperationError, OperationResult, ParameterValue,
    diagnostic::Kind,
};
use platen_store::progress::End;

/// How long (µs) a device has for the report of a diagnostic, beyond the time that the test itself may take.
const PATIENCE_US: i64 = 600_000_000;

/// The object of a diagnostic in a data model with this root, ending in a dot. `None`: the diagnostic says no kind.
pub(crate) fn object(diagnostic: &Diagnostic, root: &str) -> Option<String> {
    let Kind::IpPing(_) = diagnostic.kind.as_ref()?;
    // TR-181 and TR-098 (DIAG-01 ff.).
    let below = if root == "InternetGatewayDevice." {
        "IPPingDiagnostics."
    } else {
        "IP.Diagnostics.IPPing."
    };
    Some(format!("{root}{below}"))
}

/// What to set, in one command, so that the device begins once the session is over: arguments first, the request last (DIAG-01).
pub(crate) fn request(diagnostic: &Diagnostic, object: &str) -> Vec<ParameterValue> {
    let value = |name: &str, value: &str, kind: &str| ParameterValue {
        path: format!("{object}{name}"),
        value: value.to_owned(),
        r#type: kind.to_owned(),
    };
    let mut values = Vec::new();
    if let Some(Kind::IpPing(ping)) = &diagnostic.kind {
        values.push(value("Host", &ping.host, "xsd:string"));
        for (name, number) in [
            ("NumberOfRepetitions", ping.number_of_repetitions),
            ("Timeout", ping.timeout_ms),
            ("DataBlockSize", ping.data_block_size),
        ] {
            if number > 0 {
                values.push(value(name, &number.to_string(), "xsd:unsignedInt"));
            }
        }
    }
    values.push(value("DiagnosticsState", "Requested", "xsd:string"));
    values
}

/// What the parameters of the object say. `None`: the diagnostic is not over.
///
/// The state alone does not tell whose results these are: who asks for another one overwrites them, and then the arguments differ.
pub(crate) fn concluded(
    diagnostic: &Diagnostic,
    object: &str,
    read: &OperationResult,
) -> Option<End> {
    // Of several answers the last one counts.
    let found = |path: &str| read.values.iter().rev().find(|value| value.path == path);
    let text = |name: &str| {
        found(&format!("{object}{name}")).map_or("", |parameter| parameter.value.trim())
    };
    let number = |name: &str| text(name).parse().unwrap_or_default();
    let state = text("DiagnosticsState");
    if state.is_empty() {
        return Some(End::failed(
            FAILED,
            format!("the device has no {object}DiagnosticsState"),
        ));
    }
    // Data models disagree on the word for success (DIAG-04).
    let word = state.to_ascii_lowercase();
    let is_complete = matches!(word.as_str(), "complete" | "completed");
    let is_failed = word.starts_with("error") || word.starts_with("cancel");
    if !is_complete && !is_failed {
        // Requested, or None after a reboot: the deadline decides (DIAG-07, DIAG-13).
        return None;
    }
    let overwritten = request(diagnostic, object).into_iter().find(|wanted| {
        !wanted.path.ends_with(".DiagnosticsState")
            && found(&wanted.path)
                .is_some_and(|read| !value::same(&wanted.r#type, &wanted.value, &read.value))
    });
    if let Some(argument) = overwritten {
        return Some(End::unknown(&format!(
            "the results are of another diagnostic: {} has changed since",
            argument.path
        )));
    }
    let result = OperationResult {
        diagnostic: Some(DiagnosticResult {
            state: state.to_owned(),
            success_count: number("SuccessCount"),
            failure_count: number("FailureCount"),
            average_response_time: number("AverageResponseTime"),
            minimum_response_time: number("MinimumResponseTime"),
            maximum_response_time: number("MaximumResponseTime"),
        }),
        ..OperationResult::default()
    };
    if is_complete {
        return Some(End::Succeeded(result));
    }
    let error = OperationError {
        code: FAILED.to_owned(),
        message: state.to_owned(),
        cwmp_fault: None,
    };
    Some(End::Failed(error, result))
}

/// How long (µs) after the device took it a diagnostic may last.
pub(crate) fn patience_us(diagnostic: &Diagnostic) -> i64 {
    let test_ms = match &diagnostic.kind {
        Some(Kind::IpPing(IpPing {
            number_of_repetitions,
            timeout_ms,
            ..
        })) => i64::from(*number_of_repetitions).saturating_mul(i64::from(*timeout_ms)),
        None => 0,
    };
    test_ms.saturating_mul(1_000).saturating_add(PATIENCE_US)
}

/// The code of an end that the device itself calls an error.
const FAILED: &str = "DIAGNOSTIC_FAILED";

#[cfg(test)]
mod tests {
    use super::*;

    fn ping() -> Diagnostic {
        Diagnostic {
            kind: Some(Kind::IpPing(IpPing {
                host: "192.0.2.1".into(),
                number_of_repetitions: 3,
                timeout_ms: 2_000,
                data_block_size: 0,
            })),
        }
    }

    const OBJECT: &str = "Device.IP.Diagnostics.IPPing.";

    fn read(values: &[(&str, &str)]) -> OperationResult {
        let values = values.iter().map(|(name, value)| ParameterValue {
            path: format!("{OBJECT}{name}"),
            value: (*value).to_owned(),
            r#type: String::new(),
        });
        OperationResult {
            values: values.collect(),
            ..OperationResult::default()
        }
    }

    #[test]
    fn the_object_follows_from_the_root() {
        for (root, expected) in [
            ("Device.", OBJECT),
            (
                "InternetGatewayDevice.",
                "InternetGatewayDevice.IPPingDiagnostics.",
            ),
        ] {
            assert_eq!(object(&ping(), root).as_deref(), Some(expected));
        }
        assert_eq!(object(&Diagnostic::default(), "Device."), None);
    }

    #[test]
    fn the_request_comes_last_and_brings_what_was_given() {
        let values: Vec<_> = request(&ping(), OBJECT)
            .into_iter()
            .map(|v| (v.path[OBJECT.len()..].to_owned(), v.value, v.r#type))
            .collect();
        let expected = [
            ("Host", "192.0.2.1", "xsd:string"),
            ("NumberOfRepetitions", "3", "xsd:unsignedInt"),
            ("Timeout", "2000", "xsd:unsignedInt"),
            ("DiagnosticsState", "Requested", "xsd:string"),
        ];
        assert_eq!(
            values,
            expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        );
    }

    #[test]
    fn the_state_says_whether_it_is_over_and_how() {
        for (values, expected) in [
            (&[("DiagnosticsState", "Complete")][..], Some("SUCCEEDED")),
            (&[("DiagnosticsState", "completed")], Some("SUCCEEDED")),
            (&[("DiagnosticsState", "Requested")], None),
            (&[("DiagnosticsState", "None")], None),
            (
                &[("DiagnosticsState", "Error_CannotResolveHostName")],
                Some(FAILED),
            ),
            (&[("DiagnosticsState", "Error_Vendor")], Some(FAILED)),
            (&[("DiagnosticsState", "Canceled")], Some(FAILED)),
            (&[("SuccessCount", "3")], Some(FAILED)),
            (
                &[("DiagnosticsState", "Complete"), ("Host", "192.0.2.1")],
                Some("SUCCEEDED"),
            ),
            (
                &[("DiagnosticsState", "Complete"), ("Host", "192.0.2.2")],
                Some("OUTCOME_UNKNOWN"),
            ),
            (
                &[
                    ("DiagnosticsState", "Requested"),
                    ("DiagnosticsState", "Complete"),
                ],
                Some("SUCCEEDED"),
            ),
        ] {
            let found = concluded(&ping(), OBJECT, &read(values)).map(|end| match end {
                End::Succeeded(_) => "SUCCEEDED".to_owned(),
                End::Failed(error, _) => error.code,
                other => panic!("{other:?}"),
            });
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn the_results_are_numbers() {
        let values = [
            ("DiagnosticsState", "Complete"),
            ("SuccessCount", "2"),
            ("FailureCount", "1"),
            ("AverageResponseTime", "12"),
            ("MinimumResponseTime", "10"),
            ("MaximumResponseTime", "many"),
        ];
        let Some(End::Succeeded(result)) = concluded(&ping(), OBJECT, &read(&values)) else {
            panic!("not a success")
        };
        let expected = DiagnosticResult {
            state: "Complete".into(),
            success_count: 2,
            failure_count: 1,
            average_response_time: 12,
            minimum_response_time: 10,
            maximum_response_time: 0,
        };
        assert_eq!(result.diagnostic, Some(expected));
        assert!(result.values.is_empty());
    }

    #[test]
    fn the_test_itself_may_last() {
        assert_eq!(patience_us(&ping()), PATIENCE_US + 6_000_000);
    }
}
