//! Platen: serves devices and people (`platen serve`), and is the command line of a running server (everything else).

mod backends;
mod backup;
mod client;
mod config;
mod dead_letters;
mod doctor;
mod exit;
mod migrate;
mod roles;
mod secret_file;
mod serve;
mod shell;

use clap::{Parser, Subcommand};
use exit::Failure;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Open Auto Configuration Server for printers and every other CWMP (TR-069) device.
#[derive(Debug, Parser)]
#[command(
    name = "platen",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (authentication, permission), 4 not found, 5 timed out.\n\n\
                  Example:\n  platen serve --data-dir ./platen-data &\n  platen device list --output json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "one exists in the whole life of the process"
)]
enum Command {
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Read the configuration as `serve` would, and say what is wrong with it.
    #[command(after_help = "Example:\n  platen check --config /etc/platen/platen.toml")]
    Check(shell::CheckArgs),
    /// Print the documented default configuration, or with --effective what `serve` would use.
    #[command(after_help = "Example:\n  platen config > platen.toml")]
    Config(shell::ConfigArgs),
    /// Look for what commonly goes wrong on this machine.
    #[command(after_help = "Example:\n  platen doctor --config /etc/platen/platen.toml")]
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  platen completions bash > /etc/bash_completion.d/platen")]
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of every command.
    #[command(after_help = "Example:\n  platen man /usr/local/share/man/man1")]
    Man(shell::ManArgs),
    /// Make what the distributed form needs, or what a newer release adds to it.
    Migrate(migrate::MigrateArgs),
    /// Copy the data directory of a server that has stopped.
    #[command(
        after_help = "Example:\n  platen backup /backup/2026-11-23 --data-dir /var/lib/platen"
    )]
    Backup(backup::BackupArgs),
    /// Make a data directory of such a copy.
    #[command(
        after_help = "Example:\n  platen restore /backup/2026-11-23 --data-dir /var/lib/platen"
    )]
    Restore(backup::RestoreArgs),
    /// Records that no consumer could handle.
    #[command(subcommand)]
    Dlq(dead_letters::Command),
    #[command(flatten)]
    Client(client::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::main(&args),
        Command::Check(args) => shell::check(&args),
        Command::Config(args) => shell::config(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Completions(args) => {
            shell::completions(&args, &mut <Cli as clap::CommandFactory>::command())
        }
        Command::Man(args) => shell::man(&args, <Cli as clap::CommandFactory>::command()),
        Command::Migrate(args) => migrate::main(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Dlq(command) => dead_letters::main(command),
        Command::Client(command) => client::main(command),
    };
    done.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

/// Whoever makes TLS connections without naming a provider of cryptography gets this one.
fn install_cryptography() -> Result<(), Failure> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::failed("another provider of cryptography was installed before"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that does something shows how it is used.
    #[test]
    fn every_leaf_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str, bare: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .filter(|c| c.get_name() != "help")
                    .for_each(|c| walk(c, &path, bare));
            } else if !command
                .get_after_help()
                .is_some_and(|help| help.to_string().contains("Example"))
            {
                bare.push(path);
            }
        }
        let mut bare = Vec::new();
        Cli::command()
            .get_subcommands()
            .for_each(|command| walk(command, "platen", &mut bare));
        assert_eq!(bare, Vec::<String>::new());
    }
}
