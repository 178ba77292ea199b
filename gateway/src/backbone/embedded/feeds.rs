//! Who listens to which room, in the writer's hands.

use std::collections::HashMap;

use lockgate_proto::ids::RoomId;
use lockgate_proto::position::Position;
use tokio::sync::broadcast;

use crate::backbone::LoggedEntry;
use crate::backbone::feed::{FEED_ITEMS_MAX, Feed, FeedItem};

/// A batch is cut when it has reached this many bytes, so that a feed is bounded in bytes as well.
const BATCH_BYTES_TARGET: usize = 1024 * 1024;

/// Rooms that may be remembered before those are looked for to which nobody listens any more.
const ROOMS_BEFORE_PRUNING: usize = 64;

/// The feeds, and what the running transaction has for them.
#[derive(Default)]
pub(super) struct Feeds {
    rooms: HashMap<RoomId, Room>,
    /// At twice as many rooms as were listened to last time: so looking costs each subscriber the same, however
    /// many there are.
    prune_at: usize,
}

struct Room {
    items: broadcast::Sender<FeedItem>,
    pending: Vec<LoggedEntry>,
}

impl Feeds {
    pub(super) fn subscribe(&mut self, room: &RoomId, start: Position) -> Feed {
        if self.rooms.len() >= self.prune_at.max(ROOMS_BEFORE_PRUNING) {
            // What is held is for those who listen.
            self.rooms.retain(|_, room| room.items.receiver_count() > 0);
            self.prune_at = 2 * self.rooms.len();
        }
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

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{Site, Tenant};

    use super::*;

    #[test]
    fn rooms_to_which_nobody_listens_are_forgotten_though_nothing_is_written() {
        let mut feeds = Feeds::default();
        let room =
            |at: usize| RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new(format!("s{at}")).unwrap() };
        let kept: Vec<Feed> = (0..100).map(|at| feeds.subscribe(&room(at), Position::START)).collect();
        for at in 100..10_000 {
            drop(feeds.subscribe(&room(at), Position::START));
            assert!(feeds.rooms.len() <= 2 * (kept.len() + 1), "{} rooms", feeds.rooms.len());
        }
        let heard = |feeds: &Feeds, at| feeds.rooms.get(&room(at)).is_some_and(|room| room.items.receiver_count() > 0);
        assert!((0..100).all(|at| heard(&feeds, at)));
        drop(kept);
        for at in 0..1_000 {
            drop(feeds.subscribe(&room(at), Position::START));
        }
        assert!(feeds.rooms.len() <= ROOMS_BEFORE_PRUNING, "{} rooms", feeds.rooms.len());
    }
}
