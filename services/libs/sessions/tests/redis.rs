//! The Redis adapters, held to the laws on a real server, and beside one that goes away.
//!
//! `PLATEN_TEST_REDIS` is a URL as [`RedisConfig::url`] has it, `PLATEN_TEST_REDIS_CA` a file of certificates for one with TLS; the laws hold at
//! `PLATEN_TEST_REDIS_SENTINELS`, too, where that is set. What needs a connection of the test's own runs with a single server alone, without TLS.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use platen_sessions::{
    DecidedMarks, Presence, SessionCache, Taken, conformance,
    redis::{RedisCache, RedisConfig, RedisMarks, open},
};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

const PATIENCE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(90);

/// A configuration of the server at hand, with a prefix that nobody else has.
fn server(test: &str) -> Option<RedisConfig> {
    let Ok(url) = std::env::var("PLATEN_TEST_REDIS") else {
        println!("skipped: {test}: no Redis at PLATEN_TEST_REDIS");
        return None;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let prefix = format!("platen-test-{test}-{}:", now.as_nanos());
    let slow = Duration::from_millis(500);
    Some(RedisConfig {
        prefix,
        timeout: slow,
        ca: std::env::var("PLATEN_TEST_REDIS_CA").ok().map(Into::into),
        ..RedisConfig::new(url)
    })
}

/// Host and port, if the server is a single one and speaks in the clear.
fn single(config: &RedisConfig) -> Option<String> {
    let Some(rest) = config.url.strip_prefix("redis://") else {
        println!("skipped: what needs a single Redis server, without TLS");
        return None;
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split('/').next().unwrap_or(rest);
    Some(if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:6379")
    })
}

/// The same, and one behind Sentinels if there is one.
fn servers(test: &str) -> impl Iterator<Item = RedisConfig> {
    let server = server(test);
    let sentinels = server.as_ref().and_then(|server| {
        let url = std::env::var("PLATEN_TEST_REDIS_SENTINELS").ok()?;
        Some(RedisConfig {
            url,
            ..server.clone()
        })
    });
    server.into_iter().chain(sentinels)
}

async fn connected(config: &RedisConfig) -> (RedisCache, RedisMarks) {
    let (cache, marks) = open(config).unwrap();
    cache.connected(PATIENCE).await.unwrap();
    (cache, marks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_obey_the_laws() {
    for config in servers("sessions_obey_the_laws") {
        let (cache, _) = connected(&config).await;
        conformance::cache(&cache, 7).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_obey_the_laws() {
    for config in servers("marks_obey_the_laws") {
        let (_, marks) = connected(&config).await;
        conformance::marks(&marks, 7).await;
    }
}

#[tokio::test]
async fn what_one_process_puts_another_takes() {
    let Some(config) = server("what_one_process_puts_another_takes") else {
        return;
    };
    let ((here, marks), (there, other)) = (connected(&config).await, connected(&config).await);
    let record: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    here.put([1; 16], [2; 16], record.clone().into(), IDLE)
        .await
        .unwrap();

    assert_eq!(
        there.take([1; 16], [2; 16]).await.unwrap(),
        Taken::Taken(record.into())
    );
    assert_eq!(here.look([1; 16]).await.unwrap(), Presence::Busy);
    marks.mark("s", 3).await.unwrap();
    assert!(other.wait("s", 3, Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn whatever_is_stored_expires() {
    let Some(config) = server("whatever_is_stored_expires") else {
        return;
    };
    let (cache, marks) = connected(&config).await;
    // Alive, busy, put back, and about to end.
    for (device, idle) in [(1, IDLE), (2, IDLE), (3, IDLE), (4, Duration::ZERO)] {
        cache
            .put([device; 16], [0; 16], "record".into(), idle)
            .await
            .unwrap();
    }
    cache.take([2; 16], [0; 16]).await.unwrap();
    cache.take([3; 16], [0; 16]).await.unwrap();
    cache
        .put_back([3; 16], [0; 16], "record".into(), IDLE)
        .await
        .unwrap();
    marks.mark("s", 1).await.unwrap();
    marks.mark("s", 2).await.unwrap();

    while cache.look([4; 16]).await.unwrap() != Presence::None {
        tokio::task::yield_now().await;
    }
    let Some(_) = single(&config) else { return };
    let client = redis::Client::open(config.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (key, most) in [
        (format!("session:{}", "01".repeat(16)), 90_000),
        (format!("session:{}", "02".repeat(16)), 30_000),
        (format!("session:{}", "03".repeat(16)), 90_000),
        ("mark:s".to_owned(), 60_000),
    ] {
        let left: i64 = redis::cmd("PTTL")
            .arg(format!("{}{key}", config.prefix))
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!((most - 10_000..=most).contains(&left), "{key}: {left} ms");
    }
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    let Some(config) = server("a_server_that_forgets_its_scripts_is_told_them_again") else {
        return;
    };
    let Some(_) = single(&config) else { return };
    let (cache, _) = connected(&config).await;
    cache
        .put([1; 16], [0; 16], "record".into(), IDLE)
        .await
        .unwrap();
    let client = redis::Client::open(config.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: String = redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut connection)
        .await
        .unwrap();

    assert_eq!(
        cache.take([1; 16], [0; 16]).await.unwrap(),
        Taken::Taken("record".into())
    );
}

/// A way to the server that can be blocked.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let seen = open.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (server, seen) = (server.clone(), seen.clone());
                tokio::spawn(async move {
                    let far = TcpStream::connect(server).await.unwrap();
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::join!(
                        pass(near_in, far_out, seen.clone()),
                        pass(far_in, near_out, seen)
                    );
                });
            }
        });
        Self {
            address,
            open,
            task,
        }
    }
}

/// Passes bytes on while the gate is open. What arrives at a closed one is lost, and nobody is told.
async fn pass(
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while from.readable().await.is_ok() {
        let read = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        if !*open.borrow() {
            continue;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_away_until_it_answers_again() {
    let Some(mut config) = server("a_server_that_says_nothing_is_away_until_it_answers_again")
    else {
        return;
    };
    let Some(address) = single(&config) else {
        return;
    };
    let gate = Gate::to(address.clone()).await;
    config.url = config.url.replace(&address, &gate.address.to_string());
    config.timeout = Duration::from_millis(100);
    let (cache, marks) = connected(&config).await;
    let put = async || cache.put([1; 16], [0; 16], "record".into(), IDLE).await;
    put().await.unwrap();

    gate.open.send_replace(false);
    let begun = Instant::now();
    assert!(put().await.is_err());
    assert!(
        begun.elapsed() < 5 * config.timeout,
        "{:?}",
        begun.elapsed()
    );
    // From now on it is known, and nobody waits for it.
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert!(cache.look([1; 16]).await.is_err());
        assert!(marks.wait("s", 0, PATIENCE).await.is_err());
        assert!(cache.wait_idle([1; 16], PATIENCE).await.is_err());
    }
    assert!(
        begun.elapsed() < 5 * config.timeout,
        "{:?}",
        begun.elapsed()
    );
    let why = cache.check().unwrap_err().to_string();
    assert!(why.contains("no answer within 100ms"), "{why}");

    gate.open.send_replace(true);
    cache.connected(PATIENCE).await.unwrap();
    assert_eq!(
        cache.take([1; 16], [0; 16]).await.unwrap(),
        Taken::Taken("record".into())
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_found_when_it_comes() {
    // An address at which nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = RedisConfig::new(format!("redis://:hush@{address}"));

    let (cache, marks) = open(&config).unwrap();

    assert!(cache.check().is_err());
    assert!(cache.look([1; 16]).await.is_err());
    assert!(marks.mark("s", 1).await.is_err());
    let why = cache
        .connected(Duration::from_millis(300))
        .await
        .unwrap_err()
        .to_string();
    assert!(why.contains("refused") && !why.contains("hush"), "{why}");

    let Some(there) = server("a_server_that_is_not_there_yet_is_found_when_it_comes") else {
        return;
    };
    let Some(server) = single(&there) else { return };
    let config = RedisConfig {
        url: there.url.replace(&server, &address.to_string()),
        ..there
    };
    let (cache, _) = open(&config).unwrap();
    let cache = Arc::new(cache);
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    cache.connected(PATIENCE).await.unwrap();
    assert_eq!(cache.look([1; 16]).await.unwrap(), Presence::None);
}
