//! What is kept, opened: the adapters of one form behind the ports that services know.

use super::{backends, directory::DataDir};
use crate::{
    config::{
        Form,
        form::{Files, S3},
    },
    roles::Roles,
};
use anyhow::Context;
use object_store::{
    ObjectStore, aws::AmazonS3Builder, local::LocalFileSystem, prefix::PrefixStore,
};
use platen_bus::{Log, kafka::KafkaLog};
use platen_embedded::Database;
use platen_runtime::{Health, keys::Keys};
use platen_sessions::{DecidedMarks, SessionCache};
use platen_store::Store;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Everything that is kept, opened.
pub(super) struct Data {
    pub(super) store: Store,
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<Keys>,
    /// `None` only where no role needs them.
    pub(super) sessions: Option<Sessions>,
    /// `None` only where no role needs them.
    pub(super) files: Option<Arc<dyn ObjectStore>>,
    pub(super) kept: Kept,
}

/// What holds it all, and is closed last.
pub(super) enum Kept {
    Database(Database),
    /// The store needs no leave; the log tells the others of its groups.
    Backends(KafkaLog),
}

/// What edges share with each other and with provisioning.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) cache: Arc<dyn SessionCache>,
    pub(super) marks: Arc<dyn DecidedMarks>,
}

impl Data {
    /// Opens what these roles need. The distributed form waits for backends that are away, and says so in `health`.
    pub(super) async fn open(
        form: &Form,
        data_dir: &Path,
        key_file: Option<PathBuf>,
        roles: &Roles,
        health: &Health,
    ) -> anyhow::Result<Self> {
        match form {
            Form::Embedded { files } => {
                let directory = DataDir::prepare(data_dir, key_file)?;
                directory.open(files.as_ref()).await
            }
            Form::Distributed(distributed) => backends::open(distributed, roles, health).await,
        }
    }

    /// Waits until what is kept cannot be kept any more; why.
    pub(super) async fn failure(&self) -> anyhow::Error {
        match &self.kept {
            Kept::Database(database) => {
                anyhow::anyhow!("the data directory failed: {}", database.failure().await)
            }
            // Backends that are away come back.
            Kept::Backends(_) => std::future::pending().await,
        }
    }

    pub(super) fn sessions(&self) -> anyhow::Result<Sessions> {
        self.sessions
            .clone()
            .context("sessions were not opened for these roles")
    }

    pub(super) fn files(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        self.files
            .clone()
            .context("files were not opened for these roles")
    }

    /// Writes what is not yet on disk; says goodbye to those who would wait for this process.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.kept {
            Kept::Database(database) => database
                .flush()
                .await
                .context("the last writes are not on disk"),
            Kept::Backends(log) => {
                log.close(LEAVE).await;
                Ok(())
            }
        }
    }
}

/// How long leaving the log's groups may take.
const LEAVE: Duration = Duration::from_secs(5);

/// The object store of that configuration.
pub(crate) fn open_files(files: &Files) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match files {
        Files::Directory(path) => {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            Ok(Arc::new(open_directory(path)?))
        }
        Files::S3(s3) => {
            let store =
                bucket(s3).with_context(|| format!("the bucket {} of `files.url`", s3.bucket))?;
            Ok(Arc::new(PrefixStore::new(store, s3.prefix.as_str())))
        }
    }
}

/// The object store in a directory. What it has taken survives the loss of power: an artifact is told to be there once it is.
pub(super) fn open_directory(directory: &Path) -> anyhow::Result<LocalFileSystem> {
    Ok(LocalFileSystem::new_with_prefix(directory)
        .with_context(|| format!("cannot use {}", directory.display()))?
        .with_automatic_cleanup(true)
        .with_fsync(true))
}

fn bucket(s3: &S3) -> anyhow::Result<impl ObjectStore + use<>> {
    let mut builder = match &s3.keys {
        Some((access, secret)) => AmazonS3Builder::new()
            .with_access_key_id(access.read()?)
            .with_secret_access_key(secret.read()?),
        None => AmazonS3Builder::from_env(),
    };
    builder = builder.with_bucket_name(&s3.bucket);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::form::Secret;

    #[test]
    fn files_lie_where_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        open_files(&Files::Directory(dir.path().join("a/b"))).unwrap();
        assert!(dir.path().join("a/b").is_dir());

        let s3 = S3 {
            bucket: "platen".into(),
            prefix: "files/all".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
            region: None,
            keys: Some((Secret::Text("a".into()), Secret::Text("b".into()))),
        };
        let store = open_files(&Files::S3(s3)).unwrap().to_string();
        assert!(store.contains("files/all"), "{store}");
    }
}
