//! How a connection to Redis is made, and what a Redis must be like for us to trust it with anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError, TlsCertificates, cmd,
};

use super::fitness_logic::{Info, Verdict, Wait, judge};
use super::library::Library;
use super::options::{Durability, RedisOptions};
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

/// Makes connections, each of them checked.
pub(super) struct Connector {
    client: Client,
    address: String,
    durability: Durability,
    pub(super) library: Library,
    /// Held for a look and never across an await.
    failed: Mutex<Option<(Instant, ConnectError)>>,
}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Connector, ConnectError> {
        let failed = |error: RedisError| ConnectError::Address { reason: error.to_string() };
        let info = options.url.as_str().into_connection_info().map_err(failed)?;
        // Pushed messages need the newer protocol; one protocol for all connections.
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(password) = &options.password {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        let address = info.addr().to_string();
        let client = match &options.ca {
            Some(ca) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) }),
            None => Client::open(info),
        };
        let client = client.map_err(failed)?;
        let (durability, library) = (options.durability, Library::new());
        Ok(Connector { client, address, durability, library, failed: Mutex::default() })
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
        let unreachable = |error: RedisError| self.unreachable(&error);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(unreachable)?;
        let wait = self.judge(&mut connection).await?;
        self.load(&mut connection).await.map_err(unreachable)?;
        Ok(Connection { connection, wait })
    }

    /// Loads the functions, where they are not there yet.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let loaded = cmd("FUNCTION").arg("LOAD").arg(&self.library.code).query_async::<String>(connection).await;
        match loaded {
            Err(error) if !error.to_string().contains("already exists") => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Asks what Redis is like, and what writes must be followed by.
    async fn judge(&self, connection: &mut MultiplexedConnection) -> Result<Wait, ConnectError> {
        let info: String = cmd("INFO").query_async(connection).await.map_err(|error| self.unreachable(&error))?;
        match judge(&Info::parse(&info), self.durability) {
            Verdict::Fit(wait) => Ok(wait),
            Verdict::FitIfAlwaysSynced => self.must_sync_always(connection).await.map(|()| Wait::No),
            Verdict::NotYet(reason) => {
                Err(ConnectError::Unreachable { address: self.address.clone(), reason: reason.to_owned() })
            }
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
            Err(error) if error.is_io_error() => Err(self.unreachable(&error)),
            Err(error) => Err(self.unfit(format!(
                "durability = \"fsync\" must see appendfsync on versions before 7.2, and CONFIG GET is refused: {error}"
            ))),
        }
    }

    fn unfit(&self, reason: String) -> ConnectError {
        ConnectError::Unfit { address: self.address.clone(), reason }
    }

    fn unreachable(&self, error: &RedisError) -> ConnectError {
        ConnectError::Unreachable { address: self.address.clone(), reason: error.to_string() }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(Instant, ConnectError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}
