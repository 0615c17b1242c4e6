//! `platen artifact`.

use super::{Plan, Session, kinds, name, output::Format, rest::Call};
use crate::exit::Failure;
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde_json::json;
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};
use tokio_util::io::ReaderStream;

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "one exists in the whole life of the process"
)]
pub(crate) enum Command {
    /// List artifacts.
    #[command(after_help = "Example:\n  platen artifact list")]
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one artifact.
    #[command(after_help = "Example:\n  platen artifact get laserpro-1.5")]
    Get { artifact: String },
    /// Describe a file and send it.
    #[command(
        after_help = "Example:\n  platen artifact create laserpro-1.5 --file laserpro.bin --version 1.5 --model 'LaserPro 9'"
    )]
    Create(CreateArgs),
    /// Delete an artifact; transfers that are under way fail.
    #[command(after_help = "Example:\n  platen artifact delete laserpro-1.5")]
    Delete { artifact: String },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its id: a-z, 0-9, '.' and '-'.
    artifact: String,
    /// The file itself.
    #[arg(long)]
    file: PathBuf,
    /// The software version that a device reports once it runs this.
    #[arg(long, default_value = "")]
    version: String,
    #[arg(long, default_value = "1 Firmware Upgrade Image")]
    file_type: String,
    #[arg(long)]
    display_name: Option<String>,
    /// Name that the file has on the device; default: the file's own.
    #[arg(long)]
    target_file_name: Option<String>,
    /// SHA-256 that the file must have, in hexadecimal.
    #[arg(long)]
    sha256: Option<String>,
    /// Only devices of this manufacturer; may be repeated.
    #[arg(long = "manufacturer")]
    manufacturers: Vec<String>,
    /// Only devices of this product class or model name; may be repeated.
    #[arg(long = "model")]
    models: Vec<String>,
    /// Only devices of this hardware version; may be repeated.
    #[arg(long = "hardware-version")]
    hardware_versions: Vec<String>,
    /// Only devices that run this version; may be repeated.
    #[arg(long = "from-version")]
    from_versions: Vec<String>,
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    let of = |artifact: &str| name(&session.tenant, "artifacts", artifact);
    let plan = match command {
        Command::List { limit } => Plan::list(
            Call::get(format!("tenants/{}/artifacts", session.tenant)),
            "artifacts",
            kinds::ARTIFACTS,
            limit,
        ),
        Command::Get { artifact } => Plan::One(Call::get(of(&artifact)), kinds::ARTIFACT),
        Command::Delete { artifact } => Plan::Nothing(Call::delete(of(&artifact))),
        Command::Create(args) => return create(session, args).await,
    };
    session.execute(plan).await
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let unreadable =
        |error: io::Error| Failure::usage(format!("cannot read {}: {error}", args.file.display()));
    let file = tokio::fs::File::open(&args.file)
        .await
        .map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let own_name = args
        .file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let full_name = name(&session.tenant, "artifacts", &args.artifact);
    let body = json!({
        "name": full_name,
        "displayName": args.display_name.as_deref().unwrap_or(&args.artifact),
        "version": args.version,
        "fileType": args.file_type,
        "targetFileName": args.target_file_name.unwrap_or(own_name),
        "sha256": args.sha256.unwrap_or_default(),
        "compatibility": {
            "manufacturers": args.manufacturers,
            "models": args.models,
            "hardwareVersions": args.hardware_versions,
            "fromVersions": args.from_versions,
        },
    });
    session
        .rest
        .call(Call::post(
            format!("tenants/{}/artifacts", session.tenant),
            body,
        ))
        .await?;
    let mut progress = Progress::new(session.screen.format(), length);
    let chunks = ReaderStream::with_capacity(file, 256 << 10)
        .inspect_ok(move |chunk| progress.add(chunk.len()));
    let content = format!("{full_name}:content");
    let body = reqwest::Body::wrap_stream(chunks);
    let artifact = session.rest.upload(&content, length, body).await.map_err(|failure| {
        failure.advise(&format!(
            "the artifact is described but has no bytes: platen artifact delete {}, then create it again",
            args.artifact
        ))
    })?;
    session.screen.one(&artifact, kinds::ARTIFACT)
}

/// How far an upload has come: a line on a terminal, nothing elsewhere.
struct Progress {
    visible: bool,
    length: u64,
    sent: u64,
    percent: u64,
}

impl Progress {
    fn new(format: Format, length: u64) -> Self {
        Self {
            visible: format == Format::Table && io::stderr().is_terminal(),
            length,
            sent: 0,
            percent: 0,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let percent = (self.sent * 100).checked_div(self.length).unwrap_or(100);
        if self.visible && percent > self.percent {
            self.percent = percent;
            let end = if percent >= 100 { "\n" } else { "" };
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(
                io::stderr().lock(),
                "\r{} of {} bytes ({percent} %){end}",
                self.sent,
                self.length
            );
        }
    }
}
