//! How answers are shown: a table for people, JSON for scripts.

use crate::exit::Failure;
use clap::ValueEnum;
use serde_json::Value;
use std::io::{self, Write};

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// Columns of a table: heading, and the JSON pointer of what stands in it.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// Standard output in a form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    format: Format,
}

impl Screen {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) const fn format(self) -> Format {
        self.format
    }

    /// Shows one resource.
    pub(crate) fn one(self, item: &Value, columns: Columns) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => details(item, columns),
            Format::Json => format!("{item:#}\n"),
            Format::Ndjson => format!("{item}\n"),
        };
        write(&text)
    }

    /// Begins a list.
    pub(crate) const fn list(self, columns: Columns) -> List {
        List {
            format: self.format,
            columns,
            items: Vec::new(),
        }
    }

    /// Says something to a person; silent where a script reads.
    pub(crate) fn note(self, text: &str) -> Result<(), Failure> {
        if self.format == Format::Table {
            write(&format!("{text}\n"))
        } else {
            Ok(())
        }
    }
}

/// A list that is being shown. Line by line it goes out page by page; the other forms wait for its end.
#[derive(Debug)]
pub(crate) struct List {
    format: Format,
    columns: Columns,
    items: Vec<Value>,
}

impl List {
    pub(crate) fn add(&mut self, items: Vec<Value>) -> Result<(), Failure> {
        if self.format == Format::Ndjson {
            return write(
                &items
                    .iter()
                    .map(|item| format!("{item}\n"))
                    .collect::<String>(),
            );
        }
        self.items.extend(items);
        Ok(())
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.format {
            Format::Ndjson => Ok(()),
            Format::Json => write(&format!("{:#}\n", Value::Array(self.items))),
            Format::Table => write(&table(&self.items, self.columns)),
        }
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A table: two spaces between columns, headings in capitals. Also for answers that are drawn again and again.
pub(crate) fn table(items: &[Value], columns: Columns) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            columns
                .iter()
                .map(|(_, pointer)| cell(item.pointer(pointer)))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(n, (heading, _))| {
            rows.iter()
                .map(|row| row[n].chars().count())
                .chain([heading.len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let headings: Vec<String> = columns
        .iter()
        .map(|(heading, _)| (*heading).to_owned())
        .collect();
    std::iter::once(&headings)
        .chain(&rows)
        .map(|cells| line(cells))
        .collect()
}

/// One resource, a line for each column that it has.
fn details(item: &Value, columns: Columns) -> String {
    let lines = columns
        .iter()
        .map(|(heading, pointer)| (*heading, cell(item.pointer(pointer))))
        .filter(|(_, text)| !text.is_empty());
    let width = columns
        .iter()
        .map(|(heading, _)| heading.len())
        .max()
        .unwrap_or(0);
    lines
        .map(|(heading, text)| format!("{heading:width$}  {text}\n"))
        .collect()
}

/// What stands in a cell. Devices choose many of these texts: control characters would reach the terminal, so they are written out.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| cell(Some(item)))
            .collect::<Vec<_>>()
            .join(", "),
        Some(Value::Object(fields)) if fields.is_empty() => String::new(),
        Some(other) => other.to_string(),
    };
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, c| {
            if c.is_control() {
                safe.extend(c.escape_default())
            } else {
                safe.push(c)
            }
            safe
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: Columns = &[("NAME", "/name"), ("TAGS", "/tags"), ("INNER", "/a/b")];

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let items = [
            json!({"name": "x", "tags": ["a", "b"], "a": {"b": 7}}),
            json!({"name": "longer", "tags": []}),
        ];
        assert_eq!(
            table(&items, COLUMNS),
            "NAME    TAGS  INNER\nx       a, b  7\nlonger\n"
        );
        assert_eq!(table(&[], COLUMNS), "NAME  TAGS  INNER\n");
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        assert_eq!(
            details(
                &json!({"name": "x", "tags": [], "a": {"b": false}}),
                COLUMNS
            ),
            "NAME   x\nINNER  false\n"
        );
    }

    #[test]
    fn what_devices_say_cannot_steer_the_terminal() {
        assert_eq!(
            cell(Some(&json!("\u{1b}[31mred\r\n"))),
            "\\u{1b}[31mred\\r\\n"
        );
        assert_eq!(cell(Some(&json!("Größe 3 µm"))), "Größe 3 µm");
    }
}
