//! What callers edit of a device, and its credentials: two rows that are kept in step without a transaction.
//!
//! The registration decides. A credentials row is first reserved (retired, without a password, so that it admits nobody), then the
//! registration is written, then the credentials follow it. Whoever crashes on the way has not answered, and the same call again completes it.

use crate::{
    api::{Api, random},
    names,
    refusal::{Refusal, Violation},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use platen_cwmp::identity::{Identity, InvalidIdentity};
use platen_ids::{DeviceId, TenantId};
use platen_proto::{
    device::v1::{Credentials as ApiCredentials, Device},
    store::v1::{Credential, Observed, Registration},
};
use platen_runtime::Keys;
use platen_store::{
    Store,
    rows::{EditedRow, SwappedRow},
    table::Expect,
    tables::{Credentials, ObservedDevices, Registrations},
};

/// Services that act when what callers edit of a device has changed.
pub(crate) const FOLLOWERS: &[&str] = &["inventory", "provisioning"];

/// The kind of notice that tells them.
pub(crate) const CHANGED: &str = "DEVICE_CHANGED";

/// Fields that an update may change.
pub(crate) const EDITABLE: &[&str] = &[
    "account",
    "tags",
    "fields",
    "may_proxy",
    "allowed_devices",
    "credentials",
    "connection_request_credentials",
];

/// Checks who a device is. `field` is the path of the resource in the request.
pub(crate) fn identity(device: &Device, field: &str) -> Result<(Identity, DeviceId), Refusal> {
    let wrong = |name: &str, error: InvalidIdentity| {
        Refusal::field(format!("{field}{name}"), error.to_string())
    };
    let identity = Identity::new(
        &device.oui,
        device.product_class.as_str(),
        device.serial_number.as_str(),
    )
    .map_err(|error| match error {
        InvalidIdentity::Oui => wrong("oui", error),
        InvalidIdentity::NoSerialNumber => wrong("serialNumber", error),
        _ if device.product_class.chars().count() > 64 => wrong("productClass", error),
        _ => wrong("serialNumber", error),
    })?;
    let id = DeviceId::new(identity.to_string()).map_err(|_| {
        Refusal::field(
            format!("{field}serialNumber"),
            "the identity has more than 512 characters once it is percent-encoded",
        )
    })?;
    Ok((identity, id))
}

/// What is wrong with the parts that callers edit.
pub(crate) fn check(device: &Device) -> Result<(), Refusal> {
    let mut violations = Vec::new();
    let mut refuse =
        |field: String, why: &str| violations.push(Violation::new(format!("device.{field}"), why));
    if device.account.chars().count() > 200 {
        refuse("account".into(), "must have at most 200 characters");
    }
    if device.tags.len() > 50 {
        refuse("tags".into(), "must be at most 50");
    }
    for (index, tag) in device.tags.iter().enumerate() {
        if !(1..=100).contains(&tag.chars().count()) || tag.chars().any(char::is_control) {
            refuse(
                format!("tags[{index}]"),
                "must have 1 to 100 characters, none of them a control character",
            );
        } else if device.tags[..index].contains(tag) {
            refuse(format!("tags[{index}]"), "is there twice");
        }
    }
    if device.fields.len() > 50 {
        refuse("fields".into(), "must be at most 50");
    }
    for (name, value) in &device.fields {
        if !(1..=100).contains(&name.chars().count()) || value.chars().count() > 1000 {
            let name: String = name.chars().take(100).collect();
            refuse(
                format!("fields.{name}"),
                "names have 1 to 100 characters, values at most 1000",
            );
        }
    }
    if device.allowed_devices.len() > 100 {
        refuse("allowedDevices".into(), "must be at most 100");
    }
    for (index, pattern) in device.allowed_devices.iter().enumerate() {
        let valid =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'%' | b'*');
        if !(1..=512).contains(&pattern.len()) || !pattern.bytes().all(valid) {
            refuse(
                format!("allowedDevices[{index}]"),
                "must be a device id, with * as wildcard",
            );
        }
    }
    for (name, credentials) in [
        ("credentials", &device.credentials),
        (
            "connectionRequestCredentials",
            &device.connection_request_credentials,
        ),
    ] {
        let Some(credentials) = credentials else {
            continue;
        };
        // A colon cannot stand in a user name of HTTP authentication (RFC 7617 §2); quotes would have to be escaped, which devices get wrong.
        if credentials.username.len() > 256
            || credentials
                .username
                .chars()
                .any(|c| c.is_control() || matches!(c, ':' | '"' | '\\'))
        {
            refuse(
                format!("{name}.username"),
                "must have at most 256 bytes, without control characters, colon, quote and backslash",
            );
        }
        if credentials.password.len() > 256 || credentials.password.chars().any(char::is_control) {
            refuse(
                format!("{name}.password"),
                "must have at most 256 bytes, without control characters",
            );
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Invalid(violations))
    }
}

/// The registration of a device, and what it says of itself.
pub(crate) async fn read(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<(Option<EditedRow<Registration>>, Option<Observed>), Refusal> {
    let key = (tenant.as_str(), device.as_str());
    let registration = store.get_edited::<Registrations>(key);
    let observed = store.get::<ObservedDevices>(key);
    let (registration, observed) = futures::try_join!(registration, observed)?;
    Ok((registration, observed))
}

/// Refuses what is asked of a device that is not there.
pub(crate) async fn must_exist(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<(), Refusal> {
    match read(store, tenant, device).await? {
        (None, None) => Err(Refusal::NotFound(names::of(
            tenant,
            "devices",
            device.as_str(),
        ))),
        _ => Ok(()),
    }
}

/// The credentials of a device that is registered: as asked, else its id and the password that `password` makes.
pub(crate) fn make_credentials(
    asked: Option<&ApiCredentials>,
    device: &DeviceId,
    password: impl FnOnce() -> String,
) -> ApiCredentials {
    let given = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    ApiCredentials {
        username: given(asked.map(|c| &c.username)).unwrap_or_else(|| device.to_string()),
        password: given(asked.map(|c| &c.password)).unwrap_or_else(password),
    }
}

/// A password that nobody can guess: 18 bytes in 24 characters.
pub(crate) fn random_password() -> String {
    random(18)
}

/// The password that a call with a request id makes: the same one however often the call is repeated, so that two of them that run at the same
/// time cannot answer with different ones.
pub(crate) fn password_of_request(
    keys: &Keys,
    tenant: &TenantId,
    device: &DeviceId,
    request_id: &str,
) -> String {
    let label = [
        b"device-password",
        tenant.as_str().as_bytes(),
        device.as_str().as_bytes(),
        request_id.as_bytes(),
    ];
    URL_SAFE_NO_PAD.encode(&keys.derive(&label)[..18])
}

/// Whether a device's credentials row has a password: if not, the call that registered it broke off.
pub(crate) async fn has_password(
    store: &Store,
    tenant: &TenantId,
    username: &str,
) -> Result<bool, Refusal> {
    let row = store
        .get_edited::<Credentials>((tenant.as_str(), username))
        .await?;
    Ok(row.is_some_and(|row| !row.value.password_sealed.is_empty()))
}

/// The password of a user name, sealed for its row.
pub(crate) fn seal(keys: &Keys, tenant: &TenantId, credentials: &ApiCredentials) -> Vec<u8> {
    keys.seal(
        &format!("credential/{tenant}/{}", credentials.username),
        credentials.password.as_bytes(),
    )
}

/// Puts what Platen presents to the device into its registration.
pub(crate) fn set_connection_request(
    keys: &Keys,
    registration: &mut Registration,
    credentials: Option<&ApiCredentials>,
) {
    let credentials = credentials.filter(|credentials| !credentials.username.is_empty());
    registration.connection_request_username =
        credentials.map(|c| c.username.clone()).unwrap_or_default();
    let aad = format!(
        "connection-request/{}/{}",
        registration.tenant, registration.device
    );
    registration.connection_request_password_sealed = credentials
        .map(|c| keys.seal(&aad, c.password.as_bytes()))
        .unwrap_or_default()
        .into();
}

/// Makes sure that a user name is this device's or nobody's. The row that it leaves admits nobody.
///
/// # Errors
///
/// [`Refusal::Exists`] if it is another device's, or the store's.
pub(crate) async fn reserve(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
    username: &str,
) -> Result<(), Refusal> {
    let row = Credential {
        tenant: tenant.to_string(),
        username: username.to_owned(),
        device: device.to_string(),
        retired: true,
        ..Credential::default()
    };
    match store
        .compare_and_set::<Credentials>((tenant.as_str(), username), Expect::Absent, Some(&row))
        .await?
    {
        SwappedRow::Refused(Some(found)) if found.value.device != device.as_str() => {
            Err(taken(username))
        }
        SwappedRow::Done(_) | SwappedRow::Refused(_) => Ok(()),
    }
}

fn taken(username: &str) -> Refusal {
    Refusal::Exists {
        code: "USERNAME_TAKEN",
        message: format!("the user name {username:?} is another device's"),
    }
}

/// Makes the credentials row of a device follow its registration, and gives it a new password if there is one. Whoever writes looks again
/// afterwards, so that of two concurrent edits the row follows the last.
pub(crate) async fn follow(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
    mut sealed: Option<Vec<u8>>,
) -> Result<(), Refusal> {
    loop {
        let Some(registration) = store
            .get_edited::<Registrations>((tenant.as_str(), device.as_str()))
            .await?
        else {
            return Ok(());
        };
        let registration = registration.value;
        if registration.username.is_empty() {
            return Ok(());
        }
        let key = (tenant.as_str(), registration.username.as_str());
        let found = store.get_edited::<Credentials>(key).await?;
        if found
            .as_ref()
            .is_some_and(|found| found.value.device != device.as_str())
        {
            return Err(taken(&registration.username));
        }
        let password_sealed = match (sealed.take(), &found) {
            (Some(sealed), _) => sealed.into(),
            (None, Some(found)) => found.value.password_sealed.clone(),
            (None, None) => Vec::new().into(),
        };
        let wanted = Credential {
            tenant: tenant.to_string(),
            username: registration.username.clone(),
            device: device.to_string(),
            // Without a password the row admits nobody.
            retired: registration.retired || password_sealed.is_empty(),
            password_sealed,
            may_proxy: registration.may_proxy,
            allowed_devices: registration.allowed_devices,
            etag: String::new(),
        };
        if found.as_ref().is_some_and(|found| found.value == wanted) {
            return Ok(());
        }
        let expect = found.map_or(Expect::Absent, |found| Expect::Etag(found.etag));
        if let SwappedRow::Refused(_) = store
            .compare_and_set::<Credentials>(key, expect, Some(&wanted))
            .await?
        {
            // Somebody was faster; a new password that this call brought has not been written.
            sealed = Some(wanted.password_sealed.to_vec()).filter(|sealed| !sealed.is_empty());
        }
    }
}

/// Gives a device another user name. The one before stays known, so that its credentials go even if this call breaks off.
pub(crate) fn rename(registration: &mut Registration, username: &str) {
    if registration.username != username {
        registration.former_username =
            std::mem::replace(&mut registration.username, username.to_owned());
    }
}

/// Removes the credentials that a device had under the user name before its present one. Nothing happens if they are gone.
pub(crate) async fn drop_former(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
    registration: &Registration,
) -> Result<(), Refusal> {
    let former = registration.former_username.as_str();
    if former.is_empty() {
        return Ok(());
    }
    let key = (tenant.as_str(), former);
    let Some(found) = store.get_edited::<Credentials>(key).await? else {
        return Ok(());
    };
    // Read after the row: if the device has just got this name back, either this tells, or the row's etag has changed.
    let present = store
        .get_edited::<Registrations>((tenant.as_str(), device.as_str()))
        .await?;
    let is_present = present.is_some_and(|row| row.value.username == former);
    if found.value.device == device.as_str() && !is_present {
        store
            .compare_and_set::<Credentials>(key, Expect::Etag(found.etag), None)
            .await?;
    }
    Ok(())
}

/// The registration that a device gets which came by itself (a proxied or quarantined one).
pub(crate) fn adopt(observed: &Observed, now_us: i64) -> Registration {
    Registration {
        tenant: observed.tenant.clone(),
        device: observed.device.clone(),
        oui: observed.oui.clone(),
        product_class: observed.product_class.clone(),
        serial_number: observed.serial_number.clone(),
        // Not the time of this edit: being edited does not end a quarantine.
        create_time_us: observed.first_inform_us,
        update_time_us: now_us,
        ..Registration::default()
    }
}

/// Applies the fields of an update, without credentials of the device itself.
pub(crate) fn apply(
    keys: &Keys,
    registration: &mut Registration,
    device: &Device,
    changed: &[&str],
) {
    for field in changed {
        match *field {
            "account" => registration.account.clone_from(&device.account),
            "tags" => registration.tags.clone_from(&device.tags),
            "fields" => registration.fields.clone_from(&device.fields),
            "may_proxy" => registration.may_proxy = device.may_proxy,
            "allowed_devices" => registration
                .allowed_devices
                .clone_from(&device.allowed_devices),
            "connection_request_credentials" => {
                set_connection_request(
                    keys,
                    registration,
                    device.connection_request_credentials.as_ref(),
                );
            }
            _ => {}
        }
    }
    registration.update_time_us = Api::now_us().max(registration.update_time_us + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(oui: &str, product_class: &str, serial_number: &str) -> Device {
        Device {
            oui: oui.into(),
            product_class: product_class.into(),
            serial_number: serial_number.into(),
            ..Device::default()
        }
    }

    #[test]
    fn identities_are_checked_by_field() {
        assert_eq!(
            identity(&device("00d09e", "LaserPro-9", "SN1"), "")
                .unwrap()
                .1
                .as_str(),
            "00D09E-LaserPro%2D9-SN1"
        );
        for (device, field) in [
            (device("00D09", "", "1"), "device.oui"),
            (device("00D09G", "", "1"), "device.oui"),
            (device("00D09E", "", ""), "device.serialNumber"),
            (
                device("00D09E", &"x".repeat(65), "1"),
                "device.productClass",
            ),
            (device("00D09E", "", &"x".repeat(65)), "device.serialNumber"),
            (
                device("00D09E", &"日".repeat(64), "1"),
                "device.serialNumber",
            ),
        ] {
            let Err(Refusal::Invalid(violations)) = identity(&device, "device.") else {
                panic!("{device:?} accepted")
            };
            assert_eq!(violations[0].field, field);
        }
    }

    #[test]
    fn what_callers_edit_is_bounded() {
        let credentials = |username: &str, password: &str| {
            Some(ApiCredentials {
                username: username.into(),
                password: password.into(),
            })
        };
        for (device, field) in [
            (
                Device {
                    tags: vec!["a".into(), "a".into()],
                    ..Device::default()
                },
                "device.tags[1]",
            ),
            (
                Device {
                    tags: vec![String::new()],
                    ..Device::default()
                },
                "device.tags[0]",
            ),
            (
                Device {
                    tags: (0..51).map(|n| n.to_string()).collect(),
                    ..Device::default()
                },
                "device.tags",
            ),
            (
                Device {
                    account: "x".repeat(201),
                    ..Device::default()
                },
                "device.account",
            ),
            (
                Device {
                    fields: [("a".to_owned(), "x".repeat(1001))].into(),
                    ..Device::default()
                },
                "device.fields.a",
            ),
            (
                Device {
                    allowed_devices: vec!["a b".into()],
                    ..Device::default()
                },
                "device.allowedDevices[0]",
            ),
            (
                Device {
                    credentials: credentials("a:b", "x"),
                    ..Device::default()
                },
                "device.credentials.username",
            ),
            (
                Device {
                    credentials: credentials("a", "x\n"),
                    ..Device::default()
                },
                "device.credentials.password",
            ),
            (
                Device {
                    connection_request_credentials: credentials("a\"", ""),
                    ..Device::default()
                },
                "device.connectionRequestCredentials.username",
            ),
        ] {
            let Err(Refusal::Invalid(violations)) = check(&device) else {
                panic!("{device:?} accepted")
            };
            assert_eq!(violations[0].field, field);
        }
        assert!(
            check(&Device {
                tags: vec!["floor-3".into()],
                credentials: credentials("u", "p"),
                ..Device::default()
            })
            .is_ok()
        );
    }

    #[test]
    fn made_passwords_differ_and_are_24_characters() {
        let id = DeviceId::new("00D09E-1").unwrap();
        let made = make_credentials(None, &id, random_password);
        let given = ApiCredentials {
            username: "u".into(),
            password: String::new(),
        };

        assert_eq!(
            (made.username.as_str(), made.password.len()),
            ("00D09E-1", 24)
        );
        assert_ne!(made.password, random_password());
        assert_eq!(
            make_credentials(Some(&given), &id, || "p".into()),
            ApiCredentials {
                username: "u".into(),
                password: "p".into()
            }
        );

        let (tenant, keys) = (TenantId::new("t").unwrap(), Keys::from_bytes(&[1; 32]));
        let of = |request_id: &str| password_of_request(&keys, &tenant, &id, request_id);
        assert_eq!(
            (of("r").len(), of("r") == of("r"), of("r") == of("s")),
            (24, true, false)
        );
    }
}
