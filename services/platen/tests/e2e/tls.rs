//! Both TLS listeners, with certificates of an authority of the test's own.

use crate::server::{Home, PLATEN, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{fs, path::Path, process::Command};

/// Writes `ca.pem`, `server.pem` and `server.key`.
fn certificates(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    fs::write(dir.join("server.pem"), server.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn devices_and_callers_can_come_in_by_tls() {
    let home = Home::new();
    certificates(home.path());
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let server = Server::start_with(
        &home,
        &[
            ("PLATEN__CWMP__TLS_LISTEN", "127.0.0.1:0"),
            ("PLATEN__CWMP__TLS__CERT", &cert),
            ("PLATEN__CWMP__TLS__KEY", &key),
            ("PLATEN__API__TLS__CERT", &cert),
            ("PLATEN__API__TLS__KEY", &key),
        ],
    )
    .await;

    let authorities = reqwest::Certificate::from_pem_bundle(&fs::read(&ca).unwrap()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only(authorities)
        .no_proxy()
        .build()
        .unwrap();
    let asked = http
        .post(format!(
            "https://{}/cwmp/default",
            server.address("cwmp_tls")
        ))
        .body("")
        .send()
        .await
        .unwrap();
    assert!(
        asked.status().is_client_error() || asked.status().is_success(),
        "{}",
        asked.status()
    );

    let list = |arguments: &[&str]| {
        let url = format!("https://{}", server.address("api"));
        let data = home.data();
        Command::new(PLATEN)
            .args([
                "device",
                "list",
                "--url",
                &url,
                "--data-dir",
                data.to_str().unwrap(),
            ])
            .args(arguments)
            .env_clear()
            .output()
            .unwrap()
    };
    let trusted = list(&["--ca", &ca]);
    assert!(
        trusted.status.success(),
        "{}",
        String::from_utf8_lossy(&trusted.stderr)
    );
    assert_eq!(
        list(&[]).status.code(),
        Some(1),
        "an unknown authority is not trusted"
    );
    let unusable = list(&["--ca", &key]);
    assert_eq!(
        unusable.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&unusable.stderr)
    );
    assert!(server.terminate().await.success());
}
