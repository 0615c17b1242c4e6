//! Simulated CWMP devices: identities that are the same in every run.

use crate::peer::Credentials;
use platen_cwmp::{identity::Identity, rpc::DeviceIdStruct};

/// The organisation of simulated devices.
pub const OUI: &str = "00D09E";
/// Their product class.
pub const PRODUCT_CLASS: &str = "SwarmPrinter";
/// Their manufacturer.
pub const MANUFACTURER: &str = "Platen Swarm";

/// The serial number of device `number`.
#[must_use]
pub fn serial_number(number: usize) -> String {
    format!("SW{number:08}")
}

/// What device `number` says of itself.
#[must_use]
pub fn device_id(number: usize) -> DeviceIdStruct {
    DeviceIdStruct {
        manufacturer: MANUFACTURER.to_owned(),
        oui: OUI.to_owned(),
        product_class: PRODUCT_CLASS.to_owned(),
        serial_number: serial_number(number),
    }
}

/// The id of device `number`: also its user name.
///
/// # Panics
///
/// Never: the parts are within the bounds of an identity.
#[must_use]
pub fn id(number: usize) -> String {
    Identity::of(&device_id(number))
        .expect("invariant: made of an OUI, a short product class and a short serial number")
        .to_string()
}

/// The credentials of device `number`. The passwords of simulated devices are no secret.
#[must_use]
pub fn credentials(number: usize) -> Credentials {
    Credentials {
        username: id(number).into(),
        password: format!("swarm-{number:08}-password").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_the_same_in_every_run() {
        assert_eq!(id(7), "00D09E-SwarmPrinter-SW00000007");
        assert_eq!(&*credentials(7).username, id(7));
    }
}
