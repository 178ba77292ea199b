//! A reader that takes 1 kB a second until it is let loose, and keeps an account of every place in the log.
//!
//! Bare sockets and threads: what lies in buffers between the gateway and its reader is what is measured here.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_tests::wait;
use prost::Message as _;
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

/// What it takes in one go, and how often.
const BYTES: usize = 1_000;
const PAUSE: Duration = Duration::from_secs(1);

/// The room of its kernel, which doubles it: what lies there is not the gateway's doing.
const KERNEL_BYTES: usize = 2_048;

/// What became of the places that it was to be told of.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Bytes that it had to take before it was told something in short, or of a gap: what was under way.
    pub(super) stale_bytes: Option<u64>,
    /// Bytes in all.
    pub(super) bytes: u64,
    /// Entries that came one by one.
    pub(super) delivered: u64,
    /// Places that were told in short.
    pub(super) conflated: u64,
    /// Places that were told as left out.
    pub(super) lagged: u64,
    /// All up to here is told in one of the three ways.
    pub(super) reached: u64,
}

/// A reader at work in a thread of its own.
pub(super) struct SlowReader {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Account>>,
}

#[derive(Default)]
struct Shared {
    is_loose: AtomicBool,
    /// It is done when it has reached this; 0: nobody knows yet.
    head: AtomicU64,
}

impl SlowReader {
    /// Connects, and subscribes a site from now on.
    pub(super) fn start(gateway: SocketAddr, token: &str, site: &str, conflate_ms: Option<u32>) -> Result<SlowReader> {
        let mut reader = Reader::connect(gateway)?;
        reader.ask(1, Request::Connect(wire::Connect { token: token.to_owned(), client: "slow".to_owned() }))?;
        reader
            .ask(2, Request::Subscribe(wire::Subscribe { site: site.to_owned(), conflate_ms, ..Default::default() }))?;
        while !reader.is_subscribed {
            reader.take(BYTES)?;
        }
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        Ok(SlowReader { shared, thread: std::thread::spawn(move || reader.run(&theirs)) })
    }

    /// From now on it takes whatever comes, up to this place; gives its account.
    pub(super) fn read_through(self, head: u64) -> Result<Account> {
        self.shared.head.store(head, Ordering::SeqCst);
        self.shared.is_loose.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }
}

struct Reader {
    stream: TcpStream,
    /// What has come and is no whole frame yet.
    buffer: Vec<u8>,
    is_subscribed: bool,
    account: Account,
}

impl Reader {
    fn connect(gateway: SocketAddr) -> Result<Reader> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BYTES)?;
        connect(&socket, &gateway)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        write!(
            stream,
            "GET /v1/client HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: lockgate.client.v1\r\n\r\n"
        )?;
        let mut reader = Reader { stream, buffer: Vec::new(), is_subscribed: false, account: Account::default() };
        let end = loop {
            if let Some(at) = reader.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            reader.read(BYTES)?;
        };
        ensure!(reader.buffer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&reader.buffer));
        reader.buffer.drain(..end);
        Ok(reader)
    }

    fn run(mut self, shared: &Shared) -> Result<Account> {
        loop {
            let is_loose = shared.is_loose.load(Ordering::SeqCst);
            let head = shared.head.load(Ordering::SeqCst);
            if is_loose && self.account.reached >= head {
                return Ok(self.account);
            }
            self.take(if is_loose { 64 * BYTES } else { BYTES })
                .with_context(|| format!("on the way to {head}: {:?}", self.account))?;
            if !is_loose {
                wait::pass(PAUSE);
            }
        }
    }

    fn ask(&mut self, id: u32, request: Request) -> Result<()> {
        self.send(0x2, &wire::ClientFrame { id, request: Some(request) }.encode_to_vec())
    }

    /// One WebSocket frame, masked with zeros, which change nothing.
    fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | opcode, 0xfe];
        frame.extend_from_slice(&u16::try_from(payload.len())?.to_be_bytes());
        if payload.len() < 126 {
            frame.truncate(1);
            frame.push(0x80 | u8::try_from(payload.len())?);
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame)?)
    }

    fn read(&mut self, bytes_max: usize) -> Result<()> {
        let before = self.buffer.len();
        self.buffer.resize(before + bytes_max, 0);
        let read = self.stream.read(&mut self.buffer[before..]).context("nothing comes")?;
        self.buffer.truncate(before + read);
        self.account.bytes += read as u64;
        ensure!(read > 0, "the gateway cut the connection");
        Ok(())
    }

    /// Reads once, and takes in every message that is whole.
    fn take(&mut self, bytes_max: usize) -> Result<()> {
        self.read(bytes_max)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut used = 0;
        while let Some((opcode, payload)) = frame(&buffer[used..]) {
            let (begin, end) = (used + payload.start, used + payload.end);
            let payload = &buffer[begin..end];
            used = end;
            match opcode {
                0x2 => self.told(wire::ServerFrame::decode(payload)?)?,
                0x8 => bail!("the gateway closed: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())),
                0x9 => self.send(0xa, payload)?,
                _ => {}
            }
        }
        buffer.drain(..used);
        self.buffer = buffer;
        Ok(())
    }

    fn told(&mut self, frame: wire::ServerFrame) -> Result<()> {
        let bytes = self.account.bytes;
        let account = &mut self.account;
        let place = |position: Option<wire::Position>| position.unwrap_or_default().offset;
        match frame.body.context("a frame says something")? {
            Body::Subscribed(subscribed) => {
                self.is_subscribed = true;
                account.reached = place(subscribed.position);
            }
            Body::Delivery(delivery) => {
                for entry in delivery.entries {
                    ensure!(entry.offset == account.reached + 1, "{} after {}", entry.offset, account.reached);
                    account.reached = entry.offset;
                    account.delivered += 1;
                }
            }
            Body::Conflated(conflated) => {
                let (after, through) = (place(conflated.after), place(conflated.through));
                ensure!(after == account.reached, "in short after {after}, and {} was reached", account.reached);
                account.conflated += through - after;
                account.reached = through;
                account.stale_bytes.get_or_insert(bytes);
            }
            Body::Lagged(lagged) => {
                let (after, through) = (place(lagged.after), place(lagged.through));
                ensure!(after == account.reached, "lagged after {after}, and {} was reached", account.reached);
                account.lagged += through - after;
                account.reached = through;
                account.stale_bytes.get_or_insert(bytes);
            }
            Body::Connected(_) | Body::Positions(_) => {}
            other => bail!("nobody asked for that: {other:?}"),
        }
        Ok(())
    }
}

/// The first frame, if it is whole: its kind, and where its payload is.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (opcode, length) = (bytes.first()? & 0x0f, usize::from(bytes.get(1)? & 0x7f));
    let (begin, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, length),
    };
    (bytes.len() >= begin + length).then_some((opcode, begin..begin + length))
}
