//! Which HTTP request is which RPC: read from the `google.api.http` options of the descriptors.

use super::template::{BadTemplate, Bindings, Template};
use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor};

/// One binding of an RPC to HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) template: Template,
    pub(crate) body: Body,
    pub(crate) rpc: MethodDescriptor,
}

/// What the body of the HTTP request fills.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// The request message.
    Whole,
    /// One field of it.
    Field(FieldDescriptor),
}

/// Why the descriptors cannot be served: a mistake in a `.proto` file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBinding {
    #[error("google.api.http is not among the descriptors")]
    NoExtension,
    #[error("{rpc}: {source}")]
    Template { rpc: String, source: BadTemplate },
    #[error("{rpc}: there is no field {field}")]
    Field { rpc: String, field: String },
}

/// What a request's method and path lead to.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Route(&'a Route, Bindings),
    /// The path exists with these methods only.
    OtherMethods(Vec<Method>),
    Nothing,
}

/// Every binding of every service in the pool.
pub(crate) fn routes(pool: &DescriptorPool) -> Result<Vec<Route>, BadBinding> {
    let http = pool
        .get_extension_by_name("google.api.http")
        .ok_or(BadBinding::NoExtension)?;
    let mut routes = Vec::new();
    for rpc in pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let options = rpc.options();
        if !options.has_extension(&http) {
            continue;
        }
        if let Some(rule) = options.get_extension(&http).as_message() {
            routes.extend(route(&rpc, rule)?);
        }
    }
    Ok(routes)
}

fn route(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Result<Option<Route>, BadBinding> {
    let text = |field: &str| {
        rule.get_field_by_name(field)
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let methods = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let Some((path, method)) = methods.into_iter().find_map(|(field, method)| {
        let path = text(field);
        (!path.is_empty()).then_some((path, method))
    }) else {
        return Ok(None);
    };
    let name = || rpc.full_name().to_owned();
    let template = Template::parse(&path).map_err(|source| BadBinding::Template {
        rpc: name(),
        source,
    })?;
    let input = rpc.input();
    for field in template.fields() {
        field_path(&input, field).ok_or_else(|| BadBinding::Field {
            rpc: name(),
            field: field.to_owned(),
        })?;
    }
    let body = match text("body").as_str() {
        "" => Body::None,
        "*" => Body::Whole,
        field => Body::Field(
            input
                .get_field_by_name(field)
                .ok_or_else(|| BadBinding::Field {
                    rpc: name(),
                    field: field.to_owned(),
                })?,
        ),
    };
    Ok(Some(Route {
        method,
        template,
        body,
        rpc: rpc.clone(),
    }))
}

/// The fields along a dotted path of proto or JSON names.
pub(crate) fn field_path(
    message: &prost_reflect::MessageDescriptor,
    path: &str,
) -> Option<Vec<FieldDescriptor>> {
    let mut message = Some(message.clone());
    let mut fields = Vec::new();
    for name in path.split('.') {
        let within = message.take()?;
        let field = within
            .get_field_by_json_name(name)
            .or_else(|| within.get_field_by_name(name))?;
        message = field
            .kind()
            .as_message()
            .filter(|_| !field.is_list() && !field.is_map())
            .cloned();
        fields.push(field);
    }
    Some(fields)
}

/// The route of a request. Templates of this API never overlap for one method, so the first that matches is the only one.
pub(crate) fn find<'a>(routes: &'a [Route], method: &Method, path: &str) -> Found<'a> {
    let mut others = Vec::new();
    for route in routes {
        if let Some(bindings) = route.template.matches(path) {
            if route.method == *method {
                return Found::Route(route, bindings);
            }
            others.push(route.method.clone());
        }
    }
    if others.is_empty() {
        Found::Nothing
    } else {
        Found::OtherMethods(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap()
    }

    #[test]
    fn every_unary_method_of_the_services_has_a_binding() {
        let pool = pool();
        let bound: Vec<String> = routes(&pool)
            .unwrap()
            .iter()
            .map(|route| route.rpc.full_name().to_owned())
            .collect();

        for rpc in pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            assert!(
                rpc.is_client_streaming() || bound.iter().any(|name| name == rpc.full_name()),
                "{}",
                rpc.full_name()
            );
        }
    }

    #[test]
    fn requests_find_their_rpc() {
        let routes = routes(&pool()).unwrap();
        for (method, path, expected) in [
            (
                Method::POST,
                "/v1/tenants/default/devices",
                Some("CreateDevice"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/devices",
                Some("ListDevices"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/devices:lookup",
                Some("LookupDevice"),
            ),
            (
                Method::PATCH,
                "/v1/tenants/default/devices/x",
                Some("UpdateDevice"),
            ),
            (
                Method::POST,
                "/v1/tenants/default/devices/x:retire",
                Some("RetireDevice"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/devices/x/parameters",
                Some("ListParameters"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/operations/o",
                Some("GetOperation"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/events:watch",
                Some("WatchEvents"),
            ),
            (
                Method::GET,
                "/v1/tenants/default/devices/x/readings:verify",
                Some("VerifyLedger"),
            ),
            (Method::GET, "/v1/nothing", None),
        ] {
            let found = match find(&routes, &method, path) {
                Found::Route(route, _) => Some(route.rpc.name().to_owned()),
                Found::OtherMethods(_) | Found::Nothing => None,
            };
            assert_eq!(found.as_deref(), expected, "{method} {path}");
        }
        assert!(
            matches!(find(&routes, &Method::DELETE, "/v1/tenants"), Found::OtherMethods(methods) if methods.contains(&Method::GET))
        );
    }

    #[test]
    fn no_two_routes_match_one_request() {
        let routes = routes(&pool()).unwrap();
        for route in &routes {
            let (path, names) = route.template.openapi();
            let path = names.iter().fold(path, |path, name| {
                path.replacen(&format!("{{{name}}}"), "x", 1)
            });
            let matching = routes.iter().filter(|other| {
                other.method == route.method && other.template.matches(&path).is_some()
            });
            assert_eq!(matching.count(), 1, "{} {path}", route.method);
        }
    }
}
