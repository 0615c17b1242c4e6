//! What `discover` shows.

use std::fmt::Write;

use platen_datamodel::meter::Meter;
use serde::Serialize;

use crate::discover::Found;

/// One line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    address: String,
    snmp: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
enum What {
    Printer {
        device: String,
        manufacturer: String,
        model_name: String,
        serial_number: String,
        software_version: String,
        total_impressions: Option<u64>,
        findings: Vec<String>,
    },
    Unusable {
        reason: String,
    },
}

impl Listed {
    /// Sums up what was found.
    #[must_use]
    pub fn of(found: &Found) -> Self {
        let what = match &found.printer {
            Ok(printer) => {
                let told = &printer.identity;
                let identity = platen_cwmp::identity::Identity::new(
                    &told.oui,
                    &*told.product_class,
                    &*told.serial_number,
                );
                What::Printer {
                    device: identity
                        .map(|identity| identity.to_string())
                        .unwrap_or_default(),
                    manufacturer: told.manufacturer.clone(),
                    model_name: told.model_name.clone(),
                    serial_number: told.serial_number.clone(),
                    software_version: told.software_version.clone(),
                    total_impressions: printer.counters.meters.get(&Meter::Total).copied(),
                    findings: printer
                        .findings
                        .iter()
                        .map(|finding| format!("{}: {}", finding.rule, finding.text))
                        .collect(),
                }
            }
            Err(reason) => What::Unusable {
                reason: reason.to_string(),
            },
        };
        Self {
            address: found.address.to_string(),
            snmp: found.credentials.version().protocol().to_owned(),
            what,
        }
    }
}

/// For people.
#[must_use]
pub fn table(found: &[Listed]) -> String {
    const HEAD: [&str; 6] = [
        "ADDRESS",
        "SNMP",
        "MANUFACTURER",
        "MODEL",
        "SERIAL",
        "TOTAL",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    for listed in found {
        let (address, snmp) = (listed.address.clone(), listed.snmp.clone());
        rows.push(match &listed.what {
            What::Printer {
                manufacturer,
                model_name,
                serial_number,
                total_impressions,
                ..
            } => [
                address,
                snmp,
                manufacturer.clone(),
                model_name.clone(),
                serial_number.clone(),
                total_impressions
                    .map(|count| count.to_string())
                    .unwrap_or_default(),
            ],
            What::Unusable { reason } => [
                address,
                snmp,
                String::new(),
                reason.clone(),
                String::new(),
                String::new(),
            ],
        });
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a text cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One array.
///
/// # Errors
///
/// None in practice: lists hold texts and numbers.
pub fn json(found: &[Listed]) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(found)? + "\n")
}

/// One object a line.
///
/// # Errors
///
/// As [`json`].
pub fn ndjson(found: &[Listed]) -> serde_json::Result<String> {
    found
        .iter()
        .map(|listed| Ok(serde_json::to_string(listed)? + "\n"))
        .collect()
}
