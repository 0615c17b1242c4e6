//! `platen-swarm`: simulated devices for load runs, tests and the demonstration.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use platen_swarm::{
    demo,
    enrol::{self, Api},
    load::{self, Plan, Progress},
    peer::Target,
    printers::Floor,
    report::Report,
    session::Habits,
};
use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulated devices: fleets that call a server, printers that answer SNMP.
#[derive(Debug, Parser)]
#[command(name = "platen-swarm", version, arg_required_else_help = true)]
struct Cli {
    /// Threads of the swarm itself; default: one per processor.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario against a server.
    #[command(subcommand)]
    Run(Scenario),
    /// Print the report of an earlier run.
    #[command(after_help = "Example:\n  platen-swarm report idle.json")]
    Report { file: PathBuf },
    /// Start simulated printers that answer SNMP on 127.0.11.x, until interrupted.
    #[command(
        after_help = "Example:\n  platen-swarm printers --count 12 --ports-file printers.json"
    )]
    Printers(PrintersArgs),
    /// Show everything together: server, proxy, printers, and a live table.
    #[command(after_help = "Example:\n  platen-swarm demo --once")]
    Demo(DemoArgs),
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Sessions in which nothing happens: Inform with ten parameters, empty POST, 204.
    #[command(
        after_help = "Example:\n  platen-swarm run idle --devices 1000 --rate 500 --duration 30s --register --pid $(pidof platen)"
    )]
    Idle(IdleArgs),
}

#[derive(Debug, Args)]
struct IdleArgs {
    /// Where the server takes sessions; default: port 7547 of this machine and the tenant.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[arg(long, default_value = "default")]
    tenant: String,
    /// The server's API, for --register.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    api: String,
    /// File with the API token, for --register.
    #[arg(long, default_value = "platen-data/admin.token", value_name = "FILE")]
    token_file: PathBuf,
    /// Register the devices first. Those that exist already stay.
    #[arg(long)]
    register: bool,
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Sessions per second, begun whether the server keeps up or not; default: as many as go.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// Sessions at a time, at most.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Keep connections from one session to the next.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    keep_alive: bool,
    /// Remember the server's challenge from one session to the next.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    keep_challenge: bool,
    /// Leave sessions open after the InformResponse, to see what the server keeps of each.
    #[arg(long)]
    leave_open: bool,
    /// Without credentials and without BOOTSTRAP: against a server that answers with fixed bytes.
    #[arg(long)]
    bare: bool,
    /// The devices have called before: do not report BOOTSTRAP.
    #[arg(long)]
    installed: bool,
    /// How long a device waits for an answer.
    #[arg(long, default_value = "30s", value_parser = duration)]
    patience: Duration,
    /// The server's process, to measure what it costs.
    #[arg(long)]
    pid: Option<u32>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PrintersArgs {
    #[arg(long, default_value_t = 12)]
    count: u8,
    /// UDP port of every printer; 0 takes free ones.
    #[arg(long, default_value_t = 0)]
    base_port: u16,
    /// Write who they are and where they answer, as JSON, once they do.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    #[arg(long, default_value_t = 12)]
    printers: u8,
    /// End by itself: with success once every printer is managed and metered.
    #[arg(long)]
    once: bool,
    /// How long --once waits.
    #[arg(long, default_value = "120s", value_parser = duration)]
    patience: Duration,
    /// Directory with the programs; default: where this one is.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "must be a time such as 30s or 5m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if even this cannot be written.
            let _ = writeln!(io::stderr().lock(), "platen-swarm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = cli.threads {
        runtime.worker_threads(threads.max(1));
    }
    runtime.enable_all().build()?.block_on(async {
        let stop = CancellationToken::new();
        let interrupted = stop.clone();
        tokio::spawn(async move {
            if interruption().await.is_ok() {
                interrupted.cancel();
            }
        });
        match cli.command {
            Command::Run(Scenario::Idle(args)) => idle(&args, &stop).await,
            Command::Report { file } => show(&file),
            Command::Printers(args) => printers(&args, &stop).await,
            Command::Demo(args) => {
                let programs = match args.programs {
                    Some(dir) => dir,
                    None => std::env::current_exe()?
                        .parent()
                        .map(Path::to_owned)
                        .context("this program has no directory")?,
                };
                demo::run(
                    &demo::Options {
                        printers: args.printers,
                        once: args.once,
                        patience: args.patience,
                        programs,
                    },
                    &stop,
                )
                .await
            }
        }
    })
}

/// Waits for ctrl-c or SIGTERM.
async fn interruption() -> io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

async fn idle(args: &IdleArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    if args.devices == 0
        || args
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
    {
        bail!("--devices and --rate must be above 0");
    }
    let url = args
        .url
        .clone()
        .unwrap_or_else(|| format!("http://127.0.0.1:7547/cwmp/{}", args.tenant));
    let plan = Plan {
        target: Target::resolve(&url).await?,
        devices: args.devices,
        rate: args.rate,
        concurrency: args.concurrency,
        duration: args.duration,
        habits: Habits {
            keep_alive: args.keep_alive,
            keep_challenge: args.keep_challenge,
            leave_open: args.leave_open,
        },
        authenticate: !args.bare,
        install: !args.bare && !args.installed,
        patience: args.patience,
        pid: args.pid,
    };
    if args.register && !args.bare {
        let token = fs::read_to_string(&args.token_file)
            .with_context(|| format!("cannot read the token file {}", args.token_file.display()))?;
        let api = Api::new(&args.api, &token, &args.tenant)?;
        let registered = AtomicU64::new(0);
        let line = Line::new("registered");
        enrol::register(&api, args.devices, 32, || {
            line.show(registered.fetch_add(1, Ordering::Relaxed) + 1, 0)
        })
        .await?;
        line.end();
    }
    let progress = Arc::new(Progress::default());
    let line = Line::new("sessions");
    let watching = tokio::spawn({
        let (progress, line) = (Arc::clone(&progress), line.clone());
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                line.show(
                    progress.done.load(Ordering::Relaxed),
                    progress.failed.load(Ordering::Relaxed),
                );
            }
        }
    });
    let report = load::run(&plan, &progress, stop).await;
    watching.abort();
    line.end();
    let report = report?;
    if let Some(file) = &args.report {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    writeln!(io::stdout().lock(), "{report}")?;
    if report.failed() > 0 {
        bail!(
            "{} of {} sessions did not end well",
            report.failed(),
            report.failed() + report.sessions
        );
    }
    Ok(())
}

fn show(file: &Path) -> anyhow::Result<()> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: Report = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a report of this program", file.display()))?;
    Ok(writeln!(io::stdout().lock(), "{report}")?)
}

async fn printers(args: &PrintersArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let floor = Floor::start(args.count, args.base_port).await?;
    let ports = floor.ports();
    if let Some(file) = &args.ports_file {
        // Beside it and renamed: whoever waits for the file never reads half of it.
        let draft = file.with_extension("part");
        fs::write(&draft, serde_json::to_vec_pretty(&ports)?)
            .with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, file)?;
    }
    for printer in &ports.printers {
        writeln!(
            io::stdout().lock(),
            "{}  {} {}  {}",
            printer.address,
            printer.manufacturer,
            printer.model,
            printer.serial_number
        )?;
    }
    floor.run(stop).await;
    Ok(())
}

/// A line of progress on a terminal; nothing in a pipe.
#[derive(Debug, Clone)]
struct Line {
    what: &'static str,
    visible: bool,
}

impl Line {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            visible: io::stderr().is_terminal(),
        }
    }

    fn show(&self, done: u64, failed: u64) {
        if self.visible && (self.what == "sessions" || done.is_multiple_of(100)) {
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(
                io::stderr().lock(),
                "\r{} {done}, failed {failed} ",
                self.what
            );
        }
    }

    fn end(&self) {
        if self.visible {
            let _ = writeln!(io::stderr().lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
