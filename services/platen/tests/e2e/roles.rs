//! Roles as processes of their own: they start in any order, and what one leaves, another goes on with.

use crate::{
    deployment::{Backends, Form, skipped_unless},
    life::{ask, finished},
    printer::Printer,
    process::Process,
    server::{Home, PLATEN, Server, eventually},
};
use platen_cwmp::event_code::EventCode;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

/// Results of the steps of `platen migrate`.
fn results(migrated: &Output) -> Vec<String> {
    let message = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "{message}");
    let steps: Value = serde_json::from_slice(&migrated.stdout).unwrap();
    let result = |step: &Value| step["result"].as_str().unwrap().to_owned();
    steps.as_array().unwrap().iter().map(result).collect()
}

#[tokio::test]
async fn a_process_waits_until_what_it_needs_is_there() {
    if skipped_unless(
        Form::Distributed,
        "a_process_waits_until_what_it_needs_is_there",
    ) {
        return;
    }
    let home = Home::new();
    let backends = home.backends().unwrap();
    let ops = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let listen = ops.to_string();
    let variables = [
        &backends.variables()[..],
        &[("PLATEN__OPS__LISTEN", &listen)],
    ]
    .concat();
    let mut early = Process::start(&home, "early", Some("metering,firmware"), &variables);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let readiness = async || {
        let answer = http.get(format!("http://{ops}/readyz")).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    };
    eventually("the process says what it waits for", async || {
        let (status, why) = readiness().await?;
        (status == 503 && why.contains("platen migrate")).then_some(())
    })
    .await;

    let token = home.path().join("token");
    assert_eq!(results(&backends.migrate(&token)), ["made"; 5]);

    early.ready().await;
    assert_eq!(readiness().await.unwrap(), (200, "ready\n".to_owned()));
    assert_eq!(early.address("ops"), Some(ops));
    assert_eq!((early.address("cwmp"), early.address("api")), (None, None));
    let metrics = http
        .get(format!("http://{ops}/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("service_roles=\"firmware,metering\""),
        "{metrics}"
    );
    assert!(
        early.log().contains(" firmware,metering "),
        "{}",
        early.log()
    );

    // While it runs, and although nothing is left to do.
    let second = home.path().join("second");
    assert_eq!(results(&backends.migrate(&second)), ["there"; 5]);
    assert!(!second.exists(), "a token is given once");

    is_refused_with_another_key(&home, backends);
    is_looked_at_from_outside(backends, &listen);

    early.signal();
    let ended = eventually("the end of the process", async || early.ended()).await;
    assert_eq!(ended.code(), Some(0));
}

fn is_refused_with_another_key(home: &Home, backends: &Backends) {
    let other = home.path().join("other.key");
    let made = "0123456789abcdef".repeat(4);
    std::fs::write(&other, made).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&other, private).unwrap();
    let token = home.path().join("third");
    for arguments in [
        vec!["serve", "--roles", "inventory"],
        vec!["migrate", "--admin-token-file", token.to_str().unwrap()],
    ] {
        let refused = Command::new(PLATEN)
            .args(&arguments)
            .env_clear()
            .envs(backends.variables())
            .envs([
                ("PLATEN__OPS__LISTEN", "127.0.0.1:0"),
                ("PLATEN__LOG__LEVEL", "warn"),
            ])
            .env("PLATEN__KEYS__FILE", &other)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{message}");
        assert!(message.contains("other.key is not the one"), "{message}");
    }
}

/// The commands that open backends by the configuration alone.
fn is_looked_at_from_outside(backends: &Backends, ops: &str) {
    let run = |arguments: &[&str]| {
        Command::new(PLATEN)
            .args(arguments)
            .env_clear()
            .envs(backends.variables())
            .envs([
                ("PLATEN__OPS__LISTEN", ops),
                ("PLATEN__CWMP__LISTEN", "127.0.0.1:0"),
                ("PLATEN__API__LISTEN", "127.0.0.1:0"),
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let looked = String::from_utf8(run(&["doctor"]).stdout).unwrap();
    for good in [
        "ok    store:",
        "ok    clock:",
        "ok    key of the deployment:",
        "ok    log: every topic has 4 partitions",
        "ok    sessions:",
        "ok    files:",
        &format!("ok    ops.listen: {ops} is in use by a running platen"),
    ] {
        assert!(looked.contains(good), "{good:?} is not in\n{looked}");
    }
    let letters = run(&["dlq", "list", "--output", "json"]);
    let message = String::from_utf8_lossy(&letters.stderr);
    assert_eq!(
        String::from_utf8_lossy(&letters.stdout),
        "[]\n",
        "{message}"
    );
    let backup = run(&["backup", "/nonexistent/copy"]);
    assert_eq!(backup.status.code(), Some(2));
    let message = String::from_utf8_lossy(&backup.stderr);
    assert!(message.contains("nodetool snapshot"), "{message}");
}

#[tokio::test]
async fn what_one_process_leaves_another_goes_on_with() {
    if skipped_unless(
        Form::Distributed,
        "what_one_process_leaves_another_goes_on_with",
    ) {
        return;
    }
    let home = Home::new();
    let mut server = Server::start(&home).await;
    let mut printers = Vec::new();
    for serial in ["SN1", "SN2", "SN3", "SN4"] {
        let credentials = server.register("00D09E", "P", serial).await;
        let peer = server.peer("default", Some(credentials)).await;
        let mut printer = Printer::new("00D09E", "P", serial, peer);
        printer.call(&[EventCode::Bootstrap]).await.unwrap();
        printers.push(printer);
    }

    for name in ["edge-1", "provisioning-1"] {
        let leaving = server.process(name);
        leaving.signal();
        let ended = eventually("the end of the process", async || leaving.ended()).await;
        assert_eq!(ended.code(), Some(0), "{name}");
    }

    // Of whichever process a printer was, its operations reach it and come back.
    for printer in &mut printers {
        let operation = ask(
            &server,
            printer.path(),
            json!({"getParameterValues": {"paths": ["Device.DeviceInfo."]}}),
        )
        .await;
        eventually("a session", async || {
            printer.call(&[EventCode::Periodic]).await.ok()
        })
        .await;
        let operation = finished(&server, &operation).await;
        assert_eq!(operation["state"], "SUCCEEDED", "{operation}");
    }
}
