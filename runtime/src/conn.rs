//! A connection that somebody made to us: plain, or within TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::link::{Link, LinkOptions, Role};
use crate::socket::keep_unsent_below;
use crate::tls::ServerTls;

/// Either of them.
#[derive(Debug)]
pub enum Conn {
    /// Anyone on the way can read it.
    Plain(TcpStream),
    /// Boxed: most of it is buffers, and connections are moved about.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Conn {
    /// What was accepted, within TLS where that is spoken. Waits for the peer, so it is given a time.
    pub async fn accept(tcp: TcpStream, tls: Option<&ServerTls>) -> io::Result<Conn> {
        tcp.set_nodelay(true)?;
        Ok(match tls {
            None => Conn::Plain(tcp),
            Some(tls) => Conn::Tls(Box::new(tls.acceptor().accept(tcp).await?)),
        })
    }

    /// Whether the peer has shown a certificate that somebody we trust vouches for.
    pub fn has_certificate(&self) -> bool {
        match self {
            Conn::Plain(_) => false,
            Conn::Tls(tls) => tls.get_ref().1.peer_certificates().is_some(),
        }
    }

    /// Goes on as a WebSocket; `read` came behind the handshake.
    pub async fn link(self, read: Vec<u8>, options: &LinkOptions) -> io::Result<Link> {
        let tcp = match &self {
            Conn::Plain(tcp) => tcp,
            Conn::Tls(tls) => tls.get_ref().0,
        };
        if let Some(bytes_max) = options.unsent_bytes_max {
            keep_unsent_below(tcp, bytes_max)?;
        }
        Ok(match self {
            Conn::Plain(tcp) => Link::over(tcp, read, Role::Server, options).await,
            Conn::Tls(tls) => Link::over(*tls, read, Role::Server, options).await,
        })
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Conn::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Conn::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Conn::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Conn::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Conn::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
