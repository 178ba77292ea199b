//! What a Redis must be like, at the start and from then on.

use std::sync::Arc;

use lockgate_tests::proxy::Proxy;
use lockgate_tests::redis::Redis;
use tempfile::TempDir;

use super::{connect, down, has_all_of, open_with, reason, start, stepped, up};
use crate::backbone::conformance::agent::{Agent, room};
use crate::backbone::redis::{ConnectError, Durability};
use crate::backbone::{Backbone, Health, Stepped};

async fn refused(url: &str, durability: Durability) -> String {
    match open_with(url, |options| options.durability = durability).await {
        Err(error @ ConnectError::Unfit { .. }) => error.to_string(),
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("taken as fit"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_could_lose_what_it_has_is_refused() {
    let place = TempDir::new().unwrap();
    let redis = Redis::start_with(&place.path().join("redis"), &["maxmemory-policy allkeys-lru"]).unwrap();
    let why = refused(&redis.url(), Durability::Memory).await;
    assert!(why.contains("allkeys-lru") && why.contains("noeviction"), "{why}");
    redis.ask("CONFIG SET maxmemory-policy noeviction").unwrap();
    let why = refused(&redis.url(), Durability::Fsync).await;
    assert!(why.contains("appendonly yes"), "{why}");
    redis.ask("CONFIG SET appendonly yes").unwrap();
    redis.ask("CONFIG SET appendfsync everysec").unwrap();
    let why = refused(&redis.url(), Durability::Fsync).await;
    assert!(why.contains("appendfsync always") && why.contains("everysec"), "{why}");
    redis.ask("CONFIG SET appendfsync always").unwrap();
    let synced = open_with(&redis.url(), |options| options.durability = Durability::Fsync).await.unwrap();
    let backbone: Arc<dyn Backbone> = Arc::new(synced);
    Agent::open(&backbone, &room("plant"), "pi", 1).await.store("pump", 1).await;
    // Later on as well.
    redis.ask("CONFIG SET appendfsync everysec").unwrap();
    down(&*backbone, "appendfsync always").await;
    redis.ask("CONFIG SET appendfsync always").unwrap();
    up(&*backbone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_why() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    redis.ask("CONFIG SET requirepass secret").unwrap();
    let why = refused(&redis.url(), Durability::Memory).await;
    assert!(why.contains("redis.password_file"), "{why}");
    let wrong = open_with(&redis.url(), |options| options.password = Some("wrong".to_owned())).await;
    assert!(matches!(wrong, Err(ConnectError::Unfit { reason, .. }) if reason.contains("redis.password_file")));
    let right = open_with(&redis.url(), |options| options.password = Some("secret".to_owned())).await.unwrap();
    assert_eq!(*right.health().borrow(), Health::Up);
    let other = refused_address(&format!("{}/3", redis.url())).await;
    assert!(other.contains("database 0"), "{other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_what_the_documents_grant_can_do_all_of_it() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    redis.ask("ACL SETUSER gateway on >secret ~lockgate* &lockgate* +@all -@dangerous +info").unwrap();
    let url = redis.url().replace("redis://", "redis://gateway@");
    let opened = open_with(&url, |options| options.password = Some("secret".to_owned())).await;
    let backbone: Arc<dyn Backbone> = Arc::new(opened.unwrap());
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    agent.store("pump", 1).await;
    assert!(matches!(feed.next().await, crate::backbone::FeedItem::Entries(_)));
    assert_eq!(agent.log().await.len(), 1);
    assert_eq!(*backbone.health().borrow(), Health::Up);
}

async fn refused_address(url: &str) -> String {
    match open_with(url, |_| {}).await {
        Err(error @ ConnectError::Address { .. }) => error.to_string(),
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("taken as an address"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_waited_for_until_it_is_a_master() {
    let place = TempDir::new().unwrap();
    let master = start(place.path());
    let replica = master.start_replica(&place.path().join("replica"), None).unwrap();
    let backbone: Arc<dyn Backbone> = Arc::new(open_with(&replica.url(), |_| {}).await.unwrap());
    down(&*backbone, "replica").await;
    replica.ask("REPLICAOF NO ONE").unwrap();
    up(&*backbone).await;
    Agent::open(&backbone, &room("plant"), "pi", 1).await.store("pump", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_changes_under_way_is_noticed() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    redis.ask("CONFIG SET maxmemory-policy volatile-ttl").unwrap();
    down(&*backbone, "volatile-ttl").await;
    let entries = [agent.telemetry("pump", &[("level", 1)])];
    assert!(reason(&agent.ask(2, entries.to_vec()).await).contains("volatile-ttl"));
    redis.ask("CONFIG SET maxmemory-policy noeviction").unwrap();
    up(&*backbone).await;
    assert_eq!(stepped(&agent, 2, &entries).await, Stepped::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_demoted_is_left_for_the_one_at_its_address() {
    let place = TempDir::new().unwrap();
    let first = start(place.path());
    let second = first.start_replica(&place.path().join("second"), None).unwrap();
    let proxy = Proxy::start(first.address()).unwrap();
    let backbone = connect(&format!("redis://{}", proxy.address())).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let entries = [agent.telemetry("pump", &[("level", 1)])];
    agent.n = 2;
    // As on purpose, with nothing lost; the connections to the old one stay open.
    has_all_of(&second, &first);
    second.ask("REPLICAOF NO ONE").unwrap();
    first.ask(&format!("REPLICAOF {} {}", second.address().ip(), second.address().port())).unwrap();
    down(&*backbone, "replica").await;
    proxy.aim(second.address());
    assert_eq!(stepped(&agent, 2, &entries).await, Stepped::Done);
    up(&*backbone).await;
    let mut feed = super::eventually("a feed", || async { backbone.subscribe(&room("plant")).await.ok() }).await;
    agent.store("pump", 1).await;
    assert!(matches!(feed.next().await, crate::backbone::FeedItem::Entries(_)));
    assert_eq!(agent.log().await.len(), 3);
}
