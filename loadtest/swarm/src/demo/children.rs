//! The programs of the demonstration: started, watched, ended.

use super::{poll, read_if_there};
use crate::process;
use anyhow::{Context, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a program may take until it is ready.
const START: Duration = Duration::from_secs(30);
/// How long a program may take to end.
const STOP: Duration = Duration::from_secs(40);

/// A running program; killed if this is dropped without [`Child::stop`].
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    log: PathBuf,
    process: tokio::process::Child,
}

impl Child {
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = File::create(log)?;
        let process = tokio::process::Command::new(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name: program.display().to_string(),
            log: log.to_owned(),
            process,
        })
    }

    /// The contents of a file that the program writes when it is ready.
    pub(super) async fn wait_for_file(
        &mut self,
        file: &Path,
        stop: &CancellationToken,
    ) -> anyhow::Result<Vec<u8>> {
        let look = || {
            self.check()?;
            read_if_there(file)
        };
        match poll(look, START, stop).await? {
            Some(bytes) => Ok(bytes),
            None => bail!(
                "{} was not ready after {START:?}: {}",
                self.name,
                self.last_words()
            ),
        }
    }

    /// Fails if the program has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, self.last_words()),
        }
    }

    /// Asks the program to end and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let (None, Some(pid)) = (self.process.try_wait()?, self.process.id()) {
            process::terminate(pid)?;
        }
        match timeout(STOP, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => bail!("{} ended with {status}", self.name),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                self.process.kill().await?;
                bail!("{} did not end within {STOP:?} and was killed", self.name)
            }
        }
    }

    /// The end of what the program said.
    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}
