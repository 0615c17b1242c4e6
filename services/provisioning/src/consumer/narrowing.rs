//! A read that a device refuses as a whole goes on in parts.

use super::{Provisioning, SERVICE, Turn, tasks};
use crate::{
    narrowing,
    operations::{self, MAX_RESULT},
};
use platen_bus::{Failure, derived, derived::Cause};
use platen_proto::{
    device::v1::CwmpFault,
    operation::v1::{
        GetParameterValues, OperationRequest, OperationResult, operation_request::Action,
    },
    report::v1::{CommandDone, Report, command_done::Outcome},
    store::v1::{Command, Desired, Narrowing},
};
use platen_store::{
    commands,
    progress::{self, End, Task},
};
use prost::Message;
use std::ops::Range;

/// Reads of one device that may go on in parts at a time.
const MAX_NARROWED: usize = 16;

/// Sessions that may begin while a part is not answered: it may be what ends them.
const MAX_SESSIONS: u32 = 5;

impl Provisioning {
    /// A session begins: parts that earlier ones did not answer are asked for again, but not for ever.
    pub(super) async fn narrowed_before(&self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let mut given_up = Vec::new();
        for narrowing in &mut turn.row.narrowings {
            narrowing.sessions += 1;
            if narrowing.sessions > MAX_SESSIONS {
                given_up.push(narrowing.operation.clone());
            }
        }
        for id in given_up {
            let Some(task) = self.task(&turn.cause, &id).await? else {
                turn.row.narrowings.retain(|open| open.operation != id);
                continue;
            };
            let why = format!("the device gave no answer in {MAX_SESSIONS} sessions");
            let end = with_result(End::unknown(&why), tasks::so_far(&task));
            self.end(turn, task, end);
        }
        Ok(())
    }

    /// The device refused an operation. `true`: it is a read of several paths, and goes on with the first half of them.
    pub(super) fn narrow(&self, turn: &mut Turn<'_>, task: &Task, fault: &CwmpFault) -> bool {
        // The same answer again, in a record of its own.
        if open_part(&turn.row, &task.command.id).is_some() {
            return true;
        }
        if !progress::is_open(task.progress.as_ref()) {
            return false;
        }
        if turn.row.narrowings.len() >= MAX_NARROWED {
            return false;
        }
        let all = 0..paths(&task.command).len();
        let (true, Some(half)) = (narrowing::may_narrow(fault), narrowing::first_half(&all)) else {
            return false;
        };
        tasks::await_report(turn, task, OperationResult::default());
        ask(turn, task, half);
        true
    }

    /// The answer to a part.
    pub(super) fn narrowed(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        done: &CommandDone,
        task: Task,
    ) {
        let Some(part) = open_part(&turn.row, &task.command.id) else {
            return;
        };
        if done.command != part_id(&task.command, &part) {
            return;
        }
        let mut so_far = tasks::so_far(&task);
        match &done.outcome {
            Some(Outcome::Result(result)) => {
                so_far = operations::merged(so_far, result.clone());
                if so_far.encoded_len() > MAX_RESULT {
                    return self.end(turn, task, operations::too_large());
                }
                if !report.last {
                    return tasks::goes_on(turn, &task, so_far);
                }
            }
            Some(Outcome::Fault(fault)) if narrowing::may_narrow(fault) => {
                if let Some(half) = narrowing::first_half(&part) {
                    return ask(turn, &task, half);
                }
                if !narrowing::is_missing(fault) {
                    return self.end(turn, task, End::fault(fault, so_far));
                }
                let missing = paths(&task.command).get(part.start).cloned();
                // A replay of this record finds the path there.
                so_far
                    .absent_paths
                    .extend(missing.filter(|path| !so_far.absent_paths.contains(path)));
                let mut asked = paths(&task.command).iter();
                if asked.all(|path| so_far.absent_paths.contains(path)) {
                    return self.end(turn, task, End::fault(fault, so_far));
                }
            }
            Some(Outcome::Fault(fault)) => {
                return self.end(turn, task, End::fault(fault, so_far));
            }
            // It stays queued, for another session; so many times.
            Some(Outcome::Failed(_)) if done.unanswered => return,
            Some(Outcome::Failed(why)) => {
                let end = with_result(End::failed("COMMAND_FAILED", why.clone()), so_far);
                return self.end(turn, task, end);
            }
            None => return,
        }
        if let Some(next) = narrowing::after(paths(&task.command).len(), part.end) {
            tasks::goes_on(turn, &task, so_far);
            ask(turn, &task, next);
        } else {
            so_far.values = narrowing::distinct(so_far.values);
            self.end(turn, task, End::Succeeded(so_far));
        }
    }
}

/// Such an end, with what is known all the same.
pub(super) fn with_result(end: End, so_far: OperationResult) -> End {
    match end {
        End::Failed(error, _) => End::Failed(error, so_far),
        other => other,
    }
}

/// Queues a part, in place of the one before it.
fn ask(turn: &mut Turn<'_>, task: &Task, part: Range<usize>) {
    leave(turn, &task.command);
    let operation = task.command.id.clone();
    let command = command(&turn.cause, &task.command, &part);
    turn.writes.push(commands::queue(&command));
    turn.row.narrowings.push(Narrowing {
        operation,
        from: u32::try_from(part.start).unwrap_or(u32::MAX),
        below: u32::try_from(part.end).unwrap_or(u32::MAX),
        sessions: 0,
    });
}

/// Takes the part that is with the device, if there is one, out of the queue.
pub(super) fn leave(turn: &mut Turn<'_>, operation: &Command) {
    if let Some(part) = open_part(&turn.row, &operation.id) {
        let command = command(&turn.cause, operation, &part);
        turn.writes.push(commands::leave(&command));
    }
    turn.row
        .narrowings
        .retain(|narrowing| narrowing.operation != operation.id);
}

/// The part of an operation that is with the device.
pub(super) fn open_part(row: &Desired, operation: &str) -> Option<Range<usize>> {
    let mut narrowings = row.narrowings.iter();
    let narrowing = narrowings.find(|narrowing| narrowing.operation == operation)?;
    let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Some(number(narrowing.from)..number(narrowing.below))
}

/// The command that asks for a part. In the queue it stands where the operation stood.
fn command(cause: &Cause<'_>, operation: &Command, part: &Range<usize>) -> Command {
    let paths = paths(operation).get(part.clone()).unwrap_or_default();
    let get = GetParameterValues {
        paths: paths.to_vec(),
    };
    let patience_us = operation
        .request
        .as_ref()
        .map_or(0, operations::patience_us);
    Command {
        id: part_id(operation, part),
        owner: SERVICE.to_owned(),
        operation: operation.id.clone(),
        request: Some(OperationRequest {
            action: Some(Action::GetParameterValues(get)),
            ..OperationRequest::default()
        }),
        once: false,
        expire_time_us: cause.now_us + patience_us,
        created_by: String::new(),
        wake: false,
        more_follows: true,
        context: String::new(),
        ..operation.clone()
    }
}

fn part_id(operation: &Command, part: &Range<usize>) -> String {
    let (from, below) = (part.start.to_string(), part.end.to_string());
    derived::id(&["part", &operation.id, &from, &below])
}

/// What a read asks for.
fn paths(command: &Command) -> &[String] {
    match tasks::action(command) {
        Some(Action::GetParameterValues(get)) => &get.paths,
        _ => &[],
    }
}
