use super::*;
use axum::{Router, routing::post};
use std::{path::Path, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    metrics: Metrics,
}

async fn start(router: Router, tls: Option<Tls>, limits: Limits, grace: Duration) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let stop = CancellationToken::new();
    let metrics = Metrics::new("test").unwrap();
    let listener = Listener {
        name: "test",
        socket,
        tls,
        protocol: Protocol::Http1,
        limits,
    };
    let (token, of_task) = (stop.clone(), metrics.clone());
    let task = tokio::spawn(async move { listener.serve(router, &of_task, token, grace).await });
    Running {
        address,
        stop,
        task,
        metrics,
    }
}

fn echo() -> Router {
    Router::new().route("/", post(|body: String| async move { body }))
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_with_two_lengths_gets_400_and_the_connection_is_closed() {
    let running = start(echo(), None, Limits::default(), Duration::ZERO).await;

    let answer = exchange(
        running.address,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let good = exchange(
        running.address,
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    )
    .await;
    assert!(
        good.starts_with("HTTP/1.1 200") && good.ends_with("abc"),
        "{good}"
    );
}

/// Nobody reads from a connection while its request is answered: the head is over all the same, and the next one is looked at by itself.
#[tokio::test]
async fn a_head_is_over_with_its_request() {
    const GOOD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    const BAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let head = Duration::from_millis(50);
    let limits = Limits {
        head,
        ..Limits::default()
    };
    let running = start(echo(), None, limits, Duration::ZERO).await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    for request in [GOOD, GOOD, BAD] {
        let mut answer = [0; 4096];
        socket.write_all(request).await.unwrap();
        let length = socket.read(&mut answer).await.unwrap();
        let expected = if request == GOOD {
            "HTTP/1.1 200"
        } else {
            "HTTP/1.1 400"
        };
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with(expected), "{answer}");
        // Longer than a head may take.
        tokio::time::sleep(2 * head).await;
    }
}

#[tokio::test]
async fn slow_heads_and_silent_peers_are_closed() {
    for (sent, limits) in [
        (
            &b"POST / HTTP/1.1\r\nHo"[..],
            Limits {
                head: Duration::from_millis(50),
                ..Limits::default()
            },
        ),
        (
            &b""[..],
            Limits {
                idle: Duration::from_millis(50),
                ..Limits::default()
            },
        ),
        (
            &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"[..],
            Limits {
                idle: Duration::from_millis(50),
                ..Limits::default()
            },
        ),
    ] {
        let running = start(echo(), None, limits, Duration::ZERO).await;
        let begun = Instant::now();

        let answer = exchange(running.address, sent).await;

        assert!(begun.elapsed() >= Duration::from_millis(50), "{answer}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "the default deadline was not waited for"
        );
    }
}

#[tokio::test]
async fn the_head_deadline_does_not_cut_a_long_answer() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let slow = Router::new().route(
        "/",
        post(move || {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                "done"
            }
        }),
    );
    let limits = Limits {
        head: Duration::from_millis(20),
        idle: Duration::from_millis(20),
        ..Limits::default()
    };
    let running = start(slow, None, limits, Duration::ZERO).await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();

    let mut one = [0; 1];
    let early = timeout(Duration::from_millis(100), socket.read(&mut one)).await;
    assert!(early.is_err(), "neither answered nor closed: {early:?}");
    opened.notify_one();

    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn a_peer_has_no_more_connections_than_it_may_have() {
    let running = start(
        echo(),
        None,
        Limits {
            connections_per_peer: 1,
            ..Limits::default()
        },
        Duration::ZERO,
    )
    .await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        .await
        .unwrap();

    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");

    first.write_all(b"x").await.unwrap();
    let mut answer = vec![0; 1024];
    let length = first.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    assert!(
        running
            .metrics
            .text()
            .unwrap()
            .contains("reason=\"per_peer\"} 1")
    );
}

#[tokio::test]
async fn stopping_lets_the_request_at_hand_finish() {
    let running = start(echo(), None, Limits::default(), Duration::from_secs(30)).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await
    .unwrap();
    let mut interim = [0; 25];
    busy.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));

    running.stop.cancel();
    busy.write_all(b"ok").await.unwrap();

    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
        "{answer}"
    );
    running.task.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn who_has_connected_before_the_stop_is_served() {
    let running = start(echo(), None, Limits::default(), Duration::from_secs(30)).await;
    // Nothing is awaited here, so nothing is accepted before the stop.
    let mut waiting = std::net::TcpStream::connect(running.address).unwrap();
    std::io::Write::write_all(
        &mut waiting,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
    )
    .unwrap();
    running.stop.cancel();

    waiting.set_nonblocking(true).unwrap();
    let mut answer = String::new();
    let mut waiting = TcpStream::from_std(waiting).unwrap();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.task.await.unwrap();
}

#[tokio::test]
async fn after_the_grace_connections_are_cut() {
    let running = start(echo(), None, Limits::default(), Duration::from_millis(50)).await;
    let mut stuck = TcpStream::connect(running.address).await.unwrap();
    stuck
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .await
        .unwrap();
    stuck.read_exact(&mut [0; 25]).await.unwrap();

    running.stop.cancel();

    running.task.await.unwrap();
}

#[tokio::test]
async fn tls_serves_and_takes_a_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let files = tls::Files {
        certificate: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
        client_authorities: None,
    };
    let first = write_certificate(dir.path());
    let tls = Tls::load(files, &["http/1.1"]).unwrap();
    let running = start(echo(), Some(tls.clone()), Limits::default(), Duration::ZERO).await;
    assert!(
        fetch_tls(running.address, &first)
            .await
            .unwrap()
            .ends_with("abc")
    );

    let second = write_certificate(dir.path());
    tls.reload();

    assert!(
        fetch_tls(running.address, &second)
            .await
            .unwrap()
            .ends_with("abc")
    );
    assert!(
        fetch_tls(running.address, &first).await.is_err(),
        "the old certificate is no longer shown"
    );

    std::fs::write(dir.path().join("cert.pem"), "rubbish").unwrap();
    tls.reload();
    assert!(
        fetch_tls(running.address, &second).await.is_ok(),
        "what works stays"
    );
}

fn write_certificate(dir: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

async fn fetch_tls(
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector
        .connect("localhost".try_into().unwrap(), socket)
        .await?;
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        )
        .await?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer).await {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}
