//! Two gateways behind one Redis.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::gateway::Gateway;
use crate::redis::Redis;

/// A gateway that is asked to stop has ended by then.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Gateways that share a Redis and a key, and tell each other where they are.
#[derive(Debug)]
pub struct Cluster {
    /// What they share.
    pub redis: Redis,
    /// The instances.
    pub gateways: [Gateway; 2],
}

impl Cluster {
    /// Starts all of it. A port of 0 takes a free one.
    pub fn start(folder: &Path, port: u16) -> Result<Cluster> {
        let redis = Redis::start(&folder.join("redis"))?;
        let ports = match port {
            0 => free_ports()?,
            port => [port, port.saturating_add(1)],
        };
        let urls = ports.map(|port| format!("ws://127.0.0.1:{port}"));
        let (key, redis_url, timeout) = (folder.join("token.key"), redis.url(), DRAIN_TIMEOUT.as_secs());
        let start = |index: usize| {
            let config = format!(
                "[server]\nadvertise = {:?}\ndrain_timeout = \"{timeout}s\"\ndrain_spread = \"300ms\"\n\
                 [redis]\nurl = {redis_url:?}\ndurability = \"fsync\"\n",
                urls[index]
            );
            Gateway::start_one(folder, &format!("gateway-{}", index + 1), ports[index], &key, &config)
        };
        let gateways = [start(0)?, start(1)?];
        Ok(Cluster { redis, gateways })
    }

    /// Both addresses, the first gateway preferred.
    pub fn url(&self) -> String {
        format!("{},{}", self.gateways[0].url(), self.gateways[1].url())
    }

    /// Both addresses, the second gateway preferred.
    pub fn url_from_second(&self) -> String {
        format!("{},{}", self.gateways[1].url(), self.gateways[0].url())
    }
}

fn free_ports() -> Result<[u16; 2]> {
    // Held at the same time, so that they are two.
    let held = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}
