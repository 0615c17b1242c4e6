//! The swarm against a server that authenticates and answers as an idle one does, and one that does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use platen_cwmp::{
    digest::{Algorithm, Challenge},
    rpc::{AcsResponse, InformResponse},
    soap::{AcsMessage, Envelope, Header, Version},
};
use platen_swarm::{
    load::{self, Plan, Progress},
    peer::Target,
    report::Report,
    session::Habits,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the server counts.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    informs: AtomicU64,
    ends: AtomicU64,
}

/// Answers Informs that carry credentials, each `refuse`th with 503; `refuse` 0: none.
async fn server(refuse: u64) -> (SocketAddr, Arc<Counts>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            counted.connections.fetch_add(1, Ordering::Relaxed);
            let counts = Arc::clone(&counted);
            let service = service_fn(move |request| answer(request, Arc::clone(&counts), refuse));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, counts)
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
    refuse: u64,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let empty = |status: StatusCode| {
        Response::builder()
            .status(status)
            .body(Full::default())
            .unwrap()
    };
    if body.is_empty() {
        assert_eq!(head.headers.get(header::COOKIE).unwrap(), "session=1");
        counts.ends.fetch_add(1, Ordering::Relaxed);
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if head.headers.get(header::AUTHORIZATION).is_none() {
        let mut response = empty(StatusCode::UNAUTHORIZED);
        let challenge = Challenge::new("platen", "0123456789abcdef", Algorithm::Md5).to_header();
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        return Ok(response);
    }
    let informs = counts.informs.fetch_add(1, Ordering::Relaxed) + 1;
    if refuse > 0 && informs.is_multiple_of(refuse) {
        return Ok(empty(StatusCode::SERVICE_UNAVAILABLE));
    }
    let message = AcsMessage::Response(AcsResponse::Inform(InformResponse::default()));
    let envelope = Envelope {
        namespace: Version::V1_0.namespace(),
        header: Header::with_id("1"),
        message,
    };
    let mut response = Response::new(Full::from(envelope.to_xml().unwrap()));
    response
        .headers_mut()
        .insert(header::SET_COOKIE, "session=1; Path=/".parse().unwrap());
    Ok(response)
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        target: Target {
            address,
            host: address.to_string(),
            path: "/cwmp/default".to_owned(),
        },
        devices: 10,
        rate: None,
        concurrency: 4,
        duration: Duration::from_millis(300),
        habits: Habits {
            keep_alive: true,
            keep_challenge: true,
            leave_open: false,
        },
        authenticate: true,
        install: false,
        patience: Duration::from_secs(10),
        pid: Some(std::process::id()),
    }
}

async fn run(plan: &Plan) -> Report {
    load::run(
        plan,
        &Arc::new(Progress::default()),
        &CancellationToken::new(),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn what_the_report_says_is_what_the_server_saw() {
    let (address, counts) = server(0).await;

    let report = run(&plan(address)).await;

    assert_eq!(report.errors, [].into());
    assert!(report.sessions > 10, "{report}");
    assert_eq!(report.sessions, counts.ends.load(Ordering::Relaxed));
    assert_eq!(report.sessions, counts.informs.load(Ordering::Relaxed));
    assert_eq!(report.challenges, 10, "each device is challenged once");
    assert_eq!(
        counts.connections.load(Ordering::Relaxed),
        10,
        "each device has one connection"
    );
    assert_eq!(
        (report.inform.count, report.end.count, report.session.count),
        (report.sessions, report.sessions, report.sessions)
    );
    assert!(report.server.is_some());
}

#[tokio::test]
async fn devices_without_memory_connect_and_are_challenged_each_time() {
    let (address, counts) = server(0).await;

    let report = run(&Plan {
        habits: Habits {
            keep_alive: false,
            keep_challenge: false,
            leave_open: false,
        },
        ..plan(address)
    })
    .await;

    assert_eq!(report.errors, [].into());
    assert_eq!(report.challenges, report.sessions);
    assert_eq!(counts.connections.load(Ordering::Relaxed), report.sessions);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (address, _) = server(0).await;

    let report = run(&Plan {
        rate: Some(100.0),
        duration: Duration::from_millis(500),
        ..plan(address)
    })
    .await;

    // Never more than are due; fewer only where this machine is too busy to begin them in time.
    assert!((25..=50).contains(&report.sessions), "{report}");
}

#[tokio::test]
async fn refusals_are_counted_apart() {
    let (address, counts) = server(3).await;

    let report = run(&plan(address)).await;

    let refused = report.errors["busy (503)"];
    assert_eq!(
        refused,
        counts.informs.load(Ordering::Relaxed) / 3,
        "{report}"
    );
    assert_eq!(report.failed(), refused);
}

#[tokio::test]
async fn nobody_there_is_an_error_of_its_own() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);

    let report = run(&plan(address)).await;

    assert_eq!(report.sessions, 0);
    assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["cannot connect"]);
}
