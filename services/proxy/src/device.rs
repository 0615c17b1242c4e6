//! A device as the server sees it: parameters, attributes, what it wants to say, and its answers. No I/O; the printer is someone else's.

use std::collections::{BTreeMap, BTreeSet};

use platen_cwmp::date_time::DateTime;
use platen_cwmp::event_code::EventCode;
use platen_cwmp::fault::{Fault, FaultCode, ParameterFault};
use platen_cwmp::rpc::{
    AcsRequest, Attributes, CpeResponse, Event, GetParameterAttributesResponse,
    GetParameterNamesResponse, GetParameterValuesResponse, GetRpcMethodsResponse, Inform,
    Notification, ParameterInfo, ParameterValue, SetParameterAttributes, SetParameterValues,
    SetParameterValuesResponse, Status, ValueType,
};
use platen_datamodel::meter::NO_DATA;
use platen_datamodel::path::Path;
use platen_datamodel::snmp::{Oid, Value};
use platen_datamodel::time::{self, UnixSeconds};
use platen_datamodel::tree::{Kind, Parameter, Tree, Unfit, Write, parse_boolean};

use crate::record::Record;
use crate::spool::Reading;

/// The methods that a device accepts.
const METHODS: &[&str] = &[
    "GetRPCMethods",
    "SetParameterValues",
    "GetParameterValues",
    "GetParameterNames",
    "SetParameterAttributes",
    "GetParameterAttributes",
    "AddObject",
    "DeleteObject",
    "Reboot",
    "Download",
    "ScheduleInform",
    "FactoryReset",
];

/// One device.
#[derive(Debug)]
pub struct Device {
    /// What is kept of it.
    pub record: Record,
    /// What the printer, or the proxy's own state, tells.
    own: Tree,
    /// All of it.
    tree: Tree,
    /// Whether the printer lets itself be written.
    can_write: bool,
    management: Management,
}

/// What is the same for all devices of a proxy.
#[derive(Debug, Clone)]
pub struct Management {
    /// The server.
    pub acs_url: String,
    /// The proxy's user name there.
    pub acs_username: String,
    /// Where connection requests to this device are taken; empty if nowhere.
    pub connection_request_url: String,
}

/// What a request of the server leads to.
#[derive(Debug)]
pub enum Served {
    /// This answer. What was kept has changed if `changed`.
    Answer {
        /// The answer.
        answer: Result<CpeResponse, Fault>,
        /// Whether [`Device::record`] is to be saved before it is given.
        changed: bool,
    },
    /// Values are to be set, first the printer's, then [`Device::apply`].
    Set(Change),
    /// The printer is to be restarted.
    Reboot {
        /// prtGeneralReset of the printer.
        oid: Oid,
        /// The server's key for it.
        command_key: String,
    },
    /// The device is to call after so many seconds.
    Schedule {
        /// From now on.
        delay: u32,
        /// The server's key for it.
        command_key: String,
    },
}

/// A checked SetParameterValues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For the printer, in the order given.
    pub writes: Vec<PrinterWrite>,
    settings: Vec<(String, String)>,
    parameter_key: String,
}

/// One value for the printer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrinterWrite {
    /// The parameter.
    pub path: String,
    /// The value as the parameter shows it.
    pub text: String,
    /// The object.
    pub oid: Oid,
    /// The value.
    pub value: Value,
}

/// What an Inform is about.
#[derive(Debug, Clone)]
pub struct Report {
    /// The message.
    pub inform: Inform,
    /// The time of the reading that it carries.
    pub reading: Option<i64>,
    /// The values that the server has once it has answered.
    delivered: BTreeMap<String, String>,
}

impl Device {
    /// A device of which only the record is known.
    #[must_use]
    pub fn new(record: Record, management: Management) -> Self {
        let mut device = Self {
            record,
            own: Tree::default(),
            tree: Tree::default(),
            can_write: false,
            management,
        };
        device.set_own(Tree::default());
        device
    }

    /// Takes over what the printer tells, in place of what it told before.
    pub fn set_own(&mut self, own: Tree) {
        self.own = own;
        self.refresh();
    }

    /// Whether the printer lets itself be written.
    pub fn set_can_write(&mut self, can_write: bool) {
        self.can_write = can_write;
        self.refresh();
    }

    /// All parameters.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Answers a request, or says what must be done first.
    #[must_use]
    pub fn serve(&mut self, request: &AcsRequest) -> Served {
        let answer = match request {
            AcsRequest::GetRpcMethods => Ok(CpeResponse::GetRpcMethods(GetRpcMethodsResponse {
                methods: METHODS.iter().map(|&name| name.to_owned()).collect(),
            })),
            AcsRequest::GetParameterValues(get) => self.values(&get.names),
            AcsRequest::GetParameterNames(get) => self.names(&get.path, get.next_level),
            AcsRequest::GetParameterAttributes(get) => self.attributes(&get.names),
            AcsRequest::SetParameterAttributes(set) => {
                let answer = self
                    .set_attributes(set)
                    .map(|()| CpeResponse::SetParameterAttributes);
                let changed = answer.is_ok();
                return Served::Answer { answer, changed };
            }
            AcsRequest::SetParameterValues(set) => match self.check(set) {
                Ok(change) => return Served::Set(change),
                Err(fault) => Err(fault),
            },
            AcsRequest::Reboot(reboot) => match self.reset_object() {
                Some(oid) => {
                    return Served::Reboot {
                        oid,
                        command_key: reboot.command_key.clone(),
                    };
                }
                None => Err(Fault::with_text(
                    FaultCode::REQUEST_DENIED,
                    "the device cannot be restarted from here: no write access",
                )),
            },
            AcsRequest::ScheduleInform(schedule) if schedule.delay_seconds > 0 => {
                return Served::Schedule {
                    delay: schedule.delay_seconds,
                    command_key: schedule.command_key.clone(),
                };
            }
            AcsRequest::ScheduleInform(_) => Err(Fault::with_text(
                FaultCode::INVALID_ARGUMENTS,
                "DelaySeconds is 0",
            )),
            // It would erase the printer's network settings and cut it off (MOD-09).
            AcsRequest::FactoryReset => Err(Fault::with_text(
                FaultCode::REQUEST_DENIED,
                "a factory reset would cut the printer off",
            )),
            AcsRequest::Download(_) => Err(Fault::with_text(
                FaultCode::REQUEST_DENIED,
                "no driver that brings files of this type to this device",
            )),
            AcsRequest::AddObject(add) => Err(not_creatable(&add.object_name)),
            AcsRequest::DeleteObject(delete) => Err(not_creatable(&delete.object_name)),
            AcsRequest::GetQueuedTransfers
            | AcsRequest::GetAllQueuedTransfers
            | AcsRequest::SetVouchers(_)
            | AcsRequest::GetOptions(_)
            | AcsRequest::Upload(_)
            | AcsRequest::ScheduleDownload(_)
            | AcsRequest::CancelTransfer(_)
            | AcsRequest::ChangeDuState(_)
            | AcsRequest::Raw(_) => Err(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)),
        };
        Served::Answer {
            answer,
            changed: false,
        }
    }

    /// Takes over what a [`Change`] sets besides the printer's values, and answers.
    pub fn apply(&mut self, change: Change) -> CpeResponse {
        let mut set = Vec::new();
        for (path, value) in change.settings {
            self.set_setting(&path, value);
            set.push(path);
        }
        self.record.settings.parameter_key = change.parameter_key;
        self.refresh();
        // To tell the server what it set itself would be no news.
        for path in set {
            if let Some(value) = self.tree.value(&path).map(str::to_owned)
                && self.notification(&path) != Notification::Off
            {
                self.record.reported.insert(path, value);
            }
        }
        CpeResponse::SetParameterValues(SetParameterValuesResponse {
            status: Status::Applied,
        })
    }

    /// Takes over values that the printer has taken, until the next poll reads them. The server knows what it set itself: to tell it would
    /// be no news.
    pub fn written(&mut self, writes: &[PrinterWrite]) {
        for write in writes {
            self.own.replace_value(&write.path, write.text.clone());
            if self.notification(&write.path) != Notification::Off {
                self.record
                    .reported
                    .insert(write.path.clone(), write.text.clone());
            }
        }
        self.refresh();
    }

    /// What is to be said next; `None` when there is nothing to say.
    ///
    /// `oldest` is the oldest reading that waits, with what was told of it so far; `more` whether newer ones wait behind it.
    #[must_use]
    pub fn report(
        &self,
        oldest: Option<&Reading>,
        more: bool,
        now: UnixSeconds,
        retry_count: u32,
    ) -> Option<Report> {
        let mut events = self.record.events.clone();
        let is_first = self.record.known_to.as_deref() != Some(self.management.acs_url.as_str());
        if is_first {
            events.retain(|event| event.code == EventCode::ConnectionRequest);
            events.insert(0, Event::new(EventCode::Boot));
            events.insert(0, Event::new(EventCode::Bootstrap));
        }
        let everything = is_first
            || events
                .iter()
                .any(|event| matches!(event.code, EventCode::Periodic | EventCode::Boot));
        let changed = if is_first { Vec::new() } else { self.changed() };
        let news = changed
            .iter()
            .any(|(_, notification)| *notification == Notification::Active);
        if events.is_empty() && !news && oldest.is_none() {
            return None;
        }

        let mut parameters = BTreeMap::new();
        let mut delivered = BTreeMap::new();
        for (path, _) in &changed {
            self.add(&mut parameters, path);
        }
        let mut readings_changed = false;
        if let Some(reading) = oldest {
            for (path, value, kind) in &reading.values {
                let is_news = self.record.reported.get(path) != Some(value);
                if everything || is_news || is_head(path) {
                    readings_changed |= is_news;
                    parameters.insert(
                        path.clone(),
                        ParameterValue::new(path, value, ValueType::from_name(kind)),
                    );
                }
                delivered.insert(path.clone(), value.clone());
            }
        }
        if is_first || (everything && !more) {
            for (path, parameter) in self.tree.iter() {
                let is_reportable = is_reportable(path, parameter);
                // Values of now have no place beside the time of an older reading.
                let fits = !(is_without_data(parameter) || is_reportable && more);
                let is_wanted = is_first
                    || is_reportable
                    || is_descriptive(path)
                    || self.notification(path) != Notification::Off;
                if fits && is_wanted {
                    parameters
                        .entry(path.to_owned())
                        .or_insert_with(|| to_wire(path, parameter));
                }
            }
        }
        for path in FORCED {
            self.add(&mut parameters, path);
        }
        if (!changed.is_empty() || (readings_changed && !everything)) && !is_first {
            let value_change = Event::new(EventCode::ValueChange);
            if !events.contains(&value_change) {
                events.push(value_change);
            }
        }
        if events.is_empty() {
            events.push(Event::new(EventCode::ValueChange));
        }
        for (path, parameter) in &parameters {
            let is_reportable = self
                .tree
                .get(path)
                .is_some_and(|parameter| is_reportable(path, parameter));
            if is_reportable || self.notification(path) != Notification::Off {
                delivered.insert(path.clone(), parameter.value.clone());
            }
        }
        let current_time = oldest.map_or(now, |reading| reading.time);
        Some(Report {
            inform: Inform {
                device_id: self.record.device_id(),
                events,
                max_envelopes: platen_cwmp::rpc::MaxEnvelopes,
                current_time: DateTime::from_text(time::format(current_time)),
                retry_count,
                parameters: parameters.into_values().collect(),
            },
            reading: oldest.map(|reading| reading.time),
            delivered,
        })
    }

    /// Whether a change waits that the server wants to hear of at once.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.record.known_to.as_deref() == Some(self.management.acs_url.as_str())
            && self
                .changed()
                .iter()
                .any(|(_, notification)| *notification == Notification::Active)
    }

    /// The server has a report.
    pub fn acknowledged(&mut self, report: &Report) {
        self.record.known_to = Some(self.management.acs_url.clone());
        if report.inform.has_event(&EventCode::Bootstrap) {
            // It stands for everything that happened before (EVT-06).
            self.record.events.clear();
        }
        self.record
            .events
            .retain(|event| !report.inform.events.contains(event));
        self.record.reported.extend(report.delivered.clone());
    }

    /// A report did not arrive. Connection requests are not repeated (EVT-04).
    pub fn undelivered(&mut self) {
        self.record
            .events
            .retain(|event| event.code != EventCode::ConnectionRequest);
    }

    /// The values of the counters and levels, to be kept until the server has them.
    #[must_use]
    pub fn reading(&self, time: UnixSeconds) -> Reading {
        let values = self
            .tree
            .iter()
            .filter(|(path, parameter)| is_reportable(path, parameter) || is_head(path))
            .map(|(path, parameter)| {
                (
                    path.to_owned(),
                    parameter.value.clone(),
                    parameter.kind.xsd().to_owned(),
                )
            })
            .collect();
        Reading { time, values }
    }

    /// Whether a counter or level differs from what the server has and from what waits for it.
    #[must_use]
    pub fn has_new_reading(&self, newest_waiting: Option<&Reading>) -> bool {
        let waiting: BTreeMap<&str, &str> = newest_waiting
            .map(|reading| {
                reading
                    .values
                    .iter()
                    .map(|(path, value, _)| (path.as_str(), value.as_str()))
                    .collect()
            })
            .unwrap_or_default();
        self.tree
            .iter()
            .filter(|(path, parameter)| is_reportable(path, parameter))
            .any(|(path, parameter)| {
                let known = waiting
                    .get(path)
                    .copied()
                    .or_else(|| self.record.reported.get(path).map(String::as_str));
                known != Some(parameter.value.as_str())
            })
    }

    fn add(&self, parameters: &mut BTreeMap<String, ParameterValue>, path: &str) {
        if let Some(parameter) = self.tree.get(path) {
            parameters
                .entry(path.to_owned())
                .or_insert_with(|| to_wire(path, parameter));
        }
    }

    /// Parameters that the server wants to be told of and whose value it does not have.
    fn changed(&self) -> Vec<(String, Notification)> {
        self.tree
            .iter()
            .filter_map(|(path, parameter)| {
                let notification = self.notification(path);
                let is_known = self.record.reported.get(path) == Some(&parameter.value);
                (notification != Notification::Off && !is_known)
                    .then(|| (path.to_owned(), notification))
            })
            .collect()
    }

    fn notification(&self, path: &str) -> Notification {
        if is_force_enabled(path) {
            return Notification::Active;
        }
        match self.record.attributes.get(path) {
            Some(&code) => Notification::from_code(code).unwrap_or_default(),
            None if is_enabled_by_default(path) => Notification::Active,
            None => Notification::Off,
        }
    }

    fn reset_object(&self) -> Option<Oid> {
        if !self.can_write {
            return None;
        }
        let index: u32 = self
            .tree
            .value("Device.Services.MFPService.1.Proxy.DeviceIndex")?
            .parse()
            .ok()?;
        Some(Oid::new(
            &[platen_datamodel::mib::GENERAL, &[3, index]].concat(),
        ))
    }

    fn values(&self, paths: &[String]) -> Result<CpeResponse, Fault> {
        let mut parameters = BTreeMap::new();
        for path in paths {
            let found = self.tree.select(path).ok_or_else(|| unknown(path))?;
            parameters.extend(
                found
                    .into_iter()
                    .map(|(path, parameter)| (path.to_owned(), to_wire(path, parameter))),
            );
        }
        Ok(CpeResponse::GetParameterValues(
            GetParameterValuesResponse {
                parameters: parameters.into_values().collect(),
            },
        ))
    }

    fn names(&self, path: &str, next_level: bool) -> Result<CpeResponse, Fault> {
        let names = self
            .tree
            .names(path, next_level)
            .ok_or_else(|| match self.tree.get(path) {
                // NextLevel of a parameter is a contradiction, not an unknown name (TR-069 §A.3.2.3).
                Some(_) => {
                    Fault::with_text(FaultCode::INVALID_ARGUMENTS, "NextLevel of a parameter")
                }
                None => unknown(path),
            })?;
        Ok(CpeResponse::GetParameterNames(GetParameterNamesResponse {
            parameters: names
                .into_iter()
                .map(|name| ParameterInfo {
                    name: name.path,
                    writable: name.writable,
                })
                .collect(),
        }))
    }

    fn attributes(&self, paths: &[String]) -> Result<CpeResponse, Fault> {
        let mut parameters = BTreeMap::new();
        for path in paths {
            for (path, _) in self.tree.select(path).ok_or_else(|| unknown(path))? {
                parameters.insert(
                    path.to_owned(),
                    Attributes {
                        name: path.to_owned(),
                        notification: self.notification(path),
                        access_list: Vec::new(),
                    },
                );
            }
        }
        Ok(CpeResponse::GetParameterAttributes(
            GetParameterAttributesResponse {
                parameters: parameters.into_values().collect(),
            },
        ))
    }

    /// All or nothing (TR-069 §A.3.2.4).
    fn set_attributes(&mut self, set: &SetParameterAttributes) -> Result<(), Fault> {
        let mut changes = Vec::new();
        for attributes in &set.parameters {
            let found = self
                .tree
                .select(&attributes.name)
                .ok_or_else(|| unknown(&attributes.name))?;
            if !attributes.notification_change {
                continue;
            }
            if !matches!(
                attributes.notification,
                Notification::Off | Notification::Passive | Notification::Active
            ) {
                return Err(Fault::with_text(
                    FaultCode::NOTIFICATION_REJECTED,
                    "lightweight notifications are not offered",
                ));
            }
            let is_one = !attributes.name.is_empty() && !attributes.name.ends_with('.');
            for (path, parameter) in found {
                if is_force_enabled(path) {
                    // Of a whole object those that cannot be changed stay as they are.
                    if is_one && attributes.notification != Notification::Active {
                        return Err(Fault::with_text(
                            FaultCode::NOTIFICATION_REJECTED,
                            format!("{path} always notifies"),
                        ));
                    }
                    continue;
                }
                changes.push((
                    path.to_owned(),
                    attributes.notification,
                    parameter.value.clone(),
                ));
            }
        }
        for (path, notification, value) in changes {
            // News begin with the next change.
            if notification == Notification::Off {
                self.record.reported.remove(&path);
            } else {
                self.record.reported.entry(path.clone()).or_insert(value);
            }
            self.record.attributes.insert(path, notification.code());
        }
        Ok(())
    }

    /// Checks all values before any is set (TR-069 §A.3.2.1, SET-01).
    fn check(&self, set: &SetParameterValues) -> Result<Change, Fault> {
        let mut change = Change {
            writes: Vec::new(),
            settings: Vec::new(),
            parameter_key: set.parameter_key.clone(),
        };
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for wanted in &set.parameters {
            if !seen.insert(&wanted.name) {
                faults.push(parameter_fault(&wanted.name, FaultCode::INVALID_ARGUMENTS));
                continue;
            }
            match self.check_one(wanted) {
                Ok(Target::Printer(write)) => change.writes.push(write),
                Ok(Target::Kept) => change
                    .settings
                    .push((wanted.name.clone(), wanted.value.clone())),
                Err(code) => faults.push(parameter_fault(&wanted.name, code)),
            }
        }
        if faults.is_empty() {
            return Ok(change);
        }
        Err(Fault {
            parameters: faults,
            ..Fault::new(FaultCode::INVALID_ARGUMENTS)
        })
    }

    fn check_one(&self, wanted: &ParameterValue) -> Result<Target, FaultCode> {
        let parameter = self
            .tree
            .get(&wanted.name)
            .ok_or(FaultCode::INVALID_PARAMETER_NAME)?;
        let write = parameter
            .write
            .as_ref()
            .ok_or(FaultCode::NON_WRITABLE_PARAMETER)?;
        let declared = wanted.value_type;
        // Servers that do not know the type send a string; then the text decides.
        let is_type = matches!(declared, ValueType::Unknown | ValueType::String)
            || declared == ValueType::from_name(parameter.kind.xsd());
        if !is_type || !parameter.kind.admits(&wanted.value) {
            return Err(FaultCode::INVALID_PARAMETER_TYPE);
        }
        match write {
            Write::Printer { oid, form } => match form.encode(&wanted.value) {
                Ok(value) => Ok(Target::Printer(PrinterWrite {
                    path: wanted.name.clone(),
                    text: shown(parameter.kind, &wanted.value),
                    oid: oid.clone(),
                    value,
                })),
                Err(Unfit::Type) => Err(FaultCode::INVALID_PARAMETER_TYPE),
                Err(Unfit::Value) => Err(FaultCode::INVALID_PARAMETER_VALUE),
            },
            Write::Kept(max)
                if wanted.value.len() <= *max && is_allowed(&wanted.name, &wanted.value) =>
            {
                Ok(Target::Kept)
            }
            Write::Kept(_) => Err(FaultCode::INVALID_PARAMETER_VALUE),
        }
    }

    fn set_setting(&mut self, path: &str, value: String) {
        let settings = &mut self.record.settings;
        let number = |value: &str| value.parse().unwrap_or_default();
        match path {
            "Device.DeviceInfo.ProvisioningCode" => settings.provisioning_code = value,
            PERIODIC_ENABLE => settings.periodic_enable = parse_boolean(&value).unwrap_or_default(),
            PERIODIC_INTERVAL => settings.periodic_interval = number(&value),
            "Device.ManagementServer.PeriodicInformTime" => settings.periodic_time = value,
            "Device.ManagementServer.ConnectionRequestUsername" => {
                settings.connection_request_username = value
            }
            "Device.ManagementServer.ConnectionRequestPassword" => {
                settings.connection_request_password = value
            }
            RETRY_MINIMUM => settings.retry_minimum = number(&value),
            RETRY_MULTIPLIER => settings.retry_multiplier = number(&value),
            _ => {
                self.record.kept.insert(path.to_owned(), value);
            }
        }
    }

    fn refresh(&mut self) {
        self.tree = self.own.clone();
        if !self.can_write {
            self.tree.forbid_printer_writes();
        }
        let record = &self.record;
        let tree = &mut self.tree;
        let mut basic = |name: &str, value: &str| {
            let path = format!("Device.DeviceInfo.{name}");
            if tree.get(&path).is_none() {
                tree.put(path, Kind::String, value);
            }
        };
        basic("Manufacturer", &record.manufacturer);
        basic("ModelName", &record.model_name);
        basic("SoftwareVersion", &record.software_version);
        basic("HardwareVersion", "");
        // The identity is what the server knows the device by, whatever the printer says later (MAP-06).
        tree.put(
            "Device.DeviceInfo.ManufacturerOUI",
            Kind::String,
            record.identity.oui(),
        );
        tree.put(
            "Device.DeviceInfo.ProductClass",
            Kind::String,
            record.identity.product_class(),
        );
        tree.put(
            "Device.DeviceInfo.SerialNumber",
            Kind::String,
            record.identity.serial_number(),
        );
        tree.put("Device.RootDataModelVersion", Kind::String, "2.17");

        let settings = &record.settings;
        let management = &self.management;
        let read_only = [
            ("URL", Kind::String, management.acs_url.as_str()),
            ("Username", Kind::String, &management.acs_username),
            ("Password", Kind::String, ""),
            ("ParameterKey", Kind::String, &settings.parameter_key),
            (
                "ConnectionRequestURL",
                Kind::String,
                &management.connection_request_url,
            ),
            ("AliasBasedAddressing", Kind::Boolean, "0"),
        ];
        for (name, kind, value) in read_only {
            tree.put(format!("Device.ManagementServer.{name}"), kind, value);
        }
        let (interval, minimum, multiplier) = (
            settings.periodic_interval.to_string(),
            settings.retry_minimum.to_string(),
            settings.retry_multiplier.to_string(),
        );
        let writable = [
            (
                "Device.DeviceInfo.ProvisioningCode",
                Kind::String,
                settings.provisioning_code.as_str(),
                64,
            ),
            (
                PERIODIC_ENABLE,
                Kind::Boolean,
                if settings.periodic_enable { "1" } else { "0" },
                5,
            ),
            (PERIODIC_INTERVAL, Kind::UnsignedInt, &interval, 10),
            (
                "Device.ManagementServer.PeriodicInformTime",
                Kind::DateTime,
                &settings.periodic_time,
                40,
            ),
            (
                "Device.ManagementServer.ConnectionRequestUsername",
                Kind::String,
                &settings.connection_request_username,
                256,
            ),
            // Reads back empty, as secrets do.
            (
                "Device.ManagementServer.ConnectionRequestPassword",
                Kind::String,
                "",
                256,
            ),
            (RETRY_MINIMUM, Kind::UnsignedInt, &minimum, 10),
            (RETRY_MULTIPLIER, Kind::UnsignedInt, &multiplier, 10),
        ];
        for (path, kind, value, max) in writable {
            tree.insert(
                path,
                Parameter {
                    value: value.to_owned(),
                    kind,
                    write: Some(Write::Kept(max)),
                },
            );
        }
        for (path, value) in &record.kept {
            tree.replace_value(path, value.clone());
        }
    }
}

const PERIODIC_ENABLE: &str = "Device.ManagementServer.PeriodicInformEnable";
const PERIODIC_INTERVAL: &str = "Device.ManagementServer.PeriodicInformInterval";
const RETRY_MINIMUM: &str = "Device.ManagementServer.CWMPRetryMinimumWaitInterval";
const RETRY_MULTIPLIER: &str = "Device.ManagementServer.CWMPRetryIntervalMultiplier";

/// In every Inform of a Device:2 root (EVT-25).
const FORCED: &[&str] = &[
    "Device.RootDataModelVersion",
    "Device.DeviceInfo.HardwareVersion",
    "Device.DeviceInfo.SoftwareVersion",
    "Device.DeviceInfo.ProvisioningCode",
    "Device.ManagementServer.ParameterKey",
    "Device.ManagementServer.ConnectionRequestURL",
    "Device.ManagementServer.AliasBasedAddressing",
];

enum Target {
    Printer(PrinterWrite),
    Kept,
}

/// A value as we write it.
fn shown(kind: Kind, value: &str) -> String {
    match (kind, parse_boolean(value)) {
        (Kind::Boolean, Some(state)) => if state { "1" } else { "0" }.to_owned(),
        _ => value.to_owned(),
    }
}

/// Bounds of the settings (TR-181 §ManagementServer).
fn is_allowed(path: &str, value: &str) -> bool {
    let within = |least: u32, most: u32| {
        value
            .parse()
            .is_ok_and(|number: u32| (least..=most).contains(&number))
    };
    match path {
        PERIODIC_INTERVAL => within(1, u32::MAX),
        RETRY_MINIMUM => within(1, 65_535),
        RETRY_MULTIPLIER => within(1_000, 65_535),
        _ => !value.chars().any(char::is_control),
    }
}

fn generic(path: &str) -> Option<String> {
    // Only the imaging service has attributes of its own; the rest is compared as it stands.
    let path: Path = path.parse().ok()?;
    Some(path.generic().to_string())
}

const SERVICE: &str = "Device.Services.MFPService.{i}.";

fn below_service(path: &str) -> Option<String> {
    path.starts_with("Device.Services.")
        .then(|| generic(path))
        .flatten()?
        .strip_prefix(SERVICE)
        .map(str::to_owned)
}

/// Parameters whose notification is active whatever the server sets.
fn is_force_enabled(path: &str) -> bool {
    matches!(
        below_service(path).as_deref(),
        Some("Alerts.HighestSeverity" | "Alerts.CriticalAlert" | "Alerts.ServiceRequired")
    )
}

/// Parameters whose notification is active until the server sets it otherwise.
fn is_enabled_by_default(path: &str) -> bool {
    matches!(
        path,
        "Device.DeviceInfo.SoftwareVersion"
            | "Device.DeviceInfo.ProvisioningCode"
            | "Device.ManagementServer.ConnectionRequestURL"
            | "Device.ManagementServer.VirtualDeviceNumberOfEntries"
    ) || matches!(
        below_service(path).as_deref(),
        Some(
            "OperationalStatus"
                | "Supply.{i}.State"
                | "ServicePart.{i}.State"
                | "Alerts.InterventionRequired"
                | "Counters.Epoch"
                | "Proxy.Reachability"
        )
    )
}

/// Counters with data, and levels of supplies: what the server gets without asking.
fn is_reportable(path: &str, parameter: &Parameter) -> bool {
    let Some(below) = path
        .strip_prefix("Device.Services.MFPService.")
        .and_then(|rest| rest.split_once('.'))
        .map(|(_, below)| below)
    else {
        return false;
    };
    let is_counter = parameter.kind == Kind::UnsignedLong
        && (below.starts_with("Counters.") || below.starts_with("Marker."));
    let is_level = below.starts_with("Supply.")
        && ["CurrentLevel", "LevelPercent"]
            .iter()
            .any(|name| below.ends_with(name));
    is_level || (is_counter && !is_without_data(parameter))
}

/// A counter that says that it has no value.
fn is_without_data(parameter: &Parameter) -> bool {
    parameter.kind == Kind::UnsignedLong && parameter.value == NO_DATA.to_string()
}

/// What governs the counters of an Inform.
fn is_head(path: &str) -> bool {
    ["Counters.ReadTime", "Counters.Epoch", "Counters.Quality"]
        .iter()
        .any(|head| path.ends_with(head))
}

/// What a person sees first of a device, sent along when everything is.
fn is_descriptive(path: &str) -> bool {
    const NAMES: &[&str] = &[
        "Device.DeviceInfo.Manufacturer",
        "Device.DeviceInfo.ModelName",
        "Device.DeviceInfo.Description",
        "Device.DeviceInfo.UpTime",
    ];
    const SUPPLY: &[&str] = &[
        "Description",
        "Class",
        "Type",
        "ColorName",
        "Unit",
        "MaxCapacity",
        "State",
        "PartNumber",
    ];
    NAMES.contains(&path)
        || path.starts_with("Device.DeviceInfo.ProxierInfo.")
        || path.starts_with("Device.ManagementServer.VirtualDevice")
        || is_head(path)
        || below_service(path).is_some_and(|below| {
            matches!(
                below.as_str(),
                "Name"
                    | "Asset.Location"
                    | "PrinterStatus"
                    | "DetectedErrorList"
                    | "Capabilities.MeterList"
            ) || below
                .strip_prefix("Supply.{i}.")
                .is_some_and(|name| SUPPLY.contains(&name))
        })
}

fn to_wire(path: &str, parameter: &Parameter) -> ParameterValue {
    ParameterValue::new(
        path,
        &parameter.value,
        ValueType::from_name(parameter.kind.xsd()),
    )
}

fn unknown(path: &str) -> Fault {
    Fault::with_text(
        FaultCode::INVALID_PARAMETER_NAME,
        format!("no parameter or object {path:?}"),
    )
}

fn not_creatable(path: &str) -> Fault {
    Fault::with_text(
        FaultCode::INVALID_PARAMETER_NAME,
        format!("{path:?} is no table whose rows come and go on request"),
    )
}

fn parameter_fault(name: &str, code: FaultCode) -> ParameterFault {
    ParameterFault {
        name: name.to_owned(),
        code,
        string: code.text().unwrap_or_default().to_owned(),
    }
}
