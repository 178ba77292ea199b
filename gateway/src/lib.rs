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
pub mod encoding;
pub mod limits;
pub mod metrics;

mod attendance;
mod auth;
mod certificates;
mod context;
mod drain;
mod engine;
mod lines;
mod neighbours;
mod peer;
mod server;
mod start;

mod edge_session;

mod commands;

pub mod backbone;

pub mod room;

mod client_session;

mod rest;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use anyhow::Context as _;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::signals::stop_on_signals;
use lockgate_token::SigningKey;

use crate::config::Config;
use crate::engine::Engine;

pub use server::{Bound, LISTEN_FILE, ListenError};
pub use start::{Parts, StartError, start};

/// Runs a gateway until a signal stops it; `listening` is called when it listens.
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
    let supervisor = Supervisor::new();
    stop_on_signals(&supervisor).context("cannot listen to signals")?;
    let engine = Engine::open(&config, &clock, &supervisor).await.context("cannot open the backbone")?;
    let bound = start(Parts { config, backbone: engine.backbone(), key, clock }, &supervisor)?;
    bound.write_to(&data)?;
    listening(bound)?;
    let stopped = supervisor.run(drain_timeout).await;
    let closed = engine.close().await;
    // A file that is left over is told from a fresh one by its process id.
    drop(std::fs::remove_file(data.join(LISTEN_FILE)));
    closed?;
    stopped.into_result()
}
