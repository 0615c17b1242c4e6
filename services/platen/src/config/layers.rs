//! Defaults, file and variables, laid over each other; each value remembers where it was said.
//!
//! The default file is the schema too: a key exists if it stands there, be it as a value or, where there is no default, as `#key = example`.

use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Prefix of the variables that override keys; sections and keys are separated by two underscores, too.
const PREFIX: &str = "PLATEN__";

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Default,
    File(PathBuf, usize),
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default configuration"),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

/// What is wrong with the configuration. Each names the key, the value, what is allowed, and the place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("cannot read {file}: {error}", file = .file.display())]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{place}: not TOML: {what}")]
    Syntax { place: Place, what: String },
    #[error("{place}: there is no key `{key}` (value {value}); there are: {known}")]
    Unknown {
        place: Place,
        key: String,
        value: String,
        known: String,
    },
    #[error("{place}: `{key}` is {value}, but must be {allowed}")]
    Wrong {
        place: Place,
        key: String,
        value: String,
        allowed: String,
    },
    #[error("{0}")]
    Contradiction(String),
}

/// One key with its value as TOML text.
#[derive(Debug, Clone)]
struct Setting {
    raw: String,
    place: Place,
}

/// All keys that have a value.
#[derive(Debug)]
pub(crate) struct Layers {
    schema: BTreeMap<String, toml::Value>,
    settings: BTreeMap<String, Setting>,
}

impl Layers {
    /// Lays a file and variables over the defaults.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with keys and types, not only the first.
    pub(crate) fn read(
        defaults: &str,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let schema = flatten(&uncommented(defaults), |_| Place::Default)
            .expect("invariant: the default configuration is TOML (tested)")
            .into_iter()
            .filter_map(|(key, setting)| Some((key, setting.raw.parse().ok()?)))
            .collect();
        let settings = flatten(defaults, |_| Place::Default)
            .expect("invariant: the default configuration is TOML (tested)")
            .into_iter()
            .collect();
        let mut layers = Self { schema, settings };
        let mut problems = Vec::new();
        if let Some(file) = file {
            match std::fs::read_to_string(file) {
                Ok(text) => layers.add_file(file, &text, &mut problems),
                Err(error) => problems.push(Problem::Unreadable {
                    file: file.to_owned(),
                    error,
                }),
            }
        }
        for (name, text) in variables {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                layers.add_variable(name, &key, &text, &mut problems);
            }
        }
        if problems.is_empty() {
            Ok(layers)
        } else {
            Err(problems)
        }
    }

    fn add_file(&mut self, file: &Path, text: &str, problems: &mut Vec<Problem>) {
        match flatten(text, |line| Place::File(file.to_owned(), line)) {
            Ok(settings) => settings
                .into_iter()
                .for_each(|(key, setting)| self.add(key, setting, problems)),
            Err(problem) => problems.push(problem),
        }
    }

    fn add_variable(&mut self, name: String, key: &str, text: &str, problems: &mut Vec<Problem>) {
        // A string may be written without quotes, since shells eat them.
        let bare = matches!(self.schema.get(key), Some(toml::Value::String(_)))
            && !matches!(text.parse(), Ok(toml::Value::String(_)));
        let raw = if bare {
            toml::Value::String(text.to_owned()).to_string()
        } else {
            text.to_owned()
        };
        self.add(
            key.to_owned(),
            Setting {
                raw,
                place: Place::Variable(name),
            },
            problems,
        );
    }

    fn add(&mut self, key: String, setting: Setting, problems: &mut Vec<Problem>) {
        let Some(example) = self.schema.get(&key) else {
            problems.push(Problem::Unknown {
                known: self.known_beside(&key),
                place: setting.place,
                value: shown(&key, &setting.raw),
                key,
            });
            return;
        };
        let same_type = setting
            .raw
            .parse::<toml::Value>()
            .is_ok_and(|value| value.same_type(example));
        if same_type {
            self.settings.insert(key, setting);
        } else {
            let allowed = format!("{}, such as {example}", article(example.type_str()));
            problems.push(Problem::Wrong {
                place: setting.place,
                value: shown(&key, &setting.raw),
                key,
                allowed,
            });
        }
    }

    /// The keys of the section in which `key` would be, or the sections if there is none such.
    fn known_beside(&self, key: &str) -> String {
        let mut section = key;
        while let Some((parent, _)) = section.rsplit_once('.') {
            section = parent;
            let prefix = format!("{parent}.");
            let keys: Vec<&str> = self
                .schema
                .keys()
                .filter(|key| key.starts_with(&prefix))
                .map(String::as_str)
                .collect();
            if !keys.is_empty() {
                return keys.join(", ");
            }
        }
        let mut sections: Vec<String> = self
            .schema
            .keys()
            .filter_map(|key| key.split_once('.'))
            .map(|(section, _)| format!("[{section}]"))
            .collect();
        sections.dedup();
        sections.join(", ")
    }

    /// Reads those keys of a section that `select` takes (named without the section).
    ///
    /// # Errors
    ///
    /// [`Problem::Wrong`] with the place of the value that is not allowed.
    pub(crate) fn section<T: DeserializeOwned>(
        &self,
        section: &str,
        select: impl Fn(&str) -> bool,
    ) -> Result<T, Problem> {
        let prefix = format!("{section}.");
        let mut document = String::new();
        let mut spans: Vec<(Range<usize>, &str, &Setting)> = Vec::new();
        for (full, setting) in self.settings.range(prefix.clone()..) {
            let Some(key) = full.strip_prefix(&prefix) else {
                break;
            };
            if select(key) {
                let start = document.len();
                document.push_str(&format!("{key} = {}\n", setting.raw));
                spans.push((start..document.len(), full, setting));
            }
        }
        toml::from_str(&document).map_err(|error| {
            let what = error.message().to_owned();
            let at = error.span().map_or(usize::MAX, |span| span.start);
            match spans.into_iter().find(|(span, ..)| span.contains(&at)) {
                Some((_, key, setting)) => Problem::Wrong {
                    place: setting.place.clone(),
                    key: key.to_owned(),
                    value: shown(key, &setting.raw),
                    allowed: format!("allowed ({what})"),
                },
                None => Problem::Contradiction(format!("[{section}]: {what}")),
            }
        })
    }

    /// Where a key's value was said.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.settings
            .get(key)
            .map_or(Place::Default, |setting| setting.place.clone())
    }

    /// The text of a key's value, as it may be shown.
    pub(crate) fn text(&self, key: &str) -> String {
        self.settings
            .get(key)
            .map_or_else(String::new, |setting| shown(key, &setting.raw))
    }

    /// Every key that has a value, with the value and its place, as TOML with comments.
    pub(crate) fn effective(&self) -> String {
        self.settings
            .iter()
            .map(|(key, setting)| {
                format!(
                    "{key} = {}  # {}\n",
                    shown(key, &setting.raw),
                    setting.place
                )
            })
            .collect()
    }
}

/// A value as it may be shown: secrets are not, nor the password in an address.
fn shown(key: &str, raw: &str) -> String {
    if ["password", "access_key", "secret_key"]
        .iter()
        .any(|secret| key.ends_with(secret))
    {
        return "\"(hidden)\"".to_owned();
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, address)) = rest.split_once("://") {
        let end = address
            .find(|c: char| "/,\"'".contains(c) || c.is_whitespace())
            .unwrap_or(address.len());
        let (authority, after) = address.split_at(end);
        let host = authority.rsplit_once('@').map_or_else(
            || authority.to_owned(),
            |(_, host)| format!("(hidden)@{host}"),
        );
        text.push_str(before);
        text.push_str("://");
        text.push_str(&host);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// The default file with its `#key = example` lines as keys.
fn uncommented(defaults: &str) -> String {
    let mut text = String::with_capacity(defaults.len());
    for line in defaults.lines() {
        let key = line.strip_prefix('#').filter(|rest| {
            rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ")
        });
        text.push_str(key.unwrap_or(line));
        text.push('\n');
    }
    text
}

/// The keys of a file, dotted, with the text of their values.
fn flatten(text: &str, place: impl Fn(usize) -> Place) -> Result<Vec<(String, Setting)>, Problem> {
    let line_of = |offset: usize| {
        text.as_bytes()
            .iter()
            .take(offset)
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1
    };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        Problem::Syntax {
            place: place(line),
            what: error.message().to_owned(),
        }
    })?;
    let mut settings = Vec::new();
    // A stack, since tables may be nested as deeply as the file's writer likes.
    let mut open = vec![(String::new(), table.into_inner())];
    while let Some((prefix, table)) = open.pop() {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let line = line_of(name.span().start);
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(inner) => open.push((format!("{key}."), inner)),
                _ => settings.push((
                    key,
                    Setting {
                        raw: text[span].trim().to_owned(),
                        place: place(line),
                    },
                )),
            }
        }
    }
    Ok(settings)
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    const DEFAULTS: &str = "[cwmp]\n# Where.\nlisten = \"127.0.0.1:7547\"\n#public_url = \"https://x\"\nbody = 16\n[cwmp.auth]\nschemes = [\"digest-md5\"]\n[log]\nlevel = \"info\"\n";

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cwmp {
        listen: std::net::SocketAddr,
        public_url: Option<String>,
        body: u8,
        auth: Auth,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Auth {
        schemes: Vec<String>,
    }

    /// File, variables, and what the message must hold.
    type Mistake<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

    fn read(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Layers, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::read(DEFAULTS, file.map(|_| path.as_path()), variables).map_err(|problems| {
            problems
                .iter()
                .map(|p| {
                    p.to_string()
                        .replace(&format!("{}/", dir.path().display()), "")
                })
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    fn cwmp(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Cwmp, String> {
        read(file, variables)?
            .section("cwmp", |_| true)
            .map_err(|problem| {
                problem
                    .to_string()
                    .split_once("p.toml")
                    .map_or_else(|| problem.to_string(), |(_, rest)| format!("p.toml{rest}"))
            })
    }

    #[test]
    fn a_variable_beats_the_file_and_the_file_the_default() {
        let file =
            "cwmp = { body = 8, auth.schemes = [\n  \"basic\", # why\n  \"digest-md5\" ] }\n";
        let variables = [
            ("PLATEN__CWMP__LISTEN", "127.0.0.1:0"),
            ("PLATEN__CWMP__PUBLIC_URL", "'https://y'"),
            ("OTHER", "x"),
        ];
        let expect = Cwmp {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: Some("https://y".into()),
            body: 8,
            auth: Auth {
                schemes: vec!["basic".into(), "digest-md5".into()],
            },
        };
        assert_eq!(cwmp(Some(file), &variables), Ok(expect));
        let lists = cwmp(
            None,
            &[("PLATEN__CWMP__AUTH__SCHEMES", r#"["digest-md5","basic"]"#)],
        )
        .unwrap();
        assert_eq!(lists.auth.schemes, ["digest-md5", "basic"]);
        assert_eq!(lists.public_url, None);
    }

    #[test]
    fn every_mistake_names_key_value_allowed_and_place() {
        let cases: [Mistake<'_>; 8] = [
            (
                "[cwmp]\nlistn = 1",
                &[],
                &["p.toml:2", "`cwmp.listn`", "value 1", "cwmp.listen"],
            ),
            (
                "[cvmp]\nlisten = 1",
                &[],
                &["p.toml:2", "`cvmp.listen`", "[cwmp], [log]"],
            ),
            ("x = 1", &[], &["p.toml:1", "`x`", "[cwmp], [log]"]),
            (
                "[cwmp]\n\nlisten = 7547",
                &[],
                &[
                    "p.toml:3",
                    "`cwmp.listen` is 7547",
                    "a string, such as \"127.0.0.1:7547\"",
                ],
            ),
            (
                "[cwmp]\nlisten = \"everywhere\"",
                &[],
                &[
                    "p.toml:2",
                    "`cwmp.listen` is \"everywhere\"",
                    "socket address",
                ],
            ),
            (
                "[cwmp]\nbody = 300",
                &[],
                &["p.toml:2", "`cwmp.body` is 300", "u8"],
            ),
            ("[cwmp\nbody = 300", &[], &["p.toml:1", "not TOML"]),
            (
                "",
                &[("PLATEN__CWMP__BODY", "many")],
                &[
                    "variable PLATEN__CWMP__BODY",
                    "`cwmp.body` is many",
                    "an integer, such as 16",
                ],
            ),
        ];
        for (file, variables, expect) in cases {
            let message = cwmp(Some(file), variables).unwrap_err();
            for part in expect {
                assert!(
                    message.contains(part),
                    "{file:?}: {part:?} is not in {message:?}"
                );
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (key, raw, expect) in [
            ("store.cql.password", "\"s3cret\"", "\"(hidden)\""),
            ("store.cql.password_file", "\"/run/p\"", "\"/run/p\""),
            (
                "sessions.redis.url",
                "\"redis://u:s3cret@a:1,redis://:x@b:2/0\"",
                "\"redis://(hidden)@a:1,redis://(hidden)@b:2/0\"",
            ),
            ("files.url", "\"s3://bucket/a@b\"", "\"s3://bucket/a@b\""),
            ("cwmp.listen", "\"127.0.0.1:1\"", "\"127.0.0.1:1\""),
        ] {
            assert_eq!(shown(key, raw), expect, "{key}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let message = read(Some("[cwmp]\na = 1\nb = 2"), &[("PLATEN__X", "1")]).unwrap_err();
        assert_eq!(message.lines().count(), 3, "{message}");
    }
}
