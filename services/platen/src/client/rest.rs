//! One generic client of the REST API.

use crate::exit::{Failure, Kind};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a server may take to answer, beyond what the call itself asks it to wait.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    /// Resource name and verb, unencoded: `tenants/a/devices/b:retire`.
    path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// Beyond [`PATIENCE`].
    wait: Duration,
}

impl Call {
    fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            body,
            wait: Duration::ZERO,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    pub(crate) fn put(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PUT, path, Some(body))
    }

    pub(crate) fn patch(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PATCH, path, Some(body))
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    pub(crate) fn query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub(crate) fn query_some(self, key: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Gives the server so much more time.
    pub(crate) const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// The API token, and where it came from.
#[derive(Debug)]
pub(crate) enum Token {
    Known(String),
    /// None was found; the places that were looked at.
    Absent(String),
}

impl Token {
    /// Takes the token itself, else reads the file, else the data directory's.
    pub(crate) fn find(
        token: Option<String>,
        file: Option<PathBuf>,
        data_dir: &Path,
    ) -> Result<Self, Failure> {
        if let Some(token) = token {
            return Ok(Self::Known(token.trim().to_owned()));
        }
        if let Some(file) = file {
            let token = fs::read_to_string(&file).map_err(|error| {
                Failure::usage(format!(
                    "cannot read the token file {}: {error}",
                    file.display()
                ))
            })?;
            return Ok(Self::Known(token.trim().to_owned()));
        }
        let file = data_dir.join("admin.token");
        match fs::read_to_string(&file) {
            Ok(token) => Ok(Self::Known(token.trim().to_owned())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Self::Absent(format!("{} ({error})", file.display())))
            }
            Err(error) => Err(Failure::usage(format!(
                "cannot read the token file {}: {error}",
                file.display()
            ))),
        }
    }
}

/// A server's API.
pub(crate) struct Rest {
    http: reqwest::Client,
    base: String,
    token: Token,
}

impl Rest {
    /// The server at `url`; with `ca`, only the authorities in that file vouch for it.
    pub(crate) fn new(url: &str, token: Token, ca: Option<&Path>) -> Result<Self, Failure> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::usage(format!(
                "the server's address {url:?} must begin with http:// or https://"
            )));
        }
        // Without redirects: the token goes to the server that was named and to no other.
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(file) = ca {
            let unusable = |why: String| {
                Failure::usage(format!(
                    "cannot use the authorities in {}: {why}",
                    file.display()
                ))
            };
            let pem = fs::read(file).map_err(|error| unusable(error.to_string()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(chain(&error)))?;
            if authorities.is_empty() {
                return Err(unusable("there is no certificate in it".to_owned()));
            }
            http = http.tls_certs_only(authorities);
        }
        let http = http
            .build()
            .map_err(|error| Failure::failed(format!("cannot prepare HTTPS: {}", chain(&error))))?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// The server's address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Makes a call; the JSON of its answer, null if it is empty.
    pub(crate) async fn call(&self, call: Call) -> Result<Value, Failure> {
        let timeout = PATIENCE + call.wait;
        let mut request = self
            .request(call.method, &call.path, &call.query)
            .timeout(timeout);
        if let Some(body) = call.body {
            request = request.json(&body);
        }
        let response = self.send(request).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!(
                "the answer of {} is not JSON ({error}): is this Platen's API?",
                self.base
            ))
        })
    }

    /// Sends bytes as they are read; the JSON of the answer. No deadline: the file decides how long it takes.
    pub(crate) async fn upload(
        &self,
        path: &str,
        length: u64,
        body: reqwest::Body,
    ) -> Result<Value, Failure> {
        let request = self
            .request(Method::PUT, path, &[])
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(body);
        let response = self.send(request).await?;
        response
            .json()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    /// Opens a stream that stays open; one JSON document a line.
    pub(crate) async fn stream(&self, call: Call) -> Result<reqwest::Response, Failure> {
        let request = self
            .request(call.method, &call.path, &call.query)
            .header(reqwest::header::ACCEPT, "application/x-ndjson");
        self.send(request).await
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            return Failure::new(
                Kind::TimedOut,
                format!("{} did not answer in time", self.base),
            );
        }
        Failure::failed(format!(
            "cannot talk to {}: {}. Is the server running (platen serve), and is --url right?",
            self.base,
            chain(error)
        ))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&'static str, String)],
    ) -> reqwest::RequestBuilder {
        let mut url = format!("{}/v1/{}", self.base, encode_path(path));
        for (position, (key, value)) in query.iter().enumerate() {
            let separator = if position == 0 { '?' } else { '&' };
            write!(url, "{separator}{key}={}", encode(value))
                .expect("invariant: writing to a String does not fail");
        }
        let request = self.http.request(method, url);
        match &self.token {
            Token::Known(token) => request.bearer_auth(token),
            Token::Absent(_) => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal(status, &body, &self.token))
    }
}

/// What a refusal means, in words and as an exit code.
fn refusal(status: StatusCode, body: &[u8], token: &Token) -> Failure {
    let kind = match status.as_u16() {
        401 | 403 => Kind::Refused,
        404 => Kind::NotFound,
        408 | 504 => Kind::TimedOut,
        _ => Kind::Failed,
    };
    if let (401, Token::Absent(place)) = (status.as_u16(), token) {
        let message = format!(
            "the server wants a token: set PLATEN_TOKEN or PLATEN_TOKEN_FILE, or name the server's --data-dir (looked at {place})"
        );
        return Failure::new(kind, message);
    }
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let mut message = match (text("detail"), text("title")) {
        ("", "") => format!("the server answered {status}"),
        ("", title) => title.to_owned(),
        (detail, _) => detail.to_owned(),
    };
    if !text("code").is_empty() {
        message = format!("{message} ({})", text("code"));
    }
    for violation in problem["violations"].as_array().into_iter().flatten() {
        let (field, why) = (
            violation["field"].as_str().unwrap_or("?"),
            violation["description"].as_str().unwrap_or("?"),
        );
        message = format!("{message}\n  {field}: {why}");
    }
    match status.as_u16() {
        401 => {
            message = format!(
                "{message}\n  the token is not valid here: make one with `platen token create`, or use the data directory's admin.token"
            )
        }
        503 => message = format!("{message}\n  the server cannot do this at the moment; try again"),
        _ => {}
    }
    Failure::new(kind, message)
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Percent-encodes a resource name for the path of a URL: the percent signs of device ids too; slashes and the colon of a verb stay.
fn encode_path(path: &str) -> String {
    percent(path, |byte| matches!(byte, b'/' | b':'))
}

/// Percent-encodes a value of the query.
fn encode(value: &str) -> String {
    percent(value, |_| false)
}

fn percent(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || keep(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("invariant: writing to a String does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percent_sign_of_a_device_id_is_itself_encoded() {
        assert_eq!(
            encode_path("tenants/default/devices/00D09E-LaserPro%2D9-SN1:retire"),
            "tenants/default/devices/00D09E-LaserPro%252D9-SN1:retire"
        );
        assert_eq!(
            encode("device.state == \"A&B\""),
            "device.state%20%3D%3D%20%22A%26B%22"
        );
    }

    #[test]
    fn refusals_become_exit_codes_and_advice() {
        let token = Token::Known("t".into());
        let problem = br#"{"detail":"no such filter","code":"INVALID_ARGUMENT","violations":[{"field":"filter","description":"at 3: unexpected )"}]}"#;
        let cases: [(u16, &[u8], &Token, Kind, &str); 6] = [
            (
                400,
                problem,
                &token,
                Kind::Failed,
                "no such filter (INVALID_ARGUMENT)\n  filter: at 3: unexpected )",
            ),
            (
                401,
                b"",
                &Token::Absent("/x/admin.token".into()),
                Kind::Refused,
                "PLATEN_TOKEN",
            ),
            (401, b"{}", &token, Kind::Refused, "token create"),
            (
                403,
                br#"{"title":"Forbidden"}"#,
                &token,
                Kind::Refused,
                "Forbidden",
            ),
            (404, b"<html>", &token, Kind::NotFound, "404"),
            (503, b"", &token, Kind::Failed, "try again"),
        ];
        for (status, body, token, kind, text) in cases {
            let failure = refusal(StatusCode::from_u16(status).unwrap(), body, token);
            assert_eq!(failure.kind(), kind, "{status}");
            assert!(failure.to_string().contains(text), "{status}: {failure}");
        }
    }

    #[test]
    fn a_token_comes_from_the_nearest_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t");
        fs::write(&file, "from-file\n").unwrap();
        fs::write(dir.path().join("admin.token"), "from-dir\n").unwrap();
        let find = |token: Option<&str>, file: Option<&Path>| match Token::find(
            token.map(Into::into),
            file.map(Into::into),
            dir.path(),
        ) {
            Ok(Token::Known(token)) => token,
            other => format!("{other:?}"),
        };
        assert_eq!(find(Some("given"), Some(&file)), "given");
        assert_eq!(find(None, Some(&file)), "from-file");
        assert_eq!(find(None, None), "from-dir");
        assert!(matches!(
            Token::find(None, None, Path::new("/nonexistent")),
            Ok(Token::Absent(_))
        ));
        assert_eq!(
            Token::find(None, Some("/nonexistent".into()), dir.path())
                .unwrap_err()
                .kind(),
            Kind::Usage
        );
    }
}
