//! A running service, and the hands of its neighbours: the edge that reports, northbound that writes rows and notices.

use platen_bus::{
    Follower, From, Log, NewRecord, Record,
    embedded::EmbeddedLog,
    watched::{Counts, Watched},
};
use platen_embedded::{Database, Options};
use platen_firmware::{Config, Deps, run};
use platen_proto::{
    device::v1::CwmpFault,
    event::v1::{Event, Inform, event::Data},
    firmware::v1::{Artifact, Compatibility, artifact},
    operation::v1::{
        Download, Operation, OperationRequest, OperationResult, ParameterValue,
        operation_request::Action,
    },
    report::v1::{CommandDone, Notice, Report, command_done::Outcome, report::Body},
    store::v1::{ArtifactRow, Attempt, Claim, Command, Observed, Progress, claim::By},
    topic::{Kind, Topic},
};
use platen_runtime::{keys::Keys, metrics::Metrics};
use platen_store::{
    Store, commands,
    embedded::EmbeddedTables,
    rows,
    table::Expect,
    tables::{Artifacts, ObservedDevices, OpenTransfers, ProgressOfOperations},
};
use prost::Message;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const TENANT: &str = "default";
pub(crate) const DEVICE: &str = "00D09E-LaserPro-SN1";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// When the tests take place: in 2100, so that the clock never makes one of their timers due.
pub(crate) const NOW_US: i64 = 4_102_444_800_000_000;
const SECOND: i64 = 1_000_000;

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) counts: Arc<Counts>,
    changes: Box<dyn Follower>,
    wakes: Box<dyn Follower>,
    clock_us: i64,
    notices: u32,
    service: Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>,
    _dir: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let database = Database::open(dir.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&database, &store).await.unwrap());
        let changes = log.follow(&[Topic::Changes], From::Now).await.unwrap();
        let wakes = log.follow(&[Topic::Wake], From::Now).await.unwrap();
        let mut rig = Self {
            store,
            log,
            counts: Arc::default(),
            changes,
            wakes,
            clock_us: NOW_US,
            notices: 0,
            service: None,
            _dir: dir,
        };
        rig.serve();
        rig
    }

    fn serve(&mut self) {
        let shutdown = CancellationToken::new();
        let counts = &self.counts;
        let deps = Deps {
            store: Store::new(platen_store::watched::Watched::new(
                self.store.tables().clone(),
                counts.clone(),
            )),
            log: Watched::new(self.log.clone(), counts.clone()),
            keys: Arc::new(Keys::from_bytes(&[7; 32])),
            metrics: Metrics::new("test").unwrap(),
        };
        self.service = Some((
            tokio::spawn(run(Config::default(), deps, shutdown.clone())),
            shutdown,
        ));
    }

    /// Stops the service and starts another on the same data.
    pub(crate) async fn restart(&mut self) {
        if let Some((service, shutdown)) = self.service.take() {
            shutdown.cancel();
            timeout(PATIENCE, service).await.unwrap().unwrap().unwrap();
        }
        self.serve();
    }

    pub(crate) fn advance(&mut self, us: i64) {
        self.clock_us += us;
    }

    /// Appends records and waits until the service has passed them.
    pub(crate) async fn append(&mut self, records: Vec<NewRecord>) {
        self.log.append(records).await.unwrap();
        let passed = async {
            while self.log.lag("firmware", &[Topic::Reports]).await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, passed)
            .await
            .expect("the service passes what it is given");
    }

    pub(crate) async fn report(&mut self, report: Report) {
        let record = self.record(report);
        self.append(vec![record]).await;
    }

    /// A report of the device as the edge appends it.
    pub(crate) fn record(&mut self, mut report: Report) -> NewRecord {
        self.clock_us += SECOND;
        report.time_us = self.clock_us;
        let kind = match report.body.as_ref().unwrap() {
            Body::Inform(_) => Kind::Inform,
            Body::TransferComplete(_) => Kind::Transfer,
            Body::DeviceRequest(_) => Kind::Request,
            Body::CommandDone(_) => Kind::Done,
            Body::Woken(_) => Kind::Woken,
        };
        let id = format!("{}/{}/{}", report.session, report.ordinal, report.part);
        self.new_record(kind, id, &report)
    }

    pub(crate) async fn notice(&mut self, kind: &str, id: &str) {
        self.service_notice("", kind, id).await;
    }

    /// A notice that a timer of the service makes.
    pub(crate) async fn timer(&mut self, kind: &str, id: &str) {
        self.service_notice("firmware", kind, id).await;
    }

    async fn service_notice(&mut self, service: &str, kind: &str, id: &str) {
        self.clock_us += SECOND;
        self.notices += 1;
        let notice = Notice {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            kind: kind.into(),
            id: id.into(),
            service: service.into(),
            time_us: self.clock_us,
        };
        let record = self.new_record(Kind::Notice, format!("notice-{}", self.notices), &notice);
        self.append(vec![record]).await;
    }

    fn new_record(&self, kind: Kind, id: String, payload: &impl Message) -> NewRecord {
        NewRecord {
            topic: Topic::Reports,
            shard: platen_ids::shard(TENANT, DEVICE),
            key: format!("{TENANT}/{DEVICE}"),
            kind,
            id,
            time_us: self.clock_us,
            payload: payload.encode_to_vec().into(),
        }
    }

    pub(crate) async fn download(&mut self, id: &str, artifact: &str) -> Command {
        let download = Download {
            artifact: artifact.into(),
            ..Download::default()
        };
        self.operate(id, Action::Download(download)).await
    }

    /// An operation, as northbound writes it: rows, then the notice.
    pub(crate) async fn operate(&mut self, id: &str, action: Action) -> Command {
        let command = Command {
            id: id.into(),
            tenant: TENANT.into(),
            device: DEVICE.into(),
            owner: "firmware".into(),
            operation: id.into(),
            request: Some(OperationRequest {
                action: Some(action),
                ..OperationRequest::default()
            }),
            once: true,
            create_time_us: self.clock_us,
            expire_time_us: self.clock_us + 7 * 86_400 * SECOND,
            wake: true,
            ..Command::default()
        };
        self.store
            .write(commands::record_operation(&command))
            .await
            .unwrap();
        self.notice("OPERATION_CREATED", id).await;
        command
    }

    /// A session takes an operation, as the edge does before it sends it.
    pub(crate) async fn claim(&mut self, id: &str, session: &str) {
        self.clock_us += SECOND;
        let claim = Claim {
            by: By::Session.into(),
            holder: session.into(),
            time_us: self.clock_us,
        };
        assert_eq!(
            self.store.claim(TENANT, id, &claim).await.unwrap(),
            None,
            "{id} is claimed already"
        );
    }

    /// An artifact with version 2 and its bytes.
    pub(crate) async fn artifact(
        &self,
        id: &str,
        file_type: &str,
        compatibility: Compatibility,
        state: artifact::State,
    ) {
        let artifact = Artifact {
            name: format!("tenants/{TENANT}/artifacts/{id}"),
            file_type: file_type.into(),
            version: "2".into(),
            compatibility: Some(compatibility),
            state: state.into(),
            size_bytes: 42,
            ..Artifact::default()
        };
        let row = ArtifactRow {
            artifact: Some(artifact),
            ..ArtifactRow::default()
        };
        self.store
            .compare_and_set::<Artifacts>((TENANT, id), Expect::Absent, Some(&row))
            .await
            .unwrap();
    }

    /// What inventory knows of the device.
    pub(crate) async fn observed(&self, manufacturer: &str, version: &str) {
        let observed = Observed {
            manufacturer: manufacturer.into(),
            product_class: "LaserPro".into(),
            software_version: version.into(),
            first_inform_us: NOW_US,
            ..Observed::default()
        };
        let write = rows::write::<ObservedDevices>((TENANT, DEVICE), &observed, 1);
        self.store.write(vec![write]).await.unwrap();
    }

    pub(crate) async fn open(&self) -> Vec<Attempt> {
        self.store
            .get::<OpenTransfers>((TENANT, DEVICE))
            .await
            .unwrap()
            .unwrap_or_default()
            .open
    }

    pub(crate) async fn queue(&self) -> Vec<Command> {
        self.store.queued(TENANT, DEVICE).await.unwrap()
    }

    pub(crate) async fn progress(&self, operation: &str) -> Option<Progress> {
        self.store
            .get::<ProgressOfOperations>((TENANT, operation))
            .await
            .unwrap()
    }

    /// The next operation that is said to be done.
    pub(crate) async fn operation_done(&mut self) -> (String, Operation) {
        let record = next(&mut self.changes).await;
        let event = Event::decode(record.record.payload.clone()).unwrap();
        match event.data {
            Some(Data::Operation(operation)) => (event.id, operation),
            other => panic!("not an operation: {other:?}"),
        }
    }

    /// All further operations that are said to be done.
    pub(crate) async fn operations_done(&mut self) -> Vec<(String, Operation)> {
        let records = timeout(Duration::from_millis(50), self.changes.next(10)).await;
        let records = records.map_or_else(|_| Vec::new(), |records| records.unwrap());
        let events = records
            .iter()
            .map(|record| Event::decode(record.record.payload.clone()).unwrap());
        events
            .map(|event| match event.data {
                Some(Data::Operation(operation)) => (event.id, operation),
                other => panic!("not an operation: {other:?}"),
            })
            .collect()
    }

    /// The next connection request: its number.
    pub(crate) async fn wake(&mut self) -> u32 {
        let record = next(&mut self.wakes).await;
        platen_proto::report::v1::Wake::decode(record.record.payload.clone())
            .unwrap()
            .attempt
    }

    /// How many connection requests there are beyond those that were looked at.
    pub(crate) async fn further_wakes(&mut self) -> usize {
        timeout(Duration::from_millis(50), self.wakes.next(10))
            .await
            .map_or(0, |records| records.unwrap().len())
    }
}

async fn next(follower: &mut Box<dyn Follower>) -> Arc<Record> {
    timeout(PATIENCE, follower.next(1))
        .await
        .expect("a record comes")
        .unwrap()
        .remove(0)
}

/// A report of the device. Deciding, and in one part.
pub(crate) fn said(session: &str, ordinal: u32, body: Body) -> Report {
    Report {
        tenant: TENANT.into(),
        device: DEVICE.into(),
        oui: "00D09E".into(),
        product_class: "LaserPro".into(),
        serial_number: "SN1".into(),
        session: session.into(),
        ordinal,
        deciding: true,
        last: true,
        body: Some(body),
        ..Report::default()
    }
}

/// An Inform with these events (code, command key) and parameters.
pub(crate) fn inform(
    session: &str,
    events: &[(&str, &str)],
    parameters: &[(&str, &str)],
) -> Report {
    let body = Inform {
        events: events
            .iter()
            .map(|(event, _)| (*event).to_owned())
            .collect(),
        command_keys: events.iter().map(|(_, key)| (*key).to_owned()).collect(),
        parameters: parameters
            .iter()
            .map(|(path, value)| parameter(path, value))
            .collect(),
        ..Inform::default()
    };
    let deciding = !events.iter().all(|(event, _)| *event == "2 PERIODIC");
    Report {
        deciding,
        ..said(session, 0, Body::Inform(body))
    }
}

pub(crate) fn answer(command: &Command, session: &str, ordinal: u32, outcome: Outcome) -> Report {
    let done = CommandDone {
        command: command.id.clone(),
        owner: command.owner.clone(),
        operation: command.operation.clone(),
        outcome: Some(outcome),
        ..CommandDone::default()
    };
    said(session, ordinal, Body::CommandDone(done))
}

pub(crate) fn status(status: i32) -> Outcome {
    Outcome::Result(OperationResult {
        status: Some(status),
        ..OperationResult::default()
    })
}

pub(crate) fn fault(code: i32) -> Outcome {
    Outcome::Fault(CwmpFault {
        code,
        string: "refused".into(),
        parameter_faults: Vec::new(),
    })
}

pub(crate) fn parameter(path: &str, value: &str) -> ParameterValue {
    ParameterValue {
        path: path.into(),
        value: value.into(),
        r#type: "xsd:string".into(),
    }
}
