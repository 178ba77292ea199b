//! What backbones carry: durable steps of many agents at once, and fan-out to live readers.
//!
//! `cargo bench -p lockgate-gateway --bench backbone`. What is stored lies under `target/tmp`: figures are those
//! of that disk, which must sync for real. So the same records go into a plain file beside the embedded engine
//! (`raw_file`), and by bare XADDs into a Redis like the engine's (`raw_xadd`). `redis-server` must be installed.

#[path = "reference/raw_log.rs"]
mod raw_log;
#[path = "reference/raw_stream.rs"]
mod raw_stream;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use lockgate_gateway::backbone::embedded::{EmbeddedBackbone, EmbeddedOptions};
use lockgate_gateway::backbone::redis::{Durability, RedisBackbone, RedisOptions};
use lockgate_gateway::backbone::{
    Backbone, EntryKind, Feed, FeedItem, LogRead, LoggedEntry, NewEntry, Opened, ReadLimit, ShadowUpdate, Step, Stepped,
};
use lockgate_proto::convert::encode_record;
use lockgate_proto::entry::Origin;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, MetricName, RoomId, SessionId, Site, Tenant};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_tests::redis::Redis;
use raw_log::RawLog;
use raw_stream::RawStream;
use ring::rand::{SecureRandom, SystemRandom};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

const STEPS_PER_ROUND: usize = 20;
const DEVICES_PER_AGENT: usize = 10;

/// Agents at work at once, and the records of each of their steps.
const LOADS: [(usize, usize); 4] = [(1, 10), (50, 10), (50, 100), (1_000, 1)];

const METRICS: [&str; 4] = ["temperature", "pressure", "flow", "power"];

fn main() -> std::io::Result<()> {
    let (readings, body) = record(&device(0), 1);
    writeln!(std::io::stdout(), "A record has {} readings and {} bytes.", readings.len(), body.len())?;
    divan::main();
    Ok(())
}

/// Records per second, each durable before its step is answered; every agent sends its next step when the one
/// before is answered. Each record has four readings, of one of the agent's ten devices in turn.
#[divan::bench(args = LOADS, sample_count = 12, sample_size = 1)]
fn durable_records(bencher: Bencher<'_, '_>, (agents, records): (usize, usize)) {
    let world = World::new();
    let agents = (0..agents).map(|at| world.agent(at)).collect();
    run_rounds(bencher, &world.runtime, agents, records);
}

/// For comparison: the same records from the same agents, appended to one file and synced in groups.
#[divan::bench(args = LOADS, sample_count = 12, sample_size = 1)]
fn durable_records_raw_file(bencher: Bencher<'_, '_>, (agents, records): (usize, usize)) {
    let folder = folder();
    let log = RawLog::open(folder.path());
    let agents = (0..agents).map(|at| Agent::new(at, Log::Raw(log.clone()))).collect();
    run_rounds(bencher, &runtime(), agents, records);
}

/// What an acknowledgement of Redis waits for, and the load.
const REDIS_LOADS: [(Kept, usize, usize); 8] = [
    (Kept::Memory, 1, 10),
    (Kept::Memory, 50, 10),
    (Kept::Memory, 50, 100),
    (Kept::Memory, 1_000, 1),
    (Kept::Replicated, 50, 10),
    (Kept::Replicated, 50, 100),
    (Kept::Fsync, 50, 10),
    (Kept::Fsync, 50, 100),
];

/// As `durable_records`, through the engine on Redis.
#[divan::bench(args = REDIS_LOADS, sample_count = 12, sample_size = 1)]
fn redis_records(bencher: Bencher<'_, '_>, (kept, agents, records): (Kept, usize, usize)) {
    let world = World::on_redis(kept);
    let agents = (0..agents).map(|at| world.agent(at)).collect();
    run_rounds(bencher, &world.runtime, agents, records);
}

/// For comparison: the same records from the same agents, one bare XADD a step, pipelined as deeply.
#[divan::bench(args = REDIS_LOADS, sample_count = 12, sample_size = 1)]
fn redis_records_raw_xadd(bencher: Bencher<'_, '_>, (kept, agents, records): (Kept, usize, usize)) {
    let servers = Servers::start(kept);
    let log = RawStream::open(servers.master.address(), kept == Kept::Replicated);
    let agents = (0..agents).map(|at| Agent::new(at, Log::RawStream(log.clone()))).collect();
    run_rounds(bencher, &runtime(), agents, records);
}

fn run_rounds(bencher: Bencher<'_, '_>, runtime: &Runtime, mut agents: Vec<Agent>, records: usize) {
    let total = agents.len() * STEPS_PER_ROUND * records;
    bencher.counter(ItemsCount::new(total)).bench_local(|| {
        let mut rounds = JoinSet::new();
        for mut agent in agents.drain(..) {
            rounds.spawn_on(
                async move {
                    for _ in 0..STEPS_PER_ROUND {
                        agent.step(records).await;
                    }
                    agent
                },
                runtime.handle(),
            );
        }
        agents = runtime.block_on(rounds.join_all());
    });
}

/// One published entry taken by every reader of its room.
#[divan::bench(args = [1, 100])]
fn fan_out_of_one_entry(bencher: Bencher<'_, '_>, readers: usize) {
    let items = broadcast::Sender::new(64);
    let mut feeds: Vec<Feed> = (0..readers).map(|_| Feed::new(Position::START, items.subscribe())).collect();
    let entry = LoggedEntry {
        position: Position { offset: Offset(1), stamp: Stamp(1) },
        previous: Stamp(0),
        device: Some(device(0)),
        kind: EntryKind::Telemetry,
        bytes: record(&device(0), 0).1,
    };
    bencher.counter(ItemsCount::new(readers)).bench_local(|| {
        items.send(FeedItem::Entries(Arc::from([entry.clone()]))).expect("there are readers");
        for feed in &mut feeds {
            let item = feed.try_next();
            assert!(matches!(divan::black_box(item), Some(FeedItem::Entries(_))));
        }
    });
}

/// One record from a step's request until every reader of its room has it; the disk's sync included.
#[divan::bench(args = [1, 100], sample_count = 50, sample_size = 1)]
fn step_of_one_record_to_all_readers(bencher: Bencher<'_, '_>, readers: usize) {
    let world = World::new();
    let mut agent = world.agent(0);
    let backbone = world.backbone.clone();
    let subscribe = || world.runtime.block_on(backbone.subscribe(&agent.id.room)).expect("the backbone is up");
    let mut feeds: Vec<Feed> = (0..readers).map(|_| subscribe()).collect();
    bencher.bench_local(|| {
        world.runtime.block_on(async {
            agent.step(1).await;
            for feed in &mut feeds {
                assert!(matches!(feed.next().await, FeedItem::Entries(_)));
            }
        });
    });
}

/// Entries per second that one reader fetches from the log, 512 at a time.
#[divan::bench(args = [(false, 1_000), (false, 10), (true, 1_000), (true, 10)], sample_count = 20, sample_size = 1)]
fn catching_up_from_the_log(bencher: Bencher<'_, '_>, (on_redis, records_a_step): (bool, usize)) {
    let world = if on_redis { World::on_redis(Kept::Memory) } else { World::new() };
    let mut agent = world.agent(0);
    world.runtime.block_on(async {
        for _ in 0..20_000 / records_a_step {
            agent.step(records_a_step).await;
        }
    });
    bencher.counter(ItemsCount::new(20_000usize)).bench_local(|| {
        world.runtime.block_on(async {
            let limit = ReadLimit { entries_max: 512, bytes_max: usize::MAX };
            let mut at = Position::START;
            loop {
                let read = world.backbone.read_after(&agent.id.room, at, limit).await.expect("the backbone is up");
                let LogRead::Entries(entries) = read else { panic!("nothing was trimmed") };
                match entries.last() {
                    Some(last) => at = last.position,
                    None => break,
                }
            }
        });
    });
}

struct World {
    runtime: Runtime,
    backbone: Arc<dyn Backbone>,
    _servers: Option<Servers>,
    _folder: Option<TempDir>,
}

impl World {
    fn new() -> World {
        let folder = folder();
        let options = EmbeddedOptions::new(folder.path().to_owned(), Arc::new(|| UnixMicros(0)), random());
        let backbone = EmbeddedBackbone::open(options).expect("an empty folder");
        World { runtime: runtime(), backbone: Arc::new(backbone), _servers: None, _folder: Some(folder) }
    }

    fn on_redis(kept: Kept) -> World {
        let servers = Servers::start(kept);
        let options = RedisOptions::new(servers.master.url(), Arc::new(|| UnixMicros(0)), random());
        let durability = match kept {
            Kept::Memory => Durability::Memory,
            Kept::Replicated => Durability::Replicated { replicas: 1 },
            Kept::Fsync => Durability::Fsync,
        };
        let runtime = runtime();
        let options = RedisOptions { durability, ..options };
        let opened = runtime.block_on(RedisBackbone::open(options, &Supervisor::new()));
        let backbone = Arc::new(opened.expect("Redis is fit"));
        World { runtime, backbone, _servers: Some(servers), _folder: None }
    }

    fn agent(&self, at: usize) -> Agent {
        let mut agent = Agent::new(at, Log::Backbone(Arc::clone(&self.backbone)));
        let epochs = [Epoch(1)];
        let opened = self.runtime.block_on(self.backbone.open_session(&agent.id, agent.session, &epochs));
        let Ok(Opened::Granted(ledger)) = opened else { panic!("the backbone is up") };
        agent.ledger = Arc::from(ledger);
        agent
    }
}

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Memory,
    Replicated,
    Fsync,
}

/// A Redis that is set up for this, with a replica where it takes one.
struct Servers {
    master: Redis,
    _replica: Option<Redis>,
    _folder: TempDir,
}

impl Servers {
    fn start(kept: Kept) -> Servers {
        let folder = folder();
        let synced: &[&str] = if kept == Kept::Fsync { &["appendonly yes", "appendfsync always"] } else { &[] };
        let master = Redis::start_with(&folder.path().join("master"), synced).expect("redis-server is installed");
        let replica = (kept == Kept::Replicated)
            .then(|| master.start_replica(&folder.path().join("replica"), None).expect("the master is there"));
        Servers { master, _replica: replica, _folder: folder }
    }
}

fn random() -> lockgate_gateway::backbone::Random {
    let source = SystemRandom::new();
    Box::new(move |buffer| source.fill(buffer).map_err(|_| lockgate_gateway::backbone::RandomFailed))
}

fn folder() -> TempDir {
    TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("target/tmp can be written")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads")
}

/// Where an agent's records go.
enum Log {
    Backbone(Arc<dyn Backbone>),
    Raw(RawLog),
    RawStream(RawStream),
}

struct Agent {
    log: Log,
    id: AgentId,
    session: SessionId,
    ledger: Arc<Ledger>,
    n: u64,
    seq: Seq,
}

impl Agent {
    fn new(at: usize, log: Log) -> Agent {
        let room = RoomId {
            tenant: Tenant::new("acme").expect("a name"),
            site: Site::new(format!("plant-{at}")).expect("a name"),
        };
        let id = AgentId { room, agent: AgentName::new("pi").expect("a name") };
        Agent { log, id, session: SessionId(1), ledger: Arc::default(), n: 0, seq: Seq::NONE }
    }

    async fn step(&mut self, records: usize) {
        let entries: Arc<[NewEntry]> = (0..records).map(|_| self.entry()).collect();
        self.n += 1;
        match &self.log {
            Log::Backbone(backbone) => {
                let step = Step { session: self.session, n: self.n, ledger: Arc::clone(&self.ledger), entries };
                assert_eq!(backbone.step(&self.id, &step).await, Ok(Stepped::Done));
            }
            Log::RawStream(log) => {
                let records: Vec<&[u8]> = entries.iter().map(|entry| &entry.body[..]).collect();
                log.append(&self.id.room, records.concat()).await;
            }
            Log::Raw(log) => log.append(entries.iter().map(|entry| entry.body.clone()).collect()).await,
        }
    }

    fn entry(&mut self) -> NewEntry {
        self.seq = self.seq.next();
        Arc::make_mut(&mut self.ledger).store(Epoch(1), Lane::Telemetry, self.seq);
        let device = device(usize::try_from(self.seq.get()).expect("64 bits") % DEVICES_PER_AGENT);
        let (readings, body) = record(&device, self.seq.get());
        NewEntry {
            received_at: UnixMicros(1_700_000_000_000_000),
            origin: Some(Origin {
                agent: self.id.agent.clone(),
                epoch: Epoch(1),
                epoch_order: 1,
                lane: Lane::Telemetry,
                seq: self.seq,
                backlog: false,
            }),
            kind: EntryKind::Telemetry,
            device: Some(device),
            body,
            shadow: readings.into_iter().map(ShadowUpdate::Metric).collect(),
        }
    }
}

fn device(at: usize) -> DeviceName {
    DeviceName::new(format!("device-{at}")).expect("a name")
}

#[allow(clippy::cast_precision_loss, reason = "any number will do")]
fn record(device: &DeviceName, count: u64) -> (Vec<Reading>, bytes::Bytes) {
    let readings: Vec<Reading> = METRICS
        .iter()
        .map(|metric| Reading {
            metric: MetricName::new(metric).expect("a name"),
            unit: Some("Cel".into()),
            value: Value::Number(count as f64 / 7.0),
            sampled_at: UnixMicros(1_700_000_000_000_000),
            quality: Quality::Good,
        })
        .collect();
    let telemetry = Telemetry { device: device.clone(), readings: readings.clone(), historical: false };
    (readings, encode_record(&Record::Telemetry(telemetry)))
}
