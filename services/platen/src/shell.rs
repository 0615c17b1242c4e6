//! Small commands about the program itself.

use crate::{
    config::{self, Config, Source},
    exit::Failure,
    roles::RolesArgs,
};
use clap::Args;
use clap_complete::Shell;
use platen_runtime::{listener::Tls, logs};
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Arguments of `platen check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    roles: RolesArgs,
}

/// Arguments of `platen config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print every key with the value that is used, and where that was said.
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    source: Source,
}

/// Arguments of `platen completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Arguments of `platen man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where the pages go: one file per command. Made if there is no such directory.
    directory: PathBuf,
}

/// `platen config`.
pub(crate) fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let text = if args.effective {
        Config::effective(&args.source)?
    } else {
        config::DEFAULT.to_owned()
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// `platen check`: also reads the files that the configuration names, as `serve` would. Calls nobody.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    let roles = args.roles.roles();
    config.form.allows(&roles)?;
    logs::init(config.log.format, &config.log.level, None)
        .map_err(|error| Failure::usage(format!("`log.level`: {error}")))?;
    let cwmp = config.cwmp_tls.map(|(_, files)| ("cwmp.tls", files));
    for (section, files) in cwmp
        .into_iter()
        .chain(config.api_tls.map(|files| ("api.tls", files)))
    {
        Tls::load(files, &["http/1.1"])
            .map_err(|error| Failure::usage(format!("`{section}`: {error}")))?;
    }
    config
        .form
        .read_secrets(&roles)
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    Ok(writeln!(io::stdout().lock(), "the configuration is good")?)
}

/// `platen completions`.
pub(crate) fn completions(
    args: &CompletionsArgs,
    command: &mut clap::Command,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "platen", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// `platen man`.
pub(crate) fn man(args: &ManArgs, command: clap::Command) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.directory)?;
    Ok(clap_mangen::generate_to(command, &args.directory)?)
}
