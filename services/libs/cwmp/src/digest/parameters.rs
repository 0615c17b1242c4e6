//! The grammar of authentication headers: `scheme name=value, name="value", …` (RFC 9110 §11).

/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 8 << 10;
/// Most parameters of one scheme.
const MAX_PARAMETERS: usize = 32;

/// A header that cannot be read: the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// It is longer than 8 KiB or has more than 32 parameters.
    #[error("too long")]
    TooLong,
    /// It does not follow the grammar.
    #[error("not of the form scheme name=value, …")]
    Syntax,
    /// A parameter is there twice.
    #[error("a parameter is there twice")]
    Duplicate,
    /// A parameter is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter's value makes no sense.
    #[error("{0} cannot be read")]
    Value(&'static str),
    /// Neither Digest nor Basic, or a variant of Digest that is not supported.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

/// One scheme with what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credentials<'a> {
    /// `Digest`, `Basic`, in any case.
    pub(super) scheme: &'a str,
    /// What stands behind the scheme if it is no list of parameters: Basic's base64.
    pub(super) token: Option<&'a str>,
    parameters: Vec<(&'a str, String)>,
}

impl Credentials<'_> {
    /// Takes a parameter's value out, by its name in any case.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self
            .parameters
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.parameters.swap_remove(index).1)
    }
}

/// Reads a header of one or, with challenges, several schemes. Spaces may be anywhere between the elements, values may be
/// quoted or not whatever the standard says, and commas may be too many (QRK-21).
pub(super) fn parse(header: &str) -> Result<Vec<Credentials<'_>>, InvalidHeader> {
    if header.len() > MAX_HEADER {
        return Err(InvalidHeader::TooLong);
    }
    let mut found: Vec<Credentials<'_>> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(found);
        }
        let (name, after) = split_token(rest)?;
        let after = after.trim_start();
        // A name with an equals sign is a parameter, any other the next scheme.
        let Some(after_equals) = after.strip_prefix('=') else {
            let token;
            (token, rest) = split_token68(after);
            found.push(Credentials {
                scheme: name,
                token,
                parameters: Vec::new(),
            });
            continue;
        };
        let value;
        (value, rest) = split_value(after_equals.trim_start())?;
        let current = found.last_mut().ok_or(InvalidHeader::Syntax)?;
        if current
            .parameters
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            return Err(InvalidHeader::Duplicate);
        }
        if current.parameters.len() == MAX_PARAMETERS {
            return Err(InvalidHeader::TooLong);
        }
        current.parameters.push((name, value));
        // Behind a value there is a comma or the end.
        rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(InvalidHeader::Syntax);
        }
    }
}

/// Splits a token of RFC 9110 off.
fn split_token(text: &str) -> Result<(&str, &str), InvalidHeader> {
    let end = text.bytes().take_while(|byte| is_token(*byte)).count();
    match text.split_at_checked(end) {
        Some(("", _)) | None => Err(InvalidHeader::Syntax),
        Some(split) => Ok(split),
    }
}

/// Splits a token68 off, if there is one and nothing but a comma follows.
fn split_token68(text: &str) -> (Option<&str>, &str) {
    let is_token68 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let length = text.bytes().take_while(is_token68).count();
    let padding = text
        .bytes()
        .skip(length)
        .take_while(|byte| *byte == b'=')
        .count();
    match text.split_at_checked(length + padding) {
        Some((token, rest))
            if length > 0 && matches!(rest.trim_start().as_bytes().first(), None | Some(b',')) =>
        {
            (Some(token), rest)
        }
        _ => (None, text),
    }
}

/// Splits a value off: a quoted-string without its quotes and escapes, or all up to the next comma or space.
fn split_value(text: &str) -> Result<(String, &str), InvalidHeader> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        if value.contains('"') {
            return Err(InvalidHeader::Syntax);
        }
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(characters.next().ok_or(InvalidHeader::Syntax)?.1),
            _ => value.push(character),
        }
    }
    Err(InvalidHeader::Syntax)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Scheme = (String, Option<String>, Vec<(String, String)>);

    fn read(header: &str) -> Vec<Scheme> {
        parse(header)
            .unwrap()
            .into_iter()
            .map(|credentials| {
                (
                    credentials.scheme.to_owned(),
                    credentials.token.map(str::to_owned),
                    credentials
                        .parameters
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            })
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn reads_what_devices_write() {
        let scheme = |name: &str, token: Option<&str>, parameters: &[(&str, &str)]| {
            (name.to_owned(), token.map(str::to_owned), pairs(parameters))
        };
        let cases = [
            (
                r#"Digest a="1", b=2"#,
                vec![scheme("Digest", None, &[("a", "1"), ("b", "2")])],
            ),
            (
                "digest  A = \"x\" ,b=  y ",
                vec![scheme("digest", None, &[("A", "x"), ("b", "y")])],
            ),
            (
                r#"Digest a="q\"u\\o,t=e", b="""#,
                vec![scheme("Digest", None, &[("a", r#"q"u\o,t=e"#), ("b", "")])],
            ),
            (
                r#"Digest ,, a=1,, b=2,"#,
                vec![scheme("Digest", None, &[("a", "1"), ("b", "2")])],
            ),
            (
                "Basic dXNlcjpwYXNz",
                vec![scheme("Basic", Some("dXNlcjpwYXNz"), &[])],
            ),
            ("Basic Og==", vec![scheme("Basic", Some("Og=="), &[])]),
            (
                r#"Digest realm="a, b", nonce=n, Basic realm="c""#,
                vec![
                    scheme("Digest", None, &[("realm", "a, b"), ("nonce", "n")]),
                    scheme("Basic", None, &[("realm", "c")]),
                ],
            ),
            (
                "Negotiate, Digest realm=x",
                vec![
                    scheme("Negotiate", None, &[]),
                    scheme("Digest", None, &[("realm", "x")]),
                ],
            ),
            ("", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(read(header), expected, "{header}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_told_apart() {
        let long = format!("Digest a={}", "x".repeat(MAX_HEADER));
        let many = (0..40)
            .map(|n| format!("p{n}=1"))
            .collect::<Vec<_>>()
            .join(",");
        let cases = [
            (r#"Digest a="1", A="2""#, InvalidHeader::Duplicate),
            (r#"Digest a="1"#, InvalidHeader::Syntax),
            (r#"Digest a="1" b="2""#, InvalidHeader::Syntax),
            (r#"a=1"#, InvalidHeader::Syntax),
            ("Digest a=b\"c", InvalidHeader::Syntax),
            ("é", InvalidHeader::Syntax),
            (long.as_str(), InvalidHeader::TooLong),
            (&format!("Digest {many}"), InvalidHeader::TooLong),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header).unwrap_err(), expected, "{header}");
        }
    }
}
