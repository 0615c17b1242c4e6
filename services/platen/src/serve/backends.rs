//! The backends of the distributed form, opened: whatever is away at the start is waited for.

use super::data::{Data, Kept, Sessions, open_files};
use crate::{
    backends::{Trouble, until_there},
    config::form::{Distributed, Redis},
    roles::{Role, Roles},
};
use platen_runtime::Health;
use platen_sessions::{
    memory::{MemoryCache, MemoryMarks},
    redis,
};
use std::{sync::Arc, time::Duration};

/// Opens what these roles need, and waits for what is away. What is only wrong in words is found before.
pub(super) async fn open(
    config: &Distributed,
    roles: &Roles,
    health: &Health,
) -> anyhow::Result<Data> {
    let sessions = if roles.need_sessions() {
        Some(open_sessions(config.sessions.as_ref())?)
    } else {
        None
    };
    let files = if roles.need_files() {
        Some(open_files(&config.files)?)
    } else {
        None
    };
    let store = there("store", health, async || config.store.open().await).await?;
    let keys = there("store", health, async || config.key(&store).await).await?;
    let message_timeout = message_timeout(roles);
    let log = there("log", health, async || {
        config.bus.open(message_timeout, &store).await
    })
    .await?;
    Ok(Data {
        store,
        log: Arc::new(log.clone()),
        keys: Arc::new(keys),
        sessions,
        files,
        kept: Kept::Backends(log),
    })
}

/// A device waits for an edge, which rather refuses; nobody waits for the others, which rather wait themselves.
fn message_timeout(roles: &Roles) -> Duration {
    Duration::from_secs(if roles.has(Role::Edge) { 2 } else { 30 })
}

/// Redis may be away at any time, so nobody waits for it.
fn open_sessions(config: Option<&Redis>) -> anyhow::Result<Sessions> {
    match config {
        Some(config) => {
            let (cache, marks) = redis::open(&config.adapter()?)?;
            Ok(Sessions {
                cache: Arc::new(cache),
                marks: Arc::new(marks),
            })
        }
        None => Ok(Sessions {
            cache: Arc::new(MemoryCache::new()),
            marks: Arc::new(MemoryMarks::new()),
        }),
    }
}

/// Waits for a backend; until it is there, `health` and the log say why not.
async fn there<T>(
    part: &'static str,
    health: &Health,
    open: impl AsyncFnMut() -> Result<T, Trouble>,
) -> anyhow::Result<T> {
    let mut told = String::new();
    let there = until_there(open, |why| {
        health.unready(part, why);
        if told != why {
            why.clone_into(&mut told);
            tracing::warn!(part, why, "waiting");
        }
    })
    .await?;
    if !told.is_empty() {
        tracing::info!(part, "there");
    }
    health.ready(part);
    Ok(there)
}
