//! The one expression language: filters of lists, selectors of profiles.
//!
//! The syntax and meaning are those of CEL; the `cel` crate parses. An expression is then checked and typed against what a device has,
//! and evaluated by a tree of our own: the crate's interpreter knows no bound on cost, and a filter runs over every device of a
//! tenant. Results equal the interpreter's; a property test holds them to it.
//!
//! `docs/fleet.md` lists variables, functions and limits.

mod check;
mod node;
mod view;

pub use view::{DeviceView, ResourceView, TextField};

use node::{Node, Value};
use std::fmt;

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4_096;
/// Most nodes of the syntax tree, macros expanded.
pub const MAX_NODES: usize = 500;
/// Deepest nesting of `exists`, `all`, `exists_one` and `filter`.
pub const MAX_COMPREHENSIONS: usize = 2;

/// Where an expression is used, which says what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A filter over the fleet index: the columns of the index only.
    Fleet,
    /// A selector that sees one device whole, with its parameters.
    Profile,
}

/// Why an expression is refused. The caller's fault; the text says what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is longer than [`MAX_SOURCE`].
    #[error("the expression has {0} bytes, more than {MAX_SOURCE}")]
    TooLong(usize),
    /// It has more than [`MAX_NODES`] nodes.
    #[error("the expression has {0} parts, more than {MAX_NODES}")]
    TooLarge(usize),
    /// Brackets and choices are nested deeper than the parser can go.
    #[error("the expression has too many brackets in brackets, or choices (a ? b : c)")]
    TooNested,
    /// Comprehensions are nested deeper than [`MAX_COMPREHENSIONS`].
    #[error("exists, all, exists_one and filter may be nested {MAX_COMPREHENSIONS} deep")]
    TooDeep,
    /// It is not CEL.
    #[error("not an expression: {0}")]
    Syntax(String),
    /// It names something that does not exist.
    #[error("there is no {what}; there is {exists}")]
    Unknown {
        /// What was named.
        what: String,
        /// What could have been named.
        exists: String,
    },
    /// It combines things that do not go together.
    #[error("{0}")]
    Type(String),
    /// It asks for what this scope does not have.
    #[error("{0}")]
    Refused(String),
}

/// Why a device gives no answer; a filter counts it as no match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The device has no such custom field.
    #[error("the device has no field {0:?}")]
    NoField(String),
    /// The value of the parameter is not known.
    #[error("the device has no known parameter {0:?}")]
    NoParameter(String),
    /// A text is not a number.
    #[error("{0:?} is not a number")]
    NotANumber(String),
    /// A number does not fit, or was divided by zero.
    #[error("the number is out of range")]
    Range,
    /// There is no such element.
    #[error("there is no element {0}")]
    NoElement(i64),
}

/// A checked expression over a device that is true or false.
pub struct Expression {
    source: String,
    root: Node,
    parameters: Vec<String>,
}

impl Expression {
    /// Checks an expression.
    ///
    /// # Errors
    ///
    /// [`ExpressionError`]: it is not CEL, exceeds a limit, names what does not exist, combines types that do not go together, is not a
    /// boolean, or asks for what the scope does not have.
    pub fn compile(source: &str, scope: Scope) -> Result<Self, ExpressionError> {
        let (root, parameters) = check::compile(source, scope)?;
        Ok(Self {
            source: source.to_owned(),
            root,
            parameters,
        })
    }

    /// Whether the expression is true for a device.
    ///
    /// `a || b` is true if either is, even where the other is an error; likewise `a && b` is false if either is.
    ///
    /// # Errors
    ///
    /// [`EvalError`]: the device lacks what the answer depends on.
    pub fn eval(&self, device: &dyn DeviceView) -> Result<bool, EvalError> {
        match self.root.eval(device, None)? {
            Value::Bool(answer) => Ok(answer),
            other => unreachable!(
                "invariant: the checker admits boolean expressions only, not {other:?}"
            ),
        }
    }

    /// The paths of all parameters that the expression reads, without duplicates.
    #[must_use]
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests;
