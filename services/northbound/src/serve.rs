//! The door: one port for gRPC and REST, who may come in, and how many at a time.

use crate::{
    api::Api,
    artifacts::ArtifactApi,
    caller::{Caller, Role},
    devices::DeviceApi,
    events::EventApi,
    guard::{Guard, READ_UPLOAD, UPLOAD, guarded},
    limits::RateLimit,
    operations::OperationApi,
    profiles::ProfileApi,
    readings::ReadingApi,
    refusal::Refusal,
    rest::{self, Gateway, problem},
    tenants::TenantApi,
    tokens::TokenApi,
    uploads,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware,
    response::Response,
};
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method, header};
use platen_proto::{
    device::v1::device_service_server::DeviceServiceServer,
    event::v1::event_service_server::EventServiceServer,
    firmware::v1::artifact_service_server::ArtifactServiceServer,
    metering::v1::reading_service_server::ReadingServiceServer,
    operation::v1::operation_service_server::OperationServiceServer,
    provisioning::v1::profile_service_server::ProfileServiceServer,
    tenant::v1::tenant_service_server::TenantServiceServer,
    tenant::v1::token_service_server::TokenServiceServer,
};
use platen_runtime::Metrics;
use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::{sync::Arc, time::Instant};
use tonic::{Status, service::Routes};
use tonic_health::server::HealthReporter;
use tower::ServiceExt;

/// Everything behind the port.
#[derive(Debug, Clone)]
struct Door {
    api: Arc<Api>,
    rate: RateLimit,
    guard: Guard,
    grpc: Router,
    gateway: Gateway,
    artifacts: ArtifactApi,
    artifact: MessageDescriptor,
}

/// The service behind the port, and what tells gRPC's health checks whether it is ready.
///
/// # Errors
///
/// The descriptors are broken, which is a mistake in a `.proto` file.
pub(crate) fn router(
    api: &Arc<Api>,
    metrics: &Metrics,
) -> anyhow::Result<(Router, HealthReporter)> {
    let limits = &api.limits;
    let guard = Guard::new(limits, metrics);
    let (services, health) = services(api)?;
    let grpc = services.layer(middleware::from_fn_with_state(guard.clone(), guarded));
    let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS)?;
    let door = Door {
        rate: RateLimit::new(limits),
        gateway: Gateway::new(grpc.clone(), limits.request_bytes)?,
        artifacts: ArtifactApi(Arc::clone(api)),
        artifact: pool
            .get_message_by_name("platen.firmware.v1.Artifact")
            .ok_or_else(|| anyhow::anyhow!("Artifact is not among the descriptors"))?,
        api: Arc::clone(api),
        guard,
        grpc,
    };
    Ok((Router::new().fallback(enter).with_state(door), health))
}

fn services(api: &Arc<Api>) -> anyhow::Result<(Router, HealthReporter)> {
    let limit = api.limits.request_bytes;
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(platen_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = Routes::new(
        DeviceServiceServer::new(DeviceApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        OperationServiceServer::new(OperationApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        EventServiceServer::new(EventApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        ReadingServiceServer::new(ReadingApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        ArtifactServiceServer::new(ArtifactApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        ProfileServiceServer::new(ProfileApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        TenantServiceServer::new(TenantApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(
        TokenServiceServer::new(TokenApi(Arc::clone(api))).max_decoding_message_size(limit),
    )
    .add_service(health_service)
    .add_service(reflection)
    .prepare();
    Ok((routes.into_axum_router(), health))
}

/// Every request: first who calls and how often, then what.
async fn enter(State(door): State<Door>, mut request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // Nobody but the door says who calls.
    request.extensions_mut().remove::<Caller>();
    let caller = match door.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(refusal) => return refused(refusal.into(), is_grpc),
    };
    request.extensions_mut().insert(caller.clone());
    if is_grpc {
        return match door.grpc.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    let path = request.uri().path();
    let mut response = if path == "/v1/openapi.json" {
        if request.method() == Method::GET {
            door.gateway.openapi()
        } else {
            rest::method_not_allowed(&[Method::GET])
        }
    } else if let Some(name) = path
        .strip_prefix("/v1/")
        .and_then(|path| path.strip_suffix(":content"))
        .map(str::to_owned)
    {
        door.content(&caller, &name, request).await
    } else if path.starts_with("/v1/") {
        door.gateway.handle(request).await
    } else {
        refused(Refusal::NotFound(path.to_owned()).into(), false)
    };
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn refused(status: Status, is_grpc: bool) -> Response {
    if is_grpc {
        status.into_http::<Body>()
    } else {
        problem::response(&status)
    }
}

impl Door {
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let caller = self
            .api
            .authenticator
            .authenticate(authorization, Api::now_us())
            .await?;
        self.rate.count(&caller.token, Instant::now()).await?;
        Ok(caller)
    }

    /// `PUT /v1/{artifact}:content` and `GET /v1/{operation}:content`: bytes as they are.
    async fn content(&self, caller: &Caller, name: &str, request: Request) -> Response {
        let parts: Option<Vec<String>> = name
            .split('/')
            .map(|part| rest::decode(part).filter(|part| !part.contains('/')))
            .collect();
        let Some(parts) = parts else {
            return refused(Refusal::NotFound(name.to_owned()).into(), false);
        };
        let name = parts.join("/");
        let is_upload = parts
            .get(2)
            .is_some_and(|collection| collection == "operations");
        let method = if is_upload { Method::GET } else { Method::PUT };
        if request.method() != method {
            return rest::method_not_allowed(&[method]);
        }
        let path = if is_upload { READ_UPLOAD } else { UPLOAD };
        let started = Instant::now();
        let answer = async {
            let _place = self.guard.admit_as(Role::Operator, path, caller)?;
            if is_upload {
                return uploads::content(&self.api, caller, &name).await;
            }
            self.take(caller, &name, request).await
        };
        let answer = answer.await.map_err(Status::from);
        self.guard.ended(
            path,
            Some(caller),
            started,
            answer.as_ref().err().map_or(tonic::Code::Ok, Status::code),
        );
        answer.unwrap_or_else(|status| problem::response(&status))
    }

    async fn take(
        &self,
        caller: &Caller,
        name: &str,
        request: Request,
    ) -> Result<Response, Refusal> {
        let limit = self.api.limits.artifact_bytes;
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge(format!(
                "an artifact may have at most {limit} bytes"
            )));
        }
        let chunks = request.into_body().into_data_stream();
        let chunks = chunks
            .map_err(|error| Refusal::field("content", format!("the upload broke off: {error}")));
        let artifact = self.artifacts.take(caller, name, chunks).await?;
        let json = rest::json(&self.artifact, &artifact.encode_to_vec().into());
        Ok(rest::json_response(
            json.map_err(|status| Refusal::Internal(status.to_string()))?
                .to_string(),
        ))
    }
}
