//! Which parts of a read to ask for, once a device has refused the whole: pure.
//!
//! A device that misses one path of many refuses them all (RPC-36). Halves are asked for, in order, and the refused ones are halved again, so that every path
//! is read or refused by itself: one missing path among 32 takes ten requests more. Where the next part begins follows from where the last one ended.

use platen_cwmp::fault::FaultCode;
use platen_proto::{device::v1::CwmpFault, operation::v1::ParameterValue};
use std::{collections::HashMap, ops::Range};

/// Whether a read that is refused with this fault may succeed for fewer paths: one of them is missing, or they are too much at a time.
pub(crate) fn may_narrow(fault: &CwmpFault) -> bool {
    is_missing(fault) || is_code(fault, FaultCode::RESOURCES_EXCEEDED)
}

/// Whether the device has no such path.
pub(crate) fn is_missing(fault: &CwmpFault) -> bool {
    is_code(fault, FaultCode::INVALID_PARAMETER_NAME)
}

fn is_code(fault: &CwmpFault, code: FaultCode) -> bool {
    i64::from(fault.code) == i64::from(code.0)
}

/// The first half of a part that was refused; `None`: it is a single path.
pub(crate) fn first_half(part: &Range<usize>) -> Option<Range<usize>> {
    (part.len() > 1).then(|| part.start..middle(part))
}

/// What follows the part that ended before `end`, of `all` paths; `None`: that was the last.
pub(crate) fn after(all: usize, end: usize) -> Option<Range<usize>> {
    let mut part = 0..all;
    while part.contains(&end) {
        let middle = middle(&part);
        if middle == end || part.len() < 2 {
            return Some(end..part.end);
        }
        if end < middle {
            part.end = middle;
        } else {
            part.start = middle;
        }
    }
    None
}

const fn middle(part: &Range<usize>) -> usize {
    part.start + (part.end - part.start) / 2
}

/// Each value once: a part that was asked for twice, since its session broke off, was answered twice, and the later answer counts.
pub(crate) fn distinct(values: Vec<ParameterValue>) -> Vec<ParameterValue> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut distinct: Vec<ParameterValue> = Vec::new();
    for value in values {
        if let Some(place) = places.get(&value.path) {
            distinct[*place] = value;
        } else {
            places.insert(value.path.clone(), distinct.len());
            distinct.push(value);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What a device without the paths `missing` has been asked for: how often, what it gave, what it refused by itself.
    fn asked(all: usize, missing: &BTreeSet<usize>) -> (usize, Vec<usize>, Vec<usize>) {
        let (mut requests, mut read, mut absent) = (0, Vec::new(), Vec::new());
        let mut next = Some(0..all);
        while let Some(part) = next {
            requests += 1;
            let is_refused = part.clone().any(|path| missing.contains(&path));
            if let (true, Some(half)) = (is_refused, first_half(&part)) {
                next = Some(half);
                continue;
            }
            if is_refused {
                absent.extend(part.clone());
            } else {
                read.extend(part.clone());
            }
            next = after(all, part.end);
        }
        (requests, read, absent)
    }

    #[test]
    fn one_missing_path_of_32_takes_11_requests() {
        for missing in 0..32 {
            let (requests, read, absent) = asked(32, &BTreeSet::from([missing]));
            assert_eq!((requests, read.len(), absent), (11, 31, vec![missing]));
        }
    }

    proptest! {
        #[test]
        fn every_path_is_read_or_refused_once_and_in_order(
            all in 1_usize..200,
            missing in proptest::collection::btree_set(0_usize..200, 0..6),
        ) {
            let missing: BTreeSet<usize> = missing.into_iter().filter(|path| *path < all).collect();
            let (requests, read, absent) = asked(all, &missing);
            let depth = all.next_power_of_two().ilog2() as usize;
            prop_assert!(requests <= 1 + 2 * depth * missing.len());
            prop_assert_eq!(absent, missing.iter().copied().collect::<Vec<_>>());
            let expected: Vec<usize> = (0..all).filter(|path| !missing.contains(path)).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_end_has_an_end(all in 0_usize..300, end in 0_usize..400) {
            let next = after(all, end);
            prop_assert_eq!(next.is_some(), end < all);
            prop_assert!(next.is_none_or(|part| part.start == end && part.end <= all && !part.is_empty()));
        }
    }
}
