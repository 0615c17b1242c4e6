//! What every client of the cluster is told, and what they tell back.

use super::{KafkaConfig, SetupError};
use crate::gather::Gather;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// What the log's clients have in common: they tell the process's log, and remember why the cluster does not serve.
#[derive(Clone, Default)]
pub(super) struct Context {
    troubles: Arc<Troubles>,
}

#[derive(Default)]
struct Troubles {
    last: Mutex<Option<Trouble>>,
    all_down: AtomicBool,
}

struct Trouble {
    what: String,
    at: Instant,
    told: Instant,
}

/// A trouble that was not told again for so long is over.
const LASTS: Duration = Duration::from_secs(30);

impl Context {
    /// Why the cluster does not serve this client, as far as it said so lately: a refused password, a certificate, a right that is missing.
    pub(super) fn trouble(&self) -> Option<String> {
        let last = self.last();
        let trouble = last.as_ref().filter(|last| last.at.elapsed() < LASTS);
        trouble.map(|trouble| trouble.what.clone())
    }

    /// `what`, with the reason if there is a known one.
    pub(super) fn explained(&self, what: impl std::fmt::Display) -> String {
        let what = what.to_string();
        match self.trouble() {
            Some(trouble) if trouble != what => format!("{what} ({trouble})"),
            Some(_) | None => what,
        }
    }

    /// Whether a client has lost its last broker since this was asked last.
    pub(super) fn take_all_down(&self) -> bool {
        self.troubles.all_down.swap(false, Ordering::Relaxed)
    }

    /// The cluster serves.
    pub(super) fn well(&self) {
        *self.last() = None;
    }

    /// Something that only people can mend.
    pub(super) fn refused(&self, what: String) {
        let now = Instant::now();
        let mut last = self.last();
        let told = match &*last {
            Some(last) if last.what == what && last.told.elapsed() < LASTS => last.told,
            _ => {
                tracing::error!(what, "Kafka refuses this process");
                now
            }
        };
        *last = Some(Trouble {
            what,
            at: now,
            told,
        });
    }

    fn last(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.troubles
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    /// Reconnecting is the library's daily work, so its errors are no errors of this process: what matters of them comes back through a call.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // A cluster that has just begun has the producer ask for its id again, which it does by itself.
            RDKafkaLogLevel::Warning if facility == "GETPID" => {
                tracing::debug!(facility, message, "Kafka client");
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "Kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "Kafka client");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.troubles.all_down.store(true, Ordering::Relaxed);
            }
            Some(code) if needs_people(code) => self.refused(format!("{code}: {reason}")),
            _ => tracing::debug!(%error, reason, "Kafka client"),
        }
    }
}

/// Whether only people can mend it: who this process is, or what it may do.
pub(super) const fn needs_people(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// The largest batch that a topic takes: the largest record with its headers, as a dead letter, has some bytes less.
pub(super) const MAX_MESSAGE: usize = 1_310_720;

/// What every client needs.
pub(super) fn common(config: &KafkaConfig) -> Result<ClientConfig, SetupError> {
    let file = |path: &std::path::Path| match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(SetupError::Configuration(format!(
            "{} is no name that Kafka's library can open",
            path.display()
        ))),
    };
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", &config.client_id)
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    let protocol = match (&config.tls, &config.login) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        if let Some(ca) = &tls.ca {
            client.set("ssl.ca.location", file(ca)?);
        }
        if let Some((certificate, key)) = &tls.identity {
            client
                .set("ssl.certificate.location", file(certificate)?)
                .set("ssl.key.location", file(key)?);
        }
    }
    if let Some(login) = &config.login {
        client
            .set("sasl.mechanism", login.mechanism.name())
            .set("sasl.username", &login.username)
            .set("sasl.password", &login.password);
    }
    Ok(client)
}

/// Of a producer: nothing acknowledged is lost or doubled by a retry, and what cannot be sent does not pile up.
pub(super) fn producer(config: &KafkaConfig) -> Result<ClientConfig, SetupError> {
    let mut client = common(config)?;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.type", "zstd")
        .set("message.max.bytes", MAX_MESSAGE.to_string())
        .set("queue.buffering.max.kbytes", "65536")
        .set("queue.buffering.max.messages", "100000")
        .set(
            "message.timeout.ms",
            config.message_timeout.as_millis().to_string(),
        );
    Ok(client)
}

/// Of whoever reads: bounded memory, no waiting once there is room again. The library wants a group even of those that are in none.
pub(super) fn reader(config: &KafkaConfig) -> Result<ClientConfig, SetupError> {
    let mut client = common(config)?;
    client
        .set("group.id", format!("{}reader", config.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        // Compressed: in memory it is several times as much.
        .set("fetch.max.bytes", MAX_MESSAGE.to_string())
        .set("message.max.bytes", MAX_MESSAGE.to_string())
        .set("queued.max.messages.kbytes", "8192")
        .set("queued.min.messages", "10000")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", "250");
    if let Some(rack) = &config.rack {
        client.set("client.rack", rack);
    }
    Ok(client)
}

/// See [`member`].
const LONG: Duration = Duration::from_millis(50);

/// What a broker gathers for a consumer that leaves it the time, bytes. Some hundred idle sessions.
const GATHERED: usize = 64 << 10;

/// Of a member of a group of this full name, and how long records gather in this process. From [`LONG`] on the brokers do that, so that neither
/// they nor the library's threads are busy with few records at a time; who asks often for less would keep them busy when there is nothing.
///
/// Of several topics a member has the same partitions of each, as only the range assignor promises (and only if it does not look at racks); of one
/// topic, most partitions stay where they are when members come and go.
pub(super) fn member(
    config: &KafkaConfig,
    group: &str,
    topics: usize,
    gather: Duration,
) -> Result<(ClientConfig, Gather), SetupError> {
    let mut client = reader(config)?;
    let here = if gather < LONG {
        gather
    } else {
        client
            .set("fetch.min.bytes", GATHERED.to_string())
            .set("fetch.wait.max.ms", gather.as_millis().to_string());
        Duration::ZERO
    };
    let session = config.session_timeout.as_millis();
    client
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", session.to_string())
        .set("heartbeat.interval.ms", (session / 4).to_string())
        .set("max.poll.interval.ms", (session.max(60_000)).to_string());
    if topics == 1 {
        client.set("partition.assignment.strategy", "cooperative-sticky");
    } else {
        client.set("partition.assignment.strategy", "range");
        client.remove("client.rack");
    }
    if let Some(instance) = &config.instance {
        client.set("group.instance.id", instance);
    }
    Ok((client, Gather::new(here)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_must_mend_is_remembered_until_the_cluster_serves() {
        let context = Context::default();
        context.error(
            KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure),
            "connection refused",
        );
        assert_eq!(context.trouble(), None);

        context.error(
            KafkaError::Global(RDKafkaErrorCode::Authentication),
            "invalid credentials",
        );
        assert!(
            context
                .explained("no answer")
                .contains("invalid credentials")
        );
        context.well();
        assert_eq!(context.explained("no answer"), "no answer");

        context.error(
            KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
        );
        assert!(context.take_all_down() && !context.take_all_down());
    }
}
