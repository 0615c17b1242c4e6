//! Files for devices, and from them: each URL carries a signed, expiring right to one file.

use crate::{
    answer::{self, Answer},
    config,
    instruments::Instruments,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use platen_proto::{firmware::v1::Artifact, report::v1::FileGrant};
use platen_runtime::Keys;
use platen_store::{Store, tables::Artifacts};
use prost::Message;
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Bytes that an upload sends to the file store at a time.
const PIECE: usize = 1 << 20;

/// A device that uploads may pause for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// The file endpoint.
#[derive(Debug)]
pub(crate) struct Files {
    store: Store,
    files: Arc<dyn ObjectStore>,
    keys: Arc<Keys>,
    instruments: Arc<Instruments>,
    most_bytes: u64,
    places: Arc<Semaphore>,
}

/// What is served: where it lies, and a tag that changes when its bytes do.
struct Served {
    path: Path,
    tag: Option<HeaderValue>,
}

impl Files {
    pub(crate) fn new(
        store: Store,
        files: Arc<dyn ObjectStore>,
        keys: Arc<Keys>,
        instruments: Arc<Instruments>,
        config: &config::Files,
    ) -> Self {
        let places = Arc::new(Semaphore::new(
            config.in_flight.clamp(1, Semaphore::MAX_PERMITS),
        ));
        Self {
            store,
            files,
            keys,
            instruments,
            most_bytes: config.upload_bytes,
            places,
        }
    }

    /// GET and HEAD.
    pub(crate) async fn read(
        &self,
        tenant: &str,
        token: &str,
        request: &Request<Incoming>,
    ) -> Answer {
        let answer = match self.grant(tenant, token, false) {
            Ok(grant) => {
                self.read_granted(&grant, request.method() == Method::HEAD, request.headers())
                    .await
            }
            Err(refusal) => answer::status(refusal),
        };
        self.instruments.file("read", answer.status().as_u16());
        answer
    }

    /// PUT and POST.
    pub(crate) async fn write(
        &self,
        tenant: &str,
        token: &str,
        request: Request<Incoming>,
    ) -> Answer {
        let is_put = request.method() == Method::PUT;
        // What is refused is not read: the device sees the answer before it has sent everything, or is cut off.
        let answer = match self.grant(tenant, token, true) {
            Ok(grant) => match self.write_granted(&grant, request).await {
                Ok(()) => answer::status(if is_put {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                }),
                Err(status) => answer::closing(status),
            },
            Err(refusal) => answer::closing(refusal),
        };
        self.instruments.file("write", answer.status().as_u16());
        answer
    }

    /// The right that a token gives. A token that is none, and one for something else, look the same.
    fn grant(&self, tenant: &str, token: &str, write: bool) -> Result<FileGrant, StatusCode> {
        let grant = self
            .keys
            .verify("file", token)
            .and_then(|payload| FileGrant::decode(payload.as_slice()).ok())
            .filter(|grant| grant.tenant == tenant)
            .ok_or(StatusCode::FORBIDDEN)?;
        if grant.write != write {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if grant.expires_us <= answer::now_us() {
            return Err(StatusCode::GONE);
        }
        Ok(grant)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, StatusCode> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn read_granted(&self, grant: &FileGrant, head: bool, headers: &HeaderMap) -> Answer {
        match self.send(grant, head, headers).await {
            Ok(answer) => answer,
            Err(StatusCode::SERVICE_UNAVAILABLE) => {
                answer::unavailable(u64::from(rand::random_range(5..=30u32)))
            }
            Err(status) => answer::status(status),
        }
    }

    async fn send(
        &self,
        grant: &FileGrant,
        head: bool,
        headers: &HeaderMap,
    ) -> Result<Answer, StatusCode> {
        let served = self.served(grant).await?;
        let place = self.place()?;
        let meta = self
            .files
            .head(&served.path)
            .await
            .map_err(|error| refusal(&error))?;
        let wanted = if range_applies(headers, served.tag.as_ref()) {
            range(headers, meta.size)
        } else {
            Wanted::All
        };
        let (status, bytes) = match wanted {
            Wanted::All => (StatusCode::OK, 0..meta.size),
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Nothing => {
                let mut answer = answer::status(StatusCode::RANGE_NOT_SATISFIABLE);
                insert(
                    &mut answer,
                    header::CONTENT_RANGE,
                    &format!("bytes */{}", meta.size),
                );
                return Ok(answer);
            }
        };
        let mut answer = if head || bytes.is_empty() {
            answer::status(status)
        } else {
            let options = GetOptions {
                range: Some(GetRange::Bounded(bytes.clone())),
                ..GetOptions::default()
            };
            let found = self
                .files
                .get_opts(&served.path, options)
                .await
                .map_err(|error| refusal(&error))?;
            // The place is taken until the last byte has left.
            let pieces = futures::StreamExt::map(found.into_stream(), move |piece| {
                let _ = &place;
                piece
            });
            let mut answer = answer::stream(pieces);
            *answer.status_mut() = status;
            answer
        };
        insert(
            &mut answer,
            header::CONTENT_LENGTH,
            &(bytes.end - bytes.start).to_string(),
        );
        insert(
            &mut answer,
            header::CONTENT_TYPE,
            "application/octet-stream",
        );
        insert(&mut answer, header::ACCEPT_RANGES, "bytes");
        if status == StatusCode::PARTIAL_CONTENT {
            let last = bytes.end.saturating_sub(1);
            insert(
                &mut answer,
                header::CONTENT_RANGE,
                &format!("bytes {}-{last}/{}", bytes.start, meta.size),
            );
        }
        answer
            .headers_mut()
            .extend(served.tag.map(|tag| (header::ETAG, tag)));
        Ok(answer)
    }

    /// Where the bytes of a grant's object lie.
    async fn served(&self, grant: &FileGrant) -> Result<Served, StatusCode> {
        let (kind, id) = grant.object.split_once('/').ok_or(StatusCode::NOT_FOUND)?;
        match kind {
            "artifacts" => {
                let row = self
                    .store
                    .get_edited::<Artifacts>((&grant.tenant, id))
                    .await
                    .map_err(|error| {
                        tracing::warn!(%error, "an artifact cannot be looked up");
                        StatusCode::SERVICE_UNAVAILABLE
                    })?;
                let artifact: Artifact = row
                    .and_then(|row| row.value.artifact)
                    .ok_or(StatusCode::NOT_FOUND)?;
                if artifact.sha256.is_empty() {
                    return Err(StatusCode::NOT_FOUND);
                }
                let path = Path::from_iter(["artifacts", &grant.tenant, id, &artifact.sha256]);
                Ok(Served {
                    path,
                    tag: HeaderValue::try_from(format!("\"{}\"", artifact.sha256)).ok(),
                })
            }
            "uploads" => Ok(Served {
                path: Path::from_iter(["uploads", &grant.tenant, id]),
                tag: None,
            }),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    async fn write_granted(
        &self,
        grant: &FileGrant,
        request: Request<Incoming>,
    ) -> Result<(), StatusCode> {
        let Some(("uploads", id)) = grant.object.split_once('/') else {
            return Err(StatusCode::FORBIDDEN);
        };
        let _place = self.place()?;
        let mut body = request.into_body();
        if http_body::Body::size_hint(&body).lower() > self.most_bytes {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let path = Path::from_iter(["uploads", &grant.tenant, id]);
        let failed = |error: object_store::Error| {
            tracing::error!(%error, attempt = grant.attempt, "an upload cannot be stored");
            StatusCode::SERVICE_UNAVAILABLE
        };
        let upload = self.files.put_multipart(&path).await.map_err(failed)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PIECE);
        match receive(&mut body, &mut writer, self.most_bytes).await {
            Ok(()) => writer.finish().await.map(|_| ()).map_err(failed),
            Err(Cut::Refused(status)) => {
                // A file that is not whole is none.
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "an upload that broke off leaves its pieces behind");
                }
                Err(status)
            }
            Err(Cut::Store(error)) => Err(failed(error)),
        }
    }
}

/// Why an upload broke off.
enum Cut {
    Refused(StatusCode),
    Store(object_store::Error),
}

async fn receive(body: &mut Incoming, writer: &mut WriteMultipart, most: u64) -> Result<(), Cut> {
    let mut received = 0_u64;
    loop {
        let frame = timeout(PAUSE, body.frame())
            .await
            .map_err(|_| Cut::Refused(StatusCode::REQUEST_TIMEOUT))?;
        let Some(frame) = frame else { return Ok(()) };
        let Ok(data) = frame
            .map_err(|_| Cut::Refused(StatusCode::BAD_REQUEST))?
            .into_data()
        else {
            continue;
        };
        let data: Bytes = data;
        received += data.len() as u64;
        if received > most {
            return Err(Cut::Refused(StatusCode::PAYLOAD_TOO_LARGE));
        }
        // Two pieces on their way at most: the device waits for the disk.
        writer.wait_for_capacity(2).await.map_err(Cut::Store)?;
        writer.put(data);
    }
}

/// What part of a file a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nothing,
}

/// Whether the device's part, if it has one, is of these very bytes (RFC 9110 §13.1.5).
fn range_applies(headers: &HeaderMap, tag: Option<&HeaderValue>) -> bool {
    headers
        .get(header::IF_RANGE)
        .is_none_or(|condition| Some(condition) == tag)
}

/// The range that is asked for. One range is understood; of several, and of what is no range, the whole file is the answer (RFC 9110 §14.2).
fn range(headers: &HeaderMap, size: u64) -> Wanted {
    let text = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let Some((first, last)) = text
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let (begin, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(0) => return Wanted::Nothing,
            Ok(length) => (size.saturating_sub(length), size),
            Err(_) => return Wanted::All,
        },
        (first, "") => match first.parse() {
            Ok(first) => (first, size),
            Err(_) => return Wanted::All,
        },
        (first, last) => match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
            _ => return Wanted::All,
        },
    };
    if begin >= end {
        Wanted::Nothing
    } else {
        Wanted::Part(begin..end)
    }
}

fn refusal(error: &object_store::Error) -> StatusCode {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return StatusCode::NOT_FOUND;
    }
    tracing::error!(%error, "a file cannot be read");
    StatusCode::SERVICE_UNAVAILABLE
}

fn insert(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Part(10..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=x-", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            assert_eq!(range(&headers, 100), expected, "{text}");
        }
        assert_eq!(range(&HeaderMap::new(), 100), Wanted::All);
    }

    #[test]
    fn a_part_of_other_bytes_is_the_whole_file() {
        let tag = HeaderValue::from_static("\"a\"");
        let mut headers = HeaderMap::new();
        assert!(range_applies(&headers, Some(&tag)));
        headers.insert(header::IF_RANGE, tag.clone());
        assert!(range_applies(&headers, Some(&tag)));
        assert!(!range_applies(
            &headers,
            Some(&HeaderValue::from_static("\"b\""))
        ));
        assert!(!range_applies(&headers, None));
    }
}
