//! Logs of the process, on standard error.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    io::{self, IsTerminal},
};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

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
/// `filter` is a list of `target=level` directives, such as `info,platen_edge=debug`. With `roles`, every line names them: behind the time, or as
/// the first field.
///
/// # Errors
///
/// [`Error::Filter`], [`Error::Twice`].
pub fn init(format: Format, filter: &str, roles: Option<&str>) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(filter)?;
    let roles = roles.map(str::to_owned);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        Format::Text => builder
            .with_timer(NamedTime { roles })
            .with_ansi(io::stderr().is_terminal())
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .map_event_format(|object| NamedObject { object, roles })
            .try_init(),
    }
    .map_err(|error| Error::Twice(error.to_string()))
}

/// The time of a line, and whose line it is.
struct NamedTime {
    roles: Option<String>,
}

impl FormatTime for NamedTime {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(line)?;
        match &self.roles {
            Some(roles) => write!(line, " {roles}"),
            None => Ok(()),
        }
    }
}

/// A line that is a JSON object, and whose line it is.
struct NamedObject<F> {
    object: F,
    roles: Option<String>,
}

impl<S, N, F> FormatEvent<S, N> for NamedObject<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(roles) = &self.roles else {
            return self.object.format_event(context, line, event);
        };
        let mut object = String::new();
        self.object
            .format_event(context, Writer::new(&mut object), event)?;
        match object.strip_prefix('{') {
            Some(fields) => write!(line, "{{\"roles\":{roles:?},{fields}"),
            None => line.write_str(&object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_bad_filter_is_refused() {
        assert!(matches!(
            init(Format::Text, "platen_edge=loud", None),
            Err(Error::Filter(_))
        ));
    }

    #[test]
    fn lines_name_the_roles() {
        let mut line = String::new();
        NamedTime {
            roles: Some("edge".to_owned()),
        }
        .format_time(&mut Writer::new(&mut line))
        .unwrap();
        assert!(line.ends_with("Z edge"), "{line}");

        let written = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .map_event_format(|object| NamedObject {
                object,
                roles: Some("edge,firmware".to_owned()),
            })
            .with_writer({
                let written = Arc::clone(&written);
                move || Shared(Arc::clone(&written))
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::warn!(lag = 3, "behind"));
        let line = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(
            line.starts_with("{\"roles\":\"edge,firmware\",\"timestamp\":"),
            "{line}"
        );
        assert!(
            line.ends_with("}\n") && line.contains("\"lag\":3"),
            "{line}"
        );
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
