//! CWMP faults: codes 8000 to 8899 from the server, 9000 to 9899 from the device (TR-069 A.5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::Element,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// Number of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultCode(pub u32);

/// Whose mistake a fault is, in SOAP's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Of the one who sent the request.
    Client,
    /// Of the one who answers.
    Server,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $side:ident, $text:literal;)*) => {
        impl FaultCode {
            $($(#[$meta])* pub const $name: Self = Self($code);)*

            /// The standard's words for it, if it has any.
            pub fn text(self) -> Option<&'static str> {
                Some(match self.0 {
                    $($code => $text,)*
                    _ => return None,
                })
            }

            /// Whose mistake it is; [`Side::Server`] where the standard leaves it open.
            pub fn side(self) -> Side {
                match self.0 {
                    $($code => Side::$side,)*
                    _ => Side::Server,
                }
            }
        }
    };
}

codes! {
    /// The server does not have the method.
    ACS_METHOD_NOT_SUPPORTED = 8000, Server, "Method not supported";
    /// The server does not want to.
    ACS_REQUEST_DENIED = 8001, Server, "Request denied";
    /// The server has failed.
    ACS_INTERNAL_ERROR = 8002, Server, "Internal error";
    /// The server cannot make sense of the arguments.
    ACS_INVALID_ARGUMENTS = 8003, Client, "Invalid arguments";
    /// The server is overloaded.
    ACS_RESOURCES_EXCEEDED = 8004, Server, "Resources exceeded";
    /// The device is to send the same again in this session.
    ACS_RETRY_REQUEST = 8005, Server, "Retry request";
    /// The two have no version of CWMP in common.
    ACS_VERSION_INCOMPATIBLE = 8006, Server, "ACS version incompatible with CPE";
    /// The device does not have the method.
    METHOD_NOT_SUPPORTED = 9000, Server, "Method not supported";
    /// The device does not want to.
    REQUEST_DENIED = 9001, Server, "Request denied";
    /// The device has failed.
    INTERNAL_ERROR = 9002, Server, "Internal error";
    /// The device cannot make sense of the arguments.
    INVALID_ARGUMENTS = 9003, Client, "Invalid arguments";
    /// More than the device can hold.
    RESOURCES_EXCEEDED = 9004, Server, "Resources exceeded";
    /// No such parameter or object.
    INVALID_PARAMETER_NAME = 9005, Client, "Invalid parameter name";
    /// The value has another type.
    INVALID_PARAMETER_TYPE = 9006, Client, "Invalid parameter type";
    /// The value is not allowed.
    INVALID_PARAMETER_VALUE = 9007, Client, "Invalid parameter value";
    /// The parameter is read-only.
    NON_WRITABLE_PARAMETER = 9008, Client, "Attempt to set a non-writable parameter";
    /// The device will not notify of this parameter in this way.
    NOTIFICATION_REJECTED = 9009, Server, "Notification request rejected";
    /// A download failed.
    DOWNLOAD_FAILURE = 9010, Server, "File transfer failure";
    /// An upload failed.
    UPLOAD_FAILURE = 9011, Server, "Upload failure";
    /// The file server refused the credentials.
    FILE_SERVER_AUTHENTICATION = 9012, Server, "File transfer server authentication failure";
    /// The device does not speak the URL's protocol.
    UNSUPPORTED_PROTOCOL = 9013, Server, "Unsupported protocol for file transfer";
    /// No multicast.
    MULTICAST_GROUP = 9014, Server, "File transfer failure: unable to join multicast group";
    /// The file server does not answer.
    FILE_SERVER_UNREACHABLE = 9015, Server, "File transfer failure: unable to contact file server";
    /// The file server does not give the file.
    FILE_INACCESSIBLE = 9016, Server, "File transfer failure: unable to access file";
    /// The transfer broke off.
    DOWNLOAD_INCOMPLETE = 9017, Server, "File transfer failure: unable to complete download";
    /// The file is damaged.
    FILE_CORRUPTED = 9018, Server, "File transfer failure: file corrupted or otherwise unusable";
    /// The file's signature does not hold.
    FILE_AUTHENTICATION = 9019, Server, "File transfer failure: file authentication failure";
    /// The time windows were not enough.
    TIME_WINDOW_MISSED = 9020, Server, "File transfer failure: unable to complete download within specified time windows";
    /// Too late to cancel.
    CANCEL_NOT_PERMITTED = 9021, Server, "Cancelation of file transfer not permitted in current transfer state";
    /// Not a UUID.
    INVALID_UUID = 9022, Server, "Invalid UUID format";
    /// No such execution environment.
    UNKNOWN_EXECUTION_ENVIRONMENT = 9023, Server, "Unknown Execution Environment";
    /// The execution environment is off.
    DISABLED_EXECUTION_ENVIRONMENT = 9024, Server, "Disabled Execution Environment";
    /// The unit does not fit the execution environment.
    EXECUTION_ENVIRONMENT_MISMATCH = 9025, Server, "Deployment Unit to Execution Environment mismatch";
    /// The unit is there already.
    DUPLICATE_DEPLOYMENT_UNIT = 9026, Server, "Duplicate Deployment Unit";
    /// No room for the unit.
    SYSTEM_RESOURCES_EXCEEDED = 9027, Server, "System resources exceeded";
    /// No such unit.
    UNKNOWN_DEPLOYMENT_UNIT = 9028, Server, "Unknown Deployment Unit";
    /// The unit is in no state for this.
    INVALID_DEPLOYMENT_UNIT_STATE = 9029, Server, "Invalid Deployment Unit State";
    /// No way back.
    DOWNGRADE_NOT_PERMITTED = 9030, Server, "Invalid Deployment Unit Update: downgrade not permitted";
    /// Which version?
    UPDATE_VERSION_NOT_SPECIFIED = 9031, Server, "Invalid Deployment Unit Update: version not specified";
    /// That version is there already.
    UPDATE_VERSION_EXISTS = 9032, Server, "Invalid Deployment Unit Update: version already exists";
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number.
    pub code: FaultCode,
    /// Words for people; may be empty.
    pub string: String,
    /// Which parameters of a SetParameterValues were refused; may be empty although some were (SES-93).
    pub parameters: Vec<ParameterFault>,
}

/// A refusal of one parameter of a SetParameterValues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterFault {
    /// The parameter's path.
    pub name: String,
    /// Number of the fault.
    pub code: FaultCode,
    /// Words for people; may be empty.
    pub string: String,
}

impl Fault {
    /// A fault with the standard's words.
    pub fn new(code: FaultCode) -> Self {
        Self::with_text(code, code.text().unwrap_or("Vendor fault"))
    }

    /// A fault with words of its own.
    pub fn with_text(code: FaultCode, string: impl Into<String>) -> Self {
        Self {
            code,
            string: string.into(),
            parameters: Vec::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.string)
    }
}

/// Why a transfer or an operation failed: FaultStruct, where 0 means success and is read as `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStruct {
    /// Number of the fault, never 0.
    pub code: FaultCode,
    /// Words for people; may be empty.
    pub string: String,
}

impl FaultStruct {
    /// A fault with the standard's words.
    pub fn new(code: FaultCode) -> Self {
        Self {
            code,
            string: code.text().unwrap_or("Vendor fault").to_owned(),
        }
    }
}

impl Element for FaultCode {
    /// Takes the digits out of what is there: devices write `CWMP:9005`, or spaces around the number (SES-92).
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        let number = text.trim();
        if let Ok(code) = number.parse() {
            return Ok(Self(code));
        }
        reader.note(Repair::FaultCode);
        let digits = number.rsplit(':').next().unwrap_or_default().trim();
        Ok(digits.parse().map_or(Self::INTERNAL_ERROR, Self))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.number(name, i64::from(self.0));
    }
}

impl Element for Option<FaultStruct> {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut code = FaultCode(0);
        let mut string = String::new();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "FaultCode" => code = FaultCode::read(reader, &tag)?,
                "FaultString" => string = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok((code.0 != 0).then_some(FaultStruct { code, string }))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        let (code, string) = match self {
            Some(fault) => (fault.code, fault.string.as_str()),
            None => (FaultCode(0), ""),
        };
        writer.open(name);
        code.write(writer, "FaultCode");
        writer.element("FaultString", string);
        writer.close(name);
    }
}

impl Fault {
    /// Reads a `soap:Fault` element. The number is the first `FaultCode` at any depth; without one it is 9002 with SOAP's
    /// `faultstring` for words (SES-80).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut code = None;
        let mut string = None;
        let mut soap_string = String::new();
        let mut parameters = Vec::new();
        // `detail` and `cwmp:Fault` are walked through without recursion: `open` counts how many of them are.
        let mut open = 0_usize;
        loop {
            let Some(tag) = reader.child()? else {
                if open == 0 {
                    break;
                }
                open -= 1;
                continue;
            };
            match tag.local() {
                "FaultCode" if code.is_none() => code = Some(FaultCode::read(reader, &tag)?),
                "FaultString" if string.is_none() => string = Some(reader.text()?),
                "faultstring" => soap_string = reader.text()?,
                "SetParameterValuesFault" => {
                    let fault = read_parameter_fault(reader)?;
                    reader.push_item(&mut parameters, fault)?;
                }
                "faultcode" | "faultactor" | "FaultCode" | "FaultString" => reader.skip()?,
                _ => open += 1,
            }
        }
        let string = match (&code, string) {
            (Some(_), string) => string.unwrap_or_default(),
            (None, string) => {
                reader.note(Repair::FaultCode);
                string
                    .filter(|string| !string.is_empty())
                    .unwrap_or(soap_string)
            }
        };
        Ok(Self {
            code: code.unwrap_or(FaultCode::INTERNAL_ERROR),
            string,
            parameters,
        })
    }

    /// Writes the `soap-env:Fault` element (SES-80).
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.open("soap-env:Fault");
        writer.element(
            "faultcode",
            match self.code.side() {
                Side::Client => "soap-env:Client",
                Side::Server => "soap-env:Server",
            },
        );
        writer.element("faultstring", "CWMP fault");
        writer.open("detail");
        writer.open("cwmp:Fault");
        self.code.write(writer, "FaultCode");
        writer.element("FaultString", &self.string);
        for parameter in &self.parameters {
            writer.open("SetParameterValuesFault");
            writer.element("ParameterName", &parameter.name);
            parameter.code.write(writer, "FaultCode");
            writer.element("FaultString", &parameter.string);
            writer.close("SetParameterValuesFault");
        }
        writer.close("cwmp:Fault");
        writer.close("detail");
        writer.close("soap-env:Fault");
    }
}

fn read_parameter_fault(reader: &mut Reader<'_>) -> Result<ParameterFault, Malformed> {
    let mut fault = ParameterFault {
        name: String::new(),
        code: FaultCode::INTERNAL_ERROR,
        string: String::new(),
    };
    while let Some(tag) = reader.child()? {
        match tag.local() {
            "ParameterName" => fault.name = reader.text()?,
            "FaultCode" => fault.code = FaultCode::read(reader, &tag)?,
            "FaultString" => fault.string = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok(fault)
}
