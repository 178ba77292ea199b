//! The agent is killed, or the power goes, between any two operations on the journal's disk and any two actions of
//! the executor's shell. A command that is not idempotent acts at most once, and what is told of each is true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lockgate_proto::command::{
    Answer, Attempt, BackboneTime, Book, BootId, Command, CommandId, Dispatch, Executor, ExecutorAction,
    ExecutorConfig, ExecutorInput, Failure, FailureKind, Fields, HandOver, Outcome, Priority, State,
};
use lockgate_proto::ids::{CommandName, DeviceName, SessionId, UserName};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::journal::{JournalFile, Write};
use crate::queue::storage::fake::FakeDisk;

const NOW: UnixMicros = UnixMicros(1_764_000_000_000_000);
const DEADLINE: UnixMicros = UnixMicros(1_764_000_600_000_000);

/// What devices do when they are told this.
const NAMES: [&str; 3] = ["obey", "refuse", "put-off-then-obey"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Killed,
    PowerLost,
}

/// The process has ended.
struct Killed;

/// All that outlives the agent's process.
struct World {
    disk: FakeDisk,
    book: Book,
    boot: u64,
    sessions: u64,
    /// How often each command acted.
    acted: BTreeMap<CommandId, u32>,
    put_off: BTreeSet<CommandId>,
    /// Actions that the shell still does before it is killed.
    actions_left: Option<u64>,
}

struct Process {
    file: JournalFile,
    executor: Executor,
    now: MonoTime,
    inputs: VecDeque<ExecutorInput>,
}

fn command(name: &str, idempotent: bool) -> Command {
    Command {
        id: CommandId::new(format!("{name}-{idempotent}")).unwrap(),
        device: DeviceName::new(name).unwrap(),
        name: CommandName::new(name).unwrap(),
        arguments: Fields::default(),
        idempotent,
        priority: Priority::Normal,
        deadline: DEADLINE,
        sender: UserName::new("ada").unwrap(),
    }
}

fn ids() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl World {
    fn new() -> World {
        let mut book = Book::default();
        for name in NAMES {
            for idempotent in [false, true] {
                book.accept(NOW, command(name, idempotent), true).unwrap();
            }
        }
        let (acted, put_off) = (BTreeMap::new(), BTreeSet::new());
        World { disk: FakeDisk::default(), book, boot: 1, sessions: 0, acted, put_off, actions_left: None }
    }

    /// One run of the agent, until nothing more happens or it is killed.
    fn run(&mut self) -> Result<(), Killed> {
        let mut config = ExecutorConfig::new(BootId(self.boot));
        // So that the file is written anew in the midst of it.
        config.records_max = 5;
        let (file, journal) = JournalFile::open(Box::new(self.disk.clone()), ids).map_err(|_| Killed)?;
        let executor = Executor::new(config, journal);
        let now = MonoTime(Duration::from_secs(10));
        self.sessions += 1;
        self.book.hello(NOW, SessionId(self.sessions), executor.mark());
        let time = BackboneTime { asked: now, answered: now, server: NOW };
        let welcome = ExecutorInput::Welcomed { heard: self.book.mark.welcome(), time };
        let mut process = Process { file, executor, now, inputs: VecDeque::from([welcome]) };
        self.hand_over(&mut process);
        loop {
            while let Some(input) = process.inputs.pop_front() {
                let mut actions = Vec::new();
                process.executor.handle(process.now, input, &mut actions);
                for action in actions {
                    self.perform(&mut process, action)?;
                }
            }
            if self.book.commands.values().all(|kept| kept.standing.state.outcome().is_some()) {
                return Ok(());
            }
            process.now = process.now + Duration::from_secs(1);
            process.inputs.push_back(ExecutorInput::TimerFired);
            assert!(process.now < MonoTime(Duration::from_secs(600)), "it does not end: {:?}", self.book.commands);
        }
    }

    fn hand_over(&mut self, process: &mut Process) {
        let heard = self.book.mark.heard;
        let wish = HandOver { session: SessionId(self.sessions), heard, have: BTreeSet::new(), max: 16 };
        let (orders, _) = self.book.hand_over(NOW, &wish).expect("it is the session");
        process.inputs.push_back(ExecutorInput::Dispatched(Dispatch { orders }));
    }

    fn perform(&mut self, process: &mut Process, action: ExecutorAction) -> Result<(), Killed> {
        if let Some(left) = &mut self.actions_left {
            *left = left.checked_sub(1).ok_or(Killed)?;
        }
        match action {
            ExecutorAction::Append(records) => {
                process.file.write(Write::Append(records)).map_err(|_| Killed)?;
                let through = process.executor.journal().length();
                process.inputs.push_back(ExecutorInput::Stored { through });
            }
            ExecutorAction::Rewrite { records, through } => {
                process.file.write(Write::Rewrite(records)).map_err(|_| Killed)?;
                process.inputs.push_back(ExecutorInput::Stored { through });
            }
            ExecutorAction::Start { command, attempt } => {
                let input = self.device_acts(&command, attempt);
                process.inputs.push_back(input);
            }
            ExecutorAction::Send(updates) => {
                let told = self.book.told(NOW, SessionId(self.sessions), &updates);
                let (confirm, _) = told.expect("it is the session");
                process.inputs.push_back(ExecutorInput::Confirmed(confirm));
            }
            ExecutorAction::ArmTimer(_) => {}
        }
        Ok(())
    }

    fn device_acts(&mut self, command: &Command, attempt: Attempt) -> ExecutorInput {
        let id = command.id.clone();
        let mut obey = || *self.acted.entry(id.clone()).or_default() += 1;
        let answer = match command.name.as_str() {
            "refuse" => Answer::Failed(Failure { kind: FailureKind::Refused, reason: "no".into() }),
            "put-off-then-obey" if self.put_off.insert(id.clone()) => {
                Answer::Busy { retry_after: Duration::from_secs(1) }
            }
            _ => {
                obey();
                Answer::Succeeded(Fields::default())
            }
        };
        ExecutorInput::Answered { id, attempt, answer }
    }

    fn restart(&mut self, end: End, seed: u64) {
        self.actions_left = None;
        match end {
            End::Killed => self.disk.heal(),
            End::PowerLost => {
                let mut seed = seed;
                self.disk.lose_power(|below| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    usize::try_from(seed >> 33).unwrap() % below.max(1)
                });
                self.boot += 1;
            }
        }
    }

    fn check(&self, context: &str) {
        for kept in self.book.commands.values() {
            let Command { id, name, idempotent, .. } = &kept.command;
            let acted = self.acted.get(id).copied().unwrap_or(0);
            let outcome = kept.standing.state.outcome().expect("it has ended");
            let is_true = match outcome {
                Outcome::Succeeded(_) => acted >= 1,
                Outcome::Failed(failure) => failure.kind == FailureKind::Refused && acted == 0,
                Outcome::Expired | Outcome::Cancelled => acted == 0,
                Outcome::Interrupted => true,
            };
            assert!(is_true, "{context}: {id} acted {acted} times, and {outcome:?} is told");
            assert!(*idempotent || acted <= 1, "{context}: {id} ({name}) acted {acted} times");
        }
    }
}

/// Whether the agent came to the end before it was killed.
fn check_killed(end: End, operations: Option<u64>, actions: Option<u64>) -> bool {
    let mut world = World::new();
    let context = format!("{end:?} before operation {operations:?}, action {actions:?}");
    if let Some(operations) = operations {
        world.disk.stop_after(operations);
    }
    world.actions_left = actions;
    let came_to_end = world.run().is_ok();
    if !came_to_end {
        world.restart(end, operations.or(actions).unwrap_or(0));
        assert!(world.run().is_ok(), "{context}: the next run is not killed");
    }
    world.check(&context);
    if end == End::Killed {
        // In the same boot, all that had not begun goes on.
        let interrupted =
            |(_, kept): &(_, &lockgate_proto::command::Kept)| kept.standing.state == State::Ended(Outcome::Interrupted);
        let interrupted: Vec<_> = world.book.commands.iter().filter(interrupted).collect();
        assert!(interrupted.len() <= NAMES.len(), "{context}: {interrupted:?}");
        assert!(interrupted.iter().all(|(_, kept)| !kept.command.idempotent), "{context}: {interrupted:?}");
        assert!(!came_to_end || interrupted.is_empty(), "{context}: {interrupted:?}");
    }
    came_to_end
}

#[test]
fn killed_between_any_two_operations_on_the_disk_no_command_acts_twice_and_what_is_told_is_true() {
    for end in [End::Killed, End::PowerLost] {
        let stops = (0..500).take_while(|operations| !check_killed(end, Some(*operations), None)).count();
        assert!((30..500).contains(&stops), "{end:?}: {stops} operations");
    }
}

#[test]
fn killed_between_any_two_actions_no_command_acts_twice_and_what_is_told_is_true() {
    for end in [End::Killed, End::PowerLost] {
        let stops = (0..500).take_while(|actions| !check_killed(end, None, Some(*actions))).count();
        assert!((20..500).contains(&stops), "{end:?}: {stops} actions");
    }
}
