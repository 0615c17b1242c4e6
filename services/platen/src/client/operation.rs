//! `platen operation`.

use super::{
    Plan, Session, assignment, diagnostic::Diagnostic, kinds, name, output::Format, rest::Call,
};
use crate::exit::{Failure, Kind};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask a device for something. It is done in the device's next session; Platen asks it to call.
    Create(CreateArgs),
    /// Show an operation and its result.
    #[command(after_help = "Example:\n  platen operation get 01J… --wait 20s")]
    Get {
        operation: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the operations of a device, newest first.
    #[command(after_help = "Example:\n  platen operation list 00D09E-LaserPro%2D9-SN1 --limit 20")]
    List {
        device: String,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Cancel an operation that no session has taken yet.
    #[command(after_help = "Example:\n  platen operation cancel 01J…")]
    Cancel { operation: String },
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait until it is done, at most so long ("20s", "5m"); then exit code 5.
    #[arg(long, value_parser = duration, value_name = "TIME", global = true)]
    wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    device: String,
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    wait: Wait,
    /// Do not ask the device to call; it is done when the device calls by itself.
    #[arg(long, global = true)]
    no_wake: bool,
    /// Higher goes first; -100 to 100.
    #[arg(
        long,
        default_value_t = 0,
        allow_negative_numbers = true,
        global = true
    )]
    priority: i32,
    /// Time after which it is not done any more (RFC 3339).
    #[arg(long, global = true, value_name = "TIME")]
    expire_time: Option<jiff::Timestamp>,
    /// Makes a repetition harmless: the same id makes nothing new.
    #[arg(long, global = true)]
    request_id: Option<String>,
}

/// What a device is asked to do, as the API spells it.
#[derive(Debug, Subcommand, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Action {
    /// Read parameters, or objects that end in a dot.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE get-parameter-values Device.DeviceInfo. --wait 20s"
    )]
    GetParameterValues {
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Ask which parameters there are.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE get-parameter-names Device. --next-level --wait 20s"
    )]
    GetParameterNames {
        #[arg(default_value = "")]
        path: String,
        /// Only what lies directly below.
        #[arg(long)]
        next_level: bool,
    },
    /// Set parameters, all or none.
    #[command(
        visible_alias = "set",
        after_help = "Example:\n  platen operation create DEVICE set-parameter-values Device.ManagementServer.PeriodicInformInterval=300 --wait 20s"
    )]
    SetParameterValues {
        #[arg(required = true, value_parser = value, value_name = "PATH=VALUE")]
        values: Vec<ParameterValue>,
        #[arg(long, default_value = "")]
        parameter_key: String,
    },
    /// Read notification and access list of parameters.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE get-parameter-attributes Device.DeviceInfo.SoftwareVersion"
    )]
    GetParameterAttributes {
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Set the notification of parameters.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE set-parameter-attributes Device.DeviceInfo.SoftwareVersion=2"
    )]
    SetParameterAttributes {
        /// 0 off, 1 passive, 2 active, 3 to 6 lightweight.
        #[arg(required = true, value_parser = attribute, value_name = "PATH=NOTIFICATION")]
        attributes: Vec<Attribute>,
    },
    /// Add a row to a table.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE add-object Device.Users.User. --wait 20s"
    )]
    AddObject {
        path: String,
        #[arg(long, default_value = "")]
        parameter_key: String,
    },
    /// Delete a row of a table.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE delete-object Device.Users.User.2. --wait 20s"
    )]
    DeleteObject {
        path: String,
        #[arg(long, default_value = "")]
        parameter_key: String,
    },
    /// Have the device fetch a file: firmware, configuration.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE download --artifact laserpro-1.5 --wait 10m"
    )]
    Download(Download),
    /// Have the device fetch a file in one or two windows of time.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE schedule-download --artifact laserpro-1.5 --window 1m..1h"
    )]
    ScheduleDownload(ScheduleDownload),
    /// Have the device send a file; Platen keeps it unless there is an --upload-url.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE upload --file-type '2 Vendor Log File' --wait 5m"
    )]
    Upload {
        #[arg(long)]
        file_type: String,
        /// Where to; Platen itself if left out.
        #[arg(long = "upload-url", value_name = "URL")]
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        #[arg(long, default_value_t = 0)]
        delay_seconds: u32,
    },
    /// Have the device call again after some time.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE schedule-inform --delay-seconds 60"
    )]
    ScheduleInform {
        #[arg(long)]
        delay_seconds: u32,
    },
    /// Restart the device.
    #[command(after_help = "Example:\n  platen operation create DEVICE reboot --wait 2m")]
    Reboot {},
    /// Set the device back to what it was when it left the factory.
    #[command(after_help = "Example:\n  platen operation create DEVICE factory-reset")]
    FactoryReset {},
    /// Cancel the file transfer of an earlier operation.
    #[command(after_help = "Example:\n  platen operation create DEVICE cancel-transfer OPERATION")]
    CancelTransfer { operation: String },
    /// Ask for the device's queue of file transfers.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE get-queued-transfers --wait 20s"
    )]
    GetQueuedTransfers {},
    /// Ask which RPCs the device knows.
    #[command(after_help = "Example:\n  platen operation create DEVICE get-rpc-methods --wait 20s")]
    GetRpcMethods {},
    /// Send a vendor's RPC.
    #[command(
        after_help = "Example:\n  platen operation create DEVICE raw X_EX_Foo --arguments-xml '<Bar>1</Bar>' --wait 20s"
    )]
    Raw {
        method: String,
        #[arg(long, default_value = "")]
        arguments_xml: String,
    },
    /// Have the device test something, and read what it found.
    #[command(
        subcommand,
        after_help = "Example:\n  platen operation create DEVICE diagnostic ip-ping --host 192.0.2.1 --wait 10m"
    )]
    Diagnostic(Diagnostic),
    /// Anything that the API takes, as JSON from a file or from standard input (-).
    #[command(
        after_help = "Example:\n  echo '{\"reboot\":{}}' | platen operation create DEVICE json -"
    )]
    #[serde(skip)]
    Json { file: PathBuf },
}

#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Download {
    #[command(flatten)]
    #[serde(flatten)]
    file: File,
    #[arg(long, default_value_t = 0)]
    delay_seconds: u32,
}

#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleDownload {
    #[command(flatten)]
    #[serde(flatten)]
    file: File,
    /// When the device may begin, from the moment that it is told: "1m..1h", or with a mode, "1m..1h,idle": any (at any
    /// time), now (immediately), idle (when idle), confirm (a person confirms). One or two windows, one after the other.
    #[arg(long = "window", value_name = "START..END", required = true, num_args = 1, value_parser = window)]
    time_windows: Vec<Window>,
}

/// The file that a device shall fetch.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct File {
    /// An artifact of Platen.
    #[arg(
        long,
        required_unless_present = "from_url",
        conflicts_with = "from_url"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<String>,
    /// A file elsewhere.
    #[arg(long, value_name = "URL")]
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    from_url: Option<String>,
    /// "1 Firmware Upgrade Image", "3 Vendor Configuration File", …; an artifact knows its own.
    #[arg(long, required_unless_present = "artifact")]
    #[serde(skip_serializing_if = "Option::is_none")]
    file_type: Option<String>,
    /// Name that the file shall have on the device.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    target_file_name: Option<String>,
}

/// A window of time, in seconds from the moment that the device is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Window {
    window_start: u64,
    window_end: u64,
    window_mode: &'static str,
    max_retries: i32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ParameterValue {
    path: String,
    value: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attribute {
    path: String,
    notification: u8,
}

fn value(text: &str) -> Result<ParameterValue, String> {
    assignment(text).map(|(path, value)| ParameterValue { path, value })
}

fn attribute(text: &str) -> Result<Attribute, String> {
    let (path, notification) = assignment(text)?;
    let notification = notification
        .parse()
        .ok()
        .filter(|n| *n <= 6)
        .ok_or("the notification must be 0 to 6")?;
    Ok(Attribute { path, notification })
}

/// `1m..1h`, or `1m..1h,idle`.
fn window(text: &str) -> Result<Window, String> {
    let (span, mode) = text.split_once(',').unwrap_or((text, "any"));
    let window_mode = match mode {
        "any" => "1 At Any Time",
        "now" => "2 Immediately",
        "idle" => "3 When Idle",
        "confirm" => "4 Confirmation Needed",
        _ => return Err("the mode must be any, now, idle or confirm".to_owned()),
    };
    let (start, end) = span
        .split_once("..")
        .ok_or("must be two times with dots between, such as 1m..1h")?;
    Ok(Window {
        window_start: duration(start)?.as_secs(),
        window_end: duration(end)?.as_secs(),
        window_mode,
        max_retries: -1,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "must be a time such as 20s or 5m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    let of = |operation: &str| name(&session.tenant, "operations", operation);
    match command {
        Command::Create(args) => {
            let call = Call::post(
                format!(
                    "{}/operations",
                    name(&session.tenant, "devices", &args.device)
                ),
                args.body(&session.tenant)?,
            );
            let operation = session.rest.call(call).await?;
            match args.wait.wait {
                None => show(session, &operation),
                Some(wait) => follow(session, text(&operation, "name"), wait).await,
            }
        }
        Command::Get {
            operation,
            wait: Wait { wait: Some(wait) },
        } => follow(session, &of(&operation), wait).await,
        Command::Get {
            operation,
            wait: Wait { wait: None },
        } => show(
            session,
            &session.rest.call(Call::get(of(&operation))).await?,
        ),
        Command::List { device, limit } => {
            let call = Call::get(format!(
                "{}/operations",
                name(&session.tenant, "devices", &device)
            ));
            session
                .execute(Plan::list(call, "operations", kinds::OPERATIONS, limit))
                .await
        }
        // What cannot be cancelled any more is refused: whatever is answered is what was asked for.
        Command::Cancel { operation } => print(
            session,
            &session
                .rest
                .call(Call::post(format!("{}:cancel", of(&operation)), json!({})))
                .await?,
        ),
    }
}

impl CreateArgs {
    fn body(&self, tenant: &str) -> Result<Value, Failure> {
        let mut body = match &self.action {
            Action::Json { file } => read_json(file)?,
            Action::CancelTransfer { operation } => {
                json!({"cancelTransfer": {"operation": name(tenant, "operations", operation)}})
            }
            action => json!(action),
        };
        let fields = body
            .as_object_mut()
            .ok_or_else(|| Failure::usage("the operation must be a JSON object"))?;
        if self.no_wake {
            fields.insert("wake".into(), false.into());
        }
        if self.priority != 0 {
            fields.insert("priority".into(), self.priority.into());
        }
        if let Some(time) = self.expire_time {
            fields.insert("expireTime".into(), time.to_string().into());
        }
        if let Some(id) = &self.request_id {
            fields.insert("requestId".into(), id.as_str().into());
        }
        Ok(body)
    }
}

fn read_json(file: &Path) -> Result<Value, Failure> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        bytes
    } else {
        std::fs::read(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::usage(format!("{} is not JSON: {error}", file.display())))
}

/// The longest that the server holds one request.
const HOLD: Duration = Duration::from_secs(60);

/// Waits until an operation has ended, and shows it.
async fn follow(session: &Session, operation: &str, patience: Duration) -> Result<(), Failure> {
    let end = Instant::now() + patience;
    loop {
        let hold = end.saturating_duration_since(Instant::now()).min(HOLD);
        let call = Call::get(operation)
            .query("wait", format!("{:.3}s", hold.as_secs_f64()))
            .wait(hold);
        let answer = session.rest.call(call).await?;
        if is_over(&answer) {
            return show(session, &answer);
        }
        if Instant::now() >= end {
            let message = format!(
                "{operation} is still {} after {patience:?}; it goes on: platen operation get {operation} --wait 1m",
                text(&answer, "state")
            );
            return Err(Failure::new(Kind::TimedOut, message));
        }
    }
}

fn is_over(operation: &Value) -> bool {
    matches!(
        text(operation, "state"),
        "SUCCEEDED" | "FAILED" | "CANCELLED" | "EXPIRED"
    )
}

/// Shows an operation; one that has failed is a failure of the command too.
fn show(session: &Session, operation: &Value) -> Result<(), Failure> {
    print(session, operation)?;
    match text(operation, "state") {
        state @ ("FAILED" | "CANCELLED" | "EXPIRED") => Err(Failure::failed(format!(
            "{} {state}: {}",
            text(operation, "name"),
            operation["error"]["message"]
                .as_str()
                .unwrap_or("no reason was given")
        ))),
        _ => Ok(()),
    }
}

/// Shows an operation and its result, whatever became of it.
fn print(session: &Session, operation: &Value) -> Result<(), Failure> {
    session.screen.one(operation, kinds::OPERATION)?;
    if session.screen.format() == Format::Table {
        let tables = [
            ("/result/values", kinds::VALUES),
            ("/result/names", kinds::NAMES),
            ("/result/attributes", kinds::ATTRIBUTES),
            ("/result/transfers", kinds::TRANSFERS),
            ("/result/operations", kinds::DEPLOYMENT_UNITS),
            ("/result/diagnostic/routeHops", kinds::ROUTE_HOPS),
            ("/result/diagnostic/dnsAnswers", kinds::DNS_ANSWERS),
            ("/result/diagnostic/neighbors", kinds::WIFI_NEIGHBORS),
            ("/error/cwmpFault/parameterFaults", kinds::PARAMETER_FAULTS),
        ];
        let mut shown = vec![(findings(operation), kinds::FINDINGS)];
        shown.extend(tables.map(|(pointer, columns)| {
            let items = operation.pointer(pointer).and_then(Value::as_array);
            (items.cloned().unwrap_or_default(), columns)
        }));
        for (items, columns) in shown {
            if !items.is_empty() {
                let mut table = session.screen.list(columns);
                session.screen.note("")?;
                table.add(items)?;
                table.end()?;
            }
        }
    }
    Ok(())
}

/// What a diagnostic found, but for tables, which are shown as such, and the state.
fn findings(operation: &Value) -> Vec<Value> {
    let found = operation.pointer("/result/diagnostic");
    found
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, value)| *name != "state" && !value.is_array() && !value.is_null())
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn body(line: &str) -> Value {
        let line = Line::try_parse_from(
            ["operation", "create", "DEV"]
                .into_iter()
                .chain(line.split(' ')),
        )
        .unwrap();
        match line.command {
            Command::Create(args) => args.body("acme").unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_action_is_the_apis() {
        let cases = [
            (
                "get-parameter-values A. B",
                json!({"getParameterValues": {"paths": ["A.", "B"]}}),
            ),
            (
                "get-parameter-names Device. --next-level",
                json!({"getParameterNames": {"path": "Device.", "nextLevel": true}}),
            ),
            (
                "set A.B=x=y --parameter-key k",
                json!({"setParameterValues": {"values": [{"path": "A.B", "value": "x=y"}], "parameterKey": "k"}}),
            ),
            (
                "get-parameter-attributes A",
                json!({"getParameterAttributes": {"paths": ["A"]}}),
            ),
            (
                "set-parameter-attributes A=2",
                json!({"setParameterAttributes": {"attributes": [{"path": "A", "notification": 2}]}}),
            ),
            (
                "add-object A.",
                json!({"addObject": {"path": "A.", "parameterKey": ""}}),
            ),
            (
                "delete-object A.1.",
                json!({"deleteObject": {"path": "A.1.", "parameterKey": ""}}),
            ),
            (
                "download --artifact fw",
                json!({"download": {"artifact": "fw", "delaySeconds": 0}}),
            ),
            (
                "download --from-url http://x/y --file-type 3",
                json!({"download": {"url": "http://x/y", "fileType": "3", "delaySeconds": 0}}),
            ),
            (
                "schedule-download --artifact fw --window 1m..1h --window 2h..3h,idle",
                json!({"scheduleDownload": {"artifact": "fw", "timeWindows": [
                    {"windowStart": 60, "windowEnd": 3_600, "windowMode": "1 At Any Time", "maxRetries": -1},
                    {"windowStart": 7_200, "windowEnd": 10_800, "windowMode": "3 When Idle", "maxRetries": -1}]}}),
            ),
            (
                "diagnostic ip-ping --host 192.0.2.1 --number-of-repetitions 3 --timeout-ms 500 --protocol-version IPv4",
                json!({"diagnostic": {"ipPing": {"host": "192.0.2.1", "numberOfRepetitions": 3, "timeoutMs": 500, "protocolVersion": "IPv4"}}}),
            ),
            (
                "diagnostic udp-echo-config --enable false --wait 1m",
                json!({"diagnostic": {"udpEchoConfig": {"enable": false}}}),
            ),
            (
                "diagnostic server-selection-diagnostics --hosts a --hosts b --priority 3",
                json!({"diagnostic": {"serverSelectionDiagnostics": {"hosts": ["a", "b"]}}, "priority": 3}),
            ),
            (
                "diagnostic self-test",
                json!({"diagnostic": {"selfTest": {}}}),
            ),
            (
                "upload --file-type 2",
                json!({"upload": {"fileType": "2", "delaySeconds": 0}}),
            ),
            (
                "schedule-inform --delay-seconds 60",
                json!({"scheduleInform": {"delaySeconds": 60}}),
            ),
            ("reboot", json!({"reboot": {}})),
            ("factory-reset", json!({"factoryReset": {}})),
            (
                "cancel-transfer 7",
                json!({"cancelTransfer": {"operation": "tenants/acme/operations/7"}}),
            ),
            ("get-queued-transfers", json!({"getQueuedTransfers": {}})),
            ("get-rpc-methods", json!({"getRpcMethods": {}})),
            (
                "raw X_F --arguments-xml <a/>",
                json!({"raw": {"method": "X_F", "argumentsXml": "<a/>"}}),
            ),
            (
                "reboot --no-wake --priority -5 --request-id r --wait 20s",
                json!({"reboot": {}, "wake": false, "priority": -5, "requestId": "r"}),
            ),
        ];
        for (line, expect) in cases {
            assert_eq!(body(line), expect, "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_at_once() {
        for line in [
            "diagnostic",
            "diagnostic fire-drill",
            "diagnostic ip-ping",
            "diagnostic ip-ping --host a --number-of-repetitions many",
            "diagnostic ip-ping --host a --protocol-version IPv5",
            "diagnostic udp-echo-config",
            "schedule-download --artifact fw",
            "schedule-download --artifact fw --window 1h",
            "schedule-download --artifact fw --window 1h..2h,never",
            "schedule-download --window 1h..2h",
        ] {
            let words = ["operation", "create", "DEV"].into_iter();
            let read = Line::try_parse_from(words.chain(line.split(' ')));
            assert!(read.is_err(), "{line}");
        }
    }

    #[test]
    fn times_are_written_with_their_unit() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert!(duration("20").is_err());
        assert!(duration("-20s").is_err());
    }
}
