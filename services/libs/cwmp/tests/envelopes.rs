//! What is written, byte for byte, and what is refused to be written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use platen_cwmp::{
    fault::{Fault, FaultCode, ParameterFault},
    rpc::*,
    soap::{AcsMessage, CpeMessage, Envelope, Header, Namespace, Unwritable, Version},
};

const START: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
    r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
    r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp="urn:dslforum-org:cwmp-1-2">"#,
    r#"<soap-env:Header><cwmp:ID soap-env:mustUnderstand="1">1</cwmp:ID>"#,
);

fn body(message: AcsMessage) -> String {
    let envelope = Envelope {
        namespace: Version::V1_4.namespace(),
        header: Header::with_id("1"),
        message,
    };
    let xml = envelope.to_xml().unwrap();
    let body = xml
        .strip_prefix(START)
        .and_then(|rest| rest.strip_prefix("</soap-env:Header><soap-env:Body>"));
    body.and_then(|body| body.strip_suffix("</soap-env:Body></soap-env:Envelope>"))
        .expect(&xml)
        .to_owned()
}

fn failure(request: AcsRequest) -> Unwritable {
    let envelope = Envelope {
        namespace: Namespace::default(),
        header: Header::default(),
        message: AcsMessage::Request(request),
    };
    envelope.to_xml().unwrap_err()
}

#[test]
fn an_inform_response_carries_the_version_to_use() {
    let header = Header {
        use_version: Some(Version::V1_4),
        ..Header::with_id("1")
    };
    let message = AcsMessage::Response(AcsResponse::Inform(InformResponse::default()));
    let xml = Envelope {
        namespace: Version::V1_4.namespace(),
        header,
        message,
    }
    .to_xml()
    .unwrap();

    let rest = concat!(
        r#"<cwmp:UseCWMPVersion soap-env:mustUnderstand="1">1.4</cwmp:UseCWMPVersion></soap-env:Header><soap-env:Body>"#,
        "<cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse></soap-env:Body></soap-env:Envelope>",
    );
    assert_eq!(xml, format!("{START}{rest}"));
}

#[test]
fn each_version_has_its_namespace() {
    let cases = [
        (Version::V1_0, "urn:dslforum-org:cwmp-1-0"),
        (Version::V1_1, "urn:dslforum-org:cwmp-1-1"),
        (Version::V1_2, "urn:dslforum-org:cwmp-1-2"),
        (Version::V1_3, "urn:dslforum-org:cwmp-1-2"),
        (Version::V1_4, "urn:dslforum-org:cwmp-1-2"),
    ];
    for (version, expected) in cases {
        assert_eq!(version.namespace().to_string(), expected);
    }
}

#[test]
fn arguments_stand_in_the_order_of_the_schema() {
    let download = Download {
        command_key: "f-01J9".to_owned(),
        file_type: "1 Firmware Upgrade Image".to_owned(),
        url: "https://f.example/d?a=1&b=2".to_owned(),
        file_size: 8_388_608,
        ..Download::default()
    };
    assert_eq!(
        body(AcsMessage::Request(AcsRequest::Download(download))),
        concat!(
            "<cwmp:Download><CommandKey>f-01J9</CommandKey><FileType>1 Firmware Upgrade Image</FileType>",
            "<URL>https://f.example/d?a=1&amp;b=2</URL><Username></Username><Password></Password>",
            "<FileSize>8388608</FileSize><TargetFileName></TargetFileName><DelaySeconds>0</DelaySeconds>",
            "<SuccessURL></SuccessURL><FailureURL></FailureURL></cwmp:Download>",
        )
    );
}

#[test]
fn values_have_types_and_arrays_exact_counts() {
    let request = SetParameterValues {
        parameters: vec![
            ParameterValue::new(
                "Device.ManagementServer.PeriodicInformInterval",
                "3600",
                ValueType::UnsignedInt,
            ),
            ParameterValue::new("Device.X", " a\r\n<'\"> ", ValueType::Unknown),
        ],
        parameter_key: "k-0001".to_owned(),
    };
    assert_eq!(
        body(AcsMessage::Request(AcsRequest::SetParameterValues(request))),
        concat!(
            r#"<cwmp:SetParameterValues><ParameterList soap-enc:arrayType="cwmp:ParameterValueStruct[2]">"#,
            "<ParameterValueStruct><Name>Device.ManagementServer.PeriodicInformInterval</Name>",
            r#"<Value xsi:type="xsd:unsignedInt">3600</Value></ParameterValueStruct>"#,
            r#"<ParameterValueStruct><Name>Device.X</Name><Value xsi:type="xsd:string"> a&#13;"#,
            "\n&lt;&apos;&quot;&gt; </Value></ParameterValueStruct></ParameterList>",
            "<ParameterKey>k-0001</ParameterKey></cwmp:SetParameterValues>",
        )
    );
    let names = GetParameterValues {
        names: vec!["Device.".to_owned()],
    };
    assert_eq!(
        body(AcsMessage::Request(AcsRequest::GetParameterValues(names))),
        concat!(
            r#"<cwmp:GetParameterValues><ParameterNames soap-enc:arrayType="xsd:string[1]"><string>Device.</string>"#,
            "</ParameterNames></cwmp:GetParameterValues>",
        )
    );
}

#[test]
fn operations_on_deployment_units_are_typed_elements() {
    let operations = vec![
        Operation::Install(Install {
            url: "http://x/u".to_owned(),
            ..Install::default()
        }),
        Operation::Uninstall(Uninstall {
            uuid: "u".to_owned(),
            ..Uninstall::default()
        }),
    ];
    let request = AcsRequest::ChangeDuState(ChangeDuState {
        operations,
        command_key: "k".to_owned(),
    });
    assert_eq!(
        body(AcsMessage::Request(request)),
        concat!(
            r#"<cwmp:ChangeDUState><Operations xsi:type="cwmp:InstallOpStruct"><URL>http://x/u</URL>"#,
            "<Username></Username><Password></Password><ExecutionEnvRef></ExecutionEnvRef></Operations>",
            r#"<Operations xsi:type="cwmp:UninstallOpStruct"><UUID>u</UUID><Version></Version>"#,
            "<ExecutionEnvRef></ExecutionEnvRef></Operations><CommandKey>k</CommandKey></cwmp:ChangeDUState>",
        )
    );
}

#[test]
fn a_fault_names_the_side_in_soap_and_the_code_in_cwmp() {
    assert_eq!(
        body(AcsMessage::Fault(Fault::new(
            FaultCode::ACS_METHOD_NOT_SUPPORTED
        ))),
        concat!(
            "<soap-env:Fault><faultcode>soap-env:Server</faultcode><faultstring>CWMP fault</faultstring><detail>",
            "<cwmp:Fault><FaultCode>8000</FaultCode><FaultString>Method not supported</FaultString></cwmp:Fault>",
            "</detail></soap-env:Fault>",
        )
    );
    let mut fault = Fault::new(FaultCode::INVALID_ARGUMENTS);
    fault.parameters.push(ParameterFault {
        name: "Device.A".to_owned(),
        code: FaultCode::INVALID_PARAMETER_NAME,
        string: String::new(),
    });
    let xml = body(AcsMessage::Fault(fault));
    assert!(
        xml.contains("<faultcode>soap-env:Client</faultcode>"),
        "{xml}"
    );
    assert!(
        xml.contains(concat!(
            "<SetParameterValuesFault><ParameterName>Device.A</ParameterName><FaultCode>9005</FaultCode>",
            "<FaultString></FaultString></SetParameterValuesFault></cwmp:Fault>",
        )),
        "{xml}"
    );
}

#[test]
fn what_xml_cannot_carry_is_not_written() {
    for character in [
        '\0', '\u{1}', '\u{8}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}',
    ] {
        let command_key = format!("a{character}b");
        assert_eq!(
            failure(AcsRequest::Reboot(Reboot { command_key })),
            Unwritable::Character { character },
            "{character:?}"
        );
    }
    let header = Header::with_id("\u{2}");
    let message = CpeMessage::Response(CpeResponse::Reboot);
    assert!(
        Envelope {
            namespace: Namespace::default(),
            header,
            message
        }
        .to_xml()
        .is_err()
    );
}

#[test]
fn what_is_longer_than_the_standard_allows_is_not_written() {
    let too_long = |element: &str, limit| Unwritable::TooLong {
        element: element.to_owned(),
        limit,
    };
    let reboot = |characters| {
        AcsRequest::Reboot(Reboot {
            command_key: "é".repeat(characters),
        })
    };
    let write = |request| {
        let message = AcsMessage::Request(request);
        Envelope {
            namespace: Namespace::default(),
            header: Header::default(),
            message,
        }
        .to_xml()
    };

    assert!(write(reboot(32)).is_ok());
    assert_eq!(failure(reboot(33)), too_long("CommandKey", 32));
    let names = vec!["a".to_owned(), "b".repeat(257)];
    assert_eq!(
        failure(AcsRequest::GetParameterValues(GetParameterValues { names })),
        too_long("string", 256)
    );
    let download = Download {
        url: "u".repeat(257),
        ..Download::default()
    };
    assert_eq!(
        failure(AcsRequest::Download(download)),
        too_long("URL", 256)
    );
    let parameters = vec![ParameterValue::string("n".repeat(257), "")];
    let set = SetParameterValues {
        parameters,
        parameter_key: String::new(),
    };
    assert_eq!(
        failure(AcsRequest::SetParameterValues(set)),
        too_long("Name", 256)
    );
}

#[test]
fn a_raw_method_cannot_break_out_of_its_element() {
    let raw = |method: &str, arguments: &str| {
        failure(AcsRequest::Raw(Raw {
            method: method.to_owned(),
            arguments_xml: arguments.to_owned(),
        }))
    };
    for method in [
        "",
        "1a",
        "a b",
        "a>",
        "a:b",
        "X_Response",
        "Fault",
        &"x".repeat(65),
    ] {
        assert_eq!(raw(method, ""), Unwritable::MethodName, "{method}");
    }
    for arguments in [
        "<a>",
        "</a>",
        "</cwmp:X>",
        "</content><content>",
        "<a></b>",
        "a & b",
        "&nbsp;",
        "&#2;",
        "\u{1}",
        "<!DOCTYPE a>",
        "<?xml version=\"1.0\"?>",
        "<a b=c/>",
        "<!-- ",
        "<![CDATA[",
        &"<a>".repeat(70),
    ] {
        assert_eq!(
            raw("X_Foo", arguments),
            Unwritable::Arguments,
            "{arguments}"
        );
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let download = Download {
        url: "https://f.example/fw.bin?token=t0ken".to_owned(),
        username: "us3r".to_owned(),
        password: "s3cret".to_owned(),
        ..Download::default()
    };
    let parameters = [
        "Device.ManagementServer.Password",
        "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
    ]
    .map(|name| ParameterValue::string(name, "s3cret"))
    .into_iter()
    .chain([ParameterValue::string(
        "Device.ManagementServer.ParameterKey",
        "epoch-7",
    )])
    .collect();
    let set = SetParameterValues {
        parameters,
        parameter_key: String::new(),
    };
    let shown = format!(
        "{:?} {:?}",
        AcsRequest::Download(download),
        AcsRequest::SetParameterValues(set)
    );
    assert!(shown.contains("epoch-7"), "{shown}");
    assert!(shown.contains("https://f.example/fw.bin"), "{shown}");
    for secret in ["t0ken", "us3r", "s3cret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
