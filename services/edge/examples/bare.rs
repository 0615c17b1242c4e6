//! A server that answers the two POSTs of an idle session with fixed bytes and does nothing else: the yardstick for what the edge costs.
//!
//! `cargo run --release -p platen-edge --example bare -- --listen 127.0.0.1:7549`

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser;
use std::net::SocketAddr;

/// What an InformResponse of the edge looks like, in bytes.
const INFORM_RESPONSE: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
    r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
    r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp="urn:dslforum-org:cwmp-1-2">"#,
    r#"<soap-env:Header><cwmp:ID soap-env:mustUnderstand="1">1</cwmp:ID></soap-env:Header><soap-env:Body>"#,
    r"<cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse></soap-env:Body></soap-env:Envelope>",
);

#[derive(Debug, Parser)]
struct Arguments {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:7549")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(Arguments::parse().listen).await?;
    let router = Router::new()
        .route("/", post(answer))
        .route("/cwmp/{tenant}", post(answer));
    axum::serve(listener, router).await?;
    Ok(())
}

/// The body is read, since the edge reads it, too.
async fn answer(body: Bytes) -> Response {
    if body.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/xml; charset=\"utf-8\""),
        (
            header::SET_COOKIE,
            "session=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff; HttpOnly",
        ),
    ];
    (headers, INFORM_RESPONSE).into_response()
}
