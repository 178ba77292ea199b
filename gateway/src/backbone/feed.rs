//! A room's live entries, as they are committed.

use std::sync::Arc;

use lockgate_proto::position::Position;
use tokio::sync::broadcast;

use super::types::LoggedEntry;

/// Entries of one commit, in the order of the log.
pub(super) type Batch = Arc<[LoggedEntry]>;

/// What a feed tells.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// Entries, in order. Those at or before [`Feed::start`], or seen before, may come again and are to be skipped.
    Entries(Batch),
    /// Something did not come, or may not have: read the log from where you stand, then go on.
    Lagged,
    /// The engine has stopped; nothing comes any more.
    Closed,
}

/// LIMIT: items that wait for a feed's reader; then the oldest are dropped and the reader is told.
pub(super) const FEED_ITEMS_MAX: usize = 64;

/// One reader's end. LIMIT: holds at most as many items as the engine's feed capacity; then it lags.
#[derive(Debug)]
pub struct Feed {
    start: Position,
    items: broadcast::Receiver<FeedItem>,
}

impl Feed {
    /// A feed of what `items` carries; all that follows `start` must come through it, or that it lagged.
    pub fn new(start: Position, items: broadcast::Receiver<FeedItem>) -> Feed {
        Feed { start, items }
    }

    /// The room's head when the feed began: what is committed after it comes through the feed.
    pub fn start(&self) -> Position {
        self.start
    }

    /// The next item. Cancel safe: an item that was not returned comes at the next call.
    pub async fn next(&mut self) -> FeedItem {
        match self.items.recv().await {
            Ok(item) => item,
            Err(broadcast::error::RecvError::Lagged(_)) => FeedItem::Lagged,
            Err(broadcast::error::RecvError::Closed) => FeedItem::Closed,
        }
    }

    /// What is there without waiting; `None` where nothing is.
    pub fn try_next(&mut self) -> Option<FeedItem> {
        match self.items.try_recv() {
            Ok(item) => Some(item),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(FeedItem::Lagged),
            Err(broadcast::error::TryRecvError::Closed) => Some(FeedItem::Closed),
            Err(broadcast::error::TryRecvError::Empty) => None,
        }
    }
}
