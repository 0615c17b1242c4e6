//! Appending: a call enqueues its records and waits until the brokers have acknowledged all of them.

use super::{
    SetupError,
    client::{Context, needs_people},
};
use crate::log::Error;
use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// A message to send.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) key: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) headers: OwnedHeaders,
}

/// The process's producer. Cheap to share; made anew if the library gives it up.
pub(super) struct Producer {
    config: ClientConfig,
    context: Context,
    /// After so long a message that is not acknowledged has failed.
    timeout: Duration,
    current: Mutex<Arc<Client>>,
}

/// The library looks for what has timed out once a second; nobody waits for that.
const GRACE: Duration = Duration::from_millis(100);

impl Producer {
    pub(super) fn new(
        config: ClientConfig,
        context: Context,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let current = Client::new(&config, &context).map_err(SetupError::of)?;
        Ok(Self {
            config,
            context,
            timeout,
            current: Mutex::new(Arc::new(current)),
        })
    }

    /// Sends messages; those of one partition keep their order.
    pub(super) async fn send(&self, messages: Vec<Outgoing<'_>>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let client = self.current();
        let (sender, all_answered) = oneshot::channel();
        let call = Arc::new(Call {
            open: AtomicUsize::new(messages.len()),
            outcome: Mutex::new(Outcome {
                failure: None,
                sender: Some(sender),
            }),
        });
        for message in messages {
            let size = message.payload.len() + message.key.len();
            let record = BaseRecord::with_opaque_to(message.topic, Arc::clone(&call))
                .partition(message.partition)
                .key(message.key)
                .payload(message.payload)
                .headers(message.headers);
            if let Err((error, _)) = client.threaded().send(record) {
                return Err(self.failed(&client, error.rdkafka_error_code(), size));
            }
        }
        match timeout(self.timeout + GRACE, all_answered).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some((code, size)))) => Err(self.failed(&client, Some(code), size)),
            Ok(Err(_)) | Err(_) => {
                let what = self.context.explained("no acknowledgement in time");
                Err(Error::Unavailable(what))
            }
        }
    }

    /// Asks the cluster about a topic, through the producer's own connections. Blocks.
    pub(super) fn metadata(
        &self,
        topic: &str,
        patience: Duration,
    ) -> Result<rdkafka::metadata::Metadata, KafkaError> {
        let client = self.current();
        client
            .threaded()
            .client()
            .fetch_metadata(Some(topic), patience)
    }

    fn current(&self) -> Arc<Client> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, client: &Arc<Client>, code: Option<RDKafkaErrorCode>, size: usize) -> Error {
        let Some(code) = code else {
            return Error::Unavailable("a record could not be handed to Kafka's client".to_owned());
        };
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge => return Error::TooLarge(size),
            RDKafkaErrorCode::QueueFull => {
                let what = self.context.explained("too much waits for the brokers");
                return Error::Unavailable(what);
            }
            // The sequence of an idempotent producer is broken: this one takes no more, another begins a new one.
            RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::OutOfOrderSequenceNumber
            | RDKafkaErrorCode::UnknownProducerId
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::Fenced => self.replace(client),
            code if needs_people(code) => self.context.refused(code.to_string()),
            _ => {}
        }
        Error::Unavailable(self.context.explained(code))
    }

    fn replace(&self, broken: &Arc<Client>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, broken) {
            return;
        }
        match Client::new(&self.config, &self.context) {
            Ok(client) => {
                tracing::warn!("Kafka's producer gave up and was made anew");
                *current = Arc::new(client);
            }
            Err(error) => {
                tracing::error!(%error, "Kafka's producer gave up and cannot be made anew")
            }
        }
    }
}

/// Why a message failed, and its size.
type Failure = (RDKafkaErrorCode, usize);

/// One call of `append`, shared by its messages.
struct Call {
    open: AtomicUsize,
    outcome: Mutex<Outcome>,
}

struct Outcome {
    /// The first one.
    failure: Option<Failure>,
    sender: Option<oneshot::Sender<Option<Failure>>>,
}

impl Call {
    fn answered(&self, failure: Option<Failure>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.failure.is_none() {
            outcome.failure = failure;
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(sender) = outcome.sender.take()
        {
            // Whoever asked may have gone.
            let _ = sender.send(outcome.failure);
        }
    }
}

/// A client of the library. Ends on a thread of its own: that takes a moment.
struct Client(Option<ThreadedProducer<Acknowledgements>>);

impl Client {
    fn new(config: &ClientConfig, context: &Context) -> Result<Self, KafkaError> {
        let context = Acknowledgements(context.clone());
        ThreadedProducer::from_config_and_context(config, context).map(|client| Self(Some(client)))
    }

    fn threaded(&self) -> &ThreadedProducer<Acknowledgements> {
        self.0
            .as_ref()
            .expect("invariant: it is there until it is dropped")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let client = self.0.take();
        let ending = thread::Builder::new().name("kafka-end".to_owned());
        // Without a thread it was dropped here, when the closure was.
        let _ = ending.spawn(move || drop(client));
    }
}

struct Acknowledgements(Context);

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Arc<Call>;

    fn delivery(&self, result: &DeliveryResult<'_>, call: Arc<Call>) {
        use rdkafka::message::Message;
        call.answered(result.as_ref().err().map(|(error, message)| {
            let code = error.rdkafka_error_code();
            let size = message.payload_len() + message.key().map_or(0, <[u8]>::len);
            (code.unwrap_or(RDKafkaErrorCode::Unknown), size)
        }));
    }
}
