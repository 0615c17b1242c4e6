//! From a walk to the device that is presented: identity, parameters, and what was odd about it.

use std::collections::BTreeMap;

use crate::alert::{self, AlertRow, Classified, Meaning, Severity, detected_errors};
use crate::counter::{self, Counters};
use crate::identity::{self, Identity, NoIdentity};
use crate::label::{PRINTER_STATUS, closed, label};
use crate::meter::Meter;
use crate::mib::{self, Row};
use crate::path::SERVICES;
use crate::snmp::{Value, Walk};
use crate::subunit::{self, Engine};
use crate::supply::{self, Hints};
use crate::time::{self, UnixSeconds};
use crate::tree::{Form, Kind, Object, Tree};
use crate::vendor::{self, Vendor};

/// What the mapping needs besides the walk.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time of the poll.
    pub now: UnixSeconds,
    /// The meters of the first engine as they go on from poll to poll; without it the walk's own values stand for themselves.
    pub meters: Option<MeterHead>,
}

/// Meters with what governs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterHead {
    /// Values by meter.
    pub values: BTreeMap<Meter, u64>,
    /// Counts the baselines.
    pub epoch: u32,
    /// When the epoch began.
    pub epoch_time: UnixSeconds,
    /// Why it began.
    pub epoch_reason: String,
    /// When the values were read.
    pub read_time: UnixSeconds,
    /// `Actual`, `Stale` or `Suspect`.
    pub quality: &'static str,
}

/// A printer, mapped.
#[derive(Debug, Clone)]
pub struct Printer {
    /// Who it is.
    pub identity: Identity,
    /// Its parameters below `Device.DeviceInfo.` and `Device.Services.`.
    pub tree: Tree,
    /// What was odd.
    pub findings: Vec<Finding>,
    /// The meters of the first engine as the walk tells them.
    pub counters: Counters,
}

/// Something odd about a printer that a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that noticed it.
    pub rule: &'static str,
    /// What it noticed.
    pub text: String,
}

/// Maps a walk.
///
/// # Errors
///
/// See [`NoIdentity`]: what is no printer, or cannot be told from others, is no device.
pub fn map(walk: &Walk, context: &Context) -> Result<Printer, NoIdentity> {
    let identity = identity::identify(walk)?;
    let vendor = Vendor::recognise(walk);
    let mut findings = identity_findings(&identity);
    let mut tree = Tree::default();
    device_info(&mut tree, walk, &identity);

    let engines = identity::engines(walk);
    let mut first_counters = None;
    for (instance, &device) in (1..).zip(&engines) {
        let counters = counter::read(walk, vendor, device);
        let engine = EngineMap {
            walk,
            vendor,
            device,
            instance,
            context,
            head: context.meters.as_ref().filter(|_| instance == 1),
        };
        engine.write(&mut tree, &counters, &mut findings);
        first_counters.get_or_insert(counters);
    }
    tree.put(
        "Device.Services.MFPServiceNumberOfEntries",
        Kind::UnsignedInt,
        engines.len().to_string(),
    );
    Ok(Printer {
        identity,
        tree,
        findings,
        counters: first_counters.unwrap_or_default(),
    })
}

fn identity_findings(identity: &Identity) -> Vec<Finding> {
    let mut findings = Vec::new();
    if identity.serial_source == identity::SerialSource::MacAddress {
        findings.push(Finding {
            rule: "MAP-05",
            text: "no usable serial number; the hardware address stands for it".to_owned(),
        });
    }
    if identity.manufacturer.is_empty() {
        findings.push(Finding {
            rule: "MAP-01",
            text: "unknown maker; no private objects are read".to_owned(),
        });
    }
    findings
}

fn device_info(tree: &mut Tree, walk: &Walk, identity: &Identity) {
    tree.put("Device.RootDataModelVersion", Kind::String, "2.17");
    let mut info = tree.object("Device.DeviceInfo.");
    info.text("Manufacturer", &*identity.manufacturer);
    info.text("ManufacturerOUI", &*identity.oui);
    info.text("ModelName", &*identity.model_name);
    info.text("ProductClass", &*identity.product_class);
    info.text("SerialNumber", &*identity.serial_number);
    info.text("HardwareVersion", "");
    info.text("SoftwareVersion", &*identity.software_version);
    info.text(
        "AdditionalSoftwareVersion",
        identity.additional_versions.join(","),
    );
    info.text(
        "Description",
        walk.text_at(mib::SYS_DESCR).unwrap_or_default(),
    );
    info.unsigned_if_known("UpTime", up_time(walk).map(|ticks| ticks / 100));
    info.text("HostName", walk.text_at(mib::SYS_NAME).unwrap_or_default());
    if walk.at(mib::SYS_NAME).is_some() {
        info.writable(
            "HostName",
            crate::snmp::Oid::new(mib::SYS_NAME),
            Form::Text(255),
        );
    }
    if let Some(memory) = walk.count_at(mib::HR_MEMORY) {
        info.child("MemoryStatus").unsigned("Total", memory);
    }
    info.unsigned("SupportedDataModelNumberOfEntries", 1);
    let mut model = info.child("SupportedDataModel.1");
    model.text("URL", "");
    model.text("URN", "urn:platen-acs:mfpservice-1-0");
    model.text(
        "Features",
        "Baseline:1-RO,Metering:1-RO,Supplies:1-RO,Alerts:1-RO,SNMPProxy:1-RO",
    );
    if let Some(clock) = walk.at(mib::HR_DATE).and_then(Value::as_octets) {
        tree.object("Device.Time.")
            .time("CurrentLocalTime", time::from_date_and_time(clock));
    }
}

/// How long the printer has been up, in hundredths of a second.
#[must_use]
pub fn up_time(walk: &Walk) -> Option<u64> {
    walk.count_at(mib::HR_UPTIME)
        .or_else(|| walk.count_at(mib::SYS_UP_TIME))
}

struct EngineMap<'a> {
    walk: &'a Walk,
    vendor: Option<Vendor>,
    device: u32,
    instance: u32,
    context: &'a Context,
    head: Option<&'a MeterHead>,
}

impl EngineMap<'_> {
    fn write(&self, tree: &mut Tree, counters: &Counters, findings: &mut Vec<Finding>) {
        let general = Row {
            walk: self.walk,
            entry: mib::GENERAL,
            device: self.device,
            row: 0,
            charset: None,
        };
        let charset = self.charset();
        let general = General {
            row: general,
            charset,
        };
        let errors = self.detected_errors();
        let alerts = self.alerts(charset);

        let mut service = tree.service(self.instance);
        service.text("Alias", format!("cpe-{}", self.device));
        service.boolean("Enable", true);
        let engine = Engine {
            walk: self.walk,
            device: self.device,
            charset,
        };
        subunit::write(&mut service, engine);
        let rows: Vec<AlertRow> = alerts.iter().map(|(row, _)| row.clone()).collect();
        let has = |name: &str| errors.iter().any(|error| error.name == name);
        let hints = Hints {
            vendor: self.vendor,
            alerts: &rows,
            low_toner: has("LowToner"),
            no_toner: has("NoToner"),
        };
        let supplies = supply::supplies(engine.rows(mib::SUPPLIES), &hints);
        for supply in &supplies {
            supply::write(&mut service, self.device, supply);
        }
        service.unsigned("SupplyNumberOfEntries", supplies.len() as u64);
        service.unsigned(
            "ServicePartNumberOfEntries",
            supply::part_count(&supplies) as u64,
        );
        self.storage(&mut service);
        self.asset(&mut service, &general);
        self.defaults(&mut service, &general);
        self.capabilities(&mut service, counters);
        self.console(&mut service, &general);
        let worst = self.alert_tables(&mut service, &alerts, &errors, findings);
        self.status(&mut service, &errors, worst);
        self.counters(&mut service, counters);
    }

    /// The declared character set: of the current localization (MAP-31).
    fn charset(&self) -> Option<i64> {
        let current = self.walk.cell(mib::GENERAL, 2, &[self.device])?.as_i64()?;
        let row = u32::try_from(current).ok()?;
        self.walk
            .cell(mib::LOCALIZATION, 4, &[self.device, row])?
            .as_i64()
    }

    fn detected_errors(&self) -> Vec<alert::DetectedError> {
        let octets = self
            .walk
            .cell(mib::HR_PRINTER, 2, &[self.device])
            .and_then(Value::as_octets);
        detected_errors(octets.unwrap_or_default()).collect()
    }

    /// The rows of prtAlertTable that mean something, by their index.
    fn alerts(&self, charset: Option<i64>) -> Vec<(AlertRow, Meaning)> {
        let column = crate::snmp::Oid::new(&[mib::ALERT, &[7, self.device]].concat());
        let indexes: Vec<u32> = self
            .walk
            .below(&column)
            .filter_map(|(arcs, _)| arcs.first().copied())
            .collect();
        indexes
            .into_iter()
            .map(|index| {
                let row = Row {
                    walk: self.walk,
                    entry: mib::ALERT,
                    device: self.device,
                    row: index,
                    charset,
                };
                let number = |column: u32| row.number(column).unwrap_or(0);
                AlertRow {
                    index,
                    severity: number(2),
                    training: number(3),
                    group: number(4),
                    group_index: number(5),
                    location: number(6),
                    code: number(7),
                    description: row.text(8).unwrap_or_default(),
                    time: row.count(9).and_then(|ticks| ticks.try_into().ok()),
                }
            })
            .map(|row| {
                let meaning = alert::classify(&row);
                (row, meaning)
            })
            .filter(|(_, meaning)| *meaning != Meaning::Ignored)
            .collect()
    }

    fn asset(&self, service: &mut Object<'_>, general: &General<'_>) {
        let mut asset = service.child("Asset");
        for name in ["AssetNumber", "CustomerID", "ContractID"] {
            asset.text(name, "");
            asset.kept(name, 64);
        }
        asset.time("InstallDate", None);
        asset.kept("InstallDate", 32);
        for (name, oid) in [
            ("Location", mib::SYS_LOCATION),
            ("Contact", mib::SYS_CONTACT),
        ] {
            asset.text(name, self.walk.text_at(oid).unwrap_or_default());
            if self.walk.at(oid).is_some() {
                asset.writable(name, crate::snmp::Oid::new(oid), Form::Text(255));
            }
        }
        general.writable_text(&mut asset, "Operator", 4);
        general.writable_text(&mut asset, "ServicePerson", 5);
        asset.text("BrandName", vendor::brand(self.walk).unwrap_or_default());
        asset.text(
            "SystemDescription",
            self.walk.text_at(mib::SYS_DESCR).unwrap_or_default(),
        );
        let object_id = self.walk.at(mib::SYS_OBJECT_ID).and_then(Value::as_oid);
        asset.text(
            "SystemObjectID",
            object_id.map(ToString::to_string).unwrap_or_default(),
        );
        asset.unsigned(
            "VendorSMICode",
            vendor::enterprise(self.walk).unwrap_or(0).into(),
        );
        asset.text(
            "IEEE1284DeviceID",
            identity::ieee1284(self.walk)
                .map(|id| id.text)
                .unwrap_or_default(),
        );
        general.writable_text(service, "Name", 16);
    }

    fn defaults(&self, service: &mut Object<'_>, general: &General<'_>) {
        let references: [(&str, u32, &'static [u32], &str); 4] = [
            ("CurrentLocalization", 2, mib::LOCALIZATION, "Localization"),
            ("ConsoleLocalization", 10, mib::LOCALIZATION, "Localization"),
            ("DefaultInputTray", 6, mib::INPUT, "InputTray"),
            ("DefaultOutputTray", 7, mib::OUTPUT, "OutputTray"),
        ];
        let prefix = service.prefix().to_owned();
        let mut object = service.child("General");
        for (name, column, entry, table) in references {
            let table = format!("{prefix}{table}.");
            object.text(
                name,
                subunit::reference(general.row, entry, general.number(column), &table),
            );
            if let Some(oid) = general.oid(column) {
                object.writable(name, oid, Form::Row { table });
            }
        }
        object.unsigned_if_known("MemorySize", self.walk.count_at(mib::HR_MEMORY));
        let changes = general.number(1).and_then(|count| count.try_into().ok());
        service.unsigned_if_known("ConfigChanges", changes);
    }

    fn capabilities(&self, service: &mut Object<'_>, counters: &Counters) {
        const IMPRESSIONS_PER_HOUR: [i64; 2] = [7, 8];
        const A3_WIDTH: i64 = 297_000;
        let cells = |entry: &'static [u32], column: u32| {
            self.walk
                .rows(entry, self.device)
                .into_iter()
                .filter_map(move |row| self.walk.cell(entry, column, &[self.device, row])?.as_i64())
        };
        let speed_unit = cells(mib::MEDIA_PATH, 2).next();
        let fastest = cells(mib::MEDIA_PATH, 4).filter(|&speed| speed > 0).max();
        let per_minute = fastest
            .filter(|_| speed_unit.is_some_and(|unit| IMPRESSIONS_PER_HOUR.contains(&unit)))
            .and_then(|speed| u64::try_from(speed / 60).ok());
        // Widths are in ten thousandths of an inch or in micrometres.
        let is_large = cells(mib::MEDIA_PATH, 3)
            .zip(cells(mib::MEDIA_PATH, 6))
            .any(|(unit, width)| if unit == 3 { width.saturating_mul(254) / 100 } else { width } >= A3_WIDTH - 500);
        let mut object = service.child("Capabilities");
        object.boolean(
            "ColorSupported",
            cells(mib::MARKER, 6).any(|colorants| colorants >= 3),
        );
        object.boolean(
            "DuplexSupported",
            cells(mib::MEDIA_PATH, 9).any(|kind| matches!(kind, 3 | 4)),
        );
        object.boolean("LargeFormatSupported", is_large);
        object.unsigned_if_known("MaxSpeedMono", per_minute);
        object.text("MeterList", meter_list(counters).join(","));
    }

    fn console(&self, service: &mut Object<'_>, general: &General<'_>) {
        const PANEL_ENABLED: i32 = 3;
        const PANEL_DISABLED: i32 = 4;
        let lines = self
            .walk
            .rows(mib::CONSOLE, self.device)
            .into_iter()
            .filter_map(|row| {
                let octets = self
                    .walk
                    .cell(mib::CONSOLE, 2, &[self.device, row])?
                    .as_octets()?;
                let line = crate::text::decode(octets, general.charset);
                // A list item escapes the separator (TR-106 §3.2.3).
                (!line.is_empty()).then(|| line.replace('%', "%25").replace(',', "%2C"))
            });
        let text = lines.collect::<Vec<_>>().join(",");
        let mut console = service.child("Console");
        console.text("DisplayText", text);
        console.boolean(
            "Disabled",
            general.number(13) == Some(PANEL_DISABLED.into()),
        );
        if let Some(oid) = general.oid(13) {
            console.writable(
                "Disabled",
                oid,
                Form::Switch {
                    on: PANEL_DISABLED,
                    off: PANEL_ENABLED,
                },
            );
        }
    }

    fn storage(&self, service: &mut Object<'_>) {
        const TYPES: &[(u32, &str)] = &[
            (2, "RAM"),
            (3, "VirtualMemory"),
            (4, "FixedDisk"),
            (5, "RemovableDisk"),
            (8, "RAMDisk"),
            (9, "FlashMemory"),
        ];
        let sizes = crate::snmp::Oid::new(&[mib::HR_STORAGE, &[5]].concat());
        let rows: Vec<u32> = match self.instance {
            1 => self
                .walk
                .below(&sizes)
                .filter_map(|(arcs, _)| arcs.first().copied())
                .collect(),
            _ => Vec::new(),
        };
        let mut count = 0;
        for row in rows.into_iter().filter(|row| (1..=65_535).contains(row)) {
            let cell = |column: u32| self.walk.cell(mib::HR_STORAGE, column, &[row]);
            // Agents with more than 2³¹ units say so by a negative number (MAP-27).
            let units = |column: u32| match cell(column) {
                Some(&Value::Integer(number)) => Some(u64::from(number.cast_unsigned())),
                other => other.and_then(Value::as_count),
            };
            let kilobytes = |column: u32| {
                units(column)
                    .unwrap_or(0)
                    .saturating_mul(units(4).unwrap_or(0))
                    / 1024
            };
            let kind = cell(2)
                .and_then(Value::as_oid)
                .and_then(|oid| oid.arcs().last().copied());
            let kind = TYPES
                .iter()
                .find(|(code, _)| kind == Some(*code))
                .map_or("Other", |&(_, name)| name);
            let description = cell(3)
                .and_then(Value::as_octets)
                .map(|octets| crate::text::decode(octets, None));
            let mut object = service.row("Storage", self.device, row);
            object.text("Type", kind);
            object.text("Description", description.unwrap_or_default());
            object.long("Size", kilobytes(5));
            object.long("Used", kilobytes(6));
            count += 1;
        }
        service.unsigned("StorageNumberOfEntries", count);
    }

    /// Writes the rows and the roll-up; gives the worst severity.
    fn alert_tables(
        &self,
        service: &mut Object<'_>,
        alerts: &[(AlertRow, Meaning)],
        errors: &[alert::DetectedError],
        findings: &mut Vec<Finding>,
    ) -> Severity {
        let faults: Vec<(&AlertRow, Classified)> = alerts
            .iter()
            .filter_map(|(row, meaning)| match meaning {
                Meaning::Fault(classified) => Some((row, *classified)),
                Meaning::Notice(_) | Meaning::Ignored => None,
            })
            .collect();
        for (row, classified) in &faults {
            if classified.severity == Severity::Indeterminate {
                findings.push(Finding {
                    rule: "MAP-30",
                    text: format!("unknown alert code {}", row.code),
                });
            }
        }
        // Bits speak where no row does: a row that names the condition is more precise.
        let by_rows = faults.iter().map(|(_, found)| found.severity).max();
        let by_bits = errors.iter().map(|error| error.severity).max();
        let worst = by_rows.or(by_bits).unwrap_or(Severity::None);
        let service_requested = errors.iter().any(|error| error.name == "ServiceRequested");
        let worst = if service_requested {
            Severity::Critical
        } else {
            worst
        };
        let newest = faults
            .iter()
            .filter(|(_, found)| found.severity >= Severity::Major)
            .max_by_key(|(row, _)| (row.time, row.index));
        let critical = newest.map(|(row, _)| {
            format!(
                "{};{};{};{}",
                row.code, row.group, row.group_index, row.description
            )
        });

        let mut object = service.child("Alerts");
        object.text("HighestSeverity", worst.name());
        object.text(
            "CriticalAlert",
            crate::text::cut(&critical.unwrap_or_default(), 255),
        );
        object.boolean(
            "ServiceRequired",
            service_requested || faults.iter().any(|(_, found)| found.service_required),
        );
        object.boolean(
            "InterventionRequired",
            faults.iter().any(|(_, found)| found.intervention_required),
        );
        let counted = |column: u32| {
            self.walk
                .cell(mib::GENERAL, column, &[self.device])
                .and_then(Value::as_count)
        };
        object.unsigned_if_known("CriticalEvents", counted(18));
        object.unsigned_if_known("AllEvents", counted(19));
        object.unsigned("CurrentNumberOfEntries", faults.len() as u64);
        let service_path = format!("{SERVICES}{}.", self.instance);
        for (number, (row, classified)) in (1..).zip(&faults) {
            let mut current = object.row("Current", self.device, number);
            current.unsigned("AlertIndex", row.index.into());
            current.text("Severity", classified.severity.name());
            current.text("SeverityLevel", closed(alert::SEVERITY_LEVEL, row.severity));
            current.text("TrainingLevel", closed(alert::TRAINING_LEVEL, row.training));
            current.text("Group", label(alert::GROUP, row.group));
            current.int("GroupIndex", row.group_index);
            current.text("Subunit", self.subunit(row, &service_path));
            current.int("Location", row.location);
            current.text("Code", closed(alert::CODE, row.code));
            current.unsigned("CodeNumber", row.code.try_into().unwrap_or(0));
            current.text("Category", classified.category);
            current.text("Description", &*row.description);
            current.time("RaisedTime", Some(self.raised(row)));
        }
        worst
    }

    /// The path of the row that an alert names; empty where there is none (MAP-16).
    fn subunit(&self, row: &AlertRow, service: &str) -> String {
        let tables: [(i64, &'static [u32], &str); 7] = [
            (6, mib::COVER, "Cover"),
            (8, mib::INPUT, "InputTray"),
            (9, mib::OUTPUT, "OutputTray"),
            (10, mib::MARKER, "Marker"),
            (11, mib::SUPPLIES, "Supply"),
            (13, mib::MEDIA_PATH, "MediaPath"),
            (14, mib::CHANNEL, "Channel"),
        ];
        match row.group {
            5 => service.trim_end_matches('.').to_owned(),
            16 | 17 => format!("{service}Console"),
            group => tables
                .iter()
                .find(|(known, ..)| *known == group)
                .filter(|(_, entry, _)| {
                    u32::try_from(row.group_index)
                        .is_ok_and(|index| self.walk.rows(entry, self.device).contains(&index))
                })
                .map(|(_, _, table)| format!("{service}{table}.{}", row.group_index))
                .unwrap_or_default(),
        }
    }

    /// prtAlertTime counts from the agent's start; without it, or with one that lies ahead, an alert is as old as this poll (MAP-26).
    fn raised(&self, row: &AlertRow) -> UnixSeconds {
        let up = self.walk.count_at(mib::SYS_UP_TIME);
        match (row.time.filter(|&time| time > 0), up) {
            (Some(time), Some(up)) if u64::from(time) <= up => {
                let ago = (up - u64::from(time)) / 100;
                self.context.now - i64::try_from(ago).expect("invariant: at most 2³² hundredths")
            }
            _ => self.context.now,
        }
    }

    fn status(&self, service: &mut Object<'_>, errors: &[alert::DetectedError], worst: Severity) {
        const DEVICE_DOWN: i64 = 5;
        let device = self
            .walk
            .cell(mib::HR_DEVICE, 5, &[self.device])
            .and_then(Value::as_i64);
        let printer = self
            .walk
            .cell(mib::HR_PRINTER, 1, &[self.device])
            .and_then(Value::as_i64);
        let state = match (printer, device) {
            (_, Some(DEVICE_DOWN)) => "Down",
            (Some(4 | 5), _) => "Processing",
            (Some(1 | 3), _) | (None, Some(2 | 3)) => "Idle",
            _ => "Unknown",
        };
        let nothing_told = printer.is_none() && device.is_none() && worst == Severity::None;
        let operational = match (worst, device) {
            _ if nothing_told => "Unknown",
            (_, Some(DEVICE_DOWN)) | (Severity::Major | Severity::Critical, _) => "NonOperational",
            (Severity::Minor | Severity::Warning, _) => "Degraded",
            (Severity::None | Severity::Indeterminate, _) => "Operational",
        };
        service.text(
            "Status",
            if operational == "NonOperational" {
                "Error"
            } else {
                "Enabled"
            },
        );
        service.text("State", state);
        service.text("OperationalStatus", operational);
        service.text(
            "PrinterStatus",
            closed(PRINTER_STATUS, printer.unwrap_or(2)),
        );
        let names: Vec<&str> = errors.iter().map(|error| error.name).collect();
        service.text("DetectedErrorList", names.join(","));
        service.time("LastUpdateTime", Some(self.context.now));
    }

    fn counters(&self, service: &mut Object<'_>, counters: &Counters) {
        let now = self.context.now;
        let own = MeterHead {
            values: counters.meters.clone(),
            epoch: 1,
            epoch_time: now,
            epoch_reason: "Initial".to_owned(),
            read_time: now,
            quality: "Actual",
        };
        let head = self.head.unwrap_or(&own);
        for &meter in Meter::ALL {
            service.meter(meter.relative_path(), head.values.get(&meter).copied());
        }
        let mut object = service.child("Counters");
        object.unsigned("Epoch", head.epoch.into());
        object.time("EpochTime", Some(head.epoch_time));
        object.text("EpochReason", &*head.epoch_reason);
        object.time("ReadTime", Some(head.read_time));
        object.text("Quality", head.quality);
        object.text("SourceList", counters.sources.join(","));
        object.unsigned("ServiceNumberOfEntries", counters.services.len() as u64);
        object.unsigned("VendorCounterNumberOfEntries", counters.vendor.len() as u64);
        for (number, count) in (1..).zip(&counters.services) {
            let mut row = object.row("Service", self.device, number);
            row.text("ServiceType", count.service);
            row.meter("TotalImpressions", count.total);
            row.meter("MonochromeImpressions", count.mono);
            row.meter("FullColorImpressions", count.color);
        }
        for (number, count) in (1..).zip(&counters.vendor) {
            let mut row = object.row("VendorCounter", self.device, number);
            row.text("Code", crate::text::cut(&count.code, 64));
            row.text("Name", crate::text::cut(&count.name, 255));
            row.text("SourceOID", count.oid.to_string());
            row.long("Value", count.value);
        }
    }
}

/// The row of prtGeneralTable, which has one index only.
struct General<'w> {
    row: Row<'w>,
    charset: Option<i64>,
}

impl General<'_> {
    fn number(&self, column: u32) -> Option<i64> {
        self.row
            .walk
            .cell(mib::GENERAL, column, &[self.row.device])?
            .as_i64()
    }

    /// The instance, where the printer has it.
    fn oid(&self, column: u32) -> Option<crate::snmp::Oid> {
        let oid = crate::snmp::Oid::new(&[mib::GENERAL, &[column, self.row.device]].concat());
        self.row.walk.get(&oid).map(|_| oid)
    }

    fn writable_text(&self, object: &mut Object<'_>, name: &str, column: u32) {
        let octets = self
            .row
            .walk
            .cell(mib::GENERAL, column, &[self.row.device])
            .and_then(Value::as_octets);
        object.text(
            name,
            octets
                .map(|octets| crate::text::decode(octets, self.charset))
                .unwrap_or_default(),
        );
        if let Some(oid) = self.oid(column) {
            object.writable(name, oid, Form::Text(127));
        }
    }
}

/// Which meters are real, by the model's names (MOD-12).
fn meter_list(counters: &Counters) -> Vec<&'static str> {
    const NAMES: &[(&str, &[Meter])] = &[
        ("TotalImpressions", &[Meter::Total]),
        ("Monochrome", &[Meter::Mono]),
        ("FullColor", &[Meter::Color]),
        ("Highlight", &[Meter::Highlight]),
        ("Blank", &[Meter::Blank]),
        ("TwoSided", &[Meter::TwoSided, Meter::TwoSidedSheets]),
        ("Sheets", &[Meter::Sheets]),
        ("LargeFormat", &[Meter::LargeMono, Meter::LargeColor]),
        ("ScanImages", &[Meter::Scan]),
        ("FaxPages", &[Meter::Fax, Meter::FaxPrinted]),
    ];
    let mut names: Vec<&str> = NAMES
        .iter()
        .filter(|(_, meters)| {
            meters
                .iter()
                .any(|meter| counters.meters.contains_key(meter))
        })
        .map(|&(name, _)| name)
        .collect();
    if !counters.services.is_empty() {
        names.push("ByService");
    }
    names
}
