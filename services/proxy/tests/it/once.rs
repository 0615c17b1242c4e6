//! `run --once`.

use platen_cwmp::event_code::EventCode;
use platen_proxy::agent::Access;
use platen_proxy::proxy;

use crate::acs::{PASSWORD, TestAcs, USERNAME};
use crate::site::{PROXY, SERVICE, Site, device, printer};

#[tokio::test]
async fn every_printer_is_reported_once_with_its_counters_and_supplies() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let (first, second) = (
        printer("SN0001", Access::read("public")).await,
        printer("SN0002", Access::read("public")).await,
    );
    let config = site.config(&acs, &[&first, &second], "");

    let once = proxy::run_once(&config).await.unwrap();

    assert_eq!(once.failed, []);
    assert_eq!(once.reported.len(), 3, "{:?}", once.reported);
    let informs = acs.informs();
    assert_eq!(informs.len(), 3);
    assert_eq!(
        informs[0].0, PROXY,
        "the proxy comes before what it presents"
    );
    let table = "Device.ManagementServer.VirtualDevice";
    assert_eq!(
        informs[0].1.parameter(&format!("{table}NumberOfEntries")),
        Some("2")
    );
    assert_eq!(
        informs[0].1.parameter(&format!("{table}.1.SerialNumber")),
        Some("SN0001")
    );
    for serial in ["SN0001", "SN0002"] {
        let inform = &acs.informs_of(&device(serial))[0];
        assert!(inform.has_event(&EventCode::Bootstrap) && inform.has_event(&EventCode::Boot));
        assert_eq!(inform.device_id.manufacturer, "Kyocera");
        let value = |path: &str| {
            inform
                .parameter(path)
                .unwrap_or_else(|| panic!("no {path}"))
                .to_owned()
        };
        for forced in [
            "Device.RootDataModelVersion",
            "Device.DeviceInfo.HardwareVersion",
            "Device.DeviceInfo.SoftwareVersion",
            "Device.DeviceInfo.ProvisioningCode",
            "Device.ManagementServer.ParameterKey",
            "Device.ManagementServer.ConnectionRequestURL",
            "Device.ManagementServer.AliasBasedAddressing",
        ] {
            value(forced);
        }
        assert_eq!(
            value(&format!("{SERVICE}Counters.Total.TotalImpressions")),
            "1000"
        );
        assert_eq!(value(&format!("{SERVICE}Supply.1.LevelPercent")), "50");
        assert_eq!(value(&format!("{SERVICE}Supply.1.State")), "OK");
        assert_eq!(value("Device.DeviceInfo.ModelName"), "LaserPro 9");
        assert_eq!(
            value("Device.DeviceInfo.ProxierInfo.SerialNumber"),
            "site-7"
        );
        // What has no value is not sent as a number that could be billed.
        assert_eq!(
            inform.parameter(&format!("{SERVICE}Counters.Total.FullColorImpressions")),
            None
        );
    }
}

#[tokio::test]
async fn a_printer_that_two_ranges_name_is_reported_once() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let config = site.config(&acs, &[&agent, &agent], "");

    let once = proxy::run_once(&config).await.unwrap();

    assert_eq!(once.reported, [PROXY.to_owned(), device("SN0001")]);
    assert_eq!(acs.informs_of(&device("SN0001")).len(), 1);
    assert!(
        once.unusable[0].1.contains("presented already"),
        "{:?}",
        once.unusable
    );
}

#[tokio::test]
async fn the_second_time_is_no_bootstrap() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let config = site.config(&acs, &[&agent], "");
    proxy::run_once(&config).await.unwrap();

    proxy::run_once(&config).await.unwrap();

    let informs = acs.informs_of(&device("SN0001"));
    let second = informs.last().unwrap();
    assert!(
        !second.has_event(&EventCode::Bootstrap),
        "{:?}",
        second.events
    );
    assert!(second.has_event(&EventCode::Periodic));
    assert_eq!(
        second.parameter(&format!("{SERVICE}Counters.Total.TotalImpressions")),
        Some("1000")
    );
}

#[tokio::test]
async fn a_printer_that_speaks_v1_only_is_found() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let agent = printer("SN0001", Access::read("public").v1_only()).await;

    let once = proxy::run_once(&site.config(&acs, &[&agent], ""))
        .await
        .unwrap();

    assert_eq!(once.reported, [PROXY.to_owned(), device("SN0001")]);
    let informs = acs.informs_of(&device("SN0001"));
    assert_eq!(
        informs[0].parameter(&format!("{SERVICE}Counters.Total.TotalImpressions")),
        Some("1000")
    );
}

#[tokio::test]
async fn what_is_no_printer_is_not_presented() {
    let (acs, site) = (TestAcs::start().await, Site::new());
    let mut objects = crate::site::objects("SN0001");
    objects.retain(|oid, _| {
        !oid.to_string().starts_with("1.3.6.1.2.1.43")
            && !oid.to_string().starts_with("1.3.6.1.2.1.25")
    });
    let router = platen_proxy::agent::Agent::start(([127, 0, 0, 1], 0).into(), objects, "public")
        .await
        .unwrap();

    let once = proxy::run_once(&site.config(&acs, &[&router], ""))
        .await
        .unwrap();

    assert_eq!(once.reported, [PROXY]);
    assert_eq!(once.unusable.len(), 1);
    assert!(
        once.unusable[0].1.contains("not a printer"),
        "{:?}",
        once.unusable
    );
}

#[tokio::test]
async fn wrong_credentials_are_a_failure_that_names_itself() {
    let acs = TestAcs::start().await;
    let session = platen_proxy::session::Acs::new(&acs.url(), USERNAME, "wrong", None).unwrap();
    let outcome = session
        .hold(platen_cwmp::rpc::Inform::default(), &mut Nobody)
        .await;

    assert!(
        matches!(
            outcome,
            Err(platen_proxy::session::SessionError::Refused(401))
        ),
        "{outcome:?}"
    );
    assert_eq!(acs.informs(), []);
}

struct Nobody;

impl platen_proxy::session::Answering for Nobody {
    async fn answer(
        &mut self,
        _: platen_cwmp::rpc::AcsRequest,
    ) -> Result<platen_cwmp::rpc::CpeResponse, platen_cwmp::fault::Fault> {
        unreachable!("nobody was let in")
    }

    async fn informed(&mut self) {
        unreachable!("nobody was let in")
    }
}

#[tokio::test]
async fn over_tls_only_a_server_of_the_given_authority_is_told_anything() {
    let ((acs, anchor), site) = (TestAcs::start_tls().await, Site::new());
    let agent = printer("SN0001", Access::read("public")).await;
    let mut config = site.config(&acs, &[&agent], "");
    let unknown = platen_proxy::session::Acs::new(&acs.url(), USERNAME, PASSWORD, None).unwrap();
    let refused = unknown
        .hold(platen_cwmp::rpc::Inform::default(), &mut Nobody)
        .await;
    assert!(
        matches!(
            refused,
            Err(platen_proxy::session::SessionError::Unreachable(_))
        ),
        "{refused:?}"
    );

    let file = config.data_dir.with_file_name("ca.pem");
    std::fs::write(&file, anchor).unwrap();
    config.acs.ca = Some(file);
    let once = proxy::run_once(&config).await.unwrap();

    assert_eq!(once.failed, []);
    assert_eq!(acs.informs_of(&device("SN0001")).len(), 1);
}
