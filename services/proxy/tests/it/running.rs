//! The proxy as it runs: changes, outages, connection requests, restarts.

use std::net::TcpListener;
use std::time::Duration;

use platen_cwmp::digest::{self, Algorithm, Challenge, strongest};
use platen_cwmp::event_code::EventCode;
use platen_cwmp::rpc::*;
use platen_datamodel::snmp::Value;
use platen_proxy::agent::Access;
use platen_proxy::config::{Config, Period};
use platen_proxy::proxy;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::acs::TestAcs;
use crate::site::{LIFE_COUNT, PROXY, SERVICE, Site, device, oid, printer};

const TOTAL: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";

/// A proxy that runs until it is stopped, or killed.
struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let task = tokio::spawn(async move { Box::pin(proxy::run(&config, token)).await });
        Self { task, shutdown }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it as SIGKILL would: nothing of it runs any more, nothing is written.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn total(inform: &Inform) -> Option<u64> {
    inform.parameter(TOTAL)?.parse().ok()
}

/// Waits for the first Inform of the device that `matches`.
async fn inform(acs: &TestAcs, id: &str, what: &str, matches: impl Fn(&Inform) -> bool) -> Inform {
    acs.wait_for(what, |acs| acs.informs_of(id).into_iter().find(&matches))
        .await
}

fn set(parameters: &[(&str, &str)]) -> AcsRequest {
    AcsRequest::SetParameterValues(SetParameterValues {
        parameters: parameters
            .iter()
            .map(|(path, value)| {
                ParameterValue::new(
                    format!("Device.ManagementServer.{path}"),
                    *value,
                    ValueType::Unknown,
                )
            })
            .collect(),
        parameter_key: String::new(),
    })
}

/// So that tests need not wait for what the standard's retry policy says.
fn fast_retries() -> AcsRequest {
    set(&[
        ("CWMPRetryMinimumWaitInterval", "1"),
        ("CWMPRetryIntervalMultiplier", "1000"),
    ])
}

#[tokio::test]
async fn counters_and_alerts_reach_the_server_without_being_asked_for() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let id = device("SN0001");
    let proxy = Running::start(site.config(&acs, &[&agent], ""));
    inform(&acs, &id, "BOOTSTRAP", |inform| {
        inform.has_event(&EventCode::Bootstrap)
    })
    .await;
    let roster = inform(
        &acs,
        PROXY,
        "the new printer in the proxy's table",
        |inform| {
            inform.parameter("Device.ManagementServer.VirtualDeviceNumberOfEntries") == Some("1")
        },
    )
    .await;
    assert!(roster.has_event(&EventCode::Bootstrap) || roster.has_event(&EventCode::ValueChange));

    agent.count(&oid(LIFE_COUNT), 7);
    let counted = inform(&acs, &id, "the counter", |inform| {
        total(inform) == Some(1_007)
    })
    .await;
    assert!(
        counted.has_event(&EventCode::ValueChange),
        "{:?}",
        counted.events
    );

    for (column, value) in [(2, 3), (3, 3), (4, 8), (5, 1), (6, 0), (7, 808)] {
        agent.set(
            oid(&format!("1.3.6.1.2.1.43.18.1.1.{column}.1.5")),
            Value::Integer(value),
        );
    }
    let severity = format!("{SERVICE}Alerts.HighestSeverity");
    let raised = inform(&acs, &id, "the alert", |inform| {
        inform.parameter(&severity) == Some("Major")
    })
    .await;
    assert!(raised.has_event(&EventCode::ValueChange));
    assert_eq!(
        raised.parameter(&format!("{SERVICE}OperationalStatus")),
        Some("NonOperational")
    );
    proxy.stop().await;
}

#[tokio::test]
async fn an_outage_of_the_server_and_a_killed_proxy_lose_no_reading() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let id = device("SN0001");
    let config = site.config(&acs, &[&agent], "");
    acs.want(&id, fast_retries());
    let proxy = Running::start(config.clone());
    acs.wait_for("the settings", |acs| acs.answers_of(&id).pop())
        .await
        .unwrap();

    acs.set_down(true);
    let spool = config.data_dir.join("spool").join(format!("{id}.log"));
    let waiting = |value: u64| {
        let text = std::fs::read_to_string(&spool).unwrap_or_default();
        text.lines()
            .filter(|line| {
                line.contains("\"reading\"")
                    && line.contains(&format!("TotalImpressions\",\"{value}\""))
            })
            .count()
    };
    agent.count(&oid(LIFE_COUNT), 1);
    acs.wait_for("a reading on disk", |_| (waiting(1_001) > 0).then_some(()))
        .await;
    proxy.kill().await;
    assert_eq!(waiting(1_001), 1);

    let killed = jiff::Timestamp::now();
    let proxy = Running::start(config);
    agent.count(&oid(LIFE_COUNT), 1);
    acs.wait_for("another reading on disk", |_| {
        (waiting(1_002) > 0).then_some(())
    })
    .await;
    acs.set_down(false);
    inform(&acs, &id, "the newest reading", |inform| {
        total(inform) == Some(1_002)
    })
    .await;

    let informs = acs.informs_of(&id);
    let readings: Vec<(u64, &str)> = informs
        .iter()
        .filter_map(|inform| Some((total(inform)?, inform.current_time.as_str())))
        .collect();
    let values: Vec<u64> = readings.iter().map(|(value, _)| *value).collect();
    assert!(
        values.is_sorted() && values.contains(&1_000) && values.contains(&1_001),
        "{readings:?}"
    );
    assert!(
        readings.iter().map(|(_, time)| time).is_sorted(),
        "{readings:?}"
    );
    let read = readings
        .iter()
        .find(|(value, _)| *value == 1_001)
        .unwrap()
        .1;
    assert!(
        read.parse::<jiff::Timestamp>().unwrap() <= killed,
        "{read} is when it was read, before {killed}"
    );
    let bootstraps = informs
        .iter()
        .filter(|inform| inform.has_event(&EventCode::Bootstrap))
        .count();
    assert_eq!(bootstraps, 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_request_opens_a_session() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let id = device("SN0001");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    acs.want(
        &id,
        set(&[
            ("ConnectionRequestUsername", "platen"),
            ("ConnectionRequestPassword", "wake up"),
        ]),
    );
    let proxy =
        Running::start(site.config(&acs, &[&agent], &format!("listen = \"127.0.0.1:{port}\"")));
    let first = inform(&acs, &id, "BOOTSTRAP", |inform| {
        inform.has_event(&EventCode::Bootstrap)
    })
    .await;
    acs.wait_for("the settings", |acs| acs.answers_of(&id).pop())
        .await
        .unwrap();
    let url = first
        .parameter("Device.ManagementServer.ConnectionRequestURL")
        .unwrap()
        .to_owned();
    assert_eq!(
        url,
        format!("http://127.0.0.1:{port}/{}", id.replace('%', "%25"))
    );

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let knock = async || {
        let challenged = http.get(&url).send().await.unwrap();
        assert_eq!(challenged.status(), 401);
        let headers = challenged.headers().get_all("www-authenticate").iter();
        let challenges = headers
            .flat_map(|value| Challenge::parse_all(value.to_str().unwrap()).unwrap())
            .collect();
        let challenge = strongest(challenges, &[Algorithm::Md5]).unwrap();
        let path = reqwest::Url::parse(&url).unwrap().path().to_owned();
        let authorization = digest::Client::new("platen", "wake up", challenge).authorize(
            "GET",
            &path,
            "0123456789abcdef",
        );
        http.get(&url)
            .header("authorization", authorization)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    // The settings hold once the session that set them is over.
    let mut status = knock().await;
    while status == 401 {
        tokio::task::yield_now().await;
        status = knock().await;
    }
    assert_eq!(status, 200);

    inform(&acs, &id, "6 CONNECTION REQUEST", |inform| {
        inform.has_event(&EventCode::ConnectionRequest)
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_restart_is_reported_with_its_key_once_the_printer_is_back() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public").write("private")).await;
    let id = device("SN0001");
    let uptime = oid("1.3.6.1.2.1.1.3.0");
    acs.want(
        &id,
        AcsRequest::Reboot(Reboot {
            command_key: "attempt-1".to_owned(),
        }),
    );
    // No regular poll sees the restart.
    let mut config = site.config(&acs, &[&agent], "");
    let hour = Period(Duration::from_hours(1));
    (config.poll.status, config.poll.meters, config.poll.supplies) = (hour, hour, hour);
    let proxy = Running::start(config);

    let back = inform(&acs, &id, "M Reboot", |inform| {
        inform.has_event(&EventCode::Method("Reboot".to_owned()))
    })
    .await;

    assert_eq!(acs.answers_of(&id), [Ok(CpeResponse::Reboot)]);
    assert!(back.has_event(&EventCode::Boot), "{:?}", back.events);
    assert!(
        back.events.contains(&Event::method("Reboot", "attempt-1")),
        "{:?}",
        back.events
    );
    assert!(agent.get(&uptime).unwrap().as_i64() < Some(500_000));
    proxy.stop().await;
}

#[tokio::test]
async fn a_scheduled_inform_comes_with_its_key() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let id = device("SN0001");
    acs.want(
        &id,
        AcsRequest::ScheduleInform(ScheduleInform {
            delay_seconds: 1,
            command_key: "later".to_owned(),
        }),
    );
    let proxy = Running::start(site.config(&acs, &[&agent], ""));

    let scheduled = inform(&acs, &id, "3 SCHEDULED", |inform| {
        inform.has_event(&EventCode::Scheduled)
    })
    .await;

    assert!(
        scheduled
            .events
            .contains(&Event::method("ScheduleInform", "later")),
        "{:?}",
        scheduled.events
    );
    proxy.stop().await;
}

#[tokio::test]
async fn periodic_informs_carry_everything() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let id = device("SN0001");
    acs.want(&id, set(&[("PeriodicInformInterval", "1")]));
    let proxy = Running::start(site.config(&acs, &[&agent], ""));

    let periodic = inform(&acs, &id, "2 PERIODIC", |inform| {
        inform.has_event(&EventCode::Periodic)
    })
    .await;

    assert_eq!(total(&periodic), Some(1_000));
    assert_eq!(
        periodic.parameter(&format!("{SERVICE}Supply.1.LevelPercent")),
        Some("50")
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_printer_that_is_switched_off_and_on_is_reported_both_times() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let (id, addr) = (device("SN0001"), agent.addr());
    let proxy = Running::start(site.config(&acs, &[&agent], ""));
    inform(&acs, &id, "BOOTSTRAP", |inform| {
        inform.has_event(&EventCode::Bootstrap)
    })
    .await;
    let reachability = format!("{SERVICE}Proxy.Reachability");

    agent.stop().await;
    let off = inform(&acs, &id, "that it is off", |inform| {
        inform.parameter(&reachability) == Some("Unreachable")
    })
    .await;
    assert!(off.has_event(&EventCode::ValueChange));
    assert_eq!(
        off.parameter(&format!("{SERVICE}OperationalStatus")),
        Some("Unreachable")
    );

    let mut objects = crate::site::objects("SN0001");
    objects.insert(oid("1.3.6.1.2.1.1.3.0"), Value::TimeTicks(100));
    let _again = platen_proxy::agent::Agent::start(addr, objects, "public")
        .await
        .unwrap();
    let on = inform(&acs, &id, "that it has restarted", |inform| {
        inform.has_event(&EventCode::Boot) && !inform.has_event(&EventCode::Bootstrap)
    })
    .await;
    assert_eq!(on.parameter(&reachability), Some("Reachable"));
    proxy.stop().await;
}

#[tokio::test]
async fn of_two_printers_with_one_serial_number_one_is_counted() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let (one, other) = (
        printer("SN0001", Access::read("public")).await,
        printer("SN0001", Access::read("public")).await,
    );
    other.set(oid(LIFE_COUNT), Value::Counter32(500_000));
    let id = device("SN0001");
    let mut config = site.config(&acs, &[&one, &other], "");
    for range in &mut config.discover {
        range.interval = Period(Duration::from_secs(1));
    }
    let proxy = Running::start(config);
    inform(&acs, &id, "BOOTSTRAP", |inform| {
        inform.has_event(&EventCode::Bootstrap)
    })
    .await;

    // Whichever was found first; both count on, for a while in which both are looked for again and again.
    for step in 1..=4 {
        one.count(&oid(LIFE_COUNT), 1);
        other.count(&oid(LIFE_COUNT), 1);
        inform(&acs, &id, "the counter", |inform| {
            total(inform).is_some_and(|total| total % 100 >= step)
        })
        .await;
    }

    let totals: Vec<u64> = acs.informs_of(&id).iter().filter_map(total).collect();
    let is_one = totals[0] < 500_000;
    assert!(
        totals.iter().all(|total| (*total < 500_000) == is_one),
        "{totals:?}"
    );
    proxy.stop().await;
}
