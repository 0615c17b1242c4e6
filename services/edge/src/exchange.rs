//! One POST of a device, from its bytes to the answer.
//!
//! What the device said is on the log before it is answered: the answer is the commit point. A session is taken from the cache, fed, and put back; whoever
//! leaves early leaves it taken, and so ended.

use crate::{
    admission::Shed,
    answer::{self, Answer, Hangup},
    auth::{self, Account, Claim, Proof, Unproven},
    body::{self, BodyError},
    config::{Enrolment, Scheme},
    cookie::{self, Ticket},
    edge::Edge,
    identity::Trust,
    policy::Policy,
    report::{self, Deciding},
    session::{Record, Session},
    sessions::Found,
};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use platen_cwmp::{
    acs::{self, Again, Objection, Post, Said, Step, Turn, ViolationKind},
    fault::{Fault, FaultCode},
    identity::Identity,
    rpc::{CpeRequest, Inform},
    soap::Repair,
};
use platen_ids::DeviceId;
use platen_proto::report::v1::{CommandDone, Report, command_done::Outcome, report::Body};
use platen_runtime::listener::Connection;
use std::{sync::Arc, time::Duration};

/// A POST that finds its session busy waits for so long.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that are kept of a POST that neither belongs to a session nor shows a nonce of ours: a little, or a whole Inform where strangers are welcome.
const STRANGERS: usize = 64 << 10;
const WELCOME_STRANGERS: usize = 1 << 20;

/// The log has so long to take a report.
const PUBLISH: Duration = Duration::from_secs(10);

/// What is remembered of a connection whose device returns no cookies (SES-36).
#[derive(Debug, Clone, Default)]
struct Companion {
    /// A session cookie was seen: whoever is behind this connection knows cookies, or there are several.
    off: bool,
    /// The last session that was opened without a cookie, and by whom.
    session: Option<(Ticket, String)>,
}

/// A POST's surroundings.
pub(crate) struct Context {
    pub(crate) tenant: String,
    pub(crate) policy: Arc<Policy>,
    pub(crate) connection: Connection,
    pub(crate) parts: Parts,
    /// Microseconds since 1970, when the POST was complete.
    pub(crate) now_us: i64,
}

impl Context {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    fn authorization(&self) -> Option<&HeaderValue> {
        self.headers().get(header::AUTHORIZATION)
    }

    fn claim(&self) -> Claim<'_> {
        Claim {
            tenant: &self.tenant,
            authorization: self.authorization(),
            target: self
                .parts
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str),
            peer: self.connection.peer.ip(),
            tls: self.connection.tls,
            now: u64::try_from(self.now_us / 1_000_000).unwrap_or_default(),
        }
    }
}

impl Edge {
    /// Answers a POST of a device of this tenant.
    pub(crate) async fn post(
        &self,
        tenant: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Hangup> {
        let (parts, body) = request.into_parts();
        let Some(connection) = parts.extensions.get::<Connection>().cloned() else {
            return Ok(answer::status(StatusCode::INTERNAL_SERVER_ERROR));
        };
        let cookie = cookie::read(&parts.headers);
        let ticket =
            cookie.or_else(|| companion(&connection, parts.headers.get(header::AUTHORIZATION)));
        if cookie.is_some() {
            connection.remembered(|companion: &mut Companion| {
                *companion = Companion {
                    off: true,
                    session: None,
                }
            });
        }
        // Who may be inside a session is let in; all others can be refused before anything is read.
        if ticket.is_none()
            && let Err(shed) = self.admission.check(answer::now_us())
        {
            return Ok(self.shed(shed));
        }
        let policy = match self.policies.of(tenant).await {
            Ok(Some(policy)) => policy,
            Ok(None) => return Ok(answer::status(StatusCode::NOT_FOUND)),
            Err(error) => {
                tracing::warn!(%error, "tenant cannot be looked up");
                return Ok(self.shed(Shed::Unwell));
            }
        };
        let mut context = Context {
            tenant: tenant.to_owned(),
            policy,
            connection,
            parts,
            now_us: answer::now_us(),
        };
        // What a stranger sends is passed over, not kept: it will be asked who it is anyway.
        let is_small = http_body::Body::size_hint(&body)
            .exact()
            .is_some_and(|bytes| bytes <= STRANGERS as u64);
        let is_credible =
            is_small || ticket.is_some() || self.authenticator.is_credible(context.claim());
        let most = match context.policy.enrolment {
            _ if is_credible => self.config.limits.body_bytes,
            Enrolment::Closed => STRANGERS,
            Enrolment::Quarantine => WELCOME_STRANGERS,
        };
        let bytes = match body::read(body, &context.parts.headers, &self.config.limits, most).await
        {
            Ok(bytes) => bytes,
            Err(BodyError::PassedOver) => {
                self.instruments.authentication(Unproven::Missing.outcome());
                return Ok(self.challenge(&context, false));
            }
            Err(error) => return Ok(refuse_body(error)),
        };
        context.now_us = answer::now_us();
        let Some(ticket) = ticket else {
            return self
                .without_session(&context, bytes, cookie.is_some())
                .await;
        };
        let mut found = self.sessions.take(ticket, BUSY_PATIENCE).await;
        if matches!(found, Found::Gone) {
            for other in cookie::others(context.headers()) {
                match self.sessions.take(other, BUSY_PATIENCE).await {
                    Found::Gone => {}
                    // Another device's, that came through the same client: not this one's, and no attack.
                    Found::Taken(mut session) if is_stranger(&context, &session) => {
                        let idle = self.idle(&session);
                        self.sessions.put_back(&mut session, idle).await;
                    }
                    ours => {
                        found = ours;
                        break;
                    }
                }
            }
        }
        match found {
            Found::Taken(session) => {
                self.within_session(&context, *session, bytes, cookie.is_some())
                    .await
            }
            // What the device answers is not to be refused for good: it may send it again, and then be heard.
            Found::Away if self.is_answer(bytes.clone(), context.headers()).await => {
                Err(Hangup("the session cache is away"))
            }
            Found::Gone | Found::Away => {
                self.without_session(&context, bytes, cookie.is_some())
                    .await
            }
            Found::Busy => Err(Hangup("the session is busy")),
        }
    }

    /// A POST with the cookie of a session that is there, and is ours now.
    async fn within_session(
        &self,
        context: &Context,
        mut session: Session,
        bytes: Bytes,
        has_cookie: bool,
    ) -> Result<Answer, Hangup> {
        // The session stays the owner's: a cookie in the hands of somebody else does it no harm (SES-34).
        if is_stranger(context, &session) {
            self.keep(context, session).await;
            return Ok(self.challenge(context, false));
        }
        let post = match self.read_post(bytes, context.headers()).await {
            Ok(post) => post,
            Err(reason) => {
                tracing::debug!(device = session.record.device, reason, "unreadable POST");
                let why = format!("the device's answer cannot be read: {reason}");
                self.fail_current(context, &mut session, why).await?;
                self.abandon(&session, "unreadable").await;
                return Ok(answer::status(StatusCode::BAD_REQUEST));
            }
        };
        // A new Inform opens a new session, in place of this one (SES-56).
        if let Some(inform) = post.inform()
            && !session.machine.is_repeat(&post)
        {
            // Also if it says nothing that can be read: whoever it is, it does not end the session of the one whose cookie it shows.
            let is_another = Identity::of(&inform.device_id).map_or(true, |identity| {
                identity.to_string() != session.record.device
            });
            if is_another {
                if has_cookie {
                    self.keep(context, session).await;
                } else {
                    // Several devices call through one connection: it says nothing about who is inside a session.
                    context.connection.remembered(|companion: &mut Companion| {
                        *companion = Companion {
                            off: true,
                            session: None,
                        }
                    });
                    let idle = self.idle(&session);
                    self.sessions.put_back(&mut session, idle).await;
                }
                return self.open(context, post, has_cookie).await;
            }
            self.admission.ended(&session.ticket.secret);
            self.instruments.session_finished("replaced");
            let taken = session.ticket;
            let opened = self.open(context, post, has_cookie).await;
            // Where the new session has taken its place, this finds nothing.
            self.sessions.remove(taken).await;
            return opened;
        }
        let step = match session.machine.receive(post) {
            Ok(step) => step,
            Err(violation) => return self.violated(context, session, violation).await,
        };
        let turn = step.turn();
        if let Step::Report(said) = step {
            if self.config.strict && said.repairs.contains(Repair::ResponseId) {
                let why = "the answer has not the ID of its request".to_owned();
                self.fail_current(context, &mut session, why).await?;
                self.abandon(&session, "unreadable").await;
                return Ok(answer::status(StatusCode::BAD_REQUEST));
            }
            for repair in said.repairs.iter() {
                self.instruments.repair(repair.name());
            }
            if let Some((body, deciding)) = self.said(&mut session, said.said) {
                let report = next_report(context, &mut session, body, deciding);
                self.publish_or_drop(&session, report).await?;
            }
        } else if let Step::Repeated(again) = step {
            return self.repeat(context, session, again).await;
        }
        match turn {
            Turn::Reply => match session.machine.reply(acs::Answer::Usual) {
                Ok(xml) => self.go_on(context, session, answer::envelope(xml)).await,
                Err(error) => {
                    tracing::error!(%error, "a device's request could not be answered");
                    self.abandon(&session, "failed").await;
                    Err(Hangup("no answer could be written"))
                }
            },
            Turn::Ours => match self.next_command(context, &mut session).await? {
                Some(xml) => self.go_on(context, session, answer::envelope(xml)).await,
                None => Ok(self.end(session)),
            },
            Turn::NoContent => {
                self.go_on(context, session, answer::status(StatusCode::NO_CONTENT))
                    .await
            }
            // Answered above.
            Turn::Repeat => Err(Hangup("a repetition without an answer")),
        }
    }

    /// A session whose cookie somebody else presented goes on.
    async fn keep(&self, context: &Context, mut session: Session) {
        tracing::warn!(
            tenant = context.tenant,
            device = session.record.device,
            peer = %context.connection.peer,
            "a session's cookie was presented by somebody else"
        );
        self.instruments.authentication("foreign_cookie");
        let idle = self.idle(&session);
        self.sessions.put_back(&mut session, idle).await;
    }

    /// A POST without a session: an Inform opens one; anything else gets what SES-70 says.
    async fn without_session(
        &self,
        context: &Context,
        bytes: Bytes,
        has_cookie: bool,
    ) -> Result<Answer, Hangup> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            // A device that has nothing to say sends neither header (SES-20). libcurl, told to use digest, asks for the challenge
            // with an envelope's headers and no envelope, and takes anything but 401 for the answer to its Inform.
            let headers = context.headers();
            let asks_for_challenge = context.authorization().is_none()
                && (headers.contains_key(header::CONTENT_TYPE)
                    || headers.contains_key("soapaction"));
            return Ok(if asks_for_challenge {
                self.challenge(context, false)
            } else if self.config.strict {
                answer::status(StatusCode::BAD_REQUEST)
            } else {
                answer::status(StatusCode::NO_CONTENT)
            });
        }
        if let Err(shed) = self.admission.check(context.now_us) {
            return Ok(self.shed(shed));
        }
        // Whoever sends an Inform is asked who they are before it is decoded, unless strangers are welcome.
        if context.authorization().is_none()
            && context.policy.enrolment == Enrolment::Closed
            && names_inform(&bytes)
        {
            self.instruments.authentication(Unproven::Missing.outcome());
            return Ok(self.challenge(context, false));
        }
        match self.read_post(bytes, context.headers()).await {
            Ok(post) if post.inform().is_some() => self.open(context, post, has_cookie).await,
            Ok(_) => Ok(answer::status(StatusCode::BAD_REQUEST)),
            Err(reason) => {
                tracing::debug!(tenant = context.tenant, peer = %context.connection.peer, reason, "unreadable POST");
                Ok(answer::status(StatusCode::BAD_REQUEST))
            }
        }
    }

    /// Opens a session with an Inform.
    async fn open(
        &self,
        context: &Context,
        post: Post,
        has_cookie: bool,
    ) -> Result<Answer, Hangup> {
        let _admitted = match self.admission.admit(context.now_us) {
            Ok(admitted) => admitted,
            Err(shed) => return Ok(self.shed(shed)),
        };
        let proof = match self
            .authenticator
            .judge(context.claim(), &context.policy.schemes)
            .await
        {
            Ok(proof) => proof,
            Err(error) => {
                tracing::warn!(%error, "credentials cannot be looked up");
                return Ok(self.shed(Shed::Unwell));
            }
        };
        let Some(inform) = post.inform() else {
            return Ok(answer::status(StatusCode::BAD_REQUEST));
        };
        let named = Identity::of(&inform.device_id).ok().and_then(|identity| {
            DeviceId::new(identity.to_string())
                .ok()
                .map(|id| (identity, id))
        });
        self.instruments.authentication(match &proof {
            Proof::Known(_) => "ok",
            Proof::None(unproven) => unproven.outcome(),
        });
        let account = match proof {
            Proof::Known(account) if account.credential.retired => {
                return Ok(answer::status(StatusCode::FORBIDDEN));
            }
            Proof::Known(account) => Some(account),
            Proof::None(Unproven::Throttled(wait)) => {
                return Ok(answer::unavailable(wait.as_secs().max(1)));
            }
            Proof::None(Unproven::Missing | Unproven::UnknownUser)
                if context.policy.enrolment == Enrolment::Quarantine && named.is_some() =>
            {
                None
            }
            Proof::None(unproven) => {
                return Ok(self.challenge(context, unproven == Unproven::Stale));
            }
        };
        let Some((identity, device)) = named else {
            let why = "DeviceId names no device";
            let fault = Fault::with_text(FaultCode::ACS_INVALID_ARGUMENTS, why);
            return Ok(refuse(post, fault));
        };
        if self.config.strict
            && let Some(fault) = post.objection().and_then(Objection::fault)
        {
            return Ok(refuse(post, fault));
        }
        let trust = match self
            .identities
            .trust(&context.tenant, device.as_str(), account.as_deref())
            .await
        {
            Ok(trust) => trust,
            Err(error) => {
                tracing::warn!(%error, "the device cannot be looked up");
                return Ok(self.shed(Shed::Unwell));
            }
        };
        let (via, quarantine_reason) = match trust {
            Trust::Own => (String::new(), String::new()),
            Trust::Via(proxy) => (proxy, String::new()),
            Trust::Quarantined { via, reason } => (via, reason),
            Trust::Retired => return Ok(answer::status(StatusCode::FORBIDDEN)),
            Trust::Impostor => {
                tracing::warn!(
                    tenant = context.tenant,
                    device = device.as_str(),
                    by = account.as_deref().map(|account| &*account.credential.device),
                    peer = %context.connection.peer,
                    "a device names another registered one in its Inform"
                );
                self.instruments.authentication("impostor");
                return Ok(answer::status(StatusCode::FORBIDDEN));
            }
            Trust::MustAuthenticate => return Ok(self.challenge(context, false)),
        };
        self.begin(
            context,
            post,
            Opening {
                identity,
                device,
                account,
                via,
                quarantine_reason,
                has_cookie,
            },
        )
        .await
    }

    /// Begins the session of a device that may have one.
    async fn begin(
        &self,
        context: &Context,
        post: Post,
        opening: Opening,
    ) -> Result<Answer, Hangup> {
        let id: [u8; 16] = rand::random();
        let id = cookie::hex(&id);
        let limits = acs::Limits {
            requests: self.config.limits.session_requests,
            ..acs::Limits::default()
        };
        let mut machine = acs::Session::new(&id, limits);
        let step = match machine.receive(post) {
            Ok(Step::Report(said)) => said,
            Ok(Step::Nothing | Step::Repeated(_)) | Err(_) => {
                return Ok(answer::status(StatusCode::BAD_REQUEST));
            }
        };
        for repair in step.repairs.iter() {
            self.instruments.repair(repair.name());
        }
        let Said::Inform(inform) = step.said else {
            return Ok(answer::status(StatusCode::BAD_REQUEST));
        };
        let foreign = (!opening.quarantine_reason.is_empty()).then_some(opening.via.as_str());
        let ticket = Ticket {
            device: cookie::device_hash(&context.tenant, opening.device.as_str(), foreign),
            secret: rand::random(),
        };
        let username = opening
            .account
            .as_deref()
            .map_or_else(String::new, |account| account.credential.username.clone());
        let record = Record {
            tenant: context.tenant.clone(),
            device: opening.device.to_string(),
            oui: opening.identity.oui().to_owned(),
            product_class: opening.identity.product_class().to_owned(),
            serial_number: opening.identity.serial_number().to_owned(),
            session: id,
            username: username.clone(),
            via: opening.via,
            quarantine_reason: opening.quarantine_reason,
            tls: context.connection.tls,
            started_us: context.now_us,
            ..Record::default()
        };
        let mut session = Session {
            ticket,
            record,
            machine,
        };
        let deciding = report::deciding(&inform);
        let report = inform_report(context, &mut session, *inform, deciding);
        if let Err(reason) = self.publish(report).await {
            tracing::warn!(reason, "an Inform was not taken");
            return Ok(self.shed(Shed::Unwell));
        }
        let Ok(xml) = session.machine.reply(acs::Answer::Usual) else {
            return Err(Hangup("no InformResponse could be written"));
        };
        let idle = self.idle(&session);
        self.sessions.put(&mut session, idle).await;
        self.note_open(context, ticket, idle).await;
        self.instruments
            .session_started(session.record.quarantine_reason.is_empty());
        self.instruments.rpc("in", "inform");
        if !opening.has_cookie {
            context.connection.remembered(|companion: &mut Companion| {
                if !companion.off {
                    companion.session = Some((ticket, username));
                }
            });
        }
        let mut answer = answer::envelope(xml);
        let cookie = cookie::set_cookie(
            &ticket,
            self.config.cookie_path.as_deref(),
            context.connection.tls,
        );
        answer
            .headers_mut()
            .extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        Ok(answer)
    }

    /// What is reported of what a device said within its session, and how long the session waits for a decision upon it.
    fn said(&self, session: &mut Session, said: Said) -> Option<(Body, Deciding)> {
        let (outcome, counted) = match said {
            // The first message only, which begins a session.
            Said::Inform(inform) => {
                let deciding = report::deciding(&inform);
                return Some((report::inform(*inform), deciding));
            }
            Said::Request(request) => {
                self.instruments.rpc(
                    "in",
                    if matches!(request, CpeRequest::Raw(_)) {
                        "unknown"
                    } else {
                        "request"
                    },
                );
                let deciding = report::deciding_request(&request);
                return Some((report::request(request), deciding));
            }
            Said::StrayFault(fault) => {
                tracing::debug!(device = session.record.device, %fault, "a fault although nothing was asked");
                return None;
            }
            Said::Response { response, .. } => {
                (Outcome::Result(crate::command::to_result(response)), "ok")
            }
            Said::Fault { fault, .. } => {
                (Outcome::Fault(crate::command::from_fault(fault)), "fault")
            }
            Said::NoAnswer { .. } => (
                Outcome::Failed("the device gave no answer".to_owned()),
                "no_answer",
            ),
        };
        self.instruments.rpc("out", counted);
        let unanswered = matches!(outcome, Outcome::Failed(_));
        // What was refused as a whole may be asked for in parts.
        let is_refused = matches!(outcome, Outcome::Fault(_));
        let current = session.record.current.take()?;
        session.record.restarting |= matches!(outcome, Outcome::Result(_))
            && matches!(&*current.method, "Reboot" | "FactoryReset");
        let deciding = if current.more_follows || is_refused {
            Deciding::Short
        } else {
            Deciding::No
        };
        Some((
            Body::CommandDone(CommandDone {
                command: current.command,
                owner: current.owner,
                operation: current.operation,
                method: current.method,
                request: current.request,
                outcome: Some(outcome),
                unanswered,
            }),
            deciding,
        ))
    }

    /// Sends the answer before this one again (SES-60).
    async fn repeat(
        &self,
        context: &Context,
        session: Session,
        again: Again,
    ) -> Result<Answer, Hangup> {
        let answer = match again {
            Again::Envelope(xml) => answer::envelope(xml),
            Again::NoContent => answer::status(StatusCode::NO_CONTENT),
        };
        self.go_on(context, session, answer).await
    }

    /// Puts the session back and answers.
    async fn go_on(
        &self,
        context: &Context,
        mut session: Session,
        answer: Answer,
    ) -> Result<Answer, Hangup> {
        let idle = self.idle(&session);
        if !self.sessions.put_back(&mut session, idle).await {
            self.admission.ended(&session.ticket.secret);
            self.instruments.session_finished("replaced");
            return Err(Hangup("the device has opened another session"));
        }
        self.note_open(context, session.ticket, idle).await;
        Ok(answer)
    }

    /// A session goes on, for `idle` without another POST: here, or where the device's next connection leads.
    async fn note_open(&self, context: &Context, ticket: Ticket, idle: Duration) {
        let connection = self
            .sessions
            .is_shared(ticket.device)
            .await
            .then_some(&context.connection);
        self.admission.goes_on(ticket.secret, idle, connection);
    }

    /// Ends the session: 204. Nobody waits for its removal.
    fn end(&self, session: Session) -> Answer {
        self.instruments.session_finished("ok");
        self.admission.ended(&session.ticket.secret);
        let sessions = Arc::clone(&self.sessions);
        let mut removal = Box::pin(async move { sessions.remove(session.ticket).await });
        // What is in memory is removed on the spot.
        if removal.as_mut().now_or_never().is_none() {
            tokio::spawn(removal);
        }
        answer::status(StatusCode::NO_CONTENT)
    }

    /// Drops a session that cannot go on.
    pub(crate) async fn abandon(&self, session: &Session, outcome: &'static str) {
        self.sessions.remove(session.ticket).await;
        self.admission.ended(&session.ticket.secret);
        self.instruments.session_finished(outcome);
    }

    /// The device broke the protocol: what it was asked for has an unknown outcome, and the session is over.
    async fn violated(
        &self,
        context: &Context,
        mut session: Session,
        violation: acs::Violation,
    ) -> Result<Answer, Hangup> {
        tracing::info!(tenant = context.tenant, device = session.record.device, %violation, "the device broke the protocol");
        let why = format!("no answer that can be told from others: {violation}");
        self.fail_current(context, &mut session, why).await?;
        self.abandon(&session, "violation").await;
        match violation.kind {
            // The answer is not kept: the device may come back with a session of its own.
            ViolationKind::AnswerNotKept => Err(Hangup("a repeated POST whose answer is not kept")),
            // Enough is enough; to the device this looks like any session's end (SES-62).
            ViolationKind::Limit { .. } => Ok(answer::status(StatusCode::NO_CONTENT)),
            _ => Ok(answer::status(StatusCode::BAD_REQUEST)),
        }
    }

    /// Reports that the command at hand got no answer that can be used. If the log does not take that, the session is dropped unanswered.
    async fn fail_current(
        &self,
        context: &Context,
        session: &mut Session,
        why: String,
    ) -> Result<(), Hangup> {
        let Some(current) = session.record.current.take() else {
            return Ok(());
        };
        let done = CommandDone {
            command: current.command,
            owner: current.owner,
            operation: current.operation,
            method: current.method,
            request: current.request,
            outcome: Some(Outcome::Failed(why)),
            unanswered: true,
        };
        let report = next_report(context, session, Body::CommandDone(done), Deciding::No);
        self.publish_or_drop(session, report).await
    }

    /// Appends a report and waits until it is safe.
    async fn publish(&self, report: Report) -> Result<(), String> {
        match tokio::time::timeout(PUBLISH, self.log.append(report::records(report))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the log did not answer within {PUBLISH:?}")),
        }
    }

    /// Appends a report of a session. If the log does not take it, the session is dropped, unanswered.
    pub(crate) async fn publish_or_drop(
        &self,
        session: &Session,
        report: Report,
    ) -> Result<(), Hangup> {
        let Err(reason) = self.publish(report).await else {
            return Ok(());
        };
        tracing::warn!(reason, "a report was not taken; its session is dropped");
        self.abandon(session, "log_refused").await;
        Err(Hangup("the log did not take the report"))
    }

    /// 503, with a time to come back that differs from device to device.
    fn shed(&self, shed: Shed) -> Answer {
        self.instruments.shed(shed.reason());
        answer::unavailable(u64::from(rand::random_range(shed.retry_after())))
    }

    /// 401 with fresh nonces; the connection stays.
    fn challenge(&self, context: &Context, stale: bool) -> Answer {
        let mut answer = answer::status(StatusCode::UNAUTHORIZED);
        let mut schemes: &[Scheme] = &context.policy.schemes;
        if schemes.is_empty() {
            schemes = &[Scheme::DigestMd5];
        }
        let claim = context.claim();
        for challenge in
            self.authenticator
                .challenges(claim.tenant, schemes, claim.tls, stale, claim.now)
        {
            answer
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }

    /// How long a session lives without a POST.
    fn idle(&self, session: &Session) -> Duration {
        session
            .machine
            .session_timeout()
            .map_or(self.config.session_timeout, |seconds| {
                Duration::from_secs(u64::from(seconds))
            })
    }
}

/// Whether a POST is of somebody else than the one whose session its cookie names.
fn is_stranger(context: &Context, session: &Session) -> bool {
    let presented = context.authorization().and_then(auth::username);
    session.record.tenant != context.tenant
        || session.record.tls != context.connection.tls
        || presented.is_some_and(|name| {
            !session.record.username.is_empty()
                && !auth::is_same_user(&name, &session.record.username)
        })
}

/// Who opens a session.
struct Opening {
    identity: Identity,
    device: DeviceId,
    account: Option<Arc<Account>>,
    via: String,
    quarantine_reason: String,
    has_cookie: bool,
}

/// Whether the connection is all that tells whose session it is.
pub(crate) fn is_companion(connection: &Connection) -> bool {
    connection.remembered(|companion: &mut Companion| companion.session.is_some())
}

/// The session of a device that returns no cookies, if this connection is known to be one's.
fn companion(connection: &Connection, authorization: Option<&HeaderValue>) -> Option<Ticket> {
    let (ticket, owner) =
        connection.remembered(|companion: &mut Companion| companion.session.clone())?;
    let is_owner = authorization
        .and_then(auth::username)
        .is_none_or(|name| auth::is_same_user(&name, &owner));
    is_owner.then_some(ticket)
}

impl Edge {
    /// Whether a POST makes sense in a session alone: it says something, and is no Inform, which could open one.
    async fn is_answer(&self, bytes: Bytes, headers: &HeaderMap) -> bool {
        !bytes.iter().all(u8::is_ascii_whitespace)
            && self
                .read_post(bytes, headers)
                .await
                .is_ok_and(|post| post.inform().is_none())
    }

    /// Decodes a POST; a large one outside the threads that serve connections.
    async fn read_post(&self, bytes: Bytes, headers: &HeaderMap) -> Result<Post, String> {
        let content_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let read = |bytes: &[u8], content_type: Option<&str>| {
            Post::read(bytes, content_type).map_err(|error| error.to_string())
        };
        let post = if bytes.len() <= body::LARGE {
            read(&bytes, content_type)
        } else {
            let content_type = content_type.map(str::to_owned);
            tokio::task::spawn_blocking(move || read(&bytes, content_type.as_deref()))
                .await
                .map_err(|error| error.to_string())?
        }?;
        if self.config.strict && post.objection() == Some(Objection::Form) {
            return Err("it is not as the standard asks for".to_owned());
        }
        Ok(post)
    }
}

/// Whether a body holds the tag of an Inform, as far as can be told without decoding it: neither a parameter's name nor another method's will do.
fn names_inform(bytes: &[u8]) -> bool {
    const TAG: &[u8] = b"Inform";
    bytes
        .windows(TAG.len() + 2)
        .take(16 << 10)
        .any(|window| match window {
            [b'<' | b':', name @ .., after] => {
                name == TAG && (after.is_ascii_whitespace() || matches!(after, b'>' | b'/'))
            }
            _ => false,
        })
}

/// A SOAP fault to an Inform: 200, since the transport worked.
fn refuse(post: Post, fault: Fault) -> Answer {
    let mut machine = acs::Session::new("", acs::Limits::default());
    match machine
        .receive(post)
        .ok()
        .and_then(|_| machine.reply(acs::Answer::Fault(fault)).ok())
    {
        Some(xml) => answer::envelope(xml),
        None => answer::status(StatusCode::BAD_REQUEST),
    }
}

fn refuse_body(error: BodyError) -> Answer {
    match error {
        BodyError::TooLarge => answer::closing(StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::TooSlow => answer::closing(StatusCode::REQUEST_TIMEOUT),
        BodyError::UnknownCoding => answer::status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        BodyError::Broken | BodyError::PassedOver => answer::closing(StatusCode::BAD_REQUEST),
    }
}

/// The report of a session's first message.
fn inform_report(
    context: &Context,
    session: &mut Session,
    inform: Inform,
    deciding: Deciding,
) -> Report {
    let manufacturer = inform.device_id.manufacturer.clone();
    let report = next_report(context, session, report::inform(inform), deciding);
    Report {
        manufacturer,
        ..report
    }
}

fn minor(machine: &acs::Session) -> u32 {
    u32::try_from(
        platen_cwmp::soap::Version::ALL
            .iter()
            .position(|version| *version == machine.version())
            .unwrap_or(0),
    )
    .unwrap_or(0)
}

/// The session's next report. Nothing is decided about a device that is not trusted.
pub(crate) fn next_report(
    context: &Context,
    session: &mut Session,
    body: Body,
    deciding: Deciding,
) -> Report {
    let cwmp_minor = minor(&session.machine);
    let record = &mut session.record;
    let ordinal = record.ordinal;
    record.ordinal += 1;
    let deciding = if record.quarantine_reason.is_empty() {
        deciding
    } else {
        Deciding::No
    };
    if deciding > Deciding::No {
        record.undecided = ordinal + 1;
        record.linger_long |= deciding == Deciding::Long;
    }
    Report {
        tenant: record.tenant.clone(),
        device: record.device.clone(),
        oui: record.oui.clone(),
        product_class: record.product_class.clone(),
        serial_number: record.serial_number.clone(),
        session: record.session.clone(),
        ordinal,
        time_us: context.now_us,
        deciding: deciding > Deciding::No,
        last: true,
        via: record.via.clone(),
        quarantine_reason: record.quarantine_reason.clone(),
        cwmp_minor,
        peer: context.connection.peer.ip().to_canonical().to_string(),
        body: Some(body),
        ..Report::default()
    }
}
