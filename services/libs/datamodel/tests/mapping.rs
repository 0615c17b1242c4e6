//! The mapping, over walks that no printer would tell: whatever they hold, it neither panics nor breaks the rules of the model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use platen_datamodel::mib;
use platen_datamodel::path::Path;
use platen_datamodel::printer::{Context, map};
use platen_datamodel::snmp::{Oid, Value, Walk};
use proptest::prelude::*;
use proptest::sample::select;

const ENTRIES: &[&[u32]] = &[
    mib::GENERAL,
    mib::COVER,
    mib::LOCALIZATION,
    mib::INPUT,
    mib::OUTPUT,
    mib::MARKER,
    mib::SUPPLIES,
    mib::COLORANT,
    mib::MEDIA_PATH,
    mib::CHANNEL,
    mib::INTERPRETER,
    mib::CONSOLE,
    mib::ALERT,
    mib::HR_DEVICE,
    mib::HR_PRINTER,
    mib::HR_STORAGE,
    mib::PORT_MONITOR,
];

/// Enterprises whose private counters are read.
const OBJECT_IDS: &[&str] = &[
    "1.3.6.1.4.1.11.2.3.9.1",
    "1.3.6.1.4.1.1347.41",
    "1.3.6.1.4.1.367.1.1",
    "1.3.6.1.4.1.18334.1",
    "1.3.6.1.4.1.2435.2",
    "1.3.6.1.4.1.2385.3",
    "1.3.6.1.4.1.253.8",
    "1.3.6.1.4.1.9999",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::Integer),
        (-3..120).prop_map(Value::Integer),
        any::<u32>().prop_map(Value::Counter32),
        any::<u64>().prop_map(Value::Counter64),
        any::<u32>().prop_map(Value::TimeTicks),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Octets),
        "[ -~]{0,40}".prop_map(|text| Value::from(text.as_str())),
        Just(Value::Null),
        Just(Value::Oid(Oid::new(mib::HR_DEVICE_PRINTER))),
    ]
}

fn object() -> impl Strategy<Value = (Oid, Value)> {
    let index = prop_oneof![
        Just(vec![1]),
        (1..4_u32, 0..70_000_u32).prop_map(|(device, row)| vec![device, row])
    ];
    let table = (select(ENTRIES), 1..25_u32, index)
        .prop_map(|(entry, column, index)| Oid::new(&[entry, &[column], &index].concat()));
    let private = (
        select(OBJECT_IDS),
        proptest::collection::vec(0..60_u32, 1..12),
    )
        .prop_map(|(enterprise, below)| {
            let enterprise: Oid = enterprise.parse().unwrap();
            enterprise.join(&below)
        });
    (prop_oneof![4 => table, 1 => private], value())
}

proptest! {
    #[test]
    fn any_walk_is_mapped_or_refused(objects in proptest::collection::vec(object(), 0..120), enterprise in select(OBJECT_IDS), now in 0_i64..4_000_000_000) {
        let mut walk: Walk = objects.into_iter().collect();
        walk.insert(Oid::new(mib::SYS_OBJECT_ID), Value::Oid(enterprise.parse().unwrap()));
        walk.insert(Oid::new(&[mib::GENERAL, &[17, 1]].concat()), Value::from("SN0001"));
        walk.insert(Oid::new(&[mib::HR_DEVICE, &[3, 1]].concat()), Value::from("LaserPro 9"));
        walk.insert(Oid::new(&[mib::IF_TYPE, &[1]].concat()), Value::Integer(6));
        walk.insert(Oid::new(&[mib::IF_PHYS_ADDRESS, &[1]].concat()), Value::Octets(vec![0, 0x17, 0xc8, 1, 2, 3]));

        if let Ok(printer) = map(&walk, &Context { now, meters: None }) {
            for (path, parameter) in printer.tree.iter() {
                prop_assert!(path.parse::<Path>().is_ok(), "{}", path);
                prop_assert!(parameter.kind.admits(&parameter.value), "{}: {:?} is no {:?}", path, parameter.value, parameter.kind);
                prop_assert!(!parameter.value.chars().any(char::is_control), "{}", path);
            }
        }
    }
}
