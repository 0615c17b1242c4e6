//! The pull reader under the messages: elements by local name, text byte for byte, everything bounded.

use quick_xml::events::{BytesStart, Event};

use super::{Repair, Repairs};

/// Elements may nest this deep (SEC-51).
const MAX_DEPTH: usize = 64;
/// Attributes of one element that are looked at (SEC-51).
const MAX_ATTRIBUTES: usize = 64;
/// Bytes of one text (SEC-51).
const MAX_TEXT: usize = 4 << 20;
/// Elements of one message (SEC-51).
const MAX_ELEMENTS: usize = 2_000_000;
/// Items of one list: the tree of the largest device, with room (RPC-51).
const MAX_ITEMS: usize = 100_000;

/// A message that cannot be read: the sender's fault, and sending it again does not help. The server answers 400.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The XML is broken.
    #[error("not well-formed XML")]
    Xml(#[from] quick_xml::Error),
    /// The message ends inside an element.
    #[error("the message ends inside an element")]
    Truncated,
    /// There is a document type declaration; nothing behind it was read (SEC-50).
    #[error("document type declarations are refused")]
    DocumentType,
    /// A limit on size is exceeded.
    #[error("{what} beyond the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The outermost element is no SOAP envelope.
    #[error("no SOAP envelope")]
    NotAnEnvelope,
    /// The envelope is of SOAP 1.2.
    #[error("SOAP 1.2 is not CWMP's version of SOAP")]
    SoapVersion,
    /// The envelope has no body, or an empty one.
    #[error("the envelope has no method in its body")]
    EmptyBody,
}

/// An element's start.
pub(crate) struct Tag<'a>(BytesStart<'a>);

impl<'a> Tag<'a> {
    /// The name without prefix.
    pub(crate) fn local(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// The prefix; empty if there is none.
    pub(crate) fn prefix(&self) -> &str {
        self.0
            .name()
            .prefix()
            .map_or("", quick_xml::name::Prefix::into_inner)
    }

    /// The raw value of an attribute, by its name without prefix.
    pub(crate) fn attribute(&self, local: &str) -> Result<Option<&str>, Malformed> {
        let mut found = None;
        self.attributes(|_, name, value| {
            if found.is_none() && name == local {
                found = Some(value);
            }
        })?;
        Ok(found)
    }

    /// Calls `visit` with prefix, local name and raw value of every attribute. Those that are not well-formed end the list.
    pub(crate) fn attributes<'s>(
        &'s self,
        mut visit: impl FnMut(&'s str, &'s str, &'s str),
    ) -> Result<(), Malformed> {
        // Without the check for duplicates, which is quadratic.
        for (index, attribute) in self.0.html_attributes().with_checks(false).enumerate() {
            if index == MAX_ATTRIBUTES {
                return Err(Malformed::TooLarge {
                    what: "attributes",
                    limit: MAX_ATTRIBUTES,
                });
            }
            let Ok(attribute) = attribute else { break };
            let (local, prefix) = attribute.key.decompose();
            if let std::borrow::Cow::Borrowed(value) = attribute.value {
                visit(
                    prefix.map_or("", quick_xml::name::Prefix::into_inner),
                    local.into_inner(),
                    value,
                );
            }
        }
        Ok(())
    }
}

/// Reads a message as a tree without building one.
///
/// The caller is always inside one element. [`child`](Self::child) enters the next one in it; whoever entered one leaves it
/// by reading it to its end: by `child` until that returns `None`, or by [`text`](Self::text), [`skip`](Self::skip) or
/// [`inner_xml`](Self::inner_xml).
pub(crate) struct Reader<'a> {
    xml: quick_xml::Reader<&'a [u8]>,
    source: &'a str,
    depth: usize,
    elements: usize,
    repairs: Repairs,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        let mut xml = quick_xml::Reader::from_str(source);
        let config = xml.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        Self {
            xml,
            source,
            depth: 0,
            elements: 0,
            repairs: Repairs::NONE,
        }
    }

    /// Notes a repair.
    pub(crate) fn note(&mut self, repair: Repair) {
        self.repairs.insert(repair);
    }

    /// The repairs noted.
    pub(crate) fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Enters the next element in the current one; `None` at the current one's end, which is left thereby.
    pub(crate) fn child(&mut self) -> Result<Option<Tag<'a>>, Malformed> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Some(Tag(start))),
                Event::End(_) => return Ok(None),
                Event::Eof if self.depth == 0 => return Ok(None),
                Event::Eof => return Err(Malformed::Truncated),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Comment(_)
                | Event::PI(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    /// Reads the current element's text, byte for byte: nothing is trimmed, references are resolved (SES-83, SES-86).
    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::Text(piece) => {
                    if piece.starts_with('&') {
                        self.note(Repair::BareAmpersand);
                    }
                    self.push(&mut text, &piece)?;
                }
                Event::CData(piece) => self.push(&mut text, &piece)?,
                Event::GeneralRef(reference) => match resolve(&reference) {
                    Some(character) if is_allowed(character) => text.push(character),
                    Some(_) => self.note(Repair::ControlCharacter),
                    None => {
                        self.note(Repair::UnknownEntity);
                        text.push('&');
                        self.push(&mut text, &reference)?;
                        text.push(';');
                    }
                },
                Event::Start(_) => {
                    self.note(Repair::NestedValue);
                    self.skip()?;
                }
                Event::End(_) => return Ok(text),
                Event::Eof => return Err(Malformed::Truncated),
                Event::Comment(_)
                | Event::PI(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    /// Passes over the current element.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            if let Event::Eof = self.event()? {
                return Err(Malformed::Truncated);
            }
        }
        Ok(())
    }

    /// Passes over the current element and returns what stands in it, verbatim.
    pub(crate) fn inner_xml(&mut self) -> Result<&'a str, Malformed> {
        let start = self.position();
        let outside = self.depth.saturating_sub(1);
        loop {
            let end = self.position();
            if let Event::Eof = self.event()? {
                return Err(Malformed::Truncated);
            }
            if self.depth == outside {
                return Ok(self.source.get(start..end).unwrap_or_default());
            }
        }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a str {
        self.source.get(self.position()..).unwrap_or_default()
    }

    /// The number of items that an array's `arrayType` declares, `None` if it is missing or unreadable.
    pub(crate) fn array_count(&self, tag: &Tag<'_>) -> Result<Option<usize>, Malformed> {
        let array_type = tag.attribute("arrayType")?;
        Ok(array_type.and_then(|text| {
            let (_, count) = text.trim_end().strip_suffix(']')?.rsplit_once('[')?;
            count.parse().ok()
        }))
    }

    /// Appends an item to a list, unless there are too many already.
    pub(crate) fn push_item<T>(&self, items: &mut Vec<T>, item: T) -> Result<(), Malformed> {
        if items.len() == MAX_ITEMS {
            return Err(Malformed::TooLarge {
                what: "items of a list",
                limit: MAX_ITEMS,
            });
        }
        items.push(item);
        Ok(())
    }

    fn position(&self) -> usize {
        usize::try_from(self.xml.buffer_position()).unwrap_or(usize::MAX)
    }

    fn event(&mut self) -> Result<Event<'a>, Malformed> {
        let event = self.xml.read_event()?;
        match &event {
            Event::Start(_) => {
                self.depth += 1;
                self.elements += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Malformed::TooLarge {
                        what: "nesting",
                        limit: MAX_DEPTH,
                    });
                }
                if self.elements > MAX_ELEMENTS {
                    return Err(Malformed::TooLarge {
                        what: "elements",
                        limit: MAX_ELEMENTS,
                    });
                }
            }
            Event::End(_) => self.depth -= 1,
            Event::DocType(_) => return Err(Malformed::DocumentType),
            Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_)
            | Event::Eof => {}
        }
        Ok(event)
    }

    /// Appends a piece of text without the characters that XML does not allow.
    fn push(&mut self, text: &mut String, piece: &str) -> Result<(), Malformed> {
        if text.len() + piece.len() > MAX_TEXT {
            return Err(Malformed::TooLarge {
                what: "text",
                limit: MAX_TEXT,
            });
        }
        if is_clean(piece) {
            text.push_str(piece);
        } else {
            self.note(Repair::ControlCharacter);
            text.extend(piece.chars().filter(|character| is_allowed(*character)));
        }
        Ok(())
    }
}

/// Whether the text can stand inside an element without repair and without changing what is around it.
pub(super) fn is_well_formed(content: &str) -> bool {
    let wrapped = format!("<content>{content}</content>");
    let mut xml = quick_xml::Reader::from_str(&wrapped);
    xml.config_mut().check_comments = true;
    let mut depth = 0_usize;
    let mut is_first = true;
    loop {
        // The wrapping element must be the only one outside.
        if depth == 0 && !is_first && xml.buffer_position() < wrapped.len() as u64 {
            return false;
        }
        is_first = false;
        let is_good = match xml.read_event() {
            Ok(Event::Start(start)) => {
                depth += 1;
                depth <= MAX_DEPTH && start.attributes().all(|attribute| attribute.is_ok())
            }
            Ok(Event::Empty(start)) => start.attributes().all(|attribute| attribute.is_ok()),
            Ok(Event::End(_)) => {
                depth -= 1;
                true
            }
            Ok(Event::GeneralRef(reference)) => resolve(&reference).is_some_and(is_allowed),
            Ok(Event::Text(_) | Event::CData(_) | Event::Comment(_)) => true,
            Ok(Event::Eof) => return depth == 0 && is_clean(content),
            Ok(Event::Decl(_) | Event::DocType(_) | Event::PI(_)) | Err(_) => false,
        };
        if !is_good {
            return false;
        }
    }
}

/// The character of a predefined or numeric reference.
fn resolve(reference: &str) -> Option<char> {
    Some(match reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    })
}

/// Whether XML 1.0 allows all characters of the text in a document.
pub(super) fn is_clean(text: &str) -> bool {
    // U+FFFE and U+FFFF begin with 0xEF, the other characters that are not allowed are below the space.
    let is_suspect = |byte| byte == 0xEF || (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r'));
    !text.bytes().any(is_suspect) || text.chars().all(is_allowed)
}

/// Whether XML 1.0 allows the character in a document.
pub(super) fn is_allowed(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}
