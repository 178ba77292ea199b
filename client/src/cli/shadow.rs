//! `lockgate shadow`: the last known values of a device.

use clap::Args;
use lockgate_client::Client;
use lockgate_proto::ids::{DeviceName, Site};

use super::args::GatewayArgs;
use super::output::Lines;
use super::text::Painter;
use super::{CliError, json};

/// Show the last known values of a device.
#[derive(Args)]
pub(super) struct ShadowArgs {
    /// The site
    site: Site,
    /// The device
    device: DeviceName,
    /// One JSON object a line: the device, then each metric
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: ShadowArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let mut shadow = client.shadow(&args.site, &args.device).await?;
    client.close().await;
    shadow.metrics.sort_by(|a, b| a.reading.metric.cmp(&b.reading.metric));
    let mut lines = Lines::default();
    if args.json {
        json::shadow(&mut lines, &shadow)?;
    } else {
        Painter::new(None).shadow(&mut lines, &shadow);
    }
    lines.write()
}
