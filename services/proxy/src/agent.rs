//! An SNMP agent that serves a walk: the printer of tests, demonstrations and load runs.
//!
//! It speaks v1 and v2c, answers GET, GETNEXT and GETBULK from a map, takes SET on the objects that printers let one write, and lets its
//! owner change what it serves while it runs. `sysUpTime` and `hrSystemUptime` go on by themselves and start anew after a reset.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use async_snmp::agent::{SecurityModel, VacmBuilder};
use async_snmp::handler::{
    BoxFuture, GetNextResult, GetResult, HandlerResult, MibHandler, PreparedSet, RequestContext,
    SetCommitResult, SetTestError, SetTestResult, SetUndoResult,
};
use async_snmp::message::SecurityLevel;
use async_snmp::{VarBind, oid};
use platen_datamodel::snmp::{Oid, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::snmp::{from_wire_oid, from_wire_value, to_wire_oid, to_wire_value};

/// The longest message, in bytes, that fits into one frame of Ethernet.
const MAX_REPLY: usize = 1_472;

/// What callers may do, by community.
#[derive(Debug, Clone)]
pub struct Access {
    read: String,
    write: Option<String>,
    v1_only: bool,
    max_reply: usize,
}

impl Access {
    /// Reading with this community, writing with none.
    #[must_use]
    pub fn read(community: &str) -> Self {
        Self {
            read: community.to_owned(),
            write: None,
            v1_only: false,
            max_reply: MAX_REPLY,
        }
    }

    /// Also reading and writing with this one.
    #[must_use]
    pub fn write(mut self, community: &str) -> Self {
        self.write = Some(community.to_owned());
        self
    }

    /// Answers in messages of at most so many bytes and says `tooBig` else, as cards with little memory do.
    #[must_use]
    pub fn max_reply(mut self, bytes: usize) -> Self {
        self.max_reply = bytes;
        self
    }

    /// Refuses v2c, as old print servers do.
    #[must_use]
    pub fn v1_only(mut self) -> Self {
        self.v1_only = true;
        self
    }
}

impl From<&str> for Access {
    fn from(community: &str) -> Self {
        Self::read(community)
    }
}

impl From<String> for Access {
    fn from(community: String) -> Self {
        Self::read(&community)
    }
}

/// A running agent. It stops when it is dropped.
#[derive(Debug)]
pub struct Agent {
    addr: SocketAddr,
    mib: Arc<Mib>,
    cancel: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Agent {
    /// Serves `objects` at `bind` (port 0 takes a free one).
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(
        bind: SocketAddr,
        objects: BTreeMap<Oid, Value>,
        access: impl Into<Access>,
    ) -> io::Result<Self> {
        let access = access.into();
        let mib = Arc::new(Mib {
            objects: RwLock::new(objects),
            started: RwLock::new(None),
            booted: Instant::now(),
        });
        let cancel = CancellationToken::new();
        let agent = async_snmp::Agent::builder()
            .bind(bind.to_string())
            .communities(
                std::iter::once(&access.read)
                    .chain(&access.write)
                    .map(|community| community.clone().into_bytes()),
            )
            .cancellation_token(cancel.clone())
            .max_message_size(access.max_reply)
            .handler(oid!(1, 3, 6), Arc::new(Handler(Arc::clone(&mib))))
            .without_builtin_handlers()
            .vacm(|rules| rules_for(rules, &access))
            .build()
            .await
            .map_err(io::Error::other)?;
        let addr = agent.local_addr();
        let task = tokio::spawn(async move {
            if let Err(error) = agent.run().await {
                tracing::warn!(%addr, %error, "SNMP agent ended");
            }
        });
        Ok(Self {
            addr,
            mib,
            cancel,
            task: Some(task),
        })
    }

    /// Where the agent listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value that a caller would get now.
    #[must_use]
    pub fn get(&self, oid: &Oid) -> Option<Value> {
        self.mib.value(oid)
    }

    /// Serves `value` from now on.
    pub fn set(&self, oid: Oid, value: Value) {
        self.mib.store(oid, value);
    }

    /// Serves nothing at `oid` from now on.
    pub fn remove(&self, oid: &Oid) {
        self.mib
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(oid);
    }

    /// Lets the counter at `oid` go on by `steps`, wrapping as its type does. An instance that is no counter stays as it is.
    pub fn count(&self, oid: &Oid, steps: u32) {
        let mut objects = self
            .mib
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match objects.get_mut(oid) {
            Some(Value::Counter32(count)) => *count = count.wrapping_add(steps),
            Some(Value::Counter64(count)) => *count = count.wrapping_add(steps.into()),
            _ => {}
        }
    }

    /// Starts `sysUpTime` anew, as a printer does that was switched off and on.
    pub fn restart(&self) {
        self.mib.restart();
    }

    /// Ends the agent; its port is free afterwards.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        if let Some(task) = self.task.take() {
            // The task ends by itself once cancelled; a panic in it was the library's and is in the log.
            let _ = task.await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// sysUpTime and hrSystemUptime.
const UPTIMES: [&[u32]; 2] = [
    &[1, 3, 6, 1, 2, 1, 1, 3, 0],
    &[1, 3, 6, 1, 2, 1, 25, 1, 1, 0],
];

/// prtGeneralReset, without its index.
const RESET: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 3];

/// Values of prtGeneralReset: none under way, and what it may be set to.
const RESET_NONE: i32 = 3;
const RESET_POWER_CYCLE: i32 = 4;
const RESET_FACTORY: i32 = 6;

/// What printers let one write, without indexes: contact, name and location of the system, its clock, operator, service person and name
/// of the printer, reset, name and medium of a tray, lock of the panel.
const WRITABLE: &[&[u32]] = &[
    &[1, 3, 6, 1, 2, 1, 1, 4],
    &[1, 3, 6, 1, 2, 1, 1, 5],
    &[1, 3, 6, 1, 2, 1, 1, 6],
    &[1, 3, 6, 1, 2, 1, 25, 1, 2],
    &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 4],
    &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 5],
    &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 13],
    &[1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 16],
    RESET,
    &[1, 3, 6, 1, 2, 1, 43, 8, 2, 1, 12],
    &[1, 3, 6, 1, 2, 1, 43, 8, 2, 1, 13],
];

/// The longest text that a printer takes.
const MAX_TEXT: usize = 255;

fn rules_for(mut rules: VacmBuilder, access: &Access) -> VacmBuilder {
    let models: &[SecurityModel] = if access.v1_only {
        &[SecurityModel::V1]
    } else {
        &[SecurityModel::V1, SecurityModel::V2c]
    };
    for &model in models {
        rules = rules.group(access.read.clone(), model, "read").access(
            "read",
            model,
            SecurityLevel::NoAuthNoPriv,
            |entry| entry.read_view("all"),
        );
        if let Some(write) = &access.write {
            rules = rules.group(write.clone(), model, "write").access(
                "write",
                model,
                SecurityLevel::NoAuthNoPriv,
                |entry| entry.read_view("all").write_view("all"),
            );
        }
    }
    rules.view("all", |view| view.include(oid!(1)))
}

/// The objects behind an agent.
#[derive(Debug)]
struct Mib {
    objects: RwLock<BTreeMap<Oid, Value>>,
    /// When the printer was last restarted; until then its uptime is what the walk says, and goes on from `booted`.
    started: RwLock<Option<Instant>>,
    booted: Instant,
}

impl Mib {
    fn value(&self, oid: &Oid) -> Option<Value> {
        let value = self
            .objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(oid)
            .cloned()?;
        Some(self.as_of_now(oid, value))
    }

    fn after(&self, oid: &Oid) -> Option<(Oid, Value)> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let (next, value) = objects
            .range((std::ops::Bound::Excluded(oid), std::ops::Bound::Unbounded))
            .next()?;
        Some((next.clone(), self.as_of_now(next, value.clone())))
    }

    fn store(&self, oid: Oid, value: Value) {
        self.objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(oid, value);
    }

    fn restart(&self) {
        *self.started.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Lets uptimes go on.
    fn as_of_now(&self, oid: &Oid, value: Value) -> Value {
        match value {
            Value::TimeTicks(ticks) if UPTIMES.contains(&oid.arcs()) => {
                let started = *self.started.read().unwrap_or_else(PoisonError::into_inner);
                let (base, since) = started.map_or((ticks, self.booted), |started| (0, started));
                let hundredths = since.elapsed().as_millis() / 10 % (1 << 32);
                Value::TimeTicks(base.wrapping_add(
                    u32::try_from(hundredths).expect("invariant: reduced modulo 2³² above"),
                ))
            }
            other => other,
        }
    }
}

/// The library's view of a [`Mib`].
struct Handler(Arc<Mib>);

impl MibHandler for Handler {
    fn get<'a>(
        &'a self,
        _: &'a RequestContext,
        oid: &'a async_snmp::Oid,
    ) -> BoxFuture<'a, HandlerResult<GetResult>> {
        let result = self
            .0
            .value(&from_wire_oid(oid))
            .map_or(GetResult::NoSuchInstance, |value| {
                GetResult::Value(to_wire_value(value))
            });
        Box::pin(std::future::ready(Ok(result)))
    }

    fn get_next<'a>(
        &'a self,
        _: &'a RequestContext,
        oid: &'a async_snmp::Oid,
    ) -> BoxFuture<'a, HandlerResult<GetNextResult>> {
        let result = self.0.after(&from_wire_oid(oid)).map_or(
            GetNextResult::EndOfMibView,
            |(oid, value)| {
                GetNextResult::Value(VarBind::new(to_wire_oid(&oid), to_wire_value(value)))
            },
        );
        Box::pin(std::future::ready(Ok(result)))
    }

    fn test_set<'a>(
        &'a self,
        _: &'a RequestContext,
        oid: &'a async_snmp::Oid,
        value: &'a async_snmp::Value,
    ) -> BoxFuture<'a, SetTestResult> {
        Box::pin(std::future::ready(prepare(
            &self.0,
            from_wire_oid(oid),
            value,
        )))
    }
}

/// Decides whether a printer would take `value` at `oid`.
fn prepare(mib: &Arc<Mib>, oid: Oid, value: &async_snmp::Value) -> SetTestResult {
    let current = mib.value(&oid).ok_or(SetTestError::NoCreation)?;
    let without = |indexes: usize| &oid.arcs()[..oid.arcs().len().saturating_sub(indexes)];
    if !WRITABLE.contains(&without(1)) && !WRITABLE.contains(&without(2)) {
        return Err(SetTestError::NotWritable);
    }
    let is_reset = without(1) == RESET;
    let new = from_wire_value(value).ok_or(SetTestError::WrongType)?;
    let effect = match (&current, new) {
        (Value::Octets(_), Value::Octets(octets)) if octets.len() > MAX_TEXT => {
            return Err(SetTestError::WrongLength);
        }
        (Value::Integer(_), Value::Integer(RESET_NONE)) if is_reset => {
            return Err(SetTestError::WrongValue);
        }
        (Value::Integer(_), Value::Integer(RESET_POWER_CYCLE..=RESET_FACTORY)) if is_reset => {
            Effect::Restart
        }
        (Value::Integer(_), Value::Integer(_)) if is_reset => return Err(SetTestError::WrongValue),
        (Value::Octets(_), new @ Value::Octets(_))
        | (Value::Integer(_), new @ Value::Integer(_)) => Effect::Store {
            previous: current.clone(),
            new,
            oid,
        },
        _ => return Err(SetTestError::WrongType),
    };
    Ok(Box::new(Change {
        mib: Arc::clone(mib),
        effect,
    }))
}

/// A SET that was found good.
struct Change {
    mib: Arc<Mib>,
    effect: Effect,
}

enum Effect {
    Store {
        oid: Oid,
        new: Value,
        previous: Value,
    },
    Restart,
}

impl PreparedSet for Change {
    fn commit<'a>(
        &'a mut self,
        _: &'a RequestContext,
        _: &'a async_snmp::Oid,
        _: &'a async_snmp::Value,
    ) -> BoxFuture<'a, SetCommitResult> {
        match &self.effect {
            Effect::Store { oid, new, .. } => self.mib.store(oid.clone(), new.clone()),
            Effect::Restart => self.mib.restart(),
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn undo<'a>(
        &'a mut self,
        _: &'a RequestContext,
        _: &'a async_snmp::Oid,
        _: &'a async_snmp::Value,
    ) -> BoxFuture<'a, SetUndoResult> {
        // A restart cannot be taken back; nothing else of this PDU was lost by it.
        if let Effect::Store { oid, previous, .. } = &self.effect {
            self.mib.store(oid.clone(), previous.clone());
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{Client, Credentials, SetError, Version};

    fn oid(text: &str) -> Oid {
        text.parse().unwrap()
    }

    fn printer() -> BTreeMap<Oid, Value> {
        [
            ("1.3.6.1.2.1.1.3.0", Value::TimeTicks(500_000)),
            ("1.3.6.1.2.1.1.5.0", Value::from("old")),
            ("1.3.6.1.2.1.43.5.1.1.3.1", Value::Integer(3)),
            ("1.3.6.1.2.1.43.10.2.1.4.1.1", Value::Counter32(u32::MAX)),
        ]
        .into_iter()
        .map(|(text, value)| (oid(text), value))
        .collect()
    }

    async fn start() -> Agent {
        Agent::start(
            ([127, 0, 0, 1], 0).into(),
            printer(),
            Access::read("public").write("private"),
        )
        .await
        .unwrap()
    }

    async fn client(agent: &Agent, version: Version, community: &str) -> Client {
        Client::connect(
            agent.addr(),
            &Credentials::community(version, community, Some("private")),
        )
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn both_versions_read_all_that_is_served() {
        let agent = start().await;
        for version in [Version::V1, Version::V2c] {
            let client = client(&agent, version, "public").await;
            let walk = client.walk(&oid("1.3")).await.unwrap().objects;
            assert_eq!(walk.len(), 4, "{version:?}");
        }
    }

    #[tokio::test]
    async fn counters_go_on_and_wrap() {
        let agent = start().await;
        let life = oid("1.3.6.1.2.1.43.10.2.1.4.1.1");

        agent.count(&life, 3);

        assert_eq!(agent.get(&life), Some(Value::Counter32(2)));
    }

    #[tokio::test]
    async fn only_the_write_community_changes_only_writable_objects_of_their_type() {
        let agent = start().await;
        let client = client(&agent, Version::V2c, "public").await;
        let name = oid("1.3.6.1.2.1.1.5.0");

        assert!(client.set(&name, Value::from("new")).await.is_ok());
        assert_eq!(agent.get(&name), Some(Value::from("new")));
        assert!(matches!(
            client.set(&name, Value::Integer(1)).await,
            Err(SetError::WrongType)
        ));
        let life = oid("1.3.6.1.2.1.43.10.2.1.4.1.1");
        assert!(matches!(
            client.set(&life, Value::Counter32(1)).await,
            Err(SetError::NotWritable)
        ));

        let reader = Client::connect(
            agent.addr(),
            &Credentials::community(Version::V2c, "public", Some("public")),
        )
        .await
        .unwrap();
        assert!(reader.set(&name, Value::from("stolen")).await.is_err());
        assert_eq!(agent.get(&name), Some(Value::from("new")));
    }

    #[tokio::test]
    async fn a_reset_starts_the_uptime_anew() {
        let agent = start().await;
        let uptime = oid("1.3.6.1.2.1.1.3.0");
        assert!(agent.get(&uptime).unwrap().as_i64() >= Some(500_000));

        let client = client(&agent, Version::V1, "public").await;
        client
            .set(&oid("1.3.6.1.2.1.43.5.1.1.3.1"), Value::Integer(4))
            .await
            .unwrap();

        assert!(agent.get(&uptime).unwrap().as_i64() < Some(500_000));
    }

    #[tokio::test]
    async fn an_agent_of_v1_refuses_v2c() {
        let agent = Agent::start(
            ([127, 0, 0, 1], 0).into(),
            printer(),
            Access::read("public").v1_only(),
        )
        .await
        .unwrap();

        assert!(
            client(&agent, Version::V2c, "public")
                .await
                .walk(&oid("1.3"))
                .await
                .is_err()
        );
        assert_eq!(
            client(&agent, Version::V1, "public")
                .await
                .walk(&oid("1.3"))
                .await
                .unwrap()
                .objects
                .len(),
            4
        );
    }
}
