//! From published reports to device records, over the embedded store and log.

#![allow(clippy::unwrap_used, reason = "tests and their helpers")]

mod harness;

use harness::{Harness, START_US, TENANT, inform, parameters, report};
use platen_fleet::{Expression, Fleet, Query, Scope, device};
use platen_inventory::{Config, Deps, SERVICE, run};
use platen_proto::{
    device::v1::{Parameter, device::State, parameter},
    event::v1::{DeviceRequest, Event, TransferComplete, event::Kind},
    operation::v1::{
        GetParameterValues, OperationRequest, OperationResult, operation_request::Action,
    },
    report::v1::{CommandDone, DeviceRow, Report, command_done::Outcome, report::Body},
    store::v1::{Observed, Registration, TenantRow},
    topic::Topic,
};
use platen_store::{
    rows::SwappedRow,
    table::{Expect, Range},
    tables::{Events, ObservedDevices, Parameters, Registrations, Tenants},
};
use prost::Message;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PRINTER: &str = "00D09E-LaserPro-SN1";
const HOUR_US: i64 = 3_600_000_000;

fn start(harness: &Harness) -> (JoinHandle<anyhow::Result<()>>, CancellationToken) {
    let shutdown = CancellationToken::new();
    let deps = Deps {
        store: harness.store.clone(),
        log: harness.log.clone(),
        metrics: harness.metrics.clone(),
    };
    (
        tokio::spawn(run(Config::default(), deps, shutdown.clone())),
        shutdown,
    )
}

async fn observed(harness: &Harness, device: &str) -> Option<Observed> {
    harness
        .store
        .get::<ObservedDevices>((TENANT, device))
        .await
        .unwrap()
}

/// Kinds of a device's events of the test's month, oldest first.
async fn events(harness: &Harness, device: &str) -> Vec<Event> {
    let page = harness
        .store
        .scan::<Events>((TENANT, device, 202_611, 0), Range::default())
        .await
        .unwrap();
    page.rows.into_iter().map(|(_, event)| event).collect()
}

fn kinds(events: &[Event]) -> Vec<Kind> {
    events.iter().map(Event::kind).collect()
}

async fn known(harness: &Harness, path: &str) -> Option<Parameter> {
    let page = harness
        .store
        .scan::<Parameters>((TENANT, PRINTER, 0), Range::default())
        .await
        .unwrap();
    page.rows
        .into_iter()
        .flat_map(|(_, row)| row.parameters)
        .find(|parameter| parameter.path == path)
}

fn changes(harness: &Harness) -> Vec<(Kind, String)> {
    let told = harness.counts.appended_to(Topic::Changes);
    told.iter()
        .map(|record| Event::decode(record.payload.clone()).unwrap())
        .map(|event| (event.kind(), event.device))
        .collect()
}

fn device_rows(harness: &Harness) -> Vec<DeviceRow> {
    let told = harness.counts.appended_to(Topic::Devices);
    told.iter()
        .map(|record| DeviceRow::decode(record.payload.clone()).unwrap())
        .collect()
}

async fn register(harness: &Harness, device: &str, create_time_us: i64) -> String {
    let mut parts = device.split('-').map(str::to_owned);
    let registration = Registration {
        tenant: TENANT.into(),
        device: device.into(),
        oui: parts.next().unwrap(),
        product_class: parts.next().unwrap(),
        serial_number: parts.next().unwrap(),
        tags: vec!["floor-3".into()],
        create_time_us,
        update_time_us: create_time_us,
        ..Registration::default()
    };
    edit(harness, device, Expect::Absent, &registration).await
}

async fn edit(
    harness: &Harness,
    device: &str,
    expect: Expect,
    registration: &Registration,
) -> String {
    match harness
        .store
        .compare_and_set::<Registrations>((TENANT, device), expect, Some(registration))
        .await
        .unwrap()
    {
        SwappedRow::Done(etag) => etag,
        SwappedRow::Refused(found) => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn an_inform_that_says_nothing_new_costs_two_rows_no_read_and_no_record() {
    let harness = Harness::new().await;
    let (task, shutdown) = start(&harness);
    let values = [
        ("Device.RootDataModelVersion", "2.15"),
        ("Device.DeviceInfo.SoftwareVersion", "1.4"),
        ("Device.DeviceInfo.HardwareVersion", "B"),
    ];
    harness
        .publish(SERVICE, &inform(PRINTER, START_US, "1 BOOT", &values))
        .await;

    harness.counts.reset();
    for hour in 1..=10 {
        harness
            .publish(
                SERVICE,
                &inform(PRINTER, START_US + hour * HOUR_US, "2 PERIODIC", &values),
            )
            .await;
    }

    assert_eq!(*harness.counts.reads.lock().unwrap(), Vec::<&str>::new());
    assert_eq!(
        *harness.counts.writes.lock().unwrap(),
        ["events", "observed"].repeat(10)
    );
    assert_eq!(*harness.counts.appended.lock().unwrap(), []);
    let observed = observed(&harness, PRINTER).await.unwrap();
    assert_eq!(
        (observed.last_inform_us, observed.last_events.as_slice()),
        (START_US + 10 * HOUR_US, &["2 PERIODIC".to_owned()][..])
    );
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_registered_device_becomes_active_and_retired() {
    let harness = Harness::new().await;
    let (_task, _shutdown) = start(&harness);

    let etag = register(&harness, PRINTER, START_US).await;
    harness.device_changed(SERVICE, PRINTER, START_US).await;
    // The timer that announced the edit comes later.
    harness
        .device_changed(SERVICE, PRINTER, START_US + 30_000_000)
        .await;
    let rows = device_rows(&harness);
    assert_eq!(rows.len(), 1, "the same row again is no news");
    let told = rows[0].device.as_ref().unwrap();
    assert_eq!(
        (told.state(), &told.etag, told.tags.as_slice()),
        (State::Expected, &etag, &["floor-3".to_owned()][..])
    );
    assert_eq!(
        observed(&harness, PRINTER).await,
        None,
        "what was not seen was not observed"
    );

    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US + HOUR_US,
                "0 BOOTSTRAP",
                &[("Device.DeviceInfo.SoftwareVersion", "1.4")],
            ),
        )
        .await;
    let told = device_rows(&harness).pop().unwrap().device.unwrap();
    assert_eq!(
        (told.state(), told.software_version.as_str(), told.etag),
        (State::Active, "1.4", etag.clone())
    );

    let retired = Registration {
        retired: true,
        update_time_us: START_US + 2 * HOUR_US,
        ..registration(&harness).await
    };
    edit(&harness, PRINTER, Expect::Etag(etag), &retired).await;
    harness
        .device_changed(SERVICE, PRINTER, START_US + 2 * HOUR_US)
        .await;
    harness
        .device_changed(SERVICE, PRINTER, START_US + 3 * HOUR_US)
        .await;
    assert_eq!(
        device_rows(&harness).pop().unwrap().device.unwrap().state(),
        State::Retired
    );

    edit(
        &harness,
        PRINTER,
        Expect::Any,
        &Registration {
            retired: false,
            ..retired
        },
    )
    .await;
    harness
        .device_changed(SERVICE, PRINTER, START_US + 100 * HOUR_US)
        .await;

    let expect = [
        Kind::DeviceRegistered,
        Kind::Inform,
        Kind::DeviceOnline,
        Kind::DeviceRetired,
        Kind::DeviceRegistered,
    ];
    assert_eq!(kinds(&events(&harness, PRINTER).await), expect);
    let told: Vec<Kind> = changes(&harness)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(
        told,
        [
            Kind::DeviceRegistered,
            Kind::DeviceOnline,
            Kind::DeviceRetired,
            Kind::DeviceRegistered
        ]
    );
}

async fn registration(harness: &Harness) -> Registration {
    harness
        .store
        .get_edited::<Registrations>((TENANT, PRINTER))
        .await
        .unwrap()
        .unwrap()
        .value
}

#[tokio::test]
async fn strangers_are_quarantined_and_devices_are_not_taken_over() {
    let harness = Harness::new().await;
    let (_task, _shutdown) = start(&harness);
    let stranger = "00D09E-Other-SN2";
    let reason = |report: Report, reason: &str, via: &str| Report {
        quarantine_reason: reason.into(),
        via: via.into(),
        ..report
    };

    harness
        .publish(
            SERVICE,
            &reason(
                inform(stranger, START_US, "0 BOOTSTRAP", &[]),
                "unknown device",
                "",
            ),
        )
        .await;
    assert_eq!(
        observed(&harness, stranger)
            .await
            .unwrap()
            .quarantine_reason,
        "unknown device"
    );
    assert_eq!(
        kinds(&events(&harness, stranger).await),
        [Kind::Inform, Kind::DeviceQuarantined]
    );
    // Whoever registers it vouches for it.
    register(&harness, stranger, START_US + 1).await;
    harness
        .device_changed(SERVICE, stranger, START_US + 1)
        .await;
    assert_eq!(
        device_rows(&harness).pop().unwrap().device.unwrap().state(),
        State::Active
    );

    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US,
                "1 BOOT",
                &[("Device.DeviceInfo.SoftwareVersion", "1")],
            ),
        )
        .await;
    let before = observed(&harness, PRINTER).await.unwrap();
    for second in 1..=3 {
        let thief = inform(
            PRINTER,
            START_US + second,
            "2 PERIODIC",
            &[("Device.DeviceInfo.SoftwareVersion", "666")],
        );
        harness
            .publish(
                SERVICE,
                &reason(thief, "it has credentials of its own", "00D09E-Proxy-7"),
            )
            .await;
    }
    let after = observed(&harness, PRINTER).await.unwrap();
    assert_eq!(
        Observed {
            refused: String::new(),
            position: before.position,
            ..after
        },
        before
    );
    assert_eq!(
        kinds(&events(&harness, PRINTER).await),
        [Kind::Inform, Kind::DeviceOnline, Kind::DeviceQuarantined]
    );
}

#[tokio::test]
async fn what_a_device_said_stands_in_its_events_and_parameters() {
    let harness = Harness::new().await;
    let (_task, _shutdown) = start(&harness);
    let user = "Device.Users.User.1.Name";
    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US,
                "1 BOOT",
                &[(user, "ann"), ("Device.DeviceInfo.UpTime", "5")],
            ),
        )
        .await;
    harness
        .publish(
            SERVICE,
            &report(
                PRINTER,
                START_US + 1,
                Body::TransferComplete(TransferComplete {
                    command_key: "k".into(),
                    ..TransferComplete::default()
                }),
            ),
        )
        .await;
    harness
        .publish(
            SERVICE,
            &report(
                PRINTER,
                START_US + 2,
                Body::DeviceRequest(DeviceRequest {
                    method: "Kicked".into(),
                    ..DeviceRequest::default()
                }),
            ),
        )
        .await;
    assert_eq!(
        kinds(&events(&harness, PRINTER).await),
        [
            Kind::Inform,
            Kind::DeviceOnline,
            Kind::TransferComplete,
            Kind::DeviceRequest
        ]
    );

    // An answer tells of the model, and that a parameter is gone.
    let request = OperationRequest {
        action: Some(Action::GetParameterValues(GetParameterValues {
            paths: vec!["Device.DeviceInfo.".into(), "Device.Users.".into()],
        })),
        ..OperationRequest::default()
    };
    let found = OperationResult {
        values: parameters(&[
            ("Device.DeviceInfo.ModelName", "LaserPro 9"),
            ("Device.DeviceInfo.UpTime", "6"),
        ]),
        ..OperationResult::default()
    };
    let done = CommandDone {
        request: Some(request),
        outcome: Some(Outcome::Result(found)),
        ..CommandDone::default()
    };
    harness
        .publish(
            SERVICE,
            &report(PRINTER, START_US + 3, Body::CommandDone(done)),
        )
        .await;
    assert_eq!(
        known(&harness, user).await.unwrap().state(),
        parameter::State::Absent
    );
    assert_eq!(
        known(&harness, "Device.DeviceInfo.UpTime")
            .await
            .unwrap()
            .value,
        "6"
    );
    assert_eq!(
        device_rows(&harness)
            .pop()
            .unwrap()
            .device
            .unwrap()
            .model_name,
        "LaserPro 9"
    );

    // The next Inform repeats the first one's parameters, and is believed.
    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US + HOUR_US,
                "2 PERIODIC",
                &[(user, "ann"), ("Device.DeviceInfo.UpTime", "5")],
            ),
        )
        .await;
    assert_eq!(
        known(&harness, user).await.unwrap().state(),
        parameter::State::Known
    );
    assert_eq!(
        known(&harness, "Device.DeviceInfo.UpTime")
            .await
            .unwrap()
            .value,
        "5"
    );

    // After a factory reset only what the device says then is known.
    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US + 2 * HOUR_US,
                "0 BOOTSTRAP",
                &[("Device.DeviceInfo.UpTime", "1")],
            ),
        )
        .await;
    assert_eq!(known(&harness, user).await, None);
    assert_eq!(
        known(&harness, "Device.DeviceInfo.UpTime")
            .await
            .unwrap()
            .value,
        "1"
    );
}

#[tokio::test]
async fn what_is_delivered_again_changes_nothing() {
    let again = Harness::new().await;
    let once = Harness::new().await;
    let reports: Vec<Report> = (0..6)
        .map(|hour| {
            inform(
                PRINTER,
                START_US + hour * HOUR_US,
                "2 PERIODIC",
                &[(
                    "Device.DeviceInfo.SoftwareVersion",
                    ["1", "2"][usize::try_from(hour).unwrap() / 3],
                )],
            )
        })
        .chain([Report {
            quarantine_reason: "clone".into(),
            ..inform(PRINTER, START_US + 7 * HOUR_US, "1 BOOT", &[])
        }])
        .collect();
    let (_first, _a) = start(&once);
    once.publish_all(SERVICE, &reports).await;

    // Writes are cut off halfway, and batches are handled again before their commit counts.
    again.counts.failing_commits.store(2, Ordering::Relaxed);
    again.counts.fail_every.store(3, Ordering::Relaxed);
    let (_second, _b) = start(&again);
    again.publish_all(SERVICE, &reports).await;

    let ids = |events: Vec<Event>| {
        events
            .into_iter()
            .map(|event| (event.id, event.kind))
            .collect::<Vec<_>>()
    };
    let expect = ids(events(&once, PRINTER).await);
    assert_eq!(expect.len(), 9);
    assert_eq!(ids(events(&again, PRINTER).await), expect);
    let without_position = |observed: Observed| Observed {
        position: 0,
        ..observed
    };
    let (a, b) = (
        observed(&once, PRINTER).await.unwrap(),
        observed(&again, PRINTER).await.unwrap(),
    );
    assert_eq!(without_position(a), without_position(b));
    let mut told: Vec<_> = again
        .counts
        .appended_to(Topic::Changes)
        .into_iter()
        .map(|record| record.id)
        .collect();
    told.dedup();
    assert_eq!(
        told,
        once.counts
            .appended_to(Topic::Changes)
            .into_iter()
            .map(|record| record.id)
            .collect::<Vec<_>>()
    );
    assert_eq!(again.counts.failing_commits.load(Ordering::Relaxed), 0);
    assert!(again.counts.failures.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn the_fleet_index_follows() {
    let harness = Harness::new().await;
    let (_task, _shutdown) = start(&harness);
    let tenant = TenantRow::default();
    harness
        .store
        .compare_and_set::<Tenants>(TENANT, Expect::Absent, Some(&tenant))
        .await
        .unwrap();
    // One device before the index is loaded, one after.
    let early = register(&harness, "00D09E-LaserPro-SN0", START_US).await;
    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US,
                "1 BOOT",
                &[("Device.DeviceInfo.SoftwareVersion", "1.9")],
            ),
        )
        .await;

    let fleet = Fleet::new(harness.store.clone(), harness.log.clone());
    let (keeper, stop) = (fleet.clone(), CancellationToken::new());
    let keeping = tokio::spawn({
        let stop = stop.clone();
        async move { keeper.run(stop).await }
    });
    fleet.loaded().await;
    assert!(fleet.ready());
    let patience = Duration::from_secs(10);
    assert!(
        fleet
            .await_device(TENANT, "00D09E-LaserPro-SN0", &early, patience)
            .await
    );
    let late = register(&harness, "00D09E-LaserPro-SN2", START_US).await;
    harness
        .device_changed(SERVICE, "00D09E-LaserPro-SN2", START_US)
        .await;
    assert!(
        fleet
            .await_device(TENANT, "00D09E-LaserPro-SN2", &late, patience)
            .await
    );
    assert!(
        !fleet
            .await_device(TENANT, "00D09E-LaserPro-SN2", &early, Duration::ZERO)
            .await
    );

    let ask = |source: &str| {
        let filter = Some(std::sync::Arc::new(
            Expression::compile(source, Scope::Fleet).unwrap(),
        ));
        let query = Query {
            filter,
            order: "name".parse().unwrap(),
            page_size: 10,
            cursor: None,
            now_us: START_US + 1,
        };
        let fleet = fleet.clone();
        async move { fleet.query(TENANT, query).await.ids }
    };
    assert_eq!(
        ask("'floor-3' in device.tags").await,
        ["00D09E-LaserPro-SN0", "00D09E-LaserPro-SN2"]
    );
    assert_eq!(
        ask("device.state == 'ACTIVE' && version(device.softwareVersion) < version('1.10')").await,
        [PRINTER]
    );
    assert_eq!(ask("device.online").await, [PRINTER]);
    assert_eq!(
        fleet
            .query(
                "nobody",
                Query {
                    filter: None,
                    order: "".parse().unwrap(),
                    page_size: 1,
                    cursor: None,
                    now_us: 0
                }
            )
            .await
            .total,
        0
    );
    let shown = device::resource(None, observed(&harness, PRINTER).await.as_ref(), START_US);
    assert_eq!(shown.software_version, "1.9");
    stop.cancel();
    keeping.await.unwrap();
}

#[tokio::test]
async fn a_proxys_device_belongs_to_the_proxys_account() {
    let harness = Harness::new().await;
    let (_task, _shutdown) = start(&harness);
    let proxy = "00D09E-Proxy-P1";
    let etag = register(&harness, proxy, START_US).await;
    let registration = |account: &str, device: &str, update_time_us: i64| Registration {
        tenant: TENANT.into(),
        device: device.into(),
        account: account.into(),
        update_time_us,
        ..Registration::default()
    };
    let etag = edit(
        &harness,
        proxy,
        Expect::Etag(etag),
        &registration("acme/floor-3", proxy, START_US),
    )
    .await;
    let presented = |time_us: i64| Report {
        via: proxy.into(),
        ..inform(PRINTER, time_us, "2 PERIODIC", &[])
    };
    let told = || device_rows(&harness).pop().unwrap().device.unwrap();

    harness.publish(SERVICE, &presented(START_US)).await;

    assert_eq!(told().account, "acme/floor-3");
    let seen = observed(&harness, PRINTER).await;
    assert_eq!(
        device::resource(None, seen.as_ref(), START_US).account,
        "acme/floor-3"
    );

    // The proxy moves: its devices follow with their next Inform.
    edit(
        &harness,
        proxy,
        Expect::Etag(etag),
        &registration("acme/floor-4", proxy, START_US + 1),
    )
    .await;
    harness.device_changed(SERVICE, proxy, START_US + 1).await;
    harness
        .publish(SERVICE, &presented(START_US + HOUR_US))
        .await;
    assert_eq!(told().name.rsplit('/').next(), Some(PRINTER));
    assert_eq!(told().account, "acme/floor-4");

    // What its own registration says counts.
    let own = registration("acme/lab", PRINTER, START_US);
    edit(&harness, PRINTER, Expect::Absent, &own).await;
    harness
        .device_changed(SERVICE, PRINTER, START_US + HOUR_US + 1)
        .await;
    assert_eq!(told().account, "acme/lab");
}
