//! A device's parameters as a tree: value, type, and how a writable one reaches the printer.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::SERVICES;
use crate::snmp::{Oid, Value};
use crate::time::{self, UnixSeconds};

/// The types that values have on the wire (TR-106 §3.2.2, TR-069 §A.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Text.
    String,
    /// A signed number of 32 bits.
    Int,
    /// A number from 0 up, of 32 bits.
    UnsignedInt,
    /// A number from 0 up, of 64 bits.
    UnsignedLong,
    /// `1` or `0` when written by us; `true` and `false` are understood.
    Boolean,
    /// UTC, `0001-01-01T00:00:00Z` when unknown.
    DateTime,
}

impl Kind {
    /// The name of the XML Schema type, such as `xsd:unsignedInt`.
    #[must_use]
    pub const fn xsd(self) -> &'static str {
        match self {
            Self::String => "xsd:string",
            Self::Int => "xsd:int",
            Self::UnsignedInt => "xsd:unsignedInt",
            Self::UnsignedLong => "xsd:unsignedLong",
            Self::Boolean => "xsd:boolean",
            Self::DateTime => "xsd:dateTime",
        }
    }

    /// Whether `text` is a value of this type.
    #[must_use]
    pub fn admits(self, text: &str) -> bool {
        match self {
            Self::String => true,
            Self::Int => text.parse::<i32>().is_ok(),
            Self::UnsignedInt => text.parse::<u32>().is_ok(),
            Self::UnsignedLong => text.parse::<u64>().is_ok(),
            Self::Boolean => parse_boolean(text).is_some(),
            Self::DateTime => time::parse(text).is_some(),
        }
    }
}

/// Reads a boolean as XML Schema writes it.
#[must_use]
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The value in its XML form.
    pub value: String,
    /// Its type.
    pub kind: Kind,
    /// How to write it; `None` where the printer or the model does not allow that.
    pub write: Option<Write>,
}

/// Where a value goes that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// To the printer.
    Printer {
        /// The object instance.
        oid: Oid,
        /// The form in which the instance wants it.
        form: Form,
    },
    /// To who presents the device and keeps the value for it, at most so many bytes.
    Kept(usize),
}

/// How a text becomes the value of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// UTF-8 of at most so many bytes.
    Text(usize),
    /// The row number at the end of a path below `table` (SET-04); empty text is row 0.
    Row {
        /// The table, with a dot at its end.
        table: String,
    },
    /// One of two codes.
    Switch {
        /// For true.
        on: i32,
        /// For false.
        off: i32,
    },
    /// One of the names of an enumeration.
    Label(&'static [(i64, &'static str)]),
    /// A number within bounds, both included.
    Number {
        /// The least.
        min: i32,
        /// The greatest.
        max: i32,
    },
}

/// A value that a parameter does not take. The fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is of another type.
    #[error("value is of another type")]
    Type,
    /// It is of the type, but not one of the values allowed.
    #[error("value is not allowed")]
    Value,
}

impl Form {
    /// The value for the printer.
    ///
    /// # Errors
    ///
    /// See [`Unfit`].
    pub fn encode(&self, text: &str) -> Result<Value, Unfit> {
        match self {
            Self::Text(max) if text.len() <= *max && !text.chars().any(char::is_control) => {
                Ok(Value::from(text))
            }
            Self::Text(_) => Err(Unfit::Value),
            Self::Row { .. } if text.is_empty() => Ok(Value::Integer(0)),
            Self::Row { table } => {
                let row = text.strip_prefix(table.as_str()).ok_or(Unfit::Value)?;
                let row = row.strip_suffix('.').unwrap_or(row);
                let row: i32 = row.parse().map_err(|_| Unfit::Value)?;
                if row > 0 {
                    Ok(Value::Integer(row))
                } else {
                    Err(Unfit::Value)
                }
            }
            Self::Switch { on, off } => {
                let state = parse_boolean(text).ok_or(Unfit::Type)?;
                Ok(Value::Integer(if state { *on } else { *off }))
            }
            Self::Label(labels) => {
                let code = labels
                    .iter()
                    .find(|(_, name)| *name == text)
                    .ok_or(Unfit::Value)?
                    .0;
                Ok(Value::Integer(
                    i32::try_from(code).map_err(|_| Unfit::Value)?,
                ))
            }
            Self::Number { min, max } => {
                let number: i32 = text.parse().map_err(|_| Unfit::Type)?;
                if (*min..=*max).contains(&number) {
                    Ok(Value::Integer(number))
                } else {
                    Err(Unfit::Value)
                }
            }
        }
    }
}

/// The parameters of one device by their full paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree(BTreeMap<String, Parameter>);

/// A parameter or object below a path, as GetParameterNames lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The full path, with a dot at the end of an object's.
    pub path: String,
    /// Whether a parameter can be set. Our tables never grow or shrink on request, so objects are not writable.
    pub writable: bool,
}

impl Tree {
    /// The parameter at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Parameter> {
        self.0.get(path)
    }

    /// The value at `path`.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&str> {
        self.get(path).map(|parameter| parameter.value.as_str())
    }

    /// Puts a parameter in place of what was there.
    pub fn insert(&mut self, path: impl Into<String>, parameter: Parameter) {
        self.0.insert(path.into(), parameter);
    }

    /// Puts a value that cannot be written in place of what was there.
    pub fn put(&mut self, path: impl Into<String>, kind: Kind, value: impl Into<String>) {
        self.insert(
            path,
            Parameter {
                value: value.into(),
                kind,
                write: None,
            },
        );
    }

    /// Changes the value of a parameter that is there.
    pub fn replace_value(&mut self, path: &str, value: impl Into<String>) {
        if let Some(parameter) = self.0.get_mut(path) {
            parameter.value = value.into();
        }
    }

    /// Lets nothing be written to the printer, for want of access to it.
    pub fn forbid_printer_writes(&mut self) {
        for parameter in self.0.values_mut() {
            parameter
                .write
                .take_if(|write| matches!(write, Write::Printer { .. }));
        }
    }

    /// Takes over everything that `other` holds.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All parameters, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0
            .iter()
            .map(|(path, parameter)| (path.as_str(), parameter))
    }

    /// The parameters that `path` stands for: one, or all below an object. The empty path is the root.
    ///
    /// `None` when the device knows no such parameter or object; a table without rows is known by its number of entries.
    #[must_use]
    pub fn select(&self, path: &str) -> Option<Vec<(&str, &Parameter)>> {
        if !path.is_empty() && !path.ends_with('.') {
            return self
                .0
                .get_key_value(path)
                .map(|(path, parameter)| vec![(path.as_str(), parameter)]);
        }
        let below: Vec<_> = self.below(path).collect();
        (!below.is_empty() || self.is_empty_table(path)).then_some(below)
    }

    /// The names below `path`, the objects among them included, as TR-069 §A.3.2.3 wants them: with `next_level` only the next level and
    /// not `path` itself.
    ///
    /// `None` when the device knows no such parameter or object, or `next_level` is asked of a parameter.
    #[must_use]
    pub fn names(&self, path: &str, next_level: bool) -> Option<Vec<Name>> {
        if !path.is_empty() && !path.ends_with('.') {
            let parameter = self.0.get(path).filter(|_| !next_level)?;
            return Some(vec![Name {
                path: path.to_owned(),
                writable: parameter.write.is_some(),
            }]);
        }
        let mut names = BTreeSet::new();
        for (full, parameter) in self.below(path) {
            let rest = &full[path.len()..];
            let dots = rest
                .match_indices('.')
                .map(|(position, _)| path.len() + position + 1);
            for end in dots.take(if next_level { 1 } else { usize::MAX }) {
                names.insert(Name {
                    path: full[..end].to_owned(),
                    writable: false,
                });
            }
            if !next_level || !rest.contains('.') {
                names.insert(Name {
                    path: full.to_owned(),
                    writable: parameter.write.is_some(),
                });
            }
        }
        if names.is_empty() && !self.is_empty_table(path) {
            return None;
        }
        if !next_level && !path.is_empty() {
            names.insert(Name {
                path: path.to_owned(),
                writable: false,
            });
        }
        Some(names.into_iter().collect())
    }

    fn below<'t, 'p>(
        &'t self,
        prefix: &'p str,
    ) -> impl Iterator<Item = (&'t str, &'t Parameter)> + use<'t, 'p> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(prefix))
            .map(|(path, parameter)| (path.as_str(), parameter))
    }

    fn is_empty_table(&self, path: &str) -> bool {
        path.strip_suffix('.')
            .is_some_and(|table| self.0.contains_key(&format!("{table}NumberOfEntries")))
    }

    /// A writer of what lies below `prefix`, which ends with a dot.
    pub(crate) fn object(&mut self, prefix: impl Into<String>) -> Object<'_> {
        Object {
            tree: self,
            prefix: prefix.into(),
        }
    }

    /// A writer of imaging service `instance`.
    pub(crate) fn service(&mut self, instance: u32) -> Object<'_> {
        self.object(format!("{SERVICES}{instance}."))
    }
}

/// Writes parameters below one object.
pub(crate) struct Object<'t> {
    tree: &'t mut Tree,
    prefix: String,
}

impl Object<'_> {
    /// The object below this one.
    pub(crate) fn child(&mut self, name: &str) -> Object<'_> {
        Object {
            prefix: format!("{}{name}.", self.prefix),
            tree: self.tree,
        }
    }

    /// A row of a table below this one, with its alias (MAP-12).
    pub(crate) fn row(&mut self, table: &str, device: u32, row: u32) -> Object<'_> {
        let mut object = self.child(&format!("{table}.{row}"));
        object.text("Alias", format!("cpe-{device}-{row}"));
        object
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn put(&mut self, name: &str, kind: Kind, value: impl Into<String>) {
        self.tree.put(format!("{}{name}", self.prefix), kind, value);
    }

    pub(crate) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.put(name, Kind::String, value);
    }

    pub(crate) fn int(&mut self, name: &str, value: i64) {
        // What no 32 bits hold, no printer has.
        let value = value.clamp(i32::MIN.into(), i32::MAX.into());
        self.put(name, Kind::Int, value.to_string());
    }

    pub(crate) fn unsigned(&mut self, name: &str, value: u64) {
        self.put(
            name,
            Kind::UnsignedInt,
            value.min(u32::MAX.into()).to_string(),
        );
    }

    /// Zero would be a value; who tells nothing has no such parameter.
    pub(crate) fn unsigned_if_known(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.unsigned(name, value);
        }
    }

    pub(crate) fn long(&mut self, name: &str, value: u64) {
        self.put(name, Kind::UnsignedLong, value.to_string());
    }

    /// A meter; without data it says so by the greatest value.
    pub(crate) fn meter(&mut self, name: &str, value: Option<u64>) {
        self.long(name, value.unwrap_or(crate::meter::NO_DATA));
    }

    pub(crate) fn boolean(&mut self, name: &str, value: bool) {
        self.put(name, Kind::Boolean, if value { "1" } else { "0" });
    }

    pub(crate) fn time(&mut self, name: &str, value: Option<UnixSeconds>) {
        self.put(
            name,
            Kind::DateTime,
            value.map_or_else(|| time::UNKNOWN.to_owned(), time::format),
        );
    }

    /// Lets the parameter be written to the printer.
    pub(crate) fn writable(&mut self, name: &str, oid: Oid, form: Form) {
        self.set_write(name, Write::Printer { oid, form });
    }

    /// Lets the parameter be set to whatever fits; its value is kept beside the printer.
    pub(crate) fn kept(&mut self, name: &str, max: usize) {
        self.set_write(name, Write::Kept(max));
    }

    fn set_write(&mut self, name: &str, write: Write) {
        if let Some(parameter) = self.tree.0.get_mut(&format!("{}{name}", self.prefix)) {
            parameter.write = Some(write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for path in [
            "Device.A.X",
            "Device.A.T.2.Y",
            "Device.A.T.10.Y",
            "Device.B",
            "Device.A.EmptyNumberOfEntries",
        ] {
            tree.put(path, Kind::String, "v");
        }
        tree
    }

    fn names(path: &str, next_level: bool) -> Option<Vec<String>> {
        Some(
            tree()
                .names(path, next_level)?
                .into_iter()
                .map(|name| name.path)
                .collect(),
        )
    }

    #[test]
    fn partial_paths_select_what_lies_below() {
        let tree = tree();
        let count = |path: &str| tree.select(path).map(|found| found.len());
        assert_eq!(count(""), Some(5));
        assert_eq!(count("Device."), Some(5));
        assert_eq!(count("Device.A.T."), Some(2));
        assert_eq!(count("Device.A.X"), Some(1));
        assert_eq!(count("Device.A.Empty."), Some(0));
        assert_eq!(count("Device.A"), None);
        assert_eq!(count("Device.A.X."), None);
        assert_eq!(count("Device.C."), None);
    }

    #[test]
    fn names_of_the_next_level_leave_out_the_object_itself() {
        assert_eq!(names("", true).unwrap(), ["Device."]);
        assert_eq!(names("Device.", true).unwrap(), ["Device.A.", "Device.B"]);
        assert_eq!(
            names("Device.A.T.", true).unwrap(),
            ["Device.A.T.10.", "Device.A.T.2."]
        );
        assert_eq!(
            names("Device.A.Empty.", true).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(names("Device.A.X", true), None);
    }

    #[test]
    fn names_of_all_levels_hold_the_object_itself() {
        assert_eq!(
            names("Device.A.T.", false).unwrap(),
            [
                "Device.A.T.",
                "Device.A.T.10.",
                "Device.A.T.10.Y",
                "Device.A.T.2.",
                "Device.A.T.2.Y"
            ]
        );
        assert_eq!(
            names("Device.A.Empty.", false).unwrap(),
            ["Device.A.Empty."]
        );
        assert_eq!(names("Device.A.X", false).unwrap(), ["Device.A.X"]);
        assert_eq!(names("Nothing.", false), None);
    }

    #[test]
    fn forms_take_their_values_only() {
        let row = Form::Row {
            table: "Device.T.".to_owned(),
        };
        let cases = [
            (Form::Text(3), "abc", Ok(Value::from("abc"))),
            (Form::Text(3), "abcd", Err(Unfit::Value)),
            (Form::Text(3), "a\nb", Err(Unfit::Value)),
            (row.clone(), "Device.T.7", Ok(Value::Integer(7))),
            (row.clone(), "Device.T.7.", Ok(Value::Integer(7))),
            (row.clone(), "", Ok(Value::Integer(0))),
            (row.clone(), "Device.U.7", Err(Unfit::Value)),
            (row, "Device.T.0", Err(Unfit::Value)),
            (
                Form::Switch { on: 4, off: 3 },
                "true",
                Ok(Value::Integer(4)),
            ),
            (Form::Switch { on: 4, off: 3 }, "0", Ok(Value::Integer(3))),
            (Form::Switch { on: 4, off: 3 }, "yes", Err(Unfit::Type)),
            (
                Form::Label(&[(3, "On"), (4, "Off")]),
                "Off",
                Ok(Value::Integer(4)),
            ),
            (
                Form::Label(&[(3, "On"), (4, "Off")]),
                "Other",
                Err(Unfit::Value),
            ),
            (Form::Number { min: 0, max: 9 }, "9", Ok(Value::Integer(9))),
            (Form::Number { min: 0, max: 9 }, "10", Err(Unfit::Value)),
            (Form::Number { min: 0, max: 9 }, "x", Err(Unfit::Type)),
        ];
        for (form, text, expect) in cases {
            assert_eq!(form.encode(text), expect, "{form:?} {text:?}");
        }
    }
}
