//! A customer's site: printers that speak SNMP alone, a proxy that presents them, and the server that manages and meters them.

use crate::server::{Home, Server, eventually};
use platen_swarm::printers::{COMMUNITY, Floor};
use serde_json::{Value, json};

#[tokio::test]
async fn snmp_printers_are_managed_and_metered_through_a_proxy() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let floor = Floor::start(6, 0).await.unwrap();
    let printers = floor.ports().printers;
    let file = home.path().join("proxy.toml");
    let acs = format!("http://{}/cwmp/default", server.address("cwmp"));
    let data = home.path().join("proxy");
    let mut create = vec!["proxy", "create", "--serial", "site-7", "--acs-url", &acs];
    create.extend([
        "--config",
        file.to_str().unwrap(),
        "--proxy-data-dir",
        data.to_str().unwrap(),
    ]);
    let ranges: Vec<String> = printers
        .iter()
        .map(|printer| format!("{}={COMMUNITY}", printer.address))
        .collect();
    ranges
        .iter()
        .for_each(|range| create.extend(["--range", range.as_str()]));
    let created = server.platen(&create);
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    let config = platen_proxy::config::Config::read(&file).unwrap();

    // Twice, since a printer that is known is another case than one that is new; pages are printed in between.
    for events in [json!(["0 BOOTSTRAP", "1 BOOT"]), json!(["2 PERIODIC"])] {
        let once = platen_proxy::proxy::run_once(&config).await.unwrap();
        assert!(
            once.failed.is_empty() && once.unusable.is_empty(),
            "{once:?}"
        );
        for printer in &printers {
            let device = eventually("the report of the printer is known", async || {
                let device = find(&server, &printer.serial_number).await?;
                (device["lastEvents"] == events).then_some(device)
            })
            .await;
            assert_eq!(device["state"], "ACTIVE", "{device}");
        }
        floor.print();
    }

    for printer in &printers {
        let device = find(&server, &printer.serial_number).await.unwrap();
        assert_eq!(
            device["proxiedBy"], "tenants/default/devices/00D09E-PlatenProxy-site%2D7",
            "{device}"
        );
        assert!(
            !device["modelName"].as_str().unwrap().is_empty(),
            "{device}"
        );
        let path = device["name"].as_str().unwrap().replace('%', "%25");
        let reading = eventually("the printer is metered", async || {
            let readings = server.get(&format!("{path}/readings?meter=TOTAL")).await;
            readings["readings"]
                .as_array()
                .filter(|readings| !readings.is_empty())
                .map(|readings| readings[0].clone())
        })
        .await;
        assert!(
            reading["value"].as_str().unwrap().parse::<u64>().unwrap() > 20_000,
            "{reading}"
        );
        assert_eq!(
            server.get(&format!("{path}/readings:verify")).await["intact"],
            true
        );
    }
}

async fn find(server: &Server, serial_number: &str) -> Option<Value> {
    let devices = server.get("tenants/default/devices?pageSize=100").await;
    devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["serialNumber"] == serial_number)
        .cloned()
}
