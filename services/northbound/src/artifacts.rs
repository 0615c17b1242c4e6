//! `platen.firmware.v1.ArtifactService`: files with a hash and the devices that they fit, and their bytes, over gRPC or HTTP.

use crate::{
    api::{Api, Subject, random},
    caller::Caller,
    devices::check_request_id,
    names, page,
    refusal::{Refusal, Violation},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use platen_fleet::device::timestamp;
use platen_ids::TenantId;
use platen_proto::{
    firmware::v1::{
        Artifact, CreateArtifactRequest, DeleteArtifactRequest, GetArtifactRequest,
        ListArtifactsRequest, ListArtifactsResponse, UploadArtifactRequest, artifact::State,
        artifact_service_server::ArtifactService, upload_artifact_request::Data,
    },
    store::v1::ArtifactRow,
};
use platen_store::{
    rows::{EditedRow, SwappedRow},
    table::Expect,
    tables::Artifacts,
};
use sha2::{Digest, Sha256};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tonic::{Request, Response, Status, Streaming};

/// File type of artifacts that do not say.
const FIRMWARE: &str = "1 Firmware Upgrade Image";

/// Largest piece of a gRPC upload.
const MAX_CHUNK: usize = 1024 * 1024;

/// Parts of one upload that are written at a time: with parts of 5 MiB, the most memory that an upload takes.
const PARTS: usize = 2;

const CHANGED: &str = "ARTIFACT_CHANGED";

/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Where bytes lie until they are complete.
const INCOMING: &str = "incoming";

/// Artifacts.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl ArtifactService for ArtifactApi {
    async fn create_artifact(
        &self,
        request: Request<CreateArtifactRequest>,
    ) -> Result<Response<Artifact>, Status> {
        let caller = Caller::of(&request)?;
        let CreateArtifactRequest {
            parent,
            artifact,
            request_id,
        } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        check_request_id(&request_id, "requestId")?;
        let asked = artifact.unwrap_or_default();
        check(&asked)?;
        let fallback = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        let id = names::chosen(
            &asked.name,
            "artifact.name",
            &tenant,
            "artifacts",
            &asked.display_name,
            &fallback,
        )?;
        let now = timestamp(Api::now_us());
        let artifact = Artifact {
            name: names::of(&tenant, "artifacts", &id),
            file_type: if asked.file_type.is_empty() {
                FIRMWARE.to_owned()
            } else {
                asked.file_type
            },
            state: State::Empty.into(),
            size_bytes: 0,
            sha256: asked.sha256.to_ascii_lowercase(),
            create_time: now,
            update_time: now,
            etag: String::new(),
            ..asked
        };
        let row = ArtifactRow {
            artifact: Some(artifact),
            request_id,
            etag: String::new(),
        };
        match self.swap(&tenant, &id, Expect::Absent, &row).await? {
            SwappedRow::Done(etag) => Ok(Response::new(resource(EditedRow { value: row, etag }))),
            SwappedRow::Refused(Some(found))
                if !row.request_id.is_empty() && found.value.request_id == row.request_id =>
            {
                Ok(Response::new(resource(found)))
            }
            SwappedRow::Refused(_) => {
                let message = format!("{} exists already", names::of(&tenant, "artifacts", &id));
                Err(Refusal::Exists {
                    code: "ARTIFACT_EXISTS",
                    message,
                }
                .into())
            }
        }
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Result<Response<Artifact>, Status> {
        let caller = Caller::of(&request)?;
        let mut messages = request.into_inner();
        let Some(Data::Name(name)) = messages.message().await?.and_then(|message| message.data)
        else {
            return Err(Refusal::field("name", "must be the first message").into());
        };
        let chunks = messages.map(|message| match message.map(|message| message.data) {
            Ok(Some(Data::Chunk(chunk))) if chunk.len() <= MAX_CHUNK => Ok(chunk),
            Ok(Some(Data::Chunk(_))) => Err(Refusal::field(
                "chunk",
                format!("must have at most {MAX_CHUNK} bytes"),
            )),
            Ok(_) => Err(Refusal::field("chunk", "must follow the name")),
            Err(status) => Err(broken_off(&status)),
        });
        Ok(Response::new(self.take(&caller, &name, chunks).await?))
    }

    async fn get_artifact(
        &self,
        request: Request<GetArtifactRequest>,
    ) -> Result<Response<Artifact>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = names::child(&name, "artifacts")?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(resource(self.stored(&tenant, &id).await?)))
    }

    async fn list_artifacts(
        &self,
        request: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let tenant = names::tenant(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        let page = page::Asked {
            query: &["artifacts", &asked.parent],
            size: (asked.page_size, 50, 500),
            token: &asked.page_token,
        };
        let (rows, next_page_token) =
            page::edited::<Artifacts>(&self.0.store, (tenant.as_str(), ""), page).await?;
        let artifacts = rows.into_iter().map(resource).collect();
        Ok(Response::new(ListArtifactsResponse {
            artifacts,
            next_page_token,
        }))
    }

    async fn delete_artifact(
        &self,
        request: Request<DeleteArtifactRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let DeleteArtifactRequest { name, etag } = request.into_inner();
        let (tenant, id) = names::child(&name, "artifacts")?;
        caller.enters(&tenant, &name)?;
        self.stored(&tenant, &id).await?;
        let subject = Subject::Other {
            kind: "artifact",
            id: &id,
        };
        self.0
            .announce(&["firmware"], &tenant, subject, CHANGED)
            .await?;
        let expect = if etag.is_empty() {
            Expect::Any
        } else {
            Expect::Etag(etag)
        };
        let swapped = self
            .0
            .store
            .compare_and_set::<Artifacts>((tenant.as_str(), id.as_str()), expect, None)
            .await;
        match swapped.map_err(Refusal::from)? {
            SwappedRow::Done(_) => {}
            SwappedRow::Refused(Some(_)) => return Err(Refusal::Changed(name).into()),
            SwappedRow::Refused(None) => return Err(Refusal::NotFound(name).into()),
        }
        self.0.notify(&tenant, subject, CHANGED).await;
        self.forget_bytes(&tenant, &id).await;
        Ok(Response::new(()))
    }
}

impl ArtifactApi {
    /// Takes the bytes of an artifact: they are hashed on the way, lie apart until they are complete, and only then have a name. Whatever goes
    /// wrong, nothing is kept.
    pub(crate) async fn take(
        &self,
        caller: &Caller,
        name: &str,
        chunks: impl Stream<Item = Result<Bytes, Refusal>> + Send,
    ) -> Result<Artifact, Refusal> {
        let (tenant, id) = names::child(name, "artifacts")?;
        caller.enters(&tenant, name)?;
        self.stored(&tenant, &id).await?;
        let incoming = Path::from_iter([INCOMING, tenant.as_str(), &id, &random(16)]);
        let written = self.write(&incoming, chunks).await;
        let kept = match written {
            Ok((size, sha256)) => self.keep(&tenant, &id, &incoming, size, sha256).await,
            Err(refusal) => Err(refusal),
        };
        if kept.is_err()
            && let Err(error) = self.0.files.delete(&incoming).await
            && !matches!(error, object_store::Error::NotFound { .. })
        {
            tracing::warn!(%error, path = %incoming, "the bytes of a refused upload are left behind");
        }
        kept
    }

    /// Writes a stream to an object: its size and SHA-256.
    async fn write(
        &self,
        path: &Path,
        chunks: impl Stream<Item = Result<Bytes, Refusal>> + Send,
    ) -> Result<(u64, String), Refusal> {
        let mut chunks = Box::pin(chunks);
        let upload = self.0.files.put_multipart(path).await.map_err(files)?;
        let mut writer = WriteMultipart::new(upload);
        let mut hash = Sha256::new();
        let mut size: u64 = 0;
        let limit = self.0.limits.artifact_bytes;
        let outcome = loop {
            let Ok(chunk) = tokio::time::timeout(SILENCE, chunks.next()).await else {
                break Err(Refusal::field("content", "did not come in time"));
            };
            match chunk {
                None => break Ok(()),
                Some(Err(refusal)) => break Err(refusal),
                Some(Ok(chunk)) => {
                    size += chunk.len() as u64;
                    if size > limit {
                        break Err(Refusal::TooLarge(format!(
                            "an artifact may have at most {limit} bytes"
                        )));
                    }
                    hash.update(&chunk);
                    if let Err(error) = writer.wait_for_capacity(PARTS).await {
                        break Err(files(error));
                    }
                    writer.put(chunk);
                }
            }
        };
        match outcome {
            Ok(()) if size == 0 => {
                let _ = writer.abort().await;
                Err(Refusal::field("content", "is empty"))
            }
            Ok(()) => {
                writer.finish().await.map_err(files)?;
                Ok((size, crate::hex(&hash.finalize())))
            }
            Err(refusal) => {
                // What cannot be aborted is removed with the object, or by the object store's own rules.
                let _ = writer.abort().await;
                Err(refusal)
            }
        }
    }

    /// Gives complete bytes their name, and the artifact its bytes.
    async fn keep(
        &self,
        tenant: &TenantId,
        id: &str,
        incoming: &Path,
        size: u64,
        sha256: String,
    ) -> Result<Artifact, Refusal> {
        loop {
            let found = self.stored(tenant, id).await?;
            let mut row = found.value;
            let mut artifact = row.artifact.take().unwrap_or_default();
            if artifact.state() == State::Ready {
                if artifact.sha256 != sha256 {
                    let message = format!("{} has its bytes, which never change", artifact.name);
                    return Err(Refusal::Precondition {
                        code: "ARTIFACT_READY",
                        message,
                    });
                }
                // The same bytes again: as if the first answer had been lost.
                self.0.files.delete(incoming).await.map_err(files)?;
                return Ok(Artifact {
                    etag: found.etag,
                    ..artifact
                });
            }
            if !artifact.sha256.is_empty() && artifact.sha256 != sha256 {
                let message = format!("the bytes have SHA-256 {sha256}, not {}", artifact.sha256);
                return Err(Refusal::Precondition {
                    code: "CONTENT_MISMATCH",
                    message,
                });
            }
            let object = Path::from_iter(["artifacts", tenant.as_str(), id, &sha256]);
            self.0.files.copy(incoming, &object).await.map_err(files)?;
            artifact.state = State::Ready.into();
            artifact.size_bytes = size;
            artifact.sha256.clone_from(&sha256);
            artifact.update_time = timestamp(Api::now_us());
            row.artifact = Some(artifact);
            if let SwappedRow::Done(etag) = self
                .swap(tenant, id, Expect::Etag(found.etag), &row)
                .await?
            {
                if let Err(error) = self.0.files.delete(incoming).await {
                    tracing::warn!(%error, path = %incoming, "a copy of an artifact's bytes is left behind");
                }
                return Ok(resource(EditedRow { value: row, etag }));
            }
        }
    }

    async fn stored(&self, tenant: &TenantId, id: &str) -> Result<EditedRow<ArtifactRow>, Refusal> {
        let row = self
            .0
            .store
            .get_edited::<Artifacts>((tenant.as_str(), id))
            .await?;
        row.ok_or_else(|| Refusal::NotFound(names::of(tenant, "artifacts", id)))
    }

    async fn swap(
        &self,
        tenant: &TenantId,
        id: &str,
        expect: Expect,
        row: &ArtifactRow,
    ) -> Result<SwappedRow<ArtifactRow>, Refusal> {
        let subject = Subject::Other {
            kind: "artifact",
            id,
        };
        self.0
            .announce(&["firmware"], tenant, subject, CHANGED)
            .await?;
        let swapped = self
            .0
            .store
            .compare_and_set::<Artifacts>((tenant.as_str(), id), expect, Some(row))
            .await?;
        if matches!(swapped, SwappedRow::Done(_)) {
            self.0.notify(tenant, subject, CHANGED).await;
        }
        Ok(swapped)
    }

    /// Removes the bytes of a deleted artifact. What is left behind by a failure costs room and nothing else: nobody finds it any more.
    async fn forget_bytes(&self, tenant: &TenantId, id: &str) {
        let prefix = Path::from_iter(["artifacts", tenant.as_str(), id]);
        let objects = self
            .0
            .files
            .list(Some(&prefix))
            .map_ok(|object| object.location)
            .boxed();
        let deleted = self
            .0
            .files
            .delete_stream(objects)
            .try_collect::<Vec<_>>()
            .await;
        if let Err(error) = deleted {
            tracing::warn!(%error, path = %prefix, "the bytes of a deleted artifact are left behind");
        }
    }
}

/// Removes what uploads left behind that a crash cut off. What is younger than a day may be another process's.
pub(crate) async fn sweep(files: &dyn ObjectStore) {
    let prefix = Path::from(INCOMING);
    let old = SystemTime::now() - Duration::from_secs(86_400);
    let objects: Vec<Path> = files
        .list(Some(&prefix))
        .filter_map(|object| async move {
            object
                .ok()
                .filter(|object| SystemTime::from(object.last_modified) < old)
        })
        .map(|object| object.location)
        .collect()
        .await;
    let deleted = files
        .delete_stream(stream::iter(objects.into_iter().map(Ok)).boxed())
        .try_collect::<Vec<_>>()
        .await;
    if let Err(error) = deleted {
        tracing::warn!(%error, "what broken uploads left behind stays");
    }
}

fn broken_off(status: &Status) -> Refusal {
    Refusal::field(
        "content",
        format!("the upload broke off: {}", status.message()),
    )
}

/// What a failure of the object store means for the caller.
pub(crate) fn files(error: object_store::Error) -> Refusal {
    use std::error::Error;
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::StorageFull
        {
            return Refusal::Unavailable {
                code: "STORAGE_FULL",
                message: "there is no room for files".to_owned(),
            };
        }
        source = cause.source();
    }
    tracing::warn!(%error, "the object store failed");
    Refusal::Unavailable {
        code: "FILES_UNAVAILABLE",
        message: "files cannot be stored now".to_owned(),
    }
}

fn resource(row: EditedRow<ArtifactRow>) -> Artifact {
    Artifact {
        etag: row.etag,
        ..row.value.artifact.unwrap_or_default()
    }
}

fn check(artifact: &Artifact) -> Result<(), Refusal> {
    let mut violations = Vec::new();
    let mut refuse =
        |field: &str, why: &str| violations.push(Violation::new(format!("artifact.{field}"), why));
    if artifact.display_name.chars().count() > 200 {
        refuse("displayName", "must have at most 200 characters");
    }
    let is_firmware = artifact.file_type.is_empty() || artifact.file_type == FIRMWARE;
    if artifact.version.chars().count() > 64 || (is_firmware && artifact.version.is_empty()) {
        refuse(
            "version",
            "must have 1 to 64 characters: the SoftwareVersion that a device reports once it runs the artifact",
        );
    }
    if !artifact.sha256.is_empty()
        && (artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        refuse("sha256", "must have 64 hexadecimal digits");
    }
    if artifact.target_file_name.len() > 256
        || artifact.target_file_name.contains(['/', '\\'])
        || artifact.target_file_name.chars().any(char::is_control)
    {
        refuse(
            "targetFileName",
            "must be a file name with at most 256 bytes",
        );
    }
    if artifact.file_type.len() > 64 || artifact.file_type.chars().any(char::is_control) {
        refuse("fileType", "must have at most 64 characters");
    }
    let fits = artifact.compatibility.clone().unwrap_or_default();
    for (field, list) in [
        ("compatibility.manufacturers", &fits.manufacturers),
        ("compatibility.models", &fits.models),
        ("compatibility.hardwareVersions", &fits.hardware_versions),
        ("compatibility.fromVersions", &fits.from_versions),
    ] {
        if list.len() > 200
            || list
                .iter()
                .any(|text| text.is_empty() || text.chars().count() > 200)
        {
            refuse(field, "must be at most 200 texts of 1 to 200 characters");
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Invalid(violations))
    }
}
