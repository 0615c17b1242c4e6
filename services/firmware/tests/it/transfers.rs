//! Transfers from the notice that one is wanted to the version that the device reports.

use crate::rig::{DEVICE, Rig, TENANT, answer, fault, inform, said, status};
use platen_proto::{
    device::v1::CwmpFault,
    event::v1::TransferComplete,
    firmware::v1::{Compatibility, artifact},
    operation::v1::{
        CancelTransfer, OperationRequest, OperationResult, ScheduleDownload, TimeWindow,
        operation::State, operation_request::Action,
    },
    report::v1::{CommandDone, FileGrant, Report, command_done::Outcome, report::Body},
    store::v1::{Claim, Command, attempt, claim::By},
};
use platen_runtime::keys::Keys;
use platen_store::commands;
use prost::Message;
use std::sync::atomic::Ordering;

const PERIODIC: &[(&str, &str)] = &[("2 PERIODIC", "")];
const BOOT: &[(&str, &str)] = &[("1 BOOT", "")];
const BOOTSTRAP: &[(&str, &str)] = &[("0 BOOTSTRAP", ""), ("1 BOOT", "")];

fn running(version: &str) -> Vec<(&str, &str)> {
    vec![("Device.DeviceInfo.SoftwareVersion", version)]
}

fn transfer(session: &str, key: &str, code: i32) -> Report {
    let fault = (code != 0).then(|| CwmpFault {
        code,
        string: "no".into(),
        parameter_faults: Vec::new(),
    });
    said(
        session,
        1,
        Body::TransferComplete(TransferComplete {
            command_key: key.into(),
            fault,
            ..TransferComplete::default()
        }),
    )
}

async fn state(rig: &Rig, id: &str) -> (State, String) {
    let progress = rig.progress(id).await.unwrap_or_default();
    (
        progress.state(),
        progress.error.map(|error| error.code).unwrap_or_default(),
    )
}

/// A device of Example with version 1, and a firmware with version 2 for it.
async fn fleet() -> Rig {
    let rig = Rig::start().await;
    rig.observed("Example", "1").await;
    let compatibility = Compatibility {
        manufacturers: vec!["Example".into()],
        ..Compatibility::default()
    };
    rig.artifact("fw", "", compatibility, artifact::State::Ready)
        .await;
    rig
}

/// The same, with the Download taken by session `s1` with this status.
async fn taken(status_code: i32) -> (Rig, Command) {
    let mut rig = fleet().await;
    rig.download("op", "fw").await;
    let command = rig.queue().await.remove(0);
    rig.report(inform("s1", PERIODIC, &running("1"))).await;
    rig.claim(&command.id, "s1").await;
    rig.report(answer(&command, "s1", 1, status(status_code)))
        .await;
    (rig, command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_from_request_to_verified_version() {
    let mut rig = fleet().await;
    rig.download("op", "tenants/default/artifacts/fw").await;
    assert_eq!(rig.wake().await, 1);
    let queue = rig.queue().await;
    let [command] = &queue[..] else {
        panic!("{queue:?}")
    };
    assert!(command.once && command.owner == "firmware" && command.operation == "op");
    let Some(Action::Download(download)) = command.request.clone().unwrap().action else {
        panic!("{command:?}")
    };
    assert_eq!(
        (download.file_type.as_str(), download.file_size),
        ("1 Firmware Upgrade Image", 42)
    );
    assert_eq!(download.command_key, command.id);
    let token = download.url.split('/').nth(3).unwrap();
    let grant =
        FileGrant::decode(&*Keys::from_bytes(&[7; 32]).verify("file", token).unwrap()).unwrap();
    assert_eq!(grant.object, "artifacts/fw");
    assert_eq!(
        rig.progress("op").await,
        None,
        "it is queued, which nobody has to say"
    );

    rig.report(inform("s1", PERIODIC, &running("1"))).await;
    rig.claim(&command.id, "s1").await;
    rig.report(answer(command, "s1", 1, status(1))).await;
    assert_eq!(state(&rig, "op").await.0, State::Running);
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s2",
        &[("7 TRANSFER COMPLETE", ""), ("M Download", &command.id)],
        &running("1"),
    ))
    .await;
    rig.report(transfer("s2", &command.id, 0)).await;
    assert_eq!(rig.open().await[0].state(), attempt::State::Transferred);
    rig.report(inform("s3", BOOT, &running("1"))).await;
    assert_eq!(
        state(&rig, "op").await.0,
        State::Running,
        "some devices boot more than once"
    );
    rig.report(inform("s4", BOOT, &running("2"))).await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(
        (done.name.as_str(), done.state(), done.attempts),
        ("tenants/default/operations/op", State::Succeeded, 1)
    );
    let result = done.result.unwrap();
    assert_eq!(
        (result.status, result.software_version.as_deref()),
        (Some(1), Some("2"))
    );
    assert!(rig.open().await.is_empty());
}

/// Two windows, the last of which ends two days after the device was asked.
fn scheduled(artifact: &str) -> Action {
    let window = |window_start, window_end| TimeWindow {
        window_start,
        window_end,
        window_mode: "3 When Idle".into(),
        user_message: "soon".into(),
        max_retries: 2,
    };
    Action::ScheduleDownload(ScheduleDownload {
        artifact: artifact.into(),
        time_windows: vec![window(60, 3_600), window(86_400, 2 * 86_400)],
        ..ScheduleDownload::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_download_has_until_its_last_window_is_over() {
    const DAY: i64 = 86_400_000_000;
    for (what, answered, unreadable, code) in [
        ("it never reports the end", true, false, "TIMED_OUT"),
        ("its answer was lost", false, false, "OUTCOME_UNKNOWN"),
        ("its answer cannot be read", true, true, "OUTCOME_UNKNOWN"),
    ] {
        let mut rig = fleet().await;
        rig.operate("op", scheduled("fw")).await;
        let command = rig.queue().await.remove(0);
        let Some(Action::ScheduleDownload(asked)) = command.request.clone().unwrap().action else {
            panic!("{command:?}")
        };
        let Action::ScheduleDownload(wanted) = scheduled("fw") else {
            panic!("not a scheduled download")
        };
        assert_eq!(asked.time_windows, wanted.time_windows, "as asked for");
        assert_eq!(
            (asked.command_key.as_str(), asked.file_size),
            (command.id.as_str(), 42)
        );
        assert!(asked.url.starts_with("/files/default/"), "{}", asked.url);
        rig.claim(&command.id, "s1").await;
        if unreadable {
            let mut report = answer(&command, "s1", 1, Outcome::Failed("not SOAP".into()));
            if let Some(Body::CommandDone(done)) = &mut report.body {
                done.unanswered = true;
            }
            rig.report(report).await;
            assert!(rig.open().await[0].unanswered, "{what}");
        } else if answered {
            let taken = Outcome::Result(OperationResult::default());
            rig.report(answer(&command, "s1", 1, taken)).await;
            assert_eq!(rig.open().await[0].state(), attempt::State::Accepted);
        } else {
            rig.report(inform("s2", PERIODIC, &running("1"))).await;
        }
        assert_eq!(state(&rig, "op").await.0, State::Running, "{what}");
        assert!(rig.queue().await.is_empty(), "{what}: it is not sent again");

        rig.advance(2 * DAY);
        rig.timer("TRANSFER_OVERDUE", "op").await;
        assert_eq!(
            state(&rig, "op").await.0,
            State::Running,
            "{what}: it may have begun at the last moment"
        );
        rig.advance(DAY / 12);
        rig.timer("TRANSFER_OVERDUE", "op").await;

        assert_eq!(
            state(&rig, "op").await,
            (State::Failed, code.to_owned()),
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_download_ends_with_the_version() {
    let mut rig = fleet().await;
    rig.operate("op", scheduled("fw")).await;
    let command = rig.queue().await.remove(0);
    rig.claim(&command.id, "s1").await;
    let taken = Outcome::Result(OperationResult::default());
    rig.report(answer(&command, "s1", 1, taken)).await;

    rig.report(transfer("s2", &command.id, 0)).await;
    assert_eq!(rig.open().await[0].state(), attempt::State::Transferred);
    rig.report(inform("s3", BOOT, &running("2"))).await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(
        (done.state(), done.result.unwrap().software_version),
        (State::Succeeded, Some("2".to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_download_that_does_not_fit_is_not_sent() {
    let mut rig = fleet().await;
    let foreign = Compatibility {
        manufacturers: vec!["Other".into()],
        ..Compatibility::default()
    };
    rig.artifact("foreign", "", foreign, artifact::State::Ready)
        .await;

    rig.operate("op", scheduled("foreign")).await;

    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "INCOMPATIBLE".to_owned())
    );
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_not_sent() {
    for (artifact, expected) in [
        ("missing", (State::Failed, "ARTIFACT_NOT_FOUND")),
        ("empty", (State::Failed, "NOT_READY")),
        ("foreign", (State::Failed, "INCOMPATIBLE")),
        ("same", (State::Succeeded, "")),
    ] {
        let mut rig = Rig::start().await;
        rig.observed("Example", if artifact == "same" { "2" } else { "1" })
            .await;
        let foreign = Compatibility {
            manufacturers: vec!["Other".into()],
            ..Compatibility::default()
        };
        rig.artifact(
            "empty",
            "",
            Compatibility::default(),
            artifact::State::Empty,
        )
        .await;
        rig.artifact("foreign", "", foreign, artifact::State::Ready)
            .await;
        rig.artifact("same", "", Compatibility::default(), artifact::State::Ready)
            .await;

        rig.download("op", artifact).await;

        let (found, code) = state(&rig, "op").await;
        assert_eq!((found, code.as_str()), expected, "{artifact}");
        assert!(rig.queue().await.is_empty() && rig.open().await.is_empty());
        let (_, done) = rig.operation_done().await;
        assert_eq!(done.attempts, 0);
        assert_eq!(rig.further_wakes().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_nobody_has_seen_is_asked_first() {
    for (manufacturer, expected) in [("Example", 1), ("Other", 0)] {
        let mut rig = Rig::start().await;
        let compatibility = Compatibility {
            manufacturers: vec!["Example".into()],
            ..Compatibility::default()
        };
        rig.artifact("fw", "", compatibility, artifact::State::Ready)
            .await;
        rig.download("op", "fw").await;
        assert!(rig.queue().await.is_empty());
        assert_eq!(rig.wake().await, 1);
        rig.report(inform("s1", BOOTSTRAP, &running("1"))).await;
        assert_eq!(
            state(&rig, "op").await.0,
            State::Unspecified,
            "it has not said whose it is"
        );

        rig.report(inform(
            "s2",
            PERIODIC,
            &[("Device.DeviceInfo.Manufacturer", manufacturer)],
        ))
        .await;

        assert_eq!(rig.queue().await.len(), expected);
        assert_eq!(rig.open().await.len(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_or_a_failed_transfer_ends_the_attempt() {
    let mut rig = fleet().await;
    rig.download("op", "fw").await;
    let command = rig.queue().await.remove(0);
    rig.claim(&command.id, "s1").await;
    rig.report(answer(&command, "s1", 1, fault(9013))).await;
    let (_, done) = rig.operation_done().await;
    assert_eq!(done.error.unwrap().cwmp_fault.unwrap().code, 9013);
    assert!(rig.queue().await.is_empty() && rig.open().await.is_empty());

    for key in ["op", ""] {
        let (mut rig, _) = taken(1).await;
        rig.report(transfer("s2", key, 9016)).await;
        assert_eq!(
            state(&rig, "op").await,
            (State::Failed, "CWMP_FAULT".to_owned()),
            "{key:?}"
        );
    }

    let (mut rig, _) = taken(1).await;
    rig.report(transfer("s2", "other", 9016)).await;
    assert_eq!(
        state(&rig, "op").await.0,
        State::Running,
        "another's transfer"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_promises_no_version_is_there_when_the_device_says_so() {
    for (status_code, reported) in [(0, false), (1, true)] {
        let mut rig = fleet().await;
        rig.artifact(
            "conf",
            "3 Vendor Configuration File",
            Compatibility::default(),
            artifact::State::Ready,
        )
        .await;
        rig.download("op", "conf").await;
        let command = rig.queue().await.remove(0);
        rig.claim(&command.id, "s1").await;
        rig.report(answer(&command, "s1", 1, status(status_code)))
            .await;
        if reported {
            rig.report(transfer("s2", &command.id, 0)).await;
        }

        assert_eq!(state(&rig, "op").await.0, State::Succeeded);
        assert_eq!(
            rig.progress("op").await.unwrap().result.unwrap().status,
            Some(status_code)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_say_what_was_missing() {
    const DAY: i64 = 86_400_000_000;
    let (mut rig, _) = taken(1).await;
    rig.timer("TRANSFER_OVERDUE", "op").await;
    assert_eq!(
        state(&rig, "op").await.0,
        State::Running,
        "an early timer says nothing"
    );
    rig.advance(DAY);
    rig.timer("TRANSFER_OVERDUE", "op").await;
    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "TIMED_OUT".to_owned())
    );

    let (mut rig, _) = taken(0).await;
    rig.report(inform("s2", BOOT, &running("1"))).await;
    rig.advance(DAY);
    rig.timer("TRANSFER_OVERDUE", "op").await;
    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "VERSION_MISMATCH".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_whose_answer_was_lost_is_read_back_and_never_sent_again() {
    for (what, version, report, expected) in [
        ("the version is there", "2", false, State::Succeeded),
        ("the transfer is reported", "1", true, State::Running),
        ("nothing is known", "1", false, State::Running),
    ] {
        let mut rig = fleet().await;
        rig.download("op", "fw").await;
        let command = rig.queue().await.remove(0);
        rig.report(inform("s1", PERIODIC, &running("1"))).await;
        rig.claim(&command.id, "s1").await;
        rig.restart().await;

        rig.report(inform("s2", BOOT, &running(version))).await;
        if report {
            rig.report(transfer("s2", &command.id, 0)).await;
            assert_eq!(rig.open().await[0].state(), attempt::State::Transferred);
        }

        assert_eq!(state(&rig, "op").await.0, expected, "{what}");
        assert!(rig.queue().await.is_empty(), "{what}");
        if expected == State::Running {
            rig.advance(86_400_000_000);
            rig.timer("TRANSFER_OVERDUE", "op").await;
            let code = if report {
                "TIMED_OUT"
            } else {
                "OUTCOME_UNKNOWN"
            };
            assert_eq!(
                state(&rig, "op").await,
                (State::Failed, code.to_owned()),
                "{what}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_came_by_other_means_stops_the_download() {
    let mut rig = fleet().await;
    rig.download("op", "fw").await;

    rig.report(inform("s1", BOOT, &running("2"))).await;

    assert_eq!(state(&rig, "op").await.0, State::Succeeded);
    assert!(rig.queue().await.is_empty());
    assert_eq!(
        rig.store
            .claim_of(TENANT, "op")
            .await
            .unwrap()
            .unwrap()
            .by(),
        By::Cancellation,
        "so that no session sends it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_closes_what_was_sent_and_keeps_what_is_queued() {
    let (mut rig, _) = taken(1).await;
    rig.download("queued", "fw").await;

    rig.report(inform("s2", BOOTSTRAP, &running("1"))).await;

    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "ABORTED_BY_BOOTSTRAP".to_owned())
    );
    assert_eq!(rig.queue().await.len(), 1);
    assert_eq!(rig.open().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_first_decides_between_session_cancellation_and_expiry() {
    let mut rig = fleet().await;
    rig.download("op", "fw").await;
    let claim = Claim {
        by: By::Cancellation.into(),
        holder: "users/u".into(),
        time_us: 1,
    };
    rig.store.claim(TENANT, "op", &claim).await.unwrap();
    rig.notice("OPERATION_EXPIRED", "op").await;
    rig.notice("OPERATION_CANCELLED", "op").await;
    assert_eq!(state(&rig, "op").await.0, State::Cancelled);
    assert!(rig.queue().await.is_empty() && rig.open().await.is_empty());

    rig.download("op2", "fw").await;
    rig.notice("OPERATION_EXPIRED", "op2").await;
    assert_eq!(state(&rig, "op2").await.0, State::Expired);
    assert!(rig.queue().await.is_empty() && rig.open().await.is_empty());

    rig.download("op3", "fw").await;
    rig.claim("op3", "s1").await;
    rig.notice("OPERATION_CANCELLED", "op3").await;
    rig.notice("OPERATION_EXPIRED", "op3").await;
    assert_eq!(
        state(&rig, "op3").await.0,
        State::Running,
        "a session has it"
    );
    rig.advance(86_400_000_000);
    rig.timer("TRANSFER_OVERDUE", "op3").await;
    assert_eq!(
        state(&rig, "op3").await,
        (State::Failed, "OUTCOME_UNKNOWN".to_owned()),
        "and never came back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_the_device_dropped_is_cancelled() {
    let (mut rig, _) = taken(1).await;
    let cancel = CancelTransfer {
        operation: "tenants/default/operations/op".into(),
        command_key: "op".into(),
    };
    let action = Some(Action::CancelTransfer(cancel));
    let cancelling = Command {
        id: "cancel".into(),
        tenant: TENANT.into(),
        device: DEVICE.into(),
        owner: "provisioning".into(),
        request: Some(OperationRequest {
            action,
            ..OperationRequest::default()
        }),
        ..Command::default()
    };
    rig.store
        .write(commands::record_operation(&cancelling))
        .await
        .unwrap();
    let done = CommandDone {
        command: "cancel".into(),
        operation: "cancel".into(),
        owner: "provisioning".into(),
        method: "CancelTransfer".into(),
        outcome: Some(Outcome::Result(OperationResult::default())),
        ..CommandDone::default()
    };

    rig.report(said("s2", 1, Body::CommandDone(done))).await;

    assert_eq!(state(&rig, "op").await.0, State::Cancelled);
    assert!(rig.open().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_proves_nothing() {
    let (mut rig, _) = taken(1).await;

    rig.report(Report {
        quarantine_reason: "clone".into(),
        ..inform("s2", BOOTSTRAP, &running("2"))
    })
    .await;

    assert_eq!(state(&rig, "op").await.0, State::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redelivered_records_change_nothing() {
    let mut rig = fleet().await;
    rig.download("op", "fw").await;
    let command = rig.queue().await.remove(0);
    rig.claim(&command.id, "s1").await;
    let answered = rig.record(answer(&command, "s1", 1, status(1)));
    rig.append(vec![answered.clone()]).await;
    let before = (rig.progress("op").await, rig.open().await);

    rig.append(vec![answered]).await;
    rig.notice("OPERATION_CREATED", "op").await;

    assert_eq!((rig.progress("op").await, rig.open().await), before);
    assert!(rig.queue().await.is_empty());
    assert_eq!(rig.wake().await, 1);
    assert_eq!(rig.further_wakes().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_open_transfers_costs_nothing() {
    let (mut rig, command) = taken(1).await;
    rig.report(transfer("s2", &command.id, 0)).await;
    rig.report(inform("s3", BOOT, &running("2"))).await;
    assert_eq!(state(&rig, "op").await.0, State::Succeeded);

    let before = rig.counts.all();
    for n in 0..20 {
        rig.report(inform(&format!("idle{n}"), PERIODIC, &running("2")))
            .await;
        rig.report(transfer(&format!("idle{n}"), "elsewhere", 0))
            .await;
    }
    assert_eq!(rig.counts.all(), before);

    rig.restart().await;
    let [reads, writes, appended] = rig.counts.all();
    for n in 0..20 {
        rig.report(inform(&format!("more{n}"), BOOT, &running("2")))
            .await;
    }
    assert_eq!(
        rig.counts.all(),
        [reads + 1, writes, appended],
        "its shard is read once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_at_any_write_changes_nothing_in_the_end() {
    for trouble in 0..4 {
        let mut rig = fleet().await;
        let trouble_at = |rig: &Rig| rig.counts.trouble.store(trouble, Ordering::SeqCst);
        trouble_at(&rig);
        rig.download("op", "fw").await;
        let queue = rig.queue().await;
        assert_eq!(
            (queue.len(), rig.open().await.len()),
            (1, 1),
            "trouble at {trouble}"
        );

        rig.claim("op", "s1").await;
        trouble_at(&rig);
        rig.report(answer(&queue[0], "s1", 1, status(1))).await;
        assert_eq!(
            rig.open().await[0].state(),
            attempt::State::Accepted,
            "trouble at {trouble}"
        );
        trouble_at(&rig);
        rig.report(transfer("s2", "op", 0)).await;
        trouble_at(&rig);
        rig.report(inform("s3", BOOT, &running("2"))).await;

        assert_eq!(
            state(&rig, "op").await.0,
            State::Succeeded,
            "trouble at {trouble}"
        );
        assert!(rig.queue().await.is_empty() && rig.open().await.is_empty());
        let (first, done) = rig.operation_done().await;
        assert_eq!(done.state(), State::Succeeded);
        assert!(
            rig.operations_done()
                .await
                .into_iter()
                .all(|(id, _)| id == first),
            "said again under the same id"
        );
    }
}
