//! What an acknowledgement is worth when the master is lost, and who may write afterwards.

use std::path::Path;
use std::sync::Arc;

use lockgate_proto::ids::SessionId;
use lockgate_proto::seq::Epoch;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::redis::Redis;
use tempfile::TempDir;

use super::{connect, has_all_of, open_with, reason, start, stepped, up};
use crate::backbone::conformance::agent::{Agent, assert_linked, granted, room};
use crate::backbone::redis::Durability;
use crate::backbone::{Backbone, Health, Stepped};

/// A master and its replica, and the address at which gateways find whoever is the master.
struct Pair {
    master: Redis,
    replica: Redis,
    /// What the replica hears of the master.
    link: Proxy,
    address: Proxy,
}

impl Pair {
    fn start(folder: &Path) -> Pair {
        let master = start(folder);
        let link = Proxy::start(master.address()).unwrap();
        let replica = master.start_replica(&folder.join("replica"), Some(link.address())).unwrap();
        let address = Proxy::start(master.address()).unwrap();
        Pair { master, replica, link, address }
    }

    async fn gateway(&self, durability: Durability) -> Arc<dyn Backbone> {
        let url = format!("redis://{}", self.address.address());
        Arc::new(open_with(&url, |options| options.durability = durability).await.unwrap())
    }

    /// From when the replica has all that the master has, it hears no more.
    fn part(&self) {
        has_all_of(&self.replica, &self.master);
        self.link.refuse(true);
    }

    /// The master dies; its replica becomes the master, with what it has.
    fn fail_over(&mut self) {
        self.master.kill().unwrap();
        self.replica.ask("REPLICAOF NO ONE").unwrap();
        self.address.aim(self.replica.address());
        self.address.cut();
    }
}

const ONE_REPLICA: Durability = Durability::Replicated { replicas: 1 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_replica_a_step_is_not_acknowledged() {
    let place = TempDir::new().unwrap();
    let pair = Pair::start(place.path());
    let backbone = pair.gateway(ONE_REPLICA).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    pair.replica.pause().unwrap();
    let entries = [agent.telemetry("pump", &[("level", 2)])];
    let unknown = agent.ask(2, entries.to_vec()).await;
    assert!(reason(&unknown).contains("0 of 1 replicas"), "{unknown:?}");
    // A repeat of what the master has already is not believed either; nor is a new session.
    let unknown = agent.ask(2, entries.to_vec()).await;
    assert!(reason(&unknown).contains("0 of 1 replicas"), "{unknown:?}");
    assert!(backbone.open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.is_err());
    assert!(matches!(&*backbone.health().borrow(), Health::Down { reason } if reason.contains("0 of 1")));
    pair.replica.go_on().unwrap();
    up(&*backbone).await;
    // That session was opened after all, and fences the other one.
    assert_eq!(stepped(&agent, 2, &entries).await, Stepped::Refused);
    let ledger = granted(backbone.open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert_eq!(ledger.totals().stored, 2);
    assert_eq!(agent.log().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_waited_for_its_replica_is_done_once() {
    let place = TempDir::new().unwrap();
    let pair = Pair::start(place.path());
    let backbone = pair.gateway(ONE_REPLICA).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    pair.replica.pause().unwrap();
    let entries = [agent.telemetry("pump", &[("level", 2)])];
    assert!(reason(&agent.ask(1, entries.to_vec()).await).contains("0 of 1 replicas"));
    pair.replica.go_on().unwrap();
    assert_eq!(stepped(&agent, 1, &entries).await, Stepped::Done);
    assert_eq!(agent.log().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_that_hold_one_agent_the_newer_session_writes() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let (first, second) = (connect(&redis.url()).await, connect(&redis.url()).await);
    let mut old = Agent::open(&first, &room("plant"), "pi", 1).await;
    old.store("pump", 1).await;
    let mut new = Agent::open(&second, &room("plant"), "pi", 2).await;
    let entries = [old.telemetry("pump", &[("level", 2)])];
    assert_eq!(stepped(&old, 2, &entries).await, Stepped::Refused);
    assert_eq!(stepped(&old, 1, &entries).await, Stepped::Refused);
    new.store("pump", 1).await;
    assert_eq!(new.log().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_that_lost_steps_their_session_is_over() {
    let place = TempDir::new().unwrap();
    let mut pair = Pair::start(place.path());
    let backbone = pair.gateway(Durability::Memory).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 3).await;
    pair.part();
    // Acknowledged by the master alone, and lost with it.
    agent.store("pump", 2).await;
    let lost = agent.log().await;
    pair.fail_over();
    let entries = [agent.telemetry("pump", &[("level", 2)])];
    assert_eq!(stepped(&agent, 3, &entries).await, Stepped::Refused);
    let ledger = granted(backbone.open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert_eq!(ledger.totals().stored, 3);
    agent.go_on_as(SessionId(2), ledger);
    agent.store("pump", 2).await;
    let log = agent.log().await;
    assert_linked(&log);
    assert_eq!(log[..3], lost[..3]);
    assert!(log[3..].iter().zip(&lost[3..]).all(|(new, old)| new.position.stamp != old.position.stamp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_older_of_two_sessions_stays_fenced() {
    let place = TempDir::new().unwrap();
    let mut pair = Pair::start(place.path());
    let (first, second) = (pair.gateway(ONE_REPLICA).await, pair.gateway(ONE_REPLICA).await);
    let mut old = Agent::open(&first, &room("plant"), "pi", 1).await;
    old.store("pump", 1).await;
    let mut new = Agent::open(&second, &room("plant"), "pi", 2).await;
    pair.part();
    // The master has it, the replica has not: nobody is told that it is stored.
    let entries = [new.telemetry("pump", &[("level", 5)])];
    assert!(reason(&new.ask(1, entries.to_vec()).await).contains("0 of 1 replicas"));
    pair.fail_over();
    // The new master has no replica yet, and so nothing is acknowledged; but what it says is known.
    let third = pair.gateway(Durability::Memory).await;
    old.backbone = Arc::clone(&third);
    let late = [old.telemetry("pump", &[("level", 6)])];
    assert_eq!(stepped(&old, 2, &late).await, Stepped::Refused);
    let second = pair.replica.start_replica(&place.path().join("third"), None).unwrap();
    assert_eq!(stepped(&new, 1, &entries).await, Stepped::Done);
    assert_eq!(stepped(&old, 2, &late).await, Stepped::Refused);
    assert_eq!(new.log().await.len(), 2);
    drop(second);
}
