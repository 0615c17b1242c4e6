//! The files that devices brought: `GET /v1/{operation}:content`.

use crate::{api::Api, artifacts, caller::Caller, names, refusal::Refusal};
use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use object_store::{ObjectStoreExt, path::Path};
use platen_proto::operation::v1::operation_request::Action;
use platen_store::tables::Operations;

/// The file of an upload operation, as the device sent it.
///
/// # Errors
///
/// [`Refusal::NotFound`] if there is no such operation, or it brings no file to Platen; [`Refusal::Precondition`] as long as the file is not
/// there.
pub(crate) async fn content(api: &Api, caller: &Caller, name: &str) -> Result<Response, Refusal> {
    let (tenant, id) = names::operation(name)?;
    caller.enters(&tenant, name)?;
    let absent = || Refusal::NotFound(name.to_owned());
    let command = api
        .store
        .get::<Operations>((tenant.as_str(), id.as_str()))
        .await?
        .ok_or_else(absent)?;
    if !matches!(
        command.request.and_then(|request| request.action),
        Some(Action::Upload(_))
    ) {
        return Err(Refusal::NotFound(format!("a file of {name}")));
    }
    let path = Path::from_iter(["uploads", tenant.as_str(), id.as_str()]);
    let file = match api.files.get(&path).await {
        Ok(file) => file,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(Refusal::Precondition {
                code: "UPLOAD_MISSING",
                message: "the device has not brought the file".to_owned(),
            });
        }
        Err(error) => return Err(artifacts::files(error)),
    };
    let size = file.meta.size;
    let mut response = Response::new(Body::from_stream(file.into_stream()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // What a device sends is never shown, only saved.
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"upload\""),
    );
    Ok(response)
}
