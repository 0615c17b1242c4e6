//! A printer that lives through faults: it keeps what was not acknowledged, comes again as TR-069 wants it, only faster, and writes all that it sees
//! into the ledger.

use crate::ledger::{Entry, Recorder};
use bytes::Bytes;
use platen_cwmp::{
    cpe::{self, Answered, Next},
    date_time::DateTime,
    event_code::EventCode,
    fault::{Fault, FaultCode},
    identity::Identity,
    rpc::{
        AcsRequest, CpeRequest, CpeResponse, DeviceIdStruct, Download, Event,
        GetParameterValuesResponse, Inform, ParameterValue, SetParameterValuesResponse, Status,
        TransferComplete, TransferStatus, ValueType,
    },
    soap::Version,
};
use platen_swarm::{
    peer::{Answer, Failure, Peer},
    session::Broken,
};
use rand::{RngExt, rngs::StdRng};
use reqwest::header::CONTENT_TYPE;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) const OUI: &str = "00D09E";
pub(crate) const PRODUCT_CLASS: &str = "Survivor";
/// The counter: of each Inform it is one more than of the one before, so that it names the Inform.
pub(crate) const COUNTER: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";
/// What operations set.
pub(crate) const SETTING: &str = "Device.DeviceInfo.ProvisioningCode";
/// Whatever is asked below it is there, and its value is its name.
pub(crate) const PROBE: &str = "Device.X_00D09E_Probe.";

/// How a session went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// To its end.
    Ended,
    /// 503: the device is to come again.
    TurnedAway,
    /// The Inform was not acknowledged, for another reason.
    Unheard,
    /// It broke after the Inform was acknowledged.
    Broken,
}

/// How often a POST inside a session is sent again because its answer did not come (SES-60).
const REPETITIONS: u32 = 2;

/// The printer.
pub(crate) struct Device {
    id: String,
    identity: DeviceIdStruct,
    peer: Peer,
    http: reqwest::Client,
    recorder: Arc<Recorder>,
    random: StdRng,
    values: BTreeMap<&'static str, String>,
    counter: u64,
    /// The Inform that was not acknowledged yet.
    pending: Option<Inform>,
    /// Failed sessions in a row.
    failures: u32,
    /// Downloads that it was asked for and has not yet made.
    downloads: VecDeque<Download>,
    /// The download that it has made, until its TransferComplete is answered.
    arrived: Option<String>,
    /// Whether it was ever acknowledged: until then it reports BOOTSTRAP.
    installed: bool,
}

impl Device {
    pub(crate) fn new(
        serial_number: &str,
        peer: Peer,
        recorder: Arc<Recorder>,
        random: StdRng,
    ) -> Self {
        let identity = DeviceIdStruct {
            manufacturer: "Example".to_owned(),
            oui: OUI.to_owned(),
            product_class: PRODUCT_CLASS.to_owned(),
            serial_number: serial_number.to_owned(),
        };
        let values = [
            ("Device.RootDataModelVersion", "2.15"),
            ("Device.DeviceInfo.HardwareVersion", "B"),
            ("Device.DeviceInfo.SoftwareVersion", "0"),
            (SETTING, ""),
            // Nobody is reached there: sessions begin when the device wants.
            (
                "Device.ManagementServer.ConnectionRequestURL",
                "http://127.0.0.1:9/cr",
            ),
            ("Device.ManagementServer.ParameterKey", ""),
            ("Device.ManagementServer.ConnectionRequestUsername", ""),
            ("Device.ManagementServer.ConnectionRequestPassword", ""),
        ];
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build();
        Self {
            id: Identity::of(&identity).unwrap().to_string(),
            identity,
            peer,
            http: http.unwrap(),
            recorder,
            random,
            values: values
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            counter: 0,
            pending: None,
            failures: 0,
            downloads: VecDeque::new(),
            arrived: None,
            installed: false,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether it has nothing left to tell.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_none() && self.arrived.is_none() && self.downloads.is_empty()
    }

    /// How long it waits before it comes again: after a session that ended well about `pace`, else as TR-069 §3.2.1.1 says, with a tenth of a second
    /// in place of five seconds, and no more than six doublings.
    pub(crate) fn wait(&mut self, pace: Duration) -> Duration {
        if self.failures == 0 {
            return pace.mul_f64(self.random.random_range(0.5..1.5));
        }
        cpe::retry_wait(self.failures.min(6), 1, 2000, self.random.random()) / 10
    }

    /// One session; what was not acknowledged comes again.
    pub(crate) async fn call(&mut self) -> Outcome {
        self.fetch().await;
        let inform = self.inform();
        self.note(Entry::Sent {
            device: self.id.clone(),
            counter: counter(&inform),
        });
        let ended = self.session(&inform).await;
        if ended.is_ok() {
            self.failures = 0;
        } else {
            self.failures += 1;
        }
        match ended {
            Ok(()) => Outcome::Ended,
            Err(Broken::Busy) if self.pending.is_some() => Outcome::TurnedAway,
            Err(_) if self.pending.is_some() => Outcome::Unheard,
            Err(broken) => {
                self.note(Entry::Broken {
                    device: self.id.clone(),
                    why: broken.to_string(),
                });
                Outcome::Broken
            }
        }
    }

    /// The Inform that was not acknowledged, as it was or with what has become of the device since; or the next one.
    fn inform(&mut self) -> Inform {
        let pending = self.pending.take();
        let retry_count = pending.as_ref().map_or(0, |inform| inform.retry_count + 1);
        let inform = match pending {
            Some(inform) if self.random.random_bool(0.75) => Inform {
                retry_count,
                ..inform
            },
            _ => {
                self.counter += 1;
                Inform {
                    retry_count,
                    ..self.fresh()
                }
            }
        };
        self.pending = Some(inform.clone());
        inform
    }

    fn fresh(&self) -> Inform {
        let mut events = Vec::new();
        if !self.installed {
            events.extend([
                Event::new(EventCode::Bootstrap),
                Event::new(EventCode::Boot),
            ]);
        }
        if let Some(command_key) = &self.arrived {
            if self.installed {
                events.push(Event::new(EventCode::Boot));
            }
            events.push(Event::new(EventCode::TransferComplete));
            events.push(Event::method("Download", command_key.clone()));
        }
        if events.is_empty() {
            events.push(Event::new(EventCode::Periodic));
        }
        let told = [
            "Device.RootDataModelVersion",
            "Device.DeviceInfo.HardwareVersion",
            "Device.DeviceInfo.SoftwareVersion",
            SETTING,
            "Device.ManagementServer.ConnectionRequestURL",
            "Device.ManagementServer.ParameterKey",
        ];
        let mut parameters: Vec<ParameterValue> = told
            .iter()
            .map(|name| ParameterValue::new(*name, self.values[name].as_str(), ValueType::String))
            .collect();
        parameters.push(ParameterValue::new(
            COUNTER,
            self.counter.to_string(),
            ValueType::UnsignedLong,
        ));
        Inform {
            device_id: self.identity.clone(),
            events,
            current_time: DateTime::at(jiff::Timestamp::now()),
            parameters,
            ..Inform::default()
        }
    }

    async fn session(&mut self, inform: &Inform) -> Result<(), Broken> {
        let opening = cpe::Opening {
            inform: inform.clone(),
            version: Version::V1_2,
            session_timeout: None,
        };
        let (mut session, mut post) = cpe::Session::open(opening).map_err(|_| Broken::Protocol)?;
        // What the Inform announces is told in its session.
        if let Some(command_key) = self.arrived.clone().filter(|key| announces(inform, key)) {
            let complete = TransferComplete {
                command_key,
                ..TransferComplete::default()
            };
            session.push(CpeRequest::TransferComplete(complete));
        }
        self.peer.forget_cookies();
        // Some sessions come by another connection, and so to another process, with every POST.
        let hops = self.random.random_bool(0.3);
        let mut is_inform = true;
        loop {
            if hops {
                self.peer.disconnect();
            }
            let answer = self.post(post.into(), is_inform).await?;
            is_inform = false;
            let status = answer.status.as_u16();
            if status == 503 {
                return Err(Broken::Busy);
            }
            let content_type = answer
                .headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok());
            let step = session
                .receive(status, &answer.body, content_type)
                .map_err(|failure| match failure {
                    cpe::Failure::Status(status) => Broken::Status(status),
                    _ => Broken::Protocol,
                })?;
            if let Some(answered) = step.answered {
                self.answered(inform, &answered);
            }
            post = match step.next {
                Next::Post(post) => post,
                Next::Serve(request) => {
                    let answer = self.serve(request);
                    session.respond(answer).map_err(|_| Broken::Protocol)?
                }
                Next::Done => return Ok(()),
            };
        }
    }

    /// Posts; inside a session, what has no answer is sent again.
    async fn post(&mut self, body: Bytes, is_inform: bool) -> Result<Answer, Failure> {
        let mut left = if is_inform { 0 } else { REPETITIONS };
        loop {
            match self.peer.post(body.clone(), is_inform).await {
                Err(_) if left > 0 => left -= 1,
                answered => return answered,
            }
            let pause = Duration::from_millis(self.random.random_range(20..500));
            tokio::time::sleep(pause).await;
        }
    }

    fn answered(&mut self, inform: &Inform, answered: &Answered) {
        let device = self.id.clone();
        match answered {
            Answered::Inform => {
                self.pending = None;
                self.installed = true;
                self.note(Entry::Acknowledged {
                    device,
                    counter: counter(inform),
                });
            }
            Answered::Request { request, .. } => {
                if let CpeRequest::TransferComplete(complete) = &**request {
                    self.arrived = None;
                    self.note(Entry::Completed {
                        device,
                        command_key: complete.command_key.clone(),
                    });
                }
            }
        }
    }

    fn serve(&mut self, request: AcsRequest) -> Result<CpeResponse, Fault> {
        let key = match &request {
            AcsRequest::Download(download) => download.command_key.clone(),
            AcsRequest::SetParameterValues(set) => set.parameter_key.clone(),
            AcsRequest::GetParameterValues(get) => get.names.join(" "),
            _ => String::new(),
        };
        self.note(Entry::Asked {
            device: self.id.clone(),
            method: request.method().to_owned(),
            key,
        });
        match request {
            AcsRequest::GetParameterValues(get) => {
                let parameters: Option<Vec<ParameterValue>> =
                    get.names.iter().map(|name| self.read(name)).collect();
                let parameters =
                    parameters.ok_or_else(|| Fault::new(FaultCode::INVALID_PARAMETER_NAME))?;
                Ok(CpeResponse::GetParameterValues(
                    GetParameterValuesResponse { parameters },
                ))
            }
            AcsRequest::SetParameterValues(set) => {
                for value in set.parameters {
                    if let Some(known) = self.values.get_mut(value.name.as_str()) {
                        *known = value.value;
                    }
                }
                let status = Status::Applied;
                Ok(CpeResponse::SetParameterValues(
                    SetParameterValuesResponse { status },
                ))
            }
            AcsRequest::Download(download) => {
                // It will make it later, and say so.
                self.downloads.push_back(download);
                Ok(CpeResponse::Download(TransferStatus {
                    status: Status::Pending,
                    ..TransferStatus::default()
                }))
            }
            _ => Err(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)),
        }
    }

    fn read(&self, name: &str) -> Option<ParameterValue> {
        let value = match name.strip_prefix(PROBE) {
            Some(probe) => probe,
            None => self.values.get(name)?,
        };
        Some(ParameterValue::new(name, value, ValueType::String))
    }

    /// Makes the next download: the file holds the version that the device has from then on.
    async fn fetch(&mut self) {
        if self.arrived.is_some() || self.pending.is_some() {
            return;
        }
        let Some(download) = self.downloads.front() else {
            return;
        };
        let Ok(response) = self.http.get(&download.url).send().await else {
            return;
        };
        let status = response.status();
        assert!(
            !status.is_client_error(),
            "{}: {} answered {status}",
            self.id,
            download.url
        );
        let Some(version) = response.text().await.ok().filter(|_| status.is_success()) else {
            return;
        };
        self.values
            .insert("Device.DeviceInfo.SoftwareVersion", version);
        self.arrived = Some(download.command_key.clone());
        self.downloads.pop_front();
    }

    fn note(&self, entry: Entry) {
        self.recorder.note(entry);
    }
}

fn counter(inform: &Inform) -> u64 {
    inform.parameter(COUNTER).unwrap().parse().unwrap()
}

/// Whether the Inform says that this transfer is complete.
fn announces(inform: &Inform, command_key: &str) -> bool {
    inform
        .events
        .iter()
        .any(|event| event.code == EventCode::TransferComplete)
        && inform
            .events
            .iter()
            .any(|event| event.command_key == command_key)
}
