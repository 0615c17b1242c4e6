//! The command of an attempt: an operation's request, with everything that is Platen's filled in.

use crate::compatibility::FIRMWARE;
use platen_proto::{
    firmware::v1::Artifact,
    operation::v1::{OperationRequest, operation_request::Action},
    report::v1::FileGrant,
    store::v1::{Attempt, Command, attempt::State},
};
use platen_runtime::keys::Keys;
use prost::Message;

/// How long (µs) after the operation's expiry its file can still be fetched: a session may take it at the last moment, and the device may begin later.
const GRANT_AFTER_EXPIRY_US: i64 = 24 * 3_600_000_000;

/// Longest file name in a URL: devices take 256 characters of URL in all (XFER-04).
const MAX_FILE_NAME: usize = 48;

/// The id of the artifact that an operation asks for, given by id or name.
pub(crate) fn artifact_of(command: &Command) -> Option<&str> {
    let given = match command.request.as_ref()?.action.as_ref()? {
        Action::Download(download) => &download.artifact,
        Action::ScheduleDownload(schedule) => &schedule.artifact,
        _ => return None,
    };
    given.rsplit('/').next().filter(|id| !id.is_empty())
}

/// Whether the device chooses the time: then it always reports the end.
pub(crate) fn is_scheduled(command: &Command) -> bool {
    matches!(
        command
            .request
            .as_ref()
            .and_then(|request| request.action.as_ref()),
        Some(Action::ScheduleDownload(_))
    )
}

/// Until when (µs after taking it) the device may wait before it begins.
pub(crate) fn delay_us(command: &Command) -> i64 {
    let seconds = match command
        .request
        .as_ref()
        .and_then(|request| request.action.as_ref())
    {
        Some(Action::Download(download)) => download.delay_seconds,
        Some(Action::ScheduleDownload(schedule)) => schedule
            .time_windows
            .iter()
            .map(|window| window.window_end)
            .max()
            .unwrap_or_default(),
        _ => 0,
    };
    i64::from(seconds) * 1_000_000
}

/// The first attempt of an operation. It has the operation's id, so that whoever cancels the operation, lets it expire or sends it
/// competes for one claim.
pub(crate) fn attempt(
    command: &Command,
    artifact: &str,
    version: &str,
    state: State,
    now_us: i64,
) -> Attempt {
    Attempt {
        id: command.id.clone(),
        operation: command.id.clone(),
        artifact: artifact.to_owned(),
        version: version.to_owned(),
        state: state.into(),
        issued_us: now_us,
        ..Attempt::default()
    }
}

/// The command to queue for an attempt; in the queue it stands where the operation was made. `None`: the operation asks for no file.
pub(crate) fn command(
    operation: &Command,
    attempt: &Attempt,
    artifact: &Artifact,
    keys: &Keys,
) -> Option<Command> {
    let grant = FileGrant {
        tenant: operation.tenant.clone(),
        object: format!("artifacts/{}", attempt.artifact),
        write: false,
        expires_us: operation
            .expire_time_us
            .saturating_add(GRANT_AFTER_EXPIRY_US)
            .saturating_add(delay_us(operation)),
        attempt: attempt.id.clone(),
    };
    let token = keys.sign("file", &grant.encode_to_vec());
    let file_type = if artifact.file_type.is_empty() {
        FIRMWARE
    } else {
        &artifact.file_type
    };
    let mut action = operation.request.as_ref()?.action.clone()?;
    let (kind, url, size, name, key) = match &mut action {
        Action::Download(to) => (
            &mut to.file_type,
            &mut to.url,
            &mut to.file_size,
            &mut to.target_file_name,
            &mut to.command_key,
        ),
        Action::ScheduleDownload(to) => (
            &mut to.file_type,
            &mut to.url,
            &mut to.file_size,
            &mut to.target_file_name,
            &mut to.command_key,
        ),
        _ => return None,
    };
    if kind.is_empty() {
        file_type.clone_into(kind);
    }
    if name.is_empty() {
        name.clone_from(&artifact.target_file_name);
    }
    let file = file_name(if name.is_empty() {
        &attempt.artifact
    } else {
        name
    });
    *url = format!("/files/{}/{token}/{file}", operation.tenant);
    *size = artifact.size_bytes;
    key.clone_from(&attempt.id);
    let request = OperationRequest {
        action: Some(action),
        ..operation.request.clone()?
    };
    Some(Command {
        id: attempt.id.clone(),
        operation: operation.id.clone(),
        request: Some(request),
        once: true,
        ..operation.clone()
    })
}

/// A name that needs no escape in a URL, with its extension: some devices look at that.
fn file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                c
            } else {
                '_'
            }
        })
        .collect();
    // All of it is ASCII, so bytes are characters.
    safe[safe.len().saturating_sub(MAX_FILE_NAME)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::operation::v1::{Download, Reboot, ScheduleDownload, TimeWindow};

    fn operation(action: Action) -> Command {
        Command {
            id: "01JD0000000000000000000000".into(),
            tenant: "default".into(),
            device: "d".into(),
            priority: 7,
            create_time_us: 3,
            expire_time_us: 1_000,
            request: Some(OperationRequest {
                action: Some(action),
                ..OperationRequest::default()
            }),
            ..Command::default()
        }
    }

    fn artifact() -> Artifact {
        Artifact {
            version: "2".into(),
            size_bytes: 12,
            target_file_name: "image v2.bin".into(),
            ..Artifact::default()
        }
    }

    fn issued(action: Action) -> Command {
        let operation = operation(action);
        let attempt = attempt(&operation, "fw", "2", State::Issued, 5);
        command(
            &operation,
            &attempt,
            &artifact(),
            &Keys::from_bytes(&[1; 32]),
        )
        .unwrap()
    }

    #[test]
    fn a_command_says_all_that_the_device_needs() {
        let command = issued(Action::Download(Download {
            artifact: "fw".into(),
            delay_seconds: 9,
            ..Download::default()
        }));

        let Some(Action::Download(download)) = command.request.clone().unwrap().action else {
            panic!("not a download")
        };
        assert_eq!(download.file_type, FIRMWARE);
        assert_eq!(
            (
                download.file_size,
                download.target_file_name.as_str(),
                download.delay_seconds
            ),
            (12, "image v2.bin", 9)
        );
        assert_eq!(download.command_key, command.id);
        assert!(download.command_key.len() <= 32);
        assert!(command.once && command.operation == "01JD0000000000000000000000");
        assert_eq!(
            (command.priority, command.create_time_us),
            (7, 3),
            "its place in the queue is the operation's"
        );

        let parts: Vec<&str> = download.url.split('/').collect();
        let ["", "files", "default", token, "image_v2.bin"] = parts[..] else {
            panic!("{}", download.url)
        };
        assert!(download.url.len() <= 200, "room for the public address");
        let grant =
            FileGrant::decode(&*Keys::from_bytes(&[1; 32]).verify("file", token).unwrap()).unwrap();
        assert_eq!(
            (grant.tenant.as_str(), grant.object.as_str(), grant.write),
            ("default", "artifacts/fw", false)
        );
        assert_eq!(grant.expires_us, 1_000 + GRANT_AFTER_EXPIRY_US + 9_000_000);
    }

    #[test]
    fn what_the_caller_says_stands() {
        let asked = Download {
            artifact: "fw".into(),
            file_type: "X 00D09E Font".into(),
            target_file_name: "f.bin".into(),
            ..Download::default()
        };

        let Some(Action::Download(download)) =
            issued(Action::Download(asked)).request.unwrap().action
        else {
            panic!("not a download")
        };

        assert_eq!(
            (
                download.file_type.as_str(),
                download.target_file_name.as_str()
            ),
            ("X 00D09E Font", "f.bin")
        );
    }

    #[test]
    fn a_scheduled_download_is_filled_in_likewise() {
        let window = |window_end| TimeWindow {
            window_end,
            ..TimeWindow::default()
        };
        let asked = ScheduleDownload {
            artifact: "tenants/default/artifacts/fw".into(),
            time_windows: vec![window(60), window(90)],
            ..ScheduleDownload::default()
        };
        let operation = operation(Action::ScheduleDownload(asked.clone()));

        assert_eq!(
            (artifact_of(&operation), delay_us(&operation)),
            (Some("fw"), 90_000_000)
        );
        let Some(Action::ScheduleDownload(schedule)) = issued(Action::ScheduleDownload(asked))
            .request
            .unwrap()
            .action
        else {
            panic!("not a scheduled download")
        };
        assert!(schedule.url.starts_with("/files/default/") && schedule.file_size == 12);
    }

    #[test]
    fn other_operations_ask_for_no_file() {
        assert_eq!(
            artifact_of(&operation(Action::Reboot(Reboot::default()))),
            None
        );
        assert_eq!(
            artifact_of(&operation(Action::Download(Download::default()))),
            None
        );
    }

    #[test]
    fn file_names_are_safe_and_keep_their_end() {
        for (name, expected) in [
            ("a.bin", "a.bin"),
            ("../etc/pass wd", "pass_wd"),
            ("C:\\x\\y.bin", "y.bin"),
            ("ü&\".bin", "___.bin"),
        ] {
            assert_eq!(file_name(name), expected);
        }
        let long = file_name(&format!("{}.bin", "x".repeat(300)));
        assert!(long.len() == MAX_FILE_NAME && long.ends_with(".bin"));
    }
}
