//! `platen.operation.v1.OperationService`: queues what a device shall do, and shows what became of it.

use crate::{
    action,
    api::{Api, Subject},
    caller::Caller,
    devices::{check_request_id, reused},
    names,
    outcomes::{News, is_end},
    page, parameters,
    refusal::Refusal,
    registration, time,
};
use futures::{StreamExt, TryStreamExt, stream};
use platen_fleet::{
    device::{self, timestamp},
    operation::{OWN_FILES, without_secrets},
};
use platen_ids::{CommandId, DeviceId, TenantId};
use platen_proto::{
    device::v1::device::State as DeviceState,
    firmware::v1::artifact,
    operation::v1::{
        CancelOperationRequest, CreateOperationRequest, GetOperationRequest, ListOperationsRequest,
        ListOperationsResponse, Operation, OperationRequest, operation::State,
        operation_request::Action, operation_service_server::OperationService,
    },
    report::v1::FileGrant,
    store::v1::{Claim, Command, Progress, RequestRow, claim::By},
};
use platen_store::{
    commands,
    table::{Part, Range, Write},
    tables::{
        Artifacts, DeviceOperations, OpenTransfers, Operations, ProgressOfOperations, Requests,
    },
    timers,
};
use prost::Message;
use sha2::Digest;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tonic::{Request, Response, Status};

/// When an operation that no session has taken ends, unless it says otherwise.
const DEFAULT_EXPIRY_US: i64 = 7 * DAY_US;

/// Queue rows live for 60 days, and so may operations.
const LATEST_EXPIRY_US: i64 = 60 * DAY_US;

/// How long after an operation's expiry a device may still bring the file that it was asked for in time.
const UPLOAD_GRACE_US: i64 = DAY_US;

const DAY_US: i64 = 86_400_000_000;

/// Longest wait of one call.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Operations of a page that are read at a time.
const READS: usize = 16;

/// Operations on one device.
#[derive(Debug, Clone)]
pub(crate) struct OperationApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl OperationService for OperationApi {
    async fn create_operation(
        &self,
        request: Request<CreateOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let caller = Caller::of(&request)?;
        let CreateOperationRequest { parent, operation } = request.into_inner();
        let (tenant, device) = names::device(&parent)?;
        caller.enters(&tenant, &parent)?;
        Ok(Response::new(
            self.create(&caller, &tenant, &device, operation.unwrap_or_default())
                .await?,
        ))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let caller = Caller::of(&request)?;
        let GetOperationRequest { name, wait } = request.into_inner();
        let (tenant, id) = names::operation(&name)?;
        caller.enters(&tenant, &name)?;
        let wait = wait
            .map_or(Duration::ZERO, |wait| time::span(&wait))
            .min(LONGEST_WAIT);
        Ok(Response::new(self.wait(&tenant, &id, wait).await?))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let (tenant, device) = names::device(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        self.state_of(&tenant, &device).await?;
        Ok(Response::new(self.list(&tenant, &device, &asked).await?))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = names::operation(&name)?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(self.cancel(&caller, &tenant, &id).await?))
    }
}

impl OperationApi {
    async fn create(
        &self,
        caller: &Caller,
        tenant: &TenantId,
        device: &DeviceId,
        mut request: OperationRequest,
    ) -> Result<Operation, Refusal> {
        if self.state_of(tenant, device).await? == DeviceState::Retired {
            let message = format!(
                "{} is retired",
                names::of(tenant, "devices", device.as_str())
            );
            return Err(Refusal::Precondition {
                code: "DEVICE_RETIRED",
                message,
            });
        }
        let now_us = Api::now_us();
        action::check(&request, now_us, now_us + LATEST_EXPIRY_US)?;
        check_request_id(&request.request_id, "operation.requestId")?;
        let id = self.id_of(tenant, device, &request).await?;
        if let Some(command) = self
            .0
            .store
            .get::<Operations>((tenant.as_str(), id.as_str()))
            .await?
        {
            return self.shown(tenant, command).await;
        }
        let create_time_us = created_us(&id);
        let expire_time_us = request
            .expire_time
            .as_ref()
            .map_or(create_time_us + DEFAULT_EXPIRY_US, time::micros);
        let carrier = self
            .complete(tenant, device, &id, expire_time_us, &mut request)
            .await?;
        let command = Command {
            id: id.to_string(),
            tenant: tenant.to_string(),
            device: device.to_string(),
            owner: carrier.owner().to_owned(),
            operation: id.to_string(),
            once: true,
            priority: request.priority,
            create_time_us,
            expire_time_us,
            created_by: caller.user.clone(),
            wake: request.wake.unwrap_or(true),
            more_follows: false,
            context: String::new(),
            request: Some(request),
        };
        self.store(tenant, &command, carrier).await?;
        Ok(resource(command, None, None))
    }

    /// Writes an operation: its timers, then its rows, then the notice. The same operation again changes nothing.
    async fn store(
        &self,
        tenant: &TenantId,
        command: &Command,
        carrier: Carrier,
    ) -> Result<(), Refusal> {
        let subject = Subject::Device {
            device: &command.device,
            id: &command.id,
        };
        let owner = command.owner.as_str();
        let expiry = timers::arm(
            owner,
            tenant.as_str(),
            &command.device,
            command.expire_time_us,
            "OPERATION_EXPIRED",
            &command.id,
        );
        let owners = [owner];
        let announced = self
            .0
            .announce(&owners, tenant, subject, "OPERATION_CREATED");
        let expires = async { Ok(self.0.store.write(vec![expiry]).await?) };
        futures::try_join!(announced, expires)?;
        let mut writes: Vec<Write> = commands::record_operation(command);
        if carrier == Carrier::Queue {
            writes.push(commands::enqueue(
                command,
                command.create_time_us.unsigned_abs(),
            ));
        }
        self.0.store.write(writes).await?;
        self.0.notify(tenant, subject, "OPERATION_CREATED").await;
        Ok(())
    }

    /// The id of a new operation, or that of the one that the same request id made.
    async fn id_of(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        request: &OperationRequest,
    ) -> Result<CommandId, Refusal> {
        let fresh = ulid::Ulid::generate().to_string();
        let id =
            |text: &str| CommandId::new(text).map_err(|error| Refusal::Internal(error.to_string()));
        if request.request_id.is_empty() {
            return id(&fresh);
        }
        // The row says what was asked, not only of whom: another request under the same id is a mistake of the caller.
        let asked = format!(
            "{device}/{}",
            crate::hex(&sha2::Sha256::digest(
                OperationRequest {
                    expire_time: None,
                    ..request.clone()
                }
                .encode_to_vec()
            ))
        );
        let row = RequestRow {
            name: format!("{}#{asked}", names::of(tenant, "operations", &fresh)),
        };
        let key = format!("operation/{}", request.request_id);
        let Some(found) = self
            .0
            .store
            .insert::<Requests>((tenant.as_str(), &key), &row)
            .await?
        else {
            return id(&fresh);
        };
        let (name, before) = found.name.split_once('#').unwrap_or((&found.name, ""));
        if before == asked {
            id(name.rsplit('/').next().unwrap_or_default())
        } else {
            Err(reused(name))
        }
    }

    /// Fills in what is Platen's: command keys, the place of an upload, the types that the device has reported, the artifact's id. Returns
    /// who carries the operation from here.
    async fn complete(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        id: &CommandId,
        expire_time_us: i64,
        request: &mut OperationRequest,
    ) -> Result<Carrier, Refusal> {
        let key = id.to_string();
        match &mut request.action {
            Some(Action::Download(download)) => {
                download.command_key = key;
                if !download.artifact.is_empty() {
                    download.artifact = self
                        .artifact(tenant, &download.artifact, "operation.download.artifact")
                        .await?;
                    return Ok(Carrier::Firmware);
                }
            }
            Some(Action::Upload(upload)) => {
                upload.command_key = key;
                if upload.url.is_empty() {
                    let grant = FileGrant {
                        tenant: tenant.to_string(),
                        object: format!("uploads/{id}"),
                        write: true,
                        expires_us: expire_time_us
                            + UPLOAD_GRACE_US
                            + i64::from(upload.delay_seconds) * 1_000_000,
                        attempt: id.to_string(),
                    };
                    upload.url = format!(
                        "{OWN_FILES}{tenant}/{}/upload",
                        self.0.keys.sign("file", &grant.encode_to_vec())
                    );
                }
            }
            Some(Action::ScheduleDownload(schedule)) => {
                schedule.command_key = key;
                if !schedule.artifact.is_empty() {
                    let field = "operation.scheduleDownload.artifact";
                    schedule.artifact = self.artifact(tenant, &schedule.artifact, field).await?;
                    return Ok(Carrier::Firmware);
                }
            }
            Some(Action::Diagnostic(_)) => return Ok(Carrier::Provisioning),
            Some(Action::ScheduleInform(schedule)) => schedule.command_key = key,
            Some(Action::Reboot(reboot)) => reboot.command_key = key,
            Some(Action::ChangeDuState(change)) => change.command_key = key,
            Some(Action::CancelTransfer(cancel)) => {
                cancel.command_key = self.transfer_key(tenant, device, &cancel.operation).await?
            }
            Some(Action::SetParameterValues(set))
                if set.values.iter().any(|value| value.r#type.is_empty()) =>
            {
                let known = parameters::known(&self.0.store, tenant, device, "").await?;
                let types: HashMap<&str, &str> = known
                    .iter()
                    .map(|known| (known.path.as_str(), known.r#type.as_str()))
                    .collect();
                for value in set
                    .values
                    .iter_mut()
                    .filter(|value| value.r#type.is_empty())
                {
                    value.r#type = types
                        .get(value.path.as_str())
                        .copied()
                        .unwrap_or_default()
                        .to_owned();
                }
            }
            _ => {}
        }
        Ok(Carrier::Queue)
    }

    /// The id of an artifact that has its bytes, given by id or name in that field.
    async fn artifact(
        &self,
        tenant: &TenantId,
        given: &str,
        field: &str,
    ) -> Result<String, Refusal> {
        let refuse = |why: &str| Refusal::field(field, why);
        let id = given
            .strip_prefix(&format!("tenants/{tenant}/artifacts/"))
            .unwrap_or(given);
        if !names::is_label(id) {
            return Err(refuse("does not exist"));
        }
        let row = self
            .0
            .store
            .get_edited::<Artifacts>((tenant.as_str(), id))
            .await?
            .ok_or_else(|| refuse("does not exist"))?;
        match row.value.artifact.map(|artifact| artifact.state()) {
            Some(artifact::State::Ready) => Ok(id.to_owned()),
            _ => Err(Refusal::Precondition {
                code: "ARTIFACT_EMPTY",
                message: format!("the artifact {id} has no bytes yet"),
            }),
        }
    }

    /// The command key under which the device knows the transfer of an operation.
    async fn transfer_key(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        name: &str,
    ) -> Result<String, Refusal> {
        let refuse = |why: &str| Refusal::field("operation.cancelTransfer.operation", why);
        let id = name
            .strip_prefix(&format!("tenants/{tenant}/operations/"))
            .unwrap_or(name);
        let id = CommandId::new(id).map_err(|_| refuse("does not exist"))?;
        let command = self
            .0
            .store
            .get::<Operations>((tenant.as_str(), id.as_str()))
            .await?;
        let command = command
            .filter(|command| command.device == device.as_str())
            .ok_or_else(|| refuse("is no operation of this device"))?;
        match command.request.and_then(|request| request.action) {
            Some(Action::Download(_) | Action::Upload(_) | Action::ScheduleDownload(_)) => {}
            _ => return Err(refuse("is no transfer")),
        }
        // A download of an artifact has a key per attempt.
        let open = self
            .0
            .store
            .get::<OpenTransfers>((tenant.as_str(), device.as_str()))
            .await?
            .unwrap_or_default()
            .open;
        Ok(open
            .into_iter()
            .find(|attempt| attempt.operation == id.as_str())
            .map_or_else(|| id.to_string(), |attempt| attempt.id))
    }

    /// The state of a device, which must exist.
    async fn state_of(&self, tenant: &TenantId, id: &DeviceId) -> Result<DeviceState, Refusal> {
        let (registration, observed) = registration::read(&self.0.store, tenant, id).await?;
        if registration.is_none() && observed.is_none() {
            return Err(Refusal::NotFound(names::of(tenant, "devices", id.as_str())));
        }
        Ok(device::state(
            registration.as_ref().map(|row| &row.value),
            observed.as_ref(),
        ))
    }

    async fn get(&self, tenant: &TenantId, id: &CommandId) -> Result<Operation, Refusal> {
        let command = self.command(tenant, id).await?;
        self.shown(tenant, command).await
    }

    async fn command(&self, tenant: &TenantId, id: &CommandId) -> Result<Command, Refusal> {
        let command = self
            .0
            .store
            .get::<Operations>((tenant.as_str(), id.as_str()))
            .await?;
        command.ok_or_else(|| Refusal::NotFound(names::of(tenant, "operations", id.as_str())))
    }

    /// A command with what became of it.
    async fn shown(&self, tenant: &TenantId, command: Command) -> Result<Operation, Refusal> {
        let progress = self
            .0
            .store
            .get::<ProgressOfOperations>((tenant.as_str(), &command.id));
        let claim = self.0.store.claim_of(tenant.as_str(), &command.id);
        let (progress, claim) = futures::try_join!(progress, claim)?;
        Ok(resource(command, progress, claim))
    }

    async fn wait(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        patience: Duration,
    ) -> Result<Operation, Refusal> {
        let mut news = self.0.outcomes.subscribe();
        let deadline = Instant::now() + patience;
        let mut operation = self.get(tenant, id).await?;
        while !is_end(operation.state()) {
            let heard = tokio::select! {
                () = self.0.shutdown.cancelled() => return Ok(operation),
                () = tokio::time::sleep_until(deadline) => return self.get(tenant, id).await,
                heard = news.recv() => heard,
            };
            match heard {
                Ok(News::Ended(ended)) if ended.name == operation.name => {
                    operation = self.get(tenant, id).await?;
                    // The log may be ahead of what this process can read; the event says it as well.
                    if !is_end(operation.state()) && is_end(ended.state()) {
                        let ended = (*ended).clone();
                        return Ok(Operation {
                            request: ended.request.map(without_secrets),
                            ..ended
                        });
                    }
                }
                Ok(News::Ended(_)) => {}
                Ok(News::Look) | Err(RecvError::Lagged(_)) => {
                    operation = self.get(tenant, id).await?
                }
                Err(RecvError::Closed) => return Ok(operation),
            }
        }
        Ok(operation)
    }

    async fn list(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        asked: &ListOperationsRequest,
    ) -> Result<ListOperationsResponse, Refusal> {
        let query = ["operations", asked.parent.as_str()];
        let after: Option<(u64, String)> = page::position(&query, &asked.page_token)?;
        let size = page::size(asked.page_size, 50, 500)?;
        let mut range = Range {
            below: after
                .as_ref()
                .map(|(created, _)| Part::Number(created.saturating_add(1))),
            descending: true,
            limit: READS,
            ..Range::default()
        };
        let mut operations: Vec<Operation> = Vec::new();
        let mut bytes = 0;
        loop {
            let key = (tenant.as_str(), device.as_str(), 0, "");
            let page = self
                .0
                .store
                .scan::<DeviceOperations>(key, range.clone())
                .await?;
            let commands = page.rows.into_iter().map(|(_, command)| command);
            // Of those that were made in the same moment, some were on the page before.
            let commands = commands.filter(|command| {
                after
                    .as_ref()
                    .is_none_or(|after| place_of(command) < *after)
            });
            let commands: Vec<Command> = commands.collect();
            let mut left = commands.len();
            let mut shown = stream::iter(commands)
                .map(|command| async move {
                    let place = place_of(&command);
                    Ok::<_, Refusal>((place, self.shown(tenant, command).await?))
                })
                .buffered(READS);
            while let Some((place, operation)) = shown.try_next().await? {
                left -= 1;
                bytes += operation.encoded_len();
                operations.push(operation);
                let is_last = left == 0 && page.next.is_none();
                if !is_last && (operations.len() == size || bytes > page::MAX_BYTES) {
                    let next_page_token = page::token(&query, &place)?;
                    return Ok(ListOperationsResponse {
                        operations,
                        next_page_token,
                    });
                }
            }
            drop(shown);
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok(ListOperationsResponse {
                    operations,
                    next_page_token: String::new(),
                });
            }
        }
    }

    async fn cancel(
        &self,
        caller: &Caller,
        tenant: &TenantId,
        id: &CommandId,
    ) -> Result<Operation, Refusal> {
        let command = self.command(tenant, id).await?;
        let taken = |state: State| Refusal::Precondition {
            code: "OPERATION_TAKEN",
            message: format!(
                "the operation is {}: only one that no session has taken can be cancelled",
                state.as_str_name()
            ),
        };
        let operation = self.shown(tenant, command.clone()).await?;
        match operation.state() {
            State::Queued | State::Waking => {}
            State::Cancelled => return Ok(operation),
            state => return Err(taken(state)),
        }
        let subject = Subject::Device {
            device: &command.device,
            id: &command.id,
        };
        self.0
            .announce(&[&command.owner], tenant, subject, "OPERATION_CANCELLED")
            .await?;
        let claim = Claim {
            by: By::Cancellation.into(),
            holder: caller.user.clone(),
            time_us: Api::now_us(),
        };
        if let Some(found) = self
            .0
            .store
            .claim(tenant.as_str(), id.as_str(), &claim)
            .await?
            && found.by() != By::Cancellation
        {
            return Err(taken(self.shown(tenant, command).await?.state()));
        }
        self.0.notify(tenant, subject, "OPERATION_CANCELLED").await;
        self.shown(tenant, command).await
    }
}

/// Who brings an operation to its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// A session takes it from the queue as it is; provisioning acts on the answer.
    Queue,
    /// Provisioning makes its commands: it takes several.
    Provisioning,
    /// The firmware service makes its commands: an artifact has to fit first.
    Firmware,
}

impl Carrier {
    /// The service that acts on what becomes of the operation.
    const fn owner(self) -> &'static str {
        match self {
            Self::Queue | Self::Provisioning => "provisioning",
            Self::Firmware => "firmware",
        }
    }
}

/// Where an operation stands in the list of its device.
fn place_of(command: &Command) -> (u64, String) {
    (
        command.create_time_us.max(0).unsigned_abs(),
        command.id.clone(),
    )
}

/// When an operation was made, µs since 1970: its id tells, so that the same request again writes the same rows.
fn created_us(id: &CommandId) -> i64 {
    let milliseconds = ulid::Ulid::from_string(id.as_str()).map_or(0, |id| id.timestamp_ms());
    i64::try_from(milliseconds)
        .unwrap_or_default()
        .saturating_mul(1_000)
}

/// The resource: what was asked, without secrets, and what became of it.
fn resource(command: Command, progress: Option<Progress>, claim: Option<Claim>) -> Operation {
    let state = state(progress.as_ref(), claim.as_ref());
    let claimed_us = claim.as_ref().map_or(0, |claim| claim.time_us);
    let progress = progress.unwrap_or_default();
    let (start_us, end_us) = match state {
        State::Running => (progress.start_time_us.max(claimed_us), 0),
        state if is_end(state) && !is_end(progress.state()) => (0, claimed_us),
        _ => (progress.start_time_us, progress.end_time_us),
    };
    Operation {
        name: format!("tenants/{}/operations/{}", command.tenant, command.id),
        device: device::name(&command.tenant, &command.device),
        state: state.into(),
        attempts: progress.attempts.max(i32::from(state == State::Running)),
        created_by: command.created_by,
        create_time: timestamp(command.create_time_us),
        start_time: timestamp(start_us),
        end_time: timestamp(end_us),
        request: command.request.map(without_secrets),
        result: progress.result,
        error: progress.error,
    }
}

/// The state that follows from what the owner has written and from who has the command. The owner's word of an end is the last one; before
/// it, a claim tells more than the owner has got round to.
fn state(progress: Option<&Progress>, claim: Option<&Claim>) -> State {
    let written = progress.map_or(State::Unspecified, Progress::state);
    if is_end(written) {
        return written;
    }
    match claim.map(Claim::by) {
        Some(By::Cancellation | By::Bootstrap) => State::Cancelled,
        Some(By::Expiry) => State::Expired,
        Some(By::Session | By::Unspecified) => State::Running,
        None if written == State::Unspecified => State::Queued,
        None => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_from_progress_and_claim() {
        let progress = |state: State| {
            Some(Progress {
                state: state.into(),
                ..Progress::default()
            })
        };
        let claim = |by: By| {
            Some(Claim {
                by: by.into(),
                ..Claim::default()
            })
        };
        for (progress, claim, expected) in [
            (None, None, State::Queued),
            (progress(State::Waking), None, State::Waking),
            (None, claim(By::Session), State::Running),
            (progress(State::Waking), claim(By::Session), State::Running),
            (progress(State::Running), None, State::Running),
            (
                progress(State::Succeeded),
                claim(By::Session),
                State::Succeeded,
            ),
            (None, claim(By::Cancellation), State::Cancelled),
            (progress(State::Waking), claim(By::Expiry), State::Expired),
            (
                progress(State::Failed),
                claim(By::Cancellation),
                State::Failed,
            ),
        ] {
            assert_eq!(
                state(progress.as_ref(), claim.as_ref()),
                expected,
                "{progress:?} {claim:?}"
            );
        }
    }

    #[test]
    fn the_id_tells_when() {
        let id = CommandId::new(ulid::Ulid::from_parts(1_763_866_800_123, 7).to_string()).unwrap();

        assert_eq!(created_us(&id), 1_763_866_800_123_000);
    }
}
