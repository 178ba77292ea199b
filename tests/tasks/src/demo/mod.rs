//! `cargo demo`: the main job, run before one's eyes, and counted at the end.

mod end;
mod scene;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lockgate_tests::chaos::Chaos;
use lockgate_tests::tls::Identity;
use lockgate_tests::wait;

use crate::packages::{self, REDIS};
use crate::steps::{cargo, run, say};
use end::{Interrupt, count};
use scene::Scene;

/// Name of the certificate's files.
const CERTIFICATE: &str = "demo";

/// What the demo may be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// End after so many seconds with a line that counts what became of every sample.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where the gateway listens on the loopback address; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Kill -9 the agent or a gateway every few seconds.
    #[arg(long)]
    kill: bool,
    /// Two gateways behind a Redis; the second listens on the next port.
    #[arg(long)]
    cluster: bool,
    /// Everything over TLS, with a certificate made on the spot.
    #[arg(long, conflicts_with = "cluster")]
    tls: bool,
    /// That certificate, for the demo within the demo.
    #[arg(long, hide = true, value_name = "FOLDER")]
    certificate_in: Option<PathBuf>,
    /// The same seed gives the same devices and the same kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn demo(options: &Options) -> Result<()> {
    if options.tls {
        return with_certificate();
    }
    if options.cluster {
        packages::install("clusters", &[REDIS])?;
    }
    let mut build = cargo();
    build.args(["build", "--package", "lockgate-agent", "--package", "lockgate-gateway"]);
    run(build.args(["--package", "lockgate-client", "--package", "lockgate-sim"]))?;
    let interrupt = Interrupt::catch()?;
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), options)?;
    scene.announce();
    play(options, &mut scene, &interrupt)?;
    let counted = count(scene)?;
    say(&counted.line());
    if counted.is_clean() { Ok(()) } else { bail!("{}", counted.details()) }
}

/// The same demo once more, within an environment that says whom to trust: so every program that it starts does.
fn with_certificate() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let identity = Identity::make(folder.path(), CERTIFICATE)?;
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1).filter(|word| word != "--tls"));
    again.arg("--certificate-in").arg(folder.path()).env("LOCKGATE_CA_FILE", &identity.certificate);
    // Ctrl-C goes to both: this one waits for what the other has to say.
    let _interrupt = Interrupt::catch()?;
    let status = again.status()?;
    if status.success() { Ok(()) } else { bail!("the demo ended with {status}") }
}

/// Lets it run until the time is over or somebody presses Ctrl-C.
fn play(options: &Options, scene: &mut Scene, interrupt: &Interrupt) -> Result<()> {
    let start = Instant::now();
    let mut chaos = options.kill.then(|| Chaos::seeded(options.seed));
    let is_over = || options.seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds));
    while !is_over() && !interrupt.came() {
        scene.check()?;
        if let Some(chaos) = &mut chaos
            && chaos.is_due()
        {
            let victim = chaos.strike(&mut scene.agent, &mut scene.stage.gateways)?;
            say(&format!("--- killed and started again: {victim}"));
        }
        wait::pass(Duration::from_millis(100));
    }
    Ok(())
}
