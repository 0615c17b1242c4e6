//! What the whole repository promises and no compiler checks: who depends on whom, what is named where.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crates that run: they depend on libraries, never on each other; only `platen` composes them.
const SERVICES: [&str; 6] = [
    "platen-edge",
    "platen-inventory",
    "platen-provisioning",
    "platen-firmware",
    "platen-metering",
    "platen-northbound",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every file that belongs to the repository.
fn files() -> Vec<PathBuf> {
    let skipped = ["target", ".git", "platen-data", "corpus", "artifacts"];
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_symlink() || skipped.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

fn named(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.contains(&e))
}

/// The text files among them, with their text.
fn texts() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|path| {
            has_extension(path, &["rs", "md", "toml", "proto", "sh", "yaml", "yml"])
                || path.ends_with("Makefile")
        })
        .map(|path| (named(&path), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// A crate: its folder and its manifest.
struct Manifest {
    folder: String,
    toml: toml::Table,
}

impl Manifest {
    fn name(&self) -> &str {
        self.toml["package"]["name"].as_str().unwrap()
    }

    /// Names of what it depends on; `dev`: for its tests.
    fn dependencies(&self, kind: &str) -> BTreeSet<&str> {
        self.toml
            .get(kind)
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|table| table.keys().map(String::as_str))
            .collect()
    }
}

fn manifests() -> Vec<Manifest> {
    files()
        .into_iter()
        .filter(|path| {
            path.ends_with("Cargo.toml")
                && path.parent() != Some(&root())
                && !named(path).contains("/fuzz/")
        })
        .map(|path| Manifest {
            folder: named(path.parent().unwrap()),
            toml: fs::read_to_string(&path).unwrap().parse().unwrap(),
        })
        .collect()
}

fn workspace() -> toml::Table {
    fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn members_are_listed_and_named_for_their_folders() {
    let listed: BTreeSet<String> = workspace()["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap().to_owned())
        .collect();
    let there: BTreeSet<String> = manifests()
        .iter()
        .map(|manifest| manifest.folder.clone())
        .collect();
    assert_eq!(listed, there);
    for manifest in manifests() {
        let folder = manifest.folder.rsplit('/').next().unwrap();
        let expect = if folder == "platen" {
            "platen".to_owned()
        } else {
            format!("platen-{folder}")
        };
        assert_eq!(manifest.name(), expect, "{}", manifest.folder);
    }
}

/// A service depends on libraries, never on another service; only `platen` composes.
#[test]
fn services_do_not_depend_on_services() {
    for manifest in manifests()
        .iter()
        .filter(|manifest| manifest.name() != "platen")
    {
        for kind in ["dependencies", "dev-dependencies"] {
            let services: Vec<&str> = manifest
                .dependencies(kind)
                .into_iter()
                .filter(|name| SERVICES.contains(name))
                .collect();
            assert_eq!(
                services,
                Vec::<&str>::new(),
                "{} of {}",
                kind,
                manifest.name()
            );
        }
    }
}

/// Libraries depend on libraries; the programs at the customer's site know neither store nor bus of the server.
#[test]
fn dependencies_point_downwards() {
    for manifest in manifests() {
        let own: BTreeSet<&str> = manifest
            .dependencies("dependencies")
            .into_iter()
            .filter(|name| name.starts_with("platen"))
            .collect();
        let allowed: &[&str] = match manifest.name() {
            "platen-ids" | "platen-cwmp" | "platen-datamodel" | "platen-proto" => &[],
            "platen-embedded" | "platen-runtime" => &["platen-ids"],
            "platen-store" => &[
                "platen-ids",
                "platen-proto",
                "platen-embedded",
                "platen-datamodel",
            ],
            "platen-bus" => &[
                "platen-ids",
                "platen-proto",
                "platen-embedded",
                "platen-store",
            ],
            "platen-sessions" => &["platen-ids"],
            "platen-fleet" => &[
                "platen-ids",
                "platen-proto",
                "platen-store",
                "platen-bus",
                "platen-cwmp",
            ],
            "platen-proxy" => &[
                "platen-ids",
                "platen-cwmp",
                "platen-datamodel",
                "platen-embedded",
                "platen-runtime",
            ],
            "platen-swarm" => &["platen-cwmp", "platen-datamodel", "platen-proxy"],
            _ => continue,
        };
        let others: Vec<&str> = own
            .into_iter()
            .filter(|name| !allowed.contains(name))
            .collect();
        assert_eq!(others, Vec::<&str>::new(), "{}", manifest.name());
    }
}

/// The protocol core and the data model have no runtime, no HTTP, no clock of their own.
#[test]
fn the_core_does_no_io() {
    let forbidden = [
        "tokio",
        "hyper",
        "hyper-util",
        "axum",
        "reqwest",
        "tonic",
        "rustls",
        "tokio-rustls",
        "fjall",
        "tracing",
        "rand",
    ];
    for manifest in manifests().iter().filter(|manifest| {
        ["platen-ids", "platen-cwmp", "platen-datamodel"].contains(&manifest.name())
    }) {
        let named: Vec<&str> = manifest
            .dependencies("dependencies")
            .into_iter()
            .filter(|name| forbidden.contains(name))
            .collect();
        assert_eq!(named, Vec::<&str>::new(), "{}", manifest.name());
        let sources = format!("{}/src/", manifest.folder);
        for (file, text) in texts()
            .iter()
            .filter(|(file, _)| file.starts_with(&sources))
        {
            for call in [
                "SystemTime::now",
                "Instant::now",
                "Timestamp::now",
                "std::fs::",
                "std::net::Tcp",
            ] {
                assert!(!text.contains(call), "{file} calls {call}");
            }
        }
    }
}

/// What is behind a port is named by its adapter alone.
#[test]
fn engines_are_named_in_one_place() {
    let homes: BTreeMap<&str, &[&str]> = [
        ("fjall", &["platen-embedded"][..]),
        ("rdkafka", &["platen-bus"][..]),
        ("scylla", &["platen-store"][..]),
        ("redis", &["platen-sessions"][..]),
        ("async-snmp", &["platen-proxy"][..]),
        (
            "object_store",
            &["platen", "platen-edge", "platen-northbound"][..],
        ),
        ("tonic-health", &["platen-northbound"][..]),
        ("tonic-reflection", &["platen-northbound"][..]),
        (
            "prost-reflect",
            &["platen-northbound", "platen-proto", "platen-provisioning"][..],
        ),
        ("cel", &["platen-fleet"][..]),
        ("config", &[][..]),
    ]
    .into();
    for manifest in manifests() {
        for name in manifest.dependencies("dependencies") {
            if let Some(homes) = homes.get(name) {
                assert!(
                    homes.contains(&manifest.name()),
                    "{} names {name}, which belongs to {homes:?}",
                    manifest.name()
                );
            }
        }
    }
}

#[test]
fn crates_share_versions_and_lints() {
    let shared = workspace();
    let shared = shared["workspace"]["dependencies"].as_table().unwrap();
    for manifest in manifests() {
        assert_eq!(
            manifest.toml["lints"]["workspace"].as_bool(),
            Some(true),
            "{}",
            manifest.name()
        );
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest
                .toml
                .get(kind)
                .and_then(toml::Value::as_table)
                .cloned()
                .unwrap_or_default();
            for (name, dependency) in table.iter().filter(|(name, _)| !name.starts_with("platen")) {
                assert!(
                    dependency.get("workspace").is_some() && shared.contains_key(name),
                    "{}: {name} has a version of its own",
                    manifest.name()
                );
            }
        }
    }
}

#[test]
fn files_are_named_for_what_is_in_them() {
    let nothings = [
        "utils.rs",
        "util.rs",
        "helpers.rs",
        "helper.rs",
        "common.rs",
        "types.rs",
        "manager.rs",
        "misc.rs",
    ];
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(
            !nothings.contains(&name.as_ref()),
            "{} names nothing",
            named(&path)
        );
    }
}

#[test]
fn every_test_counts() {
    // Put together here, so that this file does not hold them.
    let marks = [
        format!("#[{}]", "ignore"),
        format!("#[{} =", "ignore"),
        format!("{}!(", "todo"),
        format!("{}!(", "unimplemented"),
    ];
    for (file, text) in texts().iter().filter(|(file, _)| file.ends_with(".rs")) {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{file} holds {mark}");
        }
    }
}

/// Nothing points out of the repository but the test data, which has a default place and a variable.
#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let marks = [
        format!("/{}/main", "work"),
        format!("/{}/shared", "work"),
        format!("/{}/help", "work"),
        format!("shared/{}", "design"),
        format!("/{}/.", "root"),
    ];
    for (file, text) in texts() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{file} names {mark}");
        }
    }
}

/// Prefixes of the requirements that comments cite.
const PREFIXES: [&str; 27] = [
    "SES", "RPC", "QRK", "SEC", "MAP", "FLT", "REL", "CR", "NBI", "PXY", "EVT", "XFER", "HLM",
    "SCL", "VER", "BULK", "MET", "SUP", "LWN", "DIAG", "LVL", "MOD", "KICK", "SNMP", "SET", "GW",
    "WRONG",
];

/// Where the requirements are explained: one row of a table each, which begins with the id.
const REQUIREMENTS: &str = "docs/requirements.md";

/// Whoever reads a citation finds what it says.
#[test]
fn cited_requirements_are_explained() {
    let explained: BTreeSet<String> = explanations().into_keys().collect();
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // This file cites some as examples of what a citation looks like.
    let sources = texts().into_iter().filter(|(file, _)| {
        [".rs", ".proto", ".md"]
            .iter()
            .any(|kind| file.ends_with(kind))
            && !file.ends_with("tidy.rs")
            && file != REQUIREMENTS
            // It explains what it lists.
            && file != CONFORMANCE
    });
    for (file, text) in sources {
        for id in citations(&text).filter(|id| !explained.contains(id)) {
            missing.entry(id).or_default().insert(file.clone());
        }
    }
    assert_eq!(
        missing,
        BTreeMap::new(),
        "{REQUIREMENTS} does not explain these"
    );
}

/// What is asked of a server of CWMP, and which test shows it: one row `| id | what | shown by |` each.
const CONFORMANCE: &str = "docs/conformance.md";

/// The page says of every requirement that a test shows it, and which, or that none does.
#[test]
fn conformance_is_shown_by_tests_that_exist() {
    let page = fs::read_to_string(root().join(CONFORMANCE)).unwrap();
    let mut wrong = Vec::new();
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, shown] = cells[..] else {
            wrong.push(format!("three cells: {row}"));
            continue;
        };
        if citations(id).next().is_none_or(|cited| cited != id) {
            continue;
        }
        *rows.entry(id.to_owned()).or_default() += 1;
        let quoted = shown.split('`').skip(1).step_by(2);
        let (tests, words): (Vec<&str>, Vec<&str>) = quoted.partition(|text| text.contains("::"));
        let is_told = ["not tested", "not done", "nothing to do"]
            .iter()
            .any(|marker| words.iter().any(|word| word.starts_with(marker)));
        if tests.is_empty() && !is_told {
            wrong.push(format!("{id}: neither a test nor why there is none"));
        }
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let text = fs::read_to_string(root().join("services").join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                wrong.push(format!("{id}: no test {test}"));
            }
        }
    }
    wrong.extend(
        rows.iter()
            .filter(|(_, times)| **times > 1)
            .map(|(id, times)| format!("{id}: {times} rows")),
    );
    assert_eq!(wrong, Vec::<String>::new());
    assert!(rows.len() > 400, "{} requirements", rows.len());
}

/// One place to look, and a sentence in it.
#[test]
fn requirements_are_explained_once() {
    for (id, sentences) in explanations() {
        assert_eq!(sentences.len(), 1, "{id} is explained more than once");
        assert!(
            sentences[0].len() > 20 && sentences[0].ends_with('.'),
            "{id}: no sentence: {:?}",
            sentences[0]
        );
    }
}

/// The explanations of each requirement: the last cells of the rows `| id | source | explanation |`.
fn explanations() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join(REQUIREMENTS)).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [id, _, sentence] = cells[..]
            && citations(id).next().is_some_and(|cited| cited == id)
        {
            found
                .entry(id.to_owned())
                .or_default()
                .push(sentence.to_owned());
        }
    }
    found
}

/// Requirement ids in a text: a known prefix, a hyphen, two or three digits.
fn citations(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter_map(|word| {
        let (prefix, number) = word.rsplit_once('-')?;
        let is_id = PREFIXES.contains(&prefix.split('-').next()?)
            && (2..=3).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit());
        is_id.then(|| word.to_owned())
    })
}

/// A relative link leads to a file that is there; a reader is never sent into the void.
#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (file, text) in texts().iter().filter(|(file, _)| file.ends_with(".md")) {
        let folder = root().join(file).parent().unwrap().to_owned();
        for target in relative_links(text) {
            if !folder.join(target).exists() {
                broken.push(format!("{file}: {target}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// Pages name files in backticks, too: those that name a folder of the repository exist.
#[test]
fn pages_name_files_that_exist() {
    let folders = ["services/", "loadtest/", "deploy/", "proto/", "docs/"];
    let mut gone = Vec::new();
    for (file, text) in texts().iter().filter(|(file, _)| file.ends_with(".md")) {
        for path in text.split('`').skip(1).step_by(2) {
            let is_path = folders.iter().any(|folder| path.starts_with(folder))
                && !path.contains(['*', '{', ' ', '\n']);
            if is_path && !root().join(path).exists() {
                gone.push(format!("{file}: {path}"));
            }
        }
    }
    assert_eq!(gone, Vec::<String>::new());
}

/// Targets of `[text](target)` that are no addresses, without what follows a `#`.
fn relative_links(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn links_are_recognised() {
    let found: Vec<&str> = relative_links(
        "[a](x.md), [b](../y.md#part) and [c](https://example.com/z.md), [d](#here); f(x)",
    )
    .collect();
    assert_eq!(found, ["x.md", "../y.md"]);
}

#[test]
fn citations_are_recognised() {
    let found: Vec<String> =
        citations("as SES-56, (MAP-05) and SNMP-SEC-02; not UTF-8, SHA-256, SES-5 or XSES-56.")
            .collect();
    assert_eq!(found, ["SES-56", "MAP-05", "SNMP-SEC-02"]);
}
