//! What a printer has told over many polls, as one walk.

use std::collections::BTreeMap;

use platen_datamodel::mib;
use platen_datamodel::snmp::{Oid, Walk};

use crate::snmp::Subtree;

/// After so many complete polls without it a row is gone (MAP-13).
const MISSES: u8 = 3;

/// The newest value of everything that a printer has told.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    walk: Walk,
    missed: BTreeMap<Oid, u8>,
}

impl Memory {
    /// Everything, as one walk.
    #[must_use]
    pub fn walk(&self) -> &Walk {
        &self.walk
    }

    /// Takes over single instances that were read.
    pub fn take(&mut self, objects: Walk) {
        self.walk.extend(objects);
    }

    /// Takes over what was read below `prefix`. What is missing in a complete read goes, rows of the printer's tables only when they are
    /// missing for the third time; an incomplete read deletes nothing (MAP-13, MAP-54).
    pub fn take_subtree(&mut self, prefix: &Oid, subtree: Subtree) {
        if subtree.complete {
            let patient = prefix.starts_with(&Oid::new(mib::PRINTER))
                && !prefix.starts_with(&Oid::new(mib::ALERT));
            let missing: Vec<Oid> = self
                .walk
                .below(prefix)
                .map(|(arcs, _)| prefix.join(arcs))
                .filter(|oid| subtree.objects.get(oid).is_none())
                .collect();
            for oid in missing {
                let misses = self.missed.entry(oid.clone()).or_insert(0);
                *misses += 1;
                if !patient || *misses >= MISSES {
                    self.missed.remove(&oid);
                    self.walk.remove_subtree(&oid);
                }
            }
        }
        for (oid, _) in subtree.objects.iter() {
            self.missed.remove(oid);
        }
        self.walk.extend(subtree.objects);
    }
}

#[cfg(test)]
mod tests {
    use platen_datamodel::snmp::Value;

    use super::*;

    fn subtree(entry: &[u32], rows: &[u32], complete: bool) -> Subtree {
        Subtree {
            objects: rows
                .iter()
                .map(|&row| (Oid::new(&[entry, &[9, 1, row]].concat()), Value::Integer(1)))
                .collect(),
            complete,
        }
    }

    fn rows_after(entry: &'static [u32], polls: &[(&[u32], bool)]) -> Vec<u32> {
        let mut memory = Memory::default();
        let prefix = Oid::new(entry);
        for &(rows, complete) in polls {
            memory.take_subtree(&prefix, subtree(entry, rows, complete));
        }
        memory
            .walk()
            .below(&prefix)
            .map(|(arcs, _)| arcs[2])
            .collect()
    }

    #[test]
    fn a_row_goes_after_three_complete_polls_without_it() {
        let both: (&[u32], bool) = (&[1, 2], true);
        let one: (&[u32], bool) = (&[1], true);
        assert_eq!(rows_after(mib::SUPPLIES, &[both, one, one]), [1, 2]);
        assert_eq!(rows_after(mib::SUPPLIES, &[both, one, one, one]), [1]);
        assert_eq!(
            rows_after(mib::SUPPLIES, &[both, one, one, both, one, one]),
            [1, 2]
        );
    }

    #[test]
    fn an_incomplete_poll_deletes_nothing() {
        assert_eq!(
            rows_after(
                mib::SUPPLIES,
                &[(&[1, 2], true), (&[1], false), (&[], false), (&[1], false)]
            ),
            [1, 2]
        );
    }

    #[test]
    fn an_alert_goes_at_once() {
        assert_eq!(
            rows_after(mib::ALERT, &[(&[4, 5], true), (&[5], true)]),
            [5]
        );
    }
}
