//! TLS of a listener, from files that may be replaced while it runs.

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Where certificates and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities of which clients must present a certificate, PEM; `None`: clients need none.
    pub client_authorities: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not PEM.
    #[error("{path}: {what}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The files do not fit together, or are refused for another reason.
    #[error("TLS: {0}")]
    Refused(String),
}

/// The server's side of TLS 1.2 and 1.3, with session tickets and without early data. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    alpn: Arc<Vec<Vec<u8>>>,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files; `alpn` in order of preference (`h2`, `http/1.1`).
    ///
    /// # Errors
    ///
    /// Both variants of [`enum@Error`]; the configuration's fault.
    pub fn load(files: Files, alpn: &[&str]) -> Result<Self, Error> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = config(&files, &alpn)?;
        Ok(Self {
            files: Arc::new(files),
            alpn: Arc::new(alpn),
            current: Arc::new(RwLock::new(Arc::new(config))),
        })
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(socket).await
    }

    /// Reads the files again when they change, until `stop`. Files that do not work are reported, and the old ones stay in use.
    pub(super) async fn follow_files(self, stop: CancellationToken) {
        let mut seen = modified(&self.files);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = modified(&self.files);
            if now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    pub(super) fn reload(&self) {
        match config(&self.files, &self.alpn) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(certificate = %self.files.certificate.display(), "certificate replaced");
            }
            Err(error) => {
                tracing::error!(%error, "the changed certificate does not work; the old one stays in use")
            }
        }
    }
}

/// When each file was last changed; `None` for one that is not there.
fn modified(files: &Files) -> Vec<Option<SystemTime>> {
    let time = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
    };
    [
        Some(&files.certificate),
        Some(&files.key),
        files.client_authorities.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(|path| time(path))
    .collect()
}

fn config(files: &Files, alpn: &[Vec<u8>]) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let refused = |error: rustls::Error| Error::Refused(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(refused)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| Error::Refused(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| at(&files.key, &error))?;
    let mut config = builder
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(refused)?;
    config.alpn_protocols = alpn.to_vec();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(refused)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| at(path, &error))?
        .collect();
    let found = found.map_err(|error| at(path, &error))?;
    if found.is_empty() {
        return Err(Error::File {
            path: path.to_owned(),
            what: "no certificate in it".to_owned(),
        });
    }
    Ok(found)
}

fn at(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        what: error.to_string(),
    }
}
