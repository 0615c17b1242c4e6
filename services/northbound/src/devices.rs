//! `platen.device.v1.DeviceService`.

use crate::{
    api::{Api, Subject},
    caller::Caller,
    mask, names, page, parameters,
    refusal::Refusal,
    registration::{self, CHANGED, FOLLOWERS},
};
use futures::{StreamExt, TryStreamExt, stream};
use platen_fleet::{
    Cursor, Order, Query, UnknownOrder, device,
    expression::{Expression, Scope},
};
use platen_ids::{DeviceId, TenantId};
use platen_proto::{
    device::v1::{
        AdmitDeviceRequest, CreateDeviceRequest, Credentials, DeleteDeviceRequest, Device,
        GetDeviceRequest, ListDevicesRequest, ListDevicesResponse, ListParametersRequest,
        ListParametersResponse, LookupDeviceRequest, RetireDeviceRequest, UpdateDeviceRequest,
        device::State, device_service_server::DeviceService,
    },
    store::v1::{Observed, Registration, RequestRow},
};
use platen_store::{
    rows::{EditedRow, SwappedRow},
    table::Expect,
    tables::{Registrations, Requests},
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// How long an answer waits until the index of this process has seen the change.
const INDEX_PATIENCE: Duration = Duration::from_secs(1);

/// Devices of a page that are read from the store at a time.
const READS: usize = 16;

/// Fields of the resource that an update leaves alone.
const OUTPUT_ONLY: &[&str] = &[
    "name",
    "oui",
    "product_class",
    "serial_number",
    "state",
    "quarantine_reason",
    "manufacturer",
    "model_name",
    "software_version",
    "hardware_version",
    "root_data_model",
    "connection_request_url",
    "last_inform_time",
    "last_events",
    "online",
    "proxied_by",
    "create_time",
    "update_time",
    "etag",
];

/// Devices: registration, life cycle, what they reported.
#[derive(Debug, Clone)]
pub(crate) struct DeviceApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl DeviceService for DeviceApi {
    async fn create_device(
        &self,
        request: Request<CreateDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let CreateDeviceRequest {
            parent,
            device,
            request_id,
        } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        Ok(Response::new(
            self.create(&tenant, device.unwrap_or_default(), &request_id)
                .await?,
        ))
    }

    async fn get_device(
        &self,
        request: Request<GetDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, device) = names::device(&name)?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(self.get(&tenant, &device).await?))
    }

    async fn lookup_device(
        &self,
        request: Request<LookupDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let LookupDeviceRequest {
            parent,
            oui,
            product_class,
            serial_number,
        } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        let (_, device) = registration::identity(
            &Device {
                oui,
                product_class,
                serial_number,
                ..Device::default()
            },
            "",
        )?;
        Ok(Response::new(self.get(&tenant, &device).await?))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let tenant = names::tenant(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        Ok(Response::new(self.list(&tenant, &asked).await?))
    }

    async fn update_device(
        &self,
        request: Request<UpdateDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let UpdateDeviceRequest {
            device,
            update_mask,
        } = request.into_inner();
        let asked = device.unwrap_or_default();
        let (tenant, device) = names::device(&asked.name)?;
        caller.enters(&tenant, &asked.name)?;
        let changed = mask::changed(
            update_mask.as_ref(),
            registration::EDITABLE,
            OUTPUT_ONLY,
            |field| match field {
                "account" => !asked.account.is_empty(),
                "tags" => !asked.tags.is_empty(),
                "fields" => !asked.fields.is_empty(),
                "may_proxy" => asked.may_proxy,
                "allowed_devices" => !asked.allowed_devices.is_empty(),
                "credentials" => asked.credentials.is_some(),
                _ => asked.connection_request_credentials.is_some(),
            },
        )?;
        registration::check(&asked)?;
        Ok(Response::new(
            self.update(&tenant, &device, &asked, &changed).await?,
        ))
    }

    async fn retire_device(
        &self,
        request: Request<RetireDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let RetireDeviceRequest { name, etag } = request.into_inner();
        let (tenant, device) = names::device(&name)?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(self.retire(&tenant, &device, &etag).await?))
    }

    async fn admit_device(
        &self,
        request: Request<AdmitDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = Caller::of(&request)?;
        let AdmitDeviceRequest {
            name,
            etag,
            credentials,
        } = request.into_inner();
        let (tenant, device) = names::device(&name)?;
        caller.enters(&tenant, &name)?;
        registration::check(&Device {
            credentials: credentials.clone(),
            ..Device::default()
        })?;
        Ok(Response::new(
            self.admit(&tenant, &device, &etag, credentials.as_ref())
                .await?,
        ))
    }

    async fn delete_device(
        &self,
        request: Request<DeleteDeviceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let DeleteDeviceRequest { name, etag } = request.into_inner();
        let (tenant, device) = names::device(&name)?;
        caller.enters(&tenant, &name)?;
        self.retire(&tenant, &device, &etag).await?;
        Ok(Response::new(()))
    }

    async fn list_parameters(
        &self,
        request: Request<ListParametersRequest>,
    ) -> Result<Response<ListParametersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let (tenant, device) = names::device(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        registration::must_exist(&self.0.store, &tenant, &device).await?;
        Ok(Response::new(
            parameters::list(&self.0.store, &tenant, &device, &asked).await?,
        ))
    }
}

/// A registration as it stands, or none yet.
struct Found {
    registration: Option<EditedRow<Registration>>,
    observed: Option<Observed>,
}

impl Found {
    fn etag(&self) -> Option<&str> {
        self.registration.as_ref().map(|row| row.etag.as_str())
    }

    fn expect(&self) -> Expect {
        self.etag()
            .map_or(Expect::Absent, |etag| Expect::Etag(etag.to_owned()))
    }

    fn state(&self) -> State {
        device::state(
            self.registration.as_ref().map(|row| &row.value),
            self.observed.as_ref(),
        )
    }
}

impl DeviceApi {
    async fn read(&self, tenant: &TenantId, device: &DeviceId) -> Result<Found, Refusal> {
        let (registration, observed) = registration::read(&self.0.store, tenant, device).await?;
        Ok(Found {
            registration,
            observed,
        })
    }

    /// The device, which must exist; if the caller brought an etag, it must be this one.
    async fn existing(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        etag: &str,
    ) -> Result<Found, Refusal> {
        let found = self.read(tenant, device).await?;
        let name = || names::of(tenant, "devices", device.as_str());
        if found.registration.is_none() && found.observed.is_none() {
            return Err(Refusal::NotFound(name()));
        }
        if !etag.is_empty() && found.etag() != Some(etag) {
            return Err(Refusal::Changed(name()));
        }
        Ok(found)
    }

    async fn get(&self, tenant: &TenantId, device: &DeviceId) -> Result<Device, Refusal> {
        let found = self.existing(tenant, device, "").await?;
        Ok(resource(found))
    }

    async fn create(
        &self,
        tenant: &TenantId,
        asked: Device,
        request_id: &str,
    ) -> Result<Device, Refusal> {
        let (identity, id) = registration::identity(&asked, "device.")?;
        registration::check(&asked)?;
        let name = names::of(tenant, "devices", id.as_str());
        if !asked.name.is_empty() && asked.name != name {
            return Err(Refusal::field(
                "device.name",
                format!("follows from the identity: leave it out, or write {name}"),
            ));
        }
        let credentials =
            registration::make_credentials(asked.credentials.as_ref(), &id, || match request_id {
                "" => registration::random_password(),
                request_id => {
                    registration::password_of_request(&self.0.keys, tenant, &id, request_id)
                }
            });
        if !request_id.is_empty() {
            self.once(tenant, request_id, &name).await?;
        }
        loop {
            let found = self.read(tenant, &id).await?;
            if let Some(row) = &found.registration {
                if !request_id.is_empty()
                    && row.value.request_id == request_id
                    && !row.value.retired
                {
                    registration::drop_former(&self.0.store, tenant, &id, &row.value).await?;
                    // This very call, again. The password was shown once, unless the first call broke off before it was stored.
                    if registration::has_password(&self.0.store, tenant, &row.value.username)
                        .await?
                    {
                        return Ok(resource(found));
                    }
                    let sealed = registration::seal(&self.0.keys, tenant, &credentials);
                    registration::follow(&self.0.store, tenant, &id, Some(sealed)).await?;
                    return Ok(Device {
                        credentials: Some(credentials),
                        ..resource(found)
                    });
                }
                if !row.value.retired {
                    return Err(exists(&name));
                }
            } else if found.state() == State::Active {
                return Err(exists(&name));
            }
            let now_us = Api::now_us();
            let before = found.registration.as_ref().map(|row| &row.value);
            if let Some(before) = before {
                registration::drop_former(&self.0.store, tenant, &id, before).await?;
            }
            let mut value = Registration {
                tenant: tenant.to_string(),
                device: id.to_string(),
                oui: identity.oui().to_owned(),
                product_class: identity.product_class().to_owned(),
                serial_number: identity.serial_number().to_owned(),
                username: before
                    .map(|before| before.username.clone())
                    .unwrap_or_default(),
                account: asked.account.clone(),
                tags: asked.tags.clone(),
                fields: asked.fields.clone(),
                may_proxy: asked.may_proxy,
                allowed_devices: asked.allowed_devices.clone(),
                create_time_us: before.map_or(now_us, |before| before.create_time_us),
                update_time_us: now_us,
                admit_time_us: before.map_or(0, |_| now_us),
                request_id: request_id.to_owned(),
                ..Registration::default()
            };
            registration::set_connection_request(
                &self.0.keys,
                &mut value,
                asked.connection_request_credentials.as_ref(),
            );
            registration::rename(&mut value, &credentials.username);

            futures::try_join!(
                registration::reserve(&self.0.store, tenant, &id, &credentials.username),
                self.announce(tenant, &id),
            )?;
            // Somebody was faster: perhaps this very call, repeated.
            let Some(etag) = self.swap(tenant, &id, found.expect(), &value).await? else {
                continue;
            };
            let sealed = registration::seal(&self.0.keys, tenant, &credentials);
            registration::follow(&self.0.store, tenant, &id, Some(sealed)).await?;
            registration::drop_former(&self.0.store, tenant, &id, &value).await?;
            self.told(tenant, &id, &etag).await;
            let made = resource(Found {
                registration: Some(EditedRow { value, etag }),
                observed: found.observed,
            });
            return Ok(Device {
                credentials: Some(credentials),
                ..made
            });
        }
    }

    /// Remembers what the first call with a request id is about; another thing under the same id is refused.
    async fn once(&self, tenant: &TenantId, request_id: &str, name: &str) -> Result<(), Refusal> {
        check_request_id(request_id, "requestId")?;
        let row = RequestRow {
            name: name.to_owned(),
        };
        let key = format!("device/{request_id}");
        match self
            .0
            .store
            .insert::<Requests>((tenant.as_str(), &key), &row)
            .await?
        {
            Some(found) if found.name != name => Err(reused(&found.name)),
            _ => Ok(()),
        }
    }

    async fn update(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        asked: &Device,
        changed: &[&str],
    ) -> Result<Device, Refusal> {
        let credentials = changed
            .contains(&"credentials")
            .then(|| asked.credentials.clone().unwrap_or_default());
        if credentials
            .as_ref()
            .is_some_and(|credentials| credentials.password.is_empty())
        {
            return Err(Refusal::field(
                "device.credentials.password",
                "must be given",
            ));
        }
        loop {
            let found = self.existing(tenant, id, &asked.etag).await?;
            let now_us = Api::now_us();
            let mut value = match (&found.registration, &found.observed) {
                (Some(row), _) => row.value.clone(),
                (None, Some(observed)) => registration::adopt(observed, now_us),
                (None, None) => return Err(Refusal::NotFound(asked.name.clone())),
            };
            registration::drop_former(&self.0.store, tenant, id, &value).await?;
            registration::apply(&self.0.keys, &mut value, asked, changed);
            let credentials = credentials.clone().map(|credentials| {
                let username = [&credentials.username, &value.username]
                    .into_iter()
                    .find(|name| !name.is_empty())
                    .cloned();
                Credentials {
                    username: username.unwrap_or_else(|| id.to_string()),
                    ..credentials
                }
            });
            if let Some(credentials) = &credentials {
                registration::rename(&mut value, &credentials.username);
                registration::reserve(&self.0.store, tenant, id, &value.username).await?;
            }
            self.announce(tenant, id).await?;
            // Without an etag of the caller's, whoever was faster is built upon.
            let Some(etag) = self.swap(tenant, id, found.expect(), &value).await? else {
                continue;
            };
            let sealed = credentials
                .as_ref()
                .map(|credentials| registration::seal(&self.0.keys, tenant, credentials));
            registration::follow(&self.0.store, tenant, id, sealed).await?;
            registration::drop_former(&self.0.store, tenant, id, &value).await?;
            self.told(tenant, id, &etag).await;
            return Ok(resource(Found {
                registration: Some(EditedRow { value, etag }),
                observed: found.observed,
            }));
        }
    }

    async fn retire(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        etag: &str,
    ) -> Result<Device, Refusal> {
        loop {
            let found = self.existing(tenant, id, etag).await?;
            let now_us = Api::now_us();
            let mut value = match (&found.registration, &found.observed) {
                (Some(row), _) => row.value.clone(),
                (None, Some(observed)) => registration::adopt(observed, now_us),
                (None, None) => {
                    return Err(Refusal::NotFound(names::of(tenant, "devices", id.as_str())));
                }
            };
            self.announce(tenant, id).await?;
            let etag = if value.retired {
                found.etag().unwrap_or_default().to_owned()
            } else {
                value.retired = true;
                value.update_time_us = now_us;
                match self.swap(tenant, id, found.expect(), &value).await? {
                    Some(etag) => etag,
                    None => continue,
                }
            };
            registration::follow(&self.0.store, tenant, id, None).await?;
            registration::drop_former(&self.0.store, tenant, id, &value).await?;
            self.told(tenant, id, &etag).await;
            return Ok(resource(Found {
                registration: Some(EditedRow { value, etag }),
                observed: found.observed,
            }));
        }
    }

    async fn admit(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        etag: &str,
        asked: Option<&Credentials>,
    ) -> Result<Device, Refusal> {
        loop {
            let found = self.existing(tenant, id, etag).await?;
            if found.state() != State::Quarantined {
                let message = format!(
                    "the device is {}, not QUARANTINED",
                    found.state().as_str_name()
                );
                return Err(Refusal::Precondition {
                    code: "NOT_QUARANTINED",
                    message,
                });
            }
            let now_us = Api::now_us();
            let Some(observed) = &found.observed else {
                return Err(Refusal::Internal(
                    "a quarantine without a device".to_owned(),
                ));
            };
            let mut value = found.registration.as_ref().map_or_else(
                || registration::adopt(observed, now_us),
                |row| row.value.clone(),
            );
            // A device that has credentials keeps them, unless it is given others: it could not get in otherwise.
            let credentials = (value.username.is_empty() || asked.is_some())
                .then(|| registration::make_credentials(asked, id, registration::random_password));
            registration::drop_former(&self.0.store, tenant, id, &value).await?;
            if let Some(credentials) = &credentials {
                registration::rename(&mut value, &credentials.username);
                registration::reserve(&self.0.store, tenant, id, &value.username).await?;
            }
            value.admit_time_us = now_us.max(observed.last_inform_us + 1);
            value.update_time_us = now_us;
            self.announce(tenant, id).await?;
            let Some(etag) = self.swap(tenant, id, found.expect(), &value).await? else {
                continue;
            };
            let sealed = credentials
                .as_ref()
                .map(|credentials| registration::seal(&self.0.keys, tenant, credentials));
            registration::follow(&self.0.store, tenant, id, sealed).await?;
            registration::drop_former(&self.0.store, tenant, id, &value).await?;
            self.told(tenant, id, &etag).await;
            let made = resource(Found {
                registration: Some(EditedRow { value, etag }),
                observed: found.observed,
            });
            return Ok(Device {
                credentials,
                ..made
            });
        }
    }

    async fn list(
        &self,
        tenant: &TenantId,
        asked: &ListDevicesRequest,
    ) -> Result<ListDevicesResponse, Refusal> {
        let filter = if asked.filter.trim().is_empty() {
            None
        } else {
            Some(
                Expression::compile(&asked.filter, Scope::Fleet)
                    .map_err(|error| Refusal::field("filter", error.to_string()))?,
            )
        };
        let size = page::size(asked.page_size, 50, 1000)?;
        let order: Order = asked
            .order_by
            .parse()
            .map_err(|error: UnknownOrder| Refusal::field("orderBy", error.to_string()))?;
        let token = [
            "devices",
            asked.parent.as_str(),
            asked.filter.as_str(),
            asked.order_by.as_str(),
        ];
        let after: Option<String> = page::position(&token, &asked.page_token)?;
        let after = after
            .map(|after| Cursor::from_token(&after))
            .transpose()
            .map_err(|error| Refusal::field("pageToken", error.to_string()))?;
        if !self.0.fleet.ready() {
            return Err(Refusal::Unavailable {
                code: "INDEX_LOADING",
                message: "the list of devices is being loaded".to_owned(),
            });
        }
        let query = Query {
            filter: filter.map(Arc::new),
            order,
            page_size: size,
            cursor: after,
            now_us: Api::now_us(),
        };
        let page = self.0.fleet.query(tenant.as_str(), query).await;
        let devices = stream::iter(page.ids)
            .map(|id| self.shown(tenant, id))
            .buffered(READS)
            .try_filter_map(|device| async move { Ok(device) })
            .try_collect::<Vec<_>>()
            .await?;
        let next_page_token = page
            .next
            .map(|next| page::token(&token, &next.to_token()))
            .transpose()?
            .unwrap_or_default();
        Ok(ListDevicesResponse {
            devices,
            next_page_token,
            total_size: i32::try_from(page.total).unwrap_or(i32::MAX),
        })
    }

    /// A device of a list. `None`: the index names one that the store does not have.
    async fn shown(
        &self,
        tenant: &TenantId,
        id: impl AsRef<str>,
    ) -> Result<Option<Device>, Refusal> {
        let id = DeviceId::new(id).map_err(|error| Refusal::Internal(error.to_string()))?;
        let found = self.read(tenant, &id).await?;
        let exists = found.registration.is_some() || found.observed.is_some();
        Ok(exists.then(|| resource(found)))
    }

    async fn announce(&self, tenant: &TenantId, id: &DeviceId) -> Result<(), Refusal> {
        self.0
            .announce(
                FOLLOWERS,
                tenant,
                Subject::Device {
                    device: id.as_str(),
                    id: "",
                },
                CHANGED,
            )
            .await
    }

    /// The row's etag. `None`: the condition did not hold.
    async fn swap(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        expect: Expect,
        value: &Registration,
    ) -> Result<Option<String>, Refusal> {
        match self
            .0
            .store
            .compare_and_set::<Registrations>((tenant.as_str(), id.as_str()), expect, Some(value))
            .await?
        {
            SwappedRow::Done(etag) => Ok(Some(etag)),
            SwappedRow::Refused(_) => Ok(None),
        }
    }

    /// Tells those who follow, and waits until the lists of this process show the change.
    async fn told(&self, tenant: &TenantId, id: &DeviceId, etag: &str) {
        self.0
            .notify(
                tenant,
                Subject::Device {
                    device: id.as_str(),
                    id: "",
                },
                CHANGED,
            )
            .await;
        self.0
            .fleet
            .await_device(tenant.as_str(), id.as_str(), etag, INDEX_PATIENCE)
            .await;
    }
}

/// Refuses request ids that are not worth remembering.
pub(crate) fn check_request_id(request_id: &str, field: &str) -> Result<(), Refusal> {
    if request_id.len() <= 128 && !request_id.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Refusal::field(
            field,
            "must have at most 128 bytes, without control characters",
        ))
    }
}

/// A request id that stands for something else.
pub(crate) fn reused(name: &str) -> Refusal {
    Refusal::Exists {
        code: "REQUEST_ID_REUSED",
        message: format!("the request id was used for {name}"),
    }
}

fn exists(name: &str) -> Refusal {
    Refusal::Exists {
        code: "DEVICE_EXISTS",
        message: format!("{name} exists already"),
    }
}

fn resource(found: Found) -> Device {
    let registration = found.registration.map(device::registration);
    device::resource(
        registration.as_ref(),
        found.observed.as_ref(),
        Api::now_us(),
    )
}
