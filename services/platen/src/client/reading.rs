//! `platen reading` and `platen meter`.

use super::{Plan, Session, kinds, name, rest::Call};
use crate::exit::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the meter readings of a device, newest first.
    #[command(
        after_help = "Example:\n  platen reading list 00D09E-LaserPro%2D9-SN1 --meter TOTAL --limit 12"
    )]
    List {
        device: String,
        /// TOTAL, MONO, COLOR, …; all if left out.
        #[arg(long)]
        meter: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeterCommand {
    /// Recompute every hash of a device's ledger. Exit code 1 if it was tampered with.
    #[command(after_help = "Example:\n  platen meter verify 00D09E-LaserPro%2D9-SN1")]
    Verify { device: String },
}

impl Command {
    pub(crate) fn plan(self, tenant: &str) -> Plan {
        let Self::List {
            device,
            meter,
            limit,
        } = self;
        let call = Call::get(format!("{}/readings", name(tenant, "devices", &device)))
            .query_some("meter", meter);
        Plan::list(call, "readings", kinds::READINGS, limit)
    }
}

/// Verifies a ledger: a broken one is a failure of the command too.
pub(crate) async fn verify(session: &Session, command: MeterCommand) -> Result<(), Failure> {
    let MeterCommand::Verify { device } = command;
    let answer = session
        .rest
        .call(Call::get(format!(
            "{}/readings:verify",
            name(&session.tenant, "devices", &device)
        )))
        .await?;
    session.screen.one(&answer, kinds::LEDGER)?;
    if answer["intact"] == true {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the ledger of {device} is broken at sequence {}: restore it from a backup, and find out who wrote to the store",
        answer["firstBrokenSequence"].as_str().unwrap_or("?")
    )))
}
