//! Several edges that share their devices: any of them answers any POST.

use crate::{
    bed::{Bed, Ports, rand_name, until},
    sessions::device_hash,
    wire::{Device, Wire},
};
use platen_cwmp::{
    cpe,
    event_code::EventCode,
    rpc::{AcsRequest, CpeResponse, GetParameterNamesResponse},
};
use platen_edge::Config;
use platen_proto::{
    operation::v1::{GetParameterNames, Reboot, operation_request::Action},
    report::v1::{Wake, report::Body},
    topic::{Kind, Topic},
};
use platen_sessions::{
    DecidedMarks, Presence, SessionCache,
    redis::{RedisCache, RedisConfig, RedisMarks},
};
use prost::Message;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// Two edges with the same store, log, and cache.
struct Pair {
    bed: Bed,
    edges: [SocketAddr; 2],
    sessions: Arc<dyn SessionCache>,
    marks: Arc<dyn DecidedMarks>,
}

impl Pair {
    /// With the cache in memory; and with one in Redis, if there is a server.
    async fn all(config: &Config) -> Vec<Self> {
        let bed = Bed::start(config.clone()).await;
        let other = bed.beside(config.clone(), |ports| ports).await;
        let mut pairs = vec![Self {
            edges: [bed.address, other],
            sessions: Arc::clone(&bed.sessions),
            marks: Arc::clone(&bed.marks),
            bed,
        }];
        match redis() {
            Some(redis) => {
                let [(one, marks), (other, others)] = [open(&redis).await, open(&redis).await];
                let with = |sessions: &Arc<RedisCache>, marks: &Arc<RedisMarks>| {
                    let (sessions, marks) = (Arc::clone(sessions), Arc::clone(marks));
                    move |ports| Ports {
                        sessions,
                        marks,
                        ..ports
                    }
                };
                let bed = Bed::start_with(config.clone(), with(&one, &marks)).await;
                let other = bed.beside(config.clone(), with(&other, &others)).await;
                pairs.push(Self {
                    edges: [bed.address, other],
                    bed,
                    sessions: one,
                    marks,
                });
            }
            None => {
                announce("skipped: edges that share a cache in Redis: none at PLATEN_TEST_REDIS")
            }
        }
        pairs
    }

    /// The device turns to the other edge.
    async fn turn(&self, device: &mut Device) {
        let [one, other] = self.edges;
        let next = if device.wire.peer() == one {
            other
        } else {
            one
        };
        device.wire = Wire::connect(next).await;
    }
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn announce(what: &str) {
    println!("{what}");
}

#[expect(clippy::disallowed_methods, reason = "where the server is")]
fn redis() -> Option<RedisConfig> {
    let url = std::env::var("PLATEN_TEST_REDIS").ok()?;
    Some(RedisConfig {
        prefix: format!("platen-test-edge-{}:", rand_name()),
        timeout: Duration::from_millis(500),
        ..RedisConfig::new(url)
    })
}

async fn open(config: &RedisConfig) -> (Arc<RedisCache>, Arc<RedisMarks>) {
    let (sessions, marks) = platen_sessions::redis::open(config).unwrap();
    sessions.connected(Duration::from_secs(10)).await.unwrap();
    (Arc::new(sessions), Arc::new(marks))
}

#[tokio::test]
async fn a_session_changes_its_edge_with_every_post() {
    for pair in Pair::all(&Config::default()).await {
        let bed = &pair.bed;
        bed.register("1", "secret").await;
        let names = Action::GetParameterNames(GetParameterNames::default());
        bed.enqueue("1", "a", names, |command| command.priority = 1)
            .await;
        bed.enqueue("1", "b", Action::Reboot(Reboot::default()), |_| {})
            .await;
        let mut device = Device::connect(pair.edges[0], "1", "secret").await;
        let opening = cpe::Opening {
            inform: device.inform(&[EventCode::Boot]),
            version: platen_cwmp::soap::Version::V1_4,
            session_timeout: None,
        };
        let (mut session, inform) = cpe::Session::open(opening).unwrap();

        // The challenge of one edge is answered at the other.
        let challenge = device.post_plain(&[], &inform).await.unwrap();
        assert_eq!(challenge.status, 401);
        device.challenged(&challenge);
        pair.turn(&mut device).await;
        let authorization = device.authorization().unwrap();
        let mut reply = device
            .post_plain(&[("Authorization", &authorization)], &inform)
            .await
            .unwrap();

        let mut methods = Vec::new();
        loop {
            let post = match Device::take(&mut session, &reply) {
                cpe::Next::Post(post) => post,
                cpe::Next::Serve(request) => {
                    methods.push(request.method().to_owned());
                    let response = match request {
                        AcsRequest::Reboot(_) => CpeResponse::Reboot,
                        _ => CpeResponse::GetParameterNames(GetParameterNamesResponse::default()),
                    };
                    session.respond(Ok(response)).unwrap()
                }
                cpe::Next::Done => break,
            };
            pair.turn(&mut device).await;
            reply = device.post_plain(&[], &post).await.unwrap();
            if reply.status == 200 {
                // Its answer was lost on the way, and the device repeats itself, elsewhere (SES-60).
                pair.turn(&mut device).await;
                let again = device.post_plain(&[], &post).await.unwrap();
                assert_eq!(again.body, reply.body);
            }
        }

        assert_eq!(reply.status, 204);
        assert_eq!(methods, ["GetParameterNames", "Reboot"]);
        let done = bed.reports(Kind::Done, 2).await;
        let commands: Vec<&str> = done
            .iter()
            .map(|report| match &report.body {
                Some(Body::CommandDone(done)) => done.command.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(commands, ["a", "b"]);
        assert_eq!(done.iter().map(|r| r.ordinal).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(bed.count_reports().await, 3, "the Inform and two answers");
    }
}

#[tokio::test]
async fn a_new_session_at_one_edge_ends_the_old_one_at_the_other() {
    for pair in Pair::all(&Config::default()).await {
        pair.bed.register("1", "secret").await;
        let mut old = Device::connect(pair.edges[0], "1", "secret").await;
        old.open(&[EventCode::Periodic]).await;
        let mut new = Device::connect(pair.edges[1], "1", "secret").await;
        new.open(&[EventCode::Boot]).await;

        let late = b"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:c=\"urn:dslforum-org:cwmp-1-0\"><s:Body><c:GetRPCMethods/></s:Body></s:Envelope>";
        assert_eq!(old.post_plain(&[], late).await.unwrap().status, 400);
        pair.turn(&mut new).await;
        assert_eq!(new.post_plain(&[], late).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_post_waits_for_the_one_that_another_edge_is_answering() {
    let mut config = Config::default();
    config.linger.long = Duration::from_secs(20);
    for pair in Pair::all(&config).await {
        let bed = &pair.bed;
        bed.register("1", "secret").await;
        let names = Action::GetParameterNames(GetParameterNames::default());
        bed.enqueue("1", "op", names, |_| {}).await;
        let mut device = Device::connect(pair.edges[0], "1", "secret").await;
        device.open(&[EventCode::Bootstrap]).await;
        let mut repeated = Device::connect(pair.edges[1], "1", "secret").await;
        repeated.cookie.clone_from(&device.cookie);
        let report = bed.reports(Kind::Inform, 1).await.remove(0);

        // One edge has taken the session and lingers; the decision is marked by way of the other.
        let (first, second, ()) = tokio::join!(
            device.post_plain(&[], b""),
            repeated.post_plain(&[], b""),
            async {
                let hash = device_hash(&report.device);
                until(async || pair.sessions.look(hash).await.unwrap() == Presence::Busy).await;
                pair.marks.mark(&report.session, 0).await.unwrap();
            }
        );

        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(first.text().contains("GetParameterNames"), "{first:?}");
        assert_eq!(first.body, second.body);
        assert_eq!(bed.count_reports().await, 1);
    }
}

#[tokio::test]
async fn a_device_in_a_session_with_one_edge_is_asked_by_none() {
    for pair in Pair::all(&Config::default()).await {
        let bed = &pair.bed;
        bed.register("1", "secret").await;
        let mut devices = Vec::new();
        // Whichever of the two edges consumes wakes, one of these has its session with the other.
        for (serial, edge) in [("1", pair.edges[0]), ("2", pair.edges[1])] {
            if serial != "1" {
                bed.register(serial, "secret").await;
            }
            let mut device = Device::connect(edge, serial, "secret").await;
            device.open(&[EventCode::Periodic]).await;
            devices.push(device);
            let id = format!("00D09E-Test-{serial}");
            let wake = Wake {
                tenant: "default".into(),
                device: id.clone(),
                command: "op".into(),
                attempt: 1,
            };
            let record = platen_bus::NewRecord {
                topic: Topic::Wake,
                shard: platen_ids::shard("default", &id),
                key: format!("default/{id}"),
                kind: Kind::Wake,
                id: rand_name(),
                time_us: 1,
                payload: wake.encode_to_vec().into(),
            };
            bed.log.append(vec![record]).await.unwrap();
        }

        let told = "outcome=\"in_session\"} 2";
        until(async || bed.metrics.text().unwrap().contains(told)).await;
    }
}
