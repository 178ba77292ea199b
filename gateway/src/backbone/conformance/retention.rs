//! Retention: what goes, what stays, and who is told. An engine may drop a step's entries only as a whole.

use std::future::Future;
use std::time::Duration;

use lockgate_proto::position::{Offset, Position, Stamp};

use super::agent::{ALL, Agent, NOON, assert_linked, entries, room};
use super::{Keep, World};
use crate::backbone::LogRead;

type Made = Box<dyn World>;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE_US: i64 = 60_000_000;

pub(crate) async fn age_drops_entries_and_the_newest_stays<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep { age: Some(HOUR), ..Keep::default() }).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for minute in 0..10 {
        agent.received_at = NOON.offset_by(minute * MINUTE_US);
        agent.store("pump", 2).await;
    }
    let log = agent.log().await;
    world.trim(NOON.offset_by(60 * MINUTE_US)).await;
    assert_eq!(agent.log().await.len(), 20, "what is exactly as old as allowed stays");
    world.trim(NOON.offset_by(64 * MINUTE_US)).await;
    assert_eq!(agent.backbone.read_last(&room("plant"), ALL).await.unwrap(), log[8..]);
    world.trim(NOON.offset_by(600 * MINUTE_US)).await;
    let kept = agent.backbone.read_last(&room("plant"), ALL).await.unwrap();
    assert!((1..=2).contains(&kept.len()) && log.ends_with(&kept), "the newest stays, and nothing but its step");
    world.crash().await;
    agent.backbone = world.backbone();
    assert_eq!(agent.backbone.head(&room("plant")).await, Ok(log[19].position));
    agent.store("pump", 1).await;
    let kept = agent.backbone.read_last(&room("plant"), ALL).await.unwrap();
    assert!((2..=3).contains(&kept.len()));
    assert_linked(&kept);
    assert_eq!(agent.backbone.devices(&room("plant")).await.unwrap().len(), 1, "shadows outlive the log");
}

pub(crate) async fn bytes_drop_entries_and_the_newest_stays<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep { room_bytes_max: Some(2_000), ..Keep::default() }).await;
    let mut big = Agent::open(&world.backbone(), &room("big"), "pi", 1).await;
    let mut small = Agent::open(&world.backbone(), &room("small"), "pi", 1).await;
    for _ in 0..100 {
        big.store("pump", 3).await;
    }
    small.store("pump", 3).await;
    let log = big.log().await;
    world.trim(NOON).await;
    let kept = big.backbone.read_last(&room("big"), ALL).await.unwrap();
    let bytes: usize = kept.iter().map(|entry| entry.bytes.len()).sum();
    assert!(bytes <= 2_000, "{bytes} bytes are left");
    let dropped = log.len() - kept.len();
    let newest_dropped: usize = log[dropped - 3..dropped].iter().map(|entry| entry.bytes.len()).sum();
    assert!(bytes + newest_dropped > 1_800, "one more step would have had room, and some to spare");
    assert_eq!(kept, log[log.len() - kept.len()..]);
    assert_eq!(small.log().await.len(), 3);
}

pub(crate) async fn a_reader_behind_what_was_dropped_is_told<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep { age: Some(HOUR), ..Keep::default() }).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for minute in 0..6 {
        agent.received_at = NOON.offset_by(minute * MINUTE_US);
        agent.store("pump", 1).await;
    }
    let log = agent.log().await;
    world.trim(NOON.offset_by(63 * MINUTE_US)).await;
    let backbone = world.backbone();
    let resume = |position| {
        let backbone = backbone.clone();
        async move { backbone.read_after(&room("plant"), position, ALL).await.unwrap() }
    };
    assert_eq!(resume(Position::START).await, LogRead::Trimmed);
    assert_eq!(resume(log[1].position).await, LogRead::Trimmed);
    // The last one that was dropped misses nothing, and the oldest one that stayed knows its stamp.
    assert_eq!(entries(resume(log[2].position).await), log[3..]);
    assert_eq!(resume(Position { offset: Offset(3), stamp: Stamp(1) }).await, LogRead::Diverged);
    assert_eq!(entries(resume(log[3].position).await), log[4..]);
}
