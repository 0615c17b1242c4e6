//! Diagnostics from their notice to their results.

use crate::rig::{
    DEVICE, Rig, TENANT, answer, fault, inform, parameter, sets, status, unanswered, values,
};
use platen_proto::{
    operation::v1::{
        Diagnostic, DiagnosticResult, GetParameterValues, IpPing, NeighboringWifi, Operation,
        OperationResult, UdpEchoConfig, diagnostic, operation::State, operation_request::Action,
    },
    report::v1::{Report, command_done::Outcome},
    store::v1::{Claim, Command, Observed, claim::By},
};
use platen_store::{commands, rows, tables::ObservedDevices};
use std::{sync::atomic::Ordering, time::Duration};

const PERIODIC: &[(&str, &str)] = &[("2 PERIODIC", "")];
const COMPLETE: &[(&str, &str)] = &[("8 DIAGNOSTICS COMPLETE", "")];
const OBJECT: &str = "Device.IP.Diagnostics.IPPing.";

fn ping(host: &str) -> Action {
    let ping = IpPing {
        host: host.into(),
        number_of_repetitions: Some(3),
        ..IpPing::default()
    };
    Action::Diagnostic(Diagnostic {
        kind: Some(diagnostic::Kind::IpPing(ping)),
    })
}

fn echo() -> Action {
    let echo = UdpEchoConfig {
        udp_port: Some(7),
        enable: Some(true),
        ..UdpEchoConfig::default()
    };
    Action::Diagnostic(Diagnostic {
        kind: Some(diagnostic::Kind::UdpEchoConfig(echo)),
    })
}

/// A service whose inventory knows the root of the device's data model.
async fn rig(root: &str) -> Rig {
    let rig = Rig::start().await;
    let observed = Observed {
        root_data_model: root.into(),
        ..Observed::default()
    };
    let write = rows::write::<ObservedDevices>((TENANT, DEVICE), &observed, 1);
    rig.store.write(vec![write]).await.unwrap();
    rig
}

/// The only command in the queue.
async fn queued(rig: &Rig) -> Command {
    let mut queue = rig.queue().await;
    assert_eq!(queue.len(), 1, "{queue:?}");
    queue.remove(0)
}

/// A diagnostic that session `s1` has sent and the device has taken.
async fn begun() -> Rig {
    let mut rig = rig("Device:2").await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    let set = queued(&rig).await;
    rig.claim("op", "s1").await;
    rig.report(answer(&set, "s1", 1, status(0))).await;
    rig
}

fn results(state: &str) -> Outcome {
    let path = |name: &str| format!("{OBJECT}{name}");
    let read = [
        ("DiagnosticsState", state),
        ("Host", "192.0.2.1"),
        ("NumberOfRepetitions", "3"),
        ("SuccessCount", "2"),
        ("FailureCount", "1"),
        ("AverageResponseTime", "12"),
        ("MinimumResponseTime", "10"),
        ("MaximumResponseTime", "15"),
    ];
    let values = read.map(|(name, value)| parameter(&path(name), value));
    Outcome::Result(OperationResult {
        values: values.into(),
        ..OperationResult::default()
    })
}

async fn state(rig: &Rig) -> (State, String) {
    let progress = rig.progress("op").await.unwrap_or_default();
    (
        progress.state(),
        progress.error.map(|error| error.code).unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_from_request_to_results() {
    let mut rig = rig("Device:2").await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    assert_eq!(rig.wake().await, 1);
    let set = queued(&rig).await;
    assert!(set.once && set.id == "op" && set.operation == "op");
    let paths: Vec<String> = sets(&set).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(
        paths,
        ["Host", "NumberOfRepetitions", "DiagnosticsState"].map(|name| format!("{OBJECT}{name}")),
        "the request comes last"
    );
    rig.claim("op", "s1").await;
    rig.report(answer(&set, "s1", 1, status(0))).await;
    assert_eq!(state(&rig).await.0, State::Running);
    assert!(
        rig.queue().await.is_empty(),
        "the session ends, so that the device begins"
    );

    rig.report(inform("s2", COMPLETE, &[])).await;
    assert!(rig.is_marked("s2", 0).await);
    let read = queued(&rig).await;
    assert!(!read.once && read.operation == "op");
    let wanted = Action::GetParameterValues(GetParameterValues {
        paths: vec![OBJECT.into()],
    });
    assert_eq!(read.request.clone().unwrap().action, Some(wanted));
    rig.report(answer(&read, "s2", 1, results("Complete")))
        .await;

    let (_, done) = rig.operation_done().await;
    assert_eq!((done.state(), done.attempts), (State::Succeeded, 1));
    let result = done.result.unwrap();
    assert!(result.values.is_empty());
    let expected = DiagnosticResult {
        state: "Complete".into(),
        success_count: Some(2),
        failure_count: Some(1),
        average_response_time: Some(12),
        minimum_response_time: Some(10),
        maximum_response_time: Some(15),
        ..DiagnosticResult::default()
    };
    assert_eq!(result.diagnostic, Some(Box::new(expected)));
    assert!(rig.queue().await.is_empty());
    let desired = rig.desired().await;
    assert!(desired.awaiting.is_empty() && desired.open_operations.is_empty());
    assert_eq!(desired.diagnostic, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_is_that_of_the_devices_data_model() {
    for (root, expected) in [
        ("Device:2", "Device.IP.Diagnostics.IPPing.Host"),
        (
            "InternetGatewayDevice:1",
            "InternetGatewayDevice.IPPingDiagnostics.Host",
        ),
    ] {
        let mut rig = rig(root).await;
        rig.diagnose("op", ping("192.0.2.1")).await;
        assert_eq!(sets(&queued(&rig).await)[0].0, expected);
    }
}

/// Nothing reports its end: what was set is read back in the same session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_server_is_set_and_read_at_once() {
    for answered in [true, false] {
        let mut rig = rig("Device:2").await;
        rig.diagnose("op", echo()).await;
        let set = queued(&rig).await;
        assert!(set.more_follows, "the edge waits for what comes next");
        rig.claim("op", "s1").await;
        let session = if answered {
            rig.report(answer(&set, "s1", 1, status(0))).await;
            "s1"
        } else {
            rig.report(inform("s2", PERIODIC, &[])).await;
            "s2"
        };

        let read = queued(&rig).await;
        let object = "Device.IP.Diagnostics.UDPEchoConfig.";
        let wanted = Action::GetParameterValues(GetParameterValues {
            paths: vec![object.into()],
        });
        assert_eq!(read.request.clone().unwrap().action, Some(wanted));
        let found = [("Enable", "1"), ("UDPPort", "7"), ("PacketsReceived", "5")];
        let found = found.map(|(name, value)| parameter(&format!("{object}{name}"), value));
        let found = Outcome::Result(OperationResult {
            values: found.into(),
            ..OperationResult::default()
        });
        rig.report(answer(&read, session, 2, found)).await;

        let (_, done) = rig.operation_done().await;
        assert_eq!(done.state(), State::Succeeded, "answered: {answered}");
        let diagnostic = done.result.unwrap().diagnostic.unwrap();
        assert_eq!(diagnostic.packets_received, Some(5));
        assert!(rig.queue().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_model_without_it_ends_it() {
    let mut rig = rig("InternetGatewayDevice:1").await;
    let wifi = diagnostic::Kind::NeighboringWifi(NeighboringWifi {});
    rig.diagnose("op", Action::Diagnostic(Diagnostic { kind: Some(wifi) }))
        .await;

    let expected = (State::Failed, "UNKNOWN_DIAGNOSTIC".to_owned());
    assert_eq!(state(&rig).await, expected);
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_nobody_has_seen_says_its_root_first() {
    let mut rig = Rig::start().await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    assert_eq!(rig.wake().await, 1);
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s1",
        &[("6 CONNECTION REQUEST", "")],
        &[("InternetGatewayDevice.DeviceSummary", "")],
    ))
    .await;

    assert_eq!(
        sets(&queued(&rig).await)[0].0,
        "InternetGatewayDevice.IPPingDiagnostics.Host"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_device_says_at_the_end_decides() {
    for (outcome, expected) in [
        (results("Completed"), (State::Succeeded, "")),
        (
            results("Error_CannotResolveHostName"),
            (State::Failed, "DIAGNOSTIC_FAILED"),
        ),
        (fault(9005), (State::Failed, "CWMP_FAULT")),
        (values(&[]), (State::Failed, "DIAGNOSTIC_FAILED")),
    ] {
        let mut rig = begun().await;
        rig.report(inform("s2", COMPLETE, &[])).await;
        let read = queued(&rig).await;
        rig.report(answer(&read, "s2", 1, outcome.clone())).await;

        let (found, code) = state(&rig).await;
        assert_eq!((found, code.as_str()), expected, "{outcome:?}");
        assert!(rig.queue().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_device_names_its_error() {
    let mut rig = begun().await;
    rig.report(inform("s2", COMPLETE, &[])).await;
    let read = queued(&rig).await;
    rig.report(answer(&read, "s2", 1, results("Error_Internal")))
        .await;

    let (_, Operation { error, result, .. }) = rig.operation_done().await;
    assert_eq!(error.unwrap().message, "Error_Internal");
    assert_eq!(result.unwrap().diagnostic.unwrap().state, "Error_Internal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_ends_it() {
    let mut rig = rig("Device:2").await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    let set = queued(&rig).await;
    rig.claim("op", "s1").await;

    rig.report(answer(&set, "s1", 1, fault(9005))).await;

    assert_eq!(state(&rig).await, (State::Failed, "CWMP_FAULT".to_owned()));
    assert!(rig.queue().await.is_empty());
}

/// Some devices take no arguments together with the request: they get them one after the other, in the same session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_may_want_its_arguments_first() {
    let names = |command: &Command| -> Vec<String> {
        let set = sets(command).into_iter();
        set.map(|(path, ..)| path[OBJECT.len()..].to_owned())
            .collect()
    };
    let mut rig = rig("Device:2").await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    let set = queued(&rig).await;
    rig.claim("op", "s1").await;
    rig.report(answer(&set, "s1", 1, fault(9003))).await;
    let arguments = queued(&rig).await;
    assert_eq!(names(&arguments), ["Host", "NumberOfRepetitions"]);
    assert!(arguments.more_follows && arguments.id != set.id);
    rig.report(answer(&arguments, "s1", 2, status(0))).await;
    let request = queued(&rig).await;
    assert_eq!(names(&request), ["DiagnosticsState"]);
    assert!(request.id != arguments.id);
    rig.report(answer(&request, "s1", 3, status(0))).await;
    assert!(rig.queue().await.is_empty());
    assert_eq!(state(&rig).await.0, State::Running);

    rig.report(inform("s2", COMPLETE, &[])).await;
    let read = queued(&rig).await;
    rig.report(answer(&read, "s2", 1, results("Complete")))
        .await;

    assert_eq!(state(&rig).await.0, State::Succeeded);
    assert!(rig.desired().await.awaiting.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_are_refused_by_themselves_end_it() {
    for step in 0..2 {
        let mut rig = rig("Device:2").await;
        rig.diagnose("op", ping("192.0.2.1")).await;
        let set = queued(&rig).await;
        rig.claim("op", "s1").await;
        rig.report(answer(&set, "s1", 1, fault(9003))).await;
        if step == 1 {
            let arguments = queued(&rig).await;
            rig.report(answer(&arguments, "s1", 2, status(0))).await;
        }
        let refused = queued(&rig).await;
        rig.report(answer(&refused, "s1", 3, fault(9003))).await;

        let expected = (State::Failed, "CWMP_FAULT".to_owned());
        assert_eq!(state(&rig).await, expected, "step {step}");
        assert!(rig.queue().await.is_empty(), "step {step}");
        assert_eq!(rig.desired().await.diagnostic, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_sessions_ask_until_it_is_over() {
    let mut rig = begun().await;
    rig.report(inform("s2", PERIODIC, &[])).await;
    let read = queued(&rig).await;
    for (session, said) in [("s2", "Requested"), ("s3", "None"), ("s4", "Requested")] {
        if session != "s2" {
            rig.report(inform(session, PERIODIC, &[])).await;
        }
        assert_eq!(queued(&rig).await, read, "every session asks once");
        rig.report(answer(&read, session, 1, results(said))).await;
        assert_eq!(state(&rig).await.0, State::Running, "{said}");
    }
    rig.report(unanswered(&read, "s4", 2)).await;
    assert_eq!(state(&rig).await.0, State::Running);

    rig.report(inform("s5", PERIODIC, &[])).await;
    rig.report(answer(&read, "s5", 1, results("Complete")))
        .await;

    assert_eq!(state(&rig).await.0, State::Succeeded);
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_in_parts_are_one_result() {
    let mut rig = begun().await;
    rig.report(inform("s2", COMPLETE, &[])).await;
    let read = queued(&rig).await;
    let Outcome::Result(all) = results("Complete") else {
        panic!("not a result")
    };
    for (part, chunk) in [&all.values[..3], &all.values[3..]].into_iter().enumerate() {
        let chunk = Outcome::Result(OperationResult {
            values: chunk.to_vec(),
            ..OperationResult::default()
        });
        let report = Report {
            part: u32::try_from(part).unwrap(),
            last: part == 1,
            ..answer(&read, "s2", 1, chunk)
        };
        rig.report(report).await;
    }

    let result = rig.progress("op").await.unwrap().result.unwrap();
    let diagnostic = result.diagnostic.unwrap();
    assert_eq!(
        (diagnostic.state.as_str(), diagnostic.success_count),
        ("Complete", Some(2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_reports_the_end_has_ten_minutes() {
    let mut rig = begun().await;
    assert!(
        rig.timers(Duration::from_secs(660))
            .await
            .contains(&("OPERATION_OVERDUE".into(), "op".into()))
    );
    rig.report(inform("s2", PERIODIC, &[])).await;

    rig.timer("OPERATION_OVERDUE", "op").await;

    assert_eq!(state(&rig).await, (State::Failed, "TIMED_OUT".to_owned()));
    assert!(rig.queue().await.is_empty(), "nobody reads it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_answer_is_believed_only_if_the_device_reports_its_end() {
    for complete in [true, false] {
        let mut rig = rig("Device:2").await;
        rig.diagnose("op", ping("192.0.2.1")).await;
        rig.claim("op", "s1").await;
        rig.report(inform("s2", PERIODIC, &[])).await;
        assert_eq!(state(&rig).await.0, State::Running);
        assert!(
            rig.queue().await.is_empty(),
            "never sent again, and what stands there may be old"
        );

        if complete {
            rig.report(inform("s3", COMPLETE, &[])).await;
            let read = queued(&rig).await;
            rig.report(answer(&read, "s3", 1, results("Complete")))
                .await;
            assert_eq!(state(&rig).await.0, State::Succeeded);
        } else {
            rig.timer("OPERATION_OVERDUE", "op").await;
            assert_eq!(
                state(&rig).await,
                (State::Failed, "OUTCOME_UNKNOWN".to_owned())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_makes_any_session_believed() {
    let mut rig = rig("Device:2").await;
    rig.diagnose("op", ping("192.0.2.1")).await;
    let set = queued(&rig).await;
    rig.claim("op", "s1").await;
    rig.report(inform("s2", PERIODIC, &[])).await;
    rig.report(answer(&set, "s1", 1, status(0))).await;

    rig.report(inform("s3", PERIODIC, &[])).await;

    let read = queued(&rig).await;
    rig.report(answer(&read, "s3", 1, results("Complete")))
        .await;
    assert_eq!(state(&rig).await.0, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_has_one_diagnostic_at_a_time() {
    let mut rig = begun().await;
    rig.diagnose("second", ping("192.0.2.2")).await;
    rig.diagnose("third", ping("192.0.2.3")).await;
    rig.notice("OPERATION_CREATED", "second").await;
    assert!(rig.queue().await.is_empty());
    assert_eq!(rig.desired().await.waiting_diagnostics, ["second", "third"]);

    rig.notice("OPERATION_EXPIRED", "second").await;
    rig.report(inform("s2", COMPLETE, &[])).await;
    let read = queued(&rig).await;
    assert!(read.more_follows, "the edge waits for what comes next");
    rig.report(answer(&read, "s2", 1, results("Complete")))
        .await;

    let next = queued(&rig).await;
    assert_eq!(next.id, "third");
    assert_eq!(sets(&next)[0].1, "192.0.2.3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancellation_expiry_and_bootstrap_end_it_and_let_the_next_one_begin() {
    for how in ["OPERATION_CANCELLED", "OPERATION_EXPIRED", "0 BOOTSTRAP"] {
        let mut rig = rig("Device:2").await;
        rig.diagnose("op", ping("192.0.2.1")).await;
        rig.diagnose("second", ping("192.0.2.2")).await;
        let set = queued(&rig).await;
        let expected = match how {
            "OPERATION_CANCELLED" => {
                let claim = Claim {
                    by: By::Cancellation.into(),
                    holder: "users/u".into(),
                    time_us: rig.now_us(),
                };
                rig.store.claim(TENANT, "op", &claim).await.unwrap();
                rig.notice(how, "op").await;
                State::Cancelled
            }
            "OPERATION_EXPIRED" => {
                rig.notice(how, "op").await;
                State::Expired
            }
            _ => {
                rig.claim("op", "s1").await;
                rig.report(answer(&set, "s1", 1, status(0))).await;
                rig.report(inform("s2", &[(how, "")], &[])).await;
                State::Failed
            }
        };

        assert_eq!(state(&rig).await.0, expected, "{how}");
        assert_eq!(queued(&rig).await.id, "second", "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_at_any_write_changes_nothing_in_the_end() {
    for trouble in 0..5 {
        let mut rig = rig("Device:2").await;
        let trouble_at = |rig: &Rig| rig.counts.ports.trouble.store(trouble, Ordering::SeqCst);
        trouble_at(&rig);
        rig.diagnose("op", ping("192.0.2.1")).await;
        let set = queued(&rig).await;
        rig.claim("op", "s1").await;
        trouble_at(&rig);
        rig.report(answer(&set, "s1", 1, status(0))).await;
        trouble_at(&rig);
        rig.report(inform("s2", COMPLETE, &[])).await;
        let read = queued(&rig).await;
        trouble_at(&rig);
        rig.report(answer(&read, "s2", 1, results("Complete")))
            .await;

        assert_eq!(
            state(&rig).await.0,
            State::Succeeded,
            "trouble at {trouble}"
        );
        assert!(rig.queue().await.is_empty(), "trouble at {trouble}");
        let desired = rig.desired().await;
        assert!(desired.awaiting.is_empty() && desired.diagnostic.is_none());
        let mut events = rig.operations_done().await;
        events.dedup_by_key(|event| event.0.clone());
        assert_eq!(events.len(), 1, "trouble at {trouble}");
    }
}

impl Rig {
    /// A diagnostic, as northbound writes it: its rows without a place in the queue, then the notice.
    async fn diagnose(&mut self, id: &str, action: Action) {
        let command = self.operation(id, action);
        self.store
            .write(commands::record_operation(&command))
            .await
            .unwrap();
        self.notice("OPERATION_CREATED", id).await;
    }
}
