//! A site for tests: printers on loopback, and the proxy's folder and file.

use std::collections::BTreeMap;
use std::fmt::Write;

use platen_datamodel::snmp::{Oid, Value};
use platen_proxy::agent::{Access, Agent};
use platen_proxy::config::Config;
use tempfile::TempDir;

use crate::acs::{PASSWORD, TestAcs, USERNAME};

pub(crate) const LIFE_COUNT: &str = "1.3.6.1.2.1.43.10.2.1.4.1.1";
pub(crate) const LOCATION: &str = "1.3.6.1.2.1.1.6.0";
pub(crate) const SERVICE: &str = "Device.Services.MFPService.1.";

pub(crate) fn oid(text: &str) -> Oid {
    text.parse().unwrap()
}

/// The objects of a small printer: one engine, one toner, one tray.
pub(crate) fn objects(serial: &str) -> BTreeMap<Oid, Value> {
    let text = |text: &str| Value::from(text);
    [
        ("1.3.6.1.2.1.1.1.0", text("Example LaserPro 9")),
        ("1.3.6.1.2.1.1.2.0", Value::Oid(oid("1.3.6.1.4.1.1347.41"))),
        ("1.3.6.1.2.1.1.3.0", Value::TimeTicks(500_000)),
        ("1.3.6.1.2.1.1.4.0", text("help desk")),
        ("1.3.6.1.2.1.1.5.0", text("printer-1")),
        (LOCATION, text("floor 3")),
        ("1.3.6.1.2.1.2.2.1.3.1", Value::Integer(6)),
        (
            "1.3.6.1.2.1.2.2.1.6.1",
            Value::Octets(vec![0x00, 0x17, 0xc8, 1, 2, 3]),
        ),
        (
            "1.3.6.1.2.1.25.3.2.1.2.1",
            Value::Oid(oid("1.3.6.1.2.1.25.3.1.5")),
        ),
        ("1.3.6.1.2.1.25.3.2.1.3.1", text("LaserPro 9")),
        ("1.3.6.1.2.1.25.3.2.1.5.1", Value::Integer(2)),
        ("1.3.6.1.2.1.25.3.5.1.1.1", Value::Integer(3)),
        ("1.3.6.1.2.1.25.3.5.1.2.1", Value::Octets(vec![0])),
        ("1.3.6.1.2.1.43.5.1.1.3.1", Value::Integer(3)),
        ("1.3.6.1.2.1.43.5.1.1.16.1", text("Printer one")),
        ("1.3.6.1.2.1.43.5.1.1.17.1", text(serial)),
        ("1.3.6.1.2.1.43.8.2.1.9.1.1", Value::Integer(500)),
        ("1.3.6.1.2.1.43.8.2.1.10.1.1", Value::Integer(150)),
        ("1.3.6.1.2.1.43.8.2.1.13.1.1", text("Cassette 1")),
        ("1.3.6.1.2.1.43.10.2.1.3.1.1", Value::Integer(7)),
        (LIFE_COUNT, Value::Counter32(1_000)),
        ("1.3.6.1.2.1.43.11.1.1.4.1.1", Value::Integer(3)),
        ("1.3.6.1.2.1.43.11.1.1.5.1.1", Value::Integer(3)),
        ("1.3.6.1.2.1.43.11.1.1.6.1.1", text("Black Toner")),
        ("1.3.6.1.2.1.43.11.1.1.8.1.1", Value::Integer(15_000)),
        ("1.3.6.1.2.1.43.11.1.1.9.1.1", Value::Integer(7_500)),
    ]
    .into_iter()
    .map(|(text, value)| (oid(text), value))
    .collect()
}

/// The id of the printer with that serial number.
pub(crate) fn device(serial: &str) -> String {
    format!("0017C8-LaserPro%209-{serial}")
}

pub(crate) const PROXY: &str = "00D09E-PlatenProxy-site%2D7";

pub(crate) async fn printer(serial: &str, access: Access) -> Agent {
    Agent::start(([127, 0, 0, 1], 0).into(), objects(serial), access)
        .await
        .unwrap()
}

pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The proxy's file for these printers, with fast polls; `more` goes into its `[device]` section.
    pub(crate) fn config(&self, acs: &TestAcs, printers: &[&Agent], more: &str) -> Config {
        let mut text = format!(
            "data_dir = \"data\"\n[device]\noui = \"00D09E\"\nserial = \"site-7\"\n{more}\n[acs]\nurl = \"{}\"\nusername = \"{USERNAME}\"\n\
             password = \"{PASSWORD}\"\n[poll]\nstatus = \"1s\"\nmeters = \"1s\"\nsupplies = \"1s\"\n",
            acs.url()
        );
        for printer in printers {
            let addr = printer.addr();
            write!(
                text,
                "[[discover]]\nrange = \"{}\"\nport = {}\nsnmp = {{ version = \"2c\", community = \"public\", write_community = \"private\" }}\n",
                addr.ip(),
                addr.port()
            )
            .unwrap();
        }
        let file = self.folder.path().join("proxy.toml");
        std::fs::write(&file, text).unwrap();
        Config::read(&file).unwrap()
    }
}
