//! One follower of each room's commands at this gateway, for all who want to hear of them here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use lockgate_proto::command::CommandUpdate;
use lockgate_proto::ids::{AgentId, AgentName, RoomId};
use lockgate_runtime::Supervisor;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::backbone::{Backbone, CommandFeed, CommandFeedItem, CommandNews};
use crate::limits::PROBE_INTERVAL;

/// LIMIT: items that wait for one who follows; beyond, it is told that it lagged.
const ITEMS_MAX: usize = 256;

/// The rooms that are followed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Hub {
    backbone: Arc<dyn Backbone>,
    supervisor: Supervisor,
    /// A mutex and no task: those who leave do so where a value is dropped. Held for one look.
    rooms: Arc<Mutex<HashMap<RoomId, Arc<Room>>>>,
}

/// One room's listeners.
struct Room {
    listeners: Mutex<Listeners>,
    items: broadcast::Sender<Item>,
    /// Somebody has left.
    left: Notify,
}

#[derive(Default)]
struct Listeners {
    /// Sessions of agents; there may be two of one agent for a while.
    sessions: HashMap<AgentName, Vec<(u64, mpsc::Sender<()>)>>,
    followers: usize,
    numbered: u64,
}

#[derive(Clone)]
enum Item {
    News(Arc<[CommandNews]>),
    Lagged,
}

impl Hub {
    pub(super) fn new(backbone: Arc<dyn Backbone>, supervisor: Supervisor) -> Hub {
        Hub { backbone, supervisor, rooms: Arc::default() }
    }

    pub(super) fn follow(&self, room: &RoomId) -> Follow {
        self.enter(room, |at| {
            at.listeners().followers += 1;
            let items = at.items.subscribe();
            Follow { items, pending: VecDeque::new(), _place: Place { room: Arc::clone(at), session: None } }
        })
    }

    pub(super) fn nudges(&self, agent: &AgentId) -> Nudges {
        self.enter(&agent.room, |at| {
            let (nudge, nudged) = mpsc::channel(1);
            let mut listeners = at.listeners();
            listeners.numbered += 1;
            let number = listeners.numbered;
            listeners.sessions.entry(agent.agent.clone()).or_default().push((number, nudge));
            let session = Some((agent.agent.clone(), number));
            Nudges { nudged, _place: Place { room: Arc::clone(at), session } }
        })
    }

    /// Lets one into a room, and has it followed where it is not.
    fn enter<T>(&self, room: &RoomId, enter: impl FnOnce(&Arc<Room>) -> T) -> T {
        let mut rooms = self.rooms();
        if let Some(at) = rooms.get(room) {
            return enter(at);
        }
        let (items, left) = (broadcast::Sender::new(ITEMS_MAX), Notify::new());
        let at = Arc::new(Room { listeners: Mutex::default(), items, left });
        rooms.insert(room.clone(), Arc::clone(&at));
        let entered = enter(&at);
        let (hub, room) = (self.clone(), room.clone());
        self.supervisor.spawn("commands of a room", |stop| async move {
            hub.run(&room, &at, stop).await;
            Ok(())
        });
        entered
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the room until nobody is in it, or the gateway stops.
    async fn run(&self, room: &RoomId, at: &Room, stop: CancellationToken) {
        let mut feed: Option<CommandFeed> = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // CANCEL-SAFE: a notice that was not taken is still there.
                () = at.left.notified() => if self.let_go(room, at) { return },
                // CANCEL-SAFE: a feed that was not taken is asked for again, an item that was not comes again.
                () = self.tell_next(room, at, &mut feed) => {}
            }
        }
    }

    async fn tell_next(&self, room: &RoomId, at: &Room, feed: &mut Option<CommandFeed>) {
        let Some(following) = feed else {
            match self.backbone.command_feed(room).await {
                Ok(new) => {
                    *feed = Some(new);
                    // What came before did not come to us.
                    at.tell(Item::Lagged);
                }
                Err(error) => {
                    debug!(%room, %error, "Cannot follow the room's commands; trying again.");
                    tokio::time::sleep(PROBE_INTERVAL).await;
                }
            }
            return;
        };
        match following.next().await {
            CommandFeedItem::News(news) => at.tell(Item::News(news)),
            CommandFeedItem::Lagged => at.tell(Item::Lagged),
            CommandFeedItem::Closed => *feed = None,
        }
    }

    /// Only here, with the list in hand: so that nobody enters a room that is let go.
    fn let_go(&self, room: &RoomId, at: &Room) -> bool {
        let mut rooms = self.rooms();
        let is_empty = at.listeners().is_empty();
        if is_empty {
            rooms.remove(room);
        }
        is_empty
    }
}

impl Room {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, item: Item) {
        {
            let listeners = self.listeners();
            match &item {
                Item::News(news) => {
                    for holder in news.iter().filter_map(|news| news.holder.as_ref()) {
                        nudge(listeners.sessions.get(holder).into_iter().flatten());
                    }
                }
                Item::Lagged => nudge(listeners.sessions.values().flatten()),
            }
        }
        // An error says that nobody follows.
        drop(self.items.send(item));
    }
}

fn nudge<'a>(sessions: impl Iterator<Item = &'a (u64, mpsc::Sender<()>)>) {
    for (_, session) in sessions {
        // A full one is nudged already, and one that is gone needs none.
        session.try_send(()).unwrap_or_default();
    }
}

impl Listeners {
    fn is_empty(&self) -> bool {
        self.followers == 0 && self.sessions.is_empty()
    }
}

/// One listener's place; given back when it is dropped.
struct Place {
    room: Arc<Room>,
    session: Option<(AgentName, u64)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.room.listeners();
        match &self.session {
            Some((agent, number)) => {
                if let Some(sessions) = listeners.sessions.get_mut(agent) {
                    sessions.retain(|(other, _)| other != number);
                    if sessions.is_empty() {
                        listeners.sessions.remove(agent);
                    }
                }
            }
            None => listeners.followers -= 1,
        }
        drop(listeners);
        self.room.left.notify_one();
    }
}

/// Tells an agent's session to look into its book.
pub(crate) struct Nudges {
    nudged: mpsc::Receiver<()>,
    _place: Place,
}

impl Nudges {
    /// Whether there is one. Never comes where the gateway stops.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.nudged.poll_recv(context) {
            Poll::Ready(Some(())) => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// What one who follows is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// A command has moved on, or come further.
    Update(CommandUpdate),
    /// Something may not have come: ask how things stand.
    Lagged,
}

/// What becomes of a room's commands. Also at the beginning it may say that it lagged: what was there before is asked for.
pub(crate) struct Follow {
    items: broadcast::Receiver<Item>,
    pending: VecDeque<CommandUpdate>,
    _place: Place,
}

impl Follow {
    /// The next news. Cancel safe: what was not returned comes at the next call.
    pub(crate) async fn next(&mut self) -> Followed {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Followed::Update(update);
            }
            match self.items.recv().await {
                Ok(Item::News(news)) => self.pending.extend(news.iter().filter_map(|news| news.update.clone())),
                // The sender lives as long as the place does.
                Ok(Item::Lagged)
                | Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {
                    return Followed::Lagged;
                }
            }
        }
    }
}
