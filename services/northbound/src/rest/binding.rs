//! Path, query and body of an HTTP request become the request message of its RPC.

use super::{
    routes::{Body, Route, field_path},
    template::{Bindings, decode},
};
use crate::refusal::Violation;
use http::Method;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, map::Entry};

/// Deepest nesting of messages that is looked into to say which field is wrong.
const MAX_DEPTH: usize = 16;

/// Builds the request message. Values of the path win over an absent field in the body; where both name one, they must agree.
///
/// # Errors
///
/// What is wrong, by the JSON name of the field.
pub(crate) fn request(
    route: &Route,
    bindings: Bindings,
    query: Option<&str>,
    body: &[u8],
) -> Result<DynamicMessage, Vec<Violation>> {
    let input = route.rpc.input();
    let mut json = match &route.body {
        Body::None if body.iter().all(u8::is_ascii_whitespace) => Map::new(),
        Body::None => return Err(vec![Violation::new("", "this method takes no body")]),
        Body::Whole => object(body)?,
        Body::Field(field) => {
            let content = object(body)?;
            let mut whole = Map::new();
            if route.method == Method::PATCH
                && let Some(mask) = mask_of(&input, field, &content)
            {
                whole.insert("updateMask".to_owned(), Value::String(mask));
            }
            whole.insert(field.json_name().to_owned(), Value::Object(content));
            whole
        }
    };
    add_query(
        &input,
        route,
        &bindings,
        query.unwrap_or_default(),
        &mut json,
    )?;
    for (path, value) in bindings {
        let fields = field_path(&input, &path)
            .ok_or_else(|| vec![Violation::new(&path, "is not a field")])?;
        let slot = slot(&mut json, &fields)
            .ok_or_else(|| vec![Violation::new(&path, "must be a text")])?;
        match slot {
            Value::Null => *slot = Value::String(value),
            Value::String(text) if text.is_empty() || *text == value => {
                *slot = Value::String(value)
            }
            _ => {
                return Err(vec![Violation::new(
                    json_path(&fields),
                    format!("differs from the one in the path, {value:?}"),
                )]);
            }
        }
    }
    let json = Value::Object(json);
    message(&input, &json).map_err(|error| vec![locate(&input, &json, &error)])
}

/// Deserializes proto3 JSON; unknown fields are refused.
pub(crate) fn message(
    descriptor: &MessageDescriptor,
    json: &Value,
) -> Result<DynamicMessage, String> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor.clone(), json, &options)
        .map_err(|error| error.to_string())
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Vec<Violation>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(vec![Violation::new("", "the body must be a JSON object")]),
        Err(error) => Err(vec![Violation::new(
            "",
            format!("the body is not JSON: {error}"),
        )]),
    }
}

/// The mask of a PATCH that brings none: the fields that stand in its body, but for those that say which resource is meant.
fn mask_of(
    input: &MessageDescriptor,
    field: &FieldDescriptor,
    content: &Map<String, Value>,
) -> Option<String> {
    input.get_field_by_name("update_mask")?;
    let resource = field.kind().as_message()?.clone();
    let names: Vec<String> = content
        .keys()
        .filter_map(|key| {
            resource
                .get_field_by_json_name(key)
                .or_else(|| resource.get_field_by_name(key))
        })
        .filter(|field| !matches!(field.name(), "name" | "etag"))
        .map(|field| field.json_name().to_owned())
        .collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn add_query(
    input: &MessageDescriptor,
    route: &Route,
    bindings: &Bindings,
    query: &str,
    json: &mut Map<String, Value>,
) -> Result<(), Vec<Violation>> {
    let mut given: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |part: &str| decode(&part.replace('+', " "));
        let (Some(key), Some(value)) = (text(key), text(value)) else {
            return Err(vec![Violation::new(key, "is not properly percent-encoded")]);
        };
        let refuse = |why: &str| Err(vec![Violation::new(&key, why)]);
        let Some(fields) = field_path(input, &key) else {
            return refuse("is not a parameter of this method");
        };
        let Some(field) = fields.last() else {
            return refuse("is empty");
        };
        let within_body = match &route.body {
            Body::None => false,
            Body::Whole => true,
            Body::Field(body) => fields
                .first()
                .is_some_and(|first| first.number() == body.number()),
        };
        let in_path = bindings
            .iter()
            .any(|(path, _)| field_path(input, path).is_some_and(|bound| bound == fields));
        if within_body || in_path {
            return refuse(if in_path {
                "stands in the path"
            } else {
                "belongs into the body"
            });
        }
        let path = json_path(&fields);
        let repeated = given.contains(&path);
        given.push(path);
        let value = match scalar(field, value) {
            Ok(value) => value,
            Err(why) => return refuse(why),
        };
        let Some(slot) = slot(json, &fields) else {
            return refuse("is not a field");
        };
        match slot {
            Value::Array(values) if field.is_list() => values.push(value),
            _ if field.is_list() => *slot = Value::Array(vec![value]),
            _ if repeated => return refuse("is given more than once"),
            _ => *slot = value,
        }
    }
    Ok(())
}

/// The JSON form of a query parameter's text.
fn scalar(field: &FieldDescriptor, text: String) -> Result<Value, &'static str> {
    if field.is_map() {
        return Err("is a map, which a query cannot carry");
    }
    match field.kind() {
        Kind::Bool => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err("must be true or false"),
        },
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration"
            | "google.protobuf.Timestamp"
            | "google.protobuf.FieldMask" => Ok(Value::String(text)),
            _ => Err("is a message: name one of its fields"),
        },
        // Numbers and enums may stand as text in proto3 JSON.
        _ => Ok(Value::String(text)),
    }
}

/// The place of a nested field in a JSON object, made where it is missing. `None`: something that is no object is in the way.
fn slot<'a>(json: &'a mut Map<String, Value>, fields: &[FieldDescriptor]) -> Option<&'a mut Value> {
    let (last, parents) = fields.split_last()?;
    let mut object = json;
    for parent in parents {
        object = entry(object, parent)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()?;
    }
    Some(entry(object, last).or_insert(Value::Null))
}

/// The entry of a field, under whichever of its two names it stands.
fn entry<'a>(object: &'a mut Map<String, Value>, field: &FieldDescriptor) -> Entry<'a> {
    let name = if object.contains_key(field.name()) {
        field.name()
    } else {
        field.json_name()
    };
    object.entry(name)
}

fn json_path(fields: &[FieldDescriptor]) -> String {
    fields
        .iter()
        .map(FieldDescriptor::json_name)
        .collect::<Vec<_>>()
        .join(".")
}

/// The innermost field that makes `json` no message of this type. Runs only for requests that are refused.
fn locate(descriptor: &MessageDescriptor, json: &Value, error: &str) -> Violation {
    let mut descriptor = descriptor.clone();
    let mut json = json.clone();
    let mut path = String::new();
    let mut error = error.to_owned();
    for _ in 0..MAX_DEPTH {
        let Some(object) = json.as_object() else {
            break;
        };
        let Some((key, value, why)) = object.iter().find_map(|(key, value)| {
            let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            message(&descriptor, &alone)
                .err()
                .map(|why| (key.clone(), value.clone(), why))
        }) else {
            break;
        };
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&key);
        error = why;
        let field = descriptor
            .get_field_by_json_name(&key)
            .or_else(|| descriptor.get_field_by_name(&key));
        let Some(inner) = field
            .as_ref()
            .filter(|field| !field.is_map())
            .and_then(|field| field.kind().as_message().cloned())
        else {
            break;
        };
        json = match value {
            Value::Array(items) => {
                let Some((index, item)) = items
                    .into_iter()
                    .enumerate()
                    .find(|(_, item)| message(&inner, item).is_err())
                else {
                    break;
                };
                path.push_str(&format!("[{index}]"));
                item
            }
            value => value,
        };
        descriptor = inner;
    }
    Violation::new(path, error)
}

#[cfg(test)]
mod tests {
    use super::super::routes::{Found, find, routes};
    use super::*;
    use prost_reflect::{DescriptorPool, SerializeOptions};
    use serde_json::json;

    fn bind(method: Method, uri: &str, body: &str) -> Result<Value, Vec<(String, String)>> {
        let routes = routes(&DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap()).unwrap();
        let (path, query) = uri
            .split_once('?')
            .map_or((uri, None), |(path, query)| (path, Some(query)));
        let Found::Route(route, bindings) = find(&routes, &method, path) else {
            panic!("{uri} is not bound")
        };
        match request(route, bindings, query, body.as_bytes()) {
            Ok(message) => {
                let options = SerializeOptions::new().skip_default_fields(true);
                Ok(message
                    .serialize_with_options(serde_json::value::Serializer, &options)
                    .unwrap())
            }
            Err(violations) => Err(violations
                .into_iter()
                .map(|v| (v.field, v.description))
                .collect()),
        }
    }

    #[test]
    fn requests_become_messages() {
        for (method, uri, body, expected) in [
            (
                Method::GET,
                "/v1/tenants/t/devices?pageSize=7&filter=device.state%20%3D%3D%20%22ACTIVE%22&order_by=name+desc",
                "",
                json!({"parent": "tenants/t", "pageSize": 7, "filter": "device.state == \"ACTIVE\"", "orderBy": "name desc"}),
            ),
            (
                Method::GET,
                "/v1/tenants/t/operations/o?wait=20s",
                "",
                json!({"name": "tenants/t/operations/o", "wait": "20s"}),
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices/d/events?kinds=INFORM&kinds=READING",
                "",
                json!({"parent": "tenants/t/devices/d", "kinds": ["INFORM", "READING"]}),
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices?requestId=r",
                r#"{"oui":"00D09E","serialNumber":"1"}"#,
                json!({"parent": "tenants/t", "requestId": "r", "device": {"oui": "00D09E", "serialNumber": "1"}}),
            ),
            (
                Method::PATCH,
                "/v1/tenants/t/devices/d",
                r#"{"tags":["a"],"may_proxy":false,"etag":"e"}"#,
                json!({"device": {"name": "tenants/t/devices/d", "tags": ["a"], "etag": "e"}, "updateMask": "mayProxy,tags"}),
            ),
            (
                Method::PATCH,
                "/v1/tenants/t/devices/d?updateMask=fields",
                r#"{"tags":["a"]}"#,
                json!({"device": {"name": "tenants/t/devices/d", "tags": ["a"]}, "updateMask": "fields"}),
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices/d:retire",
                "",
                json!({"name": "tenants/t/devices/d"}),
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices/d:retire",
                r#"{"name":"tenants/t/devices/d","etag":"e"}"#,
                json!({"name": "tenants/t/devices/d", "etag": "e"}),
            ),
        ] {
            let mut bound = bind(method, uri, body).unwrap();
            // The order of a mask's paths is the map's, which depends on a feature of serde_json.
            if let Some(Value::String(mask)) = bound.get_mut("updateMask") {
                let mut paths: Vec<&str> = mask.split(',').collect();
                paths.sort_unstable();
                *mask = paths.join(",");
            }
            assert_eq!(bound, expected, "{uri}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (method, uri, body, field, description) in [
            (
                Method::GET,
                "/v1/tenants/t/devices?colour=red",
                "",
                "colour",
                "not a parameter",
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices?pageSize=many",
                "",
                "pageSize",
                "invalid",
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices?pageSize=1&page_size=2",
                "",
                "page_size",
                "more than once",
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices?parent=tenants/u",
                "",
                "parent",
                "stands in the path",
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices?filter=%zz",
                "",
                "filter",
                "percent-encoded",
            ),
            (
                Method::GET,
                "/v1/tenants/t/operations/o?wait=soon",
                "",
                "wait",
                "",
            ),
            (
                Method::GET,
                "/v1/tenants/t/devices",
                "{}",
                "",
                "takes no body",
            ),
            (Method::POST, "/v1/tenants/t/devices", "{", "", "not JSON"),
            (
                Method::POST,
                "/v1/tenants/t/devices",
                "[]",
                "",
                "JSON object",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices",
                r#"{"colour":"red"}"#,
                "device.colour",
                "unrecognized field name 'colour'",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices",
                r#"{"tags":[1]}"#,
                "device.tags",
                "invalid type",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices",
                r#"{"credentials":{"username":7}}"#,
                "device.credentials.username",
                "invalid type",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices/d/operations",
                r#"{"setParameterValues":{"values":[{"path":"A."},{"pth":"B"}]}}"#,
                "operation.setParameterValues.values[1].pth",
                "unrecognized field name 'pth'",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices/d:retire",
                r#"{"name":"tenants/t/devices/e"}"#,
                "name",
                "differs",
            ),
            (
                Method::POST,
                "/v1/tenants/t/devices/d:retire?etag=x",
                "",
                "etag",
                "belongs into the body",
            ),
        ] {
            let violations = bind(method, uri, body).unwrap_err();
            assert_eq!(violations[0].0, field, "{uri} {body}: {violations:?}");
            assert!(
                violations[0].1.contains(description),
                "{uri} {body}: {violations:?}"
            );
        }
    }

    #[test]
    fn any_body_is_a_message_or_refused() {
        use proptest::test_runner::TestRunner;
        let routes = routes(&DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap()).unwrap();
        let Found::Route(route, bindings) =
            find(&routes, &Method::POST, "/v1/tenants/t/devices/d/operations")
        else {
            panic!("not bound")
        };
        TestRunner::default()
            .run(
                &(
                    proptest::collection::vec(proptest::num::u8::ANY, 0..80),
                    "\\PC{0,20}",
                ),
                |(body, query)| {
                    let _ = request(route, bindings.clone(), Some(&query), &body);
                    Ok(())
                },
            )
            .unwrap();
    }
}
