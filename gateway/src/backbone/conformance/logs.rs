//! The log: order, links, bytes, limits, and what a position is worth.

use std::future::Future;

use lockgate_proto::convert::decode_entry;
use lockgate_proto::position::{Offset, Position, Stamp};

use super::agent::{ALL, Agent, assert_linked, entries, log_of, room};
use super::{Keep, World};
use crate::backbone::{LogRead, ReadLimit};

type Made = Box<dyn World>;

pub(crate) async fn offsets_have_no_holes_and_stamps_are_linked<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for count in [1, 7, 3] {
        agent.store("pump", count).await;
    }
    world.crash().await;
    agent.backbone = world.backbone();
    agent.store("pump", 4).await;
    let log = agent.log().await;
    assert_eq!(log.len(), 15);
    assert_eq!((log[0].position.offset, log[0].previous), (Offset(1), Position::START.stamp));
    assert_linked(&log);
    let mut stamps: Vec<u64> = log.iter().map(|entry| entry.position.stamp.0).collect();
    stamps.sort_unstable();
    stamps.dedup();
    assert_eq!(stamps.len(), 15);
    assert!(!stamps.contains(&0));
    assert_eq!(world.backbone().head(&room("plant")).await, Ok(log[14].position));
}

pub(crate) async fn an_entry_is_the_header_and_the_very_bytes_that_came<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let sent = vec![agent.telemetry("pump", &[("level", 1), ("flow", 2)]), agent.presence("pump", true)];
    agent.step(sent.clone()).await.unwrap();
    let log = agent.log().await;
    for (logged, sent) in log.iter().zip(&sent) {
        let entry = decode_entry(logged.bytes.clone()).unwrap();
        assert!(logged.bytes.ends_with(&sent.body));
        assert_eq!(entry.header.position, logged.position);
        assert_eq!(entry.header.previous, logged.previous);
        assert_eq!(entry.header.received_at, sent.received_at);
        assert_eq!(entry.header.origin, sent.origin);
        assert_eq!(entry.body.kind(), Some(logged.kind));
        assert_eq!(entry.body.device(), logged.device.as_ref());
    }
}

pub(crate) async fn a_read_stays_within_its_limits_and_always_goes_on<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 25).await;
    let log = agent.log().await;
    let three_bytes: usize = log[5..8].iter().map(|entry| entry.bytes.len()).sum();
    for (limit, expected) in [
        (ReadLimit { entries_max: 10, bytes_max: usize::MAX }, 10),
        (ReadLimit { entries_max: 100, bytes_max: three_bytes }, 3),
        (ReadLimit { entries_max: 100, bytes_max: three_bytes - 1 }, 2),
        (ReadLimit { entries_max: 100, bytes_max: 0 }, 1),
    ] {
        let read = world.backbone().read_after(&room("plant"), log[4].position, limit).await.unwrap();
        assert_eq!(entries(read), log[5..5 + expected]);
    }
    let mut at = Position::START;
    let mut seen = Vec::new();
    loop {
        let limit = ReadLimit { entries_max: 7, bytes_max: usize::MAX };
        let read = entries(world.backbone().read_after(&room("plant"), at, limit).await.unwrap());
        let Some(last) = read.last() else { break };
        at = last.position;
        seen.extend(read);
    }
    assert_eq!(seen, log);
}

pub(crate) async fn the_last_entries_come_oldest_first<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 9).await;
    let log = agent.log().await;
    let last = |entries_max, bytes_max| {
        let backbone = world.backbone();
        async move { backbone.read_last(&room("plant"), ReadLimit { entries_max, bytes_max }).await.unwrap() }
    };
    assert_eq!(last(4, usize::MAX).await, log[5..]);
    assert_eq!(last(40, usize::MAX).await, log);
    assert_eq!(last(0, usize::MAX).await, []);
    assert_eq!(last(40, log[7].bytes.len() + log[8].bytes.len()).await, log[7..]);
}

pub(crate) async fn a_reader_resumes_only_in_the_history_it_knows<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let nowhere = Position { offset: Offset(1), stamp: Stamp(5) };
    assert_eq!(backbone.read_after(&room("plant"), Position::START, ALL).await, Ok(LogRead::Entries(Vec::new())));
    assert_eq!(backbone.read_after(&room("plant"), nowhere, ALL).await, Ok(LogRead::Diverged));
    agent.store("pump", 5).await;
    let log = agent.log().await;
    let resume = |position| {
        let backbone = backbone.clone();
        async move { backbone.read_after(&room("plant"), position, ALL).await.unwrap() }
    };
    assert_eq!(resume(log[1].position).await, LogRead::Entries(log[2..].to_vec()));
    assert_eq!(resume(log[4].position).await, LogRead::Entries(Vec::new()));
    let other_stamp = Stamp(log[1].position.stamp.0 ^ 1);
    assert_eq!(resume(Position { stamp: other_stamp, ..log[1].position }).await, LogRead::Diverged);
    assert_eq!(resume(Position { stamp: other_stamp, ..log[4].position }).await, LogRead::Diverged);
    for beyond in [6, 1 << 62, u64::MAX] {
        let position = Position { offset: Offset(beyond), ..log[4].position };
        assert_eq!(resume(position).await, LogRead::Diverged);
    }
}

pub(crate) async fn rooms_do_not_see_each_other<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut here = Agent::open(&backbone, &room("here"), "pi", 1).await;
    let mut there = Agent::open(&backbone, &room("there"), "pi", 2).await;
    here.store("pump", 3).await;
    there.store("valve", 2).await;
    assert_eq!((here.log().await.len(), there.log().await.len()), (3, 2));
    assert_eq!(backbone.devices(&room("there")).await.unwrap().len(), 1);
    assert_eq!(backbone.head(&room("nowhere")).await, Ok(Position::START));
    assert_eq!(log_of(&backbone, &room("nowhere")).await, []);
    assert_eq!(backbone.snapshot(&room("nowhere")).await.unwrap().devices, []);
    assert_eq!(backbone.ledgers(&room("nowhere")).await, Ok(Vec::new()));
}
