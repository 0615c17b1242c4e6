//! The command line against a running server: what it prints, how it ends.

use crate::{
    deployment::Form,
    server::{Home, PLATEN, Server},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fails(output: &Output, code: i32, expect: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(expect), "{expect:?} is not in {message:?}");
}

#[tokio::test]
async fn commands_mirror_the_api() {
    let home = Home::new();
    let server = Server::start(&home).await;

    let device = json(&server.platen(&[
        "device",
        "create",
        "--oui",
        "00D09E",
        "--product-class",
        "A-1",
        "--serial-number",
        "7",
        "--tag",
        "floor-3",
        "-o",
        "json",
    ]));
    assert_eq!(device["name"], "tenants/default/devices/00D09E-A%2D1-7");
    assert!(device["credentials"]["password"].as_str().unwrap().len() >= 16);
    let id = "00D09E-A%2D1-7";
    assert_eq!(
        json(&server.platen(&["device", "get", id, "-o", "json"]))["tags"],
        serde_json::json!(["floor-3"])
    );
    let updated = server.platen(&[
        "device",
        "update",
        id,
        "--tag",
        "floor-4",
        "--field",
        "assetNumber=A-17",
        "-o",
        "json",
    ]);
    assert_eq!(json(&updated)["fields"]["assetNumber"], "A-17");
    let listed = json(&server.platen(&[
        "device",
        "list",
        "--filter",
        "'floor-4' in device.tags",
        "-o",
        "json",
    ]));
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let table = server.platen(&["device", "list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.starts_with("ID ") && table.contains("EXPECTED"),
        "{table}"
    );

    let operation = json(&server.platen(&[
        "operation",
        "create",
        id,
        "reboot",
        "--no-wake",
        "-o",
        "json",
    ]));
    assert_eq!(operation["state"], "QUEUED");
    let name = operation["name"].as_str().unwrap();
    fails(
        &server.platen(&["operation", "get", name, "--wait", "50ms"]),
        5,
        "still QUEUED",
    );
    let cancelled = json(&server.platen(&["operation", "cancel", name, "-o", "json"]));
    assert_eq!(cancelled["state"], "CANCELLED");
    fails(
        &server.platen(&["operation", "get", name, "--wait", "50ms"]),
        1,
        "CANCELLED",
    );
    assert_eq!(
        json(&server.platen(&["operation", "list", id, "-o", "json"]))
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let file = home.path().join("fw.bin");
    fs::write(&file, vec![1; 100_000]).unwrap();
    let artifact = json(&server.platen(&[
        "artifact",
        "create",
        "fw-1.5",
        "--file",
        file.to_str().unwrap(),
        "--version",
        "1.5",
        "-o",
        "json",
    ]));
    assert_eq!(
        (artifact["state"].as_str(), artifact["sizeBytes"].as_str()),
        (Some("READY"), Some("100000"))
    );
    assert_eq!(
        json(&server.platen(&[
            "profile",
            "create",
            "p",
            "--selector",
            "true",
            "--set",
            "Device.X=1",
            "-o",
            "json"
        ]))["version"],
        1
    );
    assert_eq!(
        json(&server.platen(&["meter", "verify", id, "-o", "json"]))["intact"],
        true
    );

    let token = json(&server.platen(&["token", "create", "--role", "viewer", "-o", "json"]));
    let secret = token["secret"].as_str().unwrap();
    let viewer = ["--token", secret, "-o", "json"];
    assert!(
        server
            .platen(&[&["device", "list"], &viewer[..]].concat())
            .status
            .success()
    );
    fails(
        &server.platen(&[&["device", "retire", id], &viewer[..]].concat()),
        3,
        "",
    );
    fails(
        &server.platen(&["device", "list", "--token", "pt_wrong"]),
        3,
        "token create",
    );
    fails(&server.platen(&["device", "get", "00D09E-A-8"]), 4, "");
    fails(
        &server.platen(&["device", "list", "--filter", "device.state == )"]),
        1,
        "",
    );
    fails(
        &server.platen(&["device", "list", "--colour"]),
        2,
        "--colour",
    );
    fails(
        &server.platen(&["device", "list", "--url", "http://127.0.0.1:1"]),
        1,
        "platen serve",
    );
}

#[tokio::test]
async fn a_proxy_gets_a_file_that_only_its_owner_reads() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let file = home.path().join("proxy.toml");
    let create = [
        "proxy",
        "create",
        "--serial",
        "site-7",
        "--config",
        file.to_str().unwrap(),
        "--range",
        "127.0.11.1:1161=public",
    ];

    assert!(server.platen(&create).status.success());

    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let written: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(written["device"]["serial"].as_str(), Some("site-7"));
    assert_eq!(
        written["acs"]["username"].as_str(),
        Some("00D09E-PlatenProxy-site%2D7")
    );
    assert_eq!(written["discover"][0]["port"].as_integer(), Some(1161));
    let proxies = server.platen(&["proxy", "list", "-o", "json"]);
    assert_eq!(json(&proxies)[0]["mayProxy"], true);
    fails(&server.platen(&create), 2, "may hold a password");
}

#[test]
fn what_needs_no_server_works_without() {
    let run = |arguments: &[&str]| {
        Command::new(PLATEN)
            .args(arguments)
            .env_clear()
            .output()
            .unwrap()
    };
    let printed = run(&["config"]);
    assert!(
        String::from_utf8(printed.stdout)
            .unwrap()
            .contains("[cwmp.auth]")
    );
    assert!(run(&["check"]).status.success());
    fails(
        &run(&["check", "--config", "/nonexistent/platen.toml"]),
        2,
        "/nonexistent/platen.toml",
    );
    fails(
        &run(&["serve", "--roles", "edge"]),
        2,
        "all roles in one process",
    );
    assert!(
        String::from_utf8(run(&["completions", "bash"]).stdout)
            .unwrap()
            .contains("complete")
    );
    fails(&run(&["device", "list", "--url", "ftp://x"]), 2, "http://");
}

#[tokio::test]
async fn a_second_start_finds_everything_again() {
    let home = Home::new();
    let server = Server::start(&home).await;
    server.register("00D09E", "P", "SN1").await;
    assert!(server.terminate().await.success());

    let server = Server::start(&home).await;

    assert_eq!(
        server.get("tenants/default/devices/00D09E-P-SN1").await["state"],
        "EXPECTED"
    );
    // A broker that has just begun gives its clients reason to warn.
    if Form::tested() == Form::Embedded {
        assert_eq!(server.log(), "", "nothing to warn of");
    }
}
