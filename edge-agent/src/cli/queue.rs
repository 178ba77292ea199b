//! `queue`: what is on disk and not yet with the gateway, as of now, whether the agent runs or not.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use lockgate_config::{show_bytes, show_duration};
use lockgate_proto::gap::Gap;
use lockgate_proto::seq::Lane;
use lockgate_proto::time::UnixMicros;
use serde_json::{Value, json};

use super::{CliError, DataArg};
use crate::config::SYNC_INTERVAL_DEFAULT;
use crate::data::QUEUE_FOLDER;
use crate::queue::inspect::{EpochInspection, Inspection, LaneInspection, inspect};
use crate::queue::wear_logic::WriteEstimate;
use crate::time::iso;

#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    data: DataArg,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// The sync interval that the estimate of flash life assumes, with --data [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = lockgate_config::parse_duration, requires = "data")]
    sync_interval: Option<Duration>,
    /// What the card bears in all, in terabytes written, as its data sheet has it.
    #[arg(long, value_name = "TERABYTES", default_value_t = 30)]
    card_tbw: u64,
}

pub(super) fn run(args: &QueueArgs) -> Result<(), CliError> {
    let (folder, sync_interval) = if let Some(folder) = &args.data.data {
        (folder.clone(), args.sync_interval.unwrap_or(SYNC_INTERVAL_DEFAULT))
    } else {
        let config = args.data.config.load()?;
        (config.agent.data, config.queue.sync_interval)
    };
    let folder = folder.join(QUEUE_FOLDER);
    if !folder.is_dir() {
        return Err(anyhow::anyhow!(
            "there is no queue in {}; has the agent run with this data folder?",
            folder.display()
        )
        .into());
    }
    let inspection = inspect(&folder).with_context(|| format!("the queue in {}", folder.display()))?;
    let life = inspection.writes(sync_interval).map(|writes| Wear { writes, sync_interval, card_tbw: args.card_tbw });
    let text = if args.json {
        format!("{}\n", as_json(&inspection, life.as_ref()))
    } else {
        as_text(&inspection, life.as_ref())
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// What the writing means for a card.
struct Wear {
    writes: WriteEstimate,
    sync_interval: Duration,
    card_tbw: u64,
}

impl Wear {
    fn life(&self) -> Duration {
        self.writes.card_life(self.card_tbw.saturating_mul(1_000_000_000_000))
    }
}

fn lanes(inspection: &Inspection) -> impl Iterator<Item = (&EpochInspection, Lane, &LaneInspection)> {
    inspection.epochs.iter().flat_map(|epoch| {
        Lane::ALL
            .into_iter()
            .map(move |lane| (epoch, lane, &epoch.lanes[lane.index()]))
            .filter(|(_, _, lane)| lane.records > 0)
    })
}

fn as_json(inspection: &Inspection, wear: Option<&Wear>) -> Value {
    let time = |time: Option<UnixMicros>| time.map(iso);
    let rows: Vec<Value> = lanes(inspection)
        .map(|(epoch, lane, held)| {
            json!({
                "epoch": epoch.epoch.to_string(),
                "open": epoch.is_open,
                "lane": lane.as_str(),
                "bytes": held.bytes,
                "records": held.records,
                "waiting": held.records - held.settled,
                "last": held.last.map(lockgate_proto::seq::Seq::get),
                "oldest": time(held.oldest),
                "newest": time(held.newest),
            })
        })
        .collect();
    let gaps: Vec<Value> = inspection
        .gaps
        .iter()
        .map(|gap| {
            json!({
                "epoch": gap.epoch.to_string(),
                "lane": gap.lane.as_str(),
                "range": gap.range.to_string(),
                "reason": gap.reason.as_str(),
                "from": time(gap.span.from),
                "to": time(gap.span.to),
            })
        })
        .collect();
    let faults: Vec<String> = inspection.faults.iter().map(ToString::to_string).collect();
    json!({
        "bytes": inspection.bytes,
        "lanes": rows,
        "gaps": gaps,
        "faults": faults,
        "card": wear.map(|wear| json!({
            "sync_interval_ms": u64::try_from(wear.sync_interval.as_millis()).unwrap_or(u64::MAX),
            "record_bytes_per_day": wear.writes.record_bytes_per_day,
            "flushes_per_day": wear.writes.flushes_per_day,
            "card_bytes_per_day": wear.writes.card_bytes_per_day,
            "life_days": wear.life().as_secs() / 86_400,
        })),
    })
}

fn as_text(inspection: &Inspection, wear: Option<&Wear>) -> String {
    let mut rows = vec![["epoch", "lane", "records", "waiting", "bytes", "oldest", "newest"].map(str::to_owned)];
    for (epoch, lane, held) in lanes(inspection) {
        let time = |time: Option<UnixMicros>| time.map_or_else(|| "not known".to_owned(), iso);
        rows.push([
            format!("{}{}", epoch.epoch, if epoch.is_open { " (open)" } else { "" }),
            lane.to_string(),
            held.records.to_string(),
            (held.records - held.settled).to_string(),
            held.bytes.to_string(),
            time(held.oldest),
            time(held.newest),
        ]);
    }
    let waiting: u64 = lanes(inspection).map(|(_, _, lane)| lane.records - lane.settled).sum();
    let bytes = inspection.bytes;
    let mut parts = vec![
        if rows.len() == 1 { "The queue is empty.\n".to_owned() } else { table(&rows) },
        format!(
            "\n{bytes} bytes on disk; {waiting} records wait for the gateway, as far as is written on disk; a running \
             agent writes\nacknowledgements down later, so fewer may really wait: `lockgate loss SITE` has the \
             gateway's count.\n"
        ),
    ];
    parts.extend(inspection.gaps.iter().map(gap_line));
    parts.extend(inspection.faults.iter().map(|fault| format!("fault: {fault}\n")));
    let too_little = || "Too little has been written yet to say what it means for a flash card.\n".to_owned();
    parts.push(wear.map_or_else(too_little, wear_lines));
    parts.concat()
}

fn gap_line(gap: &Gap) -> String {
    let end = |time: Option<UnixMicros>| time.map_or_else(|| "?".to_owned(), iso);
    let count = if gap.is_unbounded() {
        "an unknown number of records".to_owned()
    } else {
        format!("{} records", gap.range.count())
    };
    let (from, to) = (end(gap.span.from), end(gap.span.to));
    format!(
        "gap: {count} ({} {}, {}) of epoch {}, taken between {from} and {to}\n",
        gap.lane, gap.range, gap.reason, gap.epoch
    )
}

fn wear_lines(wear: &Wear) -> String {
    let Wear { writes, sync_interval, card_tbw } = wear;
    let days = wear.life().as_secs() / 86_400;
    let life = if days >= 3_650 { "more than 10 years".to_owned() } else { format!("about {days} days") };
    format!(
        "\nAt this rate, in a day: {} of records, {} flushes (sync interval {}), {} written by the card.\n\
         A card that bears {card_tbw} TB lasts {life}; a longer queue.sync_interval makes it last longer.\n",
        show_bytes(round(writes.record_bytes_per_day)),
        writes.flushes_per_day,
        show_duration(*sync_interval),
        show_bytes(round(writes.card_bytes_per_day)),
    )
}

/// To about three digits, which is more than an estimate is worth.
fn round(bytes: u64) -> u64 {
    let step = 1u64 << (u64::BITS - bytes.leading_zeros()).saturating_sub(10).next_multiple_of(10).min(50);
    if step > 1 { bytes.div_ceil(step).saturating_mul(step) } else { bytes }
}

/// Columns aligned; the last one is not padded.
fn table(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
