//! Live messages that are lost, foreign, or cut off.

use std::sync::Arc;

use lockgate_proto::entry::EntryKind;
use lockgate_proto::ids::RoomId;
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_tests::redis::Redis;
use tempfile::TempDir;

use super::{connect, eventually, start};
use crate::backbone::conformance::agent::{ALL, Agent, NOON, room};
use crate::backbone::prepare::PreparedEntry;
use crate::backbone::redis::block_logic;
use crate::backbone::{Backbone, Feed, FeedItem, LogRead, LoggedEntry, NewEntry};

/// Follows a room as rooms do, whatever ends: each entry once, in the order of the log.
pub(super) struct Follower {
    backbone: Arc<dyn Backbone>,
    room: RoomId,
    seen: Vec<LoggedEntry>,
}

impl Follower {
    pub(super) fn new(backbone: &Arc<dyn Backbone>, room: &RoomId) -> Follower {
        Follower { backbone: Arc::clone(backbone), room: room.clone(), seen: Vec::new() }
    }

    pub(super) async fn follow(mut self, count: usize) -> Vec<LoggedEntry> {
        let mut feed = self.subscribe().await;
        while self.seen.len() < count {
            match feed.next().await {
                FeedItem::Entries(batch) => {
                    for entry in batch.iter() {
                        if entry.position.offset <= self.position().offset {
                            continue;
                        }
                        if entry.previous == self.position().stamp {
                            self.seen.push(entry.clone());
                        } else {
                            self.refill().await;
                        }
                    }
                }
                FeedItem::Lagged => self.refill().await,
                FeedItem::Closed => feed = self.subscribe().await,
            }
        }
        self.seen
    }

    fn position(&self) -> Position {
        self.seen.last().map_or(Position::START, |entry| entry.position)
    }

    async fn subscribe(&mut self) -> Feed {
        let (backbone, room) = (&self.backbone, &self.room);
        let feed = eventually("a feed", || async { backbone.subscribe(room).await.ok() }).await;
        self.refill().await;
        feed
    }

    async fn refill(&mut self) {
        let (backbone, room, position) = (&self.backbone, &self.room, self.position());
        let read = eventually("the log", || async { backbone.read_after(room, position, ALL).await.ok() });
        match read.await {
            LogRead::Entries(entries) => self.seen.extend(entries),
            other => panic!("the log has lost the reader: {other:?}"),
        }
    }
}

/// Writes what no live message tells of, as if that had been lost on its way.
fn store_silently(redis: &Redis, after: Position, stamp: Stamp) {
    let entry = NewEntry {
        received_at: NOON,
        origin: None,
        kind: EntryKind::Gap,
        device: None,
        body: Vec::new().into(),
        shadow: Vec::new(),
    };
    let offset = after.offset.next();
    let block = block_logic::encode(&[PreparedEntry::new(&entry)], &[stamp]);
    let block = [&offset.0.to_be_bytes()[..], &after.stamp.0.to_be_bytes(), &block].concat();
    let head = [offset.0.to_be_bytes(), stamp.0.to_be_bytes(), [0; 8]].concat();
    let id = format!("{}-0", offset.0);
    let log = b"lockgate:{acme:plant}:log";
    redis.ask_bytes(&[b"XADD", log, id.as_bytes(), b"b", &block, b"r", b"0", b"z", b"0"]).unwrap();
    redis.ask_bytes(&[b"SET", b"lockgate:{acme:plant}:head", &head]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_message_that_never_comes_is_found_in_the_silence_after_it() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    // The first that the feed would have carried.
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    store_silently(&redis, feed.start(), Stamp(77));
    assert!(matches!(feed.next().await, FeedItem::Lagged));
    // And one after others that came.
    agent.store("pump", 1).await;
    assert!(matches!(feed.next().await, FeedItem::Entries(_)));
    let head = backbone.head(&room("plant")).await.unwrap();
    store_silently(&redis, head, Stamp(78));
    assert!(matches!(feed.next().await, FeedItem::Lagged));
    let newest = backbone.head(&room("plant")).await.unwrap();
    assert_eq!(newest, Position { offset: Offset(4), stamp: Stamp(78) });
    assert_eq!(agent.log().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_in_which_nothing_happens_sends_nobody_to_the_log() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let looks = || {
        let stats = redis.info("commandstats", "cmdstat_get").unwrap();
        stats.split(',').next().unwrap().strip_prefix("calls=").unwrap().parse::<u64>().unwrap()
    };
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    let before = looks();
    eventually("three looks at the head", || std::future::ready((looks() >= before + 3).then_some(()))).await;
    assert!(feed.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_a_channel_sends_readers_to_the_log_and_the_feed_goes_on() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    for garbage in [&b""[..], b"hello", &[0; 40], &[0xff; 17], &[0; 17]] {
        redis.ask_bytes(&[b"SPUBLISH", b"lockgate:{acme:plant}:live", garbage]).unwrap();
        assert!(matches!(feed.next().await, FeedItem::Lagged), "{garbage:?}");
    }
    agent.store("pump", 1).await;
    match feed.next().await {
        FeedItem::Entries(batch) => assert_eq!(batch[..], agent.log().await[..]),
        other => panic!("{other:?}"),
    }
}
