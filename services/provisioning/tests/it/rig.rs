//! A running service, and the hands of its neighbours: the edge that reports, northbound that writes rows and notices.

use async_trait::async_trait;
use platen_bus::{
    Follower, From, Log, NewRecord, Record,
    embedded::EmbeddedLog,
    watched::{self, Watched},
};
use platen_embedded::{Database, Options};
use platen_proto::{
    device::v1::CwmpFault,
    event::v1::{Event, Inform, event::Data},
    operation::v1::{
        Operation, OperationRequest, OperationResult, ParameterValue, SetParameterValues,
        operation_request::Action,
    },
    provisioning::v1::Profile,
    report::v1::{CommandDone, Notice, Report, command_done::Outcome, report::Body},
    store::v1::{Claim, Command, Desired, ProfileRow, Progress, Timer, claim::By},
    topic::{Kind, Topic},
};
use platen_provisioning::{Config, Deps, run};
use platen_runtime::{keys::Keys, metrics::Metrics};
use platen_sessions::{DecidedMarks, memory::MemoryMarks};
use platen_store::{
    Entity, Store, commands,
    embedded::EmbeddedTables,
    table::{Expect, Part, Range},
    tables::{DesiredStates, Profiles, ProgressOfOperations, Timers},
    timers,
};
use prost::Message;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const TENANT: &str = "default";
pub(crate) const DEVICE: &str = "00D09E-LaserPro-SN1";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// When the tests take place: in 2100, so that the clock never makes one of their timers due.
pub(crate) const NOW_US: i64 = 4_102_444_800_000_000;
const SECOND: i64 = 1_000_000;

/// What the service has asked of its neighbours, the walking of timers apart.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) ports: Arc<watched::Counts>,
    pub(crate) marks: AtomicUsize,
}

impl Counts {
    pub(crate) fn all(&self) -> [usize; 4] {
        let [reads, writes, appended] = self.ports.all();
        [reads, writes, appended, self.marks.load(Ordering::SeqCst)]
    }
}

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) marks: Arc<MemoryMarks>,
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
            marks: Arc::new(MemoryMarks::new()),
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
                counts.ports.clone(),
            )),
            log: Watched::new(self.log.clone(), counts.ports.clone()),
            keys: Arc::new(Keys::from_bytes(&[7; 32])),
            marks: Arc::new(CountedMarks(self.marks.clone(), counts.clone())),
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

    pub(crate) fn advance(&mut self, time: Duration) {
        self.clock_us += i64::try_from(time.as_micros()).unwrap();
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.clock_us
    }

    /// Appends records and waits until the service has passed them.
    pub(crate) async fn append(&mut self, records: Vec<NewRecord>) {
        self.log.append(records).await.unwrap();
        let passed = async {
            while self
                .log
                .lag("provisioning", &[Topic::Reports])
                .await
                .unwrap()
                > 0
            {
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
        self.new_record(DEVICE, kind, id, &report)
    }

    pub(crate) async fn notice(&mut self, kind: &str, id: &str) {
        let device = if kind == "PROFILE_CHANGED" {
            ""
        } else {
            DEVICE
        };
        self.service_notice("", device, kind, id).await;
    }

    /// A notice that a timer of the service makes.
    pub(crate) async fn timer(&mut self, kind: &str, id: &str) {
        self.service_notice("provisioning", DEVICE, kind, id).await;
    }

    async fn service_notice(&mut self, service: &str, device: &str, kind: &str, id: &str) {
        self.clock_us += SECOND;
        self.notices += 1;
        let notice = Notice {
            tenant: TENANT.into(),
            device: device.into(),
            kind: kind.into(),
            id: id.into(),
            service: service.into(),
            time_us: self.clock_us,
        };
        let subject = if device.is_empty() {
            format!("~profile/{id}")
        } else {
            device.to_owned()
        };
        let record = self.new_record(
            &subject,
            Kind::Notice,
            format!("notice-{}", self.notices),
            &notice,
        );
        self.append(vec![record]).await;
    }

    fn new_record(
        &self,
        subject: &str,
        kind: Kind,
        id: String,
        payload: &impl Message,
    ) -> NewRecord {
        NewRecord {
            topic: Topic::Reports,
            shard: platen_ids::shard(TENANT, subject),
            key: format!("{TENANT}/{subject}"),
            kind,
            id,
            time_us: self.clock_us,
            payload: payload.encode_to_vec().into(),
        }
    }

    /// An operation of now.
    pub(crate) fn operation(&self, id: &str, action: Action) -> Command {
        Command {
            id: id.into(),
            tenant: TENANT.into(),
            device: DEVICE.into(),
            owner: "provisioning".into(),
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
        }
    }

    /// An operation, as northbound writes it: rows, then the notice.
    pub(crate) async fn operate(&mut self, id: &str, action: Action) -> Command {
        let command = self.operation(id, action);
        let mut writes = commands::record_operation(&command);
        writes.push(commands::enqueue(
            &command,
            command.create_time_us.unsigned_abs(),
        ));
        self.store.write(writes).await.unwrap();
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

    pub(crate) async fn profile(&mut self, id: &str, selector: &str, settings: &[(&str, &str)]) {
        let settings =
            settings
                .iter()
                .map(|(path, value)| platen_proto::provisioning::v1::Setting {
                    path: (*path).to_owned(),
                    value: (*value).to_owned(),
                    r#type: String::new(),
                });
        let profile = Profile {
            name: format!("tenants/{TENANT}/profiles/{id}"),
            selector: selector.into(),
            settings: settings.collect(),
            ..Profile::default()
        };
        let row = ProfileRow {
            profile: Some(profile),
            ..ProfileRow::default()
        };
        let before = self
            .store
            .get_edited::<Profiles>((TENANT, id))
            .await
            .unwrap();
        let expect = before.map_or(Expect::Absent, |row| Expect::Etag(row.etag));
        self.store
            .compare_and_set::<Profiles>((TENANT, id), expect, Some(&row))
            .await
            .unwrap();
        self.notice("PROFILE_CHANGED", id).await;
    }

    pub(crate) async fn queue(&self) -> Vec<Command> {
        self.store.queued(TENANT, DEVICE).await.unwrap()
    }

    pub(crate) async fn desired(&self) -> Desired {
        self.store
            .get::<DesiredStates>((TENANT, DEVICE))
            .await
            .unwrap()
            .unwrap_or_default()
    }

    pub(crate) async fn progress(&self, operation: &str) -> Option<Progress> {
        self.store
            .get::<ProgressOfOperations>((TENANT, operation))
            .await
            .unwrap()
    }

    /// The kinds and subjects of the timers that the service has armed and that are not due.
    pub(crate) async fn timers(&self, within: Duration) -> Vec<(String, String)> {
        let service = Part::from("provisioning");
        let shard = platen_ids::shard(TENANT, DEVICE);
        let group = Part::from(u64::from(timers::group_of(shard.into())));
        let mut found = Vec::new();
        let from = self.now_us().unsigned_abs() / 300_000_000;
        for bucket in from..=from + within.as_secs() / 300 + 1 {
            let page = self
                .store
                .tables()
                .scan(
                    Timers::TABLE,
                    &[service.clone(), group.clone(), Part::from(bucket)],
                    Range::default(),
                )
                .await
                .unwrap();
            for row in page.rows {
                let timer: Timer = Message::decode(row.value).unwrap();
                found.push((timer.kind, timer.subject));
            }
        }
        found
    }

    pub(crate) async fn is_marked(&self, session: &str, ordinal: u32) -> bool {
        self.marks
            .wait(session, ordinal, Duration::ZERO)
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

/// The edge sent a command and could read no answer to it.
pub(crate) fn unanswered(command: &Command, session: &str, ordinal: u32) -> Report {
    let done = CommandDone {
        command: command.id.clone(),
        owner: command.owner.clone(),
        operation: command.operation.clone(),
        outcome: Some(Outcome::Failed("the device gave no answer".into())),
        unanswered: true,
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

pub(crate) fn values(values: &[(&str, &str)]) -> Outcome {
    let values = values
        .iter()
        .map(|(path, value)| parameter(path, value))
        .collect();
    Outcome::Result(OperationResult {
        values,
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

pub(crate) fn set_values(values: &[(&str, &str)]) -> Action {
    let values = values
        .iter()
        .map(|(path, value)| parameter(path, value))
        .collect();
    Action::SetParameterValues(SetParameterValues {
        values,
        ..SetParameterValues::default()
    })
}

/// What a command sets.
pub(crate) fn sets(command: &Command) -> Vec<(String, String, String)> {
    match command
        .request
        .as_ref()
        .and_then(|request| request.action.as_ref())
    {
        Some(Action::SetParameterValues(set)) => set
            .values
            .iter()
            .map(|v| (v.path.clone(), v.value.clone(), v.r#type.clone()))
            .collect(),
        other => panic!("not a set: {other:?}"),
    }
}

#[derive(Debug)]
struct CountedMarks(Arc<MemoryMarks>, Arc<Counts>);

#[async_trait]
impl DecidedMarks for CountedMarks {
    async fn mark(&self, session: &str, ordinal: u32) -> Result<(), platen_sessions::Error> {
        self.1.marks.fetch_add(1, Ordering::SeqCst);
        self.0.mark(session, ordinal).await
    }

    async fn wait(
        &self,
        session: &str,
        ordinal: u32,
        patience: Duration,
    ) -> Result<bool, platen_sessions::Error> {
        self.0.wait(session, ordinal, patience).await
    }
}
