//! What became of an operation, as its owner folds it.

use crate::{
    Error, Store, rows,
    table::Write,
    tables::{Operations, ProgressOfOperations},
};
use platen_proto::{
    device::v1::CwmpFault,
    operation::v1::{OperationError, OperationResult, operation::State},
    store::v1::{Claim, Command, Progress, claim::By},
};

/// The code of [`End::unknown`]: the only end that a late answer still replaces.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The device did it.
    Succeeded(OperationResult),
    /// It did not, or nobody knows; the result is what is known all the same.
    Failed(OperationError, OperationResult),
    /// Nobody had taken it, or the device has dropped it.
    Cancelled,
    /// Its time was over before a session took it.
    Expired,
}

impl End {
    /// Failed without a fault of the device.
    #[must_use]
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        let error = OperationError {
            code: code.to_owned(),
            message: message.into(),
            cwmp_fault: None,
        };
        Self::Failed(error, OperationResult::default())
    }

    /// The device's answer is not known, and nothing tells whether it did it.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self::failed(OUTCOME_UNKNOWN, why)
    }

    /// The device refused, or reports that it failed.
    #[must_use]
    pub fn fault(fault: &CwmpFault, result: OperationResult) -> Self {
        let message = if fault.string.is_empty() {
            "the device refused"
        } else {
            &fault.string
        };
        let error = OperationError {
            code: "CWMP_FAULT".to_owned(),
            message: message.to_owned(),
            cwmp_fault: Some(fault.clone()),
        };
        Self::Failed(error, result)
    }
}

/// An operation, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What was asked.
    pub command: Command,
    /// What its owner has written of it.
    pub progress: Option<Progress>,
    /// When a session took it, microseconds since 1970; 0: none did.
    pub started_us: i64,
}

impl Store {
    /// An operation of this device, with its progress and when a session took it. Three reads.
    ///
    /// # Errors
    ///
    /// As [`Store::get`].
    pub async fn task(&self, tenant: &str, device: &str, id: &str) -> Result<Option<Task>, Error> {
        let command = self.get::<Operations>((tenant, id)).await?;
        let Some(command) = command.filter(|command| command.device == device) else {
            return Ok(None);
        };
        let (progress, claim) = futures::try_join!(
            self.get::<ProgressOfOperations>((tenant, id)),
            self.claim_of(tenant, id)
        )?;
        let started_us = claim
            .filter(|claim| claim.by() == By::Session)
            .map_or(0, |claim| claim.time_us);
        Ok(Some(Task {
            command,
            progress,
            started_us,
        }))
    }

    /// Takes an operation for its owner, so that no session does. `false`: somebody else has it. The same owner again at the same `now_us` still has it.
    ///
    /// # Errors
    ///
    /// As [`Store::claim`].
    pub async fn take(
        &self,
        tenant: &str,
        id: &str,
        by: By,
        owner: &str,
        now_us: i64,
    ) -> Result<bool, Error> {
        let claim = Claim {
            by: by.into(),
            holder: owner.to_owned(),
            time_us: now_us,
        };
        let found = self.claim(tenant, id, &claim).await?;
        Ok(found.is_none_or(|found| found == claim))
    }
}

/// Whether an operation has ended.
#[must_use]
pub fn is_over(progress: &Progress) -> bool {
    matches!(
        progress.state(),
        State::Succeeded | State::Failed | State::Cancelled | State::Expired
    )
}

/// Whether an answer may still change what is known of an operation: it has not ended, or nobody knew how.
#[must_use]
pub fn is_open(progress: Option<&Progress>) -> bool {
    progress.is_none_or(|progress| {
        !is_over(progress)
            || progress
                .error
                .as_ref()
                .is_some_and(|error| error.code == OUTCOME_UNKNOWN)
    })
}

/// The write that says that an operation goes on, with what the device has said so far. `version` is that of the record from which it follows.
#[must_use]
pub fn running(tenant: &str, task: &Task, result: OperationResult, version: u64) -> Write {
    let progress = Progress {
        state: State::Running.into(),
        attempts: 1,
        start_time_us: started(task.progress.as_ref(), task.started_us),
        result: Some(result),
        position: version,
        ..Progress::default()
    };
    rows::write::<ProgressOfOperations>((tenant, &task.command.id), &progress, version)
}

/// The progress of an operation that ends now. `None` if it was over already; the same again if it was the record of this `version` that ended it.
#[must_use]
pub fn ended(
    before: Option<&Progress>,
    started_us: i64,
    end: End,
    now_us: i64,
    version: u64,
) -> Option<Progress> {
    if let Some(before) = before.filter(|before| is_over(before) && before.position == version) {
        return Some(before.clone());
    }
    if !is_open(before) {
        return None;
    }
    let (state, result, error) = match end {
        End::Succeeded(result) => (State::Succeeded, Some(result), None),
        End::Failed(error, result) => (
            State::Failed,
            (result != OperationResult::default()).then_some(result),
            Some(error),
        ),
        End::Cancelled => (State::Cancelled, None, None),
        End::Expired => (State::Expired, None, None),
    };
    let start_time_us = started(before, started_us);
    Some(Progress {
        state: state.into(),
        attempts: i32::from(start_time_us > 0),
        start_time_us,
        end_time_us: now_us,
        result,
        error,
        position: version,
    })
}

/// What was written first of when a session took it stands.
fn started(before: Option<&Progress>, started_us: i64) -> i64 {
    before
        .map(|before| before.start_time_us)
        .filter(|us| *us > 0)
        .unwrap_or(started_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_ends_once_but_a_late_answer_beats_not_knowing() {
        let progress = |state: State, code: &str, position| Progress {
            state: state.into(),
            error: (!code.is_empty()).then(|| OperationError {
                code: code.into(),
                ..OperationError::default()
            }),
            position,
            ..Progress::default()
        };
        for (what, before, expected) in [
            ("open", None, Some(State::Failed)),
            (
                "running",
                Some(progress(State::Running, "", 1)),
                Some(State::Failed),
            ),
            (
                "succeeded before",
                Some(progress(State::Succeeded, "", 1)),
                None,
            ),
            (
                "cancelled before",
                Some(progress(State::Cancelled, "", 1)),
                None,
            ),
            (
                "unknown before",
                Some(progress(State::Failed, OUTCOME_UNKNOWN, 1)),
                Some(State::Failed),
            ),
            (
                "ended by this very record",
                Some(progress(State::Succeeded, "", 9)),
                Some(State::Succeeded),
            ),
        ] {
            let found = ended(before.as_ref(), 4, End::failed("X", "x"), 5, 9);
            assert_eq!(found.map(|found| found.state()), expected, "{what}");
        }
    }

    #[test]
    fn what_no_session_took_has_no_attempt() {
        let attempts = |started_us| {
            ended(None, started_us, End::Cancelled, 5, 9)
                .unwrap()
                .attempts
        };
        assert_eq!((attempts(0), attempts(4)), (0, 1));
    }
}
