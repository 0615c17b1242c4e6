//! What Platen writes, as server and as device, is what the published schemas of CWMP ask for.
//!
//! The schemas are not part of the project. They are looked for in `$PLATEN_TEST_DATA/cwmp-xsd`, by default in `../shared/data/cwmp-xsd` beside the project, and
//! read by `xmllint`. Those of SOAP 1.1 stand in `soap/`, as far as CWMP needs them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod messages;

use messages::{acs_request, acs_response, cpe_request, cpe_response, fault, header};
use platen_cwmp::soap::{AcsMessage, CpeMessage, Envelope, Header, Namespace};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Messages of each kind and schema: enough that every method comes several times.
const SAMPLES: usize = 800;

const ENVELOPE: &str = include_str!("soap/envelope.xsd");

const ENCODING: &str = include_str!("soap/encoding.xsd");

/// The schemas in a directory of this kind of message: each of CWMP with those of SOAP, and none fetched from elsewhere.
struct Schemas(PathBuf);

impl Schemas {
    /// `None`, with a message: something is not there.
    fn find(what: &str) -> Option<Self> {
        let data = env::var_os("PLATEN_TEST_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data"),
            PathBuf::from,
        );
        let from = data.join("cwmp-xsd");
        if !from.is_dir() {
            println!("skipped: no schemas of CWMP at {}", from.display());
            return None;
        }
        if Command::new("xmllint").arg("--version").output().is_err() {
            println!("skipped: no xmllint (Debian and Ubuntu: apt-get install libxml2-utils)");
            return None;
        }
        let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("cwmp-xsd")
            .join(what);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("envelope.xsd"), ENVELOPE).unwrap();
        fs::write(to.join("encoding.xsd"), ENCODING).unwrap();
        for minor in 0..=4 {
            let name = format!("cwmp-1-{minor}.xsd");
            let text = fs::read_to_string(from.join(&name))
                .unwrap()
                .replace(
                    "http://schemas.xmlsoap.org/soap/envelope/\"/>",
                    "envelope.xsd\"/>",
                )
                .replace(
                    "http://schemas.xmlsoap.org/soap/encoding/\"/>",
                    "encoding.xsd\"/>",
                )
                .replace("http://www.broadband-forum.org/cwmp/cwmp-1", "cwmp-1");
            fs::write(to.join(&name), text).unwrap();
            let namespace = Self::namespace(minor);
            let all = format!(
                "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\
                 <xs:import namespace=\"http://schemas.xmlsoap.org/soap/envelope/\" schemaLocation=\"envelope.xsd\"/>\
                 <xs:import namespace=\"{namespace}\" schemaLocation=\"{name}\"/></xs:schema>"
            );
            fs::write(to.join(format!("all-{minor}.xsd")), all).unwrap();
        }
        Some(Self(to))
    }

    /// Versions 1.3 and 1.4 add to the namespace of 1.2 (VER-01).
    fn namespace(minor: u8) -> Namespace {
        Namespace::from_urn(&format!("urn:dslforum-org:cwmp-1-{}", minor.min(2))).unwrap()
    }

    /// Names of the elements that a schema and those before it in its namespace declare.
    fn declared(&self, minor: u8) -> BTreeSet<String> {
        (minor.min(2)..=minor)
            .flat_map(|minor| {
                let text = fs::read_to_string(self.0.join(format!("cwmp-1-{minor}.xsd"))).unwrap();
                text.split("\n  <xs:element name=\"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next().map(str::to_owned))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Checks envelopes against a schema; says which are wrong, and why.
    fn check(&self, minor: u8, envelopes: &[String]) {
        let directory = self.0.join(format!("messages-{minor}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let files: Vec<PathBuf> = (0..envelopes.len())
            .map(|n| directory.join(format!("{n}.xml")))
            .collect();
        for (file, xml) in files.iter().zip(envelopes) {
            fs::write(file, xml).unwrap();
        }
        let checked = Command::new("xmllint")
            .args(["--nonet", "--noout", "--schema"])
            .arg(self.0.join(format!("all-{minor}.xsd")))
            .args(&files)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&checked.stderr);
        let mut wrong = String::new();
        let errors = text.lines().filter(|line| line.contains("validity error"));
        for line in errors.filter(|line| !is_of_content(line)).take(20) {
            let _ = writeln!(wrong, "{line}");
        }
        assert!(
            wrong.is_empty(),
            "against version 1.{minor}: {wrong}\n(the messages are in {})",
            directory.display()
        );
        // All were looked at.
        let judged = text
            .lines()
            .filter(|line| line.ends_with(" validates") || line.ends_with(" fails to validate"));
        assert_eq!(judged.count(), envelopes.len(), "{text}");
    }
}

/// Elements that hold what a caller, a device or a vendor says: any text in the samples, and within its bounds checked by whoever takes it.
const CONTENT: [&str; 7] = [
    "FaultCode",
    "EventCode",
    "FileType",
    "ObjectName",
    "Notification",
    "UUID",
    "WindowMode",
];

/// Whether an error is about such a text alone: not about which elements there are, in which order, how many, and how long.
fn is_of_content(error: &str) -> bool {
    let is_listed = CONTENT
        .iter()
        .any(|name| error.contains(&format!(": element {name}: ")));
    let is_value = ["'enumeration'", "'pattern'", "is not a valid value of the"]
        .iter()
        .any(|kind| error.contains(kind));
    is_listed && is_value
}

/// The message with values that are of their types, and with accesses that there are: both are the caller's, and any text in the samples.
fn with_proper_values(xml: &str) -> String {
    let mut proper = replaced(xml, "<Value xsi:type=\"xsd:", "</Value>", |inner| {
        let name = inner.split('"').next().unwrap();
        let value = match name {
            "boolean" => "1",
            "dateTime" => "2026-11-23T03:00:00Z",
            "string" => "a&amp;b&lt;c&gt; é😀",
            "base64" | "hexBinary" => "00FF",
            _ => "7",
        };
        // TR-106 calls the type base64; XML Schema has it by another name.
        let name = if name == "base64" {
            "base64Binary"
        } else {
            name
        };
        format!("{name}\">{value}")
    });
    proper = replaced(&proper, "<AccessList ", "</AccessList>", |inner| {
        let start = inner.split_inclusive('>').next().unwrap();
        let items = inner.matches("<string>").count();
        format!("{start}{}", "<string>Subscriber</string>".repeat(items))
    });
    proper
}

/// `text` with what stands between each `from` and the next `to` replaced.
fn replaced(text: &str, from: &str, to: &str, with: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(from);
    let mut result = parts.next().unwrap().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once(to).unwrap_or((part, ""));
        result.push_str(&[from, &with(inner), to, rest].concat());
    }
    result
}

/// The method of a message as it stands in the body.
fn method(xml: &str) -> &str {
    let body = xml.split_once("Body>").unwrap().1;
    let name = body.split(['>', ' ', '/']).next().unwrap();
    name.split_once(':').unwrap().1
}

/// Samples of a kind of message, written by `write`, against all schemas. A method that a version does not have is not sent to its devices; those of 1.4 have all.
fn check<M>(
    what: &str,
    messages: impl Strategy<Value = M>,
    methods: usize,
    write: impl Fn(Namespace, Header, M) -> String,
) {
    let Some(schemas) = Schemas::find(what) else {
        return;
    };
    for minor in 0..=4 {
        let declared = schemas.declared(minor);
        let mut runner = TestRunner::deterministic();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut envelopes = Vec::new();
        for _ in 0..SAMPLES {
            let message = messages.new_tree(&mut runner).unwrap().current();
            let mut header = header().new_tree(&mut runner).unwrap().current();
            if minor < 4 {
                (header.supported_versions, header.use_version) = (None, None);
            }
            if minor < 3 {
                header.session_timeout = None;
            }
            let xml = with_proper_values(&write(Schemas::namespace(minor), header, message));
            let method = method(&xml).to_owned();
            if method.starts_with("X_") || method != "Fault" && !declared.contains(&method) {
                continue;
            }
            *seen.entry(method).or_default() += 1;
            envelopes.push(xml);
        }
        if minor == 4 {
            assert_eq!(seen.len(), methods, "every method comes: {seen:?}");
        }
        schemas.check(minor, &envelopes);
    }
}

fn of_server(namespace: Namespace, header: Header, message: AcsMessage) -> String {
    let envelope = Envelope {
        namespace,
        header,
        message,
    };
    envelope.to_xml().unwrap()
}

fn of_device(namespace: Namespace, header: Header, message: CpeMessage) -> String {
    let envelope = Envelope {
        namespace,
        header,
        message,
    };
    envelope.to_xml().unwrap()
}

#[test]
fn requests_of_the_server_are_valid() {
    let messages = acs_request().prop_map(AcsMessage::Request);
    check("acs-requests", messages, 20, of_server);
}

#[test]
fn answers_of_the_server_are_valid() {
    let messages = acs_response().prop_map(AcsMessage::Response);
    check("acs-responses", messages, 8, of_server);
}

#[test]
fn requests_of_a_device_are_valid() {
    let messages = cpe_request().prop_map(CpeMessage::Request);
    check("cpe-requests", messages, 8, of_device);
}

#[test]
fn answers_of_a_device_are_valid() {
    let messages = cpe_response().prop_map(CpeMessage::Response);
    check("cpe-responses", messages, 20, of_device);
}

#[test]
fn faults_are_valid() {
    check(
        "acs-faults",
        fault().prop_map(AcsMessage::Fault),
        1,
        of_server,
    );
    check(
        "cpe-faults",
        fault().prop_map(CpeMessage::Fault),
        1,
        of_device,
    );
}
