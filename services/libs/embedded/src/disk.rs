//! Free space of the disk, so that durable writes stop before it is full.

use std::path::PathBuf;

/// Watches the file system of the data directory.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    reserve: u64,
    full: Option<String>,
    unknown: bool,
}

impl Disk {
    pub(crate) fn new(path: PathBuf, reserve: u64) -> Self {
        Self {
            path,
            reserve,
            full: None,
            unknown: false,
        }
    }

    /// Looks again; says what stands against durable writes.
    ///
    /// Once full, it takes a quarter of the reserve on top until writes are let in again, so that the answer does not flutter.
    pub(crate) fn look(&mut self) -> Option<String> {
        match rustix::fs::statvfs(&self.path) {
            Ok(stat) => {
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                let wanted = if self.full.is_some() {
                    self.reserve.saturating_add(self.reserve / 4)
                } else {
                    self.reserve
                };
                self.full = (free < wanted).then(|| {
                    format!(
                        "{} MiB free at {}, reserve is {} MiB",
                        free >> 20,
                        self.path.display(),
                        self.reserve >> 20
                    )
                });
            }
            // Not knowing is no reason to refuse: a real lack of space shows as an error of the write itself.
            Err(error) => {
                if !self.unknown {
                    tracing::warn!(path = %self.path.display(), %error, "free space unknown");
                }
                self.unknown = true;
            }
        }
        self.full.clone()
    }
}
