//! What an expression sees of a device.

use platen_proto::device::v1::{Device, device::State};
use std::borrow::Cow;

/// A field of `device` that holds text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextField {
    /// `id`: the last part of the name.
    Id,
    /// `name`.
    Name,
    /// `oui`.
    Oui,
    /// `productClass`.
    ProductClass,
    /// `serialNumber`.
    SerialNumber,
    /// `state`: EXPECTED, ACTIVE, QUARANTINED or RETIRED.
    State,
    /// `quarantineReason`.
    QuarantineReason,
    /// `manufacturer`.
    Manufacturer,
    /// `modelName`.
    ModelName,
    /// `softwareVersion`.
    SoftwareVersion,
    /// `hardwareVersion`.
    HardwareVersion,
    /// `rootDataModel`.
    RootDataModel,
    /// `account`.
    Account,
    /// `proxiedBy`.
    ProxiedBy,
}

impl TextField {
    /// Every field, in the order in which errors list them.
    pub const ALL: [Self; 14] = [
        Self::Id,
        Self::Name,
        Self::Oui,
        Self::ProductClass,
        Self::SerialNumber,
        Self::State,
        Self::QuarantineReason,
        Self::Manufacturer,
        Self::ModelName,
        Self::SoftwareVersion,
        Self::HardwareVersion,
        Self::RootDataModel,
        Self::Account,
        Self::ProxiedBy,
    ];

    /// The field's name in expressions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Oui => "oui",
            Self::ProductClass => "productClass",
            Self::SerialNumber => "serialNumber",
            Self::State => "state",
            Self::QuarantineReason => "quarantineReason",
            Self::Manufacturer => "manufacturer",
            Self::ModelName => "modelName",
            Self::SoftwareVersion => "softwareVersion",
            Self::HardwareVersion => "hardwareVersion",
            Self::RootDataModel => "rootDataModel",
            Self::Account => "account",
            Self::ProxiedBy => "proxiedBy",
        }
    }
}

/// A device as an expression sees it.
pub trait DeviceView {
    /// A text; empty where the device has none.
    fn text(&self, field: TextField) -> Cow<'_, str>;
    /// `online`.
    fn online(&self) -> bool;
    /// `mayProxy`.
    fn may_proxy(&self) -> bool;
    /// `lastInformTime`, microseconds since 1970; 0 if it was never seen.
    fn last_inform_us(&self) -> i64;
    /// The tags, by number from 0; `None` after the last.
    fn tag(&self, index: usize) -> Option<&str>;
    /// The keys of `fields`, by number from 0 in ascending order; `None` after the last.
    fn field_key(&self, index: usize) -> Option<&str>;
    /// The value of a custom field.
    fn field(&self, key: &str) -> Option<&str>;
    /// The known value of a parameter; `None` where the device has none, or where parameters are not at hand.
    fn parameter(&self, path: &str) -> Option<Cow<'_, str>>;
}

/// A device as the API shows it, and where its parameters are looked up.
#[derive(Clone, Copy)]
pub struct ResourceView<'a> {
    device: &'a Device,
    parameters: &'a (dyn Fn(&str) -> Option<&'a str> + Sync),
}

impl<'a> ResourceView<'a> {
    /// A view of `device`; `parameters` gives the known value at a path.
    #[must_use]
    pub const fn new(
        device: &'a Device,
        parameters: &'a (dyn Fn(&str) -> Option<&'a str> + Sync),
    ) -> Self {
        Self { device, parameters }
    }
}

impl DeviceView for ResourceView<'_> {
    fn text(&self, field: TextField) -> Cow<'_, str> {
        let device = self.device;
        Cow::Borrowed(match field {
            TextField::Id => device.name.rsplit('/').next().unwrap_or_default(),
            TextField::Name => &device.name,
            TextField::Oui => &device.oui,
            TextField::ProductClass => &device.product_class,
            TextField::SerialNumber => &device.serial_number,
            TextField::State => State::try_from(device.state)
                .unwrap_or_default()
                .as_str_name(),
            TextField::QuarantineReason => &device.quarantine_reason,
            TextField::Manufacturer => &device.manufacturer,
            TextField::ModelName => &device.model_name,
            TextField::SoftwareVersion => &device.software_version,
            TextField::HardwareVersion => &device.hardware_version,
            TextField::RootDataModel => &device.root_data_model,
            TextField::Account => &device.account,
            TextField::ProxiedBy => &device.proxied_by,
        })
    }

    fn online(&self) -> bool {
        self.device.online
    }

    fn may_proxy(&self) -> bool {
        self.device.may_proxy
    }

    fn last_inform_us(&self) -> i64 {
        self.device.last_inform_time.map_or(0, |time| {
            time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
        })
    }

    fn tag(&self, index: usize) -> Option<&str> {
        self.device.tags.get(index).map(String::as_str)
    }

    fn field_key(&self, index: usize) -> Option<&str> {
        self.device.fields.keys().nth(index).map(String::as_str)
    }

    fn field(&self, key: &str) -> Option<&str> {
        self.device.fields.get(key).map(String::as_str)
    }

    fn parameter(&self, path: &str) -> Option<Cow<'_, str>> {
        (self.parameters)(path).map(Cow::Borrowed)
    }
}
