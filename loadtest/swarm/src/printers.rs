//! Simulated printers: a floor of several vendors that answers SNMP on loopback, each printer at an address of its own.

use platen_datamodel::{
    mib,
    snmp::{Oid, Value},
};
use platen_proxy::agent::{Access, Agent};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The models, each a file of `devices/`.
const MODELS: [&str; 6] = [
    include_str!("../devices/laser-mono.toml"),
    include_str!("../devices/mfp-color.toml"),
    include_str!("../devices/inkjet.toml"),
    include_str!("../devices/laser-small.toml"),
    include_str!("../devices/mfp-mono.toml"),
    include_str!("../devices/laser-color.toml"),
];

/// The community that every printer reads with.
pub const COMMUNITY: &str = "public";
/// The community that every printer lets write with.
pub const WRITE_COMMUNITY: &str = "private";

/// Most printers on one floor: each has an address in 127.0.11.0/24.
pub const MAX_PRINTERS: u8 = 250;

/// How often a printer prints.
const STEP: Duration = Duration::from_secs(2);

/// A kind of printer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    manufacturer: String,
    model: String,
    /// Below 1.3.6.1.4.1: what sysObjectID says.
    enterprise: Vec<u32>,
    /// First three octets of the hardware address, in hexadecimal.
    oui: String,
    /// sysDescr; `{serial}` stands for the serial number.
    description: String,
    serial_prefix: String,
    /// Impressions of the first printer of this model.
    pages: u32,
    /// Impressions with each step of the simulation.
    pages_per_step: u32,
    #[serde(default)]
    color: bool,
    /// It has stopped and waits for somebody.
    #[serde(default)]
    stopped: bool,
    trays: Vec<Tray>,
    supplies: Vec<Supply>,
    #[serde(default)]
    alerts: Vec<Alert>,
    #[serde(default)]
    objects: Vec<Extra>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tray {
    name: String,
    media: String,
    /// Sheets.
    capacity: i32,
    /// Sheets; -2 unknown, -3 some.
    level: i32,
    #[serde(default)]
    empty: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Supply {
    description: String,
    #[serde(default)]
    colorant: String,
    /// prtMarkerSuppliesType.
    r#type: i32,
    /// prtMarkerSuppliesClass: 3 is consumed, 4 is filled.
    #[serde(default = "consumed")]
    class: i32,
    /// prtMarkerSuppliesSupplyUnit.
    unit: i32,
    capacity: i32,
    level: i32,
    /// Its level goes down with every page.
    #[serde(default)]
    pages: bool,
}

const fn consumed() -> i32 {
    3
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    severity: i32,
    group: i32,
    index: i32,
    code: i32,
    description: String,
}

/// An object of the vendor's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    oid: String,
    text: Option<String>,
    counter: Option<u32>,
    integer: Option<i32>,
    /// How a counter goes on with each step.
    #[serde(default)]
    per_step: u32,
}

/// Who a simulated printer is, and where it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printer {
    /// Where it answers SNMP.
    pub address: SocketAddr,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial_number: String,
}

/// What a ports file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// All printers.
    pub printers: Vec<Printer>,
}

/// Running printers. They stop when this is dropped.
#[derive(Debug)]
pub struct Floor {
    printers: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    printer: Printer,
    agent: Agent,
    moving: Vec<Moving>,
}

/// What changes when a printer prints.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Moving {
    /// Goes up by so much.
    Counter(Oid, u32),
    /// Goes down by so much, and never below zero.
    Level(Oid, i32),
}

impl Floor {
    /// Starts `count` printers: printer n answers at 127.0.11.(n+1), on `base_port`, or on a free port if that is 0.
    ///
    /// # Errors
    ///
    /// Too many printers, or an address that cannot be bound.
    pub async fn start(count: u8, base_port: u16) -> io::Result<Self> {
        if count == 0 || count > MAX_PRINTERS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the number of printers must be 1 to {MAX_PRINTERS}"),
            ));
        }
        let models = models();
        let mut printers = Vec::new();
        for number in 0..count {
            let model = &models[usize::from(number) % models.len()];
            let serial_number = serial_number(model, number);
            let (objects, moving) = objects(model, &serial_number, number);
            let bind = SocketAddr::from((Ipv4Addr::new(127, 0, 11, number + 1), base_port));
            let agent = Agent::start(
                bind,
                objects,
                Access::read(COMMUNITY).write(WRITE_COMMUNITY),
            )
            .await?;
            let printer = Printer {
                address: agent.addr(),
                manufacturer: model.manufacturer.clone(),
                model: model.model.clone(),
                serial_number,
            };
            printers.push(Running {
                printer,
                agent,
                moving,
            });
        }
        Ok(Self { printers })
    }

    /// All printers and where they answer.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            printers: self
                .printers
                .iter()
                .map(|running| running.printer.clone())
                .collect(),
        }
    }

    /// Prints until `stop` is cancelled.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(STEP);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.print(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// One step: every printer that is not stopped prints.
    pub fn print(&self) {
        for running in &self.printers {
            for moving in &running.moving {
                match moving {
                    Moving::Counter(oid, steps) => running.agent.count(oid, *steps),
                    Moving::Level(oid, steps) => {
                        if let Some(Value::Integer(level)) = running.agent.get(oid) {
                            running
                                .agent
                                .set(oid.clone(), Value::Integer((level - steps).max(0)));
                        }
                    }
                }
            }
        }
    }
}

fn models() -> Vec<Model> {
    MODELS
        .iter()
        .map(|text| {
            toml::from_str(text).expect("invariant: the models are part of the program (tested)")
        })
        .collect()
}

fn serial_number(model: &Model, number: u8) -> String {
    format!(
        "{}{:05}",
        model.serial_prefix,
        10_007 + u32::from(number) * 641
    )
}

/// What printer `number` of a floor answers, and what of it moves.
fn objects(model: &Model, serial_number: &str, number: u8) -> (BTreeMap<Oid, Value>, Vec<Moving>) {
    let mut sheet = Sheet::default();
    let floor = i32::from(number) / 6;
    identity(&mut sheet, model, serial_number, number);
    trays(&mut sheet, model);
    supplies(&mut sheet, model, floor);
    markers(&mut sheet, model, floor);
    alerts(&mut sheet, model);
    for extra in &model.objects {
        let oid: Oid = extra
            .oid
            .parse()
            .expect("invariant: the models are part of the program (tested)");
        if extra.per_step > 0 {
            sheet
                .moving
                .push(Moving::Counter(oid.clone(), extra.per_step));
        }
        let value = match (&extra.text, extra.counter, extra.integer) {
            (Some(text), ..) => Value::from(text.as_str()),
            (None, Some(count), _) => Value::Counter32(count),
            (None, None, integer) => Value::Integer(integer.unwrap_or_default()),
        };
        sheet.objects.insert(oid, value);
    }
    (sheet.objects, sheet.moving)
}

/// Objects in the making.
#[derive(Default)]
struct Sheet {
    objects: BTreeMap<Oid, Value>,
    moving: Vec<Moving>,
}

impl Sheet {
    fn put(&mut self, at: &[u32], value: impl Into<Cell>) {
        self.objects.insert(Oid::new(at), value.into().0);
    }

    /// A cell of a table: entry, column, index.
    fn cell(&mut self, entry: &[u32], column: u32, index: &[u32], value: impl Into<Cell>) {
        self.put(&[entry, &[column], index].concat(), value);
    }
}

/// A value as the tables below write it.
struct Cell(Value);

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self(Value::Integer(number))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

fn identity(sheet: &mut Sheet, model: &Model, serial_number: &str, number: u8) {
    let name = format!("{} {}", model.manufacturer, model.model);
    sheet.put(
        mib::SYS_DESCR,
        model
            .description
            .replace("{serial}", serial_number)
            .as_str(),
    );
    sheet.put(
        mib::SYS_OBJECT_ID,
        Value::Oid(Oid::new(&[mib::ENTERPRISES, &model.enterprise].concat())),
    );
    sheet.put(mib::SYS_UP_TIME, Value::TimeTicks(9_000_000));
    sheet.put(mib::SYS_CONTACT, "");
    sheet.put(mib::SYS_NAME, format!("printer-{:02}", number + 1).as_str());
    sheet.put(
        mib::SYS_LOCATION,
        format!("Floor {}", 1 + number / 4).as_str(),
    );
    sheet.cell(mib::IF_TYPE, 1, &[], 6);
    sheet.cell(
        mib::IF_PHYS_ADDRESS,
        1,
        &[],
        Value::Octets(hardware_address(&model.oui, number)),
    );
    sheet.put(mib::HR_UPTIME, Value::TimeTicks(9_000_000));
    sheet.put(mib::HR_MEMORY, 524_288);
    sheet.cell(
        mib::HR_DEVICE,
        2,
        &[1],
        Value::Oid(Oid::new(mib::HR_DEVICE_PRINTER)),
    );
    sheet.cell(mib::HR_DEVICE, 3, &[1], name.as_str());
    // hrDeviceStatus: running 2, warning 3, down 5; hrPrinterStatus: other 1, idle 3; bits of hrPrinterDetectedErrorState.
    let (device, printer, errors) = match model {
        Model { stopped: true, .. } => (5, 1, vec![0x08, 0]),
        Model { trays, .. } if trays.iter().any(|tray| tray.empty) => (3, 3, vec![0x20, 0x02]),
        Model { alerts, .. } if !alerts.is_empty() => (3, 3, vec![0, 0]),
        _ => (2, 3, vec![0, 0]),
    };
    sheet.cell(mib::HR_DEVICE, 5, &[1], device);
    sheet.cell(mib::HR_PRINTER, 1, &[1], printer);
    sheet.cell(mib::HR_PRINTER, 2, &[1], Value::Octets(errors));
    sheet.cell(mib::GENERAL, 1, &[1], Value::Counter32(3));
    sheet.cell(mib::GENERAL, 3, &[1], 3);
    sheet.cell(mib::GENERAL, 4, &[1], "");
    sheet.cell(mib::GENERAL, 5, &[1], "");
    sheet.cell(mib::GENERAL, 16, &[1], name.as_str());
    sheet.cell(mib::GENERAL, 17, &[1], serial_number);
    // prtCoverStatus: open 3, closed 4.
    sheet.cell(mib::COVER, 2, &[1, 1], "Front Cover");
    sheet.cell(mib::COVER, 3, &[1, 1], if model.stopped { 3 } else { 4 });
    sheet.cell(
        mib::CONSOLE,
        2,
        &[1, 1],
        model
            .alerts
            .first()
            .map_or("Ready", |alert| alert.description.as_str()),
    );
}

fn hardware_address(oui: &str, number: u8) -> Vec<u8> {
    let oui = u32::from_str_radix(oui, 16)
        .expect("invariant: the models are part of the program (tested)")
        .to_be_bytes();
    vec![oui[1], oui[2], oui[3], 0x51, 0x0A, number + 1]
}

fn trays(sheet: &mut Sheet, model: &Model) {
    for (row, tray) in (1..).zip(&model.trays) {
        let index = [1, row];
        // An input of a removable or a fixed tray, in sheets; prtInputStatus: empty is a non-critical alert.
        let columns: [(u32, Cell); 8] = [
            (2, 3.into()),
            (8, 8.into()),
            (9, tray.capacity.into()),
            (10, tray.level.into()),
            (11, if tray.empty { 8 } else { 0 }.into()),
            (12, tray.media.as_str().into()),
            (13, tray.name.as_str().into()),
            (18, tray.name.as_str().into()),
        ];
        for (column, value) in columns {
            sheet.cell(mib::INPUT, column, &index, value);
        }
        if tray.level > 0 && model.pages_per_step > 0 && row == 1 {
            let steps = i32::try_from(model.pages_per_step).unwrap_or(1);
            sheet.moving.push(Moving::Level(
                Oid::new(&[mib::INPUT, &[10], &index].concat()),
                steps,
            ));
        }
    }
    for (column, value) in [(2, 4), (3, 8), (4, 250), (5, -3), (6, 0)] {
        sheet.cell(mib::OUTPUT, column, &[1, 1], value);
    }
    sheet.cell(mib::OUTPUT, 7, &[1, 1], "Standard Bin");
}

fn supplies(sheet: &mut Sheet, model: &Model, floor: i32) {
    let mut colorants = 0;
    for (row, supply) in (1..).zip(&model.supplies) {
        let index = [1, row];
        let colorant = if supply.colorant.is_empty() {
            0
        } else {
            colorants += 1;
            let at = [1, colorants];
            // prtMarkerColorantRole: process.
            sheet.cell(mib::COLORANT, 2, &at, 1);
            sheet.cell(mib::COLORANT, 3, &at, 3);
            sheet.cell(mib::COLORANT, 4, &at, supply.colorant.as_str());
            sheet.cell(mib::COLORANT, 5, &at, 256);
            colorants
        };
        // The second printer of a model has used a little more.
        let level = if supply.level > 0 {
            (supply.level - supply.level / 7 * floor).max(0)
        } else {
            supply.level
        };
        let columns: [(u32, Cell); 8] = [
            (2, 1.into()),
            (3, i32::try_from(colorant).unwrap_or(0).into()),
            (4, supply.class.into()),
            (5, supply.r#type.into()),
            (6, supply.description.as_str().into()),
            (7, supply.unit.into()),
            (8, supply.capacity.into()),
            (9, level.into()),
        ];
        for (column, value) in columns {
            sheet.cell(mib::SUPPLIES, column, &index, value);
        }
        if supply.pages && model.pages_per_step > 0 {
            let steps = i32::try_from(model.pages_per_step).unwrap_or(1);
            sheet.moving.push(Moving::Level(
                Oid::new(&[mib::SUPPLIES, &[9], &index].concat()),
                steps,
            ));
        }
    }
}

fn markers(sheet: &mut Sheet, model: &Model, floor: i32) {
    let pages = model.pages + u32::try_from(floor).unwrap_or(0) * 1_013;
    // prtMarkerMarkTech: laser 4, ink jet 12 for what has ink; counted in impressions.
    let technique = if model.supplies.iter().any(|supply| supply.r#type == 6) {
        12
    } else {
        4
    };
    sheet.cell(mib::MARKER, 2, &[1, 1], technique);
    sheet.cell(mib::MARKER, 3, &[1, 1], 7);
    sheet.cell(mib::MARKER, 4, &[1, 1], Value::Counter32(pages));
    sheet.cell(mib::MARKER, 5, &[1, 1], Value::Counter32(12));
    sheet.cell(mib::MARKER, 6, &[1, 1], if model.color { 4 } else { 1 });
    sheet.cell(mib::MARKER, 7, &[1, 1], 0);
    sheet.cell(mib::MARKER, 15, &[1, 1], 0);
    for column in [4, 5] {
        if model.pages_per_step > 0 {
            sheet.moving.push(Moving::Counter(
                Oid::new(&[mib::MARKER, &[column, 1, 1]].concat()),
                model.pages_per_step,
            ));
        }
    }
}

fn alerts(sheet: &mut Sheet, model: &Model) {
    for (row, alert) in (1..).zip(&model.alerts) {
        let index = [1, row];
        // Training level: untrained.
        for (column, value) in [
            (2, alert.severity),
            (3, 3),
            (4, alert.group),
            (5, alert.index),
            (6, -2),
            (7, alert.code),
        ] {
            sheet.cell(mib::ALERT, column, &index, value);
        }
        sheet.cell(mib::ALERT, 8, &index, alert.description.as_str());
        sheet.cell(mib::ALERT, 9, &index, Value::TimeTicks(8_900_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_datamodel::{
        meter::Meter,
        printer::{self, Context},
        snmp::Walk,
    };
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn a_dozen_printers_differ() {
        let floor = Floor::start(12, 0).await.unwrap();
        let ports = floor.ports();
        let of = |field: fn(&Printer) -> String| {
            ports
                .printers
                .iter()
                .map(field)
                .collect::<BTreeSet<_>>()
                .len()
        };
        assert_eq!(of(|p| p.address.ip().to_string()), 12);
        assert_eq!(of(|p| p.serial_number.clone()), 12);
        assert_eq!(of(|p| p.manufacturer.clone()), 6);
        assert!(Floor::start(0, 0).await.is_err());
    }

    #[tokio::test]
    async fn printing_moves_counters_up_and_supplies_down() {
        let floor = Floor::start(6, 0).await.unwrap();
        let count = |running: &Running| {
            running
                .agent
                .get(&Oid::new(&[mib::MARKER, &[4, 1, 1]].concat()))
                .unwrap()
                .as_count()
                .unwrap()
        };
        let toner = |running: &Running| {
            running
                .agent
                .get(&Oid::new(&[mib::SUPPLIES, &[9, 1, 1]].concat()))
                .unwrap()
                .as_i64()
                .unwrap()
        };
        let before: Vec<_> = floor
            .printers
            .iter()
            .map(|p| (count(p), toner(p)))
            .collect();

        floor.print();

        let after: Vec<_> = floor
            .printers
            .iter()
            .map(|p| (count(p), toner(p)))
            .collect();
        assert_eq!(
            after[0],
            (before[0].0 + 4, before[0].1 - 4),
            "the laser printer"
        );
        assert_eq!(after[4], before[4], "the one with the open cover");
    }

    /// Whoever reads these printers over SNMP finds out who they are, how they are, what they hold and what they have printed.
    #[test]
    fn every_model_is_understood() {
        for (number, model) in (0..).zip(models()) {
            let serial_number = serial_number(&model, number);
            let (objects, _) = objects(&model, &serial_number, number);

            let printer = printer::map(
                &Walk::from(objects),
                &Context {
                    now: 1_795_000_000,
                    meters: None,
                },
            )
            .unwrap();

            let (identity, tree) = (&printer.identity, &printer.tree);
            assert_eq!(identity.serial_number, serial_number, "{}", model.model);
            assert!(
                identity
                    .model_name
                    .contains(model.model.split(' ').next_back().unwrap()),
                "{identity:?}"
            );
            assert_eq!(identity.oui, model.oui, "{}", model.model);
            // No object of this vendor tells the firmware.
            assert!(
                model.manufacturer == "EPSON" || !identity.software_version.is_empty(),
                "{identity:?}"
            );
            let value = |name: &str| {
                tree.value(&format!("Device.Services.MFPService.1.{name}"))
                    .unwrap_or_else(|| panic!("{}: no {name}", model.model))
            };
            assert_eq!(
                value("SupplyNumberOfEntries"),
                model.supplies.len().to_string(),
                "{}",
                model.model
            );
            assert_eq!(
                value("OperationalStatus") == "NonOperational",
                model.stopped,
                "{}",
                model.model
            );
            assert_eq!(
                printer.counters.meters[&Meter::Total],
                u64::from(model.pages),
                "{}",
                model.model
            );
            for (row, supply) in (1..).zip(
                model
                    .supplies
                    .iter()
                    .filter(|supply| supply.level > 0 && supply.capacity > 0),
            ) {
                let percent: i32 = value(&format!("Supply.{row}.LevelPercent"))
                    .parse()
                    .unwrap();
                assert!(
                    (percent - supply.level * 100 / supply.capacity).abs() <= 1
                        || supply.class == 4,
                    "{} {}: {percent}",
                    model.model,
                    supply.description
                );
            }
        }
    }

    #[test]
    fn levels_never_fall_below_zero_and_unknown_ones_stay() {
        for model in models() {
            let (objects, moving) = objects(&model, "X", 11);
            for moving in moving {
                if let Moving::Level(oid, _) = moving {
                    assert!(
                        objects[&oid].as_i64().unwrap() >= 0,
                        "{} {oid}",
                        model.model
                    );
                }
            }
        }
    }
}
