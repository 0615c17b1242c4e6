//! What is asked of a printer, and when (MAP-50 to MAP-57).

use std::time::Duration;

use platen_datamodel::mib;
use platen_datamodel::snmp::Oid;
use platen_datamodel::vendor::Vendor;

use crate::config::PollConfig;
use crate::memory::Memory;
use crate::snmp::{Client, SnmpError};

/// Objects that are asked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Names, serial numbers, addresses, versions.
    Identity,
    /// State, errors, alerts, covers, panel.
    Status,
    /// Supplies.
    Supplies,
    /// Trays and bins.
    Trays,
    /// Page counters.
    Meters,
    /// Defaults, channels, interpreters, paths.
    Configuration,
}

impl Group {
    /// All groups; at first contact in this order.
    pub const ALL: [Self; 6] = [
        Self::Identity,
        Self::Status,
        Self::Supplies,
        Self::Trays,
        Self::Meters,
        Self::Configuration,
    ];

    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Status => "Status",
            Self::Supplies => "Supplies",
            Self::Trays => "Trays",
            Self::Meters => "Meters",
            Self::Configuration => "Configuration",
        }
    }

    /// How often it is asked for.
    #[must_use]
    pub fn period(self, config: &PollConfig) -> Duration {
        match self {
            Self::Identity => config.identity,
            Self::Status => config.status,
            Self::Supplies => config.supplies,
            Self::Trays => config.trays,
            Self::Meters => config.meters,
            Self::Configuration => config.configuration,
        }
        .0
    }

    /// Single instances of it.
    fn scalars(self, vendor: Option<Vendor>) -> Vec<Oid> {
        let arcs: &[&[u32]] = match self {
            Self::Identity => &[
                mib::SYS_DESCR,
                mib::SYS_OBJECT_ID,
                mib::SYS_UP_TIME,
                mib::SYS_CONTACT,
                mib::SYS_NAME,
                mib::SYS_LOCATION,
                mib::HR_MEMORY,
            ],
            Self::Status => &[mib::SYS_UP_TIME, mib::HR_UPTIME, mib::HR_DATE],
            // Whose meters they are and since when the printer is up is read together with them (MET-01).
            Self::Meters => &[mib::SYS_UP_TIME, mib::HR_UPTIME],
            Self::Supplies | Self::Trays | Self::Configuration => &[],
        };
        let private = if self == Self::Identity {
            private_scalars(vendor)
        } else {
            &[]
        };
        let standard = arcs.iter().map(|arcs| Oid::new(arcs));
        standard
            .chain(
                private
                    .iter()
                    .map(|below| Oid::new(&[mib::ENTERPRISES, below].concat())),
            )
            .collect()
    }

    /// Subtrees of it.
    fn subtrees(self, vendor: Option<Vendor>) -> Vec<Oid> {
        let column = |entry: &[u32], column: u32| Oid::new(&[entry, &[column]].concat());
        match self {
            Self::Identity => [
                Oid::new(mib::IF_TYPE),
                Oid::new(mib::IF_PHYS_ADDRESS),
                column(mib::HR_DEVICE, 2),
                column(mib::HR_DEVICE, 3),
                Oid::new(mib::GENERAL),
                Oid::new(mib::PORT_MONITOR),
            ]
            .into_iter()
            .chain(private_subtrees(vendor, Self::Identity))
            .collect(),
            Self::Status => vec![
                column(mib::HR_DEVICE, 5),
                Oid::new(mib::HR_PRINTER),
                Oid::new(mib::GENERAL),
                Oid::new(mib::COVER),
                Oid::new(mib::CONSOLE),
                Oid::new(mib::ALERT),
            ],
            Self::Supplies => vec![Oid::new(mib::SUPPLIES), Oid::new(mib::COLORANT)],
            Self::Trays => vec![Oid::new(mib::INPUT), Oid::new(mib::OUTPUT)],
            Self::Meters => [column(mib::GENERAL, 17), Oid::new(mib::MARKER)]
                .into_iter()
                .chain(private_subtrees(vendor, Self::Meters))
                .collect(),
            Self::Configuration => vec![
                Oid::new(mib::LOCALIZATION),
                Oid::new(mib::MEDIA_PATH),
                Oid::new(mib::CHANNEL),
                Oid::new(mib::INTERPRETER),
                Oid::new(mib::HR_STORAGE),
            ],
        }
    }
}

/// Instances below the enterprises' arc that tell who a printer is. Those that several makers serve are asked of all.
fn private_scalars(vendor: Option<Vendor>) -> &'static [&'static [u32]] {
    match vendor {
        None => &[&[11, 2, 3, 9, 1, 1, 7, 0]],
        Some(Vendor::Hp) => &[
            &[11, 2, 3, 9, 1, 1, 7, 0],
            &[11, 2, 3, 9, 4, 2, 1, 1, 3, 3, 0],
            &[11, 2, 3, 9, 4, 2, 1, 1, 3, 5, 0],
            &[11, 2, 3, 9, 4, 2, 1, 1, 3, 6, 0],
        ],
        Some(Vendor::Xerox) => &[&[253, 8, 51, 1, 2, 1, 20, 1], &[253, 8, 53, 3, 2, 1, 3, 1]],
        Some(Vendor::Ricoh) => &[
            &[367, 3, 2, 1, 1, 1, 1, 0],
            &[367, 3, 2, 1, 1, 1, 2, 0],
            &[367, 3, 2, 1, 2, 1, 4, 0],
        ],
        Some(Vendor::Dell) => &[&[674, 10_898, 100, 1, 1, 1, 0]],
        Some(Vendor::Samsung) => &[&[236, 11, 5, 1, 1, 1, 4, 0]],
        Some(Vendor::Epson) => &[&[1248, 1, 2, 2, 1, 1, 1, 5, 1]],
        Some(Vendor::Kyocera) => &[
            &[1347, 43, 5, 1, 1, 1, 1],
            &[1347, 43, 5, 1, 1, 28, 1],
            &[1347, 43, 5, 4, 1, 5, 1, 1],
        ],
        Some(Vendor::Canon) => &[
            &[1602, 1, 1, 1, 1, 0],
            &[1602, 1, 1, 1, 4, 0],
            &[1602, 1, 2, 1, 8, 1, 3, 1, 1],
            &[1602, 1, 2, 1, 4, 0],
        ],
        Some(Vendor::Oki) => &[
            &[11, 2, 3, 9, 1, 1, 7, 0],
            &[2001, 1, 1, 1, 1, 11, 1, 10, 45, 0],
        ],
        Some(Vendor::Brother) => &[
            &[2435, 2, 3, 9, 4, 2, 1, 5, 5, 1, 0],
            &[2435, 2, 3, 9, 4, 2, 1, 5, 5, 17, 0],
        ],
        Some(Vendor::KonicaMinolta) => &[
            &[18_334, 1, 1, 1, 1, 6, 1, 0],
            &[18_334, 1, 1, 1, 1, 6, 2, 1, 0],
        ],
        Some(_) => &[],
    }
}

/// Subtrees below the enterprises' arc that hold versions or meters.
fn private_subtrees(vendor: Option<Vendor>, group: Group) -> Vec<Oid> {
    let below: &[&[u32]] = match (vendor, group) {
        (Some(Vendor::KonicaMinolta), Group::Identity) => &[&[18_334, 1, 1, 1, 5, 5, 1, 1]],
        (Some(Vendor::Hp), Group::Meters) => &[
            &[11, 2, 3, 9, 4, 2, 1, 4, 1, 2],
            &[11, 2, 3, 9, 4, 2, 1, 2, 2, 1],
        ],
        (Some(Vendor::Kyocera), Group::Meters) => &[
            &[1347, 42, 3, 1, 1],
            &[1347, 42, 3, 1, 2],
            &[1347, 42, 3, 1, 3],
            &[1347, 43, 10, 1, 1, 12],
            &[1347, 46, 10, 1, 1, 5],
        ],
        (Some(Vendor::Ricoh), Group::Meters) => &[&[367, 3, 2, 1, 2, 19]],
        (Some(Vendor::KonicaMinolta), Group::Meters) => &[&[18_334, 1, 1, 1, 5, 7, 2]],
        (Some(Vendor::Canon), Group::Meters) => {
            &[&[1602, 1, 11, 1, 3, 1, 4], &[1602, 1, 11, 2, 1, 1, 2]]
        }
        (Some(Vendor::Sharp), Group::Meters) => &[&[2385, 1, 1, 19, 2, 1]],
        (Some(Vendor::Xerox), Group::Meters) => &[&[253, 8, 53, 13, 2, 1, 6]],
        (Some(Vendor::Lexmark | Vendor::Dell), Group::Meters) => &[&[641, 6, 4, 2, 1]],
        (Some(Vendor::Epson), Group::Meters) => &[&[1248, 1, 2, 2, 27, 1, 1]],
        (Some(Vendor::Brother), Group::Meters) => &[&[2435, 2, 3, 9, 4, 2, 1, 5, 5, 10]],
        _ => &[],
    };
    below
        .iter()
        .map(|arcs| Oid::new(&[mib::ENTERPRISES, arcs].concat()))
        .collect()
}

/// How a poll ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was read.
    Complete,
    /// A part was not; what was known of it stays.
    Partial,
}

/// Reads a group and keeps what it tells.
///
/// # Errors
///
/// [`SnmpError`] when the printer did not answer at all. A printer that stops answering in the middle leaves a partial poll.
pub async fn read(
    client: &Client,
    group: Group,
    memory: &mut Memory,
) -> Result<Outcome, SnmpError> {
    let mut outcome = Outcome::Complete;
    let mut answered = false;
    // At first contact the maker is not known before the first objects are.
    let rounds = if group == Group::Identity { 2 } else { 1 };
    let mut asked = Vec::new();
    for _ in 0..rounds {
        let vendor = Vendor::recognise(memory.walk());
        let scalars: Vec<Oid> = group
            .scalars(vendor)
            .into_iter()
            .filter(|oid| !asked.contains(oid))
            .collect();
        if !scalars.is_empty() {
            match client.get(&scalars).await {
                Ok(objects) => {
                    answered = true;
                    memory.take(objects);
                }
                Err(error) if answered => partial(&mut outcome, group, &error),
                Err(error) => return Err(error),
            }
            asked.extend(scalars);
        }
        for prefix in group.subtrees(vendor) {
            if asked.contains(&prefix) {
                continue;
            }
            match client.walk(&prefix).await {
                Ok(subtree) => {
                    answered = true;
                    if !subtree.complete {
                        outcome = Outcome::Partial;
                    }
                    memory.take_subtree(&prefix, subtree);
                }
                Err(error) if answered => partial(&mut outcome, group, &error),
                Err(error) => return Err(error),
            }
            asked.push(prefix);
        }
    }
    Ok(outcome)
}

fn partial(outcome: &mut Outcome, group: Group, error: &SnmpError) {
    tracing::debug!(group = group.name(), %error, "partial poll");
    *outcome = Outcome::Partial;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use platen_datamodel::snmp::Value;

    use super::*;
    use crate::agent::{Access, Agent};
    use crate::snmp::{Credentials, Version};

    fn kyocera() -> BTreeMap<Oid, Value> {
        [
            (
                "1.3.6.1.2.1.1.1.0",
                Value::from("KYOCERA Document Solutions Printing System"),
            ),
            (
                "1.3.6.1.2.1.1.2.0",
                Value::Oid("1.3.6.1.4.1.1347.41".parse().unwrap()),
            ),
            ("1.3.6.1.2.1.1.3.0", Value::TimeTicks(7)),
            ("1.3.6.1.2.1.43.10.2.1.4.1.1", Value::Counter32(76_498)),
            ("1.3.6.1.2.1.43.11.1.1.9.1.1", Value::Integer(50)),
            ("1.3.6.1.4.1.1347.43.5.1.1.28.1", Value::from("RH28Y00024")),
            ("1.3.6.1.4.1.1347.43.10.1.1.12.1.1", Value::Integer(76_064)),
        ]
        .into_iter()
        .map(|(oid, value)| (oid.parse().unwrap(), value))
        .collect()
    }

    #[tokio::test]
    async fn the_makers_objects_are_asked_for_once_the_maker_is_known() {
        for version in [Version::V1, Version::V2c] {
            let agent = Agent::start(
                ([127, 0, 0, 1], 0).into(),
                kyocera(),
                Access::read("public"),
            )
            .await
            .unwrap();
            let client = Client::connect(
                agent.addr(),
                &Credentials::community(version, "public", None),
            )
            .await
            .unwrap();
            let mut memory = Memory::default();

            for group in Group::ALL {
                assert_eq!(
                    read(&client, group, &mut memory).await.unwrap(),
                    Outcome::Complete
                );
            }

            let mut served: platen_datamodel::snmp::Walk = kyocera().into();
            served.remove_subtree(&Oid::new(mib::SYS_UP_TIME));
            let mut read: platen_datamodel::snmp::Walk = memory.walk().clone();
            read.remove_subtree(&Oid::new(mib::SYS_UP_TIME));
            assert_eq!(read, served, "{version:?}");
        }
    }
}
