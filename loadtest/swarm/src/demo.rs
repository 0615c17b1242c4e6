//! The demonstration: a server on an empty directory, a floor of simulated printers, a site proxy between them, and a table that fills.

mod children;
mod screen;

use crate::{
    enrol::Api,
    printers::{self, Floor, Printer},
};
use anyhow::{Context, bail};
use children::Child;
use jiff::Timestamp;
use screen::Screen;
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// What the demonstration is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of printers.
    pub printers: u8,
    /// End by itself once every printer is managed and metered.
    pub once: bool,
    /// How long `once` waits for that.
    pub patience: Duration,
    /// Directory with the programs `platen` and `platen-proxy`.
    pub programs: PathBuf,
}

/// How often the table is drawn.
const REFRESH: Duration = Duration::from_secs(1);

/// How often the proxy asks the printers: often, so that one sees something move.
const POLL: &str = "\n[poll]\nstatus = \"5s\"\nsupplies = \"10s\"\nmeters = \"10s\"\n";

/// Runs the demonstration until `stop` is cancelled or, with `once`, until all is there.
///
/// # Errors
///
/// A program is missing or ends, or, with `once`, a printer is missing after its time: the message says which and what of it.
pub async fn run(options: &Options, stop: &CancellationToken) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("platen-demo-").tempdir()?;
    let mut stage = Stage::set(options, dir.path(), stop).await?;
    let shown = stage.watch(options, stop).await;
    if shown.is_err() {
        stage.keep_logs();
    }
    stage.clear().await;
    shown
}

/// Everything that runs.
struct Stage {
    dir: PathBuf,
    server: Child,
    proxy: Child,
    floor: Floor,
    api: Api,
    addresses: Addresses,
    screen: Screen,
}

/// What `platen serve --ports-file` writes, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Addresses {
    cwmp: SocketAddr,
    api: SocketAddr,
    ops: SocketAddr,
}

impl Stage {
    async fn set(options: &Options, dir: &Path, stop: &CancellationToken) -> anyhow::Result<Self> {
        let screen = Screen::new();
        let (platen, platen_proxy) = (
            program(&options.programs, "platen")?,
            program(&options.programs, "platen-proxy")?,
        );
        let (data, ports) = (dir.join("data"), dir.join("ports.json"));
        screen.say(&format!(
            "starting Platen on the empty directory {}",
            data.display()
        ))?;
        let mut server = Child::start(
            &platen,
            &[
                "serve",
                "--data-dir",
                text(&data)?,
                "--ports-file",
                text(&ports)?,
            ],
            &[
                ("PLATEN__CWMP__LISTEN", "127.0.0.1:0"),
                ("PLATEN__API__LISTEN", "127.0.0.1:0"),
                ("PLATEN__OPS__LISTEN", "127.0.0.1:0"),
            ],
            &dir.join("platen.log"),
        )?;
        let addresses: Addresses =
            serde_json::from_slice(&server.wait_for_file(&ports, stop).await?)?;
        let token = fs::read_to_string(data.join("admin.token"))
            .context("the server wrote no admin.token")?;

        screen.say(&format!(
            "starting {} simulated printers that answer SNMP on 127.0.11.x",
            options.printers
        ))?;
        let floor = Floor::start(options.printers, 0).await?;
        let file = dir.join("proxy.toml");
        register_proxy(&platen, &addresses, &data, &file, &floor, dir)?;
        screen.say("starting a site proxy that discovers them")?;
        let proxy = Child::start(
            &platen_proxy,
            &["run", "--config", text(&file)?],
            &[],
            &dir.join("platen-proxy.log"),
        )?;
        let api = Api::new(&format!("http://{}", addresses.api), &token, "default")?;
        Ok(Self {
            dir: dir.to_owned(),
            server,
            proxy,
            floor,
            api,
            addresses,
            screen,
        })
    }

    async fn watch(&mut self, options: &Options, stop: &CancellationToken) -> anyhow::Result<()> {
        let printing = CancellationToken::new();
        let _end = printing.clone().drop_guard();
        let began = Instant::now();
        let expected = self.floor.ports().printers;
        let mut told = false;
        let Self {
            floor,
            api,
            screen,
            server,
            proxy,
            addresses,
            dir,
        } = self;
        let print = floor.run(&printing);
        let show = async {
            loop {
                server.check()?;
                proxy.check()?;
                let rows = rows(api, &expected).await?;
                let missing = missing(&rows);
                screen.draw(&rows, began.elapsed())?;
                if missing.is_empty() && !told {
                    told = true;
                    let (count, took) = (expected.len(), began.elapsed().as_secs_f64());
                    screen.say(&format!(
                        "\nAll {count} printers are managed and metered after {took:.1} s."
                    ))?;
                    if options.once {
                        return Ok(());
                    }
                    screen.say(&invitation(addresses, &dir.join("data"), &options.programs))?;
                }
                if options.once && began.elapsed() > options.patience {
                    bail!(
                        "not everything was there after {:?}:\n  {}",
                        options.patience,
                        missing.join("\n  ")
                    );
                }
                tokio::time::sleep(REFRESH).await;
            }
        };
        tokio::select! {
            shown = show => shown,
            () = print => Ok(()),
            () = stop.cancelled() => Ok(()),
        }
    }

    /// Leaves what the programs said, for whoever looks for the reason.
    fn keep_logs(&self) {
        for name in ["platen.log", "platen-proxy.log"] {
            let kept = std::env::temp_dir().join(format!("demo-{name}"));
            match fs::copy(self.dir.join(name), &kept) {
                Ok(_) => self.screen.warn(&format!(
                    "the log of the program is kept in {}",
                    kept.display()
                )),
                Err(error) => self.screen.warn(&format!("{name} cannot be kept: {error}")),
            }
        }
    }

    async fn clear(self) {
        let (proxy, server) = (self.proxy.stop().await, self.server.stop().await);
        for ended in [proxy, server] {
            if let Err(error) = ended {
                self.screen.warn(&format!("{error:#}"));
            }
        }
    }
}

/// Registers the proxy as an operator would, and lets it ask more often.
fn register_proxy(
    platen: &Path,
    addresses: &Addresses,
    data: &Path,
    file: &Path,
    floor: &Floor,
    dir: &Path,
) -> anyhow::Result<()> {
    let mut command = std::process::Command::new(platen);
    command
        .args(["proxy", "create", "--serial", "demo", "--output", "ndjson"])
        .args([
            "--url",
            &format!("http://{}", addresses.api),
            "--data-dir",
            text(data)?,
        ])
        .args([
            "--acs-url",
            &format!("http://{}/cwmp/default", addresses.cwmp),
        ])
        .args([
            "--config",
            text(file)?,
            "--proxy-data-dir",
            text(&dir.join("proxy"))?,
        ]);
    for printer in floor.ports().printers {
        command.args([
            "--range",
            &format!("{}={}", printer.address, printers::COMMUNITY),
        ]);
    }
    let output = command.output().context("cannot run platen proxy create")?;
    if !output.status.success() {
        bail!(
            "platen proxy create failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut file = fs::OpenOptions::new().append(true).open(file)?;
    Ok(file.write_all(POLL.as_bytes())?)
}

fn program(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let program = dir.join(name);
    if program.is_file() {
        Ok(program)
    } else {
        bail!(
            "{} is missing: build it first (make build)",
            program.display()
        )
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// What the server knows of one printer.
#[derive(Debug, Default)]
struct Row {
    printer: String,
    /// State of the device with its serial number; empty: there is none.
    state: String,
    model: String,
    status: String,
    supplies: Vec<(String, i64)>,
    total: Option<u64>,
    firmware: String,
    last_inform: Option<Timestamp>,
}

impl Row {
    fn is_managed(&self) -> bool {
        self.state == "ACTIVE"
    }
}

async fn rows(api: &Api, expected: &[Printer]) -> anyhow::Result<Vec<Row>> {
    let devices = api.get("devices?pageSize=500").await?;
    let devices = devices["devices"].as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for printer in expected {
        let label = format!(
            "{} {} {}",
            printer.manufacturer, printer.model, printer.serial_number
        );
        let Some(device) = devices
            .iter()
            .find(|device| device["serialNumber"] == printer.serial_number.as_str())
        else {
            rows.push(Row {
                printer: label,
                ..Row::default()
            });
            continue;
        };
        let id = device["name"]
            .as_str()
            .and_then(|name| name.rsplit_once('/'))
            .map(|(_, id)| id.replace('%', "%25"))
            .unwrap_or_default();
        let parameters = api
            .get(&format!(
                "devices/{id}/parameters?pageSize=5000&prefix=Device.Services.MFPService.1."
            ))
            .await?;
        let readings = api
            .get(&format!("devices/{id}/readings?meter=TOTAL&pageSize=1"))
            .await?;
        rows.push(row(label, device, &parameters, &readings));
    }
    Ok(rows)
}

fn row(printer: String, device: &Value, parameters: &Value, readings: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parameters: std::collections::BTreeMap<&str, &str> = parameters["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|parameter| {
            Some((
                parameter["path"]
                    .as_str()?
                    .strip_prefix("Device.Services.MFPService.1.")?,
                parameter["value"].as_str()?,
            ))
        })
        .collect();
    let known = |name: &str| parameters.get(name).copied().unwrap_or_default();
    let supplies = parameters
        .iter()
        .filter_map(|(name, value)| {
            let instance = name
                .strip_prefix("Supply.")?
                .strip_suffix(".LevelPercent")?;
            let label = match known(&format!("Supply.{instance}.ColorName")) {
                "" | "None" => known(&format!("Supply.{instance}.Type")),
                color => color,
            };
            Some((label.to_owned(), value.parse().ok()?))
        })
        .collect();
    Row {
        printer,
        state: text(&device["state"]),
        model: text(&device["modelName"]),
        status: [known("OperationalStatus"), known("DetectedErrorList")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
        supplies,
        total: readings["readings"][0]["value"]
            .as_str()
            .and_then(|value| value.parse().ok()),
        firmware: text(&device["softwareVersion"]),
        last_inform: device["lastInformTime"]
            .as_str()
            .and_then(|time| time.parse().ok()),
    }
}

/// What is not there yet, in words.
fn missing(rows: &[Row]) -> Vec<String> {
    let missing = |row: &Row| {
        let lacks: Vec<&str> = [
            (row.state.is_empty(), "was not found"),
            (!row.state.is_empty() && !row.is_managed(), "is not ACTIVE"),
            (row.is_managed() && row.model.is_empty(), "has no model"),
            (row.is_managed() && row.status.is_empty(), "has no status"),
            (
                row.is_managed() && row.supplies.is_empty(),
                "has no supplies",
            ),
            (
                row.is_managed() && row.total.is_none(),
                "has no meter reading",
            ),
        ]
        .into_iter()
        .filter_map(|(lacks, what)| lacks.then_some(what))
        .collect();
        (!lacks.is_empty()).then(|| format!("{} {}", row.printer, lacks.join(", ")))
    };
    rows.iter().filter_map(missing).collect()
}

/// What there is to see and to try, while the demonstration goes on.
fn invitation(addresses: &Addresses, data: &Path, programs: &Path) -> String {
    let Addresses { cwmp, api, ops } = addresses;
    let token = data.join("admin.token");
    let (token, platen) = (token.display(), programs.join("platen"));
    let platen = platen.display();
    format!(
        "\nAPI         http://{api}/v1/openapi.json\n\
         devices     http://{cwmp}/cwmp/default\n\
         metrics     http://{ops}/metrics\n\
         token       {token}\n\n\
         Try next, in another terminal:\n\
         \x20 export PLATEN_URL=http://{api} PLATEN_TOKEN_FILE={token}\n\
         \x20 {platen} device list\n\
         \x20 {platen} device list --filter 'device.manufacturer == \"Kyocera\"' --output json\n\
         \x20 {platen} event watch\n\n\
         Ctrl-C ends everything and removes it.\n"
    )
}

/// Waits for something that is not there yet: the one place of the demonstration that looks again and again.
async fn poll<T>(
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    patience: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<Option<T>> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = stop.cancelled() => bail!("interrupted"),
        }
    }
    Ok(None)
}

/// Reads a file that may not exist yet.
fn read_if_there(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_what_the_server_knows() {
        let device = json!({"state": "ACTIVE", "modelName": "M4512", "softwareVersion": "1", "lastInformTime": "2026-11-23T08:00:00Z"});
        let path = |name: &str, value: &str| json!({"path": format!("Device.Services.MFPService.1.{name}"), "value": value});
        let parameters = json!({"parameters": [
            path("OperationalStatus", "Degraded"),
            path("DetectedErrorList", "LowToner"),
            path("Supply.1.LevelPercent", "64"),
            path("Supply.1.ColorName", "Black"),
            path("Supply.2.LevelPercent", "-1"),
            path("Supply.2.ColorName", "None"),
            path("Supply.2.Type", "Fuser"),
        ]});
        let readings = json!({"readings": [{"value": "84210"}]});

        let row = row("P".into(), &device, &parameters, &readings);

        assert_eq!(row.status, "Degraded: LowToner");
        assert_eq!(
            row.supplies,
            [("Black".to_owned(), 64), ("Fuser".to_owned(), -1)]
        );
        assert_eq!(row.total, Some(84_210));
        assert_eq!(missing(&[row]), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named() {
        let unknown = Row {
            printer: "A".into(),
            ..Row::default()
        };
        let quarantined = Row {
            printer: "C".into(),
            state: "QUARANTINED".into(),
            ..Row::default()
        };
        let unmetered = Row {
            printer: "B".into(),
            state: "ACTIVE".into(),
            model: "M".into(),
            status: "s".into(),
            supplies: vec![("K".into(), 1)],
            ..Row::default()
        };
        assert_eq!(
            missing(&[unknown, quarantined, unmetered]),
            [
                "A was not found",
                "C is not ACTIVE",
                "B has no meter reading"
            ]
        );
    }
}
