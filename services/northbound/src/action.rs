//! What may be asked of a device: every action is checked before it is queued, because its device may be hours away.

use crate::{
    diagnostic,
    refusal::{Refusal, Violation},
};
use platen_cwmp::date_time::{DateTime, Meaning};
use platen_datamodel::path::Path;
use platen_proto::operation::v1::{
    ChangeDuState, Download, OperationRequest, ParameterAttribute, Raw, ScheduleDownload,
    SetParameterAttributes, SetParameterValues, TimeWindow, Upload, du_operation,
    operation_request::Action,
};
use std::collections::HashSet;

/// Types of parameter values (TR-106 §3.3), besides which `xsd:` types of vendors are not accepted.
const TYPES: [&str; 9] = [
    "xsd:string",
    "xsd:int",
    "xsd:unsignedInt",
    "xsd:long",
    "xsd:unsignedLong",
    "xsd:boolean",
    "xsd:dateTime",
    "xsd:base64",
    "xsd:hexBinary",
];

/// Another name of `xsd:base64` that XML Schema has.
const BASE64_BINARY: &str = "xsd:base64Binary";

/// Most paths, values or attributes of one RPC.
const MAX_ITEMS: usize = 1_000;

/// Longest value that is set, bytes.
const MAX_VALUE: usize = 64 * 1024;

/// Longest URL of a file, and of a deployment unit, in characters (RPC-03).
const TRANSFER_URL: usize = 256;
const UNIT_URL: usize = 1024;

/// When a file may be taken (TR-069 A.4.1.8).
const MODES: [&str; 4] = [
    "1 At Any Time",
    "2 Immediately",
    "3 When Idle",
    "4 Confirmation Needed",
];

/// Checks a request; `now_us` and `latest_us` bound its expiry (µs since 1970).
///
/// # Errors
///
/// [`Refusal::Invalid`] with every field that is wrong.
pub(crate) fn check(
    request: &OperationRequest,
    now_us: i64,
    latest_us: i64,
) -> Result<(), Refusal> {
    let mut found = Findings::default();
    match &request.action {
        None => found.add(
            "",
            "exactly one action is needed, such as getParameterValues",
        ),
        Some(action) => action_findings(action, &mut found),
    }
    if !(-100..=100).contains(&request.priority) {
        found.add("priority", "must be -100 to 100");
    }
    if let Some(time) = &request.expire_time {
        let expires_us = crate::time::micros(time);
        if expires_us <= now_us {
            found.add("expireTime", "must be in the future");
        } else if expires_us > latest_us {
            found.add("expireTime", "must be within 60 days");
        }
    }
    found.verdict()
}

fn action_findings(action: &Action, found: &mut Findings) {
    match action {
        Action::GetParameterValues(get) => found.paths("getParameterValues.paths", &get.paths),
        Action::GetParameterNames(get) => {
            if !get.path.is_empty() {
                found.path("getParameterNames.path", &get.path, Shape::Any);
            }
        }
        Action::SetParameterValues(set) => set_values(set, found),
        Action::GetParameterAttributes(get) => {
            found.paths("getParameterAttributes.paths", &get.paths)
        }
        Action::SetParameterAttributes(set) => set_attributes(set, found),
        Action::AddObject(add) => {
            found.path("addObject.path", &add.path, Shape::Table);
            found.text("addObject.parameterKey", &add.parameter_key, 0, 32);
        }
        Action::DeleteObject(delete) => {
            found.path("deleteObject.path", &delete.path, Shape::Row);
            found.text("deleteObject.parameterKey", &delete.parameter_key, 0, 32);
        }
        Action::Download(download) => self::download(download, found),
        Action::Upload(upload) => self::upload(upload, found),
        Action::ScheduleDownload(schedule) => schedule_download(schedule, found),
        Action::ScheduleInform(schedule) => {
            if schedule.delay_seconds == 0 {
                found.add("scheduleInform.delaySeconds", "must be at least 1");
            }
        }
        Action::ChangeDuState(change) => change_du_state(change, found),
        Action::CancelTransfer(cancel) => {
            found.text("cancelTransfer.operation", &cancel.operation, 1, 200)
        }
        Action::Raw(raw) => self::raw(raw, found),
        Action::Reboot(_)
        | Action::FactoryReset(_)
        | Action::GetQueuedTransfers(_)
        | Action::GetRpcMethods(_) => {}
        Action::Diagnostic(asked) => {
            for (field, why) in diagnostic::findings(asked) {
                found.add(field, why);
            }
        }
    }
}

fn set_values(set: &SetParameterValues, found: &mut Findings) {
    found.count("setParameterValues.values", set.values.len(), 1, MAX_ITEMS);
    found.text("setParameterValues.parameterKey", &set.parameter_key, 0, 32);
    let mut seen = HashSet::new();
    for (index, value) in set.values.iter().enumerate() {
        let field = format!("setParameterValues.values[{index}]");
        found.path(&format!("{field}.path"), &value.path, Shape::Parameter);
        if !seen.insert(&value.path) {
            found.add(format!("{field}.path"), "is there twice");
        }
        if let Err((name, why)) = check_value(&value.value, &value.r#type) {
            found.add(format!("{field}.{name}"), why);
        }
    }
}

/// Whether a text can be sent as a value of this type (empty: unknown).
///
/// # Errors
///
/// The field, `value` or `type`, and what is wrong with it.
pub(crate) fn check_value(text: &str, kind: &str) -> Result<(), (&'static str, String)> {
    if text.len() > MAX_VALUE {
        return Err(("value", format!("must have at most {MAX_VALUE} bytes")));
    }
    if !text.chars().all(is_xml) {
        return Err(("value", "has a character that XML cannot carry".to_owned()));
    }
    let fits = match kind {
        "" | "xsd:string" => true,
        "xsd:int" => text.parse::<i32>().is_ok(),
        "xsd:unsignedInt" => text.parse::<u32>().is_ok(),
        "xsd:long" => text.parse::<i64>().is_ok(),
        "xsd:unsignedLong" => text.parse::<u64>().is_ok(),
        "xsd:boolean" => matches!(text, "0" | "1" | "true" | "false"),
        "xsd:dateTime" => DateTime::from_text(text).meaning() != Meaning::Unreadable,
        "xsd:base64" | BASE64_BINARY => base64_text(text),
        "xsd:hexBinary" => {
            text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit())
        }
        _ => {
            return Err((
                "type",
                format!("must be one of {}, or left out", TYPES.join(", ")),
            ));
        }
    };
    if fits {
        Ok(())
    } else {
        Err(("value", format!("is no {kind}")))
    }
}

fn base64_text(text: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).is_ok()
}

/// Characters of XML 1.0.
const fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn set_attributes(set: &SetParameterAttributes, found: &mut Findings) {
    found.count(
        "setParameterAttributes.attributes",
        set.attributes.len(),
        1,
        MAX_ITEMS,
    );
    for (index, attribute) in set.attributes.iter().enumerate() {
        let field = format!("setParameterAttributes.attributes[{index}]");
        found.path(&format!("{field}.path"), &attribute.path, Shape::Any);
        let ParameterAttribute {
            notification,
            access_list,
            change_access_list,
            ..
        } = attribute;
        if notification.is_some_and(|notification| !(0..=6).contains(&notification)) {
            found.add(format!("{field}.notification"), "must be 0 to 6");
        }
        if notification.is_none() && access_list.is_empty() && !change_access_list {
            found.add(&field, "changes nothing: give notification or accessList");
        }
        found.count(format!("{field}.accessList"), access_list.len(), 0, 64);
        for entity in access_list {
            found.text(&format!("{field}.accessList"), entity, 1, 64);
        }
    }
}

fn download(download: &Download, found: &mut Findings) {
    source("download", &download.artifact, &download.url, found);
    file_type(
        "download.fileType",
        &download.file_type,
        download.artifact.is_empty(),
        found,
    );
    for (field, text) in [
        ("download.username", &download.username),
        ("download.password", &download.password),
        ("download.targetFileName", &download.target_file_name),
    ] {
        found.text(field, text, 0, 256);
    }
    for (field, url) in [
        ("download.successUrl", &download.success_url),
        ("download.failureUrl", &download.failure_url),
    ] {
        if !url.is_empty() {
            found.url(field, url, TRANSFER_URL);
        }
    }
}

fn upload(upload: &Upload, found: &mut Findings) {
    file_type("upload.fileType", &upload.file_type, true, found);
    if !upload.url.is_empty() {
        found.url("upload.url", &upload.url, TRANSFER_URL);
    }
    found.text("upload.username", &upload.username, 0, 256);
    found.text("upload.password", &upload.password, 0, 256);
}

fn schedule_download(schedule: &ScheduleDownload, found: &mut Findings) {
    source("scheduleDownload", &schedule.artifact, &schedule.url, found);
    file_type(
        "scheduleDownload.fileType",
        &schedule.file_type,
        schedule.artifact.is_empty(),
        found,
    );
    for (field, text) in [
        ("scheduleDownload.username", &schedule.username),
        ("scheduleDownload.password", &schedule.password),
        (
            "scheduleDownload.targetFileName",
            &schedule.target_file_name,
        ),
    ] {
        found.text(field, text, 0, 256);
    }
    found.count(
        "scheduleDownload.timeWindows",
        schedule.time_windows.len(),
        1,
        2,
    );
    let mut free_from = 0;
    for (index, window) in schedule.time_windows.iter().enumerate() {
        let field = format!("scheduleDownload.timeWindows[{index}]");
        let TimeWindow {
            window_start,
            window_end,
            window_mode,
            user_message,
            max_retries,
        } = window;
        if window_end <= window_start {
            found.add(format!("{field}.windowEnd"), "must be after windowStart");
        }
        if *window_start < free_from {
            found.add(
                format!("{field}.windowStart"),
                "must not lie in the window before",
            );
        }
        free_from = *window_end;
        if !MODES.contains(&window_mode.as_str()) {
            found.add(
                format!("{field}.windowMode"),
                format!("must be one of {}", MODES.join(", ")),
            );
        }
        found.text(&format!("{field}.userMessage"), user_message, 0, 256);
        if *max_retries < -1 {
            found.add(format!("{field}.maxRetries"), "must be -1 or more");
        }
    }
}

fn source(action: &str, artifact: &str, url: &str, found: &mut Findings) {
    match (artifact.is_empty(), url.is_empty()) {
        (true, true) => found.add(format!("{action}.url"), "give an artifact or a url"),
        (false, false) => found.add(
            format!("{action}.url"),
            "give either an artifact or a url, not both",
        ),
        (true, false) => found.url(&format!("{action}.url"), url, TRANSFER_URL),
        (false, true) => {}
    }
}

/// A file type is a number and a name, or `X`, an OUI and a name (TR-069 A.3.2.8).
fn file_type(field: &str, text: &str, needed: bool, found: &mut Findings) {
    if text.is_empty() {
        if needed {
            found.add(field, "must be given, such as \"1 Firmware Upgrade Image\"");
        }
        return;
    }
    let formed = match text.split_once(' ') {
        Some(("X", rest)) => rest
            .split_once(' ')
            .is_some_and(|(oui, name)| oui.len() == 6 && !name.is_empty()),
        Some((number, name)) => {
            number.parse::<u8>().is_ok_and(|n| n > 0) && !name.trim().is_empty()
        }
        None => false,
    };
    if !formed || text.len() > 64 {
        found.add(field, "must be a number and a name, such as \"1 Firmware Upgrade Image\", with at most 64 characters");
    }
}

fn change_du_state(change: &ChangeDuState, found: &mut Findings) {
    use du_operation::Operation;
    found.count("changeDuState.operations", change.operations.len(), 1, 16);
    for (index, operation) in change.operations.iter().enumerate() {
        let field = format!("changeDuState.operations[{index}]");
        match &operation.operation {
            None => found.add(field, "needs install, update or uninstall"),
            Some(Operation::Install(install)) => {
                found.url(&format!("{field}.install.url"), &install.url, UNIT_URL);
                found.uuid(format!("{field}.install.uuid"), &install.uuid, false);
                found.text(
                    &format!("{field}.install.username"),
                    &install.username,
                    0,
                    256,
                );
                found.text(
                    &format!("{field}.install.password"),
                    &install.password,
                    0,
                    256,
                );
                found.text(
                    &format!("{field}.install.executionEnvRef"),
                    &install.execution_env_ref,
                    0,
                    256,
                );
            }
            Some(Operation::Update(update)) => {
                if update.uuid.is_empty() && update.url.is_empty() {
                    found.add(format!("{field}.update"), "needs a uuid, a url, or both");
                }
                found.uuid(format!("{field}.update.uuid"), &update.uuid, false);
                if !update.url.is_empty() {
                    found.url(&format!("{field}.update.url"), &update.url, UNIT_URL);
                }
                found.text(&format!("{field}.update.version"), &update.version, 0, 32);
                found.text(
                    &format!("{field}.update.username"),
                    &update.username,
                    0,
                    256,
                );
                found.text(
                    &format!("{field}.update.password"),
                    &update.password,
                    0,
                    256,
                );
            }
            Some(Operation::Uninstall(uninstall)) => {
                found.uuid(format!("{field}.uninstall.uuid"), &uninstall.uuid, true);
                found.text(
                    &format!("{field}.uninstall.version"),
                    &uninstall.version,
                    0,
                    32,
                );
                found.text(
                    &format!("{field}.uninstall.executionEnvRef"),
                    &uninstall.execution_env_ref,
                    0,
                    256,
                );
            }
        }
    }
}

fn raw(raw: &Raw, found: &mut Findings) {
    let mut bytes = raw.method.bytes();
    let begins = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins
        || raw.method.len() > 64
        || !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    {
        found.add(
            "raw.method",
            "must be the local name of an XML element, with at most 64 characters",
        );
    }
    if raw.arguments_xml.len() > MAX_VALUE {
        found.add(
            "raw.argumentsXml",
            format!("must have at most {MAX_VALUE} bytes"),
        );
    } else if let Err(why) = well_formed(&raw.arguments_xml) {
        found.add("raw.argumentsXml", why);
    }
}

/// Whether a fragment can stand inside an element of Platen's envelopes.
fn well_formed(fragment: &str) -> Result<(), String> {
    if fragment.contains("<!DOCTYPE") || fragment.contains("<?") {
        return Err("must have neither a document type nor processing instructions".to_owned());
    }
    let wrapped = format!(
        "<r xmlns:soap-env=\"e\" xmlns:soap-enc=\"c\" xmlns:xsd=\"d\" xmlns:xsi=\"i\" xmlns:cwmp=\"w\">{fragment}</r>"
    );
    roxmltree::Document::parse(&wrapped)
        .map(|_| ())
        .map_err(|error| format!("is not well-formed: {error}"))
}

/// What a path must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A parameter or an object.
    Any,
    /// A parameter.
    Parameter,
    /// A table: an object whose rows are numbered.
    Table,
    /// A row of a table.
    Row,
}

#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    /// `field` is below the operation.
    fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let field = field.into();
        let field = if field.is_empty() {
            "operation".to_owned()
        } else {
            format!("operation.{field}")
        };
        // Enough to mend a request by; more would only be long.
        if self.0.len() < 20 {
            self.0.push(Violation::new(field, why));
        }
    }

    fn verdict(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Invalid(self.0))
        }
    }

    fn count(&mut self, field: impl Into<String>, count: usize, least: usize, most: usize) {
        if !(least..=most).contains(&count) {
            self.add(field, format!("must have {least} to {most} items"));
        }
    }

    fn text(&mut self, field: &str, text: &str, least: usize, most: usize) {
        if !(least..=most).contains(&text.chars().count()) {
            self.add(field, format!("must have {least} to {most} characters"));
        } else if text.chars().any(char::is_control) {
            self.add(field, "must have no control characters");
        }
    }

    fn paths(&mut self, field: &str, paths: &[String]) {
        self.count(field, paths.len(), 1, MAX_ITEMS);
        for (index, path) in paths.iter().enumerate() {
            self.path(&format!("{field}[{index}]"), path, Shape::Any);
        }
    }

    fn path(&mut self, field: &str, text: &str, shape: Shape) {
        let path = match text.parse::<Path>() {
            Ok(path) if text.contains("{i}") => {
                return self.add(field, format!("{path} needs instance numbers"));
            }
            Ok(path) => path,
            Err(error) => return self.add(field, error.to_string()),
        };
        let numbered = path
            .as_str()
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        match shape {
            Shape::Any => {}
            Shape::Parameter if path.is_object() || numbered => {
                self.add(field, "must name a parameter: no dot at the end")
            }
            Shape::Table if !path.is_object() || numbered => {
                self.add(field, "must name a table, with a dot at the end")
            }
            Shape::Row if !path.is_object() || !numbered => {
                self.add(field, "must name a row, such as Device.Users.User.2.")
            }
            Shape::Parameter | Shape::Table | Shape::Row => {}
        }
    }

    fn url(&mut self, field: &str, url: &str, longest: usize) {
        let scheme = url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
            .unwrap_or_default();
        let host = url
            .split_once("://")
            .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default())
            .unwrap_or_default();
        if !["http", "https", "ftp", "sftp", "tftp"].contains(&scheme.as_str()) || host.is_empty() {
            self.add(field, "must be a URL with http, https, ftp, sftp or tftp");
        } else if url.len() > longest || !url.bytes().all(|b| b.is_ascii_graphic()) {
            self.add(
                field,
                format!(
                    "must have at most {longest} characters, none of them a space or outside ASCII"
                ),
            );
        } else if host.contains('@') {
            self.add(field, "must have no user name: use username and password");
        }
    }

    fn uuid(&mut self, field: String, text: &str, needed: bool) {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let formed =
            groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        if (needed || !text.is_empty()) && !formed {
            self.add(
                field,
                "must be a UUID, such as 00112233-4455-6677-8899-aabbccddeeff",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::{DescriptorPool, DynamicMessage};
    use serde_json::{Value, json};

    fn request(json: &Value) -> OperationRequest {
        let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap();
        let descriptor = pool
            .get_message_by_name("platen.operation.v1.OperationRequest")
            .unwrap();
        DynamicMessage::deserialize(descriptor, json)
            .unwrap()
            .transcode_to()
            .unwrap()
    }

    /// The fields of the violations; empty: accepted.
    fn findings(json: &Value) -> Vec<String> {
        match check(&request(json), 1_000_000, 60_000_000) {
            Ok(()) => Vec::new(),
            Err(Refusal::Invalid(violations)) => violations
                .into_iter()
                .map(|v| v.field.strip_prefix("operation").unwrap().to_owned())
                .collect(),
            Err(other) => vec![other.code().to_owned()],
        }
    }

    #[test]
    fn every_action_of_the_documentation_is_accepted() {
        for json in [
            json!({"getParameterValues": {"paths": ["Device.DeviceInfo.", "Device.Time.Enable"]}}),
            json!({"getParameterNames": {"path": "Device.", "nextLevel": true}}),
            json!({"getParameterNames": {"path": "", "nextLevel": false}}),
            json!({"setParameterValues": {"values": [{"path": "Device.Time.Enable", "value": "1", "type": "xsd:boolean"},
                {"path": "Device.ManagementServer.PeriodicInformInterval", "value": "60"}], "parameterKey": "k"}}),
            json!({"getParameterAttributes": {"paths": ["Device."]}}),
            json!({"setParameterAttributes": {"attributes": [{"path": "Device.X", "notification": 2, "accessList": ["Subscriber"]}]}}),
            json!({"addObject": {"path": "Device.Users.User."}}),
            json!({"deleteObject": {"path": "Device.Users.User.2."}}),
            json!({"download": {"fileType": "1 Firmware Upgrade Image", "artifact": "fw-1"}}),
            json!({"download": {"artifact": "fw-1"}}),
            json!({"download": {"fileType": "3 Vendor Configuration File", "url": "http://192.0.2.1/x", "delaySeconds": 5}}),
            json!({"upload": {"fileType": "2 Vendor Log File"}}),
            json!({"scheduleDownload": {"fileType": "1 Firmware Upgrade Image", "url": "https://a.example/f", "timeWindows":
                [{"windowStart": 60, "windowEnd": 3600, "windowMode": "1 At Any Time", "userMessage": "", "maxRetries": -1}]}}),
            json!({"scheduleDownload": {"artifact": "fw", "timeWindows":
                [{"windowStart": 0, "windowEnd": 60, "windowMode": "2 Immediately"},
                 {"windowStart": 60, "windowEnd": 90, "windowMode": "3 When Idle", "maxRetries": 2}]}}),
            json!({"scheduleInform": {"delaySeconds": 60}}),
            json!({"diagnostic": {"ipPing": {"host": "printer-7.example.", "numberOfRepetitions": 3, "timeoutMs": 1000, "dataBlockSize": 64}}}),
            json!({"diagnostic": {"ipPing": {"host": "2001:db8::1", "interface": "", "dscp": 0}}}),
            json!({"diagnostic": {"traceRoute": {"host": "192.0.2.1", "maxHopCount": 64, "interface": "Device.IP.Interface.1"}}}),
            json!({"diagnostic": {"downloadDiagnostics": {"downloadUrl": "http://192.0.2.1:8080/10M.bin", "timeBasedTestDuration": 0}}}),
            json!({"diagnostic": {"uploadDiagnostics": {"uploadUrl": "ftp://speed.example/in", "testFileLength": "10000000000"}}}),
            json!({"diagnostic": {"udpEchoConfig": {"enable": false}}}),
            json!({"diagnostic": {"udpEchoConfig": {"enable": true, "udpPort": 7, "sourceIpAddress": "192.0.2.1"}}}),
            json!({"diagnostic": {"udpEchoDiagnostics": {"host": "a", "port": 7}}}),
            json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": ["a.example", "192.0.2.1"], "protocol": "UDP Echo"}}}),
            json!({"diagnostic": {"nsLookup": {"hostName": "printer.example", "dnsServer": ""}}}),
            json!({"diagnostic": {"neighboringWifi": {}}}),
            json!({"diagnostic": {"adslLineTest": {"interface": "Device.DSL.Channel.1"}}}),
            json!({"diagnostic": {"f5Loopback": {"interface": "Device.ATM.Link.1", "timeoutMs": 500}}}),
            json!({"diagnostic": {"selfTest": {}}}),
            json!({"reboot": {}}),
            json!({"factoryReset": {}}),
            json!({"changeDuState": {"operations": [{"install": {"url": "http://a.example/p"}},
                {"update": {"uuid": "00112233-4455-6677-8899-aabbccddeeff", "version": "2"}},
                {"uninstall": {"uuid": "00112233-4455-6677-8899-aabbccddeeff"}}]}}),
            json!({"cancelTransfer": {"operation": "tenants/a/operations/b"}}),
            json!({"getQueuedTransfers": {}}),
            json!({"getRpcMethods": {}}),
            json!({"raw": {"method": "X_EX_Foo", "argumentsXml": "<A xsi:type=\"xsd:string\">b</A>"}}),
            json!({"reboot": {}, "priority": 100, "expireTime": "1970-01-01T00:00:30Z", "wake": false}),
        ] {
            assert_eq!(findings(&json), Vec::<String>::new(), "{json}");
        }
    }

    #[test]
    fn what_a_device_would_refuse_is_refused() {
        for (json, field) in [
            (json!({}), ""),
            (json!({"diagnostic": {}}), ".diagnostic"),
            (
                json!({"diagnostic": {"ipPing": {}}}),
                ".diagnostic.ipPing.host",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": ""}}}),
                ".diagnostic.ipPing.host",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a;reboot"}}}),
                ".diagnostic.ipPing.host",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": format!("{}a", "a.".repeat(128))}}}),
                ".diagnostic.ipPing.host",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a", "numberOfRepetitions": 0}}}),
                ".diagnostic.ipPing.numberOfRepetitions",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a", "timeoutMs": 60001}}}),
                ".diagnostic.ipPing.timeoutMs",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a", "dataBlockSize": 65536}}}),
                ".diagnostic.ipPing.dataBlockSize",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a", "protocolVersion": "IPv5"}}}),
                ".diagnostic.ipPing.protocolVersion",
            ),
            (
                json!({"diagnostic": {"ipPing": {"host": "a", "interface": "eth0 -f"}}}),
                ".diagnostic.ipPing.interface",
            ),
            (
                json!({"diagnostic": {"traceRoute": {"host": "a", "numberOfTries": 4}}}),
                ".diagnostic.traceRoute.numberOfTries",
            ),
            (
                json!({"diagnostic": {"traceRoute": {"host": "a", "maxHopCount": 65}}}),
                ".diagnostic.traceRoute.maxHopCount",
            ),
            (
                json!({"diagnostic": {"downloadDiagnostics": {}}}),
                ".diagnostic.downloadDiagnostics.downloadUrl",
            ),
            (
                json!({"diagnostic": {"downloadDiagnostics": {"downloadUrl": "https://a/x"}}}),
                ".diagnostic.downloadDiagnostics.downloadUrl",
            ),
            (
                json!({"diagnostic": {"downloadDiagnostics": {"downloadUrl": "http://a/`x`"}}}),
                ".diagnostic.downloadDiagnostics.downloadUrl",
            ),
            (
                json!({"diagnostic": {"uploadDiagnostics": {"uploadUrl": "http://a/", "testFileLength": "0"}}}),
                ".diagnostic.uploadDiagnostics.testFileLength",
            ),
            (
                json!({"diagnostic": {"udpEchoConfig": {}}}),
                ".diagnostic.udpEchoConfig.enable",
            ),
            (
                json!({"diagnostic": {"udpEchoConfig": {"enable": true, "sourceIpAddress": "a.example"}}}),
                ".diagnostic.udpEchoConfig.sourceIpAddress",
            ),
            (
                json!({"diagnostic": {"udpEchoDiagnostics": {"host": "a", "port": 65536}}}),
                ".diagnostic.udpEchoDiagnostics.port",
            ),
            (
                json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": []}}}),
                ".diagnostic.serverSelectionDiagnostics.hosts",
            ),
            (
                json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": ["a", ""]}}}),
                ".diagnostic.serverSelectionDiagnostics.hosts",
            ),
            (
                json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": ["a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"]}}}),
                ".diagnostic.serverSelectionDiagnostics.hosts",
            ),
            (
                json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": ["a"], "protocol": "TCP"}}}),
                ".diagnostic.serverSelectionDiagnostics.protocol",
            ),
            (
                json!({"diagnostic": {"nsLookup": {"hostName": "a", "dnsServer": "a b"}}}),
                ".diagnostic.nsLookup.dnsServer",
            ),
            (
                json!({"diagnostic": {"adslLineTest": {}}}),
                ".diagnostic.adslLineTest.interface",
            ),
            (
                json!({"diagnostic": {"f5Loopback": {"interface": "x y"}}}),
                ".diagnostic.f5Loopback.interface",
            ),
            (
                json!({"scheduleDownload": {"artifact": "fw", "url": "http://a/", "timeWindows":
                    [{"windowStart": 0, "windowEnd": 9, "windowMode": "1 At Any Time"}]}}),
                ".scheduleDownload.url",
            ),
            (
                json!({"getParameterValues": {"paths": []}}),
                ".getParameterValues.paths",
            ),
            (
                json!({"getParameterValues": {"paths": ["Device..X"]}}),
                ".getParameterValues.paths[0]",
            ),
            (
                json!({"getParameterValues": {"paths": ["Device.A.{i}.B"]}}),
                ".getParameterValues.paths[0]",
            ),
            (
                json!({"setParameterValues": {"values": []}}),
                ".setParameterValues.values",
            ),
            (
                json!({"setParameterValues": {"values": [{"path": "Device.A.", "value": "1"}]}}),
                ".setParameterValues.values[0].path",
            ),
            (
                json!({"setParameterValues": {"values": [{"path": "A.B", "value": "x", "type": "xsd:int"}]}}),
                ".setParameterValues.values[0].value",
            ),
            (
                json!({"setParameterValues": {"values": [{"path": "A.B", "value": "x", "type": "int"}]}}),
                ".setParameterValues.values[0].type",
            ),
            (
                json!({"setParameterValues": {"values": [{"path": "A.B", "value": "\u{1}"}]}}),
                ".setParameterValues.values[0].value",
            ),
            (
                json!({"setParameterValues": {"values": [{"path": "A.B", "value": "1"}, {"path": "A.B", "value": "2"}]}}),
                ".setParameterValues.values[1].path",
            ),
            (
                json!({"setParameterAttributes": {"attributes": [{"path": "A.B", "notification": 7}]}}),
                ".setParameterAttributes.attributes[0].notification",
            ),
            (
                json!({"setParameterAttributes": {"attributes": [{"path": "A.B"}]}}),
                ".setParameterAttributes.attributes[0]",
            ),
            (
                json!({"addObject": {"path": "Device.Users.User"}}),
                ".addObject.path",
            ),
            (
                json!({"addObject": {"path": "Device.Users.User.2."}}),
                ".addObject.path",
            ),
            (
                json!({"deleteObject": {"path": "Device.Users.User."}}),
                ".deleteObject.path",
            ),
            (
                json!({"download": {"fileType": "1 Firmware Upgrade Image"}}),
                ".download.url",
            ),
            (
                json!({"download": {"fileType": "1 X", "artifact": "a", "url": "http://a/"}}),
                ".download.url",
            ),
            (
                json!({"download": {"fileType": "1 X", "url": "file:///etc/passwd"}}),
                ".download.url",
            ),
            (
                json!({"download": {"fileType": "1 X", "url": "http://u:p@a/"}}),
                ".download.url",
            ),
            (
                json!({"download": {"fileType": "Firmware", "url": "http://a/"}}),
                ".download.fileType",
            ),
            (json!({"upload": {}}), ".upload.fileType"),
            (
                json!({"scheduleDownload": {"fileType": "1 X", "url": "http://a/", "timeWindows": []}}),
                ".scheduleDownload.timeWindows",
            ),
            (
                json!({"scheduleDownload": {"fileType": "1 X", "url": "http://a/", "timeWindows":
                    [{"windowStart": 9, "windowEnd": 9, "windowMode": "1 At Any Time"}]}}),
                ".scheduleDownload.timeWindows[0].windowEnd",
            ),
            (
                json!({"scheduleInform": {}}),
                ".scheduleInform.delaySeconds",
            ),
            (
                json!({"changeDuState": {"operations": [{}]}}),
                ".changeDuState.operations[0]",
            ),
            (
                json!({"changeDuState": {"operations": [{"uninstall": {"uuid": "x"}}]}}),
                ".changeDuState.operations[0].uninstall.uuid",
            ),
            (json!({"raw": {"method": "cwmp:X"}}), ".raw.method"),
            (
                json!({"raw": {"method": "X", "argumentsXml": "<A>"}}),
                ".raw.argumentsXml",
            ),
            (
                json!({"raw": {"method": "X", "argumentsXml": "</r><r>"}}),
                ".raw.argumentsXml",
            ),
            (json!({"reboot": {}, "priority": 101}), ".priority"),
            (
                json!({"reboot": {}, "expireTime": "1970-01-01T00:00:00Z"}),
                ".expireTime",
            ),
            (
                json!({"reboot": {}, "expireTime": "1970-01-01T00:02:00Z"}),
                ".expireTime",
            ),
        ] {
            assert_eq!(
                findings(&json).first().map(String::as_str),
                Some(field),
                "{json}"
            );
        }
    }
}
