//! Logs of the process, on standard error.

use serde::{Deserialize, Serialize};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one. The caller's fault.
    #[error("not a log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process logs already.
    #[error("logging was set up before: {0}")]
    Twice(String),
}

/// Sends the process's log to standard error; once per process.
///
/// `filter` is a list of `target=level` directives, such as `info,platen_edge=debug`.
///
/// # Errors
///
/// [`Error::Filter`], [`Error::Twice`].
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Error::Twice(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused() {
        assert!(matches!(
            init(Format::Text, "platen_edge=loud"),
            Err(Error::Filter(_))
        ));
    }
}
