//! Diagnostics, one at a time per device: asked for, waited for, read.

use super::{Provisioning, Turn, tasks};
use crate::{
    diagnostics::Test,
    operations::{self, has},
    sighting,
};
use platen_bus::{Failure, derived};
use platen_cwmp::event_code::EventCode;
use platen_proto::{
    event::v1::Inform,
    operation::v1::{
        OperationRequest, OperationResult, ParameterValue, SetParameterValues,
        operation_request::Action,
    },
    report::v1::{CommandDone, Report, command_done::Outcome},
    store::v1::{Command, RunningDiagnostic},
};
use platen_store::{
    commands,
    progress::{End, Task},
    tables::ObservedDevices,
};
use prost::Message;

impl Provisioning {
    /// Asks the device for the diagnostic that waits first, if none is under way and the root of its data model is known (DIAG-06).
    pub(super) async fn next_diagnostic(&self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        while turn.row.diagnostic.is_none()
            && let Some(id) = turn.row.waiting_diagnostics.first().cloned()
        {
            let Some(root) = self.root(turn).await? else {
                return Ok(());
            };
            let Some(task) = self.task(&turn.cause, &id).await? else {
                tasks::forget(&mut turn.row, &id);
                continue;
            };
            let Some(test) = test(&task.command, &root) else {
                let why = format!("the data model of {root} has no such diagnostic");
                self.end(turn, task, End::failed("UNKNOWN_DIAGNOSTIC", why));
                continue;
            };
            // It has the operation's id, so that whoever sends it, cancels the operation or lets it expire competes for one claim.
            let command = Command {
                request: Some(set(test.whole())),
                more_follows: test.is_instant(),
                ..task.command.clone()
            };
            turn.writes.push(commands::queue(&command));
            turn.row.waiting_diagnostics.remove(0);
            turn.row.diagnostic = Some(RunningDiagnostic {
                operation: id,
                root,
                ..RunningDiagnostic::default()
            });
        }
        Ok(())
    }

    /// The device refused a diagnostic: some take the arguments first, and then the request. `false`: this one would not.
    pub(super) fn diagnostic_in_steps(
        &self,
        turn: &mut Turn<'_>,
        done: &CommandDone,
        task: &Task,
    ) -> bool {
        let Some(Outcome::Fault(fault)) = &done.outcome else {
            return false;
        };
        let Some(running) = tasks::running_diagnostic(&mut turn.row, &task.command.id) else {
            return false;
        };
        let test = test(&task.command, &running.root).filter(|test| test.may_go_in_steps(fault));
        let Some(test) = test else {
            return false;
        };
        running.in_steps = true;
        let arguments = step(turn, task, Step::Arguments, test.arguments());
        turn.writes.push(commands::leave(&task.command));
        turn.writes.push(commands::queue(&arguments));
        true
    }

    /// The answer to a step of a diagnostic.
    fn stepped(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        done: &CommandDone,
        task: Task,
        taken: Step,
    ) {
        match &done.outcome {
            Some(Outcome::Result(_)) => {}
            Some(Outcome::Fault(fault)) => {
                let end = End::fault(fault, OperationResult::default());
                return self.end(turn, task, end);
            }
            Some(Outcome::Failed(why)) if !done.unanswered => {
                return self.end(turn, task, End::failed("COMMAND_FAILED", why.clone()));
            }
            // The next session brings it again.
            Some(Outcome::Failed(_)) | None => return,
        }
        let answered = step(turn, &task, taken, Vec::new());
        turn.writes.push(commands::leave(&answered));
        match taken {
            Step::Arguments => {
                let root = turn.row.diagnostic.as_ref().map(|running| &running.root);
                let request = root
                    .and_then(|root| test(&task.command, root))
                    .and_then(|test| test.request());
                let request = step(turn, &task, Step::Request, request.into_iter().collect());
                turn.writes.push(commands::queue(&request));
            }
            Step::Request => {
                tasks::await_report(turn, &task, OperationResult::default());
                self.diagnostic_begun(turn, report, &task);
            }
        }
    }

    /// The device took the diagnostic. One whose end no device reports is over now: its results are asked for in the session at hand.
    pub(super) fn diagnostic_begun(&self, turn: &mut Turn<'_>, report: &Report, task: &Task) {
        let Some(running) = tasks::running_diagnostic(&mut turn.row, &task.command.id) else {
            return;
        };
        report.session.clone_into(&mut running.session);
        running.unanswered = false;
        let root = running.root.clone();
        if let Some(test) = test(&task.command, &root).filter(Test::is_instant) {
            read_results(turn, task, test);
        }
    }

    /// Asks for the results at the Inform of a session after the one in which the device took the diagnostic, whether or not it says that it is over (DIAG-06);
    /// they are asked for once in every session until it is (DIAG-07).
    ///
    /// If it is not known whether the device took it, old results could pass for new ones: then only `8 DIAGNOSTICS COMPLETE` counts.
    pub(super) async fn read_diagnostic(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let Some(running) = turn.row.diagnostic.clone() else {
            return Ok(());
        };
        let is_begun =
            turn.row.awaiting.contains(&running.operation) && running.session != report.session;
        if running.reading || !is_begun {
            return Ok(());
        }
        let Some(task) = self.task(&turn.cause, &running.operation).await? else {
            tasks::forget(&mut turn.row, &running.operation);
            turn.row.diagnostic = None;
            return Ok(());
        };
        let is_told = has(inform, &EventCode::DiagnosticsComplete);
        if let Some(test) = test(&task.command, &running.root)
            && (is_told || test.is_instant() || !running.unanswered)
        {
            read_results(turn, &task, test);
        }
        Ok(())
    }

    /// The results, or that there are none yet.
    pub(super) fn diagnosed(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        done: &CommandDone,
        task: Task,
    ) {
        let Some(running) = turn.row.diagnostic.clone() else {
            return;
        };
        if running.in_steps && running.operation == task.command.id {
            let taken = [Step::Arguments, Step::Request]
                .into_iter()
                .find(|which| step(turn, &task, *which, Vec::new()).id == done.command);
            if let Some(taken) = taken {
                return self.stepped(turn, report, done, task, taken);
            }
        }
        let is_read =
            tasks::verification(&turn.cause, &task.command, Vec::new()).id == done.command;
        if !is_read || running.operation != task.command.id {
            return;
        }
        let read = match &done.outcome {
            Some(Outcome::Result(part)) => operations::merged(tasks::so_far(&task), part.clone()),
            Some(Outcome::Fault(fault)) => {
                let end = End::fault(fault, OperationResult::default());
                return self.end(turn, task, end);
            }
            Some(Outcome::Failed(why)) if !done.unanswered => {
                return self.end(turn, task, End::failed("COMMAND_FAILED", why.clone()));
            }
            // The next session asks again.
            Some(Outcome::Failed(_)) | None => return,
        };
        if read.encoded_len() > operations::MAX_RESULT {
            return self.end(turn, task, operations::too_large());
        }
        if !report.last {
            return tasks::goes_on(turn, &task, read);
        }
        let end =
            test(&task.command, &running.root).and_then(|diagnostic| diagnostic.concluded(&read));
        if let Some(end) = end {
            self.end(turn, task, end);
        }
    }

    /// The root of the device's data model, as far as it is known.
    async fn root(&self, turn: &Turn<'_>) -> Result<Option<String>, Failure> {
        if !turn.row.root.is_empty() {
            return Ok(Some(turn.row.root.clone()));
        }
        let observed = self
            .store
            .get::<ObservedDevices>((turn.cause.tenant, turn.cause.device))
            .await?
            .unwrap_or_default();
        let name = observed
            .root_data_model
            .split(':')
            .next()
            .unwrap_or_default();
        Ok(sighting::root(&format!("{name}.")).map(str::to_owned))
    }
}

/// What a diagnostic is begun by, if not by all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Arguments,
    Request,
}

/// The command of a step. It may be sent again: the same arguments change nothing, and a second request begins the diagnostic anew.
fn step(turn: &Turn<'_>, task: &Task, step: Step, values: Vec<ParameterValue>) -> Command {
    let name = match step {
        Step::Arguments => "arguments",
        Step::Request => "request",
    };
    Command {
        id: derived::id(&[name, &task.command.id]),
        request: Some(set(values)),
        more_follows: step == Step::Arguments,
        ..tasks::verification(&turn.cause, &task.command, Vec::new())
    }
}

/// The commands that a diagnostic may have left in the queue, besides that of its operation.
pub(super) fn leftovers(turn: &Turn<'_>, task: &Task, in_steps: bool) -> Vec<Command> {
    let mut left = vec![tasks::verification(&turn.cause, &task.command, Vec::new())];
    if in_steps {
        left.extend(
            [Step::Arguments, Step::Request].map(|which| step(turn, task, which, Vec::new())),
        );
    }
    left
}

fn set(values: Vec<ParameterValue>) -> OperationRequest {
    let set = SetParameterValues {
        values,
        ..SetParameterValues::default()
    };
    OperationRequest {
        action: Some(Action::SetParameterValues(set)),
        ..OperationRequest::default()
    }
}

/// The diagnostic that an operation asks for, in the data model with this root.
fn test(command: &Command, root: &str) -> Option<Test> {
    match tasks::action(command) {
        Some(Action::Diagnostic(diagnostic)) => Test::of(diagnostic, root),
        _ => None,
    }
}

/// Queues the command that reads the results of the diagnostic under way.
fn read_results(turn: &mut Turn<'_>, task: &Task, test: Test) {
    let read = Command {
        more_follows: !turn.row.waiting_diagnostics.is_empty(),
        ..tasks::verification(&turn.cause, &task.command, vec![test.object])
    };
    turn.writes.push(commands::queue(&read));
    if let Some(running) = &mut turn.row.diagnostic {
        running.reading = true;
    }
}
