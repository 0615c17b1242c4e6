//! The topics of the log, and the types of record on them.

/// A topic of the log. Its name is its type's version too: payloads evolve by adding fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Everything a device said, and notices about it: [`crate::report::v1::Report`], [`crate::report::v1::Notice`].
    Reports,
    /// What became true of a device, a campaign, a contract: [`crate::event::v1::Event`].
    Changes,
    /// Meter readings for billing: [`crate::event::v1::Event`] with readings.
    Readings,
    /// Please contact this device: [`crate::report::v1::Wake`].
    Wake,
    /// Real changes of what lists and filters need: [`crate::report::v1::DeviceRow`].
    Devices,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [
        Self::Reports,
        Self::Changes,
        Self::Readings,
        Self::Wake,
        Self::Devices,
    ];

    /// The topic's name on the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reports => "platen.reports.v1",
            Self::Changes => "platen.changes.v1",
            Self::Readings => "platen.readings.v1",
            Self::Wake => "platen.wake.v1",
            Self::Devices => "platen.devices.v1",
        }
    }
}

/// The type of a record: stands in a header, so that a service skips what it does not need without decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A report that carries an Inform.
    Inform,
    /// A report that carries TransferComplete or AutonomousTransferComplete.
    Transfer,
    /// A report that carries another request of the device.
    Request,
    /// A report that carries the answer to a command.
    Done,
    /// A report about a connection request.
    Woken,
    /// A notice.
    Notice,
    /// An event for customers.
    Event,
    /// A wake request.
    Wake,
    /// A device row.
    Device,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Inform,
        Self::Transfer,
        Self::Request,
        Self::Done,
        Self::Woken,
        Self::Notice,
        Self::Event,
        Self::Wake,
        Self::Device,
    ];

    /// The header's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inform => "inform",
            Self::Transfer => "transfer",
            Self::Request => "request",
            Self::Done => "done",
            Self::Woken => "woken",
            Self::Notice => "notice",
            Self::Event => "event",
            Self::Wake => "wake",
            Self::Device => "device",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
