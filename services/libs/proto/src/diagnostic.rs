//! What the messages of diagnostics say about themselves, by the options of `platen/operation/v1/data_model.proto`: where their objects stand in the data
//! models of devices, which parameter every field is, and what may be given.
//!
//! Whoever checks, sends or reads a diagnostic goes by this, so that a kind is described in one place.

use crate::operation::v1::{DataModelObject, DataModelParameter, Diagnostic};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind as Type,
    MessageDescriptor, Value,
};
use std::{fmt, sync::LazyLock};

/// One kind of diagnostic.
#[derive(Debug)]
pub struct Kind {
    field: FieldDescriptor,
    /// Where its object stands.
    pub object: DataModelObject,
    /// What it may be given, in the order in which it is set.
    pub arguments: Vec<Field>,
}

/// A field of an argument or of a result, and the parameter that it is.
#[derive(Debug)]
pub struct Field {
    /// The field itself.
    pub descriptor: FieldDescriptor,
    /// The parameter; both of its names are there.
    pub parameter: DataModelParameter,
    /// If the field is a table: its columns.
    pub columns: Vec<Self>,
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Several texts.
    List,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    List(Vec<String>),
}

/// The kind of a diagnostic that somebody asked for, with its message. `None`: it says no kind.
#[must_use]
pub fn asked(diagnostic: &Diagnostic) -> Option<(&'static Kind, DynamicMessage)> {
    let encoded = diagnostic.encode_to_vec();
    let message = DynamicMessage::decode(SPECIFICATION.diagnostic.clone(), encoded.as_slice())
        .expect("invariant: what one code encodes, the same descriptor decodes");
    let kind = kinds().iter().find(|kind| message.has_field(&kind.field))?;
    match message.get_field(&kind.field).into_owned() {
        Value::Message(arguments) => Some((kind, arguments)),
        _ => None,
    }
}

/// Every kind, in the order of the schema.
#[must_use]
pub fn kinds() -> &'static [Kind] {
    &SPECIFICATION.kinds
}

/// The fields of [`crate::operation::v1::DiagnosticResult`].
#[must_use]
pub fn results() -> &'static [Field] {
    &SPECIFICATION.results
}

/// The type of [`crate::operation::v1::DiagnosticResult`].
#[must_use]
pub fn result_type() -> &'static MessageDescriptor {
    &SPECIFICATION.result
}

impl Kind {
    /// Its name in the schema: `ip_ping`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// Its name in JSON: `ipPing`.
    #[must_use]
    pub fn json_name(&self) -> &str {
        self.field.json_name()
    }

    /// What the schema says of it.
    #[must_use]
    pub fn comment(&self) -> String {
        let Type::Message(message) = self.field.kind() else {
            return String::new();
        };
        comment(&message.parent_file(), message.path())
    }
}

impl Field {
    /// What it is, as an argument.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self.descriptor.kind() {
            _ if self.descriptor.is_list() => Shape::List,
            Type::Bool => Shape::Flag,
            Type::Uint32 | Type::Uint64 => Shape::Number,
            _ => Shape::Text,
        }
    }

    /// What an argument was given in the message of its kind. `None`: nothing.
    #[must_use]
    pub fn given(&self, arguments: &DynamicMessage) -> Option<Given> {
        if !arguments.has_field(&self.descriptor) {
            return None;
        }
        match arguments.get_field(&self.descriptor).into_owned() {
            Value::String(text) => Some(Given::Text(text)),
            Value::U32(number) => Some(Given::Number(number.into())),
            Value::U64(number) => Some(Given::Number(number)),
            Value::Bool(flag) => Some(Given::Flag(flag)),
            Value::List(items) => {
                let texts = items
                    .iter()
                    .filter_map(|item| item.as_str().map(str::to_owned));
                Some(Given::List(texts.collect()))
            }
            _ => None,
        }
    }

    /// What the schema says of it.
    #[must_use]
    pub fn comment(&self) -> String {
        comment(
            &self.descriptor.parent_message().parent_file(),
            self.descriptor.path(),
        )
    }
}

impl Given {
    /// The type of the parameter's value.
    #[must_use]
    pub const fn xsd_type(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::List(_) => "xsd:string",
            // A length beyond 4 GiB fits only where the parameter has become an unsignedLong.
            Self::Number(number) if *number > u32::MAX as u64 => "xsd:unsignedLong",
            Self::Number(_) => "xsd:unsignedInt",
            Self::Flag(_) => "xsd:boolean",
        }
    }
}

/// The text of the parameter's value.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// All of it, read once.
#[derive(Debug)]
struct Specification {
    diagnostic: MessageDescriptor,
    kinds: Vec<Kind>,
    result: MessageDescriptor,
    results: Vec<Field>,
}

static SPECIFICATION: LazyLock<Specification> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(crate::DESCRIPTORS)
        .expect("invariant: the build has made these descriptors");
    let message = |name: &str| {
        pool.get_message_by_name(&format!("platen.operation.v1.{name}"))
            .expect("invariant: the message is in the schema")
    };
    let diagnostic = message("Diagnostic");
    let result = message("DiagnosticResult");
    let kinds = diagnostic.fields().filter_map(|field| {
        let Type::Message(message) = field.kind() else {
            return None;
        };
        Some(Kind {
            object: option(&pool, &message.options(), "object").unwrap_or_default(),
            arguments: fields(&pool, &message),
            field,
        })
    });
    Specification {
        kinds: kinds.collect(),
        results: fields(&pool, &result),
        diagnostic,
        result,
    }
});

fn fields(pool: &DescriptorPool, message: &MessageDescriptor) -> Vec<Field> {
    // As they are written down: arguments are set in that order.
    let mut descriptors: Vec<FieldDescriptor> = message.fields().collect();
    descriptors.sort_by_key(FieldDescriptor::number);
    let field = |descriptor: FieldDescriptor| {
        let mut parameter: DataModelParameter =
            option(pool, &descriptor.options(), "parameter").unwrap_or_default();
        if parameter.name.is_empty() {
            parameter.name = pascal_case(descriptor.name());
        }
        if parameter.gateway_name.is_empty() {
            parameter.gateway_name.clone_from(&parameter.name);
        }
        let columns = match descriptor.kind() {
            Type::Message(row) if descriptor.is_list() => fields(pool, &row),
            _ => Vec::new(),
        };
        Field {
            descriptor,
            parameter,
            columns,
        }
    };
    descriptors.into_iter().map(field).collect()
}

/// An option of this package, if it is given.
fn option<T: Message + Default>(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    name: &str,
) -> Option<T> {
    let extension = pool.get_extension_by_name(&format!("platen.operation.v1.{name}"))?;
    if !options.has_extension(&extension) {
        return None;
    }
    options
        .get_extension(&extension)
        .as_message()
        .and_then(|message| message.transcode_to().ok())
}

/// `number_of_tries` is `NumberOfTries`.
fn pascal_case(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters)
        })
        .collect()
}

/// The comment before an element of the schema, as one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location =
        info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.map_or("", |location| location.leading_comments());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::v1::{
        IpPing, ServerSelectionDiagnostics, UdpEchoConfig, data_model_parameter::Format, diagnostic,
    };
    use std::collections::HashSet;

    #[test]
    fn every_kind_says_where_it_stands() {
        let mut names = HashSet::new();
        for kind in kinds() {
            let DataModelObject { device, gateway } = &kind.object;
            assert!(device.starts_with("Device."), "{}: {device:?}", kind.name());
            let is_gateway = |path: &str| {
                path.starts_with("InternetGatewayDevice.") || path.starts_with("{interface}")
            };
            assert!(
                gateway.is_empty() || is_gateway(gateway),
                "{}: {gateway:?}",
                kind.name()
            );
            assert!(!kind.comment().is_empty(), "{}", kind.name());
            assert!(names.insert(kind.json_name()), "{}", kind.name());
        }
        assert_eq!(names.len(), 12);
    }

    /// A rule that its field's type cannot break would never be looked at.
    #[test]
    fn every_argument_can_break_its_rules() {
        for kind in kinds() {
            for field in &kind.arguments {
                let (what, shape) = (field.descriptor.full_name(), field.shape());
                let parameter = &field.parameter;
                let is_text = field.descriptor.kind() == Type::String;
                let says_text =
                    parameter.format() != Format::Unspecified || !parameter.words.is_empty();
                assert_eq!(says_text, is_text, "{what}");
                assert_eq!(parameter.range.is_some(), shape == Shape::Number, "{what}");
                assert_eq!(parameter.max_items > 0, shape == Shape::List, "{what}");
                assert!(
                    is_text || matches!(shape, Shape::Number | Shape::Flag),
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn names_are_those_of_the_data_model() {
        let result = |name: &str| {
            let found = results()
                .iter()
                .find(|field| field.descriptor.name() == name);
            found.unwrap()
        };
        assert_eq!(result("success_count").parameter.name, "SuccessCount");
        assert_eq!(result("ip_address_used").parameter.name, "IPAddressUsed");
        let columns: Vec<_> = result("route_hops")
            .columns
            .iter()
            .map(|column| (&*column.parameter.name, &*column.parameter.gateway_name))
            .collect();
        assert_eq!(
            columns,
            [
                ("Host", "HopHost"),
                ("HostAddress", "HopHostAddress"),
                ("ErrorCode", "HopErrorCode"),
                ("RTTimes", "HopRTTimes")
            ]
        );
    }

    #[test]
    fn what_was_given_is_told_from_what_was_left_out() {
        for (asked_for, expected) in [
            (
                diagnostic::Kind::IpPing(IpPing {
                    host: "192.0.2.1".into(),
                    dscp: Some(0),
                    interface: Some(String::new()),
                    ..IpPing::default()
                }),
                vec![
                    ("Host", "192.0.2.1", "xsd:string"),
                    ("DSCP", "0", "xsd:unsignedInt"),
                    ("Interface", "", "xsd:string"),
                ],
            ),
            (
                diagnostic::Kind::ServerSelectionDiagnostics(ServerSelectionDiagnostics {
                    hosts: vec!["a".into(), "b".into()],
                    ..ServerSelectionDiagnostics::default()
                }),
                vec![("HostList", "a,b", "xsd:string")],
            ),
            (
                diagnostic::Kind::UdpEchoConfig(UdpEchoConfig {
                    enable: Some(false),
                    ..UdpEchoConfig::default()
                }),
                vec![("Enable", "false", "xsd:boolean")],
            ),
        ] {
            let diagnostic = Diagnostic {
                kind: Some(asked_for),
            };
            let (kind, arguments) = asked(&diagnostic).unwrap();
            let given: Vec<_> = kind
                .arguments
                .iter()
                .filter_map(|field| Some((&*field.parameter.name, field.given(&arguments)?)))
                .map(|(name, given)| (name, given.to_string(), given.xsd_type()))
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, text, kind)| (name, text.to_owned(), kind))
                .collect();
            assert_eq!(given, expected);
        }
        assert!(asked(&Diagnostic::default()).is_none());
    }
}
