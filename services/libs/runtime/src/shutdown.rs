//! When the process shall end.

use std::io;
use tokio::signal::unix::{SignalKind, signal as listen};

/// Waits for SIGTERM or SIGINT and returns its name.
///
/// # Errors
///
/// The operating system does not let the process listen for signals.
pub async fn signal() -> io::Result<&'static str> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
