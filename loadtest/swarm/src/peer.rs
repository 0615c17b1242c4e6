//! A device's HTTP side: one connection, cookies, digest authentication.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderMap, HeaderValue},
};
use hyper_util::rt::TokioIo;
use platen_cwmp::digest::{Algorithm, Challenge, Client, strongest};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Where a server takes POSTs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// Value of the Host header.
    pub host: String,
    /// Path and query, as in the request line.
    pub path: String,
}

impl Target {
    /// Looks up the address of an `http://` URL.
    ///
    /// # Errors
    ///
    /// The URL's fault: another scheme, no host, a name without address.
    pub async fn resolve(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse()?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http"),
            "{url:?} must begin with http://"
        );
        let authority = uri
            .authority()
            .ok_or_else(|| anyhow::anyhow!("{url:?} names no host"))?;
        let name = authority.host().trim_matches(['[', ']']);
        let address = tokio::net::lookup_host((name, authority.port_u16().unwrap_or(80)))
            .await?
            .next()
            .ok_or_else(|| anyhow::anyhow!("{name} has no address"))?;
        let path = uri
            .path_and_query()
            .map_or("/", hyper::http::uri::PathAndQuery::as_str)
            .to_owned();
        Ok(Self {
            address,
            host: authority.to_string(),
            path,
        })
    }
}

/// Why a POST has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("cannot connect")]
    Connect,
    /// The connection ended before the answer.
    #[error("connection closed")]
    Closed,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// A challenge that cannot be met: not digest, or no credentials.
    #[error("challenge not understood")]
    Challenge,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// A device's user name and password.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub username: Arc<str>,
    /// Password.
    pub password: Arc<str>,
}

/// Without the password.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// One peer of a server. It opens its connection when it is needed, and remembers the server's last challenge and cookies.
#[derive(Debug)]
pub struct Peer {
    target: Arc<Target>,
    credentials: Option<Credentials>,
    patience: Duration,
    digest: Option<Client>,
    cookies: Vec<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
    challenges: u64,
}

impl Peer {
    /// A peer that has not called yet. Without credentials it meets no challenge.
    #[must_use]
    pub const fn new(
        target: Arc<Target>,
        credentials: Option<Credentials>,
        patience: Duration,
    ) -> Self {
        Self {
            target,
            credentials,
            patience,
            digest: None,
            cookies: Vec::new(),
            connection: None,
            challenges: 0,
        }
    }

    /// How many challenges were met.
    #[must_use]
    pub const fn challenges(&self) -> u64 {
        self.challenges
    }

    /// Calls another server from here on, with the same credentials.
    pub fn move_to(&mut self, target: Target) {
        self.target = Arc::new(target);
        self.disconnect();
        self.forget_cookies();
        self.forget_challenge();
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Forgets the cookies: a session begins.
    pub fn forget_cookies(&mut self) {
        self.cookies.clear();
    }

    /// Forgets the server's challenge: the next POST goes without credentials.
    pub fn forget_challenge(&mut self) {
        self.digest = None;
    }

    /// The cookies that the next POST carries, each `name=value`.
    #[must_use]
    pub fn cookies(&self) -> &[String] {
        &self.cookies
    }

    /// Posts a body and reads the answer; a first challenge is met. `authorize`: with credentials, if a challenge is known.
    ///
    /// # Errors
    ///
    /// [`Failure`]; the connection is closed then.
    pub async fn post(&mut self, body: Bytes, authorize: bool) -> Result<Answer, Failure> {
        let patience = self.patience;
        let answered = timeout(patience, self.exchange(body, authorize))
            .await
            .unwrap_or(Err(Failure::TimedOut));
        if answered.is_err() {
            self.disconnect();
        }
        answered
    }

    async fn exchange(&mut self, body: Bytes, authorize: bool) -> Result<Answer, Failure> {
        let answer = self.send(body.clone(), authorize).await?;
        if answer.status != StatusCode::UNAUTHORIZED || self.credentials.is_none() {
            return Ok(answer);
        }
        self.learn(&answer.headers)?;
        self.send(body, true).await
    }

    /// Takes over the strongest challenge of the answer.
    fn learn(&mut self, headers: &HeaderMap) -> Result<(), Failure> {
        let credentials = self.credentials.as_ref().ok_or(Failure::Challenge)?;
        let offered: Vec<Challenge> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse_all(value.to_str().ok()?).ok())
            .flatten()
            .collect();
        let known = [
            Algorithm::Md5,
            Algorithm::Sha256,
            Algorithm::Md5Sess,
            Algorithm::Sha256Sess,
        ];
        let challenge = strongest(offered, &known).ok_or(Failure::Challenge)?;
        self.digest = Some(Client::new(
            &*credentials.username,
            &*credentials.password,
            challenge,
        ));
        self.challenges += 1;
        Ok(())
    }

    async fn send(&mut self, body: Bytes, authorize: bool) -> Result<Answer, Failure> {
        let mut request = Request::post(&self.target.path).header(header::HOST, &self.target.host);
        if !body.is_empty() {
            request = request
                .header(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/xml; charset=utf-8"),
                )
                .header("soapaction", HeaderValue::from_static("\"\""));
        }
        if !self.cookies.is_empty() {
            request = request.header(header::COOKIE, self.cookies.join("; "));
        }
        if authorize && let Some(digest) = &mut self.digest {
            let cnonce = format!("{:016x}", rand::random::<u64>());
            request = request.header(
                header::AUTHORIZATION,
                digest.authorize("POST", &self.target.path, &cnonce),
            );
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| Failure::Challenge)?;
        let connection = self.connect().await?;
        let response = connection
            .send_request(request)
            .await
            .map_err(|_| Failure::Closed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|_| Failure::Closed)?
            .to_bytes();
        self.keep_cookies(&head.headers);
        if head
            .headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
        {
            self.disconnect();
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let Some(pair) = cookie.to_str().ok().and_then(|text| text.split(';').next()) else {
                continue;
            };
            let name = pair.split('=').next().unwrap_or_default();
            self.cookies
                .retain(|known| known.split('=').next() != Some(name));
            self.cookies.push(pair.trim().to_owned());
        }
    }

    /// The open connection, or another one.
    async fn connect(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let socket = TcpStream::connect(self.target.address)
                .await
                .map_err(|_| Failure::Connect)?;
            socket.set_nodelay(true).map_err(|_| Failure::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(socket))
                .await
                .map_err(|_| Failure::Connect)?;
            // Its errors reach whoever waits for the answer; it ends when the sender is dropped.
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        self.connection.as_mut().ok_or(Failure::Connect)
    }
}
