//! What is wrong is refused, each thing with its own status, and nothing of it is kept.

use crate::{
    deployment::{Form, skipped_unless},
    printer::Printer,
    server::{Home, Server, eventually},
};
use platen_cwmp::{
    event_code::EventCode,
    rpc::{CpeRequest, Event},
    soap::{CpeMessage, Envelope, Header, Version},
};
use platen_swarm::{peer::Credentials, session::Broken};
use reqwest::Method;
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const OUI: &str = "00D09E";

#[tokio::test]
async fn strangers_are_refused() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let right = server.register(OUI, "P", "SN1").await;
    let wrong = Credentials {
        password: "wrong".into(),
        ..right.clone()
    };
    let unknown = Credentials {
        username: "00D09E-P-SN2".into(),
        ..right.clone()
    };
    let inform = [EventCode::Periodic];

    for (what, tenant, credentials, status) in [
        ("a wrong password", "default", Some(wrong), 401),
        ("an unknown user", "default", Some(unknown), 401),
        ("no credentials", "default", None, 401),
        ("an unknown tenant", "nobody", Some(right.clone()), 404),
    ] {
        let mut printer = Printer::new(OUI, "P", "SN1", server.peer(tenant, credentials).await);
        assert_eq!(
            printer.call(&inform).await,
            Err(Broken::Status(status)),
            "{what}"
        );
    }

    let mut printer = Printer::new(OUI, "P", "SN1", server.peer("default", Some(right)).await);
    assert_eq!(
        printer.call(&inform).await,
        Ok(()),
        "the right one is served"
    );
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let credentials = server.register(OUI, "P", "SN1").await;
    let mut printer = Printer::new(
        OUI,
        "P",
        "SN1",
        server.peer("default", Some(credentials)).await,
    );
    let inform = printer.inform(vec![Event::new(EventCode::Periodic)]);
    let envelope = Envelope {
        namespace: Version::V1_0.namespace(),
        header: Header::with_id("1"),
        message: CpeMessage::Request(CpeRequest::Inform(inform)),
    };
    let xml = envelope.to_xml().unwrap();
    let doctype = format!(
        "<!DOCTYPE x [<!ENTITY a \"b\">]>{}",
        xml.trim_start_matches("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
    );

    // The first POST learns the challenge; what follows is authenticated.
    assert_eq!(printer.call(&[EventCode::Periodic]).await, Ok(()));
    let half = xml.len() / 2;
    for (what, body) in [
        ("half an envelope", xml[..half].to_owned()),
        ("no XML", "hello".to_owned()),
        ("another document", "<html><body/></html>".to_owned()),
        ("a document type", doctype),
    ] {
        let (status, answer) = printer.post(body).await;
        assert_eq!(status, 400, "{what}: {}", String::from_utf8_lossy(&answer));
    }
    let informs = server.informs(&printer.path()).await;
    assert!(informs.len() <= 1, "{informs:?}");

    assert_eq!(
        printer.call(&[EventCode::Periodic]).await,
        Ok(()),
        "and the server goes on"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let credentials = server.register(OUI, "P", "SN1").await;
    let mut printer = Printer::new(
        OUI,
        "P",
        "SN1",
        server.peer("default", Some(credentials)).await,
    );
    assert_eq!(printer.call(&[EventCode::Periodic]).await, Ok(()));

    let url = format!("http://{}/cwmp/default", server.address("cwmp"));
    let refused = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .body(vec![b' '; 17 << 20])
        .send()
        .await;

    // The server answers before it has read everything, and closes: the answer may be lost on the way.
    if let Ok(response) = refused {
        assert!(
            [401, 413].contains(&response.status().as_u16()),
            "{}",
            response.status()
        );
    }
    assert_eq!(
        printer.call(&[EventCode::Periodic]).await,
        Ok(()),
        "and the server goes on"
    );
}

#[tokio::test]
async fn wrong_calls_are_told_what_is_wrong() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let devices = "tenants/default/devices";
    let device = json!({"oui": "00D09E", "productClass": "P", "serialNumber": "SN1"});
    server.post(devices, device.clone()).await;

    let cases = [
        (
            Method::GET,
            devices.to_owned(),
            None,
            Some("pt_wrong"),
            401,
            "UNAUTHENTICATED",
        ),
        (
            Method::GET,
            devices.to_owned(),
            None,
            None,
            401,
            "UNAUTHENTICATED",
        ),
        (
            Method::GET,
            "tenants/nobody/devices/00D09E-P-SN1".to_owned(),
            None,
            Some(""),
            404,
            "NOT_FOUND",
        ),
        (
            Method::GET,
            format!("{devices}/00D09E-P-SN2"),
            None,
            Some(""),
            404,
            "NOT_FOUND",
        ),
        (
            Method::GET,
            format!("{devices}?filter=device.state%20%3D%3D%20%29"),
            None,
            Some(""),
            400,
            "",
        ),
        (
            Method::POST,
            devices.to_owned(),
            Some(device),
            Some(""),
            409,
            "DEVICE_EXISTS",
        ),
        (
            Method::POST,
            devices.to_owned(),
            Some(json!({"oui": "xyz", "serialNumber": ""})),
            Some(""),
            400,
            "",
        ),
        (
            Method::POST,
            devices.to_owned(),
            Some(json!({"oui": "00D09E", "serial": "1"})),
            Some(""),
            400,
            "",
        ),
        (
            Method::POST,
            format!("{devices}/00D09E-P-SN1/operations"),
            Some(json!({})),
            Some(""),
            400,
            "",
        ),
    ];
    for (method, path, body, token, status, code) in cases {
        let (answered, problem) = match token {
            Some("") => server.call(method, &path, body).await,
            token => server.call_as(token, method, &path, body).await,
        };
        assert_eq!(answered.as_u16(), status, "{path}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        assert!(
            code.is_empty() || problem["code"] == code,
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_directory_has_one_process() {
    if skipped_unless(Form::Embedded, "a_directory_has_one_process") {
        return;
    }
    let home = Home::new();
    let server = Server::start(&home).await;

    let second = home.serve(&[]).stdout(Stdio::null()).output().unwrap();

    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(
        message.contains("in use") && message.contains(&server.processes()[0].pid().to_string()),
        "{message}"
    );
    assert!(
        server.get("tenants/default").await["name"].is_string(),
        "the first one goes on"
    );
}

#[tokio::test]
async fn wrong_configuration_ends_the_start() {
    let home = Home::new();
    for (name, value, expect) in [
        ("PLATEN__CWMP__LISTN", "127.0.0.1:0", "cwmp.listn"),
        ("PLATEN__CWMP__LISTEN", "0.0.0.0:0", "cwmp.plaintext = true"),
        ("PLATEN__STORE__KIND", "cql", "bus.kind = \"kafka\""),
        ("PLATEN__CWMP__ENROLMENT", "open", "quarantine"),
    ] {
        let output = home.serve(&[(name, value)]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        assert!(
            message.contains(expect) && message.contains(name),
            "{name}: {message}"
        );
    }
    assert!(!home.data().exists(), "nothing was opened");
}

/// A disk without room: writes are refused with 503, what was acknowledged stays, and it goes on when there is room again.
#[tokio::test]
async fn a_full_disk_loses_nothing() {
    if skipped_unless(Form::Embedded, "a_full_disk_loses_nothing") {
        return;
    }
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home.data()) else {
        println!("skipped: a_full_disk_loses_nothing: a small disk cannot be mounted here");
        return;
    };
    let server = Server::start(&home).await;
    let credentials = server.register(OUI, "P", "SN1").await;
    let mut printer = Printer::new(
        OUI,
        "P",
        "SN1",
        server.peer("default", Some(credentials)).await,
    );
    printer.call(&[EventCode::Bootstrap]).await.unwrap();

    disk.fill();

    // Another serial number each time: what was accepted before the disk was looked at is no answer to the next call.
    let mut number = 0;
    let problem = loop {
        number += 1;
        assert!(number < 100_000, "the full disk is not noticed");
        let device =
            json!({"oui": OUI, "productClass": "Q", "serialNumber": format!("SN{number}")});
        let (status, answer) = server
            .call(Method::POST, "tenants/default/devices", Some(device))
            .await;
        if !status.is_success() {
            assert_eq!(status, 503, "{answer}");
            break answer;
        }
    };
    assert!(problem["detail"].is_string(), "{problem}");
    eventually("503 for sessions", async || {
        match printer.call(&[EventCode::Periodic]).await {
            Err(Broken::Busy) => Some(()),
            Ok(()) => None,
            Err(other) => panic!("a full disk answers {other}"),
        }
    })
    .await;
    assert_eq!(
        server.get(&printer.path()).await["state"],
        "ACTIVE",
        "what is there can be read"
    );

    disk.make_room();

    eventually("sessions again", async || {
        printer.call(&[EventCode::Periodic]).await.ok()
    })
    .await;
    let device = json!({"oui": OUI, "productClass": "R", "serialNumber": "SN1"});
    eventually("writes again", async || {
        server
            .call(
                Method::POST,
                "tenants/default/devices",
                Some(device.clone()),
            )
            .await
            .0
            .is_success()
            .then_some(())
    })
    .await;
    let informs = server.informs(&printer.path()).await;
    let bootstraps = informs
        .iter()
        .filter(|inform| inform["events"] == json!(["0 BOOTSTRAP"]))
        .count();
    assert_eq!(bootstraps, 1, "{informs:?}");
    assert!(server.terminate().await.success());
}

/// A disk of 256 MiB in memory. Needs the right to mount.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256m,mode=0700", "tmpfs"])
            .arg(path)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self {
                path: path.to_owned(),
            })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves less room than the server wants to keep free.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let block = vec![1; 1 << 20];
        while filler.write_all(&block).is_ok() {}
        let full = filler.metadata().unwrap().len();
        filler.set_len(full.saturating_sub(24 << 20)).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn metrics_beyond_loopback_ask_for_a_token() {
    let home = Home::new();
    let server = Server::start_with(&home, &[("PLATEN__OPS__LISTEN", "0.0.0.0:0")]).await;
    let ops = format!("http://127.0.0.1:{}", server.address("ops").port());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();

    for (path, token, expected) in [
        ("metrics", None, 401),
        ("metrics", Some("pt_guessed"), 401),
        ("metrics", Some(server.token()), 200),
        ("livez", None, 200),
        ("readyz", None, 200),
    ] {
        let mut request = http.get(format!("{ops}/{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.unwrap().status(), expected, "{path}");
    }
}
