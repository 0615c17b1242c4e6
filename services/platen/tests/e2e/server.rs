//! A running `platen serve` on a directory of its own, and the ways to talk to it.

use platen_swarm::peer::{Credentials, Peer, Target};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) const PLATEN: &str = env!("CARGO_BIN_EXE_platen");

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something: the one place where tests look again and again.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Where a server keeps its data; outlives the process.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The command that starts a server here, on free ports.
    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PLATEN);
        command
            .args(["serve", "--data-dir"])
            .arg(self.data())
            .arg("--ports-file")
            .arg(self.path().join("ports.json"))
            .env_clear()
            .envs([
                ("PLATEN__CWMP__LISTEN", "127.0.0.1:0"),
                ("PLATEN__API__LISTEN", "127.0.0.1:0"),
                ("PLATEN__OPS__LISTEN", "127.0.0.1:0"),
                ("PLATEN__LOG__LEVEL", "warn"),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    ports: BTreeMap<String, Option<SocketAddr>>,
    token: String,
    http: Client,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(home: &Home) -> Self {
        Self::start_with(home, &[]).await
    }

    pub(crate) async fn start_with(home: &Home, variables: &[(&str, &str)]) -> Self {
        let ports = home.path().join("ports.json");
        let _ = fs::remove_file(&ports);
        let log = home.path().join("platen.log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = home
            .serve(variables)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let written = eventually("the ports file", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "the server ended with {status}: {}",
                    fs::read_to_string(&log).unwrap()
                );
            }
            fs::read(&ports).ok()
        })
        .await;
        let token = fs::read_to_string(home.data().join("admin.token"))
            .unwrap()
            .trim()
            .to_owned();
        let http = Client::builder()
            .timeout(PATIENCE * 3)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            child,
            ports: serde_json::from_slice(&written).unwrap(),
            token,
            http,
            log,
        }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.ports[listener].unwrap()
    }

    /// The administrator's.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        platen_swarm::process::terminate(self.pid()).unwrap();
    }

    /// SIGTERM, and how the server ended.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal();
        self.ended().await
    }

    /// How the server ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        eventually("the end of the server", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// One call with the administrator's token.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.call_as(Some(&self.token), method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: not JSON: {text}"))
        };
        (status, body)
    }

    /// A call that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    /// A call that must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {answer}");
        answer
    }

    /// The Informs of a device that were kept, newest first; at most 500.
    pub(crate) async fn informs(&self, path: &str) -> Vec<Value> {
        let answer = self
            .get(&format!("{path}/events?kinds=INFORM&pageSize=500"))
            .await;
        answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["inform"].clone())
            .collect()
    }

    /// Sends the bytes of an artifact.
    pub(crate) async fn upload(&self, path: &str, bytes: Vec<u8>) -> Value {
        let response = self
            .http
            .put(self.url(path))
            .bearer_auth(&self.token)
            .body(bytes)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "PUT {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Registers a device of the tenant `default`; its user name and password.
    pub(crate) async fn register(
        &self,
        oui: &str,
        product_class: &str,
        serial_number: &str,
    ) -> Credentials {
        let body =
            json!({"oui": oui, "productClass": product_class, "serialNumber": serial_number});
        let device = self.post("tenants/default/devices", body).await;
        let text = |key: &str| device["credentials"][key].as_str().unwrap().into();
        Credentials {
            username: text("username"),
            password: text("password"),
        }
    }

    /// A connection of a device to `/cwmp/{tenant}`.
    pub(crate) async fn peer(&self, tenant: &str, credentials: Option<Credentials>) -> Peer {
        Peer::new(Arc::new(self.target(tenant).await), credentials, PATIENCE)
    }

    /// Where devices of a tenant call.
    pub(crate) async fn target(&self, tenant: &str) -> Target {
        Target::resolve(&format!("http://{}/cwmp/{tenant}", self.address("cwmp")))
            .await
            .unwrap()
    }

    /// Runs a client command against this server.
    pub(crate) fn platen(&self, arguments: &[&str]) -> Output {
        Command::new(PLATEN)
            .args(arguments)
            .env_clear()
            .env("PLATEN_URL", format!("http://{}", self.address("api")))
            .env("PLATEN_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/{path}", self.address("api"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already if the test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
