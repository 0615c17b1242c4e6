//! `platen operation create DEVICE diagnostic`: a sub-command for every kind and an option for every argument, as the schema of the API has them.

use clap::{
    Arg, ArgAction, ArgMatches, Command, FromArgMatches, Subcommand,
    builder::PossibleValuesParser,
    error::{Error, ErrorKind},
    value_parser,
};
use platen_proto::{
    diagnostic::{self, Field, Kind, Shape},
    operation::v1::data_model_parameter::Format,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, iter, sync::LazyLock};

/// The diagnostic as the API spells it: its kind, and that kind's arguments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Diagnostic(Map<String, Value>);

impl FromArgMatches for Diagnostic {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (name, matches) = matches
            .subcommand()
            .ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let kind = diagnostic::kinds()
            .iter()
            .find(|kind| dashed(kind.name()) == name)
            .ok_or_else(|| Error::new(ErrorKind::InvalidSubcommand))?;
        let arguments: Map<String, Value> = kind
            .arguments
            .iter()
            .filter_map(|field| Some((id(field).to_owned(), given(field, matches)?)))
            .collect();
        let kind = kind.json_name().to_owned();
        Ok(Self(Map::from_iter([(kind, arguments.into())])))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Diagnostic {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(diagnostic::kinds().iter().map(subcommand))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        diagnostic::kinds()
            .iter()
            .any(|kind| dashed(kind.name()) == name)
    }
}

fn subcommand(kind: &'static Kind) -> Command {
    let name = dashed(kind.name());
    let needed = kind
        .arguments
        .iter()
        .filter(|field| field.parameter.required);
    let example: String = needed
        .map(|field| format!(" --{} {}", dashed(field.descriptor.name()), example(field)))
        .collect();
    Command::new(name)
        .about(kind.comment().trim_end_matches('.').to_owned())
        .after_help(format!(
            "Example:\n  platen operation create DEVICE diagnostic {name}{example} --wait 10m"
        ))
        .args(kind.arguments.iter().map(argument))
}

fn argument(field: &'static Field) -> Arg {
    let parameter = &field.parameter;
    let bounds = parameter
        .range
        .as_ref()
        .map(|range| format!("{} to {}", range.min, range.max));
    let help: Vec<String> = iter::once(field.comment())
        .chain(bounds)
        .filter(|text| !text.is_empty())
        .collect();
    let argument = Arg::new(id(field))
        .long(dashed(field.descriptor.name()))
        .required(parameter.required)
        .help(help.join(" "));
    match field.shape() {
        Shape::Number => argument.value_parser(value_parser!(u64)).value_name("N"),
        Shape::Flag => argument.value_parser(value_parser!(bool)),
        Shape::List => argument.action(ArgAction::Append).value_name("HOST"),
        Shape::Text if parameter.words.is_empty() => {
            argument.value_name(parameter.format().as_str_name())
        }
        Shape::Text => {
            let words = parameter.words.iter().map(String::as_str);
            argument.value_parser(PossibleValuesParser::new(words))
        }
    }
}

/// What an option was given, as JSON.
fn given(field: &'static Field, matches: &ArgMatches) -> Option<Value> {
    let id = id(field);
    Some(match field.shape() {
        Shape::Number => json!(matches.get_one::<u64>(id)?),
        Shape::Flag => json!(matches.get_one::<bool>(id)?),
        Shape::Text => json!(matches.get_one::<String>(id)?),
        Shape::List => matches
            .get_many::<String>(id)?
            .map(String::as_str)
            .collect(),
    })
}

/// A value for the example of a command.
fn example(field: &Field) -> &'static str {
    match (field.shape(), field.parameter.format()) {
        (Shape::Flag, _) => "true",
        (Shape::Number, _) => "1",
        (_, Format::Url) => "http://192.0.2.1/10M.bin",
        (_, Format::Path) if field.descriptor.parent_message().name() == "F5Loopback" => {
            "Device.ATM.Link.1"
        }
        (_, Format::Path) => "Device.DSL.Channel.1",
        _ => "192.0.2.1",
    }
}

fn id(field: &'static Field) -> &'static str {
    field.descriptor.json_name()
}

/// A name of the schema as the command line writes it: `ip_ping` is `ip-ping`.
fn dashed(name: &'static str) -> &'static str {
    static NAMES: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
        let of_kind = |kind: &'static Kind| {
            let arguments = kind.arguments.iter().map(|field| field.descriptor.name());
            iter::once(kind.name()).chain(arguments)
        };
        let names = diagnostic::kinds().iter().flat_map(of_kind);
        names.map(|name| (name, name.replace('_', "-"))).collect()
    });
    NAMES.get(name).map_or(name, String::as_str)
}
