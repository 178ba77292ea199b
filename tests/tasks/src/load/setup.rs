//! Gateways to load: one with its own store, or several behind a Redis.

use std::path::Path;

use anyhow::Result;
use lockgate_tests::fleet::Target;
use lockgate_tests::gateway::Gateway;
use lockgate_tests::redis::Redis;

use super::plan::Setup;

/// All connections come from one address, which is what the default guards against.
const SERVER: &str = "[server]\nunauthenticated_per_address_max = 512\n";

/// Gateways, and what they share.
pub(crate) struct Stage {
    pub(crate) gateways: Vec<Gateway>,
    redis: Option<Redis>,
}

impl Stage {
    /// Starts all of it with defaults; Redis writes its log once a second, as it does for most people.
    pub(crate) fn set(folder: &Path, setup: Setup) -> Result<Stage> {
        let (redis, count, config) = match setup {
            Setup::Embedded => (None, 1, SERVER.to_owned()),
            Setup::Quiet => (None, 1, format!("{SERVER}[presence]\nusers = false\n")),
            Setup::Redis(count) => {
                let redis = Redis::start_with(&folder.join("redis"), &["appendonly yes", "appendfsync everysec"])?;
                let config = format!("{SERVER}[redis]\nurl = {:?}\n", redis.url());
                (Some(redis), count, config)
            }
        };
        let key = folder.join("token.key");
        let start = |index: usize| Gateway::start_one(folder, &format!("gateway-{}", index + 1), 0, &key, &config);
        Ok(Stage { gateways: (0..count).map(start).collect::<Result<_>>()?, redis })
    }

    pub(crate) fn target(&self) -> Target {
        Target::gateways(&self.gateways, self.redis.as_ref())
    }
}
