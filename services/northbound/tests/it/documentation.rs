//! The documentation says what is served.

use crate::harness::Harness;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use std::collections::BTreeSet;

const API: &str = include_str!("../../../../docs/api.md");

#[test]
fn every_method_stands_in_the_documentation_and_nothing_else() {
    let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap();
    let served: BTreeSet<String> = pool
        .services()
        .flat_map(|service| {
            service
                .methods()
                .map(|method| format!("{}.{}", service.name(), method.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    // Rows of the table of methods: | `Service.Method` | …
    let documented: BTreeSet<String> = API
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .filter(|name| name.contains("Service."))
        .collect();

    assert_eq!(documented, served, "docs/api.md is stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_served_and_its_paths_are_documented() {
    let api = Harness::start().await;
    let (status, document) = api.get("/v1/openapi.json").await;
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));

    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let row = format!("`{} {path}`", method.to_uppercase());
            assert!(API.contains(&row), "docs/api.md does not have {row}");
        }
    }
    let operations: usize = paths
        .values()
        .map(|operations| operations.as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert!(operations > 30, "{operations}");
    assert!(
        document["components"]["schemas"]
            .as_object()
            .is_some_and(|schemas| schemas.values().all(Value::is_object))
    );
}
