//! The typed tree of an expression, and its evaluation.

use super::{DeviceView, EvalError, TextField};
use crate::version;
use regex::Regex;
use std::{borrow::Cow, cmp::Ordering, collections::HashSet};

/// A value; the checker knows the type of every node, so values of unlike types never meet.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    /// Microseconds since 1970.
    Time(i64),
    Version(Cow<'a, str>),
    List(Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    Exists,
    All,
    ExistsOne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug)]
pub(super) enum Node {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Time(i64),
    List(Vec<Self>),

    Field(TextField),
    Online,
    MayProxy,
    LastInform,
    Tags,
    FieldKeys,
    /// `device.fields[key]`
    CustomField(Box<Self>),
    Parameter(Box<str>),
    /// The variable of the comprehension so many levels out.
    Variable(usize),

    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    If(Box<[Self; 3]>),
    Compare(Comparison, Box<[Self; 2]>),
    /// `text in [literals]`
    InTexts(Box<Self>, HashSet<Box<str>>),
    /// `text in device.tags`
    HasTag(Box<Self>),
    /// `text in device.fields`
    HasField(Box<Self>),
    In(Box<[Self; 2]>),
    Index(Box<[Self; 2]>),
    Quantify {
        quantifier: Quantifier,
        range: Box<Self>,
        predicate: Box<Self>,
    },
    Filter {
        range: Box<Self>,
        predicate: Box<Self>,
    },

    Arithmetic(Arithmetic, Box<[Self; 2]>),
    Negate(Box<Self>),
    Concat(Box<[Self; 2]>),
    Test(TextTest, Box<[Self; 2]>),
    Matches(Box<Self>, Regex),
    Size(Box<Self>),
    ToInt(Box<Self>),
    ToDouble(Box<Self>),
    ToText(Box<Self>),
    ToVersion(Box<Self>),
}

/// The variables of the comprehensions around a node, innermost first.
pub(super) struct Frame<'f, 'a> {
    value: Value<'a>,
    outer: Option<&'f Self>,
}

impl Node {
    /// The node's value for a device.
    pub(super) fn eval<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<Value<'a>, EvalError> {
        Ok(match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(value) => Value::Text(Cow::Borrowed(value)),
            Self::Time(value) => Value::Time(*value),
            Self::List(nodes) => Value::List(
                nodes
                    .iter()
                    .map(|node| node.eval(device, frame))
                    .collect::<Result<_, _>>()?,
            ),

            Self::Field(field) => Value::Text(device.text(*field)),
            Self::Online => Value::Bool(device.online()),
            Self::MayProxy => Value::Bool(device.may_proxy()),
            Self::LastInform => Value::Time(device.last_inform_us()),
            Self::Tags => Value::List(
                (0..)
                    .map_while(|index| device.tag(index))
                    .map(borrowed)
                    .collect(),
            ),
            Self::FieldKeys => Value::List(
                (0..)
                    .map_while(|index| device.field_key(index))
                    .map(borrowed)
                    .collect(),
            ),
            Self::CustomField(key) => {
                let key = key.text(device, frame)?;
                device
                    .field(&key)
                    .map(borrowed)
                    .ok_or_else(|| EvalError::NoField(key.into_owned()))?
            }
            Self::Parameter(path) => device
                .parameter(path)
                .map(Value::Text)
                .ok_or_else(|| EvalError::NoParameter(path.as_ref().to_owned()))?,
            Self::Variable(levels) => {
                let mut frame = frame;
                for _ in 0..*levels {
                    frame = frame.and_then(|frame| frame.outer);
                }
                frame
                    .expect("invariant: the checker counted the levels")
                    .value
                    .clone()
            }

            Self::And(nodes) => Value::Bool(decide(
                nodes.iter().map(|node| node.bool(device, frame)),
                false,
            )?),
            Self::Or(nodes) => Value::Bool(decide(
                nodes.iter().map(|node| node.bool(device, frame)),
                true,
            )?),
            Self::Not(node) => Value::Bool(!node.bool(device, frame)?),
            Self::If(branches) => {
                let [condition, then, otherwise] = branches.as_ref();
                if condition.bool(device, frame)? {
                    then
                } else {
                    otherwise
                }
                .eval(device, frame)?
            }
            Self::Compare(comparison, sides) => {
                let [left, right] = sides.as_ref();
                Value::Bool(
                    comparison.holds(&left.eval(device, frame)?, &right.eval(device, frame)?),
                )
            }
            Self::InTexts(text, texts) => {
                Value::Bool(texts.contains(text.text(device, frame)?.as_ref()))
            }
            Self::HasTag(text) => {
                let text = text.text(device, frame)?;
                Value::Bool(
                    (0..)
                        .map_while(|index| device.tag(index))
                        .any(|tag| tag == text),
                )
            }
            Self::HasField(key) => Value::Bool(device.field(&key.text(device, frame)?).is_some()),
            Self::In(sides) => {
                let [element, list] = sides.as_ref();
                let element = element.eval(device, frame)?;
                Value::Bool(
                    list.list(device, frame)?
                        .iter()
                        .any(|other| equal(&element, other)),
                )
            }
            Self::Index(sides) => {
                let [list, index] = sides.as_ref();
                let mut list = list.list(device, frame)?;
                let index = index.int(device, frame)?;
                match usize::try_from(index) {
                    Ok(at) if at < list.len() => list.swap_remove(at),
                    _ => return Err(EvalError::NoElement(index)),
                }
            }
            Self::Quantify {
                quantifier,
                range,
                predicate,
            } => {
                let range = range.elements(device, frame)?;
                let answers = range.map(|value| {
                    predicate.bool(
                        device,
                        Some(&Frame {
                            value,
                            outer: frame,
                        }),
                    )
                });
                Value::Bool(match quantifier {
                    Quantifier::Exists => decide(answers, true)?,
                    Quantifier::All => decide(answers, false)?,
                    Quantifier::ExistsOne => {
                        let mut found = 0;
                        for answer in answers {
                            found += usize::from(answer?);
                        }
                        found == 1
                    }
                })
            }
            Self::Filter { range, predicate } => {
                let mut kept = Vec::new();
                for value in range.elements(device, frame)? {
                    let inner = Frame {
                        value,
                        outer: frame,
                    };
                    if predicate.bool(device, Some(&inner))? {
                        kept.push(inner.value);
                    }
                }
                Value::List(kept)
            }

            Self::Arithmetic(operation, sides) => {
                let [left, right] = sides.as_ref();
                operation.apply(&left.eval(device, frame)?, &right.eval(device, frame)?)?
            }
            Self::Negate(node) => match node.eval(device, frame)? {
                Value::Int(value) => Value::Int(value.checked_neg().ok_or(EvalError::Range)?),
                Value::Double(value) => Value::Double(-value),
                other => unlike(&other),
            },
            Self::Concat(sides) => {
                let [left, right] = sides.as_ref();
                let mut text = left.text(device, frame)?.into_owned();
                text.push_str(&right.text(device, frame)?);
                Value::Text(text.into())
            }
            Self::Test(test, sides) => {
                let [text, part] = sides.as_ref();
                let (text, part) = (text.text(device, frame)?, part.text(device, frame)?);
                Value::Bool(match test {
                    TextTest::StartsWith => text.starts_with(part.as_ref()),
                    TextTest::EndsWith => text.ends_with(part.as_ref()),
                    TextTest::Contains => text.contains(part.as_ref()),
                })
            }
            Self::Matches(text, pattern) => {
                Value::Bool(pattern.is_match(&text.text(device, frame)?))
            }
            Self::Size(node) => {
                if let Self::Tags | Self::FieldKeys = **node {
                    let size = node.elements(device, frame)?.count();
                    return Ok(Value::Int(
                        i64::try_from(size).map_err(|_| EvalError::Range)?,
                    ));
                }
                let size = match node.eval(device, frame)? {
                    Value::Text(text) => text.chars().count(),
                    Value::List(list) => list.len(),
                    other => return Ok(unlike(&other)),
                };
                Value::Int(i64::try_from(size).map_err(|_| EvalError::Range)?)
            }
            Self::ToInt(node) => Value::Int(match node.eval(device, frame)? {
                Value::Int(value) => value,
                // The bounds are exact: the largest double below 2^63 is an integer.
                Value::Double(value)
                    if value > -9_223_372_036_854_775_808.0
                        && value < 9_223_372_036_854_775_808.0 =>
                {
                    value as i64
                }
                Value::Double(_) => return Err(EvalError::Range),
                Value::Text(text) => text
                    .parse()
                    .map_err(|_| EvalError::NotANumber(text.into_owned()))?,
                other => return Ok(unlike(&other)),
            }),
            Self::ToDouble(node) => Value::Double(match node.eval(device, frame)? {
                Value::Int(value) => value as f64,
                Value::Double(value) => value,
                Value::Text(text) => text
                    .parse()
                    .map_err(|_| EvalError::NotANumber(text.into_owned()))?,
                other => return Ok(unlike(&other)),
            }),
            Self::ToText(node) => Value::Text(match node.eval(device, frame)? {
                Value::Text(text) => text,
                Value::Int(value) => value.to_string().into(),
                Value::Double(value) => value.to_string().into(),
                Value::Bool(value) => value.to_string().into(),
                other => return Ok(unlike(&other)),
            }),
            Self::ToVersion(node) => Value::Version(node.text(device, frame)?),
        })
    }

    fn elements<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<Elements<'a>, EvalError> {
        Ok(match self {
            Self::Tags => Elements::Tags(device, 0..),
            Self::FieldKeys => Elements::FieldKeys(device, 0..),
            other => Elements::Listed(other.list(device, frame)?.into_iter()),
        })
    }

    fn bool<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<bool, EvalError> {
        match self.eval(device, frame)? {
            Value::Bool(value) => Ok(value),
            other => unlike(&other),
        }
    }

    fn int<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<i64, EvalError> {
        match self.eval(device, frame)? {
            Value::Int(value) => Ok(value),
            other => unlike(&other),
        }
    }

    fn text<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<Cow<'a, str>, EvalError> {
        match self.eval(device, frame)? {
            Value::Text(value) => Ok(value),
            other => unlike(&other),
        }
    }

    fn list<'a>(
        &'a self,
        device: &'a dyn DeviceView,
        frame: Option<&Frame<'_, 'a>>,
    ) -> Result<Vec<Value<'a>>, EvalError> {
        match self.eval(device, frame)? {
            Value::List(value) => Ok(value),
            other => unlike(&other),
        }
    }
}

/// The elements that a macro runs over; those of a device are not collected first.
enum Elements<'a> {
    Listed(std::vec::IntoIter<Value<'a>>),
    Tags(&'a dyn DeviceView, std::ops::RangeFrom<usize>),
    FieldKeys(&'a dyn DeviceView, std::ops::RangeFrom<usize>),
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Self::Listed(values) => values.next(),
            Self::Tags(device, index) => device.tag(index.next()?).map(borrowed),
            Self::FieldKeys(device, index) => device.field_key(index.next()?).map(borrowed),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> bool {
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::Less => compare(left, right) == Some(Ordering::Less),
            Self::LessOrEqual => {
                matches!(compare(left, right), Some(Ordering::Less | Ordering::Equal))
            }
            Self::Greater => compare(left, right) == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(
                compare(left, right),
                Some(Ordering::Greater | Ordering::Equal)
            ),
        }
    }
}

impl Arithmetic {
    fn apply<'a>(self, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, EvalError> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => match self {
                Self::Add => left.checked_add(*right),
                Self::Subtract => left.checked_sub(*right),
                Self::Multiply => left.checked_mul(*right),
                Self::Divide => left.checked_div(*right),
                Self::Remainder => left.checked_rem(*right),
            }
            .map(Value::Int)
            .ok_or(EvalError::Range),
            (Value::Double(left), Value::Double(right)) => Ok(Value::Double(match self {
                Self::Add => left + right,
                Self::Subtract => left - right,
                Self::Multiply => left * right,
                Self::Divide => left / right,
                Self::Remainder => left % right,
            })),
            (other, _) => unlike(other),
        }
    }
}

/// `deciding` if any answer is; else the first error; else its opposite. An error decides nothing, but only what comes out depends on it.
fn decide(
    answers: impl Iterator<Item = Result<bool, EvalError>>,
    deciding: bool,
) -> Result<bool, EvalError> {
    let mut failed = None;
    for answer in answers {
        match answer {
            Ok(answer) if answer == deciding => return Ok(deciding),
            Ok(_) => {}
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(!deciding), Err)
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        _ => compare(left, right) == Some(Ordering::Equal),
    }
}

/// `None`: one of them is not a number.
fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) | (Value::Time(left), Value::Time(right)) => {
            Some(left.cmp(right))
        }
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Version(left), Value::Version(right)) => Some(version::compare(left, right)),
        (other, _) => unlike(other),
    }
}

fn borrowed(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn unlike<T>(value: &Value<'_>) -> T {
    unreachable!("invariant: the checker has typed every node, so {value:?} cannot stand here")
}
