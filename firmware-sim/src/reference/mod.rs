//! A bare fan-out server, against which a gateway's figures are held: the same work over the same sockets, and nothing
//! else. No token, no log of what it passed on, no position to resume from, no promise.
//!
//! It should be as fast as such a server can be on one thread: frames are cut and put by hand, a message is encoded
//! once for all who get it, and whatever one wake-up brings for a connection leaves in one write, message by message.
//! With a log it does the one thing more that a durable ingest must: it acknowledges a message when `fdatasync` of
//! the file that has it has returned, in groups as large as what came meanwhile.

mod connection;
mod hub;
mod journal;
mod path_logic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use lockgate_runtime::Supervisor;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::files::raise_limit;
pub(crate) use path_logic::Role;

use connection::serve;
use hub::Hub;
use journal::Journal;

/// As many as wait for a gateway's listener.
const BACKLOG: u32 = 4_096;

/// LIMIT: connections; each takes an open file.
const CONNECTIONS_MAX: u64 = 10_000;

/// `lockgate-sim fleet --against reference` is its client.
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// Where to listen; port 0 takes a free one and tells which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,
    /// Acknowledges what publishers want acknowledged when it is on the disk, in this file.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    lockgate_runtime::listen_address(text).map_err(|error| format!("it {error}"))
}

/// Starts it, and gives its address.
pub fn start(args: &ReferenceArgs, supervisor: &Supervisor) -> anyhow::Result<SocketAddr> {
    raise_limit(CONNECTIONS_MAX)?;
    let hub = Arc::new(Hub::default());
    let journal = match &args.log_file {
        Some(path) => Some(Journal::start(path, &hub, supervisor)?),
        None => None,
    };
    let listener = listen(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("a listener has an address")?;
    let flusher = Arc::clone(&hub);
    supervisor.spawn("flusher", |stop| async move {
        // Nothing that waits here is owed to anybody.
        stop.run_until_cancelled(flusher.flush()).await;
        Ok(())
    });
    supervisor.spawn("listener", |stop| accept(listener, hub, journal, stop));
    Ok(address)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: TcpListener,
    hub: Arc<Hub>,
    journal: Option<Journal>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Dropped at the end, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            // CANCEL-SAFE: an accept that is dropped takes nobody in.
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&hub), journal.clone()))),
            Err(error) => warn!(%error, "A connection could not be taken."),
        }
        // What has ended is let go of as others come.
        while connections.try_join_next().is_some() {}
    }
}
