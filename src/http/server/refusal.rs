//! Refusal: what a client hears that the node has no place for. It costs no worker anything.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::time::Duration;

use actix_http::StatusCode;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::load::Carried;
use crate::clock;

/// How long a refused client may take, to ask and then to read the answer.
const REFUSING_MAX: Duration = Duration::from_secs(2);
const RETRY_AFTER_S_MAX: u64 = 5;
const READ_BYTES: usize = 4 * 1024;

/// Answers 503 to whatever is asked, with a wait that spreads those who were refused together.
pub(super) async fn refuse(stream: StdTcpStream, refused: Carried) {
    // A client that does not wait for its answer needs none.
    let _gone = timeout(REFUSING_MAX, answer(stream)).await;
    drop(refused);
}

async fn answer(stream: StdTcpStream) -> io::Result<()> {
    let mut stream = TcpStream::from_std(stream)?;
    let mut request = [0; READ_BYTES];
    // Clients take an answer only to what they have asked.
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    stream.write_all(overloaded().as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread input would take the answer back.
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

/// A problem (RFC 9457) in a whole HTTP/1.1 response.
fn overloaded() -> String {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let retry_after_s = rand::rng().random_range(1..=RETRY_AFTER_S_MAX);
    let request_id = clock::new_uuid();
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": "overloaded",
        "detail": "this node takes no more connections at the moment; nothing was done",
        "request_id": request_id,
        "errors": [],
    })
    .to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         retry-after: {retry_after_s}\r\nx-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n\r\n{body}"
    )
}
