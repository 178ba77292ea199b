//! How a connection to Redis is made, and what a Redis must be like for us to trust it with anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, RedisError, ServerErrorKind, TlsCertificates, Value, cmd,
};

use super::fitness_logic::{Info, Verdict, Wait, judge};
use super::library::Library;
use super::options::{Durability, RedisOptions};
use super::slots_logic::{NodeName, SlotRange, ranges};
use crate::backbone::BackboneError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than a write waits for copies, and than Redis takes for anything we ask.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// An attempt that failed answers for all others of so long.
const FAILURE_STANDS: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, or not as Redis does; later, somebody may.
    #[error("cannot reach Redis at {address}: {reason}")]
    Unreachable {
        /// Where it should be; without the password.
        address: String,
        /// What was heard.
        reason: String,
    },
    /// It answers, and is not set up so that promises could be kept.
    #[error("Redis at {address} can't be used: {reason}")]
    Unfit {
        /// Where it is; without the password.
        address: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// Several addresses, and what is there is no cluster.
    #[error("redis.url names several nodes, and one of them is of no cluster; name one, or the nodes of one cluster")]
    NoCluster,
    /// There is nothing to trust in what is to be trusted.
    #[error("redis.ca_file holds no certificate; it must be PEM text with at least one")]
    Certificates,
    /// The address can't be understood.
    #[error(
        "redis.url is no address of a Redis: {reason}; write it as \"redis://127.0.0.1:6379\" or \"rediss://HOST:PORT\""
    )]
    Address {
        /// What is wrong with it.
        reason: String,
    },
}

impl From<ConnectError> for BackboneError {
    fn from(error: ConnectError) -> BackboneError {
        BackboneError::Unavailable { reason: error.to_string() }
    }
}

/// A connection to a Redis that is fit for use and has the functions.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) connection: MultiplexedConnection,
    /// What writes are followed by.
    pub(super) wait: Wait,
}

/// What all nodes have in common.
pub(super) struct Settings {
    info: ConnectionInfo,
    ca: Option<Vec<u8>>,
    durability: Durability,
    pub(super) library: Library,
    /// Where to ask first. INVARIANT: at least one.
    pub(super) seeds: Vec<NodeName>,
}

impl Settings {
    pub(super) fn new(options: &RedisOptions) -> Result<Settings, ConnectError> {
        let failed = |error: RedisError| ConnectError::Address { reason: error.to_string() };
        let mut seeds = Vec::new();
        let mut first = None;
        for url in urls(&options.url) {
            let info = url.as_str().into_connection_info().map_err(failed)?;
            match info.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    seeds.push(NodeName { host: host.clone(), port: *port });
                }
                _ => return Err(ConnectError::Address { reason: "it names no host".to_owned() }),
            }
            first.get_or_insert(info);
        }
        let info = first.ok_or_else(|| ConnectError::Address { reason: "it names no host".to_owned() })?;
        // Pushed messages need the newer protocol; one protocol for all connections.
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(password) = &options.password {
            settings = settings.set_password(password);
        }
        if settings.db() != 0 {
            // Channels have no database: another one's rooms would speak in ours.
            return Err(ConnectError::Address { reason: "only database 0 can be used".to_owned() });
        }
        if options.ca.as_ref().is_some_and(|ca| !holds_certificate(ca)) {
            return Err(ConnectError::Certificates);
        }
        let (info, ca) = (info.set_redis_settings(settings), options.ca.clone());
        Ok(Settings { info, ca, durability: options.durability, library: Library::new(), seeds })
    }

    fn client(&self, node: &NodeName) -> Result<Client, RedisError> {
        let (host, port) = (node.host.clone(), node.port);
        let address = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = self.info.clone().set_addr(address);
        match &self.ca {
            Some(ca) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) }),
            None => Client::open(info),
        }
    }
}

/// The URL of each node that `redis://[USER@]HOST[:PORT],HOST[:PORT],…` names.
fn urls(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let at = if user.is_empty() { "" } else { "@" };
    let (hosts, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    hosts.split(',').map(|host| format!("{scheme}://{user}{at}{}{path}", host.trim())).collect()
}

/// Makes connections to one node, each of them checked.
pub(super) struct Connector {
    client: Client,
    node: NodeName,
    settings: Arc<Settings>,
    /// See [`Connector::doubts`].
    doubts: AtomicU64,
    /// Held for a look and never across an await.
    failed: Mutex<Option<(Instant, ConnectError)>>,
}

impl Connector {
    pub(super) fn new(settings: &Arc<Settings>, node: NodeName) -> Result<Connector, ConnectError> {
        let client = settings.client(&node).map_err(|error| ConnectError::Address { reason: error.to_string() })?;
        let settings = Arc::clone(settings);
        Ok(Connector { client, node, settings, doubts: AtomicU64::new(0), failed: Mutex::default() })
    }

    /// What the node says of its cluster, whatever else it is like. `None`: it is of none.
    pub(super) async fn slots(&self) -> Result<Option<Vec<SlotRange>>, ConnectError> {
        let failed = |error: RedisError| self.failure(&error);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config()).await;
        let mut connection = connected.map_err(failed)?;
        let info: String = cmd("INFO").query_async(&mut connection).await.map_err(failed)?;
        if !Info::parse(&info).is_of_cluster() {
            return Ok(None);
        }
        let state: String = cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.map_err(failed)?;
        if !Info::parse(&state).cluster_is_ok() {
            return Err(self.unreachable("its cluster is down, or it has lost sight of it".to_owned()));
        }
        let slots: Value = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.map_err(failed)?;
        ranges(&slots, &self.node).map(Some).map_err(|error| self.unreachable(error.to_string()))
    }

    /// A connection for asking.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        self.connect_with(config()).await
    }

    /// As [`Connector::connect`]; what Redis pushes goes to `push`, which must not block.
    pub(super) async fn connect_for_pushes(
        &self,
        push: impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static,
    ) -> Result<Connection, ConnectError> {
        self.connect_with(config().set_push_sender(push)).await
    }

    async fn connect_with(&self, config: AsyncConnectionConfig) -> Result<Connection, ConnectError> {
        if let Some((at, error)) = self.failed().as_ref()
            && at.elapsed() < FAILURE_STANDS
        {
            return Err(error.clone());
        }
        let connected = self.try_connect(config).await;
        *self.failed() = connected.as_ref().err().map(|error| (Instant::now(), error.clone()));
        connected
    }

    async fn try_connect(&self, config: AsyncConnectionConfig) -> Result<Connection, ConnectError> {
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(|error| self.failure(&error))?;
        let wait = self.judge(&mut connection).await?;
        self.load(&mut connection).await.map_err(|error| self.failure(&error))?;
        Ok(Connection { connection, wait })
    }

    /// How often a Redis that was fit turned out to be so no more. A connection that was made before the last
    /// time is to be made anew: it may lead to a master of yesterday, while the address leads to today's.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// See [`Connector::doubts`].
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Loads the functions, where they are not there yet.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let loaded =
            cmd("FUNCTION").arg("LOAD").arg(&self.settings.library.code).query_async::<String>(connection).await;
        match loaded {
            Err(error) if error.to_string().contains("already exists") => Ok(()),
            // One that takes no writes can still be read, and may have the functions; whoever calls them sees.
            Err(error) if matches!(error.code(), Some("OOM" | "MISCONF")) => Ok(()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks what Redis is like, and what writes must be followed by.
    pub(super) async fn judge(&self, connection: &mut MultiplexedConnection) -> Result<Wait, ConnectError> {
        let info: String = cmd("INFO").query_async(connection).await.map_err(|error| self.failure(&error))?;
        match judge(&Info::parse(&info), self.settings.durability) {
            Verdict::Fit(wait) => Ok(wait),
            Verdict::FitIfAlwaysSynced => self.must_sync_always(connection).await.map(|()| Wait::No),
            Verdict::NotYet(reason) => Err(self.unreachable(reason.to_owned())),
            Verdict::Unfit(reason) => Err(self.unfit(reason)),
        }
    }

    async fn must_sync_always(&self, connection: &mut MultiplexedConnection) -> Result<(), ConnectError> {
        let asked = cmd("CONFIG").arg("GET").arg("appendfsync").take();
        let settings = asked.query_async::<HashMap<String, String>>(connection).await;
        match settings.map(|settings| settings.get("appendfsync").cloned().unwrap_or_default()) {
            Ok(setting) if setting == "always" => Ok(()),
            Ok(setting) => Err(self.unfit(format!(
                "durability = \"fsync\" needs appendfsync always on versions before 7.2, and it is {setting:?}"
            ))),
            Err(error) if error.is_io_error() => Err(self.failure(&error)),
            Err(error) => Err(self.unfit(format!(
                "durability = \"fsync\" must see appendfsync on versions before 7.2, and CONFIG GET is refused: {error}"
            ))),
        }
    }

    fn unfit(&self, reason: String) -> ConnectError {
        ConnectError::Unfit { address: self.node.to_string(), reason }
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable { address: self.node.to_string(), reason }
    }

    /// Who is not let in needs a person; all else may pass.
    fn failure(&self, error: &RedisError) -> ConnectError {
        let not_let_in = matches!(error.kind(), ErrorKind::AuthenticationFailed)
            || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm))
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
        let text = error.to_string();
        if not_let_in {
            self.unfit(format!("it does not let us in: {text}; see redis.password_file and the user in redis.url"))
        } else if text.contains("certificate") {
            self.unfit(format!("its certificate is not trusted: {text}; see redis.ca_file and the host in redis.url"))
        } else {
            self.unreachable(text)
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(Instant, ConnectError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds_certificate(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----")
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_may_name_the_nodes_of_a_cluster() {
        assert_eq!(urls("redis://h"), ["redis://h"]);
        assert_eq!(urls("redis://u:p@a:1,b,c:3"), ["redis://u:p@a:1", "redis://u:p@b", "redis://u:p@c:3"]);
        assert_eq!(urls("rediss://[::1]:7,[::2]:8/0"), ["rediss://[::1]:7/0", "rediss://[::2]:8/0"]);
    }
}
