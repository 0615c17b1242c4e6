//! Profiles: checked when they are saved.

use crate::harness::Harness;
use http::Method;
use serde_json::json;

const PROFILES: &str = "/v1/tenants/default/profiles";

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_kept_and_versioned() {
    let api = Harness::start().await;
    let body = json!({"displayName": "Time servers", "selector": "device.manufacturer == \"HP\"",
        "settings": [{"path": "Device.Time.NTPServer1", "value": "ntp.example"}]});
    let (status, made) = api.post(PROFILES, body.clone()).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["name"], &made["version"]),
        (&json!("tenants/default/profiles/time-servers"), &json!(1))
    );
    assert_eq!(api.post(PROFILES, body).await.1["code"], "PROFILE_EXISTS");

    let path = format!("{PROFILES}/time-servers");
    let mut changed = made.clone();
    changed["disabled"] = json!(true);
    let (status, updated) = api
        .call_as(&api.admin, Method::PUT, &path, Some(changed.clone()))
        .await;
    assert_eq!(
        (status, &updated["version"], &updated["disabled"]),
        (200, &json!(2), &json!(true)),
        "{updated}"
    );
    let (status, problem) = api
        .call_as(&api.admin, Method::PUT, &path, Some(changed))
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("ETAG_MISMATCH")));

    assert_eq!(
        api.get(PROFILES).await.1["profiles"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(api.delete(&path).await.0, 200);
    assert_eq!(api.delete(&path).await.0, 404);
    assert_eq!(api.get(&path).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_contradicts_another_is_refused_with_its_name() {
    let api = Harness::start().await;
    let profile = |name: &str, value: &str, priority: i32| json!({"name": name, "selector": "true", "priority": priority, "settings": [{"path": "Device.X", "value": value}]});
    assert_eq!(api.post(PROFILES, profile("a", "1", 0)).await.0, 200);

    let (status, problem) = api.post(PROFILES, profile("b", "2", 0)).await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("PROFILE_CONFLICT"))
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("tenants/default/profiles/a sets Device.X"),
        "{problem}"
    );
    assert_eq!(api.post(PROFILES, profile("b", "2", 1)).await.0, 200);
    let (status, _) = api
        .call_as(
            &api.admin,
            Method::PUT,
            &format!("{PROFILES}/b"),
            Some(profile("", "2", 0)),
        )
        .await;
    assert_eq!(status, 400);
    // A profile does not contradict itself.
    assert_eq!(
        api.call_as(
            &api.admin,
            Method::PUT,
            &format!("{PROFILES}/b"),
            Some(profile("", "3", 1))
        )
        .await
        .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_profiles_that_contradict_each_other_one_is_saved() {
    let api = Harness::start().await;
    let saves = (0..8).map(|n| {
        let body = json!({"name": format!("p{n}"), "selector": "true", "settings": [{"path": "Device.X", "value": n.to_string()}]});
        api.post(PROFILES, body)
    });

    let answers = futures::future::join_all(saves).await;

    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 200).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_selector_says_what_is_wrong() {
    let api = Harness::start().await;
    for selector in ["", "device.colour == 1", "device.state ==", "1"] {
        let body = json!({"name": "p", "selector": selector, "settings": [{"path": "Device.X", "value": "1"}]});
        let (status, problem) = api.post(PROFILES, body).await;
        assert_eq!(
            (status, &problem["violations"][0]["field"]),
            (400, &json!("profile.selector")),
            "{selector} {problem}"
        );
    }
}
