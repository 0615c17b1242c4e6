//! What is kept of a device between two starts of the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use platen_cwmp::identity::Identity;
use platen_cwmp::rpc::{DeviceIdStruct, Event};
use platen_datamodel::continuity::{Continuity, Last};
use platen_datamodel::meter::Meter;
use serde::{Deserialize, Serialize};

use crate::spool::replace;

/// How often a device calls if nobody says otherwise, in seconds.
pub const PERIODIC_INTERVAL: u32 = 3_600;

/// One device, real or virtual.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The identity, fixed at first sight (MAP-06).
    pub identity: Identity,
    /// The maker's name.
    pub manufacturer: String,
    /// The model as people call it.
    pub model_name: String,
    /// The firmware that it last told.
    pub software_version: String,
    /// Its row in the proxy's table of virtual devices.
    pub number: u32,
    /// Where the printer was last found.
    pub address: Option<SocketAddr>,
    /// The server that has seen its BOOTSTRAP.
    #[serde(default)]
    pub known_to: Option<String>,
    /// What the server set.
    #[serde(default)]
    pub settings: Settings,
    /// Values of writable parameters that the printer has no place for.
    #[serde(default)]
    pub kept: BTreeMap<String, String>,
    /// Notification attributes that differ from what the model says.
    #[serde(default)]
    pub attributes: BTreeMap<String, u8>,
    /// Values that the server has, of what it wants to be told of.
    #[serde(default)]
    pub reported: BTreeMap<String, String>,
    /// Events that the server does not know yet.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The server's key for a restart of the printer that is under way.
    #[serde(default)]
    pub rebooting: Option<String>,
    /// The meters as they go on.
    #[serde(default)]
    pub meters: MeterRecord,
}

/// What the server can set of any device.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `ManagementServer.ParameterKey`.
    pub parameter_key: String,
    /// `DeviceInfo.ProvisioningCode`.
    pub provisioning_code: String,
    /// Whether the device calls of itself.
    pub periodic_enable: bool,
    /// How often, in seconds.
    pub periodic_interval: u32,
    /// A time that the calls are counted from.
    pub periodic_time: String,
    /// Whom connection requests must come from.
    pub connection_request_username: String,
    /// The password of that user.
    pub connection_request_password: String,
    /// The least wait before the first retry, in seconds.
    pub retry_minimum: u32,
    /// By how many thousandths the wait grows.
    pub retry_multiplier: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parameter_key: String::new(),
            provisioning_code: String::new(),
            periodic_enable: true,
            periodic_interval: PERIODIC_INTERVAL,
            periodic_time: platen_datamodel::time::UNKNOWN.to_owned(),
            connection_request_username: String::new(),
            connection_request_password: String::new(),
            retry_minimum: 5,
            retry_multiplier: 2_000,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("parameter_key", &self.parameter_key)
            .field("periodic_interval", &self.periodic_interval)
            .finish_non_exhaustive()
    }
}

/// The meters of a device and what governs them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MeterRecord {
    epoch: u32,
    /// By the meter's name: the raw value and what roll-overs add.
    values: BTreeMap<String, (u64, u64)>,
    /// When the epoch began.
    pub epoch_time: i64,
    /// Why it began.
    pub epoch_reason: String,
    /// When the values were read.
    pub read_time: i64,
    /// How long the printer had been up then, in hundredths of a second.
    pub up_time: u64,
}

impl MeterRecord {
    /// What the next reading follows.
    #[must_use]
    pub fn continuity(&self) -> Continuity {
        let meter = |(name, &(raw, offset)): (&String, &(u64, u64))| {
            Some((name.parse::<Meter>().ok()?, Last { raw, offset }))
        };
        Continuity {
            epoch: self.epoch,
            meters: self.values.iter().filter_map(meter).collect(),
        }
    }

    /// Keeps what the next reading follows.
    pub fn set_continuity(&mut self, continuity: &Continuity) {
        self.epoch = continuity.epoch;
        self.values = continuity
            .meters
            .iter()
            .map(|(meter, last)| (meter.name().to_owned(), (last.raw, last.offset)))
            .collect();
    }

    /// Counts the baselines.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl Record {
    /// A device that nobody knows yet.
    #[must_use]
    pub fn new(identity: Identity, manufacturer: String, number: u32) -> Self {
        Self {
            identity,
            manufacturer,
            model_name: String::new(),
            software_version: String::new(),
            number,
            address: None,
            known_to: None,
            settings: Settings::default(),
            kept: BTreeMap::new(),
            attributes: BTreeMap::new(),
            reported: BTreeMap::new(),
            events: Vec::new(),
            rebooting: None,
            meters: MeterRecord::default(),
        }
    }

    /// The identity as an Inform carries it.
    #[must_use]
    pub fn device_id(&self) -> DeviceIdStruct {
        DeviceIdStruct {
            manufacturer: self.manufacturer.clone(),
            oui: self.identity.oui().to_owned(),
            product_class: self.identity.product_class().to_owned(),
            serial_number: self.identity.serial_number().to_owned(),
        }
    }

    /// Adds an event unless it waits already.
    pub fn add_event(&mut self, event: Event) {
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }
}

/// Why nothing is kept. A retry helps once the disk does.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file or folder cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file is not what was written: a person must look.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        reason: serde_json::Error,
    },
}

/// The folder where records are kept.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Uses a folder below `data_dir`, and makes it.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`].
    pub fn open(data_dir: &Path) -> Result<Self, RecordError> {
        let folder = data_dir.join("devices");
        for path in [&folder, &data_dir.join("spool")] {
            std::fs::create_dir_all(path).map_err(|reason| RecordError::Io {
                path: path.clone(),
                reason,
            })?;
        }
        Ok(Self { folder })
    }

    /// Every record, by file.
    ///
    /// # Errors
    ///
    /// See [`RecordError`].
    pub fn load(&self) -> Result<Vec<Record>, RecordError> {
        let failed = |path: &Path, reason| RecordError::Io {
            path: path.to_owned(),
            reason,
        };
        let entries =
            std::fs::read_dir(&self.folder).map_err(|reason| failed(&self.folder, reason))?;
        let mut paths = BTreeSet::new();
        for entry in entries {
            let path = entry.map_err(|reason| failed(&self.folder, reason))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                paths.insert(path);
            }
        }
        paths
            .into_iter()
            .map(|path| {
                let bytes = std::fs::read(&path).map_err(|reason| failed(&path, reason))?;
                serde_json::from_slice(&bytes)
                    .map_err(|reason| RecordError::Damaged { path, reason })
            })
            .collect()
    }

    /// Keeps a record; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`]: the former record stands.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        let path = self
            .folder
            .join(format!("{}.json", file_name(&record.identity)));
        let bytes = serde_json::to_vec_pretty(record)
            .expect("invariant: records hold texts, numbers and maps by text only");
        replace(&path, &bytes).map_err(|reason| RecordError::Io { path, reason })
    }

    /// Where the readings of a device wait.
    #[must_use]
    pub fn spool(&self, identity: &Identity) -> PathBuf {
        let folder = self.folder.parent().unwrap_or_else(|| Path::new("."));
        folder
            .join("spool")
            .join(format!("{}.log", file_name(identity)))
    }
}

/// The identity in characters that every file system takes; its percent-encoding leaves letters, digits, hyphen, underscore and percent.
fn file_name(identity: &Identity) -> String {
    identity
        .to_string()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "-_%".contains(character) {
                character
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use platen_cwmp::event_code::EventCode;

    use super::*;

    #[test]
    fn records_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let identity = Identity::new("00D09E", "LaserPro 9/x", "SN-1").unwrap();
        let mut record = Record::new(identity, "Example".to_owned(), 3);
        record.add_event(Event::new(EventCode::Boot));
        record.add_event(Event::new(EventCode::Boot));
        record.add_event(Event::method("Reboot", "key"));
        let continuity = Continuity {
            epoch: 2,
            meters: BTreeMap::from([(
                Meter::Total,
                Last {
                    raw: 5,
                    offset: 1 << 32,
                },
            )]),
        };
        record.meters.set_continuity(&continuity);

        records.save(&record).unwrap();
        records.save(&record).unwrap();

        let loaded = records.load().unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].identity, record.identity);
        assert_eq!(loaded[0].events.len(), 2);
        assert_eq!(loaded[0].meters.continuity(), continuity);
        assert_eq!(loaded[0].settings.periodic_interval, PERIODIC_INTERVAL);
    }

    #[test]
    fn a_damaged_record_is_named_not_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("devices/x.json"), b"{").unwrap();
        assert!(
            matches!(records.load(), Err(RecordError::Damaged { path, .. }) if path.ends_with("x.json"))
        );
    }
}
