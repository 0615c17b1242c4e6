//! Resource names: `tenants/{tenant}/devices/{device}` and the like, taken apart and put together.

use crate::refusal::Refusal;
use platen_ids::{CommandId, DeviceId, TenantId};

/// A tenant's name: `tenants/{tenant}`.
pub(crate) fn tenant(name: &str) -> Result<TenantId, Refusal> {
    let [tenant] = parts(name, ["tenants"])?;
    TenantId::new(tenant).map_err(|_| Refusal::NotFound(name.to_owned()))
}

/// A device's name: `tenants/{tenant}/devices/{device}`.
pub(crate) fn device(name: &str) -> Result<(TenantId, DeviceId), Refusal> {
    let [tenant, device] = parts(name, ["tenants", "devices"])?;
    let absent = || Refusal::NotFound(name.to_owned());
    Ok((
        TenantId::new(tenant).map_err(|_| absent())?,
        DeviceId::new(device).map_err(|_| absent())?,
    ))
}

/// An operation's name: `tenants/{tenant}/operations/{operation}`.
pub(crate) fn operation(name: &str) -> Result<(TenantId, CommandId), Refusal> {
    let [tenant, operation] = parts(name, ["tenants", "operations"])?;
    let absent = || Refusal::NotFound(name.to_owned());
    Ok((
        TenantId::new(tenant).map_err(|_| absent())?,
        CommandId::new(operation).map_err(|_| absent())?,
    ))
}

/// The name of something else of a tenant: `tenants/{tenant}/{collection}/{id}`.
pub(crate) fn child(name: &str, collection: &'static str) -> Result<(TenantId, String), Refusal> {
    let [tenant, id] = parts(name, ["tenants", collection])?;
    let absent = || Refusal::NotFound(name.to_owned());
    if !is_label(id) {
        return Err(absent());
    }
    Ok((TenantId::new(tenant).map_err(|_| absent())?, id.to_owned()))
}

/// `tenants/{tenant}`.
pub(crate) fn of_tenant(tenant: &TenantId) -> String {
    format!("tenants/{tenant}")
}

/// `tenants/{tenant}/{collection}/{id}`.
pub(crate) fn of(tenant: &TenantId, collection: &str, id: &str) -> String {
    format!("tenants/{tenant}/{collection}/{id}")
}

/// Whether it is an id that callers may choose: 1 to 63 characters of `a-z`, `0-9`, `.` and `-`, not beginning with a dot.
pub(crate) fn is_label(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// The id of a resource that is about to be made: the last part of `name` if there is one, else made from `display_name`, else `fallback`.
pub(crate) fn chosen(
    name: &str,
    field: &str,
    tenant: &TenantId,
    collection: &'static str,
    display_name: &str,
    fallback: &str,
) -> Result<String, Refusal> {
    if name.is_empty() {
        let made = slug(display_name);
        return Ok(if made.is_empty() {
            fallback.to_owned()
        } else {
            made
        });
    }
    let id = match name.rsplit_once('/') {
        None => name,
        Some((parent, id)) if parent == format!("tenants/{tenant}/{collection}") => id,
        Some(_) => {
            return Err(Refusal::field(
                field,
                format!("must be tenants/{tenant}/{collection}/ and an id"),
            ));
        }
    };
    if is_label(id) {
        Ok(id.to_owned())
    } else {
        Err(Refusal::field(
            field,
            "the id must be 1 to 63 characters of a-z, 0-9, '.' and '-', and must not begin with a dot",
        ))
    }
}

/// Letters and digits of a title in lower case, with one hyphen for whatever lies between; at most 63 characters.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 63 {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The ids in a name whose collections are given.
fn parts<'a, const N: usize>(
    name: &'a str,
    collections: [&str; N],
) -> Result<[&'a str; N], Refusal> {
    let mut ids = [""; N];
    let mut left = name.split('/');
    for (id, collection) in ids.iter_mut().zip(collections) {
        match (left.next(), left.next()) {
            (Some(found), Some(value)) if found == collection && !value.is_empty() => *id = value,
            _ => return Err(malformed(name, collections)),
        }
    }
    if left.next().is_some() {
        Err(malformed(name, collections))
    } else {
        Ok(ids)
    }
}

fn malformed<const N: usize>(name: &str, collections: [&str; N]) -> Refusal {
    let form = collections
        .map(|collection| format!("{collection}/{{{}}}", collection.trim_end_matches('s')))
        .join("/");
    Refusal::field(
        "name",
        format!(
            "{:?} is not of the form {form}",
            name.chars().take(200).collect::<String>()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let (tenant, device) = device("tenants/default/devices/00D09E-Laser%2D9-SN1").unwrap();
        assert_eq!(
            (tenant.as_str(), device.as_str()),
            ("default", "00D09E-Laser%2D9-SN1")
        );
        assert_eq!(
            child("tenants/a/profiles/p.1", "profiles").unwrap().1,
            "p.1"
        );

        for bad in [
            "",
            "tenants",
            "tenants/",
            "tenants/a",
            "tenants/a/devices",
            "tenants/a/devices/",
            "tenants/a/things/b",
            "tenants/a/devices/b/c",
        ] {
            assert!(
                matches!(super::device(bad), Err(Refusal::Invalid(_))),
                "{bad}"
            );
        }
        for absent in [
            "tenants/A/devices/b",
            "tenants/a/devices/b c",
            "tenants/../devices/b",
        ] {
            assert!(
                matches!(super::device(absent), Err(Refusal::NotFound(_))),
                "{absent}"
            );
        }
        for absent in [
            "tenants/a/artifacts/..",
            "tenants/a/artifacts/.x",
            "tenants/a/artifacts/A",
        ] {
            assert!(
                matches!(child(absent, "artifacts"), Err(Refusal::NotFound(_))),
                "{absent}"
            );
        }
    }

    #[test]
    fn ids_are_chosen_or_made() {
        let tenant = TenantId::new("a").unwrap();
        let id = |name: &str, title: &str| {
            chosen(name, "profile.name", &tenant, "profiles", title, "fallback")
        };
        for (name, title, expected) in [
            ("", "Floor 3, north", "floor-3-north"),
            ("", "", "fallback"),
            ("", "日本", "fallback"),
            ("p1", "Floor", "p1"),
            ("tenants/a/profiles/p1", "Floor", "p1"),
        ] {
            assert_eq!(id(name, title).unwrap(), expected);
        }
        for bad in [
            "tenants/b/profiles/p1",
            "tenants/a/artifacts/p1",
            "P1",
            "..",
            &"x".repeat(64),
        ] {
            assert!(id(bad, "").is_err(), "{bad}");
        }
    }
}
