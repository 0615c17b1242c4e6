//! SetVouchers and GetOptions (TR-069 A.4.1.3, A.4.1.4; deprecated).

use serde::{Deserialize, Serialize};

use crate::{
    date_time::DateTime,
    soap::{
        element::{Element, Item, item, sequence},
        reader::{Malformed, Reader, Tag},
        writer::Writer,
    },
};

/// Hands signed vouchers to the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetVouchers {
    /// The vouchers.
    pub vouchers: Vec<Voucher>,
}

/// A signed option document in base64, passed through as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The document in base64.
    pub base64: String,
}

/// Asks for the options that vouchers have switched on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetOptions {
    /// Name of one option, at most 64 characters; empty for all.
    pub option_name: String,
}

/// The options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetOptionsResponse {
    /// One entry per option.
    pub options: Vec<DeviceOption>,
}

/// An option, and in which state it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOption {
    /// Name of the option.
    pub option_name: String,
    /// Serial number of the voucher.
    pub voucher_serial: u32,
    /// 0 disabled, not set up; 1 enabled, not set up; 2 disabled, set up; 3 enabled, set up.
    pub state: u32,
    /// 0 disabled; 1 enabled with expiration; 2 enabled without.
    pub mode: i32,
    /// From when on it holds.
    pub start_date: DateTime,
    /// Until when it holds; unknown if for ever.
    pub expiration_date: DateTime,
    /// Non-zero if it may move to another device.
    pub is_transferable: i32,
}

sequence!(SetVouchers {
    vouchers: "VoucherList"
});
sequence!(GetOptions {
    option_name: "OptionName" <= 64
});
sequence!(GetOptionsResponse {
    options: "OptionList"
});
sequence!(DeviceOption {
    option_name: "OptionName",
    voucher_serial: "VoucherSN",
    state: "State",
    mode: "Mode",
    start_date: "StartDate",
    expiration_date: "ExpirationDate",
    is_transferable: "IsTransferable",
});
item!(DeviceOption, "OptionStruct");

impl Element for Voucher {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            base64: reader.text()?,
        })
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, &self.base64);
    }
}

impl Item for Voucher {
    const ELEMENT: &'static str = "base64";
    const ARRAY_TYPE: &'static str = "soap-enc:base64";
}
