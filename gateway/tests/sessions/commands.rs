//! Commands on the edge link: what an agent is told and asked, and what of it is stored. They are ordered as another
//! gateway would: in the backbone.

use std::sync::Arc;

use lockgate_gateway::backbone::{Backbone, BookWrite, BookWritten, CommandNews, Health, Holder, LogRead, ReadLimit};
use lockgate_proto::command::{
    Book, BootId, Command, CommandId, CommandUpdates, Confirm, Fields, JournalHeard, JournalId, JournalMark, Kept,
    Order, Outcome, Priority, Report, State,
};
use lockgate_proto::convert::decode_entry;
use lockgate_proto::entry::EntryBody;
use lockgate_proto::ids::{AgentName, CommandName, DeviceName, RoomId, Site, Tenant, UserName};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::{AgentFrame, GatewayFrame};
use lockgate_proto::position::Position;
use lockgate_proto::reading::Value;
use lockgate_proto::time::UnixMicros;
use tokio::sync::watch;

use crate::agent::Agent;
use crate::outage::Fickle;
use crate::world::{SITE, TENANT, World};

const MINUTE_US: i64 = 60_000_000;

/// A gateway, and the backbone that it works on.
struct Scene {
    world: World,
    backbone: Arc<dyn Backbone>,
    room: RoomId,
}

impl Scene {
    fn new() -> Scene {
        Scene::over(|backbone| backbone)
    }

    /// The gateway sees the backbone as it is wrapped; the scene sees it as it is.
    fn over(wrap: impl FnOnce(Arc<dyn Backbone>) -> Arc<dyn Backbone>) -> Scene {
        let mut kept = None;
        let world = World::with(
            |_| {},
            |backbone| {
                kept = Some(Arc::clone(&backbone));
                wrap(backbone)
            },
        );
        let room = RoomId { tenant: Tenant::new(TENANT).unwrap(), site: Site::new(SITE).unwrap() };
        Scene { world, backbone: kept.unwrap(), room }
    }

    /// Changes a book as another gateway would.
    async fn change(&self, holder: &Holder, change: impl Fn(UnixMicros, &mut Book)) {
        loop {
            let read = self.backbone.book(&self.room, holder, &[]).await.unwrap();
            let mut book = read.book.clone();
            change(read.now, &mut book);
            let is_new = |kept: &&Kept| read.book.commands.get(&kept.command.id) != Some(*kept);
            let commands: Vec<Kept> = book.commands.values().filter(is_new).cloned().collect();
            let news = |kept: &Kept| CommandNews { holder: holder.clone(), update: Some(kept.update()) };
            let write = BookWrite {
                at: read.now,
                versions: read.versions,
                mark: None,
                news: commands.iter().map(news).collect(),
                commands: commands.into_iter().map(|kept| (holder.clone(), kept)).collect(),
            };
            if self.backbone.write_book(&self.room, &write).await.unwrap() == BookWritten::Done {
                return;
            }
        }
    }

    async fn order(&self, holder: &Holder, id: &str, device: &str) {
        self.change(holder, |now, book| {
            book.accept(now, command(id, device, now.offset_by(MINUTE_US)), holder.is_some()).unwrap();
        })
        .await;
    }

    async fn state(&self, id: &str) -> State {
        let kept = self.backbone.command(&self.room, &CommandId::new(id).unwrap()).await.unwrap();
        kept.unwrap().standing.state
    }

    /// Connects an agent that takes commands.
    async fn agent(&self, epoch: u64, length: u64) -> (Agent, Option<JournalHeard>) {
        let mut agent = Agent::dialled(&self.world, "pi", epoch).await;
        agent.keep_journal(JournalMark { id: JournalId(7), boot: BootId(1), length, forgotten: 0 });
        agent.hello().await;
        let heard = agent.welcome().await.journal_heard;
        (agent, heard)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a holder may be nobody; this one is somebody")]
fn pi() -> Holder {
    Some(AgentName::new("pi").unwrap())
}

fn command(id: &str, device: &str, deadline: UnixMicros) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        device: DeviceName::new(device).unwrap(),
        name: CommandName::new("open").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline,
        sender: UserName::new("ann").unwrap(),
    }
}

async fn dispatched(agent: &mut Agent) -> Vec<Order> {
    loop {
        match agent.hear().await {
            GatewayFrame::Dispatch(dispatch) => return dispatch.orders,
            GatewayFrame::Ack(_) => {}
            other => panic!("commands were expected: {other:?}"),
        }
    }
}

/// The only order that comes.
async fn order(agent: &mut Agent) -> (String, bool) {
    let orders = dispatched(agent).await;
    assert_eq!(orders.len(), 1, "{orders:?}");
    (orders[0].command.id.to_string(), orders[0].cancel)
}

/// Tells of the next change in the journal, and waits until that is stored.
async fn tell(agent: &mut Agent, position: u64, id: &str, state: State, command: Option<Command>) {
    let report = Report { id: CommandId::new(id).unwrap(), position, state, command };
    let (after, through) = (position - 1, position);
    let updates = CommandUpdates { after, through, reports: vec![report], ..CommandUpdates::default() };
    agent.say(&AgentFrame::CommandUpdates(updates)).await;
    match agent.hear().await {
        GatewayFrame::CommandConfirm(Confirm { through }) => assert_eq!(through, position),
        other => panic!("a confirmation was expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_goes_to_its_agent_at_once_and_its_outcome_is_stored() {
    let scene = Scene::new();
    let (mut agent, heard) = scene.agent(1, 0).await;
    assert_eq!(heard, Some(JournalHeard { through: 0, put_back: false }));
    scene.order(&pi(), "a", "pump").await;
    let orders = dispatched(&mut agent).await;
    assert_eq!(orders.len(), 1);
    assert_eq!(scene.state("a").await, State::Dispatched, "it is stored before the bytes leave");
    tell(&mut agent, 1, "a", State::Delivered, None).await;
    assert_eq!(scene.state("a").await, State::Delivered);
    let success = State::Ended(Outcome::Succeeded(Fields::default()));
    tell(&mut agent, 2, "a", success.clone(), Some(orders[0].command.clone())).await;
    assert_eq!(scene.state("a").await, success);
    // Nothing of that is said again to whoever speaks for the agent next.
    let (mut again, heard) = scene.agent(2, 2).await;
    assert_eq!(heard, Some(JournalHeard { through: 2, put_back: false }));
    scene.order(&pi(), "b", "pump").await;
    assert_eq!(order(&mut again).await, ("b".to_owned(), false));
    assert_eq!(agent.closed().await.code(), Some(CloseCode::SessionLost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ordered_while_an_agent_was_away_waits_for_it() {
    let scene = Scene::new();
    scene.order(&pi(), "a", "pump").await;
    let (mut agent, _) = scene.agent(1, 0).await;
    assert_eq!(order(&mut agent).await, ("a".to_owned(), false));
    // Its link breaks before it has said anything; in the same boot it gets the command again.
    drop(agent);
    let (mut agent, _) = scene.agent(2, 0).await;
    assert_eq!(order(&mut agent).await, ("a".to_owned(), false));
    tell(&mut agent, 1, "a", State::Delivered, None).await;
    // A wish that it be withdrawn has no state of its own, and is dispatched all the same.
    let id = CommandId::new("a").unwrap();
    scene.change(&pi(), |now, book| drop(book.cancel(now, &id))).await;
    assert_eq!(order(&mut agent).await, ("a".to_owned(), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_a_device_that_nobody_knew_goes_to_whoever_tells_of_it() {
    let scene = Scene::new();
    scene.order(&None, "a", "pump").await;
    scene.order(&None, "b", "valve").await;
    let (mut agent, _) = scene.agent(1, 0).await;
    agent.publish("pump", [Value::Integer(1)]).await;
    assert_eq!(order(&mut agent).await, ("a".to_owned(), false));
    agent.publish("valve", [Value::Integer(1)]).await;
    assert_eq!(order(&mut agent).await, ("b".to_owned(), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_a_journal_is_told_of_no_commands() {
    let scene = Scene::new();
    scene.order(&pi(), "a", "pump").await;
    let mut agent = Agent::dialled(&scene.world, "pi", 1).await;
    agent.hello().await;
    assert_eq!(agent.welcome().await.journal_heard, None);
    agent.publish("pump", [Value::Integer(1)]).await;
    let ack = agent.hear().await;
    assert!(matches!(ack, GatewayFrame::Ack(_)), "{ack:?}");
    assert_eq!(scene.state("a").await, State::Queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_card_was_put_back_is_told_so() {
    let scene = Scene::new();
    let (mut agent, _) = scene.agent(1, 0).await;
    scene.order(&pi(), "a", "pump").await;
    order(&mut agent).await;
    tell(&mut agent, 1, "a", State::Delivered, None).await;
    let (_agent, heard) = scene.agent(2, 0).await;
    assert_eq!(heard, Some(JournalHeard { through: 1, put_back: true }));
    assert_eq!(scene.state("a").await, State::Ended(Outcome::Interrupted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_tells_while_the_backbone_is_away_is_stored_once_when_it_is_back() {
    let (health, _) = watch::channel(Health::Up);
    let told = health.clone();
    let scene = Scene::over(|inner| Arc::new(Fickle { inner, health: told }));
    let (mut agent, _) = scene.agent(1, 0).await;
    scene.order(&pi(), "a", "pump").await;
    order(&mut agent).await;
    let failures = "lockgate_gateway_backbone_failures_total";
    let before = scene.world.figure(failures).await;
    health.send_replace(Health::Down { reason: "unplugged".into() });
    let report = Report { id: CommandId::new("a").unwrap(), position: 1, state: State::Delivered, command: None };
    let updates = CommandUpdates { through: 1, reports: vec![report], ..CommandUpdates::default() };
    agent.say(&AgentFrame::CommandUpdates(updates)).await;
    while scene.world.figure(failures).await < before + 2.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.state("a").await, State::Dispatched);
    health.send_replace(Health::Up);
    let confirm = agent.hear().await;
    assert!(matches!(confirm, GatewayFrame::CommandConfirm(Confirm { through: 1 })), "{confirm:?}");
    assert_eq!(scene.state("a").await, State::Delivered);
    let all = ReadLimit { entries_max: 100, bytes_max: usize::MAX };
    let log = scene.backbone.read_after(&scene.room, Position::START, all).await.unwrap();
    let LogRead::Entries(log) = log else { panic!("{log:?}") };
    let state = |body| match body {
        EntryBody::Command(update) => Some(update.standing.state.as_str()),
        _ => None,
    };
    let told: Vec<_> = log.iter().filter_map(|entry| state(decode_entry(entry.bytes.clone()).unwrap().body)).collect();
    assert_eq!(told, ["queued", "dispatched", "delivered"], "each is told once");
}
