//! The body of a POST: read with bounds of size and time, and unpacked.

use crate::config::Limits;
use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use std::{io::Read, pin::pin, time::Duration};
use tokio::time::{Instant, timeout_at};

/// A body that comes slower than this for long is given up: bytes per second (SEC-46).
const SLOWEST: u64 = 1024;

/// A body may grow by so much when unpacked, once it is large (SES-17).
const RATIO: usize = 100;

/// Bodies above this many bytes are worked on outside the threads that serve connections.
pub(crate) const LARGE: usize = 256 << 10;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// 413.
    TooLarge,
    /// 408: the peer fell silent.
    TooSlow,
    /// 415.
    UnknownCoding,
    /// 400: what came is not what was announced.
    Broken,
    /// It was read, and is too large to be kept for this sender.
    PassedOver,
}

/// Reads and unpacks a body. Of one above `kept` bytes nothing is kept: it is read to its end, so that the connection stays usable.
pub(crate) async fn read<B>(
    body: B,
    headers: &HeaderMap,
    limits: &Limits,
    kept: usize,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
{
    let coding = coding(headers);
    let announced = body.size_hint().lower();
    if announced > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge);
    }
    // Read to its end even if nobody can unpack it: so the connection stays usable.
    let kept = if coding.is_ok() { kept } else { 0 };
    let packed = match (coding, collect(body, limits, kept).await) {
        (Err(unknown), Err(BodyError::PassedOver)) => return Err(unknown),
        (_, read) => read?,
    };
    // An empty POST is empty, whatever its headers say.
    if packed.is_empty() {
        return Ok(packed);
    }
    match coding? {
        Coding::Identity => Ok(packed),
        coding if packed.len() <= LARGE / RATIO => unpack(
            &packed,
            coding,
            kept.min(limits.body_bytes),
            limits.unpacked_bytes,
        ),
        coding => {
            let (most, free) = (kept.min(limits.body_bytes), limits.unpacked_bytes);
            tokio::task::spawn_blocking(move || unpack(&packed, coding, most, free))
                .await
                .map_err(|_| BodyError::Broken)?
        }
    }
}

/// Reads a body to its end.
async fn collect<B: Body<Data = Bytes>>(
    body: B,
    limits: &Limits,
    kept: usize,
) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    let begun = Instant::now();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut received = 0;
    loop {
        let due = begun + limits.body_pause + Duration::from_secs(received as u64 / SLOWEST);
        let deadline = due.min(Instant::now() + limits.body_pause);
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| BodyError::TooSlow)?;
        let Some(frame) = frame else { break };
        // Trailers carry nothing that matters.
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        if received + data.len() > limits.body_bytes {
            return Err(BodyError::TooLarge);
        }
        // Nearly always there is one piece, and it need not be copied.
        let is_first = received == 0;
        received += data.len();
        if received > kept {
            first = Bytes::new();
            all = BytesMut::new();
        } else if is_first {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    if received > kept {
        return Err(BodyError::PassedOver);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// The one coding that a body may have (SES-15).
fn coding(headers: &HeaderMap) -> Result<Coding, BodyError> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = codings.next() else {
        return Ok(Coding::Identity);
    };
    if codings.next().is_some() {
        return Err(BodyError::UnknownCoding);
    }
    match value
        .as_bytes()
        .trim_ascii()
        .to_ascii_lowercase()
        .as_slice()
    {
        b"" | b"identity" => Ok(Coding::Identity),
        b"gzip" | b"x-gzip" => Ok(Coding::Gzip),
        b"deflate" => Ok(Coding::Deflate),
        _ => Err(BodyError::UnknownCoding),
    }
}

/// Unpacks to at most `most` bytes; beyond `free` bytes at most [`RATIO`] times what came.
fn unpack(packed: &[u8], coding: Coding, most: usize, free: usize) -> Result<Bytes, BodyError> {
    let most = most.min(free.max(packed.len().saturating_mul(RATIO)));
    match coding {
        Coding::Identity => Ok(Bytes::copy_from_slice(packed)),
        Coding::Gzip => drain(GzDecoder::new(packed), most),
        // "deflate" is zlib by the standard, and the bare stream by some devices.
        Coding::Deflate => match drain(ZlibDecoder::new(packed), most) {
            Err(BodyError::Broken) => drain(DeflateDecoder::new(packed), most),
            unpacked => unpacked,
        },
    }
}

fn drain(reader: impl Read, most: usize) -> Result<Bytes, BodyError> {
    let mut unpacked = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(bound)
        .read_to_end(&mut unpacked)
        .map_err(|_| BodyError::Broken)?;
    if unpacked.len() > most {
        Err(BodyError::TooLarge)
    } else {
        Ok(unpacked.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use futures::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use std::{convert::Infallible, io::Write};

    fn headers(coding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !coding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        }
        headers
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn every_coding_is_undone() {
        let text = b"<Envelope/>".repeat(50);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        for (coding, packed) in [
            ("", text.clone()),
            ("identity", text.clone()),
            ("gzip", gzip(&text)),
            ("X-GZIP", gzip(&text)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
        ] {
            let read = read(
                Full::from(packed),
                &headers(coding),
                &Limits::default(),
                usize::MAX,
            )
            .await;
            assert_eq!(read.as_deref(), Ok(text.as_slice()), "{coding}");
        }
    }

    #[tokio::test]
    async fn bodies_that_are_too_much_are_refused() {
        let limits = Limits {
            body_bytes: 4 << 20,
            unpacked_bytes: 1000,
            ..Limits::default()
        };
        let bomb = gzip(&vec![b' '; 3 << 20]);
        for (coding, packed, expected) in [
            ("", vec![b'x'; (4 << 20) + 1], BodyError::TooLarge),
            ("gzip", bomb, BodyError::TooLarge),
            ("gzip", b"no gzip".to_vec(), BodyError::Broken),
            ("br", b"x".to_vec(), BodyError::UnknownCoding),
            ("gzip, gzip", b"x".to_vec(), BodyError::UnknownCoding),
        ] {
            assert_eq!(
                read(Full::from(packed), &headers(coding), &limits, usize::MAX).await,
                Err(expected),
                "{coding}"
            );
        }
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        let pieces =
            ["<a", ">", "</a>"].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
        let body = StreamBody::new(stream::iter(pieces));
        assert_eq!(
            read(body, &HeaderMap::new(), &Limits::default(), usize::MAX)
                .await
                .as_deref(),
            Ok(&b"<a></a>"[..])
        );
    }

    #[tokio::test]
    async fn what_is_not_kept_is_read_all_the_same() {
        let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(3));
        let counted = std::sync::Arc::clone(&left);
        let pieces = stream::iter(["aaa", "bbb", "ccc"]).map(move |piece| {
            counted.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, Infallible>(Frame::data(Bytes::from(piece)))
        });
        let read = read(
            StreamBody::new(pieces),
            &HeaderMap::new(),
            &Limits::default(),
            5,
        )
        .await;
        assert_eq!(read, Err(BodyError::PassedOver));
        assert_eq!(left.load(std::sync::atomic::Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn silence_ends() {
        let limits = Limits {
            body_pause: Duration::from_millis(20),
            ..Limits::default()
        };
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(
            read(body, &HeaderMap::new(), &limits, usize::MAX).await,
            Err(BodyError::TooSlow)
        );
    }
}
