//! What a session costs in which nothing happens.

use crate::rig::{Rig, answer, inform, status};

const PERIODIC: &[(&str, &str)] = &[("2 PERIODIC", "")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_costs_no_read_no_write_no_mark_and_no_record() {
    let mut rig = Rig::start().await;
    rig.profile("p", "device.softwareVersion == '1.4'", &[("Device.A", "1")])
        .await;
    let reported = [
        ("Device.DeviceInfo.SoftwareVersion", "1.4"),
        ("Device.A", "1"),
        ("Device.Pages", "100"),
    ];
    rig.report(inform("s1", PERIODIC, &reported)).await;
    assert!(
        rig.queue().await.is_empty(),
        "the device has the value already"
    );

    let before = rig.counts.all();
    for n in 0..20 {
        // What no profile looks at may change.
        let pages = format!("{}", 100 + n);
        let reported = [
            ("Device.DeviceInfo.SoftwareVersion", "1.4"),
            ("Device.A", "1"),
            ("Device.Pages", pages.as_str()),
        ];
        rig.report(inform(&format!("idle{n}"), PERIODIC, &reported))
            .await;
    }

    assert_eq!(rig.counts.all(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_profiles_costs_one_read_ever() {
    let mut rig = Rig::start().await;
    rig.report(inform("s1", PERIODIC, &[("Device.X", "1")]))
        .await;
    let [reads, writes, appended, marks] = rig.counts.all();
    // The tenant's profiles, and the device's row.
    assert_eq!([reads, writes, appended, marks], [2, 0, 0, 0]);

    for n in 0..5 {
        rig.report(inform(
            &format!("idle{n}"),
            PERIODIC,
            &[("Device.X", &n.to_string())],
        ))
        .await;
    }

    assert_eq!(rig.counts.all(), [2, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deciding_report_of_an_idle_device_costs_a_mark() {
    let mut rig = Rig::start().await;
    rig.report(inform("s1", PERIODIC, &[])).await;
    let [reads, writes, appended, marks] = rig.counts.all();

    rig.report(inform(
        "s2",
        &[("4 VALUE CHANGE", "")],
        &[("Device.X", "1")],
    ))
    .await;

    assert!(rig.is_marked("s2", 0).await);
    assert_eq!(rig.counts.all(), [reads, writes, appended, marks + 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_device_is_looked_at_again_when_something_changes() {
    let mut rig = Rig::start().await;
    rig.profile("p", "device.softwareVersion == '1.4'", &[("Device.A", "1")])
        .await;
    rig.report(inform(
        "s1",
        PERIODIC,
        &[("Device.DeviceInfo.SoftwareVersion", "1.3")],
    ))
    .await;
    assert!(rig.queue().await.is_empty());

    rig.report(inform(
        "s2",
        PERIODIC,
        &[("Device.DeviceInfo.SoftwareVersion", "1.4")],
    ))
    .await;

    let queue = rig.queue().await;
    assert_eq!(queue.len(), 1, "the profile selects it by its new version");
    rig.report(answer(&queue[0], "s2", 1, status(0))).await;
    rig.profile("p", "true", &[("Device.A", "2")]).await;
    rig.report(inform(
        "s3",
        PERIODIC,
        &[("Device.DeviceInfo.SoftwareVersion", "1.4")],
    ))
    .await;
    assert_eq!(rig.queue().await.len(), 1, "the profile has changed");
}
