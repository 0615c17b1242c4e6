//! Envelopes as devices send them: broken, hostile, of any version and charset, large, and sloppy.

use super::resident;
use crate::{
    bed::Bed,
    wire::{self, Device, Reply},
};
use platen_cwmp::{
    rpc::{AcsResponse, CpeResponse, GetParameterNamesResponse, ParameterInfo},
    soap::{AcsMessage, Envelope},
};
use platen_edge::Config;
use platen_proto::{
    event::v1::Inform,
    operation::v1::{GetParameterNames, operation_request::Action},
    report::v1::{Report, command_done::Outcome, report::Body},
    topic::Kind,
};
use std::{
    fmt::{self, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// AT-27: what is no XML gets 400 and no session (SES-70).
#[tokio::test]
async fn at_27_broken_xml() {
    let bed = bed(false).await;
    let whole = inform(&["1"]);
    for broken in ["<soap:Envelope><", &whole[..whole.len() / 2]] {
        let reply = post(&bed, broken).await;
        assert_eq!(reply.status, 400, "broken XML is told as such: {broken}");
        assert_eq!(reply.header("set-cookie"), None, "no session: {broken}");
    }
    assert_eq!(bed.count_reports().await, 0, "nothing of it is on the log");
    let metrics = bed.metrics.text().unwrap();
    assert!(
        !metrics.contains("platen_cwmp_session_started_total"),
        "no session was begun: {metrics}"
    );
}

/// AT-28: a DOCTYPE gets 400 within 10 ms, without fetching or expanding anything (SES-84, SEC-50).
#[tokio::test]
async fn at_28_doctype() {
    let bed = bed(false).await;
    // Asked without waiting: a fetch that was begun stands in its queue.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x", elsewhere.local_addr().unwrap());
    let mut laughs = "<!DOCTYPE a [<!ENTITY l0 \"lol\">".to_owned();
    for level in 1..10 {
        let ten = format!("&l{};", level - 1).repeat(10);
        write!(laughs, "<!ENTITY l{level} \"{ten}\">").unwrap();
    }
    laughs.push_str("]>");
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let challenge = device
        .post_plain(&[], inform(&["1"]).as_bytes())
        .await
        .unwrap();
    device.challenged(&challenge);

    for (doctype, value) in [
        ("<!DOCTYPE a>".to_owned(), "1"),
        (format!("<!DOCTYPE a SYSTEM \"{url}\">"), "1"),
        (
            format!("<!DOCTYPE a [<!ENTITY x SYSTEM \"{url}\">]>"),
            "&x;",
        ),
        (
            format!("<!DOCTYPE a [<!ENTITY % x SYSTEM \"{url}\"> %x;]>"),
            "1",
        ),
        (laughs, "&l9;"),
    ] {
        let body = changed(&inform(&[value]), "?>", &format!("?>{doctype}"));
        // The quickest of a few: what it costs, not how busy the machine is.
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let authorization = device.authorization().unwrap();
            let begun = Instant::now();
            let reply = device
                .post_plain(&[("Authorization", &authorization)], body.as_bytes())
                .await
                .expect("an answer");
            quickest = quickest.min(begun.elapsed());
            assert_eq!(reply.status, 400, "a DOCTYPE is refused: {doctype}");
            assert_eq!(reply.header("set-cookie"), None, "no session: {doctype}");
        }
        assert!(
            quickest <= Duration::from_millis(10),
            "refused without work, not in {quickest:?}: {doctype}"
        );
    }
    assert!(
        elsewhere.accept().is_err(),
        "nothing that a DOCTYPE names is fetched"
    );
    assert_eq!(bed.count_reports().await, 0, "nothing of it is on the log");
}

/// AT-29: CDATA and references, beyond 16 bits too, are stored as what they mean (SES-83).
#[tokio::test]
async fn at_29_cdata_and_entities() {
    let bed = bed(false).await;
    let reply = post(&bed, inform(&["<![CDATA[a<b&c]]>", "&#x1F600;", "&#10;"])).await;
    response(&reply);
    assert_eq!(
        values(&bed.reports(Kind::Inform, 1).await[0]),
        ["a<b&c", "😀", "\n"],
        "values are stored exactly"
    );
}

/// AT-30: dirt is repaired and counted, and refused by a strict server (SES-85).
#[tokio::test]
async fn at_30_dirty_xml() {
    let tolerant = bed(false).await;
    let dirty = inform(&["a\u{2}b", "Toner & Drum"]);
    let reply = post(&tolerant, format!("\u{feff}\r\n{dirty}\0\0")).await;
    assert_eq!(response(&reply).header.id.as_deref(), Some("1"));
    assert_eq!(
        values(&tolerant.reports(Kind::Inform, 1).await[0]),
        ["ab", "Toner & Drum"],
        "what is left is kept"
    );
    let metrics = tolerant.metrics.text().unwrap();
    for repair in [
        "leading_bytes",
        "control_character",
        "bare_ampersand",
        "trailing_bytes",
    ] {
        let counted = format!("platen_cwmp_repair_total{{repair=\"{repair}\"}} 1");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    }

    let strict = bed(true).await;
    let clean = inform(&["1"]);
    for dirty in [
        format!("\u{feff}\r\n{clean}"),
        inform(&["a\u{2}b"]),
        inform(&["Toner & Drum"]),
        format!("{clean}\0\0"),
    ] {
        let reply = post(&strict, &dirty).await;
        assert_eq!(
            reply.status, 400,
            "a strict server repairs nothing: {dirty:?}"
        );
        assert_eq!(reply.header("set-cookie"), None, "no session: {dirty:?}");
    }
    response(&post(&strict, &clean).await);
    assert_eq!(strict.count_reports().await, 1, "the clean one alone");
}

/// AT-31: spaces around a value, and around references in it, are part of it (SES-86).
#[tokio::test]
async fn at_31_whitespace() {
    let bed = bed(false).await;
    response(&post(&bed, inform(&[" a  b ", "x &amp; y"])).await);
    assert_eq!(
        values(&bed.reports(Kind::Inform, 1).await[0]),
        [" a  b ", "x & y"],
        "values are kept byte for byte"
    );
}

/// AT-32: namespaces are answered in kind; a strict server takes 1-0 to 1-2 (VER-01, VER-09).
#[tokio::test]
async fn at_32_namespaces() {
    const CWMP: &str = "urn:dslforum-org:cwmp-1-2";
    let plain = inform(&["1"]);
    let default = {
        let body = changed(&plain, "xmlns:soap-env=", "xmlns=");
        let body = changed(&body, "soap-env:", "");
        let body = changed(
            &body,
            "<cwmp:Inform>",
            &format!("<Inform xmlns=\"{CWMP}\">"),
        );
        changed(&body, "</cwmp:Inform>", "</Inform>")
    };
    let header = concat!(
        r#"<soap-env:Header><cwmp:ID soap-env:mustUnderstand="1">1</cwmp:ID>"#,
        "</soap-env:Header>"
    );
    let encoding = changed(&plain, "soap-env", "soap");
    let encoding = changed(&encoding, "/soap/envelope/", "/soap/encoding/");
    // The body, the answer's namespace and ID, and whether a strict server takes it, if clear.
    let mut cases = vec![
        (
            changed(&plain, CWMP, "urn:dslforum-org:CWMP-1-2"),
            "urn:dslforum-org:CWMP-1-2".to_owned(),
            Some("1"),
            Some(false),
        ),
        (
            changed(&plain, "/2001/XMLSchema", "/1999/XMLSchema"),
            CWMP.to_owned(),
            Some("1"),
            None,
        ),
        (default, CWMP.to_owned(), Some("1"), None),
        (encoding, CWMP.to_owned(), Some("1"), Some(false)),
        (changed(&plain, header, ""), CWMP.to_owned(), None, None),
    ];
    for minor in 0..=4 {
        let namespace = format!("urn:dslforum-org:cwmp-1-{minor}");
        let body = changed(&plain, CWMP, &namespace);
        cases.push((body, namespace, Some("1"), Some(minor <= 2)));
    }

    let tolerant = bed(false).await;
    let strict = bed(true).await;
    for (body, namespace, id, is_strict) in cases {
        let reply = post(&tolerant, &body).await;
        assert_eq!(
            response(&reply).header.id.as_deref(),
            id,
            "the ID of {body}"
        );
        // Upper case is a slip of the device: the namespace is the same.
        let declared = format!("xmlns:cwmp=\"{}\"", namespace.to_ascii_lowercase());
        assert!(
            reply.text().to_ascii_lowercase().contains(&declared),
            "answered in {namespace}: {}",
            reply.text()
        );
        let Some(is_strict) = is_strict else { continue };
        let reply = post(&strict, &body).await;
        if is_strict {
            assert_eq!(response(&reply).namespace.to_string(), namespace);
        } else {
            let is_told = reply.text().contains("<FaultCode>8006</FaultCode>");
            assert!(
                reply.status == 400 || is_told,
                "a strict server refuses {body}: {} {}",
                reply.status,
                reply.text()
            );
            assert_eq!(reply.header("set-cookie"), None, "no session: {body}");
        }
    }
}

/// AT-33: who lists its versions is told the highest common one, nobody else is (VER-03, VER-05).
#[tokio::test]
async fn at_33_version_list() {
    let bed = bed(false).await;
    let listed = post(&bed, supporting("1.0,1.1,1.2,1.3,1.4")).await;
    assert_eq!(response(&listed).header.id.as_deref(), Some("1"));
    let told = r#"<cwmp:UseCWMPVersion soap-env:mustUnderstand="1">1.4</cwmp:UseCWMPVersion>"#;
    assert!(
        listed.text().contains(told),
        "the version to use: {}",
        listed.text()
    );

    let unlisted = post(&bed, inform(&["1"])).await;
    assert_eq!(response(&unlisted).header.id.as_deref(), Some("1"));
    assert!(
        !unlisted.text().contains("UseCWMPVersion"),
        "an older device does not understand it: {}",
        unlisted.text()
    );
}

/// AT-34: without a common version none is told; a strict server sends fault 8006 (VER-07).
#[tokio::test]
async fn at_34_no_common_version() {
    let tolerant = bed(false).await;
    let reply = post(&tolerant, supporting("9.9")).await;
    assert_eq!(response(&reply).header.id.as_deref(), Some("1"));
    assert!(
        !reply.text().contains("UseCWMPVersion"),
        "there is none to use: {}",
        reply.text()
    );

    let strict = bed(true).await;
    let reply = post(&strict, supporting("9.9")).await;
    assert_fault(&reply, 8006);
}

/// AT-35: a hostile ID comes back as it was, and reaches no log line raw (SES-51, SES-87, SEC-44).
#[tokio::test]
async fn at_35_hostile_id() {
    const HOSTILE: &str = "a&b\"<%s%n>";
    let id = format!("{HOSTILE}{}", "x".repeat(256 - HOSTILE.len()));
    let escaped = id
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let logged = Logged::default();
    let _until_the_end = tracing::subscriber::set_default(logged.clone());
    let bed = bed(false).await;
    let mut device = Device::connect(bed.address, "1", "secret").await;

    let body = changed(
        &inform(&["1"]),
        ">1</cwmp:ID>",
        &format!(">{escaped}</cwmp:ID>"),
    );
    let reply = device.post(body.as_bytes()).await.expect("an answer");
    assert_eq!(
        response(&reply).header.id,
        Some(id.clone()),
        "the ID in an answer"
    );

    let unknown = envelope(&escaped, "<cwmp:X_00D09E_Foo/>");
    let reply = device.post_plain(&[], unknown.as_bytes()).await.unwrap();
    assert_eq!(reply.status, 200, "a fault has status 200");
    let fault = Envelope::read_from_acs(&reply.text()).unwrap();
    let fault = fault.as_written().unwrap();
    assert!(matches!(fault.message, AcsMessage::Fault(_)));
    assert_eq!(fault.header.id, Some(id), "the ID in a fault");

    // An answer that nobody asked for is worth a line.
    let unasked = envelope(&escaped, "<cwmp:RebootResponse/>");
    let reply = device.post_plain(&[], unasked.as_bytes()).await.unwrap();
    assert_eq!(reply.status, 400, "nothing was asked");
    let lines = logged.0.lock().unwrap();
    assert!(lines.contains("broke the protocol"), "a line: {lines}");
    assert!(!lines.contains(HOSTILE), "no line has the ID raw: {lines}");
}

/// AT-36: the XML declaration tells the charset; what is no text in it becomes U+FFFD (SES-19).
#[tokio::test]
async fn at_36_charset() {
    let bed = bed(false).await;
    let cases = [
        (r#"<?xml version="1.0" encoding="ISO-8859-1"?>"#, "café"),
        ("", "caf\u{fffd}"),
    ];
    for (declaration, expected) in cases {
        let text = changed(&inform(&["café"]), DECLARATION, declaration);
        let body: Vec<u8> = text
            .chars()
            .map(|character| u8::try_from(character).unwrap())
            .collect();
        let content = ("Content-Type", "text/xml");
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let challenge = device.post_plain(&[content], &body).await.unwrap();
        device.challenged(&challenge);
        let authorization = device.authorization().unwrap();
        let headers = [content, ("Authorization", authorization.as_str())];
        let reply = device.post_plain(&headers, &body).await.unwrap();
        assert_eq!(
            response(&reply).header.id.as_deref(),
            Some("1"),
            "answered, with {expected}"
        );
    }
    let reports = bed.reports(Kind::Inform, cases.len()).await;
    for (report, (_, expected)) in reports.iter().zip(cases) {
        assert_eq!(values(report), [expected], "the text that was read");
    }
}

/// AT-37: 16 MB take at most 5 s and bounded memory, and are on the log whole (SES-09).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_37_big_answer() {
    let bed = bed(false).await;
    let names = GetParameterNames {
        path: "Device.".into(),
        ..GetParameterNames::default()
    };
    bed.enqueue("1", "names", Action::GetParameterNames(names), |_| {})
        .await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let (mut session, _) = device.open_until_asked().await;
    // Names of 197 characters, 275 bytes with their tags.
    let told: Vec<(String, bool)> = (0..60_000)
        .map(|n| (format!("Device.X_00D09E_Table.{n:0175}"), n % 2 == 0))
        .collect();
    let parameters = told
        .iter()
        .map(|(name, writable)| ParameterInfo {
            name: name.clone(),
            writable: *writable,
        })
        .collect();
    let answer = GetParameterNamesResponse { parameters };
    let post = session
        .respond(Ok(CpeResponse::GetParameterNames(answer)))
        .unwrap();
    assert!(post.len() >= 16_000_000, "16 MB, not {}", post.len());
    assert!(
        post.len() <= Config::default().limits.body_bytes,
        "the default body_bytes admits {} bytes",
        post.len()
    );

    let before = resident();
    let mut peak = before;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let begun = Instant::now();
    let reply = {
        let posting = device.post_plain(&[], &post);
        tokio::pin!(posting);
        loop {
            tokio::select! {
                reply = &mut posting => break reply.expect("an answer"),
                _ = looks.tick() => peak = peak.max(resident()),
            }
        }
    };
    let took = begun.elapsed();
    peak = peak.max(resident());

    assert_eq!(reply.status, 204, "the answer is taken: {}", reply.text());
    assert!(took <= Duration::from_secs(5), "at most 5 s, not {took:?}");
    // Sixteen times what came, the device's own copy and the process's other tests included.
    let growth = peak - before;
    assert!(
        growth < 256 << 20,
        "memory grows by less than 256 MiB, not {growth} bytes"
    );
    // No part has more than 256 KiB, so there are at least so many; the last one says so.
    let least = told.iter().map(|(path, _)| path.len()).sum::<usize>() / (256 << 10);
    let mut found = Vec::with_capacity(told.len());
    for count in least.. {
        let reports = bed.reports(Kind::Done, count).await;
        let Some(end) = reports.iter().position(|report| report.last) else {
            continue;
        };
        for (index, report) in reports.into_iter().take(end + 1).enumerate() {
            let part = usize::try_from(report.part).unwrap();
            assert_eq!(part, index, "the parts are in order");
            let Some(Body::CommandDone(done)) = report.body else {
                panic!("part {index} is no CommandDone")
            };
            assert_eq!(done.command, "names", "the command of part {index}");
            let Some(Outcome::Result(result)) = done.outcome else {
                panic!("part {index}: {:?}", done.outcome)
            };
            found.extend(
                result
                    .names
                    .into_iter()
                    .map(|name| (name.path, name.writable)),
            );
        }
        break;
    }
    assert_eq!(found.len(), told.len(), "every name is reported");
    assert!(found == told, "what was told is what was reported");
}

/// AT-39: an array's items are counted, whatever its type declares (SES-78).
#[tokio::test]
async fn at_39_array_type_lies() {
    let bed = bed(false).await;
    let honest = inform(&["a", "b", "c", "d", "e"]);
    let attribute = r#" soap-enc:arrayType="cwmp:ParameterValueStruct[5]""#;
    let lies = [
        r#" soap-enc:arrayType="cwmp:ParameterValueStruct[3]""#,
        "",
        r#" soap-enc:arrayType="cwmp:ParameterValueStruct[]""#,
    ];
    for lie in lies {
        let reply = post(&bed, changed(&honest, attribute, lie)).await;
        assert_eq!(response(&reply).header.id.as_deref(), Some("1"), "{lie}");
    }
    let reports = bed.reports(Kind::Inform, lies.len()).await;
    for (report, lie) in reports.iter().zip(lies) {
        assert_eq!(values(report), ["a", "b", "c", "d", "e"], "stored: {lie}");
    }
}

/// AT-46: events are told apart by the whole number: 11 and 10 are no BOOT, not periodic (EVT-02).
#[tokio::test]
async fn at_46_event_parsing() {
    let bed = bed(false).await;
    let two = changed(
        &inform(&["1"]),
        EVENTS,
        concat!(
            r#"<Event soap-enc:arrayType="cwmp:EventStruct[2]">"#,
            "<EventStruct><EventCode>11 DU STATE CHANGE COMPLETE</EventCode>",
            "<CommandKey></CommandKey></EventStruct>",
            "<EventStruct><EventCode>10 AUTONOMOUS TRANSFER COMPLETE</EventCode>",
            "<CommandKey></CommandKey></EventStruct></Event>"
        ),
    );
    response(&post(&bed, two).await);
    let report = &bed.reports(Kind::Inform, 1).await[0];
    assert_eq!(
        informed(report).events,
        [
            "11 DU STATE CHANGE COMPLETE",
            "10 AUTONOMOUS TRANSFER COMPLETE"
        ],
        "these two events and no other"
    );
    assert!(
        report.deciding,
        "a periodic Inform alone is nothing to decide about"
    );
}

/// AT-51: a sloppy Inform is taken, raw where garbled; a strict server sends fault 8003 (RPC-119).
#[tokio::test]
async fn at_51_sloppy_inform() {
    const GARBLED: &str = "2019-03-05T11:54::14";
    let mut sloppy = inform(&["7"]);
    for (from, to) in [
        (EVENTS, ""),
        ("<RetryCount>0</RetryCount>", ""),
        ("2026-11-23T02:00:00Z", GARBLED),
        ("<OUI>00D09E</OUI>", "<OUI>3c9066</OUI>"),
        (r#" xsi:type="xsd:string""#, ""),
    ] {
        sloppy = changed(&sloppy, from, to);
    }
    for strict in [false, true] {
        let bed = Bed::start(Config {
            strict,
            ..Config::default()
        })
        .await;
        let theirs = |credential: &mut platen_proto::store::v1::Credential| {
            credential.device = "3C9066-Test-1".into();
        };
        bed.register_as("1", "secret", theirs, |_| {}).await;

        let reply = post(&bed, &sloppy).await;

        if strict {
            assert_fault(&reply, 8003);
            assert_eq!(bed.count_reports().await, 0, "it is not taken");
            continue;
        }
        assert_eq!(response(&reply).header.id.as_deref(), Some("1"));
        let report = &bed.reports(Kind::Inform, 1).await[0];
        assert_eq!(report.device, "3C9066-Test-1", "the OUI in upper case");
        let inform = informed(report);
        assert_eq!(inform.events, [""; 0], "no event is made up");
        assert_eq!(inform.retry_count, 0, "the first try");
        assert_eq!(inform.current_time, GARBLED, "the time as it was sent");
        assert_eq!(values(report), ["7"], "the value as it was sent");
        assert_eq!(inform.parameters[0].r#type, "", "no type is made up");
    }
}

const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

const EVENTS: &str = concat!(
    r#"<Event soap-enc:arrayType="cwmp:EventStruct[1]"><EventStruct>"#,
    "<EventCode>2 PERIODIC</EventCode><CommandKey></CommandKey></EventStruct></Event>"
);

/// An edge that knows the device `00D09E-Test-1`.
async fn bed(strict: bool) -> Bed {
    let bed = Bed::start(Config {
        strict,
        ..Config::default()
    })
    .await;
    bed.register("1", "secret").await;
    bed
}

/// An envelope as the library writes it, behind a declaration.
fn envelope(id: &str, body: &str) -> String {
    [DECLARATION, &wire::envelope(id, body)].concat()
}

/// An Inform, under the ID 1, whose parameters have these contents for values.
fn inform(values: &[&str]) -> String {
    let mut list = String::new();
    for (index, value) in values.iter().enumerate() {
        write!(
            list,
            "<ParameterValueStruct><Name>Device.Value{index}</Name>\
             <Value xsi:type=\"xsd:string\">{value}</Value></ParameterValueStruct>"
        )
        .unwrap();
    }
    let count = values.len();
    let body = format!(
        "<cwmp:Inform><DeviceId><Manufacturer>Example</Manufacturer><OUI>00D09E</OUI>\
         <ProductClass>Test</ProductClass><SerialNumber>1</SerialNumber></DeviceId>{EVENTS}\
         <MaxEnvelopes>1</MaxEnvelopes><CurrentTime>2026-11-23T02:00:00Z</CurrentTime>\
         <RetryCount>0</RetryCount>\
         <ParameterList soap-enc:arrayType=\"cwmp:ParameterValueStruct[{count}]\">{list}\
         </ParameterList></cwmp:Inform>"
    );
    envelope("1", &body)
}

/// The same with a list of the versions that the device speaks.
fn supporting(versions: &str) -> String {
    let header = format!(
        "<cwmp:SupportedCWMPVersions soap-env:mustUnderstand=\"0\">{versions}\
         </cwmp:SupportedCWMPVersions></soap-env:Header>"
    );
    changed(&inform(&["1"]), "</soap-env:Header>", &header)
}

/// A text with another in place of a part that it has.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} in {text}");
    text.replace(from, to)
}

/// Posts an Inform over a connection of its own, with proof of who sends it.
async fn post(bed: &Bed, body: impl AsRef<[u8]>) -> Reply {
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.post(body.as_ref()).await.expect("an answer")
}

/// The InformResponse that an answer has to be.
fn response(reply: &Reply) -> Envelope<AcsMessage> {
    assert_eq!(reply.status, 200, "an InformResponse: {}", reply.text());
    let received = Envelope::read_from_acs(&reply.text()).unwrap();
    let envelope = received.as_written().unwrap();
    assert!(
        matches!(
            envelope.message,
            AcsMessage::Response(AcsResponse::Inform(_))
        ),
        "an InformResponse: {envelope:?}"
    );
    envelope
}

/// Asserts that an Inform was answered with this fault, and has opened no session.
fn assert_fault(reply: &Reply, code: u32) {
    assert_eq!(
        reply.status,
        200,
        "a fault has status 200: {}",
        reply.text()
    );
    let told = format!("<FaultCode>{code}</FaultCode>");
    assert!(reply.text().contains(&told), "{code}: {}", reply.text());
    assert!(
        reply.text().contains(">1</cwmp:ID>"),
        "the device's ID: {}",
        reply.text()
    );
    assert_eq!(reply.header("set-cookie"), None, "no session after {code}");
}

/// The Inform that a report has to be of.
fn informed(report: &Report) -> &Inform {
    match &report.body {
        Some(Body::Inform(inform)) => inform,
        other => panic!("no Inform: {other:?}"),
    }
}

/// The values that an Inform reported.
fn values(report: &Report) -> Vec<&str> {
    informed(report)
        .parameters
        .iter()
        .map(|parameter| parameter.value.as_str())
        .collect()
}

/// Keeps what this thread logs, unescaped.
#[derive(Debug, Clone, Default)]
struct Logged(Arc<Mutex<String>>);

impl Subscriber for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        writeln!(self.0, "{field}={value}").unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}
