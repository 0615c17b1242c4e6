//! What is kept of a session between two POSTs, and where.

use crate::cookie::Ticket;
use bytes::Bytes;
use platen_cwmp::acs;
use platen_proto::operation::v1::OperationRequest;
use platen_sessions::{SessionCache, Taken, memory::MemoryCache};
use prost::Message;
use std::{sync::Arc, time::Duration};

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
    fn read(ticket: Ticket, bytes: Bytes) -> Option<Self> {
        let record = Record::decode(bytes).ok()?;
        let machine = serde_json::from_slice(&record.machine).ok()?;
        Some(Self {
            ticket,
            record,
            machine,
        })
    }

    fn write(&mut self) -> Bytes {
        // A machine is numbers, texts and lists: it can always be written.
        self.record.machine = serde_json::to_vec(&self.machine).unwrap_or_default();
        self.record.encode_to_vec().into()
    }
}

/// The session cache, and this process's own memory for when it is away: a device that stays with this edge keeps its session.
#[derive(Debug)]
pub(crate) struct Sessions {
    cache: Arc<dyn SessionCache>,
    own: MemoryCache,
}

/// What became of a session that was asked for.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is the caller's until it is put back or removed.
    Taken(Box<Session>),
    /// Another POST of it is being answered, even after waiting.
    Busy,
    /// There is none.
    Gone,
}

impl Sessions {
    pub(crate) fn new(cache: Arc<dyn SessionCache>) -> Self {
        Self {
            cache,
            own: MemoryCache::new(),
        }
    }

    /// Stores a new session; whatever the device had is gone.
    pub(crate) async fn put(&self, session: &mut Session, idle: Duration) {
        let (ticket, record) = (session.ticket, session.write());
        match self
            .cache
            .put(ticket.device, ticket.secret, record.clone(), idle)
            .await
        {
            Ok(()) => self.own.forget(&ticket.device),
            Err(error) => {
                tracing::warn!(%error, "keeping sessions in memory");
                let _ = self
                    .own
                    .put(ticket.device, ticket.secret, record, idle)
                    .await;
            }
        }
    }

    /// Stores a session back; `false`: the device has opened another one meanwhile.
    pub(crate) async fn put_back(&self, session: &mut Session, idle: Duration) -> bool {
        let (ticket, record) = (session.ticket, session.write());
        match self
            .cache
            .put_back(ticket.device, ticket.secret, record.clone(), idle)
            .await
        {
            Ok(true) => {
                self.own.forget(&ticket.device);
                true
            }
            // It may be one that was kept here.
            Ok(false) => self
                .own
                .put_back(ticket.device, ticket.secret, record, idle)
                .await
                .unwrap_or(false),
            Err(error) => {
                tracing::warn!(%error, "keeping sessions in memory");
                self.own
                    .put(ticket.device, ticket.secret, record, idle)
                    .await
                    .is_ok()
            }
        }
    }

    /// Takes a session, waiting up to `patience` if another POST of it is being answered.
    pub(crate) async fn take(&self, ticket: Ticket, patience: Duration) -> Found {
        let mut waited = false;
        loop {
            let (taken, holder) = self.take_once(ticket).await;
            match taken {
                Taken::Taken(bytes) => {
                    return match Session::read(ticket, bytes) {
                        Some(session) => Found::Taken(Box::new(session)),
                        None => {
                            tracing::error!(
                                "a session's record cannot be read; was it written by another version?"
                            );
                            self.remove(ticket).await;
                            Found::Gone
                        }
                    };
                }
                Taken::Gone => return Found::Gone,
                Taken::Busy(_) if waited => return Found::Busy,
                Taken::Busy(_) => {
                    waited = true;
                    if holder.wait_idle(ticket.device, patience).await.is_err() {
                        return Found::Busy;
                    }
                }
            }
        }
    }

    /// Asks once, and says who answered. What is kept here is newer than what the cache has of the same session: it is here because the cache did not take it.
    async fn take_once(&self, ticket: Ticket) -> (Taken, &dyn SessionCache) {
        match self.own.take(ticket.device, ticket.secret).await {
            Ok(Taken::Gone) | Err(_) => {}
            Ok(taken) => return (taken, &self.own),
        }
        let taken = self.cache.take(ticket.device, ticket.secret).await;
        (taken.unwrap_or(Taken::Gone), &*self.cache)
    }

    /// Removes a session.
    pub(crate) async fn remove(&self, ticket: Ticket) {
        let _ = self.own.remove(ticket.device, ticket.secret).await;
        if let Err(error) = self.cache.remove(ticket.device, ticket.secret).await {
            tracing::debug!(%error, "a session stays in the cache until it expires");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_is_taken_as_it_was() {
        let sessions = Sessions::new(Arc::new(MemoryCache::new()));
        let ticket = Ticket {
            device: [1; 16],
            secret: [2; 16],
        };
        let current = Current {
            command: "c".into(),
            more_follows: true,
            ..Current::default()
        };
        let record = Record {
            tenant: "t".into(),
            ordinal: 4,
            current: Some(current),
            ..Record::default()
        };
        let machine = acs::Session::new("x", acs::Limits::default());
        let mut session = Session {
            ticket,
            record,
            machine,
        };
        sessions.put(&mut session, Duration::from_secs(90)).await;

        let Found::Taken(taken) = sessions.take(ticket, Duration::ZERO).await else {
            panic!("not taken")
        };

        assert_eq!(taken.record, session.record);
        assert!(matches!(
            sessions.take(ticket, Duration::ZERO).await,
            Found::Busy
        ));
        let stranger = Ticket {
            secret: [3; 16],
            ..ticket
        };
        assert!(matches!(
            sessions.take(stranger, Duration::ZERO).await,
            Found::Gone
        ));
        sessions.remove(ticket).await;
        assert!(matches!(
            sessions.take(ticket, Duration::ZERO).await,
            Found::Gone
        ));
    }
}
