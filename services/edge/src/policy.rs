//! What a tenant says about its devices, over what the server's configuration says.

use crate::{
    address::Network,
    config::{Config, Enrolment, Scheme},
};
use moka::future::Cache;
use platen_proto::tenant::v1::{Tenant, tenant};
use platen_store::{Error, Store, tables::Tenants};
use std::{sync::Arc, time::Duration};

/// How long a tenant's policy is taken for what it was.
const KEPT: Duration = Duration::from_secs(10);

/// Tenants that are remembered, those that do not exist among them.
const TENANTS: u64 = 10_000;

/// What holds for the devices of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) enrolment: Enrolment,
    pub(crate) schemes: Vec<Scheme>,
    pub(crate) allow: Vec<Network>,
}

/// The policies of all tenants.
#[derive(Debug)]
pub(crate) struct Policies {
    store: Store,
    cache: Cache<String, Option<Arc<Policy>>>,
    default: Policy,
}

impl Policies {
    pub(crate) fn new(store: Store, config: &Config) -> Self {
        let default = Policy {
            enrolment: config.enrolment,
            schemes: config.auth.schemes.clone(),
            allow: config.connection_request.allow.clone(),
        };
        Self {
            store,
            cache: Cache::builder()
                .max_capacity(TENANTS)
                .time_to_live(KEPT)
                .build(),
            default,
        }
    }

    /// The policy of a tenant; `None`: there is no such tenant.
    pub(crate) async fn of(&self, tenant: &str) -> Result<Option<Arc<Policy>>, Error> {
        if platen_ids::TenantId::new(tenant).is_err() {
            return Ok(None);
        }
        if let Some(known) = self.cache.get(tenant).await {
            return Ok(known);
        }
        let row = self.store.get_edited::<Tenants>(tenant).await?;
        let policy = row.map(|row| {
            Arc::new(
                self.default
                    .clone()
                    .overridden(&row.value.tenant.unwrap_or_default()),
            )
        });
        self.cache.insert(tenant.to_owned(), policy.clone()).await;
        Ok(policy)
    }
}

impl Policy {
    /// What a tenant leaves open stays as it is; so does what this program does not understand, since the API checks what it takes.
    fn overridden(mut self, tenant: &Tenant) -> Self {
        match tenant.enrolment() {
            tenant::Enrolment::Closed => self.enrolment = Enrolment::Closed,
            tenant::Enrolment::Quarantine => self.enrolment = Enrolment::Quarantine,
            tenant::Enrolment::Unspecified => {}
        }
        let schemes: Vec<_> = tenant
            .auth_schemes
            .iter()
            .filter_map(|name| Scheme::from_name(name))
            .collect();
        if !schemes.is_empty() {
            self.schemes = schemes;
        }
        let allow: Vec<_> = tenant
            .connection_request_allow
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        if !allow.is_empty() {
            self.allow = allow;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_overrides_what_it_names() {
        let default = Policy {
            enrolment: Enrolment::Quarantine,
            schemes: vec![Scheme::DigestMd5],
            allow: Vec::new(),
        };
        assert_eq!(default.clone().overridden(&Tenant::default()), default);

        let tenant = Tenant {
            enrolment: tenant::Enrolment::Closed.into(),
            auth_schemes: vec!["basic".into(), "nonsense".into()],
            connection_request_allow: vec!["10.0.0.0/8".into()],
            ..Tenant::default()
        };
        let expected = Policy {
            enrolment: Enrolment::Closed,
            schemes: vec![Scheme::Basic],
            allow: vec!["10.0.0.0/8".parse().unwrap()],
        };
        assert_eq!(default.overridden(&tenant), expected);
    }
}
