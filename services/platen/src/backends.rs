//! The backends of the distributed form in their adapters' own words, and what to make of it when they do not open.

use crate::config::form::{ClientTls, Cql, Distributed, Kafka, Login, Mechanism, Redis, Secret};
use anyhow::anyhow;
use platen_bus::kafka::{self, KafkaConfig, KafkaLog, SetupError};
use platen_runtime::keys::{IfAbsent, Keys};
use platen_sessions::redis::RedisConfig;
use platen_store::{
    Store,
    cql::{self, CqlConfig, CqlTables, OpenError, Replication},
    tables::Facts,
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Why a backend cannot be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is away, or not ready yet: the same call may succeed later.
    Away(String),
    /// Somebody must act.
    Wrong(anyhow::Error),
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        if error.is_transient() {
            Self::Away(error.to_string())
        } else {
            Self::Wrong(anyhow!(error))
        }
    }
}

impl From<SetupError> for Trouble {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Unavailable(_) => Self::Away(error.to_string()),
            SetupError::Configuration(_) | SetupError::Topic { .. } => Self::Wrong(anyhow!(error)),
        }
    }
}

impl From<platen_store::Error> for Trouble {
    fn from(error: platen_store::Error) -> Self {
        if error.is_transient() {
            Self::Away(error.to_string())
        } else {
            Self::Wrong(anyhow!(error))
        }
    }
}

impl From<anyhow::Error> for Trouble {
    /// What the store may answer another time is tried again.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<platen_store::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::Wrong(error),
        }
    }
}

impl From<Trouble> for anyhow::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away(why) => anyhow!(why),
            Trouble::Wrong(error) => error,
        }
    }
}

/// Pauses between two tries: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Tries until it works or somebody must act; tells each time what is waited for.
pub(crate) async fn until_there<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
    mut waiting: impl FnMut(&str),
) -> anyhow::Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Ok(there) => return Ok(there),
            Err(Trouble::Wrong(error)) => return Err(error),
            Err(Trouble::Away(why)) => waiting(&why),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

impl Cql {
    pub(crate) fn adapter(&self) -> anyhow::Result<CqlConfig> {
        let credentials = self.login.as_ref().map(|login| {
            anyhow::Ok(cql::Credentials {
                username: login.username.clone(),
                password: login.password.read()?,
            })
        });
        Ok(CqlConfig {
            nodes: self.nodes.clone(),
            keyspace: self.keyspace.clone(),
            datacenter: self.datacenter.clone(),
            replication: Replication::Factor(self.replication_factor),
            credentials: credentials.transpose()?,
            tls: self
                .tls
                .clone()
                .map(|ClientTls { ca, identity }| cql::Tls { ca, identity }),
            request_timeout: self.request_timeout,
            ..CqlConfig::default()
        })
    }

    /// The store, if its cluster is there and its keyspace is one for this program.
    pub(crate) async fn open(&self) -> Result<Store, Trouble> {
        let tables = CqlTables::connect(&self.adapter().map_err(Trouble::Wrong)?).await?;
        Ok(Store::new(Arc::new(tables)))
    }
}

impl Kafka {
    /// `message_timeout`: how long a record may take.
    pub(crate) fn adapter(&self, message_timeout: Duration) -> anyhow::Result<KafkaConfig> {
        let login = self.login.as_ref().map(|Login { username, password }| {
            anyhow::Ok(kafka::Login {
                mechanism: match self.mechanism {
                    Mechanism::Plain => kafka::Mechanism::Plain,
                    Mechanism::ScramSha256 => kafka::Mechanism::ScramSha256,
                    Mechanism::ScramSha512 => kafka::Mechanism::ScramSha512,
                },
                username: username.clone(),
                password: password.read()?,
            })
        });
        Ok(KafkaConfig {
            prefix: self.prefix.clone(),
            rack: self.rack.clone(),
            login: login.transpose()?,
            tls: self
                .tls
                .clone()
                .map(|ClientTls { ca, identity }| kafka::Tls {
                    ca: Some(ca),
                    identity,
                }),
            message_timeout,
            ..KafkaConfig::new(&self.brokers)
        })
    }

    /// The log, if its cluster is there and `platen migrate` has made its topics.
    pub(crate) async fn open(
        &self,
        message_timeout: Duration,
        store: &Store,
    ) -> Result<KafkaLog, Trouble> {
        let config = self.adapter(message_timeout).map_err(Trouble::Wrong)?;
        Ok(KafkaLog::open(config, store).await?)
    }
}

impl Redis {
    pub(crate) fn adapter(&self) -> anyhow::Result<RedisConfig> {
        let read = |secret: &Option<Secret>| secret.as_ref().map(Secret::read).transpose();
        Ok(RedisConfig {
            prefix: self.prefix.clone(),
            username: self.username.clone(),
            password: read(&self.password)?,
            sentinel_password: read(&self.sentinel_password)?,
            ca: self.ca.clone(),
            client: self.identity.clone(),
            ..RedisConfig::new(self.url.clone())
        })
    }
}

/// What a deployment's key signs, so that it is recognised.
const PURPOSE: &str = "the deployment's key";

/// Name of the fact that holds the signature.
const FACT: &str = "key";

impl Distributed {
    /// The deployment's key: with another one no sealed secret would open, and what is sealed from then on would be lost with the right one.
    pub(crate) async fn key(&self, store: &Store) -> Result<Keys, Trouble> {
        let keys = Keys::load(&self.key_file, IfAbsent::Fail)
            .map_err(|error| Trouble::Wrong(anyhow!(error)))?;
        match store.get::<Facts>(FACT).await? {
            Some(fact) => belongs(&keys, &fact.value, &self.key_file)?,
            None => {
                return Err(Trouble::Away(
                    "nobody has said whose key it is: run `platen migrate`".to_owned(),
                ));
            }
        }
        Ok(keys)
    }

    /// Says whose key it is, once; makes it, if nobody has said so yet and there is none. `true`: it was said now.
    pub(crate) async fn claim_key(&self, store: &Store) -> Result<bool, Trouble> {
        let wrong = |error: platen_runtime::keys::Error| Trouble::Wrong(anyhow!(error));
        let known = store.get::<Facts>(FACT).await?;
        let if_absent = match known {
            Some(_) => IfAbsent::Fail,
            None => IfAbsent::Create,
        };
        let keys = Keys::load(&self.key_file, if_absent).map_err(wrong)?;
        let known = match known {
            Some(fact) => Some(fact),
            None => {
                let fact = platen_proto::store::v1::Fact {
                    value: keys.sign(PURPOSE, b""),
                };
                store.insert::<Facts>(FACT, &fact).await?
            }
        };
        match known {
            Some(fact) => belongs(&keys, &fact.value, &self.key_file).map(|()| false),
            None => Ok(true),
        }
    }
}

fn belongs(keys: &Keys, signature: &str, file: &Path) -> Result<(), Trouble> {
    match keys.verify(PURPOSE, signature) {
        Some(_) => Ok(()),
        None => Err(Trouble::Wrong(anyhow!(
            "the key file {} is not the one with which this deployment was made: put the right one in its place",
            file.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_embedded::{Database, Options};
    use platen_store::embedded::EmbeddedTables;

    #[tokio::test]
    async fn what_is_away_is_waited_for_and_what_is_wrong_is_not() {
        tokio::time::pause();
        let mut tries = 0;
        let mut told = Vec::new();
        let there = until_there(
            async || {
                tries += 1;
                match tries {
                    1 => Err(Trouble::Away("nobody answers".into())),
                    2 => Err(Trouble::Away("it is starting".into())),
                    _ => Ok(7),
                }
            },
            |why| told.push(why.to_owned()),
        )
        .await;
        assert_eq!(there.unwrap(), 7);
        assert_eq!(told, ["nobody answers", "it is starting"]);

        let wrong = until_there(
            async || Err::<(), _>(Trouble::Wrong(anyhow!("the password"))),
            |_| panic!("nothing to wait for"),
        );
        assert_eq!(wrong.await.unwrap_err().to_string(), "the password");
    }

    #[tokio::test]
    async fn a_deployment_has_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("database"), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let form = |key: &str| Distributed {
            key_file: dir.path().join(key),
            ..Distributed::example()
        };

        Keys::load(&dir.path().join("a.key"), IfAbsent::Create).unwrap();
        assert!(
            matches!(form("a.key").key(&store).await, Err(Trouble::Away(why)) if why.contains("platen migrate")),
        );
        assert!(
            matches!(form("b.key").claim_key(&store).await, Ok(true)),
            "made and said"
        );
        assert!(
            matches!(form("b.key").claim_key(&store).await, Ok(false)),
            "said before"
        );
        assert!(form("b.key").key(&store).await.is_ok());
        for other in [
            form("a.key").claim_key(&store).await.map(drop),
            form("a.key").key(&store).await.map(drop),
        ] {
            assert!(
                matches!(other, Err(Trouble::Wrong(error)) if error.to_string().contains("a.key is not the one"))
            );
        }
        assert!(form("c.key").claim_key(&store).await.is_err());
        assert!(
            !dir.path().join("c.key").exists(),
            "a second key is not made"
        );
    }
}
