//! `decode`: a recorded input through a profile, without device and network.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use lockgate_codec::{Counters, Input, Output, Zone};
use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;

use super::{CliError, ConfigArg, output};
use crate::config::SourceProfile;

/// LIMIT: longest line of recorded messages.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What a profile is given at once where --pieces does not say; the result does not depend on it.
const CHUNK_BYTES: usize = 4096;

/// LIMIT: largest piece that --pieces may ask for.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Powers of two that random pieces are below: most are a few bytes, some are long.
const RANDOM_PIECE_POWERS: u64 = 11;

/// How a serial input is cut before the profile gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    /// So many bytes each.
    Of(usize),
    /// Of any length, by the seed.
    Random,
}

impl FromStr for Pieces {
    type Err = String;

    fn from_str(text: &str) -> Result<Pieces, String> {
        if text == "random" {
            return Ok(Pieces::Random);
        }
        let bytes = text.parse().ok().filter(|bytes| (1..=PIECE_BYTES_MAX).contains(bytes));
        bytes.map(Pieces::Of).ok_or_else(|| format!("must be a number from 1 to {PIECE_BYTES_MAX}, or \"random\""))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Serial input is the bytes as they came. MQTT input is one JSON object a line:\n\
    {\"topic\": \"…\", \"payload\": \"…\" or \"payload_base64\": \"…\", \"retain\": true or false}\n\n\
    Prints one JSON object a line: a reading (device, metric, value; unit, time, retained, historical,\n\
    quality where they apply) or {\"dead_letter\": \"why\"}. Ends with a line on standard error that counts.")]
pub(super) struct DecodeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The name of a source in the configuration.
    #[arg(long, value_name = "NAME", conflicts_with = "profile", required_unless_present = "profile")]
    source: Option<String>,
    /// The name of a shipped profile, or the path of one of your own.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    profile: Option<String>,
    /// The device of readings that do not tell theirs, with --profile.
    #[arg(long, value_name = "NAME", requires = "profile")]
    device: Option<DeviceName>,
    /// The IANA time zone of local times, with --profile.
    #[arg(long, value_name = "ZONE", requires = "profile")]
    time_zone: Option<String>,
    /// What was recorded; - is standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Gives the profile serial input in pieces of so many bytes, or of random lengths, as a port may; what
    /// comes of it must be the same.
    #[arg(long, value_name = "N|random")]
    pieces: Option<Pieces>,
    /// Which random pieces: the same seed gives the same.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pieces")]
    seed: u64,
}

pub(super) fn run(args: &DecodeArgs) -> Result<(), CliError> {
    let profile = profile(args)?;
    let input = open(&args.input)?;
    let mut printer = Printer { out: io::BufWriter::new(anstream::stdout()), made: Made::default() };
    let counters = match profile.input() {
        Input::Stream => {
            let pieces = args.pieces.unwrap_or(Pieces::Of(CHUNK_BYTES));
            stream(&profile, input, (pieces, args.seed), &mut printer)?
        }
        Input::Messages if args.pieces.is_some() => {
            return Err(CliError::Usage("--pieces is for serial input; messages come whole".to_owned()));
        }
        Input::Messages => messages(&profile, input, &mut printer)?,
    };
    printer.out.flush()?;
    // So that an input of which nothing comes is not answered by silence.
    writeln!(anstream::stderr(), "{}", summary(profile.input(), counters, &printer.made))?;
    Ok(())
}

fn profile(args: &DecodeArgs) -> Result<SourceProfile, CliError> {
    if let Some(name) = &args.profile {
        let zone = match &args.time_zone {
            Some(zone) => zone.parse().map_err(|error| CliError::Usage(format!("--time-zone {zone:?} {error}")))?,
            None => Zone::default(),
        };
        return Ok(SourceProfile::by_name(name, args.device.clone(), zone)?);
    }
    let Some(source) = &args.source else {
        return Err(CliError::Usage("give --profile, or --source".to_owned()));
    };
    let config = args.config.load()?;
    let serial = config.serial.into_iter().map(|serial| (serial.name, serial.profile));
    let mqtt = config.mqtt.into_iter().map(|mqtt| (mqtt.name, mqtt.profile));
    let mut names = Vec::new();
    for (name, profile) in serial.chain(mqtt) {
        if name == *source {
            return Ok(profile);
        }
        names.push(name);
    }
    Err(CliError::Usage(format!("no source is called {source:?}; there are: {}", names.join(", "))))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn stream(
    profile: &SourceProfile,
    mut input: Box<dyn BufRead>,
    pieces: (Pieces, u64),
    printer: &mut Printer<impl Write>,
) -> Result<Counters, CliError> {
    let (pieces, mut seed) = pieces;
    let mut reader = profile.stream();
    let mut outputs = Vec::new();
    let mut piece = Vec::new();
    // A recording tells no times: all of it comes at once, and its end is a long silence.
    let start = MonoTime::default();
    loop {
        let length = match pieces {
            Pieces::Of(bytes) => bytes as u64,
            Pieces::Random => random_length(&mut seed),
        };
        piece.clear();
        if input.by_ref().take(length).read_to_end(&mut piece).context("cannot read the input")? == 0 {
            break;
        }
        reader.push(&piece, start, &mut outputs);
        printer.print(&mut outputs)?;
    }
    reader.silence(&mut outputs);
    printer.print(&mut outputs)?;
    Ok(reader.counters())
}

/// SplitMix64: the same seed must give the same pieces on every machine and in every version.
fn random_length(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let random = mixed ^ (mixed >> 31);
    let below = 1 << (random % RANDOM_PIECE_POWERS);
    1 + (random >> 32) % below
}

fn messages(
    profile: &SourceProfile,
    mut input: Box<dyn BufRead>,
    printer: &mut Printer<impl Write>,
) -> Result<Counters, CliError> {
    let mut reader = profile.messages();
    let mut outputs = Vec::new();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let count =
            input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("cannot read the input")?;
        if count == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = message(&line).with_context(|| format!("line {number} of the input"))?;
        reader.message(&message.topic, &message.payload, message.retain, &mut outputs);
        printer.print(&mut outputs)?;
    }
    Ok(reader.counters())
}

struct Message {
    topic: String,
    payload: Vec<u8>,
    retain: bool,
}

fn message(line: &[u8]) -> anyhow::Result<Message> {
    let json: serde_json::Value = serde_json::from_slice(line).context("is no JSON")?;
    let text = |key: &str| json.get(key).map(|value| value.as_str().with_context(|| format!("`{key}` must be text")));
    let topic = text("topic").context("has no `topic`")??.to_owned();
    let payload = match (text("payload"), text("payload_base64")) {
        (Some(payload), None) => payload?.as_bytes().to_vec(),
        (None, Some(base64)) => STANDARD.decode(base64?).context("`payload_base64` is no base64")?,
        (None, None) | (Some(_), Some(_)) => {
            return Err(anyhow!("must have either `payload` or `payload_base64`"));
        }
    };
    let retain = match json.get("retain") {
        None => false,
        Some(retain) => retain.as_bool().context("`retain` must be true or false")?,
    };
    Ok(Message { topic, payload, retain })
}

/// How many outputs of each kind were printed.
#[derive(Default)]
struct Made {
    readings: u64,
    presences: u64,
    replies: u64,
    dead_letters: u64,
}

/// Prints outputs and counts them.
struct Printer<W> {
    out: W,
    made: Made,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, outputs: &mut Vec<Output>) -> Result<(), CliError> {
        for output in outputs.drain(..) {
            match output {
                Output::Reading(_) => self.made.readings += 1,
                Output::Presence { .. } => self.made.presences += 1,
                Output::Reply(_) => self.made.replies += 1,
                Output::DeadLetter(_) => self.made.dead_letters += 1,
            }
            writeln!(self.out, "{}", output::json_line(&output))?;
        }
        Ok(())
    }
}

/// What came of the input, in one line: "7 frames: 2 ignored or taken by no route; 10 readings, 2 dead letters".
fn summary(input: Input, counters: Counters, made: &Made) -> String {
    let many = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let whole = many(counters.inputs, if input == Input::Stream { "frame" } else { "message" });
    let mut parts = Vec::new();
    if counters.ignored > 0 {
        parts.push(format!("{} ignored or taken by no route", counters.ignored));
    }
    let readings = many(made.readings, "reading");
    let presence = if made.presences > 0 { format!(", {} of presence", made.presences) } else { String::new() };
    let replies = match made.replies {
        0 => String::new(),
        1 => ", 1 reply".to_owned(),
        more => format!(", {more} replies"),
    };
    parts.push(format!("{readings}{presence}{replies}, {}", many(made.dead_letters, "dead letter")));
    if counters.absent > 0 {
        parts.push(format!("{} without a value", counters.absent));
    }
    if counters.joined_bytes > 0 {
        parts.push(format!("{} before the first frame", many(counters.joined_bytes, "byte")));
    }
    format!("{whole}: {}", parts.join("; "))
}
