//! The engine on a cluster: the conformance suite, a slot that moves, a master that dies.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_tests::redis_cluster::RedisCluster;
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

use super::live::Follower;
use super::{eventually, open_with, options, pass, reason, stepped, up};
use crate::backbone::conformance::agent::{Agent, assert_linked, log_of, room};
use crate::backbone::conformance::{DEVICES_MAX, Keep, World, conformance_suite};
use crate::backbone::redis::{ConnectError, Durability, RedisBackbone, RedisOptions};
use crate::backbone::{Backbone, FeedItem, Stepped};

/// The cases take turns on one cluster: to start one takes seconds.
static SHARED: Mutex<Weak<tokio::sync::Mutex<Shared>>> = Mutex::new(Weak::new());

struct Shared {
    cluster: RedisCluster,
    place: TempDir,
}

fn shared() -> Arc<tokio::sync::Mutex<Shared>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = shared.upgrade() {
        return shared;
    }
    let place = TempDir::new().unwrap();
    let cluster = RedisCluster::start(place.path()).unwrap();
    let new = Arc::new(tokio::sync::Mutex::new(Shared { cluster, place }));
    *shared = Arc::downgrade(&new);
    new
}

struct ClusterWorld {
    shared: OwnedMutexGuard<Shared>,
    keep: Keep,
    now: Arc<AtomicI64>,
    backbone: RedisBackbone,
    broken: Option<usize>,
}

impl ClusterWorld {
    async fn make(keep: Keep) -> Box<dyn World> {
        let shared = tokio::task::spawn_blocking(shared).await.unwrap().lock_owned().await;
        for master in shared.cluster.masters() {
            master.ask("CONFIG SET maxmemory 0").unwrap();
            master.ask("FLUSHALL").unwrap();
        }
        let now = Arc::new(AtomicI64::new(0));
        let backbone = open(&shared.cluster, keep, &now).await;
        Box::new(ClusterWorld { shared, keep, now, backbone, broken: None })
    }

    async fn open_anew(&mut self) {
        self.backbone = open(&self.shared.cluster, self.keep, &self.now).await;
    }
}

async fn open(cluster: &RedisCluster, keep: Keep, now: &Arc<AtomicI64>) -> RedisBackbone {
    let options = RedisOptions { devices_per_room_max: DEVICES_MAX, ..options(&cluster.url(), keep, now) };
    RedisBackbone::open(options, &Supervisor::new()).await.unwrap()
}

#[async_trait]
impl World for ClusterWorld {
    fn backbone(&self) -> Arc<dyn Backbone> {
        Arc::new(self.backbone.clone())
    }

    async fn crash(&mut self) {
        self.shared.cluster.restart(|_| Ok(())).unwrap();
        self.open_anew().await;
    }

    async fn keep_copy(&mut self) {
        for (at, node) in self.shared.cluster.nodes.iter().enumerate().take(3) {
            node.copy_to(&self.shared.place.path().join(format!("copy-{at}"))).unwrap();
        }
    }

    async fn put_back_copy(&mut self) {
        let place = self.shared.place.path().to_owned();
        let put_back = |nodes: &mut [lockgate_tests::redis::Redis]| {
            let mut masters = nodes.iter().enumerate().take(3);
            masters.try_for_each(|(at, node)| node.replace_data(&place.join(format!("copy-{at}"))))
        };
        self.shared.cluster.restart(put_back).unwrap();
        self.open_anew().await;
    }

    async fn break_store(&mut self) {
        let owner = self.shared.cluster.owner_of("lockgate:{acme:plant}:head").unwrap();
        self.shared.cluster.nodes[owner].ask("CONFIG SET maxmemory 1").unwrap();
        self.broken = Some(owner);
    }

    async fn mend_store(&mut self) {
        let owner = self.broken.take().unwrap();
        self.shared.cluster.nodes[owner].ask("CONFIG SET maxmemory 0").unwrap();
    }

    async fn pass(&mut self, span: Duration) {
        pass(&self.backbone, span).await;
    }

    async fn trim(&mut self, now: UnixMicros) {
        self.now.store(now.0, Ordering::Relaxed);
        self.backbone.maintain().await.unwrap();
    }
}

conformance_suite!(ClusterWorld::make);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_served_while_its_slot_moves_and_from_where_it_goes() {
    let shared = tokio::task::spawn_blocking(shared).await.unwrap().lock_owned().await;
    let cluster = &shared.cluster;
    let backbone: Arc<dyn Backbone> = Arc::new(open_with(&cluster.url(), |_| {}).await.unwrap());
    let mut agent = Agent::open(&backbone, &room("moving"), "pi", 1).await;
    agent.store("pump", 1).await;
    let key = |name: &str| format!("lockgate:{{acme:moving}}:{name}");
    let from = cluster.owner_of(&key("head")).unwrap();
    let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
    let slot = from.ask(&format!("CLUSTER KEYSLOT {}", key("head"))).unwrap().trim_start_matches(':').to_owned();
    let (from_id, to_id) = (from.ask("CLUSTER MYID").unwrap(), to.ask("CLUSTER MYID").unwrap());
    let mut feed = backbone.subscribe(&room("moving")).await.unwrap();

    to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).unwrap();
    from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).unwrap();
    // All of it is still there.
    agent.store("pump", 1).await;
    let migrate = |name: &str| {
        let port = to.address().port();
        from.ask(&format!("MIGRATE 127.0.0.1 {port} {} 0 5000", key(name))).unwrap();
    };
    migrate("head");
    migrate("shadow:pump");
    // Torn in two: nobody may write, and every single key can be read.
    let entries = [agent.telemetry("pump", &[("level", 3)])];
    let unknown = agent.ask(3, entries.to_vec()).await;
    assert!(reason(&unknown).contains("on its way"), "{unknown:?}");
    assert_eq!((agent.log().await.len(), backbone.head(&room("moving")).await.unwrap().offset.0), (2, 2));
    for name in ["ledgers", "log", "devices"] {
        migrate(name);
    }
    // All of it has gone, and the slot is to follow.
    assert_eq!(stepped(&agent, 3, &entries).await, Stepped::Done);
    assert_eq!(backbone.snapshot(&room("moving")).await.unwrap().devices[0].metrics.len(), 1);
    for node in [to, from] {
        node.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).unwrap();
    }
    // Who listened where the room was is told.
    while !matches!(feed.next().await, FeedItem::Closed) {}
    let mut feed = eventually("a feed", || async { backbone.subscribe(&room("moving")).await.ok() }).await;
    agent.n = 3;
    agent.store("pump", 1).await;
    assert!(matches!(feed.next().await, FeedItem::Entries(_)));
    assert_eq!(agent.log().await.len(), 4);
    assert_linked(&agent.log().await);
    up(&*backbone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_replaced_and_nothing_that_was_acknowledged_is_lost() {
    const ROOMS: u64 = 6;
    const STEPS: u64 = 40;
    let place = TempDir::new().unwrap();
    let mut cluster =
        tokio::task::spawn_blocking(move || (RedisCluster::start(place.path()).unwrap(), place)).await.unwrap();
    let cluster_url = cluster.0.url();
    let one_replica = Durability::Replicated { replicas: 1 };
    let opened = open_with(&cluster_url, |options| options.durability = one_replica).await;
    let backbone: Arc<dyn Backbone> = Arc::new(opened.unwrap());
    let site = |at: u64| room(&format!("plant-{at}"));
    let (mut writers, mut followers) = (JoinSet::new(), JoinSet::new());
    let (progress, mut seen) = tokio::sync::watch::channel(0);
    for at in 0..ROOMS {
        let mut agent = Agent::open(&backbone, &site(at), "pi", at + 1).await;
        let progress = progress.clone();
        followers.spawn(Follower::new(&backbone, &site(at)).follow(usize::try_from(STEPS).unwrap()));
        writers.spawn(async move {
            for n in 1..=STEPS {
                let entries = [agent.telemetry("pump", &[("n", n.cast_signed())])];
                assert_eq!(stepped(&agent, n, &entries).await, Stepped::Done);
                progress.send_modify(|done| *done += 1);
            }
        });
    }
    seen.wait_for(|done| *done > ROOMS * STEPS / 4).await.unwrap();
    let dies = cluster.0.owner_of("lockgate:{acme:plant-0}:head").unwrap();
    cluster.0.nodes[dies].kill().unwrap();
    let successor = (dies + 3) % 6;
    eventually("the replica takes over", || {
        let role = cluster.0.nodes[successor].info("replication", "role");
        std::future::ready(role.is_ok_and(|role| role == "master").then_some(()))
    })
    .await;
    // As its successor's replica: until then nothing there is acknowledged.
    cluster.0.nodes[dies].restart().unwrap();
    writers.join_all().await;
    let mut followed = followers.join_all().await;
    followed.sort_by_key(|log| log[0].position.stamp.0);
    let mut logs = Vec::new();
    for at in 0..ROOMS {
        let log = log_of(&backbone, &site(at)).await;
        assert_linked(&log);
        assert_eq!(log.len(), usize::try_from(STEPS).unwrap());
        logs.push(log);
    }
    logs.sort_by_key(|log| log[0].position.stamp.0);
    assert_eq!(followed, logs);
    up(&*backbone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_addresses_that_are_no_cluster_are_refused() {
    let place = TempDir::new().unwrap();
    let (one, two) = (super::start(&place.path().join("one")), super::start(&place.path().join("two")));
    let refused = open_with(&format!("redis://{},{}", one.address(), two.address()), |_| {}).await;
    assert!(matches!(refused, Err(ConnectError::NoCluster)));
}
