//! What an SNMP agent says, as values: object identifiers, typed values, and a walk that holds many of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The most sub-identifiers that an object identifier may have (RFC 2578 §3.5).
pub const MAX_ARCS: usize = 128;

/// An object identifier. Orders as agents walk: arc by arc, a prefix before what it is a prefix of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Oid(Vec<u32>);

/// A text that is no object identifier. The fault is the writer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no object identifier")]
pub struct OidError(String);

impl Oid {
    /// The identifier with these arcs.
    #[must_use]
    pub fn new(arcs: &[u32]) -> Self {
        Self(arcs.to_vec())
    }

    /// The arcs.
    #[must_use]
    pub fn arcs(&self) -> &[u32] {
        &self.0
    }

    /// The identifier with `arcs` appended.
    #[must_use]
    pub fn join(&self, arcs: &[u32]) -> Self {
        Self([self.arcs(), arcs].concat())
    }

    /// Whether this is `prefix` or lies below it.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The arcs below `prefix`; `None` when this does not lie below it.
    #[must_use]
    pub fn strip_prefix(&self, prefix: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(prefix.arcs())
    }
}

impl FromStr for Oid {
    type Err = OidError;

    /// Reads dotted decimals, with or without a leading dot.
    fn from_str(text: &str) -> Result<Self, OidError> {
        let error = || OidError(text.chars().take(80).collect());
        let dotted = text.strip_prefix('.').unwrap_or(text);
        let mut arcs = Vec::new();
        for arc in dotted.split('.') {
            if arcs.len() == MAX_ARCS || !arc.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(error());
            }
            arcs.push(arc.parse().map_err(|_| error())?);
        }
        Ok(Self(arcs))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, arc) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            write!(f, "{arc}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// The value of an object instance. Exceptions (no such object, end of view) are no values: such instances are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// INTEGER, also enumerations.
    Integer(i32),
    /// OCTET STRING: text or bytes.
    Octets(Vec<u8>),
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// An IPv4 address.
    IpAddress([u8; 4]),
    /// A counter that wraps at 2³².
    Counter32(u32),
    /// An unsigned number that does not wrap.
    Gauge32(u32),
    /// Hundredths of a second.
    TimeTicks(u32),
    /// Bytes of an encoding of the vendor's.
    Opaque(Vec<u8>),
    /// A counter that wraps at 2⁶⁴.
    Counter64(u64),
    /// NULL.
    Null,
}

impl Value {
    /// The number, whichever numeric type carries it.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Integer(number) => Some(number.into()),
            Self::Counter32(number) | Self::Gauge32(number) | Self::TimeTicks(number) => {
                Some(number.into())
            }
            Self::Counter64(number) => number.try_into().ok(),
            Self::Octets(_) | Self::Oid(_) | Self::IpAddress(_) | Self::Opaque(_) | Self::Null => {
                None
            }
        }
    }

    /// A count: the number where it is not negative.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match *self {
            Self::Counter64(number) => Some(number),
            _ => self.as_i64()?.try_into().ok(),
        }
    }

    /// The bytes of an octet string.
    #[must_use]
    pub fn as_octets(&self) -> Option<&[u8]> {
        match self {
            Self::Octets(octets) => Some(octets),
            _ => None,
        }
    }

    /// The object identifier.
    #[must_use]
    pub fn as_oid(&self) -> Option<&Oid> {
        match self {
            Self::Oid(oid) => Some(oid),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Octets(text.as_bytes().to_vec())
    }
}

/// What was read from an agent: instances and their values, in the order of a walk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk(BTreeMap<Oid, Value>);

impl Walk {
    /// The value of the instance `oid`.
    #[must_use]
    pub fn get(&self, oid: &Oid) -> Option<&Value> {
        self.0.get(oid)
    }

    /// Puts a value in place of what was there.
    pub fn insert(&mut self, oid: Oid, value: Value) {
        self.0.insert(oid, value);
    }

    /// Takes over everything that `newer` holds.
    pub fn extend(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Forgets everything below `prefix`, itself included.
    pub fn remove_subtree(&mut self, prefix: &Oid) {
        self.0.retain(|oid, _| !oid.starts_with(prefix));
    }

    /// The instances below `prefix`, each as its arcs below that and its value.
    pub fn below<'a>(&'a self, prefix: &'a Oid) -> impl Iterator<Item = (&'a [u32], &'a Value)> {
        self.0
            .range(prefix..)
            .map_while(|(oid, value)| Some((oid.strip_prefix(prefix)?, value)))
    }

    /// Every instance.
    pub fn iter(&self) -> impl Iterator<Item = (&Oid, &Value)> {
        self.0.iter()
    }

    /// How many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The instances as a map, for who serves them.
    #[must_use]
    pub fn into_objects(self) -> BTreeMap<Oid, Value> {
        self.0
    }
}

impl From<BTreeMap<Oid, Value>> for Walk {
    fn from(objects: BTreeMap<Oid, Value>) -> Self {
        Self(objects)
    }
}

impl FromIterator<(Oid, Value)> for Walk {
    /// Of entries with the same identifier the last counts.
    fn from_iter<T: IntoIterator<Item = (Oid, Value)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn oid(text: &str) -> Oid {
        text.parse().unwrap()
    }

    #[test]
    fn identifiers_are_read_and_written() {
        assert_eq!(oid(".1.3.6.1"), Oid::new(&[1, 3, 6, 1]));
        assert_eq!(oid("1.3.4294967295").to_string(), "1.3.4294967295");
        for text in [
            "",
            ".",
            "1..3",
            "1.3.",
            "1.-3",
            "1.+3",
            "1.4294967296",
            "iso.3",
            " 1.3",
        ] {
            assert!(text.parse::<Oid>().is_err(), "{text:?}");
        }
        assert!(vec!["1"; MAX_ARCS + 1].join(".").parse::<Oid>().is_err());
    }

    #[test]
    fn a_subtree_ends_where_the_prefix_ends() {
        let walk: Walk = ["1.3.1", "1.3.2.1", "1.3.2.10", "1.3.20.1", "1.4"]
            .into_iter()
            .map(|text| (oid(text), Value::Null))
            .collect();

        let below: Vec<_> = walk
            .below(&oid("1.3.2"))
            .map(|(arcs, _)| arcs.to_vec())
            .collect();

        assert_eq!(below, [vec![1], vec![10]]);
    }

    #[test]
    fn a_count_is_never_negative() {
        assert_eq!(Value::Integer(-2).as_count(), None);
        assert_eq!(Value::Counter64(u64::MAX).as_count(), Some(u64::MAX));
        assert_eq!(Value::Counter64(u64::MAX).as_i64(), None);
    }

    proptest! {
        #[test]
        fn text_form_reads_back(arcs in proptest::collection::vec(any::<u32>(), 1..MAX_ARCS)) {
            let oid = Oid(arcs);
            prop_assert_eq!(oid.to_string().parse::<Oid>(), Ok(oid));
        }
    }
}
