//! Field masks of updates.

use crate::refusal::{Refusal, Violation};
use prost_types::FieldMask;

/// The fields that an update changes, of those in `editable`.
///
/// A mask that names other fields of the resource (`known`) leaves them alone, so that a caller may send back what was read; a name that the
/// resource does not have is refused. Without a mask those fields change that are set, as `set` says; `*` means all.
pub(crate) fn changed(
    mask: Option<&FieldMask>,
    editable: &[&'static str],
    known: &[&str],
    set: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>, Refusal> {
    let paths: &[String] = mask.map_or(&[], |mask| &mask.paths);
    if paths.is_empty() {
        return Ok(editable
            .iter()
            .copied()
            .filter(|field| set(field))
            .collect());
    }
    if paths.iter().any(|path| path == "*") {
        return Ok(editable.to_vec());
    }
    let violations: Vec<Violation> = paths
        .iter()
        .filter(|path| !editable.contains(&path.as_str()) && !known.contains(&path.as_str()))
        .map(|path| {
            Violation::new(
                "updateMask",
                format!(
                    "{path:?} is not a field that can be changed; those are {}",
                    editable.join(", ")
                ),
            )
        })
        .collect();
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    Ok(editable
        .iter()
        .copied()
        .filter(|field| paths.iter().any(|path| path == field))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_choose_fields() {
        let changed = |paths: &[&str]| {
            let mask = FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            };
            changed(
                Some(&mask),
                &["tags", "fields"],
                &["state", "name"],
                |field| field == "fields",
            )
        };
        assert_eq!(changed(&[]).unwrap(), ["fields"]);
        assert_eq!(
            changed(&["fields", "tags", "state"]).unwrap(),
            ["tags", "fields"]
        );
        assert_eq!(changed(&["state"]).unwrap(), Vec::<&str>::new());
        assert_eq!(changed(&["*"]).unwrap(), ["tags", "fields"]);
        assert!(changed(&["colour"]).is_err());
        assert!(changed(&["tags.x"]).is_err());
    }
}
