//! `platen backup` and `platen restore`: copies of a data directory that nobody uses.

use crate::{
    config::{Config, Form, Source},
    exit::Failure,
    serve::directory,
};
use anyhow::{Context, bail};
use clap::Args;
use platen_embedded::Hold;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Arguments of `platen backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    source: Source,
    /// Where the copy goes; must not exist.
    to: PathBuf,
    /// The data directory; its server must have stopped.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
}

/// Arguments of `platen restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// What `platen backup` made.
    from: PathBuf,
    /// The data directory; must not exist.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
}

/// `platen backup`.
pub(crate) fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    if let Form::Distributed(_) = config.form {
        return Err(Failure::usage(
            "nothing lies in a data directory: copy the keyspace by the database's own tools (nodetool snapshot, sctool backup), the files and the key",
        ));
    }
    let bytes = copy(&args.data_dir, &args.to)?;
    let key = directory::key_file(&args.data_dir, config.key_file)?;
    Ok(writeln!(
        io::stdout().lock(),
        "{bytes} bytes in {}; keep the key file {} elsewhere: without it the copy is of no use",
        args.to.display(),
        key.display()
    )?)
}

/// `platen restore`.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let bytes = copy(&args.from, &args.data_dir)?;
    Ok(writeln!(
        io::stdout().lock(),
        "{bytes} bytes in {}; `platen serve` needs the key file that belongs to them",
        args.data_dir.display()
    )?)
}

/// Copies a data directory, completely or not at all; its bytes. Nobody can open it meanwhile.
fn copy(from: &Path, to: &Path) -> anyhow::Result<u64> {
    let database = from.join("database");
    if !database.join("database").is_dir() {
        bail!("{} is no data directory of Platen", from.display());
    }
    let _held = Hold::on(&database)
        .context("stop the server first: a copy of a database at work cannot be opened")?;
    if to.try_exists()? {
        bail!(
            "{} exists: nothing is written over, choose another place or move it away",
            to.display()
        );
    }
    let mut draft = to.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let done = copy_directory(from, &draft)
        .and_then(|bytes| {
            fs::rename(&draft, to)?;
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync(parent.unwrap_or_else(|| Path::new(".")))?;
            Ok(bytes)
        })
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()));
    // A draft that is someone else's stays: it was there before, which is why this failed.
    if let Err(error) = &done
        && !is_there_already(error)
    {
        let _ = fs::remove_dir_all(&draft);
    }
    done
}

fn is_there_already(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// Files and directories, with their modes, on disk when it returns.
fn copy_directory(from: &Path, to: &Path) -> io::Result<u64> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() {
            copy_directory(&source, &target)?
        } else if kind.is_file() {
            let bytes = fs::copy(&source, &target)?;
            sync(&target)?;
            bytes
        } else {
            return Err(io::Error::other(format!(
                "{} is neither a file nor a directory",
                source.display()
            )));
        };
    }
    sync(to)?;
    Ok(bytes)
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_embedded::{Database, Options};

    #[test]
    fn what_is_no_data_directory_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let error = copy(dir.path(), &dir.path().join("to")).unwrap_err();

        assert!(error.to_string().contains("no data directory"), "{error}");
        assert!(!dir.path().join("to").exists());
    }

    #[test]
    fn a_stopped_directory_is_copied_once_and_a_running_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, to) = (dir.path().join("data"), dir.path().join("copy"));
        fs::create_dir_all(data.join("files/artifacts")).unwrap();
        fs::write(data.join("files/artifacts/a"), "bytes").unwrap();
        let running = Database::open(data.join("database"), Options::default()).unwrap();

        let error = copy(&data, &to).unwrap_err();
        assert!(error.to_string().contains("stop the server"), "{error}");
        assert!(!to.exists());

        drop(running);
        assert!(copy(&data, &to).unwrap() > 0);
        assert_eq!(fs::read(to.join("files/artifacts/a")).unwrap(), b"bytes");
        Database::open(to.join("database"), Options::default()).unwrap();

        let error = copy(&data, &to).unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
        fs::create_dir(dir.path().join("other.part")).unwrap();
        copy(&data, &dir.path().join("other")).unwrap_err();
        assert!(
            dir.path().join("other.part").exists(),
            "another copy at work is left alone"
        );
    }
}
