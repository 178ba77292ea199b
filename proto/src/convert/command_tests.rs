//! Commands on the wire, in the store and in the journal: their bytes, and what never gets through.

use proptest::prelude::*;

use super::tests::hex;
use super::*;
use crate::command::{
    BootId, Bound, Command, CommandId, CommandUpdate, CommandUpdates, Confirm, Dispatch, Failure, FailureKind, Field,
    Fields, Held, JournalId, JournalMark, JournalRecord, JournalStep, Kept, Mark, Order, Outcome, Phase, Place,
    Priority, Progress, ProgressReport, Report, Standing, State, Witness,
};
use crate::entry::{EntryBody, EntryHeader};
use crate::ids::{CommandName, DeviceName, FieldName, SessionId, UserName};
use crate::limits::{DISPATCH_WINDOW, EDGE_MESSAGE_BYTES_MAX, FIELDS_BYTES_MAX, JOURNAL_LENGTH_MAX, REPORTS_MAX};
use crate::link::frame::{AgentFrame, GatewayFrame};
use crate::position::{Offset, Position, Stamp};
use crate::reading::Value;
use crate::time::UnixMicros;
use crate::wire;

fn fields(values: impl IntoIterator<Item = (&'static str, Value)>) -> Fields {
    let field = |(name, value)| Field { name: FieldName::new(name).unwrap(), value };
    Fields::new(values.into_iter().map(field)).unwrap()
}

fn golden() -> Command {
    Command {
        id: CommandId::new("c-1").unwrap(),
        device: DeviceName::new("pump-7").unwrap(),
        name: CommandName::new("set").unwrap(),
        arguments: fields([("level", Value::Number(1.5)), ("on", Value::Flag(true))]),
        idempotent: true,
        priority: Priority::High,
        deadline: UnixMicros(1_700_000_000_000_000),
        sender: UserName::new("ann").unwrap(),
    }
}

#[test]
fn the_bytes_of_commands_are_what_they_were() {
    let dispatch = GatewayFrame::Dispatch(Dispatch { orders: vec![Order { command: golden(), cancel: true }] });
    let bytes = encode_gateway_frame(&dispatch);
    assert_eq!(hex(&bytes), GOLDEN_DISPATCH);
    assert_eq!(decode_gateway_frame(bytes), Ok(Some(dispatch)));
    let step = JournalStep::Arrived { command: golden(), boot: BootId(7) };
    let record = JournalRecord::Step { position: 300, step };
    let bytes = journal_record_to_bytes(&record);
    assert_eq!(hex(&bytes), GOLDEN_RECORD);
    assert_eq!(journal_record_from_bytes(bytes.into()), Ok(record));
}

const GOLDEN_DISPATCH: &str = concat!(
    "32440a420a3e0a03632d31120670756d702d371a03736574220e0a056c6576656c1205150000c03f22080a026f6e120220012801",
    "3003388080f281838985064203616e6e1001",
);
const GOLDEN_RECORD: &str = concat!(
    "1a4c08ac02123e0a03632d31120670756d702d371a03736574220e0a056c6576656c1205150000c03f22080a026f6e1202200128",
    "013003388080f281838985064203616e6e190700000000000000",
);

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let kinds = [
        FailureKind::Refused,
        FailureKind::NoReply,
        FailureKind::NotSent,
        FailureKind::Unsupported,
        FailureKind::IdTaken,
    ];
    prop_oneof![
        any::<i64>().prop_map(|value| Outcome::Succeeded(fields([("value", Value::Integer(value))]))),
        (prop::sample::select(kinds.to_vec()), "[a-z ]{0,20}")
            .prop_map(|(kind, reason)| Outcome::Failed(Failure { kind, reason: reason.into() })),
        Just(Outcome::Expired),
        Just(Outcome::Cancelled),
        Just(Outcome::Interrupted),
    ]
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Delivered), Just(Phase::Executing), any_outcome().prop_map(Phase::Ended)]
}

fn any_state() -> impl Strategy<Value = State> {
    let open = [State::Accepted, State::Queued, State::Dispatched, State::Delivered, State::Executing, State::Unknown];
    prop_oneof![prop::sample::select(open.to_vec()), any_outcome().prop_map(State::Ended)]
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let witnesses = vec![Witness::Gateway, Witness::Agent, Witness::Device];
    (any_state(), prop::sample::select(witnesses)).prop_map(|(state, witness)| Standing { state, witness })
}

fn any_progress() -> impl Strategy<Value = Progress> {
    (prop::option::of(0u8..=100), "[a-z]{0,9}").prop_map(|(percent, text)| Progress { percent, text: text.into() })
}

fn any_command() -> impl Strategy<Value = Command> {
    let id = "[a-z]{1,9}(/[a-z/ ]{1,9})?".prop_map(|text| CommandId::new(text).unwrap());
    (id, any::<bool>(), prop::sample::select(Priority::ALL.to_vec()), any::<i64>()).prop_map(
        |(id, idempotent, priority, deadline)| Command {
            id,
            idempotent,
            priority,
            deadline: UnixMicros(deadline),
            ..golden()
        },
    )
}

proptest! {
    #[test]
    fn what_an_agent_tells_comes_back_as_it_was(
        command in any_command(),
        phase in any_phase(),
        whole: bool,
        progress in any_progress(),
        positions in prop::array::uniform3(1..JOURNAL_LENGTH_MAX),
    ) {
        let mut positions = positions;
        positions.sort_unstable();
        let [after, position, through] = positions;
        let id = command.id.clone();
        let frame = AgentFrame::CommandUpdates(CommandUpdates {
            after,
            through,
            progress: vec![ProgressReport { id: id.clone(), progress }],
            full: vec![id.clone()],
            reports: vec![Report { id, position, state: phase.state(), command: whole.then_some(command) }],
        });
        prop_assert_eq!(decode_agent_frame(encode_agent_frame(&frame)), Ok(Some(frame)));
    }

    #[test]
    fn what_a_room_is_told_comes_back_as_it_was(
        command in any_command(),
        standing in any_standing(),
        progress in prop::option::of(any_progress()),
    ) {
        let (id, device, name) = (command.id, command.device, command.name);
        let update = CommandUpdate { id, device, name, standing, progress, at: UnixMicros(5) };
        let position = Position { offset: Offset(1), stamp: Stamp(2) };
        let header = EntryHeader { position, previous: Stamp(0), received_at: UnixMicros(6), origin: None };
        let entry = decode_entry(encode_entry(&header, &encode_command_body(&update)));
        prop_assert_eq!(entry.map(|entry| entry.body), Ok(EntryBody::Command(update)));
    }

    #[test]
    fn what_is_stored_comes_back_as_it_was(
        command in any_command(),
        standing in any_standing(),
        phase in any_phase(),
        told: Option<u64>,
        flag: bool,
        number in 0..JOURNAL_LENGTH_MAX,
    ) {
        let bound = flag.then_some(Bound { journal: JournalId(number), boot: BootId(3) });
        let (accepted_at, since) = (UnixMicros(1), UnixMicros(2));
        let kept = Kept { command: command.clone(), accepted_at, standing, since, bound, told, cancel: flag };
        prop_assert_eq!(kept_command_from_bytes(&kept_command_to_bytes(&kept)), Ok(kept));
        let journal = JournalMark { id: JournalId(1), boot: BootId(2), length: number, forgotten: 4 };
        let session = flag.then_some(SessionId(0));
        let mark = Mark { session, journal: flag.then_some(journal), heard: number, put_back: flag };
        prop_assert_eq!(command_mark_from_bytes(&command_mark_to_bytes(&mark)), Ok(mark));
        let place = Place { arrived: 1, changed: number };
        let held = Held { command, boot: BootId(9), place, phase: phase.clone(), attempts: 3, doubt: flag };
        let id = held.command.id.clone();
        for record in [
            JournalRecord::Kept(held),
            JournalRecord::Opened { id: JournalId(1), length: number, forgotten: 2 },
            JournalRecord::Step { position: number, step: JournalStep::Moved { id, phase } },
            JournalRecord::Step { position: number, step: JournalStep::Skipped },
        ] {
            prop_assert_eq!(journal_record_from_bytes(journal_record_to_bytes(&record).into()), Ok(record));
        }
    }
}

fn told(change: impl FnOnce(&mut wire::CommandUpdates)) -> Result<(), &'static str> {
    let report = wire::CommandReport {
        id: "c-1".to_owned(),
        position: 2,
        state: wire::CommandState::Executing.into(),
        ..wire::CommandReport::default()
    };
    let mut updates = wire::CommandUpdates { through: 2, reports: vec![report], ..wire::CommandUpdates::default() };
    change(&mut updates);
    let frame = Some(wire::agent_frame::Frame::CommandUpdates(updates));
    let bytes = prost::Message::encode_to_vec(&wire::AgentFrame { frame });
    decode_agent_frame(bytes.into()).map(|_| ()).map_err(|error| match error {
        ConvertError::Missing { field }
        | ConvertError::Name { field, .. }
        | ConvertError::CommandId { field, .. }
        | ConvertError::Fields { field, .. }
        | ConvertError::TooLarge { field, .. }
        | ConvertError::Invalid { field, .. } => field,
        ConvertError::Decode(_) => "bytes",
        ConvertError::Description(_) => "description",
    })
}

#[test]
fn an_agent_can_tell_only_what_an_agent_can_know() {
    assert_eq!(told(|_| {}), Ok(()));
    assert_eq!(told(|updates| updates.after = 3), Err("through"));
    assert_eq!(told(|updates| updates.through = JOURNAL_LENGTH_MAX + 1), Err("through"));
    assert_eq!(told(|updates| updates.reports[0].position = 3), Err("reports.position"));
    assert_eq!(told(|updates| updates.reports[0].position = 0), Err("reports.position"));
    assert_eq!(told(|updates| updates.reports[0].state = wire::CommandState::Queued.into()), Err("state"));
    assert_eq!(told(|updates| updates.reports[0].state = 99), Err("state"));
    assert_eq!(told(|updates| updates.reports[0].state = wire::CommandState::Ended.into()), Err("outcome"));
    assert_eq!(told(|updates| updates.reports[0].id = "/".to_owned()), Err("reports.id"));
    let other = Command { id: CommandId::new("c-2").unwrap(), ..golden() };
    assert_eq!(told(|updates| updates.reports[0].command = Some(command_to_wire(&other))), Err("reports.command"));
    let many = |updates: &mut wire::CommandUpdates| updates.reports = vec![updates.reports[0].clone(); REPORTS_MAX + 1];
    assert_eq!(told(many), Err("reports"));
    let progress = wire::Progress { percent: Some(101), text: String::new() };
    let progress = wire::CommandProgress { id: "c-1".to_owned(), progress: Some(progress) };
    assert_eq!(told(|updates| updates.progress = vec![progress]), Err("progress.percent"));
}

#[test]
fn no_command_has_an_argument_that_is_no_value() {
    let with = |change: fn(&mut wire::Command)| {
        let mut command = command_to_wire(&golden());
        change(&mut command);
        command_from_wire(command).map_err(|error| error.to_string())
    };
    assert_eq!(with(|_| {}), Ok(golden()));
    let twice = with(|command| command.arguments.push(command.arguments[0].clone()));
    assert_eq!(twice, Err("command.arguments: level is given twice; give it once".to_owned()));
    assert!(with(|command| command.arguments[0].value = None).is_err());
    assert!(with(|command| command.priority = 0).unwrap_err().starts_with("command.priority"));
    assert!(with(|command| command.sender.clear()).unwrap_err().starts_with("command.sender is empty"));
    assert!(with(|command| command.id = "x".repeat(65)).unwrap_err().starts_with("command.id has 65 bytes"));
}

#[test]
fn the_fullest_messages_fit_into_the_link() {
    let text = "x".repeat(FIELDS_BYTES_MAX - 1);
    let large = Command { arguments: fields([("a", Value::Text(text.as_str().into()))]), ..golden() };
    let outcome = Outcome::Succeeded(large.arguments.clone());
    let (id, state) = (large.id.clone(), State::Ended(outcome));
    let report = Report { id, position: 1, state, command: Some(large.clone()) };
    let updates = CommandUpdates { through: 1, reports: vec![report; REPORTS_MAX], ..CommandUpdates::default() };
    let up = encode_agent_frame(&AgentFrame::CommandUpdates(updates));
    let orders = vec![Order { command: large, cancel: false }; DISPATCH_WINDOW];
    let down = encode_gateway_frame(&GatewayFrame::Dispatch(Dispatch { orders }));
    assert!(up.len().max(down.len()) < EDGE_MESSAGE_BYTES_MAX);
    assert!(decode_agent_frame(up).is_ok() && decode_gateway_frame(down).is_ok());
    let confirm = GatewayFrame::CommandConfirm(Confirm { through: 9 });
    assert_eq!(decode_gateway_frame(encode_gateway_frame(&confirm)), Ok(Some(confirm)));
}
