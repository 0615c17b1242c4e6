//! What was seen from outside: by devices, and by whoever called the API. It is all that the checker believes.

use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A device begins to send an Inform with this counter. Whether it arrives, nobody knows yet.
    Sent { device: String, counter: u64 },
    /// The device has the InformResponse: from here on it has forgotten the Inform.
    Acknowledged { device: String, counter: u64 },
    /// The session broke after that. No promise: the device comes again.
    Broken { device: String, why: String },
    /// The device was asked for something. `key` names the one request among all of its method.
    Asked {
        device: String,
        method: String,
        key: String,
    },
    /// The device's TransferComplete was answered: from here on it has forgotten it.
    Completed { device: String, command_key: String },
    /// The API has answered a request for an operation with success. `method` and `key`: the RPC that it asks for, as in [`Entry::Asked`].
    Accepted {
        operation: String,
        device: String,
        method: String,
        key: String,
    },
}

/// All entries, in the order in which they were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger(pub(crate) Vec<Entry>);

/// Takes entries from many tasks, and keeps a copy of each in a file, for whoever has to find out what happened.
#[derive(Debug)]
pub(crate) struct Recorder {
    begin: Instant,
    kept: Mutex<(Ledger, BufWriter<File>)>,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'e> {
    at_ms: u128,
    #[serde(flatten)]
    entry: &'e Entry,
}

impl Recorder {
    /// Writes to a new file, one JSON object a line.
    pub(crate) fn new(file: &Path) -> Self {
        let file = BufWriter::new(File::create(file).unwrap());
        Self {
            begin: Instant::now(),
            kept: Mutex::new((Ledger::default(), file)),
        }
    }

    pub(crate) fn note(&self, entry: Entry) {
        let at_ms = self.begin.elapsed().as_millis();
        let line = serde_json::to_string(&Line {
            at_ms,
            entry: &entry,
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(kept.1, "{}", line.unwrap()).unwrap();
        kept.0.0.push(entry);
    }

    /// A word of the test itself, between the entries: what was broken, and when it was healed.
    pub(crate) fn remark(&self, what: &str) {
        let at_ms = self.begin.elapsed().as_millis();
        let line = serde_json::json!({"at_ms": at_ms, "remark": what});
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(kept.1, "{line}").unwrap();
        // The next thing may be the end of the test.
        kept.1.flush().unwrap();
        println!("{:>9.3} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    /// What was seen so far.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.flush().unwrap();
        kept.0.clone()
    }
}
