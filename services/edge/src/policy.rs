//! What a tenant says about its devices, over what the server's configuration says.

use crate::{
    address::Network,
    config::{Config, Enrolment, Scheme},
    reach::Kept,
};
use platen_proto::tenant::v1::{Tenant, tenant};
use platen_runtime::Recent;
use platen_store::{Error, Store, tables::Tenants};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a tenant's policy is taken for what it was.
const FRESH: Duration = Duration::from_secs(10);

/// Bytes of policies that are remembered, those of tenants that do not exist among them: some ten thousand.
const TENANTS: u64 = 4 << 20;

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
    cache: Recent<String, Kept<Option<Arc<Policy>>>>,
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
            cache: Recent::new(TENANTS, |tenant, known| {
                tenant.capacity() + known.value.as_deref().map_or(0, Policy::weight)
            }),
            default,
        }
    }

    /// The policy of a tenant; `None`: there is no such tenant.
    pub(crate) async fn of(&self, tenant: &str) -> Result<Option<Arc<Policy>>, Error> {
        if platen_ids::TenantId::new(tenant).is_err() {
            return Ok(None);
        }
        let known = self.cache.get(tenant);
        if let Some(known) = &known
            && known.is_fresh(FRESH)
        {
            return Ok(known.value.clone());
        }
        let read = Instant::now();
        let row = match (self.store.get_edited::<Tenants>(tenant).await, known) {
            (Ok(row), _) => row,
            // That there was no such tenant a while ago is no answer.
            (Err(error), Some(known)) if known.value.is_some() => return known.in_place_of(error),
            (Err(error), _) => return Err(error),
        };
        let policy = row.map(|row| {
            Arc::new(
                self.default
                    .clone()
                    .overridden(&row.value.tenant.unwrap_or_default()),
            )
        });
        let known = Kept {
            value: policy.clone(),
            read,
        };
        self.cache.insert(tenant.to_owned(), known);
        Ok(policy)
    }
}

impl Policy {
    /// Bytes in memory.
    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.schemes.capacity() * size_of::<Scheme>()
            + self.allow.capacity() * size_of::<Network>()
    }

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
