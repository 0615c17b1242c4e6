//! The fleet, as lists, filters and profile selectors see it.
//!
//! [`expression`] is the language of filters and selectors, [`device`] joins the rows of a device into the resource that the API shows,
//! [`operation`] tells the end of an operation, and [`Fleet`] holds per tenant, column by column, what lists need.
#![warn(missing_docs)]

mod columns;
pub mod device;
pub mod expression;
mod index;
pub mod operation;
pub mod parameters;
mod query;
pub mod version;

pub use expression::{DeviceView, Expression, ExpressionError, Scope};
pub use index::Fleet;
pub use query::{BadCursor, Cursor, Order, OrderBy, Page, Query, UnknownOrder};
