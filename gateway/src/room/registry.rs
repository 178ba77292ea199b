//! Knows the open rooms, opens one for its first subscriber and lets it go after its last.
//!
//! One task owns the list. Only it lets subscribers into a room, so that a room can't end while someone enters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::ids::RoomId;
use lockgate_runtime::Supervisor;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::backbone::Backbone;
use crate::limits::{ROOM_REQUESTS_MAX, ROOM_RING_BATCHES};
use crate::room::recent::Recent;
use crate::room::task::{RoomEvent, RoomTask};

/// The registry has ended, because the gateway ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct RoomsGone;

enum Request {
    Join { room: RoomId, reply: oneshot::Sender<Joined> },
    IsOver { room: RoomId, reply: oneshot::Sender<bool> },
}

/// A place among a room's subscribers. One that is dropped has left.
#[derive(Debug)]
pub struct Joined {
    /// What the room tells from now on.
    pub events: broadcast::Receiver<RoomEvent>,
    /// What it told last.
    pub recent: Arc<Recent>,
}

/// Lets one into rooms.
#[derive(Clone, Debug)]
pub struct RoomsHandle {
    /// LIMIT: who asks waits until there is room for the question.
    requests: mpsc::Sender<Request>,
}

impl RoomsHandle {
    /// Enters a room, and opens it where it is not.
    pub async fn join(&self, room: &RoomId) -> Result<Joined, RoomsGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Join { room: room.clone(), reply }).await.map_err(|_| RoomsGone)?;
        answer.await.map_err(|_| RoomsGone)
    }

    /// For the room's own task, which ends when it is told so.
    pub(super) async fn is_over(&self, room: &RoomId) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::IsOver { room: room.clone(), reply }).await.is_err() {
            return true;
        }
        answer.await.unwrap_or(true)
    }
}

/// The list of rooms.
pub struct Registry {
    backbone: Arc<dyn Backbone>,
    supervisor: Supervisor,
    coalesce: Duration,
    rooms: HashMap<RoomId, Open>,
    requests: mpsc::Receiver<Request>,
    handle: RoomsHandle,
}

/// An open room.
struct Open {
    events: broadcast::Sender<RoomEvent>,
    recent: Arc<Recent>,
}

impl Open {
    fn join(&self) -> Joined {
        Joined { events: self.events.subscribe(), recent: Arc::clone(&self.recent) }
    }
}

impl Registry {
    /// An empty list, and the handle to it. Nothing is answered before [`Registry::run`]. `coalesce`: how long an
    /// entry may wait for others, in rooms where they come fast.
    pub fn new(backbone: Arc<dyn Backbone>, supervisor: Supervisor, coalesce: Duration) -> (Registry, RoomsHandle) {
        let (sender, requests) = mpsc::channel(ROOM_REQUESTS_MAX);
        let handle = RoomsHandle { requests: sender };
        let rooms = HashMap::new();
        (Registry { backbone, supervisor, coalesce, rooms, requests, handle: handle.clone() }, handle)
    }

    /// Answers until the gateway stops.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                request = self.requests.recv() => request,
            };
            match request {
                // Who no longer waits for the answer has left by dropping it.
                Some(Request::Join { room, reply }) => drop(reply.send(self.join(room))),
                Some(Request::IsOver { room, reply }) => drop(reply.send(self.let_go(&room))),
                None => return,
            }
        }
    }

    fn join(&mut self, room: RoomId) -> Joined {
        if let Some(open) = self.rooms.get(&room) {
            return open.join();
        }
        let open = Open { events: broadcast::Sender::new(ROOM_RING_BATCHES), recent: Arc::default() };
        let (joined, events, recent) = (open.join(), open.events.clone(), Arc::clone(&open.recent));
        self.rooms.insert(room.clone(), open);
        let (backbone, rooms, coalesce) = (Arc::clone(&self.backbone), self.handle.clone(), self.coalesce);
        self.supervisor.spawn("room", move |stop| async move {
            RoomTask { room, backbone, events, recent, rooms, coalesce, stop }.run().await;
            Ok(())
        });
        joined
    }

    /// Whether the room is over: nobody is in it, and from now on it is not on the list.
    fn let_go(&mut self, room: &RoomId) -> bool {
        let occupied = self.rooms.get(room).is_some_and(|open| open.events.receiver_count() > 0);
        if !occupied {
            self.rooms.remove(room);
        }
        !occupied
    }
}
