//! Recordings of real printers, from the socket of their SNMP agent to REST.
//!
//! Every recording is served on loopback; the real proxy finds it and reports it to the real server. What Platen then holds is compared with what
//! the recording says, computed here from the recording itself. A difference is a failure, unless [`DEMANDED`] names the rule that wants it.

use crate::server::{Home, PLATEN, Server, eventually};
use platen_datamodel::snmp::{Oid, Value as SnmpValue};
use platen_proxy::agent::Agent;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// Differences that a rule of the mapping demands: recording, path below the service object, rule, reason.
const DEMANDED: &[(&str, &str, &str)] = &[];

/// Arcs below 1.3.6.1.2.1.
const SERIAL: &str = "43.5.1.1.17";
const LIFE_COUNT: &str = "43.10.2.1.4";
const TRAY_MAX: &str = "43.8.2.1.9";
const TRAY_LEVEL: &str = "43.8.2.1.10";
const SUPPLY_MAX: &str = "43.11.1.1.8";
const SUPPLY_LEVEL: &str = "43.11.1.1.9";
const INTERFACE_TYPE: &str = "2.2.1.3";
const INTERFACE_ADDRESS: &str = "2.2.1.6";

/// Serial numbers below 1.3.6.1.4.1, where the Printer MIB tells none.
const VENDOR_SERIALS: &[&str] = &[
    "11.2.3.9.4.2.1.1.3.3.0",
    "253.8.53.3.2.1.3.1",
    "367.3.2.1.2.1.4.0",
    "236.11.5.1.1.1.4.0",
    "1248.1.2.2.1.1.1.5.1",
    "1347.43.5.1.1.28.1",
    "1602.1.2.1.8.1.3.1.1",
    "1602.1.2.1.4.0",
    "2001.1.1.1.1.11.1.10.45.0",
    "2435.2.3.9.4.2.1.5.5.1.0",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_of_real_printers_are_held_as_they_are() {
    let folder = test_data().join("snmp");
    if !folder.is_dir() {
        println!(
            "skipped: recordings of printers are not at {}",
            folder.display()
        );
        return;
    }
    let recordings = recordings(&folder);
    assert!(recordings.len() > 10, "{}", recordings.len());

    let mut agents = Vec::new();
    let mut ranges = Vec::new();
    for (number, recording) in recordings.iter().enumerate() {
        let bind: SocketAddr = format!("127.0.2.{}:0", number + 1).parse().unwrap();
        let agent = Agent::start(bind, recording.objects(), "public")
            .await
            .unwrap();
        ranges.push(format!(
            "{}:{}=public",
            agent.addr().ip(),
            agent.addr().port()
        ));
        agents.push(agent);
    }

    let home = Home::new();
    let server = Server::start(&home).await;
    let config = home.path().join("proxy.toml");
    let mut create = vec![
        "proxy",
        "create",
        "--serial",
        "recordings",
        "--config",
        config.to_str().unwrap(),
    ];
    let acs = format!("http://{}/cwmp/default", server.address("cwmp"));
    let state = home.path().join("proxy");
    create.extend([
        "--acs-url",
        &acs,
        "--proxy-data-dir",
        state.to_str().unwrap(),
    ]);
    for range in &ranges {
        create.extend(["--range", range]);
    }
    let created = server.platen(&create);
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    let proxy = beside(PLATEN, "platen-proxy");
    let run = tokio::task::spawn_blocking(move || {
        Command::new(proxy)
            .args(["run", "--once", "--config"])
            .arg(config)
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(
        run.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );

    // What was acknowledged is on the log; the rows follow it.
    let devices = recordings
        .iter()
        .filter(|recording| recording.serial().is_some())
        .count();
    let held = eventually("every printer and its parameters", || {
        held(&server, devices)
    })
    .await;
    let mut differences = Vec::new();
    for (recording, agent) in recordings.iter().zip(&agents) {
        let device = held.get(&agent.addr().ip().to_string());
        match (recording.serial(), device) {
            (None, None) => {}
            (None, Some(device)) => differences.push(format!(
                "{}: has neither serial number nor hardware address, but is device {}",
                recording.name, device.name
            )),
            (Some(serial), None) => differences.push(format!(
                "{}: has serial number {serial}, but is no device",
                recording.name
            )),
            (Some(serial), Some(device)) => {
                let found = compare(recording, &serial, device, &server).await;
                differences.extend(
                    found
                        .into_iter()
                        .map(|(what, text)| (what, format!("{}: {text}", recording.name)))
                        .filter_map(|(what, text)| {
                            let demanded = DEMANDED.iter().any(|(name, path, _)| {
                                *name == recording.name && what.starts_with(path)
                            });
                            (!demanded).then_some(text)
                        }),
                );
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
    for agent in agents {
        agent.stop().await;
    }
}

/// What a device's resources say that differs from its recording: which parameter, and how.
async fn compare(
    recording: &Recording,
    serial: &str,
    device: &Held,
    server: &Server,
) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    let mut expect = |what: &str, expected: &str, found: &str| {
        if expected != found {
            differences.push((
                what.to_owned(),
                format!("{what} is {found:?}, expected {expected:?}"),
            ));
        }
    };
    expect(
        "serialNumber",
        serial,
        device.resource["serialNumber"].as_str().unwrap(),
    );
    if let Some(address) = recording.hardware_address() {
        expect(
            "oui",
            &format!("{:02X}{:02X}{:02X}", address[0], address[1], address[2]),
            device.resource["oui"].as_str().unwrap(),
        );
    }
    let model = device.resource["modelName"].as_str().unwrap();
    let told = recording.models();
    if !told.iter().any(|text| text.contains(model)) || model.len() < 3 {
        expect("modelName", &told.join(" | "), model);
    }
    if let Some(life) = recording.first_number(LIFE_COUNT) {
        expect(
            "Marker.1.LifeCount",
            &life.to_string(),
            device.parameter("Marker.1.LifeCount"),
        );
        let readings = server
            .get(&format!("{}/readings?meter=TOTAL", escaped(&device.name)))
            .await;
        let total = device.parameter("Counters.Total.TotalImpressions");
        expect(
            "reading TOTAL",
            total,
            readings["readings"][0]["value"]
                .as_str()
                .unwrap_or_default(),
        );
    }
    let supplies = recording.column(SUPPLY_LEVEL);
    expect(
        "SupplyNumberOfEntries",
        &supplies.len().to_string(),
        device.parameter_or_zero("SupplyNumberOfEntries"),
    );
    for (row, level) in supplies {
        let max = recording
            .column(SUPPLY_MAX)
            .get(&row)
            .copied()
            .unwrap_or(-2);
        expect(
            &format!("Supply.{row}.MaxCapacity"),
            &max.to_string(),
            device.parameter(&format!("Supply.{row}.MaxCapacity")),
        );
        expect(
            &format!("Supply.{row}.CurrentLevel"),
            &level.to_string(),
            device.parameter(&format!("Supply.{row}.CurrentLevel")),
        );
        let percent = device.parameter(&format!("Supply.{row}.LevelPercent"));
        if max > 0 && (0..=max).contains(&level) {
            // A percent that is not full yet does not count.
            expect(
                &format!("Supply.{row}.LevelPercent"),
                &(100 * level / max).to_string(),
                percent,
            );
        } else if level < 0 {
            expect(&format!("Supply.{row}.LevelPercent"), "-1", percent);
        }
    }
    let trays = recording.column(TRAY_LEVEL);
    expect(
        "InputTrayNumberOfEntries",
        &trays.len().to_string(),
        device.parameter_or_zero("InputTrayNumberOfEntries"),
    );
    for (row, level) in trays {
        let max = recording.column(TRAY_MAX).get(&row).copied().unwrap_or(-2);
        expect(
            &format!("InputTray.{row}.MaxCapacity"),
            &max.to_string(),
            device.parameter(&format!("InputTray.{row}.MaxCapacity")),
        );
        expect(
            &format!("InputTray.{row}.CurrentLevel"),
            &level.to_string(),
            device.parameter(&format!("InputTray.{row}.CurrentLevel")),
        );
    }
    differences
}

/// A device as REST shows it.
struct Held {
    name: String,
    resource: Value,
    parameters: BTreeMap<String, String>,
}

impl Held {
    /// The value of a parameter of the print service; empty if there is none.
    fn parameter(&self, below: &str) -> &str {
        self.parameters
            .get(&format!("Device.Services.MFPService.1.{below}"))
            .map_or("", String::as_str)
    }

    fn parameter_or_zero(&self, below: &str) -> &str {
        match self.parameter(below) {
            "" => "0",
            value => value,
        }
    }
}

/// The printers that the server holds, by the address at which the proxy found them.
async fn held(server: &Server, expected: usize) -> Option<BTreeMap<String, Held>> {
    let devices = server.get("tenants/default/devices?pageSize=500").await;
    let mut held = BTreeMap::new();
    for resource in devices["devices"].as_array().unwrap() {
        if resource["proxiedBy"] == "" {
            continue;
        }
        let name = resource["name"].as_str().unwrap().to_owned();
        let mut parameters = BTreeMap::new();
        let mut token = String::new();
        loop {
            let page = server
                .get(&format!(
                    "{}/parameters?pageSize=1000&pageToken={token}",
                    escaped(&name)
                ))
                .await;
            for parameter in page["parameters"].as_array().unwrap() {
                parameters.insert(
                    parameter["path"].as_str().unwrap().to_owned(),
                    parameter["value"].as_str().unwrap().to_owned(),
                );
            }
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        let address = parameters
            .get("Device.Services.MFPService.1.Proxy.Address")
            .cloned()
            .unwrap_or_default();
        let before = held.insert(
            address,
            Held {
                name,
                resource: resource.clone(),
                parameters,
            },
        );
        assert!(before.is_none(), "two devices at one address");
    }
    (held.len() >= expected).then_some(held)
}

/// The percent signs of a device's name, escaped for a URL.
fn escaped(name: &str) -> String {
    name.replace('%', "%25")
}

fn test_data() -> PathBuf {
    env::var_os("PLATEN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    )
}

/// The executable of another package, which `cargo test --workspace` builds too.
fn beside(program: &str, other: &str) -> PathBuf {
    let path = Path::new(program).with_file_name(other);
    assert!(
        path.is_file(),
        "{} is missing: cargo build -p {other}",
        path.display()
    );
    path
}

struct Recording {
    name: String,
    values: BTreeMap<Vec<u32>, SnmpValue>,
}

fn recordings(folder: &Path) -> Vec<Recording> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let values = if name.ends_with(".json") {
                from_json(&text)
            } else {
                from_lines(&text)
            };
            Recording { name, values }
        })
        .collect()
}

fn arcs(text: &str) -> Vec<u32> {
    text.trim_start_matches('.')
        .split('.')
        .map(|arc| arc.parse().unwrap())
        .collect()
}

/// `oid|tag|value`. A line whose value is damaged counts as not recorded.
fn from_lines(text: &str) -> BTreeMap<Vec<u32>, SnmpValue> {
    text.lines()
        .filter_map(|line| {
            let (oid, rest) = line.split_once('|')?;
            let (tag, value) = rest.split_once('|')?;
            let value = match tag {
                "4" => SnmpValue::Octets(value.as_bytes().to_vec()),
                "4x" => SnmpValue::Octets(from_hex(value)),
                "64x" => SnmpValue::IpAddress(from_hex(value).try_into().ok()?),
                "2" => typed("Integer", value)?,
                "6" => typed("ObjectIdentifier", value)?,
                "64" => typed("IPAddress", value)?,
                "65" => typed("Counter32", value)?,
                "66" => typed("Gauge32", value)?,
                "67" => typed("TimeTicks", value)?,
                "70" => typed("Counter64", value)?,
                other => panic!("tag {other} of {oid}"),
            };
            Some((arcs(oid), value))
        })
        .collect()
}

/// `[{"oid", "type", "value", "hex_value"}]`, of repeated entries the last counts.
fn from_json(text: &str) -> BTreeMap<Vec<u32>, SnmpValue> {
    let entries: Vec<Value> = serde_json::from_str(text).unwrap();
    entries
        .iter()
        .filter_map(|entry| {
            let text = entry["value"].as_str().unwrap_or_default();
            let value = match entry["type"].as_str().unwrap() {
                "OctetString" => SnmpValue::Octets(
                    entry["hex_value"]
                        .as_str()
                        .map_or_else(|| text.as_bytes().to_vec(), from_hex),
                ),
                other => typed(other, text)?,
            };
            Some((arcs(entry["oid"].as_str().unwrap()), value))
        })
        .collect()
}

fn typed(kind: &str, text: &str) -> Option<SnmpValue> {
    Some(match kind {
        "Integer" => SnmpValue::Integer(text.parse().ok()?),
        "ObjectIdentifier" => SnmpValue::Oid(Oid::new(&arcs(text))),
        "IPAddress" => SnmpValue::IpAddress(text.parse::<std::net::Ipv4Addr>().ok()?.octets()),
        "Counter32" => SnmpValue::Counter32(text.parse().ok()?),
        "Gauge32" => SnmpValue::Gauge32(text.parse().ok()?),
        "TimeTicks" => SnmpValue::TimeTicks(text.parse().ok()?),
        "Counter64" => SnmpValue::Counter64(text.parse().ok()?),
        other => panic!("type {other}"),
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

impl Recording {
    fn objects(&self) -> BTreeMap<Oid, SnmpValue> {
        self.values
            .iter()
            .map(|(arcs, value)| (Oid::new(arcs), value.clone()))
            .collect()
    }

    fn below<'a>(
        &'a self,
        root: &str,
        column: &str,
    ) -> impl Iterator<Item = (Vec<u32>, &'a SnmpValue)> {
        let prefix = arcs(&format!("{root}.{column}"));
        self.values.iter().filter_map(move |(oid, value)| {
            Some((oid.strip_prefix(prefix.as_slice())?.to_vec(), value))
        })
    }

    fn mib<'a>(&'a self, column: &str) -> impl Iterator<Item = (Vec<u32>, &'a SnmpValue)> {
        self.below("1.3.6.1.2.1", column)
    }

    /// Numbers of a column of a table that is indexed by device and row, of the first device.
    fn column(&self, column: &str) -> BTreeMap<u32, i64> {
        let cells: Vec<(Vec<u32>, i64)> = self
            .mib(column)
            .filter_map(|(index, value)| Some((index, number(value)?)))
            .collect();
        let first = cells.first().map(|(index, _)| index[0]);
        cells
            .into_iter()
            .filter(|(index, _)| Some(index[0]) == first)
            .map(|(index, value)| (index[1], value))
            .collect()
    }

    fn first_number(&self, column: &str) -> Option<i64> {
        self.mib(column).find_map(|(_, value)| number(value))
    }

    /// The hardware address of the first Ethernet interface that has one of its own, else of the first wireless one.
    fn hardware_address(&self) -> Option<Vec<u8>> {
        let address = |index: &[u32]| {
            self.mib(INTERFACE_ADDRESS)
                .find_map(|(of, value)| match value {
                    SnmpValue::Octets(octets) if of == index => Some(octets.clone()),
                    _ => None,
                })
        };
        let own = |octets: &Vec<u8>| {
            octets.len() == 6 && octets.iter().any(|&octet| octet != 0) && octets[0] & 2 == 0
        };
        [&[6, 7][..], &[71]].into_iter().find_map(|wanted| {
            let interfaces = self
                .mib(INTERFACE_TYPE)
                .filter(|(_, kind)| number(kind).is_some_and(|kind| wanted.contains(&kind)));
            interfaces
                .filter_map(|(index, _)| address(&index))
                .find(own)
        })
    }

    /// The serial number by which it must be known; `None` for what is a finding, not a device.
    fn serial(&self) -> Option<String> {
        let usable = |serial: &String| {
            serial.len() >= 4
                && !serial.bytes().all(|byte| b"Xx0-?*".contains(&byte))
                && !serial.eq_ignore_ascii_case("unknown")
        };
        let of_mib = || {
            self.mib(SERIAL)
                .filter_map(|(_, value)| printable(value))
                .find(usable)
        };
        let of_vendor = || self.vendor_serial().and_then(printable).filter(usable);
        let described = || {
            let description = self
                .values
                .get(&arcs("1.3.6.1.2.1.1.1.0"))
                .map(text)
                .unwrap_or_default();
            let serial: String = description
                .split("SN:")
                .nth(1)?
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            Some(serial).filter(usable)
        };
        let address = || {
            Some(
                self.hardware_address()?
                    .iter()
                    .map(|octet| format!("{octet:02X}"))
                    .collect(),
            )
        };
        // What answers nothing of a printer is none, whatever it is.
        let is_printer = self.mib("43").next().is_some() || self.vendor_serial().is_some();
        is_printer
            .then(|| {
                of_mib()
                    .or_else(of_vendor)
                    .or_else(described)
                    .or_else(address)
            })
            .flatten()
    }

    /// The serial number in the vendor's own tree: some printers answer those of other vendors, too.
    fn vendor_serial(&self) -> Option<&SnmpValue> {
        let Some(SnmpValue::Oid(id)) = self.values.get(&arcs("1.3.6.1.2.1.1.2.0")) else {
            return None;
        };
        let vendor = id.arcs().get(6)?;
        VENDOR_SERIALS
            .iter()
            .map(|oid| arcs(&format!("1.3.6.1.4.1.{oid}")))
            .filter(|oid| oid[6] == *vendor)
            .find_map(|oid| self.values.get(&oid))
    }

    /// Every text in which the model may stand.
    fn models(&self) -> Vec<String> {
        let descriptions = self.mib("25.3.2.1.3").map(|(_, value)| text(value));
        let names = self.mib("43.5.1.1.16").map(|(_, value)| text(value));
        let vendors = [
            "1.3.6.1.4.1.2699.1.2.1.2.1.1.3.1",
            "1.3.6.1.4.1.11.2.3.9.1.1.7.0",
            "1.3.6.1.4.1.253.8.51.1.2.1.20.1",
            "1.3.6.1.4.1.1347.43.5.1.1.1.1",
            "1.3.6.1.2.1.1.1.0",
        ];
        descriptions
            .chain(names)
            .chain(
                vendors
                    .iter()
                    .filter_map(|oid| self.values.get(&arcs(oid)).map(text)),
            )
            .collect()
    }
}

fn number(value: &SnmpValue) -> Option<i64> {
    match *value {
        SnmpValue::Integer(number) => Some(number.into()),
        SnmpValue::Counter32(number)
        | SnmpValue::Gauge32(number)
        | SnmpValue::TimeTicks(number) => Some(number.into()),
        SnmpValue::Counter64(number) => i64::try_from(number).ok(),
        _ => None,
    }
}

fn text(value: &SnmpValue) -> String {
    match value {
        SnmpValue::Octets(octets) => String::from_utf8_lossy(octets).into_owned(),
        _ => String::new(),
    }
}

fn printable(value: &SnmpValue) -> Option<String> {
    match value {
        SnmpValue::Octets(octets) => Some(
            octets
                .iter()
                .filter(|octet| octet.is_ascii_graphic())
                .map(|&octet| char::from(octet))
                .collect(),
        ),
        _ => None,
    }
}
