//! SNMP as the proxy uses it: one request at a time per printer, bounded replies, and agents that are allowed to be bad at it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_snmp::v3::{AuthProtocol, PrivProtocol};
use async_snmp::{Auth, Error, ErrorStatus, Retry, UsmConfig, VarBind};
use platen_datamodel::snmp::{Oid, Value, Walk};

/// The most instances that one GET asks for (MAP-50).
const MAX_GET: usize = 10;
/// The most rows that one GETBULK asks for (MAP-50).
const MAX_REPETITIONS: u32 = 20;
/// A reply that weighs more than this, in bytes, makes the next requests ask for less (MAP-50).
const MAX_REPLY: usize = 1_400;
/// The most instances that one walk takes; an agent that goes on is looping (MAP-52).
const MAX_ROWS: usize = 10_000;

/// The version of the protocol.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Version {
    /// SNMPv1 (RFC 1157).
    #[serde(rename = "1")]
    V1,
    /// SNMPv2c (RFC 3416).
    #[serde(rename = "2c")]
    V2c,
    /// SNMPv3 with the user-based security model (RFC 3414).
    #[serde(rename = "3")]
    V3,
}

impl Version {
    /// The name that the data model uses for the binding.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::V1 => "SNMPv1",
            Self::V2c => "SNMPv2c",
            Self::V3 => "SNMPv3",
        }
    }
}

/// How to be let in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A password in the clear, for v1 and v2c.
    Community {
        /// [`Version::V1`] or [`Version::V2c`].
        version: Version,
        /// For reading.
        read: String,
        /// For writing; without it nothing is written.
        write: Option<String>,
    },
    /// A user of v3.
    User {
        /// Its name.
        name: String,
        /// The hash and its passphrase; without them nothing is authenticated.
        auth: Option<(AuthProtocol, String)>,
        /// The cipher and its passphrase; needs `auth`.
        privacy: Option<(PrivProtocol, String)>,
    },
}

impl Credentials {
    /// Communities for `version`, which is v1 or v2c.
    #[must_use]
    pub fn community(version: Version, read: &str, write: Option<&str>) -> Self {
        Self::Community {
            version,
            read: read.to_owned(),
            write: write.map(str::to_owned),
        }
    }

    /// Whether writing is possible at all. Users of v3 may; the agent decides.
    #[must_use]
    pub fn can_write(&self) -> bool {
        match self {
            Self::Community { write, .. } => write.is_some(),
            Self::User { .. } => true,
        }
    }

    /// The version they are for.
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::Community { version, .. } => *version,
            Self::User { .. } => Version::V3,
        }
    }

    /// The same communities for another version; a user stays a user (SNMP-SEC-02: never from v3 down to a community).
    #[must_use]
    pub fn with_version(&self, version: Version) -> Self {
        match self {
            Self::Community { read, write, .. } => Self::Community {
                version,
                read: read.clone(),
                write: write.clone(),
            },
            Self::User { .. } => self.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    /// Shows the kind, never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Before the first repetition.
    pub timeout: Duration,
    /// How often a request is repeated.
    pub retries: u32,
}

impl Timing {
    /// For printers that are known (MAP-50).
    pub const POLL: Self = Self {
        timeout: Duration::from_secs(2),
        retries: 2,
    };
    /// For addresses at which there may be nothing.
    pub const PROBE: Self = Self {
        timeout: Duration::from_secs(2),
        retries: 1,
    };
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum SnmpError {
    /// Nobody answers: nobody there, or the community is wrong. Worth another try later.
    #[error("no answer from {0}")]
    NoAnswer(SocketAddr),
    /// The agent answers, but does not let us in. Another try needs other credentials.
    #[error("{0} refuses access")]
    Refused(SocketAddr),
    /// The agent answers with an error or with nonsense.
    #[error("{target} answers wrongly: {reason}")]
    Agent {
        /// Whose answer.
        target: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials cannot be used, such as a passphrase of less than eight bytes.
    #[error("unusable credentials: {0}")]
    Credentials(String),
}

/// Why nothing was written.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SetError {
    /// The object is not there, or cannot be written.
    #[error("not writable")]
    NotWritable,
    /// The object has another type.
    #[error("wrong type")]
    WrongType,
    /// The object does not take this value.
    #[error("wrong value")]
    WrongValue,
    /// The credentials do not suffice, or there are none for writing.
    #[error("refused")]
    Refused,
    /// Nobody answers. Whether the value was written is not known.
    #[error("no answer")]
    NoAnswer,
    /// Any other failure of the agent.
    #[error("failed: {0}")]
    Failed(String),
}

/// A subtree as read.
#[derive(Debug, Default)]
pub struct Subtree {
    /// What was read.
    pub objects: Walk,
    /// Whether the agent went on to the end; `false` when it turned back or did not end.
    pub complete: bool,
}

/// A connection to the agent of one printer.
pub struct Client {
    target: SocketAddr,
    version: Version,
    reader: async_snmp::Client,
    writer: Option<async_snmp::Client>,
    /// Held during an exchange: a printer sees one request at a time (MAP-50).
    turn: tokio::sync::Mutex<()>,
    learned: Mutex<Learned>,
}

/// What experience with this agent has taught.
struct Learned {
    /// Instances that an agent of v1 does not have (MAP-51).
    absent: BTreeSet<Oid>,
    repetitions: u32,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("target", &self.target)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a connection with the [timing](Timing::POLL) for known printers; nothing is sent.
    ///
    /// # Errors
    ///
    /// [`SnmpError::Credentials`], or [`SnmpError::NoAnswer`] when there is no way to the address.
    pub async fn connect(target: SocketAddr, credentials: &Credentials) -> Result<Self, SnmpError> {
        Self::connect_with(target, credentials, Timing::POLL).await
    }

    /// Prepares a connection.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub async fn connect_with(
        target: SocketAddr,
        credentials: &Credentials,
        timing: Timing,
    ) -> Result<Self, SnmpError> {
        let (read, write) = authentication(credentials)?;
        let reader = open(target, read, timing).await?;
        let writer = match write {
            Some(auth) => Some(open(target, auth, timing).await?),
            None => None,
        };
        Ok(Self {
            target,
            version: credentials.version(),
            reader,
            writer,
            turn: tokio::sync::Mutex::new(()),
            learned: Mutex::new(Learned {
                absent: BTreeSet::new(),
                repetitions: MAX_REPETITIONS,
            }),
        })
    }

    /// The version in use.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Reads instances; those that the agent does not have are left out (MAP-51, MAP-53).
    ///
    /// # Errors
    ///
    /// See [`SnmpError`].
    pub async fn get(&self, oids: &[Oid]) -> Result<Walk, SnmpError> {
        let mut wanted: Vec<Oid> = {
            let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            oids.iter()
                .filter(|oid| !learned.absent.contains(oid))
                .cloned()
                .collect()
        };
        let mut found = Walk::default();
        while !wanted.is_empty() {
            let mut batch: Vec<Oid> = wanted.drain(..wanted.len().min(MAX_GET)).collect();
            while !batch.is_empty() {
                let request: Vec<_> = batch.iter().map(to_wire_oid).collect();
                let answer = {
                    let _turn = self.turn.lock().await;
                    self.reader.get_many(&request).await
                };
                match answer {
                    Ok(response) => {
                        // What was not asked for is no answer.
                        let answers = response.varbinds.iter().filter_map(instance);
                        found.extend(answers.filter(|(oid, _)| batch.contains(oid)).collect());
                        break;
                    }
                    // What does not fit into one message is asked for in two.
                    Err(error)
                        if batch.len() > 1
                            && matches!(
                                status(&error),
                                Some(ErrorStatus::TooBig | ErrorStatus::GenErr)
                            ) =>
                    {
                        let rest = batch.split_off(batch.len() / 2);
                        wanted.splice(0..0, rest);
                    }
                    // The agent cannot read one object of its own; the others are none the worse for it.
                    Err(error) if status(&error) == Some(ErrorStatus::GenErr) => {
                        tracing::debug!(target = %self.target, oid = %batch[0], "agent fails to read");
                        break;
                    }
                    // One unknown instance fails the whole request in v1: ask for the others, and never for it again.
                    Err(error) => {
                        let position =
                            no_such_name(&error, &batch).ok_or_else(|| self.failure(&error))?;
                        let absent = batch.remove(position);
                        self.learned
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .absent
                            .insert(absent);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads everything below `prefix`.
    ///
    /// An agent that turns back, or does not end within 10 000 instances, is stopped; what it said until then is kept and marked
    /// incomplete (MAP-52).
    ///
    /// # Errors
    ///
    /// See [`SnmpError`].
    pub async fn walk(&self, prefix: &Oid) -> Result<Subtree, SnmpError> {
        let mut subtree = Subtree::default();
        let mut last = prefix.clone();
        loop {
            let Some(varbinds) = self.rows_after(&last).await? else {
                subtree.complete = true;
                return Ok(subtree);
            };
            if varbinds.is_empty() {
                return Ok(subtree);
            }
            match take_rows(&mut subtree, prefix, &mut last, &varbinds) {
                Walked::On => {}
                Walked::Over { complete } => {
                    if !complete {
                        tracing::debug!(target = %self.target, %last, "agent does not end its walk");
                    }
                    subtree.complete = complete;
                    return Ok(subtree);
                }
            }
        }
    }

    /// Writes one instance.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub async fn set(&self, oid: &Oid, value: Value) -> Result<(), SetError> {
        let writer = self.writer.as_ref().ok_or(SetError::Refused)?;
        let _turn = self.turn.lock().await;
        match writer.set(&to_wire_oid(oid), to_wire_value(value)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(set_error(&error)),
        }
    }

    /// The next rows in one exchange; `None` when the agent of v1 says that there are none.
    async fn rows_after(&self, last: &Oid) -> Result<Option<Vec<VarBind>>, SnmpError> {
        let start = to_wire_oid(last);
        loop {
            let repetitions = self
                .learned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .repetitions;
            let by_one = self.version == Version::V1 || repetitions == 1;
            let answer = {
                let _turn = self.turn.lock().await;
                if by_one {
                    self.reader
                        .get_next(&start)
                        .await
                        .map(|response| response.varbinds)
                } else {
                    self.reader
                        .get_bulk(std::slice::from_ref(&start), 0, repetitions)
                        .await
                }
            };
            match answer {
                Ok(varbinds) => {
                    if weight(&varbinds) > MAX_REPLY {
                        self.ask_for_less(repetitions);
                    }
                    return Ok(Some(varbinds));
                }
                Err(error) => match status(&error) {
                    Some(ErrorStatus::NoSuchName) => return Ok(None),
                    Some(ErrorStatus::TooBig | ErrorStatus::GenErr) if !by_one => {
                        self.ask_for_less(repetitions)
                    }
                    _ => return Err(self.failure(&error)),
                },
            }
        }
    }

    fn ask_for_less(&self, repetitions: u32) {
        self.learned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .repetitions = (repetitions / 2).max(1);
    }

    fn failure(&self, error: &Error) -> SnmpError {
        match error.exchange_source() {
            Error::Timeout { .. }
            | Error::Network { .. }
            | Error::Closed { .. }
            | Error::ConstructionTimeout { .. } => SnmpError::NoAnswer(self.target),
            Error::Auth { .. }
            | Error::Report { .. }
            | Error::Snmp {
                status: ErrorStatus::AuthorizationError | ErrorStatus::NoAccess,
                ..
            } => SnmpError::Refused(self.target),
            other => SnmpError::Agent {
                target: self.target,
                reason: other.to_string(),
            },
        }
    }
}

/// Whether a walk goes on after an answer.
#[derive(Debug, PartialEq, Eq)]
enum Walked {
    On,
    Over { complete: bool },
}

/// Takes the rows of an answer to a request for what follows `last`.
fn take_rows(subtree: &mut Subtree, prefix: &Oid, last: &mut Oid, varbinds: &[VarBind]) -> Walked {
    for varbind in varbinds {
        if matches!(varbind.value, async_snmp::Value::EndOfMibView) {
            return Walked::Over { complete: true };
        }
        let oid = from_wire_oid(&varbind.oid);
        if oid <= *last {
            return Walked::Over { complete: false };
        }
        if !oid.starts_with(prefix) {
            return Walked::Over { complete: true };
        }
        if subtree.objects.len() >= MAX_ROWS {
            return Walked::Over { complete: false };
        }
        if let Some((oid, value)) = instance(varbind) {
            subtree.objects.insert(oid, value);
        }
        *last = oid;
    }
    Walked::On
}

/// How an identifier looks to the library.
pub(crate) fn to_wire_oid(oid: &Oid) -> async_snmp::Oid {
    async_snmp::Oid::from_slice(oid.arcs())
}

/// An identifier of the library.
pub(crate) fn from_wire_oid(oid: &async_snmp::Oid) -> Oid {
    Oid::new(oid.arcs())
}

/// How a value looks to the library.
pub(crate) fn to_wire_value(value: Value) -> async_snmp::Value {
    match value {
        Value::Integer(number) => async_snmp::Value::Integer(number),
        Value::Octets(octets) => async_snmp::Value::OctetString(octets.into()),
        Value::Oid(oid) => async_snmp::Value::ObjectIdentifier(to_wire_oid(&oid)),
        Value::IpAddress(address) => async_snmp::Value::IpAddress(address),
        Value::Counter32(count) => async_snmp::Value::Counter32(count),
        Value::Gauge32(number) => async_snmp::Value::Gauge32(number),
        Value::TimeTicks(ticks) => async_snmp::Value::TimeTicks(ticks),
        Value::Opaque(octets) => async_snmp::Value::Opaque(octets.into()),
        Value::Counter64(count) => async_snmp::Value::Counter64(count),
        Value::Null => async_snmp::Value::Null,
    }
}

/// A value of the library; `None` for exceptions and for what no standard knows.
pub(crate) fn from_wire_value(value: &async_snmp::Value) -> Option<Value> {
    Some(match value {
        async_snmp::Value::Integer(number) => Value::Integer(*number),
        async_snmp::Value::OctetString(octets) | async_snmp::Value::Nsap(octets) => {
            Value::Octets(octets.to_vec())
        }
        async_snmp::Value::Null => Value::Null,
        async_snmp::Value::ObjectIdentifier(oid) => Value::Oid(from_wire_oid(oid)),
        async_snmp::Value::IpAddress(address) => Value::IpAddress(*address),
        async_snmp::Value::Counter32(count) => Value::Counter32(*count),
        async_snmp::Value::Gauge32(number) | async_snmp::Value::UInteger32(number) => {
            Value::Gauge32(*number)
        }
        async_snmp::Value::TimeTicks(ticks) => Value::TimeTicks(*ticks),
        async_snmp::Value::Opaque(octets) => Value::Opaque(octets.to_vec()),
        async_snmp::Value::Counter64(count) => Value::Counter64(*count),
        _ => return None,
    })
}

fn authentication(credentials: &Credentials) -> Result<(Auth, Option<Auth>), SnmpError> {
    match credentials {
        Credentials::Community {
            version,
            read,
            write,
        } => {
            let auth = |community: &str| match version {
                Version::V1 => Auth::v1(community.to_owned().into_bytes()),
                Version::V2c | Version::V3 => Auth::v2c(community.to_owned().into_bytes()),
            };
            Ok((auth(read), write.as_deref().map(auth)))
        }
        Credentials::User {
            name,
            auth,
            privacy,
        } => {
            let user = UsmConfig::new(name.clone().into_bytes());
            let user = match (auth, privacy) {
                (None, None) => Ok(user),
                (Some((hash, secret)), None) => user.auth(*hash, secret),
                (Some((hash, secret)), Some((cipher, private))) => {
                    user.auth_priv(*hash, secret, *cipher, private)
                }
                (None, Some(_)) => {
                    return Err(SnmpError::Credentials(
                        "privacy needs authentication".to_owned(),
                    ));
                }
            };
            let auth: Auth = user
                .map_err(|error| SnmpError::Credentials(error.to_string()))?
                .into();
            Ok((auth.clone(), Some(auth)))
        }
    }
}

async fn open(
    target: SocketAddr,
    auth: Auth,
    timing: Timing,
) -> Result<async_snmp::Client, SnmpError> {
    let retry = Retry::exponential(timing.retries)
        .max_delay(timing.timeout)
        .jitter(0.25)
        .build()
        .map_err(|error| SnmpError::Credentials(error.to_string()))?;
    async_snmp::Client::builder(target, auth)
        .request_timeout(timing.timeout)
        .retry(retry)
        .max_oids_per_request(MAX_GET)
        .connect()
        .await
        .map_err(|error| match error.exchange_source() {
            Error::Config(reason) => SnmpError::Credentials(reason.to_string()),
            _ => SnmpError::NoAnswer(target),
        })
}

/// The instance that a binding carries, unless it says that there is none (MAP-53).
fn instance(varbind: &VarBind) -> Option<(Oid, Value)> {
    Some((
        from_wire_oid(&varbind.oid),
        from_wire_value(&varbind.value)?,
    ))
}

fn status(error: &Error) -> Option<ErrorStatus> {
    match error.exchange_source() {
        Error::Snmp { status, .. } => Some(*status),
        _ => None,
    }
}

/// Which of `batch` the agent does not know.
fn no_such_name(error: &Error, batch: &[Oid]) -> Option<usize> {
    match error.exchange_source() {
        Error::Snmp {
            status: ErrorStatus::NoSuchName,
            oid,
            index,
            ..
        } => oid
            .as_ref()
            .and_then(|oid| batch.iter().position(|known| *known == from_wire_oid(oid)))
            .or_else(|| usize::try_from(*index).ok()?.checked_sub(1))
            .filter(|&position| position < batch.len()),
        _ => None,
    }
}

fn set_error(error: &Error) -> SetError {
    match error.exchange_source() {
        Error::Timeout { .. } | Error::Network { .. } | Error::Closed { .. } => SetError::NoAnswer,
        Error::Auth { .. } | Error::Report { .. } => SetError::Refused,
        Error::Snmp { status, .. } => match status {
            ErrorStatus::AuthorizationError => SetError::Refused,
            ErrorStatus::NoAccess
            | ErrorStatus::NotWritable
            | ErrorStatus::ReadOnly
            | ErrorStatus::NoSuchName
            | ErrorStatus::NoCreation => SetError::NotWritable,
            ErrorStatus::WrongType | ErrorStatus::WrongEncoding => SetError::WrongType,
            ErrorStatus::WrongValue
            | ErrorStatus::BadValue
            | ErrorStatus::InconsistentValue
            | ErrorStatus::WrongLength => SetError::WrongValue,
            other => SetError::Failed(other.to_string()),
        },
        other => SetError::Failed(other.to_string()),
    }
}

/// About how many bytes the bindings took in their message.
fn weight(varbinds: &[VarBind]) -> usize {
    varbinds
        .iter()
        .map(|varbind| {
            let value = match &varbind.value {
                async_snmp::Value::OctetString(octets) | async_snmp::Value::Opaque(octets) => {
                    octets.len()
                }
                async_snmp::Value::ObjectIdentifier(oid) => oid.len(),
                _ => 4,
            };
            varbind.oid.len() + value + 6
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use async_snmp::oid as wire;
    use platen_datamodel::mib;

    use super::*;
    use crate::agent::{Access, Agent};

    #[test]
    fn walks_end_where_the_subtree_does_and_do_not_turn_back() {
        let prefix = Oid::new(&[1, 3, 6, 1, 2]);
        let row = |arc: u32, below: u32| {
            VarBind::new(wire!(1, 3, 6, 1, arc, below), async_snmp::Value::Integer(0))
        };
        let end = VarBind::new(wire!(1, 3, 6, 1, 2, 9), async_snmp::Value::EndOfMibView);
        let over = |complete| Walked::Over { complete };
        let cases = [
            (vec![row(2, 1), row(2, 5)], 2, Walked::On),
            (vec![row(2, 1), row(3, 1), row(2, 7)], 1, over(true)),
            (vec![row(2, 1), end], 1, over(true)),
            (vec![row(2, 1), row(2, 5), row(2, 1)], 2, over(false)),
            (vec![row(2, 1), row(2, 1)], 1, over(false)),
            (vec![row(1, 1)], 0, over(false)),
        ];
        for (varbinds, count, expect) in cases {
            let (mut subtree, mut last) = (Subtree::default(), prefix.clone());
            let walked = take_rows(&mut subtree, &prefix, &mut last, &varbinds);
            assert_eq!(
                (walked, subtree.objects.len()),
                (expect, count),
                "{varbinds:?}"
            );
        }
    }

    #[test]
    fn a_walk_has_a_greatest_length() {
        let prefix = Oid::new(&[1, 3, 6, 1, 2]);
        let rows: Vec<VarBind> = (1..=10_001)
            .map(|row| VarBind::new(wire!(1, 3, 6, 1, 2, row), async_snmp::Value::Integer(0)))
            .collect();
        let (mut subtree, mut last) = (Subtree::default(), prefix.clone());
        assert_eq!(
            take_rows(&mut subtree, &prefix, &mut last, &rows),
            Walked::Over { complete: false }
        );
        assert_eq!(subtree.objects.len(), MAX_ROWS);
    }

    #[test]
    fn replies_are_weighed() {
        let rows: Vec<VarBind> = (1..=20)
            .map(|row| {
                VarBind::new(
                    wire!(1, 3, 6, 1, 2, row),
                    async_snmp::Value::OctetString(vec![b'x'; 100].into()),
                )
            })
            .collect();
        assert!(weight(&rows) > MAX_REPLY);
        assert!(weight(&rows[..8]) < MAX_REPLY);
    }

    #[tokio::test]
    async fn an_unknown_instance_does_not_hide_the_others() {
        let objects = [
            (Oid::new(mib::SYS_DESCR), Value::from("a")),
            (Oid::new(mib::SYS_NAME), Value::from("b")),
        ];
        let agent = Agent::start(
            ([127, 0, 0, 1], 0).into(),
            objects.into_iter().collect(),
            Access::read("public"),
        )
        .await
        .unwrap();
        let wanted = [
            mib::SYS_DESCR,
            mib::SYS_CONTACT,
            mib::SYS_NAME,
            mib::SYS_LOCATION,
        ]
        .map(Oid::new);
        for version in [Version::V1, Version::V2c] {
            let client = Client::connect(
                agent.addr(),
                &Credentials::community(version, "public", None),
            )
            .await
            .unwrap();
            for _ in 0..2 {
                assert_eq!(client.get(&wanted).await.unwrap().len(), 2, "{version:?}");
            }
            let learned = client.learned.lock().unwrap().absent.len();
            assert_eq!(learned, if version == Version::V1 { 2 } else { 0 });
        }
    }

    #[tokio::test]
    async fn large_rows_are_all_read() {
        let objects = (1..=60).map(|row| {
            (
                Oid::new(&[mib::ALERT, &[8, 1, row]].concat()),
                Value::Octets(vec![b'x'; 200]),
            )
        });
        let agent = Agent::start(
            ([127, 0, 0, 1], 0).into(),
            objects.collect(),
            Access::read("public"),
        )
        .await
        .unwrap();
        let client = Client::connect(
            agent.addr(),
            &Credentials::community(Version::V2c, "public", None),
        )
        .await
        .unwrap();

        let subtree = client.walk(&Oid::new(mib::ALERT)).await.unwrap();

        assert_eq!((subtree.objects.len(), subtree.complete), (60, true));
    }

    #[tokio::test]
    async fn silence_is_no_answer() {
        let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let timing = Timing {
            timeout: Duration::from_millis(20),
            retries: 1,
        };
        let credentials = Credentials::community(Version::V2c, "public", None);
        let client = Client::connect_with(nobody.local_addr().unwrap(), &credentials, timing)
            .await
            .unwrap();
        assert!(matches!(
            client.get(&[Oid::new(mib::SYS_DESCR)]).await,
            Err(SnmpError::NoAnswer(_))
        ));
        assert_eq!(
            client.set(&Oid::new(mib::SYS_NAME), Value::from("x")).await,
            Err(SetError::Refused)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!(
            "{:?}",
            Credentials::community(Version::V2c, "hush", Some("hush hush"))
        );
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[tokio::test]
    async fn what_is_too_big_for_one_message_is_asked_for_in_several() {
        let text = |n: u32| Value::from("x".repeat(100 + n as usize).as_str());
        let objects: std::collections::BTreeMap<Oid, Value> = (1..=8)
            .map(|n| (Oid::new(&[1, 3, 6, 1, 2, 1, 1, n, 0]), text(n)))
            .collect();
        for version in [Version::V1, Version::V2c] {
            let agent = Agent::start(
                ([127, 0, 0, 1], 0).into(),
                objects.clone(),
                Access::read("public").max_reply(300),
            )
            .await
            .unwrap();
            let credentials = Credentials::community(version, "public", None);
            let client = Client::connect(agent.addr(), &credentials).await.unwrap();
            let asked: Vec<Oid> = objects.keys().cloned().collect();

            let found = client.get(&asked).await.unwrap();

            for (oid, value) in &objects {
                assert_eq!(found.get(oid), Some(value), "{version:?} {oid}");
            }
        }
    }
}
