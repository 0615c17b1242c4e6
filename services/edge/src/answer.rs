//! Answers in HTTP.

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, StreamBody, combinators::UnsyncBoxBody};
use std::time::{SystemTime, UNIX_EPOCH};

/// The body of an answer: bytes, or a file that is read as it is sent.
pub(crate) type Content = Either<Full<Bytes>, UnsyncBoxBody<Bytes, object_store::Error>>;

/// An answer.
pub(crate) type Answer = Response<Content>;

/// The connection is to be closed without an answer: the device tries again, in a new session.
#[derive(Debug, thiserror::Error)]
#[error("closing without an answer: {0}")]
pub(crate) struct Hangup(pub(crate) &'static str);

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// The same, and the connection is closed: the request was not read to its end.
pub(crate) fn closing(of: StatusCode) -> Answer {
    let mut answer = status(of);
    close(&mut answer);
    answer
}

/// After this answer the connection is closed.
pub(crate) fn close(answer: &mut Answer) {
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// 503. The time is in seconds: devices without a clock cannot read a date.
pub(crate) fn unavailable(seconds: u64) -> Answer {
    let mut answer = closing(StatusCode::SERVICE_UNAVAILABLE);
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// 200 with an envelope.
pub(crate) fn envelope(xml: Vec<u8>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(xml)));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(platen_cwmp::soap::CONTENT_TYPE),
    );
    answer
}

/// An answer with a body that is read as it is sent.
pub(crate) fn stream(
    content: impl Stream<Item = Result<Bytes, object_store::Error>> + Send + 'static,
) -> Answer {
    let frames = futures::StreamExt::map(content, |piece| piece.map(Frame::data));
    Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()))
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
