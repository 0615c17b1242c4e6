//! Which process has a data directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// The exclusive right to a directory; ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Owner {
    file: File,
}

impl Drop for Owner {
    /// Closing alone is not enough: while this process starts another one, that one has the file as well, until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the lock of a data directory goes with its file");
        }
    }
}

/// Why the directory is not ours.
#[derive(Debug)]
pub(crate) enum NotOwner {
    /// Another process (or another part of this one) has it; its id, if it could be read.
    InUse(Option<u32>),
    Io(io::Error),
}

impl From<io::Error> for NotOwner {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Owner {
    /// Locks `directory/owner` and writes our process id into it.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, NotOwner> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("owner"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut id = String::new();
                file.read_to_string(&mut id)?;
                return Err(NotOwner::InUse(id.trim().parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(NotOwner::Io(error)),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}
