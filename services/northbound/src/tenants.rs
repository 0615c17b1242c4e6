//! Tenants and their policy.

use crate::{
    api::Api,
    caller::Caller,
    mask, names, page,
    refusal::{Refusal, Violation},
};
use platen_fleet::device::timestamp;
use platen_ids::TenantId;
use platen_proto::{
    store::v1::TenantRow,
    tenant::v1::{
        CreateTenantRequest, GetTenantRequest, ListTenantsRequest, ListTenantsResponse, Tenant,
        UpdateTenantRequest, tenant::Enrolment, tenant_service_server::TenantService,
    },
};
use platen_store::{
    Store,
    rows::{EditedRow, SwappedRow},
    table::Expect,
    tables::Tenants,
};
use std::{net::IpAddr, sync::Arc};
use tonic::{Request, Response, Status};

/// What an update may change.
const EDITABLE: &[&str] = &[
    "display_name",
    "enrolment",
    "auth_schemes",
    "connection_request_allow",
];

/// What else a tenant has.
const KNOWN: &[&str] = &["name", "create_time", "update_time", "etag"];

/// Digest and other schemes that a tenant may allow its devices.
const SCHEMES: [&str; 3] = ["digest-md5", "digest-sha256", "basic"];

/// `platen.tenant.v1.TenantService`.
#[derive(Debug, Clone)]
pub(crate) struct TenantApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl TenantService for TenantApi {
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<Tenant>, Status> {
        let asked = request.into_inner().tenant.unwrap_or_default();
        Ok(Response::new(
            create(&self.0.store, asked, Api::now_us()).await?,
        ))
    }

    async fn get_tenant(
        &self,
        request: Request<GetTenantRequest>,
    ) -> Result<Response<Tenant>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let tenant = names::tenant(&name)?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(resource(
            stored(&self.0.store, &tenant).await?,
        )))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        let asked = request.into_inner();
        let page = page::Asked {
            query: &["tenants"],
            size: (asked.page_size, 100, 1000),
            token: &asked.page_token,
        };
        let (rows, next_page_token) = page::edited::<Tenants>(&self.0.store, "", page).await?;
        let tenants = rows.into_iter().map(resource).collect();
        Ok(Response::new(ListTenantsResponse {
            tenants,
            next_page_token,
        }))
    }

    async fn update_tenant(
        &self,
        request: Request<UpdateTenantRequest>,
    ) -> Result<Response<Tenant>, Status> {
        let UpdateTenantRequest {
            tenant: asked,
            update_mask,
        } = request.into_inner();
        let asked = asked.unwrap_or_default();
        let tenant = names::tenant(&asked.name)?;
        let changed = mask::changed(update_mask.as_ref(), EDITABLE, KNOWN, |field| match field {
            "display_name" => !asked.display_name.is_empty(),
            "enrolment" => asked.enrolment() != Enrolment::Unspecified,
            "auth_schemes" => !asked.auth_schemes.is_empty(),
            _ => !asked.connection_request_allow.is_empty(),
        })?;
        check(&asked)?;
        loop {
            let row = stored(&self.0.store, &tenant).await?;
            if !asked.etag.is_empty() && asked.etag != row.etag {
                return Err(Refusal::Changed(asked.name).into());
            }
            let mut next = row.value.tenant.clone().unwrap_or_default();
            for field in &changed {
                match *field {
                    "display_name" => next.display_name.clone_from(&asked.display_name),
                    "enrolment" => next.enrolment = asked.enrolment,
                    "auth_schemes" => next.auth_schemes.clone_from(&asked.auth_schemes),
                    _ => next
                        .connection_request_allow
                        .clone_from(&asked.connection_request_allow),
                }
            }
            next.update_time = timestamp(Api::now_us());
            let value = TenantRow {
                tenant: Some(next),
                etag: String::new(),
            };
            let swapped = self
                .0
                .store
                .compare_and_set::<Tenants>(tenant.as_str(), Expect::Etag(row.etag), Some(&value))
                .await;
            if let SwappedRow::Done(etag) = swapped.map_err(Refusal::from)? {
                return Ok(Response::new(resource(EditedRow { value, etag })));
            }
        }
    }
}

/// Makes a tenant.
///
/// # Errors
///
/// [`Refusal::Exists`], [`Refusal::Invalid`], or the store's.
pub(crate) async fn create(store: &Store, asked: Tenant, now_us: i64) -> Result<Tenant, Refusal> {
    let id = asked.name.strip_prefix("tenants/").unwrap_or(&asked.name);
    let tenant =
        TenantId::new(id).map_err(|error| Refusal::field("tenant.name", error.to_string()))?;
    check(&asked)?;
    let made = Tenant {
        name: names::of_tenant(&tenant),
        create_time: timestamp(now_us),
        update_time: timestamp(now_us),
        etag: String::new(),
        ..asked
    };
    let value = TenantRow {
        tenant: Some(made),
        etag: String::new(),
    };
    match store
        .compare_and_set::<Tenants>(tenant.as_str(), Expect::Absent, Some(&value))
        .await?
    {
        SwappedRow::Done(etag) => Ok(resource(EditedRow { value, etag })),
        SwappedRow::Refused(_) => Err(Refusal::Exists {
            code: "TENANT_EXISTS",
            message: format!("tenants/{tenant} exists already"),
        }),
    }
}

/// Refuses what is asked of a tenant that is not there.
///
/// # Errors
///
/// [`Refusal::NotFound`], or the store's.
pub(crate) async fn exists(store: &Store, tenant: &TenantId) -> Result<(), Refusal> {
    stored(store, tenant).await.map(|_| ())
}

async fn stored(store: &Store, tenant: &TenantId) -> Result<EditedRow<TenantRow>, Refusal> {
    store
        .get_edited::<Tenants>(tenant.as_str())
        .await?
        .ok_or_else(|| Refusal::NotFound(names::of_tenant(tenant)))
}

fn resource(row: EditedRow<TenantRow>) -> Tenant {
    Tenant {
        etag: row.etag,
        ..row.value.tenant.unwrap_or_default()
    }
}

fn check(tenant: &Tenant) -> Result<(), Refusal> {
    let mut violations = Vec::new();
    if tenant.display_name.chars().count() > 200 {
        violations.push(Violation::new(
            "tenant.displayName",
            "must have at most 200 characters",
        ));
    }
    if Enrolment::try_from(tenant.enrolment).is_err() {
        violations.push(Violation::new(
            "tenant.enrolment",
            "must be CLOSED or QUARANTINE",
        ));
    }
    for (index, scheme) in tenant.auth_schemes.iter().enumerate() {
        if !SCHEMES.contains(&scheme.as_str()) {
            violations.push(Violation::new(
                format!("tenant.authSchemes[{index}]"),
                format!("must be one of {}", SCHEMES.join(", ")),
            ));
        }
    }
    if tenant.connection_request_allow.len() > 100 {
        violations.push(Violation::new(
            "tenant.connectionRequestAllow",
            "must have at most 100 networks",
        ));
    }
    for (index, network) in tenant.connection_request_allow.iter().enumerate() {
        if !is_network(network) {
            violations.push(Violation::new(
                format!("tenant.connectionRequestAllow[{index}]"),
                "must be a network such as 192.0.2.0/24",
            ));
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Invalid(violations))
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    match (address.parse::<IpAddr>(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_checked() {
        let tenant = Tenant {
            auth_schemes: vec!["digest-md5".into(), "plain".into()],
            connection_request_allow: vec![
                "192.0.2.0/24".into(),
                "2001:db8::/32".into(),
                "192.0.2.0".into(),
                "192.0.2.0/33".into(),
            ],
            ..Tenant::default()
        };
        let Err(Refusal::Invalid(violations)) = check(&tenant) else {
            panic!("accepted")
        };
        let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "tenant.authSchemes[1]",
                "tenant.connectionRequestAllow[2]",
                "tenant.connectionRequestAllow[3]"
            ]
        );
    }
}
