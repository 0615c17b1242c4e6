//! `platen event`.

use super::{
    Plan, Session, kinds, name,
    output::{Format, table},
    rest::Call,
};
use crate::exit::Failure;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::{self, Write};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the events of a device, newest first.
    #[command(after_help = "Example:\n  platen event list 00D09E-LaserPro%2D9-SN1 --limit 20")]
    List {
        device: String,
        /// Only this kind (INFORM, TRANSFER_COMPLETE, …); may be repeated.
        #[arg(long = "kind")]
        kinds: Vec<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show the events of the tenant as they happen, until interrupted.
    #[command(after_help = "Example:\n  platen event watch --kind READING --output ndjson")]
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Resume after the event with this cursor.
    #[arg(long)]
    cursor: Option<String>,
    /// Only this kind; may be repeated.
    #[arg(long = "kind")]
    kinds: Vec<String>,
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List {
            device,
            kinds,
            limit,
        } => {
            let call = of_kinds(
                Call::get(format!(
                    "{}/events",
                    name(&session.tenant, "devices", &device)
                )),
                kinds,
            );
            session
                .execute(Plan::list(call, "events", kinds::EVENTS, limit))
                .await
        }
        Command::Watch(args) => watch(session, args).await,
    }
}

fn of_kinds(call: Call, kinds: Vec<String>) -> Call {
    kinds
        .into_iter()
        .fold(call, |call, kind| call.query("kinds", kind))
}

/// The longest line that a stream may have.
const MAX_LINE: usize = 16 << 20;

async fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    let call = of_kinds(
        Call::get(format!("tenants/{}/events:watch", session.tenant))
            .query_some("cursor", args.cursor),
        args.kinds,
    );
    let mut response = session.rest.stream(call).await?;
    let mut lines = Lines::default();
    let mut headed = false;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| session.rest.unreachable(&error))?
    {
        for line in lines.add(&chunk)? {
            show(session.screen.format(), &line, &mut headed)?;
        }
    }
    Err(Failure::failed(
        "the server ended the stream; resume with --cursor and the cursor of the last event",
    ))
}

/// Shows one event. Also as JSON one a line, since the stream has no end.
fn show(format: Format, line: &[u8], headed: &mut bool) -> Result<(), Failure> {
    let event: Value = serde_json::from_slice(line)
        .map_err(|error| Failure::failed(format!("the stream is not JSON: {error}")))?;
    let text = match format {
        Format::Json | Format::Ndjson => format!("{event}\n"),
        Format::Table => {
            let text = table(std::slice::from_ref(&event), kinds::EVENTS);
            let skip = usize::from(std::mem::replace(headed, true));
            text.lines()
                .skip(skip)
                .map(|line| format!("{line}\n"))
                .collect()
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Puts lines together from chunks.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that this chunk completes; empty ones keep the connection alive and are left out.
    fn add(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        self.rest.extend_from_slice(chunk);
        let mut lines: Vec<Vec<u8>> = self
            .rest
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        self.rest = lines.pop().unwrap_or_default();
        if self.rest.len() > MAX_LINE {
            return Err(Failure::failed(
                "the server sent an event that is larger than 16 MiB",
            ));
        }
        lines.retain(|line| !line.trim_ascii().is_empty());
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_chunks() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\n{\"c\"";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let whole: Vec<Vec<u8>> = text
                .chunks(size)
                .flat_map(|chunk| lines.add(chunk).unwrap())
                .collect();
            assert_eq!(
                whole,
                [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()],
                "{size}"
            );
        }
    }
}
