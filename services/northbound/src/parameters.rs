//! What a device reported, parameter by parameter.

use crate::{page, refusal::Refusal};
use platen_ids::{DeviceId, TenantId};
use platen_proto::device::v1::{ListParametersRequest, ListParametersResponse, Parameter};
use platen_store::{Store, tables::Parameters};

/// Every parameter of a device whose path begins with `prefix`, by path.
pub(crate) async fn known(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
    prefix: &str,
) -> Result<Vec<Parameter>, Refusal> {
    let rows = store
        .scan_all::<Parameters>((tenant.as_str(), device.as_str(), 0))
        .await?;
    let mut parameters: Vec<Parameter> = rows
        .into_iter()
        .flat_map(|(_, chunk)| chunk.parameters)
        .filter(|parameter| parameter.path.starts_with(prefix))
        .collect();
    parameters.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(parameters)
}

/// One page of them.
pub(crate) async fn list(
    store: &Store,
    tenant: &TenantId,
    device: &DeviceId,
    asked: &ListParametersRequest,
) -> Result<ListParametersResponse, Refusal> {
    let query = ["parameters", asked.parent.as_str(), asked.prefix.as_str()];
    let after: Option<String> = page::position(&query, &asked.page_token)?;
    let size = page::size(asked.page_size, 500, 5_000)?;
    let mut parameters = known(store, tenant, device, &asked.prefix).await?;
    if let Some(after) = after {
        let begin = parameters.partition_point(|parameter| parameter.path <= after);
        parameters.drain(..begin);
    }
    let more = parameters.len() > size;
    parameters.truncate(size);
    let next_page_token = match parameters.last() {
        Some(last) if more => page::token(&query, &last.path)?,
        _ => String::new(),
    };
    Ok(ListParametersResponse {
        parameters,
        next_page_token,
    })
}
