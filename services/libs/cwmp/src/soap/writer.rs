//! The writer under the messages: one line of XML, everything escaped, or nothing at all.

use std::fmt::Write as _;

use super::reader::{is_allowed, is_clean, is_well_formed};

/// A message that cannot be written: the caller's fault, and trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// A text has a character that XML cannot carry, even escaped (SES-87).
    #[error("a text has the character {character:?}, which XML cannot carry")]
    Character {
        /// The first such character.
        character: char,
    },
    /// A text is longer than the standard allows (RPC-03).
    #[error("{element} is longer than {limit} characters")]
    TooLong {
        /// Name of the element.
        element: String,
        /// The limit in characters.
        limit: usize,
    },
    /// The name of a raw method is no XML name of at most 64 characters, or it ends in `Response`.
    #[error("the method's name is no XML name, or that of an answer")]
    MethodName,
    /// The arguments of a raw method are not well-formed.
    #[error("the method's arguments are not well-formed XML")]
    Arguments,
}

/// Writes a message. What cannot be written is remembered and reported by [`finish`](Self::finish).
pub(crate) struct Writer {
    out: String,
    failure: Option<Unwritable>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            out: String::with_capacity(1024),
            failure: None,
        }
    }

    /// The XML, unless something could not be written.
    pub(crate) fn finish(self) -> Result<String, Unwritable> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.out),
        }
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Opens an element with an attribute, whose value needs no escaping.
    pub(crate) fn open_with(&mut self, name: &str, attribute: &str, value: &str) {
        for piece in ["<", name, " ", attribute, "=\"", value, "\">"] {
            self.out.push_str(piece);
        }
    }

    /// Closes an element.
    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Writes an element that holds a text.
    pub(crate) fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        self.text(text);
        self.close(name);
    }

    /// Writes an element that holds a text of at most `limit` characters.
    pub(crate) fn limited_text(&mut self, name: &str, text: &str, limit: usize) {
        if text.len() > limit && text.chars().count() > limit {
            self.fail(Unwritable::TooLong {
                element: name.to_owned(),
                limit,
            });
        }
        self.element(name, text);
    }

    /// Writes an element that holds a number.
    pub(crate) fn number(&mut self, name: &str, number: i64) {
        self.open(name);
        write!(self.out, "{number}").expect("invariant: writing to a string does not fail");
        self.close(name);
    }

    /// Writes an element with a type, with `content` in it.
    pub(crate) fn typed(&mut self, name: &str, xsi_type: &str, content: impl FnOnce(&mut Self)) {
        self.open_with(name, "xsi:type", xsi_type);
        content(self);
        self.close(name);
    }

    /// Writes an array of `count` items, which `content` writes.
    pub(crate) fn array(
        &mut self,
        name: &str,
        item_type: &str,
        count: usize,
        content: impl FnOnce(&mut Self),
    ) {
        write!(
            self.out,
            "<{name} soap-enc:arrayType=\"{item_type}[{count}]\">"
        )
        .expect("invariant: writing to a string does not fail");
        content(self);
        self.close(name);
    }

    /// Writes text, escaped. A carriage return becomes a reference, because a reader would make a line feed of it.
    pub(crate) fn text(&mut self, text: &str) {
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            let reference = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&apos;",
                b'\r' => "&#13;",
                b'\t' | b'\n' | b' '.. => continue,
                _ => "",
            };
            // Every byte that gets here is ASCII, so both ends are character boundaries.
            self.out.push_str(text.get(written..at).unwrap_or_default());
            self.out.push_str(reference);
            written = at + 1;
        }
        self.out.push_str(text.get(written..).unwrap_or_default());
        self.check_characters(text);
    }

    /// Writes text that is XML already.
    pub(super) fn verbatim(&mut self, xml: &str) {
        self.out.push_str(xml);
    }

    /// Writes a method that this crate does not know, if it is well-formed.
    pub(crate) fn raw(&mut self, method: &str, suffix: &str, arguments_xml: &str) {
        // A request with such a name would be read as something else.
        let is_ambiguous = method.is_empty() || method == "Fault" || method.ends_with("Response");
        if is_ambiguous || !is_name(method) {
            self.fail(Unwritable::MethodName);
        } else if !is_well_formed(arguments_xml) {
            self.fail(Unwritable::Arguments);
        }
        for piece in [
            "<cwmp:",
            method,
            suffix,
            ">",
            arguments_xml,
            "</cwmp:",
            method,
            suffix,
            ">",
        ] {
            self.out.push_str(piece);
        }
    }

    fn check_characters(&mut self, text: &str) {
        if !is_clean(text)
            && let Some(character) = text.chars().find(|character| !is_allowed(*character))
        {
            self.fail(Unwritable::Character { character });
        }
    }

    fn fail(&mut self, failure: Unwritable) {
        self.failure.get_or_insert(failure);
    }
}

/// Whether the text can be an element's name after a prefix.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
