//! From profiles to commands, and from answers to applied settings.

use crate::rig::{DEVICE, Rig, TENANT, answer, fault, inform, set_values, sets, status, values};
use platen_proto::{
    device::v1::{CwmpFault, Parameter, ParameterFault, parameter::State},
    operation::v1::{GetParameterValues, operation_request::Action},
    report::v1::{Report, command_done::Outcome},
    store::v1::{Observed, ParameterChunk, Registration},
};
use platen_runtime::keys::Keys;
use platen_store::{
    rows,
    table::Expect,
    tables::{ObservedDevices, Parameters, Registrations},
};
use std::time::Duration;

const PERIODIC: &[(&str, &str)] = &[("2 PERIODIC", "")];
const BOOT: &[(&str, &str)] = &[("1 BOOT", "")];
const BOOTSTRAP: &[(&str, &str)] = &[("0 BOOTSTRAP", ""), ("1 BOOT", "")];

fn triple(path: &str, value: &str, kind: &str) -> (String, String, String) {
    (path.to_owned(), value.to_owned(), kind.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_go_out_in_the_session_that_calls_and_then_never_again() {
    let mut rig = Rig::start().await;
    rig.profile(
        "p",
        "device.oui == '00D09E'",
        &[("Device.A", "1"), ("Device.B", "2")],
    )
    .await;

    rig.report(inform("s1", BOOT, &[("Device.A", "0")])).await;

    assert!(
        rig.is_marked("s1", 0).await,
        "the edge is told once the command is queued"
    );
    let queue = rig.queue().await;
    let [command] = &queue[..] else {
        panic!("{queue:?}")
    };
    assert_eq!(
        sets(command),
        [
            triple("Device.A", "1", "xsd:string"),
            triple("Device.B", "2", "xsd:string")
        ]
    );
    assert!(!command.once && command.owner == "provisioning" && command.operation.is_empty());

    rig.report(answer(command, "s1", 1, status(0))).await;
    assert!(rig.queue().await.is_empty());
    assert!(!rig.desired().await.applied.is_empty());
    rig.report(inform("s2", BOOT, &[("Device.A", "1")])).await;
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_of_many_settings_is_sent_command_by_command() {
    let mut rig = Rig::start().await;
    let paths: Vec<String> = (0..100).map(|n| format!("Device.P{n:03}")).collect();
    let settings: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "1")).collect();
    rig.profile("p", "true", &settings).await;

    rig.report(inform("s1", BOOT, &[])).await;
    let first = rig.queue().await.remove(0);
    assert_eq!((sets(&first).len(), first.more_follows), (64, true));
    rig.report(answer(&first, "s1", 1, status(0))).await;

    assert!(rig.is_marked("s1", 1).await);
    let second = rig.queue().await.remove(0);
    assert_eq!(sets(&second).len(), 36);
    rig.report(answer(&second, "s1", 2, status(0))).await;
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_setting_is_held_back_and_the_others_arrive() {
    let mut rig = Rig::start().await;
    rig.profile(
        "p",
        "true",
        &[("Device.A", "1"), ("Device.Bad", "1"), ("Device.C", "1")],
    )
    .await;
    rig.report(inform("s1", BOOT, &[])).await;
    let first = rig.queue().await.remove(0);
    let named = ParameterFault {
        path: "Device.Bad".into(),
        code: 9005,
        string: "no such".into(),
    };
    let refusal = CwmpFault {
        code: 9003,
        string: "Invalid arguments".into(),
        parameter_faults: vec![named],
    };

    rig.report(answer(&first, "s1", 1, Outcome::Fault(refusal)))
        .await;
    let second = rig.queue().await.remove(0);
    assert_eq!(
        sets(&second)
            .iter()
            .map(|set| set.0.as_str())
            .collect::<Vec<_>>(),
        ["Device.A", "Device.C"]
    );
    rig.report(answer(&second, "s1", 2, status(0))).await;

    let desired = rig.desired().await;
    assert_eq!(desired.refused.len(), 1);
    assert_eq!(
        (
            desired.refused[0].path.as_str(),
            desired.refused[0].fault.as_ref().unwrap().code
        ),
        ("Device.Bad", 9005)
    );
    rig.report(inform("s2", BOOT, &[])).await;
    assert!(rig.queue().await.is_empty(), "not before its time");
    rig.advance(Duration::from_secs(3_601));
    rig.report(inform("s3", BOOT, &[])).await;
    assert_eq!(
        rig.queue().await.len(),
        1,
        "an hour later it is tried again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_software_may_take_what_the_old_one_refused() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;
    rig.report(inform(
        "s1",
        BOOT,
        &[("Device.DeviceInfo.SoftwareVersion", "1")],
    ))
    .await;
    let command = rig.queue().await.remove(0);
    rig.report(answer(&command, "s1", 1, fault(9007))).await;
    rig.report(inform(
        "s2",
        BOOT,
        &[("Device.DeviceInfo.SoftwareVersion", "1")],
    ))
    .await;
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s3",
        BOOT,
        &[("Device.DeviceInfo.SoftwareVersion", "2")],
    ))
    .await;

    assert_eq!(rig.queue().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contradicting_report_is_corrected() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;
    rig.report(inform("s1", PERIODIC, &[("Device.A", "1")]))
        .await;
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s2",
        &[("4 VALUE CHANGE", "")],
        &[("Device.A", "0")],
    ))
    .await;

    let command = rig.queue().await.remove(0);
    assert_eq!(sets(&command), [triple("Device.A", "1", "xsd:string")]);
    rig.report(answer(&command, "s2", 1, status(0))).await;
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_an_operation_reads_or_sets_count_as_reports() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;
    rig.report(inform("s1", PERIODIC, &[("Device.A", "1")]))
        .await;

    let get = rig
        .operate(
            "get",
            Action::GetParameterValues(GetParameterValues {
                paths: vec!["Device.A".into()],
            }),
        )
        .await;
    rig.report(inform("s2", PERIODIC, &[])).await;
    rig.claim("get", "s2").await;
    rig.report(answer(&get, "s2", 1, values(&[("Device.A", "0")])))
        .await;
    let command = rig.queue().await.remove(0);
    assert_eq!(
        sets(&command),
        [triple("Device.A", "1", "xsd:string")],
        "read otherwise: corrected"
    );
    rig.report(answer(&command, "s2", 2, status(0))).await;

    let set = rig.operate("set", set_values(&[("Device.A", "2")])).await;
    rig.report(inform("s3", PERIODIC, &[])).await;
    rig.claim("set", "s3").await;
    rig.report(answer(&set, "s3", 1, status(0))).await;
    assert_eq!(
        sets(&rig.queue().await[0]),
        [triple("Device.A", "1", "xsd:string")],
        "the profile stands above a single set"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_applies_everything_again_with_platens_own_credentials() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;
    rig.report(inform("s1", PERIODIC, &[("Device.A", "1")]))
        .await;
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s2",
        BOOTSTRAP,
        &[
            ("Device.A", "1"),
            (
                "Device.ManagementServer.ConnectionRequestURL",
                "http://192.0.2.1/",
            ),
        ],
    ))
    .await;

    let command = rig.queue().await.remove(0);
    let secret = Keys::from_bytes(&[7; 32]).derive(&[
        b"connection-request",
        TENANT.as_bytes(),
        DEVICE.as_bytes(),
    ]);
    let password = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        &secret[..18],
    );
    assert_eq!(
        sets(&command),
        [
            triple(
                "Device.ManagementServer.ConnectionRequestPassword",
                &password,
                "xsd:string"
            ),
            triple(
                "Device.ManagementServer.ConnectionRequestUsername",
                DEVICE,
                "xsd:string"
            ),
        ],
        "Device.A is what it shall be, as the Inform says"
    );
    rig.report(answer(&command, "s2", 1, status(0))).await;
    rig.report(inform(
        "s3",
        BOOT,
        &[("Device.ManagementServer.ConnectionRequestPassword", "")],
    ))
    .await;
    assert!(
        rig.queue().await.is_empty(),
        "what reads back empty is not a contradiction"
    );

    rig.report(inform("s4", BOOTSTRAP, &[])).await;
    assert_eq!(
        sets(&rig.queue().await[0]).len(),
        3,
        "a device that starts over gets all of it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_somebody_registered_are_left_alone() {
    for (what, username, via, parameters, expected) in [
        (
            "registered ones",
            "known",
            "",
            &[("InternetGatewayDevice.X", "1")][..],
            0,
        ),
        ("none", "", "", &[("InternetGatewayDevice.X", "1")][..], 1),
        (
            "a virtual device that cannot be reached",
            "",
            "proxy",
            &[("Device.X", "1")][..],
            0,
        ),
        (
            "a virtual device that can",
            "",
            "proxy",
            &[(
                "Device.ManagementServer.ConnectionRequestURL",
                "http://192.0.2.1/",
            )][..],
            1,
        ),
        (
            "a device of an unknown data model",
            "",
            "",
            &[("X.Y", "1")][..],
            0,
        ),
    ] {
        let mut rig = Rig::start().await;
        let registration = Registration {
            connection_request_username: username.into(),
            ..Registration::default()
        };
        rig.store
            .compare_and_set::<Registrations>((TENANT, DEVICE), Expect::Absent, Some(&registration))
            .await
            .unwrap();

        rig.report(Report {
            via: via.into(),
            ..inform("s1", BOOTSTRAP, parameters)
        })
        .await;

        assert_eq!(rig.queue().await.len(), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_gets_nothing_and_changes_nothing() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;

    rig.report(Report {
        quarantine_reason: "clone".into(),
        ..inform("s1", BOOTSTRAP, &[("Device.A", "0")])
    })
    .await;

    assert!(rig.queue().await.is_empty());
    assert_eq!(
        rig.desired().await,
        platen_proto::store::v1::Desired::default()
    );
    assert!(
        rig.is_marked("s1", 0).await,
        "the edge does not wait in vain"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_device_gets_nothing() {
    let mut rig = Rig::start().await;
    let registration = Registration {
        retired: true,
        ..Registration::default()
    };
    rig.store
        .compare_and_set::<Registrations>((TENANT, DEVICE), Expect::Absent, Some(&registration))
        .await
        .unwrap();
    rig.profile("p", "true", &[("Device.A", "1")]).await;

    rig.report(inform("s1", BOOT, &[])).await;

    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_is_the_one_that_the_device_reported() {
    let mut rig = Rig::start().await;
    let parameter = |path: &str, kind: &str, value: &str| Parameter {
        path: path.into(),
        r#type: kind.into(),
        value: value.into(),
        state: State::Known.into(),
        ..Parameter::default()
    };
    let chunk = ParameterChunk {
        parameters: vec![
            parameter("Device.A", "xsd:unsignedInt", "0"),
            parameter("Device.B", "xsd:boolean", "true"),
        ],
        position: 1,
    };
    rig.store
        .write(vec![rows::write::<Parameters>(
            (TENANT, DEVICE, 3),
            &chunk,
            1,
        )])
        .await
        .unwrap();
    rig.profile(
        "p",
        "parameter('Device.A') == '0'",
        &[("Device.A", "1"), ("Device.B", "1")],
    )
    .await;

    rig.report(inform("s1", BOOT, &[])).await;

    let types: Vec<String> = sets(&rig.queue().await[0])
        .into_iter()
        .map(|set| set.2)
        .collect();
    assert_eq!(
        types,
        ["xsd:unsignedInt", "xsd:boolean"],
        "what is stored may be older than the Inform, so the equal value goes too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_value_spares_a_set_if_it_is_as_new_as_the_inform() {
    let mut rig = Rig::start().await;
    let stored = Parameter {
        path: "Device.A".into(),
        value: "1".into(),
        state: State::Known.into(),
        ..Parameter::default()
    };
    let chunk = ParameterChunk {
        parameters: vec![stored],
        position: 1,
    };
    // Inventory has passed whatever comes.
    let observed = Observed {
        position: u64::MAX,
        first_inform_us: 1,
        ..Observed::default()
    };
    let rows = vec![
        rows::write::<Parameters>((TENANT, DEVICE, 3), &chunk, 1),
        rows::write::<ObservedDevices>((TENANT, DEVICE), &observed, 1),
    ];
    rig.store.write(rows).await.unwrap();
    rig.profile("p", "true", &[("Device.A", "1"), ("Device.B", "1")])
        .await;

    rig.report(inform("s1", BOOT, &[])).await;

    assert_eq!(
        sets(&rig.queue().await[0]),
        [triple("Device.B", "1", "xsd:string")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_answered_stays_while_it_is_what_is_wanted() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1")]).await;
    rig.report(inform("s1", PERIODIC, &[])).await;
    let first = rig.queue().await.remove(0);

    rig.report(inform("s2", PERIODIC, &[])).await;
    assert_eq!(rig.queue().await, std::slice::from_ref(&first));

    rig.profile("p", "true", &[("Device.A", "2")]).await;
    rig.report(inform("s3", PERIODIC, &[])).await;
    let queue = rig.queue().await;
    assert_eq!(queue.len(), 1, "the old one has left");
    assert_eq!(sets(&queue[0]), [triple("Device.A", "2", "xsd:string")]);
    rig.report(answer(&first, "s3", 1, status(0))).await;
    assert_eq!(
        rig.queue().await,
        queue,
        "the answer to the old one ends nothing"
    );

    rig.profile("p", "false", &[("Device.A", "2")]).await;
    rig.report(inform("s4", PERIODIC, &[])).await;
    assert!(rig.queue().await.is_empty(), "nothing is wanted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivered_session_changes_nothing() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1"), ("Device.B", "1")])
        .await;
    let first = rig.record(inform("s1", BOOT, &[]));
    rig.append(vec![first.clone()]).await;
    let command = rig.queue().await.remove(0);

    // The edge was not sure that its report had arrived.
    rig.append(vec![first]).await;

    assert_eq!(rig.queue().await, std::slice::from_ref(&command));
    rig.report(answer(&command, "s1", 1, status(0))).await;
    let before = rig.desired().await;
    rig.restart().await;
    rig.report(inform("s2", PERIODIC, &[])).await;
    assert_eq!(rig.desired().await, before);
    assert!(rig.queue().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_a_large_inform_make_one_decision() {
    let mut rig = Rig::start().await;
    rig.profile(
        "p",
        "true",
        &[("Device.A", "1"), ("Device.B", "1"), ("Device.C", "1")],
    )
    .await;
    let part = |part, last, path: &str| Report {
        part,
        last,
        ..inform("s1", BOOT, &[(path, "1")])
    };

    rig.report(part(0, false, "Device.A")).await;
    assert!(rig.queue().await.is_empty() && !rig.is_marked("s1", 0).await);
    rig.report(part(1, true, "Device.B")).await;

    assert!(rig.is_marked("s1", 0).await);
    assert_eq!(
        sets(&rig.queue().await[0]),
        [triple("Device.C", "1", "xsd:string")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ends_every_session_is_given_up() {
    let mut rig = Rig::start().await;
    rig.profile("p", "true", &[("Device.A", "1"), ("Device.B", "1")])
        .await;
    let mut sizes = Vec::new();
    for n in 0..20 {
        rig.report(inform(&format!("s{n}"), BOOT, &[])).await;
        sizes.push(
            rig.queue()
                .await
                .first()
                .map_or(0, |command| sets(command).len()),
        );
    }

    // Five sessions with both, five with one, then five with the other, then none until their time has come.
    let expected: Vec<usize> = [[2; 5], [1; 5], [1; 5], [0; 5]].concat();
    assert_eq!(sizes, expected);
    rig.advance(Duration::from_secs(3_700));
    rig.report(inform("later", BOOT, &[])).await;
    assert_eq!(rig.queue().await.len(), 1);
}
