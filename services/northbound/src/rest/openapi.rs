//! The OpenAPI 3.1 document of the REST form, from the descriptors and the comments in the `.proto` files.

use super::routes::{Body, Route};
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The document.
pub(crate) fn document(pool: &DescriptorPool, routes: &[Route]) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut schemas = Schemas::default();
    for route in routes {
        let (path, _) = route.template.openapi();
        let operation = operation(route, &mut schemas);
        paths
            .entry(path)
            .or_default()
            .insert(route.method.as_str().to_ascii_lowercase(), operation);
    }
    paths
        .entry("/v1/tenants/{tenant}/artifacts/{artifact}:content".to_owned())
        .or_default()
        .insert("put".to_owned(), upload(pool, &mut schemas));
    paths
        .entry("/v1/tenants/{tenant}/operations/{operation}:content".to_owned())
        .or_default()
        .insert("get".to_owned(), uploaded());
    let tags: Vec<Value> = pool
        .services()
        .filter(|service| routes.iter().any(|route| route.rpc.parent_service() == service))
        .map(|service| json!({"name": service.name(), "description": comment(&service.parent_file(), service.path())}))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Platen",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Auto Configuration Server for printers. The same contract is served as gRPC on the same port.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas.finish(),
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let input = route.rpc.input();
    let mut parameters: Vec<Value> = route
        .template
        .openapi()
        .1
        .into_iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let body_field = match &route.body {
        Body::Field(field) => Some(field.name().to_owned()),
        Body::None | Body::Whole => None,
    };
    let in_path: Vec<&str> = route.template.fields().collect();
    if !matches!(route.body, Body::Whole) {
        for field in input.fields() {
            if body_field.as_deref() == Some(field.name()) || in_path.contains(&field.name()) {
                continue;
            }
            parameters.push(json!({
                "name": field.json_name(), "in": "query", "required": false,
                "description": comment(&field.parent_message().parent_file(), field.path()),
                "schema": schemas.field(&field),
            }));
        }
    }
    let output = schemas.message(&route.rpc.output());
    let content = if route.rpc.is_server_streaming() {
        json!({"application/x-ndjson": {"schema": output}, "text/event-stream": {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": output}})
    };
    let description = comment(&route.rpc.parent_service().parent_file(), route.rpc.path());
    let mut operation = json!({
        "operationId": format!("{}_{}", route.rpc.parent_service().name(), route.rpc.name()),
        "tags": [route.rpc.parent_service().name()],
        "description": description,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": content},
            "default": {"description": "Refused.", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    });
    let body = match &route.body {
        Body::None => None,
        Body::Whole => Some(schemas.message(&input)),
        Body::Field(field) => Some(schemas.field(field)),
    };
    if let (Some(schema), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert(
            "requestBody".to_owned(),
            json!({"content": {"application/json": {"schema": schema}}}),
        );
    }
    operation
}

/// The bytes of an artifact: the HTTP form of a client stream, which no binding can express.
fn upload(pool: &DescriptorPool, schemas: &mut Schemas) -> Value {
    let artifact = pool
        .get_message_by_name("platen.firmware.v1.Artifact")
        .map_or(Value::Bool(true), |message| schemas.message(&message));
    let parameter = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    json!({
        "operationId": "ArtifactService_UploadArtifact",
        "tags": ["ArtifactService"],
        "description": "Takes the bytes of an artifact, as they are. Bytes are immutable once complete.",
        "parameters": [parameter("tenant"), parameter("artifact")],
        "requestBody": {"required": true, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": artifact}}},
            "default": {"description": "Refused.", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    })
}

/// The file that a device brought, which has no RPC.
fn uploaded() -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    json!({
        "operationId": "OperationService_ReadUpload",
        "tags": ["OperationService"],
        "description": "Returns the file that a device brought for an upload without url.",
        "parameters": [parameter("tenant"), parameter("operation")],
        "responses": {
            "200": {"description": "Done.", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
            "default": {"description": "Refused.", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    })
}

/// Schemas by name, made on first use; messages may hold themselves.
#[derive(Debug, Default)]
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    fn finish(mut self) -> BTreeMap<String, Value> {
        self.0.insert(
            "Problem".to_owned(),
            json!({
                "type": "object",
                "description": "RFC 9457.",
                "properties": {
                    "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"},
                    "code": {"type": "string", "description": "Stable, upper snake."},
                    "violations": {"type": "array", "items": {"type": "object", "properties": {
                        "field": {"type": "string"}, "description": {"type": "string"}}}},
                },
            }),
        );
        self.0
    }

    fn message(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => return json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => return json!({"type": "string", "examples": ["20s"]}),
            "google.protobuf.FieldMask" => {
                return json!({"type": "string", "examples": ["tags,fields"]});
            }
            "google.protobuf.Empty" => return json!({"type": "object"}),
            _ => {}
        }
        let name = schema_name(message.full_name());
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        if self.0.contains_key(&name) {
            return reference;
        }
        // Holds the place, for messages that hold themselves.
        self.0.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        for field in message.fields() {
            let mut schema = self.field(&field);
            let text = comment(&message.parent_file(), field.path());
            if let (false, Some(schema)) = (text.is_empty(), schema.as_object_mut()) {
                schema.insert("description".to_owned(), Value::String(text));
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let schema = json!({"type": "object", "description": comment(&message.parent_file(), message.path()), "properties": properties});
        self.0.insert(name, schema);
        reference
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let value = field
                .kind()
                .as_message()
                .map(MessageDescriptor::map_entry_value_field);
            return json!({"type": "object", "additionalProperties": value.map_or(Value::Bool(true), |value| self.kind(&value.kind()))});
        }
        let schema = self.kind(&field.kind());
        if field.cardinality() == Cardinality::Repeated {
            json!({"type": "array", "items": schema})
        } else {
            schema
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double | Kind::Float => json!({"type": "number"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "format": "int32"})
            }
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64"})
            }
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "format": "byte"}),
            Kind::Enum(enumeration) => Self::enumeration(enumeration),
            Kind::Message(message) => self.message(message),
        }
    }

    fn enumeration(enumeration: &EnumDescriptor) -> Value {
        let names: Vec<String> = enumeration
            .values()
            .map(|value| value.name().to_owned())
            .collect();
        json!({"type": "string", "enum": names})
    }
}

/// `platen.device.v1.Device` is `device.v1.Device`.
fn schema_name(full: &str) -> String {
    full.strip_prefix("platen.").unwrap_or(full).to_owned()
}

/// The comment before an element.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    file.file_descriptor_proto()
        .source_code_info
        .as_ref()
        .and_then(|info| info.location.iter().find(|location| location.path == path))
        .map(|location| {
            location
                .leading_comments()
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
                .trim()
                .to_owned()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::routes::routes;
    use super::*;

    fn made() -> (Vec<Route>, Value) {
        let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap();
        let routes = routes(&pool).unwrap();
        let document = document(&pool, &routes);
        (routes, document)
    }

    #[test]
    fn every_route_stands_in_the_document() {
        let (routes, document) = made();

        for route in &routes {
            let (path, names) = route.template.openapi();
            let operation = &document["paths"][&path][route.method.as_str().to_ascii_lowercase()];
            assert!(operation.is_object(), "{} {path}", route.method);
            let in_path: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["in"] == "path")
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            assert_eq!(in_path, names);
        }
        assert!(
            document["paths"]["/v1/tenants/{tenant}/artifacts/{artifact}:content"]["put"]
                .is_object()
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        into.push(reference.clone());
                    }
                    map.values().for_each(|value| references(value, into));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, into)),
                _ => {}
            }
        }
        let (_, document) = made();
        let mut found = Vec::new();
        references(&document, &mut found);

        assert!(found.len() > 50);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{reference}"
            );
        }
    }

    #[test]
    fn comments_are_descriptions() {
        let (_, document) = made();

        assert_eq!(
            document["paths"]["/v1/tenants/{tenant}/devices/{device}"]["get"]["description"],
            "Returns one device."
        );
        assert_eq!(
            document["components"]["schemas"]["device.v1.Device"]["properties"]["oui"]["description"],
            "Six upper-case hexadecimal digits."
        );
    }
}
