//! A gateway with throw-away state, and tokens for it.

use std::sync::Arc;
use std::time::Duration;

use lockgate_gateway::backbone::Backbone;
use lockgate_gateway::backbone::RandomFailed;
use lockgate_gateway::backbone::embedded::{EmbeddedBackbone, EmbeddedOptions};
use lockgate_gateway::config::Config;
use lockgate_gateway::{Bound, Parts, start};
use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_runtime::clock::Clock;
use lockgate_runtime::{Stopped, Supervisor};
use lockgate_token::{Identity, NewToken, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const TENANT: &str = "home";
pub(crate) const SITE: &str = "plant";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) bound: Bound,
    pub(crate) supervisor: Supervisor,
    key: SigningKey,
    clock: Clock,
    embedded: EmbeddedBackbone,
    _folder: TempDir,
}

/// An answer to a plain HTTP request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lines of the head, in small letters.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }
}

impl World {
    pub(crate) fn start() -> World {
        World::with(|_| {}, |backbone| backbone)
    }

    /// A gateway whose configuration and backbone are changed before it starts.
    pub(crate) fn with(
        configure: impl FnOnce(&mut Config),
        wrap: impl FnOnce(Arc<dyn Backbone>) -> Arc<dyn Backbone>,
    ) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let wall = clock.clone();
        let embedded = EmbeddedBackbone::open(EmbeddedOptions::new(
            folder.path().join("backbone"),
            Arc::new(move || wall.wall()),
            Box::new(|bytes| SystemRandom::new().fill(bytes).map_err(|_| RandomFailed)),
        ))
        .unwrap();
        let mut config = Config { data: folder.path().to_owned(), ..Config::default() };
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.metrics.listen = "127.0.0.1:0".parse().unwrap();
        // Tests that count entries count those that they cause themselves.
        config.presence.agents = false;
        config.presence.users = false;
        configure(&mut config);
        let key = || SigningKey::from_bytes(&[7; 32]);
        let supervisor = Supervisor::new();
        let backbone = wrap(Arc::new(embedded.clone()));
        let parts = Parts { config, backbone, key: key(), clock: clock.clone() };
        let bound = start(parts, &supervisor).unwrap();
        World { bound, supervisor, key: key(), clock, embedded, _folder: folder }
    }

    pub(crate) fn agent_token(&self, agent: &str) -> String {
        let identity = Identity::Agent { site: Site::new(SITE).unwrap(), agent: AgentName::new(agent).unwrap() };
        self.mint(identity, Duration::from_secs(60))
    }

    pub(crate) fn user_token(&self, scope: &str, ttl: Duration) -> String {
        self.token_of("ann", &[scope], ttl)
    }

    /// A person with these scopes.
    pub(crate) fn token_of(&self, name: &str, scopes: &[&str], ttl: Duration) -> String {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        self.mint(Identity::User { name: name.into(), scopes }, ttl)
    }

    /// A token that sees everything of the site.
    pub(crate) fn token(&self) -> String {
        self.user_token("telemetry:read:plant/*", Duration::from_secs(60))
    }

    fn mint(&self, identity: Identity, ttl: Duration) -> String {
        let tenant = Tenant::new(TENANT).unwrap();
        self.key.mint(&NewToken { tenant, identity, ttl }, self.clock.wall()).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let address = if path == "/metrics" { self.bound.metrics } else { self.bound.listen };
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        exchange(address, &request).await
    }

    /// A page for people, with a token.
    pub(crate) async fn page(&self, path: &str, token: &str) -> Answer {
        let headers = format!("authorization: Bearer {token}\r\n");
        self.ask("GET", path, &headers, "").await
    }

    /// `headers`: whole lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n{headers}{length}\r\n");
        exchange(self.bound.listen, &(head + body)).await
    }

    /// The sum of a figure over its labels.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Stops the gateway as a signal would.
    pub(crate) async fn stop(self) -> Stopped {
        self.stop_within(Duration::from_secs(10)).await
    }

    pub(crate) async fn stop_within(self, drain_timeout: Duration) -> Stopped {
        self.supervisor.stop("test");
        let stopped = self.supervisor.run(drain_timeout).await;
        self.embedded.close().await;
        stopped
    }
}

/// One request on a connection of its own, answered until the other end closes.
pub(crate) async fn exchange(address: std::net::SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    let text = String::from_utf8(text).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
