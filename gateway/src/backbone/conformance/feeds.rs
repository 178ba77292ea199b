//! Live entries: what is committed comes, in order, and the log fills what a feed dropped.

use std::future::Future;

use lockgate_proto::ids::RoomId;
use lockgate_proto::position::Position;

use super::agent::{ALL, Agent, assert_linked, entries, room};
use super::{Keep, World};
use crate::backbone::{Backbone, Feed, FeedItem, LogRead, LoggedEntry, Stepped};

type Made = Box<dyn World>;

/// A reader as rooms read: what it has is everything up to its position, exactly once.
struct Reader {
    room: RoomId,
    feed: Feed,
    seen: Vec<LoggedEntry>,
    refills: usize,
}

impl Reader {
    async fn open(backbone: &dyn Backbone, room: &RoomId) -> Reader {
        let feed = backbone.subscribe(room).await.unwrap();
        let mut reader = Reader { room: room.clone(), feed, seen: Vec::new(), refills: 0 };
        reader.refill(backbone).await;
        reader
    }

    fn position(&self) -> Position {
        self.seen.last().map_or(Position::START, |entry| entry.position)
    }

    async fn refill(&mut self, backbone: &dyn Backbone) {
        self.refills += 1;
        match backbone.read_after(&self.room, self.position(), ALL).await.unwrap() {
            LogRead::Entries(entries) => self.seen.extend(entries),
            other => panic!("the log has lost the reader: {other:?}"),
        }
    }

    async fn take(&mut self, backbone: &dyn Backbone, item: FeedItem) {
        match item {
            FeedItem::Entries(batch) => {
                for entry in batch.iter().cloned() {
                    if entry.position.offset <= self.position().offset {
                        continue;
                    }
                    if entry.previous != self.position().stamp {
                        self.refill(backbone).await;
                        continue;
                    }
                    self.seen.push(entry);
                }
            }
            FeedItem::Lagged => self.refill(backbone).await,
            FeedItem::Closed => panic!("the feed has ended"),
        }
    }

    async fn read_until(&mut self, backbone: &dyn Backbone, count: usize) {
        while self.seen.len() < count {
            let item = self.feed.next().await;
            self.take(backbone, item).await;
        }
    }
}

pub(crate) async fn a_feed_and_the_log_meet_without_hole_or_double<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut writers = tokio::task::JoinSet::new();
    for at in 0..4u64 {
        let backbone = backbone.clone();
        writers.spawn(async move {
            let mut agent = Agent::open(&backbone, &room("plant"), &format!("pi-{at}"), at + 1).await;
            for _ in 0..40 {
                agent.store("pump", 3).await;
            }
        });
    }
    // Readers join at any moment of the writing.
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut reader = Reader::open(&*backbone, &room("plant")).await;
        let backbone = backbone.clone();
        readers.spawn(async move {
            reader.read_until(&*backbone, 4 * 40 * 3).await;
            reader.seen
        });
    }
    writers.join_all().await;
    let log = entries(backbone.read_after(&room("plant"), Position::START, ALL).await.unwrap());
    assert_linked(&log);
    for seen in readers.join_all().await {
        assert_eq!(seen, log);
    }
}

pub(crate) async fn a_feed_carries_what_the_log_has<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 2).await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    let start = backbone.head(&room("plant")).await.unwrap();
    assert_eq!(feed.start(), start);
    agent.store("pump", 3).await;
    agent.store("pump", 1).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match feed.next().await {
            FeedItem::Entries(batch) => {
                seen.extend(batch.iter().filter(|entry| entry.position.offset > start.offset).cloned());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, agent.log().await[2..]);
}

pub(crate) async fn a_slow_feed_is_told_and_the_log_fills_it<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let mut reader = Reader::open(&*backbone, &room("plant")).await;
    for _ in 0..300 {
        agent.store("pump", 1).await;
    }
    reader.read_until(&*backbone, 300).await;
    assert!(reader.refills > 1, "nobody told the reader that it had lagged");
    agent.store("pump", 1).await;
    reader.read_until(&*backbone, 301).await;
    assert_eq!(reader.seen, agent.log().await);
}

pub(crate) async fn nothing_is_published_that_was_refused<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    let refused = agent.telemetry("pump", &[("level", 1)]);
    assert_eq!(agent.ask(7, vec![refused]).await, Ok(Stepped::Refused));
    agent.store("pump", 1).await;
    match feed.next().await {
        FeedItem::Entries(batch) => assert_eq!(batch[..], agent.log().await[..]),
        other => panic!("{other:?}"),
    }
}
