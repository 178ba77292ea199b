//! `lockgate devices`: which devices a site has.

use clap::Args;
use lockgate_client::Client;
use lockgate_proto::ids::{Site, Tag, Tenant};

use super::args::GatewayArgs;
use super::output::{DIM, Lines, styled};
use super::text::Painter;
use super::{CliError, json};

/// List a site's devices.
#[derive(Args)]
pub(super) struct DevicesArgs {
    /// The site
    site: Site,
    /// Only devices that have this tag
    #[arg(long)]
    tag: Option<Tag>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: DevicesArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let mut devices = match &args.tag {
        Some(tag) => client.devices_tagged(&args.site, tag).await?,
        None => client.devices(&args.site).await?,
    };
    let tenant = client.tenant().cloned();
    client.close().await;
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    let mut lines = Lines::default();
    if args.json {
        devices.iter().try_for_each(|device| json::device(&mut lines, device))?;
    } else if devices.is_empty() {
        let text = match &args.tag {
            Some(tag) => format!("no device of site \"{}\" has the tag \"{tag}\"", args.site),
            None => none_known(&args.site, tenant.as_ref()),
        };
        lines.text(styled(DIM, text));
        lines.write_aside();
    } else {
        Painter::new(None).devices(&mut lines, &devices);
    }
    lines.write()
}

fn none_known(site: &Site, tenant: Option<&Tenant>) -> String {
    let of = tenant.map_or_else(String::new, |tenant| format!(" (tenant {tenant})"));
    format!("no device of site \"{site}\" has been heard of yet{of}; is the name right?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_without_devices_is_named_with_its_tenant() {
        let (site, tenant) = (Site::new("plant-2").unwrap(), Tenant::new("acme").unwrap());
        let text = "no device of site \"plant-2\" has been heard of yet (tenant acme); is the name right?";
        assert_eq!(none_known(&site, Some(&tenant)), text);
        assert_eq!(none_known(&site, None), text.replace(" (tenant acme)", ""));
    }
}
