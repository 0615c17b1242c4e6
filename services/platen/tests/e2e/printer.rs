//! A printer that speaks CWMP: holds parameters, does what it is asked, remembers what that was.

use bytes::Bytes;
use platen_cwmp::{
    date_time::DateTime,
    event_code::EventCode,
    fault::{Fault, FaultCode, ParameterFault},
    identity::Identity,
    rpc::{
        AcsRequest, AddObjectResponse, CpeRequest, CpeResponse, DeviceIdStruct, Download, Event,
        GetParameterValuesResponse, Inform, ParameterValue, SetParameterValuesResponse, Status,
        TransferComplete, TransferStatus, ValueType,
    },
    soap::{CpeMessage, Envelope, Header, Version},
};
use platen_swarm::{
    peer::{Peer, Target},
    session::{self, Broken},
};
use std::collections::BTreeMap;

/// The printer.
pub(crate) struct Printer {
    identity: DeviceIdStruct,
    peer: Peer,
    pub(crate) parameters: BTreeMap<String, (String, ValueType)>,
    /// Every RPC that it was asked for, in order.
    pub(crate) asked: Vec<AcsRequest>,
    /// Answers that it gives instead of its own, each once.
    scripted: Vec<CpeResponse>,
    /// Its clock: moves on with every Inform, so that no two are alike.
    seconds: i64,
}

/// Parameters that stand in every Inform.
const FORCED: [&str; 7] = [
    "Device.RootDataModelVersion",
    "Device.DeviceInfo.HardwareVersion",
    "Device.DeviceInfo.SoftwareVersion",
    "Device.DeviceInfo.ModelName",
    "Device.ManagementServer.ConnectionRequestURL",
    "Device.ManagementServer.ParameterKey",
    "Device.Services.MFPService.1.Counters.Total.TotalImpressions",
];

impl Printer {
    pub(crate) fn new(oui: &str, product_class: &str, serial_number: &str, peer: Peer) -> Self {
        let parameters = [
            ("Device.RootDataModelVersion", "2.11", ValueType::String),
            (
                "Device.DeviceInfo.Manufacturer",
                "Example",
                ValueType::String,
            ),
            (
                "Device.DeviceInfo.ModelName",
                "LaserPro 9",
                ValueType::String,
            ),
            ("Device.DeviceInfo.HardwareVersion", "B", ValueType::String),
            (
                "Device.DeviceInfo.SoftwareVersion",
                "1.4",
                ValueType::String,
            ),
            (
                "Device.ManagementServer.ConnectionRequestURL",
                "http://127.0.0.1:9/cr",
                ValueType::String,
            ),
            (
                "Device.ManagementServer.ConnectionRequestUsername",
                "",
                ValueType::String,
            ),
            (
                "Device.ManagementServer.ConnectionRequestPassword",
                "",
                ValueType::String,
            ),
            (
                "Device.ManagementServer.ParameterKey",
                "",
                ValueType::String,
            ),
            (
                "Device.ManagementServer.PeriodicInformInterval",
                "86400",
                ValueType::UnsignedInt,
            ),
        ];
        Self {
            identity: DeviceIdStruct {
                manufacturer: "Example".to_owned(),
                oui: oui.to_owned(),
                product_class: product_class.to_owned(),
                serial_number: serial_number.to_owned(),
            },
            peer,
            parameters: parameters
                .into_iter()
                .map(|(name, value, kind)| (name.to_owned(), (value.to_owned(), kind)))
                .collect(),
            asked: Vec::new(),
            scripted: Vec::new(),
            seconds: 1_795_000_000,
        }
    }

    pub(crate) fn id(&self) -> String {
        Identity::of(&self.identity).unwrap().to_string()
    }

    /// Path of the device in URLs: the percent sign of the id is itself encoded.
    pub(crate) fn path(&self) -> String {
        format!("tenants/default/devices/{}", self.id().replace('%', "%25"))
    }

    pub(crate) fn set(&mut self, name: &str, value: &str, kind: ValueType) {
        self.parameters
            .insert(name.to_owned(), (value.to_owned(), kind));
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        &self.parameters[name].0
    }

    /// Talks to another process of the server from here on.
    pub(crate) fn move_to(&mut self, target: Target) {
        self.peer.move_to(target);
    }

    /// An Inform of now, with what belongs in every Inform.
    pub(crate) fn inform(&mut self, events: Vec<Event>) -> Inform {
        self.seconds += 60;
        let time = jiff::Timestamp::from_second(self.seconds).unwrap();
        let parameters = FORCED
            .iter()
            .filter_map(|name| Some(parameter(name, self.parameters.get(*name)?)))
            .collect();
        Inform {
            device_id: self.identity.clone(),
            events,
            current_time: DateTime::at(time),
            parameters,
            ..Inform::default()
        }
    }

    /// Calls the server; a whole session.
    pub(crate) async fn call(&mut self, events: &[EventCode]) -> Result<(), Broken> {
        let inform = self.inform(events.iter().cloned().map(Event::new).collect());
        self.report(inform, Vec::new()).await
    }

    /// A session with requests of the printer's own.
    pub(crate) async fn report(
        &mut self,
        inform: Inform,
        requests: Vec<CpeRequest>,
    ) -> Result<(), Broken> {
        self.report_until(inform, requests, || ()).await
    }

    /// The same; `acknowledged` is called once the server has the Inform.
    pub(crate) async fn report_until(
        &mut self,
        inform: Inform,
        requests: Vec<CpeRequest>,
        acknowledged: impl FnMut(),
    ) -> Result<(), Broken> {
        self.peer.forget_cookies();
        let Self {
            peer,
            parameters,
            asked,
            scripted,
            ..
        } = self;
        let serve = |request: AcsRequest| {
            asked.push(request.clone());
            let fits = |answer: &CpeResponse| answer.method() == request.method();
            match scripted.iter().position(fits) {
                Some(at) => Ok(scripted.remove(at)),
                None => serve(parameters, request),
            }
        };
        session::run(peer, inform, requests, acknowledged, serve).await
    }

    /// Gives this answer the next time that it is asked for what it answers.
    pub(crate) fn answers(&mut self, answer: CpeResponse) {
        self.scripted.push(answer);
    }

    /// The end of a download: what the printer reports after it has started the new firmware.
    pub(crate) async fn finish(
        &mut self,
        download: &Download,
        version: &str,
    ) -> Result<(), Broken> {
        self.end_transfer("Download", &download.command_key, Some(version))
            .await
    }

    /// The end of a transfer that `method` began; `version`: of the firmware that the printer has started since.
    pub(crate) async fn end_transfer(
        &mut self,
        method: &str,
        command_key: &str,
        version: Option<&str>,
    ) -> Result<(), Broken> {
        let mut events = vec![
            Event::new(EventCode::TransferComplete),
            Event::method(method, command_key),
        ];
        if let Some(version) = version {
            let path = "Device.DeviceInfo.SoftwareVersion";
            self.set(path, version, ValueType::String);
            events.insert(0, Event::new(EventCode::Boot));
        }
        let inform = self.inform(events);
        let complete = TransferComplete {
            command_key: command_key.to_owned(),
            fault: None,
            start_time: inform.current_time.clone(),
            complete_time: inform.current_time.clone(),
        };
        self.report(inform, vec![CpeRequest::TransferComplete(complete)])
            .await
    }

    /// Opens a session and leaves it open; the status of the answer.
    pub(crate) async fn begin(&mut self) -> u16 {
        self.peer.forget_cookies();
        let inform = self.inform(vec![Event::new(EventCode::Periodic)]);
        let message = CpeMessage::Request(CpeRequest::Inform(inform));
        let envelope = Envelope {
            namespace: Version::V1_0.namespace(),
            header: Header::with_id("1"),
            message,
        };
        self.post(envelope.to_xml().unwrap()).await.0
    }

    /// Posts bytes that need not be a message; status and body of the answer.
    pub(crate) async fn post(&mut self, body: impl Into<Bytes>) -> (u16, Bytes) {
        let answer = self.peer.post(body.into(), true).await.unwrap();
        (answer.status.as_u16(), answer.body)
    }

    /// The downloads that it was asked for.
    pub(crate) fn downloads(&self) -> impl Iterator<Item = &Download> {
        self.asked.iter().filter_map(|request| match request {
            AcsRequest::Download(download) => Some(download),
            _ => None,
        })
    }

    pub(crate) fn forget_asked(&mut self) {
        self.asked.clear();
    }
}

fn parameter(name: &str, (value, kind): &(String, ValueType)) -> ParameterValue {
    ParameterValue::new(name, value.as_str(), *kind)
}

fn serve(
    parameters: &mut BTreeMap<String, (String, ValueType)>,
    request: AcsRequest,
) -> Result<CpeResponse, Fault> {
    match request {
        AcsRequest::GetParameterValues(get) => {
            let mut values = Vec::new();
            for path in &get.names {
                let before = values.len();
                let fits = |name: &String| {
                    name == path
                        || (path.is_empty() || path.ends_with('.'))
                            && name.starts_with(path.as_str())
                };
                values.extend(
                    parameters
                        .iter()
                        .filter(|(name, _)| fits(name))
                        .map(|(name, value)| parameter(name, value)),
                );
                if values.len() == before {
                    return Err(Fault::new(FaultCode::INVALID_PARAMETER_NAME));
                }
            }
            Ok(CpeResponse::GetParameterValues(
                GetParameterValuesResponse { parameters: values },
            ))
        }
        AcsRequest::SetParameterValues(set) => {
            let unknown: Vec<ParameterFault> = set
                .parameters
                .iter()
                .filter(|value| !parameters.contains_key(&value.name))
                .map(|value| ParameterFault {
                    name: value.name.clone(),
                    code: FaultCode::INVALID_PARAMETER_NAME,
                    string: "no such parameter".to_owned(),
                })
                .collect();
            if !unknown.is_empty() {
                return Err(Fault {
                    parameters: unknown,
                    ..Fault::new(FaultCode::INVALID_ARGUMENTS)
                });
            }
            for value in set.parameters {
                if let Some((known, _)) = parameters.get_mut(&value.name) {
                    *known = value.value;
                }
            }
            Ok(CpeResponse::SetParameterValues(
                SetParameterValuesResponse {
                    status: Status::Applied,
                },
            ))
        }
        AcsRequest::AddObject(add) => {
            parameters.insert(
                format!("{}2.Enable", add.object_name),
                ("false".to_owned(), ValueType::Boolean),
            );
            Ok(CpeResponse::AddObject(AddObjectResponse {
                instance_number: 2,
                status: Status::Applied,
            }))
        }
        AcsRequest::Reboot(_) => Ok(CpeResponse::Reboot),
        AcsRequest::Download(_) => Ok(CpeResponse::Download(TransferStatus::default())),
        _ => Err(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)),
    }
}
