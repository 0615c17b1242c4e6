//! A trial: a server, a fleet that uses it, faults, and the verdict.

use crate::{
    backends::Act,
    check::{Kept, KeptDevice, Violation, check},
    deployment::{Deployment, Form, PARTITIONS},
    evidence,
    fleet::{Fleet, Plan},
    ledger::{Entry, Recorder},
    member::preload,
    script::{Fault, Parts},
};
use platen_bus::embedded::EmbeddedLog;
use platen_embedded::{Database, Options};
use platen_store::{Store, embedded::EmbeddedTables};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A server with a fleet.
pub(crate) struct Trial {
    pub(crate) deployment: Deployment,
    pub(crate) fleet: Fleet,
    pub(crate) recorder: Arc<Recorder>,
}

/// Services that follow the log, by the names of their groups: so many processes have them.
const CONSUMERS: [&str; 4] = ["inventory", "provisioning", "firmware", "metering"];

impl Trial {
    pub(crate) async fn begin(name: &str, form: Form, plan: Plan, seed: u64) -> Self {
        let deployment = Deployment::start(name, form).await;
        let recorder = Arc::new(Recorder::new(&deployment.folder().join("ledger.ndjson")));
        let fleet = Fleet::start(&deployment, &recorder, plan, seed).await;
        recorder.remark("the fleet calls");
        Self {
            deployment,
            fleet,
            recorder,
        }
    }

    /// What can be broken here.
    pub(crate) fn parts(&self, longest: Duration) -> Parts {
        let members = self.deployment.members.iter();
        let nodes = match &self.deployment.form {
            Form::Embedded { .. } => Vec::new(),
            Form::Distributed(backends) => backends.nodes(),
        };
        let clocks = preload().is_some();
        if !clocks {
            println!("skipped: no process has another clock without a C compiler");
        }
        Parts {
            members: members.map(|member| member.name.clone()).collect(),
            nodes,
            clocks,
            longest,
        }
    }

    /// Breaks something and puts it right. Returns once processes run again, whether or not they are ready.
    pub(crate) async fn inflict(&mut self, fault: &Fault) {
        let members = &mut self.deployment.members;
        match fault {
            Fault::Kill { member, down } => {
                members[*member].kill();
                tokio::time::sleep(*down).await;
                members[*member].start();
            }
            Fault::Freeze { member, time } => {
                members[*member].stop();
                tokio::time::sleep(*time).await;
                members[*member].go_on();
            }
            Fault::Restart { member } => self.restart(*member).await,
            Fault::Roll => {
                for member in 0..members.len() {
                    self.restart(member).await;
                    self.deployment.members[member].ready().await;
                }
            }
            Fault::Skew { member, seconds } => {
                members[*member].skew(*seconds);
                self.restart(*member).await;
            }
            Fault::KillNode { node, down } => {
                self.backends(Act::Kill, node).await;
                tokio::time::sleep(*down).await;
                self.backends(Act::Start, node).await;
            }
            Fault::FreezeNode { node, time } => {
                self.backends(Act::Stop, node).await;
                tokio::time::sleep(*time).await;
                self.backends(Act::Continue, node).await;
            }
            Fault::Flush => {
                let Form::Distributed(backends) = &self.deployment.form else {
                    panic!("there is nothing to flush");
                };
                backends.flush();
            }
            Fault::Redeliver => self.redeliver().await,
        }
        self.deployment.all_alive();
    }

    async fn restart(&mut self, member: usize) {
        let member = &mut self.deployment.members[member];
        member.terminate().await;
        member.start();
    }

    async fn backends(&self, act: Act, node: &str) {
        let Form::Distributed(backends) = &self.deployment.form else {
            panic!("there is no {node}");
        };
        backends.act(act, node).await;
    }

    /// Lets every consumer read everything again.
    async fn redeliver(&mut self) {
        let consumers: Vec<usize> = CONSUMERS
            .iter()
            .flat_map(|role| self.deployment.of_role(role))
            .collect();
        for &member in &consumers {
            self.deployment.members[member].terminate().await;
        }
        let Form::Distributed(backends) = self.deployment.form.clone() else {
            panic!("groups are set back on Kafka alone");
        };
        tokio::task::spawn_blocking(move || {
            for group in CONSUMERS {
                backends.redeliver(group, platen_proto::topic::Topic::Reports.name());
            }
        })
        .await
        .unwrap();
        for member in consumers {
            self.deployment.members[member].start();
        }
    }

    /// Puts everything right, lets everything come to its end, and compares. Panics with what was not kept.
    pub(crate) async fn verdict(mut self) {
        self.deployment.heal().await;
        self.recorder.remark("everything is whole");
        self.fleet.settle().await;
        self.recorder.remark("every device has told everything");
        let api = self.deployment.api();
        let ledger = self.recorder.ledger();
        evidence::arrived(&api, &ledger).await;
        let mut kept = evidence::of_api(&api, &ledger).await;
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for state in kept.operations.values() {
            *ends.entry(state).or_default() += 1;
        }
        let operations = format!("{ends:?}");
        self.deployment.all_alive();
        self.deployment.end().await;
        read_log(&self.deployment, &mut kept).await;

        let count = |is: fn(&Entry) -> bool| ledger.0.iter().filter(|entry| is(entry)).count();
        self.recorder.remark(&format!(
            "{} Informs sent, {} acknowledged, {} on the log, {} of them late; {} RPCs, {} transfers completed; operations: {operations}",
            count(|entry| matches!(entry, Entry::Sent { .. })),
            count(|entry| matches!(entry, Entry::Acknowledged { .. })),
            kept.devices.values().map(|device| device.log.len()).sum::<usize>(),
            kept.devices.values().map(KeptDevice::stragglers).sum::<usize>(),
            count(|entry| matches!(entry, Entry::Asked { .. })),
            count(|entry| matches!(entry, Entry::Completed { .. })),
        ));
        let violations = check(&ledger, &kept);
        let told: Vec<String> = violations.iter().map(Violation::to_string).collect();
        assert!(
            violations.is_empty(),
            "{} promises broken:\n{}",
            told.len(),
            told.join("\n")
        );
        self.deployment.remove().await;
    }
}

/// Reads the log with the server down: nobody else has a hand in it.
async fn read_log(deployment: &Deployment, kept: &mut Kept) {
    match &deployment.form {
        Form::Embedded { .. } => {
            let directory = deployment.data().join("database");
            let database = Database::open(directory, Options::default()).unwrap();
            let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
            let log = EmbeddedLog::open(&database, &store).await.unwrap();
            evidence::of_log(&log, 1, kept).await;
        }
        Form::Distributed(backends) => {
            let store = backends.store().await;
            let log = backends.log(&store).await;
            evidence::of_log(&log, PARTITIONS, kept).await;
        }
    }
}
