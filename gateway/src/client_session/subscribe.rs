//! How a subscription begins, and how it begins anew where its log is no longer the one it was.

use std::sync::Arc;

use lockgate_proto::ids::{RoomId, Site};
use lockgate_proto::limits::SERVER_MESSAGE_BYTES_MAX;
use lockgate_proto::position::{Offset, Position};
use lockgate_proto::wire;
use lockgate_token::Grant;

use crate::backbone::{Backbone, DeviceShadow, LogRead, LoggedEntry, ReadLimit, Selection, Wanted};
use crate::client_session::answer::{enter, forbidden, unavailable};
use crate::client_session::cursor_logic::Cursor;
use crate::client_session::filter::Filter;
use crate::client_session::reply::{self, Begun};
use crate::client_session::request::{RequestError, Start, SubscribeRequest};
use crate::client_session::subscriptions::Subscription;
use crate::context::Context;
use crate::encoding::Encoding;
use crate::limits::RECONNECT_AFTER_DRAIN;
use crate::room::{Recent, RoomsGone};

/// The largest part of a message that a snapshot may be; the rest is left for what surrounds it.
const SNAPSHOT_BYTES_MAX: usize = SERVER_MESSAGE_BYTES_MAX - 64 * 1024;

/// A subscription, with what the client gets before anything else.
pub(super) struct Opening {
    pub(super) subscription: Subscription,
    pub(super) subscribed: wire::Subscribed,
    /// The last entries, where they were asked for.
    pub(super) entries: Vec<LoggedEntry>,
}

/// Begins a subscription.
///
/// The room is joined first and the log is read second: so whatever is written meanwhile is in one of the
/// two, and what is in both shows by its links.
pub(super) async fn open(
    context: &Context,
    encoding: Encoding,
    grant: &Arc<Grant>,
    request: SubscribeRequest,
) -> Result<Opening, RequestError> {
    let site = request.site;
    let room = enter(grant, &site, "subscribe.site")?;
    let filter = request.filter.within(grant, &room);
    if let Some(device) = filter.forbidden() {
        return Err(forbidden("subscribe.filter.devices", &format!("the device {device:?}")));
    }
    let joined = context.rooms.join(&room).await.map_err(stopping)?;
    let backbone = &*context.backbone;
    let resumed = resumed(backbone, &room, request.start, &joined.recent).await?;
    let (head, mut opened, entries) = if let Some((since, head)) = resumed {
        (head, Opened::at(since), Vec::new())
    } else {
        let head = backbone.head(&room).await.map_err(|error| unavailable(&error))?;
        let (opened, entries) = begin(backbone, &room, request.start, head).await?;
        (head, opened, entries)
    };
    if request.snapshot || opened.not_recovered.is_some() {
        opened.add(select(backbone, &room, &filter).await?, request.start);
    }
    let cursor = Cursor::new(entries.last().map_or(opened.position, |last| last.position), head);
    let asked_since = matches!(request.start, Start::Since(_));
    let subscribed = state(encoding, &site, &filter, asked_since, opened)
        .ok_or_else(|| RequestError::new(wire::ErrorCode::Limited, "subscribe.snapshot", SNAPSHOT_TOO_LARGE))?;
    let subscription = Subscription::new(site, filter, cursor, joined)
        .held_by(context.place(grant, &room))
        .conflated(request.conflate);
    Ok(Opening { subscription, subscribed, entries })
}

const SNAPSHOT_TOO_LARGE: &str = "the shadows of all these devices do not fit into one message; filter by devices or metrics, or ask for them one by one";

/// What a client is told whose place in the log is none any more.
pub(super) async fn anew(
    backbone: &dyn Backbone,
    encoding: Encoding,
    room: &RoomId,
    filter: &Filter,
    reason: wire::NotRecovered,
) -> Result<(Position, wire::Resynced), RequestError> {
    let Selection { position, devices } = select(backbone, room, filter).await?;
    let opened = Opened { position, not_recovered: Some(reason), shadows: Shadows::of(devices) };
    let subscribed = state(encoding, &room.site, filter, true, opened)
        .expect("who has lost its place is told so, with shadows or without");
    Ok((position, wire::Resynced { subscribed: Some(subscribed) }))
}

async fn select(backbone: &dyn Backbone, room: &RoomId, filter: &Filter) -> Result<Selection, RequestError> {
    let (devices, metrics) = filter.tests();
    let wanted = Wanted { devices, metrics, bytes_max: SNAPSHOT_BYTES_MAX };
    let Selection { position, devices } = backbone.select(room, wanted).await.map_err(|error| unavailable(&error))?;
    let cut = |shadows: Vec<DeviceShadow>| shadows.into_iter().filter_map(|shadow| filter.cut_shadow(shadow)).collect();
    Ok(Selection { position, devices: devices.map(cut) })
}

/// Where a subscription begins.
struct Opened {
    position: Position,
    not_recovered: Option<wire::NotRecovered>,
    shadows: Shadows,
}

enum Shadows {
    /// Nobody asked.
    Unasked,
    /// Those that pass the filter.
    Told(Vec<DeviceShadow>),
    /// They do not fit into a message.
    TooLarge,
}

impl Shadows {
    fn of(devices: Option<Vec<DeviceShadow>>) -> Shadows {
        devices.map_or(Shadows::TooLarge, Shadows::Told)
    }
}

impl Opened {
    fn at(position: Position) -> Opened {
        Opened { position, not_recovered: None, shadows: Shadows::Unasked }
    }

    fn lost(head: Position, reason: wire::NotRecovered) -> Opened {
        Opened { position: head, not_recovered: Some(reason), shadows: Shadows::Unasked }
    }

    /// Who begins now begins where the shadows stand; who reads on from the past keeps its place, and the
    /// shadows are as of at least that.
    fn add(&mut self, selection: Selection, start: Start) {
        if start == Start::Live || self.not_recovered.is_some() {
            self.position = selection.position;
        }
        self.shadows = Shadows::of(selection.devices);
    }
}

/// A reader who comes back to what the room has at hand, and where the room stands: no look into the log for it
/// alone, however many come at once. `None`: it comes from farther back, or from now.
async fn resumed(
    backbone: &dyn Backbone,
    room: &RoomId,
    start: Start,
    recent: &Recent,
) -> Result<Option<(Position, Position)>, RequestError> {
    let Start::Since(since) = start else { return Ok(None) };
    if recent.after(since, 0).is_none() {
        recent.fill(backbone, room).await.map_err(|error| unavailable(&error))?;
    }
    Ok(recent.after(since, 0).and(recent.head()).map(|head| (since, head)))
}

async fn begin(
    backbone: &dyn Backbone,
    room: &RoomId,
    start: Start,
    head: Position,
) -> Result<(Opened, Vec<LoggedEntry>), RequestError> {
    match start {
        Start::Live | Start::Last(0) => Ok((Opened::at(head), Vec::new())),
        Start::Since(since) => {
            // One entry is enough to learn whether the position still is one.
            let probe = ReadLimit { entries_max: 1, bytes_max: 0 };
            let read = backbone.read_after(room, since, probe).await.map_err(|error| unavailable(&error))?;
            let opened = match read {
                LogRead::Entries(_) => Opened::at(since),
                LogRead::Trimmed => Opened::lost(head, wire::NotRecovered::Trimmed),
                LogRead::Diverged => Opened::lost(head, wire::NotRecovered::Diverged),
            };
            Ok((opened, Vec::new()))
        }
        Start::Last(count) => {
            let limit = ReadLimit { entries_max: count, bytes_max: SERVER_MESSAGE_BYTES_MAX };
            let entries = backbone.read_last(room, limit).await.map_err(|error| unavailable(&error))?;
            let position = entries.first().map_or(head, |first| Position {
                offset: Offset(first.position.offset.0.saturating_sub(1)),
                stamp: first.previous,
            });
            Ok((Opened::at(position), entries))
        }
    }
}

/// The statement for the client. Where its shadows do not fit into a message, whoever has lost its place is told that
/// all the same, without them: it has to go on. `None`: they were asked for, and are not to be had in this way.
fn state(
    encoding: Encoding,
    site: &Site,
    filter: &Filter,
    asked_since: bool,
    opened: Opened,
) -> Option<wire::Subscribed> {
    let (position, not_recovered, filtered) = (opened.position, opened.not_recovered, filter.leaves_out());
    let told = |snapshot: Vec<DeviceShadow>, snapshot_left_out| {
        let begun = Begun { position, not_recovered, snapshot, snapshot_left_out, filtered };
        reply::subscribed(site, asked_since, begun)
    };
    let whole = match opened.shadows {
        Shadows::Unasked => Some(told(Vec::new(), false)),
        Shadows::Told(shadows) => Some(told(shadows, false)),
        Shadows::TooLarge => None,
    };
    let fits = |subscribed: &wire::Subscribed| encoding.size(subscribed) <= SNAPSHOT_BYTES_MAX;
    whole.filter(fits).or_else(|| not_recovered.is_some().then(|| told(Vec::new(), true)))
}

fn stopping(gone: RoomsGone) -> RequestError {
    RequestError::unavailable(gone.to_string(), RECONNECT_AFTER_DRAIN)
}
