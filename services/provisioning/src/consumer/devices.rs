//! Informs, and the way of a device to its settings.

use super::{Provisioning, SERVICE, Turn, is_busy};
use crate::{
    operations::has,
    plan::{self, Progress, Step},
    profiles::Profiles,
    quiet::{Quiet, QuietDevices},
    settings::{Setting, Settings},
    sighting,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use platen_bus::{
    Failure,
    derived::{self, Cause},
};
use platen_cwmp::event_code::EventCode;
use platen_fleet::{device, expression::ResourceView};
use platen_proto::{
    device::v1::{CwmpFault, Parameter, parameter::State},
    event::v1::Inform,
    operation::v1::{
        OperationRequest, ParameterValue, SetParameterValues, operation_request::Action,
    },
    report::v1::{CommandDone, Report, command_done::Outcome},
    store::v1::{Command, Desired},
};
use platen_store::{
    commands,
    table::Range,
    tables::{ObservedDevices, Parameters, Registrations},
};
use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};
use tracing::{debug, warn};

/// Commands of a plan go before operations that have no priority of their own, and after those that have: a device is configured before it is rebooted.
const PRIORITY: i32 = 1;

/// How long a command of a plan is good for; whoever comes later gets a new one.
const LIFE_US: i64 = 7 * 86_400_000_000;

/// Most commands of a plan in one session; what is left follows in the next.
const MAX_ROUNDS: u32 = 64;

/// Sessions in a row in which a command of a plan may stay unanswered; then it counts as refused, lest it is what ends the sessions.
const MAX_UNANSWERED: u32 = 5;

/// Most settings of one device.
const MAX_SETTINGS: usize = 2_000;

impl Provisioning {
    pub(super) async fn inform(
        &self,
        cause: &Cause<'_>,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let profiles = self.profiles.of(cause.tenant).await?;
        let first = report.part == 0;
        let bootstrap = first && has(inform, &EventCode::Bootstrap);
        let key = QuietDevices::key(cause.tenant, cause.device);
        let inputs = inputs(&profiles, report, inform);
        if !bootstrap
            && let Some(quiet) = self.quiet.get(&key)
            && (quiet.profiles, quiet.inputs) == (profiles.generation(), inputs)
            && cause.now_us < quiet.until_us
        {
            return Ok(());
        }
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        let mut known = Known::No;
        if first {
            turn.row.waking.clear();
            turn.row.wake_attempt = 0;
            if !turn.row.waiting_diagnostics.is_empty()
                && let Some(root) = inform
                    .parameters
                    .iter()
                    .find_map(|parameter| sighting::root(&parameter.path))
            {
                root.clone_into(&mut turn.row.root);
            }
            self.read_back(&mut turn, report, inform).await?;
            self.read_diagnostic(&mut turn, report, inform).await?;
            match self
                .select(&mut turn, report, inform, &profiles, bootstrap)
                .await?
            {
                Some(found) => known = found,
                // Retired meanwhile: the next session is refused.
                None => return self.commit(turn).await,
            }
        }
        let settings = self.settings(cause, &profiles, &turn.row);
        let mut progress = Progress::of(&turn.row);
        if bootstrap {
            progress.forget();
            turn.row.applied.clear();
        }
        if first && has(inform, &EventCode::Boot) {
            progress.booted();
        }
        if settings.len() > 0
            && let Some(version) = sighting::below_root(inform, "DeviceInfo.SoftwareVersion")
            && turn.row.software_version != version
        {
            progress.forget_refusals();
            version.clone_into(&mut turn.row.software_version);
        }
        self.reported(cause, report, &settings, &mut progress, &inform.parameters);
        if first && !turn.row.command.is_empty() && turn.row.session != report.session {
            turn.row.unanswered += 1;
            if turn.row.unanswered >= MAX_UNANSWERED && !bootstrap {
                let fault = no_answer(format!("no answer in {MAX_UNANSWERED} sessions"));
                progress.refused(&settings, &fault, &report.session, cause.now_us);
                withdraw(&mut turn);
            }
        }
        if report.last {
            self.converge(
                &mut turn,
                report,
                &settings,
                &mut progress,
                &inform.parameters,
                known,
            )
            .await?;
        }
        let until_us = progress.due_us();
        progress.store(&settings, cause.now_us, &mut turn.row);
        let is_busy = is_busy(&turn.row);
        self.commit(turn).await?;
        if report.last && !is_busy {
            self.quiet.insert(
                key,
                Quiet {
                    profiles: profiles.generation(),
                    inputs,
                    until_us,
                },
            );
        }
        Ok(())
    }

    /// The answer to a command of a plan.
    pub(super) async fn plan_answered(
        &self,
        cause: &Cause<'_>,
        report: &Report,
        done: &CommandDone,
    ) -> Result<(), Failure> {
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        if turn.row.command != done.command {
            // Overtaken by a newer one, which brings all that is still wanted.
            return Ok(());
        }
        if done.unanswered {
            // It stays in the queue: the next session sends it again, and too many such sessions end that.
            return Ok(());
        }
        let profiles = self.profiles.of(cause.tenant).await?;
        let settings = self.settings(cause, &profiles, &turn.row);
        let mut progress = Progress::of(&turn.row);
        match &done.outcome {
            Some(Outcome::Result(result)) => progress.accepted(result.status == Some(1)),
            Some(Outcome::Fault(fault)) => {
                debug!(
                    device = cause.device,
                    code = fault.code,
                    "settings were refused"
                );
                self.counters.refused.add(1, &[]);
                progress.refused(&settings, fault, &report.session, cause.now_us);
            }
            other => {
                let why = match other {
                    Some(Outcome::Failed(why)) => why.clone(),
                    _ => "the answer carried neither result nor fault".to_owned(),
                };
                self.counters.refused.add(1, &[]);
                progress.refused(&settings, &no_answer(why), &report.session, cause.now_us);
            }
        }
        withdraw(&mut turn);
        self.converge(&mut turn, report, &settings, &mut progress, &[], Known::No)
            .await?;
        progress.store(&settings, cause.now_us, &mut turn.row);
        self.commit(turn).await
    }

    /// Values that a device gave or took in answer to something else may contradict its settings: then they are corrected in the same session.
    pub(super) async fn values_seen(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        values: &[ParameterValue],
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let profiles = self.profiles.of(cause.tenant).await?;
        if !values.iter().any(|value| profiles.sets(&value.path)) {
            return Ok(());
        }
        let settings = self.settings(&cause, &profiles, &turn.row);
        let mut progress = Progress::of(&turn.row);
        if self.reported(&cause, report, &settings, &mut progress, values) {
            self.converge(turn, report, &settings, &mut progress, values, Known::No)
                .await?;
        }
        progress.store(&settings, cause.now_us, &mut turn.row);
        Ok(())
    }

    fn reported(
        &self,
        cause: &Cause<'_>,
        report: &Report,
        settings: &Settings,
        progress: &mut Progress,
        values: &[ParameterValue],
    ) -> bool {
        let mut news = false;
        for value in values {
            let had = settings
                .get(&value.path)
                .is_some_and(|setting| progress.has(setting));
            if progress.reported(
                settings,
                &value.path,
                &value.r#type,
                &value.value,
                &report.session,
                cause.now_us,
            ) {
                news = true;
                if had {
                    debug!(
                        device = cause.device,
                        path = value.path,
                        "a setting is contradicted"
                    );
                    self.counters.contradicted.add(1, &[]);
                }
            }
        }
        news
    }

    /// Says in the row which profiles select the device, as far as this Inform and what is stored tell. `None`: the device is retired.
    async fn select(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        inform: &Inform,
        profiles: &Profiles,
        bootstrap: bool,
    ) -> Result<Option<Known>, Failure> {
        let (cause, row) = (turn.cause, &mut turn.row);
        if profiles.is_empty() && !bootstrap && !row.connection_request {
            row.profiles.clear();
            return Ok(Some(Known::No));
        }
        let at = (cause.tenant, cause.device);
        let registration = self
            .store
            .get_edited::<Registrations>(at)
            .await?
            .map(device::registration);
        if registration
            .as_ref()
            .is_some_and(|registration| registration.retired)
        {
            return Ok(None);
        }
        if registration
            .as_ref()
            .is_some_and(|registration| !registration.connection_request_username.is_empty())
        {
            row.connection_request = false;
        } else if bootstrap {
            let has_url =
                sighting::below_root(inform, "ManagementServer.ConnectionRequestURL").is_some();
            row.connection_request = report.via.is_empty() || has_url;
        }
        if row.connection_request
            && let Some(root) = inform
                .parameters
                .iter()
                .find_map(|parameter| sighting::root(&parameter.path))
        {
            root.clone_into(&mut row.root);
        }
        if profiles.is_empty() {
            row.profiles.clear();
            return Ok(Some(Known::No));
        }
        let stored = self.store.get::<ObservedDevices>(at).await?;
        let current = !bootstrap
            && stored
                .as_ref()
                .is_some_and(|observed| observed.position >= cause.version);
        let observed = sighting::observed(stored, report, inform);
        let device = device::resource(registration.as_ref(), Some(&observed), cause.now_us);
        let parameters = if profiles.reads_parameters() {
            self.parameters(&cause).await?
        } else {
            HashMap::new()
        };
        let known = |path: &str| {
            let reported = inform
                .parameters
                .iter()
                .find(|parameter| parameter.path == path)
                .map(|parameter| parameter.value.as_str());
            reported.or_else(|| {
                parameters
                    .get(path)
                    .filter(|parameter| parameter.state() == State::Known)
                    .map(|parameter| parameter.value.as_str())
            })
        };
        row.profiles = profiles.selecting(&ResourceView::new(&device, &known));
        Ok(Some(if current { Known::Current } else { Known::No }))
    }

    /// The settings of the profiles that the row names, behind Platen's own.
    fn settings(&self, cause: &Cause<'_>, profiles: &Profiles, row: &Desired) -> Settings {
        let settings = profiles.settings(&row.profiles, self.own_settings(cause, row));
        if settings.len() <= MAX_SETTINGS {
            return settings;
        }
        warn!(
            tenant = cause.tenant,
            device = cause.device,
            settings = settings.len(),
            MAX_SETTINGS,
            "a device is selected by more settings than Platen keeps for one: none is sent"
        );
        Settings::default()
    }

    /// What lets Platen ask for a session, where nobody else has said with what: a user name and a password that both sides know without storing it.
    fn own_settings(&self, cause: &Cause<'_>, row: &Desired) -> Vec<Setting> {
        if !row.connection_request || row.root.is_empty() {
            return Vec::new();
        }
        let secret = self.keys.derive(&[
            b"connection-request",
            cause.tenant.as_bytes(),
            cause.device.as_bytes(),
        ]);
        let path = |name: &str| format!("{}ManagementServer.{name}", row.root);
        vec![
            Setting::new(
                &path("ConnectionRequestUsername"),
                cause.device,
                "xsd:string",
            ),
            Setting::new(
                &path("ConnectionRequestPassword"),
                &URL_SAFE_NO_PAD.encode(&secret[..18]),
                "xsd:string",
            ),
        ]
    }

    /// Queues the next command of the plan, or withdraws the one in flight if nothing is to be sent. `reported` says types.
    async fn converge(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        settings: &Settings,
        progress: &mut Progress,
        reported: &[ParameterValue],
        known: Known,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let mut parameters = HashMap::new();
        if matches!(
            plan::next(settings, progress, cause.now_us),
            Step::Set { .. }
        ) {
            parameters = self.parameters(&cause).await?;
            if known == Known::Current {
                for setting in settings.iter() {
                    let stored = parameters
                        .get(&setting.path)
                        .filter(|parameter| parameter.state() == State::Known);
                    if let (false, Some(stored)) = (progress.has(setting), stored) {
                        progress.reported(
                            settings,
                            &setting.path,
                            &stored.r#type,
                            &stored.value,
                            &report.session,
                            cause.now_us,
                        );
                    }
                }
            }
        }
        let (batch, more_follows) = match plan::next(settings, progress, cause.now_us) {
            Step::Set {
                settings,
                more_follows,
            } => (settings, more_follows),
            step => {
                if step == Step::Converged {
                    turn.row.applied = settings.digest().into();
                }
                progress.sent([]);
                withdraw(turn);
                return Ok(());
            }
        };
        let wanted: BTreeSet<u64> = batch.iter().map(|setting| setting.id).collect();
        // A command that no session has answered stays, if it is still what is wanted.
        if !turn.row.command.is_empty()
            && *progress.in_flight() == wanted
            && cause.now_us < turn.row.command_time_us + LIFE_US / 2
        {
            return Ok(());
        }
        withdraw(turn);
        if turn.row.session != report.session {
            report.session.clone_into(&mut turn.row.session);
            turn.row.rounds = 0;
        }
        if turn.row.rounds >= MAX_ROUNDS {
            debug!(
                device = cause.device,
                "the plan goes on in the next session"
            );
            progress.sent([]);
            return Ok(());
        }
        let kind = |setting: &Setting| {
            let said = reported
                .iter()
                .find(|value| value.path == setting.path)
                .map(|value| value.r#type.as_str());
            let stored = || {
                parameters
                    .get(&setting.path)
                    .map(|parameter| parameter.r#type.as_str())
            };
            let kinds = [Some(setting.kind.as_str()), said, stored()];
            kinds
                .into_iter()
                .flatten()
                .find(|kind| !kind.is_empty())
                .unwrap_or("xsd:string")
                .to_owned()
        };
        let values = batch
            .iter()
            .map(|setting| ParameterValue {
                path: setting.path.clone(),
                value: setting.value.clone(),
                r#type: kind(setting),
            })
            .collect();
        let digest = settings.digest();
        let parameter_key = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let set = SetParameterValues {
            values,
            parameter_key,
        };
        let command = Command {
            id: derived::id(&[cause.tenant, cause.device, cause.id, "set"]),
            request: Some(OperationRequest {
                action: Some(Action::SetParameterValues(set)),
                ..OperationRequest::default()
            }),
            expire_time_us: cause.now_us + LIFE_US,
            more_follows,
            ..plan_command(&cause, cause.now_us)
        };
        self.counters.sent.add(batch.len() as u64, &[]);
        turn.writes.push(commands::queue(&command));
        turn.row.command = command.id;
        turn.row.command_time_us = command.create_time_us;
        turn.row.sent = digest.into();
        turn.row.rounds += 1;
        progress.sent(batch);
        Ok(())
    }

    /// What is known of the device's parameters, by path.
    async fn parameters(&self, cause: &Cause<'_>) -> Result<HashMap<String, Parameter>, Failure> {
        let (mut parameters, mut range) = (HashMap::new(), Range::default());
        loop {
            let page = self
                .store
                .scan::<Parameters>((cause.tenant, cause.device, 0), range)
                .await?;
            let chunks = page
                .rows
                .into_iter()
                .flat_map(|(_, chunk)| chunk.parameters);
            parameters.extend(chunks.map(|parameter| (parameter.path.clone(), parameter)));
            match page.next {
                Some(cursor) => {
                    range = Range {
                        cursor: Some(cursor),
                        ..Range::default()
                    }
                }
                None => return Ok(parameters),
            }
        }
    }
}

/// Whether what is stored of a device's parameters is from no earlier than the Inform at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It is: a stored value that equals a setting need not be sent.
    Current,
    /// It may be older: it says types at most.
    No,
}

/// What is held back for other reasons than a fault of the device has a fault of this kind.
fn no_answer(why: String) -> CwmpFault {
    CwmpFault {
        code: 0,
        string: why,
        parameter_faults: Vec::new(),
    }
}

/// The command that is in flight leaves the queue.
fn withdraw(turn: &mut Turn<'_>) {
    let row = &mut turn.row;
    if row.command.is_empty() {
        return;
    }
    let command = Command {
        id: std::mem::take(&mut row.command),
        ..plan_command(&turn.cause, row.command_time_us)
    };
    turn.writes.push(commands::leave(&command));
    row.command_time_us = 0;
    row.unanswered = 0;
    row.sent.clear();
}

/// What all commands of plans have in common; with the id, their place in the queue.
fn plan_command(cause: &Cause<'_>, create_time_us: i64) -> Command {
    Command {
        tenant: cause.tenant.to_owned(),
        device: cause.device.to_owned(),
        owner: SERVICE.to_owned(),
        priority: PRIORITY,
        create_time_us,
        ..Command::default()
    }
}

/// Hash of what the device reports that may change what it shall have, or whether it has it.
fn inputs(profiles: &Profiles, report: &Report, inform: &Inform) -> u64 {
    let mut hash = DefaultHasher::new();
    report.part.hash(&mut hash);
    if !profiles.is_empty() {
        report.via.hash(&mut hash);
        for parameter in &inform.parameters {
            if profiles.concern(&parameter.path) || sighting::describes_device(&parameter.path) {
                (&parameter.path, &parameter.value).hash(&mut hash);
            }
        }
    }
    hash.finish()
}
