//! Envelopes: reading and writing messages of both peers (TR-069 §3.5).
//!
//! Names are matched without their prefix, whatever namespace that is bound to, since devices get both wrong (SES-76). Only
//! two namespaces are looked at: the envelope's, to refuse SOAP 1.2, and CWMP's, because answers repeat it.

mod charset;
pub(crate) mod element;
mod namespace;
pub(crate) mod reader;
mod repair;
pub(crate) mod writer;

pub use self::{
    charset::decode_body,
    namespace::{Namespace, UnknownVersion, Version},
    reader::Malformed,
    repair::{Repair, Repairs},
    writer::Unwritable,
};
use self::{
    reader::{Reader, Tag},
    writer::Writer,
};
use crate::{
    fault::Fault,
    rpc::{AcsRequest, AcsResponse, CpeRequest, CpeResponse},
};

/// The content type of what is written (SES-23).
pub const CONTENT_TYPE: &str = "text/xml; charset=\"utf-8\"";

/// Longest `cwmp:ID` that is read, in bytes (SES-51).
const MAX_ID: usize = 256;

/// A message with what stands around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<M> {
    /// CWMP's namespace.
    pub namespace: Namespace,
    /// The header.
    pub header: Header,
    /// The message.
    pub message: M,
}

/// The header's elements. What is not known is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `ID`: joins an answer to its request. At most 256 bytes.
    pub id: Option<String>,
    /// `HoldRequests`, server to device: send no requests for now.
    pub hold_requests: bool,
    /// `NoMoreRequests`, of the first edition of TR-069; has no effect (SES-53) and is never written.
    pub no_more_requests: bool,
    /// `SessionTimeout`, device to server: seconds that the device may need between two of its POSTs.
    pub session_timeout: Option<u32>,
    /// `SupportedCWMPVersions`, device to server with Inform: those that this crate knows; `None` without the header.
    pub supported_versions: Option<Vec<Version>>,
    /// `UseCWMPVersion`, server to device with InformResponse.
    pub use_version: Option<Version>,
}

impl Header {
    /// A header with nothing but an ID.
    pub fn with_id(id: impl Into<String>) -> Self {
        Self {
            id: Some(id.into()),
            ..Self::default()
        }
    }
}

/// What a device sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpeMessage {
    /// A request of its own.
    Request(CpeRequest),
    /// What a request of the server led to.
    Response(CpeResponse),
    /// Why a request of the server led to nothing.
    Fault(Fault),
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcsMessage {
    /// A request of its own.
    Request(AcsRequest),
    /// What a request of the device led to.
    Response(AcsResponse),
    /// Why a request of the device led to nothing.
    Fault(Fault),
}

/// A message that was read, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The message.
    pub envelope: Envelope<M>,
    /// The repairs made.
    pub repairs: Repairs,
}

impl<M> Received<M> {
    /// The message, if it needed no repair: of peers that are held to the standard.
    ///
    /// # Errors
    ///
    /// The repairs that it needed.
    pub fn as_written(self) -> Result<Envelope<M>, Repairs> {
        if self.repairs.is_empty() {
            Ok(self.envelope)
        } else {
            Err(self.repairs)
        }
    }
}

impl Envelope<CpeMessage> {
    /// Reads what a device sent.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it cannot be read even with tolerance.
    pub fn read_from_cpe(text: &str) -> Result<Received<CpeMessage>, Malformed> {
        read(text)
    }

    /// Writes what a device sends.
    ///
    /// # Errors
    ///
    /// [`Unwritable`] if a text cannot be carried.
    pub fn to_xml(&self) -> Result<String, Unwritable> {
        write(self.namespace, &self.header, |writer| {
            self.message.write(writer)
        })
    }
}

impl Envelope<AcsMessage> {
    /// Reads what the server sent.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it cannot be read even with tolerance.
    pub fn read_from_acs(text: &str) -> Result<Received<AcsMessage>, Malformed> {
        read(text)
    }

    /// Writes what the server sends.
    ///
    /// # Errors
    ///
    /// [`Unwritable`] if a text cannot be carried, or is longer than the standard allows.
    pub fn to_xml(&self) -> Result<String, Unwritable> {
        write(self.namespace, &self.header, |writer| {
            self.message.write(writer)
        })
    }
}

impl CpeMessage {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Request(request) => request.write(writer),
            Self::Response(response) => response.write(writer),
            Self::Fault(fault) => fault.write(writer),
        }
    }
}

impl AcsMessage {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Request(request) => request.write(writer),
            Self::Response(response) => response.write(writer),
            Self::Fault(fault) => fault.write(writer),
        }
    }
}

/// A side's messages, as far as reading is concerned.
trait Message: Sized {
    fn request(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed>;
    fn response(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed>;
    fn fault(fault: Fault) -> Self;
}

impl Message for CpeMessage {
    fn request(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed> {
        CpeRequest::read(reader, tag, method).map(Self::Request)
    }

    fn response(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed> {
        CpeResponse::read(reader, tag, method).map(Self::Response)
    }

    fn fault(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Message for AcsMessage {
    fn request(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed> {
        AcsRequest::read(reader, tag, method).map(Self::Request)
    }

    fn response(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed> {
        AcsResponse::read(reader, tag, method).map(Self::Response)
    }

    fn fault(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn read<M: Message>(text: &str) -> Result<Received<M>, Malformed> {
    let start = text.trim_start_matches(['\u{feff}', '\0', ' ', '\t', '\r', '\n']);
    let mut reader = Reader::new(start);
    if start.len() != text.len() {
        reader.note(Repair::LeadingBytes);
    }

    let envelope = reader.child()?.ok_or(Malformed::NotAnEnvelope)?;
    if envelope.local() != "Envelope" {
        return Err(Malformed::NotAnEnvelope);
    }
    let mut namespaces = Namespaces::default();
    namespaces.declare(&envelope)?;
    match namespaces.of_envelope.as_deref() {
        Some("http://schemas.xmlsoap.org/soap/envelope/") => {}
        Some("http://www.w3.org/2003/05/soap-envelope") => return Err(Malformed::SoapVersion),
        _ => reader.note(Repair::EnvelopeNamespace),
    }

    let mut header = Header::default();
    let mut namespace = None;
    let mut message = None;
    let mut is_fault = false;
    while let Some(tag) = reader.child()? {
        match tag.local() {
            "Header" => read_header(&mut reader, &mut header)?,
            "Body" => {
                namespaces.declare(&tag)?;
                while let Some(tag) = reader.child()? {
                    if message.is_some() {
                        reader.note(Repair::ExtraBodyElement);
                        reader.skip()?;
                        continue;
                    }
                    namespaces.declare(&tag)?;
                    namespace = namespaces.of_method(tag.prefix());
                    is_fault = tag.local() == "Fault";
                    message = Some(read_message(&mut reader, &tag)?);
                }
            }
            _ => reader.skip()?,
        }
    }
    let message = message.ok_or(Malformed::EmptyBody)?;

    if !reader.rest().trim().is_empty() {
        reader.note(Repair::TrailingBytes);
    }
    // A SOAP fault is no method of CWMP's, and may name the namespace where its detail begins.
    if namespace.is_none() && !is_fault {
        reader.note(Repair::CwmpNamespace);
    }
    let namespace = namespace.unwrap_or_default();
    if namespaces.is_bent {
        reader.note(Repair::CwmpNamespace);
    }
    let repairs = reader.repairs();
    Ok(Received {
        envelope: Envelope {
            namespace,
            header,
            message,
        },
        repairs,
    })
}

fn read_message<M: Message>(reader: &mut Reader<'_>, tag: &Tag<'_>) -> Result<M, Malformed> {
    let name = tag.local();
    if name == "Fault" {
        return Ok(M::fault(Fault::read(reader)?));
    }
    match name.strip_suffix("Response") {
        Some(method) => M::response(reader, tag, method),
        None => M::request(reader, tag, name),
    }
}

/// The namespaces declared on the envelope, its body and the method, as far as they matter.
#[derive(Default)]
struct Namespaces {
    of_envelope: Option<String>,
    /// Those of CWMP, with their prefixes, in the order of their declarations.
    cwmp: Vec<(String, Namespace)>,
    /// One of them is not written as it was published.
    is_bent: bool,
}

impl Namespaces {
    /// Takes an element's declarations in.
    fn declare(&mut self, tag: &Tag<'_>) -> Result<(), Malformed> {
        let is_envelope = tag.local() == "Envelope";
        tag.attributes(|prefix, name, value| {
            let declared = match (prefix, name) {
                ("xmlns", prefix) => prefix,
                ("", "xmlns") => "",
                _ => return,
            };
            if is_envelope && declared == tag.prefix() {
                self.of_envelope = Some(value.to_owned());
            }
            if let Some(namespace) = Namespace::from_urn(value) {
                self.is_bent |= !namespace.is_exactly(value);
                self.cwmp.push((declared.to_owned(), namespace));
            }
        })
    }

    /// The namespace bound to a method's prefix, else the last one of CWMP that was declared: a device that declares it has
    /// it in mind, even where its prefix is another (QRK-42).
    fn of_method(&self, prefix: &str) -> Option<Namespace> {
        let bound = self
            .cwmp
            .iter()
            .rev()
            .find(|(declared, _)| declared == prefix);
        bound
            .or_else(|| self.cwmp.last())
            .map(|(_, namespace)| *namespace)
    }
}

fn read_header(reader: &mut Reader<'_>, header: &mut Header) -> Result<(), Malformed> {
    while let Some(tag) = reader.child()? {
        match tag.local() {
            "ID" => {
                let id = reader.text()?;
                if id.len() > MAX_ID {
                    return Err(Malformed::TooLarge {
                        what: "ID",
                        limit: MAX_ID,
                    });
                }
                header.id = Some(id);
            }
            "HoldRequests" => header.hold_requests = element::Element::read(reader, &tag)?,
            "NoMoreRequests" => header.no_more_requests = element::Element::read(reader, &tag)?,
            // Devices write this one in lower case, too (VER-14).
            name if name.eq_ignore_ascii_case("SessionTimeout") => {
                header.session_timeout = reader.text()?.trim().parse().ok();
                if header.session_timeout.is_none() {
                    reader.note(Repair::HeaderValue);
                }
            }
            "SupportedCWMPVersions" => {
                let text = reader.text()?;
                let mut versions: Vec<Version> = text
                    .split(',')
                    .filter_map(|version| version.parse().ok())
                    .collect();
                versions.sort_unstable();
                versions.dedup();
                header.supported_versions = Some(versions);
            }
            "UseCWMPVersion" => {
                header.use_version = reader.text()?.parse().ok();
                if header.use_version.is_none() {
                    reader.note(Repair::HeaderValue);
                }
            }
            _ => {
                if tag
                    .attribute("mustUnderstand")?
                    .is_some_and(|value| value.trim() == "1")
                {
                    reader.note(Repair::UnknownHeader);
                }
                reader.skip()?;
            }
        }
    }
    Ok(())
}

/// Writes an envelope: prefixes declared as every device expects them (SES-77), children without prefix, all in one line.
pub(crate) fn write(
    namespace: Namespace,
    header: &Header,
    body: impl FnOnce(&mut Writer),
) -> Result<String, Unwritable> {
    let mut writer = Writer::new();
    writer.verbatim(concat!(
        r#"<?xml version="1.0" encoding="UTF-8"?>"#,
        r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
        r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/""#,
        r#" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
        r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp=""#,
    ));
    writer.verbatim(&namespace.to_string());
    writer.verbatim("\"><soap-env:Header>");
    if let Some(id) = &header.id {
        header_element(&mut writer, "cwmp:ID", "1", id);
    }
    if header.hold_requests {
        header_element(&mut writer, "cwmp:HoldRequests", "1", "1");
    }
    if let Some(seconds) = header.session_timeout {
        header_element(
            &mut writer,
            "cwmp:SessionTimeout",
            "0",
            &seconds.to_string(),
        );
    }
    if let Some(versions) = &header.supported_versions {
        let versions: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        header_element(
            &mut writer,
            "cwmp:SupportedCWMPVersions",
            "0",
            &versions.join(","),
        );
    }
    if let Some(version) = header.use_version {
        header_element(&mut writer, "cwmp:UseCWMPVersion", "1", version.as_str());
    }
    writer.verbatim("</soap-env:Header><soap-env:Body>");
    body(&mut writer);
    writer.verbatim("</soap-env:Body></soap-env:Envelope>");
    writer.finish()
}

fn header_element(writer: &mut Writer, name: &str, must_understand: &str, text: &str) {
    writer.open_with(name, "soap-env:mustUnderstand", must_understand);
    writer.text(text);
    writer.close(name);
}
