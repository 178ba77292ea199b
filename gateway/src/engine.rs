//! Which backbone a gateway has: opened at its start, closed at its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use ring::rand::{SecureRandom, SystemRandom};

use crate::backbone::embedded::{EmbeddedBackbone, EmbeddedOptions};
use crate::backbone::redis::{RedisBackbone, RedisOptions};
use crate::backbone::{Backbone, Random, RandomFailed, Retention};
use crate::config::{Config, RedisConfig};

/// Name of the embedded backbone's folder in the data folder.
const BACKBONE_FOLDER: &str = "backbone";

/// The embedded backbone may take so long to finish what was begun; then the process ends without.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The engine that was chosen.
pub(crate) enum Engine {
    /// For one gateway alone.
    Embedded(EmbeddedBackbone),
    /// For any number.
    Redis(RedisBackbone),
}

impl Engine {
    pub(crate) async fn open(config: &Config, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Engine> {
        if let Some(redis) = &config.redis {
            let options = redis_options(config, redis, clock)?;
            return Ok(Engine::Redis(RedisBackbone::open(options, supervisor).await?));
        }
        let backbone = EmbeddedBackbone::open(embedded_options(config, clock))?;
        watch_over(&backbone, supervisor);
        Ok(Engine::Embedded(backbone))
    }

    pub(crate) fn backbone(&self) -> Arc<dyn Backbone> {
        match self {
            Engine::Embedded(backbone) => Arc::new(backbone.clone()),
            Engine::Redis(backbone) => Arc::new(backbone.clone()),
        }
    }

    /// Finishes what was begun. What a Redis has, it has.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        match self {
            Engine::Embedded(backbone) => tokio::time::timeout(CLOSE_GRACE, backbone.close())
                .await
                .context("the backbone could not finish in time"),
            Engine::Redis(_) => Ok(()),
        }
    }
}

fn embedded_options(config: &Config, clock: &Clock) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(config.data.join(BACKBONE_FOLDER), shared_clock(clock), random());
    options.retention = retention(config);
    options.devices_per_room_max = config.limits.devices_per_site;
    options
}

fn redis_options(config: &Config, redis: &RedisConfig, clock: &Clock) -> anyhow::Result<RedisOptions> {
    let mut options = RedisOptions::new(&redis.url, shared_clock(clock), random());
    if let Some(path) = &redis.password_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read redis.password_file {}", path.display()))?;
        options.password = Some(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    if let Some(path) = &redis.ca_file {
        options.ca =
            Some(std::fs::read(path).with_context(|| format!("cannot read redis.ca_file {}", path.display()))?);
    }
    options.durability = redis.durability;
    options.devices_per_room_max = config.limits.devices_per_site;
    options.retention = retention(config);
    Ok(options)
}

fn retention(config: &Config) -> Retention {
    Retention {
        age: Some(config.retention.age),
        room_bytes_max: Some(config.retention.bytes),
        commands: Some(config.retention.commands),
    }
}

fn shared_clock(clock: &Clock) -> crate::backbone::Clock {
    let clock = clock.clone();
    Arc::new(move || clock.wall())
}

fn random() -> Random {
    Box::new(|bytes| SystemRandom::new().fill(bytes).map_err(|_| RandomFailed))
}

/// A backbone whose writer has ended can only be opened anew: by the next start of the process.
fn watch_over(backbone: &EmbeddedBackbone, supervisor: &Supervisor) {
    let backbone = backbone.clone();
    supervisor.spawn("backbone", |stop| async move {
        match stop.run_until_cancelled(backbone.ended()).await {
            Some(()) => Err(anyhow!("the backbone's writer has ended")),
            None => Ok(()),
        }
    });
}
