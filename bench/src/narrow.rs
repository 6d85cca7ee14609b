//! A connection with little room on the way: whoever does not read is felt by the server soon.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use anyhow::ensure;
use tokio::net::{TcpSocket, TcpStream};

/// Not the server's own address: a client never reaches itself while the server is down.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const RECEIVE_BYTES: u32 = 8 * 1024;
const SEGMENT_BYTES: libc::c_int = 1_400;

/// Connects to `address` with a small receive buffer and small segments.
pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    limit_segments(&socket)?;
    socket.bind((SOURCE, 0).into())?;
    Ok(socket.connect(address).await?)
}

/// The kernel sizes the server's send buffer by the segments that the client takes; loopback's are huge.
fn limit_segments(socket: &TcpSocket) -> anyhow::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    // SAFETY: the pointer is to one live value of the length that is told, and the socket is open.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            std::ptr::from_ref(&SEGMENT_BYTES).cast(),
            length,
        )
    };
    ensure!(done == 0, "cannot limit segments: {}", std::io::Error::last_os_error());
    Ok(())
}
