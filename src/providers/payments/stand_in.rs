//! Stand-in: a little HTTP server that speaks as a provider does, for the tests of its adapter.
//!
//! What comes in is handed to a function, and what that gives goes out: one request a connection, no keep-alive.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
pub(super) struct Asked {
    pub(super) method: String,
    /// Without what begins with `?`.
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    /// By names in small letters.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The parts of the path.
    pub(super) fn route(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }
}

/// A status, more header lines, and a body.
pub(super) struct Told(pub(super) u16, pub(super) &'static str, pub(super) Vec<u8>);

impl Told {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self(status, "", body.to_string().into_bytes())
    }
}

type Answering = Arc<dyn Fn(Asked) -> BoxFuture<'static, Told> + Send + Sync>;

/// Starts one on the runtime of the test. Gives its address.
pub(super) fn start(
    answer: impl Fn(Asked) -> BoxFuture<'static, Told> + Send + Sync + 'static,
) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listener = TcpListener::from_std(listener).unwrap();
    let answer: Answering = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that has gone needs no answer.
            tokio::spawn(serve(stream, Arc::clone(&answer)));
        }
    });
    url
}

async fn serve(mut stream: TcpStream, answer: Answering) -> std::io::Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(at) = read.windows(4).position(|it| it == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8(read[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut line = lines.next().unwrap().split(' ');
    let (method, target) = (line.next().unwrap().to_owned(), line.next().unwrap());
    let headers: HashMap<String, String> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
    let mut body = read[head + 4..].to_vec();
    while body.len() < length {
        stream.read_buf(&mut body).await?;
    }
    let url: Url = format!("http://localhost{target}").parse().unwrap();
    let query = url.query_pairs().into_owned().collect();
    let asked = Asked { method, path: url.path().to_owned(), query, headers, body };
    let Told(status, more, body) = answer(asked).await;
    let head = format!(
        "HTTP/1.1 {status} .\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
