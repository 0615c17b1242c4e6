//! The connection to the cluster: addresses, encryption, consistency, and what is done when a node does not answer.

use super::{CqlConfig, OpenError, Tls};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use scylla::{
    client::{
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    policies::{
        load_balancing::DefaultPolicy,
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    statement::{Consistency, SerialConsistency},
};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Rows.
    Rows,
    /// Statements of the schema, which take their time.
    Migration,
}

/// The longest statement of the schema.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(60);

/// How statements are carried out.
#[derive(Debug)]
pub(super) struct Profiles {
    /// Reads: tried again, and asked of a second node when the first takes long.
    pub(super) read: ExecutionProfileHandle,
    /// Writes that may be repeated: tried again.
    pub(super) write: ExecutionProfileHandle,
    /// Conditional statements, and the serial reads that tell what became of them: tried once, since only the caller knows what a second try means.
    pub(super) once: ExecutionProfileHandle,
}

/// A connected session.
#[derive(Debug)]
pub(super) struct Client {
    session: Session,
    profiles: Profiles,
}

impl Client {
    pub(super) async fn connect(config: &CqlConfig, purpose: Purpose) -> Result<Self, OpenError> {
        check(config)?;
        let profiles = profiles(config, purpose);
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .connection_timeout(config.connect_timeout)
            .hostname_resolution_timeout(Some(config.connect_timeout))
            .default_execution_profile_handle(profiles.write.clone())
            .auto_await_schema_agreement(true)
            .schema_agreement_timeout(SCHEMA_TIMEOUT)
            // The driver needs to know where the rows of our tables lie, and nothing else of the schema.
            .keyspaces_to_fetch([&config.keyspace])
            .fetch_full_schema_metadata(false);
        if let Some(of) = &config.credentials {
            builder = builder.user(&of.username, &of.password);
        }
        if let Some(tls) = &config.tls {
            builder = builder.tls_context(Some(encryption(tls)?));
        }
        // Of a cluster that hears but does not answer the driver would take its time to despair.
        let session = tokio::time::timeout(config.connect_timeout * 2, builder.build())
            .await
            .map_err(|_| OpenError::Unavailable("the nodes do not answer in time".to_owned()))??;
        check_datacenter(config, &session)?;
        Ok(Self { session, profiles })
    }

    pub(super) const fn session(&self) -> &Session {
        &self.session
    }

    pub(super) const fn profiles(&self) -> &Profiles {
        &self.profiles
    }
}

/// What can be said of a configuration without asking anybody.
fn check(config: &CqlConfig) -> Result<(), OpenError> {
    if config.nodes.is_empty() {
        return Err(OpenError::Config("no node is named".to_owned()));
    }
    let name = config.keyspace.as_bytes();
    let legal = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    if !name.first().is_some_and(u8::is_ascii_lowercase)
        || name.len() > 48
        || !name.iter().all(legal)
    {
        return Err(OpenError::Config(format!(
            "{:?} cannot be a keyspace: 1 to 48 of a to z, 0 to 9 and _, a letter first",
            config.keyspace
        )));
    }
    Ok(())
}

/// A majority is one of the datacenter of whoever is asked, so it must be said which that is.
fn check_datacenter(config: &CqlConfig, session: &Session) -> Result<(), OpenError> {
    let state = session.get_cluster_state();
    let found: BTreeSet<&str> = state
        .get_nodes_info()
        .iter()
        .filter_map(|node| node.datacenter.as_deref())
        .collect();
    let names = found.iter().copied().collect::<Vec<_>>().join(", ");
    match &config.datacenter {
        Some(wanted) if !found.contains(wanted.as_str()) => Err(OpenError::Config(format!(
            "no node is in datacenter {wanted:?}; there are: {names}"
        ))),
        None if found.len() > 1 => Err(OpenError::Config(format!(
            "name the datacenter that is near: {names}"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn profiles(config: &CqlConfig, purpose: Purpose) -> Profiles {
    let mut near = DefaultPolicy::builder()
        .token_aware(true)
        .permit_dc_failover(false);
    if let Some(datacenter) = &config.datacenter {
        near = near.prefer_datacenter(datacenter.clone());
    }
    let timeout = match purpose {
        Purpose::Rows => config.request_timeout,
        Purpose::Migration => config.request_timeout.max(SCHEMA_TIMEOUT),
    };
    let base = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .load_balancing_policy(near.build())
        .request_timeout(Some(timeout));
    let read = base
        .clone()
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: timeout / 8,
        })));
    let write = base
        .clone()
        .retry_policy(Arc::new(DefaultRetryPolicy::new()));
    let once = base.retry_policy(Arc::new(FallthroughRetryPolicy::new()));
    Profiles {
        read: read.build().into_handle(),
        write: write.build().into_handle(),
        once: once.build().into_handle(),
    }
}

/// TLS to the nodes. Their certificates must name their IP addresses: that is how the nodes find each other, and all that is known of most.
fn encryption(tls: &Tls) -> Result<Arc<ClientConfig>, OpenError> {
    let wrong = |path: &Path, what: &dyn std::fmt::Display| {
        OpenError::Config(format!("{}: {what}", path.display()))
    };
    let certificates = |path: &Path| -> Result<Vec<_>, OpenError> {
        let found = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(path, &error))?;
        if found.is_empty() {
            return Err(wrong(path, &"holds no certificate"));
        }
        Ok(found)
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(&tls.ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Config(error.to_string()))?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        Some((chain, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
            builder
                .with_client_auth_cert(certificates(chain)?, secret)
                .map_err(|error| wrong(key, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_work_is_refused_before_anybody_is_asked() {
        let config = |keyspace: &str| CqlConfig {
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: keyspace.into(),
            ..CqlConfig::default()
        };
        for fine in ["k", "platen", "platen_2"] {
            assert!(check(&config(fine)).is_ok(), "{fine}");
        }
        let long = "k".repeat(49);
        for wrong in ["", "2", "_k", "Platen", "k-k", "k\"; DROP", "ä", &long] {
            assert!(
                matches!(check(&config(wrong)), Err(OpenError::Config(_))),
                "{wrong}"
            );
        }
        let nowhere = CqlConfig {
            nodes: Vec::new(),
            ..config("k")
        };
        assert!(matches!(check(&nowhere), Err(OpenError::Config(_))));
    }

    #[test]
    fn files_of_tls_that_are_not_there_are_named() {
        let tls = Tls {
            ca: "/nowhere/ca.pem".into(),
            identity: None,
        };
        let error = encryption(&tls).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
