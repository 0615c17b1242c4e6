//! What is kept of a session between two POSTs.

use crate::cookie::Ticket;
use bytes::Bytes;
use platen_cwmp::acs;
use platen_proto::operation::v1::OperationRequest;
use prost::Message;

/// A session as it stands in the cache. Written and read by edges alone, within minutes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) tenant: String,
    #[prost(string, tag = "2")]
    pub(crate) device: String,
    #[prost(string, tag = "3")]
    pub(crate) oui: String,
    #[prost(string, tag = "4")]
    pub(crate) product_class: String,
    #[prost(string, tag = "5")]
    pub(crate) serial_number: String,
    /// Random id of the session, 32 hexadecimal digits.
    #[prost(string, tag = "6")]
    pub(crate) session: String,
    /// Who authenticated; empty: nobody (quarantine).
    #[prost(string, tag = "7")]
    pub(crate) username: String,
    /// Device with whose credentials this one was presented; empty: its own.
    #[prost(string, tag = "8")]
    pub(crate) via: String,
    #[prost(string, tag = "9")]
    pub(crate) quarantine_reason: String,
    #[prost(bool, tag = "10")]
    pub(crate) tls: bool,
    #[prost(int64, tag = "11")]
    pub(crate) started_us: i64,
    /// Ordinal of the next report.
    #[prost(uint32, tag = "12")]
    pub(crate) ordinal: u32,
    /// Report for whose decision the session waits, plus one; 0: none.
    #[prost(uint32, tag = "13")]
    pub(crate) undecided: u32,
    /// Whether much hangs on that decision.
    #[prost(bool, tag = "14")]
    pub(crate) linger_long: bool,
    /// A decision was waited for in vain: no further one is.
    #[prost(bool, tag = "15")]
    pub(crate) vain: bool,
    /// Commands that this session is done with, though they may still be queued.
    #[prost(string, repeated, tag = "16")]
    pub(crate) done: Vec<String>,
    /// The command that awaits its answer.
    #[prost(message, optional, tag = "17")]
    pub(crate) current: Option<Current>,
    /// The protocol's state: an [`acs::Session`] as JSON.
    #[prost(bytes = "vec", tag = "18")]
    pub(crate) machine: Vec<u8>,
    /// How often it has been stored: of two copies, the one with more is the newer.
    #[prost(uint32, tag = "19")]
    pub(crate) turn: u32,
    /// The device has agreed to restart: nothing more is asked of it (RPC-82).
    #[prost(bool, tag = "20")]
    pub(crate) restarting: bool,
}

/// A command that was sent.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Current {
    #[prost(string, tag = "1")]
    pub(crate) command: String,
    #[prost(string, tag = "2")]
    pub(crate) owner: String,
    #[prost(string, tag = "3")]
    pub(crate) operation: String,
    #[prost(string, tag = "4")]
    pub(crate) method: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) request: Option<OperationRequest>,
    #[prost(bool, tag = "6")]
    pub(crate) more_follows: bool,
}

/// A session in use: what is kept, with the protocol's state read.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) ticket: Ticket,
    pub(crate) record: Record,
    pub(crate) machine: acs::Session,
}

impl Session {
    /// `None`: the record is not one of this version's.
    pub(crate) fn read(ticket: Ticket, bytes: Bytes) -> Option<Self> {
        let record = Record::decode(bytes).ok()?;
        let machine = serde_json::from_slice(&record.machine).ok()?;
        Some(Self {
            ticket,
            record,
            machine,
        })
    }

    /// The record as it is now, counted as one more time of storing.
    pub(crate) fn write(&mut self) -> Bytes {
        self.record.turn = self.record.turn.saturating_add(1);
        // A machine is numbers, texts and lists: it can always be written.
        self.record.machine = serde_json::to_vec(&self.machine).unwrap_or_default();
        self.record.encode_to_vec().into()
    }
}
