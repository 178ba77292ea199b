//! `lockgate watch`: what a site's devices say, as they say it.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use lockgate_client::{Client, ClientError, Event, Start, SubscribeOptions, Subscription};
use lockgate_proto::entry::{EntryBody, EntryKind};
use lockgate_proto::ids::{DeviceName, MetricName, Site};
use lockgate_proto::position::{Position, PositionError};
use tokio::time::{Instant, sleep_until};

use super::args::{GatewayArgs, duration};
use super::output::{DIM, Lines};
use super::text::{Painter, is_aside, note};
use super::{CliError, json};

/// Show what a site's devices say, as they say it.
///
/// Reconnects by itself and goes on where it stood, and fetches what the gateway left out because the reader of
/// its output is slow: nothing is missed and nothing is shown twice.
#[derive(Args)]
pub(super) struct WatchArgs {
    /// The site
    site: Site,
    /// Only this device; may be given several times
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<DeviceName>,
    /// Only entries of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = kinds())]
    kinds: Vec<EntryKind>,
    /// Of telemetry only this metric; may be given several times
    #[arg(long = "metric", value_name = "METRIC")]
    metrics: Vec<MetricName>,
    /// Everything after this position, or after `start`; each line of --json has its position
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    since: Option<Since>,
    /// The last N entries first
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// The last known values first
    #[arg(long)]
    snapshot: bool,
    /// End when everything has been shown that the log has now
    #[arg(long)]
    until_head: bool,
    /// End after so many readings
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time, such as 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    period: Option<Duration>,
    /// Telemetry in short: the latest value of each metric, once in this time, such as 5s; 0s: only while the reader is
    /// too slow
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    conflate: Option<Duration>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// The words of all kinds, for the help and the error too.
fn kinds() -> impl TypedValueParser<Value = EntryKind> {
    let words = PossibleValuesParser::new(EntryKind::ALL.map(EntryKind::as_str));
    words.try_map(|word| EntryKind::from_word(&word).ok_or("it is no kind of entry"))
}

#[derive(Clone, Copy)]
struct Since(Position);

impl FromStr for Since {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Since, PositionError> {
        if text == "start" { Ok(Since(Position::START)) } else { text.parse().map(Since) }
    }
}

pub(super) async fn run(args: WatchArgs) -> Result<(), CliError> {
    let end = args.period.map(|period| Instant::now() + period);
    let start = match (args.since, args.last) {
        (Some(Since(position)), _) => Start::Since(position),
        (None, Some(last)) => Start::Last(last),
        (None, None) => Start::Live,
    };
    let mut client = Client::connect(args.gateway.options()?).await?;
    let mut aside = Lines::default();
    if !args.json && !args.devices.is_empty() {
        // A gateway that refuses the list refuses the subscription too, and that refusal is shown.
        let known = client.devices(&args.site).await.ok();
        let is_known = |name: &DeviceName| known.iter().flatten().any(|device| device.device == *name);
        for name in args.devices.iter().filter(|name| known.is_some() && !is_known(name)) {
            let waiting = if args.until_head { "" } else { "; waiting" };
            aside.text(note(DIM, &format!("no device \"{name}\" is known in {} yet{waiting}", args.site)));
        }
    }
    let options = SubscribeOptions {
        site: args.site,
        devices: args.devices,
        kinds: args.kinds,
        metrics: args.metrics,
        start,
        snapshot: args.snapshot,
        tell_caught_up: args.until_head,
        // Who takes the latest values for all of them does not want the rest later.
        fetch_lagged: args.conflate.is_none(),
        conflate: args.conflate,
    };
    let subscription = client.subscribe(options).await?;
    aside.write_aside();
    let mut watch = Watch {
        painter: (!args.json).then(|| Painter::new(subscription.time_zone())),
        lines: Lines::default(),
        left: args.count,
        until_head: args.until_head,
    };
    watch.show(subscription, end).await
}

struct Watch {
    /// `None`: JSON.
    painter: Option<Painter>,
    lines: Lines,
    /// Readings that are still wanted.
    left: Option<u64>,
    until_head: bool,
}

impl Watch {
    async fn show(&mut self, mut subscription: Subscription, end: Option<Instant>) -> Result<(), CliError> {
        while self.left != Some(0) {
            let event = match next(&mut subscription, end).await {
                Some(event) => event?,
                None => break,
            };
            let mut is_over = self.event(event)?;
            while !is_over && self.left != Some(0) {
                let Some(event) = subscription.try_next() else { break };
                is_over = self.event(event)?;
            }
            self.lines.write()?;
            if is_over {
                break;
            }
        }
        subscription.close().await;
        Ok(())
    }

    /// Shows an event; says whether it is the last one wanted.
    fn event(&mut self, mut event: Event) -> Result<bool, CliError> {
        if let Event::CaughtUp { .. } = event {
            return Ok(self.until_head);
        }
        if let (Event::Entry(entry), Some(left)) = (&mut event, &mut self.left)
            && let EntryBody::Telemetry(telemetry) = &mut entry.body
        {
            let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
            telemetry.readings.truncate(wanted);
            *left = left.saturating_sub(telemetry.readings.len() as u64);
        }
        match &mut self.painter {
            Some(painter) if is_aside(&event) => {
                // A terminal that shows both has them in order.
                self.lines.write()?;
                let mut aside = Lines::default();
                painter.event(&mut aside, &event);
                aside.write_aside();
            }
            Some(painter) => painter.event(&mut self.lines, &event),
            None => json::event(&mut self.lines, &event)?,
        }
        Ok(false)
    }
}

/// `None`: the time is over.
async fn next(subscription: &mut Subscription, end: Option<Instant>) -> Option<Result<Event, ClientError>> {
    let Some(end) = end else { return Some(subscription.next().await) };
    tokio::select! {
        biased;
        // CANCEL-SAFE: a timer holds nothing.
        () = sleep_until(end) => None,
        // CANCEL-SAFE: an event that was not returned is still in the subscription.
        event = subscription.next() => Some(event),
    }
}
