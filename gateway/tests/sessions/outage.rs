//! The backbone is away for a while: nothing is acknowledged, everyone stays connected and is told.

use std::sync::Arc;

use async_trait::async_trait;
use lockgate_gateway::backbone::{
    Backbone, BackboneError, BookRead, BookWrite, BookWritten, CommandFeed, CommandPage, CommandsWanted, DeviceShadow,
    DeviceSummary, Feed, Health, Holder, LogRead, LoggedEntry, NewEntry, Opened, ReadLimit, Snapshot, Step, Stepped,
};
use lockgate_proto::attendance::{Present, Sheet};
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::Position;
use lockgate_proto::reading::Value;
use lockgate_proto::seq::Epoch;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use tokio::sync::watch;

use crate::agent::Agent;
use crate::client::{Client, live, offsets};
use crate::world::{SITE, World};

/// A backbone that can be taken away. A step that meets its absence may have been stored all the same.
pub(crate) struct Fickle {
    pub(crate) inner: Arc<dyn Backbone>,
    pub(crate) health: watch::Sender<Health>,
}

impl Fickle {
    fn up(&self) -> Result<(), BackboneError> {
        match &*self.health.borrow() {
            Health::Up => Ok(()),
            Health::Down { reason } => Err(BackboneError::Unavailable { reason: reason.clone() }),
        }
    }
}

#[async_trait]
impl Backbone for Fickle {
    async fn open_session(
        &self,
        agent: &AgentId,
        session: SessionId,
        epochs: &[Epoch],
    ) -> Result<Opened, BackboneError> {
        self.up()?;
        self.inner.open_session(agent, session, epochs).await
    }

    async fn step(&self, agent: &AgentId, step: &Step) -> Result<Stepped, BackboneError> {
        // The answer is lost, not the step: that is the harder case.
        let stepped = self.inner.step(agent, step).await;
        self.up()?;
        stepped
    }

    async fn head(&self, room: &RoomId) -> Result<Position, BackboneError> {
        self.up()?;
        self.inner.head(room).await
    }

    async fn read_after(&self, room: &RoomId, after: Position, limit: ReadLimit) -> Result<LogRead, BackboneError> {
        self.up()?;
        self.inner.read_after(room, after, limit).await
    }

    async fn read_last(&self, room: &RoomId, limit: ReadLimit) -> Result<Vec<LoggedEntry>, BackboneError> {
        self.up()?;
        self.inner.read_last(room, limit).await
    }

    async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, BackboneError> {
        self.up()?;
        self.inner.snapshot(room).await
    }

    async fn shadow(
        &self,
        room: &RoomId,
        device: &DeviceName,
    ) -> Result<(Position, Option<DeviceShadow>), BackboneError> {
        self.up()?;
        self.inner.shadow(room, device).await
    }

    async fn description(&self, room: &RoomId, device: &DeviceName) -> Result<Option<Description>, BackboneError> {
        self.up()?;
        self.inner.description(room, device).await
    }

    async fn devices(&self, room: &RoomId) -> Result<Vec<DeviceSummary>, BackboneError> {
        self.up()?;
        self.inner.devices(room).await
    }

    async fn ledgers(&self, room: &RoomId) -> Result<Vec<(AgentName, Ledger)>, BackboneError> {
        self.up()?;
        self.inner.ledgers(room).await
    }

    async fn append(&self, room: &RoomId, entries: &[NewEntry]) -> Result<(), BackboneError> {
        self.up()?;
        self.inner.append(room, entries).await
    }

    async fn attend(&self, room: &RoomId, sheet: &Sheet) -> Result<(), BackboneError> {
        self.up()?;
        self.inner.attend(room, sheet).await
    }

    async fn present(&self, room: &RoomId) -> Result<Vec<Present>, BackboneError> {
        self.up()?;
        self.inner.present(room).await
    }

    async fn expire_attendance(&self) -> Result<(), BackboneError> {
        self.up()?;
        self.inner.expire_attendance().await
    }

    async fn book(&self, room: &RoomId, holder: &Holder, ids: &[CommandId]) -> Result<BookRead, BackboneError> {
        self.up()?;
        self.inner.book(room, holder, ids).await
    }

    async fn write_book(&self, room: &RoomId, write: &BookWrite) -> Result<BookWritten, BackboneError> {
        // As with a step.
        let written = self.inner.write_book(room, write).await;
        self.up()?;
        written
    }

    async fn command(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        self.up()?;
        self.inner.command(room, id).await
    }

    async fn commands(&self, room: &RoomId, wanted: &CommandsWanted) -> Result<CommandPage, BackboneError> {
        self.up()?;
        self.inner.commands(room, wanted).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError> {
        self.up()?;
        self.inner.overdue(max).await
    }

    async fn command_feed(&self, room: &RoomId) -> Result<CommandFeed, BackboneError> {
        self.up()?;
        self.inner.command_feed(room).await
    }

    async fn subscribe(&self, room: &RoomId) -> Result<Feed, BackboneError> {
        self.up()?;
        self.inner.subscribe(room).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_and_when_it_is_over_all_goes_on_without_loss_or_double() {
    let (health, _) = watch::channel(Health::Up);
    let told = health.clone();
    let world = World::with(|_| {}, |inner| Arc::new(Fickle { inner, health: told }));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    agent.publish_numbers("pump", 1..=3).await;
    assert_eq!(offsets(&client.entries(3).await), [1, 2, 3]);

    health.send_replace(Health::Down { reason: "unplugged".into() });
    let Body::Degraded(degraded) = client.hear().await else { panic!("the client is told") };
    assert!(degraded.degraded && degraded.reason == "unplugged");
    let ready = world.get("/readyz").await;
    assert!(ready.status == 503 && ready.body.contains("unplugged"), "{}", ready.body);
    let unavailable = client.refused(Request::GetLoss(wire::GetLoss { site: SITE.into() })).await;
    assert!(unavailable.code() == wire::ErrorCode::Unavailable && unavailable.retry_after_ms > 0);
    agent.publish("pump", (4..=6).map(Value::Integer)).await;
    let failures = "lockgate_gateway_backbone_failures_total";
    while world.figure(failures).await < 3.0 {
        tokio::task::yield_now().await;
    }

    health.send_replace(Health::Up);
    agent.acknowledged().await;
    let mut entries = Vec::new();
    while entries.len() < 3 {
        match client.hear().await {
            Body::Delivery(delivery) => entries.extend(delivery.entries),
            Body::Degraded(back) => assert!(!back.degraded),
            Body::Positions(_) => {}
            other => panic!("entries were expected: {other:?}"),
        }
    }
    assert_eq!(offsets(&entries), [4, 5, 6]);
    assert_eq!(world.get("/readyz").await.status, 200);
}
