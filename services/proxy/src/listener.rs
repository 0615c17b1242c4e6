//! Takes connection requests (TR-069 §3.2.2), one URL for each device.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use platen_cwmp::digest::{
    Algorithm, Authorization, Challenge, NonceKey, NonceState, Policy, Secret,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::presence::{Message, unix_now};

const REALM: &str = "platen-proxy";
/// How long a nonce is good for, in seconds.
const NONCE_LIFETIME: u64 = 60;
/// How many connections are open at the same time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take for its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who takes connection requests, by the path of their URL.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<HashMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    username: String,
    password: String,
    is_reachable: bool,
    mailbox: mpsc::Sender<Message>,
}

impl Directory {
    /// Lets requests for the device `id` in, once it has a user name and a password.
    pub fn insert(&self, id: &str, mailbox: mpsc::Sender<Message>) {
        let entry = Entry {
            username: String::new(),
            password: String::new(),
            is_reachable: true,
            mailbox,
        };
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path_of(id), entry);
    }

    /// Takes over what the server set, and whether the printer answers.
    pub fn update(&self, id: &str, username: &str, password: &str, is_reachable: bool) {
        if let Some(entry) = self
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&path_of(id))
        {
            username.clone_into(&mut entry.username);
            password.clone_into(&mut entry.password);
            entry.is_reachable = is_reachable;
        }
    }
}

/// The path of a device's URL. The percent signs of its id are encoded themselves.
#[must_use]
pub fn path_of(id: &str) -> String {
    format!("/{}", id.replace('%', "%25"))
}

/// Serves connection requests until `shutdown`.
///
/// # Errors
///
/// When connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    directory: Directory,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let key = NonceKey::new(rand::random());
    let service = Arc::new(Service { directory, key });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("invariant: the semaphore is never closed");
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, or a peer that went away: the next one may do better.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
        tokio::spawn(async move {
            let respond = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(service.respond(&request, peer)))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_headers(64)
                .serve_connection(TokioIo::new(stream), respond);
            tokio::select! {
                outcome = connection => if let Err(error) = outcome {
                    tracing::debug!(%peer, %error, "connection request broke off");
                },
                () = shutdown.cancelled() => {}
            }
            drop(place);
        });
    }
}

struct Service {
    directory: Directory,
    key: NonceKey,
}

impl Service {
    fn respond<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Empty<Bytes>> {
        if request.method() != Method::GET {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let entries = self
            .directory
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get(request.uri().path()) else {
            return status(StatusCode::NOT_FOUND);
        };
        let now = u64::try_from(unix_now()).unwrap_or(0);
        match self.judge(request, entry, target, now) {
            Judgement::Right => {}
            Judgement::Challenge { stale } => return self.challenge(target, now, stale),
        }
        if !entry.is_reachable {
            // The server tells a printer that is off from a proxy that is busy by this (PXY-15).
            return status(StatusCode::SERVICE_UNAVAILABLE);
        }
        tracing::debug!(%peer, target, "connection request");
        match entry.mailbox.try_send(Message::ConnectionRequest) {
            // A full mailbox holds such a message already.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => status(StatusCode::OK),
            Err(mpsc::error::TrySendError::Closed(_)) => status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn judge<B>(&self, request: &Request<B>, entry: &Entry, target: &str, now: u64) -> Judgement {
        const CHALLENGE: Judgement = Judgement::Challenge { stale: false };
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some(Ok(Authorization::Digest(digest))) = header.map(Authorization::parse) else {
            return CHALLENGE;
        };
        // Without credentials nobody is let in.
        if entry.username.is_empty()
            || entry.password.is_empty()
            || digest.username != entry.username
        {
            return CHALLENGE;
        }
        let policy = Policy {
            realm: REALM,
            algorithms: &[Algorithm::Sha256, Algorithm::Md5],
            legacy: true,
        };
        let state = self.key.check(
            &digest.nonce,
            now,
            NONCE_LIFETIME,
            request.uri().path().as_bytes(),
        );
        let is_right = digest
            .verify(Secret::Password(&entry.password), "GET", target, &policy)
            .is_ok();
        match (state, is_right) {
            (NonceState::Fresh, true) => Judgement::Right,
            (NonceState::Stale, true) => Judgement::Challenge { stale: true },
            _ => CHALLENGE,
        }
    }

    fn challenge(&self, target: &str, now: u64, stale: bool) -> Response<Empty<Bytes>> {
        let path = target.split('?').next().unwrap_or(target);
        let nonce = self.key.issue(now, rand::random(), path.as_bytes());
        let mut response = status(StatusCode::UNAUTHORIZED);
        // MD5 first: many servers read the first challenge only.
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let challenge = Challenge {
                stale,
                ..Challenge::new(REALM, &*nonce, algorithm)
            };
            if let Ok(value) = HeaderValue::from_str(&challenge.to_header()) {
                response.headers_mut().append(WWW_AUTHENTICATE, value);
            }
        }
        response
    }
}

enum Judgement {
    Right,
    Challenge { stale: bool },
}

fn status(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use platen_cwmp::digest::{self, strongest};

    use super::*;

    struct Server {
        addr: SocketAddr,
        directory: Directory,
        mailbox: mpsc::Receiver<Message>,
    }

    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let directory = Directory::default();
        let (sender, mailbox) = mpsc::channel(1);
        directory.insert("00D09E-Laser%2D9-1", sender);
        tokio::spawn(serve(listener, directory.clone(), CancellationToken::new()));
        Server {
            addr,
            directory,
            mailbox,
        }
    }

    /// Asks, and answers a challenge with these credentials; the statuses on the way.
    async fn knock(server: &Server, path: &str, username: &str, password: &str) -> Vec<u16> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", server.addr);
        let first = http.get(&url).send().await.unwrap();
        let mut statuses = vec![first.status().as_u16()];
        if first.status() == 401 {
            let challenges = first.headers().get_all("www-authenticate").iter();
            let challenges = challenges
                .flat_map(|value| Challenge::parse_all(value.to_str().unwrap()).unwrap())
                .collect();
            let challenge = strongest(challenges, &[Algorithm::Md5, Algorithm::Sha256]).unwrap();
            let authorization = digest::Client::new(username, password, challenge).authorize(
                "GET",
                path,
                "0a4f113b0a4f113b",
            );
            let second = http
                .get(&url)
                .header("authorization", authorization)
                .send()
                .await
                .unwrap();
            statuses.push(second.status().as_u16());
        }
        statuses
    }

    const PATH: &str = "/00D09E-Laser%252D9-1";

    #[tokio::test]
    async fn only_who_knows_the_password_wakes_the_device() {
        let mut server = start().await;
        assert_eq!(knock(&server, PATH, "", "").await, [401, 401]);

        server
            .directory
            .update("00D09E-Laser%2D9-1", "acs", "secret", true);
        assert_eq!(knock(&server, PATH, "acs", "wrong").await, [401, 401]);
        assert_eq!(knock(&server, PATH, "other", "secret").await, [401, 401]);
        assert!(server.mailbox.try_recv().is_err());
        assert_eq!(knock(&server, PATH, "acs", "secret").await, [401, 200]);
        assert!(matches!(
            server.mailbox.try_recv(),
            Ok(Message::ConnectionRequest)
        ));
        assert_eq!(knock(&server, "/other", "acs", "secret").await, [404]);
    }

    #[tokio::test]
    async fn several_requests_are_one_message() {
        let mut server = start().await;
        server
            .directory
            .update("00D09E-Laser%2D9-1", "acs", "secret", true);
        for _ in 0..3 {
            assert_eq!(knock(&server, PATH, "acs", "secret").await, [401, 200]);
        }
        assert!(server.mailbox.try_recv().is_ok());
        assert!(server.mailbox.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_printer_that_is_off_is_not_available() {
        let server = start().await;
        server
            .directory
            .update("00D09E-Laser%2D9-1", "acs", "secret", false);
        assert_eq!(knock(&server, PATH, "acs", "secret").await, [401, 503]);
    }
}
