//! The command queue of a device: what it shall do, who has it, what became of it.
//!
//! A [`Command`] is immutable. A [`Claim`], inserted once, makes it a session's, a cancellation's or an expiry's. What became of it is derived
//! by its owner from the device's answer; then it leaves the queue.

use crate::{
    rows::{self, Store},
    table::{Error, Range, Write},
    tables::{Claims, DeviceOperations, Operations, Queue},
};
use platen_proto::store::v1::{Claim, Command};

/// The most commands of one device that a session looks at, in order of rank.
pub const QUEUE_WINDOW: usize = 64;

/// Position of a command in its device's queue: higher priority first, then the older.
#[must_use]
pub fn rank(command: &Command) -> u64 {
    let priority = u64::from((100 - command.priority.clamp(-100, 100)).unsigned_abs()); // 0 to 200, 0 goes first
    // 55 bits of microseconds last until the year 3111.
    (priority << 55) | (command.create_time_us.max(0).unsigned_abs() & ((1 << 55) - 1))
}

/// Writes that put a command into its device's queue. Idempotent: the same command again changes nothing.
///
/// `version`: the creation time of an API call, or the log version of the record that caused the command.
#[must_use]
pub fn enqueue(command: &Command, version: u64) -> Write {
    rows::write::<Queue>(
        (&command.tenant, &command.device, rank(command), &command.id),
        command,
        version,
    )
}

/// The write that takes a command out of the queue, once it has ended.
///
/// `version` must be above the one it was enqueued with.
#[must_use]
pub fn dequeue(command: &Command, version: u64) -> Write {
    rows::delete::<Queue>(
        (&command.tenant, &command.device, rank(command), &command.id),
        version,
    )
}

/// Puts a command into its device's queue, with its time of creation as version: nothing else is written of it there but [`leave`].
#[must_use]
pub fn queue(command: &Command) -> Write {
    enqueue(command, command.create_time_us.max(0).unsigned_abs())
}

/// Takes what [`queue`] brought out of the queue, for good. Any command with the same id, priority and time of creation will do.
#[must_use]
pub fn leave(command: &Command) -> Write {
    dequeue(command, command.create_time_us.max(0).unsigned_abs() + 1)
}

/// Writes that record an API operation, under its id and in its device's list.
#[must_use]
pub fn record_operation(command: &Command) -> Vec<Write> {
    let version = command.create_time_us.max(0).unsigned_abs();
    vec![
        rows::write::<Operations>((&command.tenant, &command.id), command, version),
        rows::write::<DeviceOperations>(
            (&command.tenant, &command.device, version, &command.id),
            command,
            version,
        ),
    ]
}

impl Store {
    /// The first commands of a device's queue, by rank; at most [`QUEUE_WINDOW`]. One read (unless thousands before them were removed lately).
    ///
    /// # Errors
    ///
    /// As [`Store::scan`].
    pub async fn queued(&self, tenant: &str, device: &str) -> Result<Vec<Command>, Error> {
        let mut range = Range {
            limit: QUEUE_WINDOW,
            ..Range::default()
        };
        let mut commands = Vec::new();
        loop {
            let page = self
                .scan::<Queue>((tenant, device, 0, ""), range.clone())
                .await?;
            commands.extend(page.rows.into_iter().map(|(_, command)| command));
            range.limit = QUEUE_WINDOW - commands.len();
            range.cursor = page.next;
            if range.cursor.is_none() || range.limit == 0 {
                return Ok(commands);
            }
        }
    }

    /// Claims a command for `claim`'s holder. `None`: it is theirs. `Some`: whose it is already (which may be an earlier claim of the same holder
    /// whose answer was lost: compare).
    ///
    /// # Errors
    ///
    /// As [`Store::insert`]; after an error the claim's outcome is unknown: ask [`Self::claim_of`] before anything is sent.
    pub async fn claim(
        &self,
        tenant: &str,
        command: &str,
        claim: &Claim,
    ) -> Result<Option<Claim>, Error> {
        self.insert::<Claims>((tenant, command), claim).await
    }

    /// Who has a command.
    ///
    /// # Errors
    ///
    /// As [`Store::get`].
    pub async fn claim_of(&self, tenant: &str, command: &str) -> Result<Option<Claim>, Error> {
        self.get::<Claims>((tenant, command)).await
    }
}
