//! Readings that the server does not have yet, on disk, in order.
//!
//! A file of JSON lines per device: one for each reading, and one for each that was acknowledged. A line is complete on disk before
//! [`Spool::push`] returns; a crash leaves a prefix of the file and at most one torn line, which is cut off at the next start. When there are
//! too many readings, every second one of the older half goes: never the newest, and the server is told.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most readings that wait for one device; at one in four hours half a year.
pub const MAX_READINGS: usize = 1_024;

/// After so many acknowledgements the file is written anew.
const MAX_ACKS: usize = 64;

/// What one poll told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When, in seconds since 1970.
    pub time: i64,
    /// Path, value and XML type of each parameter.
    pub values: Vec<(String, String, String)>,
}

/// Why the spool fails. Nothing that was kept is lost; a retry helps once the disk does.
#[derive(Debug, thiserror::Error)]
#[error("spool {}: {reason}", file.display())]
pub struct SpoolError {
    file: PathBuf,
    reason: io::Error,
}

/// The readings of one device that wait.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    waiting: VecDeque<Reading>,
    acks: usize,
    thinned: u64,
    max: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Reading(Reading),
    /// The oldest was acknowledged.
    Ack,
    /// So many were left out and the server does not know yet.
    Thinned(u64),
}

impl Spool {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`SpoolError`] when it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        Self::open_with(path, MAX_READINGS)
    }

    fn open_with(path: &Path, max: usize) -> Result<Self, SpoolError> {
        let failed = |reason| SpoolError {
            file: path.to_owned(),
            reason,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        let bytes = {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut file, &mut bytes).map_err(failed)?;
            bytes
        };
        if bytes.is_empty() {
            // A file that was just made is there after a crash only if its folder says so.
            sync_folder(path).map_err(failed)?;
        }
        let mut spool = Self {
            path: path.to_owned(),
            file,
            waiting: VecDeque::new(),
            acks: 0,
            thinned: 0,
            max,
        };
        let mut good = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(Ok(line)) = line.strip_suffix(b"\n").map(serde_json::from_slice) else {
                break;
            };
            spool.replay(line);
            good += bytes[good..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(0, |end| end + 1);
        }
        if good < bytes.len() {
            tracing::warn!(file = %path.display(), lost = bytes.len() - good, "cut a torn line off the spool");
            spool.file.set_len(good as u64).map_err(failed)?;
            spool.file.sync_data().map_err(failed)?;
        }
        Ok(spool)
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Reading(reading) => self.waiting.push_back(reading),
            Line::Ack => {
                self.waiting.pop_front();
                self.acks += 1;
            }
            Line::Thinned(count) => self.thinned = count,
        }
    }

    /// Keeps a reading; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: the reading is not kept.
    pub fn push(&mut self, reading: Reading) -> Result<(), SpoolError> {
        self.append(&Line::Reading(reading.clone()))?;
        self.waiting.push_back(reading);
        if self.waiting.len() > self.max {
            self.thin()?;
        }
        Ok(())
    }

    /// The oldest reading.
    #[must_use]
    pub fn oldest(&self) -> Option<&Reading> {
        self.waiting.front()
    }

    /// The newest reading.
    #[must_use]
    pub fn newest(&self) -> Option<&Reading> {
        self.waiting.back()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many readings were left out since the server was last told.
    #[must_use]
    pub fn thinned(&self) -> u64 {
        self.thinned
    }

    /// The server has the oldest reading, if it is the one of `time`.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: the reading may be sent again after a restart.
    pub fn acknowledge(&mut self, time: i64) -> Result<(), SpoolError> {
        if self
            .waiting
            .front()
            .is_none_or(|oldest| oldest.time != time)
        {
            return Ok(());
        }
        self.waiting.pop_front();
        self.acks += 1;
        if self.acks >= MAX_ACKS || self.waiting.is_empty() {
            return self.rewrite();
        }
        self.append(&Line::Ack)
    }

    /// The server knows that readings were left out.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: it may be told again after a restart.
    pub fn acknowledge_thinned(&mut self) -> Result<(), SpoolError> {
        self.thinned = 0;
        self.append(&Line::Thinned(0))
    }

    /// Leaves out every second reading of the older half.
    fn thin(&mut self) -> Result<(), SpoolError> {
        let half = self.waiting.len() / 2;
        let before = self.waiting.len();
        let mut position = 0;
        self.waiting.retain(|_| {
            position += 1;
            position > half || position % 2 == 1
        });
        self.thinned += (before - self.waiting.len()) as u64;
        tracing::warn!(file = %self.path.display(), left_out = self.thinned, "too many readings wait for the server");
        self.rewrite()
    }

    fn append(&mut self, line: &Line) -> Result<(), SpoolError> {
        let mut text = encode(line);
        text.push(b'\n');
        let length = self.file.metadata().map(|metadata| metadata.len());
        let written = length.and_then(|length| {
            self.file.write_all(&text).and_then(|()| self.file.sync_data()).inspect_err(|_| {
                // Half a line would hide every line after it.
                if let Err(error) = self.file.set_len(length) {
                    tracing::error!(file = %self.path.display(), %error, "cannot take a torn line back");
                }
            })
        });
        written.map_err(|source| self.failed(source))
    }

    /// Replaces the file by one that holds what waits and nothing else.
    fn rewrite(&mut self) -> Result<(), SpoolError> {
        let mut text = Vec::new();
        let thinned = (self.thinned > 0).then_some(Line::Thinned(self.thinned));
        for line in thinned
            .into_iter()
            .chain(self.waiting.iter().cloned().map(Line::Reading))
        {
            text.extend(encode(&line));
            text.push(b'\n');
        }
        replace(&self.path, &text)
            .and_then(|()| OpenOptions::new().append(true).open(&self.path))
            .map(|file| {
                self.file = file;
                self.acks = 0;
            })
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, reason: io::Error) -> SpoolError {
        SpoolError {
            file: self.path.clone(),
            reason,
        }
    }
}

fn encode(line: &Line) -> Vec<u8> {
    serde_json::to_vec(line).expect("invariant: lines hold texts and numbers only")
}

/// Puts `bytes` in place of the file, whole or not at all, readable by its owner only.
///
/// # Errors
///
/// When the folder cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(time: i64) -> Reading {
        Reading {
            time,
            values: vec![(
                "Device.A".to_owned(),
                time.to_string(),
                "xsd:unsignedLong".to_owned(),
            )],
        }
    }

    fn times(spool: &Spool) -> Vec<i64> {
        spool.waiting.iter().map(|reading| reading.time).collect()
    }

    #[test]
    fn readings_survive_and_leave_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut spool = Spool::open(&path).unwrap();
        for time in 1..=3 {
            spool.push(reading(time)).unwrap();
        }
        drop(spool);

        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(spool.oldest(), Some(&reading(1)));
        spool.acknowledge(2).unwrap();
        assert_eq!(times(&spool), [1, 2, 3]);
        spool.acknowledge(1).unwrap();
        drop(spool);

        assert_eq!(times(&Spool::open(&path).unwrap()), [2, 3]);
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_it_tears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut spool = Spool::open(&path).unwrap();
        spool.push(reading(1)).unwrap();
        let first = std::fs::metadata(&path).unwrap().len();
        spool.push(reading(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in first..whole.len() as u64 {
            std::fs::write(&path, &whole[..usize::try_from(end).unwrap()]).unwrap();
            let mut torn = Spool::open(&path).unwrap();
            assert_eq!(times(&torn), [1]);
            torn.push(reading(3)).unwrap();
            assert_eq!(times(&Spool::open(&path).unwrap()), [1, 3]);
        }
    }

    #[test]
    fn too_many_readings_are_thinned_from_the_old_end_and_that_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut spool = Spool::open_with(&path, 8).unwrap();
        for time in 1..=9 {
            spool.push(reading(time)).unwrap();
        }
        assert_eq!(times(&spool), [1, 3, 5, 6, 7, 8, 9]);
        assert_eq!(spool.thinned(), 2);
        let mut again = Spool::open_with(&path, 8).unwrap();
        assert_eq!(
            (times(&again), again.thinned()),
            (vec![1, 3, 5, 6, 7, 8, 9], 2)
        );
        again.acknowledge_thinned().unwrap();
        assert_eq!(Spool::open_with(&path, 8).unwrap().thinned(), 0);
    }

    proptest! {
        // Every step is on disk before the next.
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever is done, a restart finds what was there, and the newest reading is never left out.
        #[test]
        fn a_restart_changes_nothing(steps in proptest::collection::vec(any::<bool>(), 1..60)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.log");
            let mut spool = Spool::open_with(&path, 6).unwrap();
            for (time, push) in (0..).zip(steps) {
                if push {
                    spool.push(reading(time)).unwrap();
                    prop_assert_eq!(spool.newest(), Some(&reading(time)));
                } else if let Some(oldest) = spool.oldest().map(|oldest| oldest.time) {
                    spool.acknowledge(oldest).unwrap();
                }
                prop_assert!(spool.len() <= 6);
                let again = Spool::open_with(&path, 6).unwrap();
                prop_assert_eq!(times(&again), times(&spool));
                prop_assert_eq!(again.thinned(), spool.thinned());
            }
        }
    }
}
