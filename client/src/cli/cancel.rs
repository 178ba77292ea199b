//! `lockgate cancel`: takes a command back, as far as that can be.

use clap::Args;
use lockgate_client::{Client, OrderStatus};
use lockgate_proto::command::{CommandId, Outcome, State};
use lockgate_proto::ids::Site;

use super::args::GatewayArgs;
use super::output::{DIM, Lines};
use super::send::id;
use super::text::{Painter, note};
use super::{CliError, json};

/// Take a command back, or all of a group.
///
/// What has not left yet is cancelled at once. Else its agent is asked, and does not begin it if it has not begun:
/// `lockgate commands --follow` tells what becomes of that.
#[derive(Args)]
pub(super) struct CancelArgs {
    /// The site
    site: Site,
    /// The command's id, or the group's
    #[arg(value_parser = id)]
    id: CommandId,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: CancelArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let status = client.cancel(&args.site, &args.id).await?;
    client.close().await;
    let mut lines = Lines::default();
    if args.json {
        json::order(&mut lines, &status)?;
    } else {
        Painter::new(None).order(&mut lines, &status);
    }
    lines.write()?;
    let OrderStatus::Command(command) = status else { return Ok(()) };
    match &command.now.standing.state {
        State::Ended(Outcome::Cancelled) => Ok(()),
        State::Ended(outcome) => {
            Err(CliError::TooLate(format!("too late: command {} had ended: {}", args.id, outcome.as_str())))
        }
        _ if args.json => Ok(()),
        _ => {
            lines.text(note(
                DIM,
                "it may have left already: its agent is asked, and does not begin it if it has not begun",
            ));
            lines.write_aside();
            Ok(())
        }
    }
}
