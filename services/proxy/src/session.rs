//! A session with the server over HTTP (TR-069 §3.4, §3.7): POSTs, authentication, cookies, redirections.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use platen_cwmp::cpe::{self, Failure, Next, Opening, Session};
use platen_cwmp::digest::{self, Algorithm, Challenge};
use platen_cwmp::fault::Fault;
use platen_cwmp::rpc::{AcsRequest, CpeResponse, Inform};
use platen_cwmp::soap::{Unwritable, Version};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE,
};
use reqwest::{Response, StatusCode, Url};

/// How long the server may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest message that is read, in bytes.
const MAX_BODY: usize = 8 << 20;
/// How many redirections are followed in one session.
const MAX_REDIRECTIONS: u32 = 5;
/// How many requests the server may make in one session.
const MAX_REQUESTS: u32 = 1_024;
/// The most bytes of cookies that are kept.
const MAX_COOKIES: usize = 4_096;

/// The way to the server, shared by all devices of a proxy.
#[derive(Clone)]
pub struct Acs {
    http: reqwest::Client,
    url: Url,
    username: String,
    password: String,
}

impl fmt::Debug for Acs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acs")
            .field("url", &self.url.as_str())
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why there is no way to the server. The fault is the configuration's.
#[derive(Debug, thiserror::Error)]
pub enum AcsError {
    /// The URL is none.
    #[error("acs.url: {0}")]
    Url(String),
    /// The certificate cannot be read.
    #[error("acs.ca: {}: {reason}", file.display())]
    Certificate {
        /// Its file.
        file: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no TLS.
    #[error("cannot set up TLS: {0}")]
    Tls(reqwest::Error),
}

/// Why a session failed. All but [`SessionError::Refused`] are worth another try.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody answers, or the connection breaks.
    #[error("no answer from the server: {0}")]
    Unreachable(String),
    /// The credentials do not suffice.
    #[error("the server refuses the credentials (status {0})")]
    Refused(u16),
    /// The server's answer is too large.
    #[error("the server's message is larger than 8 MiB")]
    TooLarge,
    /// The server redirects without end, or to nowhere.
    #[error("the server redirects in circles or to no URL")]
    Redirection,
    /// The server does not stop asking.
    #[error("the server asks more than {MAX_REQUESTS} times in one session")]
    TooManyRequests,
    /// The session broke the protocol.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The Inform cannot be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// Who answers the server's requests in a session.
pub trait Answering {
    /// Carries a request out.
    fn answer(
        &mut self,
        request: AcsRequest,
    ) -> impl Future<Output = Result<CpeResponse, Fault>> + Send;

    /// The server has the Inform.
    fn informed(&mut self) -> impl Future<Output = ()> + Send;
}

impl Acs {
    /// Prepares the way; nothing is sent.
    ///
    /// # Errors
    ///
    /// See [`AcsError`].
    pub fn new(
        url: &str,
        username: &str,
        password: &str,
        ca: Option<&Path>,
    ) -> Result<Self, AcsError> {
        let url = Url::parse(url).map_err(|error| AcsError::Url(error.to_string()))?;
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("platen-proxy/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca {
            let failed = |reason: String| AcsError::Certificate {
                file: file.to_owned(),
                reason,
            };
            let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| failed(error.to_string()))?;
            if certificates.is_empty() {
                return Err(failed("no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            http: builder.build().map_err(AcsError::Tls)?,
            url,
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Holds a session: reports, answers what the server asks, ends when it has nothing more.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Whether the server has the Inform was told to `answering` by then.
    pub async fn hold(
        &self,
        inform: Inform,
        answering: &mut impl Answering,
    ) -> Result<(), SessionError> {
        let (mut session, mut body) = Session::open(Opening {
            inform,
            version: Version::V1_4,
            session_timeout: None,
        })?;
        let mut connection = Connection {
            acs: self,
            url: self.url.clone(),
            digest: None,
            basic: None,
            cookies: Vec::new(),
            redirections: 0,
        };
        let mut requests = 0;
        loop {
            let answer = connection.post(body).await?;
            let cpe::Step { answered, next } =
                session.receive(answer.status, &answer.body, answer.content_type.as_deref())?;
            if answered == Some(cpe::Answered::Inform) {
                answering.informed().await;
            }
            body = match next {
                Next::Post(body) => body,
                Next::Done => return Ok(()),
                Next::Serve(request) => {
                    requests += 1;
                    if requests > MAX_REQUESTS {
                        return Err(SessionError::TooManyRequests);
                    }
                    let answer = answering.answer(request).await;
                    respond(&mut session, answer)?
                }
            };
        }
    }
}

/// An answer that cannot be written becomes a fault.
fn respond(
    session: &mut Session,
    answer: Result<CpeResponse, Fault>,
) -> Result<Vec<u8>, SessionError> {
    match session.respond(answer) {
        Ok(body) => Ok(body),
        Err(error) => {
            tracing::warn!(%error, "answer replaced by a fault");
            let fault = Fault::new(platen_cwmp::fault::FaultCode::INTERNAL_ERROR);
            session
                .respond(Err(fault))
                .map_err(|error| SessionError::Unreachable(error.to_string()))
        }
    }
}

struct Answer {
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
}

/// One session's connection: where to, and how to be let in.
struct Connection<'a> {
    acs: &'a Acs,
    url: Url,
    digest: Option<digest::Client>,
    basic: Option<String>,
    cookies: Vec<(String, String)>,
    redirections: u32,
}

impl Connection<'_> {
    /// Posts; answers a challenge once, and once more when only the nonce was too old.
    async fn post(&mut self, body: Vec<u8>) -> Result<Answer, SessionError> {
        let mut challenged = 0;
        loop {
            let response = self.send(&body).await?;
            self.keep_cookies(&response);
            let status = response.status();
            match status {
                StatusCode::UNAUTHORIZED if challenged < 2 => {
                    let stale = self.take_challenge(&response)?;
                    if challenged == 1 && !stale {
                        return Err(SessionError::Refused(status.as_u16()));
                    }
                    challenged += 1;
                    drain(response).await?;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(SessionError::Refused(status.as_u16()));
                }
                StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT => {
                    self.follow(&response)?;
                    // Whoever it leads to may ask for credentials too.
                    challenged = 0;
                }
                _ => {
                    let content_type = header(&response, CONTENT_TYPE);
                    return Ok(Answer {
                        status: status.as_u16(),
                        content_type,
                        body: drain(response).await?,
                    });
                }
            }
        }
    }

    async fn send(&mut self, body: &[u8]) -> Result<Response, SessionError> {
        let mut request = self.acs.http.post(self.url.clone()).body(body.to_vec());
        if !body.is_empty() {
            request = request
                .header(CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
                .header("SOAPAction", "\"\"");
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        if let Some(digest) = &mut self.digest {
            let target = match self.url.query() {
                Some(query) => format!("{}?{query}", self.url.path()),
                None => self.url.path().to_owned(),
            };
            let cnonce = format!("{:032x}", rand::random::<u128>());
            request = request.header(AUTHORIZATION, digest.authorize("POST", &target, &cnonce));
        } else if let Some(basic) = &self.basic {
            request = request.header(AUTHORIZATION, basic);
        }
        request.send().await.map_err(|error| unreachable_by(&error))
    }

    /// Takes the strongest challenge; whether it says that only the nonce was too old. Basic is answered over TLS only.
    fn take_challenge(&mut self, response: &Response) -> Result<bool, SessionError> {
        const ALLOWED: [Algorithm; 4] = [
            Algorithm::Sha256,
            Algorithm::Sha256Sess,
            Algorithm::Md5,
            Algorithm::Md5Sess,
        ];
        let refused = SessionError::Refused(response.status().as_u16());
        let headers: Vec<&str> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let challenges: Vec<Challenge> = headers
            .iter()
            .filter_map(|header| Challenge::parse_all(header).ok())
            .flatten()
            .collect();
        if let Some(challenge) = digest::strongest(challenges, &ALLOWED) {
            let stale = challenge.stale;
            self.digest = Some(digest::Client::new(
                &*self.acs.username,
                &*self.acs.password,
                challenge,
            ));
            return Ok(stale);
        }
        let wants_basic = headers.iter().any(|header| {
            header
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("basic")
        });
        if wants_basic && self.url.scheme() == "https" && self.basic.is_none() {
            self.basic = Some(digest::basic_authorization(
                &self.acs.username,
                &self.acs.password,
            ));
            return Ok(false);
        }
        Err(refused)
    }

    fn follow(&mut self, response: &Response) -> Result<(), SessionError> {
        self.redirections += 1;
        let target = header(response, LOCATION)
            .filter(|_| self.redirections <= MAX_REDIRECTIONS)
            .and_then(|location| self.url.join(&location).ok())
            // The way to the server is never made less safe by the server.
            .filter(|target| target.scheme() == "https" || target.scheme() == self.url.scheme());
        self.url = target.ok_or(SessionError::Redirection)?;
        self.digest = None;
        self.basic = None;
        Ok(())
    }

    fn keep_cookies(&mut self, response: &Response) {
        for value in response.headers().get_all(SET_COOKIE) {
            let Some((name, value)) = value
                .to_str()
                .ok()
                .and_then(|text| text.split(';').next()?.split_once('='))
            else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            self.cookies.retain(|(known, _)| known != name);
            let size: usize = self
                .cookies
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            if !name.is_empty() && size + name.len() + value.len() <= MAX_COOKIES {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

fn header(response: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

async fn drain(mut response: Response) -> Result<Vec<u8>, SessionError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable_by(&error))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(SessionError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost reason, without the URL, which may hold a password.
fn unreachable_by(error: &reqwest::Error) -> SessionError {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    SessionError::Unreachable(reason.to_string())
}
