//! Promises of what is typed, and of how the program ends.

use std::collections::BTreeMap;

use clap::Parser;
use lockgate_client::CommandStatus;
use lockgate_proto::command::{Failure, FailureKind, Standing};

use super::*;
use crate::cli::samples;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    order: OrderArgs,
}

fn order(typed: &[&str]) -> Result<Order, String> {
    let typed =
        Typed::try_parse_from(["lockgate", "plant-1"].iter().chain(typed)).map_err(|error| error.to_string())?;
    typed.order.order().map_err(|error| error.to_string())
}

#[test]
fn values_are_what_they_look_like() {
    let typed =
        ["pump 1", "set", "level=1.5", "n=-3", "on=true", "mode=eco", "code=\"7\"", "empty=", "eq=a=b", "zero=1e3"];
    let order = order(&typed).unwrap();
    assert_eq!(order.target, Target::Device(DeviceName::new("pump 1").unwrap()));
    assert_eq!(order.name.as_str(), "set");
    let values: BTreeMap<&str, &Value> =
        order.arguments.iter().map(|field| (field.name.as_str(), &field.value)).collect();
    let text = |text: &str| Value::Text(text.into());
    let expected = [
        ("code", text("7")),
        ("empty", text("")),
        ("eq", text("a=b")),
        ("level", Value::Number(1.5)),
        ("mode", text("eco")),
        ("n", Value::Integer(-3)),
        ("on", Value::Flag(true)),
        ("zero", Value::Number(1000.0)),
    ];
    assert_eq!(values, expected.iter().map(|(name, value)| (*name, value)).collect());
    assert_eq!((order.until, order.priority), (Until::After(Duration::from_secs(30)), Priority::Normal));
}

#[test]
fn a_command_to_all_names_no_device() {
    let order =
        order(&["--all", "stop", "--priority", "high", "--id", "x", "--until", "2026-11-25T15:00:00Z"]).unwrap();
    assert_eq!((order.target, order.name.as_str(), order.priority), (Target::All, "stop", Priority::High));
    assert_eq!(order.until, Until::At(UnixMicros(1_795_618_800_000_000)));
    assert_eq!(order.id, CommandId::new("x").ok());
    let order = super::tests::order(&["--tag", "lamps", "stop"]).unwrap();
    assert_eq!((order.target, order.name.as_str()), (Target::Tagged(Tag::new("lamps").unwrap()), "stop"));
    assert!(super::tests::order(&["--tag", "lamps", "--all", "stop"]).unwrap_err().contains("cannot be used with"));
}

#[test]
fn what_can_not_be_sent_is_told_with_the_fix() {
    let told = |typed: &[&str]| order(typed).unwrap_err();
    assert!(told(&["pump"]).contains("say what is to be done"));
    assert!(told(&["pump", "set", "level"]).contains("write KEY=VALUE"));
    for value in ["null", "[1]", "{}"] {
        assert!(told(&["pump", "set", &format!("a={value}")]).contains("give a number, true, false or text"));
    }
    assert!(told(&["pump", "set", "a=99999999999999999999"]).contains("too large"));
    assert!(told(&["pump", "set", "a=1", "a=2"]).contains("given twice"));
    assert!(told(&["pump", "set", "=1"]).contains("is empty"));
    assert!(told(&["pump", "set", "--id", "a/b"]).contains("choose one without"));
    assert!(told(&["pump", "set", "--id", ""]).contains("is empty"));
    assert!(told(&["pump", "set", "--until", "noon"]).contains("write it like"));
    assert!(told(&["pump", "set", "--ttl", "1s", "--until", "2026-11-25T15:00:00Z"]).contains("cannot be used with"));
}

fn ends_with(state: State) -> u8 {
    let CommandStatus { now, .. } = samples::command_status();
    let now = CommandUpdate { standing: Standing::by_agent(state), ..now };
    let status = CommandStatus { now, ordered: None, cancel_asked: false };
    verdict(&OrderStatus::Command(Box::new(status))).map_or_else(|error| error.exit_code(), |()| 0)
}

#[test]
fn a_script_learns_from_the_exit_code_what_became_of_it() {
    for state in [State::Accepted, State::Queued, State::Dispatched, State::Delivered, State::Executing] {
        assert_eq!(ends_with(state), 0, "it is not over");
    }
    assert_eq!(ends_with(State::Ended(Outcome::Succeeded(Fields::default()))), 0);
    let failure = Failure { kind: FailureKind::Refused, reason: "hot".into() };
    assert_eq!(ends_with(State::Ended(Outcome::Failed(failure))), 6);
    assert_eq!((ends_with(State::Ended(Outcome::Expired)), ends_with(State::Ended(Outcome::Cancelled))), (7, 7));
    assert_eq!((ends_with(State::Ended(Outcome::Interrupted)), ends_with(State::Unknown)), (8, 8));
}

#[test]
fn a_group_ends_as_its_worst_member() {
    let ends = |counts: &[(&str, u32)]| {
        let counts = counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let group = GroupStatus { id: CommandId::new("g").unwrap(), members: 4, ended: 4, over: 4, counts };
        verdict(&OrderStatus::Group(group)).map_or_else(|error| error.exit_code(), |()| 0)
    };
    assert_eq!(ends(&[("succeeded", 4)]), 0);
    assert_eq!(ends(&[("succeeded", 3), ("cancelled", 1)]), 7);
    assert_eq!(ends(&[("succeeded", 2), ("expired", 1), ("failed", 1)]), 6);
    assert_eq!(ends(&[("succeeded", 2), ("failed", 1), ("unknown", 1)]), 8);
}
