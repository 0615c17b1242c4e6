//! The data directory: made on first use, with its key beside it, and opened by one process at a time.

use super::data::{Data, Kept, Sessions, open_directory, open_files};
use crate::{config::form::Files, secret_file};
use anyhow::{Context, bail};
use object_store::ObjectStore;
use platen_bus::embedded::EmbeddedLog;
use platen_embedded::{Database, Options};
use platen_runtime::keys::{IfAbsent, Keys};
use platen_sessions::memory::{MemoryCache, MemoryMarks};
use platen_store::{Store, embedded::EmbeddedTables};
use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that exists, and its key.
pub(super) struct DataDir {
    path: PathBuf,
    keys: Keys,
}

impl DataDir {
    /// Makes the directory (mode 0700) and the key if neither exists. A directory with data but without its key is refused: another key would
    /// make every sealed password unreadable.
    pub(super) fn prepare(path: &Path, key_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the data directory {}", path.display());
        if !path.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .with_context(cannot)?;
        }
        let path = path.canonicalize().with_context(cannot)?;
        let is_empty = fs::read_dir(&path).with_context(cannot)?.next().is_none();
        let key_file = self::key_file(&path, key_file)?;
        let if_absent = if is_empty {
            IfAbsent::Create
        } else {
            IfAbsent::Fail
        };
        if !is_empty && !key_file.exists() {
            bail!(
                "the data directory {} is not empty, but its key file {} is missing: put the key back, or use an empty directory",
                path.display(),
                key_file.display()
            );
        }
        let keys = Keys::load(&key_file, if_absent)?;
        belongs(&keys, &path).with_context(|| {
            format!(
                "the key file {} is not the one with which the data directory {} was made",
                key_file.display(),
                path.display()
            )
        })?;
        Ok(Self { path, keys })
    }

    /// Opens everything; on first use makes the tenant `default` and an administrator's token.
    pub(super) async fn open(self, files: Option<&Files>) -> anyhow::Result<Data> {
        let Self { path, keys } = self;
        let directory = path.join("database");
        let database =
            tokio::task::spawn_blocking(move || Database::open(directory, Options::default()))
                .await??;
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log = EmbeddedLog::open(&database, &store).await?;
        let files: Arc<dyn ObjectStore> = match files {
            Some(files) => open_files(files)?,
            None => {
                let files = path.join("files");
                fs::create_dir_all(&files)
                    .and_then(|()| fs::File::open(&path)?.sync_all())
                    .with_context(|| format!("cannot make {}", files.display()))?;
                Arc::new(open_directory(&files)?)
            }
        };
        let token = path.join("admin.token");
        platen_northbound::bootstrap(&store, |secret| {
            secret_file::write(&token, secret).context("cannot write the administrator's token")
        })
        .await?;
        Ok(Data {
            store,
            log: Arc::new(log),
            keys: Arc::new(keys),
            sessions: Some(Sessions {
                cache: Arc::new(MemoryCache::new()),
                marks: Arc::new(MemoryMarks::new()),
            }),
            files: Some(files),
            kept: Kept::Database(database),
        })
    }
}

/// Refuses a key that is not the directory's: with another one no sealed password would open, and what is sealed from then on would be lost with
/// the right one. The directory keeps a signature of its key, made at the first start.
fn belongs(keys: &Keys, directory: &Path) -> anyhow::Result<()> {
    const PURPOSE: &str = "the data directory's key";
    let file = directory.join("key.check");
    match fs::read_to_string(&file) {
        Ok(signature) if keys.verify(PURPOSE, signature.trim()).is_some() => Ok(()),
        Ok(_) => bail!("put the right key file in its place"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            secret_file::write(&file, &keys.sign(PURPOSE, b"")).context("cannot write key.check")
        }
        Err(error) => Err(error).context("cannot read key.check"),
    }
}

/// The key file of a data directory: the one that is configured, else the directory's real name with `.key` behind it.
pub(crate) fn key_file(directory: &Path, configured: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(file) = configured {
        return Ok(file);
    }
    // One that does not exist yet is made under the name that was given.
    let path = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned());
    let name = path.file_name().with_context(|| {
        format!(
            "{} has no name to put .key behind: set `keys.file`",
            path.display()
        )
    })?;
    let mut name = name.to_owned();
    name.push(".key");
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn first_use_makes_directory_and_key_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/data");

        DataDir::prepare(&data, None).unwrap();

        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&dir.path().join("a/data.key")), 0o600);
    }

    #[test]
    fn data_without_its_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("something"), "x").unwrap();

        let error = DataDir::prepare(&data, None).err().unwrap();

        assert!(error.to_string().contains("data.key"), "{error}");
        assert!(!dir.path().join("data.key").exists());
    }

    #[test]
    fn another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        DataDir::prepare(&data, None).unwrap();
        DataDir::prepare(&data, None).unwrap();
        DataDir::prepare(&dir.path().join("other"), None).unwrap();

        let error = DataDir::prepare(&data, Some(dir.path().join("other.key"))).err();

        let text = format!("{:#}", error.unwrap());
        assert!(text.contains("other.key is not the one"), "{text}");
    }
}
