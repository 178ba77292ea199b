//! Crashes, refusing stores, and stores that go back.

use std::future::Future;

use lockgate_proto::ids::SessionId;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::agent::{ALL, Agent, assert_linked, entries, granted, room};
use super::{Keep, World};
use crate::backbone::{BackboneError, Health, LogRead, Stepped};

type Made = Box<dyn World>;

pub(crate) async fn an_answer_outlives_a_crash<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for _ in 0..5 {
        agent.store("pump", 3).await;
        let before = agent.log().await;
        world.crash().await;
        agent.backbone = world.backbone();
        assert_eq!(agent.log().await, before);
    }
    assert_linked(&agent.log().await);
    // The session itself goes on as well: the ledger stands where it stood.
    agent.store("pump", 1).await;
}

pub(crate) async fn a_step_whose_answer_was_lost_can_be_asked_again_after_a_crash<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let entry = agent.telemetry("pump", &[("level", 1)]);
    assert_eq!(agent.ask(1, vec![entry.clone()]).await, Ok(Stepped::Done));
    world.crash().await;
    agent.backbone = world.backbone();
    assert_eq!(agent.ask(1, vec![entry.clone()]).await, Ok(Stepped::Done));
    assert_eq!(agent.log().await.len(), 1);
    // A step that had not reached the store is applied when it is asked again.
    assert_eq!(agent.ask(2, vec![entry]).await, Ok(Stepped::Done));
    assert_eq!(agent.log().await.len(), 2);
}

pub(crate) async fn a_store_that_refuses_leaves_nothing_half_done_and_recovers<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let before = (agent.log().await, backbone.snapshot(&room("plant")).await.unwrap());
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    let entries = vec![agent.telemetry("pump", &[("level", 8)]), agent.telemetry("valve", &[("level", 9)])];
    world.break_store().await;
    for _ in 0..2 {
        let refused = agent.ask(2, entries.clone()).await;
        assert!(matches!(&refused, Err(BackboneError::Unavailable { .. })), "{refused:?}");
    }
    let refused = backbone.open_session(&agent.id, SessionId(9), &[Epoch(1)]).await;
    assert!(matches!(refused, Err(BackboneError::Unavailable { .. })));
    assert!(matches!(*backbone.health().borrow(), Health::Down { .. }));
    // Reading goes on, and shows nothing of what failed.
    assert_eq!((agent.log().await, backbone.snapshot(&room("plant")).await.unwrap()), before);
    assert!(feed.try_next().is_none());
    world.mend_store().await;
    assert_eq!(agent.ask(2, entries).await, Ok(Stepped::Done));
    assert_eq!(*backbone.health().borrow(), Health::Up);
    let log = agent.log().await;
    assert_eq!(log.len(), 3);
    assert_linked(&log);
    assert_eq!(backbone.devices(&room("plant")).await.unwrap().len(), 2);
}

pub(crate) async fn a_store_put_back_shows_it<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 4).await;
    world.keep_copy().await;
    agent.store("pump", 6).await;
    let lost = agent.log().await;
    world.put_back_copy().await;
    let backbone = world.backbone();
    agent.backbone = backbone.clone();

    // The session that wrote what is gone is over, for its step is not the next one.
    let entry = agent.telemetry("pump", &[("level", 1)]);
    assert_eq!(agent.step(vec![entry]).await, Ok(Stepped::Refused));
    let ledger = granted(backbone.open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert_eq!(ledger.stored(Epoch(1), Lane::Telemetry).last(), Seq::new(4));

    // Who has seen what is gone is told, before and after the log has grown anew.
    let resume = |at: usize| {
        let (backbone, position) = (backbone.clone(), lost[at].position);
        async move { backbone.read_after(&room("plant"), position, ALL).await.unwrap() }
    };
    assert_eq!(resume(8).await, LogRead::Diverged);
    assert_eq!(resume(9).await, LogRead::Diverged);
    agent.go_on_as(SessionId(2), ledger);
    agent.store("pump", 9).await;
    assert_eq!(resume(4).await, LogRead::Diverged);
    assert_eq!(resume(9).await, LogRead::Diverged);

    // Who stands before the fork goes on.
    let grown = agent.log().await;
    assert_eq!(entries(resume(3).await), grown[4..]);
    assert_linked(&grown);
    for (old, new) in lost[4..].iter().zip(&grown[4..]) {
        assert_eq!(old.position.offset, new.position.offset);
        assert_ne!(old.position.stamp, new.position.stamp);
    }
}
