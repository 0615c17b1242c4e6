//! Path templates of `google.api.http`: `/v1/{name=tenants/*/devices/*}:retire`.

use std::fmt::Write as _;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    /// Custom verb after the last colon.
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// One segment of any content, part of the value of `variables[index]`.
    Wildcard,
    /// Begin of a variable: the following `length` segments are its value.
    Begin {
        field: String,
        length: usize,
    },
}

/// Why a template cannot be used: a mistake in a `.proto` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path template {0:?} is not understood")]
pub(crate) struct BadTemplate(String);

/// Variables of a path that matched: proto field path and decoded value.
pub(crate) type Bindings = Vec<(String, String)>;

impl Template {
    /// Parses a template. Variables hold literals and `*`; `**` is not supported.
    pub(crate) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let bad = || BadTemplate(text.to_owned());
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        // A colon inside braces would be part of a segment; none of ours has one, so the last colon is the verb's.
        let (path, verb) = match rest.rsplit_once(':') {
            Some((path, verb)) if !verb.contains(['/', '}']) => (path, Some(verb.to_owned())),
            _ => (rest, None),
        };
        let mut segments = Vec::new();
        let mut left = path;
        while !left.is_empty() {
            if let Some(variable) = left.strip_prefix('{') {
                let (inside, after) = variable.split_once('}').ok_or_else(bad)?;
                let (field, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
                let parts: Vec<&str> = pattern.split('/').collect();
                segments.push(Segment::Begin {
                    field: field.to_owned(),
                    length: parts.len(),
                });
                for part in parts {
                    segments.push(Self::segment(part).ok_or_else(bad)?);
                }
                left = match after.strip_prefix('/') {
                    Some(more) if !more.is_empty() => more,
                    None if after.is_empty() => "",
                    _ => return Err(bad()),
                };
            } else {
                let (part, more) = left.split_once('/').unwrap_or((left, ""));
                segments.push(Self::segment(part).ok_or_else(bad)?);
                left = more;
            }
        }
        if segments.is_empty() {
            Err(bad())
        } else {
            Ok(Self { segments, verb })
        }
    }

    fn segment(part: &str) -> Option<Segment> {
        match part {
            "*" => Some(Segment::Wildcard),
            "" | "**" => None,
            literal if literal.contains(['{', '}', '*']) => None,
            literal => Some(Segment::Literal(literal.to_owned())),
        }
    }

    /// Matches the path of a request, still percent-encoded. Each segment is decoded once; a segment that decodes to something with a
    /// slash, or not to UTF-8, matches nothing, so that no value can pretend to be two.
    pub(crate) fn matches(&self, path: &str) -> Option<Bindings> {
        let mut path = path.strip_prefix('/')?;
        if let Some(verb) = &self.verb {
            path = path.strip_suffix(verb.as_str())?.strip_suffix(':')?;
        }
        let mut parts = path.split('/');
        let mut bindings = Bindings::new();
        let mut open = 0_usize;
        for segment in &self.segments {
            let value = match segment {
                Segment::Begin { field, length } => {
                    bindings.push((field.clone(), String::new()));
                    open = *length;
                    continue;
                }
                Segment::Literal(literal) => {
                    let part = parts.next()?;
                    if part != literal {
                        return None;
                    }
                    literal.clone()
                }
                Segment::Wildcard => {
                    let part = parts.next()?;
                    // Without a verb in the template, a raw colon would be a verb that nobody knows.
                    if self.verb.is_none() && part.contains(':') {
                        return None;
                    }
                    decode(part).filter(|value| !value.is_empty() && !value.contains('/'))?
                }
            };
            if open > 0 {
                open -= 1;
                if let Some((_, bound)) = bindings.last_mut() {
                    if !bound.is_empty() {
                        bound.push('/');
                    }
                    bound.push_str(&value);
                }
            }
        }
        parts.next().is_none().then_some(bindings)
    }

    /// The path as OpenAPI writes it, with one parameter per wildcard, and the names of these parameters:
    /// `/v1/tenants/{tenant}/devices/{device}:retire`.
    pub(crate) fn openapi(&self) -> (String, Vec<String>) {
        let mut path = String::new();
        let mut names: Vec<String> = Vec::new();
        let mut previous = "resource";
        for segment in &self.segments {
            match segment {
                Segment::Begin { .. } => {}
                Segment::Literal(literal) => {
                    let _ = write!(path, "/{literal}");
                    previous = literal;
                }
                Segment::Wildcard => {
                    let name = previous.strip_suffix('s').unwrap_or(previous).to_owned();
                    let _ = write!(path, "/{{{name}}}");
                    names.push(name);
                }
            }
        }
        if let Some(verb) = &self.verb {
            let _ = write!(path, ":{verb}");
        }
        (path, names)
    }

    /// Proto paths of the fields that the path binds.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Begin { field, .. } => Some(field.as_str()),
            Segment::Literal(_) | Segment::Wildcard => None,
        })
    }
}

/// Percent-decodes once. `None`: a broken escape, or not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut input = text.bytes();
    while let Some(byte) = input.next() {
        if byte == b'%' {
            let high = char::from(input.next()?).to_digit(16)?;
            let low = char::from(input.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        Template::parse(template).unwrap().matches(path)
    }

    #[test]
    fn paths_bind_their_variables() {
        let device = "/v1/{name=tenants/*/devices/*}";
        for (template, path, expected) in [
            (
                device,
                "/v1/tenants/default/devices/00D09E-SN1",
                Some("tenants/default/devices/00D09E-SN1"),
            ),
            (
                device,
                "/v1/tenants/default/devices/00D09E-Laser%252D9-SN1",
                Some("tenants/default/devices/00D09E-Laser%2D9-SN1"),
            ),
            (device, "/v1/tenants/default/devices/a%2Fb", None),
            (device, "/v1/tenants/default/devices/a%zz", None),
            (device, "/v1/tenants/default/devices/%ff", None),
            (device, "/v1/tenants/default/devices/", None),
            (device, "/v1/tenants/default/devices", None),
            (device, "/v1/tenants/default/devices/x/y", None),
            (device, "/v1/tenants/default/devices/x:retire", None),
            (
                device,
                "/v1/tenants/default/devices/x%3Aretire",
                Some("tenants/default/devices/x:retire"),
            ),
            (
                "/v1/{name=tenants/*/devices/*}:retire",
                "/v1/tenants/a/devices/x:retire",
                Some("tenants/a/devices/x"),
            ),
            (
                "/v1/{name=tenants/*/devices/*}:retire",
                "/v1/tenants/a/devices/x%3Aretire",
                None,
            ),
            (
                "/v1/{parent=tenants/*}/devices:lookup",
                "/v1/tenants/a/devices:lookup",
                Some("tenants/a"),
            ),
            (
                "/v1/{parent=tenants/*}/devices",
                "/v1/tenants/a/devices:lookup",
                None,
            ),
            (
                "/v1/{parent=tenants/*}/devices",
                "/v1/tenants/a/devices",
                Some("tenants/a"),
            ),
        ] {
            let value = bound(template, path).map(|mut bindings| bindings.remove(0).1);
            assert_eq!(value.as_deref(), expected, "{template} {path}");
        }
        assert_eq!(bound("/v1/tenants", "/v1/tenants"), Some(vec![]));
    }

    #[test]
    fn templates_become_openapi_paths() {
        for (template, expected) in [
            (
                "/v1/{name=tenants/*/devices/*}:retire",
                "/v1/tenants/{tenant}/devices/{device}:retire",
            ),
            (
                "/v1/{parent=tenants/*}/devices:lookup",
                "/v1/tenants/{tenant}/devices:lookup",
            ),
            ("/v1/tenants", "/v1/tenants"),
        ] {
            assert_eq!(Template::parse(template).unwrap().openapi().0, expected);
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for bad in [
            "",
            "v1/x",
            "/v1/{name",
            "/v1/{name=**}",
            "/v1//x",
            "/v1/{a=x}y",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_matched_or_refused(path in "\\PC{0,40}") {
            let _ = bound("/v1/{name=tenants/*/devices/*}:retire", &path);
            let _ = bound("/v1/{name=tenants/*/devices/*}", &path);
        }

        #[test]
        fn every_id_survives_encoding(id in "[A-Za-z0-9_.%-]{1,40}") {
            let encoded: String = id.bytes().map(|b| format!("%{b:02X}")).collect();
            let value = bound("/v1/{name=tenants/*/devices/*}", &format!("/v1/tenants/t/devices/{encoded}")).unwrap();
            prop_assert_eq!(&value[0].1, &format!("tenants/t/devices/{id}"));
        }
    }
}
