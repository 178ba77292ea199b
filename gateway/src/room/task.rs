//! One room's task: backbone's feed in, whole and ordered batches out.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::ids::RoomId;
use lockgate_proto::position::Position;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backbone::{Backbone, BackboneError, Feed, FeedItem, LogRead, LoggedEntry, ReadLimit};
use crate::limits::{DELIVERY_BYTES_TARGET, LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX, PROBE_INTERVAL};
use crate::metrics::{Counter, Gauge};
use crate::room::batch::Batch;
use crate::room::link_logic::{Fit, Told, fit, linked};
use crate::room::pace::Pace;
use crate::room::recent::Recent;
use crate::room::registry::RoomsHandle;

/// What a room tells its subscribers.
#[derive(Clone, Debug)]
pub enum RoomEvent {
    /// The next entries. Each batch follows the one before it, unless a `Standing` stood between them.
    Batch(Arc<Batch>),
    /// The room stands here now, and everything after it comes. Who stands elsewhere reads the log.
    Standing(Position),
}

/// What one room needs.
pub(super) struct RoomTask {
    pub(super) room: RoomId,
    pub(super) backbone: Arc<dyn Backbone>,
    pub(super) events: broadcast::Sender<RoomEvent>,
    pub(super) recent: Arc<Recent>,
    pub(super) rooms: RoomsHandle,
    /// How long an entry may wait for others, where they come fast.
    pub(super) coalesce: Duration,
    pub(super) stop: CancellationToken,
}

/// Why a room stops following its feed.
enum Left {
    /// The feed ended or the log can't be read: begin again with a new feed.
    Feed,
    /// Nobody listens any more, or the gateway stops.
    Room,
}

impl RoomTask {
    /// Runs until nobody listens or the gateway stops.
    pub(super) async fn run(self) {
        let _open = Gauge::RoomsOpen.hold();
        debug!(room = %self.room, "Room opened.");
        let mut position = None;
        while let Some(feed) = self.subscribe().await {
            let mut follower = Follower::new(&self, feed);
            let left = match follower.stand(position).await {
                Ok(()) => follower.follow().await,
                Err(error) => self.failed(&error),
            };
            follower.tell();
            position = Some(follower.position);
            match left {
                Left::Feed => {}
                Left::Room => break,
            }
            if self.rest().await.is_break() {
                break;
            }
        }
        debug!(room = %self.room, "Room closed.");
    }

    /// A feed, however long it takes; `None` when nobody wants it any more.
    async fn subscribe(&self) -> Option<Feed> {
        loop {
            let feed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                // CANCEL-SAFE: a feed that was not returned is dropped by the engine.
                feed = self.backbone.subscribe(&self.room) => feed,
            };
            match feed {
                Ok(feed) => return Some(feed),
                Err(error) => {
                    self.failed(&error);
                    if self.rest().await.is_break() {
                        return None;
                    }
                }
            }
        }
    }

    fn failed(&self, error: &BackboneError) -> Left {
        Counter::BackboneFailures.tick();
        warn!(room = %self.room, %error, "The room's log can't be followed; trying again.");
        Left::Feed
    }

    /// Waits before the next attempt; breaks when there shall be none.
    async fn rest(&self) -> std::ops::ControlFlow<()> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return std::ops::ControlFlow::Break(()),
            // CANCEL-SAFE: it only waits.
            () = self.events.closed() => {}
            () = tokio::time::sleep(PROBE_INTERVAL) => return std::ops::ControlFlow::Continue(()),
        }
        if self.is_over().await { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    }

    /// Asks the registry, which alone lets subscribers in, whether the room is over.
    async fn is_over(&self) -> bool {
        self.events.receiver_count() == 0 && self.rooms.is_over(&self.room).await
    }

    fn stand(&self, at: Position) {
        self.recent.stand(at);
        self.tell(RoomEvent::Standing(at));
    }

    /// Sends to whoever listens. That nobody does is told elsewhere.
    fn tell(&self, event: RoomEvent) {
        let _listeners = self.events.send(event).unwrap_or_default();
    }
}

/// A room that has a feed.
struct Follower<'t> {
    task: &'t RoomTask,
    /// INVARIANT: the last entry that was taken, or the feed's start.
    position: Position,
    /// What was taken and is still to be told, in order.
    held: Vec<Arc<[LoggedEntry]>>,
    held_bytes: usize,
    pace: Pace,
    told: Told,
    feed: Feed,
}

impl<'t> Follower<'t> {
    fn new(task: &'t RoomTask, feed: Feed) -> Follower<'t> {
        Follower {
            task,
            position: feed.start(),
            held: Vec::new(),
            held_bytes: 0,
            pace: Pace::new(task.coalesce),
            told: Told::default(),
            feed,
        }
    }

    /// Goes on from where the room stood with an earlier feed, and tells where that is.
    async fn stand(&mut self, before: Option<Position>) -> Result<(), BackboneError> {
        if let Some(before) = before {
            self.position = before;
            self.fill().await?;
        }
        self.task.stand(self.position);
        Ok(())
    }

    async fn follow(&mut self) -> Left {
        loop {
            let held_until = self.held_until();
            let item = tokio::select! {
                biased;
                () = self.task.stop.cancelled() => return Left::Room,
                // CANCEL-SAFE: it only waits.
                () = sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => {
                    self.tell();
                    continue;
                }
                // CANCEL-SAFE: an item that was not returned comes at the next call.
                item = self.feed.next() => Some(item),
                // CANCEL-SAFE: it only waits.
                () = self.task.events.closed() => None,
            };
            let done = match item {
                Some(FeedItem::Entries(entries)) => self.take(&entries).await,
                Some(FeedItem::Lagged) => self.fill().await,
                Some(FeedItem::Closed) => return Left::Feed,
                None if self.task.is_over().await => return Left::Room,
                None => Ok(()),
            };
            if let Err(error) = done {
                return self.task.failed(&error);
            }
        }
    }

    /// Takes over what the feed brought. The log is the truth wherever it does not fit.
    async fn take(&mut self, entries: &Arc<[LoggedEntry]>) -> Result<(), BackboneError> {
        let whole = linked(entries);
        match fit(self.position, &entries[..whole]) {
            Fit::Next { skip: 0 } if whole == entries.len() => {
                self.hold(entries);
                Ok(())
            }
            Fit::Next { skip } => {
                self.hold(&entries[skip..whole].into());
                if whole < entries.len() { self.fill().await } else { Ok(()) }
            }
            Fit::Old if self.told.knows(entries) => Ok(()),
            // Older entries come twice, or the log has gone back: only the log knows.
            Fit::Old | Fit::Hole | Fit::Diverged => self.fill().await,
        }
    }

    /// Reads the log from the room's position until there is no more, before anything newer is told.
    async fn fill(&mut self) -> Result<(), BackboneError> {
        self.tell();
        let limit = ReadLimit { entries_max: LOG_READ_ENTRIES_MAX, bytes_max: LOG_READ_BYTES_MAX };
        let room = &self.task.room;
        loop {
            let read = self.task.backbone.read_after(room, self.position, limit).await?;
            match read {
                LogRead::Entries(entries) if entries.is_empty() => return Ok(()),
                LogRead::Entries(entries) => {
                    Counter::RoomHoles.tick();
                    self.hold(&entries.into());
                    self.tell();
                }
                LogRead::Trimmed | LogRead::Diverged => {
                    let head = self.task.backbone.head(room).await?;
                    Counter::RoomDiverged.tick();
                    info!(%room, from = %self.position, to = %head, "The room's log is not what it was; standing anew.");
                    self.position = head;
                    self.task.stand(head);
                }
            }
        }
    }

    /// Takes what comes next, and tells it when it is time.
    fn hold(&mut self, entries: &Arc<[LoggedEntry]>) {
        let Some(last) = entries.last() else { return };
        self.position = last.position;
        self.told.tell(entries);
        self.held_bytes += entries.iter().map(|entry| entry.bytes.len()).sum::<usize>();
        self.held.push(Arc::clone(entries));
        if self.held_until().is_none() {
            self.tell();
        }
    }

    /// Until when what is held may wait; `None`: there is nothing, or it may not. LIMIT: what is held is about one
    /// message.
    fn held_until(&self) -> Option<Instant> {
        let may_wait = !self.held.is_empty() && self.held_bytes < DELIVERY_BYTES_TARGET;
        if may_wait { self.pace.wait(Instant::now()) } else { None }
    }

    /// Tells what is held.
    fn tell(&mut self) {
        let entries: Arc<[LoggedEntry]> = match self.held.as_slice() {
            [] => return,
            [one] => Arc::clone(one),
            several => several.iter().flat_map(|entries| entries.iter().cloned()).collect(),
        };
        self.held.clear();
        self.held_bytes = 0;
        self.pace.told(Instant::now());
        Counter::RoomEntries.add(entries.len() as u64);
        for batch in Batch::cut(&self.task.room.site, &entries) {
            let batch = Arc::new(batch);
            self.task.recent.push(&batch);
            self.task.tell(RoomEvent::Batch(batch));
        }
    }
}
