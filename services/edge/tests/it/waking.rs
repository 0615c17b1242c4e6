//! Connection requests.

use crate::{
    bed::{Bed, rand_name, until},
    wire::Device,
};
use platen_bus::NewRecord;
use platen_cwmp::{
    digest::{Algorithm, Authorization, Challenge, Policy, Secret},
    event_code::EventCode,
};
use platen_edge::Config;
use platen_proto::{
    report::v1::{Wake, Woken, report::Body},
    store::v1::Observed,
    topic::{Kind, Topic},
};
use platen_store::{rows, tables::ObservedDevices};
use prost::Message;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

/// Waits for a request, answers it, and returns its head.
async fn serve(socket: &mut BufReader<tokio::net::TcpStream>, answer: &str) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            socket.read_line(&mut head).await.unwrap() > 0,
            "closed after {head:?}"
        );
    }
    socket.write_all(answer.as_bytes()).await.unwrap();
    head
}

async fn wake(bed: &Bed, url: &str) {
    let observed = Observed {
        connection_request_url: url.into(),
        oui: "00D09E".into(),
        ..Observed::default()
    };
    let device = "00D09E-Test-1";
    bed.store
        .write(vec![rows::write::<ObservedDevices>(
            ("default", device),
            &observed,
            1,
        )])
        .await
        .unwrap();
    let wake = Wake {
        tenant: "default".into(),
        device: device.into(),
        command: "op".into(),
        attempt: 1,
    };
    let record = NewRecord {
        topic: Topic::Wake,
        shard: platen_ids::shard("default", device),
        key: format!("default/{device}"),
        kind: Kind::Wake,
        id: rand_name(),
        time_us: 1,
        payload: wake.encode_to_vec().into(),
    };
    bed.log.append(vec![record]).await.unwrap();
}

async fn woken(bed: &Bed) -> Woken {
    match bed.reports(Kind::Woken, 1).await.remove(0).body {
        Some(Body::Woken(woken)) => woken,
        other => panic!("{other:?}"),
    }
}

fn allowing(networks: &[&str]) -> Config {
    let mut config = Config::default();
    config.connection_request.allow = networks.iter().map(|text| text.parse().unwrap()).collect();
    config
}

#[tokio::test]
async fn a_device_may_not_lead_us_to_ourselves() {
    for (url, error) in [
        ("http://127.0.0.1:1/", "NOT_ALLOWED"),
        ("http://[::ffff:169.254.169.254]/", "NOT_ALLOWED"),
        ("https://127.0.0.1/", "BAD_URL"),
        ("", "NO_URL"),
    ] {
        let bed = Bed::start(Config::default()).await;
        wake(&bed, url).await;
        assert_eq!(
            woken(&bed).await,
            Woken {
                command: "op".into(),
                reached: false,
                error: error.into()
            },
            "{url}"
        );
    }
}

async fn ask(answers: Vec<String>, close_after_each: bool) -> (Woken, Vec<String>, SocketAddr) {
    let bed = Bed::start(allowing(&["127.0.0.0/8"])).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    wake(&bed, &format!("http://{address}/knock?x=1")).await;
    let mut heads = Vec::new();
    let mut socket = BufReader::new(listener.accept().await.unwrap().0);
    for (index, answer) in answers.iter().enumerate() {
        if close_after_each && index > 0 {
            socket = BufReader::new(listener.accept().await.unwrap().0);
        }
        heads.push(serve(&mut socket, answer).await);
    }
    drop(socket);
    (woken(&bed).await, heads, address)
}

#[tokio::test]
async fn the_device_is_asked_with_the_credentials_that_it_was_given() {
    let challenge = Challenge::new("printer", "abc", Algorithm::Md5).to_header();
    for close in [false, true] {
        let connection = if close { "Connection: close\r\n" } else { "" };
        let answers = vec![
            format!(
                "HTTP/1.1 401 Unauthorized\r\n{connection}WWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"
            ),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ];
        let (woken, heads, address) = ask(answers, close).await;

        assert_eq!(
            woken,
            Woken {
                command: "op".into(),
                reached: true,
                error: String::new()
            }
        );
        assert!(
            heads[0].starts_with("GET /knock?x=1 HTTP/1.1\r\n"),
            "{}",
            heads[0]
        );
        assert!(
            heads[0].contains(&format!("Host: {address}\r\n")),
            "{}",
            heads[0]
        );
        let line = heads[1]
            .lines()
            .find_map(|line| line.strip_prefix("Authorization: "))
            .expect("authorization");
        let Ok(Authorization::Digest(digest)) = Authorization::parse(line) else {
            panic!("{line}")
        };
        assert_eq!(digest.username, "00D09E-Test-1");
        let keys = platen_runtime::Keys::from_bytes(&[9; 32]);
        let password = keys.derive(&[b"connection-request", b"default", b"00D09E-Test-1"]);
        let password = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            &password[..18],
        );
        let policy = Policy {
            realm: "printer",
            algorithms: &[Algorithm::Md5],
            legacy: false,
        };
        assert_eq!(
            digest.verify(Secret::Password(&password), "GET", "/knock?x=1", &policy),
            Ok(())
        );
    }
}

#[tokio::test]
async fn refusals_are_reported_and_redirects_not_followed() {
    let challenge = Challenge::new("printer", "abc", Algorithm::Md5).to_header();
    let unauthorized = format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"
    );
    for (answers, error) in [
        (vec!["HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned()], "HTTP_503"),
        (vec!["HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned()], "HTTP_302"),
        (vec!["HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n".to_owned()], "NO_DIGEST"),
        (vec![unauthorized.clone(), unauthorized], "HTTP_401"),
        (vec!["rubbish\r\n\r\n".to_owned()], "BROKEN"),
    ] {
        let (woken, ..) = ask(answers, false).await;
        assert_eq!((woken.reached, woken.error.as_str()), (false, error));
    }
}

#[tokio::test]
async fn a_device_in_a_session_is_not_asked() {
    let bed = Bed::start(allowing(&["127.0.0.0/8"])).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;

    wake(&bed, "http://127.0.0.1:1/").await;

    let told = "outcome=\"in_session\"} 1";
    until(async || bed.metrics.text().unwrap().contains(told)).await;
}
