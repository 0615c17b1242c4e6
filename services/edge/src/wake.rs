//! Connection requests: asking a device to call (TR-069 §3.2.2).
//!
//! A wake on the log is one try. Who wants another one sets a timer and writes another wake; a try that a crash swallows is made up for in the same way, so tries
//! run beside the consumer and a device that does not answer holds nobody up.

use crate::{
    address::{self, Network},
    answer,
    config::ConnectionRequest,
    cookie,
    instruments::Instruments,
    policy::Policies,
    report,
    sessions::Sessions,
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use moka::future::Cache;
use platen_bus::{Failure, Handler, HandlerError, Log, drive, log::Record, log::Shards};
use platen_cwmp::digest::{self, Algorithm, Challenge};
use platen_proto::{
    report::v1::{Report, Wake, Woken, report::Body},
    store::v1::{Observed, Registration},
    topic::Kind,
};
use platen_runtime::Keys;
use platen_sessions::{BUSY, Presence};
use platen_store::{
    Store,
    tables::{ObservedDevices, Registrations},
};
use prost::Message;
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// A busy session is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Bytes of an answer that are read; the rest does not matter (CR-08).
const ANSWER: usize = 8 << 10;

/// What is offered to devices, which choose.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Sha256,
    Algorithm::Sha256Sess,
    Algorithm::Md5,
    Algorithm::Md5Sess,
];

/// Consumes wakes.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    inner: Arc<Inner>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    log: Arc<dyn Log>,
    sessions: Arc<Sessions>,
    keys: Arc<Keys>,
    policies: Arc<Policies>,
    instruments: Arc<Instruments>,
    config: ConnectionRequest,
    /// Devices that were asked a moment ago.
    asked: Cache<String, ()>,
    /// Devices for which a try waits until they may be asked again: no more than there are places.
    waiting: Mutex<HashSet<String>>,
}

/// Parts of an edge that a waker needs.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) config: ConnectionRequest,
}

impl Waker {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            store,
            log,
            sessions,
            keys,
            policies,
            instruments,
            config,
        } = parts;
        let places = Arc::new(Semaphore::new(
            config.in_flight.clamp(1, Semaphore::MAX_PERMITS),
        ));
        let asked = Cache::builder()
            .max_capacity(100_000)
            .time_to_live(config.pause)
            .build();
        let inner = Arc::new(Inner {
            store,
            log,
            sessions,
            keys,
            policies,
            instruments,
            config,
            asked,
            waiting: Mutex::default(),
        });
        Self {
            inner,
            places,
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until the connection requests at hand are over.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl Handler for Waker {
    const KINDS: &'static [Kind] = &[Kind::Wake];
    const GATHER: Duration = drive::PROMPT;

    async fn assigned(&self, _shards: &[Shards]) {}

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        for (at, record) in records.iter().enumerate() {
            let wake =
                Wake::decode(record.record.payload.clone()).map_err(|error| HandlerError {
                    at,
                    failure: Failure::Poison(error.to_string()),
                })?;
            // With all places taken the consumer waits, and wakes queue up on the log.
            let place = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .expect("invariant: the semaphore is never closed");
            let (inner, id) = (Arc::clone(&self.inner), record.record.id.clone());
            self.tasks.spawn(async move {
                inner.wake(&wake, &id).await;
                drop(place);
            });
        }
        Ok(())
    }
}

/// Why a device was not reached, in stable words.
type Unreached = String;

impl Inner {
    async fn wake(&self, wake: &Wake, id: &str) {
        if !self.is_needed(wake).await {
            return;
        }
        let observed = self
            .store
            .get::<ObservedDevices>((&wake.tenant, &wake.device))
            .await;
        let registration = self
            .store
            .get_edited::<Registrations>((&wake.tenant, &wake.device))
            .await;
        let (observed, registration) = match (observed, registration) {
            (Ok(observed), Ok(registration)) => (
                observed.unwrap_or_default(),
                registration.map(|row| row.value),
            ),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "a device to be woken cannot be looked up");
                return;
            }
        };
        let reached = timeout(
            self.config.timeout,
            self.ask(wake, &observed, registration.as_ref()),
        )
        .await;
        let error = match reached {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error,
            Err(_) => "TIMEOUT".to_owned(),
        };
        tracing::debug!(
            tenant = wake.tenant,
            device = wake.device,
            error,
            "connection request"
        );
        self.instruments.wake(if error.is_empty() {
            "reached"
        } else {
            "failed"
        });
        let report = Report {
            tenant: wake.tenant.clone(),
            device: wake.device.clone(),
            oui: observed.oui,
            product_class: observed.product_class,
            serial_number: observed.serial_number,
            time_us: answer::now_us(),
            last: true,
            body: Some(Body::Woken(Woken {
                command: wake.command.clone(),
                reached: error.is_empty(),
                error,
            })),
            ..Report::default()
        };
        let cause = Sha256::new()
            .chain_update("woken")
            .chain_update(id)
            .finalize();
        if let Err(error) = self
            .log
            .append(vec![report::record(&report, cookie::hex(&cause[..16]))])
            .await
        {
            // Whoever waits for it has a timer.
            tracing::warn!(%error, "the outcome of a connection request was not taken");
        }
    }

    /// Waits until a connection request makes sense. `false`: it does not, since the device has a session in which it asks for its commands itself, or since somebody
    /// waits for the same already.
    async fn is_needed(&self, wake: &Wake) -> bool {
        let key = format!("{}/{}", wake.tenant, wake.device);
        loop {
            if self.is_in_session(wake).await {
                self.instruments.wake("in_session");
                return false;
            }
            if self.asked.entry(key.clone()).or_insert(()).await.is_fresh() {
                return true;
            }
            // It was asked a moment ago, perhaps for a session that is over by now.
            let is_first = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key.clone());
            if !is_first {
                self.instruments.wake("just_asked");
                return false;
            }
            sleep(self.config.pause).await;
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&key);
        }
    }

    /// Whether the device has a session that has yet to look at the queue.
    async fn is_in_session(&self, wake: &Wake) -> bool {
        let hash = cookie::device_hash(&wake.tenant, &wake.device, None);
        let patience = Instant::now() + BUSY;
        loop {
            match self.sessions.look(hash).await {
                Presence::Waiting => return true,
                // Its queue may have been read just before the command was written.
                Presence::Busy if Instant::now() < patience => sleep(LOOK_AGAIN).await,
                Presence::Busy | Presence::None => return false,
            }
        }
    }

    async fn ask(
        &self,
        wake: &Wake,
        observed: &Observed,
        registration: Option<&Registration>,
    ) -> Result<(), Unreached> {
        let target = Target::parse(&observed.connection_request_url)?;
        let policy = self
            .policies
            .of(&wake.tenant)
            .await
            .map_err(|_| "UNAVAILABLE".to_owned())?;
        let allow = policy
            .as_ref()
            .map_or(&[][..], |policy| policy.allow.as_slice());
        let address = target.resolve(allow).await?;
        let (username, password) = self.credentials(wake, registration)?;
        knock(address, &target, &username, &password).await
    }

    /// What the device expects to be asked with: as registered, or as this server sets it at the first contact.
    fn credentials(
        &self,
        wake: &Wake,
        registration: Option<&Registration>,
    ) -> Result<(String, String), Unreached> {
        let Some(registered) =
            registration.filter(|row| !row.connection_request_password_sealed.is_empty())
        else {
            let label: [&[u8]; 3] = [
                b"connection-request",
                wake.tenant.as_bytes(),
                wake.device.as_bytes(),
            ];
            let password = URL_SAFE_NO_PAD.encode(&self.keys.derive(&label)[..18]);
            return Ok((wake.device.clone(), password));
        };
        let aad = format!("connection-request/{}/{}", wake.tenant, wake.device);
        let password = self
            .keys
            .open(&aad, &registered.connection_request_password_sealed);
        let password = password
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("BAD_CREDENTIALS")?;
        Ok((registered.connection_request_username.clone(), password))
    }
}

/// Where a connection request goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    /// As it stands in the request line and in the digest.
    path: String,
    /// As it stands in the `Host` header.
    authority: String,
}

impl Target {
    /// Reads a device's URL: plain HTTP, a host, no user information (CR-10, CR-18).
    fn parse(url: &str) -> Result<Self, Unreached> {
        if url.is_empty() {
            return Err("NO_URL".to_owned());
        }
        let bad = || "BAD_URL".to_owned();
        let uri: Uri = url.trim().parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") {
            return Err(bad());
        }
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains(['@', '%']) || authority.host().is_empty() {
            return Err(bad());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        // `Uri` takes a port that is none for no port at all.
        let port = match authority.as_str().get(authority.host().len()..) {
            None | Some("") => 80,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(bad)?,
        };
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
            .to_owned();
        Ok(Self {
            host,
            port,
            path,
            authority: authority.to_string(),
        })
    }

    /// The address to connect to: looked up once, and judged.
    async fn resolve(&self, allow: &[Network]) -> Result<SocketAddr, Unreached> {
        let found: Vec<SocketAddr> = match self.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, self.port)],
            Err(_) => lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|_| "NO_SUCH_HOST")?
                .collect(),
        };
        if found.is_empty() {
            return Err("NO_SUCH_HOST".to_owned());
        }
        let allowed = found
            .into_iter()
            .find(|found| address::is_allowed(found.ip(), allow));
        allowed.ok_or_else(|| "NOT_ALLOWED".to_owned())
    }
}

/// Asks at an address: once without credentials, then with them, and once more if only the nonce was old.
async fn knock(
    address: SocketAddr,
    target: &Target,
    username: &str,
    password: &str,
) -> Result<(), Unreached> {
    let mut connection = None;
    let mut authorization = None;
    let mut client: Option<digest::Client> = None;
    for _ in 0..3 {
        let answer = get(&mut connection, address, target, authorization.take()).await?;
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => return Ok(()),
            StatusCode::UNAUTHORIZED => {
                let challenge =
                    digest::strongest(answer.challenges, &ALGORITHMS).ok_or("NO_DIGEST")?;
                if client.is_some() && !challenge.stale {
                    return Err("HTTP_401".to_owned());
                }
                let mut fresh = digest::Client::new(username, password, challenge);
                let cnonce: [u8; 16] = rand::random();
                authorization = Some(fresh.authorize("GET", &target.path, &cookie::hex(&cnonce)));
                client = Some(fresh);
            }
            other => return Err(format!("HTTP_{}", other.as_u16())),
        }
    }
    Err("HTTP_401".to_owned())
}

struct Reply {
    status: StatusCode,
    challenges: Vec<Challenge>,
}

type Sender = http1::SendRequest<Empty<Bytes>>;

/// One GET, on the connection at hand if the device keeps it, else on another one to the same address (CR-14). Never follows a redirect.
async fn get(
    connection: &mut Option<Sender>,
    address: SocketAddr,
    target: &Target,
    authorization: Option<String>,
) -> Result<Reply, Unreached> {
    let mut request =
        Request::get(target.path.as_str()).header(header::HOST, target.authority.as_str());
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(|_| "BAD_URL")?;
    if let Some(mut sender) = connection.take()
        && sender.ready().await.is_ok()
        && let Ok(response) = sender.send_request(request.clone()).await
    {
        return read(response, sender, connection).await;
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|_| "UNREACHABLE")?;
    let (mut sender, driver) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(2 * ANSWER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "BROKEN")?;
    // Ends with the connection, which ends with its sender.
    tokio::spawn(async move {
        let _ = driver.await;
    });
    let response = sender.send_request(request).await.map_err(|_| "BROKEN")?;
    read(response, sender, connection).await
}

async fn read(
    response: http::Response<hyper::body::Incoming>,
    sender: Sender,
    connection: &mut Option<Sender>,
) -> Result<Reply, Unreached> {
    let (parts, body) = response.into_parts();
    let challenges = parts
        .headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value: &HeaderValue| Challenge::parse_all(value.to_str().ok()?).ok())
        .flatten()
        .collect();
    // A body that is read whole leaves the connection usable.
    if Limited::new(body, ANSWER).collect().await.is_ok() {
        *connection = Some(sender);
    }
    Ok(Reply {
        status: parts.status,
        challenges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_devices_are_read_with_suspicion() {
        let target = |host: &str, port, path: &str, authority: &str| {
            Ok(Target {
                host: host.into(),
                port,
                path: path.into(),
                authority: authority.into(),
            })
        };
        for (url, expected) in [
            (
                "http://192.0.2.1:7547/abc?d=e",
                target("192.0.2.1", 7547, "/abc?d=e", "192.0.2.1:7547"),
            ),
            (
                "http://printer.example",
                target("printer.example", 80, "/", "printer.example"),
            ),
            (
                "http://[2001:db8::1]:80/x",
                target("2001:db8::1", 80, "/x", "[2001:db8::1]:80"),
            ),
            ("", Err("NO_URL".to_owned())),
            ("https://192.0.2.1/", Err("BAD_URL".to_owned())),
            ("ftp://192.0.2.1/", Err("BAD_URL".to_owned())),
            ("http://user:secret@192.0.2.1/", Err("BAD_URL".to_owned())),
            ("http://[fe80::1%25eth0]/", Err("BAD_URL".to_owned())),
            ("http://192.0.2.1:0/", Err("BAD_URL".to_owned())),
            ("http://192.0.2.1:99999/", Err("BAD_URL".to_owned())),
            ("http:///x", Err("BAD_URL".to_owned())),
            ("/x", Err("BAD_URL".to_owned())),
            ("nonsense", Err("BAD_URL".to_owned())),
        ] {
            assert_eq!(Target::parse(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn what_a_name_means_is_judged_too() {
        for url in [
            "http://localhost:1/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://100.64.0.1/",
            "http://[fd00::1]/",
        ] {
            let resolved = Target::parse(url).unwrap().resolve(&[]).await;
            let error = resolved.expect_err(url);
            assert!(
                ["NOT_ALLOWED", "NO_SUCH_HOST"].contains(&error.as_str()),
                "{url}: {error}"
            );
        }
        let loopback = ["127.0.0.0/8".parse().unwrap()];
        let resolved = Target::parse("http://127.0.0.1:9/")
            .unwrap()
            .resolve(&loopback)
            .await;
        assert_eq!(resolved, Ok("127.0.0.1:9".parse().unwrap()));
    }
}
