//! Envelopes with the habits of devices in the field: what is made of them, and which repairs are reported.
//!
//! The fixtures are written for these tests. Each stands for a habit that was met; names of vendors, and what devices of
//! theirs hold, are not in them.

use platen_cwmp::{
    acs::Post,
    date_time::Meaning,
    event_code::EventCode,
    fault::FaultCode,
    rpc::*,
    soap::{CpeMessage, Envelope, Malformed, Received, Repair, Repairs, Version, decode_body},
};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(name: &str) -> Received<CpeMessage> {
    let body = fixture(name);
    let (text, repairs) = decode_body(&body, Some("text/xml"));
    let mut received = Envelope::read_from_cpe(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    received.repairs = received.repairs.union(repairs);
    // A POST tells all of them.
    let post = Post::read(&body, Some("text/xml")).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(post.repairs(), received.repairs, "{name}");
    received
}

fn inform(name: &str) -> (Inform, Received<CpeMessage>) {
    let received = read(name);
    match &received.envelope.message {
        CpeMessage::Request(CpeRequest::Inform(inform)) => (inform.clone(), received),
        other => panic!("{name}: {other:?}"),
    }
}

fn repairs<const N: usize>(repairs: [Repair; N]) -> Repairs {
    repairs.into_iter().collect()
}

fn values(inform: &Inform) -> Vec<(&str, &str)> {
    inform
        .parameters
        .iter()
        .map(|parameter| (parameter.name.as_str(), parameter.value.as_str()))
        .collect()
}

#[test]
fn a_plain_inform_needs_no_repair() {
    let (inform, received) = inform("inform_plain");

    assert_eq!(received.repairs, Repairs::NONE);
    assert_eq!(received.envelope.header.id.as_deref(), Some("1"));
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-0"
    );
    assert_eq!(inform.device_id.serial_number, "SN1");
    assert_eq!(inform.events, [Event::new(EventCode::Periodic)]);
    assert_eq!(
        inform.parameter("Device.DeviceInfo.SoftwareVersion"),
        Some("1.4")
    );
    assert_eq!(
        inform.parameter("Device.ManagementServer.ParameterKey"),
        Some("")
    );
    assert_eq!(inform.parameter("Device.Other"), None);
}

#[test]
fn pretty_printing_and_other_prefixes_are_no_repair() {
    let (inform, received) = inform("inform_pretty");
    let header = &received.envelope.header;

    assert_eq!(received.repairs, Repairs::NONE);
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-2"
    );
    assert_eq!(header.id.as_deref(), Some("a&b<7>"));
    assert_eq!(header.session_timeout, Some(60));
    assert_eq!(
        header.supported_versions.as_deref(),
        Some(&Version::ALL[..])
    );
    assert_eq!(
        inform.events,
        [
            Event::new(EventCode::Bootstrap),
            Event::method("Reboot", "k 1 ")
        ]
    );
    assert_eq!(inform.retry_count, 3);
    assert_eq!(
        inform.current_time.time().unwrap().to_string(),
        "2026-11-23T02:00:00Z"
    );
    assert_eq!(
        values(&inform),
        [("Device.DeviceInfo.SoftwareVersion", "1.4")]
    );
}

#[test]
fn names_count_and_prefixes_do_not() {
    let (first, received) = inform("inform_default_namespace");
    assert_eq!(received.repairs, Repairs::NONE);
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-1"
    );
    assert_eq!(received.envelope.header.id, None);
    assert_eq!(first.events, [Event::new(EventCode::Boot)]);
    assert!(matches!(
        first.current_time.meaning(),
        Meaning::At {
            zone_given: false,
            ..
        }
    ));

    let (second, received) = inform("inform_wrong_prefixes");
    assert_eq!(received.repairs, repairs([Repair::EnvelopeNamespace]));
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-0"
    );
    assert_eq!(second.device_id.serial_number, "SN1");

    // Two versions are declared, and the method's prefix tells which one is meant.
    let (_, received) = inform("inform_two_namespaces");
    assert_eq!(received.repairs, Repairs::NONE);
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-0"
    );

    let (_, received) = inform("inform_namespace_1_4_upper_case");
    assert_eq!(
        received.envelope.namespace.to_string(),
        "urn:dslforum-org:cwmp-1-4"
    );
    assert_eq!(received.envelope.namespace.version(), Version::V1_4);
}

#[test]
fn text_is_kept_byte_for_byte() {
    let (inform, received) = inform("inform_cdata_entities");

    assert_eq!(received.repairs, Repairs::NONE);
    assert_eq!(
        values(&inform),
        [
            ("Device.A", "a<b&c"),
            ("Device.B", "😀\n\r'\""),
            ("Device.C", " a  b "),
            ("Device.D", "x & y"),
            ("Device.E", "onetwo three"),
            ("Device.F", ""),
        ]
    );
}

#[test]
fn dirt_is_repaired_and_reported() {
    let (inform, received) = inform("inform_dirty");

    assert_eq!(
        received.repairs,
        repairs([
            Repair::LeadingBytes,
            Repair::TrailingBytes,
            Repair::ControlCharacter,
            Repair::BareAmpersand,
            Repair::UnknownEntity,
        ])
    );
    assert_eq!(
        values(&inform),
        [
            ("Device.A", "abc"),
            ("Device.B", "Toner & Drum"),
            ("Device.C", "5&nbsp;pages "),
            ("Device.D", "AT&T;")
        ]
    );
}

#[test]
fn what_is_missing_has_defaults() {
    let (inform, received) = inform("inform_sloppy");

    assert_eq!(
        received.repairs,
        repairs([Repair::Number, Repair::ValueType, Repair::NestedValue])
    );
    assert_eq!(inform.device_id.oui, "3c9066");
    assert_eq!(inform.device_id.serial_number, "SN 1");
    assert_eq!(inform.events, []);
    assert_eq!(inform.retry_count, 0);
    assert_eq!(inform.current_time.as_str(), "2019-03-05T11:54::14");
    assert_eq!(inform.current_time.meaning(), Meaning::Unreadable);
    assert_eq!(
        inform.parameters,
        [
            ParameterValue::new("Device.A", "1", ValueType::Unknown),
            ParameterValue::new("Device.B", "x", ValueType::Unknown),
            ParameterValue::new("Device.C", "7", ValueType::Int),
        ]
    );
}

#[test]
fn items_are_counted_not_believed() {
    let (inform, received) = inform("inform_array_lies");

    assert_eq!(received.repairs, repairs([Repair::ArrayCount]));
    assert_eq!(inform.events, []);
    assert_eq!(inform.parameters.len(), 5);
}

#[test]
fn events_go_by_their_number() {
    let (inform, received) = inform("inform_odd_events");

    assert_eq!(received.repairs, repairs([Repair::EventCode]));
    let codes: Vec<String> = inform
        .events
        .iter()
        .map(|event| event.code.to_string())
        .collect();
    assert_eq!(
        codes,
        [
            "0 BOOTSTRAP",
            "1 BOOT",
            "6 CONNECTION REQUEST",
            "8 DIAGNOSTICS COMPLETE",
            "11 DU STATE CHANGE COMPLETE",
            "10 AUTONOMOUS TRANSFER COMPLETE",
            "M Reboot",
            "X 00D09E Door open",
            "15 FUTURE",
        ]
    );
}

#[test]
fn headers_that_mean_nothing_are_ignored() {
    let (_, received) = inform("inform_headers");
    let header = &received.envelope.header;

    assert_eq!(
        received.repairs,
        repairs([Repair::UnknownHeader, Repair::HeaderValue])
    );
    assert_eq!(header.id.as_deref(), Some("x"));
    assert!(header.no_more_requests);
    assert_eq!(header.session_timeout, None);
    assert_eq!(header.supported_versions.as_deref(), Some(&[][..]));
}

#[test]
fn other_charsets_are_read() {
    let value = |name| {
        let (inform, received) = inform(name);
        (inform.parameters[0].value.clone(), received.repairs)
    };
    assert_eq!(value("inform_latin1"), ("café".to_owned(), Repairs::NONE));
    assert_eq!(
        value("inform_undeclared_latin1"),
        ("caf\u{fffd}".to_owned(), repairs([Repair::Charset]))
    );
    assert_eq!(value("inform_utf16"), ("café 😀".to_owned(), Repairs::NONE));
}

#[test]
fn the_first_of_two_bodies_counts() {
    let (_, received) = inform("inform_two_bodies");
    assert_eq!(received.repairs, repairs([Repair::ExtraBodyElement]));
}

#[test]
fn a_transfer_complete_without_fault_is_a_success() {
    let CpeMessage::Request(CpeRequest::TransferComplete(complete)) =
        read("transfer_complete_bare").envelope.message
    else {
        panic!("no TransferComplete")
    };
    assert_eq!(complete, TransferComplete::default());
    assert_eq!(complete.fault, None);
    assert_eq!(complete.start_time.meaning(), Meaning::Unknown);
}

#[test]
fn faults_are_found_wherever_they_are() {
    let fault = |name| match read(name) {
        Received {
            envelope:
                Envelope {
                    message: CpeMessage::Fault(fault),
                    ..
                },
            repairs,
        } => (fault, repairs),
        other => panic!("{name}: {other:?}"),
    };

    let (list, none) = fault("fault_spv_list");
    assert_eq!(
        (list.code, list.string.as_str()),
        (FaultCode::INVALID_ARGUMENTS, "Invalid arguments")
    );
    let parameters: Vec<_> = list
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.code.0, p.string.as_str()))
        .collect();
    assert_eq!(
        parameters,
        [
            ("Device.A", 9005, "no such"),
            ("Device.B", 9007, ""),
            ("Device.C", 9008, "")
        ]
    );
    assert_eq!(none, Repairs::NONE);

    let (other, repaired) = fault("fault_other_namespace");
    assert_eq!(
        (other.code, other.string.as_str()),
        (FaultCode::INVALID_PARAMETER_NAME, "")
    );
    assert_eq!(repaired, repairs([Repair::FaultCode]));

    let (bare, repaired) = fault("fault_without_detail");
    assert_eq!(
        (bare.code, bare.string.as_str()),
        (FaultCode::INTERNAL_ERROR, "No such thing")
    );
    assert_eq!(repaired, repairs([Repair::FaultCode]));

    let (words, _) = fault("fault_code_in_words");
    assert_eq!(words.code, FaultCode::INTERNAL_ERROR);
}

#[test]
fn responses_may_lack_what_they_should_tell() {
    let response = |name| match read(name).envelope.message {
        CpeMessage::Response(response) => response,
        other => panic!("{name}: {other:?}"),
    };

    let added = AddObjectResponse {
        instance_number: 0,
        status: Status::Applied,
    };
    assert_eq!(
        response("add_object_response_empty"),
        CpeResponse::AddObject(added)
    );
    // Applied would mean that no TransferComplete follows.
    assert_eq!(
        response("download_response_bare"),
        CpeResponse::Download(TransferStatus {
            status: Status::Pending,
            ..TransferStatus::default()
        })
    );
    let CpeResponse::GetParameterNames(names) = response("gpn_response_odd") else {
        panic!("no names")
    };
    let names: Vec<_> = names
        .parameters
        .iter()
        .map(|info| (info.name.as_str(), info.writable))
        .collect();
    assert_eq!(
        names,
        [
            ("Device.", false),
            (" .Device.A", true),
            ("Device.B", false),
            ("Device.C", false)
        ]
    );
    let CpeResponse::GetParameterAttributes(attributes) = response("gpa_response_bare") else {
        panic!("no attributes")
    };
    assert_eq!(
        attributes.parameters,
        [Attributes {
            name: "Device.A".to_owned(),
            ..Attributes::default()
        }]
    );
}

#[test]
fn nested_results_are_results() {
    let received = read("du_state_change_nested");
    let CpeMessage::Request(CpeRequest::DuStateChangeComplete(complete)) =
        received.envelope.message
    else {
        panic!("no DUStateChangeComplete")
    };
    let results: Vec<_> = complete
        .results
        .iter()
        .map(|r| {
            (
                r.uuid.as_str(),
                r.resolved,
                r.fault.as_ref().map(|f| f.code.0),
            )
        })
        .collect();
    assert_eq!(results, [("u1", true, None), ("u2", false, Some(9027))]);
    assert_eq!(complete.command_key, "k");
    assert_eq!(received.repairs, repairs([Repair::ArrayShape]));
}

#[test]
fn a_method_that_nobody_knows_is_kept_verbatim() {
    let CpeMessage::Request(CpeRequest::Raw(raw)) = read("vendor_request").envelope.message else {
        panic!("no raw request")
    };
    assert_eq!(raw.method, "X_00D09E_Clean");
    assert_eq!(
        raw.arguments_xml,
        "<Head i=\"1\">a &amp; b</Head> <!-- x -->"
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    let refusal = |name: &str| {
        let post = Post::read(&fixture(&format!("refused_{name}")), None);
        post.err().unwrap_or_else(|| panic!("{name} was read"))
    };
    assert!(matches!(refusal("broken"), Malformed::Xml(_)));
    assert!(matches!(refusal("doctype"), Malformed::DocumentType));
    assert!(matches!(refusal("html"), Malformed::NotAnEnvelope));
    assert!(matches!(refusal("text"), Malformed::NotAnEnvelope));
    assert!(matches!(refusal("soap_1_2"), Malformed::SoapVersion));
    assert!(matches!(refusal("empty_body"), Malformed::EmptyBody));
    assert!(matches!(refusal("no_body"), Malformed::EmptyBody));
    assert!(matches!(refusal("truncated"), Malformed::Truncated));
    assert!(matches!(refusal("cut_tag"), Malformed::Xml(_)));
    assert!(matches!(refusal("crossed_tags"), Malformed::Xml(_)));
    assert!(matches!(
        refusal("deep"),
        Malformed::TooLarge {
            what: "nesting",
            limit: 64
        }
    ));
    assert!(matches!(
        refusal("long_id"),
        Malformed::TooLarge {
            what: "ID",
            limit: 256
        }
    ));
}

#[test]
fn lists_and_texts_have_an_end() {
    let refusal = |inner: &str| {
        let xml = format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><c:GetParameterValuesResponse>
            <ParameterList>{inner}</ParameterList></c:GetParameterValuesResponse></s:Body></s:Envelope>"#
        );
        Envelope::read_from_cpe(&xml).map(|received| received.repairs)
    };
    assert!(refusal(&"<P/>".repeat(100_000)).is_ok());
    assert!(matches!(
        refusal(&"<P/>".repeat(100_001)),
        Err(Malformed::TooLarge {
            what: "items of a list",
            ..
        })
    ));
    let long = format!("<P><Value>{}</Value></P>", "x".repeat((4 << 20) + 1));
    assert!(matches!(
        refusal(&long),
        Err(Malformed::TooLarge { what: "text", .. })
    ));
    let attributes: String = (0..65).map(|n| format!(" a{n}=\"1\"")).collect();
    assert!(matches!(
        refusal(&format!("<P><Value{attributes}>1</Value></P>")),
        Err(Malformed::TooLarge {
            what: "attributes",
            ..
        })
    ));
}
