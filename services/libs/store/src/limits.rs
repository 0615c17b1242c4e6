//! What the port bounds, held in the same way by every adapter.

use crate::table::{Error, Key, MAX_KEY, MAX_NUMBER, MAX_VALUE, Part, Table};

/// Refuses a key that no row may have.
pub(crate) fn check_key(table: &'static Table, key: &Key) -> Result<(), Error> {
    debug_assert_eq!(
        (key.partition.len(), key.clustering.len()),
        (table.partition.len(), table.clustering.len()),
        "{}",
        table.name
    );
    check_parts(table, &key.partition)?;
    check_parts(table, &key.clustering)
}

/// Refuses a partition key, or a clustering key, that no row may have.
pub(crate) fn check_parts(table: &'static Table, parts: &[Part]) -> Result<(), Error> {
    let mut bytes = 0;
    for part in parts {
        bytes += match part {
            Part::Text(text) => text.len(),
            Part::Number(number) if *number > MAX_NUMBER => return Err(too_large(table, 8)),
            Part::Number(_) => 8,
        };
    }
    if bytes > MAX_KEY {
        return Err(too_large(table, bytes));
    }
    Ok(())
}

/// Refuses a value that no row may have.
pub(crate) const fn check_value(table: &'static Table, bytes: usize) -> Result<(), Error> {
    if bytes > MAX_VALUE {
        return Err(too_large(table, bytes));
    }
    Ok(())
}

/// Refuses a version that no write may have.
pub(crate) const fn check_version(table: &'static Table, version: u64) -> Result<(), Error> {
    if version > MAX_NUMBER {
        return Err(too_large(table, 8));
    }
    Ok(())
}

const fn too_large(table: &'static Table, bytes: usize) -> Error {
    Error::TooLarge {
        table: table.name,
        bytes,
    }
}
