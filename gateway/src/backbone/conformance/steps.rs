//! Sessions and steps: applied once, in order, by one session alone.

use std::future::Future;
use std::sync::Arc;

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ids::SessionId;
use lockgate_proto::position::Offset;
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::agent::{Agent, assert_linked, granted, log_of, room};
use super::{Keep, World};
use crate::backbone::{Opened, Stepped};

type Made = Box<dyn World>;

pub(crate) async fn a_step_is_applied_once_however_often_it_is_asked_for<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let entries = vec![agent.telemetry("pump", &[("level", 1)]), agent.telemetry("pump", &[("level", 2)])];
    for _ in 0..3 {
        assert_eq!(agent.ask(1, entries.clone()).await, Ok(Stepped::Done));
    }
    let both = tokio::join!(agent.ask(2, entries.clone()), agent.ask(2, entries));
    assert_eq!(both, (Ok(Stepped::Done), Ok(Stepped::Done)));
    assert_eq!(agent.log().await.len(), 4);
}

pub(crate) async fn a_step_out_of_order_is_refused_and_changes_nothing<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    agent.store("pump", 1).await;
    let before = agent.ledger.clone();
    let entry = agent.telemetry("pump", &[("level", 99)]);
    for n in [0, 1, 4, u64::MAX] {
        assert_eq!(agent.ask(n, vec![entry.clone()]).await, Ok(Stepped::Refused), "step {n}");
    }
    assert_eq!(agent.log().await.len(), 2);
    assert_eq!(agent.backbone.ledgers(&room("plant")).await.unwrap()[0].1, *before);
    assert_eq!(agent.ask(3, vec![entry]).await, Ok(Stepped::Done));
}

pub(crate) async fn a_new_session_fences_the_older_ones<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut old = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    old.store("pump", 1).await;
    let ledger = granted(world.backbone().open_session(&old.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert!(ledger.stored(Epoch(1), Lane::Telemetry).contains(Seq::FIRST));
    let entry = old.telemetry("pump", &[("level", 7)]);
    // Neither its next step nor a repeat of its last one: what it wrote, the new session knows.
    assert_eq!(old.ask(2, vec![entry.clone()]).await, Ok(Stepped::Refused));
    assert_eq!(old.ask(1, vec![entry.clone()]).await, Ok(Stepped::Refused));
    old.go_on_as(SessionId(2), ledger);
    assert_eq!(old.ask(1, vec![entry]).await, Ok(Stepped::Done));
    assert_eq!(old.log().await.len(), 2);
}

pub(crate) async fn of_sessions_that_race_exactly_one_goes_on_writing<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let first = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let (id, backbone) = (first.id.clone(), world.backbone());
    let opened = Arc::new(tokio::sync::Barrier::new(3));
    let contest = |session: u64| {
        let (id, backbone, opened) = (id.clone(), backbone.clone(), Arc::clone(&opened));
        async move {
            let ledger = granted(backbone.open_session(&id, SessionId(session), &[Epoch(1)]).await.unwrap());
            // One that was done before the others began would have raced nobody.
            opened.wait().await;
            let mut agent = Agent::open(&backbone, &id.room, "other", 1_000 + session).await;
            agent.id = id;
            agent.go_on_as(SessionId(session), ledger);
            let mut done = 0;
            for _ in 0..20 {
                let entry = agent.telemetry("pump", &[("level", 1)]);
                match agent.step(vec![entry]).await.unwrap() {
                    Stepped::Done => done += 1,
                    Stepped::Refused => break,
                }
            }
            done
        }
    };
    let (two, three, four) = tokio::join!(contest(2), contest(3), contest(4));
    assert_eq!([two, three, four].into_iter().filter(|done| *done == 20).count(), 1);
    assert_eq!(first.log().await.len(), two + three + four);
}

pub(crate) async fn who_opened_no_session_writes_nothing<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let entry = agent.telemetry("pump", &[("level", 1)]);
    agent.id.agent = lockgate_proto::ids::AgentName::new("stranger").unwrap();
    assert_eq!(agent.ask(1, vec![entry]).await, Ok(Stepped::Refused));
    assert_eq!(agent.log().await, []);
}

pub(crate) async fn a_superseded_epoch_is_refused_and_harms_nobody<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let epochs = [Epoch(1), Epoch(2)];
    let ledger = granted(world.backbone().open_session(&agent.id, SessionId(2), &epochs).await.unwrap());
    let cloned = world.backbone().open_session(&agent.id, SessionId(3), &[Epoch(1)]).await.unwrap();
    assert!(matches!(cloned, Opened::Superseded));
    agent.go_on_as(SessionId(2), ledger);
    agent.store("pump", 1).await;
}

pub(crate) async fn a_repeated_request_for_a_session_changes_nothing<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let again = granted(world.backbone().open_session(&agent.id, agent.session, &[agent.epoch]).await.unwrap());
    assert_eq!(again, *agent.ledger);
    agent.store("pump", 2).await;
    let late = granted(world.backbone().open_session(&agent.id, agent.session, &[agent.epoch]).await.unwrap());
    assert_eq!(late, *agent.ledger);
    agent.store("pump", 2).await;
    assert_eq!(agent.log().await.len(), 4);
}

pub(crate) async fn many_agents_at_once_lose_nothing_and_share_one_order<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agents = tokio::task::JoinSet::new();
    for at in 0..12u64 {
        let backbone = backbone.clone();
        agents.spawn(async move {
            let site = room(if at % 2 == 0 { "even" } else { "odd" });
            let mut agent = Agent::open(&backbone, &site, &format!("pi-{at}"), at + 1).await;
            for _ in 0..10 {
                agent.store(&format!("pump-{at}"), 5).await;
            }
        });
    }
    agents.join_all().await;
    for site in ["even", "odd"] {
        let log = log_of(&backbone, &room(site)).await;
        assert_eq!(log.len(), 6 * 10 * 5);
        assert_eq!(log[0].position.offset, Offset(1));
        assert_linked(&log);
        assert_eq!(backbone.ledgers(&room(site)).await.unwrap().len(), 6);
    }
}

pub(crate) async fn a_ledger_comes_back_as_it_was_stored<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 3).await;
    agent.number(Lane::Telemetry);
    agent.store("pump", 3).await;
    world.crash().await;
    let ledgers = world.backbone().ledgers(&room("plant")).await.unwrap();
    assert_eq!(ledgers, [(agent.id.agent.clone(), (*agent.ledger).clone())]);
    let reopened = granted(world.backbone().open_session(&agent.id, SessionId(2), &[Epoch(1)]).await.unwrap());
    assert_eq!(reopened.stored(Epoch(1), Lane::Telemetry), agent.ledger.stored(Epoch(1), Lane::Telemetry));
    assert_eq!(reopened.session(), Some(SessionId(2)));
}

pub(crate) async fn the_loss_ledger_adds_up<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 5).await;
    let lost = SeqRange::new(Seq::new(6), Seq::new(9)).unwrap();
    let gap = Gap {
        epoch: agent.epoch,
        lane: Lane::Telemetry,
        range: lost,
        reason: GapReason::Evicted,
        span: TimeSpan::default(),
    };
    let told = agent.gap(&gap);
    assert_eq!(agent.step(vec![told]).await, Ok(Stepped::Done));
    agent.ledger_mut().note_last(Epoch(1), Lane::Telemetry, Seq::new(12));
    assert_eq!(agent.step(Vec::new()).await, Ok(Stepped::Done));
    let totals = world.backbone().ledgers(&room("plant")).await.unwrap()[0].1.totals();
    assert_eq!((totals.produced, totals.stored, totals.pending), (12, 5, 3));
    assert_eq!(totals.lost_to(GapReason::Evicted).records, 4);
    assert_eq!(agent.log().await.len(), 6);
}
