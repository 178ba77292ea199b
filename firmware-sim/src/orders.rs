//! Orders commands, so many at a time, and times each from its sending to its outcome.
//!
//! One connection of one person, who follows what was ordered. What the devices count of it is theirs to tell.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use lockgate_proto::ids::{DeviceName, Site, Tenant};
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::dial::{Dialer, GatewayUrl};
use lockgate_runtime::link::{Link, LinkOptions, Received};
use lockgate_runtime::tls::Trust;
use lockgate_token::{Identity, NewToken, Right, Scope, SigningKey};
use prost::Message as _;
use serde_json::{Value, json};

use crate::fleet::{Histogram, Quantiles};

/// No command waits longer for its device, and no token is needed for longer.
const TTL: Duration = Duration::from_secs(60);

const CONNECT_ID: u32 = 1;

/// Ends with a table, and fails unless every command succeeds.
#[derive(Debug, Args)]
pub struct OrdersArgs {
    /// The gateway, such as ws://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    gateway: GatewayUrl,
    /// The gateway's key file, with which a token is made: token.key in its data folder.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The owner of the site.
    #[arg(long, value_name = "TENANT")]
    tenant: Tenant,
    /// Where the devices are.
    #[arg(long, value_name = "SITE")]
    site: Site,
    /// Who shall act; may be given several times, and then each in turn.
    #[arg(long = "device", value_name = "DEVICE", required = true)]
    devices: Vec<DeviceName>,
    /// What it shall do.
    #[arg(long, value_name = "NAME")]
    command: String,
    /// With what; may be given several times.
    #[arg(long = "argument", value_name = "NAME=NUMBER", value_parser = argument)]
    arguments: Vec<(String, f64)>,
    /// Commands that are under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    at_once: usize,
    /// Commands in all that are timed.
    #[arg(long, value_name = "N", default_value_t = 200)]
    commands: usize,
    /// Commands before those, which are not.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: usize,
    /// Writes all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn argument(text: &str) -> Result<(String, f64), String> {
    let (name, number) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let number = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    Ok((name.to_owned(), number))
}

/// Orders them all and prints what it took.
pub async fn run(args: OrdersArgs) -> anyhow::Result<()> {
    let mut desk = Desk::connect(&args).await?;
    let began = Instant::now();
    desk.order_all(&args).await?;
    let figures = desk.figures(&args, began.elapsed());
    if let Some(path) = &args.json {
        fs::write(path, format!("{figures:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = anstream::stdout().lock();
    writeln!(out, "{figures:#}").context("cannot write to standard output")?;
    if desk.ends.keys().all(|word| word == "succeeded") { Ok(()) } else { bail!("not every command succeeded") }
}

/// A connection, and what was ordered over it.
struct Desk {
    link: Link,
    /// From this process's start to the gateway's time, as far as it matters here.
    server_time: (Instant, UnixMicros),
    asked: u32,
    /// By id: when it was sent, and whether it counts.
    open: HashMap<String, (Instant, bool)>,
    /// Which request is whose.
    requests: HashMap<u32, String>,
    accepted: Histogram,
    ended: Histogram,
    /// How many ended how.
    ends: HashMap<String, u64>,
}

impl Desk {
    async fn connect(args: &OrdersArgs) -> anyhow::Result<Desk> {
        let key = SigningKey::load(&args.key_file).context("cannot read the key file")?;
        let scopes = [Right::TelemetryRead, Right::CommandSend].map(|right| Scope::site(right, args.site.as_str()));
        let identity = Identity::User { name: "orders".to_owned(), scopes: scopes.into() };
        let token = NewToken { tenant: args.tenant.clone(), identity, ttl: Duration::from_secs(24 * 3_600) };
        let token = key.mint(&token, Clock::system().wall()).context("cannot make a token")?;
        let options = LinkOptions::client_at_client();
        let dialer = Dialer::new(args.gateway.clone(), "/v1/client", "lockgate.client.v1", options, Trust::default())?;
        let mut link = dialer.dial(None).await.with_context(|| format!("cannot reach {}", args.gateway))?;
        let client = concat!("lockgate-sim ", env!("CARGO_PKG_VERSION")).to_owned();
        link.feed(frame(CONNECT_ID, Request::Connect(wire::Connect { token, client }))).await?;
        link.flush().await?;
        let server_time = loop {
            match next(&mut link).await?.1 {
                Body::Connected(connected) => break UnixMicros(connected.server_time_us),
                Body::Error(error) => bail!("the gateway refuses: {}", error.message),
                _ => {}
            }
        };
        Ok(Desk {
            link,
            server_time: (Instant::now(), server_time),
            asked: CONNECT_ID,
            open: HashMap::new(),
            requests: HashMap::new(),
            accepted: Histogram::default(),
            ended: Histogram::default(),
            ends: HashMap::new(),
        })
    }

    async fn order_all(&mut self, args: &OrdersArgs) -> anyhow::Result<()> {
        let all = args.warm_up + args.commands;
        let mut ordered = 0;
        while ordered < all || !self.open.is_empty() {
            while ordered < all && self.open.len() < args.at_once.max(1) {
                self.order(args, ordered).await?;
                ordered += 1;
            }
            self.link.flush().await?;
            let heard = tokio::time::timeout(TTL * 2, next(&mut self.link)).await;
            let (id, body) = heard.context("nothing is told any more, and the deadlines have passed")??;
            self.hear(id, body)?;
        }
        Ok(())
    }

    async fn order(&mut self, args: &OrdersArgs, index: usize) -> anyhow::Result<()> {
        let id = format!("{:016x}", lockgate_runtime::random());
        let device = args.devices.get(index % args.devices.len()).context("there is a device")?;
        let (at, server_time) = self.server_time;
        let field = |(name, number): &(String, f64)| wire::Field {
            name: name.clone(),
            value: Some(wire::Value { kind: Some(wire::value::Kind::Number(*number)) }),
        };
        let order = wire::SendCommand {
            site: args.site.as_str().to_owned(),
            target: Some(wire::send_command::Target::Device(device.as_str().to_owned())),
            id: id.clone(),
            name: args.command.clone(),
            arguments: args.arguments.iter().map(field).collect(),
            deadline_us: server_time.offset_by(micros(at.elapsed() + TTL).cast_signed()).0,
            follow: true,
            ..wire::SendCommand::default()
        };
        self.asked += 1;
        self.requests.insert(self.asked, id.clone());
        self.open.insert(id, (Instant::now(), args.warm_up <= index));
        self.link.feed(frame(self.asked, Request::SendCommand(order))).await?;
        Ok(())
    }

    fn hear(&mut self, request: u32, body: Body) -> anyhow::Result<()> {
        let status = match body {
            Body::Command(status) => status,
            Body::Error(error) => bail!("a command is refused: {} ({})", error.message, error.field),
            _ => return Ok(()),
        };
        let now = status.now.unwrap_or_default();
        let Some((sent, counts)) = self.open.get(&now.id).copied() else { return Ok(()) };
        if self.requests.remove(&request).is_some() && counts {
            self.accepted.add(micros(sent.elapsed()));
        }
        let word = match (now.state(), now.outcome.and_then(|outcome| outcome.kind)) {
            (_, Some(kind)) => outcome_word(&kind),
            (wire::CommandState::Unknown, None) => "unknown".to_owned(),
            (_, None) => return Ok(()),
        };
        self.open.remove(&now.id);
        *self.ends.entry(word).or_default() += 1;
        if counts {
            self.ended.add(micros(sent.elapsed()));
        }
        Ok(())
    }

    fn figures(&self, args: &OrdersArgs, took: Duration) -> Value {
        let all = (args.warm_up + args.commands) as u64;
        let per_second = all.saturating_mul(1_000_000) / micros(took).max(1);
        json!({
            "commands": args.commands,
            "at_once": args.at_once,
            "devices": args.devices.len(),
            "per_second": per_second,
            "accepted_us": quantiles(self.accepted.quantiles()),
            "outcome_us": quantiles(self.ended.quantiles()),
            "ends": self.ends,
        })
    }
}

fn outcome_word(kind: &wire::outcome::Kind) -> String {
    match kind {
        wire::outcome::Kind::Succeeded(_) => "succeeded".to_owned(),
        wire::outcome::Kind::Failed(failure) => format!("failed: {}", failure.reason),
        wire::outcome::Kind::Expired(_) => "expired".to_owned(),
        wire::outcome::Kind::Cancelled(_) => "cancelled".to_owned(),
        wire::outcome::Kind::Interrupted(_) => "interrupted".to_owned(),
    }
}

fn quantiles(of: Quantiles) -> Value {
    let Quantiles { count, p50, p90, p99, p999, max } = of;
    json!({ "count": count, "p50": p50, "p90": p90, "p99": p99, "p99_9": p999, "max": max })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn frame(id: u32, request: Request) -> Bytes {
    wire::ClientFrame { id, request: Some(request) }.encode_to_vec().into()
}

/// The next frame that says anything: request number and body.
async fn next(link: &mut Link) -> anyhow::Result<(u32, Body)> {
    loop {
        match link.receive().await? {
            Received::Message(bytes) => {
                let frame = wire::ServerFrame::decode(bytes).context("the gateway speaks something else")?;
                if let Some(body) = frame.body {
                    return Ok((frame.id, body));
                }
            }
            Received::Closed(closed) => bail!("the gateway has closed the connection: {closed}"),
        }
    }
}
