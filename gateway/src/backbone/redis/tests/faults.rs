//! A Redis that hangs, is cut off, is emptied, runs full, or holds what others wrote.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use lockgate_proto::ids::SessionId;
use lockgate_proto::position::Position;
use lockgate_proto::seq::Epoch;
use lockgate_proto::time::UnixMicros;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::random::Random;
use lockgate_tests::redis::Redis;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::live::Follower;
use super::{connect, eventually, open, open_with, reason, start, stepped, up};
use crate::backbone::conformance::Keep;
use crate::backbone::conformance::agent::{self, ALL, Agent, assert_linked, granted, room};
use crate::backbone::{Backbone, BackboneError, FeedItem, Health, LogRead, Stepped};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_asked_of_a_redis_that_hangs_is_done_once_when_it_goes_on() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    redis.pause().unwrap();
    let entries = [agent.telemetry("pump", &[("level", 7)])];
    for _ in 0..2 {
        let unknown = agent.ask(2, entries.to_vec()).await;
        assert!(!reason(&unknown).is_empty());
    }
    assert!(matches!(*backbone.health().borrow(), Health::Down { .. }));
    redis.go_on().unwrap();
    assert_eq!(stepped(&agent, 2, &entries).await, Stepped::Done);
    up(&*backbone).await;
    let log = agent.log().await;
    assert_linked(&log);
    assert_eq!(log.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_nothing_and_double_nothing() {
    const AGENTS: u64 = 6;
    const STEPS: u64 = 40;
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let proxy = Arc::new(Proxy::start(redis.address()).unwrap());
    let backbone = connect(&format!("redis://{}", proxy.address())).await;
    let mut followers = JoinSet::new();
    for _ in 0..3 {
        let follower = Follower::new(&backbone, &room("plant"));
        followers.spawn(follower.follow(usize::try_from(AGENTS * STEPS * 2).unwrap()));
    }
    let mut writers = JoinSet::new();
    let (progress, mut seen) = tokio::sync::watch::channel(0);
    for at in 0..AGENTS {
        let (backbone, progress) = (Arc::clone(&backbone), progress.clone());
        let mut agent = Agent::open(&backbone, &room("plant"), &format!("pi-{at}"), at + 1).await;
        writers.spawn(async move {
            for n in 1..=STEPS {
                let pump = format!("pump-{at}");
                let entries = [0, 1].map(|more| agent.telemetry(&pump, &[("n", (2 * n + more).cast_signed())]));
                assert_eq!(stepped(&agent, n, &entries).await, Stepped::Done);
                progress.send_modify(|done| *done += 1);
            }
            agent
        });
    }
    // Whenever a few more steps are done: however fast they are, many cuts fall among them.
    let mut random = Random::seeded(7);
    let mut next = 0;
    while next < AGENTS * STEPS {
        seen.wait_for(|done| *done >= next).await.unwrap();
        proxy.cut();
        next += 5 + random.below(20);
    }
    let mut agents = writers.join_all().await;
    let read = || async { backbone.read_after(&room("plant"), Position::START, ALL).await.ok() };
    let log = agent::entries(eventually("the log", read).await);
    assert_eq!(log.len(), usize::try_from(AGENTS * STEPS * 2).unwrap());
    assert_linked(&log);
    for follower in followers.join_all().await {
        assert_eq!(follower, log);
    }
    // What the log has is what the ledgers count.
    agents.sort_by(|left: &Agent, right| left.id.agent.cmp(&right.id.agent));
    let ledgers = backbone.ledgers(&room("plant")).await.unwrap();
    for (agent, (name, ledger)) in agents.iter().zip(&ledgers) {
        assert_eq!((&agent.id.agent, ledger.totals().stored), (name, STEPS * 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_ends_sessions_tells_readers_and_starts_anew() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 3).await;
    let lost = agent.log().await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    redis.ask("FLUSHALL").unwrap();
    redis.ask("FUNCTION FLUSH").unwrap();
    // Nobody writes, and yet who listens is told.
    assert!(matches!(feed.next().await, FeedItem::Lagged));
    let resumed = backbone.read_after(&room("plant"), lost[2].position, ALL).await.unwrap();
    assert_eq!(resumed, LogRead::Diverged);
    let entry = agent.telemetry("pump", &[("level", 1)]);
    assert_eq!(agent.step(vec![entry]).await, Ok(Stepped::Refused));
    let ledger = granted(backbone.open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert_eq!(ledger.totals().stored, 0);
    agent.go_on_as(SessionId(2), ledger);
    redis.ask("FUNCTION FLUSH").unwrap();
    agent.store("pump", 4).await;
    let grown = agent.log().await;
    assert_eq!(grown.len(), 4);
    assert_linked(&grown);
    assert_eq!(backbone.read_after(&room("plant"), lost[2].position, ALL).await.unwrap(), LogRead::Diverged);
    assert_eq!(backbone.devices(&room("plant")).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_whole_or_not_at_all_where_memory_ends() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let used: u64 = redis.info("memory", "used_memory").unwrap().parse().unwrap();
    redis.ask(&format!("CONFIG SET maxmemory {}", used + 200_000)).unwrap();
    // Each step is larger than what is left at some time: one of them begins below the limit and ends beyond.
    let mut done = 1;
    let refused = loop {
        let entries: Vec<_> =
            (0..200).map(|at| agent.telemetry(&format!("pump-{done}-{at}"), &[("level", at)])).collect();
        match agent.ask(done + 1, entries.clone()).await {
            Ok(Stepped::Done) => done += 1,
            outcome => {
                assert!(reason(&outcome).contains("maxmemory"), "{outcome:?}");
                break entries;
            }
        }
        assert!(done < 1_000, "Redis never runs full");
    };
    assert!(done > 1, "the first step did not fit");
    let written = usize::try_from((done - 1) * 200).unwrap() + 1;
    assert_eq!(agent.log().await.len(), written);
    assert_eq!(backbone.devices(&room("plant")).await.unwrap().len(), written);
    redis.ask("CONFIG SET maxmemory 0").unwrap();
    assert_eq!(stepped(&agent, done + 1, &refused).await, Stepped::Done);
    assert_eq!(agent.log().await.len(), written + 200);
    assert_eq!(backbone.ledgers(&room("plant")).await.unwrap()[0].1, *agent.ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_makes_room_in_a_redis_that_is_full() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let keep = Keep { room_bytes_max: Some(20_000), ..Keep::default() };
    let engine = open(&redis, keep, &Arc::new(AtomicI64::new(0))).await;
    let backbone: Arc<dyn Backbone> = Arc::new(engine.clone());
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    for _ in 0..200 {
        agent.store("pump", 50).await;
    }
    let used: u64 = redis.info("memory", "used_memory").unwrap().parse().unwrap();
    redis.ask(&format!("CONFIG SET maxmemory {}", used - 200_000)).unwrap();
    let entries = [agent.telemetry("pump", &[("level", 1)])];
    assert!(reason(&agent.ask(201, entries.to_vec()).await).contains("maxmemory"));
    // Also by a gateway that has just come: it can't load what is there already.
    let engine = open(&redis, keep, &Arc::new(AtomicI64::new(0))).await;
    engine.maintain().await.unwrap();
    assert_eq!(stepped(&agent, 201, &entries).await, Stepped::Done);
    // Where others have thrown the functions away, retention brings them back.
    redis.ask("FUNCTION FLUSH").unwrap();
    engine.maintain().await.unwrap();
    assert!(redis.ask("FUNCTION LIST").unwrap() != "*0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_others_have_changed_are_named_and_harm_no_other_room() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut neighbour = Agent::open(&backbone, &room("neighbour"), "pi", 1).await;
    for key in ["ledgers", "head", "log", "devices", "shadow:pump"] {
        redis.ask("FLUSHALL").unwrap();
        neighbour = Agent::open(&backbone, &neighbour.id.room, "pi", 1).await;
        let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
        agent.store("pump", 1).await;
        let key = format!("lockgate:{{acme:plant}}:{key}");
        redis.ask(&format!("RENAME {key} kept")).unwrap();
        redis.ask(&format!("RPUSH {key} junk")).unwrap();
        let entries = [agent.telemetry("pump", &[("level", 2)])];
        match agent.ask(2, entries.to_vec()).await {
            Err(BackboneError::Damaged { what }) => assert!(what.contains("{acme:plant}"), "{what}"),
            other => panic!("{key}: {other:?}"),
        }
        neighbour.store("pump", 1).await;
        assert_eq!(*backbone.health().borrow(), Health::Up);
        // Nothing of it was done: with the key as it was, the step is done once.
        redis.ask(&format!("RENAME kept {key}")).unwrap();
        assert_eq!(agent.ask(2, entries.to_vec()).await, Ok(Stepped::Done));
        assert_eq!(agent.log().await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_or_a_log_that_is_gone_is_damage_and_no_outage() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 3).await;
    let entries = vec![agent.telemetry("pump", &[("level", 2)])];
    for spoil in ["DEL lockgate:{acme:plant}:head", "SET lockgate:{acme:plant}:head x"] {
        redis.ask(spoil).unwrap();
        match agent.ask(2, entries.clone()).await {
            Err(BackboneError::Damaged { .. }) => {}
            other => panic!("{spoil}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_later_is_used_by_itself() {
    let place = TempDir::new().unwrap();
    let mut redis: Redis = start(place.path());
    redis.kill().unwrap();
    let backbone: Arc<dyn Backbone> = Arc::new(open_with(&redis.url(), |_| {}).await.unwrap());
    assert!(matches!(*backbone.health().borrow(), Health::Down { .. }));
    assert!(backbone.subscribe(&room("plant")).await.is_err());
    assert!(backbone.head(&room("plant")).await.unwrap_err().may_retry());
    redis.restart().unwrap();
    up(&*backbone).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 2).await;
    // And again, while somebody listens: the feed ends, and the next one goes on.
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    redis.kill().unwrap();
    while !matches!(feed.next().await, FeedItem::Closed) {}
    super::down(&*backbone, "Redis").await;
    redis.restart().unwrap();
    up(&*backbone).await;
    let mut feed = eventually("a feed", || async { backbone.subscribe(&room("plant")).await.ok() }).await;
    agent.received_at = UnixMicros(agent.received_at.0 + 1);
    agent.store("pump", 1).await;
    assert!(matches!(feed.next().await, FeedItem::Entries(_)));
}
