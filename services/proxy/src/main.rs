//! `platen-proxy`: finds printers at the customer's site and presents them to Platen.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use platen_proxy::config::Config;
use platen_proxy::listing::{self, Listed};
use platen_proxy::{discover, proxy};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Presents printers that speak SNMP as CWMP devices.
#[derive(Parser)]
#[command(
    name = "platen-proxy",
    version,
    after_help = "Example: platen-proxy discover --config proxy.toml"
)]
struct Arguments {
    /// What is logged, as `target=level` directives.
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "info,async_snmp=off",
        env = "PLATEN_LOG"
    )]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Finds printers, presents them, and reports what they tell.
    #[command(after_help = "Example: platen-proxy run --config proxy.toml --once")]
    Run {
        #[command(flatten)]
        file: File,
        /// Report every device once, and end.
        #[arg(long)]
        once: bool,
    },
    /// Shows what would be found, and presents nothing.
    #[command(after_help = "Example: platen-proxy discover --config proxy.toml --output json")]
    Discover {
        #[command(flatten)]
        file: File,
        /// In which form.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Checks the file.
    #[command(after_help = "Example: platen-proxy check --config proxy.toml")]
    Check {
        #[command(flatten)]
        file: File,
    },
}

#[derive(clap::Args)]
struct File {
    /// The proxy's file.
    #[arg(long, value_name = "FILE", env = "PLATEN_PROXY_CONFIG")]
    config: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
    Ndjson,
}

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) =
        platen_runtime::logs::init(platen_runtime::logs::Format::Text, &arguments.log, None)
    {
        return complain(&anyhow::Error::new(error).context("--log"), WRONG_USAGE);
    }
    // Two providers of cryptography are linked in; TLS wants to be told which one is ours.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = match &arguments.command {
        Command::Run { file, .. } | Command::Discover { file, .. } | Command::Check { file } => {
            &file.config
        }
    };
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), WRONG_USAGE),
    };
    let outcome = match arguments.command {
        Command::Run { once: false, .. } => Box::pin(run(&config)).await,
        Command::Run { once: true, .. } => Box::pin(once(&config)).await,
        Command::Discover { output, .. } => Box::pin(discover(&config, output)).await,
        Command::Check { .. } => print("the file is in order\n").map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => complain(&error, FAILED),
    }
}

async fn run(config: &Config) -> anyhow::Result<bool> {
    let shutdown = CancellationToken::new();
    let watch = shutdown.clone();
    let signal = tokio::spawn(async move {
        let signal = platen_runtime::shutdown::signal().await;
        watch.cancel();
        signal
    });
    proxy::run(config, shutdown).await?;
    let name = signal.await??;
    tracing::info!(signal = name, "ended");
    Ok(true)
}

async fn once(config: &Config) -> anyhow::Result<bool> {
    let once = proxy::run_once(config).await?;
    let mut text = String::new();
    for id in &once.reported {
        text.push_str(&format!("reported  {id}\n"));
    }
    print(&text)?;
    for (address, reason) in &once.unusable {
        tracing::info!(%address, reason, "not presented");
    }
    for (id, reason) in &once.failed {
        tracing::error!(device = id, reason, "not reported");
    }
    Ok(once.failed.is_empty())
}

async fn discover(config: &Config, output: Output) -> anyhow::Result<bool> {
    let mut found = Vec::new();
    for range in &config.discover {
        let now = jiff::Timestamp::now().as_second();
        found.extend(discover::look(range, now).await.iter().map(Listed::of));
    }
    print(&match output {
        Output::Table => listing::table(&found),
        Output::Json => listing::json(&found)?,
        Output::Ndjson => listing::ndjson(&found)?,
    })?;
    Ok(true)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // When even standard error is closed nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "platen-proxy: {error:#}");
    ExitCode::from(code)
}
