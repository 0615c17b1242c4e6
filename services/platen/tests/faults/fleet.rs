//! Devices that call all the time, and a caller of the API that wants something of them.

use crate::{
    api::{Api, device_path},
    deployment::Deployment,
    device::{Device, OUI, Outcome, PROBE, PRODUCT_CLASS, SETTING},
    eventually::within,
    ledger::{Entry, Recorder},
};
use futures::{StreamExt, stream};
use platen_swarm::peer::{Credentials, Peer, Target};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// Artifacts that there are to download: a device gets them one after the other.
const ARTIFACTS: usize = 12;

/// How long a device waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long everything may take to settle once nothing is broken any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// What calls the server.
pub(crate) struct Fleet {
    api: Api,
    recorder: Arc<Recorder>,
    devices: JoinSet<Device>,
    clerk: JoinHandle<()>,
    /// Ends the requests for operations.
    closing: CancellationToken,
    /// Ends the sessions, once nothing is left to tell.
    leaving: CancellationToken,
    tally: Arc<Tally>,
    pace: watch::Sender<Duration>,
}

/// How many sessions went how.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: AtomicU64,
    turned_away: AtomicU64,
    unheard: AtomicU64,
    broken: AtomicU64,
}

impl Tally {
    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Ended => &self.ended,
            Outcome::TurnedAway => &self.turned_away,
            Outcome::Unheard => &self.unheard,
            Outcome::Broken => &self.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    pub(crate) fn unheard(&self) -> u64 {
        self.unheard.load(Ordering::Relaxed)
    }

    pub(crate) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions ended well, {} were turned away, {} not heard, {} broken",
            self.ended(),
            self.turned_away(),
            self.unheard(),
            self.broken()
        )
    }
}

/// How large and how busy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) devices: usize,
    /// Mean pause of a device between two sessions.
    pub(crate) pace: Duration,
    /// Mean pause between two requests for operations.
    pub(crate) operations: Duration,
}

impl Fleet {
    /// Registers the devices and the artifacts, and lets them call.
    pub(crate) async fn start(
        deployment: &Deployment,
        recorder: &Arc<Recorder>,
        plan: Plan,
        seed: u64,
    ) -> Self {
        let api = deployment.api();
        stream::iter(0..ARTIFACTS)
            .for_each_concurrent(4, |number| artifact(&api, number))
            .await;
        let target = format!("http://{}/cwmp/default", deployment.cwmp());
        let target = Arc::new(Target::resolve(&target).await.unwrap());
        let registered: Vec<(String, Credentials)> = stream::iter(0..plan.devices)
            .map(|number| register(&api, number))
            .buffered(8)
            .collect()
            .await;
        let (closing, leaving) = (CancellationToken::new(), CancellationToken::new());
        let tally = Arc::new(Tally::default());
        let pace = watch::Sender::new(plan.pace);
        let mut devices = JoinSet::new();
        let mut ids = Vec::with_capacity(plan.devices);
        for (number, (serial_number, credentials)) in registered.into_iter().enumerate() {
            let peer = Peer::new(Arc::clone(&target), Some(credentials), PATIENCE);
            let random = StdRng::seed_from_u64(seed ^ (number as u64 + 1) << 20);
            let device = Device::new(&serial_number, peer, Arc::clone(recorder), random);
            ids.push(device.id().to_owned());
            devices.spawn(live(
                device,
                pace.subscribe(),
                Arc::clone(&tally),
                leaving.clone(),
            ));
        }
        let clerk = Clerk {
            api: api.clone(),
            recorder: Arc::clone(recorder),
            downloads: vec![0; ids.len()],
            devices: ids,
            placed: 0,
            random: StdRng::seed_from_u64(!seed),
        };
        Self {
            api,
            recorder: Arc::clone(recorder),
            devices,
            clerk: tokio::spawn(clerk.work(plan.operations, closing.clone())),
            closing,
            leaving,
            tally,
            pace,
        }
    }

    /// From here on devices pause so long between two sessions, on average.
    pub(crate) fn pace(&self, pace: Duration) {
        self.pace.send_replace(pace);
    }

    /// How sessions have gone so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sessions per second that end well, over so long from now.
    pub(crate) async fn rate(&self, window: Duration) -> f64 {
        let before = self.tally.ended();
        tokio::time::sleep(window).await;
        (self.tally.ended() - before) as f64 / window.as_secs_f64()
    }

    /// Waits until so many sessions per second end well; how long that took.
    pub(crate) async fn reaches(&self, rate: f64, patience: Duration) -> Duration {
        let begin = Instant::now();
        let what = format!("{rate:.1} sessions per second");
        within(&what, patience, async || {
            (self.rate(Duration::from_secs(3)).await >= rate).then_some(())
        })
        .await;
        begin.elapsed()
    }

    /// Nothing new is asked for; waits until every operation has ended and every device has told everything, then until that has reached the
    /// store. Ends with the last session.
    pub(crate) async fn settle(mut self) {
        self.closing.cancel();
        self.clerk.await.unwrap();
        let begin = Instant::now();
        let mut open: Vec<String> = operations(&self.recorder);
        let placed = open.len();
        while !open.is_empty() && begin.elapsed() < SETTLED_WITHIN {
            let api = &self.api;
            open = stream::iter(open)
                .map(|operation| async move {
                    // The answer comes when the operation is over, or after that time.
                    let path = format!("operations/{operation}?wait=5s");
                    let found = api.find(&path).await;
                    let state = found.as_ref().and_then(|found| found["state"].as_str());
                    // One that is unknown is the checker's affair.
                    state
                        .is_some_and(|state| !crate::check::Kept::is_terminal(state))
                        .then_some(operation)
                })
                .buffer_unordered(8)
                .filter_map(std::future::ready)
                .collect()
                .await;
        }
        self.recorder.remark(&format!(
            "{placed} operations, {} of them open after {:.1} s",
            open.len(),
            begin.elapsed().as_secs_f64()
        ));
        self.leaving.cancel();
        let settle = async {
            while let Some(device) = self.devices.join_next().await {
                let device = device.unwrap();
                assert!(device.is_settled(), "{} has something to tell", device.id());
            }
        };
        tokio::time::timeout(SETTLED_WITHIN, settle)
            .await
            .expect("every device can tell what it has to tell");
    }
}

/// The operations that were accepted.
pub(crate) fn operations(recorder: &Recorder) -> Vec<String> {
    let entries = recorder.ledger().0.into_iter();
    entries
        .filter_map(|entry| match entry {
            Entry::Accepted { operation, .. } => Some(operation),
            _ => None,
        })
        .collect()
}

/// A device calls until it may leave and has nothing to tell.
async fn live(
    mut device: Device,
    mut pace: watch::Receiver<Duration>,
    tally: Arc<Tally>,
    leaving: CancellationToken,
) -> Device {
    // Not all at once.
    let mut wait = device.wait(*pace.borrow_and_update());
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = pace.changed() => {
                wait = device.wait(*pace.borrow_and_update());
                continue;
            }
            () = leaving.cancelled(), if device.is_settled() => return device,
        }
        tally.count(device.call().await);
        if leaving.is_cancelled() && device.is_settled() {
            return device;
        }
        wait = device.wait(*pace.borrow_and_update());
    }
}

async fn register(api: &Api, number: usize) -> (String, Credentials) {
    let serial_number = format!("F{number:04}");
    let (username, password) = (format!("fault-{number}"), format!("a password of {number}"));
    let body = json!({
        "oui": OUI, "productClass": PRODUCT_CLASS, "serialNumber": serial_number,
        "credentials": {"username": username, "password": password},
    });
    api.post("devices", body).await;
    let credentials = Credentials {
        username: username.into(),
        password: password.into(),
    };
    (serial_number, credentials)
}

/// An artifact whose bytes are its version.
async fn artifact(api: &Api, number: usize) {
    let version = format!("version {}", number + 1);
    let name = format!("tenants/default/artifacts/fw{number}");
    api.post("artifacts", json!({"name": name, "version": version}))
        .await;
    api.upload(&format!("artifacts/fw{number}:content"), version)
        .await;
}

/// Places operations.
struct Clerk {
    api: Api,
    recorder: Arc<Recorder>,
    devices: Vec<String>,
    /// Downloads placed, by device.
    downloads: Vec<usize>,
    placed: usize,
    random: StdRng,
}

impl Clerk {
    async fn work(mut self, pace: Duration, closing: CancellationToken) {
        loop {
            let pause = pace.mul_f64(self.random.random_range(0.5..1.5));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = closing.cancelled() => return,
            }
            self.place(&closing).await;
        }
    }

    /// Places one operation; without an answer, or while the server cannot take it, the same request is made again. Some are never told whether
    /// they were taken: those are not in the ledger.
    async fn place(&mut self, closing: &CancellationToken) {
        let device = self.random.random_range(0..self.devices.len());
        self.placed += 1;
        let key = format!("request-{}", self.placed);
        let (method, rpc_key, mut body) = match self.random.random_range(0..3) {
            0 => {
                let path = format!("{PROBE}{key}");
                let body = json!({"getParameterValues": {"paths": [path]}});
                ("GetParameterValues", path, body)
            }
            1 if self.downloads[device] < ARTIFACTS => {
                let artifact = format!("fw{}", self.downloads[device]);
                self.downloads[device] += 1;
                let body = json!({"download": {"artifact": artifact}});
                // The attempt has the operation's id.
                ("Download", String::new(), body)
            }
            _ => {
                let value = json!({"path": SETTING, "value": key, "type": "xsd:string"});
                let body = json!({"setParameterValues": {"values": [value], "parameterKey": key}});
                ("SetParameterValues", key.clone(), body)
            }
        };
        body["wake"] = Value::Bool(false);
        body["requestId"] = Value::String(key);
        let device = &self.devices[device];
        let path = format!("{}/operations", device_path(device));
        for _ in 0..20 {
            if let Some((status, answer)) = self.api.attempt(Method::POST, &path, Some(&body)).await
            {
                assert!(
                    !status.is_client_error(),
                    "POST {path} {body}: {status} {answer}"
                );
                if let Some(name) = answer["name"].as_str().filter(|_| status.is_success()) {
                    let operation = name.rsplit('/').next().unwrap().to_owned();
                    self.recorder.note(Entry::Accepted {
                        key: if rpc_key.is_empty() {
                            operation.clone()
                        } else {
                            rpc_key
                        },
                        operation,
                        device: device.clone(),
                        method: method.to_owned(),
                    });
                    return;
                }
            }
            if closing.is_cancelled() {
                return;
            }
            let pause = Duration::from_millis(self.random.random_range(100..1_000));
            tokio::time::sleep(pause).await;
        }
    }
}
