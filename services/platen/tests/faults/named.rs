//! One fault each, with what must hold while it lasts. What must hold always is the verdict's affair.

use crate::{
    backends::{Act, Backends},
    cut::Cut,
    deployment::Form,
    fleet::Plan,
    ledger::Entry,
    script::Fault,
    trial::Trial,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const PLAN: Plan = Plan {
    devices: 45,
    pace: Duration::from_secs(3),
    operations: Duration::from_secs(1),
};

/// The part of the greatest load at which things are restarted.
const LOAD: f64 = 0.7;

/// How long things may take to be as they were.
const RECOVERY: Duration = Duration::from_secs(60);

/// How long those that are left may take to carry on without those that are not.
const CARRIES_ON: Duration = Duration::from_secs(30);

/// A trial of one fault.
struct Single {
    trial: Trial,
    backends: Backends,
    /// Sessions per second before anything was broken.
    before: f64,
}

impl Single {
    async fn begin(name: &str, backends: Option<Backends>) -> Option<Self> {
        let backends = backends?;
        backends.whole().await;
        let form = Form::Distributed(backends.clone());
        let trial = Trial::begin(name, form, PLAN, 1).await;
        // The first sessions are longer: devices are installed.
        trial.fleet.rate(Duration::from_secs(8)).await;
        let before = trial.fleet.rate(Duration::from_secs(6)).await;
        assert!(before > 1.0, "{before:.1} sessions per second are no fleet");
        Some(Self {
            trial,
            backends,
            before,
        })
    }

    /// On as many nodes as there are.
    async fn anywhere(name: &str) -> Option<Self> {
        Self::begin(name, Backends::from_environment(name)).await
    }

    /// On three nodes of each backend.
    async fn cluster(name: &str) -> Option<Self> {
        Self::begin(name, Backends::cluster(name)).await
    }

    fn remark(&self, what: &str) {
        self.trial.recorder.remark(what);
    }

    async fn act(&self, act: Act, node: &str) {
        self.remark(&format!("{act:?} {node}"));
        self.backends.act(act, node).await;
    }

    /// Waits until this part of the sessions of before end well, with what is broken still broken.
    async fn carries_on(&self, part: f64) {
        let fleet = &self.trial.fleet;
        let took = fleet.reaches(part * self.before, CARRIES_ON).await;
        self.remark(&format!(
            "{:.0} % of the sessions again, after {:.1} s",
            100.0 * part,
            took.as_secs_f64()
        ));
    }

    /// Informs acknowledged so far.
    fn acknowledged(&self) -> usize {
        let ledger = self.trial.recorder.ledger();
        let is = |entry: &&Entry| matches!(entry, Entry::Acknowledged { .. });
        ledger.0.iter().filter(is).count()
    }

    /// Waits until everything is as before, and judges.
    async fn judge(mut self) {
        self.trial.deployment.heal().await;
        let took = self.trial.fleet.reaches(0.9 * self.before, RECOVERY).await;
        self.remark(&format!(
            "{:.1} sessions per second before, nine tenths of it again after {:.1} s; {}",
            self.before,
            took.as_secs_f64(),
            self.trial.fleet.tally(),
        ));
        self.trial.verdict().await;
    }
}

/// Members of a consumer's group are killed again and again: whoever is left, or comes back, goes on where they were.
#[tokio::test(flavor = "multi_thread")]
async fn flt_02_killed_consumers_catch_up() {
    let Some(mut single) = Single::anywhere("flt_02").await else {
        return;
    };
    let roles = ["provisioning", "inventory", "metering", "firmware"];
    for member in roles
        .iter()
        .cycle()
        .take(12)
        .enumerate()
        .map(|(turn, role)| single.trial.deployment.of_role(role)[turn / 4 % 2])
        .collect::<Vec<_>>()
    {
        let down = Duration::from_secs(1);
        single.trial.inflict(&Fault::Kill { member, down }).await;
    }
    single.judge().await;
}

/// Everything is replaced, one process after the other, at seven tenths of what the server can take: no session fails, and none takes long to end.
#[tokio::test(flavor = "multi_thread")]
async fn flt_03_a_rolling_restart_breaks_no_session() {
    let Some(mut single) = Single::anywhere("flt_03").await else {
        return;
    };
    let fleet = &single.trial.fleet;
    fleet.pace(Duration::ZERO);
    let most = fleet.rate(Duration::from_secs(15)).await;
    // From one session of a device to its next one, of which the session itself takes a part.
    let devices = PLAN.devices as f64;
    let cycle = devices / (LOAD * most);
    fleet.pace(Duration::from_secs_f64(cycle));
    fleet.rate(Duration::from_secs(5)).await;
    let session = devices / fleet.rate(Duration::from_secs(10)).await - cycle;
    fleet.pace(Duration::from_secs_f64((cycle - session).clamp(0.0, cycle)));

    let failed = |single: &Single| {
        let tally = single.trial.fleet.tally();
        tally.broken() + tally.unheard()
    };
    // On a machine that is too busy, sessions fail by themselves.
    let (begun, already) = (Instant::now(), failed(&single));
    single.before = single.trial.fleet.rate(Duration::from_secs(15)).await;
    let noise = (failed(&single) - already) as f64 / begun.elapsed().as_secs_f64();
    single.remark(&format!(
        "{most:.1} sessions per second at most, {:.1} from here on",
        single.before
    ));

    let (begun, already) = (Instant::now(), failed(&single));
    let mut longest = Duration::ZERO;
    for member in 0..single.trial.deployment.members.len() {
        let member = &mut single.trial.deployment.members[member];
        let begun = Instant::now();
        member.terminate().await;
        longest = longest.max(begun.elapsed());
        member.start();
        member.ready().await;
    }
    let during = failed(&single) - already;
    let expected = noise * begun.elapsed().as_secs_f64();
    single.remark(&format!(
        "{during} sessions failed, {expected:.1} expected; {:.1} s at most from SIGTERM to the end",
        longest.as_secs_f64()
    ));
    assert!(during as f64 <= 1.5 * expected, "sessions have failed");
    assert!(longest <= Duration::from_secs(30), "{longest:?}");
    single.judge().await;
}

/// Each broker in turn is killed and comes back. Nobody has to notice.
#[tokio::test(flavor = "multi_thread")]
async fn flt_04_brokers_die_one_after_the_other() {
    let Some(single) = Single::cluster("flt_04").await else {
        return;
    };
    for node in ["kafka1", "kafka2", "kafka3"] {
        single.act(Act::Kill, node).await;
        single.carries_on(0.7).await;
        single.act(Act::Start, node).await;
    }
    single.judge().await;
}

/// A broker stands still for longer than its session, and then believes for a moment that it still leads.
#[tokio::test(flavor = "multi_thread")]
async fn flt_05_a_broker_comes_back_from_the_dead() {
    let Some(single) = Single::cluster("flt_05").await else {
        return;
    };
    single.act(Act::Stop, "kafka2").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    single.act(Act::Continue, "kafka2").await;
    single.judge().await;
}

/// Too few brokers are left to take anything: devices are told to come again, and nothing is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn flt_06_without_enough_brokers_nothing_is_acknowledged() {
    let Some(single) = Single::cluster("flt_06").await else {
        return;
    };
    single.act(Act::Kill, "kafka2").await;
    single.act(Act::Kill, "kafka3").await;
    // What was on its way when the second one died may have been taken.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (acknowledged, turned_away) = (
        single.acknowledged(),
        single.trial.fleet.tally().turned_away(),
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(single.acknowledged(), acknowledged, "Informs acknowledged");
    assert!(
        single.trial.fleet.tally().turned_away() > turned_away,
        "devices are told that the server is busy"
    );
    single.act(Act::Start, "kafka2").await;
    single.act(Act::Start, "kafka3").await;
    single.judge().await;
}

/// A consumer stands still for so long that others have its partitions, and goes on with what it had in its hands.
#[tokio::test(flavor = "multi_thread")]
async fn flt_10_consumers_come_back_from_the_dead() {
    let Some(mut single) = Single::anywhere("flt_10").await else {
        return;
    };
    let zombies: Vec<usize> = ["provisioning", "inventory", "metering", "firmware"]
        .iter()
        .map(|role| single.trial.deployment.of_role(role)[0])
        .collect();
    for &member in &zombies {
        single.trial.deployment.members[member].stop();
    }
    single.remark("one consumer of each group stands still for 35 s");
    tokio::time::sleep(Duration::from_secs(35)).await;
    for &member in &zombies {
        single.trial.deployment.members[member].go_on();
    }
    single.judge().await;
}

/// An edge stands still with requests in its hands, which their devices have long repeated elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn flt_10_an_edge_comes_back_from_the_dead() {
    let Some(mut single) = Single::anywhere("flt_10_edge").await else {
        return;
    };
    let edge = single.trial.deployment.of_role("edge")[0];
    for seconds in [2, 12, 40] {
        let time = Duration::from_secs(seconds);
        single.remark(&format!("edge-1 stands still for {seconds} s"));
        single
            .trial
            .inflict(&Fault::Freeze { member: edge, time })
            .await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    single.judge().await;
}

/// Every consumer gets everything again from the first record on, twice.
#[tokio::test(flavor = "multi_thread")]
async fn flt_11_everything_is_delivered_again() {
    let Some(mut single) = Single::anywhere("flt_11").await else {
        return;
    };
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        single.remark("everything is delivered again");
        single.trial.inflict(&Fault::Redeliver).await;
    }
    single.judge().await;
}

/// One node of the store dies, and nobody has to notice; a second one, and devices are still heard.
#[tokio::test(flavor = "multi_thread")]
async fn flt_13_nodes_of_the_store_die() {
    let Some(single) = Single::cluster("flt_13").await else {
        return;
    };
    single.act(Act::Kill, "cql3").await;
    single.carries_on(0.7).await;
    single.act(Act::Kill, "cql2").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (acknowledged, begin) = (single.acknowledged(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let heard = (single.acknowledged() - acknowledged) as f64 / begin.elapsed().as_secs_f64();
    single.remark(&format!("{heard:.1} Informs per second without a store"));
    assert!(heard > 0.0, "devices whose credentials are known are heard");
    single.act(Act::Start, "cql2").await;
    single.act(Act::Start, "cql3").await;
    single.judge().await;
}

/// All sessions are lost; then the session cache is gone for a while and comes back empty. Sessions that were open are lost, nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn flt_17_sessions_are_lost() {
    let Some(single) = Single::anywhere("flt_17").await else {
        return;
    };
    single.remark("FLUSHALL");
    single.backends.flush();
    single.carries_on(0.7).await;
    let primary = single.backends.primary().to_owned();
    single.act(Act::Kill, &primary).await;
    single.carries_on(0.3).await;
    single.act(Act::Start, &primary).await;
    single.judge().await;
}

/// The session cache stands still: whoever waits for it hears nothing.
#[tokio::test(flavor = "multi_thread")]
async fn flt_17_the_session_cache_stands_still() {
    let Some(single) = Single::anywhere("flt_17_still").await else {
        return;
    };
    let primary = single.backends.primary().to_owned();
    single.act(Act::Stop, &primary).await;
    single.carries_on(0.3).await;
    single.act(Act::Continue, &primary).await;
    single.judge().await;
}

/// Clocks of processes that are seconds apart, some ahead, some behind.
#[tokio::test(flavor = "multi_thread")]
async fn flt_29_clocks_differ() {
    let Some(mut single) = Single::anywhere("flt_29").await else {
        return;
    };
    if crate::member::preload().is_none() {
        println!("skipped: flt_29 needs a C compiler");
        return;
    }
    for member in 0..single.trial.deployment.members.len() {
        let seconds = [5, -5, 3, -3, 0][member % 5];
        single.trial.inflict(&Fault::Skew { member, seconds }).await;
    }
    single.trial.deployment.heal().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    single.judge().await;
}

/// A node of each backend is cut off from everybody, and back again.
#[tokio::test(flavor = "multi_thread")]
async fn flt_35_a_zone_is_cut_off() {
    let Some(single) = Single::cluster("flt_35").await else {
        return;
    };
    let third = |nodes: &[String]| nodes[2].parse::<SocketAddr>().unwrap();
    let (kafka, cql) = (third(&single.backends.kafka), third(&single.backends.cql));
    // Beside the port of each there is the one at which its own kind reaches it.
    let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
    let Some(cut) = Cut::off("flt_35", &[kafka, next(kafka), cql, next(cql)]) else {
        return;
    };
    single.remark("kafka3 and cql3 are cut off");
    single.carries_on(0.7).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(cut);
    single.remark("they are back");
    single.judge().await;
}

/// The whole store is cut off: connections stay, and nothing comes.
#[tokio::test(flavor = "multi_thread")]
async fn flt_13_the_store_is_cut_off() {
    let Some(single) = Single::anywhere("flt_13_cut").await else {
        return;
    };
    let nodes: Vec<SocketAddr> = single
        .backends
        .cql
        .iter()
        .map(|node| node.parse().unwrap())
        .collect();
    let Some(cut) = Cut::off("flt_13_cut", &nodes) else {
        return;
    };
    single.remark("nobody reaches the store");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let acknowledged = single.acknowledged();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let heard = single.acknowledged() - acknowledged;
    single.remark(&format!("{heard} Informs acknowledged in 15 s"));
    assert!(heard > 0, "devices whose credentials are known are heard");
    drop(cut);
    single.remark("everybody reaches it again");
    single.judge().await;
}
