//! `cargo demo`: the main job, run before one's eyes.

/// What the demo may be told.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn demo(_: &Options) -> anyhow::Result<()> {
    Ok(())
}
