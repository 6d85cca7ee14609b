//! A socket without a library, to send frames that no sound client sends.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::PATIENCE;
use crate::user::User;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

pub(crate) struct RawSocket(TcpStream);

impl RawSocket {
    /// Shakes hands as RFC 6455 says, with the user's token.
    pub(crate) async fn open(port: u16, user: &User) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let token = &user.token;
        let request = format!(
            "GET /v1/chat/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: madang.v1.json\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer to the handshake"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Sends a frame with this first byte, masked with zeros unless told otherwise; payloads below 64 KiB.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8], is_masked: bool) {
        let mask = if is_masked { MASKED } else { 0 };
        let mut frame = vec![first];
        if let Ok(length @ 0..126) = u8::try_from(payload.len()) {
            frame.push(mask | length);
        } else {
            frame.push(mask | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        if is_masked {
            frame.extend([0; 4]);
        }
        frame.extend(payload);
        self.bytes(&frame).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads frames until the close frame, and gives its code; `None` when the stream ends without one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            let (opcode, payload) = self.read().await?;
            if opcode == 0x8 {
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
    }

    /// Reads until the pong with this payload comes; `None` when the stream ends without it.
    pub(crate) async fn last_pong(&mut self, payload: &[u8]) -> Option<()> {
        loop {
            let (opcode, said) = self.read().await?;
            if opcode == 0xa && said == payload {
                return Some(());
            }
        }
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, self.read_frame()).await.expect("the server says something")
    }

    async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let length = match self.0.read_u8().await.ok()? {
            126 => self.0.read_u16().await.ok()?,
            length => u16::from(length),
        };
        let mut payload = vec![0; usize::from(length)];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((first & 0x0f, payload))
    }
}
