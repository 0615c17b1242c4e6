//! Nothing acknowledged is lost, nothing is done twice: the server is killed at random moments, again and again.

use crate::{
    life::{ask, is_over},
    printer::Printer,
    server::{Home, Server, eventually},
};
use platen_cwmp::{
    event_code::EventCode,
    rpc::{CpeRequest, Event, Inform, TransferComplete, ValueType},
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const OUI: &str = "00D09E";
const DEVICES: usize = 6;

/// Informs that the server takes, at most, before it is killed, and how long it may need for them.
const LONGEST_LIFE: u64 = 120;
const PATIENCE: Duration = Duration::from_secs(30);

const COUNTER: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";

/// A printer with what it remembers over the server's deaths.
struct Survivor {
    printer: Printer,
    /// The value of its counter in each Inform that the server acknowledged.
    acknowledged: BTreeSet<u64>,
    /// Informs of all printers that were acknowledged.
    heard: Arc<watch::Sender<u64>>,
    /// The Inform that it has not yet had acknowledged.
    pending: Option<Inform>,
    pages: u64,
    /// The downloads that it has taken and not yet reported as complete.
    downloading: Vec<String>,
    /// How often each download was asked for, by command key.
    downloads: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_repeat_nothing() {
    let (rounds, seed) = plan();
    println!("{rounds} rounds, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let home = Home::new();
    let mut server = Server::start(&home).await;
    let (heard, mut hearing) = watch::channel(0);
    let survivors = settle(&server, heard).await;
    artifact(&server).await;
    // What the server has taken on: of which printer, under which name. The first is made before anything dies.
    let mut ordered = Vec::new();
    for survivor in 0..DEVICES {
        order_download(&server, &survivors, survivor, &mut ordered).await;
    }
    assert!(
        brought_to_an_end(&server, &survivors[ordered[0].0], &ordered[0].1).await,
        "nothing was killed yet"
    );

    for round in 0..rounds {
        let stop = CancellationToken::new();
        let mut calling = JoinSet::new();
        for survivor in &survivors {
            calling.spawn(call_until(Arc::clone(survivor), stop.clone()));
        }
        // Counted in Informs, a life is as long on a slow machine. What else is asked for when it ends is part of the test.
        let last = *hearing.borrow() + random.random_range(1..=LONGEST_LIFE);
        let living = timeout(PATIENCE, hearing.wait_for(|heard| *heard >= last));
        let ordering = order_downloads(&server, &survivors, &mut random, &mut ordered);
        tokio::select! {
            lived = living => drop(lived.expect("Informs are acknowledged").unwrap()),
            () = async { ordering.await; pending().await } => {}
        }
        server.kill();
        stop.cancel();
        while let Some(done) = calling.join_next().await {
            done.unwrap();
        }
        server = Server::start(&home).await;
        move_all(&server, &survivors).await;
        println!(
            "round {round}: {} Informs acknowledged so far",
            acknowledged(&survivors).await
        );
    }

    // Every printer calls until nothing that was ordered is left to do, and nothing is pending.
    let mut lost = 0;
    for (survivor, name) in &ordered {
        if !brought_to_an_end(&server, &survivors[*survivor], name).await {
            lost += 1;
        }
    }
    let mut downloads = 0;
    for survivor in &survivors {
        let mut survivor = survivor.lock().await;
        while survivor.pending.is_some() || !survivor.downloading.is_empty() {
            survivor.call().await;
        }
        survivor.call().await;
        examine(&server, &survivor).await;
        downloads += survivor.downloads.len();
    }
    println!(
        "{} downloads ordered, {downloads} made, each once; {lost} got lost on their way and are not sent twice",
        ordered.len()
    );
    assert!(server.terminate().await.success());
}

/// Rounds and seed, from the environment of the test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other configuration"
)]
fn plan() -> (usize, u64) {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} must be a number, but is {text:?}"))
        })
    };
    let rounds = number("PLATEN_KILL_ROUNDS").unwrap_or(5);
    // The short run is the same every time; a long one looks elsewhere each time.
    let seed = number("PLATEN_KILL_SEED").unwrap_or_else(|| match number("PLATEN_KILL_ROUNDS") {
        Some(_) => rand::rng().next_u64(),
        None => 1,
    });
    (usize::try_from(rounds).unwrap(), seed)
}

async fn settle(server: &Server, heard: watch::Sender<u64>) -> Vec<Arc<Mutex<Survivor>>> {
    let heard = Arc::new(heard);
    let mut survivors = Vec::new();
    for number in 0..DEVICES {
        let serial = format!("SN{number}");
        let credentials = server.register(OUI, "Survivor", &serial).await;
        let mut printer = Printer::new(
            OUI,
            "Survivor",
            &serial,
            server.peer("default", Some(credentials)).await,
        );
        printer.call(&[EventCode::Bootstrap]).await.unwrap();
        survivors.push(Arc::new(Mutex::new(Survivor {
            printer,
            acknowledged: BTreeSet::new(),
            heard: Arc::clone(&heard),
            pending: None,
            pages: 1_000,
            downloading: Vec::new(),
            downloads: BTreeMap::new(),
        })));
    }
    survivors
}

async fn artifact(server: &Server) {
    server
        .post(
            "tenants/default/artifacts",
            // Without a version: whoever has it is given it again.
            json!({"name": "tenants/default/artifacts/settings", "fileType": "3 Vendor Configuration File"}),
        )
        .await;
    server
        .upload(
            "tenants/default/artifacts/settings:content",
            vec![7; 10_000],
        )
        .await;
}

/// Asks for downloads until the server is gone.
async fn order_downloads(
    server: &Server,
    survivors: &[Arc<Mutex<Survivor>>],
    random: &mut StdRng,
    ordered: &mut Vec<(usize, String)>,
) {
    for _ in 0..3 {
        let survivor = random.random_range(0..survivors.len());
        order_download(server, survivors, survivor, ordered).await;
    }
}

async fn order_download(
    server: &Server,
    survivors: &[Arc<Mutex<Survivor>>],
    survivor: usize,
    ordered: &mut Vec<(usize, String)>,
) {
    let path = survivors[survivor].lock().await.printer.path();
    let body = json!({"download": {"artifact": "settings"}});
    let name = ask(server, path, body).await;
    ordered.push((survivor, name));
}

/// The printer calls until its download is over. `false` for one that a session has taken and the printer has never seen: the server cannot know
/// that, and may not ask for it again.
async fn brought_to_an_end(server: &Server, survivor: &Mutex<Survivor>, name: &str) -> bool {
    let mut survivor = survivor.lock().await;
    let command_key = name.rsplit('/').next().unwrap();
    let operation = eventually("the end of a download", async || {
        survivor.call().await;
        let operation = server.get(&format!("{name}?wait=1s")).await;
        let is_lost =
            operation["state"] == "RUNNING" && !survivor.downloads.contains_key(command_key);
        (is_lost || is_over(&operation)).then_some(operation)
    })
    .await;
    match operation["state"].as_str().unwrap() {
        "SUCCEEDED" => true,
        "RUNNING" => false,
        _ => panic!("{operation}"),
    }
}

async fn move_all(server: &Server, survivors: &[Arc<Mutex<Survivor>>]) {
    for survivor in survivors {
        let mut survivor = survivor.lock().await;
        let target = server.target("default").await;
        survivor.printer.move_to(target);
    }
}

async fn call_until(survivor: Arc<Mutex<Survivor>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let called = survivor.lock().await.call().await;
        if !called {
            // The server is gone: the round is about to end.
            tokio::task::yield_now().await;
        }
    }
}

async fn acknowledged(survivors: &[Arc<Mutex<Survivor>>]) -> usize {
    let mut count = 0;
    for survivor in survivors {
        count += survivor.lock().await.acknowledged.len();
    }
    count
}

impl Survivor {
    /// One session: a repetition of the Inform that was not acknowledged, or the next one. `true` if it ended well.
    async fn call(&mut self) -> bool {
        let inform = match self.pending.take() {
            Some(inform) => Inform {
                retry_count: inform.retry_count + 1,
                ..inform
            },
            None => self.next(),
        };
        let completions = self.downloading.iter().map(|command_key| {
            CpeRequest::TransferComplete(TransferComplete {
                command_key: command_key.clone(),
                ..TransferComplete::default()
            })
        });
        let completions = completions.collect();
        let mut acknowledged = false;
        self.printer.forget_asked();
        let ended = self
            .printer
            .report_until(inform.clone(), completions, || {
                acknowledged = true;
                self.heard.send_modify(|heard| *heard += 1);
            })
            .await;
        if ended.is_ok() {
            self.downloading.clear();
        }
        for download in self.printer.downloads() {
            *self
                .downloads
                .entry(download.command_key.clone())
                .or_default() += 1;
            self.downloading.push(download.command_key.clone());
        }
        if acknowledged {
            self.acknowledged
                .insert(inform.parameter(COUNTER).unwrap().parse().unwrap());
        } else {
            self.pending = Some(inform);
        }
        ended.is_ok()
    }

    /// The next Inform: a page was printed, and a download may have come to its end.
    fn next(&mut self) -> Inform {
        self.pages += 1;
        self.printer
            .set(COUNTER, &self.pages.to_string(), ValueType::UnsignedLong);
        let mut events = vec![Event::new(EventCode::Periodic)];
        if !self.downloading.is_empty() {
            events.push(Event::new(EventCode::TransferComplete));
        }
        events.extend(
            self.downloading
                .iter()
                .map(|command_key| Event::method("Download", command_key.clone())),
        );
        self.printer.inform(events)
    }
}

/// What the server knows of one printer agrees with what the printer knows.
async fn examine(server: &Server, survivor: &Survivor) {
    let path = survivor.printer.path();
    let last = *survivor.acknowledged.last().unwrap();
    let events = eventually("the events of the last Inform", async || {
        let events = informs(server, &path).await;
        events.contains(&last).then_some(events)
    })
    .await;
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for counter in events {
        *times.entry(counter).or_default() += 1;
    }
    for counter in &survivor.acknowledged {
        assert_eq!(
            times.get(counter),
            Some(&1),
            "{path}: the acknowledged Inform with counter {counter}"
        );
    }
    assert!(times.values().all(|&count| count == 1), "{path}: {times:?}");
    for (command_key, count) in &survivor.downloads {
        assert_eq!(*count, 1, "{path}: download {command_key}");
    }
    let verified = server.get(&format!("{path}/readings:verify")).await;
    assert_eq!(verified["intact"], true, "{path}: {verified}");
    let newest = eventually("the reading of the last Inform", async || {
        let readings = server
            .get(&format!("{path}/readings?meter=TOTAL&pageSize=1"))
            .await;
        (readings["readings"][0]["value"] == json!(last.to_string())).then_some(readings)
    })
    .await;
    assert_eq!(newest["readings"][0]["quality"], "ACTUAL", "{newest}");
}

/// The counters of a printer's Informs with one, newest first.
async fn informs(server: &Server, path: &str) -> Vec<u64> {
    let mut counters = Vec::new();
    let mut page = String::new();
    loop {
        let answer = server
            .get(&format!("{path}/events?pageSize=500&pageToken={page}"))
            .await;
        for event in answer["events"].as_array().unwrap() {
            let parameters = event["inform"]["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            counters.extend(
                parameters
                    .iter()
                    .filter(|p| p["path"] == COUNTER)
                    .filter_map(|p| p["value"].as_str()?.parse::<u64>().ok()),
            );
        }
        match &answer["nextPageToken"] {
            Value::String(token) if !token.is_empty() => page.clone_from(token),
            _ => return counters,
        }
    }
}
