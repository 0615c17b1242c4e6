//! How types stand as elements: read and written by the same declaration, so that the two cannot drift apart.

use super::{
    Repair,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// A type that is the content of one element.
pub(crate) trait Element: Sized {
    /// Reads the element that `tag` opened, up to and with its end.
    fn read(reader: &mut Reader<'_>, tag: &Tag<'_>) -> Result<Self, Malformed>;

    /// Writes an element of that name.
    fn write(&self, writer: &mut Writer, name: &str);

    /// Writes an element of that name whose text, or whose items' text, must not be longer than `limit` characters.
    fn write_limited(&self, writer: &mut Writer, name: &str, _limit: usize) {
        self.write(writer, name);
    }
}

/// A type that is an item of a SOAP array.
pub(crate) trait Item: Element {
    /// Name of an item's element.
    const ELEMENT: &'static str;
    /// Qualified name of the item's type.
    const ARRAY_TYPE: &'static str;
}

/// Declares the elements of a structure, in the schema's order: `field: "Element"`, `field: "Element" <= characters` for a
/// text with a limit, `field: "Element" optional` for a text that is left out when empty.
///
/// Reading takes them in any order, ignores what it does not know, and leaves the default where one is missing.
macro_rules! sequence {
    ($type:ident { $($field:ident: $element:literal $(<= $limit:literal)? $($optional:ident)?),* $(,)? }) => {
        impl $type {
            /// Writes the elements of the structure.
            pub(crate) fn write_fields(&self, writer: &mut $crate::soap::writer::Writer) {
                $($crate::soap::element::write_field!(writer, self.$field, $element $(<= $limit)? $($optional)?);)*
            }
        }

        impl $crate::soap::element::Element for $type {
            fn read(
                reader: &mut $crate::soap::reader::Reader<'_>,
                _tag: &$crate::soap::reader::Tag<'_>,
            ) -> Result<Self, $crate::soap::reader::Malformed> {
                let mut value = Self::default();
                while let Some(tag) = reader.child()? {
                    match tag.local() {
                        $($element => value.$field = $crate::soap::element::Element::read(reader, &tag)?,)*
                        _ => reader.skip()?,
                    }
                }
                Ok(value)
            }

            fn write(&self, writer: &mut $crate::soap::writer::Writer, name: &str) {
                writer.open(name);
                self.write_fields(writer);
                writer.close(name);
            }
        }
    };
}

/// Writes one field as [`sequence!`] declares it.
macro_rules! write_field {
    ($writer:ident, $value:expr, $element:literal) => {
        $crate::soap::element::Element::write(&$value, $writer, $element)
    };
    ($writer:ident, $value:expr, $element:literal <= $limit:literal) => {
        $crate::soap::element::Element::write_limited(&$value, $writer, $element, $limit)
    };
    ($writer:ident, $value:expr, $element:literal optional) => {
        if !$value.is_empty() {
            $crate::soap::element::Element::write(&$value, $writer, $element);
        }
    };
}

/// Declares a structure of CWMP to be an array item.
macro_rules! item {
    ($type:ident, $name:literal) => {
        impl $crate::soap::element::Item for $type {
            const ELEMENT: &'static str = $name;
            const ARRAY_TYPE: &'static str = concat!("cwmp:", $name);
        }
    };
}

pub(crate) use {item, sequence, write_field};

impl Element for String {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        reader.text()
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, self);
    }

    fn write_limited(&self, writer: &mut Writer, name: &str, limit: usize) {
        writer.limited_text(name, self, limit);
    }
}

impl Item for String {
    const ELEMENT: &'static str = "string";
    const ARRAY_TYPE: &'static str = "xsd:string";
}

impl Element for u32 {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(text.trim().parse().unwrap_or_else(|_| {
            reader.note(Repair::Number);
            0
        }))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.number(name, i64::from(*self));
    }
}

impl Element for i32 {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(text.trim().parse().unwrap_or_else(|_| {
            reader.note(Repair::Number);
            0
        }))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.number(name, i64::from(*self));
    }
}

impl Element for bool {
    /// Reads `0`, `1`, `true`, `false`; other words for them as a repair (RPC-151).
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(match text.trim() {
            "1" | "true" => true,
            "0" | "false" => false,
            other => {
                reader.note(Repair::Boolean);
                ["true", "yes", "on", "enabled"]
                    .iter()
                    .any(|word| other.eq_ignore_ascii_case(word))
            }
        })
    }

    /// Writes `1` or `0`, which every device reads (RPC-151).
    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, if *self { "1" } else { "0" });
    }
}

impl<T: Item> Element for Vec<T> {
    /// Reads the items, whatever their elements are called. The declared count is only compared (SES-78).
    fn read(reader: &mut Reader<'_>, tag: &Tag<'_>) -> Result<Self, Malformed> {
        let declared = reader.array_count(tag)?;
        let mut items = Self::new();
        while let Some(tag) = reader.child()? {
            let item = T::read(reader, &tag)?;
            reader.push_item(&mut items, item)?;
        }
        if declared.is_some_and(|declared| declared != items.len()) {
            reader.note(Repair::ArrayCount);
        }
        Ok(items)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.array(name, T::ARRAY_TYPE, self.len(), |writer| {
            for item in self {
                item.write(writer, T::ELEMENT);
            }
        });
    }

    fn write_limited(&self, writer: &mut Writer, name: &str, limit: usize) {
        writer.array(name, T::ARRAY_TYPE, self.len(), |writer| {
            for item in self {
                item.write_limited(writer, T::ELEMENT, limit);
            }
        });
    }
}
