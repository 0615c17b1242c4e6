//! A running server of its own, in either form, and the ways to talk to it.

use crate::{
    deployment::{Backends, Deployment, Form},
    eventually::within,
    process::Process,
};
use platen_swarm::peer::{Credentials, Peer, Target};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const PLATEN: &str = env!("CARGO_BIN_EXE_platen");

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, PATIENCE, look).await
}

/// Where a server keeps its data; outlives its processes.
pub(crate) struct Home {
    dir: TempDir,
    /// Of the distributed form.
    backends: Option<Backends>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backends = match Form::tested() {
            Form::Embedded => None,
            Form::Distributed => Some(Backends::new(dir.path())),
        };
        Self { dir, backends }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Those of the distributed form.
    pub(crate) const fn backends(&self) -> Option<&Backends> {
        self.backends.as_ref()
    }

    fn token_file(&self) -> PathBuf {
        self.data().join("admin.token")
    }

    /// The command that starts a process here, on free ports.
    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PLATEN);
        command
            .args(["serve", "--data-dir"])
            .arg(self.data())
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
    running: Running,
    token: String,
    http: Client,
}

enum Running {
    /// Everything in one process.
    Embedded(Box<Process>),
    Distributed(Deployment),
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(home: &Home) -> Self {
        Self::start_with(home, &[]).await
    }

    pub(crate) async fn start_with(home: &Home, variables: &[(&str, &str)]) -> Self {
        let running = match &home.backends {
            None => {
                let mut process = Process::start(home, "platen", None, variables);
                process.ready().await;
                Running::Embedded(Box::new(process))
            }
            Some(backends) => {
                if !home.token_file().exists() {
                    fs::create_dir_all(home.data()).unwrap();
                    let done = backends.migrate(&home.token_file());
                    let message = String::from_utf8_lossy(&done.stderr);
                    assert!(done.status.success(), "{message}");
                }
                let variables = [&backends.variables(), variables].concat();
                Running::Distributed(Deployment::start(home, &variables).await)
            }
        };
        let token = fs::read_to_string(home.token_file()).unwrap();
        let http = Client::builder()
            .timeout(PATIENCE * 3)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            running,
            token: token.trim().to_owned(),
            http,
        }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        match &self.running {
            Running::Embedded(process) => process.address(listener).unwrap(),
            Running::Distributed(deployment) => deployment.address(listener),
        }
    }

    /// The administrator's.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn processes(&self) -> &[Process] {
        match &self.running {
            Running::Embedded(process) => std::slice::from_ref(process),
            Running::Distributed(deployment) => &deployment.processes,
        }
    }

    fn processes_mut(&mut self) -> &mut [Process] {
        match &mut self.running {
            Running::Embedded(process) => std::slice::from_mut(process),
            Running::Distributed(deployment) => &mut deployment.processes,
        }
    }

    /// One process, by its name.
    pub(crate) fn process(&mut self, name: &str) -> &mut Process {
        let mut processes = self.processes_mut().iter_mut();
        processes.find(|process| process.name() == name).unwrap()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        // All of them, before any is waited for.
        self.processes_mut().iter_mut().for_each(Process::kill);
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        self.processes().iter().for_each(Process::signal);
    }

    /// SIGTERM, and how the server ended.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal();
        self.ended().await
    }

    /// How the server ended: the first process that failed, or any.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let mut ends = Vec::new();
        for process in self.processes_mut() {
            ends.push(eventually("the end of the server", async || process.ended()).await);
        }
        let failed = ends.iter().find(|end| !end.success());
        *failed.unwrap_or(&ends[0])
    }

    /// What its processes have logged.
    pub(crate) fn log(&self) -> String {
        self.processes().iter().map(Process::log).collect()
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

    /// A metric of all its processes, summed up by one of its labels.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let label = format!("{label}=\"");
        let mut sums = BTreeMap::new();
        for process in self.processes() {
            let url = format!("http://{}/metrics", process.address("ops").unwrap());
            let answer = self.http.get(url).send().await.unwrap();
            let text = answer.text().await.unwrap();
            for line in text.lines() {
                let Some(labels) = line.strip_prefix(name).filter(|rest| rest.starts_with('{'))
                else {
                    continue;
                };
                let (labels, value) = labels.rsplit_once(' ').unwrap();
                let (_, labelled) = labels.split_once(&label).unwrap();
                let (key, _) = labelled.split_once('"').unwrap();
                *sums.entry(key.to_owned()).or_default() += value.parse::<u64>().unwrap();
            }
        }
        sums
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
