//! One connection of the reference: its handshake, and what comes from it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tracing::debug;

use super::Role;
use super::hub::{Hub, Outlet};
use super::journal::{Asked, Journal};
use crate::fleet::number_of;
use crate::websocket_logic::{Kind, cut_masked};

/// What one `read` may bring.
const SCRATCH_BYTES: usize = 64 * 1024;

/// LIMIT: head of a request.
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// RFC 6455, 1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

thread_local! {
    /// Holds bytes only within one poll, so that an idle connection has no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the request is no WebSocket of a reader or publisher")]
    BadRequest,
    #[error(transparent)]
    Violation(#[from] crate::websocket_logic::Violation),
    #[error("the other end has left")]
    Left,
}

/// What a connection has beside its sending end.
struct Inlet {
    stream: OwnedReadHalf,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    role: Role,
    outlet: Arc<Outlet>,
    hub: Arc<Hub>,
    journal: Option<Journal>,
}

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, hub: Arc<Hub>, journal: Option<Journal>) {
    let role = match Box::pin(shake_hands(&mut stream, journal.is_some())).await {
        Ok(role) => role,
        Err(error) => return debug!(%error, "No connection came of it."),
    };
    let (stream, outlet) = stream.into_split();
    let outlet = Outlet::new(outlet);
    let rooms = if let Role::Read(rooms) = &role { rooms.clone() } else { Vec::new() };
    for room in &rooms {
        hub.join(*room, &outlet);
    }
    let mut inlet = Inlet { stream, rest: Vec::new(), role, outlet, hub, journal };
    while let Ok(()) = poll_fn(|context| inlet.poll_frames(context)).await {}
    for room in rooms {
        inlet.hub.leave(room, &inlet.outlet);
    }
}

/// Boxed by its caller: nothing of it stays with an idle connection.
async fn shake_hands(stream: &mut TcpStream, may_record: bool) -> Result<Role, Ended> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX {
            return Err(Ended::BadRequest);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(Ended::Left);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let role = head.strip_prefix("GET ").and_then(|rest| Role::of_path(rest.split(' ').next()?));
    let key = head.lines().filter_map(|line| line.split_once(": "));
    let key = key.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, key)| key.trim()).next();
    let (Some(role), Some(key)) = (role, key) else {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?;
        return Err(Ended::BadRequest);
    };
    if matches!(role, Role::Record(_)) && !may_record {
        stream.write_all(b"HTTP/1.1 404 There is no --log-file\r\nContent-Length: 0\r\n\r\n").await?;
        return Err(Ended::BadRequest);
    }
    let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{ACCEPT_SUFFIX}").as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(accept)
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(role)
}

impl Inlet {
    /// Reads once and does what every whole frame asks for.
    fn poll_frames(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let read = buffer.filled_mut();
            if read.is_empty() || self.outlet.is_over() {
                return Poll::Ready(Err(Ended::Left));
            }
            if self.rest.is_empty() {
                let used = self.take_frames(read)?;
                self.rest.extend_from_slice(&read[used..]);
            } else {
                let mut rest = std::mem::take(&mut self.rest);
                rest.extend_from_slice(read);
                let used = self.take_frames(&mut rest)?;
                rest.drain(..used);
                self.rest = if rest.is_empty() { Vec::new() } else { rest };
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Tells how many bytes the whole frames took.
    fn take_frames(&self, bytes: &mut [u8]) -> Result<usize, Ended> {
        let mut used = 0;
        while let Some(frame) = cut_masked(&mut bytes[used..])? {
            used += frame.bytes;
            match (frame.kind, &self.role) {
                (Kind::Binary, Role::Publish(room)) => self.hub.publish(*room, frame.payload),
                (Kind::Binary, Role::Record(room)) => self.record(*room, frame.payload),
                (Kind::Ping, _) => self.hub.send(&self.outlet, Kind::Pong, frame.payload),
                (Kind::Binary, Role::Read(_)) | (Kind::Pong, _) => {}
                (Kind::Close, _) => return Err(Ended::Left),
            }
        }
        Ok(used)
    }

    fn record(&self, room: usize, message: &[u8]) {
        if let (Some(journal), Some(number)) = (&self.journal, number_of(message)) {
            journal.ask(Asked { room, message: message.to_vec(), number, publisher: Arc::clone(&self.outlet) });
        }
    }
}
