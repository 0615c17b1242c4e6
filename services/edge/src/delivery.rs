//! The server's turn in a session: which command the device gets next.

use crate::{
    answer::Hangup,
    command,
    edge::Edge,
    exchange::{Context, next_report},
    report::Deciding,
    session::{Current, Session},
};
use http::{HeaderMap, header};
use platen_cwmp::{acs::CallError, rpc::AcsRequest};
use platen_fleet::operation;
use platen_proto::{
    operation::v1::{OperationRequest, operation_request::Action},
    report::v1::{CommandDone, command_done::Outcome, report::Body},
    store::v1::{Claim, Command, claim::By},
};

/// Commands that a session remembers as done with. Above, it ends: the next one goes on.
const MOST_DONE: usize = 1_024;

/// What became of a command that was to be sent.
enum Sent {
    /// This goes to the device.
    Yes(Vec<u8>),
    /// It is not for this session; the next one may be.
    Skipped,
    /// Nothing more can be sent in this session.
    Stop,
}

impl Edge {
    /// The envelope of the device's next command; `None`: the session is to end.
    pub(crate) async fn next_command(
        &self,
        context: &Context,
        session: &mut Session,
    ) -> Result<Option<Vec<u8>>, Hangup> {
        if !session.record.quarantine_reason.is_empty() || session.record.restarting {
            return Ok(None);
        }
        let lifetime =
            i64::try_from(self.config.limits.session_duration.as_micros()).unwrap_or(i64::MAX);
        if context.now_us.saturating_sub(session.record.started_us) > lifetime {
            tracing::info!(
                device = session.record.device,
                "the session has lasted long enough"
            );
            return Ok(None);
        }
        self.linger(session).await;
        let queued = match self
            .store
            .queued(&session.record.tenant, &session.record.device)
            .await
        {
            Ok(queued) => queued,
            Err(error) => {
                // The commands stay queued, for the next session.
                tracing::warn!(%error, device = session.record.device, "the queue cannot be read; the session ends");
                return Ok(None);
            }
        };
        for command in queued {
            let is_over =
                command.expire_time_us != 0 && command.expire_time_us <= crate::answer::now_us();
            if is_over || session.record.done.contains(&command.id) {
                continue;
            }
            if session.record.done.len() >= MOST_DONE {
                return Ok(None);
            }
            match self.send(context, session, command).await? {
                Sent::Yes(xml) => return Ok(Some(xml)),
                Sent::Skipped => {}
                Sent::Stop => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Waits for what is being decided about the last report that matters, at most once in vain.
    async fn linger(&self, session: &mut Session) {
        let record = &mut session.record;
        let Some(ordinal) = std::mem::take(&mut record.undecided).checked_sub(1) else {
            return;
        };
        let long = std::mem::take(&mut record.linger_long);
        if record.vain || !self.admission.may_linger(crate::answer::now_us()) {
            self.instruments.linger("skipped");
            return;
        }
        let patience = if long {
            self.config.linger.long
        } else {
            self.config.linger.short
        };
        match self.marks.wait(&record.session, ordinal, patience).await {
            Ok(true) => self.instruments.linger("decided"),
            Ok(false) => {
                record.vain = true;
                self.instruments.linger("vain");
            }
            Err(error) => {
                tracing::debug!(%error, "marks cannot be read");
                record.vain = true;
                self.instruments.linger("failed");
            }
        }
    }

    /// Makes a command the session's, and its envelope.
    async fn send(
        &self,
        context: &Context,
        session: &mut Session,
        command: Command,
    ) -> Result<Sent, Hangup> {
        let base = self.base(context);
        let action = command
            .request
            .as_ref()
            .and_then(|request| request.action.as_ref());
        let rpc = match action {
            Some(action) => command::to_rpc(action, base.as_deref(), session.machine.version()),
            None => Err(command::Inexpressible::Nothing),
        };
        let rpc = match rpc {
            Ok(rpc) => rpc,
            Err(why) => {
                return self
                    .refuse(context, session, command, "", why.to_string())
                    .await;
            }
        };
        // Tried on a copy: the machine must not have called if the command turns out to be somebody else's.
        let mut machine = session.machine.clone();
        let xml = match machine.call(command.id.as_str(), &rpc) {
            Ok(xml) => xml,
            Err(CallError::Limit {
                what: "identical calls",
                ..
            }) => {
                let why = "the same request was sent too often in one session".to_owned();
                return self
                    .refuse(context, session, command, rpc.method(), why)
                    .await;
            }
            Err(CallError::Limit { what, limit }) => {
                tracing::info!(
                    device = session.record.device,
                    what,
                    limit,
                    "the session has reached a limit and ends"
                );
                return Ok(Sent::Stop);
            }
            Err(CallError::NotOurTurn) => {
                tracing::error!(
                    device = session.record.device,
                    "a command was to be sent out of turn"
                );
                return Ok(Sent::Stop);
            }
            Err(error) => {
                return self
                    .refuse(context, session, command, rpc.method(), error.to_string())
                    .await;
            }
        };
        if command.once {
            match self.claim(&session.record.session, &command).await {
                Claimed::Ours => {}
                Claimed::Theirs => {
                    session.record.done.push(command.id);
                    return Ok(Sent::Skipped);
                }
                Claimed::Unknown => return Ok(Sent::Stop),
            }
        }
        session.machine = machine;
        session.record.done.push(command.id.clone());
        session.record.current = Some(Current {
            method: rpc.method().to_owned(),
            request: kept(&rpc, command.request),
            command: command.id,
            owner: command.owner,
            operation: command.operation,
            more_follows: command.more_follows,
        });
        Ok(Sent::Yes(xml))
    }

    /// Makes a command this session's. A claim of this very session that is there already was made before bytes may have left: it is not sent again.
    async fn claim(&self, session: &str, command: &Command) -> Claimed {
        let claim = Claim {
            by: By::Session.into(),
            holder: session.to_owned(),
            time_us: crate::answer::now_us(),
        };
        match self.store.claim(&command.tenant, &command.id, &claim).await {
            Ok(None) => return Claimed::Ours,
            Ok(Some(_)) => return Claimed::Theirs,
            Err(error) => {
                tracing::warn!(%error, command = command.id, "a claim's outcome is unknown; asking")
            }
        }
        // Ours is what this very call has inserted, time and all: a session of which there are two copies (see `sessions`) claims in the name of both.
        match self.store.claim_of(&command.tenant, &command.id).await {
            Ok(Some(found)) if found == claim => Claimed::Ours,
            Ok(Some(_)) => Claimed::Theirs,
            Ok(None) => Claimed::Unknown,
            Err(error) => {
                tracing::warn!(%error, command = command.id, "the claim stays unknown; the session ends");
                Claimed::Unknown
            }
        }
    }

    /// Reports that a command cannot be sent. One that must happen once is claimed first: of two sessions one reports.
    async fn refuse(
        &self,
        context: &Context,
        session: &mut Session,
        command: Command,
        method: &str,
        why: String,
    ) -> Result<Sent, Hangup> {
        if command.once {
            match self.claim(&session.record.session, &command).await {
                Claimed::Ours => {}
                Claimed::Theirs => {
                    session.record.done.push(command.id);
                    return Ok(Sent::Skipped);
                }
                Claimed::Unknown => return Ok(Sent::Stop),
            }
        }
        tracing::info!(
            device = session.record.device,
            command = command.id,
            why,
            "a command cannot be sent"
        );
        self.instruments.rpc("out", "inexpressible");
        let deciding = if command.more_follows {
            Deciding::Short
        } else {
            Deciding::No
        };
        let done = CommandDone {
            method: method.to_owned(),
            outcome: Some(Outcome::Failed(why)),
            unanswered: false,
            request: without_secrets(command.request),
            command: command.id.clone(),
            owner: command.owner,
            operation: command.operation,
        };
        session.record.done.push(command.id);
        let report = next_report(context, session, Body::CommandDone(done), deciding);
        self.publish_or_drop(session, report).await?;
        Ok(Sent::Skipped)
    }

    /// Where this server is, for the device: as configured, or as the device itself named it.
    fn base(&self, context: &Context) -> Option<String> {
        self.config
            .public_url
            .clone()
            .or_else(|| base_of(context.headers(), context.connection.tls))
    }
}

enum Claimed {
    Ours,
    Theirs,
    /// Not to be sent, and perhaps claimed in a moment: to be left alone.
    Unknown,
}

/// What goes with the answer to a command, so that its readers know what was asked. What was in it of secrets stays here.
fn kept(rpc: &AcsRequest, request: Option<OperationRequest>) -> Option<OperationRequest> {
    match rpc {
        // The answer says it all.
        AcsRequest::GetRpcMethods => None,
        _ => without_secrets(request),
    }
}

fn without_secrets(request: Option<OperationRequest>) -> Option<OperationRequest> {
    let mut request = request.map(operation::without_secrets);
    // Nobody reads what is in it, and nobody knows what that is.
    if let Some(Action::Raw(raw)) = request.as_mut().and_then(|request| request.action.as_mut()) {
        raw.arguments_xml.clear();
    }
    request
}

/// Scheme and authority of the request's own URL.
fn base_of(headers: &HeaderMap, tls: bool) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    if host.is_empty() || host.len() > 128 || !host.bytes().all(is_plain) {
        return None;
    }
    Some(format!("{}://{host}", if tls { "https" } else { "http" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_where_the_device_called() {
        for (host, tls, expected) in [
            (
                "acs.example.com:7547",
                false,
                Some("http://acs.example.com:7547"),
            ),
            ("[2001:db8::1]", true, Some("https://[2001:db8::1]")),
            ("evil/@x", false, None),
            ("", false, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(base_of(&headers, tls).as_deref(), expected, "{host}");
        }
        assert_eq!(base_of(&HeaderMap::new(), false), None);
    }
}
