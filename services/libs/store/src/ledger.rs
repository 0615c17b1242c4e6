//! The chain of a device's reading sets: canonical bytes, hash, verification. Pure.
//!
//! Every set is hashed together with the hash of its predecessor and with the device that it belongs to, so that none can be changed,
//! taken out, put in, or moved to another device without the change being seen. `docs/metering.md` describes the canonical bytes for whoever
//! wants to verify a ledger without this program.

use aws_lc_rs::digest::{SHA256, digest};
use platen_proto::store::v1::ReadingSet;

/// First bytes of what is hashed: names the form, so that another form can never give the same bytes.
const FORM: &str = "platen.reading-set.1";

/// The bytes of a set that its hash covers: everything but `hash` and `until_us`, and the device.
///
/// Numbers are big-endian, 8 bytes (signed ones in two's complement); texts and byte strings are preceded by their length in bytes as such a number.
#[must_use]
pub fn canonical_bytes(tenant: &str, device: &str, set: &ReadingSet) -> Vec<u8> {
    let mut bytes = Bytes(Vec::with_capacity(512));
    bytes.text(FORM);
    bytes.text(tenant);
    bytes.text(device);
    bytes.number(set.sequence);
    bytes.number(set.position);
    bytes.text(&set.session);
    bytes.number(u64::from(set.ordinal));
    bytes.signed(set.receive_time_us);
    bytes.text(&set.device_time);
    bytes.signed(set.reading_time_us);
    bytes.number(set.values.len() as u64);
    for value in &set.values {
        bytes.text(&value.meter);
        bytes.text(&value.source);
        bytes.number(value.value);
        bytes.signed(i64::from(value.quality));
        bytes.number(value.flags.len() as u64);
        for flag in &value.flags {
            bytes.text(flag);
        }
    }
    bytes.octets(&set.previous_hash);
    bytes.0
}

/// SHA-256 over [`canonical_bytes`].
#[must_use]
pub fn hash(tenant: &str, device: &str, set: &ReadingSet) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &canonical_bytes(tenant, device, set)).as_ref());
    hash
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn signed(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.0.extend_from_slice(octets);
    }

    fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }
}

/// What is wrong with a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its hash is not that of its content.
    #[error("the content does not match the hash")]
    Content,
    /// It does not name the hash of the set before it.
    #[error("the set does not follow the one before it")]
    Predecessor,
    /// Its number does not follow.
    #[error("sets are missing before it, or come twice")]
    Sequence,
}

/// Where a chain is broken. Somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is broken at reading set {sequence}: {fault}")]
pub struct Broken {
    /// Number of the first set that does not hold; 1 if it is the first.
    pub sequence: u64,
    /// Why.
    pub fault: Fault,
}

/// Walks the chain of one device, set by set in ascending order, across any number of pages.
#[derive(Debug, Clone)]
pub struct Verifier<'d> {
    tenant: &'d str,
    device: &'d str,
    sets: u64,
    head: Vec<u8>,
}

impl<'d> Verifier<'d> {
    /// At the beginning of a device's chain.
    #[must_use]
    pub const fn new(tenant: &'d str, device: &'d str) -> Self {
        Self {
            tenant,
            device,
            sets: 0,
            head: Vec::new(),
        }
    }

    /// Checks the next set.
    ///
    /// # Errors
    ///
    /// [`Broken`]: this set, or what lies between it and the one before, has been changed. The walk cannot go on.
    pub fn check(&mut self, set: &ReadingSet) -> Result<(), Broken> {
        let expected = self.sets + 1;
        let broken = |fault| Broken {
            sequence: expected,
            fault,
        };
        if set.sequence != expected {
            return Err(broken(Fault::Sequence));
        }
        if set.previous_hash != self.head {
            return Err(broken(Fault::Predecessor));
        }
        let hash = hash(self.tenant, self.device, set);
        if set.hash != hash.as_slice() {
            return Err(broken(Fault::Content));
        }
        self.sets = expected;
        self.head = hash.to_vec();
        Ok(())
    }

    /// Sets that were checked and hold.
    #[must_use]
    pub const fn sets(&self) -> u64 {
        self.sets
    }

    /// Hash of the last of them; empty if there is none.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }
}

/// Verifies all sets of a device, in ascending order. `Ok`: how many they are.
///
/// # Errors
///
/// As [`Verifier::check`].
pub fn verify<'s>(
    tenant: &str,
    device: &str,
    sets: impl IntoIterator<Item = &'s ReadingSet>,
) -> Result<u64, Broken> {
    let mut verifier = Verifier::new(tenant, device);
    for set in sets {
        verifier.check(set)?;
    }
    Ok(verifier.sets())
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::store::v1::MeterValue;

    fn chain(length: u64) -> Vec<ReadingSet> {
        let mut sets: Vec<ReadingSet> = Vec::new();
        for sequence in 1..=length {
            let mut set = ReadingSet {
                sequence,
                position: 1_795_420_800_000_000 + sequence,
                session: "00112233445566778899aabbccddeeff".into(),
                ordinal: 0,
                receive_time_us: 1_795_420_800_000_000,
                device_time: "2026-11-23T08:00:00Z".into(),
                reading_time_us: 1_795_420_800_000_000,
                values: vec![MeterValue {
                    meter: "TOTAL".into(),
                    source: "Device.Services.MFPService.1.Counters.Total.TotalImpressions".into(),
                    value: 81_234 + sequence,
                    quality: 1,
                    ..MeterValue::default()
                }],
                previous_hash: sets.last().map(|set| set.hash.clone()).unwrap_or_default(),
                ..ReadingSet::default()
            };
            set.hash = hash("default", "00D09E-LaserPro-SN1", &set).to_vec().into();
            sets.push(set);
        }
        sets
    }

    #[test]
    fn the_canonical_form_never_changes() {
        // docs/metering.md gives this hash as its example: a change here breaks every ledger.
        let hex: String = chain(1)[0]
            .hash
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "5f7469626eb7a45ff4fa186b33ba3fd6d011adf7ab3ad4a02b5f80f8eaab3fc8"
        );
    }

    #[test]
    fn every_change_is_seen() {
        let check = |change: fn(&mut Vec<ReadingSet>), expect: Result<u64, (u64, Fault)>| {
            let mut sets = chain(4);
            change(&mut sets);
            let found = verify("default", "00D09E-LaserPro-SN1", &sets)
                .map_err(|broken| (broken.sequence, broken.fault));
            assert_eq!(found, expect);
        };
        check(|_| {}, Ok(4));
        check(|sets| sets.truncate(0), Ok(0));
        check(|sets| sets[3].until_us = 9, Ok(4));
        check(
            |sets| sets[1].values[0].value += 1,
            Err((2, Fault::Content)),
        );
        check(
            |sets| sets[1].values[0].quality = 3,
            Err((2, Fault::Content)),
        );
        check(
            |sets| sets[1].values[0].flags.push("X".into()),
            Err((2, Fault::Content)),
        );
        check(
            |sets| sets[2].reading_time_us += 1,
            Err((3, Fault::Content)),
        );
        check(
            |sets| sets[2].device_time.push(' '),
            Err((3, Fault::Content)),
        );
        check(|sets| drop(sets.remove(0)), Err((1, Fault::Sequence)));
        check(|sets| drop(sets.remove(2)), Err((3, Fault::Sequence)));
        check(|sets| sets.swap(1, 2), Err((2, Fault::Sequence)));
        check(
            |sets| sets.insert(1, sets[0].clone()),
            Err((2, Fault::Sequence)),
        );
        check(
            |sets| {
                // Rewritten with a correct hash of its own: the next one gives it away.
                sets[1].values[0].value += 1;
                sets[1].hash = hash("default", "00D09E-LaserPro-SN1", &sets[1])
                    .to_vec()
                    .into();
            },
            Err((3, Fault::Predecessor)),
        );
    }

    #[test]
    fn a_chain_belongs_to_its_device() {
        let sets = chain(2);
        let first = Err(Broken {
            sequence: 1,
            fault: Fault::Content,
        });
        assert_eq!(verify("default", "00D09E-LaserPro-SN2", &sets), first);
        assert_eq!(verify("acme", "00D09E-LaserPro-SN1", &sets), first);
    }

    #[test]
    fn texts_cannot_flow_into_each_other() {
        let mut set = chain(1).remove(0);
        let one = canonical_bytes("a", "bc", &set);
        assert_ne!(one, canonical_bytes("ab", "c", &set));
        set.values[0].flags = vec!["A".into(), "B".into()];
        let two = canonical_bytes("a", "bc", &set);
        set.values[0].flags = vec!["AB".into()];
        assert_ne!(two, canonical_bytes("a", "bc", &set));
    }
}
