//! What a list asks for, and the page that it gets.

use crate::expression::Expression;
use std::{borrow::Cow, cmp::Ordering, str::FromStr, sync::Arc};

/// A list's question.
#[derive(Debug, Clone)]
pub struct Query {
    /// Only devices for which it is true; a device that lacks what the answer depends on does not match.
    pub filter: Option<Arc<Expression>>,
    /// In this order.
    pub order: Order,
    /// At most so many; at least 1.
    pub page_size: usize,
    /// After the device at which the page before ended. A device whose sort key changes between two pages may come twice or not at all; all
    /// others come once.
    pub cursor: Option<Cursor>,
    /// Decides on `online`; microseconds since 1970.
    pub now_us: i64,
}

/// A list's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Device ids, in order.
    pub ids: Vec<String>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Cursor>,
    /// How many devices match, on all pages.
    pub total: usize,
}

/// Column by which a list is sorted; devices with equal values by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderBy {
    /// By id.
    #[default]
    Name,
    /// By the time of the last Inform; never seen first.
    LastInformTime,
    /// By text.
    Manufacturer,
    /// By text.
    ModelName,
    /// As versions compare.
    SoftwareVersion,
    /// By the state's name.
    State,
}

/// A list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// Column.
    pub by: OrderBy,
    /// Last first.
    pub descending: bool,
}

/// An order that does not exist. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot order by {0:?}; there is name, lastInformTime, manufacturer, modelName, softwareVersion, state, each with an optional \" desc\""
)]
pub struct UnknownOrder(String);

impl FromStr for Order {
    type Err = UnknownOrder;

    /// Reads `name`, `lastInformTime desc` and the like; empty is by name.
    fn from_str(text: &str) -> Result<Self, UnknownOrder> {
        let mut words = text.split_whitespace();
        let by = match words.next().unwrap_or("name") {
            "name" => OrderBy::Name,
            "lastInformTime" => OrderBy::LastInformTime,
            "manufacturer" => OrderBy::Manufacturer,
            "modelName" => OrderBy::ModelName,
            "softwareVersion" => OrderBy::SoftwareVersion,
            "state" => OrderBy::State,
            _ => return Err(UnknownOrder(text.to_owned())),
        };
        match (words.next(), words.next()) {
            (None | Some("asc"), None) => Ok(Self {
                by,
                descending: false,
            }),
            (Some("desc"), None) => Ok(Self {
                by,
                descending: true,
            }),
            _ => Err(UnknownOrder(text.to_owned())),
        }
    }
}

impl Order {
    pub(crate) fn compare<A: AsRef<str>, B: AsRef<str>>(
        self,
        left: (&SortKey<A>, &str),
        right: (&SortKey<B>, &str),
    ) -> Ordering {
        let order = match (left.0, right.0) {
            (SortKey::Time(a), SortKey::Time(b)) => a.cmp(b),
            (SortKey::Text(a), SortKey::Text(b)) if self.by == OrderBy::SoftwareVersion => {
                crate::version::compare(a.as_ref(), b.as_ref())
            }
            (SortKey::Text(a), SortKey::Text(b)) => a.as_ref().cmp(b.as_ref()),
            // A cursor of another order: only the id counts.
            _ => Ordering::Equal,
        };
        let order = order.then_with(|| left.1.cmp(right.1));
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

/// Where a page ended: sort key and id of its last device. Valid for the same order only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) key: SortKey<String>,
    pub(crate) id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SortKey<T> {
    None,
    Time(i64),
    Text(T),
}

impl SortKey<Cow<'_, str>> {
    pub(crate) fn owned(self) -> SortKey<String> {
        match self {
            Self::None => SortKey::None,
            Self::Time(time) => SortKey::Time(time),
            Self::Text(text) => SortKey::Text(text.into_owned()),
        }
    }
}

impl SortKey<String> {
    pub(crate) fn borrowed(&self) -> SortKey<Cow<'_, str>> {
        match self {
            Self::None => SortKey::None,
            Self::Time(time) => SortKey::Time(*time),
            Self::Text(text) => SortKey::Text(Cow::Borrowed(text)),
        }
    }
}

/// A text that is no cursor. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page token is not valid here")]
pub struct BadCursor;

impl Cursor {
    /// The cursor as text, to be put (encoded as the API likes) into a page token.
    #[must_use]
    pub fn to_token(&self) -> String {
        // An id holds no slash.
        match &self.key {
            SortKey::None => format!("n{}", self.id),
            SortKey::Time(time) => format!("t{}/{time}", self.id),
            SortKey::Text(text) => format!("s{}/{text}", self.id),
        }
    }

    /// Reads what [`Self::to_token`] wrote.
    ///
    /// # Errors
    ///
    /// [`BadCursor`] for any other text.
    pub fn from_token(token: &str) -> Result<Self, BadCursor> {
        let (kind, rest) = token.split_at_checked(1).ok_or(BadCursor)?;
        let pair = || rest.split_once('/').ok_or(BadCursor);
        let (key, id) = match kind {
            "n" => (SortKey::None, rest),
            "t" => {
                let (id, time) = pair()?;
                (SortKey::Time(time.parse().map_err(|_| BadCursor)?), id)
            }
            "s" => {
                let (id, text) = pair()?;
                (SortKey::Text(text.to_owned()), id)
            }
            _ => return Err(BadCursor),
        };
        Ok(Self {
            key,
            id: id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        for (text, expect) in [
            ("", Some((OrderBy::Name, false))),
            ("name", Some((OrderBy::Name, false))),
            ("lastInformTime desc", Some((OrderBy::LastInformTime, true))),
            (
                "softwareVersion  asc",
                Some((OrderBy::SoftwareVersion, false)),
            ),
            ("serialNumber", None),
            ("name up", None),
            ("name desc desc", None),
        ] {
            assert_eq!(
                text.parse::<Order>()
                    .ok()
                    .map(|order| (order.by, order.descending)),
                expect,
                "{text}"
            );
        }
    }

    #[test]
    fn any_text_is_a_cursor_or_not() {
        for text in ["", "x", "tX1", "tX1/soon", "é"] {
            assert_eq!(Cursor::from_token(text), Err(BadCursor), "{text:?}");
        }
        let cursor = Cursor {
            key: SortKey::Text("1/2 é".into()),
            id: "X1".into(),
        };
        assert_eq!(Cursor::from_token(&cursor.to_token()), Ok(cursor));
    }
}
