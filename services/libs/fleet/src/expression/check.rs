//! From CEL's syntax tree to the typed tree: limits, names, types.

use super::{
    ExpressionError, MAX_COMPREHENSIONS, MAX_NODES, MAX_SOURCE, Scope, TextField,
    node::{Arithmetic, Comparison, Node, Quantifier, TextTest},
};
use cel::{
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
    },
    parser::Parser,
};
use platen_proto::device::v1::device::State;
use regex::RegexBuilder;
use std::fmt;

/// Largest compiled size of a regular expression, in bytes.
const MAX_PATTERN: usize = 64 << 10;

/// Deepest nesting of brackets and choices in a source.
const MAX_NESTING: usize = 32;

/// Bytes; what the worst source within the limits needs, several times over.
const PARSER_STACK: usize = 32 << 20;

const METHODS: &str =
    "contains, endsWith, matches, size, startsWith, and the macros all, exists, exists_one, filter";
const FUNCTIONS: &str = "double, has, int, parameter, size, string, timestamp, version";

/// Checks a source; the paths of the parameters that it reads, sorted, come second.
pub(super) fn compile(source: &str, scope: Scope) -> Result<(Node, Vec<String>), ExpressionError> {
    if source.len() > MAX_SOURCE {
        return Err(ExpressionError::TooLong(source.len()));
    }
    if nesting(source) > MAX_NESTING {
        return Err(ExpressionError::TooNested);
    }
    // The parser takes up to 64 KiB of stack per bracket, more than a thread of the runtime has to spare. Untouched pages of this one cost nothing.
    std::thread::scope(|threads| {
        let parsing = std::thread::Builder::new()
            .name("expression".into())
            .stack_size(PARSER_STACK);
        match parsing.spawn_scoped(threads, || parse_and_check(source, scope)) {
            Ok(thread) => thread.join().unwrap_or_else(|_| {
                Err(ExpressionError::Syntax("the parser cannot read it".into()))
            }),
            Err(error) => Err(refused(&format!("no thread to parse it with: {error}"))),
        }
    })
}

fn parse_and_check(source: &str, scope: Scope) -> Result<(Node, Vec<String>), ExpressionError> {
    let tree = Parser::new().parse(source).map_err(|errors| {
        let first = errors.errors.first();
        ExpressionError::Syntax(first.map_or_else(
            || "unreadable".to_owned(),
            |error| {
                let (line, column) = error.pos;
                format!("{} at line {line}, column {column}", error.msg.trim())
            },
        ))
    })?;
    measure(&tree)?;
    let mut checker = Checker {
        scope,
        variables: Vec::new(),
        parameters: Vec::new(),
    };
    let root = checker.expect(&tree, &Type::Bool, "the expression")?;
    checker.parameters.sort();
    checker.parameters.dedup();
    Ok((root, checker.parameters))
}

/// How deep the parser may have to go, at most: it recurses, and its own limit does not save the stack. Brackets in quotes and every `?`
/// count as well, which refuses no expression that people write.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest, mut choices) = (0_usize, 0, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' => choices += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + choices
}

/// Refuses trees that are too large or too deep; by a stack of its own, since the tree's depth is not known yet.
fn measure(tree: &IdedExpr) -> Result<(), ExpressionError> {
    let mut nodes = 0;
    let mut rest = vec![(tree, 0)];
    while let Some((node, depth)) = rest.pop() {
        nodes += 1;
        match &node.expr {
            Expr::Call(call) => rest.extend(
                call.target
                    .as_deref()
                    .into_iter()
                    .chain(&call.args)
                    .map(|node| (node, depth)),
            ),
            Expr::Comprehension(comprehension) => {
                if depth == MAX_COMPREHENSIONS {
                    return Err(ExpressionError::TooDeep);
                }
                rest.push((&comprehension.iter_range, depth));
                rest.push((&comprehension.accu_init, depth));
                rest.push((&comprehension.loop_cond, depth));
                rest.push((&comprehension.loop_step, depth + 1));
                rest.push((&comprehension.result, depth));
            }
            Expr::List(list) => rest.extend(list.elements.iter().map(|node| (node, depth))),
            Expr::Select(select) => rest.push((&select.operand, depth)),
            Expr::Map(map) => rest.extend(
                map.entries
                    .iter()
                    .flat_map(|entry| values(&entry.expr))
                    .map(|node| (node, depth)),
            ),
            Expr::Struct(object) => rest.extend(
                object
                    .entries
                    .iter()
                    .flat_map(|entry| values(&entry.expr))
                    .map(|node| (node, depth)),
            ),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }
    if nodes > MAX_NODES {
        Err(ExpressionError::TooLarge(nodes))
    } else {
        Ok(())
    }
}

fn values(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    Bool,
    Int,
    Double,
    Text,
    Time,
    Version,
    List(Box<Self>),
    /// An empty list literal: fits every list.
    EmptyList,
    /// `device.fields`.
    Fields,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("a boolean"),
            Self::Int => f.write_str("an int"),
            Self::Double => f.write_str("a double"),
            Self::Text => f.write_str("a string"),
            Self::Time => f.write_str("a timestamp"),
            Self::Version => f.write_str("a version"),
            Self::List(element) => write!(f, "a list, each element {element}"),
            Self::EmptyList => f.write_str("an empty list"),
            Self::Fields => f.write_str("a map from string to string"),
        }
    }
}

impl Type {
    fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    /// Type of what a comprehension or `in` sees one by one.
    fn element(&self) -> Option<Self> {
        match self {
            Self::List(element) => Some(element.as_ref().clone()),
            Self::Fields => Some(Self::Text),
            _ => None,
        }
    }

    fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::EmptyList, Self::EmptyList | Self::List(_))
            | (Self::List(_), Self::EmptyList) => true,
            (Self::List(a), Self::List(b)) => a.fits(b),
            _ => self == other,
        }
    }
}

type Typed = (Node, Type);

struct Checker<'e> {
    scope: Scope,
    /// Names and types of the comprehensions around, outermost first.
    variables: Vec<(&'e str, Type)>,
    parameters: Vec<String>,
}

impl<'e> Checker<'e> {
    fn check(&mut self, tree: &'e IdedExpr) -> Result<Typed, ExpressionError> {
        match &tree.expr {
            Expr::Literal(literal) => self::literal(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::List(list) => self.list(&list.elements),
            Expr::Select(select) if select.test => self.presence(&select.operand, &select.field),
            Expr::Select(select) => self.select(&select.operand, &select.field),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(call),
            Expr::Map(_) | Expr::Struct(_) => Err(refused(
                "map and message literals are not part of this language",
            )),
            Expr::Unspecified => Err(ExpressionError::Syntax("something is missing".into())),
        }
    }

    fn expect(
        &mut self,
        tree: &'e IdedExpr,
        expected: &Type,
        who: &str,
    ) -> Result<Node, ExpressionError> {
        let (node, found) = self.check(tree)?;
        if found.fits(expected) {
            Ok(node)
        } else {
            Err(mismatch(format!(
                "{who} must be {expected}, but is {found}"
            )))
        }
    }

    fn variable(&self, name: &str) -> Result<Typed, ExpressionError> {
        if let Some(levels) = self
            .variables
            .iter()
            .rev()
            .position(|(variable, _)| *variable == name)
        {
            let of = &self.variables[self.variables.len() - 1 - levels].1;
            return Ok((Node::Variable(levels), of.clone()));
        }
        if name == "device" {
            return Err(mismatch(
                "device is an object: name one of its fields".into(),
            ));
        }
        let mut exists = vec!["device"];
        exists.extend(self.variables.iter().map(|(variable, _)| *variable));
        Err(unknown(format!("variable {name}"), exists.join(", ")))
    }

    fn is_device(&self, tree: &IdedExpr) -> bool {
        matches!(&tree.expr, Expr::Ident(name) if name == "device")
            && !self
                .variables
                .iter()
                .any(|(variable, _)| *variable == "device")
    }

    fn select(&mut self, operand: &'e IdedExpr, field: &'e str) -> Result<Typed, ExpressionError> {
        if self.is_device(operand) {
            return device_field(field);
        }
        match self.check(operand)? {
            (_, Type::Fields) => Ok((
                Node::CustomField(Box::new(Node::Text(field.into()))),
                Type::Text,
            )),
            (_, other) => Err(mismatch(format!("{other} has no field {field:?}"))),
        }
    }

    /// `has(operand.field)`
    fn presence(
        &mut self,
        operand: &'e IdedExpr,
        field: &'e str,
    ) -> Result<Typed, ExpressionError> {
        if self.is_device(operand) {
            let empty = |node| Node::Compare(Comparison::NotEqual, Box::new(node));
            // As in CEL's reading of proto3: a field is there if it is not empty.
            let node = match device_field(field)? {
                (node, Type::Text) => empty([node, Node::Text("".into())]),
                (node, Type::Time) => empty([node, Node::Time(0)]),
                (node, Type::Bool) => node,
                (node, _) => empty([Node::Size(Box::new(node)), Node::Int(0)]),
            };
            return Ok((node, Type::Bool));
        }
        match self.check(operand)? {
            (_, Type::Fields) => Ok((
                Node::HasField(Box::new(Node::Text(field.into()))),
                Type::Bool,
            )),
            (_, other) => Err(mismatch(format!("{other} has no field {field:?}"))),
        }
    }

    fn list(&mut self, elements: &'e [IdedExpr]) -> Result<Typed, ExpressionError> {
        let mut nodes = Vec::with_capacity(elements.len());
        let mut of: Option<Type> = None;
        for element in elements {
            let (node, found) = self.check(element)?;
            match &of {
                Some(expected) if !found.fits(expected) => {
                    return Err(mismatch(format!(
                        "a list holds values of one type, not {expected} and {found}"
                    )));
                }
                Some(Type::EmptyList) | None => of = Some(found),
                Some(_) => {}
            }
            nodes.push(node);
        }
        match of {
            Some(Type::Fields) => Err(mismatch("device.fields cannot stand in a list".into())),
            Some(of) => Ok((Node::List(nodes), Type::list(of))),
            None => Ok((Node::List(nodes), Type::EmptyList)),
        }
    }

    /// Recognises what the parser makes of `exists`, `all`, `exists_one` and `filter`.
    fn comprehension(
        &mut self,
        comprehension: &'e ComprehensionExpr,
    ) -> Result<Typed, ExpressionError> {
        let (range, range_type) = self.check(&comprehension.iter_range)?;
        let Some(element) = range_type.element() else {
            return Err(mismatch(format!(
                "a macro runs over a list or a map, not over {range_type}"
            )));
        };
        let step = match &comprehension.loop_step.expr {
            Expr::Call(call) => (call.func_name.as_str(), call.args.as_slice()),
            _ => ("", [].as_slice()),
        };
        // `map` collects something else than its variable, `filter` the variable itself.
        let keeps_element = |appended: &IdedExpr| match &appended.expr {
            Expr::Call(call) => {
                matches!(call.args.as_slice(), [_, IdedExpr { expr: Expr::List(list), .. }]
                if matches!(list.elements.as_slice(), [IdedExpr { expr: Expr::Ident(name), .. }] if *name == comprehension.iter_var))
            }
            _ => false,
        };
        let (kind, predicate) = match (&comprehension.accu_init.expr, step) {
            (Expr::Literal(LiteralValue::Boolean(_)), (operators::LOGICAL_OR, [_, predicate])) => {
                (Some(Quantifier::Exists), predicate)
            }
            (Expr::Literal(LiteralValue::Boolean(_)), (operators::LOGICAL_AND, [_, predicate])) => {
                (Some(Quantifier::All), predicate)
            }
            (Expr::Literal(LiteralValue::Int(_)), (operators::CONDITIONAL, [predicate, ..])) => {
                (Some(Quantifier::ExistsOne), predicate)
            }
            (Expr::List(_), (operators::CONDITIONAL, [predicate, appended, _]))
                if keeps_element(appended) =>
            {
                (None, predicate)
            }
            _ => {
                return Err(refused(
                    "map is not part of this language; all, exists, exists_one and filter are",
                ));
            }
        };
        self.variables
            .push((&comprehension.iter_var, element.clone()));
        let predicate = self.expect(predicate, &Type::Bool, "the condition of a macro");
        self.variables.pop();
        let (range, predicate) = (Box::new(range), Box::new(predicate?));
        Ok(match kind {
            Some(quantifier) => (
                Node::Quantify {
                    quantifier,
                    range,
                    predicate,
                },
                Type::Bool,
            ),
            None => (Node::Filter { range, predicate }, Type::list(element)),
        })
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<Typed, ExpressionError> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            return self.method(target, name, &call.args);
        }
        match (name, call.args.as_slice()) {
            (operators::LOGICAL_AND, [left, right]) => {
                self.logical(operators::LOGICAL_AND, left, right)
            }
            (operators::LOGICAL_OR, [left, right]) => {
                self.logical(operators::LOGICAL_OR, left, right)
            }
            (operators::LOGICAL_NOT, [operand]) => Ok((
                Node::Not(Box::new(self.expect(
                    operand,
                    &Type::Bool,
                    "what ! negates",
                )?)),
                Type::Bool,
            )),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let condition = self.expect(condition, &Type::Bool, "the condition before ?")?;
                let (then, then_type) = self.check(then)?;
                let (otherwise, otherwise_type) = self.check(otherwise)?;
                if !then_type.fits(&otherwise_type) || then_type == Type::Fields {
                    return Err(mismatch(format!(
                        "both sides of : must have one type, not {then_type} and {otherwise_type}"
                    )));
                }
                let of = if then_type == Type::EmptyList {
                    otherwise_type
                } else {
                    then_type
                };
                Ok((Node::If(Box::new([condition, then, otherwise])), of))
            }
            (operators::EQUALS, [left, right]) => self.compare(Comparison::Equal, left, right),
            (operators::NOT_EQUALS, [left, right]) => {
                self.compare(Comparison::NotEqual, left, right)
            }
            (operators::LESS, [left, right]) => self.compare(Comparison::Less, left, right),
            (operators::LESS_EQUALS, [left, right]) => {
                self.compare(Comparison::LessOrEqual, left, right)
            }
            (operators::GREATER, [left, right]) => self.compare(Comparison::Greater, left, right),
            (operators::GREATER_EQUALS, [left, right]) => {
                self.compare(Comparison::GreaterOrEqual, left, right)
            }
            (operators::IN, [element, list]) => self.membership(element, list),
            (operators::INDEX, [list, index]) => self.index(list, index),
            (operators::ADD, [left, right]) => self.arithmetic(Arithmetic::Add, left, right),
            (operators::SUBSTRACT, [left, right]) => {
                self.arithmetic(Arithmetic::Subtract, left, right)
            }
            (operators::MULTIPLY, [left, right]) => {
                self.arithmetic(Arithmetic::Multiply, left, right)
            }
            (operators::DIVIDE, [left, right]) => self.arithmetic(Arithmetic::Divide, left, right),
            (operators::MODULO, [left, right]) => {
                self.arithmetic(Arithmetic::Remainder, left, right)
            }
            (operators::NEGATE, [operand]) => match self.check(operand)? {
                (node, of @ (Type::Int | Type::Double)) => Ok((Node::Negate(Box::new(node)), of)),
                (_, other) => Err(mismatch(format!("- negates a number, not {other}"))),
            },
            ("size", [operand]) => self.size(operand),
            ("version", [text]) => Ok((
                Node::ToVersion(Box::new(self.expect(
                    text,
                    &Type::Text,
                    "what version() takes",
                )?)),
                Type::Version,
            )),
            ("timestamp", [text]) => timestamp(text),
            ("parameter", [path]) => self.parameter(path),
            ("string", [operand]) => match self.check(operand)? {
                (node, Type::Text | Type::Int | Type::Double | Type::Bool) => {
                    Ok((Node::ToText(Box::new(node)), Type::Text))
                }
                (_, other) => Err(mismatch(format!(
                    "string() takes a string, a number or a boolean, not {other}"
                ))),
            },
            ("int", [operand]) => Ok((
                Node::ToInt(Box::new(self.number_or_text("int", operand)?)),
                Type::Int,
            )),
            ("double", [operand]) => Ok((
                Node::ToDouble(Box::new(self.number_or_text("double", operand)?)),
                Type::Double,
            )),
            (
                "double" | "int" | "parameter" | "size" | "string" | "timestamp" | "version",
                arguments,
            ) => Err(mismatch(format!(
                "{name}() takes one argument, not {}",
                arguments.len()
            ))),
            _ => Err(unknown(format!("function {name}"), FUNCTIONS.into())),
        }
    }

    fn method(
        &mut self,
        target: &'e IdedExpr,
        name: &str,
        arguments: &'e [IdedExpr],
    ) -> Result<Typed, ExpressionError> {
        let test = match (name, arguments) {
            ("startsWith", [_]) => TextTest::StartsWith,
            ("endsWith", [_]) => TextTest::EndsWith,
            ("contains", [_]) => TextTest::Contains,
            ("matches", [pattern]) => {
                let text = self.expect(target, &Type::Text, "what matches() looks at")?;
                return Ok((
                    Node::Matches(Box::new(text), self::pattern(pattern)?),
                    Type::Bool,
                ));
            }
            ("size", []) => return self.size(target),
            _ => {
                return Err(unknown(
                    format!("method {name}() with {} arguments", arguments.len()),
                    METHODS.into(),
                ));
            }
        };
        let text = self.expect(target, &Type::Text, &format!("what {name}() looks at"))?;
        let part = self.expect(
            &arguments[0],
            &Type::Text,
            &format!("the argument of {name}()"),
        )?;
        Ok((Node::Test(test, Box::new([text, part])), Type::Bool))
    }

    /// Chains of one operator become one node, so that evaluation is no deeper than the expression looks.
    fn logical(
        &mut self,
        operator: &'static str,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let mut nodes = Vec::new();
        let mut rest = vec![right, left];
        while let Some(operand) = rest.pop() {
            match &operand.expr {
                Expr::Call(call) if call.func_name == operator && call.target.is_none() => {
                    rest.extend(call.args.iter().rev())
                }
                _ => nodes.push(self.expect(
                    operand,
                    &Type::Bool,
                    &format!("each side of {}", operator.trim_matches('_')),
                )?),
            }
        }
        Ok((
            if operator == operators::LOGICAL_AND {
                Node::And(nodes)
            } else {
                Node::Or(nodes)
            },
            Type::Bool,
        ))
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let sides = match (&left_type, &right_type) {
            (Type::Int, Type::Double) => [Node::ToDouble(Box::new(left)), right],
            (Type::Double, Type::Int) => [left, Node::ToDouble(Box::new(right))],
            (Type::Time, Type::Text) | (Type::Text, Type::Time) => {
                return Err(mismatch(
                    "a timestamp is compared with a timestamp: timestamp(\"2026-01-31T00:00:00Z\")"
                        .into(),
                ));
            }
            (Type::Version, Type::Text) | (Type::Text, Type::Version) => {
                return Err(mismatch(
                    "a version is compared with a version: version(\"1.10\")".into(),
                ));
            }
            (Type::Fields, _) => {
                return Err(mismatch(
                    "device.fields cannot be compared; its values can".into(),
                ));
            }
            (Type::List(_) | Type::EmptyList, _) if ordered => {
                return Err(mismatch("lists have no order".into()));
            }
            (a, b) if a.fits(b) => [left, right],
            (a, b) => return Err(mismatch(format!("{a} cannot be compared with {b}"))),
        };
        if let [Node::Field(TextField::State), Node::Text(state)]
        | [Node::Text(state), Node::Field(TextField::State)] = &sides
        {
            known_state(state)?;
        }
        Ok((Node::Compare(comparison, Box::new(sides)), Type::Bool))
    }

    fn membership(
        &mut self,
        element: &'e IdedExpr,
        list: &'e IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (element, element_type) = self.check(element)?;
        let (list, list_type) = self.check(list)?;
        if !(list_type == Type::EmptyList
            || list_type.element().is_some_and(|of| of.fits(&element_type)))
        {
            return Err(mismatch(format!("{element_type} cannot be in {list_type}")));
        }
        let node = match (element, list) {
            (element, Node::FieldKeys) => Node::HasField(Box::new(element)),
            (element, Node::Tags) => Node::HasTag(Box::new(element)),
            (element, Node::List(nodes))
                if element_type == Type::Text
                    && nodes.iter().all(|node| matches!(node, Node::Text(_))) =>
            {
                let texts = nodes.into_iter().filter_map(|node| {
                    if let Node::Text(text) = node {
                        Some(text)
                    } else {
                        None
                    }
                });
                let texts: std::collections::HashSet<_> = texts.collect();
                if matches!(element, Node::Field(TextField::State)) {
                    texts.iter().try_for_each(|state| known_state(state))?;
                }
                Node::InTexts(Box::new(element), texts)
            }
            (element, list) => Node::In(Box::new([element, list])),
        };
        Ok((node, Type::Bool))
    }

    fn index(&mut self, list: &'e IdedExpr, index: &'e IdedExpr) -> Result<Typed, ExpressionError> {
        match self.check(list)? {
            (_, Type::Fields) => {
                let key = self.expect(index, &Type::Text, "the key of device.fields")?;
                Ok((Node::CustomField(Box::new(key)), Type::Text))
            }
            (node, Type::List(of)) => {
                let index = self.expect(index, &Type::Int, "the number of an element")?;
                Ok((Node::Index(Box::new([node, index])), *of))
            }
            (_, other) => Err(mismatch(format!("{other} has no elements"))),
        }
    }

    fn arithmetic(
        &mut self,
        operation: Arithmetic,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let sides = Box::new([left, right]);
        match (operation, &left_type, &right_type) {
            (Arithmetic::Add, Type::Text, Type::Text) => Ok((Node::Concat(sides), Type::Text)),
            (_, Type::Int, Type::Int) => Ok((Node::Arithmetic(operation, sides), Type::Int)),
            (
                Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply | Arithmetic::Divide,
                Type::Double,
                Type::Double,
            ) => Ok((Node::Arithmetic(operation, sides), Type::Double)),
            _ => Err(mismatch(format!(
                "no such operation on {left_type} and {right_type}"
            ))),
        }
    }

    fn size(&mut self, operand: &'e IdedExpr) -> Result<Typed, ExpressionError> {
        match self.check(operand)? {
            (node, Type::Text | Type::List(_) | Type::EmptyList | Type::Fields) => {
                Ok((Node::Size(Box::new(node)), Type::Int))
            }
            (_, other) => Err(mismatch(format!(
                "size() takes a string, a list or a map, not {other}"
            ))),
        }
    }

    fn number_or_text(
        &mut self,
        function: &str,
        operand: &'e IdedExpr,
    ) -> Result<Node, ExpressionError> {
        match self.check(operand)? {
            (node, Type::Text | Type::Int | Type::Double) => Ok(node),
            (_, other) => Err(mismatch(format!(
                "{function}() takes a string or a number, not {other}"
            ))),
        }
    }

    fn parameter(&mut self, path: &IdedExpr) -> Result<Typed, ExpressionError> {
        let Some(path) = literal_text(path) else {
            return Err(mismatch("parameter() takes the path in quotes".into()));
        };
        if self.scope == Scope::Fleet {
            return Err(refused(&format!(
                "path not indexed: parameter({path:?}) can be asked in a profile's selector, not in a filter of lists"
            )));
        }
        self.parameters.push(path.to_owned());
        Ok((Node::Parameter(path.into()), Type::Text))
    }
}

fn literal(literal: &LiteralValue) -> Result<Typed, ExpressionError> {
    match literal {
        LiteralValue::Boolean(value) => Ok((Node::Bool(*value.inner()), Type::Bool)),
        LiteralValue::Int(value) => Ok((Node::Int(*value.inner()), Type::Int)),
        LiteralValue::Double(value) => Ok((Node::Double(*value.inner()), Type::Double)),
        LiteralValue::String(value) => Ok((Node::Text(value.inner().into()), Type::Text)),
        LiteralValue::UInt(value) => Err(refused(&format!(
            "numbers are signed here: write {} instead of {}u",
            value.inner(),
            value.inner()
        ))),
        LiteralValue::Bytes(_) => Err(refused("bytes are not part of this language")),
        LiteralValue::Null => Err(refused(
            "null is not part of this language: text that is not there is empty, and has() tells of fields",
        )),
    }
}

fn device_field(name: &str) -> Result<Typed, ExpressionError> {
    if let Some(field) = TextField::ALL
        .into_iter()
        .find(|field| field.name() == name)
    {
        return Ok((Node::Field(field), Type::Text));
    }
    match name {
        "online" => Ok((Node::Online, Type::Bool)),
        "mayProxy" => Ok((Node::MayProxy, Type::Bool)),
        "lastInformTime" => Ok((Node::LastInform, Type::Time)),
        "tags" => Ok((Node::Tags, Type::list(Type::Text))),
        "fields" => Ok((Node::FieldKeys, Type::Fields)),
        _ => {
            let mut exists: Vec<_> = TextField::ALL.iter().map(|field| field.name()).collect();
            exists.extend(["fields", "lastInformTime", "mayProxy", "online", "tags"]);
            Err(unknown(format!("field device.{name}"), exists.join(", ")))
        }
    }
}

fn known_state(state: &str) -> Result<(), ExpressionError> {
    if State::from_str_name(state).is_some_and(|state| state != State::Unspecified) {
        Ok(())
    } else {
        Err(unknown(
            format!("state {state:?}"),
            "EXPECTED, ACTIVE, QUARANTINED, RETIRED".into(),
        ))
    }
}

fn timestamp(text: &IdedExpr) -> Result<Typed, ExpressionError> {
    let Some(text) = literal_text(text) else {
        return Err(mismatch("timestamp() takes a time in quotes".into()));
    };
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        mismatch(format!(
            "{text:?} is not a time as in timestamp(\"2026-01-31T00:00:00Z\")"
        ))
    })?;
    Ok((Node::Time(time.as_microsecond()), Type::Time))
}

fn pattern(pattern: &IdedExpr) -> Result<regex::Regex, ExpressionError> {
    let Some(pattern) = literal_text(pattern) else {
        return Err(mismatch(
            "matches() takes a regular expression in quotes".into(),
        ));
    };
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN)
        .build()
        .map_err(|error| mismatch(format!("not a regular expression: {error}")))
}

fn literal_text(tree: &IdedExpr) -> Option<&str> {
    match &tree.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

const fn mismatch(text: String) -> ExpressionError {
    ExpressionError::Type(text)
}

fn refused(text: &str) -> ExpressionError {
    ExpressionError::Refused(text.to_owned())
}

const fn unknown(what: String, exists: String) -> ExpressionError {
    ExpressionError::Unknown { what, exists }
}
