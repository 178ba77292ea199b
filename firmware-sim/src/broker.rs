//! An MQTT broker inside the simulator (rumqttd, in memory), for demos on machines that have none.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use tokio::sync::oneshot;

const START_PATIENCE: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 10_000;
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Per topic filter, what a subscriber that is away can catch up on: ten segments of one megabyte.
const SEGMENT_BYTES_MAX: usize = 1024 * 1024;
const SEGMENTS_MAX: usize = 10;

/// The broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is taken or not ours.
    #[error("cannot listen on {listen}")]
    Listen {
        /// As asked for.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread to be had.
    #[error("cannot start the broker's thread")]
    Thread(#[source] io::Error),
    /// It never answered; its own log says more.
    #[error("the broker on {listen} did not start")]
    Start {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// It ended in mid-run; its own log says more.
    #[error("the broker ended by itself")]
    Ended,
}

/// A running broker. It ends with the process: rumqttd knows no other way.
#[derive(Debug)]
pub struct RunningBroker {
    address: SocketAddr,
    ended: oneshot::Receiver<()>,
}

impl RunningBroker {
    /// Starts a broker and returns when it answers. Port 0 asks for a free one.
    pub fn start(listen: SocketAddr) -> Result<RunningBroker, BrokerError> {
        let address = free_address(listen).map_err(|source| BrokerError::Listen { listen, source })?;
        let (ended_tx, mut ended) = oneshot::channel::<()>();
        let mut broker = Broker::new(config(address));
        let run = move || {
            // Dropped when the broker returns and when it panics.
            let _ended = ended_tx;
            if let Err(error) = broker.start() {
                tracing::error!(%error, "The broker failed.");
            }
        };
        thread::Builder::new().name("broker".to_owned()).spawn(run).map_err(BrokerError::Thread)?;

        let give_up_at = Instant::now() + START_PATIENCE;
        while answers(address).is_err() {
            if Instant::now() > give_up_at || ended.try_recv() == Err(oneshot::error::TryRecvError::Closed) {
                return Err(BrokerError::Start { listen: address });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(RunningBroker { address, ended })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves if the broker ends by itself, which it should not.
    pub async fn ended(self) -> BrokerError {
        drop(self.ended.await);
        BrokerError::Ended
    }
}

/// Connects as an MQTT client and leaves in good order: the broker would log less polite knocking as an error.
fn answers(address: SocketAddr) -> io::Result<()> {
    // Protocol level 4, clean session, keep-alive 10 s, client id "ready?".
    const CONNECT: &[u8] = b"\x10\x12\0\x04MQTT\x04\x02\0\x0A\0\x06ready?";
    const DISCONNECT: &[u8] = b"\xE0\0";
    let mut stream = TcpStream::connect_timeout(&address, START_PATIENCE)?;
    stream.set_read_timeout(Some(START_PATIENCE))?;
    stream.write_all(CONNECT)?;
    stream.read_exact(&mut [0; 4])?;
    stream.write_all(DISCONNECT)
}

/// rumqttd binds by itself and does not tell where: so a free port is found first. Another process may take it
/// in between; then the start fails and says so.
fn free_address(listen: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(listen)?.local_addr()
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: PAYLOAD_BYTES_MAX,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        // Else publishing where nobody has subscribed yet ends the connection.
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "v4".to_owned(), listen, tls: None, next_connection_delay_ms: 0, connections };
    let router = RouterConfig {
        max_connections: CONNECTIONS_MAX,
        max_outgoing_packet_count: 200,
        max_segment_size: SEGMENT_BYTES_MAX,
        max_segment_count: SEGMENTS_MAX,
        ..RouterConfig::default()
    };
    Config { id: 0, router, v4: Some(HashMap::from([("v4".to_owned(), server)])), ..Config::default() }
}
