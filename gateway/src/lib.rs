//! The gateway: edge sessions and client sessions over one backbone.
//!
//! ```text
//! agent ══ws══ edge_session → backbone → room → client_session ══ws══ people
//! ```
//!
//! The modules stand in the order in which data flows, after what they stand on. Nothing that must outlive
//! the process is kept here: all of it is in the backbone, and an instance can be killed at any moment.

pub mod cli;
pub mod config;
pub mod limits;
pub mod metrics;

mod auth;
mod context;
mod peer;
mod server;
mod start;

mod edge_session;

pub mod backbone;

pub mod room;

mod client_session;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::signals::stop_on_signals;
use lockgate_token::SigningKey;
use ring::rand::{SecureRandom, SystemRandom};

use crate::backbone::embedded::{EmbeddedBackbone, EmbeddedOptions, OpenError};
use crate::backbone::{Backbone, RandomFailed, Retention};
use crate::config::Config;

pub use server::{Bound, LISTEN_FILE, ListenError};
pub use start::{Parts, StartError, start};

/// Name of the embedded backbone's folder in the data folder.
const BACKBONE_FOLDER: &str = "backbone";

/// The embedded backbone may take so long to finish what was begun; then the process ends without.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Runs a gateway with the embedded backbone until a signal stops it; `listening` is called when it listens.
pub async fn run(config: Config, listening: impl FnOnce(Bound) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let data = config.data.clone();
    let drain_timeout = config.server.drain_timeout;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let clock = Clock::system();
    let key = SigningKey::load_or_create(&config.key_path())?;
    let embedded = open_backbone(&config, &clock).context("cannot open the backbone")?;
    let supervisor = Supervisor::new();
    stop_on_signals(&supervisor).context("cannot listen to signals")?;
    watch_over(&embedded, &supervisor);

    let backbone: Arc<dyn Backbone> = Arc::new(embedded.clone());
    let bound = start(Parts { config, backbone, key, clock }, &supervisor)?;
    bound.write_to(&data)?;
    listening(bound)?;
    let stopped = supervisor.run(drain_timeout).await;
    let closed = tokio::time::timeout(CLOSE_GRACE, embedded.close()).await;
    // A file that is left over is told from a fresh one by its process id.
    drop(std::fs::remove_file(data.join(LISTEN_FILE)));
    closed.context("the backbone could not finish in time")?;
    stopped.into_result()
}

fn open_backbone(config: &Config, clock: &Clock) -> Result<EmbeddedBackbone, OpenError> {
    let clock = clock.clone();
    let mut options = EmbeddedOptions::new(
        config.data.join(BACKBONE_FOLDER),
        Arc::new(move || clock.wall()),
        Box::new(|bytes| SystemRandom::new().fill(bytes).map_err(|_| RandomFailed)),
    );
    options.retention = Retention { age: Some(config.retention.age), room_bytes_max: Some(config.retention.bytes) };
    EmbeddedBackbone::open(options)
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
