//! Finds printers, and only where it is told to look.

use std::net::SocketAddr;

use futures::StreamExt;
use platen_datamodel::identity::NoIdentity;
use platen_datamodel::mib;
use platen_datamodel::printer::{self, Context, Printer};
use platen_datamodel::snmp::Oid;
use platen_datamodel::time::UnixSeconds;

use crate::config::DiscoverConfig;
use crate::memory::Memory;
use crate::poll::{self, Group, Outcome};
use crate::snmp::{Client, Credentials, SnmpError, Timing};

/// How many addresses are asked at the same time.
const AT_ONCE: usize = 64;

/// Something that speaks SNMP.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub address: SocketAddr,
    /// How it let us in.
    pub credentials: Credentials,
    /// The connection.
    pub client: Client,
    /// What it told.
    pub memory: Memory,
    /// Whether all of it was read.
    pub outcome: Outcome,
    /// The printer that it is, or why it is none.
    pub printer: Result<Printer, NoIdentity>,
}

/// Asks every address of a range; what does not answer is left out.
pub async fn look(range: &DiscoverConfig, now: UnixSeconds) -> Vec<Found> {
    look_except(range, now, |_| false).await
}

/// The same, but for addresses that are `known`: who polls a printer already asks it alone (MAP-50).
pub async fn look_except(
    range: &DiscoverConfig,
    now: UnixSeconds,
    known: impl Fn(&SocketAddr) -> bool,
) -> Vec<Found> {
    let attempts = range.snmp.attempts();
    let addresses: Vec<SocketAddr> = range
        .range
        .addresses()
        .into_iter()
        .map(|address| SocketAddr::new(address, range.port))
        .filter(|address| !known(address))
        .collect();
    let found: Vec<Option<Found>> = futures::stream::iter(addresses)
        .map(|address| ask(address, &attempts, now))
        .buffered(AT_ONCE)
        .collect()
        .await;
    found.into_iter().flatten().collect()
}

/// Asks one address.
async fn ask(address: SocketAddr, attempts: &[Credentials], now: UnixSeconds) -> Option<Found> {
    let credentials = first_that_works(address, attempts).await?;
    match read(address, credentials, now).await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::debug!(%address, %error, "answered at first only");
            None
        }
    }
}

async fn first_that_works(address: SocketAddr, attempts: &[Credentials]) -> Option<Credentials> {
    for credentials in attempts {
        let probe = async {
            let client = Client::connect_with(address, credentials, Timing::PROBE).await?;
            client
                .get(&[Oid::new(mib::SYS_OBJECT_ID), Oid::new(mib::SYS_DESCR)])
                .await
        };
        match probe.await {
            Ok(_) => return Some(credentials.clone()),
            Err(error) => {
                tracing::debug!(%address, version = ?credentials.version(), %error, "no SNMP")
            }
        }
    }
    None
}

/// Reads everything that is asked of a printer at first contact.
async fn read(
    address: SocketAddr,
    credentials: Credentials,
    now: UnixSeconds,
) -> Result<Found, SnmpError> {
    let client = Client::connect(address, &credentials).await?;
    let mut memory = Memory::default();
    let mut outcome = Outcome::Complete;
    for group in Group::ALL {
        if poll::read(&client, group, &mut memory).await? == Outcome::Partial {
            outcome = Outcome::Partial;
        }
    }
    let printer = printer::map(memory.walk(), &Context { now, meters: None });
    Ok(Found {
        address,
        credentials,
        client,
        memory,
        outcome,
        printer,
    })
}
