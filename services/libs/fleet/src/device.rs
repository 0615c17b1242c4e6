//! The device resource: what callers edit and what inventory derives, joined.

use platen_proto::{
    device::v1::{Device, device::State},
    store::v1::{Observed, Registration},
};
use platen_store::rows::EditedRow;
use prost_types::Timestamp;

/// The periodic inform interval that is assumed where a device has not reported one: a day, in seconds.
pub const DEFAULT_PERIODIC_INTERVAL: u32 = 86_400;

/// The registration of a row, with the row's etag in it.
#[must_use]
pub fn registration(row: EditedRow<Registration>) -> Registration {
    Registration {
        etag: row.etag,
        ..row.value
    }
}

/// Whether a device whose last Inform came at `last_inform_us` counts as online at `now_us` (both microseconds since 1970): its last session is
/// younger than 2.5 times its periodic inform interval (seconds; 0 is [`DEFAULT_PERIODIC_INTERVAL`]).
#[must_use]
pub fn is_online(last_inform_us: i64, periodic_inform_interval: u32, now_us: i64) -> bool {
    let interval = if periodic_inform_interval == 0 {
        DEFAULT_PERIODIC_INTERVAL
    } else {
        periodic_inform_interval
    };
    last_inform_us > 0 && now_us.saturating_sub(last_inform_us) < i64::from(interval) * 2_500_000
}

/// The state that follows from the two rows.
///
/// Whoever registers or admits a device after its last Inform vouches for it, which ends a quarantine before the device comes again.
#[must_use]
pub fn state(registration: Option<&Registration>, observed: Option<&Observed>) -> State {
    if registration.is_some_and(|registration| registration.retired) {
        return State::Retired;
    }
    let Some(observed) = observed.filter(|observed| observed.first_inform_us > 0) else {
        return State::Expected;
    };
    let vouched_us = registration.map_or(0, |registration| {
        registration.create_time_us.max(registration.admit_time_us)
    });
    if observed.quarantine_reason.is_empty() || vouched_us > observed.last_inform_us {
        State::Active
    } else {
        State::Quarantined
    }
}

/// The resource that the API shows for a device. Never holds a secret. `now_us` (microseconds since 1970) decides on `online`.
///
/// A device that a proxy presents belongs to the proxy's account while its own registration names none.
///
/// Both rows are absent only for a device that does not exist; the resource is then empty.
#[must_use]
pub fn resource(
    registration: Option<&Registration>,
    observed: Option<&Observed>,
    now_us: i64,
) -> Device {
    let state = state(registration, observed);
    let mut device = Device {
        state: state.into(),
        ..Device::default()
    };
    if let Some(observed) = observed {
        device.name = name(&observed.tenant, &observed.device);
        device.oui.clone_from(&observed.oui);
        device.product_class.clone_from(&observed.product_class);
        device.serial_number.clone_from(&observed.serial_number);
        device.manufacturer.clone_from(&observed.manufacturer);
        device.model_name.clone_from(&observed.model_name);
        device
            .software_version
            .clone_from(&observed.software_version);
        device
            .hardware_version
            .clone_from(&observed.hardware_version);
        device.root_data_model.clone_from(&observed.root_data_model);
        device
            .connection_request_url
            .clone_from(&observed.connection_request_url);
        device.last_events.clone_from(&observed.last_events);
        if !observed.proxied_by.is_empty() {
            device.proxied_by = name(&observed.tenant, &observed.proxied_by);
            device.account.clone_from(&observed.account);
        }
        device.last_inform_time = timestamp(observed.last_inform_us);
        device.create_time = timestamp(observed.first_inform_us);
        device.update_time = timestamp(observed.first_inform_us);
        device.online = state != State::Retired
            && is_online(
                observed.last_inform_us,
                observed.periodic_inform_interval,
                now_us,
            );
        if state == State::Quarantined {
            device
                .quarantine_reason
                .clone_from(&observed.quarantine_reason);
        }
    }
    if let Some(registration) = registration {
        device.name = name(&registration.tenant, &registration.device);
        device.oui.clone_from(&registration.oui);
        device.product_class.clone_from(&registration.product_class);
        device.serial_number.clone_from(&registration.serial_number);
        if !registration.account.is_empty() {
            device.account.clone_from(&registration.account);
        }
        device.tags.clone_from(&registration.tags);
        device.fields.clone_from(&registration.fields);
        device.may_proxy = registration.may_proxy;
        device
            .allowed_devices
            .clone_from(&registration.allowed_devices);
        device.create_time = timestamp(registration.create_time_us);
        device.update_time = timestamp(registration.update_time_us);
        device.etag.clone_from(&registration.etag);
    }
    device
}

/// `tenants/{tenant}/devices/{device}`.
#[must_use]
pub fn name(tenant: &str, device: &str) -> String {
    format!("tenants/{tenant}/devices/{device}")
}

/// A protobuf timestamp of microseconds since 1970; `None` for 0, "never".
#[must_use]
pub fn timestamp(time_us: i64) -> Option<Timestamp> {
    (time_us != 0).then(|| Timestamp {
        seconds: time_us.div_euclid(1_000_000),
        nanos: i32::try_from(time_us.rem_euclid(1_000_000) * 1_000).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    fn seen(quarantine: &str) -> Observed {
        Observed {
            tenant: "t".into(),
            device: "00D09E-P-1".into(),
            oui: "00D09E".into(),
            first_inform_us: 5 * DAY_US,
            last_inform_us: 10 * DAY_US,
            quarantine_reason: quarantine.into(),
            ..Observed::default()
        }
    }

    fn registered(create_day: i64) -> Registration {
        Registration {
            tenant: "t".into(),
            device: "00D09E-P-1".into(),
            create_time_us: create_day * DAY_US,
            connection_request_password_sealed: vec![7].into(),
            username: "u".into(),
            etag: "e1".into(),
            ..Registration::default()
        }
    }

    #[test]
    fn the_state_follows_from_the_two_rows() {
        let retired = Registration {
            retired: true,
            ..registered(1)
        };
        let admitted = Registration {
            admit_time_us: 11 * DAY_US,
            ..registered(1)
        };
        let heard_of = Observed {
            first_inform_us: 0,
            last_inform_us: 0,
            ..seen("")
        };
        for (registration, observed, expect) in [
            (Some(registered(1)), None, State::Expected),
            (Some(registered(1)), Some(heard_of), State::Expected),
            (Some(registered(1)), Some(seen("")), State::Active),
            (None, Some(seen("")), State::Active),
            (None, Some(seen("unknown")), State::Quarantined),
            (Some(registered(1)), Some(seen("clone")), State::Quarantined),
            (Some(registered(11)), Some(seen("unknown")), State::Active),
            (Some(admitted), Some(seen("clone")), State::Active),
            (Some(retired), Some(seen("clone")), State::Retired),
        ] {
            let device = resource(registration.as_ref(), observed.as_ref(), 10 * DAY_US);
            assert_eq!(device.state(), expect, "{registration:?} {observed:?}");
            assert_eq!(
                device.quarantine_reason.is_empty(),
                expect != State::Quarantined
            );
        }
    }

    #[test]
    fn online_is_two_and_a_half_intervals() {
        for (interval, seconds_ago, expect) in [
            (600, 1_499, true),
            (600, 1_500, false),
            (0, 215_999, true),
            (0, 216_000, false),
            (u32::MAX, 1, true),
        ] {
            let now_us = 10 * DAY_US;
            assert_eq!(
                is_online(now_us - seconds_ago * 1_000_000, interval, now_us),
                expect,
                "{interval} {seconds_ago}"
            );
        }
        assert!(!is_online(0, 600, 1), "never seen");
    }

    #[test]
    fn the_resource_joins_both_rows_and_holds_no_secret() {
        let device = resource(Some(&registered(1)), Some(&seen("")), 10 * DAY_US);
        assert_eq!(device.name, "tenants/t/devices/00D09E-P-1");
        assert_eq!(device.etag, "e1");
        assert!(device.online);
        assert_eq!(
            (device.credentials, device.connection_request_credentials),
            (None, None)
        );
        assert_eq!(device.create_time, timestamp(DAY_US));
        assert_eq!(device.last_inform_time.unwrap().seconds, 864_000);
    }
}
