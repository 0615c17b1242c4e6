//! Framing, codings, cookies, slowness and overload: what HTTP has to do with it.

use super::resident;
use crate::{
    bed::{Bed, until},
    wire::{Device, Reply, Wire, envelope, post_of},
};
use flate2::{
    Compress, Compression, Crc, FlushCompress,
    read::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use futures::future::join_all;
use platen_cwmp::{
    event_code::EventCode,
    rpc::{Inform, ParameterValue},
};
use platen_edge::{Config, config::Limits};
use platen_proto::{
    operation::v1::{GetParameterNames, operation_request::Action},
    report::v1::report::Body,
    topic::Kind,
};
use std::{
    io::Read,
    pin::pin,
    process::Command,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// IR with MaxEnvelopes 1 and a random cookie, then 204 without a body (SES-22, SES-31, SES-41).
#[tokio::test]
async fn at_01_idle_session() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let mut cookies = Vec::new();
    // On one connection, where the next answer would show a body that is not announced.
    for _ in 0..3 {
        device.cookie = None;
        let inform = inform(&device);

        let reply = device.post(&inform).await.expect("an answer to the Inform");

        assert_inform_response(&reply, "an Inform");
        let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
        let value = cookie.split([';', '=']).nth(1).unwrap();
        assert!(value.len() >= 32, "128 bits at least: {cookie}");
        assert!(
            !cookies.contains(&cookie),
            "every session has a cookie of its own: {cookie}"
        );
        cookies.push(cookie);
        let end = device.post_plain(&[], b"").await.expect("an answer to E");
        assert_eq!(
            (
                end.status,
                end.header("content-type"),
                end.header("content-length"),
                end.header("transfer-encoding")
            ),
            (204, None, None, None),
            "the session's end has no body"
        );
    }
    assert_eq!(bed.count_reports().await, 3, "the Informs alone");
}

/// Chunks that cut characters and entities: IR, and the values are byte-exact (SES-11).
#[tokio::test]
async fn at_02_chunked_inform() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    // 18 bytes as they are sent, seven times: each of them comes to lie at an end of a chunk.
    let value = "ä€😀&<".repeat(7);
    for trailer in ["", "X-Checksum: 7\r\n"] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let inform = post_of(Inform {
            parameters: vec![ParameterValue::string("Device.X_Note", &value)],
            ..device.inform(&[EventCode::Periodic])
        });
        for first in ["😀", "&amp;"] {
            assert!(
                inform
                    .chunks(7)
                    .any(|chunk| chunk.ends_with(&first.as_bytes()[..1])),
                "a chunk ends within {first}"
            );
        }
        let authorization = authorized(&mut device, &inform).await;

        let headers = [
            ("Authorization", authorization.as_str()),
            ("Transfer-Encoding", "chunked"),
        ];
        send(&mut device, &headers, &chunked(&inform, 7, trailer)).await;

        let reply = device.wire.read(false).await.expect("an answer");
        assert_inform_response(&reply, &format!("chunks, trailer {trailer:?}"));
    }
    assert_eq!(
        values(&bed, 2).await,
        [value.clone(), value],
        "the values are as they were sent"
    );
}

/// A chunked POST without a byte is an empty POST (SES-11).
#[tokio::test]
async fn at_03_chunked_empty_post() {
    let bed = Bed::start(Config::default()).await;
    let names = Action::GetParameterNames(GetParameterNames::default());
    bed.enqueue("1", "names", names, |_| {}).await;
    // With and without something to be asked.
    for (serial, expected, is_asked) in [("1", 200, true), ("2", 204, false)] {
        bed.register(serial, "secret").await;
        let mut device = opened(&bed, serial).await;

        send(
            &mut device,
            &[("Transfer-Encoding", "chunked")],
            b"0\r\n\r\n",
        )
        .await;

        let reply = device.wire.read(false).await.expect("an answer");
        assert_eq!(reply.status, expected, "{serial}: as upon an empty POST");
        assert_eq!(
            reply.text().contains("<cwmp:GetParameterNames>"),
            is_asked,
            "{serial}: the server's turn"
        );
    }
    assert_eq!(bed.count_reports().await, 2, "the Informs alone");
}

/// `Expect: 100-continue`: the server asks for the body, and answers it with IR (SES-14).
#[tokio::test]
async fn at_04_expect() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let inform = inform(&device);
    let authorization = authorized(&mut device, &inform).await;
    let length = inform.len().to_string();

    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Length", length.as_str()),
        ("Expect", "100-continue"),
    ];
    send(&mut device, &headers, b"").await;
    let interim = timeout(Duration::from_secs(30), device.wire.read(false))
        .await
        .expect("an answer although the body has not come")
        .expect("an answer");
    assert_eq!(interim.status, 100, "the body is asked for");
    device.wire.write(&inform).await;

    let reply = device.wire.read(false).await.expect("an answer");
    assert_inform_response(&reply, "after 100 Continue");
    assert_eq!(values(&bed, 1).await, ["1.4"]);
}

/// Every known coding, deflate with and without zlib's wrapping: IR (SES-15).
#[tokio::test]
async fn at_05_gzip_inform() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let inform = inform(&Device::connect(bed.address, "1", "secret").await);
    let zlib = packed(ZlibEncoder::new(inform.as_slice(), Compression::default()));
    let raw = packed(DeflateEncoder::new(
        inform.as_slice(),
        Compression::default(),
    ));
    for (coding, what, body) in [
        ("gzip", "gzip", gzip(&inform)),
        ("x-gzip", "gzip", gzip(&inform)),
        ("deflate", "zlib", zlib),
        ("deflate", "raw deflate", raw),
    ] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let authorization = authorized(&mut device, &inform).await;

        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Encoding", coding),
        ];
        let reply = device
            .post_plain(&headers, &body)
            .await
            .expect("an answer to the Inform");

        assert_inform_response(&reply, &format!("{coding}: {what}"));
    }
    assert_eq!(values(&bed, 4).await, ["1.4"; 4], "every one was read");
}

/// A coding that is not known: 415, and the connection can be used further (SES-15).
#[tokio::test]
async fn at_06_unknown_coding() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    // The last one is too large to have been read when the headers are.
    for size in [1, 4 << 10, 256 << 10] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let inform = inform(&device);
        let authorization = authorized(&mut device, &inform).await;

        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Encoding", "br"),
        ];
        let reply = device
            .post_plain(&headers, &vec![b'x'; size])
            .await
            .unwrap_or_else(|| panic!("{size} bytes: an answer"));

        assert_eq!(
            reply.status, 415,
            "{size} bytes: an unknown coding is told as such"
        );
        assert_ne!(
            reply.header("connection"),
            Some("close"),
            "{size} bytes: the connection is said to stay"
        );
        let again = device
            .post(&inform)
            .await
            .unwrap_or_else(|| panic!("{size} bytes: the connection stays"));
        assert_inform_response(&again, "without the coding");
    }
}

/// A gzip bomb, also packed twice: 413 or closed, in 2 s, with less than 64 MiB (SES-17).
#[tokio::test]
async fn at_07_gzip_bomb() {
    // Other tests of this process take memory, too: it is counted where this one is alone.
    if !std::env::args().any(|argument| argument == "--exact") {
        run_alone(concat!(module_path!(), "::at_07_gzip_bomb"));
        return;
    }
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let bomb = bomb();
    assert!(
        (1 << 20..2 << 20).contains(&bomb.len()),
        "the bomb is small: {}",
        bomb.len()
    );
    let nested = gzip(&bomb);
    for (what, coding, body, expected) in [
        ("a bomb", "gzip", &bomb, 413),
        ("a packed bomb", "gzip", &nested, 413),
        // A list of codings is a coding that is not known.
        ("a packed bomb, declared", "gzip, gzip", &nested, 415),
    ] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let inform = inform(&device);
        let authorization = authorized(&mut device, &inform).await;
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Encoding", coding),
        ];
        let before = resident();
        let mut most = before;
        let begun = Instant::now();

        let mut post = pin!(device.post_plain(&headers, body));
        let reply = loop {
            let answered = timeout(Duration::from_millis(1), post.as_mut()).await;
            most = most.max(resident());
            if let Ok(reply) = answered {
                break reply;
            }
        };

        let took = begun.elapsed();
        let status = reply.map(|reply| reply.status);
        assert!(
            status.is_none_or(|status| status == expected),
            "{what}: {expected} or a closed connection, not {status:?}"
        );
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        let grown = most - before;
        assert!(grown < 64 << 20, "{what}: {grown} bytes of memory");
    }
    assert_eq!(bed.count_reports().await, 0, "nothing of it is on the log");
}

/// Cookies as devices write them: the session continues (SES-32).
#[tokio::test]
async fn at_10_cookie_forms() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let old = opened(&bed, "1").await.cookie.unwrap();
    bed.register("2", "secret").await;
    let mut ended = opened(&bed, "2").await;
    ended.post_plain(&[], b"").await.expect("an answer to E");
    let ended = ended.cookie.unwrap();
    let device = opened(&bed, "1").await;
    let new = device.cookie.unwrap();
    let value = new.strip_prefix("session=").expect("the cookie's name");
    for (id, form) in [
        format!("a=1,session=\"{value}\""),
        format!("{old}; {new}"),
        format!("{new}; {old}"),
        format!("{new}; {old}; {ended}"),
        format!("{new}; Path=/"),
    ]
    .iter()
    .enumerate()
    {
        // Nothing but the cookie tells whose session it is.
        let mut wire = Wire::connect(bed.address).await;
        let id = format!("form-{id}");
        let request = message(&id, "<cwmp:GetRPCMethods/>");

        let reply = wire
            .request("POST", &device.path, &[("Cookie", form)], &request)
            .await
            .expect("an answer");

        assert_eq!(reply.status, 200, "{form}: the session continues");
        let text = reply.text();
        assert!(text.contains(&format!(">{id}</cwmp:ID>")), "{form}: {text}");
    }
}

/// An Inform with a cookie of no session: IR and a new cookie, which is its session's (SES-33).
#[tokio::test]
async fn at_11_stale_cookie_on_inform() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = opened(&bed, "1").await;
    let end = device.post_plain(&[], b"").await.expect("an answer to E");
    assert_eq!(end.status, 204);
    let ended = device.cookie.unwrap();
    let never = format!("session={}", "5".repeat(64));
    for stale in [ended, never] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        device.cookie = Some(stale.clone());
        let inform = inform(&device);

        let reply = device.post(&inform).await.expect("an answer to the Inform");

        assert_inform_response(&reply, &stale);
        assert!(reply.header("set-cookie").is_some(), "a new cookie");
        assert_ne!(device.cookie, Some(stale), "it is another one");
        device.wire = Wire::connect(bed.address).await;
        let request = message("7", "<cwmp:GetRPCMethods/>");
        let inside = device.post_plain(&[], &request).await.expect("an answer");
        assert_eq!(inside.status, 200, "the new cookie is the session's");
    }
}

/// An empty POST without a session: 204, when strict 400, and nothing is remembered of it (SES-70).
#[tokio::test]
async fn at_12_empty_post_no_session() {
    for (strict, expected) in [(false, 204), (true, 400)] {
        let bed = Bed::start(Config {
            strict,
            ..Config::default()
        })
        .await;
        let mut wire = Wire::connect(bed.address).await;

        let reply = wire
            .request("POST", "/cwmp/default", &[], b"")
            .await
            .expect("an answer");

        assert_eq!(reply.status, expected, "strict: {strict}");
        assert_eq!(reply.header("set-cookie"), None, "strict: {strict}");
        assert_eq!(bed.count_reports().await, 0, "strict: {strict}");
        assert!(
            !bed.metrics
                .text()
                .unwrap()
                .contains("platen_cwmp_session_started_total{"),
            "strict: {strict}: no session"
        );
    }
}

/// A response that belongs to no session: 400 (SES-70).
#[tokio::test]
async fn at_13_late_response_no_session() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let late = message(
        "7",
        "<cwmp:GetParameterValuesResponse><ParameterList><ParameterValueStruct><Name>Device.A</Name><Value>1</Value></ParameterValueStruct></ParameterList></cwmp:GetParameterValuesResponse>",
    );
    let stranger = Device::connect(bed.address, "1", "secret").await;
    let mut finished = opened(&bed, "1").await;
    let end = finished.post_plain(&[], b"").await.expect("an answer to E");
    assert_eq!(end.status, 204);
    finished.cookie = None;
    for (what, mut device) in [
        ("a new connection", stranger),
        ("the connection of a session that has ended", finished),
    ] {
        let reply = device.post_plain(&[], &late).await.expect("an answer");
        assert_eq!(reply.status, 400, "{what}");
        assert_eq!(reply.header("set-cookie"), None, "{what}");
    }
    assert_eq!(bed.count_reports().await, 1, "the Inform alone");
}

/// A session lives as long as SessionTimeout says, 30 s or more without it (SES-07, VER-14).
#[tokio::test]
async fn at_17_session_timeout() {
    assert!(
        Config::default().session_timeout >= Duration::from_secs(30),
        "without the header a session lives for 30 s at least"
    );
    let session_timeout = Duration::from_secs(1);
    let bed = Bed::start(Config {
        session_timeout,
        ..Config::default()
    })
    .await;
    for serial in ["1", "2"] {
        bed.register(serial, "secret").await;
        let names = Action::GetParameterNames(GetParameterNames::default());
        bed.enqueue(serial, serial, names, |_| {}).await;
    }
    let mut slow = Device::connect(bed.address, "1", "secret").await;
    let header =
        "</cwmp:ID><cwmp:SessionTimeout soap-env:mustUnderstand=\"0\">60</cwmp:SessionTimeout>";
    let inform = String::from_utf8(inform(&slow))
        .unwrap()
        .replacen("</cwmp:ID>", header, 1);
    let reply = slow.post(inform.as_bytes()).await.expect("an answer");
    assert_inform_response(&reply, "an Inform with SessionTimeout");
    let mut usual = opened(&bed, "2").await;

    sleep(session_timeout * 3 / 2).await;

    let alive = slow.post_plain(&[], b"").await.expect("an answer to E");
    assert!(
        alive.text().contains("<cwmp:GetParameterNames>"),
        "the session that asked for 60 s is alive: {alive:?}"
    );
    let over = usual.post_plain(&[], b"").await.expect("an answer to E");
    assert_eq!(
        over.status, 204,
        "the session that asked for nothing is over"
    );
}

/// The wrong method gets 405 and `Allow: POST`, the wrong path 404 (SES-03).
#[tokio::test]
async fn at_21_method_and_path() {
    let bed = Bed::start(Config::default()).await;
    for (method, path, expected, allow) in [
        ("GET", "/cwmp/default", 405, Some("POST")),
        ("HEAD", "/cwmp/default", 405, Some("POST")),
        ("PUT", "/cwmp/default", 405, Some("POST")),
        ("DELETE", "/cwmp/default", 405, Some("POST")),
        ("POST", "/nonexistent", 404, None),
        ("POST", "/cwmp/nonexistent", 404, None),
    ] {
        let mut wire = Wire::connect(bed.address).await;

        let reply = wire
            .request(method, path, &[], b"")
            .await
            .expect("an answer");

        assert_eq!(
            (reply.status, reply.header("allow")),
            (expected, allow),
            "{method} {path}"
        );
    }
}

/// Two lengths: 400, and what may be another request is not read as one (SES-12, SEC-47).
#[tokio::test]
async fn at_22_smuggling() {
    let bed = Bed::start(Config::default()).await;
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let mut wire = Wire::connect(bed.address).await;
        let second = "POST /cwmp/default HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let bytes =
            format!("POST /cwmp/default HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n0\r\n\r\n{second}");

        wire.write(bytes.as_bytes()).await;

        let reply = wire.read(false).await.expect("an answer");
        assert_eq!(reply.status, 400, "{framing}");
        assert!(
            wire.is_closed().await,
            "{framing}: closed, and no second answer"
        );
    }
}

/// A body that drips: 408 or closed within 30 s, and the sessions of others go on (SES-13, SEC-46).
#[tokio::test]
async fn at_23_slow_body() {
    assert!(
        Limits::default().body_pause <= Duration::from_secs(30),
        "the default keeps the bound, too"
    );
    let limits = Limits {
        body_pause: Duration::from_secs(1),
        ..Limits::default()
    };
    let bed = Bed::start(Config {
        limits,
        ..Config::default()
    })
    .await;
    bed.register("1", "secret").await;
    let mut other = opened(&bed, "1").await;
    let mut slow = Device::connect(bed.address, "2", "secret").await;
    let begun = Instant::now();
    send(&mut slow, &[("Content-Length", "1000")], b"<").await;

    let request = message("7", "<cwmp:GetRPCMethods/>");
    let meanwhile = other.post_plain(&[], &request).await.expect("an answer");
    assert_eq!(meanwhile.status, 200, "another session goes on");
    // No pause is too long, but all of it is too slow.
    let reply = loop {
        match timeout(Duration::from_millis(500), slow.wire.read(false)).await {
            Ok(reply) => break reply,
            Err(_) => slow.wire.write(b"x").await,
        }
    };

    let took = begun.elapsed();
    let status = reply.map(|reply| reply.status);
    assert!(
        status.is_none_or(|status| status == 408),
        "408 or a closed connection, not {status:?}"
    );
    assert!(slow.wire.is_closed().await, "the connection is given up");
    assert!(took <= Duration::from_secs(30), "{took:?}");
    let request = message("8", "<cwmp:GetRPCMethods/>");
    let after = other.post_plain(&[], &request).await.expect("an answer");
    assert_eq!(after.status, 200, "the other session is still there");
    assert_eq!(other.post_plain(&[], b"").await.unwrap().status, 204);
}

/// Ten times the capacity: every new Inform gets 503, and the 50 live sessions finish (SES-64).
#[tokio::test]
async fn at_24_overload() {
    const CAPACITY: usize = 50;
    let limits = Limits {
        sessions: CAPACITY as u64,
        ..Limits::default()
    };
    let bed = Bed::start(Config {
        limits,
        ..Config::default()
    })
    .await;
    bed.register("new", "secret").await;
    let mut live = Vec::new();
    for number in 0..CAPACITY {
        let serial = number.to_string();
        bed.register(&serial, "secret").await;
        live.push(opened(&bed, &serial).await);
    }
    // The edge counts its sessions now and then.
    let mut probe = Device::connect(bed.address, "new", "secret").await;
    let inform = inform(&probe);
    until(async || {
        let reply = probe.post_plain(&[], &inform).await;
        reply.is_some_and(|reply| reply.status == 503)
    })
    .await;

    let address = bed.address;
    let request = message("7", "<cwmp:GetRPCMethods/>");
    for some in live.chunks_mut(CAPACITY / 10) {
        let informs = (0..CAPACITY).map(|_| async move {
            let mut device = Device::connect(address, "new", "secret").await;
            let (_, reply) = device.open(&[EventCode::Periodic]).await;
            reply
        });
        let posts = some
            .iter_mut()
            .map(|device| device.post_plain(&[], &request));
        let (refused, inside) = tokio::join!(join_all(informs), join_all(posts));
        for reply in refused {
            assert_eq!(reply.status, 503, "a new Inform is refused");
        }
        for reply in inside {
            let reply = reply.expect("an answer inside a session");
            assert_eq!(reply.status, 200, "a live session goes on");
        }
    }
    let request = &message("8", "<cwmp:GetRPCMethods/>");
    join_all(live.iter_mut().map(|device| async move {
        let reply = device.post_plain(&[], request).await.expect("an answer");
        assert_eq!(reply.status, 200, "the session has outlived the storm");
        assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
    }))
    .await;
}

/// One byte more than is allowed, however it comes, within a session and outside: 413 and closed; else IR (SES-09, SES-17).
#[tokio::test]
async fn at_38_over_limit() {
    const CAP: usize = 16 << 10;
    assert!(
        Limits::default().body_bytes >= 16 << 20,
        "16 MiB are taken by default"
    );
    let limits = Limits {
        body_bytes: CAP,
        ..Limits::default()
    };
    let bed = Bed::start(Config {
        limits,
        ..Config::default()
    })
    .await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    let small = inform(&device);
    let mut most = small.clone();
    most.resize(CAP, b' ');
    let reply = device.post(&most).await.expect("an answer to the Inform");
    assert_inform_response(&reply, "as much as is allowed");

    let mut over = most;
    over.push(b' ');
    let packed = gzip(&over);
    let (length, packed_length) = (over.len().to_string(), packed.len().to_string());
    for (what, framing, bytes) in [
        (
            "announced",
            &[("Content-Length", length.as_str())][..],
            over.clone(),
        ),
        (
            "announced, before it is sent",
            &[("Content-Length", length.as_str())][..],
            Vec::new(),
        ),
        (
            "in chunks",
            &[("Transfer-Encoding", "chunked")][..],
            chunked(&over, 1 << 10, ""),
        ),
        (
            "packed",
            &[
                ("Content-Encoding", "gzip"),
                ("Content-Length", packed_length.as_str()),
            ][..],
            packed,
        ),
    ] {
        let mut outside = Device::connect(bed.address, "1", "secret").await;
        let authorization = authorized(&mut outside, &small).await;
        let inside = opened(&bed, "1").await;
        for (mut device, own) in [
            (outside, &[("Authorization", authorization.as_str())][..]),
            (inside, &[]),
        ] {
            send(&mut device, &[own, framing].concat(), &bytes).await;

            let reply = device.wire.read(false).await.expect("an answer");
            assert_eq!(reply.status, 413, "{what}");
            assert_eq!(reply.header("connection"), Some("close"), "{what}");
            assert!(device.wire.is_closed().await, "{what}: closed");
        }
    }
    let mut device = opened(&bed, "1").await;
    let empty = device
        .post_plain(&[], &vec![b' '; CAP])
        .await
        .expect("an answer");
    assert_eq!(
        empty.status, 204,
        "as much as is allowed, within the session"
    );
    // Of the first, of the four cases within a session, and of the last one.
    assert_eq!(
        bed.count_reports().await,
        6,
        "the Informs that were allowed"
    );
}

/// The Inform of the conventions: `2 PERIODIC`, CWMP 1.2, ID 1.
fn inform(device: &Device) -> Vec<u8> {
    post_of(device.inform(&[EventCode::Periodic]))
}

/// A message of the device with this ID.
fn message(id: &str, body: &str) -> Vec<u8> {
    envelope(id, body).into_bytes()
}

/// Asserts that this is IR to the Inform of the conventions: its ID, its namespace.
fn assert_inform_response(reply: &Reply, what: &str) {
    let text = reply.text();
    assert_eq!(reply.status, 200, "{what}: {text}");
    for part in [
        "<cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse>",
        ">1</cwmp:ID>",
        "xmlns:cwmp=\"urn:dslforum-org:cwmp-1-2\"",
    ] {
        assert!(text.contains(part), "{what}: {part} in {text}");
    }
}

/// A device within its session.
async fn opened(bed: &Bed, serial: &str) -> Device {
    let mut device = Device::connect(bed.address, serial, "secret").await;
    let inform = inform(&device);
    let reply = device.post(&inform).await.expect("an answer to the Inform");
    assert_inform_response(&reply, serial);
    device
}

/// The `Authorization` for the next POST: it answers the challenge that the Inform gets.
async fn authorized(device: &mut Device, inform: &[u8]) -> String {
    let reply = device.post_plain(&[], inform).await.expect("a challenge");
    assert_eq!(reply.status, 401, "a device is asked who it is");
    device.challenged(&reply);
    device.authorization().unwrap()
}

/// Sends a POST whose framing is in these headers and bytes.
async fn send(device: &mut Device, headers: &[(&str, &str)], bytes: &[u8]) {
    let (path, host) = (&device.path, device.wire.peer());
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(cookie) = &device.cookie {
        head.push_str(&format!("Cookie: {cookie}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    device.wire.write(&[head.as_bytes(), bytes].concat()).await;
}

/// Chunks of that size, and what follows the last of them.
fn chunked(bytes: &[u8], size: usize, trailer: &str) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in bytes.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
    framed
}

/// The value of the first parameter of each Inform on the log.
async fn values(bed: &Bed, informs: usize) -> Vec<String> {
    let reports = bed.reports(Kind::Inform, informs).await;
    let value = |report: &platen_proto::report::v1::Report| match &report.body {
        Some(Body::Inform(inform)) => inform.parameters[0].value.clone(),
        other => panic!("{other:?}"),
    };
    reports.iter().map(value).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    packed(GzEncoder::new(bytes, Compression::best()))
}

fn packed(mut encoder: impl Read) -> Vec<u8> {
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).unwrap();
    packed
}

/// 1 GiB of zeros in gzip. 1 MiB of them is packed, and repeated: to pack all takes too long.
fn bomb() -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut piece = Vec::with_capacity(64 << 10);
    Compress::new(Compression::best(), false)
        .compress_vec(&zeros, &mut piece, FlushCompress::Sync)
        .unwrap();
    let mut crc_of_piece = Crc::new();
    crc_of_piece.update(&zeros);

    let mut bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let mut crc = Crc::new();
    for _ in 0..1 << 10 {
        bomb.extend_from_slice(&piece);
        crc.combine(&crc_of_piece);
    }
    // The last block, which is empty; then the sum and the length.
    bomb.extend_from_slice(&[3, 0]);
    bomb.extend_from_slice(&crc.sum().to_le_bytes());
    bomb.extend_from_slice(&(1u32 << 30).to_le_bytes());
    bomb
}

/// Runs a test of this program in a process of its own.
fn run_alone(path: &str) {
    let (_, name) = path.split_once("::").expect("the program's name and more");
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}
