//! A server for tests: real HTTP, digest authentication, cookies, `acs::Session`; it does what the test wants and remembers what came.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use platen_cwmp::acs::{Again, Answer, Limits, Post, Said, Session, Step, Turn};
use platen_cwmp::digest::{
    Algorithm, Authorization, Challenge, NonceKey, NonceState, Policy, Secret,
};
use platen_cwmp::fault::Fault;
use platen_cwmp::identity::Identity;
use platen_cwmp::rpc::{AcsRequest, CpeResponse, Inform};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub(crate) const USERNAME: &str = "site-7";
pub(crate) const PASSWORD: &str = "correct horse";
const REALM: &str = "test";

/// A server on loopback.
pub(crate) struct TestAcs {
    url: String,
    state: Arc<Mutex<State>>,
    news: watch::Receiver<usize>,
}

#[derive(Default)]
struct State {
    down: bool,
    next: usize,
    sessions: BTreeMap<String, (String, Session)>,
    wanted: BTreeMap<String, VecDeque<AcsRequest>>,
    informs: Vec<(String, Inform)>,
    answers: Vec<(String, Result<CpeResponse, Fault>)>,
}

impl TestAcs {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A server that speaks TLS, and the certificate that signed its own.
    pub(crate) async fn start_tls() -> (Self, String) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let anchor = authority.self_signed(&authority_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = own
            .signed_by(&key, &Issuer::new(authority, authority_key))
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        (
            Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await,
            anchor,
        )
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State::default()));
        let (sender, news) = watch::channel(0);
        let (shared, key, sender) = (
            Arc::clone(&state),
            Arc::new(NonceKey::new([7; 32])),
            Arc::new(sender),
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, key, sender) =
                    (Arc::clone(&shared), Arc::clone(&key), Arc::clone(&sender));
                let respond = service_fn(move |request| {
                    let (shared, key, sender) =
                        (Arc::clone(&shared), Arc::clone(&key), Arc::clone(&sender));
                    async move {
                        let response = answer(request, &shared, &key).await;
                        sender.send_modify(|count| *count += 1);
                        Ok::<_, Infallible>(response)
                    }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that goes away, or does not trust the certificate, is no failure of the server.
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), respond).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), respond).await);
                            }
                        }
                    }
                });
            }
        });
        Self {
            url: format!("{scheme}://{addr}/cwmp/default"),
            state,
            news,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// What the server asks the device for when it is its turn.
    pub(crate) fn want(&self, device: &str, request: AcsRequest) {
        self.state
            .lock()
            .unwrap()
            .wanted
            .entry(device.to_owned())
            .or_default()
            .push_back(request);
    }

    /// From now on every POST gets 503, or no longer.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// The Informs so far, by device.
    pub(crate) fn informs(&self) -> Vec<(String, Inform)> {
        self.state.lock().unwrap().informs.clone()
    }

    /// The Informs of one device.
    pub(crate) fn informs_of(&self, device: &str) -> Vec<Inform> {
        self.informs()
            .into_iter()
            .filter(|(id, _)| id == device)
            .map(|(_, inform)| inform)
            .collect()
    }

    /// What the device has answered so far.
    pub(crate) fn answers_of(&self, device: &str) -> Vec<Result<CpeResponse, Fault>> {
        let state = self.state.lock().unwrap();
        state
            .answers
            .iter()
            .filter(|(id, _)| id == device)
            .map(|(_, answer)| answer.clone())
            .collect()
    }

    /// Waits until `found` finds something.
    pub(crate) async fn wait_for<T>(&self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let mut news = self.news.clone();
        let wait = async {
            loop {
                news.borrow_and_update();
                if let Some(found) = found(self) {
                    return found;
                }
                news.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; Informs: {:#?}", self.summary()),
        }
    }

    fn summary(&self) -> Vec<String> {
        self.informs()
            .iter()
            .map(|(id, inform)| {
                format!(
                    "{id}: {:?}",
                    inform
                        .events
                        .iter()
                        .map(|event| event.code.to_string())
                        .collect::<Vec<_>>()
                )
            })
            .collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    state: &Mutex<State>,
    key: &NonceKey,
) -> Response<Full<Bytes>> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (authorization, cookie, content_type) = (
        header("authorization"),
        header("cookie"),
        header("content-type"),
    );
    let target = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    if state.down {
        return plain(503, Bytes::new());
    }
    if !is_authorized(authorization.as_deref(), &target, key) {
        let challenge = Challenge::new(REALM, key.issue(1, 1, b""), Algorithm::Md5);
        let mut response = plain(401, Bytes::new());
        response
            .headers_mut()
            .insert("www-authenticate", challenge.to_header().parse().unwrap());
        return response;
    }
    assert_eq!(
        content_type.is_none(),
        body.is_empty(),
        "content type of an empty POST"
    );
    let post = Post::read(&body, content_type.as_deref()).unwrap();
    assert!(post.repairs().is_empty(), "{}", post.repairs());
    let known = cookie
        .as_deref()
        .and_then(|cookie| cookie.strip_prefix("session="))
        .map(str::to_owned);
    let id = match (post.inform(), known) {
        (Some(inform), _) => {
            let device = Identity::of(&inform.device_id).unwrap().to_string();
            state.next += 1;
            let id = state.next.to_string();
            state.informs.push((device.clone(), inform.clone()));
            state
                .sessions
                .insert(id.clone(), (device, Session::new("t", Limits::default())));
            id
        }
        (None, Some(id)) => id,
        (None, None) => return plain(400, Bytes::new()),
    };
    let Some((device, mut session)) = state.sessions.remove(&id) else {
        return plain(400, Bytes::new());
    };
    let step = session.receive(post).unwrap();
    let turn = step.turn();
    match step {
        Step::Report(report) => match report.said {
            Said::Response { response, .. } => state.answers.push((device.clone(), Ok(response))),
            Said::Fault { fault, .. } => state.answers.push((device.clone(), Err(fault))),
            _ => {}
        },
        Step::Repeated(Again::Envelope(body)) => return plain(200, body.into()),
        Step::Repeated(Again::NoContent) => return plain(204, Bytes::new()),
        Step::Nothing => {}
    }
    let mut response = match turn {
        Turn::Reply => plain(200, session.reply(Answer::Usual).unwrap().into()),
        Turn::NoContent | Turn::Repeat => plain(204, Bytes::new()),
        Turn::Ours => match state.wanted.get_mut(&device).and_then(VecDeque::pop_front) {
            Some(request) => plain(200, session.call("t", &request).unwrap().into()),
            None => return plain(204, Bytes::new()),
        },
    };
    response.headers_mut().insert(
        "set-cookie",
        format!("session={id}; Path=/; HttpOnly").parse().unwrap(),
    );
    state.sessions.insert(id, (device, session));
    response
}

fn is_authorized(header: Option<&str>, target: &str, key: &NonceKey) -> bool {
    let Some(Ok(Authorization::Digest(digest))) = header.map(Authorization::parse) else {
        return false;
    };
    let policy = Policy {
        realm: REALM,
        algorithms: &[Algorithm::Md5],
        legacy: false,
    };
    digest.username == USERNAME
        && key.check(&digest.nonce, 1, 60, b"") == NonceState::Fresh
        && digest
            .verify(Secret::Password(PASSWORD), "POST", target, &policy)
            .is_ok()
}

fn plain(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if !body.is_empty() {
        response = response.header("content-type", "text/xml; charset=utf-8");
    }
    response.body(Full::new(body)).unwrap()
}
