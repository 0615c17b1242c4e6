//! Diagnostics, one at a time per device: asked for, waited for, read.

use super::{Provisioning, Turn, tasks};
use crate::{
    diagnostics,
    operations::{self, has},
    sighting,
};
use platen_bus::Failure;
use platen_cwmp::event_code::EventCode;
use platen_proto::{
    event::v1::Inform,
    operation::v1::{
        Diagnostic, OperationRequest, OperationResult, SetParameterValues,
        operation_request::Action,
    },
    report::v1::{CommandDone, Report, command_done::Outcome},
    store::v1::{Command, RunningDiagnostic},
};
use platen_store::{
    commands,
    progress::{self, End, Task},
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
            let object = diagnostic(&task.command)
                .and_then(|diagnostic| Some((diagnostic, diagnostics::object(diagnostic, &root)?)));
            let Some((diagnostic, object)) = object else {
                let end = End::failed("UNKNOWN_DIAGNOSTIC", "there is no such diagnostic");
                self.end(turn, task, end);
                continue;
            };
            let set = SetParameterValues {
                values: diagnostics::request(diagnostic, &object),
                ..SetParameterValues::default()
            };
            // It has the operation's id, so that whoever sends it, cancels the operation or lets it expire competes for one claim.
            let command = Command {
                request: Some(OperationRequest {
                    action: Some(Action::SetParameterValues(set)),
                    ..OperationRequest::default()
                }),
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
        let is_told = has(inform, &EventCode::DiagnosticsComplete);
        if running.reading || !is_begun || running.unanswered && !is_told {
            return Ok(());
        }
        let Some(task) = self.task(&turn.cause, &running.operation).await? else {
            tasks::forget(&mut turn.row, &running.operation);
            turn.row.diagnostic = None;
            return Ok(());
        };
        let object = diagnostic(&task.command)
            .and_then(|diagnostic| diagnostics::object(diagnostic, &running.root));
        let read = Command {
            more_follows: !turn.row.waiting_diagnostics.is_empty(),
            ..tasks::verification(&turn.cause, &task.command, object.into_iter().collect())
        };
        turn.writes.push(commands::queue(&read));
        turn.row.diagnostic = Some(RunningDiagnostic {
            reading: true,
            ..running
        });
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
            let cause = turn.cause;
            turn.writes
                .push(progress::running(cause.tenant, &task, read, cause.version));
            return;
        }
        let end = diagnostic(&task.command).and_then(|diagnostic| {
            let object = diagnostics::object(diagnostic, &running.root)?;
            diagnostics::concluded(diagnostic, &object, &read)
        });
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

/// The diagnostic that an operation asks for.
fn diagnostic(command: &Command) -> Option<&Diagnostic> {
    match tasks::action(command) {
        Some(Action::Diagnostic(diagnostic)) => Some(diagnostic),
        _ => None,
    }
}
