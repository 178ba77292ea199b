//! `lockgate commands`: what was ordered, and what became of it.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::PossibleValuesParser;
use lockgate_client::{Client, ClientOptions, CommandStatus, CommandsWanted, Event, SubscribeOptions, Subscription};
use lockgate_proto::command::{CommandId, CommandUpdate, State};
use lockgate_proto::entry::{EntryBody, EntryKind};
use lockgate_proto::ids::{DeviceName, Site};
use lockgate_proto::time::UnixMicros;

use super::args::GatewayArgs;
use super::output::{DIM, Lines, styled};
use super::send::id;
use super::text::{Painter, is_aside};
use super::{CliError, json};

/// List a site's commands, and what became of them: the newest last.
#[derive(Args)]
pub(super) struct CommandsArgs {
    /// The site
    site: Site,
    /// Only of this device
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Only those that stand there, or ended so
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(State::WORDS))]
    state: Option<String>,
    /// Only those of this group
    #[arg(long, value_name = "ID", value_parser = id)]
    group: Option<CommandId>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: usize,
    /// Then go on, and show each change
    #[arg(long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: CommandsArgs) -> Result<(), CliError> {
    let options: ClientOptions = args.gateway.clone().options()?;
    // Followed first and listed then: so no change is between the two.
    let following = if args.follow {
        let subscribe = SubscribeOptions {
            devices: args.device.iter().cloned().collect(),
            kinds: vec![EntryKind::Command],
            fetch_lagged: true,
            ..SubscribeOptions::live(args.site.clone())
        };
        Some(Client::connect(options.clone()).await?.subscribe(subscribe).await?)
    } else {
        None
    };
    let mut client = Client::connect(options).await?;
    let commands = client.commands(&args.wanted()).await?;
    client.close().await;
    let mut shown = Shown { painter: (!args.json).then(|| Painter::new(None)), lines: Lines::default() };
    shown.list(&args.site, &commands)?;
    match following {
        Some(subscription) => shown.follow(&args, &commands, subscription).await,
        None => Ok(()),
    }
}

impl CommandsArgs {
    fn wanted(&self) -> CommandsWanted {
        CommandsWanted {
            device: self.device.clone(),
            state: self.state.clone(),
            group: self.group.clone(),
            count_max: self.last,
            ..CommandsWanted::all(self.site.clone())
        }
    }

    fn wants(&self, update: &CommandUpdate) -> bool {
        let of_group = |group: &CommandId| update.id == group.member(&update.device);
        self.state.as_deref().is_none_or(|word| word == update.standing.state.as_str())
            && self.group.as_ref().is_none_or(of_group)
    }
}

struct Shown {
    /// `None`: JSON.
    painter: Option<Painter>,
    lines: Lines,
}

impl Shown {
    fn list(&mut self, site: &Site, commands: &[CommandStatus]) -> Result<(), CliError> {
        for command in commands.iter().rev() {
            match &mut self.painter {
                Some(painter) => painter.command_status(&mut self.lines, command),
                None => json::command_status(&mut self.lines, command)?,
            }
        }
        if commands.is_empty() && self.painter.is_some() {
            let mut aside = Lines::default();
            aside.text(styled(DIM, format!("no such command of site \"{site}\" is known")));
            aside.write_aside();
        }
        self.lines.write()
    }

    async fn follow(
        &mut self,
        args: &CommandsArgs,
        listed: &[CommandStatus],
        mut subscription: Subscription,
    ) -> Result<(), CliError> {
        let listed: BTreeMap<&CommandId, UnixMicros> =
            listed.iter().map(|command| (&command.now.id, command.now.at)).collect();
        loop {
            let event = subscription.next().await?;
            if let Event::Entry(entry) = &event {
                let EntryBody::Command(update) = &entry.body else { continue };
                let is_listed = listed.get(&update.id).is_some_and(|at| update.at <= *at);
                if is_listed || !args.wants(update) {
                    continue;
                }
            }
            match &mut self.painter {
                Some(painter) if is_aside(&event) => {
                    let mut aside = Lines::default();
                    painter.event(&mut aside, &event);
                    aside.write_aside();
                }
                Some(painter) => painter.event(&mut self.lines, &event),
                None => json::event(&mut self.lines, &event)?,
            }
            self.lines.write()?;
        }
    }
}
