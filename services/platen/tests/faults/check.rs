//! Compares what was seen from outside with what the log and the store hold. Pure: it knows no server, and believes the ledger alone.

use crate::ledger::{Entry, Ledger};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What the server holds once everything is quiet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) devices: BTreeMap<String, KeptDevice>,
    /// State by operation; an operation that the API does not know is absent.
    pub(crate) operations: BTreeMap<String, String>,
}

/// What it holds of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeptDevice {
    /// Counters of the Informs on the log, in its order. What was sent twice may be there twice.
    pub(crate) log: Vec<u64>,
    /// Command keys of the TransferCompletes on the log.
    pub(crate) transfers: Vec<String>,
    /// Counters of the Informs among the device's events, the oldest first.
    pub(crate) events: Vec<u64>,
    /// The device's readings, the oldest first.
    pub(crate) readings: Vec<Reading>,
    /// The first set of the chain that does not hold.
    pub(crate) broken_at: Option<u64>,
    /// Hashes under which sets were announced to those who bill, by sequence.
    pub(crate) announced: BTreeMap<u64, BTreeSet<String>>,
}

/// A reading of the counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) sequence: u64,
    pub(crate) value: u64,
    pub(crate) hash: String,
}

/// Where counters are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Log,
    Events,
    Readings,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// The Inform was acknowledged, and is not there.
    Lost {
        device: String,
        place: Place,
        counter: u64,
    },
    /// It is there more than once.
    Repeated {
        device: String,
        place: Place,
        counter: u64,
        times: usize,
    },
    /// The device has never sent it.
    Invented {
        device: String,
        place: Place,
        counter: u64,
    },
    /// It was acknowledged, and stands for the first time behind one that the device sent, and had acknowledged, later.
    Disorder {
        device: String,
        place: Place,
        counter: u64,
        behind: u64,
    },
    /// The chain of readings does not verify.
    BrokenChain { device: String, sequence: u64 },
    /// Those who bill were told another set than the ledger has, or none, or several.
    Forked {
        device: String,
        sequence: u64,
        announced: BTreeSet<String>,
    },
    /// The TransferComplete was answered, and is not on the log.
    LostTransfer { device: String, command_key: String },
    /// The device was asked more than once for what must be done once.
    AskedAgain {
        device: String,
        method: String,
        key: String,
        times: usize,
    },
    /// The API accepted the operation and does not know it.
    LostOperation { operation: String },
    /// The operation has not ended.
    OpenOperation { operation: String, state: String },
    /// The operation succeeded, and its device was never asked.
    Unfounded { operation: String },
}

/// States in which an operation stays.
const TERMINAL: [&str; 4] = ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"];

impl Kept {
    /// Whether an operation stays in this state.
    pub(crate) fn is_terminal(state: &str) -> bool {
        TERMINAL.contains(&state)
    }
}

impl KeptDevice {
    /// Events that stand behind later ones: Informs that were refused, and came all the same.
    pub(crate) fn stragglers(&self) -> usize {
        let behind = |pair: &&[u64]| pair[1] < pair[0];
        self.events.windows(2).filter(behind).count()
    }
}

/// Everything that was promised and not kept, in a stable order.
pub(crate) fn check(ledger: &Ledger, kept: &Kept) -> Vec<Violation> {
    let seen = Seen::of(ledger);
    let nothing = KeptDevice::default();
    let mut violations = Vec::new();
    for (device, seen) in &seen.devices {
        let kept = kept.devices.get(*device).unwrap_or(&nothing);
        counters(device, seen, Place::Log, &kept.log, &mut violations);
        counters(device, seen, Place::Events, &kept.events, &mut violations);
        let values: Vec<u64> = kept.readings.iter().map(|reading| reading.value).collect();
        counters(device, seen, Place::Readings, &values, &mut violations);
        chain(device, kept, &mut violations);
        transfers(device, seen, kept, &mut violations);
        for ((method, key), times) in &seen.asked {
            if *times > 1 && is_once(method, key, &seen.keys) {
                violations.push(Violation::AskedAgain {
                    device: (*device).to_owned(),
                    method: (*method).to_owned(),
                    key: (*key).to_owned(),
                    times: *times,
                });
            }
        }
    }
    operations(&seen, kept, &mut violations);
    violations.sort();
    violations
}

/// The ledger, by device and operation.
#[derive(Default)]
struct Seen<'l> {
    devices: BTreeMap<&'l str, SeenDevice<'l>>,
    /// Device, method and key by operation.
    operations: BTreeMap<&'l str, (&'l str, &'l str, &'l str)>,
}

#[derive(Default)]
struct SeenDevice<'l> {
    sent: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    completed: BTreeSet<&'l str>,
    asked: BTreeMap<(&'l str, &'l str), usize>,
    /// Method and key of what was asked for through the API.
    keys: BTreeSet<(&'l str, &'l str)>,
}

impl<'l> Seen<'l> {
    fn of(ledger: &'l Ledger) -> Self {
        let mut seen = Self::default();
        for entry in &ledger.0 {
            match entry {
                Entry::Sent { device, counter } => {
                    seen.device(device).sent.insert(*counter);
                }
                Entry::Acknowledged { device, counter } => {
                    seen.device(device).acknowledged.insert(*counter);
                }
                Entry::Broken { .. } => {}
                Entry::Asked {
                    device,
                    method,
                    key,
                } => {
                    *seen.device(device).asked.entry((method, key)).or_default() += 1;
                }
                Entry::Completed {
                    device,
                    command_key,
                } => {
                    seen.device(device).completed.insert(command_key);
                }
                Entry::Accepted {
                    operation,
                    device,
                    method,
                    key,
                } => {
                    seen.device(device).keys.insert((method, key));
                    seen.operations.insert(operation, (device, method, key));
                }
            }
        }
        seen
    }

    fn device(&mut self, device: &'l str) -> &mut SeenDevice<'l> {
        self.devices.entry(device).or_default()
    }
}

/// Whether a request must reach its device once at most: every Download, and whatever was asked for through the API. What provisioning sets by
/// itself may be repeated.
fn is_once(method: &str, key: &str, asked_for: &BTreeSet<(&str, &str)>) -> bool {
    method == "Download" || asked_for.contains(&(method, key))
}

/// A device sends an Inform once the one before it was acknowledged or given up: so whatever place keeps them has those that were acknowledged in rising
/// order. One that was given up may come late: it was on its way when the device heard that it was not taken.
fn counters(
    device: &str,
    seen: &SeenDevice<'_>,
    place: Place,
    counters: &[u64],
    violations: &mut Vec<Violation>,
) {
    let device = || device.to_owned();
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    let mut highest = 0;
    for &counter in counters {
        let times = times.entry(counter).or_default();
        *times += 1;
        if *times > 1 || !seen.acknowledged.contains(&counter) {
            continue;
        }
        if counter < highest {
            violations.push(Violation::Disorder {
                device: device(),
                place,
                counter,
                behind: highest,
            });
        }
        highest = highest.max(counter);
    }
    for &counter in seen
        .acknowledged
        .iter()
        .filter(|counter| !times.contains_key(counter))
    {
        violations.push(Violation::Lost {
            device: device(),
            place,
            counter,
        });
    }
    for (counter, times) in times {
        if !seen.sent.contains(&counter) {
            violations.push(Violation::Invented {
                device: device(),
                place,
                counter,
            });
        }
        // An Inform whose answer was lost comes again, and stands on the log again.
        if times > 1 && place != Place::Log {
            violations.push(Violation::Repeated {
                device: device(),
                place,
                counter,
                times,
            });
        }
    }
}

/// The chain verifies, and its sets are those that were announced.
fn chain(device: &str, kept: &KeptDevice, violations: &mut Vec<Violation>) {
    if let Some(sequence) = kept.broken_at {
        violations.push(Violation::BrokenChain {
            device: device.to_owned(),
            sequence,
        });
    }
    let sets: BTreeMap<u64, &str> = kept
        .readings
        .iter()
        .map(|reading| (reading.sequence, reading.hash.as_str()))
        .collect();
    let none = BTreeSet::new();
    let sequences: BTreeSet<u64> = sets.keys().chain(kept.announced.keys()).copied().collect();
    for sequence in sequences {
        let announced = kept.announced.get(&sequence).unwrap_or(&none);
        let is_same = announced.len() == 1
            && sets
                .get(&sequence)
                .is_some_and(|hash| announced.contains(*hash));
        if !is_same {
            violations.push(Violation::Forked {
                device: device.to_owned(),
                sequence,
                announced: announced.clone(),
            });
        }
    }
}

fn transfers(
    device: &str,
    seen: &SeenDevice<'_>,
    kept: &KeptDevice,
    violations: &mut Vec<Violation>,
) {
    for command_key in &seen.completed {
        if !kept.transfers.iter().any(|key| key == command_key) {
            violations.push(Violation::LostTransfer {
                device: device.to_owned(),
                command_key: (*command_key).to_owned(),
            });
        }
    }
}

fn operations(seen: &Seen<'_>, kept: &Kept, violations: &mut Vec<Violation>) {
    for (operation, (device, method, key)) in &seen.operations {
        let operation = (*operation).to_owned();
        let was_asked = seen
            .devices
            .get(device)
            .is_some_and(|device| device.asked.contains_key(&(*method, *key)));
        match kept.operations.get(&operation).map(String::as_str) {
            None => violations.push(Violation::LostOperation { operation }),
            Some(state) if !Kept::is_terminal(state) => {
                violations.push(Violation::OpenOperation {
                    operation,
                    state: state.to_owned(),
                });
            }
            Some("SUCCEEDED") if !was_asked => violations.push(Violation::Unfounded { operation }),
            Some(_) => {}
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "D";

    fn sent(counter: u64) -> Entry {
        Entry::Sent {
            device: DEVICE.into(),
            counter,
        }
    }

    fn acknowledged(counter: u64) -> Entry {
        Entry::Acknowledged {
            device: DEVICE.into(),
            counter,
        }
    }

    fn asked(method: &str, key: &str) -> Entry {
        Entry::Asked {
            device: DEVICE.into(),
            method: method.into(),
            key: key.into(),
        }
    }

    fn accepted(operation: &str, method: &str, key: &str) -> Entry {
        Entry::Accepted {
            operation: operation.into(),
            device: DEVICE.into(),
            method: method.into(),
            key: key.into(),
        }
    }

    fn completed(command_key: &str) -> Entry {
        Entry::Completed {
            device: DEVICE.into(),
            command_key: command_key.into(),
        }
    }

    fn hash(sequence: u64) -> String {
        format!("hash of {sequence}")
    }

    /// A run in which much went wrong and every promise was kept: an Inform that was repeated, one that was given up and had arrived, one that was
    /// given up and had not, a set that was repeated by provisioning, a download, and an operation whose outcome nobody knows.
    fn honest() -> (Ledger, Kept) {
        let ledger = vec![
            sent(1),
            acknowledged(1),
            asked("SetParameterValues", "a digest"),
            accepted("op1", "Download", "op1"),
            accepted("op2", "SetParameterValues", "s2"),
            sent(2),
            sent(2),
            acknowledged(2),
            asked("Download", "op1"),
            asked("SetParameterValues", "a digest"),
            sent(3),
            sent(4),
            sent(5),
            acknowledged(5),
            completed("op1"),
        ];
        let reading = |sequence, value| Reading {
            sequence,
            value,
            hash: hash(sequence),
        };
        let device = KeptDevice {
            log: vec![1, 2, 2, 3, 5],
            transfers: vec!["op1".into(), "op1".into()],
            events: vec![1, 2, 3, 5],
            readings: vec![reading(1, 1), reading(2, 2), reading(3, 3), reading(4, 5)],
            broken_at: None,
            announced: (1..=4).map(|n| (n, [hash(n)].into())).collect(),
        };
        let kept = Kept {
            devices: [(DEVICE.to_owned(), device)].into(),
            operations: [
                ("op1".to_owned(), "SUCCEEDED".to_owned()),
                ("op2".to_owned(), "FAILED".to_owned()),
            ]
            .into(),
        };
        (Ledger(ledger), kept)
    }

    #[test]
    fn a_run_that_kept_every_promise_passes() {
        let (ledger, kept) = honest();
        assert_eq!(check(&ledger, &kept), []);
        assert_eq!(check(&Ledger::default(), &Kept::default()), []);
    }

    #[test]
    fn what_was_not_acknowledged_may_come_late() {
        let (ledger, mut kept) = honest();
        let device = kept.devices.get_mut(DEVICE).unwrap();
        // 3 was given up, and 2 was sent twice.
        device.log = vec![1, 2, 5, 3, 2];
        device.events = vec![1, 2, 5, 3];
        device.readings.swap(2, 3);
        assert_eq!(check(&ledger, &kept), []);
        assert_eq!(device_of(&kept).stragglers(), 1);
    }

    fn device_of(kept: &Kept) -> &KeptDevice {
        &kept.devices[DEVICE]
    }

    #[test]
    fn every_broken_promise_is_found() {
        use Place::{Events, Log, Readings};
        let device = || DEVICE.to_owned();
        let lost = |place, counter| Violation::Lost {
            device: device(),
            place,
            counter,
        };
        let repeated = |place, counter| Violation::Repeated {
            device: device(),
            place,
            counter,
            times: 2,
        };
        let invented = |place, counter| Violation::Invented {
            device: device(),
            place,
            counter,
        };
        let disorder = |place, counter, behind| Violation::Disorder {
            device: device(),
            place,
            counter,
            behind,
        };
        let forked = |sequence, announced: &[String]| Violation::Forked {
            device: device(),
            sequence,
            announced: announced.iter().cloned().collect(),
        };
        let again = |method: &str, key: &str| Violation::AskedAgain {
            device: device(),
            method: method.into(),
            key: key.into(),
            times: 2,
        };
        type Tamper = fn(&mut Vec<Entry>, &mut KeptDevice, &mut BTreeMap<String, String>);
        let cases: Vec<(&str, Tamper, Vec<Violation>)> = vec![
            (
                "an acknowledged Inform is not on the log",
                |_, kept, _| kept.log.retain(|c| *c != 5),
                vec![lost(Log, 5)],
            ),
            (
                "nor among the events",
                |_, kept, _| kept.events.retain(|c| *c != 2),
                vec![lost(Events, 2)],
            ),
            (
                "nor in the ledger of readings",
                |_, kept, _| {
                    kept.readings.pop();
                    kept.announced.remove(&4);
                },
                vec![lost(Readings, 5)],
            ),
            (
                "an event twice",
                |_, kept, _| kept.events.insert(2, 2),
                vec![repeated(Events, 2)],
            ),
            (
                "a reading twice, by two hands",
                |_, kept, _| {
                    kept.readings.push(Reading {
                        sequence: 5,
                        value: 5,
                        hash: hash(5),
                    });
                    kept.announced.insert(5, [hash(5)].into());
                },
                vec![repeated(Readings, 5)],
            ),
            (
                "an Inform that nobody sent",
                |_, kept, _| kept.log.push(9),
                vec![invented(Log, 9)],
            ),
            (
                "an event that nobody sent",
                |_, kept, _| kept.events.push(9),
                vec![invented(Events, 9)],
            ),
            (
                "Informs on the log in another order than the device's",
                |_, kept, _| kept.log = vec![1, 5, 2, 2, 3],
                vec![disorder(Log, 2, 5)],
            ),
            (
                "events in another order than the device's",
                |_, kept, _| kept.events.swap(0, 1),
                vec![disorder(Events, 1, 2)],
            ),
            (
                "a chain that does not verify",
                |_, kept, _| kept.broken_at = Some(3),
                vec![Violation::BrokenChain {
                    device: device(),
                    sequence: 3,
                }],
            ),
            (
                "two sets of one number were announced",
                |_, kept, _| {
                    kept.announced.get_mut(&2).unwrap().insert("another".into());
                },
                vec![forked(2, &["another".into(), hash(2)])],
            ),
            (
                "another set was announced than is kept",
                |_, kept, _| {
                    kept.announced.insert(2, ["another".into()].into());
                },
                vec![forked(2, &["another".into()])],
            ),
            (
                "a set was not announced",
                |_, kept, _| {
                    kept.announced.remove(&1);
                },
                vec![forked(1, &[])],
            ),
            (
                "a set was announced and is not kept",
                |_, kept, _| {
                    kept.announced.insert(7, [hash(7)].into());
                },
                vec![forked(7, &[hash(7)])],
            ),
            (
                "an answered TransferComplete is not on the log",
                |_, kept, _| kept.transfers.clear(),
                vec![Violation::LostTransfer {
                    device: device(),
                    command_key: "op1".into(),
                }],
            ),
            (
                "two Downloads of one attempt",
                |entries, _, _| entries.push(asked("Download", "op1")),
                vec![again("Download", "op1")],
            ),
            (
                "two Downloads that the API's answer never told of",
                |entries, _, _| {
                    entries.extend([asked("Download", "x"), asked("Download", "x")]);
                },
                vec![again("Download", "x")],
            ),
            (
                "an operation's set twice",
                |entries, _, _| {
                    entries.extend([
                        asked("SetParameterValues", "s2"),
                        asked("SetParameterValues", "s2"),
                    ]);
                },
                vec![again("SetParameterValues", "s2")],
            ),
            (
                "an operation that was accepted and is unknown",
                |_, _, operations| {
                    operations.remove("op2");
                },
                vec![Violation::LostOperation {
                    operation: "op2".into(),
                }],
            ),
            (
                "an operation that never ends",
                |_, _, operations| {
                    operations.insert("op2".into(), "RUNNING".into());
                },
                vec![Violation::OpenOperation {
                    operation: "op2".into(),
                    state: "RUNNING".into(),
                }],
            ),
            (
                "a success of which the device knows nothing",
                |_, _, operations| {
                    operations.insert("op2".into(), "SUCCEEDED".into());
                },
                vec![Violation::Unfounded {
                    operation: "op2".into(),
                }],
            ),
        ];
        for (what, tamper, expected) in cases {
            let (mut ledger, mut kept) = honest();
            let device = kept.devices.get_mut(DEVICE).unwrap();
            tamper(&mut ledger.0, device, &mut kept.operations);
            assert_eq!(check(&ledger, &kept), expected, "{what}");
        }
    }

    #[test]
    fn a_device_that_nothing_is_known_of_has_lost_everything() {
        let (ledger, kept) = honest();
        let forgotten = Kept {
            devices: BTreeMap::new(),
            ..kept
        };
        let found = check(&ledger, &forgotten);
        // Three Informs in three places, and the TransferComplete.
        assert_eq!(found.len(), 10, "{found:?}");
    }
}
