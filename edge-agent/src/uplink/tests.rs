//! The shell against a scripted gateway: what was taken before the clock was set arrives with the right
//! time; what is acknowledged is freed; an agent that stops waits for what is under way.

use lockgate_codec::{Decoded, Output};
use lockgate_proto::convert::{decode_agent_frame, decode_record, encode_gateway_frame};
use lockgate_proto::ids::{AgentName, DeviceName, MetricName, SessionId, Site};
use lockgate_proto::link::agent::AgentConfig;
use lockgate_proto::link::frame::{
    Ack, AgentFrame, EpochSettled, GatewayFrame, Hello, LinkLimits, Publish, Reject, Welcome,
};
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::Record;
use lockgate_proto::seq::{Epoch, Lane};
use lockgate_proto::time::{MonoTime, UnixMicros};
use lockgate_runtime::clock::{Clock, ManualClock};
use lockgate_runtime::link::Received;
use lockgate_runtime::tls::Trust;
use tokio::sync::mpsc;

mod commands;

use super::*;
use crate::commands::testing::{self, Passed};
use crate::commands::{Hands, Job};
use crate::ingest::Outage;
use crate::queue::storage::fake::FakeDisk;
use crate::source::status::{StatusBoard, StatusReporter};
use crate::testing::{BOOT, Bench, NO_SYNC, within_patience};

const BOOTED: MonoTime = MonoTime(Duration::from_secs(30));
const TODAY: UnixMicros = UnixMicros(1_764_000_000_000_000);
const SECOND: i64 = 1_000_000;

/// The gateway's end of one connection.
struct Gateway {
    link: Link,
    stored: RangeSet,
    /// What was taken before this it does not want.
    horizon: Option<UnixMicros>,
}

impl Gateway {
    async fn hear(&mut self) -> Option<AgentFrame> {
        match self.link.receive().await.unwrap() {
            Received::Message(bytes) => decode_agent_frame(bytes).unwrap(),
            Received::Closed(_) => None,
        }
    }

    async fn say(&mut self, frame: GatewayFrame) {
        self.link.send(encode_gateway_frame(&frame)).await.unwrap();
    }

    /// Takes the Hello, and lets the agent in at this time.
    async fn welcome(&mut self, server_time: UnixMicros) -> Hello {
        let Some(AgentFrame::Hello(hello)) = self.hear().await else { panic!("a Hello comes first") };
        let epochs = vec![self.settled()];
        let (session, limits, retention_horizon) = (SessionId(1), LinkLimits::default(), self.horizon);
        let journal_heard = None;
        let welcome = Welcome { session, epochs, retention_horizon, server_time, limits, journal_heard };
        self.say(GatewayFrame::Welcome(welcome)).await;
        hello
    }

    fn settled(&self) -> EpochSettled {
        EpochSettled { epoch: Epoch(42), lanes: vec![(Lane::Telemetry, self.stored.clone())] }
    }

    /// The next records of telemetry; pings are answered.
    async fn publish(&mut self, server_time: UnixMicros) -> Publish {
        loop {
            match self.hear().await {
                Some(AgentFrame::Publish(publish)) if !publish.records.is_empty() => return publish,
                Some(AgentFrame::Publish(_)) => {}
                Some(AgentFrame::Ping { id }) => self.say(GatewayFrame::Pong { id, server_time }).await,
                other => panic!("{other:?} instead of records"),
            }
        }
    }

    async fn ack(&mut self, publish: &Publish) {
        for record in &publish.records {
            self.stored.insert_one(record.seq);
        }
        let epochs = vec![self.settled()];
        self.say(GatewayFrame::Ack(Ack { epochs, limits: None, retry_after: None })).await;
    }

    /// Readings until there are so many, each acknowledged.
    async fn readings(&mut self, count: usize, server_time: UnixMicros) -> Vec<Reading> {
        let mut readings = Vec::new();
        while readings.len() < count {
            let publish = self.publish(server_time).await;
            for record in &publish.records {
                let Record::Telemetry(telemetry) = decode_record(record.record.clone()).unwrap() else { continue };
                readings.extend(telemetry.readings);
            }
            self.ack(&publish).await;
        }
        readings
    }
}

struct World {
    bench: Bench,
    hand: ManualClock,
    uplink: Uplink,
    status: StatusReporter,
    /// What devices are told.
    jobs: mpsc::Receiver<Job>,
}

impl World {
    fn new(wall: UnixMicros) -> World {
        World::with_gateways(wall, &["ws://127.0.0.1:1"])
    }

    fn with_gateways(wall: UnixMicros, urls: &[&str]) -> World {
        let (clock, hand) = Clock::manual(BOOTED, wall);
        let bench = Bench::new(clock, NO_SYNC);
        let (agent, site) = (AgentName::new("a").unwrap(), Site::new("plant").unwrap());
        let link = AgentLink::new(AgentConfig { agent, site, build: "test".to_owned() });
        let config = UplinkConfig {
            url: urls[0].parse().unwrap(),
            other_urls: urls[1..].iter().map(|url| url.parse().unwrap()).collect(),
            token: crate::config::Secret::Text("t".to_owned()),
            trust: Trust::default(),
        };
        let (passed, jobs) = mpsc::channel(16);
        let hands: Box<dyn Hands> = Box::new(Passed(passed));
        let clock = bench.time.clock().clone();
        let (commands, _) = testing::start(&FakeDisk::default(), lockgate_proto::command::BootId(7), clock, hands);
        let uplink = Uplink::new(UplinkParts {
            config,
            link,
            queue: bench.queue.clone(),
            commands,
            dead_letters: bench.dead_letters.clone(),
            time: bench.time.clone(),
            boot: BOOT,
            status: watch::Sender::new(LinkStatus::default()),
        });
        World { bench, hand, uplink, status: StatusBoard::default().add("test"), jobs }
    }

    async fn take(&self, value: i64) {
        self.bench.ingest.take_or_count(heard(value, None), &self.status, &mut Outage::default()).await;
    }

    /// One connection that the gateway ends when its script says so, and what the uplink makes of that.
    async fn cut_after(&mut self, script: impl AsyncFnOnce(&mut Gateway)) {
        self.closed_with(CloseCode::IdleTimeout, script).await;
    }

    async fn closed_with(&mut self, code: CloseCode, script: impl AsyncFnOnce(&mut Gateway)) {
        let options = (LinkOptions::edge_at_agent(), LinkOptions::edge_at_gateway());
        let (near, far) = Link::pair(&options.0, &options.1).await;
        let mut gateway = Gateway { link: far, stored: RangeSet::new(), horizon: None };
        let stop = CancellationToken::new();
        let script = Box::pin(async {
            script(&mut gateway).await;
            gateway.link.close(code).await;
        });
        let session = Box::pin(self.uplink.session(near, &stop));
        let (end, ()) = within_patience(async { tokio::join!(session, script) }).await;
        self.uplink.after_session(&end);
    }

    /// One connection beside a gateway's script; told to stop when the script says so.
    async fn connect(&mut self, script: impl AsyncFnOnce(&mut Gateway, &CancellationToken)) -> End {
        let options = (LinkOptions::edge_at_agent(), LinkOptions::edge_at_gateway());
        let (near, far) = Link::pair(&options.0, &options.1).await;
        let gateway = Gateway { link: far, stored: RangeSet::new(), horizon: None };
        let stop = CancellationToken::new();
        let session = Box::pin(self.uplink.session(near, &stop));
        let script = Box::pin(async {
            let mut gateway = gateway;
            script(&mut gateway, &stop).await;
            stop.cancel();
            while gateway.hear().await.is_some() {}
            gateway.link.finish().await;
        });
        let (end, ()) = within_patience(async { tokio::join!(session, script) }).await;
        end
    }
}

/// What a device says; `time`: as it tells it.
fn heard(value: i64, time: Option<UnixMicros>) -> Vec<Output> {
    vec![Output::Reading(Decoded {
        device: DeviceName::new("tank").unwrap(),
        metric: MetricName::new("level").unwrap(),
        unit: None,
        value: Value::Integer(value),
        quality: Quality::Good,
        time,
        retained: false,
        historical: false,
    })]
}

fn off_by(reading: &Reading, expected: UnixMicros) -> i64 {
    (reading.sampled_at.0 - expected.0).abs()
}

#[tokio::test]
async fn readings_of_1970_arrive_with_their_right_time_once_it_is_known() {
    let mut world = World::new(UnixMicros(5 * SECOND));
    world.take(1).await;
    world.hand.advance(Duration::from_secs(600));
    world.take(2).await;
    world.hand.advance(Duration::from_secs(1));
    let mut readings = Vec::new();
    world
        .connect(async |gateway, _| {
            let hello = gateway.welcome(TODAY).await;
            assert_eq!(hello.clock, None);
            readings = gateway.readings(2, TODAY).await;
        })
        .await;
    assert!(off_by(&readings[0], TODAY.offset_by(-601 * SECOND)) <= 50_000, "{readings:?}");
    assert!(off_by(&readings[1], TODAY.offset_by(-SECOND)) <= 50_000, "{readings:?}");
    assert!(readings.iter().all(|reading| reading.quality == Quality::Good));
    world.take(3).await;
    let stored = world.bench.telemetry().await;
    assert!(off_by(&stored[2].readings[0], TODAY) <= 50_000, "from now on they are dated when they are taken");
}

#[tokio::test]
async fn what_a_device_dates_years_ago_is_sent_as_it_is_and_never_aged() {
    const YEARS_AGO: UnixMicros = UnixMicros(1_300_000_000_000_000);
    let mut world = World::new(UnixMicros(5 * SECOND));
    let (ingest, status) = (world.bench.ingest.clone(), StatusBoard::default().add("test"));
    ingest.take_or_count(heard(1, Some(YEARS_AGO)), &status, &mut Outage::default()).await;
    let mut readings = Vec::new();
    world
        .connect(async |gateway, _| {
            gateway.horizon = Some(TODAY.offset_by(-3_600 * SECOND));
            gateway.welcome(TODAY).await;
            readings = gateway.readings(1, TODAY).await;
            // By now the world's time is known when a reading is taken.
            ingest.take_or_count(heard(2, Some(YEARS_AGO.offset_by(2))), &status, &mut Outage::default()).await;
            readings.extend(gateway.readings(1, TODAY).await);
        })
        .await;
    let times: Vec<_> = readings.iter().map(|reading| reading.sampled_at).collect();
    assert_eq!(times, [YEARS_AGO, YEARS_AGO.offset_by(2)]);
    assert!(readings.iter().all(|reading| reading.quality == Quality::Good));
}

#[tokio::test]
async fn a_jump_of_the_systems_clock_moves_no_reading() {
    let mut world = World::new(TODAY.offset_by(3_600 * SECOND));
    // Taken while the system's clock is an hour ahead and nobody has said so.
    world.take(1).await;
    world.hand.advance(Duration::from_secs(10));
    let mut readings = Vec::new();
    let hand = world.hand.clone();
    let (ingest, status) = (world.bench.ingest.clone(), StatusBoard::default().add("test"));
    let clock = world.bench.time.clone();
    world
        .connect(async |gateway, _| {
            gateway.welcome(TODAY.offset_by(10 * SECOND)).await;
            readings = gateway.readings(1, TODAY.offset_by(10 * SECOND)).await;
            // In mid-run somebody sets it an hour back.
            hand.set_wall(TODAY.offset_by(-3_600 * SECOND));
            hand.advance(Duration::from_secs(5));
            ingest.take_or_count(heard(2, None), &status, &mut Outage::default()).await;
            readings.extend(gateway.readings(1, TODAY.offset_by(15 * SECOND)).await);
        })
        .await;
    assert!(off_by(&readings[0], TODAY) <= 50_000, "{readings:?}");
    assert!(off_by(&readings[1], TODAY.offset_by(15 * SECOND)) <= 50_000, "{readings:?}");
    assert!(clock.offset_to_gateway().is_some());
}

#[tokio::test]
async fn what_the_gateway_has_stored_is_settled_in_the_queue() {
    let mut world = World::new(TODAY);
    world.take(1).await;
    world.take(2).await;
    let end = world
        .connect(async |gateway, _| {
            gateway.welcome(TODAY).await;
            gateway.readings(2, TODAY).await;
        })
        .await;
    assert!(matches!(end, End::Stopped), "{end:?}");
    let stats = world.bench.queue.stats().await.unwrap();
    assert_eq!(stats.lanes[Lane::Telemetry.index()].unsettled, 0);
}

#[tokio::test]
async fn a_record_that_the_gateway_refuses_becomes_a_dead_letter() {
    let mut world = World::new(TODAY);
    world.take(1).await;
    world
        .connect(async |gateway, _| {
            gateway.welcome(TODAY).await;
            let publish = gateway.publish(TODAY).await;
            let (epoch, lane, seq) = (publish.epoch, publish.lane, publish.records[0].seq);
            gateway.say(GatewayFrame::Reject(Reject { epoch, lane, seq, reason: "too odd".to_owned() })).await;
            gateway.ack(&publish).await;
        })
        .await;
    let folder = world.bench.folder.path().join("dead-letters");
    // Another thread writes it, and nobody waits for that.
    let kept = loop {
        match crate::dead_letters::list(&folder).unwrap().pop() {
            Some(letter) => break letter,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!((kept.reason.as_str(), kept.input.is_empty()), ("rejected", false));
}

/// Where the agent goes first after a gateway has named these.
fn detour(world: &mut World, gateways: &[&str]) -> String {
    let gateways: Vec<String> = gateways.iter().map(|url| (*url).to_owned()).collect();
    world.uplink.detour(Duration::from_secs(1), &gateways);
    world.uplink.gateways.ended(world.uplink.parts.time.now(), Trouble::Passing, 1).address.to_string()
}

#[tokio::test]
async fn a_gateway_that_lets_us_in_and_dies_is_dialled_ever_more_slowly() {
    let mut world = World::new(TODAY);
    for attempts in 1..=4 {
        world.cut_after(async |gateway| drop(gateway.welcome(TODAY).await)).await;
        assert_eq!(world.uplink.gateways.attempts(), attempts);
    }
    world.take(1).await;
    let acknowledge = async |gateway: &mut Gateway| {
        gateway.welcome(TODAY).await;
        gateway.readings(1, TODAY).await;
    };
    world.cut_after(acknowledge).await;
    assert_eq!(world.uplink.gateways.attempts(), 3, "an acknowledgement is half a success");
    let hand = world.hand.clone();
    let stand = async |gateway: &mut Gateway| {
        gateway.welcome(TODAY).await;
        let Some(AgentFrame::Ping { .. }) = gateway.hear().await else { panic!("a Ping follows the Welcome") };
        hand.advance(lockgate_proto::gateways::STEADY);
    };
    world.cut_after(stand).await;
    assert_eq!(world.uplink.gateways.attempts(), 1, "and so is a connection that stood for a while");
}

#[tokio::test]
async fn who_is_refused_for_a_copy_begins_anew_after_a_while_and_loses_nothing() {
    let mut world = World::new(TODAY);
    world.take(1).await;
    let refuse = async |world: &mut World| {
        let mut epochs = Vec::new();
        world
            .closed_with(CloseCode::AgentTwice, async |gateway| {
                let Some(AgentFrame::Hello(hello)) = gateway.hear().await else { panic!("a Hello comes first") };
                epochs = hello.epochs;
            })
            .await;
        world.uplink.begin_anew_when_due().await;
        epochs.into_iter().map(|held| held.epoch).collect::<Vec<_>>()
    };
    assert_eq!(refuse(&mut world).await, [Epoch(42)]);
    assert_eq!(refuse(&mut world).await, [Epoch(42)], "not at once");
    world.hand.advance(Duration::from_secs(60));
    world.uplink.begin_anew_when_due().await;
    world.take(2).await;
    let mut values = Vec::new();
    world
        .cut_after(async |gateway| {
            let hello = gateway.welcome(TODAY).await;
            let [old, new] = &hello.epochs[..] else { panic!("{:?}", hello.epochs) };
            assert!(old.epoch == Epoch(42) && new.epoch != Epoch(42));
            while values.len() < 2 {
                let publish = gateway.publish(TODAY).await;
                values.push((publish.epoch == new.epoch, publish.records[0].seq.get()));
            }
        })
        .await;
    values.sort_unstable();
    assert_eq!(values, [(false, 1), (true, 1)], "the old epoch drains, the new one counts from 1");
}

#[tokio::test]
async fn a_gateway_that_leaves_names_where_to_go_and_nothing_less_safe_is_gone_to() {
    let mut world = World::new(TODAY);
    let gateways = ["nonsense", "ws://127.0.0.1:2", "wss://b.example.org"];
    assert_eq!(detour(&mut world, &gateways), "ws://127.0.0.1:2");
    let mut world = World::with_gateways(TODAY, &["wss://a.example.org"]);
    assert_eq!(detour(&mut world, &gateways), "wss://b.example.org");
}

async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn an_agent_finds_the_one_gateway_that_lets_it_in() {
    let (rude, rude_url) = listen().await;
    let (open, open_url) = listen().await;
    let world = World::with_gateways(TODAY, &["ws://127.0.0.1:1", &rude_url, &open_url]);
    let mut status = world.uplink.parts.status.subscribe();
    let stop = CancellationToken::new();
    let hang_up = async {
        loop {
            drop(rude.accept().await.unwrap());
        }
    };
    let let_in = async {
        let link = Link::accept(open.accept().await.unwrap().0, SUBPROTOCOL, &LinkOptions::edge_at_gateway()).await;
        let mut gateway = Gateway { link: link.unwrap(), stored: RangeSet::new(), horizon: None };
        gateway.welcome(TODAY).await;
        gateway.readings(1, TODAY).await;
        status.wait_for(|status| matches!(status, LinkStatus::Up { .. })).await.unwrap();
        stop.cancel();
        while gateway.hear().await.is_some() {}
        gateway.link.finish().await;
    };
    world.take(1).await;
    let running = within_patience(async { tokio::join!(world.uplink.run(stop.clone()), let_in).0 });
    tokio::select! {
        () = hang_up => {}
        ended = running => ended.unwrap(),
    }
}
