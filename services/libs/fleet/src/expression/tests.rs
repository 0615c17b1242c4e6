use super::*;
use platen_proto::device::v1::{Device, device::State};
use proptest::prelude::*;
use std::collections::HashMap;

fn printer() -> Device {
    Device {
        name: "tenants/default/devices/00D09E-LaserPro%2D9-SN1".into(),
        oui: "00D09E".into(),
        product_class: "LaserPro-9".into(),
        serial_number: "SN1".into(),
        state: State::Active.into(),
        manufacturer: "HP".into(),
        model_name: "LaserPro 9".into(),
        software_version: "1.10".into(),
        tags: vec!["floor-3".into(), "pilot".into()],
        fields: [
            ("assetNumber".to_owned(), "A-17".to_owned()),
            ("copies".to_owned(), "12".to_owned()),
        ]
        .into(),
        last_inform_time: crate::device::timestamp(1_795_420_800_000_000),
        online: true,
        ..Device::default()
    }
}

fn eval(source: &str, device: &Device) -> Result<bool, EvalError> {
    let paper = |path: &str| (path == "Device.DeviceInfo.UpTime").then_some("120");
    Expression::compile(source, Scope::Profile)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .eval(&ResourceView::new(device, &paper))
}

#[test]
fn expressions_are_true_or_false() {
    for (source, expect) in [
        (
            r#"device.manufacturer == "HP" && device.state == "ACTIVE""#,
            true,
        ),
        ("'floor-3' in device.tags", true),
        ("'floor-4' in device.tags", false),
        (r#"version(device.softwareVersion) < version("2.0")"#, true),
        (r#"version(device.softwareVersion) > version("1.9")"#, true),
        (r#"device.softwareVersion > "1.9""#, false),
        (
            "device.id == '00D09E-LaserPro%2D9-SN1' && device.name.endsWith(device.id)",
            true,
        ),
        ("device.state in ['ACTIVE', 'EXPECTED']", true),
        (
            "device.fields.assetNumber == 'A-17' && device.fields['assetNumber'].startsWith('A')",
            true,
        ),
        (
            "has(device.fields.assetNumber) && !has(device.fields.room) && 'copies' in device.fields",
            true,
        ),
        (
            "int(device.fields.copies) + 8 == 20 && double(device.fields.copies) / 5.0 > 2",
            true,
        ),
        ("has(device.account) || !has(device.tags)", false),
        ("device.tags.exists(t, t.startsWith('floor-'))", true),
        (
            "device.tags.all(t, size(t) > 4 && t.matches('^[a-z]'))",
            true,
        ),
        ("device.tags.exists_one(t, t.contains('pilot'))", true),
        ("size(device.tags.filter(t, t != 'pilot')) == 1", true),
        (
            "device.fields.exists(key, device.fields[key] == '12')",
            true,
        ),
        ("device.tags.exists(t, ['pilot'].exists(p, p == t))", true),
        (
            "device.tags == ['floor-3', 'pilot'] && device.tags[1] == 'pilot' && device.tags != []",
            true,
        ),
        (
            "device.lastInformTime > timestamp('2026-11-01T00:00:00Z') && device.lastInformTime < timestamp('2027-01-01T00:00:00Z')",
            true,
        ),
        ("device.online && !device.mayProxy", true),
        (
            "device.online ? device.oui == '00D09E' : device.oui == ''",
            true,
        ),
        ("int(parameter('Device.DeviceInfo.UpTime')) >= 120", true),
        ("true", true),
    ] {
        assert_eq!(eval(source, &printer()), Ok(expect), "{source}");
    }
}

#[test]
fn what_the_device_lacks_is_an_error_unless_the_answer_does_not_depend_on_it() {
    for (source, expect) in [
        (
            "device.fields.room == '1'",
            Err(EvalError::NoField("room".into())),
        ),
        (
            "!(device.fields.room == '1')",
            Err(EvalError::NoField("room".into())),
        ),
        ("device.fields.room == '1' || device.online", Ok(true)),
        ("device.fields.room == '1' && !device.online", Ok(false)),
        (
            "parameter('Device.X') == '1'",
            Err(EvalError::NoParameter("Device.X".into())),
        ),
        (
            "int(device.oui) == 1",
            Err(EvalError::NotANumber("00D09E".into())),
        ),
        ("9223372036854775807 + 1 == 0", Err(EvalError::Range)),
        ("1 / 0 == 1", Err(EvalError::Range)),
        ("device.tags[2] == ''", Err(EvalError::NoElement(2))),
        (
            "device.tags.exists(t, t == device.fields.room || t == 'pilot')",
            Ok(true),
        ),
    ] {
        assert_eq!(eval(source, &printer()), expect, "{source}");
    }
}

#[test]
fn mistakes_are_named() {
    for (source, expect) in [
        (
            "device.maker == 'HP'",
            "there is no field device.maker; there is id, name, oui, productClass",
        ),
        (
            "printer.oui == ''",
            "there is no variable printer; there is device",
        ),
        (
            "device.manufacturer == 5",
            "a string cannot be compared with an int",
        ),
        (
            "device.state == 'ACTVE'",
            "there is no state \"ACTVE\"; there is EXPECTED, ACTIVE, QUARANTINED, RETIRED",
        ),
        (
            "device.state in ['RETIRED', 'GONE']",
            "there is no state \"GONE\"",
        ),
        (
            "device.softwareVersion",
            "the expression must be a boolean, but is a string",
        ),
        ("device", "name one of its fields"),
        (
            "version(device.softwareVersion) < '2.0'",
            "a version is compared with a version",
        ),
        ("device.lastInformTime < '2026'", "timestamp("),
        (
            "device.lastInformTime < timestamp('yesterday')",
            "\"yesterday\" is not a time",
        ),
        (
            "5 in device.tags",
            "an int cannot be in a list, each element a string",
        ),
        (
            "lower(device.oui) == ''",
            "there is no function lower; there is double, has, int",
        ),
        (
            "device.oui.upper() == ''",
            "there is no method upper() with 0 arguments; there is contains",
        ),
        (
            "version() == version('1')",
            "version() takes one argument, not 0",
        ),
        ("device.oui.matches('(')", "not a regular expression"),
        (
            "device.oui.matches('a{1000}{1000}')",
            "not a regular expression",
        ),
        (
            "device.tags.map(t, t + 'x') == []",
            "map is not part of this language",
        ),
        ("size(device.tags) == 2u", "write 2 instead of 2u"),
        ("device.account == null", "null is not part"),
        ("{'a': 1}.a == 1", "map and message literals"),
        ("device.online == ", "not an expression:"),
        ("device.oui =! 'x'", "not an expression:"),
        ("", "not an expression:"),
        (
            "device.tags.all(a, device.tags.all(b, device.tags.all(c, a == b)))",
            "nested 2 deep",
        ),
    ] {
        let error = Expression::compile(source, Scope::Fleet)
            .expect_err(source)
            .to_string();
        assert!(error.contains(expect), "{source}: {error}");
    }
}

#[test]
fn parameters_are_for_selectors() {
    let source = "parameter('Device.B') == '1' || parameter('Device.A') == parameter('Device.B')";
    let error = Expression::compile(source, Scope::Fleet).unwrap_err();
    assert!(error.to_string().starts_with("path not indexed"), "{error}");
    assert_eq!(
        Expression::compile(source, Scope::Profile)
            .unwrap()
            .parameters(),
        ["Device.A", "Device.B"]
    );
    assert!(
        Expression::compile("parameter(device.oui) == ''", Scope::Profile)
            .unwrap_err()
            .to_string()
            .contains("in quotes")
    );
}

#[test]
fn what_would_cost_too_much_is_refused() {
    let long = format!("device.oui == '{}'", "x".repeat(MAX_SOURCE));
    assert!(matches!(
        Expression::compile(&long, Scope::Fleet),
        Err(ExpressionError::TooLong(_))
    ));
    let wide = vec!["true"; 300].join("&&");
    assert!(matches!(
        Expression::compile(&wide, Scope::Fleet),
        Err(ExpressionError::TooLarge(_))
    ));
    for deep in [
        format!("{}device.online{}", "(".repeat(1_000), ")".repeat(1_000)),
        format!("{}device.online{}", "(".repeat(32), ")".repeat(32)),
        format!("{}1{} == []", "[".repeat(31), "]".repeat(31)),
        format!("{}true : false", "true ? ".repeat(32)),
        format!("{}device.online", "!".repeat(4_000)),
        format!("{}1 == 1", "-".repeat(4_000)),
        format!("device{}", ".oui".repeat(1_000)),
        format!("{}1{} == []", "[".repeat(1_000), "]".repeat(1_000)),
        format!("{}true", "true ? ".repeat(500)),
        format!("device.online{}", " || device.online".repeat(200)),
    ] {
        // Whether it is refused for its syntax or its size does not matter; that it is answered does.
        let _ = Expression::compile(&deep, Scope::Fleet);
    }
}

/// The same device for the interpreter of the cel crate, which is the oracle.
fn oracle(source: &str, device: &Device) -> Result<bool, String> {
    let mut context = cel::Context::default();
    let text = |text: &str| cel::Value::String(text.to_owned().into());
    let mut fields: HashMap<String, cel::Value> = HashMap::new();
    for (name, value) in [
        ("oui", &device.oui),
        ("manufacturer", &device.manufacturer),
        ("modelName", &device.model_name),
        ("softwareVersion", &device.software_version),
    ] {
        fields.insert(name.into(), text(value));
    }
    fields.insert("state".into(), text(device.state().as_str_name()));
    fields.insert("online".into(), device.online.into());
    fields.insert(
        "tags".into(),
        cel::Value::List(
            device
                .tags
                .iter()
                .map(|tag| text(tag))
                .collect::<Vec<_>>()
                .into(),
        ),
    );
    let custom: HashMap<String, cel::Value> = device
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    fields.insert("fields".into(), custom.into());
    context.add_variable_from_value("device", cel::Value::from(fields));
    // Versions of the generated expressions are up to three numbers: made comparable as text.
    context
        .add_function("version", |version: std::sync::Arc<String>| {
            let mut parts: Vec<u64> = version
                .split('.')
                .map(|part| part.parse().unwrap_or(0))
                .collect();
            parts.resize(3, 0);
            parts
                .iter()
                .map(|part| format!("{part:08}."))
                .collect::<String>()
        })
        .unwrap();
    match cel::Program::compile(source).unwrap().execute(&context) {
        Ok(cel::Value::Bool(answer)) => Ok(answer),
        Ok(other) => panic!("{source}: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn text_expression() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("device.manufacturer".to_owned()),
        Just("device.modelName".to_owned()),
        Just("device.softwareVersion".to_owned()),
        Just("device.state".to_owned()),
        Just("device.fields.a".to_owned()),
        Just("device.fields['b']".to_owned()),
        Just("(device.oui + 'x')".to_owned()),
        "[abAB1é]{0,3}".prop_map(|text| format!("'{text}'")),
    ]
}

fn number_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0_i64..6).prop_map(|number| number.to_string()),
        text_expression().prop_map(|text| format!("size({text})")),
        Just("size(device.tags)".to_owned()),
        Just("size(device.fields)".to_owned()),
        Just("int(device.fields.a)".to_owned()),
        Just("device.tags.filter(t, t != 'a').size()".to_owned()),
    ];
    (
        leaf.clone(),
        prop_oneof!["[+*/%-]".prop_map(Some), Just(None)],
        leaf,
    )
        .prop_map(|(left, operator, right)| match operator {
            Some(operator) => format!("({left} {operator} {right})"),
            None => left,
        })
}

fn condition() -> impl Strategy<Value = String> {
    let comparison = "==|!=|<|<=|>|>=";
    let leaf = prop_oneof![
        (text_expression(), comparison, text_expression())
            // A state that does not exist is refused, where CEL compares texts.
            .prop_filter(
                "a state is compared with fields only",
                |(left, _, right)| {
                    !((left == "device.state" && right.starts_with('\''))
                        || (right == "device.state" && left.starts_with('\'')))
                }
            )
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        (number_expression(), comparison, number_expression())
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        (number_expression(), comparison)
            .prop_map(|(left, operator)| format!("double({left}) {operator} 2")),
        (comparison, "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}").prop_map(|(operator, version)| format!(
            "version(device.softwareVersion) {operator} version('{version}')"
        )),
        (text_expression(), text_expression())
            .prop_map(|(text, part)| format!("{text}.contains({part})")),
        (text_expression(), text_expression())
            .prop_map(|(text, part)| format!("{text}.startsWith({part})")),
        (text_expression(), text_expression())
            .prop_map(|(text, part)| format!("{text}.endsWith({part})")),
        text_expression().prop_map(|text| format!("{text}.matches('^[ab]+$')")),
        text_expression().prop_map(|text| format!("{text} in device.tags")),
        text_expression().prop_map(|text| format!("{text} in device.fields")),
        "[ab]".prop_map(|text| format!("device.manufacturer in ['{text}', 'b1']")),
        Just("has(device.fields.a)".to_owned()),
        Just("device.online".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} && {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.clone().prop_map(|inner| format!("!({inner})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (text_expression(), "exists|all|exists_one").prop_map(|(text, quantifier)| format!(
                "device.tags.{quantifier}(t, t == {text} || t.contains(device.fields.b))"
            )),
        ]
    })
}

fn device() -> impl Strategy<Value = Device> {
    (
        "[ab1]{0,2}",
        "[abé]{0,3}",
        "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}",
        proptest::collection::vec("[ab1é]{0,2}", 0..3),
        proptest::collection::btree_map("[ab]", "[0-9a]{0,2}", 0..3),
        any::<bool>(),
    )
        .prop_map(
            |(manufacturer, model_name, software_version, tags, fields, online)| Device {
                manufacturer,
                model_name,
                software_version,
                tags,
                fields,
                online,
                state: State::Active.into(),
                ..Device::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn results_equal_those_of_the_interpreter(source in condition(), device in device()) {
        let nothing = |_: &str| None;
        let ours = match Expression::compile(&source, Scope::Fleet) {
            Ok(expression) => expression.eval(&ResourceView::new(&device, &nothing)),
            Err(ExpressionError::TooLarge(_)) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{source}: {error}"))),
        };
        match (ours, oracle(&source, &device)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{}", source),
            (Err(_), Err(_)) => {}
            (ours, theirs) => return Err(TestCaseError::fail(format!("{source}: {ours:?}, interpreter {theirs:?}"))),
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(source in "[a-z.()\\[\\]{}!&|=<>?:'\"0-9+*/%, -]{0,60}|\\PC{0,40}") {
        let _ = Expression::compile(&source, Scope::Profile);
    }
}
