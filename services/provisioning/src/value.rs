//! When two texts are the same value.

use jiff::Timestamp;

/// Whether a device that reports `reported` has `wanted`, for a parameter of type `kind` (`xsd:boolean`, …; anything else is compared as text).
///
/// Devices write one value in several ways: `1` and `true`, leading zeros, another zone (RPC-30).
pub(crate) fn same(kind: &str, wanted: &str, reported: &str) -> bool {
    if wanted == reported {
        return true;
    }
    match kind.rsplit(':').next().unwrap_or_default() {
        "boolean" => matches!((boolean(wanted), boolean(reported)), (Some(a), Some(b)) if a == b),
        "int" | "unsignedInt" | "long" | "unsignedLong" => {
            matches!((integer(wanted), integer(reported)), (Some(a), Some(b)) if a == b)
        }
        "dateTime" => {
            matches!((wanted.parse::<Timestamp>(), reported.parse::<Timestamp>()), (Ok(a), Ok(b)) if a == b)
        }
        "hexBinary" => wanted.eq_ignore_ascii_case(reported),
        _ => false,
    }
}

/// A boolean, however the device writes it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i128> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_several_forms() {
        for (kind, a, b, expected) in [
            ("xsd:string", "a", "a", true),
            ("xsd:string", "1", "true", false),
            ("xsd:boolean", "1", "true", true),
            ("xsd:boolean", "0", "FALSE", true),
            ("xsd:boolean", "0", "true", false),
            ("xsd:boolean", "yes", "true", false),
            ("xsd:unsignedInt", "007", "7", true),
            ("xsd:unsignedInt", "7", "8", false),
            ("xsd:int", "-1", "-01", true),
            ("xsd:unsignedInt", "", "0", false),
            (
                "xsd:dateTime",
                "2026-11-23T08:00:00Z",
                "2026-11-23T09:00:00+01:00",
                true,
            ),
            ("xsd:dateTime", "2026-11-23T08:00:00Z", "unknown", false),
            ("xsd:hexBinary", "0aFF", "0AFF", true),
            ("", "7", "07", false),
        ] {
            assert_eq!(same(kind, a, b), expected, "{kind}: {a:?} and {b:?}");
        }
    }
}
