//! Files for devices and from them.

use crate::{bed::Bed, wire::Wire};
use object_store::{ObjectStoreExt, path::Path};
use platen_edge::Config;
use platen_proto::{firmware::v1::Artifact, report::v1::FileGrant, store::v1::ArtifactRow};
use platen_store::{table::Expect, tables::Artifacts};
use prost::Message;

const TEXT: &[u8] = b"0123456789";

fn token(bed: &Bed, object: &str, write: bool, expires_us: i64) -> String {
    let grant = FileGrant {
        tenant: "default".into(),
        object: object.into(),
        write,
        expires_us,
        attempt: "a".into(),
    };
    bed.keys.sign("file", &grant.encode_to_vec())
}

async fn bed_with_artifact(config: Config) -> Bed {
    let bed = Bed::start(config).await;
    let artifact = Artifact {
        sha256: "ab12".into(),
        size_bytes: 10,
        ..Artifact::default()
    };
    let row = ArtifactRow {
        artifact: Some(artifact),
        ..ArtifactRow::default()
    };
    bed.store
        .compare_and_set::<Artifacts>(("default", "fw"), Expect::Absent, Some(&row))
        .await
        .unwrap();
    bed.files
        .put(&Path::from("artifacts/default/fw/ab12"), TEXT.into())
        .await
        .unwrap();
    bed
}

#[tokio::test]
async fn a_file_comes_whole_or_in_parts() {
    let bed = bed_with_artifact(Config::default()).await;
    let path = format!(
        "/files/default/{}/fw.bin",
        token(&bed, "artifacts/fw", false, i64::MAX)
    );
    let mut wire = Wire::connect(bed.address).await;
    for (method, headers, status, body, range) in [
        ("GET", &[][..], 200, TEXT, None),
        ("HEAD", &[][..], 200, b"", None),
        (
            "GET",
            &[("Range", "bytes=2-4")][..],
            206,
            b"234",
            Some("bytes 2-4/10"),
        ),
        (
            "GET",
            &[("Range", "bytes=-3")][..],
            206,
            b"789",
            Some("bytes 7-9/10"),
        ),
        (
            "GET",
            &[("Range", "bytes=8-"), ("If-Range", "\"ab12\"")][..],
            206,
            b"89",
            Some("bytes 8-9/10"),
        ),
        (
            "GET",
            &[("Range", "bytes=8-"), ("If-Range", "\"other\"")][..],
            200,
            TEXT,
            None,
        ),
        (
            "GET",
            &[("Range", "bytes=10-")][..],
            416,
            b"",
            Some("bytes */10"),
        ),
    ] {
        let reply = wire.request(method, &path, headers, b"").await.unwrap();
        assert_eq!(
            (
                reply.status,
                reply.body.as_slice(),
                reply.header("content-range")
            ),
            (status, body, range),
            "{method} {headers:?}"
        );
        if status != 416 {
            assert_eq!(reply.header("etag"), Some("\"ab12\""));
            assert_eq!(
                reply.header("transfer-encoding"),
                None,
                "devices cannot read chunks"
            );
        }
        if method == "HEAD" {
            assert_eq!(reply.header("content-length"), Some("10"));
        }
    }
}

#[tokio::test]
async fn a_token_is_for_one_file_one_way_one_tenant_and_a_while() {
    let bed = bed_with_artifact(Config::default()).await;
    let good = token(&bed, "artifacts/fw", false, i64::MAX);
    let mut forged = good.clone();
    forged.replace_range(0..1, if good.starts_with('A') { "B" } else { "A" });
    for (method, path, expected) in [
        ("GET", format!("/files/default/{forged}/fw.bin"), 403),
        ("GET", "/files/default/nonsense/fw.bin".to_owned(), 403),
        ("GET", format!("/files/other/{good}/fw.bin"), 403),
        (
            "GET",
            format!(
                "/files/default/{}/fw.bin",
                token(&bed, "artifacts/fw", false, 1)
            ),
            410,
        ),
        (
            "GET",
            format!(
                "/files/default/{}/fw.bin",
                token(&bed, "artifacts/none", false, i64::MAX)
            ),
            404,
        ),
        (
            "GET",
            format!(
                "/files/default/{}/fw.bin",
                token(&bed, "elsewhere/fw", false, i64::MAX)
            ),
            404,
        ),
        (
            "GET",
            format!(
                "/files/default/{}/fw.bin",
                token(&bed, "uploads/op", true, i64::MAX)
            ),
            405,
        ),
        ("PUT", format!("/files/default/{good}/fw.bin"), 405),
        (
            "PUT",
            format!(
                "/files/default/{}/fw.bin",
                token(&bed, "artifacts/fw", true, i64::MAX)
            ),
            403,
        ),
        ("DELETE", format!("/files/default/{good}/fw.bin"), 405),
    ] {
        let mut wire = Wire::connect(bed.address).await;
        assert_eq!(
            wire.request(method, &path, &[], b"").await.unwrap().status,
            expected,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn uploads_are_kept_whole_or_not_at_all() {
    let mut config = Config::default();
    config.files.upload_bytes = 3 << 20;
    let bed = bed_with_artifact(config).await;
    let large: Vec<u8> = (0..2_500_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    for (method, id, body, expected) in [
        ("PUT", "small", TEXT, 201),
        ("POST", "posted", TEXT, 200),
        ("PUT", "large", large.as_slice(), 201),
    ] {
        let path = format!(
            "/files/default/{}/log",
            token(&bed, &format!("uploads/{id}"), true, i64::MAX)
        );
        let mut wire = Wire::connect(bed.address).await;
        assert_eq!(
            wire.request(method, &path, &[], body).await.unwrap().status,
            expected,
            "{id}"
        );
        let stored = bed
            .files
            .get(&Path::from(format!("uploads/default/{id}")))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert!(stored == body, "{id}");
        let read = format!(
            "/files/default/{}/log",
            token(&bed, &format!("uploads/{id}"), false, i64::MAX)
        );
        assert!(
            wire.request("GET", &read, &[], b"").await.unwrap().body == body,
            "{id}"
        );
    }

    let path = format!(
        "/files/default/{}/log",
        token(&bed, "uploads/huge", true, i64::MAX)
    );
    let mut wire = Wire::connect(bed.address).await;
    wire.write(
        format!("PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
    )
    .await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    for _ in 0..4 {
        wire.write(&chunk).await;
    }
    assert_eq!(wire.read(false).await.unwrap().status, 413);
    assert!(
        bed.files
            .get(&Path::from("uploads/default/huge"))
            .await
            .is_err()
    );
}
