//! Who listens to which room, in the writer's hands.

use std::collections::HashMap;

use lockgate_proto::ids::RoomId;
use lockgate_proto::position::Position;
use tokio::sync::broadcast;

use crate::backbone::LoggedEntry;
use crate::backbone::feed::{FEED_ITEMS_MAX, Feed, FeedItem};

/// A batch is cut when it has reached this many bytes, so that a feed is bounded in bytes as well.
const BATCH_BYTES_TARGET: usize = 1024 * 1024;

/// The feeds, and what the running transaction has for them.
#[derive(Default)]
pub(super) struct Feeds {
    rooms: HashMap<RoomId, Room>,
}

struct Room {
    items: broadcast::Sender<FeedItem>,
    pending: Vec<LoggedEntry>,
}

impl Feeds {
    pub(super) fn subscribe(&mut self, room: &RoomId, start: Position) -> Feed {
        let room = self
            .rooms
            .entry(room.clone())
            .or_insert_with(|| Room { items: broadcast::Sender::new(FEED_ITEMS_MAX), pending: Vec::new() });
        Feed::new(start, room.items.subscribe())
    }

    /// Keeps an entry for [`Feeds::publish`], where anyone listens.
    pub(super) fn hold(&mut self, room: &RoomId, entry: LoggedEntry) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.pending.push(entry);
        }
    }

    /// What was held has been committed.
    pub(super) fn publish(&mut self) {
        self.rooms.retain(|_, room| {
            let mut batch = Vec::new();
            let mut bytes = 0;
            for entry in room.pending.drain(..) {
                bytes += entry.bytes.len();
                batch.push(entry);
                if bytes >= BATCH_BYTES_TARGET {
                    send(&room.items, &mut batch);
                    bytes = 0;
                }
            }
            send(&room.items, &mut batch);
            room.items.receiver_count() > 0
        });
    }

    /// What was held has not been committed.
    pub(super) fn drop_held(&mut self) {
        for room in self.rooms.values_mut() {
            room.pending.clear();
        }
    }
}

fn send(items: &broadcast::Sender<FeedItem>, batch: &mut Vec<LoggedEntry>) {
    if !batch.is_empty() {
        // An error says that the last reader has just gone, and then nobody misses it.
        drop(items.send(FeedItem::Entries(std::mem::take(batch).into())));
    }
}
