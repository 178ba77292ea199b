//! Promises to those who follow commands.

use lockgate_proto::command::{Fields, Outcome, Priority, Progress, Standing};
use lockgate_proto::ids::{CommandName, UserName};

use super::*;

fn site() -> Site {
    Site::new("plant").unwrap()
}

fn kept(id: &str, device: &str, state: State, since: i64) -> Kept {
    let command = Command {
        id: CommandId::new(id).unwrap(),
        device: DeviceName::new(device).unwrap(),
        name: CommandName::new("stop").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline: UnixMicros(100),
        sender: UserName::new("ann").unwrap(),
    };
    Kept {
        command,
        accepted_at: UnixMicros(1),
        standing: Standing::by_agent(state),
        since: UnixMicros(since),
        bound: None,
        told: None,
        cancel: false,
    }
}

fn update(id: &str, state: State, at: i64) -> CommandUpdate {
    kept(id, "pump", state, at).update()
}

/// The words that the client is told.
fn told(followed: &mut Followed, updates: &[CommandUpdate]) -> Vec<String> {
    let word = |tell: Tell| match tell {
        Tell::Command(update) => format!("{} {}", update.id, update.standing.state.as_str()),
        Tell::Group(id, summary) => format!("{id} {}/{}", summary.over, summary.members),
    };
    followed.news(&site(), updates).into_iter().map(word).collect()
}

#[test]
fn a_state_is_told_once_and_nothing_after_the_one_that_ends_the_wait() {
    let mut followed = Followed::default();
    followed.follow(&site(), &kept("c", "pump", State::Queued, 1));
    let dispatched = update("c", State::Dispatched, 2);
    let executing = update("c", State::Executing, 3);
    let halfway = CommandUpdate {
        progress: Some(Progress { percent: Some(50), text: "".into() }),
        ..update("c", State::Executing, 4)
    };
    let all = [update("c", State::Queued, 1), dispatched.clone(), dispatched.clone(), executing.clone(), halfway];
    assert_eq!(told(&mut followed, &all), ["c dispatched", "c executing", "c executing"]);
    assert_eq!(
        told(&mut followed, &[dispatched, update("other", State::Executing, 9)]),
        [""; 0],
        "it is late, or not ours"
    );
    // The clock of the store may have been set back: what ends the wait is told all the same.
    let done = update("c", State::Ended(Outcome::Succeeded(Fields::default())), 0);
    assert_eq!(told(&mut followed, &[done.clone(), done]), ["c succeeded"]);
    assert!(followed.len() == 0 && !followed.has(&site()));
}

#[test]
fn what_nobody_need_wait_for_is_not_followed() {
    let mut followed = Followed::default();
    followed.follow(&site(), &kept("c", "pump", State::Unknown, 1));
    let members = [kept("g/a", "a", State::Ended(Outcome::Expired), 1)];
    followed.follow_group(&site(), group_of(&CommandId::new("g").unwrap(), &members).unwrap(), UnixMicros(9));
    assert_eq!((followed.len(), followed.deadline()), (0, None));
}

#[test]
fn a_group_is_told_as_it_stands_after_all_that_came_and_until_it_is_over() {
    let mut followed = Followed::default();
    let id = CommandId::new("g").unwrap();
    let members = ["a", "b", "c"].map(|device| kept(&format!("g/{device}"), device, State::Queued, 1));
    followed.follow_group(&site(), group_of(&id, &members).unwrap(), UnixMicros(9));
    let over = |device: &str| kept(&format!("g/{device}"), device, State::Ended(Outcome::Cancelled), 2).update();
    assert_eq!(told(&mut followed, &[over("a"), over("b")]), ["g 2/3"]);
    assert_eq!(followed.open(&site()), [id.member(&DeviceName::new("c").unwrap())]);
    assert_eq!(told(&mut followed, &[over("b")]), [""; 0]);
    assert_eq!(told(&mut followed, &[over("c")]), ["g 3/3"]);
    assert_eq!(followed.len(), 0);
}

#[test]
fn what_should_have_ended_by_now_is_asked_for() {
    let mut followed = Followed::default();
    followed.follow(&site(), &kept("c", "pump", State::Dispatched, 1));
    let members = [kept("g/a", "a", State::Queued, 1), kept("g/b", "b", State::Unknown, 1)];
    let id = CommandId::new("g").unwrap();
    followed.follow_group(&site(), group_of(&id, &members).unwrap(), UnixMicros(50));
    assert_eq!(followed.deadline(), Some(UnixMicros(50)));
    assert_eq!(followed.overdue(UnixMicros(49)), []);
    let ids = |now| {
        let of_all = followed.overdue(UnixMicros(now)).into_iter().flat_map(|(_, ids)| ids);
        of_all.map(|id| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(50), ["g/a"]);
    assert_eq!(ids(100), ["c", "g/a"]);
}

#[test]
fn the_same_again_counts_once_and_what_is_let_go_not_at_all() {
    let mut followed = Followed::default();
    let id = CommandId::new("g").unwrap();
    let members: Vec<Kept> =
        (0..1_000).map(|at| kept(&format!("g/d{at}"), &format!("d{at}"), State::Queued, 1)).collect();
    let group = group_of(&id, &members).unwrap();
    for _again in 0..2 {
        followed.follow_group(&site(), group.clone(), UnixMicros(9));
        followed.follow(&site(), &kept("c", "pump", State::Queued, 1));
    }
    assert_eq!(followed.len(), 1_001);
    assert!(followed.unfollow(&site(), &id) && !followed.unfollow(&site(), &id));
    assert_eq!(followed.len(), 1);
    assert!(followed.has(&site()));
}
