//! `lockgate presence`: who is in a room, over all instances.

use clap::Args;
use lockgate_client::Client;
use lockgate_proto::ids::Site;

use super::args::GatewayArgs;
use super::output::{DIM, Lines, styled};
use super::text::Painter;
use super::{CliError, json};

/// List the agents and people that are connected to a site.
#[derive(Args)]
pub(super) struct PresenceArgs {
    /// The site
    site: Site,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: PresenceArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let present = client.presence(&args.site).await?;
    client.close().await;
    let mut lines = Lines::default();
    if args.json {
        present.iter().try_for_each(|one| json::present(&mut lines, one))?;
    } else if present.is_empty() {
        lines.text(styled(DIM, format!("nobody is connected to site \"{}\"", args.site)));
        lines.write_aside();
    } else {
        Painter::new(None).presence(&mut lines, &present);
    }
    lines.write()
}
