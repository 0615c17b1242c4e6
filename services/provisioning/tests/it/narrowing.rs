//! Reads that a device refuses as a whole.

use crate::rig::{Rig, answer, fault, inform, unanswered, values};
use platen_proto::{
    operation::v1::{GetParameterValues, Operation, operation::State, operation_request::Action},
    report::v1::{Report, command_done::Outcome},
    store::v1::Command,
};
use std::collections::BTreeSet;

const INVALID_PARAMETER_NAME: i32 = 9005;

fn path(n: usize) -> String {
    format!("Device.P{n:02}")
}

fn get(count: usize) -> Action {
    Action::GetParameterValues(GetParameterValues {
        paths: (0..count).map(path).collect(),
    })
}

fn paths(command: &Command) -> Vec<String> {
    match command.request.as_ref().unwrap().action.as_ref().unwrap() {
        Action::GetParameterValues(get) => get.paths.clone(),
        other => panic!("a read is asked for in parts by reads, not by {other:?}"),
    }
}

/// What a device without `missing` answers.
fn said(command: &Command, missing: &BTreeSet<String>) -> Outcome {
    let paths = paths(command);
    if paths.iter().any(|path| missing.contains(path)) {
        return fault(INVALID_PARAMETER_NAME);
    }
    let read: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "1")).collect();
    values(&read)
}

/// Answers for the device until its queue is empty. Each record comes twice.
async fn serve(rig: &mut Rig, missing: &BTreeSet<String>) -> usize {
    let mut requests = 0;
    while let Some(command) = rig.queue().await.first().cloned() {
        requests += 1;
        let ordinal = u32::try_from(requests).unwrap();
        let record = rig.record(answer(&command, "s1", ordinal, said(&command, missing)));
        rig.append(vec![record.clone()]).await;
        rig.append(vec![record]).await;
    }
    requests
}

fn read(done: &Operation) -> Vec<String> {
    let result = done.result.as_ref().unwrap();
    result
        .values
        .iter()
        .map(|value| value.path.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_55_a_missing_path_is_found_and_the_others_are_read() {
    for (count, missing, most) in [
        (32, &[13][..], 11),
        (32, &[0][..], 11),
        (5, &[1, 4][..], 9),
        (2, &[1][..], 3),
    ] {
        let mut rig = Rig::start().await;
        let missing: BTreeSet<String> = missing.iter().map(|n| path(*n)).collect();
        rig.operate("op", get(count)).await;

        let requests = serve(&mut rig, &missing).await;

        let (_, done) = rig.operation_done().await;
        assert_eq!(done.state(), State::Succeeded, "{:?}", done.error);
        assert!(requests <= most, "{requests} requests for {missing:?}");
        let absent = &done.result.as_ref().unwrap().absent_paths;
        assert_eq!(absent.iter().cloned().collect::<BTreeSet<_>>(), missing);
        assert_eq!(absent.len(), missing.len(), "each is named once");
        let expected: Vec<String> = (0..count)
            .map(path)
            .filter(|path| !missing.contains(path))
            .collect();
        assert_eq!(read(&done), expected);
        let desired = rig.desired().await;
        assert!(desired.narrowings.is_empty() && desired.awaiting.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_has_none_of_the_paths_refuses_the_operation() {
    let mut rig = Rig::start().await;
    rig.operate("op", get(3)).await;

    serve(&mut rig, &(0..3).map(path).collect()).await;

    let (_, done) = rig.operation_done().await;
    let fault = done.error.unwrap().cwmp_fault.unwrap();
    assert_eq!(fault.code, INVALID_PARAMETER_NAME);
    assert_eq!(done.result.unwrap().absent_paths.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_whose_session_broke_off_is_asked_for_again_and_counts_once() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get(4)).await;
    rig.report(answer(&command, "s1", 1, fault(INVALID_PARAMETER_NAME)))
        .await;
    let half = rig.queue().await[0].clone();
    assert_eq!(paths(&half), [path(0), path(1)]);
    assert!(!half.once && half.more_follows);

    // The first piece of an answer, and then the session is gone.
    let piece = Report {
        last: false,
        ..answer(&half, "s1", 2, values(&[("Device.P00", "old")]))
    };
    rig.report(piece).await;
    assert_eq!(rig.queue().await, std::slice::from_ref(&half));
    let all = values(&[("Device.P00", "new"), ("Device.P01", "1")]);
    rig.report(answer(&half, "s2", 1, all)).await;
    let rest = rig.queue().await[0].clone();
    assert_eq!(paths(&rest), [path(2), path(3)]);
    // A late answer to the part before says nothing.
    rig.report(answer(&half, "s2", 2, fault(9002))).await;
    let all = values(&[("Device.P02", "1"), ("Device.P03", "1")]);
    rig.report(answer(&rest, "s2", 3, all)).await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(done.state(), State::Succeeded);
    assert_eq!(read(&done), [path(0), path(1), path(2), path(3)]);
    assert_eq!(done.result.unwrap().values[0].value, "new");
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_matter_of_paths_ends_the_operation() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get(4)).await;
    rig.report(answer(&command, "s1", 1, fault(9004))).await;
    let half = rig.queue().await[0].clone();

    rig.report(answer(&half, "s1", 2, fault(9002))).await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(done.error.unwrap().cwmp_fault.unwrap().code, 9002);
    assert!(rig.queue().await.is_empty(), "no part is left behind");
    assert!(rig.desired().await.narrowings.is_empty());

    let command = rig.operate("late", get(4)).await;
    rig.report(answer(&command, "s2", 1, fault(9005))).await;
    rig.timer("OPERATION_OVERDUE", "late").await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(done.error.unwrap().code, "OUTCOME_UNKNOWN");
    assert!(
        rig.queue().await.is_empty(),
        "nor is it when nobody answers"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_no_session_answers_is_given_up_and_what_was_read_is_kept() {
    let mut rig = Rig::start().await;
    let command = rig.operate("op", get(4)).await;
    rig.report(answer(&command, "s0", 1, fault(INVALID_PARAMETER_NAME)))
        .await;
    let half = rig.queue().await[0].clone();
    let read_so_far = values(&[("Device.P00", "1"), ("Device.P01", "1")]);
    rig.report(answer(&half, "s0", 2, read_so_far)).await;
    let rest = rig.queue().await[0].clone();
    rig.report(unanswered(&rest, "s0", 3)).await;

    for session in 1..=5 {
        let session = format!("s{session}");
        rig.report(inform(&session, &[("1 BOOT", "")], &[])).await;
        assert_eq!(rig.queue().await, std::slice::from_ref(&rest), "{session}");
    }
    rig.report(inform("s6", &[("1 BOOT", "")], &[])).await;

    let (_, done) = rig.operation_done().await;
    assert_eq!(done.error.as_ref().unwrap().code, "OUTCOME_UNKNOWN");
    assert_eq!(read(&done), [path(0), path(1)]);
    assert!(rig.queue().await.is_empty());
}
