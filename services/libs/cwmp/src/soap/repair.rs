//! What had to be overlooked or mended to read a message.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A deviation from the standard that reading tolerates. The names are stable: metrics count them per model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Repair {
    /// A byte order mark, or bytes before the XML declaration.
    LeadingBytes,
    /// Bytes after the envelope's end.
    TrailingBytes,
    /// Bytes that are no text in the charset in force; they became U+FFFD.
    Charset,
    /// Control characters, which XML does not allow; they were dropped.
    ControlCharacter,
    /// An ampersand that begins no reference; it was taken literally.
    BareAmpersand,
    /// A reference to an entity that XML does not predefine; it was taken literally.
    UnknownEntity,
    /// An attribute that is not well-formed; it was ignored.
    Attribute,
    /// The envelope is in no namespace, or not in that of SOAP 1.1.
    EnvelopeNamespace,
    /// The method is in no CWMP namespace, or in one that is not written as it should be; one that is declared, or CWMP 1.0, was assumed.
    CwmpNamespace,
    /// A header that must be understood and is not known.
    UnknownHeader,
    /// A header's value that cannot be read.
    HeaderValue,
    /// More than one body element; the first was taken.
    ExtraBodyElement,
    /// An array whose declared count is not that of its items.
    ArrayCount,
    /// Structures nested where the schema repeats an element.
    ArrayShape,
    /// Elements inside a simple value; they were ignored.
    NestedValue,
    /// A value without a type, or with one that is not CWMP's.
    ValueType,
    /// A number or a choice that cannot be read; the default was taken.
    Number,
    /// A boolean in unusual words.
    Boolean,
    /// An event code in unusual words.
    EventCode,
    /// A fault without a readable code.
    FaultCode,
    /// An answer whose ID is missing or not that of the request.
    ResponseId,
}

impl Repair {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::LeadingBytes,
        Self::TrailingBytes,
        Self::Charset,
        Self::ControlCharacter,
        Self::BareAmpersand,
        Self::UnknownEntity,
        Self::Attribute,
        Self::EnvelopeNamespace,
        Self::CwmpNamespace,
        Self::UnknownHeader,
        Self::HeaderValue,
        Self::ExtraBodyElement,
        Self::ArrayCount,
        Self::ArrayShape,
        Self::NestedValue,
        Self::ValueType,
        Self::Number,
        Self::Boolean,
        Self::EventCode,
        Self::FaultCode,
        Self::ResponseId,
    ];

    /// Whether it is XML, SOAP or their use that was wrong, and not a value within a message.
    pub fn is_of_form(self) -> bool {
        match self {
            Self::LeadingBytes
            | Self::TrailingBytes
            | Self::Charset
            | Self::ControlCharacter
            | Self::BareAmpersand
            | Self::UnknownEntity
            | Self::Attribute
            | Self::EnvelopeNamespace
            | Self::CwmpNamespace
            | Self::UnknownHeader
            | Self::HeaderValue
            | Self::ExtraBodyElement
            | Self::ResponseId => true,
            Self::ArrayCount
            | Self::ArrayShape
            | Self::NestedValue
            | Self::ValueType
            | Self::Number
            | Self::Boolean
            | Self::EventCode
            | Self::FaultCode => false,
        }
    }

    /// Its name in metrics: snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeadingBytes => "leading_bytes",
            Self::TrailingBytes => "trailing_bytes",
            Self::Charset => "charset",
            Self::ControlCharacter => "control_character",
            Self::BareAmpersand => "bare_ampersand",
            Self::UnknownEntity => "unknown_entity",
            Self::Attribute => "attribute",
            Self::EnvelopeNamespace => "envelope_namespace",
            Self::CwmpNamespace => "cwmp_namespace",
            Self::UnknownHeader => "unknown_header",
            Self::HeaderValue => "header_value",
            Self::ExtraBodyElement => "extra_body_element",
            Self::ArrayCount => "array_count",
            Self::ArrayShape => "array_shape",
            Self::NestedValue => "nested_value",
            Self::ValueType => "value_type",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::EventCode => "event_code",
            Self::FaultCode => "fault_code",
            Self::ResponseId => "response_id",
        }
    }
}

/// The set of repairs made on one message.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Repairs(u32);

impl Repairs {
    /// No repair.
    pub const NONE: Self = Self(0);

    /// Whether nothing was repaired.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this repair was made.
    pub fn contains(self, repair: Repair) -> bool {
        self.0 & (1 << repair as u8) != 0
    }

    /// Adds a repair.
    pub fn insert(&mut self, repair: Repair) {
        self.0 |= 1 << repair as u8;
    }

    /// The repairs made, each once.
    pub fn iter(self) -> impl Iterator<Item = Repair> {
        Repair::ALL
            .into_iter()
            .filter(move |repair| self.contains(*repair))
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Repair> for Repairs {
    fn from_iter<I: IntoIterator<Item = Repair>>(repairs: I) -> Self {
        let mut set = Self::NONE;
        for repair in repairs {
            set.insert(repair);
        }
        set
    }
}

impl fmt::Debug for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The names, separated by commas.
impl fmt::Display for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, repair) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(repair.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set =
            Repairs::from_iter([Repair::ResponseId, Repair::LeadingBytes, Repair::ResponseId]);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Repair::LeadingBytes, Repair::ResponseId]
        );
        assert_eq!(set.to_string(), "leading_bytes, response_id");
        assert!(Repairs::NONE.is_empty() && !set.is_empty());
        assert_eq!(
            Repairs::from_iter(Repair::ALL).iter().count(),
            Repair::ALL.len()
        );
    }

    #[test]
    fn each_repair_has_a_name_of_its_own() {
        let mut names: Vec<_> = Repair::ALL.iter().map(|repair| repair.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Repair::ALL.len());
    }
}
