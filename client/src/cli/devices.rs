//! `lockgate devices`: which devices a site has.

use clap::Args;
use lockgate_client::Client;
use lockgate_proto::ids::Site;

use super::args::GatewayArgs;
use super::output::Lines;
use super::text::Painter;
use super::{CliError, json};

/// List a site's devices.
#[derive(Args)]
pub(super) struct DevicesArgs {
    /// The site
    site: Site,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: DevicesArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let mut devices = client.devices(&args.site).await?;
    client.close().await;
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    let mut lines = Lines::default();
    if args.json {
        devices.iter().try_for_each(|device| json::device(&mut lines, device))?;
    } else {
        Painter::new(None).devices(&mut lines, &devices);
    }
    lines.write()
}
