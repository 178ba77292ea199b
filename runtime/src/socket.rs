//! What is asked of TCP at either end.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A dead peer that has nothing to say is noticed by TCP itself after a few of these.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Small messages leave at once, and a peer that is gone is noticed.
pub(crate) fn tune(tcp: TcpStream) -> io::Result<TcpStream> {
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE))?;
    Ok(tcp)
}

/// The system keeps no more than about so much that it has not sent yet. What waits there can't be replaced by
/// anything newer: on a slow line it is minutes old when it arrives. What is on its way is not bounded by this, so a fast
/// line over a long way stays fast.
pub(crate) fn keep_unsent_below(tcp: &TcpStream, bytes_max: u32) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_notsent_lowat(bytes_max)
}
