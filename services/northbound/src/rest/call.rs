//! Calls an RPC in this process: the gRPC routes, without a socket in between.

use axum::Router;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use prost_reflect::MethodDescriptor;
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;

/// The answer of an RPC: messages, encoded, one after the other; ends after an error.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    buffer: BytesMut,
    ended: bool,
}

/// Calls `rpc` with an encoded message. `caller` are the extensions of the HTTP request, which say who calls.
///
/// # Errors
///
/// The RPC's status, if it failed before its first message.
pub(crate) async fn call(
    routes: Router,
    rpc: &MethodDescriptor,
    caller: http::Extensions,
    timeout: Option<&http::HeaderValue>,
    message: &[u8],
) -> Result<Answer, Status> {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(
        u32::try_from(message.len())
            .map_err(|_| Status::resource_exhausted("the request is too large"))?,
    );
    framed.put_slice(message);
    let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    let mut request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(axum::body::Body::new(Full::new(framed.freeze())))
        .map_err(|error| Status::internal(error.to_string()))?;
    if let Some(timeout) = timeout {
        request
            .headers_mut()
            .insert("grpc-timeout", timeout.clone());
    }
    *request.extensions_mut() = caller;
    let response = match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    // An RPC that fails at once puts its status into the headers.
    match Status::from_header_map(&parts.headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        ended => Ok(Answer {
            body: Body::new(body),
            buffer: BytesMut::new(),
            ended: ended.is_some(),
        }),
    }
}

impl Answer {
    /// The next message. `None`: the RPC ended well.
    ///
    /// # Errors
    ///
    /// The RPC's status.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = deframe(&mut self.buffer)? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        self.ended = true;
                        verdict(frame.trailers_ref())?;
                    }
                },
                Some(Err(status)) => {
                    self.ended = true;
                    return Err(status);
                }
                None => {
                    self.ended = true;
                    return Err(Status::unknown("the answer ended without a status"));
                }
            }
        }
    }

    /// The only message of a unary RPC.
    ///
    /// # Errors
    ///
    /// The RPC's status.
    pub(crate) async fn only(mut self) -> Result<Bytes, Status> {
        let message = self
            .next()
            .await?
            .ok_or_else(|| Status::internal("the answer is empty"))?;
        match self.next().await? {
            None => Ok(message),
            Some(_) => Err(Status::internal("the answer is a stream")),
        }
    }

    /// All messages.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, Status>> + Send {
        stream::try_unfold(self, |mut answer| async move {
            Ok(answer.next().await?.map(|message| (message, answer)))
        })
    }
}

fn verdict(trailers: Option<&HeaderMap>) -> Result<(), Status> {
    match trailers.and_then(Status::from_header_map) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown("the answer ended without a status")),
    }
}

/// Takes one length-prefixed message off the front.
fn deframe(buffer: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some(header) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    let [compressed, a, b, c, d] = *header;
    if compressed != 0 {
        return Err(Status::internal(
            "the answer is compressed, which nobody asked for",
        ));
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))
        .map_err(|_| Status::internal("the answer is too large"))?;
    if buffer.len() < length.saturating_add(5) {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_off_whole() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..]);

        assert_eq!(deframe(&mut buffer).unwrap().as_deref(), Some(&[7, 8][..]));
        assert_eq!(deframe(&mut buffer).unwrap().as_deref(), Some(&[][..]));
        assert_eq!(deframe(&mut buffer).unwrap(), None);
        assert_eq!(buffer.len(), 3);
        assert!(deframe(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err());
    }
}
