//! Diagnostics: what is set so that a device begins one, and what its results say.

use crate::value;
use platen_cwmp::{
    date_time::{DateTime, Meaning},
    fault::FaultCode,
};
use platen_proto::{
    device::v1::CwmpFault,
    diagnostic::{self, Field, Given},
    operation::v1::{
        Diagnostic, DiagnosticResult, OperationError, OperationResult, ParameterValue,
        data_model_parameter::{Effort, Format},
    },
};
use platen_store::progress::End;
use prost_reflect::{DynamicMessage, Kind as Type, MessageDescriptor, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How long (µs) a device has for the report of a diagnostic, beyond the time that the test itself may take.
const PATIENCE_US: i64 = 600_000_000;

/// The code of an end that the device itself calls an error.
const FAILED: &str = "DIAGNOSTIC_FAILED";

/// A diagnostic, as it stands in the data model of one device.
#[derive(Debug)]
pub(crate) struct Test {
    /// Path of its object, with a dot at the end.
    pub(crate) object: String,
    /// Name of the parameter that starts it and says how it goes. `None`: its arguments are all, and it is over once they are set.
    state: Option<String>,
    arguments: Vec<Argument>,
    in_gateway: bool,
}

#[derive(Debug)]
struct Argument {
    value: ParameterValue,
    format: Format,
}

impl Test {
    /// `None`: the diagnostic says no kind, or the data model with this root has none like it.
    pub(crate) fn of(asked: &Diagnostic, root: &str) -> Option<Self> {
        let (kind, message) = diagnostic::asked(asked)?;
        let in_gateway = root == "InternetGatewayDevice.";
        let mut path = if in_gateway {
            kind.object.gateway.clone()
        } else {
            kind.object.device.clone()
        };
        let mut given: Vec<(&Field, Given)> = Vec::new();
        for field in &kind.arguments {
            let Some(argument) = field.given(&message) else {
                continue;
            };
            let hole = format!("{{{}}}", field.descriptor.name());
            if path.contains(&hole) {
                let above = argument.to_string();
                path = path.replace(&hole, &format!("{}.", above.trim_end_matches('.')));
            } else {
                given.push((field, argument));
            }
        }
        let (object, state) = path.rsplit_once('.')?;
        if object.contains('{') {
            return None;
        }
        let argument = |(field, given): (&Field, Given)| Argument {
            value: ParameterValue {
                path: format!("{object}.{}", name(field, in_gateway)),
                value: given.to_string(),
                r#type: given.xsd_type().to_owned(),
            },
            format: field.parameter.format(),
        };
        Some(Self {
            object: format!("{object}."),
            state: (!state.is_empty()).then(|| state.to_owned()),
            arguments: given.into_iter().map(argument).collect(),
            in_gateway,
        })
    }

    /// What to set, in one command, so that the device begins once the session is over: arguments first, the request last (DIAG-01).
    pub(crate) fn whole(&self) -> Vec<ParameterValue> {
        let mut values = self.arguments();
        values.extend(self.request());
        values
    }

    /// The arguments alone.
    pub(crate) fn arguments(&self) -> Vec<ParameterValue> {
        let values = self.arguments.iter().map(|argument| &argument.value);
        values.cloned().collect()
    }

    /// The request alone.
    pub(crate) fn request(&self) -> Option<ParameterValue> {
        let state = self.state.as_ref()?;
        Some(ParameterValue {
            path: format!("{}{state}", self.object),
            value: "Requested".to_owned(),
            r#type: "xsd:string".to_owned(),
        })
    }

    /// Whether a device that refuses it whole may take the arguments first and then the request (DIAG-16): it calls the arguments invalid, and misses none.
    pub(crate) fn may_go_in_steps(&self, fault: &CwmpFault) -> bool {
        let missing = i64::from(FaultCode::INVALID_PARAMETER_NAME.0);
        let mut parts = fault.parameter_faults.iter();
        i64::from(fault.code) == i64::from(FaultCode::INVALID_ARGUMENTS.0)
            && parts.all(|part| i64::from(part.code) != missing)
            && !self.is_instant()
            && !self.arguments.is_empty()
    }

    /// Whether it is over once it has been asked for: the device reports no end.
    pub(crate) const fn is_instant(&self) -> bool {
        self.state.is_none()
    }

    /// What the parameters of the object say. `None`: the diagnostic is not over.
    ///
    /// The state alone does not tell whose results these are: who asks for another one overwrites them, and then the arguments differ.
    pub(crate) fn concluded(&self, read: &OperationResult) -> Option<End> {
        // Of several answers the last one counts.
        let values: BTreeMap<&str, &str> = read
            .values
            .iter()
            .filter_map(|value| Some((value.path.strip_prefix(&self.object)?, value.value.trim())))
            .collect();
        let state = match &self.state {
            None => "",
            Some(name) => match values.get(name.as_str()) {
                Some(state) if !state.is_empty() => state,
                _ => {
                    let why = format!("the device has no {}{name}", self.object);
                    return Some(End::failed(FAILED, why));
                }
            },
        };
        // Data models disagree on the word for success (DIAG-04); whatever else begins with Error is a failure (DIAG-05).
        let word = state.to_ascii_lowercase();
        let is_complete = matches!(word.as_str(), "" | "complete" | "completed");
        let is_failed = word.starts_with("error") || word.starts_with("cancel");
        if !is_complete && !is_failed {
            // Requested, or None after a reboot: the deadline decides (DIAG-07, DIAG-13).
            return None;
        }
        if let Some(argument) = self.arguments.iter().find(|it| it.is_overwritten(read)) {
            return Some(End::unknown(&format!(
                "the results are of another diagnostic: {} has changed since",
                argument.value.path
            )));
        }
        let result = OperationResult {
            diagnostic: Some(Box::new(self.result(state, &values))),
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

    fn result(&self, state: &str, values: &BTreeMap<&str, &str>) -> DiagnosticResult {
        let read = Read {
            values,
            in_gateway: self.in_gateway,
        };
        let message = read.row(diagnostic::result_type(), diagnostic::results(), "");
        let mut result: DiagnosticResult = message.transcode_to().unwrap_or_default();
        state.clone_into(&mut result.state);
        result.throughput = throughput(&result);
        result
    }
}

impl Argument {
    /// Whether the device has another value than the one that it was given.
    fn is_overwritten(&self, read: &OperationResult) -> bool {
        let wanted = self.value.value.as_str();
        // Left to the device, it may say what it chose.
        if wanted.is_empty() {
            return false;
        }
        let mut found = read.values.iter().rev();
        found
            .find(|value| value.path == self.value.path)
            .is_some_and(|read| !self.is_same(wanted, read.value.trim()))
    }

    fn is_same(&self, wanted: &str, read: &str) -> bool {
        match self.format {
            // With the dot at its end or without (DIAG-15).
            Format::Path => wanted.trim_end_matches('.') == read.trim_end_matches('.'),
            Format::Host => wanted.split(',').eq(read.split(',').map(str::trim)),
            _ => value::same(&self.value.r#type, wanted, read),
        }
    }
}

/// How long (µs) after the device took it a diagnostic may last.
pub(crate) fn patience_us(asked: &Diagnostic) -> i64 {
    let (mut times, mut milliseconds, mut seconds) = (1_i64, 0_i64, 0_i64);
    if let Some((kind, message)) = diagnostic::asked(asked) {
        for field in &kind.arguments {
            let number = match field.given(&message) {
                Some(Given::Number(number)) => i64::try_from(number).unwrap_or(i64::MAX),
                Some(Given::List(items)) => i64::try_from(items.len()).unwrap_or(i64::MAX),
                Some(Given::Text(_) | Given::Flag(_)) | None => continue,
            };
            match field.parameter.effort() {
                Effort::Times => times = times.saturating_mul(number),
                Effort::Milliseconds => milliseconds = milliseconds.saturating_add(number),
                Effort::Seconds => seconds = seconds.saturating_add(number),
                Effort::Unspecified => {}
            }
        }
    }
    let test_us = times
        .saturating_mul(milliseconds)
        .saturating_add(seconds.saturating_mul(1_000))
        .saturating_mul(1_000);
    test_us.saturating_add(PATIENCE_US)
}

/// Bits per second between the first and the last byte (DIAG-11).
fn throughput(result: &DiagnosticResult) -> Option<u64> {
    let micros = |time: &Option<prost_types::Timestamp>| {
        time.map(|time| i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1_000))
    };
    let bytes = result
        .test_bytes_received
        .or(result.test_bytes_sent)
        .or(result.total_bytes_sent)?;
    let took_us = micros(&result.eom_time)? - micros(&result.bom_time)?;
    if took_us <= 0 {
        return None;
    }
    u64::try_from(i128::from(bytes) * 8_000_000 / took_us).ok()
}

/// What a parameter is called.
fn name(field: &Field, in_gateway: bool) -> &str {
    if in_gateway {
        &field.parameter.gateway_name
    } else {
        &field.parameter.name
    }
}

/// Values by their paths below the object of a diagnostic.
#[derive(Debug)]
struct Read<'a> {
    values: &'a BTreeMap<&'a str, &'a str>,
    in_gateway: bool,
}

impl Read<'_> {
    /// A message of what stands below `prefix`; a parameter that is not there, or makes no sense, leaves its field out.
    fn row(&self, message: &MessageDescriptor, fields: &[Field], prefix: &str) -> DynamicMessage {
        let mut row = DynamicMessage::new(message.clone());
        for field in fields {
            let path = format!("{prefix}{}", name(field, self.in_gateway));
            let value = match field.descriptor.kind() {
                Type::Message(columns) if field.descriptor.is_list() => {
                    self.table(&columns, &field.columns, &path)
                }
                _ => self
                    .values
                    .get(path.as_str())
                    .and_then(|text| value_of(field, text)),
            };
            if let Some(value) = value {
                row.set_field(&field.descriptor, value);
            }
        }
        row
    }

    /// The rows of a table, in the order of their numbers. Two tables may have one name: a row that has none of the columns belongs to the other.
    fn table(&self, message: &MessageDescriptor, columns: &[Field], path: &str) -> Option<Value> {
        let start = format!("{path}.");
        let numbers: BTreeSet<u32> = self
            .values
            .range(start.as_str()..)
            .map_while(|(below, _)| below.strip_prefix(&start))
            .filter_map(|below| below.split('.').next()?.parse().ok())
            .collect();
        let rows: Vec<Value> = numbers
            .into_iter()
            .map(|number| self.row(message, columns, &format!("{start}{number}.")))
            .filter(|row| row.fields().next().is_some())
            .map(Value::Message)
            .collect();
        (!rows.is_empty()).then_some(Value::List(rows))
    }
}

/// The value of a field. `None`: the text is none of its type.
fn value_of(field: &Field, text: &str) -> Option<Value> {
    let kind = field.descriptor.kind();
    if !field.descriptor.is_list() {
        return scalar(&kind, text);
    }
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items
        .map(|item| scalar(&kind, item))
        .collect::<Option<Vec<_>>>()
        .map(Value::List)
}

fn scalar(kind: &Type, text: &str) -> Option<Value> {
    match kind {
        Type::String => Some(Value::String(text.to_owned())),
        Type::Uint32 => text.parse().ok().map(Value::U32),
        Type::Uint64 => text.parse().ok().map(Value::U64),
        Type::Int32 => text.parse().ok().map(Value::I32),
        Type::Bool => value::boolean(text).map(Value::Bool),
        // To the microsecond, for speeds are computed from it (DIAG-11).
        Type::Message(timestamp) => match DateTime::from_text(text).meaning() {
            Meaning::At { time, .. } => {
                let mut message = DynamicMessage::new(timestamp.clone());
                message.set_field_by_name("seconds", Value::I64(time.as_second()));
                message.set_field_by_name("nanos", Value::I32(time.subsec_nanosecond()));
                Some(Value::Message(message))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::operation::v1::{
        AdslLineTest, DnsAnswer, DownloadDiagnostics, IpPing, NsLookup, RouteHop, SelfTest,
        ServerSelectionDiagnostics, TraceRoute, UdpEchoConfig, diagnostic::Kind,
    };

    const DEVICE: &str = "Device.";
    const GATEWAY: &str = "InternetGatewayDevice.";

    fn asked(kind: Kind) -> Diagnostic {
        Diagnostic { kind: Some(kind) }
    }

    fn ping() -> Diagnostic {
        asked(Kind::IpPing(IpPing {
            host: "192.0.2.1".into(),
            number_of_repetitions: Some(3),
            timeout_ms: Some(2_000),
            interface: Some("Device.IP.Interface.1".into()),
            ..IpPing::default()
        }))
    }

    fn test(diagnostic: &Diagnostic, root: &str) -> Test {
        Test::of(diagnostic, root).unwrap()
    }

    fn read(test: &Test, values: &[(&str, &str)]) -> OperationResult {
        let values = values.iter().map(|(name, value)| ParameterValue {
            path: format!("{}{name}", test.object),
            value: (*value).to_owned(),
            r#type: String::new(),
        });
        OperationResult {
            values: values.collect(),
            ..OperationResult::default()
        }
    }

    /// The result of a diagnostic that has succeeded.
    fn result(diagnostic: &Diagnostic, root: &str, values: &[(&str, &str)]) -> DiagnosticResult {
        let test = test(diagnostic, root);
        match test.concluded(&read(&test, values)) {
            Some(End::Succeeded(result)) => *result.diagnostic.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_set_follows_from_the_kind_and_the_root() {
        let line = || {
            asked(Kind::AdslLineTest(AdslLineTest {
                interface: "InternetGatewayDevice.WANDevice.1".into(),
            }))
        };
        let echo = asked(Kind::UdpEchoConfig(UdpEchoConfig {
            udp_port: Some(7),
            enable: Some(true),
            ..UdpEchoConfig::default()
        }));
        for (diagnostic, root, object, expected) in [
            (
                ping(),
                DEVICE,
                "Device.IP.Diagnostics.IPPing.",
                &[
                    ("Host", "192.0.2.1", "xsd:string"),
                    ("NumberOfRepetitions", "3", "xsd:unsignedInt"),
                    ("Timeout", "2000", "xsd:unsignedInt"),
                    ("Interface", "Device.IP.Interface.1", "xsd:string"),
                    ("DiagnosticsState", "Requested", "xsd:string"),
                ][..],
            ),
            (
                asked(Kind::SelfTest(SelfTest {})),
                GATEWAY,
                "InternetGatewayDevice.SelfTestDiagnostics.",
                &[("DiagnosticsState", "Requested", "xsd:string")],
            ),
            (
                line(),
                GATEWAY,
                "InternetGatewayDevice.WANDevice.1.WANDSLDiagnostics.",
                &[("LoopDiagnosticsState", "Requested", "xsd:string")],
            ),
            (
                line(),
                DEVICE,
                "Device.DSL.Diagnostics.ADSLLineTest.",
                &[
                    (
                        "Interface",
                        "InternetGatewayDevice.WANDevice.1",
                        "xsd:string",
                    ),
                    ("DiagnosticsState", "Requested", "xsd:string"),
                ],
            ),
            (
                echo,
                DEVICE,
                "Device.IP.Diagnostics.UDPEchoConfig.",
                &[
                    ("UDPPort", "7", "xsd:unsignedInt"),
                    ("Enable", "true", "xsd:boolean"),
                ],
            ),
        ] {
            let test = test(&diagnostic, root);
            assert_eq!(test.object, object);
            let values = test.whole();
            let values: Vec<_> = values
                .iter()
                .map(|v| (&v.path[object.len()..], &*v.value, &*v.r#type))
                .collect();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn a_data_model_may_not_have_it() {
        let servers = asked(Kind::ServerSelectionDiagnostics(
            ServerSelectionDiagnostics::default(),
        ));
        let line = asked(Kind::AdslLineTest(AdslLineTest::default()));
        assert!(Test::of(&servers, DEVICE).is_some());
        for diagnostic in [servers, line, Diagnostic::default()] {
            assert!(Test::of(&diagnostic, GATEWAY).is_none(), "{diagnostic:?}");
        }
    }

    #[test]
    fn the_state_says_whether_it_is_over_and_how() {
        let complete = |name: &'static str, value: &'static str| {
            vec![("DiagnosticsState", "Complete"), (name, value)]
        };
        for (values, expected) in [
            (vec![("DiagnosticsState", "Complete")], Some("SUCCEEDED")),
            (vec![("DiagnosticsState", "completed")], Some("SUCCEEDED")),
            (vec![("DiagnosticsState", "Requested")], None),
            (vec![("DiagnosticsState", "None")], None),
            (
                vec![("DiagnosticsState", "Error_CannotResolveHostName")],
                Some(FAILED),
            ),
            (vec![("DiagnosticsState", "Error_Vendor")], Some(FAILED)),
            (vec![("DiagnosticsState", "Canceled")], Some(FAILED)),
            (vec![("SuccessCount", "3")], Some(FAILED)),
            (vec![("DiagnosticsState", "")], Some(FAILED)),
            (complete("Host", "192.0.2.1"), Some("SUCCEEDED")),
            (complete("Host", "192.0.2.2"), Some("OUTCOME_UNKNOWN")),
            (complete("Timeout", "02000"), Some("SUCCEEDED")),
            (
                complete("Interface", "Device.IP.Interface.1."),
                Some("SUCCEEDED"),
            ),
            (
                complete("Interface", "Device.IP.Interface.2"),
                Some("OUTCOME_UNKNOWN"),
            ),
            (
                vec![
                    ("DiagnosticsState", "Requested"),
                    ("DiagnosticsState", "Complete"),
                ],
                Some("SUCCEEDED"),
            ),
        ] {
            let test = test(&ping(), DEVICE);
            let found = test.concluded(&read(&test, &values)).map(|end| match end {
                End::Succeeded(_) => "SUCCEEDED".to_owned(),
                End::Failed(error, _) => error.code,
                other => panic!("{other:?}"),
            });
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn an_argument_that_is_left_to_the_device_may_become_anything() {
        let diagnostic = asked(Kind::IpPing(IpPing {
            host: "192.0.2.1".into(),
            interface: Some(String::new()),
            ..IpPing::default()
        }));
        let values = [
            ("DiagnosticsState", "Complete"),
            ("Interface", "Device.IP.Interface.4"),
        ];
        assert_eq!(result(&diagnostic, DEVICE, &values).state, "Complete");
    }

    #[test]
    fn a_list_may_come_back_with_spaces() {
        let diagnostic = asked(Kind::ServerSelectionDiagnostics(
            ServerSelectionDiagnostics {
                hosts: vec!["a.example".into(), "b.example".into()],
                ..ServerSelectionDiagnostics::default()
            },
        ));
        let values = [
            ("DiagnosticsState", "Completed"),
            ("HostList", "a.example, b.example"),
            ("FastestHost", "b.example"),
        ];
        let found = result(&diagnostic, DEVICE, &values);
        assert_eq!(found.fastest_host.as_deref(), Some("b.example"));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let values = [
            ("DiagnosticsState", "Complete"),
            ("SuccessCount", "2"),
            ("FailureCount", "0"),
            ("MaximumResponseTime", "many"),
            ("X_EX_Jitter", "3"),
        ];
        let expected = DiagnosticResult {
            state: "Complete".into(),
            success_count: Some(2),
            failure_count: Some(0),
            ..DiagnosticResult::default()
        };
        assert_eq!(result(&ping(), DEVICE, &values), expected);
    }

    #[test]
    fn rows_of_tables_are_in_order_and_of_their_table() {
        let route = asked(Kind::TraceRoute(TraceRoute {
            host: "a".into(),
            ..TraceRoute::default()
        }));
        let hop = |address: &str, times: &[u32]| RouteHop {
            host: Some(String::new()),
            host_address: Some(address.to_owned()),
            error_code: None,
            rt_times: times.to_vec(),
        };
        let expected = [hop("192.0.2.1", &[3, 4, 5]), hop("192.0.2.10", &[])];
        for (root, prefix) in [(DEVICE, ""), (GATEWAY, "Hop")] {
            let values: Vec<(String, &str)> = [
                ("10", "Host", ""),
                ("10", "HostAddress", "192.0.2.10"),
                ("10", "RTTimes", ""),
                ("2", "Host", ""),
                ("2", "HostAddress", "192.0.2.1"),
                ("2", "RTTimes", "3, 4,5"),
            ]
            .map(|(row, column, value)| (format!("RouteHops.{row}.{prefix}{column}"), value))
            .into();
            let mut values: Vec<(&str, &str)> = values.iter().map(|(n, v)| (&**n, *v)).collect();
            values.push(("DiagnosticsState", "Complete"));
            assert_eq!(result(&route, root, &values).route_hops, expected);
        }

        let lookup = asked(Kind::NsLookup(NsLookup::default()));
        let values = [
            ("DiagnosticsState", "Complete"),
            ("Result.1.Status", "Success"),
            ("Result.1.IPAddresses", "192.0.2.1,2001:db8::1"),
            ("Result.1.ResponseTime", "7"),
        ];
        let found = result(&lookup, DEVICE, &values);
        let answer = DnsAnswer {
            status: Some("Success".into()),
            ip_addresses: vec!["192.0.2.1".into(), "2001:db8::1".into()],
            response_time: Some(7),
            ..DnsAnswer::default()
        };
        assert_eq!(found.dns_answers, [answer]);
        assert_eq!(found.neighbors, []);
    }

    #[test]
    fn times_are_exact_to_the_microsecond() {
        let download = asked(Kind::DownloadDiagnostics(DownloadDiagnostics {
            download_url: "http://192.0.2.1/x".into(),
            ..DownloadDiagnostics::default()
        }));
        let values = [
            ("DiagnosticsState", "Completed"),
            ("ROMTime", "0001-01-01T00:00:00Z"),
            ("BOMTime", "2026-11-23T08:00:00.250001"),
            ("EOMTime", "2026-11-23T08:00:00.750001Z"),
            ("TestBytesReceived", "5000000000"),
        ];
        let found = result(&download, DEVICE, &values);
        assert_eq!(found.rom_time, None, "not known");
        assert_eq!(found.bom_time.unwrap().nanos, 250_001_000);
        assert_eq!(found.throughput, Some(80_000_000_000));

        let mut backwards = values;
        backwards[3] = ("EOMTime", "2026-11-23T07:59:59Z");
        assert_eq!(result(&download, DEVICE, &backwards).throughput, None);
    }

    #[test]
    fn the_test_itself_may_last() {
        let servers = ServerSelectionDiagnostics {
            hosts: vec!["a".into(), "b".into()],
            number_of_repetitions: Some(5),
            timeout_ms: Some(1_000),
            ..ServerSelectionDiagnostics::default()
        };
        let download = DownloadDiagnostics {
            time_based_test_duration: Some(60),
            ..DownloadDiagnostics::default()
        };
        for (diagnostic, seconds) in [
            (ping(), 6),
            (asked(Kind::ServerSelectionDiagnostics(servers)), 10),
            (asked(Kind::DownloadDiagnostics(download)), 60),
            (asked(Kind::SelfTest(SelfTest {})), 0),
        ] {
            let expected = PATIENCE_US + seconds * 1_000_000;
            assert_eq!(patience_us(&diagnostic), expected, "{diagnostic:?}");
        }
    }

    #[test]
    fn every_kind_is_documented() {
        let page = include_str!("../../../docs/provisioning.md");
        for kind in diagnostic::kinds() {
            let name = format!("`{}`", kind.json_name());
            assert!(page.contains(&name), "{name}");
        }
    }
}
