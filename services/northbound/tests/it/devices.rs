//! Devices over REST: registration and its credentials, edits, life cycle, lists.

use crate::harness::{Harness, TENANT};
use http::Method;
use platen_proto::{
    device::v1::{Parameter, parameter},
    store::v1::{Observed, ParameterChunk},
};
use platen_store::{
    rows,
    table::Expect,
    tables::{Credentials, Parameters, Registrations},
};
use prost_types::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DEVICES: &str = "/v1/tenants/default/devices";

fn observed(device: &str, serial: &str) -> Observed {
    Observed {
        tenant: TENANT.into(),
        device: device.into(),
        oui: "00D09E".into(),
        product_class: "P".into(),
        serial_number: serial.into(),
        first_inform_us: 1_763_866_800_000_000,
        last_inform_us: 1_763_866_800_000_000,
        position: 1,
        ..Observed::default()
    }
}

/// The password that the edge would compare with.
async fn password(api: &Harness, username: &str) -> Option<String> {
    let row = api
        .store
        .get_edited::<Credentials>((TENANT, username))
        .await
        .unwrap()?
        .value;
    let plain = api.keys.open(
        &format!("credential/{TENANT}/{username}"),
        &row.password_sealed,
    )?;
    (!row.retired).then(|| String::from_utf8(plain).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_the_documented_shape() {
    let api = Harness::start().await;
    let body = json!({"oui": "00d09e", "productClass": "LaserPro-9", "serialNumber": "SN1", "tags": ["floor-3"], "fields": {"assetNumber": "A-17"}});
    let (status, made) = api.post(DEVICES, body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["credentials"]["username"], "00D09E-LaserPro%2D9-SN1");
    assert_eq!(
        password(&api, "00D09E-LaserPro%2D9-SN1").await.as_deref(),
        made["credentials"]["password"].as_str()
    );
    assert_eq!(made["credentials"]["password"].as_str().unwrap().len(), 24);

    api.observe(Observed {
        device: "00D09E-LaserPro%2D9-SN1".into(),
        product_class: "LaserPro-9".into(),
        manufacturer: "Example".into(),
        model_name: "LaserPro 9".into(),
        software_version: "1.4".into(),
        hardware_version: "B".into(),
        root_data_model: "Device:2".into(),
        connection_request_url: "http://192.0.2.1/".into(),
        last_events: vec!["2 PERIODIC".into()],
        last_inform_us: 1_763_884_800_000_000,
        ..observed("", "SN1")
    })
    .await;
    // The percent sign of the id is itself encoded in the path.
    let (status, mut device) = api
        .get(&format!("{DEVICES}/00D09E-LaserPro%252D9-SN1"))
        .await;
    assert_eq!(status, 200, "{device}");
    for (field, kept) in [
        ("createTime", &made["createTime"]),
        ("updateTime", &made["updateTime"]),
        ("etag", &made["etag"]),
    ] {
        assert_eq!(&device[field], kept);
        device.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(
        device,
        json!({"name": "tenants/default/devices/00D09E-LaserPro%2D9-SN1", "oui": "00D09E", "productClass": "LaserPro-9", "serialNumber": "SN1",
            "state": "ACTIVE", "quarantineReason": "", "manufacturer": "Example", "modelName": "LaserPro 9", "softwareVersion": "1.4",
            "hardwareVersion": "B", "rootDataModel": "Device:2", "account": "", "tags": ["floor-3"], "fields": {"assetNumber": "A-17"},
            "connectionRequestUrl": "http://192.0.2.1/", "lastInformTime": "2025-11-23T08:00:00Z", "lastEvents": ["2 PERIODIC"],
            "online": false, "proxiedBy": "", "mayProxy": false, "allowedDevices": []})
    );

    let (status, found) = api
        .get(&format!(
            "{DEVICES}:lookup?oui=00D09E&productClass=LaserPro-9&serialNumber=SN1"
        ))
        .await;
    assert_eq!((status, &found["name"]), (200, &device["name"]));
    assert_eq!(
        api.get(&format!("{DEVICES}:lookup?oui=00D09E&serialNumber=SN1"))
            .await
            .0,
        404
    );
    assert_eq!(
        api.get(&format!("{DEVICES}:lookup?oui=X&serialNumber=SN1"))
            .await
            .1["violations"][0]["field"],
        "oui"
    );
    // Decoded once: this is another id.
    assert_eq!(
        api.get(&format!("{DEVICES}/00D09E-LaserPro%2D9-SN1"))
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_registrations_name_the_field() {
    let api = Harness::start().await;
    for (body, field) in [
        (json!({"oui": "00D09", "serialNumber": "1"}), "device.oui"),
        (json!({"oui": "00D09E"}), "device.serialNumber"),
        (
            json!({"oui": "00D09E", "serialNumber": "1", "tags": ["a", "a"]}),
            "device.tags[1]",
        ),
        (
            json!({"oui": "00D09E", "serialNumber": "1", "name": "tenants/default/devices/x"}),
            "device.name",
        ),
        (
            json!({"oui": "00D09E", "serialNumber": "1", "credentials": {"username": "a:b"}}),
            "device.credentials.username",
        ),
        (json!({"oui": 7}), "device.oui"),
    ] {
        let (status, problem) = api.post(DEVICES, body).await;
        assert_eq!(
            (status, &problem["violations"][0]["field"]),
            (400, &json!(field)),
            "{problem}"
        );
    }
    assert_eq!(
        api.get(DEVICES).await.1,
        json!({"devices": [], "nextPageToken": "", "totalSize": 0})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_registered_once() {
    let api = Harness::start().await;
    let body = json!({"oui": "00D09E", "serialNumber": "1", "credentials": {"username": "u", "password": "p"}});
    assert_eq!(
        api.post(DEVICES, body.clone()).await.1["credentials"],
        json!({"username": "u", "password": "p"})
    );

    let (status, problem) = api.post(DEVICES, body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("DEVICE_EXISTS")));
    let (status, problem) = api
        .post(
            DEVICES,
            json!({"oui": "00D09E", "serialNumber": "2", "credentials": {"username": "u"}}),
        )
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("USERNAME_TAKEN")));
    assert_eq!(api.get(&format!("{DEVICES}/00D09E-2")).await.0, 404);
    assert_eq!(password(&api, "u").await.as_deref(), Some("p"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_register_one_identity_one_does_and_its_password_holds() {
    let api = Harness::start().await;
    let calls = (0..12).map(|n| {
        let api = &api;
        async move {
            let body = json!({"oui": "00D09E", "serialNumber": "1", "credentials": {"password": format!("password-{n}")}});
            api.post(DEVICES, body).await
        }
    });
    let answers = futures::future::join_all(calls).await;

    let made: Vec<&Value> = answers
        .iter()
        .filter(|(status, _)| *status == 200)
        .map(|(_, body)| body)
        .collect();
    assert_eq!(made.len(), 1);
    assert!(
        answers
            .iter()
            .all(|(status, _)| [200, 409].contains(status))
    );
    assert_eq!(
        password(&api, "00D09E-1").await.as_deref(),
        made[0]["credentials"]["password"].as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_makes_a_call_idempotent() {
    let api = Harness::start().await;
    let body = json!({"oui": "00D09E", "serialNumber": "1"});
    let path = format!("{DEVICES}?requestId=r1");
    let (_, first) = api.post(&path, body.clone()).await;

    let (status, again) = api.post(&path, body).await;
    assert_eq!((status, &again["etag"]), (200, &first["etag"]));
    assert_eq!(again.get("credentials"), None);
    let (status, problem) = api
        .post(&path, json!({"oui": "00D09E", "serialNumber": "2"}))
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("REQUEST_ID_REUSED"))
    );
    assert_eq!(
        password(&api, "00D09E-1").await.as_deref(),
        first["credentials"]["password"].as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_are_compare_and_set() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("{DEVICES}/{device}");
    let (_, before) = api.get(&path).await;

    let (status, after) = api
        .patch(&path, json!({"tags": ["a"], "etag": before["etag"]}))
        .await;
    assert_eq!((status, &after["tags"]), (200, &json!(["a"])));
    assert_ne!(after["etag"], before["etag"]);
    let (status, problem) = api
        .patch(&path, json!({"tags": ["b"], "etag": before["etag"]}))
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("ETAG_MISMATCH")));

    // The body says what changes: emptying a list is a change, leaving it out is none.
    api.patch(&path, json!({"fields": {"k": "v"}})).await;
    let (_, device) = api.patch(&path, json!({"tags": []})).await;
    assert_eq!(
        (&device["tags"], &device["fields"]),
        (&json!([]), &json!({"k": "v"}))
    );
    // What was read may be sent back whole.
    let mut whole = device.clone();
    whole["account"] = json!("acme");
    whole["state"] = json!("RETIRED");
    let (status, device) = api.patch(&path, whole).await;
    assert_eq!(
        (status, &device["account"], &device["state"]),
        (200, &json!("acme"), &json!("EXPECTED"))
    );
    let (status, problem) = api
        .patch(&format!("{path}?updateMask=colour"), json!({}))
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("updateMask"))
    );
    assert_eq!(
        api.patch(&format!("{DEVICES}/00D09E-none"), json!({"tags": ["a"]}))
            .await
            .0,
        404
    );
}

/// A call that renames a device's credentials may break off once the registration says so: the former ones must not let in for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_renaming_that_broke_off_leaves_no_second_way_in() {
    for (what, again) in [
        (
            "the same call again",
            Some(json!({"credentials": {"username": "new", "password": "secret"}})),
        ),
        ("any other edit", Some(json!({"tags": ["a"]}))),
        ("the end", None),
    ] {
        let api = Harness::start().await;
        let device = api.device("1").await;
        let path = format!("{DEVICES}/{device}");
        assert!(password(&api, &device).await.is_some());
        let row = api
            .store
            .get_edited::<Registrations>((TENANT, &device))
            .await
            .unwrap()
            .unwrap();
        let mut renamed = row.value;
        renamed.former_username = std::mem::replace(&mut renamed.username, "new".to_owned());
        api.store
            .compare_and_set::<Registrations>(
                (TENANT, &device),
                Expect::Etag(row.etag),
                Some(&renamed),
            )
            .await
            .unwrap();

        let (status, _) = match again {
            Some(again) => api.patch(&path, again).await,
            None => api.delete(&path).await,
        };
        assert_eq!(status, 200, "{what}");
        let former = api
            .store
            .get_edited::<Credentials>((TENANT, &device))
            .await
            .unwrap();
        assert!(former.is_none(), "{what}");
    }

    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("{DEVICES}/{device}");
    for name in ["b", &device, "b", &device] {
        let (status, _) = api
            .patch(
                &path,
                json!({"credentials": {"username": name, "password": "secret"}}),
            )
            .await;
        assert_eq!(status, 200);
        api.patch(&path, json!({"tags": ["x"]})).await;
        assert_eq!(
            password(&api, name).await.as_deref(),
            Some("secret"),
            "a name that comes back lets in"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_follow_the_registration() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("{DEVICES}/{device}");

    let (status, shown) = api
        .patch(
            &path,
            json!({"credentials": {"username": "new", "password": "secret"}}),
        )
        .await;
    assert_eq!((status, shown.get("credentials")), (200, None));
    assert_eq!(password(&api, "new").await.as_deref(), Some("secret"));
    assert!(
        api.store
            .get_edited::<Credentials>((TENANT, &device))
            .await
            .unwrap()
            .is_none()
    );

    api.patch(
        &path,
        json!({"mayProxy": true, "allowedDevices": ["00D09E-*"]}),
    )
    .await;
    let row = api
        .store
        .get_edited::<Credentials>((TENANT, "new"))
        .await
        .unwrap()
        .unwrap()
        .value;
    assert_eq!(
        (row.may_proxy, row.allowed_devices, row.device),
        (true, vec!["00D09E-*".to_owned()], device.clone())
    );
    assert_eq!(password(&api, "new").await.as_deref(), Some("secret"));

    let (status, problem) = api
        .patch(&path, json!({"credentials": {"username": "x"}}))
        .await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("device.credentials.password"))
    );

    let (_, shown) = api
        .patch(
            &path,
            json!({"connectionRequestCredentials": {"username": "acs", "password": "hidden"}}),
        )
        .await;
    assert!(!shown.to_string().contains("hidden"));
    let row = api
        .store
        .get_edited::<Registrations>((TENANT, &device))
        .await
        .unwrap()
        .unwrap()
        .value;
    let aad = format!("connection-request/{TENANT}/{device}");
    assert_eq!(
        api.keys
            .open(&aad, &row.connection_request_password_sealed)
            .as_deref(),
        Some(&b"hidden"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_device_is_revived_by_registering_it_again() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let path = format!("{DEVICES}/{device}");
    let (_, before) = api.get(&path).await;

    let (status, retired) = api
        .call_as(
            &api.admin,
            Method::POST,
            &format!("{path}:retire"),
            Some(json!({})),
        )
        .await;
    assert_eq!((status, &retired["state"]), (200, &json!("RETIRED")));
    assert_eq!(password(&api, &device).await, None);
    // Again is fine.
    assert_eq!(api.delete(&path).await.0, 200);
    let (status, problem) = api
        .post(&format!("{path}/operations"), json!({"reboot": {}}))
        .await;
    assert_eq!((status, &problem["code"]), (400, &json!("DEVICE_RETIRED")));

    let (status, revived) = api
        .post(
            DEVICES,
            json!({"oui": "00D09E", "productClass": "P", "serialNumber": "1"}),
        )
        .await;
    assert_eq!(
        (status, &revived["state"], &revived["createTime"]),
        (200, &json!("EXPECTED"), &before["createTime"])
    );
    assert_eq!(
        password(&api, &device).await.as_deref(),
        revived["credentials"]["password"].as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_device_is_admitted() {
    let api = Harness::start().await;
    let id = "00D09E-P-Q";
    api.observe(Observed {
        quarantine_reason: "unknown device".into(),
        ..observed(id, "Q")
    })
    .await;
    let path = format!("{DEVICES}/{id}");
    let (_, device) = api.get(&path).await;
    assert_eq!(
        (&device["state"], &device["quarantineReason"]),
        (&json!("QUARANTINED"), &json!("unknown device"))
    );

    let (status, admitted) = api.post(&format!("{path}:admit"), json!({})).await;
    assert_eq!(
        (status, &admitted["state"]),
        (200, &json!("ACTIVE")),
        "{admitted}"
    );
    assert_eq!(
        password(&api, id).await.as_deref(),
        admitted["credentials"]["password"].as_str()
    );
    let (status, problem) = api.post(&format!("{path}:admit"), json!({})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("NOT_QUARANTINED")));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_ordered_and_stable_from_page_to_page() {
    let api = Harness::start().await;
    for n in 0..25 {
        api.device(&format!("{n:02}")).await;
    }
    // Somebody registers and retires devices between the pages.
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let (status, page) = api
            .get(&format!("{DEVICES}?pageSize=10&pageToken={token}"))
            .await;
        assert_eq!(status, 200, "{page}");
        seen.extend(
            page["devices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|device| device["serialNumber"].as_str().unwrap().to_owned()),
        );
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        api.device(&format!("00-{}", seen.len())).await;
        api.delete(&format!("{DEVICES}/00D09E-P-{:02}", seen.len() - 1))
            .await;
    }
    let first: BTreeSet<String> = seen
        .iter()
        .filter(|serial| serial.len() == 2)
        .cloned()
        .collect();
    assert_eq!(first.len(), 25);
    assert_eq!(
        seen.len(),
        seen.iter().collect::<BTreeSet<_>>().len(),
        "{seen:?}"
    );

    let (_, page) = api
        .get(&format!(
            "{DEVICES}?filter=device.serialNumber%20%3D%3D%20%2207%22"
        ))
        .await;
    assert_eq!(
        (&page["totalSize"], &page["devices"][0]["serialNumber"]),
        (&json!(1), &json!("07"))
    );
    let (_, page) = api
        .get(&format!("{DEVICES}?orderBy=name%20desc&pageSize=1"))
        .await;
    assert_eq!(page["devices"][0]["serialNumber"], "24");

    for (query, field) in [
        ("filter=device.state%20==", "filter"),
        ("filter=device.colour==1", "filter"),
        ("filter=parameter('Device.X')=='1'", "filter"),
        ("orderBy=colour", "orderBy"),
        ("pageSize=-1", "pageSize"),
        ("pageToken=nonsense", "pageToken"),
        ("pageSize=many", "pageSize"),
    ] {
        let (status, problem) = api.get(&format!("{DEVICES}?{query}")).await;
        assert_eq!(
            (status, &problem["violations"][0]["field"]),
            (400, &json!(field)),
            "{query}"
        );
    }
    let (_, page) = api.get(&format!("{DEVICES}?pageSize=1")).await;
    let token = page["nextPageToken"].as_str().unwrap();
    let (status, _) = api
        .get(&format!(
            "{DEVICES}?pageSize=1&orderBy=state&pageToken={token}"
        ))
        .await;
    assert_eq!(status, 400, "a token of another order");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_the_documented_shape_and_pages() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let known = |path: &str, value: &str| Parameter {
        path: path.into(),
        value: value.into(),
        r#type: "xsd:string".into(),
        state: parameter::State::Known.into(),
        source: "INFORM".into(),
        read_time: Some(Timestamp {
            seconds: 1_763_884_800,
            nanos: 0,
        }),
        ..Parameter::default()
    };
    let chunks = [
        (
            3,
            vec![
                known("Device.DeviceInfo.SoftwareVersion", "1.4"),
                known("Device.Time.Enable", "1"),
            ],
        ),
        (9, vec![known("Device.DeviceInfo.HardwareVersion", "B")]),
    ];
    for (chunk, parameters) in chunks {
        let row = ParameterChunk {
            parameters,
            position: 1,
        };
        api.store
            .write(vec![rows::write::<Parameters>(
                (TENANT, &device, chunk),
                &row,
                1,
            )])
            .await
            .unwrap();
    }
    let path = format!("{DEVICES}/{device}/parameters");

    let (status, page) = api.get(&format!("{path}?prefix=Device.DeviceInfo.S")).await;
    assert_eq!(status, 200);
    assert_eq!(
        page,
        json!({"parameters": [{"path": "Device.DeviceInfo.SoftwareVersion", "value": "1.4", "type": "xsd:string", "writable": false,
            "state": "KNOWN", "source": "INFORM", "readTime": "2025-11-23T08:00:00Z"}], "nextPageToken": ""})
    );
    let (_, first) = api.get(&format!("{path}?pageSize=2")).await;
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, second) = api
        .get(&format!("{path}?pageSize=2&pageToken={token}"))
        .await;
    let paths: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["parameters"].as_array().unwrap())
        .map(|parameter| parameter["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "Device.DeviceInfo.HardwareVersion",
            "Device.DeviceInfo.SoftwareVersion",
            "Device.Time.Enable"
        ]
    );
    assert_eq!(
        api.get(&format!("{DEVICES}/00D09E-none/parameters"))
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_one_request_id_that_run_at_the_same_time_agree() {
    let api = Harness::start().await;
    let call = || async {
        api.post(
            &format!("{DEVICES}?requestId=r"),
            json!({"oui": "00D09E", "serialNumber": "1"}),
        )
        .await
    };

    let answers = futures::future::join_all((0..8).map(|_| call())).await;

    let holds = password(&api, "00D09E-1").await.unwrap();
    for (status, answer) in &answers {
        assert_eq!(*status, 200, "{answer}");
        if let Some(shown) = answer.get("credentials") {
            assert_eq!(shown["password"], holds);
        }
    }
    assert!(
        answers
            .iter()
            .any(|(_, answer)| answer.get("credentials").is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_broke_off_is_completed_by_the_same_call() {
    let api = Harness::start().await;
    let path = format!("{DEVICES}?requestId=r");
    let body = json!({"oui": "00D09E", "serialNumber": "1"});
    let (_, first) = api.post(&path, body.clone()).await;
    // As a crash between the two rows leaves it.
    let row = api
        .store
        .get_edited::<Credentials>((TENANT, "00D09E-1"))
        .await
        .unwrap()
        .unwrap();
    let reserved = platen_proto::store::v1::Credential {
        password_sealed: Vec::new().into(),
        retired: true,
        ..row.value
    };
    let expect = platen_store::table::Expect::Etag(row.etag);
    api.store
        .compare_and_set::<Credentials>((TENANT, "00D09E-1"), expect, Some(&reserved))
        .await
        .unwrap();
    assert_eq!(password(&api, "00D09E-1").await, None);

    let (status, again) = api.post(&path, body).await;

    assert_eq!(
        (status, &again["credentials"]),
        (200, &first["credentials"])
    );
    assert_eq!(
        password(&api, "00D09E-1").await.as_deref(),
        first["credentials"]["password"].as_str()
    );
}
