//! Live entries by sharded Pub/Sub: one connection, one channel per room, subscribed while anyone listens.
//!
//! Pub/Sub may lose, and does not say so. So whenever something may have been lost, readers are told to look
//! into the log: a full queue of ours, a broken connection, and a head that has moved while nothing came.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::position::Position;
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value, cmd};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::block_logic::decode;
use super::connector::{Connection, Connector};
use super::keys::RoomKeys;
use super::lane::Call;
use super::line::{Line, is_of_store, meaning, read};
use super::log::head_from;
use super::news_logic;
use crate::backbone::feed::{FEED_ITEMS_MAX, FeedItem};
use crate::backbone::{BackboneError, CommandFeedItem, LoggedEntry};

/// LIMIT: messages that wait for the task; those beyond are dropped, and every reader looks into the log.
const PUSHES_MAX: usize = 1_024;

/// LIMIT: requests for a feed that wait; those who ask wait with them.
pub(super) const REQUESTS_MAX: usize = 64;

/// A room in which nothing has come for so long is compared with the head of its log.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Who is answered, with what comes from now on.
type Reply<T> = oneshot::Sender<Result<broadcast::Receiver<T>, NoFeed>>;

/// Asks for what a room says from now on.
pub(super) enum Listen {
    /// Its entries.
    ToEntries { keys: RoomKeys, reply: Reply<FeedItem> },
    /// What changes in its books of commands.
    ToCommands { keys: RoomKeys, reply: Reply<CommandFeedItem> },
}

/// Why there is no feed.
pub(super) enum NoFeed {
    /// Redis can't be asked.
    Backbone(BackboneError),
    /// Redis says no; perhaps whom to ask instead.
    Refused(RedisError),
}

impl From<BackboneError> for NoFeed {
    fn from(error: BackboneError) -> NoFeed {
        NoFeed::Backbone(error)
    }
}

/// The task's state.
pub(super) struct Live {
    connector: Arc<Connector>,
    /// For looking at heads.
    line: Arc<Line>,
    requests: mpsc::Receiver<Listen>,
    link: Option<LiveLink>,
    /// By channel. INVARIANT: all of them are subscribed on `link`.
    rooms: HashMap<String, Listened>,
    /// The same of commands. What is lost there is found in the books, sooner or later.
    commands: HashMap<String, broadcast::Sender<CommandFeedItem>>,
    /// Channels that were left, until Redis says so.
    left: Vec<String>,
}

/// A connection that is subscribed, and what it brings.
struct LiveLink {
    connection: Connection,
    pushes: mpsc::Receiver<PushInfo>,
    dropped: Arc<Dropped>,
    /// As [`Connector::doubts`] when it was made.
    doubts: u64,
}

/// What did not fit into the queue.
#[derive(Default)]
struct Dropped {
    messages: AtomicBool,
    /// What says how it stands with subscriptions, or the connection.
    news: AtomicBool,
}

struct Listened {
    keys: RoomKeys,
    items: broadcast::Sender<FeedItem>,
    /// The last entry that came, or the head when readers were last told to look.
    last: Position,
    /// Nothing has come since the last look.
    silent: bool,
}

impl Live {
    pub(super) fn new(connector: Arc<Connector>, line: Arc<Line>, requests: mpsc::Receiver<Listen>) -> Live {
        Live {
            connector,
            line,
            requests,
            link: None,
            rooms: HashMap::new(),
            commands: HashMap::new(),
            left: Vec::new(),
        }
    }

    /// Serves feeds until the gateway stops or nobody can ask for one any more.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // CANCEL-SAFE: a push that was not returned is still in the channel.
                push = next_push(self.link.as_mut()) => self.take(push),
                // CANCEL-SAFE: it only waits.
                _ = look.tick() => self.look().await,
                // CANCEL-SAFE: a request that was not returned is still in the channel.
                request = self.requests.recv() => match request {
                    // Who no longer waits for the feed has left by dropping it.
                    Some(Listen::ToEntries { keys, reply }) => drop(reply.send(self.listen(keys).await)),
                    Some(Listen::ToCommands { keys, reply }) => {
                        drop(reply.send(self.listen_to_commands(&keys).await));
                    }
                    None => return,
                },
            }
        }
    }

    async fn listen(&mut self, keys: RoomKeys) -> Result<broadcast::Receiver<FeedItem>, NoFeed> {
        let channel = keys.live();
        if let Some(listened) = self.rooms.get(&channel) {
            return Ok(listened.items.subscribe());
        }
        self.subscribe(&channel).await?;
        // Read after the subscription stands: what is not behind this position comes through it.
        let last = self.heads(&[keys.head()]).await?.pop().flatten().unwrap_or(Position::START);
        let (items, receiver) = broadcast::channel(FEED_ITEMS_MAX);
        self.rooms.insert(channel, Listened { keys, items, last, silent: true });
        Ok(receiver)
    }

    async fn listen_to_commands(&mut self, keys: &RoomKeys) -> Result<broadcast::Receiver<CommandFeedItem>, NoFeed> {
        let channel = keys.told();
        if let Some(items) = self.commands.get(&channel) {
            return Ok(items.subscribe());
        }
        self.subscribe(&channel).await?;
        let (items, receiver) = broadcast::channel(FEED_ITEMS_MAX);
        self.commands.insert(channel, items);
        Ok(receiver)
    }

    async fn subscribe(&mut self, channel: &str) -> Result<(), NoFeed> {
        match self.command("SSUBSCRIBE", channel).await? {
            Ok(()) => Ok(()),
            Err(error) if is_of_store(&error) => {
                self.disconnect();
                Err(NoFeed::Refused(error))
            }
            // Of this room alone: it is another node's.
            Err(error) => Err(NoFeed::Refused(error)),
        }
    }

    async fn command(&mut self, name: &str, channel: &str) -> Result<Result<(), RedisError>, BackboneError> {
        if self.link.is_none() {
            self.link = Some(LiveLink::connect(&self.connector).await?);
        }
        let Some(link) = &mut self.link else { return Ok(Ok(())) };
        let sent = cmd(name).arg(channel).query_async::<Value>(&mut link.connection.connection).await;
        Ok(sent.map(drop))
    }

    /// Every feed ends, and who still wants one asks again: that subscribes anew and reads what was missed.
    fn disconnect(&mut self) {
        self.link = None;
        self.rooms.clear();
        self.commands.clear();
        self.left.clear();
    }

    fn take(&mut self, push: Option<PushInfo>) {
        let Some(push) = push else { return self.disconnect() };
        let dropped = self.link.as_ref().map(|link| Arc::clone(&link.dropped)).unwrap_or_default();
        if dropped.news.load(Ordering::Relaxed) {
            return self.disconnect();
        }
        if dropped.messages.swap(false, Ordering::Relaxed) {
            debug!("More came from Redis than could be taken; rooms look into their logs.");
            self.rooms.values().for_each(Listened::hole);
            self.commands.values().for_each(|items| tell(items, CommandFeedItem::Lagged));
        }
        match push.kind {
            PushKind::SMessage => self.message(push.data),
            PushKind::Disconnection => self.disconnect(),
            // Unasked, when the channel has moved to another node.
            PushKind::SUnsubscribe => {
                let Some(channel) = push.data.first().and_then(text) else { return };
                if let Some(at) = self.left.iter().position(|left| left == channel) {
                    self.left.swap_remove(at);
                } else {
                    self.rooms.remove(channel);
                    self.commands.remove(channel);
                }
            }
            _ => {}
        }
    }

    fn message(&mut self, data: Vec<Value>) {
        let [channel, Value::BulkString(block)] = <[Value; 2]>::try_from(data).unwrap_or_default() else { return };
        let Some(channel) = text(&channel) else { return };
        if let Some(items) = self.commands.get(channel) {
            return match news_logic::decode(Bytes::from(block)) {
                Ok(news) => tell(items, CommandFeedItem::News(news.into())),
                Err(error) => {
                    warn!(channel, %error, "What came on the channel of a room's commands is not ours; looking into the books.");
                    tell(items, CommandFeedItem::Lagged);
                }
            };
        }
        let Some(listened) = self.rooms.get_mut(channel) else { return };
        match decode(Bytes::from(block)) {
            Ok(entries) => listened.entries(entries),
            Err(error) => {
                warn!(channel, %error, "What came on a room's channel is not ours; looking into the log.");
                listened.hole();
            }
        }
    }

    /// Leaves rooms in which nobody listens, and finds out what did not come.
    async fn look(&mut self) {
        let left = self.rooms.extract_if(|_, room| room.items.receiver_count() == 0).map(|(channel, _)| channel);
        let commands = self.commands.extract_if(|_, items| items.receiver_count() == 0).map(|(channel, _)| channel);
        for channel in left.chain(commands).collect::<Vec<_>>() {
            match self.command("SUNSUBSCRIBE", &channel).await {
                // Its echo is still to come, and is not to end a feed that was asked for meanwhile.
                Ok(Ok(())) => self.left.push(channel),
                Ok(Err(_)) | Err(_) => return self.disconnect(),
            }
        }
        let doubted = self.link.as_ref().is_some_and(|link| link.doubts != self.connector.doubts());
        if doubted || (self.link.is_some() && self.look_at_heads().await.is_err()) {
            self.disconnect();
        }
    }

    async fn look_at_heads(&mut self) -> Result<(), BackboneError> {
        if let Some(link) = &mut self.link {
            // Finds a connection that is dead and does not know it.
            let alive = cmd("PING").query_async::<Value>(&mut link.connection.connection).await;
            alive.map_err(|error| meaning(&error))?;
        }
        let mut silent = Vec::new();
        for (channel, room) in &mut self.rooms {
            if std::mem::replace(&mut room.silent, true) {
                silent.push((channel.clone(), room.keys.head()));
            }
        }
        if silent.is_empty() {
            return Ok(());
        }
        let (channels, keys): (Vec<_>, Vec<_>) = silent.into_iter().unzip();
        let heads = self.heads(&keys).await?;
        for (channel, head) in channels.iter().zip(heads) {
            match (self.rooms.get_mut(channel), head) {
                (Some(room), Some(head)) => room.compare(head),
                // The room is on its way to another node, where its messages may be already.
                (Some(room), None) => room.hole(),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// The heads of rooms; `None` where another node has it.
    async fn heads(&self, keys: &[String]) -> Result<Vec<Option<Position>>, BackboneError> {
        let asked = keys.iter().map(|key| Call::plain(cmd("GET").arg(key)));
        let head = |answer: RedisResult<Value>| match answer {
            Err(error) if !is_of_store(&error) => Ok(None),
            answer => {
                let head: Option<Vec<u8>> = read(answer)?;
                head.as_deref().map_or(Ok(Position::START), head_from).map(Some)
            }
        };
        self.line.ask(asked).await?.into_iter().map(head).collect()
    }
}

impl LiveLink {
    async fn connect(connector: &Connector) -> Result<LiveLink, BackboneError> {
        let (sender, pushes) = mpsc::channel(PUSHES_MAX);
        let dropped = Arc::new(Dropped::default());
        let noted = Arc::clone(&dropped);
        let push = move |info: PushInfo| match sender.try_send(info) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(info)) => {
                let kind = if info.kind == PushKind::SMessage { &noted.messages } else { &noted.news };
                kind.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(redis::aio::SendError),
        };
        let doubts = connector.doubts();
        let connection = connector.connect_for_pushes(push).await?;
        Ok(LiveLink { connection, pushes, dropped, doubts })
    }
}

impl Listened {
    fn entries(&mut self, entries: Vec<LoggedEntry>) {
        let Some(last) = entries.last() else { return };
        self.last = last.position;
        self.silent = false;
        self.tell(FeedItem::Entries(entries.into()));
    }

    fn hole(&self) {
        self.tell(FeedItem::Lagged);
    }

    /// `head` was read after a while without a message: what is between did not come.
    fn compare(&mut self, head: Position) {
        if std::mem::replace(&mut self.last, head) != head {
            self.hole();
        }
    }

    /// That nobody listens any more is found at the next look.
    fn tell(&self, item: FeedItem) {
        tell(&self.items, item);
    }
}

fn tell<T>(items: &broadcast::Sender<T>, item: T) {
    let _listeners = items.send(item).unwrap_or_default();
}

/// The next push; waits for ever where there is no connection. `None`: the connection is gone.
async fn next_push(link: Option<&mut LiveLink>) -> Option<PushInfo> {
    match link {
        Some(link) => link.pushes.recv().await,
        None => std::future::pending().await,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
