//! An accept loop with limits: how many connections, how long a peer may take, how it ends.
//!
//! HTTP/1.1 alone, or with HTTP/2 (prior knowledge, or ALPN under TLS). A slow or silent peer costs one connection until its deadline, nothing
//! else.

mod deadline;
mod framing;
mod quota;
pub mod tls;

pub use tls::Tls;

use crate::metrics::Metrics;
use bytes::Bytes;
use deadline::{Deadlines, Phase, Timed};
use http::{Extensions, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};
use quota::Quota;
use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

/// What a peer may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at a time from one IPv4 address or IPv6 /64; further ones are closed.
    pub connections_per_peer: usize,
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time from the first byte of a request's head to its last.
    pub head: Duration,
    /// Time between requests of one connection, and before the first.
    pub idle: Duration,
    /// Time for which a peer may refuse to take bytes of a response.
    pub write: Duration,
    /// Bytes of a request's head; beyond: 431.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_peer: 10_000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(30),
            head_bytes: 16 * 1024,
        }
    }
}

/// Which protocols a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0).
    Http1,
    /// HTTP/1.1 and HTTP/2.
    Any,
}

/// The connection by which a request came: an extension of every request.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Number of the connection in this process.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub tls: bool,
    memory: Arc<Mutex<Extensions>>,
}

impl Connection {
    /// A connection with that peer, about which nothing is remembered.
    #[must_use]
    pub fn new(peer: SocketAddr, tls: bool) -> Self {
        Self {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            peer,
            tls,
            memory: Arc::default(),
        }
    }

    /// The `T` that the service remembers as long as the connection lasts, made if there is none yet; shared by all requests of the connection.
    pub fn remembered<T, R>(&self, with: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default + Clone + Send + Sync + 'static,
    {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        with(memory.get_or_insert_default())
    }
}

/// A socket with all that decides how it is served.
#[derive(Debug)]
pub struct Listener {
    /// Name in metrics and logs.
    pub name: &'static str,
    /// Bound and listening.
    pub socket: TcpListener,
    /// `None`: plain text.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocol: Protocol,
    /// What a peer may take.
    pub limits: Limits,
}

impl Listener {
    /// Serves until `stop`; then accepts only who has connected already, lets every connection finish the request at hand, and returns when all are closed or `grace` is over
    /// (what is open then is cut). A service that fails closes the connection without an answer.
    pub async fn serve<S, B>(
        self,
        service: S,
        metrics: &Metrics,
        stop: CancellationToken,
        grace: Duration,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let cut = CancellationToken::new();
        let tasks = TaskTracker::new();
        let door = Arc::new(Door::new(&self, metrics, stop.clone(), cut.clone()));
        if let Some(tls) = &self.tls {
            tasks.spawn(tls.clone().follow_files(stop.clone()));
        }
        let serve = |(socket, peer, place)| {
            let door = Arc::clone(&door);
            let (tls, service) = (self.tls.clone(), service.clone());
            tasks.spawn(async move {
                door.open.add(1, &door.labels);
                door.admit(socket, peer, tls, service).await;
                door.open.add(-1, &door.labels);
                drop(place);
            });
        };
        while let Some(guest) = door.next(&self.socket, &stop).await {
            serve(guest);
        }
        match door.rest(self.socket) {
            Ok(rest) => rest.into_iter().for_each(serve),
            Err(error) => {
                tracing::warn!(listener = self.name, %error, "who was about to connect is lost");
            }
        }
        tasks.close();
        if timeout(grace, tasks.wait()).await.is_err() {
            tracing::debug!(
                listener = self.name,
                "cutting the connections that are still open"
            );
            cut.cancel();
            tasks.wait().await;
        }
    }
}

/// What every connection of a listener needs.
struct Door {
    name: &'static str,
    quota: Quota,
    http: auto::Builder<TokioExecutor>,
    deadlines: Deadlines,
    handshake: Duration,
    stop: CancellationToken,
    cut: CancellationToken,
    labels: [KeyValue; 1],
    open: UpDownCounter<i64>,
    refused: Counter<u64>,
}

/// Those who wait when a listener stops are accepted for so long at most: others may go on to connect.
const REST: Duration = Duration::from_millis(200);

/// A connection that is stopped before its first request waits so long for that.
const FIRST: Duration = Duration::from_secs(1);

static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

impl Door {
    fn new(
        listener: &Listener,
        metrics: &Metrics,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        let limits = &listener.limits;
        let mut http = auto::Builder::new(TokioExecutor::new());
        // No timeout of hyper's own: it does not tell an idle connection from a slow head. `Timed` does.
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(limits.head_bytes.max(8 * 1024));
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.idle / 2)
            .keep_alive_timeout(limits.head)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
        if listener.protocol == Protocol::Http1 {
            // A device may be gone before it is answered, and come on another connection for what became of its POST (SES-60): it is answered to the end.
            // Callers of an API who go give back their place.
            http.http1().half_close(true);
            http = http.http1_only();
        }
        Self {
            name: listener.name,
            quota: Quota::new(limits.connections, limits.connections_per_peer),
            http,
            deadlines: Deadlines {
                head: limits.head,
                idle: limits.idle,
                write: limits.write,
            },
            handshake: limits.handshake,
            stop,
            cut,
            labels: [KeyValue::new("listener", listener.name)],
            open: metrics.level("platen.listener.connection.open", "Open connections"),
            refused: metrics.counter(
                "platen.listener.connection.refused",
                "Connections closed before a request was read",
            ),
        }
    }

    fn refuse(&self, reason: &'static str) {
        self.refused.add(
            1,
            &[self.labels[0].clone(), KeyValue::new("reason", reason)],
        );
    }

    /// The next connection that has a place; `None`: stopped.
    async fn next(
        &self,
        socket: &TcpListener,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, quota::Place)> {
        loop {
            let free = tokio::select! {
                () = stop.cancelled() => return None,
                free = self.quota.free() => free,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return None,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.quota.take(free, peer.ip()) {
                    Some(place) => return Some((stream, peer, place)),
                    None => self.refuse("per_peer"),
                },
                Err(error) if is_of_one_connection(&error) => self.refuse("aborted"),
                Err(error) => {
                    // Out of file descriptors or memory: nothing but waiting helps.
                    tracing::warn!(listener = self.name, %error, "cannot accept connections");
                    self.refuse("resources");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Who waits in the kernel's queue once the listener has stopped, as far as there are places: closing the socket would reset what they sent.
    fn rest(
        &self,
        socket: TcpListener,
    ) -> std::io::Result<Vec<(TcpStream, SocketAddr, quota::Place)>> {
        // The kernel is asked itself: what it has not yet told of, Tokio would wait for.
        let socket = socket.into_std()?;
        let begun = std::time::Instant::now();
        let mut rest = Vec::new();
        while begun.elapsed() < REST
            && let Some(free) = self.quota.try_free()
        {
            match socket.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    match self.quota.take(free, peer.ip()) {
                        Some(place) => rest.push((TcpStream::from_std(stream)?, peer, place)),
                        None => self.refuse("per_peer"),
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_one_connection(&error) => self.refuse("aborted"),
                Err(error) => return Err(error),
            }
        }
        Ok(rest)
    }

    async fn admit<S, B>(&self, socket: TcpStream, peer: SocketAddr, tls: Option<Tls>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Without it, an answer of two segments waits for the peer's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let connection = Connection::new(peer, tls.is_some());
        let Some(tls) = tls else {
            return self.serve(socket, connection, service).await;
        };
        let handshake = tokio::select! {
            () = self.cut.cancelled() => return,
            handshake = timeout(self.handshake, tls.accept(socket)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.serve(stream, connection, service).await,
            Ok(Err(error)) => {
                tracing::debug!(listener = self.name, %peer, %error, "TLS handshake failed");
                self.refuse("tls");
            }
            Err(_) => self.refuse("tls_timeout"),
        }
    }

    async fn serve<IO, S, B>(&self, io: IO, connection: Connection, service: S)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let phase = Arc::new(Phase::default());
        let of_connection = Arc::clone(&phase);
        let io = Timed::new(io, Arc::clone(&phase), self.deadlines);
        let peer = connection.peer;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let turn = Phase::begin(&phase, request.version());
            let answer = if phase.is_ambiguous() {
                None
            } else {
                request.extensions_mut().insert(connection.clone());
                Some(service.clone().oneshot(request))
            };
            async move {
                let Some(answer) = answer else {
                    return Ok::<_, S::Error>(ambiguous(turn));
                };
                let response = answer.await?;
                Ok(response.map(|body| Answer {
                    body: Some(body),
                    _turn: turn,
                }))
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(io), service));
        let stopped = async {
            self.stop.cancelled().await;
            // hyper closes a connection that has had no request, even if one is on its way.
            let _ = timeout(FIRST, of_connection.begun()).await;
        };
        let mut stopped = pin!(stopped);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = self.cut.cancelled() => return,
                () = stopped.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(listener = self.name, %peer, %error, "connection ended");
        }
    }
}

/// Errors of `accept` that say something about the connection, not about the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock
    )
}

/// The answer to a request that has two lengths (RFC 9112 §6.3).
fn ambiguous<B>(turn: deadline::Turn) -> Response<Answer<B>> {
    let mut response = Response::new(Answer {
        body: None,
        _turn: turn,
    });
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
        .headers_mut()
        .insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}

/// A response's body, and the knowledge that the connection is busy until it has left.
struct Answer<B> {
    body: Option<B>,
    _turn: deadline::Turn,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests;
