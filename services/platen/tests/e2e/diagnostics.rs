//! Diagnostics, from the API to the device and back: every kind, in both data models, and every way in which one ends.

use crate::{
    life::{OUI, SESSIONS, ask, without_empty_lists},
    printer::Printer,
    server::{Home, Server},
};
use platen_cwmp::{
    event_code::EventCode,
    rpc::{AcsRequest, Event, ParameterValue, SetParameterValues, ValueType},
};
use serde_json::{Value, json};

const GATEWAY: &str = "InternetGatewayDevice.";
const PING: &str = "Device.IP.Diagnostics.IPPing.";

/// One diagnostic: what is asked for, what the device is given below its object and in which order, what it then has there, what the result says.
struct Case {
    diagnostic: Value,
    object: &'static str,
    given: &'static [(&'static str, &'static str)],
    found: &'static [(&'static str, &'static str)],
    result: Value,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    vec![
        Case {
            diagnostic: json!({"ipPing": {"host": "192.0.2.1", "numberOfRepetitions": 3, "timeoutMs": 500, "dscp": 0, "protocolVersion": "IPv4", "interface": ""}}),
            object: PING,
            given: &[
                ("Host", "192.0.2.1"),
                ("NumberOfRepetitions", "3"),
                ("Timeout", "500"),
                ("DSCP", "0"),
                ("ProtocolVersion", "IPv4"),
                ("Interface", ""),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("IPAddressUsed", "192.0.2.9"),
                ("SuccessCount", "3"),
                ("FailureCount", "0"),
                ("AverageResponseTime", "12"),
                ("MinimumResponseTime", "10"),
                ("MaximumResponseTime", "15"),
                ("AverageResponseTimeDetailed", "12345"),
            ],
            result: json!({"state": "Complete", "ipAddressUsed": "192.0.2.9", "successCount": 3, "failureCount": 0, "averageResponseTime": 12,
                "minimumResponseTime": 10, "maximumResponseTime": 15, "averageResponseTimeDetailed": 12_345}),
        },
        Case {
            diagnostic: json!({"ipPing": {"host": "printer.example"}}),
            object: "InternetGatewayDevice.IPPingDiagnostics.",
            given: &[
                ("Host", "printer.example"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[("DiagnosticsState", "Complete"), ("SuccessCount", "4")],
            result: json!({"state": "Complete", "successCount": 4}),
        },
        Case {
            diagnostic: json!({"traceRoute": {"host": "192.0.2.1", "numberOfTries": 2, "maxHopCount": 30, "interface": "Device.IP.Interface.1"}}),
            object: "Device.IP.Diagnostics.TraceRoute.",
            given: &[
                ("Host", "192.0.2.1"),
                ("NumberOfTries", "2"),
                ("MaxHopCount", "30"),
                ("Interface", "Device.IP.Interface.1"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Complete"),
                // As a device may spell the path that it was given.
                ("Interface", "Device.IP.Interface.1."),
                ("ResponseTime", "21"),
                ("RouteHopsNumberOfEntries", "2"),
                ("RouteHops.1.Host", "gate.example"),
                ("RouteHops.1.HostAddress", "192.0.2.254"),
                ("RouteHops.1.ErrorCode", "0"),
                ("RouteHops.1.RTTimes", "4,5"),
                ("RouteHops.2.Host", "192.0.2.1"),
                ("RouteHops.2.RTTimes", "20,22"),
            ],
            result: json!({"state": "Complete", "responseTime": 21, "routeHops": [
                {"host": "gate.example", "hostAddress": "192.0.2.254", "errorCode": 0, "rtTimes": [4, 5]},
                {"host": "192.0.2.1", "rtTimes": [20, 22]}]}),
        },
        Case {
            diagnostic: json!({"traceRoute": {"host": "192.0.2.1"}}),
            object: "InternetGatewayDevice.TraceRouteDiagnostics.",
            given: &[("Host", "192.0.2.1"), ("DiagnosticsState", "Requested")],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("RouteHops.1.HopHost", "192.0.2.1"),
                ("RouteHops.1.HopErrorCode", "0"),
                ("RouteHops.1.HopRTTimes", "7"),
            ],
            result: json!({"state": "Complete", "routeHops": [{"host": "192.0.2.1", "errorCode": 0, "rtTimes": [7]}]}),
        },
        Case {
            diagnostic: json!({"downloadDiagnostics": {"downloadUrl": "http://192.0.2.1:8080/10M.bin", "numberOfConnections": 2, "enablePerConnectionResults": true}}),
            object: "Device.IP.Diagnostics.DownloadDiagnostics.",
            given: &[
                ("DownloadURL", "http://192.0.2.1:8080/10M.bin"),
                ("NumberOfConnections", "2"),
                ("EnablePerConnectionResults", "true"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Completed"),
                ("EnablePerConnectionResults", "1"),
                ("ROMTime", "2026-11-23T08:00:00.000000Z"),
                ("BOMTime", "2026-11-23T08:00:00.250001Z"),
                ("EOMTime", "2026-11-23T08:00:08.250001Z"),
                ("TestBytesReceived", "10000000"),
                ("TotalBytesReceived", "10400000"),
                ("TCPOpenRequestTime", "0001-01-01T00:00:00Z"),
                ("PerConnectionResult.1.TestBytesReceived", "6000000"),
                ("PerConnectionResult.2.TestBytesReceived", "4000000"),
                ("IncrementalResult.1.TestBytesReceived", "10000000"),
                ("IncrementalResult.1.StartTime", "2026-11-23T08:00:01Z"),
            ],
            result: json!({"state": "Completed", "romTime": "2026-11-23T08:00:00Z", "bomTime": "2026-11-23T08:00:00.250001Z", "eomTime": "2026-11-23T08:00:08.250001Z",
                "testBytesReceived": "10000000", "totalBytesReceived": "10400000", "throughput": "10000000",
                "connections": [{"testBytesReceived": "6000000"}, {"testBytesReceived": "4000000"}],
                "increments": [{"startTime": "2026-11-23T08:00:01Z", "testBytesReceived": "10000000"}]}),
        },
        Case {
            diagnostic: json!({"uploadDiagnostics": {"uploadUrl": "ftp://speed.example/in/x", "testFileLength": "1000000"}}),
            object: "InternetGatewayDevice.UploadDiagnostics.",
            given: &[
                ("UploadURL", "ftp://speed.example/in/x"),
                ("TestFileLength", "1000000"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Completed"),
                ("BOMTime", "2026-11-23T08:00:00Z"),
                ("EOMTime", "2026-11-23T08:00:01Z"),
                ("TotalBytesSent", "1000500"),
            ],
            result: json!({"state": "Completed", "bomTime": "2026-11-23T08:00:00Z", "eomTime": "2026-11-23T08:00:01Z", "totalBytesSent": "1000500", "throughput": "8004000"}),
        },
        Case {
            diagnostic: json!({"udpEchoConfig": {"enable": true, "udpPort": 7, "sourceIpAddress": "192.0.2.1"}}),
            object: "Device.IP.Diagnostics.UDPEchoConfig.",
            given: &[
                ("SourceIPAddress", "192.0.2.1"),
                ("UDPPort", "7"),
                ("Enable", "true"),
            ],
            found: &[("PacketsReceived", "0"), ("PacketsResponded", "0")],
            result: json!({"state": "", "packetsReceived": "0", "packetsResponded": "0"}),
        },
        Case {
            diagnostic: json!({"udpEchoDiagnostics": {"host": "192.0.2.1", "port": 7, "interTransmissionTimeMs": 20}}),
            object: "Device.IP.Diagnostics.UDPEchoDiagnostics.",
            given: &[
                ("Host", "192.0.2.1"),
                ("Port", "7"),
                ("InterTransmissionTime", "20"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("SuccessCount", "1"),
                ("IndividualPacketResult.1.PacketSuccess", "true"),
                (
                    "IndividualPacketResult.1.PacketSendTime",
                    "2026-11-23T08:00:00.000123Z",
                ),
                ("IndividualPacketResult.1.TestGenSN", "1"),
            ],
            result: json!({"state": "Complete", "successCount": 1,
                "packets": [{"packetSuccess": true, "packetSendTime": "2026-11-23T08:00:00.000123Z", "testGenSn": 1}]}),
        },
        Case {
            diagnostic: json!({"serverSelectionDiagnostics": {"hosts": ["a.example", "192.0.2.1"], "protocol": "UDP Echo"}}),
            object: "Device.IP.Diagnostics.ServerSelectionDiagnostics.",
            given: &[
                ("HostList", "a.example,192.0.2.1"),
                ("Protocol", "UDP Echo"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Completed"),
                ("FastestHost", "192.0.2.1"),
                ("AverageResponseTime", "1200"),
            ],
            result: json!({"state": "Completed", "fastestHost": "192.0.2.1", "averageResponseTime": 1200}),
        },
        Case {
            diagnostic: json!({"nsLookup": {"hostName": "acs.example", "dnsServer": "192.0.2.53", "numberOfRepetitions": 1}}),
            object: "Device.DNS.Diagnostics.NSLookupDiagnostics.",
            given: &[
                ("HostName", "acs.example"),
                ("DNSServer", "192.0.2.53"),
                ("NumberOfRepetitions", "1"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("SuccessCount", "1"),
                ("Result.1.Status", "Success"),
                ("Result.1.AnswerType", "NonAuthoritative"),
                ("Result.1.IPAddresses", "192.0.2.7,2001:db8::7"),
                ("Result.1.DNSServerIP", "192.0.2.53"),
                ("Result.1.ResponseTime", "3"),
            ],
            result: json!({"state": "Complete", "successCount": 1, "dnsAnswers": [{"status": "Success", "answerType": "NonAuthoritative",
                "ipAddresses": ["192.0.2.7", "2001:db8::7"], "dnsServerIp": "192.0.2.53", "responseTime": 3}]}),
        },
        Case {
            diagnostic: json!({"neighboringWifi": {}}),
            object: "Device.WiFi.NeighboringWiFiDiagnostic.",
            given: &[("DiagnosticsState", "Requested")],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("Result.1.SSID", "guests"),
                ("Result.1.Channel", "11"),
                ("Result.1.SignalStrength", "-71"),
                ("Result.1.EncryptionMode", "TKIP,AES"),
            ],
            result: json!({"state": "Complete", "neighbors": [{"ssid": "guests", "channel": 11, "signalStrength": -71, "encryptionMode": ["TKIP", "AES"]}]}),
        },
        Case {
            diagnostic: json!({"adslLineTest": {"interface": "Device.DSL.Channel.1"}}),
            object: "Device.DSL.Diagnostics.ADSLLineTest.",
            given: &[
                ("Interface", "Device.DSL.Channel.1"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("ACTPSDds", "-400"),
                ("SNRGds", "8"),
                ("SNRpsds", "1,2,3"),
            ],
            result: json!({"state": "Complete", "actpsdDs": -400, "snrgDs": 8, "snrpsDs": "1,2,3"}),
        },
        Case {
            diagnostic: json!({"adslLineTest": {"interface": "InternetGatewayDevice.WANDevice.1."}}),
            object: "InternetGatewayDevice.WANDevice.1.WANDSLDiagnostics.",
            given: &[("LoopDiagnosticsState", "Requested")],
            found: &[("LoopDiagnosticsState", "Complete"), ("ACTPSDus", "-380")],
            result: json!({"state": "Complete", "actpsdUs": -380}),
        },
        Case {
            diagnostic: json!({"f5Loopback": {"interface": "InternetGatewayDevice.WANDevice.1.WANConnectionDevice.2", "numberOfRepetitions": 5}}),
            object: "InternetGatewayDevice.WANDevice.1.WANConnectionDevice.2.WANATMF5LoopbackDiagnostics.",
            given: &[
                ("NumberOfRepetitions", "5"),
                ("DiagnosticsState", "Requested"),
            ],
            found: &[("DiagnosticsState", "Complete"), ("SuccessCount", "5")],
            result: json!({"state": "Complete", "successCount": 5}),
        },
        Case {
            diagnostic: json!({"selfTest": {}}),
            object: "Device.SelfTestDiagnostics.",
            given: &[("DiagnosticsState", "Requested")],
            found: &[
                ("DiagnosticsState", "Complete"),
                ("Results", "fuser: good\nscanner: good"),
            ],
            result: json!({"state": "Complete", "report": "fuser: good\nscanner: good"}),
        },
    ]
}

/// A device of one data model.
struct Cpe {
    printer: Printer,
    root: &'static str,
}

impl Cpe {
    /// A registered device that has called once.
    async fn installed(server: &Server, serial_number: &str, root: &'static str) -> Self {
        let credentials = server.register(OUI, "LaserPro-9", serial_number).await;
        let peer = server.peer("default", Some(credentials)).await;
        let printer = Printer::new(OUI, "LaserPro-9", serial_number, peer);
        let mut cpe = Self { printer, root };
        cpe.call(EventCode::Boot).await;
        cpe
    }

    async fn call(&mut self, event: EventCode) {
        let mut inform = self.printer.inform(vec![Event::new(event)]);
        if self.root == GATEWAY {
            let summary = "InternetGatewayDevice.DeviceSummary";
            inform.parameters = vec![ParameterValue::new(summary, "", ValueType::String)];
        }
        self.printer.report(inform, Vec::new()).await.unwrap();
    }

    /// The object of a diagnostic has these parameters.
    fn has(&mut self, object: &str, values: &[(&str, &str)]) {
        for (name, value) in values {
            self.printer
                .set(&format!("{object}{name}"), value, ValueType::String);
        }
    }

    /// Calls until it is asked to set something below an object; what.
    async fn is_given(&mut self, object: &str) -> SetParameterValues {
        self.printer.forget_asked();
        for _ in 0..SESSIONS {
            self.call(EventCode::Periodic).await;
            let set = self.printer.asked.iter().find_map(|request| match request {
                AcsRequest::SetParameterValues(set) => Some(set),
                _ => None,
            });
            if let Some(set) = set
                && set.parameters[0].name.starts_with(object)
            {
                return set.clone();
            }
        }
        panic!("nothing was set below {object} in {SESSIONS} sessions")
    }

    /// How often it was asked for what stands below an object.
    fn reads(&self, object: &str) -> usize {
        let is_read = |request: &&AcsRequest| matches!(request, AcsRequest::GetParameterValues(get) if get.names == [object]);
        self.printer.asked.iter().filter(is_read).count()
    }

    /// Calls until an operation has ended; the operation.
    async fn ended(&mut self, server: &Server, operation: &str) -> Value {
        for _ in 0..SESSIONS {
            let operation = server.get(operation).await;
            if ["SUCCEEDED", "FAILED"].contains(&operation["state"].as_str().unwrap()) {
                return operation;
            }
            self.call(EventCode::Periodic).await;
        }
        panic!("{operation} has not ended in {SESSIONS} sessions")
    }
}

#[tokio::test]
async fn every_kind_reaches_the_device_and_comes_back() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut device = Cpe::installed(&server, "D1", "Device.").await;
    let mut gateway = Cpe::installed(&server, "G1", GATEWAY).await;

    for case in cases() {
        let cpe = if case.object.starts_with(GATEWAY) {
            &mut gateway
        } else {
            &mut device
        };
        let reports_its_end = case.given.last().unwrap().1 == "Requested";
        cpe.has(case.object, case.given);
        if !reports_its_end {
            cpe.has(case.object, case.found);
        }
        let body = json!({"diagnostic": case.diagnostic});
        let operation = ask(&server, cpe.printer.path(), body).await;

        let set = cpe.is_given(case.object).await;
        let given: Vec<(&str, &str)> = set
            .parameters
            .iter()
            .map(|value| (&value.name[case.object.len()..], value.value.as_str()))
            .collect();
        assert_eq!(given, case.given, "{}", case.diagnostic);
        if reports_its_end {
            cpe.has(case.object, case.found);
            cpe.call(EventCode::DiagnosticsComplete).await;
        }

        let operation = cpe.ended(&server, &operation).await;
        assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
        let found = without_empty_lists(&operation["result"]["diagnostic"]);
        assert_eq!(found, case.result, "{}", case.diagnostic);
        cpe.printer
            .parameters
            .retain(|name, _| !name.starts_with(case.object));
    }
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn what_the_device_has_in_the_end_decides() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut cpe = Cpe::installed(&server, "D1", "Device.").await;
    for (found, code, message, state) in [
        (
            vec![("DiagnosticsState", "Error_CannotResolveHostName")],
            "DIAGNOSTIC_FAILED",
            "Error_CannotResolveHostName",
            json!("Error_CannotResolveHostName"),
        ),
        // Somebody else has asked for another one since.
        (
            vec![
                ("Host", "other.example"),
                ("DiagnosticsState", "Complete"),
                ("SuccessCount", "9"),
            ],
            "OUTCOME_UNKNOWN",
            "Device.IP.Diagnostics.IPPing.Host has changed",
            Value::Null,
        ),
    ] {
        cpe.has(PING, &[("Host", ""), ("DiagnosticsState", "None")]);
        let body = json!({"diagnostic": {"ipPing": {"host": "nowhere.example"}}});
        let operation = ask(&server, cpe.printer.path(), body).await;
        cpe.is_given(PING).await;
        cpe.has(PING, &found);
        cpe.call(EventCode::DiagnosticsComplete).await;

        let operation = cpe.ended(&server, &operation).await;
        assert_eq!(operation["state"], "FAILED", "{operation}");
        assert_eq!(operation["error"]["code"], code, "{operation}");
        let said = operation["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{operation}");
        assert_eq!(
            operation["result"]["diagnostic"]["state"], state,
            "{operation}"
        );
    }

    // A device without the object refuses the request.
    cpe.printer
        .parameters
        .retain(|name, _| !name.starts_with(PING));
    let body = json!({"diagnostic": {"ipPing": {"host": "a.example"}}});
    let operation = ask(&server, cpe.printer.path(), body).await;
    let operation = cpe.ended(&server, &operation).await;
    assert_eq!(operation["error"]["code"], "CWMP_FAULT", "{operation}");
    assert_eq!(operation["error"]["cwmpFault"]["code"], 9003, "{operation}");
    assert!(server.terminate().await.success());
}

/// Some devices report the end before the results are there.
#[tokio::test]
async fn an_end_that_is_reported_too_early_is_not_believed() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut cpe = Cpe::installed(&server, "D1", "Device.").await;
    cpe.has(PING, &[("Host", ""), ("DiagnosticsState", "None")]);
    let body = json!({"diagnostic": {"ipPing": {"host": "a.example"}}});
    let name = ask(&server, cpe.printer.path(), body).await;
    cpe.is_given(PING).await;

    cpe.call(EventCode::DiagnosticsComplete).await;
    for _ in 0..SESSIONS {
        if cpe.reads(PING) > 0 {
            break;
        }
        cpe.call(EventCode::Periodic).await;
    }
    assert!(cpe.reads(PING) > 0, "{:#?}", cpe.printer.asked);
    assert_eq!(server.get(&name).await["state"], "RUNNING");

    cpe.has(
        PING,
        &[("DiagnosticsState", "Complete"), ("SuccessCount", "1")],
    );
    let operation = cpe.ended(&server, &name).await;
    assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    assert_eq!(operation["result"]["diagnostic"]["successCount"], 1);
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn arguments_that_no_shell_should_see_are_refused() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let cpe = Cpe::installed(&server, "D1", "Device.").await;
    let path = format!("{}/operations", cpe.printer.path());
    for (diagnostic, field) in [
        (json!({"ipPing": {"host": "a;reboot"}}), "ipPing.host"),
        (
            json!({"downloadDiagnostics": {"downloadUrl": "http://a/$(reboot)"}}),
            "downloadDiagnostics.downloadUrl",
        ),
        (
            json!({"traceRoute": {"host": "a", "maxHopCount": 65}}),
            "traceRoute.maxHopCount",
        ),
    ] {
        let body = json!({"diagnostic": diagnostic});
        let (status, problem) = server.call(reqwest::Method::POST, &path, Some(body)).await;
        assert_eq!(status, 400, "{problem}");
        assert_eq!(
            problem["violations"][0]["field"],
            format!("operation.diagnostic.{field}")
        );
    }
    assert!(server.terminate().await.success());
}
