//! How long a list takes over 100 000 devices, and how much memory the index takes.
//!
//! `cargo bench -p platen-fleet`; fails if a query's p99 is above the 100 ms that the project holds.
#![allow(clippy::print_stdout, reason = "what a bench finds is printed")]

use platen_bus::{Log, NewRecord, embedded::EmbeddedLog};
use platen_embedded::{Database, Options};
use platen_fleet::{Expression, Fleet, Query, Scope, device};
use platen_proto::{
    device::v1::{Device, device::State},
    report::v1::DeviceRow,
    topic::{Kind, Topic},
};
use platen_store::{Store, embedded::EmbeddedTables};
use prost::Message;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const DEVICES: usize = 100_000;
const RUNS: usize = 100;
const BAR: Duration = Duration::from_millis(100);
const NOW_US: i64 = 1_795_420_800_000_000;
const TENANT: &str = "default";

const QUERIES: [(&str, &str); 9] = [
    ("", "name"),
    ("", "lastInformTime desc"),
    (
        r#"device.manufacturer == "HP" && device.state == "ACTIVE""#,
        "name",
    ),
    (
        r#"device.manufacturer == "HP" || device.oui in ["00D09E", "50579C"] && !device.online"#,
        "modelName",
    ),
    (
        r#"version(device.softwareVersion) < version("2.0")"#,
        "softwareVersion",
    ),
    (
        "'floor-3' in device.tags && device.fields.assetNumber.startsWith('A-1')",
        "name",
    ),
    (
        "device.tags.exists(t, t.startsWith('floor-')) && size(device.tags) > 1",
        "name",
    ),
    ("device.serialNumber.matches('^SN0+[1-5].*7$')", "name"),
    (
        "device.lastInformTime < timestamp('2026-11-23T07:00:00Z')",
        "lastInformTime",
    ),
];

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory for the store");
    let database =
        Database::open(directory.path(), Options::default()).expect("the database opens");
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    let log: Arc<dyn Log> = Arc::new(
        EmbeddedLog::open(&database, &store)
            .await
            .expect("the log opens"),
    );
    let fleet = Fleet::new(store, log.clone());
    let (keeper, shutdown) = (fleet.clone(), CancellationToken::new());
    let keeping = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { keeper.run(shutdown).await }
    });
    fleet.loaded().await;

    let began = Instant::now();
    for batch in 0..DEVICES / 1_000 {
        let rows = (0..1_000).map(|n| row(batch * 1_000 + n)).collect();
        log.append(rows).await.expect("rows are appended");
    }
    let last = id(DEVICES - 1);
    assert!(
        fleet
            .await_device(TENANT, &last, "e", Duration::from_secs(300))
            .await,
        "the index has followed"
    );
    println!(
        "{} devices followed in {:.1} s",
        fleet.len(TENANT),
        began.elapsed().as_secs_f64()
    );
    println!(
        "index: {:.1} MiB by its own count",
        fleet.memory_bytes(TENANT) as f64 / f64::from(1 << 20)
    );

    let mut slow = false;
    for (source, order) in QUERIES {
        let filter = (!source.is_empty())
            .then(|| Arc::new(Expression::compile(source, Scope::Fleet).expect(source)));
        let mut total = 0;
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let query = Query {
                filter: filter.clone(),
                order: order.parse().expect(order),
                page_size: 50,
                cursor: None,
                now_us: NOW_US,
            };
            let began = Instant::now();
            total = fleet.query(TENANT, query).await.total;
            times.push(began.elapsed());
        }
        times.sort();
        let (p50, p99) = (times[RUNS / 2], times[RUNS - 2]);
        slow |= p99 > BAR;
        println!(
            "p50 {:6.1} ms  p99 {:6.1} ms  {total:6} match  {source} (by {order})",
            millis(p50),
            millis(p99)
        );
    }
    shutdown.cancel();
    keeping.await.expect("the index ends");
    assert!(!slow, "a query took longer than {BAR:?}");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn id(n: usize) -> String {
    format!("00D09E-LaserPro%2D{}-SN{n:06}", n % 40)
}

fn row(n: usize) -> NewRecord {
    let makers = [
        "HP", "Kyocera", "Ricoh", "Lexmark", "Brother", "Canon", "Xerox",
    ];
    let device = Device {
        name: device::name(TENANT, &id(n)),
        oui: ["00D09E", "50579C", "00206B"][n % 3].into(),
        product_class: format!("LaserPro-{}", n % 40),
        serial_number: format!("SN{n:06}"),
        state: if n.is_multiple_of(10) {
            State::Expected
        } else {
            State::Active
        }
        .into(),
        manufacturer: makers[n % makers.len()].into(),
        model_name: format!("LaserPro {}", n % 40),
        software_version: format!("{}.{}.{}", n % 4, n % 13, n % 100),
        hardware_version: "B".into(),
        root_data_model: "Device:2".into(),
        account: format!("customers/{}", n % 500),
        tags: vec![format!("floor-{}", n % 20), format!("site-{}", n % 300)],
        fields: [("assetNumber".to_owned(), format!("A-{n}"))].into(),
        proxied_by: format!("tenants/default/devices/00D09E-PlatenProxy-site{}", n % 300),
        last_inform_time: device::timestamp(
            NOW_US - i64::try_from(n).unwrap_or_default() * 60_000_000,
        ),
        etag: "e".into(),
        ..Device::default()
    };
    let row = DeviceRow {
        tenant: TENANT.into(),
        device: Some(device),
        periodic_inform_interval: 3_600,
    };
    NewRecord {
        topic: Topic::Devices,
        shard: platen_ids::shard(TENANT, &id(n)),
        key: format!("{TENANT}/{}", id(n)),
        kind: Kind::Device,
        id: n.to_string(),
        time_us: NOW_US,
        payload: row.encode_to_vec().into(),
    }
}
