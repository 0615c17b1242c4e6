//! `platen migrate`: what the distributed form needs before its first process can work, and what a newer program adds to it.

use crate::{
    backends::until_there,
    client::output::{Columns, Format, Screen},
    config::{Config, Form, Source, form::Distributed},
    exit::{Failure, Kind},
    secret_file,
};
use anyhow::Context;
use clap::Args;
use platen_bus::kafka;
use platen_proto::topic::Topic;
use platen_store::{Store, cql, table::Range, tables::Tenants};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// Arguments of `platen migrate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Can be repeated, and run while everything runs. It goes on where it was cut off.\n\nExample:\n  platen migrate --config /etc/platen/platen.toml --admin-token-file admin.token"
)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    source: Source,
    /// Where an administrator's token goes (mode 0600) if this makes the first tenant; not touched otherwise.
    #[arg(long, value_name = "FILE")]
    admin_token_file: PathBuf,
    /// How long backends that are away are waited for, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
    /// How it is shown what was done.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const COLUMNS: Columns = &[
    ("STEP", "/step"),
    ("RESULT", "/result"),
    ("DETAIL", "/detail"),
];

/// Runs the command.
pub(crate) fn main(args: &MigrateArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    let Form::Distributed(form) = &config.form else {
        return Err(Failure::usage(
            "an embedded store is made by `platen serve` at its first start: `migrate` is for `store.kind = \"cql\"`",
        ));
    };
    crate::install_cryptography()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut last = String::new();
    let mut waiting = |why: &str| {
        if last != why {
            why.clone_into(&mut last);
            // A person sees what is waited for; a script gets it with the failure.
            if io::stderr().is_terminal() {
                let _ = writeln!(io::stderr().lock(), "waiting: {why}");
            }
        }
    };
    let mut shown = Screen::new(args.output).list(COLUMNS);
    let migrated = runtime.block_on(async {
        let shown = |step| shown.add(vec![step]);
        let migrating = migrate(form, &args.admin_token_file, &mut waiting, shown);
        timeout(Duration::from_secs(args.wait), migrating).await
    });
    // What was done before a failure is shown, too.
    shown.end()?;
    migrated.unwrap_or_else(|_| {
        let why = if last.is_empty() {
            "run it again, it goes on where it was"
        } else {
            &last
        };
        Err(Failure::new(
            Kind::TimedOut,
            format!("not done within {} seconds (--wait): {why}", args.wait),
        ))
    })
}

/// One thing that was done, or was done before.
fn step(name: &str, changed: bool, detail: impl Into<String>) -> Value {
    let result = if changed { "made" } else { "there" };
    json!({"step": name, "result": result, "detail": detail.into()})
}

async fn migrate(
    form: &Distributed,
    token_file: &Path,
    waiting: &mut impl FnMut(&str),
    mut done: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cql = form.store.adapter()?;
    let report = until_there(async || Ok(cql::migrate(&cql).await?), &mut *waiting).await?;
    let keyspace = format!("{} on {:?}", cql.keyspace, report.server);
    done(step("keyspace", report.keyspace_created, keyspace))?;
    let version = format!("version {}", report.version);
    done(step("tables", !report.applied.is_empty(), version))?;

    let store = until_there(async || form.store.open().await, &mut *waiting).await?;
    let first = until_there(async || form.claim_key(&store).await, &mut *waiting).await?;
    done(step("key", first, form.key_file.display().to_string()))?;

    let kafka = form.bus.adapter(MESSAGE_TIMEOUT)?;
    let (partitions, copies) = (form.bus.partitions, form.bus.replication_factor);
    let made = until_there(
        async || Ok(kafka::migrate(&kafka, &store, partitions, copies.into()).await?),
        &mut *waiting,
    )
    .await?;
    let topics = format!("{} of {partitions} partitions each", Topic::ALL.len());
    done(step("topics", made > 0, topics))?;

    let made = until_there(
        async || Ok(administrator(&store, first, token_file).await?),
        &mut *waiting,
    )
    .await?;
    let token = if made {
        format!("an administrator's token is in {}", token_file.display())
    } else {
        "tokens are made by `platen token create`".to_owned()
    };
    done(step("tenant", made, token))
}

/// Nothing is sent but to make topics.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the first one who migrates may take from the key to the tenant: a second one, at the same time, leaves it to the first for so long.
const PRECEDENCE: Duration = Duration::from_secs(10);

/// Makes the tenant `default` and an administrator's token, if there is no tenant. `true`: it was made now.
async fn administrator(store: &Store, first: bool, token_file: &Path) -> anyhow::Result<bool> {
    if !first {
        let there = async {
            let any = || Range {
                limit: 1,
                ..Range::default()
            };
            while store
                .scan_edited::<Tenants>("", any())
                .await?
                .rows
                .is_empty()
            {
                sleep(Duration::from_millis(200)).await;
            }
            anyhow::Ok(())
        };
        if let Ok(there) = timeout(PRECEDENCE, there).await {
            return there.map(|()| false);
        }
    }
    platen_northbound::bootstrap(store, |secret| {
        secret_file::write(token_file, secret)
            .with_context(|| format!("cannot write {}", token_file.display()))
    })
    .await
}
