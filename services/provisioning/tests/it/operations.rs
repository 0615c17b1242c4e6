//! Operations from their notice to their end.

use crate::rig::{
    Rig, TENANT, answer, fault, inform, said, set_values, status, unanswered, values,
};
use platen_proto::{
    device::v1::CwmpFault,
    event::v1::{DeviceRequest, TransferComplete},
    operation::v1::{
        CancelTransfer, ChangeDuState, Download, DuResult, FactoryReset, GetParameterValues,
        OperationResult, Reboot, operation::State, operation_request::Action,
    },
    report::v1::{Report, Woken, command_done::Outcome, report::Body},
    store::v1::{Claim, claim::By},
};
use std::{sync::atomic::Ordering, time::Duration};

const PERIODIC: &[(&str, &str)] = &[("2 PERIODIC", "")];

fn get() -> Action {
    Action::GetParameterValues(GetParameterValues {
        paths: vec!["Device.A".into()],
    })
}

fn download() -> Action {
    Action::Download(Download {
        url: "http://192.0.2.1/f".into(),
        password: "secret".into(),
        ..Download::default()
    })
}

fn transfer(session: &str, ordinal: u32, key: &str, code: i32) -> Report {
    let fault = (code != 0).then(|| CwmpFault {
        code,
        string: "no".into(),
        parameter_faults: Vec::new(),
    });
    said(
        session,
        ordinal,
        Body::TransferComplete(TransferComplete {
            command_key: key.into(),
            fault,
            ..TransferComplete::default()
        }),
    )
}

fn woken(session: &str, reached: bool) -> Report {
    Report {
        deciding: false,
        ..said(
            session,
            0,
            Body::Woken(Woken {
                reached,
                ..Woken::default()
            }),
        )
    }
}

async fn state(rig: &Rig, id: &str) -> (State, String) {
    let progress = rig.progress(id).await.unwrap();
    (
        progress.state(),
        progress.error.map(|error| error.code).unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_wakes_its_device_and_ends_with_the_answer() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    assert_eq!(rig.wake().await, 1);
    assert_eq!(rig.desired().await.open_operations, ["op"]);
    rig.report(inform("s1", &[("6 CONNECTION REQUEST", "")], &[]))
        .await;
    rig.claim("op", "s1").await;

    rig.report(answer(&command, "s1", 1, values(&[("Device.A", "1")])))
        .await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(
        (done.name.as_str(), done.state()),
        ("tenants/default/operations/op", State::Succeeded)
    );
    assert_eq!(done.result.unwrap().values[0].value, "1");
    assert!(done.start_time.is_some() && done.end_time.is_some());
    assert!(rig.queue().await.is_empty());
    assert!(rig.desired().await.open_operations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_ends_an_operation_with_its_code() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;

    rig.report(answer(&command, "s1", 1, fault(9005))).await;

    let (_, done) = rig.operation_done().await;
    let error = done.error.unwrap();
    assert_eq!(
        (
            done.state,
            error.code.as_str(),
            error.cwmp_fault.unwrap().code
        ),
        (State::Failed.into(), "CWMP_FAULT", 9005)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_record_again_says_the_same_again() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    let answered = rig.record(answer(&command, "s1", 1, values(&[("Device.A", "1")])));
    rig.append(vec![answered.clone()]).await;
    let (first, _) = rig.operation_done().await;
    let progress = rig.progress("op").await;

    rig.append(vec![answered]).await;
    let other = rig.operate("other", get()).await;
    rig.report(answer(&other, "s1", 2, values(&[]))).await;

    let (next, done) = rig.operation_done().await;
    assert_ne!(next, first);
    assert_eq!(
        done.name, "tenants/default/operations/other",
        "the redelivery ended nothing a second time"
    );
    assert_eq!(rig.progress("op").await, progress);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_parts_is_one_result() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    let part = |part, last, value: &str| Report {
        part,
        last,
        ..answer(&command, "s1", 1, values(&[("Device.A", value)]))
    };

    rig.report(part(0, false, "1")).await;
    assert_eq!(state(&rig, "op").await.0, State::Running);
    rig.report(part(1, true, "2")).await;

    let (_, done) = rig.operation_done().await;
    let read: Vec<String> = done
        .result
        .unwrap()
        .values
        .into_iter()
        .map(|value| value.value)
        .collect();
    assert_eq!(read, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_bound_is_refused() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    let chunk = "x".repeat(900_000);
    for part in 0..6 {
        let report = Report {
            part,
            last: part == 5,
            ..answer(&command, "s1", 1, values(&[("Device.A", &chunk)]))
        };
        rig.report(report).await;
    }

    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "RESULT_TOO_LARGE".to_owned())
    );
    assert!(rig.progress("op").await.unwrap().result.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_runs_until_its_report() {
    for (what, status_code, key, code, expected) in [
        ("done in the session", 0, "", -1, (State::Succeeded, "")),
        ("reported later", 1, "op", 0, (State::Succeeded, "")),
        ("reported without key", 1, "", 0, (State::Succeeded, "")),
        (
            "reported as failed",
            1,
            "op",
            9016,
            (State::Failed, "CWMP_FAULT"),
        ),
        (
            "another transfer is reported",
            1,
            "other",
            0,
            (State::Running, ""),
        ),
    ] {
        let mut rig = Rig::start().await;
        let command = rig.operate("op", download()).await;
        rig.claim("op", "s1").await;
        rig.report(answer(&command, "s1", 1, status(status_code)))
            .await;
        assert!(rig.queue().await.is_empty(), "{what}: it is not sent again");
        if code >= 0 {
            rig.report(inform(
                "s2",
                &[("7 TRANSFER COMPLETE", ""), ("M Download", key)],
                &[],
            ))
            .await;
            rig.report(transfer("s2", 1, key, code)).await;
            assert!(rig.is_marked("s2", 1).await, "{what}");
        }
        let (found, error) = state(&rig, "op").await;
        assert_eq!((found, error.as_str()), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_is_never_reported_is_given_up() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", download()).await;
    rig.claim("op", "s1").await;
    rig.report(answer(&command, "s1", 1, status(1))).await;
    assert!(
        rig.timers(Duration::from_secs(86_500))
            .await
            .contains(&("OPERATION_OVERDUE".into(), "op".into()))
    );

    rig.timer("OPERATION_OVERDUE", "op").await;

    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "OUTCOME_UNKNOWN".to_owned())
    );
    rig.report(transfer("s9", 0, "op", 0)).await;
    assert_eq!(
        state(&rig, "op").await.0,
        State::Failed,
        "nobody waits for it any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_transfer_ends_both_operations() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", download()).await;
    rig.claim("op", "s1").await;
    rig.report(answer(&command, "s1", 1, status(1))).await;
    let cancel = CancelTransfer {
        operation: "tenants/default/operations/op".into(),
        command_key: "op".into(),
    };
    let cancel = rig.operate("cancel", Action::CancelTransfer(cancel)).await;

    rig.report(answer(
        &cancel,
        "s2",
        1,
        Outcome::Result(OperationResult::default()),
    ))
    .await;

    assert_eq!(state(&rig, "cancel").await.0, State::Succeeded);
    assert_eq!(state(&rig, "op").await.0, State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_du_change_ends_with_its_report() {
    for (current, expected) in [("Installed", State::Succeeded), ("Failed", State::Failed)] {
        let mut rig = Rig::start().await;
        let command = rig
            .operate("op", Action::ChangeDuState(ChangeDuState::default()))
            .await;
        rig.claim("op", "s1").await;
        rig.report(answer(
            &command,
            "s1",
            1,
            Outcome::Result(OperationResult::default()),
        ))
        .await;
        assert_eq!(state(&rig, "op").await.0, State::Running);

        let result = DuResult {
            current_state: current.into(),
            ..DuResult::default()
        };
        let request = DeviceRequest {
            method: "DUStateChangeComplete".into(),
            du_results: vec![result],
            command_key: "op".into(),
            ..DeviceRequest::default()
        };
        rig.report(said("s2", 1, Body::DeviceRequest(request)))
            .await;

        assert_eq!(state(&rig, "op").await.0, expected);
        assert_eq!(
            rig.progress("op")
                .await
                .unwrap()
                .result
                .unwrap()
                .operations
                .len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_session_took_is_read_back() {
    let reboot = || Action::Reboot(Reboot::default());
    let reset = || Action::FactoryReset(FactoryReset {});
    for (what, action, events, expected) in [
        (
            "a reboot that happened",
            reboot(),
            &[("1 BOOT", ""), ("M Reboot", "op")][..],
            (State::Succeeded, ""),
        ),
        (
            "a reboot that did not",
            reboot(),
            PERIODIC,
            (State::Failed, "OUTCOME_UNKNOWN"),
        ),
        (
            "a reset that happened",
            reset(),
            &[("0 BOOTSTRAP", "")],
            (State::Succeeded, ""),
        ),
        (
            "a read",
            get(),
            PERIODIC,
            (State::Failed, "OUTCOME_UNKNOWN"),
        ),
        (
            "a set before a reset",
            set_values(&[("Device.A", "1")]),
            &[("0 BOOTSTRAP", "")],
            (State::Failed, "ABORTED_BY_BOOTSTRAP"),
        ),
    ] {
        let mut rig = Rig::start().await;
        rig.operate("op", action).await;
        rig.report(inform("s1", PERIODIC, &[])).await;
        rig.claim("op", "s1").await;

        rig.report(inform("s2", events, &[])).await;

        let (found, error) = state(&rig, "op").await;
        assert_eq!((found, error.as_str()), expected, "{what}");
        assert!(
            rig.queue().await.is_empty(),
            "{what}: it is never sent again"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_without_answer_is_read_back_and_compared() {
    for (read, expected) in [("1", State::Succeeded), ("0", State::Failed)] {
        let mut rig = Rig::start().await;
        rig.operate("op", set_values(&[("Device.A", "1")])).await;
        rig.report(inform("s1", PERIODIC, &[])).await;
        rig.claim("op", "s1").await;
        rig.report(inform("s2", PERIODIC, &[])).await;

        let queue = rig.queue().await;
        let [check] = &queue[..] else {
            panic!("{queue:?}")
        };
        assert!(!check.once && check.id != "op" && check.operation == "op");
        assert_eq!(check.request.as_ref().unwrap().action, Some(get()));
        rig.report(answer(check, "s2", 1, values(&[("Device.A", read)])))
            .await;

        assert_eq!(state(&rig, "op").await.0, expected);
        assert!(rig.queue().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_was_sent_and_got_no_readable_answer_is_read_back() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", set_values(&[("Device.A", "1")])).await;
    rig.claim("op", "s1").await;
    rig.report(unanswered(&command, "s1", 1)).await;
    assert_eq!(rig.progress("op").await, None, "nobody knows yet");

    rig.report(inform("s2", PERIODIC, &[])).await;
    let queue = rig.queue().await;
    let [check] = &queue[..] else {
        panic!("{queue:?}")
    };
    assert!(!check.once && check.operation == "op");
    rig.report(answer(check, "s2", 1, values(&[("Device.A", "1")])))
        .await;

    assert_eq!(state(&rig, "op").await, (State::Succeeded, String::new()));
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_that_was_sent_and_got_no_readable_answer_shows_in_the_next_inform() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", Action::Reboot(Reboot::default())).await;
    rig.claim("op", "s1").await;
    rig.report(unanswered(&command, "s1", 1)).await;

    rig.report(inform("s2", &[("M Reboot", "op")], &[])).await;

    assert_eq!(state(&rig, "op").await, (State::Succeeded, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_without_answer_waits_for_its_report() {
    let mut rig = Rig::start().await;
    rig.operate("op", download()).await;
    rig.report(inform("s1", PERIODIC, &[])).await;
    rig.claim("op", "s1").await;

    rig.report(inform(
        "s2",
        &[("7 TRANSFER COMPLETE", ""), ("M Download", "op")],
        &[],
    ))
    .await;
    assert_eq!(state(&rig, "op").await.0, State::Running);
    rig.report(transfer("s2", 1, "op", 0)).await;

    assert_eq!(state(&rig, "op").await.0, State::Succeeded);
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_closes_what_was_sent_and_keeps_what_is_queued() {
    let mut rig = Rig::start().await;
    let sent = rig.operate("sent", download()).await;
    rig.claim("sent", "s1").await;
    rig.report(answer(&sent, "s1", 1, status(1))).await;
    rig.operate("queued", get()).await;

    rig.report(inform("s2", &[("0 BOOTSTRAP", "")], &[])).await;

    assert_eq!(
        state(&rig, "sent").await,
        (State::Failed, "ABORTED_BY_BOOTSTRAP".to_owned())
    );
    assert_eq!(rig.progress("queued").await, None);
    assert_eq!(rig.queue().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_proves_nothing() {
    let mut rig = Rig::start().await;
    rig.operate("op", Action::Reboot(Reboot::default())).await;
    rig.claim("op", "s1").await;

    rig.report(Report {
        quarantine_reason: "clone".into(),
        ..inform("s2", &[("M Reboot", "op"), ("0 BOOTSTRAP", "")], &[])
    })
    .await;

    assert_eq!(rig.progress("op").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_at_hand_may_answer_yet() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    rig.report(inform("s1", PERIODIC, &[])).await;
    let late = rig.record(inform("s1", PERIODIC, &[]));
    rig.claim("op", "s1").await;

    rig.append(vec![late]).await;

    assert_eq!(rig.progress("op").await, None);
    rig.report(answer(&command, "s1", 1, values(&[]))).await;
    assert_eq!(state(&rig, "op").await.0, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_beats_not_knowing() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get()).await;
    rig.claim("op", "s1").await;
    rig.report(inform("s2", PERIODIC, &[])).await;
    assert_eq!(
        state(&rig, "op").await,
        (State::Failed, "OUTCOME_UNKNOWN".to_owned())
    );

    rig.report(answer(&command, "s1", 1, values(&[("Device.A", "1")])))
        .await;

    assert_eq!(state(&rig, "op").await, (State::Succeeded, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_first_decides_between_session_cancellation_and_expiry() {
    let cancellation = |time_us| Claim {
        by: By::Cancellation.into(),
        holder: "users/u".into(),
        time_us,
    };

    let mut rig = Rig::start().await;
    rig.operate("op", get()).await;
    rig.store
        .claim(TENANT, "op", &cancellation(rig.now_us()))
        .await
        .unwrap();
    rig.notice("OPERATION_EXPIRED", "op").await;
    assert_eq!(rig.progress("op").await, None, "the cancellation has it");
    rig.notice("OPERATION_CANCELLED", "op").await;
    assert_eq!(state(&rig, "op").await.0, State::Cancelled);
    let (_, done) = rig.operation_done().await;
    assert_eq!((done.state(), done.attempts), (State::Cancelled, 0));
    assert!(rig.queue().await.is_empty());

    rig.operate("op2", get()).await;
    rig.notice("OPERATION_EXPIRED", "op2").await;
    assert_eq!(state(&rig, "op2").await.0, State::Expired);
    rig.notice("OPERATION_CANCELLED", "op2").await;
    assert_eq!(state(&rig, "op2").await.0, State::Expired);

    rig.operate("op3", get()).await;
    rig.claim("op3", "s1").await;
    rig.notice("OPERATION_CANCELLED", "op3").await;
    rig.notice("OPERATION_EXPIRED", "op3").await;
    assert_eq!(rig.progress("op3").await, None, "the session has it");
    assert!(
        rig.timers(Duration::from_secs(4_000))
            .await
            .contains(&("OPERATION_OVERDUE".into(), "op3".into()))
    );
    rig.timer("OPERATION_OVERDUE", "op3").await;
    assert_eq!(
        state(&rig, "op3").await,
        (State::Failed, "OUTCOME_UNKNOWN".to_owned()),
        "and never came back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_does_not_come_is_asked_again() {
    let mut rig = Rig::start().await;
    rig.operate("op", get()).await;
    assert_eq!(rig.wake().await, 1);
    rig.report(woken("w1", false)).await;
    assert!(
        rig.timers(Duration::from_secs(60))
            .await
            .contains(&("WAKE_RETRY".into(), "1".into()))
    );

    rig.timer("WAKE_RETRY", "1").await;
    assert_eq!(rig.wake().await, 2);
    rig.timer("WAKE_RETRY", "1").await;
    rig.report(inform("s1", &[("6 CONNECTION REQUEST", "")], &[]))
        .await;
    rig.timer("WAKE_RETRY", "2").await;

    assert_eq!(
        rig.further_wakes().await,
        0,
        "an old timer says nothing, and the device has come"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_woken_for_what_is_over() {
    let mut rig = Rig::start().await;
    rig.operate("op", get()).await;
    assert_eq!(rig.wake().await, 1);
    rig.notice("OPERATION_EXPIRED", "op").await;

    rig.report(woken("w1", true)).await;
    rig.timer("WAKE_RETRY", "1").await;

    assert_eq!(rig.further_wakes().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_that_comes_twice_is_one_operation() {
    let mut rig = Rig::start().await;
    rig.operate("op", get()).await;
    assert_eq!(rig.wake().await, 1);

    rig.notice("OPERATION_CREATED", "op").await;
    rig.notice("OPERATION_CREATED", "never-made").await;

    assert_eq!(rig.desired().await.open_operations, ["op"]);
    assert_eq!(rig.further_wakes().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operations_of_others_are_theirs() {
    let mut rig = Rig::start().await;
    let mut command = rig.operate("op", get()).await;
    command.owner = "firmware".into();

    rig.report(answer(&command, "s1", 1, status(0))).await;

    assert_eq!(rig.progress("op").await, None);
    assert!(rig.is_marked("s1", 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_operations_than_a_device_may_have_open_fail() {
    let mut rig = Rig::start().await;
    for n in 0..256 {
        rig.operate(&format!("op{n}"), get()).await;
    }

    rig.operate("one-more", get()).await;

    assert_eq!(
        state(&rig, "one-more").await,
        (State::Failed, "TOO_MANY_OPERATIONS".to_owned())
    );
    assert_eq!(rig.desired().await.open_operations.len(), 256);
    let claim = rig
        .store
        .claim_of(TENANT, "one-more")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(claim.by(), By::Cancellation, "so that no session sends it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_at_any_write_changes_nothing_in_the_end() {
    for trouble in 0..5 {
        let mut rig = Rig::start().await;
        let command = rig.operate("op", get()).await;
        rig.claim("op", "s1").await;
        let mut answered = answer(&command, "s1", 1, values(&[("Device.A", "1")]));
        answered.deciding = true;

        rig.counts.ports.trouble.store(trouble, Ordering::SeqCst);
        rig.report(answered).await;

        assert_eq!(
            state(&rig, "op").await.0,
            State::Succeeded,
            "trouble at {trouble}"
        );
        assert_eq!(
            rig.progress("op")
                .await
                .unwrap()
                .result
                .unwrap()
                .values
                .len(),
            1,
            "no part counts twice"
        );
        assert!(rig.queue().await.is_empty() && rig.desired().await.open_operations.is_empty());
        assert!(rig.is_marked("s1", 1).await);
        let mut events = rig.operations_done().await;
        events.dedup_by_key(|event| event.0.clone());
        assert_eq!(
            events.len(),
            1,
            "what is said again is said under the same id"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_does_not_count_a_part_of_an_answer_twice() {
    for trouble in 0..4 {
        let mut rig = Rig::start().await;
        let command = rig.operate("op", get()).await;
        rig.claim("op", "s1").await;
        for part in 0..3 {
            let read = [("Device.A", ["1", "2", "3"][part as usize])];
            let report = Report {
                part,
                last: part == 2,
                ..answer(&command, "s1", 1, values(&read))
            };
            rig.counts
                .ports
                .trouble
                .store(if part == 1 { trouble } else { 0 }, Ordering::SeqCst);
            rig.report(report).await;
        }

        let result = rig.progress("op").await.unwrap().result.unwrap();
        let read: Vec<String> = result.values.into_iter().map(|value| value.value).collect();
        assert_eq!(read, ["1", "2", "3"], "trouble at {trouble}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_does_not_hide_that_a_report_is_awaited() {
    for trouble in 0..4 {
        let mut rig = Rig::start().await;
        let command = rig.operate("op", download()).await;
        rig.claim("op", "s1").await;

        rig.counts.ports.trouble.store(trouble, Ordering::SeqCst);
        rig.report(answer(&command, "s1", 1, status(1))).await;

        let desired = rig.desired().await;
        assert_eq!(
            (desired.awaiting, desired.open_operations.len()),
            (vec!["op".to_owned()], 0),
            "trouble at {trouble}"
        );
        assert_eq!(state(&rig, "op").await.0, State::Running);
        assert_eq!(
            rig.progress("op").await.unwrap().result.unwrap().status,
            Some(1)
        );
    }
}
