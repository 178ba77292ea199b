//! A stretch of a site's log: after a position, or the last entries.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use lockgate_proto::entry::EntryKind;
use lockgate_proto::ids::{DeviceName, MetricName, RoomId, Site};
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_token::Grant;

use super::asked::{Caller, In, site};
use super::document::Name;
use super::problem::{Failures, Problem};
use super::query_logic::Query;
use super::{Answer, answer};
use crate::backbone::{Backbone, LogRead, LoggedEntry, ReadLimit};
use crate::client_session::answer::{enter, forbidden, unavailable};
use crate::client_session::filter::Filter;
use crate::client_session::request::FILTER_NAMES_MAX;
use crate::context::Context;
use crate::limits::{
    HISTORY_BYTES_TARGET, HISTORY_ENTRIES_MAX, HISTORY_LOOKED_AT_MAX, LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX,
};
use crate::room::in_words;

/// Entries of an answer where the request does not say.
const PAGE: u32 = 100;

/// A kind of entry by its word.
struct Kind(EntryKind);

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Kind, String> {
        let known = || EntryKind::ALL.map(EntryKind::as_str).join(", ");
        EntryKind::from_word(word).map(Kind).ok_or_else(|| format!("there is no kind {word:?}; there are {}", known()))
    }
}

/// What is asked for.
struct Wanted {
    /// After this one; `None`: the last ones.
    after: Option<Position>,
    limit: u32,
    filter: Filter,
}

/// A stretch of a site's log, the oldest entry first: what follows a position, or the last entries.
///
/// With `after`, the entries that follow that position and pass the filter; go on with `next` as `after` as long as there
/// is `more`, and later for what has come since. Without it, those of the last `limit` entries that pass.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/history",
    operation_id = "readHistory",
    tag = "site",
    params(
        ("site" = inline(Name), Path, description = "The site"),
        ("after" = Option<String>, Query, description = "Position to go on from: `next` of an earlier answer, or `0.0` for the beginning of the log",
            pattern = "^[0-9]{1,20}\\.[0-9a-f]{1,16}$", example = "1042.8f3a5c0012ab77e9"),
        ("limit" = Option<u32>, Query, description = "Most entries; 100, unless it is given", minimum = 1, maximum = 1000),
        ("device" = Option<Vec<String>>, Query, description = "Only entries of these devices, and those of none"),
        ("kind" = Option<Vec<String>>, Query, description = "Only entries of these kinds: telemetry, presence, gap, gap_withdrawn, attendance, alarm, command, description"),
        ("metric" = Option<Vec<String>>, Query, description = "Of telemetry only these metrics"),
    ),
    responses(
        (status = 200, description = "Entries", body = ref("#/components/schemas/HistoryReply")),
        (status = 410, description = "The log no longer has what follows this position, or is another one", body = Problem,
            content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn read(
    State(context): State<Context>,
    Caller(grant): Caller,
    In(of): In<String>,
    query: Query,
) -> Answer {
    let site = site(&of)?;
    let wanted = wanted(query)?;
    let room = enter(&grant, &site, "site")?;
    let wanted = within(wanted, &grant, &room)?;
    let backbone = &*context.backbone;
    answer(&match wanted.after {
        Some(after) => following(backbone, &room, after, &wanted).await?,
        None => last(backbone, &room, &wanted).await?,
    })
}

fn wanted(mut query: Query) -> Result<Wanted, Problem> {
    let after = query.one::<Position>("after")?;
    let limit = match query.one::<u32>("limit")? {
        Some(limit) if limit == 0 || limit > HISTORY_ENTRIES_MAX => {
            let detail = format!("limit is {limit}; it may be from 1 to {HISTORY_ENTRIES_MAX}");
            return Err(Problem::invalid("limit", detail));
        }
        limit => limit.unwrap_or(PAGE),
    };
    let devices = query.many::<DeviceName>("device")?;
    let kinds = query.many::<Kind>("kind")?;
    let metrics = query.many::<MetricName>("metric")?;
    for (field, count) in [("device", devices.len()), ("metric", metrics.len())] {
        if count > FILTER_NAMES_MAX {
            let detail = format!("{count} names are given; at most {FILTER_NAMES_MAX} are allowed");
            return Err(Problem::invalid(field, detail));
        }
    }
    query.finish()?;
    let filter = Filter::of_devices(devices).of_kinds(kinds.into_iter().map(|Kind(kind)| kind)).of_metrics(metrics);
    Ok(Wanted { after, limit, filter })
}

/// Only what the token lets see; a device that is asked for by name must be among it.
fn within(wanted: Wanted, grant: &Arc<Grant>, room: &RoomId) -> Result<Wanted, Problem> {
    let filter = wanted.filter.within(grant, room);
    match filter.forbidden() {
        Some(device) => Err(forbidden("device", &format!("the device {device:?}")).into()),
        None => Ok(Wanted { filter, ..wanted }),
    }
}

async fn last(backbone: &dyn Backbone, room: &RoomId, wanted: &Wanted) -> Result<wire::HistoryReply, Problem> {
    let limit = ReadLimit { entries_max: wanted.limit, bytes_max: HISTORY_BYTES_TARGET };
    let entries = backbone.read_last(room, limit).await.map_err(|error| unavailable(&error))?;
    let reached = match entries.last() {
        Some(newest) => newest.position,
        None => Position::START,
    };
    let passed: Vec<LoggedEntry> = entries.iter().filter_map(|entry| wanted.filter.cut(entry)).collect();
    Ok(reply(&room.site, &passed, reached, false))
}

async fn following(
    backbone: &dyn Backbone,
    room: &RoomId,
    after: Position,
    wanted: &Wanted,
) -> Result<wire::HistoryReply, Problem> {
    let (mut reached, mut looked_at, mut bytes) = (after, 0, 0);
    let mut passed = Vec::new();
    let limit = ReadLimit { entries_max: LOG_READ_ENTRIES_MAX, bytes_max: LOG_READ_BYTES_MAX };
    let is_full = |passed: &Vec<LoggedEntry>, bytes: usize| {
        passed.len() >= wanted.limit as usize || bytes >= HISTORY_BYTES_TARGET
    };
    while looked_at < HISTORY_LOOKED_AT_MAX && !is_full(&passed, bytes) {
        let entries = match backbone.read_after(room, reached, limit).await.map_err(|error| unavailable(&error))? {
            LogRead::Entries(entries) => entries,
            LogRead::Trimmed => return Err(gone("the log no longer reaches back so far")),
            LogRead::Diverged => return Err(gone("the log is another one than that of this position")),
        };
        if entries.is_empty() {
            return Ok(reply(&room.site, &passed, reached, false));
        }
        for entry in entries {
            if is_full(&passed, bytes) {
                break;
            }
            reached = entry.position;
            looked_at += 1;
            if let Some(entry) = wanted.filter.cut(&entry) {
                bytes += entry.bytes.len();
                passed.push(entry);
            }
        }
    }
    let head = backbone.head(room).await.map_err(|error| unavailable(&error))?;
    Ok(reply(&room.site, &passed, reached, head != reached))
}

fn gone(why: &str) -> Problem {
    Problem::new(
        StatusCode::GONE,
        "after",
        format!("{why}; leave out `after` for the last entries, and go on from there"),
    )
}

fn reply(site: &Site, entries: &[LoggedEntry], reached: Position, more: bool) -> wire::HistoryReply {
    wire::HistoryReply {
        site: site.as_str().to_owned(),
        entries: entries.iter().map(in_words).collect(),
        next: reached.to_string(),
        more,
    }
}
