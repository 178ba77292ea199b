//! Opens the listening sockets, and tells programs beside us where they are.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket};

/// Name of the file in the data folder that says where this process listens.
pub const LISTEN_FILE: &str = "listen.json";

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, not ours, or needs a right that we do not have.
    #[error("cannot listen on {address}; choose another with {option}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The option that chooses it.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not say where the socket is.
    #[error("cannot learn the address of a listening socket")]
    Address {
        /// What the system said.
        source: io::Error,
    },
    /// The data folder could not be written to.
    #[error("cannot write {path:?}")]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where this process listens, after port 0 has become a real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Agents, clients and health.
    pub listen: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

impl Bound {
    /// One line of JSON. The process id lets a reader tell a fresh file from a left one.
    pub fn to_json(self) -> String {
        serde_json::json!({
            "pid": std::process::id(),
            "listen": self.listen.to_string(),
            "metrics": self.metrics.to_string(),
        })
        .to_string()
    }

    pub(crate) fn of(listener: &TcpListener, metrics: &TcpListener) -> Result<Bound, ListenError> {
        let address = |listener: &TcpListener| listener.local_addr().map_err(|source| ListenError::Address { source });
        Ok(Bound { listen: address(listener)?, metrics: address(metrics)? })
    }

    /// Writes the line into the data folder: whole or not at all.
    pub(crate) fn write_to(self, data: &Path) -> Result<(), ListenError> {
        let path = data.join(LISTEN_FILE);
        let draft = data.join("listen.json.new");
        std::fs::write(&draft, self.to_json() + "\n")
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(|source| ListenError::WriteFile { path, source })
    }
}

/// Opens one listening socket.
pub(crate) fn open(address: SocketAddr, backlog: u32, option: &'static str) -> Result<TcpListener, ListenError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Without this, a restart within a minute finds its own old connections on the port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    bind().map_err(|source| ListenError::Bind { address, option, source })
}
