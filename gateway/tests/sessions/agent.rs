//! A scripted agent: says what a test wants it to say.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::command::JournalMark;
use lockgate_proto::convert::{decode_gateway_frame, encode_agent_frame, encode_record};
use lockgate_proto::description::Description;
use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ids::{AgentName, DeviceName, MetricName, Site};
use lockgate_proto::link::frame::{
    AgentFrame, EpochHeld, GatewayFrame, Hello, LaneHeld, Publish, SequencedRecord, Welcome,
};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::dial::{DialError, Dialer};
use lockgate_runtime::link::{Closed, Link, LinkOptions, Received};
use lockgate_runtime::tls::Trust;
use tokio::time::timeout;

use crate::world::{PATIENCE, World};

pub(crate) struct Agent {
    pub(crate) link: Link,
    name: AgentName,
    site: Option<Site>,
    epoch: Epoch,
    journal: Option<JournalMark>,
    next: u64,
    settled: RangeSet,
}

pub(crate) async fn dial(world: &World, token: Option<&str>) -> Result<Link, DialError> {
    dial_at(world.bound.listen, token).await
}

pub(crate) async fn dial_at(address: SocketAddr, token: Option<&str>) -> Result<Link, DialError> {
    let url = format!("ws://{address}").parse().unwrap();
    Dialer::new(url, "/v1/edge", "lockgate.edge.v1", LinkOptions::edge_at_agent(), Trust::default())
        .unwrap()
        .dial(token)
        .await
}

/// An encoded record of a device: of each of these metrics one number, or as many bytes.
pub(crate) fn record(device: &str, metrics: &[&str], value: &Value) -> Bytes {
    let reading = |metric: &&str| Reading {
        metric: MetricName::new(metric).unwrap(),
        unit: Some(Arc::from("m")),
        value: value.clone(),
        sampled_at: UnixMicros(1_750_000_000_000_000),
        quality: Quality::Good,
    };
    encode_record(&Record::Telemetry(Telemetry {
        device: DeviceName::new(device).unwrap(),
        readings: metrics.iter().map(reading).collect(),
        historical: false,
    }))
}

impl Agent {
    /// Connects with its own token and waits for the Welcome.
    pub(crate) async fn connect(world: &World, name: &str, epoch: u64) -> Agent {
        let mut agent = Agent::dialled(world, name, epoch).await;
        agent.hello().await;
        agent.welcome().await;
        agent
    }

    pub(crate) async fn dialled(world: &World, name: &str, epoch: u64) -> Agent {
        let link = dial(world, Some(&world.agent_token(name))).await.unwrap();
        let name = AgentName::new(name).unwrap();
        Agent { link, name, site: None, epoch: Epoch(epoch), journal: None, next: 1, settled: RangeSet::new() }
    }

    /// From now on it says that it is another.
    pub(crate) fn call_itself(&mut self, name: &str) {
        self.name = AgentName::new(name).unwrap();
    }

    /// From now on it says that it is of this site.
    pub(crate) fn place_itself(&mut self, site: &str) {
        self.site = Some(Site::new(site).unwrap());
    }

    /// From now on it takes commands.
    pub(crate) fn keep_journal(&mut self, journal: JournalMark) {
        self.journal = Some(journal);
    }

    pub(crate) async fn hello(&mut self) {
        let lanes = [LaneHeld::default(), LaneHeld::default()];
        let hello = Hello {
            agent: self.name.clone(),
            site: self.site.clone(),
            epochs: vec![EpochHeld { epoch: self.epoch, lanes }],
            clock: None,
            build: "test".into(),
            capabilities: Vec::new(),
            gaps: Vec::new(),
            journal: self.journal,
        };
        self.say(&AgentFrame::Hello(hello)).await;
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        match self.hear().await {
            GatewayFrame::Welcome(welcome) => welcome,
            other => panic!("a Welcome was expected: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, frame: &AgentFrame) {
        self.link.send(encode_agent_frame(frame)).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> GatewayFrame {
        match timeout(PATIENCE, self.link.receive()).await.unwrap().unwrap() {
            Received::Message(frame) => decode_gateway_frame(frame).unwrap().unwrap(),
            Received::Closed(closed) => panic!("the gateway closed: {closed}"),
        }
    }

    /// Sends one record of each value, and does not wait.
    pub(crate) async fn publish(&mut self, device: &str, values: impl IntoIterator<Item = Value>) {
        self.publish_records(values.into_iter().map(|value| record(device, &["level"], &value))).await;
    }

    /// Sends one record with this number for each of these metrics, and waits until it is acknowledged.
    pub(crate) async fn publish_metrics(&mut self, device: &str, metrics: &[&str], number: i64) {
        self.publish_records([record(device, metrics, &Value::Integer(number))]).await;
        self.acknowledged().await;
    }

    /// Describes a device, and waits until that is acknowledged.
    pub(crate) async fn describe(&mut self, description: Description) {
        self.publish_records([encode_record(&Record::Description(description))]).await;
        self.acknowledged().await;
    }

    async fn publish_records(&mut self, encoded: impl IntoIterator<Item = Bytes>) {
        let mut records = Vec::new();
        for record in encoded {
            records.push(SequencedRecord { seq: Seq::new(self.next), record });
            self.next += 1;
        }
        let (epoch, last) = (self.epoch, Seq::new(self.next - 1));
        let publish = Publish { epoch, lane: Lane::Telemetry, records, backlog: false, gaps: Vec::new(), last };
        self.say(&AgentFrame::Publish(publish)).await;
    }

    /// Tells the next number as lost.
    pub(crate) async fn lose_next(&mut self) {
        let (epoch, lane, last) = (self.epoch, Lane::Telemetry, Seq::new(self.next));
        let range = SeqRange::one(last).unwrap();
        let gap = Gap { epoch, lane, range, reason: GapReason::Evicted, span: TimeSpan::default() };
        self.next += 1;
        let publish = Publish { epoch, lane, records: Vec::new(), backlog: false, gaps: vec![gap], last };
        self.say(&AgentFrame::Publish(publish)).await;
    }

    /// Waits until all that was sent is acknowledged.
    pub(crate) async fn acknowledged(&mut self) {
        let all = SeqRange::new(Seq::FIRST, Seq::new(self.next - 1)).unwrap();
        while !self.settled.contains_range(all) {
            let GatewayFrame::Ack(ack) = self.hear().await else { continue };
            for (_, set) in ack.epochs.iter().flat_map(|epoch| &epoch.lanes) {
                self.settled.union_with(set);
            }
        }
    }

    pub(crate) async fn publish_numbers(&mut self, device: &str, numbers: std::ops::RangeInclusive<i64>) {
        self.publish(device, numbers.map(Value::Integer)).await;
        self.acknowledged().await;
    }

    pub(crate) async fn closed(mut self) -> Closed {
        closed(&mut self.link).await
    }
}

/// How the gateway closed, whatever it said before.
pub(crate) async fn closed(link: &mut Link) -> Closed {
    let end = async {
        loop {
            match link.receive().await.unwrap() {
                Received::Message(_) => {}
                Received::Closed(closed) => return closed,
            }
        }
    };
    timeout(PATIENCE, end).await.unwrap()
}
