//! The desk over an embedded backbone: what it makes of many who ask at once, and of devices that come late.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lockgate_proto::command::{
    AcceptError, Ask, BootId, Command, CommandId, CommandUpdates, CourierInput, Fields, HandOver, JournalId,
    JournalMark, Kept, Outcome, Priority, Report, State,
};
use lockgate_proto::ids::{AgentId, AgentName, CommandName, DeviceName, SessionId, UserName};
use lockgate_proto::limits::GROUP_MEMBERS_MAX;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use lockgate_tests::redis::Redis;
use tempfile::TempDir;

use super::{AcceptFailed, Desk, Followed, SweepTask};
use crate::backbone::conformance::agent::{Agent, assert_linked, device, log_of, room};
use crate::backbone::embedded::{EmbeddedBackbone, EmbeddedOptions};
use crate::backbone::redis::{RedisBackbone, RedisOptions};
use crate::backbone::{Backbone, CommandsWanted, Random};

const MINUTE_US: i64 = 60_000_000;

/// No test waits so long for anything that is to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn random() -> Random {
    Box::new(|bytes: &mut [u8]| {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&lockgate_runtime::random().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    })
}

struct Scene {
    _place: TempDir,
    desk: Desk,
    backbone: Arc<dyn Backbone>,
    supervisor: Supervisor,
    now: Arc<AtomicI64>,
}

impl Scene {
    fn new() -> Scene {
        let place = TempDir::new().unwrap();
        let now = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || UnixMicros(clock.load(Ordering::Relaxed)));
        let backbone = EmbeddedBackbone::open(EmbeddedOptions::new(place.path().to_owned(), clock, random())).unwrap();
        let (backbone, supervisor): (Arc<dyn Backbone>, _) = (Arc::new(backbone), Supervisor::new());
        let desk = Desk::new(Arc::clone(&backbone), supervisor.clone(), Clock::system());
        Scene { _place: place, desk, backbone, supervisor, now }
    }

    /// An agent that has told of these devices.
    async fn agent(&self, name: &str, devices: &[&str]) -> AgentId {
        let mut agent = Agent::open(&self.backbone, &room("plant"), name, 1).await;
        for device in devices {
            agent.store(device, 1).await;
        }
        agent.id
    }

    async fn accept(&self, command: Command) -> Result<Kept, AcceptFailed> {
        self.desk.accept(&room("plant"), command).await
    }

    async fn state(&self, id: &str) -> State {
        self.desk.get(&room("plant"), &CommandId::new(id).unwrap()).await.unwrap().unwrap().standing.state
    }

    /// How many commands there are.
    async fn count(&self) -> usize {
        self.desk
            .list(&room("plant"), &CommandsWanted { max: 10_000, ..CommandsWanted::default() })
            .await
            .unwrap()
            .commands
            .len()
    }

    /// Lets a session speak for the agent, and hands over what waits.
    async fn dispatch(&self, agent: &AgentId, session: SessionId) -> Vec<String> {
        let journal = JournalMark { id: JournalId(7), boot: BootId(1), length: 0, forgotten: 0 };
        let heard = self.desk.ask(agent, Ask::Hello { session, journal }).await.unwrap();
        let CourierInput::Heard(heard) = heard else { panic!("{heard:?}") };
        let wish = HandOver { session, heard: heard.through, have: std::collections::BTreeSet::new(), max: 16 };
        let orders = self.desk.ask(agent, Ask::HandOver(wish)).await.unwrap();
        let CourierInput::HandedOver(orders) = orders else { panic!("{orders:?}") };
        orders.into_iter().map(|order| order.command.id.to_string()).collect()
    }
}

fn command(id: &str) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        device: device("pump"),
        name: CommandName::new("open").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline: UnixMicros(MINUTE_US),
        sender: UserName::new("ann").unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_commands_is_accepted_each_once() {
    let scene = Scene::new();
    scene.agent("pi", &["pump"]).await;
    let mut senders = tokio::task::JoinSet::new();
    for at in 0..300 {
        let desk = scene.desk.clone();
        // Each is sent twice at the same time, as by one who does not know whether the first came through.
        senders.spawn(async move { desk.accept(&room("plant"), command(&format!("c{}", at / 2))).await });
    }
    for accepted in senders.join_all().await {
        assert_eq!(accepted.unwrap().standing.state, State::Queued);
    }
    assert_eq!(scene.count().await, 150);
    let other = Command { idempotent: true, ..command("c1") };
    assert_eq!(scene.accept(other).await, Err(AcceptFailed::Refused(AcceptError::IdTaken)));
    let late = Command { deadline: UnixMicros(0), ..command("late") };
    assert_eq!(scene.accept(late).await, Err(AcceptFailed::Refused(AcceptError::DeadlinePassed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_in_the_midst_harms_none_of_those_who_wait() {
    let scene = Scene::new();
    scene.agent("pi", &["pump"]).await;
    let mut senders = tokio::task::JoinSet::new();
    for at in 0..200 {
        let desk = scene.desk.clone();
        senders.spawn(async move {
            let plant = room("plant");
            let accept = desk.accept(&plant, command(&format!("c{at}")));
            if at % 2 == 0 {
                // Called off wherever it stands, perhaps with the turn in hand.
                return tokio::time::timeout(Duration::from_micros(at * 20), accept)
                    .await
                    .is_ok_and(|done| done.is_err());
            }
            accept.await.is_err()
        });
    }
    let failed = tokio::time::timeout(PATIENCE, senders.join_all()).await.unwrap();
    assert!(!failed.contains(&true));
    for at in (1..200).step_by(2) {
        assert_eq!(scene.state(&format!("c{at}")).await, State::Queued);
    }
}

#[tokio::test]
async fn a_command_for_an_unknown_device_waits_for_whoever_announces_it() {
    let scene = Scene::new();
    assert_eq!(scene.accept(command("a")).await.unwrap().standing.state, State::Accepted);
    let valve = Command { device: device("valve"), ..command("b") };
    assert_eq!(scene.accept(valve).await.unwrap().standing.state, State::Accepted);
    let agent = scene.agent("pi", &["pump"]).await;
    assert!(scene.dispatch(&agent, SessionId(1)).await.is_empty());
    // Of the pump the backbone knows; of the other one the session was just told.
    scene.desk.claim(&agent, &HashSet::new()).await.unwrap();
    assert_eq!(scene.dispatch(&agent, SessionId(2)).await, ["a"]);
    assert_eq!(scene.state("b").await, State::Accepted);
    scene.desk.claim(&agent, &HashSet::from([device("valve")])).await.unwrap();
    assert_eq!(scene.dispatch(&agent, SessionId(3)).await, ["a", "b"], "the first was never confirmed");
    assert_eq!(scene.accept(command("c")).await.unwrap().standing.state, State::Queued);
}

#[tokio::test]
async fn only_what_has_not_left_is_cancelled_without_its_agent() {
    let scene = Scene::new();
    let agent = scene.agent("pi", &["pump"]).await;
    scene.accept(command("a")).await.unwrap();
    assert_eq!(scene.dispatch(&agent, SessionId(1)).await, ["a"]);
    scene.accept(command("b")).await.unwrap();
    let cancel = async |id: &str| scene.desk.cancel(&room("plant"), &CommandId::new(id).unwrap()).await.unwrap();
    let a = cancel("a").await.unwrap();
    assert_eq!((a.standing.state, a.cancel), (State::Dispatched, true));
    assert_eq!(cancel("b").await.unwrap().standing.state, State::Ended(Outcome::Cancelled));
    assert_eq!(cancel("c").await, None);
    // An outcome that the agent tells is the truth, and told twice is told once.
    let success = State::Ended(Outcome::Succeeded(Fields::default()));
    let id = CommandId::new("a").unwrap();
    let report = Report { id, position: 1, state: success.clone(), command: Some(command("a")) };
    let updates = CommandUpdates { through: 1, reports: vec![report], ..CommandUpdates::default() };
    for _ in 0..2 {
        let told = Ask::Told { session: SessionId(1), updates: updates.clone() };
        assert!(matches!(scene.desk.ask(&agent, told).await, Ok(CourierInput::Stored(_))));
        assert_eq!(scene.state("a").await, success);
    }
    let stranger = Ask::Told { session: SessionId(2), updates };
    assert_eq!(scene.desk.ask(&agent, stranger).await, Ok(CourierInput::Refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_one_command_for_each_device_wherever_it_is() {
    let scene = Scene::new();
    let names: Vec<String> = (0..20).map(|at| format!("d{at:02}")).collect();
    let (here, there) = names.split_at(12);
    scene.agent("pi", &here.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene.agent("hub", &there[1..].iter().map(String::as_str).collect::<Vec<_>>()).await;
    let devices: Vec<DeviceName> = names.iter().map(|name| device(name)).collect();
    for _ in 0..2 {
        let all = scene.desk.accept_group(&room("plant"), command("close"), devices.clone()).await.unwrap();
        let ids: Vec<String> = all.iter().map(|kept| kept.command.id.to_string()).collect();
        assert_eq!(ids, names.iter().map(|name| format!("close/{name}")).collect::<Vec<_>>());
        let accepted = all.iter().filter(|kept| kept.standing.state == State::Accepted);
        assert_eq!(accepted.map(|kept| kept.command.device.as_str()).collect::<Vec<_>>(), ["d12"]);
    }
    assert_eq!(scene.count().await, 20);
    let many = (0..=GROUP_MEMBERS_MAX).map(|at| device(&format!("d{at}"))).collect();
    let refused = scene.desk.accept_group(&room("plant"), command("all"), many).await;
    assert!(matches!(refused, Err(AcceptFailed::Group(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_hears_of_all_that_comes_after_and_sessions_are_nudged() {
    let scene = Scene::new();
    let agent = scene.agent("pi", &["pump"]).await;
    let stranger = AgentId { room: room("plant"), agent: AgentName::new("hub").unwrap() };
    let mut follow = scene.desk.follow(&room("plant"));
    assert_eq!(next(&mut follow).await, Followed::Lagged, "before it followed there may have been something");
    let (mut nudges, mut others) = (scene.desk.nudges(&agent), scene.desk.nudges(&stranger));
    scene.accept(command("a")).await.unwrap();
    let Followed::Update(update) = next(&mut follow).await else { panic!("lagged") };
    assert_eq!((update.id.as_str(), update.standing.state), ("a", State::Queued));
    tokio::time::timeout(PATIENCE, std::future::poll_fn(|context| nudges.poll(context))).await.unwrap();
    scene.dispatch(&agent, SessionId(1)).await;
    scene.desk.cancel(&room("plant"), &CommandId::new("a").unwrap()).await.unwrap();
    tokio::time::timeout(PATIENCE, std::future::poll_fn(|context| nudges.poll(context))).await.unwrap();
    // Nobody ordered anything of the other.
    let idle = std::future::poll_fn(|context| std::task::Poll::Ready(others.poll(context).is_pending())).await;
    assert!(idle);
    // All leave; who comes later is let in again.
    drop((follow, nudges, others));
    let mut follow = scene.desk.follow(&room("plant"));
    scene.accept(command("b")).await.unwrap();
    loop {
        match next(&mut follow).await {
            // It began to follow only after the command was stored; then it asks.
            Followed::Lagged if scene.desk.get(&room("plant"), &command("b").id).await.unwrap().is_some() => break,
            Followed::Update(update) if update.id == command("b").id => break,
            Followed::Lagged | Followed::Update(_) => {}
        }
    }
}

async fn next(follow: &mut super::Follow) -> Followed {
    tokio::time::timeout(PATIENCE, follow.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_end_at_their_deadline_and_the_agent_may_know_better() {
    let scene = Scene::new();
    let agent = scene.agent("pi", &["pump"]).await;
    scene.accept(command("a")).await.unwrap();
    assert_eq!(scene.dispatch(&agent, SessionId(1)).await, ["a"]);
    scene.accept(command("b")).await.unwrap();
    scene.accept(Command { device: device("unknown"), ..command("c") }).await.unwrap();
    let task = SweepTask { desk: scene.desk.clone() };
    scene.supervisor.spawn("overdue commands", |stop| async move {
        task.run(stop).await;
        Ok(())
    });
    scene.now.store(MINUTE_US, Ordering::Relaxed);
    let expired = State::Ended(Outcome::Expired);
    for (id, state) in [("a", State::Unknown), ("b", expired.clone()), ("c", expired)] {
        let ended = async {
            while scene.state(id).await != state {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }
    let success = State::Ended(Outcome::Succeeded(Fields::default()));
    let report = Report { id: command("a").id, position: 1, state: success.clone(), command: Some(command("a")) };
    let updates = CommandUpdates { through: 1, reports: vec![report], ..CommandUpdates::default() };
    scene.desk.ask(&agent, Ask::Told { session: SessionId(1), updates }).await.unwrap();
    assert_eq!(scene.state("a").await, success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_on_one_redis_compete_for_a_book_and_lose_nothing() {
    let place = TempDir::new().unwrap();
    let redis = Redis::start(&place.path().join("redis")).unwrap();
    let supervisor = Supervisor::new();
    let mut gateways: Vec<(Desk, Arc<dyn Backbone>)> = Vec::new();
    for _ in 0..2 {
        let options = RedisOptions::new(redis.url(), Arc::new(|| UnixMicros(0)), random());
        let backbone: Arc<dyn Backbone> = Arc::new(RedisBackbone::open(options, &supervisor).await.unwrap());
        gateways.push((Desk::new(Arc::clone(&backbone), supervisor.clone(), Clock::system()), backbone));
    }
    let backbone = Arc::clone(&gateways[0].1);
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let now = backbone.book(&room("plant"), &None, &[]).await.unwrap().now;
    let deadline = now.offset_by(10 * MINUTE_US);
    let mut senders = tokio::task::JoinSet::new();
    for at in 0..200 {
        let desk = gateways[at % 2].0.clone();
        senders.spawn(async move {
            let command = Command { deadline, ..command(&format!("c{at}")) };
            let accepted = desk.accept(&room("plant"), command.clone()).await.unwrap();
            assert_eq!(accepted.standing.state, State::Queued);
            // Each tenth is taken back at once, and each is repeated by one who has not heard the answer.
            if at % 10 == 0 {
                desk.cancel(&room("plant"), &command.id).await.unwrap().unwrap();
            }
            desk.accept(&room("plant"), command).await.unwrap().standing.state
        });
    }
    let states = tokio::time::timeout(PATIENCE, senders.join_all()).await.unwrap();
    assert_eq!(states.iter().filter(|state| **state == State::Ended(Outcome::Cancelled)).count(), 20);
    // What one gateway took is what the other one hands over.
    let scene = Scene { _place: place, desk: gateways[1].0.clone(), backbone, supervisor, now: Arc::default() };
    let mut handed = scene.dispatch(&agent.id, SessionId(1)).await;
    handed.sort();
    handed.dedup();
    assert_eq!(handed.len(), 16);
    assert_eq!(scene.count().await, 200);
    let log = log_of(&scene.backbone, &room("plant")).await;
    assert_linked(&log);
    assert_eq!(log.len(), 1 + 200 + 20 + 16, "each change is told once");
    drop(redis);
}
