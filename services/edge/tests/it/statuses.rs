//! Which status a POST gets.

use crate::{
    bed::Bed,
    wire::{self, Device, Wire},
};
use platen_cwmp::event_code::EventCode;
use platen_edge::{
    Config,
    config::{Limits, Scheme},
};

fn envelope(body: &str) -> String {
    wire::envelope("7", body)
}

#[tokio::test]
async fn paths_and_methods() {
    let bed = Bed::start(Config {
        default_tenant: Some("default".into()),
        ..Config::default()
    })
    .await;
    for (method, path, expected) in [
        ("GET", "/cwmp/default", 405),
        ("PUT", "/cwmp/default", 405),
        ("POST", "/cwmp/nobody", 404),
        ("POST", "/cwmp/No%20Body", 404),
        ("POST", "/bulk/default", 404),
        ("POST", "/elsewhere", 404),
        ("POST", "/cwmp/default", 204),
        ("POST", "/", 204),
    ] {
        let mut wire = Wire::connect(bed.address).await;
        let reply = wire.request(method, path, &[], b"").await.unwrap();
        assert_eq!(reply.status, expected, "{method} {path}");
        assert_eq!(reply.header("allow"), (expected == 405).then_some("POST"));
        if expected == 204 {
            assert_eq!(
                (reply.header("content-length"), reply.header("content-type")),
                (None, None)
            );
        }
    }
}

#[tokio::test]
async fn posts_without_a_session() {
    let bed = Bed::start(Config::default()).await;
    let bomb = "<!DOCTYPE a [<!ENTITY b \"c\">]><s:Envelope/>".to_owned();
    for (body, expected) in [
        ("", 204),
        ("  \r\n", 204),
        ("<broken", 400),
        ("not xml at all", 400),
        ("<html/>", 400),
        (bomb.as_str(), 400),
        (envelope("<cwmp:GetRPCMethods/>").as_str(), 400),
        (envelope("<cwmp:RebootResponse/>").as_str(), 400),
        (envelope("<cwmp:Inform/>").as_str(), 401),
    ] {
        let mut wire = Wire::connect(bed.address).await;
        let reply = wire
            .request("POST", "/cwmp/default", &[], body.as_bytes())
            .await
            .unwrap();
        assert_eq!(reply.status, expected, "{body}");
        assert_eq!(
            reply.header("www-authenticate").is_some(),
            expected == 401,
            "{body}"
        );
        // The connection stays, whatever was wrong with the message.
        let again = wire
            .request("POST", "/cwmp/default", &[], b"")
            .await
            .unwrap();
        assert_eq!(again.status, 204, "{body}");
    }
    assert_eq!(
        bed.count_reports().await,
        0,
        "nothing that was refused is on the log"
    );
}

#[tokio::test]
async fn bodies_that_are_not_taken() {
    let limits = Limits {
        body_bytes: 64 * 1024,
        ..Limits::default()
    };
    let bed = Bed::start(Config {
        limits,
        ..Config::default()
    })
    .await;
    let large = vec![b' '; 64 * 1024 + 1];
    for (headers, body, expected) in [
        (&[][..], large.as_slice(), 413),
        (&[("Content-Encoding", "br")][..], b"x", 415),
        (&[("Content-Encoding", "gzip")][..], b"no gzip", 400),
    ] {
        let mut wire = Wire::connect(bed.address).await;
        let reply = wire
            .request("POST", "/cwmp/default", headers, body)
            .await
            .unwrap();
        assert_eq!(reply.status, expected);
        assert_eq!(
            reply.header("connection"),
            (expected != 415).then_some("close")
        );
    }
    let mut wire = Wire::connect(bed.address).await;
    wire.write(b"POST /cwmp/default HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n").await;
    assert_eq!(wire.read(false).await.unwrap().status, 400, "two lengths");
    assert!(wire.is_closed().await);
    let mut wire = Wire::connect(bed.address).await;
    wire.write(
        b"POST /cwmp/default HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(
        wire.read(false).await.unwrap().status,
        204,
        "an empty chunked POST is empty"
    );
}

#[tokio::test]
async fn a_stranger_with_a_large_inform_is_asked_who_it_is() {
    let bed = Bed::start(Config::default()).await;
    let large = envelope(&format!(
        "<cwmp:Inform>{}</cwmp:Inform>",
        " ".repeat(1 << 20)
    ));
    let mut wire = Wire::connect(bed.address).await;
    for _ in 0..2 {
        let reply = wire
            .request("POST", "/cwmp/default", &[], large.as_bytes())
            .await
            .unwrap();
        assert_eq!((reply.status, reply.header("connection")), (401, None));
    }
}

#[tokio::test]
async fn requests_of_the_device_within_its_session() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    for (body, expected) in [
        ("<cwmp:GetRPCMethods/>", "TransferComplete"),
        (
            "<cwmp:TransferComplete><CommandKey>k</CommandKey></cwmp:TransferComplete>",
            "cwmp:TransferCompleteResponse",
        ),
        ("<cwmp:X_00D09E_Dance/>", "<FaultCode>8000</FaultCode>"),
    ] {
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let (_, opened) = device.open(&[EventCode::Periodic]).await;
        assert_eq!(opened.status, 200, "{}", opened.text());

        let reply = device
            .post_plain(&[], envelope(body).as_bytes())
            .await
            .unwrap();

        assert_eq!(reply.status, 200, "{body}");
        assert!(reply.text().contains(expected), "{body}: {}", reply.text());
        assert!(
            reply.text().contains(">7</cwmp:ID>"),
            "the device's ID comes back"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("text/xml; charset=\"utf-8\"")
        );
        assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
    }
}

#[tokio::test]
async fn broken_xml_ends_the_session() {
    let bed = Bed::start(Config::default()).await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.open(&[EventCode::Periodic]).await;

    assert_eq!(
        device.post_plain(&[], b"<s:Envelope").await.unwrap().status,
        400
    );

    let late = envelope("<cwmp:GetRPCMethods/>");
    assert_eq!(
        device
            .post_plain(&[], late.as_bytes())
            .await
            .unwrap()
            .status,
        400
    );
    assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
}

#[tokio::test]
async fn an_identity_that_names_no_device_gets_a_fault() {
    let bed = Bed::start(Config {
        enrolment: platen_edge::config::Enrolment::Quarantine,
        ..Config::default()
    })
    .await;
    bed.register("1", "secret").await;
    let mut device = Device::connect(bed.address, "1", "secret").await;
    device.identity.oui = "no oui".into();

    let (_, reply) = device.open(&[EventCode::Periodic]).await;

    assert_eq!(reply.status, 200);
    assert!(
        reply.text().contains("<FaultCode>8003</FaultCode>"),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(bed.count_reports().await, 0);
}

#[tokio::test]
async fn basic_is_for_those_who_ask_for_it() {
    let with = |basic_on_plaintext| {
        let mut config = Config::default();
        config.auth.schemes = vec![Scheme::DigestMd5, Scheme::Basic];
        config.auth.basic_on_plaintext = basic_on_plaintext;
        config
    };
    for (allowed, expected) in [(true, 200), (false, 401)] {
        let bed = Bed::start(with(allowed)).await;
        bed.register("1", "secret").await;
        let mut device = Device::connect(bed.address, "1", "secret").await;
        let opening = platen_cwmp::cpe::Opening {
            inform: device.inform(&[EventCode::Periodic]),
            version: platen_cwmp::soap::Version::V1_0,
            session_timeout: None,
        };
        let (_, inform) = platen_cwmp::cpe::Session::open(opening).unwrap();

        let challenged = device
            .post_plain(&[("Authorization", "Basic Og==")], &inform)
            .await
            .unwrap();
        assert_eq!(challenged.status, 401, "an empty name is no attempt");
        let basic = challenged
            .headers
            .iter()
            .any(|(name, value)| name == "www-authenticate" && value.starts_with("Basic"));
        assert_eq!(basic, allowed);

        // 00D09E-Test-1:secret
        let header = ("Authorization", "Basic MDBEMDlFLVRlc3QtMTpzZWNyZXQ=");
        assert_eq!(
            device.post_plain(&[header], &inform).await.unwrap().status,
            expected
        );
    }
}
