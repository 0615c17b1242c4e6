//! `platen dlq`: what consumers have put aside, read from the log: of a data directory whose server has stopped, or from Kafka.

use crate::{
    client::output::{Columns, Format, Screen},
    config::{Config, Form, Source},
    exit::{Failure, Kind},
};
use anyhow::Context;
use clap::{Args, Subcommand};
use platen_bus::{DeadLetter, Log, embedded::EmbeddedLog};
use platen_embedded::{Database, Options};
use platen_proto::topic::Topic;
use platen_store::{Store, embedded::EmbeddedTables};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Commands of `platen dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the records that a consumer could not handle, the oldest of each topic first. With an embedded log the server must have stopped.
    #[command(
        after_help = "Example:\n  platen dlq list --data-dir /var/lib/platen --output ndjson\n  platen dlq list --config /etc/platen/platen.toml"
    )]
    List(ListArgs),
}

/// Arguments of `platen dlq list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    source: Source,
    /// The data directory, if the log is embedded.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    /// At most so many of each topic.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// How they are shown.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const COLUMNS: Columns = &[
    ("TOPIC", "/topic"),
    ("OFFSET", "/offset"),
    ("TIME", "/time"),
    ("GROUP", "/group"),
    ("KEY", "/key"),
    ("KIND", "/kind"),
    ("REASON", "/reason"),
];

/// Runs a command.
pub(crate) fn main(command: Command) -> Result<(), Failure> {
    let Command::List(args) = command;
    let config = Config::load(&args.source)?;
    if matches!(config.form, Form::Embedded { .. }) && !args.data_dir.join("database").is_dir() {
        return Err(Failure::new(
            Kind::NotFound,
            format!("{} is no data directory of Platen", args.data_dir.display()),
        ));
    }
    crate::install_cryptography()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let letters = runtime.block_on(async {
        match &config.form {
            Form::Embedded { .. } => read_directory(&args.data_dir, args.limit).await,
            Form::Distributed(form) => {
                let store = form.store.open().await?;
                let log = form.bus.open(TIMEOUT, &store).await?;
                read(&log, args.limit).await
            }
        }
    })?;
    let mut shown = Screen::new(args.output).list(COLUMNS);
    shown.add(letters.iter().map(line).collect())?;
    shown.end()
}

/// Nothing is appended.
const TIMEOUT: Duration = Duration::from_secs(10);

async fn read_directory(data_dir: &Path, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
    let database = Database::open(data_dir.join("database"), Options::default())
        .context("stop the server first")?;
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    read(&EmbeddedLog::open(&database, &store).await?, limit).await
}

async fn read(log: &dyn Log, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for topic in Topic::ALL {
        letters.extend(log.dead_letters(topic, limit).await?);
    }
    Ok(letters)
}

fn line(letter: &DeadLetter) -> Value {
    let record = &letter.record;
    json!({
        "topic": record.topic.name(),
        "partition": letter.partition,
        "offset": letter.offset.to_string(),
        "time": jiff::Timestamp::from_microsecond(record.time_us).unwrap_or_default().to_string(),
        "group": letter.group,
        "key": record.key,
        "kind": record.kind.name(),
        "id": record.id,
        "bytes": record.payload.len(),
        "reason": letter.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_bus::{From, NewRecord};
    use platen_proto::topic::Kind;

    #[tokio::test]
    async fn what_was_put_aside_is_shown_once_the_server_has_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("database"), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let mut follower = log.follow(&[Topic::Reports], From::Now).await.unwrap();
        let record = NewRecord {
            topic: Topic::Reports,
            shard: 7,
            key: "default/00D09E-1".into(),
            kind: Kind::Inform,
            id: "r1".into(),
            time_us: 1_763_866_800_000_000,
            payload: b"secret".as_slice().into(),
        };
        log.append(vec![record]).await.unwrap();
        let record = follower.next(1).await.unwrap().remove(0);
        log.dead_letter(&record, "metering", "cannot be decoded")
            .await
            .unwrap();

        let error = read_directory(dir.path(), 10).await.unwrap_err();
        assert!(error.to_string().contains("stop the server"), "{error}");

        drop((follower, log, store, database));
        let letters = read_directory(dir.path(), 10).await.unwrap();
        assert_eq!(
            letters.iter().map(line).collect::<Vec<_>>(),
            [json!({
                "topic": "platen.reports.v1", "partition": 0, "offset": "0", "time": "2025-11-23T03:00:00Z", "group": "metering",
                "key": "default/00D09E-1", "kind": "inform", "id": "r1", "bytes": 6, "reason": "cannot be decoded"
            })]
        );
    }
}
