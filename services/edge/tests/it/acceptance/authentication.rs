//! Authentication, answers to commands, transfers and diagnostics (AT-40 to AT-73), at the wire.

use crate::{
    bed::Bed,
    wire::{Device, Reply, Wire, envelope, post_of},
};
use platen_cwmp::{
    date_time::DateTime,
    digest::{Algorithm, Authorization, Challenge, Client, Policy, Secret, basic_authorization},
    event_code::EventCode,
    rpc::{Event, Inform, ParameterValue as Reported},
};
use platen_edge::{Config, config::Scheme};
use platen_proto::{
    device::v1::{CwmpFault, ParameterFault},
    operation::v1::{
        AddObject, ChangeDuState, Download, DuOperation, GetParameterNames, GetParameterValues,
        OperationResult, ParameterValue, SetParameterValues,
        du_operation::{Install, Operation, Uninstall, Update},
        operation_request::Action,
    },
    report::v1::{CommandDone, command_done::Outcome, report::Body},
    topic::Kind,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

/// User name and id of the device whose digests were computed elsewhere, and its password.
const ROUTER: &str = "00D09E-Router%2DX%201-A%2FB%2D7";
const PASSWORD: &str = "s3cret";

const TABLE: &str = "Device.NAT.PortMapping.";

/// The vectors come out; one Digest challenge, answered where it came from (SEC-02, SEC-05).
#[tokio::test]
async fn at_40_digest_ok() {
    assert_eq!(
        Algorithm::Md5.ha1(ROUTER, "acs", PASSWORD),
        "03b74586a2a12796dd7582cf36343c47",
        "HA1 of the vector"
    );
    for (auth, response) in [
        (true, "ebeb4623556f710cfd00d067c2b65219"),
        (false, "bf4bfcdab2665da741200f1c18c3d677"),
    ] {
        let nonce = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        let challenge = Challenge {
            auth,
            ..Challenge::new("acs", nonce, Algorithm::Md5)
        };
        let header =
            Client::new(ROUTER, PASSWORD, challenge).authorize("POST", "/cwmp?t=1", "deadbeef");
        assert!(
            header.contains(&format!("response=\"{response}\"")),
            "the vector with qop {auth}: {header}"
        );
        let Ok(Authorization::Digest(digest)) = Authorization::parse(&header) else {
            panic!("a Digest is read as one: {header}")
        };
        let policy = Policy {
            realm: "acs",
            algorithms: &[Algorithm::Md5],
            legacy: true,
        };
        assert_eq!(
            digest.verify(Secret::Password(PASSWORD), "POST", "/cwmp?t=1", &policy),
            Ok(()),
            "the vector verifies, qop {auth}"
        );

        // The same device at the edge, whose realm and nonces are its own.
        let bed = router_bed().await;
        let mut device = router(bed.address).await;
        device.path = "/cwmp/default?t=1".into();
        let inform = post_of(device.inform(&[EventCode::Periodic]));
        let asked = device.post_plain(&[], &inform).await.unwrap();
        assert_eq!(asked.status, 401, "who says nothing is asked");
        assert_eq!(schemes(&asked), ["Digest"], "one challenge");
        let header = asked.header("www-authenticate").unwrap();
        assert!(header.contains("qop=\"auth\""), "exactly auth: {header}");
        assert_eq!(
            (asked.body.len(), asked.header("content-length")),
            (0, Some("0")),
            "an empty body that says so"
        );
        assert_ne!(
            asked.header("connection"),
            Some("close"),
            "the connection stays"
        );

        device.challenged(&asked);
        if !auth {
            let challenge = Challenge {
                auth: false,
                ..Challenge::parse_all(header).unwrap().remove(0)
            };
            device.digest = Some(Client::new(ROUTER, PASSWORD, challenge));
        }
        let authorization = device.authorization().unwrap();
        assert_eq!(authorization.contains("qop=auth"), auth, "{authorization}");
        let opened = device
            .post_plain(&[("Authorization", &authorization)], &inform)
            .await
            .unwrap();
        assert_answers(&opened, "1", "Inform");
        let report = &bed.reports(Kind::Inform, 1).await[0];
        assert_eq!(report.device, ROUTER, "the device is who it says");
    }
}

/// A recorded Authorization gets a challenge and no session at another address (SEC-03).
#[tokio::test]
async fn at_41_nonce_replay() {
    let bed = router_bed().await;
    let mut device = router(bed.address).await;
    let inform = post_of(device.inform(&[EventCode::Periodic]));
    let asked = device.post_plain(&[], &inform).await.unwrap();
    device.challenged(&asked);
    let authorization = device.authorization().unwrap();
    let opened = device
        .post_plain(&[("Authorization", &authorization)], &inform)
        .await
        .unwrap();
    assert_answers(&opened, "1", "Inform");

    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let answer = post_from(elsewhere, bed.address, &authorization, &inform).await;

    assert!(answer.starts_with("HTTP/1.1 401 "), "refused: {answer}");
    let answer = answer.to_ascii_lowercase();
    assert!(
        answer.contains("www-authenticate: digest "),
        "challenged: {answer}"
    );
    let Ok(Authorization::Digest(used)) = Authorization::parse(&authorization) else {
        panic!("a Digest is read as one: {authorization}")
    };
    assert!(
        !answer.contains(&used.nonce),
        "the nonce is a new one: {answer}"
    );
    assert!(!answer.contains("set-cookie"), "no session: {answer}");
    assert_eq!(
        bed.count_reports().await,
        1,
        "the device's own Inform alone"
    );
}

/// The challenge of one edge is answered on a new connection, at another edge (SEC-03, SEC-05).
#[tokio::test]
async fn at_42_new_tcp_after_401() {
    let bed = router_bed().await;
    let other = bed.beside(Config::default(), |ports| ports).await;
    for next in [bed.address, other] {
        let mut device = router(bed.address).await;
        let inform = post_of(device.inform(&[EventCode::Periodic]));
        let asked = device.post_plain(&[], &inform).await.unwrap();
        assert_eq!(asked.status, 401, "who says nothing is asked");
        device.challenged(&asked);

        device.wire = Wire::connect(next).await;
        let authorization = device.authorization().unwrap();
        let opened = device
            .post_plain(&[("Authorization", &authorization)], &inform)
            .await
            .unwrap();

        assert_answers(&opened, "1", "Inform");
    }
    assert_eq!(bed.count_reports().await, 2, "one Inform of each session");
}

/// Basic in the clear gets Digest; an empty name is no failed attempt (SEC-01, SEC-02, SEC-06).
#[tokio::test]
async fn at_43_basic_over_http() {
    let mut config = Config::default();
    config.auth.schemes = vec![Scheme::DigestMd5, Scheme::Basic];
    config.limits.failures_per_peer = 1;
    config.limits.failures_per_user = 1;
    let bed = Bed::start(config).await;
    register(&bed, "Router-X 1", "A/B-7").await;
    let mut device = router(bed.address).await;
    let inform = post_of(device.inform(&[EventCode::Periodic]));
    let right = basic_authorization(ROUTER, PASSWORD);
    let empty = basic_authorization("", "");
    for authorization in [&right, &empty, &empty, &empty] {
        let reply = device
            .post_plain(&[("Authorization", authorization)], &inform)
            .await
            .unwrap();
        assert_eq!(reply.status, 401, "Basic is not for this listener");
        assert_eq!(schemes(&reply), ["Digest"], "nor offered on it");
    }
    let text = bed.metrics.text().unwrap();
    for (outcome, counted) in [
        ("missing\"} 4", true),
        ("wrong_password\"}", false),
        ("unknown_user\"}", false),
        ("throttled\"}", false),
    ] {
        let line = format!("platen_auth_attempt_total{{outcome=\"{outcome}");
        assert_eq!(text.contains(&line), counted, "{line} in {text}");
    }

    let opened = device.post(&inform).await.unwrap();
    assert_answers(&opened, "1", "Inform");
}

/// Who authenticates as X and says to be Y is refused, and Y is not touched (SEC-07, SEC-08).
#[tokio::test]
async fn at_44_identity_mismatch() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "one").await;
    bed.register("2", "two").await;
    let mut liar = Device::connect(bed.address, "2", "one").await;
    liar.username = "00D09E-Test-1".into();
    let inform = post_of(liar.inform(&[EventCode::Periodic]));

    let reply = liar.post(&inform).await.unwrap();

    assert_eq!(reply.status, 403, "it is no other: {}", reply.text());
    assert_eq!(reply.header("set-cookie"), None, "no session");
    assert_eq!(
        bed.count_reports().await,
        0,
        "nothing is reported in the name of the other device"
    );
}

/// A user name is decoded once, in either case of its digits, not twice (SEC-07, SEC-09).
#[tokio::test]
async fn at_45_percent_encoding() {
    let bed = router_bed().await;
    register(&bed, "Ä.1", "1").await;
    let cases = [
        (ROUTER, "Router-X 1", "A/B-7", true),
        ("00D09E-%C3%84%2E1-1", "Ä.1", "1", true),
        (
            "00D09E-Router%2dX%201-A%2fB%2d7",
            "Router-X 1",
            "A/B-7",
            true,
        ),
        ("00D09E-%c3%84%2e1-1", "Ä.1", "1", true),
        (
            "00D09E-Router%252DX%25201-A%252FB%252D7",
            "Router-X 1",
            "A/B-7",
            false,
        ),
    ];
    let mut found = Vec::new();
    for (username, product_class, serial, _) in cases {
        let mut device = Device::connect(bed.address, serial, PASSWORD).await;
        device.identity.product_class = product_class.into();
        device.username = username.into();
        let inform = post_of(device.inform(&[EventCode::Periodic]));
        let status = device.post(&inform).await.unwrap().status;
        assert!(
            matches!(status, 200 | 401 | 403),
            "taken or refused: {status} for {username}"
        );
        if status == 200 {
            let authorization = device.authorization().unwrap();
            let end = device
                .post_plain(&[("Authorization", &authorization)], b"")
                .await
                .unwrap();
            assert_eq!(end.status, 204, "{username} goes on in its session");
        }
        found.push((username, status == 200));
    }

    let expected = cases.map(|(username, _, _, is_taken)| (username, is_taken));
    assert_eq!(found, expected, "which user names open a session");
    let mut devices: Vec<String> = bed
        .reports(Kind::Inform, 4)
        .await
        .into_iter()
        .map(|report| report.device)
        .collect();
    devices.sort();
    assert_eq!(
        devices,
        ["00D09E-%C3%84%2E1-1", "00D09E-%C3%84%2E1-1", ROUTER, ROUTER],
        "the id is the same however the name was written"
    );
    assert_eq!(bed.count_reports().await, 4, "and no other was reported");
}

/// An Inform sent again is answered, and the log shows that it is the same (SES-59, EVT-05).
#[tokio::test]
async fn at_49_duplicate_inform() {
    let bed = bed_of_one().await;
    for retry_count in [0, 1] {
        begin(&bed, |inform| {
            inform.events = vec![Event::new(EventCode::ValueChange)];
            inform.current_time = DateTime::from_text("2026-11-23T08:00:00Z");
            inform.retry_count = retry_count;
        })
        .await;
    }

    let mut informs = Vec::new();
    for report in bed.reports(Kind::Inform, 2).await {
        assert_eq!(report.device, "00D09E-Test-1", "one identity");
        match report.body {
            Some(Body::Inform(inform)) => informs.push(inform),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        informs
            .iter()
            .map(|inform| inform.retry_count)
            .collect::<Vec<_>>(),
        [0, 1],
        "RetryCount as sent"
    );
    assert_eq!(
        informs[0].current_time, "2026-11-23T08:00:00Z",
        "the device's clock as sent"
    );
    assert_eq!(informs[0].events, ["4 VALUE CHANGE"], "the event");
    assert_eq!(informs[0].parameters[0].value, "1.4", "the parameter");
    informs[1].retry_count = 0;
    assert_eq!(
        informs[0], informs[1],
        "nothing but RetryCount tells the two apart"
    );
}

/// A fault is on the log with all its entries, and the session goes on (SES-71, SES-93, RPC-21).
#[tokio::test]
async fn at_52_spv_fault_list() {
    let bed = bed_of_one().await;
    let refused = [
        ("Device.X_00D09E_None", 9005),
        ("Device.Time.NTPServer1", 9007),
        ("Device.DeviceInfo.UpTime", 9008),
    ];
    let set = SetParameterValues {
        values: refused.map(|(path, _)| value(path, "1", "")).into(),
        ..SetParameterValues::default()
    };
    bed.enqueue("1", "set", Action::SetParameterValues(set), |command| {
        command.priority = 1
    })
    .await;
    bed.enqueue("1", "get", get(&["Device.A"]), |_| {}).await;
    let mut device = begin(&bed, periodic).await;
    let set = empty(&mut device).await;
    assert_asks(&set, "SetParameterValues");

    let mut entries = String::new();
    for (path, code) in refused {
        entries.push_str(&format!(
            "<SetParameterValuesFault><ParameterName>{path}</ParameterName>\
             <FaultCode>{code}</FaultCode><FaultString>no {code}</FaultString>\
             </SetParameterValuesFault>"
        ));
    }
    let fault = format!(
        "<soap-env:Fault><faultcode>soap-env:Client</faultcode>\
         <faultstring>CWMP fault</faultstring><detail><cwmp:Fault><FaultCode>9003</FaultCode>\
         <FaultString>Invalid arguments</FaultString>{entries}</cwmp:Fault></detail>\
         </soap-env:Fault>"
    );
    let get = respond(&mut device, &set, &fault).await;
    assert_asks(&get, "GetParameterValues");
    let end = respond(&mut device, &get, &values(&[("Device.A", "1")])).await;
    assert_eq!(end.status, 204, "the session ends as any other");

    let done = done(&bed, 2).await;
    let expected = CwmpFault {
        code: 9003,
        string: "Invalid arguments".into(),
        parameter_faults: refused
            .map(|(path, code)| ParameterFault {
                path: path.into(),
                code,
                string: format!("no {code}"),
            })
            .into(),
    };
    assert_eq!(
        (done[0].command.as_str(), &done[0].outcome),
        ("set", &Some(Outcome::Fault(expected))),
        "the fault is whole, and nothing counts as applied"
    );
    assert!(!done[0].unanswered, "a fault is an answer");
}

/// A set says key and types and escapes; Status 1 is not 0 (SES-79, RPC-20, RPC-23, RPC-24).
#[tokio::test]
async fn at_53_spv_pending() {
    let bed = bed_of_one().await;
    let cases = [("pending", "<Status>1</Status>", 1), ("silent", "", 0)];
    for (at, (id, ..)) in (1..).zip(cases) {
        let set = SetParameterValues {
            values: vec![
                value("Device.A", "300", "xsd:unsignedInt"),
                value("Device.B", "1", "xsd:boolean"),
                value("Device.C", "a&b<c>", ""),
            ],
            parameter_key: format!("epoch-{id}"),
        };
        bed.enqueue("1", id, Action::SetParameterValues(set), |command| {
            command.create_time_us = at
        })
        .await;
    }
    let mut device = begin(&bed, periodic).await;
    let mut reply = empty(&mut device).await;
    for (id, status, _) in cases {
        assert_asks(&reply, "SetParameterValues");
        let text = reply.text();
        let key = format!("<ParameterKey>epoch-{id}</ParameterKey>");
        for expected in [
            "soap-enc:arrayType=\"cwmp:ParameterValueStruct[3]\"",
            "<Name>Device.A</Name><Value xsi:type=\"xsd:unsignedInt\">300</Value>",
            "<Name>Device.B</Name><Value xsi:type=\"xsd:boolean\">1</Value>",
            "<Name>Device.C</Name><Value xsi:type=\"xsd:string\">a&amp;b&lt;c",
            key.as_str(),
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let response =
            format!("<cwmp:SetParameterValuesResponse>{status}</cwmp:SetParameterValuesResponse>");
        reply = respond(&mut device, &reply, &response).await;
    }
    assert_eq!(reply.status, 204, "the session ends");

    for (done, (id, _, status)) in done(&bed, 2).await.iter().zip(cases) {
        assert_eq!(
            (done.command.as_str(), result(done).status),
            (id, Some(status)),
            "1: to be verified; none: 0"
        );
    }
}

/// An answer that lacks a name and has another one is on the log as it is (RPC-39).
#[tokio::test]
async fn at_54_gpv_oddities() {
    let bed = bed_of_one().await;
    let names = ["Device.A", "Device.B", "Device.C", "Device.D"];
    bed.enqueue("1", "get", get(&names), |_| {}).await;
    let mut device = begin(&bed, periodic).await;
    let request = empty(&mut device).await;
    assert_asks(&request, "GetParameterValues");

    let answer = [
        ("Device.D", "4"),
        ("Device.A", ""),
        ("Device.Foreign", "x"),
        ("Device.C", "3"),
    ];
    let end = respond(&mut device, &request, &values(&answer)).await;

    assert_eq!(end.status, 204, "the session ends");
    let done = done(&bed, 1).await;
    let told: Vec<(&str, &str)> = result(&done[0])
        .values
        .iter()
        .map(|value| (value.path.as_str(), value.value.as_str()))
        .collect();
    assert_eq!(
        told, answer,
        "the answer as it is: nothing made up or dropped"
    );
    let asked = done[0].request.as_ref().and_then(|it| it.action.as_ref());
    assert_eq!(asked, Some(&get(&names)), "what is missing can be told");
}

/// An AddObject whose answer was lost is not sent again; the table is read first (RPC-69).
#[tokio::test]
async fn at_56_add_object_uncertain() {
    let bed = bed_of_one().await;
    let add = AddObject {
        path: TABLE.into(),
        ..AddObject::default()
    };
    bed.enqueue("1", "add", Action::AddObject(add), |_| {})
        .await;
    let mut lost = begin(&bed, periodic).await;
    assert_asks(&empty(&mut lost).await, "AddObject");
    drop(lost);

    let names = GetParameterNames {
        path: TABLE.into(),
        next_level: true,
    };
    bed.enqueue("1", "names", Action::GetParameterNames(names), |command| {
        command.once = false
    })
    .await;
    let mut device = begin(&bed, periodic).await;
    let request = empty(&mut device).await;
    assert_asks(&request, "GetParameterNames");
    let row = format!(
        "<cwmp:GetParameterNamesResponse>\
         <ParameterList soap-enc:arrayType=\"cwmp:ParameterInfoStruct[1]\"><ParameterInfoStruct>\
         <Name>{TABLE}1.</Name><Writable>1</Writable></ParameterInfoStruct></ParameterList>\
         </cwmp:GetParameterNamesResponse>"
    );
    let end = respond(&mut device, &request, &row).await;
    assert_eq!(end.status, 204, "no second AddObject: {}", end.text());

    let done = done(&bed, 1).await;
    assert_eq!(done[0].command, "names", "the table was read");
    assert_eq!(
        result(&done[0]).names[0].path,
        format!("{TABLE}1."),
        "and its row is on the log"
    );
}

/// Status 1, and TransferComplete with any key is answered and told (RPC-90, RPC-92, RPC-127).
#[tokio::test]
async fn at_61_download_flow() {
    let bed = bed_of_one().await;
    let url = "http://files.example.com/fw.bin?a=1&b=2";
    bed.enqueue("1", "download", download(url, "K-1"), |_| {})
        .await;
    let mut device = begin(&bed, periodic).await;
    let request = empty(&mut device).await;
    assert_asks(&request, "Download");
    let text = request.text();
    assert!(
        text.contains("<CommandKey>K-1</CommandKey>"),
        "the key: {text}"
    );
    let end = respond(&mut device, &request, DOWNLOAD_RESPONSE).await;
    assert_eq!(end.status, 204, "the session ends");
    let answered = done(&bed, 1).await;
    let answered = result(&answered[0]);
    assert_eq!(
        (answered.status, answered.complete_time.is_some()),
        (Some(1), false),
        "the transfer is not over"
    );

    let mut device = begin(&bed, |inform| {
        inform.events = vec![
            Event::new(EventCode::Boot),
            Event::new(EventCode::TransferComplete),
            Event::method("Download", "K-1"),
        ];
        inform.parameters = vec![Reported::string("Device.DeviceInfo.SoftwareVersion", "2.0")];
    })
    .await;
    let keys = ["K-1", "wrong", ""];
    for (id, key) in ["11", "12", "13"].into_iter().zip(keys) {
        let complete = format!(
            "<cwmp:TransferComplete><CommandKey>{key}</CommandKey><FaultStruct>\
             <FaultCode>0</FaultCode><FaultString></FaultString></FaultStruct>\
             <StartTime>2026-11-23T08:00:00Z</StartTime>\
             <CompleteTime>2026-11-23T08:01:00Z</CompleteTime></cwmp:TransferComplete>"
        );
        let reply = device
            .post_plain(&[], envelope(id, &complete).as_bytes())
            .await
            .unwrap();
        assert_answers(&reply, id, "TransferComplete");
    }
    assert_eq!(empty(&mut device).await.status, 204, "the session ends");

    let mut told = Vec::new();
    for report in bed.reports(Kind::Transfer, 3).await {
        let transfer = match report.body {
            Some(Body::TransferComplete(transfer)) => transfer,
            other => panic!("{other:?}"),
        };
        assert_eq!(transfer.fault, None, "FaultCode 0 is success");
        assert!(transfer.complete_time.is_some(), "when it was over");
        told.push(transfer.command_key);
    }
    assert_eq!(told, keys, "each with its own key");
    let inform = match bed.reports(Kind::Inform, 2).await.remove(1).body {
        Some(Body::Inform(inform)) => inform,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        inform.events,
        ["1 BOOT", "7 TRANSFER COMPLETE", "M Download"],
        "the events"
    );
    assert_eq!(inform.command_keys, ["", "", "K-1"], "with the key");
    assert_eq!(inform.parameters[0].value, "2.0", "and the new version");
}

/// A URL of 256 characters goes out escaped; one of 257 does not go out at all (RPC-03, RPC-90).
#[tokio::test]
async fn at_62_download_url() {
    let url =
        |characters: usize| format!("{:x<characters$}", "http://files.example.com/fw.bin?a=1&b=");
    let bed = bed_of_one().await;
    bed.enqueue("1", "long", download(&url(257), "K-1"), |command| {
        command.priority = 1
    })
    .await;
    bed.enqueue("1", "fits", download(&url(256), "K-2"), |_| {})
        .await;
    let mut device = begin(&bed, periodic).await;

    let request = empty(&mut device).await;

    assert_asks(&request, "Download");
    let text = request.text();
    let escaped = format!("<URL>{}</URL>", url(256).replace('&', "&amp;"));
    assert!(text.contains(&escaped), "{escaped} in {text}");
    let end = respond(&mut device, &request, DOWNLOAD_RESPONSE).await;
    assert_eq!(end.status, 204, "the session ends");
    let done = done(&bed, 2).await;
    assert_eq!(
        (done[0].command.as_str(), done[0].unanswered),
        ("long", false),
        "the device was not asked"
    );
    assert!(
        matches!(&done[0].outcome, Some(Outcome::Failed(why)) if why.contains("URL")),
        "it says why: {:?}",
        done[0].outcome
    );
    assert_eq!(
        (done[1].command.as_str(), result(&done[1]).status),
        ("fits", Some(1)),
        "the other one was sent"
    );
}

/// Operations keep their order; their results are answered and told (RPC-101, RPC-138, RPC-140).
#[tokio::test]
async fn at_65_change_du_state() {
    let bed = bed_of_one().await;
    let [one, two, three] = [
        "f8dd1bc5-7b6c-5f0a-9b3c-000000000001",
        "f8dd1bc5-7b6c-5f0a-9b3c-000000000002",
        "f8dd1bc5-7b6c-5f0a-9b3c-000000000003",
    ];
    let operations = [
        Operation::Install(Install {
            url: "http://files.example.com/app?a=1&b=2".into(),
            uuid: one.into(),
            ..Install::default()
        }),
        Operation::Update(Update {
            uuid: two.into(),
            version: "2".into(),
            ..Update::default()
        }),
        Operation::Uninstall(Uninstall {
            uuid: three.into(),
            ..Uninstall::default()
        }),
    ];
    let change = ChangeDuState {
        operations: operations
            .map(|operation| DuOperation {
                operation: Some(operation),
            })
            .into(),
        command_key: "K-1".into(),
    };
    bed.enqueue("1", "change", Action::ChangeDuState(change), |_| {})
        .await;
    let mut device = begin(&bed, periodic).await;
    let request = empty(&mut device).await;
    assert_asks(&request, "ChangeDUState");
    let text = request.text();
    let places = [
        "xsi:type=\"cwmp:InstallOpStruct\"",
        "<URL>http://files.example.com/app?a=1&amp;b=2</URL>",
        one,
        "xsi:type=\"cwmp:UpdateOpStruct\"",
        two,
        "xsi:type=\"cwmp:UninstallOpStruct\"",
        three,
        "<CommandKey>K-1</CommandKey>",
    ]
    .map(|piece| text.find(piece));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "three operations in their order, then the key: {places:?} in {text}"
    );
    let end = respond(&mut device, &request, "<cwmp:ChangeDUStateResponse/>").await;
    assert_eq!(end.status, 204, "the session ends");
    let answered = done(&bed, 1).await;
    assert_eq!(
        result(&answered[0]),
        &OperationResult::default(),
        "taken, and nothing more is known"
    );

    let mut device = begin(&bed, |inform| {
        inform.events = vec![
            Event::new(EventCode::DuStateChangeComplete),
            Event::method("ChangeDUState", "K-1"),
        ];
    })
    .await;
    let mut results = String::new();
    for (uuid, state, resolved, code) in [(one, "Installed", 1, 0), (two, "Failed", 0, 9027)] {
        results.push_str(&format!(
            "<Results><UUID>{uuid}</UUID><DeploymentUnitRef></DeploymentUnitRef>\
             <Version>1</Version><CurrentState>{state}</CurrentState>\
             <Resolved>{resolved}</Resolved><ExecutionUnitRefList></ExecutionUnitRefList>\
             <StartTime>2026-11-23T08:00:00Z</StartTime>\
             <CompleteTime>2026-11-23T08:01:00Z</CompleteTime>\
             <Fault><FaultCode>{code}</FaultCode><FaultString></FaultString></Fault></Results>"
        ));
    }
    let complete = format!(
        "<cwmp:DUStateChangeComplete>{results}<CommandKey>K-1</CommandKey>\
         </cwmp:DUStateChangeComplete>"
    );
    let reply = device
        .post_plain(&[], envelope("21", &complete).as_bytes())
        .await
        .unwrap();
    assert_answers(&reply, "21", "DUStateChangeComplete");
    assert_eq!(empty(&mut device).await.status, 204, "the session ends");

    let request = match bed.reports(Kind::Request, 1).await.remove(0).body {
        Some(Body::DeviceRequest(request)) => request,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (request.method.as_str(), request.command_key.as_str()),
        ("DUStateChangeComplete", "K-1"),
        "which operations it is about"
    );
    let told: Vec<(&str, &str, Option<i32>)> = request
        .du_results
        .iter()
        .map(|result| {
            let code = result.fault.as_ref().map(|fault| fault.code);
            (result.uuid.as_str(), result.current_state.as_str(), code)
        })
        .collect();
    assert_eq!(
        told,
        [(one, "Installed", None), (two, "Failed", Some(9027))],
        "the results there are; the third is not made up"
    );
}

/// Arguments and start go in one call, and how it ended is on the log (RPC-20, RPC-35).
#[tokio::test]
async fn at_73_diagnostics() {
    let state = "Device.IP.Diagnostics.IPPing.DiagnosticsState";
    let bed = bed_of_one().await;
    let set = SetParameterValues {
        values: vec![
            value(
                "Device.IP.Diagnostics.IPPing.Host",
                "probe.example.com",
                "xsd:string",
            ),
            value(state, "Requested", "xsd:string"),
        ],
        ..SetParameterValues::default()
    };
    bed.enqueue("1", "start", Action::SetParameterValues(set), |_| {})
        .await;
    let mut device = begin(&bed, periodic).await;
    let request = empty(&mut device).await;
    assert_asks(&request, "SetParameterValues");
    let text = request.text();
    for expected in ["probe.example.com", "Requested"] {
        let expected = format!("<Value xsi:type=\"xsd:string\">{expected}</Value>");
        assert!(text.contains(&expected), "{expected} in {text}");
    }
    let applied =
        "<cwmp:SetParameterValuesResponse><Status>0</Status></cwmp:SetParameterValuesResponse>";
    let end = respond(&mut device, &request, applied).await;
    assert_eq!(end.status, 204, "one call, and the session ends");

    let ends = ["Complete", "Completed", "Error_Timeout"];
    for found in ends {
        bed.enqueue("1", found, get(&[state]), |_| {}).await;
        let mut device = begin(&bed, |inform| {
            inform.events = vec![Event::new(EventCode::DiagnosticsComplete)];
        })
        .await;
        let request = empty(&mut device).await;
        assert_asks(&request, "GetParameterValues");
        let end = respond(&mut device, &request, &values(&[(state, found)])).await;
        assert_eq!(end.status, 204, "the session ends");
    }

    let done = done(&bed, 4).await;
    assert_eq!(
        (done[0].command.as_str(), result(&done[0]).status),
        ("start", Some(0)),
        "the diagnostic was started"
    );
    let told: Vec<&str> = done[1..]
        .iter()
        .map(|done| result(done).values[0].value.as_str())
        .collect();
    assert_eq!(told, ends, "the state in the device's own words");
    for report in &bed.reports(Kind::Inform, 4).await[1..] {
        let Some(Body::Inform(inform)) = &report.body else {
            panic!("{report:?}")
        };
        assert_eq!(
            inform.events,
            ["8 DIAGNOSTICS COMPLETE"],
            "the event is reported"
        );
    }
}

const DOWNLOAD_RESPONSE: &str = "<cwmp:DownloadResponse><Status>1</Status>\
     <StartTime>0001-01-01T00:00:00Z</StartTime><CompleteTime>0001-01-01T00:00:00Z</CompleteTime>\
     </cwmp:DownloadResponse>";

/// A bed that knows the device of the vectors.
async fn router_bed() -> Bed {
    let bed = Bed::start(Config::default()).await;
    register(&bed, "Router-X 1", "A/B-7").await;
    bed
}

/// A bed with the device `1`, in which nobody waits for decisions: none are made.
async fn bed_of_one() -> Bed {
    let mut config = Config::default();
    config.linger.long = Duration::ZERO;
    config.linger.short = Duration::ZERO;
    let bed = Bed::start(config).await;
    bed.register("1", "secret").await;
    bed
}

async fn register(bed: &Bed, product_class: &str, serial: &str) {
    bed.register_model(product_class, serial, PASSWORD, |_| {}, |_| {})
        .await;
}

/// The device of the vectors.
async fn router(address: SocketAddr) -> Device {
    let mut device = Device::connect(address, "A/B-7", PASSWORD).await;
    device.identity.product_class = "Router-X 1".into();
    device.username = ROUTER.into();
    device
}

/// Opens a session of the device `1`.
async fn begin(bed: &Bed, with: impl FnOnce(&mut Inform)) -> Device {
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let mut inform = device.inform(&[]);
    with(&mut inform);
    let opened = device.post(&post_of(inform)).await.unwrap();
    assert_answers(&opened, "1", "Inform");
    device
}

fn periodic(inform: &mut Inform) {
    inform.events = vec![Event::new(EventCode::Periodic)];
}

/// The empty POST of a session.
async fn empty(device: &mut Device) -> Reply {
    device.post_plain(&[], b"").await.unwrap()
}

/// Answers the server's request, under its ID.
async fn respond(device: &mut Device, request: &Reply, body: &str) -> Reply {
    let text = request.text();
    let (before, _) = text.split_once("</cwmp:ID>").expect("a request has an ID");
    let id = before.rsplit('>').next().unwrap_or_default();
    device
        .post_plain(
            &[("Content-Type", "text/xml; charset=utf-8")],
            envelope(id, body).as_bytes(),
        )
        .await
        .unwrap()
}

/// The answer to a GetParameterValues.
fn values(values: &[(&str, &str)]) -> String {
    let mut list = String::new();
    for (name, value) in values {
        list.push_str(&format!(
            "<ParameterValueStruct><Name>{name}</Name>\
             <Value xsi:type=\"xsd:string\">{value}</Value></ParameterValueStruct>"
        ));
    }
    format!(
        "<cwmp:GetParameterValuesResponse>\
         <ParameterList soap-enc:arrayType=\"cwmp:ParameterValueStruct[{}]\">{list}\
         </ParameterList></cwmp:GetParameterValuesResponse>",
        values.len()
    )
}

fn get(paths: &[&str]) -> Action {
    Action::GetParameterValues(GetParameterValues {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn value(path: &str, value: &str, r#type: &str) -> ParameterValue {
    ParameterValue {
        path: path.into(),
        value: value.into(),
        r#type: r#type.into(),
    }
}

fn download(url: &str, command_key: &str) -> Action {
    Action::Download(Download {
        file_type: "1 Firmware Upgrade Image".into(),
        url: url.into(),
        command_key: command_key.into(),
        ..Download::default()
    })
}

/// 200 with the answer to the device's request, under its ID and in its namespace.
fn assert_answers(reply: &Reply, id: &str, method: &str) {
    let text = reply.text();
    assert_eq!(reply.status, 200, "{method} is answered: {text}");
    for expected in [
        format!("<cwmp:{method}Response>"),
        format!(">{id}</cwmp:ID>"),
        "=\"urn:dslforum-org:cwmp-1-2\"".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

/// 200 with a request of the server, in the device's namespace.
fn assert_asks(reply: &Reply, method: &str) {
    let text = reply.text();
    assert_eq!(reply.status, 200, "{method} is to be sent: {text}");
    for expected in [
        format!("<cwmp:{method}>"),
        "=\"urn:dslforum-org:cwmp-1-2\"".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

/// The answers to commands that are on the log.
async fn done(bed: &Bed, count: usize) -> Vec<CommandDone> {
    let mut done = Vec::new();
    for report in bed.reports(Kind::Done, count).await {
        match report.body {
            Some(Body::CommandDone(one)) => done.push(one),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done.len(), count, "no more answers than commands: {done:?}");
    done
}

fn result(done: &CommandDone) -> &OperationResult {
    match &done.outcome {
        Some(Outcome::Result(result)) => result,
        other => panic!("{} has a result: {other:?}", done.command),
    }
}

/// The schemes of a challenge, one per header.
fn schemes(reply: &Reply) -> Vec<&str> {
    reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .filter_map(|(_, challenge)| challenge.split(' ').next())
        .collect()
}

/// A POST from another address of this machine; the whole answer as it comes.
async fn post_from(source: Ipv4Addr, to: SocketAddr, authorization: &str, body: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let head = format!(
        "POST /cwmp/default HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
         Authorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
