//! What a room makes of a feed that loses, doubles, swaps or comes from another history.

use std::sync::Arc;

use lockgate_gateway::backbone::LoggedEntry;
use lockgate_gateway::limits::COALESCE;
use lockgate_gateway::room::{Registry, RoomEvent, RoomsHandle};
use lockgate_proto::ids::{RoomId, Site, Tenant};
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;
use lockgate_runtime::Supervisor;
use proptest::prelude::*;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout};

use crate::client::{Client, live, offsets, subscribe};
use crate::fake_log::{FakeLog, chain, position};
use crate::world::{PATIENCE, SITE, TENANT, World};

struct Rooms {
    log: Arc<FakeLog>,
    handle: RoomsHandle,
    _supervisor: Supervisor,
}

fn room() -> RoomId {
    RoomId { tenant: Tenant::new(TENANT).unwrap(), site: Site::new(SITE).unwrap() }
}

impl Rooms {
    fn over(entries: Vec<LoggedEntry>) -> Rooms {
        let log = Arc::new(FakeLog::new(entries));
        let supervisor = Supervisor::new();
        let (registry, handle) = Registry::new(log.clone(), supervisor.clone(), COALESCE);
        supervisor.spawn("rooms", |stop| async move {
            registry.run(stop).await;
            Ok(())
        });
        Rooms { log, handle, _supervisor: supervisor }
    }

    /// Joins, and waits until the room stands.
    async fn join(&self) -> (Receiver<RoomEvent>, Position) {
        let mut events = self.handle.join(&room()).await.unwrap().events;
        match next(&mut events).await {
            RoomEvent::Standing(at) => (events, at),
            RoomEvent::Batch(batch) => panic!("a standing was expected: {batch:?}"),
        }
    }
}

async fn next(events: &mut Receiver<RoomEvent>) -> RoomEvent {
    timeout(PATIENCE, events.recv()).await.expect("the room tells something").unwrap()
}

/// The entries that a room tells, up to an offset.
async fn told(events: &mut Receiver<RoomEvent>, through: u64) -> Vec<Position> {
    let mut told: Vec<Position> = Vec::new();
    while told.last().is_none_or(|last| last.offset.0 < through) {
        match next(events).await {
            RoomEvent::Batch(batch) => told.extend(batch.entries().iter().map(|entry| entry.position)),
            RoomEvent::Standing(at) => panic!("the room stands anew at {at}"),
        }
    }
    told
}

fn places(offsets: std::ops::RangeInclusive<u64>) -> Vec<Position> {
    offsets.map(|offset| position(1, offset)).collect()
}

#[tokio::test]
async fn what_the_feed_lost_comes_from_the_log_before_anything_newer() {
    let rooms = Rooms::over(chain(1, 1..=2));
    let (mut events, at) = rooms.join().await;
    assert_eq!(at, position(1, 2));
    rooms.log.set(chain(1, 1..=7));
    rooms.log.tell(chain(1, 3..=3));
    rooms.log.tell(chain(1, 6..=7));
    assert_eq!(told(&mut events, 7).await, places(3..=7));
}

#[tokio::test(start_paused = true)]
async fn what_comes_fast_is_told_together_and_what_comes_alone_at_once() {
    let rooms = Rooms::over(chain(1, 1..=1));
    let (mut events, _) = rooms.join().await;
    let mut batch = async || match next(&mut events).await {
        RoomEvent::Batch(batch) => (batch.entries().len(), batch.last(), Instant::now()),
        RoomEvent::Standing(at) => panic!("the room stands anew at {at}"),
    };
    rooms.log.set(chain(1, 1..=6));
    let start = Instant::now();
    rooms.log.tell(chain(1, 2..=2));
    assert_eq!(batch().await, (1, position(1, 2), start));
    for offset in 3..=5 {
        rooms.log.tell(chain(1, offset..=offset));
    }
    assert_eq!(batch().await, (3, position(1, 5), start + COALESCE));
    tokio::time::advance(COALESCE).await;
    let rested = Instant::now();
    rooms.log.tell(chain(1, 6..=6));
    assert_eq!(batch().await, (1, position(1, 6), rested));
}

#[tokio::test]
async fn another_history_makes_the_room_stand_anew() {
    let rooms = Rooms::over(chain(1, 1..=5));
    let (mut events, _) = rooms.join().await;
    rooms.log.set(chain(2, 1..=3));
    rooms.log.tell(chain(2, 3..=3));
    let RoomEvent::Standing(at) = next(&mut events).await else { panic!("it goes on as if nothing had happened") };
    assert_eq!(at, position(2, 3));
    rooms.log.set(chain(2, 1..=4));
    rooms.log.tell(chain(2, 4..=4));
    assert_eq!(told(&mut events, 4).await, [position(2, 4)]);
}

#[tokio::test]
async fn a_room_ends_with_its_last_listener_and_opens_again_for_the_next() {
    let rooms = Rooms::over(chain(1, 1..=1));
    let (first, _) = rooms.join().await;
    let second = rooms.handle.join(&room()).await.unwrap();
    drop(first);
    rooms.log.set(chain(1, 1..=2));
    rooms.log.tell(chain(1, 2..=2));
    drop(second);
    timeout(PATIENCE, rooms.log.unheard()).await.expect("the room lets its feed go");
    let (mut events, at) = rooms.join().await;
    assert_eq!(at, position(1, 2));
    rooms.log.set(chain(1, 1..=3));
    rooms.log.tell(chain(1, 3..=3));
    assert_eq!(told(&mut events, 3).await, places(3..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_clients_are_told_when_history_went_back() {
    let log = Arc::new(FakeLog::new(chain(1, 1..=5)));
    let backbone = log.clone();
    let world = World::with(|_| {}, |_| backbone);
    let (mut client, subscribed) = Client::listening(&world, live()).await;
    assert_eq!(subscribed.position.unwrap().offset, 5);
    log.set(chain(1, 1..=6));
    log.tell(chain(1, 6..=6));
    assert_eq!(offsets(&client.entries(1).await), [6]);
    log.set(chain(2, 1..=3));
    log.tell(chain(2, 3..=3));
    let Body::Resynced(resynced) = client.hear().await else { panic!("the client is told") };
    let subscribed = resynced.subscribed.unwrap();
    assert_eq!((subscribed.recovered, subscribed.reason()), (false, wire::NotRecovered::Diverged));
    assert_eq!(subscribed.position.unwrap().offset, 3);
    log.set(chain(2, 1..=4));
    log.tell(chain(2, 4..=4));
    assert_eq!(offsets(&client.entries(1).await), [4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each commit is told, dropped, doubled or held back until after the next one.
    #[test]
    fn whatever_a_feed_does_each_entry_is_told_once_and_in_order(
        commits in prop::collection::vec((1_u64..4, 0_u8..4), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rooms = Rooms::over(Vec::new());
            let (mut events, _) = rooms.join().await;
            let mut head = 0;
            let mut held: Option<Vec<LoggedEntry>> = None;
            for (size, fate) in commits {
                let batch = chain(1, head + 1..=head + size);
                head += size;
                rooms.log.set(chain(1, 1..=head));
                match fate {
                    0 => rooms.log.tell(batch),
                    1 => {}
                    2 => {
                        rooms.log.tell(batch.clone());
                        rooms.log.tell(batch);
                    }
                    _ => held = Some(batch),
                }
                if let Some(late) = held.take_if(|_| fate != 3) {
                    rooms.log.tell(late);
                }
            }
            // The next commit comes through, and with it all that is still missing.
            rooms.log.set(chain(1, 1..=head + 1));
            rooms.log.tell(chain(1, head + 1..=head + 1));
            assert_eq!(told(&mut events, head + 1).await, places(1..=head + 1));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_that_comes_back_costs_one_look_into_the_log() {
    let log = Arc::new(FakeLog::new(chain(1, 1..=300)));
    let backbone = log.clone();
    let world = World::with(|_| {}, |_| backbone);
    let mut herd = tokio::task::JoinSet::new();
    let connected = Arc::new(tokio::sync::Barrier::new(60));
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::connect(&world).await);
    }
    // Nobody was here before, and each was cut off somewhere else.
    for (at, mut client) in (240_u64..).zip(clients) {
        let connected = Arc::clone(&connected);
        herd.spawn(async move {
            connected.wait().await;
            let Position { offset, stamp } = position(1, at);
            let since = Start::Since(wire::Position { offset: offset.0, stamp: stamp.0 });
            let subscribed = client.subscribe(subscribe(since)).await;
            assert!(subscribed.recovered, "{subscribed:?}");
            assert_eq!(offsets(&client.entries(300 - usize::try_from(at).unwrap()).await).first(), Some(&(at + 1)));
            client
        });
    }
    let mut back = herd.join_all().await;
    assert_eq!(log.reads(), 1, "one for all of them, and none for each");
    // The next herd finds what the room has at hand.
    log.set(chain(1, 1..=301));
    log.tell(chain(1, 301..=301));
    assert_eq!(offsets(&back[0].entries(1).await), [301]);
    let since = position(1, 250);
    let since = Start::Since(wire::Position { offset: since.offset.0, stamp: since.stamp.0 });
    let (mut late, _) = Client::listening(&world, subscribe(since)).await;
    assert_eq!(offsets(&late.entries(51).await).last(), Some(&301));
    assert_eq!(log.reads(), 1);
}
